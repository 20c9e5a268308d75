"""Train the autoencoder of chapter 10's pictures: `python data/train_pictures.py`, about 6 CPU
minutes on one thread.

Writes `pictures.safetensors`, in float16, and says what it measures. The seed is fixed; other
machines round differently, so the bytes may differ, and each number a little.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cs231n_gen import latent  # noqa: E402
from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.experiments import picture_trial  # noqa: E402
from cs231n_gen.given import captions  # noqa: E402

NOISES = (0.0, 0.1, 0.2, 0.3)  # of standardised latents


def main() -> None:
    """Train, write the weights, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=HERE / picture_trial.CODER_FILE)
    parser.add_argument("--measure", action="store_true", help="only measure what is shipped")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        report(picture_trial.load_coder())
        return
    g = torch.Generator().manual_seed(0)
    coder = picture_trial.new_coder()
    start = time.process_time()
    picture_trial.fit_autoencoder(*coder[:2], steps=options.steps, generator=g)
    spent = time.process_time() - start
    with torch.no_grad():
        for p in (*coder.encoder.parameters(), *coder.decoder.parameters()):
            p.copy_(p.half())  # what is measured is what is written
    some = captions.draw(picture_trial.FOR_SCALE, g).x
    shift, scale = latent.shift_and_scale(coder.encoder, some)
    coder = coder._replace(shift=shift, scale=scale)
    weights = {"shift": torch.tensor(shift), "scale": torch.tensor(scale)}
    for name, net in (("encoder", coder.encoder), ("decoder", coder.decoder)):
        weights |= {f"{name}.{i:02}": p.half().contiguous() for i, p in enumerate(net.parameters())}
    with draft_of(options.out) as draft:
        save_file({k: v.detach() for k, v in weights.items()}, draft)
    size = options.out.stat().st_size / 1000
    print(f"{options.steps} steps, {spent:.0f} CPU s, {size:.0f} KB")
    print(f"shift {shift:.4f}, scale {scale:.4f}")
    report(coder)


def report(coder: picture_trial.Coder) -> None:
    """Say how good reconstructions of new pictures are, from latents with noise too."""
    for what in ("seen", "held out"):
        g = torch.Generator().manual_seed(1)
        x, _, scenes = captions.draw(2000, g, held_out=what == "held out")
        u = coder.encode(x)
        for noise in NOISES:
            x_hat = coder.decode(u + noise * torch.randn(u.shape, generator=g)).clamp(-1, 1)
            psnr = 10 * torch.log10(4 / (x_hat - x).square().mean())
            shares = captions.compare(x_hat, scenes).shares()
            found = ", ".join(f"{k} {v:.4f}" for k, v in shares.items())
            print(f"{what}, noise {noise}: PSNR {psnr:.2f}; {found}", flush=True)


if __name__ == "__main__":
    main()
