"""Captioned pictures: what is drawn is read back, and what is not clean is not."""

import math
from itertools import product

import pytest
import torch
from cs231n_gen.captions import (
    ALONE,
    COLOURS,
    HELD_OUT,
    NOTHING,
    RELATIONS,
    SHAPES,
    SIZES,
    UNREADABLE,
)
from torch.nn import functional as F

from cs231n_gen import captions


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", params=[False, True], ids=["seen", "held out"])
def drawn(request):
    return captions.draw(1500, seeded(0), held_out=request.param)


@pytest.fixture(scope="module")
def real():
    """Pictures of both kinds, to be spoilt."""
    both = [captions.draw(400, seeded(1), held_out=held) for held in (False, True)]
    return torch.cat([b.x for b in both]), torch.cat([b.scenes for b in both])


def objects():
    return product(range(len(SIZES)), range(len(COLOURS)), range(len(SHAPES)))


def is_held_out(colour, shape):
    return (COLOURS[colour], SHAPES[shape]) in HELD_OUT


def all_scenes():
    alone = [[*one, ALONE, *[NOTHING] * 3] for one in objects()]
    pairs = product(objects(), range(len(RELATIONS)), objects())
    return torch.tensor(alone + [[*a, relation, *b] for a, relation, b in pairs])


def held_out_objects(scenes):
    """How many objects of each scene are of combinations that are held out."""
    return torch.tensor(
        [is_held_out(r[1], r[2]) + (r[3] != ALONE and is_held_out(r[5], r[6])) for r in scenes]
    )


# --- what is drawn ------------------------------------------------------------------------------


def test_captions_are_as_many_as_the_module_says():
    scenes = all_scenes()
    said = captions.say(scenes)
    assert len(set(said)) == len(said) == 14460
    assert held_out_objects(scenes.tolist()).bincount().tolist() == [10050, 4010, 400]


def test_all_words_are_known_and_no_caption_is_too_long():
    used = {word for caption in captions.say(all_scenes()) for word in caption.split()}
    assert used == set(captions.WORDS[1:])
    assert len(set(captions.WORDS)) == len(captions.WORDS)
    longest = max(len(caption.split()) for caption in captions.say(all_scenes()))
    assert longest == captions.LENGTH


def test_held_out_combinations_are_seen_only_when_asked_for():
    assert not held_out_objects(captions.draw_scenes(20000, seeded(0)).tolist()).any()
    held = captions.draw_scenes(20000, seeded(0), held_out=True)
    assert (held_out_objects(held.tolist()) == 1).all()
    two = held[held[:, 3] != ALONE]
    first = torch.tensor([is_held_out(row[1], row[2]) for row in two.tolist()])
    assert abs(first.float().mean() - 0.5) < 0.02, "it is either of the two, equally often"


def test_everything_seen_occurs_equally_often():
    scenes = captions.draw_scenes(50000, seeded(0))
    single = scenes[:, 3] == ALONE
    assert abs(single.float().mean() - 0.2) < 0.01
    assert (scenes[single, 4:] == NOTHING).all()
    assert (scenes[~single, 4:] >= 0).all()
    relations = scenes[~single, 3].bincount() / (~single).sum()
    torch.testing.assert_close(relations, torch.full((4,), 0.25), atol=0.01, rtol=0)
    for of in (scenes[:, :3], scenes[~single, 4:]):
        counts = (of @ torch.tensor([100, 10, 1])).unique(return_counts=True)[1] / len(of)
        torch.testing.assert_close(counts, torch.full((50,), 0.02), atol=0.004, rtol=0)


@pytest.mark.parametrize("alone", [0.0, 1.0])
def test_the_share_of_single_objects_is_kept(alone):
    scenes = captions.draw_scenes(100, seeded(0), alone=alone, held_out=True)
    assert ((scenes[:, 3] == ALONE) == bool(alone)).all()


