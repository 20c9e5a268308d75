// Chapter 10's text-to-image network, one picture at a time: the text encoder, the diffusion transformer with
// joint or cross-attention, and the decoder. Tokens are rows, their numbers side by side. Padding changes nothing, so
// it is left out.

import { CodeDecoder, silu } from "./code_decoder.mjs";
import { product } from "./products.mjs";

const PARTS = 6; // of a modulation: shift, scale and gate of the attention, then those of the MLP
const EPS = 1e-6; // of norms in blocks
const TEXT_EPS = 1e-5; // and of those in the encoder
const BASE = 10000; // of waves
const LEVEL = 1000; // what a level is multiplied by

/** Each row with mean 0 and variance 1, then times a slope plus a shift, both of one row. */
export function normRows(x, slope, shift, eps) {
  const dim = slope.length;
  const out = new Float64Array(x.length);
  for (let from = 0; from < x.length; from += dim) {
    let [sum, squares] = [0, 0];
    for (let c = 0; c < dim; c++) sum += x[from + c];
    const mean = sum / dim;
    for (let c = 0; c < dim; c++) squares += (x[from + c] - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / dim + eps);
    for (let c = 0; c < dim; c++) out[from + c] = (x[from + c] - mean) * scale * slope[c] + shift[c];
  }
  return out;
}

/** GELU in its tanh form, in place. */
export function gelu(h) {
  const root = Math.sqrt(2 / Math.PI);
  for (let i = 0; i < h.length; i++) h[i] *= 0.5 + 0.5 * Math.tanh(root * (h[i] + 0.044715 * h[i] ** 3));
  return h;
}

/**
 * Attention of queries to keys, of which each row holds all heads side by side; values stand behind their keys.
 * `heard(query, key, share)` is told each weight, divided by the number of heads.
 *
 * @param {{rows: Float64Array, stride: number, from: number}} queries numbers from one row to the next, and
 *   before the first
 * @param {{rows: Float64Array, stride: number, from: number}} keys
 */
export function attendTokens(queries, keys, { channels, heads, heard = () => {} }) {
  const [count, others] = [queries, keys].map(({ rows, stride }) => rows.length / stride);
  const size = channels / heads;
  const out = new Float64Array(count * channels);
  const weights = new Float64Array(others);
  for (let head = 0; head < channels; head += size) {
    for (let p = 0; p < count; p++) {
      const total = scoresOf(queries, keys, { p, head, size }, weights);
      for (let q = 0; q < others; q++) {
        const share = weights[q] / total;
        const value = q * keys.stride + keys.from + channels + head;
        for (let c = 0; c < size; c++) out[p * channels + head + c] += share * keys.rows[value + c];
        heard(p, q, share / heads);
      }
    }
  }
  return out;
}

/** Attention of tokens to each other; rows hold queries, keys and values. */
export function attendThemselves(rows, { channels, ...how }) {
  const part = (from) => ({ rows, stride: 3 * channels, from });
  return attendTokens(part(0), part(channels), { channels, ...how });
}

/** exp of the scores of one query, less the highest of them; gives their sum. */
function scoresOf(queries, keys, { p, head, size }, weights) {
  const query = p * queries.stride + queries.from + head;
  let most = -Infinity;
  for (let q = 0; q < weights.length; q++) {
    const key = q * keys.stride + keys.from + head;
    let score = 0;
    for (let c = 0; c < size; c++) score += queries.rows[query + c] * keys.rows[key + c];
    weights[q] = score / Math.sqrt(size);
    most = Math.max(most, weights[q]);
  }
  let total = 0;
  for (let q = 0; q < weights.length; q++) total += weights[q] = Math.exp(weights[q] - most);
  return total;
}

/** A level as cosines and sines. */
export function wavesOf(t, n) {
  const half = n / 2;
  const angle = (k) => LEVEL * t * BASE ** (-(k % half) / half);
  return Float64Array.from({ length: n }, (_, k) => (k < half ? Math.cos(angle(k)) : Math.sin(angle(k))));
}

/** Columns, then rows of a grid, as sines and cosines; a row for each token. */
export function positionsOf(side, dim) {
  const part = dim / 4;
  const out = new Float64Array(side * side * dim);
  for (let p = 0; p < side * side; p++) {
    for (let k = 0; k < part; k++) {
      const omega = BASE ** (-k / part);
      const [row, column] = [Math.floor(p / side), p % side];
      out[p * dim + k] = Math.sin(column * omega);
      out[p * dim + part + k] = Math.cos(column * omega);
      out[p * dim + 2 * part + k] = Math.sin(row * omega);
      out[p * dim + 3 * part + k] = Math.cos(row * omega);
    }
  }
  return out;
}

/** Latents, (places, channels), as patches: (tokens, patch · patch · channels). */
export function patchesOf(x, { size, patch, latent }) {
  return moved(x, { size, patch, latent }, (out, token, place) => {
    for (let c = 0; c < latent; c++) out[token + c] = x[place + c];
  });
}

