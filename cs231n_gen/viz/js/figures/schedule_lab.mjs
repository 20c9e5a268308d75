// ScheduleLab: which levels t to train on, what of a picture survives them, and where to step.

import { halves, levels } from "../math/codec.mjs";
import {
  clamp,
  hardest,
  interpolated,
  logit,
  pooled,
  SCHEDULES,
  SIZES,
  SPREADS,
  spreadFor,
} from "../math/schedules.mjs";
import { bar, captioned, key } from "../ui/captions.mjs";
import { Chart } from "../ui/chart.mjs";
import { button, Clock, checkbox, draggable, select, slider } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { signed } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { GRASP } from "../ui/plane.mjs";
import { handle, TOP } from "./schedule_lab_draw.mjs";
import { ErrorCurves, OCTAVES, PER } from "./schedule_lab_errors.mjs";
import { compareErrors, showLevels, showPictures, showSteps } from "./schedule_lab_words.mjs";

const SETTING = ["schedule", "m", "s", "alpha", "steps", "picture", "shifted"];
const SIDE = 32; // pixels of a picture
const USUAL = { "logit-normal": 1, "mode-weighted": 1.29 }; // s, as in SD3
const MEANS = [-2, 2]; // of m
const BUDGET = 6; // milliseconds of a frame for the curves of errors
const NONE = { left: 0, right: 0, top: 0, bottom: 0 };
const EDGES = { left: 34, right: 34, top: 34, bottom: 54 };

const stepped = (octaves) => 2 ** (Math.round(PER * octaves) / PER);

class ScheduleLabFigure extends Figure {
  constructor(host) {
    super(host, "schedules", SETTING);
    const { stage } = this;
    this.labels = stage.get("labels");
    this.loss = this.difficulty();
    this.pictures = levels(stage.get("pictures"));
    const grain = halves(stage.get("grain"));
    this.grains = SIZES.map((size) => pooled(grain, SIDE, size).map((v) => (v * SIDE) / size)); // each is N(0, I)
    this.spreads = { ...USUAL }; // the s that each schedule had last
    this.errors = new ErrorCurves(stage.get("mixture"), halves(stage.get("noise")));
    this.tidy();
    this.build();
    this.listen(this.main.canvas);
    this.clock = new Clock(stage, () => this.tick());
  }

  /** The loss at each level, and where it is highest. */
  difficulty() {
    const [ts, losses] = [this.stage.get("levels"), this.stage.get("difficulty")];
    const at = (t) => interpolated(ts, losses, t);
    return { levels: ts, losses, at, hard: hardest(at) };
  }

  tidy() {
    const { now } = this;
    if (!SCHEDULES.includes(now.schedule)) now.schedule = this.stage.get("start").schedule;
    now.m = clamp(now.m, ...MEANS);
    now.s = clamp(now.s, ...SPREADS[now.schedule]);
    now.alpha = clamp(now.alpha, 1, 2 ** OCTAVES);
    now.steps = Math.round(clamp(now.steps, 1, 50));
    now.picture = Math.round(clamp(now.picture, 0, this.labels.length - 1));
    if (now.schedule in this.spreads) this.spreads[now.schedule] = now.s;
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.charts();
    this.sliders();
    this.choices();
    stage.root.append(
      this.upper(),
      this.lower(),
      bar(
        button("Again", () => this.again()),
        stage.linkButton(() => this.now),
      ),
      make(
        "p",
        { class: "gen-keys" },
        "Drag p(t): sideways for m (for α where p(t) has no m), up and down for s. Keys, with the first picture " +
          "chosen: arrows do the same (with shift, further); u, l and w choose the schedule, r shifts the rows, " +
          "0 begins again.",
      ),
      this.aloud,
    );
  }

