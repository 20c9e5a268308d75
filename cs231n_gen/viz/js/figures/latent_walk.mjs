// LatentWalk: a plane of three latents to walk in; its pictures were decoded beforehand on a grid.

import { around, blend, nearest, onGrid, onTriangle, unpacked } from "../math/image_grid.mjs";
import { bar, panel } from "../ui/captions.mjs";
import { Clock, draggable, Player, WAYS } from "../ui/controls.mjs";
import { make, paint } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { signed } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { drawContacts, drawWalk, Sheet } from "./latent_walk_draw.mjs";

const SECONDS = 3; // from corner to corner
const STEPS = 8; // on that way, for who wants less motion
const ACROSS = 9; // thumbnails in a row, about
const SETTING = ["u", "v"];

class LatentWalkFigure extends Figure {
  constructor(host) {
    super(host, "walk", SETTING);
    const { stage } = this;
    for (const name of ["corners", "labels", "extent", "shape", "typical"]) this[name] = stage.get(name);
    this.norms = stage.get("norms").flat();
    this.greys = unpacked(stage.get("pictures"), this.shape, stage.get("levels"));
    const [rows, columns] = this.shape;
    this.grid = [rows, columns];
    this.gap = [columns, rows].map((n, d) => (this.extent[d][1] - this.extent[d][0]) / (n - 1)); // of the grid
    this.every = Math.max(1, Math.ceil((Math.max(rows, columns) - 1) / (ACROSS - 1)));
    this.clock = new Clock(stage, (seconds) => this.tick(seconds));
    this.tidy();
    this.build();
  }

  tidy() {
    SETTING.forEach((key, d) => {
      const [low, high] = this.extent[d];
      this.now[key] = Math.min(high, Math.max(low, this.now[key]));
    });
  }

  /** The points of the grid around a place, each with its share. */
  shares(u, v) {
    return around(onGrid(this.extent, this.grid, u, v), this.grid);
  }

  /** The picture of these shares. */
  blend(shares) {
    const [, , height, width] = this.shape;
    return blend(this.greys, height * width, shares);
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    const margin = this.gap.map((one) => 0.5 * this.every * one);
    this.sheet = new Sheet(stage, this.extent, margin, {
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys move the point.`,
      "aria-roledescription": "figure with a point to drag",
    });
    this.picture = this.canvas({ role: "img" });
    this.player = new Player(stage, this.clock, {
      step: () => this.step(),
      start: () => Object.assign(this.clock, { s: nearest(this.corners, this.now.u, this.now.v) }),
      paused: () => this.told(),
    });
    this.says = make("p", { class: "gen-says" });
    stage.root.append(
      make(
        "div",
        { class: "gen-panels" },
        panel("The plane of three latents", COLORS.noise, this.sheet.box),
        panel("The picture at the point", COLORS.noise, make("div", { class: "gen-plane gen-pixels" }, this.picture)),
      ),
      bar(
        this.player.button,
        stage.linkButton(() => this.now),
        make("div", { class: "gen-strip gen-small" }, ...this.corners.map((_, k) => this.thumbnail(k))),
      ),
      this.says,
      make("p", { class: "gen-keys" }, this.manual()),
      this.aloud,
    );
    this.listen(this.sheet.canvas);
  }

  canvas(attributes) {
    const [, , height, width] = this.shape;
    return make("canvas", { width, height, ...attributes });
  }

  /** The picture of a latent, which jumps to it. */
  thumbnail(k) {
    const canvas = this.canvas({ "aria-hidden": "true" });
    paint(canvas, this.blend(this.shares(...this.corners[k])));
    const click = () => this.go(this.corners[k]);
    return make("button", { type: "button", class: "gen-image", click }, canvas, `${k + 1}: ${this.labels[k]}`);
  }

  manual() {
    const [rows, columns] = this.grid;
    return (
      "Drag the point. Keys, with the plane chosen: arrows move it by a step of the grid (with shift, by a " +
      `quarter), 1, 2 and 3 jump to the latents, space plays. ${rows} × ${columns} pictures were decoded beforehand; ` +
      "between them, the nearest four are blended."
    );
  }

  // --- what the reader does -----------------------------------------------------------------------

  listen(canvas) {
    draggable(canvas, {
      near: (touch) => this.sheet.near(touch, [this.now.u, this.now.v]),
      put: (event) => {
        this.player.stop();
        this.put(this.sheet.under(event));
      },
      done: () => this.told(),
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const way = WAYS[event.key];
      const by = event.shiftKey ? 0.25 : 1;
      const corner = this.corners[Number(event.key) - 1];
      if (way) this.go([this.now.u + by * this.gap[0] * way[0], this.now.v + by * this.gap[1] * way[1]]);
      else if (event.key === " ") this.player.toggle();
      else if (corner) this.go(corner);
      else return;
      event.preventDefault();
    });
  }

  put([u, v]) {
    Object.assign(this.now, { u, v });
    this.tidy();
    this.draw();
  }

  go(place) {
    this.player.stop();
    this.put(place);
    this.told();
  }

  /** On towards the next corner. */
  step() {
    const s = nearest(this.corners, this.now.u, this.now.v);
    this.go(onTriangle(this.corners, (Math.floor(s * STEPS + 1e-6) + 1) / STEPS));
  }

  tick(seconds) {
    if (!this.player.playing) return false;
    this.clock.s = (this.clock.s + seconds / SECONDS) % 3;
    this.put(onTriangle(this.corners, this.clock.s));
    return true;
  }

  told() {
    this.stage.tell(this.now);
    this.aloud.textContent = this.says.textContent;
  }

  // --- what is drawn and said ---------------------------------------------------------------------

  draw(behind = false) {
    const { u, v } = this.now;
    if (this.sheet.fit() || behind) this.drawBehind();
    drawWalk(this.sheet, this.now, this.corners, this.labels);
    const shares = this.shares(u, v);
    paint(this.picture, this.blend(shares));
    const where = `u = ${signed(u)}, v = ${signed(v)}`;
    this.picture.setAttribute("aria-label", `The picture at ${where}`);
    const norm = shares.reduce((sum, [at, share]) => sum + share * this.norms[at], 0);
    const usual = this.typical ? `, typical ${this.typical.toFixed(1)}` : "";
    this.says.textContent = where + (this.norms.length ? `: ‖z‖ = ${norm.toFixed(1)}${usual}` : "");
  }

  /** Every so many pictures of the grid. */
  drawBehind() {
    const { every, extent, gap } = this;
    const [rows, columns] = this.grid;
    const pictures = [];
    for (let i = 0; i < rows; i += every) {
      for (let j = 0; j < columns; j += every) {
        const grey = this.blend([[i * columns + j, 1]]);
        pictures.push({ grey, u: extent[0][0] + j * gap[0], v: extent[1][0] + i * gap[1] });
      }
    }
    const side = gap.map((one) => every * one);
    drawContacts(this.sheet, this.canvas(), pictures, side);
  }
}

const render = (host) => new LatentWalkFigure(host).begin();

export default { render };
