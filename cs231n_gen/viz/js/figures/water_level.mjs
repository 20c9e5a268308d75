// WaterLevel: the weight of the KL term as water over the spectrum of the data, what an image loses on its
// way through latents, and the latents on their way to noise. Everything is computed here.

import { halves, levels } from "../math/codec.mjs";
import { normals } from "../math/normal.mjs";
import { apartSquared, DataAxes, floodedBy, noisedCode, sumOf, throughCode, timesEach } from "../math/water.mjs";
import { bar, captioned, key } from "../ui/captions.mjs";
import { Chart } from "../ui/chart.mjs";
import { button, Clock, draggable, Player, slider, timeSlider } from "../ui/controls.mjs";
import { make, paint } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { digits, level } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { GRASP } from "../ui/plane.mjs";
import { drawCode, drawNoised, drawWater, heights } from "./water_level_draw.mjs";
import { sayCosts, sayNoised, sayWater } from "./water_level_words.mjs";

const SETTING = ["theta", "t", "image", "seed"];
const SECONDS = 5; // from noise to data
const STEP = 1.06; // of θ by a key
const FAR = 5; // such steps with shift
const HIGHEST = 1.25; // of θ, in units of the largest eigenvalue
const TENTH = 0.1; // of t, for who wants less motion

const bounded = (low, high, v) => Math.min(high, Math.max(low, v));
const greysOf = (picture) => Array.from(picture, (v) => bounded(0, 255, Math.round((v + 1) * 127.5)));

class WaterLevelFigure extends Figure {
  constructor(host) {
    super(host, "water", SETTING);
    const { stage } = this;
    for (const name of ["eigenvalues", "labels", "rest", "shape"]) this[name] = stage.get(name);
    this.axes = new DataAxes(levels(stage.get("eigenvectors")), stage.get("scales"), halves(stage.get("mean")));
    const bytes = levels(stage.get("pictures"));
    const { size } = this.axes;
    this.images = this.labels.map((_, k) => {
      const x = Float64Array.from(bytes.subarray(k * size, (k + 1) * size), (v) => v / 127.5 - 1);
      return { x, coefficients: this.axes.coefficients(x) };
    });
    this.bounds = [this.eigenvalues.at(-1), HIGHEST * this.eigenvalues[0]];
    this.film = { shape: stage.get("strip_shape"), bytes: levels(stage.get("strip")), levels: stage.get("levels") };
    this.tidy();
    this.clock = new Clock(stage, (seconds) => this.tick(seconds));
    this.build();
    this.listen(this.spectrum.canvas);
  }

  tidy() {
    const { now } = this;
    now.theta = bounded(...this.bounds, now.theta);
    now.t = bounded(0, 1, now.t);
    now.image = Math.round(bounded(0, this.images.length - 1, now.image));
    now.seed = Math.round(bounded(0, 9999, now.seed));
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.charts();
    this.controls();
    const root = [
      this.chooser(),
      make("div", { class: "gen-two", style: "margin-top:8px" }, this.water(), this.costs()),
      this.way(),
      bar(
        this.player.button,
        this.time.row,
        button("Again", () => this.again()),
        stage.linkButton(() => this.now),
      ),
      ...this.strip(),
      make(
        "p",
        { class: "gen-keys" },
        "Drag the water. Keys, with the spectrum chosen: up and down move the water (with shift, further), left and " +
          "right drown or save an axis, a number chooses an image, n draws again, space plays, comma and full stop " +
          "go a step back and on, Home and End to noise and data, 0 begins again.",
      ),
      this.aloud,
    ];
    stage.root.append(...root);
  }

