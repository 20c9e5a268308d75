// ProcessLab: how noise replaces data, as a curve in the plane of a and b; the densities on the way, exact
// and sampled paths through them, and all of it divided by a. Everything is computed here.

import { normalQuantile, normals } from "../math/normal.mjs";
import {
  apart,
  CURVES,
  distanceOfDraws,
  ExactPaths,
  levelOf,
  levelsOf,
  MIDDLES,
  MOST_STEPS,
  marginal,
  noiseToSignal,
  processOf,
  quantileOf,
  walkAlong,
} from "../math/processes.mjs";
import { bar, captioned, key, textOf } from "../ui/captions.mjs";
import { Chart } from "../ui/chart.mjs";
import { button, byArrows, Clock, draggable, Player, select, slider, timeSlider } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { COLORS } from "../ui/palette.mjs";
import { GRASP } from "../ui/plane.mjs";
import { drawMarginals, drawPlane, placer } from "./process_lab_draw.mjs";
import { View } from "./process_lab_view.mjs";
import { sayLevel, sayPaths } from "./process_lab_words.mjs";

const SETTING = ["curve", "middle", "t", "divided", "eta", "steps", "spacing"];
const NAMES = ["rectified flow", "cosine", "DDPM’s linear β", "variance exploding", "your own"];
const SPACINGS = [
  ["log", "log(b / a)"],
  ["t", "t"],
];
const CROWD = 500; // samples
const SHOWN = 9; // of them, as paths
const SECONDS = 5; // from noise to data
const MORPH = 0.9; // seconds until it is divided by a

const within = (low, high, v) => Math.min(high, Math.max(low, v));
const shares = Array.from({ length: CROWD }, (_, i) => (i + 0.5) / CROWD);
const ZS = shares.map((q) => normalQuantile(q));
const shown = Array.from({ length: SHOWN }, (_, i) => Math.floor(((i + 0.5) / SHOWN) * CROWD));

class ProcessLabFigure extends Figure {
  constructor(host) {
    super(host, "processes", SETTING);
    const { stage } = this;
    const [weights, means, stds] = stage.get("mixture");
    this.mixture = { weights, means, stds };
    this.exact = new ExactPaths(
      this.mixture,
      shown.map((n) => shares[n]),
    );
    this.noise = normals(stage.get("seed"), CROWD * MOST_STEPS);
    this.known = new Map(); // exact samples at places that were asked for
    this.tidy();
    this.part = Number(this.now.divided); // of the way to the picture divided by a
    this.clock = new Clock(stage, (seconds) => this.tick(seconds));
    this.build();
    this.listen();
  }

  tidy() {
    const { now } = this;
    if (!CURVES.includes(now.curve)) now.curve = CURVES[0];
    if (!SPACINGS.some(([value]) => value === now.spacing)) now.spacing = SPACINGS[0][0];
    now.middle = now.middle.map((v) => within(...MIDDLES, v));
    now.t = within(0, 1, now.t);
    now.eta = within(0, 1, now.eta);
    now.steps = Math.round(within(1, MOST_STEPS, now.steps));
  }

