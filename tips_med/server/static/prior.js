// The prior scan beside the current one: opened, registered, followed by the cross, and compared.

import { LostError } from "./api.js";
import { compareAnswers } from "./comparing.js";
import { about, Cover, whyFailed } from "./cover.js";
import { Displacement } from "./displacement.js";
import { find } from "./dom.js";
import { flipped } from "./nifti.js";
import { Pane } from "./pane.js";
import { bindPriorPointer } from "./prior-pointer.js";
import { readMap, readScan } from "./reading.js";

const ASK_FOR_PRIOR = "Choose an earlier chest CT of the same patient, or drop it here: NIfTI (.nii, .nii.gz), or a zip archive of one DICOM series. It goes to this server and nowhere else.";
const ONLY_ONCE = "This is done once for these two scans.";

export class Prior {
  /** @param app The page. */
  constructor(app) {
    this.app = app;
    this.api = app.api;
    this.cover = new Cover(find("prior-cover"));
    this.pane = new Pane(find("prior-planes"), find("prior-over"), () => this.tell());
    this.run = 0; // counts what is opened, so that whatever comes later than the next one is dropped
    this.pair = null;
    this.following = false;
    this.outside = false;
    find("beside").addEventListener("click", () => this.toggle());
    find("prior-close").addEventListener("click", () => this.close());
    find("follow").addEventListener("change", (event) => this.setFollowing(event.target.checked));
    bindPriorPointer(this);
  }

  get opened() {
    return !find("prior").hidden;
  }

  toggle() {
    if (this.opened) this.close();
    else if (this.app.study) this.choose();
  }

  /** Asks which scan is the prior one. */
  async choose() {
    const run = this.begin();
    this.cover.waiting("Asking for the scans of the server");
    try {
      const { studies } = await this.api.get("/v1/studies");
      if (run !== this.run) return;
      const others = studies.filter((one) => one.id !== this.app.study.id);
      this.cover.empty(others, (study) => this.open(async () => study), (file) => this.upload(file), "Which is the prior scan?", ASK_FOR_PRIOR);
      find("prior-cover").querySelector("input, button").focus();
    } catch (error) {
      this.refused(error, run, () => this.choose());
    }
  }

  upload(file) {
    if (!this.app.study) return Promise.resolve();
    return this.open(() => {
      this.cover.waiting("Sending the scan to the server");
      return this.api.upload(file);
    });
  }

  /** Shows the pane with nothing in it; the number of this opening. */
  begin() {
    this.run += 1;
    this.pair = null;
    this.field = null;
    this.pane.view.scan = null;
    for (const id of ["prior-about", "prior-state", "prior-place"]) find(id).textContent = "";
    find("prior").hidden = false;
    find("now-strip").hidden = false;
    find("stage").classList.add("pair");
    find("beside").setAttribute("aria-pressed", "true");
    this.setFollowing(false);
    find("follow").disabled = true;
    this.forget();
    return this.run;
  }

  close() {
    if (!this.opened) return;
    this.run += 1;
    if (this.registering) this.api.remove(this.registering).catch(() => {});
    this.registering = null;
    this.pair = null;
    const focused = find("prior").contains(document.activeElement);
    find("prior").hidden = true;
    find("now-strip").hidden = true;
    find("stage").classList.remove("pair");
    find("beside").setAttribute("aria-pressed", "false");
    this.following = false;
    this.forget();
    if (focused) find("beside").focus();
  }

  /** Drops all comparisons. */
  forget() {
    for (const answer of this.app.questions.answers) {
      answer.comparison = null;
      answer.moved = null;
    }
    if (this.app.study) this.app.show();
  }

  /** Waits until a study is encoded and registered, and shows it. */
  async open(take, allowDifferent = false) {
    const run = this.begin();
    const late = () => run !== this.run;
    const current = this.app.study;
    let study = null;
    try {
      this.cover.waiting("Asking for the scan");
      study = await take();
      if (late()) return;
      const forget = (path) => () => this.api.remove(path).catch(() => {}).then(() => this.choose());
      study = await this.api.follow(study.url, (one) => late() || this.cover.progress(one, forget(study.url)));
      if (late()) return;
      if (study.state !== "ready") {
        if (study.state === "failed") this.failed("The scan cannot be read", study.error);
        else await this.choose();
        return;
      }
      let pair = await this.api.post(`${current.url}/priors`, { prior: study.id, allow_different_patients: allowDifferent });
      if (late()) return;
      this.registering = pair.url;
      pair = await this.api.follow(pair.url, (one) => late() || this.cover.progress(one, forget(pair.url), ONLY_ONCE));
      if (late()) return;
      this.registering = null;
      if (pair.state !== "ready") {
        if (pair.state === "failed") this.failed("The two scans cannot be compared", pair.error, study);
        else await this.choose();
        return;
      }
      await this.load(study, pair, late);
    } catch (error) {
      this.refused(error, run, study ? () => this.open(async () => study, allowDifferent) : () => this.choose());
    }
  }

