// The pictures of WaterLevel: the spectrum under water, a code with its spread, and the code under noise.

import { BOLD, SERIF } from "../ui/chart.mjs";
import { digits } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { between } from "../ui/plane.mjs";

const ABOVE = 1.2; // of the highest θ, in the window
const BELOW = 0.75; // of the lowest
const REACH = 3.4; // of a code, in standard deviations of noise

/** Heights of variances on the logarithmic axis, and back. */
export function heights(chart, [least, most]) {
  const [low, high] = [Math.log(BELOW * least), Math.log(ABOVE * most)];
  const { floor, edges } = chart;
  return {
    y: (lam) => floor - ((Math.log(lam) - low) / (high - low)) * (floor - edges.top),
    variance: (y) => Math.exp(low + ((floor - y) / (floor - edges.top)) * (high - low)),
  };
}

/** Bars of λ on a logarithmic axis, and the water in which they stand. */
export function drawWater(chart, { eigenvalues, now }, bounds) {
  const { ink, paper } = chart.stage.theme;
  const n = eigenvalues.length;
  const pen = chart.begin((width) => Math.min(330, Math.max(240, 0.56 * width)), [0, n]);
  const { floor, edges, width } = chart;
  const { y } = heights(chart, bounds);
  const at = y(now.theta);
  drawScale(chart, y, bounds);
  const gap = chart.x(1) - chart.x(0) > 5 ? 1 : 0.4;
  eigenvalues.forEach((lam, i) => {
    const [left, right, top] = [chart.x(i) + gap / 2, chart.x(i + 1) - gap / 2, y(lam)];
    const alive = lam > now.theta;
    Object.assign(pen, { fillStyle: alive ? COLORS.data : COLORS.grey, globalAlpha: alive ? 1 : 0.75 });
    pen.fillRect(left, top, right - left, floor - top);
  });
  pen.globalAlpha = 0.6;
  pen.fillStyle = COLORS.sky;
  pen.fillRect(chart.x(0), at, chart.x(n) - chart.x(0), floor - at);
  pen.globalAlpha = 1;
  chart.segment([chart.x(0), at], [chart.x(n), at], ink, { width: 2 });
  chart.across(floor, "", { strong: true });
  for (const i of [1, 10, 20, 30, 40, 60, 80, 100, 120].filter((i) => i <= n)) {
    chart.text(`${i}`, chart.x(i - 0.5), floor + 14);
  }
  chart.text("axis", chart.x(0.36 * n), floor + 29);
  const words = `θ = ${digits(now.theta)}`;
  const above = at - 8 > edges.top + 8 ? at - 8 : at + 18;
  outline(chart, words, width - edges.right - 16, above, ink, paper);
  chart.disc(width - edges.right - 2, at, 9, COLORS.sky, ink, 2.5);
}

function outline(chart, words, x, y, ink, paper) {
  Object.assign(chart.pen, { font: BOLD, textAlign: "right", strokeStyle: paper, lineWidth: 4 });
  chart.pen.strokeText(words, x, y);
  chart.text(words, x, y, "right", ink, BOLD);
}

function drawScale(chart, y, [least, most]) {
  const [low, high] = [BELOW * least, ABOVE * most];
  for (let k = -6; k < 6; k++) {
    for (const part of [1, 2, 5]) {
      const tick = part * 10 ** k;
      if (tick > low && tick < high) chart.across(y(tick), `${Number(tick.toPrecision(1))}`);
    }
  }
  chart.text("λ", 8, chart.edges.top + 6, "left", chart.stage.theme.ink, SERIF);
}

/** A canvas for codes: 0, ±2 and the axes; gives what takes a number to its height. */
function beginCode(chart, n) {
  chart.begin((width) => Math.min(170, Math.max(110, 0.5 * width)), [0, n]);
  const { floor, edges } = chart;
  const y = (v) => floor - ((Math.min(REACH, Math.max(-REACH, v)) + REACH) / (2 * REACH)) * (floor - edges.top);
  chart.across(y(2), "2", { dash: [3, 4] });
  chart.across(y(-2), "−2", { dash: [3, 4] });
  chart.across(y(0), "0", { strong: true });
  return y;
}

/** The mean of q(u | x) as bars, one standard deviation to both sides, and a draw. */
export function drawCode(chart, { eigenvalues, mean, u, vae }) {
  const { faint, ink, paper } = chart.stage.theme;
  const n = eigenvalues.length;
  const y = beginCode(chart, n);
  const { pen } = chart;
  const wide = chart.x(1) - chart.x(0);
  for (let i = 0; i < n; i++) {
    const [left, middle] = [chart.x(i) + 0.15 * wide, chart.x(i + 0.5)];
    const dead = vae.decoder[i] === 0;
    const spread = Math.sqrt(vae.variance[i]);
    pen.globalAlpha = dead ? 0.45 : 1;
    pen.fillStyle = COLORS.data;
    pen.fillRect(left, Math.min(y(0), y(mean[i])), 0.7 * wide, Math.abs(y(mean[i]) - y(0)));
    chart.segment([middle, y(mean[i] - spread)], [middle, y(mean[i] + spread)], faint, { width: 1 });
    chart.disc(middle, y(u[i]), Math.min(3, 0.42 * wide), dead ? faint : ink, paper, 0.6);
  }
  pen.globalAlpha = 1;
  chart.text("axis", chart.x(n / 2), chart.floor + 13);
  const words = `The latents: ${vae.alive} of ${n} axes carry something`;
  chart.canvas.setAttribute("aria-label", words);
}

/** The code under noise, in the colour of its level. */
export function drawNoised(chart, { now, eigenvalues, uT, vae }) {
  const n = eigenvalues.length;
  const y = beginCode(chart, n);
  const { pen } = chart;
  const wide = chart.x(1) - chart.x(0);
  pen.fillStyle = between(now.t);
  for (let i = 0; i < n; i++) {
    pen.globalAlpha = vae.decoder[i] === 0 ? 0.35 : 1;
    pen.fillRect(chart.x(i) + 0.15 * wide, Math.min(y(0), y(uT[i])), 0.7 * wide, Math.abs(y(uT[i]) - y(0)));
  }
  pen.globalAlpha = 1;
  chart.text("axis", chart.x(n / 2), chart.floor + 13);
  chart.canvas.setAttribute("aria-label", `The latents at t = ${now.t.toFixed(2)}`);
}
