"""Moving shapes: what moves is read back, and what does not stay itself is not."""

import math
from itertools import product

import pytest
import torch
from cs231n_gen.captions import COLOURS, RGB, SHAPES, UNREADABLE
from cs231n_gen.clips import DIRECTIONS, HELD_OUT, SPEEDS
from torch.nn import functional as F

from cs231n_gen import captions, clips

KINDS = [(9, 24), (5, 24), (17, 24), (13, 32), (9, 13)]  # frames, side


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def real():
    return clips.draw(150, seeded(0))


def all_scenes():
    numbers = [range(len(names)) for names in (COLOURS, SHAPES, DIRECTIONS, SPEEDS)]
    return torch.tensor(list(product(*numbers)))


def is_held_out(scenes):
    return torch.tensor([(SHAPES[s], DIRECTIONS[d]) in HELD_OUT for _, s, d, _ in scenes.tolist()])


# --- what is drawn ------------------------------------------------------------------------------


def test_captions_are_as_many_as_the_module_says():
    said = clips.say(all_scenes())
    assert len(set(said)) == 240
    assert int(is_held_out(all_scenes()).sum()) == 48
    words = [caption.split() for caption in said]
    assert {len(w) for w in words} == {clips.LENGTH}
    assert {w for caption in words for w in caption} == set(clips.WORDS[1:])
    assert clips.WORDS[0] == ""


def test_held_out_combinations_are_seen_only_when_asked_for():
    assert not is_held_out(clips.draw_scenes(5000, seeded(0))).any()
    assert is_held_out(clips.draw_scenes(5000, seeded(0), held_out=True)).all()


@pytest.mark.parametrize(("held_out", "count"), [(False, 192), (True, 48)])
def test_all_scenes_are_equally_likely(held_out, count):
    scenes = clips.draw_scenes(count * 200, seeded(0), held_out=held_out)
    found, counts = scenes.unique(dim=0, return_counts=True)
    assert len(found) == count
    assert (counts - 200).abs().max() < 5 * math.sqrt(200)


def test_all_places_are_equally_likely_wherever_it_moves():
    drawn = clips.draw_starts(144 * 200, seeded(0))
    found, counts = drawn.unique(dim=0, return_counts=True)
    assert torch.equal(found, clips.all_starts())
    assert len(found) == 144
    assert (counts - 200).abs().max() < 5 * math.sqrt(200)


@pytest.mark.parametrize(("frames", "side"), KINDS)
def test_an_object_goes_straight_on_and_turns_at_an_edge(frames, side):
    """Pixel by pixel: a step is made of single ones, each away from an edge that is touched."""
    some = clips.draw(60, seeded(1), frames=frames, side=side)
    got = clips.path(some.scenes, some.starts, frames, side)
    turned = clips.bounces(some.scenes, some.starts, frames, side)
    for row, start, places, turns in zip(some.scenes, some.starts, got, turned, strict=True):
        axis, sign = {0: (1, -1), 1: (1, 1), 2: (0, -1), 3: (0, 1)}[int(row[2])]
        at, walked, has_turned = start.clone(), [start.tolist()], False
        for _ in range(frames - 1):
            for _ in range(int(row[3]) + 1):
                if not 4 <= at[axis] + sign <= side - 5:
                    sign, has_turned = -sign, True
                at[axis] += sign
            walked.append(at.tolist())
        assert places.tolist() == walked
        assert bool(turns) == has_turned


@pytest.mark.parametrize(("frames", "side"), KINDS)
def test_no_part_of_an_object_is_cut_off(frames, side):
    some = clips.draw(60, seeded(2), frames=frames, side=side)
    assert some.x.shape == (60, 3, frames, side, side)
    assert some.x.min() == -1
    assert some.x.max() <= 1
    cover = (some.x + 1).amax(1).sum((2, 3)) / 2  # (clips, frames)
    want = captions.OUTLINES[some.scenes[:, 1]].sum((1, 2)) * RGB[some.scenes[:, 0]].amax(1)
    torch.testing.assert_close(cover, want[:, None].expand(cover.shape), rtol=1e-4, atol=1e-3)


