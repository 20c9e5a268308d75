// FlowField: velocity fields side by side, a crowd on its way from the same noise, and one point
// that can be dragged, with its past and future. Everything is computed here from parameters.

import { halves } from "../math/codec.mjs";
import { Crowd, follow, mixtureField, mlpField, onPath, walk } from "../math/velocity_field.mjs";
import { bar, panel, textOf } from "../ui/captions.mjs";
import { byArrows, Clock, checkbox, draggable, Player, select, slider, timeSlider } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { counted, signed } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { Plane } from "../ui/plane.mjs";
import { drawField, drawPath } from "./flow_field_draw.mjs";

const SECONDS = 4; // from noise to data
const BUDGET = 8; // milliseconds of a frame for the crowd
const SETTING = ["t", "z", "steps", "method", "arrows", "ghost", "pairs"];

/** The fields that the model describes, each with its title and colour. */
export function fieldsOf(descriptions, numbers) {
  return descriptions.map((one) => {
    const color = one.mixture ? COLORS.exact : COLORS.learned;
    if (one.mixture) return { title: one.title, color, field: mixtureField(one.mixture) };
    const weights = numbers.subarray(one.begin, one.end);
    return { title: one.title, color, field: mlpField(weights, one.widths, one.frequencies) };
  });
}

/** Where a point of level t came from, at t = 1. */
export function origin(field, x, y, t) {
  if (t >= 1) return [x, y];
  return [...follow(field, x, y, t, 1).slice(-2)];
}

class FlowFieldFigure extends Figure {
  constructor(host) {
    super(host, "flow", SETTING);
    this.tidy();
    const { stage } = this;
    this.noise = halves(stage.get("noise"));
    this.data = halves(stage.get("data"));
    this.panels = fieldsOf(stage.get("fields"), halves(stage.get("numbers"))).map((one) => this.panel(one));
    this.clock = new Clock(stage, (seconds) => this.tick(seconds));
    this.build();
  }

  tidy() {
    const { now } = this;
    now.t = Math.min(1, Math.max(0, now.t));
    now.steps = Math.min(50, Math.max(1, Math.round(now.steps)));
    now.z = now.z.map((v) => Math.min(4, Math.max(-4, v)));
    if (now.method !== "heun") now.method = "euler";
  }

  begin() {
    const close = super.begin();
    if (this.stage.get("autoplay") && !this.stage.still) this.player.toggle();
    return close;
  }

  // --- what is on the page ------------------------------------------------------------------------

  panel({ title, color, field }) {
    const plane = new Plane(this.stage, this.stage.get("extent"), {
      tabindex: 0,
      role: "application",
      "aria-label": `${title}: the plane with its velocities. Arrow keys move the point.`,
      "aria-roledescription": "figure with a point to drag",
    });
    const one = {
      title,
      color,
      field,
      plane,
      figure: panel(title, color, plane.box),
      crowd: new Crowd(field, this.noise),
    };
    this.listen(one);
    return one;
  }

  build() {
    const { stage } = this;
    this.controls();
    this.says = make("div", { class: "gen-says" });
    stage.root.append(
      make("div", { class: "gen-panels" }, ...this.panels.map((one) => one.figure)),
      bar(this.player.button, this.time.row),
      bar(
        this.steps.row,
        this.method.row,
        ...Object.values(this.boxes).map((box) => box.row),
        stage.linkButton(() => this.now),
      ),
      this.says,
      make(
        "p",
        { class: "gen-keys" },
        "Drag the ringed point at any level. Keys: arrows move it, space plays, " +
          "comma and full stop go a step back and on, Home and End to noise and data.",
      ),
      this.aloud,
    );
  }

  controls() {
    const { now, stage } = this;
    this.player = new Player(stage, this.clock, {
      step: () => this.to(now.t <= 0 ? 1 : now.t - 0.1),
      start: () => now.t <= 0 && Object.assign(now, { t: 1 }),
      paused: () => this.told(),
    });
    this.time = timeSlider(now.t, [0, 1], (t) => {
      this.player.pause();
      this.to(t);
    });
    this.time.input.addEventListener("change", () => this.told());
    this.steps = slider(
      { name: "steps", min: 1, max: 50, step: 1, value: now.steps, says: (v) => `T = ${v}` },
      (steps) => this.set({ steps }),
    );
    const rules = Object.entries({ euler: "Euler", heun: "Heun" });
    this.method = select("rule", rules, (method) => this.set({ method }));
    this.boxes = {
      arrows: checkbox("velocities", now.arrows, (arrows) => this.set({ arrows })),
      ghost: checkbox("exact path", now.ghost, (ghost) => this.set({ ghost })),
      pairs: checkbox("straight pairs through the point", now.pairs, (pairs) => this.set({ pairs })),
    };
  }

