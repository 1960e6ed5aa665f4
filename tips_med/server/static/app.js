// The page: one scan, several questions.

import { Api, LostError } from "./api.js";
import { ballMask } from "./correct.js";
import { Correcting } from "./correcting.js";
import * as cover from "./cover.js";
import { find, make, save, settled } from "./dom.js";
import { bindKeys } from "./keys.js";
import { Mip } from "./mip.js";
import { flipped, readNifti } from "./nifti.js";
import { Overlay } from "./overlay.js";
import { answerCard, declinedCard, whatCard } from "./panel.js";
import { Pointer } from "./pointer.js";
import { QueryBox } from "./query.js";
import { Questions } from "./questions.js";
import { View, WINDOWS } from "./view.js";

const TOOLS = { move: "Move", what: "What is this?" };
const RETRY_MS = 2000;

class App {
  constructor() {
    this.api = new Api();
    this.over = find("over");
    this.overlay = new Overlay(this.over);
    this.mip = new Mip();
    this.view = new View(find("planes"), () => this.redraw());
    this.questions = new Questions(this.api, () => this.show());
    this.scene = { answers: [], active: null, word: null, correction: null, pointer: null, opacity: 0.45, shade: false };
    this.tool = "move";
    this.place = 0;
    this.correcting = new Correcting(this);
    this.box = new QueryBox(this.api, (text) => this.ask(text));
    this.pointer = new Pointer(this.over, this);
    bindKeys(this);
    this.bars();
    this.controls();
    new ResizeObserver(() => this.view.draw()).observe(find("stage"));
    this.drop();
  }

  async start() {
    cover.waiting("Connecting");
    try {
      this.told = await this.api.enter();
      this.about = await this.api.get("/v1/capabilities");
    } catch (error) {
      this.refused(error);
      return;
    }
    find("model").textContent = `Model: ${this.about.model.name} (${this.about.model.weights_sha256.slice(0, 12)}), version ${this.about.version}`;
    this.examples();
    const { local } = this.told;
    if (local) await this.open(() => this.api.post("/v1/studies", { local }));
    else await this.list();
  }

  refused(error) {
    if (error instanceof LostError) {
      this.lost();
      cover.failed("The server does not answer", "It may have been stopped.", { "Try again": () => this.start() });
    } else if (error.status === 401 || error.status === 403) {
      cover.locked((token) => {
        this.api.use(token);
        this.start();
      }, this.api.token ? error.text : "");
    } else {
      cover.failed("Something went wrong", error.text ?? error.message, { "Try again": () => this.start() });
    }
  }

  async list() {
    const { studies } = await this.api.get("/v1/studies");
    cover.empty(studies, (study) => this.open(async () => study), (file) => this.open(() => {
      cover.waiting("Sending the scan to the server");
      return this.api.upload(file);
    }));
  }

  /** Waits until a study is encoded, and shows it. */
  async open(take) {
    let study = null;
    try {
      study = await take();
      const cancel = async () => {
        await this.api.remove(`/v1/studies/${study.id}`).catch(() => {});
        await this.list();
      };
      cover.progress(study, cancel);
      study = await this.api.follow(study.id, (one) => cover.progress(one, cancel));
      if (study.state === "cancelled") {
        await this.list();
        return;
      }
      if (study.state === "failed") {
        const { message, expected, remedy } = study.error;
        const said = [message, expected ? `Expected: ${expected}` : "", remedy].filter(Boolean).join(". ");
        cover.failed("The scan cannot be read", said, { "Open another scan": () => this.list() });
        return;
      }
      cover.waiting("Loading the voxels");
      const scan = await readNifti(await this.api.bytes(`/v1/studies/${study.id}/scan.nii.gz`));
      this.questions.clear(study.id);
      this.scene.correction = null;
      await this.view.load(scan);
      this.mip.load(scan);
    } catch (error) {
      if (error.message === "webgl") {
        cover.failed("This browser cannot draw the scan", "It needs WebGL 2: use a newer browser, or switch its hardware acceleration on.");
      } else if (error instanceof LostError && study) {
        this.lost(() => this.open(async () => study));
      } else {
        this.refused(error);
      }
      return;
    }
    this.study = study;
    find("about").textContent = this.line(study);
    find("about").title = (study.notes ?? []).join("\n");
    cover.clear();
    this.show();
    this.view.draw();
    find("query").focus();
    document.body.dataset.ready = study.id;
  }

  line(study) {
    const parts = [cover.about(study)];
    if (this.view.shown !== this.view.scan) parts.push("shown along the patient's axes");
    if (study.coverage && !study.coverage.lungs_seen) parts.push("no lung is seen");
    else if (study.coverage && !study.coverage.sides_known) parts.push("left and right are not certain in this scan");
    return parts.join("; ");
  }

