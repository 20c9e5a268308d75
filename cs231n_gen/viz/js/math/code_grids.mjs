// Grids of codes: which were exchanged, in what order others are offered, and where an image changed by that.

/** Other codes by place, from text as in `27-113.28-9`; what is no place or no code is left out. */
export function readEdits(text, places, count) {
  const pairs = text.split(".").map((pair) => /^(\d+)-(\d+)$/.exec(pair)?.slice(1).map(Number));
  return new Map(pairs.filter((pair) => pair && pair[0] < places && pair[1] < count));
}

/** The same as text, by place; a code that was there anyway is no edit. */
export function writeEdits(edits, original) {
  const pairs = [...edits].filter(([place, code]) => original[place] !== code).sort(([a], [b]) => a - b);
  return pairs.map((pair) => pair.join("-")).join(".");
}

/** The codes of a grid after edits. */
export function withEdits(original, edits) {
  const codes = Array.from(original);
  for (const [place, code] of edits) codes[place] = code;
  return codes;
}

/** Rows of a codebook for the places of a grid, one after the other. */
export function latentsOf(codes, book, latent) {
  const rows = new Float64Array(codes.length * latent);
  codes.forEach((code, p) => rows.set(book.subarray(code * latent, (code + 1) * latent), p * latent));
  return rows;
}

/** The mean of the codes of many grids: what stands for a code that is not known yet. */
export function meanLatent(grids, book, latent) {
  const mean = new Float64Array(latent);
  for (const code of grids) for (let c = 0; c < latent; c++) mean[c] += book[code * latent + c] / grids.length;
  return mean;
}

const squaredDistance = (book, latent, a, b) => {
  let sum = 0;
  for (let c = 0; c < latent; c++) sum += (book[a * latent + c] - book[b * latent + c]) ** 2;
  return sum;
};

/** Indices from the lowest value to the highest. */
const ascending = (values) => Array.from(values.keys()).sort((a, b) => values[a] - values[b] || a - b);

/** All codes, from the one itself to the farthest from it. */
export function bySimilarity(book, latent, code) {
  return ascending(Array.from({ length: book.length / latent }, (_, k) => squaredDistance(book, latent, code, k)));
}

/** All codes, from the darkest look to the brightest. */
export function byBrightness(looks, size) {
  const sums = Array.from({ length: looks.length / size }, (_, k) =>
    looks.subarray(k * size, (k + 1) * size).reduce((sum, v) => sum + v, 0),
  );
  return ascending(sums);
}

/** The order with some codes first. */
export function withFirst(first, order) {
  const known = new Set(first);
  return [...first, ...order.filter((code) => !known.has(code))];
}

/**
 * Where an image changed: which part of its squared change lies in the patches of some places, in those
 * around them, and farther away. All are 0 if nothing changed.
 */
export function whereChanged(change, side, places) {
  const wide = Math.sqrt(change.length);
  const patch = wide / side;
  const parts = { own: 0, around: 0, farther: 0 };
  for (let i = 0; i < change.length; i++) {
    const row = Math.floor(i / wide / patch);
    const column = Math.floor((i % wide) / patch);
    const off = places.map((p) => Math.max(Math.abs(Math.floor(p / side) - row), Math.abs((p % side) - column)));
    const least = Math.min(...off);
    parts[least === 0 ? "own" : least === 1 ? "around" : "farther"] += change[i] ** 2;
  }
  const all = parts.own + parts.around + parts.farther;
  if (all > 0) for (const name of Object.keys(parts)) parts[name] /= all;
  return parts;
}
