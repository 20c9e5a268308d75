"""Worlds of sequences so small that every probability is in a table (slides 120–121, and 5).

N tokens of K kinds make K^N sequences. With all their probabilities at hand, whatever a sampler
does token by token has an exact result, without a single draw: guidance, temperature and the
choice of the k highest applied to each token (`token_by_token`), the same applied to whole
sequences (`sharpened`), and several tokens drawn at once (`masked_decoding`).

A table is a float64 tensor with N axes of length K: `p[x_1, …, x_N]`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cs231n_gen.truth.checks import real

Table = Float[Tensor, "*tokens"]
Tokens = Int64[Tensor, "batch length"]
Labels = Int64[Tensor, "batch"]
Places = tuple[int, ...]
LARGEST = 10_000_000  # numbers in a table


@dataclass(frozen=True, eq=False)
class SequenceWorld:
    """p(y, x_1, …, x_N): labelled sequences, each with its exact probability.

    It answers what a perfect `autoregressive.Prior` would. It never changes, and computes and
    answers in float64.

    Args:
        joint: (classes, K, …, K), at least 0; scaled to sum to 1.
    Raises:
        ValueError: if joint is no such table, or a class has no probability.
    """

    joint: Float[Tensor, "classes *tokens"]

    def __post_init__(self) -> None:
        joint = real(self.joint).clone()
        if joint.dim() < 2 or len(set(joint.shape[1:])) != 1:
            raise ValueError(f"joint must be (classes, K, …, K), got {tuple(joint.shape)}")
        joint = _scaled(joint, "joint")
        if not (joint.flatten(1).sum(1) > 0).all():
            raise ValueError("each class must have some probability in joint")
        object.__setattr__(self, "joint", joint)

    @classmethod
    def random(
        cls,
        vocabulary: int,
        length: int,
        classes: int = 2,
        spread: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> "SequenceWorld":
        """A world without any structure: p ∝ exp(spread · n) with n ~ N(0, 1) for each sequence."""
        shape = (classes, *[vocabulary] * length)
        if min(shape) < 1 or length < 1 or math.prod(shape) > LARGEST:
            raise ValueError(f"expected a table of at most {LARGEST} numbers, got shape {shape}")
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        return cls((spread * noise).flatten().softmax(0).reshape(shape))

    @property
    def classes(self) -> int:
        """How many labels there are, 0, 1, …; the number of none, ∅, is `classes`."""
        return self.joint.shape[0]

    @property
    def vocabulary(self) -> int:
        """K."""
        return self.joint.shape[1]

    @property
    def length(self) -> int:
        """N."""
        return self.joint.dim() - 1

    def given(self, y: int | None = None) -> Table:
        """p(x | y), or p(x) for None or y = ∅."""
        if y is None or y == self.classes:
            return self.joint.sum(0)
        if not 0 <= y < self.classes:
            raise ValueError(f"y must be from 0 to {self.classes} (no label), got {y}")
        return self.joint[y] / self.joint[y].sum()

    def logits(self, tokens: Tokens, y: Labels) -> Float[Tensor, "batch length vocabulary"]:
        """log p(x_t = k | x_<t, y) for each place of sequences or of their beginnings: the scores
        of a perfect prior, by its contract.

        Args:
            tokens: x_1, …, x_n, n from 1 to N. The last one changes nothing.
            y: a label each, ∅ included.
        Returns:
            Normalised scores, −∞ for what cannot be; all equal after what cannot be.
        Raises:
            ValueError: if tokens or y are of other shapes or beyond their ranges.
        """
        if tokens.dim() != 2 or not 1 <= tokens.shape[1] <= self.length:
            want = f"(batch, n), n from 1 to {self.length}"
            raise ValueError(f"tokens must be {want}, got {tuple(tokens.shape)}")
        if y.shape != tokens.shape[:1]:
            want = f"one label for each of {len(tokens)} sequences"
            raise ValueError(f"y must be {want}, got shape {tuple(y.shape)}")
        if tokens.numel() and not ((tokens >= 0) & (tokens < self.vocabulary)).all():
            raise ValueError(f"tokens must be from 0 to {self.vocabulary - 1}")
        out = torch.empty(*tokens.shape, self.vocabulary, dtype=torch.float64)
        for label in y.unique().tolist():
            rows = y == label
            before = tokens[rows]
            for t, log_p in enumerate(conditionals(self.given(label))[: tokens.shape[1]]):
                out[rows, t] = log_p[tuple(before[:, i] for i in range(t))]
        return out

    def sample(self, y: Labels, generator: torch.Generator | None = None) -> Tokens:
        """A sequence from p(x | y) for each label, ∅ included; one `torch.multinomial` a label, in
        the order of labels."""
        out = torch.empty(len(y), self.length, dtype=torch.long)
        for label in y.unique().tolist():
            rows = y == label
            p = self.given(label).flatten()
            i = torch.multinomial(p, int(rows.sum()), replacement=True, generator=generator)
            out[rows] = all_sequences(self.vocabulary, self.length)[i]
        return out


def two_token_world() -> SequenceWorld:
    """Two classes, two tokens of two kinds, in which the first token decides whether the second
    tells the class.

        x_1 is a fair coin for both classes
        after x_1 = 0 so is x_2;    after x_1 = 1, x_2 = y with probability .9

    What guidance towards y = 1 wants is the sequence 1 1. Of x_1 a guided sampler sees that it
    tells nothing of y, and leaves it a coin. The sharpened sequence p(x | y)^{1+w} / p(x)^w looks
    ahead: it takes x_1 = 1 more often, since after it x_2 can tell. With w = 1:

        x                            0 0      0 1      1 0      1 1      P(x_1 = 1)
        p(x | y = 1)                 .25      .25      .05      .45      .5
        guided token by token        .25      .25      .0061    .4939    .5
        sharpened                    .1894    .1894    .0076    .6136    .6212

    The total variation between the last two is .1212; for large w it tends to ½. Here p(x_t | x_<t)
    without y is a coin at both places, so temperature 1 / (1 + w) does what guidance by w does.
    """
    given = [[[0.25, 0.25], [0.45, 0.05]], [[0.25, 0.25], [0.05, 0.45]]]
    return SequenceWorld(torch.tensor(given, dtype=torch.float64))


def all_sequences(vocabulary: int, length: int) -> Int64[Tensor, "sequences length"]:
    """All K^N sequences, in the order of `table.flatten()`: the last token changes fastest."""
    if vocabulary < 1 or length < 1 or vocabulary**length * length > LARGEST:
        raise ValueError(f"expected few sequences, got {length} tokens of {vocabulary} kinds")
    axes = [torch.arange(vocabulary)] * length
    return torch.cartesian_prod(*axes).reshape(-1, length)


# --- the chain rule -----------------------------------------------------------------------------


def conditionals(p: Table, order: Sequence[int] | None = None) -> list[Tensor]:
    """log p(x_t | x_<t) for every beginning of a sequence (slide 4).

        p(x_t | x_1, …, x_{t−1}) = p(x_1, …, x_t) / p(x_1, …, x_{t−1})

    Args:
        p: a table, scaled to sum to 1.
        order: places in the order in which they are written, from 0 to N − 1; by default 0, 1, ….
    Returns:
        N tensors: the t-th has t + 1 axes of length K, those of the first t + 1 places of the
        order; its exponential sums to 1 over the last. After what cannot be, all tokens are alike.
    Raises:
        ValueError: if p is no table, or order does not hold each place once.
    """
    p = _table(p)
    p = p.permute(*_order(order, p.dim()))
    return [_conditional(p, t).log() for t in range(p.dim())]


def chain_rule(
    next_probabilities: Callable[[Tokens], Float[Tensor, "batch vocabulary"]],
    vocabulary: int,
    length: int,
) -> Table:
    """The exact distribution of sequences whose tokens are drawn one after the other.

        p(x) = Π_t p(x_t | x_<t)

    Args:
        next_probabilities: from all K^t beginnings, (K^t, t), t from 0 to N − 1, to a row of
            probabilities for each.
        vocabulary, length: K and N.
    Returns:
        The table in float64, not scaled: it sums to 1 if each row does.
    """
    p = torch.ones(1, dtype=torch.float64)
    for t in range(length):
        before = all_sequences(vocabulary, t) if t else torch.empty(1, 0, dtype=torch.long)
        p = (p[:, None] * real(next_probabilities(before).detach())).flatten()
    return p.reshape([vocabulary] * length)


def token_by_token(
    p: Table,
    p_null: Table | None = None,
    w: float = 0.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    order: Sequence[int] | None = None,
) -> Table:
    """The exact distribution of sequences whose every token is drawn with guidance by w, at
    temperature T, from the k likeliest.

        q(x) = Π_t q(x_t | x_<t)
        q(x_t | x_<t) ∝ (p(x_t | x_<t, y)^{1+w} / p(x_t | x_<t)^w)^{1/T}

    Each factor is normalised over x_t alone, by a number Z_t(x_<t) that depends on what is written:

        q(x) ∝ sharpened(x) / Π_t Z_t(x_<t)

    `sharpened` favours a beginning after which much can still be gained (large Z_t); a sampler that
    writes token by token does not look ahead, and takes it no more often. It is chapter 05's lesson
    again: the guided velocity of each level is right for that level, and all together they do not
    lead to the sharpened density.

    Args:
        p: p(x | y), scaled to sum to 1.
        p_null: p(x), positive where p is; None for no guidance, whatever w is.
        w: the weight of guidance.
        temperature: T, positive.
        top_k: how many tokens are kept at each place; of equal ones the first. None keeps all.
        order: as in `conditionals`. Without guidance, temperature and choice it changes nothing.
    Returns:
        A table that sums to 1, its axes those of p. What p gives no probability has none.
    Raises:
        ValueError: if a table is none or they do not agree, temperature is not positive, w is not
            finite, top_k is less than 1, or order does not hold each place once.
    """
    p, p_null = _both(p, p_null, w, temperature)
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    order = _order(order, p.dim())
    q = torch.ones((), dtype=torch.float64)
    first, second = (v if v is None else v.permute(*order) for v in (p, p_null))
    for t in range(p.dim()):
        null = None if second is None else _conditional(second, t)
        scores = _scores(_conditional(first, t), null, w, temperature)
        if top_k is not None and top_k < scores.shape[-1]:
            rank = scores.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
            scores = scores.masked_fill(rank >= top_k, -math.inf)
        reached = q[..., None]
        q = torch.where(reached > 0, reached * scores.softmax(-1), 0.0)
    return q.permute(*torch.tensor(order).argsort().tolist())


def sharpened(
    p: Table, p_null: Table | None = None, w: float = 0.0, temperature: float = 1.0
) -> Table:
    """The distribution that guidance and temperature are said to draw from: whole sequences,
    sharpened and normalised once.

        q(x) ∝ (p(x | y)^{1+w} / p(x)^w)^{1/T}

    Args and Raises are those of `token_by_token`, which says why it draws from another one.
    """
    p, p_null = _both(p, p_null, w, temperature)
    return _scores(p, p_null, w, temperature).flatten().softmax(0).reshape(p.shape)


def guidance_gap(p: Table, p_null: Table, w: Float[Tensor, "weights"]) -> Float[Tensor, "weights"]:
    """The total variation between `token_by_token` and `sharpened`, for each weight w; 0 at w = 0.

    Args and Raises are those of `token_by_token`, for several w at once.
    """
    each = [(token_by_token(p, p_null, v), sharpened(p, p_null, v)) for v in real(w).tolist()]
    return torch.stack([total_variation(drawn, wanted) for drawn, wanted in each])


# --- several tokens at once ---------------------------------------------------------------------


def masked_decoding(
    p: Table,
    counts: Sequence[int],
    places: Literal["random", "confident"] | Sequence[int] = "random",
    chance: float | Sequence[float] = 0.0,
) -> Table:
    """The exact distribution of sequences that are written several tokens at a time, as MaskGIT
    does (Chang et al. 2022), by a perfect net.

        each call:  x_i ~ p(x_i | all that is written) for all i chosen, independently

    Tokens of one call do not see each other: what they have to do with each other is lost. With
    places in a fixed order, sets B_1, …, B_C,

        KL(p ‖ q) = Σ_c (Σ_{i ∈ B_c} H(x_i | x_before) − H(x_{B_c} | x_before))

    With one token a call nothing is lost, in a fixed or random order. Not so for "confident": which
    tokens stay is decided by what was drawn, so likely tokens are favoured even then, as at a low
    temperature. MaskGIT therefore adds noise to log p before it compares: the more, the nearer to a
    random order.

    Args:
        p: a table, scaled to sum to 1, of a few places: all 2^N sets of them are gone through.
        counts: how many tokens each call writes, at least 1 each, N together.
        places: "random": each set of places as likely as any other. "confident": all that is not
            written is drawn, and those drawn tokens stay for which log p + chance · Gumbel noise is
            highest. A sequence: all places in the order in which they are written.
        chance: for "confident" alone, 0 or more, ∞ included, one for all calls or one for each. At
            0 the likeliest tokens stay, of equal ones the first.
    Returns:
        A table that sums to 1.
    Raises:
        ValueError: if p is no table, counts do not make N, places is none of these, or chance is
            negative, NaN or not one for each call.
    """
    p = _table(p)
    N = p.dim()
    if any(n < 1 for n in counts) or sum(counts) != N:
        raise ValueError(f"counts must be at least 1 each and {N} together, got {list(counts)}")
    fixed = None if isinstance(places, str) else _order(places, N)
    if fixed is None and places not in ("random", "confident"):
        raise ValueError(f'places must be "random", "confident" or an order, got {places!r}')
    noise = [chance] * len(counts) if isinstance(chance, int | float) else list(chance)
    if len(noise) != len(counts) or not all(c >= 0 for c in noise):
        raise ValueError(f"chance must be at least 0, one or one for each call, got {chance}")
    # By set of written places: how likely it is that these are written, with these tokens. All
    # tables keep N axes; those of places that are not written have length 1.
    written = {(): torch.ones([1] * N, dtype=torch.float64)}
    for n, scale in zip(counts, noise, strict=True):
        after: dict[Places, Tensor] = {}
        for known, weight in written.items():
            left = [i for i in range(N) if i not in known]
            drawn = {i: _marginal(p, known, i) for i in left}
            if fixed is not None:
                stays = {tuple(sorted(fixed[len(known) : len(known) + n])): 1.0}
            elif places == "random" or scale == math.inf:
                stays = {new: 1 / math.comb(len(left), n) for new in combinations(left, n)}
            else:
                stays = _surest(drawn, n) if scale == 0 else _sure(drawn, n, scale)
            for new, share in stays.items():
                gone = [i for i in left if i not in new]
                if isinstance(share, float):  # what else was drawn does not matter
                    more = share * math.prod(drawn[i] for i in new)
                else:
                    more = share * math.prod(drawn.values())
                    more = more.sum(gone, keepdim=True) if gone else more
                both = tuple(sorted(known + new))
                after[both] = after.get(both, 0) + weight * more
        written = after
    return written[tuple(range(N))]


def _marginal(p: Tensor, known: Places, i: int) -> Tensor:
    """p(x_i | x_known) with all axes kept; all tokens alike after what cannot be."""
    others = [j for j in range(p.dim()) if j not in (*known, i)]
    joint = p.sum(others, keepdim=True) if others else p
    total = joint.sum(i, keepdim=True)
    return torch.where(total > 0, joint / total.clamp(min=1e-300), 1 / p.shape[i])


def _surest(drawn: dict[int, Tensor], n: int) -> dict[Places, Tensor]:
    """For each set of n places, 1 where their drawn tokens are the likeliest, else 0."""
    likely = torch.stack(torch.broadcast_tensors(*drawn.values()))
    stays = likely.argsort(dim=0, descending=True, stable=True).argsort(dim=0) < n
    shares = {}
    for new in combinations(drawn, n):
        want = torch.tensor([i in new for i in drawn]).reshape(-1, *[1] * (stays.dim() - 1))
        shares[new] = (stays == want).all(0).double()
    return shares


def _sure(drawn: dict[int, Tensor], n: int, chance: float) -> dict[Places, Tensor]:
    """For each set of n places, how likely it is that they are the highest of log p + chance ·
    Gumbel noise: one after the other is drawn from p^(1/chance), none twice (Yellott 1977)."""
    log_p = torch.stack(torch.broadcast_tensors(*drawn.values())).clamp(min=1e-300).log()
    scores = dict(zip(drawn, log_p / chance, strict=True))
    shares: dict[Places, Tensor] = {(): torch.ones_like(log_p[0])}
    for _ in range(n):
        grown: dict[Places, Tensor] = {}
        for before, share in shares.items():
            rest = [i for i in drawn if i not in before]
            odds = torch.stack([scores[i] for i in rest]).softmax(0)
            for i, odd in zip(rest, odds, strict=True):
                both = tuple(sorted((*before, i)))
                grown[both] = grown.get(both, 0) + share * odd
        shares = grown
    return shares


# --- measures -----------------------------------------------------------------------------------


def total_variation(p: Table, q: Table) -> Float[Tensor, ""]:
    """½ Σ |p − q|: how much probability is in the wrong place, from 0 to 1."""
    p, q = _alike(p, q)
    return (p - q).abs().sum() / 2


def entropy_bits(p: Table) -> Float[Tensor, ""]:
    """−Σ p log₂ p: the bits a sequence needs with the best code."""
    return torch.special.entr(_table(p)).sum() / math.log(2)


def kl_bits(p: Table, q: Table) -> Float[Tensor, ""]:
    """Σ p log₂ (p / q): the bits a sequence costs more than needed with the best code for q; ∞
    where q rules out what p may give."""
    p, q = _alike(p, q)
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum() / math.log(2)


# --- what comes in ------------------------------------------------------------------------------


def _scaled(p: Tensor, name: str) -> Tensor:
    if not (p >= 0).all() or not p.isfinite().all() or not p.sum() > 0:
        raise ValueError(f"{name} must be probabilities, at least 0 and not all 0")
    if p.numel() > LARGEST:
        raise ValueError(f"{name} may have {LARGEST} numbers, got {p.numel()}")
    return p / p.sum()


def _table(p, name: str = "p") -> Tensor:
    p = real(p)
    if p.dim() < 1 or len(set(p.shape)) != 1:
        raise ValueError(f"{name} must be (K, …, K), an axis for each token, got {tuple(p.shape)}")
    return _scaled(p, name)


def _alike(p, q) -> tuple[Tensor, Tensor]:
    p, q = _table(p), _table(q, "q")
    if p.shape != q.shape:
        raise ValueError(f"both tables must be of one shape, got {p.shape} and {q.shape}")
    return p, q


def _both(p, p_null, w: float, temperature: float) -> tuple[Tensor, Tensor | None]:
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if not math.isfinite(w):
        raise ValueError(f"w must be finite, got {w}")
    p = _table(p)
    if p_null is None:
        return p, None
    p, p_null = _alike(p, p_null)
    if ((p > 0) & (p_null == 0)).any():
        raise ValueError("p_null must be positive wherever p is: it is p without the label")
    return p, p_null


def _order(order: Sequence[int] | None, n: int) -> list[int]:
    places = list(range(n)) if order is None else list(order)
    if sorted(places) != list(range(n)):
        raise ValueError(f"order must hold each place from 0 to {n - 1} once, got {places}")
    return places


def _conditional(p: Tensor, t: int) -> Tensor:
    """p(x_t | x_<t), axes 0 to t; all tokens alike after what cannot be."""
    later = list(range(t + 1, p.dim()))
    joint = p.sum(later) if later else p
    total = joint.sum(-1, keepdim=True)
    return torch.where(total > 0, joint / total.clamp(min=1e-300), 1 / p.shape[t])


def _scores(p: Tensor, p_null: Tensor | None, w: float, temperature: float) -> Tensor:
    """((1 + w) log p − w log p_null) / T, and −∞ where p is 0."""
    scores = p.log()
    if p_null is not None:
        scores = (1 + w) * scores - w * p_null.log()
    return (scores / temperature).masked_fill(p == 0, -math.inf)
