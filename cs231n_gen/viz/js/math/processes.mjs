// Diffusion processes on the line (slides 109–118): x_t = a x + b z, with x from a mixture of Gaussians and
// z from N(0, 1). No picture here. A process is a function of t that gives [a, b]. The lines are those of
// given/processes.py, truth/bayes.py and diffusion_samplers.py.

import { bell, normalCdf, normalQuantile, normals } from "./normal.mjs";

export const SIGMAS = [0.02, 5]; // b / a at both ends of the variance exploding process, as in line_processes.py
export const MIDDLES = [0.25, 1.5]; // of the reader's own curve: how far a and b may go at t = ½
export const MOST_STEPS = 50; // as in process_lab.py
const BETAS = [0.1, 20]; // of DDPM's linear β
const HALVINGS = 60;
const ANGLES = 512; // stretches between the two axes on which exact paths are known
const QUARTER = Math.PI / 2;

const PROCESSES = {
  rectified_flow: (t) => [1 - t, t],
  cosine: (t) => [Math.sin(QUARTER * (1 - t)), Math.sin(QUARTER * t)],
  variance_preserving(t) {
    const logSigma = -BETAS[0] * t - ((BETAS[1] - BETAS[0]) / 2) * t ** 2;
    return [Math.exp(logSigma / 2), Math.sqrt(-Math.expm1(logSigma))];
  },
  variance_exploding: (t) => [1, SIGMAS[0] * (SIGMAS[1] / SIGMAS[0]) ** t],
};

export const CURVES = [...Object.keys(PROCESSES), "own"];

/**
 * A process by its name; "own" is the parabola from (1, 0) to (0, 1) that is in the middle at t = ½. Its
 * b / a rises for every middle within MIDDLES, and (½, ½) makes it rectified flow.
 */
export function processOf(curve, [a, b]) {
  if (curve !== "own") return PROCESSES[curve];
  const bend = (t) => 2 * t * (1 - t);
  return (t) => [(1 - t) ** 2 + bend(t) * (2 * a - 0.5), t ** 2 + bend(t) * (2 * b - 0.5)];
}

/** b / a, infinite where no data are left. */
export const noiseToSignal = ([a, b]) => b / a;

