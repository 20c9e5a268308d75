// CodeLab: a garment as a grid of codes to exchange, decoded here, and which code comes next.

import { stepOnGrid } from "../math/attention_rows.mjs";
import { CodeDecoder } from "../math/code_decoder.mjs";
import {
  byBrightness,
  bySimilarity,
  latentsOf,
  meanLatent,
  readEdits,
  whereChanged,
  withEdits,
  withFirst,
  writeEdits,
} from "../math/code_grids.mjs";
import { halves, levels } from "../math/codec.mjs";
import { bar, captioned, key } from "../ui/captions.mjs";
import { Chart } from "../ui/chart.mjs";
import { button, Clock, draggable, Player, select, slider, WAYS } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { COLORS } from "../ui/palette.mjs";
import { GRASP } from "../ui/plane.mjs";
import {
  drawBits,
  drawChange,
  drawCodes,
  drawDecoded,
  drawOffered,
  drawWritten,
  mosaic,
  pictureOf,
} from "./code_lab_draw.mjs";
import { inPercent, sayChange, sayNext } from "./code_lab_words.mjs";

const SETTING = ["example", "place", "edits", "cells", "order", "written"];
const CELLS = [
  ["looks", "looks of codes"],
  ["numbers", "numbers of codes"],
  ["bits", "bits of codes"],
];
const ORDERS = [
  ["likeliest", "likeliest next first"],
  ["similar", "similar codes first"],
  ["brightness", "from dark to bright"],
];
const PATCH = 16; // pixels of a look
const LOOK = 20; // pixels of one that may come next
const RATE = 8; // codes a second
const KEPT = 400; // images that were decoded
const NARROW = 520; // of what is offered, in pixels
const NONE = { left: 0, right: 0, top: 0, bottom: 0 };

const bounded = (most, v) => Math.round(Math.min(most, Math.max(0, v)));

class CodeLabFigure extends Figure {
  constructor(host) {
    super(host, "codes", SETTING);
    this.unpack();
    this.past = []; // edits before the last ones
    this.tried = null; // a code under the pointer, or under the keys
    this.images = new Map();
    this.tidy();
    this.clock = new Clock(this.stage, (seconds) => this.tick(seconds));
    this.build();
    this.listen();
  }

  unpack() {
    const { stage } = this;
    this.labels = stage.get("labels");
    [, this.side, this.count] = stage.get("shape");
    this.places = this.side ** 2;
    this.even = Math.log2(this.count); // bits of codes that are equally likely
    const sizes = stage.get("sizes");
    this.latent = sizes.latent;
    this.decoder = new CodeDecoder(halves(stage.get("decoder")), sizes);
    this.book = halves(stage.get("codes"));
    this.grids = levels(stage.get("grids"));
    this.looks = levels(stage.get("looks"));
    this.mean = meanLatent(this.grids, this.book, this.latent);
    this.bits = halves(stage.get("bits"));
    this.known = this.bits.length > 0;
    this.next = { codes: levels(stage.get("next_codes")), chances: halves(stage.get("next_chances")) };
    this.most = this.next.codes.length / this.grids.length; // likeliest codes at a place
  }

  tidy() {
    const { now } = this;
    now.example = bounded(this.labels.length - 1, now.example);
    now.place = bounded(this.places - 1, now.place);
    now.written = bounded(this.known ? this.places : 0, now.written);
    const usual = this.known ? "likeliest" : "similar";
    if (!this.ordersOffered().some(([name]) => name === now.order)) now.order = usual;
    if (!this.cellsOffered().some(([name]) => name === now.cells)) now.cells = "looks";
    now.edits = writeEdits(readEdits(now.edits, this.places, this.count), this.original);
  }

  ordersOffered() {
    return this.known ? ORDERS : ORDERS.slice(1);
  }

  cellsOffered() {
    return this.known ? CELLS : CELLS.slice(0, 2);
  }

  codesOf(example) {
    return Array.from(this.grids.subarray(example * this.places, (example + 1) * this.places));
  }

  /** The codes of the example that is chosen. */
  get original() {
    return this.codesOf(this.now.example);
  }

  /** The bits of the codes of the example. */
  get cost() {
    const from = this.now.example * this.places;
    return Array.from(this.bits.subarray(from, from + this.places));
  }

