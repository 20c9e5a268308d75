"""Right answers to chapter 12, the answers of teachers, written another way."""

import math

import torch
from torch.func import functional_call
from torch.nn import functional as F

from cs231n_gen.checking.variants import accepted
from cs231n_gen.diffusion import to_x_and_noise
from cs231n_gen.diffusion_samplers import ddim_step
from cs231n_gen.flow import interpolate, sample_heun
from cs231n_gen.given.frozen import fixed

REFLOW, PROGRESSIVE = "distill.reflow_pairs", "distill.progressive_target"
GUIDANCE, ADVERSARIAL = "distill.guidance_target", "distill.adversarial_loss"
MATCHING = "distill.moment_matching_loss"


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


# --- distill.guidance_target --------------------------------------------------------------------


def refuse_weight(x_t, w):
    fits = not isinstance(w, torch.Tensor) or w.shape in ((), x_t.shape[:1])
    refuse(not fits, "w must be one number or one for each")


@accepted(GUIDANCE)
@torch.no_grad()
def both_in_one_batch(model, x_t, t, y, null, w):
    """∅ first, then the difference."""
    refuse_weight(x_t, w)
    nothing = torch.zeros_like(y) + torch.as_tensor(null, dtype=y.dtype)
    v = model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([nothing, y]))
    v_null, v_y = v.chunk(2)
    w = torch.as_tensor(w, dtype=x_t.dtype).expand(len(x_t))
    return v_null + (1 + w).reshape(-1, *[1] * (x_t.dim() - 1)) * (v_y - v_null)


@accepted(GUIDANCE)
def side_by_side(model, x_t, t, y, null, w):
    """Each example beside its twin."""
    refuse_weight(x_t, w)
    with torch.inference_mode():
        told = torch.stack([y, torch.as_tensor(null, dtype=y.dtype).expand_as(y)], 1).flatten(0, 1)
        v = model(x_t.repeat_interleave(2, 0), t.repeat_interleave(2), told)
        v_y, v_null = v[0::2], v[1::2]
        extra = v_y - v_null
        if isinstance(w, torch.Tensor) and w.dim():
            extra = torch.einsum("b,b...->b...", w.to(extra.dtype), extra)
        else:
            extra = float(w) * extra
    return v_y.clone() + extra.clone()


@accepted(GUIDANCE)
@torch.no_grad()
def as_a_matrix(model, x_t, t, y, null, w):
    """Weights (1 + w, −w) times both velocities."""
    refuse_weight(x_t, w)
    nothing = torch.as_tensor(null, dtype=y.dtype).expand(y.shape)
    v = model(x_t.repeat(2, *[1] * (x_t.dim() - 1)), t.repeat(2), torch.cat([y, nothing]))
    w = torch.as_tensor(w, dtype=x_t.dtype).expand(len(t))
    both = torch.stack([1 + w, -w])  # (2, batch)
    return torch.einsum("kb,kb...->b...", both, v.reshape(2, *x_t.shape))


# --- distill.adversarial_loss -------------------------------------------------------------------


def refuse_pair(x, x_hat, z, t, y):
    refuse(x.shape != x_hat.shape, "x_hat must be shaped like x")
    refuse((z is None) is not (t is None), "z and t come together")
    refuse(t is None and y is not None, "y is for noised examples")


def noisy(x, z, t):
    level = shaped(t, x)
    return torch.lerp(x, z, level.expand_as(x))


@accepted(ADVERSARIAL)
def frozen_and_thawed(features, heads, x, x_hat, z=None, t=None, y=None):
    """requires_grad is off for a while, and then as it was."""
    refuse_pair(x, x_hat, z, t, y)
    weights = [*features.parameters(), *heads.parameters()]
    before = [p.requires_grad for p in weights]
    told = [v for v in (t, y) if v is not None]

    def seen(v):
        return features(v if t is None else noisy(v, z, t), *told)

    for p in weights:
        p.requires_grad_(False)
    student = heads(seen(x_hat)).mean().neg()
    with torch.no_grad():
        real, fake = seen(x), seen(x_hat)
    for p, flag in zip(weights, before, strict=True):
        p.requires_grad_(flag)
    real, fake = heads(real), heads(fake)
    return student, (1 - real).clamp(min=0).mean() + (1 + fake).clamp_min(0).mean()


