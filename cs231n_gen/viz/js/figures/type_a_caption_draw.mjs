// The pictures of TypeACaption: what is painted, and how much each patch attends to a word.

import { make } from "../ui/dom.mjs";
import { COLORS } from "../ui/palette.mjs";

const FADED = 0.4; // the picture under the attention
const FULL = 0.85; // the patch that attends most
const WIDE = 320; // dots of the canvas with numbers

/** What is needed beside the looks of every figure. */
export const LOOKS = `
.gen-caption .gen-build { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; }
.gen-caption .gen-build select { padding: 3px 6px; }
.gen-caption .gen-field { display: flex; flex: 1 1 300px; gap: 6px; align-items: center; min-width: 0; }
.gen-caption .gen-bar .gen-field { flex: 3 1 420px; }
.gen-caption .gen-bar .gen-against { flex: 1 1 200px; }
.gen-caption input[type="text"], .gen-caption input[type="number"] { font: inherit; color: var(--gen-ink);
  background: var(--gen-paper); border: 1px solid var(--gen-faint); border-radius: 6px; padding: 3px 8px; min-height: 30px; }
.gen-caption input[type="text"] { flex: 1 1 0; min-width: 0; }
.gen-caption input[type="number"] { width: 5.6em; }
.gen-caption input[aria-invalid="true"] { border-color: var(--gen-learned); box-shadow: 0 0 0 2px var(--gen-learned); }
.gen-caption .gen-wrong { margin: 6px 0 0; font-weight: 600; }
.gen-caption .gen-wrong:empty { display: none; }
.gen-caption .gen-paint { font-weight: 600; border-color: var(--gen-ink); }
.gen-caption .gen-chips { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; }
.gen-caption .gen-chips button { position: relative; padding: 2px 10px 7px; min-width: 34px; }
.gen-caption .gen-chips i { position: absolute; left: 5px; bottom: 3px; height: 3px; border-radius: 2px; background: var(--gen-noise); }
.gen-caption .gen-three { display: grid; gap: 12px; margin-top: 8px;
  grid-template-columns: repeat(auto-fit, minmax(min(150px, 42%), 1fr)); max-width: 940px; }
.gen-caption .gen-width { container-type: inline-size; }
@container (max-width: 460px) { .gen-caption .gen-three figure:last-child { grid-column: 1 / -1; } }
.gen-caption .gen-three figure { margin: 0; min-width: 0; }
.gen-caption .gen-three canvas { display: block; width: 100%; height: auto; image-rendering: pixelated;
  border: 1px solid var(--gen-line); border-radius: 6px; }
.gen-caption .gen-three .gen-smooth { image-rendering: auto; touch-action: pan-y pinch-zoom; }
.gen-caption .gen-three figcaption { min-height: 2.9em; align-content: end; }
.gen-caption .gen-strip { margin-top: 8px; }
.gen-caption .gen-film canvas { width: 48px; }
`;

/** Colours in [−1, 1], (pixels, 3), on a canvas of as many pixels. */
export function paintPicture(canvas, picture) {
  const side = Math.sqrt(picture.length / 3);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const image = new ImageData(side, side);
  for (let p = 0; p < side * side; p++) {
    for (let c = 0; c < 3; c++) image.data[4 * p + c] = Math.round(127.5 * (picture[3 * p + c] + 1));
    image.data[4 * p + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The picture, faded, and on each patch which share of its attention goes to the word. */
export function paintAttention(canvas, { picture, shares, patch, theme }) {
  const whole = make("canvas");
  paintPicture(whole, picture);
  if (canvas.width !== WIDE) canvas.width = canvas.height = WIDE;
  const pen = canvas.getContext("2d");
  pen.globalAlpha = 1;
  pen.fillStyle = theme.paper;
  pen.fillRect(0, 0, WIDE, WIDE);
  pen.imageSmoothingEnabled = false;
  pen.globalAlpha = FADED;
  pen.drawImage(whole, 0, 0, WIDE, WIDE);
  const side = Math.sqrt(shares.length);
  const size = WIDE / side;
  const most = Math.max(...shares, 1e-9);
  shares.forEach((share, k) => {
    const [x, y] = [(k % side) * size, Math.floor(k / side) * size];
    Object.assign(pen, { fillStyle: COLORS.noise, globalAlpha: (FULL * share) / most });
    pen.fillRect(x, y, size, size);
    Object.assign(pen, { globalAlpha: 1, strokeStyle: theme.line, lineWidth: 1 });
    pen.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
    number(pen, `${Math.round(100 * share)}`, [x + size / 2, y + size / 2], { size, theme });
  });
  if (patch === null) return;
  Object.assign(pen, { strokeStyle: theme.ink, lineWidth: 4 });
  pen.strokeRect((patch % side) * size + 2, Math.floor(patch / side) * size + 2, size - 4, size - 4);
}

/** A number that is seen on every ground. */
function number(pen, words, [x, y], { size, theme }) {
  pen.font = `600 ${Math.round(Math.min(26, size / 3))}px system-ui, sans-serif`;
  Object.assign(pen, { textAlign: "center", textBaseline: "middle", lineJoin: "round" });
  Object.assign(pen, { strokeStyle: theme.paper, lineWidth: 5, fillStyle: theme.ink });
  pen.strokeText(words, x, y);
  pen.fillText(words, x, y);
}
