"""ScheduleLab: densities, pictures and errors as scipy and truth say, and what a reader does."""

import io
import math
import re
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import integrate, optimize, stats

from cs231n_gen import data, truth
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.given.mlp import VelocityMLP
from cs231n_gen.viz import ScheduleLab, standalone_page, velocity_fields

lab = load_module(Path(__file__).parents[1] / "examples.py", "examples").lab
hands = load_module(Path(__file__).parents[1] / "hands.py", "hands")
RING = data.ring().mixture
LEVELS = [0.0, 0.2, 0.5, 0.6, 1.0]
LOSSES = [1.0, 1.5, 2.5, 3.0, 0.5]
PICTURES = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32))
SCHEDULES = {
    "uniform": ("uniform", 0.0, 1.0, 1.0),
    "uniform, shifted": ("uniform", 0.0, 1.0, 3.0),
    "logit-normal": ("logit-normal", 0.0, 1.0, 1.0),
    "logit-normal, narrow": ("logit-normal", -0.7, 0.4, 1.0),
    "logit-normal, wide and shifted": ("logit-normal", 0.5, 1.6, 2.5),
    "mode-weighted": ("mode-weighted", 0.0, 1.29, 1.0),
    "mode-weighted, at the ends": ("mode-weighted", 0.0, -0.6, 1.0),
    "mode-weighted, shifted": ("mode-weighted", 0.0, 1.29, 4.0),
}


def told(schedule, m, s, alpha):
    return {"schedule": schedule, "m": m, "s": s, "alpha": alpha}


def moved(t, alpha):
    return alpha * t / (1 + (alpha - 1) * t)


def density(schedule, m, s, alpha):
    """p(t) by the change of variables, from the density of what t is made of."""
    if schedule == "logit-normal":  # shifted by α, it is one with m + log α
        law = stats.norm(m + math.log(alpha), s)
        return lambda t: law.pdf(np.log(t / (1 - t))) / (t * (1 - t))

    def level(u):
        if schedule == "mode-weighted":
            u = 1 - u - s * (math.cos(math.pi * u / 2) ** 2 - 1 + u)
        return moved(u, alpha)

    def p(t):  # |du / dt| of the only u
        u, h = optimize.brentq(lambda u: level(u) - t, 0, 1, xtol=1e-15), 1e-6
        return 2 * h / abs(level(u + h) - level(u - h))

    return np.vectorize(p)


def cumulative(which, t):
    return integrate.quad(density(*SCHEDULES[which]), 1e-9, t, limit=200)[0]


def loss(t):
    return np.interp(t, LEVELS, LOSSES)


# --- the mathematics of t -----------------------------------------------------------------------


def test_the_normal_distribution(node):
    x = np.concatenate([np.linspace(-9, 9, 181), [-40, 40]])
    q = np.array([1e-7, 1e-4, 0.01, 0.3, 0.5, 0.7, 0.99, 1 - 1e-4])
    ask = "return [given.x.map(js.normalCdf), given.q.map(js.normalQuantile)]"
    cdf, quantile = node("math/normal", ask, x=x.tolist(), q=q.tolist())
    np.testing.assert_allclose(cdf, stats.norm.cdf(x), atol=1e-14)
    np.testing.assert_allclose(quantile, stats.norm.ppf(q), atol=1e-9)


@pytest.fixture(scope="module")
def said(node):
    """What the module says of each schedule."""
    ask = """
        const loss = (t) => js.interpolated(given.levels, given.losses, t);
        return given.schedules.map((p) => ({
            density: given.at.map((t) => js.density(p, t)),
            cumulative: given.at.map((t) => js.cumulative(p, t)),
            quantiles: given.shares.map((q) => js.quantile(p, q)),
            back: given.shares.map((q) => js.cumulative(p, js.quantile(p, q))),
            mean: js.average(p, (t) => t),
            loss: js.average(p, loss),
            hard: js.share(p, js.hardest(loss)),
            median: js.median(p),
            spread: js.spreadFor(p, js.median(p)[1]),
            outside: [-0.1, 1.1].map((t) => js.density(p, t)),
            ends: [0, 1].map((t) => js.cumulative(p, t)),
        }));
    """
    nodes, _ = np.polynomial.legendre.leggauss(600)
    came = node(
        "math/schedules",
        ask,
        schedules=[told(*one) for one in SCHEDULES.values()],
        at=((nodes + 1) / 2).tolist(),
        shares=[0.05, 0.1, 0.5, 0.8, 0.95],
        levels=LEVELS,
        losses=LOSSES,
    )
    return dict(zip(SCHEDULES, came, strict=True))


