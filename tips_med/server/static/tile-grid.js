// The cells in which maps and masks are sampled over a plane: only as many as a volume has something in.

import { samplePlane } from "./nifti.js";

const MARGIN = 2;

export class TileGrid {
  /**
   * @param tile A plane on the canvas.
   * @param pixels Pixels of the canvas for the edge of a cell.
   */
  constructor(tile, pixels) {
    this.tile = tile;
    this.pixels = pixels;
    this.plane = tile.sampled(pixels);
    this.whole = {
      left: tile.left, top: tile.top,
      columns: Math.max(2, Math.ceil(tile.width / pixels)), rows: Math.max(2, Math.ceil(tile.height / pixels)),
    };
  }

  /** The place of a cell, RAS in mm. */
  placeOf(column, row) {
    const { origin, across, down } = this.plane;
    return origin.map((v, axis) => v + column * across[axis] + row * down[axis]);
  }

  /** Samples the part of the plane that a volume has something in: left, top, columns, rows, values; null for none. */
  sample(volume, options = {}) {
    const part = this.partOf(volume.extent);
    return part && { ...part, values: this.values(volume, part, options) };
  }

  /** Samples the whole plane, [rows * columns]. */
  sampleAll(volume, options = {}) {
    return this.values(volume, { ...this.whole, column: 0, row: 0 }, options);
  }

  values(volume, { column, row, columns, rows }, options) {
    const { across, down } = this.plane;
    return samplePlane(volume, { origin: this.placeOf(column, row), across, down }, columns, rows, options);
  }

  /** The cells over a box; all of them where the box is not known. */
  partOf(extent) {
    const { tile, pixels, whole } = this;
    if (extent === undefined) return { ...whole, column: 0, row: 0 };
    const { depth } = tile.plane;
    if (extent === null || tile.depth < extent.low[depth] || tile.depth > extent.high[depth]) return null;
    const corners = [tile.pixelOf(extent.low), tile.pixelOf(extent.high)];
    const ends = [0, 1].map((axis) => {
      const cells = corners.map((one) => (one[axis] - [tile.left, tile.top][axis]) / pixels);
      const most = [whole.columns, whole.rows][axis] - 1;
      return [Math.max(0, Math.floor(Math.min(...cells)) - MARGIN), Math.min(most, Math.ceil(Math.max(...cells)) + MARGIN)];
    });
    const [[column, lastColumn], [row, lastRow]] = ends;
    if (lastColumn <= column || lastRow <= row) return null;
    return {
      column, row, columns: lastColumn - column + 1, rows: lastRow - row + 1,
      left: tile.left + column * pixels, top: tile.top + row * pixels,
    };
  }
}
