// The pictures of ProcessLab: curves in the plane of a and b, and p_t with paths through it.

import { CURVES, densityOf, marginal, noiseToSignal, processOf, SIGMAS } from "../math/processes.mjs";
import { BOLD, SERIF } from "../ui/chart.mjs";
import { make } from "../ui/dom.mjs";
import { signed } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { colorAt } from "./process_lab_view.mjs";

const WINDOW = [-0.1, 1.5]; // of a
const POINTS = 96; // of a curve
const BINS = 44; // of the samples
const FEW = 30; // steps that are still told apart by dots
const ON_CURVES = {
  rectified_flow: [0.36, 0.56, "rectified flow", "right"],
  cosine: [0.6, 0.86, "cosine, DDPM", "left"],
  variance_exploding: [1.04, 1.5, `VE, to b = ${SIGMAS[1]}`, "left"],
};

// --- the plane of a and b -------------------------------------------------------------------------

/** Pixels of a and of b. */
export function placer(chart) {
  const unit = chart.x(1) - chart.x(0);
  const floor = chart.floor - 0.06 * unit;
  return { unit, px: ([a, b]) => [chart.x(a), floor - b * unit], b: (y) => (floor - y) / unit };
}

/** A place a part of the way to where it is divided by a; null if that is nowhere. */
export function dividedBy([a, b], part) {
  if (!part) return [a, b];
  return a > 0 ? [a ** (1 - part), b * a ** -part] : null;
}

/** Every curve thin, the chosen one in colours with its steps, the ray of one b / a, the handle. */
export function drawPlane(chart, height, { now, part, process, places, handle }) {
  const pen = chart.begin(height, WINDOW);
  const { px, unit } = placer(chart);
  const { ink, faint, line, paper } = chart.stage.theme;
  axesOf(chart, px);
  pen.save();
  pen.beginPath();
  pen.rect(0, chart.edges.top, chart.width, chart.floor - chart.edges.top);
  pen.clip();
  for (const curve of CURVES) {
    const one = processOf(curve, now.middle);
    const dash = curve === now.curve ? [3, 4] : [];
    chart.stroke(along(one).map(px), curve === now.curve ? faint : line, { width: 1.6, dash });
  }
  const here = process(now.t);
  drawRay(chart, px, here);
  const moved = along(process).map((place) => [place, dividedBy(place, part)]);
  drawColored(
    chart,
    moved.filter(([, to]) => to).map(([place, to]) => [px(to), colorAt(place)]),
  );
  if (places.length <= FEW + 1) {
    for (const place of places) {
      const to = dividedBy(place, part);
      if (to) chart.disc(...px(to), 3, paper, ink, 1.2);
    }
  }
  const mark = dividedBy(here, part);
  if (mark) chart.disc(...px(mark), 7, colorAt(here), ink, 2);
  pen.restore();
  drawNames(chart, px, now);
  sayRatio(chart, px, here, unit);
  chart.disc(...px(handle), 12, "transparent", ink, 2);
}

const along = (process) => Array.from({ length: POINTS + 1 }, (_, i) => process(i / POINTS));

function axesOf(chart, px) {
  const { faint, ink, line } = chart.stage.theme;
  const top = chart.edges.top;
  for (const value of [0, 1]) {
    const [x, y] = px([value, value]);
    chart.segment([x, top], [x, chart.floor], value ? line : faint, { width: 1 });
    chart.segment([chart.edges.left, y], [chart.width - chart.edges.right, y], value ? line : faint, { width: 1 });
    chart.text(`${value}`, x, chart.floor + 14);
    chart.text(`${value}`, chart.edges.left - 5, y + 4, "right");
  }
  chart.text("a", px([0.5, 0])[0], chart.floor + 15, "center", ink, SERIF);
  chart.text("b", chart.edges.left - 8, px([0, 0.5])[1], "center", ink, SERIF);
  chart.text("data", px([1, 0])[0], chart.floor + 28, "center", ink);
  const [x, y] = px([0, 1]);
  chart.text("noise", x + 4, y - 14, "left", ink);
  chart.disc(...px([1, 0]), 5, COLORS.data);
  chart.disc(x, y, 5, COLORS.noise);
}

function drawColored(chart, points) {
  for (let k = 1; k < points.length; k++) {
    chart.segment(points[k - 1][0], points[k][0], points[k][1], { width: 5 });
  }
}

/** All places with one b / a are on one ray; it ends where a = 1. */
function drawRay(chart, px, place) {
  const { faint } = chart.stage.theme;
  const sigma = noiseToSignal(place);
  const far = sigma > 9 ? [9 / sigma, 9] : [1, sigma];
  chart.segment(px([0, 0]), px(far), faint, { width: 1.4, dash: [2, 4] });
  if (sigma < 9) chart.disc(...px([1, sigma]), 4, faint);
}