@pytest.mark.parametrize("which", SCHEDULES)
def test_densities_are_those_of_the_change_of_variables(said, which):
    nodes, weights = np.polynomial.legendre.leggauss(600)
    t, w = (nodes + 1) / 2, weights / 2
    came = np.array(said[which]["density"])
    inside = (t > 0.002) & (t < 0.998)  # where u is not at an end, for the difference quotient
    np.testing.assert_allclose(came[inside], density(*SCHEDULES[which])(t[inside]), rtol=1e-6)
    assert abs(came @ w - 1) < 1e-5
    np.testing.assert_allclose(said[which]["mean"], came @ (w * t), atol=1e-5)
    np.testing.assert_allclose(said[which]["loss"], came @ (w * loss(t)), atol=1e-4)
    assert said[which]["outside"] == [0, 0]
    np.testing.assert_allclose(said[which]["ends"], [0, 1], atol=1e-12)


@pytest.mark.parametrize("which", SCHEDULES)
def test_shares_and_quantiles_belong_together(said, which):
    nodes, _ = np.polynomial.legendre.leggauss(600)
    some = slice(30, 570, 60)
    want = [cumulative(which, t) for t in (nodes[some] + 1) / 2]
    np.testing.assert_allclose(said[which]["cumulative"][some], want, atol=1e-6)
    np.testing.assert_allclose(said[which]["back"], [0.05, 0.1, 0.5, 0.8, 0.95], atol=1e-9)
    _, m, s, alpha = SCHEDULES[which]
    median, height = said[which]["median"]
    assert abs(median - said[which]["quantiles"][2]) < 1e-12
    assert abs(median - moved(1 / (1 + math.exp(-m)), alpha)) < 1e-12
    np.testing.assert_allclose(height, density(*SCHEDULES[which])(median), rtol=1e-6)
    if "uniform" not in which:
        assert abs(said[which]["spread"] - s) < 1e-9, "the s of that height"


@pytest.mark.parametrize("which", SCHEDULES)
def test_the_share_of_the_hardest_third(said, which):
    """Levels whose loss is above the quantile of losses that a third of all levels exceeds."""
    grid = (np.arange(300_000) + 0.5) / 300_000
    hard = loss(grid) > np.quantile(loss(grid), 2 / 3)
    p = density(*SCHEDULES[which])
    edges = grid[np.flatnonzero(np.diff(hard.astype(int)))]
    want = sum(integrate.quad(p, *ends)[0] for ends in edges.reshape(-1, 2))
    assert abs(said[which]["hard"] - want) < 3e-3
    if which == "uniform":
        assert abs(said[which]["hard"] - 1 / 3) < 1e-12


