"""The run of chapter 10: its data, its floor, its blocks, and how pictures are judged."""

import pytest
import torch
from cs231n_gen.picture_trial import CaptionedLatents, CrossBlock

from cs231n_gen import caption_trial, flow, picture_trial, schedules, text
from cs231n_gen.given import captions
from cs231n_gen.text_to_image import JointBlock

TINY = {"dim": 8, "depth": 1, "heads": 2}


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def words():
    torch.manual_seed(0)
    return text.TextEncoder(captions.WORDS, captions.LENGTH, dim=8, heads=2)


@pytest.fixture(scope="module")
def coder():
    """An untrained one, whose latents are standardised."""
    found = picture_trial.new_coder(width=8)
    for net in found[:2]:
        net.eval().requires_grad_(False)
    return found._replace(shift=0.1, scale=3.0)


@pytest.fixture(scope="module")
def few(coder):
    return picture_trial.latents_of(coder, 300, progress=False)


class Real(torch.nn.Module):
    """Leads from any noise to the latents of a real picture of the caption."""

    def __init__(self, words, coder, wrong=0):
        super().__init__()
        self.encoder, self.coder, self.wrong = words, coder, wrong

    def forward(self, x_t, t, tokens):
        said = [" ".join(captions.WORDS[i] for i in row if i) for row in tokens.tolist()]
        scenes = torch.stack([captions.scene_of(c) for c in said])
        scenes[: self.wrong, 1] = (scenes[: self.wrong, 1] + 1) % len(captions.COLOURS)
        u = self.coder.encode(captions.render(scenes, torch.Generator().manual_seed(0)))
        return (x_t - u) / t[:, None, None, None]


class NoCoder(picture_trial.Coder):
    """Its latents are the pictures, folded, so nothing is lost."""

    def encode(self, x):
        return torch.nn.functional.pixel_unshuffle(x, 4)

    def decode(self, u):
        return torch.nn.functional.pixel_shuffle(u, 4)


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr(picture_trial, "SHAPE", (48, 8, 8))
    return NoCoder(None, None, 0.0, 1.0)


def test_a_set_comes_from_its_seed_and_has_the_captions_of_its_pictures(coder):
    one, two, other = (picture_trial.latents_of(coder, 30, s, progress=False) for s in (0, 0, 1))
    assert torch.equal(one.u, two.u) and torch.equal(one.tokens, two.tokens)
    assert not torch.equal(one.scenes, other.scenes)
    said = [" ".join(captions.WORDS[i] for i in row if i) for row in one.tokens.tolist()]
    assert said == captions.say(one.scenes)
    assert one.u.shape == (30, 4, 8, 8)


def test_latents_are_those_of_pictures_of_the_scenes(exact):
    data = picture_trial.latents_of(exact, 300, progress=False)
    assert captions.compare(exact.decode(data.u), data.scenes).right.all()


def test_held_out_combinations_are_only_where_they_are_asked_for(coder):
    pairs = {(captions.COLOURS.index(c), captions.SHAPES.index(s)) for c, s in captions.HELD_OUT}
    for held_out in (False, True):
        scenes = picture_trial.scenes_to_judge(400, held_out=held_out).tolist()
        has = [(row[1], row[2]) in pairs or (row[5], row[6]) in pairs for row in scenes]
        assert all(has) if held_out else not any(has)


def test_a_tenth_of_the_captions_is_dropped_as_a_whole(few, g):
    u, _, t, tokens = picture_trial.batch_of(few, 20_000, (0.5, 1.0), 0.1, g)
    empty = (tokens == 0).all(1)
    assert float(empty.double().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(torch.logit(t).mean()) == pytest.approx(0.5, abs=0.03)
    i = (u[~empty][:50].flatten(1)[:, None] == few.u.flatten(1)).all(2).int().argmax(1)
    assert torch.equal(few.tokens[i], tokens[~empty][:50])


def test_cross_attention_reads_words_and_no_padding(g):
    torch.manual_seed(0)
    block = CrossBlock(8, 2).double()
    for p in block.parameters():
        torch.nn.init.normal_(p, std=0.5)
    x, c = (torch.randn(3, n, generator=g).double() for n in (5 * 8, 6 * 8))
    x = x.view(3, 5, 8)
    y = torch.randn(3, 4, 8, generator=g).double()
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]).bool()
    found, same = block(x, y, c, mask)
    assert torch.equal(same, y)
    other = torch.where(mask[..., None], y, 100.0)
    torch.testing.assert_close(block(x, other, c, mask)[0], found)
    assert not torch.allclose(block(x, y + 1, c, mask)[0], found)
    order = torch.tensor([1, 0, 2, 3])  # without places in the words, their order is not seen
    torch.testing.assert_close(block(x, y[:, order], c, mask[:, order])[0], found)