def test_the_first_frame_leaves_eight_clips_and_the_second_one():
    scene, start = torch.tensor([2, 3, 0, 1]), torch.tensor([9, 14])
    x = clips.futures_of(scene, start)
    assert x.shape == (8, 3, 9, 24, 24)
    assert (x[:, :, 0] == x[:1, :, 0]).all()
    assert len(x[:, :, 1].flatten(1).unique(dim=0)) == 8
    seen = clips.read_back(x)
    assert (seen[:, :2] == scene[:2]).all()
    assert {tuple(row) for row in seen[:, 2:].tolist()} == set(product(range(4), range(2)))


def test_two_frames_tell_all_that_happens():
    """No two clips of the same colour and shape have the first two frames in common."""
    rows = torch.tensor([[0, 0, d, s] for d in range(4) for s in range(2)])
    both = [clips.path(row.expand(144, 4), clips.all_starts(), 2) for row in rows]
    assert len(torch.cat(both).unique(dim=0)) == 8 * 144


def test_a_caption_has_144_clips():
    scene = clips.scene_of("a white ring moves down fast")
    x = clips.clips_of(scene)
    assert x.shape == (144, 3, 9, 24, 24)
    assert len(x.flatten(1).unique(dim=0)) == 144
    assert clips.compare(x, scene.expand(144, 4)).right.all()


def test_a_clip_of_one_frame_is_a_picture():
    some = clips.draw(20, seeded(0), frames=1)
    more = clips.render(some.scenes, some.starts, 9)
    assert torch.equal(some.x[:, :, 0], more[:, :, 0])
    seen = clips.read_back(some.x)
    assert torch.equal(seen[:, :2], some.scenes[:, :2])
    assert (seen[:, 2:] == UNREADABLE).all()
    assert (clips.flicker(some.x) == 0).all()


def test_longer_clips_begin_like_shorter_ones(real):
    longer = clips.render(real.scenes, real.starts, 17)
    assert torch.equal(longer[:, :, :9], real.x)


def test_a_generator_repeats_and_leaves_the_global_state():
    before = torch.get_rng_state()
    one, other = (clips.draw(20, seeded(3)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.x, other.x)
    assert one.captions == other.captions
    assert not torch.equal(one.x, clips.draw(20, seeded(4)).x)


def test_nothing_can_be_drawn():
    none = clips.draw(0)
    assert none.x.shape == (0, 3, 9, 24, 24)
    assert clips.compare(none.x, none.scenes).right.shape == (0,)


@pytest.mark.parametrize(
    ("frames", "near"), [(0, "1"), (8, "5 or 9"), (2, "1 or 5"), (16, "13 or 17"), (-3, "1")]
)
def test_frames_that_do_not_fit_are_refused_with_those_that_do(frames, near):
    with pytest.raises(ValueError, match=rf"1 \+ 4k, such as {near}, got {frames}"):
        clips.draw(1, frames=frames)
    with pytest.raises(ValueError, match=r"1 \+ 4k"):
        clips.still(torch.zeros(1, 3, 24, 24), frames)


def test_frames_that_are_too_small_are_refused():
    assert len(clips.all_starts(13)) == 1
    with pytest.raises(ValueError, match="side must be at least 13, got 12"):
        clips.draw(1, side=12)


def test_a_start_outside_is_refused():
    with pytest.raises(ValueError, match="from 4 to 19 with 24 pixels"):
        clips.render(torch.tensor([[0, 0, 0, 0]]), torch.tensor([[12, 20]]))


# --- what is said -------------------------------------------------------------------------------


def test_scene_of_is_the_inverse_of_say():
    for row, caption in zip(all_scenes(), clips.say(all_scenes()), strict=True):
        assert torch.equal(clips.scene_of(caption), row)


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("", "word 1 must be one of a, got nothing"),
        ("a circle moves left", "word 2 must be one of red, .*, got 'circle'"),
        ("a red ball moves left fast", "word 3 must be one of circle, .*, got 'ball'"),
        ("a red circle goes left fast", "word 4 must be one of moves, got 'goes'"),
        ("a red circle moves lefft fast", r"word 5 .* got 'lefft'; did you mean 'left'\?"),
        ("a red circle moves left", "word 6 must be one of slowly, fast, got nothing"),
        ("a red circle moves left fast now", "6 words, got 'now' as word 7"),
    ],
)
def test_a_wrong_caption_is_refused_with_the_word_and_its_place(caption, message):
    with pytest.raises(ValueError, match=message):
        clips.scene_of(caption)


