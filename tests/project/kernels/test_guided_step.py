"""kernels.guided_step: a step of classifier-free guidance in one pass."""

import pytest
import torch

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.kernels import guided_step
from cs231n_gen.kernels.launch import DTYPES, interpreting

wrapper, reference = guided_step.guided_step, guided_step.reference


def example(shape, dtype=torch.float32):
    return [torch.randn(shape).to(dtype) for _ in range(3)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", sweeps.SIZES)
def test_every_size(n, dtype):
    sweeps.forward(wrapper, reference, *example((2, n), dtype), 3.5, 1 / 50)


@pytest.mark.parametrize("w", [-1, 0, 0.0, 7.5, 1])
def test_any_guidance(w):
    sweeps.forward(wrapper, reference, *example((5, 7)), w, 1)


def test_guidance_0_is_conditional_and_minus_1_unconditional():
    x, v_y, v_null = example((3, 400))
    with interpreting():
        assert torch.equal(wrapper(x, v_y, v_null, -1, 0.5), x - 0.5 * v_null)
        assert torch.equal(wrapper(x, v_y, v_null, 0, 0.5), x - 0.5 * v_y)


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    sweeps.forward(wrapper, reference, *map(layout, example((2, 3, 8, 9))), 2.0, 0.1)


def test_expanded():
    x, v_y, v_null = example((1, 3, 70))
    wide = [v.expand(4, 3, 70) for v in (x, v_y, v_null)]
    sweeps.forward(wrapper, reference, *wide, 2.0, 0.1)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 4)])
def test_one_number_and_none(shape):
    sweeps.forward(wrapper, reference, *example(shape), 2.0, 0.1)


def test_arguments_are_left_alone():
    given = example((3, 700))
    before = [g.clone() for g in given]
    with interpreting():
        wrapper(*given, 2.0, 0.1)
    assert all(map(torch.equal, given, before))


def test_in_torch_it_is_the_same():
    given = example((3, 400))
    with interpreting():
        ours = wrapper(*given, 4.0, 0.1)
    torch.testing.assert_close(wrapper(*given, 4.0, 0.1), ours, atol=1e-6, rtol=1e-6)


def test_float64_is_for_torch_alone():
    x, v_y, v_null = (v.double() for v in example((3, 4)))
    assert torch.equal(wrapper(x, v_y, v_null, 2.0, 0.1), reference(x, v_y, v_null, 2.0, 0.1))
    with interpreting(), pytest.raises(ValueError, match=r"x must be float32, .*float64"):
        wrapper(x, v_y, v_null, 2.0, 0.1)


def test_what_does_not_go_together():
    x, v_y, v_null = example((3, 4))
    with pytest.raises(ValueError, match=r"v_y must be shaped like x, got \(4, 3\), not \(3, 4\)"):
        wrapper(x, v_y.T, v_null, 2.0, 0.1)
    with pytest.raises(ValueError, match=r"v_null must be torch\.float32 like x, .*float16"):
        wrapper(x, v_y, v_null.half(), 2.0, 0.1)
    with pytest.raises(ValueError, match=r"x must be float32, float16 or bfloat16, .*int64"):
        wrapper(x.long(), v_y.long(), v_null.long(), 2.0, 0.1)
