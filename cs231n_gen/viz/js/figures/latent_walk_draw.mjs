// The pictures of LatentWalk: a contact sheet of the plane, and on it the latents and the point.

import { paint } from "../ui/dom.mjs";
import { COLORS } from "../ui/palette.mjs";
import { Plane } from "../ui/plane.mjs";

/** A plane whose window is any rectangle of (u, v). */
export class Sheet extends Plane {
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

/** The contact sheet: pictures at their places, dimmed. */
export function drawContacts(sheet, canvas, pictures, side) {
  const pen = sheet.layer(sheet.back);
  const [wide, high] = [sheet.px(side[0]) - sheet.px(0), sheet.py(0) - sheet.py(side[1])];
  Object.assign(pen, { imageSmoothingEnabled: false, globalAlpha: 0.5 });
  for (const { grey, u, v } of pictures) {
    paint(canvas, grey);
    const [x, y] = [sheet.px(u), sheet.py(v)];
    pen.drawImage(canvas, x - wide / 2 + 0.5, y - high / 2 + 0.5, wide - 1, high - 1);
  }
}

/** The triangle of the latents with their names, and the point. */
export function drawWalk(sheet, { u, v }, corners, labels) {
  const pen = sheet.layer(sheet.canvas);
  const { ink, paper } = sheet.stage.theme;
  const stroke = (strokeStyle, lineWidth) => {
    Object.assign(pen, { strokeStyle, lineWidth });
    pen.beginPath();
    for (const corner of corners) pen.lineTo(sheet.px(corner[0]), sheet.py(corner[1]));
    pen.closePath();
    pen.stroke();
  };
  stroke(paper, 5);
  stroke(COLORS.noise, 2.5);
  corners.forEach((corner, k) => drawCorner(sheet, pen, corner, `${k + 1} ${labels[k]}`));
  sheet.disc(pen, u, v, 12, paper, ink);
  sheet.disc(pen, u, v, 7, COLORS.noise, paper);
}

/** A latent with its number and its name, which stays inside. */
function drawCorner(sheet, pen, [u, v], words) {
  const { ink, paper } = sheet.stage.theme;
  const [x, y] = [sheet.px(u), sheet.py(v)];
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
