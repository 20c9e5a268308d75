// What a picture shows, read from its pixels as given/captions.py does: of all outlines at all places the one
// that explains most, with the best brightness, is looked for and taken away; then once more. What was found
// is painted again, and compared with the picture.

import { ALONE, NOTHING, UNREADABLE } from "./caption_words.mjs";

const OUTLINE = 15; // pixels of an outline
const MIDDLE = 7;
const INNER = 0.9; // coverage of pixels whose colour counts

/** Reads pictures, (pixels, 3) in [−1, 1]. */
export class PictureReader {
  /**
   * @param {Float32Array} outlines how much of each pixel they cover, (kinds, 15, 15): all shapes of the
   *   first size, then of the next
   * @param {{rgb: number[][], shapes: number, there: number, clean: number, spoilt: number}} how colours; how
   *   many shapes there are; the brightness of an object, and of a clean one; the share of squared light that
   *   may be left unexplained
   */
  constructor(outlines, { rgb, shapes, there, clean, spoilt }) {
    Object.assign(this, { rgb, shapes, there, clean, spoilt, hues: rgb.map(hueOf) });
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
    const [found, left] = [[], cover];
    const painted = new Float64Array(light.length);
    for (let i = 0; i < 3; i++) {
      const one = this.find(left, light, side);
      found.push(one);
      const rgb = this.rgb[one.colour];
      one.shape.forEach((v, p) => {
        left[p] -= v * one.height;
        if (i < 2 && one.bright >= this.there) for (let c = 0; c < 3; c++) painted[3 * p + c] += v * rgb[c];
      });
    }
    const [first, other, third] = found;
    const two = other.bright >= this.there;
    const clean =
      first.bright >= this.clean &&
      (!two || (other.bright >= this.clean && third.bright < this.there)) &&
      squaresOf(light.map((v, k) => v - painted[k])) <= this.spoilt * squaresOf(painted);
    if (!clean) return new Array(7).fill(UNREADABLE);
    const parts = ({ kind, colour }) => [Math.floor(kind / this.shapes), colour, kind % this.shapes];
    if (!two) return [...parts(first), ALONE, NOTHING, NOTHING, NOTHING];
    const [down, right] = [other.row - first.row, other.column - first.column];
    const relation = Math.abs(right) > Math.abs(down) ? Number(right <= 0) : 2 + Number(down <= 0);
    return [...parts(first), relation, ...parts(other)];
  }

  /** The outline and the place that explain most of the coverage: how bright it is there, in itself and by its
   *  colour, which is the one of the nearest hue. */
  find(cover, light, side) {
    let best = { explained: -Infinity };
    this.kinds.forEach(({ cover: outline, inked, norm }, kind) => {
      const products = productsOf(cover, side, outline, inked);
      products.forEach((sum, place) => {
        const explained = Math.max(0, sum) ** 2 / norm;
        if (explained <= best.explained) return;
        best = { explained, kind, height: sum / norm, row: Math.floor(place / side), column: place % side };
      });
    });
    best.shape = this.shapeAt(best, side);
    const sums = [0, 0, 0];
    best.shape.forEach((v, p) => {
      if (v > INNER) for (let c = 0; c < 3; c++) sums[c] += light[3 * p + c];
    });
    const hue = hueOf(sums);
    const off = this.hues.map((one) => Math.hypot(...one.map((v, c) => v - hue[c])));
    const colour = off.indexOf(Math.min(...off));
    return { ...best, colour, bright: best.height / Math.max(...this.rgb[colour]) };
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

/** A colour at its brightest. */
const hueOf = (rgb) => rgb.map((v) => v / Math.max(1e-6, ...rgb));
