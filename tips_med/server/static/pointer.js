// Mouse, pen, touch and wheel on the planes.

import { mipBox } from "./overlay.js";

const CLICK_PX = 4;

export class Pointer {
  /**
   * @param canvas Canvas that gets the events.
   * @param app The page.
   */
  constructor(canvas, app) {
    this.canvas = canvas;
    this.app = app;
    this.drag = null;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => { this.drag = null; });
    canvas.addEventListener("pointerleave", () => { app.scene.pointer = null; app.redraw(); });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", (event) => this.double(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const x = (event.clientX - box.left) * ratio;
    const y = (event.clientY - box.top) * ratio;
    return { x, y, tile: this.app.view.tileAt(x, y), ratio };
  }

  inMip({ x, y }) {
    if (!this.app.view.mip) return false;
    const box = mipBox(this.app.view);
    return x >= box.left && x < box.left + box.width && y >= box.top && y < box.top + box.height;
  }

  down(event) {
    const { app } = this;
    const at = this.at(event);
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    if (!at.tile) {
      if (this.inMip(at)) this.drag = { kind: "turn", x: at.x, angle: app.mip.angle };
      return;
    }
    const mm = at.tile.placeOf(at.x, at.y);
    if (event.button === 2) {
      this.drag = { kind: "window", x: at.x, y: at.y, window: [...app.view.window], ratio: at.ratio };
    } else if (app.tool === "paint" || app.tool === "erase") {
      this.drag = { kind: "paint", tile: at.tile.name };
      app.correcting.press(app.tool, mm);
    } else if (app.tool === "what") {
      this.drag = { kind: "what", x: at.x, y: at.y, mm, tile: at.tile.name };
    } else if (app.tool === "drop" || app.tool === "add") {
      app.correcting.press(app.tool, mm);
    } else {
      this.drag = { kind: "cross", tile: at.tile.name };
      app.view.moveTo(mm);
    }
  }

  move(event) {
    const { app, drag } = this;
    const at = this.at(event);
    const brush = app.tool === "paint" || app.tool === "erase";
    app.scene.pointer = null;
    if (at.tile && brush) {
      const colour = app.tool === "paint" ? "#ffffff" : "#ff9c8f";
      app.scene.pointer = { tile: at.tile.name, x: at.x, y: at.y, radiusMm: app.correcting.brushMm, colour };
    }
    if (drag?.kind === "cross" && at.tile?.name === drag.tile) {
      app.view.moveTo(at.tile.placeOf(at.x, at.y));
      return;
    }
    if (drag?.kind === "paint" && at.tile?.name === drag.tile) {
      app.correcting.paint(app.tool, at.tile.placeOf(at.x, at.y));
    } else if (drag?.kind === "what" && at.tile?.name === drag.tile) {
      const radiusMm = Math.hypot(at.x - drag.x, at.y - drag.y) / at.tile.pixelsPerMm;
      app.scene.pointer = { tile: drag.tile, x: drag.x, y: drag.y, radiusMm, colour: "#ffcd50" };
    } else if (drag?.kind === "window") {
      const width = drag.window[1] - drag.window[0];
      const middle = (drag.window[0] + drag.window[1]) / 2 + ((at.y - drag.y) / drag.ratio) * 2;
      const half = Math.max(5, width / 2 + ((at.x - drag.x) / drag.ratio) * 2);
      app.chosen = true;
      app.applyWindow(middle - half, middle + half);
      return;
    } else if (drag?.kind === "turn") {
      const box = mipBox(app.view);
      app.turn(drag.angle + ((at.x - drag.x) / box.width) * Math.PI);
      return;
    } else if (!brush) {
      return;
    }
    app.redraw();
  }

  up(event) {
    const { app, drag } = this;
    this.drag = null;
    if (drag?.kind !== "what") return;
    const at = this.at(event);
    const tile = app.view.tiles.find((one) => one.name === drag.tile);
    const pixels = Math.hypot(at.x - drag.x, at.y - drag.y);
    app.scene.pointer = null;
    app.what(drag.mm, pixels < CLICK_PX * at.ratio || !tile ? 0 : pixels / tile.pixelsPerMm);
  }

  double(event) {
    const at = this.at(event);
    const name = at.tile?.name ?? (this.inMip(at) ? "mip" : null);
    if (name && this.app.tool === "move") this.app.arrange(name, !this.app.view.alone);
  }

  wheel(event) {
    const { app } = this;
    const at = this.at(event);
    event.preventDefault();
    if (event.ctrlKey) {
      app.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    } else if (at.tile) {
      app.view.step(at.tile.plane.depth, event.deltaY < 0 ? 1 : -1);
    }
  }
}