/** The level t of a process at which b / a is sigma, or its nearer end, by bisection. */
export function levelOf(process, sigma) {
  const noisier = (t) => {
    const [a, b] = process(t);
    return b >= a * sigma;
  };
  if (noisier(0)) return 0;
  let [low, high] = [0, 1];
  for (let k = 0; k < HALVINGS; k++) {
    const middle = (low + high) / 2;
    if (noisier(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** T + 1 levels from noise to data: even in t from 1 to 0, or in log(b / a) within SIGMAS. */
export function levelsOf(process, T, spacing) {
  const [low, high] = SIGMAS;
  return Array.from({ length: T + 1 }, (_, i) => {
    return spacing === "t" ? (T - i) / T : levelOf(process, high * (low / high) ** (i / T));
  });
}

// --- what is exact --------------------------------------------------------------------------------

/** The density of x_t, a mixture too: Σ w N(a μ, a² s² + b²). */
export function marginal({ weights, means, stds }, [a, b]) {
  return { weights, means: means.map((mean) => a * mean), stds: stds.map((std) => Math.hypot(a * std, b)) };
}

/** p(x) of a mixture, as a function of x. */
export function densityOf({ weights, means, stds }) {
  const [heights, widths] = [weights.map((w, k) => (w * bell(0)) / stds[k]), stds.map((std) => -0.5 / std ** 2)];
  return (x) => {
    let sum = 0;
    for (let k = 0; k < means.length; k++) sum += heights[k] * Math.exp(widths[k] * (x - means[k]) ** 2);
    return sum;
  };
}

const shareBelow = ({ weights, means, stds }, x) =>
  weights.reduce((sum, w, k) => sum + w * normalCdf((x - means[k]) / stds[k]), 0);

/**
 * The x below which a share q of a mixture lies, by Newton's rule between bounds that close in; `n` is the
 * normal quantile of q.
 */
export function quantileOf(mixture, q, n = normalQuantile(q)) {
  const ends = mixture.means.map((mean, k) => mean + n * mixture.stds[k]);
  let [low, high] = [Math.min(...ends), Math.max(...ends)]; // each component says where; the mixture is between
  const p = densityOf(mixture);
  let x = (low + high) / 2;
  for (let k = 0; k < HALVINGS && high - low > 1e-12; k++) {
    const over = shareBelow(mixture, x) - q;
    if (over > 0) high = x;
    else low = x;
    const next = x - over / p(x);
    if (Math.abs(next - x) < 1e-13) break;
    x = next > low && next < high ? next : (low + high) / 2;
  }
  return x;
}

/** E[x | x_t] of the mixture, as a function of x_t. */
export function dataBehind({ weights, means, stds }, [a, b]) {
  const spreads = stds.map((std) => a * a * std * std + b * b);
  const logs = weights.map((w, k) => Math.log(w) - 0.5 * Math.log(spreads[k]));
  const [centers, slopes] = [means.map((mean) => a * mean), stds.map((std, k) => (a * std * std) / spreads[k])];
  const K = weights.length;
  const parts = new Float64Array(K);
  return (x) => {
    let most = -Infinity;
    for (let k = 0; k < K; k++) {
      parts[k] = logs[k] - (0.5 * (x - centers[k]) ** 2) / spreads[k];
      most = Math.max(most, parts[k]);
    }
    let [sum, mean] = [0, 0];
    for (let k = 0; k < K; k++) {
      const p = Math.exp(parts[k] - most);
      sum += p;
      mean += p * (means[k] + slopes[k] * (x - centers[k]));
    }
    return mean / sum;
  };
}

/**
 * Exact paths of the probability flow ODE. On the line it keeps the order of points, so each stays at its
 * quantile of p_t: and x_t / √(a² + b²) is a function of the angle of (a, b) alone, whatever the process.
 */
export class ExactPaths {
  constructor(mixture, quantiles) {
    this.mixture = mixture;
    this.quantiles = quantiles.map((q) => [q, normalQuantile(q)]);
    this.table = Array.from({ length: ANGLES + 1 }, (_, i) => this.at(QUARTER * (i / ANGLES)));
  }

  /** Where all of them are at an angle, at radius 1. */
  at(angle) {
    const here = marginal(this.mixture, [Math.cos(angle), Math.sin(angle)]);
    return this.quantiles.map(([q, n]) => quantileOf(here, q, n));
  }

  /** x_t of every path at [a, b]. */
  all([a, b]) {
    const place = (Math.atan2(b, a) / QUARTER) * ANGLES;
    const k = Math.min(ANGLES - 1, Math.floor(place));
    const [radius, part, after] = [Math.hypot(a, b), place - k, this.table[k + 1]];
    return this.table[k].map((from, i) => radius * (from + part * (after[i] - from)));
  }
}

// --- sampling -------------------------------------------------------------------------------------

/**
 * From [a_t, b_t] to [a_s, b_s] by x̂ = E[x | x_t] (slide 116): x_s = a_s x̂ + √(b_s² − σ²) ẑ + σ ε with
 * σ = η (b_s / b_t) √(b_t² − (a_t / a_s)² b_s²).
 *
 * @param {number} xHat x̂
 * @param {number} noise ε
 */
export function ddimStep(x, xHat, [aT, bT], [aS, bS], eta, noise) {
  const z = (x - aT * xHat) / bT;
  const sigma = ((eta * bS) / bT) * Math.sqrt(Math.max(0, bT ** 2 - (aT / aS) ** 2 * bS ** 2));
  return aS * xHat + Math.sqrt(Math.max(0, bS ** 2 - sigma ** 2)) * z + sigma * noise;
}

/** All levels of a walk along places [a, b]: x, and then as many after each step; `noise` likewise. */
export function walkAlong(mixture, places, start, eta, noise) {
  const n = start.length;
  const all = [Float64Array.from(start)];
  for (let k = 1; k < places.length; k++) {
    const [from, to] = [places[k - 1], places[k]];
    const behind = dataBehind(mixture, from);
    const before = all[k - 1];
    const after = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      after[i] = ddimStep(before[i], behind(before[i]), from, to, eta, noise[(k - 1) * n + i]);
    }
    all.push(after);
  }
  return all;
}

/** How far samples are from exact ones on average, each compared with the one of its rank (Wasserstein-1). */
export function apart(samples, exact) {
  const sorted = Float64Array.from(samples).sort();
  return sorted.reduce((sum, x, i) => sum + Math.abs(x - exact[i]), 0) / sorted.length;
}

/** That apart for as many independent draws, on average over a few sets of them. */
export function distanceOfDraws(exact, seed) {
  const [n, sets] = [exact.length, 10];
  const noise = normals(seed, n * sets);
  const draw = (z) => exact[Math.min(n - 1, Math.floor(normalCdf(z) * n))];
  const each = Array.from({ length: sets }, (_, k) => apart(noise.subarray(k * n, (k + 1) * n).map(draw), exact));
  return each.reduce((sum, one) => sum + one, 0) / sets;
}
