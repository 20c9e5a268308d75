"""What tests pass in place of a student's net behaves as the net does."""

import pytest
import torch

from cs231n_gen.autoregressive import Prior, sample
from cs231n_gen.checking.fakes import TablePrior
from cs231n_gen.truth.sequences import all_sequences

K, N, CLASSES = 3, 3, 2


@pytest.fixture
def priors():
    """A net, and the table of all that it answers."""
    torch.manual_seed(0)
    net = Prior(K, N, CLASSES, dim=8, layers=2, heads=2).double().eval()
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(0.7 * torch.randn_like(w))
        rows = [[] for _ in range(CLASSES + 1)]
        for t in range(N):
            before = all_sequences(K, t) if t else torch.empty(1, 0).long()
            tokens = torch.cat([before, torch.zeros(len(before), 1).long()], 1)
            for y, found in enumerate(rows):
                found.append(net(tokens, torch.full((len(tokens),), y))[:, t])
        table = torch.stack([torch.cat(found) for found in rows])
    return net, TablePrior(table, N, CLASSES).eval()


def test_a_table_answers_as_the_prior_does(priors):
    tokens, y = torch.tensor([[0, 2, 1], [1, 1, 0], [2, 0, 2]]), torch.tensor([0, 2, 1])
    net, table = priors
    torch.testing.assert_close(table(tokens, y), net(tokens, y), rtol=0, atol=1e-12)
    torch.testing.assert_close(table(tokens[:, :2], y), net(tokens[:, :2], y), rtol=0, atol=1e-12)
    last, caches = None, [None, None]
    for t in range(N):
        steps = [p.step(last, y, c) for p, c in zip(priors, caches, strict=True)]
        (one, other), caches = [s for s, _ in steps], [c for _, c in steps]
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        assert [c[0][0].shape[2] for c in caches] == [t + 1] * 2
        last = tokens[:, t]
    for prior, cache in zip(priors, caches, strict=True):
        with pytest.raises(ValueError, match="places"):
            prior.step(last, y, cache)
        with pytest.raises(ValueError, match="None"):
            prior.step(last, y)
        with pytest.raises(ValueError, match="tokens must be"):
            prior(torch.cat([tokens, tokens], 1), y)
        with pytest.raises(ValueError, match="y must be"):
            prior(tokens, y[:2])
        with pytest.raises(IndexError):
            prior(tokens - 1, y)


@pytest.mark.parametrize(("w", "temperature", "top_k"), [(0.0, 1.0, None), (1.5, 0.8, 2)])
def test_samples_of_a_table_are_those_of_the_prior(priors, w, temperature, top_k):
    """And those with a cache are those without, token by token."""
    y, found = torch.arange(300) % CLASSES, []
    for prior in priors:
        for cached in (True, False):
            generator = torch.Generator().manual_seed(1)
            found.append(sample(prior, y, w, temperature, top_k, cached, generator))
    assert all(torch.equal(x, found[0]) for x in found[1:])
    assert priors[1].ways == ["step"] * N + ["forward"] * N
    assert [len(labels) for labels in priors[1].labels] == [(1 + (w != 0)) * 300] * 2 * N


def test_a_table_in_training_mode_answers_otherwise(priors):
    _, table = priors
    tokens, y = torch.zeros(1, N).long(), torch.zeros(1).long()
    right = table(tokens, y)
    table.half_frozen()
    assert torch.equal(table(tokens, y), -right)
    assert table.modes == [[False, True], [True, True]]