  /** What the prior says of a place of the example: the likeliest codes with their probabilities. */
  coming(place) {
    const from = (this.now.example * this.places + place) * this.most;
    const { codes, chances } = this.next;
    return Array.from({ length: this.most }, (_, k) => ({ code: codes[from + k], p: chances[from + k] }));
  }

  /** The image of codes, of which only the first ones may be known. */
  decoded(codes, known = this.places) {
    const name = codes.slice(0, known).join();
    const { images, latent } = this;
    if (!images.has(name)) {
      if (images.size > KEPT) images.clear();
      const rows = latentsOf(codes, this.book, latent);
      for (let p = known; p < this.places; p++) rows.set(this.mean, p * latent);
      images.set(name, this.decoder.decode(rows, this.side));
    }
    return images.get(name);
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.charts();
    this.controls();
    const codes = captioned([make("b", {}, "Codes")], this.grid.box, bar(this.cells.row));
    codes.style.cssText = "flex:1 1 300px;max-width:420px";
    const image = captioned([make("b", {}, "Decoded image")], this.picture.box);
    const change = captioned(
      [make("b", {}, "What changed"), key(COLORS.noise, "brighter"), key(COLORS.data, "darker")],
      this.differs.box,
    );
    const pair = make("div", { class: "gen-pair" }, image, change);
    const beside = make("div", { style: "flex:2 1 330px;min-width:0" }, pair, this.says.change);
    const order = bar(
      this.order.row,
      this.undo,
      this.back,
      button("Again", () => this.again()),
    );
    order.append(stage.linkButton(() => this.now));
    const offered = captioned([make("b", {}, "Codes to put there"), this.offers], this.palette.box);
    offered.style.margin = "8px 0 0";
    stage.root.append(
      this.chooser(),
      make("div", { class: "gen-two", style: "margin-top:8px" }, codes, beside),
      order,
      offered,
      ...(this.known ? this.nextPart() : []),
      make("p", { class: "gen-keys" }, this.manual()),
      this.aloud,
    );
  }

  charts() {
    const { stage } = this;
    const focusable = (label, what) => ({
      class: "gen-drag",
      style: "cursor:crosshair",
      tabindex: 0,
      role: "application",
      "aria-label": label,
      "aria-roledescription": what,
    });
    const alt = stage.get("alt");
    this.grid = new Chart(stage, focusable(`${alt}. Arrow keys choose a place.`, "grid of codes"), NONE);
    this.picture = new Chart(stage, { role: "img" }, NONE);
    this.differs = new Chart(stage, { role: "img" }, NONE);
    this.palette = new Chart(stage, focusable("Codes to put there. Arrow keys try them.", "list of codes"), NONE);
    this.says = { change: make("p", { class: "gen-says" }), next: make("p", { class: "gen-says" }) };
    this.offers = make("span", { class: "gen-plain" });
  }

  controls() {
    this.cells = select("cells show", this.cellsOffered(), (cells) => this.set({ cells }));
    this.order = select("order", this.ordersOffered(), (order) => this.set({ order }));
    this.undo = button("Undo", () => this.takeBack());
    this.back = button("Original codes", () => this.exchange(""));
    this.player = new Player(this.stage, this.clock, {
      step: () => this.to(this.now.written < this.places ? this.now.written + 1 : 0),
      start: () => {
        this.way = this.now.written < this.places ? this.now.written : 0;
      },
      paused: () => this.told(),
    });
    const says = (v) => `${v} of ${this.places}`;
    const range = { name: "codes written", min: 0, max: this.places, step: 1, value: this.now.written, says };
    this.slider = slider(range, (written) => {
      this.player.pause();
      this.write(written);
    });
    this.slider.input.addEventListener("change", () => this.told());
  }

  /** The examples: looks of their codes, until they are decoded. */
  chooser() {
    this.thumbnails = this.labels.map((name, example) => {
      const canvas = mosaic(this.looks, this.codesOf(example), this.side);
      canvas.setAttribute("aria-hidden", "true");
      const click = () => this.choose(example);
      return make("button", { type: "button", class: "gen-image", click }, canvas, name);
    });
    this.decodeLater(0);
    return make("div", { class: "gen-strip gen-small" }, ...this.thumbnails);
  }

  /** Decode examples one by one, so that nothing has to wait for all of them. */
  decodeLater(example) {
    if (example >= this.labels.length) return;
    const timer = setTimeout(() => {
      const canvas = this.thumbnails[example].querySelector("canvas");
      canvas.getContext("2d").drawImage(pictureOf(this.decoded(this.codesOf(example))), 0, 0);
      this.decodeLater(example + 1);
    });
    this.stage.undo.push(() => clearTimeout(timer));
  }

