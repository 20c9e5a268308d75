"""GuidanceVectors: velocities, tips, paths and crowds as truth says, and what a reader does."""

import math
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cs231n_gen import flow
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.truth import GaussianMixture
from cs231n_gen.viz import GuidanceVectors, standalone_page

guidance = load_module(Path(__file__).parents[1] / "examples.py", "examples").guidance
hands = load_module(Path(__file__).parents[1] / "hands.py", "hands")
TILTED = GaussianMixture(
    weights=torch.tensor([0.4, 0.1, 0.3, 0.2]),
    means=torch.tensor([[1.5, 0.5], [-1.0, 1.0], [0.0, -1.5], [-0.5, 0.2]]),
    covs=torch.tensor(
        [
            [[0.5, 0.3], [0.3, 0.4]],
            [[0.04, 0], [0, 0.09]],
            [[0.6, -0.3], [-0.3, 0.9]],
            [[0.3, 0.0], [0.0, 0.1]],
        ]
    ),
    labels=torch.tensor([3, 5, 5, 3]),
)
WEIGHTS = [-1, 0, 0.7, 2, 8]
INK = """canvas => {
    const pen = canvas.getContext("2d"), { width, height } = canvas;
    const pixels = pen.getImageData(0, 0, width, height).data;
    return pixels.filter((value, i) => i % 4 === 3 && value > 40).length;
}"""
NOISY = [(scale, t) for t in (0.0, 0.003, 0.4, 0.97, 1.0) for scale in (1, 20)]


def of(figure):
    """The mixture of a figure."""
    return GaussianMixture(**{k: torch.tensor(v) for k, v in figure.mixture.items()})


def guided(mixture, y, w):
    """v_cfg as a function of x_t and t, in Python."""
    return lambda x_t, t: (1 + w) * mixture.velocity(x_t, t, y) - w * mixture.velocity(x_t, t)


def told(mixture):
    return {k: getattr(mixture, k).tolist() for k in ("weights", "means", "covs", "labels")}


def draws(n, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)).double()


def places(n=20):
    """Points x_t and their levels, among the data and far away."""
    x_t = torch.cat([scale * draws(n) for scale, _ in NOISY])
    return x_t, torch.tensor([t for _, t in NOISY]).double().repeat_interleave(n)


# --- the mathematics ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def said(node):
    """What the module says at some places: velocities, where they point, and p(y | x_t)."""
    ask = """
        const { all, given: vY, guided } = js.velocitiesOf(given.mixture, 5);
        const chance = js.chanceOf(given.mixture, 5);
        const fields = [all, vY, ...given.weights.map(guided)];
        return given.at.map(([x, y, t]) => ({
            v: fields.map((f) => { const v = [0, 0]; f(x, y, t, v); return v; }),
            tips: fields.map((f) => js.pointsAt(f, [x, y], t)),
            chance: chance(x, y, t),
        }));
    """
    x_t, t = places()
    at = torch.cat([x_t, t[:, None]], 1).tolist()
    came = node("math/guidance", ask, mixture=told(TILTED), weights=WEIGHTS, at=at)
    return {k: np.array([one[k] for one in came]) for k in ("v", "tips", "chance")}


def test_velocities_with_the_class_without_it_and_guided(said):
    x_t, t = places()
    want = [TILTED.velocity(x_t, t), TILTED.velocity(x_t, t, 5)]
    want += [guided(TILTED, 5, w)(x_t, t) for w in WEIGHTS]
    np.testing.assert_allclose(said["v"], torch.stack(want, 1), atol=1e-9, rtol=1e-9)


def test_velocities_point_at_means_of_data(said):
    """E[x | x_t], E[x | x_t, y], and as far beyond as w says, by Bayes' rule alone."""
    x_t, t = places()
    all_data, of_class = (TILTED.posterior(x_t, 1 - t, t, y).x for y in (None, 5))
    want = [all_data, of_class, *(of_class + w * (of_class - all_data) for w in WEIGHTS)]
    np.testing.assert_allclose(said["tips"], torch.stack(want, 1), atol=1e-7, rtol=1e-9)


def test_the_probability_of_the_class(said):
    x_t, t = places()
    want = [
        TILTED.noised(1 - level, level).label_probabilities(one)[1]
        for one, level in zip(x_t, t.tolist(), strict=True)
    ]
    np.testing.assert_allclose(said["chance"], torch.stack(want), atol=1e-9)


