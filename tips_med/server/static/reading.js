// Volumes are unpacked, and resampled for display, in a worker, so that the page never waits for them.

import { Volume } from "./nifti.js";

let worker = null;
let last = 0;
const waiting = new Map();

/**
 * Reads a scan for display.
 *
 * @param buffer A gzipped NIfTI file; it is moved to the worker.
 * @returns scan, shown (the scan along the patient's axes, which may be itself), file (shown, as NIfTI), cells (of the
 *   maximum-intensity view).
 */
export async function readScan(buffer) {
  const { volume, shown, file, cells } = await asked(buffer, "scan");
  const scan = volumeOf(volume);
  return { scan, shown: shown ? volumeOf(shown) : scan, file, cells };
}

/** Reads a map; its `extent` is the box around all values above 0.05, and null where there are none. */
export async function readMap(buffer) {
  return volumeOf((await asked(buffer, "map")).volume);
}

/** Reads a mask or label map as a mask of 0 and 1; null where nothing is marked. */
export async function readMask(buffer) {
  const mask = volumeOf((await asked(buffer, "mask")).volume);
  return mask.extent === null ? null : mask;
}

function asked(buffer, kind) {
  worker ??= begun();
  last += 1;
  const id = last;
  return new Promise((done, failed) => {
    waiting.set(id, { done, failed });
    worker.postMessage({ id, buffer, kind }, [buffer]);
  });
}

function begun() {
  const made = new Worker("reading-worker.js", { type: "module" });
  made.onmessage = ({ data }) => {
    const { done, failed } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) failed(new Error(data.error));
    else done(data);
  };
  made.onerror = () => {
    for (const { failed } of waiting.values()) failed(new Error("this browser cannot prepare the scan"));
    waiting.clear();
    worker = null;
  };
  return made;
}

function volumeOf({ dims, data, affine, components, extent }) {
  return Object.assign(new Volume(dims, data, affine, components), { extent });
}
