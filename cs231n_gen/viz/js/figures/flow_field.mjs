// FlowField: velocity fields side by side, a crowd on its way from the same noise, and one point
// that can be dragged, with its past and future. Everything is computed here from parameters.

import { halves } from "../math/codec.mjs";
import { Crowd, follow, mixtureField, mlpField, onPath, pairsThrough, walk } from "../math/velocity_field.mjs";
import {
  between,
  byArrows,
  Clock,
  COLORS,
  checkbox,
  draggable,
  level,
  make,
  Plane,
  Stage,
  signed,
  slider,
} from "../ui/stage.mjs";

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

function render({ model, el }) {
  const stage = new Stage({ model, el }, "flow");
  const now = Object.fromEntries(SETTING.map((key) => [key, stage.get(key)]));
  Object.assign(now, stage.opened(now));
  tidy();
  const noise = halves(stage.get("noise"));
  const data = halves(stage.get("data"));
  const panels = fieldsOf(stage.get("fields"), halves(stage.get("numbers"))).map(panel);
  let playing = false;

  function tidy() {
    now.t = Math.min(1, Math.max(0, now.t));
    now.steps = Math.min(50, Math.max(1, Math.round(now.steps)));
    now.z = now.z.map((v) => Math.min(4, Math.max(-4, v)));
    if (now.method !== "heun") now.method = "euler";
  }

  function panel({ title, color, field }) {
    const plane = new Plane(stage, stage.get("extent"), {
      tabindex: 0,
      role: "application",
      "aria-label": `${title}: the plane with its velocities. Arrow keys move the point.`,
      "aria-roledescription": "figure with a point to drag",
    });
    const caption = make("figcaption", {}, title);
    caption.style.setProperty("--of", color);
    const figure = make("figure", { class: "gen-panel" }, caption, plane.box);
    const one = { title, color, field, plane, figure, crowd: new Crowd(field, noise) };
    listen(one);
    return one;
  }

  // --- what the reader does -----------------------------------------------------------------------

  /** Put the point of level t of a panel at (x, y): its noise is where that path began. */
  function put(one, [x, y]) {
    now.z = origin(one.field, x, y, now.t);
    tidy();
    draw();
  }

  const here = (one) => onPath(now.t < 1 ? one.ghost : one.path, now.t);

  function listen(one) {
    draggable(one.plane.canvas, {
      near: (touch) => one.plane.near(touch, here(one)),
      put: (event) => put(one, one.plane.under(event)),
      done: told,
    });
    one.plane.canvas.addEventListener("keydown", (event) => {
      const next = byArrows(event, here(one));
      if (next) put(one, next);
      else if (event.key === " ") play();
      else if (event.key === ",") to(now.t + 1 / now.steps);
      else if (event.key === ".") to(now.t - 1 / now.steps);
      else if (event.key === "Home") to(1);
      else if (event.key === "End") to(0);
      else return;
      event.preventDefault();
      told();
    });
  }

  /** Go to a level. */
  function to(t) {
    now.t = t;
    tidy();
    if (Math.abs(now.t) < 1e-9) now.t = 0;
    time.show(-now.t);
    draw(true);
  }

  function play() {
    if (stage.still) {
      to(now.t <= 0 ? 1 : now.t - 0.1);
      return;
    }
    playing = !playing;
    if (playing && now.t <= 0) now.t = 1;
    button.textContent = playing ? "Pause" : "Play";
    if (playing) {
      clock.last = performance.now();
      clock.start();
    } else told();
  }

  /** One message to Python at the end of a move, and one sentence to who listens. */
  function told() {
    stage.tell(setting());
    aloud.textContent = `t = ${now.t.toFixed(2)}. ${[...says.children].map((line) => line.textContent).join(" ")}`;
  }

  const clock = new Clock(stage, (seconds) => {
    if (playing) {
      to(Math.max(0, now.t - seconds / SECONDS));
      if (now.t <= 0) play();
    } else draw(true);
    return playing || panels.some((one) => one.waits);
  });

  const button = make("button", { type: "button", class: "gen-play", click: play }, stage.still ? "Step" : "Play");
  const time = slider({ name: "noise → data", min: -1, max: 0, step: 0.001, value: -now.t, says: level }, (v) => {
    if (playing) play();
    now.t = Math.abs(v);
    draw(true);
  });
  time.input.addEventListener("change", told);
  const steps = slider({ name: "steps", min: 1, max: 50, step: 1, value: now.steps, says: (v) => `T = ${v}` }, (v) =>
    change({ steps: v }),
  );
  const method = make(
    "select",
    { change: () => change({ method: method.value }) },
    make("option", { value: "euler" }, "Euler"),
    make("option", { value: "heun" }, "Heun"),
  );
  const boxes = {
    arrows: checkbox("velocities", now.arrows, (arrows) => change({ arrows })),
    ghost: checkbox("exact path", now.ghost, (ghost) => change({ ghost })),
    pairs: checkbox("straight pairs through the point", now.pairs, (pairs) => change({ pairs })),
  };
  const says = make("div", { class: "gen-says" });
  const aloud = make("div", { class: "gen-hidden", "aria-live": "polite" });
  const setting = () => Object.fromEntries(SETTING.map((key) => [key, now[key]]));
  stage.root.append(
    make("div", { class: "gen-panels" }, ...panels.map((one) => one.figure)),
    make("div", { class: "gen-bar" }, button, time.row),
    make(
      "div",
      { class: "gen-bar" },
      steps.row,
      make("label", {}, "rule", method),
      ...Object.values(boxes).map((box) => box.row),
      stage.linkButton(setting),
    ),
    says,
    make(
      "p",
      { class: "gen-keys" },
      "Drag the ringed point at any level. Keys: arrows move it, space plays, " +
        "comma and full stop go a step back and on, Home and End to noise and data.",
    ),
    aloud,
  );

  function change(values) {
    Object.assign(now, values);
    tidy();
    show();
    draw(true);
    told();
  }

  /** Controls as the setting says. */
  function show() {
    time.show(-now.t);
    steps.show(now.steps);
    method.value = now.method;
    for (const [key, box] of Object.entries(boxes)) box.input.checked = now[key];
  }

  // --- what is drawn ------------------------------------------------------------------------------

  function draw(behind = false) {
    const deadline = performance.now() + BUDGET;
    const enough = () => performance.now() > deadline;
    for (const one of panels) {
      const heun = now.method === "heun";
      const resized = one.plane.fit();
      one.path = walk(one.field, heun, ...now.z, 1, 0, now.steps);
      one.ghost = follow(one.field, ...now.z, 1, 0);
      one.crowd.use(now.steps, heun);
      one.waits = !one.crowd.reach(now.t, enough);
      if (behind || resized || one.waits) drawBehind(one);
      drawFront(one);
    }
    if (panels.some((one) => one.waits)) clock.start();
    if (playing) for (const { crowd } of panels) crowd.reach(now.t - 2 / now.steps, enough); // ahead
    say();
  }

  function drawBehind({ plane, field, color, crowd }) {
    const pen = plane.layer(plane.back);
    plane.axes(pen);
    plane.points(pen, data, COLORS.data, 2, 0.55);
    plane.points(pen, crowd.at(now.t), between(now.t), crowd.noise.length > 4000 ? 2 : 3.5, 0.85);
    if (!now.arrows) return;
    const n = plane.width < 320 ? 13 : 17;
    const v = [0, 0];
    pen.strokeStyle = color;
    pen.lineWidth = 1.1;
    pen.globalAlpha = 0.75;
    pen.beginPath();
    for (let i = 0; i < n * n; i++) {
      const x = plane.extent * ((2 * (i % n) + 1) / n - 1);
      const y = plane.extent * ((2 * Math.floor(i / n) + 1) / n - 1);
      field(x, y, now.t, v);
      const by = Math.min(0.16, (0.9 / (Math.hypot(...v) * n)) * plane.extent * 2) * plane.scale;
      plane.arrow(pen, plane.px(x), plane.py(y), -v[0] * by, v[1] * by); // the way a sample moves
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }

  function drawFront(one) {
    const { plane, color, path, ghost } = one;
    const pen = plane.layer(plane.canvas);
    const { ink, paper } = stage.theme;
    if (now.pairs) drawPairs(one, pen);
    if (now.ghost) {
      pen.setLineDash([5, 4]);
      pen.lineWidth = 1.5;
      pen.strokeStyle = ink;
      plane.line(pen, ghost);
      pen.setLineDash([]);
    }
    const at = onPath(path, now.t);
    const k = Math.min(now.steps, Math.floor((1 - now.t) * now.steps + 1e-9));
    pen.strokeStyle = color;
    pen.lineWidth = 3;
    plane.line(pen, [...path.slice(0, 2 * k + 2), ...at]);
    pen.lineWidth = 1.5;
    plane.line(pen, [...at, ...path.slice(2 * k + 2)]);
    if (now.steps <= 25) plane.points(pen, path, ink, 4);
    plane.disc(pen, path.at(-2), path.at(-1), 5, COLORS.data, paper);
    plane.disc(pen, path[0], path[1], 5, COLORS.noise, paper);
    if (now.t > 0 && now.t < 1) plane.disc(pen, ...at, 4, ink, paper);
    pen.beginPath();
    const [x, y] = here(one);
    pen.arc(plane.px(x), plane.py(y), 10, 0, 2 * Math.PI);
    pen.lineWidth = 2;
    pen.strokeStyle = ink;
    pen.stroke();
  }

  /** The likeliest pairs that pass through the point, one of them by itself, and their average. */
  function drawPairs(one, pen) {
    const { plane, field, color } = one;
    const at = here(one);
    const t = Math.max(now.t, 0.02);
    const { z, weights } = pairsThrough(data, ...at, t);
    const order = [...weights.keys()].sort((i, j) => weights[j] - weights[i]).slice(0, 80);
    pen.lineWidth = 1;
    for (const i of order) {
      pen.globalAlpha = Math.max(0.08, (0.7 * weights[i]) / weights[order[0]]);
      pen.strokeStyle = stage.theme.faint;
      plane.line(pen, [data[2 * i], data[2 * i + 1], z[2 * i], z[2 * i + 1]]);
      plane.points(pen, z.subarray(2 * i, 2 * i + 2), COLORS.noise, 4, 0.9);
    }
    pen.globalAlpha = 1;
    if (order.length === 0) return;
    const i = order[0];
    pen.strokeStyle = COLORS.noise;
    pen.lineWidth = 2;
    plane.line(pen, [data[2 * i], data[2 * i + 1], z[2 * i], z[2 * i + 1]]);
    const v = [0, 0];
    field(...at, t, v);
    pen.strokeStyle = color;
    pen.lineWidth = 4;
    pen.beginPath();
    const by = 0.5 * plane.scale;
    plane.arrow(pen, plane.px(at[0]), plane.py(at[1]), -v[0] * by, v[1] * by, 10);
    pen.stroke();
  }

  /** Where the paths lead, in words. */
  function say() {
    const rule = now.method === "heun" ? "Heun" : "Euler";
    const lines = panels.map(({ title, path, ghost }) => {
      const [x, y] = path.slice(-2);
      const off = Math.hypot(x - ghost.at(-2), y - ghost.at(-1));
      return (
        `${title}: noise (${signed(path[0])}, ${signed(path[1])}) goes to (${signed(x)}, ${signed(y)}) in ` +
        `${now.steps} ${rule} ${now.steps === 1 ? "step" : "steps"}, ${off.toFixed(3)} from where the field really leads.`
      );
    });
    says.replaceChildren(...lines.map((line) => make("p", {}, line)));
    says.dataset.samples = panels.map(({ path }) => path.slice(-2).join(",")).join(";");
  }

  stage.hear(SETTING, () => {
    for (const key of SETTING) now[key] = stage.get(key);
    tidy();
    show();
    draw(true);
  });
  show();
  draw(true);
  stage.watch(() => draw(true));
  stage.root.dataset.ready = "1";
  if (stage.get("autoplay") && !stage.still) play();
  return stage.close();
}

export default { render };