  /** What comes next: the image so far, the likeliest codes, and the bits of all. */
  nextPart() {
    const { stage } = this;
    this.sofar = new Chart(stage, { role: "img" }, NONE);
    this.strip = new Chart(stage, { class: "gen-drag", role: "img" }, { left: 26, right: 12, top: 14, bottom: 34 });
    this.rows = Array.from({ length: this.most }, () => this.row());
    const image = captioned([make("b", {}, "Decoded from the codes so far")], this.sofar.box);
    image.style.cssText = "flex:1 1 220px;max-width:340px";
    const list = captioned(
      [make("b", {}, "Which code comes next?"), key(COLORS.learned, "the true one")],
      make("div", { class: "gen-next" }, ...this.rows.map((one) => one.button)),
    );
    list.style.cssText = "flex:1 1 240px;max-width:none";
    const bits = captioned(
      [make("b", {}, "Bits of each true code"), make("span", { class: "gen-plain" }, "dashed: all equally likely")],
      this.strip.box,
      this.says.next,
    );
    bits.style.cssText = "flex:2 1 330px";
    return [
      bar(this.player.button, this.slider.row),
      make("div", { class: "gen-two", style: "margin-top:8px" }, image, list, bits),
    ];
  }

  /** A code that may come next; it can be put into the grid. */
  row() {
    const look = make("canvas", { width: LOOK, height: LOOK, "aria-hidden": "true" });
    const [number, length, p] = [make("span"), make("i"), make("span")];
    const one = { look, number, length, p, code: 0 };
    const click = () => this.put(this.now.written, one.code);
    one.button = make("button", { type: "button", click }, look, number, make("span", {}, length), p);
    return one;
  }

  manual() {
    const next = this.known
      ? " Space plays, comma and full stop go a code back and on, Home and End to no codes and all. A click on a code that " +
        "may come next puts it into the grid. Probabilities are given the original codes, whatever was exchanged."
      : "";
    return (
      "Click a code of the grid, then one of those to put there; pointing at one tries it. Keys, with the grid chosen: arrows move, Enter goes to " +
      "the codes to put there, where arrows try them, Enter puts one and Escape does not; Delete brings the original code back, " +
      `u undoes, e and shift e choose the example, 0 begins again.${next}`
    );
  }

  show() {
    const { now } = this;
    this.cells.input.value = now.cells;
    this.order.input.value = now.order;
    this.slider.show(now.written);
    this.undo.disabled = !this.past.length;
    this.back.disabled = !now.edits;
    this.thumbnails.forEach((one, k) => one.setAttribute("aria-pressed", k === now.example));
  }

  // --- what the reader does -----------------------------------------------------------------------

  listen() {
    const { grid, palette, picture, sofar, strip } = this;
    const squared = (chart) => (event) => {
      const box = chart.canvas.getBoundingClientRect();
      const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      const [column, row] = at.map((v) => bounded(this.side - 1, Math.floor(v * this.side)));
      return row * this.side + column;
    };
    for (const chart of [grid, picture]) {
      const under = squared(chart);
      chart.canvas.addEventListener("click", (event) => this.set({ place: under(event) }));
    }
    this.keyed(grid.canvas, (event) => this.press(event));
    this.keyed(palette.canvas, (event) => this.pressed(event));
    this.point(palette.canvas);
    if (!this.known) return;
    const under = squared(sofar);
    sofar.canvas.addEventListener("click", (event) => this.to(under(event)));
    const near = (event) => Math.abs(strip.x(strip.under(event)[0]) - strip.x(this.now.written)) < GRASP;
    draggable(strip.canvas, {
      near,
      put: (event) => {
        this.player.pause();
        this.write(strip.under(event)[0]);
      },
      done: () => this.told(),
    });
  }

