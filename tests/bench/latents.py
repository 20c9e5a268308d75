"""Slide 84: the same flow in latents and on pixels of three sizes, for equal seconds.

    python tests/bench/latents.py [--seconds 60] [--garments 1000] [--steps 25] [--spaces …]

Seconds are of a processor, on one thread. The aims: in latents at least 96 % of the right class
with w = 1, and with w = 0 a Fréchet distance of at most 5 and at most 1/6 of that of the flow on
32×32 pixels.
"""

import argparse
import statistics

import torch

from cs231n_gen.experiments import latent_trial
from cs231n_gen.given.data import fashion_mnist


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--garments", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=None)
    parser.add_argument("--spaces", nargs="+", default=latent_trial.SPACES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    trial = latent_trial.flows(
        fashion_mnist("train", 32),
        fashion_mnist("test", 32),
        seconds=options.seconds,
        spaces=options.spaces,
        of_processor=True,
        lr=options.lr,
        garments=options.garments,
        steps=options.steps,
        seed=options.seed,
        progress=False,
    )
    print(trial.table())
    for name, f in trial.flows.items():
        last = statistics.mean(f.history.losses[-100:])
        print(f"{name}: {f.seconds:.0f} CPU s, loss {last:.3f}, floor {f.floor:.3f}")
    if {"latents", "pixels"} <= trial.flows.keys():
        ours, theirs = trial.flows["latents"], trial.flows["pixels"]
        for aim, reached in (
            ("right class with w = 1 at least 96 %", ours.right[1.0] >= 0.96),
            ("Fréchet distance with w = 0 at most 5", ours.frechet[0.0] <= 5),
            ("and at most 1/6 of the pixels'", 6 * ours.frechet[0.0] <= theirs.frechet[0.0]),
        ):
            print(f"{aim}: {'reached' if reached else 'NOT reached'}")


if __name__ == "__main__":
    main()
