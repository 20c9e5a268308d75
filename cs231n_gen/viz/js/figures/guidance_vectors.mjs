// GuidanceVectors: from an x_t that can be dragged, where v_∅, v_y and v_cfg point, and the paths of
// one noise at several w; beside them, what guidance makes of p(x | y). Everything is computed here.

import { halves } from "../math/codec.mjs";
import { chanceOf, noiseOf, ofClass, passes, pathFrom, pointsAt, spreadOf, velocitiesOf } from "../math/guidance.mjs";
import { bar, key, panel, symbol, textOf } from "../ui/captions.mjs";
import { byArrows, Clock, checkbox, draggable, Player, select, slider, timeSlider } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { signed } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { Plane } from "../ui/plane.mjs";
import { drawData, drawSight, drawSpreads, shade } from "./guidance_vectors_draw.mjs";
import { GuidedSamples } from "./guidance_vectors_samples.mjs";
import { plain, sayHere, saySamples } from "./guidance_vectors_words.mjs";

const SECONDS = 4; // from noise to data
const BUDGET = 10; // milliseconds of a frame for the crowd
const SETTING = ["t", "z", "begin", "y", "w", "steps", "crowd", "chances"];

const within = (low, high, v) => Math.min(high, Math.max(low, v));

class GuidanceVectorsFigure extends Figure {
  constructor(host) {
    super(host, "guidance", SETTING);
    const { stage } = this;
    for (const name of ["mixture", "classes", "names"]) this[name] = stage.get(name);
    const of = (what) => new Map(this.classes.map((label) => [label, what(label)]));
    this.fields = of((label) => velocitiesOf(this.mixture, label));
    this.chances = of((label) => chanceOf(this.mixture, label));
    this.exact = of((label) => spreadOf(ofClass(this.mixture, label)));
    this.groups = this.data();
    this.noise = halves(stage.get("noise"));
    this.crowd = new GuidedSamples(this.noise, this.fields, this.chances);
    this.owed = false; // a sentence, once the samples are there
    this.clock = new Clock(stage, (seconds) => this.tick(seconds));
    this.tidy();
    this.build();
  }

  /** Points of the data, by their classes. */
  data() {
    const numbers = halves(this.stage.get("data"));
    let end = 0;
    return this.classes.map((label, k) => {
      const begin = end;
      end += 2 * this.stage.get("counts")[k];
      return { label, xy: numbers.subarray(begin, end) };
    });
  }

  tidy() {
    const { classes, now } = this;
    now.t = within(0, 1, now.t);
    now.begin = within(now.t, 1, now.begin);
    now.w = within(-1, 8, now.w);
    now.steps = within(1, 50, Math.round(now.steps));
    now.z = now.z.map((v) => within(-9, 9, v));
    if (!classes.includes(now.y)) now.y = classes[0];
  }

  guided(w) {
    return this.fields.get(this.now.y).guided(w);
  }

  path(w) {
    const { begin, steps, z } = this.now;
    return pathFrom(this.guided(w), z, begin, steps);
  }

  /** Where x_t is. */
  here() {
    return passes(this.path(this.now.w), this.now.begin, this.now.t);
  }

  named(label = this.now.y) {
    return this.names[this.classes.indexOf(label)];
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.planes();
    this.controls();
    stage.root.append(
      make(
        "div",
        { class: "gen-panels" },
        panel("Where the velocities point", COLORS.exact, this.legend, this.sight.box, this.says),
        panel("What is sampled, t = 0", COLORS.learned, this.beside, this.samples.box, this.sampled),
      ),
      bar(
        this.player.button,
        this.time.row,
        this.label.row,
        stage.linkButton(() => this.now),
      ),
      bar(this.weight.row, this.steps.row, ...Object.values(this.boxes).map((box) => box.row)),
      make(
        "p",
        { class: "gen-keys" },
        "Drag the ringed point at any level. Keys, with the left picture chosen: arrows move it, + and − change w, " +
          "space plays, comma and full stop go a step back and on, Home and End to noise and data.",
      ),
      this.aloud,
    );
    this.listen(this.sight.canvas);
  }

