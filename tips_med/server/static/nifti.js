// NIfTI-1 volumes: read, sampled in the patient's space, written. All places here are RAS in mm, as NIfTI has them.

const TYPES = {
  2: Uint8Array, 4: Int16Array, 8: Int32Array, 16: Float32Array, 64: Float64Array, 256: Int8Array, 512: Uint16Array,
};

/** A volume: dims [nx, ny, nz], data with x fastest and components slowest, affine (rows of RAS from i j k), inverse. */
export class Volume {
  constructor(dims, data, affine, components = 1) {
    this.dims = dims;
    this.data = data;
    this.affine = affine;
    this.components = components;
    this.inverse = inverted(affine);
  }

  get spacing() {
    return [0, 1, 2].map((axis) => Math.hypot(...this.affine.map((row) => row[axis])));
  }

  /** The voxel [i, j, k] nearest to a place; null outside. */
  voxelAt(mm) {
    const index = apply(this.inverse, mm).map(Math.round);
    return index.every((n, axis) => n >= 0 && n < this.dims[axis]) ? index : null;
  }

  offset([i, j, k]) {
    return i + this.dims[0] * (j + this.dims[1] * k);
  }

  valueAt(mm) {
    const voxel = this.voxelAt(mm);
    return voxel === null ? NaN : this.data[this.offset(voxel)];
  }

  /** The middle of the volume. */
  get middle() {
    return apply(this.affine, this.dims.map((n) => (n - 1) / 2));
  }

  /** Lowest and highest corner of the box around the volume, at the centres of its voxels. */
  get bounds() {
    const low = [Infinity, Infinity, Infinity];
    const high = low.map((v) => -v);
    for (let corner = 0; corner < 8; corner += 1) {
      const mm = apply(this.affine, this.dims.map((n, axis) => ((corner >> axis) & 1 ? n - 1 : 0)));
      mm.forEach((v, axis) => {
        low[axis] = Math.min(low[axis], v);
        high[axis] = Math.max(high[axis], v);
      });
    }
    return [low, high];
  }
}

/** The box around all values above a limit, lowest and highest corner in mm, a voxel wider; null where there are none. */
export function extentOf({ dims: [nx, ny, nz], data, affine }, above) {
  const low = [nx, ny, nz];
  const high = [-1, -1, -1];
  for (let k = 0, at = 0; k < nz; k += 1) {
    for (let j = 0; j < ny; j += 1) {
      for (let i = 0; i < nx; i += 1, at += 1) {
        if (!(data[at] > above)) continue;
        if (i < low[0]) low[0] = i;
        if (i > high[0]) high[0] = i;
        if (j < low[1]) low[1] = j;
        if (j > high[1]) high[1] = j;
        if (k < low[2]) low[2] = k;
        high[2] = k;
      }
    }
  }
  if (high[0] < 0) return null;
  const corners = [...Array(8).keys()].map((corner) =>
    apply(affine, [0, 1, 2].map((axis) => ((corner >> axis) & 1 ? high[axis] + 1 : low[axis] - 1))));
  const ends = (end) => [0, 1, 2].map((axis) => end(...corners.map((one) => one[axis])));
  return { low: ends(Math.min), high: ends(Math.max) };
}

