"""Hidden grader of chapter 14, kernels.patchify: the convolutions that patches stand for, the
permutation that they are, and the order of the features."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import DTYPES, POINTWISE, Exact, Stages, checked

SHAPES = (  # batch, channels, height, width, and the side of a patch
    (1, 1, 1, 1, 1),
    (1, 7, 2, 2, 2),
    (2, 1, 33, 31, 1),  # 1023 pixels
    (2, 1, 32, 32, 2),
    (1, 1, 25, 41, 1),  # 1025
    (1, 4, 48, 22, 2),  # three blocks of pixels
    (2, 37, 10, 15, 5),  # three, and two of channels, all of them ragged
    (1, 2, 49, 56, 7),
)


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
    return Stages(student, "kernels.patchify.patchify", Exact(tokens_of, wrt=(0,)))


def back(student):
    return Stages(student, "kernels.patchify.unpatchify", Exact(image_of, wrt=(0,)))


def image(generator, shape, dtype=torch.float32):
    return torch.randn(shape, generator=generator).to(dtype)


def as_tokens(x, patch):
    """The arguments of `unpatchify` that give this image."""
    return tokens_of(x, patch), patch, *x.shape[1:]


def any_shape(generator):
    """A batch of images of a random size, and a side of patches that fill them."""
    patch, channels = draws.whole(generator, 2, 5), draws.whole(generator, 2, 7)
    return (
        2,
        channels,
        draws.whole(generator, 2, 5) * patch,
        draws.whole(generator, 5, 8) * patch,
    ), patch


def came(student, name, *args):
    """The one result of a wrapper."""
    function = student.function(f"kernels.patchify.{name}")
    results = checked(student.instruments.observe.call(function, [*args]))["results"]
    expect.true(len(results) == 1, "one tensor must come", len(results), 1)
    return results[0]


def launched(student, name, numbers, like, strides, sizes, tile, **options):
    """What a kernel launched by the test's hand leaves in a tensor of 7s, with tiles of this size.

    Args:
        numbers: the memory that it reads, of these strides.
        like: shaped like what it writes.
        sizes: batch, C, H, W and P.
        options: of `by_hand.left`.
    """
    batch, C, H, W, P = sizes
    grid = [batch * -(-H * W // tile[0]), -(-C // tile[1])]
    constants = {"C": C, "P": P, "PIXELS": tile[0], "CHANNELS": tile[1]}
    given = [numbers, torch.full_like(like, 7.0), *strides, H, W]
    says = f"with tiles of {tile[0]} pixels and {tile[1]} channels"
    name = f"kernels.patchify.{name}"
    return left(student, name, grid, given, constants, says, **options)[1]


def same_bits(got, want, says):
    """Equal to the last bit, where a NaN is only a NaN."""
    expect.true(isinstance(got, torch.Tensor) and got.shape == want.shape, says)
    expect.true(got.dtype == want.dtype, "the dtype changes on the way", got.dtype, want.dtype)
    bits = torch.int16 if want.element_size() == 2 else torch.int32
    ours, theirs = (k.contiguous().view(bits).masked_fill(k.isnan(), 7) for k in (got, want))
    expect.true(torch.equal(ours, theirs), says)


def of_every_kind(generator, shape, dtype):
    """Numbers of a dtype: ordinary ones, the largest and smallest, −0, infinity and NaN."""
    x = 100 * image(generator, shape, dtype)
    kinds = torch.finfo(dtype)
    odd = [-0.0, float("inf"), float("-inf"), float("nan"), kinds.max, kinds.min, kinds.tiny]
    odd.append(kinds.tiny * kinds.eps)
    flat = x.flatten()
    flat[torch.randperm(len(flat), generator=generator)[: len(odd)]] = torch.tensor(odd).to(dtype)
    return flat.reshape(shape)


def block_of(sizes, tile, i, j):
    """Which numbers of a batch of images program (i, j) moves: 1, and 0 for the others."""
    batch, C, H, W, _ = sizes
    blocks, mine = -(-H * W // tile[0]), torch.zeros(batch, C, H * W)
    pixels = slice(i % blocks * tile[0], (i % blocks + 1) * tile[0])
    mine[i // blocks, j * tile[1] : (j + 1) * tile[1], pixels] = 1
    return mine.reshape(batch, C, H, W)


def some_program(generator, shape, tile):
    """The last block of the first example with the first channels, or one of the second example
    with other channels."""
    blocks = -(-shape[2] * shape[3] // tile[0])
    return (blocks - 1, 0), (
        blocks + draws.whole(generator, 0, blocks),
        -(-shape[1] // tile[1]) - 1,
    )


# --- kernels.patchify.kernel ----------------------------------------------------------------------


@patchify(weight=3)
def test_every_size(student, generator):
    """correct: tokens of images of any size, smaller and larger than a tile"""
    shape, patch = any_shape(generator)
    for *sizes, side in (*SHAPES, (*shape, patch)):
        forward(student).correct(image(generator, sizes), side)


@patchify
def test_every_number_arrives_once(student, generator):
    """correct: tokens are the numbers of their image, each once, in whatever order"""
    (_, C, H, W), patch = any_shape(generator)
    x = torch.arange(3.0 * C * H * W).reshape(3, C, H, W)
    tokens = came(student, "patchify", x, patch)
    expect.tensor(tokens, (3, H * W // patch**2, patch * patch * C), "the tokens")
    says = "some numbers of an image are lost on the way, others come twice"
    expect.close(tokens.flatten(1).sort(1).values, x.flatten(1), says, atol=0, rtol=0)


@patchify
def test_each_patch_is_one_token(student, generator):
    """correct: token i holds the pixels of patch i, counted row by row"""
    (batch, C, H, W), patch = any_shape(generator)
    length = H * W // patch**2
    number = torch.arange(float(batch * length)).reshape(batch, 1, H // patch, W // patch)
    x = number.repeat_interleave(patch, 2).repeat_interleave(patch, 3).repeat(1, C, 1, 1)
    tokens = came(student, "patchify", x, patch)
    want = number.reshape(batch, length, 1).expand(-1, -1, patch * patch * C)
    expect.close(tokens, want, "a token holds pixels of another patch", atol=0, rtol=0)


@patchify(weight=2)
def test_a_convolution_with_its_own_stride(student, generator):
    """correct: a linear map of tokens is a convolution whose stride is its size"""
    shape, patch = any_shape(generator)
    x = image(generator, shape)
    weight = torch.randn(5, shape[1], patch, patch, generator=generator, dtype=torch.float64)
    tokens = came(student, "patchify", x, patch)
    expect.tensor(tokens, tokens_of(x, patch).shape, "the tokens")
    embedded = tokens.double() @ weight.permute(2, 3, 1, 0).reshape(-1, 5)
    want = F.conv2d(x.double(), weight, stride=patch).flatten(2).transpose(1, 2)
    says = "features are not in the order (row, column, channel), or tokens not in that of rows"
    expect.close(embedded, want, says, atol=1e-9, rtol=1e-9)


@patchify
def test_every_dtype(student, generator):
    """correct: float32, float16 and bfloat16 arrive to the last bit"""
    shape, patch = any_shape(generator)
    for dtype in DTYPES:
        x = 100 * image(generator, shape, dtype)
        says = f"a number of {dtype} changes on the way, where it only has to move"
        want = tokens_of(x, patch).double()
        expect.close(came(student, "patchify", x, patch), want, says, atol=0, rtol=0)


@patchify
@pytest.mark.parametrize("layout", ["strided", "transposed", "expanded"])
def test_any_layout(student, generator, layout):
    """correct: for strided, transposed and expanded images too"""
    shape, patch = any_shape(generator)
    forward(student).correct(image(generator, shape), patch, layout=layout)


@patchify
def test_channels_last_in_other_tiles(student, generator):
    """correct: for images that lie with their channels last, in tiles of another size"""
    shape, patch = any_shape(generator)
    x = image(generator, shape)
    _, C, _, W = shape
    numbers = x.permute(0, 2, 3, 1).contiguous()
    strides = [numbers[0].numel(), 1, W * C, C]
    want = tokens_of(x, patch)
    for tile in ((64, 2), (32, 8)):
        sizes = (*shape, patch)
        got = launched(student, "kernel", numbers.flatten(), want, strides, sizes, tile)
        says = f"with tiles of {tile[0]} pixels and {tile[1]} channels the tokens are wrong"
        expect.close(got, want, says, atol=0, rtol=0)


@patchify
def test_strides_of_0(student, generator):
    """correct: along an axis whose stride is 0 all numbers are one"""
    sizes = (2, 3, 4, 10, 2)
    for axis in range(4):
        x = image(generator, sizes[:4]).narrow(axis, 0, 1)
        strides = [*x.contiguous().stride()]
        strides[axis] = 0
        want = tokens_of(x.expand(sizes[:4]), 2)
        got = launched(student, "kernel", x.flatten(), want, strides, sizes, (16, 2))
        says = f"where stride {axis} of x is 0 the tokens are wrong"
        expect.close(got, want, says, atol=0, rtol=0)


@patchify(weight=2)
def test_each_program_has_its_own_block(student, generator):
    """correct: program (i, j) moves block i of pixels and block j of channels, nothing else"""
    shape, patch = any_shape(generator)
    x, sizes, tile = image(generator, shape), (*shape, patch), (16, 2)
    want = tokens_of(x, patch)
    for i, j in some_program(generator, shape, tile):
        mine, where = tokens_of(block_of(sizes, tile, i, j), patch), {"programs": [[i, j]]}
        got = launched(student, "kernel", x.flatten(), want, x.stride(), sizes, tile, **where)
        says = f"program ({i}, {j}) does not move its own block"
        expect.close(got, torch.where(mine > 0, want, 7.0), says, atol=0, rtol=0)


@patchify
def test_every_bit_arrives(student, generator):
    """correct: infinity, NaN, −0 and the smallest numbers arrive as they are"""
    shape, patch = any_shape(generator)
    for dtype in DTYPES:
        x = of_every_kind(generator, shape, dtype)
        says = f"a number of {dtype} changes on the way, where it only has to move"
        same_bits(came(student, "patchify", x, patch), tokens_of(x, patch), says)


@patchify(weight=2)
def test_more_examples_than_32_bits_can_count(student, generator):
    """correct: in an example that begins beyond element 2³¹ places are still right"""
    C, H, W, P, tile = 4, 64, 96, 2, (64, 4)
    blocks, of_example = H * W // tile[0], C * H * W
    n = 2**31 // of_example + draws.whole(generator, 9, 2**31 // of_example)
    x, program = image(generator, (1, C, H, W)), n * blocks + draws.whole(generator, 0, blocks)
    want = tokens_of(x, P)
    mine = tokens_of(block_of((1, C, H, W, P), tile, program % blocks, 0), P)
    sizes, begins = (n + 9, C, H, W, P), [n * of_example] * 2
    where = {"programs": [[program, 0]], "begins": begins}
    got = launched(student, "kernel", x.flatten(), want, x.stride(), sizes, tile, **where)
    says = f"example {n} begins beyond element 2³¹: its tokens are wrong"
    expect.close(got, torch.where(mine > 0, want, 7.0), says, atol=0, rtol=0)


@patchify
def test_the_gradient_of_the_inverse(student, generator):
    """backward: your kernel takes the gradient of unpatchify back to tokens"""
    shape, patch = any_shape(generator)
    given = as_tokens(image(generator, shape), patch)

    def upstream(like):
        return torch.randn(like.shape, generator=generator)

    back(student).backward(*given, upstream=upstream)
    back(student).backward(*given, layout="expanded")


@patchify(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    forward(student).safe(image(generator, (2, 33 + draws.whole(generator, 0, 20), 9, 15)), 3)


@patchify
def test_honest(student, generator):
    """honest: the kernel moves all of the image, every time"""
    x = image(generator, (2, 2, 5, 20, 16))
    forward(student).honest((x[0], 4), (x[1], 4))


@patchify
def test_lean(student, generator):
    """lean: every number is read once and written once"""
    channels = 33 + draws.whole(generator, 0, 20)
    forward(student).lean(POINTWISE, image(generator, (2, channels, 10, 12)), 2)


@patchify
def test_compiles(student, generator):
    """compiles: for an H100, with loads and stores of 128 bits and without spills"""
    small = (image(generator, (2, 3, 6, 4)), 2)
    forward(student).compiles(small, (image(generator, (2, 16, 64, 64)), 2))


# --- kernels.patchify.inverse_kernel --------------------------------------------------------------


@inverse(weight=2)
def test_images_of_every_size(student, generator):
    """correct: images of any size, smaller and larger than a tile"""
    shape, patch = any_shape(generator)
    for *sizes, side in (*SHAPES, (*shape, patch)):
        back(student).correct(*as_tokens(image(generator, sizes), side))


@inverse(weight=2)
def test_it_is_the_inverse(student, generator):
    """correct: it undoes patchify, bit for bit, and patchify undoes it"""
    shape, patch = any_shape(generator)
    for dtype in DTYPES:
        x = 100 * image(generator, shape, dtype)
        tokens = came(student, "patchify", x, patch)
        again = came(student, "unpatchify", tokens, patch, *shape[1:])
        says = "an image cut into patches and put together again is another one"
        expect.close(again, x.double(), says, atol=0, rtol=0)
    tokens = image(generator, (2, shape[2] * shape[3] // patch**2, patch * patch * shape[1]))
    x = came(student, "unpatchify", tokens, patch, *shape[1:])
    again = came(student, "patchify", x, patch)
    expect.close(again, tokens, "tokens put together and cut again are others", atol=0, rtol=0)


@inverse
def test_every_feature_arrives_once(student, generator):
    """correct: an image is the numbers of its tokens, each once, in whatever order"""
    (_, C, H, W), patch = any_shape(generator)
    tokens = torch.arange(3.0 * C * H * W).reshape(3, -1, patch * patch * C)
    x = came(student, "unpatchify", tokens, patch, C, H, W)
    expect.tensor(x, (3, C, H, W), "the image")
    says = "some numbers of an image are lost on the way, others come twice"
    expect.close(x.flatten(1).sort(1).values, tokens.flatten(1), says, atol=0, rtol=0)


@inverse
def test_each_token_is_one_patch(student, generator):
    """correct: token i fills patch i, counted row by row"""
    (batch, C, H, W), patch = any_shape(generator)
    length = H * W // patch**2
    number = torch.arange(float(batch * length)).reshape(batch, length, 1)
    tokens = number.repeat(1, 1, patch * patch * C)
    x = came(student, "unpatchify", tokens, patch, C, H, W)
    grid = number.reshape(batch, 1, H // patch, W // patch)
    want = grid.repeat_interleave(patch, 2).repeat_interleave(patch, 3).expand(-1, C, -1, -1)
    expect.close(x, want, "a patch holds numbers of another token", atol=0, rtol=0)


@inverse(weight=2)
def test_a_transposed_convolution(student, generator):
    """correct: patches of a linear map are a transposed convolution, as at the end of DiT"""
    (batch, C, H, W), patch = any_shape(generator)
    z = torch.randn(batch, 5, H // patch, W // patch, generator=generator)
    weight = torch.randn(5, C, patch, patch, generator=generator)
    # Small whole numbers, the products of which float32 adds exactly: only places can be wrong.
    z, weight = z.mul(4).round(), weight.mul(4).round()
    tokens = z.flatten(2).transpose(1, 2) @ weight.permute(0, 2, 3, 1).flatten(1)
    x = came(student, "unpatchify", tokens, patch, C, H, W)
    want = F.conv_transpose2d(z.double(), weight.double(), stride=patch)
    says = "features are not taken in the order (row, column, channel), or tokens not row by row"
    expect.close(x, want, says, atol=0, rtol=0)


@inverse
@pytest.mark.parametrize("layout", ["strided", "transposed", "expanded"])
def test_tokens_of_any_layout(student, generator, layout):
    """correct: for strided, transposed and expanded tokens too"""
    shape, patch = any_shape(generator)
    back(student).correct(*as_tokens(image(generator, shape), patch), layout=layout)


@inverse
def test_other_tiles(student, generator):
    """correct: in tiles of another size"""
    shape, patch = any_shape(generator)
    x = image(generator, shape)
    tokens = tokens_of(x, patch)
    for tile in ((64, 2), (32, 8)):
        sizes, strides = (*shape, patch), tokens.stride()
        got = launched(student, "inverse_kernel", tokens, x, strides, sizes, tile)
        says = f"with tiles of {tile[0]} pixels and {tile[1]} channels the image is wrong"
        expect.close(got, x, says, atol=0, rtol=0)


@inverse
def test_token_strides_of_0(student, generator):
    """correct: along an axis whose stride is 0 all numbers are one"""
    sizes, shape = (2, 3, 4, 10, 2), (2, 10, 12)
    for axis in range(3):
        tokens = image(generator, shape).narrow(axis, 0, 1)
        strides = [*tokens.contiguous().stride()]
        strides[axis] = 0
        want = image_of(tokens.expand(shape), 2, 3, 4, 10)
        got = launched(student, "inverse_kernel", tokens.flatten(), want, strides, sizes, (16, 2))
        says = f"where stride {axis} of tokens is 0 the image is wrong"
        expect.close(got, want, says, atol=0, rtol=0)


@inverse(weight=2)
def test_programs_have_their_own_blocks(student, generator):
    """correct: program (i, j) moves block i of pixels and block j of channels, nothing else"""
    shape, patch = any_shape(generator)
    x, sizes, tile = image(generator, shape), (*shape, patch), (16, 2)
    tokens = tokens_of(x, patch)
    for i, j in some_program(generator, shape, tile):
        mine, where = block_of(sizes, tile, i, j), {"programs": [[i, j]]}
        strides = tokens.stride()
        got = launched(student, "inverse_kernel", tokens, x, strides, sizes, tile, **where)
        says = f"program ({i}, {j}) does not move its own block"
        expect.close(got, torch.where(mine > 0, x, 7.0), says, atol=0, rtol=0)


@inverse
def test_every_bit_comes_back(student, generator):
    """correct: infinity, NaN, −0 and the smallest numbers come back as they are"""
    shape, patch = any_shape(generator)
    for dtype in DTYPES:
        x = of_every_kind(generator, shape, dtype)
        says = f"a number of {dtype} changes on the way, where it only has to move"
        same_bits(came(student, "unpatchify", *as_tokens(x, patch)), x, says)


@inverse(weight=2)
@pytest.mark.parametrize("far", ["examples", "tokens", "channels"])
def test_places_beyond_32_bits(student, generator, far):
    """correct: where places of examples, tokens or channels are beyond 2³¹ they are still right"""
    C, H, W, P, tile = {
        "examples": (64, 1, 1, 1, (1, 64)),
        "tokens": (5, 64, 96, 4, (1, 1)),
        "channels": (66000, 256, 256, 4, (1, 1)),
    }[far]
    n = 2**25 + draws.whole(generator, 9, 2**24) if far == "examples" else 0
    c = C - tile[1] - (draws.whole(generator, 0, 4) if tile[1] == 1 else 0)
    h = 0 if far == "channels" else H - 1
    w = W - 1 - (draws.whole(generator, 0, 4) if W > 1 else 0)
    token, feature = h // P * (W // P) + w // P, (h % P * P + w % P) * C + c
    strides = {
        "examples": [C, C, 1],
        "tokens": [0, 2**31 // max(token, 1) + 999, 1],
        "channels": [0, 0, 2**31 // max(feature, 1) + 999],
    }[far]
    numbers = 1 + torch.rand(tile[1], generator=generator)
    source = n * strides[0] + token * strides[1] + feature * strides[2]
    target, program = ((n * C + c) * H + h) * W + w, [(n * H + h) * W + w, c // tile[1]]
    where = {"programs": [program], "begins": [source, target]}
    sizes = (n + 9, C, H, W, P)
    got = launched(student, "inverse_kernel", numbers, numbers, strides, sizes, tile, **where)
    expect.close(got, numbers, f"{far} whose places are beyond 2³¹ are lost", atol=0, rtol=0)


@inverse
def test_the_gradient_of_patchify(student, generator):
    """backward: your kernel takes the gradient of patchify back to the image"""
    shape, patch = any_shape(generator)
    x = image(generator, shape)

    def upstream(like):
        return torch.randn(like.shape, generator=generator)

    forward(student).backward(x, patch, upstream=upstream)
    forward(student).backward(x, patch, layout="expanded")


@inverse(weight=2)
def test_back_safely(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    x = image(generator, (2, 33 + draws.whole(generator, 0, 20), 9, 15))
    back(student).safe(*as_tokens(x, 3))


@inverse
def test_back_honestly(student, generator):
    """honest: the kernel moves all of the tokens, every time"""
    x = image(generator, (2, 2, 5, 20, 16))
    back(student).honest(as_tokens(x[0], 4), as_tokens(x[1], 4))


@inverse
def test_back_lean(student, generator):
    """lean: every number is read once and written once"""
    x = image(generator, (2, 33 + draws.whole(generator, 0, 20), 10, 12))
    back(student).lean(POINTWISE, *as_tokens(x, 2))


@inverse
def test_back_compiles(student, generator):
    """compiles: for an H100, with loads and stores of 128 bits and without spills"""
    small = as_tokens(image(generator, (2, 3, 6, 4)), 2)
    back(student).compiles(small, as_tokens(image(generator, (2, 16, 64, 64)), 2))
