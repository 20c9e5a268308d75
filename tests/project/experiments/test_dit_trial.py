"""The run of chapter 09: what it draws, its floor, its loss on latents held out, its garments."""

import pytest
import torch
from cs231n_gen.dit_trial import NULL, LatentData

from cs231n_gen import dit_trial, latent, schedules
from cs231n_gen.given import judge
from cs231n_gen.given.data import fashion_mnist
from cs231n_gen.latent_nets import Decoder, Encoder
from cs231n_gen.truth import GaussianMixture

TINY = {"dim": 8, "depth": 1, "heads": 2}


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def few(g):
    """Four latents of each class, near enough to each other to be confused."""
    return LatentData(0.3 * torch.randn(40, 4, 8, 8, generator=g), torch.arange(40) % 10)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return Decoder(width=8)


class Perfect(torch.nn.Module):
    """The best network for a training set: it knows all latents of a class by heart."""

    def __init__(self, data):
        super().__init__()
        self.data = data

    def forward(self, x_t, t, y):
        u, of = self.data
        v = torch.empty_like(x_t)
        for k in y.unique():
            members = u if k == NULL else u[of == k]
            v[y == k] = schedules.optimal_velocity(x_t[y == k], t[y == k], members)
        return v


def test_the_floor_is_the_loss_of_the_best_network(few, g):
    losses = []
    for _ in range(20):
        u, z, t, y = dit_trial.batch_of(few, 200, dit_trial.LEVELS, g)
        level = t[:, None, None, None]
        v = Perfect(few)(u + level * (z - u), t, y)
        losses.append((v - (z - u)).square().mean())
    losses = torch.stack(losses)
    found = dit_trial.floor(few, pairs=2000, quantiles=40)
    assert found > 0.005
    assert abs(found - float(losses.mean())) < 5 * float(losses.std()) / 20**0.5 + 0.03 * found


def test_one_latent_a_class_can_be_known_exactly(few):
    one = LatentData(few.u[:10], few.y[:10])
    dropped = dit_trial.floor(LatentData(one.u, torch.zeros(10).long()), pairs=1000)
    # with one class, which has all of them, class and no class are the same
    assert dit_trial.floor(one, pairs=1000) == pytest.approx(dit_trial.DROP * dropped, rel=0.15)


def test_the_linear_floor_is_that_of_a_gaussian(g):
    """Known in closed form; the levels are as good as one."""
    root = torch.randn(2, 2, generator=g).double()
    density = GaussianMixture(torch.ones(1), torch.ones(1, 2), (root @ root.mT)[None])
    data = LatentData(density.sample(200_000, g)[..., None, None].float(), torch.zeros(200_000))
    for m in (-2.0, 0.0, 1.5):
        t = torch.sigmoid(torch.tensor([m]).double())
        found = dit_trial.linear_floor(data, (m, 1e-6))
        assert found == pytest.approx(float(density.irreducible_loss(t)), rel=0.02)