def test_shifts_compose_and_hard_levels_are_found(node):
    ask = """
        const at = given.at;
        return {
            twice: at.map((t) => js.shift(js.shift(t, 2), 1.5)),
            once: at.map((t) => js.shift(t, 3)),
            back: at.map((t) => js.shift(js.shift(t, 3), 1 / 3)),
            times: [js.times(4, 1), js.times(4, 3), js.times(1, 8)],
            flat: js.hardest(() => 1),
            apart: js.hardest((t) => Math.abs(t - 0.5)),
            line: [-1, 0.2, 0.35, 9].map((t) => js.interpolated(given.levels, given.losses, t)),
        };
    """
    at = np.linspace(0, 1, 11)
    came = node("math/schedules", ask, at=at.tolist(), levels=LEVELS, losses=LOSSES)
    np.testing.assert_allclose(came["twice"], came["once"], atol=1e-12)
    np.testing.assert_allclose(came["once"], moved(at, 3), atol=1e-12)
    np.testing.assert_allclose(came["back"], at, atol=1e-12)
    np.testing.assert_allclose(came["times"][0], [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(came["times"][1], moved(np.array([1, 0.75, 0.5, 0.25, 0]), 3))
    assert came["times"][2] == [1, 0]
    np.testing.assert_allclose(came["flat"], [[0, 1 / 3]])
    np.testing.assert_allclose(came["apart"], [[0, 1 / 6], [5 / 6, 1]])
    np.testing.assert_allclose(came["line"], [1, 1.5, 2, 0.5])


# --- pictures -----------------------------------------------------------------------------------


def blocks(picture, size):
    side = len(picture) // size
    return picture.reshape(size, side, size, side).mean((1, 3))


def test_pictures_are_pooled_and_noised(node):
    ask = """
        const { x, z } = given;
        const shifts = (p) => [8, 16, 32].map((size) => js.ownShift({ ...p, alpha: 5 }, size));
        return {
            pooled: [8, 16, 32].map((size) => js.pooled(x, 32, size)),
            greys: [0, 0.3, 1].map((t) => js.greys(x, z, t)),
            sigma: js.deviation(js.pooled(x, 32, 8)),
            shifts: [shifts({ shifted: true }), shifts({ shifted: false })],
        };
    """
    x, z = PICTURES[0], np.random.default_rng(1).standard_normal((32, 32))
    came = node("math/schedules", ask, x=x.ravel().tolist(), z=z.ravel().tolist())
    for size, pooled in zip((8, 16, 32), came["pooled"], strict=True):
        np.testing.assert_allclose(pooled, blocks(x, size).ravel(), atol=1e-12)
    for t, greys in zip((0, 0.3, 1), came["greys"], strict=True):
        want = ((1 - t) * x + t * z + 1) * 127.5
        np.testing.assert_allclose(greys, want.clip(0, 255).ravel(), atol=0.5 + 1e-9)
    assert abs(came["sigma"] - blocks(x, 8).std()) < 1e-12
    assert came["shifts"] == [[1, 2, 4], [5, 5, 5]], "never one shift after the other"


def test_shifted_by_resolution_as_much_survives(node):
    """Means of shifted rows are one picture up to its contrast; their S / N is one number."""
    random = np.random.default_rng(2)
    x, z, t = PICTURES[0], random.standard_normal((32, 32)), 0.4
    rows = [(size, moved(t, size / 8)) for size in (8, 16, 32)]
    ask = "return given.rows.map(([size, t]) => js.signalToNoise(given.sigma, t, (size / 8) ** 2))"
    sigma = blocks(x, 8).std()
    came = node("math/schedules", ask, rows=rows, sigma=sigma)
    np.testing.assert_allclose(came, (1 - t) * sigma / t)
    means = [
        blocks((1 - t) * blocks(x, size) + t * 32 / size * blocks(z, size), 8) / (1 - t)
        for size, t in rows
    ]
    np.testing.assert_allclose(means[1], means[0], atol=1e-12)
    np.testing.assert_allclose(means[2], means[0], atol=1e-12)
    draws = random.standard_normal((20_000, 16))  # that noise in a mean of k is t / √k
    assert abs(draws.mean(1).std() - 1 / 4) < 0.01


# --- steps --------------------------------------------------------------------------------------


def euler(mixture, z, times):
    x = z
    for t, after in pairwise(times):
        x = x - (t - after) * mixture.velocity(torch.from_numpy(x), float(t)).numpy()
    return x


def scaled(mixture, c):
    return truth.GaussianMixture(mixture.weights, c * mixture.means, c**2 * mixture.covs)


def test_errors_are_those_of_eulers_rule_on_the_exact_field(node):
    """Of data 2 and 4 times as large they are the same, once steps are shifted by 2 and 4 more."""
    ask = """
        return given.mixtures.map(({ mixture }, i) => {
            const errors = new js.Errors(mixture, given.z);
            return [errors.ends, given.asked.map(([T, alpha]) => errors.at(T, alpha * 2 ** i))];
        });
    """
    z = np.random.default_rng(3).standard_normal((24, 2))
    mixtures = {c: scaled(RING, c) for c in (1, 2, 4)}
    asked = [(1, 1.0), (4, 0.5), (10, 1.0), (10, 2.0), (25, 0.7)]
    told, _ = velocity_fields.describe(mixtures)
    came = node("math/schedules", ask, mixtures=told, z=z.ravel().tolist(), asked=asked)
    for (c, mixture), (ends, errors) in zip(mixtures.items(), came, strict=True):
        ends = np.reshape(ends, (-1, 2))
        right = truth.follow(mixture.velocity, torch.from_numpy(z), [1, 0])[-1]
        np.testing.assert_allclose(ends, right, atol=1e-4)
        for (T, alpha), error in zip(asked, errors, strict=True):
            made = euler(mixture, z, moved(np.linspace(1, 0, T + 1), c * alpha))
            assert abs(error - np.linalg.norm(made - ends, axis=1).mean()) < 1e-6
        np.testing.assert_allclose(np.divide(errors, c), came[0][1], atol=1e-4)


# --- what comes in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"levels": [0, 1]}, r"three or more, got \(2,\) and \(5,\)"),
        ({"levels": [LEVELS], "difficulty": [LOSSES]}, r"must be \(n,\)"),
        ({"levels": [0, 0.2, 0.2, 0.6, 1]}, "levels must rise, from 0 to 1, got 0 … 1"),
        ({"levels": [0, 0.2, 0.5, 0.6, 1.1]}, "got 0 … 1.1"),
        ({"levels": [0, 0.2, math.nan, 0.6, 1]}, "levels must rise"),
        ({"difficulty": [1, -1, 1, 1, 1]}, "never below 0"),
        ({"difficulty": [1, math.inf, 1, 1, 1]}, "finite"),
        ({"difficulty": [0] * 5}, "not all 0"),
        ({"mixture": 3}, "must be a mixture .* got int"),
        ({"mixture": VelocityMLP().state_dict()}, "got a mapping"),
        ({"pictures": PICTURES[0]}, r"\(n, 32, 32\), got \(32, 32\)"),
        ({"pictures": np.zeros((5, 32, 32))}, r"one to 4 .* got \(5, 32, 32\)"),
        ({"pictures": np.zeros((1, 16, 16))}, r"got \(1, 16, 16\)"),
        ({"pictures": PICTURES * 2}, r"in \[−1, 1\]"),
        ({"pictures": PICTURES * math.nan}, r"in \[−1, 1\]"),
        ({"labels": ["one"]}, "labels must be 2 names, got 1"),
        ({"schedule": "cosine"}, "uniform, logit-normal, mode-weighted, got 'cosine'"),
        ({"m": 2.5}, "m must be from -2 to 2, got 2.5"),
        ({"m": math.nan}, "m must be from"),
        ({"s": 0}, "s of logit-normal must be from 0.3 to 2, got 0"),
        ({"schedule": "mode-weighted", "s": 1.8}, "s of mode-weighted must be from -1 to 1.75"),
        ({"alpha": 0.5}, "alpha must be from 1 to 8, got 0.5"),
        ({"steps": 51}, "steps must be a whole number from 1 to 50, got 51"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"particles": 0}, "particles must be a whole number from 1 to 256, got 0"),
        ({"picture": 2}, "picture must be a whole number below 2, got 2"),
    ],
)
def test_a_lab_that_cannot_be_set_up_is_refused(arguments, says):
    given = {"levels": LEVELS, "difficulty": LOSSES, "mixture": RING, "pictures": PICTURES}
    with pytest.raises(ValueError, match=says):
        ScheduleLab(**{**given, **arguments})


