"""Typical wrong answers to chapter 13's Transformer and to sampling from it, each with the sentence
that explains it. Networks are the reference's with another way through their layers, so that they
go by the same name."""

import contextlib
import types

import torch

from cs231n_gen import autoregressive
from cs231n_gen.autoregressive import next_probabilities
from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.dit_attention import attend, join
from cs231n_gen.given.frozen import frozen

# --- CausalBlock and Prior ------------------------------------------------------------------------

BLOCK, PRIOR = "autoregressive.CausalBlock", "autoregressive.Prior"


def block(forward):
    """A maker of blocks that go through their layers in this way."""

    def make(dim, heads, ratio=4):
        made = autoregressive.CausalBlock(dim, heads, ratio)
        made.forward = types.MethodType(forward, made)
        return made

    make.__name__ = forward.__name__
    return make


def after(past, k, v):
    """Keys and values with those of the past in front."""
    return (k, v) if past is None else (torch.cat([past[0], k], 2), torch.cat([past[1], v], 2))


def later(q, k, first=None):
    """Where a query must not look: True from the column that comes `first` in the first row on."""
    new, total = q.shape[2], k.shape[2]
    first = total - new + 1 if first is None else first
    return torch.ones(new, total, dtype=torch.bool).triu(first)


def hiding(where, like, depth=-torch.inf):
    """A bias that hides."""
    return torch.zeros(where.shape, dtype=like.dtype).masked_fill(where, depth)


def rest(self, h, attended):
    """What a block does with what its attention found."""
    h = h + self.attention.out(join(attended))
    return h + self.mlp(self.norm_2(h))


@mistake(
    BLOCK,
    "The mask is one place too far to the right: a token sees the one after it. In training it "
    "reads the answer there.",
)
@block
def mask_to_the_right(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    hidden = later(q, k, k.shape[2] - q.shape[2] + 2)
    return rest(self, h, attend(q, k, v, hiding(hidden, h))), (k, v)


@mistake(
    BLOCK,
    "The mask is one place too far to the left: a token does not see itself, and the first one sees"
    " nothing.",
)
@block
def mask_to_the_left(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    hidden = later(q, k, k.shape[2] - q.shape[2])
    return rest(self, h, attend(q, k, v, hiding(hidden, h))), (k, v)


@mistake(
    BLOCK,
    "Scores are cut off at some size, above which you do not tell keys apart. They have no such "
    "bound.",
    sure=True,
)
@block
def scores_bounded(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    scores = (q @ k.mT / q.shape[-1] ** 0.5).clamp(-50, 50)
    weights = scores.masked_fill(later(q, k), -torch.inf).softmax(-1)
    return rest(self, h, weights @ v), (k, v)


@mistake(
    BLOCK,
    "Large scores give NaN: their exp is infinite. softmax subtracts the highest score of a row "
    "before.",
    sure=True,
)
@block
def overflowing_weights(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    weights = scores.masked_fill(later(q, k), -torch.inf).exp()
    return rest(self, h, (weights / weights.sum(-1, keepdim=True)) @ v), (k, v)


@mistake(
    BLOCK,
    "Your bias is a finite number, and scores may be larger: then a later token is seen. −∞ hides "
    "whatever the scores are.",
    sure=True,
)
@block
def bias_of_a_thousand(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h, -1e3))), (k, v)


@mistake(BLOCK, "There is no mask: every token sees all of them, later ones too.")
@block
def no_mask(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v)), (k, v)


@mistake(
    BLOCK,
    "The mask is turned round: a token sees itself and what comes later, and nothing before it. "
    "Rows are queries, columns are keys.",
)
@block
def mask_transposed(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    hidden = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2] - 1)
    return rest(self, h, attend(q, k, v, hiding(hidden, h))), (k, v)


@mistake(
    BLOCK,
    "With a past your mask counts as if there were none: the first new token sees the first key "
    "alone. Its own key stands behind all of the past.",
)
@block
def mask_forgets_the_past(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k, 1), h))), (k, v)


@mistake(
    BLOCK,
    "With a past nothing is masked. That is right for one new token; of several the first would see"
    " the others.",
)
@block
def mask_only_without_a_past(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    bias = hiding(later(q, k), h) if past is None else None
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, bias)), (k, v)


