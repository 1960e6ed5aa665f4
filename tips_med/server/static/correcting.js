// Correcting an answer on the page: tools, undo, saving.

import { LostError } from "./api.js";
import { Correction } from "./correct.js";
import { find, make } from "./dom.js";

const TOOLS = { paint: "This too (B)", erase: "Not this (E)", add: "This piece too", drop: "Not this piece" };

export class Correcting {
  /** @param app The page. */
  constructor(app) {
    this.app = app;
    this.brushMm = 6;
  }

  /** Begins, or ends, correcting an answer. */
  begin(answer) {
    const own = this.app.scene.correction;
    if (own && own.changed && !window.confirm("Drop the correction that was not saved?")) return;
    this.app.scene.correction = answer && own?.answer.source !== answer ? new Correction({ ...answer, mask: answer.grid, source: answer }) : null;
    if (answer) this.app.questions.active = answer;
    this.app.use(this.app.scene.correction ? "paint" : "move");
    this.app.show();
    find("correction").scrollIntoView({ block: "nearest" });
  }

  press(tool, mm) {
    const { correction } = this.app.scene;
    if (!correction) return;
    correction.begin();
    this.app.view.moveTo(mm);
    if (tool === "drop" || tool === "add") {
      const voxels = tool === "drop" ? correction.dropPiece(mm) : correction.addPiece(mm);
      if (!voxels) correction.undo();
      this.show(voxels ? "" : tool === "drop" ? "There is no marked piece at this place." : "The answer's map has nothing at this place.");
    } else {
      this.paint(tool, mm);
    }
    this.app.mip.mask(correction.volume, true);
    this.app.redraw();
  }

  paint(tool, mm) {
    const radius = this.brushMm;
    this.app.scene.correction?.paint(mm, radius, tool === "paint" ? 1 : 0);
    this.show();
  }

  undo() {
    if (this.app.scene.correction?.undo()) {
      this.show();
      this.app.redraw();
    }
  }

  async save() {
    const { correction } = this.app.scene;
    try {
      const told = await this.app.api.post(`/v1/studies/${this.app.study.id}/corrections`, {
        query: correction.answer.report.query, mask: await correction.encoded(),
      });
      correction.changed = false;
      correction.strokes = [];
      this.show(`Saved as row ${told.row} of the manifest.`);
    } catch (error) {
      if (error instanceof LostError) this.app.lost();
      this.show(error.text ?? error.message, true);
    }
  }

  show(message = "", wrong = false) {
    const { correction } = this.app.scene;
    const section = find("correction");
    section.hidden = !correction;
    if (!correction) return;
    const can = this.app.about.corrections;
    const button = (name, text) => make("button", { type: "button", "aria-pressed": String(this.app.tool === name), click: () => {
      this.app.use(name);
      this.show();
    } }, text);
    const size = make("input", { type: "range", min: 1, max: 25, step: 1, value: this.brushMm, input: (event) => {
      this.brushMm = Number(event.target.value);
    } });
    section.replaceChildren(
      make("h2", {}, `Correct \u201C${correction.answer.report.query}\u201D`),
      make("div", { class: "bar" }, make("div", { class: "group", role: "group", "aria-label": "Tool" }, ...Object.entries(TOOLS).map((one) => button(...one)))),
      make("p", { class: "bar" }, make("label", {}, "Brush ", size), `${correction.volumeMl.toFixed(1)} ml marked`),
      make("p", { class: "bar" },
        make("button", { type: "button", class: "main", disabled: !can, click: () => this.save() }, "Save"),
        make("button", { type: "button", disabled: !correction.strokes.length, click: () => this.undo() }, "Undo"),
        make("button", { type: "button", click: () => this.begin(null) }, "Close")),
      make("p", { class: wrong ? "refusal" : "quiet", role: "status" }, message || (can
        ? "Saved corrections are rows of a manifest, for tips-med train."
        : "They cannot be saved: start with --corrections FOLDER.")),
    );
  }
}
