"""Public checks of chapter 14: kernels.patchify."""

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages, checked

patchify = pytest.mark.exercise("kernels.patchify.kernel")
inverse = pytest.mark.exercise("kernels.patchify.inverse_kernel")


def tokens_of(x, patch):
    batch, C, H, W = x.shape
    x = x.reshape(batch, C, H // patch, patch, W // patch, patch).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(batch, -1, patch * patch * C)


def image_of(tokens, patch, C, H, W):
    batch = len(tokens)
    tokens = tokens.reshape(batch, H // patch, W // patch, patch, patch, C)
    return tokens.permute(0, 5, 1, 3, 2, 4).reshape(batch, C, H, W)


def forward(student):
    return Stages(student, "kernels.patchify.patchify", Exact(tokens_of))


def back(student):
    return Stages(student, "kernels.patchify.unpatchify", Exact(image_of))


def image(generator, *shape):
    return torch.randn(shape, generator=generator)


def as_tokens(generator, batch, C, H, W, patch):
    """The arguments of `unpatchify`."""
    return tokens_of(image(generator, batch, C, H, W), patch), patch, C, H, W


def far_away(student, name, strides, sizes, program, begins, channels=1):
    """One program, whose tile is one pixel, and the tensors windows of huge ones."""
    (n, C, H, W, P), numbers = sizes, torch.arange(1.0, 1 + channels)
    args = [numbers, torch.zeros(channels), *strides, H, W]
    constants = {"C": C, "P": P, "PIXELS": 1, "CHANNELS": channels}
    where = {"programs": [program], "begins": begins}
    grid, says = [n * H * W, -(-C // channels)], f"places beyond 2³¹ are lost, from {begins[0]} on"
    came = left(student, f"kernels.patchify.{name}", grid, args, constants, says, **where)
    expect.close(came[1], numbers, says)


# --- kernels.patchify.kernel ----------------------------------------------------------------------


@patchify
def test_the_features_of_one_token(student):
    """correct: features are ordered by row, then column, then channel"""
    x = torch.arange(12.0).reshape(1, 3, 2, 2)  # channel c of the pixel (h, w) is 4 c + 2 h + w
    says = "the pixel (0, 0) with its channels 0, 4, 8 comes first, then (0, 1), (1, 0), (1, 1)"
    forward(student).correct(x, 2, says=says)


@patchify
def test_tokens_row_by_row(student, generator):
    """correct: tokens go along the rows of patches, example after example"""
    says = "patches go row by row: here 2 rows of 3 patches make 6 tokens, for each of 3 examples"
    forward(student).correct(image(generator, 3, 1, 4, 6), 2, says=says)


@patchify
def test_more_pixels_than_a_tile_has(student, generator):
    """correct: images larger than a tile, whose last block sticks out"""
    forward(student).correct(image(generator, 2, 4, 36, 22), 2)


@patchify
def test_more_channels_than_a_tile_has(student, generator):
    """correct: more channels than a tile has"""
    forward(student).correct(image(generator, 2, 37, 6, 9), 3)


@patchify
@pytest.mark.parametrize("layout", ["strided", "transposed"])
def test_any_strides(student, generator, layout):
    """correct: for images that lie in memory with gaps, or turned round"""
    forward(student).correct(image(generator, 2, 3, 8, 12), 4, layout=layout)


@patchify
@pytest.mark.parametrize("axis", range(4))
def test_a_stride_of_0(student, generator, axis):
    """correct: along an axis whose stride is 0 all numbers are one"""
    x = image(generator, 2, 3, 4, 10).narrow(axis, 0, 1)
    strides = [*x.contiguous().stride()]
    strides[axis] = 0
    want = tokens_of(x.expand(2, 3, 4, 10), 2)
    args = [x.flatten(), torch.zeros_like(want), *strides, 4, 10]
    constants = {"C": 3, "P": 2, "PIXELS": 16, "CHANNELS": 2}
    says = f"where stride {axis} of x is 0 the tokens are wrong, in tiles of 16 pixels, 2 channels"
    came = left(student, "kernels.patchify.kernel", [6, 2], args, constants, says)
    expect.close(came[1], want, says, atol=0, rtol=0)


@patchify
def test_a_program_of_its_own(student, generator):
    """correct: program (i, j) moves block i of pixels and block j of channels, nothing else"""
    x = image(generator, 2, 3, 4, 10)
    mine = torch.zeros_like(x)
    mine[1, 2:].flatten(1)[:, 16:32] = 1  # block 3 + 1 of pixels, block 1 of channels
    args = [x, torch.zeros(2, 10, 12), *x.stride(), 4, 10]
    constants = {"C": 3, "P": 2, "PIXELS": 16, "CHANNELS": 2}
    says, where = "program (4, 1) does not move its own block", {"programs": [[4, 1]]}
    came = left(student, "kernels.patchify.kernel", [6, 2], args, constants, says, **where)
    expect.close(came[1], tokens_of(mine * x, 2), says, atol=0, rtol=0)


@patchify
def test_every_bit_arrives(student):
    """correct: every bit arrives, that of the sign of −0 and those of infinity too"""
    x = torch.tensor([-0.0, -0.0, float("inf"), float("-inf")]).reshape(1, 1, 2, 2)
    wrapper = student.function("kernels.patchify.patchify")
    (tokens,) = checked(student.instruments.observe.call(wrapper, [x, 2]))["results"]
    same = torch.equal(1 / tokens.flatten(), 1 / x.flatten())
    expect.true(same, "−0 or infinity is something else on arrival: numbers only have to move")


@patchify
def test_more_examples_than_32_bits_can_count(student):
    """correct: in an example that begins beyond element 2³¹ places are still right"""
    C, n = 64, 2**25 + 5
    sizes, begins = (n + 1, C, 1, 1, 1), [n * C, n * C]
    far_away(student, "kernel", [C, 1, C, C], sizes, [n, 0], begins, channels=C)


@patchify
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    forward(student).safe(image(generator, 2, 37, 10, 9), 1)


@patchify
def test_lean(student, generator):
    """lean: every number is read once and written once"""
    forward(student).lean(POINTWISE, image(generator, 2, 37, 10, 12), 2)


# --- kernels.patchify.inverse_kernel --------------------------------------------------------------


@inverse
def test_one_token_becomes_pixels(student):
    """correct: a token's features go to rows, columns and channels of its patch"""
    tokens = torch.arange(12.0).reshape(1, 1, 12)
    says = "features 0, 1, 2 are the 3 channels of the pixel (0, 0), the next three of (0, 1)"
    back(student).correct(tokens, 2, 3, 2, 2, says=says)


@inverse
def test_tokens_are_put_row_by_row(student, generator):
    """correct: tokens fill the rows of patches, example after example"""
    says = "patches go row by row: here 6 tokens make 2 rows of 3 patches, for each of 3 examples"
    back(student).correct(*as_tokens(generator, 3, 1, 4, 6, 2), says=says)


@inverse
def test_larger_images_than_a_tile(student, generator):
    """correct: images larger than a tile, whose last block sticks out"""
    back(student).correct(*as_tokens(generator, 2, 4, 36, 22, 2))


@inverse
def test_wider_images_than_a_tile(student, generator):
    """correct: more channels than a tile has"""
    back(student).correct(*as_tokens(generator, 2, 37, 6, 9, 3))


@inverse
@pytest.mark.parametrize("layout", ["strided", "transposed"])
def test_tokens_of_any_strides(student, generator, layout):
    """correct: for tokens that lie in memory with gaps, or turned round"""
    back(student).correct(*as_tokens(generator, 2, 3, 8, 12, 4), layout=layout)


@inverse
@pytest.mark.parametrize("axis", range(3))
def test_a_token_stride_of_0(student, generator, axis):
    """correct: along an axis whose stride is 0 all numbers are one"""
    tokens = torch.randn(2, 10, 12, generator=generator).narrow(axis, 0, 1)
    strides = [*tokens.contiguous().stride()]
    strides[axis] = 0
    want = image_of(tokens.expand(2, 10, 12), 2, 3, 4, 10)
    args = [tokens.flatten(), torch.zeros_like(want), *strides, 4, 10]
    constants = {"C": 3, "P": 2, "PIXELS": 16, "CHANNELS": 2}
    says = f"where stride {axis} of tokens is 0 the image is wrong, in tiles of 16 pixels"
    came = left(student, "kernels.patchify.inverse_kernel", [6, 2], args, constants, says)
    expect.close(came[1], want, says, atol=0, rtol=0)


@inverse
def test_a_program_alone(student, generator):
    """correct: program (i, j) moves block i of pixels and block j of channels, nothing else"""
    x = image(generator, 2, 3, 4, 10)
    mine, tokens = torch.zeros_like(x), tokens_of(x, 2)
    mine[1, 2:].flatten(1)[:, 16:32] = 1  # block 3 + 1 of pixels, block 1 of channels
    args = [tokens, torch.zeros_like(x), *tokens.stride(), 4, 10]
    constants = {"C": 3, "P": 2, "PIXELS": 16, "CHANNELS": 2}
    says, where = "program (4, 1) does not move its own block", {"programs": [[4, 1]]}
    came = left(student, "kernels.patchify.inverse_kernel", [6, 2], args, constants, says, **where)
    expect.close(came[1], mine * x, says, atol=0, rtol=0)


@inverse
def test_every_bit_comes_back(student):
    """correct: every bit comes back, that of the sign of −0 and those of infinity too"""
    tokens = torch.tensor([-0.0, -0.0, float("inf"), float("-inf")]).reshape(1, 1, 4)
    wrapper = student.function("kernels.patchify.unpatchify")
    (x,) = checked(student.instruments.observe.call(wrapper, [tokens, 2, 1, 2, 2]))["results"]
    same = torch.equal(1 / x.flatten(), 1 / tokens.flatten())
    expect.true(same, "−0 or infinity is something else on arrival: numbers only have to move")


@inverse
@pytest.mark.parametrize("far", ["examples", "tokens", "channels"])
def test_places_beyond_32_bits(student, far):
    """correct: where places of examples, tokens or channels are beyond 2³¹ they are still right"""
    if far == "examples":
        C, n = 64, 2**25 + 5
        sizes, begins = (n + 1, C, 1, 1, 1), [n * C, n * C]
        far_away(student, "inverse_kernel", [C, C, 1], sizes, [n, 0], begins, channels=C)
    elif far == "tokens":  # the last of 256 tokens, which lie 2²⁴ elements apart
        sizes, begins = (1, 1, 64, 64, 4), [255 * 2**24 + 15, 4095]
        far_away(student, "inverse_kernel", [0, 2**24, 1], sizes, [4095, 0], begins)
    else:  # the last of 66000 channels of the first pixel
        sizes, begins = (1, 66000, 256, 256, 4), [65999 * 2**16, 65999 * 2**16]
        far_away(student, "inverse_kernel", [0, 0, 2**16], sizes, [0, 65999], begins)


@inverse
def test_back_safely(student, generator):
    """safe: every access is inside, and no two programs meet"""
    back(student).safe(*as_tokens(generator, 2, 37, 10, 9, 1))


@inverse
def test_back_lean(student, generator):
    """lean: every number is read once and written once"""
    back(student).lean(POINTWISE, *as_tokens(generator, 2, 37, 10, 12, 2))
