// The pictures of ScheduleLab: p(t) over the difficulty, one picture under noise, steps on the axis
// of t, and errors against α.

import {
  clamp,
  cumulative,
  density,
  greys,
  interpolated,
  median,
  ownShift,
  pooled,
  quantile,
  SIZES,
  signalToNoise,
  times,
} from "../math/schedules.mjs";
import { BOLD, SERIF } from "../ui/chart.mjs";
import { make, paint } from "../ui/dom.mjs";
import { percent } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { between } from "../ui/plane.mjs";

export const TOP = 4; // of the window on p(t)
export const QUANTILES = [0.1, 0.3, 0.5, 0.7, 0.9]; // of p(t), at which pictures are shown
const POINTS = 400; // of p(t)
const TICKS = [0, 0.25, 0.5, 0.75, 1]; // on the axis of t
const DASHES = [[2, 5], [9, 5], []]; // of the errors of the three sizes

export const named = (size) => `${size} × ${size}`;

/** Where the median of p(t) is on the screen: by this it is dragged. */
export function handle(chart, p) {
  const [t, height] = median(p);
  return [chart.x(t), onScreen(chart, height)];
}

const onScreen = (chart, p) => chart.floor - (Math.min(p, TOP) / TOP) * (chart.floor - chart.edges.top);

/** Shares of the examples by tenths of t, p(t), the loss at its own scale, and the hardest third. */
export function drawLevels(chart, p, { levels, losses, hard }) {
  chart.begin((width) => clamp(0.56 * width, 290, 362), [0, 1]);
  const { floor } = chart;
  drawHardest(chart, hard);
  for (const height of [1, 2, 3, 4]) chart.across(onScreen(chart, height), `${height}`);
  const loss = lossAxis(chart, Math.max(...losses));
  drawTenths(chart, p);
  chart.across(floor, "0", { strong: true });
  const axis = Array.from({ length: POINTS + 1 }, (_, i) => i / POINTS);
  const hardness = axis.map((t) => [chart.x(t), loss(interpolated(levels, losses, t))]);
  chart.stroke(hardness, COLORS.exact, { width: 3 });
  drawDensity(chart, p, axis);
  for (const t of TICKS) chart.text(`${t}`, chart.x(t), floor + 32);
  chart.text("t", chart.x(0.375), floor + 33, "center", chart.stage.theme.ink, SERIF);
  chart.text("data", chart.x(0), floor + 46);
  chart.text("noise", chart.x(1), floor + 46);
  drawQuantiles(chart, p);
}

/** The levels of the hardest third, with the names of both axes above. */
function drawHardest(chart, hard) {
  const { edges, floor, pen, width } = chart;
  for (const [from, to] of hard) {
    Object.assign(pen, { fillStyle: COLORS.exact, globalAlpha: 0.1 });
    pen.fillRect(chart.x(from), edges.top, chart.x(to) - chart.x(from), floor - edges.top);
    pen.globalAlpha = 1;
  }
  const [from, to] = hard.reduce((a, b) => (b[1] - b[0] > a[1] - a[0] ? b : a));
  const above = edges.top - 16;
  const middle = clamp(chart.x((from + to) / 2), edges.left + 70, width - edges.right - 80);
  chart.text("hardest third of all t", middle, above);
  chart.text("p(t)", edges.left, above);
  chart.text("loss", width - edges.right, above);
}