/** Samples a plane: values at origin + column * across + row * down, [rows * columns]; `outside` where it leaves it. */
export function samplePlane(volume, plane, columns, rows, { linear = true, outside = NaN } = {}) {
  const out = new Float32Array(columns * rows).fill(outside);
  const { dims: [nx, ny, nz], data, inverse } = volume;
  const start = apply(inverse, plane.origin);
  const across = turn(inverse, plane.across);
  const down = turn(inverse, plane.down);
  const slice = nx * ny;
  for (let row = 0; row < rows; row += 1) {
    let x = start[0] + row * down[0];
    let y = start[1] + row * down[1];
    let z = start[2] + row * down[2];
    for (let column = 0; column < columns; column += 1, x += across[0], y += across[1], z += across[2]) {
      const i = Math.round(x);
      const j = Math.round(y);
      const k = Math.round(z);
      if (i < 0 || j < 0 || k < 0 || i >= nx || j >= ny || k >= nz) continue;
      if (!linear) {
        out[row * columns + column] = data[i + nx * j + slice * k];
        continue;
      }
      const i0 = Math.min(Math.max(Math.floor(x), 0), nx - 1);
      const j0 = Math.min(Math.max(Math.floor(y), 0), ny - 1);
      const k0 = Math.min(Math.max(Math.floor(z), 0), nz - 1);
      const i1 = Math.min(i0 + 1, nx - 1);
      const j1 = Math.min(j0 + 1, ny - 1) - j0;
      const k1 = Math.min(k0 + 1, nz - 1) - k0;
      const fx = Math.min(Math.max(x - i0, 0), 1);
      const fy = Math.min(Math.max(y - j0, 0), 1);
      const fz = Math.min(Math.max(z - k0, 0), 1);
      const a = nx * j0 + slice * k0;
      const b = a + nx * j1;
      const c = a + slice * k1;
      const d = c + nx * j1;
      const near = mix(mix(data[a + i0], data[a + i1], fx), mix(data[b + i0], data[b + i1], fx), fy);
      const far = mix(mix(data[c + i0], data[c + i1], fx), mix(data[d + i0], data[d + i1], fx), fy);
      out[row * columns + column] = mix(near, far, fz);
    }
  }
  return out;
}

function mix(a, b, share) {
  return a + (b - a) * share;
}

/** Reads a gzipped or plain NIfTI-1 file. */
export async function readNifti(buffer) {
  const head = new Uint8Array(buffer, 0, 2);
  const plain = head[0] === 0x1f && head[1] === 0x8b ? await unzipped(buffer) : buffer;
  const view = new DataView(plain);
  if (plain.byteLength < 352 || view.getInt32(0, true) !== 348) throw new Error("the server sent no NIfTI file");
  const dims = [42, 44, 46].map((at) => view.getInt16(at, true));
  const type = TYPES[view.getInt16(70, true)];
  const from = view.getFloat32(108, true);
  const components = view.getInt16(40, true) > 4 ? view.getInt16(50, true) : 1;
  const count = dims[0] * dims[1] * dims[2] * components;
  if (!type || plain.byteLength < from + count * type.BYTES_PER_ELEMENT) throw new Error("the volume is cut short");
  let data = new type(plain.slice(from, from + count * type.BYTES_PER_ELEMENT));
  const slope = view.getFloat32(112, true);
  const inter = view.getFloat32(116, true);
  if (slope !== 0 && Number.isFinite(slope) && (slope !== 1 || inter !== 0)) {
    data = Float32Array.from(data, (v) => v * slope + inter);
  }
  const affine = view.getInt16(254, true) > 0 ? sform(view) : qform(view);
  return new Volume(dims, data, affine, components);
}

/** Writes int16, uint8 or float32 as a plain NIfTI-1 file. */
export function writeNifti(volume) {
  const codes = new Map([[Uint8Array, 2], [Int16Array, 4], [Float32Array, 16]]);
  const bytes = volume.data.BYTES_PER_ELEMENT;
  const buffer = new ArrayBuffer(352 + volume.data.byteLength);
  const view = new DataView(buffer);
  view.setInt32(0, 348, true);
  [3, ...volume.dims, 1, 1, 1, 1].forEach((n, at) => view.setInt16(40 + 2 * at, n, true));
  view.setInt16(70, codes.get(volume.data.constructor), true);
  view.setInt16(72, 8 * bytes, true);
  [1, ...volume.spacing, 0, 0, 0, 0].forEach((n, at) => view.setFloat32(76 + 4 * at, n, true));
  view.setFloat32(108, 352, true);
  view.setFloat32(112, 1, true);
  view.setUint8(123, 2);
  view.setInt16(254, 1, true);
  volume.affine.forEach((row, at) => row.forEach((v, n) => view.setFloat32(280 + 16 * at + 4 * n, v, true)));
  [0x6e, 0x2b, 0x31].forEach((char, at) => view.setUint8(344 + at, char));
  new volume.data.constructor(buffer, 352).set(volume.data);
  return buffer;
}

