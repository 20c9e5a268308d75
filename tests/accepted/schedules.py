"""Right answers to chapter 06 written another way."""

import math

import torch
from torch.nn import functional as F

from cs231n_gen.checking.variants import accepted
from cs231n_gen.schedules import logit_normal, optimal_velocity, resolution_alpha, shift


def refuse(wrong, says):
    if wrong:
        raise ValueError(says)


def no_deviation(t_or_n, m=0.0, s=1.0, generator=None):
    logit_normal(0, m, s)


def no_pairs(x, z, levels, data):
    refuse(x.shape != z.shape, "x and z must be of one shape")
    refuse(levels.dim() != 1, "levels must be one-dimensional")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "schedules.optimal_velocity": optimal_velocity,
    "schedules.loss_floor": no_pairs,
    "schedules.logit_normal": no_deviation,
    "schedules.logit_normal_density": no_deviation,
    "schedules.shift": shift,
    "schedules.resolution_alpha": resolution_alpha,
}


@accepted("schedules.optimal_velocity")
def by_all_differences(x_t, t, data):
    level = t.view(-1, *[1] * (x_t.ndim - 1))
    apart = x_t[:, None] - (1 - level)[:, None] * data  # (batch, examples, *shape)
    nearness = -apart.flatten(2).pow(2).sum(2) / (2 * t.clamp(min=1e-6)[:, None] ** 2)
    p = F.softmax(nearness, dim=1)
    x = torch.tensordot(p, data, dims=1)
    z = (x_t - (1 - level) * x) / level.clamp(min=1e-6)
    return torch.where(level == 0, -x_t, z - x)


@accepted("schedules.optimal_velocity")
def example_by_example(x_t, t, data):
    answers = []
    for one, level in zip(x_t, t.tolist(), strict=True):
        if level == 0:
            answers.append(-one)
            continue
        z = (one - (1 - level) * data) / level  # the noise that each datum would need
        log_p = -0.5 * z.flatten(1).square().sum(1)
        p = (log_p - log_p.max()).exp()
        p = (p / p.sum()).reshape(-1, *[1] * one.dim())
        answers.append((p * (z - data)).sum(0))
    return torch.stack(answers)


@accepted("schedules.optimal_velocity")
def by_logsumexp(x_t, t, data):
    rows, members, s = x_t.flatten(1), data.flatten(1), t.clamp_min(1e-9)[:, None]
    log_p = torch.stack([-(rows - (1 - s) * m).square().sum(1) / 2 for m in members], dim=1) / s**2
    p = torch.exp(log_p - log_p.logsumexp(1, keepdim=True))
    v = (rows - p @ members) / s
    return torch.where(t[:, None] > 0, v, -rows).view_as(x_t)


@accepted("schedules.loss_floor")
def all_levels_at_once(x, z, levels, data):
    n, L = len(x), len(levels)
    t = levels.repeat_interleave(n)
    x, z = (v.repeat(L, *[1] * (v.dim() - 1)) for v in (x, z))
    column = t.reshape(-1, *[1] * (x.dim() - 1))
    best = optimal_velocity((1 - column) * x + column * z, t, data)
    return F.mse_loss(best, z - x, reduction="none").reshape(L, -1).mean(1)


@accepted("schedules.loss_floor")
def filled_in(x, z, levels, data):
    floor = torch.zeros(len(levels), dtype=x.dtype)
    for k, t in enumerate(levels.tolist()):
        t = torch.full((len(x),), t, dtype=x.dtype)
        x_t = torch.lerp(x, z, t.view(-1, *[1] * (x.dim() - 1)))
        floor[k] = ((optimal_velocity(x_t, t, data) - (z - x)) ** 2).mean()
    return floor


@accepted("schedules.logit_normal")
def in_place(n, m=0.0, s=1.0, generator=None):
    return torch.empty(n).normal_(m, s, generator=generator).sigmoid()


@accepted("schedules.logit_normal")
def by_inverse_distribution(n, m=0.0, s=1.0, generator=None):
    u = torch.rand(n, generator=generator, dtype=torch.float64).clamp_min(1e-12)
    return 1 / (1 + torch.exp(-(m + s * torch.special.ndtri(u))))


