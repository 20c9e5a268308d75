"""Make the README's picture, `flow.png`: `python docs/pictures/make_flow.py`. About 2 minutes.

Left, noise that follows a field learned on the ring; right, garments on their way from noise. Both
nets are trained here, as in chapter 04.
"""

import os
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from cs231n_gen import data, flow, viz  # noqa: E402
from cs231n_gen.given.unet import UNet  # noqa: E402

TIMES = [1, 0.7, 0.5, 0.3, 0.15, 0]
GARMENTS = [0, 1, 3, 5, 7, 8, 9]


def paths_of_the_ring(generator):
    """From noise to the ring, (frames, points, 2)."""
    ring, model = data.ring(), flow.VelocityMLP()
    flow.train(model, lambda n, g: (ring.sample(n, g), None), 2000, generator=generator)
    return flow.trajectory(model, torch.randn(150, 2, generator=generator), 100)


def film_of_garments(generator):
    """From noise to a garment of each class in GARMENTS, (frames, garments, 1, 16, 16)."""
    x, y = data.fashion_mnist("train", 16)

    def draw(n, generator):
        i = torch.randint(len(x), (n,), generator=generator)
        return x[i], y[i]

    net = UNet(classes=10)
    flow.train(net, draw, 1150, batch=32, lr=3e-3, warmup=0.05, generator=generator)
    z = torch.randn(len(GARMENTS), 1, 16, 16, generator=generator)
    return flow.trajectory(net, z, 50, torch.tensor(GARMENTS))


def main():
    """Train, draw, write."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    path, film = paths_of_the_ring(generator), film_of_garments(generator)
    viz.use_style()
    figure = plt.figure(figsize=(12, 5))
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.25])
    ax = left.subplots()
    viz.paths(ax, path)
    viz.square(ax, title="from noise to data along a learned field")
    axes = right.subplots(len(GARMENTS), len(TIMES))
    for row, name in enumerate(GARMENTS):
        for ax, t in zip(axes[row], TIMES, strict=True):
            frame = film[round((1 - t) * (len(film) - 1)), row, 0]
            ax.imshow(frame, vmin=-1, vmax=1)
            ax.set(xticks=[], yticks=[], title=f"t = {t:g}" if row == 0 else "")
        label = data.CLASS_NAMES[name]
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center")
    draft = HERE / "flow.part.png"
    figure.savefig(draft, dpi=90)
    os.replace(draft, HERE / "flow.png")


if __name__ == "__main__":
    main()
