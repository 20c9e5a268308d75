// The two pictures of GuidanceVectors: what is to be seen from x_t, and the samples.

import { inside, placed } from "../math/guidance.mjs";
import { COLORS } from "../ui/palette.mjs";
import { rgb } from "../ui/plane.mjs";

const CELLS = 96; // in a row of the shading
const BANDS = 10; // of p(y | x_t)
const HEAD = 11; // of an arrow, in pixels
const HIDDEN = 150; // what it costs that a name hides a point
const LEADER = 12; // pixels from which a line joins a name with its point
const SANS = "px system-ui, sans-serif";

/** p(y | x_t) in ten bands: guidance goes across their edges, the way it grows. */
export function shade(plane, pen, chance, t) {
  plane.shades ??= Object.assign(document.createElement("canvas"), { width: CELLS, height: CELLS });
  const image = new ImageData(CELLS, CELLS);
  const blue = rgb(COLORS.data);
  for (let i = 0; i < CELLS * CELLS; i++) {
    const x = plane.extent * ((2 * (i % CELLS) + 1) / CELLS - 1);
    const y = plane.extent * (1 - (2 * Math.floor(i / CELLS) + 1) / CELLS);
    const band = Math.round(BANDS * chance(x, y, t)) / BANDS;
    image.data.set([...blue, 105 * band], 4 * i);
  }
  plane.shades.getContext("2d").putImageData(image, 0, 0);
  pen.drawImage(plane.shades, 0, 0, plane.width, plane.width);
}

/** Data of the class in blue, over those of the others in grey. */
export function drawData(plane, pen, groups, y, size) {
  const { faint } = plane.stage.theme;
  for (const { label, xy } of groups) if (label !== y) plane.points(pen, xy, faint, size, 0.45);
  for (const { label, xy } of groups) if (label === y) plane.points(pen, xy, COLORS.data, size + 0.5, 0.9);
}

/** Paths, the three velocities as far as they point, and the line through their tips. */
export function drawSight(plane, pen, { x_t, t, z, begin, tips, paths }) {
  const { ink, paper } = plane.stage.theme;
  const on = ([x, y]) => [plane.px(x), plane.py(y)];
  const stroke = (path, width) => {
    for (const [strokeStyle, lineWidth] of [
      [paper, width + 3],
      [ink, width],
    ]) {
      Object.assign(pen, { strokeStyle, lineWidth });
      plane.line(pen, path);
    }
  };
  for (const { path, chosen, past } of paths) {
    stroke(path, chosen ? 2 : 1);
    if (chosen) stroke([...past, ...x_t], 3.5);
  }
  if (begin === 1) plane.disc(pen, ...z, 5, COLORS.noise, paper);
  const from = on(x_t);
  for (const { at, color } of tips) drawArrow(pen, from, on(at), color, paper);
  if (t > 0)
    drawLine(
      plane,
      pen,
      tips.map(({ at }) => on(at)),
    );
  for (const { path } of paths) plane.disc(pen, ...path.slice(-2), 4, COLORS.data, paper);
  for (const { at, color } of tips) plane.disc(pen, ...at, 5, color, paper);
  plane.disc(pen, ...x_t, 4, ink, paper);
  pen.beginPath();
  pen.arc(...from, 10, 0, 2 * Math.PI);
  Object.assign(pen, { lineWidth: 2, strokeStyle: ink });
  pen.stroke();
  drawLabels(plane, pen, ...labelled(plane, on, { x_t, t, z, begin, tips, paths }));
}

/** What is named, and the points that no name should hide. */
function labelled(plane, on, { x_t, t, z, begin, tips, paths }) {
  const { faint, ink } = plane.stage.theme;
  const from = on(x_t);
  const angle = ([x, y]) => Math.atan2(y - from[1], x - from[0]);
  const seen = tips.map(({ at }) => inside(from, on(at), plane.width));
  const labels = tips.flatMap(({ text, color, at }, k) => {
    const [x, y] = on(at);
    const long = t > 0 && Math.hypot(x - from[0], y - from[1]) > 4;
    return long && text ? [{ text, color, at: seen[k], away: angle([x, y]) }] : [];
  });
  labels.reverse(); // v_cfg chooses first
  const middle = seen.reduce(([a, b], [x, y]) => [a + x - from[0], b + y - from[1]], [0, 0]);
  labels.push({ text: "x_t", color: ink, at: from, away: Math.atan2(-middle[1], -middle[0]) });
  for (const { path, text } of [...paths].reverse()) {
    const end = on(path.slice(-2));
    labels.push({ text, color: faint, at: inside(from, end, plane.width), away: angle(end) });
  }
  const noise = on(z);
  if (begin === 1 && t < 1) {
    labels.push({ text: "z", color: COLORS.noise, at: noise, away: angle(noise) });
  }
  const lines = [...seen.map((tip) => [from, tip]), [seen[0], seen.at(-1)]];
  const ends = paths.map(({ path }) => on(path.slice(-2)));
  const marks = [from, noise, ...seen, ...ends].map((one) => [...one, HIDDEN]);
  return [labels, [...marks, ...lines.flatMap(dots)]];
}