/** The inverse of `patchesOf`. */
export function latentsOfPatches(tokens, { size, patch, latent }) {
  return moved(tokens, { size, patch, latent }, (out, token, place) => {
    for (let c = 0; c < latent; c++) out[place + c] = tokens[token + c];
  });
}

/** Calls `move` with where the numbers of each place are among tokens and among places. */
function moved(from, { size, patch, latent }, move) {
  const out = new Float64Array(from.length);
  const side = size / patch;
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      const token = Math.floor(i / patch) * side + Math.floor(j / patch);
      const inside = (i % patch) * patch + (j % patch);
      move(out, (token * patch * patch + inside) * latent, (i * size + j) * latent);
    }
  }
  return out;
}

function plus(h, more) {
  for (let i = 0; i < h.length; i++) h[i] += more[i];
  return h;
}

/** h + gate · branch in place, a row of gates for all tokens. */
function plusGated(h, gate, branch) {
  for (let i = 0; i < h.length; i++) h[i] += gate[i % gate.length] * branch[i];
  return h;
}

const joined = (a, b) => {
  const out = new Float64Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
};

/** Paints latents for captions, step by step. */
export class CaptionPainter {
  /**
   * @param {Object<string, Float64Array>} weights by their names in `text_to_image.TextToImage`; those of the
   *   decoder are decoder.0, decoder.1 and so on
   * @param {object} sizes as in viz/caption_weights.py
   */
  constructor(weights, sizes) {
    Object.assign(this, { weights, sizes });
    this.side = sizes.size / sizes.patch; // tokens
    this.positions = positionsOf(this.side, sizes.dim);
    this.ones = new Float64Array(sizes.dim).fill(1);
    this.zeros = new Float64Array(sizes.dim);
    const layers = Object.keys(weights).filter((name) => name.startsWith("decoder."));
    const numbers = layers.reduce((all, name) => joined(all, weights[name]), new Float64Array(0));
    this.decoder = new CodeDecoder(numbers, { ...sizes, channels: 3 });
  }

  linear(name, x) {
    const [w, bias] = [this.weights[`${name}.weight`], this.weights[`${name}.bias`]];
    return product(x, { w, bias, inner: w.length / bias.length, outs: bias.length });
  }

  mlp(name, x) {
    return this.linear(`${name}.2`, gelu(this.linear(`${name}.0`, x)));
  }

  norm(name, x) {
    return normRows(x, this.weights[`${name}.weight`], this.weights[`${name}.bias`], TEXT_EPS);
  }

  /** What the numbers of a caption's words tell the blocks; the null condition if there are none. */
  condition(tokens) {
    const { context } = this.sizes;
    const { null: nothing } = this.weights;
    let [words, pooled] = [nothing, nothing];
    if (tokens.length) {
      words = this.encode(tokens);
      const mean = new Float64Array(context);
      for (let i = 0; i < words.length; i++) mean[i % context] += words[i] / tokens.length;
      pooled = this.linear("encoder.out", mean);
    }
    return { y: this.linear("context", words), summary: this.linear("summary", pooled) };
  }

  /** A vector of each word in its context. */
  encode(tokens) {
    const { context, layers, text_heads: heads } = this.sizes;
    const [word, place] = ["word", "place"].map((name) => this.weights[`encoder.${name}.weight`]);
    const h = new Float64Array(tokens.length * context);
    tokens.forEach((token, i) => {
      for (let c = 0; c < context; c++) h[i * context + c] = word[token * context + c] + place[i * context + c];
    });
    for (let k = 0; k < layers; k++) {
      const block = `encoder.blocks.${k}`;
      const rows = this.linear(`${block}.qkv`, this.norm(`${block}.norm_1`, h));
      plus(h, this.linear(`${block}.out`, attendThemselves(rows, { channels: context, heads })));
      plus(h, this.mlp(`${block}.mlp`, this.norm(`${block}.norm_2`, h)));
    }
    return this.norm("encoder.norm", h);
  }

  /**
   * v at noisy latents, (places, channels).
   *
   * @param {Float64Array[]} shares filled, if given, with what each patch attends to in each block: a share of
   *   each word, (patches, words)
   */
  velocity(x, t, { y, summary }, shares = null) {
    const { depth, dim, frequencies } = this.sizes;
    const level = silu(this.linear("level.0", wavesOf(t, frequencies)));
    const told = silu(plus(this.linear("level.2", level), summary));
    const c = this.linear("modulation", told);
    const streams = {
      image: plus(this.linear("embed", patchesOf(x, this.sizes)), this.positions),
      text: Float64Array.from(y),
    };
    for (let k = 0; k < depth; k++) this.block(k, streams, c, shares);
    const [shift, scale] = this.partsOf(this.linear("last", told), 2);
    const slope = scale.map((v) => v + 1);
    const tokens = this.linear("out", normRows(streams.image, slope, shift, EPS));
    return latentsOfPatches(tokens, { ...this.sizes, dim });
  }

