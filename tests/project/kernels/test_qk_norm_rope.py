"""kernels.qk_norm_rope: queries and keys, normalised and turned."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.kernels import qk_norm_rope as family
from cs231n_gen.kernels.launch import DTYPES, interpreting
from cs231n_gen.kernels.qk_norm_rope import rope_angles

wrapper, reference = family.qk_norm_rope, family.reference
DIMS = (2, 6, 64, 96, 1022, 1024, 1026)


def example(*shape, dtype=torch.float32):
    sizes = [shape, shape, shape[-1:], shape[-1:]]
    return [torch.randn(s).to(dtype) for s in sizes]


def at_angles(function, args):
    """The function of q, k and their weights alone: the angles get no gradient."""
    cos, sin = rope_angles(*args[0].shape[2:])
    return lambda *given, **options: function(*given, cos, sin, **options)


def tried(args, *upstream, **options):
    """Forward and backward, both held to float64."""
    ours, torchs = at_angles(wrapper, args), at_angles(reference, args)
    sweeps.forward(ours, torchs, *args, **options)
    sweeps.backward(ours, torchs, args, *upstream, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
def test_every_size(dim, dtype):
    tried(example(2, 1, 3, dim, dtype=dtype))


@pytest.mark.parametrize("tokens", [1, 2, 15, 16, 17, 33])
def test_every_number_of_tokens(tokens, monkeypatch):
    monkeypatch.setattr(family, "TILE", 128)  # 16 tokens at hand
    tried(example(1, 2, tokens, 12))


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    q, k, *weights = example(2, 2, 8, 12)
    tried([layout(q), layout(k), *map(sweeps.strided, weights)])
    tried([q, layout(k), *weights])
    tried([q, k, *weights], lambda like: layout(torch.randn(like.shape)))


def test_slices_of_one_tensor_are_read_where_they_lie(monkeypatch):
    """As a linear layer leaves q, k and v: (batch, tokens, 3, heads, dim)."""
    copied = []
    contiguous = torch.Tensor.contiguous
    qkv = torch.randn(2, 5, 3, 2, 12)
    q, k, _ = qkv.permute(2, 0, 3, 1, 4).unbind()
    args = q, k, *torch.randn(2, 12)
    tried(args)
    ours = at_angles(wrapper, args)
    monkeypatch.setattr(
        torch.Tensor, "contiguous", lambda x: copied.append(x.shape) or contiguous(x)
    )
    with interpreting():
        ours(*args)
    assert q.shape not in copied


def test_expanded():
    q, k, *weights = example(2, 3, 5, 12)
    k = k[:, :1].expand(2, 3, 5, 12)
    tried([k, k, weights[0][:1].expand(12), weights[1]])
    upstream = torch.randn(12)
    tried([q, k, *weights], lambda like: upstream.expand(like.shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_have_the_dtype_of_what_they_belong_to(dtype):
    q, k, *weights = example(2, 3, 5, 12)
    tried([q.to(dtype), k.to(dtype), *weights])
    tried([q, k, *(w.to(dtype) for w in weights)])


def test_gradients_are_slopes():
    args, h = example(2, 3, 5, 12), 1e-4
    upstream, along = torch.randn(2, 3, 5, 12), [torch.randn_like(a) for a in args]
    with interpreting():
        got, _ = sweeps.gradients(at_angles(wrapper, args), args, lambda _: upstream, None)
    exact = at_angles(reference, args)
    ahead, back = (
        sum(exact(*(a.double() + s * d for a, d in zip(args, along, strict=True)))) for s in (h, -h)
    )
    slope = sum(float((g * d).sum()) for g, d in zip(got, along, strict=True))
    expected = float(((ahead - back) * upstream).sum()) / (2 * h)
    assert slope == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_loss_of_q_alone():
    args = example(2, 3, 5, 12)
    for one in (0, 1):
        leaves = [a.clone().requires_grad_() for a in args]
        with interpreting():
            at_angles(wrapper, args)(*leaves)[one].square().sum().backward()
        assert leaves[one].grad.any() and leaves[2 + one].grad.any()
        assert not leaves[1 - one].grad.any() and not leaves[3 - one].grad.any()


def test_norms_are_those_of_the_normalised():
    """√dim for a weight of 1: what turns keeps its length."""
    q, k, _, _ = example(2, 3, 5, 64)
    ones = torch.ones(64)
    with interpreting():
        turned = wrapper(7 * q, 0.1 * k, ones, ones, *rope_angles(5, 64), eps=0.0)
    for x in turned:
        torch.testing.assert_close(x.norm(dim=-1), torch.full((2, 3, 5), 8.0))


def test_token_0_is_not_turned():
    q, k, *weights = args = example(2, 3, 1, 64)
    with interpreting():
        turned = at_angles(wrapper, args)(*args)
    for x, got, w in zip([q, k], turned, weights, strict=True):
        torch.testing.assert_close(got, F.rms_norm(x, (64,), w, eps=1e-6))


def test_products_know_only_how_far_apart_tokens_are():
    """The same query and the same key at every token."""
    q, k, *weights = example(1, 1, 1, 64)
    args = q.expand(1, 1, 12, 64), k.expand(1, 1, 12, 64), *weights
    with interpreting():
        turned_q, turned_k = at_angles(wrapper, args)(*args)
    products = (turned_q @ turned_k.mT)[0, 0]  # (t, s)
    for apart in range(-11, 12):
        along = products.diagonal(apart)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=1e-4)
    assert products[0].std() > 0.1  # and they do know that


def test_angles():
    cos, sin = rope_angles(50, 6, base=100.0)
    assert cos.shape == sin.shape == (50, 3)
    theta = torch.arange(50.0)[:, None] * torch.tensor([1, 100 ** (-1 / 3), 100 ** (-2 / 3)])
    torch.testing.assert_close(cos, theta.cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(sin, theta.sin(), atol=1e-5, rtol=0)
    assert [x.shape for x in rope_angles(0, 6) + rope_angles(3, 0)] == [(0, 3)] * 2 + [(3, 0)] * 2
    with pytest.raises(ValueError, match=r"dim must be even.*, got 7"):
        rope_angles(5, 7)


def test_eps_and_numbers_of_0():
    args = example(2, 2, 5, 12)
    tried(args, eps=0.0)  # 3 of the 8 tokens at hand do not exist, and leave no 0 / 0
    args[0] *= 1e-2
    tried(args, eps=1e-3)
    args[0][0, 0, 0] = 0
    tried(args)


def test_a_large_mean_does_no_harm():
    q, k, *weights = example(2, 3, 5, 64)
    tried([1000 + q, 1000 - k, *weights])


def test_half_precision_with_large_numbers():
    """Squares beyond 65504 are no trouble in fp32; torch's own in float16 would be infinite."""
    q, k, *weights = example(2, 3, 5, 64)
    cos, sin = rope_angles(5, 64)
    with interpreting():
        got = wrapper((1000 * q).half(), (1000 * k).half(), *(w.half() for w in weights), cos, sin)
    for ours, exact in zip(got, reference(1000 * q, 1000 * k, *weights, cos, sin), strict=True):
        torch.testing.assert_close(ours.float(), exact, atol=1e-2, rtol=1e-2)


