// PatchLab: what each patch of a picture attends to, at each noise level, and the gates of all blocks.

import { AttentionRows, nearestLevel, spreadOver, stepOnGrid } from "../math/attention_rows.mjs";
import { levels } from "../math/codec.mjs";
import { bar, captioned, key } from "../ui/captions.mjs";
import { Chart } from "../ui/chart.mjs";
import { button, Clock, draggable, Player, select, timeSlider, WAYS } from "../ui/controls.mjs";
import { make, paint } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { COLORS } from "../ui/palette.mjs";
import { GRASP } from "../ui/plane.mjs";
import { drawGates, drawPatches, drawSmall } from "./patch_lab_draw.mjs";
import { sayAttention, sayGates } from "./patch_lab_words.mjs";

const SETTING = ["example", "t", "patch", "block", "head"];
const SECONDS = 5; // from the first level to the last
const NONE = { left: 0, right: 0, top: 0, bottom: 0 };

const whole = (most, v) => Math.round(Math.min(most, Math.max(0, v)));

class PatchLabFigure extends Figure {
  constructor(host) {
    super(host, "patches", SETTING);
    const { stage } = this;
    for (const name of ["gates", "labels", "sizes", "shape"]) this[name] = stage.get(name);
    this.times = stage.get("levels");
    this.greys = levels(stage.get("pictures"));
    this.attention = new AttentionRows(levels(stage.get("attention")), stage.get("scales"), this.sizes);
    [, , this.blocks, this.heads, this.patches] = this.sizes;
    this.side = Math.sqrt(this.patches);
    this.over = null; // the patch under the pointer
    this.tidy();
    this.clock = new Clock(stage, (seconds) => this.tick(seconds));
    this.build();
    this.listen();
  }

  tidy() {
    const { now } = this;
    now.example = whole(this.labels.length - 1, now.example);
    now.patch = whole(this.patches - 1, now.patch);
    now.block = whole(this.blocks - 1, now.block);
    now.head = whole(this.heads, now.head);
    now.t = this.times[nearestLevel(this.times, now.t)];
  }

  /** The number of the level that is shown. */
  get level() {
    return nearestLevel(this.times, this.now.t);
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.charts();
    this.controls();
    const picture = captioned(
      [make("b", {}, "What a patch attends to"), key(COLORS.learned, "attention")],
      this.picture.box,
      bar(this.head.row),
    );
    picture.style.flex = "1 1 280px";
    const beside = make(
      "figure",
      { style: "flex:2 1 380px" },
      make(
        "figcaption",
        { class: "gen-legend" },
        make("b", {}, "The same patch in every block, from the first to the last"),
      ),
      make("div", { class: "gen-strip" }, ...this.small.map((one) => one.button)),
      this.says.attention,
      this.gatesPart(),
    );
    stage.root.append(
      this.chooser(),
      make("div", { class: "gen-two", style: "margin-top:8px" }, picture, beside),
      bar(
        this.player.button,
        this.time.row,
        button("Again", () => this.again()),
        stage.linkButton(() => this.now),
      ),
      make(
        "p",
        { class: "gen-keys" },
        "Point at a patch; a click or a touch keeps it. Keys, with the picture chosen: arrows move the patch, b and shift b choose the " +
          "block, h and shift h the head, a number the example, space plays, comma and full stop go a level back and " +
          "on, Home and End to noise and data, 0 begins again. Drag the line at t over the gates.",
      ),
      this.aloud,
    );
  }

