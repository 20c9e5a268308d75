"""Public checks of chapter 14: kernels.patchify."""

import pytest
import torch

from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages

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
def test_back_safely(student, generator):
    """safe: every access is inside, and no two programs meet"""
    back(student).safe(*as_tokens(generator, 2, 37, 10, 9, 1))


@inverse
def test_back_lean(student, generator):
    """lean: every number is read once and written once"""
    back(student).lean(POINTWISE, *as_tokens(generator, 2, 37, 10, 12, 2))
