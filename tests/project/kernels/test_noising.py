"""kernels.noising: x_t and v in one pass."""

import pytest
import torch

from cs231n_gen.checking import trials
from cs231n_gen.kernels import noising
from cs231n_gen.kernels.launch import DTYPES

wrapper, reference = noising.noising, noising.reference


def example(shape, dtype):
    x, z = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
    return x, z, torch.rand(shape[0])


def flow(x, z, t):
    """The reference with the coefficients of rectified flow."""
    return reference(x, z, 1 - t, t, -torch.ones_like(t), torch.ones_like(t))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", trials.SIZES)
def test_every_size(n, dtype):
    trials.forward(wrapper, flow, *example((3, n), dtype))


@pytest.mark.parametrize("layout", [trials.strided, trials.transposed])
def test_any_strides(layout):
    x, z, t = example((2, 3, 8, 9), torch.float32)
    trials.forward(wrapper, flow, layout(x), layout(z), t)
