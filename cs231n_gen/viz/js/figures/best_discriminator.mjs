// BestDiscriminator: p_G is moved over p_data; the best D, JSD and V follow, and at one place x the
// curve that D* is highest on. Everything is computed here from parameters.

import { best, divergence, logDensity, matched, onTheWay, STDS } from "../math/mixture_1d.mjs";
import { bar, captioned, key, symbol } from "../ui/captions.mjs";
import { Chart } from "../ui/chart.mjs";
import { button, Clock, slider } from "../ui/controls.mjs";
import { make, quietly } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { chance, equals, percent, signed } from "../ui/format.mjs";
import { COLORS } from "../ui/palette.mjs";
import { drawChoice, drawDensities, rail } from "./best_discriminator_draw.mjs";

const SECONDS = 1.4; // from p_G to p_data
const NEAR = 26; // pixels at which a handle is caught
const SETTING = ["means", "stds", "share", "x"];

const replaced = (values, k, value) => values.map((v, i) => (i === k ? value : v));

class BestDiscriminatorFigure extends Figure {
  constructor(host) {
    super(host, "best", SETTING);
    const { stage } = this;
    const [weights, means, stds] = stage.get("data");
    this.pData = { weights, means, stds };
    this.extent = stage.get("extent");
    this.tidy();
    this.two = this.now.means.length === 2;
    this.chosen = 0; // a component of p_G, or "x"
    this.motion = null; // { from, to, part } while p_G moves to p_data
    this.clock = new Clock(stage, (seconds) => this.tick(seconds));
    this.build();
    this.listen(this.main.canvas);
  }

  tidy() {
    const { extent, now } = this;
    const within = (low, high) => (v) => Math.min(high, Math.max(low, v));
    now.means = now.means.map(within(-extent, extent));
    now.stds = now.stds.map(within(...STDS));
    now.x = within(-extent, extent)(now.x);
    now.share = now.means.length === 1 ? 1 : within(0, 1)(now.share);
  }

  get pG() {
    const { means, share, stds } = this.now;
    return { weights: this.two ? [share, 1 - share] : [1], means, stds };
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.charts();
    this.controls();
    this.fill = make("div");
    this.meter = make(
      "div",
      {
        class: "gen-meter",
        role: "meter",
        "aria-label": "V of the best D",
        "aria-valuemin": -1.386,
        "aria-valuemax": 0,
      },
      this.fill,
    );
    this.says = make("p", { class: "gen-says" });
    this.here = make("p", { class: "gen-says" });
    const whole = matched(this.pData, this.now.means.length, 1).whole;
    stage.root.append(
      make("div", { class: "gen-two" }, this.densities(), this.choice()),
      bar(
        button(whole ? "Match" : "Match mean and σ", () => this.match()),
        button("Again", () => this.again()),
        stage.linkButton(() => this.now),
        ...this.stds.map(({ row }) => row),
        ...(this.two ? [this.share.row] : []),
      ),
      make("p", { class: "gen-keys" }, this.manual()),
      this.aloud,
    );
  }

