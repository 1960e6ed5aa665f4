// Where places of the current scan lie in the prior one. All places are RAS in mm.

import { apply } from "./nifti.js";

const ROUNDS = 30;
const NEAR_MM = 0.05;

export class Displacement {
  /** @param volume A volume with three components: displacements along R, A and S in mm. */
  constructor(volume) {
    if (volume.components !== 3) throw new Error("the server sent no displacements");
    this.volume = volume;
  }

  /** The place in the prior scan; beyond the grid with the displacement at its edge. */
  toPrior(mm) {
    const { dims, data, inverse } = this.volume;
    const count = dims[0] * dims[1] * dims[2];
    const index = apply(inverse, mm).map((v, axis) => Math.min(Math.max(v, 0), dims[axis] - 1));
    const low = index.map(Math.floor);
    const share = index.map((v, axis) => v - low[axis]);
    const found = [...mm];
    for (let corner = 0; corner < 8; corner += 1) {
      const upper = [0, 1, 2].map((axis) => (corner >> axis) & 1);
      const weight = upper.reduce((product, up, axis) => product * (up ? share[axis] : 1 - share[axis]), 1);
      if (weight === 0) continue;
      const [i, j, k] = low.map((v, axis) => Math.min(v + upper[axis], dims[axis] - 1));
      const at = i + dims[0] * (j + dims[1] * k);
      for (let axis = 0; axis < 3; axis += 1) found[axis] += weight * data[at + axis * count];
    }
    return found;
  }

  /** The place in the current scan, sought until it leads to the one in the prior scan. */
  toCurrent(mm) {
    let found = [...mm];
    for (let round = 0; round < ROUNDS; round += 1) {
      const there = this.toPrior(found);
      const miss = mm.map((v, axis) => v - there[axis]);
      found = found.map((v, axis) => v + miss[axis]);
      if (Math.max(...miss.map(Math.abs)) < NEAR_MM) break;
    }
    return found;
  }
}
