// The pictures of FlowField: a field with a crowd in it, and before it the path of one point.

import { onPath, pairsThrough } from "../math/velocity_field.mjs";
import { COLORS } from "../ui/palette.mjs";
import { between } from "../ui/plane.mjs";

const PAIRS = 80; // that are drawn at most

/** Data, the crowd at level t, and the velocities there. */
export function drawField({ plane, field, color, crowd }, { t, arrows }, data) {
  const pen = plane.layer(plane.back);
  plane.axes(pen);
  plane.points(pen, data, COLORS.data, 2, 0.55);
  plane.points(pen, crowd.at(t), between(t), crowd.noise.length > 4000 ? 2 : 3.5, 0.85);
  if (!arrows) return;
  const n = plane.width < 320 ? 13 : 17;
  const v = [0, 0];
  Object.assign(pen, { strokeStyle: color, lineWidth: 1.1, globalAlpha: 0.75 });
  pen.beginPath();
  for (let i = 0; i < n * n; i++) {
    const x = plane.extent * ((2 * (i % n) + 1) / n - 1);
    const y = plane.extent * ((2 * Math.floor(i / n) + 1) / n - 1);
    field(x, y, t, v);
    const by = Math.min(0.16, (0.9 / (Math.hypot(...v) * n)) * plane.extent * 2) * plane.scale;
    plane.arrow(pen, plane.px(x), plane.py(y), -v[0] * by, v[1] * by); // the way a sample moves
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

/** The path of the point, thick as far as it has come, and the ring by which it is dragged. */
export function drawPath(panel, { t, steps, ghost, pairs }, data) {
  const { plane, color, path } = panel;
  const pen = plane.layer(plane.canvas);
  const { ink, paper } = plane.stage.theme;
  if (pairs) drawPairs(panel, pen, Math.max(t, 0.02), data);
  if (ghost) {
    pen.setLineDash([5, 4]);
    Object.assign(pen, { strokeStyle: ink, lineWidth: 1.5 });
    plane.line(pen, panel.ghost);
    pen.setLineDash([]);
  }
  const at = onPath(path, t);
  const k = Math.min(steps, Math.floor((1 - t) * steps + 1e-9));
  Object.assign(pen, { strokeStyle: color, lineWidth: 3 });
  plane.line(pen, [...path.slice(0, 2 * k + 2), ...at]);
  pen.lineWidth = 1.5;
  plane.line(pen, [...at, ...path.slice(2 * k + 2)]);
  if (steps <= 25) plane.points(pen, path, ink, 4);
  plane.disc(pen, path.at(-2), path.at(-1), 5, COLORS.data, paper);
  plane.disc(pen, path[0], path[1], 5, COLORS.noise, paper);
  if (t > 0 && t < 1) plane.disc(pen, ...at, 4, ink, paper);
  pen.beginPath();
  const [x, y] = panel.here;
  pen.arc(plane.px(x), plane.py(y), 10, 0, 2 * Math.PI);
  Object.assign(pen, { strokeStyle: ink, lineWidth: 2 });
  pen.stroke();
}

/** The likeliest pairs that pass through the point, one of them by itself, and their average. */
function drawPairs({ plane, field, color, here }, pen, t, data) {
  const { z, weights } = pairsThrough(data, ...here, t);
  const order = [...weights.keys()].sort((i, j) => weights[j] - weights[i]).slice(0, PAIRS);
  const pair = (i) => plane.line(pen, [data[2 * i], data[2 * i + 1], z[2 * i], z[2 * i + 1]]);
  pen.lineWidth = 1;
  for (const i of order) {
    pen.globalAlpha = Math.max(0.08, (0.7 * weights[i]) / weights[order[0]]);
    pen.strokeStyle = plane.stage.theme.faint;
    pair(i);
    plane.points(pen, z.subarray(2 * i, 2 * i + 2), COLORS.noise, 4, 0.9);
  }
  pen.globalAlpha = 1;
  if (order.length === 0) return;
  Object.assign(pen, { strokeStyle: COLORS.noise, lineWidth: 2 });
  pair(order[0]);
  const v = [0, 0];
  field(...here, t, v);
  Object.assign(pen, { strokeStyle: color, lineWidth: 4 });
  pen.beginPath();
  const by = 0.5 * plane.scale;
  plane.arrow(pen, plane.px(here[0]), plane.py(here[1]), -v[0] * by, v[1] * by, 10);
  pen.stroke();
}
