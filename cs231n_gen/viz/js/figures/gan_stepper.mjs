// GanStepper: a generator and a discriminator on the line, one step at a time.

import { floats } from "../math/codec.mjs";
import { gameValue, jensenShannon, Net, probability, pulls, smoothed, stepD, stepG } from "../math/tiny_gan.mjs";
import { Clock, COLORS, checkbox, make, Stage, signed, slider } from "../ui/stage.mjs";

const POINTS = 240; // of each curve
const WIDTH = 0.12; // of the Gaussians that smooth samples to a density
const ARROWS = 21;
const MOST = 400; // rounds that a link may ask for
const SETTING = ["rounds", "dSteps", "gSteps", "saturating"];

/** The game after some rounds from its beginning, k_D steps of D and k_G of G in each. */
export function replay(numbers, widths, data, noise, rates, { rounds, dSteps, gSteps, saturating }) {
  const half = numbers.length / 2;
  const G = new Net(numbers.subarray(0, half), widths);
  const D = new Net(numbers.subarray(half), widths);
  for (let k = 0; k < rounds; k++) {
    for (let i = 0; i < dSteps; i++) stepD(G, D, data, noise, rates[1]);
    for (let i = 0; i < gSteps; i++) stepG(G, D, noise, saturating, rates[0]);
  }
  return { G, D };
}

