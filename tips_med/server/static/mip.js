// The maximum-intensity view: the scan from a side of one's choice, turned about the long axis of the patient.

import { samplePlane } from "./nifti.js";

const STEP_MM = 2;
const MAX_CELLS = 200;

/** Value where there is nothing, below that of air. */
export const NOTHING = -2048;

/** The coarse cells along the patient's axes that cover a volume: lowest corner, edge in mm, number along each axis. */
export function frameOf(volume) {
  const [low, high] = volume.bounds;
  const longest = Math.max(...high.map((v, axis) => v - low[axis]));
  const step = Math.max(STEP_MM, longest / MAX_CELLS);
  return { low, step, dims: high.map((v, axis) => Math.max(1, Math.floor((v - low[axis]) / step) + 1)) };
}

/** A volume on such cells; where its extent is known, nothing is looked for beyond it. */
export function pool(volume, { low, step, dims: [nx, ny, nz] }, outside) {
  const out = new Float32Array(nx * ny * nz).fill(outside);
  const cells = [nx, ny, nz];
  const { extent } = volume;
  if (extent === null) return out;
  const from = low.map((v, axis) => (extent ? Math.max(0, Math.floor((extent.low[axis] - v) / step)) : 0));
  const to = low.map((v, axis) => (extent ? Math.min(cells[axis] - 1, Math.ceil((extent.high[axis] - v) / step)) : cells[axis] - 1));
  const [columns, rows] = [to[0] - from[0] + 1, to[1] - from[1] + 1];
  if (columns < 1 || rows < 1) return out;
  for (let k = from[2]; k <= to[2]; k += 1) {
    const plane = {
      origin: [low[0] + from[0] * step, low[1] + from[1] * step, low[2] + k * step], across: [step, 0, 0], down: [0, step, 0],
    };
    const values = samplePlane(volume, plane, columns, rows, { linear: false, outside });
    for (let row = 0; row < rows; row += 1) {
      out.set(values.subarray(row * columns, (row + 1) * columns), from[0] + nx * (from[1] + row + ny * k));
    }
  }
  return out;
}

export class Mip {
  constructor() {
    this.angle = 0;
    this.cells = null;
    this.pooled = new WeakMap();
    this.flat = new WeakMap();
  }

  /** Takes a scan as `readScan` prepared it. */
  load({ scan, cells }) {
    this.frame = frameOf(scan);
    this.cells = cells;
    this.pooled = new WeakMap();
  }

  /** A mask on the same cells, kept for as long as the mask is. */
  mask(volume, changed = false) {
    if (changed || !this.pooled.has(volume)) this.pooled.set(volume, pool(volume, this.frame, 0));
    return this.pooled.get(volume);
  }

  /** The highest value along each ray, [rows * columns], with the head up; at angle 0 from the front. */
  project(cells, nothing) {
    const kept = this.flat.get(cells);
    if (kept?.angle === this.angle) return kept;
    const [nx, ny, nz] = this.frame.dims;
    const across = Math.ceil(Math.hypot(nx, ny));
    const out = new Float32Array(across * nz).fill(nothing);
    const cos = Math.cos(this.angle);
    const sin = Math.sin(this.angle);
    for (let u = 0; u < across; u += 1) {
      const from = u - (across - 1) / 2;
      for (let s = 0; s < across; s += 1) {
        const deep = s - (across - 1) / 2;
        // Seen from the front, the patient's right (+x in RAS) is on the left.
        const i = Math.round((nx - 1) / 2 - from * cos + deep * sin);
        const j = Math.round((ny - 1) / 2 - from * sin - deep * cos);
        if (i < 0 || j < 0 || i >= nx || j >= ny) continue;
        for (let k = 0; k < nz; k += 1) {
          const value = cells[i + nx * (j + ny * k)];
          const at = u + across * (nz - 1 - k);
          if (value > out[at]) out[at] = value;
        }
      }
    }
    const made = { values: out, columns: across, rows: nz, angle: this.angle };
    this.flat.set(cells, made);
    return made;
  }

  /** Which side faces the viewer's left. */
  get marks() {
    const turns = ((this.angle % (2 * Math.PI)) + 2 * Math.PI) % (2 * Math.PI);
    const cos = Math.cos(turns);
    const sin = Math.sin(turns);
    if (Math.abs(cos) >= Math.abs(sin)) return cos > 0 ? ["R", "L"] : ["L", "R"];
    return sin > 0 ? ["A", "P"] : ["P", "A"];
  }
}
