"""Right answers to chapter 13's Transformer, and to sampling from it, written another way."""

import math
import types

import torch
from torch.nn import functional as F

from cs231n_gen import autoregressive
from cs231n_gen.autoregressive import next_probabilities
from cs231n_gen.checking.variants import accepted
from cs231n_gen.dit_attention import attend, heads_of, join
from cs231n_gen.given.frozen import frozen

# --- CausalBlock and Prior ------------------------------------------------------------------------

BLOCK = "autoregressive.CausalBlock"
PRIOR = "autoregressive.Prior"


def block(forward):
    """A maker of blocks that go through their layers in this way."""

    def make(dim, heads, ratio=4):
        made = autoregressive.CausalBlock(dim, heads, ratio)
        made.forward = types.MethodType(forward, made)
        return made

    make.__name__ = forward.__name__
    return make


@accepted(BLOCK)
@block
def softmax_by_hand(self, h, past=None):
    qkv = self.attention.qkv(self.norm_1(h))
    q, k, v = heads_of(qkv, 3, self.attention.heads)
    if past is not None:
        k, v = (torch.cat(pair, dim=-2) for pair in zip(past, (k, v), strict=True))
    T, S = q.shape[-2], k.shape[-2]
    scores = torch.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(q.shape[-1])
    key, query = torch.arange(S), torch.arange(S - T, S)
    scores = scores.masked_fill(key > query[:, None], float("-inf"))
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    out = torch.einsum("bhts,bhsd->bthd", weights, v).reshape(h.shape)
    h = h + self.attention.out(out)
    return h + self.mlp(self.norm_2(h)), (k, v)


