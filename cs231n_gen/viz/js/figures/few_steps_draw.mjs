// The pictures of FewSteps: a noise with its images, a close-up of them, and curves on the line.

import { BOLD, SERIF } from "../ui/chart.mjs";
import { COLORS } from "../ui/palette.mjs";
import { Plane } from "../ui/plane.mjs";

const LOOKS = ["learned", "purple", "sky", "yellow"].map((name) => COLORS[name]);
const AROUND = 1.15; // of the highest image, on the line
// Corners of shapes as radius and turns clockwise from the top; a number makes a regular one.
const star = (n, inner) => Array.from({ length: 2 * n }, (_, k) => [k % 2 ? inner : 1.25, k / (2 * n)]);
const regular = (n, radius, turn = 0) => Array.from({ length: n }, (_, k) => [radius, turn + k / n]);
const plus = [0, 0.25, 0.5, 0.75].flatMap((turn) => [
  [1.14, turn - 0.054],
  [1.14, turn + 0.054],
  [0.53, turn + 0.125],
]);
const OUTLINES = [
  regular(24, 0.95),
  regular(4, 1.2, 0.125),
  regular(3, 1.25),
  regular(4, 1.25),
  regular(3, 1.25, 0.5),
  plus,
  star(5, 0.55),
  regular(6, 1.1),
  plus.map(([radius, turn]) => [1.1 * radius, turn + 0.125]),
  regular(3, 1.25, 0.75),
];

/** The colour of a student, by its place in the list. */
export const colorOf = (k) => LOOKS[k % LOOKS.length];

/** The shape of a student in its colour, around a place on the screen. */
export function drawShape(pen, k, x, y, radius, edge, fill = colorOf(k)) {
  pen.beginPath();
  for (const [far, turn] of OUTLINES[k % OUTLINES.length]) {
    const angle = 2 * Math.PI * turn;
    pen.lineTo(x + radius * far * Math.sin(angle), y - radius * far * Math.cos(angle));
  }
  pen.closePath();
  Object.assign(pen, { fillStyle: fill, strokeStyle: edge, lineWidth: 1.5, lineJoin: "round" });
  pen.fill();
  pen.stroke();
}

/** A window on the plane around a point that moves. */
export class CloseUp extends Plane {
  constructor(stage, extent, attributes) {
    super(stage, extent, attributes);
    this.middle = [0, 0];
  }

  px(x) {
    return super.px(x - this.middle[0]);
  }

  py(y) {
    return super.py(y - this.middle[1]);
  }
}

/** Data and a crowd of samples, behind what moves. */
export function drawGround(plane, { data, crowd }) {
  const pen = plane.layer(plane.back);
  plane.axes(pen);
  plane.points(pen, data, COLORS.data, 2.5, crowd ? 0.35 : 0.65);
  if (crowd) plane.points(pen, crowd.xy, crowd.color, 3.5, 0.9);
}

/** The noise, the path of the exact flow, its end, and where students are. */
export function drawImages(plane, { now, exact, line, landed }) {
  const pen = plane.layer(plane.canvas);
  const { ink, paper } = plane.stage.theme;
  for (const [strokeStyle, lineWidth] of [
    [paper, 5],
    [COLORS.exact, 2],
  ]) {
    Object.assign(pen, { strokeStyle, lineWidth });
    plane.line(pen, line);
  }
  drawCross(plane, pen, now.z, ink, paper);
  drawLanded(plane, pen, { exact, landed });
}

/** The noise: a thick cross in a ring that is easy to take hold of. */
function drawCross(plane, pen, [z1, z2], ink, paper) {
  const [x, y] = [plane.px(z1), plane.py(z2)];
  for (const [strokeStyle, lineWidth] of [
    [paper, 5],
    [ink, 2],
  ]) {
    Object.assign(pen, { strokeStyle, lineWidth });
    pen.beginPath();
    pen.arc(x, y, 13, 0, 2 * Math.PI);
    pen.stroke();
  }
  for (const [strokeStyle, lineWidth] of [
    [ink, 6.5],
    [COLORS.noise, 4],
  ]) {
    Object.assign(pen, { strokeStyle, lineWidth });
    pen.beginPath();
    for (const way of [1, -1]) {
      pen.moveTo(x - 6, y - 6 * way);
      pen.lineTo(x + 6, y + 6 * way);
    }
    pen.stroke();
  }
}

