"""Right answers to chapter 13, images as codes, written another way."""

import math

import torch
from torch.nn import functional as F

from cs231n_gen import vq
from cs231n_gen.checking.variants import accepted


def no_codes(z, codes):
    vq._check_codes(z, codes)


def no_loss(z, codes, index, beta=0.25):
    no_codes(z, codes)
    vq._check_index(z, index)
    if not beta >= 0:
        raise ValueError(f"beta must be at least 0, got {beta}")


def no_update(counts, sums, z, index, decay=0.99, eps=1e-5):
    vq._check_state(counts, sums, z)
    vq._check_index(z, index)
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be from 0 to below 1, got {decay}")
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")


def no_revival(codes, counts, sums, z, least, generator=None):
    vq._check_state(counts, sums, z)
    if codes.shape != sums.shape:
        shapes = f"codes are {tuple(codes.shape)}, sums {tuple(sums.shape)}"
        raise ValueError(f"codes and sums must be of one shape: {shapes}")
    if z.numel() == 0:
        raise ValueError("z must hold at least one vector, got none")
    if not least >= 0:
        raise ValueError(f"least must be at least 0, got {least}")


def no_levels(z, levels):
    vq._checked_levels(levels)
    if z.dim() == 0 or z.shape[-1] != len(levels):
        raise ValueError(f"z must have {len(levels)} numbers a vector, got {tuple(z.shape)}")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "vq.nearest": no_codes,
    "vq.quantize": no_codes,
    "vq.loss": no_loss,
    "vq.update_codes": no_update,
    "vq.revive": no_revival,
    "vq.finite_scalar": no_levels,
}


# --- vq.nearest ---------------------------------------------------------------------------------


@accepted("vq.nearest")
def by_cdist(z, codes):
    rows = z.detach().reshape(-1, z.shape[-1])
    return torch.cdist(rows, codes).argmin(1).reshape(z.shape[:-1])


@accepted("vq.nearest")
def by_differences(z, codes):
    return (z[..., None, :] - codes).square().sum(-1).argmin(-1)


@accepted("vq.nearest")
def all_three_terms(z, codes):
    scores = (z * z).sum(-1, keepdim=True) - 2 * torch.einsum("...d,kd->...k", z, codes)
    return torch.min(scores + (codes * codes).sum(-1), dim=-1).indices


@accepted("vq.nearest")
def the_largest_score(z, codes):
    return torch.argmax(z @ codes.mT - 0.5 * (codes**2).sum(-1), dim=-1)


@accepted("vq.nearest")
@torch.no_grad()
def vector_after_vector(z, codes):
    rows = z.reshape(-1, z.shape[-1])
    found = [int(torch.linalg.vector_norm(codes - row, dim=1).argmin()) for row in rows]
    return torch.tensor(found, dtype=torch.int64).reshape(z.shape[:-1])


# --- vq.quantize --------------------------------------------------------------------------------


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, chosen):
        return chosen.clone()

    @staticmethod
    def backward(ctx, to_q):
        return to_q, None


@accepted("vq.quantize")
def by_a_function_of_autograd(z, codes):
    index = vq.nearest(z, codes)
    return _Through.apply(z, codes.detach()[index]), index


@accepted("vq.quantize")
def nothing_added_to_the_code(z, codes):
    index = vq.nearest(z, codes)
    return F.embedding(index, codes).detach() + (z - z.detach()), index


@accepted("vq.quantize")
def by_one_hot(z, codes):
    k = torch.cdist(z.detach().reshape(-1, z.shape[-1]), codes.detach()).argmin(1)
    chosen = (F.one_hot(k, len(codes)).to(z.dtype) @ codes).reshape(z.shape)
    return z - (z - chosen).detach(), k.reshape(z.shape[:-1])


@accepted("vq.quantize")
def under_no_grad(z, codes):
    with torch.no_grad():
        index = vq.nearest(z, codes)
        shift = codes[index] - z
    return z + shift, index


# --- vq.loss ------------------------------------------------------------------------------------


