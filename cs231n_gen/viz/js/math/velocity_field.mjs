// Velocity fields in the plane and the paths along them. t = 0 is data, t = 1 noise, as everywhere
// in the course: x_t = (1 - t) x + t z, v = z - x, and a sampler walks from t = 1 down to 0.
//
// A field is called as field(x, y, t, out) and leaves v in out[0], out[1].

/**
 * E[v | x_t] of a mixture of Gaussians (truth/mixture.py): component k of x_t is N(a m, S) with
 * a = 1 - t and S = a^2 C + t^2 I, so E[x] = m + a C S^-1 u and E[z] = t S^-1 u, u = x_t - a m.
 *
 * @param {{weights: number[], means: number[][], covs: number[][][]}} mixture
 */
export function mixtureField({ weights, means, covs }) {
  const K = weights.length;
  const m = Float64Array.from(means.flat());
  const C = Float64Array.from(covs.flatMap(([[p, q], [, r]]) => [p, q, r]));
  const logW = Float64Array.from(weights, Math.log);
  const score = new Float64Array(K);
  const S = new Float64Array(2 * K); // S^-1 u of each component
  return (x, y, t, out) => {
    const a = 1 - t;
    let most = -Infinity;
    for (let k = 0; k < K; k++) {
      const p = a * a * C[3 * k] + t * t;
      const q = a * a * C[3 * k + 1];
      const r = a * a * C[3 * k + 2] + t * t;
      const det = p * r - q * q;
      const ux = x - a * m[2 * k];
      const uy = y - a * m[2 * k + 1];
      S[2 * k] = (r * ux - q * uy) / det;
      S[2 * k + 1] = (p * uy - q * ux) / det;
      score[k] = logW[k] - 0.5 * (Math.log(det) + ux * S[2 * k] + uy * S[2 * k + 1]);
      if (score[k] > most) most = score[k];
    }
    let total = 0;
    let vx = 0;
    let vy = 0;
    for (let k = 0; k < K; k++) {
      const weight = Math.exp(score[k] - most);
      const [sx, sy] = [S[2 * k], S[2 * k + 1]];
      total += weight;
      vx += weight * (t * sx - m[2 * k] - a * (C[3 * k] * sx + C[3 * k + 1] * sy));
      vy += weight * (t * sy - m[2 * k + 1] - a * (C[3 * k + 1] * sx + C[3 * k + 2] * sy));
    }
    out[0] = vx / total;
    out[1] = vy / total;
  };
}

/**
 * What a net says, `VelocityMLP` of mlp.py: x, y, t and the sine and cosine of t times each
 * frequency go through hidden layers with SiLU.
 *
 * @param {Float32Array} numbers weight and bias of each layer, rows one after the other
 * @param {number[]} widths inputs, hidden widths and 2 outputs
 * @param {number[]} frequencies
 */
export function mlpField(numbers, widths, frequencies) {
  const layers = [];
  let begin = 0;
  for (let l = 1; l < widths.length; l++) {
    const [n, m] = [widths[l - 1], widths[l]];
    const weight = Float64Array.from(numbers.subarray(begin, begin + n * m));
    const bias = Float64Array.from(numbers.subarray(begin + n * m, begin + n * m + m));
    layers.push({ n, m, weight, bias, result: new Float64Array(m) });
    begin += (n + 1) * m;
  }
  const F = frequencies.length;
  const inputs = new Float64Array(widths[0]);
  let known = NaN; // the t whose sines the inputs hold
  return (x, y, t, out) => {
    inputs[0] = x;
    inputs[1] = y;
    if (t !== known) {
      inputs[2] = known = t;
      for (let k = 0; k < F; k++) {
        inputs[3 + k] = Math.sin(t * frequencies[k]);
        inputs[3 + F + k] = Math.cos(t * frequencies[k]);
      }
    }
    let h = inputs;
    for (let l = 0; l < layers.length; l++) {
      affine(layers[l], h);
      h = layers[l].result;
      if (l === layers.length - 1) break;
      for (let i = 0; i < h.length; i++) h[i] /= 1 + Math.exp(-h[i]);
    }
    out[0] = h[0];
    out[1] = h[1];
  };
}

/** weight · h + bias, four rows at a time: four sums that need not wait for each other. */
function affine({ n, m, weight, bias, result }, h) {
  let i = 0;
  for (; i + 3 < m; i += 4) {
    let [a, b, c, d] = [bias[i], bias[i + 1], bias[i + 2], bias[i + 3]];
    for (let j = 0, at = i * n; j < n; j++, at++) {
      const value = h[j];
      a += weight[at] * value;
      b += weight[at + n] * value;
      c += weight[at + 2 * n] * value;
      d += weight[at + 3 * n] * value;
    }
    result[i] = a;
    result[i + 1] = b;
    result[i + 2] = c;
    result[i + 3] = d;
  }
  for (; i < m; i++) {
    let sum = bias[i];
    for (let j = 0, at = i * n; j < n; j++, at++) sum += weight[at] * h[j];
    result[i] = sum;
  }
}

const first = [0, 0];
const second = [0, 0];

