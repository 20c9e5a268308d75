// The decoder of chapter 08, from a small grid of latents to an image. Features are rows, one for each place,
// with their channels side by side: a convolution is then a product of two matrices.

import { product } from "./products.mjs";

const GROUPS = 8; // of channels, each normalised by itself
const HEADS = 4;
const TAPS = 9; // of a convolution of 3×3

/** What a convolution of 3×3 sees at each place of a square, zeros around it: (places, 9 · channels). */
export function neighbours(h, side, channels) {
  const wide = TAPS * channels;
  const seen = new Float64Array(side * side * wide);
  for (let row = 0, to = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      for (let i = row - 1; i <= row + 1; i++) {
        for (let j = column - 1; j <= column + 1; j++, to += channels) {
          if (i < 0 || j < 0 || i >= side || j >= side) continue;
          const from = (i * side + j) * channels;
          for (let c = 0; c < channels; c++) seen[to + c] = h[from + c];
        }
      }
    }
  }
  return seen;
}

/** Each of 8 groups of channels with mean 0 and variance 1 over all places, then scaled and shifted. */
export function groupNorm(h, { weight, bias }, eps) {
  const channels = weight.length;
  const places = h.length / channels;
  const size = channels / GROUPS;
  const out = new Float64Array(h.length);
  for (let group = 0; group < channels; group += size) {
    let [sum, squares] = [0, 0];
    for (let p = 0; p < places; p++) for (let c = group; c < group + size; c++) sum += h[p * channels + c];
    const mean = sum / (places * size);
    for (let p = 0; p < places; p++) {
      for (let c = group; c < group + size; c++) squares += (h[p * channels + c] - mean) ** 2;
    }
    const scale = 1 / Math.sqrt(squares / (places * size) + eps);
    for (let c = group; c < group + size; c++) {
      const slope = scale * weight[c];
      for (let at = c; at < h.length; at += channels) out[at] = (h[at] - mean) * slope + bias[c];
    }
  }
  return out;
}

/** x σ(x), in place. */
export function silu(h) {
  for (let i = 0; i < h.length; i++) h[i] /= 1 + Math.exp(-h[i]);
  return h;
}

/** Attention with 4 heads: rows hold queries, keys and values, one after the other. */
export function attended(rows, channels) {
  const places = rows.length / (3 * channels);
  const size = channels / HEADS;
  const out = new Float64Array(places * channels);
  const weights = new Float64Array(places);
  for (let head = 0; head < channels; head += size) {
    for (let p = 0; p < places; p++) {
      const total = softmaxRow(rows, { p, head, channels, size, places }, weights);
      for (let q = 0; q < places; q++) {
        const share = weights[q] / total;
        const value = (3 * q + 2) * channels + head;
        for (let c = 0; c < size; c++) out[p * channels + head + c] += share * rows[value + c];
      }
    }
  }
  return out;
}

/** exp of the scores of one query, less the highest of them; gives their sum. */
function softmaxRow(rows, { p, head, channels, size, places }, weights) {
  const query = 3 * p * channels + head;
  let most = -Infinity;
  for (let q = 0; q < places; q++) {
    const key = (3 * q + 1) * channels + head;
    let score = 0;
    for (let c = 0; c < size; c++) score += rows[query + c] * rows[key + c];
    weights[q] = score / Math.sqrt(size);
    most = Math.max(most, weights[q]);
  }
  let total = 0;
  for (let q = 0; q < places; q++) total += weights[q] = Math.exp(weights[q] - most);
  return total;
}

/** 2×2 places of four channels: channel 4 c + 2 i + j becomes channel c of the place (i, j) in four. */
export function shuffled(h, side, channels) {
  const less = channels / 4;
  const out = new Float64Array(h.length);
  for (let row = 0; row < 2 * side; row++) {
    for (let column = 0; column < 2 * side; column++) {
      const from = ((row >> 1) * side + (column >> 1)) * channels + 2 * (row & 1) + (column & 1);
      const to = (row * 2 * side + column) * less;
      for (let c = 0; c < less; c++) out[to + c] = h[from + 4 * c];
    }
  }
  return out;
}

function add(h, more) {
  for (let i = 0; i < h.length; i++) h[i] += more[i];
  return h;
}

/** Arrays that are cut off a long one, in the order in which `latent_nets.Decoder` makes its layers. */
class Layers {
  constructor(numbers) {
    Object.assign(this, { numbers, read: 0 });
  }

  take(n) {
    const from = this.read;
    this.read += n;
    return Float64Array.from(this.numbers.subarray(from, this.read));
  }

  norm(channels) {
    return { weight: this.take(channels), bias: this.take(channels) };
  }

  /** A convolution as a matrix, (outs, taps · ins), its channels side by side. */
  conv(ins, outs, taps) {
    const given = this.take(outs * ins * taps);
    const w = new Float64Array(given.length);
    for (let o = 0, from = 0; o < outs; o++) {
      for (let c = 0; c < ins; c++) {
        for (let tap = 0; tap < taps; tap++, from++) w[(o * taps + tap) * ins + c] = given[from];
      }
    }
    return { w, bias: this.take(outs), inner: taps * ins, outs };
  }

  residual(channels) {
    const half = () => ({ norm: this.norm(channels), conv: this.conv(channels, channels, TAPS) });
    return [half(), half()];
  }
}

/** From latents on a square grid to an image of four times its sides. */
export class CodeDecoder {
  /**
   * @param {{latent: number, width: number, fine: number, channels?: number}} sizes as in
   *   `latent_nets.Decoder`; `channels` are those of the image
   */
  constructor(numbers, { latent, width, fine, channels = 1 }) {
    const layers = new Layers(numbers);
    Object.assign(this, { latent, width, fine });
    this.first = layers.conv(latent, 2 * width, TAPS);
    this.coarse = layers.residual(2 * width);
    this.attention = {
      norm: layers.norm(2 * width),
      rows: layers.conv(2 * width, 6 * width, 1),
      out: layers.conv(2 * width, 2 * width, 1),
    };
    this.wider = layers.conv(2 * width, 4 * width, 1);
    this.middle = layers.residual(width);
    this.norm = layers.norm(width);
    this.finer = layers.conv(width, 4 * fine, TAPS);
    this.last = layers.conv(fine, channels, TAPS);
  }

  /** The image of latents, both as rows: (places, latent) and (pixels, channels). */
  decode(latents, side) {
    const { width, fine } = this;
    let h = product(neighbours(latents, side, this.latent), this.first);
    h = residual(h, side, this.coarse);
    const { norm, rows, out } = this.attention;
    const mixed = attended(product(groupNorm(h, norm, 1e-5), rows), 2 * width);
    h = product(add(product(mixed, out), h), this.wider);
    h = residual(shuffled(h, side, 4 * width), 2 * side, this.middle);
    h = silu(groupNorm(h, this.norm, 1e-6));
    h = product(neighbours(h, 2 * side, width), this.finer);
    h = silu(shuffled(h, 2 * side, 4 * fine));
    return product(neighbours(h, 4 * side, fine), this.last);
  }
}

/** h plus two convolutions of it, each after a norm and SiLU. */
function residual(h, side, halves) {
  let more = h;
  for (const { norm, conv } of halves) {
    const channels = norm.weight.length;
    more = product(neighbours(silu(groupNorm(more, norm, 1e-6)), side, channels), conv);
  }
  return add(more, h);
}
