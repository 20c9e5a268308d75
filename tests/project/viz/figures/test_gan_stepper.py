"""The game of GanStepper, in node: the steps of gan.py by torch, and the truth of two densities."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from cs231n_gen import gan
from cs231n_gen.given.mlp import MLP
from cs231n_gen.given.training import Players
from cs231n_gen.truth import GaussianMixture, jensen_shannon
from cs231n_gen.viz import GanStepper

ROUNDS = {"rounds": 6, "dSteps": 2, "gSteps": 1}
REPLAY = """
    const numbers = Float32Array.from(given.numbers);
    const at = (net) => (x) => net.at(x);
    const game = js.replay(numbers, given.widths, given.data, given.noise, given.rates, given);
"""


@pytest.fixture(scope="module")
def players():
    torch.manual_seed(0)
    return [MLP(1, 1, hidden=7, layers=2) for _ in "GD"]


def batch(n=11):
    share = (torch.arange(n).double() + 0.5) / n
    z = Normal(0.0, 1.0).icdf(share)
    return 1.5 * torch.sign(z) + 0.4 * z, z


def by_torch(players, saturating):
    """The same game by gan.py, in float64."""
    G, D = (MLP(1, 1, hidden=7, layers=2) for _ in "GD")
    for net, start in zip((G, D), players, strict=True):
        net.load_state_dict(start.state_dict())
    both = Players(G.double(), D.double(), lr=0.01, lr_d=0.02)
    x, z = (numbers[:, None] for numbers in batch())
    for _ in range(6):
        loss = gan.discriminator_loss(D(x), D(G(z).detach()))
        both.discriminator_optimizer.zero_grad()
        loss.backward()
        both.discriminator_optimizer.step()
        gan.train_step(both, x, z, saturating)
    return G, D, x, z


@pytest.mark.parametrize("saturating", [False, True])
def test_rounds_are_those_of_torch(node, players, saturating):
    G, D, x, z = by_torch(players, saturating)
    figure = GanStepper(*(p.state_dict() for p in players), *batch(), lr=(0.01, 0.02))
    told = {k: getattr(figure, k) for k in ("widths", "data", "noise", "rates")}
    numbers = np.frombuffer(figure.numbers, "<f4").tolist()
    # each round: two steps of D, one of G
    came = node(
        "math/tiny_gan",
        REPLAY
        + "return [given.noise.map((z) => game.G.at(z)), given.data.map((x) => game.D.at(x))]",
        numbers=numbers,
        saturating=saturating,
        **told,
        **ROUNDS,
    )
    with torch.no_grad():
        np.testing.assert_allclose(came[0], G(z)[:, 0], atol=1e-6)
        np.testing.assert_allclose(came[1], D(x)[:, 0], atol=1e-6)


@pytest.mark.parametrize("saturating", [False, True])
def test_value_and_pulls_are_those_of_autograd(node, players, saturating):
    G, D = (p.double() for p in players)
    x, z = (numbers[:, None] for numbers in batch())
    ask = """
        const G = new js.Net(given.G, given.widths), D = new js.Net(given.D, given.widths);
        return [js.gameValue(G, D, given.x, given.z), js.pulls(G, D, given.z, given.saturating)];
    """
    numbers = {
        name: torch.cat([p.detach().flatten() for p in net.parameters()]).tolist()
        for name, net in (("G", G), ("D", D))
    }
    V, pulls = node(
        "math/tiny_gan", ask, widths=[1, 7, 7, 1], saturating=saturating,
        x=x[:, 0].tolist(), z=z[:, 0].tolist(), **numbers,
    )  # fmt: skip
    fake = G(z).detach().requires_grad_()
    loss = len(z) * gan.generator_loss(D(fake), saturating)
    (slope,) = torch.autograd.grad(loss, fake)
    np.testing.assert_allclose(V, gan.value(D(x), D(fake)).item(), atol=1e-9)
    np.testing.assert_allclose([p[0] for p in pulls], fake[:, 0].detach(), atol=1e-9)
    np.testing.assert_allclose([p[1] for p in pulls], -slope[:, 0], atol=1e-9)
    for p in players:
        p.float()


def test_the_divergence_of_two_densities(node):
    ends = torch.linspace(-8, 8, 2000).double()
    mixtures = [
        GaussianMixture.isotropic(torch.tensor(means)[:, None], 0.5)
        for means in ([-1.0, 1.0], [0.3])
    ]
    p, q = (m.density(ends[:, None]).tolist() for m in mixtures)
    ask = "return js.jensenShannon(given.p, given.q, given.dx)"
    came = node("math/tiny_gan", ask, p=p, q=q, dx=float(ends[1] - ends[0]))
    assert math.isclose(came, float(jensen_shannon(*mixtures)), abs_tol=1e-4)


def test_samples_become_a_density(node):
    """It has mass 1, and near the middle of many samples the value of theirs, widened."""
    share = (np.arange(400) + 0.5) / 400
    points = Normal(0.0, 1.0).icdf(torch.tensor(share)).tolist()
    at = np.linspace(-5, 5, 501)
    ask = "return js.smoothed(given.points, given.at, 0.2)"
    came = node("math/tiny_gan", ask, points=points, at=at.tolist())
    assert abs(np.sum(came) * 0.02 - 1) < 1e-3
    assert abs(came[250] - 1 / math.sqrt(2 * math.pi * 1.04)) < 2e-3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"k_d": 0}, "k_d must be a whole number from 1 to 10, got 0"),
        ({"rounds": 401}, "rounds must be a whole number"),
        ({"lr": (0.1, -1)}, "two positive rates"),
        ({"data": [[1.0]]}, r"data must be finite numbers, \(n,\), got \(1, 1\)"),
        ({"noise": []}, "noise must be finite numbers"),
        ({"generator": {"W": 1}}, "G must be a state_dict"),
        (
            {"discriminator": MLP(2, 1, 7, 2).state_dict()},
            "must take a number to a number, got 2 to 1",
        ),
        ({"discriminator": MLP(1, 1, 8, 2).state_dict()}, "both nets must be of one size"),
    ],
)
def test_a_game_that_cannot_be_played_is_refused(players, arguments, says):
    x, z = batch()
    game = {"generator": players[0].state_dict(), "discriminator": players[1].state_dict()}
    with pytest.raises(ValueError, match=says):
        GanStepper(**{**game, "data": x, "noise": z, **arguments})