  charts() {
    const { stage } = this;
    const attributes = {
      class: "gen-drag",
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys move p(t) and make it higher or lower.`,
      "aria-roledescription": "figure with a density to drag",
    };
    this.main = new Chart(stage, attributes, EDGES);
    this.sheet = new Chart(stage, { role: "img" }, NONE);
    this.rails = new Chart(stage, { role: "img" }, { ...EDGES, bottom: 56 });
    this.curves = new Chart(stage, { role: "img" }, { left: 46, right: 16, top: 18, bottom: 40 });
    const says = () => make("p", { class: "gen-says" });
    this.says = { levels: says(), pictures: says(), steps: says(), errors: says() };
  }

  sliders() {
    const { now } = this;
    const [low, high] = MEANS;
    this.m = slider({ name: "m", min: low, max: high, step: 0.01, value: now.m, says: signed }, (m) =>
      this.change({ m }),
    );
    this.s = slider({ name: "s", min: -1, max: 2, step: 0.01, value: now.s, says: signed }, (s) => this.change({ s }));
    const octaves = { min: 0, max: OCTAVES, step: 1 / PER, value: 0, says: (v) => (2 ** v).toFixed(2) };
    this.alpha = slider({ name: "shift α, of p(t) and steps", ...octaves }, (v) => this.change({ alpha: 2 ** v }));
    this.steps = slider({ name: "steps T", min: 1, max: 50, step: 1, value: now.steps, says: String }, (steps) =>
      this.change({ steps }),
    );
    for (const { input } of [this.m, this.s, this.alpha, this.steps]) {
      input.addEventListener("change", () => this.told());
    }
    this.alpha.row.style.flexBasis = "100%";
    for (const { row } of [this.m, this.s]) {
      Object.assign(row.style, { flexBasis: "150px", minWidth: 0 });
      row.querySelector("output").style.minWidth = "2.6em";
    }
  }

  choices() {
    const schedules = SCHEDULES.map((name) => [name, name]);
    this.schedule = select("p(t)", schedules, (name) => {
      this.choose(name);
      this.told();
    });
    const pictures = this.labels.map((name, k) => [k, name]);
    this.picture = select("picture", pictures, (k) => this.set({ picture: Number(k) }));
    this.shifted = checkbox("shift t for resolution", this.now.shifted, (shifted) => this.set({ shifted }));
  }

  /** Training: the density of levels, and what of a picture is left at them. */
  upper() {
    const { says } = this;
    const tenths = `linear-gradient(90deg, ${COLORS.data}, ${COLORS.middle}, ${COLORS.noise})`;
    const density = [
      key("var(--gen-ink)", "p(t)"),
      key(tenths, "examples, by tenths of t"),
      key(COLORS.exact, "irreducible loss"),
    ];
    const controls = bar(this.schedule.row, this.m.row, this.s.row, this.alpha.row);
    return two(
      part("Which t to train on", density, this.main.box, controls, says.levels),
      part(
        "How much of a picture survives",
        [key("var(--gen-ink)", "at quantiles of p(t)")],
        this.sheet.box,
        bar(this.picture.row, this.shifted.row),
        says.pictures,
      ),
    );
  }

  /** Sampling: where the steps are, and how far they lead astray. */
  lower() {
    const { says } = this;
    return two(
      part("Where to step", [], this.rails.box, bar(this.steps.row), says.steps),
      part("How far Euler’s paths end from the exact ones", [], this.curves.box, says.errors),
    );
  }

  show() {
    const { now } = this;
    const [min, max] = SPREADS[now.schedule];
    Object.assign(this.s.input, { min, max, disabled: now.schedule === "uniform" });
    this.m.input.disabled = now.schedule !== "logit-normal";
    this.schedule.input.value = now.schedule;
    this.picture.input.value = now.picture;
    this.m.show(now.m);
    this.s.show(now.s);
    this.alpha.show(Math.log2(now.alpha));
    this.steps.show(now.steps);
    this.shifted.input.checked = now.shifted;
  }

  // --- what the reader does -----------------------------------------------------------------------

  listen(canvas) {
    const { main } = this;
    const near = (event) => {
      const [t, y] = main.under(event);
      const [x, top] = handle(main, this.now);
      return Math.hypot(main.x(t) - x, y - top) < GRASP;
    };
    const put = (event) => {
      const [t, y] = main.under(event);
      this.put(t, ((main.floor - y) / (main.floor - EDGES.top)) * TOP);
    };
    draggable(canvas, { near, put, done: () => this.told() });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.press(event)) return;
      event.preventDefault();
      this.told();
    });
  }

  /** Do what a key is for; tells whether it is for anything. */
  press(event) {
    const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const up = { ArrowDown: -1, ArrowUp: 1 }[event.key];
    const schedule = { u: "uniform", l: "logit-normal", w: "mode-weighted" }[event.key];
    const many = event.shiftKey ? 5 : 1;
    if (along) this.sideways(along * many);
    else if (up) this.higher(0.05 * up * many);
    else if (schedule) this.choose(schedule);
    else if (event.key === "r") this.change({ shifted: !this.now.shifted });
    else if (event.key === "0") this.restart();
    else return false;
    return true;
  }

  /** Put the median of p(t), and its height there, somewhere. */
  put(t, height) {
    const { now } = this;
    const median = clamp(t, 0.001, 0.999);
    if (now.schedule === "logit-normal") now.m = logit(median) - Math.log(now.alpha);
    else now.alpha = stepped(Math.log2(median / (1 - median)));
    this.tidy();
    this.change(now.schedule === "uniform" ? {} : { s: spreadFor(now, clamp(height, 0.05, TOP)) });
  }

  /** Steps sideways: of m, or of alpha where there is no m. */
  sideways(steps) {
    const { alpha, m, schedule } = this.now;
    this.change(
      schedule === "logit-normal" ? { m: m + 0.1 * steps } : { alpha: stepped(Math.log2(alpha) + steps / PER) },
    );
  }

  /** A higher p(t), by a narrower or a heavier middle. */
  higher(by) {
    this.change({ s: this.now.s + (this.now.schedule === "logit-normal" ? -by : by) });
  }

  choose(schedule) {
    this.change({ schedule, s: this.spreads[schedule] ?? this.now.s });
  }

  restart() {
    Object.assign(this.spreads, USUAL);
    this.change(structuredClone(this.stage.get("start")));
  }

  again() {
    this.restart();
    this.told();
  }

  told() {
    this.stage.tell(this.now);
    this.aloud.textContent = Object.values(this.says)
      .map((one) => one.textContent)
      .join(" ");
  }

  /** A few points of the curves of errors. */
  tick() {
    const end = performance.now() + BUDGET;
    const more = this.errors.work(this.now.steps, () => performance.now() > end);
    compareErrors(this.curves, this.says.errors, this.now, this.errors);
    return more;
  }

  // --- what is seen and said ----------------------------------------------------------------------

  draw() {
    const { errors, now, says } = this;
    showLevels(this.main, says.levels, now, this.loss);
    showPictures(this.sheet, says.pictures, now, this.shown());
    showSteps(this.rails, says.steps, now);
    compareErrors(this.curves, says.errors, now, errors);
    if (errors.missing(now.steps).length) this.clock.start();
  }

  /** The picture that was chosen, and the noise for it. */
  shown() {
    const { picture } = this.now;
    const bytes = this.pictures.subarray(picture * SIDE ** 2, (picture + 1) * SIDE ** 2);
    const x = Float64Array.from(bytes, (v) => v / 127.5 - 1);
    return { x, side: SIDE, name: this.labels[picture], grains: this.grains };
  }
}

const part = (title, keys, ...inside) => captioned([make("b", {}, title), ...keys], ...inside);

/** Two parts side by side. */
function two(first, second) {
  second.style.flex = "1 1 340px";
  return make("div", { class: "gen-two", style: "margin-bottom:14px" }, first, second);
}

const render = (host) => new ScheduleLabFigure(host).begin();

export default { render };