/** b / a where the ray meets a = 1, or above, where it leaves the window. */
function sayRatio(chart, px, place, unit) {
  const sigma = noiseToSignal(place);
  const y = px([1, Math.min(9, sigma)])[1];
  const words = `b/a = ${ratioOf(sigma)}`;
  const out = y < chart.edges.top + 12;
  const x = out ? chart.x(1) - 0.06 * unit : chart.x(1) + 12;
  if (out) outlined(chart, `${words} ↑`, x, chart.edges.top + 9, "right");
  else outlined(chart, words, startOf(chart, words, x), y + (y > px([0, 0.05])[1] ? -4 : 4), "left");
}

/** Where bold words begin: at x, or so far to the left that their end is still in the picture. */
function startOf(chart, words, x) {
  chart.pen.font = BOLD;
  return Math.min(x, chart.width - 4 - chart.pen.measureText(words).width);
}

/** Words that stay legible over lines. */
function outlined(chart, words, x, y, align) {
  const { ink, paper } = chart.stage.theme;
  Object.assign(chart.pen, { font: BOLD, textAlign: align, strokeStyle: paper, lineWidth: 5 });
  if (align === "left") x = Math.min(x, chart.width - 3 - chart.pen.measureText(words).width);
  chart.pen.strokeText(words, x, y);
  chart.text(words, x, y, align, ink, BOLD);
}

function drawNames(chart, px, { curve, middle }) {
  const { faint, ink } = chart.stage.theme;
  for (const [name, [a, b, words, align]] of Object.entries(ON_CURVES)) {
    const chosen = name === curve || (name === "cosine" && curve === "variance_preserving");
    chart.text(words, ...px([a, b]), align, chosen ? ink : faint);
  }
  if (curve === "own") return;
  const [x, y] = px(middle);
  const outside = middle[0] + middle[1] > 1;
  chart.text("your own", Math.min(x, chart.width - 34), y + (outside ? -9 : 16), outside ? "center" : "right", faint);
}

/** b / a in a few digits. */
export function ratioOf(sigma) {
  if (!Number.isFinite(sigma)) return "∞";
  if (sigma > 0 && sigma < 0.1) return sigma.toPrecision(2);
  return sigma >= 100 ? sigma.toFixed(0) : sigma >= 10 ? sigma.toFixed(1) : sigma.toFixed(2);
}

// --- p_t and paths --------------------------------------------------------------------------------

/** The densities of every level, exact and sampled paths, the line at t, and what arrives. */
export function drawMarginals(chart, height, scene) {
  const { view } = scene;
  const pen = chart.begin(height, [0, 1]);
  const [above, tall] = [chart.edges.top, chart.floor - chart.edges.top];
  const y = (x) => above + (tall * (1 - view.up(x))) / 2;
  const clip = (from, to, draw) => {
    pen.save();
    pen.beginPath();
    pen.rect(chart.x(from), above, chart.x(to) - chart.x(from), tall);
    pen.clip();
    draw();
    pen.restore();
  };
  const [past, future] = behindOf(chart, y, scene);
  const at = Math.min(1, Math.max(0, view.across(scene.now.t)));
  clip(0, at, past);
  clip(at, 1, future);
  drawFrame(chart, y, view);
  clip(-0.05, 1.05, () => drawLevel(chart, y, scene));
  drawArrivals(chart, y, scene);
}

/**
 * What draws shading and paths as they are before t, and fainter as they are after it. Where they were
 * drawn before, and only t changes, they are drawn once more on canvases of their own and kept.
 */
function behindOf(chart, y, scene) {
  const asked = [scene.view, scene.walk, chart.stage.theme, chart.canvas.width, chart.canvas.height];
  const { before } = chart;
  const same = before?.asked.every((one, i) => one === asked[i]);
  if (!same) {
    const lines = linesOf(chart, y, scene);
    chart.before = { asked, draws: [1, 0.4].map((alpha) => () => drawBehind(chart, scene, lines, alpha)) };
    return chart.before.draws;
  }
  before.layers ??= before.draws.map((draw) => layer(chart, draw));
  return before.layers.map((one) => () => chart.pen.drawImage(one, 0, 0, chart.width, chart.height));
}

/** A canvas like that of the chart. */
function layer(chart, draw) {
  const { pen } = chart;
  const { width, height } = chart.canvas;
  const canvas = make("canvas", { width, height });
  chart.pen = canvas.getContext("2d");
  chart.pen.setTransform(pen.getTransform());
  chart.pen.lineCap = chart.pen.lineJoin = "round";
  draw();
  chart.pen = pen;
  return canvas;
}

function drawBehind(chart, { now, shading }, { exact, sampled }, alpha) {
  const { pen } = chart;
  const { ink, paper } = chart.stage.theme;
  const pixels = make("canvas", { width: shading.width, height: shading.height });
  pixels.getContext("2d").putImageData(shading, 0, 0);
  pen.drawImage(pixels, chart.x(0), chart.edges.top, chart.x(1) - chart.x(0), chart.floor - chart.edges.top);
  pen.globalAlpha = alpha;
  for (const line of exact) chart.stroke(line, ink, { width: 1.6 });
  for (const line of sampled) {
    chart.stroke(line, paper, { width: 4 });
    chart.stroke(line, COLORS.learned, { width: 2.2 });
  }
  if (now.steps <= FEW) drawDots(pen, sampled.flat(), paper);
}

