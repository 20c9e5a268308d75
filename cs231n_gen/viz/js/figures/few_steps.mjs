// FewSteps: a noise to drag, its image under the exact flow, and where students put it in a few calls. All
// images were computed beforehand on a grid of noises, and are blended between them.

import { halves } from "../math/codec.mjs";
import { heightAt, imageOf, meanDistance, NoiseGrid, smoothLine, widest } from "../math/noise_tables.mjs";
import { normals } from "../math/normal.mjs";
import { bar, captioned, key } from "../ui/captions.mjs";
import { Chart } from "../ui/chart.mjs";
import { button, byArrows, Clock, draggable, Player, select } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { counted } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { GRASP, Plane } from "../ui/plane.mjs";
import { CloseUp, colorOf, drawCloseUp, drawCurves, drawGround, drawImages, drawShape } from "./few_steps_draw.mjs";
import { far, sayCurves, sayImages } from "./few_steps_words.mjs";

const SETTING = ["z", "calls", "shown", "crowd", "line"];
const CROWD = 500; // samples
const NEAR = 0.4; // half the width of the close-up
const SECONDS = 12; // of a turn around the origin
const TURNS = 16; // of it, for who wants less motion
const SLOWEST = 0.8; // radius of such a turn, at least

const LOOSE =
  "* It draws new noise on its way, or was trained on the data as a whole: it need not be near. See its samples.";

const within = (low, high, v) => Math.min(high, Math.max(low, v));

class FewStepsFigure extends Figure {
  constructor(host) {
    super(host, "few-steps", SETTING);
    const { stage } = this;
    this.grid = new NoiseGrid(...stage.get("grid"));
    this.data = halves(stage.get("data"));
    this.unpack();
    this.tidy();
    this.drawn = 0; // noises that were drawn
    this.clock = new Clock(stage, (seconds) => this.tick(seconds));
    this.build();
    this.listen();
  }

  /** Tables and curves from their bytes. */
  unpack() {
    const { grid, stage } = this;
    const numbers = halves(stage.get("tables"));
    const size = 2 * grid.side ** 2;
    let read = 0;
    const table = () => numbers.subarray(size * read, size * ++read);
    this.exact = table();
    this.paths = Array.from({ length: stage.get("levels") }, table);
    const weights = grid.weights();
    this.students = stage.get("students").map(({ name, calls, loose }, k) => {
      const tables = new Map(calls.map((n) => [n, table()]));
      const means = new Map(calls.map((n) => [n, meanDistance(tables.get(n), this.exact, weights)]));
      return { k, name, tables, means, mark: (n) => (loose && n >= loose ? "*" : "") };
    });
    this.offered = [...new Set(this.students.flatMap(({ tables }) => [...tables.keys()]))].sort((a, b) => a - b);
    this.over = stage.get("curve_noises");
    const heights = halves(stage.get("curves"));
    const n = this.over.length;
    const more = this.students.map(({ name }) => name);
    this.curves = stage.get("curve_names").map((name, i) => {
      if (i && !more.includes(name)) more.push(name);
      return { name, k: i ? more.indexOf(name) : -1, xs: Array.from(heights.subarray(i * n, (i + 1) * n)) };
    });
  }

