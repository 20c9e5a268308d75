// Trajectories: points or images that were computed elsewhere, frame by frame from noise to data.

import { halves, levels } from "../math/codec.mjs";
import { between, Clock, checkbox, level, make, Plane, Stage, slider } from "../ui/stage.mjs";

const SECONDS = 4;
const SHOWN = 9; // frames in the strip of one image
const TRAILS = 200; // points that leave a trail

/** The frame that belongs to a level, as a number with a fraction; `times` fall. */
export function frameAt(times, t) {
  const last = times.length - 1;
  if (t >= times[0]) return 0;
  if (t <= times[last]) return last;
  let k = 0;
  while (times[k + 1] > t) k++;
  return k + (times[k] - t) / (times[k] - times[k + 1]);
}

/** Points half way between frames, (points, 2) of (frames, points, 2). */
export function frameBetween(numbers, n, place, out = new Float32Array(2 * n)) {
  const k = Math.floor(place);
  const part = place - k;
  const a = numbers.subarray(2 * n * k, 2 * n * (k + 1));
  if (part < 1e-9) return a;
  const b = numbers.subarray(2 * n * (k + 1), 2 * n * (k + 2));
  for (let i = 0; i < out.length; i++) out[i] = a[i] + part * (b[i] - a[i]);
  return out;
}

/** RGBA of one image, (channels, height, width) of bytes. */
export function pixels(bytes, [channels, height, width]) {
  const size = height * width;
  const out = new Uint8ClampedArray(4 * size);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) out[4 * i + c] = bytes[(channels === 1 ? 0 : c) * size + i];
    out[4 * i + 3] = 255;
  }
  return out;
}