  async load(study, pair, late) {
    this.cover.waiting("Loading the voxels");
    const files = [`${study.url}/scan.nii.gz`, pair.urls.displacement].map((url) => this.api.bytes(url));
    const [scan, field] = await Promise.all(files);
    const prepared = await readScan(scan);
    this.field = new Displacement(await readMap(field));
    if (late()) return;
    const { view } = this.pane;
    const now = this.app.view;
    Object.assign(view, { first: now.first, alone: now.alone, window: [...now.window] });
    await this.pane.load(prepared);
    if (late()) return;
    this.pair = pair;
    find("prior-about").textContent = [apart(pair.days_between), about(study)].filter(Boolean).join("; ");
    const { good } = pair.registration;
    find("prior-state").textContent = [registered(pair.registration), ...pair.notes].join(" ");
    find("prior-state").className = good ? "quiet" : "refusal";
    find("follow").disabled = !good;
    this.setFollowing(good);
    this.cover.clear();
    view.zoom(0);
    if (now.zoomed > 1) view.zoom(now.zoomed);
    document.body.dataset.prior = study.id;
    await this.compare(this.app.questions.answers);
  }

  failed(title, error, study = null) {
    const actions = { "Open another scan": () => this.choose() };
    if (error.code === "different-patients") {
      actions["Compare them all the same"] = () => this.open(async () => study, true);
    }
    this.cover.failed(title, whyFailed(error), actions);
  }

  refused(error, run, again) {
    if (error instanceof LostError) this.app.lost();
    if (run !== this.run) return;
    const text = error.message === "webgl" ? "This browser cannot draw a second scan." : error.text ?? error.message;
    this.cover.failed("The prior scan cannot be shown", text, { "Try again": again, "Open another scan": () => this.choose() });
  }

  /** Compares what answers found, once there is a prior scan. */
  async compare(answers) {
    const { run } = this;
    if (this.pair) await compareAnswers(this, answers, () => run !== this.run);
  }

  /** Shows the outlines of the answers that are shown in the current scan. */
  show() {
    const { scene } = this.pane;
    const { questions } = this.app;
    const shown = (answer) => ({ ...answer, mask: answer.comparison?.mask ?? null, moved: null, heat: null, hidden: null, peak: null });
    const pairs = questions.answers.map((answer) => [answer, shown(answer)]);
    scene.answers = pairs.map(([, one]) => one);
    scene.active = pairs.find(([answer]) => answer === questions.active)?.[1] ?? null;
    this.pane.redraw();
  }

  setFollowing(on) {
    this.following = on && Boolean(this.pair?.registration.good);
    find("follow").checked = this.following;
    this.outside = false;
    this.follow();
  }

  /** Goes to where the current scan's cross lies in the prior one. */
  follow() {
    if (this.following) this.moveTo(this.field.toPrior(this.app.view.mm));
  }

  /** Goes to a place of the prior scan, LPS in mm. */
  go(lps) {
    if (this.pair) this.moveTo(flipped(lps));
  }

  moveTo(mm) {
    const { view, scene } = this.pane;
    this.outside = !view.holds(mm);
    scene.cross = !this.outside;
    view.moveTo(mm);
    if (view.zoomed > 1) view.zoom(1); // the cross stays in the middle
  }

  turn(angle) {
    this.pane.mip.angle = angle;
    this.pane.redraw();
  }

  /** Whether keys that are pressed in an element move the prior scan by itself. */
  moves(element) {
    if (element !== this.pane.over || this.following || !this.pair) return false;
    this.alone();
    return true;
  }

  alone() {
    this.outside = false;
    this.pane.scene.cross = true;
  }

  tell() {
    const { view } = this.pane;
    if (!this.pair || !view.scan) return;
    const lps = flipped(view.mm).map((v) => v.toFixed(0)).join(", ");
    find("prior-place").textContent = this.outside
      ? "The prior scan does not show this place"
      : `LPS ${lps} mm: ${view.scan.valueAt(view.mm).toFixed(0)} HU`;
  }
}

function apart(days) {
  if (days === null) return "Days between not known";
  return days === 0 ? "Of the same day" : `${days} day${days === 1 ? "" : "s"} earlier`;
}

function registered({ good, correlation, min_correlation: least }) {
  const found = correlation === null ? "unknown" : correlation.toFixed(2);
  if (good) return `Registered: vessels correlate by ${found}.`;
  return `The two scans could not be registered well: vessels correlate by ${found}, and ${least} is needed. The prior scan does not follow the cross, and all changes are unsure.`;
}
