"""What chapter 13 is given of codes: all codes of finite scalars, and how many codes count."""

import itertools
import math

import pytest
import torch

from cs231n_gen import vq
from cs231n_gen.truth.quantizer import best_quantizer

LEVELS = ([8, 8, 4], [5, 5, 5], [2], [7, 2, 3], (3, 10), [1000])


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_scalar_codes_count_with_the_first_number_fastest(levels):
    every = itertools.product(*[range(n) for n in reversed(levels)])
    want = [
        [(d - n // 2) / (n // 2) for d, n in zip(reversed(c), levels, strict=True)] for c in every
    ]
    codes = vq.scalar_codes(levels)
    assert codes.dtype == torch.float32 and codes.shape == (math.prod(levels), len(levels))
    torch.testing.assert_close(codes, torch.tensor(want))


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_scalar_codes_are_looked_up_by_index(levels):
    generator = torch.Generator().manual_seed(231)
    z = 2 * torch.randn(2, 3, 50, len(levels), generator=generator)
    q, index = vq.finite_scalar(z, levels)
    torch.testing.assert_close(vq.scalar_codes(levels)[index], q, atol=1e-6, rtol=1e-6)


def test_scalar_codes_are_fixed_points_of_rounding():
    """A code from which its bend is taken back becomes itself: none is dead."""
    for levels in LEVELS:
        L = torch.tensor([*levels], dtype=torch.float64)
        h, o = (L - 1) * (1 + vq.EDGE) / 2, (L % 2 == 0).double() / 2
        codes = vq.scalar_codes(levels).double()
        z = torch.atanh(((codes * (L // 2)).round() + o) / h) - torch.atanh(o / h)
        q, index = vq.finite_scalar(z, levels)
        assert index.tolist() == list(range(len(codes)))
        torch.testing.assert_close(q, codes, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("levels", [[], [1], [3, 0], [2.0], [True]], ids=str)
def test_levels_that_are_none(levels):
    with pytest.raises(ValueError, match="whole numbers of at least 2, got"):
        vq.scalar_codes(levels)


def test_perplexity_counts_codes_that_are_equally_frequent():
    for used in (1, 3, 16):
        index = torch.arange(used).repeat(5).reshape(5, used)
        assert vq.perplexity(index, 16) == pytest.approx(used)


def test_perplexity_of_unequal_frequencies():
    index = torch.tensor([0, 0, 2, 5])
    assert vq.perplexity(index, 6) == pytest.approx(2 * math.sqrt(2))  # 1.5 bits
    assert vq.perplexity(torch.tensor(3), 4) == 1


def test_perplexity_of_the_best_quantiser():
    """Of many numbers of N(0, 1) in the best 8 codes: 7.085."""
    best = best_quantizer(8)
    at = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    index = vq.nearest(torch.special.ndtri(at)[:, None], best.codes[:, None])
    assert vq.perplexity(index, 8) == pytest.approx(best.perplexity, rel=1e-4)