# --- what is read back --------------------------------------------------------------------------


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize(("frames", "side"), KINDS)
def test_real_clips_are_read_right_and_do_not_flicker(frames, side, held_out):
    some = clips.draw(100, seeded(5), frames=frames, side=side, held_out=held_out)
    reading = clips.compare(some.x, some.scenes)
    assert reading.right.all()
    assert reading.readable.all()
    assert set(reading.shares().values()) == {1}
    assert clips.flicker(some.x).max() < 1e-6


def test_every_caption_is_read_right():
    scenes = all_scenes()
    x = clips.render(scenes, clips.draw_starts(len(scenes), seeded(6)))
    assert clips.compare(x, scenes).right.all()


@pytest.mark.parametrize("part", range(4))
def test_one_wrong_part_is_named(real, part):
    wrong = real.scenes.clone()
    wrong[:, part] = (wrong[:, part] + 1) % [6, 5, 4, 2][part]
    reading = clips.compare(real.x, wrong)
    assert (reading.parts == (torch.arange(4) != part)).all()
    assert not reading.right.any()
    assert reading.readable.all()


def gaussian_blur(x, std):
    reach = int(4 * std) + 1
    at = torch.arange(-reach, reach + 1.0)
    kernel = torch.exp(-at.square() / (2 * std**2))
    kernel = kernel / kernel.sum()
    light = F.pad((x + 1).flatten(0, 2)[:, None], [reach] * 4)
    light = F.conv2d(light, kernel[None, None, :, None])
    return F.conv2d(light, kernel[None, None, None, :]).view_as(x) - 1


TABLE = {  # right, unreadable, misread, in per cent; `read_back` says it, too
    ("noise", 0.1): [100, 0, 0],
    ("noise", 0.2): [90, 10, 0],
    ("noise", 0.3): [28, 72, 0],
    ("noise", 0.4): [5, 95, 0],
    ("blur", 0.6): [100, 0, 0],
    ("blur", 0.8): [100, 0, 0],
    ("blur", 1.0): [56, 23, 21],
    ("blur", 1.2): [13, 66, 21],
    ("faded", 0.9): [100, 0, 0],
    ("faded", 0.8): [100, 0, 0],
    ("faded", 0.7): [0, 100, 0],
    ("faded", 0.5): [0, 100, 0],
}


@pytest.mark.parametrize(("how", "much"), TABLE)
def test_the_table_of_calibration_holds(real, how, much):
    worse = {
        "noise": lambda: real.x + much * torch.randn(real.x.shape, generator=seeded(2)),
        "blur": lambda: gaussian_blur(real.x, much),
        "faded": lambda: much * (real.x + 1) - 1,
    }[how]()
    reading = clips.compare(worse, real.scenes)
    right, readable = (100 * float(v.float().mean()) for v in (reading.right, reading.readable))
    # 150 clips: a share has a standard deviation of 4 at most
    assert [right, 100 - readable, readable - right] == pytest.approx(TABLE[how, much], abs=14)


def test_the_table_is_that_of_the_docstring():
    said = {}
    for line in map(str.split, clips.read_back.__doc__.splitlines()):
        if line and line[0] in ("noise", "blur", "faded"):
            how, *levels = line
        elif line[:1] in (["right"], ["unreadable"], ["misread"]):
            for level, share in zip(levels, line[1:], strict=True):
                said.setdefault((how, float(level)), []).append(int(share))
    assert said == TABLE


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0, math.nan, math.inf])
def test_what_shows_nothing_is_unreadable(value):
    assert (clips.read_back(torch.full((1, 3, 9, 24, 24), value)) == UNREADABLE).all()


def test_noise_is_unreadable_and_counts_as_wrong(real):
    noise = torch.randn(real.x.shape, generator=seeded(0))
    assert (clips.read_back(noise) == UNREADABLE).all()
    assert set(clips.compare(noise, real.scenes).shares().values()) == {0}


