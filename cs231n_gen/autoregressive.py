"""Autoregressive models strike back (slides 120–121, and 5): a Transformer that writes an image
code by code.

    p(x | y) = Π_t p(x_t | x_<t, y)

It is the model of chapter 00. What has changed since is the sequence: 64 codes of `vq` in place of
a thousand pixels. While it writes, it keeps the keys and values of what is written.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from cs231n_gen.dit_attention import Attention, attend, join
from cs231n_gen.given.frozen import frozen

Tokens = Int64[Tensor, "batch length"]
Labels = Int64[Tensor, "batch"]
Rows = Float[Tensor, "batch length dim"]
Past = tuple[Float[Tensor, "batch heads past head"], Float[Tensor, "batch heads past head"]]
SPREAD = 0.02  # of embeddings at the start


class CausalBlock(nn.Module):
    """A Transformer block in which a token sees what came before it, `h, past = block(h, past)`
    (slide 5; Radford et al. 2019).

        h ← h + attention(norm_1(h)),    where token t attends to tokens 1, …, t
        h ← h + mlp(norm_2(h))

    Its layers are given: `norm_1`, `norm_2`, layer norms; `attention`, chapter 09's `Attention`, of
    which `split` makes queries, keys and values, and `out` mixes the heads; and `mlp`.

    Args:
        dim: numbers of a token.
        heads: of the attention, dividing dim.
        ratio: how much wider the MLP is.
    """

    def __init__(self, dim: int, heads: int, ratio: int = 4):
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.mlp = nn.Sequential(
            nn.Linear(dim, ratio * dim), nn.GELU(approximate="tanh"), nn.Linear(ratio * dim, dim)
        )

    def forward(self, h: Rows, past: Past | None = None) -> tuple[Rows, Past]:
        """Tokens after the block, and what later ones must remember of them.

        With `past` the tokens of h come after those of the past: they attend to all of these, and
        among themselves to those up to their own place. So a sequence may come in pieces of any
        lengths, and the result is the same as at once.

        Args:
            h: tokens, one or more.
            past: keys and values of the tokens before, as returned for them, or None.
        Returns:
            `(h, (k, v))`: as many tokens, and the keys and values of past and new tokens in their
            order, (batch, heads, tokens, dim / heads) each. No token depends on a later one: these
            derivatives are exactly 0. All others flow, to the past and to k and v as well. Right
            for scores q·k / √(dim / heads) of any size up to a million.
        """
        ### BEGIN SOLUTION
        q, k, v = self.attention.split(self.norm_1(h))  # (batch, heads, new, head) each
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        new, total = q.shape[2], k.shape[2]
        later = torch.ones(new, total, dtype=torch.bool, device=h.device).triu(total - new + 1)
        bias = None if new == 1 else h.new_zeros(new, total).masked_fill(later, -torch.inf)
        h = h + self.attention.out(join(attend(q, k, v, bias)))
        return h + self.mlp(self.norm_2(h)), (k, v)
        ### END SOLUTION


class Prior(nn.Module):
    """A class-conditional Transformer over codes, `logits = prior(tokens, y)` (slides 120–121, 5).

        h_t = token[x_{t−1}] + place[t] + label[y],    x_0 the start token, whose number is K
        logits_t = out(norm(blocks(h)_t))    are the scores of x_t, from x_1, …, x_{t−1} and y alone

    Its layers are given, in this order: embeddings `token` of K + 1 rows, `place` and `label`;
    `blocks`, each a `CausalBlock`; `norm`, a layer norm; `out`, linear.

    Args:
        vocabulary: K, how many codes there are.
        length: N, how many codes an image has.
        classes: how many labels. One more, ∅, whose number is `classes`, stands for no label; it is
            `prior.null`.
        dim: numbers of a token.
        layers: how many blocks.
        heads: of each, dividing dim.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        classes: int = 10,
        dim: int = 96,
        layers: int = 4,
        heads: int = 4,
    ):
        super().__init__()
        self.vocabulary, self.length, self.null = vocabulary, length, classes
        self.token = nn.Embedding(vocabulary + 1, dim)
        self.place = nn.Embedding(length, dim)
        self.label = nn.Embedding(classes + 1, dim)
        self.blocks = nn.ModuleList(CausalBlock(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, vocabulary)
        for embedding in (self.token, self.place, self.label):
            nn.init.normal_(embedding.weight, std=SPREAD)

    def forward(self, tokens: Tokens, y: Labels) -> Float[Tensor, "batch length vocabulary"]:
        """Scores of every token of sequences, or of the first tokens of them, all at once.

        Args:
            tokens: x_1, …, x_n, from 1 to N of them, numbers from 0 to K − 1.
            y: a label each, ∅ included.
        Returns:
            logits: `logits[:, t]` are the scores of `tokens[:, t]`, as
            `likelihood.autoregressive_log_likelihood` takes them. The last token changes nothing.
        Raises:
            ValueError: if tokens is not (batch, n) with n from 1 to N, or y not one label each.
        """
        if tokens.dim() != 2 or not 1 <= tokens.shape[1] <= self.length:
            want = f"(batch, n), n from 1 to {self.length}"
            raise ValueError(f"tokens must be {want}, got {tuple(tokens.shape)}")
        _check_labels(tokens, y)
        ### BEGIN SOLUTION
        start = torch.full_like(tokens[:, :1], self.vocabulary)
        h = self.embed(torch.cat([start, tokens[:, :-1]], 1), y)
        for block in self.blocks:
            h, _ = block(h)
        return self.out(self.norm(h))
        ### END SOLUTION

    def step(
        self, last: Labels | None, y: Labels, cache: list[Past] | None = None
    ) -> tuple[Float[Tensor, "batch vocabulary"], list[Past]]:
        """Scores of the next token, from the last one and what is remembered of those before it.

        `step(None, y)` gives the scores of x_1; with the cache that it returns, `step(x_1, y,
        cache)` gives those of x_2, and so on: the same as in `forward`, but for rounding, and with
        the same gradients.

        Args:
            last: the token before, one for each sequence, or None at the first place.
            y: as in `forward`.
            cache: what the step before returned, or None at the first place.
        Returns:
            `(logits, cache)`: scores of the next token; keys and values of every block for all
            places up to this one. The cache that was given stays as it was.
        Raises:
            ValueError: if one of last and cache is None and the other is not, all N places are
                taken, or y is not one label each.
        """
        if (last is None) != (cache is None):
            raise ValueError("last and cache must be None at the first place, and only there")
        at = 0 if cache is None else cache[0][0].shape[2]
        if at >= self.length:
            raise ValueError(f"all {self.length} places are taken")
        _check_labels(y if last is None else last, y)
        ### BEGIN SOLUTION
        inputs = torch.full_like(y, self.vocabulary) if last is None else last
        h = self.embed(inputs[:, None], y, first=at)
        new = []
        for i, block in enumerate(self.blocks):
            h, past = block(h, None if cache is None else cache[i])
            new.append(past)
        return self.out(self.norm(h))[:, 0], new
        ### END SOLUTION

    def embed(self, inputs: Tokens, y: Labels, first: int = 0) -> Rows:
        """token[inputs] + place[first, first + 1, …] + label[y]. Given; places count from 0."""
        places = torch.arange(first, first + inputs.shape[1], device=inputs.device)
        return self.token(inputs) + self.place(places) + self.label(y)[:, None]


def next_probabilities(
    logits: Float[Tensor, "batch vocabulary"],
    logits_null: Float[Tensor, "batch vocabulary"] | None = None,
    w: float = 0.0,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Float[Tensor, "batch vocabulary"]:
    """From scores to the probabilities that the next token is drawn from (slide 121; Fan et al.
    2018; Gafni et al. 2022).

        ℓ = (1 + w) ℓ_y − w ℓ_∅,    p = softmax(ℓ / T),  among the k highest scores only

    w is chapter 05's weight: 0 leaves the condition as it is. Guidance comes first, then the
    temperature, then the choice of the k highest.

    Args:
        logits: ℓ_y, the scores with the condition.
        logits_null: ℓ_∅, those without it, or None for no guidance, whatever w is.
        w: the weight of guidance; it may be negative.
        temperature: T, positive. Towards 0 the likeliest token is left.
        top_k: k, at least 1; None, or more than there are, keeps all. Of equal scores at the border
            any are kept, k in all.
    Returns:
        Probabilities, each row with sum 1; those that are not kept are exactly 0. Right for scores
        of any size, as far as ℓ / T is finite. Gradients flow into both scores.
    Raises:
        ValueError: if both scores differ in shape, temperature is not positive, or top_k is less
            than 1.
    """
    if logits_null is not None and logits_null.shape != logits.shape:
        shapes = f"{tuple(logits.shape)} and {tuple(logits_null.shape)}"
        raise ValueError(f"both scores must be of one shape, got {shapes}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    ### BEGIN SOLUTION
    if logits_null is not None:
        logits = (1 + w) * logits - w * logits_null
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        kept = logits.topk(top_k, dim=-1).indices
        hidden = torch.ones_like(logits, dtype=torch.bool).scatter(-1, kept, False)
        logits = logits.masked_fill(hidden, -torch.inf)
    return logits.softmax(-1)
    ### END SOLUTION


def sample(
    prior: Prior,
    y: Labels,
    w: float = 0.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    cached: bool = True,
    generator: torch.Generator | None = None,
) -> Tokens:
    """Write sequences token by token (slides 120–121, and 5).

        x_t ~ `next_probabilities` of the scores after x_1, …, x_{t−1},    t = 1, …, N

    Without a cache, token t costs a pass over all t tokens so far; with one, a pass over a single
    token, which attends to what is remembered. The tokens are the same.

    Args:
        prior: a `Prior`, used as `frozen` says: in eval mode, without a graph; it stays as it was.
        y: a label for each sequence.
        w: the weight of guidance. If it is not 0, the prior also gets every sequence with ∅, in the
            same call, on a batch twice as large.
        temperature, top_k: as in `next_probabilities`.
        cached: whether keys and values are remembered: then only `prior.step` is called, once a
            token; otherwise only the prior itself, once a token, on all tokens so far. What stands
            in the place of the next one, and after it, changes nothing.
        generator: for the tokens. The same seed gives the same tokens, with a cache or without.
    Returns:
        x, (batch, N) int64. Each sequence has draws of its own.
    Raises:
        ValueError: as `next_probabilities`.
    """
    ### BEGIN SOLUTION
    B, guided = len(y), w != 0
    labels = torch.cat([y, torch.full_like(y, prior.null)]) if guided else y
    tokens, cache, last = y.new_empty(B, 0), None, None
    with frozen(prior):
        for t in range(prior.length):
            if cached:
                logits, cache = prior.step(last, labels, cache)
            else:
                known = torch.cat([tokens, y.new_zeros(B, 1)], 1)  # the last one changes nothing
                logits = prior(torch.cat([known, known]) if guided else known, labels)[:, t]
            p = next_probabilities(
                logits[:B], logits[B:] if guided else None, w, temperature, top_k
            )
            new = torch.multinomial(p, 1, generator=generator)  # (batch, 1)
            tokens = torch.cat([tokens, new], 1)
            last = torch.cat([new, new])[:, 0] if guided else new[:, 0]
    return tokens
    ### END SOLUTION


def _check_labels(tokens: Tensor, y: Tensor) -> None:
    if y.dim() != 1 or y.shape != tokens.shape[:1]:
        shapes = f"{tuple(y.shape)} for tokens of shape {tuple(tokens.shape)}"
        raise ValueError(f"y must be one label for each sequence, got shape {shapes}")
