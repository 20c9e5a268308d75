"""The run of chapter 09: a diffusion transformer in the latents of garments, and how it is judged.
Given.

The latents are those of chapter 08, 8×8 with 4 channels. A network sees them with their classes, of
which a tenth are dropped, so that it can be guided. Its garments are decoded, averaged over 2×2
pixels, and shown to the judge.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen import dit, flow, guidance, latent, schedules
from cs231n_gen.given import judge
from cs231n_gen.given.data import data_file, fashion_mnist
from cs231n_gen.given.frozen import frozen
from cs231n_gen.given.training import History, Run

NULL = 10  # the null condition, after ten classes of garments
CLASSES = 11
DROP = 0.1  # share of the classes that are dropped
LEVELS = (-0.5, 1.0)  # logits of the levels: their mean and standard deviation
EVENLY = (torch.arange(10) + 0.5) / 10  # levels of the held-out loss
TIMED = 20  # steps that tell how long one takes
BATCH = 250  # garments sampled at a time, latents encoded at a time
SHIPPED = {"dim": 72, "depth": 4, "heads": 4}
LIVE = {"dim": 64, "depth": 3, "heads": 4}  # learns something in half a minute
FILE = "latent_dit.safetensors"


class LatentData(NamedTuple):
    """Latents of garments and their classes."""

    u: Float[Tensor, "n channels height width"]
    y: Int[Tensor, "n"]


@dataclass(frozen=True)
class JudgedGarments:
    """Garments of a network, and what the judge says of them.

    x: images of 32×32 pixels.
    y: the classes asked for.
    right: share in which the judge sees the class that was asked for.
    frechet: distance of the judge's features to those of real images.
    seconds: to sample and decode.
    """

    x: Float[Tensor, "n 1 32 32"]
    y: Int[Tensor, "n"]
    right: float
    frechet: float
    seconds: float

    def __str__(self) -> str:
        found = f"{self.right:.1%} of the right class, Fréchet distance {self.frechet:.2f}"
        return f"{len(self.y)} garments in {self.seconds:.1f} s: {found}"


def encode(
    encoder: nn.Module, x: Float[Tensor, "n 1 32 32"], shift: float, scale: float
) -> Float[Tensor, "n 4 8 8"]:
    """The latents of images, some at a time."""
    return torch.cat([latent.to_latent(encoder, part, shift, scale) for part in x.split(BATCH)])


def latents_of(encoder: nn.Module, shift: float, scale: float, split: str = "train") -> LatentData:
    """The latents of all garments of a split, `train` or `test`, and their classes."""
    images = fashion_mnist(split, 32)
    return LatentData(encode(encoder, images.x, shift, scale), images.y)


def new(seed: int = 0, **options) -> dit.DiT:
    """A `DiT` for latents of 8×8 with 4 channels and their classes, with weights from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return dit.DiT(**({"classes": CLASSES, **LIVE} | options))


def load_latent_dit() -> dit.DiT:
    """The network that `data/train_latent_dit.py` trained for longer, ready to use.

    Raises:
        DataError: if its weights are missing or damaged.
        RuntimeError: if they do not fit `dit.DiT`.
    """
    model = new(**SHIPPED)
    weights = [w.float() for _, w in sorted(load_file(data_file(FILE)).items())]
    parameters = list(model.parameters())
    have, want = ([tuple(w.shape) for w in some] for some in (weights, parameters))
    if have != want:
        raise RuntimeError(f"the weights of {FILE} are for shapes {have}, dit.DiT has {want}")
    with torch.no_grad():  # in the order of the layers, whatever a student calls them
        for p, w in zip(parameters, weights, strict=True):
            p.copy_(w)
    return model.eval().requires_grad_(False)


