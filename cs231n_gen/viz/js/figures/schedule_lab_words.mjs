// What ScheduleLab shows and says: each picture with the sentences below it.

import { average, clamp, deviation, HARD, median, pooled, SIZES, share, times } from "../math/schedules.mjs";
import { make } from "../ui/dom.mjs";
import { counted, digits, percent, signed } from "../ui/format.mjs";
import { drawErrors, drawLevels, drawPictures, drawSteps, named } from "./schedule_lab_draw.mjs";
import { OCTAVES, SCALES } from "./schedule_lab_errors.mjs";

const UNIFORM = { schedule: "uniform", alpha: 1 };

/** p(t), and what it makes of the loss. */
export function showLevels(chart, says, p, loss) {
  drawLevels(chart, p, loss);
  const mean = average(p, (t) => t);
  const often = share(p, loss.hard);
  const [expected, even] = [p, UNIFORM].map((one) => average(one, loss.at));
  Object.assign(says.dataset, { mean, hard: often, loss: expected });
  const alike = p.schedule === "logit-normal" && p.alpha > 1;
  says.replaceChildren(
    alike ? `Shifted, it is logit-normal with m + ln α = ${signed(p.m + Math.log(p.alpha))}. ` : "",
    `Half of all t are below ${median(p)[0].toFixed(2)}; their mean is ${mean.toFixed(2)}. `,
    make("b", {}, `${percent(often)} of examples are in the hardest third`),
    ` (uniform t: ${percent(HARD)}). The expected loss `,
    make("b", {}, `∫ p(t) loss(t) dt = ${digits(expected)}`),
    ` (uniform: ${digits(even)}): compare nets under one p(t) only.`,
  );
}

/** A picture at three sizes, and what is left of it. */
export function showPictures(chart, says, p, { x, side, name, grains }) {
  const ratios = drawPictures(chart, p, { x, grains, sigma: deviation(pooled(x, side, SIZES[0])) });
  says.dataset.ratios = ratios.join(";");
  const [a, b, c] = ratios.map((row) => row[2].toFixed(2));
  says.replaceChildren(
    "Averaged down to 8 × 8 pixels, signal to noise (S / N) at the median t is ",
    make("b", {}, `${a}, ${b} and ${c}`),
    p.shifted
      ? ": with α = √(m / n) for m pixels in place of n, as much survives in every row."
      : ": at one t, larger pictures keep more, for the mean of k pixels has √k times less noise.",
  );
  const where = `8, 16 and 32 pixels a side; signal to noise at the median t: ${a}, ${b}, ${c}`;
  chart.canvas.setAttribute("aria-label", `${name} under noise, ${where}`);
}

/** Where the steps are. */
export function showSteps(chart, says, { steps, alpha }) {
  drawSteps(chart, { steps, alpha });
  const above = (shift) => times(steps, shift).filter((t) => t > 0.5 + 1e-9).length;
  const [before, after] = [above(1), above(alpha)];
  says.replaceChildren(
    make("b", {}, `${after} of ${counted(steps, "step")} ${steps === 1 ? "begins" : "begin"} above t = ½`),
    ` (even: ${before}). They walk in the plane along the exact field. Points 2 and 4 times as far ` +
      "apart stand for 16 × 16 and 32 × 32 pixels, where the mean of a block has 2 and 4 times less noise.",
  );
  const how = `even and shifted by ${alpha.toFixed(2)}: ${after} begin above one half`;
  chart.canvas.setAttribute("aria-label", `Levels of ${steps} steps, ${how}`);
}

/** How far the paths end from where the field leads, as far as it is known. */
export function compareErrors(chart, says, { alpha, steps }, errors) {
  const error = (a) => errors.at(steps, a);
  const [even, present] = [1, alpha].map((a) => SCALES.map((c) => error(a / c)));
  const whole = errors.missing(steps).length === 0;
  const done = errors.known(steps);
  const least = whole && steps > 1 ? done.reduce((a, b) => (error(b) < error(a) ? b : a)) : 0;
  const known = [...even, ...present, error(2 ** OCTAVES), ...done.map(error)];
  const curveOf = (c) => done.map((a) => [c * a, error(a)]).filter(([a]) => a > 0.999 && a < 8.001);
  const names = SCALES.map((c) => clamp(c * (least || 1.3), 1, 2 ** OCTAVES));
  drawErrors(chart, alpha, {
    curves: SCALES.map(curveOf),
    present,
    names: names.map((a, i) => [a, error(a / SCALES[i])]),
    range: [Math.min(...known), Math.max(...known)],
  });
  Object.assign(says.dataset, { even, shifted: present, least });
  sayErrors(says, steps, even, present, least);
  const said = `at ${alpha.toFixed(2)}: ${present.map(digits).join(", ")}`;
  chart.canvas.setAttribute("aria-label", `Errors of Euler’s paths against α, ${said}`);
}

function sayErrors(says, steps, even, present, least) {
  const both = (i) => make("b", {}, `${digits(even[i])} → ${digits(present[i])}`);
  const one = (size, i) => make("span", { style: "white-space:nowrap" }, `${named(size)}: `, both(i));
  says.replaceChildren(
    `Mean distance after ${counted(steps, "step")}, even → shifted: `,
    ...SIZES.flatMap((size, i) => [one(size, i), i < 2 ? ", " : ". "]),
    least ? `Least at α = ${SCALES.map((c) => (least * c).toFixed(1)).join(", ")}: it grows with √(m / n).` : "",
    steps === 1 ? "A single step is the same for every α." : "",
  );
}