def test_what_is_sent(node):
    figure = ScheduleLab(LEVELS, LOSSES, RING, PICTURES, particles=5, seed=1)
    sent = np.frombuffer(figure.pictures, np.uint8).reshape(PICTURES.shape)
    np.testing.assert_allclose(sent, (PICTURES + 1) * 127.5, atol=0.5)
    assert figure.labels == ["picture 1", "picture 2"]
    assert (len(figure.grain), len(figure.noise)) == (2 * 32 * 32, 2 * 2 * 5)
    other = ScheduleLab(LEVELS, LOSSES, RING, PICTURES, particles=5, seed=2)
    assert other.noise != figure.noise
    np.testing.assert_allclose(figure.mixture["means"], RING.means, atol=1e-9)
    ranges = node("math/schedules", "return [js.SCHEDULES, js.SPREADS]")
    assert ranges[0] == figure.traits()["schedule"].values
    for schedule, bounds in ranges[1].items():
        for s in bounds:
            ScheduleLab(LEVELS, LOSSES, RING, PICTURES, schedule=schedule, s=s)


def test_a_link_holds_the_whole_setting():
    other = ScheduleLab(LEVELS, LOSSES, RING, PICTURES, name="lab")
    other.open_link("#figure=lab&schedule=mode-weighted&s=1.29&alpha=2&steps=7&picture=1&shifted=1")
    assert (other.schedule, other.s, other.alpha) == ("mode-weighted", 1.29, 2)
    assert (other.steps, other.picture, other.shifted) == (7, 1, True)
    assert other.link() == (
        "#figure=lab&schedule=mode-weighted&m=0&s=1.29&alpha=2&steps=7&picture=1&shifted=1"
    )
    assert other.start["steps"] == 10, "again leads to where Python began"


