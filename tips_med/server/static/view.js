// Three planes of a scan along the patient's axes, drawn by niivue, and the place of every pixel in the patient.

import { apply } from "./nifti.js";

/** Windows by key: lowest and highest value in HU. */
export const WINDOWS = {
  lung: { name: "Lung", limits: [-1350, 150] },
  soft: { name: "Soft tissue", limits: [-160, 240] },
  bone: { name: "Bone", limits: [-450, 1050] },
  liver: { name: "Liver", limits: [-15, 135] },
  wide: { name: "Wide", limits: [-1000, 1000] },
};

/** Planes: niivue's number, the axis of depth, and the axes that run across and up. */
export const PLANES = {
  axial: { number: 0, depth: 2, across: 0, up: 1 },
  coronal: { number: 1, depth: 1, across: 0, up: 2 },
  sagittal: { number: 2, depth: 0, across: 1, up: 2 },
};

const MIN_ZOOM = 1;
const MAX_ZOOM = 12;

export class View {
  /**
   * @param canvas Canvas of the planes.
   * @param changed Called when it has to be painted.
   */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.moved = () => {};
    this.first = "axial";
    this.alone = false;
    this.window = [...WINDOWS.soft.limits];
    this.rewindow = false; // whether the window is another one than that of the texture
    this.scan = null;
    this.tiles = [];
  }

  /** Shows a scan as `readScan` prepared it. Throws where the browser has no WebGL 2. */
  async load({ scan, shown, file }) {
    if (!this.nv) await this.start();
    this.scan = scan;
    this.shown = shown;
    while (this.nv.volumes.length) this.nv.removeVolumeByIndex(0);
    const [low, high] = this.window;
    // With its window from the start: niivue makes a texture of the whole volume for each.
    await this.nv.addVolumeFromUrl({ url: "scan.nii", name: "scan.nii", buffer: file, cal_min: low, cal_max: high });
    this.rewindow = false;
    this.mm = this.snapped(this.shown.middle);
    this.draw();
  }

  async start() {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("webgl");
    this.nv = new window.niivue.Niivue({
      isRadiologicalConvention: true, // the patient's right is on the left of the picture
      isSliceMM: true,
      sagittalNoseLeft: true,
      crosshairWidth: 0,
      isOrientationTextVisible: false,
      dragAndDropEnabled: false,
      interactive: false,
      loadingText: "",
      logLevel: "error",
      show3Dcrosshair: false,
      backColor: [0, 0, 0, 1],
    });
    await this.nv.attachToCanvas(this.canvas, false);
    const draw = this.nv.drawScene.bind(this.nv);
    this.nv.drawScene = () => {
      draw();
      this.place();
      if (!this.painting) this.changed();
    };
  }

  /** Goes to a place, RAS in mm. */
  moveTo(mm) {
    if (!this.scan) return;
    this.mm = this.snapped(mm);
    this.draw();
    this.moved();
  }

  /** Whether a place, RAS in mm, is within the scan. */
  holds(mm) {
    return Boolean(this.scan) && this.scan.voxelAt(mm) !== null;
  }

  /** Moves by whole slices along a body axis. */
  step(axis, slices) {
    const mm = [...this.mm];
    mm[axis] += slices * this.shown.spacing[bodyAxis(this.shown, axis)];
    this.moveTo(mm);
  }

  /** The nearest voxel's centre, within the scan. */
  snapped(mm) {
    const index = apply(this.shown.inverse, mm);
    const inside = index.map((v, axis) => Math.min(Math.max(Math.round(v), 0), this.shown.dims[axis] - 1));
    return apply(this.shown.affine, inside);
  }

  setWindow(low, high) {
    this.window = [Math.min(low, high - 1), Math.max(high, low + 1)];
    this.rewindow = true;
    this.draw();
  }

  applyWindow() {
    const volume = this.nv.volumes[0];
    this.rewindow = false;
    if (!volume) return;
    [volume.cal_min, volume.cal_max] = this.window;
    this.nv.updateGLVolume();
  }

  zoom(factor) {
    const pan = this.nv.scene.pan2Dxyzmm;
    pan[3] = Math.min(Math.max(pan[3] * factor, MIN_ZOOM), MAX_ZOOM);
    // What the cross marks stays in the middle, as far as there is more to see than fits.
    const share = pan[3] === 1 ? 0 : 1;
    this.shown.middle.forEach((middle, axis) => { pan[axis] = share * (middle - this.mm[axis]); });
    this.draw();
  }

  get zoomed() {
    return this.nv ? this.nv.scene.pan2Dxyzmm[3] : 1;
  }

  /** Shows one plane large, or alone. */
  arrange(first, alone = this.alone) {
    this.first = first;
    this.alone = alone;
    this.draw();
  }

  /** Has the planes drawn with the next frame. */
  draw() {
    if (!this.nv || !this.scan) return;
    this.waits = true;
    this.changed();
  }

  /** Draws the planes, if anything in them has changed. */
  paint() {
    if (!this.waits) return;
    this.waits = false;
    this.painting = true;
    if (this.rewindow) this.applyWindow();
    this.nv.scene.crosshairPos = this.nv.mm2frac([...this.mm, 1]);
    const rects = this.rects();
    this.mip = rects.mip ?? null;
    const planes = Object.keys(PLANES).filter((name) => rects[name]);
    if (planes.length) {
      this.nv.setCustomLayout(planes.map((name) => ({ sliceType: PLANES[name].number, position: rects[name] })));
    } else {
      this.nv.gl.clear(this.nv.gl.COLOR_BUFFER_BIT);
      this.tiles = [];
    }
    this.painting = false;
  }

  /** Shares [left top width height] of the canvas for each tile. */
  rects() {
    const names = [...Object.keys(PLANES), "mip"];
    if (this.alone) return { [this.first]: [0, 0, 1, 1] };
    const others = names.filter((name) => name !== this.first);
    const wide = this.canvas.clientWidth > 1.15 * this.canvas.clientHeight;
    const found = { [this.first]: wide ? [0, 0, 0.64, 1] : [0, 0, 1, 0.64] };
    others.forEach((name, n) => {
      found[name] = wide ? [0.64, n / 3, 0.36, 1 / 3] : [n / 3, 0.64, 1 / 3, 0.36];
    });
    return found;
  }

  /** Notes where niivue drew which plane. */
  place() {
    this.tiles = this.nv.screenSlices.filter((one) => one.fovMM?.length && one.leftTopWidthHeight[2] > 0).map((one) => {
      const name = Object.keys(PLANES).find((plane) => PLANES[plane].number === one.axCorSag);
      return new Tile(name, one);
    });
  }

  tileAt(x, y) {
    return this.tiles.find((tile) => tile.holds(x, y)) ?? null;
  }
}

