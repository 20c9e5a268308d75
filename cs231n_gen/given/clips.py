"""Clips with captions: a small shape that moves and bounces, and a program that reads clips back.
Given.

    "a red circle moves left fast"

The world is that of `captions`, with one object that keeps its shape and colour. It moves along a
row or column at a constant speed, and where it touches an edge, it turns back. So the first frame
leaves open where it moves, while two frames say all that will happen. There are 240 captions, of
which 48 have one of four combinations of shape and direction that are **held out** of training.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cs231n_gen.given.captions import (
    CLEAN,
    COLOURS,
    OUTLINES,
    RADII,
    RGB,
    SHAPES,
    SPOILT,
    UNREADABLE,
    caption_number,
    coverage,
    hue_of,
    match,
)

DIRECTIONS = ("left", "right", "up", "down")
SPEEDS = ("slowly", "fast")  # 1 and 2 pixels a frame
PARTS = ("colour", "shape", "direction", "speed")  # columns of a scene
WORDS = ("", "a", "moves", *COLOURS, *SHAPES, *DIRECTIONS, *SPEEDS)  # "" is padding
LENGTH = 6  # words of a caption
HELD_OUT = (("ring", "left"), ("triangle", "right"), ("square", "up"), ("cross", "down"))
FRAMES, SIDE = 9, 24
REACH = int(RADII[0])  # of an object from its middle, in pixels
FARTHEST = len(SPEEDS)  # pixels that an object moves in a frame
STRAY = 1.0  # pixels that places may be off a path, as the root of the mean square

Scenes = Int64[Tensor, "n 4"]
Places = Int64[Tensor, "n 2"]
Clips = Float[Tensor, "n 3 frames side side"]

_STEPS = torch.tensor([[0, -1], [0, 1], [-1, 0], [1, 0]])  # row, column
_IS_HELD_OUT = torch.tensor([[(s, d) in HELD_OUT for d in DIRECTIONS] for s in SHAPES])
_MOTIONS = torch.cartesian_prod(torch.arange(len(DIRECTIONS)), torch.arange(len(SPEEDS)))


class CaptionedClips(NamedTuple):
    """Clips in [−1, 1], their captions, and the scenes and starts that they are made of."""

    x: Clips
    captions: list[str]
    scenes: Scenes
    starts: Places


class ClipReading(NamedTuple):
    """What `compare` finds in n clips.

    right: the clip shows its caption: every part of it.
    parts: which of the four parts of a scene are right, named by `PARTS`.
    readable: the clip shows one clean shape that moves as objects do.
    """

    right: Bool[Tensor, "n"]
    parts: Bool[Tensor, "n 4"]
    readable: Bool[Tensor, "n"]

    def shares(self) -> dict[str, float]:
        """The share of clips in which each part is right, and all of them."""
        found = dict(zip(PARTS, self.parts.float().mean(0).tolist(), strict=True))
        return found | {"right": float(self.right.float().mean())}


# --- what is drawn ------------------------------------------------------------------------------


def draw_scenes(
    n: int, generator: torch.Generator | None = None, *, held_out: bool = False
) -> Scenes:
    """Scenes, each a row of numbers in the order of `PARTS`.

    Args:
        n: how many.
        generator: for the random draws.
        held_out: whether each has a combination of shape and direction that is held out, of which
            there is otherwise none.
    """
    pairs = (_IS_HELD_OUT if held_out else ~_IS_HELD_OUT).nonzero()
    colour = torch.randint(len(COLOURS), (n, 1), generator=generator)
    pair = pairs[torch.randint(len(pairs), (n,), generator=generator)]
    speed = torch.randint(len(SPEEDS), (n, 1), generator=generator)
    return torch.cat([colour, pair, speed], 1)


def draw_starts(n: int, generator: torch.Generator | None = None, *, side: int = SIDE) -> Places:
    """Rows and columns of middles in the first frame, all that `all_starts` lists equally likely.

    They do not depend on where the object moves: so the first frame does not tell it.
    """
    starts = all_starts(side)
    return starts[torch.randint(len(starts), (n,), generator=generator)]


def all_starts(side: int = SIDE) -> Places:
    """Every place at which an object may start: so far inside that it can move in all directions
    for one frame before it touches an edge; 144 with 24 pixels a side."""
    low, high = _edges(side)
    if high - low < 2 * FARTHEST:
        raise ValueError(f"side must be at least {2 * (REACH + FARTHEST) + 1}, got {side}")
    inside = torch.arange(low + FARTHEST, high - FARTHEST + 1)
    return torch.cartesian_prod(inside, inside)


def draw(
    n: int,
    generator: torch.Generator | None = None,
    *,
    frames: int = FRAMES,
    side: int = SIDE,
    held_out: bool = False,
) -> CaptionedClips:
    """Clips with captions.

    Args:
        n: how many.
        generator: for the random draws.
        frames: of a clip, 1 + 4k.
        side: of a frame, in pixels.
        held_out: as in `draw_scenes`.
    """
    scenes = draw_scenes(n, generator, held_out=held_out)
    starts = draw_starts(n, generator, side=side)
    return CaptionedClips(render(scenes, starts, frames, side), say(scenes), scenes, starts)


def path(
    scenes: Scenes, starts: Places, frames: int = FRAMES, side: int = SIDE
) -> Int64[Tensor, "n frames 2"]:
    """Row and column of the middle in each frame: straight on, and back from an edge.

    The middle is never nearer to an edge than the object reaches, so no part of it is cut off.
    """
    speed = scenes[:, 3:] + 1
    step = (_STEPS[scenes[:, 2]] * speed)[:, None]  # (n, 1, 2)
    return _bounced(starts[:, None] + step * torch.arange(frames)[:, None], side)


def bounces(
    scenes: Scenes, starts: Places, frames: int = FRAMES, side: int = SIDE
) -> Bool[Tensor, "n"]:
    """Whether the object turns back within its clip."""
    speed = scenes[:, 3:] + 1
    last = starts + _STEPS[scenes[:, 2]] * speed * (frames - 1)
    return (_bounced(last, side) != last).any(1)


def render(scenes: Scenes, starts: Places, frames: int = FRAMES, side: int = SIDE) -> Clips:
    """Clips of scenes in [−1, 1], on black.

    Raises:
        ValueError: if frames is not 1 + 4k, or an object would not be inside of its first frame.
    """
    _check_frames(frames)
    low, high = _edges(side)
    if ((starts < low) | (starts > high)).any():
        raise ValueError(f"starts must lie from {low} to {high} with {side} pixels a side")
    at = path(scenes, starts, frames, side).flatten(0, 1)
    cover = coverage(scenes[:, 1].repeat_interleave(frames), at[:, 0], at[:, 1], side)
    cover = cover.view(len(scenes), 1, frames, side, side)
    return 2 * cover * RGB[scenes[:, 0]][:, :, None, None, None] - 1


def clips_of(scene: Int64[Tensor, "4"], frames: int = FRAMES, side: int = SIDE) -> Clips:
    """All clips that a scene may have, each once, one for each of `all_starts`; equally likely."""
    starts = all_starts(side)
    return render(scene.expand(len(starts), 4), starts, frames, side)


def futures_of(
    scene: Int64[Tensor, "4"], start: Int64[Tensor, "2"], frames: int = FRAMES, side: int = SIDE
) -> Clips:
    """The 8 clips that begin with the same frame: of each direction, slowly and fast.

    All are equally likely if nothing is held out. Their mean is the best prediction from the first
    frame; from two frames, one of them is left. A caption without a direction leaves 4 or 8.

    Args:
        scene: of the object; its direction and speed do not matter.
        start: row and column of its middle in the first frame.
        frames, side: as in `draw`.
    """
    scenes = torch.cat([scene[:2].expand(len(_MOTIONS), 2), _MOTIONS], 1)
    return render(scenes, start.expand(len(_MOTIONS), 2), frames, side)


def still(pictures: Float[Tensor, "n 3 side side"], frames: int = FRAMES) -> Clips:
    """Clips in which nothing moves: each frame is the picture."""
    _check_frames(frames)
    return pictures[:, :, None].repeat(1, 1, frames, 1, 1)


# --- what is said -------------------------------------------------------------------------------


def say(scenes: Scenes) -> list[str]:
    """The captions of scenes."""
    return [
        f"a {COLOURS[colour]} {SHAPES[shape]} moves {DIRECTIONS[direction]} {SPEEDS[speed]}"
        for colour, shape, direction, speed in scenes.tolist()
    ]


def scene_of(caption: str) -> Int64[Tensor, "4"]:
    """The scene of a caption, the inverse of `say`.

    Raises:
        ValueError: if the caption is not built like those of `say`: which word was expected where.
    """
    words = caption.lower().split()
    options: Sequence[Sequence[str]] = (("a",), COLOURS, SHAPES, ("moves",), DIRECTIONS, SPEEDS)
    row = [caption_number(words, i, some, i + 1) for i, some in enumerate(options)]
    if len(words) > LENGTH:
        raise ValueError(f"a caption has {LENGTH} words, got {words[LENGTH]!r} as word 7")
    return torch.tensor([row[i] for i in (1, 2, 4, 5)])


# --- what is read back --------------------------------------------------------------------------


@torch.no_grad()
def read_back(x: Clips) -> Scenes:
    """What clips show, as scenes, with `UNREADABLE` in place of what is not clear.

    The shape is that whose outlines explain most in all frames together, as in
    `captions.read_back`; its places are those of the best one in each frame. Colour is that of the
    nearest hue to the mean of the inner pixels of all frames. Direction and speed are those of the
    nearest path that an object may take. Nothing of a clip is readable if in any frame

    - the object has less than .75 of the brightness of its colour;
    - painted again from what was read, the frame differs by more than 35 % of the squared light.

    Direction and speed are not readable if the places are off the path by more than a pixel (root
    mean square), or no farther off one place: so neither are those of clips in which nothing moves.

    All real clips are read right. Worse ones become unreadable before they are misread, but for
    blur from 1 pixel on, by which squares become circles. In per cent of 1 500 clips of 9 frames,
    half of them held out:

        noise        0.1   0.2   0.3   0.4
        right        100    90    28     5
        unreadable     0    10    72    95
        misread        0     0     0     0

        blur         0.6   0.8   1.0   1.2
        right        100   100    56    13
        unreadable     0     0    23    66
        misread        0     0    21    21

        faded        0.9   0.8   0.7   0.5
        right        100   100     0     0
        unreadable     0     0   100   100
        misread        0     0     0     0
    """
    seen, *_ = _read(x)
    return seen


def compare(x: Clips, scenes: Scenes) -> ClipReading:
    """Whether clips show what scenes say; what is unreadable counts as wrong."""
    seen = read_back(x)
    parts = seen == scenes
    return ClipReading(parts.all(1), parts, (seen != UNREADABLE).all(1))


@torch.no_grad()
def flicker(x: Clips) -> Float[Tensor, "n"]:
    """How much the appearance changes from frame to frame, beyond motion.

        Σ_t ‖a_{t+1} − a_t‖² / Σ_t (‖a_{t+1}‖² + ‖a_t‖²)

    a_t is the light of frame t, shifted so that the object's middle is where it is in the next. It
    is 0 for real clips, and for brightness b and 1 by turns it is (1 − b)² / (1 + b²). It is 1 for
    frames that have nothing in common. A jerky path is no flicker, but unreadable; light that stays
    behind the object counts as change.
    """
    if x.shape[2] < 2:
        return torch.zeros(len(x))
    _, at, light = _read(x)
    now, after = light[:, :-1], light[:, 1:]
    moved = _shifted(now.flatten(0, 1), (at[:, 1:] - at[:, :-1]).flatten(0, 1)).view_as(now)
    moved_squares, after_squares = (v.square().sum((1, 2, 3, 4)) for v in (moved, after))
    change = (after - moved).square().sum((1, 2, 3, 4))
    return change / (moved_squares + after_squares).clamp(min=1e-6)


def _read(x: Clips) -> tuple[Scenes, Int64[Tensor, "n frames 2"], Float[Tensor, "n frames 3 s s"]]:
    """Scenes, places in each frame, and the light of the frames."""
    if x.dim() != 5 or x.shape[1] != 3 or x.shape[3] != x.shape[4]:
        raise ValueError(f"clips must be (n, 3, frames, side, side), got {tuple(x.shape)}")
    n, _, frames, side, _ = x.shape
    light = (x.clamp(-1, 1).transpose(1, 2) + 1) / 2  # (n, frames, 3, side, side)
    each = light.flatten(0, 1)
    cover = each.amax(1)
    explained, heights = match(cover, OUTLINES[: len(SHAPES)])  # (n · frames, shapes, places)
    best, place = explained.max(2)
    shape = best.view(n, frames, len(SHAPES)).sum(1).argmax(1)
    row = shape.repeat_interleave(frames)
    place = place.gather(1, row[:, None])[:, 0]
    height = heights[torch.arange(n * frames), row, place]
    at = torch.stack([place // side, place % side], 1)
    outline = coverage(row, at[:, 0], at[:, 1], side)
    inner = (outline > 0.9).float()[:, None]
    mean = (each * inner).sum((2, 3)).view(n, frames, 3).sum(1)
    colour = hue_of(mean)
    full = RGB[colour].repeat_interleave(frames, 0)  # (n · frames, 3)
    painted = outline[:, None] * full[:, :, None, None]
    spoilt, squares = (v.square().sum((1, 2, 3)) for v in (each - painted, painted))
    clean = (height >= CLEAN * full.amax(1)) & (spoilt <= SPOILT * squares)  # not so for NaN
    clean = clean.view(n, frames).all(1, keepdim=True)
    at = at.view(n, frames, 2)
    motion, off = _nearest_path(at, side)
    stays = at - at.double().mean(1, keepdim=True)
    moves = (off <= STRAY) & (off < stays.square().sum(2).mean(1).sqrt())
    seen = torch.cat(
        [
            torch.where(clean, torch.stack([colour, shape], 1), UNREADABLE),
            torch.where(clean & moves[:, None], motion, UNREADABLE),
        ],
        1,
    )
    return seen, at, light


def _nearest_path(
    at: Int64[Tensor, "n frames 2"], side: int
) -> tuple[Int64[Tensor, "n 2"], Float[Tensor, "n"]]:
    """Direction and speed of the path nearest to places, and how far off they are.

    The two axes are independent: along one the object moves, along the other it stays.
    """
    frames = at.shape[1]
    low, high = _edges(side)
    starts = torch.arange(low + FARTHEST, high - FARTHEST + 1)
    signs = torch.tensor([-1, 1, -1, 1])
    along = torch.tensor([1, 1, 0, 0])  # the axis of a direction
    found = []
    for direction, speed in _MOTIONS.tolist():
        axis = int(along[direction])
        step = int(signs[direction]) * (speed + 1)
        line = _bounced(starts[:, None] + step * torch.arange(frames), side)  # (starts, frames)
        off = (at[:, None, :, axis] - line).square().sum(2).amin(1)
        still_at = at[:, None, :, 1 - axis] - starts[:, None]
        found.append(off + still_at.square().sum(2).amin(1))
    least, best = torch.stack(found, 1).min(1)
    return _MOTIONS[best], (least.double() / frames).sqrt()


def _bounced(at: Int64[Tensor, "*any"], side: int) -> Int64[Tensor, "*any"]:
    """Places on an endless line, folded to where a middle can be."""
    low, high = _edges(side)
    width = high - low
    return low + width - ((at - low) % (2 * width) - width).abs()


def _edges(side: int) -> tuple[int, int]:
    return REACH, side - 1 - REACH


def _shifted(x: Float[Tensor, "n c side side"], by: Places) -> Float[Tensor, "n c side side"]:
    """Pictures moved down and to the right, black where nothing comes in."""
    side = x.shape[-1]
    source = torch.arange(side) - by[:, :, None]  # (n, 2, side)
    known = (source >= 0) & (source < side)
    rows, columns = source.clamp(0, side - 1).unbind(1)
    moved = x.gather(2, rows[:, None, :, None].expand(x.shape))
    moved = moved.gather(3, columns[:, None, None, :].expand(x.shape))
    return moved * known[:, 0][:, None, :, None] * known[:, 1][:, None, None, :]


def _check_frames(frames: int) -> None:
    if frames < 1 or frames % 4 != 1:
        low = max(frames - 1, 0) // 4 * 4 + 1
        near = f"{low} or {low + 4}" if frames > 0 else "1"
        raise ValueError(f"frames must be 1 + 4k, such as {near}, got {frames}")
