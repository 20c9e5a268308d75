"""kernels.adaln: LayerNorm with an example's scale and shift, and the gated residual."""

import pytest
import torch

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.kernels import adaln, gated_residual
from cs231n_gen.kernels.launch import DTYPES, interpreting

wrapper, reference = adaln.adaln, adaln.reference
gated, gate_reference = gated_residual.gated_residual, gated_residual.reference
DIMS = (1, 7, 64, 96, 1023, 1024, 1025)


def example(batch, tokens, dim, dtype=torch.float32):
    return [torch.randn(s).to(dtype) for s in [(batch, tokens, dim), (batch, dim), (batch, dim)]]


def gate_example(batch, tokens, dim, dtype=torch.float32):
    x, gate, _ = example(batch, tokens, dim, dtype)
    return [x, gate, torch.randn(batch, tokens, dim).to(dtype)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
def test_every_size(dim, dtype):
    args = example(3, 5, dim, dtype)
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
def test_every_size_gated(dim, dtype):
    args = gate_example(3, 5, dim, dtype)
    sweeps.forward(gated, gate_reference, *args)
    sweeps.backward(gated, gate_reference, args)


@pytest.mark.parametrize("tokens", [1, 3, 4, 63, 64, 65])
def test_every_number_of_tokens(tokens, monkeypatch):
    """Also in chunks of several blocks, of which the last is not full."""
    monkeypatch.setattr(adaln, "PROGRAMS", 1)
    monkeypatch.setattr(adaln, "TILE", 64)  # 4 tokens at hand, and 64 at most in all
    args = example(1, tokens, 12)
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)
    args = gate_example(1, tokens, 12)
    sweeps.forward(gated, gate_reference, *args)
    sweeps.backward(gated, gate_reference, args)


def test_chunks_leave_no_gpu_idle_and_few_partial_sums():
    assert adaln.chunk_of(1, 8, 4) == 4
    assert adaln.chunk_of(64, 256, 2) == 32
    assert adaln.chunk_of(4096, 1024, 2) == adaln.LONGEST
    assert adaln.chunk_of(4096, 5, 4) == 8


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    args = [layout(a) for a in example(3, 5, 36)]
    sweeps.forward(wrapper, reference, *args)
    sweeps.backward(wrapper, reference, args)
    sweeps.backward(wrapper, reference, args, lambda like: layout(torch.randn(like.shape)))
    args = [layout(a) for a in gate_example(3, 5, 36)]
    sweeps.forward(gated, gate_reference, *args)
    sweeps.backward(gated, gate_reference, args, lambda like: layout(torch.randn(like.shape)))


def test_expanded():
    x, scale, shift = example(3, 5, 36)
    args = x[:1].expand(3, 5, 36), scale[:, :1].expand(3, 36), shift[:1].expand(3, 36)
    sweeps.backward(wrapper, reference, args, lambda like: torch.tensor(0.7).expand(like.shape))
    args = *args[:2], x[:, :1].expand(3, 5, 36)
    sweeps.backward(gated, gate_reference, args, lambda like: torch.randn(36).expand(like.shape))


