// A GAN on the line: two small nets, their gradients by hand, and Adam. The lines are those of
// gan.py, mlp.py and torch's Adam; data and noise are the same points in every step.

const sigmoid = (l) => (l >= 0 ? 1 / (1 + Math.exp(-l)) : Math.exp(l) / (1 + Math.exp(l)));
const softplus = (l) => Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l)));

/** `MLP(1, 1, …)` of mlp.py, with SiLU; `numbers` are weight and bias of each layer. */
export class Net {
  constructor(numbers, widths) {
    this.widths = widths;
    this.w = Float64Array.from(numbers);
    this.g = new Float64Array(this.w.length); // the gradient of a loss
    this.m = new Float64Array(this.w.length); // Adam's averages
    this.s = new Float64Array(this.w.length);
    this.steps = 0;
  }

  /** The result for one number; what `back` needs is kept. */
  at(x) {
    let h = [x];
    let place = 0;
    this.inputs = [];
    this.sums = [];
    for (let l = 1; l < this.widths.length; l++) {
      const [n, m] = [this.widths[l - 1], this.widths[l]];
      const sums = new Array(m);
      for (let i = 0; i < m; i++) {
        let sum = this.w[place + n * m + i];
        for (let j = 0; j < n; j++) sum += this.w[place + i * n + j] * h[j];
        sums[i] = sum;
      }
      this.inputs.push(h);
      this.sums.push(sums);
      h = l === this.widths.length - 1 ? sums : sums.map((y) => y * sigmoid(y));
      place += (n + 1) * m;
    }
    return h[0];
  }

  /** Add slope · d(result)/d(weights) of the last number to g; returns slope · d(result)/dx. */
  back(slope) {
    let up = [slope];
    let place = this.w.length;
    for (let l = this.widths.length - 1; l > 0; l--) {
      const [n, m] = [this.widths[l - 1], this.widths[l]];
      place -= (n + 1) * m;
      const down = new Array(n).fill(0);
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          this.g[place + i * n + j] += up[i] * this.inputs[l - 1][j];
          down[j] += up[i] * this.w[place + i * n + j];
        }
        this.g[place + n * m + i] += up[i];
      }
      if (l > 1) {
        const y = this.sums[l - 2];
        up = down.map((d, j) => d * sigmoid(y[j]) * (1 + y[j] * (1 - sigmoid(y[j]))));
      } else up = down;
    }
    return up[0];
  }

  /** A step of Adam down the gradient that was collected. */
  step(lr, [beta1, beta2] = [0, 0.9]) {
    this.steps++;
    const scale1 = 1 - beta1 ** this.steps;
    const scale2 = 1 - beta2 ** this.steps;
    for (let i = 0; i < this.w.length; i++) {
      this.m[i] = beta1 * this.m[i] + (1 - beta1) * this.g[i];
      this.s[i] = beta2 * this.s[i] + (1 - beta2) * this.g[i] ** 2;
      this.w[i] -= (lr * this.m[i]) / scale1 / (Math.sqrt(this.s[i] / scale2) + 1e-8);
    }
    this.g.fill(0);
  }
}

/** V(G, D): the mean of log D over data, and of log (1 - D) over samples. */
export function gameValue(G, D, data, noise) {
  const real = data.reduce((sum, x) => sum - softplus(-D.at(x)), 0) / data.length;
  return noise.reduce((sum, z) => sum - softplus(D.at(G.at(z))) / noise.length, real);
}

/** One step of D up V, all data and all noise at once. */
export function stepD(G, D, data, noise, lr) {
  for (const x of data) D.back(-sigmoid(-D.at(x)) / data.length);
  for (const z of noise) D.back(sigmoid(D.at(G.at(z))) / noise.length);
  D.step(lr);
}

/** How each sample is pulled: minus the slope of its own term of the loss, along x. */
export function pulls(G, D, noise, saturating) {
  return noise.map((z) => {
    const x = G.at(z);
    const l = D.at(x);
    const slope = D.back(saturating ? -sigmoid(l) : -sigmoid(-l));
    D.g.fill(0);
    return [x, -slope];
  });
}

/** One step of G down its loss. */
export function stepG(G, D, noise, saturating, lr) {
  for (const z of noise) {
    const l = D.at(G.at(z));
    const slope = D.back(saturating ? -sigmoid(l) : -sigmoid(-l));
    G.at(z);
    G.back(slope / noise.length);
  }
  D.g.fill(0);
  G.step(lr);
}

/** A density at each of `at`, from points: Gaussians of one width around them. */
export function smoothed(points, at, width) {
  const top = 1 / (points.length * width * Math.sqrt(2 * Math.PI));
  return at.map((x) => points.reduce((sum, p) => sum + top * Math.exp(-0.5 * ((x - p) / width) ** 2), 0));
}

/** JSD of two densities on a grid of step dx, in nats. */
export function jensenShannon(p, q, dx) {
  const part = (a, m) => (a > 0 ? a * Math.log(a / m) : 0);
  return p.reduce((sum, a, i) => {
    const m = (a + q[i]) / 2;
    return sum + (dx / 2) * (part(a, m) + part(q[i], m));
  }, 0);
}

export const probability = sigmoid;

/** The game after some rounds from its beginning, k_D steps of D and k_G of G in each. */
export function replay(numbers, widths, data, noise, rates, { rounds, dSteps, gSteps, saturating }) {
  const half = numbers.length / 2;
  const G = new Net(numbers.subarray(0, half), widths);
  const D = new Net(numbers.subarray(half), widths);
  for (let k = 0; k < rounds; k++) {
    for (let i = 0; i < dSteps; i++) stepD(G, D, data, noise, rates[1]);
    for (let i = 0; i < gSteps; i++) stepG(G, D, noise, saturating, rates[0]);
  }
  return { G, D };
}
