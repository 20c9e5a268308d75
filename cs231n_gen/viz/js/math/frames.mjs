// Frames of points and images on their way from noise to data.

/** The frame that belongs to a level, as a number with a fraction; `times` fall. */
export function frameAt(times, t) {
  const last = times.length - 1;
  if (t >= times[0]) return 0;
  if (t <= times[last]) return last;
  let k = 0;
  while (times[k + 1] > t) k++;
  return k + (times[k] - t) / (times[k] - times[k + 1]);
}

/** Points half way between frames, (points, 2) of (frames, points, 2). */
export function frameBetween(numbers, n, place, out = new Float32Array(2 * n)) {
  const k = Math.floor(place);
  const part = place - k;
  const a = numbers.subarray(2 * n * k, 2 * n * (k + 1));
  if (part < 1e-9) return a;
  const b = numbers.subarray(2 * n * (k + 1), 2 * n * (k + 2));
  for (let i = 0; i < out.length; i++) out[i] = a[i] + part * (b[i] - a[i]);
  return out;
}

/** RGBA of one image, (channels, height, width) of bytes. */
export function pixels(bytes, [channels, height, width]) {
  const size = height * width;
  const out = new Uint8ClampedArray(4 * size);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) out[4 * i + c] = bytes[(channels === 1 ? 0 : c) * size + i];
    out[4 * i + 3] = 255;
  }
  return out;
}
