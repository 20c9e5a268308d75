"""Captioned pictures: drawn shapes, what is said of them, and a program that reads them back.
Given.

    "a small purple ring left of a large green square"

A picture has 32×32 pixels in colour, and one or two objects, each with a size, a colour and a
shape. As everything in it is known, a program can tell whether a picture shows what its caption
asks for: `compare`. Five of the thirty combinations of colour and shape are **held out** of
training.

There are 14 460 captions: 10 050 without such a combination, 4 010 in which one of the objects is
of such a one, and 400 in which both are, which `draw` never draws. A caption of two objects has 400
pictures, one of a single object 256: `pictures_of`.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "ring", "cross")
RELATIONS = ("left", "right", "above", "below")
PARTS = ("size", "colour", "shape", "relation", "size", "colour", "shape")  # columns of a scene
WORDS = ("", "a", "of", *SIZES, *COLOURS, *SHAPES, *RELATIONS)  # the vocabulary; "" is padding
LENGTH = 10  # words of the longest caption
HELD_OUT = (
    ("purple", "ring"),
    ("green", "triangle"),
    ("white", "cross"),
    ("red", "square"),
    ("blue", "circle"),
)
ALONE, NOTHING, UNREADABLE = 4, -1, -2  # in place of a relation; of a second object; of all parts
SIDE = 32
RGB = torch.tensor(
    [
        [1.0, 0.15, 0.15],
        [0.1, 0.8, 0.2],
        [0.15, 0.35, 1.0],
        [1.0, 0.9, 0.1],
        [0.75, 0.2, 0.95],
        [1.0, 1.0, 1.0],
    ]
)
RADII = (4.0, 6.5)  # of small and large objects; 3.5 is too little for latents of 8×8
JITTER = 5  # how far two objects leave the line on which they face each other, in pixels
RANGES = (  # of middles, in pixels, both ends included
    (7, 8),  # of two objects, the left or upper one
    (23, 24),  # the right or lower one
    (SIDE // 2 - JITTER, SIDE // 2 - 1 + JITTER),  # each of the two across that line
    (SIDE // 2 - JITTER, SIDE // 2 - 1 + JITTER),
    (8, 23),  # of one object, column and row
    (8, 23),
)
THERE, CLEAN = 0.3, 0.75  # brightness, of 1, from which there is an object, and a readable one
SPOILT = 0.35  # share of squared light that may be left unexplained

Scenes = Int64[Tensor, "n 7"]
Pictures = Float[Tensor, "n 3 32 32"]


class Captioned(NamedTuple):
    """Pictures in [−1, 1], their captions, and the scenes that both are made of."""

    x: Pictures
    captions: list[str]
    scenes: Scenes


class Reading(NamedTuple):
    """What `compare` finds in n pictures.

    right: the picture shows its caption: every part of it.
    parts: which of the seven parts of a scene are right, named by `PARTS`.
    objects: both objects are there, wherever they are and whichever has which place.
    readable: the picture shows one or two clean shapes.
    """

    right: Bool[Tensor, "n"]
    parts: Bool[Tensor, "n 7"]
    objects: Bool[Tensor, "n"]
    readable: Bool[Tensor, "n"]

    def shares(self) -> dict[str, float]:
        """The share of pictures in which each thing is right, a part of both objects counted once
        for each. Where there is to be no second object, its parts are right if there is none."""
        found = {
            part: float(self.parts[:, [i for i, p in enumerate(PARTS) if p == part]].float().mean())
            for part in dict.fromkeys(PARTS)
        }
        whole = ("readable", "objects", "right")
        return found | {name: float(getattr(self, name).float().mean()) for name in whole}


def _outline(shape: str, radius: float, fine: int = 8) -> Float[Tensor, "15 15"]:
    """How much of each pixel a shape covers, about the middle one: the mean of fine² points."""
    c = (torch.arange(15 * fine) + 0.5) / fine - 7.5
    y, x = torch.meshgrid(c, c, indexing="ij")
    r = radius
    d = torch.hypot(x, y)
    inside = {
        "circle": d <= r,
        "square": (x.abs() <= 0.9 * r) & (y.abs() <= 0.9 * r),
        "triangle": (y <= 0.9 * r) & (x.abs() <= (y + r) * 0.55),
        "ring": (d <= r) & (d >= 0.5 * r),
        "cross": ((x.abs() <= 0.3 * r) | (y.abs() <= 0.3 * r)) & (x.abs() <= r) & (y.abs() <= r),
    }[shape]
    return F.avg_pool2d(inside.float()[None, None], fine)[0, 0]


OUTLINES = torch.stack([_outline(s, r) for r in RADII for s in SHAPES])  # size · 5 + shape
_PADDED = F.pad(OUTLINES, (SIDE, SIDE, SIDE, SIDE))
_BRIGHTEST = RGB.amax(1)
_HUES = RGB / _BRIGHTEST[:, None]
_IS_HELD_OUT = torch.tensor([[(c, s) in HELD_OUT for s in SHAPES] for c in COLOURS])


def coverage(
    kind: Int64[Tensor, "n"], row: Int64[Tensor, "n"], column: Int64[Tensor, "n"], side: int = SIDE
) -> Float[Tensor, "n side side"]:
    """How much of each pixel an object covers, from 0 to 1.

    Args:
        kind: number of its outline in `OUTLINES`, size · 5 + shape.
        row, column: of its middle; what lies outside of the picture is cut off.
        side: of the picture.
    """
    at = torch.arange(side) + 7 + SIDE
    rows = (at - row[:, None]).clamp(0, _PADDED.shape[1] - 1)
    columns = (at - column[:, None]).clamp(0, _PADDED.shape[2] - 1)
    return _PADDED[kind[:, None, None], rows[:, :, None], columns[:, None, :]]


def draw_scenes(
    n: int,
    generator: torch.Generator | None = None,
    *,
    held_out: bool = False,
    alone: float = 0.2,
) -> Scenes:
    """Scenes, each a row of numbers in the order of `PARTS`.

    Args:
        n: how many.
        generator: for the random draws.
        held_out: whether each has just one object of a combination that is held out, of which there
            is otherwise none.
        alone: share of scenes with one object; theirs have `ALONE` as relation, and `NOTHING` in
            the parts of the second.
    """

    def objects(held):
        pairs = (_IS_HELD_OUT if held else ~_IS_HELD_OUT).nonzero()
        size = torch.randint(len(SIZES), (n, 1), generator=generator)
        return torch.cat([size, pairs[torch.randint(len(pairs), (n,), generator=generator)]], 1)

    first, second = objects(held_out), objects(False)
    relation = torch.randint(len(RELATIONS), (n, 1), generator=generator)
    single = torch.rand(n, 1, generator=generator) < alone
    if held_out:  # it may be either of the two
        swap = (torch.rand(n, 1, generator=generator) < 0.5) & ~single
        first, second = torch.where(swap, second, first), torch.where(swap, first, second)
    second = torch.where(single, NOTHING, second)
    return torch.cat([first, torch.where(single, ALONE, relation), second], 1)


def draw(
    n: int,
    generator: torch.Generator | None = None,
    *,
    held_out: bool = False,
    alone: float = 0.2,
) -> Captioned:
    """Pictures with captions; args are those of `draw_scenes`."""
    scenes = draw_scenes(n, generator, held_out=held_out, alone=alone)
    return Captioned(render(scenes, generator), say(scenes), scenes)


def say(scenes: Scenes) -> list[str]:
    """The captions of scenes."""

    def thing(size, colour, shape):
        return f"a {SIZES[size]} {COLOURS[colour]} {SHAPES[shape]}"

    found = []
    for *first, relation, size, colour, shape in scenes.tolist():
        words = [thing(*first)]
        if relation != ALONE:
            words += [RELATIONS[relation] + (" of" if relation < 2 else "")]
            words += [thing(size, colour, shape)]
        found.append(" ".join(words))
    return found


def scene_of(caption: str) -> Int64[Tensor, "7"]:
    """The scene of a caption, the inverse of `say`.

    Raises:
        ValueError: if the caption is not built like those of `say`: which word was expected where.
    """
    words = caption.lower().split()
    row = [*_thing(words[:4], 0), ALONE, NOTHING, NOTHING, NOTHING]
    if rest := words[4:]:
        row[3] = caption_number(rest, 0, RELATIONS, 5)
        of = row[3] < 2
        if of and rest[1:2] != ["of"]:
            raise ValueError(f'word 6 must be "of" after "{rest[0]}", got {_said(rest, 1)}')
        row[4:] = _thing(rest[1 + of : 5 + of], 5 + of)
        if len(rest) > 5 + of:
            raise ValueError(
                f"a caption has two objects at most, got {rest[5 + of]!r} as word {10 + of}"
            )
    return torch.tensor(row)


def exchanged(scenes: Scenes) -> Scenes:
    """The scenes with their two objects exchanged: "A left of B" becomes "B left of A"."""
    other = torch.cat([scenes[:, 4:], scenes[:, 3:4], scenes[:, :3]], 1)
    return torch.where(scenes[:, 3:4] == ALONE, scenes, other)


def retold(scenes: Scenes) -> Scenes:
    """The same pictures, told from the other object: "A left of B" becomes "B right of A"."""
    turned = torch.tensor([1, 0, 3, 2, ALONE])
    other = exchanged(scenes).clone()
    readable = scenes[:, 3] >= 0
    other[:, 3] = torch.where(readable, turned[scenes[:, 3].clamp(min=0)], scenes[:, 3])
    return other


def render(scenes: Scenes, generator: torch.Generator | None = None) -> Pictures:
    """Pictures of scenes in [−1, 1], on black, with places that vary by some pixels.

    Of two objects side by side, the left one's middle is in column 7 or 8, the right one's in
    column 23 or 24, and each in a row from 11 to 20; above one another, columns and rows are
    exchanged. One object alone has its middle in a row and a column from 8 to 23. All places are
    equally likely. Objects never touch, and no part of them is cut off.
    """
    n = len(scenes)
    drawn = [torch.randint(a, b + 1, (n,), generator=generator) for a, b in RANGES]
    return _paint(scenes, *drawn)


def pictures_of(scene: Int64[Tensor, "7"]) -> Pictures:
    """All pictures that a scene may have, each once: 400 of two objects, 256 of one.

    `render` draws each of them with the same probability, so they are the whole truth about a
    caption: with `schedules.optimal_velocity` they give the Bayes floor of a loss.
    """
    if scene.shape != (7,):
        raise ValueError(f"scene must be one row of 7 numbers, got {tuple(scene.shape)}")
    alone = scene[3] == ALONE
    used = [(i >= 4) == bool(alone) for i in range(len(RANGES))]
    each = [
        torch.arange(a, b + 1 if use else a + 1) for (a, b), use in zip(RANGES, used, strict=True)
    ]
    places = torch.cartesian_prod(*each)
    return _paint(scene.expand(len(places), 7), *places.T)


def _paint(scenes, near, far, across_1, across_2, alone_x, alone_y) -> Pictures:
    """Pictures of scenes with objects at these places, each used where it applies."""
    relation = scenes[:, 3]
    two, sideways = relation != ALONE, relation < 2
    behind = (relation == 1) | (relation == 3)  # right of, below
    along_1, along_2 = torch.where(behind, far, near), torch.where(behind, near, far)
    x_1 = torch.where(two, torch.where(sideways, along_1, across_1), alone_x)
    y_1 = torch.where(two, torch.where(sideways, across_1, along_1), alone_y)
    x_2, y_2 = (
        torch.where(sideways, along_2, across_2),
        torch.where(sideways, across_2, along_2),
    )
    of = scenes.clamp(min=0)
    first = coverage(of[:, 0] * len(SHAPES) + of[:, 2], y_1, x_1)[:, None]
    second = coverage(of[:, 4] * len(SHAPES) + of[:, 6], y_2, x_2)[:, None]
    colour_1, colour_2 = RGB[of[:, 1]][..., None, None], RGB[of[:, 5]][..., None, None]
    light = first * colour_1 + second * colour_2 * two[:, None, None, None]
    return 2 * light.clamp(0, 1) - 1


@torch.no_grad()
def read_back(x: Pictures) -> Scenes:
    """What pictures show, as scenes; `UNREADABLE` in every part where it is not clean shapes.

    Coverage is the brightest of a pixel's three colours. The outline that explains most of it, of
    all outlines at all places and with the best brightness, is an object, and is taken away; then
    once more. An object's colour is that of the nearest hue to the mean of its inner pixels. The
    relation is along the longer of two distances, across or down. The object found first stands
    first, so of two captions for a picture, see `retold`, it is either. What has less than .3 of
    the brightness of its colour is no object. A picture is unreadable if

    - it shows no object, or a third;
    - an object has less than .75 of the brightness of its colour;
    - painted again from what was read, it differs by more than 35 % of the squared light.

    All real pictures are read right. Worse ones become unreadable before they are misread. The
    exception is blur of a standard deviation from 1 pixel on: small squares become circles. In per
    cent of 4 000 pictures, half of them held out; noise is Gaussian, on values in [−1, 1]:

        noise        0.1   0.2   0.3   0.4   0.6
        right        100    96    74    41     2
        unreadable     0     4    26    59    98
        misread        0     0     0     0     0

        blur         0.6   0.8   1.0   1.2   2.0
        right        100   100    68    42     8
        unreadable     0     0    17    46    90
        misread        0     0    15    12     2

        faded        0.9   0.8   0.7   0.5   0.0
        right        100   100     0     0     0
        unreadable     0     0   100   100   100
        misread        0     0     0     0     0
    """
    if x.dim() != 4 or x.shape[1] != 3 or x.shape[2] != x.shape[3]:
        raise ValueError(f"pictures must be (n, 3, side, side), got {tuple(x.shape)}")
    light = (x.clamp(-1, 1) + 1) / 2
    left, painted, found = light.amax(1), torch.zeros_like(light), []
    for i in range(3):
        height, kind, row, column = _best_outline(left)
        shape = coverage(kind, row, column, x.shape[-1])
        inner = (shape > 0.9).float()[:, None]
        colour = hue_of((light * inner).sum((2, 3)))
        bright = height / _BRIGHTEST[colour]
        found.append((kind // len(SHAPES), colour, kind % len(SHAPES), row, column, bright))
        left = left - shape * height[:, None, None]
        if i < 2:
            there = (bright >= THERE).float()[:, None, None, None]
            painted = painted + there * shape[:, None] * RGB[colour][..., None, None]
    (*first, y_1, x_1, bright_1), (*second, y_2, x_2, bright_2), (*_, bright_3) = found
    two = bright_2 >= THERE
    down, right = y_2 - y_1, x_2 - x_1
    sideways = right.abs() > down.abs()
    relation = torch.where(sideways, (right <= 0).long(), 2 + (down <= 0).long())
    relation = torch.where(two, relation, ALONE)
    second = [torch.where(two, part, NOTHING) for part in second]
    scenes = torch.stack([*first, relation, *second], 1)
    clean = (bright_1 >= CLEAN) & torch.where(two, bright_2 >= CLEAN, bright_2 < THERE)
    clean &= ~two | (bright_3 < THERE)
    clean &= _squares(light - painted) <= SPOILT * _squares(painted)  # not so for NaN
    return torch.where(clean[:, None], scenes, UNREADABLE)


def compare(x: Pictures, scenes: Scenes) -> Reading:
    """Whether pictures show what scenes say, read from either of their two objects."""
    seen = read_back(x)
    told = retold(seen)
    parts, other = seen == scenes, told == scenes
    better = other.sum(1) > parts.sum(1)
    parts = torch.where(better[:, None], other, parts)

    def objects(of):
        return (of[:, :3] == scenes[:, :3]).all(1) & (of[:, 4:] == scenes[:, 4:]).all(1)

    readable = (seen != UNREADABLE).all(1)
    return Reading(parts.all(1), parts, objects(seen) | objects(exchanged(seen)), readable)


def hue_of(light: Float[Tensor, "n 3"]) -> Int64[Tensor, "n"]:
    """The numbers of the nearest colours, however bright the light is."""
    hues = light / light.amax(1, keepdim=True).clamp(min=1e-6)
    return torch.cdist(hues, _HUES).argmin(1)


def match(
    cover: Float[Tensor, "n side side"], outlines: Float[Tensor, "kinds 15 15"]
) -> tuple[Float[Tensor, "n kinds places"], Float[Tensor, "n kinds places"]]:
    """How much of coverage each outline explains at each place, and with which brightness.

    Of ‖c − h o‖², coverage c, outline o, the best brightness h = ⟨c, o⟩ / ‖o‖² explains
    ⟨c, o⟩² / ‖o‖². What is darker than nothing explains nothing.

    Args:
        cover: of pictures.
        outlines: such as `OUTLINES`.
    Returns:
        `(explained, heights)`; place is row · side + column.
    """
    norms = outlines.square().sum((1, 2))[:, None]
    heights = F.conv2d(cover[:, None], outlines[:, None], padding=7).flatten(2) / norms
    return heights.clamp(min=0).square() * norms, heights


def _best_outline(cover: Float[Tensor, "n side side"]):
    """Of all outlines and places what explains most: how bright it is, which, row and column."""
    explained, heights = match(cover, OUTLINES)
    best = explained.flatten(1).argmax(1)
    side = cover.shape[-1]
    kind, place = best // side**2, best % side**2
    height = heights.flatten(1).gather(1, best[:, None])[:, 0]
    return height, kind, place // side, place % side


def _squares(x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n"]:
    return x.flatten(1).square().sum(1)


def _thing(words: Sequence[str], at: int) -> list[int]:
    """Size, colour and shape of the words "a small red circle", which begin at a place."""
    if words[:1] != ["a"]:
        raise ValueError(f'word {at + 1} must be "a", got {_said(words, 0)}')
    options = (SIZES, COLOURS, SHAPES)
    return [caption_number(words, i + 1, some, at + i + 2) for i, some in enumerate(options)]


def caption_number(words: Sequence[str], i: int, options: Sequence[str], place: int) -> int:
    """The number of word i among its options.

    Raises:
        ValueError: if it is none of them. The message says what is allowed at its place in the
            caption, counted from 1.
    """
    if i >= len(words) or words[i] not in options:
        near = get_close_matches(words[i], options, 1) if i < len(words) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        said = _said(words, i)
        raise ValueError(f"word {place} must be one of {', '.join(options)}, got {said}{hint}")
    return options.index(words[i])


def _said(words: Sequence[str], i: int) -> str:
    return repr(words[i]) if i < len(words) else "nothing"
