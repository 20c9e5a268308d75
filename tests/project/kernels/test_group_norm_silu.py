"""kernels.group_norm_silu: GroupNorm and SiLU in one pass."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.kernels import group_norm_silu as family
from cs231n_gen.kernels.launch import DTYPES, interpreting

wrapper, reference = family.group_norm_silu, family.reference
SHAPES = ((2, 1, 7), (6, 3, 1), (6, 2, 7), (96, 4, 64), (6, 3, 1023), (4, 4, 1024), (5, 1, 1025))


def example(channels, groups, *positions, dtype=torch.float32):
    x, weight, bias = (torch.randn(s) for s in [(2, channels, *positions), channels, channels])
    return [x.to(dtype), groups, weight.to(dtype), bias.to(dtype)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_size(shape, dtype):
    args = example(*shape, dtype=dtype)
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 2, 64), (6, 2, 65), (8, 2, 5, 13), (10, 2, 43), (32, 1, 9)])
def test_groups_that_do_not_fit(shape, dtype, monkeypatch):
    """In blocks of 16, 8 or 2 positions, of which the last may not be full."""
    monkeypatch.setattr(family, "LONGEST", 64)
    args = example(*shape, dtype=dtype)
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


def test_a_group_of_more_than_8192_numbers():
    args = example(6, 2, 60, 61)
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


def test_a_group_of_one_number_is_known():
    x, groups, weight, bias = example(4, 4, 1)
    with interpreting():
        got = wrapper(x, groups, weight, bias)
    torch.testing.assert_close(got, F.silu(bias)[:, None].expand(2, 4, 1))


def test_it_is_what_torch_has():
    x, groups, weight, bias = example(12, 3, 5, 7)
    with interpreting():
        got = wrapper(x, groups, weight, bias, eps=1e-5)
    torch.testing.assert_close(got, F.silu(F.group_norm(x, groups, weight, bias)))


def test_eps_is_used():
    args = example(6, 2, 5, 7)
    args[0] *= 1e-2
    sweeps.forward(wrapper, reference, *args, eps=1e-3)
    sweeps.backward(wrapper, reference, args, eps=1e-3)


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    x, groups, weight, bias = example(6, 2, 8, 9)
    args = layout(x), groups, sweeps.strided(weight), sweeps.strided(bias)
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)
    sweeps.backward(wrapper, reference, args, lambda like: layout(torch.randn(like.shape)))


def test_expanded_and_channels_last():
    x, groups, weight, bias = example(6, 2, 8, 9)
    args = x[:1].expand(2, 6, 8, 9), groups, weight[:1].expand(6), bias
    upstream = torch.randn(8, 9)
    sweeps.backward(wrapper, reference, args, lambda like: upstream.expand(like.shape))
    last = x.contiguous(memory_format=torch.channels_last)
    sweeps.forward(wrapper, reference, last, groups, weight, bias)
    sweeps.backward(wrapper, reference, [last, groups, weight, bias])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_have_the_dtype_of_what_they_belong_to(dtype):
    x, groups, weight, bias = example(6, 2, 8, 9)
    sweeps.backward(wrapper, reference, [x.to(dtype), groups, weight, bias])
    sweeps.backward(wrapper, reference, [x, groups, weight.to(dtype), bias])


@pytest.mark.parametrize("longest", [8192, 32])
def test_gradients_are_slopes(longest, monkeypatch):
    monkeypatch.setattr(family, "LONGEST", longest)
    x, groups, *learned = example(6, 2, 5, 7)
    args, upstream, h = [x, *learned], torch.randn(2, 6, 5, 7), 1e-4
    along = [torch.randn_like(a) for a in args]
    with interpreting():
        got, _ = sweeps.gradients(wrapper, [x, groups, *learned], lambda _: upstream, None)
    ahead, back = (
        reference(x, groups, w, b)
        for x, w, b in (
            [a.double() + s * d for a, d in zip(args, along, strict=True)] for s in (h, -h)
        )
    )
    slope = sum(float((g * d).sum()) for g, d in zip(got, along, strict=True))
    expected = float(((ahead - back) * upstream).sum()) / (2 * h)
    assert slope == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("longest", [8192, 256])
def test_a_large_mean_does_no_harm(longest, monkeypatch):
    """E[x²] − E[x]² would lose every digit of the variance."""
    monkeypatch.setattr(family, "LONGEST", longest)
    args = example(6, 2, 20, 21)
    args[0] = 1000 + 0.1 * args[0]
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


def test_blocks_with_different_means(monkeypatch):
    """Their own spread is nothing beside that of their means."""
    monkeypatch.setattr(family, "LONGEST", 64)
    args = example(6, 3, 10, 10)
    args[0] = 0.01 * args[0] + 100 * torch.arange(10.0)[:, None]
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


def test_silu_far_from_0():
    """exp(−y) overflows, and 1 / ∞ is the 0 that is meant."""
    x, groups, weight, bias = example(6, 2, 8, 9)
    args = x, groups, 300 * weight, bias
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


def test_the_same_gradients_bit_for_bit():
    args = example(6, 2, 8, 9)
    with interpreting():
        first, second = (sweeps.gradients(wrapper, args, torch.ones_like, None)[0] for _ in "12")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("shape", [(0, 6, 4), (2, 6, 0)])
def test_nothing(shape):
    args = [torch.randn(shape), 2, torch.randn(6), torch.randn(6)]
    with interpreting():
        assert wrapper(*args).shape == shape
        got, _ = sweeps.gradients(wrapper, args, torch.ones_like, None)
    assert all(not g.any() for g in got)


def test_in_torch_it_is_the_same():
    x, groups, *learned = example(6, 2, 10, 12)
    with interpreting():
        ours = wrapper(x, groups, *learned)
    torch.testing.assert_close(wrapper(x, groups, *learned), ours)
    wide = wrapper(x.double(), groups, *(w.double() for w in learned))
    assert wide.dtype == torch.float64


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    x, groups, weight, bias = example(6, 2, 4, 5)
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(ValueError, match=r"x must be \(batch, channels, .*, got \(6,\)"):
            wrapper(weight, groups, weight, bias)
        for bad in (0, -1, 4):
            with pytest.raises(ValueError, match=f"groups must divide 6 channels.*, got {bad}"):
                wrapper(x, bad, weight, bias)
        with pytest.raises(ValueError, match=r"weight must be \(6,\), got \(5,\)"):
            wrapper(x, groups, weight[:5], bias)
        with pytest.raises(ValueError, match=r"bias must be \(6,\), got \(6, 1\)"):
            wrapper(x, groups, weight, bias[:, None])
        with pytest.raises(ValueError, match=r"weight must be float32, .*int64"):
            wrapper(x, groups, weight.long(), bias)
        with pytest.raises(ValueError, match="at most 8192 a group, got 1"):
            many = torch.zeros(8193)
            wrapper(many[None], 1, many, many)
