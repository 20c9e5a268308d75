"""Guided garments: class accuracy against the Fréchet distance over w, as in chapter 05.

    python tests/bench/guidance.py [--seeds 3] [--images 1000] [--threads 2] [--json FILE]

A `UNet` is trained as the chapter does, a tenth of the labels dropped; images are drawn at each
weight, in 12 Euler steps, guided at every t and, for two weights, only where 0.25 ≤ t ≤ 0.75.
Printed: the range over seeds of what the judge says, beside real images, and the time to sample as
a ratio to the conditional sampler's in the same run.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from cs231n_gen import flow, guidance
from cs231n_gen.common.files import write_whole
from cs231n_gen.given.data import fashion_mnist
from cs231n_gen.given.judge import class_accuracy, frechet
from cs231n_gen.given.unet import UNet

TRAIN = {"steps": 1000, "batch": 32, "lr": 3e-3, "warmup": 0.05}
DROPPED, NULL, STEPS = 0.1, 10, 12
EVERYWHERE, MIDDLE = (0.0, 1.0), (0.25, 0.75)
NOWHERE = (2.0, 2.0)
PLANS = [
    ("w = 0, one call", 0.0, NOWHERE),
    *((f"w = {w:g}", w, EVERYWHERE) for w in (-0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0)),
    *((f"w = {w:g}, 0.25 ≤ t ≤ 0.75", w, MIDDLE) for w in (2.0, 4.0)),
]


def trained(seed, train):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)

    def draw(n, generator):
        i = torch.randint(len(train.x), (n,), generator=generator)
        return train.x[i], guidance.drop_condition(train.y[i], DROPPED, NULL, generator)

    model = UNet(classes=11)
    history = flow.train(model, draw, generator=generator, label=f"seed {seed}", **TRAIN)
    return model, history.seconds


def measure(model, w, interval, images, test):
    y = torch.arange(images) % 10
    z = torch.randn(images, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    start = time.perf_counter()
    parts = zip(z.split(200), y.split(200), strict=True)
    x = torch.cat([guidance.sample(model, a, STEPS, b, NULL, w, interval) for a, b in parts])
    seconds = time.perf_counter() - start
    accuracy, distance = class_accuracy(x, y), frechet(x, test.x)
    return {"accuracy": accuracy, "frechet": distance, "seconds": seconds}


def span(values, form):
    low, high = min(values), max(values)
    return form.format(low) if low == high else f"{form.format(low)} to {form.format(high)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write every number there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train, test = fashion_mnist("train", 16), fashion_mnist("test", 16)
    runs = []
    for seed in range(options.seeds):
        model, seconds = trained(seed, train)
        found = {n: measure(model, w, i, options.images, test) for n, w, i in PLANS}
        runs.append({"seed": seed, "training": seconds, "plans": found})
    out = Table("", "right class", "Fréchet distance", "time to sample, × one call")
    for name, *_ in PLANS:
        of = [run["plans"][name] for run in runs]
        base = [run["plans"][PLANS[0][0]]["seconds"] for run in runs]
        ratio = [one["seconds"] / b for one, b in zip(of, base, strict=True)]
        right, far = ([one[key] for one in of] for key in ("accuracy", "frechet"))
        out.add_row(name, span(right, "{:.1%}"), span(far, "{:.1f}"), span(ratio, "{:.2f}"))
    n = options.images
    out.add_row(
        "real training images",
        f"{class_accuracy(train.x[:n], train.y[:n]):.1%}",
        f"{frechet(train.x[:n], test.x):.2f}",
        "",
    )
    Console().print(out)
    print("training:", span([run["training"] for run in runs], "{:.0f} s"))
    if options.json:
        write_whole(options.json, json.dumps({"train": TRAIN, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