  keyed(canvas, press) {
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !press(event)) return;
      event.preventDefault();
    });
  }

  /** A pointer or a finger tries the code under it while it is there; a click, or lifting the finger, puts it. */
  point(canvas) {
    const under = (event) => {
      const box = canvas.getBoundingClientRect();
      const column = bounded(this.columns - 1, Math.floor(((event.clientX - box.left) / box.width) * this.columns));
      const row = Math.max(0, Math.floor(((event.clientY - box.top) / box.width) * this.columns));
      return this.sorted()[bounded(this.count - 1, row * this.columns + column)];
    };
    canvas.addEventListener("pointermove", (event) => this.test(under(event)));
    canvas.addEventListener("pointerup", (event) => {
      if (event.pointerType === "touch" && this.tried !== null) this.put(this.now.place, this.tried);
    });
    for (const end of ["pointerleave", "pointercancel"]) canvas.addEventListener(end, () => this.test(null));
    canvas.addEventListener("blur", () => this.test(null));
    canvas.addEventListener("click", (event) => this.put(this.now.place, under(event)));
  }

  /** Do what a key of the grid is for; tells whether it is for anything. */
  press(event) {
    const { now } = this;
    const way = WAYS[event.key];
    const letter = event.key.toLowerCase();
    const turn = (v, n) => (v + (event.shiftKey ? n - 1 : 1)) % n;
    if (way) this.set({ place: stepOnGrid(now.place, this.side, way) });
    else if (event.key === "Enter") this.palette.canvas.focus();
    else if (["Delete", "Backspace"].includes(event.key)) this.put(now.place, this.original[now.place]);
    else if (letter === "u") this.takeBack();
    else if (letter === "e") this.choose(turn(now.example, this.labels.length));
    else if (event.key === "0") this.again();
    else return this.known && this.playing(event.key);
    return true;
  }

  /** The same of keys that write codes. */
  playing(key) {
    const to = { ",": this.now.written - 1, ".": this.now.written + 1, Home: 0, End: this.places }[key];
    if (key === " ") this.player.toggle();
    else if (to !== undefined) this.to(to);
    else return false;
    return true;
  }

  /** The same of a key with the codes to put there. */
  pressed(event) {
    const order = this.sorted();
    const at = order.indexOf(this.tried ?? this.codes[this.now.place]);
    const way = WAYS[event.key];
    const ends = { Home: 0, End: this.count - 1 };
    if (way) {
      const to = at + way[0] - way[1] * this.columns;
      if (to >= 0 && to < this.count) this.test(order[to]);
    } else if (event.key in ends) this.test(order[ends[event.key]]);
    else if (event.key === "Enter" || event.key === " ") {
      this.put(this.now.place, order[at]);
      this.grid.canvas.focus();
    } else if (event.key === "Escape") this.grid.canvas.focus();
    else return false;
    return true;
  }

  /** Show what a code would do at the place; null shows what is there. */
  test(code) {
    if (code === this.tried) return;
    this.tried = code;
    this.drawGrid();
    if (code !== null) this.aloud.textContent = this.says.change.textContent;
  }

  /** Put a code at a place. */
  put(place, code) {
    if (place >= this.places) return;
    const edits = readEdits(this.now.edits, this.places, this.count).set(place, code);
    this.tried = null;
    this.now.place = place;
    this.exchange(writeEdits(edits, this.original));
  }

  /** Other edits, which can be undone. */
  exchange(edits) {
    if (edits !== this.now.edits) this.past.push(this.now.edits);
    this.set({ edits });
  }

  takeBack() {
    if (this.past.length) this.set({ edits: this.past.pop() });
  }

  choose(example) {
    this.past = [];
    this.set({ example, edits: "" });
  }

  again() {
    this.player.pause();
    this.past = [];
    this.set(structuredClone(this.stage.get("start")));
  }

  heard() {
    this.past = [];
    super.heard();
  }

  /** So many codes are written. */
  write(written) {
    this.now.written = bounded(this.places, written);
    this.slider.show(this.now.written);
    this.drawNext();
  }

  to(written) {
    this.player.pause();
    this.write(written);
    this.told();
  }

  tick(seconds) {
    if (!this.player.playing) return false;
    this.way += RATE * seconds;
    if (Math.floor(this.way) !== this.now.written) this.write(Math.floor(this.way));
    if (this.way >= this.places) this.player.pause();
    return this.player.playing;
  }

  told() {
    this.stage.tell(this.now);
    this.aloud.textContent = `${this.says.change.textContent} ${this.says.next.textContent}`;
  }

  // --- what is seen and said ----------------------------------------------------------------------

  /** The codes of the grid, with what was put there. */
  get codes() {
    return withEdits(this.original, readEdits(this.now.edits, this.places, this.count));
  }

  /** All codes in the order in which they are offered. */
  sorted() {
    const { example, order, place } = this.now;
    const asked = `${example} ${order} ${place}`;
    if (this.offered?.asked === asked) return this.offered.codes;
    const similar = (code) => bySimilarity(this.book, this.latent, code);
    const likely = order === "likeliest" ? this.coming(place).map(({ code }) => code) : [];
    const codes = {
      likeliest: () => withFirst(likely, similar(likely[0])),
      similar: () => similar(this.original[place]),
      brightness: () => byBrightness(this.looks, PATCH),
    }[order]();
    this.offered = { asked, codes, likely: likely.length };
    return codes;
  }

  draw() {
    this.drawGrid();
    if (this.known) this.drawNext();
  }

  /** Everything but what comes next. */
  drawGrid() {
    const { now, original, side, tried } = this;
    const codes = this.codes;
    if (tried !== null) codes[now.place] = tried;
    const changed = codes.flatMap((code, p) => (code === original[p] ? [] : [p]));
    const [before, after] = [this.decoded(original), this.decoded(codes)];
    const change = after.map((v, i) => v - before[i]);
    const scene = {
      ...now,
      changed,
      change,
      codes,
      looks: this.looks,
      side,
      original,
      bits: this.cost,
      most: this.even,
    };
    drawCodes(this.grid, scene);
    drawDecoded(this.picture, { ...scene, picture: pictureOf(after) });
    drawChange(this.differs, scene);
    this.drawPalette(codes[now.place]);
    const parts = whereChanged(change, side, changed.length ? changed : [now.place]);
    const label = this.labels[now.example];
    sayChange(this.says.change, { ...scene, label, count: this.count, parts });
    this.picture.canvas.setAttribute("aria-label", `The image of the codes (${label})`);
    this.differs.canvas.setAttribute("aria-label", `What changed. ${this.says.change.textContent}`);
  }

  drawPalette(code) {
    const { box } = this.palette;
    this.columns = (box.clientWidth || 300) < NARROW ? 16 : 32;
    const order = this.sorted();
    const asked = `${this.offered.asked} ${this.columns}`;
    if (this.laid?.asked !== asked) this.laid = { asked, picture: mosaic(this.looks, order, this.columns) };
    const at = (one) => (one === null ? null : order.indexOf(one));
    const [now, tried] = [at(this.codes[this.now.place]), at(this.tried)];
    const { likely } = this.offered;
    const { picture } = this.laid;
    drawOffered(this.palette, { picture, columns: this.columns, count: this.count, now, tried, likely });
    const coming = likely ? this.coming(this.now.place).find((one) => one.code === code) : null;
    this.offers.textContent = `code ${code}${coming ? `, p = ${inPercent(coming.p)}` : ""}`;
  }

  drawNext() {
    const { cost: bits, even, now, original, side } = this;
    const { written } = now;
    const picture = pictureOf(this.decoded(original, written));
    drawWritten(this.sofar, { picture, side, written });
    const coming = written < this.places ? this.coming(written) : [];
    const most = Math.max(...coming.map(({ p }) => p));
    this.rows.forEach((row, k) => this.fill(row, coming[k], { most, next: original[written] }));
    drawBits(this.strip, { bits, even, written });
    sayNext(this.says.next, { bits, even, written, code: original[written] });
    this.sofar.canvas.setAttribute("aria-label", `The image of the first ${written} codes; the rest is not known yet`);
    this.strip.canvas.setAttribute("aria-label", `Bits of each code. ${this.says.next.textContent}`);
  }

  /** A code that may come next, in its row. */
  fill(row, coming, { most, next }) {
    row.button.disabled = !coming;
    row.button.style.visibility = coming ? "" : "hidden";
    if (!coming) return;
    const { code, p } = coming;
    if (row.code !== code || !row.drawn) {
      const pen = row.look.getContext("2d");
      pen.imageSmoothingEnabled = false;
      pen.drawImage(mosaic(this.looks, [code], 1), 0, 0, LOOK, LOOK);
      Object.assign(row, { code, drawn: true });
    }
    const right = code === next;
    row.number.textContent = right ? `${code} ✓` : `${code}`;
    row.length.style.width = `${(100 * p) / most}%`;
    row.p.textContent = inPercent(p);
    row.button.classList.toggle("gen-true", right);
    row.button.title = `Put code ${code} into the grid${right ? "; it is the true one" : ""}`;
  }
}

const render = (host) => new CodeLabFigure(host).begin();

export default { render };
