"""Typical wrong answers to chapter 09, attention, each with the sentence that explains it.

Layers are the reference's with a method exchanged, so that weights go by the same names.
"""

import math
import types

import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import dit_attention
from cs231n_gen.checking.variants import form_of, mistake, several
from cs231n_gen.dit_attention import heads_of, hidden, join
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


def scores(q, k, bias, scale=None):
    s = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    return s if bias is None else s + bias.to(s.dtype)


def softmax(s, axis=-1):
    """0 where all is −∞."""
    blind = s.isneginf().all(axis, keepdim=True)
    return s.masked_fill(blind, 0.0).softmax(axis).masked_fill(blind, 0.0)


def scaled(of):
    """Attention with another scale."""
    return lambda q, k, v, bias=None: softmax(scores(q, k, bias, of(q, k, v))) @ v


def biased(of):
    """Attention with another bias."""
    return lambda q, k, v, bias=None: (
        softmax(scores(q, k, None if bias is None else of(bias.to(q.dtype)))) @ v
    )


def weighed(of):
    """Attention with other weights of the scores."""
    return lambda q, k, v, bias=None: of(scores(q, k, bias)) @ v


formulas = several(
    ATTEND,
    (
        "not_scaled",
        "Scores are not divided by √d. They have a spread of √d for queries and keys of spread 1, "
        "and softmax would choose a single key.",
        scaled(lambda q, k, v: 1.0),
    ),
    (
        "divided_by_d",
        "Scores are divided by d: it is √d.",
        scaled(lambda q, k, v: 1 / q.shape[-1]),
    ),
    (
        "multiplied_by_the_root",
        "Scores are multiplied by √d: divide.",
        scaled(lambda q, k, v: q.shape[-1] ** 0.5),
    ),
    (
        "root_of_the_number_of_keys",
        "You divide by the root of the number of keys: d counts the numbers of a query.",
        scaled(lambda q, k, v: k.shape[-2] ** -0.5),
    ),
    (
        "root_of_the_number_of_queries",
        "You divide by the root of the number of queries: d counts the numbers of a query.",
        scaled(lambda q, k, v: q.shape[-2] ** -0.5),
    ),
    (
        "root_of_e",
        "You divide by the root of what a value has of numbers: d is what queries and keys have.",
        scaled(lambda q, k, v: v.shape[-1] ** -0.5),
    ),
    (
        "bias_times",
        "The bias multiplies the scores: it is added to them.",
        lambda q, k, v, bias=None: (
            softmax(scores(q, k, None) * (1 if bias is None else bias.to(q.dtype))) @ v
        ),
    ),
    ("bias_minus", "The bias is subtracted: it is added.", biased(lambda bias: -bias)),
    ("no_bias", "The bias is not used: add it to the scores.", biased(torch.zeros_like)),
    (
        "bias_scaled_too",
        "The bias is divided by √d, too: it is added after the scores are scaled.",
        lambda q, k, v, bias=None: softmax(scores(q, k, bias, 1.0) / q.shape[-1] ** 0.5) @ v,
    ),
    (
        "bias_on_weights",
        "The bias is added after the softmax. It belongs to the scores.",
        lambda q, k, v, bias=None: (
            (scores(q, k, None).softmax(-1) + (0.0 if bias is None else bias.to(q.dtype))) @ v
        ),
    ),
    (
        "bias_as_a_mask",
        "You take the bias for a mask, which hides a key or does not. Any number can be added to a "
        "score.",
        biased(lambda bias: torch.zeros_like(bias).masked_fill(bias.isneginf(), -math.inf)),
    ),
    (
        "hidden_by_a_large_number",
        "A query from which all keys are hidden gets the mean of all values, as if they were "
        "hidden by a large finite number. It gets 0.",
        biased(lambda bias: bias.clamp(min=-1e9)),
    ),
    (
        "hidden_by_0",
        "A hidden key gets a score of 0, which is a weight like others: e⁰. Its score is −∞.",
        lambda q, k, v, bias=None: (
            softmax(scores(q, k, bias).masked_fill(scores(q, k, bias).isneginf(), 0.0)) @ v
        ),
    ),
    (
        "hidden_after_the_softmax",
        "Hidden keys lose their weight after the softmax, which has counted them: the weights that "
        "are left do not add up to 1.",
        lambda q, k, v, bias=None: (
            softmax(scores(q, k, bias).nan_to_num(neginf=0.0)).masked_fill(
                scores(q, k, bias).isneginf(), 0.0
            )
            @ v
        ),
    ),
    (
        "over_queries",
        "Your softmax runs over the queries. The weights of each query add up to 1 over its keys, "
        "the last axis.",
        weighed(lambda s: softmax(s, -2)),
    ),
    (
        "along_axis_1",
        "Your softmax runs along axis 1, which is that of keys for two axes alone. Keys are the "
        "last axis.",
        weighed(lambda s: softmax(s, 1)),
    ),
    (
        "sigmoids",
        "You weigh with sigmoids, whose sum over keys is not 1: it is a softmax.",
        weighed(torch.sigmoid),
    ),
    (
        "no_softmax",
        "There is no softmax: scores themselves weigh the values.",
        weighed(lambda s: s.nan_to_num(neginf=0.0)),
    ),
    (
        "not_divided_by_the_sum",
        "Weights are eˢ and do not add up to 1: divide them by their sum over the keys.",
        weighed(torch.exp),
    ),
    (
        "cosines",
        "You make queries and keys unit vectors first. Their lengths count.",
        lambda q, k, v, bias=None: (
            softmax(scores(F.normalize(q, dim=-1), F.normalize(k, dim=-1), bias)) @ v
        ),
    ),
    (
        "scores_clamped",
        "You clamp the scores. No score is too large once the largest of its row is subtracted, as "
        "torch's softmax does.",
        weighed(lambda s: softmax(s.clamp(-30, 30).masked_fill(s.isneginf(), -math.inf))),
    ),
    (
        "one_key_alone",
        "Each query takes the value of its best key. It is a mean over all keys.",
        weighed(lambda s: F.one_hot(s.argmax(-1), s.shape[-1]).to(s.dtype)),
    ),
)


