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

from cs231n_gen import flow  # noqa: E402
from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.experiments import caption_trial, picture_trial  # noqa: E402
from cs231n_gen.given.frozen import frozen  # noqa: E402
from cs231n_gen.text_to_image import TextToImage  # noqa: E402

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
    parser.add_argument("--measure", action="store_true", help="only measure what is shipped")
    options = parser.parse_args()
    if options.steps == picture_trial.MANY and options.seconds is None and not options.measure:
        parser.error("say --steps or --seconds, or --measure")
    torch.set_num_threads(1)
    coder, words = picture_trial.load_coder(), caption_trial.load_words()
    data = picture_trial.latents_of(coder)
    if options.measure:
        model = picture_trial.load_text_to_image(words)
    else:
        model = picture_trial.new(words)
        train(model, data, options)
    report(model, coder)
    losses = held_out_losses(model, coder)
    floor = picture_trial.floor(coder, data)
    least = (1 - picture_trial.DROP) * floor[0] + picture_trial.DROP * floor[1]
    print(f"loss on new pictures with captions {losses[0]:.4f}, without {losses[1]:.4f}")
    print(f"floor with a caption {floor[0]:.4f}, without {floor[1]:.4f}, together {least:.4f}")


def train(
    model: TextToImage, data: picture_trial.CaptionedLatents, options: argparse.Namespace
) -> None:
    """Train, and write the weights."""
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
    print(f"loss of the last 1000 steps {float(history.smoothed(1000)[-1]):.4f}")


def held_out_losses(model: TextToImage, coder: picture_trial.Coder) -> list[float]:
    """The loss on new pictures at the levels of the training, with their captions and without."""
    new = picture_trial.latents_of(coder, 2000, seed=20_000, progress=False)
    g = torch.Generator().manual_seed(0)
    found = []
    for drop in (0.0, 1.0):
        batch = picture_trial.batch_of(new, 2000, picture_trial.LEVELS, drop, g)
        parts = zip(*(v.split(250) for v in batch), strict=True)
        with frozen(model):
            found.append(sum(float(flow.loss(model, *part)) for part in parts) / 8)
    return found


def report(model: TextToImage, coder: picture_trial.Coder) -> None:
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
