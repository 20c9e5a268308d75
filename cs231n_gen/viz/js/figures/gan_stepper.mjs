// GanStepper: a generator and a discriminator on the line, one step at a time.

import { floats } from "../math/codec.mjs";
import { gameValue, jensenShannon, replay, smoothed, stepD, stepG } from "../math/tiny_gan.mjs";
import { bar } from "../ui/captions.mjs";
import { button, Clock, checkbox, Player, slider } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { counted, signed } from "../ui/format.mjs";
import { drawGame } from "./gan_stepper_draw.mjs";

const POINTS = 240; // of each curve
const WIDTH = 0.12; // of the Gaussians that smooth samples to a density
const MOST = 400; // rounds that a link may ask for
const SETTING = ["rounds", "dSteps", "gSteps", "saturating"];
const KEYS = { d: "d", g: "g", r: "round", " ": "play", 0: "again" };

class GanStepperFigure extends Figure {
  constructor(host) {
    super(host, "gan", SETTING);
    this.tidy();
    const { stage } = this;
    this.numbers = floats(stage.get("numbers"));
    for (const name of ["data", "noise", "widths", "rates", "extent"]) this[name] = stage.get(name);
    this.axis = Array.from({ length: POINTS }, (_, i) => this.extent * ((2 * i) / (POINTS - 1) - 1));
    this.pData = smoothed(this.data, this.axis, WIDTH);
    this.replay();
    this.build();
  }

  tidy() {
    const { now } = this;
    for (const key of ["dSteps", "gSteps"]) now[key] = Math.min(10, Math.max(1, Math.round(now[key])));
    now.rounds = Math.min(MOST, Math.max(0, Math.round(now.rounds)));
  }

  /** Play the game from its beginning as far as the setting says. */
  replay() {
    const { data, noise, now, numbers, rates, widths } = this;
    Object.assign(this, replay(numbers, widths, data, noise, rates, now)); // G and D
    this.steps = { D: now.rounds * now.dSteps, G: now.rounds * now.gSteps };
  }

  // --- what is on the page ------------------------------------------------------------------------

  build() {
    const { stage } = this;
    this.canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": stage.get("alt") });
    this.says = make("p", { class: "gen-says" });
    this.controls();
    stage.root.append(
      make("div", { class: "gen-wide" }, this.canvas),
      bar(
        this.player.button,
        button("D step", () => this.move("d")),
        button("G step", () => this.move("g")),
        button("Again", () => this.move("again")),
        stage.linkButton(() => this.now),
      ),
      bar(this.kD.row, this.kG.row, this.loss.row),
      this.says,
      make(
        "p",
        { class: "gen-keys" },
        "Keys, with the picture chosen: d and g make a step, r a round of k_D and k_G, space plays, 0 begins again.",
      ),
      this.aloud,
    );
  }

  controls() {
    const { now, stage } = this;
    this.clock = new Clock(stage, () => {
      if (this.player.playing) this.round();
      return this.player.playing;
    });
    this.player = new Player(stage, this.clock, {
      name: "Round",
      step: () => this.move("round"),
      paused: () => this.told(),
    });
    const steps = (name, key) =>
      slider({ name, min: 1, max: 10, step: 1, value: now[key], says: String }, (v) => this.set({ [key]: v }));
    this.kD = steps("k_D", "dSteps");
    this.kG = steps("k_G", "gSteps");
    this.loss = checkbox("saturating loss", now.saturating, (saturating) => this.set({ saturating }));
    this.canvas.addEventListener("keydown", (event) => {
      const move = KEYS[event.key];
      if (!move) return;
      event.preventDefault();
      this.move(move);
    });
  }

  show() {
    this.kD.show(this.now.dSteps);
    this.kG.show(this.now.gSteps);
    this.loss.input.checked = this.now.saturating;
  }

  // --- what the reader does -----------------------------------------------------------------------

  /** One of the moves by its name. */
  move(name) {
    if (name === "d") this.stepD();
    else if (name === "g") this.stepG();
    else if (name === "round") this.round();
    else if (name === "play") this.player.toggle();
    else this.again();
    if (name === "d" || name === "g") this.draw();
    this.told();
  }

  stepD() {
    stepD(this.G, this.D, this.data, this.noise, this.rates[1]);
    this.steps.D++;
  }

  stepG() {
    stepG(this.G, this.D, this.noise, this.now.saturating, this.rates[0]);
    this.steps.G++;
  }

  round() {
    for (let i = 0; i < this.now.dSteps; i++) this.stepD();
    for (let i = 0; i < this.now.gSteps; i++) this.stepG();
    this.now.rounds++;
    this.draw();
  }

  again() {
    this.now.rounds = 0;
    this.replay();
    this.draw();
  }

  heard() {
    Object.assign(this.now, this.given());
    this.tidy();
    this.replay();
    this.show();
    this.draw();
  }

  told() {
    this.stage.tell({ ...this.now, rounds: Math.min(MOST, this.now.rounds) });
    this.aloud.textContent = this.says.textContent;
  }

  // --- what is drawn and said ---------------------------------------------------------------------

  draw() {
    const { axis, D, extent, G, noise, now, pData, stage } = this;
    const samples = noise.map((z) => G.at(z));
    const pG = smoothed(samples, axis, WIDTH);
    drawGame(this.canvas, stage.theme, { axis, D, extent, G, noise, pData, pG, saturating: now.saturating });
    this.say(jensenShannon(pData, pG, axis[1] - axis[0]));
  }

  say(jsd) {
    const V = gameValue(this.G, this.D, this.data, this.noise);
    this.says.dataset.value = V;
    this.says.textContent =
      `After ${counted(this.steps.D, "step")} of D and ${this.steps.G} of G: V = ${signed(V, 3)}; ` +
      `the best D would reach ${signed(2 * jsd - Math.log(4), 3)} = −log 4 + 2 JSD, ` +
      `with JSD = ${jsd.toFixed(3)}, and −1.386 once samples are data.`;
  }
}

const render = (host) => new GanStepperFigure(host).begin();

export default { render };
