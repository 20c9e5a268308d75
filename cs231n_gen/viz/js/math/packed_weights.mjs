// Arrays of weights that arrive as whole numbers of a few bits with a scale for each row, as
// viz/caption_weights.py packs them.

import { halves, levels } from "./codec.mjs";

/** Whole numbers from −2^(bits − 1) on, which stand one after the other, the lowest bit first. */
export class Bits {
  constructor(bytes, bits) {
    Object.assign(this, { bytes, bits, at: 0, kept: 0, count: 0 });
  }

  next() {
    while (this.count < this.bits) {
      this.kept |= this.bytes[this.at++] << this.count;
      this.count += 8;
    }
    const raised = this.kept & (2 ** this.bits - 1);
    this.kept >>>= this.bits;
    this.count -= this.bits;
    return raised - 2 ** (this.bits - 1);
  }
}

/**
 * Arrays by name: those with rows are whole numbers times the scale of their row, others are halves.
 *
 * @param {{layout: [string, number[]][], bits: number, rows: any, scales: any, vectors: any}} packed
 */
export function unpackWeights({ layout, bits, rows, scales, vectors }) {
  const whole = new Bits(levels(rows), bits);
  const scaleOf = halves(scales);
  const single = halves(vectors);
  const found = {};
  let [row, read] = [0, 0];
  for (const [name, shape] of layout) {
    const size = shape.reduce((n, side) => n * side, 1);
    const numbers = new Float64Array(size);
    if (shape.length === 1) {
      numbers.set(single.subarray(read, read + size));
      read += size;
    } else {
      const inner = size / shape[0];
      for (let k = 0; k < size; row++) {
        const scale = scaleOf[row];
        for (const end = k + inner; k < end; k++) numbers[k] = whole.next() * scale;
      }
    }
    found[name] = numbers;
  }
  return found;
}
