"""The trial on garments, with a network whose every answer is known: pictures as Gaussians."""

import pytest
import torch
from cs231n_gen.garment_trial import CALLS, SAMPLERS

from cs231n_gen import data, garment_trial

TEST = data.fashion_mnist("test", size=16)
MEANS = torch.stack([TEST.x[TEST.y == k].mean(0) for k in range(10)])
VARIANCE = 0.1


def net(x_t, t, y):
    """E[z − x | x_t] if every pixel of class y is N(mean, 0.1)."""
    t = t[:, None, None, None]
    off = x_t - (1 - t) * MEANS[y]
    return (t - (1 - t) * VARIANCE) / ((1 - t) ** 2 * VARIANCE + t**2) * off - MEANS[y]


@pytest.fixture(scope="module")
def trial():
    return garment_trial.run(net, TEST.x[:1000], garments=20, calls=61, progress=False)


def test_every_sampler_has_its_calls():
    for name, sampler in SAMPLERS.items():
        calls = []

        def counted(x_t, t, y, calls=calls):
            calls.append(1)
            return net(x_t, t, y)

        z, y = torch.randn(2, 1, 16, 16), torch.tensor([3, 4])
        g = torch.Generator().manual_seed(0)
        garment_trial.draw(counted, sampler, z, y, sampler.times * CALLS, g)
        assert len(calls) == sampler.times * CALLS, name


def test_the_ode_gives_the_same_garments_under_every_name(trial):
    alike = trial.alike()
    assert alike["rectified flow, Euler"] == pytest.approx(1)
    assert alike["VP (DDPM), DDIM"] > 0.99
    assert alike["EDM, Heun"] > 0.99
    for name, sampler in SAMPLERS.items():
        if "SDE" in name or "ancestral" in name:
            assert abs(alike[name]) < 0.1, sampler


def test_garments_have_the_distribution_of_the_data(trial):
    y = trial.y
    for name, x in trial.garments.items():
        off = x - MEANS[y]
        assert float(off.mean()) == pytest.approx(0, abs=0.03), name
        # 61 steps of first order: DDIM's and DDPM's come out too narrow, the SDE's too wide
        near = 0.15 if "SDE" in name or "ancestral" in name else 0.08
        assert float(off.std()) == pytest.approx(VARIANCE**0.5, rel=near), name


def test_a_seed_is_a_set_of_garments():
    options = {"garments": 20, "calls": 5, "progress": False}
    one, same = (garment_trial.run(net, TEST.x[:200], **options) for _ in range(2))
    for name, x in one.garments.items():
        assert torch.equal(x, same.garments[name])
    other = garment_trial.run(net, TEST.x[:200], seed=2, **options)
    first = "rectified flow, Euler"
    apart = garment_trial.own(other.garments[first], other.y)
    own = garment_trial.own(one.garments[first], one.y)
    assert abs(float((own * apart).sum() / (own.norm() * apart.norm()))) < 0.1


def test_the_table_has_a_line_for_every_sampler(trial):
    table = trial.table()
    assert table.count("\n") == len(SAMPLERS) + 2
    assert all(name in table for name in SAMPLERS)
