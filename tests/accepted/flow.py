"""Right answers to chapter 04 written another way."""

import itertools

import torch
from torch.nn import functional as F

from cs231n_gen.checking.variants import accepted
from cs231n_gen.flow import interpolate, levels_of, loss, straightness
from cs231n_gen.given.training import Run


def no_walk(model, z, steps, y=None, times=None):
    levels_of(steps, times)


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "flow.interpolate": interpolate,
    "flow.sample": no_walk,
    "flow.trajectory": no_walk,
    "flow.sample_heun": no_walk,
    "flow.straightness": straightness,
}


@accepted("flow.interpolate")
def by_lerp(x, z, t):
    return torch.lerp(x, z, t.view(len(t), *(1,) * (x.ndim - 1))), z - x


@accepted("flow.interpolate")
def along_the_velocity(x, z, t):
    velocity = z - x
    while t.dim() < x.dim():
        t = t.unsqueeze(-1)
    return [x + t * velocity, velocity]


@accepted("flow.interpolate")
def example_by_example(x, z, t):
    rows = [(1 - t[i]) * x[i] + t[i] * z[i] for i in range(len(x))]
    return torch.stack(rows), -(x - z)


@accepted("flow.interpolate")
def by_einsum(x, z, t):
    x_t = torch.einsum("b...,b->b...", x, 1 - t) + torch.einsum("b...,b->b...", z, t)
    return x_t, torch.sub(z, x)


@accepted("flow.interpolate")
def back_from_the_noise(x, z, t):
    v = z.clone().sub_(x)
    return z - torch.movedim((1 - t) * torch.movedim(v, 0, -1), -1, 0), v


