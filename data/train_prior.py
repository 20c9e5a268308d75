"""Train the prior of chapter 13: `python data/train_prior.py`, about 13 CPU minutes.

It learns to write the codes of `codes.safetensors`, class by class, on one thread, and is saved as
`prior.safetensors`, in float16. How many steps fit into the seconds depends on the machine, so the
bytes will differ, and each number a little.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.experiments import codes_trial, dit_trial, prior_trial  # noqa: E402
from cs231n_gen.given.data import Images, fashion_mnist  # noqa: E402

DROPOUT = 0.1  # it sees each garment more than ten times


def main() -> None:
    """Train, write the weights, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=750, help="of a processor")
    parser.add_argument("--out", type=Path, default=HERE / prior_trial.FILE)
    parser.add_argument("--garments", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    space = prior_trial.codes_space(codes_trial.load_codes())
    train, test = fashion_mnist("train", 32), fashion_mnist("test", 32)
    data, held = space.of(train), space.of(test)
    prior = prior_trial.new(space.vocabulary, space.length)
    start = time.process_time()
    limits = {"seconds": options.seconds, "of_processor": True, "progress": sys.stderr.isatty()}
    history = prior_trial.fit(prior, data, dropout=DROPOUT, **limits)
    spent, steps = time.process_time() - start, len(history.losses)
    weights = {f"{i:02}": p.detach().half() for i, p in enumerate(prior.parameters())}
    with draft_of(options.out) as draft:
        save_file(weights, draft)
    with torch.no_grad():
        for p, w in zip(prior.parameters(), weights.values(), strict=True):
            p.copy_(w)  # what is measured is what was written
    print(f"{steps} steps, {spent:.0f} CPU s; {sum(p.numel() for p in prior.parameters())} weights")
    for what, some in (("held out", held), ("that it learned from", data)):
        found = float(prior_trial.bits(prior, some).mean())
        print(f"{found:.1f} bits for a garment {what}", flush=True)
    print(prior_trial.simple_bits(space, data, held))
    real = Images(dit_trial.for_judge(test.x), test.y)
    for w in (0.0, 0.5, 1.0):
        found = prior_trial.judged(prior, space, real, garments=options.garments, w=w)
        print(f"w = {w}: {found.score}", flush=True)


if __name__ == "__main__":
    main()
