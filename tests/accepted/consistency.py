"""Right answers to chapter 12's jumps written another way."""

import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

from cs231n_gen.checking.variants import accepted
from cs231n_gen.consistency import RECTIFIED, VELOCITY, function
from cs231n_gen.diffusion import check_solvable, to_x_and_noise

FUNCTION, LOSS = "consistency.function", "consistency.loss"
TANGENT, MEAN_FLOW = "consistency.tangent", "consistency.mean_flow_target"
SHORTCUT = "consistency.shortcut_target"


def refuse(wrong, says):
    if wrong:
        raise ValueError(says)


def refuse_form(process, target):
    zero = torch.zeros((), dtype=torch.float64)
    refuse(bool(process.b(zero) != 0) or bool(target.d(zero) == 0), "no boundary")


def refuse_levels(x, t, s, equal=False):
    refuse(t.ndim != 1 or t.shape != s.shape or len(t) != len(x), "one t and s for each example")
    refuse(not (s <= t).all() or not (s >= 0).all(), "s must lie from 0 to t")
    refuse(not equal and bool((s == t).any()), "s must lie below t")


def shaped(value, x):
    """(batch,) to (batch, 1, …, 1), by one axis after another."""
    while value.dim() < x.dim():
        value = value.unsqueeze(-1)
    return value


def ask(model, *args):
    """Without the last argument if that is None."""
    return model(*args[:-1]) if args[-1] is None else model(*args)


# --- consistency.function -----------------------------------------------------------------------


def refuse_shapes(told, x_t, t):
    refuse(t.ndim != 1 or len(t) != len(x_t), "one level for each example")
    refuse(told.shape != x_t.shape, "the prediction must be shaped like x_t")


