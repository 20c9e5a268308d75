"""The linear VAE that is trained on garments is the one of the theory."""

import pytest
import torch

from cs231n_gen import linear_vae_trial
from cs231n_gen.given.data import fashion_mnist


def test_training_reaches_the_flood_to_four_digits():
    trial = linear_vae_trial.run(fashion_mnist("train", 16).x, (3.0, 10.0), axes=6)
    torch.testing.assert_close(trial.mse, trial.true_mse, rtol=1e-4, atol=1e-4)
    for found, true in zip(trial.kl, trial.true_kl, strict=True):
        assert float(found.sum()) == pytest.approx(float(true.sum()), rel=1e-4)
    assert "Σ min(λ, θ)" in trial.table()


def test_eigenvalues_are_those_of_the_images():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=g) * torch.tensor([4.0, 3.0, 2.0, 1.0])
    trial = linear_vae_trial.run(x, (1.5,), axes=4)
    wanted = torch.linalg.svdvals(x.double() - x.double().mean(0)).square() / len(x)
    torch.testing.assert_close(trial.eigenvalues, wanted)
