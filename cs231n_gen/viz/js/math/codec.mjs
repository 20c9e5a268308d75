// Numbers that arrive as bytes.

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