@accepted(FUNCTION)
def by_skip_and_out(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    """c_skip and c_out, one number for each example."""
    refuse_form(process, target)
    told = ask(model, x_t, t, y)
    refuse_shapes(told, x_t, t)
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    determinant = a * d - b * c
    check_solvable(determinant, t)
    skip, out = d / determinant, -b / determinant
    return shaped(skip, x_t) * x_t + shaped(out, x_t) * told


@accepted(FUNCTION)
def by_einsum(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    refuse_form(process, target)
    told = ask(model, x_t, t, y)
    refuse_shapes(told, x_t, t)
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    determinant = a * d - b * c
    refuse(bool((determinant == 0).any()), "x does not follow")
    sums = torch.einsum("n,n...->n...", d, x_t) - torch.einsum("n,n...->n...", b, told)
    return torch.einsum("n,n...->n...", 1 / determinant, sums)


@accepted(FUNCTION)
def by_elimination(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    refuse_form(process, target)
    told = ask(model, x_t, t, y)
    refuse_shapes(told, x_t, t)
    of = process.a, process.b, target.c, target.d
    a, b, c, d = (f(t).view(-1, *[1] * (x_t.ndim - 1)).expand_as(x_t) for f in of)
    refuse(bool((a * d == b * c).any()), "x does not follow")
    system = torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2)
    return torch.linalg.solve(system, torch.stack([x_t, told], -1).unsqueeze(-1))[..., 0, 0]


@accepted(FUNCTION)
def example_by_example(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    refuse_form(process, target)
    told = ask(model, x_t, t, y)
    refuse_shapes(told, x_t, t)
    rows = []
    for i in range(len(t)):
        one = slice(i, i + 1)
        rows.append(to_x_and_noise(told[one], x_t[one], t[one], process, target)[0])
    return torch.cat(rows)


@accepted(FUNCTION)
def by_the_noise(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    """x̂ = (y − d ẑ) / c where c is large, else (x_t − b ẑ) / a; both from given functions."""
    refuse_form(process, target)
    told = ask(model, x_t, t, y)
    x, z = to_x_and_noise(told, x_t, t, process, target)
    a, b = shaped(process.a(t), x_t), shaped(process.b(t), x_t)
    return torch.where(a.abs() > 0.5, (x_t - b * z) / a.where(a != 0, torch.ones_like(a)), x)


# --- consistency.loss ---------------------------------------------------------------------------


def refuse_huber(huber):
    refuse(not huber >= 0, "huber must be at least 0")


@accepted(LOSS)
def by_detach(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    """x_s by its own interpolation, cut out of the graph at the end."""
    refuse_levels(x, t, s)
    refuse_huber(huber)
    refuse(x.shape != z.shape, "z must be shaped like x")
    t_, s_ = shaped(t, x), shaped(s, x)
    x_t = ((1 - t_) * x + t_ * z).detach()
    if teacher is None:
        x_s = ((1 - s_) * x + s_ * z).detach()
    else:
        x_s = (x_t + (s_ - t_) * ask(teacher, x_t, t, y)).detach()
    target = function(average or model, x_s, s, y=y).detach()
    f = function(model, x_t, t, y=y)
    m = F.mse_loss(f, target, reduction="none").reshape(len(x), -1).mean(-1)
    delta = m if not huber else torch.hypot(m.sqrt(), torch.full_like(m, huber)) - huber
    return torch.mean(delta / (t - s))


@accepted(LOSS)
def in_one_call(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    """Without averaged weights both points are asked for at once."""
    refuse_levels(x, t, s)
    refuse_huber(huber)
    refuse(x.shape != z.shape, "z must be shaped like x")
    x, z, n = x.detach(), z.detach(), len(x)
    x_t = torch.lerp(x, z, shaped(t, x))
    with torch.no_grad():
        v = z - x if teacher is None else ask(teacher, x_t, t, y)
    x_s = x_t - torch.einsum("n,n...->n...", t - s, v)
    if average is None:
        twice = None if y is None else torch.cat([y, y])
        far, near = function(model, torch.cat([x_t, x_s]), torch.cat([t, s]), y=twice).split(n)
    else:
        far, near = function(model, x_t, t, y=y), function(average, x_s, s, y=y)
    m = (far - near.detach()).pow(2).flatten(1).mean(1)
    delta = m if huber == 0 else m / ((m + huber**2).sqrt() + huber)
    return (delta / (t - s)).sum() / n


@accepted(LOSS)
def loss_example_by_example(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    """The models are asked for the batch, the distances are those of one after another."""
    refuse_levels(x, t, s)
    refuse_huber(huber)
    refuse(x.shape != z.shape, "z must be shaped like x")
    with torch.no_grad():
        x_t = torch.stack([a + level * (b - a) for a, b, level in zip(x, z, t, strict=True)])
        v = (z - x) if teacher is None else ask(teacher, x_t, t, y)
        x_s = torch.stack([a - (h - k) * w for a, h, k, w in zip(x_t, t, s, v, strict=True)])
        near = x_s - shaped(s, x) * ask(model if average is None else average, x_s, s, y)
    far = x_t - shaped(t, x) * ask(model, x_t, t, y)
    total = 0.0
    for i in range(len(x)):
        m = (far[i] - near[i]).square().sum() / far[i].numel()
        if huber > 0:
            m = (m + huber * huber) ** 0.5 - huber
        total = total + m / (t[i] - s[i])
    return total / len(x)


@accepted(LOSS)
def by_norms(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    """The gap is a norm of each example; the weights are applied by a product."""
    refuse_levels(x, t, s)
    refuse_huber(huber)
    refuse(x.shape != z.shape, "z must be shaped like x")
    x_t = (x + shaped(t, x) * (z - x)).detach()
    with torch.no_grad():
        v = z - x if teacher is None else ask(teacher, x_t, t, y)
        x_s = x_t - shaped(t - s, x) * v
        near = function(average if average is not None else model, x_s, s, y=y)
    off = (function(model, x_t, t, y=y) - near).flatten(1)
    m = torch.linalg.vecdot(off, off) / off.shape[1]
    delta = m if huber == 0 else (m + huber**2).sqrt() - huber
    return (delta @ (t - s).reciprocal()) / len(x)


# --- consistency.tangent ------------------------------------------------------------------------


def refuse_direction(x_t, t, v, process, target):
    refuse(v.shape != x_t.shape, "v must be shaped like x_t")
    refuse(t.ndim != 1 or len(t) != len(x_t), "one level for each example")
    refuse_form(process, target)


@accepted(TANGENT)
def by_dual_numbers(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    refuse_direction(x_t, t, v, process, target)
    with forward_ad.dual_level(), torch.no_grad():
        x = forward_ad.make_dual(x_t.detach(), v.detach())
        level = forward_ad.make_dual(t.detach(), torch.ones_like(t))
        found = forward_ad.unpack_dual(function(model, x, level, process, target, y)).tangent
    return found.clone()


@accepted(TANGENT)
@torch.enable_grad()
def by_two_backward_passes(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    """The gradient of ⟨w, f⟩ along (v, 1), by w."""
    refuse_direction(x_t, t, v, process, target)
    x, level = x_t.detach().requires_grad_(), t.detach().requires_grad_()
    w = torch.zeros_like(x_t).detach().requires_grad_()
    f = function(model, x, level, process, target, y)
    by_x, by_t = torch.autograd.grad((w * f).sum(), (x, level), create_graph=True)
    rate = (by_x * v.detach()).sum() + by_t.sum()
    return torch.autograd.grad(rate, w)[0].detach()


@accepted(TANGENT)
def part_by_part(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    refuse_direction(x_t, t, v, process, target)
    x_t, t, v = x_t.detach(), t.detach(), v.detach()
    _, by_x = torch.func.jvp(lambda x: function(model, x, t, process, target, y), (x_t,), (v,))
    _, by_t = torch.func.jvp(
        lambda level: function(model, x_t, level, process, target, y), (t,), (torch.ones_like(t),)
    )
    return (by_x + by_t).detach()


@accepted(TANGENT)
def along_one_number(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    """d/de f(x_t + e v, t + e), a Jacobian of one column."""
    refuse_direction(x_t, t, v, process, target)
    x_t, t, v = x_t.detach(), t.detach(), v.detach()

    def moved(e):
        return function(model, x_t + e * v, t + e, process, target, y)

    return torch.func.jacfwd(moved)(torch.zeros((), dtype=t.dtype)).detach()


@accepted(TANGENT)
@torch.enable_grad()
def number_by_number(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    """The gradient of every number of f."""
    refuse_direction(x_t, t, v, process, target)
    x, level = x_t.detach().requires_grad_(), t.detach().requires_grad_()
    f = function(model, x, level, process, target, y)
    rates = []
    for number in f.flatten():
        by_x, by_t = torch.autograd.grad(number, (x, level), retain_graph=True)
        rates.append((by_x * v).sum() + by_t.sum())
    return torch.stack(rates).reshape(f.shape).detach()


# --- consistency.mean_flow_target ---------------------------------------------------------------


@accepted(MEAN_FLOW)
def with_a_tangent_for_s(model, x_t, t, s, v, y=None):
    refuse(v.shape != x_t.shape, "v must be shaped like x_t")
    refuse_levels(x_t, t, s, equal=True)
    x_t, t, s, v = (k.detach() for k in (x_t, t, s, v))
    _, rate = torch.func.jvp(
        lambda *at: ask(model, *at, y), (x_t, t, s), (v, torch.ones_like(t), torch.zeros_like(s))
    )
    return v.detach() - torch.einsum("n,n...->n...", t - s, rate.detach())


@accepted(MEAN_FLOW)
def by_the_product(model, x_t, t, s, v, y=None):
    """d/dt of (t − s) u is u + (t − s) du/dt."""
    refuse(v.shape != x_t.shape, "v must be shaped like x_t")
    refuse_levels(x_t, t, s, equal=True)
    x_t, t, s, v = (k.detach() for k in (x_t, t, s, v))

    def u(x, level):
        return ask(model, x, level, s, y)

    def way(x, level):
        return shaped(level - s, x) * u(x, level)

    _, rate = torch.func.jvp(way, (x_t, t), (v, torch.ones_like(t)))
    with torch.no_grad():
        found = v + (u(x_t, t) - rate)
    return torch.where(shaped(s == t, x_t), v, found).detach()


@accepted(MEAN_FLOW)
@torch.no_grad()
def by_dual_means(model, x_t, t, s, v, y=None):
    refuse(v.shape != x_t.shape, "v must be shaped like x_t")
    refuse_levels(x_t, t, s, equal=True)
    with forward_ad.dual_level():
        x = forward_ad.make_dual(x_t.detach(), v.detach())
        level = forward_ad.make_dual(t.detach(), torch.ones_like(t))
        rate = forward_ad.unpack_dual(ask(model, x, level, s.detach(), y)).tangent
        rate = torch.zeros_like(v) if rate is None else rate.clone()
    return v + (s - t).reshape(-1, *[1] * (x_t.dim() - 1)) * rate


@accepted(MEAN_FLOW)
@torch.enable_grad()
def by_two_gradients(model, x_t, t, s, v, y=None):
    refuse(v.shape != x_t.shape, "v must be shaped like x_t")
    refuse_levels(x_t, t, s, equal=True)
    x_t, t, s, v = (k.detach() for k in (x_t, t, s, v))
    e = torch.zeros_like(t).requires_grad_()  # one for each example, which do not touch
    w = torch.zeros_like(x_t).requires_grad_()
    u = ask(model, x_t + shaped(e, x_t) * v, t + e, s, y)
    (pulled,) = torch.autograd.grad((w * u).sum(), e, create_graph=True)
    (rate,) = torch.autograd.grad(pulled.sum(), w)
    return (v - shaped(t - s, x_t) * rate).detach()


# --- consistency.shortcut_target ----------------------------------------------------------------


@accepted(SHORTCUT)
def by_where_it_leads(model, x_t, t, s, y=None):
    """Two steps, and the way over its length."""
    refuse_levels(x_t, t, s)
    with torch.no_grad():
        x, levels = x_t, (t, (t + s) / 2, s)
        for k in range(2):
            u = ask(model, x, levels[k], levels[k + 1], y)
            x = x - shaped(levels[k] - levels[k + 1], x) * u
        return (x_t - x) / shaped(t - s, x_t)


@accepted(SHORTCUT)
def by_detached_halves(model, x_t, t, s, y=None):
    refuse_levels(x_t, t, s)
    x_t, t, s = x_t.detach(), t.detach(), s.detach()
    half = 0.5 * (t - s)
    first = ask(model, x_t, t, t - half, y).detach()
    second = ask(model, x_t - torch.einsum("n,n...->n...", half, first), s + half, s, y).detach()
    return torch.stack([first, second]).mean(0)


@accepted(SHORTCUT)
@torch.no_grad()
def by_lerp(model, x_t, t, s, y=None):
    refuse_levels(x_t, t, s)
    m = torch.lerp(t, s, 0.5)
    one = ask(model, x_t, t, m, y)
    two = ask(model, torch.addcmul(x_t, shaped(m - t, x_t).expand_as(x_t), one), m, s, y)
    return torch.lerp(one, two, 0.5)


@accepted(SHORTCUT)
@torch.no_grad()
def by_examples(model, x_t, t, s, y=None):
    refuse_levels(x_t, t, s)
    m = s + (t - s) / 2
    one = ask(model, x_t, t, m, y)
    x_m = torch.stack([x_t[i] - (t[i] - m[i]) * one[i] for i in range(len(t))])
    two = ask(model, x_m, m, s, y)
    return one + (two - one) / 2
