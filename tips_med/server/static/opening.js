// Opening a scan: the token, encoding, loading; and the message when one of them fails.

import { LostError } from "./api.js";
import { about, whyFailed } from "./cover.js";
import { find } from "./dom.js";
import { readScan } from "./reading.js";

const RETRY_MS = 2000;

export class Opening {
  /** @param app The page. */
  constructor(app) {
    this.app = app;
    this.api = app.api;
    this.cover = app.cover;
  }

  async start() {
    const { app, api } = this;
    this.cover.waiting("Connecting");
    try {
      app.told = await api.enter();
      app.about = await api.get("/v1/capabilities");
    } catch (error) {
      this.refused(error);
      return;
    }
    find("model").textContent = `Model: ${app.about.model.name} (${app.about.model.weights_sha256.slice(0, 12)}), version ${app.about.version}`;
    app.controls.examples(app.about.findings);
    const { local, prior } = app.told;
    if (!local) {
      await this.list();
      return;
    }
    await this.open(() => api.post("/v1/studies", { local }));
    if (prior && app.study) await app.prior.open(() => api.post("/v1/studies", { local: prior }));
  }

  refused(error) {
    const { api, cover } = this;
    const again = { "Try again": () => this.start() };
    if (error instanceof LostError) {
      this.lost();
      cover.failed("The server does not answer", "It may have been stopped.", again);
    } else if (error.status === 401 || error.status === 403) {
      cover.locked((token) => {
        api.use(token);
        this.start();
      }, api.token ? error.text : "");
    } else {
      cover.failed("Something went wrong", error.text ?? error.message, again);
    }
  }

  async list() {
    const { studies } = await this.api.get("/v1/studies");
    this.cover.empty(studies, (study) => this.open(async () => study), (file) => this.upload(file));
  }

  upload(file) {
    return this.open(() => {
      this.cover.waiting("Sending the scan to the server");
      return this.api.upload(file);
    });
  }

  /** Waits until a study is encoded, and shows it. */
  async open(take) {
    const { app, api, cover } = this;
    let study = null;
    try {
      study = await take();
      const cancel = async () => {
        await api.remove(`/v1/studies/${study.id}`).catch(() => {});
        await this.list();
      };
      cover.progress(study, cancel);
      study = await api.follow(study.url, (one) => cover.progress(one, cancel));
      if (study.state === "cancelled") {
        await this.list();
        return;
      }
      if (study.state === "failed") {
        cover.failed("The scan cannot be read", whyFailed(study.error), { "Open another scan": () => this.list() });
        return;
      }
      cover.waiting("Loading the voxels");
      const prepared = await readScan(await api.bytes(`${study.url}/scan.nii.gz`));
      app.prior.close();
      app.questions.clear(study.id);
      app.scene.correction = null;
      await app.pane.load(prepared);
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
    app.study = study;
    find("about").textContent = line(study, app.view);
    find("about").title = (study.notes ?? []).join("\n");
    find("beside").disabled = false;
    cover.clear();
    app.show();
    app.view.draw();
    find("query").focus();
    document.body.dataset.ready = study.id;
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
}

function line(study, view) {
  const parts = [about(study)];
  if (view.shown !== view.scan) parts.push("shown along the patient's axes");
  if (study.coverage && !study.coverage.lungs_seen) parts.push("no lung is seen");
  else if (study.coverage && !study.coverage.sides_known) parts.push("left and right are not certain in this scan");
  return parts.join("; ");
}