@mistake(
    ATTEND,
    "A query from which all keys are hidden gets NaN: softmax of −∞ throughout is 0/0. It gets 0.",
    sure=True,
)
def nan_for_the_blind(q, k, v, bias=None):
    return scores(q, k, bias).softmax(-1) @ v


@mistake(
    ATTEND,
    "The result is mended where all keys are hidden, but NaN still comes to the gradients: what is "
    "0 times NaN is NaN. Mend the scores before the softmax.",
    sure=True,
)
def nan_in_gradients(q, k, v, bias=None):
    return scores(q, k, bias).softmax(-1).nan_to_num(0.0) @ v


@mistake(
    ATTEND,
    "exp of a large score overflows: subtract the largest score of each row first, as torch's "
    "softmax does.",
    sure=True,
)
def overflowing(q, k, v, bias=None):
    p = scores(q, k, bias).exp()
    total = p.sum(-1, keepdim=True)
    blind = scores(q, k, bias).isneginf().all(-1, keepdim=True)
    return (p / total.masked_fill(blind, 1.0)) @ v


@mistake(
    ATTEND,
    "torch's attention wants the bias in the precision of q, and with two axes at least: bring it "
    "there first.",
    sure=True,
)
def bias_as_it_is(q, k, v, bias=None):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


@mistake(
    ATTEND,
    "Your formula holds for (batch, heads, tokens, d) alone. Any axes may be in front, or none.",
    sure=True,
)
def four_axes(q, k, v, bias=None):
    s = torch.einsum("bhtd,bhsd->bhts", q, k) / q.shape[-1] ** 0.5
    s = s if bias is None else s + bias.to(q.dtype)
    return torch.einsum("bhts,bhse->bhte", softmax(s), v)


@mistake(
    ATTEND,
    "The weights are cut out of the graph: queries and keys would never learn.",
    sure=True,
)
def weights_cut_out(q, k, v, bias=None):
    return softmax(scores(q, k, bias)).detach() @ v


@mistake(ATTEND, "The bias is cut out of the graph: no gradient reaches it.", sure=True)
def bias_cut_out(q, k, v, bias=None):
    return softmax(scores(q, k, None if bias is None else bias.detach())) @ v


@mistake(ATTEND, "The values are cut out of the graph: no gradient reaches them.", sure=True)
def values_cut_out(q, k, v, bias=None):
    return softmax(scores(q, k, bias)) @ v.detach()


@mistake(ATTEND, "You compute in float32 whatever comes: digits of float64 are lost.", public=False)
def in_float32(q, k, v, bias=None):
    s = scores(q.float(), k.float(), None if bias is None else bias.float())
    return (softmax(s) @ v.float()).to(q.dtype)


@mistake(ATTEND, "The result is in the precision of the bias: it is in that of q.", sure=True)
def in_the_precision_of_the_bias(q, k, v, bias=None):
    s = q @ k.mT / q.shape[-1] ** 0.5
    p = softmax(s if bias is None else s + bias)
    return p @ v.to(p.dtype)


@mistake(
    ATTEND,
    "Shapes that do not fit are not refused: leave the lines above yours as they are.",
    public=False,
    bare=True,
)
def nothing_refused(q, k, v, bias=None):
    d, S = min(q.shape[-1], k.shape[-1]), min(k.shape[-2], v.shape[-2])
    return softmax(scores(q[..., :d], k[..., :S, :d], bias)) @ v[..., :S, :]


@mistake(
    ATTEND,
    "Keys of a single number, or a single key, are let through where they broadcast.",
    public=False,
    bare=True,
)
def what_broadcasts(q, k, v, bias=None):
    try:
        k, v = k.expand(*k.shape[:-1], q.shape[-1]), v.expand(*v.shape[:-2], k.shape[-2], -1)
    except RuntimeError as error:
        raise ValueError("q, k and v do not fit") from error
    return dit_attention.attend(q, k, v, bias)


# --- dit_attention.Attention --------------------------------------------------------------------


def changed(layer, **methods):
    """The layer with other methods."""
    for name, method in methods.items():
        setattr(layer, name, types.MethodType(method, layer))
    return layer


def attention(**methods):
    """A maker of attention with other methods."""

    def make(dim, heads, qk_norm=False):
        return changed(dit_attention.Attention(dim, heads, qk_norm), **methods)

    return make


def split(cut=heads_of, norm=None, turn=None, after=None, order=(0, 1, 2)):
    """A `split` with another part."""

    def method(self, x, grid=None):
        parts = cut(self.qkv(x), 3, self.heads)
        q, k, v = (parts[n] for n in order)
        q, k, v = norm(self, q, k, v) if norm else (self.q_norm(q), self.k_norm(k), v)
        if grid is not None:
            q, k, v = turn(q, k, v, grid) if turn else (rotate(q, *grid), rotate(k, *grid), v)
        return after(self, q, k, v) if after else [q, k, v]

    return method


def splits(**options):
    return attention(split=split(**options))


def ends(of):
    """Attention whose heads end otherwise."""

    def forward(self, x, grid=None):
        return of(self, dit_attention.attend(*self.split(x, grid)), x)

    return attention(forward=forward)


def asks(of):
    """Attention that asks otherwise of q, k and v."""

    def forward(self, x, grid=None):
        return self.out(join(of(self, *self.split(x, grid))))

    return attention(forward=forward)


def by_heads_first(x, parts, heads):
    return x.unflatten(-1, (heads, parts, -1)).permute(3, 0, 2, 1, 4).unbind(0)


def interleaved(x, parts, heads):
    return x.unflatten(-1, (parts, -1, heads)).permute(2, 0, 4, 1, 3).unbind(0)


def reshaped(x, parts, heads):
    B, T, _ = x.shape
    return [part.reshape(B, heads, T, -1) for part in x.chunk(parts, dim=-1)]


def causal(q, k, v):
    later = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
    return dit_attention.attend(q, k, v, torch.zeros(later.shape).masked_fill(later, -math.inf))


def rms(x, axes=-1, eps=1e-6):
    return x / (x.square().mean(axes, keepdim=True) + eps).sqrt()


