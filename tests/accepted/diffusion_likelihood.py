"""Right answers to chapter 07's likelihoods written another way."""

import math
from itertools import pairwise

import torch
from torch.distributions import Normal

from cs231n_gen.checking.variants import accepted
from cs231n_gen.diffusion import column, noise, ode_velocity, to_x_and_noise
from cs231n_gen.diffusion_likelihood import runge_kutta
from cs231n_gen.diffusion_samplers import falling


def refuse(wrong, says):
    if wrong:
        raise ValueError(says)


def no_bound(model, x, z, times, process, target):
    times = falling(times)
    refuse(z.shape != (len(times), *x.shape), "z must be T + 1 draws shaped like x")
    last = torch.tensor(times[-1:], dtype=x.dtype)
    refuse(not bool(process.b(last) > 0), "b(t) must not be 0 at the last level")


def no_walk(model, x, times, process, target, probes=0, generator=None):
    falling(times)
    refuse(probes != 0 and not probes >= 2, "probes must be 0 or at least 2")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "diffusion_likelihood.elbo_terms": no_bound,
    "diffusion_likelihood.log_likelihood": no_walk,
}

BOUND = "diffusion_likelihood.elbo_terms"
EXACT = "diffusion_likelihood.log_likelihood"


# --- diffusion_likelihood.elbo_terms ------------------------------------------------------------


@accepted(BOUND)
def by_divergences_of_gaussians(model, x, z, times, process, target):
    """Each step is KL(q(x_s | x_t, x) ‖ q(x_s | x_t, x̂)), two Gaussians with one variance."""
    levels, kl = torch.as_tensor([float(t) for t in times], dtype=x.dtype), []
    for t, s, z_t in zip(levels[:-1], levels[1:], z[:-1], strict=True):
        a_t, b_t, a_s, b_s = process.a(t), process.b(t), process.a(s), process.b(s)
        x_t, level = a_t * x + b_t * z_t, t.repeat(len(x))
        x_hat = to_x_and_noise(model(x_t, level), x_t, level, process, target)[0]
        between = b_t**2 - (a_t / a_s * b_s) ** 2  # the variance of x_t given x_s
        off = a_s * between / b_t**2 * (x - x_hat)
        variance = between * (b_s / b_t) ** 2
        kl.append((off**2 / (2 * variance)).reshape(len(x), -1).sum(-1))
    a, b = process.a(levels), process.b(levels)
    first = (a[0] * x).div(b[0]).reshape(len(x), -1).pow(2).sum(-1) / 2
    x_T = a[-1] * x + b[-1] * z[-1]
    last = -Normal(x_T / a[-1], b[-1] / a[-1]).log_prob(x)
    return first, torch.stack(kl), last.reshape(len(x), -1).sum(-1)


@accepted(BOUND)
def with_einsum(model, x, z, times, process, target):
    n, x_hats = len(x), []
    t = torch.tensor([[float(t)] * n for t in times], dtype=x.dtype)
    snr = (process.a(t) ** 2 / process.b(t) ** 2)[:, 0]
    for i in range(len(t) - 1):
        x_t = noise(x, z[i], t[i], process, target)[0]
        x_hats.append(to_x_and_noise(model(x_t, t[i]), x_t, t[i], process, target)[0])
    off = (x - torch.stack(x_hats)).reshape(len(t) - 1, n, -1)
    steps = 0.5 * torch.einsum("t,tnd,tnd->tn", snr.diff(), off, off)
    flat, rest = x.reshape(n, -1), z[-1].reshape(n, -1)
    prior = 0.5 * snr[0] * torch.einsum("nd,nd->n", flat, flat)
    nats = flat.shape[1] * (math.log(2 * math.pi) - snr[-1].log())
    return prior, steps, 0.5 * (nats + torch.einsum("nd,nd->n", rest, rest))


@accepted(BOUND)
def from_the_last_level_up(model, x, z, times, process, target):
    """Backwards, with SNRs in float64, and an example's terms one by one."""

    def snr(t):
        t = torch.tensor(float(t), dtype=torch.float64)
        return float((process.a(t) / process.b(t)) ** 2)

    rows = []
    for i in reversed(range(len(times) - 1)):
        t = torch.full((len(x),), float(times[i]), dtype=x.dtype)
        a, b, c, d = (column(f(t), x) for f in (process.a, process.b, target.c, target.d))
        x_t = a * x + b * z[i]
        y = model(x_t, t)
        if bool((a * d == b * c).any()):
            raise ValueError("the target says nothing of x here")
        missed = x - (d * x_t - b * y) / (a * d - b * c)
        weight = 0.5 * (snr(times[i + 1]) - snr(times[i]))
        rows.insert(0, torch.stack([weight * one.square().sum() for one in missed]))
    prior = [0.5 * snr(times[0]) * float(one.square().sum()) for one in x]
    log_variance = math.log(2 * math.pi) - math.log(snr(times[-1]))
    rest = [float(one.square().sum() + one.numel() * log_variance) / 2 for one in z[-1]]
    return torch.tensor(prior, dtype=x.dtype), torch.stack(rows), torch.tensor(rest, dtype=x.dtype)


# --- diffusion_likelihood.log_likelihood --------------------------------------------------------