  charts() {
    const { stage } = this;
    const attributes = {
      class: "gen-drag",
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys move the chosen component or place.`,
      "aria-roledescription": "figure with handles to drag",
    };
    this.main = new Chart(stage, attributes, { left: 34, right: 12, top: 26, bottom: 54 });
    this.side = new Chart(stage, { role: "img" }, { left: 52, right: 14, top: 16, bottom: 36 });
  }

  controls() {
    const { now } = this;
    const [min, max] = STDS;
    this.stds = now.stds.map((value, k) =>
      slider({ name: this.two ? `σ of ${k + 1}` : "σ", min, max, step: 0.01, value, says: (v) => v.toFixed(2) }, (v) =>
        this.put({ stds: replaced(now.stds, k, v) }),
      ),
    );
    this.share = slider({ name: "share of 1", min: 0, max: 1, step: 0.01, value: now.share, says: percent }, (share) =>
      this.put({ share }),
    );
    for (const { input } of [...this.stds, this.share]) input.addEventListener("change", () => this.told());
  }

  densities() {
    const [data, G] = ["data", "G"].map((of) => () => symbol("p", of));
    return captioned(
      [key(COLORS.data, ...data()), key(COLORS.noise, ...G()), key(COLORS.exact, "best D*")],
      this.main.box,
      make(
        "div",
        { class: "gen-ends" },
        make("span", {}, "V = −log 4: ", ...G(), " = ", ...data()),
        make("span", {}, "V = 0: never confused"),
      ),
      this.meter,
      this.says,
    );
  }

  choice() {
    return captioned(
      ["at this x: ", key(COLORS.data, "a log y"), key(COLORS.noise, "b log(1 − y)"), key("var(--gen-ink)", "sum")],
      this.side.box,
      this.here,
    );
  }

  manual() {
    const { two } = this;
    return (
      `Drag the orange ${two ? "handles" : "handle"} and the line at x. Keys, with the picture chosen: ` +
      `${two ? "1 and 2 choose a component" : "1 chooses the component"}, x the place; left and right move it ` +
      "(with shift, further), up and down change σ; m matches, 0 begins again."
    );
  }

  show() {
    this.stds.forEach((one, k) => one.show(this.now.stds[k]));
    this.share.show(this.now.share);
  }

  // --- what the reader does -----------------------------------------------------------------------

  /** Set something by hand: what was moving by itself stops. */
  put(values) {
    this.motion = null;
    this.change(values);
  }

  /** Put a component or the place x somewhere. */
  move(what, x) {
    this.put(what === "x" ? { x } : { means: replaced(this.now.means, what, x) });
  }

  place(what) {
    return what === "x" ? this.now.x : this.now.means[what];
  }

  match() {
    const to = matched(this.pData, this.now.means.length, this.now.share);
    if (this.stage.still) this.put(onTheWay(to, to, 0));
    else {
      this.motion = { from: structuredClone(this.now), to, part: 0 };
      this.clock.last = performance.now();
      this.clock.start();
    }
    this.told();
  }

  tick(seconds) {
    const { motion } = this;
    if (!motion) return false;
    motion.part = Math.min(1, motion.part + seconds / SECONDS);
    this.change(onTheWay(motion.from, motion.to, motion.part ** 2 * (3 - 2 * motion.part)));
    if (motion.part < 1) return true;
    this.motion = null;
    this.told();
    return false;
  }

  again() {
    this.put(structuredClone(this.stage.get("start")));
    this.told();
  }

  heard() {
    this.put(this.given());
  }

  /** One message to Python at the end of a move, and one sentence to who listens. */
  told() {
    const { aloud, now, pData, pG, says } = this;
    if (!this.motion) this.stage.tell(now);
    const [jsd, value] = [says.dataset.jsd, says.dataset.value].map(Number);
    aloud.textContent =
      `JSD = ${jsd.toFixed(3)}, V = ${signed(value, 3)}. ` +
      `At x = ${signed(now.x)} the best D ${chance(best(pData, pG, now.x))}.`;
  }

  // --- the pointer and the keys -------------------------------------------------------------------

  /** Which handle is nearest to the pointer, and whether it is near. */
  under(event) {
    const { chosen, main } = this;
    const [x, y] = main.under(event);
    const off = (what) => {
      const along = Math.abs(main.x(x) - main.x(this.place(what)));
      if (what === "x") return y < rail(main) - 16 ? along : Infinity;
      return Math.hypot(along, y - rail(main)) - (what === chosen ? 1 : 0);
    };
    const what = [...this.now.means.keys(), "x"].reduce((a, b) => (off(b) < off(a) ? b : a));
    return { what, x, near: off(what) < NEAR };
  }

  listen(canvas) {
    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      const { what, x, near } = this.under(event);
      if (event.pointerType === "touch" && !near) return;
      held = this.chosen = what;
      quietly(() => canvas.setPointerCapture(event.pointerId));
      this.move(what, x);
    });
    canvas.addEventListener("pointermove", (event) => held !== null && this.move(held, this.main.under(event)[0]));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => {
        if (held !== null) this.told();
        held = null;
      });
    }
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.press(event)) return;
      event.preventDefault();
      this.change({});
      this.told();
    });
  }

  /** Do what a key is for; tells whether it is for anything. */
  press(event) {
    const { chosen, now } = this;
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const wider = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const k = Number(event.key) - 1;
    if (way) this.move(chosen, this.place(chosen) + way * (event.shiftKey ? 0.5 : 0.1));
    else if (wider && chosen !== "x") this.put({ stds: replaced(now.stds, chosen, now.stds[chosen] + 0.05 * wider) });
    else if (k in now.means) this.chosen = k;
    else if (event.key === "x") this.chosen = "x";
    else if (event.key === "m") this.match();
    else if (event.key === "0") this.again();
    else return false;
    return true;
  }

  // --- what is seen and said ----------------------------------------------------------------------

  draw() {
    const { chosen, extent, main, now, pData, pG, side } = this;
    const state = { pData, pG, x: now.x, chosen, extent };
    drawDensities(main, state);
    const beside = side.box.offsetLeft > main.box.offsetLeft + 40;
    drawChoice(side, state, (width) => (beside ? main.height : Math.max(230, 0.6 * width)));
    const jsd = divergence(pData, pG);
    this.sayDivergence(jsd, 2 * jsd - Math.log(4));
    this.sayBest();
  }

  sayDivergence(jsd, V) {
    Object.assign(this.says.dataset, { jsd, value: V });
    this.says.replaceChildren(
      make("b", {}, `JSD = ${jsd.toFixed(3)}`),
      " nats, of at most log 2 = 0.693. ",
      make("b", {}, `V(G, D*) = ${signed(V, 3)}`),
      " = −log 4 + 2 JSD, and −1.386 once ",
      ...symbol("p", "G"),
      " is ",
      ...symbol("p", "data"),
      ".",
    );
    this.fill.style.width = `${(100 * jsd) / Math.log(2)}%`;
    this.meter.setAttribute("aria-valuenow", V.toFixed(3));
  }

  sayBest() {
    const { now, pData, pG } = this;
    const [a, b] = [pData, pG].map((mixture) => Math.exp(logDensity(mixture, now.x)));
    this.here.replaceChildren(
      "a = ",
      ...symbol("p", "data"),
      `(x) ${equals(a)} and b = `,
      ...symbol("p", "G"),
      `(x) ${equals(b)}: highest at `,
      make("b", {}, `y = a / (a + b) = D*(x) ${chance(best(pData, pG, now.x))}`),
      a + b < 1e-3 ? ". Hardly any x falls here, so it hardly counts." : ".",
    );
  }
}

const render = (host) => new BestDiscriminatorFigure(host).begin();

export default { render };