def test_guidance_goes_where_the_probability_grows_fastest(said):
    """E[x | x_t, y] − E[x | x_t] = t² / (1 − t) ∂ log p(y | x_t) / ∂x_t."""
    x_t, t = places()
    among = (t > 0.1) & (t < 0.99) & (x_t.norm(dim=1) < 4)
    for one, level, tips in zip(x_t[among], t[among].tolist(), said["tips"][among], strict=True):
        at = one.clone().requires_grad_()
        TILTED.noised(1 - level, level).label_probabilities(at)[1].log().backward()
        np.testing.assert_allclose(
            tips[1] - tips[0], level**2 / (1 - level) * at.grad, atol=1e-7, rtol=1e-6
        )


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_paths_of_eulers_rule(node, steps):
    """From noise, and from the middle with as many of the steps as are left."""
    z = draws(5)
    ask = """
        const { guided } = js.velocitiesOf(given.mixture, 3);
        return given.weights.map((w) => [1, 0.37].map((begin) =>
            given.z.map((z) => js.pathFrom(guided(w), z, begin, given.steps))));
    """
    came = node(
        "math/guidance", ask, mixture=told(TILTED), weights=WEIGHTS, z=z.tolist(), steps=steps
    )
    left = math.ceil(0.37 * steps)
    for w, (whole, late) in zip(WEIGHTS, came, strict=True):
        v = guided(TILTED, 3, w)
        want = flow.trajectory(v, z, steps).transpose(0, 1)
        np.testing.assert_allclose(np.reshape(whole, (5, -1, 2)), want, atol=1e-6)
        x = z
        for k in range(left):
            x = x - 0.37 / left * v(x, 0.37 * (1 - k / left))
        np.testing.assert_allclose(np.array(late)[:, -2:], x, atol=1e-6)


@pytest.mark.parametrize(("w", "steps"), [(-1, 30), (0, 5), (2, 30), (5, 50), (8, 30)])
def test_the_noise_from_which_a_path_comes_is_found(node, w, steps):
    """Its path passes through x_t, between two steps too; well-behaved fields give it back."""
    mixture = of(guidance())
    z = draws(12)
    path = flow.trajectory(guided(mixture, 0, w), z, steps)
    levels = [0.9, 0.7, 0.55, 0.3]
    ask = """
        const f = js.velocitiesOf(given.mixture, 0).guided(given.w);
        return given.levels.map((t, k) => given.x_t[k].map((x_t) => {
            const z = js.noiseOf(f, x_t, t, given.steps);
            return z && { z, there: js.passes(js.pathFrom(f, z, 1, given.steps), 1, t) };
        }));
    """
    x_t = []
    for t in levels:
        k, part = divmod((1 - t) * steps, 1)
        x_t.append(torch.lerp(path[int(k)], path[min(int(k) + 1, steps)], part))
    given = {"x_t": [x.tolist() for x in x_t], "levels": levels, "w": w, "steps": steps}
    came = node("math/guidance", ask, mixture=told(mixture), **given)
    for want, row in zip(x_t, came, strict=True):
        np.testing.assert_allclose([one["there"] for one in row], want, atol=1e-6)
    if w <= 2:
        np.testing.assert_allclose([one["z"] for one in came[0]], z, atol=1e-5)


def test_where_no_noise_leads_none_is_found(node):
    """Far from all paths, and where one step leads everything to one point."""
    ask = """
        const { guided } = js.velocitiesOf(given.mixture, 0);
        return [
            js.noiseOf(guided(5), [2.8, -2.8], 0.3, 30),
            js.noiseOf(guided(0), [3, 3], 0, 50),
            js.noiseOf(guided(2), [1, 1], 0, 1),
            js.noiseOf(guided(2), [1, 1], 1, 1),
        ];
    """
    came = node("math/guidance", ask, mixture=told(of(guidance())))
    assert came == [None, None, None, [1, 1]]


def test_mean_and_spread(node):
    ask = """
        const one = js.ofClass(given.mixture, 5);
        return [js.spreadOf(one), js.spreadOf(given.mixture), js.spreadOfPoints(given.xy)];
    """
    xy = draws(50) + 3
    came = node("math/guidance", ask, mixture=told(TILTED), xy=xy.flatten().tolist())
    x = TILTED.given(5).sample(400_000, torch.Generator().manual_seed(0))
    for one, points, close in [
        (came[0], x, 0.01),
        (came[1], TILTED.sample(400_000, torch.Generator().manual_seed(0)), 0.01),
        (came[2], xy, 1e-9),
    ]:
        np.testing.assert_allclose(one["mean"], points.mean(0), atol=close)
        spread = points.var(0, unbiased=False).mean().sqrt()
        assert abs(one["spread"] - spread) < close


