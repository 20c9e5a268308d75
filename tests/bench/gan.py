"""GANs over seeds: `OMP_NUM_THREADS=1 python tests/bench/gan.py`.

The ring of chapter 01, aim: all 8 modes and an energy distance of at most 0.02 in 30 s.
"""

import argparse

import torch

from cs231n_gen import data, gan, metrics
from cs231n_gen.mlp import MLP
from cs231n_gen.training import Players

STEPS = 2000
SAMPLES = 2000
NEAR = 0.6  # three standard deviations of a Gaussian of the ring
LEAST = 0.02  # share of the samples that makes a mode found


def main() -> None:
    """Print a line for each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    print("seed  modes  energy distance  seconds     −V")
    for seed in range(parser.parse_args().seeds):
        modes, distance, history = play(seed)
        last = sum(history.losses[-100:]) / 100
        print(f"{seed:4}  {modes:5}  {distance:15.4f}  {history.seconds:7.1f}  {last:.3f}")


def play(seed: int) -> tuple[int, float, object]:
    """The run of chapter 01 from another seed: modes found, energy distance, history."""
    torch.manual_seed(seed)
    g, ring = torch.Generator().manual_seed(seed), data.ring()
    players = Players(MLP(2, 2), MLP(2, 1), lr=1e-3)
    history = gan.train(players, ring.sample, STEPS, generator=g, progress=False)
    with torch.no_grad():
        x = players.generator(torch.randn(SAMPLES, 2, generator=g))
    off = (x[:, None] - ring.mixture.means.float()).norm(dim=2)
    modes = sum(bool((d < NEAR).float().mean() >= LEAST) for d in off.T)
    return modes, metrics.energy_distance(ring.sample(SAMPLES, g), x).item(), history


if __name__ == "__main__":
    main()
