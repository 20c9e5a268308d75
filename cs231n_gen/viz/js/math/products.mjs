// Rows times a matrix. Numbers are in double precision: that is what JavaScript computes in, and single
// precision would be converted each time it is read.

/** Rows times a matrix plus a bias: into[p, o] = bias[o] + Σ_k a[p, k] w[o, k]. */
export function product(a, { w, bias, inner, outs }, into = new Float64Array((a.length / inner) * outs)) {
  const rows = a.length / inner;
  const whole = outs - (outs % 4);
  for (let o = 0; o < whole; o += 4) fourColumns(a, w, bias, { rows, inner, outs, o }, into);
  for (let o = whole; o < outs; o++) {
    for (let p = 0; p < rows; p++) {
      let sum = bias[o];
      for (let k = 0; k < inner; k++) sum += a[p * inner + k] * w[o * inner + k];
      into[p * outs + o] = sum;
    }
  }
  return into;
}

/** Four columns of a product, two rows at a time: numbers that are loaded once are used more often. */
function fourColumns(a, w, bias, { rows, inner, outs, o }, into) {
  const w0 = o * inner;
  const w1 = w0 + inner;
  const w2 = w1 + inner;
  const w3 = w2 + inner;
  for (let p = 0; p + 1 < rows; p += 2) {
    let [s0, s1, s2, s3] = [bias[o], bias[o + 1], bias[o + 2], bias[o + 3]];
    let [r0, r1, r2, r3] = [s0, s1, s2, s3];
    for (let k = 0, at = p * inner; k < inner; k++, at++) {
      const x = a[at];
      const y = a[at + inner];
      const u0 = w[w0 + k];
      const u1 = w[w1 + k];
      const u2 = w[w2 + k];
      const u3 = w[w3 + k];
      s0 += x * u0;
      s1 += x * u1;
      s2 += x * u2;
      s3 += x * u3;
      r0 += y * u0;
      r1 += y * u1;
      r2 += y * u2;
      r3 += y * u3;
    }
    const to = p * outs + o;
    into[to] = s0;
    into[to + 1] = s1;
    into[to + 2] = s2;
    into[to + 3] = s3;
    into[to + outs] = r0;
    into[to + outs + 1] = r1;
    into[to + outs + 2] = r2;
    into[to + outs + 3] = r3;
  }
  if (rows % 2) lastRow(a, w, bias, { p: rows - 1, inner, outs, o }, into);
}

/** Four columns of the row that is left where their number is odd. */
function lastRow(a, w, bias, { p, inner, outs, o }, into) {
  const w0 = o * inner;
  const w1 = w0 + inner;
  const w2 = w1 + inner;
  const w3 = w2 + inner;
  let [s0, s1, s2, s3] = [bias[o], bias[o + 1], bias[o + 2], bias[o + 3]];
  for (let k = 0, at = p * inner; k < inner; k++, at++) {
    const x = a[at];
    s0 += x * w[w0 + k];
    s1 += x * w[w1 + k];
    s2 += x * w[w2 + k];
    s3 += x * w[w3 + k];
  }
  const to = p * outs + o;
  into[to] = s0;
  into[to + 1] = s1;
  into[to + 2] = s2;
  into[to + 3] = s3;
}
