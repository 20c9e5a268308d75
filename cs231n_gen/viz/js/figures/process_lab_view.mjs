// Where ProcessLab shows a place of its picture: between x_t over t, and x_t / a over b / a.

import { densityOf, marginal, SIGMAS } from "../math/processes.mjs";
import { between } from "../ui/plane.mjs";

const SPANS = 2.4; // standard deviations of p_t that fit into the window
const LEVELS = 48; // at which its height is found
const CLOSER = 40; // halvings
export const COLUMNS = 120; // of the shading; paths are known at its edges and its middles
const ROWS = 128;
const STRETCHED = [2.6, 4.2]; // how much higher than the data a window is, to stretch its middle a bit and wholly

/** The share of noise, b / (a + b), gives its colour: t in rectified flow, and the same wherever b / a is. */
export const colorAt = ([a, b]) => between(b / (a + b));

/** How high p_t reaches, above 0 or below. */
function reach(mixture, place) {
  const { means, stds } = marginal(mixture, place);
  return Math.max(...means.map((mean, k) => Math.abs(mean) + SPANS * stds[k]));
}

/** The window on one process; `part` goes from 0 (x_t over t) to 1 (x_t / a over the logarithm of b / a). */
export class View {
  constructor(mixture, process, part) {
    Object.assign(this, { mixture, process, part });
    const levels = Array.from({ length: LEVELS + 1 }, (_, i) => process(i / LEVELS));
    const plain = Math.max(...levels.map((place) => reach(mixture, place)));
    const divided = reach(mixture, [1, SIGMAS[1]]);
    this.top = plain + part * (divided - plain);
    this.unit = 0.5 * Math.max(2, reach(mixture, [1, 0]));
    const ratio = this.top / (2 * this.unit);
    this.levels = Array.from({ length: 2 * COLUMNS + 1 }, (_, i) => this.level(i / (2 * COLUMNS)));
    this.places = this.levels.map(process);
    this.stretch = Math.min(1, Math.max(0, (ratio - STRETCHED[0]) / (STRETCHED[1] - STRETCHED[0])));
  }

  /** What x_t is multiplied by. */
  scale([a]) {
    return this.part ? a ** -this.part : 1;
  }

  /** How far to the right a level is: 0 at the left edge, noise, and 1 at the right one, data. */
  across(t) {
    if (!this.part) return 1 - t;
    const [a, b] = this.process(t);
    const [low, high] = SIGMAS.map(Math.log);
    const along = (high - Math.log(b / a)) / (high - low);
    return Math.min(9, Math.max(-9, (1 - this.part) * (1 - t) + this.part * along));
  }

  /** The level at a place across. */
  level(u) {
    if (!this.part) return Math.min(1, Math.max(0, 1 - u));
    let [low, high] = [0, 1];
    for (let k = 0; k < CLOSER; k++) {
      const middle = (low + high) / 2;
      if (this.across(middle) > u) low = middle;
      else high = middle;
    }
    return high;
  }

  /** How high a number is: −1 at the lower edge and 1 at the upper one. */
  up(x) {
    const { stretch, top, unit } = this;
    return ((1 - stretch) * x) / top + (stretch * Math.asinh(x / unit)) / Math.asinh(top / unit);
  }

  /** The number at a height. */
  down(v) {
    if (this.stretch === 0) return v * this.top;
    if (this.stretch === 1) return this.unit * Math.sinh(v * Math.asinh(this.top / this.unit));
    let [low, high] = [-2 * this.top, 2 * this.top];
    for (let k = 0; k < CLOSER; k++) {
      const middle = (low + high) / 2;
      if (this.up(middle) < v) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  }

  /** Numbers for an axis, from 0 up. */
  ticks() {
    const ticks = this.stretch > 0.5 ? [0, 1, 3, 10, 30] : [0, 1, 2, 3, 4, 5];
    return ticks.filter((x) => this.up(x) < 0.97);
  }

  /** The densities p_t as pixels, each column against its own highest. */
  shading() {
    const image = new ImageData(COLUMNS, ROWS);
    const pixels = new Uint32Array(image.data.buffer); // 0xAABBGGRR
    const heights = Float64Array.from({ length: ROWS }, (_, i) => this.down(1 - (2 * i + 1) / ROWS));
    for (let j = 0; j < COLUMNS; j++) {
      const place = this.places[2 * j + 1];
      const p = densityOf(marginal(this.mixture, place));
      const most = Math.max(...this.mixture.means.map((mean) => p(place[0] * mean)));
      const [r, g, b] = colorAt(place).match(/\d+/g).map(Number);
      const by = 1 / this.scale(place);
      for (let i = 0; i < ROWS; i++) {
        const alpha = 225 * Math.sqrt(Math.min(1, p(heights[i] * by) / most));
        pixels[i * COLUMNS + j] = ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
      }
    }
    return image;
  }
}
