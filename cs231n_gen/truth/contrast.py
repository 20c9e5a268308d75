"""Contrastive learning in a finite world: what the best critic of pairs knows (slides 101–102).

Images and texts are numbered, and a table says how likely each pair of them is: p(i, j). Then the
expectation of `text.contrastive_loss` is exact for any scores, without a single draw
(`expected_loss`), and so are the best scores (`pointwise_information`) and what they reach
(`best_loss`). No batch shows more than log n of the `mutual_information`. Where pairs fall into
classes that tell each other apart completely, as pictures and captions do, all of it is a sum over
classes (`same_class_loss`, `caption_floor`).

All numbers are in nats.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.truth.checks import real

Joint = Float[Tensor, "images texts"]
LARGEST = 100_000  # numbers of a table
STEP = 0.25  # of the trapezoid rule: it errs by less than 1e-15 for this integrand
BEFORE, AFTER = 40.0, 4.0  # of log u, beyond which the integrand is nothing


def mutual_information(p: Joint) -> float:
    """I = Σ p(i, j) log p(i, j) / (p(i) p(j)): how much an image tells of its text, in nats.

    Args:
        p: at least 0; scaled to sum to 1.
    Raises:
        ValueError: if p is no such table.
    """
    p = _joint(p)
    return float((p * pointwise_information(p)).nan_to_num(0.0).sum())


def pointwise_information(p: Joint) -> Joint:
    """log p(i, j) / (p(i) p(j)), and −∞ where p(i, j) is 0: the best scores.

    They make each half of the loss as small as it gets: given one image and n texts, one of which
    is its own, text j is the one with probability proportional to p(j | i) / p(j) (van den Oord et
    al. 2018). What depends on the image alone may be added for the half that finds texts, what
    depends on the text alone for the half that finds images, and one constant for both.

    Args:
        p: at least 0; scaled to sum to 1.
    Raises:
        ValueError: if p is no such table.
    """
    p = _joint(p)
    independent = p.sum(1, keepdim=True) * p.sum(0)
    return torch.where(p > 0, p / independent.where(p > 0, 1.0), 0.0).log()


def expected_loss(p: Joint, scores: Joint, n: int) -> Float[Tensor, ""]:
    """E of `text.contrastive_loss` over batches of n independent pairs: the mean of both halves.

    See `text_loss` for what is computed and how.

    Args:
        p: at least 0; scaled to sum to 1.
        scores: s(i, j) of each image with each text.
        n: pairs of a batch, at least 1.
    Returns:
        L, exact to about 1e-13, from 0 to ∞. Gradients flow into finite scores.
    Raises:
        ValueError: if p is no such table, scores are not shaped like it, NaN or ∞, or n is less
            than 1.
    """
    p, scores = _joint(p), _scores(p, scores)
    return (text_loss(p, scores, n) + text_loss(p.T, scores.T, n)) / 2


def text_loss(p: Joint, scores: Joint, n: int) -> Float[Tensor, ""]:
    """The half of `expected_loss` that finds the text of an image. For the other half, hand in both
    tables transposed.

        E −log (e^s(i, j) / (e^s(i, j) + Σ_k e^s(i, j_k)))    (i, j) ~ p, n − 1 times j_k ~ p(j)

    The expectation of a logarithm is an integral in which the n − 1 draws separate:

        log y = ∫ (e^−u − e^−uy) du / u        E e^−u(a + Σ X_k) = e^−ua (E e^−uX)^(n−1)

    In log u the trapezoid rule is exact to rounding, for any n.

    Args:
        p, scores, n: as in `expected_loss`. A score may be −∞: this text is never chosen for this
            image. Where p is positive, the loss is then ∞.
    """
    p = _joint(p)
    s = _scores(p, scores)
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a whole number from 1 on, got {n!r}")
    if ((p > 0) & (s == -math.inf)).any():
        return torch.tensor(math.inf, dtype=torch.float64)
    p_text = p.sum(0)
    total = torch.zeros((), dtype=torch.float64)
    for row, p_row in zip(s, p, strict=True):
        own = p_row > 0
        if own.any():
            known = p_text > 0
            row, weight = row[known], p_text[known]
            row = row - row.detach().amax()
            own = own[known]
            logs = _mean_log(row[own], row, weight, n)
            total = total + (p_row[known][own] * (logs - row[own])).sum()
    return total.clamp(min=0)  # where it is 0 but for rounding


def best_loss(p: Joint, n: int) -> tuple[float, Joint]:
    """The least that `expected_loss` can be, and scores that reach it: `pointwise_information`.

    Then log n − L ≤ I, the mutual information, and log n − L ≤ log n (van den Oord et al. 2018;
    Poole et al. 2019). As n grows, log n − L comes near to I from below. It takes n to be well
    above e^I: a batch of 128 shows 4.85 nats at most.

    Args:
        p: at least 0; scaled to sum to 1.
        n: pairs of a batch, at least 1.
    Returns:
        `(L, scores)`.
    Raises:
        ValueError: if p is no such table, or n is less than 1.
    """
    scores = pointwise_information(p)
    return float(expected_loss(p, scores, n)), scores


# --- classes ------------------------------------------------------------------------------------


def same_class_loss(probabilities: Float[Tensor, "classes"], n: int) -> float:
    """The best loss where images and texts fall into classes, and what is within one is alike.

        L = Σ_c p_c E log(1 + B_c),    B_c ~ Binomial(n − 1, p_c)

    An image and a text belong together exactly if they are of one class. Of the n texts, 1 + B_c
    fit an image of class c equally well, and the best critic guesses between them. The mutual
    information is the entropy of the classes.

        K equally likely classes, n ≫ K: L ≈ log (n / K)        n ≪ K: L ≈ (n − 1) log 2 / K

    Args:
        probabilities: p_c, at least 0; scaled to sum to 1.
        n: pairs of a batch, at least 1.
    Raises:
        ValueError: if these are no probabilities, or n is less than 1.
    """
    p = real(probabilities)
    if p.dim() != 1 or not (p >= 0).all() or not p.isfinite().all() or not p.sum() > 0:
        raise ValueError(f"probabilities must be (classes,), at least 0 and not all 0, got {p}")
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a whole number from 1 on, got {n!r}")
    different, counts = (p / p.sum()).unique(return_counts=True)
    B = torch.arange(n, dtype=torch.float64)
    others = torch.tensor(float(n - 1), dtype=torch.float64)
    ways = torch.lgamma(others + 1) - torch.lgamma(B + 1) - torch.lgamma(others - B + 1)
    q = different[:, None]
    chance = torch.exp(ways + torch.xlogy(B, q) + torch.special.xlog1py(others - B, -q))
    return float((counts * different * (chance @ (B + 1).log())).sum())


def caption_floor(n: int, objects: int, relations: int, alone: float) -> float:
    """The best loss in batches of n pictures with captions, by `same_class_loss`.

    A picture shows one object, or two in a relation; what it shows determines its caption but for
    being told from either object: "A left of B" is "B right of A". Both are equally likely. So two
    tellings are one class: with relations in opposite pairs there are objects classes of one
    object, and relations · objects² / 2 of two.

    Of `given.captions` without those held out: 50 objects, 4 relations, one in five alone.

        n        32      64     128     256
        L     .0195   .0388   .0749   .1391

    Args:
        n: pairs of a batch, at least 1.
        objects: how many kinds of objects there are, all equally likely.
        relations: how many of them, an even number, all equally likely.
        alone: share of pictures with one object, from 0 to 1.
    Raises:
        ValueError: if a number is not as described.
    """
    if objects < 1 or relations < 2 or relations % 2 or not 0 <= alone <= 1:
        raise ValueError(
            "objects must be at least 1, relations a positive even number and alone from 0 to 1, "
            f"got {objects}, {relations} and {alone}"
        )
    pairs = relations * objects**2 // 2
    one = torch.full((objects,), alone / objects, dtype=torch.float64)
    two = torch.full((pairs,), (1 - alone) / pairs, dtype=torch.float64)
    return same_class_loss(torch.cat([one, two]), n)


def telling_apart(p: Joint, partner: Sequence[int], seen: Sequence[int]) -> float:
    """The share of pairs in which a critic can at most prefer the text of an image to its partner.

        (i, j) ~ p: right if s(i, seen_j) > s(i, seen_partner(j)), half right if they are equal

    A critic that sees texts only as far as `seen` tells them apart gives equal scores to texts that
    it sees as equal, however large it is. With a bag of words and the partner "B left of A" of "A
    left of B", all are equal: it is right in at most half of the pairs. That is exact; where a
    critic sees some texts apart, it is a bound.

    Args:
        p: at least 0; scaled to sum to 1.
        partner: for each text the number of another, whose partner it is in turn; a text that is
            its own partner is left out.
        seen: for each text what the critic sees of it, as a number.
    Raises:
        ValueError: if p is no table, a list is not one number for each text, partners are not each
            other's, or all are their own.
    """
    p = _joint(p)
    J = p.shape[1]
    of, seen = torch.as_tensor(partner), torch.as_tensor(seen)
    texts = torch.arange(J)
    if of.shape != (J,) or seen.shape != (J,):
        raise ValueError(f"partner and seen must be {J} numbers each, got {len(of)}, {len(seen)}")
    if ((of < 0) | (of >= J)).any() or (of[of] != texts).any():
        raise ValueError(f"each text must be the partner of its partner, got {of.tolist()}")
    counted = float(p[:, of != texts].sum())
    if not counted:
        raise ValueError("there must be a text with a partner other than itself")
    right: dict[tuple[int, int], list[Tensor]] = {}
    for j, k in enumerate(of.tolist()):
        if j < k:
            a, b = (j, k) if seen[j] <= seen[k] else (k, j)
            both = right.setdefault((int(seen[a]), int(seen[b])), [0 * p[:, 0], 0 * p[:, 0]])
            both[0] = both[0] + p[:, a]
            both[1] = both[1] + p[:, b]
    shares = [
        torch.maximum(a, b) if group[0] != group[1] else (a + b) / 2
        for group, (a, b) in right.items()
    ]
    return float(torch.stack(shares).sum()) / counted


def _mean_log(
    own: Float[Tensor, "own"], row: Float[Tensor, "texts"], weight: Float[Tensor, "texts"], n: int
) -> Float[Tensor, "own"]:
    """E log(e^own + the sum of n − 1 draws of e^row), for row at most 0."""
    log_u = torch.arange(
        -BEFORE - math.log(n), AFTER - float(own.detach().amin()) + STEP, STEP, dtype=torch.float64
    )
    draws = torch.exp(-torch.exp(log_u[:, None] + row)) @ weight  # E e^−uX
    terms = torch.exp(-torch.exp(log_u[:, None] + own)) * (draws ** (n - 1))[:, None]
    return STEP * (torch.exp(-torch.exp(log_u))[:, None] - terms).sum(0)


def _scores(p: Joint, scores) -> Joint:
    s = real(scores)
    if s.shape != p.shape:
        raise ValueError(f"scores must be {tuple(p.shape)} like p, got {tuple(s.shape)}")
    wrong = s.isnan() | (s == math.inf)
    if wrong.any():
        raise ValueError(f"scores must be numbers or −∞, got {float(s[wrong][0])}")
    return s


def _joint(p) -> Joint:
    p = real(p)
    if p.dim() != 2 or not (p >= 0).all() or not p.isfinite().all() or not p.sum() > 0:
        raise ValueError(
            f"p must be (images, texts), at least 0 and not all 0, got {tuple(p.shape)}"
        )
    if p.numel() > LARGEST:
        raise ValueError(f"p may have {LARGEST} numbers, got {p.numel()}")
    return p / p.sum()