def normed_by(norm):
    """QK-norm by another norm, with the learned weights."""

    def both(self, q, k, v):
        if isinstance(self.q_norm, nn.Identity):
            return q, k, v
        return norm(q) * self.q_norm.weight, norm(k) * self.k_norm.weight, v

    return both


def turned_first(self, q, k, v):
    return q, k, v


SEVERAL_HEADS = "The numbers of a head lie side by side: `heads_of` knows."

attentions = several(
    SELF,
    ("order_q_v_k", "Your order is q, v, k. It is q, k, v.", splits(order=(0, 2, 1))),
    ("order_v_k_q", "Your order is v, k, q. It is q, k, v.", splits(order=(2, 1, 0))),
    (
        "order_k_q_v",
        "Queries and keys are exchanged: first comes q, then k, then v.",
        splits(order=(1, 0, 2)),
    ),
    (
        "heads_before_parts",
        "You cut into heads first, and each head into q, k and v. The layer makes q of all heads, "
        "then k, then v.",
        splits(cut=by_heads_first),
    ),
    (
        "heads_interleaved",
        f"Your heads take every so-manieth number. {SEVERAL_HEADS}",
        splits(cut=interleaved),
    ),
    (
        "heads_by_a_reshape",
        "(batch, tokens, dim) is reshaped to (batch, heads, tokens, …) at once, which mixes "
        "tokens: cut the last axis, then exchange two axes.",
        splits(cut=reshaped),
    ),
    (
        "joined_by_a_reshape",
        "The heads' results are reshaped to (batch, tokens, dim) at once, which mixes tokens. "
        "`join` brings the heads of a token side by side.",
        ends(lambda self, o, x: self.out(o.reshape(x.shape))),
    ),
    ("no_out", "`out` is forgotten: it mixes the heads.", ends(lambda self, o, x: join(o))),
    (
        "tokens_added",
        "The tokens themselves are added. That is for the block around the attention.",
        ends(lambda self, o, x: x + self.out(join(o))),
    ),
    (
        "one_head",
        "There is one head for all numbers. Each head has weights of its own.",
        asks(
            lambda self, q, k, v: (
                dit_attention.attend(*(join(t)[:, None] for t in (q, k, v)))
                .unflatten(-1, (self.heads, -1))[:, 0]
                .transpose(1, 2)
            )
        ),
    ),
    (
        "root_of_dim",
        "Scores are divided by √dim: d is what a head has of numbers.",
        asks(lambda self, q, k, v: dit_attention.attend(q / self.heads**0.5, k, v)),
    ),
    (
        "scaled_twice",
        "Scores are divided by √d twice: `attend` does it.",
        asks(lambda self, q, k, v: dit_attention.attend(q / q.shape[-1] ** 0.5, k, v)),
    ),
    (
        "heads_attend_to_each_other",
        "The heads of a token attend to each other. Tokens do, in each head by itself.",
        asks(
            lambda self, q, k, v: dit_attention.attend(
                *(t.transpose(1, 2) for t in (q, k, v))
            ).transpose(1, 2)
        ),
    ),
    (
        "a_token_sees_no_later_one",
        "A token sees none that come later, as in a language model. Here all see all.",
        asks(lambda self, q, k, v: causal(q, k, v)),
    ),
    (
        "values_turned",
        "Values are turned, too. Only queries and keys are.",
        splits(turn=lambda q, k, v, grid: [rotate(t, *grid) for t in (q, k, v)]),
    ),
    (
        "queries_turned_alone",
        "Keys are not turned. Only if both are does the score depend on the distance.",
        splits(turn=lambda q, k, v, grid: [rotate(q, *grid), k, v]),
    ),
    (
        "keys_turned_alone",
        "Queries are not turned. Only if both are does the score depend on the distance.",
        splits(turn=lambda q, k, v, grid: [q, rotate(k, *grid), v]),
    ),
    (
        "width_before_height",
        "Height and width of the grid are exchanged.",
        splits(turn=lambda q, k, v, grid: [rotate(q, *grid[::-1]), rotate(k, *grid[::-1]), v]),
    ),
    (
        "not_turned",
        "The grid is not used: it turns queries and keys.",
        splits(turn=lambda q, k, v, grid: [q, k, v]),
    ),
    (
        "turned_before_heads",
        "Queries and keys are turned before they are cut into heads. Each head is turned by "
        "itself.",
        splits(
            turn=lambda q, k, v, grid: [
                *(
                    rotate(join(t), *grid).unflatten(-1, (t.shape[1], -1)).transpose(1, 2)
                    for t in (q, k)
                ),
                v,
            ]
        ),
    ),
    (
        "never_normalised",
        "q_norm and k_norm are not used: with qk_norm they normalise queries and keys.",
        splits(norm=lambda self, q, k, v: (q, k, v)),
    ),
    (
        "queries_normalised_alone",
        "Keys are not normalised: scores can still grow without bound.",
        splits(norm=lambda self, q, k, v: (self.q_norm(q), k, v)),
    ),
    (
        "values_normalised",
        "Values are normalised, too. Only queries and keys are.",
        splits(
            norm=lambda self, q, k, v: (
                self.q_norm(q),
                self.k_norm(k),
                v if isinstance(self.q_norm, nn.Identity) else rms(v),
            )
        ),
    ),
    (
        "one_norm_for_both",
        "q_norm normalises the keys, too: they have weights of their own, `k_norm`.",
        splits(norm=lambda self, q, k, v: (self.q_norm(q), self.q_norm(k), v)),
    ),
    (
        "norms_exchanged",
        "q_norm and k_norm are exchanged: each has weights of its own.",
        splits(norm=lambda self, q, k, v: (self.k_norm(q), self.q_norm(k), v)),
    ),
    (
        "weights_of_the_norms_unused",
        "The weights of q_norm and k_norm are not used: call these layers.",
        splits(
            norm=lambda self, q, k, v: (
                (q, k, v) if isinstance(self.q_norm, nn.Identity) else (rms(q), rms(k), v)
            )
        ),
    ),
    (
        "norm_of_all_heads",
        "The root mean square is that of all heads of a token. Each head has its own.",
        splits(norm=normed_by(lambda t: rms(t, (1, 3)))),
    ),
    (
        "norm_of_all_tokens",
        "The root mean square is that of all tokens. Each token has its own.",
        splits(norm=normed_by(lambda t: rms(t, (2, 3)))),
    ),
    (
        "layer_norms",
        "Your norm subtracts the mean, as a layer norm does. Divide by the root mean square alone.",
        splits(norm=normed_by(lambda t: F.layer_norm(t, t.shape[-1:], eps=1e-6))),
    ),
    (
        "unit_vectors",
        "Queries and keys are divided by their length. The root mean square is smaller, by √d.",
        splits(norm=normed_by(lambda t: F.normalize(t, dim=-1, eps=1e-3))),
    ),
)