/** The exact image as a large dot, and each student with a line from there. */
function drawLanded(plane, pen, { exact, landed }) {
  const { ink, paper } = plane.stage.theme;
  plane.disc(pen, ...exact, 11, COLORS.exact, paper);
  for (const { k, at, chosen } of landed) {
    for (const [strokeStyle, lineWidth] of [
      [paper, chosen ? 6 : 4],
      [colorOf(k), chosen ? 3.5 : 1.5],
    ]) {
      Object.assign(pen, { strokeStyle, lineWidth });
      plane.line(pen, [...exact, ...at]);
    }
  }
  const size = Math.min(7, 4 + plane.width / 120);
  for (const { k, at, chosen, others } of landed) {
    for (const { n, at } of chosen ? others : []) {
      const [x, y] = [plane.px(at[0]), plane.py(at[1])];
      drawShape(pen, k, x, y, size - 2, ink, paper);
      Object.assign(pen, { font: BOLD, textAlign: "left", strokeStyle: paper, lineWidth: 4, fillStyle: ink });
      pen.strokeText(n, x + size, y - 5);
      pen.fillText(n, x + size, y - 5);
    }
    drawShape(pen, k, plane.px(at[0]), plane.py(at[1]), chosen ? size + 3 : size, ink);
  }
}

/** What is near the exact image, enlarged. */
export function drawCloseUp(plane, { exact, landed, data, crowd }) {
  const { ink, line } = plane.stage.theme;
  plane.middle = exact;
  const behind = plane.layer(plane.back);
  Object.assign(behind, { strokeStyle: line, lineWidth: 1 });
  for (const radius of [0.1, 0.2, 0.3]) {
    behind.beginPath();
    behind.arc(plane.width / 2, plane.width / 2, radius * plane.scale, 0, 2 * Math.PI);
    behind.stroke();
  }
  const near = (xy) => xy.map((v, i) => v - exact[i % 2]);
  plane.points(behind, near(data), COLORS.data, 4, crowd ? 0.35 : 0.65);
  if (crowd) plane.points(behind, near(crowd.xy), crowd.color, 5, 0.9);
  const pen = plane.layer(plane.canvas);
  drawLanded(plane, pen, { exact, landed });
  Object.assign(pen, { font: "11px system-ui, sans-serif", textAlign: "center", fillStyle: ink });
  pen.fillText("0.2", plane.width / 2, plane.width / 2 + 0.2 * plane.scale + 12);
}

/** Curves x over z: the exact one, those of students, and all their heights at one noise. */
export function drawCurves(chart, { now, over, curves }) {
  const { ink, paper } = chart.stage.theme;
  chart.begin((width) => Math.min(300, Math.max(220, 0.4 * width)), [over[0], over.at(-1)]);
  const { floor, edges } = chart;
  const top = AROUND * Math.max(0.5, ...curves[0].xs.map(Math.abs));
  const y = (x) => floor - ((x / top + 1) / 2) * (floor - edges.top);
  const gap = [0.2, 0.5, 1, 2, 5, 10, 20, 50].find((one) => top / one < 5) ?? top / 3;
  for (let k = -Math.floor(top / gap); k * gap <= top; k++) {
    chart.across(y(k * gap), `${Number((k * gap).toPrecision(2))}`.replace("-", "−"), { strong: k === 0 });
  }
  for (let z = Math.ceil(over[0]); z <= over.at(-1); z++) {
    chart.text(`${z}`.replace("-", "−"), chart.x(z), floor + 16);
  }
  chart.text("z", chart.x(over.at(-1)) + 12, floor + 16, "center", ink, SERIF);
  chart.text("x", 12, edges.top + 4, "center", ink, SERIF);
  const { pen } = chart;
  pen.save();
  pen.beginPath();
  pen.rect(edges.left, edges.top, chart.x(over.at(-1)) - edges.left, floor - edges.top);
  pen.clip();
  curves.forEach(({ k, xs, on }, i) => {
    if (!on) return;
    const places = xs.map((x, n) => [chart.x(over[n]), y(x)]);
    if (k < 0) chart.stroke(places, COLORS.exact, { width: 6 });
    else drawCurve(chart, k, places, i / curves.length);
  });
  pen.restore();
  const at = chart.x(now.line);
  chart.segment([at, edges.top], [at, floor], ink, { width: 1.5 });
  for (const { k, height, on } of curves) {
    if (!on) continue;
    const seen = y(Math.min(top, Math.max(-top, height)));
    if (k < 0) chart.disc(at, seen, 10, COLORS.exact, paper);
    else drawShape(pen, k, at, seen, 6, ink);
  }
  chart.disc(at, floor, 8, COLORS.noise, ink);
}

/** A curve with its shape at a few of its points, others at others. */
function drawCurve(chart, k, places, shift) {
  chart.stroke(places, colorOf(k), { width: 2 });
  const every = Math.max(1, Math.round(places.length / 8));
  for (let n = Math.round(shift * every); n < places.length; n += every) {
    drawShape(chart.pen, k, ...places[n], 4, chart.stage.theme.ink);
  }
}
