// Attention maps that arrive as bytes with a scale for each map, and what a row of them says.

/** What patches attend to, over examples, levels, blocks and heads. */
export class AttentionRows {
  constructor(bytes, scales, [examples, levels, blocks, heads, patches]) {
    Object.assign(this, { bytes, scales, examples, levels, blocks, heads, patches });
  }

  /** What a patch attends to in one head. */
  ofHead({ example, level, block, patch }, head) {
    const { bytes, scales, patches } = this;
    const map = ((example * this.levels + level) * this.blocks + block) * this.heads + head;
    const from = (map * patches + patch) * patches;
    return Float64Array.from(bytes.subarray(from, from + patches), (byte) => byte * scales[map]);
  }

  /** The same; head 0 is the mean of all heads, and they count from 1. */
  row(at, head) {
    if (head) return this.ofHead(at, head - 1);
    const all = Array.from({ length: this.heads }, (_, h) => this.ofHead(at, h));
    return all[0].map((_, i) => all.reduce((sum, one) => sum + one[i], 0) / this.heads);
  }
}

/** Over how many patches attention is spread: exp of its entropy, from 1 to their number. */
export function spreadOver(row) {
  const total = row.reduce((sum, p) => sum + p, 0);
  return Math.exp(row.reduce((sum, p) => sum - (p > 0 ? (p / total) * Math.log(p / total) : 0), 0));
}

/** Patches with the highest weights, from the highest on. */
export function highest(row, n) {
  const order = Array.from(row.keys()).sort((i, j) => row[j] - row[i] || i - j);
  return order.slice(0, n);
}

/** Which of the levels is nearest to t. */
export function nearestLevel(levels, t) {
  return levels.reduce((best, one, k) => (Math.abs(one - t) < Math.abs(levels[best] - t) ? k : best), 0);
}

/** Where a patch moves by a step on its grid, kept inside. */
export function stepOnGrid(patch, side, [right, up]) {
  const inside = (v) => Math.min(side - 1, Math.max(0, v));
  return side * inside(Math.floor(patch / side) - up) + inside((patch % side) + right);
}