def split_turned_first(self, x, grid=None):
    q, k, v = heads_of(self.qkv(x), 3, self.heads)
    if grid is not None:
        q, k = rotate(q, *grid), rotate(k, *grid)
    return [self.q_norm(q), self.k_norm(k), v]


def split_without_biases(self, x, grid=None):
    q, k, v = heads_of(F.linear(x, self.qkv.weight), 3, self.heads)
    q, k = self.q_norm(q), self.k_norm(k)
    return [q, k, v] if grid is None else [rotate(q, *grid), rotate(k, *grid), v]


def split_of_turned_tokens(self, x, grid=None):
    x = x if grid is None else rotate(x, *grid)
    q, k, v = heads_of(self.qkv(x), 3, self.heads)
    return [self.q_norm(q), self.k_norm(k), v]


def forward_cut_off(self, x, grid=None):
    return self.out(join(dit_attention.attend(*self.split(x, grid)).detach()))


def forward_over_the_batch(self, x, grid=None):
    q, k, v = (t.transpose(0, 1).flatten(1, 2) for t in self.split(x, grid))
    o = dit_attention.attend(q, k, v)
    return self.out(join(o.unflatten(1, (len(x), -1)).transpose(0, 1)))


def forward_turning_late(self, x, grid=None):
    """Attention that is right, from a split that is not ready."""
    q, k, v = self.split(x)
    if grid is not None:
        q, k = rotate(q, *grid), rotate(k, *grid)
    return self.out(join(dit_attention.attend(q, k, v)))


more_attentions = several(
    SELF,
    (
        "turned_before_the_norm",
        "Queries and keys are turned first and normalised then. Weights of the norm must meet "
        "numbers that are not turned yet.",
        attention(split=split_turned_first),
    ),
    (
        "no_biases",
        "b_qkv is forgotten: call the layer `qkv`.",
        attention(split=split_without_biases),
    ),
    (
        "tokens_turned",
        "The tokens themselves are turned, before W_qkv. Queries and keys of each head are.",
        attention(split=split_of_turned_tokens),
    ),
    (
        "examples_see_each_other",
        "Tokens attend to those of other examples. Each example is by itself.",
        attention(forward=forward_over_the_batch),
    ),
    (
        "split_is_not_ready",
        "`forward` turns queries and keys, and `split` does not. What split returns is ready for "
        "attend: joint attention relies on it.",
        attention(split=split(turn=lambda q, k, v, grid: [q, k, v]), forward=forward_turning_late),
    ),
)


@mistake(
    SELF,
    "What the heads found is cut out of the graph: q, k and v would never learn.",
    sure=True,
)
def heads_cut_off(dim, heads, qk_norm=False):
    return attention(forward=forward_cut_off)(dim, heads, qk_norm)


@mistake(
    SELF, "The tokens are cut out of the graph: nothing before this layer would learn.", sure=True
)
def tokens_cut_off(dim, heads, qk_norm=False):
    def forward(self, x, grid=None):
        return self.out(join(dit_attention.attend(*self.split(x.detach(), grid))))

    return attention(forward=forward)(dim, heads, qk_norm)


@mistake(
    SELF,
    "Batches of one, or single tokens, lose their axis: squeeze() takes all of length 1.",
    sure=True,
)
def squeezed(dim, heads, qk_norm=False):
    return ends(lambda self, o, x: self.out(join(o).squeeze()))(dim, heads, qk_norm)


@mistake(SELF, "You compute in float32 whatever comes: digits of float64 are lost.", public=False)
def attention_in_float32(dim, heads, qk_norm=False):
    def of(self, q, k, v):
        return dit_attention.attend(q.float(), k.float(), v.float()).to(q.dtype)

    return asks(of)(dim, heads, qk_norm)


@mistake(SELF, "Your norm has another ε than 10⁻⁶.")
def another_epsilon(dim, heads, qk_norm=False):
    return splits(norm=normed_by(lambda t: rms(t, eps=1e-5)))(dim, heads, qk_norm)


@mistake(
    SELF,
    "A grid that is not that of the tokens is let through: leave `rotate` to refuse it.",
    public=False,
)
def any_grid(dim, heads, qk_norm=False):
    def turn(q, k, v, grid):
        return (
            [q, k, v] if math.prod(grid) != q.shape[2] else [*(rotate(t, *grid) for t in (q, k)), v]
        )

    return splits(turn=turn)(dim, heads, qk_norm)


# --- dit_attention.CrossAttention ---------------------------------------------------------------


def cross(**methods):
    """A maker of cross attention with another forward."""

    def make(dim, context, heads):
        return changed(dit_attention.CrossAttention(dim, context, heads), **methods)

    return make


def crossing(bias=hidden, cut=heads_of, order=(0, 1), of=None, end=None, text=None):
    """Cross attention with another part."""

    def forward(self, x, y, mask=None):
        hidden(mask, y)  # refuses masks that do not fit
        y = text(y, mask) if text else y
        (q,) = heads_of(self.q(x), 1, self.heads)
        parts = cut(self.kv(y), 2, self.heads)
        k, v = (parts[n] for n in order)
        o = of(self, q, k, v, bias(mask, y)) if of else dit_attention.attend(q, k, v, bias(mask, y))
        return end(self, join(o), x, mask) if end else self.out(join(o))

    return cross(forward=forward)


def when_given(of):
    """A bias of a mask, None where there is none."""
    return lambda mask, y: None if mask is None else of(mask, y)


def shown(mask, y):
    """0 where True."""
    return torch.zeros(mask.shape, dtype=y.dtype).masked_fill(~mask, -math.inf)[:, None, None]


