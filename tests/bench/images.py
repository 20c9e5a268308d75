"""Class-conditional garments from noise: `flow.train` with a `UNet` on Fashion-MNIST, 16×16.

    python tests/bench/images.py [--seeds 3] [--threads 2] [--json FILE]

Prints, for each seed, how long training took, the share of generated images in which the judge
sees the class that was asked for, and their Fréchet distance in the judge's features to as many
test images; beside them what real training images get. No guidance anywhere.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from cs231n_gen import flow
from cs231n_gen.common.files import write_whole
from cs231n_gen.given.data import fashion_mnist
from cs231n_gen.given.judge import class_accuracy, frechet
from cs231n_gen.given.unet import UNet

TRAIN = {"steps": 1150, "batch": 32, "lr": 3e-3, "warmup": 0.05}  # at most 60 s on 2 cores
IMAGES, SAMPLE_STEPS = 2000, 25


def generate(model, y, generator):
    """One image for each class in y, 250 at a time."""
    z = torch.randn(len(y), 1, 16, 16, generator=generator)
    parts = zip(z.split(250), y.split(250), strict=True)
    return torch.cat([flow.sample(model, some, SAMPLE_STEPS, of) for some, of in parts])


def measure(seed, train, test):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)

    def draw(n, generator):
        i = torch.randint(len(train.x), (n,), generator=generator)
        return train.x[i], train.y[i]

    model = UNet(classes=10)
    cpu = time.process_time()
    history = flow.train(model, draw, generator=generator, label=f"seed {seed}", **TRAIN)
    cpu = time.process_time() - cpu
    y = torch.arange(IMAGES) % 10
    start = time.perf_counter()
    x = generate(model, y, generator)
    return {
        "seed": seed,
        "seconds": history.seconds,
        "cpu_seconds": cpu,
        "loss": statistics.mean(history.losses[-100:]),
        "accuracy": class_accuracy(x, y),
        "frechet": frechet(x, test.x),
        "images_per_second": IMAGES / (time.perf_counter() - start),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write every number there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train, test = fashion_mnist("train", 16), fashion_mnist("test", 16)
    out = Table(
        "", "training", "CPU time", "last loss", "right class", "Fréchet distance", "images/s"
    )
    rows = []
    for seed in range(options.seeds):
        rows.append(row := measure(seed, train, test))
        out.add_row(
            f"seed {seed}",
            f"{row['seconds']:.0f} s",
            f"{row['cpu_seconds']:.0f} s",
            f"{row['loss']:.4f}",
            f"{row['accuracy']:.1%}",
            f"{row['frechet']:.2f}",
            f"{row['images_per_second']:.0f}",
        )
    real = {
        "accuracy": class_accuracy(test.x, test.y),
        "frechet": frechet(train.x[:IMAGES], test.x),
    }
    out.add_row("real", "", "", "", f"{real['accuracy']:.1%}", f"{real['frechet']:.2f}", "")
    Console().print(out)
    if options.json:
        write_whole(
            options.json, json.dumps({"train": TRAIN, "runs": rows, "real": real}, indent=1)
        )


if __name__ == "__main__":
    main()
