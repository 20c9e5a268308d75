"""The exact flow map: where the perfect rectified flow carries a noisy point (slides 107–108).

Distillation replaces many steps along the flow by one. What this one step should answer is known:
in one dimension paths never cross, so a point keeps its quantile; for one Gaussian the flow is
affine. `flow_map` is the answer of a consistency function, `mean_velocity` that of MeanFlow, and
`teacher_free_consistency` what training without a teacher finds in place of it.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cs231n_gen.truth import checks
from cs231n_gen.truth.checks import per_point, real
from cs231n_gen.truth.mixture import GaussianMixture

EPS = torch.finfo(torch.float64).eps
LARGEST = math.log(torch.finfo(torch.float64).max) - 1
SUBSTEPS = (2, 4, 6, 8)
TOLERANCE = 1e-10  # of a step, absolute and relative
MOST_STEPS = 1000
NEAR = 1e-5  # levels whose mean velocity is that of one Runge–Kutta step: no digits cancel


def flow_map(
    mixture: GaussianMixture,
    x_t: Float[Tensor, "*batch dim"],
    t: float | Float[Tensor, "*batch"],
    s: float | Float[Tensor, "*batch"] = 0.0,
    y: int | Int[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch dim"]:
    """x_s, where dx/dt = E[z − x | x_t] leads from x_t: at s = 0 the exact consistency function.

        one dimension    x_s = F_s⁻¹(F_t(x_t)), F_t the distribution function of x_t
        one Gaussian     x_s = (1 − s) μ + √(S_s S_t⁻¹) (x_t − (1 − t) μ), S_t = (1 − t)² Σ + t² I

    Both are exact up to rounding, also far out and in gaps between components. Several components
    in two or more dimensions have no such formula: there the flow is solved by steps of order 8, to
    about 1e-9 of the size of the data.

    Derivatives with respect to x_t, t and s flow, once.

    Args:
        x_t: points on the way, x_t = (1 − t) x + t z.
        t: their level, from 0 to 1, one for all points or one for each.
        s: the level to go to, likewise; below t, or above it to go back to the noise.
        y: the condition, one for all points or one for each; None for the unconditional flow.
    Raises:
        ValueError: if a level is not between 0 and 1, x_t is not finite, a label does not occur,
            or shapes disagree.
    """
    return _by_label(_flow_map, *_checked(mixture, x_t, t, s, y))


def mean_velocity(
    mixture: GaussianMixture,
    x_t: Float[Tensor, "*batch dim"],
    t: float | Float[Tensor, "*batch"],
    s: float | Float[Tensor, "*batch"],
    y: int | Int[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch dim"]:
    """u = (x_t − x_s) / (t − s), the velocity averaged over the path from x_t to level s: what a
    perfect MeanFlow answers (Geng et al. 2025); at s = t the velocity itself.

    Args and Raises are those of `flow_map`.
    """
    return _by_label(_mean_velocity, *_checked(mixture, x_t, t, s, y))


def teacher_free_consistency(
    std: float, levels: Float[Tensor, "levels"]
) -> Float[Tensor, "levels"]:
    """The slope, at each level, of what consistency training without a teacher finds on N(μ, std²).

    With squared loss its answer is f(x_t, t) = E[f(x_s, s) | x_t] for the level s before t, where
    x_s = x_t − (t − s) (z − x) follows the pair's own straight line, not the flow (Song et al.
    2023, consistency training). Regression of x_s on x_t, level by level:

        f(x_t, t) = μ + slope_t (x_t − (1 − t) μ)
        slope_t = slope_s ((1 − s) (1 − t) std² + s t) / ((1 − t)² std² + t²),  slope_0 = 1

    The exact slope is std / √((1 − t)² std² + t²); with more levels this one comes near to it.

    Args:
        std: standard deviation of the data, positive.
        levels: from 0 up to at most 1, rising: `torch.linspace(0, 1, N + 1)` for N even steps.
    Raises:
        ValueError: if std is not positive and finite, or levels do not rise from 0 to at most 1.
    """
    if not 0 < std < math.inf:
        raise ValueError(f"std must be positive and finite, got {std}")
    t = real(levels)
    if t.dim() != 1 or not len(t) or t[0] != 0 or not (t.diff() > 0).all() or not t[-1] <= 1:
        raise ValueError(f"levels must be (levels,) and rise from 0 to at most 1, got {levels}")
    s, t = t[:-1], t[1:]
    shrinks = ((1 - s) * (1 - t) * std**2 + s * t) / ((1 - t) ** 2 * std**2 + t**2)
    return torch.cat([torch.ones(1).double(), shrinks.cumprod(0)])


def _checked(mixture, x_t, t, s, y) -> tuple:
    """What the question means: points in float64, a level for each, the labels."""
    x_t = checks.points(x_t, mixture.dim)
    if not x_t.isfinite().all():
        bad = int((~x_t.isfinite()).sum())
        raise ValueError(f"x_t must be finite, got {bad} of {x_t.numel()} numbers that are not")
    batch = x_t.shape[:-1]
    if y is not None:
        mixture.known_labels(y)
        y = per_point(y, batch, "y")
    return mixture, x_t, _level(t, batch, "t"), _level(s, batch, "s"), y


def _level(value, batch: torch.Size, name: str) -> Float[Tensor, "*batch"]:
    level = per_point(real(value), batch, name)
    if not ((level >= 0) & (level <= 1)).all():  # also refuses NaN
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
    return level.expand(batch)


def _by_label(answer: Callable, mixture, x_t, t, s, y) -> Float[Tensor, "*batch dim"]:
    """Each label's own mixture answers for its points."""
    shape = x_t.shape
    x_t, t, s = x_t.reshape(-1, mixture.dim), t.reshape(-1), s.reshape(-1)
    if y is None or not len(x_t):
        return answer(mixture, x_t, t, s).reshape(shape)
    y = y.expand(shape[:-1]).reshape(-1)
    where = [(y == label).nonzero()[:, 0] for label in y.unique()]
    parts = [answer(mixture.given(int(y[i[0]])), x_t[i], t[i], s[i]) for i in where]
    return torch.cat(parts)[torch.cat(where).argsort()].reshape(shape)