  show() {
    this.time.show(-this.now.t);
    this.steps.show(this.now.steps);
    this.method.input.value = this.now.method;
    for (const [key, box] of Object.entries(this.boxes)) box.input.checked = this.now[key];
  }

  // --- what the reader does -----------------------------------------------------------------------

  listen(one) {
    const { canvas } = one.plane;
    draggable(canvas, {
      near: (touch) => one.plane.near(touch, one.here),
      put: (event) => this.put(one, one.plane.under(event)),
      done: () => this.told(),
    });
    canvas.addEventListener("keydown", (event) => {
      const next = byArrows(event, one.here);
      if (next) this.put(one, next);
      else if (event.key === " ") this.player.toggle();
      else if (event.key === ",") this.to(this.now.t + 1 / this.now.steps);
      else if (event.key === ".") this.to(this.now.t - 1 / this.now.steps);
      else if (event.key === "Home") this.to(1);
      else if (event.key === "End") this.to(0);
      else return;
      event.preventDefault();
      this.told();
    });
  }

  /** Put the point of level t of a panel at (x, y): its noise is where that path began. */
  put(one, [x, y]) {
    this.now.z = origin(one.field, x, y, this.now.t);
    this.tidy();
    this.draw();
  }

  /** Go to a level. */
  to(t) {
    this.now.t = Math.abs(t) < 1e-9 ? 0 : t;
    this.tidy();
    this.time.show(-this.now.t);
    this.draw(true);
  }

  /** A frame of the clock: what plays goes on, else the crowd catches up. */
  tick(seconds) {
    if (this.player.playing) {
      this.to(Math.max(0, this.now.t - seconds / SECONDS));
      if (this.now.t <= 0) this.player.pause();
    } else this.draw(true);
    return this.player.playing || this.panels.some((one) => one.waits);
  }

  /** One message to Python at the end of a move, and one sentence to who listens. */
  told() {
    this.stage.tell(this.now);
    this.aloud.textContent = `t = ${this.now.t.toFixed(2)}. ${textOf(this.says)}`;
  }

  // --- what is drawn and said ---------------------------------------------------------------------

  draw(behind = false) {
    const { now, panels, player } = this;
    const deadline = performance.now() + BUDGET;
    const enough = () => performance.now() > deadline;
    for (const one of panels) {
      const heun = now.method === "heun";
      const resized = one.plane.fit();
      one.path = walk(one.field, heun, ...now.z, 1, 0, now.steps);
      one.ghost = follow(one.field, ...now.z, 1, 0);
      one.here = onPath(now.t < 1 ? one.ghost : one.path, now.t);
      one.crowd.use(now.steps, heun);
      one.waits = !one.crowd.reach(now.t, enough);
      if (behind || resized || one.waits) drawField(one, now, this.data);
      drawPath(one, now, this.data);
    }
    if (panels.some((one) => one.waits)) this.clock.start();
    if (player.playing) for (const { crowd } of panels) crowd.reach(now.t - 2 / now.steps, enough); // ahead
    this.say();
  }

  /** Where the paths lead, in words. */
  say() {
    const { now, panels, says } = this;
    const rule = now.method === "heun" ? "Heun" : "Euler";
    const lines = panels.map(({ title, path, ghost }) => {
      const [x, y] = path.slice(-2);
      const off = Math.hypot(x - ghost.at(-2), y - ghost.at(-1));
      return (
        `${title}: noise (${signed(path[0])}, ${signed(path[1])}) goes to (${signed(x)}, ${signed(y)}) in ` +
        `${counted(now.steps, `${rule} step`)}, ${off.toFixed(3)} from where the field really leads.`
      );
    });
    says.replaceChildren(...lines.map((line) => make("p", {}, line)));
    says.dataset.samples = panels.map(({ path }) => path.slice(-2).join(",")).join(";");
  }
}

const render = (host) => new FlowFieldFigure(host).begin();

export default { render };