/** Points along a line, a few pixels apart. */
function dots([[x, y], [toX, toY]]) {
  const n = 1 + Math.ceil(Math.hypot(toX - x, toY - y) / 8);
  return Array.from({ length: n }, (_, k) => [x + ((toX - x) * (k + 1)) / n, y + ((toY - y) * (k + 1)) / n, 5]);
}

/** The line on which all three tips lie, dashed. */
function drawLine(plane, pen, tips) {
  const { ink, paper } = plane.stage.theme;
  for (const [strokeStyle, lineWidth, dash] of [
    [paper, 4.5, []],
    [ink, 2, [6, 5]],
  ]) {
    Object.assign(pen, { strokeStyle, lineWidth });
    pen.setLineDash(dash);
    pen.beginPath();
    for (const tip of tips) pen.lineTo(...tip);
    pen.stroke();
  }
  pen.setLineDash([]);
}

/** An arrow as far as the dot where it points. */
function drawArrow(pen, [x, y], [toX, toY], color, paper) {
  const [dx, dy] = [toX - x, toY - y];
  const length = Math.hypot(dx, dy);
  if (length < 1) return;
  const head = Math.min(HEAD, length / 2) / length;
  const [tipX, tipY] = [toX - (5 / length) * dx, toY - (5 / length) * dy]; // at the edge of the dot
  for (const [strokeStyle, lineWidth] of [
    [paper, 6],
    [color, 3],
  ]) {
    Object.assign(pen, { strokeStyle, lineWidth });
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(tipX, tipY);
    if (length > 14) {
      pen.moveTo(tipX - head * (dx - 0.5 * dy), tipY - head * (dy + 0.5 * dx));
      pen.lineTo(tipX, tipY);
      pen.lineTo(tipX - head * (dx + 0.5 * dy), tipY - head * (dy - 0.5 * dx));
    }
    pen.stroke();
  }
}

/** Around the mean of the data of the class, and of the samples, a circle as wide as their spread. */
export function drawSpreads(plane, pen, of) {
  const { paper } = plane.stage.theme;
  const middles = of.map(({ mean: [x, y] }) => [plane.px(x), plane.py(y)]);
  const labels = of.map(({ mean, spread, color, text }, k) => {
    const [x, y] = middles[k];
    const radius = spread * plane.scale;
    for (const [strokeStyle, lineWidth] of [
      [paper, 5],
      [color, 2.5],
    ]) {
      Object.assign(pen, { strokeStyle, lineWidth });
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.stroke();
    }
    plane.disc(pen, ...mean, 4, color, paper);
    const [otherX, otherY] = middles[1 - k] ?? [x, y + 1];
    const away = Math.atan2(y - otherY, x - otherX);
    const edge = [x + radius * Math.cos(away), y + radius * Math.sin(away)];
    return { text, color, away, at: inside([x, y], edge, plane.width) };
  });
  drawLabels(
    plane,
    pen,
    labels,
    middles.map((one) => [...one, HIDDEN]),
  );
}

/** Words on paper, edged with the colour of what they name; v_y has a subscript. */
function drawLabels(plane, pen, labels, points) {
  const { ink, paper } = plane.stage.theme;
  const sized = labels.map((one) => ({ ...one, size: [write(pen, one.text) + 12, 20] }));
  Object.assign(pen, { textAlign: "left", lineWidth: 1.5 });
  placed(sized, points, plane.width).forEach(([left, top], k) => {
    const { text, color, size, at } = sized[k];
    const edge = [0, 1].map((d) => Math.min([left, top][d] + size[d], Math.max([left, top][d], at[d])));
    if (Math.hypot(edge[0] - at[0], edge[1] - at[1]) > LEADER) {
      pen.strokeStyle = color;
      pen.beginPath();
      pen.moveTo(...at);
      pen.lineTo(...edge);
      pen.stroke();
    }
    pen.beginPath();
    pen.roundRect(left, top, ...size, 6);
    Object.assign(pen, { fillStyle: paper, strokeStyle: color });
    pen.fill();
    pen.stroke();
    pen.fillStyle = ink;
    write(pen, text, left + 6, top + 14);
  });
}

/** Words with their subscripts, drawn if a place is given; tells how wide they are. */
function write(pen, text, x, y) {
  let wide = 0;
  for (const [, word, below = ""] of text.matchAll(/([^_]+)(?:_(\S+))?/g)) {
    for (const [part, size, down] of [
      [word, 13, 0],
      [below, 10, 3],
    ]) {
      pen.font = `600 ${size}${SANS}`;
      if (y !== undefined) pen.fillText(part, x + wide, y + down);
      wide += pen.measureText(part).width;
    }
  }
  return wide;
}
