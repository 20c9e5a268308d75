// The two pictures of BestDiscriminator: densities and D* over x, and the curve over y at one x.

import { best, chance, gain, logDensity } from "../math/mixture_1d.mjs";
import { COLORS, signed } from "../ui/stage.mjs";

const POINTS = 300; // of each curve
const LOW = -2.6; // of the curve over y, in units of a + b
const RARE = 2e-3; // of the highest density: below it the best D is dotted
const SERIF = "italic 14px Georgia, serif";
const BOLD = "600 12px system-ui, sans-serif";
const ON_ORANGE = "#1f2328";

/** Where the handles of p_G are, under the axis. */
export const rail = (chart) => chart.floor + 34;

/** D* above, both densities below, the place x through both, and a handle for each component. */
export function drawDensities(chart, { pData, pG, x, chosen, extent }) {
  const { ink, line, paper } = chart.stage.theme;
  chart.begin((width) => Math.min(400, Math.max(310, 0.66 * width)), [-extent, extent]);
  const { floor, edges } = chart;
  const axis = Array.from({ length: POINTS }, (_, i) => extent * ((2 * i) / (POINTS - 1) - 1));
  const [p, q] = [pData, pG].map((mixture) => axis.map((v) => Math.exp(logDensity(mixture, v))));
  const most = Math.max(...p, ...q);
  const split = edges.top + 0.38 * (floor - edges.top);
  const yD = (D) => split - D * (split - edges.top);
  const yP = (density) => floor - (density / most) * (floor - split - 22);
  for (const [D, name] of [
    [0, "0"],
    [0.5, "½"],
    [1, "1"],
  ]) {
    chart.across(yD(D), name, { dash: D === 0.5 ? [4, 4] : [] });
  }
  chart.across(floor, "0", { strong: true });
  const tick = [0.1, 0.2, 0.5, 1, 2].find((step) => most / step < 2.5) ?? 2;
  for (let k = 1; k * tick < most; k++) chart.across(yP(k * tick), `${Number((k * tick).toFixed(1))}`);
  for (let v = -Math.floor(extent); v <= extent; v++) {
    if (v % 2 === 0 || extent < 4) chart.text(signed(v, 0), chart.x(v), floor + 15);
  }
  for (const [values, color, width] of [
    [p, COLORS.data, 4.5],
    [q, COLORS.noise, 2],
  ]) {
    chart.stroke(
      values.map((v, i) => [chart.x(axis[i]), yP(v)]),
      color,
      { width, fill: floor },
    ); // both seen where they match
  }
  const ys = axis.map((v) => [chart.x(v), yD(best(pData, pG, v))]);
  const rare = p.map((v, i) => v + q[i] < RARE * most); // there D* hardly counts
  for (let i = 0, j; i < POINTS - 1; i = j) {
    for (j = i + 1; j < POINTS - 1 && rare[j] === rare[i]; ) j++;
    chart.stroke(ys.slice(i, j + 1), COLORS.exact, rare[i] ? { width: 2, dash: [1, 5] } : { width: 3 });
  }

  const at = chart.x(x);
  const [a, b] = [pData, pG].map((mixture) => yP(Math.exp(logDensity(mixture, x))));
  const late = at > chart.width - 70; // its words go to its left
  chart.stroke(
    [
      [at, 14],
      [at, floor],
    ],
    ink,
    { width: chosen === "x" ? 2 : 1.2 },
  );
  chart.disc(at, 12, chosen === "x" ? 9 : 7, ink);
  chart.disc(at, yD(best(pData, pG, x)), 5, COLORS.exact);
  chart.disc(at, a, 5, COLORS.data);
  chart.disc(at, b, 5, COLORS.noise);
  chart.text(`x = ${signed(x)}`, at + (late ? -14 : 14), 16, late ? "right" : "left", ink);
  chart.text("a", at - 11, a - 6, "center", ink, SERIF);
  chart.text("b", at + 11, b - 6, "center", ink, SERIF);

  const { means } = pG;
  chart.stroke(
    [
      [edges.left, rail(chart)],
      [chart.width - edges.right, rail(chart)],
    ],
    line,
    { width: 3 },
  );
  for (const k of [...means.keys()].sort((i, j) => (i === chosen) - (j === chosen))) {
    const mean = chart.x(means[k]);
    chart.stroke(
      [
        [mean, rail(chart)],
        [mean, floor],
      ],
      COLORS.noise,
      { width: 1.5, dash: [2, 4] },
    );
    chart.disc(mean, rail(chart), 12, COLORS.noise, k === chosen ? ink : paper, k === chosen ? 3 : 2);
    chart.text(means.length === 1 ? "G" : k + 1, mean, rail(chart) + 4, "center", ON_ORANGE, BOLD);
  }
}

/** y ↦ a log y + b log(1 − y), in units of a + b, so that it is seen where both are tiny. */
export function drawChoice(chart, { pData, pG, x }, height) {
  const { ink, paper } = chart.stage.theme;
  chart.begin(height, [0, 1]);
  const { pen, floor, edges } = chart;
  const D = best(pData, pG, x);
  const mass = Math.exp(logDensity(pData, x)) + Math.exp(logDensity(pG, x));
  const y = (value) => edges.top + (value / LOW) * (floor - edges.top);
  const across = Array.from({ length: 201 }, (_, i) => 0.5 - 0.4999999 * Math.cos((Math.PI * i) / 200));
  const [at, most] = [chart.x(D), y(gain(D, D))];
  chart.across(y(0), "0");
  if (most - y(0) > 12) chart.across(most, signed(mass * gain(D, D), 3), { dash: [4, 4] });
  chart.across(floor, "", { strong: true });
  for (const [v, name] of [
    [0, "0"],
    [0.5, "½"],
    [1, "1"],
  ])
    chart.text(name, chart.x(v), floor + 15);
  chart.text("y", chart.x(0.75), floor + 16, "center", ink, SERIF);
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, chart.width, floor);
  pen.clip();
  const curve = (f) => across.map((v) => [chart.x(v), y(f(v))]);
  const thin = { width: 2, dash: [5, 4] };
  chart.stroke(
    curve((v) => gain(D, v)),
    ink,
    { width: 3 },
  );
  chart.stroke(
    curve((v) => D * Math.log(v)),
    COLORS.data,
    thin,
  );
  chart.stroke(
    curve((v) => (1 - D) * Math.log(1 - v)),
    COLORS.noise,
    thin,
  );
  pen.restore();
  chart.stroke(
    [
      [at, most],
      [at, floor],
    ],
    COLORS.exact,
    { width: 2, dash: [2, 4] },
  );
  chart.disc(at, most, 6, COLORS.exact, paper);
  const words = Math.min(chart.width - 46, Math.max(edges.left + 30, at));
  chart.text(`y ${chance(D)}`, words, floor + 30, "center", ink, BOLD);
  const where = `At x = ${signed(x)}, a log y + b log(1 − y) is highest at y ${chance(D)}`;
  chart.canvas.setAttribute("aria-label", where);
}
