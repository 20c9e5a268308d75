"""kernels.attention: the softmax over keys that come tile by tile, and its gradients."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.instruments.error_budget import budget
from cs231n_gen.kernels.attention import attention, reference
from cs231n_gen.kernels.launch import DTYPES, interpreting

TOKENS = (1, 7, 63, 64, 65, 130)
DIMS = (16, 32, 40, 64)
LARGE = 30.0  # times q: the softmax is all but one-hot, and e^score is no number any more


def example(tokens, keys, dim, dtype=torch.float32, batch=1, heads=1):
    return [torch.randn(batch, heads, n, dim).to(dtype) for n in (tokens, keys, keys)]


def tried(args, upstream=torch.randn_like, large=False, **options):
    """Forward and backward, both held to float64; two things torch does not do are allowed for.

    Where few keys are seen, Σ out · g is subtracted from v · g, which torch gets of the same
    rounded numbers, and a kernel that keeps no weights does not: both are of the size of |v| |g|.
    And scores are computed twice, which may round them in two ways where they are large: weights
    are off by as much as the scores are, of the size of |q| |k|.
    """
    sweeps.forward(attention, reference, *args, **options)
    with interpreting():
        got, (seed,) = sweeps.gradients(attention, args, upstream, None, **options)
    plain, _ = sweeps.gradients(reference, args, upstream, [seed], **options)
    wide = [a.double() for a in args]
    exact, _ = sweeps.gradients(reference, wide, upstream, [seed.double()], **options)
    scale = options.get("scale") or args[0].shape[-1] ** -0.5
    q, k, v, g = (float(x.double().norm(dim=-1).max()) for x in (*args, seed))
    eps = torch.finfo(torch.float32).eps * (1 + large * scale * q * k)
    sizes = scale * v * g * k, scale * v * g * q, large * g
    for name, ours, truth, torchs, size in zip("qkv", got, exact, plain, sizes, strict=True):
        off, most = float((ours.double() - truth).abs().max()), budget(truth, torchs) + eps * size
        assert ours.dtype == torchs.dtype
        assert off <= most, f"d_{name} of {sweeps.described(args)}: off by {off:.3g} > {most:.3g}"


@pytest.mark.drawn("tokens", 12)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tokens", TOKENS)
def test_every_number_of_tokens(tokens, dtype, causal):
    tried(example(tokens, tokens, 32, dtype), causal=causal)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [*DIMS, 1, 100, 128])
def test_every_dim(dim, dtype):
    tried(example(20, 33, dim, dtype))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("tokens", "keys"), [(1, 65), (65, 1), (7, 130), (130, 63)])
def test_other_keys_than_queries(tokens, keys, causal):
    tried(example(tokens, keys, 16), causal=causal)
    tried(example(tokens, keys, 16, torch.bfloat16), causal=causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("tokens", "keys"), [(15, 15), (48, 48), (33, 50), (50, 33)])
def test_many_small_tiles(tokens, keys, causal, small_tiles):
    tried(example(tokens, keys, 20), causal=causal)


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    q, k, v = example(9, 20, 16, heads=2)
    tried([layout(q), layout(k), layout(v)])
    tried([q, layout(k), v])
    tried([q, k, v], lambda like: layout(torch.randn(like.shape)))


def test_heads_that_lie_inside_tokens_are_read_where_they_lie(monkeypatch):
    """As a linear layer leaves them; their strides differ from one another."""
    q = torch.randn(2, 9, 2, 16).transpose(1, 2)
    k, v = torch.randn(2, 20, 2, 2, 16).permute(2, 0, 3, 1, 4)
    tried([q, k, v])
    want = reference(q, k, v)
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda x: pytest.fail("a copy was made"))
    with interpreting():
        torch.testing.assert_close(attention(q, k, v), want)


def test_expanded():
    """One head of keys for all heads of queries, and one gradient for all numbers."""
    q, k, v = example(9, 20, 16, batch=2, heads=3)
    expanded = [x[:, :1].expand(2, 3, 20, 16) for x in (k, v)]
    tried([q, *expanded])
    tried([q, k, v], lambda like: torch.ones(()).expand(like.shape))


def test_rows_that_are_far_apart():
    """A stride that is not divisible by 8, and a tensor with one token."""
    q, k, v = (torch.randn(1, 2, 21, 23)[..., 3:20] for _ in range(3))
    tried([q, k, v])
    tried([q[:, :, 5:6], k, v])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_large_logits(causal, dtype):
    q, k, v = example(40, 70, 32, dtype)
    tried([LARGE * q, k, v], large=True, causal=causal)
    with interpreting():
        many, _ = sweeps.gradients(attention, [LARGE * q, LARGE * k, v], torch.randn_like, None)
    assert all(d.isfinite().all() for d in many)


def test_a_peak_in_any_tile(small_tiles):
    """Whatever was added up before it has to fade, and what comes after has to stay small."""
    q, k, v = example(8, 64, 16)
    for place in (0, 40, 63):
        high = k.clone()
        high[:, :, place] = 20 * q.mean(2)
        tried([q, high, v], large=True)


def test_scores_far_from_nought():
    """All of the same size, so that none but the peak itself can be subtracted."""
    q, k, v = example(10, 40, 16)
    q[..., 0], k[..., 0] = 40.0, 40.0
    tried([q, k, v], large=True)
    tried([-q, k, v], large=True)


def test_any_scale():
    args = example(10, 40, 16)
    for scale in (0.01, 3):
        tried(args, large=True, scale=scale)


def test_gradients_are_slopes():
    args = example(20, 33, 16)
    along, g, h = [torch.randn_like(x).double() for x in args], torch.randn(1, 1, 20, 16), 1e-4
    with interpreting():
        got, _ = sweeps.gradients(attention, args, lambda like: g, None, causal=True)

    def loss(step):
        moved = [x.double() + step * a for x, a in zip(args, along, strict=True)]
        return float((reference(*moved, causal=True) * g).sum())

    for i, (d, a) in enumerate(zip(got, along, strict=True)):  # of each alone, then of all
        one = [x.double() + h * (a if j == i else 0) for j, x in enumerate(args)]
        other = [x.double() - h * (a if j == i else 0) for j, x in enumerate(args)]
        two = [float((reference(*x, causal=True) * g).sum()) for x in (one, other)]
        assert float((d * a).sum()) == pytest.approx(
            (two[0] - two[1]) / (2 * h), rel=1e-4, abs=1e-4
        )
    slope = sum(float((d * a).sum()) for d, a in zip(got, along, strict=True))
    assert slope == pytest.approx((loss(h) - loss(-h)) / (2 * h), rel=1e-4, abs=1e-4)


def test_as_torchs_own_attention():
    for causal in (False, True):
        args = example(33, 33, 32)
        want = F.scaled_dot_product_attention(*args, is_causal=causal)
        with interpreting():
            torch.testing.assert_close(attention(*args, causal), want)
        torch.testing.assert_close(attention(*args, causal), want)


def test_the_future_is_not_seen():
    """Not even numbers that are infinite."""
    q, k, v = example(40, 40, 16)
    with interpreting():
        want = attention(q, k, v, causal=True)[:, :, :20]
        k[:, :, 20:], v[:, :, 20:] = 1e30, -1e30
        assert torch.equal(attention(q, k, v, causal=True)[:, :, :20], want)


def test_an_example_and_a_head_keep_to_themselves():
    q, k, v = example(20, 33, 16, batch=2, heads=3)
    with interpreting():
        every = attention(q, k, v)
        alone = attention(q[1:, 2:], k[1:, 2:], v[1:, 2:])
    torch.testing.assert_close(every[1:, 2:], alone, atol=0, rtol=0)


def test_only_the_gradients_that_are_wanted():
    args = example(7, 9, 16)
    for i in range(3):
        given = [x.detach().requires_grad_(i == j) for j, x in enumerate(args)]
        with interpreting():
            attention(*given).square().sum().backward()
        plain = [x.detach().requires_grad_(i == j) for j, x in enumerate(args)]
        reference(*plain).square().sum().backward()
        torch.testing.assert_close(given[i].grad, plain[i].grad, atol=1e-5, rtol=1e-5)
        assert all(x.grad is None for j, x in enumerate(given) if j != i)


def test_the_same_gradients_bit_for_bit():
    args, g = example(40, 40, 16), torch.randn(1, 1, 40, 16)
    with interpreting():
        one, _ = sweeps.gradients(attention, args, lambda like: g, None)
        two, _ = sweeps.gradients(attention, args, lambda like: g, None)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("tokens", "keys", "batch", "heads"), [(0, 3, 1, 2), (3, 0, 1, 2), (3, 3, 0, 2), (3, 3, 2, 0)]
)
def test_nothing(tokens, keys, batch, heads):
    args = example(tokens, keys, 16, batch=batch, heads=heads)
    sweeps.forward(attention, reference, *args)
    sweeps.backward(attention, reference, args)


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    q, k, v = example(3, 4, 16, heads=2)
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(ValueError, match=r"v must be shaped like k, got \(1, 2, 3, 16\)"):
            attention(q, k, v[:, :, :3])
        with pytest.raises(ValueError, match=r"k must be \(1, 2, 4, 16\), got \(1, 1, 4, 16\)"):
            attention(q, k[:, :1], v[:, :1])
        with pytest.raises(ValueError, match=r"k must be torch\.float32 like q, .*float16"):
            attention(q, k.half(), v.half())
        with pytest.raises(ValueError, match=r"k must be float32, .*int64"):
            attention(q, k.long(), v.long())
        with pytest.raises(ValueError, match=r"q must be \(batch, heads, .*, got \(2, 3, 16\)"):
            attention(q[0], k, v)
        with pytest.raises(ValueError, match=r"dim in 1 … 128, got \(1, 2, 3, 144\)"):
            attention(*(x.repeat(1, 1, 1, 9) for x in (q, k, v)))
        with pytest.raises(ValueError, match=r"k must be \(batch, heads, .*, got \(2, 4, 16\)"):
            attention(q, k[0], v[0])
        for scale in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match=r"scale must be a positive number, got"):
                attention(q, k, v, scale=scale)
