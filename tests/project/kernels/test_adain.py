"""kernels.adain: instance statistics, and the scale and bias of a style."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.kernels import adain
from cs231n_gen.kernels.launch import DTYPES, interpreting

wrapper, reference = adain.adain, adain.reference
SIZES = ((1, 7), (8, 8), (8, 12), (31, 33), (32, 32), (25, 41))


def example(batch, channels, height, width, dtype=torch.float32):
    style = [torch.randn(batch, channels).to(dtype) for _ in range(2)]
    return [torch.randn(batch, channels, height, width).to(dtype), *style]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_every_size(size, dtype):
    args = example(2, 5, *size, dtype)
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(8, 8), (5, 13), (16, 20), (21, 23)])
def test_channels_that_do_not_fit(size, dtype, monkeypatch):
    """One block and one number more, whole blocks, and the last one not full."""
    monkeypatch.setattr(adain, "LONGEST", 64)
    monkeypatch.setattr(adain, "TILE", 256)  # 4 channels a program, and 10 there are
    args = example(2, 5, *size, dtype)
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


def test_a_channel_of_more_than_8192_numbers():
    torch.manual_seed(1)  # a sum of 10 000 numbers is exact by luck now and then
    args = example(2, 6, 100, 100)
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


def test_one_number_becomes_the_bias():
    x, scale, bias = example(3, 4, 1, 1)
    with interpreting():
        got = wrapper(x, scale, bias)
        gradients, _ = sweeps.gradients(wrapper, [x, scale, bias], torch.ones_like, None)
    assert torch.equal(got, bias[..., None, None])
    assert not gradients[0].any() and not gradients[1].any()
    assert torch.equal(gradients[2], torch.ones(3, 4))


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_instance_norm(dtype):
    x = torch.randn(2, 3, 9, 11).to(dtype)
    ones, zeros = torch.ones(2, 3, dtype=dtype), torch.zeros(2, 3, dtype=dtype)
    sweeps.forward(lambda x: wrapper(x, ones, zeros), F.instance_norm, x)
    sweeps.backward(lambda x: wrapper(x, ones, zeros), F.instance_norm, [x])


def test_the_style_decides_mean_and_spread():
    x, scale, bias = example(2, 3, 16, 16)
    with interpreting():
        out = wrapper(5 + 3 * x, scale, bias)
    torch.testing.assert_close(out.mean((2, 3)), bias, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.std((2, 3), correction=0), scale.abs(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    args = [layout(a) for a in example(2, 3, 8, 9)]
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)
    sweeps.backward(wrapper, reference, args, lambda like: layout(torch.randn(like.shape)))


def test_expanded_and_channels_last():
    x, scale, bias = example(2, 3, 8, 9)
    args = x[:, :1].expand(2, 3, 8, 9), scale[:1].expand(2, 3), bias[:, :1].expand(2, 3)
    upstream = torch.randn(8, 9)
    sweeps.backward(wrapper, reference, args, lambda like: upstream.expand(like.shape))
    last = x.contiguous(memory_format=torch.channels_last)
    sweeps.forward(wrapper, reference, last, scale, bias)
    sweeps.backward(wrapper, reference, [last, scale, bias])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_have_the_dtype_of_what_they_belong_to(dtype):
    x, scale, bias = example(2, 3, 8, 9)
    sweeps.backward(wrapper, reference, [x.to(dtype), scale, bias.to(dtype)])
    sweeps.backward(wrapper, reference, [x, scale.to(dtype), bias])


@pytest.mark.parametrize("longest", [8192, 16])
def test_gradients_are_slopes(longest, monkeypatch):
    monkeypatch.setattr(adain, "LONGEST", longest)
    args, upstream, h = example(2, 3, 5, 7), torch.randn(2, 3, 5, 7), 1e-4
    along = [torch.randn_like(a) for a in args]
    with interpreting():
        got, _ = sweeps.gradients(wrapper, args, lambda _: upstream, None)
    ahead, back = (
        reference(*(a.double() + s * d for a, d in zip(args, along, strict=True))) for s in (h, -h)
    )
    slope = sum(float((g * d).sum()) for g, d in zip(got, along, strict=True))
    expected = float(((ahead - back) * upstream).sum()) / (2 * h)
    assert slope == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("longest", [8192, 64])
def test_a_large_mean_does_no_harm(longest, monkeypatch):
    """E[x²] − E[x]² would lose every digit of the variance."""
    monkeypatch.setattr(adain, "LONGEST", longest)
    x, scale, bias = example(2, 3, 30, 31)
    x = 1000 + 0.1 * x
    sweeps.forward(wrapper, reference, x, scale, bias)
    sweeps.backward(wrapper, reference, [x, scale, bias])


def test_blocks_with_different_means(monkeypatch):
    """Their own spread is nothing beside that of their means."""
    monkeypatch.setattr(adain, "LONGEST", 64)
    x, scale, bias = example(2, 3, 20, 20)
    x = 0.01 * x + 100 * torch.arange(20.0)[:, None]
    sweeps.forward(wrapper, reference, x, scale, bias)
    sweeps.backward(wrapper, reference, [x, scale, bias])


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0)])
def test_nothing(shape):
    args = example(*shape)
    with interpreting():
        assert wrapper(*args).shape == shape
        got, _ = sweeps.gradients(wrapper, args, torch.ones_like, None)
    assert [g.shape for g in got] == [a.shape for a in args]
    assert all(not g.any() for g in got)


def test_in_torch_it_is_the_same():
    args = example(2, 3, 10, 12)
    with interpreting():
        ours = wrapper(*args)
    torch.testing.assert_close(wrapper(*args), ours)
    assert wrapper(*(a.double() for a in args)).dtype == torch.float64


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    x, scale, bias = example(2, 3, 4, 5)
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(ValueError, match=r"x must be \(batch, channels, .*\(2, 3, 4\)"):
            wrapper(x[..., 0], scale, bias)
        with pytest.raises(ValueError, match=r"scale must be \(2, 3\), got \(3,\)"):
            wrapper(x, scale[0], bias)
        with pytest.raises(ValueError, match=r"bias must be \(2, 3\), got \(2, 3, 1, 1\)"):
            wrapper(x, scale, bias[..., None, None])
        with pytest.raises(ValueError, match=r"x must be float32, .*int64"):
            wrapper(x.long(), scale, bias)
        with pytest.raises(ValueError, match=r"bias must be float32, .*int64"):
            wrapper(x, scale, bias.long())
