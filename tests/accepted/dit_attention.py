"""Right answers to chapter 09, attention, written another way."""

import math
import types

import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import dit_attention
from cs231n_gen.checking.variants import accepted
from cs231n_gen.dit_tokens import rotate

ATTEND = "dit_attention.attend"
SELF = "dit_attention.Attention"
CROSS = "dit_attention.CrossAttention"
JOINT = "dit_attention.JointAttention"
DENOISER = "dit_attention.denoiser_is_attention"


def fits(q, k, v, bias=None):
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError("q, k and v do not fit")


def known(x_t, a, b, data):
    if not b > 0 or data.shape[1:] != x_t.shape[1:] or len(data) == 0:
        raise ValueError("b must be positive, and data shaped like x_t")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {ATTEND: fits, DENOISER: known}

# --- dit_attention.attend -----------------------------------------------------------------------


@accepted(ATTEND)
def by_einsum(q, k, v, bias=None):
    scores = torch.einsum("...td,...sd->...ts", q, k) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias.to(q)
    blind = (scores == -math.inf).all(-1, keepdim=True)
    p = torch.softmax(scores.masked_fill(blind, 0.0), dim=-1).masked_fill(blind, 0.0)
    return torch.einsum("...ts,...se->...te", p, v)


@accepted(ATTEND)
def softmax_by_hand(q, k, v, bias=None):
    scores = (q / q.shape[-1] ** 0.5) @ k.mT
    if bias is not None:
        scores = scores + bias.to(q.dtype)
    peak = scores.detach().amax(-1, keepdim=True)
    p = (scores - peak.masked_fill(peak.isneginf(), 0.0)).exp()
    total = p.sum(-1, keepdim=True)
    return (p @ v) / torch.where(total == 0, 1.0, total)


@accepted(ATTEND)
def a_masked_softmax(q, k, v, bias=None):
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if bias is None:
        return F.softmax(scores, dim=-1) @ v
    bias = bias.to(q.dtype).broadcast_to(scores.shape)
    seen = bias != -math.inf
    scores = torch.where(seen, scores + torch.where(seen, bias, 0.0), torch.finfo(q.dtype).min)
    return (F.softmax(scores, dim=-1) * seen) @ v


@accepted(ATTEND)
def query_by_query(q, k, v, bias=None):
    full = torch.zeros((), dtype=q.dtype) if bias is None else bias.to(q.dtype)
    full = full.expand(*q.shape[:-1], k.shape[-2])
    rows = []
    for t in range(q.shape[-2]):
        scores = (k * q[..., t : t + 1, :]).sum(-1) / q.shape[-1] ** 0.5 + full[..., t, :]
        blind = scores.isneginf().all(-1, keepdim=True)
        p = scores.masked_fill(blind, 0.0).log_softmax(-1).exp().masked_fill(blind, 0.0)
        rows.append((p[..., None] * v).sum(-2))
    return torch.stack(rows, dim=-2)


@accepted(ATTEND)
def by_torch_with_a_mask_of_zeros(q, k, v, bias=None):
    mask = torch.zeros(*q.shape[:-1], k.shape[-2], dtype=q.dtype, device=q.device)
    if bias is not None:
        mask = mask + bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, mask)


# --- dit_attention.Attention --------------------------------------------------------------------


def attention(dim, heads, qk_norm, **methods):
    layer = dit_attention.Attention(dim, heads, qk_norm)
    for name, method in methods.items():
        setattr(layer, name, types.MethodType(method, layer))
    return layer