  planes() {
    const { stage } = this;
    const extent = stage.get("extent");
    this.sight = new Plane(stage, extent, {
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys move the point.`,
      "aria-roledescription": "figure with a point to drag",
    });
    this.samples = new Plane(stage, extent, { role: "img" });
    this.legend = make("div", { class: "gen-legend" });
    this.beside = make("div", { class: "gen-legend" });
    this.says = make("div", { class: "gen-says" });
    this.sampled = make("div", { class: "gen-says" });
    this.says.style.minHeight = "8.7em"; // six lines: what is below stays where it is
  }

  controls() {
    const { now, stage } = this;
    this.player = new Player(stage, this.clock, {
      step: () => {
        this.to(now.t <= 0 ? 1 : now.t - 0.1);
        this.told();
      },
      start: () => now.t <= 0 && this.to(1),
      paused: () => this.told(),
    });
    this.time = timeSlider(now.t, [0, 1], (t) => {
      this.player.pause();
      this.to(t);
    });
    this.weight = slider(
      { name: "guidance", min: -1, max: 8, step: 0.1, value: now.w, says: (w) => `w = ${signed(w, 1)}` },
      (w) => this.change({ w }),
    );
    this.steps = slider(
      { name: "steps", min: 1, max: 50, step: 1, value: now.steps, says: (T) => `T = ${T}` },
      (steps) => this.change({ steps }),
    );
    for (const { input } of [this.time, this.weight, this.steps]) input.addEventListener("change", () => this.told());
    const labels = this.classes.map((label) => [label, this.named(label)]);
    this.label = select("y", labels, (y) => this.set({ y: Number(y) }));
    this.boxes = {
      crowd: checkbox("crowd", now.crowd, (crowd) => this.set({ crowd })),
      chances: checkbox("p(y | x_t)", now.chances, (chances) => this.set({ chances })),
    };
    this.boxes.chances.row.lastChild.replaceWith(make("span", {}, "p(y | x", make("sub", {}, "t"), ")"));
  }

  show() {
    const { now } = this;
    this.time.show(-now.t);
    this.weight.show(now.w);
    this.steps.show(now.steps);
    this.label.input.value = now.y;
    for (const [name, box] of Object.entries(this.boxes)) box.input.checked = now[name];
    const v = (which) => symbol("v", which);
    this.legend.replaceChildren(
      key("var(--gen-faint)", ...v("∅"), ": all data"),
      key(COLORS.exact, ...v("y"), `: ${this.named()}`),
      key(COLORS.learned, ...v("cfg"), " = (1 + w) ", ...v("y"), " − w ", ...v("∅")),
    );
    this.beside.replaceChildren(
      key(COLORS.data, `data of ${this.named()}`),
      key("var(--gen-faint)", "other data"),
      key(COLORS.learned, "samples"),
    );
  }

  // --- what the reader does -----------------------------------------------------------------------

  listen(canvas) {
    draggable(canvas, {
      near: (touch) => this.sight.near(touch, this.here()),
      put: (event) => this.put(this.sight.under(event)),
      done: () => this.told(),
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const { now } = this;
      const next = byArrows(event, this.here());
      if (next) this.put(next);
      else if (event.key === " ") this.player.toggle();
      else if (event.key === ",") this.to(now.t + 1 / now.steps);
      else if (event.key === ".") this.to(now.t - 1 / now.steps);
      else if (event.key === "Home") this.to(1);
      else if (event.key === "End") this.to(0);
      else if (event.key === "+") this.change({ w: (Math.round(10 * now.w) + 1) / 10 });
      else if (event.key === "-") this.change({ w: (Math.round(10 * now.w) - 1) / 10 });
      else return;
      event.preventDefault();
      this.told();
    });
  }

  /** Put x_t somewhere: paths begin at the noise that leads there, or there, if none does. */
  put(place) {
    const { extent } = this.sight;
    const x_t = place.map((v) => within(-extent, extent, v));
    const z = noiseOf(this.guided(this.now.w), x_t, this.now.t, this.now.steps);
    Object.assign(this.now, z ? { z, begin: 1 } : { z: x_t, begin: this.now.t });
    this.draw();
  }

  /** Go to a level: x_t follows its path, as far as there is one. */
  to(t) {
    const { now } = this;
    now.t = Math.abs(t) < 1e-9 ? 0 : within(0, 1, t);
    this.time.show(-now.t);
    if (now.t > now.begin) this.put(now.z);
    this.draw(true);
  }

  /** Another class or weight: x_t stays where it is while arrows start from it, else its noise. */
  change(values) {
    const x_t = this.here();
    Object.assign(this.now, values);
    this.tidy();
    if (("w" in values || "y" in values) && this.now.t > 0) this.put(x_t);
    this.show();
    this.draw(true);
  }

  heard() {
    Object.assign(this.now, this.given());
    this.tidy();
    this.show();
    this.draw(true);
  }

  /** A frame of the clock: what plays goes on, else the samples catch up. */
  tick(seconds) {
    if (this.player.playing) {
      this.to(this.now.t - seconds / SECONDS);
      if (this.now.t <= 0) this.player.pause();
    } else this.draw(true);
    return this.player.playing || !this.crowd.fits(this.now);
  }

  /** One message to Python at the end of a move, and one sentence to who listens. */
  told() {
    this.stage.tell(this.now);
    this.owed = true;
    this.speak();
  }

  /** Say it once the samples are there. */
  speak() {
    if (!this.owed || !this.crowd.fits(this.now)) return;
    this.owed = false;
    this.aloud.textContent = `t = ${this.now.t.toFixed(2)}. ${textOf(this.says)} ${textOf(this.sampled)}`;
  }

  // --- what is drawn and said ---------------------------------------------------------------------

  draw(behind = false) {
    const more = this.crowd.work(this.now, performance.now() + BUDGET);
    const [resized, other] = [this.sight.fit(), this.samples.fit()];
    if (behind || resized || more) this.drawBehind();
    if (behind || other || more) this.drawSamples();
    this.drawFront();
    if (!this.crowd.fits(this.now)) this.clock.start();
    this.speak();
  }

  drawBehind() {
    const { crowd, now, sight } = this;
    const pen = sight.layer(sight.back);
    if (now.chances) shade(sight, pen, this.chances.get(now.y), now.t);
    sight.axes(pen);
    drawData(sight, pen, this.groups, now.y, 2);
    if (now.crowd && crowd.ready) sight.points(pen, crowd.ready.crowd.at(now.t), COLORS.learned, 3, 0.45);
  }

  /** Three velocities, paths of three w, and where all of them lead. */
  drawFront() {
    const { now, sight } = this;
    const x_t = this.here();
    const [tips, paths] = [this.tips(x_t), this.paths()];
    drawSight(sight, sight.layer(sight.canvas), { ...now, x_t, tips, paths });
    const p = this.chances.get(now.y)(...x_t, now.t);
    sayHere(this.says, { ...now, x_t, tips, paths, p, name: this.named() });
  }

  /** Where the velocities point from x_t, each with its name where it differs from v_cfg. */
  tips(x_t) {
    const { now, stage } = this;
    const { all, given, guided } = this.fields.get(now.y);
    const tip = (field, text, color) => ({ at: pointsAt(field, x_t, now.t), text, color });
    const same = { 0: "v_y = v_cfg", [-1]: "v_∅ = v_cfg" }[now.w];
    return [
      tip(all, same && now.w ? "" : "v_∅", stage.theme.faint),
      tip(given, now.w ? "v_y" : "", COLORS.exact),
      tip(guided(now.w), same ?? "v_cfg", COLORS.learned),
    ];
  }

  /** Paths of the same noise at w = 0, 1 and the present one, which comes last. */
  paths() {
    const { now } = this;
    const weights = [...new Set([0, 1, now.w])].sort((a, b) => a - b);
    const paths = weights.map((w) => {
      const path = this.path(w);
      const n = path.length / 2 - 1;
      const k = Math.floor((now.begin > 0 ? 1 - now.t / now.begin : 0) * n + 1e-9);
      return { w, path, text: `w = ${plain(w)}`, chosen: w === now.w, past: path.slice(0, 2 * k + 2) };
    });
    return paths.sort((a, b) => a.chosen - b.chosen);
  }

  drawSamples() {
    const { crowd, groups, now, samples } = this;
    const pen = samples.layer(samples.back);
    samples.axes(pen);
    drawData(samples, pen, groups, now.y, 2.5);
    const front = samples.layer(samples.canvas);
    const data = this.exact.get(now.y);
    const spreads = [{ ...data, color: COLORS.data, text: `data ${data.spread.toFixed(2)}` }];
    const { ready } = crowd;
    if (ready && ready.y === now.y) {
      samples.points(pen, ready.crowd.at(0), COLORS.learned, 4, 0.75);
      spreads.unshift({ ...ready, color: COLORS.learned, text: `samples ${ready.spread.toFixed(2)}` });
      const sure = crowd.sure(groups[this.classes.indexOf(now.y)].xy, now.y);
      saySamples(this.sampled, ready, { ...data, sure, name: this.named() }, this.noise.length / 2);
    }
    drawSpreads(samples, front, spreads);
    samples.canvas.setAttribute("aria-label", `Samples and data of ${this.named()}. ${textOf(this.sampled)}`);
  }
}

const render = (host) => new GuidanceVectorsFigure(host).begin();

export default { render };
