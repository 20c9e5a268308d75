"""Train the text encoder of chapter 10: `python data/train_words.py`.

It learns contrastively, together with a network of pictures that is not kept, on one thread, and
writes `words.safetensors`, in float16. `--seconds` says how long. The seed is fixed; how many steps
fit depends on the machine, and other machines round differently, so the bytes may differ, and each
number a little.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.experiments import caption_trial  # noqa: E402

LR, HARD = 3e-3, 0.5


def main() -> None:
    """Train, write the weights, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=100, help="of a processor")
    parser.add_argument("--steps", type=int, help="in place of seconds")
    parser.add_argument("--out", type=Path, default=HERE / caption_trial.FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pair = caption_trial.new()
    steps, seconds = (options.steps, None) if options.steps else (10**6, options.seconds)
    history = caption_trial.train(pair, steps, lr=LR, hard=HARD, seconds=seconds, of_processor=True)
    weights = {f"{i:02}": p.detach().half() for i, p in enumerate(pair.text.parameters())}
    with draft_of(options.out) as draft:
        save_file(weights, draft)
    with torch.no_grad():
        for p, w in zip(pair.text.parameters(), weights.values(), strict=True):
            p.copy_(w)  # what is measured is what was written
    count = sum(p.numel() for p in pair.text.parameters())
    print(f"{len(history.losses)} steps, {history.seconds:.0f} CPU s; {count} weights kept")
    print(f"loss of the last 100 steps {float(history.smoothed(100)[-1]):.4f}")
    for what, held_out in (("seen", False), ("held out", True)):
        print(f"{what}: {caption_trial.measure(pair, 256, held_out=held_out)}")
        print(f"{what}: {caption_trial.measure(pair, 2000, held_out=held_out)}")


if __name__ == "__main__":
    main()