def test_a_tenth_of_the_classes_is_dropped(few, g):
    u, _, t, y = dit_trial.batch_of(few, 20_000, dit_trial.LEVELS, g)
    assert float((y == NULL).double().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(torch.logit(t).mean()) == pytest.approx(-0.5, abs=0.03)
    kept = y != NULL
    which = (u[kept][:50].flatten(1)[:, None] == few.u.flatten(1)).all(2).int().argmax(1)
    assert torch.equal(few.y[which], y[kept][:50])


def test_before_training_the_loss_is_that_of_a_velocity_of_0(few):
    found = dit_trial.held_out_loss(dit_trial.new(**TINY), few)
    z = torch.randn(few.u.shape, generator=torch.Generator().manual_seed(10_000))
    torch.testing.assert_close(found, (z - few.u).square().mean().expand(10))


def test_the_perfect_network_has_the_held_out_loss_of_the_floor(few):
    t = torch.tensor([0.3, 0.7])
    found = dit_trial.held_out_loss(Perfect(few), few, t)
    z = torch.randn(few.u.shape, generator=torch.Generator().manual_seed(10_000))
    of_class = []
    for k in range(10):
        u = few.u[few.y == k]
        of_class.append(schedules.loss_floor(u, z[few.y == k], t, u))
    torch.testing.assert_close(found, torch.stack(of_class).mean(0), atol=1e-6, rtol=1e-4)


def test_a_seed_repeats_a_run_and_a_run_learns(few):
    ends = []
    for seed in (0, 0, 1):
        model = dit_trial.new(**TINY)
        history = dit_trial.train(model, few, 40, batch=16, seed=seed, progress=False)
        ends.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
    assert sum(history.losses[-5:]) < sum(history.losses[:5])


def test_weights_come_from_a_seed_and_leave_the_global_state_alone():
    before = torch.get_rng_state()
    one, two, other = (dit_trial.new(seed, **TINY) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_garments_are_decoded_from_where_the_velocity_leads(decoder):
    """All data of a class are one point m_y: v = (x_t − m_y) / t ends there, from any noise."""
    ends = torch.randn(11, 4, 8, 8, generator=torch.Generator().manual_seed(3))

    class Point(torch.nn.Module):
        def forward(self, x_t, t, y):
            return (x_t - ends[y]) / t[:, None, None, None]

    y = torch.arange(10)
    for w in (0.0, 1.5):
        found = dit_trial.garments(Point(), decoder, 0.2, 3.0, y, w=w, steps=4)
        at = (1 + w) * ends[:10] - w * ends[10]
        torch.testing.assert_close(found, latent.from_latent(decoder, at, 0.2, 3.0))


def test_the_judge_sees_means_of_four_pixels():
    real = fashion_mnist("test", 32)
    small = fashion_mnist("test", 16)
    shown = dit_trial.for_judge(real.x[:50])
    torch.testing.assert_close(shown, small.x[:50])
    torch.testing.assert_close(dit_trial.for_judge(9 * real.x[:50]).amax(), torch.tensor(1.0))


def test_garments_are_judged(decoder):
    real = fashion_mnist("test", 32).x[:60]
    model = dit_trial.new(**TINY)
    found = dit_trial.evaluate(model, decoder, 0.0, 1.0, real, n=20, steps=2)
    assert found.x.shape == (20, 1, 32, 32) and torch.equal(found.y, torch.arange(20) % 10)
    assert found.right == judge.class_accuracy(dit_trial.for_judge(found.x), found.y)
    assert "20 garments" in str(found) and found.frechet > 1


def test_latents_of_a_split_are_those_of_its_images():
    torch.manual_seed(0)
    encoder = Encoder(width=8)
    images = fashion_mnist("test", 32)
    data = dit_trial.latents_of(encoder, 0.1, 2.0, "test")
    assert torch.equal(data.y, images.y) and len(data.u) == 2000
    want = latent.to_latent(encoder, images.x[-3:], 0.1, 2.0)
    torch.testing.assert_close(data.u[-3:], want, atol=1e-5, rtol=1e-4)


def test_steps_are_counted_in_seconds_of_a_processor(few):
    made = []

    def make():
        made.append(1)
        return dit_trial.new(**TINY)

    few_steps, many = (dit_trial.steps_within(s, make, few, 8) for s in (1, 100))
    assert 1 < few_steps < many and len(made) == 2


@pytest.mark.full
def test_shipped_weights_make_garments():
    from cs231n_gen.experiments.autoencoder_trial import load_autoencoder

    encoder, decoder, shift, scale = load_autoencoder()
    model = dit_trial.load_latent_dit()
    held = dit_trial.latents_of(encoder, shift, scale, "test")
    loss = dit_trial.held_out_loss(model, LatentData(held.u[::4], held.y[::4])).mean()
    assert loss < 1.05
    real = fashion_mnist("test", 32).x
    found = dit_trial.evaluate(model, decoder, shift, scale, real, n=400, steps=20)
    assert found.right > 0.75


def test_weights_for_another_network_are_refused(monkeypatch):
    monkeypatch.setattr(dit_trial, "load_file", lambda path: {"00": torch.zeros(3)})
    monkeypatch.setattr(dit_trial, "data_file", lambda name: name)
    with pytest.raises(RuntimeError, match=r"dit\.DiT has"):
        dit_trial.load_latent_dit()
