// Contours of a sampled plane, by marching squares: line segments between cells, with linear interpolation.

// For each of the 16 cases of a cell's corners, pairs of edges that a segment joins: 0 top, 1 right, 2 bottom, 3 left.
const SEGMENTS = [
  [], [[3, 2]], [[2, 1]], [[3, 1]], [[0, 1]], [[0, 3], [2, 1]], [[0, 2]], [[0, 3]],
  [[0, 3]], [[0, 2]], [[0, 1], [3, 2]], [[0, 1]], [[3, 1]], [[2, 1]], [[3, 2]], [],
];

/** Traces the line of a level through values [rows * columns] as one path, in units of cells. */
export function contourPath(values, columns, rows, level) {
  const path = new Path2D();
  let empty = true;
  const value = (column, row) => {
    const v = values[row * columns + column];
    return Number.isNaN(v) ? 0 : v;
  };
  for (let row = 0; row < rows - 1; row += 1) {
    for (let column = 0; column < columns - 1; column += 1) {
      const a = value(column, row);
      const b = value(column + 1, row);
      const c = value(column + 1, row + 1);
      const d = value(column, row + 1);
      const kind = (a >= level ? 8 : 0) | (b >= level ? 4 : 0) | (c >= level ? 2 : 0) | (d >= level ? 1 : 0);
      if (kind === 0 || kind === 15) continue;
      const point = (edge) => {
        if (edge === 0) return [column + share(a, b, level), row];
        if (edge === 1) return [column + 1, row + share(b, c, level)];
        if (edge === 2) return [column + share(d, c, level), row + 1];
        return [column, row + share(a, d, level)];
      };
      for (const [from, to] of SEGMENTS[kind]) {
        path.moveTo(...point(from));
        path.lineTo(...point(to));
        empty = false;
      }
    }
  }
  return empty ? null : path;
}

function share(from, to, level) {
  return from === to ? 0.5 : (level - from) / (to - from);
}
