// What the reader moves and presses, and a clock for what plays.

import { make, quietly } from "./dom.mjs";
import { level } from "./format.mjs";

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

/**
 * A button that plays and pauses; for who wants less motion it makes one step.
 *
 * @param {{step: () => void, start: () => void, paused: () => void, name: string}} what `step` is that one
 *   step, `start` comes before the first frame, `paused` after the last, `name` is what the button is called
 *   where it steps
 */
export class Player {
  constructor(stage, clock, { step, start = () => {}, paused, name = "Step" }) {
    Object.assign(this, { stage, clock, step, start, paused, playing: false });
    const click = () => this.toggle();
    this.button = make("button", { type: "button", class: "gen-play", click }, stage.still ? name : "Play");
  }

  toggle() {
    if (this.stage.still) this.step();
    else if (this.playing) this.pause();
    else {
      this.playing = true;
      this.start();
      this.button.textContent = "Pause";
      this.clock.last = performance.now();
      this.clock.start();
    }
  }

  /** Stop without a word. */
  stop() {
    this.playing = false;
    if (!this.stage.still) this.button.textContent = "Play";
  }

  /** Stop if it plays. */
  pause() {
    if (!this.playing) return;
    this.stop();
    this.paused();
  }
}

/** A slider from noise to data, in levels t. */
export function timeSlider(t, [low, high], changed) {
  const range = { min: -high, max: -low, step: 0.001, value: -t };
  return slider({ name: "noise → data", ...range, says: level }, (v) => changed(Math.abs(v)));
}

/** A choice of one out of several, each with its value and its name. */
export function select(title, options, changed) {
  const input = make("select", {}, ...options.map(([value, name]) => make("option", { value }, name)));
  input.addEventListener("change", () => changed(input.value));
  return { row: make("label", {}, title, input), input };
}

/** A button with words on it. */
export const button = (name, click) => make("button", { type: "button", click }, name);

/** The ways of the arrow keys. */
export const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

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
