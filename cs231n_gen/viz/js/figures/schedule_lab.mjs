// ScheduleLab: which levels t to train on, what of a picture survives them, and where to step.

import { halves, levels } from "../math/codec.mjs";
import {
  average,
  clamp,
  deviation,
  Errors,
  HARD,
  hardest,
  interpolated,
  logit,
  median,
  pooled,
  SCHEDULES,
  SIZES,
  SPREADS,
  share,
  spreadFor,
  times,
} from "../math/schedules.mjs";
import { Chart } from "../ui/chart.mjs";
import { Clock, COLORS, checkbox, draggable, GRASP, make, Stage, signed, slider } from "../ui/stage.mjs";
import { drawErrors, drawLevels, drawPictures, drawSteps, handle, named, percent, TOP } from "./schedule_lab_draw.mjs";

const SETTING = ["schedule", "m", "s", "alpha", "steps", "picture", "shifted"];
const SIDE = 32; // pixels of a picture
const USUAL = { "logit-normal": 1, "mode-weighted": 1.29 }; // s, as in SD3
const MEANS = [-2, 2]; // of m
const OCTAVES = 3; // of alpha, from 1 to 8
const PER = 8; // steps of its slider in an octave
const BUDGET = 6; // milliseconds of a frame for the curves of errors
const UNIFORM = { schedule: "uniform", alpha: 1 };

const three = (v) => v.toFixed(v >= 100 ? 0 : v >= 10 ? 1 : v >= 1 ? 2 : 3);
const stepped = (octaves) => 2 ** (Math.round(PER * octaves) / PER);