def test_names_are_beside_each_other_and_inside(node):
    """Seven names around one spot, in a corner too; and an arrow out of the window ends at it."""
    ask = """
        const labels = given.middles.map((at, k) => ({ at, size: [40 + k, 20], away: k }));
        const to = [[500, 200], [200, -100], [240, 230]];
        return {
            boxes: js.placed(labels, given.middles.map((at) => [...at, 100]), 340),
            edges: to.map((tip) => js.inside([200, 200], tip, 340)),
        };
    """
    for x, y in [(170, 170), (4, 338), (-5, 60)]:
        middles = [[x + 6 * k, y - 3 * k] for k in range(7)]
        came = node("math/guidance", ask, middles=middles)
        boxes = [(a, b, a + 40 + k, b + 20) for k, (a, b) in enumerate(came["boxes"])]
        assert all(min(box) >= 0 and max(box) <= 340 for box in boxes)
        for i, (left, top, right, bottom) in enumerate(boxes):
            for a, b, c, d in boxes[:i]:
                assert right < a or c < left or bottom < b or d < top, "two names overlap"
    np.testing.assert_allclose(came["edges"], [[334, 200], [200, 6], [240, 230]])


# --- what comes in and what goes out ------------------------------------------------------------


def bare(**parameters):
    known = {"weights": [1.0, 1.0], "means": np.eye(2), "covs": [np.eye(2)] * 2, "labels": [0, 1]}
    return SimpleNamespace(**{**known, **parameters})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"mixture": bare(labels=None)}, "weights, means, covs and labels, got SimpleNamespace"),
        ({"mixture": 3}, "and labels, got int"),
        ({"mixture": bare(labels=[0])}, r"2 whole numbers, one for each component, got \[0\]"),
        ({"mixture": bare(labels=[0.5, 1.0])}, "2 whole numbers"),
        ({"mixture": bare(means=np.zeros((2, 3)))}, r"means \(2, 3\)"),
        ({"y": 2}, r"y must be among the labels \[0, 1\], got 2"),
        ({"w": 8.5}, "w must be from -1 to 8, got 8.5"),
        ({"w": math.nan}, "w must be from -1 to 8"),
        ({"t": -0.1}, "t must be from 0 .* got -0.1"),
        ({"z": [1, 2, 3]}, "two numbers"),
        ({"z": [1, math.inf]}, "two numbers"),
        ({"t": 0.5, "begin": 0.4}, "begin must be a level from t = 0.5 to 1, got 0.4"),
        ({"steps": 0}, "whole number from 1 to 50, got 0"),
        ({"names": ["one"]}, r"one for each of 2 classes, got \['one'\]"),
        ({"particles": 0}, "particles must be a whole number of at least 1, got 0"),
        ({"extent": -1}, "extent must be a positive number, got -1"),
    ],
)
def test_guidance_that_cannot_be_drawn_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        GuidanceVectors(**{"mixture": bare(), **arguments})


def test_any_whole_numbers_are_labels_and_each_class_has_its_share():
    figure = GuidanceVectors(TILTED, y=5, seed=4)
    assert (figure.classes, figure.names) == ([3, 5], ["class 3", "class 5"])
    assert figure.counts == [180, 120]
    x = np.frombuffer(figure.data, "<f2").reshape(-1, 2).astype(float)
    for points, y in [(x[:180], 3), (x[180:], 5)]:
        one = TILTED.given(y)
        np.testing.assert_allclose(points.mean(0), one.weights @ one.means, atol=0.2)
    again, other = (GuidanceVectors(TILTED, y=5, seed=seed) for seed in (4, 5))
    assert (again.noise, again.data) == (figure.noise, figure.data)
    assert other.noise != figure.noise


def test_a_link_holds_the_setting():
    one = GuidanceVectors(TILTED, y=5, w=-0.5, t=0.2, z=(0.5, -1), begin=0.3, steps=7)
    one.crowd = False
    other = GuidanceVectors(TILTED, y=3)
    other.open_link(one.link("https://example.org/05.html"))
    assert all(getattr(one, key) == getattr(other, key) for key in one.setting)


