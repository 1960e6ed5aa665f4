// Scans are unpacked and resampled for display in a worker, so that the page never waits for them.

import { Volume } from "./nifti.js";

/**
 * Reads a scan for display.
 *
 * @param buffer A gzipped NIfTI file; it is moved to the worker.
 * @returns scan, shown (the scan along the patient's axes, which may be itself), file (shown, as NIfTI), cells (of the
 *   maximum-intensity view).
 */
export function readScan(buffer) {
  const worker = new Worker("reading-worker.js", { type: "module" });
  return new Promise((done, failed) => {
    worker.onmessage = ({ data }) => {
      if (data.error) {
        failed(new Error(data.error));
        return;
      }
      const scan = volumeOf(data.scan);
      done({ scan, shown: data.shown ? volumeOf(data.shown) : scan, file: data.file, cells: data.cells });
    };
    worker.onerror = () => failed(new Error("this browser cannot prepare the scan"));
    worker.postMessage(buffer, [buffer]);
  }).finally(() => worker.terminate());
}

function volumeOf({ dims, data, affine }) {
  return new Volume(dims, data, affine);
}
