"""Pictures beside their captions."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from cs231n_gen.viz import captioned


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_each_picture_has_its_caption_and_the_right_frame():
    x = torch.linspace(-1, 1, 5)[:, None, None, None].expand(5, 3, 4, 4)
    figure = captioned(x, [f"caption {i}" for i in range(5)], right=[True] * 4 + [False], columns=3)
    axes = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in axes] == [f"caption {i}" for i in range(5)]
    assert len(figure.axes) == 6
    for i, ax in enumerate(axes):
        assert np.allclose(ax.images[0].get_array(), (float(x[i, 0, 0, 0]) + 1) / 2)
    lines = [ax.spines["left"].get_linestyle() for ax in axes]
    assert lines == ["-"] * 4 + ["--"]


@pytest.mark.parametrize(
    ("x", "options", "says"),
    [
        (np.zeros((2, 1, 4, 4)), {}, "x must be"),
        (np.zeros((0, 3, 4, 4)), {}, "x must be"),
        (np.zeros((2, 3, 4, 4)), {"titles": ["one"]}, "titles must be one for each of 2"),
        (np.zeros((2, 3, 4, 4)), {"right": [True] * 3}, "right must be one for each of 2"),
    ],
)
def test_what_cannot_be_shown_is_refused(x, options, says):
    with pytest.raises(ValueError, match=says):
        captioned(x, **options)
