// The best linear VAE: its KL term is water over the spectrum of the data, as in truth/linear_vae.py.

/**
 * The best linear VAE at water level θ, axis by axis: MSE and KL (in nats), encoder μ = encoder · c, variance
 * of q(u | x), and decoder ĉ = decoder · u.
 */
export function floodedBy(theta, eigenvalues) {
  const by = (f) => Float64Array.from(eigenvalues, f);
  return {
    mse: by((lam) => Math.min(lam, theta)),
    kl: by((lam) => 0.5 * Math.log(Math.max(lam, theta) / theta)),
    encoder: by((lam) => Math.sqrt(Math.max(0, lam - theta)) / lam),
    variance: by((lam) => Math.min(1, theta / lam)),
    decoder: by((lam) => Math.sqrt(Math.max(0, lam - theta))),
    alive: eigenvalues.filter((lam) => lam > theta).length,
  };
}

export const sumOf = (numbers) => numbers.reduce((sum, one) => sum + one, 0);

/** Squared distance of two pictures. */
export const apartSquared = (a, b) => a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0);

/** Axes through the mean of the data: eigenvectors, row by row, as signed bytes with a scale for each. */
export class DataAxes {
  constructor(bytes, scales, mean) {
    this.mean = mean;
    this.size = mean.length;
    this.count = scales.length;
    this.rows = Float64Array.from(bytes, (byte, k) => ((byte << 24) >> 24) * scales[Math.floor(k / this.size)]);
  }

  /** The coefficient of a vector on each axis. */
  along(vector) {
    const { count, rows, size } = this;
    const out = new Float64Array(count);
    for (let i = 0, k = 0; i < count; i++) {
      for (let j = 0; j < size; j++, k++) out[i] += rows[k] * vector[j];
    }
    return out;
  }

  /** The vector with these coefficients. */
  vector(coefficients) {
    const { count, rows, size } = this;
    const out = new Float64Array(size);
    for (let i = 0, k = 0; i < count; i++) {
      for (let j = 0; j < size; j++, k++) out[j] += rows[k] * coefficients[i];
    }
    return out;
  }

  /** The coefficients of a picture: those of what it differs by from the mean. */
  coefficients(picture) {
    return this.along(picture.map((v, j) => v - this.mean[j]));
  }

  /** The picture with these coefficients. */
  picture(coefficients) {
    return this.vector(coefficients).map((v, j) => v + this.mean[j]);
  }

  /** What of a vector is orthogonal to all axes. */
  beside(vector) {
    const inside = this.vector(this.along(vector));
    return vector.map((v, j) => v - inside[j]);
  }
}

/** What a code is noised to at level t: u_t = (1 − t) u + t z. */
export const noisedCode = (u, z, t) => u.map((v, i) => (1 - t) * v + t * z[i]);

/** Both terms of each axis times a number. */
export const timesEach = (a, b) => a.map((v, i) => v * b[i]);

/**
 * What the flooded VAE makes of a picture with these coefficients.
 *
 * @param {object} vae what `floodedBy` gives
 * @param {DataAxes} axes
 * @param {Float64Array} coefficients of the picture
 * @param {number} rest the variance beside all axes
 * @param {Float64Array} noise from N(0, 1): of the code, of what is lost on the axes, and of what is lost beside them
 * @returns {{mean: Float64Array, u: Float64Array, xHat: Float64Array, sample: Float64Array}} the mean of
 *   q(u | x), a draw from it, x̂ = E[x | u], and a draw from p(x | u)
 */
export function throughCode(vae, axes, coefficients, rest, noise) {
  const { count, size } = axes;
  const [draw, lost, beside] = [
    noise.subarray(0, count),
    noise.subarray(count, 2 * count),
    noise.subarray(2 * count, 2 * count + size),
  ];
  const mean = timesEach(vae.encoder, coefficients);
  const u = mean.map((m, i) => m + Math.sqrt(vae.variance[i]) * draw[i]);
  const xHat = axes.picture(timesEach(vae.decoder, u));
  const onAxes = axes.vector(lost.map((n, i) => Math.sqrt(vae.mse[i]) * n));
  const spread = Math.sqrt(rest / Math.max(1, size - count));
  const offAxes = axes.beside(beside);
  return { mean, u, xHat, sample: xHat.map((v, j) => v + onAxes[j] + spread * offAxes[j]) };
}