  get process() {
    return processOf(this.now.curve, this.now.middle);
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.charts();
    this.controls();
    const plane = captioned([make("b", {}, "How much data, how much noise")], this.plane.box, this.says.level);
    const keys = [
      make("b", {}, "What becomes of the data"),
      key(
        `linear-gradient(90deg, ${COLORS.noise}, ${COLORS.middle}, ${COLORS.data})`,
        "p(x",
        make("sub", {}, "t"),
        ")",
      ),
      key("var(--gen-ink)", "ODE, exact"),
      key(COLORS.learned, "sampled"),
    ];
    const picture = captioned(keys, this.picture.box, this.says.paths);
    Object.assign(plane.style, { flex: "1 1 270px" });
    Object.assign(picture.style, { flex: "2 1 440px" });
    stage.root.append(
      bar(...this.curves, this.divide),
      make("div", { class: "gen-two", style: "margin-top:8px" }, plane, picture),
      bar(
        this.player.button,
        this.time.row,
        button("Again", () => this.again()),
        stage.linkButton(() => this.now),
      ),
      bar(this.eta.row, this.steps.row, this.spacing.row),
      make(
        "p",
        { class: "gen-keys" },
        "Drag the ring to bend a curve of your own, or the line at t. Keys, with the plane chosen: arrows bend the " +
          "curve (with shift, further), 1 to 5 choose one, d divides by a, + and − change η, space plays, comma and " +
          "full stop go a step back and on, Home and End to noise and data, 0 begins again.",
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
      "aria-label": `${stage.get("alt")}. Arrow keys bend the curve.`,
      "aria-roledescription": "figure with a curve to drag",
    };
    this.plane = new Chart(stage, attributes, { left: 22, right: 6, top: 10, bottom: 34 });
    this.picture = new Chart(stage, { class: "gen-drag", role: "img" }, { left: 34, right: 84, top: 26, bottom: 40 });
    this.says = {
      level: make("p", { class: "gen-says" }),
      paths: make("div", { class: "gen-says", style: "min-height:5.9em" }),
    };
  }

  controls() {
    const { now, stage } = this;
    this.curves = CURVES.map((curve, k) => {
      return button(NAMES[k], () => {
        this.choose(curve);
        this.told();
      });
    });
    this.divide = button("Divide by a", () => this.toggle());
    this.divide.style.marginLeft = "auto";
    this.player = new Player(stage, this.clock, {
      step: () => {
        const u = this.view().across(now.t);
        this.to(this.view().level(u > 1 - 1e-6 ? 0 : u + 0.1));
        this.told();
      },
      start: () => this.view().across(now.t) > 1 - 1e-6 && this.to(this.view().level(0)),
      paused: () => this.told(),
    });
    this.time = timeSlider(now.t, [0, 1], (t) => {
      this.player.pause();
      this.to(t);
    });
    this.eta = slider({ name: "η", min: 0, max: 1, step: 0.01, value: now.eta, says: (v) => v.toFixed(2) }, (eta) =>
      this.change({ eta }),
    );
    this.steps = slider(
      { name: "steps", min: 1, max: MOST_STEPS, step: 1, value: now.steps, says: (T) => `T = ${T}` },
      (steps) => this.change({ steps }),
    );
    for (const { input } of [this.time, this.eta, this.steps]) input.addEventListener("change", () => this.told());
    this.spacing = select("steps even in", SPACINGS, (spacing) => this.set({ spacing }));
  }

  show() {
    const { now } = this;
    this.time.show(-now.t);
    this.eta.show(now.eta);
    this.steps.show(now.steps);
    this.spacing.input.value = now.spacing;
    this.curves.forEach((one, k) => one.setAttribute("aria-pressed", CURVES[k] === now.curve));
    this.divide.setAttribute("aria-pressed", now.divided);
  }

  // --- what the reader does -----------------------------------------------------------------------

  listen() {
    const { plane, picture } = this;
    const far = (event, [x, y]) => {
      const [a, down] = plane.under(event);
      return Math.hypot(plane.x(a) - x, down - y);
    };
    draggable(plane.canvas, {
      near: (event) => far(event, placer(plane).px(this.handle())) < GRASP,
      put: (event) => {
        const [a, y] = plane.under(event);
        this.bend([a, placer(plane).b(y)]);
      },
      done: () => this.told(),
    });
    draggable(picture.canvas, {
      near: (event) => {
        const line = picture.x(this.view().across(this.now.t));
        return Math.abs(picture.x(picture.under(event)[0]) - line) < GRASP;
      },
      put: (event) => {
        this.player.pause();
        this.to(this.view().level(within(0, 1, picture.under(event)[0])));
      },
      done: () => this.told(),
    });
    plane.canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.press(event)) return;
      event.preventDefault();
      this.told();
    });
  }

  /** Do what a key is for; tells whether it is for anything. */
  press(event) {
    const { now } = this;
    const to = byArrows(
      event,
      this.handle().map((v) => 2 * v),
    );
    const stops = levelsOf(this.process, now.steps, now.spacing);
    if (to) this.bend(to.map((v) => v / 2));
    else if (CURVES[Number(event.key) - 1]) this.choose(CURVES[Number(event.key) - 1]);
    else if (event.key === "d") this.toggle();
    else if (event.key === "+") this.change({ eta: (Math.round(10 * now.eta) + 1) / 10 });
    else if (event.key === "-") this.change({ eta: (Math.round(10 * now.eta) - 1) / 10 });
    else if (event.key === " ") this.player.toggle();
    else if (event.key === ",") this.to(stops.findLast((t) => t > now.t + 1e-9) ?? 1);
    else if (event.key === ".") this.to(stops.find((t) => t < now.t - 1e-9) ?? 0);
    else if (event.key === "Home") this.to(1);
    else if (event.key === "End") this.to(0);
    else if (event.key === "0") this.restart();
    else return false;
    return true;
  }

  /** Where the curve is held: its place at t = ½. */
  handle() {
    return this.process(0.5);
  }

  /** A curve of the reader's own through a place. */
  bend(middle) {
    this.swap({ curve: "own", middle });
  }

  choose(curve) {
    this.swap({ curve });
  }

  /** Another curve: what is divided by a stays at its b / a, else at its t. */
  swap(values) {
    const sigma = noiseToSignal(this.process(this.now.t));
    Object.assign(this.now, values);
    this.tidy();
    this.change(this.now.divided ? { t: levelOf(this.process, sigma) } : {});
  }

  to(t) {
    this.change({ t: Math.abs(t) < 1e-9 ? 0 : t });
  }

  toggle() {
    this.set({ divided: !this.now.divided });
  }

  restart() {
    this.player.pause();
    this.change(structuredClone(this.stage.get("start")));
  }

  again() {
    this.restart();
    this.told();
  }

  /** A frame: the picture goes on to where it is divided, or back, and what plays goes on. */
  tick(seconds) {
    const goal = Number(this.now.divided);
    const way = Math.sign(goal - this.part);
    this.part = within(0, 1, this.part + (way * seconds) / MORPH);
    if (this.player.playing) {
      const u = this.view().across(this.now.t) + seconds / SECONDS;
      this.to(this.view().level(Math.min(1, u)));
      if (u >= 1) this.player.pause();
    } else this.draw();
    return this.player.playing || this.part !== goal;
  }

  told() {
    this.stage.tell(this.now);
    this.aloud.textContent = `${this.says.level.textContent} ${textOf(this.says.paths)}`;
  }

  // --- what is computed ---------------------------------------------------------------------------

  /** Exact samples of x_t at a place, from the lowest; those of one b / a are computed once. */
  samplesAt([a, b]) {
    const noise = a < 1e-9;
    const name = noise ? "noise" : (b / a).toPrecision(9);
    if (this.known.size > 50) this.known.clear();
    if (!this.known.has(name)) {
      const p = marginal(this.mixture, noise ? [0, 1] : [1, b / a]);
      this.known.set(
        name,
        shares.map((q, i) => quantileOf(p, q, ZS[i])),
      );
    }
    return this.known.get(name).map((x) => (noise ? b : a) * x);
  }

  /** The window, kept until the curve changes or the picture moves: slow at both ends. */
  view() {
    const { curve, middle } = this.now;
    const asked = JSON.stringify([curve, middle, this.part]);
    if (this.seen?.asked !== asked) {
      const view = new View(this.mixture, this.process, this.part ** 2 * (3 - 2 * this.part));
      this.seen = { asked, view, shading: view.shading() };
    }
    return this.seen.view;
  }

  /** What the steps make of the noise; kept until something else is asked for. */
  walked() {
    const { curve, middle, eta, steps, spacing } = this.now;
    const asked = JSON.stringify([curve, middle, eta, steps, spacing]);
    if (this.walks?.asked === asked) return this.walks;
    const ts = levelsOf(this.process, steps, spacing);
    const places = ts.map(this.process);
    const walk = walkAlong(this.mixture, places, this.samplesAt(places[0]), eta, this.noise);
    const last = places.at(-1);
    const ends = walk.at(-1).map((x) => x / last[0]);
    const right = this.samplesAt([1, noiseToSignal(last)]);
    this.draws ??= distanceOfDraws(right, this.stage.get("seed") + 1);
    this.walks = { asked, ts, places, walk, last, ends, distance: apart(ends, right), draws: this.draws };
    return this.walks;
  }

  // --- what is seen and said ----------------------------------------------------------------------

  draw() {
    const { exact, mixture, now, plane, picture, process, says } = this;
    if (this.stage.still) this.part = Number(now.divided);
    else if (this.part !== Number(now.divided) && !this.clock.frame) {
      this.clock.last = performance.now();
      this.clock.start();
    }
    const view = this.view();
    const scene = { exact, mixture, now, process, shown, view, part: view.part, ...this.walked() };
    scene.handle = this.handle();
    scene.shading = this.seen.shading;
    drawPlane(plane, (width) => 1.24 * width, scene);
    const beside = picture.box.offsetLeft > plane.box.offsetLeft + 40;
    drawMarginals(picture, (width) => (beside ? plane.height : Math.max(300, 0.8 * width)), scene);
    sayLevel(says.level, scene);
    sayPaths(says.paths, scene);
    picture.canvas.setAttribute(
      "aria-label",
      `Densities and paths of ${NAMES[CURVES.indexOf(now.curve)]}. ${textOf(says.paths)}`,
    );
  }
}

const render = (host) => new ProcessLabFigure(host).begin();

export default { render };
