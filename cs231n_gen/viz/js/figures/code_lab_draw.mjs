// The pictures of CodeLab: a grid of codes, its image, what changed, codes to choose from, and bits.

import { BOLD } from "../ui/chart.mjs";
import { make, paint } from "../ui/dom.mjs";
import { COLORS, THEMES } from "../ui/palette.mjs";

const FULL = 0.3; // a change of this size has its full colour, as in code_lab.py
const FADED = 0.25; // looks behind numbers
const TINT = 0.65; // of the most bits
const DOT = 4; // pixels of a patch

/** Looks of codes side by side, on a canvas of their pixels. */
export function mosaic(looks, codes, columns) {
  const rows = Math.ceil(codes.length / columns);
  const wide = columns * DOT;
  const grey = new Uint8Array(rows * DOT * wide);
  codes.forEach((code, k) => {
    const corner = Math.floor(k / columns) * DOT * wide + (k % columns) * DOT;
    for (let i = 0; i < DOT; i++) {
      const from = (code * DOT + i) * DOT;
      grey.set(looks.subarray(from, from + DOT), corner + i * wide);
    }
  });
  const canvas = make("canvas", { width: wide, height: rows * DOT });
  paint(canvas, grey);
  return canvas;
}

/** An image in [−1, 1] on a canvas of its pixels. */
export function pictureOf(image) {
  const side = Math.sqrt(image.length);
  const canvas = make("canvas", { width: side, height: side });
  paint(
    canvas,
    Uint8ClampedArray.from(image, (v) => 127.5 * (v + 1)),
  );
  return canvas;
}

/** A cleared square as wide as its box. */
function begun(chart, color = chart.stage.theme.paper) {
  const pen = chart.begin((width) => width, [0, 1]);
  pen.imageSmoothingEnabled = false;
  pen.fillStyle = color;
  pen.fillRect(0, 0, chart.width, chart.width);
  return pen;
}

/** A frame that is seen on black and on white. */
function frame(pen, x, y, width, height = width, color = THEMES.light.ink) {
  for (const [strokeStyle, lineWidth] of [
    ["#fff", 5],
    [color, 2.5],
  ]) {
    Object.assign(pen, { strokeStyle, lineWidth });
    pen.strokeRect(x + 2.5, y + 2.5, width - 5, height - 5);
  }
}

const corner = (place, side, size) => [(place % side) * size, Math.floor(place / side) * size];

/** The grid: looks, numbers or bits of codes, a mark where a code was exchanged, a frame at the place. */
export function drawCodes(chart, { cells, codes, changed, looks, side, place, bits, most }) {
  const pen = begun(chart);
  const { ink, line } = chart.stage.theme;
  const size = chart.width / side;
  if (cells !== "bits") {
    pen.globalAlpha = cells === "numbers" ? FADED : 1;
    pen.drawImage(mosaic(looks, codes, side), 0, 0, chart.width, chart.width);
    pen.globalAlpha = 1;
  }
  codes.forEach((code, p) => {
    const [x, y] = corner(p, side, size);
    if (cells === "bits") {
      Object.assign(pen, { fillStyle: COLORS.learned, globalAlpha: TINT * Math.min(1, bits[p] / most) });
      pen.fillRect(x, y, size, size);
      pen.globalAlpha = 1;
    }
    Object.assign(pen, { strokeStyle: line, lineWidth: 1 });
    pen.strokeRect(x, y, size, size);
    const words = { looks: "", numbers: `${code}`, bits: cells === "bits" ? bits[p].toFixed(1) : "" }[cells];
    chart.text(words, x + size / 2, y + size / 2 + 4, "center", ink, size > 30 ? BOLD : "9px system-ui, sans-serif");
  });
  for (const p of changed) drawTriangle(pen, ...corner(p, side, size), size);
  frame(pen, ...corner(place, side, size), size);
}

/** The mark of an exchanged code. */
function drawTriangle(pen, x, y, size) {
  const wide = Math.max(8, size / 3);
  pen.beginPath();
  for (const [dx, dy] of [
    [0, 0],
    [wide, 0],
    [0, wide],
  ])
    pen.lineTo(x + 1 + dx, y + 1 + dy);
  pen.closePath();
  Object.assign(pen, { fillStyle: COLORS.noise, strokeStyle: THEMES.light.ink, lineWidth: 1.5 });
  pen.fill();
  pen.stroke();
}

