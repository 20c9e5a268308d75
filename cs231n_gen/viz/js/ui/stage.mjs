// What figures share: the host, light and dark, planes to draw on, controls, a clock.

import { fromLink, toLink } from "../math/codec.mjs";

/** Pixels within which a finger takes hold of what can be dragged. */
export const GRASP = 36;

export const COLORS = { data: "#0072B2", noise: "#E69F00", learned: "#D55E00", exact: "#009E73" };

const MANY = 8000; // coordinates from which points are drawn as pixels

const THEMES = {
  light: { ink: "#1f2328", faint: "#59636e", line: "#d1d9e0", paper: "#ffffff" },
  dark: { ink: "#f0f6fc", faint: "#a9b4bf", line: "#3d444d", paper: "#151b23" },
};

/** What an action gives, or undefined where the host does not know it: some throw. */
export function quietly(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
}

/** An element with attributes (functions are listeners) and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** The documents that may say which theme is on: this one, and the page around a frame. */
function documents() {
  const outside = quietly(() => globalThis.parent.document);
  return outside && outside !== document ? [outside, document] : [document];
}

/** Whether it is dark around the figure: what the page says of itself, else what the reader wants. */
export function isDark() {
  for (const { documentElement: root, body } of documents()) {
    const said = root.dataset.theme ?? body?.dataset.theme;
    if (said === "dark" || said === "light") return said === "dark";
    if (body?.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
    if (body?.classList.contains("vscode-dark")) return true;
    if (body?.classList.contains("vscode-light")) return false;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/**
 * The ground on which a figure is built: a root element in the theme of its page, a list of what
 * is undone when it goes, and the model of a host that may lack save_changes, off or send.
 */
export class Stage {
  constructor({ model, el }, kind) {
    this.model = model;
    this.undo = [];
    this.root = make("div", {
      class: `gen-figure gen-${kind}`,
      role: "group",
      "aria-label": model.get("alt"),
      "data-lm-suppress-shortcuts": "true",
    });
    this.root.addEventListener("keydown", (event) => event.stopPropagation());
    el.replaceChildren(this.root);
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.dress();
  }

  get(name) {
    return this.model.get(name);
  }

  /** Tell Python, where there is one. */
  tell(values) {
    this.telling = true; // a model says at once that it changed
    for (const [name, value] of Object.entries(values)) quietly(() => this.model.set(name, value));
    this.telling = false;
    quietly(() => this.model.save_changes());
  }

  /** Hear of changes made in Python. */
  hear(names, said) {
    const listener = () => this.telling || said();
    for (const name of names) {
      quietly(() => this.model.on(`change:${name}`, listener));
      this.undo.push(() => this.model.off(`change:${name}`, listener));
    }
  }

  dress() {
    const name = isDark() ? "dark" : "light";
    this.theme = THEMES[name];
    this.root.dataset.theme = name;
    for (const [key, value] of Object.entries(this.theme)) {
      this.root.style.setProperty(`--gen-${key}`, value);
    }
  }

  /** Call when light or dark, or the size of the figure, changed. */
  watch(redraw) {
    const again = () => {
      this.dress();
      redraw();
    };
    const asked = matchMedia("(prefers-color-scheme: dark)");
    asked.addEventListener("change", again);
    this.undo.push(() => asked.removeEventListener("change", again));
    const attributes = ["data-theme", "data-jp-theme-light", "class"];
    for (const { documentElement: html, body } of documents()) {
      const observer = new MutationObserver(again);
      for (const node of [html, body]) {
        if (node) observer.observe(node, { attributes: true, attributeFilter: attributes });
      }
      this.undo.push(() => observer.disconnect());
    }
    const size = new ResizeObserver(redraw);
    size.observe(this.root);
    this.undo.push(() => size.disconnect());
  }

  /** Read a link's setting from the address of the page, if it is one of this figure. */
  opened(like) {
    const name = this.get("name");
    for (const page of [() => globalThis.parent, () => globalThis]) {
      const hash = quietly(() => page().location.hash);
      const found = hash ? fromLink(hash, name, like) : null;
      if (found) {
        setTimeout(() => (quietly(() => globalThis.frameElement) ?? this.root).scrollIntoView());
        return found;
      }
    }
    return {};
  }

  /** A button that puts a link to this setting on the clipboard and into the address. */
  linkButton(setting) {
    const button = make("button", { type: "button", title: "Copy a link to this setting" }, "Link");
    button.addEventListener("click", () => {
      const hash = `#${toLink(this.get("name"), setting())}`;
      const page = quietly(() => globalThis.parent.location.href && globalThis.parent) ?? globalThis;
      const address = page.location.href.split("#")[0] + hash;
      const inNotebook = /\/(lab|notebooks|tree)\b/.test(page.location.pathname);
      if (!inNotebook) quietly(() => page.history.replaceState(null, "", hash));
      quietly(() => navigator.clipboard.writeText(inNotebook ? hash : address).catch(() => {}));
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Link"), 1500);
    });
    return button;
  }

  /** What undoes it all. */
  close() {
    return () => this.undo.splice(0).forEach(quietly);
  }
}

/** A range with its name before it and its value behind; `says` writes the value. */
export function slider({ name, min, max, step, value, says }, changed) {
  const output = make("output", {}, says(value));
  const input = make("input", { type: "range", min, max, step, value, "aria-valuetext": says(value) });
  const show = (v) => {
    input.value = v;
    output.textContent = says(v);
    input.setAttribute("aria-valuetext", says(v));
  };
  input.addEventListener("input", () => {
    show(Number(input.value));
    changed(Number(input.value));
  });
  return { row: make("label", { class: "gen-slider" }, name, input, output), input, show };
}

/** What a slider from noise (−1) to data (0) says. */
export const level = (v) => `t = ${Math.abs(v).toFixed(2)}`;

export function checkbox(name, checked, changed) {
  const input = make("input", { type: "checkbox" });
  input.checked = checked;
  input.addEventListener("change", () => changed(input.checked));
  return { row: make("label", {}, input, name), input };
}

/** Frames as long as they are wanted: `tick(seconds)` tells whether there is more to do. */
export class Clock {
  constructor(stage, tick) {
    this.frame = 0;
    const next = (now) => {
      const seconds = Math.min(0.1, Math.max(0, (now - this.last) / 1000));
      this.last = now;
      this.frame = 0;
      if (tick(seconds)) this.start();
    };
    this.start = () => {
      if (this.frame) return;
      this.frame = requestAnimationFrame(next);
    };
    stage.undo.push(() => cancelAnimationFrame(this.frame));
  }
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

/** Red, green and blue of #rrggbb. */
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * Let something on a canvas be dragged. A pointer takes it from anywhere, a finger only where `near`
 * says so: else the page could not be scrolled.
 *
 * @param {{near: (touch) => boolean, put: (event) => void, done: () => void}} what `put` moves it under
 *   the pointer, `done` ends a move
 */
export function draggable(canvas, { near, put, done }) {
  let held = false;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" && !near(event)) return;
    held = true;
    quietly(() => canvas.setPointerCapture(event.pointerId));
    put(event);
  });
  canvas.addEventListener("pointermove", (event) => held && put(event));
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (held) done();
      held = false;
    });
  }
  const grip = (event) => near(event.touches[0]) && event.preventDefault();
  canvas.addEventListener("touchstart", grip, { passive: false }); // else the page would scroll
}

/** Where an arrow key moves a point, with shift further; null for every other key. */
export function byArrows(event, xy) {
  const way = WAYS[event.key];
  const size = event.shiftKey ? 0.5 : 0.1;
  return way ? xy.map((v, d) => v + size * way[d]) : null;
}

/** A colour between noise (t = 1) and data (t = 0), over grey as in the still figures. */
export function between(t) {
  const grey = [204, 204, 204];
  const end = rgb(t > 0.5 ? COLORS.noise : COLORS.data);
  const part = Math.abs(2 * t - 1);
  return `rgb(${end.map((c, i) => Math.round(grey[i] + part * (c - grey[i]))).join(",")})`;
}

/** A number with its sign, as wide whatever it is. */
export function signed(value, digits = 2) {
  return (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
}
