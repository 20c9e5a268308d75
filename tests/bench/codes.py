"""`vq` beside vector-quantize-pytorch: the same encoder, K and seconds, and the time of a step.

    OMP_NUM_THREADS=1 python tests/bench/codes.py [--seconds 20] [--seeds 3] [--books …]
        [--repeats 200] [--rows FILE]

Seconds are of a processor, on one thread. Everything but the codebook is `codes_trial`: networks,
batches, loop, loss, measures. vector-quantize-pytorch takes part with its defaults (running means
of decay 0.8, commitment 1, rotation trick, dead codes stay dead), with our settings (decay,
commitment, revival below the same count, straight-through), and with those and its rotation trick.
The time of a step of the codebook alone, forwards, backwards and the running means, is taken in
turns, so that other work on the machine slows both; ratios are ours over theirs. `--rows` keeps
what each training reached, a line of JSON each, and does not train again what is there. The aims:
perplexity, squared error and Fréchet distance no worse, at most 0.8 of the time of a step.
"""

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cs231n_gen.experiments import codes_trial
from cs231n_gen.experiments.codes_trial import DECAY, DIM, LEAST, PATCH, REVIVED, K, Tokenizer
from cs231n_gen.given.data import fashion_mnist
from cs231n_gen.vq import BETA

BATCH, LR, PLACES = 16, 5e-3, 64
VECTORS = BATCH * PLACES
OURS = "cs231n_gen"
RIVAL = "vector-quantize-pytorch"
DEAD = LEAST * VECTORS / K  # a running count


class Theirs(nn.Module):
    """vector-quantize-pytorch's codebook, called as `codes_trial.Codebook` is."""

    def __init__(self, **options):
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize

        self.quantizer = VectorQuantize(dim=DIM, codebook_size=K, **options)

    @property
    def codes(self):
        """(K, dim)."""
        return self.quantizer.codebook

    def start(self, e):
        """Put the codes where ours start, each with its share of the vectors of a batch."""
        book = self.quantizer._codebook
        with torch.no_grad():
            book.embed.copy_(e[None])
            book.cluster_size.fill_(VECTORS / K)
            book.embed_avg.copy_(e[None] * VECTORS / K)

    def forward(self, z):
        """(q, index, loss) of vectors, and in training the running means as well."""
        q, index, loss = self.quantizer(z.flatten(1, 2))
        q, index = q.reshape(z.shape), index.reshape(z.shape[:-1])
        return q, index, PATCH * loss.sum()  # theirs is a mean over the numbers of a vector

    def update(self, z, index, generator=None):
        """Nothing: it is done."""


ALIKE = {"decay": DECAY, "commitment_weight": BETA, "threshold_ema_dead_code": DEAD}
BOOKS: dict[str, Callable[[], nn.Module]] = {
    OURS: lambda: codes_trial.Codebook(REVIVED),
    f"{RIVAL}, defaults": lambda: Theirs(),
    f"{RIVAL}, our settings": lambda: Theirs(**ALIKE, rotation_trick=False),
    f"{RIVAL}, our settings, rotation trick": lambda: Theirs(**ALIKE, rotation_trick=True),
}


def tokenizer(name: str, x, seed: int) -> Tokenizer:
    """With weights and codes from a seed, the same for all codebooks."""
    made = codes_trial.new(REVIVED, x, batch=BATCH, seed=seed)
    if name != OURS:
        torch.manual_seed(seed)
        book = BOOKS[name]()
        book.start(made.book.codes)
        made.book = book
    return made


def train(name: str, seconds: float, seed: int, x, test) -> dict:
    """What a training reaches: a row."""
    made = tokenizer(name, x, seed)
    limits = {"seconds": seconds, "of_processor": True, "batch": BATCH, "lr": LR}
    torch.manual_seed(seed)  # theirs draws by the global generator
    g = torch.Generator().manual_seed(seed)
    fit = codes_trial.fit(made, x, **limits, generator=g, progress=False)
    found = codes_trial.measure(made, test)
    row = {"book": name, "seed": seed, "steps": len(fit.history.losses), "used": found.used}
    row |= {"perplexity": found.perplexity, "squared error": found.images.mse}
    return row | {"Fréchet": found.images.frechet}


def step_times(names: list[str], x, seed: int, repeats: int) -> dict[str, float]:
    """Seconds of a step of each codebook alone, taken in turns; the median of the repeats."""
    z = tokenizer(OURS, x, seed).latents(x[:BATCH]).detach()
    g = torch.Generator().manual_seed(seed)
    pull = torch.randn(z.shape, generator=g)
    # latents that the codes fit, as in a training under way: some of each code
    books = {name: tokenizer(name, x, seed).book.train() for name in names}
    took = {name: [] for name in names}
    for repeat in range(repeats + 10):
        for name, book in books.items():
            of = (z + 0.05 * torch.randn(z.shape, generator=g)).requires_grad_(True)
            start = time.process_time()
            q, index, loss = book(of)
            (loss + (q * pull).sum()).backward()
            book.update(of.detach(), index, g)
            if repeat >= 10:
                took[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in took.items()}


def spread(values: list[float], digits: int) -> str:
    """The median and the range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--books", nargs="*", choices=list(BOOKS), default=list(BOOKS))
    parser.add_argument("--rows", type=Path, default=None)
    options = parser.parse_args()
    names = options.books
    if importlib.util.find_spec("vector_quantize_pytorch") is None:
        print(f"{RIVAL} is not installed, so ours is measured alone: pip install {RIVAL}")
        names = [OURS]
    torch.set_num_threads(1)
    x, test = (fashion_mnist(split, 32).x for split in ("train", "test"))
    times = [step_times(names, x, seed, options.repeats) for seed in range(options.seeds)]
    rows = []
    if options.rows and options.rows.exists():
        rows = [json.loads(line) for line in options.rows.read_text().splitlines()]
    there = {(row["book"], row["seed"]) for row in rows}
    for seed in range(options.seeds if options.seconds else 0):
        for name in names:
            if (name, seed) in there:
                continue
            rows.append(train(name, options.seconds, seed, x, test))
            print(rows[-1], flush=True)
            if options.rows:
                with options.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    columns = {"perplexity": 0, "squared error": 1, "Fréchet": 2, "used": 0, "steps": 0}
    head = ["", *columns, "step of the codebook, ms", "ours, as a share of it"]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for name in names:
        own = [r for r in rows if r["book"] == name and r["seed"] < options.seeds]
        cells = [spread([r[c] for r in own], d) if own else "–" for c, d in columns.items()]
        ratios = [t[OURS] / t[name] for t in times] if OURS in names else [float("nan")]
        cells += [spread([1000 * t[name] for t in times], 2), spread(ratios, 2)]
        print("| " + " | ".join([name, *cells]) + " |")


if __name__ == "__main__":
    main()