def half_hidden(self, q, k, v, bias):
    p = scores(q, k, None).softmax(-1)
    return (p if bias is None else p * bias.exp()) @ v


def first_shown(mask, y):
    mask = mask.clone()
    mask[:, 0] |= ~mask.any(1)
    return shown(mask, y)


crosses = several(
    CROSS,
    ("values_first", "Your order is v, k. It is k, v.", crossing(order=(1, 0))),
    (
        "keys_for_values",
        "The keys are used for values, too: the second half of `kv` makes the values.",
        crossing(order=(0, 0)),
    ),
    (
        "heads_of_kv_first",
        "You cut into heads first, and each head into k and v. The layer makes k of all heads, "
        "then v.",
        crossing(cut=by_heads_first),
    ),
    (
        "heads_of_kv_interleaved",
        f"Your heads of k and v take every so-manieth number. {SEVERAL_HEADS}",
        crossing(cut=interleaved),
    ),
    ("without_out", "`out` is forgotten.", crossing(end=lambda self, o, x, mask: o)),
    (
        "image_added",
        "The tokens of the image are added. That is for the block around the attention.",
        crossing(end=lambda self, o, x, mask: x + self.out(o)),
    ),
    (
        "mask_ignored",
        "The mask is not used: padding must be hidden.",
        crossing(bias=lambda mask, y: None),
    ),
    (
        "mask_inverted",
        "Your mask is the other way round: True is a word, False is padding.",
        crossing(bias=when_given(lambda mask, y: shown(~mask, y))),
    ),
    (
        "mask_as_numbers",
        "The mask is added to the scores as numbers, 1 and 0. Padding needs −∞.",
        crossing(bias=when_given(lambda mask, y: mask.to(y.dtype)[:, None, None])),
    ),
    (
        "padding_a_large_number",
        "A text of padding alone gives the mean of its padding, as if that were hidden by a large "
        "finite number. It leaves b_out.",
        crossing(bias=when_given(lambda mask, y: shown(mask, y).clamp(min=-1e9))),
    ),
    (
        "padding_set_to_0",
        "Padding is set to 0 and still attended to: a key of b_k has a weight like others.",
        crossing(
            bias=lambda mask, y: None,
            text=lambda y, mask: y if mask is None else y * mask[..., None],
        ),
    ),
    (
        "values_of_padding_set_to_0",
        "The weights of padding are set to 0 after the softmax: those of words do not add up to 1.",
        crossing(of=half_hidden),
    ),
    (
        "one_mask_for_all",
        "One mask hides the padding of all examples. Each text has its own.",
        crossing(bias=when_given(lambda mask, y: shown(mask[:1].expand(mask.shape), y))),
    ),
    (
        "first_word_always_shown",
        "A text of padding alone shows its first token. It leaves b_out and nothing else.",
        crossing(bias=when_given(first_shown)),
    ),
    (
        "mean_of_the_words",
        "Each token gets the mean of all words' values. Queries must have a say.",
        crossing(of=lambda self, q, k, v, bias: dit_attention.attend(0 * q, k, v, bias)),
    ),
    (
        "cross_root_of_dim",
        "Scores are divided by √dim: d is what a head has of numbers.",
        crossing(
            of=lambda self, q, k, v, bias: dit_attention.attend(q / self.heads**0.5, k, v, bias)
        ),
    ),
    (
        "cross_scaled_twice",
        "Scores are divided by √d twice: `attend` does it.",
        crossing(
            of=lambda self, q, k, v, bias: dit_attention.attend(q / q.shape[-1] ** 0.5, k, v, bias)
        ),
    ),
    (
        "cross_joined_by_a_reshape",
        "The heads' results are reshaped to (batch, tokens, dim) at once, which mixes tokens. "
        "`join` brings the heads of a token side by side.",
        crossing(
            end=lambda self, o, x, mask: self.out(
                o.unflatten(-1, (self.heads, -1)).transpose(1, 2).reshape(x.shape)
            )
        ),
    ),
)


@mistake(
    CROSS,
    "A text of padding alone gives 0. Attention gives 0 there, and `out` adds its b_out.",
    sure=True,
)
def nothing_of_no_words(dim, context, heads):
    def end(self, o, x, mask):
        return self.out(o) if mask is None else self.out(o) * mask.any(1)[:, None, None]

    return crossing(end=end)(dim, context, heads)


@mistake(
    CROSS,
    "A text of padding alone gives NaN: softmax of −∞ throughout is 0/0. `attend` knows that.",
    sure=True,
)
def nan_of_padding(dim, context, heads):
    def of(self, q, k, v, bias):
        return scores(q, k, bias).softmax(-1) @ v

    return crossing(of=of)(dim, context, heads)


@mistake(
    CROSS,
    "A text of padding alone is mended in the result, but NaN still comes to the gradients.",
    sure=True,
)
def nan_of_padding_in_gradients(dim, context, heads):
    def of(self, q, k, v, bias):
        return scores(q, k, bias).softmax(-1).nan_to_num(0.0) @ v

    return crossing(of=of)(dim, context, heads)


@mistake(
    CROSS,
    "The mask hides queries. It is the text's: it hides keys, along the last axis of the scores.",
    sure=True,
)
def mask_on_queries(dim, context, heads):
    return crossing(bias=when_given(lambda mask, y: shown(mask, y).mT))(dim, context, heads)


@mistake(CROSS, "The text is cut out of the graph: what made it would never learn.", sure=True)
def text_cut_off(dim, context, heads):
    return crossing(text=lambda y, mask: y.detach())(dim, context, heads)


@mistake(CROSS, "The queries are cut out of the graph: they would never learn.", sure=True)
def queries_cut_off(dim, context, heads):
    def of(self, q, k, v, bias):
        return dit_attention.attend(q.detach(), k, v, bias)

    return crossing(of=of)(dim, context, heads)