/** One plane on the canvas. */
export class Tile {
  constructor(name, drawn) {
    this.name = name;
    this.plane = PLANES[name];
    [this.left, this.top, this.width, this.height] = drawn.leftTopWidthHeight;
    this.start = [...drawn.leftTopMM];
    this.size = [...drawn.fovMM];
    this.depth = drawn.AxyzMxy[2];
  }

  holds(x, y) {
    return x >= this.left && y >= this.top && x < this.left + this.width && y < this.top + this.height;
  }

  /** The place of a pixel of the canvas, RAS in mm. */
  placeOf(x, y) {
    const mm = [0, 0, 0];
    mm[this.plane.across] = this.start[0] + ((x - this.left) / this.width) * this.size[0];
    mm[this.plane.up] = this.start[1] + (1 - (y - this.top) / this.height) * this.size[1];
    mm[this.plane.depth] = this.depth;
    return mm;
  }

  /** The pixel of the canvas that shows a place. */
  pixelOf(mm) {
    return [
      this.left + ((mm[this.plane.across] - this.start[0]) / this.size[0]) * this.width,
      this.top + (1 - (mm[this.plane.up] - this.start[1]) / this.size[1]) * this.height,
    ];
  }

  /** The plane as `samplePlane` takes it, one sample for every `pixels` pixels. */
  sampled(pixels) {
    const origin = this.placeOf(this.left + pixels / 2, this.top + pixels / 2);
    const next = this.placeOf(this.left + 1.5 * pixels, this.top + 1.5 * pixels);
    const across = [0, 0, 0];
    const down = [0, 0, 0];
    across[this.plane.across] = next[this.plane.across] - origin[this.plane.across];
    down[this.plane.up] = next[this.plane.up] - origin[this.plane.up];
    return { origin, across, down };
  }

  get pixelsPerMm() {
    return Math.abs(this.width / this.size[0]);
  }
}

/** The array axis of an upright volume that runs along a body axis. */
function bodyAxis(volume, axis) {
  const row = volume.affine[axis].slice(0, 3).map(Math.abs);
  return row.indexOf(Math.max(...row));
}