/** The same values on a grid along the patient's axes, for planes that are his; itself where it is on one already. */
export function upright(volume) {
  const step = volume.spacing;
  const along = [0, 1, 2].map((axis) => volume.affine.map((row) => Math.abs(row[axis] / step[axis])));
  if (along.every((cosines) => Math.max(...cosines) > 0.9999)) return volume;
  const [low, high] = volume.bounds;
  const used = new Set();
  const spacing = [0, 1, 2].map((body) => {
    const order = [0, 1, 2].filter((axis) => !used.has(axis)).sort((a, b) => along[b][body] - along[a][body]);
    used.add(order[0]);
    return step[order[0]];
  });
  const dims = spacing.map((mm, axis) => Math.ceil((high[axis] - low[axis]) / mm) + 1);
  const affine = spacing.map((mm, row) => [0, 1, 2].map((axis) => (axis === row ? mm : 0)).concat(low[row]));
  const data = new volume.data.constructor(dims[0] * dims[1] * dims[2]);
  const outside = volume.data.reduce((least, v) => Math.min(least, v), Infinity);
  for (let k = 0; k < dims[2]; k += 1) {
    const plane = {
      origin: [low[0], low[1], low[2] + k * spacing[2]], across: [spacing[0], 0, 0], down: [0, spacing[1], 0],
    };
    data.set(samplePlane(volume, plane, dims[0], dims[1], { outside }).map(Math.round), k * dims[0] * dims[1]);
  }
  return new Volume(dims, data, affine);
}

export async function zipped(buffer) {
  const stream = new Blob([buffer]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function unzipped(buffer) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

export function base64(buffer) {
  const bytes = new Uint8Array(buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

function sform(view) {
  return [280, 296, 312].map((at) => [0, 4, 8, 12].map((step) => view.getFloat32(at + step, true)));
}

function qform(view) {
  const [b, c, d] = [256, 260, 264].map((at) => view.getFloat32(at, true));
  const [x, y, z] = [268, 272, 276].map((at) => view.getFloat32(at, true));
  const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d));
  const [sx, sy, s] = [80, 84, 88].map((at) => view.getFloat32(at, true));
  const sz = view.getFloat32(76, true) < 0 ? -s : s;
  return [
    [(a * a + b * b - c * c - d * d) * sx, 2 * (b * c - a * d) * sy, 2 * (b * d + a * c) * sz, x],
    [2 * (b * c + a * d) * sx, (a * a + c * c - b * b - d * d) * sy, 2 * (c * d - a * b) * sz, y],
    [2 * (b * d - a * c) * sx, 2 * (c * d + a * b) * sy, (a * a + d * d - b * b - c * c) * sz, z],
  ];
}

/** A place, mapped by rows of an affine. */
export function apply(affine, place) {
  return affine.map((row) => row[0] * place[0] + row[1] * place[1] + row[2] * place[2] + row[3]);
}

function turn(affine, way) {
  return affine.map((row) => row[0] * way[0] + row[1] * way[1] + row[2] * way[2]);
}

function inverted([[a, b, c, x], [d, e, f, y], [g, h, i, z]]) {
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const rows = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((v) => v / det));
  return rows.map((row) => [...row, -(row[0] * x + row[1] * y + row[2] * z)]);
}

/** DICOM's LPS from RAS, and back. */
export function flipped([x, y, z]) {
  return [-x, -y, z];
}
