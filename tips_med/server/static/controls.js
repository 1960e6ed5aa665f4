// Buttons and sliders around the scan.

import { LostError } from "./api.js";
import { find, make, save, settled } from "./dom.js";
import { WINDOWS } from "./view.js";

export const TOOLS = { move: "Move", what: "What is this?" };
const VIEWS = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal", mip: "MIP" };

export class Controls {
  /** @param app The page. */
  constructor(app) {
    this.app = app;
    const windows = Object.fromEntries(Object.entries(WINDOWS).map(([name, one]) => [name, one.name]));
    this.bar("windows", windows, (name) => {
      app.chosen = true;
      app.setWindow(name);
    });
    this.bar("views", VIEWS, (name) => app.arrange(name));
    this.bar("tools", TOOLS, (name) => app.use(name));
    this.sliders();
    find("export").addEventListener("click", () => this.export());
    find("help").addEventListener("click", () => find("keys").showModal());
    window.addEventListener("beforeunload", (event) => {
      if (app.scene.correction?.changed) event.preventDefault();
    });
    this.drop();
  }

  bar(id, entries, act) {
    find(id).append(...Object.entries(entries).map(([name, text]) =>
      make("button", { type: "button", "data-name": name, click: () => act(name) }, text)));
  }

  /** Shows which buttons are pressed. */
  pressed() {
    const { app } = this;
    const on = { windows: app.windowName, views: app.view.first, tools: app.tool };
    for (const [id, name] of Object.entries(on)) {
      find(id).querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.name === name)));
    }
  }

  sliders() {
    const { app } = this;
    find("opacity").addEventListener("input", (event) => {
      app.scene.opacity = Number(event.target.value);
      app.redraw();
    });
    find("shade").addEventListener("change", (event) => {
      app.scene.shade = event.target.checked;
      app.redraw();
    });
    const again = settled(250, () => {
      const { active } = app.questions;
      if (active) app.ask(active.text, Number(find("threshold").value), false);
    });
    find("threshold").addEventListener("input", (event) => {
      find("level").textContent = Number(event.target.value).toFixed(2);
      again();
    });
    find("calibrated").addEventListener("click", () => app.ask(app.questions.active.text, null, false));
  }

  /** Shows the threshold of the answer in front. */
  threshold(active) {
    if (!active) return;
    const own = active.threshold !== null;
    find("calibrated").hidden = !own;
    find("threshold").value = active.threshold ?? 0.5;
    find("level").textContent = own ? active.threshold.toFixed(2) : "calibrated";
  }

  async export() {
    const { app } = this;
    const ids = app.questions.answers.map((one) => one.id).reverse();
    app.busy(true);
    try {
      save(await app.api.bytes(`${app.study.url}/archive.zip?answers=${ids.join(",")}`), "answers.zip", "application/zip");
    } catch (error) {
      if (error instanceof LostError) app.lost();
      else find("refusal").textContent = error.text;
    } finally {
      app.busy(false);
    }
  }

  examples(findings) {
    const names = findings.slice(0, 3).map((one) => one.name);
    const texts = [...names.slice(0, 2), `no ${names[2] ?? names[0]}`];
    find("examples").replaceChildren("For example: ", ...texts.flatMap((text, n) => [
      n ? ", " : "",
      make("button", { type: "button", class: "link", click: () => {
        find("query").value = text;
        this.app.ask(text);
      } }, text),
    ]));
  }

  /** A scan may be dropped on the page; on the prior pane it is the prior one. */
  drop() {
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      if (event.target.closest("#prior")) this.app.prior.upload(file);
      else this.app.opening.upload(file);
    });
  }
}
