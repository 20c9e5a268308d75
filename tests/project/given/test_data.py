"""The data are what they claim to be: bytes, balance, ranges, and exact densities."""

import math
import shutil
from functools import cache

import pytest
import torch
from scipy import integrate

from cs231n_gen import data

TOYS = sorted(data.TOYS)


@pytest.fixture(scope="module", params=TOYS)
def toy(request):
    return data.TOYS[request.param]()


@pytest.fixture
def fresh(monkeypatch):
    """Forget which files were found sound, before and after."""
    data.data_file.cache_clear()
    yield monkeypatch
    data.data_file.cache_clear()


@pytest.mark.parametrize(("split", "n"), [("train", 12_000), ("test", 2_000)])
def test_garments_are_balanced_images_in_minus_1_to_1(split, n):
    x, y = data.fashion_mnist(split)
    assert x.shape == (n, 1, 28, 28)
    assert x.dtype == torch.float32
    assert y.bincount().tolist() == [n // 10] * 10
    assert x.min() == -1
    assert x.max() == 1
    assert len(data.CLASS_NAMES) == 10


def test_sizes_are_padded_and_pooled():
    small, native, padded = (data.fashion_mnist("test", s).x for s in (16, 28, 32))
    assert torch.equal(padded[:, :, 2:-2, 2:-2], native)
    assert (padded[:, :, :2] == -1).all()
    assert torch.allclose(small[7, 0, 5, 6], padded[7, 0, 10:12, 12:14].mean())
    assert torch.allclose(small.mean((2, 3)), padded.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize(("arguments", "named"), [(("val",), "split"), (("train", 64), "size")])
def test_other_splits_and_sizes_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        data.fashion_mnist(*arguments)


def test_a_missing_file_is_named_with_the_way_to_get_it_back(fresh, tmp_path):
    fresh.setenv(data.FOLDER, str(tmp_path))
    shutil.copy(data.Path(data.__file__).parents[2] / "data" / "SHA256SUMS", tmp_path)
    with pytest.raises(data.DataError, match=r"fashion_mnist\.npz is missing; to get it back"):
        data.fashion_mnist()


def test_a_damaged_file_is_named(fresh, tmp_path):
    source = data.Path(data.__file__).parents[2] / "data"
    shutil.copy(source / "SHA256SUMS", tmp_path)
    content = bytearray((source / "fashion_mnist.npz").read_bytes())
    content[1000] ^= 1
    (tmp_path / "fashion_mnist.npz").write_bytes(content)
    fresh.setenv(data.FOLDER, str(tmp_path))
    with pytest.raises(data.DataError, match=r"is damaged: its sha256 is .*git checkout"):
        data.fashion_mnist()


def test_a_seed_repeats_the_points(toy):
    one = toy.sample(50, torch.Generator().manual_seed(3))
    assert torch.equal(one, toy.sample(50, torch.Generator().manual_seed(3)))
    assert one.dtype == torch.float32
    assert one.shape == (50, 2)


def test_points_are_about_unit_scale(toy):
    x = toy.sample(4000, torch.Generator().manual_seed(0))
    assert 0.5 < x.std() < 1.7
    assert x.abs().max() < 4
    assert x.mean(0).abs().max() < 0.45


@cache
def density_on_a_grid(toy):
    """The density at the midpoints of squares of side 1/32, from −5 to 5 each way."""
    axis = (torch.arange(320, dtype=torch.float64) + 0.5) / 32 - 5
    return toy.log_density(torch.cartesian_prod(axis, axis)).exp().reshape(320, 320)


def test_densities_integrate_to_1(toy):
    total = density_on_a_grid(toy).sum() / 32**2
    # The midpoint rule is all but exact for what is smooth over 1/32, and for whole squares; beyond
    # the edges lies less than 1e-6.
    assert math.isclose(total, 1, abs_tol=1e-5)


def test_points_fall_where_the_density_says(toy):
    """The share of points in each of 8×8 cells, against the density's integral over the cell."""
    n = 40_000
    x = toy.sample(n, torch.Generator().manual_seed(1)).double()
    inner = density_on_a_grid(toy)[32:-32, 32:-32] / 32**2
    share = inner.reshape(8, 32, 8, 32).sum((1, 3))
    cell = (x + 4).floor().long().clamp(0, 7)
    found = torch.zeros(8, 8, dtype=torch.float64)
    found.index_put_((cell[:, 0], cell[:, 1]), torch.ones(n, dtype=torch.float64), accumulate=True)
    off = (found / n - share).abs()
    bound = 5 * (share * (1 - share) / n).sqrt() + 1e-3  # 5 standard errors, and the grid's own
    assert (off < bound).all()


@pytest.mark.parametrize("make", [data.moons, data.swiss_roll])
def test_nodes_along_a_curve_give_its_density(make):
    """Against an adaptive quadrature along the curve."""
    toy = make()
    x = toy.sample(20, torch.Generator().manual_seed(2)).double()
    std = toy.mixture.covs[0, 0, 0].sqrt()
    curves = toy.mixture.labels.unique()
    for point in x[:4]:
        total = 0.0
        for y in curves:

            def density(s, y=y, point=point):
                at = CURVES[toy.name](torch.tensor(s, dtype=torch.float64), y)
                r2 = ((point - at) ** 2).sum() / std**2
                return float(torch.exp(-r2 / 2) / (2 * math.pi * std**2))

            value, _ = integrate.quad(density, 0, 1, limit=400, epsabs=1e-10)
            total += value / len(curves)
        assert math.isclose(total, float(toy.log_density(point).exp()), rel_tol=1e-6)


def moon(s, y):
    sign = 1 - 2 * y
    x = [sign * torch.cos(math.pi * s) - 0.5 * sign, sign * torch.sin(math.pi * s) - 0.25 * sign]
    return 1.4 * torch.stack(x)


def roll(s, y):
    angle = 1.5 * math.pi * (1 + 2 * s)
    return 0.17 * torch.stack([angle * angle.cos(), angle * angle.sin()])


CURVES = {"moons": moon, "swiss roll": roll}


def test_rings_std_is_a_standard_deviation():
    toy = data.ring()
    x, y = toy.sample_labelled(20_000, torch.Generator().manual_seed(0))
    around = x[y == 0] - torch.tensor([2.0, 0.0])
    assert math.isclose(around.std(), 0.2, rel_tol=0.05)  # 2500 points: 3 standard errors


def test_outside_the_checkerboard_nothing_is_possible():
    toy = data.checkerboard()
    outside = torch.tensor([[2.5, 2.5], [-1.5, -0.5]])
    assert (toy.log_density(outside) == -math.inf).all()
    inside = toy.log_density(torch.tensor([-1.5, -1.5]))
    assert math.isclose(inside, -math.log(8))
