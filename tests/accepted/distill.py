"""Right answers to chapter 12, the answers of teachers, written another way."""

import math

import torch

from cs231n_gen.checking.variants import accepted
from cs231n_gen.diffusion import to_x_and_noise
from cs231n_gen.diffusion_samplers import ddim_step
from cs231n_gen.flow import sample_heun

REFLOW, PROGRESSIVE = "distill.reflow_pairs", "distill.progressive_target"


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


# --- distill.reflow_pairs -----------------------------------------------------------------------


@accepted(REFLOW)
def into_an_empty_tensor(model, z, steps, y=None, at_once=1024):
    refuse(not at_once >= 1, "at_once must be at least 1")
    x = torch.empty_like(z)
    for i in range(0, len(z), at_once):
        rows = slice(i, i + at_once)
        x[rows] = sample_heun(model, z[rows], steps, y if y is None else y[rows])
    return x, z


@accepted(REFLOW)
def in_parts_of_equal_size(model, z, steps, y=None, at_once=1024):
    """As many parts as needed, as equal as can be; the last first."""
    refuse(at_once < 1, "at_once must be at least 1")
    number = math.ceil(len(z) / at_once)
    rows = torch.arange(len(z)).tensor_split(number)
    found = [sample_heun(model, z[r], steps, None if y is None else y[r]) for r in rows[::-1]]
    return [torch.cat(found[::-1]), z.clone()]


@accepted(REFLOW)
@torch.inference_mode()
def heun_by_hand(model, z, steps, y=None, at_once=1024):
    refuse(at_once < 1, "at_once must be at least 1")
    refuse(not isinstance(steps, int) or steps < 1, "steps must be at least 1")
    found = []
    for k in range(-(-len(z) // at_once)):
        x = z[k * at_once : (k + 1) * at_once].clone()
        told = () if y is None else (y[k * at_once : (k + 1) * at_once],)
        for i in range(steps):
            t = x.new_full((len(x),), 1 - i / steps)
            v = model(x, t, *told)
            t_next = x.new_full((len(x),), (steps - 1 - i) / steps)
            ahead = model(x - v / steps, t_next, *told)
            x -= 0.5 * (v + ahead) / steps
        found.append(x)
    return torch.cat(found), z


# --- distill.progressive_target -----------------------------------------------------------------


@accepted(PROGRESSIVE)
@torch.no_grad()
def by_cross_multiplication(model, x_t, t, s, process, target, y=None):
    """(b_t x_s − b_s x_t) / (b_t a_s − b_s a_t)."""
    refuse_step(x_t, t, s)
    told = () if y is None else (y,)
    m = t - 0.5 * (t - s)
    x_m = ddim_step(model(x_t, t, *told), x_t, t, m, process, target)
    x_s = ddim_step(model(x_m, m, *told), x_m, m, s, process, target)
    a_t, b_t, a_s, b_s = (
        shaped(v, x_t) for v in (process.a(t), process.b(t), process.a(s), process.b(s))
    )
    return (b_t * x_s - b_s * x_t) / (b_t * a_s - b_s * a_t)


@accepted(PROGRESSIVE)
def as_a_weighted_mean(model, x_t, t, s, process, target, y=None):
    """x̃ is a mean of both predictions, with weights that say how much each step is worth."""
    refuse_step(x_t, t, s)
    told = [] if y is None else [y]
    with torch.no_grad():
        m = torch.lerp(t, s, 0.5)
        first, z = to_x_and_noise(model(x_t, t, *told), x_t, t, process, target)
        a_t, b_t, a_m, b_m, a_s, b_s = (
            shaped(f(v), x_t) for v in (t, m, s) for f in (process.a, process.b)
        )
        x_m = a_m * first + b_m * z
        second, _ = to_x_and_noise(model(x_m, m, *told), x_m, m, process, target)
        # x_s = (b_s / b_m) x_m + (a_s − (b_s / b_m) a_m) x̂, and the same for x_m
        of_second = a_s - b_s / b_m * a_m
        of_first = b_s / b_m * (a_m - b_m / b_t * a_t)
        return (of_first * first + of_second * second) / (of_first + of_second)


@accepted(PROGRESSIVE)
def steps_by_hand(model, x_t, t, s, process, target, y=None):
    refuse_step(x_t, t, s)
    shape = [-1] + [1] * (x_t.dim() - 1)

    def step(x, u, w):
        prediction = model(x, u) if y is None else model(x, u, y)
        refuse(prediction.shape != x.shape, "the prediction must be shaped like x_t")
        delta = process.a(u) * target.d(u) - process.b(u) * target.c(u)
        refuse((delta == 0).any(), "x and z do not follow")
        of_x = (process.a(w) * target.d(u) - process.b(w) * target.c(u)) / delta
        of_y = (process.b(w) * process.a(u) - process.a(w) * process.b(u)) / delta
        return of_x.view(shape) * x + of_y.view(shape) * prediction

    with torch.inference_mode():
        middle = (s + t) * 0.5
        x_s = step(step(x_t, t, middle), middle, s)
        ratio = (process.b(s) / process.b(t)).view(shape)
        rest = process.a(s).view(shape) - ratio * process.a(t).view(shape)
        return torch.addcmul(x_s, ratio, x_t, value=-1) / rest


@accepted(PROGRESSIVE)
@torch.no_grad()
def target_example_by_example(model, x_t, t, s, process, target, y=None):
    refuse_step(x_t, t, s)
    m, x_m = (t + s) / 2, x_t
    for u, w in ((t, m), (m, s)):
        prediction = model(x_m, u) if y is None else model(x_m, u, y)
        x_m = ddim_step(prediction, x_m, u, w, process, target, eta=0.0)
    rows = []
    for i in range(len(t)):
        k = float(process.b(s)[i] / process.b(t)[i])
        rows.append((x_m[i] - k * x_t[i]) / (process.a(s)[i] - k * process.a(t)[i]))
    return torch.stack(rows)
