"""The run that makes the text encoder of chapter 10: its batches, its loss, how it is measured."""

import pytest
import torch
from cs231n_gen.caption_trial import CaptionPair

from cs231n_gen import caption_trial, text
from cs231n_gen.given import captions
from cs231n_gen.truth import contrast

TINY = {"dim": 16, "heads": 2, "width": 8}


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


class Knowing(CaptionPair):
    """Sees through pictures and captions: a vector of what each shows, told from the left or upper
    object, or (`order=False`) of what is in it, whichever has which place."""

    def __init__(self, order=True):
        super().__init__(**TINY)
        self.pictures, self.text = Eyes(order), Ears(order)


def described(scenes, order):
    """A vector for each scene: the same for two of them if they show the same."""
    told = captions.retold(scenes)
    first = torch.isin(scenes[:, 3:4], torch.tensor([0, 2, captions.ALONE]))
    scenes = torch.where(first, scenes, told)
    hot = torch.nn.functional.one_hot(scenes + 1, 8).float()  # (n, 7, 8)
    if order:
        return hot.flatten(1)
    return torch.cat([hot[:, :3] + hot[:, 4:], hot[:, 3:4]], 1).flatten(1)


class Eyes(torch.nn.Module):
    def __init__(self, order):
        super().__init__()
        self.order = order

    def forward(self, x):
        return described(captions.read_back(x), self.order)


class Ears(Eyes):
    def forward(self, tokens, mask):
        said = [" ".join(captions.WORDS[i] for i in row if i) for row in tokens.tolist()]
        scenes = torch.stack([captions.scene_of(s) for s in said])
        return torch.zeros(*tokens.shape, 1), described(scenes, self.order)


def test_whoever_knows_pictures_and_captions_finds_all():
    for held_out in (False, True):
        found = caption_trial.measure(Knowing(), 100, held_out=held_out)
        assert (found.caption, found.picture, found.objects, found.colours) == (1, 1, 1, 1)
    assert "of 100 captions the right one in 100.0%" in str(found)


def test_a_bag_of_words_does_not_tell_a_caption_from_its_exchange():
    found = caption_trial.measure(Knowing(order=False), 200)
    assert found.caption > 0.9  # with few captions, order is hardly ever needed
    assert found.objects == found.colours == 0.5  # alike


def test_an_encoder_without_places_gives_exchanged_captions_the_same_vector(g):
    pair = caption_trial.new(places=0.0, **TINY)
    scenes = captions.draw_scenes(50, g, alone=0.0)
    said, other = captions.say(scenes), captions.say(captions.exchanged(scenes))
    one, two = (caption_trial.encode(pair.text, some)[1] for some in (said, other))
    torch.testing.assert_close(one, two)
    assert not torch.allclose(one[:1].expand_as(one), one)


def test_before_training_pairs_are_found_by_chance(g):
    found = caption_trial.measure(caption_trial.new(**TINY), 200)
    assert found.caption < 0.05 and found.picture < 0.05
    assert 0.3 < found.objects < 0.7


def test_a_batch_is_drawn_afresh_and_without_what_is_held_out(g):
    for hard in (0.0, 0.5):
        x, said, scenes = caption_trial.draw_batch(600, g, hard)
        assert caption_trial.allowed(scenes).all()
        assert captions.compare(x, scenes).right.all() and said == captions.say(scenes)
    again = caption_trial.draw_batch(600, g).scenes
    assert not torch.equal(again, caption_trial.draw_batch(600, g).scenes)
    repeated = [
        caption_trial.draw_batch(8, torch.Generator().manual_seed(1), 0.5).x for _ in range(2)
    ]
    assert torch.equal(*repeated)


def test_combinations_that_are_held_out_are_not_allowed(g):
    assert not caption_trial.allowed(captions.draw_scenes(200, g, held_out=True)).any()
    assert caption_trial.allowed(captions.draw_scenes(200, g)).all()


def test_half_of_a_hard_batch_is_the_other_half_exchanged(g):
    scenes = caption_trial.draw_batch(400, g, 0.5).scenes
    made, of = scenes[:200], scenes[200:]
    objects, colours = captions.exchanged(of), caption_trial.recoloured(of)
    is_objects, is_colours = (made == objects).all(1), (made == colours).all(1)
    assert (is_objects | is_colours).all()
    two = of[:, 3] != captions.ALONE
    only = (is_colours & ~is_objects)[two].double().mean()
    assert 0.15 < float(only) < 0.5


def test_colours_alone_are_exchanged(g):
    scenes = torch.stack(
        [
            captions.scene_of("a small purple square left of a large green cross"),
            captions.scene_of("a small purple square"),
        ]
    )
    assert captions.say(caption_trial.recoloured(scenes)) == [
        "a small green square left of a large purple cross",
        "a small purple square",
    ]