  tidy() {
    const { grid, now, offered, students } = this;
    now.z = now.z.map((v) => within(-grid.reach, grid.reach, v));
    if (!offered.includes(now.calls)) now.calls = offered.findLast((n) => n < now.calls) ?? offered[0];
    now.shown = students.map((_, k) => Number(now.shown[k] !== 0));
    if (!["", "exact"].includes(now.crowd) && !students.some(({ name }) => name === now.crowd)) now.crowd = "";
    if (this.over.length) now.line = within(this.over[0], this.over.at(-1), now.line);
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.shapes = [];
    this.canvases();
    this.controls();
    const keys = [
      make("b", {}, "One noise and its images"),
      key(COLORS.noise, "noise z"),
      key(COLORS.exact, "exact flow"),
      ...(this.data.length ? [key(COLORS.data, "data")] : []),
    ];
    const plane = captioned(keys, this.plane.box);
    plane.style.cssText = "flex:1 1 380px;max-width:600px";
    const near = captioned([make("b", {}, `${Math.round(this.plane.extent / NEAR)} times closer`)], this.near.box);
    near.style.cssText = "flex:1 1 170px;max-width:260px;margin:0";
    const beside = make(
      "div",
      { style: "flex:1 1 340px;min-width:0" },
      this.table(),
      make("div", { style: "display:flex;flex-wrap:wrap;gap:12px;margin-top:8px" }, near, this.says.images),
    );
    const buttons = [
      this.player.button,
      button("New noise", () => this.redraw()),
      this.crowd.row,
      button("Again", () => this.again()),
      stage.linkButton(() => this.now),
    ];
    stage.root.append(
      make("div", { class: "gen-two" }, plane, beside),
      bar(...buttons),
      ...this.onTheLine(),
      make("p", { class: "gen-keys" }, this.manual()),
      this.aloud,
    );
  }