@pytest.mark.parametrize("schedule", ["uniform", "logit-normal", "mode-weighted"])
def test_the_still_picture_shows_the_same_schedule(node, schedule):
    setting = told(schedule, 0.5, 0.8, 2.0)
    figure = ScheduleLab(LEVELS, LOSSES, RING, PICTURES, **setting)
    ask = """
        const { p, rows } = given;
        const at = (alpha) => [0.1, 0.5, 0.9].map((q) => js.quantile({ ...p, alpha }, q));
        return [at(p.alpha), rows.map(at)];
    """
    one, each = node("math/schedules", ask, p=setting, rows=[1, 2, 4])
    for shifted, want in ((False, [one] * 3), (True, each)):
        figure.shifted = shifted
        still = figure.draw()
        titles = [ax.get_title() for ax in still.axes if ax.images]
        assert titles == [f"t = {t:.2f}" for row in want for t in row]
        x, y = still.axes[0].lines[0].get_data()
        assert abs(integrate.trapezoid(y, x) - 1) < 0.01
        plt.close(still)
    assert Image.open(io.BytesIO(figure.still())).width < 700


def test_a_page_weighs_less_than_60_kb():
    """Four pictures without a plain background, and the ring's loss at 61 levels."""
    levels = np.linspace(0, 1, 61)
    smooth = np.random.default_rng(0).standard_normal((4, 32, 32)).cumsum(-1).cumsum(-2)
    losses = RING.irreducible_loss(torch.from_numpy(levels))
    figure = ScheduleLab(levels, losses, RING, np.tanh(smooth / 9), alpha=3, shifted=True)
    assert len(figure.html().encode()) < 60_000


# --- in a browser -------------------------------------------------------------------------------

INK = """canvas => {
    const pen = canvas.getContext("2d"), { width, height } = canvas;
    const pixels = pen.getImageData(0, 0, width, height).data, counts = {};
    for (let i = 0; i < pixels.length; i += 4) {
        const key = [...pixels.slice(i, i + 4)].join();
        counts[key] = (counts[key] ?? 0) + 1;
    }
    return counts;
}"""
LIGHT, DARK = "31,35,40,255", "240,246,252,255"  # the ink of both themes


def setting(tab):
    """The setting that the button puts into the address."""
    tab.get_by_role("button", name=re.compile("Link|Copied")).click()
    words = dict(word.split("=") for word in tab.evaluate("location.hash").split("&")[1:])
    return {k: v if k == "schedule" else float(v) for k, v in words.items()}


