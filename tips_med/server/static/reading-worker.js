// The worker of reading.js.

import { frameOf, NOTHING, pool } from "./mip.js";
import { extentOf, readNifti, upright, writeNifti } from "./nifti.js";

const FAINT = 0.05;

self.onmessage = async ({ data: { id, buffer, kind } }) => {
  try {
    const volume = await readNifti(buffer);
    const [told, parts] = { scan: scanOf, map: mapOf, mask: maskOf }[kind](volume);
    self.postMessage({ id, ...told }, [...parts.map((one) => one.buffer ?? one)]);
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};

function scanOf(scan) {
  const shown = upright(scan);
  const cells = pool(scan, frameOf(scan), NOTHING);
  const file = writeNifti(asInt16(shown));
  const parts = [scan.data, cells, file];
  if (shown !== scan) parts.push(shown.data);
  return [{ volume: plain(scan), shown: shown === scan ? null : plain(shown), cells, file }, parts];
}

function mapOf(map) {
  return [{ volume: { ...plain(map), extent: map.components === 1 ? extentOf(map, FAINT) : undefined } }, [map.data]];
}

function maskOf(labels) {
  const data = Uint8Array.from(labels.data, (v) => (v > 0 ? 1 : 0));
  return [{ volume: { ...plain(labels), data, extent: extentOf({ ...plain(labels), data }, 0) } }, [data]];
}

function plain({ dims, data, affine, components }) {
  return { dims, data, affine, components };
}

function asInt16(volume) {
  if (volume.data instanceof Int16Array || volume.data instanceof Uint8Array) return volume;
  return Object.assign(Object.create(Object.getPrototypeOf(volume)), volume, { data: Int16Array.from(volume.data) });
}
