"""Figures in Python: what they take and refuse, what they weigh, what they hand to a notebook."""

import base64
import io
import os
import re
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from nbgrader.validator import Validator
from PIL import Image

from cs231n_gen import data, viz
from cs231n_gen.common.paths import ROOT
from cs231n_gen.given.mlp import VelocityMLP
from cs231n_gen.viz import FlowField, Trajectories

RING = data.ring().mixture
POINTS = np.zeros((4, 5, 2))


# --- what comes in ------------------------------------------------------------------------------


def conditional():
    return VelocityMLP(classes=3).state_dict()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"fields": {}}, "at least one field"),
        ({"fields": {"it": 3}}, "'it' must be a mixture .* got int"),
        ({"fields": {"it": {"a": 1}}}, "must be a state_dict"),
        ({"fields": {"it": VelocityMLP(dim=3).state_dict()}}, "from the plane to the plane"),
        ({"fields": {"it": conditional()}}, "without conditions, 15 inputs and 2 outputs, got 18"),
        (
            {"fields": {"it": SimpleNamespace(weights=[1], means=[[0, 0, 0]], covs=[np.eye(3)])}},
            r"means \(1, 3\)",
        ),
        ({"t": 1.5}, "t must be from 0 .* got 1.5"),
        ({"t": float("nan")}, "t must be from 0"),
        ({"steps": 51}, "whole number from 1 to 50, got 51"),
        ({"steps": 2.5}, "whole number from 1 to 50"),
        ({"method": "rk4"}, "euler or heun, got 'rk4'"),
        ({"z": [1, 2, 3]}, "two numbers"),
        ({"data": np.zeros((3, 3))}, r"data must be \(n, 2\)"),
    ],
)
def test_a_field_that_cannot_be_drawn_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        FlowField(**{"fields": {"it": RING}, **arguments})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((POINTS[:1],), "two frames or more"),
        ((POINTS[..., :1],), r"got \(4, 5, 1\)"),
        ((np.zeros((4, 5, 2, 3, 3)),), "1 or 3 channels"),
        ((np.full((4, 5, 2), np.nan),), "finite"),
        ((POINTS, [1, 0.5, 0.5, 0]), "4 falling numbers"),
        ((POINTS, [1, 0]), "4 falling numbers"),
        ((POINTS, None, ["one"]), "5 names, got 1"),
    ],
)
def test_frames_that_cannot_be_shown_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        Trajectories(*arguments)


def test_the_same_seed_draws_the_same_noise():
    a, b, c = (FlowField({"it": RING}, seed=seed) for seed in (1, 1, 2))
    assert (a.noise, a.data) == (b.noise, b.data)
    assert a.noise != c.noise


def test_data_that_come_are_shown_and_else_the_mixtures_own():
    mine = np.arange(800).reshape(400, 2)
    shown = np.frombuffer(FlowField({"it": RING}, mine).data, "<f2").reshape(-1, 2)
    np.testing.assert_array_equal(shown, mine[:300])
    drawn = np.frombuffer(FlowField({"it": RING}).data, "<f2").reshape(-1, 2)
    assert abs(np.linalg.norm(drawn, axis=1).mean() - 2) < 0.1
    assert not FlowField({"it": VelocityMLP().state_dict()}).data


def test_images_travel_as_bytes():
    images = np.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    sent = np.frombuffer(Trajectories(images).frames, np.uint8)
    np.testing.assert_allclose(sent, (images.ravel() + 1) * 127.5, atol=0.5)


def test_tensors_on_their_way_through_autograd_are_taken():
    assert Trajectories(torch.zeros(3, 2, 1, 8, 8)).shape == [3, 2, 1, 8, 8]
    assert FlowField({"it": VelocityMLP().state_dict()}).fields[0]["widths"] == [15, 64, 64, 64, 2]


# --- what goes out ------------------------------------------------------------------------------


def test_a_figure_weighs_less_than_60_kb():
    """The exact field beside the net of chapter 04, its still picture and all its code included."""
    learned = VelocityMLP().state_dict()
    html = FlowField({"exact field": RING, "learned field": learned}).html()
    assert len(html.encode()) < 60_000


def test_a_page_asks_for_nothing(figure):
    html = figure.html()
    assert not re.findall(r"https?://(?!www\.w3\.org/)[^\s\"']+", html)
    assert "src='data:image/png" in html


def test_a_title_cannot_leave_its_place():
    hostile = "'></iframe><script>alert(1)</script>\"&amp;</script>"
    figure = FlowField({hostile: RING}, alt=hostile)
    html = figure.html()
    assert "<script" not in html.replace("<script>\n(async", "")
    assert html.count("</iframe>") == 1


def test_a_still_picture_has_ink_and_words(figure):
    image = Image.open(io.BytesIO(figure.still())).convert("L")
    assert (np.asarray(image) < 200).sum() > 1000
    assert re.search(r"<img alt='[^']{10,}'", figure.html())


def test_a_notebook_gets_the_widget_and_the_page(figure):
    bundle, _ = figure._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == figure.model_id
    assert bundle["text/html"] == figure.html()
    assert figure.alt in bundle["text/plain"]
    assert base64.b64encode(bundle["image/png"])


def test_a_link_opens_the_setting_it_was_made_of():
    one = FlowField({"it": RING}, t=0.25, z=(0.5, -1), steps=7, method="heun", pairs=True)
    other = FlowField({"it": RING})
    other.open_link(one.link("https://example.org/04.html"))
    assert all(getattr(one, key) == getattr(other, key) for key in one.setting)


def test_headless_execution_goes_through_a_figure():
    """Nobody answers the widget, and nobody waits for it."""
    code = (
        "from cs231n_gen import data, viz\n"
        "figure = viz.FlowField({'it': data.ring().mixture})\n"
        "viz.show_static(figure)\nfigure"
    )
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(nb, timeout=60, kernel_name="python3").execute(cwd=str(ROOT))
    shown, returned = (out.data for out in nb.cells[0].outputs)
    assert "iframe" in shown["text/html"]
    assert {"text/html", "image/png", "text/plain"} < {*returned}


def test_plots_are_still_shown_after_it_and_its_own_is_not():
    cells = [
        "%load_ext autoreload\nfrom cs231n_gen import data, viz",
        "viz.FlowField({'it': data.ring().mixture})",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    ]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    client = NotebookClient(nb, timeout=60, kernel_name="python3")
    inline = "module://matplotlib_inline.backend_inline"
    client.execute(cwd=str(ROOT), env={**os.environ, "MPLBACKEND": inline})
    assert [o.output_type for o in nb.cells[1].outputs] == ["execute_result"]
    assert [[*o.data] for o in nb.cells[2].outputs] == [["text/plain", "image/png"]]


def test_nbgraders_validation_goes_through_a_figure(tmp_path):
    code = "from cs231n_gen import data, viz\nviz.FlowField({'it': data.ring().mixture})"
    cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("assert 1 + 1 == 2")]
    marks = {"schema_version": 3, "grade": True, "locked": True, "solution": False, "task": False}
    cells[1].metadata["nbgrader"] = {**marks, "grade_id": "sum", "points": 1}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(nb, tmp_path / "figure.ipynb")
    said = Validator().validate(str(tmp_path / "figure.ipynb"))
    assert not said.get("failed") and not said.get("error"), said


def test_every_moving_figure_names_its_module():
    kinds = viz.MovingFigure.__subclasses__()
    assert {FlowField, Trajectories} <= {*kinds}
    assert all("export default { render }" in kind._esm for kind in (FlowField, Trajectories))
