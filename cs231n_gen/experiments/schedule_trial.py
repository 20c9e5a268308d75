"""The trial of chapter 06: one network trained under several schedules for t, seed by seed. Given.

From one seed every schedule gets the same initial weights, the same data and noise in every step,
and the same noise to sample from: they differ only in the distribution of t. The networks of all
seeds are trained at once, with stacked weights.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from cs231n_gen import flow, schedules
from cs231n_gen.experiments import paired
from cs231n_gen.given.mlp import VelocityMLP
from cs231n_gen.given.toys import Toy
from cs231n_gen.given.training import Run
from cs231n_gen.truth import GaussianMixture

Schedule = Callable[[int, torch.Generator], Tensor]

STEPS = (5, 10, 50)  # Euler steps to sample with
LEVELS = torch.linspace(0.02, 1, 50)  # where the networks are compared with the exact velocity
ANGLES = 32  # directions that a distance is averaged over


SCHEDULES: dict[str, Schedule] = {
    "uniform": lambda n, g: torch.rand(n, generator=g),
    "logit-normal(0, 1)": lambda n, g: schedules.logit_normal(n, 0.0, 1.0, g),
    "logit-normal(−1, 1)": lambda n, g: schedules.logit_normal(n, -1.0, 1.0, g),
    "(0, 1) shifted by 3": lambda n, g: schedules.shift(schedules.logit_normal(n, 0.0, 1.0, g), 3),
}


class Ensemble(nn.Module):
    """Many networks of one shape as one: weights are stacked, and none affects another.

    Args:
        nets: the nets, each called as `net(x_t, t)`.
    """

    def __init__(self, nets: Sequence[nn.Module]):
        super().__init__()
        weights, self.fixed = stack_module_state(nets)
        self.names = list(weights)
        self.stacks = nn.ParameterList(weights.values())
        self.pattern = [nets[0]]  # in a list, so that its own weights do not count

    def part(self, first: int, last: int) -> "Ensemble":
        """A copy of the nets from `first` to before `last`."""
        nets = []
        for k in range(first, last):
            nets.append(copy.deepcopy(self.pattern[0]))
            weights = {n: w[k] for n, w in zip(self.names, self.stacks, strict=True)}
            nets[-1].load_state_dict(weights | {n: v[k] for n, v in self.fixed.items()})
        return Ensemble(nets)

    def forward(
        self, x_t: Float[Tensor, "nets batch dim"], t: Float[Tensor, "nets batch"]
    ) -> Float[Tensor, "nets batch dim"]:
        if t.dim() == 1:  # from a sampler, for which a net is an example
            t = t[:, None].expand(x_t.shape[:2])
        weights = dict(zip(self.names, self.stacks, strict=True))

        def one(weights, fixed, x_t, t):
            return functional_call(self.pattern[0], (weights, fixed), (x_t, t))

        return vmap(one)(weights, self.fixed, x_t, t)


@dataclass(frozen=True)
class Trial:
    """The results of a trial.

    names: of the schedules; the others are compared with the first.
    steps: of sampling.
    distances: energy distance of samples to the density, unbiased, so it can fall below 0.
    noise: the same for as many real samples, one number a seed: what cannot be told from 0.
    levels, excess: E‖f − E[v|x_t]‖² per dimension, what the networks have not learned, by level.
    seconds: the whole trial.
    what, times: what the distances are, and the factor by which the table multiplies them.
    """

    names: list[str]
    steps: list[int]
    distances: Float[Tensor, "schedules seeds steps"]
    noise: Float[Tensor, "seeds"]
    levels: Float[Tensor, "levels"]
    excess: Float[Tensor, "schedules seeds levels"]
    seconds: float = 0.0
    what: str = "energy distance × 1000"
    times: float = 1000.0

    @property
    def seeds(self) -> int:
        """How many seeds."""
        return self.distances.shape[1]

    def differences(self) -> tuple[Tensor, Tensor]:
        """Difference in distance to the first schedule, as `paired.differences` says."""
        return paired.differences(self.distances)

    def verdicts(self) -> list[list[str]]:
        """`better`, `worse` or `–` (no clear difference), a row for each schedule but the first."""
        return paired.verdicts(*self.differences())

    def table(self) -> str:
        """All numbers and the verdicts, as text."""
        wide = 1 + max(map(len, self.names))

        def line(name, cells):
            return f"{name:{wide}}" + "".join(f"{cell:>20}" for cell in cells)

        def several(mean, off, sign=""):
            return [f"{m:{sign}.2f} ± {o:.2f}" for m, o in zip(mean, off, strict=True)]

        lines = [f"{self.what}, mean ± spread over {self.seeds} seeds"]
        lines.append(line("Euler steps", map(str, self.steps)))
        for name, d in zip(self.names, self.times * self.distances, strict=True):
            lines.append(line(name, several(d.mean(0), d.std(0))))
        real = self.times * self.noise
        lines.append(line("real data", several([real.mean()], [real.std()])))
        several_hold = f"{paired.SURE:.0%} of trials have all true values inside"
        lines += ["", f"less that of {self.names[0]}, seed by seed ({several_hold})"]
        rows = zip(self.names[1:], *self.differences(), self.verdicts(), strict=True)
        for name, mean, off, verdict in rows:
            cells = several(self.times * mean, self.times * off, "+")
            words = zip(cells, verdict, strict=True)
            lines.append(line(name, [f"{cell} {word:>6}" for cell, word in words]))
        return "\n".join(lines)


def run(
    toy: Toy,
    seeds: Sequence[int] = range(8),
    *,
    among: Mapping[str, Schedule] = SCHEDULES,
    steps: int = 700,
    batch: int = 256,
    samples: int = 4000,
    progress: bool = True,
    **net,
) -> Trial:
    """Train a `VelocityMLP` for each seed under each schedule, sample from it, and measure.

    Args:
        toy: the data, a mixture.
        seeds: at least 2.
        among: schedules by name, `draw(n, generator)` for n levels; the others are compared with
            the first.
        steps, batch: of training.
        samples: of each net.
        progress: whether to show bars.
        net: options of the net.
    """
    start, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)  # on matrices this small, more threads would only wait for each other
    try:
        trial = _run(toy, seeds, among, steps, batch, samples, progress, net)
    finally:
        torch.set_num_threads(threads)
    return replace(trial, seconds=time.perf_counter() - start)


def _run(toy, seeds, among, steps, batch, samples, progress, net) -> Trial:
    names = list(among)
    ensemble = _train(toy, seeds, among, steps, batch, progress, net)
    fresh = [torch.Generator().manual_seed(10_000 + seed) for seed in seeds]
    z = torch.stack([torch.randn(samples, 2, generator=g) for g in fresh])
    every = z.repeat(len(names), 1, 1)  # the same noise for every schedule
    distances = [
        torch.stack([energy_distance(x, toy.mixture) for x in flow.sample(ensemble, every, T)])
        for T in STEPS
    ]
    return Trial(
        names=names,
        steps=list(STEPS),
        distances=torch.stack(distances, dim=-1).reshape(len(names), len(seeds), -1),
        noise=torch.stack([energy_distance(toy.sample(samples, g), toy.mixture) for g in fresh]),
        levels=LEVELS,
        excess=_excess(ensemble, toy, samples // 2).reshape(len(names), len(seeds), -1),
    )


def energy_distance(
    x: Float[Tensor, "*many n 2"], mixture: GaussianMixture
) -> Float[Tensor, "*many"]:
    """The energy distance of samples in the plane to a density itself, unbiased.

    A length is π/2 times the mean of its projections over all directions, so the distance is π/2
    times the mean distance of the projections. On a line, sums over pairs of points follow from
    their order, and the mean distance of a point to a Gaussian is known.

        E|N(d, s²)| = s √(2/π) exp(−d²/2s²) + d erf(d / (s √2))
    """
    x, n, total = x.double(), x.shape[-2], 0.0
    larger = 2 * torch.arange(n, dtype=x.dtype) - (n - 1)  # how many points lie below, minus above
    for angle in math.pi * torch.arange(ANGLES) / ANGLES:
        u = torch.stack([angle.cos(), angle.sin()]).double()
        p, means = x @ u, mixture.means @ u
        variances = torch.einsum("kij,i,j->k", mixture.covs, u, u)
        to_data = _mean_length(p[..., None] - means, variances) @ mixture.weights
        apart = _mean_length(means[:, None] - means, variances[:, None] + variances)
        within = 2 * p.sort(dim=-1).values @ larger / (n * (n - 1))
        total += 2 * to_data.mean(-1) - within - mixture.weights @ apart @ mixture.weights
    return math.pi / 2 * total / ANGLES


def mean_distance(mixture: GaussianMixture) -> Float[Tensor, ""]:
    """E‖X − X′‖ of two independent points of a mixture in the plane.

    n times the mean energy distance of n real samples to their own density, if the distances of
    points to themselves count among the pairs.
    """
    total = 0.0
    for angle in math.pi * torch.arange(ANGLES) / ANGLES:
        u = torch.stack([angle.cos(), angle.sin()]).double()
        means, variances = mixture.means @ u, torch.einsum("kij,i,j->k", mixture.covs, u, u)
        apart = _mean_length(means[:, None] - means, variances[:, None] + variances)
        total += mixture.weights @ apart @ mixture.weights
    return math.pi / 2 * total / ANGLES


def _mean_length(d: Tensor, variance: Tensor) -> Tensor:
    s = variance.sqrt()
    return s * math.sqrt(2 / math.pi) * torch.exp(-((d / s) ** 2) / 2) + d * torch.erf(
        d / (s * math.sqrt(2))
    )


def _train(toy, seeds, among, steps, batch, progress, net) -> Ensemble:
    nets = []
    for _ in among:
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                nets.append(VelocityMLP(**net))
    ensemble = Ensemble(nets)
    pairs = [torch.Generator().manual_seed(seed) for seed in seeds]
    levels = [[torch.Generator().manual_seed(seed) for seed in seeds] for _ in among]
    with Run(ensemble, steps, progress=progress, label=f"{len(nets)} nets") as run:
        for _ in run:
            x = torch.stack([toy.sample(batch, g) for g in pairs])
            z = torch.stack([torch.randn(batch, 2, generator=g) for g in pairs])
            x, z = (v.repeat(len(among), 1, 1) for v in (x, z))
            draws = zip(among.values(), levels, strict=True)
            t = torch.stack([draw(batch, g) for draw, row in draws for g in row])
            x_t = x + t[..., None] * (z - x)
            L = (ensemble(x_t, t) - (z - x)).square().mean((1, 2))  # (nets,)
            run.optimizer.zero_grad()
            L.sum().backward()  # each net's gradient is that of its own loss
            run.optimizer.step()
            run.record(L.mean())
    return ensemble


@torch.no_grad()
def _excess(ensemble: Ensemble, toy: Toy, n: int) -> Float[Tensor, "nets levels"]:
    g, nets, excess = torch.Generator().manual_seed(10_000), len(ensemble.stacks[0]), []
    x, z = toy.sample(n, g), torch.randn(n, 2, generator=g)
    for t in LEVELS:
        x_t = x + t * (z - x)
        best = toy.mixture.velocity(x_t, float(t)).float()
        answers = ensemble(x_t.expand(nets, n, 2), t.expand(nets, n))
        excess.append((answers - best).square().mean((1, 2)))
    return torch.stack(excess, dim=1)