def numbers(tab, key):
    text = tab.locator(f"[data-{key}]").get_attribute(f"data-{key}")
    return np.array([[float(v) for v in row.split(",")] for row in text.split(";")]).squeeze()


def p_of(tab):
    now = setting(tab)
    return [now[key] for key in ("schedule", "m", "s", "alpha")]


def screen(tab, t, p):
    """Where a level and a density are on the screen."""
    tab.locator("canvas[tabindex]").scroll_into_view_if_needed()
    box = tab.locator("canvas[tabindex]").bounding_box()
    x = box["x"] + 34 + t * (box["width"] - 68)
    return x, box["y"] + box["height"] - 54 - p / 4 * (box["height"] - 34 - 54)


def expected(tab):
    """The loss over the p(t) that is set."""
    p, figure = density(*p_of(tab)), lab()
    nodes, weights = np.polynomial.legendre.leggauss(2000)
    t = (nodes + 1) / 2
    return p(t) @ (weights / 2 * np.interp(t, figure.levels, figure.difficulty))


def drag(tab, start, end):
    tab.mouse.move(*start)
    tab.mouse.down()
    tab.mouse.move(*np.add(start, end) / 2)
    tab.mouse.move(*end)
    tab.mouse.up()


def test_dragged_p_of_t_has_its_median_and_its_height_under_the_pointer(alone):
    tab = alone(lab(), viewport={"width": 1000, "height": 800})
    height = density("logit-normal", 0, 1, 1)(0.5)
    drag(tab, screen(tab, 0.5, height), screen(tab, 0.35, 2.5))
    schedule, m, s, alpha = p_of(tab)
    assert (schedule, alpha) == ("logit-normal", 1)
    assert abs(1 / (1 + math.exp(-m)) - 0.35) < 0.005
    assert abs(density(schedule, m, s, alpha)(0.35) - 2.5) < 0.05
    np.testing.assert_allclose(numbers(tab, "loss"), expected(tab), atol=2e-3)
    said = tab.locator("[aria-live]").text_content()
    assert said.startswith("Half of all t are below 0.35;"), said


def test_where_p_of_t_has_no_m_a_drag_shifts_it(alone):
    tab = alone(lab(), hash="#figure=lab&schedule=mode-weighted&s=0.5")
    drag(tab, screen(tab, 0.5, 1.4), screen(tab, 0.8, 3))
    schedule, _, s, alpha = p_of(tab)
    assert alpha == 4, "the median is α / (1 + α)"
    assert abs(density(schedule, 0, s, alpha)(0.8) - 3) < 0.05
    np.testing.assert_allclose(numbers(tab, "loss"), expected(tab), atol=2e-3)
    drag(tab, screen(tab, 0.8, 3), screen(tab, 0.1, 3.9))
    assert p_of(tab)[3] == 1, "never toward the data"


def test_keys_do_all_that_a_pointer_does(alone):
    tab = alone(lab())
    tab.locator("canvas[tabindex]").focus()
    for key in ("ArrowRight", "Shift+ArrowRight", "ArrowLeft", "ArrowUp", "Shift+ArrowUp", "r"):
        tab.keyboard.press(key)
    now = setting(tab)
    np.testing.assert_allclose([now["m"], now["s"], now["shifted"]], [0.5, 0.7, 1], atol=1e-9)
    tab.locator("canvas[tabindex]").focus()
    for key in ("w", "ArrowRight", "ArrowDown"):
        tab.keyboard.press(key)
    now = setting(tab)
    np.testing.assert_allclose([now["s"], now["alpha"]], [1.24, 2 ** (1 / 8)], atol=1e-4)
    tab.locator("canvas[tabindex]").press("l")
    assert setting(tab)["s"] == 0.7, "each schedule keeps its own s"
    tab.locator("canvas[tabindex]").press("0")
    start = "schedule=logit-normal&m=0&s=1&alpha=1&steps=10&picture=0&shifted=0"
    setting(tab)
    assert tab.evaluate("location.hash") == f"#figure=lab&{start}"