  async ask(text, threshold = null, go = true) {
    if (!this.study) return;
    this.busy(true);
    try {
      const made = await this.questions.ask(text, threshold);
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

  /** Goes to the next or previous place of the shown answer. */
  next(way) {
    const places = this.questions.active?.report.instances ?? [];
    if (!places.length) return;
    this.place = (this.place + way + places.length) % places.length;
    this.go(places[this.place].peak_lps);
  }

  /** Asks what is at a place, or in a ball about it. */
  async what(mm, radiusMm = 0) {
    if (!this.study) return;
    const asked = find("what");
    this.view.moveTo(mm);
    asked.hidden = false;
    asked.replaceChildren(make("p", { class: "quiet" }, "Comparing\u2026"));
    const close = () => {
      asked.hidden = true;
      asked.replaceChildren();
    };
    try {
      const place = radiusMm ? { mask: await ballMask(this.view.scan, mm, radiusMm) } : { at_lps: flipped(mm) };
      const found = await this.api.post(`/v1/studies/${this.study.id}/what`, place);
      asked.replaceChildren(whatCard(found, { close, ask: (text) => this.ask(text) }));
      asked.scrollIntoView({ block: "nearest" });
    } catch (error) {
      if (error instanceof LostError) this.lost();
      asked.replaceChildren(make("p", { class: "refusal" }, error.text ?? error.message),
        make("button", { type: "button", class: "small", click: close }, "Close"));
    }
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
    this.pressed();
    this.redraw();
  }

  async export() {
    const ids = this.questions.answers.map((one) => one.id).reverse();
    this.busy(true);
    try {
      save(await this.api.bytes(`/v1/studies/${this.study.id}/archive.zip?answers=${ids.join(",")}`), "answers.zip", "application/zip");
    } catch (error) {
      if (error instanceof LostError) this.lost();
      else find("refusal").textContent = error.text;
    } finally {
      this.busy(false);
    }
  }

  /** The connection is gone: says so until the server answers again. */
  async lost(then = null) {
    const banner = find("lost");
    if (!banner.hidden) return;
    banner.hidden = false;
    banner.textContent = "The server does not answer. Trying again\u2026";
    for (;;) {
      await new Promise((done) => { setTimeout(done, RETRY_MS); });
      const back = await this.api.fetch("/healthz").then(() => true, () => false);
      if (back) break;
    }
    banner.hidden = true;
    if (then) then();
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
      go: (lps) => {
        if (questions.active !== answer) questions.choose(answer);
        this.go(lps);
      },
      hover: (number) => this.hover(answer, number),
      correct: () => this.correcting.begin(answer),
    }));
    find("answers").replaceChildren(
      ...questions.declined.map((entry) => declinedCard(entry, () => questions.dropDeclined(entry))), ...cards);
    find("display").hidden = !questions.answers.length;
    find("examples").hidden = questions.answers.length > 0;
    const { active } = questions;
    if (active) {
      const own = active.threshold !== null;
      find("calibrated").hidden = !own;
      find("threshold").value = active.threshold ?? 0.5;
      find("level").textContent = own ? active.threshold.toFixed(2) : "calibrated";
    }
    this.correcting.show();
    this.redraw();
  }

  redraw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.overlay.draw(this.view, this.mip, this.scene);
      this.tell();
    });
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

  windowed(name) {
    this.windowName = name;
    this.pressed();
  }

  setWindow(name) {
    this.windowed(name);
    if (this.view.scan) this.view.setWindow(...WINDOWS[name].limits);
    else this.view.window = [...WINDOWS[name].limits];
  }

  arrange(name, alone = false) {
    this.view.arrange(name, alone);
    this.pressed();
  }

  bars() {
    const add = (id, entries, act) => find(id).append(...Object.entries(entries).map(([name, text]) =>
      make("button", { type: "button", "data-name": name, click: () => act(name) }, text)));
    add("windows", Object.fromEntries(Object.entries(WINDOWS).map(([name, one]) => [name, one.name])), (name) => {
      this.chosen = true;
      this.setWindow(name);
    });
    add("views", { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal", mip: "MIP" }, (name) => this.arrange(name));
    add("tools", TOOLS, (name) => this.use(name));
    this.setWindow("soft");
  }

  pressed() {
    const on = { windows: this.windowName, views: this.view?.first, tools: this.tool };
    for (const [id, name] of Object.entries(on)) {
      find(id).querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.name === name)));
    }
  }

  controls() {
    find("opacity").addEventListener("input", (event) => {
      this.scene.opacity = Number(event.target.value);
      this.redraw();
    });
    find("shade").addEventListener("change", (event) => {
      this.scene.shade = event.target.checked;
      this.redraw();
    });
    const again = settled(250, () => {
      const { active } = this.questions;
      if (active) this.ask(active.text, Number(find("threshold").value), false);
    });
    find("threshold").addEventListener("input", (event) => {
      find("level").textContent = Number(event.target.value).toFixed(2);
      again();
    });
    find("calibrated").addEventListener("click", () => this.ask(this.questions.active.text, null, false));
    find("export").addEventListener("click", () => this.export());
    find("help").addEventListener("click", () => find("keys").showModal());
    window.addEventListener("beforeunload", (event) => {
      if (this.scene.correction?.changed) event.preventDefault();
    });
  }

  examples() {
    const names = this.about.findings.slice(0, 3).map((one) => one.name);
    const texts = [...names.slice(0, 2), `no ${names[2] ?? names[0]}`];
    find("examples").replaceChildren("For example: ", ...texts.flatMap((text, n) => [
      n ? ", " : "",
      make("button", { type: "button", class: "link", click: () => {
        find("query").value = text;
        this.ask(text);
      } }, text),
    ]));
  }

  /** A scan may be dropped on the page. */
  drop() {
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      this.open(() => {
        cover.waiting("Sending the scan to the server");
        return this.api.upload(file);
      });
    });
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
