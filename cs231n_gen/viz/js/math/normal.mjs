// The standard normal distribution.

/** exp(−x² / 2) / √(2π) */
export const bell = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);

/** Φ(x) = ½ + φ(x) (x + x³ / 3 + x⁵ / (3 · 5) + …) */
export function normalCdf(x) {
  if (Math.abs(x) > 8.5) return x < 0 ? 0 : 1;
  let [term, sum] = [x, x];
  for (let k = 3; Math.abs(term) > 1e-17 * Math.abs(sum); k += 2) {
    term *= (x * x) / k;
    sum += term;
  }
  return 0.5 + bell(x) * sum;
}

/** The x with Φ(x) = q, 0 < q < 1, by Newton's rule: below ½ it comes down to x and never past it. */
export function normalQuantile(q) {
  if (q > 0.5) return -normalQuantile(1 - q);
  let x = 0;
  for (let k = 0; k < 60; k++) {
    const by = (normalCdf(x) - q) / bell(x);
    x -= by;
    if (Math.abs(by) < 1e-15) break;
  }
  return x;
}

/** n draws from N(0, 1) in pairs by Box and Muller's rule, from xorshift32 (Marsaglia 2003). */
export function normals(seed, n) {
  let state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bd1e995) | 0 || 1;
  const uniform = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 0.5) / 2 ** 32;
  };
  for (let k = 0; k < 16; k++) uniform(); // the first ones of near seeds are alike
  const out = new Float64Array(n + 1);
  for (let i = 0; i < n; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    out[i] = radius * Math.cos(angle);
    out[i + 1] = radius * Math.sin(angle);
  }
  return out.subarray(0, n);
}
