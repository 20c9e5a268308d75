// What GuidanceVectors says of x_t, of its paths and of the samples.

import { symbol } from "../ui/captions.mjs";
import { make } from "../ui/dom.mjs";
import { chance, signed } from "../ui/format.mjs";

const place = ([x, y]) => `(${signed(x)}, ${signed(y)})`;
const xT = () => ["x", make("sub", {}, "t")];

/** A weight in as few digits as it needs. */
export const plain = (w) => String(Number(w.toFixed(2))).replace("-", "−");

/** Where the velocities point from x_t, and where the paths of its noise lead. */
export function sayHere(says, { x_t, t, z, begin, w, chances, tips, paths, p, name }) {
  const ends = [...paths].sort((a, b) => a.w - b.w).map((one) => ({ w: one.w, end: one.path.slice(-2) }));
  const from = begin === 1 ? `The same noise ${place(z)} goes` : "No noise is likely to lead here; from here one goes";
  const certain = make("b", {}, "p(y | ", ...xT(), `) ${chance(p)}`);
  const pointed = t === 0 ? [". At t = 0 no velocity points anywhere else."] : pointing(tips, w, chances, name);
  says.replaceChildren(
    make("p", {}, "At ", ...xT(), ` = ${place(x_t)}, `, certain, ...pointed),
    make("p", {}, `${from} to ${ends.map((one) => `${place(one.end)} at w = ${plain(one.w)}`).join(", ")}.`),
  );
  Object.assign(says.dataset, {
    at: x_t,
    chance: p,
    begin,
    z,
    tips: tips.map((one) => one.at.join(",")).join(";"),
    ends: ends.map((one) => [one.w, ...one.end].join(",")).join(";"),
  });
}

function pointing(tips, w, chances, name) {
  const v = (which) => symbol("v", which);
  const [at, atY, atCfg] = tips.map((one) => place(one.at));
  const further = `, ${plain(w)} times their distance further: straight to where p(y | `;
  const beyond = w > 0 ? [further, ...xT(), ")", chances ? ", the shading," : "", " grows fastest"] : [];
  return [
    ". ",
    ...v("∅"),
    ` points at ${at}, the mean of all data that may be behind it, `,
    ...v("y"),
    ` at ${atY}, that of ${name} alone, `,
    ...v("cfg"),
    ` at ${atCfg}`,
    ...beyond,
    ".",
  ];
}

/** How far samples and data spread, and how sure their class is. */
export function saySamples(says, { y, w, steps, mean, spread, sure }, data, n) {
  says.replaceChildren(
    make(
      "p",
      {},
      `${n} samples at w = ${plain(w)}: `,
      make("b", {}, `spread ${spread.toFixed(2)}`),
      ` around ${place(mean)}. Data of ${data.name}: `,
      make("b", {}, `spread ${data.spread.toFixed(2)}`),
      ` around ${place(data.mean)}. The circles show both.`,
    ),
    make("p", {}, `Mean p(y | x) of the samples ${chance(sure)}, of the data ${chance(data.sure)}. ${lesson(w)}`),
  );
  Object.assign(says.dataset, { of: [y, w, steps], mean, spread, sure, data: data.spread });
}

function lesson(w) {
  if (w > 0) return "Guidance leads to where y is surer, not to where more of the data are.";
  if (w < 0) return "A weight below 0 leads back towards all data.";
  return "Without guidance, in steps enough, samples are as the data are.";
}
