"""Right answers to chapter 07's samplers written another way."""

import torch

from cs231n_gen.checking.variants import accepted
from cs231n_gen.diffusion import column, ode_velocity, score, to_x_and_noise

DDIM, SDE = "diffusion_samplers.ddim_step", "diffusion_samplers.reverse_sde_step"


def refuse(wrong, says):
    if wrong:
        raise ValueError(says)


def refuse_step(x_t, t, s):
    refuse(t.ndim != 1 or t.shape != s.shape or len(t) != len(x_t), "one t and s for each example")
    refuse(not (s < t).all(), "s must be below t")


def shaped(value, x):
    """(batch,) to (batch, 1, …, 1), by one axis after another."""
    while value.dim() < x.dim():
        value = value.unsqueeze(-1)
    return value


@accepted(DDIM)
def mean_of_the_posterior(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    """x_t and x̂ in place of ẑ, by c = √(b_s² − σ²) / b_t."""
    refuse_step(x_t, t, s)
    refuse(not 0 <= eta <= 1, "no such η")
    x, _ = to_x_and_noise(prediction, x_t, t, process, target)
    a_t, b_t, a_s, b_s = (
        shaped(v, x_t) for v in (process.a(t), process.b(t), process.a(s), process.b(s))
    )
    ratio = a_t * b_s / (a_s * b_t)
    variance = eta**2 * b_s**2 * (1 - ratio**2).relu()
    c = (b_s**2 - variance).relu().sqrt() / b_t
    x_s = c * x_t + (a_s - c * a_t) * x
    if eta > 0:
        x_s = x_s + variance.sqrt() * torch.empty_like(x_t).normal_(generator=generator).detach()
    return x_s


@accepted(DDIM)
def by_normal(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    """torch.normal draws around a mean; the equations are solved here."""
    refuse_step(x_t, t, s)
    refuse(not (eta >= 0 and eta <= 1), "no such η")
    refuse(prediction.shape != x_t.shape, "the prediction must be shaped like x_t")
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    refuse((a * d == b * c).any(), "x and z do not follow")
    shape = [len(t)] + [1] * (x_t.ndim - 1)
    system = torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2)
    both = torch.linalg.solve(
        system,
        torch.stack(
            [x_t.flatten(1) if x_t.ndim > 1 else x_t[:, None], prediction.reshape(len(t), -1)], 1
        ),
    )
    x, z = (v.reshape(x_t.shape) for v in both.unbind(1))
    a_s, b_s = process.a(s), process.b(s)
    sigma = eta * b_s * (1 - (a * b_s / (a_s * b)).square()).clamp_min(0).sqrt()
    of_z = (b_s - sigma).clamp_min(0).sqrt() * (b_s + sigma).sqrt()
    mean = a_s.view(shape) * x + of_z.view(shape) * z
    if not eta:
        return mean
    noise = torch.normal(torch.zeros_like(mean.detach()), 1.0, generator=generator)
    return mean + sigma.view(shape) * noise


@accepted(DDIM)
def example_by_example(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    refuse_step(x_t, t, s)
    refuse(not 0 <= eta <= 1, "no such η")
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    rows = []
    for i in range(len(t)):
        a_t, b_t, a_s, b_s = (
            float(v) for v in (process.a(t)[i], process.b(t)[i], process.a(s)[i], process.b(s)[i])
        )
        variance = eta**2 * b_s**2 / b_t**2 * max(0.0, b_t**2 - (a_t / a_s * b_s) ** 2)
        row = a_s * x[i] + max(0.0, b_s**2 - variance) ** 0.5 * z[i]
        if variance > 0:
            noise = torch.randn(x[i].numel(), generator=generator, dtype=x.dtype)
            row = row + variance**0.5 * noise.reshape(x[i].shape)
        rows.append(row)
    return torch.stack(rows)


@accepted(DDIM)
def noise_in_float64(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    refuse_step(x_t, t, s)
    refuse(not 0 <= eta <= 1, "no such η")
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    levels = (process.a(t), process.b(t), process.a(s), process.b(s))
    a_t, b_t, a_s, b_s = (column(v, x_t).double() for v in levels)
    passed = 1 - ((a_t * b_s) / (a_s * b_t)) ** 2  # the share of the variance that is new
    passed = torch.maximum(passed, torch.zeros_like(passed))
    z = (1 - eta**2 * passed).sqrt() * z
    if eta != 0:
        noise = torch.randn(x_t.shape, generator=generator, dtype=torch.float64)
        z = z - eta * passed.sqrt() * noise
    return (a_s * x + b_s * z).to(x_t.dtype)


@accepted(DDIM)
def by_angles(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    """x̂ and ẑ by an angle, and noise by Box and Muller, along another order of the axes."""
    refuse_step(x_t, t, s)
    refuse(not 0 <= eta <= 1, "no such η")
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    a_t, b_t, a_s, b_s = (
        shaped(v, x_t) for v in (process.a(t), process.b(t), process.a(s), process.b(s))
    )
    angle, length = torch.atan2(b_s, a_s), torch.hypot(a_s, b_s)
    if not eta:
        return length * (angle.cos() * x + angle.sin() * z)
    u = torch.rand(2, *x_t.shape[::-1], generator=generator, dtype=torch.float64)
    noise = (-2 * torch.log1p(-u[0])).sqrt() * (2 * torch.pi * u[1]).cos()
    noise = noise.permute(*range(noise.dim() - 1, -1, -1)).to(x_t.dtype)
    new = eta**2 * b_s**2 * (1 - (a_t * b_s / (a_s * b_t)) ** 2).clamp(min=0)
    return a_s * x + (b_s**2 - new).clamp(min=0).sqrt() * z + new.sqrt() * noise


@accepted(SDE)
def drawn_where_it_is_needed(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    """Noise is drawn only for the examples that get some."""
    refuse_step(x_t, t, s)
    refuse(not churn >= 0, "no such χ")
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    a, b, da, db = process.a(t), process.b(t), process.da(t), process.db(t)
    inside = (a > 0) & (churn > 0)
    k = churn * (db - da * b / a.where(inside, torch.ones_like(a))) * inside
    h = t - s
    x_s = (
        x_t
        - torch.einsum("b,b...->b...", h * da, x)
        - torch.einsum("b,b...->b...", h * (db + k), z)
    )
    if inside.any():
        noise = torch.randn(int(inside.sum()), *x_t.shape[1:], generator=generator, dtype=x_t.dtype)
        size = (2 * b * k * h)[inside].sqrt()
        x_s = x_s.index_add(0, inside.nonzero()[:, 0], torch.einsum("b,b...->b...", size, noise))
    return x_s


@accepted(SDE)
def by_the_score(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    """The first formula, with a step of the ODE where a = 0."""
    refuse_step(x_t, t, s)
    refuse(not churn >= 0, "no such χ")
    a, b = process.a(t), process.b(t)
    f = process.da(t) / a
    g2 = 2 * b * process.db(t) - 2 * f * b**2
    h = column(t - s, x_t)
    euler = x_t - h * ode_velocity(prediction, x_t, t, process, target)
    if churn == 0:
        return euler
    drift = column(f, x_t) * x_t - 0.5 * (1 + churn) * column(g2, x_t) * score(
        prediction, x_t, t, process, target
    )
    noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype)
    found = x_t - h * drift + (churn * column(g2, x_t) * h) ** 0.5 * noise
    return torch.where(column(a == 0, x_t), euler, found)


@accepted(SDE)
def langevin_on_the_ode(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    """A step of the ODE and one of Langevin dynamics of length ½ χ g² h."""
    refuse_step(x_t, t, s)
    refuse(not churn >= 0, "no such χ")
    a, b, da, db = process.a(t), process.b(t), process.da(t), process.db(t)
    length = torch.zeros_like(t)
    inside = a > 0
    slope = (db[inside] * a[inside] - da[inside] * b[inside]) / a[inside]  # a (b / a)′
    length[inside] = churn * b[inside] * slope * (t - s)[inside]
    x_s = x_t - column(t - s, x_t) * ode_velocity(prediction, x_t, t, process, target)
    if churn:
        x_s = x_s + column(length, x_t) * score(prediction, x_t, t, process, target)
        x_s = x_s + column(2 * length, x_t).sqrt() * torch.zeros_like(x_t).normal_(
            generator=generator
        )
    return x_s


@accepted(SDE)
def sde_example_by_example(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    refuse_step(x_t, t, s)
    refuse(not churn >= 0, "no such χ")
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    rows = []
    for i in range(len(t)):
        a, b, da, db = (float(f(t)[i]) for f in (process.a, process.b, process.da, process.db))
        h = float(t[i] - s[i])
        g2 = 0.0 if a == 0 else 2 * b * db - 2 * da / a * b * b
        row = x_t[i] - h * (da * x[i] + db * z[i]) - h * churn * g2 / (2 * b) * z[i]
        if churn * g2 > 0:
            noise = torch.randn(x[i].shape, generator=generator, dtype=x.dtype)
            row = row + (churn * g2 * h) ** 0.5 * noise
        rows.append(row)
    return torch.stack(rows)


@accepted(SDE)
def by_the_ratio(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    """g² = a² (b² / a²)′, in float64."""
    refuse_step(x_t, t, s)
    refuse(not churn >= 0, "no such χ")
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    a, b, da, db, h = (
        shaped(v, x_t).double()
        for v in (process.a(t), process.b(t), process.da(t), process.db(t), t - s)
    )
    g2 = 2 * b * (a * db - b * da) / a.masked_fill(a == 0, torch.inf)
    x_s = x_t - h * (da * x + db * z + churn / 2 * g2 / b * z)
    if churn != 0:
        noise = torch.normal(0.0, 1.0, x_t.shape, generator=generator, dtype=torch.float64)
        x_s = x_s + (churn * g2 * h).sqrt() * noise
    return x_s.to(x_t.dtype)
