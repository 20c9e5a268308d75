"""Garments written token by token: the trial, with small priors that learn little."""

import math
from dataclasses import replace

import pytest
import torch
from cs231n_gen.data import Images, fashion_mnist
from cs231n_gen.prior_trial import ORDERS, TokenData

from cs231n_gen import autoregressive, codes_trial, prior_trial
from cs231n_gen.experiments import dit_trial

TINY = {"dim": 8, "layers": 1, "heads": 2}


@pytest.fixture(scope="module")
def tokenizer():
    return codes_trial.load_codes()


@pytest.fixture(scope="module")
def test():
    images = fashion_mnist("test", 32)
    return Images(images.x[::4], images.y[::4])


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def grids(n, vocabulary=5, side=4, seed=0):
    """Sequences in which each token is the one before it or one more, from y on."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (n,), generator=g)
    moves = torch.randint(2, (n, side * side), generator=g)
    return TokenData((y[:, None] + moves.cumsum(1)) % vocabulary, y)


def test_codes_and_back(tokenizer, test):
    space = prior_trial.codes_space(tokenizer)
    data = space.of(test)
    assert data.tokens.shape == (500, 64) and int(data.tokens.max()) < space.vocabulary == 256
    assert torch.equal(data.tokens, codes_trial.encode(tokenizer, test.x))
    x, real = space.back(data.tokens), dit_trial.for_judge(test.x)
    assert x.shape == (500, 1, 16, 16) and float(x.abs().max()) <= 1
    assert float((x - real).square().mean()) < 0.02


def test_pixels_and_back_are_as_near_as_16_greys_can_be(test):
    space = prior_trial.pixel_space()
    tokens = space.there(test.x)
    assert int(tokens.min()) == 0 and int(tokens.max()) == 15 and space.vocabulary == 16
    error = (space.back(tokens) - dit_trial.for_judge(test.x)).abs()
    assert float(error.max()) <= 1 / 15 + 1e-6
    assert torch.equal(space.there(torch.kron(space.back(tokens), torch.ones(2, 2))), tokens)


def test_bits_are_the_log_likelihood(generator):
    prior = prior_trial.new(5, 16, **TINY)
    data = grids(7)
    prior.train()
    found = prior_trial.bits(prior, data)
    assert prior.training and found.shape == (7,) and not found.requires_grad
    p = prior(data.tokens, data.y).double().softmax(-1)
    by_hand = -p.gather(-1, data.tokens[..., None])[..., 0].log2().sum(1)
    torch.testing.assert_close(found.double(), by_hand, rtol=1e-5, atol=1e-4)
    unknown = TokenData(data.tokens, torch.full_like(data.y, prior.null))
    without = prior_trial.bits(prior, data, classes=False)
    assert torch.equal(without, prior_trial.bits(prior, unknown))


def test_bits_without_a_model_are_those_of_frequencies(test):
    """Each grouping knows more; bits of a sequence are those of its tokens together."""
    space = prior_trial.pixel_space()
    data = space.of(test)
    found = prior_trial.simple_bits(space, data, data)
    numbers = list(found.values())
    assert numbers[0] == 256 * 4 and numbers == sorted(numbers, reverse=True)
    p = torch.bincount(data.tokens.flatten(), minlength=16).double() / data.tokens.numel()
    entropy = float(torch.special.entr(p).sum()) / math.log(2)
    assert found["token frequencies"] == pytest.approx(256 * entropy, rel=1e-3)


def test_a_prior_learns_what_follows_what(generator):
    """The sequences have 16 random bits each; frequencies alone need 37."""
    train, held = grids(2000), grids(200, seed=1)
    prior = prior_trial.new(5, 16, dim=32, layers=1, heads=2)
    weights = [p.clone() for p in prior.parameters()]
    state = torch.get_rng_state()
    history = prior_trial.fit(prior, train, steps=120, generator=generator, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(history.losses) == 120 and not prior.training
    assert all(not torch.equal(p, old) for p, old in zip(prior.parameters(), weights, strict=True))
    assert 16 <= float(prior_trial.bits(prior, held).mean()) < 20
    assert history.losses[-1] * 16 / math.log(2) < 22


def test_dropout_ends_with_the_training(generator):
    prior = prior_trial.new(5, 16, **TINY)
    options = {"dropout": 0.5, "steps": 2, "progress": False}
    state = torch.get_rng_state()
    prior_trial.fit(prior, grids(50), generator=generator, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part._forward_hooks for part in prior.modules())
    data = grids(3)
    prior.train()
    assert torch.equal(prior(*data), prior(*data))
    again = prior_trial.new(5, 16, **TINY)
    prior_trial.fit(again, grids(50), generator=torch.Generator().manual_seed(0), **options)
    assert torch.equal(again(*data), prior(*data))


def test_all_weights_have_one_optimiser():
    prior = prior_trial.new(5, 16, **TINY)
    groups = prior_trial.MuonAndAdam(prior, 1e-3).param_groups
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(map(id, prior.parameters()))
    assert {group["lr"] for group in groups} == {1e-3}


def test_writing_is_chapter_13s_sampling(generator):
    prior, y = prior_trial.new(5, 16, **TINY), torch.arange(6)
    options = {"w": 1.0, "temperature": 0.8, "top_k": 3}
    want = autoregressive.sample(prior, y, **options, generator=torch.Generator().manual_seed(0))
    assert torch.equal(prior_trial.write(prior, y, **options, generator=generator), want)
    many = torch.arange(260) % 10
    assert prior_trial.write(prior, many, generator=generator).shape == (260, 16)


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("side", [1, 2, 8])
def test_an_order_has_every_place_once(name, side):
    path = prior_trial.order(name, side)
    assert sorted(path.tolist()) == list(range(side * side))


def test_orders_are_what_they_are_called():
    found = {name: prior_trial.order(name, 4).tolist() for name in ORDERS}
    assert found["rows"] == list(range(16))
    assert found["columns"][:5] == [0, 4, 8, 12, 1]
    assert found["spiral in"] == [0, 1, 2, 3, 7, 11, 15, 14, 13, 12, 8, 4, 5, 6, 10, 9]
    assert found["spiral out"] == found["spiral in"][::-1]
    assert found["z-curve"][:8] == [0, 1, 4, 5, 2, 3, 6, 7]
    assert found["coarse to fine"][:4] == [0, 2, 8, 10]
    coarse = prior_trial.order("coarse to fine", 8).tolist()
    assert coarse[:4] == [0, 4, 32, 36] and sorted(coarse[:16]) == sorted(
        8 * r + c for r in (0, 2, 4, 6) for c in (0, 2, 4, 6)
    )
    for side in (3, 0):
        with pytest.raises(ValueError, match=f"power of 2, got {side}"):
            prior_trial.order("rows", side)
    with pytest.raises(ValueError, match=r"an order is one of rows, .* got 'hopscotch'"):
        prior_trial.order("hopscotch", 4)


def test_orders_are_compared_on_the_same_garments():
    train, held = grids(200), grids(50, seed=1)
    options = {"names": ("rows", "random"), "steps": 4, "seeds": 2, "progress": False, **TINY}
    found = prior_trial.orders(train, held, 5, **options)
    assert found.bits.shape == (2, 2) and bool((found.bits > 0).all())
    again = prior_trial.orders(train, held, 5, **options)
    assert torch.equal(found.bits, again.bits)
    assert "random" in found.table() and "to rows" in found.table()
    one = prior_trial.orders(train, held, 5, **options | {"seeds": 1})
    assert torch.equal(one.bits[:, 0], found.bits[:, 0]) and "±" not in one.table()
    with pytest.raises(ValueError, match="square grids, got a length of 3"):
        prior_trial.orders(TokenData(train.tokens[:, :3], train.y), held, 5)


def test_a_cache_gives_both_times():
    found = prior_trial.speed(prior_trial.new(5, 16, **TINY), at_once=3)
    assert found.cached > 0 and found.plain > 0
    assert found.ratio == found.plain / found.cached
    assert "16 tokens, 3 at once" in str(found)


def test_a_whole_trial(tokenizer, test):
    """Small priors and few steps: every number is there, and what is known of them holds."""
    test = Images(test.x[::4], test.y[::4])
    found = prior_trial.trial(
        tokenizer,
        test,
        test,
        seconds=0.2,
        of_processor=True,
        weights=(1.0,),
        garments=40,
        at_once=2,
        progress=False,
        **TINY,
    )
    codes, pixels = found.writers["codes"], found.writers["pixels"]
    assert codes.simple["all alike"] == 64 * 8 and pixels.simple["all alike"] == 256 * 4
    assert 0 < codes.bits < 600 and codes.whole_image > codes.bits
    assert pixels.whole_image == pixels.bits
    assert found.flow.steps >= 1 and all(calls >= 1 for calls in found.flow.calls.values())
    for some in (codes.written, pixels.written, found.flow.written):
        assert list(some) == [1.0]
        assert all(w.x.shape == (40, 1, 16, 16) for w in some.values())
    assert found.kept.right > 0.7 and found.real.frechet < found.flow.written[1.0].score.frechet
    for word in ("prior of codes", "prior of pixels", "flow", "real, through codes", "all alike"):
        assert word in found.table(), word


def test_what_a_trial_refuses(tokenizer, test):
    for garments in (30, 45):
        with pytest.raises(ValueError, match=f"at least 40, got {garments}"):
            prior_trial.trial(tokenizer, test, test, garments=garments)
    with pytest.raises(ValueError, match=r"a space is one of codes, pixels, got 'sounds'"):
        prior_trial.trial(tokenizer, test, test, spaces=("sounds",))


def test_curves_change_one_thing_at_a_time(tokenizer, test):
    space = prior_trial.codes_space(tokenizer)
    prior = prior_trial.new(256, 64, **TINY)
    real = Images(dit_trial.for_judge(test.x), test.y)
    values = {"w": (0.0, 1.0), "top_k": (1,)}
    found = prior_trial.curves(prior, space, real, values, garments=40)
    assert {k: list(v) for k, v in found.scores.items()} == {"w": [0.0, 1.0], "top_k": [1]}
    one = prior_trial.judged(prior, space, real, garments=40, top_k=1)
    assert found.scores["top_k"][1].frechet == one.score.frechet
    assert found.table().count("\n") == 3


def test_the_shipped_prior_writes_what_is_asked_for(tokenizer, test):
    """Far fewer bits than any model that sees no other code, and garments of the right class."""
    prior = prior_trial.load_prior()
    assert not prior.training and not any(p.requires_grad for p in prior.parameters())
    space = prior_trial.codes_space(tokenizer)
    some = Images(test.x[:200], test.y[:200])
    known = prior_trial.bits(prior, space.of(some))
    assert 230 < float(known.mean()) < 275
    assert float(prior_trial.bits(prior, space.of(some), classes=False).mean()) > known.mean()
    real = Images(dit_trial.for_judge(test.x), test.y)
    found = prior_trial.judged(prior, space, real, garments=100, w=1.0)
    assert found.score.right > 0.85 and found.score.precision > 0.7


def test_weights_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(codes_trial, "K", 255)
    with pytest.raises(RuntimeError, match=r"prior\.safetensors are for shapes"):
        prior_trial.load_prior()


def test_pixels_cost_nothing_if_they_are_known_and_their_entropy_if_nothing_is(test):
    pixels = prior_trial.pixel_space()
    assert prior_trial.bits_of_pixels(pixels, test, test) < 3
    silent = replace(pixels, back=lambda tokens: torch.zeros(len(tokens), 1, 16, 16))
    p = torch.bincount(pixels.there(test.x).flatten(), minlength=16).double()
    entropy = float(torch.special.entr(p / p.sum()).sum()) / math.log(2)
    found = prior_trial.bits_of_pixels(silent, test, test)
    assert found == pytest.approx(256 * entropy, rel=1e-3)
