// A square canvas on which points, paths and velocities of the plane are drawn.

import { make } from "./dom.mjs";
import { COLORS } from "./palette.mjs";

/** Pixels within which a finger takes hold of what can be dragged. */
export const GRASP = 36;

const MANY = 8000; // coordinates from which points are drawn as pixels

/** Red, green and blue of #rrggbb. */
export const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** A colour between noise (t = 1) and data (t = 0), over grey as in the still figures. */
export function between(t) {
  const grey = [204, 204, 204];
  const end = rgb(t > 0.5 ? COLORS.noise : COLORS.data);
  const part = Math.abs(2 * t - 1);
  return `rgb(${end.map((c, i) => Math.round(grey[i] + part * (c - grey[i]))).join(",")})`;
}

/** A square window on the plane: a layer behind, which changes seldom, and one in front. */
export class Plane {
  constructor(stage, extent, attributes) {
    this.stage = stage;
    this.extent = extent;
    this.canvas = make("canvas", attributes);
    this.back = make("canvas", { "aria-hidden": "true" });
    this.box = make("div", { class: "gen-plane" }, this.back, this.canvas);
  }

  /** Fit both layers to the size they have on the screen; tells whether that changed. */
  fit() {
    const width = Math.round(this.box.clientWidth) || 300;
    const dense = Math.min(2, globalThis.devicePixelRatio || 1);
    if (width === this.width && dense === this.dense) return false;
    Object.assign(this, { width, dense, scale: width / (2 * this.extent) });
    for (const canvas of [this.back, this.canvas]) {
      canvas.width = canvas.height = width * dense;
    }
    return true;
  }

  px(x) {
    return (x + this.extent) * this.scale;
  }

  py(y) {
    return (this.extent - y) * this.scale;
  }

  /** The point of the plane under a pointer. */
  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const per = (2 * this.extent) / box.width;
    return [(event.clientX - box.left) * per - this.extent, this.extent - (event.clientY - box.top) * per];
  }

  /** Whether a pointer or a finger is so near to a point that it takes hold of it. */
  near(event, [x, y]) {
    const [px, py] = this.under(event);
    return Math.hypot(this.px(px) - this.px(x), this.py(py) - this.py(y)) < GRASP;
  }

  /** A cleared layer to draw on, in units of the screen. */
  layer(canvas) {
    const pen = canvas.getContext("2d");
    pen.setTransform(this.dense, 0, 0, this.dense, 0, 0);
    pen.clearRect(0, 0, this.width, this.width);
    pen.lineCap = pen.lineJoin = "round";
    return pen;
  }

  /** Lines at 0 and at whole numbers, with the names of the axes. */
  axes(pen) {
    const { ink, faint, line } = this.stage.theme;
    const most = Math.floor(this.extent);
    pen.lineWidth = 1;
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "center";
    for (let k = -most; k <= most; k++) {
      pen.strokeStyle = line;
      pen.globalAlpha = k ? 0.45 : 1;
      pen.beginPath();
      pen.moveTo(this.px(k), 0);
      pen.lineTo(this.px(k), this.width);
      pen.moveTo(0, this.py(k));
      pen.lineTo(this.width, this.py(k));
      pen.stroke();
      pen.globalAlpha = 1;
      pen.fillStyle = faint;
      if (k && k % 2 === 0) {
        pen.fillText(k, this.px(k), this.width - 5);
        pen.fillText(k, 10, this.py(k) + 4);
      }
    }
    pen.fillStyle = ink;
    pen.font = "italic 13px Georgia, serif";
    pen.fillText("x₁", this.width - 12, this.width - 6);
    pen.fillText("x₂", 12, 14);
  }

  /** Points as small squares; many of them go straight into pixels, which is faster. */
  points(pen, xy, color, size, alpha = 1) {
    const [left, top] = [this.extent * this.scale - size / 2, this.extent * this.scale - size / 2];
    pen.globalAlpha = alpha;
    if (xy.length > MANY) {
      pen.drawImage(this.dust(xy, color, size, left, top), 0, 0, this.width, this.width);
    } else {
      pen.fillStyle = color;
      for (let i = 0; i < xy.length; i += 2) {
        pen.fillRect(left + xy[i] * this.scale, top - xy[i + 1] * this.scale, size, size);
      }
    }
    pen.globalAlpha = 1;
  }

  dust(xy, color, size, left, top) {
    const wide = this.canvas.width;
    if (this.scratch?.width !== wide) {
      this.scratch = make("canvas", { width: wide, height: wide });
      this.image = new ImageData(wide, wide);
      this.pixels = new Uint32Array(this.image.data.buffer); // 0xAABBGGRR
    }
    const [r, g, b] = color.startsWith("#") ? rgb(color) : color.match(/\d+/g).map(Number);
    const value = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    const side = Math.round(size * this.dense);
    this.pixels.fill(0);
    for (let i = 0; i < xy.length; i += 2) {
      const x = Math.round((left + xy[i] * this.scale) * this.dense);
      const y = Math.round((top - xy[i + 1] * this.scale) * this.dense);
      if (x < 0 || y < 0 || x > wide - side || y > wide - side) continue;
      for (let row = y * wide + x, end = row + side * wide; row < end; row += wide) {
        for (let k = 0; k < side; k++) this.pixels[row + k] = value;
      }
    }
    this.scratch.getContext("2d").putImageData(this.image, 0, 0);
    return this.scratch;
  }

  line(pen, path, from = 0, to = path.length / 2 - 1) {
    pen.beginPath();
    for (let k = from; k <= to; k++) pen.lineTo(this.px(path[2 * k]), this.py(path[2 * k + 1]));
    pen.stroke();
  }

  /** An arrow in units of the screen, its head no longer than itself. */
  arrow(pen, x, y, dx, dy, head = 4) {
    const length = Math.hypot(dx, dy);
    if (length < 0.5) return;
    const h = Math.min(head, length) / length;
    const [ex, ey] = [x + dx, y + dy];
    pen.moveTo(x, y);
    pen.lineTo(ex, ey);
    pen.moveTo(ex - h * (dx - 0.6 * dy), ey - h * (dy + 0.6 * dx));
    pen.lineTo(ex, ey);
    pen.lineTo(ex - h * (dx + 0.6 * dy), ey - h * (dy - 0.6 * dx));
  }

  disc(pen, x, y, radius, fill, edge) {
    pen.beginPath();
    pen.arc(this.px(x), this.py(y), radius, 0, 2 * Math.PI);
    pen.fillStyle = fill;
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = edge;
    pen.stroke();
  }
}
