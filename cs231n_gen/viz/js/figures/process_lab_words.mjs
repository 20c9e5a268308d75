// What ProcessLab says of the level, of the samples and of dividing by a.

import { noiseToSignal } from "../math/processes.mjs";
import { make } from "../ui/dom.mjs";
import { counted, digits } from "../ui/format.mjs";
import { ratioOf } from "./process_lab_draw.mjs";

const xT = () => ["x", make("sub", {}, "t")];

/** a, b and the signal-to-noise ratio at the level. */
export function sayLevel(says, { now, process }) {
  const [a, b] = process(now.t);
  const sigma = noiseToSignal([a, b]);
  Object.assign(says.dataset, { a, b, sigma });
  const snr = sigma === 0 ? "∞" : Number.isFinite(sigma) ? ratioOf(sigma ** -2) : "0";
  says.replaceChildren(
    `At t = ${now.t.toFixed(2)}: `,
    ...xT(),
    ` = ${a.toFixed(2)} x + ${b.toFixed(2)} z. `,
    make("b", {}, `b / a = ${ratioOf(sigma)}`),
    `, so SNR = a² / b² = ${snr}. ${lesson(now, sigma)}`,
  );
}

function lesson({ curve, t }, sigma) {
  if (curve === "variance_exploding") {
    if (t === 1) return "Some data are left, even here.";
    return "a = 1 throughout: the data stay, and the noise grows.";
  }
  if (curve === "variance_preserving") return "The same circle as cosine, at another pace.";
  if (curve === "cosine") return "a² + b² = 1 throughout.";
  if (curve === "rectified_flow") return "a + b = 1 throughout: a straight line.";
  return sigma === 0 || sigma === Infinity ? "" : "Every place on the dotted ray has this b / a.";
}

/** How the samples were made and how good they are, and what dividing by a does. */
export function sayPaths(says, { now, distance, draws, ends, last, shown, ts, walk, exact, process, view }) {
  const place = process(now.t);
  Object.assign(says.dataset, {
    distance,
    draws,
    last,
    levels: ts,
    ends: shown.map((n) => walk.at(-1)[n] / last[0]),
    exact: exact.all(place),
    part: view.part,
  });
  const eta = now.eta.toFixed(2);
  const how =
    now.eta === 0
      ? "η = 0, DDIM: no new noise. "
      : now.eta === 1
        ? "η = 1, the ancestral step: with short steps, the reversed SDE. "
        : `η = ${eta}: each step draws some new noise. `;
  const fair = now.eta === 0 ? "" : `; ${ends.length} independent draws: ${digits(draws)}`;
  says.replaceChildren(
    make(
      "p",
      {},
      how,
      `After ${counted(now.steps, "step")}, ${ends.length} samples are `,
      make("b", {}, `${digits(distance)} from the data`),
      ` (Wasserstein-1${fair}).`,
    ),
    make("p", {}, ...sayDivided(now)),
  );
}

function sayDivided({ curve, divided, spacing }) {
  if (!divided) {
    const already = curve === "variance_exploding" ? "Here a = 1, so dividing by a changes nothing." : "";
    return [already || "Thin lines are exact paths of the ODE. Divide by a to see what all processes share."];
  }
  const both = [make("b", {}, "One picture for every curve"), ": ", ...xT(), " / a = x + (b / a) z. "];
  const same = "Choose or drag another curve: neither densities nor paths move.";
  const apart = "Densities and exact paths are the same; steps even in t stop at other b / a, so sampled paths differ.";
  return [...both, spacing === "t" ? apart : same];
}
