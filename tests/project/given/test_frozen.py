"""Networks that are used and not trained."""

import pytest
import torch
from torch import nn

from cs231n_gen.given.frozen import fixed, frozen


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


# --- fixed --------------------------------------------------------------------------------------


def test_a_fixed_net_answers_as_the_net_does():
    made = net().eval()
    assert torch.equal(fixed(made)(X), made(X))


def test_its_inputs_get_gradients_and_its_weights_none():
    made = net().eval()
    x = X.clone().requires_grad_()
    (want,) = torch.autograd.grad(made(x).square().sum(), x)
    fixed(made)(x).square().sum().backward()
    assert torch.equal(x.grad, want)
    assert all(p.grad is None and p.requires_grad for p in made.parameters())
    assert not fixed(made)(X).requires_grad


def test_the_net_itself_still_learns_in_the_same_backward_pass():
    made = net().eval()
    alone = torch.autograd.grad(made(X).sum(), [*made.parameters()])
    (made(X).sum() + 3 * fixed(made)(X).sum()).backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(made.parameters(), alone, strict=True))


def test_it_follows_the_weights_and_the_mode_of_the_net():
    made = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    called = fixed(made.eval())
    before = called(X)
    with torch.no_grad():
        made[0].weight.mul_(2)
    assert torch.equal(called(X), made(X))
    assert not torch.equal(called(X), before)
    made.train()
    assert (called(X) == 0).any()  # dropout
    assert made[1].training


def test_it_takes_what_the_net_takes_and_returns_what_it_returns():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.second = nn.Linear(3, 2)  # one layer under two names

        def forward(self, x, t, y=None):
            return {"x": self.first(x) + t, "y": (self.second(x), y)}

    made = Both()
    t = torch.ones(5, 1)
    found = fixed(made)(X, t, "y")
    assert torch.equal(found["x"], made.first(X) + t)
    assert torch.equal(found["y"][0], made.first(X))
    assert found["y"][1] == "y"
    assert not found["x"].requires_grad
    assert not found["y"][0].requires_grad


def test_running_statistics_of_a_net_in_training_mode_move_as_they_would():
    one, other = net(), net()
    other.load_state_dict(one.state_dict())
    torch.manual_seed(0)
    fixed(one)(X)
    torch.manual_seed(0)
    other(X)
    pairs = zip(one.buffers(), other.buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
