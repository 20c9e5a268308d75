// What CodeLab says of codes that were exchanged, and of the code that comes next.

import { make } from "../ui/dom.mjs";
import { chance, counted, percent } from "../ui/format.mjs";

/** Where a place of the grid is. */
export const rowAndColumn = (place, side) => `Row ${Math.floor(place / side) + 1}, column ${(place % side) + 1}`;

/** A probability in percent, small ones to a tenth. */
export const inPercent = (p) => {
  if (p < 0.0005) return "< 0.1 %";
  return p < 0.0995 ? `${(100 * p).toFixed(1)} %` : percent(p);
};

/** What the place holds, and where the image changed. */
export function sayChange(says, { label, place, side, count, original, codes, changed, parts }) {
  says.dataset.codes = codes;
  says.dataset.parts = Object.values(parts);
  const [code, was] = [codes[place], original[place]];
  const words = [`${rowAndColumn(place, side)} holds `, make("b", {}, `code ${code}`)];
  words.push(code === was ? `, one of ${count}. ` : ` instead of ${was}. `);
  if (!changed.length) {
    words.push(`All ${codes.length} codes are those of this example (${label}). Put another one there.`);
  } else {
    const [its, those] = changed.length > 1 ? ["their patches", "around them"] : ["its patch", "around it"];
    words.push(
      `${counted(changed.length, "code")} exchanged: `,
      make("b", {}, `${percent(parts.own)} of the squared change of the image is inside ${its}`),
      `, ${percent(parts.around)} in the patches ${those}, ${percent(parts.farther)} farther away.`,
    );
  }
  says.replaceChildren(...words);
}

/** What the codes so far cost, and how likely the next one is. */
export function sayNext(says, { bits, even, written, code }) {
  const cost = bits.slice(0, written).reduce((sum, v) => sum + v, 0);
  const n = bits.length;
  says.dataset.cost = cost;
  const so = make("b", {}, `${cost.toFixed(1)} bits`);
  if (written === n) {
    const each = `${(cost / n).toFixed(2)} a code. Equally likely codes would cost ${(even * n).toFixed(0)}, ${even.toFixed(2)} each.`;
    says.replaceChildren(`All ${n} codes cost `, so, `: ${each}`);
    return;
  }
  const p = 2 ** -bits[written];
  says.replaceChildren(
    `${written} of ${n} codes cost `,
    so,
    `. The true next one is code ${code}, p ${chance(p)}, and costs ${bits[written].toFixed(1)} bits more.`,
  );
}
