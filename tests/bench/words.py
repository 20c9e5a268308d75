"""What an encoder of captions learns of order, and what the shipped one knows.

    OMP_NUM_THREADS=1 python tests/bench/words.py [--seeds 3] [--steps 300] [--shipped]

Trains encoders that differ in their places and in their batches, 12 CPU seconds for 300 steps, and
prints a line for each as soon as it is measured. `--shipped` looks at the shipped encoder instead.
"""

import argparse
import time

import torch

from cs231n_gen.experiments import caption_trial

RUNS = (  # share of hard pairs, places at the start
    (0.5, 0.5),
    (0.5, 0.02),
    (0.5, 0.0),
    (0.0, 0.5),
    (0.0, 0.02),
)


def train(seeds: int, steps: int, runs: list[tuple[float, float]], n: int) -> None:
    """A line for each training: the loss, its floor, what finds what, what is read."""
    for seed in range(seeds):
        for hard, places in runs:
            start = time.process_time()
            trial = caption_trial.compare_places(
                steps, places=(places,), hard=hard, n=n, seed=seed, progress=False
            )
            run = trial.runs[places]
            spent = time.process_time() - start
            loss = float(run.history.smoothed(50)[-1])
            print(f"seed {seed}, hard {hard}, places {places}: {spent:.0f} CPU s, loss {loss:.3f}")
            print(f"  floor {trial.floor:.3f}, of a bag of words {trial.bag:.3f}")
            for name, held_out in (("seen", False), ("held out", True)):
                found = run.held_out if held_out else run.seen
                read = caption_trial.shares_read(run.pair, n, held_out=held_out)
                print(f"  {name}: {found}")
                print("    read: " + ", ".join(f"{k} {v:.1%}" for k, v in read.items()))
            print(f"  own colour {caption_trial.own_colour(run.pair.text):.1%}", flush=True)


def look() -> None:
    """What the shipped encoder knows, beside others that have learned nothing."""
    encoder = caption_trial.load_words()
    for name, cosine in caption_trial.kinship(encoder).items():
        print(f"{name:34}{cosine:6.3f}")
    print(f"own colour: shipped {caption_trial.own_colour(encoder):.1%}")
    for places in (0.5, 0.02, 0.0):
        new = caption_trial.new(places=places).text
        print(f"own colour: untrained, places {places}: {caption_trial.own_colour(new):.1%}")
    torch.set_printoptions(precision=2, sci_mode=False, linewidth=120)
    weights = caption_trial.mean_attention(encoder)
    print("attention, mean of heads, of: " + ", ".join(caption_trial.ROLES))
    print(weights.mean(0))
    print("attention of each head to the first object, to left of, to the second object:")
    for i, role in enumerate(caption_trial.ROLES):
        parts = [weights[:, i, of].sum(1) for of in (slice(0, 4), slice(4, 6), slice(6, 10))]
        print(
            f"{role:8}"
            + "   ".join(f"{a:.2f} {b:.2f} {c:.2f}" for a, b, c in zip(*parts, strict=True))
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", type=int, nargs="+", default=range(len(RUNS)), help="which")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--shipped", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.shipped:
        look()
    else:
        chosen = [RUNS[i] for i in options.runs]
        train(options.seeds, options.steps, chosen, options.pictures)


if __name__ == "__main__":
    main()
