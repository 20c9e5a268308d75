// Which levels t a schedule draws, what of a picture survives them, and where a sampler steps. No
// picture here. A schedule is { schedule, m, s, alpha }: its name, its parameters and its shift.

import { bell, normalCdf, normalQuantile } from "./normal.mjs";
import { follow, mixtureField, step } from "./velocity_field.mjs";

export const SCHEDULES = ["uniform", "logit-normal", "mode-weighted"];
export const SPREADS = { uniform: [-1, 2], "logit-normal": [0.3, 2], "mode-weighted": [-1, 1.75] }; // of s, as in schedule_lab.py
export const SIZES = [8, 16, 32]; // of pictures, in pixels a side
export const HARD = 1 / 3; // of all levels
const FINE = 3000; // levels among which the hardest are found
const EXACT_STEPS = 200; // of Runge and Kutta's rule

export const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
export const sigmoid = (x) => 1 / (1 + Math.exp(-x));
export const logit = (t) => Math.log(t / (1 - t));

/** t' = α t / (1 + (α − 1) t) (slide 83), exact at both ends; by 1 / α it goes back. */
export const shift = (t, alpha) => (alpha * t) / (1 - t + alpha * t);

/** dt' / dt of a shift. */
const slope = (t, alpha) => alpha / (1 + (alpha - 1) * t) ** 2;

/** t = 1 − u − s (cos²(π u / 2) − 1 + u): SD3's mode-weighted levels of uniform u. */
const weighted = (u, s) => 1 - u - s * (Math.cos((Math.PI * u) / 2) ** 2 - 1 + u);