def test_it_weighs_less_than_60_kb():
    assert len(guidance().html().encode()) < 60_000


@pytest.mark.parametrize("w", [-1.0, 0.0, 2.0])
def test_the_still_picture_shows_tips_paths_and_samples(w):
    figure = guidance()
    one = GuidanceVectors(of(figure), t=0.71, z=(1.2, 0.5), w=w, particles=50)
    drawn = one.draw()
    left, right = drawn.axes
    mixture, z = of(one), torch.tensor([[1.2, 0.5]]).double()
    lines = {line.get_label(): line.get_xydata() for line in left.lines}
    for weight in {0, 1, w}:
        want = flow.trajectory(guided(mixture, 0, weight), z, 30)[:, 0]
        np.testing.assert_allclose(lines[f"w = {weight:g}"], want, atol=1e-6)
    path = flow.trajectory(guided(mixture, 0, w), z, 30)[:, 0]
    x_t = torch.lerp(path[8], path[9], 0.7)
    ends = [line.get_xydata()[-1] for line in left.lines if line.get_marker() == "o"]
    all_data, of_class = (mixture.posterior(x_t, 0.29, 0.71, y).x for y in (None, 0))
    want = [all_data, of_class, of_class + w * (of_class - all_data), x_t]
    np.testing.assert_allclose(ends, torch.stack(want), atol=1e-6)
    noise = torch.tensor(np.frombuffer(one.noise, "<f2").reshape(-1, 2).astype(float))
    samples = flow.sample(guided(mixture, 0, w), noise, 30)
    np.testing.assert_allclose(right.collections[-1].get_offsets(), samples, atol=1e-6)
    plt.close(drawn)


# --- in a browser -------------------------------------------------------------------------------


def state(tab):
    """What the figure says, as numbers."""
    data = tab.locator("[data-tips]").evaluate("one => ({ ...one.dataset })")

    def rows(text):
        return np.array([[float(v) for v in one.split(",")] for one in text.split(";")])

    ends = rows(data["ends"])
    return SimpleNamespace(
        at=rows(data["at"])[0],
        z=rows(data["z"])[0],
        begin=float(data["begin"]),
        chance=float(data["chance"]),
        tips=rows(data["tips"]),
        ends={round(w, 6): end for w, *end in ends.tolist()},
    )


def crowd(tab, y, w, steps):
    """What the figure says of the samples, once they are those of a setting."""
    said = tab.locator(f"[data-of='{y},{w},{steps}']")
    said.wait_for()
    return {k: float(said.get_attribute(f"data-{k}")) for k in ("spread", "data", "sure")}


def screen(tab, x, y, extent=3.2):
    """Where a point of the left plane is on the screen."""
    box = tab.locator("canvas[tabindex]").bounding_box()
    scale = box["width"] / (2 * extent)
    return box["x"] + (x + extent) * scale, box["y"] + (extent - y) * scale


def drag(tab, start, end):
    tab.mouse.move(*screen(tab, *start))
    tab.mouse.down()
    tab.mouse.move(*screen(tab, *np.add(start, end) / 2))
    tab.mouse.move(*screen(tab, *end))
    tab.mouse.up()


def agrees(now, mixture, t, y, w, steps):
    """Tips, p(y | x_t) and the ends of paths are what Python computes from x_t and z."""
    x_t = torch.tensor(now.at)
    all_data, of_class = (mixture.posterior(x_t, 1 - t, t, one).x for one in (None, y))
    want = torch.stack([all_data, of_class, of_class + w * (of_class - all_data)])
    np.testing.assert_allclose(now.tips, want, atol=1e-6)
    k = mixture.classes.tolist().index(y)
    chance = mixture.noised(1 - t, t).label_probabilities(x_t)[k]
    assert abs(now.chance - chance) < 1e-6
    assert {*now.ends} == {0, 1, w}
    left = max(1, math.ceil(now.begin * steps - 1e-9))
    for weight, end in now.ends.items():
        x = torch.tensor(now.z)
        for j in range(left):
            level = now.begin * (1 - j / left)
            x = x - now.begin / left * guided(mixture, y, weight)(x, level)
        np.testing.assert_allclose(end, x, atol=1e-6)


