"""Slide 84 as a trial: spaces, films out of noise, and spectra by theory."""

import math

import pytest
import torch
from cs231n_gen.latent_trial import SPACES, film, flows, for_judge, sample, space, spectrum

from cs231n_gen import dit_trial, latent, latent_trial
from cs231n_gen.given import judge
from cs231n_gen.given.data import Images, fashion_mnist
from cs231n_gen.latent_nets import Decoder, Encoder

ENDS = torch.randn(11, 4, 8, 8, generator=torch.Generator().manual_seed(3))


class Point(torch.nn.Module):
    """The flow to one latent a class: v = (x_t − m_y) / t, straight from any noise."""

    def forward(self, x_t, t, y):
        return (x_t - ENDS[y]) / t[:, None, None, None]


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return Encoder(width=8), Decoder(width=8), 0.2, 3.0


@pytest.fixture
def images():
    return fashion_mnist("test", 32)


def test_one_wave_has_its_power_at_its_frequency():
    at = torch.arange(32) * 2 * math.pi / 32
    for down, along, ring in ((0, 5, 5), (3, 4, 5), (7, 7, 10), (16, 0, 16)):
        wave = 0.6 * torch.cos(down * at[:, None] + along * at[None])
        frequencies, power = spectrum(wave.expand(3, 1, 32, 32))
        want = torch.zeros(24, dtype=torch.float64)
        want[ring] = 0.36 * (1 if (down, along) == (16, 0) else 0.5)  # (±1)² at the highest
        torch.testing.assert_close(power, want, atol=1e-7, rtol=1e-6)
        assert torch.equal(frequencies, torch.arange(24.0).double())


def test_powers_add_up_to_the_mean_square(images):
    _, power = spectrum(images.x[:20])
    torch.testing.assert_close(power.sum(), images.x[:20].double().square().mean())


def test_a_constant_has_all_its_power_at_frequency_0():
    _, power = spectrum(torch.full((2, 1, 16, 16), -0.5))
    assert float(power[0]) == pytest.approx(0.25) and float(power[1:].sum()) < 1e-12


