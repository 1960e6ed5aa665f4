// The worker of reading.js.

import { frameOf, NOTHING, pool } from "./mip.js";
import { readNifti, upright, writeNifti } from "./nifti.js";

self.onmessage = async ({ data: buffer }) => {
  try {
    const scan = await readNifti(buffer);
    const shown = upright(scan);
    const cells = pool(scan, frameOf(scan), NOTHING);
    const file = writeNifti(asInt16(shown));
    const parts = [scan.data.buffer, cells.buffer, file];
    if (shown !== scan) parts.push(shown.data.buffer);
    self.postMessage({ scan: plain(scan), shown: shown === scan ? null : plain(shown), cells, file }, parts);
  } catch (error) {
    self.postMessage({ error: error.message });
  }
};

function plain({ dims, data, affine }) {
  return { dims, data, affine };
}

function asInt16(volume) {
  if (volume.data instanceof Int16Array || volume.data instanceof Uint8Array) return volume;
  return Object.assign(Object.create(Object.getPrototypeOf(volume)), volume, { data: Int16Array.from(volume.data) });
}