def test_a_seed_repeats_a_run_and_a_run_learns():
    ends = []
    for seed in (0, 0, 1):
        pair = caption_trial.new(**TINY)
        history = caption_trial.train(pair, 40, batch=16, seed=seed, progress=False)
        ends.append(torch.cat([p.detach().flatten() for p in pair.parameters()]))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
    assert sum(history.losses[-10:]) < 0.9 * sum(history.losses[:10])


def test_weights_come_from_a_seed_and_leave_the_global_state_alone():
    before = torch.get_rng_state()
    one, two, other = (caption_trial.new(seed, **TINY) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_both_sides_and_the_scale_learn(g):
    pair = caption_trial.new(**TINY)
    x, said, _ = caption_trial.draw_batch(8, g)
    text.contrastive_loss(pair.scores(x, said)).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in pair.parameters())


def test_captions_are_encoded_some_at_a_time_as_all_at_once(g, monkeypatch):
    pair = caption_trial.new(**TINY)
    said = captions.draw(7, g).captions
    whole = caption_trial.encode(pair.text, said)
    monkeypatch.setattr(caption_trial, "AT_ONCE", 3)
    for a, b in zip(whole, caption_trial.encode(pair.text, said), strict=True):
        torch.testing.assert_close(a, b)
    words, pooled, mask = whole
    assert words.shape == (7, captions.LENGTH, 16) and pooled.shape == (7, 16)
    assert mask.sum(1).tolist() == [len(s.split()) for s in said]


def test_the_shipped_encoder_orders_words():
    """A caption and its exchange are far from each other, a caption and its retelling near."""
    encoder = caption_trial.load_words()
    assert not any(p.requires_grad for p in encoder.parameters()) and not encoder.training
    assert caption_trial.data_file(caption_trial.FILE).stat().st_size <= 150_000
    scenes = captions.draw_scenes(200, torch.Generator().manual_seed(1), alone=0.0)
    same, told, other = (
        caption_trial.encode(encoder, captions.say(some))[1]
        for some in (scenes, captions.retold(scenes), captions.exchanged(scenes))
    )
    near, far = (torch.nn.functional.cosine_similarity(same, v) for v in (told, other))
    assert float((near > far).double().mean()) > 0.97


def test_weights_for_another_encoder_are_refused(monkeypatch):
    monkeypatch.setattr(caption_trial, "load_file", lambda path: {"00": torch.zeros(3)})
    monkeypatch.setattr(caption_trial, "data_file", lambda name: name)
    with pytest.raises(RuntimeError, match=r"text\.TextEncoder: \["):
        caption_trial.load_words()


def test_the_floor_is_that_of_who_reads_everything(g):
    """Who knows pictures and captions has the floor as mean loss, who sees a bag of words its own.

    Their scores are log p(picture | caption) up to a constant: alike where the meaning is, and
    far below elsewhere."""
    for hard in (0.0, 0.5):
        for order in (True, False):
            losses = []
            for _ in range(100):
                scenes = caption_trial.draw_batch(32, g, hard).scenes
                said = caption_trial.meanings(scenes, order)
                scores = 40.0 * (said[:, None] == said).all(2)
                losses.append(text.contrastive_loss(scores))
            losses = torch.stack(losses).double()
            error = float(losses.std()) / 10
            found = caption_trial.loss_floor(32, hard, order=order, batches=400)
            assert abs(found - float(losses.mean())) < 5 * error


def test_without_places_half_is_right_whatever_the_weights():
    for seed in (1, 2):
        found = caption_trial.measure(caption_trial.new(seed, places=0.0, **TINY), 100)
        assert found.objects == found.colours == 0.5


@pytest.mark.parametrize("order", [True, False])
def test_meanings_are_equal_where_captions_say_the_same(g, order):
    scenes = captions.draw_scenes(100, g)
    means = caption_trial.meanings(scenes, order)
    assert torch.equal(caption_trial.meanings(captions.retold(scenes), order), means)
    two = (scenes[:, 3] != captions.ALONE) & (scenes[:, :3] != scenes[:, 4:]).any(1)
    for other in (captions.exchanged(scenes), caption_trial.recoloured(scenes)):
        same = (caption_trial.meanings(other, order) == means).all(1)
        assert same[~two].all()
        changed = two & (other != scenes).any(1)
        if order:
            # colours exchanged between objects alike but for colour are the objects exchanged
            assert not same[changed].any()
        else:
            assert same.all()


def test_meanings_without_order_are_those_of_the_same_words(g):
    scenes = captions.draw_scenes(300, g, alone=0.3)
    bags = {}
    mirror = {"right": "left", "below": "above"}
    for said, means in zip(
        captions.say(scenes), caption_trial.meanings(scenes, order=False).tolist(), strict=True
    ):
        bag = tuple(sorted(mirror.get(word, word) for word in said.split()))
        assert bags.setdefault(bag, means) == means
    assert len(set(map(tuple, bags.values()))) == len(bags)