  charts() {
    const { stage } = this;
    const attributes = {
      class: "gen-drag",
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys move the water.`,
      "aria-roledescription": "figure with a water level to drag",
    };
    this.spectrum = new Chart(stage, attributes, { left: 40, right: 16, top: 14, bottom: 34 });
    const edges = { left: 24, right: 6, top: 8, bottom: 18 };
    this.code = new Chart(stage, { role: "img" }, edges);
    this.noised = new Chart(stage, { role: "img" }, edges);
    const says = () => make("p", { class: "gen-says" });
    this.says = { water: says(), costs: says(), way: says() };
    this.says.way.style.minHeight = "1.5em";
  }

  controls() {
    const { now, stage } = this;
    const [min, max] = this.bounds.map(Math.log);
    this.theta = slider(
      { name: "water level θ", min, max, step: 0.01, value: Math.log(now.theta), says: (v) => digits(Math.exp(v)) },
      (v) => this.change({ theta: Math.exp(v) }),
    );
    this.player = new Player(stage, this.clock, {
      step: () => this.set({ t: now.t < 1e-6 ? 1 : now.t - TENTH }),
      start: () => now.t <= 0 && this.change({ t: 1 }),
      paused: () => this.told(),
    });
    this.time = timeSlider(now.t, [0, 1], (t) => {
      this.player.pause();
      this.change({ t });
    });
    for (const { input } of [this.theta, this.time]) input.addEventListener("change", () => this.told());
  }

  /** A canvas for a picture of the data. */
  canvas(attributes = { role: "img" }) {
    const [, height, width] = this.shape;
    const style = "display:block;width:100%;image-rendering:pixelated;border-radius:4px";
    return make("canvas", { width, height, style, ...attributes });
  }

  /** Thumbnails of all images. */
  chooser() {
    this.thumbnails = this.images.map(({ x }, k) => {
      const canvas = this.canvas({ "aria-hidden": "true", style: "" });
      paint(canvas, greysOf(x));
      const click = () => this.set({ image: k });
      return make("button", { type: "button", class: "gen-image", click }, canvas, this.labels[k]);
    });
    return make("div", { class: "gen-strip gen-small" }, ...this.thumbnails);
  }

  /** The spectrum under water. */
  water() {
    const keys = [
      make("b", {}, "The spectrum of the data, flooded"),
      key(COLORS.data, "λ, variance of an axis"),
      key(COLORS.sky, "lost: min(λ, θ)"),
    ];
    return captioned(keys, this.spectrum.box, bar(this.theta.row), this.says.water);
  }

  /** The image, the mean of what it may have been, and a sample of that. */
  costs() {
    this.pictures = { x: this.canvas(), xHat: this.canvas(), sample: this.canvas() };
    const names = { x: "x", xHat: "x̂ = E[x | u]", sample: "x′ ~ p(x | u)" };
    const each = Object.entries(names).map(([name, words]) =>
      make("figure", { style: "flex:1 1 84px;margin:0" }, make("figcaption", {}, words), this.pictures[name]),
    );
    const part = captioned(
      [make("b", {}, "What a reconstruction costs")],
      make("div", { style: "display:flex;gap:8px" }, ...each),
      bar(button("Draw again", () => this.set({ seed: this.now.seed + 1 }))),
      this.says.costs,
    );
    part.style.flex = "1 1 300px";
    return part;
  }

  /** Image → latents → noise → image. */
  way() {
    this.ends = { x: this.canvas(), decoded: this.canvas() };
    const cell = (words, inside, flex) =>
      make("figure", { style: `flex:${flex};margin:0;min-width:0` }, make("figcaption", {}, ...words), inside);
    const u = (t) => [make("i", {}, "u"), make("sub", {}, t)];
    const chain = make(
      "div",
      { style: "display:flex;flex-wrap:wrap;gap:6px 12px" },
      cell(["image x"], this.ends.x, "1 1 96px"),
      cell(["→ latents ", ...u("")], this.code.box, "2 1 212px"),
      cell(["→ ", ...u("t"), " = (1 − t) ", ...u(""), " + t z"], this.noised.box, "2 1 212px"),
      cell(["→ decoded"], this.ends.decoded, "1 1 96px"),
    );
    const keys = [
      make("b", {}, "Image → latents → noise → image"),
      key(COLORS.data, "mean of q(u | x)"),
      key("var(--gen-ink)", "u, a draw"),
      key(COLORS.noise, "noise z"),
    ];
    const part = captioned(keys, chain, this.says.way);
    part.style.margin = "8px 0 0";
    return part;
  }

  /** Pictures of another autoencoder along t, if there are any. */
  strip() {
    const { levels: ts, shape } = this.film;
    this.frames = [];
    if (!shape.length) return [];
    const [, , height, width] = shape;
    this.frames = ts.map((t, k) => {
      const canvas = make("canvas", { width, height, "aria-hidden": "true" });
      const click = () => {
        this.player.pause();
        this.set({ t });
      };
      return { k, t, canvas, button: make("button", { type: "button", class: "gen-image", click }, canvas, level(t)) };
    });
    const caption = make("p", { style: "margin:10px 0 4px" }, make("b", {}, "The same way in the trained autoencoder"));
    return [caption, make("div", { class: "gen-strip" }, ...this.frames.map((one) => one.button))];
  }

  show() {
    const { now } = this;
    this.theta.show(Math.log(now.theta));
    this.time.show(-now.t);
    this.thumbnails.forEach((one, k) => one.setAttribute("aria-pressed", k === now.image));
  }

  // --- what the reader does -----------------------------------------------------------------------

  listen(canvas) {
    const { spectrum } = this;
    draggable(canvas, {
      near: (event) => {
        const [, y] = spectrum.under(event);
        return Math.abs(y - heights(spectrum, this.bounds).y(this.now.theta)) < GRASP;
      },
      put: (event) => this.change({ theta: heights(spectrum, this.bounds).variance(spectrum.under(event)[1]) }),
      done: () => this.told(),
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.press(event)) return;
      event.preventDefault();
      this.told();
    });
  }

  /** Do what a key is for; tells whether it is for anything. */
  press(event) {
    const { eigenvalues, now } = this;
    const up = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const number = Number(event.key);
    if (up) this.change({ theta: now.theta * STEP ** (up * (event.shiftKey ? FAR : 1)) });
    else if (event.key === "ArrowLeft") this.change({ theta: eigenvalues.findLast((v) => v > now.theta) ?? now.theta });
    else if (event.key === "ArrowRight") this.change({ theta: this.saved() });
    else if (number >= 1 && number <= this.images.length) this.change({ image: number - 1 });
    else if (event.key === "n") this.change({ seed: now.seed + 1 });
    else if (event.key === " ") this.player.toggle();
    else if (event.key === "," || event.key === ".") this.further(event.key === "." ? -TENTH : TENTH);
    else if (event.key === "Home" || event.key === "End") this.further(event.key === "Home" ? 1 : -1);
    else if (event.key === "0") this.restart();
    else return false;
    return true;
  }

  /** The level at which one more axis is above water, just. */
  saved() {
    const { eigenvalues, now } = this;
    const k = eigenvalues.findIndex((v) => v <= now.theta);
    if (k < 0) return now.theta;
    const below = eigenvalues.slice(k).find((v) => v < eigenvalues[k]);
    return below ?? eigenvalues.at(-1);
  }

  further(by) {
    this.player.pause();
    this.change({ t: Math.round(100 * (this.now.t + by)) / 100 });
  }

  restart() {
    this.player.pause();
    this.change(structuredClone(this.stage.get("start")));
  }

  again() {
    this.restart();
    this.told();
  }

  tick(seconds) {
    if (!this.player.playing) return false;
    this.change({ t: this.now.t - seconds / SECONDS });
    if (this.now.t <= 0) this.player.pause();
    return this.player.playing;
  }

  told() {
    this.stage.tell(this.now);
    this.aloud.textContent = Object.values(this.says)
      .map((one) => one.textContent)
      .join(" ");
  }

  // --- what is computed ---------------------------------------------------------------------------

  /** All of it at this setting. */
  scene() {
    const { axes, eigenvalues, images, now, rest } = this;
    const { count, size } = axes;
    if (this.noise?.seed !== now.seed) {
      this.noise = { seed: now.seed, drawn: normals(now.seed, 3 * count + size) };
    }
    const { drawn } = this.noise;
    const { x, coefficients } = images[now.image];
    const vae = floodedBy(now.theta, eigenvalues);
    const made = throughCode(vae, axes, coefficients, rest, drawn);
    const z = drawn.subarray(2 * count + size);
    const uT = noisedCode(made.u, z, now.t);
    return {
      ...{ now, eigenvalues, vae, x, uT, z, ...made },
      mse: sumOf(vae.mse) + rest,
      kl: sumOf(vae.kl),
      variance: sumOf(eigenvalues) + rest,
      of: rest > 0 ? size : count,
      errors: [made.xHat, made.sample].map((one) => apartSquared(x, one)),
      decoded: axes.picture(timesEach(vae.decoder, uT)),
    };
  }

  // --- what is seen and said ----------------------------------------------------------------------

  draw() {
    const { ends, labels, noised, now, says } = this;
    const scene = this.scene();
    const still = [now.theta, now.image, now.seed, this.stage.theme.ink, this.stage.root.clientWidth].join();
    if (still !== this.drawn) this.drawStill(scene); // noise alone leaves it as it is
    this.drawn = still;
    drawNoised(noised, scene);
    this.put(ends.decoded, scene.decoded, `${labels[now.image]}, decoded from ${level(now.t)}`);
    sayNoised(says.way, scene);
    this.drawStrip();
  }

  /** All that does not depend on t. */
  drawStill(scene) {
    const { ends, labels, now, pictures, says } = this;
    drawWater(this.spectrum, scene, this.bounds);
    drawCode(this.code, scene);
    const name = labels[now.image];
    this.put(pictures.x, scene.x, name);
    this.put(pictures.xHat, scene.xHat, `${name}, reconstructed`);
    this.put(pictures.sample, scene.sample, `${name}, a sample from p(x | u)`);
    this.put(ends.x, scene.x, name);
    sayWater(says.water, scene);
    sayCosts(says.costs, scene);
  }

  put(canvas, picture, words) {
    paint(canvas, greysOf(picture));
    canvas.setAttribute("aria-label", words);
  }

  drawStrip() {
    const { film, frames, now } = this;
    if (!frames.length) return;
    const [rows, n, height, width] = film.shape;
    const row = rows === 1 ? 0 : now.image;
    const near = frames.reduce((a, b) => (Math.abs(b.t - now.t) < Math.abs(a.t - now.t) ? b : a));
    for (const one of frames) {
      const from = (row * n + one.k) * height * width;
      if (this.painted !== row) paint(one.canvas, film.bytes.subarray(from, from + height * width));
      one.button.setAttribute("aria-pressed", one === near);
    }
    this.painted = row;
  }
}

const render = (host) => new WaterLevelFigure(host).begin();

export default { render };
