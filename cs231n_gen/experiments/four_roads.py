"""The run of chapter 07: one number by four roads (slides 116–119). Given.

The number is the differential entropy of a mixture on a line, h = E[−log p(x)] in nats. Each of
the four perspectives on diffusion gives it: latent variables by the ELBO, the score by an integral
of its error over levels (I-MMSE), the ODE by a change of variables, and the SDE by its samples.
All of them ask the perfect network, so that what they miss is their own.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from cs231n_gen import diffusion_likelihood, diffusion_samplers
from cs231n_gen.experiments.perfect import perfect_net
from cs231n_gen.given.processes import (
    cosine,
    even_in_log_snr,
    even_in_t,
    rectified_flow,
    velocity,
)
from cs231n_gen.truth import Estimate, GaussianMixture, expect, irreducible_loss

MIXTURE = GaussianMixture.isotropic(
    torch.tensor([[-1.5], [0.4], [1.8]]),
    torch.tensor([0.3, 0.2, 0.25]).double(),
    torch.tensor([0.5, 0.3, 0.2]).double(),
)
"""Three Gaussians on a line, of entropy 1.08505 nats."""

LOG_SNR = (-7.0, 9.0)  # of the ELBO: what lies beyond adds less than 0.001 nats
ALL = torch.arange(-18.0, 20.5, 0.5).double()  # log-SNRs of I-MMSE: what lies beyond, 1e-7
NODES = 24  # of noise, to average the ELBO over it
ODE_STEPS = 60
NEVER = float(np.euler_gamma) + math.pi**2 / 12
"""What the ELBO misses in one dimension on levels even in t, however many: γ + π²/12, 1.3997.

With b(t) ∝ t near the data, step k from the last multiplies the SNR by ((k + 1) / k)² and pays
½ ((k + 1)² / k² − 1) for log((k + 1) / k), and Σ_k (1 / k + 1 / (2 k²) − log(1 + 1 / k)) is that.
"""


@dataclass(frozen=True)
class Road:
    """One way to the number.

    name: of the way.
    levels: how levels are spaced, and how many steps there are.
    nats: what it finds.
    error: of its numerics, or half of a 95 % confidence interval. What its steps miss is not in it.
    seconds: what it took.
    """

    name: str
    levels: str
    nats: float
    error: float
    seconds: float


@dataclass(frozen=True)
class Roads:
    """All roads, the direct one first."""

    roads: list[Road]

    def off(self) -> dict[tuple[str, str], float]:
        """How far each is from the direct one, by name and levels."""
        return {(r.name, r.levels): r.nats - self.roads[0].nats for r in self.roads}

    def table(self) -> str:
        """The table in which they meet, as text."""
        lines = [f"{'road':22}{'levels':28}{'nats':>8}   {'± error':8}{'off':>10}{'seconds':>9}"]
        for road, off in zip(self.roads, self.off().values(), strict=True):
            lines.append(
                f"{road.name:22}{road.levels:28}{road.nats:8.5f} ± {road.error:<8.2g}"
                f"{off:>+10.5f}{road.seconds:>9.2f}"
            )
        return "\n".join(lines)


def run(
    mixture: GaussianMixture = MIXTURE,
    *,
    elbo_steps: Sequence[int] = (64, 256, 1024),
    sde_steps: Sequence[int] = (10, 50, 250),
    samples: int = 20_000,
    seed: int = 0,
    progress: bool = True,
) -> Roads:
    """Go every road.

    Args:
        mixture: on a line.
        elbo_steps: numbers of steps of the ELBO, on levels even in log-SNR. The last number is also
            tried on levels even in t.
        sde_steps: numbers of steps of the SDE.
        samples: that are drawn by the SDE.
        seed: of the samples.
        progress: whether to show a bar.
    Raises:
        ValueError: if the mixture is not on a line.
    """
    if mixture.dim != 1:
        raise ValueError(f"the mixture must be on a line, got {mixture.dim} dimensions")
    ways: list[tuple[str, str, Callable[[], Estimate]]] = [
        ("quadrature", "", lambda: expect(mixture, lambda x: -mixture.log_density(x)))
    ]
    for T in elbo_steps:
        levels = even_in_log_snr(rectified_flow(), T, LOG_SNR)
        ways.append(("ELBO", f"{T}, even in log-SNR", lambda s=levels: by_elbo(mixture, s)))
    T = elbo_steps[-1]
    levels = even_in_t(T, 1.0, 1 / (T + 1))
    ways.append(("ELBO", f"{T}, even in t", lambda s=levels: by_elbo(mixture, s)))
    ways.append(("score (I-MMSE)", f"{len(ALL)}, even in log-SNR", lambda: by_score(mixture)))
    ways.append(("ODE", f"{ODE_STEPS}, even in t", lambda: by_ode(mixture)))
    for T in sde_steps:
        name = f"{T}, even in t"
        ways.append(("SDE's samples", name, lambda T=T: by_sde(mixture, T, samples, seed)))

    roads, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)  # on tensors this small, more threads would only wait for each other
    try:
        for name, levels, way in (bar := tqdm(ways, disable=not progress)):
            bar.set_description(name)
            start = time.perf_counter()
            nats, error = (float(v) for v in way())
            roads.append(Road(name, levels, nats, error, time.perf_counter() - start))
    finally:
        torch.set_num_threads(threads)
    return Roads(roads)


def by_elbo(mixture: GaussianMixture, times: Sequence[float], nodes: int = NODES) -> Estimate:
    """The mean of the bound on −log p(x), over data and noise (slide 116).

    `diffusion_likelihood.elbo_terms` is asked at the nodes of a quadrature instead of at random
    points: what the value misses is the bound's gap alone.

    Args:
        mixture: on a line.
        times: levels of rectified flow. Any other process gives the same at the same SNRs.
        nodes: of noise. The usual number is enough for an error of 1e-6 with `MIXTURE`; components
            that are narrow beside the gaps between them need more.
    """
    process = rectified_flow()
    target = velocity(process)
    net = perfect_net(mixture, process, target)
    z_k, w_k = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(nodes))

    def bound(x):
        each = x.repeat_interleave(nodes, 0)
        z = z_k.repeat(len(x))[:, None].expand(len(times), -1, 1)
        prior, steps, reconstruction = diffusion_likelihood.elbo_terms(
            net, each, z, times, process, target
        )
        total = prior + steps.sum(0) + reconstruction
        return total.reshape(-1, nodes) @ (w_k / w_k.sum())

    return expect(mixture, bound)


def mmse(mixture: GaussianMixture, log_snr: Float[Tensor, "levels"]) -> Estimate:
    """E‖x − E[x | x_t]‖² per dimension, the perfect network's error, where log a²/b² is log_snr."""
    return irreducible_loss(
        mixture,
        log_snr,
        a=lambda v: v.sigmoid().sqrt(),
        b=lambda v: (-v).sigmoid().sqrt(),
        c=torch.ones_like,
        d=torch.zeros_like,
    )