@accepted(SELF)
def cut_by_chunks(dim, heads, qk_norm=False):
    def split(self, x, grid=None):
        B, T, _ = x.shape
        q, k, v = (
            part.reshape(B, T, self.heads, -1).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        if not isinstance(self.q_norm, nn.Identity):
            q, k = self.q_norm(q), self.k_norm(k)
        if grid:
            q, k = rotate(q, grid[0], grid[1]), rotate(k, grid[0], grid[1])
        return [q, k, v]

    def forward(self, x, grid=None):
        q, k, v = self.split(x, grid)
        o = F.scaled_dot_product_attention(q, k, v)
        return self.out(o.transpose(1, 2).reshape(x.shape))

    return attention(dim, heads, qk_norm, split=split, forward=forward)


@accepted(SELF)
def head_by_head(dim, heads, qk_norm=False):
    def forward(self, x, grid=None):
        q, k, v = self.split(x, grid)
        each = [
            ((q[:, h] @ k[:, h].mT) / q.shape[-1] ** 0.5).softmax(-1) @ v[:, h]
            for h in range(self.heads)
        ]
        return self.out(torch.cat(each, dim=-1))

    return attention(dim, heads, qk_norm, forward=forward)


@accepted(SELF)
class ThreeProducts(dit_attention.Attention):
    """Each of q, k and v by a product of its own, normalised and turned together."""

    def split(self, x, grid=None):
        w, b = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        q, k, v = (
            torch.einsum("bti,oi->bto", x, w[n]).add(b[n]).unflatten(-1, (self.heads, -1))
            for n in range(3)
        )
        q, k = (norm(t) for norm, t in ((self.q_norm, q), (self.k_norm, k)))
        q, k, v = (t.movedim(2, 1) for t in (q, k, v))
        if grid is not None:
            q, k = rotate(torch.stack([q, k]), *grid)
        return q, k, v

    def forward(self, x, grid=None):
        o = dit_attention.attend(*self.split(x, grid))
        w = self.out.weight.unflatten(1, (self.heads, -1))
        return torch.einsum("bhtd,ohd->bto", o, w) + self.out.bias


# --- dit_attention.CrossAttention ---------------------------------------------------------------


def cross(dim, context, heads, forward):
    layer = dit_attention.CrossAttention(dim, context, heads)
    layer.forward = types.MethodType(forward, layer)
    return layer


@accepted(CROSS)
def by_chunks(dim, context, heads):
    def forward(self, x, y, mask=None):
        bias = dit_attention.hidden(mask, y)
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.kv(y).chunk(2, dim=-1)
        )
        return self.out(dit_attention.attend(q, k, v, bias).transpose(1, 2).flatten(2))

    return cross(dim, context, heads, forward)


@accepted(CROSS)
def by_torchs_boolean_mask(dim, context, heads):
    def forward(self, x, y, mask=None):
        if mask is not None and (mask.shape != y.shape[:2] or mask.dtype != torch.bool):
            raise ValueError("mask must be one truth value for each token of y")
        (q,) = dit_attention.heads_of(self.q(x), 1, self.heads)
        k, v = dit_attention.heads_of(self.kv(y), 2, self.heads)
        seen = None if mask is None else mask[:, None, None].expand(-1, -1, x.shape[1], -1)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(dit_attention.join(o))

    return cross(dim, context, heads, forward)


@accepted(CROSS)
def example_by_example(dim, context, heads):
    def forward(self, x, y, mask=None):
        dit_attention.hidden(mask, y)
        rows = []
        for n in range(len(x)):
            words = y[n : n + 1] if mask is None else y[n : n + 1, mask[n]]
            (q,) = dit_attention.heads_of(self.q(x[n : n + 1]), 1, self.heads)
            k, v = dit_attention.heads_of(self.kv(words), 2, self.heads)
            p = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
            rows.append(self.out(dit_attention.join(p @ v)))
        return torch.cat(rows)

    return cross(dim, context, heads, forward)


# --- dit_attention.JointAttention ---------------------------------------------------------------


def joint(dim, heads, qk_norm, forward):
    layer = dit_attention.JointAttention(dim, heads, qk_norm)
    layer.forward = types.MethodType(forward, layer)
    return layer


@accepted(JOINT)
def the_text_first(dim, heads, qk_norm=False):
    """Keys have no order: the text may come first, if its rows are cut off there."""

    def forward(self, x, y, mask=None, grid=None):
        bias = dit_attention.hidden(mask, y)
        S = y.shape[1]
        parts = zip(self.text.split(y), self.image.split(x, grid), strict=True)
        q, k, v = (torch.cat(two, dim=2) for two in parts)
        if bias is not None:
            bias = torch.cat([bias, bias.new_zeros(len(x), 1, 1, x.shape[1])], dim=-1)
        out = dit_attention.join(dit_attention.attend(q, k, v, bias))
        return self.image.out(out[:, S:]), self.text.out(out[:, :S])

    return joint(dim, heads, qk_norm, forward)