def test_the_same_gradients_bit_for_bit(monkeypatch):
    monkeypatch.setattr(family, "TILE", 64)
    args = example(2, 1, 20, 12)
    ours = at_angles(wrapper, args)
    with interpreting():
        first, second = (sweeps.gradients(ours, args, torch.ones_like, None)[0] for _ in "12")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("shape", [(0, 3, 5, 12), (2, 0, 5, 12), (2, 3, 0, 12), (2, 3, 5, 0)])
def test_nothing(shape):
    args = example(*shape)
    ours = at_angles(wrapper, args)
    with interpreting():
        assert [x.shape for x in ours(*args)] == [shape, shape]
        got, _ = sweeps.gradients(ours, args, torch.ones_like, None)
    assert all(not g.any() for g in got)


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_angles_get_no_gradient(way):
    args, angles = example(2, 3, 5, 12), rope_angles(5, 12)
    leaves = [a.requires_grad_() for a in (*args, *angles)]
    with interpreting() if way == "kernel" else torch.enable_grad():
        sum(x.sum() for x in wrapper(*leaves)).backward()
    assert [a.grad is None for a in leaves] == [False] * 4 + [True] * 2


def test_in_torch_it_is_the_same():
    args = example(2, 3, 20, 12)
    ours = at_angles(wrapper, args)
    with interpreting():
        got = ours(*args)
    torch.testing.assert_close(ours(*args), got)
    assert ours(*(a.double() for a in args))[0].dtype == torch.float64


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    q, k, *weights = example(2, 3, 4, 8)
    cos, sin = rope_angles(4, 8)
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(ValueError, match=r"k must be shaped like q, got \(2, 1, 4, 8\)"):
            wrapper(q, k[:, :1], *weights, cos, sin)
        with pytest.raises(ValueError, match=r"q must be \(batch, heads, .*, got \(3, 4, 8\)"):
            wrapper(q[0], k[0], *weights, cos, sin)
        with pytest.raises(ValueError, match=r"dim even .*, got \(2, 3, 4, 7\)"):
            wrapper(q[..., :7], k[..., :7], *weights, cos, sin)
        with pytest.raises(ValueError, match=r"q_weight must be \(8,\), got \(6,\)"):
            wrapper(q, k, *(w[:6] for w in weights), cos, sin)
        with pytest.raises(ValueError, match=r"cos must be \(4, 4\), got \(5, 4\)"):
            wrapper(q, k, *weights, *rope_angles(5, 8))
        with pytest.raises(ValueError, match=r"sin must be shaped like cos, got \(3, 4\)"):
            wrapper(q, k, *weights, cos, sin[:3])
        with pytest.raises(ValueError, match=r"k_weight must be torch.float32 like q_weight"):
            wrapper(q, k, weights[0], weights[1].half(), cos, sin)
        with pytest.raises(ValueError, match=r"q must be float32, .*int64"):
            wrapper(q.long(), k.long(), *weights, cos, sin)