def by_score(mixture: GaussianMixture) -> Estimate:
    """The entropy from the error that is left at every level: I-MMSE (Guo, Shamai, Verdú 2005).

        h = ½ log(2πe) − ½ ∫₀^∞ (1 / (1 + γ) − mmse(γ)) dγ,    γ the SNR

    1 / (1 + γ) is the mmse of a standard Gaussian, whose entropy is the first term. The integral is
    the trapezoidal rule's in log γ. It is the limit of the ELBO for many steps, which adds up
    ½ ΔSNR · mmse. The mmse is the score's: x̂ = (x_t + b² s) / a.
    """
    gamma, loss = ALL.exp(), mmse(mixture, ALL)
    step = float(ALL[1] - ALL[0])
    integral = step * ((-ALL).sigmoid() - loss.value) @ gamma
    return Estimate(
        0.5 * math.log(2 * math.pi * math.e) - 0.5 * integral, 0.5 * step * loss.error @ gamma
    )


def by_ode(mixture: GaussianMixture, steps: int = ODE_STEPS) -> Estimate:
    """The mean of `diffusion_likelihood.log_likelihood`, with its sign changed (slide 118)."""
    process = cosine()
    target = velocity(process)
    net = perfect_net(mixture, process, target)

    def surprise(x):
        times = even_in_t(steps)
        return -diffusion_likelihood.log_likelihood(net, x, times, process, target)[0]

    return expect(mixture, surprise)


def by_sde(mixture: GaussianMixture, steps: int, samples: int, seed: int = 0) -> Estimate:
    """The mean of −log p(x) over samples of the reverse SDE, p the mixture's own (slide 118).

    It is the entropy if the samples have the mixture's density. Too few steps spread them too far.

    Returns:
        The mean, and half of its 95 % confidence interval.
    """
    process = cosine()
    target = velocity(process)
    net = perfect_net(mixture, process, target)
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, 1, generator=g, dtype=torch.float64)
    x = diffusion_samplers.sample(
        net,
        z,
        even_in_t(steps),
        process,
        target,
        step=diffusion_samplers.reverse_sde_step,
        generator=g,
    )
    surprise = -mixture.log_density(x)
    return Estimate(surprise.mean(), 1.96 * surprise.std() / math.sqrt(samples))
