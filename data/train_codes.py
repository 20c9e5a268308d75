"""Train the tokenizer of chapter 13: `python data/train_codes.py`, about 6 CPU minutes.

First all of it by squared error, with running means and revival, then the decoder alone against a
discriminator, so that every image keeps its codes. Writes `codes.safetensors` after each of the two
and says what it measures. How many steps fit into the seconds depends on the machine, so the bytes
will differ, and each number a little.

    python data/train_codes.py [--seconds 150] [--against 1300] [--control]

With `--seconds 0` encoder, codes and decoder are those of the file that is there. `--control`
trains a decoder as many steps more by squared error alone, and keeps it to itself.
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
from cs231n_gen.experiments import codes_trial  # noqa: E402
from cs231n_gen.given.blocks import PatchDiscriminator  # noqa: E402
from cs231n_gen.given.data import fashion_mnist  # noqa: E402

# A louder D, or a steeper penalty, is heard before it can tell anything: λ is in the tens then, and
# the decoder follows noise.
HEARD = {"start": 150, "loudness": 0.5, "penalty": 0.002}


def main() -> None:
    """Train, measure, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=150, help="of a processor, for all of it")
    parser.add_argument("--against", type=int, default=1300, help="steps with a discriminator")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "codes.safetensors")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    train, test = fashion_mnist("train", 32), fashion_mnist("test", 32)
    limits = {"of_processor": True, "batch": 32, "generator": g, "progress": sys.stderr.isatty()}
    start = time.process_time()
    if options.seconds:
        tokenizer = codes_trial.new(codes_trial.REVIVED, train.x, batch=limits["batch"])
        fit = codes_trial.fit(tokenizer, train.x, seconds=options.seconds, lr=3e-3, **limits)
        save(tokenizer, options.out)
    tokenizer = load(options.out)
    report("squared error", tokenizer, test.x, start, fit if options.seconds else None)
    more = {"steps": options.against, "lr": 1e-3, "train_codes": False} | limits
    if options.control:
        control = load(options.out)
        control.decoder.requires_grad_(True)
        more["generator"] = torch.Generator().manual_seed(1)
        fit = codes_trial.fit(control, train.x, **more)
        report("squared error for longer", control, test.x, start, fit)
    if options.against:
        tokenizer.decoder.requires_grad_(True)
        torch.manual_seed(1)
        more["generator"] = torch.Generator().manual_seed(1)
        fit = codes_trial.fit(
            tokenizer, train.x, discriminator=PatchDiscriminator(), **HEARD, **more
        )
        save(tokenizer, options.out)
        report("and a discriminator", load(options.out), test.x, start, fit)


def save(tokenizer: codes_trial.Tokenizer, path: Path) -> None:
    """Write the weights as float16, whose rounding decides which code is nearest to a vector."""
    weights = {"codes": tokenizer.book.codes}
    for name, net in (("encoder", tokenizer.encoder), ("decoder", tokenizer.decoder)):
        weights |= {f"{name}.{i:02}": p for i, p in enumerate(net.parameters())}
    with draft_of(path) as draft:
        save_file({k: v.detach().half().contiguous() for k, v in weights.items()}, draft)


def load(path: Path) -> codes_trial.Tokenizer:
    """The weights as they were written."""
    return codes_trial.load_codes(path)


def report(what, tokenizer, x, start, fit) -> None:
    """Say how good codes and reconstructions are, of images that were not trained on."""
    found = codes_trial.measure(tokenizer, x)
    images = found.images
    print(
        f"{what}: {time.process_time() - start:.0f} CPU s, "
        f"{len(fit.history.losses) if fit else 0} steps, squared error {images.mse:.2f}, "
        f"PSNR {images.psnr:.2f}, detail {images.detail:.3f} of real, "
        f"Fréchet {images.frechet:.2f}, {found.used} of {found.codes} codes used, "
        f"perplexity {found.perplexity:.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