  canvases() {
    const { stage } = this;
    this.plane = new Plane(stage, stage.get("extent"), {
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys move the noise.`,
      "aria-roledescription": "figure with a noise to drag",
    });
    this.near = new CloseUp(stage, NEAR, { role: "img", "aria-label": "The exact image and what is near it" });
    const attributes = {
      class: "gen-drag",
      tabindex: 0,
      role: "application",
      "aria-label": "The exact map on the line, and those of students. Left and right move the noise.",
      "aria-roledescription": "figure with a noise to drag",
    };
    this.chart = new Chart(stage, attributes, { left: 30, right: 24, top: 12, bottom: 30 });
    this.says = {
      images: make("p", { class: "gen-says", style: "flex:1 1 150px;margin:0;min-height:9em" }),
      curves: make("p", { class: "gen-says", style: "min-height:1.5em" }),
    };
  }

  controls() {
    const { stage, students } = this;
    this.player = new Player(stage, this.clock, {
      step: () => this.set({ z: this.turned(1 / TURNS) }),
      paused: () => this.told(),
    });
    const whose = [["", "nobody’s"], ["exact", "the exact flow’s"], ...students.map(({ name }) => [name, name])];
    this.crowd = select("samples", whose, (crowd) => this.set({ crowd }));
    this.crowd.row.style.maxWidth = "100%";
    this.crowd.input.style.minWidth = 0; // long names would make it too wide
  }

  /** The shape of a student in its colour, before its name. */
  shape(k) {
    const canvas = make("canvas", { width: 36, height: 36, style: "width:18px;height:18px", "aria-hidden": "true" });
    this.shapes.push({ k, canvas });
    return canvas;
  }

  /** Students with their shapes, and how far each is from the exact image. */
  table() {
    const { offered, students } = this;
    this.choices = offered.map((calls) => button(counted(calls, "call"), () => this.set({ calls })));
    const head = this.choices.map((one) => make("th", { scope: "col" }, one));
    this.rows = students.map((student) => this.row(student));
    this.mean = make("th", { scope: "col" });
    return make(
      "div",
      { style: "overflow-x:auto" },
      make(
        "table",
        { class: "gen-table" },
        make("caption", {}, "Distance from the exact image"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "student"), ...head, this.mean)),
        make("tbody", {}, ...this.rows.map(({ row }) => row)),
      ),
      ...(students.some(({ mark }) => mark(offered.at(-1))) ? [make("p", { class: "gen-keys" }, LOOSE)] : []),
    );
  }

  row({ k, name, tables }) {
    const input = make("input", { type: "checkbox" });
    input.addEventListener("change", () => {
      this.set({ shown: this.now.shown.map((on, i) => (i === k ? Number(input.checked) : on)) });
    });
    const cells = new Map(this.offered.map((n) => [n, make("td", {}, tables.has(n) ? "" : "–")]));
    const mean = make("td");
    const row = make(
      "tr",
      {},
      make("th", { scope: "row" }, make("label", {}, input, this.shape(k), name)),
      ...cells.values(),
      mean,
    );
    const choose = (chosen) => () => {
      this.chosen = chosen;
      this.draw();
    };
    for (const event of ["pointerenter", "focusin"]) row.addEventListener(event, choose(k));
    for (const event of ["pointerleave", "focusout"]) row.addEventListener(event, choose(null));
    return { row, input, cells, mean };
  }

  /** The exact map on the line and those of students, if there are any. */
  onTheLine() {
    if (!this.curves.length) return [];
    const style = "display:inline-flex;gap:5px;align-items:center;font-size:inherit";
    const keys = this.curves.slice(1).map(({ name, k }) => make("small", { style }, this.shape(k), name));
    keys.unshift(make("b", {}, "On the line"), key(COLORS.exact, "exact: x = F⁻¹(Φ(z))"));
    const part = captioned(keys, this.chart.box, this.says.curves);
    part.style.margin = "12px 0 0";
    return [part];
  }

  manual() {
    const digits = this.offered.filter((n) => n < 10).join(", ");
    return (
      "Drag the cross. Keys, with the plane chosen: arrows move the noise (with shift, further), " +
      `${digits ? `digits choose the calls (${digits}), ` : ""}n draws a noise, space plays, 0 begins again. ` +
      "A row of the table that is pointed at stands out, with the images that it gives with other numbers of calls in white. " +
      `${this.grid.side} × ${this.grid.side} noises were sampled beforehand; between them, the nearest four are blended.`
    );
  }

  show() {
    const { crowd, now } = this;
    this.rows.forEach(({ input }, k) => (input.checked = Boolean(now.shown[k])));
    this.choices.forEach((one, i) => one.setAttribute("aria-pressed", this.offered[i] === now.calls));
    this.mean.textContent = `mean, ${counted(now.calls, "call")}`;
    crowd.input.value = now.crowd;
  }

  // --- what the reader does -----------------------------------------------------------------------

  listen() {
    const { chart, plane } = this;
    draggable(plane.canvas, {
      near: (event) => plane.near(event, this.now.z),
      put: (event) => {
        this.player.stop();
        this.move(plane.under(event));
      },
      done: () => this.told(),
    });
    draggable(chart.canvas, {
      near: (event) => Math.abs(chart.x(chart.under(event)[0]) - chart.x(this.now.line)) < GRASP,
      put: (event) => this.slide(chart.under(event)[0]),
      done: () => this.told(),
    });
    const keyed = (canvas, press) => {
      canvas.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || !press(event)) return;
        event.preventDefault();
        this.told();
      });
    };
    keyed(plane.canvas, (event) => this.press(event));
    keyed(chart.canvas, (event) => this.pressOnLine(event));
  }

  /** Do what a key is for; tells whether it is for anything. */
  press(event) {
    const to = byArrows(event, this.now.z);
    if (to) {
      this.player.stop();
      this.move(to);
    } else if (event.key === "n") this.redraw();
    else if (event.key === " ") this.player.toggle();
    else if (event.key === "0") this.restart();
    else if (this.offered.includes(Number(event.key))) this.change({ calls: Number(event.key) });
    else return false;
    return true;
  }

  pressOnLine(event) {
    const to = byArrows(event, [this.now.line, 0]);
    if (to) this.slide(to[0]);
    return Boolean(to);
  }

  /** Move the noise: no control shows it. */
  move(z) {
    this.now.z = z;
    this.tidy();
    this.draw();
  }

  slide(line) {
    this.now.line = line;
    this.tidy();
    this.drawLine();
  }

  redraw() {
    this.player.stop();
    const noise = normals(this.drawn++, 2);
    this.set({ z: [...noise] });
  }

  restart() {
    this.player.pause();
    this.change(structuredClone(this.stage.get("start")));
  }

  again() {
    this.restart();
    this.told();
  }

  /** The noise after some turns around the origin. */
  turned(by) {
    const [x, y] = this.now.z;
    const radius = Math.max(SLOWEST, Math.hypot(x, y));
    const angle = Math.atan2(y, x) + 2 * Math.PI * by;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  }

  tick(seconds) {
    if (!this.player.playing) return false;
    this.move(this.turned(seconds / SECONDS));
    return true;
  }

  told() {
    this.stage.tell(this.now);
    this.aloud.textContent = `${this.says.images.textContent} ${this.says.curves.textContent}`;
  }

  // --- what is computed ---------------------------------------------------------------------------

  /** All images of the noise. */
  scene() {
    const { chosen, exact: table, grid, now, paths, students } = this;
    const shares = grid.shares(now.z);
    const exact = imageOf(table, shares);
    const from = (one) => Math.hypot(one[0] - exact[0], one[1] - exact[1]);
    const landed = [];
    const distances = students.map(({ k, name, tables }) => {
      const images = new Map([...tables].map(([n, one]) => [n, imageOf(one, shares)]));
      const at = images.get(now.calls);
      const others = [...images].filter(([n]) => n !== now.calls).map(([n, one]) => ({ n, at: one }));
      if (at && now.shown[k]) landed.push({ k, name, at, distance: from(at), chosen: k === chosen, others });
      return new Map([...images].map(([n, one]) => [n, from(one)]));
    });
    const line = smoothLine([now.z, ...paths.map((one) => imageOf(one, shares)), exact]);
    const { data } = this;
    const apart = widest(table, shares);
    return { now, exact, landed, distances, line, data, crowd: this.sampled(), gap: grid.gap, apart };
  }

  /** Samples of whose crowd is drawn, at noises of the grid: nothing is blended. */
  sampled() {
    const { exact, grid, now, students } = this;
    const asked = `${now.crowd} ${now.calls}`;
    if (this.crowded?.asked === asked) return this.crowded.crowd;
    this.nodes ??= grid.nearest(normals(0, 2 * CROWD));
    const student = students.find(({ name }) => name === now.crowd);
    const table = now.crowd === "exact" ? exact : student?.tables.get(now.calls);
    const color = student ? colorOf(student.k) : COLORS.exact;
    const xy = table && Float32Array.from(this.nodes.flatMap((at) => [table[2 * at], table[2 * at + 1]]));
    this.crowded = { asked, crowd: table ? { xy, color } : null };
    return this.crowded.crowd;
  }

  // --- what is seen and said ----------------------------------------------------------------------

  draw(behind = false) {
    const scene = this.scene();
    if (this.plane.fit() || behind) {
      drawGround(this.plane, scene);
      this.drawShapes();
      this.drawLine();
    }
    drawImages(this.plane, scene);
    this.near.fit();
    drawCloseUp(this.near, scene);
    this.fill(scene);
    sayImages(this.says.images, scene);
  }

  /** The shapes of students before their names. */
  drawShapes() {
    this.shapes.forEach(({ k, canvas }) => {
      const pen = canvas.getContext("2d");
      pen.clearRect(0, 0, 36, 36);
      drawShape(pen, k, 18, 18, 12, this.stage.theme.ink);
    });
  }

  /** Distances in the table. */
  fill({ distances }) {
    const { calls } = this.now;
    this.rows.forEach(({ cells, mean }, k) => {
      const { mark, means } = this.students[k];
      for (const [n, distance] of distances[k]) {
        cells.get(n).textContent = far(distance) + mark(n);
      }
      for (const [n, cell] of cells) cell.className = n === calls ? "gen-now" : "";
      mean.textContent = means.has(calls) ? far(means.get(calls)) + mark(calls) : "–";
    });
  }

  drawLine() {
    if (!this.curves.length) return;
    const { now, over, students } = this;
    const curves = this.curves.map((one) => {
      const on = one.k < 0 || one.k >= students.length || now.shown[one.k];
      return { ...one, on, height: heightAt(over, one.xs, now.line) };
    });
    drawCurves(this.chart, { now, over, curves });
    sayCurves(this.says.curves, { now, curves });
  }
}

const render = (host) => new FewStepsFigure(host).begin();

export default { render };
