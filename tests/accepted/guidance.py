"""Right answers to chapter 05 written another way."""

import math

import torch

from cs231n_gen.checking.variants import accepted
from cs231n_gen.flow import levels_of
from cs231n_gen.guidance import guided_velocity, velocities


def refuse(wrong, says):
    if wrong:
        raise ValueError(says)


def refuse_weight(v_y, v_null, w):
    refuse(v_y.shape != v_null.shape, "both velocities must be of one shape")
    wrong = isinstance(w, torch.Tensor) and w.dim() > 0 and w.shape != v_y.shape[:1]
    refuse(wrong, "w must be one number or one for each")


def refuse_walk(steps, times, interval):
    levels_of(steps, times)
    refuse(interval[0] > interval[1], f"interval must rise, got {interval}")


@accepted("guidance.drop_condition")
def filled_in(y, p, null, generator=None):
    refuse(not 0 <= p <= 1, f"p must be a probability, got {p}")
    y = y.clone()
    gone = torch.bernoulli(torch.full((len(y),), p), generator=generator).bool()
    y[gone] = torch.as_tensor(null, dtype=y.dtype)
    return y


@accepted("guidance.drop_condition")
def kept_where_high(y, p, null, generator=None):
    refuse(not (p >= 0 and p <= 1), f"p must be a probability, got {p}")
    kept = torch.rand((len(y),) + (1,) * (y.ndim - 1), generator=generator) >= p
    return torch.where(kept, y, null)


@accepted("guidance.drop_condition")
def one_by_one(y, p, null, generator=None):
    refuse(not 0 <= p <= 1, f"p must be a probability, got {p}")
    nothing = torch.as_tensor(null).to(y)
    chance = torch.empty(len(y), dtype=torch.float64).uniform_(generator=generator)
    rows = [nothing.expand(y[i].shape) if chance[i] < p else y[i] for i in range(len(y))]
    return torch.stack(rows)


@accepted("guidance.drop_condition")
def a_draw_for_each_example(y, p, null, generator=None):
    refuse(math.isnan(p) or p < 0 or p > 1, f"p must be a probability, got {p}")
    out = torch.empty_like(y)
    for i, own in enumerate(y):
        out[i] = null if torch.rand((), generator=generator).item() < p else own
    return out


@accepted("guidance.drop_condition")
def by_index(y, p, null, generator=None):
    refuse(not 0 <= p <= 1, f"p must be a probability, got {p}")
    gone = (torch.rand(y.shape[0], generator=generator) < p).nonzero()[:, 0]
    if not isinstance(null, torch.Tensor):
        return y.index_fill(0, gone, null)
    return y.index_copy(0, gone, null.expand(len(gone), *y.shape[1:]))


@accepted("guidance.guided_velocity")
def from_v_y(v_y, v_null, w):
    refuse_weight(v_y, v_null, w)
    if isinstance(w, torch.Tensor):
        w = w.view(-1, *(1,) * (v_y.ndim - 1))
    return v_y + w * (v_y - v_null)


@accepted("guidance.guided_velocity")
def with_the_scale_of_diffusers(v_y, v_null, w):
    refuse_weight(v_y, v_null, w)
    s = torch.as_tensor(w, dtype=v_y.dtype) + 1
    while 0 < s.dim() < v_y.dim():
        s = s[..., None]
    return v_null + s * (v_y - v_null)


@accepted("guidance.guided_velocity")
def by_lerp(v_y, v_null, w):
    refuse_weight(v_y, v_null, w)
    s = 1 + torch.as_tensor(w, dtype=v_y.dtype)
    return torch.lerp(v_null, v_y, s.reshape([-1] + [1] * (v_y.dim() - 1)) if s.dim() else s)


@accepted("guidance.guided_velocity")
def by_einsum(v_y, v_null, w):
    refuse_weight(v_y, v_null, w)
    w = torch.as_tensor(w, dtype=v_y.dtype).expand(len(v_y))
    return v_y + torch.einsum("b,b...->b...", w, v_y - v_null)


@accepted("guidance.guided_velocity")
def example_by_example(v_y, v_null, w):
    refuse_weight(v_y, v_null, w)
    ws = w.tolist() if isinstance(w, torch.Tensor) and w.dim() else [float(w)] * len(v_y)
    return torch.stack([(1 + k) * a - k * b for k, a, b in zip(ws, v_y, v_null, strict=True)])


@accepted("guidance.velocities")
def by_repeat(model, x_t, t, y, null):
    n, rest = len(x_t), [1] * (x_t.ndim - 1)
    conditions = y.repeat(2, *[1] * (y.ndim - 1))
    conditions[n:] = torch.as_tensor(null, dtype=y.dtype)
    v = model(x_t.repeat(2, *rest), t.repeat(2), conditions)
    return v[:n], v[n:]


@accepted("guidance.velocities")
def null_first(model, x_t, t, y, null):
    nothing = torch.zeros_like(y) + torch.as_tensor(null, dtype=y.dtype)
    v = model(torch.cat((x_t,) * 2), torch.cat((t,) * 2), torch.cat((nothing, y)))
    v_null, v_y = v.split(len(x_t))
    return [v_y, v_null]


@accepted("guidance.velocities")
def side_by_side(model, x_t, t, y, null):
    both = torch.stack([y, torch.as_tensor(null, dtype=y.dtype).expand_as(y)], 1).flatten(0, 1)
    v = model(x_t.repeat_interleave(2, 0), t.repeat_interleave(2), both)
    return v[::2], v[1::2]


@accepted("guidance.velocities")
def in_another_order(model, x_t, t, y, null):
    order = torch.arange(2 * len(t) - 1, -1, -1)
    conditions = torch.cat([y, torch.ones_like(y) * torch.as_tensor(null, dtype=y.dtype)])
    v = model(torch.cat([x_t, x_t])[order], torch.cat([t, t])[order], conditions[order])
    v = v[order]
    return v[: len(t)], v[len(t) :]