def test_six_pieces_of_one_tensor():
    """A DiT block cuts what its MLP says of the condition."""
    x, condition = torch.randn(2, 5, 24), torch.randn(2, 6 * 24)

    def block(f, g, x, condition):
        shift, scale, gate, *_ = condition.chunk(6, dim=1)
        return g(x, gate, f(x, scale, shift))

    sweeps.backward(
        lambda *args: block(wrapper, gated, *args),
        lambda *args: block(reference, gate_reference, *args),
        [x, condition],
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_have_the_dtype_of_what_they_belong_to(dtype):
    x, scale, shift = example(2, 5, 36)
    sweeps.backward(wrapper, reference, [x.to(dtype), scale, shift.to(dtype)])
    sweeps.backward(wrapper, reference, [x, scale.to(dtype), shift])
    sweeps.backward(gated, gate_reference, [x.to(dtype), scale, x.to(dtype)])
    sweeps.backward(gated, gate_reference, [x, scale.to(dtype), x])


@pytest.mark.parametrize(
    "f, exact, make", [(wrapper, reference, example), (gated, gate_reference, gate_example)]
)
def test_gradients_are_slopes(f, exact, make):
    args, upstream, h = make(2, 3, 20), torch.randn(2, 3, 20), 1e-4
    along = [torch.randn_like(a) for a in args]
    with interpreting():
        got, _ = sweeps.gradients(f, args, lambda _: upstream, None)
    ahead, back = (
        exact(*(a.double() + s * d for a, d in zip(args, along, strict=True))) for s in (h, -h)
    )
    slope = sum(float((g * d).sum()) for g, d in zip(got, along, strict=True))
    expected = float(((ahead - back) * upstream).sum()) / (2 * h)
    assert slope == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_large_mean_does_no_harm():
    """E[x²] − E[x]² would lose every digit of the variance."""
    x, scale, shift = example(2, 5, 1024)
    x = 1000 + 0.1 * x
    sweeps.forward(wrapper, reference, x, scale, shift)
    sweeps.backward(wrapper, reference, [x, scale, shift])


def test_equal_numbers_become_the_shift():
    x, scale, shift = example(2, 5, 24)
    with interpreting():
        got = wrapper(torch.full_like(x, 0.5), scale, shift)
    torch.testing.assert_close(got, shift[:, None].expand(2, 5, 24))


def test_a_gate_of_0_is_the_identity():
    x, _, y = gate_example(2, 5, 24)
    x.requires_grad_()
    with interpreting():
        out = gated(x, torch.zeros(2, 24), y)
        out.sum().backward()
    assert torch.equal(out, x)
    assert torch.equal(x.grad, torch.ones_like(x))


def test_the_same_gradients_bit_for_bit(monkeypatch):
    monkeypatch.setattr(adaln, "TILE", 64)
    args = example(2, 9, 20)
    with interpreting():
        first, second = (sweeps.gradients(wrapper, args, torch.ones_like, None)[0] for _ in "12")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("shape", [(0, 5, 8), (2, 0, 8), (2, 5, 0)])
def test_nothing(shape):
    for f, exact, make in [(wrapper, reference, example), (gated, gate_reference, gate_example)]:
        args = make(*shape)
        sweeps.forward(f, exact, *args)
        with interpreting():
            got, _ = sweeps.gradients(f, args, torch.ones_like, None)
        assert all(not g.any() for g in got)


def test_in_torch_it_is_the_same():
    args, gate_args = example(3, 5, 40), gate_example(3, 5, 40)
    with interpreting():
        ours, ours_gated = wrapper(*args), gated(*gate_args)
    torch.testing.assert_close(wrapper(*args), ours)
    torch.testing.assert_close(gated(*gate_args), ours_gated)
    assert wrapper(*(a.double() for a in args)).dtype == torch.float64


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    x, scale, shift = example(3, 5, 8)
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(ValueError, match=r"x must be \(batch, tokens, dim\), got \(3, 8\)"):
            wrapper(scale, scale, shift)
        with pytest.raises(ValueError, match=r"scale must be \(3, 8\), got \(2, 8\)"):
            wrapper(x, scale[:2], shift)
        with pytest.raises(ValueError, match=r"shift must be \(3, 8\), got \(3, 7\)"):
            wrapper(x, scale, shift[:, :7])
        with pytest.raises(ValueError, match=r"scale must be float32, .*int64"):
            wrapper(x, scale.long(), shift)
        with pytest.raises(ValueError, match="dim at most 16384, got 16385"):
            wide = torch.zeros(1, 16385)
            wrapper(wide[:, None], wide, wide)
        with pytest.raises(ValueError, match=r"y must be shaped like x, got \(3, 4, 8\)"):
            gated(x, scale, x[:, :4])
        with pytest.raises(ValueError, match=r"y must be torch\.float32 like x"):
            gated(x, scale, x.half())
        with pytest.raises(ValueError, match=r"gate must be \(3, 8\), got \(8,\)"):
            gated(x, scale[0], x)