def test_what_is_dragged_goes_where_python_says(alone):
    tab = alone(guidance(), viewport={"width": 1000, "height": 900})
    mixture = of(guidance())
    before = state(tab)
    agrees(before, mixture, 0.7, 0, 2, 30)
    drag(tab, before.at, (0.2, -0.4))
    now = state(tab)
    np.testing.assert_allclose(now.at, [0.2, -0.4], atol=0.02)
    assert now.begin == 1, "there is noise that leads here"
    agrees(now, mixture, 0.7, 0, 2, 30)
    assert abs(now.ends[2][0] - before.ends[2][0]) > 0.1
    drag(tab, now.at, (-3.1, -3.1))
    far = state(tab)
    np.testing.assert_allclose(far.at, [-3.1, -3.1], atol=0.02)
    assert far.begin == 0.7, "no noise leads here: paths begin at the point"
    np.testing.assert_array_equal(far.z, far.at)
    agrees(far, mixture, 0.7, 0, 2, 30)
    assert "No noise is likely to lead here" in tab.locator("[data-tips]").inner_text()


def test_the_weight_moves_one_tip_along_a_line(alone):
    """x_t stays, and so do the other two tips: at w = −1 it is that of v_∅, at 0 that of v_y."""
    tab = alone(guidance())
    slider = tab.get_by_role("slider", name="guidance")
    before = state(tab)
    all_data, of_class, _ = before.tips
    for w in (-1, 0, 0.7, 3, 8):
        hands.slide(slider, w)
        now = state(tab)
        np.testing.assert_allclose(now.at, before.at, atol=1e-6)
        np.testing.assert_allclose(now.tips[:2], before.tips[:2], atol=1e-5)
        np.testing.assert_allclose(now.tips[2], of_class + w * (of_class - all_data), atol=1e-4)
        agrees(now, of(guidance()), 0.7, 0, w, 30)


def test_samples_narrow_and_leave_the_data(alone):
    """Mean and spread are those of Python's samples from the same noise."""
    tab = alone(guidance())
    mixture = of(guidance())
    noise = torch.tensor(np.frombuffer(guidance().noise, "<f2").reshape(-1, 2).astype(float))
    one = mixture.given(0)
    mean = one.weights @ one.means
    cov = torch.einsum("k,kij->ij", one.weights, one.covs) + (one.means - mean).T.cov(
        correction=0, aweights=one.weights
    )
    exact = (cov.trace() / 2).sqrt().item()
    spreads = {}
    for w in (2, 0, 8):
        hands.slide(tab.get_by_role("slider", name="guidance"), w)
        came = crowd(tab, 0, w, 30)
        x = flow.sample(guided(mixture, 0, w), noise, 30)
        assert abs(came["spread"] - x.var(0, unbiased=False).mean().sqrt()) < 1e-5
        assert abs(came["data"] - exact) < 1e-6
        assert abs(came["sure"] - mixture.label_probabilities(x)[:, 0].mean()) < 1e-5
        words = tab.locator("[data-of]").inner_text()
        assert f"400 samples at w = {w}: spread {came['spread']:.2f} around" in words
        assert f"Data of cats: spread {exact:.2f} around" in words
        spreads[w] = came["spread"]
    assert spreads[8] < 0.7 * spreads[2] < 0.6 * spreads[0]


def test_another_class_and_other_steps(alone):
    tab = alone(guidance())
    before = state(tab)
    tab.get_by_role("combobox").select_option("dogs")
    now = state(tab)
    np.testing.assert_allclose(now.at, before.at, atol=1e-6)
    np.testing.assert_allclose(now.tips[0], before.tips[0], atol=1e-6)
    agrees(now, of(guidance()), 0.7, 1, 2, 30)
    hands.slide(tab.get_by_label("steps"), 4)
    few = state(tab)
    np.testing.assert_allclose(few.z, now.z, atol=1e-9)
    agrees(few, of(guidance()), 0.7, 1, 2, 4)
    assert crowd(tab, 1, 2, 4)["data"] == pytest.approx(0.45)
    assert "that of dogs alone" in tab.locator("[data-tips]").inner_text()