@accepted(JOINT)
def two_calls(dim, heads, qk_norm=False):
    """Each stream asks in a call of its own, and sees the keys of both."""

    def forward(self, x, y, mask=None, grid=None):
        bias = dit_attention.hidden(mask, y)
        image, text = self.image.split(x, grid), self.text.split(y)
        k, v = (torch.cat([image[n], text[n]], dim=2) for n in (1, 2))
        if bias is not None:
            bias = torch.cat([torch.zeros_like(image[1][:, :1, None, :, 0]), bias], dim=-1)
        found = [dit_attention.attend(q, k, v, bias) for q in (image[0], text[0])]
        x, y = (dit_attention.join(o) for o in found)
        return self.image.out(x), self.text.out(y)

    return joint(dim, heads, qk_norm, forward)


@accepted(JOINT)
def hidden_by_a_large_number(dim, heads, qk_norm=False):
    """No query is without keys: a finite number will do."""

    def forward(self, x, y, mask=None, grid=None):
        dit_attention.hidden(mask, y)
        T, S = x.shape[1], y.shape[1]
        q, k, v = (
            torch.cat(two, dim=2)
            for two in zip(self.image.split(x, grid), self.text.split(y), strict=True)
        )
        scores = q @ k.mT * q.shape[-1] ** -0.5
        if mask is not None:
            seen = F.pad(mask, (T, 0), value=True)
            scores = scores.masked_fill(~seen[:, None, None], torch.finfo(q.dtype).min)
        x, y = dit_attention.join(scores.softmax(-1) @ v).split([T, S], dim=1)
        return [self.image.out(x), self.text.out(y)]

    return joint(dim, heads, qk_norm, forward)


@accepted(JOINT)
def nothing_in_the_places_of_padding(dim, heads, qk_norm=False):
    """Padding does not ask: its places stay 0."""
    layer = dit_attention.JointAttention(dim, heads, qk_norm)
    right = layer.forward

    def forward(self, x, y, mask=None, grid=None):
        tokens, words = right(x, y, mask, grid)
        return tokens, words if mask is None else words * mask[..., None]

    layer.forward = types.MethodType(forward, layer)
    return layer


# --- dit_attention.denoiser_is_attention --------------------------------------------------------


@accepted(DENOISER)
def keys_times_a(x_t, a, b, data):
    rows, members = x_t.double().flatten(1), data.double().flatten(1)
    keys = a / b * members
    q = rows / b * rows.shape[1] ** 0.5
    x = dit_attention.attend(q, keys, members, -keys.square().sum(1) / 2)
    return x.view(x_t.shape).to(x_t.dtype)


@accepted(DENOISER)
def the_whole_square_as_a_bias(x_t, a, b, data):
    """The query is 0, and all is said by the bias."""
    rows, members = x_t.double().flatten(1), data.double().flatten(1)
    bias = -(rows[:, None] - a * members).square().sum(-1) / (2 * b**2)
    x = dit_attention.attend(torch.zeros_like(rows), members, members, bias)
    return x.reshape_as(x_t).to(x_t)


@accepted(DENOISER)
def moved_to_the_mean(x_t, a, b, data):
    """Data are moved to their mean, and the mean is added again."""
    mean = data.double().mean(0)
    rows, members = (x_t.double() - a * mean).flatten(1), (data.double() - mean).flatten(1)
    q = (a * rows.shape[1] ** 0.5 / b**2) * rows
    bias = -((a / b) ** 2) * torch.linalg.vector_norm(members, dim=1) ** 2 / 2
    x = dit_attention.attend(q[None], members[None], members[None], bias[None, None])[0]
    return (x.unflatten(1, x_t.shape[1:]) + mean).to(x_t.dtype)


@accepted(DENOISER)
def an_axis_of_ones(x_t, a, b, data):
    """The bias as one more number of each key, which the query has a 1 for."""
    rows, members = x_t.double().flatten(1), data.double().flatten(1)
    square = members.square().sum(1, keepdim=True)
    keys = torch.cat([members * a / b**2, -(a**2) * square / (2 * b**2)], dim=1)
    q = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1) * keys.shape[1] ** 0.5
    return dit_attention.attend(q, keys, members).reshape(x_t.shape).to(x_t.dtype)
