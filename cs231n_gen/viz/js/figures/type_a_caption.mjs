// TypeACaption: a caption to build or to type, and the diffusion transformer that paints it here.

import { CaptionPainter, Painting } from "../math/caption_painter.mjs";
import {
  ALONE,
  CaptionWords,
  exchangedScene,
  partsOfWords,
  partsShown,
  retoldScene,
  wordsOf,
} from "../math/caption_words.mjs";
import { halves } from "../math/codec.mjs";
import { normals } from "../math/normal.mjs";
import { unpackWeights } from "../math/packed_weights.mjs";
import { PictureReader } from "../math/read_back.mjs";
import { bar, captioned, key, symbol, textOf } from "../ui/captions.mjs";
import { button, Clock, Player, select, slider } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { counted, level, signed } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { LOOKS, paintAttention, paintPicture } from "./type_a_caption_draw.mjs";
import { sayHeldOut, sayPatches, sayRead } from "./type_a_caption_words.mjs";

const PAINTED = ["caption", "negative", "w", "steps", "seed", "pictures"]; // what a picture follows from
const SETTING = [...PAINTED, "picture", "shown", "word", "block"];
const BUDGET = 10; // milliseconds of a frame in which is computed
const RATE = 8; // steps a second where it plays
const FILM = 9; // pictures on the way that are shown at most
const BOUNDS = { w: [-1, 8], steps: [1, 50], seed: [0, 9999] };
const COUNTS = [1, 2, 4];
const USUAL = [0, 0, 0, 0, 1, 2, 1]; // of a second object that joins, and where a text is no caption
const ASKED = ["size", "colour", "shape"];

const bounded = ([low, high], v) => Math.min(high, Math.max(low, v));

class TypeACaptionFigure extends Figure {
  constructor(host) {
    super(host, "caption", SETTING);
    this.unpack();
    this.asked = {}; // the texts that are painted: the last ones that were right
    this.wrong = { caption: "", negative: "" };
    this.patch = null; // under the pointer
    this.looked = null; // a word under the pointer, or with the focus
    this.tidy();
    this.clock = new Clock(this.stage, (seconds) => this.tick(seconds));
    this.build();
    this.begun();
  }

  unpack() {
    const { stage } = this;
    const [layout, bits, rows, scales, vectors] = ["named_shapes", "bits", "numbers", "number_scales", "vectors"].map(
      (name) => stage.get(name),
    );
    this.sizes = stage.get("sizes");
    this.painter = new CaptionPainter(unpackWeights({ layout, bits, rows, scales, vectors }), this.sizes);
    this.words = new CaptionWords(stage.get("words"), stage.get("menus"), this.sizes.length);
    this.reader = new PictureReader(halves(stage.get("outlines")), stage.get("reading"));
    this.heldOut = stage.get("held_out");
    [this.shift, this.scale] = stage.get("standard");
  }

  tidy() {
    const { now } = this;
    for (const [name, range] of Object.entries(BOUNDS)) now[name] = bounded(range, now[name]);
    for (const name of ["steps", "seed", "shown", "word", "block", "picture"]) now[name] = Math.round(now[name]);
    if (!COUNTS.includes(now.pictures)) now.pictures = 1;
    now.picture = bounded([0, now.pictures - 1], now.picture);
    now.shown = bounded([0, now.steps], now.shown);
    now.block = bounded([0, this.sizes.depth], now.block);
    for (const name of ["caption", "negative"]) {
      this.wrong[name] = this.words.tokens(now[name]).wrong;
      if (!this.wrong[name]) this.asked[name] = now[name];
      this.asked[name] ??= this.stage.get("start")[name];
    }
    now.word = bounded([0, Math.max(0, wordsOf(this.asked.caption).length - 1)], now.word);
  }

  /** The scene of the caption that is painted; null if it is not built like one. */
  get scene() {
    return this.words.scene(this.asked.caption);
  }

  // --- what is painted ----------------------------------------------------------------------------