@mistake(
    CROSS,
    "A mask that does not fit is not refused: let `hidden` make the bias.",
    public=False,
)
def any_mask(dim, context, heads):
    def forward(self, x, y, mask=None):
        (q,) = heads_of(self.q(x), 1, self.heads)
        k, v = heads_of(self.kv(y), 2, self.heads)
        if mask is not None:
            seen = torch.zeros(y.shape[:2], dtype=torch.bool)
            mask = mask.bool().reshape(len(mask), -1)[:, : y.shape[1]]
            seen[: len(mask), : mask.shape[1]] = mask[: len(y)]
            mask = seen
        return self.out(join(dit_attention.attend(q, k, v, hidden(mask, y))))

    return cross(forward=forward)(dim, context, heads)


@mistake(CROSS, "You compute in float32 whatever comes: digits of float64 are lost.", public=False)
def cross_in_float32(dim, context, heads):
    def of(self, q, k, v, bias):
        return dit_attention.attend(q.float(), k.float(), v.float(), bias).to(q.dtype)

    return crossing(of=of)(dim, context, heads)


@mistake(CROSS, "A text of one word loses its axis: squeeze() takes all of length 1.", public=False)
def single_words_squeezed(dim, context, heads):
    return crossing(end=lambda self, o, x, mask: self.out(o.squeeze()))(dim, context, heads)


# --- dit_attention.JointAttention ---------------------------------------------------------------


def joint(**methods):
    """A maker of joint attention with another forward."""

    def make(dim, heads, qk_norm=False):
        return changed(dit_attention.JointAttention(dim, heads, qk_norm), **methods)

    return make


def both(bias=None, of=None, image=None, text=None, end=None):
    """Joint attention with another part."""

    def forward(self, x, y, mask=None, grid=None):
        hides = hidden(mask, y)
        one = image(self, x, grid) if image else self.image.split(x, grid)
        two = text(self, y, grid) if text else self.text.split(y)
        T = x.shape[1]
        if hides is not None:
            hides = bias(hides, T) if bias else F.pad(hides, (T, 0))
        out = join(of(one, two, hides) if of else together(one, two, hides))
        if end:
            return end(self, out, x, y)
        return self.image.out(out[:, :T]), self.text.out(out[:, T:])

    return joint(forward=forward)


def together(one, two, bias):
    q, k, v = (torch.cat(pair, dim=2) for pair in zip(one, two, strict=True))
    return dit_attention.attend(q, k, v, bias)


def kept_apart(one, two, bias):
    bias = None if bias is None else bias[..., one[0].shape[2] :]
    return torch.cat([dit_attention.attend(*one), dit_attention.attend(*two, bias)], dim=2)


def each_to_the_other(one, two, bias):
    bias = None if bias is None else bias[..., one[0].shape[2] :]
    of_image = dit_attention.attend(one[0], *two[1:], bias)
    return torch.cat([of_image, dit_attention.attend(two[0], *one[1:])], dim=2)


def text_to_itself(one, two, bias):
    T = one[0].shape[2]
    of_text = dit_attention.attend(*two, None if bias is None else bias[..., T:])
    return torch.cat([together(one, two, bias)[:, :, :T], of_text], dim=2)


def image_to_itself(one, two, bias):
    T = one[0].shape[2]
    return torch.cat([dit_attention.attend(*one), together(one, two, bias)[:, :, T:]], dim=2)


def text_first(one, two, bias):
    T = one[0].shape[2]
    bias = None if bias is None else torch.cat([bias[..., T:], bias[..., :T]], dim=-1)
    return together(two, one, bias)


def sum_of_both(one, two, bias):
    return kept_apart(one, two, bias) + each_to_the_other(one, two, bias)


joints = several(
    JOINT,
    (
        "each_to_itself",
        "Each stream attends to itself alone. Their tokens meet in one attention.",
        both(of=kept_apart),
    ),
    (
        "each_to_the_other_alone",
        "Each stream attends to the other alone. In one attention all tokens see all.",
        both(of=each_to_the_other),
    ),
    (
        "text_sees_no_image",
        "The text attends to itself alone. It must see the image, too.",
        both(of=text_to_itself),
    ),
    (
        "image_sees_no_text",
        "The image attends to itself alone. It must see the text, too.",
        both(of=image_to_itself),
    ),
    (
        "two_attentions_added",
        "Two attentions are added, one to each stream. One softmax runs over the keys of both.",
        both(of=sum_of_both),
    ),
    (
        "text_before_the_image",
        "The text's tokens come first, and are cut off as if they were the image's.",
        both(of=text_first),
    ),
    (
        "mask_of_the_image",
        "The mask hides the first keys, which are the image's. It is that of the text, which comes "
        "after them.",
        both(bias=lambda bias, T: F.pad(bias, (0, T))),
    ),
    (
        "joint_mask_ignored",
        "The mask is not used: padding must be hidden.",
        both(bias=lambda bias, T: None),
    ),
    (
        "joint_mask_inverted",
        "Your mask is the other way round: True is a word, False is padding.",
        both(bias=lambda bias, T: F.pad(torch.where(bias == 0, -math.inf, 0.0), (T, 0))),
    ),
    (
        "image_hidden",
        "The tokens of the image are hidden, too, where the text has padding to hide.",
        both(bias=lambda bias, T: F.pad(bias, (T, 0), value=-math.inf)),
    ),
    (
        "padding_by_minus_1",
        "Padding gets a bias of −1, which only makes it lighter: −∞ hides it.",
        both(bias=lambda bias, T: F.pad(bias.clamp(min=-1), (T, 0))),
    ),
    (
        "one_out",
        "The text goes through the image's `out`. It has its own.",
        both(end=lambda self, o, x, y: self.image.out(o).split([x.shape[1], y.shape[1]], dim=1)),
    ),
    (
        "outs_exchanged",
        "Each stream goes through the other's `out`.",
        both(
            end=lambda self, o, x, y: (
                self.text.out(o[:, : x.shape[1]]),
                self.image.out(o[:, x.shape[1] :]),
            )
        ),
    ),
    (
        "no_outs",
        "`out` is forgotten, in both streams.",
        both(end=lambda self, o, x, y: (o[:, : x.shape[1]], o[:, x.shape[1] :])),
    ),
    (
        "both_added",
        "The tokens themselves are added. That is for the block around the attention.",
        both(
            end=lambda self, o, x, y: (
                x + self.image.out(o[:, : x.shape[1]]),
                y + self.text.out(o[:, x.shape[1] :]),
            )
        ),
    ),
    (
        "text_by_the_image",
        "q, k and v of the text are made by the image's layers. The text has its own.",
        both(text=lambda self, y, grid: self.image.split(y)),
    ),
    (
        "image_by_the_text",
        "q, k and v of the image are made by the text's layers. The image has its own.",
        both(image=lambda self, x, grid: self.text.split(x, grid)),
    ),
    (
        "joint_grid_ignored",
        "The grid is not used: it turns the image's queries and keys.",
        both(image=lambda self, x, grid: self.image.split(x)),
    ),
    (
        "text_turned",
        "The text's queries and keys are turned, too. It has no place in the grid.",
        both(
            text=lambda self, y, grid: (
                self.text.split(y) if grid is None else self.text.split(y, (1, y.shape[1]))
            )
        ),
    ),
    (
        "results_exchanged",
        "The results are exchanged: first the image's, then the text's.",
        both(
            end=lambda self, o, x, y: (
                self.text.out(o[:, x.shape[1] :]),
                self.image.out(o[:, : x.shape[1]]),
            )
        ),
    ),
    (
        "both_in_one_tensor",
        "One tensor of all tokens is returned. It is two, the image's and the text's.",
        both(
            end=lambda self, o, x, y: torch.cat(
                [self.image.out(o[:, : x.shape[1]]), self.text.out(o[:, x.shape[1] :])], dim=1
            )
        ),
    ),
    (
        "halves",
        "You cut the result into two halves. The image has as many rows as it has tokens.",
        both(
            end=lambda self, o, x, y: tuple(
                part.out(half)
                for part, half in zip((self.image, self.text), o.chunk(2, dim=1), strict=False)
            )
        ),
    ),
)


