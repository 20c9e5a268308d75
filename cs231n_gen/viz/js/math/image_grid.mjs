// Pictures on a grid: unpacked, blended between four of its points, and a way round three corners.

const FIRST = 35; // of the letters that stand for numbers, as in latent_walk.py

/**
 * Bytes of grey, (rows, columns, height · width), of letters that say how levels change from place
 * to place of the grid.
 */
export function unpacked(text, [rows, columns, height, width], levels) {
  const size = height * width;
  const greys = new Uint8Array(rows * columns * size);
  for (let k = 0, at = 0; k < size; k++) {
    for (let i = 0, first = 0; i < rows; i++) {
      for (let j = 0, level = first; j < columns; j++, at++) {
        level = (level + text.charCodeAt(at) - FIRST + levels / 2) % levels;
        if (j === 0) first = level;
        greys[(i * columns + j) * size + k] = Math.round((255 * level) / (levels - 1));
      }
    }
  }
  return greys;
}

/** Where a place is on the grid: a row and a column with fractions, within its bounds. */
export function onGrid([[left, right], [low, high]], [rows, columns], u, v) {
  const within = (part, n) => Math.min(1, Math.max(0, part)) * (n - 1);
  return [within((v - low) / (high - low), rows), within((u - left) / (right - left), columns)];
}

/** The four points of the grid around a place, each with its share; shares sum to 1. */
export function around([row, column], [rows, columns]) {
  const i = Math.min(rows - 2, Math.floor(row));
  const j = Math.min(columns - 2, Math.floor(column));
  const [a, b] = [row - i, column - j];
  const at = (di, dj, share) => [(i + di) * columns + j + dj, share];
  return [at(0, 0, (1 - a) * (1 - b)), at(0, 1, (1 - a) * b), at(1, 0, a * (1 - b)), at(1, 1, a * b)];
}

/** The blend of pictures, each with its share. */
export function blend(greys, size, shares) {
  const out = new Uint8ClampedArray(size);
  for (let k = 0; k < size; k++) {
    let sum = 0;
    for (const [at, share] of shares) sum += share * greys[at * size + k];
    out[k] = Math.round(sum);
  }
  return out;
}

/** A place on the way round three corners: from the first at s = 0 to the second at 1, and on. */
export function onTriangle(corners, s) {
  const k = Math.floor(s) % 3;
  const [from, to] = [corners[k], corners[(k + 1) % 3]];
  return from.map((value, d) => value + (s - Math.floor(s)) * (to[d] - value));
}

/** The s of the place on that way that is nearest to (u, v). */
export function nearest(corners, u, v) {
  const sides = corners.map(([x, y], k) => {
    const [dx, dy] = [corners[(k + 1) % 3][0] - x, corners[(k + 1) % 3][1] - y];
    const part = Math.min(1, Math.max(0, ((u - x) * dx + (v - y) * dy) / (dx * dx + dy * dy)));
    return { s: (k + part) % 3, off: Math.hypot(u - x - part * dx, v - y - part * dy) };
  });
  return sides.reduce((a, b) => (b.off < a.off - 1e-12 ? b : a)).s;
}
