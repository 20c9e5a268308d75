"""What consistency training gets wrong on a coarse grid of levels, in one dimension. Given.

Without a teacher the target of f(x_t, t) is f(x_s, s) for one pair of data and noise, so that the
best f(x_t, t) is the mean E[f(x_s, s) | x_t] over all pairs that pass through x_t. A mean is less
spread out than what it is a mean of: f shrinks a little with each level, and more if they are far
apart. For a Gaussian every best f is a straight line, which a line for each level can learn.

The mean of a line is the line of the mean, and E[x_s | x_t] is where an Euler step of the exact
velocity ends. So here, training from data is off by exactly what distillation by Euler steps is
off by, and distillation by better steps is not.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cs231n_gen import consistency
from cs231n_gen.truth import GaussianMixture

GRIDS = (4, 16, 64, 256)
TEACHERS = ("from data alone", "distilled, Euler's steps", "distilled, Heun's steps")


class Lines(nn.Module):
    """A line for each level n / N: F(x, t) = α_n + β_n x, for numbers x.

    Args:
        N: how many levels above 0.
    """

    def __init__(self, N: int):
        super().__init__()
        self.N = N
        self.weight = nn.Parameter(torch.zeros(N + 1, 2, dtype=torch.float64))

    def forward(
        self, x: Float[Tensor, "batch 1"], t: Float[Tensor, "batch"]
    ) -> Float[Tensor, "batch 1"]:
        offset, slope = self.weight[(self.N * t).round().long()].T
        return offset[:, None] + slope[:, None] * x


@dataclass(frozen=True)
class ConsistencyBias:
    """The lines that were learned.

    grids: numbers of levels N.
    slopes: of f(x, 1), one for each N, by teacher (`TEACHERS`).
    right: the slope of the exact consistency function: the data's standard deviation.
    curves: slope of f(x, t) at every level, by N, without a teacher.
    """

    grids: list[int]
    slopes: dict[str, list[float]]
    right: float
    curves: dict[int, Float[Tensor, "levels"]]

    def table(self) -> str:
        """The slopes, as text."""
        lines = [f"slope of f(x, 1), {self.right:g} is right"]
        lines.append(f"{'levels N':24}" + "".join(f"{N:>8}" for N in self.grids))
        for name, slopes in self.slopes.items():
            lines.append(f"{name:24}" + "".join(f"{b:8.3f}" for b in slopes))
        return "\n".join(lines)


def run(
    grids: tuple[int, ...] = GRIDS,
    mean: float = 0.7,
    std: float = 0.5,
    pairs: int = 20_000,
    seed: int = 0,
) -> ConsistencyBias:
    """Learn f of N(mean, std²) by `consistency.loss`, without a teacher and by the exact one.

    Level after level, from the data up: the loss is a quadratic in the line of a level, whose
    lowest point is one step of Newton's method away.

    Args:
        grids: numbers of levels N.
        mean, std: of the data.
        pairs: of data and noise, new ones at each level.
        seed: of these.
    """
    data = GaussianMixture.isotropic(torch.tensor([[mean]]), std)
    slopes: dict[str, list[float]] = {name: [] for name in TEACHERS}
    curves = {}
    for N in grids:
        for name in TEACHERS:
            f = _learn(N, data, name, pairs, torch.Generator().manual_seed(seed))
            slopes[name].append(float(f[-1]))
            if name == TEACHERS[0]:
                curves[N] = f
    return ConsistencyBias(list(grids), slopes, std, curves)


def _learn(N, data, name, pairs, generator) -> Float[Tensor, "levels"]:
    """The slope of f at the levels 0, 1/N, …, 1."""
    lines, one = Lines(N), torch.ones(1, dtype=torch.float64)
    for n in range(1, N + 1):
        x = data.sample(pairs, generator)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        t, s = (torch.full((pairs,), k / N, dtype=x.dtype) for k in (n, n - 1))

        def heun(x_t, t, s=s):
            v = data.velocity(x_t, t)
            return (v + data.velocity(x_t - (t - s)[:, None] * v, s)) / 2

        teacher = dict(zip(TEACHERS, (None, data.velocity, heun), strict=True))[name]
        L = consistency.loss(lines, x, z, t, s, teacher=teacher)
        (slope,) = torch.autograd.grad(L, lines.weight, create_graph=True)
        rows = [torch.autograd.grad(p, lines.weight, retain_graph=True)[0][n] for p in slope[n]]
        with torch.no_grad():
            lines.weight[n] -= torch.linalg.solve(torch.stack(rows), slope[n])
    t = torch.arange(N + 1, dtype=torch.float64) / N
    with torch.no_grad():
        at_1, at_0 = (consistency.function(lines, x.expand(N + 1, 1), t) for x in (one, 0 * one))
    return (at_1 - at_0)[:, 0]
