// Guidance in the plane (slides 61–72): the velocity that knows the class, the one that does not, and
// what lies on the line through the two. A mixture of Gaussians has a label for each component.

import { follow, mixtureField, onPath, walk } from "./velocity_field.mjs";

const FAR = 4; // noise farther out is drawn once in 3000 times
const TRIES = 30; // of Newton's rule

/** p(x | y): the components labelled y. */
export function ofClass({ weights, means, covs, labels }, y) {
  const [w, m, C] = [weights, means, covs].map((values) => values.filter((_, k) => labels[k] === y));
  return { weights: w, means: m, covs: C };
}

/** v_∅ and v_y of a mixture, and v_cfg = (1 + w) v_y − w v_∅ for any w (slide 66). */
export function velocitiesOf(mixture, y) {
  const [all, given] = [mixtureField(mixture), mixtureField(ofClass(mixture, y))];
  const [v, vY] = [
    [0, 0],
    [0, 0],
  ];
  const guided = (w) => (px, py, t, out) => {
    all(px, py, t, v);
    given(px, py, t, vY);
    for (const d of [0, 1]) out[d] = (1 + w) * vY[d] - w * v[d];
  };
  return { all, given, guided };
}

/** The data that a velocity at x_t points at, x_t − t v: for v = E[z − x | x_t] that is E[x | x_t]. */
export function pointsAt(field, [x, y], t) {
  const v = [0, 0];
  field(x, y, t, v);
  return [x - t * v[0], y - t * v[1]];
}

/** p(y | x_t) as a function of x_t and t. */
export function chanceOf({ weights, means, covs, labels }, label) {
  const log = weights.map(() => 0);
  return (x, y, t) => {
    const a = 1 - t;
    let most = -Infinity;
    for (let k = 0; k < log.length; k++) {
      const [[p, q], [, r]] = covs[k];
      const [P, Q, R] = [a * a * p + t * t, a * a * q, a * a * r + t * t];
      const [ux, uy, det] = [x - a * means[k][0], y - a * means[k][1], P * R - Q * Q];
      log[k] = Math.log(weights[k]) - 0.5 * (Math.log(det) + (R * ux * ux - 2 * Q * ux * uy + P * uy * uy) / det);
      if (log[k] > most) most = log[k];
    }
    let [mine, whole] = [0, 0];
    for (let k = 0; k < log.length; k++) {
      const share = Math.exp(log[k] - most);
      whole += share;
      if (labels[k] === label) mine += share;
    }
    return mine / whole;
  };
}

/** Mean of a mixture, and its spread: the root of the variance, averaged over both dimensions. */
export function spreadOf({ weights, means, covs }) {
  const whole = weights.reduce((sum, w) => sum + w, 0);
  const average = (f) => weights.reduce((sum, w, k) => sum + (w / whole) * f(k), 0);
  const mean = [0, 1].map((d) => average((k) => means[k][d]));
  const variances = [0, 1].map((d) => average((k) => covs[k][d][d] + (means[k][d] - mean[d]) ** 2));
  return { mean, spread: Math.sqrt((variances[0] + variances[1]) / 2) };
}

/** The same of points. */
export function spreadOfPoints(xy) {
  const n = xy.length / 2;
  const average = (f) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += f(i);
    return sum / n;
  };
  const mean = [0, 1].map((d) => average((i) => xy[2 * i + d]));
  const variances = [0, 1].map((d) => average((i) => (xy[2 * i + d] - mean[d]) ** 2));
  return { mean, spread: Math.sqrt((variances[0] + variances[1]) / 2) };
}

/** Euler's path from a point of level `begin` to data, in as many of T steps as are left. */
export function pathFrom(field, [x, y], begin, T) {
  return walk(field, false, x, y, begin, 0, Math.max(1, Math.ceil(begin * T - 1e-9)));
}

/** Where it is at level t. */
export const passes = (path, begin, t) => onPath(path, begin > 0 ? t / begin : 1);

/**
 * The noise whose path of T steps passes through x_t, by Newton's rule from where the field itself
 * leads back; null where only noise leads that is hardly ever drawn.
 */
export function noiseOf(field, x_t, t, T) {
  if (t >= 1) return [...x_t];
  const off = (z) => {
    const [x, y] = passes(pathFrom(field, z, 1, T), 1, t);
    return [x - x_t[0], y - x_t[1]];
  };
  let z = [...follow(field, ...x_t, t, 1).slice(-2)];
  let miss = off(z);
  for (let k = 0; k < TRIES && Math.hypot(...miss) > 1e-10; k++) {
    const h = 1e-6;
    const [right, up] = [off([z[0] + h, z[1]]), off([z[0], z[1] + h])];
    const [a, b, c, d] = [right[0] - miss[0], up[0] - miss[0], right[1] - miss[1], up[1] - miss[1]];
    const by = h / (a * d - b * c);
    const way = [by * (b * miss[1] - d * miss[0]), by * (c * miss[0] - a * miss[1])];
    let part = 2;
    let [next, left] = [z, miss];
    do {
      part /= 2;
      next = z.map((v, i) => v + part * way[i]);
      left = off(next);
    } while (!(Math.hypot(...left) < Math.hypot(...miss)) && part > 1e-3);
    if (!(Math.hypot(...left) < Math.hypot(...miss))) break;
    [z, miss] = [next, left];
  }
  return Math.hypot(...miss) < 1e-6 && Math.hypot(...z) <= FAR ? z : null;
}

/** The last point on the way from one place of a square window to another that is inside it. */
export function inside([x, y], [toX, toY], width, margin = 6) {
  const within = (from, to) => {
    if (to >= margin && to <= width - margin) return 1;
    return ((to < margin ? margin : width - margin) - from) / (to - from);
  };
  const part = Math.min(1, Math.max(0, Math.min(within(x, toX), within(y, toY))));
  return [x + part * (toX - x), y + part * (toY - y)];
}

/**
 * Where labels go: near their points, inside a square window, off each other, and off other points.
 *
 * @param {{at: number[], size: number[], away: number}[]} labels the point, width and height, and the
 *     angle at which the label would best be; the first choose first
 * @param {number[][]} points that are to be seen: x, y, and what it costs to hide one
 * @returns {number[][]} left and top of each
 */
export function placed(labels, points, width) {
  const boxes = [];
  for (const {
    at,
    size: [wide, high],
    away,
  } of labels) {
    let best = { cost: Infinity };
    for (const far of [10, 18, 28, 42, 60, 84, 120]) {
      for (let k = 0; k < 16; k++) {
        const angle = away + (k * Math.PI) / 8;
        const put = (middle, size) => Math.min(width - size - 2, Math.max(2, middle - size / 2));
        const left = put(at[0] + Math.cos(angle) * (far + wide / 2), wide);
        const top = put(at[1] + Math.sin(angle) * (far + high / 2), high);
        const [right, bottom] = [left + wide, top + high];
        let cost = far + 8 * (1 - Math.cos(angle - away));
        for (const [l, t, r, b] of boxes) {
          const [dx, dy] = [Math.min(right, r) - Math.max(left, l), Math.min(bottom, b) - Math.max(top, t)];
          if (dx > -2 && dy > -2) cost += 300 + (dx + 2) * (dy + 2);
        }
        for (const [x, y, hidden] of points) {
          if (x > left - 4 && x < right + 4 && y > top - 4 && y < bottom + 4) cost += hidden;
        }
        if (cost < best.cost) best = { cost, box: [left, top, right, bottom] };
      }
    }
    boxes.push(best.box);
  }
  return boxes.map(([left, top]) => [left, top]);
}