@accepted("flow.loss")
def by_mse_loss(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return F.mse_loss(model(x_t, t, *([] if y is None else [y])), v)


@accepted("flow.loss")
def means_of_means(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    f = model(x_t, t) if y is None else model(x_t, t, y)
    return torch.mean(((v - f) ** 2).flatten(1).mean(dim=1))


@accepted("flow.loss")
def by_norm(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    f = model(x_t, t, **({} if y is None else {"y": y}))
    return torch.linalg.vector_norm(f - v.detach()) ** 2 / x.numel()


@accepted("flow.sample")
@torch.no_grad()
def recursive(model, z, steps, y=None, times=None):
    ends = [i / steps for i in range(steps, -1, -1)] if times is None else [float(t) for t in times]

    def walk(x, k):
        if k == steps:
            return x
        t = x.new_full((x.size(0),), ends[k])
        v = model(x, t) if y is None else model(x, t, y)
        return walk(x - (ends[k] - ends[k + 1]) * v, k + 1)

    return walk(z, 0)


@accepted("flow.sample")
def level_counted_down(model, z, steps, y=None, times=None):
    ends = torch.as_tensor([1 / steps] * steps) if times is None else -torch.as_tensor(times).diff()
    t = torch.tensor(1.0, dtype=torch.float64) if times is None else torch.as_tensor(times)[0]
    x = z.double()
    with torch.inference_mode():
        for h in ends.double():
            level = t.to(z.dtype).repeat(len(z))
            x = x - h * (
                model(x.to(z.dtype), level) if y is None else model(x.to(z.dtype), level, y)
            )
            t = t - h
    return x.clone().to(z.dtype)


@accepted("flow.sample")
@torch.no_grad()
def by_linspace(model, z, steps, y=None, times=None):
    x = z.clone()
    ends = torch.linspace(1, 0, steps + 1) if times is None else torch.as_tensor(times)
    for t, t_next in itertools.pairwise(ends.to(z.dtype)):
        level = t.expand(len(x))
        x = x + (t_next - t) * (model(x, level) if y is None else model(x, level, y))
    return x


@accepted("flow.sample")
@torch.no_grad()
def in_place(model, z, steps, y=None, times=None):
    ends = [1 - k / steps for k in range(steps + 1)] if times is None else list(times)
    x, t = z.clone(), torch.empty(len(z), dtype=z.dtype)
    for k in range(steps):
        t.fill_(float(ends[k]))
        x -= float(ends[k] - ends[k + 1]) * (model(x, t) if y is None else model(x, t, y))
    return x


@accepted("flow.trajectory")
@torch.no_grad()
def into_one_tensor(model, z, steps, y=None):
    path = torch.empty(steps + 1, *z.shape, dtype=z.dtype)
    path[0] = z
    for k in range(steps):
        t = torch.full((len(z),), 1 - k / steps, dtype=z.dtype)
        v = model(path[k], t) if y is None else model(path[k], t, y)
        path[k + 1] = path[k] - v / steps
    return path


@accepted("flow.trajectory")
@torch.no_grad()
def cloned_frames(model, z, steps, y=None):
    x, frames = z.clone(), [z.clone()]
    for i in reversed(range(1, steps + 1)):
        t = x.new_full((x.shape[0],), i / steps)
        x -= (1 / steps) * (model(x, t) if y is None else model(x, t, y))
        frames.append(x.clone())
    return torch.cat([f[None] for f in frames])


@accepted("flow.trajectory")
@torch.no_grad()
def summed_steps(model, z, steps, y=None):
    moves, x = [z], z
    for t in torch.linspace(1, 0, steps + 1)[:-1]:
        level = t * torch.ones(len(z), dtype=z.dtype)
        v = model(x, level) if y is None else model(x, level, y)
        moves.append(-v / steps)
        x = x + moves[-1]
    return torch.stack(moves).cumsum(0)


@accepted("flow.sample_heun")
@torch.no_grad()
def corrected_euler(model, z, steps, y=None):
    extra = () if y is None else (y,)
    x, h = z, 1 / steps
    for i in range(steps, 0, -1):
        t = torch.full((len(z),), i * h, dtype=z.dtype)
        v = model(x, t, *extra)
        trial = x - h * v
        x = trial - h / 2 * (model(trial, torch.full_like(t, (i - 1) * h), *extra) - v)
    return x


@accepted("flow.sample_heun")
@torch.no_grad()
def over_pairs_of_levels(model, z, steps, y=None):
    def f(x, t):
        t = t.expand(len(x))
        return model(x, t) if y is None else model(x, t, y)

    ends = torch.arange(steps, -1, -1, dtype=z.dtype) / steps
    for a, b in itertools.pairwise(ends):
        v = f(z, a)
        z = z + (b - a) * 0.5 * (v + f(z + (b - a) * v, b))
    return z


@accepted("flow.straightness")
def by_diff(path):
    speed = torch.diff(path, dim=0) * (len(path) - 1)
    return torch.mean((speed - (path[-1] - path[0])[None]) ** 2)


@accepted("flow.straightness")
def as_a_float(path):
    speed = torch.diff(path, dim=0) / (1 / (len(path) - 1))
    return float(F.mse_loss(speed, (path[-1] - path[0]).expand_as(speed)))


@accepted("flow.straightness")
def variance_of_the_speed(path):
    return ((path[1:] - path[:-1]) * (len(path) - 1)).var(0, correction=0).mean()


@accepted("flow.straightness")
def step_by_step(path):
    T = len(path) - 1
    whole = path[T] - path[0]
    return sum(((whole - T * (path[k + 1] - path[k])) ** 2).mean() for k in range(T)) / T


@accepted("flow.train")
def filled_in_place(model, draw, steps, *, batch=512, generator=None, **options):
    with Run(model, steps, **options) as run:
        for _ in run:
            x, y = draw(batch, generator)
            z = torch.empty_like(x).normal_(generator=generator)
            t = 1 - torch.rand(batch, generator=generator)
            L = loss(model, x, z, t, y)
            L.backward()
            run.optimizer.step()
            run.optimizer.zero_grad()
            run.record(L.detach())
    return run.history


@accepted("flow.train")
def gradient_by_autograd(model, draw, steps, *, batch=512, generator=None, **options):
    run = Run(model, steps, **options)
    weights = list(model.parameters())
    with run:
        for _ in run:
            x, y = draw(batch, generator)
            z = torch.randn(x.size(), generator=generator)
            L = loss(model, x, z, torch.rand(batch, generator=generator), y=y)
            gradients = torch.autograd.grad(L, weights, allow_unused=True)
            for w, g in zip(weights, gradients, strict=True):
                w.grad = g
            run.optimizer.step()
            run.record(L)
    return run.history
