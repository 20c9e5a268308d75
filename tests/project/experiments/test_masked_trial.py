"""Masked generation: what it hides, how it fills in, and that it learns."""

import itertools
import math

import pytest
import torch
from cs231n_gen.data import Images, fashion_mnist
from cs231n_gen.prior_trial import TokenData

from cs231n_gen import codes_trial, masked_trial, prior_trial

TINY = {"dim": 8, "layers": 1, "heads": 2}
K, N = 5, 16


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def new(**sizes):
    return prior_trial.new(K, N, kind=masked_trial.MaskedPrior, **(sizes or TINY))


def test_it_has_the_weights_of_the_causal_prior():
    causal, masked = prior_trial.new(K, N, **TINY), new()
    assert causal.state_dict().keys() == masked.state_dict().keys()
    masked.load_state_dict(causal.state_dict())


def test_every_place_sees_every_other():
    prior = new().double()
    tokens, y = torch.randint(K, (1, N)), torch.tensor([3])
    logits = prior(tokens, y)
    assert logits.shape == (1, N, K)
    for place in (0, 7, N - 1):
        changed = tokens.clone()
        changed[0, place] = K
        moved = (prior(changed, y) - logits).abs().sum(-1)[0]
        assert bool((moved > 0).all())
    assert not torch.equal(prior(tokens, torch.tensor([10])), logits)


def test_what_is_hidden(generator):
    """cos(πu/2) of even u has mean 2/π; which places is up to chance alone."""
    tokens = torch.randint(K, (4000, N), generator=generator)
    seen, hidden = masked_trial.hide(tokens, K, generator)
    assert torch.equal(seen == K, hidden) and torch.equal(seen[~hidden], tokens[~hidden])
    n = hidden.sum(1)
    assert int(n.min()) == 1 and int(n.max()) == N
    share = float((n - 0.5).double().mean()) / N  # rounded up
    assert share == pytest.approx(2 / math.pi, abs=0.03)
    assert torch.allclose(hidden.double().mean(0), hidden.double().mean(), atol=0.04)


def test_the_loss_is_that_of_hidden_tokens_alone(generator):
    prior = new()
    tokens, y = torch.randint(K, (6, N), generator=generator), torch.arange(6)
    loss = masked_trial.masked_nats(torch.Generator().manual_seed(2))(prior, tokens, y)
    seen, hidden = masked_trial.hide(tokens, K, torch.Generator().manual_seed(2))
    log_p = prior(seen, y).log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    want = torch.stack([-N * log_p[i][hidden[i]].mean() for i in range(6)])
    torch.testing.assert_close(loss, want)


@pytest.mark.parametrize("calls", [1, 2, 5, 8, N])
@pytest.mark.parametrize("w", [0.0, 1.5])
def test_each_call_fills_in_more(calls, w, generator):
    prior, y = new(), torch.arange(4)
    state = torch.get_rng_state()
    asked = []
    prior.register_forward_hook(lambda net, args, out: asked.append(len(args[0])))
    found = masked_trial.fill_in(prior, y, calls=calls, w=w, generator=generator)
    assert torch.equal(torch.get_rng_state(), state)
    assert asked == [8 if w else 4] * calls and found.shape == (calls, 4, N)
    hidden = (found == K).sum(2)
    assert bool((hidden == hidden[:, :1]).all())  # as many in each sequence
    left = [N, *hidden[:, 0].tolist()]
    assert left[-1] == 0 and all(a > b for a, b in itertools.pairwise(left))
    for before, after in itertools.pairwise(found):
        assert torch.equal(after[before != K], before[before != K])
    again = torch.Generator().manual_seed(0)
    assert torch.equal(masked_trial.fill_in(prior, y, calls=calls, w=w, generator=again), found)


def test_the_schedule_is_a_cosine(generator):
    prior = new()
    found = masked_trial.fill_in(prior, torch.arange(2), calls=4, generator=generator)
    want = [round(N * math.cos(math.pi * i / 8)) for i in (1, 2, 3, 4)]
    assert (found == K).sum(2)[:, 0].tolist() == want


def test_without_chance_the_surest_stay(generator):
    """Scores that do not depend on tokens: the places where one is certain come first."""
    prior = new()
    sure = torch.zeros(N, K)
    sure[[2, 9, 11], 1] = 50.0
    prior.forward = lambda tokens, y: sure.expand(len(tokens), N, K)
    found = masked_trial.fill_in(prior, torch.arange(3), calls=N, chance=0.0, generator=generator)
    first = (found[2] != K).nonzero()[:, 1].reshape(3, -1)
    assert first.tolist() == [[2, 9, 11]] * 3 and bool((found[2][:, [2, 9, 11]] == 1).all())


@pytest.mark.parametrize("calls", [0, N + 1])
def test_calls_that_are_refused(calls):
    with pytest.raises(ValueError, match=f"from 1 to the length, 16, got {calls}"):
        masked_trial.fill_in(new(), torch.arange(2), calls=calls)


def test_it_learns(generator):
    """Each sequence is one token repeated, that of its class: few calls are enough."""
    y = torch.arange(400) % 10
    data = TokenData((y % K)[:, None].expand(-1, N), y)
    prior = new(dim=16, layers=1, heads=2)
    history = masked_trial.fit(prior, data, steps=60, generator=generator, progress=False)
    assert history.losses[-1] < 0.3 < history.losses[0]
    x = masked_trial.write(prior, torch.arange(10), calls=2, w=1.0, generator=generator)
    assert float((x == (torch.arange(10) % K)[:, None]).double().mean()) > 0.9


def test_a_trial():
    test = fashion_mnist("test", 32)
    test = Images(test.x[::20], test.y[::20])
    found = masked_trial.trial(
        codes_trial.load_codes(),
        test,
        test,
        seconds=0.2,
        of_processor=True,
        calls=(2, 4),
        weights=(1.0,),
        garments=40,
        progress=False,
        **TINY,
    )
    assert list(found.causal) == [1.0] and list(found.masked) == [(2, 1.0), (4, 1.0)]
    assert min(found.steps) >= 1 and found.table().count("\n") == 4
    assert "causal" in found.table() and "masked" in found.table()