  /** Paint anew if anything was changed that a picture follows from. */
  change(values, anew = false) {
    const { picture } = this.now;
    Object.assign(this.now, values);
    this.tidy();
    if (anew || this.key !== this.painted) this.begun();
    else if (picture !== this.now.picture) this.rest();
    this.show();
    this.draw();
  }

  /** All that a picture follows from, in one text. */
  get key() {
    return PAINTED.map((name) => this.asked[name] ?? this.now[name]).join("|");
  }

  begun() {
    this.painted = this.key;
    const [caption, negative] = ["caption", "negative"].map((name) =>
      this.painter.condition(this.words.tokens(this.asked[name]).tokens),
    );
    const { w, steps, seed, pictures } = this.now;
    const { size, latent } = this.sizes;
    this.paintings = Array.from({ length: pictures }, (_, k) => {
      const noise = normals(seed + k, size * size * latent);
      return new Painting(this.painter, { asked: caption, against: negative, w, steps, noise });
    });
    for (const painting of this.paintings) painting.advance();
    this.rest();
  }

  /** There is more to do: steps, or pictures of the film. */
  rest() {
    this.busy = true;
    this.filled = new Set();
    this.clock.start();
  }

  /** The image of latents. */
  decoded(latents) {
    const { shift, scale, sizes } = this;
    return this.painter.decoder.decode(
      latents.map((v) => v / scale + shift),
      sizes.size,
    );
  }

  /** What is known of a frame, computed when it is asked for: its pictures, and what is read in x̂. */
  known(frame) {
    const remember = (name, what) => {
      frame[name] ??= what();
      return frame[name];
    };
    return {
      noisy: () => remember("noisy", () => this.decoded(frame.x)),
      picture: () => remember("picture", () => this.decoded(frame.end)),
      seen: () => remember("seen", () => this.reader.read(this.known(frame).picture())),
    };
  }

  get painting() {
    return this.paintings[this.now.picture];
  }

  /** The frame of a painting that is shown: as far as it is painted. */
  frameOf(painting) {
    return painting.frames[Math.min(this.now.shown, painting.frames.length - 1)];
  }

  /** A step of what is least far, else a picture of the film; tells whether there was anything to do. */
  work() {
    const least = this.paintings.reduce((a, b) => (b.frames.length < a.frames.length ? b : a), this.painting);
    if (!least.done) {
      least.advance();
      return true;
    }
    const next = this.onFilm().find((k) => !this.filled.has(k));
    if (next === undefined) return false;
    this.fill(next);
    return true;
  }

  tick(seconds) {
    const until = performance.now() + BUDGET;
    const before = this.paintings.map((one) => this.frameOf(one));
    const { stage, player } = this;
    while (this.busy && performance.now() < until) this.busy = this.work();
    if (player.playing) {
      this.way = Math.min(this.way + RATE * seconds, this.painting.frames.length - 1 + 0.999);
      this.now.shown = Math.floor(this.way);
    }
    const ready = this.painting.frames.length > this.now.shown;
    const moved = this.paintings.some((one, k) => this.frameOf(one) !== before[k]);
    const finished = ready && !this.complete;
    if ((moved && (ready || !stage.still)) || finished) this.draw();
    if (finished && !player.playing) this.aloud.textContent = textOf(this.says);
    if (player.playing && this.now.shown >= this.now.steps) player.pause();
    return this.busy || player.playing;
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.menus();
    this.fields();
    this.controls();
    this.pictures();
    stage.root.append(
      make("style", {}, LOOKS),
      this.builder,
      bar(this.field.caption.row, this.paint, this.exchange, this.retell),
      bar(this.field.negative.row, this.sliders.w.row, this.sliders.steps.row),
      this.trouble,
      bar(this.chips, this.blocks.row),
      this.panels,
      this.beside,
      bar(
        this.player.button,
        this.sliders.shown.row,
        this.count.row,
        this.seed.row,
        this.another,
        this.back,
        this.link,
      ),
      this.film,
      this.says,
      make("p", { class: "gen-keys" }, this.manual()),
      this.aloud,
    );
  }

