// The page: one scan, several questions, the prior scan beside it.

import { Api, LostError } from "./api.js";
import { Controls, TOOLS } from "./controls.js";
import { Correcting } from "./correcting.js";
import { Cover } from "./cover.js";
import { find } from "./dom.js";
import { bindKeys } from "./keys.js";
import { flipped } from "./nifti.js";
import { Opening } from "./opening.js";
import { Pane } from "./pane.js";
import { answerCard, declinedCard } from "./panel.js";
import { Pointer } from "./pointer.js";
import { Prior } from "./prior.js";
import { QueryBox } from "./query.js";
import { Questions } from "./questions.js";
import { askWhat } from "./reverse.js";
import { WINDOWS } from "./view.js";

class App {
  constructor() {
    this.api = new Api();
    this.over = find("over");
    this.pane = new Pane(find("planes"), this.over, () => this.tell());
    this.view = this.pane.view;
    this.mip = this.pane.mip;
    this.overlay = this.pane.overlay;
    this.scene = Object.assign(this.pane.scene, { opacity: 0.45 });
    this.questions = new Questions(this.api, () => this.show());
    this.cover = new Cover(find("cover"));
    this.tool = "move";
    this.place = 0;
    this.correcting = new Correcting(this);
    this.box = new QueryBox(this.api, (text) => this.ask(text));
    this.pointer = new Pointer(this.over, this);
    this.prior = new Prior(this);
    this.view.moved = () => this.prior.follow();
    this.opening = new Opening(this);
    this.controls = new Controls(this);
    bindKeys(this);
    this.setWindow("soft");
  }

  start() {
    return this.opening.start();
  }

  lost(then = null) {
    return this.opening.lost(then);
  }

  async ask(text, threshold = null, go = true) {
    if (!this.study) return;
    this.busy(true);
    let made = [];
    try {
      made = await this.questions.ask(text, threshold);
      if (made.length && go) {
        this.place = 0;
        const { report } = made[0];
        this.windowFor(report);
        if (report.presence !== "absent" && report.peak_lps) this.go(report.peak_lps);
      }
      find("query").select();
    } catch (error) {
      if (error instanceof LostError) this.lost();
      else await this.box.refuse(error, text);
    } finally {
      this.busy(false);
    }
    await this.prior.compare(made);
  }

  /** The window that a radiologist would look at a finding in, unless another one was chosen. */
  windowFor(report) {
    const name = this.told.windows[report.finding?.id ?? report.structure?.id];
    if (name && !this.chosen && name !== this.windowName) this.setWindow(name);
  }

  busy(on) {
    find("answers").setAttribute("aria-busy", String(on));
    document.body.classList.toggle("busy", on);
  }

  /** Goes to a place, LPS in mm. */
  go(lps) {
    this.view.moveTo(flipped(lps));
  }

  /** Goes to a change in both scans. */
  goChange(change) {
    this.go(change.current_lps);
    this.prior.go(change.prior_lps);
  }

  /** Goes to the next or previous place of the shown answer. */
  next(way) {
    const places = this.questions.active?.report.instances ?? [];
    if (!places.length) return;
    this.place = (this.place + way + places.length) % places.length;
    this.go(places[this.place].peak_lps);
  }

  what(mm, radiusMm = 0) {
    return askWhat(this, mm, radiusMm);
  }

  async hover(answer, number) {
    this.hovered = number === null ? null : `${answer.id} ${number}`;
    const own = this.hovered;
    const tip = find("tip");
    if (number === null) {
      this.scene.word = null;
      tip.hidden = true;
    } else {
      this.scene.word = null;
      tip.textContent = "\u2026";
      tip.hidden = false;
      const word = await this.questions.word(answer, number).catch(() => null);
      if (own !== this.hovered) return;
      this.scene.word = word;
      tip.textContent = word ? `What \u201C${word.word}\u201D lights up by itself` : "This map cannot be had";
    }
    this.redraw();
  }

  use(tool) {
    if (!TOOLS[tool] && !this.scene.correction) return;
    this.tool = tool;
    this.over.dataset.tool = tool;
    this.controls.pressed();
    this.redraw();
  }

  /** Shows the answers as cards, and what belongs to them. */
  show() {
    const { questions, scene } = this;
    scene.answers = questions.answers;
    scene.active = questions.active;
    const cards = questions.answers.map((answer) => answerCard(answer, answer === questions.active, {
      choose: () => questions.choose(answer),
      toggle: () => questions.toggle(answer),
      remove: () => questions.remove(answer),
      go: (lps) => this.goWithin(answer, () => this.go(lps)),
      goChange: (change) => this.goWithin(answer, () => this.goChange(change)),
      hover: (number) => this.hover(answer, number),
      correct: () => this.correcting.begin(answer),
    }));
    find("answers").replaceChildren(
      ...questions.declined.map((entry) => declinedCard(entry, () => questions.dropDeclined(entry))), ...cards);
    find("display").hidden = !questions.answers.length;
    find("examples").hidden = questions.answers.length > 0;
    this.controls.threshold(questions.active);
    this.correcting.show();
    this.prior.show();
    this.redraw();
  }

  goWithin(answer, go) {
    if (this.questions.active !== answer) this.questions.choose(answer);
    go();
  }

  redraw() {
    this.pane.redraw();
  }

  /** The place of the cross in words and numbers. */
  tell() {
    if (!this.view.scan) return;
    const value = this.view.scan.valueAt(this.view.mm);
    const lps = flipped(this.view.mm).map((v) => v.toFixed(0)).join(", ");
    const heat = this.scene.active?.visible ? this.scene.active.heat?.valueAt(this.view.mm) : NaN;
    const score = Number.isFinite(heat) ? `, score ${heat.toFixed(2)}` : "";
    const [low, high] = this.view.window.map(Math.round);
    find("place").textContent = `LPS ${lps} mm: ${Number.isNaN(value) ? "outside" : `${value.toFixed(0)} HU`}${score}. Window ${low} to ${high} HU`;
  }

  /** Shows values from low to high, in HU, in both scans; a name where it is a preset. */
  applyWindow(low, high, name = null) {
    this.windowName = name;
    this.controls.pressed();
    for (const view of this.views) {
      if (view.scan) view.setWindow(low, high);
      else view.window = [low, high];
    }
  }

  setWindow(name) {
    this.applyWindow(...WINDOWS[name].limits, name);
  }

  arrange(name, alone = this.view.alone) {
    for (const view of this.views) view.arrange(name, alone);
    this.controls.pressed();
  }

  zoom(factor) {
    for (const view of this.views) if (view.scan) view.zoom(factor);
  }

  /** Turns the maximum-intensity views, in radians. */
  turn(angle) {
    this.mip.angle = angle;
    this.prior.turn(angle);
    this.redraw();
  }

  get views() {
    return [this.view, this.prior.pane.view];
  }

  /** For tests and for the curious: the place of a pixel of the page in the patient, LPS in mm; null beside the planes. */
  lpsAt(clientX, clientY) {
    const at = this.pointer.at({ clientX, clientY });
    return at.tile ? { plane: at.tile.name, lps: flipped(at.tile.placeOf(at.x, at.y)) } : null;
  }
}

const app = new App();
window.tipsMed = app;
app.start();
