"""Train the diffusion transformer of chapter 09: `python data/train_latent_dit.py`.

It works on the latents of `autoencoder.safetensors`, class by class, on one thread, and writes
`latent_dit.safetensors`, in float16. `--steps` says how long. The seed is fixed; other machines
round differently, so the bytes may differ, and each number a little.
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
from cs231n_gen.experiments import dit_trial  # noqa: E402
from cs231n_gen.experiments.autoencoder_trial import load_autoencoder  # noqa: E402
from cs231n_gen.given import judge  # noqa: E402
from cs231n_gen.given.data import fashion_mnist  # noqa: E402

LR, WARMUP = 4e-3, 0.02


def main() -> None:
    """Train, write the weights, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, help="stop by the clock, however many steps fit")
    parser.add_argument("--out", type=Path, default=HERE / dit_trial.FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder, decoder, shift, scale = load_autoencoder()
    data, held = (dit_trial.latents_of(encoder, shift, scale, of) for of in ("train", "test"))
    model = dit_trial.new(**dit_trial.SHIPPED)
    limit = {"steps": options.steps}
    if options.minutes:
        limit = {"steps": 10**6, "seconds": 60 * options.minutes}
    start = time.process_time()
    history = dit_trial.train(model, data, lr=LR, warmup=WARMUP, **limit)
    spent, steps = time.process_time() - start, len(history.losses)
    weights = {f"{i:02}": p.detach().half() for i, p in enumerate(model.parameters())}
    with draft_of(options.out) as draft:
        save_file(weights, draft)
    with torch.no_grad():
        for p, w in zip(model.parameters(), weights.values(), strict=True):
            p.copy_(w)  # what is measured is what was written
    losses = [dit_trial.held_out_loss(model, some).mean() for some in (held, data)]
    print(f"{steps} steps, {spent:.0f} CPU s; {sum(p.numel() for p in model.parameters())} weights")
    print(f"loss at even levels: {losses[0]:.4f} held out, {losses[1]:.4f} on what it learned from")
    train, test = fashion_mnist("train", 32), fashion_mnist("test", 32)
    for w in (0.0, 0.5, 1.0):
        found = dit_trial.evaluate(model, decoder, shift, scale, test.x, w=w)
        print(f"w = {w}: {found}")
    decoded = torch.cat([decoder(part / scale + shift) for part in held.u.split(250)])
    for what, x in (("decoded test images", decoded), ("2000 training images", train.x[:2000])):
        far = judge.frechet(dit_trial.for_judge(x), dit_trial.for_judge(test.x))
        print(f"{what}: Fréchet distance {far:.2f}")


if __name__ == "__main__":
    main()
