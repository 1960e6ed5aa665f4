// What stands over the planes while there is nothing to see: waiting, empty, failed, not allowed.

import { find, make } from "./dom.js";

const WAITS = { queued: "Waiting for its turn", reading: "Reading the scan", encoding: "Encoding the scan" };

const cover = () => find("cover");

export function clear() {
  cover().replaceChildren();
}

export function waiting(text) {
  cover().replaceChildren(make("h2", {}, text), make("progress", {}));
}

/** How far a study is, with a button that cancels it. */
export function progress(study, cancel) {
  const known = study.state === "encoding" && study.total > 0;
  const bar = known ? make("progress", { max: study.total, value: study.done }) : make("progress");
  const share = known ? `, ${Math.round((100 * study.done) / study.total)}%` : "";
  cover().replaceChildren(
    make("h2", {}, `${WAITS[study.state] ?? "Working"}${share}`),
    bar,
    make("p", { class: "quiet" }, "Once encoded, each question takes a fraction of a second."),
    make("button", { type: "button", click: cancel }, "Cancel"),
  );
}

export function failed(title, text, actions = {}) {
  cover().replaceChildren(
    make("h2", {}, title),
    make("p", { class: "refusal" }, text),
    make("div", { class: "bar" }, ...buttons(actions)),
  );
}

/** Asks for the server's token. */
export function locked(enter, text = "") {
  const input = make("input", { type: "password", "aria-label": "Token", autocomplete: "off" });
  const form = make("form", { class: "row", submit: (event) => {
    event.preventDefault();
    enter(input.value.trim());
  } }, input, make("button", { class: "main", type: "submit" }, "Enter"));
  cover().replaceChildren(
    make("h2", {}, "The server asks for its token"),
    make("p", { class: "quiet" }, "The server printed it when it started. A link works once: for another one, run tips-med view again."),
    form,
    text ? make("p", { class: "refusal", role: "alert" }, text) : "",
  );
  input.focus();
}

/** Nothing is open: take a scan in, or open one that is there. */
export function empty(studies, open, upload) {
  const input = make("input", { type: "file", accept: ".nii,.gz,.zip", "aria-label": "Scan: NIfTI, or a zip archive of DICOM",
    change: () => input.files.length && upload(input.files[0]) });
  const list = studies.filter((one) => one.state !== "failed").map((one) =>
    make("li", {}, make("button", { type: "button", click: () => open(one) }, `Open ${one.id.slice(0, 8)} (${about(one) || one.state})`)));
  cover().replaceChildren(
    make("h2", {}, "No scan is open"),
    make("p", { class: "quiet" }, "Choose a chest CT, or drop it here: NIfTI (.nii, .nii.gz), or a zip archive of one DICOM series. It goes to this server and nowhere else."),
    make("div", { class: "drop" }, input),
    list.length ? make("ul", { "aria-label": "Scans on the server" }, ...list) : "",
  );
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
