// What stands over a scan while there is nothing to see: waiting, empty, failed, not allowed.

import { make } from "./dom.js";

const WAITS = {
  queued: "Waiting for its turn", reading: "Reading the scan", encoding: "Encoding the scan", registering: "Registering the two scans",
};
const ASK_FOR_SCAN = "Choose a chest CT, or drop it here: NIfTI (.nii, .nii.gz), or a zip archive of one DICOM series. It goes to this server and nowhere else.";

export class Cover {
  /** @param element The element that stands over the scan. */
  constructor(element) {
    this.element = element;
  }

  clear() {
    this.element.replaceChildren();
  }

  waiting(text) {
    this.element.replaceChildren(make("h2", {}, text), make("progress", {}));
  }

  /** How far a study, or the registration of two, is, with a button that cancels it. */
  progress(work, cancel, hint = "Once encoded, each question takes a fraction of a second.") {
    const known = work.state in WAITS && work.total > 0;
    const bar = known ? make("progress", { max: work.total, value: work.done }) : make("progress");
    const share = known ? `, ${Math.round((100 * work.done) / work.total)}%` : "";
    const had = this.element.contains(document.activeElement);
    const button = make("button", { type: "button", click: cancel }, "Cancel");
    this.element.replaceChildren(
      make("h2", {}, `${WAITS[work.state] ?? "Working"}${share}`), bar, make("p", { class: "quiet" }, hint), button,
    );
    if (had) button.focus({ preventScroll: true });
  }

  failed(title, text, actions = {}) {
    this.element.replaceChildren(
      make("h2", {}, title),
      make("p", { class: "refusal" }, text),
      make("div", { class: "bar" }, ...buttons(actions)),
    );
  }

  /** Asks for the server's token. */
  locked(enter, text = "") {
    const input = make("input", { type: "password", "aria-label": "Token", autocomplete: "off" });
    const form = make("form", { class: "row", submit: (event) => {
      event.preventDefault();
      enter(input.value.trim());
    } }, input, make("button", { class: "main", type: "submit" }, "Enter"));
    this.element.replaceChildren(
      make("h2", {}, "The server asks for its token"),
      make("p", { class: "quiet" }, "The server printed it when it started. A link works once: for another one, run tips-med view again."),
      form,
      text ? make("p", { class: "refusal", role: "alert" }, text) : "",
    );
    input.focus();
  }

  /** Nothing is open: take a scan in, or open one that is there. */
  empty(studies, open, upload, title = "No scan is open", text = ASK_FOR_SCAN) {
    const input = make("input", { type: "file", accept: ".nii,.gz,.zip", "aria-label": "Scan: NIfTI, or a zip archive of DICOM",
      change: () => input.files.length && upload(input.files[0]) });
    const list = studies.filter((one) => one.state !== "failed").map((one) =>
      make("li", {}, make("button", { type: "button", click: () => open(one) }, `Open ${one.id.slice(0, 8)} (${about(one) || one.state})`)));
    this.element.replaceChildren(
      make("h2", {}, title),
      make("p", { class: "quiet" }, text),
      make("div", { class: "drop" }, input),
      list.length ? make("ul", { "aria-label": "Scans on the server" }, ...list) : "",
    );
  }
}

function buttons(actions) {
  return Object.entries(actions).map(([name, act]) => make("button", { type: "button", click: act }, name));
}

/** A study in a few words. */
export function about(study) {
  if (!study.shape_kji) return "";
  const [slices, rows, columns] = study.shape_kji;
  const [thick, high, wide] = study.spacing_mm_kji;
  const text = `${study.modality} ${columns} \u00D7 ${rows}, ${slices} slices of ${thick.toFixed(1)} mm, pixels of ${wide.toFixed(2)} mm`;
  return high.toFixed(2) === wide.toFixed(2) ? text : `${text} \u00D7 ${high.toFixed(2)} mm`;
}

/** Why a study, or a pair, failed, in one text. */
export function whyFailed({ message, expected, remedy }) {
  return [message, expected ? `Expected: ${expected}` : "", remedy].filter(Boolean).join(". ");
}