function render({ model, el }) {
  const stage = new Stage({ model, el }, "gan");
  const now = Object.fromEntries(SETTING.map((key) => [key, stage.get(key)]));
  Object.assign(now, stage.opened(now));
  tidy();
  const numbers = floats(stage.get("numbers"));
  const [data, noise] = [stage.get("data"), stage.get("noise")];
  const [widths, rates, extent] = [stage.get("widths"), stage.get("rates"), stage.get("extent")];
  const axis = Array.from({ length: POINTS }, (_, i) => extent * ((2 * i) / (POINTS - 1) - 1));
  const pData = smoothed(data, axis, WIDTH);
  let { G, D } = replay(numbers, widths, data, noise, rates, now);
  let counts = [now.rounds * now.dSteps, now.rounds * now.gSteps];
  let playing = false;

  function tidy() {
    for (const key of ["dSteps", "gSteps"]) now[key] = Math.min(10, Math.max(1, Math.round(now[key])));
    now.rounds = Math.min(MOST, Math.max(0, Math.round(now.rounds)));
  }

  // --- what the reader does -----------------------------------------------------------------------

  const moves = {
    d() {
      stepD(G, D, data, noise, rates[1]);
      counts[0]++;
      draw();
    },
    g() {
      stepG(G, D, noise, now.saturating, rates[0]);
      counts[1]++;
      draw();
    },
    round() {
      for (let i = 0; i < now.dSteps; i++) stepD(G, D, data, noise, rates[1]);
      for (let i = 0; i < now.gSteps; i++) stepG(G, D, noise, now.saturating, rates[0]);
      counts = [counts[0] + now.dSteps, counts[1] + now.gSteps];
      now.rounds++;
      draw();
    },
    again() {
      now.rounds = 0;
      counts = [0, 0];
      ({ G, D } = replay(numbers, widths, data, noise, rates, now));
      draw();
      told();
    },
    play() {
      if (stage.still) {
        moves.round();
        told();
        return;
      }
      playing = !playing;
      button.textContent = playing ? "Pause" : "Play";
      if (playing) clock.start();
      else told();
    },
  };
  const clock = new Clock(stage, () => {
    if (playing) moves.round();
    return playing;
  });

  function told() {
    stage.tell({ ...now, rounds: Math.min(MOST, now.rounds) });
    aloud.textContent = says.textContent;
  }

  const once = (move) => () => {
    moves[move]();
    told();
  };
  const button = make(
    "button",
    { type: "button", class: "gen-play", click: moves.play },
    stage.still ? "Round" : "Play",
  );
  const whole = (v) => `${v}`;
  const kD = slider({ name: "k_D", min: 1, max: 10, step: 1, value: now.dSteps, says: whole }, (v) =>
    set({ dSteps: v }),
  );
  const kG = slider({ name: "k_G", min: 1, max: 10, step: 1, value: now.gSteps, says: whole }, (v) =>
    set({ gSteps: v }),
  );
  const loss = checkbox("saturating loss", now.saturating, (saturating) => set({ saturating }));
  const canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": stage.get("alt") });
  const says = make("p", { class: "gen-says" });
  const aloud = make("div", { class: "gen-hidden", "aria-live": "polite" });
  stage.root.append(
    make("div", { class: "gen-wide" }, canvas),
    make(
      "div",
      { class: "gen-bar" },
      button,
      make("button", { type: "button", click: once("d") }, "D step"),
      make("button", { type: "button", click: once("g") }, "G step"),
      make("button", { type: "button", click: once("again") }, "Again"),
      stage.linkButton(() => now),
    ),
    make("div", { class: "gen-bar" }, kD.row, kG.row, loss.row),
    says,
    make(
      "p",
      { class: "gen-keys" },
      "Keys, with the picture chosen: d and g make a step, r a round of k_D and k_G, " + "space plays, 0 begins again.",
    ),
    aloud,
  );
  canvas.addEventListener("keydown", (event) => {
    const move = { d: "d", g: "g", r: "round", " ": "play", 0: "again" }[event.key];
    if (!move) return;
    event.preventDefault();
    once(move)();
  });

  function set(values) {
    Object.assign(now, values);
    draw();
    told();
  }

  // --- what is drawn ------------------------------------------------------------------------------

  let size;

  function fit() {
    const width = Math.round(canvas.parentElement.clientWidth) || 300;
    const dense = Math.min(2, globalThis.devicePixelRatio || 1);
    size = { width, height: Math.round(Math.min(360, 0.62 * width)), dense };
    canvas.width = size.width * dense;
    canvas.height = size.height * dense;
  }

  const px = (x) => ((x + extent) / (2 * extent)) * size.width;
  const floor = () => size.height - 34; // where densities and D are 0
  const top = 18;
  const pyD = (p) => floor() - p * (floor() - top);
  const pyP = (p) => floor() - Math.min(1.1, p) * 0.85 * (floor() - top);

  function curve(pen, ys, color, { width = 2.5, fill = false, dash = [] } = {}) {
    pen.beginPath();
    ys.forEach((y, i) => pen.lineTo(px(axis[i]), y));
    pen.strokeStyle = color;
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.stroke();
    pen.setLineDash([]);
    if (!fill) return;
    pen.lineTo(px(extent), floor());
    pen.lineTo(px(-extent), floor());
    pen.globalAlpha = 0.18;
    pen.fillStyle = color;
    pen.fill();
    pen.globalAlpha = 1;
  }

  function draw() {
    fit();
    const pen = canvas.getContext("2d");
    const { ink, faint, line } = stage.theme;
    pen.setTransform(size.dense, 0, 0, size.dense, 0, 0);
    pen.clearRect(0, 0, size.width, size.height);
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.lineWidth = 1;
    for (const p of [0, 0.5, 1]) {
      pen.strokeStyle = line;
      pen.beginPath();
      pen.moveTo(0, pyD(p));
      pen.lineTo(size.width, pyD(p));
      pen.stroke();
      pen.fillStyle = faint;
      pen.fillText(`D = ${p}`, 26, pyD(p) - 4);
    }
    const samples = noise.map((z) => G.at(z));
    const pG = smoothed(samples, axis, WIDTH);
    curve(pen, pData.map(pyP), COLORS.data, { fill: true });
    curve(pen, pG.map(pyP), COLORS.noise, { fill: true });
    curve(
      pen,
      axis.map((_, i) => pyD(pData[i] / (pData[i] + pG[i] + 1e-9))),
      COLORS.exact,
      { width: 1.5, dash: [5, 4] },
    );
    curve(
      pen,
      axis.map((x) => pyD(probability(D.at(x)))),
      ink,
    );
    drawPulls(pen);
    drawNames(pen);
    const dx = axis[1] - axis[0];
    say(jensenShannon(pData, pG, dx));
  }

  function drawPulls(pen) {
    const step = Math.max(1, Math.floor(noise.length / ARROWS));
    const some = noise.filter((_, i) => i % step === Math.floor(step / 2));
    pen.strokeStyle = COLORS.learned;
    pen.fillStyle = COLORS.noise;
    pen.lineWidth = 2;
    for (const [x, pull] of pulls(G, D, some, now.saturating)) {
      const [from, y] = [px(x), floor() + 12];
      const to = from + Math.max(-60, Math.min(60, 45 * pull));
      pen.beginPath();
      pen.arc(from, y, 3, 0, 2 * Math.PI);
      pen.fill();
      if (Math.abs(to - from) < 1) continue;
      const head = Math.sign(to - from) * Math.min(5, Math.abs(to - from));
      pen.beginPath();
      pen.moveTo(from, y);
      pen.lineTo(to, y);
      pen.moveTo(to - head, y - 4);
      pen.lineTo(to, y);
      pen.lineTo(to - head, y + 4);
      pen.stroke();
    }
  }

  function drawNames(pen) {
    const { ink } = stage.theme;
    const names = [
      ["data", COLORS.data],
      ["samples", COLORS.noise],
      ["D", ink],
      ["best D", COLORS.exact],
      ["pull on samples", COLORS.learned],
    ];
    pen.textAlign = "left";
    let x = size.width - 12 - names.reduce((sum, [name]) => sum + pen.measureText(name).width + 24, 0);
    x = Math.max(60, x);
    for (const [name, color] of names) {
      pen.fillStyle = color;
      pen.fillRect(x, 4, 10, 10);
      pen.fillStyle = ink;
      pen.fillText(name, x + 14, 13);
      x += pen.measureText(name).width + 24;
    }
  }

  function say(jsd) {
    const V = gameValue(G, D, data, noise);
    says.dataset.value = V;
    says.textContent =
      `After ${counts[0]} ${counts[0] === 1 ? "step" : "steps"} of D and ${counts[1]} of G: V = ${signed(V, 3)}; the best D would reach ` +
      `${signed(2 * jsd - Math.log(4), 3)} = −log 4 + 2 JSD, with JSD = ${jsd.toFixed(3)}, and −1.386 once samples are data.`;
  }

  stage.hear(SETTING, () => {
    for (const key of SETTING) now[key] = stage.get(key);
    tidy();
    kD.show(now.dSteps);
    kG.show(now.gSteps);
    loss.input.checked = now.saturating;
    ({ G, D } = replay(numbers, widths, data, noise, rates, now));
    counts = [now.rounds * now.dSteps, now.rounds * now.gSteps];
    draw();
  });
  draw();
  stage.watch(draw);
  stage.root.dataset.ready = "1";
  return stage.close();
}

export default { render };
