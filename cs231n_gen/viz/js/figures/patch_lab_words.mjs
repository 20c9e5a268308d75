// What PatchLab says of a patch's attention and of the gates.

import { highest } from "../math/attention_rows.mjs";
import { make } from "../ui/dom.mjs";
import { percent } from "../ui/format.mjs";

/** Where a patch is, from the upper left. */
const place = (patch, side) => `row ${Math.floor(patch / side) + 1}, column ${(patch % side) + 1}`;

/** Where the attention of the patch goes, and over how many patches it is spread. */
export function sayAttention(says, { now, patch, row, side, spread }) {
  Object.assign(says.dataset, { row: Array.from(row), spread });
  const most = highest(row, 3).map((i) => `${i === patch ? "itself" : place(i, side)} (${percent(row[i])})`);
  const head = now.head ? `head ${now.head}` : "the mean of all heads";
  says.replaceChildren(
    `Block ${now.block + 1}, ${head}, at t = ${now.t.toFixed(2)}: the patch in ${place(patch, side)} attends most to `,
    make("b", {}, most.join("; ")),
    `. Its attention is spread over ${spread.toFixed(1)} of ${row.length} patches (exp of its entropy).`,
  );
}

/** Both gates of the block at the level. */
export function sayGates(says, { block, t }, [attention, mlp]) {
  Object.assign(says.dataset, { gates: [attention, mlp] });
  says.textContent =
    `Block ${block + 1} at t = ${t.toFixed(2)}: attention ${attention.toFixed(3)}, MLP ${mlp.toFixed(3)}. ` +
    "At 0 a gate would shut its branch off.";
}
