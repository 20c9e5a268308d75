"""Typical wrong answers to chapter 09, tokens, each with the sentence that explains it."""

import math

import torch

from cs231n_gen import dit_tokens
from cs231n_gen.checking.variants import mistake, several

PATCHIFY = "dit_tokens.patchify"
UNPATCHIFY = "dit_tokens.unpatchify"
TIMESTEP = "dit_tokens.timestep_embedding"
POSITION = "dit_tokens.position_embedding"
ROTATE = "dit_tokens.rotate"


def image_fits(x, patch):
    if x.dim() != 4:
        raise ValueError("x must have four axes")
    sides_fit(patch, *x.shape[2:])


def sides_fit(patch, height, width):
    if patch <= 0 or height % patch or width % patch:
        raise ValueError("patch must divide both sides")


def tokens_fit(tokens, patch, height, width):
    if tokens.dim() != 3:
        raise ValueError("tokens must have three axes")
    sides_fit(patch, height, width)
    if tokens.shape[1] != height * width // patch**2 or tokens.shape[2] % patch**2:
        raise ValueError("tokens must be those of the image")


def even(t, dim, scale=1000.0, base=10000.0):
    if dim <= 0 or dim % 2:
        raise ValueError("dim must be positive and even")


def grid_fits(height, width):
    if height <= 0 or width <= 0:
        raise ValueError("height and width must be positive")


def place_fits(height, width, dim, base=10000.0):
    grid_fits(height, width)
    if dim <= 0 or dim % 4:
        raise ValueError("dim must be a positive multiple of 4")


def turn_fits(x, height, width, base=10000.0):
    grid_fits(height, width)
    if x.dim() < 2 or x.shape[-2] != height * width or x.shape[-1] % 4:
        raise ValueError("x must be the tokens of the grid")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    PATCHIFY: image_fits,
    UNPATCHIFY: tokens_fit,
    TIMESTEP: even,
    POSITION: place_fits,
    ROTATE: turn_fits,
}

# --- dit_tokens.patchify, dit_tokens.unpatchify -------------------------------------------------