def test_a_generator_repeats_and_leaves_the_global_state():
    before = torch.get_rng_state()
    one, other = (captions.draw(20, seeded(3)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.x, other.x)
    assert one.captions == other.captions
    assert not torch.equal(one.x, captions.draw(20, seeded(4)).x)


def test_nothing_can_be_drawn():
    none = captions.draw(0)
    assert none.x.shape == (0, 3, 32, 32)
    assert none.captions == []


def test_pictures_are_light_on_black_in_the_colours_of_their_objects(drawn):
    assert drawn.x.shape == (1500, 3, 32, 32)
    assert drawn.x.dtype == torch.float32
    assert drawn.x.min() == -1
    assert drawn.x.max() == 1
    light = (drawn.x + 1) / 2
    alone = drawn.scenes[:, 3] == ALONE
    brightest = light[alone].flatten(2).amax(2)
    torch.testing.assert_close(brightest, captions.RGB[drawn.scenes[alone, 1]])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_have_the_areas_of_their_shapes(size, shape):
    r = captions.RADII[SIZES.index(size)]
    half = 0.55 * 1.9 * r  # of the side of the triangle, 1.9 r high
    area = {
        "circle": math.pi * r**2,
        "square": (1.8 * r) ** 2,
        "triangle": half * 1.9 * r,
        "ring": 0.75 * math.pi * r**2,
        "cross": 2 * (0.6 * r) * (2 * r) - (0.6 * r) ** 2,
    }[shape]
    outline = captions.OUTLINES[SIZES.index(size) * len(SHAPES) + SHAPES.index(shape)]
    assert float(outline.sum()) == pytest.approx(area, rel=0.04)  # of 8×8 points a pixel
    assert max(r, half) < 7.5, "its box is too small for it"


# --- all pictures of a caption ------------------------------------------------------------------


@pytest.mark.parametrize("relation", [*range(4), ALONE])
def test_a_caption_has_400_pictures_or_256(relation):
    scene = torch.tensor([1, 0, 3, relation, *([NOTHING] * 3 if relation == ALONE else [0, 5, 4])])
    x = captions.pictures_of(scene)
    assert x.shape == (256 if relation == ALONE else 400, 3, 32, 32)
    assert len(x.flatten(1).unique(dim=0)) == len(x), "each of them comes once"
    assert captions.compare(x, scene.expand(len(x), 7)).right.all()


@pytest.mark.parametrize("relation", [0, 3, ALONE])
def test_they_are_those_that_are_rendered_equally_often(relation):
    scene = torch.tensor([0, 4, 2, relation, *([NOTHING] * 3 if relation == ALONE else [1, 1, 1])])
    n = 12000
    at = torch.tensor([[1.0, 32.0, 1024.0]]) @ torch.randn(3, 32 * 32, generator=seeded(0))

    def prints(x):
        return ((x.amax(1).flatten(1) @ at.T) * 100).round().long()[:, 0]

    every = prints(captions.pictures_of(scene)).sort().values
    assert len(every.unique()) == len(every)
    got = torch.cat(
        [prints(captions.render(scene.expand(n // 10, 7), seeded(i))) for i in range(10)]
    )
    found, counts = got.unique(return_counts=True)
    assert torch.equal(found, every)
    assert (counts - n / len(every)).abs().max() < 5 * math.sqrt(n / len(every))


def test_objects_never_touch_and_are_never_cut_off():
    for relation, first, second in product(range(4), range(10), range(10)):
        if first != 9 and second != 6:  # large shapes on both sides are the widest
            continue
        scene = torch.tensor([first // 5, 5, first % 5, relation, second // 5, 5, second % 5])
        light = (captions.pictures_of(scene).sum((1, 2, 3)) + 3 * 1024) / 6  # white: sum of cover
        whole = captions.OUTLINES[first].sum() + captions.OUTLINES[second].sum()
        torch.testing.assert_close(light, whole.expand(400), atol=1e-2, rtol=0)


def test_one_scene_has_pictures_and_not_several():
    with pytest.raises(ValueError, match=r"one row of 7 numbers, got \(2, 7\)"):
        captions.pictures_of(captions.draw_scenes(2))


# --- what is said -------------------------------------------------------------------------------


def test_scene_of_is_the_inverse_of_say():
    scenes = all_scenes()
    some = scenes[torch.randperm(len(scenes), generator=seeded(0))[:3000]]
    for row, caption in zip(some, captions.say(some), strict=True):
        assert torch.equal(captions.scene_of(caption), row)


def test_words_may_be_capitals_with_more_space_between():
    said = "  A Small RED circle\tabove a large white   ring "
    assert captions.scene_of(said).tolist() == [0, 0, 0, 2, 1, 5, 3]


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("", 'word 1 must be "a", got nothing'),
        ("the small red circle", "word 1 must be \"a\", got 'the'"),
        ("a red circle", "word 2 must be one of small, large, got 'red'"),
        ("a small rde circle", r"word 3 must be one of red, .*, got 'rde'; did you mean 'red'\?"),
        ("a small red", "word 4 must be one of circle, .*, got nothing"),
        ("a small red circel", r"word 4 .*, got 'circel'; did you mean 'circle'\?"),
        ("a small red circle beside", "word 5 must be one of left, .*, got 'beside'"),
        ("a small red circle left a", 'word 6 must be "of" after "left", got \'a\''),
        ("a small red circle right", 'word 6 must be "of" after "right", got nothing'),
        ("a small red circle below", 'word 6 must be "a", got nothing'),
        ("a small red circle above of", "word 6 must be \"a\", got 'of'"),
        ("a small red circle left of the", "word 7 must be \"a\", got 'the'"),
        ("a small red circle above a red", "word 7 must be one of small, large, got 'red'"),
        ("a small red circle left of a small blue", "word 10 must be one of circle, .* nothing"),
        ("a small red circle above a small blue ring and", "got 'and' as word 10"),
        ("a small red circle left of a small blue ring .", r"got '\.' as word 11"),
    ],
)
def test_a_wrong_caption_is_refused_with_the_word_and_its_place(caption, message):
    with pytest.raises(ValueError, match=message):
        captions.scene_of(caption)


def test_exchanging_objects_twice_or_telling_from_the_other_twice_changes_nothing():
    scenes = captions.draw_scenes(500, seeded(0))
    assert torch.equal(captions.exchanged(captions.exchanged(scenes)), scenes)
    assert torch.equal(captions.retold(captions.retold(scenes)), scenes)
    alone = scenes[:, 3] == ALONE
    assert torch.equal(captions.retold(scenes[alone]), scenes[alone])


def test_the_same_picture_is_told_from_the_other_object():
    """Each picture of one is a picture of the other."""
    scene = captions.scene_of("a small red ring left of a large green square")
    other = captions.retold(scene[None])[0]
    assert captions.say(other[None]) == ["a large green square right of a small red ring"]
    a, b = (captions.pictures_of(s).flatten(1) for s in (scene, other))
    both, counts = torch.cat([a, b]).unique(dim=0, return_counts=True)
    assert len(both) == 400
    assert (counts == 2).all()


# --- what is read back --------------------------------------------------------------------------


def test_real_pictures_are_read_right(drawn):
    reading = captions.compare(drawn.x, drawn.scenes)
    assert reading.right.all()
    assert reading.parts.all()
    assert reading.objects.all()
    assert reading.readable.all()


def test_every_combination_is_read_right():
    """Each object alone, and each two kinds of outline in each relation, in all colours."""
    alone = [[*one, ALONE, *[NOTHING] * 3] for one in objects()]
    pairs = [
        [a // 5, (a + b + relation) % 6, a % 5, relation, b // 5, (2 * a + 3 * b) % 6, b % 5]
        for a, relation, b in product(range(10), range(4), range(10))
    ]
    scenes = torch.tensor(alone * 2 + pairs)
    assert captions.compare(captions.render(scenes, seeded(0)), scenes).right.all()


def test_it_does_not_matter_what_else_is_read(drawn):
    alone = torch.cat([captions.read_back(x[None]) for x in drawn.x[:50]])
    assert torch.equal(captions.read_back(drawn.x[:50]), alone)


def test_two_objects_that_are_alike_are_read():
    scenes = torch.tensor([[s, c, k, r, s, c, k] for s, c, k in objects() for r in range(4)])
    assert captions.compare(captions.render(scenes, seeded(0)), scenes).right.all()


def gaussian_blur(x, std):
    reach = int(4 * std) + 1
    at = torch.arange(-reach, reach + 1.0)
    kernel = torch.exp(-at.square() / (2 * std**2))
    kernel = kernel / kernel.sum()
    light = F.pad((x + 1).flatten(0, 1)[:, None], [reach] * 4)
    light = F.conv2d(light, kernel[None, None, :, None])
    return F.conv2d(light, kernel[None, None, None, :]).view_as(x) - 1


def per_cent(x, scenes):
    """Right, unreadable, misread."""
    reading = captions.compare(x, scenes)
    right, readable = reading.right.float().mean(), reading.readable.float().mean()
    assert not (reading.right & ~reading.readable).any()
    return [100 * float(share) for share in (right, 1 - readable, readable - right)]


TABLE = {  # right, unreadable, misread, in per cent; `read_back` says it, too
    ("noise", 0.1): [100, 0, 0],
    ("noise", 0.2): [96, 4, 0],
    ("noise", 0.3): [74, 26, 0],
    ("noise", 0.4): [41, 59, 0],
    ("noise", 0.6): [2, 98, 0],
    ("blur", 0.6): [100, 0, 0],
    ("blur", 0.8): [100, 0, 0],
    ("blur", 1.0): [68, 17, 15],
    ("blur", 1.2): [42, 46, 12],
    ("blur", 2.0): [8, 90, 2],
    ("faded", 0.9): [100, 0, 0],
    ("faded", 0.8): [100, 0, 0],
    ("faded", 0.7): [0, 100, 0],
    ("faded", 0.5): [0, 100, 0],
    ("faded", 0.0): [0, 100, 0],
}


@pytest.mark.parametrize(("how", "much"), TABLE)
def test_the_table_of_calibration_holds(real, how, much):
    x, scenes = real
    worse = {
        "noise": lambda: x + much * torch.randn(x.shape, generator=seeded(2)),
        "blur": lambda: gaussian_blur(x, much),
        "faded": lambda: much * (x + 1) - 1,
    }[how]()
    got = per_cent(worse, scenes)
    # 800 pictures: a share has a standard deviation of 1.8 at most, that of the table 0.8
    assert got == pytest.approx(TABLE[how, much], abs=7)
    assert got[2] <= 1 or TABLE[how, much][2] > 1, "misread, where the table has it unreadable"


def test_the_table_is_that_of_the_docstring():
    lines = [line.split() for line in captions.read_back.__doc__.splitlines()]
    said = {}
    for line in lines:
        if line and line[0] in ("noise", "blur", "faded"):
            how = line[0]
            levels = [float(v) for v in line[1:]]
        elif line[:1] in (["right"], ["unreadable"], ["misread"]):
            for level, share in zip(levels, line[1:], strict=True):
                said.setdefault((how, level), []).append(int(share))
    assert said == TABLE


@pytest.mark.parametrize(
    "picture",
    [
        torch.full((3, 32, 32), -1.0),
        torch.zeros(3, 32, 32),
        torch.ones(3, 32, 32),
        torch.full((3, 32, 32), math.nan),
        torch.full((3, 32, 32), math.inf),
        torch.linspace(-1, 1, 32).expand(3, 32, 32),
    ],
    ids=["black", "grey", "white", "NaN", "infinite", "a slope"],
)
def test_what_is_no_picture_is_unreadable(picture):
    assert (captions.read_back(picture[None]) == UNREADABLE).all()


def test_noise_is_unreadable():
    normal = torch.randn(200, 3, 32, 32, generator=seeded(0))
    uniform = 2 * torch.rand(200, 3, 32, 32, generator=seeded(0)) - 1
    assert (captions.read_back(torch.cat([normal, uniform])) == UNREADABLE).all()


def test_three_objects_are_unreadable():
    """The third may be much smaller than the others."""
    two = captions.draw(4000, seeded(0), alone=0)
    third = captions.draw(4000, seeded(1), alone=1)
    apart = ~((two.x > -1) & (third.x > -1)).flatten(1).any(1)
    assert apart.sum() > 100
    x = torch.maximum(two.x, third.x)[apart]
    assert (captions.read_back(x) == UNREADABLE).all()


def test_an_object_that_is_half_there_makes_a_picture_unreadable(real):
    """One of two that fades, and one that two pictures share."""
    x, scenes = real
    x, scenes = x[scenes[:, 3] == 0], scenes[scenes[:, 3] == 0]  # "left of"
    half = x.clone()
    half[..., 16:] = (half[..., 16:] - 1) / 2
    assert not captions.compare(half, scenes).readable.any()
    mixed = captions.compare((x + x.flip(0)) / 2, scenes)
    assert mixed.readable.float().mean() < 0.1  # where objects happen to lie over each other
    assert mixed.right.float().mean() < 0.04


def test_what_is_unreadable_counts_as_wrong():
    scenes = captions.draw_scenes(50, seeded(0))
    reading = captions.compare(torch.zeros(50, 3, 32, 32), scenes)
    assert not reading.readable.any()
    assert set(reading.shares().values()) == {0.0}


def test_an_object_that_is_gone_is_missed(real):
    x, scenes = real
    x, scenes = x[scenes[:, 3] == 0], scenes[scenes[:, 3] == 0]
    left = x.clone()
    left[..., 16:] = -1  # the second object is gone: a clean picture of one
    reading = captions.compare(left, scenes)
    assert reading.readable.all()
    assert not reading.right.any()
    assert not reading.objects.any()
    assert reading.parts[:, :3].all()
    assert not reading.parts[:, 3:].any()


def test_pictures_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must be \(n, 3, side, side\), got \(2, 1, 32, 32\)"):
        captions.read_back(torch.zeros(2, 1, 32, 32))


# --- comparing ----------------------------------------------------------------------------------


def test_both_ways_of_telling_count(drawn):
    x, scenes = drawn.x[:200], drawn.scenes[:200]
    assert captions.compare(x, captions.retold(scenes)).right.all()


def test_exchanged_objects_are_seen(drawn):
    """ "A left of B" is no picture of "B left of A", but both objects are there."""
    x, scenes = drawn.x[:200], drawn.scenes[:200]
    alike = (scenes[:, :3] == scenes[:, 4:]).all(1) | (scenes[:, 3] == ALONE)
    reading = captions.compare(x, captions.exchanged(scenes))
    assert torch.equal(reading.right, alike)
    assert reading.objects.all()


@pytest.mark.parametrize("part", range(7))
def test_one_wrong_part_is_named(part):
    """Of objects that differ in all, so that no other telling fits better."""
    scenes = torch.tensor([[0, 1, 2, 0, 1, 3, 4]] * 20)
    wrong = scenes.clone()
    wrong[:, part] = {0: 1, 1: 5, 2: 0, 3: 2, 4: 0, 5: 0, 6: 1}[part]
    reading = captions.compare(captions.render(scenes, seeded(0)), wrong)
    assert not reading.right.any()
    want = torch.arange(7) != part
    assert (reading.parts == want).all()
    assert (reading.objects == (part == 3)).all()
    name, twice = captions.PARTS[part], captions.PARTS.count(captions.PARTS[part]) == 2
    shares = reading.shares()
    assert shares.pop(name) == (0.5 if twice else 0)
    assert (shares.pop("right"), shares.pop("objects")) == (0, part == 3)
    assert set(shares.values()) == {1}
