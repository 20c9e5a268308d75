"""Latents of any size, and what their scale has to do with the levels of a flow."""

import pytest
import torch
from torch import nn

from cs231n_gen import latent, schedules
from cs231n_gen.truth import FiniteData, GaussianMixture

LEVELS = torch.tensor([0.03, 0.2, 0.5, 0.8, 0.97], dtype=torch.float64)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def normal(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("s", [0.1, 0.7, 1.0, 4.0])
def test_unscaled_latents_are_scaled_ones_at_shifted_levels(s):
    """(1 − t) s u + t z is, but for a factor, (1 − t') u + t' z with t' shifted by 1/s."""
    u, z = normal(0, 5, 3), normal(1, 5, 3)
    t = LEVELS[:, None]
    shifted = schedules.shift(t, 1 / s)
    factor = (1 - t) * s + t
    mixed = (1 - t) * s * u + t * z
    torch.testing.assert_close(mixed, factor * ((1 - shifted) * u + shifted * z), **EXACT)


@pytest.mark.parametrize("s", [0.1, 0.7, 4.0])
@pytest.mark.parametrize("law", ["finite", "mixture"])
def test_what_the_best_nets_know_of_both_is_the_same(law, s):
    """The posterior mean of latents of deviation s at level t is s times that of standardised ones
    at the shifted level: a flow on unscaled latents is a flow with another schedule."""
    means = normal(2, 6, 3)
    one, other = (
        FiniteData(k * means) if law == "finite" else GaussianMixture.isotropic(k * means, 0.4 * k)
        for k in (1.0, s)
    )
    x, z = means[:5], normal(3, 5, 3)
    t, shifted = LEVELS, schedules.shift(LEVELS, 1 / s)
    unscaled = (1 - t)[:, None] * s * x + t[:, None] * z
    scaled = (1 - shifted)[:, None] * x + shifted[:, None] * z
    a = other.posterior(unscaled, 1 - t, t)
    b = one.posterior(scaled, 1 - shifted, shifted)
    torch.testing.assert_close(a.x, s * b.x, **EXACT)
    torch.testing.assert_close(a.z, b.z, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("s", [0.05, 3.0])
def test_uniform_levels_become_levels_of_that_shift(s):
    """Half of all levels of unscaled latents lie below t = ½: for standardised ones that is
    1 / (1 + s), so that small latents meet noise alone and large ones hardly any."""
    assert float(schedules.shift(torch.tensor(0.5).double(), 1 / s)) == pytest.approx(1 / (1 + s))


class _Tail(nn.Module):
    """An encoder with a deviation and a mean of its own; the decoder that inverts it."""

    def __init__(self, s=3.0, m=-7.0):
        super().__init__()
        self.s, self.m = s, m

    def forward(self, x):
        return self.s * x + self.m, torch.zeros_like(x)


def test_there_and_back_again():
    encoder = _Tail()
    x = normal(4, 700, 2, 3, 3)
    shift, scale = latent.shift_and_scale(encoder, x)
    assert shift == pytest.approx(-7 + 3 * float(x.mean()))
    assert scale == pytest.approx(1 / (3 * float(x.std(correction=0))))
    u = latent.to_latent(encoder, x, shift, scale)
    assert float(u.mean()) == pytest.approx(0, abs=1e-12)
    assert float(u.std(correction=0)) == pytest.approx(1)
    back = latent.from_latent(nn.Identity(), u, shift, scale)
    torch.testing.assert_close(back, encoder(x)[0], **EXACT)


def test_equal_latents_are_refused_whatever_they_are():
    encoder = _Tail(s=0.0, m=0.1)
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match="the latents must differ"):
            latent.shift_and_scale(encoder, torch.ones(33, 1, 7, 7, dtype=dtype))
