"""Networks that are used and not trained."""

import pytest
import torch
from torch import nn

from cs231n_gen.given.frozen import frozen


def net():
    """A net with a batch norm and dropout, in training mode but for one part of it."""
    parts = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    made = nn.Sequential(parts, nn.BatchNorm1d(2)).train()
    parts[1].eval()
    return made


def modes(net):
    return {name: part.training for name, part in net.named_modules()}


X = torch.linspace(-1, 2, 15).reshape(5, 3)


def test_inside_every_part_is_in_eval_mode_and_nothing_records_a_graph():
    made = net()
    with frozen(made) as inside:
        assert inside is made
        assert not any(modes(made).values())
        y = made(X)
        assert not y.requires_grad
        assert torch.equal(y, made(X))  # no dropout


def test_afterwards_each_part_is_in_the_mode_it_was_in():
    made = net()
    before = modes(made)
    assert len({*before.values()}) == 2
    with frozen(made):
        made(X)
    assert modes(made) == before
    assert torch.is_grad_enabled()
    assert made(X).requires_grad


def test_running_statistics_weights_and_gradients_stay():
    made = net()
    for p in made.parameters():
        p.grad = torch.ones_like(p)
    before = {n: t.clone() for n, t in made.state_dict().items()}
    with frozen(made):
        made(X)
    after = made.state_dict()
    assert all(torch.equal(after[n], t) for n, t in before.items())
    assert all(p.requires_grad and (p.grad == 1).all() for p in made.parameters())


def test_an_error_inside_comes_through_and_leaves_the_modes_as_they_were():
    made = net()
    before = modes(made)
    with pytest.raises(RuntimeError, match="in the middle"), frozen(made):
        raise RuntimeError("in the middle")
    assert modes(made) == before
    assert torch.is_grad_enabled()


def test_one_inside_another():
    made = net()
    before = modes(made)
    with frozen(made):
        with frozen(made[0]):
            made(X)
        assert not any(modes(made).values())
        assert not torch.is_grad_enabled()
    assert modes(made) == before


def test_gradients_that_are_off_stay_off():
    with torch.no_grad():
        with frozen(net()):
            pass
        assert not torch.is_grad_enabled()


def test_a_part_that_two_parents_share_keeps_its_mode():
    shared = nn.Dropout()
    made = nn.Sequential(nn.Sequential(shared), shared).eval()
    shared.train()
    with frozen(made):
        assert not shared.training
    assert shared.training
    assert not made[0].training