function render({ model, el }) {
  const stage = new Stage({ model, el }, "film");
  const times = stage.get("times");
  const [frames, n, ...shape] = stage.get("shape");
  const now = { t: stage.get("t") };
  Object.assign(now, stage.opened(now));
  let playing = false;
  const show = shape.length === 1 ? cloud() : pictures();

  function cloud() {
    const numbers = halves(stage.get("frames"));
    const box = make("div", { class: "gen-panel" });
    const plane = new Plane(stage, stage.get("extent"), {
      tabindex: 0,
      role: "img",
      "aria-label": stage.get("alt"),
    });
    box.append(plane.box);
    keys(plane.canvas, () => false);
    const trails = checkbox("trails", n <= TRAILS, () => draw());
    stage.root.append(box);
    let middle;
    return {
      more: [trails.row],
      draw() {
        plane.fit();
        const place = frameAt(times, now.t);
        const pen = plane.layer(plane.back);
        plane.axes(pen);
        if (trails.input.checked) {
          pen.strokeStyle = stage.theme.faint;
          pen.globalAlpha = 0.5;
          pen.lineWidth = 0.8;
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
        middle ??= new Float32Array(2 * n);
        const points = frameBetween(numbers, n, place, middle);
        plane.points(plane.layer(plane.canvas), points, between(now.t), n > 4000 ? 2 : 4, 0.85);
      },
      says: () => `${n} points`,
    };
  }

  function pictures() {
    const bytes = levels(stage.get("frames"));
    const labels = stage.get("labels");
    const [channels, height, width] = shape.length === 3 ? shape : [1, ...shape];
    const size = channels * height * width;
    const of = (k, i) => bytes.subarray((k * n + i) * size, (k * n + i + 1) * size);
    let chosen = 0;
    const paint = (canvas, k, i) => {
      const image = new ImageData(pixels(of(k, i), [channels, height, width]), width, height);
      canvas.getContext("2d").putImageData(image, 0, 0);
    };
    const choose = (i) => {
      chosen = (i + n) % n;
      draw();
      told();
    };
    const large = Array.from({ length: n }, (_, i) => {
      const name = labels[i] ?? `image ${i + 1}`;
      const canvas = make("canvas", { width, height, "aria-hidden": "true" });
      const one = make("button", { type: "button", class: "gen-image", click: () => choose(i) }, canvas, name);
      keys(one, (event) => {
        const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!way) return false;
        choose(chosen + way);
        large[chosen].one.focus();
        return true;
      });
      return { canvas, one };
    });
    const places = Array.from({ length: Math.min(SHOWN, frames) }, (_, j, m = Math.min(SHOWN, frames)) =>
      Math.round((j * (frames - 1)) / Math.max(1, m - 1)),
    );
    const strip = places.map((k) => {
      const canvas = make("canvas", { width, height, "aria-hidden": "true" });
      const go = () => to(times[k]);
      const one = make("button", { type: "button", class: "gen-image", click: go }, canvas, level(times[k]));
      keys(one, () => false);
      return { canvas, one, k };
    });
    stage.root.append(
      make("div", { class: "gen-strip" }, ...large.map(({ one }) => one)),
      make("div", { class: "gen-strip gen-small" }, ...strip.map(({ one }) => one)),
    );
    return {
      more: [],
      draw() {
        const k = Math.round(frameAt(times, now.t));
        large.forEach(({ canvas, one }, i) => {
          paint(canvas, k, i);
          one.setAttribute("aria-pressed", i === chosen);
        });
        const nearest = strip.reduce((a, b) => (Math.abs(b.k - k) < Math.abs(a.k - k) ? b : a));
        for (const each of strip) {
          paint(each.canvas, each.k, chosen);
          each.one.setAttribute("aria-pressed", each === nearest);
        }
      },
      says: () => `${labels[chosen] ?? `image ${chosen + 1}`}, below from noise to data`,
    };
  }

  /** Keys of every figure: space, comma, full stop, Home and End; `first` may take one before. */
  function keys(target, first) {
    target.addEventListener("keydown", (event) => {
      const k = Math.round(frameAt(times, now.t));
      if (first(event));
      else if (event.key === " " && target.tagName !== "BUTTON") play();
      else if (event.key === ",") to(times[Math.max(0, k - 1)]);
      else if (event.key === ".") to(times[Math.min(frames - 1, k + 1)]);
      else if (event.key === "Home") to(times[0]);
      else if (event.key === "End") to(times.at(-1));
      else return;
      event.preventDefault();
      told();
    });
  }

  function to(t) {
    now.t = Math.min(times[0], Math.max(times.at(-1), t));
    time.show(-now.t);
    draw();
  }

  function play() {
    const end = times.at(-1);
    if (stage.still) {
      const k = Math.round(frameAt(times, now.t));
      to(times[k === frames - 1 ? 0 : Math.min(frames - 1, k + Math.ceil(frames / 10))]);
      return;
    }
    playing = !playing;
    if (playing && now.t <= end) now.t = times[0];
    button.textContent = playing ? "Pause" : "Play";
    if (playing) {
      clock.last = performance.now();
      clock.start();
    } else told();
  }

  function told() {
    stage.tell({ t: now.t });
    aloud.textContent = `${says.textContent}`;
  }

  const clock = new Clock(stage, (seconds) => {
    if (playing) {
      to(now.t - (seconds / SECONDS) * (times[0] - times.at(-1)));
      if (now.t <= times.at(-1)) play();
    }
    return playing;
  });
  const button = make("button", { type: "button", class: "gen-play", click: play }, stage.still ? "Step" : "Play");
  const time = slider(
    { name: "noise → data", min: -times[0], max: -times.at(-1), step: 0.001, value: -now.t, says: level },
    (v) => {
      if (playing) play();
      to(Math.abs(v));
    },
  );
  time.input.addEventListener("change", told);
  const says = make("p", { class: "gen-keys" });
  const aloud = make("div", { class: "gen-hidden", "aria-live": "polite" });
  stage.root.append(
    make(
      "div",
      { class: "gen-bar" },
      button,
      time.row,
      ...show.more,
      stage.linkButton(() => ({ t: now.t })),
    ),
    says,
    aloud,
  );

  function draw() {
    show.draw();
    says.textContent = `${level(now.t)}, frame ${Math.round(frameAt(times, now.t)) + 1} of ${frames} · ${show.says()}`;
  }

  stage.hear(["t"], () => to(stage.get("t")));
  to(now.t);
  stage.watch(draw);
  stage.root.dataset.ready = "1";
  return stage.close();
}

export default { render };