def test_keys_do_all_that_a_pointer_does(alone):
    tab = alone(guidance())
    tab.locator("canvas[tabindex]").focus()
    before = state(tab)
    for key in ("ArrowLeft", "Shift+ArrowDown"):
        tab.keyboard.press(key)
    now = state(tab)
    np.testing.assert_allclose(now.at, before.at - (0.1, 0.5), atol=1e-6)
    agrees(now, of(guidance()), 0.7, 0, 2, 30)
    for key in ("+", "+", "-"):
        tab.keyboard.press(key)
    assert tab.get_by_text("w = 2.1", exact=True).is_visible()
    np.testing.assert_allclose(state(tab).at, now.at, atol=1e-6)
    level = tab.locator("output").first
    for key, says in [(".", "0.67"), ("End", "0.00"), (",", "0.03"), ("Home", "1.00")]:
        tab.keyboard.press(key)
        assert level.inner_text() == f"t = {says}"
    crowd(tab, 0, 2.1, 30)
    tab.locator("[aria-live]", has_text="t = 1.00. At x").wait_for(state="attached")
    assert "400 samples at w = 2.1" in tab.locator("[aria-live]").text_content()
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Pause").wait_for()
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Play").wait_for()


def test_a_level_is_reached_along_the_path(alone):
    """Back and forth it is the same point; at data nothing points anywhere else."""
    tab = alone(guidance())
    mixture = of(guidance())
    path = flow.trajectory(guided(mixture, 0, 2), torch.tensor([[1.9, 0.5]]).double(), 30)[:, 0]
    for t, k in [(0.5, 15), (0, 30), (0.2, 24), (1, 0)]:
        hands.slide(tab.get_by_label("noise → data"), -t)
        np.testing.assert_allclose(state(tab).at, path[k], atol=1e-6)
        if t == 0:
            np.testing.assert_allclose(state(tab).tips, path[[30, 30, 30]], atol=1e-6)
            assert "no velocity points anywhere else" in tab.locator("[data-tips]").inner_text()
            hands.slide(tab.get_by_role("slider", name="guidance"), 3)
            np.testing.assert_allclose(state(tab).z, [1.9, 0.5], atol=1e-9)
            hands.slide(tab.get_by_role("slider", name="guidance"), 2)


def test_where_no_noise_leads_the_level_may_change_too(alone):
    """Towards data along the path from the point, towards noise with the point held."""
    tab = alone(guidance(), hash="#figure=guidance&t=0.3&begin=0.3&z=2.9,-2.9&w=6")
    assert (state(tab).begin, crowd(tab, 0, 6, 30)["data"] > 0) == (0.3, True)
    hands.slide(tab.get_by_label("noise → data"), -0.1)
    x = torch.tensor([2.9, -2.9]).double()
    for k in range(6):
        x = x - 0.3 / 9 * guided(of(guidance()), 0, 6)(x, 0.3 * (1 - k / 9))
    np.testing.assert_allclose(state(tab).at, x, atol=1e-6)
    hands.slide(tab.get_by_label("noise → data"), -0.5)
    now = state(tab)
    np.testing.assert_allclose([*now.at, now.begin], [2.9, -2.9, 0.5])


def test_play_goes_from_noise_to_data_and_stops(alone):
    tab = alone(guidance(), hash="#figure=guidance&t=0.2&z=0.5,0.5")
    tab.get_by_role("button", name="Play").click()
    tab.get_by_role("button", name="Pause").wait_for()
    tab.get_by_role("button", name="Play").wait_for()
    assert tab.locator("output").first.inner_text() == "t = 0.00"


def test_who_wants_less_motion_goes_in_steps(alone):
    tab = alone(guidance(), hash="#figure=guidance&t=0.15", reduced_motion="reduce")
    for says in ("0.05", "0.00", "1.00"):
        tab.get_by_role("button", name="Step").click()
        assert tab.locator("output").first.inner_text() == f"t = {says}"


def test_a_link_opens_its_setting_and_the_button_writes_it(alone):
    mixture = of(guidance())
    link = GuidanceVectors(
        mixture, y=2, w=3.5, t=0.45, z=(-0.5, 0.9), steps=12, name="guidance"
    ).link()
    tab = alone(guidance(), hash=link.replace("crowd=1", "crowd=0"))
    now = state(tab)
    agrees(now, mixture, 0.45, 2, 3.5, 12)
    np.testing.assert_allclose(now.z, [-0.5, 0.9])
    assert not tab.get_by_label("crowd").is_checked()
    assert tab.get_by_role("combobox").input_value() == "2"
    tab.get_by_label("crowd").check()
    tab.get_by_role("button", name="Link").click()
    assert tab.evaluate("location.hash") == link


