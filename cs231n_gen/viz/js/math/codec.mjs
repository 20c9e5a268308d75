// Numbers that come as bytes, and a state that goes into a link. No picture here.

/** One number in half precision (IEEE 754 binary16), from its 16 bits. */
export function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** A DataView of what a host hands over: a DataView, an ArrayBuffer, bytes, or base64 on a page. */
export function view(bytes) {
  if (typeof bytes === "string") {
    const text = atob(bytes);
    bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
  }
  if (bytes instanceof ArrayBuffer) return new DataView(bytes);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Little-endian float16 numbers. */
export function halves(bytes) {
  const from = view(bytes);
  return Float32Array.from({ length: from.byteLength / 2 }, (_, i) => half(from.getUint16(2 * i, true)));
}

/** Little-endian float32 numbers. */
export function floats(bytes) {
  const from = view(bytes);
  const n = from.byteLength / 4;
  if (from.byteOffset % 4 === 0) return new Float32Array(from.buffer, from.byteOffset, n);
  return Float32Array.from({ length: n }, (_, i) => from.getFloat32(4 * i, true));
}

/** Unsigned bytes. */
export function levels(bytes) {
  const from = view(bytes);
  return new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
}

/** A setting as text: `figure=flow-field&t=0.4&z=-1.2,0.4`. Booleans are 1 and 0. */
export function toLink(name, setting) {
  const words = Object.entries(setting).map(([key, value]) => {
    const parts = [value].flat().map((v) => {
      if (typeof v === "boolean") return Number(v);
      return typeof v === "number" ? Number(v.toFixed(4)) : encodeURIComponent(v);
    });
    return `${key}=${parts.join(",")}`;
  });
  return [`figure=${encodeURIComponent(name)}`, ...words].join("&");
}

/**
 * The setting that a link holds for a figure, or null: only keys of `like`, each of its type; what
 * is not a number where one belongs is left out.
 */
export function fromLink(text, name, like) {
  const words = new URLSearchParams(text.replace(/^#/, ""));
  if (words.get("figure") !== name) return null;
  const found = {};
  for (const [key, known] of Object.entries(like)) {
    if (!words.has(key)) continue;
    const value = words.get(key);
    if (typeof known === "string") found[key] = value;
    else if (typeof known === "boolean") found[key] = value === "1";
    else {
      const numbers = value.split(",").map((v) => (v === "" ? NaN : Number(v)));
      const fits = numbers.length === [known].flat().length && numbers.every(Number.isFinite);
      if (fits) found[key] = Array.isArray(known) ? numbers : numbers[0];
    }
  }
  return found;
}
