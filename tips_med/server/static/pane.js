// One scan on its two canvases: the planes, and what is drawn over them; at most once a frame.

import { Mip } from "./mip.js";
import { Overlay } from "./overlay.js";
import { View } from "./view.js";

export class Pane {
  /**
   * @param planes Canvas of the planes.
   * @param over Canvas over it.
   * @param drawn Called after each drawing.
   */
  constructor(planes, over, drawn = () => {}) {
    this.over = over;
    this.drawn = drawn;
    this.view = new View(planes, () => this.redraw());
    this.mip = new Mip();
    this.overlay = new Overlay(over);
    this.scene = { answers: [], active: null, word: null, correction: null, pointer: null, opacity: 0, shade: false, cross: true };
    new ResizeObserver(() => this.resized()).observe(planes);
  }

  /** Shows a scan as `readScan` prepared it. */
  async load(prepared) {
    await this.view.load(prepared);
    this.mip.load(prepared);
  }

  /** Draws with the next frame, however often it is called before. */
  redraw() {
    this.frame ??= requestAnimationFrame(() => this.paint());
  }

  paint() {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = null;
    this.view.paint();
    this.overlay.draw(this.view, this.mip, this.scene);
    this.drawn();
  }

  resized() {
    this.view.draw();
    this.paint();
  }
}