def log_noise(x, times, process):
    """log N(x; 0, b(t_0)² I)."""
    b = process.b(torch.tensor(float(times[0]), dtype=x.dtype))
    return Normal(torch.zeros_like(x), b).log_prob(x).reshape(len(x), -1).sum(1)


def upwards(times):
    return pairwise(sorted(float(t) for t in times))


def velocity_at(model, t, process, target):
    """v as a function of x_t alone."""

    def v(x_t):
        level = x_t.new_full(x_t.shape[:1], t)
        return ode_velocity(model(x_t, level), x_t, level, process, target)

    return v


def signs(shape, x, generator):
    coins = torch.rand(shape, generator=generator, dtype=x.dtype)
    return torch.where(coins < 0.5, -torch.ones_like(coins), torch.ones_like(coins))


@accepted(EXACT)
def with_all_probes_in_one_batch(model, x, times, process, target, probes=0, generator=None):
    n, D = len(x), x[0].numel()
    if probes:
        e = signs((probes, n, *x.shape[1:]), x, generator)
    else:
        e = (
            torch.eye(D, dtype=x.dtype)
            .reshape(D, 1, *x.shape[1:])
            .repeat(1, n, *[1] * (x.dim() - 1))
        )
    e = e.reshape(-1, *x.shape[1:])

    @torch.enable_grad()
    def slope(many, t):
        many = many.detach().clone().requires_grad_(True)
        v = velocity_at(model, t, process, target)(many)
        (back,) = torch.autograd.grad((v * e).sum(), many)
        return v.detach(), (back * e).flatten(1).sum(1) if e.dim() > 1 else back * e

    many = x.detach().repeat(len(e) // n, *[1] * (x.dim() - 1))
    found = torch.zeros(len(e), dtype=x.dtype)
    for t, t_next in upwards(times):
        many, found = runge_kutta(slope, many, found, t, t_next)
    found, end = found.reshape(-1, n), log_noise(many[:n], times, process)
    if probes == 0:
        return end + found.sum(0), torch.zeros_like(end)
    apart = found - found.mean(0)
    error = (apart.square().sum(0) / (probes * (probes - 1))).sqrt()
    return end + found.mean(0), error


@accepted(EXACT)
def with_jacobians_and_vjp(model, x, times, process, target, probes=0, generator=None):
    n = len(x)
    e = [signs(x.shape, x, generator) for _ in range(probes)]

    def slope(x_t, t):
        v = velocity_at(model, t, process, target)
        with torch.enable_grad():
            if not probes:
                J = torch.autograd.functional.jacobian(lambda x: v(x).sum(0), x_t)
                J = J.reshape(x_t[0].numel(), n, -1)
                return v(x_t).detach(), torch.einsum("dnd->n", J)[None]
            here, back = torch.func.vjp(v, x_t)
            rates = [(back(one)[0] * one).reshape(n, -1).sum(1) for one in e]
        return here.detach(), torch.stack(rates).detach()

    x_t, integral = x.detach().clone(), x.new_zeros(max(1, probes), n)
    for t, t_next in upwards(times):
        x_t, integral = runge_kutta(slope, x_t, integral, t, t_next)
    log_p = log_noise(x_t, times, process) + integral.mean(0)
    error = integral.std(0) / math.sqrt(probes) if probes else torch.zeros_like(log_p)
    return log_p.detach(), error.detach()


@accepted(EXACT)
def with_jvp_and_own_steps(model, x, times, process, target, probes=0, generator=None):
    """Forward derivatives; the four stages written out."""
    D = x[0].numel()
    if probes:
        e = [signs(x.shape, x, generator) for _ in range(probes)]
    else:
        units = torch.eye(D, dtype=x.dtype).reshape(D, *x.shape[1:])
        e = [unit.expand_as(x).clone() for unit in units]

    def slope(x_t, t):
        v = velocity_at(model, t, process, target)
        pairs = [torch.func.jvp(v, (x_t,), (one,)) for one in e]
        rates = [
            (one * J_e).reshape(len(x), -1).sum(1) for one, (_, J_e) in zip(e, pairs, strict=True)
        ]
        return pairs[0][0].detach(), torch.stack(rates).detach()

    x_t, total = x.detach(), 0.0
    for t, t_next in upwards(times):
        h, stages, at = t_next - t, [], x_t
        for weight, share in ((1, 0.5), (2, 0.5), (2, 1.0), (1, 0.0)):
            level = t if not stages else t_next if share == 0.0 else (t + t_next) / 2
            v, rate = slope(at, level)
            stages.append((weight / 6 * v, weight / 6 * rate))
            at = x_t + h * share * v
        x_t = x_t + h * sum(v for v, _ in stages)
        total = total + h * sum(rate for _, rate in stages)
    end = log_noise(x_t, times, process)
    if not probes:
        return end + total.sum(0), 0 * end
    each = end + total
    return each.mean(0), each.std(0, unbiased=True) * probes**-0.5


@accepted(EXACT)
def one_example_at_a_time(model, x, times, process, target, probes=0, generator=None):
    args = times, process, target, probes, generator
    found = [with_all_probes_in_one_batch(model, one, *args) for one in x.split(1)]
    log_p, error = (torch.cat(parts) for parts in zip(*found, strict=True))
    return log_p, error