@accepted("schedules.logit_normal")
def by_softmax(n, m=0.0, s=1.0, generator=None):
    logit = m + s * torch.randn(n, generator=generator)
    return torch.stack([logit, torch.zeros(n)], dim=1).softmax(1)[:, 0]


@accepted("schedules.logit_normal_density")
def by_logarithms(t, m=0.0, s=1.0):
    inside = (t > 0) & (t < 1)
    u = torch.where(inside, t, 0.5)
    log_p = -((torch.logit(u) - m) ** 2) / (2 * s**2) - math.log(s) - math.log(2 * math.pi) / 2
    return torch.where(inside, (log_p - u.log() - torch.log1p(-u)).exp(), 0.0)


@accepted("schedules.logit_normal_density")
def nan_to_num(t, m=0.0, s=1.0):
    u = torch.log(t) - torch.log1p(-t)
    normal = torch.distributions.Normal(m, s, validate_args=False)
    return torch.nan_to_num(torch.exp(normal.log_prob(u)) / t / (1 - t), nan=0.0)


@accepted("schedules.shift")
def by_odds(t, alpha):
    return alpha * t / ((1 - t) + alpha * t)


@accepted("schedules.shift")
def by_logits(t, alpha):
    return torch.sigmoid(torch.logit(t) + math.log(alpha))


@accepted("schedules.shift")
def by_share_of_data(t, alpha):
    return 1 - (1 - t) / (1 + (alpha - 1) * t)


@accepted("schedules.resolution_alpha")
def ratio_of_sides(m, n):
    return math.sqrt(m) / math.sqrt(n)


@accepted("schedules.resolution_alpha")
def as_a_tensor(m, n):
    return torch.tensor(m / n, dtype=torch.float64).sqrt()


@accepted("schedules.resolution_alpha")
def by_power(m, n):
    return (m / n) ** 0.5


@accepted("schedules.optimal_velocity")
def by_distances(x_t, t, data):
    rows, members = x_t.flatten(1).double(), data.flatten(1).double()
    s = torch.where(t > 0, t, 1).double()[:, None]
    far = torch.stack([torch.linalg.vector_norm(rows - (1 - s) * m, dim=1) for m in members], 1)
    x = torch.einsum("be,ed->bd", torch.softmax(-0.5 * (far / s) ** 2, dim=-1), members)
    v = torch.where(t[:, None] > 0, (rows - x) / s, -rows)
    return v.view_as(x_t).to(x_t.dtype)


@accepted("schedules.loss_floor")
def by_what_is_missed_of_x(x, z, levels, data):
    floor = []
    for t in levels.unbind():
        x_t = z - (1 - t) * (z - x)
        miss = optimal_velocity(x_t, t.repeat(len(x)), data).sub(z - x)
        floor.append(float(torch.linalg.vector_norm(miss)) ** 2 / miss.numel())
    return torch.tensor(floor, dtype=x.dtype)


@accepted("schedules.logit_normal")
def by_half_of_tanh(n, m=0.0, s=1.0, generator=None):
    logit = torch.normal(float(m), float(s), (n,), generator=generator, dtype=torch.float64)
    return torch.exp(-torch.nn.functional.softplus(-logit))


@accepted("schedules.logit_normal_density")
def normal_times_slope(t, m=0.0, s=1.0):
    ends = (t <= 0) | (t >= 1)
    u = t.masked_fill(ends, 0.5)
    p = torch.special.log_softmax(torch.stack([u.log(), torch.log1p(-u)]), 0)
    p = torch.exp(-0.5 * ((p[0] - p[1] - m) / s).square()) / math.sqrt(2 * math.pi)
    return (p / s / u / (1 - u)).masked_fill(ends, 0)


@accepted("schedules.shift")
def one_over_the_odds(t, alpha):
    return t / (t + (1 - t) / alpha)


@accepted("schedules.shift")
def by_a_clone(t, alpha):
    new = t.clone()
    new *= alpha
    return new.div_(1 + (alpha - 1) * t)
