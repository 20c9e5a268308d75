"""Right kernels for patchify and its inverse, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.patchify.kernel"
INVERSE = "kernels.patchify.inverse_kernel"


@accepted(EXERCISE)
@triton.jit
def channels_down_and_pixels_across(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    an_example = (H * W + PIXELS - 1) // PIXELS
    n = tl.program_id(axis=0) // an_example
    block = tl.program_id(axis=0) - n * an_example
    n = n.to(tl.int64)
    channel = (tl.program_id(axis=1) * CHANNELS + tl.arange(0, CHANNELS))[:, None]
    pixel = (block * PIXELS + tl.arange(0, PIXELS))[None, :]
    row, column = pixel // W, pixel - pixel // W * W
    mask = (channel < C) & (pixel < H * W)
    image = x + n * of_example
    places = channel.to(tl.int64) * of_channel + row * of_row + column * of_column
    values = tl.load(image + places, mask=mask, other=0.0)
    patch = row // P * (W // P) + column // P
    inside = row % P * P + column % P
    sequence = tokens + n * (H // P * (W // P)) * (P * P * C)
    tl.store(sequence + patch.to(tl.int64) * (P * P * C) + inside * C + channel, values, mask=mask)


@accepted(EXERCISE)
@triton.jit
def in_two_halves_of_the_pixels(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    n = (tl.program_id(0) // blocks).to(tl.int64)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    half: tl.constexpr = PIXELS // 2 if PIXELS > 1 else 1
    for begin in range(0, PIXELS, half):
        pixel = tl.program_id(0) % blocks * PIXELS + begin + tl.arange(0, half)
        h, w = pixel // W, pixel % W
        there = (pixel < H * W)[:, None] & (c < C)[None, :]
        source = x + n * of_example + (h * of_row + w * of_column)[:, None]
        X = tl.load(source + c[None, :].to(tl.int64) * of_channel, mask=there)
        place = n * H * W + (h // P * (W // P) + w // P) * (P * P) + h % P * P + w % P
        tl.store(tokens + place[:, None] * C + c[None, :], X, mask=there)


@accepted(EXERCISE)
@triton.jit
def pointers_moved_to_the_example(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    x, tokens = x + example * of_example, tokens + example * (H * W) * C
    pixel = (tl.program_id(0) - example.to(tl.int32) * blocks) * PIXELS + tl.arange(0, PIXELS)
    h, w = (pixel // W)[:, None], (pixel % W)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    there = (pixel[:, None] < H * W) & (c < C)
    X = tl.load(x + h * of_row + w * of_column + c * of_channel, there)
    patch, inside = h // P * (W // P) + w // P, (h - h // P * P) * P + w - w // P * P
    tl.store(tokens + (patch * (P * P) + inside) * C + c, X, there)


@accepted(INVERSE)
@triton.jit
def image_by_channels_and_pixels(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    an_example = (H * W + PIXELS - 1) // PIXELS
    n = tl.program_id(axis=0) // an_example
    block = tl.program_id(axis=0) - n * an_example
    n = n.to(tl.int64)
    channel = (tl.program_id(axis=1) * CHANNELS + tl.arange(0, CHANNELS))[:, None]
    pixel = (block * PIXELS + tl.arange(0, PIXELS))[None, :]
    row, column = pixel // W, pixel - pixel // W * W
    mask = (channel < C) & (pixel < H * W)
    patch = row // P * (W // P) + column // P
    inside = row % P * P + column % P
    places = patch.to(tl.int64) * of_token + (inside * C + channel).to(tl.int64) * of_feature
    values = tl.load(tokens + n * of_example + places, mask=mask, other=0.0)
    tl.store(x + n * C * H * W + channel.to(tl.int64) * (H * W) + pixel, values, mask=mask)


@accepted(INVERSE)
@triton.jit
def back_in_two_halves_of_the_pixels(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    n = (tl.program_id(0) // blocks).to(tl.int64)
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)).to(tl.int64)
    half: tl.constexpr = PIXELS // 2 if PIXELS > 1 else 1
    for begin in range(0, PIXELS, half):
        pixel = tl.program_id(0) % blocks * PIXELS + begin + tl.arange(0, half)
        h, w = pixel // W, pixel % W
        there = (pixel < H * W)[:, None] & (c < C)[None, :]
        token = (h // P * (W // P) + w // P).to(tl.int64)
        source = tokens + n * of_example + token[:, None] * of_token
        feature = (h % P * P + w % P)[:, None] * C + c[None, :]
        X = tl.load(source + feature * of_feature, mask=there)
        tl.store(x + (n * C + c)[None, :] * (H * W) + pixel[:, None], X, mask=there)
