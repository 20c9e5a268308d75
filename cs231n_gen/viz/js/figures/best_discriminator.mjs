// BestDiscriminator: p_G is moved over p_data; the best D, JSD and V follow, and at one place x the
// curve that D* is highest on. Everything is computed here from parameters.

import { best, chance, divergence, logDensity, matched, onTheWay, STDS, three } from "../math/mixture_1d.mjs";
import { Chart } from "../ui/chart.mjs";
import { Clock, COLORS, make, quietly, Stage, signed, slider } from "../ui/stage.mjs";
import { drawChoice, drawDensities, rail } from "./best_discriminator_draw.mjs";

const SECONDS = 1.4; // from p_G to p_data
const NEAR = 26; // pixels at which a handle is caught
const SETTING = ["means", "stds", "share", "x"];

function render({ model, el }) {
  const stage = new Stage({ model, el }, "best");
  const [extent, start] = [stage.get("extent"), stage.get("start")];
  const [weights, means, stds] = stage.get("data");
  const pData = { weights, means, stds };
  const now = Object.fromEntries(SETTING.map((key) => [key, stage.get(key)]));
  Object.assign(now, stage.opened(now));
  tidy();
  const two = now.means.length === 2;
  const whole = matched(pData, now.means.length, 1).whole;
  let chosen = 0; // a component of p_G, or "x"
  let move = null; // { from, to, part } while p_G moves to p_data

  function tidy() {
    const within = (low, high) => (v) => Math.min(high, Math.max(low, v));
    now.means = now.means.map(within(-extent, extent));
    now.stds = now.stds.map(within(...STDS));
    now.x = within(-extent, extent)(now.x);
    now.share = now.means.length === 1 ? 1 : within(0, 1)(now.share);
  }

  const pG = () => ({ weights: two ? [now.share, 1 - now.share] : [1], means: now.means, stds: now.stds });

  // --- what the reader does -----------------------------------------------------------------------

  function set(values) {
    move = null;
    Object.assign(now, values);
    show();
  }

  const replaced = (values, k, value) => values.map((v, i) => (i === k ? value : v));

  /** Put a component or the place x somewhere. */
  const put = (what, x) => set(what === "x" ? { x } : { means: replaced(now.means, what, x) });
  const place = (what) => (what === "x" ? now.x : now.means[what]);

  function match() {
    const to = matched(pData, now.means.length, now.share);
    if (stage.still) set(onTheWay(to, to, 0));
    else {
      move = { from: structuredClone(now), to, part: 0 };
      clock.last = performance.now();
      clock.start();
    }
    told();
  }

  function again() {
    set(structuredClone(start));
    told();
  }

  const clock = new Clock(stage, (seconds) => {
    if (!move) return false;
    move.part = Math.min(1, move.part + seconds / SECONDS);
    Object.assign(now, onTheWay(move.from, move.to, move.part ** 2 * (3 - 2 * move.part)));
    show();
    if (move.part < 1) return true;
    move = null;
    told();
    return false;
  });

  /** One message to Python at the end of a move, and one sentence to who listens. */
  function told() {
    if (!move) stage.tell(now);
    aloud.textContent =
      `JSD = ${Number(says.dataset.jsd).toFixed(3)}, V = ${signed(Number(says.dataset.value), 3)}. ` +
      `At x = ${signed(now.x)} the best D ${chance(best(pData, pG(), now.x))}.`;
  }

  // --- what is on the page ------------------------------------------------------------------------

  const main = new Chart(
    stage,
    {
      class: "gen-drag",
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys move the chosen component or place.`,
      "aria-roledescription": "figure with handles to drag",
    },
    { left: 34, right: 12, top: 26, bottom: 54 },
  );
  const side = new Chart(stage, { role: "img" }, { left: 52, right: 14, top: 16, bottom: 36 });
  const sliders = now.stds.map((std, k) =>
    slider(
      {
        name: two ? `σ of ${k + 1}` : "σ",
        min: STDS[0],
        max: STDS[1],
        step: 0.01,
        value: std,
        says: (v) => v.toFixed(2),
      },
      (v) => set({ stds: replaced(now.stds, k, v) }),
    ),
  );
  const share = slider(
    { name: "share of 1", min: 0, max: 1, step: 0.01, value: now.share, says: (v) => `${Math.round(100 * v)} %` },
    (v) => set({ share: v }),
  );
  for (const { input } of [...sliders, share]) input.addEventListener("change", told);
  const fill = make("div");
  const meter = make(
    "div",
    { class: "gen-meter", role: "meter", "aria-label": "V of the best D", "aria-valuemin": -1.386, "aria-valuemax": 0 },
    fill,
  );
  const [says, here] = [make("p", { class: "gen-says" }), make("p", { class: "gen-says" })];
  const aloud = make("div", { class: "gen-hidden", "aria-live": "polite" });
  const p = (of) => [make("i", {}, "p"), make("sub", {}, of)];
  const key = (color, ...words) => {
    const one = make("span", {}, ...words);
    one.style.setProperty("--of", color);
    return one;
  };
  stage.root.append(
    make(
      "div",
      { class: "gen-two" },
      make(
        "figure",
        {},
        make(
          "figcaption",
          { class: "gen-legend" },
          key(COLORS.data, ...p("data")),
          key(COLORS.noise, ...p("G")),
          key(COLORS.exact, "best D*"),
        ),
        main.box,
        make(
          "div",
          { class: "gen-ends" },
          make("span", {}, "V = −log 4: ", ...p("G"), " = ", ...p("data")),
          make("span", {}, "V = 0: never confused"),
        ),
        meter,
        says,
      ),
      make(
        "figure",
        {},
        make(
          "figcaption",
          { class: "gen-legend" },
          "at this x: ",
          key(COLORS.data, "a log y"),
          key(COLORS.noise, "b log(1 − y)"),
          key("var(--gen-ink)", "sum"),
        ),
        side.box,
        here,
      ),
    ),
    make(
      "div",
      { class: "gen-bar" },
      make("button", { type: "button", click: match }, whole ? "Match" : "Match mean and σ"),
      make("button", { type: "button", click: again }, "Again"),
      stage.linkButton(() => now),
      ...sliders.map(({ row }) => row),
      ...(two ? [share.row] : []),
    ),
    make(
      "p",
      { class: "gen-keys" },
      `Drag the orange ${two ? "handles" : "handle"} and the line at x. Keys, with the picture chosen: ` +
        `${two ? "1 and 2 choose a component" : "1 chooses the component"}, x the place; left and right move it (with shift, further), ` +
        "up and down change σ; m matches, 0 begins again.",
    ),
    aloud,
  );

  // --- the pointer and the keys -------------------------------------------------------------------

  const things = () => [...now.means.keys(), "x"];

  /** Which handle is under the pointer, and how far from it. */
  function under(event) {
    const [x, y] = main.under(event);
    const off = (what) => {
      const along = Math.abs(main.x(x) - main.x(place(what)));
      if (what === "x") return y < rail(main) - 16 ? along : Infinity;
      return Math.hypot(along, y - rail(main)) - (what === chosen ? 1 : 0);
    };
    const what = things().reduce((a, b) => (off(b) < off(a) ? b : a));
    return { what, x, near: off(what) < NEAR };
  }

  let held = null;
  main.canvas.addEventListener("pointerdown", (event) => {
    const { what, x, near } = under(event);
    if (event.pointerType === "touch" && !near) return;
    held = chosen = what;
    quietly(() => main.canvas.setPointerCapture(event.pointerId));
    put(what, x);
  });
  main.canvas.addEventListener("pointermove", (event) => held !== null && put(held, main.under(event)[0]));
  for (const end of ["pointerup", "pointercancel"]) {
    main.canvas.addEventListener(end, () => {
      if (held !== null) told();
      held = null;
    });
  }
  main.canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const wider = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const k = Number(event.key) - 1;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (way) put(chosen, place(chosen) + way * (event.shiftKey ? 0.5 : 0.1));
    else if (wider && chosen !== "x") set({ stds: replaced(now.stds, chosen, now.stds[chosen] + 0.05 * wider) });
    else if (k in now.means) chosen = k;
    else if (event.key === "x") chosen = "x";
    else if (event.key === "m") match();
    else if (event.key === "0") again();
    else return;
    event.preventDefault();
    show();
    told();
  });

  // --- what is seen and said ----------------------------------------------------------------------

  function draw() {
    const state = { pData, pG: pG(), x: now.x, chosen, extent };
    drawDensities(main, state);
    const beside = side.box.offsetLeft > main.box.offsetLeft + 40;
    drawChoice(side, state, (width) => (beside ? main.height : Math.max(230, 0.6 * width)));
    const jsd = divergence(pData, pG());
    const V = 2 * jsd - Math.log(4);
    Object.assign(says.dataset, { jsd, value: V });
    says.replaceChildren(
      make("b", {}, `JSD = ${jsd.toFixed(3)}`),
      " nats, of at most log 2 = 0.693. ",
      make("b", {}, `V(G, D*) = ${signed(V, 3)}`),
      " = −log 4 + 2 JSD, and −1.386 once ",
      ...p("G"),
      " is ",
      ...p("data"),
      ".",
    );
    const [a, b] = [pData, pG()].map((mixture) => Math.exp(logDensity(mixture, now.x)));
    here.replaceChildren(
      "a = ",
      ...p("data"),
      `(x) ${three(a)} and b = `,
      ...p("G"),
      `(x) ${three(b)}: highest at `,
      make("b", {}, `y = a / (a + b) = D*(x) ${chance(best(pData, pG(), now.x))}`),
      a + b < 1e-3 ? ". Hardly any x falls here, so it hardly counts." : ".",
    );
    fill.style.width = `${(100 * jsd) / Math.log(2)}%`;
    meter.setAttribute("aria-valuenow", V.toFixed(3));
  }

  function show() {
    tidy();
    sliders.forEach((one, k) => one.show(now.stds[k]));
    share.show(now.share);
    draw();
  }

  stage.hear(SETTING, () => set(Object.fromEntries(SETTING.map((key) => [key, stage.get(key)]))));
  show();
  stage.watch(draw);
  stage.root.dataset.ready = "1";
  return stage.close();
}

export default { render };