def _flow_map(mixture, x_t, t, s) -> Float[Tensor, "batch dim"]:
    if not len(x_t):
        return x_t
    if mixture.components == 1:
        return _of_gaussian(mixture, x_t, t, s)
    if mixture.dim == 1:
        return _of_quantiles(mixture, x_t, t, s)
    return _of_steps(mixture, x_t, t, s)


def _mean_velocity(mixture, x_t, t, s) -> Float[Tensor, "batch dim"]:
    t, s = t[:, None], s[:, None]
    near = (t - s).abs() < NEAR
    x_s = _flow_map(mixture, x_t, t[:, 0], s[:, 0])
    u = (x_t - x_s) / (t - s).masked_fill(near, 1.0)
    return torch.where(near, _one_step(mixture, x_t, t, s), u) if near.any() else u


def _one_step(mixture, x, t, s) -> Float[Tensor, "batch dim"]:
    """The mean velocity of one step of the classical Runge–Kutta method from t to s."""
    h, middle = s - t, (s + t)[:, 0] / 2
    k1 = mixture.velocity(x, t[:, 0])
    k2 = mixture.velocity(x + h / 2 * k1, middle)
    k3 = mixture.velocity(x + h / 2 * k2, middle)
    k4 = mixture.velocity(x + h * k3, s[:, 0])
    return (k1 + 2 * k2 + 2 * k3 + k4) / 6


def _of_gaussian(mixture, x_t, t, s) -> Float[Tensor, "batch dim"]:
    """Along each axis of Σ the point keeps its distance from the mean in standard deviations."""
    axes, t, s = mixture.axes, t[:, None, None], s[:, None, None]

    def variance(t):
        return (1 - t) ** 2 * axes.variances + t**2

    u = (variance(s) / variance(t)).sqrt() * axes.along(x_t, 1 - t)
    return axes.mean(torch.ones_like(t[..., 0]), (1 - s) * axes.centres + u)