  /** Menus of words that build a caption. */
  menus() {
    const [sizes, colours, shapes, relations] = this.words.menus;
    const menu = (name, options, part) => {
      const rest = options.map((word, k) => make("option", { value: k }, word));
      const none = make("option", { value: -1, disabled: true, hidden: true }, "…");
      const input = make("select", { "aria-label": name }, none, ...rest);
      input.addEventListener("change", () => this.pick(part, Number(input.value)));
      return input;
    };
    const thing = (which, first) =>
      [sizes, colours, shapes].map((some, i) => menu(`${ASKED[i]} of the ${which} object`, some, first + i));
    const named = relations.map((word, k) => (k < 2 ? `${word} of` : word));
    const relation = menu("relation", [...named, "alone"], 3);
    const [one, two] = [thing("first", 0), thing("second", 4)];
    this.second = make("span", { class: "gen-build" }, "a", ...two);
    this.menu = [...one, relation, ...two];
    this.builder = make("div", { class: "gen-build" }, "a", ...one, relation, this.second);
  }

  /** Fields for texts, and buttons that change the caption. */
  fields() {
    const field = (name, title, hint) => {
      const input = make("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: hint });
      input.addEventListener("change", () => this.write(name, input.value));
      input.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        this.brush();
      });
      const row = make("label", { class: name === "caption" ? "gen-field" : "gen-field gen-against" }, title, input);
      return { row, input };
    };
    this.field = {
      caption: field("caption", "caption", "no caption"),
      negative: field("negative", "negative prompt", "none"),
    };
    this.paint = button("Paint", () => this.brush());
    this.paint.className = "gen-paint";
    this.exchange = button("Exchange the objects", () => this.retold(exchangedScene));
    this.retell = button("Tell from the other", () => this.retold(retoldScene));
    this.retell.title = "The same picture, told from its other object";
    this.trouble = make("p", { class: "gen-wrong", role: "alert" });
  }

  controls() {
    const { now, stage } = this;
    const range = (name, title, [min, max], step, says, put = (v) => this.set({ [name]: v })) =>
      slider({ name: title, min, max, step, value: now[name], says }, put);
    const steps = (v) => this.set({ steps: v, shown: now.shown >= now.steps ? v : Math.min(v, now.shown) });
    this.sliders = {
      w: range("w", "guidance w", BOUNDS.w, 0.25, (v) => signed(v)),
      steps: range("steps", "steps", BOUNDS.steps, 1, (v) => counted(v, "step"), steps),
      shown: range(
        "shown",
        "noise → picture",
        [0, now.steps],
        1,
        (v) => level(1 - v / this.now.steps),
        (v) => this.to(v),
      ),
    };
    this.player = new Player(stage, this.clock, {
      step: () => this.to(this.now.shown < this.now.steps ? this.now.shown + 1 : 0),
      start: () => {
        this.way = this.now.shown < this.now.steps ? this.now.shown : 0;
        this.now.shown = this.way;
      },
      paused: () => this.told(),
    });
    const counts = COUNTS.map((n) => [n, `${n}`]);
    this.count = select("pictures", counts, (n) => this.set({ pictures: Number(n) }));
    const blocks = Array.from({ length: this.sizes.depth }, (_, k) => [k + 1, `block ${k + 1}`]);
    this.blocks = select("attention of", [[0, "all blocks"], ...blocks], (k) => this.set({ block: Number(k) }));
    const [min, max] = BOUNDS.seed;
    const input = make("input", { type: "number", min, max, step: 1 });
    input.addEventListener("change", () => this.set({ seed: Number(input.value) || 0 }));
    this.seed = { row: make("label", {}, "noise", input), input };
    this.another = button("Other noise", () => this.other());
    this.back = button("Again", () => this.again());
    this.link = stage.linkButton(() => this.now);
  }

  /** Panels, the words of the caption, the film, and pictures beside each other. */
  pictures() {
    const { stage } = this;
    const canvas = (attributes) => make("canvas", { width: 32, height: 32, role: "img", ...attributes });
    this.noisy = canvas();
    const label = `${stage.get("alt")}. Left and right arrow choose a word.`;
    this.large = canvas({ tabindex: 0, role: "application", "aria-roledescription": "picture", "aria-label": label });
    this.map = canvas({ class: "gen-smooth" });
    this.named = key(COLORS.noise);
    const patches = make("span", { class: "gen-plain" }, "% of each patch’s attention");
    const three = make(
      "div",
      { class: "gen-three" },
      captioned([make("b", {}, ...symbol("x", "t"), ", decoded")], this.noisy),
      captioned([make("b", {}, "x̂, the expected picture")], this.large),
      captioned([this.named, patches], this.map),
    );
    this.panels = make("div", { class: "gen-width" }, three);
    this.chips = make("div", { class: "gen-chips", role: "group", "aria-label": "Words of the caption" });
    this.film = make("div", { class: "gen-strip gen-small gen-film", role: "group", "aria-label": "x̂ on the way" });
    this.beside = make("div", { class: "gen-strip", role: "group", "aria-label": "Pictures of other noises" });
    this.read = make("p");
    this.attends = make("p");
    this.says = make("div", { class: "gen-says" }, this.read, this.attends);
    this.large.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.press(event)) return;
      event.preventDefault();
    });
    for (const one of [this.large, this.map]) {
      one.addEventListener("pointermove", (event) => this.over(this.under(one, event)));
      for (const end of ["pointerleave", "pointercancel"]) one.addEventListener(end, () => this.over(null));
    }
  }

  manual() {
    return (
      "Point at a word, or move to it by Tab, to see which patches attend to it; a click keeps it. Point at a patch to see which words it attends " +
      "to. Keys, with x̂ chosen: Space plays, comma and full stop go a step back and on, Home and End to noise and picture, left and right choose a word, " +
      "up and down change w, n takes other noise, x exchanges the objects, b chooses a block, 0 begins again."
    );
  }

  /** Controls as the setting says. */
  show() {
    const { now, asked, scene } = this;
    this.menu.forEach((input, k) => {
      input.value = scene ? scene[k] : -1;
    });
    this.second.style.display = scene?.[3] === ALONE ? "none" : "";
    for (const [name, { input }] of Object.entries(this.field)) {
      if (input.value !== now[name]) input.value = now[name];
      input.setAttribute("aria-invalid", this.wrong[name] !== "");
    }
    this.trouble.textContent = this.wrong.caption || this.wrong.negative;
    this.exchange.disabled = this.retell.disabled = !scene || scene[3] === ALONE;
    this.sliders.shown.input.max = now.steps;
    for (const [name, one] of Object.entries(this.sliders)) one.show(now[name]);
    this.count.input.value = now.pictures;
    this.blocks.input.value = now.block;
    this.seed.input.value = now.seed;
    if (this.shownFor !== this.painted) this.renew(asked.caption);
    this.shownFor = this.painted;
  }

  /** Words, film and pictures beside each other, for another painting. */
  renew(caption) {
    const words = wordsOf(caption);
    this.word = words.map((word, k) => {
      const [mark, length] = [make("span"), make("i")];
      const attributes = {
        click: () => this.set({ word: k }),
        pointerenter: (event) => event.pointerType !== "touch" && this.look(k),
        pointerleave: () => this.look(null),
        focus: () => this.look(k),
        blur: () => this.look(null),
      };
      const one = make("button", { type: "button", ...attributes }, word, mark, length);
      return { one, mark, length, word };
    });
    const none = words.length ? "words" : "no words: the null condition";
    this.chips.replaceChildren(make("span", {}, none), ...this.word.map(({ one }) => one));
    this.frames = new Map(
      this.onFilm().map((k) => {
        const canvas = make("canvas", { width: 32, height: 32, "aria-hidden": "true" });
        const t = level(1 - k / this.now.steps);
        return [
          k,
          { canvas, one: make("button", { type: "button", class: "gen-image", click: () => this.to(k) }, canvas, t) },
        ];
      }),
    );
    this.film.replaceChildren(...[...this.frames.values()].map(({ one }) => one));
    this.others = this.paintings.map((_, k) => {
      const canvas = make("canvas", { width: 32, height: 32, "aria-hidden": "true" });
      const name = make("span", {}, `noise ${this.now.seed + k}`);
      const one = make(
        "button",
        { type: "button", class: "gen-image", click: () => this.set({ picture: k }) },
        canvas,
        name,
      );
      return { canvas, name, one };
    });
    this.beside.replaceChildren(...this.others.map(({ one }) => one));
    this.beside.style.display = this.paintings.length > 1 ? "" : "none";
  }

  /** Which frames are on the film: evenly spaced, the first and the last among them. */
  onFilm() {
    const { steps } = this.now;
    const count = Math.min(FILM, steps + 1);
    return Array.from({ length: count }, (_, i) => Math.round((i * steps) / (count - 1)));
  }

  // --- what the reader does -----------------------------------------------------------------------

  /** A part of the scene, chosen by a menu. */
  pick(part, value) {
    const scene = [...(this.scene ?? USUAL)];
    if (scene[3] !== ALONE) this.kept = scene.slice(4);
    scene[part] = value;
    const other = scene[3] === ALONE ? [-1, -1, -1] : scene[4] < 0 ? (this.kept ?? USUAL.slice(4)) : scene.slice(4);
    this.set({ caption: this.words.say([...scene.slice(0, 4), ...other]), shown: this.now.steps });
  }

  /** A text that was typed. */
  write(name, text) {
    if (text !== this.now[name]) this.set({ [name]: text, shown: this.now.steps });
  }

  /** Paint what is in the fields. */
  brush() {
    this.player.pause();
    const { caption, negative } = this.field;
    this.change({ caption: caption.input.value, negative: negative.input.value, shown: this.now.steps }, true);
    this.told();
  }

  /** The caption of another scene. */
  retold(another) {
    const { scene } = this;
    if (scene) this.set({ caption: this.words.say(another(scene)), shown: this.now.steps });
  }

  /** Noise that was not shown yet. */
  other() {
    const { seed, pictures, steps } = this.now;
    this.set({ seed: (seed + pictures) % (BOUNDS.seed[1] + 1), shown: steps });
  }

  to(shown) {
    this.player.stop();
    this.set({ shown });
  }

  again() {
    this.player.stop();
    this.set(structuredClone(this.stage.get("start")));
  }

  /** Do what a key of the picture is for; tells whether it is for anything. */
  press(event) {
    const { block, shown, steps, w, word } = this.now;
    const count = this.word.length;
    const does = {
      " ": () => this.player.toggle(),
      ",": () => this.to(shown - 1),
      ".": () => this.to(shown + 1),
      Home: () => this.to(0),
      End: () => this.to(steps),
      ArrowLeft: () => this.set({ word: word - 1 }),
      ArrowRight: () => this.set({ word: Math.min(count - 1, word + 1) }),
      ArrowUp: () => this.set({ w: w + 0.25 }),
      ArrowDown: () => this.set({ w: w - 0.25 }),
      n: () => this.other(),
      x: () => this.retold(exchangedScene),
      b: () => this.set({ block: (block + 1) % (this.sizes.depth + 1) }),
      0: () => this.again(),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    does?.();
    return Boolean(does);
  }

  /** The patch under a pointer. */
  under(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const { side } = this.painter;
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const [column, row] = at.map((v) => bounded([0, side - 1], Math.floor(v * side)));
    return row * side + column;
  }

  over(patch) {
    if (patch === this.patch) return;
    this.patch = patch;
    this.drawAttention();
  }

  look(word) {
    this.looked = word;
    this.drawAttention();
  }

  told() {
    super.told();
    if (this.complete) this.aloud.textContent = textOf(this.says);
  }

  // --- what is seen and said ----------------------------------------------------------------------

  draw() {
    const { now, painting, stage } = this;
    this.complete = painting.frames.length > now.shown;
    if (stage.still && !this.complete && this.drawn) return;
    this.drawn = true;
    const frame = this.frameOf(painting);
    const { noisy, picture } = this.known(frame);
    paintPicture(this.noisy, noisy());
    paintPicture(this.large, picture());
    if (this.paintings.length > 1) this.paintings.forEach((one, k) => this.drawOther(one, k));
    const k = painting.frames.indexOf(frame);
    this.sliders.shown.show(k);
    if (this.frames.has(k) && !this.filled.has(k)) this.fill(k);
    for (const [step, { one }] of this.frames) one.setAttribute("aria-pressed", step === k);
    this.sayFrame(frame, k);
    this.drawAttention();
  }

  /** A picture on the film. */
  fill(k) {
    this.filled.add(k);
    paintPicture(this.frames.get(k).canvas, this.known(this.painting.frames[k]).picture());
  }

  /** One of the pictures beside each other; when it is done, whether it is right. */
  drawOther(painting, k) {
    const { canvas, name, one } = this.others[k];
    paintPicture(canvas, this.known(this.frameOf(painting)).picture());
    one.setAttribute("aria-pressed", k === this.now.picture);
    const { scene } = this;
    let mark = "";
    if (painting.done && scene) {
      const seen = this.known(painting.frames.at(-1)).seen();
      mark = partsShown(seen, scene).every(Boolean) ? " ✓" : " ✗";
    }
    name.textContent = `noise ${this.now.seed + k}${mark}`;
  }

  /** What is read in x̂, in words and at the words of the caption. */
  sayFrame(frame, k) {
    const { scene, words, says } = this;
    const seen = this.known(frame).seen();
    const parts = scene ? partsShown(seen, scene) : [];
    says.dataset.seen = seen;
    says.dataset.step = k;
    const at = `${level(frame.t)}, after ${k} of ${counted(this.now.steps, "step")}. The program reads in x̂: `;
    this.read.replaceChildren(
      at,
      ...sayRead({ seen, scene, parts, words }),
      ".",
      sayHeldOut(scene, this.heldOut, words),
    );
    const which = scene ? partsOfWords(scene) : [];
    this.word.forEach(({ mark }, i) => {
      const checked = which[i] >= 0 && seen[0] >= 0;
      mark.textContent = checked ? (parts[which[i]] ? " ✓" : " ✗") : "";
    });
    this.noisy.setAttribute("aria-label", `x_t, decoded, at ${level(frame.t)}`);
    this.large.setAttribute("aria-label", `${this.stage.get("alt")}. ${this.read.textContent}`);
  }

  /** What patches attend to at the frame that is shown: a share of each word, (patches, words). */
  sharesOf({ shares }) {
    const { block } = this.now;
    if (block) return shares[block - 1];
    return shares[0].map((_, i) => shares.reduce((sum, one) => sum + one[i], 0) / shares.length);
  }

  drawAttention() {
    const { now, patch } = this;
    const frame = this.frameOf(this.painting);
    const all = this.sharesOf(frame);
    const patches = this.painter.side ** 2;
    const count = all.length / patches;
    const word = this.looked ?? now.word;
    const of = (i) => Float64Array.from({ length: patches }, (_, p) => all[p * count + i]);
    const shares = of(word);
    paintAttention(this.map, { picture: this.known(frame).picture(), shares, patch, theme: this.stage.theme });
    const each = Array.from({ length: count }, (_, i) => {
      return patch === null ? of(i).reduce((sum, v) => sum + v, 0) / patches : all[patch * count + i];
    });
    const most = Math.max(...each);
    this.word.forEach(({ one, length }, i) => {
      length.style.width = `calc((100% - 10px) * ${(each[i] / most).toFixed(3)})`;
      one.setAttribute("aria-pressed", i === now.word);
    });
    const name = this.word[word]?.word ?? "no caption";
    this.named.textContent = `attention to “${name}”`;
    this.attends.textContent = sayPatches({ word: name, shares, t: frame.t || 1 / now.steps, block: now.block });
    this.map.setAttribute("aria-label", this.attends.textContent);
  }
}

const render = (host) => new TypeACaptionFigure(host).begin();

export default { render };
