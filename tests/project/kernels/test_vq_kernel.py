"""The nearest codes of chapter 13 by chapter 14's kernel."""

import pytest
import torch

from cs231n_gen import vq
from cs231n_gen.kernels.launch import DTYPES, HAVE_TRITON, interpreting, switched_off

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="Triton is not installed")

SHAPES = [(5,), (1, 5), (70, 5), (2, 3, 4, 5), (0, 5), (2, 0, 5)]


def launched(call, *off):
    """What a call returns inside the interpreter, and the kernels that it launched."""
    from cs231n_gen.instruments.compiler import launches

    with interpreting(), launches.record() as made, switched_off(*off):
        found = call()
    return found, {record.fn.__module__.rpartition(".")[2] for record in made}


def whole(*shape, dtype=torch.float32):
    """Whole numbers: no distance is rounded, so that both ways agree, ties too."""
    return torch.randint(-4, 5, shape).to(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nearest_leaves_to_the_kernel(shape):
    z, codes = whole(*shape), whole(40, 5)
    want = vq.nearest(z, codes)
    found, kernels = launched(lambda: vq.nearest(z, codes))
    assert kernels == ({"nearest_code"} if z.numel() else set())
    assert found.dtype == torch.int64 and torch.equal(found, want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_in_each_precision_of_the_kernel(dtype):
    z, codes = whole(33, 7, dtype=dtype), whole(9, 7, dtype=dtype)
    found, kernels = launched(lambda: vq.nearest(z, codes))
    assert kernels == {"nearest_code"} and torch.equal(found, vq.nearest(z, codes))


def test_vectors_of_other_strides_inside_a_graph():
    z, codes = whole(2, 6, 3, 4).movedim(1, -1).requires_grad_(), whole(6, 11).T.requires_grad_()
    found, kernels = launched(lambda: vq.nearest(z, codes))
    assert kernels == {"nearest_code"} and not found.requires_grad
    assert torch.equal(found, vq.nearest(z, codes))


def test_what_the_kernel_does_not_take_is_left_to_torch():
    """Double precision, vectors of more than 256 numbers, codes of another precision, none."""
    for z, codes in (
        (whole(9, 5).double(), whole(7, 5).double()),
        (whole(9, 300), whole(7, 300)),
        (whole(9, 0), whole(7, 0)),
    ):
        found, kernels = launched(lambda z=z, codes=codes: vq.nearest(z, codes))
        assert not kernels and torch.equal(found, vq.nearest(z, codes))


def test_switched_off():
    z, codes = whole(9, 5), whole(7, 5)
    found, kernels = launched(lambda: vq.nearest(z, codes), "nearest_code")
    assert not kernels and torch.equal(found, vq.nearest(z, codes))


def test_codes_that_do_not_fit_are_refused_before():
    with interpreting(), pytest.raises(ValueError, match=r"codes are \(7, 4\), z is \(9, 5\)"):
        vq.nearest(whole(9, 5), whole(7, 4))


def test_quantized_by_the_kernel_with_the_same_gradient():
    z, codes = torch.randn(3, 4, 5), 3 * torch.randn(20, 5)
    c = torch.randn(3, 4, 5)
    results = []
    for by_kernel in (False, True):
        own, e = z.clone().requires_grad_(), codes.clone().requires_grad_()
        run = lambda own=own, e=e: vq.quantize(own, e)  # noqa: E731
        (q, index), kernels = launched(run) if by_kernel else (run(), set())
        assert kernels == ({"nearest_code"} if by_kernel else set())
        (q * c).sum().backward()
        assert torch.equal(own.grad, c) and e.grad is None
        results.append((q.detach(), index))
    torch.testing.assert_close(results[1], results[0])
