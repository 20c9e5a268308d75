// The picture of GanStepper: both densities, D and the best D over the line, and how D pulls samples.

import { probability, pulls } from "../math/tiny_gan.mjs";
import { COLORS } from "../ui/palette.mjs";

const ARROWS = 21;
const TOP = 18; // pixels above D = 1

/** The canvas fitted to its box, cleared, with what takes numbers to places on it. */
function fitted(canvas, extent) {
  const width = Math.round(canvas.parentElement.clientWidth) || 300;
  const height = Math.round(Math.min(360, 0.62 * width));
  const dense = Math.min(2, globalThis.devicePixelRatio || 1);
  canvas.width = width * dense;
  canvas.height = height * dense;
  const pen = canvas.getContext("2d");
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, width, height);
  Object.assign(pen, { font: "11px system-ui, sans-serif", textAlign: "center", lineWidth: 1 });
  const floor = height - 34; // where densities and D are 0
  return {
    pen,
    width,
    floor,
    x: (value) => ((value + extent) / (2 * extent)) * width,
    yD: (p) => floor - p * (floor - TOP),
    yP: (p) => floor - Math.min(1.1, p) * 0.85 * (floor - TOP),
  };
}

/** Densities of data and samples, D, the best D, and the pulls. */
export function drawGame(canvas, theme, { axis, D, extent, G, noise, pData, pG, saturating }) {
  const chart = fitted(canvas, extent);
  const { yD, yP } = chart;
  drawLevels(chart, theme);
  const curve = (ys, color, how) => drawCurve(chart, axis, ys, color, how);
  const best = (i) => pData[i] / (pData[i] + pG[i] + 1e-9);
  curve(pData.map(yP), COLORS.data, { fill: true });
  curve(pG.map(yP), COLORS.noise, { fill: true });
  curve(
    axis.map((_, i) => yD(best(i))),
    COLORS.exact,
    { width: 1.5, dash: [5, 4] },
  );
  curve(
    axis.map((x) => yD(probability(D.at(x)))),
    theme.ink,
  );
  const step = Math.max(1, Math.floor(noise.length / ARROWS));
  const some = noise.filter((_, i) => i % step === Math.floor(step / 2));
  drawPulls(chart, pulls(G, D, some, saturating));
  drawNames(chart, theme);
}

function drawLevels({ pen, width, yD }, { faint, line }) {
  for (const p of [0, 0.5, 1]) {
    pen.strokeStyle = line;
    pen.beginPath();
    pen.moveTo(0, yD(p));
    pen.lineTo(width, yD(p));
    pen.stroke();
    pen.fillStyle = faint;
    pen.fillText(`D = ${p}`, 26, yD(p) - 4);
  }
}

function drawCurve({ pen, floor, x }, axis, ys, color, { width = 2.5, fill = false, dash = [] } = {}) {
  pen.beginPath();
  ys.forEach((y, i) => pen.lineTo(x(axis[i]), y));
  Object.assign(pen, { strokeStyle: color, lineWidth: width });
  pen.setLineDash(dash);
  pen.stroke();
  pen.setLineDash([]);
  if (!fill) return;
  pen.lineTo(x(axis.at(-1)), floor);
  pen.lineTo(x(axis[0]), floor);
  Object.assign(pen, { globalAlpha: 0.18, fillStyle: color });
  pen.fill();
  pen.globalAlpha = 1;
}

function drawPulls({ pen, floor, x }, pulled) {
  Object.assign(pen, { strokeStyle: COLORS.learned, fillStyle: COLORS.noise, lineWidth: 2 });
  for (const [place, pull] of pulled) {
    const [from, y] = [x(place), floor + 12];
    const to = from + Math.max(-60, Math.min(60, 45 * pull));
    pen.beginPath();
    pen.arc(from, y, 3, 0, 2 * Math.PI);
    pen.fill();
    if (Math.abs(to - from) < 1) continue;
    const head = Math.sign(to - from) * Math.min(5, Math.abs(to - from));
    pen.beginPath();
    pen.moveTo(from, y);
    pen.lineTo(to, y);
    pen.moveTo(to - head, y - 4);
    pen.lineTo(to, y);
    pen.lineTo(to - head, y + 4);
    pen.stroke();
  }
}

function drawNames({ pen, width }, { ink }) {
  const names = Object.entries({
    data: COLORS.data,
    samples: COLORS.noise,
    D: ink,
    "best D": COLORS.exact,
    "pull on samples": COLORS.learned,
  });
  pen.textAlign = "left";
  const wide = names.reduce((sum, [name]) => sum + pen.measureText(name).width + 24, 0);
  let x = Math.max(60, width - 12 - wide);
  for (const [name, color] of names) {
    pen.fillStyle = color;
    pen.fillRect(x, 4, 10, 10);
    pen.fillStyle = ink;
    pen.fillText(name, x + 14, 13);
    x += pen.measureText(name).width + 24;
  }
}
