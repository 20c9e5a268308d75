// Mixtures of Gaussians on the line, the best discriminator between two of them, and JSD. The lines
// are those of truth/divergence.py.

import { jensenShannon, probability } from "./tiny_gan.mjs";

const CELLS = 800; // of the grid on which JSD is summed
const REACH = 6; // standard deviations that the grid covers
export const STDS = [0.1, 3]; // as in line_mixtures.py

/** log p(x) of a mixture of Gaussians on the line. */
export function logDensity({ weights, means, stds }, x) {
  const logs = means.map(
    (mean, k) => Math.log(weights[k] / stds[k]) - 0.5 * ((x - mean) / stds[k]) ** 2 - 0.5 * Math.log(2 * Math.PI),
  );
  const most = Math.max(...logs);
  return most + Math.log(logs.reduce((sum, l) => sum + Math.exp(l - most), 0));
}

/** D*(x) = p_data(x) / (p_data(x) + p_G(x)), also where both are too small for a number. */
export const best = (pData, pG, x) => probability(logDensity(pData, x) - logDensity(pG, x));

/** JSD(p_data, p_G) in nats, summed over a grid that covers both. */
export function divergence(pData, pG) {
  const ends = (way) => [pData, pG].flatMap(({ means, stds }) => means.map((mean, k) => mean + way * REACH * stds[k]));
  const [low, high] = [Math.min(...ends(-1)), Math.max(...ends(1))];
  const dx = (high - low) / CELLS;
  const middles = Array.from({ length: CELLS }, (_, i) => low + (i + 0.5) * dx);
  const on = (mixture) => middles.map((x) => Math.exp(logDensity(mixture, x)));
  return Math.min(Math.log(2), Math.max(0, jensenShannon(on(pData), on(pG), dx)));
}

/** (a log y + b log(1 − y)) / (a + b): its shape depends on D* = a / (a + b) alone. */
export function gain(D, y) {
  const part = (share, p) => (share > 0 ? share * Math.log(p) : 0);
  return part(D, y) + part(1 - D, 1 - y);
}

/**
 * Means, stds and share with which p_G of n components is p_data; where those are too few (`whole`
 * is false), all of them get the mean and the standard deviation of p_data.
 */
export function matched({ weights, means, stds }, n, share) {
  const order = [...means.keys()].sort((i, j) => means[i] - means[j]);
  const whole = order.length <= n;
  const mean = weights.reduce((sum, w, k) => sum + w * means[k], 0);
  const square = weights.reduce((sum, w, k) => sum + w * (stds[k] ** 2 + (means[k] - mean) ** 2), 0);
  const pick = (values, other) =>
    Array.from({ length: n }, (_, k) => (whole ? values[order[Math.min(k, order.length - 1)]] : other));
  return {
    means: pick(means, mean),
    stds: pick(stds, Math.min(STDS[1], Math.sqrt(square))),
    share: whole && order.length === 2 ? weights[order[0]] : share,
    whole,
  };
}

/** A p_G a part of the way from one to another. */
export function onTheWay(from, to, part) {
  const mix = (a, b) => (Array.isArray(a) ? a.map((v, k) => mix(v, b[k])) : a + part * (b - a));
  return Object.fromEntries(["means", "stds", "share"].map((key) => [key, mix(from[key], to[key])]));
}
