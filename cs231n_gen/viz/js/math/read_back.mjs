// What a picture shows, read from its pixels as given/captions.py does: the outline that explains most, of all
// outlines at all places and with the best brightness, is an object, and is taken away; then once more.

import { ALONE, NOTHING, UNREADABLE } from "./caption_words.mjs";

const OUTLINE = 15; // pixels of its side
const MIDDLE = 7;
const INNER = 0.9; // coverage of pixels whose colour counts

/** Reads pictures, (pixels, 3) in [−1, 1]. */
export class PictureReader {
  /**
   * @param {Float32Array} outlines how much of each pixel they cover, (kinds, 15, 15): all shapes of the
   *   first size, then of the next
   * @param {{rgb: number[][], shapes: number, there: number, clean: number, spoilt: number}} how colours; how
   *   many shapes there are; brightness from which there is an object, and a readable one; the share of
   *   squared light that may be left unexplained
   */
  constructor(outlines, { rgb, shapes, there, clean, spoilt }) {
    const brightest = rgb.map((one) => Math.max(...one));
    const hues = rgb.map((one, k) => one.map((v) => v / brightest[k]));
    Object.assign(this, { rgb, shapes, there, clean, spoilt, brightest, hues });
    const size = OUTLINE * OUTLINE;
    this.kinds = Array.from({ length: outlines.length / size }, (_, k) => {
      const cover = outlines.subarray(k * size, (k + 1) * size);
      const inked = Array.from(cover.keys()).filter((i) => cover[i] > 0);
      return { cover, inked, norm: squaresOf(cover) };
    });
  }

  /** The scene that a picture shows: seven numbers, all of them −2 where it is not clean shapes. */
  read(picture) {
    const light = Float64Array.from(picture, (v) => (Math.min(1, Math.max(-1, v)) + 1) / 2);
    const left = new Float64Array(light.length / 3);
    for (let p = 0; p < left.length; p++) left[p] = Math.max(light[3 * p], light[3 * p + 1], light[3 * p + 2]);
    const [first, second, third] = Array.from({ length: 3 }, () => {
      const found = this.find(left, light);
      for (let p = 0; p < left.length; p++) left[p] -= found.shape[p] * found.height;
      return found;
    });
    const painted = new Float64Array(light.length);
    for (const { bright, colour, shape } of [first, second]) {
      if (bright < this.there) continue;
      for (let i = 0; i < light.length; i++) painted[i] += shape[Math.floor(i / 3)] * this.rgb[colour][i % 3];
    }
    const two = second.bright >= this.there;
    const clean = (two ? [first, second] : [first]).every(({ bright }) => bright >= this.clean);
    const more = two && third.bright >= this.there;
    const spoilt = squaresOf(light.map((v, i) => v - painted[i])) > this.spoilt * squaresOf(painted);
    return clean && !more && !spoilt ? this.sceneOf(first, two ? second : null) : new Array(7).fill(UNREADABLE);
  }

  sceneOf(first, second) {
    const parts = ({ kind, colour }) => [Math.floor(kind / this.shapes), colour, kind % this.shapes];
    if (!second) return [...parts(first), ALONE, NOTHING, NOTHING, NOTHING];
    const [down, right] = [second.row - first.row, second.column - first.column];
    const relation = Math.abs(right) > Math.abs(down) ? Number(right <= 0) : 2 + Number(down <= 0);
    return [...parts(first), relation, ...parts(second)];
  }

  /** The outline and the place that explain most of the coverage, how bright it is, and its colour. */
  find(cover, light) {
    const side = Math.sqrt(cover.length);
    let best = { most: -1 };
    this.kinds.forEach(({ cover: outline, inked, norm }, kind) => {
      productsOf(cover, side, outline, inked).forEach((sum, place) => {
        const most = Math.max(0, sum) ** 2 / norm;
        if (most <= best.most) return;
        best = { most, kind, height: sum / norm, row: Math.floor(place / side), column: place % side };
      });
    });
    const shape = this.shapeAt(best, side);
    const inner = [0, 0, 0];
    shape.forEach((v, p) => {
      if (v > INNER) for (let c = 0; c < 3; c++) inner[c] += light[3 * p + c];
    });
    const brightest = Math.max(...inner, 1e-6);
    const off = this.hues.map((hue) => Math.hypot(...hue.map((v, c) => v - inner[c] / brightest)));
    const colour = off.indexOf(Math.min(...off));
    return { ...best, shape, colour, bright: best.height / this.brightest[colour] };
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