def test_cross_attention_of_one_word_adds_the_same_everywhere(g):
    """A softmax over one word is 1, whatever the query."""
    torch.manual_seed(0)
    block = CrossBlock(8, 2)
    for p in block.cross.parameters():
        torch.nn.init.normal_(p, std=0.5)
    x, y = torch.randn(2, 5, 8, generator=g), torch.randn(2, 1, 8, generator=g)
    found, _ = block(x, y, torch.zeros(2, 48))  # all gates are 0
    _, value = block.cross.kv(y).chunk(2, dim=-1)
    torch.testing.assert_close(found, x + block.cross.out(value))


@pytest.mark.parametrize("block", [JointBlock, CrossBlock])
def test_a_run_repeats_from_its_seed_learns_and_leaves_the_encoder(words, few, block):
    before = [p.clone() for p in words.parameters()]
    ends = []
    for seed in (0, 0, 1):
        model = picture_trial.new(words, block=block, **TINY)
        generator = torch.Generator().manual_seed(seed)
        run = picture_trial.fit(model, few, steps=40, batch=16, generator=generator, progress=False)
        ends.append(torch.cat([p.detach().flatten() for p in picture_trial.own_weights(model)]))
        losses = run.history.losses
        assert sum(losses[-5:]) < sum(losses[:5])
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
    assert all(torch.equal(a, b) for a, b in zip(before, words.parameters(), strict=True))


@pytest.mark.parametrize("muon", [False, True])
def test_glances_do_not_change_a_run(words, few, muon):
    ends = []
    for watch in (None, lambda model: {"right": float(not model.training)}):
        model = picture_trial.new(words, **TINY)
        run = picture_trial.fit(
            model, few, steps=10, batch=8, muon=muon, watch=watch, every=1e-9, progress=False
        )
        ends.append(torch.cat([p.detach().flatten() for p in picture_trial.own_weights(model)]))
    assert torch.equal(*ends)
    assert [g.steps for g in run.glances] == list(range(1, 11))
    assert all(g.shares == {"right": 1.0} for g in run.glances)
    times = [g.seconds for g in run.glances]
    assert times == sorted(times) and times[-1] > 0


def test_the_last_glance_is_at_the_end(words, few):
    model = picture_trial.new(words, **TINY)
    own = picture_trial.own_weights(model)
    options = {"steps": 5, "batch": 8, "progress": False, "every": 1e9}
    run = picture_trial.fit(model, few, watch=lambda m: {"same": _same(m, own)}, **options)
    assert [(g.steps, g.shares["same"]) for g in run.glances] == [(5, 1.0)]


def _same(model, weights):
    pairs = zip(picture_trial.own_weights(model), weights, strict=True)
    return float(all(torch.equal(a, b) for a, b in pairs))


def test_a_perfect_painter_is_right_and_a_wrong_colour_is_seen(words, exact):
    scenes = picture_trial.scenes_to_judge(60)
    found = picture_trial.judge(Real(words, exact), exact, scenes, w=0.0, steps=2)
    assert found.reading.right.all() and set(found.reading.shares().values()) == {1.0}
    found = picture_trial.judge(Real(words, exact, wrong=20), exact, scenes, w=0.0, steps=2)
    assert int(found.reading.right.sum()) == 40
    assert found.reading.shares()["shape"] == 1.0
    assert picture_trial.exchanged_pairs(Real(words, exact), exact, 20, w=0.0, steps=1) == (1, 1)


def test_a_bag_of_words_is_right_in_half_of_exchanged_captions(words, exact):
    class Bag(Real):
        def forward(self, x_t, t, tokens):
            scenes = torch.stack(
                [
                    captions.scene_of(" ".join(captions.WORDS[i] for i in row if i))
                    for row in tokens.tolist()
                ]
            )
            first = torch.minimum(scenes[:, :3] @ self.rank, scenes[:, 4:] @ self.rank)
            swap = scenes[:, :3] @ self.rank != first  # one of the two orders, whichever was asked
            scenes[swap] = captions.exchanged(scenes[swap])
            u = self.coder.encode(captions.render(scenes, torch.Generator().manual_seed(0)))
            return (x_t - u) / t[:, None, None, None]

        rank = torch.tensor([100, 10, 1])

    share, both = picture_trial.exchanged_pairs(Bag(words, exact), exact, 30, w=0.0, steps=1)
    assert share == 0.5 and both == 0


def test_a_film_ends_with_the_picture_and_shows_what_is_expected(words, exact):
    class Guess(torch.nn.Module):
        """Expects a picture that depends on the level, and on nothing else."""

        encoder = words

        def forward(self, x_t, t, tokens):
            return (x_t - t[:, None, None, None]) / t[:, None, None, None]

    caption = "a small red ring"
    found = picture_trial.film(Guess(), exact, caption, [0, 3, 1], w=2.0, steps=4)
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([1.0, 0.25, 0.75]))
    whole = picture_trial.pictures_for(Guess(), exact, [caption], w=2.0, steps=4)
    torch.testing.assert_close(found[1:2], whole)
    with pytest.raises(ValueError, match="from 0 to 3"):
        picture_trial.film(Guess(), exact, caption, [4], steps=4)