def test_encoders_with_and_without_places_are_compared():
    trial = caption_trial.compare_places(3, batch=8, n=20, seed=1, progress=False)
    assert list(trial.runs) == [text.SPREAD, 0.0]
    assert trial.floor == caption_trial.loss_floor(8, 0.5) < trial.bag
    with_places, without = trial.runs.values()
    assert without.seen.objects == without.held_out.colours == 0.5
    assert len(with_places.history.losses) == len(without.history.losses) == 3
    lines = trial.table().splitlines()
    assert len(lines) == 5 and len({len(line) for line in lines[1:4]}) == 1
    assert lines[2].startswith("places N(0, 0.5²)") and lines[3].startswith("no places")
    assert f"{trial.bag:.3f}" in lines[4] and "among 20" in lines[4]


def test_all_captions_there_are_differ():
    scenes = caption_trial.all_scenes()
    said = captions.say(scenes)
    assert len(said) == len(set(said)) == 60 + 60 * 4 * 60
    some = torch.arange(0, len(scenes), 371)
    assert all(torch.equal(captions.scene_of(said[i]), scenes[i]) for i in some)


def test_whoever_knows_captions_reads_pictures_by_them():
    shares = caption_trial.shares_read(Knowing(), 60, held_out=True)
    parts = {"size", "colour", "shape", "relation"}
    assert set(shares) == parts | {"readable", "objects", "right"}
    assert all(share == 1 for share in shares.values())


def test_what_is_found_in_pictures_is_held_to_their_scenes_from_either_object(g):
    x, _, scenes = captions.draw(200, g)
    seen = captions.read_back(x)
    for other in (scenes, captions.exchanged(scenes), caption_trial.recoloured(scenes)):
        want, found = captions.compare(x, other), caption_trial.agreement(seen, other)
        assert all(torch.equal(*pair) for pair in zip(want, found, strict=True))


def test_pictures_and_captions_make_a_matrix():
    found = caption_trial.matrix(Knowing())
    assert found.cosines.shape == (8, 8)
    torch.testing.assert_close(found.cosines.diagonal(), torch.ones(8))
    assert int((found.cosines > 0.999).sum()) == 8
    said = ["a small red ring", "a small red ring left of a large blue cross"]
    for order in (True, False):
        x, listed, cosines = caption_trial.matrix(Knowing(order), said, seed=3)
        assert listed == said and captions.compare(x, captions.read_back(x)).right.all()
        assert x.shape == (2, 3, 32, 32) and cosines.shape == (2, 2)


def test_a_bag_of_words_puts_exchanged_captions_where_they_were():
    for ears, exchanged in ((Ears(False), True), (Ears(True), False)):
        found = caption_trial.kinship(ears, 100)
        assert found["told from the other object"] == pytest.approx(1)
        for name in ("objects exchanged", "colours exchanged"):
            assert (found[name] == pytest.approx(1)) == exchanged
        for name in ("another size", "another colour", "another shape", "another caption"):
            assert found[name] < 0.99


def test_without_places_a_shape_does_not_know_its_colour():
    for places, low, high in ((0.0, 0.4, 0.6), (text.SPREAD, 0.8, 1.0)):
        encoder = caption_trial.new(places=places).text
        assert low < caption_trial.own_colour(encoder, 2000) < high


def test_attention_is_a_mean_of_shares():
    encoder = caption_trial.new(**TINY).text
    found = caption_trial.mean_attention(encoder, 20)
    assert found.shape == (2, len(caption_trial.ROLES), captions.LENGTH)
    torch.testing.assert_close(found.sum(2), torch.ones(2, 10))
    with torch.no_grad():  # keys that fit no query better than others
        encoder.blocks[0].qkv.weight.zero_()
    torch.testing.assert_close(
        caption_trial.mean_attention(encoder, 20), torch.full((2, 10, 10), 0.1)
    )


@pytest.mark.parametrize("order", [True, False])
def test_the_floor_of_independent_scenes_is_that_in_closed_form(order):
    """Meanings are the classes of `truth.contrast`, and as likely as their scenes."""
    n = 64
    scenes = caption_trial.all_scenes()
    scenes = scenes[caption_trial.allowed(scenes)]
    alone = scenes[:, 3] == captions.ALONE
    p = torch.where(alone, 0.2 / alone.sum(), 0.8 / (~alone).sum()).double()
    means, which = caption_trial.meanings(scenes, order).unique(dim=0, return_inverse=True)
    p = torch.zeros(len(means), dtype=torch.double).index_add(0, which, p)
    want = contrast.same_class_loss(p, n)
    if order:
        assert want == pytest.approx(contrast.caption_floor(n, 50, 4, 0.2), rel=1e-6)
    found = caption_trial.loss_floor(n, order=order, batches=1000)
    assert found == pytest.approx(want, rel=0.06)