@accepted(BLOCK)
@block
def query_by_query(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    old = 0
    if past is not None:
        old = past[0].shape[2]
        k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
    rows = []
    for t in range(q.shape[2]):
        seen = old + t + 1
        rows.append(attend(q[:, :, t : t + 1], k[:, :, :seen], v[:, :, :seen]))
    h = h + self.attention.out(join(torch.cat(rows, 2)))
    return h + self.mlp(self.norm_2(h)), (k, v)


@accepted(BLOCK)
@block
def mask_of_truths(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    if past is None and h.shape[1] > 1:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    h = h + self.attention.out(out.transpose(1, 2).flatten(2))
    return h + self.mlp(self.norm_2(h)), (k, v)


@accepted(BLOCK)
@block
def one_mask_for_all_and_its_last_rows(self, h, past=None):
    q, k, v = self.attention.split(self.norm_1(h))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    S = k.shape[2]
    bias = torch.full((S, S), -math.inf).triu(1)  # in float32, which `attend` takes
    h = torch.add(h, self.attention.out(join(attend(q, k, v, bias[-q.shape[2] :]))))
    return torch.add(h, self.mlp(self.norm_2(h))), (k, v)


@accepted(BLOCK)
@block
def layers_by_functions(self, h, past=None):
    n, a, m = self.norm_1, self.attention, self.mlp
    x = F.layer_norm(h, h.shape[-1:], n.weight, n.bias, n.eps)
    q, k, v = F.linear(x, a.qkv.weight, a.qkv.bias).chunk(3, dim=-1)
    q, k, v = (p.unflatten(-1, (a.heads, -1)).transpose(1, 2) for p in (q, k, v))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    bias = torch.full((q.shape[2], k.shape[2]), -math.inf, dtype=h.dtype)
    bias = bias.triu(1 + k.shape[2] - q.shape[2])
    h = h + F.linear(join(attend(q, k, v, bias)), a.out.weight, a.out.bias)
    x = F.layer_norm(h, h.shape[-1:], self.norm_2.weight, self.norm_2.bias, self.norm_2.eps)
    x = F.gelu(F.linear(x, m[0].weight, m[0].bias), approximate="tanh")
    return h + F.linear(x, m[2].weight, m[2].bias), (k, v)


def prior(forward=None, step=None):
    """A maker of priors with another way through their layers, below the lines that refuse."""

    def make(*args, **kwargs):
        made = autoregressive.Prior(*args, **kwargs)
        usual, usual_step = made.forward, made.step

        def checked(self, tokens, y):
            fits = tokens.dim() == 2 and 1 <= tokens.shape[1] <= self.length
            if not fits or y.shape != tokens.shape[:1]:
                return usual(tokens, y)
            return forward(self, tokens, y)

        def checked_step(self, last, y, cache=None):
            at = 0 if cache is None else cache[0][0].shape[2]
            first = (last is None, cache is None)
            if (
                first[0] != first[1]
                or at >= self.length
                or y.dim() != 1
                or len(y) != len(y if last is None else last)
            ):
                return usual_step(last, y, cache)
            return step(self, last, y, cache, at)

        if forward:
            made.forward = types.MethodType(checked, made)
        if step:
            made.step = types.MethodType(checked_step, made)
        return made

    return make


def as_forward(function):
    make = prior(forward=function)
    make.__name__ = function.__name__
    return make


def as_step(function):
    make = prior(step=function)
    make.__name__ = function.__name__
    return make


@accepted(PRIOR)
@as_forward
def padded(self, tokens, y):
    h = self.embed(F.pad(tokens[:, :-1], (1, 0), value=self.vocabulary), y)
    for layer in self.blocks:
        h = layer(h)[0]
    return self.out(self.norm(h))


@accepted(PRIOR)
@as_forward
def rolled(self, tokens, y):
    inputs = tokens.roll(1, dims=1)
    inputs[:, 0] = self.out.out_features
    n = tokens.shape[1]
    h = self.token(inputs) + self.place.weight[:n] + self.label(y).unsqueeze(1)
    for layer in self.blocks:
        h, _ = layer(h, None)
    return torch.einsum("bnd,kd->bnk", self.norm(h), self.out.weight) + self.out.bias


@accepted(PRIOR)
@as_forward
def step_by_step(self, tokens, y):
    logits, cache = self.step(None, y)
    rows = [logits]
    for t in range(1, tokens.shape[1]):
        logits, cache = self.step(tokens[:, t - 1], y, cache)
        rows.append(logits)
    return torch.stack(rows, dim=1)


@accepted(PRIOR)
@as_forward
def start_in_front(self, tokens, y):
    """All tokens with the start in front, without the last score."""
    start = torch.full((len(tokens), 1), self.vocabulary)
    inputs = torch.cat((start, tokens), 1)
    h = self.embed(inputs[:, :-1], y)
    for layer in self.blocks:
        h, _ = layer(h)
    return self.out(self.norm(h))


@accepted(PRIOR)
@as_step
def pair_by_pair(self, last, y, cache, at):
    if last is None:
        last, cache = y.new_full((len(y),), self.vocabulary), [None] * len(self.blocks)
    h = (self.token(last) + self.place.weight[at] + self.label(y)).unsqueeze(1)
    found = []
    for layer, past in zip(self.blocks, cache, strict=True):
        h, remembered = layer(h, past)
        found += [remembered]
    return self.out(self.norm(h.squeeze(1))), found


@accepted(PRIOR)
@as_step
def a_list_of_its_own(self, last, y, cache, at):
    """A list of its own, whose entries are replaced."""
    cache = list(cache) if cache else [None for _ in self.blocks]
    tokens = torch.full_like(y, self.vocabulary) if last is None else last
    h = self.embed(tokens.reshape(-1, 1), y, at)
    for n, layer in enumerate(self.blocks):
        h, cache[n] = layer(h, cache[n])
    return self.out(self.norm(h)).flatten(0, 1), cache


# --- next_probabilities and sample --------------------------------------------------------------


def refuse_scores(logits, logits_null, temperature, top_k):
    if logits_null is not None and logits.shape != logits_null.shape:
        raise ValueError(f"both must be {tuple(logits.shape)}")
    if not temperature > 0:
        raise ValueError("temperature must be positive")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k must be at least 1")


@accepted("autoregressive.next_probabilities")
def by_powers(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    """Log-probabilities are scores as well."""
    refuse_scores(logits, logits_null, temperature, top_k)
    log_p = F.log_softmax(logits, -1)
    if logits_null is not None:
        log_p = log_p + w * (log_p - F.log_softmax(logits_null, -1))
    p = F.softmax(log_p / temperature, -1)
    if top_k is None or top_k >= logits.shape[1]:
        return p
    kept = torch.zeros_like(p).scatter(1, log_p.topk(top_k, 1).indices, 1.0)
    return F.normalize(p * kept, p=1, dim=1)


@accepted("autoregressive.next_probabilities")
def among_the_highest(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    """The softmax of k scores only, put back in their places."""
    refuse_scores(logits, logits_null, temperature, top_k)
    if logits_null is not None:
        logits = torch.lerp(logits_null, logits, 1 + w)
    k = min(top_k or logits.shape[-1], logits.shape[-1])
    values, places = logits.sort(-1, descending=True)
    p = F.softmax(values[:, :k] / temperature, -1)
    return torch.zeros_like(logits).scatter(-1, places[:, :k], p)


@accepted("autoregressive.next_probabilities")
def row_by_row(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    refuse_scores(logits, logits_null, temperature, top_k)
    rows = []
    for i, own in enumerate(logits):
        if logits_null is not None:
            own = own + w * own - w * logits_null[i]
        e = ((own - own.max()) / temperature).exp()
        if top_k is not None:
            mask = torch.zeros_like(e)
            mask[own.argsort(descending=True)[:top_k]] = 1
            e = e * mask
        rows.append(e / e.sum())
    return torch.stack(rows)


@accepted("autoregressive.sample")
@torch.no_grad()
def modes_by_hand(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
    modes = {part: part.training for part in prior.modules()}
    prior.eval()
    try:
        x, cache = torch.zeros(len(y), prior.length, dtype=torch.int64), None
        for t in range(prior.length):
            last = x[:, t - 1] if t else None
            if w:
                both, last = y.repeat(2), None if last is None else last.repeat(2)
                both[len(y) :] = prior.null
            else:
                both = y
            if cached:
                scores, cache = prior.step(last, both, cache)
            else:
                scores = prior(x.repeat(len(both) // len(y), 1), both)[:, t]
            halves = scores.chunk(2) if w else (scores,)
            options = {"w": w, "temperature": temperature, "top_k": top_k}
            p = next_probabilities(*halves, **options)
            x[:, t] = torch.multinomial(p, 1, generator=generator).squeeze(1)
        return x
    finally:
        for part, mode in modes.items():
            part.training = mode


@accepted("autoregressive.sample")
def by_sums(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
    """Draws by the sums of the probabilities, the half with ∅ first."""
    B, x, cache, new = len(y), [], None, None
    with frozen(prior), torch.inference_mode():
        for _ in range(prior.length):
            if w != 0:
                both = torch.cat([torch.full_like(y, prior.null), y])
                again = 2
            else:
                both, again = y, 1
            if cached:
                last = None if new is None else torch.cat([new] * again)
                scores, cache = prior.step(last, both, cache)
            else:
                known = torch.stack([*x, torch.zeros_like(y)], 1)
                scores = prior(torch.cat([known] * again), both)[:, -1]
            null = scores[:B] if w != 0 else None
            p = next_probabilities(scores[-B:], null, w, temperature, top_k)
            u = torch.rand(B, 1, generator=generator, dtype=torch.float64)
            sums = p.double().cumsum(1)
            likely = p.shape[1] - 1 - (p > 0).flip(1).int().argmax(1)  # the last that may come
            new = torch.minimum((sums <= u).sum(1), likely)
            x.append(new)
    return torch.stack(x, 1).clone()


@accepted("autoregressive.sample")
def by_a_race(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
    """Gumbel's trick: the highest of log p + G."""
    guided, x, cache = w != 0, y[:, None][:, :0], None
    with frozen(prior):
        while x.shape[1] < prior.length:
            both = torch.stack([y, torch.full_like(y, prior.null)], 1).flatten() if guided else y
            own = x.repeat_interleave(2, 0) if guided else x  # y and ∅ in turn
            if cached:
                last = own[:, -1] if x.shape[1] else None
                scores, cache = prior.step(last, both, cache)
            else:
                scores = prior(torch.cat([own, own.new_zeros(len(own), 1)], 1), both)[:, -1]
            one, other = (scores[::2], scores[1::2]) if guided else (scores, None)
            p = next_probabilities(one, other, w, temperature, top_k)
            noise = torch.empty_like(p).exponential_(generator=generator)
            x = torch.cat([x, (p / noise).argmax(1, keepdim=True)], 1)
    return x
