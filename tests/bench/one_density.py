"""Every sampler against the density itself: `python tests/bench/one_density.py`.

Prints the table of chapter 07 for the exact field of the ring and several processes: the energy
distance of 2000 samples as a multiple of that of real ones. Samplers that draw noise get 8 times as
many seeds, since they don't share the luck of their noise with the exact flow. With 200 steps the
aim is 1.3 at most, everywhere.
"""

import argparse

from cs231n_gen import data, sampler_trial
from cs231n_gen.experiments.perfect import perfect_net
from cs231n_gen.given.processes import (
    cosine,
    edm,
    even_in_t,
    karras,
    rectified_flow,
    variance_preserving,
    velocity,
)

EDM = edm()
PLACES = {
    "cosine": (cosine(), even_in_t),
    "rectified flow": (rectified_flow(), even_in_t),
    "DDPM": (
        variance_preserving(),
        lambda T: even_in_t(T, 1.0, 0.001),  # b′ is infinite at t = 0
    ),
    "EDM": (EDM, lambda T: karras(EDM, T)),
}


def main() -> None:
    """Print a table for each process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="at least 2")
    parser.add_argument("--samples", type=int, default=2000, help="of each seed")
    parser.add_argument("--places", nargs="*", default=list(PLACES), choices=list(PLACES))
    options = parser.parse_args()
    ring, samplers = data.ring(), sampler_trial.SAMPLERS
    for place in options.places:
        process, levels = PLACES[place]
        field = {"exact field": perfect_net(ring.mixture, process, velocity(process))}
        print(place)
        for deterministic, seeds in ((True, options.seeds), (False, 8 * options.seeds)):
            trial = sampler_trial.run(
                ring,
                field,
                process,
                seeds=range(seeds),
                levels=levels,
                samples=options.samples,
                samplers={k: s for k, s in samplers.items() if s.deterministic == deterministic},
            )
            worst = float(trial.ratio("exact field")[0][:, -1].max())
            print(trial.table())
            print(f"worst at {trial.steps[-1]} steps: {worst:.2f}\n", flush=True)


if __name__ == "__main__":
    main()
