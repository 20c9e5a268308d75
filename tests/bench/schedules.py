"""Schedules for t, seed by seed: `python tests/bench/schedules.py [--seeds 8]`.

Prints the table of chapter 06: one net on the ring at one cost under four schedules, the same
seeds, the same numbers. With `--garments` the same trial with the `UNet` of chapter 04 on
Fashion-MNIST, 16×16: a minute and a half for each of 4 schedules and each seed on one core.
"""

import argparse
import time

import torch
from torch import Tensor

from cs231n_gen import data, flow, judge, schedule_trial
from cs231n_gen.given.training import Run
from cs231n_gen.given.unet import UNet

TRAIN = {"lr": 3e-3, "warmup": 0.05}
BATCH, IMAGES = 32, 500


def main() -> None:
    """Print the table of one trial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8, help="at least 2")
    parser.add_argument("--garments", action="store_true", help="images instead of points")
    parser.add_argument("--steps", type=int, help="of training, for each net")
    options = parser.parse_args()
    steps = {} if options.steps is None else {"steps": options.steps}
    if options.garments:
        trial = garments(options.seeds, **steps)
    else:
        trial = schedule_trial.run(data.ring(), range(options.seeds), **steps)
    print(trial.table())
    print(f"{trial.seconds:.0f} s")


def garments(seeds: int, steps: int = 1150) -> schedule_trial.Trial:
    """The trial on images: Fréchet distances of 500 of them to the real ones of the test set."""
    train, test = data.fashion_mnist("train", 16), data.fashion_mnist("test", 16)
    start, distances = time.perf_counter(), []
    for name, draw in schedule_trial.SCHEDULES.items():
        for seed in range(seeds):
            net = dress(train, draw, seed, steps, f"{name}, seed {seed}")
            distances.append([judge.frechet(x, test.x) for x in pictures(net, seed)])
    parts = [train.x[k * IMAGES : (k + 1) * IMAGES] for k in range(seeds)]
    names = list(schedule_trial.SCHEDULES)
    return schedule_trial.Trial(
        names=names,
        steps=list(schedule_trial.STEPS),
        distances=torch.tensor(distances).double().reshape(len(names), seeds, -1),
        noise=torch.tensor([judge.frechet(x, test.x) for x in parts]),
        levels=torch.empty(0),
        excess=torch.empty(len(names), seeds, 0),
        seconds=time.perf_counter() - start,
        what=f"Fréchet distance of {IMAGES} garments",
        times=1.0,
    )


def dress(train, draw, seed: int, steps: int, label: str) -> UNet:
    """The net of one seed under one schedule: the same weights, data and noise under each."""
    torch.manual_seed(seed)
    net = UNet(classes=10)
    pairs, levels = (torch.Generator().manual_seed(seed) for _ in range(2))
    with Run(net, steps, label=label, **TRAIN) as run:
        for _ in run:
            i = torch.randint(len(train.x), (BATCH,), generator=pairs)
            x = train.x[i]
            z = torch.randn(x.shape, generator=pairs)
            L = flow.loss(net, x, z, draw(BATCH, levels), train.y[i])
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L)
    return net


def pictures(net: UNet, seed: int) -> list[Tensor]:
    """Garments of a net, from the same noise for each number of steps."""
    z = torch.randn(IMAGES, 1, 16, 16, generator=torch.Generator().manual_seed(10_000 + seed))
    y = torch.arange(IMAGES) % 10
    parts = list(zip(z.split(250), y.split(250), strict=True))
    return [
        torch.cat([flow.sample(net, some, T, of) for some, of in parts])
        for T in schedule_trial.STEPS
    ]


if __name__ == "__main__":
    main()
