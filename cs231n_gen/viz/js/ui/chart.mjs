// A wide canvas with axes, for curves on the line.

import { make } from "./dom.mjs";

export const SERIF = "italic 14px Georgia, serif"; // of symbols
export const BOLD = "600 12px system-ui, sans-serif";

/** A canvas as wide as its box; `x` and `y` take numbers to places on the screen. */
export class Chart {
  constructor(stage, attributes, edges) {
    this.stage = stage;
    this.edges = edges; // pixels left free: { left, right, top, bottom }
    this.canvas = make("canvas", attributes);
    this.box = make("div", { class: "gen-wide" }, this.canvas);
  }

  /** A cleared canvas of this height over its width, and the window that it shows. */
  begin(height, [low, high]) {
    this.width = Math.round(this.box.clientWidth) || 300;
    this.height = Math.round(height(this.width));
    this.window = [low, high];
    const dense = Math.min(2, globalThis.devicePixelRatio || 1);
    this.canvas.width = this.width * dense;
    this.canvas.height = this.height * dense;
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(dense, 0, 0, dense, 0, 0);
    this.pen.lineCap = this.pen.lineJoin = "round";
    this.floor = this.height - this.edges.bottom;
    return this.pen;
  }

  x(value) {
    const [low, high] = this.window;
    const inside = this.width - this.edges.left - this.edges.right;
    return this.edges.left + ((value - low) / (high - low)) * inside;
  }

  /** The number, and the height in pixels, under a pointer. */
  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const [low, high] = this.window;
    const inside = box.width - this.edges.left - this.edges.right;
    const part = (event.clientX - box.left - this.edges.left) / inside;
    return [low + part * (high - low), event.clientY - box.top];
  }

  /** A line across, with its name before it. */
  across(y, name, { dash = [], strong = false } = {}) {
    const { line, faint } = this.stage.theme;
    const [from, to] = [this.edges.left, this.width - this.edges.right];
    this.segment([from, y], [to, y], strong ? faint : line, { width: 1, dash });
    this.text(name, this.edges.left - 6, y + 4, "right");
  }

  text(words, x, y, align = "center", color = this.stage.theme.faint, font = "11px system-ui, sans-serif") {
    Object.assign(this.pen, { font, textAlign: align, fillStyle: color });
    this.pen.fillText(words, x, y);
  }

  /** A curve through places on the screen. */
  stroke(places, color, { width = 2.5, dash = [], fill = null } = {}) {
    const { pen } = this;
    pen.beginPath();
    for (const [x, y] of places) pen.lineTo(x, y);
    Object.assign(pen, { strokeStyle: color, lineWidth: width });
    pen.setLineDash(dash);
    pen.stroke();
    pen.setLineDash([]);
    if (fill === null) return;
    pen.lineTo(places.at(-1)[0], fill);
    pen.lineTo(places[0][0], fill);
    Object.assign(pen, { globalAlpha: 0.2, fillStyle: color });
    pen.fill();
    pen.globalAlpha = 1;
  }

  /** A straight line between two places on the screen. */
  segment(from, to, color, how) {
    this.stroke([from, to], color, how);
  }

  disc(x, y, radius, fill, edge = this.stage.theme.paper, width = 2) {
    const { pen } = this;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    Object.assign(pen, { fillStyle: fill, strokeStyle: edge, lineWidth: width });
    pen.fill();
    pen.stroke();
  }
}