@mistake(
    BLOCK,
    "The past stands behind the new keys and values. It comes first: the mask counts places from "
    "the start of the sequence.",
)
@block
def past_behind(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    if past is not None:
        k, v = torch.cat([k, past[0]], 2), torch.cat([v, past[1]], 2)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (k, v)


@mistake(
    BLOCK,
    "The past comes back in another order than it is attended to: new keys first. The next piece "
    "would take them for the oldest.",
)
@block
def past_returned_behind(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    back = (k, v) if past is None else (torch.cat([k, past[0]], 2), torch.cat([v, past[1]], 2))
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), back


@mistake(
    BLOCK,
    "Only the new keys and values come back. The next token needs those of the past as well.",
)
@block
def past_not_returned(self, h, past=None):
    q, new_k, new_v = self.attention.split(self.norm_1(h))
    k, v = after(past, new_k, new_v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (new_k, new_v)


@mistake(BLOCK, "New tokens attend to each other alone. They attend to all of the past as well.")
@block
def past_not_seen(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    h = rest(self, h, attend(q, k, v, hiding(later(q, k), h)))
    return h, after(past, k, v)


@mistake(
    BLOCK,
    "The past is not looked at: neither do new tokens attend to it nor does it come back.",
)
@block
def past_ignored(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (k, v)


@mistake(
    BLOCK,
    "New tokens attend to the past, but not to each other or to themselves: their own keys and "
    "values are missing.",
)
@block
def past_alone(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    if past is None:
        return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (k, v)
    return rest(self, h, attend(q, *past)), after(past, k, v)


@mistake(BLOCK, "What comes back is (v, k): the keys come first.")
@block
def values_first(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (v, k)


@mistake(
    BLOCK,
    "The softmax runs over queries. For each query the weights of the keys sum to 1: it is the last"
    " axis.",
)
@block
def softmax_over_queries(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(later(q, k), -torch.inf)
    weights = scores.softmax(-2)
    return rest(self, h, weights @ v), (k, v)


@mistake(
    BLOCK,
    "The mask comes after the softmax: the weights that are left no longer sum to 1. Hide scores "
    "before it.",
)
@block
def masked_after_the_softmax(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).masked_fill(later(q, k), 0.0)
    return rest(self, h, weights @ v), (k, v)


@mistake(
    BLOCK,
    "Later tokens get a score of 0. That is a score like others, so some weight goes to them: −∞ "
    "hides.",
)
@block
def scores_of_0(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(later(q, k), 0.0)
    return rest(self, h, scores.softmax(-1) @ v), (k, v)


@mistake(
    BLOCK,
    "The mask of ones and zeros is added to the scores as it is. A bias of −∞ hides, one of 0 "
    "leaves a score as it is.",
)
@block
def ones_added(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, (~later(q, k)).to(h.dtype))), (k, v)


@mistake(
    BLOCK,
    "Your bias lowers later tokens by a finite number, and some weight still goes to them: −∞ hides"
    " for certain.",
)
@block
def finite_bias(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h, -10.0))), (k, v)


@mistake(BLOCK, "The tokens go into the attention as they are: `norm_1` comes first.")
@block
def first_norm_left_out(self, h, past=None):
    q, k, v = self.attention.split(h)
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (k, v)


@mistake(BLOCK, "The tokens go into the MLP as they are: `norm_2` comes first.")
@block
def second_norm_left_out(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    h = h + self.attention.out(join(attend(q, k, v, hiding(later(q, k), h))))
    return h + self.mlp(h), (k, v)


@mistake(BLOCK, "Both branches use `norm_1`. The MLP has `norm_2`, with weights of its own.")
@block
def one_norm_for_both(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    h = h + self.attention.out(join(attend(q, k, v, hiding(later(q, k), h))))
    return h + self.mlp(self.norm_1(h)), (k, v)


@mistake(
    BLOCK,
    "The norms come after the sums. Here each branch sees normalised tokens, and the sum is left as"
    " it is.",
)
@block
def post_norm(self, h, past=None):
    q, k, v = self.attention.split(h)
    k, v = after(past, k, v)
    h = self.norm_1(h + self.attention.out(join(attend(q, k, v, hiding(later(q, k), h)))))
    return self.norm_2(h + self.mlp(h)), (k, v)


@mistake(
    BLOCK,
    "The norm's result takes the place of the tokens: they are added to the branches as they are, "
    "not normalised.",
)
@block
def normalised_tokens_go_on(self, h, past=None):
    h = self.norm_1(h)
    q, k, v = self.attention.split(h)
    k, v = after(past, k, v)
    h = self.norm_2(h + self.attention.out(join(attend(q, k, v, hiding(later(q, k), h)))))
    return h + self.mlp(h), (k, v)


@mistake(BLOCK, "The tokens themselves are lost at the attention: its result is added to them.")
@block
def first_sum_left_out(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    h = self.attention.out(join(attend(q, k, v, hiding(later(q, k), h))))
    return h + self.mlp(self.norm_2(h)), (k, v)


@mistake(BLOCK, "The tokens themselves are lost at the MLP: its result is added to them.")
@block
def second_sum_left_out(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    h = h + self.attention.out(join(attend(q, k, v, hiding(later(q, k), h))))
    return self.mlp(self.norm_2(h)), (k, v)


@mistake(BLOCK, "The tokens themselves are lost: both branches are added to them.")
@block
def no_sums(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    h = self.attention.out(join(attend(q, k, v, hiding(later(q, k), h))))
    return self.mlp(self.norm_2(h)), (k, v)


@mistake(BLOCK, "The MLP sees the tokens as they were before the attention. It comes after it.")
@block
def in_parallel(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    found = self.attention.out(join(attend(q, k, v, hiding(later(q, k), h))))
    return h + found + self.mlp(self.norm_2(h)), (k, v)


@mistake(BLOCK, "The heads are not mixed: `attention.out` comes after they are joined.")
@block
def heads_not_mixed(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    h = h + join(attend(q, k, v, hiding(later(q, k), h)))
    return h + self.mlp(self.norm_2(h)), (k, v)


@mistake(
    BLOCK,
    "The heads are put side by side in another order. Each token's heads belong together: use "
    "`join`.",
)
@block
def heads_joined_by_view(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    h = h + self.attention.out(attend(q, k, v, hiding(later(q, k), h)).reshape(h.shape))
    return h + self.mlp(self.norm_2(h)), (k, v)


@mistake(BLOCK, "The MLP is left out: only the attention is there.")
@block
def no_mlp(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    return h + self.attention.out(join(attend(q, k, v, hiding(later(q, k), h)))), (k, v)


@mistake(
    BLOCK,
    "Scores are not divided by √(dim / heads). `attend` does that for you.",
)
@block
def not_scaled(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    scores = (q @ k.mT).masked_fill(later(q, k), -torch.inf)
    return rest(self, h, scores.softmax(-1) @ v), (k, v)


@mistake(
    BLOCK,
    "Scores are divided by √dim. It is the size of a head that counts, dim / heads; `attend` does "
    "that for you.",
)
@block
def scaled_by_dim(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    scores = (q @ k.mT / h.shape[-1] ** 0.5).masked_fill(later(q, k), -torch.inf)
    return rest(self, h, scores.softmax(-1) @ v), (k, v)


@mistake(
    BLOCK,
    "Keys and values come back cut off from the graph. A loss on later pieces is to reach the "
    "tokens before.",
    sure=True,
)
@block
def cut_off(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    h = rest(self, h, attend(q, k, v, hiding(later(q, k), h)))
    return h, (k.detach(), v.detach())


@mistake(
    BLOCK,
    "The past is cut off from the graph: no gradient reaches its keys and values.",
    sure=True,
)
@block
def past_cut_off(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past and [p.detach() for p in past], k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (k, v)


@mistake(
    BLOCK,
    "Keys and values come back with the heads joined, (batch, tokens, dim). They are to be (batch, "
    "heads, tokens, dim / heads), as `attend` takes them.",
    sure=True,
)
@block
def heads_joined_in_the_past(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    if past is not None and past[0].dim() == 3:
        past = [p.unflatten(2, (q.shape[1], -1)).transpose(1, 2) for p in past]
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (join(k), join(v))


@mistake(BLOCK, "Only the tokens come back: the block returns `(h, (k, v))`.", sure=True)
@block
def tokens_alone(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h)))


@mistake(BLOCK, "Three results come back: k and v are a pair, `(h, (k, v))`.", sure=True)
@block
def three_results(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), k, v


@mistake(
    BLOCK,
    "The new keys join the past, the new values do not. Both belong to every token.",
    sure=True,
)
@block
def keys_join_alone(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), past[1]
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (k, v)


@mistake(
    BLOCK,
    "Keys and values are kept in the block, so a sequence gets to see one of an earlier call. What "
    "is remembered comes in as `past`, and nothing else.",
    sure=True,
)
@block
def kept_in_the_block(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    kept = getattr(self, "kept", None) if past is not None else None
    if kept is None or kept[0].shape[2] != past[0].shape[2] or len(kept[0]) != len(h):
        kept = past
    self.kept = k, v = after(kept and [p.detach() for p in kept], k, v)
    return rest(self, h, attend(q, k, v, hiding(later(q, k), h))), (k, v)


@mistake(
    BLOCK,
    "Of a long sequence only the last tokens are seen. A token attends to all before it, however "
    "many there are.",
)
@block
def window(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    k, v = after(past, k, v)
    hidden = later(q, k)
    hidden |= torch.ones_like(hidden).tril(k.shape[2] - q.shape[2] - 32)
    return rest(self, h, attend(q, k, v, hiding(hidden, h))), (k, v)


# A prior's way, of which a mistake changes a part.


def given(self, tokens, y):
    """What the lines above the gap refuse."""
    if tokens.dim() != 2 or not 1 <= tokens.shape[1] <= self.length:
        raise ValueError("tokens must be (batch, n), n from 1 to N")
    labels_fit(tokens, y)


def given_step(self, last, y, cache):
    """What the lines above the gap refuse; the place of the step."""
    if (last is None) != (cache is None):
        raise ValueError("last and cache must be None at the first place, and only there")
    at = 0 if cache is None else cache[0][0].shape[2]
    if at >= self.length:
        raise ValueError("all places are taken")
    labels_fit(y if last is None else last, y)
    return at


def labels_fit(tokens, y):
    if y.dim() != 1 or y.shape != tokens.shape[:1]:
        raise ValueError("y must be one label for each sequence")


def prior(forward=None, step=None):
    """A maker of priors with another way through their layers."""

    def make(*args, **kwargs):
        made = autoregressive.Prior(*args, **kwargs)
        if forward:

            def checked(self, tokens, y):
                given(self, tokens, y)
                return forward(self, tokens, y)

            made.forward = types.MethodType(checked, made)
        if step:

            def checked_step(self, last, y, cache=None):
                return step(self, last, y, cache, given_step(self, last, y, cache))

            made.step = types.MethodType(checked_step, made)
        return made

    return make


def at_once(forward):
    """A prior with another `forward`."""
    make = prior(forward)
    make.__name__ = forward.__name__
    return make


def at_each_step(step):
    """A prior with another `step(self, last, y, cache, at)`."""
    make = prior(None, step)
    make.__name__ = step.__name__
    return make


def ahead(self, tokens):
    """Each place's input: the token before it."""
    start = torch.full_like(tokens[:, :1], self.vocabulary)
    return torch.cat([start, tokens[:, :-1]], 1)


def scores(self, h):
    for one in self.blocks:
        h, _ = one(h)
    return self.out(self.norm(h))


def next_scores(self, h, cache):
    new = []
    for i, one in enumerate(self.blocks):
        h, past = one(h, None if cache is None else cache[i])
        new.append(past)
    return self.out(self.norm(h))[:, 0], new


def before(self, last, y):
    return (torch.full_like(y, self.vocabulary) if last is None else last)[:, None]


@mistake(
    PRIOR,
    "The inputs are not shifted: each place sees the token that it is to predict. Its input is the "
    "token before, and the start token at the first place.",
)
@at_once
def not_shifted(self, tokens, y):
    return scores(self, self.embed(tokens, y))


@mistake(
    PRIOR,
    "The inputs are shifted the wrong way: each place gets the token after its own. It gets the one"
    " before.",
)
@at_once
def shifted_to_the_left(self, tokens, y):
    end = torch.full_like(tokens[:, :1], self.vocabulary)
    return scores(self, self.embed(torch.cat([tokens[:, 1:], end], 1), y))


@mistake(
    PRIOR,
    "The inputs are shifted by two places. The token just before is the one that tells most.",
)
@at_once
def shifted_by_two(self, tokens, y):
    start = torch.full_like(tokens[:, :1], self.vocabulary)
    inputs = torch.cat([start, start, tokens], 1)[:, : tokens.shape[1]]
    return scores(self, self.embed(inputs, y))


@mistake(
    PRIOR,
    "The inputs are rolled: the last token comes to the first place. There is the start token, "
    "whose number is K.",
)
@at_once
def rolled(self, tokens, y):
    return scores(self, self.embed(tokens.roll(1, 1), y))


def with_start(name, number):
    """A prior with this number as its start token."""

    def forward(self, tokens, y):
        start = torch.full_like(tokens[:, :1], number(self))
        return scores(self, self.embed(torch.cat([start, tokens[:, :-1]], 1), y))

    def step(self, last, y, cache, at):
        inputs = (torch.full_like(y, number(self)) if last is None else last)[:, None]
        return next_scores(self, self.embed(inputs, y, first=at), cache)

    make = prior(forward, step)
    make.__name__ = name
    return make


start_is_0 = mistake(
    PRIOR,
    "Your start token is 0, which is a code as well. Its number is K, the row after all codes.",
)(with_start("start_is_0", lambda self: 0))

start_is_the_last_code = mistake(
    PRIOR,
    "Your start token is K − 1, which is the last code. Codes count from 0, so the row of the "
    "start is K.",
)(with_start("start_is_the_last_code", lambda self: self.vocabulary - 1))


def all_along(name, embed=None, end=None):
    """A prior with another embedding or another last layer, at once and step by step.

    Args:
        name: of the mistake.
        embed: called as `Prior.embed`, with the prior first.
        end: scores of tokens after the blocks.
    """
    embed = embed or autoregressive.Prior.embed
    end = end or (lambda self, h: self.out(self.norm(h)))

    def forward(self, tokens, y):
        h = embed(self, ahead(self, tokens), y, 0)
        for one in self.blocks:
            h, _ = one(h)
        return end(self, h)

    def step(self, last, y, cache, at):
        h, new = embed(self, before(self, last, y), y, at), []
        for i, one in enumerate(self.blocks):
            h, past = one(h, None if cache is None else cache[i])
            new.append(past)
        return end(self, h)[:, 0], new

    make = prior(forward, step)
    make.__name__ = name
    return make


def places(self, inputs, first):
    return self.place.weight[first : first + inputs.shape[1]]


def no_start(self, inputs, y, first):
    h = self.embed(inputs, y, first)
    return h - self.token(inputs) * (inputs == self.vocabulary)[..., None]


start_left_out = mistake(
    PRIOR,
    "Nothing goes in at the first place but place and label. The start token has an embedding of "
    "its own, the row K.",
)(all_along("start_left_out", no_start))

label_left_out = mistake(PRIOR, "The label is left out: all classes get the same scores.")(
    all_along("label_left_out", lambda self, x, y, at: self.token(x) + places(self, x, at))
)

place_left_out = mistake(PRIOR, "The place is left out: a token should know where it stands.")(
    all_along("place_left_out", lambda self, x, y, at: self.token(x) + self.label(y)[:, None])
)

label_at_the_first_place = mistake(
    PRIOR,
    "The label goes in at the first place alone. Here it is added at every place.",
)(
    all_along(
        "label_at_the_first_place",
        lambda self, x, y, at: (
            self.token(x)
            + places(self, x, at)
            + self.label(y)[:, None] * (torch.arange(at, at + x.shape[1]) == 0)[:, None]
        ),
    )
)

label_of_the_first = mistake(
    PRIOR, "All sequences get the label of the first one. Each has its own."
)(all_along("label_of_the_first", lambda self, x, y, at: self.embed(x, y[:1].expand_as(y), at)))

no_label_for_null = mistake(
    PRIOR,
    "For ∅ nothing is added. It has an embedding of its own, which learns like the others.",
)(
    all_along(
        "no_label_for_null",
        lambda self, x, y, at: (
            self.embed(x, y, at) - (self.label(y) * (y == self.null)[:, None])[:, None]
        ),
    )
)

null_is_10 = mistake(
    PRIOR,
    "Label 10 stands for no label in your prior. That is ∅ only where there are ten classes: its "
    "number is `classes`.",
)(
    all_along(
        "null_is_10",
        lambda self, x, y, at: self.embed(x, torch.where(y == 10, self.null, y), at),
    )
)

null_is_0 = mistake(
    PRIOR,
    "Label 0 stands for no label in your prior. It is a class like others; ∅ comes after them.",
)(
    all_along(
        "null_is_0", lambda self, x, y, at: self.embed(x, torch.where(y == 0, self.null, y), at)
    )
)

embeddings_multiplied = mistake(
    PRIOR, "The label's embedding multiplies the others. All three are added."
)(
    all_along(
        "embeddings_multiplied",
        lambda self, x, y, at: (self.token(x) + places(self, x, at)) * self.label(y)[:, None],
    )
)

embeddings_averaged = mistake(PRIOR, "You take the mean of the three embeddings. It is their sum.")(
    all_along("embeddings_averaged", lambda self, x, y, at: self.embed(x, y, at) / 3)
)

embeddings_scaled = mistake(
    PRIOR,
    "The embeddings of tokens are multiplied by √dim, as in the first Transformer. Here they are "
    "added as they are.",
)(
    all_along(
        "embeddings_scaled",
        lambda self, x, y, at: (
            self.embed(x, y, at) + self.token(x) * (self.token.embedding_dim**0.5 - 1)
        ),
    )
)

last_norm_left_out = mistake(
    PRIOR, "The last norm is left out: `norm` comes between the blocks and `out`."
)(all_along("last_norm_left_out", end=lambda self, h: self.out(h)))

last_norm_behind = mistake(
    PRIOR,
    "Scores are normalised instead of tokens: `norm` comes before `out`.",
    sure=True,
)(all_along("last_norm_behind", end=lambda self, h: self.norm(self.out(h))))

probabilities = mistake(
    PRIOR,
    "Probabilities come back. Scores have no bounds: whoever draws or computes a likelihood takes "
    "the softmax.",
)(all_along("probabilities", end=lambda self, h: self.out(self.norm(h)).softmax(-1)))

log_probabilities = mistake(
    PRIOR,
    "Logarithms of probabilities come back. They sum to 1 the same, but the scores are those of "
    "`out` as they are.",
)(all_along("log_probabilities", end=lambda self, h: self.out(self.norm(h)).log_softmax(-1)))

clamped = mistake(
    PRIOR, "Scores are kept between −30 and 30. They have no bounds, and beyond yours no slope."
)(all_along("clamped", end=lambda self, h: self.out(self.norm(h)).clamp(-30, 30)))

in_double = mistake(
    PRIOR, "Scores come back in float64 whatever the precision of the prior is.", sure=True
)(all_along("in_double", end=lambda self, h: self.out(self.norm(h)).double()))

tied = mistake(
    PRIOR,
    "Scores come from the embeddings of the tokens. Some models share these weights; this one has "
    "a layer `out` of its own.",
)(
    all_along(
        "tied",
        end=lambda self, h: self.norm(h) @ self.token.weight[: self.vocabulary].T + self.out.bias,
    )
)


@mistake(
    PRIOR,
    "The softmax runs over places. Scores come back as they are; a softmax belongs to codes, the "
    "last axis.",
)
@at_once
def softmax_over_places(self, tokens, y):
    return scores(self, self.embed(ahead(self, tokens), y)).log_softmax(1)


@mistake(
    PRIOR,
    "There is one score too many: the start goes in in front of all tokens. The last token predicts"
    " nothing, so it does not go in.",
    sure=True,
)
@at_once
def one_place_more(self, tokens, y):
    start = torch.full_like(tokens[:, :1], self.vocabulary)
    inputs = torch.cat([start, tokens], 1)
    n = torch.arange(inputs.shape[1]).clamp(max=self.length - 1)
    return scores(self, self.token(inputs) + self.place(n) + self.label(y)[:, None])


@mistake(
    PRIOR,
    "There is one score too few: that of the first token is missing, whose input is the start "
    "token.",
    sure=True,
)
@at_once
def one_place_less(self, tokens, y):
    return scores(self, self.embed(tokens, y))[:, :-1]


@mistake(
    PRIOR,
    "Places count from the end of what is given: the first of a few tokens gets a late place. They "
    "count from the start of the image.",
)
@at_once
def places_from_the_end(self, tokens, y):
    return scores(self, self.embed(ahead(self, tokens), y, self.length - tokens.shape[1]))


@mistake(
    PRIOR,
    "Your prior takes whole images only. The first tokens of one are enough: there may be from 1 "
    "to N of them.",
    sure=True,
)
@at_once
def whole_images_only(self, tokens, y):
    inputs = ahead(self, tokens)
    return scores(self, self.token(inputs) + self.place.weight + self.label(y)[:, None])


@mistake(
    PRIOR,
    "Only the first block is used. The tokens go through all of them, one after the other.",
)
@at_once
def first_block_alone(self, tokens, y):
    h, _ = self.blocks[0](self.embed(ahead(self, tokens), y))
    return self.out(self.norm(h))


@mistake(
    PRIOR,
    "Each block gets the embeddings, and the last one's tokens count alone. A block gets what the "
    "one before it returned.",
)
@at_once
def blocks_side_by_side(self, tokens, y):
    first = h = self.embed(ahead(self, tokens), y)
    for one in self.blocks:
        h, _ = one(first)
    return self.out(self.norm(h))


@mistake(
    PRIOR,
    "The blocks come in reverse order.",
)
@at_once
def last_block_first(self, tokens, y):
    h = self.embed(ahead(self, tokens), y)
    for one in reversed(self.blocks):
        h, _ = one(h)
    return self.out(self.norm(h))


@mistake(
    PRIOR,
    "At once, keys and values go from one block to the next. Without a past each block sees its "
    "own tokens alone.",
)
@at_once
def past_from_block_to_block(self, tokens, y):
    h, past = self.embed(ahead(self, tokens), y), None
    for one in self.blocks:
        h, past = one(h, past)
    return self.out(self.norm(h))


@mistake(
    PRIOR,
    "For a batch of one sequence, or for one token, an axis is lost: scores are (batch, n, K) "
    "whatever n is.",
    sure=True,
)
@at_once
def squeezed(self, tokens, y):
    return scores(self, self.embed(ahead(self, tokens), y)).squeeze()


@mistake(
    PRIOR,
    "Scores at once come without a graph: no weight would learn from them.",
    sure=True,
)
@at_once
def nothing_learns(self, tokens, y):
    return scores(self, self.embed(ahead(self, tokens), y)).detach()


# --- steps


@mistake(
    PRIOR,
    "Every step has the place of the first. Its place is the number of those that the cache holds.",
)
@at_each_step
def always_at_the_first_place(self, last, y, cache, at):
    return next_scores(self, self.embed(before(self, last, y), y), cache)


@mistake(
    PRIOR,
    "Your steps count places from 1: each has the place after its own. The first place is 0.",
)
@at_each_step
def places_from_1(self, last, y, cache, at):
    first = min(at + 1, self.length - 1)
    return next_scores(self, self.embed(before(self, last, y), y, first), cache)


@mistake(
    PRIOR,
    "Your steps have the place of the token that goes in, one before that of the token to predict. "
    "The start token goes in at place 0, x_1 at place 1.",
)
@at_each_step
def place_of_the_last_token(self, last, y, cache, at):
    return next_scores(self, self.embed(before(self, last, y), y, max(at - 1, 0)), cache)


@mistake(
    PRIOR,
    "Scores of a step have an axis too many, (batch, 1, K). One place is asked for: (batch, K).",
    sure=True,
)
@at_each_step
def an_axis_too_many(self, last, y, cache, at):
    logits, new = next_scores(self, self.embed(before(self, last, y), y, at), cache)
    return logits[:, None], new


@mistake(
    PRIOR,
    "All blocks get the cache of the first one. Each has keys and values of its own.",
)
@at_each_step
def one_cache_for_all(self, last, y, cache, at):
    h, new = self.embed(before(self, last, y), y, at), []
    for one in self.blocks:
        h, past = one(h, None if cache is None else cache[0])
        new.append(past)
    return self.out(self.norm(h))[:, 0], new


@mistake(
    PRIOR,
    "Every entry of your cache is the last block's. Each block's keys and values are kept by "
    "themselves.",
)
@at_each_step
def last_block_remembered(self, last, y, cache, at):
    logits, new = next_scores(self, self.embed(before(self, last, y), y, at), cache)
    return logits, [new[-1]] * len(new)


@mistake(
    PRIOR,
    "The blocks do not get the cache, so a step knows nothing of earlier tokens.",
)
@at_each_step
def cache_not_used(self, last, y, cache, at):
    h, new = self.embed(before(self, last, y), y, at), []
    for i, one in enumerate(self.blocks):
        old = None if cache is None else cache[i]
        h, past = one(h)
        new.append(past if old is None else tuple(map(cat_places, old, past)))
    return self.out(self.norm(h))[:, 0], new


def cat_places(old, new):
    return torch.cat([old, new], 2)


@mistake(
    PRIOR,
    "Old keys and values are joined to what the block returned, which holds them already: they are "
    "there twice.",
)
@at_each_step
def remembered_twice(self, last, y, cache, at):
    logits, new = next_scores(self, self.embed(before(self, last, y), y, at), cache)
    if cache is not None:
        new = [tuple(map(cat_places, old, past)) for old, past in zip(cache, new, strict=True)]
    return logits, new


@mistake(
    PRIOR,
    "The cache comes back as it was given: this step's keys and values are lost.",
)
@at_each_step
def cache_not_updated(self, last, y, cache, at):
    logits, new = next_scores(self, self.embed(before(self, last, y), y, at), cache)
    return logits, new if cache is None else cache


@mistake(
    PRIOR,
    "The list that you are given is changed. Two sequences may go on from one cache: put what the "
    "blocks return into a new list.",
    sure=True,
)
@at_each_step
def list_changed(self, last, y, cache, at):
    logits, new = next_scores(self, self.embed(before(self, last, y), y, at), cache)
    if cache is None:
        return logits, new
    cache[:] = new
    return logits, cache


@mistake(
    PRIOR,
    "The cache is kept in the prior, and the one that is given is not looked at. Another sequence "
    "in between, and the step goes on with the wrong one.",
)
@at_each_step
def kept_in_the_prior(self, last, y, cache, at):
    kept = None if cache is None else self.kept
    logits, self.kept = next_scores(self, self.embed(before(self, last, y), y, at), kept)
    return logits, self.kept


@mistake(
    PRIOR,
    "A step knows the label at the first place only. It is added at every place, as in `forward`.",
)
@at_each_step
def label_in_the_first_step(self, last, y, cache, at):
    h = self.embed(before(self, last, y), y, at)
    if at:
        h = h - self.label(y)[:, None]
    return next_scores(self, h, cache)


@mistake(
    PRIOR,
    "All steps have the labels of an earlier call. The labels that come in count, at every step.",
    sure=True,
)
@at_each_step
def labels_of_the_first_step(self, last, y, cache, at):
    self.y = y if at == 0 else self.y
    return next_scores(self, self.embed(before(self, last, y), self.y, at), cache)


labels_dropped = mistake(
    PRIOR,
    "In training your prior drops some labels by itself. Whoever trains it does that, before "
    "calling it.",
    sure=True,
)(
    all_along(
        "labels_dropped",
        lambda self, x, y, at: self.embed(
            x, torch.where(torch.rand(len(y)) < 0.1 * self.training, self.null, y), at
        ),
    )
)


@mistake(
    PRIOR,
    "The first step has 0 for its start token, which is a code as well. It is K, as in `forward`.",
)
@at_each_step
def steps_start_with_0(self, last, y, cache, at):
    inputs = torch.zeros_like(y) if last is None else last
    return next_scores(self, self.embed(inputs[:, None], y, at), cache)


@mistake(
    PRIOR,
    "Your steps leave the last norm out.",
)
@at_each_step
def steps_without_the_norm(self, last, y, cache, at):
    h, new = self.embed(before(self, last, y), y, at), []
    for i, one in enumerate(self.blocks):
        h, past = one(h, None if cache is None else cache[i])
        new.append(past)
    return self.out(h)[:, 0], new


@mistake(
    PRIOR,
    "Steps have no graph: their gradients are to be those of `forward`.",
    sure=True,
)
@at_each_step
def steps_without_a_graph(self, last, y, cache, at):
    with torch.no_grad():
        return next_scores(self, self.embed(before(self, last, y), y, at), cache)


@mistake(
    PRIOR,
    "Your cache forgets the first places of a long sequence. It holds the keys and values of all "
    "places up to this one.",
)
@at_each_step
def last_16_places(self, last, y, cache, at):
    logits, new = next_scores(self, self.embed(before(self, last, y), y, at), cache)
    if at >= 16:  # places are counted by the cache, so its length stays
        new = [tuple(p * (torch.arange(at + 1) > at - 16)[:, None] for p in past) for past in new]
    return logits, new


@mistake(
    PRIOR,
    "The cache comes back cut off from the graph, so earlier tokens learn nothing from later "
    "scores.",
    sure=True,
)
@at_each_step
def cache_cut_off(self, last, y, cache, at):
    logits, new = next_scores(self, self.embed(before(self, last, y), y, at), cache)
    return logits, [tuple(p.detach() for p in past) for past in new]


@mistake(PRIOR, "Only scores come back: a step returns `(logits, cache)`.", sure=True)
@at_each_step
def scores_alone(self, last, y, cache, at):
    return next_scores(self, self.embed(before(self, last, y), y, at), cache)[0]


@mistake(PRIOR, "The cache comes first: a step returns `(logits, cache)`.", sure=True)
@at_each_step
def cache_first(self, last, y, cache, at):
    return next_scores(self, self.embed(before(self, last, y), y, at), cache)[::-1]


@mistake(
    PRIOR,
    "Shapes, labels or steps that do not fit are not refused: leave the lines above yours as they "
    "are.",
    sure=True,
)
def nothing_refused(*args, **kwargs):
    made = autoregressive.Prior(*args, **kwargs)

    def forward(self, tokens, y):
        return scores(self, self.embed(ahead(self, tokens), y))

    def step(self, last, y, cache=None):
        at = 0 if cache is None else cache[0][0].shape[2]
        return next_scores(self, self.embed(before(self, last, y), y, at), cache)

    made.forward, made.step = types.MethodType(forward, made), types.MethodType(step, made)
    return made


# --- next_probabilities and sample --------------------------------------------------------------


def unfit_scores(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    if logits_null is not None and logits_null.shape != logits.shape:
        raise ValueError("both scores must be of one shape")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {"autoregressive.next_probabilities": unfit_scores}


def guide(logits, logits_null, w):
    return logits if logits_null is None else (1 + w) * logits - w * logits_null


def highest(logits, k, fill=-torch.inf):
    """The k highest scores, the others filled."""
    if k is None or k >= logits.shape[-1]:
        return logits
    kept = logits.topk(k, -1).indices
    return torch.full_like(logits, fill).scatter(-1, kept, logits.gather(-1, kept))


@mistake(
    "autoregressive.next_probabilities",
    "You multiply by the temperature. It divides: high ones make the tokens alike.",
)
def hot_is_sharp(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) * temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The temperature changes nothing. It divides the scores, before the softmax: dividing "
    "probabilities, it cancels.",
)
def no_temperature(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w), top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Only ℓ_y is divided by the temperature, before guidance. It divides ℓ, which is guided.",
)
def temperature_of_one(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits / temperature, logits_null, w), top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "You guide probabilities, which become negative where p_∅ is large. Guidance acts on scores: "
    "softmax comes last.",
)
def guided_probabilities(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    p = (logits / temperature).softmax(-1)
    if logits_null is not None:
        p = guide(p, (logits_null / temperature).softmax(-1), w).clamp(min=0)
    p = highest(p, top_k, 0.0)
    return p / p.sum(-1, keepdim=True)


@mistake(
    "autoregressive.next_probabilities",
    "You weigh as other papers do: ℓ_∅ + s (ℓ_y − ℓ_∅), where s = 1 + w. Here w = 0 leaves the "
    "condition as it is.",
)
def scale_of_others(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    if logits_null is not None:
        logits = logits_null + w * (logits - logits_null)
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The sign of w is wrong: away from ℓ_∅ is (1 + w) ℓ_y − w ℓ_∅.",
)
def towards_null(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, -w) / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "ℓ_y and ℓ_∅ are exchanged: 1 + w belongs to the scores with the condition.",
)
def scores_exchanged(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    if logits_null is not None:
        logits = guide(logits_null, logits, w)
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The factors of guidance do not sum to 1: it is 1 + w at ℓ_y, not 1.",
)
def one_and_minus_w(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = logits if logits_null is None else logits - w * logits_null
    return highest(logits / temperature, top_k).softmax(-1)


@mistake("autoregressive.next_probabilities", "ℓ_∅ is not looked at: there is no guidance.")
def unguided(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Only positive weights guide in yours. w may be negative: towards ℓ_∅.",
)
def positive_weights_only(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    if w > 0:
        logits = guide(logits, logits_null, w)
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Without ℓ_∅ your scores are multiplied by 1 + w. Then there is no guidance, whatever w is.",
)
def null_scores_of_0(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, torch.zeros_like(logits) if logits_null is None else logits_null, w)
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The k smallest scores are kept, and the likely tokens hidden: torch.topk takes the largest.",
)
def the_k_smallest(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    hidden = highest(-logits, top_k) == -torch.inf
    return logits.masked_fill(hidden, -torch.inf).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The k highest of ℓ_y are kept, and guided afterwards. Guidance comes first: it changes which "
    "are the highest.",
)
def chosen_before_guidance(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    hidden = highest(logits, top_k) == -torch.inf
    logits = guide(logits, logits_null, w) / temperature
    return logits.masked_fill(hidden, -torch.inf).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "top_k is not looked at.",
)
def all_tokens(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return (guide(logits, logits_null, w) / temperature).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The probabilities that are kept do not sum to 1: hide the other scores before the softmax.",
)
def not_renormalised(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest((guide(logits, logits_null, w) / temperature).softmax(-1), top_k, 0.0)


@mistake(
    "autoregressive.next_probabilities",
    "Scores that are hidden become 0, which is a score like any other. They must become −∞.",
)
def hidden_by_0(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) / temperature, top_k, 0.0).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "More than k tokens are kept where scores at the border are equal. Take them by their place, "
    "from torch.topk, and not by comparison with the k-th score.",
)
def ties_kept(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        border = logits.topk(top_k, -1).values[:, -1:]
        logits = logits.masked_fill(logits < border, -torch.inf)
    return logits.softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "One token fewer than top_k is kept.",
)
def one_fewer(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    return highest(logits, top_k and max(1, top_k - 1)).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "top_k may be larger than the vocabulary: then all are kept. torch.topk refuses it.",
    sure=True,
)
def too_many_refused(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    if top_k is not None:
        kept = logits.topk(top_k, -1).indices
        hidden = torch.ones_like(logits, dtype=torch.bool).scatter(-1, kept, False)
        logits = logits.masked_fill(hidden, -torch.inf)
    return logits.softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Your softmax runs over the batch. Tokens compete within a row: the last axis.",
)
def over_the_batch(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) / temperature, top_k).softmax(0).nan_to_num()


@mistake(
    "autoregressive.next_probabilities",
    "Large scores give NaN: their exp is infinite. softmax subtracts the highest score of a row "
    "before.",
    sure=True,
)
def overflowing(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    e = highest(guide(logits, logits_null, w) / temperature, top_k).exp()
    return e / e.sum(-1, keepdim=True)


@mistake(
    "autoregressive.next_probabilities",
    "The result is cut out of the graph: no gradient reaches the scores.",
    sure=True,
)
def without_a_graph(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) / temperature, top_k).softmax(-1).detach()


@mistake(
    "autoregressive.next_probabilities",
    "No gradient reaches ℓ_∅. Gradients flow into both scores.",
    sure=True,
)
def null_detached(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    null = None if logits_null is None else logits_null.detach()
    return highest(guide(logits, null, w) / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "One choice of k tokens is made for the whole batch. Each row has its own k highest scores.",
)
def chosen_for_the_batch(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    return logits.masked_fill(highest(logits[:1], top_k) == -torch.inf, -torch.inf).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The k highest scores are hidden, and the others left: the mask is the wrong way round.",
)
def highest_hidden(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        logits = logits.scatter(-1, logits.topk(top_k, -1).indices, -torch.inf)
    return logits.softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "You raise probabilities to the power 1 / T. Where scores are far apart these are 0 by then: "
    "divide the scores.",
)
def powers(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    p = highest(guide(logits, logits_null, w).softmax(-1) ** (1 / temperature), top_k, 0.0)
    return p / p.sum(-1, keepdim=True)


@mistake(
    "autoregressive.next_probabilities",
    "Large scores less their log Σ exp lose all digits: subtract the highest score of a row first, "
    "as softmax does.",
)
def logsumexp_of_large_scores(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = highest(guide(logits, logits_null, w) / temperature, top_k)
    return (logits - logits.logsumexp(-1, keepdim=True)).exp()


@mistake(
    "autoregressive.next_probabilities",
    "All scores are cut off at some size, above which you do not tell them apart. softmax is right "
    "for any.",
)
def scores_cut_off(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = (guide(logits, logits_null, w) / temperature).clamp(-50, 50)
    return highest(logits, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "You write into the scores: they belong to the caller.",
    sure=True,
)
def divided_in_place(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    if logits_null is not None:
        logits = guide(logits, logits_null, w)
    if logits.requires_grad:
        logits = logits / temperature
    else:
        logits /= temperature
    return highest(logits, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Temperatures below some bound are that bound in yours. T is any positive number: where scores "
    "are as small, it is no limit.",
)
def temperature_bounded(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / max(temperature, 1e-3)
    return highest(logits, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "A small number is added to the temperature. It is positive, so nothing is divided by 0; where "
    "it is small itself the probabilities are others.",
)
def temperature_and_a_little(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / (temperature + 1e-8)
    return highest(logits, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "At low temperatures you take the likeliest token. That is the limit T → 0; at any T above it "
    "scores that are near each other share.",
)
def greedy_when_cold(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = highest(guide(logits, logits_null, w), top_k)
    if temperature < 0.1:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    return (logits / temperature).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Large weights are cut off in yours. w may be any number.",
)
def weight_bounded(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, min(w, 20.0)) / temperature
    return highest(logits, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "What is kept is divided by its sum or by a bound, if that is larger. The k highest may be "
    "unlikely, all of them together: their sum alone makes it 1.",
)
def small_sums_bounded(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    p = (guide(logits, logits_null, w) / temperature).softmax(-1)
    p = highest(p, top_k, 0.0)
    return p / p.sum(-1, keepdim=True).clamp_min(0.25)


@mistake(
    "autoregressive.next_probabilities",
    "You compute in float32, whatever the precision of the scores is.",
    sure=True,
)
def in_single(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    null = None if logits_null is None else logits_null.float()
    p = highest(guide(logits.float(), null, w) / temperature, top_k).softmax(-1)
    return p.to(logits.dtype)


@mistake(
    "autoregressive.next_probabilities",
    "Log-probabilities come back. Tokens are drawn from probabilities: softmax, without a log.",
)
def logarithms(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) / temperature, top_k, -1e30).log_softmax(-1)


# --- autoregressive.sample


class Usual:
    """How the reference writes tokens, in steps, of which a mistake does one otherwise."""

    def guided(self, w):
        return w != 0

    def cached(self, cached):
        return cached

    def null(self, prior):
        return prior.null

    def places(self, prior):
        return range(prior.length)

    def using(self, prior):
        return frozen(prior)

    def labels(self, y, null, guided, t):
        return torch.cat([y, torch.full_like(y, null)]) if guided else y

    def doubled(self, x, guided):
        return torch.cat([x, x]) if guided else x

    def last(self, tokens):
        return tokens[-1]

    def known(self, tokens, y):
        """What the prior gets without a cache; the token at the end changes nothing."""
        return torch.stack([*tokens, torch.zeros_like(y)], 1)

    def scores(self, prior, known, labels, t):
        return prior(known, labels)[:, t]

    def step(self, prior, last, labels, cache):
        return prior.step(last, labels, cache)

    def halves(self, logits, y, guided):
        return (logits[: len(y)], logits[len(y) :]) if guided else (logits, None)

    def probabilities(self, scores, null, w, temperature, top_k):
        return next_probabilities(scores, null, w, temperature, top_k)

    def draw(self, p, generator):
        return torch.multinomial(p, 1, generator=generator)[:, 0]

    def result(self, tokens):
        return torch.stack(tokens, 1)

    def write(self, prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
        guided, tokens, cache = self.guided(w), [], None
        with self.using(prior):
            for t in self.places(prior):
                labels = self.labels(y, self.null(prior), guided, t)
                if self.cached(cached):
                    last = self.doubled(self.last(tokens), guided) if tokens else None
                    logits, cache = self.step(prior, last, labels, cache)
                else:
                    known = self.doubled(self.known(tokens, y), guided)
                    logits = self.scores(prior, known, labels, t)
                pair = self.halves(logits, y, guided)
                p = self.probabilities(*pair, w, temperature, top_k)
                tokens.append(self.draw(p, generator))
        return self.result(tokens)


def otherwise(name, says, **steps):
    """A row for `several`, in which some steps are done otherwise."""
    changed = type(name, (Usual,), {step: staticmethod(how) for step, how in steps.items()})

    def wrong(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
        return changed().write(prior, y, w, temperature, top_k, cached, generator)

    return name, says, wrong


def by_levels(p, u):
    """The tokens at which the sums of probabilities pass u."""
    return (p.double().cumsum(-1) < u[:, None]).sum(-1).clamp(max=p.shape[1] - 1)


def one_for_all(p, generator):
    return by_levels(p, torch.rand(1, generator=generator, dtype=torch.float64).expand(len(p)))


def the_same_each_time(p, generator):
    generator = generator or torch.default_generator
    state = generator.get_state()
    return torch.multinomial(p, 1, generator=torch.Generator().set_state(state))[:, 0]


def from_a_seed(p, generator):
    return torch.multinomial(p, 1, generator=torch.Generator().manual_seed(0))[:, 0]


@contextlib.contextmanager
def eval_for_ever(prior):
    prior.eval()
    with torch.no_grad():
        yield


@contextlib.contextmanager
def train_afterwards(prior):
    prior.eval()
    with torch.no_grad():
        yield
    prior.train()


@contextlib.contextmanager
def whole_mode(prior):
    was = prior.training
    prior.eval()
    with torch.no_grad():
        yield
    prior.train(was)


@contextlib.contextmanager
def with_a_graph(prior):
    with frozen(prior), torch.enable_grad():
        yield


SAMPLES = several(
    "autoregressive.sample",
    otherwise(
        "always_the_likeliest",
        "You always take the likeliest token. It is drawn: torch.multinomial.",
        draw=lambda p, generator: p.argmax(-1),
    ),
    otherwise(
        "one_draw_for_all",
        "One number decides for the whole batch. Each sequence has draws of its own.",
        draw=one_for_all,
    ),
    otherwise(
        "the_same_draw_at_all_places",
        "Every place is drawn from the same random numbers. The generator must go on from place to "
        "place.",
        draw=the_same_each_time,
    ),
    otherwise(
        "generator_ignored",
        "The generator is not used: pass it on to torch.multinomial.",
        draw=lambda p, generator: torch.multinomial(p, 1)[:, 0],
    ),
    otherwise(
        "own_seed",
        "You seed a generator of your own. Draw from the one that is given.",
        draw=from_a_seed,
    ),
    otherwise(
        "null_is_10",
        "The number of ∅ is written into your code. It depends on how many classes there are: "
        "prior.null.",
        null=lambda prior: 10,
    ),
    otherwise(
        "null_is_0",
        "Your ∅ is label 0, which is a class. Its number is prior.null.",
        null=lambda prior: 0,
    ),
    otherwise(
        "always_guided",
        "For w = 0 the prior is asked about ∅, too. The tokens are right, but cost twice as much.",
        guided=lambda w: True,
    ),
    otherwise(
        "small_weights_are_0",
        "Small weights do not guide in yours. The prior is asked about ∅ if w is not 0, however "
        "small it is.",
        guided=lambda w: abs(w) > 1e-3,
    ),
    otherwise(
        "64_tokens_at_most",
        "A length is written into your code. Sequences have as many tokens as prior.length says.",
        places=lambda prior: range(min(64, prior.length)),
    ),
    otherwise(
        "positive_weights_only",
        "Only positive weights guide in yours. w may be negative, too: it guides if it is not 0.",
        guided=lambda w: w > 0,
        probabilities=lambda a, b, w, T, k: next_probabilities(a, b, w, T, k),
    ),
    otherwise(
        "never_guided",
        "w is not looked at: there is no guidance.",
        guided=lambda w: False,
    ),
    otherwise(
        "weight_forgotten",
        "The prior is asked about ∅, but w is not passed on to next_probabilities.",
        probabilities=lambda a, b, w, T, k: next_probabilities(a, b, 0.0, T, k),
    ),
    otherwise(
        "halves_exchanged",
        "Both halves are exchanged: the first scores of next_probabilities are those with y.",
        halves=lambda logits, y, guided: (
            (logits[len(y) :], logits[: len(y)]) if guided else (logits, None)
        ),
    ),
    otherwise(
        "never_conditioned",
        "Without guidance your labels are ∅. w = 0 leaves the condition as it is: y.",
        labels=lambda y, null, guided, t: (
            torch.cat([y, torch.full_like(y, null)]) if guided else torch.full_like(y, null)
        ),
    ),
    otherwise(
        "first_token_without_a_label",
        "The first token is drawn without its label. y counts at every place.",
        labels=lambda y, null, guided, t: (
            torch.cat([y if t else torch.full_like(y, null), torch.full_like(y, null)])
            if guided
            else (y if t else torch.full_like(y, null))
        ),
    ),
    otherwise(
        "both_halves_with_y",
        "Both halves of the batch have label y. The second half needs ∅.",
        labels=lambda y, null, guided, t: torch.cat([y, y]) if guided else y,
    ),
    otherwise(
        "train_mode",
        "The prior is asked in the mode that it is in. Dropout must be off: `with frozen(prior)`.",
        using=lambda prior: torch.no_grad(),
    ),
    otherwise(
        "eval_for_ever",
        "The prior is left in eval mode. `with frozen(prior)` puts back what was.",
        using=eval_for_ever,
    ),
    otherwise(
        "train_afterwards",
        "The prior is put into training mode in the end, whatever it was in.",
        using=train_afterwards,
    ),
    otherwise(
        "whole_mode",
        "The mode of the prior is put back, but not those of its parts, which may differ: "
        "`with frozen(prior)` knows each.",
        using=whole_mode,
    ),
    otherwise(
        "nothing_remembered",
        "Each token is the first one to the prior in yours: neither the last token nor the cache "
        "that step returned is passed on.",
        step=lambda prior, last, labels, cache: prior.step(None, labels, None),
    ),
    otherwise(
        "the_one_before_the_last",
        "With a cache, step gets the token before the last one.",
        last=lambda tokens: tokens[max(0, len(tokens) - 2)],
    ),
    otherwise(
        "always_the_first",
        "With a cache, step gets the first token every time. It needs the last one.",
        last=lambda tokens: tokens[0],
    ),
    otherwise(
        "one_place_early",
        "Without a cache you take the scores one place early. `logits[:, t]` are those of token t.",
        scores=lambda prior, known, labels, t: prior(known, labels)[:, max(0, t - 1)],
    ),
    otherwise(
        "start_of_their_own",
        "Without a cache your sequences begin with a start token 0, which the prior takes for x_1. "
        "It puts its own start token first.",
        known=lambda tokens, y: torch.stack([torch.zeros_like(y), *tokens], 1),
    ),
    otherwise(
        "only_the_last",
        "Without a cache the prior gets the last token only. It needs all of them.",
        known=lambda tokens, y: torch.stack([*tokens[-1:], torch.zeros_like(y)], 1),
        scores=lambda prior, known, labels, t: prior(known, labels)[:, -1],
    ),
    otherwise(
        "backwards",
        "Without a cache the tokens stand in the wrong order: the first one comes first.",
        known=lambda tokens, y: torch.stack([*tokens[::-1], torch.zeros_like(y)], 1),
    ),
    otherwise(
        "temperature_forgotten",
        "temperature is not passed on to next_probabilities.",
        probabilities=lambda a, b, w, T, k: next_probabilities(a, b, w, 1.0, k),
    ),
    otherwise(
        "top_k_forgotten",
        "top_k is not passed on to next_probabilities.",
        probabilities=lambda a, b, w, T, k: next_probabilities(a, b, w, T),
    ),
    otherwise(
        "one_too_few",
        "The last token is missing: there are prior.length of them.",
        places=lambda prior: range(prior.length - 1),
        result=lambda tokens: torch.stack(tokens, 1) if tokens else torch.zeros(0, 0),
    ),
    otherwise(
        "places_first",
        "The axes are exchanged: x is (batch, N). torch.stack(tokens, 1).",
        result=lambda tokens: torch.stack(tokens),
    ),
)


SURE = several(
    "autoregressive.sample",
    otherwise(
        "with_a_graph",
        "The prior records a graph, which grows with every token: `with frozen(prior)`, or "
        "torch.no_grad().",
        using=with_a_graph,
    ),
    otherwise(
        "cache_not_passed",
        "step gets a last token without a cache, or a cache without a last token. Both are None at "
        "the first place, and only there: pass on what step returned.",
        step=lambda prior, last, labels, cache: prior.step(last, labels),
    ),
    otherwise(
        "always_cached",
        "prior.step is called although `cached` is False. Then the prior itself is asked.",
        cached=lambda cached: True,
    ),
    otherwise(
        "never_cached",
        "prior.step is not called although `cached` is True.",
        cached=lambda cached: False,
    ),
    otherwise(
        "one_too_many",
        "You ask the prior for more tokens than it has places: there are prior.length.",
        places=lambda prior: range(prior.length + 1),
    ),
    otherwise(
        "in_floats",
        "Tokens come back in another dtype. They are numbers of codes: int64.",
        result=lambda tokens: torch.stack(tokens, 1).float(),
    ),
    sure=True,
)


def two_roads(prior, y, w, temperature, top_k, cached, generator, *, caches):
    """With y and with ∅ in calls of their own, with one cache or two."""
    labels = [y, torch.full_like(y, prior.null)] if w != 0 else [y]
    tokens, old = [], [None] * caches
    with frozen(prior):
        for t in range(prior.length):
            if cached:
                last = tokens[-1] if t else None
                found = [prior.step(last, own, old[n % caches]) for n, own in enumerate(labels)]
                scores, old = [s for s, _ in found], [c for _, c in found]
            else:
                known = torch.stack([*tokens, torch.zeros_like(y)], 1)
                scores = [prior(known, own)[:, t] for own in labels]
            p = next_probabilities(*scores, w=w, temperature=temperature, top_k=top_k)
            tokens.append(torch.multinomial(p, 1, generator=generator)[:, 0])
    return torch.stack(tokens, 1)


@mistake(
    "autoregressive.sample",
    "The prior is called twice a token. y and ∅ go into one call, on a batch twice as large.",
)
def two_calls(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
    return two_roads(prior, y, w, temperature, top_k, cached, generator, caches=2)


@mistake(
    "autoregressive.sample",
    "The scores with ∅ come from keys and values with y. Each has its own: y and ∅ go into one "
    "call, on a batch twice as large.",
)
def one_cache_for_both(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
    return two_roads(prior, y, w, temperature, top_k, cached, generator, caches=1)


@mistake(
    "autoregressive.sample",
    "Both halves draw tokens of their own. The scores with ∅ must be those after the same tokens.",
)
def halves_apart(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
    guided, tokens, cache = w != 0, [], None
    labels = torch.cat([y, torch.full_like(y, prior.null)]) if guided else y
    with frozen(prior):
        for t in range(prior.length):
            if cached:
                logits, cache = prior.step(tokens[-1] if t else None, labels, cache)
            else:
                known = torch.stack([*tokens, torch.zeros_like(labels)], 1)
                logits = prior(known, labels)[:, t]
            halves = logits.chunk(2) if guided else (logits,)
            p = next_probabilities(*halves, w=w, temperature=temperature, top_k=top_k)
            p = torch.cat([p, p]) if guided else p
            tokens.append(torch.multinomial(p, 1, generator=generator)[:, 0])
    return torch.stack(tokens, 1)[: len(y)]