@accepted("guidance.sample")
@torch.no_grad()
def over_indices(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    refuse_walk(steps, times, interval)
    ends = [1 - k / steps for k in range(steps + 1)] if times is None else [*map(float, times)]
    x = z.clone()
    for k in range(steps):
        t = z.new_full((len(z),), ends[k])
        if interval[0] - 1e-9 <= ends[k] <= interval[1] + 1e-9:
            v = guided_velocity(*velocities(model, x, t, y, null), w)
        else:
            v = model(x, t, y)
        x += (ends[k + 1] - ends[k]) * v
    return x


@accepted("guidance.sample")
def all_by_hand(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    refuse_walk(steps, times, interval)
    ends = torch.linspace(1, 0, steps + 1, dtype=torch.float64) if times is None else times
    ends = torch.as_tensor(ends, dtype=torch.float64)
    low, high = interval
    weight = torch.as_tensor(w, dtype=z.dtype)
    weight = weight.reshape(-1, *[1] * (z.dim() - 1)) if weight.dim() else weight
    nothing = torch.as_tensor(null, dtype=y.dtype).expand_as(y)
    with torch.no_grad():
        for t, h in zip(ends[:-1], ends[:-1] - ends[1:], strict=True):
            level = torch.ones(len(z), dtype=z.dtype) * t.to(z.dtype)
            guided = low - 1e-9 <= float(t) <= high + 1e-9
            if guided:
                v = model(torch.cat([z, z]), torch.cat([level, level]), torch.cat([y, nothing]))
                v = v[: len(z)] + weight * (v[: len(z)] - v[len(z) :])
            else:
                v = model(z, level, y)
            z = z - float(h) * v
    return z


@accepted("guidance.sample")
def unguided_where_w_is_0(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    refuse_walk(steps, times, interval)
    levels, x = levels_of(steps, times), z
    with torch.no_grad():
        for i in range(steps):
            t = torch.empty(len(x), dtype=x.dtype).fill_(levels[i])
            v = model(x, t, y) if not interval[0] <= levels[i] <= interval[1] else None
            if v is None and not isinstance(w, torch.Tensor) and w == 0:
                v = model(x, t, y)
            elif v is None:
                v = guided_velocity(*velocities(model, x, t, y, null), w)
            x = torch.add(x, v, alpha=levels[i + 1] - levels[i])
    return x


@accepted("guidance.sample")
@torch.inference_mode()
def ends_as_tensors(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    levels = torch.tensor(levels_of(steps, times), dtype=torch.float64)
    refuse_walk(steps, times, interval)
    guided = (levels >= interval[0]) & (levels <= interval[1])
    x = z.clone()
    for i in range(steps):
        t = levels[i].to(x.dtype).expand(len(x))
        if guided[i]:
            v_y, v_null = velocities(model, x, t, y, null)
            v = guided_velocity(v_y, v_null, w)
        else:
            v = model(x, t, y)
        x -= (levels[i] - levels[i + 1]).item() * v
    return x


@accepted("guidance.classifier_velocity")
def by_cross_entropy(v_null, classifier, x_t, t, y, w):
    refuse(bool(((t < 0) | (t >= 1) | t.isnan()).any()), "t must be in [0, 1)")
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_(True)
        cost = torch.nn.functional.cross_entropy(classifier(x, t), y, reduction="sum")
        cost.backward(inputs=[x])
    factor = (1 + w) * t / (1 - t)
    return v_null + factor.reshape(-1, *[1] * (x.dim() - 1)) * x.grad


@accepted("guidance.classifier_velocity")
@torch.enable_grad()
def logit_less_logsumexp(v_null, classifier, x_t, t, y, w):
    refuse(not all(0 <= k < 1 for k in t.tolist()), "t must be in [0, 1)")
    x = x_t.detach().requires_grad_()
    logits = classifier(x, t)
    log_p = logits[torch.arange(len(y)), y] - logits.logsumexp(dim=-1)
    gradient = torch.autograd.grad(log_p, x, torch.ones_like(log_p))[0]
    odds = ((1 + w) * (t / (1 - t))).view(-1, *(1,) * (x.ndim - 1))
    return (v_null - odds * gradient).detach()


@accepted("guidance.classifier_velocity")
def an_example_at_a_time(v_null, classifier, x_t, t, y, w):
    refuse(not bool(((t >= 0) & (t < 1)).all()), "t must be in [0, 1)")
    w, rows = torch.as_tensor(w, dtype=x_t.dtype).expand(len(t)), []
    for i in range(len(t)):
        with torch.enable_grad():
            x = x_t[i : i + 1].detach().clone().requires_grad_()
            score = torch.log_softmax(classifier(x, t[i : i + 1]), dim=-1)[0, y[i]]
            gradient = torch.autograd.grad(score, x)[0][0]
        rows.append(v_null[i].detach() - (1 + w[i]) * t[i] / (1 - t[i]) * gradient)
    return torch.stack(rows)


@accepted("guidance.classifier_velocity")
def by_scores(v_null, classifier, x_t, t, y, w):
    refuse(not bool(((t >= 0) & (t < 1)).all()), "t must be in [0, 1)")
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        one_hot = torch.nn.functional.one_hot(y, classifier(x, t).shape[1])
        log_p = (torch.log_softmax(classifier(x, t), 1) * one_hot).sum()
    gradient = torch.autograd.grad(log_p, [x])[0]
    factor = (t + w * t).div(1 - t)
    return v_null.detach() - torch.einsum("b,b...->b...", factor, gradient)