@pytest.mark.parametrize("part", [0, 1])
def test_a_clip_in_which_one_frame_has_another_colour_or_shape_is_unreadable(real, part):
    other = real.scenes.clone()
    other[:, part] = (other[:, part] + 1) % [6, 5][part]
    x = real.x.clone()
    x[:, :, 4] = clips.render(other, real.starts)[:, :, 4]
    seen = clips.read_back(x)
    share = 1.0 if part == 0 else 0.5  # some shapes of this size are alike
    assert (seen == UNREADABLE).all(1).float().mean() >= share
    assert clips.flicker(x).min() > 0.005


def test_a_second_object_makes_a_clip_unreadable(real):
    x = torch.maximum(real.x, real.x.flip(3, 4))
    touching = ((real.x > -1) & (real.x.flip(3, 4) > -1)).flatten(1).any(1)
    x = x[~touching]
    assert len(x) > 3
    assert (clips.read_back(x) == UNREADABLE).all()


def test_a_clip_that_stands_still_has_a_shape_and_no_direction(real):
    x = clips.still(real.x[:, :, 0])
    assert torch.equal(x, real.x[:, :, :1].expand(real.x.shape))
    seen = clips.read_back(x)
    assert torch.equal(seen[:, :2], real.scenes[:, :2])
    assert (seen[:, 2:] == UNREADABLE).all()
    assert (clips.flicker(x) == 0).all()


def test_frames_in_another_order_have_no_direction_but_do_not_flicker(real):
    x = real.x[:, :, [0, 5, 2, 7, 1, 8, 3, 6, 4]]
    seen = clips.read_back(x)
    assert torch.equal(seen[:, :2], real.scenes[:, :2])
    assert (seen[:, 2:] == UNREADABLE).float().mean() > 0.9
    assert clips.flicker(x).max() < 1e-6


def test_a_clip_backwards_moves_the_other_way(real):
    straight = ~clips.bounces(real.scenes, real.starts)
    seen = clips.read_back(real.x[straight].flip(2))
    starts = clips.path(real.scenes, real.starts)[straight, -1]
    known = ((starts >= 6) & (starts <= 17)).all(1)  # where a clip may start
    want = real.scenes[straight].clone()
    want[:, 2] = torch.tensor([1, 0, 3, 2])[want[:, 2]]
    assert torch.equal(seen[known], want[known])


def test_a_place_that_is_a_pixel_off_now_and_then_changes_nothing(real):
    x = real.x.clone()
    x[:, :, 3] = x[:, :, 3].roll(1, 2)  # one row down
    x[:, :, 6] = x[:, :, 6].roll(-1, 3)  # one column to the left
    reading = clips.compare(x, real.scenes)
    assert reading.right.all()
    assert clips.flicker(x).max() < 0.01  # at an edge a little goes round to the other side


# --- flicker ------------------------------------------------------------------------------------


@pytest.mark.parametrize("b", [0.9, 0.7, 0.4])
def test_flicker_of_brightness_by_turns_in_closed_form(real, b):
    factors = torch.tensor([1, b] * 5)[:9, None, None]
    got = clips.flicker((real.x + 1) * factors - 1)
    torch.testing.assert_close(got, torch.full((150,), (1 - b) ** 2 / (1 + b**2)))


def test_flicker_of_another_colour_in_closed_form():
    """Red and blue by turns: ‖r − b‖² / (‖r‖² + ‖b‖²)."""
    scene, start = torch.tensor([[0, 1, 1, 0]]), torch.tensor([[12, 7]])
    red, blue = (clips.render(s, start) for s in (scene, scene + torch.tensor([2, 0, 0, 0])))
    x = torch.where(torch.arange(9)[:, None, None] % 2 == 0, red, blue)
    r, b = RGB[0], RGB[2]
    want = (r - b).square().sum() / (r.square().sum() + b.square().sum())
    assert float(clips.flicker(x)) == pytest.approx(float(want), rel=1e-4)


def test_flicker_of_noise_grows_with_it(real):
    noise = torch.randn(real.x.shape, generator=seeded(1))
    levels = [float(clips.flicker(real.x + s * noise).mean()) for s in (0, 0.1, 0.2, 0.4)]
    assert levels == sorted(levels)
    assert 0.02 < levels[1] < levels[2] < levels[3]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"clips must be \(n, 3, frames, side, side\), got \(2, 3"):
        clips.read_back(torch.zeros(2, 3, 24, 24))