def permuted(*axes):
    """Patches whose axes (batch, channels, i, p, j, q) are put in another order."""

    def patchify(x, patch):
        B, C, H, W = x.shape
        cut = x.reshape(B, C, H // patch, patch, W // patch, patch)
        return cut.permute(axes).reshape(B, H * W // patch**2, patch * patch * C)

    return patchify


CHANNELS_FIRST = (
    "The features of a token run along its channels first, as they would in the weights of a "
    "convolution. Here the channels of a pixel are side by side: they come last."
)
patches = several(
    PATCHIFY,
    ("channels_first", CHANNELS_FIRST, permuted(0, 2, 4, 1, 3, 5)),
    (
        "columns_of_a_patch_first",
        "The features of a token run along its columns first: p and q are exchanged.",
        permuted(0, 2, 4, 5, 3, 1),
    ),
    (
        "tokens_along_columns",
        "Tokens run down the columns of patches. They run along the rows.",
        permuted(0, 4, 2, 3, 5, 1),
    ),
    (
        "transposed",
        "Rows and columns are exchanged throughout, for tokens and in each token.",
        permuted(0, 4, 2, 5, 3, 1),
    ),
    (
        "channels_between",
        "Channels come between the rows and the columns of a patch: they come last.",
        permuted(0, 2, 4, 3, 1, 5),
    ),
    (
        "pixels_far_apart",
        "A token takes pixels that lie far apart, a row of them from each part of the image: cut "
        "a side into (H/P, P), in this order.",
        lambda x, patch: (
            x.reshape(*x.shape[:2], patch, x.shape[2] // patch, patch, x.shape[3] // patch)
            .permute(0, 3, 5, 2, 4, 1)
            .flatten(3)
            .flatten(1, 2)
        ),
    ),
    (
        "numbers_as_they_lie",
        "The numbers are left as they lie in memory, so that a token has parts of rows: an order "
        "of axes changes by `permute`, and not by `reshape`.",
        lambda x, patch: x.reshape(len(x), -1, patch * patch * x.shape[1]),
    ),
    (
        "pixels_as_they_lie",
        "Channels are last, but pixels are left as they lie along the rows of the image, so that a "
        "token is a part of a row and no patch.",
        lambda x, patch: x.movedim(1, -1).reshape(len(x), -1, patch * patch * x.shape[1]),
    ),
    (
        "patches_from_below",
        "The rows of patches come from below: row 0 is at the top.",
        lambda x, patch: (
            dit_tokens.patchify(x, patch)
            .unflatten(1, (x.shape[2] // patch, -1))
            .flip(1)
            .flatten(1, 2)
        ),
    ),
)


@mistake(PATCHIFY, "The tokens are cut out of the graph: no gradient reaches the image.", sure=True)
def patches_cut_out(x, patch):
    return dit_tokens.patchify(x.detach(), patch)


@mistake(
    PATCHIFY,
    "What cannot be cut is not refused: leave the lines above yours as they are.",
    public=False,
    bare=True,
)
def cut_anyway(x, patch):
    P = max(abs(patch), 1)
    x = x.reshape(-1, *x.shape[-3:]) if x.dim() > 2 else x[None, None]
    H, W = (max(side // P, 1) * P for side in x.shape[2:])
    return torch.zeros(len(x), max(H * W // P**2, 1), P * P * x.shape[1], dtype=x.dtype)


def rebuilt(of, *axes):
    """Images of tokens cut into the axes `of`, put in another order."""

    def unpatchify(tokens, patch, height, width):
        C = tokens.shape[2] // patch**2
        sizes = {"i": height // patch, "j": width // patch, "p": patch, "q": patch, "c": C}
        x = tokens.reshape(len(tokens), *(sizes[name] for name in of))
        order = axes or [1 + of.index(name) for name in "cipjq"]
        return x.permute(0, *order).reshape(len(tokens), C, height, width)

    return unpatchify


images = several(
    UNPATCHIFY,
    (
        "read_channels_first",
        "You take the features for channels first. The channels of a pixel are side by side.",
        rebuilt("ijcpq"),
    ),
    (
        "read_columns_of_a_patch_first",
        "You read the features down the columns of a patch: p and q are exchanged.",
        rebuilt("ijqpc"),
    ),
    (
        "read_tokens_along_columns",
        "Tokens fill the columns of the image. They fill its rows.",
        rebuilt("jipqc"),
    ),
    (
        "read_transposed",
        "Rows and columns are exchanged, for tokens and in each token.",
        rebuilt("jiqpc"),
    ),
    (
        "grid_of_columns_and_rows",
        "The tokens are cut into W/P rows of H/P: it is H/P rows of W/P.",
        lambda tokens, patch, height, width: dit_tokens.unpatchify(
            tokens, patch, width, height
        ).reshape(len(tokens), -1, height, width),
    ),
    (
        "patch_rows_beside_one_another",
        "i and p are side by side only after `permute`: the axes must end as (c, i, p, j, q).",
        rebuilt("ijpqc", 5, 1, 2, 3, 4),
    ),
    (
        "rows_of_patches_mixed",
        "Rows of a patch and rows of the grid are exchanged, and columns too: a row of the image "
        "is i P + p, and a column j P + q.",
        rebuilt("ijpqc", 5, 3, 1, 4, 2),
    ),
    (
        "left_as_they_lie",
        "The numbers are left as they lie in memory: an order of axes changes by `permute`, and "
        "not by `reshape`.",
        lambda tokens, patch, height, width: tokens.reshape(len(tokens), -1, height, width),
    ),
)


@mistake(
    UNPATCHIFY,
    "Height and width are taken to be the same: use those that are given.",
    sure=True,
)
def square_images(tokens, patch, height, width):
    return rebuilt("ijpqc")(tokens, patch, *2 * [math.isqrt(tokens.shape[1]) * patch])


@mistake(UNPATCHIFY, "The images are cut out of the graph: no gradient reaches tokens.", sure=True)
def images_cut_out(tokens, patch, height, width):
    return dit_tokens.unpatchify(tokens, patch, height, width).detach()


@mistake(
    UNPATCHIFY,
    "Tokens that do not fit are not refused: leave the lines above yours as they are.",
    public=False,
    bare=True,
)
def rebuilt_anyway(tokens, patch, height, width):
    return torch.zeros(len(tokens), 1, height, width, dtype=tokens.dtype)


# --- dit_tokens.timestep_embedding --------------------------------------------------------------


def levels(omega=None, join=None, turn=lambda angle: angle):
    """Embeddings with other frequencies, or joined otherwise."""

    def timestep_embedding(t, dim, scale=1000.0, base=10000.0):
        h = dim // 2
        k = torch.arange(h, dtype=torch.float64)
        w = base ** (-k / h) if omega is None else omega(k, h, base)
        angle = turn(scale * t[..., None] * w.to(t.dtype))
        if join is None:
            return torch.cat([angle.cos(), angle.sin()], dim=-1)
        return join(angle.cos(), angle.sin())

    return timestep_embedding


timesteps = several(
    TIMESTEP,
    (
        "sines_first",
        "Sines come first. Here it is the cosines, then the sines.",
        levels(join=lambda c, s: torch.cat([s, c], dim=-1)),
    ),
    (
        "in_turns",
        "Cosines and sines take turns: all cosines come first, then all sines.",
        levels(join=lambda c, s: torch.stack([c, s], dim=-1).flatten(-2)),
    ),
    (
        "sines_and_cosines_in_turns",
        "Sines and cosines take turns: all cosines come first, then all sines.",
        levels(join=lambda c, s: torch.stack([s, c], dim=-1).flatten(-2)),
    ),
    (
        "down_to_the_base",
        "The exponent is −k/(h − 1). It is −k/h: there are h waves, and the slowest is not quite "
        "`base` times slower.",
        levels(lambda k, h, base: base ** (-k / max(h - 1, 1))),
    ),
    (
        "twice_the_exponent",
        "The exponent is −2k/h. It is −k/h, for h = dim / 2.",
        levels(lambda k, h, base: base ** (-2 * k / h)),
    ),
    (
        "half_the_exponent",
        "The exponent is −k/dim. It is −k/h, for h = dim / 2.",
        levels(lambda k, h, base: base ** (-k / (2 * h))),
    ),
    (
        "faster_and_faster",
        "The exponent has no minus: each wave is to be slower than the one before.",
        levels(lambda k, h, base: base ** (k / h)),
    ),
    (
        "counted_from_1",
        "k counts from 1: from 0, so that ω_0 = 1.",
        levels(lambda k, h, base: base ** (-(k + 1) / h)),
    ),
    (
        "waves_evenly_apart",
        "The frequencies are evenly spaced. They are powers of the base: each is the one before "
        "times the same factor.",
        levels(lambda k, h, base: 1 - k / h * (1 - base ** (-(h - 1) / h))),
    ),
    (
        "two_pi",
        "The angles are multiplied by 2π. The formula has none.",
        levels(turn=lambda angle: 2 * math.pi * angle),
    ),
    (
        "minus_sines",
        "The sines have the wrong sign.",
        levels(turn=lambda angle: -angle),
    ),
    (
        "unit_length",
        "Embeddings are divided by their length. Their length is √(dim / 2).",
        levels(join=lambda c, s: torch.cat([c, s], dim=-1) / c.shape[-1] ** 0.5),
    ),
    (
        "cosines_alone",
        "There are cosines alone, twice: the second half is sines.",
        levels(join=lambda c, s: torch.cat([c, c], dim=-1)),
    ),
    (
        "no_scale",
        "t is not multiplied by the scale: for t in [0, 1] even the fastest wave would hardly "
        "turn.",
        lambda t, dim, scale=1000.0, base=10000.0: levels()(t, dim, 1.0, base),
    ),
    (
        "scale_of_1000_always",
        "The scale is always 1000: use the one that is given.",
        lambda t, dim, scale=1000.0, base=10000.0: levels()(t, dim, 1000.0, base),
    ),
    (
        "divided_by_the_scale",
        "t is divided by the scale: multiply.",
        lambda t, dim, scale=1000.0, base=10000.0: levels()(t, dim, 1 / scale, base),
    ),
    (
        "base_of_10000_always",
        "The base is always 10000: use the one that is given.",
        lambda t, dim, scale=1000.0, base=10000.0: levels()(t, dim, scale),
    ),
    (
        "whole_numbers",
        "s t is rounded to a whole number. Levels are any numbers.",
        lambda t, dim, scale=1000.0, base=10000.0: levels()(
            t + ((scale * t).round() / scale - t).detach(), dim, scale, base
        ),
    ),
)


@mistake(TIMESTEP, "t must be a row of levels: it may have any shape, and no axis too.", sure=True)
def rows_of_levels(t, dim, scale=1000.0, base=10000.0):
    return levels()(t.flatten(), dim, scale, base)


@mistake(TIMESTEP, "The levels are cut out of the graph: no gradient reaches t.", sure=True)
def levels_cut_out(t, dim, scale=1000.0, base=10000.0):
    return levels()(t.detach(), dim, scale, base)


@mistake(
    TIMESTEP,
    "You compute in float32 whatever comes: digits of float64 are lost.",
    public=False,
)
def levels_in_float32(t, dim, scale=1000.0, base=10000.0):
    return levels()(t.float(), dim, scale, base).to(t.dtype)


@mistake(
    TIMESTEP,
    "The result is in another precision than t: it is in that of t.",
    sure=True,
)
def levels_in_float64(t, dim, scale=1000.0, base=10000.0):
    return levels()(t.double(), dim, scale, base)


@mistake(
    TIMESTEP,
    "dim that is not a positive even number is not refused: leave the lines above yours as they "
    "are.",
    public=False,
    bare=True,
)
def any_dim(t, dim, scale=1000.0, base=10000.0):
    e = levels()(t, 2 * max(abs(dim + 1) // 2, 1), scale, base)
    return e[..., : max(dim, 1)]


# --- dit_tokens.position_embedding --------------------------------------------------------------


def placed(omega=None, join=None, of=None, dtype=torch.float64):
    """Embeddings with other frequencies, joined otherwise or of other places."""

    def position_embedding(height, width, dim, base=10000.0):
        h = dim // 4
        k = torch.arange(h, dtype=dtype)
        w = base ** (-k / h) if omega is None else omega(k, h, base)
        token = torch.arange(height * width)
        i, j = token // width, token % width
        if of is not None:
            i, j = of(i, j, height, width)
        parts = [n[:, None] * w for n in (i, j)]
        sines, cosines = ([f(part) for part in parts] for f in (torch.sin, torch.cos))
        if join is not None:
            return join(*sines, *cosines).float()
        return torch.cat([sines[1], cosines[1], sines[0], cosines[0]], dim=1).float()

    return position_embedding


def beside(*parts):
    return torch.cat(parts, dim=1)


positions = several(
    POSITION,
    (
        "rows_first",
        "The first half says the row. It is the column that comes first, then the row.",
        placed(of=lambda i, j, height, width: (j, i)),
    ),
    (
        "cosines_before_sines",
        "Cosines come before sines. In each half it is the sines first, unlike in "
        "`timestep_embedding`.",
        placed(join=lambda si, sj, ci, cj: beside(cj, sj, ci, si)),
    ),
    (
        "all_sines_first",
        "All sines come first, then all cosines. The first half is the column, with sines and "
        "cosines of its own.",
        placed(join=lambda si, sj, ci, cj: beside(sj, si, cj, ci)),
    ),
    (
        "sines_and_cosines_alternate",
        "Sines and cosines take turns: in each half the sines come first, then the cosines.",
        placed(
            join=lambda si, sj, ci, cj: beside(
                torch.stack([sj, cj], -1).flatten(1), torch.stack([si, ci], -1).flatten(1)
            )
        ),
    ),
    (
        "place_in_the_list",
        "You take a token's number in the list for its place: tokens above one another would look "
        "far apart. The halves say its column and its row.",
        placed(of=lambda i, j, height, width: (torch.arange(len(i)), torch.arange(len(i)))),
    ),
    (
        "tokens_down_the_columns",
        "Tokens run down the columns. In the order of `patchify` they run along the rows.",
        placed(
            of=lambda i, j, height, width: (
                torch.arange(len(i)) % height,
                torch.arange(len(i)) // height,
            )
        ),
    ),
    (
        "rows_by_the_height",
        "A token's number is divided by the height of the grid. A row has `width` tokens.",
        placed(
            of=lambda i, j, height, width: (
                torch.arange(len(i)) // height,
                torch.arange(len(i)) % height,
            )
        ),
    ),
    (
        "places_from_1",
        "Rows and columns count from 1: from 0.",
        placed(of=lambda i, j, height, width: (i + 1, j + 1)),
    ),
    (
        "places_from_0_to_1",
        "Rows and columns are divided by the size of the grid. They count tokens.",
        placed(of=lambda i, j, height, width: (i / height, j / width)),
    ),
    (
        "places_around_the_middle",
        "Places are counted from the middle of the grid: from the corner.",
        placed(of=lambda i, j, height, width: (i - (height - 1) / 2, j - (width - 1) / 2)),
    ),
    (
        "exponent_to_h_minus_1",
        "The exponent is −k/(h − 1). It is −k/h, for h = dim / 4.",
        placed(lambda k, h, base: base ** (-k / max(h - 1, 1))),
    ),
    (
        "exponent_doubled",
        "The exponent is −2k/h. It is −k/h, for h = dim / 4.",
        placed(lambda k, h, base: base ** (-2 * k / h)),
    ),
    (
        "exponent_halved",
        "The exponent is divided by dim / 2. h is dim / 4: rows and columns have a half each, and "
        "sines and cosines a half of that.",
        placed(lambda k, h, base: base ** (-k / (2 * h))),
    ),
    (
        "frequencies_that_grow",
        "The exponent has no minus: each wave is to be slower than the one before.",
        placed(lambda k, h, base: base ** (k / h)),
    ),
    (
        "the_same_base_always",
        "The base is always 10000: use the one that is given.",
        lambda height, width, dim, base=10000.0: placed()(height, width, dim),
    ),
    (
        "columns_alone",
        "Both halves say the column: the second says the row.",
        placed(of=lambda i, j, height, width: (j, j)),
    ),
    (
        "rows_and_columns_added",
        "Rows and columns are added: tokens along a diagonal would look alike. Each has a half of "
        "its own.",
        placed(of=lambda i, j, height, width: (i + j, i + j)),
    ),
)


@mistake(
    POSITION,
    "Angles are computed in float32, whose rounding grows with the place: compute in float64, and "
    "round at the end.",
    public=False,
)
def places_in_float32(height, width, dim, base=10000.0):
    return placed(dtype=torch.float32)(height, width, dim, base)


@mistake(POSITION, "The result is float64. Round it to float32.", sure=True)
def places_in_float64(height, width, dim, base=10000.0):
    e = placed(join=lambda si, sj, ci, cj: Kept(beside(sj, cj, si, ci)))
    return e(height, width, dim, base)


class Kept:
    """A tensor that `float` leaves as it is."""

    def __init__(self, value):
        self.value = value

    def float(self):
        return self.value


@mistake(
    POSITION,
    "Grids without tokens, and dim that 4 does not divide, are not refused: leave the lines above "
    "yours as they are.",
    public=False,
    bare=True,
)
def any_grid(height, width, dim, base=10000.0):
    return torch.zeros(max(height * width, 0), max(dim, 0))


# --- dit_tokens.rotate --------------------------------------------------------------------------


def halves(x):
    return x.chunk(2, dim=-1)


def joined(first, second):
    return torch.cat([first, second], dim=-1)


def turning(omega=None, of=None, pair=halves, unpair=joined, turn=None, order=None):
    """Turns by other angles, of other pairs or in another way."""

    def rotate(x, height, width, base=10000.0):
        h = x.shape[-1] // 2
        k = torch.arange(h // 2, dtype=torch.float64)
        w = base ** (-2 * k / h) if omega is None else omega(k, h, base)
        token = torch.arange(height * width)[:, None]
        i, j = token // width, token % width
        if of is not None:
            i, j = of(i, j, height, width)
        theta = joined(i * w, j * w) if order is None else order(i * w, j * w)
        cos, sin = theta.cos().to(x.dtype), theta.sin().to(x.dtype)
        a, b = pair(x)
        if turn is not None:
            return unpair(*turn(a, b, cos, sin))
        return unpair(a * cos - b * sin, b * cos + a * sin)

    return rotate


def alternate(a, b):
    return torch.stack([a, b], dim=-1).flatten(-2)


def quarters(x):
    a, b, c, d = x.chunk(4, dim=-1)
    return joined(a, c), joined(b, d)


def from_quarters(first, second):
    (a, c), (b, d) = first.chunk(2, dim=-1), second.chunk(2, dim=-1)
    return torch.cat([a, b, c, d], dim=-1)


turns = several(
    ROTATE,
    (
        "neighbours_as_points",
        "You pair number 2k with 2k + 1, as the paper does. Here number k and number k + h are a "
        "point.",
        turning(pair=lambda x: (x[..., ::2], x[..., 1::2]), unpair=alternate),
    ),
    (
        "neighbours_put_in_halves",
        "You take numbers 2k and 2k + 1 for a point and put the two in different halves. Number k "
        "and number k + h are a point, before and after.",
        turning(pair=lambda x: (x[..., ::2], x[..., 1::2])),
    ),
    (
        "points_within_quarters",
        "Each half of the numbers is turned by itself, in pairs of k and k + h/2. A point is "
        "number k and number k + h.",
        turning(pair=quarters, unpair=from_quarters),
    ),
    (
        "columns_turn_the_first",
        "The first half of the points is turned by columns: by rows. The second half is by "
        "columns.",
        turning(of=lambda i, j, height, width: (j, i)),
    ),
    (
        "all_by_rows",
        "All points are turned by the row: the second half is turned by the column.",
        turning(of=lambda i, j, height, width: (i, i)),
    ),
    (
        "all_by_columns",
        "All points are turned by the column: the first half is turned by the row.",
        turning(of=lambda i, j, height, width: (j, j)),
    ),
    (
        "all_by_the_place_in_the_list",
        "Points are turned by the token's number in the list, as for words in a sentence: half of "
        "them by its row, half by its column.",
        turning(of=lambda i, j, height, width: (i * width + j, i * width + j)),
    ),
    (
        "tokens_go_down",
        "You count tokens down the columns. In the order of `patchify` they run along the rows.",
        turning(
            of=lambda i, j, height, width: (
                (i * width + j) % height,
                (i * width + j) // height,
            )
        ),
    ),
    (
        "divided_by_the_height",
        "A token's number is divided by the height of the grid. A row has `width` tokens.",
        turning(
            of=lambda i, j, height, width: (
                (i * width + j) // height,
                (i * width + j) % height,
            )
        ),
    ),
    (
        "places_start_at_1",
        "Rows and columns count from 1: from 0, so that the corner stays.",
        turning(of=lambda i, j, height, width: (i + 1, j + 1)),
    ),
    (
        "turned_the_other_way",
        "Points are turned the other way round: look at the signs of the sines.",
        turning(of=lambda i, j, height, width: (-i, -j)),
    ),
    (
        "both_signs_plus",
        "Both sines have a plus: that is no turn, and lengths change. One has a minus.",
        turning(turn=lambda a, b, cos, sin: (a * cos + b * sin, b * cos + a * sin)),
    ),
    (
        "second_from_the_turned_first",
        "The second number is made of the first after it was turned. Both are made of the numbers "
        "as they were.",
        turning(
            turn=lambda a, b, cos, sin: (
                a * cos - b * sin,
                b * cos + (a * cos - b * sin) * sin,
            )
        ),
    ),
    (
        "angles_in_turns",
        "Points turned by rows and by columns alternate: the first half is turned by rows, the "
        "second by columns.",
        turning(order=alternate),
    ),
    (
        "exponent_minus_k_over_h",
        "The exponent is −k/h. It is −2k/h: k goes to h/2, for rows and for columns.",
        turning(lambda k, h, base: base ** (-k / h)),
    ),
    (
        "exponent_minus_2k_over_dim",
        "You take h for dim: the exponent is −2k/h, with h = dim / 2.",
        turning(lambda k, h, base: base ** (-2 * k / (4 * h))),
    ),
    (
        "exponent_minus_4k_over_h",
        "The exponent is twice too large: it is −2k/h, with h = dim / 2.",
        turning(lambda k, h, base: base ** (-4 * k / h)),
    ),
    (
        "exponent_to_the_end",
        "The slowest point turns `base` times slower. It is nearly so: with −2k/h it is "
        "base^(1 − 2/h).",
        turning(lambda k, h, base: base ** (-k / max(h // 2 - 1, 1))),
    ),
    (
        "one_row_of_frequencies",
        "The frequencies go on from the points of rows to those of columns. Those of columns begin "
        "at 1 again.",
        turning(
            order=lambda of_i, of_j: joined(of_i, of_j / 10000.0) if of_i.shape[1] > 0 else of_j
        ),
    ),
    (
        "exponent_without_minus",
        "The exponent has no minus: each point is to turn slower than the one before.",
        turning(lambda k, h, base: base ** (2 * k / h)),
    ),
    (
        "that_base_always",
        "The base is always 10000: use the one that is given.",
        lambda x, height, width, base=10000.0: turning()(x, height, width),
    ),
)


@mistake(
    ROTATE,
    "x must have (batch, heads) before its last two axes: it may have any axes there, or none.",
    sure=True,
)
def four_axes_alone(x, height, width, base=10000.0):
    if x.dim() != 4:
        raise TypeError(f"expected four axes, got {x.dim()}")
    return turning()(x, height, width, base)


@mistake(ROTATE, "The result is cut out of the graph: no gradient reaches x.", sure=True)
def turns_cut_out(x, height, width, base=10000.0):
    return turning()(x.detach(), height, width, base)


@mistake(
    ROTATE,
    "You compute in float32 whatever comes: digits of float64 are lost.",
    public=False,
)
def turned_in_float32(x, height, width, base=10000.0):
    return turning()(x.float(), height, width, base).to(x.dtype)


@mistake(ROTATE, "The result is in another precision than x: it is in that of x.", sure=True)
def turned_in_float64(x, height, width, base=10000.0):
    return turning()(x.double(), height, width, base)


@mistake(ROTATE, "x itself is changed, which belongs to the caller.", sure=True)
def turned_in_place(x, height, width, base=10000.0):
    x.copy_(turning()(x, height, width, base))
    return x


@mistake(
    ROTATE,
    "What does not fit is not refused: leave the lines above yours as they are.",
    public=False,
    bare=True,
)
def anything_goes(x, height, width, base=10000.0):
    return x + 0.0