def batch_of(
    data: LatentData, n: int, levels: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents, noise, levels and classes of a step, some of them dropped: (u, z, t, y)."""
    i = torch.randint(len(data.u), (n,), generator=generator)
    z = torch.randn(n, *data.u.shape[1:], generator=generator)
    t = schedules.logit_normal(n, *levels, generator)
    return data.u[i], z, t, guidance.drop_condition(data.y[i], DROP, NULL, generator)


def train(
    model: nn.Module,
    data: LatentData,
    steps: int,
    *,
    batch: int = 64,
    lr: float = 1e-2,
    warmup: float = 0.05,
    levels: tuple[float, float] = LEVELS,
    seed: int = 0,
    **options,
) -> History:
    """Train a velocity `model(x_t, t, y)` on latents; it ends with the averaged weights.

    Args:
        model: a `DiT`, or another network with these arguments.
        data: latents and classes.
        steps, batch, lr, warmup: of training.
        levels: mean and standard deviation of the logits of t.
        seed: of data, noise, levels and dropped classes.
        options: of `training.Run`, such as a time limit, or the floor to show.
    """
    g = torch.Generator().manual_seed(seed)
    with Run(model, steps, lr=lr, warmup=warmup, **options) as run:
        for _ in run:
            L = flow.loss(model, *batch_of(data, batch, levels, g))
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L)
    return run.history


def steps_within(
    seconds: float, make: Callable[[], nn.Module], data: LatentData, batch: int = 64
) -> int:
    """How many training steps a network takes in some seconds of a processor.

    The first steps of a run are slow, so a few are made before the next ones are timed.
    """
    model = make()
    train(model, data, 5, batch=batch, progress=False)
    start = time.process_time()
    train(model, data, TIMED, batch=batch, progress=False)
    return max(1, round(seconds * TIMED / (time.process_time() - start)))


def held_out_loss(
    model: nn.Module,
    data: LatentData,
    levels: Float[Tensor, "levels"] = EVENLY,
    seed: int = 10_000,
) -> Float[Tensor, "levels"]:
    """The loss on latents that a network was not trained on, level by level, with their classes.

    From one seed all networks get the same noise, so a difference between two of them is known
    much better than either loss.
    """
    z = torch.randn(data.u.shape, generator=torch.Generator().manual_seed(seed))
    found = []
    with frozen(model):
        for t in levels:
            parts = zip(*(v.split(BATCH) for v in (data.u, z, data.y)), strict=True)
            losses = [
                len(y) * flow.loss(model, u, noise, t.expand(len(y)), y) for u, noise, y in parts
            ]
            found.append(torch.stack(losses).sum() / len(data.u))
    return torch.stack(found)


def floor(
    data: LatentData,
    levels: tuple[float, float] = LEVELS,
    *,
    pairs: int = 200,
    quantiles: int = 12,
    seed: int = 0,
) -> float:
    """The loss of the best network for a training set, under which no loss curve falls for long.

    The best network knows all latents by heart: it is `schedules.optimal_velocity` of those of the
    class, or of all where the class was dropped. The mean is taken over the quantiles of the
    levels' density.

    Args:
        data: the training set.
        levels: mean and standard deviation of the logits of t.
        pairs: of latents and noise, for all classes together.
        quantiles: how many levels.
        seed: of the pairs.
    """
    g = torch.Generator().manual_seed(seed)
    t = _quantiles(levels, quantiles)

    def best(members, n):
        i = torch.randint(len(members), (n,), generator=g)
        z = torch.randn(n, *members.shape[1:], generator=g)
        return float(schedules.loss_floor(members[i], z, t, members).mean())

    kinds = data.y.unique()
    of_class = [best(data.u[data.y == k], -(-pairs // len(kinds))) for k in kinds]
    return (1 - DROP) * statistics.mean(of_class) + DROP * best(data.u, pairs)


def linear_floor(
    data: LatentData, levels: tuple[float, float] = LEVELS, quantiles: int = 12
) -> float:
    """The loss of the best linear network, which knows mean and covariance of the latents and no
    class: a network that has learned anything else is below it.

        E v-loss(t) = mean over eigenvalues λ of the covariance of λ / ((1 − t)² λ + t²)

    That is the floor of Gaussian data. Args are those of `floor`.
    """
    eigenvalues = torch.linalg.eigvalsh(data.u.flatten(1).double().T.cov()).clamp(min=0)
    t = _quantiles(levels, quantiles)[:, None].double()
    return float((eigenvalues / ((1 - t) ** 2 * eigenvalues + t**2)).mean())


def _quantiles(levels: tuple[float, float], n: int) -> Float[Tensor, "n"]:
    """The middles of n equally likely parts of the levels."""
    m, s = levels
    return torch.sigmoid(m + s * torch.special.ndtri((torch.arange(n) + 0.5) / n))


def garments(
    model: nn.Module,
    decoder: nn.Module,
    shift: float,
    scale: float,
    y: Int[Tensor, "n"],
    *,
    w: float = 0.0,
    steps: int = 25,
    seed: int = 1,
) -> Float[Tensor, "n 1 32 32"]:
    """A garment for each class asked for, from noise.

    Args:
        model: a velocity of latents.
        decoder, shift, scale: as in `latent.from_latent`.
        y: classes.
        w: weight of guidance.
        steps: Euler steps.
        seed: of the noise.
    """
    z = torch.randn(len(y), 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    found = []
    for noise, of in zip(z.split(BATCH), y.split(BATCH), strict=True):
        if w:
            u = guidance.sample(model, noise, steps, of, NULL, w)
        else:
            u = flow.sample(model, noise, steps, of)
        found.append(latent.from_latent(decoder, u, shift, scale))
    return torch.cat(found)


def evaluate(
    model: nn.Module,
    decoder: nn.Module,
    shift: float,
    scale: float,
    real: Float[Tensor, "m 1 32 32"],
    *,
    w: float = 0.0,
    n: int = 2000,
    steps: int = 25,
    seed: int = 1,
) -> JudgedGarments:
    """Sample garments of all classes and have them judged.

    Args:
        model, decoder, shift, scale, w, steps, seed: as in `garments`.
        real: images that no network was trained on, with which garments are compared.
        n: how many, as many of each class.
    """
    y = torch.arange(n) % NULL
    start = time.perf_counter()
    x = garments(model, decoder, shift, scale, y, w=w, steps=steps, seed=seed)
    seconds = time.perf_counter() - start
    right = judge.class_accuracy(for_judge(x), y)
    return JudgedGarments(x, y, right, judge.frechet(for_judge(x), for_judge(real)), seconds)


def for_judge(x: Float[Tensor, "n 1 32 32"]) -> Float[Tensor, "n 1 16 16"]:
    """What the judge is shown of images: the mean of each 2×2 pixels, within [−1, 1]."""
    return F.avg_pool2d(x.clamp(-1, 1), 2)
