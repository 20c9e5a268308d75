// GuidanceVectors: from an x_t that can be dragged, where v_∅, v_y and v_cfg point, and the paths of
// one noise at several w; beside them, what guidance makes of p(x | y). Everything is computed here.

import { halves } from "../math/codec.mjs";
import {
  chanceOf,
  noiseOf,
  ofClass,
  passes,
  pathFrom,
  pointsAt,
  spreadOf,
  spreadOfPoints,
  velocitiesOf,
} from "../math/guidance.mjs";
import { Crowd } from "../math/velocity_field.mjs";
import {
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
import { drawData, drawSight, drawSpreads, shade } from "./guidance_vectors_draw.mjs";

const SECONDS = 4; // from noise to data
const BUDGET = 10; // milliseconds of a frame for the crowd
const SETTING = ["t", "z", "begin", "y", "w", "steps", "crowd", "chances"];

function render({ model, el }) {
  const stage = new Stage({ model, el }, "guidance");
  const [mixture, classes, names] = ["mixture", "classes", "names"].map((key) => stage.get(key));
  const now = Object.fromEntries(SETTING.map((key) => [key, stage.get(key)]));
  Object.assign(now, stage.opened(now));
  const noise = halves(stage.get("noise"));
  const numbers = halves(stage.get("data"));
  const of = (what) => new Map(classes.map((label) => [label, what(label)]));
  const fields = of((label) => velocitiesOf(mixture, label));
  const chances = of((label) => chanceOf(mixture, label));
  const exact = of((label) => spreadOf(ofClass(mixture, label)));
  let end = 0;
  const groups = classes.map((label, k) => {
    const begin = end;
    end += 2 * stage.get("counts")[k];
    return { label, xy: numbers.subarray(begin, end) };
  });
  let [playing, owed] = [false, false];
  let job = null; // the crowd that is computed, and
  let ready = null; // the last one whose points are all there
  tidy();

  function within(low, high, v) {
    return Math.min(high, Math.max(low, v));
  }

  function tidy() {
    now.t = within(0, 1, now.t);
    now.begin = within(now.t, 1, now.begin);
    now.w = within(-1, 8, now.w);
    now.steps = within(1, 50, Math.round(now.steps));
    now.z = now.z.map((v) => within(-9, 9, v));
    if (!classes.includes(now.y)) now.y = classes[0];
  }

  const guided = (w) => fields.get(now.y).guided(w);
  const path = (w) => pathFrom(guided(w), now.z, now.begin, now.steps);
  const here = () => passes(path(now.w), now.begin, now.t);
  const named = (label = now.y) => names[classes.indexOf(label)];

  // --- what the reader does -----------------------------------------------------------------------

  /** Put x_t somewhere: paths begin at the noise that leads there, or there, if none does. */
  function put(place) {
    const x_t = place.map((v) => within(-sight.extent, sight.extent, v));
    const z = noiseOf(guided(now.w), x_t, now.t, now.steps);
    Object.assign(now, z ? { z, begin: 1 } : { z: x_t, begin: now.t });
    draw();
  }

  /** Go to a level: x_t follows its path, as far as there is one. */
  function to(t) {
    now.t = Math.abs(t) < 1e-9 ? 0 : Math.min(1, Math.max(0, t));
    time.show(-now.t);
    if (now.t > now.begin) put(now.z);
    draw(true);
  }

  /** Another class or weight: x_t stays where it is while arrows start from it, else its noise. */
  function change(values) {
    const x_t = here();
    Object.assign(now, values);
    tidy();
    if (("w" in values || "y" in values) && now.t > 0) put(x_t);
    show();
    draw(true);
  }

  function play() {
    if (stage.still) {
      to(now.t <= 0 ? 1 : now.t - 0.1);
      told();
      return;
    }
    playing = !playing;
    if (playing && now.t <= 0) to(1);
    button.textContent = playing ? "Pause" : "Play";
    if (playing) {
      clock.last = performance.now();
      clock.start();
    } else told();
  }

  /** One message to Python at the end of a move, and one sentence to who listens. */
  function told() {
    stage.tell(setting());
    owed = true;
    speak();
  }

  /** Say it once the samples are there. */
  function speak() {
    if (!owed || !fresh(ready)) return;
    owed = false;
    aloud.textContent = `t = ${now.t.toFixed(2)}. ${words(says)} ${words(sampled)}`;
  }

  const clock = new Clock(stage, (seconds) => {
    if (playing) {
      to(now.t - seconds / SECONDS);
      if (now.t <= 0) play();
    } else draw(true);
    return playing || !fresh(ready);
  });

  // --- what is on the page ------------------------------------------------------------------------

  const sight = new Plane(stage, stage.get("extent"), {
    tabindex: 0,
    role: "application",
    "aria-label": `${stage.get("alt")}. Arrow keys move the point.`,
    "aria-roledescription": "figure with a point to drag",
  });
  const samples = new Plane(stage, stage.get("extent"), { role: "img" });
  const key = (color, ...words) => {
    const one = make("span", {}, ...words);
    one.style.setProperty("--of", color);
    return one;
  };
  const v = (which) => [make("i", {}, "v"), make("sub", {}, which)];
  const [legend, beside] = [make("div", { class: "gen-legend" }), make("div", { class: "gen-legend" })];
  const panel = (title, color, ...inner) => {
    const caption = make("figcaption", {}, title);
    caption.style.setProperty("--of", color);
    return make("figure", { class: "gen-panel" }, caption, ...inner);
  };
  const [says, sampled] = [make("div", { class: "gen-says" }), make("div", { class: "gen-says" })];
  says.style.minHeight = "8.7em"; // six lines: what is below stays where it is
  const aloud = make("div", { class: "gen-hidden", "aria-live": "polite" });
  const button = make("button", { type: "button", class: "gen-play", click: play }, stage.still ? "Step" : "Play");
  const time = slider({ name: "noise → data", min: -1, max: 0, step: 0.001, value: -now.t, says: level }, (value) => {
    if (playing) play();
    to(-value);
  });
  const weight = slider(
    { name: "guidance", min: -1, max: 8, step: 0.1, value: now.w, says: (w) => `w = ${signed(w, 1)}` },
    (w) => change({ w }),
  );
  const steps = slider({ name: "steps", min: 1, max: 50, step: 1, value: now.steps, says: (T) => `T = ${T}` }, (T) =>
    change({ steps: T }),
  );
  for (const { input } of [time, weight, steps]) input.addEventListener("change", told);
  const chosen = make(
    "select",
    { change: () => set({ y: Number(chosen.value) }) },
    ...classes.map((label) => make("option", { value: label }, named(label))),
  );
  const boxes = {
    crowd: checkbox("crowd", now.crowd, (crowd) => set({ crowd })),
    chances: checkbox("p(y | x_t)", now.chances, (shown) => set({ chances: shown })),
  };
  boxes.chances.row.lastChild.replaceWith(make("span", {}, "p(y | x", make("sub", {}, "t"), ")"));
  const setting = () => Object.fromEntries(SETTING.map((name) => [name, now[name]]));
  stage.root.append(
    make(
      "div",
      { class: "gen-panels" },
      panel("Where the velocities point", COLORS.exact, legend, sight.box, says),
      panel("What is sampled, t = 0", COLORS.learned, beside, samples.box, sampled),
    ),
    make("div", { class: "gen-bar" }, button, time.row, make("label", {}, "y", chosen), stage.linkButton(setting)),
    make("div", { class: "gen-bar" }, weight.row, steps.row, ...Object.values(boxes).map((box) => box.row)),
    make(
      "p",
      { class: "gen-keys" },
      "Drag the ringed point at any level. Keys, with the left picture chosen: arrows move it, + and − change w, " +
        "space plays, comma and full stop go a step back and on, Home and End to noise and data.",
    ),
    aloud,
  );
  listen(sight.canvas);

  function set(values) {
    change(values);
    told();
  }

  /** Controls as the setting says. */
  function show() {
    time.show(-now.t);
    weight.show(now.w);
    steps.show(now.steps);
    chosen.value = now.y;
    for (const [name, box] of Object.entries(boxes)) box.input.checked = now[name];
    legend.replaceChildren(
      key("var(--gen-faint)", ...v("∅"), ": all data"),
      key(COLORS.exact, ...v("y"), `: ${named()}`),
      key(COLORS.learned, ...v("cfg"), " = (1 + w) ", ...v("y"), " − w ", ...v("∅")),
    );
    beside.replaceChildren(
      key(COLORS.data, `data of ${named()}`),
      key("var(--gen-faint)", "other data"),
      key(COLORS.learned, "samples"),
    );
  }

  function listen(canvas) {
    draggable(canvas, {
      near: (touch) => sight.near(touch, here()),
      put: (event) => put(sight.under(event)),
      done: told,
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const next = byArrows(event, here());
      if (next) put(next);
      else if (event.key === " ") play();
      else if (event.key === ",") to(now.t + 1 / now.steps);
      else if (event.key === ".") to(now.t - 1 / now.steps);
      else if (event.key === "Home") to(1);
      else if (event.key === "End") to(0);
      else if (event.key === "+") change({ w: (Math.round(10 * now.w) + 1) / 10 });
      else if (event.key === "-") change({ w: (Math.round(10 * now.w) - 1) / 10 });
      else return;
      event.preventDefault();
      told();
    });
  }

  // --- the crowd ----------------------------------------------------------------------------------

  const fresh = (one) => one !== null && ["y", "w", "steps"].every((name) => one[name] === now[name]);

  /** Go on with the crowd: one that was begun is finished, then comes that of the setting. */
  function work() {
    if (fresh(ready)) return;
    if (job === null) {
      const crowd = new Crowd(guided(now.w), noise);
      crowd.use(now.steps, false);
      job = { y: now.y, w: now.w, steps: now.steps, crowd };
    }
    const deadline = performance.now() + BUDGET;
    if (!job.crowd.reach(0, () => performance.now() > deadline)) return;
    const xy = job.crowd.at(0);
    ready = { ...job, ...spreadOfPoints(xy), sure: sure(xy, job.y) };
    job = null;
  }

  /** p(y | x), averaged over points. */
  function sure(xy, label) {
    let sum = 0;
    for (let i = 0; i < xy.length; i += 2) sum += chances.get(label)(xy[i], xy[i + 1], 0);
    return sum / (xy.length / 2);
  }

  // --- what is drawn and said ---------------------------------------------------------------------

  function draw(behind = false) {
    const had = ready;
    work();
    const [resized, other] = [sight.fit(), samples.fit()];
    if (behind || resized || ready !== had) drawBehind();
    if (behind || other || ready !== had) drawSamples();
    drawFront();
    if (!fresh(ready)) clock.start();
    speak();
  }

  function drawBehind() {
    const pen = sight.layer(sight.back);
    if (now.chances) shade(sight, pen, chances.get(now.y), now.t);
    sight.axes(pen);
    drawData(sight, pen, groups, now.y, 2);
    if (now.crowd && ready) sight.points(pen, ready.crowd.at(now.t), COLORS.learned, 3, 0.45);
  }

  /** Three velocities, paths of three w, and where all of them lead. */
  function drawFront() {
    const x_t = here();
    const tip = (field, text, color) => ({ at: pointsAt(field, x_t, now.t), text, color });
    const { all, given } = fields.get(now.y);
    const same = { 0: "v_y = v_cfg", [-1]: "v_∅ = v_cfg" }[now.w];
    const tips = [
      tip(all, same && now.w ? "" : "v_∅", stage.theme.faint),
      tip(given, now.w ? "v_y" : "", COLORS.exact),
      tip(guided(now.w), same ?? "v_cfg", COLORS.learned),
    ];
    const weights = [...new Set([0, 1, now.w])].sort((a, b) => a - b);
    const paths = weights.map((w) => {
      const mine = { w, path: path(w), text: `w = ${plain(w)}`, chosen: w === now.w };
      const n = mine.path.length / 2 - 1;
      const k = Math.floor((now.begin > 0 ? 1 - now.t / now.begin : 0) * n + 1e-9);
      return { ...mine, past: mine.path.slice(0, 2 * k + 2) };
    });
    paths.sort((a, b) => a.chosen - b.chosen);
    drawSight(sight, sight.layer(sight.canvas), { ...now, x_t, tips, paths });
    say(x_t, tips, paths);
  }

  const words = (one) => [...one.children].map((line) => line.textContent).join(" ");
  const place = ([x, y]) => `(${signed(x)}, ${signed(y)})`;
  const likely = (p) => (p > 0.9995 ? "> 0.999" : p < 0.0005 ? "< 0.001" : `= ${p.toFixed(3)}`);
  const plain = (w) => String(Number(w.toFixed(2))).replace("-", "−");

  function say(x_t, tips, paths) {
    const chance = chances.get(now.y)(...x_t, now.t);
    const ends = [...paths].sort((a, b) => a.w - b.w).map((one) => ({ w: one.w, end: one.path.slice(-2) }));
    const [at, atY, atCfg] = tips.map((one) => place(one.at));
    const x = () => ["x", make("sub", {}, "t")];
    const beyond =
      now.w > 0
        ? [
            `, ${plain(now.w)} times their distance further: straight to where p(y | `,
            ...x(),
            ")",
            now.chances ? ", the shading," : "",
            " grows fastest",
          ]
        : [];
    const pointed =
      now.t === 0
        ? [". At t = 0 no velocity points anywhere else."]
        : [
            ". ",
            ...v("∅"),
            ` points at ${at}, the mean of all data that may be behind it, `,
            ...v("y"),
            ` at ${atY}, that of ` + `${named()} alone, `,
            ...v("cfg"),
            ` at ${atCfg}`,
            ...beyond,
            ".",
          ];
    const from =
      now.begin === 1 ? `The same noise ${place(now.z)} goes` : "No noise is likely to lead here; from here one goes";
    says.replaceChildren(
      make(
        "p",
        {},
        "At ",
        ...x(),
        ` = ${place(x_t)}, `,
        make("b", {}, "p(y | ", ...x(), `) ${likely(chance)}`),
        ...pointed,
      ),
      make("p", {}, `${from} to ${ends.map(({ w, end }) => `${place(end)} at w = ${plain(w)}`).join(", ")}.`),
    );
    Object.assign(says.dataset, {
      at: x_t,
      chance,
      begin: now.begin,
      z: now.z,
      tips: tips.map((one) => one.at.join(",")).join(";"),
      ends: ends.map(({ w, end }) => [w, ...end].join(",")).join(";"),
    });
  }

  function lesson(w) {
    if (w > 0) return "Guidance leads to where y is surer, not to where more of the data are.";
    return w < 0
      ? "A weight below 0 leads back towards all data."
      : "Without guidance, in steps enough, samples are as the data are.";
  }

  function drawSamples() {
    const pen = samples.layer(samples.back);
    samples.axes(pen);
    drawData(samples, pen, groups, now.y, 2.5);
    const front = samples.layer(samples.canvas);
    const data = exact.get(now.y);
    const spreads = [{ ...data, color: COLORS.data, text: `data ${data.spread.toFixed(2)}` }];
    if (ready && ready.y === now.y) {
      samples.points(pen, ready.crowd.at(0), COLORS.learned, 4, 0.75);
      spreads.unshift({ ...ready, color: COLORS.learned, text: `samples ${ready.spread.toFixed(2)}` });
      const { mean, spread, w, sure: average } = ready;
      const drawn = sure(groups[classes.indexOf(now.y)].xy, now.y);
      sampled.replaceChildren(
        make(
          "p",
          {},
          `${noise.length / 2} samples at w = ${plain(w)}: `,
          make("b", {}, `spread ${spread.toFixed(2)}`),
          ` around ${place(mean)}. ` + `Data of ${named()}: `,
          make("b", {}, `spread ${data.spread.toFixed(2)}`),
          ` around ${place(data.mean)}. The circles show both.`,
        ),
        make("p", {}, `Mean p(y | x) of the samples ${likely(average)}, of the data ${likely(drawn)}. ${lesson(w)}`),
      );
      Object.assign(sampled.dataset, {
        of: [ready.y, ready.w, ready.steps],
        mean,
        spread,
        sure: average,
        data: data.spread,
      });
    }
    drawSpreads(samples, front, spreads);
    samples.canvas.setAttribute("aria-label", `Samples and data of ${named()}. ${words(sampled)}`);
  }

  stage.hear(SETTING, () => {
    for (const name of SETTING) now[name] = stage.get(name);
    tidy();
    show();
    draw(true);
  });
  show();
  draw(true);
  stage.watch(() => draw(true));
  stage.root.dataset.ready = "1";
  return stage.close();
}

export default { render };