@accepted("vq.loss")
def by_mse_loss(z, codes, index, beta=0.25):
    q = F.embedding(index, codes)
    both = F.mse_loss(q, z.detach()) + beta * F.mse_loss(z, q.detach())
    return both * z.shape[-1]


@accepted("vq.loss")
def in_rows(z, codes, index, beta=0.25):
    rows = z.reshape(-1, z.shape[-1])
    chosen = codes[index.reshape(-1)]
    total = (rows.detach() - chosen).pow(2).sum() + beta * (rows - chosen.detach()).pow(2).sum()
    return total / len(rows)


@accepted("vq.loss")
def by_one_hot_products(z, codes, index, beta=0.25):
    chosen = F.one_hot(index, len(codes)).to(codes.dtype) @ codes
    first = torch.linalg.vector_norm(chosen - z.detach(), dim=-1) ** 2
    second = ((chosen.detach() - z) ** 2).sum(-1)
    return torch.mean(first + beta * second)


@accepted("vq.loss")
def vector_by_vector(z, codes, index, beta=0.25):
    rows, own = z.reshape(-1, z.shape[-1]), index.flatten().tolist()
    costs = []
    for row, k in zip(rows, own, strict=True):
        first = ((row.detach() - codes[k]) ** 2).sum()
        costs.append(first + beta * ((row - codes[k].detach()) ** 2).sum())
    return torch.stack(costs).mean()


# --- vq.update_codes ----------------------------------------------------------------------------


@accepted("vq.update_codes")
@torch.no_grad()
def one_hot_sums(counts, sums, z, index, decay=0.99, eps=1e-5):
    own = F.one_hot(index.flatten(), len(counts)).to(sums.dtype)
    counts = decay * counts.to(sums.dtype) + (1 - decay) * own.sum(0)
    sums = decay * sums + (1 - decay) * own.T @ z.reshape(-1, z.shape[-1]).to(sums.dtype)
    n = counts.sum()
    return sums / ((counts + eps) / (n + len(counts) * eps) * n)[:, None], counts, sums