@mistake(
    JOINT,
    "The text is cut out of the graph: what made it would never learn.",
    sure=True,
)
def joint_text_cut_off(dim, heads, qk_norm=False):
    return both(text=lambda self, y, grid: self.text.split(y.detach()))(dim, heads, qk_norm)


@mistake(
    JOINT,
    "A text of padding alone gives NaN. The image still sees itself: no query is without keys.",
    public=False,
)
def nan_of_a_joint_text(dim, heads, qk_norm=False):
    def of(one, two, bias):
        out = together(one, two, bias)
        if bias is None:
            return out
        return out / bias[..., one[0].shape[2] :].exp().amax(-1, keepdim=True).clamp(max=1)

    return both(of=of)(dim, heads, qk_norm)


@mistake(
    JOINT,
    "A mask that does not fit is not refused: leave the lines above yours as they are.",
    public=False,
)
def any_joint_mask(dim, heads, qk_norm=False):
    layer = dit_attention.JointAttention(dim, heads, qk_norm)
    right = layer.forward

    def forward(self, x, y, mask=None, grid=None):
        fits = mask is not None and mask.shape == y.shape[:2] and mask.dtype == torch.bool
        return right(x, y, mask if fits else None, grid)

    return changed(layer, forward=forward)


@mistake(JOINT, "You compute in float32 whatever comes: digits of float64 are lost.", public=False)
def joint_in_float32(dim, heads, qk_norm=False):
    def of(one, two, bias):
        dtype = one[0].dtype
        one, two = ([t.float() for t in three] for three in (one, two))
        return together(one, two, bias).to(dtype)

    return both(of=of)(dim, heads, qk_norm)


@mistake(JOINT, "Single tokens lose their axis: squeeze() takes all of length 1.", public=False)
def joint_squeezed(dim, heads, qk_norm=False):
    def end(self, o, x, y):
        x, y = o[:, : x.shape[1]], o[:, x.shape[1] :]
        return self.image.out(x.squeeze(1)), self.text.out(y.squeeze(1))

    return both(end=end)(dim, heads, qk_norm)


# --- dit_attention.denoiser_is_attention --------------------------------------------------------


def denoised(query=None, bias=None, values=None, answer=None, dtype=torch.float64):
    """The denoiser with another part."""

    def function(x_t, a, b, data):
        rows, members = x_t.flatten(1).to(dtype), data.flatten(1).to(dtype)
        root = math.sqrt(rows.shape[1])
        q = query(rows, a, b, root, data) if query else a / b**2 * rows * root
        s = -(a**2) / (2 * b**2) * members.square().sum(1)
        s = bias(members, a, b) if bias else s
        v = values(members, a) if values else members
        x = dit_attention.attend(q, members, v, s).reshape(x_t.shape).to(x_t.dtype)
        return answer(x, x_t, a, b) if answer else x

    return function