/** The decoded image, with a frame around the patch of the place. */
export function drawDecoded(chart, { picture, side, place }) {
  const pen = begun(chart);
  pen.drawImage(picture, 0, 0, chart.width, chart.width);
  const size = chart.width / side;
  frame(pen, ...corner(place, side, size), size);
}

/** Pixels that became brighter and darker, with frames around patches whose codes were exchanged. */
export function drawChange(chart, { change, changed, side }) {
  const pen = begun(chart);
  const wide = Math.sqrt(change.length);
  const dot = chart.width / wide;
  change.forEach((v, i) => {
    if (Math.abs(v) < 0.005) return;
    Object.assign(pen, {
      globalAlpha: Math.min(1, Math.abs(v) / FULL),
      fillStyle: v > 0 ? COLORS.noise : COLORS.data,
    });
    const [x, y] = corner(i, wide, dot).map(Math.floor);
    pen.fillRect(x, y, Math.ceil(dot), Math.ceil(dot));
  });
  pen.globalAlpha = 1;
  const size = chart.width / side;
  Object.assign(pen, { strokeStyle: chart.stage.theme.ink, lineWidth: 2 });
  for (const p of changed) {
    const [x, y] = corner(p, side, size);
    pen.strokeRect(x + 1, y + 1, size - 2, size - 2);
  }
}

/** All codes to choose from; the one in place and the one that is tried are framed, likely ones marked. */
export function drawOffered(chart, { picture, columns, count, now, tried, likely }) {
  const rows = Math.ceil(count / columns);
  const pen = chart.begin((width) => (width / columns) * rows, [0, 1]);
  const size = chart.width / columns;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(picture, 0, 0, chart.width, chart.height);
  Object.assign(pen, { strokeStyle: chart.stage.theme.line, lineWidth: 1 });
  for (let k = 0; k < count; k++) pen.strokeRect(...corner(k, columns, size), size, size);
  for (let k = 0; k < likely; k++) {
    const [x, y] = corner(k, columns, size);
    Object.assign(pen, { fillStyle: COLORS.learned });
    pen.fillRect(x + 1, y + size - 4, size - 2, 3);
  }
  frame(pen, ...corner(now, columns, size), size);
  if (tried !== null) frame(pen, ...corner(tried, columns, size), size, size, COLORS.learned);
}

/** The image of the codes that are written; the rest is not known yet. */
export function drawWritten(chart, { picture, side, written }) {
  const { line, faint } = chart.stage.theme;
  const pen = begun(chart, line);
  const size = chart.width / side;
  const dots = picture.width / side;
  for (let p = 0; p < written; p++) {
    pen.drawImage(picture, ...corner(p, side, dots), dots, dots, ...corner(p, side, size), size, size);
  }
  Object.assign(pen, { strokeStyle: faint, lineWidth: 1, globalAlpha: 0.5 });
  for (let p = written; p < side * side; p++) pen.strokeRect(...corner(p, side, size), size, size);
  pen.globalAlpha = 1;
  if (written < side * side) frame(pen, ...corner(written, side, size), size, size, COLORS.learned);
}

/** Bits of every true code, in the order in which they are written; those that are written stand out. */
export function drawBits(chart, { bits, even, written }) {
  const { ink, paper } = chart.stage.theme;
  chart.begin((width) => Math.min(200, Math.max(140, 0.32 * width)), [0, bits.length]);
  const { pen, floor, edges } = chart;
  const top = Math.max(even, ...bits) * 1.06;
  const y = (v) => floor - (v / top) * (floor - edges.top);
  for (let v = 4; v < top; v += 4) if (Math.abs(v - even) > 1) chart.across(y(v), `${v}`);
  chart.across(floor, "0", { strong: true });
  bits.forEach((v, p) => {
    Object.assign(pen, { fillStyle: COLORS.learned, globalAlpha: p < written ? 1 : 0.35 });
    pen.fillRect(chart.x(p) + 0.5, y(v), Math.max(1, chart.x(1) - chart.x(0) - 1), floor - y(v));
  });
  pen.globalAlpha = 1;
  chart.across(y(even), `${Number(even.toFixed(1))}`, { dash: [6, 4], strong: true });
  const at = chart.x(written);
  chart.segment([at, edges.top - 4], [at, floor], ink, { width: 1.5 });
  chart.disc(at, edges.top - 4, 7, ink, paper);
  for (let p = 0; p <= bits.length; p += Math.ceil(bits.length / 8)) chart.text(`${p}`, chart.x(p), floor + 15);
  chart.text("codes written", chart.x(bits.length), floor + 29, "right");
}
