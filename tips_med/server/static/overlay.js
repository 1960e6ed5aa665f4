// What is drawn over the planes: maps, contours, what was not assessed, marks of the sides, the cross.

import { contourPath } from "./contour.js";
import { NOTHING } from "./mip.js";
import { flipped } from "./nifti.js";
import { TileGrid } from "./tile-grid.js";

const SIDES = [["L", "R"], ["P", "A"], ["I", "S"]]; // of a body axis: towards lower and higher RAS
const NAMES = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal" };
const WORD_RGB = [255, 205, 80];

export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.part = document.createElement("canvas");
  }

  /**
   * @param view View with tiles.
   * @param mip Maximum-intensity view.
   * @param scene answers (each colour, mask, heat, visible), active, word,
   *   correction, pointer, opacity, shade, cross.
   */
  draw(view, mip, scene) {
    const { canvas, context } = this;
    if (canvas.width !== view.canvas.width || canvas.height !== view.canvas.height) {
      canvas.width = view.canvas.width;
      canvas.height = view.canvas.height;
    }
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!view.scan) return;
    this.ratio = canvas.width / Math.max(1, canvas.clientWidth);
    for (const tile of view.tiles) {
      context.save();
      context.beginPath();
      context.rect(tile.left, tile.top, tile.width, tile.height);
      context.clip();
      this.tile(tile, view, scene);
      context.restore();
      this.caption(tile, view);
    }
    if (view.mip) this.drawMip(view, mip, scene);
    this.frames(view);
  }

  tile(tile, view, scene) {
    const grid = new TileGrid(tile, Math.max(1, Math.round(2 * this.ratio * 0.75)));
    const shown = scene.answers.filter((one) => one.visible);
    const active = scene.active && scene.active.visible ? scene.active : null;
    if (scene.word?.heat) {
      this.map(grid, scene.word.heat, WORD_RGB, scene.opacity + 0.25, 0.15);
    } else if (active?.heat && scene.opacity > 0) {
      this.map(grid, active.heat, rgb(active.colour), scene.opacity, 0.05);
    }
    if (active && (active.hidden || scene.shade)) this.shade(grid, view, active, scene.shade);
    if (scene.correction) {
      this.outline(grid, scene.correction.volume, "#ffffff", 2.4, [6, 3]);
      for (const one of shown) if (one !== scene.correction.answer.source) this.contour(grid, one);
    } else {
      const last = shown.filter((one) => one !== active).concat(active ? [active] : []);
      for (const one of last) this.contour(grid, one, one === active);
    }
    if (scene.cross) this.cross(tile, view);
    if (active) this.peak(tile, active);
    if (scene.pointer?.tile === tile.name) this.pointer(tile, scene);
    this.sides(tile);
  }

  contour(grid, answer, strong = false) {
    if (answer.moved) this.outline(grid, answer.moved, answer.colour, 1.4, [4, 4]);
    if (answer.mask) this.outline(grid, answer.mask, answer.colour, strong ? 2.4 : 1.6);
  }

  outline(grid, mask, colour, width, dash = []) {
    const part = grid.sample(mask, { outside: 0 });
    if (part) this.line(part, grid.pixels, contourPath(part.values, part.columns, part.rows, 0.5), colour, width, dash);
  }

  line({ left, top }, pixels, path, colour, width, dash = []) {
    if (!path) return;
    const { context } = this;
    context.save();
    context.translate(left + pixels / 2, top + pixels / 2);
    context.scale(pixels, pixels);
    context.lineJoin = "round";
    context.setLineDash(dash.map((n) => (n * this.ratio) / pixels));
    // A dark seam makes the line readable on bone as well as on lung.
    for (const [style, more] of [["rgba(0,0,0,0.75)", 1.6], [colour, 0]]) {
      context.strokeStyle = style;
      context.lineWidth = ((width + more) * this.ratio) / pixels;
      context.stroke(path);
    }
    context.restore();
  }

  map(grid, heat, [red, green, blue], opacity, from) {
    const part = grid.sample(heat);
    if (!part) return;
    const { values, columns, rows } = part;
    const image = this.context.createImageData(columns, rows);
    for (let n = 0; n < values.length; n += 1) {
      const value = values[n];
      if (!(value > from)) continue;
      image.data[4 * n] = red;
      image.data[4 * n + 1] = green;
      image.data[4 * n + 2] = blue;
      image.data[4 * n + 3] = 255 * Math.min(1, opacity) * Math.min(1, value);
    }
    this.image(part, grid.pixels, image);
  }

  /** Hatches what was not assessed; on demand dims what was not searched, within a dotted line. */
  shade(grid, view, answer, dim) {
    const { columns, rows } = grid.whole;
    const nearest = { linear: false, outside: 0 };
    if (dim) {
      const image = this.context.createImageData(columns, rows);
      const searched = grid.sampleAll(answer.heat, nearest).map((v) => (v > 0 ? 1 : 0));
      searched.forEach((v, n) => { if (!v) image.data[4 * n + 3] = 125; });
      this.image(grid.whole, grid.pixels, image);
      this.line(grid.whole, grid.pixels, contourPath(searched, columns, rows, 0.5), "#c8d2db", 1, [1, 3]);
    }
    if (answer.hidden) {
      const hidden = grid.sampleAll(answer.hidden, nearest);
      let image = null;
      for (let n = 0; n < hidden.length; n += 1) {
        if (hidden[n] < 0.5) continue;
        const column = n % columns;
        const row = (n - column) / columns;
        // A map's outermost cells reach beyond the scan: there is nothing that could have been measured.
        if (!view.holds(grid.placeOf(column, row))) continue;
        image ??= this.context.createImageData(columns, rows);
        image.data.set((column + row) % 8 < 2 ? [255, 190, 90, 230] : [60, 40, 0, 60], 4 * n);
      }
      if (image) this.image(grid.whole, grid.pixels, image);
    }
  }

  image({ left, top }, pixels, image) {
    this.part.width = image.width;
    this.part.height = image.height;
    this.part.getContext("2d").putImageData(image, 0, 0);
    this.context.imageSmoothingEnabled = true;
    this.context.drawImage(this.part, left, top, image.width * pixels, image.height * pixels);
  }

  cross(tile, view) {
    const { context } = this;
    const [x, y] = tile.pixelOf(view.mm);
    const gap = 9 * this.ratio;
    const reach = 10 * this.ratio;
    context.strokeStyle = "rgba(255,255,255,0.85)";
    context.lineWidth = 1.2 * this.ratio;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * gap, y + dy * gap);
      context.lineTo(x + dx * (gap + reach), y + dy * (gap + reach));
    }
    context.stroke();
  }

  /** The place of the strongest evidence, if this plane runs through it. */
  peak(tile, answer) {
    if (!answer.peak || Math.abs(answer.peak[tile.plane.depth] - tile.depth) > 1.5) return;
    const { context } = this;
    const [x, y] = tile.pixelOf(answer.peak);
    const size = 4 * this.ratio;
    context.strokeStyle = answer.colour;
    context.lineWidth = 1.5 * this.ratio;
    context.strokeRect(x - size, y - size, 2 * size, 2 * size);
  }

  pointer(tile, scene) {
    const { context } = this;
    context.strokeStyle = scene.pointer.colour;
    context.lineWidth = 1.5 * this.ratio;
    context.beginPath();
    context.arc(scene.pointer.x, scene.pointer.y, scene.pointer.radiusMm * tile.pixelsPerMm, 0, 2 * Math.PI);
    context.stroke();
  }

  sides(tile) {
    const { context } = this;
    const letter = (axis, towardsHigher) => SIDES[axis][towardsHigher ? 1 : 0];
    const rightwards = tile.size[0] > 0;
    const upwards = tile.size[1] > 0;
    const inset = 12 * this.ratio;
    const middle = [tile.left + tile.width / 2, tile.top + tile.height / 2];
    context.font = `bold ${15 * this.ratio}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    this.text(letter(tile.plane.across, !rightwards), tile.left + inset, middle[1]);
    this.text(letter(tile.plane.across, rightwards), tile.left + tile.width - inset, middle[1]);
    this.text(letter(tile.plane.up, upwards), middle[0], tile.top + inset);
    this.text(letter(tile.plane.up, !upwards), middle[0], tile.top + tile.height - inset);
  }

  caption(tile, view) {
    const { context } = this;
    const index = view.scan.voxelAt(view.mm);
    const [left, top] = view.rects()[tile.name];
    const place = flipped(view.mm)[tile.plane.depth];
    const slice = index && sliceAxis(view.scan) === tile.plane.depth ? `, slice ${index[2]}` : "";
    context.font = `${12 * this.ratio}px system-ui, sans-serif`;
    context.textAlign = "left";
    context.textBaseline = "top";
    const axis = ["x", "y", "z"][tile.plane.depth];
    const x = left * this.canvas.width + 8 * this.ratio;
    this.text(`${NAMES[tile.name]}  ${axis} ${place.toFixed(0)} mm${slice}`, x, top * this.canvas.height + 7 * this.ratio);
  }

  text(text, x, y, colour = "#ffffff") {
    const { context } = this;
    context.lineWidth = 3 * this.ratio;
    context.strokeStyle = "rgba(0,0,0,0.85)";
    context.lineJoin = "round";
    context.strokeText(text, x, y);
    context.fillStyle = colour;
    context.fillText(text, x, y);
  }

  drawMip(view, mip, scene) {
    const { context } = this;
    const box = mipBox(view);
    const seen = mip.project(mip.cells, NOTHING);
    seen.picture ??= greyPicture(seen);
    const { columns, rows } = seen;
    const size = Math.min(box.width / columns, box.height / rows);
    const left = box.left + (box.width - columns * size) / 2;
    const top = box.top + (box.height - rows * size) / 2;
    context.save();
    context.beginPath();
    context.rect(box.left, box.top, box.width, box.height);
    context.clip();
    context.fillStyle = "#000";
    context.fillRect(box.left, box.top, box.width, box.height);
    context.drawImage(seen.picture, left, top, columns * size, rows * size);
    for (const answer of scene.answers.filter((one) => one.visible)) {
      const mask = answer === scene.correction?.answer.source ? scene.correction.volume : answer.mask;
      if (!mask) continue;
      const flat = mip.project(mip.mask(mask), 0);
      this.line({ left, top }, size, contourPath(flat.values, columns, rows, 0.5), answer.colour, 2);
    }
    context.font = `bold ${15 * this.ratio}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    const [first, last] = mip.marks;
    const middle = box.top + box.height / 2;
    this.text(first, box.left + 12 * this.ratio, middle);
    this.text(last, box.left + box.width - 12 * this.ratio, middle);
    context.font = `${12 * this.ratio}px system-ui, sans-serif`;
    context.textAlign = "left";
    context.textBaseline = "top";
    this.text(box.width > 260 * this.ratio ? "Maximum intensity, drag to turn" : "MIP", box.left + 8 * this.ratio, box.top + 7 * this.ratio);
    context.restore();
  }

  /** Lines between the tiles. */
  frames(view) {
    const { context, canvas } = this;
    const rects = Object.values(view.rects());
    if (rects.length < 2) return;
    context.strokeStyle = "#3a434d";
    context.lineWidth = this.ratio;
    for (const [left, top, width, height] of rects) {
      context.strokeRect(left * canvas.width, top * canvas.height, width * canvas.width, height * canvas.height);
    }
  }
}

const MIP_WINDOW = [-300, 900];

/** A projection as a picture in grey. */
function greyPicture({ values, columns, rows }) {
  const picture = document.createElement("canvas");
  picture.width = columns;
  picture.height = rows;
  const context = picture.getContext("2d");
  const image = context.createImageData(columns, rows);
  const [low, high] = MIP_WINDOW;
  values.forEach((value, n) => {
    const grey = Math.min(255, Math.max(0, (255 * (value - low)) / (high - low)));
    image.data.set([grey, grey, grey, 255], 4 * n);
  });
  context.putImageData(image, 0, 0);
  return picture;
}

/** The maximum-intensity tile in pixels of the canvas. */
export function mipBox(view) {
  const [left, top, width, height] = view.mip;
  const { width: w, height: h } = view.canvas;
  return { left: left * w, top: top * h, width: width * w, height: height * h };
}

/** The body axis that the slices of a scan are stacked along; -1 where they are oblique. */
function sliceAxis(scan) {
  const shares = scan.affine.map((row) => Math.abs(row[2]) / scan.spacing[2]);
  return shares.findIndex((share) => share > 0.9999);
}

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}
