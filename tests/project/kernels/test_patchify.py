"""kernels.patchify: images to tokens and back."""

import pytest
import torch

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.kernels import patchify as module
from cs231n_gen.kernels.launch import DTYPES, interpreting

patchify, unpatchify = module.patchify, module.unpatchify
SIZES = pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((1, 1, 1, 1), 1),
        ((1, 7, 2, 2), 2),
        ((2, 1, 33, 31), 1),  # 1023 pixels
        ((2, 1, 32, 32), 2),
        ((1, 1, 25, 41), 1),  # 1025
        ((2, 3, 20, 12), 4),
        ((1, 4, 48, 22), 2),  # two blocks of pixels
        ((2, 37, 10, 15), 5),  # two blocks of channels, both ragged
        ((1, 2, 49, 56), 7),
    ],
)


def image(shape, dtype=torch.float32):
    return torch.randn(shape).to(dtype)


def expanded(like):
    """A gradient that is one number, seen many times."""
    return torch.tensor(-1.5, dtype=like.dtype).expand(like.shape)


@SIZES
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_size(shape, patch, dtype):
    x = image(shape, dtype)
    sweeps.forward(patchify, module.reference, x, patch)
    with interpreting():
        tokens = patchify(x, patch)
        assert torch.equal(tokens, module.reference(x, patch))
        assert torch.equal(unpatchify(tokens, patch, *shape[1:]), x)
    sweeps.forward(unpatchify, module.inverse_reference, tokens, patch, *shape[1:])


@SIZES
def test_gradients(shape, patch):
    x = image(shape)
    sweeps.backward(patchify, module.reference, [x, patch])
    tokens = module.reference(x, patch)
    sweeps.backward(unpatchify, module.inverse_reference, [tokens, patch, *shape[1:]])


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    x = image((2, 3, 8, 12))
    tokens = layout(module.reference(x, 4))
    sweeps.forward(patchify, module.reference, layout(x), 4)
    sweeps.forward(unpatchify, module.inverse_reference, tokens, 4, 3, 8, 12)

    def upstream(like):
        return layout(torch.randn_like(like))

    sweeps.backward(patchify, module.reference, [x, 4], upstream)
    sweeps.backward(unpatchify, module.inverse_reference, [tokens, 4, 3, 8, 12], upstream)


def test_expanded():
    x = image((1, 3, 8, 1)).expand(2, 3, 8, 12)
    tokens = module.reference(x, 4)
    sweeps.forward(patchify, module.reference, x, 4)
    sweeps.backward(patchify, module.reference, [x, 4], expanded)
    sweeps.backward(unpatchify, module.inverse_reference, [tokens, 4, 3, 8, 12], expanded)


def test_channels_last():
    x = image((2, 5, 8, 8)).contiguous(memory_format=torch.channels_last)
    sweeps.forward(patchify, module.reference, x, 2)


def test_a_window_of_a_larger_image():
    x = image((3, 4, 20, 20))[1:, 1:, 3:11, 5:17]
    sweeps.forward(patchify, module.reference, x, 4)


def test_features_are_row_column_channel():
    """Every number says where it comes from."""
    n, C, H, W, p = 2, 3, 4, 6, 2
    where = torch.cartesian_prod(*map(torch.arange, (n, C, H, W))).reshape(n, C, H, W, 4)
    with interpreting():
        tokens = torch.stack([patchify(k.float(), p) for k in where.unbind(-1)], dim=-1).long()
    for k in range(n):
        for token in range((H // p) * (W // p)):
            row, column = token // (W // p), token % (W // p)
            places = [
                [k, c, row * p + i, column * p + j]
                for i in range(p)
                for j in range(p)
                for c in range(C)
            ]
            assert tokens[k, token].tolist() == places


def test_gradients_are_slopes():
    """The map is linear: its slope along any direction is the direction's own image."""
    x, along = image((1, 2, 6, 4)), image((1, 2, 6, 4))
    weight = torch.randn(1, 6, 8)
    with interpreting():
        got, _ = sweeps.gradients(patchify, [x, 2], lambda like: weight, None)
    h = 1e-3
    ahead, back = ((module.reference(x.double() + s * along, 2) * weight).sum() for s in (h, -h))
    slope = float((got[0] * along).sum())
    assert slope == pytest.approx(float(ahead - back) / (2 * h), rel=1e-4, abs=1e-5)


def test_a_gradient_of_the_gradient():
    x = image((1, 2, 4, 4)).requires_grad_()
    with interpreting():
        (first,) = torch.autograd.grad(patchify(x, 2).pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, 6 * x.detach())


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4)])
def test_nothing_to_do(shape):
    x = image(shape)
    sweeps.forward(patchify, module.reference, x, 2)
    with interpreting():
        assert unpatchify(patchify(x, 2), 2, *shape[1:]).shape == shape
    assert unpatchify(patchify(x, 2), 2, *shape[1:]).shape == shape


def test_float64_is_for_torch_alone():
    x = image((2, 3, 4, 4)).double()
    assert torch.equal(unpatchify(patchify(x, 2), 2, 3, 4, 4), x)
    with interpreting(), pytest.raises(ValueError, match=r"x must be float32, .*float64"):
        patchify(x, 2)


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    x = image((2, 3, 8, 6))
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(ValueError, match=r"x must be \(batch, C, H, W\), got \(3, 8, 6\)"):
            patchify(x[0], 2)
        with pytest.raises(ValueError, match="patches of side 4 must fill the image, got 8×6"):
            patchify(x, 4)
        with pytest.raises(ValueError, match="patch must be at least 1, got 0"):
            patchify(x, 0)
        with pytest.raises(ValueError, match=r"x must be float32, .*int64"):
            patchify(x.long(), 2)
        with pytest.raises(ValueError, match=r"tokens must be \(2, 12, 12\), got \(2, 12, 13\)"):
            unpatchify(torch.zeros(2, 12, 13), 2, 3, 8, 6)
        with pytest.raises(ValueError, match=r"tokens must be \(24, 12, 12\), got \(24, 12\)"):
            unpatchify(torch.zeros(24, 12), 2, 3, 8, 6)
        with pytest.raises(ValueError, match="patches of side 5 must fill the image, got 8×6"):
            unpatchify(torch.zeros(2, 12, 12), 5, 3, 8, 6)