/** Many dots at once, which is faster. */
function drawDots(pen, places, edge) {
  pen.beginPath();
  for (const [x, y] of places) {
    pen.moveTo(x + 2.8, y);
    pen.arc(x, y, 2.8, 0, 2 * Math.PI);
  }
  Object.assign(pen, { fillStyle: COLORS.learned, strokeStyle: edge, lineWidth: 1 });
  pen.fill();
  pen.stroke();
}

/** Exact paths and sampled ones, as places on the screen. */
function linesOf(chart, y, { exact, places, shown, ts, view, walk }) {
  const known = view.places.map((place) => exact.all(place).map((x) => x * view.scale(place)));
  const kept = [...known.keys()].filter((i) => Number.isFinite(known[i][0]));
  const across = (i) => chart.x(i / (known.length - 1));
  const stops = [...ts.keys()].filter((k) => places[k][0] > 0 || !view.part);
  const [columns, scales] = [ts.map((t) => chart.x(view.across(t))), places.map((place) => view.scale(place))];
  return {
    exact: shown.map((_, n) => kept.map((i) => [across(i), y(known[i][n])])),
    sampled: shown.map((n) => stops.map((k) => [columns[k], y(walk[k][n] * scales[k])])),
  };
}

function drawFrame(chart, y, view) {
  const { edges, floor, width } = chart;
  const { ink, line } = chart.stage.theme;
  const divided = view.part > 0.5;
  chart.stroke(
    [
      [chart.x(0), edges.top],
      [chart.x(0), floor],
      [chart.x(1), floor],
      [chart.x(1), edges.top],
      [chart.x(0), edges.top],
    ],
    line,
    { width: 1 },
  );
  for (const tick of view.ticks()) {
    for (const x of tick ? [tick, -tick] : [0]) chart.text(signed(x, 0), edges.left - 6, y(x) + 4, "right");
  }
  const marks = divided ? [5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02] : [1, 0.75, 0.5, 0.25, 0];
  for (const mark of marks) {
    const u = divided ? Math.log(SIGMAS[1] / mark) / Math.log(SIGMAS[1] / SIGMAS[0]) : 1 - mark;
    chart.text(`${mark}`, chart.x(u), floor + 15);
  }
  chart.text(divided ? "b / a" : "t", chart.x(divided ? 0.71 : 0.625), floor + 31, "center", ink, SERIF);
  chart.text("← noise", chart.x(0), floor + 31, "left");
  chart.text("data →", chart.x(1), floor + 31, "right");
  chart.text(divided ? "xₜ / a" : "xₜ", 8, edges.top - 9, "left", ink, SERIF);
  chart.text("last step", width - 8, edges.top - 9, "right");
}

/** The line at t, with each exact path on it. */
function drawLevel(chart, y, { exact, now, process, view }) {
  const { ink } = chart.stage.theme;
  const u = view.across(now.t);
  const place = process(now.t);
  if (u < -1e-6 || u > 1 + 1e-6 || (view.part && !(place[0] > 0))) return;
  const x = chart.x(u);
  chart.segment([x, chart.edges.top], [x, chart.floor], ink, { width: 1.4, dash: [4, 3] });
  for (const v of exact.all(place)) chart.disc(x, y(v * view.scale(place)), 4.5, colorAt(place), ink, 1.4);
}

/** The samples of the last level as bars, over the density that they should have. */
function drawArrivals(chart, y, { ends, mixture, last, view }) {
  const { pen, width } = chart;
  const left = chart.x(1) + 12;
  const p = marginal(mixture, [1, noiseToSignal(last)]); // of x_t / a
  const density = densityOf(p);
  const low = Math.max(view.down(-1), Math.min(...p.means.map((mean, k) => mean - 3.5 * p.stds[k])));
  const high = Math.min(view.down(1), Math.max(...p.means.map((mean, k) => mean + 3.5 * p.stds[k])));
  const bin = (high - low) / BINS;
  const counts = new Float64Array(BINS);
  for (const x of ends) counts[Math.floor((x - low) / bin)] += 1 / (ends.length * bin);
  const axis = Array.from({ length: 4 * BINS + 1 }, (_, i) => low + (i * bin) / 4);
  const most = Math.max(...axis.map(density));
  const long = (value) => Math.min(width - 6 - left, ((width - 16 - left) * value) / most);
  pen.fillStyle = COLORS.learned;
  pen.globalAlpha = 0.55;
  counts.forEach((count, k) => {
    const [top, bottom] = [y(low + (k + 1) * bin), y(low + k * bin)];
    pen.fillRect(left, top, long(count), Math.max(1, bottom - top - 0.5));
  });
  pen.globalAlpha = 1;
  chart.stroke(
    axis.map((x) => [left + long(density(x)), y(x)]),
    COLORS.data,
    { width: 2.2 },
  );
}
