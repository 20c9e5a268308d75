"""kernels.velocity_mse: the loss of rectified flow and its gradient in one pass."""

import pytest
import torch

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.kernels import velocity_mse
from cs231n_gen.kernels.launch import DTYPES, interpreting

wrapper, reference = velocity_mse.velocity_mse, velocity_mse.reference


def example(*shape, dtype=torch.float32):
    return [torch.randn(shape).to(dtype) for _ in range(2)]


@pytest.mark.parametrize("upstream", [torch.ones_like, torch.randn_like])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", sweeps.SIZES)
def test_every_size(n, dtype, upstream):
    pair = example(n, dtype=dtype)
    sweeps.forward(wrapper, reference, *pair)
    sweeps.backward(wrapper, reference, pair, upstream)


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    pair = [layout(x) for x in example(2, 3, 8, 9)]
    sweeps.forward(wrapper, reference, *pair)
    sweeps.backward(wrapper, reference, pair)
    sweeps.backward(wrapper, reference, [pair[0], example(2, 3, 8, 9)[1]])


def test_expanded_and_a_single_number():
    prediction, v = example(3, 500)
    sweeps.backward(wrapper, reference, [prediction, v[:1].expand(3, 500)])
    sweeps.backward(wrapper, reference, example())


def test_gradients_are_slopes():
    prediction, v = example(4, 30)
    along, h = torch.randn(4, 30), 1e-4
    with interpreting():
        got, _ = sweeps.gradients(wrapper, [prediction, v], torch.ones_like, None)
    wide = prediction.double(), v.double()
    ahead, back = (reference(wide[0] + s * along, wide[1]) for s in (h, -h))
    slope = float((got[0] * along).sum())
    assert slope == pytest.approx(float(ahead - back) / (2 * h), rel=1e-4, abs=1e-5)


def test_the_target_needs_no_gradient():
    prediction, v = example(2000)
    prediction.requires_grad_()
    with interpreting():
        wrapper(prediction, v).backward()
    torch.testing.assert_close(prediction.grad, 2 * (prediction.detach() - v) / 2000)
    assert v.grad is None


def test_without_a_gradient_none_is_written(monkeypatch):
    prediction, v = example(2000)
    wanted = []
    apply = velocity_mse.VelocityMSE.apply
    monkeypatch.setattr(
        velocity_mse.VelocityMSE, "apply", lambda p, v, w: wanted.append(w) or apply(p, v, w)
    )
    with interpreting():
        torch.testing.assert_close(wrapper(prediction, v), reference(prediction, v))
        prediction.requires_grad_()
        with torch.no_grad():
            assert not wrapper(prediction, v).requires_grad
        wrapper(prediction, v)
    assert wanted == [False, False, True]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_upstream_scale_is_applied(dtype):
    """Also where a gradient of 1/n alone would be too small for float16, and a scale rescues it."""
    prediction, v = (1e-3 * x for x in example(3000, dtype=dtype))
    sweeps.backward(wrapper, reference, [prediction, v], lambda like: 1e5 * torch.ones_like(like))


def test_only_a_scale_moves_numbers():
    """In place nothing is written for upstream 1: here into another tensor, where it would show."""
    gradient = torch.randn(100)
    for upstream, in_place, written in [(1.0, True, 0), (2.0, True, 2), (1.0, False, 1)]:
        out = torch.zeros(100)
        velocity_mse.scale_kernel[(1,)](
            gradient, torch.tensor(upstream), out, 100, IN_PLACE=in_place, BLOCK=1024
        )
        assert torch.equal(out, written * gradient)


def test_one_backward_pass_only():
    prediction, v = example(20)
    with interpreting():
        loss = wrapper(prediction.requires_grad_(), v)
        loss.backward(retain_graph=True)
        first = prediction.grad.clone()
        with pytest.raises(RuntimeError, match="compute the loss again"):
            loss.backward()
    assert torch.equal(prediction.grad, first)


def test_the_same_loss_bit_for_bit():
    prediction, v = example(5000)
    with interpreting():
        assert len({float(wrapper(prediction, v)) for _ in range(3)}) == 1


def test_large_numbers_in_half_precision():
    """Squares beyond 65504 are no trouble in fp32."""
    pair = [(100 * x).half() for x in example(2000)]
    pair[1][:] = -400
    sweeps.forward(wrapper, reference, *pair)


def test_in_torch_it_is_the_same():
    prediction, v = example(3, 400)
    with interpreting():
        ours = wrapper(prediction, v)
    torch.testing.assert_close(wrapper(prediction, v), ours)
    assert wrapper(prediction.half(), v.half()).dtype == torch.float32
    assert wrapper(prediction.double(), v.double()).dtype == torch.float64


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    prediction, v = example(3, 4)
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(ValueError, match=r"v must be shaped like prediction, got \(1, 4\)"):
            wrapper(prediction, v[:1])
        with pytest.raises(ValueError, match=r"v must be torch\.float32 like prediction"):
            wrapper(prediction, v.half())
        with pytest.raises(ValueError, match=r"prediction must be float32, .*int64"):
            wrapper(prediction.long(), v.long())
        with pytest.raises(ValueError, match=r"prediction must hold at least one .*\(0, 4\)"):
            wrapper(prediction[:0], v[:0])