function render({ model, el }) {
  const stage = new Stage({ model, el }, "schedules");
  const [start, labels] = [stage.get("start"), stage.get("labels")];
  const loss = { levels: stage.get("levels"), losses: stage.get("difficulty") };
  const difficulty = (t) => interpolated(loss.levels, loss.losses, t);
  loss.hard = hardest(difficulty);
  const pictures = levels(stage.get("pictures"));
  const grain = halves(stage.get("grain"));
  const grains = SIZES.map((size) => pooled(grain, SIDE, size).map((v) => (v * SIDE) / size)); // each is N(0, I)
  const spreads = { ...USUAL }; // the s that each schedule had last
  const now = Object.fromEntries(SETTING.map((key) => [key, stage.get(key)]));
  Object.assign(now, stage.opened(now));
  tidy();

  function tidy() {
    if (!SCHEDULES.includes(now.schedule)) now.schedule = start.schedule;
    now.m = clamp(now.m, ...MEANS);
    now.s = clamp(now.s, ...SPREADS[now.schedule]);
    now.alpha = clamp(now.alpha, 1, 2 ** OCTAVES);
    now.steps = Math.round(clamp(now.steps, 1, 50));
    now.picture = Math.round(clamp(now.picture, 0, labels.length - 1));
    if (now.schedule in spreads) spreads[now.schedule] = now.s;
  }

  // --- what the reader does -----------------------------------------------------------------------

  function set(values) {
    Object.assign(now, values);
    show();
  }

  /** Put the median of p(t), and its height there, somewhere. */
  function put([t, height]) {
    const level = clamp(t, 0.001, 0.999);
    if (now.schedule === "logit-normal") now.m = logit(level) - Math.log(now.alpha);
    else now.alpha = stepped(Math.log2(level / (1 - level)));
    tidy();
    set(now.schedule === "uniform" ? {} : { s: spreadFor(now, clamp(height, 0.05, TOP)) });
  }

  /** Steps sideways: of m, or of alpha where there is no m. */
  function sideways(steps) {
    if (now.schedule === "logit-normal") set({ m: now.m + 0.1 * steps });
    else set({ alpha: stepped(Math.log2(now.alpha) + steps / PER) });
  }

  /** A higher p(t), by a narrower or a heavier middle. */
  const higher = (by) => set({ s: now.s + (now.schedule === "logit-normal" ? -by : by) });

  const choose = (schedule) => set({ schedule, s: spreads[schedule] ?? now.s });

  function again() {
    Object.assign(spreads, USUAL);
    set(structuredClone(start));
  }

  function told() {
    stage.tell(now);
    aloud.textContent = [about, seen, stepping, walked].map((one) => one.textContent).join(" ");
  }

  const then = (action) => (value) => {
    action(value);
    told();
  };

  // --- what is on the page ------------------------------------------------------------------------

  const edges = { left: 34, right: 34, top: 34, bottom: 54 };
  const main = new Chart(
    stage,
    {
      class: "gen-drag",
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys move p(t) and make it higher or lower.`,
      "aria-roledescription": "figure with a density to drag",
    },
    edges,
  );
  const [sheet, rails, errors] = [
    { left: 0, right: 0, top: 0, bottom: 0 },
    { ...edges, bottom: 56 },
    { left: 46, right: 16, top: 18, bottom: 40 },
  ].map((free) => new Chart(stage, { role: "img" }, free));
  const [about, seen, stepping, walked] = [1, 2, 3, 4].map(() => make("p", { class: "gen-says" }));
  const aloud = make("div", { class: "gen-hidden", "aria-live": "polite" });
  const select = (title, options, changed) => {
    const element = make("select", {}, ...options.map(([value, name]) => make("option", { value }, name)));
    element.addEventListener("change", () => changed(element.value));
    return { row: make("label", {}, title, element), element };
  };
  const kind = select(
    "p(t)",
    SCHEDULES.map((name) => [name, name]),
    then(choose),
  );
  const which = select(
    "picture",
    labels.map((name, k) => [k, name]),
    then((k) => set({ picture: Number(k) })),
  );
  const middle = slider({ name: "m", min: MEANS[0], max: MEANS[1], step: 0.01, value: now.m, says: signed }, (m) =>
    set({ m }),
  );
  const spread = slider({ name: "s", min: -1, max: 2, step: 0.01, value: now.s, says: signed }, (s) => set({ s }));
  const moved = slider(
    {
      name: "shift α, of p(t) and steps",
      min: 0,
      max: OCTAVES,
      step: 1 / PER,
      value: 0,
      says: (v) => (2 ** v).toFixed(2),
    },
    (v) => set({ alpha: 2 ** v }),
  );
  const count = slider({ name: "steps T", min: 1, max: 50, step: 1, value: now.steps, says: (v) => `${v}` }, (steps) =>
    set({ steps }),
  );
  for (const { input } of [middle, spread, moved, count]) input.addEventListener("change", told);
  moved.row.style.flexBasis = "100%";
  for (const { row } of [middle, spread]) {
    Object.assign(row.style, { flexBasis: "150px", minWidth: 0 });
    row.querySelector("output").style.minWidth = "2.6em";
  }
  const own = checkbox(
    "shift t for resolution",
    now.shifted,
    then((shifted) => set({ shifted })),
  );
  const key = (color, ...words) => {
    const one = make("span", {}, ...words);
    one.style.setProperty("--of", color);
    return one;
  };
  const part = (title, keys, ...inside) =>
    make("figure", {}, make("figcaption", { class: "gen-legend" }, make("b", {}, title), ...keys), ...inside);
  const bar = (...controls) => make("div", { class: "gen-bar" }, ...controls);
  const two = (first, second) => {
    second.style.flex = "1 1 340px";
    return make("div", { class: "gen-two", style: "margin-bottom:14px" }, first, second);
  };
  const tenths = `linear-gradient(90deg, ${COLORS.data}, #ccc, ${COLORS.noise})`;
  const keys = [
    key("var(--gen-ink)", "p(t)"),
    key(tenths, "examples, by tenths of t"),
    key(COLORS.exact, "irreducible loss"),
  ];
  stage.root.append(
    two(
      part("Which t to train on", keys, main.box, bar(kind.row, middle.row, spread.row, moved.row), about),
      part(
        "How much of a picture survives",
        [key("var(--gen-ink)", "at quantiles of p(t)")],
        sheet.box,
        bar(which.row, own.row),
        seen,
      ),
    ),
    two(
      part("Where to step", [], rails.box, bar(count.row), stepping),
      part("How far Euler’s paths end from the exact ones", [], errors.box, walked),
    ),
    bar(
      make("button", { type: "button", click: then(again) }, "Again"),
      stage.linkButton(() => now),
    ),
    make(
      "p",
      { class: "gen-keys" },
      "Drag p(t): sideways for m (for α where p(t) has no m), up and down for s. Keys, with the first picture " +
        "chosen: arrows do the same (with shift, further); u, l and w choose the schedule, r shifts the rows, 0 begins again.",
    ),
    aloud,
  );

  // --- the pointer and the keys -------------------------------------------------------------------

  const near = (event) => {
    const [t, y] = main.under(event);
    const [x, top] = handle(main, now);
    return Math.hypot(main.x(t) - x, y - top) < GRASP;
  };
  const under = (event) => {
    const [t, y] = main.under(event);
    return [t, ((main.floor - y) / (main.floor - edges.top)) * TOP];
  };
  draggable(main.canvas, { near, put: (event) => put(under(event)), done: told });
  main.canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [along, up] = [
      { ArrowLeft: -1, ArrowRight: 1 },
      { ArrowDown: -1, ArrowUp: 1 },
    ].map((ways) => ways[event.key]);
    const schedule = { u: "uniform", l: "logit-normal", w: "mode-weighted" }[event.key];
    const many = event.shiftKey ? 5 : 1;
    if (along) sideways(along * many);
    else if (up) higher(0.05 * up * many);
    else if (schedule) choose(schedule);
    else if (event.key === "r") set({ shifted: !now.shifted });
    else if (event.key === "0") again();
    else return;
    event.preventDefault();
    told();
  });

  // --- errors -------------------------------------------------------------------------------------

  // With data c times as large and the same noise, Euler's paths are those of the data themselves
  // with levels shifted by 1 / c, c times as large. So one function of T and alpha tells it all.
  const scales = SIZES.map((size) => size / SIZES[0]);
  const reach = Math.log2(scales.at(-1));
  const grid = Array.from({ length: PER * (reach + OCTAVES) + 1 }, (_, k) => 2 ** (k / PER - reach));
  const walks = new Errors(stage.get("mixture"), halves(stage.get("noise")));
  const error = (alpha) => walks.at(now.steps, alpha);
  const missing = () => grid.filter((alpha) => !walks.has(now.steps, alpha));

  /** The curves, a few points a frame. */
  const clock = new Clock(stage, () => {
    const end = performance.now() + BUDGET;
    const left = missing();
    while (left.length && performance.now() < end) error(left.shift());
    compare();
    return left.length > 0;
  });

  // --- what is seen and said ----------------------------------------------------------------------

  function train() {
    drawLevels(main, now, loss);
    const mean = average(now, (t) => t);
    const often = share(now, loss.hard);
    const [expected, even] = [now, UNIFORM].map((p) => average(p, difficulty));
    Object.assign(about.dataset, { mean, hard: often, loss: expected });
    const alike = now.schedule === "logit-normal" && now.alpha > 1;
    about.replaceChildren(
      alike ? `Shifted, it is logit-normal with m + ln α = ${signed(now.m + Math.log(now.alpha))}. ` : "",
      `Half of all t are below ${median(now)[0].toFixed(2)}; their mean is ${mean.toFixed(2)}. `,
      make("b", {}, `${percent(often)} of examples are in the hardest third`),
      ` (uniform t: ${percent(HARD)}). The expected loss `,
      make("b", {}, `∫ p(t) loss(t) dt = ${three(expected)}`),
      ` (uniform: ${three(even)}): compare nets under one p(t) only.`,
    );
  }

  function look() {
    const bytes = pictures.subarray(now.picture * SIDE ** 2, (now.picture + 1) * SIDE ** 2);
    const x = Float64Array.from(bytes, (v) => v / 127.5 - 1);
    const ratios = drawPictures(sheet, now, { x, grains, sigma: deviation(pooled(x, SIDE, SIZES[0])) });
    seen.dataset.ratios = ratios.join(";");
    const [a, b, c] = ratios.map((row) => row[2].toFixed(2));
    seen.replaceChildren(
      "Averaged down to 8 × 8 pixels, signal to noise (S / N) at the median t is ",
      make("b", {}, `${a}, ${b} and ${c}`),
      now.shifted
        ? ": with α = √(m / n) for m pixels in place of n, as much survives in every row."
        : ": at one t, larger pictures keep more, for the mean of k pixels has √k times less noise.",
    );
    const where = `8, 16 and 32 pixels a side; signal to noise at the median t: ${a}, ${b}, ${c}`;
    sheet.canvas.setAttribute("aria-label", `${labels[now.picture]} under noise, ${where}`);
  }

  function step() {
    drawSteps(rails, now);
    const [before, after] = [1, now.alpha].map((alpha) => times(now.steps, alpha).filter((t) => t > 0.5 + 1e-9).length);
    const many = now.steps === 1 ? "of 1 step begins" : `of ${now.steps} steps begin`;
    stepping.replaceChildren(
      make("b", {}, `${after} ${many} above t = ½`),
      ` (even: ${before}). They walk in the plane along the exact field. Points 2 and 4 times as far ` +
        "apart stand for 16 × 16 and 32 × 32 pixels, where the mean of a block has 2 and 4 times less noise.",
    );
    const how = `even and shifted by ${now.alpha.toFixed(2)}: ${after} begin above one half`;
    rails.canvas.setAttribute("aria-label", `Levels of ${now.steps} steps, ${how}`);
  }

  function compare() {
    const [even, present] = [1, now.alpha].map((alpha) => scales.map((c) => error(alpha / c)));
    const left = missing();
    const done = grid.filter((alpha) => !(alpha >= left[0]));
    const least = !left.length && now.steps > 1 ? done.reduce((a, b) => (error(b) < error(a) ? b : a)) : 0;
    const known = [...even, ...present, error(2 ** OCTAVES), ...done.map(error)];
    const curveOf = (c) =>
      done.map((alpha) => [c * alpha, error(alpha)]).filter(([alpha]) => alpha > 0.999 && alpha < 8.001);
    const names = scales.map((c) => clamp(c * (least || 1.3), 1, 2 ** OCTAVES));
    drawErrors(errors, now.alpha, {
      curves: scales.map(curveOf),
      present,
      names: names.map((alpha, i) => [alpha, error(alpha / scales[i])]),
      range: [Math.min(...known), Math.max(...known)],
    });
    Object.assign(walked.dataset, { even, shifted: present, least });
    const both = (i) => make("b", {}, `${three(even[i])} → ${three(present[i])}`);
    walked.replaceChildren(
      `Mean distance after ${now.steps} ${now.steps === 1 ? "step" : "steps"}, even → shifted: `,
      ...SIZES.flatMap((size, i) => [
        make("span", { style: "white-space:nowrap" }, `${named(size)}: `, both(i)),
        i < 2 ? ", " : ". ",
      ]),
      least ? `Least at α = ${scales.map((c) => (least * c).toFixed(1)).join(", ")}: it grows with √(m / n).` : "",
      now.steps === 1 ? "A single step is the same for every α." : "",
    );
    const said = `at ${now.alpha.toFixed(2)}: ${present.map(three).join(", ")}`;
    errors.canvas.setAttribute("aria-label", `Errors of Euler’s paths against α, ${said}`);
  }

  function draw() {
    train();
    look();
    step();
    compare();
    if (missing().length) clock.start();
  }

  function show() {
    tidy();
    const [min, max] = SPREADS[now.schedule];
    Object.assign(spread.input, { min, max, disabled: now.schedule === "uniform" });
    middle.input.disabled = now.schedule !== "logit-normal";
    kind.element.value = now.schedule;
    which.element.value = now.picture;
    middle.show(now.m);
    spread.show(now.s);
    moved.show(Math.log2(now.alpha));
    count.show(now.steps);
    own.input.checked = now.shifted;
    draw();
  }

  stage.hear(SETTING, () => set(Object.fromEntries(SETTING.map((key) => [key, stage.get(key)]))));
  show();
  stage.watch(draw);
  stage.root.dataset.ready = "1";
  return stage.close();
}

export default { render };
