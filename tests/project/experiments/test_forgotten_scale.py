"""The shipped flow in latents, and what a forgotten scale does to its garments."""

import pytest
import torch

from cs231n_gen import forgotten_scale, latent_trial
from cs231n_gen.given import judge


@pytest.fixture(scope="module")
def net():
    return latent_trial.load_latent_unet()


def test_a_forgotten_scale_ruins_latents_as_large_as_those_of_stable_diffusion(net):
    found = forgotten_scale.run(net, 5.5, garments=200, w=1.0)
    right, forgotten, twice = found.frechet.values()
    assert right < forgotten / 2
    assert right < twice / 2
    assert "5.50" in found.table()
    seen = latent_trial.for_judge(found.images["as it should be"])
    assert judge.class_accuracy(seen, torch.arange(200) % 10) > 0.9


def test_the_standard_deviation_of_latents_does_not_matter_if_the_scale_is_used(net):
    small, large = (forgotten_scale.run(net, std, garments=20, steps=2) for std in (None, 5.5))
    assert small.std == pytest.approx(0.829, abs=0.001)
    assert large.std == pytest.approx(5.5)
    one, other = (found.images["as it should be"] for found in (small, large))
    assert torch.equal(one, other)
