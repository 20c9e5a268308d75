"""What is measured on samples: distances between two sets, and the bits that tokens cost."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def energy_distance(
    x: Float[Tensor, "n dim"], y: Float[Tensor, "m dim"], biased: bool = False
) -> Float[Tensor, ""]:
    """The energy distance of the distributions that two samples come from (Székely and Rizzo 2013).

        D² = 2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖     (in units of length; 0 only for equal
        distributions)

    Args:
        x, y: samples of any sizes of at least 2.
        biased: by default pairs of a point with itself are left out, so the estimate is right on
            average and may fall a little below 0. With True they count, and samples of one
            distribution get (1/n + 1/m) E‖X − X'‖ on average.
    Returns:
        D², in float64.
    Raises:
        ValueError: if the samples are not two sets of points of one dimension.
    """
    x, y = _two_samples(x, y)
    n, m = len(x), len(y)
    within_x, within_y = torch.cdist(x, x).sum(), torch.cdist(y, y).sum()
    pairs_x, pairs_y = (n * n, m * m) if biased else (n * (n - 1), m * (m - 1))
    return 2 * torch.cdist(x, y).mean() - within_x / pairs_x - within_y / pairs_y


def wasserstein(x: Float[Tensor, "n dim"], y: Float[Tensor, "n dim"], p: float = 2) -> float:
    """The exact Wasserstein distance between two samples of one size.

        W_p = (min over pairings of mean ‖x_i − y_π(i)‖^p)^(1/p)

    Solved as an assignment problem (scipy) in time that grows as n³: 2000 points take a second or
    two. Even two samples of one distribution are about n^(−1/dim) apart.

    Raises:
        ValueError: if the samples differ in shape, or p is less than 1.
    """
    x, y = _two_samples(x, y)
    if x.shape != y.shape:
        raise ValueError(f"samples must be of one size, got {len(x)} and {len(y)} points")
    if p < 1:
        raise ValueError(f"p must be at least 1, got {p}")
    cost = torch.cdist(x, y).pow(p).numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean() ** (1 / p))


def sliced_wasserstein(
    x: Float[Tensor, "n dim"],
    y: Float[Tensor, "n dim"],
    projections: int = 128,
    p: float = 2,
    generator: torch.Generator | None = None,
) -> float:
    """The Wasserstein distance of projections on random lines (Rabin et al. 2012), for many points.

        SW_p = (mean over directions θ of W_p(θ·x, θ·y)^p)^(1/p)

    On a line the best pairing is the sorted one.

    Raises:
        ValueError: if the samples differ in shape.
    """
    x, y = _two_samples(x, y)
    if x.shape != y.shape:
        raise ValueError(f"samples must be of one size, got {len(x)} and {len(y)} points")
    theta = torch.randn(x.shape[1], projections, generator=generator, dtype=torch.float64)
    theta = theta / theta.norm(dim=0)
    gaps = (x @ theta).sort(dim=0).values - (y @ theta).sort(dim=0).values
    return float(gaps.abs().pow(p).mean() ** (1 / p))


def frechet_distance(a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"]) -> float:
    """The Fréchet distance of Gaussians fitted to two samples (Heusel et al. 2017, on features of a
    network).

        d² = ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½)

    The covariances may be singular. Fewer samples give a larger distance, even between samples of
    one distribution, so compare only distances from equal sample sizes.

    Raises:
        ValueError: if the samples are not two sets of features of one dimension.
    """
    a, b = _two_samples(a, b)
    root = _root(a.T.cov())
    inner = torch.linalg.eigvalsh(root @ b.T.cov() @ root).clamp(min=0)
    spread = a.var(0).sum() + b.var(0).sum() - 2 * inner.sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + spread)


def precision_recall(
    x: Float[Tensor, "n dim"], y: Float[Tensor, "m dim"], k: int = 3
) -> tuple[float, float]:
    """How many samples look real, and how much of what is real they reach (Kynkäänniemi et al.
    2019, on features of a network).

        precision = share of x that lie among y        recall = share of y that lie among x

    A point lies among a set if it is no farther from one of its points than that point's k-th
    nearest neighbour in the set: balls around the points stand for where the distribution is. A
    model that makes few things well has high precision and low recall. Recall grows with the
    number of samples, so compare sets of the same sizes.

    Args:
        x: samples of a model.
        y: real examples.
        k: which neighbour. Larger balls fill more gaps.
    Returns:
        `(precision, recall)`, each from 0 to 1.
    Raises:
        ValueError: if the samples are not two sets of points of one dimension, or k is not from 1
            to one less than the points of either set.
    """
    x, y = _two_samples(x, y)
    least = min(len(x), len(y))
    if not 1 <= k < least:
        raise ValueError(f"k must be from 1 to {least - 1} for sets of {least} points, got {k}")
    apart = torch.cdist(x, y)
    in_y = (apart <= _to_neighbour(y, k)[None]).any(1)
    in_x = (apart <= _to_neighbour(x, k)[:, None]).any(0)
    return float(in_y.double().mean()), float(in_x.double().mean())


def spread_within(x: Float[Tensor, "n dim"], y: Int[Tensor, "n"]) -> float:
    """How different points of one class are: the mean over classes of their total variance.

        mean over classes c of  1/(n_c − 1) Σ over i in c of ‖x_i − mean_c‖²

    A model that makes the same few things for a class has less of it than real examples.

    Args:
        x: points, such as features of samples.
        y: their classes, each with at least 2 points.
    Raises:
        ValueError: if y is not one class for each point, or a class has one point alone.
    """
    x = torch.as_tensor(x).detach().double().cpu()
    y = torch.as_tensor(y).cpu()
    if x.dim() != 2 or y.shape != x.shape[:1]:
        shapes = f"shapes {tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"expected points (n, dim) and a class for each, got {shapes}")
    groups = [x[y == c] for c in y.unique()]
    if not groups or min(map(len, groups)) < 2:
        counts = [len(group) for group in groups]
        raise ValueError(f"each class needs at least 2 points, got {counts}")
    return float(torch.stack([group.var(0).sum() for group in groups]).mean())


class TokenBits(NamedTuple):
    """Bits a token under models that see no other token, from the simplest on; smaller is better.

    uniform: log₂ K, all tokens alike.
    unigram: one distribution for all places.
    by_place: a distribution for each place.
    by_place_and_class: for each place and class; None without classes.
    """

    uniform: float
    unigram: float
    by_place: float
    by_place_and_class: float | None


def token_bits(
    tokens: Int[Tensor, "n *grid"],
    held_out: Int[Tensor, "m *grid"],
    vocabulary: int,
    y: Int[Tensor, "n"] | None = None,
    y_held_out: Int[Tensor, "m"] | None = None,
) -> TokenBits:
    """What grids of tokens cost without looking at other tokens: what a prior over codes must beat.

        −1 / (m N) Σ log₂ p(x_i | …),    p(k | group) = (n_k + α q_k) / (n + α)

    Counts n_k come from `tokens` alone, the sum runs over `held_out`. Each model is drawn towards
    the simpler one before it: q, worth α tokens. The α of each model is the power of 2 that makes
    every training token likeliest when it is left out of its own count. N tokens make an image, so
    its bits are N times as many.

    Args:
        tokens, held_out: whole numbers from 0 to K − 1 in grids of one shape.
        vocabulary: K.
        y, y_held_out: the class of each grid, from 0; both or neither.
    Raises:
        ValueError: if grids differ in shape, there are none, a token is beyond the vocabulary, or
            y is not a class for each grid of both sets.
    """
    if tokens.shape[1:] != held_out.shape[1:] or not tokens.numel() or not held_out.numel():
        shapes = f"{tuple(tokens.shape)} and {tuple(held_out.shape)}"
        raise ValueError(f"expected two sets of grids of one shape, got {shapes}")
    train, test = (v.detach().cpu().long().flatten(1) for v in (tokens, held_out))
    if min(train.min(), test.min()) < 0 or max(train.max(), test.max()) >= vocabulary:
        raise ValueError(f"tokens must be from 0 to {vocabulary - 1} for this vocabulary")
    classes = _classes(y, y_held_out, len(train), len(test))
    places = torch.arange(train.shape[1])
    uniform = torch.full((1, vocabulary), 1 / vocabulary, dtype=torch.float64)
    unigram = _smoothed(torch.zeros_like(train), train, uniform)
    by_place = _smoothed(places.expand_as(train), train, unigram.expand(len(places), -1))
    costs = [-unigram[0][test].log2().mean(), -by_place[places, test].log2().mean()]
    by_class = None
    if classes is not None:
        own, other = (c[:, None] * len(places) + places for c in classes)  # groups (n, places)
        coarse = by_place.repeat(int(max(c.max() for c in classes)) + 1, 1)
        by_class = float(-_smoothed(own, train, coarse)[other, test].log2().mean())
    return TokenBits(math.log2(vocabulary), *map(float, costs), by_class)


def _smoothed(group: Tensor, tokens: Tensor, coarse: Tensor) -> Tensor:
    """The distribution of tokens in each group, drawn towards its coarse one, a row each."""
    groups, K = coarse.shape
    counts = torch.bincount((group * K + tokens).flatten(), minlength=groups * K)
    counts = counts.reshape(groups, K).double()
    total = counts.sum(1, keepdim=True)
    best, chosen = -math.inf, 1.0
    for alpha in (2.0**j for j in range(-4, 15)):
        left = (counts - 1 + alpha * coarse) / (total - 1 + alpha)  # one token left out
        likely = float((counts * torch.where(counts > 0, left, 1.0).log()).sum())
        if likely > best:
            best, chosen = likely, alpha
    return (counts + chosen * coarse) / (total + chosen)


def _classes(y, y_held_out, n: int, m: int) -> tuple[Tensor, Tensor] | None:
    if y is None and y_held_out is None:
        return None
    if y is None or y_held_out is None or y.shape != (n,) or y_held_out.shape != (m,):
        shapes = [None if v is None else tuple(v.shape) for v in (y, y_held_out)]
        raise ValueError(f"y must be a class for each of {n} and {m} grids, got {shapes}")
    return y.detach().cpu().long(), y_held_out.detach().cpu().long()


def _to_neighbour(x: Tensor, k: int) -> Tensor:
    """The distance of each point to its k-th nearest neighbour among the others."""
    return torch.cdist(x, x).kthvalue(k + 1, dim=1).values  # the first is the point itself


def _root(cov: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _two_samples(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, y = (torch.as_tensor(v).detach().double().cpu() for v in (x, y))
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            "samples must be at least 2 points each, of one dimension: "
            f"their shapes are {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return x, y