@accepted(ADVERSARIAL)
def features_once(features, heads, x, x_hat, z=None, t=None, y=None):
    """Features of x̂ are computed once: the heads learn from them detached."""
    refuse_pair(x, x_hat, z, t, y)

    def called(v):
        v = v if z is None else interpolate(v, z, t)[0]
        args = (v,) if z is None else (v, t) if y is None else (v, t, y)
        return functional_call(
            features, {n: p.detach() for n, p in features.named_parameters()}, args
        )

    def stopped(value):
        return tuple(v.detach() for v in value)

    of_x_hat = called(x_hat)
    weights = {n: p.detach() for n, p in heads.named_parameters()}
    student = -torch.mean(functional_call(heads, weights, (of_x_hat,)))
    real, fake = heads(stopped(called(x))), heads(stopped(of_x_hat))
    return [
        student,
        torch.maximum(1 - real, torch.zeros_like(real)).mean() + F.relu(fake + 1).mean(),
    ]


@accepted(ADVERSARIAL)
def real_and_made_in_one_batch(features, heads, x, x_hat, z=None, t=None, y=None):
    """x and x̂ go through the features together, and the hinge is one of signed logits."""
    refuse_pair(x, x_hat, z, t, y)
    judge = fixed(features)

    def logits(v, head, many):
        if t is None:
            return head(judge(v))
        v = interpolate(v, torch.cat([z] * many), torch.cat([t] * many))[0]
        told = [] if y is None else [torch.cat([y] * many)]
        return head(judge(v, torch.cat([t] * many), *told))

    student = -logits(x_hat, fixed(heads), 1).flatten().sum()
    of_both = logits(torch.cat([x, x_hat]).detach(), heads, 2).flatten()
    signs = torch.ones_like(of_both)
    signs[: len(of_both) // 2] = -1
    n = len(of_both) // 2
    return student / n, F.relu(1 + signs * of_both).sum() / n


@accepted(ADVERSARIAL)
def gradients_by_hand(features, heads, x, x_hat, z=None, t=None, y=None):
    """L_student with a gradient put into it, as for a loss that is linear in x̂."""
    refuse_pair(x, x_hat, z, t, y)

    def D(v):
        if t is None:
            return heads(features(v))
        level = t.reshape(-1, *[1] * (v.dim() - 1))
        v = v + level * (z - v)
        return heads(features(v, t) if y is None else features(v, t, y))

    with torch.enable_grad():
        leaf = x_hat.detach().clone().requires_grad_()
        value = -D(leaf).mean()
        (gradient,) = torch.autograd.grad(value, leaf)
    student = value.detach() + ((x_hat - x_hat.detach()) * gradient).sum()
    plain = dict(features.named_parameters())
    flags = {n: p.requires_grad for n, p in plain.items()}
    features.requires_grad_(False)
    real, fake = D(x.detach()), D(x_hat.detach())
    for n, p in plain.items():
        p.requires_grad_(flags[n])
    return student, torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()


# --- distill.moment_matching_loss ---------------------------------------------------------------


def refuse_noise(x_hat, z, t):
    refuse(z.shape != x_hat.shape, "z must be shaped like x_hat")
    refuse(t.shape != (len(x_hat),), "one level for each example")


@accepted(MATCHING)
def mean_squared_error(teacher, auxiliary, x_hat, z, t, y=None):
    """Both denoisers as they stand, and F.mse_loss."""
    refuse_noise(x_hat, z, t)
    told = [] if y is None else [y]
    with torch.no_grad():
        level = shaped(t, x_hat)
        x_t = x_hat + level * (z - x_hat)
        ours = x_t - level * auxiliary(x_t, t, *told)
        theirs = x_t - level * teacher(x_t, t, *told)
        goal = x_hat - ours + theirs
    return F.mse_loss(x_hat, goal) / 2


@accepted(MATCHING)
def value_and_gradient(teacher, auxiliary, x_hat, z, t, y=None):
    """A product has the gradient, a constant makes up for the value."""
    refuse_noise(x_hat, z, t)
    x = x_hat.detach()
    x_t, _ = interpolate(x, z.detach(), t.detach())
    args = (x_t, t.detach()) if y is None else (x_t, t.detach(), y)
    apart = (teacher(*args) - auxiliary(*args)).detach()
    g = torch.einsum("b,b...->b...", t.detach(), apart)
    return (g * (x_hat - x) + g * g / 2).mean()


@accepted(MATCHING)
def matching_example_by_example(teacher, auxiliary, x_hat, z, t, y=None):
    refuse_noise(x_hat, z, t)
    with torch.inference_mode():
        x_t = torch.stack([(1 - u) * a + u * b for a, b, u in zip(x_hat, z, t, strict=True)])
        fields = [f(x_t, t) if y is None else f(x_t, t, y) for f in (auxiliary, teacher)]
        fields = [f.clone() for f in fields]
    total = 0.0
    for i, x in enumerate(x_hat):
        g = (float(t[i]) * (fields[1][i] - fields[0][i])).clone()
        total = total + (x - (x.detach() - g)).pow(2).sum()
    return 0.5 * total / x_hat.numel()
