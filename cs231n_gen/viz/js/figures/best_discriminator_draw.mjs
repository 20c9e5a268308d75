// The two pictures of BestDiscriminator: densities and D* over x, and the curve over y at one x.

import { best, gain, logDensity } from "../math/mixture_1d.mjs";
import { BOLD, SERIF } from "../ui/chart.mjs";
import { chance, signed } from "../ui/format.mjs";
import { COLORS, THEMES } from "../ui/palette.mjs";

const POINTS = 300; // of each curve
const LOW = -2.6; // of the curve over y, in units of a + b
const RARE = 2e-3; // of the highest density: below it the best D is dotted
const HALVES = ["0", "½", "1"]; // on axes from 0 to 1

const densityAt = (mixture, x) => Math.exp(logDensity(mixture, x));

/** Where the handles of p_G are, under the axis. */
export const rail = (chart) => chart.floor + 34;

/** D* above, both densities below, the place x through both, and a handle for each component. */
export function drawDensities(chart, { pData, pG, x, chosen, extent }) {
  chart.begin((width) => Math.min(400, Math.max(310, 0.66 * width)), [-extent, extent]);
  const { floor, edges } = chart;
  const axis = Array.from({ length: POINTS }, (_, i) => extent * ((2 * i) / (POINTS - 1) - 1));
  const [p, q] = [pData, pG].map((mixture) => axis.map((v) => densityAt(mixture, v)));
  const most = Math.max(...p, ...q);
  const split = edges.top + 0.38 * (floor - edges.top);
  const yD = (D) => split - D * (split - edges.top);
  const yP = (density) => floor - (density / most) * (floor - split - 22);
  drawAxes(chart, extent, most, yD, yP);
  const curve = (values) => values.map((v, i) => [chart.x(axis[i]), yP(v)]);
  chart.stroke(curve(p), COLORS.data, { width: 4.5, fill: floor }); // both seen where they match
  chart.stroke(curve(q), COLORS.noise, { width: 2, fill: floor });
  const ys = axis.map((v) => [chart.x(v), yD(best(pData, pG, v))]);
  const rare = p.map((v, i) => v + q[i] < RARE * most); // there D* hardly counts
  for (let i = 0, j; i < POINTS - 1; i = j) {
    for (j = i + 1; j < POINTS - 1 && rare[j] === rare[i]; ) j++;
    chart.stroke(ys.slice(i, j + 1), COLORS.exact, rare[i] ? { width: 2, dash: [1, 5] } : { width: 3 });
  }
  const heights = { D: yD(best(pData, pG, x)), a: yP(densityAt(pData, x)), b: yP(densityAt(pG, x)) };
  drawPlace(chart, x, heights, chosen === "x");
  drawHandles(chart, pG.means, chosen);
}

function drawAxes(chart, extent, most, yD, yP) {
  const { floor } = chart;
  HALVES.forEach((name, k) => chart.across(yD(k / 2), name, { dash: k === 1 ? [4, 4] : [] }));
  chart.across(floor, "0", { strong: true });
  const tick = [0.1, 0.2, 0.5, 1, 2].find((step) => most / step < 2.5) ?? 2;
  for (let k = 1; k * tick < most; k++) chart.across(yP(k * tick), `${Number((k * tick).toFixed(1))}`);
  for (let v = -Math.floor(extent); v <= extent; v++) {
    if (v % 2 === 0 || extent < 4) chart.text(signed(v, 0), chart.x(v), floor + 15);
  }
}

/** The line at x, with D* and both densities on it. */
function drawPlace(chart, x, { D, a, b }, chosen) {
  const { ink } = chart.stage.theme;
  const at = chart.x(x);
  const late = at > chart.width - 70; // its words go to its left
  chart.segment([at, 14], [at, chart.floor], ink, { width: chosen ? 2 : 1.2 });
  chart.disc(at, 12, chosen ? 9 : 7, ink);
  chart.disc(at, D, 5, COLORS.exact);
  chart.disc(at, a, 5, COLORS.data);
  chart.disc(at, b, 5, COLORS.noise);
  chart.text(`x = ${signed(x)}`, at + (late ? -14 : 14), 16, late ? "right" : "left", ink);
  chart.text("a", at - 11, a - 6, "center", ink, SERIF);
  chart.text("b", at + 11, b - 6, "center", ink, SERIF);
}

/** A handle for each component of p_G, the chosen one above the others. */
function drawHandles(chart, means, chosen) {
  const { ink, line, paper } = chart.stage.theme;
  const { edges, floor } = chart;
  const y = rail(chart);
  chart.segment([edges.left, y], [chart.width - edges.right, y], line, { width: 3 });
  for (const k of [...means.keys()].sort((i, j) => (i === chosen) - (j === chosen))) {
    const mean = chart.x(means[k]);
    chart.segment([mean, y], [mean, floor], COLORS.noise, { width: 1.5, dash: [2, 4] });
    chart.disc(mean, y, 12, COLORS.noise, k === chosen ? ink : paper, k === chosen ? 3 : 2);
    const name = means.length === 1 ? "G" : k + 1;
    chart.text(name, mean, y + 4, "center", THEMES.light.ink, BOLD); // on orange, dark in both themes
  }
}

/** y ↦ a log y + b log(1 − y), in units of a + b, so that it is seen where both are tiny. */
export function drawChoice(chart, { pData, pG, x }, height) {
  const { ink, paper } = chart.stage.theme;
  chart.begin(height, [0, 1]);
  const { floor, edges } = chart;
  const D = best(pData, pG, x);
  const mass = densityAt(pData, x) + densityAt(pG, x);
  const y = (value) => edges.top + (value / LOW) * (floor - edges.top);
  const [at, most] = [chart.x(D), y(gain(D, D))];
  chart.across(y(0), "0");
  if (most - y(0) > 12) chart.across(most, signed(mass * gain(D, D), 3), { dash: [4, 4] });
  chart.across(floor, "", { strong: true });
  HALVES.forEach((name, k) => chart.text(name, chart.x(k / 2), floor + 15));
  chart.text("y", chart.x(0.75), floor + 16, "center", ink, SERIF);
  drawGains(chart, D, y);
  chart.segment([at, most], [at, floor], COLORS.exact, { width: 2, dash: [2, 4] });
  chart.disc(at, most, 6, COLORS.exact, paper);
  const words = Math.min(chart.width - 46, Math.max(edges.left + 30, at));
  chart.text(`y ${chance(D)}`, words, floor + 30, "center", ink, BOLD);
  const where = `At x = ${signed(x)}, a log y + b log(1 − y) is highest at y ${chance(D)}`;
  chart.canvas.setAttribute("aria-label", where);
}

/** The sum and both of its terms, above the floor. */
function drawGains(chart, D, y) {
  const { pen } = chart;
  const across = Array.from({ length: 201 }, (_, i) => 0.5 - 0.4999999 * Math.cos((Math.PI * i) / 200));
  const draw = (f, color, how) => {
    const places = across.map((v) => [chart.x(v), y(f(v))]);
    chart.stroke(places, color, how);
  };
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, chart.width, chart.floor);
  pen.clip();
  draw((v) => gain(D, v), chart.stage.theme.ink, { width: 3 });
  draw((v) => D * Math.log(v), COLORS.data, { width: 2, dash: [5, 4] });
  draw((v) => (1 - D) * Math.log(1 - v), COLORS.noise, { width: 2, dash: [5, 4] });
  pen.restore();
}