def test_a_link_that_says_nonsense_is_kept_within_bounds(alone):
    tab = alone(guidance(), hash="#figure=guidance&t=2&w=99&y=7&steps=0.2&z=1e9,-1e9&begin=-1")
    now = state(tab)
    assert {*now.ends} == {0, 1, 8}
    np.testing.assert_array_equal(now.at, [9, -9])
    assert tab.locator("output").all_inner_texts() == ["t = 1.00", "w = 8.0", "T = 1"]


def test_boxes_change_what_is_drawn(alone):
    tab = alone(guidance())
    crowd(tab, 0, 2, 30)
    back = tab.locator("canvas[aria-hidden]").first
    ink = [back.evaluate(INK)]
    for box in ("p(y | x", "crowd"):
        tab.get_by_role("checkbox", name=box).uncheck()
        ink.append(back.evaluate(INK))
    assert ink[0] > 2 * ink[1] > 2.1 * ink[2] > 0
    assert all(canvas.evaluate(INK) > 500 for canvas in tab.locator("canvas").all())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1040, 360])
def test_it_is_drawn_light_and_dark_wide_and_narrow(alone, scheme, width):
    tab = alone(guidance(), color_scheme=scheme, viewport={"width": width, "height": 800})
    crowd(tab, 0, 2, 30)
    assert tab.locator(".gen-figure").get_attribute("data-theme") == scheme
    assert tab.locator("html").evaluate("html => html.scrollWidth <= html.clientWidth")
    left, right = (box.bounding_box() for box in tab.locator(".gen-plane").all())
    assert (left["y"] == right["y"]) == (width > 700), "side by side, or one below the other"
    paper = tab.locator("canvas[tabindex]").evaluate(
        """canvas => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            const bright = [];
            for (let i = 0; i < data.length; i += 4) {
                if (data[i + 3] > 250) bright.push(Math.max(data[i], data[i + 1], data[i + 2]));
            }
            return bright.filter((value) => value < 40).length / bright.length;
        }"""
    )
    assert (paper > 0.3) == (scheme == "dark"), "names are on dark paper"


def test_a_finger_far_from_the_point_scrolls(alone):
    tab = alone(guidance(), has_touch=True, viewport={"width": 600, "height": 900})
    before = state(tab)
    tab.touchscreen.tap(*screen(tab, -2.5, -2.5))
    np.testing.assert_array_equal(state(tab).at, before.at)
    x, y = screen(tab, *before.at)
    tab.touchscreen.tap(x + 15, y)
    assert state(tab).at[0] - before.at[0] > 0.05


def test_python_hears_of_a_move_and_says_its_own(chromium):
    """One message at the end of a drag; what Python sets is shown."""
    figure = guidance()
    given = hands.state_of(figure)
    tab = chromium.new_page(viewport={"width": 1000, "height": 900})
    tab.set_content(f"<style>{standalone_page.css()}</style><div id=el></div>")
    tab.evaluate(
        """async ([code, given]) => {
            const bytes = (v) => Array.isArray(v) && v.length > 200 ? Uint8Array.from(v) : v;
            const heard = {};
            window.saved = [];
            window.model = {
                get: (name) => bytes(given[name]),
                set: (name, value) => (given[name] = value),
                on: (event, f) => (heard[event] = f),
                off: () => {},
                save_changes: () => window.saved.push({ z: given.z, w: given.w }),
            };
            window.python = (name, value) => { given[name] = value; heard[`change:${name}`](); };
            const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
            const { default: figure } = await import(url);
            figure.render({ model: window.model, el: document.getElementById("el") });
        }""",
        [standalone_page.module("figures/guidance_vectors"), given],
    )
    drag(tab, state(tab).at, (0.4, 0.9))
    saved = tab.evaluate("window.saved")
    assert len(saved) == 1
    np.testing.assert_allclose(saved[0]["z"], state(tab).z)
    tab.evaluate("window.python('w', -0.5)")
    now = state(tab)
    assert {*now.ends} == {-0.5, 0, 1}
    np.testing.assert_allclose(now.z, saved[0]["z"], err_msg="what Python sets, and nothing else")
    crowd(tab, 0, -0.5, 30)
    said = tab.locator("[data-of]").inner_text()
    assert "400 samples at w = −0.5:" in said
    assert "leads back towards all data" in said
    tab.close()
