"""What comes of chapter 08's latents if the scale is forgotten before they are decoded. Given."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cs231n_gen import latent
from cs231n_gen.experiments.autoencoder_trial import load_autoencoder
from cs231n_gen.experiments.dit_trial import BATCH, NULL
from cs231n_gen.experiments.latent_trial import GarmentSpace, for_judge, sample
from cs231n_gen.given import judge
from cs231n_gen.given.data import fashion_mnist


@dataclass(frozen=True)
class ForgottenScale:
    """One set of latents, decoded in three ways; each has its pictures and its Fréchet distance.

    std: standard deviation of the encoder's latents.
    images, frechet: by what was done.
    """

    std: float
    images: dict[str, Float[Tensor, "n 1 32 32"]]
    frechet: dict[str, float]

    def table(self) -> str:
        """All numbers, as text."""
        lines = [f"{f'latents of std {self.std:.2f}':24}{'Fréchet':>9}"]
        lines += [f"{what:24}{far:>9.2f}" for what, far in self.frechet.items()]
        return "\n".join(lines)


def run(
    net: nn.Module,
    std: float | None = None,
    *,
    garments: int = 500,
    w: float = 0.0,
    steps: int = 25,
    seed: int = 1,
) -> ForgottenScale:
    """What comes of latents that are not brought back to the decoder's scale.

    The shipped encoder's latents have a standard deviation near 1, so little happens. An encoder
    whose latents are k times as large, with a decoder that first divides by k, makes the same
    images, and there it matters: those of Stable Diffusion have a standard deviation of about 5.5.

    Args:
        net: a velocity of latents.
        std: the standard deviation that the encoder's latents are given, that of the shipped one
            if None.
        garments: how many.
        w, steps, seed: of sampling.
    """
    _, decoder, shift, scale = load_autoencoder()
    k = 1.0 if std is None else std * scale
    y, real = torch.arange(garments) % NULL, for_judge(fashion_mnist("test", 32).x)
    to_latents = GarmentSpace((4, 8, 8), torch.clone, torch.clone)
    u = sample(to_latents, net, y, w=w, steps=steps, seed=seed)
    ways = {"as it should be": scale, "scale forgotten": k, "scale applied twice": scale**2 / k}
    images = {
        what: torch.cat([latent.from_latent(decoder, some, shift, of) for some in u.split(BATCH)])
        for what, of in ways.items()
    }
    far = {what: judge.frechet(for_judge(x), real) for what, x in images.items()}
    return ForgottenScale(k / scale, images, far)
