"""The judge knows real garments, and tells worse ones from better."""

import pytest
import torch

from cs231n_gen import data, judge


@pytest.fixture(scope="module")
def test_set():
    return data.fashion_mnist("test", 16)


def test_it_knows_real_garments(test_set):
    assert judge.class_accuracy(test_set.x, test_set.y) > 0.87  # data/README.md has the number


def test_real_images_are_close_to_real_images(test_set):
    x = test_set.x[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    assert judge.frechet(x, test_set.x) < 1e-6
    assert 0 < judge.frechet(x[:1000], x[1000:]) < 20


def test_noise_moves_images_away_and_more_noise_further(test_set):
    x = test_set.x[:500]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    distances = [judge.frechet(x + s * noise, test_set.x) for s in (0.0, 0.2, 0.6)]
    assert distances[0] < distances[1] < distances[2]


def test_a_missing_class_shows(test_set):
    whole = judge.frechet(test_set.x[:1000], test_set.x)
    assert judge.frechet(test_set.x[test_set.y != 8][:1000], test_set.x) > 2 * whole


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"\(n, 1, 16, 16\)"):
        judge.classify(torch.zeros(2, 1, 28, 28))
    with pytest.raises(ValueError, match="one class an image"):
        judge.class_accuracy(torch.zeros(2, 1, 16, 16), torch.zeros(3))
