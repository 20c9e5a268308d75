"""Every sampler against the density itself: `python tests/bench/one_density.py [--seeds 12]`.

Prints the table of chapter 07 for the exact field of the ring, of more samples and for several
processes: the energy distance of 4000 samples as a multiple of that of real ones, seed by seed.
With 200 steps the aim is 1.3 at most, everywhere.
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
    "cosine, levels even in t": (cosine(), even_in_t),
    "rectified flow, levels even in t": (rectified_flow(), even_in_t),
    "DDPM's process, levels even in t down to 0.001": (
        variance_preserving(),
        lambda T: even_in_t(T, 1.0, 0.001),  # b′ is infinite at t = 0
    ),
    "EDM, Karras' levels": (EDM, lambda T: karras(EDM, T)),
}


def main() -> None:
    """Print a table for each process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=12, help="at least 2")
    parser.add_argument("--samples", type=int, default=4000, help="of each seed")
    parser.add_argument("--steps", type=int, nargs="*", default=list(sampler_trial.STEPS))
    options = parser.parse_args()
    ring = data.ring()
    for name, (process, levels) in PLACES.items():
        field = {"exact field": perfect_net(ring.mixture, process, velocity(process))}
        trial = sampler_trial.run(
            ring,
            field,
            process,
            seeds=range(options.seeds),
            steps=options.steps,
            levels=levels,
            samples=options.samples,
        )
        worst = float(trial.ratio("exact field")[0][:, -1].max())
        print(f"{name}\n{trial.table()}")
        print(
            f"worst at {options.steps[-1]} steps: {worst:.2f}; {trial.seconds:.0f} s\n", flush=True
        )


if __name__ == "__main__":
    main()
