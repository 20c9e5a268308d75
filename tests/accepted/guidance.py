"""Right answers to chapter 05 written another way."""

import torch

from cs231n_gen.checking.variants import accepted
from cs231n_gen.guidance import guided_velocity, velocities


@accepted("guidance.drop_condition")
def filled_in(y, p, null, generator=None):
    y = y.clone()
    gone = torch.bernoulli(torch.full((len(y),), p), generator=generator).bool()
    y[gone] = torch.as_tensor(null, dtype=y.dtype)
    return y


@accepted("guidance.drop_condition")
def kept_where_high(y, p, null, generator=None):
    kept = torch.rand((len(y),) + (1,) * (y.ndim - 1), generator=generator) >= p
    return torch.where(kept, y, null)


@accepted("guidance.guided_velocity")
def from_v_y(v_y, v_null, w):
    if isinstance(w, torch.Tensor):
        w = w.view(-1, *(1,) * (v_y.ndim - 1))
    return v_y + w * (v_y - v_null)


@accepted("guidance.guided_velocity")
def with_the_scale_of_diffusers(v_y, v_null, w):
    s = torch.as_tensor(w, dtype=v_y.dtype) + 1
    while 0 < s.dim() < v_y.dim():
        s = s[..., None]
    return v_null + s * (v_y - v_null)


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


@accepted("guidance.sample")
@torch.no_grad()
def over_indices(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
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


@accepted("guidance.classifier_velocity")
def by_cross_entropy(v_null, classifier, x_t, t, y, w):
    with torch.enable_grad():
        x = x_t.detach().clone().requires_grad_(True)
        cost = torch.nn.functional.cross_entropy(classifier(x, t), y, reduction="sum")
        cost.backward(inputs=[x])
    factor = (1 + w) * t / (1 - t)
    return v_null + factor.reshape(-1, *[1] * (x.dim() - 1)) * x.grad


@accepted("guidance.classifier_velocity")
@torch.enable_grad()
def logit_less_logsumexp(v_null, classifier, x_t, t, y, w):
    x = x_t.detach().requires_grad_()
    logits = classifier(x, t)
    log_p = logits[torch.arange(len(y)), y] - logits.logsumexp(dim=-1)
    gradient = torch.autograd.grad(log_p, x, torch.ones_like(log_p))[0]
    odds = (t / (1 - t)).view(-1, *(1,) * (x.ndim - 1))
    return (v_null - odds * gradient * (1 + w)).detach()
