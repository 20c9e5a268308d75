// What Trajectories shows: a cloud of points, or images over a strip of their frames.

import { halves, levels } from "../math/codec.mjs";
import { frameAt, frameBetween, pixels } from "../math/frames.mjs";
import { checkbox } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { level } from "../ui/format.mjs";
import { between, Plane } from "../ui/plane.mjs";

const SHOWN = 9; // frames in the strip of one image
const TRAILS = 200; // points that leave a trail

/** Points in the plane, with the way they came. */
export class CloudView {
  constructor(figure, [, n]) {
    const { stage } = figure;
    const attributes = { tabindex: 0, role: "img", "aria-label": stage.get("alt") };
    this.figure = figure;
    this.n = n;
    this.numbers = halves(stage.get("frames"));
    this.plane = new Plane(stage, stage.get("extent"), attributes);
    this.box = make("div", { class: "gen-panel" }, this.plane.box);
    this.trails = checkbox("trails", n <= TRAILS, () => figure.draw());
    this.controls = [this.trails.row];
    this.middle = new Float32Array(2 * n);
    figure.listen(this.plane.canvas);
  }

  draw() {
    const { n, numbers, plane } = this;
    const { times, now } = this.figure;
    plane.fit();
    const place = frameAt(times, now.t);
    const pen = plane.layer(plane.back);
    plane.axes(pen);
    if (this.trails.input.checked) this.drawTrails(pen, place);
    const points = frameBetween(numbers, n, place, this.middle);
    plane.points(plane.layer(plane.canvas), points, between(now.t), n > 4000 ? 2 : 4, 0.85);
  }

  drawTrails(pen, place) {
    const { n, numbers, plane } = this;
    Object.assign(pen, { strokeStyle: plane.stage.theme.faint, globalAlpha: 0.5, lineWidth: 0.8 });
    for (let i = 0; i < Math.min(n, TRAILS); i++) {
      pen.beginPath();
      for (let k = 0; k <= place; k++) {
        const at = 2 * (k * n + i);
        pen.lineTo(plane.px(numbers[at]), plane.py(numbers[at + 1]));
      }
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  says() {
    return `${this.n} points`;
  }
}

/** Images side by side, and below them frames of the one that was chosen. */
export class ImagesView {
  constructor(figure, [frames, n, ...shape]) {
    const { stage, times } = figure;
    this.figure = figure;
    this.n = n;
    this.shape = shape.length === 3 ? shape : [1, ...shape];
    this.bytes = levels(stage.get("frames"));
    this.labels = stage.get("labels");
    this.chosen = 0;
    this.controls = [];
    this.images = Array.from({ length: n }, (_, i) => this.image(i));
    const shown = Math.min(SHOWN, frames);
    const places = Array.from({ length: shown }, (_, j) => Math.round((j * (frames - 1)) / Math.max(1, shown - 1)));
    this.strip = places.map((k) => {
      const one = this.button(level(times[k]), () => figure.to(times[k]));
      figure.listen(one.button);
      return { ...one, k };
    });
    this.box = document.createDocumentFragment();
    this.box.append(
      make("div", { class: "gen-strip" }, ...this.images.map((one) => one.button)),
      make("div", { class: "gen-strip gen-small" }, ...this.strip.map((one) => one.button)),
    );
  }

  /** A button with a picture and its name. */
  button(name, click) {
    const [, height, width] = this.shape;
    const canvas = make("canvas", { width, height, "aria-hidden": "true" });
    return { canvas, button: make("button", { type: "button", class: "gen-image", click }, canvas, name) };
  }

  /** An image that can be chosen, by arrow keys as well. */
  image(i) {
    const one = this.button(this.name(i), () => this.choose(i));
    this.figure.listen(one.button, (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!way) return false;
      this.choose(this.chosen + way);
      this.images[this.chosen].button.focus();
      return true;
    });
    return one;
  }

  name(i) {
    return this.labels[i] ?? `image ${i + 1}`;
  }

  choose(i) {
    this.chosen = (i + this.n) % this.n;
    this.figure.draw();
    this.figure.told();
  }

  /** Frame k of image i. */
  paint(canvas, k, i) {
    const [channels, height, width] = this.shape;
    const size = channels * height * width;
    const begin = (k * this.n + i) * size;
    const bytes = this.bytes.subarray(begin, begin + size);
    const image = new ImageData(pixels(bytes, this.shape), width, height);
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  draw() {
    const k = this.figure.frame();
    this.images.forEach(({ canvas, button }, i) => {
      this.paint(canvas, k, i);
      button.setAttribute("aria-pressed", i === this.chosen);
    });
    const nearest = this.strip.reduce((a, b) => (Math.abs(b.k - k) < Math.abs(a.k - k) ? b : a));
    for (const each of this.strip) {
      this.paint(each.canvas, each.k, this.chosen);
      each.button.setAttribute("aria-pressed", each === nearest);
    }
  }

  says() {
    return `${this.name(this.chosen)}, below from noise to data`;
  }
}