# --- one dimension: quantiles -------------------------------------------------------------------


def _of_quantiles(mixture, x_t, t, s) -> Float[Tensor, "batch 1"]:
    """F_s⁻¹(F_t(x_t)), and by dF = p (dx − v dt) its derivatives."""
    with torch.no_grad():
        x, at, to = x_t.detach(), t.detach(), s.detach()
        x_s = torch.where(at == to, x[:, 0], _keep_quantile(mixture, x[:, 0], at, to))[:, None]
        a, b = at[:, None, None], to[:, None, None]
        log_p_t = mixture.log_joint(x, 1 - a, a)[0].logsumexp(-1)
        log_p_s = mixture.log_joint(x_s, 1 - b, b)[0].logsumexp(-1)
        stretch = (log_p_t - log_p_s).clamp(max=LARGEST).exp()[:, None]
        v_t, v_s = mixture.velocity(x, at), mixture.velocity(x_s, to)
    # Zeros, whose derivatives are those of the flow.
    moved = stretch * ((x_t - x) - v_t * (t - at)[:, None]) + v_s * (s - to)[:, None]
    return x_s + moved


def _keep_quantile(mixture, x_t, t, s) -> Float[Tensor, "batch"]:
    """The root x of F_s(x) = F_t(x_t), with all digits that x_t determines.

    F itself has none left where it is near 1, or between two components that are far apart. So
    components that are left of x_t are counted by what they have right of it:

        F(x) = Σ_left w_k + P(x) − N(x),   P = Σ_right w_k Φ(ζ_k),   N = Σ_left w_k Φ(−ζ_k)

    for ζ_k = (x − (1 − t) μ_k) / σ_k. The first sum is the same at t and s, and what is left is
    small: log(P + deficit) = log(N + surplus) with the surplus of P over N, or the deficit, at t.
    """
    w, mu, lam = mixture.weights.log(), mixture.means[:, 0], mixture.axes.variances[0]

    def standard(x, t):
        a, b = 1 - t[:, None], t[:, None]
        sigma = (a**2 * lam + b**2).sqrt()
        return (x[:, None] - a * mu) / sigma, sigma

    zeta, sigma_t = standard(x_t, t)
    sign = torch.where(zeta > 0, -1.0, 1.0).double()  # 1 for the components right of x_t
    right = sign > 0

    def both(logs):
        """log Σ over the components right of x_t, and over those left of it."""
        return tuple(logs.masked_fill(~side, -math.inf).logsumexp(-1) for side in (right, ~right))

    P, N = both(w + torch.special.log_ndtr(sign * zeta))
    more, less = torch.maximum(P, N), torch.minimum(P, N)
    gap = more + torch.log1p(-(less - more).exp())
    surplus, deficit = gap.masked_fill(P < N, -math.inf), gap.masked_fill(P > N, -math.inf)

    # The quantile of a mixture is between those of its components.
    lower = (w + torch.special.log_ndtr(zeta)).logsumexp(-1)
    upper = (w + torch.special.log_ndtr(-zeta)).logsumexp(-1)
    tail = torch.minimum(lower, upper)
    q = torch.where(tail > -600, torch.special.ndtri(tail.exp()), -(-2 * tail).sqrt())
    q = torch.where(lower < upper, q, -q)[:, None]
    wide = 0.01 * (1 + q.abs())  # more than rounding, and than the error of the root
    _, sigma = standard(x_t, s)
    centre = (1 - s[:, None]) * mu
    low = (centre + sigma * (q - wide)).amin(-1)
    high = (centre + sigma * (q + wide)).amax(-1)
    # Where each component's own flow would go, weighed by how likely it is the component.
    r = (w - zeta.square() / 2 - sigma_t.log()).softmax(-1)
    x = (r * (centre + sigma * zeta)).sum(-1).clamp(low, high)

    # Newton's method in a bracket, halving where it is slow; points leave as they are done.
    found, todo, before = x.clone(), torch.arange(len(x)), high - low
    for _ in range(200):
        zeta, sigma = standard(x, s)
        P, N = both(w + torch.special.log_ndtr(sign * zeta))
        P, N = torch.logaddexp(P, deficit), torch.logaddexp(N, surplus)
        rest = w - zeta.square() / 2 - (math.sqrt(2 * math.pi) * sigma).log()
        slope = (rest - torch.where(right, P[:, None], N[:, None])).exp().sum(-1)
        low, high = torch.where(P < N, x, low), torch.where(P > N, x, high)
        step = (N - P) / slope
        near = step.abs() <= 1e-9 * sigma.amin(-1)  # the next step would be below rounding
        slow = ~near & (2 * step.abs() > before)
        slow |= ~((x + step >= low) & (x + step <= high))  # also where the slope is 0
        new = torch.where(slow, (low + high) / 2, x + step)
        before = (new - x).abs()
        found[todo] = new
        keep = torch.where(slow, before > 2 * EPS * (x.abs() + sigma.amin(-1)), ~near)
        if not keep.any():
            break
        todo, x, before, s, low, high = (v[keep] for v in (todo, new, before, s, low, high))
        sign, right, surplus, deficit = (v[keep] for v in (sign, right, surplus, deficit))
    return found


