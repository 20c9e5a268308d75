"""The garments of chapter 07: one network, that of chapter 04, sampled in every way. Given.

The network was trained for the velocity of rectified flow. `diffusion.reparametrised` turns it into
DDPM's ε_θ and as EDM's denoiser D(x, σ), and each is sampled the way its authors do it, from the
same noise and with the same number of calls.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from cs231n_gen import diffusion
from cs231n_gen import diffusion_samplers as samplers
from cs231n_gen.flow import Model
from cs231n_gen.given import judge
from cs231n_gen.given.processes import (
    NOISE,
    Process,
    Target,
    X,
    cosine,
    edm,
    even_in_t,
    karras,
    rectified_flow,
    variance_preserving,
    velocity,
)

RECTIFIED, EDM = rectified_flow(), edm()
VP, COSINE = variance_preserving(), cosine()
CALLS = 21  # of the network: odd, so that Heun's last step, of one call, ends at data
BATCH = 100


@dataclass(frozen=True)
class GarmentSampler:
    """What the network is turned into, and how that is sampled.

    process, target: what it is made to predict.
    draw: called as `draw(model, z, calls, y, generator)`.
    times: how many times as many calls it gets as the others.
    """

    process: Process
    target: Target
    draw: Callable[..., Tensor]
    times: int = 1


def _rectified(model, z, calls, y, generator):
    times = even_in_t(calls)
    return samplers.sample(model, z, times, RECTIFIED, velocity(RECTIFIED), y=y)


def _ddim(model, z, calls, y, generator):
    return samplers.sample(model, z, even_in_t(calls), VP, NOISE, y=y)


def _ancestral(model, z, calls, y, generator):
    times = even_in_t(calls)
    return samplers.sample(model, z, times, VP, NOISE, y=y, eta=1.0, generator=generator)


def _reverse_sde(model, z, calls, y, generator):
    times, step = even_in_t(calls), samplers.reverse_sde_step
    target = velocity(COSINE)
    return samplers.sample(model, z, times, COSINE, target, step, y, generator=generator)


def _heun(model, z, calls, y, generator):
    return samplers.sample_heun(model, z, karras(EDM, (calls + 1) // 2), EDM, X, y)


SAMPLERS = {
    "rectified flow, Euler": GarmentSampler(RECTIFIED, velocity(RECTIFIED), _rectified),
    "VP (DDPM), DDIM": GarmentSampler(VP, NOISE, _ddim),
    "EDM, Heun": GarmentSampler(EDM, X, _heun),
    "VP (DDPM), ancestral": GarmentSampler(VP, NOISE, _ancestral),
    "VP (cosine), SDE": GarmentSampler(COSINE, velocity(COSINE), _reverse_sde),
    "the same, 4 × the calls": GarmentSampler(COSINE, velocity(COSINE), _reverse_sde, times=4),
}


@dataclass(frozen=True)
class GarmentTrial:
    """The results of a trial.

    y: the classes asked for.
    garments: by name, from the same noise.
    calls: of the network, for each garment, by name.
    frechet: distance of the judge's features to those of real images.
    right: share in which the judge sees the class that was asked for.
    real: Fréchet distance of as many real images.
    seconds: to sample, by name.
    """

    y: Int[Tensor, "n"]
    garments: dict[str, Float[Tensor, "n 1 16 16"]]
    calls: dict[str, int]
    frechet: dict[str, float]
    right: dict[str, float]
    real: float
    seconds: dict[str, float]

    def alike(self) -> dict[str, float]:
        """How near each garment is to the first sampler's from the same noise: the correlation of
        what distinguishes garments of one class.

        The mean of its class is subtracted from each picture, pixel by pixel. 1 is the same
        garment, and 0 is what another noise gives.
        """
        first = own(next(iter(self.garments.values())), self.y)
        return {
            name: float(_correlation(own(x, self.y), first)) for name, x in self.garments.items()
        }

    def table(self) -> str:
        """All numbers, as text."""
        lines = [f"{len(self.y)} garments from the same noise"]
        lines.append(
            f"{'':24}{'calls':>6}{'right class':>12}{'Fréchet':>10}{'alike':>8}{'seconds':>9}"
        )
        for name, alike in self.alike().items():
            lines.append(
                f"{name:24}{self.calls[name]:>6}{self.right[name]:>12.0%}{self.frechet[name]:>10.1f}"
                f"{alike:>8.2f}{self.seconds[name]:>9.1f}"
            )
        lines.append(f"{'real images':24}{'':18}{self.real:>10.1f}")
        return "\n".join(lines)


def run(
    net: Model,
    real: Float[Tensor, "m 1 16 16"],
    *,
    calls: int = CALLS,
    garments: int = 100,
    seed: int = 1,
    progress: bool = True,
) -> GarmentTrial:
    """Sample one network in every way, from the same noise.

    Args:
        net: predicts the velocity of rectified flow for images and their classes, as
            `net(x_t, t, y)`.
        real: images that no network has seen. The first of them are what real ones are judged by,
            the others what all are compared with.
        calls: of the network, for each garment: odd.
        garments: how many, as many of each class: a multiple of 10.
        seed: of the noise.
        progress: whether to show a bar.
    """
    y = torch.arange(10).repeat_interleave(garments // 10)
    z = torch.randn(len(y), *real.shape[1:], generator=torch.Generator().manual_seed(seed))
    found, seconds = {}, {}
    for name, sampler in (bar := tqdm(SAMPLERS.items(), disable=not progress)):
        bar.set_description(name)
        start = time.perf_counter()
        found[name] = draw(
            net, sampler, z, y, sampler.times * calls, torch.Generator().manual_seed(seed)
        )
        seconds[name] = time.perf_counter() - start
    aside, reference = real[: len(y)], real[len(y) :]
    return GarmentTrial(
        y=y,
        garments=found,
        frechet={name: judge.frechet(x, reference) for name, x in found.items()},
        right={name: judge.class_accuracy(x, y) for name, x in found.items()},
        calls={name: sampler.times * calls for name, sampler in SAMPLERS.items()},
        real=judge.frechet(aside, reference),
        seconds=seconds,
    )


def draw(
    net: Model,
    sampler: GarmentSampler,
    z: Float[Tensor, "n 1 16 16"],
    y: Int[Tensor, "n"],
    calls: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n 1 16 16"]:
    """A garment for each noise and class."""
    model = diffusion.reparametrised(
        net, RECTIFIED, velocity(RECTIFIED), sampler.process, sampler.target
    )
    parts = zip(z.split(BATCH), y.split(BATCH), strict=True)
    return torch.cat([sampler.draw(model, some, calls, of, generator) for some, of in parts])


def own(x: Float[Tensor, "n *shape"], y: Int[Tensor, "n"]) -> Float[Tensor, "n pixels"]:
    """Each picture without the mean of its class."""
    flat = x.flatten(1).double()
    for k in y.unique():
        flat[y == k] -= flat[y == k].mean(0)
    return flat


def _correlation(x: Tensor, other: Tensor) -> Tensor:
    return (x * other).sum() / (x.square().sum() * other.square().sum()).sqrt()
