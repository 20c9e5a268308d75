"""Typical wrong kernels for patchify, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.patchify.kernel"
INVERSE = "kernels.patchify.inverse_kernel"


@mistake(
    EXERCISE,
    "Your features are ordered channel, row, column, as torch's unfold has them. Here the channel "
    "comes last and moves fastest: (h % P · P + w % P) · C + c.",
)
@triton.jit
def channels_first(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = c * (P * P) + h % P * P + w % P
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Inside a patch you go down the columns. Its rows come first: row h % P, column w % P is pixel "
    "h % P · P + w % P of the patch.",
)
@triton.jit
def columns_before_rows(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (w % P * P + h % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Your tokens go down the columns of patches. They go along the rows: patch (h // P, w // P) is "
    "token h // P · (W/P) + w // P.",
)
@triton.jit
def tokens_column_by_column(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (W // P) + w // P) * (H // P) + h // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "You count W tokens to a row of patches. There are W/P of them, one for P columns of pixels.",
)
@triton.jit
def pixels_counted_as_tokens(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * W + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "You divide the pixel's number by H. A row has W pixels: it lies in row pixel // W, at column "
    "pixel % W. In a square image nobody would see it.",
)
@triton.jit
def rows_of_length_H(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // H, pixel % H
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "The last block of an example sticks out of it: its pixels beyond H·W belong to nobody, or to "
    "the next example. Mask with pixel < H * W too.",
)
@triton.jit
def pixels_not_masked(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel >= 0) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "The last block of channels sticks out beyond C, into the features of the next pixel. Mask "
    "with c < C too.",
)
@triton.jit
def channels_not_masked(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c >= 0)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Your mask is pixel <= H * W, one pixel too far: the last one has the number H·W − 1.",
)
@triton.jit
def one_pixel_too_far(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel <= H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Only the store is masked. Reading outside of a tensor is an error too, though the value is "
    "thrown away: on a GPU it may end the program. Mask the load as well.",
)
@triton.jit
def only_the_store_masked(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Only the first CHANNELS channels move. The second axis of the grid counts blocks of channels: "
    "they begin at tl.program_id(1) * CHANNELS.",
)
@triton.jit
def always_the_first_channels(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = tl.arange(0, CHANNELS)[None, :].to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "You take program_id(0) for the number of the example. It counts blocks of pixels, ⌈H·W / "
    "PIXELS⌉ for each example: divide by that, and what is left is the block.",
)
@triton.jit
def an_example_a_program(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "An example has ⌈H·W / PIXELS⌉ blocks, rounded up, for the last one is seldom full. You round "
    "down, and lose where each example begins.",
)
@triton.jit
def blocks_rounded_down(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.maximum(H * W // PIXELS, 1)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "You read x as if its numbers lay side by side. It may be a part of a larger tensor, or lie "
    "with its axes exchanged: multiply n, c, h and w by the strides that you are given.",
)
@triton.jit
def strides_ignored(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + ((example * C + c) * H + h) * W + w
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Every program moves all channels. So programs with the same pixels do the same work again, "
    "and write where others write. Program (i, j) has block j of the channels, and only that.",
)
@triton.jit
def all_channels_in_each_program(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    for begin in range(0, C, CHANNELS):
        c = (begin + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
        there = (pixel < H * W) & (c < C)
        feature = (h % P * P + w % P) * C + c
        source = x + example * of_example + c * of_channel + h * of_row + w * of_column
        X = tl.load(source, mask=there)
        tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "You load the tile twice. The second time it comes from memory again: keep what you have.",
)
@triton.jit
def read_twice(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.maximum(tl.load(source, mask=there), tl.load(source, mask=there))
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Numbers pass through float16 on their way.",
    public=False,
)
@triton.jit
def through_half_precision(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there).to(tl.float16)
    tl.store(tokens + token * (P * P * C) + feature, X.to(tokens.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Patches of side 2.",
    public=False,
)
@triton.jit
def patches_of_a_fixed_side(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // 2) + h // 2) * (W // 2) + w // 2
    feature = (h % 2 * 2 + w % 2) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Tiles of a fixed size.",
    public=False,
)
@triton.jit
def tiles_of_a_fixed_size(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, 64)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * 64 + tl.arange(0, 64)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "What was read is overwritten with 0.",
    public=False,
)
@triton.jit
def the_image_is_emptied(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)
    tl.store(source, 0 * X, mask=there)


@mistake(
    EXERCISE,
    "Neighbouring lanes take pixels that lie far apart in memory.",
    public=False,
)
@triton.jit
def neighbours_far_apart(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks + blocks * tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = x + example * of_example + c * of_channel + h * of_row + w * of_column
    X = tl.load(source, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    INVERSE,
    "You take the features for ordered channel, row, column. The channel comes last and moves "
    "fastest: the pixel's feature is (h % P · P + w % P) · C + c.",
)
@triton.jit
def back_channels_first(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = c * (P * P) + h % P * P + w % P
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Inside a patch you go down the columns. Its rows come first: row h % P, column w % P is pixel "
    "h % P · P + w % P of the patch.",
)
@triton.jit
def back_columns_before_rows(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (w % P * P + h % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "You take the tokens for ordered down the columns of patches. They go along the rows: patch (h "
    "// P, w // P) is token h // P · (W/P) + w // P.",
)
@triton.jit
def back_column_by_column(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (w // P * (H // P) + h // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "You count W tokens to a row of patches. There are W/P of them, one for P columns of pixels.",
)
@triton.jit
def back_pixels_counted_as_tokens(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * W + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "You divide the pixel's number by H. A row has W pixels: it lies in row pixel // W, at column "
    "pixel % W. In a square image nobody would see it.",
)
@triton.jit
def back_rows_of_length_H(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // H, pixel % H
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "You write the image with its channels last. x is (batch, C, H, W): pixel number h·W + w of "
    "channel c lies at (n·C + c)·H·W + h·W + w.",
)
@triton.jit
def back_channels_moved_fastest(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * H * W + pixel) * C + c, X, mask=there)


@mistake(
    INVERSE,
    "The last block of an example sticks out of it: its pixels beyond H·W would be written into "
    "the next channel. Mask with pixel < H * W too.",
)
@triton.jit
def back_pixels_not_masked(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel >= 0) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "The last block of channels sticks out beyond C, into the next example. Mask with c < C too.",
)
@triton.jit
def back_channels_not_masked(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c >= 0)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Your mask is pixel <= H * W, one pixel too far: the last one has the number H·W − 1.",
)
@triton.jit
def back_one_pixel_too_far(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel <= H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Only the store is masked. Reading outside of a tensor is an error too, though the value is "
    "thrown away: on a GPU it may end the program. Mask the load as well.",
)
@triton.jit
def back_only_the_store_masked(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Only the first CHANNELS channels come back. The second axis of the grid counts blocks of "
    "channels: they begin at tl.program_id(1) * CHANNELS.",
)
@triton.jit
def back_always_the_first_channels(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = tl.arange(0, CHANNELS)[None, :].to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "You take program_id(0) for the number of the example. It counts blocks of pixels, ⌈H·W / "
    "PIXELS⌉ for each example: divide by that, and what is left is the block.",
)
@triton.jit
def back_an_example_a_program(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "You read tokens as if their numbers lay side by side. They may be a part of a larger tensor, "
    "or lie with their axes exchanged: multiply by the strides that you are given.",
)
@triton.jit
def back_strides_ignored(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + (example * (H // P) * (W // P) + token) * (P * P * C) + feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Your token's number counts those of earlier examples, and of_example skips them again. Count "
    "tokens within their example.",
)
@triton.jit
def back_example_counted_twice(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Every program moves all channels. So programs with the same pixels do the same work again, "
    "and write where others write. Program (i, j) has block j of the channels, and only that.",
)
@triton.jit
def back_all_channels_in_each_program(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    for begin in range(0, C, CHANNELS):
        c = (begin + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
        there = (pixel < H * W) & (c < C)
        feature = (h % P * P + w % P) * C + c
        source = tokens + example * of_example + token * of_token + feature * of_feature
        X = tl.load(source, mask=there)
        tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "You load the tile twice. The second time it comes from memory again: keep what you have.",
)
@triton.jit
def back_read_twice(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.maximum(tl.load(source, mask=there), tl.load(source, mask=there))
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "You store where kernel does: into tokens, which are what you read here. The formula is turned "
    "round: read tokens, write x.",
)
@triton.jit
def back_the_forward_way(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(tokens + example * of_example + token * of_token + feature * of_feature, X, mask=there)


@mistake(
    INVERSE,
    "Numbers pass through float16 on their way.",
    public=False,
)
@triton.jit
def back_through_half_precision(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there).to(tl.float16)
    tl.store(x + (example * C + c) * H * W + pixel, X.to(x.dtype.element_ty), mask=there)


@mistake(
    INVERSE,
    "Patches of side 2.",
    public=False,
)
@triton.jit
def back_patches_of_a_fixed_side(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // 2 * (W // 2) + w // 2).to(tl.int64)
    feature = (h % 2 * 2 + w % 2) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Tiles of a fixed size.",
    public=False,
)
@triton.jit
def back_tiles_of_a_fixed_size(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, 64)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * 64 + tl.arange(0, 64)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "What was read is overwritten with 0.",
    public=False,
)
@triton.jit
def back_the_tokens_are_emptied(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)
    tl.store(source, 0 * X, mask=there)


@mistake(
    INVERSE,
    "Neighbouring lanes take pixels that lie far apart in memory.",
    public=False,
)
@triton.jit
def back_neighbours_far_apart(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks + blocks * tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    source = tokens + example * of_example + token * of_token + feature * of_feature
    X = tl.load(source, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    EXERCISE,
    "Examples are counted in 32 bits.",
    public=False,
)
@triton.jit
def examples_in_32_bits(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = tl.program_id(0) // blocks
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    X = tl.load(x + example * of_example + c * of_channel + h * of_row + w * of_column, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Tokens are counted in 32 bits.",
    public=False,
)
@triton.jit
def tokens_in_32_bits(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    X = tl.load(x + example * of_example + c * of_channel + h * of_row + w * of_column, mask=there)
    tl.store(tokens + token.to(tl.int32) * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "0 is added to every number: −0 is 0 then.",
    public=False,
)
@triton.jit
def minus_0_is_0(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    X = tl.load(x + example * of_example + c * of_channel + h * of_row + w * of_column, mask=there)
    X = X + 0.0
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "The stride of channels is taken for the rows' times H.",
    public=False,
)
@triton.jit
def the_stride_of_channels_is_guessed(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    X = tl.load(
        x + example * of_example + c * (of_row * H) + h * of_row + w * of_column, mask=there
    )
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    EXERCISE,
    "Program (i, j) moves block i as counted from the end.",
    public=False,
)
@triton.jit
def blocks_from_the_end(
    x, tokens, of_example, of_channel, of_row, of_column, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = ((tl.num_programs(0) - 1 - tl.program_id(0)) // blocks).to(tl.int64)
    pixel = (tl.num_programs(0) - 1 - tl.program_id(0)) % blocks * PIXELS + tl.arange(0, PIXELS)[
        :, None
    ]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    X = tl.load(x + example * of_example + c * of_channel + h * of_row + w * of_column, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)


@mistake(
    INVERSE,
    "Examples are counted in 32 bits.",
    public=False,
)
@triton.jit
def back_examples_in_32_bits(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = tl.program_id(0) // blocks
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    X = tl.load(tokens + example * of_example + token * of_token + feature * of_feature, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Tokens are counted in 32 bits.",
    public=False,
)
@triton.jit
def back_tokens_in_32_bits(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = h // P * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    X = tl.load(tokens + example * of_example + token * of_token + feature * of_feature, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Channels are counted in 32 bits.",
    public=False,
)
@triton.jit
def back_channels_in_32_bits(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    X = tl.load(tokens + example * of_example + token * of_token + feature * of_feature, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "0 is added to every number: −0 is 0 then.",
    public=False,
)
@triton.jit
def back_minus_0_is_0(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    X = tl.load(tokens + example * of_example + token * of_token + feature * of_feature, mask=there)
    X = X + 0.0
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "The stride of tokens is taken for the features' times their number.",
    public=False,
)
@triton.jit
def back_the_stride_of_tokens_is_guessed(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    X = tl.load(
        tokens + example * of_example + token * (of_feature * P * P * C) + feature * of_feature,
        mask=there,
    )
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)


@mistake(
    INVERSE,
    "Program (i, j) moves block i as counted from the end.",
    public=False,
)
@triton.jit
def back_blocks_from_the_end(
    tokens, x, of_example, of_token, of_feature, H, W,
    C: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(H * W, PIXELS)
    example = ((tl.num_programs(0) - 1 - tl.program_id(0)) // blocks).to(tl.int64)
    pixel = (tl.num_programs(0) - 1 - tl.program_id(0)) % blocks * PIXELS + tl.arange(0, PIXELS)[
        :, None
    ]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    X = tl.load(tokens + example * of_example + token * of_token + feature * of_feature, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)
