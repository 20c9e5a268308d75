"""Right answers to the answer cells of chapter 02 written another way."""

import math

import torch
from torch.nn import functional as F

from cs231n_gen.checking.variants import accepted


@accepted("chapter02.pointwise")
def by_log1p(y, a, b):
    return a * torch.log(y) + b * torch.log1p(-y)


@accepted("chapter02.pointwise")
def by_logits(y, a, b):
    l = torch.logit(y)
    return a * F.logsigmoid(l) + b * F.logsigmoid(-l)


@accepted("chapter02.pointwise")
def by_xlogy(y, a, b):
    return torch.special.xlogy(a, y) + torch.special.xlog1py(b, -y)


@accepted("chapter02.maximiser")
def what_the_samples_leave(a, b):
    return 1 - b / (a + b)


@accepted("chapter02.pointwise")
def by_powers(y, a, b):
    return torch.log(y).mul(a).add(torch.log(1.0 - y).mul(b))


@accepted("chapter02.slope")
def one_fraction(y, a, b):
    return (a - (a + b) * y) / (y * (1 - y))


@accepted("chapter02.slope")
def by_autograd(y, a, b):
    y = y.clone().requires_grad_()
    return torch.autograd.grad((a * y.log() + b * torch.log1p(-y)).sum(), y)[0]


@accepted("chapter02.slope")
def by_reciprocals(y, a, b):
    return torch.mul(a, y.reciprocal()) + torch.div(b, y - 1)


@accepted("chapter02.maximiser")
def by_odds(a, b):
    return 1 / (1 + b / a)


@accepted("chapter02.maximiser")
def by_sigmoid(a, b):
    return torch.sigmoid(a.log() - b.log())


@accepted("chapter02.maximiser")
def by_stack(a, b):
    both = torch.stack([a, b])
    return (both / both.sum(0))[0]


@accepted("chapter02.maximiser")
def one_less_the_other(a, b):
    return torch.where(a < b, a / (a + b), a.div(b + a))


@accepted("chapter02.curvature")
def negative_sum(y, a, b):
    return -(a * y**-2 + b * (1 - y) ** -2)


@accepted("chapter02.curvature")
def over_one_fraction(y, a, b):
    return -(a * (1 - y).square() + b * y.square()) / (y * (1 - y)).square()


@accepted("chapter02.curvature")
def by_autograd_twice(y, a, b):
    y = y.detach().clone().requires_grad_()
    V = (a * y.log() + b * torch.log(1 - y)).sum()
    (first,) = torch.autograd.grad(V, y, create_graph=True)
    return torch.autograd.grad(first.sum(), y)[0]


@accepted("chapter02.value_of_best")
def by_entropies(p_data, p_g, dx):
    entr, both = torch.special.entr, p_data + p_g
    return (entr(both) - entr(p_data) - entr(p_g)).sum() * dx


@accepted("chapter02.value_of_best")
def by_the_answer(p_data, p_g, dx):
    D = torch.where(p_data + p_g > 0, p_data / (p_data + p_g), 0.5)
    return (torch.special.xlogy(p_data, D) + torch.special.xlogy(p_g, 1 - D)).sum() * dx


@accepted("chapter02.value_of_best")
def only_where_both_are(p_data, p_g, dx):
    total = 0.0
    for own, other in ((p_data, p_g), (p_g, p_data)):
        there = own > 0
        total = total + (own[there] * (own[there] / (own + other)[there]).log()).sum()
    return total * dx


@accepted("chapter02.value_of_best")
def as_a_float(p_data, p_g, dx):
    total = 0.0
    for p, q in zip(p_data.flatten().tolist(), p_g.flatten().tolist(), strict=True):
        total += p * math.log(p / (p + q)) if p > 0 else 0.0
        total += q * math.log(q / (p + q)) if q > 0 else 0.0
    return total * dx


@accepted("chapter02.value_of_best")
def by_divergences(p_data, p_g, dx):
    middle = (p_data + p_g) / 2
    kl = sum(torch.special.xlogy(p, p / middle).nan_to_num(0.0).sum() for p in (p_data, p_g))
    return (kl - (p_data + p_g).sum() * math.log(2)) * dx


@accepted("chapter02.best_generator")
def a_copy_and_a_tensor(p_data):
    return p_data.clone(), -torch.log(torch.tensor(4.0))


@accepted("chapter02.best_generator")
def twice_log_a_half(p_data):
    return [1.0 * p_data, 2 * math.log(0.5)]


@accepted("chapter02.best_generator")
def itself_and_a_number(p_data):
    return p_data, torch.tensor(0.25, dtype=p_data.dtype).log()