  charts() {
    const { stage } = this;
    const attributes = {
      class: "gen-drag",
      style: "cursor:crosshair",
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys choose the patch.`,
      "aria-roledescription": "picture whose patches can be chosen",
    };
    this.picture = new Chart(stage, attributes, NONE);
    this.picture.box.style.maxWidth = "420px";
    this.curves = new Chart(stage, { class: "gen-drag", role: "img" }, { left: 38, right: 14, top: 12, bottom: 34 });
    this.says = { attention: make("p", { class: "gen-says" }), gates: make("p", { class: "gen-says" }) };
    this.says.gates.style.minHeight = "1.5em";
    this.small = Array.from({ length: this.blocks }, (_, block) => {
      const canvas = make("canvas", { width: 168, height: 168, "aria-hidden": "true" });
      const click = () => this.set({ block });
      const one = make("button", { type: "button", class: "gen-image", click }, canvas, `block ${block + 1}`);
      return { canvas, button: one };
    });
    const [, , height, width] = this.shape;
    this.scratch = make("canvas", { width, height });
  }

  controls() {
    const { stage } = this;
    const heads = Array.from({ length: this.heads + 1 }, (_, h) => [h, h ? `head ${h}` : "mean of all heads"]);
    this.head = select("head", heads, (head) => this.set({ head: Number(head) }));
    this.player = new Player(stage, this.clock, {
      step: () => this.to(this.level + 1 < this.times.length ? this.level + 1 : 0),
      start: () => {
        const k = this.level;
        this.way = k + 1 < this.times.length ? this.now.t : this.times[0];
      },
      paused: () => this.told(),
    });
    this.time = timeSlider(this.now.t, [this.times.at(-1), this.times[0]], (t) => {
      this.player.pause();
      this.change({ t });
    });
    this.time.input.addEventListener("change", () => this.told());
  }

  /** The examples, as they are at the last level. */
  chooser() {
    this.thumbnails = this.labels.map((name, example) => {
      const [, , height, width] = this.shape;
      const canvas = make("canvas", { width, height, "aria-hidden": "true" });
      paint(canvas, this.grey(example, this.times.length - 1));
      const click = () => this.set({ example });
      return make("button", { type: "button", class: "gen-image", click }, canvas, name);
    });
    return make("div", { class: "gen-strip gen-small" }, ...this.thumbnails);
  }

  gatesPart() {
    const part = captioned(
      [
        make("b", {}, "How far the gates are open: mean of |gate|"),
        key(COLORS.learned, "attention"),
        key(COLORS.purple, "MLP"),
      ],
      this.curves.box,
      this.says.gates,
    );
    part.style.margin = "8px 0 0";
    return part;
  }

  show() {
    const { now } = this;
    this.time.show(-now.t);
    this.head.input.value = now.head;
    this.small.forEach((one, k) => one.button.setAttribute("aria-pressed", k === now.block));
    this.thumbnails.forEach((one, k) => one.setAttribute("aria-pressed", k === now.example));
  }

  // --- what the reader does -----------------------------------------------------------------------

  listen() {
    const { curves, picture } = this;
    this.point(picture.canvas);
    const t = (event) => -curves.under(event)[0];
    draggable(curves.canvas, {
      near: (event) => Math.abs(curves.x(-t(event)) - curves.x(-this.now.t)) < GRASP,
      put: (event) => {
        this.player.pause();
        this.change({ t: t(event) });
      },
      done: () => this.told(),
    });
    picture.canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.press(event)) return;
      event.preventDefault();
      this.told();
    });
  }

  /** A pointer shows the patch under it while it is there; a click or a finger chooses it. */
  point(canvas) {
    const under = (event) => {
      const box = canvas.getBoundingClientRect();
      const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      const [column, row] = at.map((v) => whole(this.side - 1, Math.floor(v * this.side)));
      return row * this.side + column;
    };
    const hover = (patch) => {
      if (patch === this.over) return;
      this.over = patch;
      this.draw();
    };
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") hover(under(event));
    });
    canvas.addEventListener("pointerleave", () => hover(null));
    canvas.addEventListener("click", (event) => this.set({ patch: under(event) }));
  }

  /** Do what a key is for; tells whether it is for anything. */
  press(event) {
    const { now } = this;
    const way = WAYS[event.key];
    const number = Number(event.key);
    const turn = (v, n) => (v + (event.shiftKey ? n - 1 : 1)) % n;
    const letter = event.key.toLowerCase();
    if (way) this.move(way);
    else if (letter === "b") this.change({ block: turn(now.block, this.blocks) });
    else if (letter === "h") this.change({ head: turn(now.head, this.heads + 1) });
    else if (number >= 1 && number <= this.labels.length) this.change({ example: number - 1 });
    else if (event.key === " ") this.player.toggle();
    else if (event.key === ",") this.to(this.level - 1);
    else if (event.key === ".") this.to(this.level + 1);
    else if (event.key === "Home") this.to(0);
    else if (event.key === "End") this.to(this.times.length - 1);
    else if (event.key === "0") this.restart();
    else return false;
    return true;
  }

  /** Move on from the patch that is shown. */
  move(way) {
    const patch = stepOnGrid(this.over ?? this.now.patch, this.side, way);
    this.over = null;
    this.change({ patch });
  }

  /** Go to a level by its number. */
  to(k) {
    this.player.pause();
    this.change({ t: this.times[whole(this.times.length - 1, k)] });
    if (this.stage.still) this.told();
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
    const [first, last] = [this.times[0], this.times.at(-1)];
    this.way -= (seconds / SECONDS) * (first - last);
    if (nearestLevel(this.times, this.way) !== this.level) this.change({ t: this.way });
    if (this.way <= last) this.player.pause();
    return this.player.playing;
  }

  told() {
    this.stage.tell(this.now);
    this.aloud.textContent = `${this.says.attention.textContent} ${this.says.gates.textContent}`;
  }

  // --- what is seen and said ----------------------------------------------------------------------

  /** A picture in bytes of grey. */
  grey(example, level) {
    const [, n, height, width] = this.shape;
    const size = height * width;
    const from = (example * n + level) * size;
    return this.greys.subarray(from, from + size);
  }

  draw() {
    const { attention, blocks, level, now, scratch, side } = this;
    paint(scratch, this.grey(now.example, level));
    const patch = this.over ?? now.patch;
    const at = { example: now.example, level, patch };
    const rows = Array.from({ length: blocks }, (_, block) => attention.row({ ...at, block }, now.head));
    const row = rows[now.block];
    drawPatches(this.picture, scratch, { row, side, patch });
    this.small.forEach(({ canvas }, block) => drawSmall(canvas, scratch, { row: rows[block], side, patch }));
    const spread = spreadOver(row);
    sayAttention(this.says.attention, { now, patch, row, side, spread });
    sayGates(this.says.gates, now, this.gates[level][now.block]);
    drawGates(this.curves, { gates: this.gates, times: this.times, now, level });
    const words = `Gates of ${blocks} blocks over t. ${this.says.gates.textContent}`;
    this.curves.canvas.setAttribute("aria-label", words);
  }
}

const render = (host) => new PatchLabFigure(host).begin();

export default { render };