@accepted("vq.update_codes")
def with_lerp(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = counts.detach().to(sums.dtype), sums.detach()
    rows = z.detach().to(sums.dtype).reshape(-1, z.shape[-1])
    seen = torch.bincount(index.reshape(-1), minlength=len(counts)).to(sums.dtype)
    added = torch.zeros_like(sums).scatter_add(
        0, index.reshape(-1, 1).expand(-1, rows.shape[1]), rows
    )
    counts, sums = torch.lerp(counts, seen, 1 - decay), torch.lerp(sums, added, 1 - decay)
    n = counts.sum()
    weights = (counts + eps) / (n + eps * counts.numel())
    return sums / (n * weights.unsqueeze(1)), counts, sums


@accepted("vq.update_codes")
@torch.no_grad()
def code_after_code(counts, sums, z, index, decay=0.99, eps=1e-5):
    new_counts, new_sums = decay * counts.to(sums.dtype), decay * sums
    for k in range(len(counts)):
        own = z[index == k].to(sums.dtype)
        new_counts[k] += (1 - decay) * len(own)
        new_sums[k] += (1 - decay) * own.sum(0)
    n = float(new_counts.sum())
    codes = torch.empty_like(sums)
    for k in range(len(counts)):
        codes[k] = new_sums[k] * (n + len(counts) * eps) / (n * (new_counts[k] + eps))
    return codes, new_counts, new_sums


@accepted("vq.update_codes")
@torch.no_grad()
def in_place_on_copies(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = counts.clone().to(sums.dtype), sums.clone()
    rows, own = z.flatten(0, -2) if z.dim() > 1 else z[None], index.flatten()
    counts.mul_(decay).add_(torch.bincount(own, minlength=len(counts)), alpha=1 - decay)
    added = torch.zeros_like(sums).index_put_((own,), rows.to(sums.dtype), accumulate=True)
    sums.mul_(decay).add_(added, alpha=1 - decay)
    n = counts.sum()
    return sums * ((n + len(counts) * eps) / n / (counts + eps))[:, None], counts, sums


# --- vq.revive ----------------------------------------------------------------------------------


@accepted("vq.revive")
@torch.no_grad()
def one_dead_code_after_another(codes, counts, sums, z, least, generator=None):
    rows, share = z.reshape(-1, z.shape[-1]), max(least, float(counts.double().mean()))
    codes, counts, sums = codes.clone(), counts.clone(), sums.clone()
    left = []
    for k in range(len(codes)):
        if counts[k] < least:
            if not left:
                left = torch.randperm(len(rows), generator=generator).tolist()
            codes[k] = rows[left.pop()]
            counts[k] = share
            sums[k] = share * codes[k]
    return codes, counts, sums


@accepted("vq.revive")
@torch.no_grad()
def by_where(codes, counts, sums, z, least, generator=None):
    rows, K = z.reshape(-1, z.shape[-1]).to(codes.dtype), len(codes)
    dead = counts < least
    turns = math.ceil(K / len(rows))
    order = torch.cat([torch.randperm(len(rows), generator=generator) for _ in range(turns)])
    place = (dead.cumsum(0) - 1).clamp(min=0)  # which of the dead it is
    codes = torch.where(dead[:, None], rows[order[place]], codes)
    share = torch.maximum(counts.mean(), torch.as_tensor(least, dtype=counts.dtype))
    counts = torch.where(dead, share, counts)
    return codes, counts, torch.where(dead[:, None], counts[:, None] * codes, sums)


@accepted("vq.revive")
@torch.no_grad()
def by_sorted_noise(codes, counts, sums, z, least, generator=None):
    rows = z.reshape(-1, z.shape[-1]).to(codes.dtype)
    out = codes.clone(), counts.clone(), sums.clone()
    dead = torch.where(counts < least)[0]
    share = max(float(counts.mean()), least)
    for begin in range(0, len(dead), len(rows)):
        some = dead[begin : begin + len(rows)]
        chance = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        own = rows[chance.argsort()[: len(some)]]
        out[0][some], out[1][some], out[2][some] = own, share, share * own
    return out


# --- vq.finite_scalar ---------------------------------------------------------------------------


@accepted("vq.finite_scalar")
def number_by_number(z, levels):
    q, index, stride = [], torch.zeros(z.shape[:-1], dtype=torch.int64), 1
    for i, n in enumerate(levels):
        h, o = (n - 1) * 1.001 / 2, 0.0 if n % 2 else 0.5
        b = h * torch.tanh(z[..., i] + math.atanh(o / h)) - o
        c = torch.round(b).detach()
        q.append((b - b.detach() + c) / (n // 2))
        index = index + (c.long() + n // 2) * stride
        stride *= n
    return torch.stack(q, -1), index


@accepted("vq.finite_scalar")
def rounded_last(z, levels):
    L = torch.as_tensor(levels).to(torch.float64)
    h, below = (L - 1) * (1 + 1e-3) / 2, torch.floor(L / 2)
    o = 0.5 * (1 - L % 2)
    s = 0.5 * torch.log((h + o) / (h - o))
    b = (h.to(z) * torch.tanh(z + s.to(z)) - o.to(z)) / below.to(z)
    q = b + ((b * below.to(z)).round() / below.to(z) - b).detach()
    digits = ((q.detach() + 1) * below.to(z)).round().long()
    # The second half of an odd number of levels goes as far up as down: no level is left out.
    strides = torch.tensor([1, *levels[:-1]]).cumprod(0)
    return q, (digits * strides).sum(-1)


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, b):
        return torch.floor(b + 0.5)

    @staticmethod
    def backward(ctx, to_c):
        return to_c


@accepted("vq.finite_scalar")
def by_its_own_rounding(z, levels):
    L = torch.tensor([*levels], dtype=z.dtype)
    even = (L % 2 == 0).to(z.dtype)
    h, o = 1.001 * (L - 1) / 2, even / 2
    c = _Rounded.apply(h * (z + torch.atanh((o / h).double()).to(z.dtype)).tanh() - o)
    index = torch.zeros(z.shape[:-1], dtype=torch.int64)
    for i in reversed(range(len(levels))):  # Horner's scheme
        index = index * levels[i] + c[..., i].detach().long() + levels[i] // 2
    return c / (L // 2), index
