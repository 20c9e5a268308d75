"""Train the diffusion transformer of chapter 10: `python data/train_text_to_image.py`.

It works on the latents of `pictures.safetensors`, reads captions by the encoder of
`words.safetensors`, and writes `text_to_image.safetensors`, in float16, without the encoder.
`--steps` or `--seconds` say how long, on one thread. The seed is fixed; other machines round
differently, so the bytes may differ, and each number a little.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.experiments import caption_trial, picture_trial  # noqa: E402

RECIPE = {"batch": 128, "lr": 1e-2}
WEIGHTS = (0.0, 1.0, 2.0, 4.0)  # of guidance
SEEDS = (1, 2, 3)  # of noise
JUDGED = 500  # captions


def main() -> None:
    """Train, write the weights, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=picture_trial.MANY)
    parser.add_argument("--seconds", type=float, help="of a processor")
    parser.add_argument("--out", type=Path, default=HERE / picture_trial.FILE)
    options = parser.parse_args()
    if options.steps == picture_trial.MANY and options.seconds is None:
        parser.error("say --steps or --seconds")
    torch.set_num_threads(1)
    coder, words = picture_trial.load_coder(), caption_trial.load_words()
    data = picture_trial.latents_of(coder)
    model = picture_trial.new(words)
    limits = {"steps": options.steps, "seconds": options.seconds, "of_processor": True}
    history = picture_trial.fit(model, data, **RECIPE, **limits).history
    own = picture_trial.own_weights(model)
    with torch.no_grad():
        for p in own:
            p.copy_(p.half())  # what is measured is what is written
    with draft_of(options.out) as draft:
        save_file({f"{i:03}": p.detach().half() for i, p in enumerate(own)}, draft)
    count, size = sum(p.numel() for p in own), options.out.stat().st_size / 1000
    print(
        f"{len(history.losses)} steps, {history.seconds:.0f} CPU s; {count} weights, {size:.0f} KB"
    )
    report(model, coder)
    floor = picture_trial.floor(coder, data)
    least = (1 - picture_trial.DROP) * floor[0] + picture_trial.DROP * floor[1]
    print(f"loss of the last 1000 steps {float(history.smoothed(1000)[-1]):.4f}")
    print(f"floor with a caption {floor[0]:.4f}, without {floor[1]:.4f}, together {least:.4f}")


def report(model: torch.nn.Module, coder: picture_trial.Coder) -> None:
    """Say what is right in pictures of captions, seen and held out, for several seeds of noise."""
    for w in WEIGHTS:
        for what in ("seen", "held out"):
            scenes = picture_trial.scenes_to_judge(JUDGED, held_out=what == "held out")
            for seed in SEEDS:
                found = picture_trial.judge(model, coder, scenes, w=w, seed=seed)
                print(f"w = {w}, {what}, seed {seed}: {found}", flush=True)
    for seed in SEEDS:
        share, both = picture_trial.exchanged_pairs(model, coder, JUDGED // 2, seed=seed)
        print(f"w = 1, exchanged, seed {seed}: {share:.1%} of captions, {both:.1%} of pairs")
    for steps in (2, 4, 8, 12, 20, 50):
        scenes = picture_trial.scenes_to_judge(JUDGED)
        print(f"w = 1, {steps} steps: {picture_trial.judge(model, coder, scenes, steps=steps)}")


if __name__ == "__main__":
    main()