/** The axis of losses on the right; gives what takes a loss to its height. */
function lossAxis(chart, most) {
  const { edges, floor, width } = chart;
  const y = (value) => floor - (0.8 * (floor - edges.top) * value) / most;
  const tick = [0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((one) => most / one < 5.5) ?? 10 * Math.ceil(most / 50);
  for (let value = 0; value <= most; value += tick) {
    chart.text(`${Number(value.toFixed(2))}`, width - edges.right + 6, y(value) + 4, "left");
  }
  return y;
}

/** The share of examples in each tenth of t. */
function drawTenths(chart, p) {
  const { floor, pen } = chart;
  for (let i = 0; i < 10; i++) {
    const part = cumulative(p, (i + 1) / 10) - cumulative(p, i / 10);
    const [left, right] = [chart.x(i / 10) + 1, chart.x((i + 1) / 10) - 1];
    const y = onScreen(chart, 10 * part);
    Object.assign(pen, { fillStyle: between((i + 0.5) / 10), globalAlpha: 0.6 });
    pen.fillRect(left, y, right - left, floor - y);
    pen.globalAlpha = 1;
    const words = right - left > 34 ? percent(part) : Math.round(100 * part);
    chart.text(words, (left + right) / 2, floor + 14, "center", chart.stage.theme.ink);
  }
}

/** p(t), cut off where it leaves the window. */
function drawDensity(chart, p, axis) {
  const { ink, paper } = chart.stage.theme;
  const { edges, floor, pen, width } = chart;
  const tall = floor - edges.top;
  pen.save();
  pen.beginPath();
  pen.rect(0, edges.top - 2, width, tall + 4);
  pen.clip();
  const curve = axis.map((t) => [chart.x(t), floor - (Math.min(2 * TOP, density(p, t)) / TOP) * tall]);
  chart.stroke(curve, paper, { width: 5 });
  chart.stroke(curve, ink, { width: 2.5 });
  pen.restore();
}

/** Quantiles on p(t), and at the median what it is dragged by. */
function drawQuantiles(chart, p) {
  const { ink, paper } = chart.stage.theme;
  for (const t of QUANTILES.map((q) => quantile(p, q))) {
    chart.disc(chart.x(t), onScreen(chart, density(p, t)), 4.5, ink, paper, 1.5);
  }
  const [x, y] = handle(chart, p);
  chart.segment([x, y], [x, chart.floor], ink, { width: 1.2, dash: [2, 4] });
  chart.disc(x, y, 10, ink, paper, 3);
  chart.disc(x, y, 3, paper, paper, 1);
}

/** A row for each size: the picture x, and x under noise at quantiles of p(t); answers with S / N. */
export function drawPictures(chart, p, { x, grains, sigma }) {
  const { ink } = chart.stage.theme;
  const width = chart.box.clientWidth || 300;
  const wide = width >= 520; // names of rows beside them, else above
  const [names, head, gap] = [wide ? 90 : 0, 26, 6];
  const side = Math.min(92, Math.floor((width - names - 16 - 5 * gap) / 6));
  const left = (width + names - 6 * side - 5 * gap) / 2;
  const row = side + (wide ? 40 : 56);
  chart.begin(() => head + SIZES.length * row, [0, 1]);
  const column = (j) => left + j * (side + gap) + side / 2;
  chart.text("x", column(0), 17, "center", ink, SERIF);
  QUANTILES.forEach((q, j) => chart.text(q === 0.5 ? "median" : percent(q), column(j + 1), 17));
  const small = make("canvas");
  chart.pen.imageSmoothingEnabled = false;
  return SIZES.map((size, i) => {
    const alpha = ownShift(p, size);
    const top = head + i * row + (wide ? 0 : 16);
    const clean = pooled(x, Math.sqrt(x.length), size);
    const says = (words, j, down, ...how) => chart.text(words, column(j), top + side + down, "center", ...how);
    const show = (t, j) => {
      Object.assign(small, { width: size, height: size });
      paint(small, greys(clean, grains[i], t));
      chart.pen.drawImage(small, column(j) - side / 2, top, side, side);
    };
    const at = wide ? [left - names, top + side / 2 - 4] : [left, top - 5];
    chart.text(named(size), ...at, "left", ink, BOLD);
    chart.text(`α = ${alpha.toFixed(2)}`, at[0] + (wide ? 0 : 62), at[1] + (wide ? 17 : 0), "left");
    show(0, 0);
    says("t = 0", 0, 13);
    says("S / N", 0, 27, ink);
    return QUANTILES.map((q, j) => {
      const t = quantile({ ...p, alpha }, q);
      const ratio = signalToNoise(sigma, t, (size / SIZES[0]) ** 2);
      show(t, j + 1);
      says(`t = ${t.toFixed(2)}`, j + 1, 13);
      says(ratio.toFixed(2), j + 1, 27, ink, BOLD);
      return ratio;
    });
  });
}

/** T + 1 levels on the axis of t, even and below them shifted. */
export function drawSteps(chart, { steps, alpha }) {
  const { ink, faint, line, paper } = chart.stage.theme;
  chart.begin(() => 200, [0, 1]);
  const [above, below] = [chart.edges.top, chart.floor];
  const [even, late] = [times(steps, 1), times(steps, alpha)];
  even.forEach((t, i) => chart.segment([chart.x(t), above], [chart.x(late[i]), below], faint, { width: 0.8 }));
  const rail = (ts, y) => {
    chart.segment([chart.x(0), y], [chart.x(1), y], line, { width: 3 });
    for (const t of ts) chart.disc(chart.x(t), y, steps > 24 ? 4 : 6, between(t), paper, 1.5);
  };
  rail(even, above);
  rail(late, below);
  chart.text("even", chart.x(0), above - 14, "left", ink, BOLD);
  chart.text("← the sampler’s way", chart.x(1), above - 14, "right");
  for (const t of TICKS) chart.text(`${t}`, chart.x(t), below + 22);
  chart.text("t", chart.x(0.375), below + 23, "center", ink, SERIF);
  chart.text(`shifted, α = ${alpha.toFixed(2)}`, chart.x(0), below + 42, "left", ink, BOLD);
  chart.text("t′ = α t / (1 + (α − 1) t)", chart.x(1), below + 42, "right");
}

/**
 * Errors against α, both on logarithmic axes, a curve for each size.
 *
 * @param {number[][][]} curves α and error, of each size
 * @param {number[]} present the errors at this α
 * @param {number[][]} names α and error of the place under which the name of a curve stands
 * @param {number[]} range the least and the highest error
 */
export function drawErrors(chart, alpha, { curves, present, names, range }) {
  const { ink, faint, paper } = chart.stage.theme;
  const colors = [COLORS.sky, COLORS.purple, ink];
  chart.begin((width) => clamp(0.6 * width, 200, 250), [0, 3]);
  const { floor, edges } = chart;
  const log = (value) => Math.log(Math.max(value, 1e-9));
  const [low, high] = [log(range[0]) - 0.5, log(range[1]) + 0.15];
  const x = (value) => chart.x(Math.log2(value));
  const y = (value) => floor - ((log(value) - low) / (high - low)) * (floor - edges.top);
  for (let k = -6; k < 3; k++) {
    for (const tick of [1, 2, 5].map((one) => one * 10 ** k)) {
      if (log(tick) > low && log(tick) < high) chart.across(y(tick), `${Number(tick.toPrecision(1))}`);
    }
  }
  chart.across(floor, "", { strong: true });
  for (const value of [1, 2, 4, 8]) chart.text(`${value}`, x(value), floor + 16);
  chart.text("α", x(2 ** 1.5), floor + 17, "center", ink, SERIF);
  chart.text("error, in the scale of the data", edges.left, 12, "left");
  chart.segment([x(alpha), edges.top], [x(alpha), floor], faint, { width: 1.2, dash: [4, 4] });
  curves.forEach((curve, i) => {
    const places = curve.map(([a, error]) => [x(a), y(error)]);
    chart.stroke(places, colors[i], { dash: DASHES[i] });
  });
  SIZES.forEach((size, i) => {
    const [a, error] = names[i];
    chart.text(named(size), Math.max(x(a), edges.left + 24), y(error) + 20, "center", ink, BOLD);
    chart.disc(x(alpha), y(present[i]), 6, colors[i], paper);
  });
}
