"""Three decoders of chapter 08: squared error alone, much water, and with a discriminator. Given.

A decoder that minimises the squared error returns the mean of all images that a latent may stand
for, which is blur. One that must please a discriminator returns one of them: its squared error is
larger, its detail that of real images.
"""

import copy
import math
import time
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen.experiments.autoencoder_trial import THETA, Fit, fit
from cs231n_gen.experiments.latent_trial import spectrum
from cs231n_gen.given import judge
from cs231n_gen.given.blocks import PatchDiscriminator
from cs231n_gen.given.frozen import frozen

SQUARED, WATER, SHARP = "squared error", "large KL weight", "with discriminator"
START = "as it came"
LARGE = 0.3  # θ that drowns most of the detail
AT_ONCE = 500


@dataclass(frozen=True)
class Reconstruction:
    """Images through encoder and decoder, and how good they are.

    x_hat: reconstructions from the means of the latents.
    mse: mean over images of ‖x̂ − x‖², summed over pixels.
    psnr: in decibels.
    detail: the energy that a 3×3 mean takes away, as a share of that of the images.
    spectrum: power by frequency, as `latent_trial.spectrum`, as a share of that of the images.
    frechet: distance of the judge's features to those of the images, on 2×2 means.
    fit: the training.
    seconds: it took.
    """

    x_hat: Float[Tensor, "n 1 32 32"]
    mse: float
    psnr: float
    detail: float
    spectrum: Float[Tensor, "frequencies"]
    frechet: float
    fit: Fit | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class DecoderTrial:
    """The results of a trial, a `Reconstruction` for each decoder, and for the one at the start."""

    decoders: dict[str, Reconstruction]

    def table(self) -> str:
        """All numbers, as text."""
        lines = [
            f"{'':20}{'‖x̂ − x‖²':>11}{'PSNR':>8}{'detail':>9}{'Fréchet':>10}"
            f"{'steps':>8}{'seconds':>9}"
        ]
        for name, of in self.decoders.items():
            steps = len(of.fit.history.losses) if of.fit else 0
            lines.append(
                f"{name:20}{of.mse:>10.2f}{of.psnr:>8.2f}{of.detail:>9.3f}{of.frechet:>10.2f}"
                f"{steps:>8}{of.seconds:>9.1f}"
            )
        return "\n".join(lines)


def run(
    encoder: nn.Module,
    decoder: nn.Module,
    x: Float[Tensor, "n 1 32 32"],
    test: Float[Tensor, "m 1 32 32"],
    *,
    steps: int = 150,
    seconds: float | None = None,
    start: int = 60,
    lr: float = 5e-4,
    seed: int = 0,
    progress: bool = True,
) -> DecoderTrial:
    """Train copies of a decoder in three ways, and measure their reconstructions.

    The encoder is frozen for two of them. A KL weight acts on the encoder, so with a large one a
    copy of the encoder is trained as well.

    Args:
        encoder, decoder: to start from; they stay as they are.
        x: images to train on.
        test: images to measure on.
        steps, seconds: of each training, at most.
        start: the step in which the discriminator begins to be heard.
        lr: learning rate.
        seed: of everything random.
        progress: whether to show bars.
    """
    found = {START: measure(encoder, decoder, test)}
    ways = {
        SQUARED: {"kl_weight": 0.0},
        WATER: {"kl_weight": LARGE, "train_encoder": True},
        SHARP: {"start": start},
    }
    for name, how in ways.items():
        nets = [copy.deepcopy(net).requires_grad_(True) for net in (encoder, decoder)]
        if name == SHARP:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                how["discriminator"] = PatchDiscriminator()
        clock = time.perf_counter()
        g = torch.Generator().manual_seed(seed)
        options = {"kl_weight": THETA, "train_encoder": False, "label": name} | how
        limits = {"steps": steps, "seconds": seconds, "lr": lr, "generator": g}
        training = fit(*nets, x, **limits, **options, progress=progress)
        took = time.perf_counter() - clock
        found[name] = measure(*nets, test, fit=training, seconds=took)
    return DecoderTrial(found)


def measure(
    encoder: nn.Module,
    decoder: nn.Module,
    x: Float[Tensor, "n 1 32 32"],
    *,
    fit: Fit | None = None,
    seconds: float = 0.0,
) -> Reconstruction:
    """How good a decoder's reconstructions are, from the means of the latents.

    Args:
        encoder, decoder: used as they are.
        x: images.
        fit, seconds: of the training, to be kept with the numbers.
    """
    with frozen(encoder), frozen(decoder):
        x_hat = torch.cat([decoder(encoder(part)[0]) for part in x.split(AT_ONCE)]).clamp(-1, 1)
    return compare(x_hat, x, fit=fit, seconds=seconds)


def compare(
    x_hat: Float[Tensor, "n 1 32 32"],
    x: Float[Tensor, "n 1 32 32"],
    *,
    fit: Fit | None = None,
    seconds: float = 0.0,
) -> Reconstruction:
    """How good reconstructions are.

    Args:
        x_hat: reconstructions within [−1, 1].
        x: the images.
        fit, seconds: of the training, to be kept with the numbers.
    """
    error = (x_hat - x).square()
    return Reconstruction(
        x_hat=x_hat,
        mse=float(error.flatten(1).sum(1).mean()),
        psnr=10 * math.log10(4 / float(error.mean())),
        detail=detail(x_hat) / detail(x),
        spectrum=spectrum(x_hat)[1] / spectrum(x)[1],
        frechet=judge.frechet(F.avg_pool2d(x_hat, 2), F.avg_pool2d(x, 2)),
        fit=fit,
        seconds=seconds,
    )


def detail(x: Float[Tensor, "n 1 height width"]) -> float:
    """The energy that a 3×3 mean takes away, per pixel."""
    return float((x - F.avg_pool2d(x, 3, 1, 1)).square().mean())