def test_noise_is_that_of_the_seed_for_any_captions(words, exact):
    class Nothing(torch.nn.Module):
        encoder = words

        def forward(self, x_t, t, tokens):
            return torch.zeros_like(x_t)

    said = captions.say(picture_trial.scenes_to_judge(300))
    x = picture_trial.pictures_for(Nothing(), exact, said, steps=1)
    z = torch.randn(300, 48, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(exact.encode(x), z)
    again = picture_trial.pictures_for(Nothing(), exact, said[::-1], negative=said, steps=1)
    assert torch.equal(x, again)


def test_the_floor_is_the_loss_of_the_best_network(coder, few):
    """Of a network that knows all pictures of each caption by heart, on pictures drawn afresh."""
    scenes = few.scenes[:4]
    some = CaptionedLatents(few.u[:4], few.tokens[:4], scenes)
    g = torch.Generator().manual_seed(1)
    losses = []
    for scene in scenes:
        members = coder.encode(captions.pictures_of(scene))
        u = coder.encode(captions.render(scene.expand(400, 7), g))
        z, t = torch.randn(u.shape, generator=g), schedules.logit_normal(400, 0.0, 1.0, g)

        def best(x_t, t, y=None, members=members):
            return schedules.optimal_velocity(x_t, t, members)

        losses.append(flow.loss(best, u, z, t))
    with_caption, _ = picture_trial.floor(coder, some, scenes=40, pairs=20, quantiles=24)
    assert with_caption == pytest.approx(float(torch.stack(losses).mean()), rel=0.1)


def test_without_a_caption_the_floor_is_that_of_the_training_set(coder, few):
    z = torch.randn(300, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    t = torch.tensor([0.95])
    one = float(schedules.loss_floor(few.u, z, t, few.u))
    assert one > 0.05
    level = (float(torch.logit(t)), 1e-6)
    _, without = picture_trial.floor(coder, few, level, scenes=10, pairs=40, quantiles=2)
    assert without == pytest.approx(one, rel=0.1)


def test_reconstructions_without_loss_are_read_as_what_they_are(exact):
    for held_out in (False, True):
        found = picture_trial.reconstructions(exact, 50, held_out=held_out)
        assert found.reading.right.all()


def test_the_autoencoder_learns():
    coder = picture_trial.new_coder(width=8)
    g = torch.Generator().manual_seed(0)
    history = picture_trial.fit_autoencoder(
        *coder[:2], steps=30, batch=8, generator=g, progress=False
    )
    assert sum(history.losses[-5:]) < 0.8 * sum(history.losses[:5])


def test_the_shipped_autoencoder_loses_no_part_of_a_picture():
    coder = picture_trial.load_coder()
    for held_out in (False, True):
        found = picture_trial.reconstructions(coder, 100, held_out=held_out)
        assert found.reading.right.all()
    u = picture_trial.latents_of(coder, 500, progress=False).u
    assert abs(float(u.mean())) < 0.05 and float(u.std()) == pytest.approx(1, abs=0.03)


def test_blocks_are_compared_from_the_same_seeds(words, coder, few):
    contestants = {"one": {"block": CrossBlock, **TINY}, "same": {"block": CrossBlock, **TINY}}
    options = {"contestants": contestants, "judged": 8, "progress": False}
    trial = picture_trial.compare_blocks(
        words, coder, few, (3, 4), steps=4, batch=8, seconds=60.0, **options
    )
    assert trial.steps == [4, 4] and trial.weights[0] == trial.weights[1]
    assert torch.equal(trial.results[0], trial.results[1])
    assert not torch.equal(trial.results[:, 0], trial.results[:, 1])
    assert trial.results[..., 1:].min() >= 0 and trial.results[..., 1:].max() <= 1
    assert "+0.0000 ± 0.0000      –" in trial.table()


def test_the_shipped_network_paints_what_captions_say():
    coder, words = picture_trial.load_coder(), caption_trial.load_words()
    model = picture_trial.load_text_to_image(words)
    assert not any(p.requires_grad for p in model.parameters())
    for held_out in (False, True):
        scenes = picture_trial.scenes_to_judge(40, held_out=held_out)
        found = picture_trial.judge(model, coder, scenes, w=1.0, steps=12)
        assert float(found.reading.right.float().mean()) >= 0.9, str(found)


def test_weights_that_do_not_fit_are_refused(words):
    with pytest.raises(RuntimeError, match="text_to_image"):
        picture_trial.load_text_to_image(words)
