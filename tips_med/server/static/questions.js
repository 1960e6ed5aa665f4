// Questions of one study: asked, coloured, with their volumes.

import { flipped } from "./nifti.js";
import { readMap } from "./reading.js";

/** Told apart by people who see fewer colours, too; all of them stand out on grey. */
const COLOURS = ["#3ee0ff", "#ffb000", "#ff7ad9", "#8cf26b", "#b9a3ff", "#ff8a5c"];
const MAX_ANSWERS = 12;

export class Questions {
  /**
   * @param api The server.
   * @param changed Called when an answer, or its volumes, have changed.
   */
  constructor(api, changed) {
    this.api = api;
    this.changed = changed;
    this.clear(null);
  }

  clear(study) {
    this.study = study;
    this.answers = [];
    this.declined = [];
    this.active = null;
  }

  /** Asks; answers to the same query take the place of earlier ones. Returns the new answers. */
  async ask(text, threshold = null) {
    const study = this.study;
    const report = await this.api.post(`/v1/studies/${study}/answers`, { query: text, threshold });
    if (study !== this.study) return [];
    const given = report.answers.filter((entry) => !entry.declined);
    this.declined = report.answers.filter((entry) => entry.declined);
    this.model = report.model;
    const made = await Promise.all(given.map((entry) => this.load(entry, threshold)));
    if (study !== this.study) return [];
    for (const answer of made) {
      const old = this.answers.findIndex((one) => one.report.query === answer.report.query);
      answer.colour = old >= 0 ? this.answers[old].colour : this.colour();
      answer.text = text;
      if (old >= 0) this.answers[old] = answer;
      else this.answers.unshift(answer);
    }
    this.answers.length = Math.min(this.answers.length, MAX_ANSWERS);
    if (made.length) [this.active] = made;
    this.changed();
    return made;
  }

  async load(report, threshold) {
    const { id, urls } = report;
    const files = [urls.mask, urls.heat, urls["not-assessed"]];
    const [mask, heat, hidden] = await Promise.all(files.map(async (url) => readMap(await this.api.bytes(url))));
    return {
      id,
      report,
      threshold,
      visible: true,
      mask: report.instances.length ? mask : null,
      grid: mask,
      heat,
      hidden: hidden.extent === null ? null : hidden,
      peak: report.peak_lps ? flipped(report.peak_lps) : null,
      words: (urls.words ?? []).map(({ word, url }) => ({ word, url, heat: null })),
    };
  }

  /** The map of one word of an answer. */
  async word(answer, number) {
    const word = answer.words[number];
    word.heat ??= await readMap(await this.api.bytes(word.url));
    return word;
  }

  colour() {
    const used = this.answers.map((one) => one.colour);
    return COLOURS.find((one) => !used.includes(one)) ?? COLOURS[this.answers.length % COLOURS.length];
  }

  choose(answer) {
    this.active = answer;
    answer.visible = true;
    this.changed();
  }

  toggle(answer) {
    answer.visible = !answer.visible;
    this.changed();
  }

  remove(answer) {
    this.answers = this.answers.filter((one) => one !== answer);
    if (this.active === answer) [this.active = null] = this.answers;
    this.changed();
  }

  dropDeclined(entry) {
    this.declined = this.declined.filter((one) => one !== entry);
    this.changed();
  }
}
