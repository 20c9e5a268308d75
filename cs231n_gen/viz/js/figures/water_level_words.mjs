// What WaterLevel says of the water, of two reconstructions and of latents under noise.

import { make } from "../ui/dom.mjs";
import { digits, percent } from "../ui/format.mjs";

/** MSE and KL of the flooded spectrum. */
export function sayWater(says, { now, vae, mse, kl, variance, of }) {
  Object.assign(says.dataset, { theta: now.theta, mse, kl, alive: vae.alive });
  says.replaceChildren(
    make("b", {}, `${vae.alive} of ${of} axes`),
    " are above water. ",
    make("b", {}, `MSE = Σ min(λ, θ) = ${digits(mse)}`),
    `, ${percent(mse / variance)} of the variance ${digits(variance)}. `,
    make("b", {}, `KL = Σ ½ log⁺(λ / θ) = ${digits(kl)} nats`),
    ": half the area of the bars above the water, on this logarithmic scale.",
  );
}

/** What both reconstructions cost, with these draws and in expectation. */
export function sayCosts(says, { errors, mse }) {
  const [xHat, sample] = errors;
  Object.assign(says.dataset, { errors });
  says.replaceChildren(
    "‖x − x̂‖² = ",
    make("b", {}, digits(xHat)),
    `, on average ${digits(mse)}. `,
    "‖x − x′‖² = ",
    make("b", {}, digits(sample)),
    `, on average ${digits(2 * mse)}, `,
    make("b", {}, "exactly twice as much"),
    `; with these draws, ${digits(sample / xHat)} times. x̂ is blurred: it leaves out what u does not tell, and x′ draws that.`,
  );
}

/** What is left of the image in the noised code. */
export function sayNoised(says, { now, x, decoded }) {
  const off = x.reduce((sum, v, i) => sum + (v - decoded[i]) ** 2, 0);
  Object.assign(says.dataset, { off });
  const words =
    now.t === 0
      ? "At t = 0 nothing is noised: the decoded image is x̂."
      : now.t === 1
        ? "At t = 1 the decoder is given pure noise, and makes a sample of the linear model."
        : `At t = ${now.t.toFixed(2)} the decoder is given noised latents.`;
  says.replaceChildren(`${words} ‖x − decoded‖² = ${digits(off)}.`);
}
