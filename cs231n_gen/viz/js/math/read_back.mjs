// What a picture shows, read from its pixels as given/captions.py does: of all outlines at all places the one
// that explains most is looked for, and taken away with its colour; then once more.

import { ALONE, NOTHING, UNREADABLE } from "./caption_words.mjs";

const OUTLINE = 15; // pixels of an outline
const MIDDLE = 7;
const INNER = 0.9; // coverage of pixels whose colour counts

/** Reads pictures, (pixels, 3) in [−1, 1]. */
export class PictureReader {
  /**
   * @param {Float32Array} outlines how much of each pixel they cover, (kinds, 15, 15): all shapes of the
   *   first size, then of the next
   * @param {{rgb: number[][], shapes: number, second: number, spoilt: number}} how colours; how many shapes
   *   there are; what a second object must explain; the share that may be left unexplained
   */
  constructor(outlines, { rgb, shapes, second, spoilt }) {
    Object.assign(this, { rgb, shapes, second, spoilt });
    const size = OUTLINE * OUTLINE;
    this.kinds = Array.from({ length: outlines.length / size }, (_, k) => {
      const cover = outlines.subarray(k * size, (k + 1) * size);
      const inked = Array.from(cover.keys()).filter((i) => cover[i] > 0);
      return { cover, inked, norm: cover.reduce((sum, v) => sum + v * v, 0) };
    });
  }

  /** The scene that a picture shows: seven numbers, all of them −2 where it is not clean shapes. */
  read(picture) {
    const light = Float64Array.from(picture, (v) => (Math.min(1, Math.max(-1, v)) + 1) / 2);
    const cover = Float64Array.from({ length: light.length / 3 }, (_, p) =>
      Math.max(...light.subarray(3 * p, 3 * p + 3)),
    );
    const side = Math.sqrt(cover.length);
    const first = this.find(cover, light, side);
    const left = cover.map((v, p) => v - first.shape[p] * first.brightness);
    const other = this.find(left, light, side);
    const two = other.gain > this.second;
    const rest = two ? left.map((v, p) => v - other.shape[p] * other.brightness) : withoutShape(cover, first.shape);
    const known = squaresOf(first.shape) + (two ? squaresOf(other.shape) : 0);
    if (squaresOf(rest) > this.spoilt * known) return new Array(7).fill(UNREADABLE);
    const parts = ({ kind, colour }) => [Math.floor(kind / this.shapes), colour, kind % this.shapes];
    if (!two) return [...parts(first), ALONE, NOTHING, NOTHING, NOTHING];
    const [down, right] = [other.row - first.row, other.column - first.column];
    const relation = Math.abs(right) > Math.abs(down) ? Number(right <= 0) : 2 + Number(down <= 0);
    return [...parts(first), relation, ...parts(other)];
  }

  /** The outline and the place that explain most of the coverage, with the colour that is there. */
  find(cover, light, side) {
    let best = { gain: -Infinity };
    this.kinds.forEach(({ cover: outline, inked, norm }, kind) => {
      const products = productsOf(cover, side, outline, inked);
      products.forEach((sum, place) => {
        const gain = 2 * sum - norm;
        if (gain > best.gain) best = { gain, kind, row: Math.floor(place / side), column: place % side };
      });
    });
    best.shape = this.shapeAt(best, side);
    const mean = [0, 0, 0];
    let count = 0;
    best.shape.forEach((v, p) => {
      if (v <= INNER) return;
      count++;
      for (let c = 0; c < 3; c++) mean[c] += light[3 * p + c];
    });
    const colour = mean.map((sum) => sum / Math.max(1, count));
    const off = this.rgb.map((one) => Math.hypot(...one.map((v, c) => v - colour[c])));
    return { ...best, brightness: Math.max(...colour), colour: off.indexOf(Math.min(...off)) };
  }

  /** How much of each pixel an outline covers at a place. */
  shapeAt({ kind, row, column }, side) {
    const { cover, inked } = this.kinds[kind];
    const shape = new Float64Array(side * side);
    for (const i of inked) {
      const [y, x] = [row + Math.floor(i / OUTLINE) - MIDDLE, column + (i % OUTLINE) - MIDDLE];
      if (y >= 0 && x >= 0 && y < side && x < side) shape[y * side + x] = cover[i];
    }
    return shape;
  }
}

/** ⟨coverage, outline⟩ with the outline at every place. */
function productsOf(cover, side, outline, inked) {
  const wide = side + 2 * MIDDLE; // nothing around the picture
  const padded = new Float64Array(wide * wide);
  for (let y = 0; y < side; y++) padded.set(cover.subarray(y * side, (y + 1) * side), (y + MIDDLE) * wide + MIDDLE);
  const sums = new Float64Array(side * side);
  for (const i of inked) {
    const [share, from] = [outline[i], Math.floor(i / OUTLINE) * wide + (i % OUTLINE)];
    for (let y = 0; y < side; y++) {
      const [at, to] = [from + y * wide, y * side];
      for (let x = 0; x < side; x++) sums[to + x] += share * padded[at + x];
    }
  }
  return sums;
}

const squaresOf = (x) => x.reduce((sum, v) => sum + v * v, 0);

/** What is left of the coverage without as much of a shape as there is. */
function withoutShape(cover, shape) {
  const part = cover.reduce((sum, v, p) => sum + v * shape[p], 0) / squaresOf(shape);
  return cover.map((v, p) => v - shape[p] * part);
}
