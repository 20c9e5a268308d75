"""kernels.joint_attention: image and text attend to both, as if they stood in one tensor."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.instruments.error_budget import budget
from cs231n_gen.kernels.attention import reference as one_stream
from cs231n_gen.kernels.joint_attention import joint_attention, reference
from cs231n_gen.kernels.launch import DTYPES, interpreting

LARGE = 30.0  # times q: the softmax is all but one-hot, and e^score is no number any more


def example(images, texts, dim, dtype=torch.float32, batch=1, heads=1):
    """q, k and v of the image, then those of the text."""
    sizes = [images] * 3 + [texts] * 3
    return [torch.randn(batch, heads, n, dim).to(dtype) for n in sizes]


def words(*lengths, texts):
    """A mask: so many words, then padding."""
    return torch.arange(texts) < torch.tensor(lengths)[:, None]


def flat(function, mask, scale=None):
    """A function of six tensors."""
    return lambda *six: function(six[:3], six[3:], mask, scale)


def tried(six, mask=None, upstream=torch.randn_like, large=False, scale=None):
    """Forward and backward, both held to float64, with what is allowed for in `test_attention`."""
    ours, torchs = flat(joint_attention, mask, scale), flat(reference, mask, scale)
    sweeps.forward(ours, torchs, *six)
    with interpreting():
        got, seeds = sweeps.gradients(ours, six, upstream, None)
    plain, _ = sweeps.gradients(torchs, six, None, seeds)
    exact, _ = sweeps.gradients(
        torchs, [x.double() for x in six], None, [s.double() for s in seeds]
    )
    scale = scale or six[0].shape[-1] ** -0.5
    longest = [float(x.double().norm(dim=-1).max()) for x in six]
    q, k, v = (max(longest[i::3]) for i in range(3))
    g = max(float(s.double().norm(dim=-1).max()) for s in seeds)
    eps = torch.finfo(torch.float32).eps * (1 + large * scale * q * k)
    sizes = [scale * v * g * k, scale * v * g * q, large * g] * 2
    for i, (d, truth, torchs_d, size) in enumerate(zip(got, exact, plain, sizes, strict=True)):
        off, most = float((d.double() - truth).abs().max()), budget(truth, torchs_d) + eps * size
        name = f"{('image', 'text')[i // 3]} d_{'qkv'[i % 3]}"
        assert off <= most, f"{name} of {sweeps.described(six)}: off by {off:.3g} > {most:.3g}"


@pytest.mark.drawn("tokens", 6)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("images", "texts", "said"),
    [(1, 7, 3), (63, 1, None), (64, 65, 30), (65, 64, None), (130, 7, 0), (7, 130, 64)],
)
def test_every_number_of_tokens(images, texts, said, dtype):
    mask = None if said is None else words(said, texts=texts)
    tried(example(images, texts, 16, dtype), mask)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [32, 40, 64, 128])
def test_every_dim(dim, dtype):
    tried(example(20, 9, dim, dtype), words(5, texts=9))


@pytest.mark.parametrize("texts", [15, 48])
def test_many_small_tiles(texts, small_tiles):
    tried(example(33, texts, 20), words(3, texts=texts))


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    six = example(9, 20, 16, heads=2)
    mask = torch.rand(20, 2).lt(0.5).T[:1]
    tried([layout(x) for x in six], mask)
    tried([*six[:2], layout(six[2]), *six[3:]], mask, lambda like: layout(torch.randn(like.shape)))


def test_heads_that_lie_inside_tokens_are_read_where_they_lie(monkeypatch):
    """As a linear layer of each stream leaves q, k and v."""
    image, text = (torch.randn(1, n, 3, 2, 16).permute(2, 0, 3, 1, 4) for n in (20, 9))
    tried([*image, *text])
    want = reference(image, text)
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda x: pytest.fail("a copy was made"))
    monkeypatch.setattr(torch, "cat", lambda *_, **__: pytest.fail("the streams were joined"))
    with interpreting():
        torch.testing.assert_close(joint_attention(image, text), want)


def test_expanded_gradients():
    tried(example(9, 20, 16, heads=2), None, lambda like: torch.ones(()).expand(like.shape))


def test_attention_over_both_in_one_tensor():
    """With the padding cut off, which is the same as a mask."""
    six = example(20, 12, 16, heads=2)
    q, k, v = (torch.cat([six[i], six[i + 3]], dim=2) for i in range(3))
    want = one_stream(q, k[:, :, :27], v[:, :, :27])
    other = F.scaled_dot_product_attention(q, k[:, :, :27], v[:, :, :27])
    with interpreting():
        got = torch.cat(joint_attention(six[:3], six[3:], words(7, texts=12)), dim=2)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(got, other)


def test_padding_is_not_seen():
    """Not even numbers beyond all bounds; what comes for padding itself is a number."""
    six, mask = example(20, 40, 16, batch=2), words(3, 0, texts=40)
    loud = [x.clone() for x in six]
    for i in (4, 5):  # keys and values of the text
        loud[i][~mask[:, None].expand(six[i].shape[:3])] = 1e20
    with interpreting():
        want = joint_attention(six[:3], six[3:], mask)
        leaves = [x.requires_grad_() for x in loud]
        got = joint_attention(leaves[:3], leaves[3:], mask)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_padding_gets_no_gradient():
    six, mask = example(20, 40, 16, batch=2), words(3, 0, texts=40)
    six[4][~mask[:, None].expand(six[4].shape[:3])] *= 1000  # whose weights would be ∞
    with interpreting():
        got, _ = sweeps.gradients(flat(joint_attention, mask), six, torch.randn_like, None)
    assert all(d.isfinite().all() for d in got)
    padding = ~mask[:, None].expand(2, 1, 40)
    assert not got[4][padding].any() and not got[5][padding].any()
    assert got[4][~padding].any() and got[5][~padding].any()
    assert got[3][padding].any()  # but as a query it attended


def test_a_mask_with_holes(small_tiles):
    tried(example(20, 60, 16), torch.rand(1, 60) < 0.4)
    hidden = torch.ones(1, 60, dtype=torch.bool)
    hidden[:, 16:48] = False  # two tiles, or one
    tried(example(20, 60, 16), hidden)


def test_no_mask_is_a_mask_of_words():
    six = example(9, 20, 16)
    with interpreting():
        want = joint_attention(six[:3], six[3:])
        got = joint_attention(six[:3], six[3:], words(20, texts=20))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits(dtype):
    six = example(20, 33, 32, dtype)
    large = [LARGE * x if i % 3 == 0 else x for i, x in enumerate(six)]
    tried(large, words(20, texts=33), large=True)


def test_a_peak_in_either(small_tiles):
    """Whatever was added up before it has to fade, and what comes after has to stay small."""
    for stream, place in [(0, 20), (1, 0), (1, 30)]:
        six = example(33, 33, 16)
        six[3 * stream + 1][:, :, place] = 20 * six[0].mean(2)
        tried(six, large=True)


def test_any_scale():
    tried(example(9, 20, 16), scale=0.01)
    tried(example(9, 20, 16), scale=1.5, large=True)


def test_gradients_are_slopes():
    six, mask, h = example(9, 20, 16), words(11, texts=20), 1e-4
    along = [torch.randn_like(x).double() for x in six]
    with interpreting():
        got, seeds = sweeps.gradients(flat(joint_attention, mask), six, torch.randn_like, None)
    for chosen in ([0], [1], [2], [3], [4], [5], range(6)):
        two = []
        for step in (h, -h):
            moved = [x.double() + step * along[i] * (i in chosen) for i, x in enumerate(six)]
            outs = reference(moved[:3], moved[3:], mask)
            two.append(sum(float((o * s).sum()) for o, s in zip(outs, seeds, strict=True)))
        slope = sum(float((got[i] * along[i]).sum()) for i in chosen)
        assert slope == pytest.approx((two[0] - two[1]) / (2 * h), rel=1e-4, abs=1e-4), chosen


def test_only_one_result_is_used():
    six = [x.requires_grad_() for x in example(9, 20, 16)]
    for i in range(2):
        with interpreting():
            got = torch.autograd.grad(joint_attention(six[:3], six[3:])[i].sum(), six)
        plain = reference(six[:3], six[3:])[i].sum()
        want = torch.autograd.grad(plain, six, materialize_grads=True)
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_an_example_and_a_head_keep_to_themselves():
    six, mask = example(9, 20, 16, batch=2, heads=2), words(7, 20, texts=20)
    with interpreting():
        every = joint_attention(six[:3], six[3:], mask)
        one = [x[1:, 1:] for x in six]
        alone = joint_attention(one[:3], one[3:], mask[1:])
    assert all(torch.equal(a[1:, 1:], b) for a, b in zip(every, alone, strict=True))


@pytest.mark.parametrize(("images", "texts", "batch"), [(0, 3, 1), (3, 0, 1), (0, 0, 1), (3, 3, 0)])
def test_nothing(images, texts, batch):
    six, mask = example(images, texts, 16, batch=batch), torch.ones(batch, texts, dtype=torch.bool)
    sweeps.forward(flat(joint_attention, mask), flat(reference, mask), *six)
    sweeps.backward(flat(joint_attention, mask), flat(reference, mask), six)


def test_in_torch_it_is_the_same():
    six, mask = example(9, 20, 16), words(7, texts=20)
    with interpreting():
        ours = joint_attention(six[:3], six[3:], mask)
    torch.testing.assert_close(joint_attention(six[:3], six[3:], mask), ours)


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    six, mask = example(3, 4, 16, batch=2, heads=2), words(1, 2, texts=4)
    image, text = six[:3], six[3:]
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(ValueError, match=r"text_qkv must be \(q, k, v\), got 2 tensors"):
            joint_attention(image, text[:2], mask)
        with pytest.raises(ValueError, match=r"image v must be shaped like image q, .*\(2, 2, 4,"):
            joint_attention([*image[:2], text[2]], text, mask)
        with pytest.raises(ValueError, match=r"text q must be \(2, 2, 4, 16\), got \(1, 2, 4,"):
            joint_attention(image, [x[:1] for x in text], mask)
        with pytest.raises(ValueError, match=r"text q must be torch\.float32 like image q, .*16"):
            joint_attention(image, [x.half() for x in text], mask)
        with pytest.raises(ValueError, match=r"image q must be float32, .*int64"):
            joint_attention([x.long() for x in image], text, mask)
        with pytest.raises(ValueError, match=r"text q must be \(batch, heads, tokens, dim\)"):
            joint_attention(image, [x[0] for x in text], mask)
        with pytest.raises(ValueError, match=r"dim in 1 … 128, got \(2, 2, 3, 144\)"):
            joint_attention([x.repeat(1, 1, 1, 9) for x in image], text, mask)
        with pytest.raises(ValueError, match=r"text_mask must be \(2, 4\), got \(2, 3\)"):
            joint_attention(image, text, mask[:, :3])
        with pytest.raises(ValueError, match=r"text_mask must be torch\.bool, got torch\.float32"):
            joint_attention(image, text, mask.float())
        with pytest.raises(ValueError, match=r"scale must be a positive number, got -1\.0"):
            joint_attention(image, text, mask, scale=-1)
