// LatentWalk: a plane of three latents to walk in; its pictures were decoded beforehand on a grid.

import { around, blend, nearest, onGrid, onTriangle, unpacked } from "../math/image_grid.mjs";
import { Clock, COLORS, draggable, make, Plane, Stage, signed } from "../ui/stage.mjs";

const SECONDS = 3; // from corner to corner
const STEPS = 8; // on that way, for who wants less motion
const ACROSS = 9; // thumbnails in a row, about
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const SETTING = ["u", "v"];

/** A plane whose window is any rectangle of (u, v). */
class Sheet extends Plane {
  constructor(stage, [[left, right], [low, high]], margin, attributes) {
    super(stage, 1, attributes);
    this.window = [
      [left - margin[0], right + margin[0]],
      [low - margin[1], high + margin[1]],
    ];
  }

  px(u) {
    const [left, right] = this.window[0];
    return (this.width * (u - left)) / (right - left);
  }

  py(v) {
    const [low, high] = this.window[1];
    return (this.width * (high - v)) / (high - low);
  }

  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const [[left, right], [low, high]] = this.window;
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return [left + x * (right - left), high - y * (high - low)];
  }
}

function render({ model, el }) {
  const stage = new Stage({ model, el }, "walk");
  const [rows, columns, height, width] = stage.get("shape");
  const [corners, labels, extent] = ["corners", "labels", "extent"].map((key) => stage.get(key));
  const [norms, typical] = [stage.get("norms").flat(), stage.get("typical")];
  const size = height * width;
  const greys = unpacked(stage.get("pictures"), stage.get("shape"), stage.get("levels"));
  const step = [(extent[0][1] - extent[0][0]) / (columns - 1), (extent[1][1] - extent[1][0]) / (rows - 1)];
  const every = Math.max(1, Math.ceil((Math.max(rows, columns) - 1) / (ACROSS - 1)));
  const now = { u: stage.get("u"), v: stage.get("v") };
  Object.assign(now, stage.opened(now));
  let playing = false;
  tidy();

  function tidy() {
    SETTING.forEach((key, d) => (now[key] = Math.min(extent[d][1], Math.max(extent[d][0], now[key]))));
  }

  const here = () => around(onGrid(extent, [rows, columns], now.u, now.v), [rows, columns]);

  // --- what the reader does -----------------------------------------------------------------------

  function put([u, v]) {
    Object.assign(now, { u, v });
    tidy();
    draw();
  }

  function stop() {
    playing = false;
    if (!stage.still) button.textContent = "Play";
  }

  function go(place) {
    stop();
    put(place);
    told();
  }

  function play() {
    const s = nearest(corners, now.u, now.v);
    if (stage.still) {
      go(onTriangle(corners, (Math.floor(s * STEPS + 1e-6) + 1) / STEPS));
    } else if (playing) {
      stop();
      told();
    } else {
      playing = true;
      button.textContent = "Pause";
      clock.s = s;
      clock.last = performance.now();
      clock.start();
    }
  }

  const clock = new Clock(stage, (seconds) => {
    if (!playing) return false;
    clock.s = (clock.s + seconds / SECONDS) % 3;
    put(onTriangle(corners, clock.s));
    return true;
  });

  function told() {
    stage.tell(now);
    aloud.textContent = says.textContent;
  }

  // --- what is on the page ------------------------------------------------------------------------

  const sheet = new Sheet(
    stage,
    extent,
    step.map((one) => 0.5 * every * one),
    {
      tabindex: 0,
      role: "application",
      "aria-label": `${stage.get("alt")}. Arrow keys move the point.`,
      "aria-roledescription": "figure with a point to drag",
    },
  );
  const picture = make("canvas", { width, height, role: "img" });
  const panel = (title, ...inside) => {
    const caption = make("figcaption", {}, title);
    caption.style.setProperty("--of", COLORS.noise);
    return make("figure", { class: "gen-panel" }, caption, ...inside);
  };
  const thumbs = corners.map(() => make("canvas", { width, height, "aria-hidden": "true" }));
  const button = make("button", { type: "button", class: "gen-play", click: play }, stage.still ? "Step" : "Play");
  const says = make("p", { class: "gen-says" });
  const aloud = make("div", { class: "gen-hidden", "aria-live": "polite" });
  stage.root.append(
    make(
      "div",
      { class: "gen-panels" },
      panel("The plane of three latents", sheet.box),
      panel("The picture at the point", make("div", { class: "gen-plane gen-pixels" }, picture)),
    ),
    make(
      "div",
      { class: "gen-bar" },
      button,
      stage.linkButton(() => now),
      make(
        "div",
        { class: "gen-strip gen-small" },
        ...thumbs.map((canvas, k) =>
          make(
            "button",
            { type: "button", class: "gen-image", click: () => go(corners[k]) },
            canvas,
            `${k + 1}: ${labels[k]}`,
          ),
        ),
      ),
    ),
    says,
    make(
      "p",
      { class: "gen-keys" },
      `Drag the point. Keys, with the plane chosen: arrows move it by a step of the grid (with shift, by a ` +
        `quarter), 1, 2 and 3 jump to the latents, space plays. ${rows} × ${columns} pictures were decoded beforehand; between them, ` +
        "the nearest four are blended.",
    ),
    aloud,
  );
  corners.forEach(([u, v], k) =>
    paint(thumbs[k], blend(greys, size, around(onGrid(extent, [rows, columns], u, v), [rows, columns]))),
  );

  draggable(sheet.canvas, {
    near: (touch) => sheet.near(touch, [now.u, now.v]),
    put: (event) => {
      stop();
      put(sheet.under(event));
    },
    done: told,
  });
  sheet.canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = KEYS[event.key];
    const by = event.shiftKey ? 0.25 : 1;
    const corner = corners[Number(event.key) - 1];
    if (way) go([now.u + by * step[0] * way[0], now.v + by * step[1] * way[1]]);
    else if (event.key === " ") play();
    else if (corner) go(corner);
    else return;
    event.preventDefault();
  });

  // --- what is drawn ------------------------------------------------------------------------------

  function paint(canvas, grey) {
    const image = new ImageData(width, height);
    grey.forEach((value, k) => image.data.set([value, value, value, 255], 4 * k));
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  /** The contact sheet: every so many pictures of the grid, dimmed. */
  function drawBehind() {
    const pen = sheet.layer(sheet.back);
    const one = make("canvas", { width, height });
    const [wide, high] = [sheet.px(every * step[0]) - sheet.px(0), sheet.py(0) - sheet.py(every * step[1])];
    Object.assign(pen, { imageSmoothingEnabled: false, globalAlpha: 0.5 });
    for (let i = 0; i < rows; i += every) {
      for (let j = 0; j < columns; j += every) {
        paint(one, blend(greys, size, [[i * columns + j, 1]]));
        const [x, y] = [sheet.px(extent[0][0] + j * step[0]), sheet.py(extent[1][0] + i * step[1])];
        pen.drawImage(one, x - wide / 2 + 0.5, y - high / 2 + 0.5, wide - 1, high - 1);
      }
    }
  }

  function drawFront() {
    const pen = sheet.layer(sheet.canvas);
    const { ink, paper } = stage.theme;
    for (const [color, lineWidth] of [
      [paper, 5],
      [COLORS.noise, 2.5],
    ]) {
      Object.assign(pen, { strokeStyle: color, lineWidth });
      pen.beginPath();
      for (const [u, v] of corners) pen.lineTo(sheet.px(u), sheet.py(v));
      pen.closePath();
      pen.stroke();
    }
    corners.forEach(([u, v], k) => drawCorner(pen, sheet.px(u), sheet.py(v), k));
    sheet.disc(pen, now.u, now.v, 12, paper, ink);
    sheet.disc(pen, now.u, now.v, 7, COLORS.noise, paper);
  }

  /** A latent with its number and its name, which stays inside. */
  function drawCorner(pen, x, y, k) {
    const { ink, paper } = stage.theme;
    const words = `${k + 1} ${labels[k]}`;
    Object.assign(pen, { font: "600 12px system-ui, sans-serif", textAlign: "center" });
    const half = pen.measureText(words).width / 2 + 7;
    const middle = Math.min(sheet.width - half - 3, Math.max(half + 3, x));
    const below = y < 40 || y > sheet.width / 2; // out of the triangle's way, if there is room
    const top = below && y < sheet.width - 38 ? y + 13 : y - 33;
    pen.beginPath();
    pen.roundRect(middle - half, top, 2 * half, 20, 10);
    Object.assign(pen, { fillStyle: paper, strokeStyle: COLORS.noise, lineWidth: 1.5 });
    pen.fill();
    pen.stroke();
    pen.fillStyle = ink;
    pen.fillText(words, middle, top + 14);
    pen.beginPath();
    pen.arc(x, y, 5, 0, 2 * Math.PI);
    Object.assign(pen, { fillStyle: COLORS.noise, strokeStyle: paper, lineWidth: 2 });
    pen.fill();
    pen.stroke();
  }

  function draw(behind = false) {
    if (sheet.fit() || behind) drawBehind();
    drawFront();
    const shares = here();
    paint(picture, blend(greys, size, shares));
    const where = `u = ${signed(now.u)}, v = ${signed(now.v)}`;
    picture.setAttribute("aria-label", `The picture at ${where}`);
    const norm = shares.reduce((sum, [at, share]) => sum + share * norms[at], 0);
    const usual = typical ? `, typical ${typical.toFixed(1)}` : "";
    says.textContent = where + (norms.length ? `: ‖z‖ = ${norm.toFixed(1)}${usual}` : "");
  }

  stage.hear(SETTING, () => put(SETTING.map((key) => stage.get(key))));
  draw(true);
  stage.watch(() => draw(true));
  stage.root.dataset.ready = "1";
  return stage.close();
}

export default { render };