def test_controls_set_what_they_say(alone):
    tab = alone(lab())
    hands.slide(tab.get_by_role("slider", name=re.compile("^m")), 0.6)
    hands.slide(tab.get_by_role("slider", name=re.compile("^s(?![ht])")), 1.4)
    hands.slide(tab.get_by_label("shift α"), 2)
    assert p_of(tab) == ["logit-normal", 0.6, 1.4, 4]
    np.testing.assert_allclose(numbers(tab, "loss"), expected(tab), atol=2e-3)
    shifted = 0.6 + math.log(4)
    assert f"logit-normal with m + ln α = {shifted:.2f}" in tab.locator("[data-loss]").inner_text()
    tab.get_by_role("combobox", name="p(t)").select_option("uniform")
    np.testing.assert_allclose(numbers(tab, "mean"), 0.7173, atol=2e-3)  # E[shift(u, 4)]
    assert tab.locator("input:disabled").count() == 2, "uniform has neither m nor s"
    hands.slide(tab.get_by_label("shift α"), 0)
    assert abs(numbers(tab, "hard") - 1 / 3) < 1e-9
    tab.get_by_role("combobox", name="p(t)").select_option("mode-weighted")
    assert p_of(tab) == ["mode-weighted", 0.6, 1.29, 1]
    tab.get_by_role("button", name="Again").click()
    assert p_of(tab) == ["logit-normal", 0, 1, 1]


def test_what_survives_of_a_picture(alone):
    """S / N doubles from row to row; with a shift for each row it is the same in all of them."""
    tab = alone(lab(), hash="#figure=lab&m=0.3&alpha=2&picture=1")
    x = blocks(np.frombuffer(lab().pictures, np.uint8).reshape(-1, 32, 32)[1] / 127.5 - 1, 8)
    q = stats.norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])

    def ratios(alpha):
        t = moved(1 / (1 + np.exp(-0.3 - q)), alpha)
        return x.std() * (1 - t) / t

    np.testing.assert_allclose(numbers(tab, "ratios"), np.outer([1, 2, 4], ratios(2)), rtol=1e-6)
    before = tab.locator("canvas").nth(1).evaluate(INK)
    tab.get_by_label("shift t for resolution").check()
    np.testing.assert_allclose(numbers(tab, "ratios"), [ratios(1)] * 3, rtol=1e-6)
    assert tab.locator("canvas").nth(1).evaluate(INK) != before
    tab.get_by_role("combobox", name="picture").select_option("boot")
    assert tab.get_by_role("img", name="boot under noise").count() == 1
    assert setting(tab)["picture"] == 0


def test_errors_of_even_and_shifted_steps(alone):
    tab = alone(lab(), hash="#figure=lab&alpha=3&steps=10")
    tab.wait_for_function("+document.querySelector('[data-least]').dataset.least > 0")
    z = np.frombuffer(lab().noise, "<f2").reshape(-1, 2).astype(float)
    right = truth.follow(RING.velocity, torch.from_numpy(z), [1, 0])[-1].numpy()

    def error(T, alpha):
        made = euler(RING, z, moved(np.linspace(1, 0, T + 1), alpha))
        return np.linalg.norm(made - right, axis=1).mean()

    even = [error(10, 1 / c) for c in (1, 2, 4)]
    np.testing.assert_allclose(numbers(tab, "even"), even, atol=1e-4)
    late = [error(10, 3 / c) for c in (1, 2, 4)]
    np.testing.assert_allclose(numbers(tab, "shifted"), late, atol=1e-4)
    grid = 2 ** (np.arange(-16, 25) / 8)
    assert numbers(tab, "least") == pytest.approx(min(grid, key=lambda a: error(10, a)))
    said = tab.locator("[data-least]").inner_text()
    assert f"8 × 8: {even[0]:.3f} → {late[0]:.3f}" in said.replace("\xa0", " ")
    hands.slide(tab.get_by_label("steps T"), 3)
    np.testing.assert_allclose(numbers(tab, "shifted")[2], error(3, 0.75), atol=1e-4)
    hands.slide(tab.get_by_label("steps T"), 1)
    assert "the same for every α" in tab.locator("[data-least]").inner_text()


