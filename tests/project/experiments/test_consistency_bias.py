"""The slopes that consistency training learns of a Gaussian."""

import pytest

from cs231n_gen import consistency_bias

EULER, HEUN = consistency_bias.TEACHERS[1:]


@pytest.fixture(scope="module")
def bias():
    return consistency_bias.run((4, 16), pairs=4000)


def shrunk(N, std):
    """The slope at t = 1 in closed form: a product of regressions of x_s on x_t."""
    slope = 1.0
    for n in range(1, N + 1):
        t, s = n / N, (n - 1) / N
        shared = (1 - t) * (1 - s) * std**2 + t * s
        slope *= shared / ((1 - t) ** 2 * std**2 + t**2)
    return slope


def test_the_slopes_are_those_of_the_closed_form(bias):
    for k, N in enumerate(bias.grids):
        right = shrunk(N, 0.5)
        assert bias.slopes["from data alone"][k] == pytest.approx(right, abs=0.01)
        assert bias.slopes[EULER][k] == pytest.approx(right, abs=1e-9)
    assert [round(shrunk(N, 0.5), 3) for N in consistency_bias.GRIDS] == [
        0.341,
        0.456,
        0.489,
        0.497,
    ]


def test_better_steps_of_the_teacher_have_less_bias(bias):
    assert abs(bias.slopes[HEUN][0] - 0.5) < 0.01
    assert abs(bias.slopes[HEUN][1] - 0.5) < abs(bias.slopes[HEUN][0] - 0.5) / 4


def test_curves_begin_at_the_data_and_end_at_the_slope(bias):
    for k, N in enumerate(bias.grids):
        f = bias.curves[N]
        assert f.shape == (N + 1,) and f[0] == pytest.approx(1.0)
        assert f[-1] == pytest.approx(bias.slopes["from data alone"][k])


def test_the_table_has_a_row_for_each_teacher(bias):
    lines = bias.table().splitlines()
    assert "0.5 is right" in lines[0] and lines[1].split()[-2:] == ["4", "16"]
    assert len(lines) == 2 + len(consistency_bias.TEACHERS)
