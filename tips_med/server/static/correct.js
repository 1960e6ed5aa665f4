// The correction of a mask: painted, erased, whole pieces taken away or added; saved for training.

import { apply, base64, samplePlane, Volume, writeNifti, zipped } from "./nifti.js";

const UNDO = 20;
const GROWN_MM = 60;

export class Correction {
  /** @param answer The corrected answer: with mask on the scan's grid, heat, and its report. */
  constructor(answer) {
    this.answer = answer;
    const { dims, data, affine } = answer.mask;
    this.volume = new Volume(dims, Uint8Array.from(data, (v) => (v > 0 ? 1 : 0)), affine);
    this.count = this.volume.data.reduce((sum, v) => sum + v, 0);
    this.strokes = [];
    this.changed = false;
  }

  get volumeMl() {
    return (this.count * this.volume.spacing.reduce((product, mm) => product * mm, 1)) / 1000;
  }

  /** Begins a stroke: what can be undone at once. */
  begin() {
    this.strokes.push(new Map());
    if (this.strokes.length > UNDO) this.strokes.shift();
  }

  set(at, value) {
    const { data } = this.volume;
    if (data[at] === value) return;
    const stroke = this.strokes.at(-1);
    if (stroke && !stroke.has(at)) stroke.set(at, data[at]);
    this.count += value - data[at];
    data[at] = value;
    this.changed = true;
  }

  /** Takes the last stroke back. Returns whether there was one. */
  undo() {
    const stroke = this.strokes.pop();
    if (!stroke) return false;
    for (const [at, value] of stroke) {
      this.count += value - this.volume.data[at];
      this.volume.data[at] = value;
    }
    return true;
  }

  /** Sets all voxels within a ball about a place, RAS in mm. */
  paint(mm, radiusMm, value) {
    const { dims, affine, inverse, spacing } = this.volume;
    const middle = apply(inverse, mm);
    const reach = spacing.map((step) => Math.ceil(radiusMm / step) + 1);
    const from = middle.map((v, axis) => Math.max(0, Math.round(v) - reach[axis]));
    const to = middle.map((v, axis) => Math.min(dims[axis] - 1, Math.round(v) + reach[axis]));
    for (let k = from[2]; k <= to[2]; k += 1) {
      for (let j = from[1]; j <= to[1]; j += 1) {
        for (let i = from[0]; i <= to[0]; i += 1) {
          const at = apply(affine, [i, j, k]);
          const near = Math.hypot(at[0] - mm[0], at[1] - mm[1], at[2] - mm[2]) <= radiusMm;
          if (near) this.set(i + dims[0] * (j + dims[1] * k), value);
        }
      }
    }
    const own = this.volume.voxelAt(mm);
    if (own) this.set(this.volume.offset(own), value); // however thick the slices are
  }

  /** Takes the piece at a place away. Returns the number of voxels. */
  dropPiece(mm) {
    const seed = this.volume.voxelAt(mm);
    if (!seed || !this.volume.data[this.volume.offset(seed)]) return 0;
    const piece = this.connected(seed, (at) => this.volume.data[at] > 0);
    piece.forEach((at) => this.set(at, 0));
    return piece.length;
  }

  /** Adds the piece that the answer's map lights up at a place, down to half of the score there. */
  addPiece(mm) {
    const seed = this.volume.voxelAt(mm);
    const { heat } = this.answer;
    const here = heat?.valueAt(mm);
    if (!seed || !(here > 0.02)) return 0;
    const scores = this.scores(mm);
    const piece = this.connected(seed, (at) => scores.get(at) >= here / 2);
    piece.forEach((at) => this.set(at, 1));
    return piece.length;
  }

  /** Scores of the answer's map on the scan's voxels near a place. */
  scores(mm) {
    const { dims, affine, inverse, spacing } = this.volume;
    const middle = apply(inverse, mm).map(Math.round);
    const reach = spacing.map((step) => Math.ceil(GROWN_MM / 2 / step));
    const from = middle.map((v, axis) => Math.max(0, v - reach[axis]));
    const to = middle.map((v, axis) => Math.min(dims[axis] - 1, v + reach[axis]));
    const scores = new Map();
    for (let k = from[2]; k <= to[2]; k += 1) {
      const origin = apply(affine, [from[0], from[1], k]);
      const columns = to[0] - from[0] + 1;
      const rows = to[1] - from[1] + 1;
      const plane = { origin, across: affine.map((row) => row[0]), down: affine.map((row) => row[1]) };
      const values = samplePlane(this.answer.heat, plane, columns, rows);
      values.forEach((value, n) => {
        const at = from[0] + (n % columns) + dims[0] * (from[1] + Math.floor(n / columns) + dims[1] * k);
        if (value > 0) scores.set(at, value);
      });
    }
    return scores;
  }

  /** Offsets of the voxels that hang together with a seed (18-connected). */
  connected(seed, wanted) {
    const { dims: [nx, ny, nz] } = this.volume;
    const start = this.volume.offset(seed);
    if (!wanted(start)) return [];
    const found = new Set([start]);
    const open = [start];
    while (open.length) {
      const at = open.pop();
      const i = at % nx;
      const j = Math.floor(at / nx) % ny;
      const k = Math.floor(at / (nx * ny));
      for (let dk = -1; dk <= 1; dk += 1) {
        for (let dj = -1; dj <= 1; dj += 1) {
          for (let di = -1; di <= 1; di += 1) {
            if (Math.abs(di) + Math.abs(dj) + Math.abs(dk) > 2) continue;
            const [x, y, z] = [i + di, j + dj, k + dk];
            if (x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz) continue;
            const next = x + nx * (y + ny * z);
            if (found.has(next) || !wanted(next)) continue;
            found.add(next);
            open.push(next);
          }
        }
      }
    }
    return [...found];
  }

  /** The mask as the server takes it. */
  async encoded() {
    return base64(await zipped(writeNifti(this.volume)));
  }
}

/** A ball about a place as a mask on a scan's grid, as the server takes it. */
export async function ballMask(scan, mm, radiusMm) {
  const empty = new Volume(scan.dims, new Uint8Array(scan.data.length), scan.affine);
  const ball = new Correction({ mask: empty });
  ball.paint(mm, radiusMm, 1);
  return ball.encoded();
}