def test_a_link_is_kept_within_its_bounds(alone):
    tab = alone(lab(), hash="#figure=lab&schedule=cosine&m=9&s=0&alpha=99&steps=7.6&picture=5")
    now = setting(tab)
    assert now == {
        "schedule": "logit-normal",
        "m": 2,
        "s": 0.3,
        "alpha": 8,
        "steps": 8,
        "picture": 1,
        "shifted": 0,
    }


def test_it_is_drawn_in_the_ink_of_its_theme(alone):
    tab = alone(lab(), color_scheme="light")
    canvases = tab.locator("canvas")
    assert all(canvas.evaluate(INK).get(LIGHT, 0) > 30 for canvas in canvases.all())
    tab.emulate_media(color_scheme="dark")
    tab.locator(".gen-figure[data-theme=dark]").wait_for()
    inks = [canvas.evaluate(INK) for canvas in canvases.all()]
    assert all(ink.get(DARK, 0) > 30 and LIGHT not in ink for ink in inks)


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_by_itself(alone, motion):
    tab = alone(lab(), reduced_motion=motion)
    tab.wait_for_function("+document.querySelector('[data-least]').dataset.least > 0")
    before = [canvas.evaluate(INK) for canvas in tab.locator("canvas").all()]
    tab.evaluate("() => { requestAnimationFrame = () => { throw new Error('a frame'); }; }")
    tab.wait_for_timeout(200)
    hands.slide(tab.get_by_label("shift α"), 0)
    assert before == [canvas.evaluate(INK) for canvas in tab.locator("canvas").all()]


def test_a_finger_away_from_the_handle_scrolls(alone):
    tab = alone(lab(), has_touch=True, viewport={"width": 380, "height": 800})
    before = p_of(tab)
    tab.touchscreen.tap(*screen(tab, 0.15, 3))
    assert p_of(tab) == before
    tab.touchscreen.tap(*screen(tab, 0.54, 1.8))
    assert abs(1 / (1 + math.exp(-p_of(tab)[1])) - 0.54) < 0.01


def test_python_changes_it_and_a_host_may_lack_the_rest(chromium):
    """It throws on off, send and save_changes; after the figure is gone nothing moves."""
    figure = lab()
    state = {k: getattr(figure, k) for k in figure.trait_names(sync=True) if k in vars(ScheduleLab)}
    state = {k: [*v] if isinstance(v, bytes) else v for k, v in state.items()}
    tab = chromium.new_page()
    wrong = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.set_content("<div id=el style='width:700px'></div>")
    tab.evaluate(
        """async ([code, state]) => {
            const bytes = ["pictures", "grain", "noise"];
            for (const key of bytes) state[key] = Uint8Array.from(state[key]);
            const no = () => { throw new Error("not here"); };
            window.heard = {};
            const model = { get: (name) => state[name], set: no, off: no, save_changes: no,
                on: (event, listener) => (heard[event] = listener) };
            const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
            const { default: figure } = await import(url);
            const frame = requestAnimationFrame;
            window.asked = 0;
            window.requestAnimationFrame = (f) => { window.asked++; return frame(f); };
            window.gone = figure.render({ model, el: document.getElementById("el") });
            window.state = state;
        }""",
        [standalone_page.module("figures/schedule_lab"), state],
    )
    tab.evaluate("state.m = 1.25; heard['change:m']()")
    assert tab.locator("output").first.inner_text() == "1.25"
    hands.slide(tab.get_by_label("steps T"), 50)
    tab.get_by_label("shift t for resolution").check()
    hands.slide(tab.get_by_label("steps T"), 49)  # its curves want many frames
    asked = tab.evaluate("gone(), asked")
    assert asked > 1
    tab.wait_for_timeout(200)
    assert tab.evaluate("asked") == asked
    assert not wrong
    tab.close()