/** The u of that t, which falls as u rises: halved 52 times. */
function unweighted(t, s) {
  let [low, high] = [0, 1];
  for (let k = 0; k < 52; k++) {
    const middle = (low + high) / 2;
    if (weighted(middle, s) > t) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** p(t); 0 outside of 0 … 1, and at the ends where nothing is drawn. */
export function density({ schedule, m, s, alpha }, t) {
  if (t < 0 || t > 1) return 0;
  const plain = shift(t, 1 / alpha);
  let p = 1;
  if (schedule === "logit-normal") {
    p = t === 0 || t === 1 ? 0 : bell((logit(plain) - m) / s) / (s * plain * (1 - plain));
  } else if (schedule === "mode-weighted") {
    p = 1 / Math.abs(1 + s * (1 - (Math.PI / 2) * Math.sin(Math.PI * unweighted(plain, s))));
  }
  return p / slope(plain, alpha);
}

/** The share of examples with a level below t. */
export function cumulative({ schedule, m, s, alpha }, t) {
  const plain = shift(Math.min(1, Math.max(0, t)), 1 / alpha);
  if (schedule === "logit-normal") return plain <= 0 || plain >= 1 ? plain : normalCdf((logit(plain) - m) / s);
  return schedule === "mode-weighted" ? 1 - unweighted(plain, s) : plain;
}

/** The level below which a share q of the examples lie; `n` is the normal quantile of q. */
export function quantile({ schedule, m, s, alpha }, q, n = normalQuantile(q)) {
  if (schedule === "logit-normal") return shift(sigmoid(m + s * n), alpha);
  return shift(schedule === "mode-weighted" ? weighted(1 - q, s) : q, alpha);
}

const SHARES = Array.from({ length: 2000 }, (_, i) => (i + 0.5) / 2000);
const NORMALS = SHARES.map(normalQuantile);

/** E[f(t)] over p(t), also where p(t) is too high for a number. */
export function average(p, f) {
  return SHARES.reduce((sum, q, i) => sum + f(quantile(p, q, NORMALS[i])), 0) / SHARES.length;
}

/** Straight between numbers known at rising levels, and level beyond them. */
export function interpolated(levels, values, t) {
  let [i, j] = [0, levels.length - 1];
  if (t <= levels[i]) return values[i];
  if (t >= levels[j]) return values[j];
  while (j - i > 1) {
    const middle = (i + j) >> 1;
    if (levels[middle] <= t) i = middle;
    else j = middle;
  }
  return values[i] + ((t - levels[i]) / (levels[j] - levels[i])) * (values[j] - values[i]);
}

/** The third of all levels that is the hardest, as stretches [from, to]. */
export function hardest(difficulty) {
  const hard = Array.from({ length: FINE }, (_, i) => [difficulty((i + 0.5) / FINE), i])
    .sort(([a, i], [b, j]) => b - a || i - j)
    .slice(0, Math.round(HARD * FINE))
    .map(([, i]) => i)
    .sort((i, j) => i - j);
  const stretches = [];
  for (const i of hard) {
    const last = stretches.at(-1);
    if (last?.[1] === i / FINE) last[1] = (i + 1) / FINE;
    else stretches.push([i / FINE, (i + 1) / FINE]);
  }
  return stretches;
}

/** The share of examples with a level in some stretches. */
export function share(p, stretches) {
  return stretches.reduce((sum, [from, to]) => sum + cumulative(p, to) - cumulative(p, from), 0);
}

/** The median of t, and p(t) there. */
export function median(p) {
  const t = quantile(p, 0.5, 0);
  return [t, density(p, t)];
}

/** The s with which p(t) at its median is as high as this, where s has a say. */
export function spreadFor(p, height) {
  const t = quantile(p, 0.5, 0);
  if (p.schedule === "logit-normal") return 1 / (Math.sqrt(2 * Math.PI) * height * t * (1 - t));
  return (1 - 1 / (height * slope(0.5, p.alpha))) / (Math.PI / 2 - 1);
}

// --- pictures -------------------------------------------------------------------------------------

/** Means of square blocks: a picture of size × size becomes one of to × to. */
export function pooled(picture, size, to) {
  const side = size / to;
  const out = new Float64Array(to * to);
  for (let i = 0; i < size * size; i++) {
    const [row, column] = [Math.floor(i / size), i % size];
    out[Math.floor(row / side) * to + Math.floor(column / side)] += picture[i] / side ** 2;
  }
  return out;
}

/** (1 − t) x + t z as grey bytes; −1 is black and 1 white. */
export function greys(x, z, t) {
  return Uint8ClampedArray.from(x, (value, i) => Math.round(((1 - t) * value + t * z[i] + 1) * 127.5));
}

/** The standard deviation of a picture's pixels. */
export function deviation(picture) {
  const mean = picture.reduce((sum, v) => sum + v, 0) / picture.length;
  return Math.sqrt(picture.reduce((sum, v) => sum + (v - mean) ** 2, 0) / picture.length);
}

/** The shift of a row of pictures: √(m / n) in place of alpha, never after it, if rows are shifted. */
export const ownShift = ({ shifted, alpha }, size) => (shifted ? size / SIZES[0] : alpha);

/** Signal to noise in means of k pixels: σ (1 − t) √k / t, since noise in a mean is t / √k. */
export const signalToNoise = (sigma, t, k) => (sigma * (1 - t) * Math.sqrt(k)) / t;

// --- steps ----------------------------------------------------------------------------------------

/** T + 1 levels from 1 to 0, even and then shifted. */
export function times(T, alpha) {
  return Array.from({ length: T + 1 }, (_, i) => shift((T - i) / T, alpha));
}

/**
 * How far Euler's paths end from the exact ones, on average, along the exact field of a mixture;
 * each number is computed once.
 */
export class Errors {
  constructor(mixture, noise) {
    this.field = mixtureField(mixture);
    this.noise = noise; // x, y, x, y, …
    this.ends = new Float64Array(noise.length); // of the exact paths
    for (let i = 0; i < noise.length; i += 2) {
      this.ends.set(follow(this.field, noise[i], noise[i + 1], 1, 0, EXACT_STEPS).slice(-2), i);
    }
    this.known = new Map();
  }

  has(T, alpha) {
    return this.known.has(`${T} ${alpha.toFixed(9)}`);
  }

  /** The error of T steps, even and then shifted by alpha. */
  at(T, alpha) {
    if (!this.has(T, alpha)) this.known.set(`${T} ${alpha.toFixed(9)}`, this.walk(times(T, alpha)));
    return this.known.get(`${T} ${alpha.toFixed(9)}`);
  }

  walk(levels) {
    const { field, noise, ends } = this;
    const at = [0, 0];
    let sum = 0;
    for (let i = 0; i < noise.length; i += 2) {
      at[0] = noise[i];
      at[1] = noise[i + 1];
      for (let k = 1; k < levels.length; k++) {
        step(field, false, at[0], at[1], levels[k - 1], levels[k - 1] - levels[k], at);
      }
      sum += Math.hypot(at[0] - ends[i], at[1] - ends[i + 1]);
    }
    return (2 * sum) / noise.length;
  }
}
