"""Train the autoencoder of chapter 08: `python data/train_autoencoder.py`, about 9 CPU minutes.

First encoder and decoder by the loss of the VAE, then the decoder alone against a discriminator.
Writes `autoencoder.safetensors` and says what it measures. The seed is fixed; other machines round
differently, so the bytes may differ, and each number a little.
"""

import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cs231n_gen import latent  # noqa: E402
from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.experiments import autoencoder_trial  # noqa: E402
from cs231n_gen.given import judge  # noqa: E402
from cs231n_gen.given.blocks import PatchDiscriminator  # noqa: E402
from cs231n_gen.given.data import fashion_mnist  # noqa: E402
from cs231n_gen.latent_nets import Decoder, Encoder  # noqa: E402

STEPS, AGAINST = 7000, 700  # of the VAE, and against the discriminator


def main() -> None:
    """Train, measure, write the weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    train, test = fashion_mnist("train", 32), fashion_mnist("test", 32)
    encoder, decoder = Encoder(), Decoder()
    start = time.process_time()
    autoencoder_trial.fit(encoder, decoder, train.x, steps=STEPS, generator=g)
    report("squared error", encoder, decoder, test.x, start)
    autoencoder_trial.fit(
        encoder,
        decoder,
        train.x,
        steps=AGAINST,
        lr=1e-3,
        discriminator=PatchDiscriminator(),
        train_encoder=False,
        generator=g,
    )
    report("and a discriminator", encoder, decoder, test.x, start)
    shift, scale = latent.shift_and_scale(encoder, train.x)
    print(f"shift {shift:.4f}, scale {scale:.4f}")
    weights = {"shift": torch.tensor(shift), "scale": torch.tensor(scale)}
    for name, net in (("encoder", encoder), ("decoder", decoder)):
        weights |= {f"{name}.{i:02}": p.contiguous() for i, p in enumerate(net.parameters())}
    with draft_of(HERE / "autoencoder.safetensors") as draft:
        save_file({k: v.detach() for k, v in weights.items()}, draft)


@torch.no_grad()
def report(what: str, encoder: Encoder, decoder: Decoder, x: torch.Tensor, start: float) -> None:
    """Say how good reconstructions from the means are, on images that were not trained on."""
    x_hat = torch.cat([decoder(encoder(part)[0]) for part in x.split(500)]).clamp(-1, 1)
    psnr = 10 * torch.log10(4 / (x_hat - x).square().mean())
    fine = [(v - F.avg_pool2d(v, 3, 1, 1)).square().mean() for v in (x_hat, x)]
    far = judge.frechet(F.avg_pool2d(x_hat, 2), F.avg_pool2d(x, 2))
    print(
        f"{what}: {time.process_time() - start:.0f} CPU s, PSNR {psnr:.2f}, "
        f"detail {fine[0] / fine[1]:.3f} of real, Fréchet {far:.2f}"
    )


if __name__ == "__main__":
    main()