# --- several components in two or more dimensions: steps ----------------------------------------


def _of_steps(mixture, x_t, t, s) -> Float[Tensor, "batch dim"]:
    """The flow by the midpoint rule with 2, 4, 6, 8 substeps, extrapolated to none (Gragg, Bulirsch
    and Stoer; Hairer, Nørsett and Wanner 1993, II.9).

    Every point chooses its own steps, small where its path parts from others, until orders 6 and 8
    agree: so it ends in the same place whatever else is in the batch.
    """
    x_s, todo = x_t, torch.arange(len(x_t))
    x, level, end = x_t, t[:, None], s[:, None]
    share = torch.full_like(level, 0.1).detach()  # of the way that is left
    for _ in range(MOST_STEPS):
        after = torch.where(share < 1, level + share * (end - level), end)
        new, off = _extrapolated(mixture.velocity, x, level, after)
        off = off / (TOLERANCE * (1 + new.detach().norm(dim=-1, keepdim=True)))
        good = off <= 1
        x, level = torch.where(good, new, x), torch.where(good, after, level)
        arrived = (good & (share >= 1))[:, 0]
        x_s = x_s.index_put((todo[arrived],), x[arrived])
        # What is left becomes smaller by a step that was good. Its error is of order 7.
        left = torch.where(good, 1 - share, 1.0)
        share = share * (0.9 * off.clamp(min=1e-12) ** (-1 / 7)).clamp(0.2, 5) / left
        share = share.clamp(max=1)
        if arrived.all():
            return x_s
        todo, x, level, end, share = (v[~arrived] for v in (todo, x, level, end, share))
    raise RuntimeError(f"the flow cannot be followed in {MOST_STEPS} steps")


def _extrapolated(velocity: Callable, x, t, s) -> tuple[Tensor, Float[Tensor, "batch 1"]]:
    """One step from t to s, of order 8, and how far it is from the two of order 6."""
    first, table = velocity(x, t[:, 0]), []
    for n in SUBSTEPS:
        h = (s - t) / n
        before, here = x, x + h * first
        for i in range(1, n):
            before, here = here, before + 2 * h * velocity(here, (t + i * h)[:, 0])
        row = [(before + here + h * velocity(here, s[:, 0])) / 2]
        for j, (coarse, m) in enumerate(zip(table, reversed(SUBSTEPS[: len(table)]), strict=True)):
            row.append(row[j] + (row[j] - coarse) / ((n / m) ** 2 - 1))
        last, table = table, row
    best = table[-1].detach()
    off = [(best - other.detach()).norm(dim=-1, keepdim=True) for other in (table[-2], last[-1])]
    return table[-1], torch.maximum(*off)