  partsOf(row, count) {
    const { dim } = this.sizes;
    return Array.from({ length: count }, (_, i) => row.subarray(i * dim, (i + 1) * dim));
  }

  /** Both streams after a block, which may be of either kind. */
  block(k, streams, c, shares) {
    const words = streams.text.length / this.sizes.dim;
    if (shares) shares[k] = new Float64Array(this.side ** 2 * words);
    const heard = (p, word, share) => {
      shares[k][p * words + word] += share;
    };
    const told = shares ? heard : undefined;
    if (this.sizes.kind === "cross") this.crossBlock(`blocks.${k}`, streams, c, told);
    else this.jointBlock(k, streams, c, told);
  }

  /** The parts of a modulation, with the table of a block. */
  modulation(c, table) {
    return this.partsOf(plus(Float64Array.from(c), this.weights[table]), PARTS);
  }

  /** Patches attend to each other, then to words; the text stays as it is. */
  crossBlock(name, streams, c, heard) {
    const { dim: channels, heads } = this.sizes;
    const part = this.modulation(c, `${name}.table`);
    const x = streams.image;
    const rows = this.linear(`${name}.attention.qkv`, modulated(x, part));
    plusGated(x, part[2], this.linear(`${name}.attention.out`, attendThemselves(rows, { channels, heads })));
    const even = normRows(x, this.ones, this.zeros, TEXT_EPS);
    const queries = { rows: this.linear(`${name}.cross.q`, even), stride: channels, from: 0 };
    const keys = { rows: this.linear(`${name}.cross.kv`, streams.text), stride: 2 * channels, from: 0 };
    plus(x, this.linear(`${name}.cross.out`, attendTokens(queries, keys, { channels, heads, heard })));
    plusGated(x, part[5], this.mlp(`${name}.mlp`, modulated(x, part.slice(3))));
  }

  /** Patches and words attend to both; what the text becomes in the last block is of no use. */
  jointBlock(k, streams, c, told) {
    const name = `blocks.${k}`;
    const { depth, dim, heads } = this.sizes;
    const parts = {};
    const rows = ["image", "text"].map((kind) => {
      parts[kind] = this.modulation(c, `${name}.${kind}_table`);
      return this.linear(`${name}.joint.${kind}.qkv`, modulated(streams[kind], parts[kind]));
    });
    const patches = this.side ** 2;
    const heard = (p, q, share) => {
      if (p < patches && q >= patches) told(p, q - patches, share);
    };
    const mixed = attendThemselves(joined(...rows), { channels: dim, heads, heard: told && heard });
    const own = { image: mixed.subarray(0, patches * dim), text: mixed.subarray(patches * dim) };
    for (const kind of k + 1 < depth ? ["image", "text"] : ["image"]) {
      const [h, part] = [streams[kind], parts[kind]];
      plusGated(h, part[2], this.linear(`${name}.joint.${kind}.out`, own[kind]));
      plusGated(h, part[5], this.mlp(`${name}.${kind}_mlp`, modulated(h, part.slice(3))));
    }
  }
}

/** A norm without weights of its own, then shifted and scaled by the first two parts. */
function modulated(x, [shift, scale]) {
  const slope = scale.map((v) => v + 1);
  return normRows(x, slope, shift, EPS);
}

/** A picture that comes out of noise in equal steps. */
export class Painting {
  /**
   * @param {CaptionPainter} painter
   * @param {{asked: object, against: object, w: number, steps: number, noise: Float64Array}} what `asked` and
   *   `against` are conditions, the second that of the negative prompt
   */
  constructor(painter, { asked, against, w, steps, noise }) {
    Object.assign(this, { painter, asked, against, w, steps });
    this.frames = []; // from noise on: x_t, x̂, and what patches attend to in each block
    this.x = Float64Array.from(noise);
  }

  get done() {
    return this.frames.length > this.steps;
  }

  /** One step of Euler along v = (1 + w) v_asked − w v_against; the last frame is the picture itself. */
  advance() {
    const { asked, against, frames, painter, steps, w, x } = this;
    if (frames.length === steps) {
      frames.push({ t: 0, x, end: x, shares: frames.at(-1).shares });
      return;
    }
    const t = (steps - frames.length) / steps;
    const shares = [];
    const v = painter.velocity(x, t, asked, shares);
    if (w !== 0) {
      const other = painter.velocity(x, t, against);
      for (let i = 0; i < v.length; i++) v[i] = (1 + w) * v[i] - w * other[i];
    }
    frames.push({ t, x, end: x.map((value, i) => value - t * v[i]), shares });
    this.x = x.map((value, i) => value - v[i] / steps);
  }
}