denoisers = several(
    DENOISER,
    (
        "root_forgotten",
        "`attend` divides by √d, and the exponent does not: multiply the query by √d.",
        denoised(query=lambda x, a, b, root, data: a / b**2 * x),
    ),
    (
        "divided_by_the_root_twice",
        "You divide the query by √d, as `attend` does again: multiply.",
        denoised(query=lambda x, a, b, root, data: a / b**2 * x / root),
    ),
    (
        "d_for_its_root",
        "The query is multiplied by d: `attend` divides by √d.",
        denoised(query=lambda x, a, b, root, data: a / b**2 * x * root**2),
    ),
    (
        "root_of_the_number_of_data",
        "The query is multiplied by the root of the number of data: d counts what a query has of "
        "numbers.",
        denoised(query=lambda x, a, b, root, data: a / b**2 * x * len(data) ** 0.5),
    ),
    (
        "a_forgotten",
        "a is missing in the query: the term is a ⟨x_t, x_i⟩ / b².",
        denoised(query=lambda x, a, b, root, data: x / b**2 * root),
    ),
    (
        "b_for_its_square_in_the_query",
        "The query is divided by b: it is b².",
        denoised(query=lambda x, a, b, root, data: a / b * x * root),
    ),
    (
        "half_a_query",
        "The query is divided by 2b²: the middle term of ‖x_t − a x_i‖² has a 2, which cancels it.",
        denoised(query=lambda x, a, b, root, data: a / (2 * b**2) * x * root),
    ),
    (
        "two_queries",
        "The query is twice as large as it should be: 2a ⟨x_t, x_i⟩ is over 2b².",
        denoised(query=lambda x, a, b, root, data: 2 * a / b**2 * x * root),
    ),
    (
        "no_bias_for_long_data",
        "Nothing holds long data back: the bias −a² ‖x_i‖² / 2b² is missing.",
        denoised(bias=lambda x, a, b: None),
    ),
    (
        "bias_with_a_plus",
        "Your bias is positive: it is −a² ‖x_i‖² / 2b².",
        denoised(bias=lambda x, a, b: a**2 / (2 * b**2) * x.square().sum(1)),
    ),
    (
        "a_missing_in_the_bias",
        "a² is missing in the bias.",
        denoised(bias=lambda x, a, b: -x.square().sum(1) / (2 * b**2)),
    ),
    (
        "a_not_squared",
        "a is not squared in the bias: ‖a x_i‖² is a² ‖x_i‖².",
        denoised(bias=lambda x, a, b: -a * x.square().sum(1) / (2 * b**2)),
    ),
    (
        "half_forgotten",
        "The bias is divided by b²: it is 2b².",
        denoised(bias=lambda x, a, b: -(a**2) * x.square().sum(1) / b**2),
    ),
    (
        "b_not_squared_in_the_bias",
        "The bias is divided by 2b: it is 2b².",
        denoised(bias=lambda x, a, b: -(a**2) * x.square().sum(1) / (2 * b)),
    ),
    (
        "lengths_not_squared",
        "The bias has lengths of data: they are squared.",
        denoised(bias=lambda x, a, b: -(a**2) * x.norm(dim=1) / (2 * b**2)),
    ),
    (
        "data_not_squared",
        "The bias has the sum of a datum's numbers: it is that of their squares.",
        denoised(bias=lambda x, a, b: -(a**2) * x.sum(1) / (2 * b**2)),
    ),
    (
        "mean_of_squares",
        "The bias has the mean of squares: ‖x_i‖² is their sum.",
        denoised(bias=lambda x, a, b: -(a**2) * x.square().mean(1) / (2 * b**2)),
    ),
    (
        "values_times_a",
        "The values are a x_i: it is the mean of x that is wanted.",
        denoised(values=lambda x, a: a * x),
    ),
    (
        "the_noise",
        "This is E[z | x_t]. It is E[x | x_t] that is wanted.",
        denoised(answer=lambda x, x_t, a, b: (x_t - a * x) / b),
    ),
    (
        "the_score",
        "This is the score of x_t, (a E[x | x_t] − x_t) / b². It is E[x | x_t] that is wanted.",
        denoised(answer=lambda x, x_t, a, b: (a * x - x_t) / b**2),
    ),
    (
        "rows_stay_rows",
        "Images come back as rows: give them the shape of x_t.",
        denoised(answer=lambda x, x_t, a, b: x.flatten(1)),
    ),
    (
        "float64_stays",
        "The result stays in float64: bring it to the precision of x_t.",
        lambda x_t, a, b, data: denoised()(x_t.double(), a, b, data),
    ),
)


@form_of(
    next(f for f in denoisers._variants if f.name == "b_for_its_square_in_the_query").implementation
)
def b_for_its_square(x_t, a, b, data):
    return denoised(
        query=lambda x, a, b, root, data: a / b * x * root,
        bias=lambda x, a, b: -(a**2) * x.square().sum(1) / (2 * b),
    )(x_t, a, b, data)


@mistake(
    DENOISER,
    "Another precision than float64 loses digits where data are far from 0 or b is small: both "
    "terms of the exponent are large, and nearly cancel.",
)
def denoised_in_float32(x_t, a, b, data):
    return denoised(dtype=torch.float32)(x_t, a, b, data)


@mistake(
    DENOISER,
    "Data and x_t are computed with in the precision of x_t: digits are lost in float32.",
)
def denoised_in_its_precision(x_t, a, b, data):
    return denoised(dtype=x_t.dtype)(x_t, a, b, data)


@mistake(
    DENOISER,
    "`attend` is not called, though the numbers may be right: this exercise shows that the "
    "denoiser is that function.",
    sure=True,
)
def without_attend(x_t, a, b, data):
    rows, members = x_t.flatten(1).double(), data.flatten(1).double()
    s = -(rows[:, None] - a * members).square().sum(-1) / (2 * b**2)
    return (s.softmax(1) @ members).reshape(x_t.shape).to(x_t.dtype)


@mistake(
    DENOISER,
    "`attend` is called for each example. One call does all: the examples are its queries.",
    sure=True,
)
def one_call_for_each(x_t, a, b, data):
    return torch.cat([denoised()(x, a, b, data) for x in x_t.split(1)])


@mistake(
    DENOISER,
    "This is the datum next to x_t, or to x_t / a. E[x | x_t] is a mean of all data.",
)
def nearest_datum(x_t, a, b, data):
    off = x_t.double().flatten(1)[:, None] - a * data.double().flatten(1)
    return data[off.square().sum(-1).argmin(1)].to(x_t.dtype)


@mistake(
    DENOISER,
    "The mean over all data, whatever x_t is: the query must have a say.",
)
def mean_of_all(x_t, a, b, data):
    return data.double().mean(0).expand(x_t.shape).to(x_t.dtype)


@mistake(
    DENOISER,
    "A datum that comes twice counts once. It is twice as likely.",
)
def duplicates_dropped(x_t, a, b, data):
    return denoised()(x_t, a, b, data.unique(dim=0))


@mistake(DENOISER, "x_t is cut out of the graph: no gradient reaches it.", sure=True)
def x_t_cut_out(x_t, a, b, data):
    return denoised()(x_t.detach(), a, b, data)


@mistake(
    DENOISER,
    "What does not fit is not refused: leave the lines above yours as they are.",
    public=False,
    bare=True,
)
def everything_denoised(x_t, a, b, data):
    if len(data) == 0 or data.shape[1:] != x_t.shape[1:]:
        return x_t.clone()
    return denoised()(x_t, a, abs(b) or 1e-3, data)


@mistake(
    DENOISER,
    "Images whose axes have length 1 lose them: give the result the shape of x_t.",
    public=False,
)
def denoised_squeezed(x_t, a, b, data):
    return denoised()(x_t, a, b, data).squeeze()