/** One step of size h down from level t, by Euler's or Heun's rule; the new point is left in out. */
export function step(field, heun, x, y, t, h, out) {
  field(x, y, t, first);
  out[0] = x - h * first[0];
  out[1] = y - h * first[1];
  if (!heun) return;
  field(out[0], out[1], t - h, second);
  out[0] = x - (h * (first[0] + second[0])) / 2;
  out[1] = y - (h * (first[1] + second[1])) / 2;
}

/** The path of a point from one level to another in equal steps: x, y of each, begin and end too. */
export function walk(field, heun, x, y, from, to, steps) {
  const path = new Float64Array(2 * steps + 2);
  const at = [x, y];
  path.set(at);
  for (let k = 0; k < steps; k++) {
    const t = from + ((to - from) * k) / steps;
    step(field, heun, at[0], at[1], t, (from - to) / steps, at);
    path.set(at, 2 * k + 2);
  }
  return path;
}

const third = [0, 0];
const fourth = [0, 0];

/** Where the field really leads: Runge and Kutta's rule of order 4; args as those of `walk`. */
export function follow(field, x, y, from, to, steps = 40) {
  const path = new Float64Array(2 * steps + 2);
  path[0] = x;
  path[1] = y;
  const h = (to - from) / steps;
  for (let k = 0; k < steps; k++) {
    const t = from + h * k;
    field(x, y, t, first);
    field(x + (h / 2) * first[0], y + (h / 2) * first[1], t + h / 2, second);
    field(x + (h / 2) * second[0], y + (h / 2) * second[1], t + h / 2, third);
    field(x + h * third[0], y + h * third[1], from + h * (k + 1), fourth);
    x += (h / 6) * (first[0] + 2 * second[0] + 2 * third[0] + fourth[0]);
    y += (h / 6) * (first[1] + 2 * second[1] + 2 * third[1] + fourth[1]);
    path[2 * k + 2] = x;
    path[2 * k + 3] = y;
  }
  return path;
}

/** Where a path that walks from t = 1 to 0 is at level t: straight between its points. */
export function onPath(path, t) {
  const steps = path.length / 2 - 1;
  const place = Math.min(steps, Math.max(0, (1 - t) * steps));
  const k = Math.min(steps - 1, Math.floor(place));
  const part = place - k;
  return [0, 1].map((d) => (1 - part) * path[2 * k + d] + part * path[2 * k + 2 + d]);
}

/**
 * The straight pairs that pass through (x, y) at level t: for each data point the noise point at
 * the other end of the line, how likely the pair is among all that pass, and the mean velocity.
 */
export function pairsThrough(data, x, y, t) {
  const n = data.length / 2;
  const z = new Float64Array(2 * n);
  const weights = new Float64Array(n);
  let most = -Infinity;
  for (let i = 0; i < n; i++) {
    z[2 * i] = (x - (1 - t) * data[2 * i]) / t;
    z[2 * i + 1] = (y - (1 - t) * data[2 * i + 1]) / t;
    weights[i] = -0.5 * (z[2 * i] ** 2 + z[2 * i + 1] ** 2);
    most = Math.max(most, weights[i]);
  }
  const total = weights.reduce((sum, w) => sum + Math.exp(w - most), 0);
  const v = [0, 0];
  for (let i = 0; i < n; i++) {
    weights[i] = Math.exp(weights[i] - most) / total;
    for (const d of [0, 1]) v[d] += weights[i] * (z[2 * i + d] - data[2 * i + d]);
  }
  return { z, weights, v };
}

/** Many points on their way along one field; their steps are computed a few points at a time. */
export class Crowd {
  constructor(field, noise) {
    Object.assign(this, { field, noise, steps: 0, heun: false, frames: [], done: 0 });
  }

  /** Forget what was computed if the rule changed. */
  use(steps, heun) {
    if (steps === this.steps && heun === this.heun) return;
    Object.assign(this, { steps, heun, frames: [this.noise], next: null, done: 0 });
  }

  /** Compute up to level t, or until `enough()`; tells whether it got there. */
  reach(t, enough = () => false) {
    const wanted = Math.min(this.steps, Math.ceil((1 - t) * this.steps - 1e-9));
    const at = [0, 0];
    while (this.frames.length <= wanted) {
      const before = this.frames.at(-1);
      this.next ??= new Float32Array(before.length);
      const level = 1 - (this.frames.length - 1) / this.steps;
      while (this.done < before.length) {
        if (this.done % 64 === 0 && enough()) return false;
        const i = this.done;
        step(this.field, this.heun, before[i], before[i + 1], level, 1 / this.steps, at);
        this.next[i] = at[0];
        this.next[i + 1] = at[1];
        this.done += 2;
      }
      this.frames.push(this.next);
      Object.assign(this, { next: null, done: 0 });
    }
    return true;
  }

  /** The points at level t, or as near to it as was computed: straight between steps. */
  at(t) {
    const place = Math.min(this.frames.length - 1, Math.max(0, (1 - t) * this.steps));
    const k = Math.floor(place);
    const part = place - k;
    if (part < 1e-9) return this.frames[k];
    const [a, b] = [this.frames[k], this.frames[k + 1]];
    this.between ??= new Float32Array(a.length);
    for (let i = 0; i < a.length; i++) this.between[i] = a[i] + part * (b[i] - a[i]);
    return this.between;
  }
}
