// What FewSteps says of a noise and of the images that students give it.

import { make } from "../ui/dom.mjs";
import { counted, signed } from "../ui/format.mjs";

const STEEP = 4; // images of neighbours that are so many times farther apart than they
const pair = ([x, y]) => `(${signed(x)}, ${signed(y)})`;
const calls = (n) => counted(n, "call");

/** A distance to two places. */
export const far = (distance) => (distance < 0.005 ? "< 0.01" : distance.toFixed(2));

const away = (distance) => far(distance).replace("<", "less than");

/** Where the noise goes, who is nearest and who is farthest, and whether the map is steep there. */
export function sayImages(says, { now, exact, landed, gap, apart }) {
  Object.assign(says.dataset, { z: now.z, exact, landed: landed.map(({ at }) => at).join(";") });
  const words = ["The exact flow takes ", make("b", {}, `z = ${pair(now.z)}`), ` to ${pair(exact)}. `];
  if (landed.length) {
    const sorted = [...landed].sort((a, b) => a.distance - b.distance);
    const [best, worst] = [sorted[0], sorted.at(-1)];
    words.push(`With ${calls(now.calls)}, `, make("b", {}, best.name), ` is ${away(best.distance)} away`);
    if (sorted.length > 1) words.push(" and ", make("b", {}, worst.name), ` ${away(worst.distance)}`);
    words.push(". ");
  } else words.push(`No student is shown with ${calls(now.calls)}. `);
  if (apart > STEEP * gap) {
    words.push(
      `Neighbours part here: noises ${gap.toFixed(2)} apart end up to ${apart.toFixed(2)} apart, ` +
        "and what is shown is a blend of such ends.",
    );
  }
  says.replaceChildren(...words);
}

/** Heights of all curves at one noise. */
export function sayCurves(says, { now, curves }) {
  const shown = curves.filter(({ on }) => on);
  Object.assign(says.dataset, { heights: shown.map(({ height }) => height) });
  const [exact, ...others] = shown;
  const each = others.map(({ name, height }) => `${name} ${signed(height)}`);
  says.replaceChildren(
    make("b", {}, `z = ${signed(now.line)}`),
    ` goes to x = ${signed(exact.height)}, the quantile that belongs to Φ(z)`,
    each.length ? `. Students: ${each.join(", ")}.` : ".",
  );
}
