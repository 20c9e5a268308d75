"""kernels.nearest_code: judged by the distance to the code that was chosen, never by its number."""

import pytest
import torch

from cs231n_gen.checking.kernels.sweeps import strided, transposed
from cs231n_gen.kernels.launch import DTYPES, interpreting
from cs231n_gen.kernels.nearest_code import nearest_code, reference

SHAPES = [(1, 1, 1), (7, 3, 5), (64, 64, 16), (65, 130, 33), (3, 1, 256)]


def hold(z, codes):
    """No chosen code is farther than the nearest, but for the rounding of its scores."""
    with interpreting():
        index = nearest_code(z, codes)
    assert index.dtype == torch.int32 and index.shape == (len(z),)
    if not len(z):
        return index
    assert int(index.min()) >= 0 and int(index.max()) < len(codes)
    z64, codes64 = z.double(), codes.double()
    distances = (z64[:, None] - codes64).square().sum(-1)
    gap = distances.gather(1, index.long()[:, None])[:, 0] - distances.min(1).values
    # Scores are sums of D products in fp32, each rounded once: D eps of the largest is generous.
    size = codes64.square().sum(1).max() + z64.square().sum(1).max()
    assert float(gap.max()) <= z.shape[1] * torch.finfo(torch.float32).eps * float(size)
    return index


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "N, K, D", [(1, 1, 1), (7, 3, 5), (64, 64, 16), (65, 130, 33), (3, 1, 256)]
)
def test_every_size(N, K, D, dtype):
    hold(torch.randn(N, D).to(dtype), torch.randn(K, D).to(dtype))


@pytest.mark.parametrize("layout", [strided, transposed])
def test_any_strides(layout):
    hold(layout(torch.randn(40, 12)), layout(torch.randn(70, 12)))


def test_a_code_finds_itself():
    codes = torch.randn(100, 24)
    assert torch.equal(hold(codes, codes), torch.arange(100, dtype=torch.int32))


def test_codes_that_are_equal():
    """The first of them, also across tiles; whole numbers, so that nothing is rounded."""
    codes = torch.randint(-3, 4, (1, 8)).float().expand(200, 8)
    assert not hold(torch.randint(-3, 4, (70, 8)).float(), codes).any()


def test_no_code_of_nought_is_made_up_at_the_edges():
    """Codes far from 0: rows and codes beyond the end, read as 0, would be nearer."""
    z = torch.randn(5, 10)
    assert int(hold(z, 50 + torch.randn(67, 10)).max()) < 67


def test_both_ways_agree_where_nothing_is_near_a_tie():
    z, codes = torch.randn(90, 16), 3 * torch.randn(80, 16)
    two = torch.cdist(z.double(), codes.double()).topk(2, largest=False).values
    clear = two[:, 1] - two[:, 0] > 1e-3
    with interpreting():
        assert torch.equal(nearest_code(z, codes)[clear], reference(z, codes)[clear])


def test_nothing():
    assert hold(torch.randn(0, 4), torch.randn(3, 4)).shape == (0,)


def test_bad_input_is_refused_in_words():
    z, codes = torch.randn(4, 3), torch.randn(5, 3)
    with pytest.raises(ValueError, match=r"codes must be \(5, 3\), got \(5, 2\)"):
        nearest_code(z, codes[:, :2])
    with pytest.raises(ValueError, match=r"codes must be torch\.float32 like z"):
        nearest_code(z, codes.half())
    with pytest.raises(ValueError, match=r"z must be \(N, D\)"):
        nearest_code(z[None], codes)
    with pytest.raises(ValueError, match=r"D in 1 … 256, got \(2, 300\)"):
        nearest_code(torch.randn(2, 300), torch.randn(2, 300))
    with pytest.raises(ValueError, match=r"with a code"):
        nearest_code(z, codes[:0])