def test_white_noise_has_the_same_power_in_every_wave():
    x = torch.randn(2000, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    _, power = spectrum(x)
    k = torch.arange(-8, 8).double()
    waves = torch.hypot(k[:, None], k[None]).round().long().flatten().bincount()
    torch.testing.assert_close(power, waves.double() / 256, atol=0, rtol=0.1)


def test_a_mean_of_neighbours_keeps_the_known_share_of_each_wave():
    """A 3×3 mean that wraps around multiplies a wave by (1 + 2 cos a)(1 + 2 cos b) / 9."""
    at = torch.arange(32) * 2 * math.pi / 32
    wave = torch.cos(9 * at)[None, None, None].expand(1, 1, 32, 32)
    blurred = sum(wave.roll((i, j), (2, 3)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
    share = float(spectrum(blurred)[1][9] / spectrum(wave)[1][9])
    assert share == pytest.approx(((1 + 2 * math.cos(9 * 2 * math.pi / 32)) / 3) ** 2, rel=1e-4)


def test_spectra_are_of_square_images():
    with pytest.raises(ValueError, match=r"square images"):
        spectrum(torch.zeros(2, 1, 16, 8))


@pytest.mark.parametrize("w", [0.0, 1.5])
def test_a_film_begins_with_noise_and_ends_where_samples_do(autoencoder, w):
    _, decoder, shift, scale = autoencoder
    y = torch.arange(4)
    z = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = film(Point(), decoder, shift, scale, z, y, w, 8, 5)
    assert found.noisy.shape == found.expected.shape == (5, 4, 32, 32)
    torch.testing.assert_close(found.t, torch.tensor([1, 0.75, 0.5, 0.25, 0]))
    first = latent.from_latent(decoder, z, shift, scale)[:, 0]
    torch.testing.assert_close(found.noisy[0], first)
    last = dit_trial.garments(Point(), decoder, shift, scale, y, w=w, steps=8, seed=1)[:, 0]
    torch.testing.assert_close(found.noisy[-1], last)
    torch.testing.assert_close(found.expected[-1], last)
    # the path is straight, so its end is known from the start, and half the noise is left half-way
    torch.testing.assert_close(found.expected, last.expand(5, -1, -1, -1), atol=1e-5, rtol=1e-4)
    end = (1 + w) * ENDS[:4] - w * ENDS[10]
    middle = latent.from_latent(decoder, (end + z) / 2, shift, scale)[:, 0]
    torch.testing.assert_close(found.noisy[2], middle, atol=1e-5, rtol=1e-4)


def test_a_film_shows_points_of_its_path(autoencoder):
    _, decoder, shift, scale = autoencoder
    z, y = torch.zeros(1, 4, 8, 8), torch.zeros(1).long()
    for steps, frames in ((3, 4), (24, 7), (10, 2), (7, 4)):
        assert len(film(Point(), decoder, shift, scale, z, y, 0.0, steps, frames).t) == frames
    for frames in (1, 5):
        with pytest.raises(ValueError, match=r"from 2 to steps \+ 1 = 4"):
            film(Point(), decoder, shift, scale, z, y, 0.0, 3, frames)


@pytest.mark.parametrize("name", SPACES)
def test_the_judge_is_shown_what_a_space_keeps(name, autoencoder, images):
    s = space(name, autoencoder)
    x = images.x[:20]
    there = s.there(x)
    assert there.shape[1:] == s.shape
    shown = for_judge(s.back(there))
    assert shown.shape == (20, 1, 16, 16)
    means = fashion_mnist("test", 16).x[:20]
    if name in ("pixels", "pixels 16×16"):
        torch.testing.assert_close(shown, means)
    if name == "pixels 8×8":  # linear interpolation keeps the means of quarters, but for the rim
        assert float((shown.mean((2, 3)) - means.mean((2, 3))).abs().max()) < 0.02
    if name == "latents":
        encoder, decoder, shift, scale = autoencoder
        u = latent.to_latent(encoder, x, shift, scale)
        x_hat = latent.from_latent(decoder, u, shift, scale)
        torch.testing.assert_close(shown, dit_trial.for_judge(x_hat))


def test_a_space_of_another_name_is_refused():
    with pytest.raises(ValueError, match=r"a space is one of latents, pixels, .* got 'words'"):
        space("words")


def test_samples_are_those_of_chapter_09_in_latents(autoencoder):
    _, decoder, shift, scale = autoencoder
    y = torch.arange(10)
    for w in (0.0, 1.0):
        found = sample(space("latents", autoencoder), Point(), y, w=w, steps=4, seed=2)
        want = dit_trial.garments(Point(), decoder, shift, scale, y, w=w, steps=4, seed=2)
        assert torch.equal(found, want)


@pytest.mark.parametrize("of_processor", [False, True])
def test_a_trial_of_two_spaces(autoencoder, images, of_processor):
    some = Images(images.x[:40], images.y[:40])
    found = flows(
        some,
        Images(images.x[40:80], images.y[40:80]),
        seconds=0.2,
        spaces=("latents", "pixels 8×8"),
        autoencoder=autoencoder,
        of_processor=of_processor,
        width=8,
        batch=4,
        garments=10,
        steps=2,
        progress=False,
    )
    assert torch.equal(found.y, torch.arange(10)) and found.real > 0
    for name, f in found.flows.items():
        assert f.steps >= 1 and f.seconds == pytest.approx(f.steps * f.seconds_a_step)
        assert f.floor >= 0 and f.history.floor == f.floor
        again = sample(space(name, autoencoder), f.model, found.y, w=1.0, steps=2, seed=1)
        assert torch.equal(f.x, again)
        assert f.right[1.0] == judge.class_accuracy(for_judge(f.x), found.y)
        assert set(f.right) == set(f.frechet) == {0.0, 1.0}
        assert name in found.table()
    assert found.flows["pixels 8×8"].x.shape == (10, 1, 8, 8)
    assert "enlarged" in found.table()


def test_as_many_garments_of_each_class(images):
    with pytest.raises(ValueError, match="multiple of 10, got 25"):
        flows(images, images, garments=25)


def test_weights_come_from_a_seed_and_leave_the_global_state_alone():
    before = torch.get_rng_state()
    one, two, other = (latent_trial.new(4, 8, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
