// Images of noises that were computed beforehand: on a square grid of the plane, and along the line.

import { around, onGrid } from "./image_grid.mjs";

/** A square grid of noises around the origin; x₂ of a noise runs fastest. */
export class NoiseGrid {
  constructor(reach, side) {
    Object.assign(this, { reach, side, gap: (2 * reach) / (side - 1) });
  }

  /** The four noises around one, each with its share. */
  shares([z1, z2]) {
    const shape = [this.side, this.side];
    const ends = [-this.reach, this.reach];
    return around(onGrid([ends, ends], shape, z2, z1), shape);
  }

  /** The nearest noises of the grid; those beyond its edge are left out. */
  nearest(noises) {
    const found = [];
    for (let k = 0; k + 1 < noises.length; k += 2) {
      const [i, j] = [noises[k], noises[k + 1]].map((v) => Math.round((v + this.reach) / this.gap));
      if (Math.min(i, j) >= 0 && Math.max(i, j) < this.side) found.push(i * this.side + j);
    }
    return found;
  }

  /** N(0, I) on the grid: a weight for each noise; they sum to 1. */
  weights() {
    const bells = Array.from({ length: this.side }, (_, i) => Math.exp(-0.5 * (i * this.gap - this.reach) ** 2));
    const sum = bells.reduce((a, b) => a + b, 0);
    return bells.flatMap((p) => bells.map((q) => (p * q) / sum ** 2));
  }
}

/** The image of a noise: a blend of those of the four around it. */
export function imageOf(table, shares) {
  let [x, y] = [0, 0];
  for (const [at, share] of shares) {
    x += share * table[2 * at];
    y += share * table[2 * at + 1];
  }
  return [x, y];
}

/** How far apart two of these four images are, at most: much, where the map is steep. */
export function widest(table, shares) {
  let most = 0;
  for (const [a] of shares) {
    for (const [b] of shares) {
      most = Math.max(most, Math.hypot(table[2 * a] - table[2 * b], table[2 * a + 1] - table[2 * b + 1]));
    }
  }
  return most;
}

/** How far two tables are apart on average. */
export function meanDistance(one, other, weights) {
  return weights.reduce(
    (sum, p, k) => sum + p * Math.hypot(one[2 * k] - other[2 * k], one[2 * k + 1] - other[2 * k + 1]),
    0,
  );
}

/** A smooth line through points (Catmull and Rom's spline), `per` pieces from each to the next. */
export function smoothLine(points, per = 6) {
  const out = [...points[0]];
  for (let k = 0; k + 1 < points.length; k++) {
    const [b, c] = [points[k], points[k + 1]];
    const a = points[k - 1] ?? b;
    const d = points[k + 2] ?? c;
    for (let i = 1; i <= per; i++) {
      const s = i / per;
      for (const x of [0, 1]) {
        const bend = 2 * a[x] - 5 * b[x] + 4 * c[x] - d[x] + s * (3 * b[x] - a[x] - 3 * c[x] + d[x]);
        out.push(b[x] + 0.5 * s * (c[x] - a[x] + s * bend));
      }
    }
  }
  return out;
}

/** The height of a curve over one place, straight from point to point. */
export function heightAt(over, curve, z) {
  let k = 0;
  while (k < over.length - 2 && over[k + 1] < z) k++;
  const part = Math.min(1, Math.max(0, (z - over[k]) / (over[k + 1] - over[k])));
  return curve[k] + part * (curve[k + 1] - curve[k]);
}
