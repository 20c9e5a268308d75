// The pictures of PatchLab: patches tinted by attention, large and small, and the gates over t.

import { BOLD, SERIF } from "../ui/chart.mjs";
import { COLORS, THEMES } from "../ui/palette.mjs";

const MOST = 0.8; // of the tint
const FITS = 36; // pixels of a patch that has room for its percentage
const ROOM = 1.12; // above the widest gate

/** The picture with its patches tinted, each with its percentage if there is room. */
export function drawPatches(chart, picture, { row, side, patch }) {
  const pen = chart.begin((width) => width, [0, 1]);
  tinted(pen, picture, chart.width, { row, side, patch });
  const size = chart.width / side;
  if (size < FITS) return;
  const dark = THEMES.light.ink; // over tints and greys, words need an edge in both themes
  Object.assign(pen, { font: BOLD, textAlign: "center", strokeStyle: "#fff", lineWidth: 3.5, fillStyle: dark });
  row.forEach((p, i) => {
    if (p < 0.005) return;
    const words = `${Math.round(100 * p)} %`;
    const [x, y] = [((i % side) + 0.5) * size, (Math.floor(i / side) + 0.5) * size + 4];
    pen.strokeText(words, x, y);
    pen.fillText(words, x, y);
  });
}

/** The same on a small canvas, without words. */
export function drawSmall(canvas, picture, what) {
  tinted(canvas.getContext("2d"), picture, canvas.width, what);
}

/** A square picture, its patches tinted in proportion to a row of attention, one of them framed. */
function tinted(pen, picture, width, { row, side, patch }) {
  const size = width / side;
  const most = Math.max(...row);
  pen.imageSmoothingEnabled = false;
  pen.globalAlpha = 1;
  pen.drawImage(picture, 0, 0, width, width);
  pen.fillStyle = COLORS.learned;
  row.forEach((p, i) => {
    pen.globalAlpha = (MOST * p) / most;
    pen.fillRect((i % side) * size, Math.floor(i / side) * size, size, size);
  });
  pen.globalAlpha = 1;
  const [x, y] = [(patch % side) * size, Math.floor(patch / side) * size];
  for (const [strokeStyle, lineWidth] of [
    ["#fff", Math.max(4, width / 70)],
    [THEMES.light.ink, Math.max(2, width / 140)],
  ]) {
    Object.assign(pen, { strokeStyle, lineWidth });
    const off = Math.max(2, width / 140);
    pen.strokeRect(x + off, y + off, size - 2 * off, size - 2 * off);
  }
}

/** Mean |gate| of every block over t, those of the chosen block thick, and a line at t. */
export function drawGates(chart, { gates, times, now, level }) {
  const { ink, paper } = chart.stage.theme;
  chart.begin((width) => Math.min(210, Math.max(160, 0.45 * width)), [-times[0], -times.at(-1)]);
  const { floor, edges } = chart;
  const most = ROOM * Math.max(1e-9, ...gates.flat(2));
  const y = (v) => floor - (v / most) * (floor - edges.top);
  const tick = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((step) => most / step < 4.5) ?? most / 3;
  for (let v = tick; v < most; v += tick) chart.across(y(v), `${Number(v.toPrecision(2))}`);
  chart.across(floor, "0", { strong: true });
  const line = (block, which, how) => {
    const places = times.map((t, k) => [chart.x(-t), y(gates[k][block][which])]);
    chart.stroke(places, [COLORS.learned, COLORS.purple][which], how);
  };
  const blocks = gates[0].map((_, block) => block);
  chart.pen.globalAlpha = 0.6;
  for (const block of blocks) for (const which of [0, 1]) line(block, which, { width: 1.2 });
  chart.pen.globalAlpha = 1;
  for (const which of [0, 1]) line(now.block, which, { width: 3.5, dash: which ? [7, 5] : [] });
  drawMarker(chart, { gates, now, level, y, ink, paper });
  for (const t of [1, 0.75, 0.5, 0.25, 0].filter((t) => t <= times[0] && t >= times.at(-1))) {
    chart.text(`${t}`, chart.x(-t), floor + 15);
  }
  const middle = chart.x(-(times[0] + times.at(-1)) / 2);
  chart.text("t", middle - 0.125 * (chart.x(-times.at(-1)) - chart.x(-times[0])), floor + 16, "center", ink, SERIF);
  chart.text("noise", chart.x(-times[0]), floor + 29, "left");
  chart.text("data", chart.x(-times.at(-1)), floor + 29, "right");
}

function drawMarker(chart, { gates, now, level, y, ink, paper }) {
  const x = chart.x(-now.t);
  chart.segment([x, chart.edges.top - 4], [x, chart.floor], ink, { width: 1.5 });
  chart.disc(x, chart.edges.top - 4, 7, ink, paper);
  [COLORS.learned, COLORS.purple].forEach((color, which) => {
    chart.disc(x, y(gates[level][now.block][which]), 5, color, paper);
  });
}
