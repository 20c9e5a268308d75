"""The density that a diffusion gives to data (slides 116–118): by a variational bound, and exactly.

As a latent-variable model it has an ELBO, a sum over levels; as an ODE it is a change of variables,
whose log-density follows from the divergence of its velocity. Everything is in nats.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.diffusion import Process, Target, noise, ode_velocity, to_x_and_noise
from cs231n_gen.diffusion_samplers import Levels, falling
from cs231n_gen.flow import Model


def elbo_terms(
    model: Model,
    x: Float[Tensor, "batch *shape"],
    z: Float[Tensor, "terms batch *shape"],
    times: Levels,
    process: Process,
    target: Target,
) -> tuple[Float[Tensor, "batch"], Float[Tensor, "steps batch"], Float[Tensor, "batch"]]:
    """The terms of the variational bound, of which −log p(x) is at most the mean sum (slide 116).

    Latent variables are the noisy samples at the levels t_0 > … > t_T. With SNR = a² / b², the
    generative model p(x_{t_0}) = N(0, b² I), ancestral steps, and p(x | x_{t_T}) = N(x_{t_T} / a,
    (b / a)² I) (Sohl-Dickstein et al. 2015; Kingma et al. 2021, eqs. 11–15):

        prior:           ½ SNR(t_0) ‖x‖²
        step i:          ½ (SNR(t_{i+1}) − SNR(t_i)) ‖x − x̂(x_{t_i}, t_i)‖²,   i = 0, …, T − 1
        reconstruction:  ½ D log(2π / SNR(t_T)) + ½ ‖z_T‖²

    where x_{t_i} = a x + b z_i and D is the number of dimensions of an example.

    Args:
        model: called once for each of t_0, …, t_{T−1} on the whole batch, as `model(x_t, t)` with
            that level for each example.
        x: data.
        z: noise z_0, …, z_T: T + 1 draws, each shaped like x.
        times: the T + 1 levels, falling within [0, 1]. The last one must leave some noise.
        process, target: what the model was trained for.
    Returns:
        `(prior, steps, reconstruction)` in nats, in the precision of x: for each example, and
        `steps` with a row for each i. Gradients flow into the model.
    Raises:
        ValueError: if times do not fall within [0, 1], z is not T + 1 draws shaped like x, or
            b(t_T) = 0; and as `diffusion.to_x_and_noise`.
    """
    times = falling(times)
    if z.shape != (len(times), *x.shape):
        raise ValueError(
            f"z must be {(len(times), *x.shape)} for {len(times)} levels, got {tuple(z.shape)}"
        )
    levels = torch.tensor(times, dtype=x.dtype, device=x.device)
    if not bool(process.b(levels[-1:]) > 0):
        raise ValueError(f"b(t) must not be 0 at the last level, got t = {times[-1]}")
    ### BEGIN SOLUTION
    snr = (process.a(levels) / process.b(levels)) ** 2
    prior = snr[0] / 2 * _squared(x)
    steps = []
    for i, t in enumerate(levels[:-1]):
        t = t.expand(len(x))
        x_t, _ = noise(x, z[i], t, process, target)
        x_hat, _ = to_x_and_noise(model(x_t, t), x_t, t, process, target)
        steps.append((snr[i + 1] - snr[i]) / 2 * _squared(x - x_hat))
    D = x[0].numel()
    reconstruction = D / 2 * (2 * torch.pi / snr[-1]).log() + _squared(z[-1]) / 2
    return prior, torch.stack(steps), reconstruction
    ### END SOLUTION


def log_likelihood(
    model: Model,
    x: Float[Tensor, "batch *shape"],
    times: Levels,
    process: Process,
    target: Target,
    probes: int = 0,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]:
    """log p(x) by the change of variables along the ODE (slide 118; Chen et al. 2018).

        log p_{t_T}(x) = log N(x_{t_0}; 0, b(t_0)² I) + ∫ div v(x_t, t) dt   from t_T to t_0,
        dx_t/dt = v(x_t, t),   div v = Σ_i ∂v_i / ∂x_i

    x_t and the integral are carried from the last level up to the first, a step of `runge_kutta`
    (given) for each gap. The divergence is exact, by one gradient for each dimension, or
    Hutchinson's estimate eᵀ (∂v/∂x) e with every e_i = ±1 at random, one e for the whole way of an
    example: then there are n = `probes` independent estimates for each example, of which the mean
    is returned (Grathwohl et al. 2019).

    Args:
        model: `model(x_t, t)`, t a level for each example; its answer for an example must depend
            on no other one.
        x: data, at the last level: of the noised density, if that is above 0.
        times: levels, falling within [0, 1], at which the velocity is finite.
        process, target: what the model was trained for.
        probes: n, 0 for the exact divergence, else at least 2.
        generator: for e.
    Returns:
        `(log_p, error)` in nats for each example, in the precision of x and without a graph. The
        error is the standard error of the mean over probes, √(Σ (estimate − mean)² / (n (n − 1))),
        and 0 if the divergence is exact; that of the steps is not in it.
    Raises:
        ValueError: if times do not fall within [0, 1], or probes is neither 0 nor at least 2; and
            as `diffusion.to_x_and_noise`.
    """
    times = falling(times)
    if probes != 0 and not probes >= 2:
        raise ValueError(f"probes must be 0 (exact) or at least 2, got {probes}")
    ### BEGIN SOLUTION
    if probes:
        shape = (probes, *x.shape)
        e = 2 * torch.randint(0, 2, shape, generator=generator, device=x.device).to(x.dtype) - 1
    else:
        D = x[0].numel()
        unit = torch.eye(D, dtype=x.dtype, device=x.device).reshape(D, 1, *x.shape[1:])
        e = unit.expand(D, *x.shape)

    def slope(x_t, t):
        """The velocity, and eᵀ (∂v/∂x) e for every e."""
        t = torch.full((len(x_t),), t, dtype=x_t.dtype, device=x_t.device)
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            v = ode_velocity(model(x_t, t), x_t, t, process, target)
            along = [torch.autograd.grad(v, x_t, one, retain_graph=True)[0] * one for one in e]
        rates = torch.stack(along).reshape(*e.shape[:2], -1).sum(2)  # (probes, batch)
        return v.detach(), rates

    x_t, integral = x.detach(), torch.zeros(e.shape[:2], dtype=x.dtype, device=x.device)
    for t, t_next in zip(times[:0:-1], times[-2::-1], strict=True):
        x_t, integral = runge_kutta(slope, x_t, integral, t, t_next)
    b = process.b(torch.full((len(x),), times[0], dtype=x.dtype, device=x.device))
    D = x[0].numel()
    log_prior = -D / 2 * (2 * torch.pi * b**2).log() - _squared(x_t) / (2 * b**2)
    if not probes:
        return log_prior + integral.sum(0), torch.zeros_like(log_prior)
    return log_prior + integral.mean(0), integral.std(0) / probes**0.5
    ### END SOLUTION


Slope = Callable[[Tensor, float], tuple[Tensor, Tensor]]


def runge_kutta(
    slope: Slope, x: Tensor, integral: Tensor, t: float, t_next: float
) -> tuple[Tensor, Tensor]:
    """A step of the classical Runge–Kutta method (order 4) for x and an integral along it. Given.

    Args:
        slope: called as `slope(x, t)` four times, with t a number; returns dx/dt and the rate of
            the integral.
        x, integral: their values at t.
        t, t_next: where the step begins and ends.
    Returns:
        Both at t_next.
    """
    h = t_next - t
    v1, r1 = slope(x, t)
    v2, r2 = slope(x + h / 2 * v1, t + h / 2)
    v3, r3 = slope(x + h / 2 * v2, t + h / 2)
    v4, r4 = slope(x + h * v3, t_next)
    x_next = x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
    return x_next, integral + h / 6 * (r1 + 2 * r2 + 2 * r3 + r4)


def _squared(x: Tensor) -> Tensor:
    """‖x‖² of each example."""
    return x.flatten(1).square().sum(1) if x.dim() > 1 else x.square()
