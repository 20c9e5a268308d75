"""ProcessLab: processes, paths and steps as Python has them, and what a reader does."""

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
from scipy import stats

from cs231n_gen import truth
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.diffusion import ode_velocity
from cs231n_gen.diffusion_samplers import ddim_step
from cs231n_gen.given import processes
from cs231n_gen.viz import ProcessLab, line_processes, standalone_page

lab = load_module(Path(__file__).parents[1] / "examples.py", "examples").processes
hands = load_module(Path(__file__).parents[1] / "hands.py", "hands")
WEIGHTS, MEANS, STDS = MIXTURE = ([0.5, 0.3, 0.2], [-1.5, 0.4, 1.8], [0.3, 0.2, 0.25])
TOLD = {"weights": WEIGHTS, "means": MEANS, "stds": STDS}
LINE = truth.GaussianMixture(
    torch.tensor(WEIGHTS, dtype=torch.float64),
    torch.tensor(MEANS, dtype=torch.float64)[:, None],
    torch.tensor(STDS, dtype=torch.float64)[:, None, None] ** 2,
)
KNOWN = {
    "rectified_flow": processes.rectified_flow(),
    "cosine": processes.cosine(),
    "variance_preserving": processes.variance_preserving(),
    "variance_exploding": processes.variance_exploding(*line_processes.SIGMAS),
}
LEVELS = [0.0, 0.013, 0.3, 0.5, 0.77, 0.999, 1.0]


def own(middle):
    """The reader's own curve: the parabola that is in the middle at t = ½."""
    a, b = (2 * v - 0.5 for v in middle)
    return lambda t: ((1 - t) ** 2 + 2 * t * (1 - t) * a, t**2 + 2 * t * (1 - t) * b)


def place(curve, t):
    t = torch.as_tensor(t, dtype=torch.float64)
    return KNOWN[curve].a(t).item(), KNOWN[curve].b(t).item()


def at(place):
    """The density of x_t, as scipy has it."""
    a, b = place
    return [stats.norm(a * m, math.hypot(a * s, b)) for m, s in zip(MEANS, STDS, strict=True)]


def below(place, x):
    return sum(w * law.cdf(x) for w, law in zip(WEIGHTS, at(place), strict=True))


def behind(x, place):
    """E[x | x_t], as truth has it."""
    x = torch.as_tensor(x, dtype=torch.float64)[:, None]
    return LINE.posterior(x, *place).x[:, 0]


# --- processes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("curve", KNOWN)
def test_curves_are_those_of_the_given_processes(node, curve):
    ask = """
        const process = js.processOf(given.curve, [1, 1]);
        return [given.levels.map(process), given.sigmas.map((one) => js.levelOf(process, one)),
            [7, 3].map((T) => js.levelsOf(process, T, "log")), js.levelsOf(process, 4, "t")];
    """
    sigmas = [0, 0.01, 0.02, 0.3, 1, 4.9, 5, 80, 1e9]
    places, levels, logs, even = node(
        "math/processes", ask, curve=curve, levels=LEVELS, sigmas=sigmas
    )
    want = [place(curve, t) for t in LEVELS]
    np.testing.assert_allclose(places, want, atol=1e-12)
    in_python = line_processes.process_of(curve, (1, 1))
    np.testing.assert_allclose([in_python(t) for t in LEVELS], want, atol=1e-12)
    sigmas = torch.tensor(sigmas, dtype=torch.float64)
    reached = processes.level_of(KNOWN[curve], torch.ones_like(sigmas), sigmas)
    np.testing.assert_allclose(levels, reached, atol=1e-9)
    np.testing.assert_allclose(
        [line_processes.level_of(in_python, s) for s in sigmas.tolist()], reached, atol=1e-9
    )
    assert even == [1, 0.75, 0.5, 0.25, 0]
    for T, ts in zip((7, 3), logs, strict=True):
        log = np.log([b / a for a, b in (place(curve, t) for t in ts)])
        np.testing.assert_allclose(log, np.linspace(math.log(5), math.log(0.02), T + 1), atol=1e-9)
        np.testing.assert_allclose(ts, line_processes.levels_of(in_python, T, "log"), atol=1e-12)


def test_a_curve_of_ones_own_is_a_process(node):
    """From data to noise, in the middle at t = ½, and b / a rises wherever it is dragged."""
    ask = """
        return given.middles.map((middle) => given.levels.map(js.processOf("own", middle)));
    """
    levels = np.linspace(0, 1, 201)
    low, high = node("math/processes", "return js.MIDDLES")
    ends = [low, 0.5, 0.9, high]
    middles = [[a, b] for a in ends for b in ends]
    came = np.array(node("math/processes", ask, middles=middles, levels=levels.tolist()))
    for middle, (a, b) in zip(middles, came.transpose(0, 2, 1), strict=True):
        np.testing.assert_allclose([a, b], np.array([own(middle)(t) for t in levels]).T, atol=1e-12)
        assert (a[0], b[0], a[-1], b[-1]) == (1, 0, 0, 1)
        np.testing.assert_allclose([a[100], b[100]], middle, atol=1e-12)
        assert (np.diff(np.arctan2(b, a)) > 0).all()
        np.testing.assert_allclose(
            [line_processes.process_of("own", middle)(t) for t in levels], np.stack([a, b], 1)
        )
    straight = middles.index([0.5, 0.5])
    np.testing.assert_allclose(came[straight], np.stack([1 - levels, levels], 1), atol=1e-12)


# --- what is exact ------------------------------------------------------------------------------

PLACES = [(1.0, 0.0), (1.0, 0.02), (0.8, 0.3), (0.5, 0.5), (1.2, 1.4), (1e-9, 1.0), (0.0, 1.0)]
SHARES = [1e-4, 0.02, 0.3, 0.5, 0.51, 0.9, 0.9995]


@pytest.mark.parametrize("place", PLACES)
def test_marginals_and_quantiles(node, place):
    ask = """
        const p = js.marginal(given.mixture, given.place);
        return [p, given.x.map(js.densityOf(p)), given.shares.map((q) => js.quantileOf(p, q))];
    """
    x = np.linspace(-4, 4, 41)
    given = {"mixture": TOLD, "place": place, "x": x.tolist(), "shares": SHARES}
    p, density, quantiles = node("math/processes", ask, **given)
    np.testing.assert_allclose(p["means"], [law.mean() for law in at(place)], atol=1e-12)
    np.testing.assert_allclose(p["stds"], [law.std() for law in at(place)], atol=1e-12)
    want = sum(w * law.pdf(x) for w, law in zip(WEIGHTS, at(place), strict=True))
    np.testing.assert_allclose(density, want, atol=1e-12)
    np.testing.assert_allclose(below(place, np.array(quantiles)), SHARES, atol=1e-11)
    here = line_processes.marginal(MIXTURE, place)
    np.testing.assert_allclose(
        line_processes.quantiles(here, np.array(SHARES)), quantiles, atol=1e-9
    )


@pytest.mark.parametrize("place", PLACES[1:])
def test_the_mean_of_the_data_behind_a_point(node, place):
    """Also where every component is far away."""
    ask = "return given.x.map(js.dataBehind(given.mixture, given.place))"
    x = [-40.0, -3.0, -0.4, 0.0, 0.9, 2.5, 60.0]
    came = node("math/processes", ask, mixture=TOLD, place=place, x=x)
    np.testing.assert_allclose(came, behind(x, place), rtol=1e-9, atol=1e-9)
    in_python = line_processes.data_behind(MIXTURE, np.array(x), place)
    np.testing.assert_allclose(in_python, came, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("curve", ["rectified_flow", "cosine", "variance_exploding"])
def test_exact_paths_are_those_of_the_ode(node, curve):
    ask = """
        const paths = new js.ExactPaths(given.mixture, given.shares);
        return given.levels.map((t) => paths.all(js.processOf(given.curve, [1, 1])(t)));
    """
    process, levels = KNOWN[curve], [1.0, 0.7, 0.4, 0.1]

    def field(x, t):
        t = torch.as_tensor(t, dtype=torch.float64).expand(len(x))
        x_hat = LINE.posterior(x, process.a(t), process.b(t)).x
        return ode_velocity(x_hat, x, t, process, processes.X)

    came = node(
        "math/processes", ask, mixture=TOLD, shares=SHARES[1:-1], levels=levels, curve=curve
    )
    paths = np.array(came)
    want = truth.follow(field, torch.from_numpy(paths[0])[:, None], levels)[..., 0]
    np.testing.assert_allclose(paths, want, atol=1e-3)  # the table is linear between its angles


# --- sampling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("curve", KNOWN)
def test_steps_are_those_of_ddim(node, curve, eta):
    """A whole walk with the exact x̂, from the same noise and with the same noise on the way."""
    ask = """
        const { mixture, places, start, eta, noise } = given;
        return js.walkAlong(mixture, places, start, eta, noise.flat());
    """
    ts = [1.0, 0.8, 0.55, 0.3, 0.1, 0.0]
    process, n = KNOWN[curve], 6
    generator = torch.Generator().manual_seed(4)
    noise = [torch.randn(n, 1, generator=generator, dtype=torch.float64) for _ in ts[1:]]
    again = torch.Generator().manual_seed(4)
    x = place(curve, 1.0)[1] * torch.linspace(-2, 2, n, dtype=torch.float64)[:, None]
    start, want = x[:, 0].tolist(), [x[:, 0]]
    for t, s in pairwise(ts):
        t, s = (torch.full((n,), v, dtype=torch.float64) for v in (t, s))
        x_hat = LINE.posterior(x, process.a(t), process.b(t)).x
        x = ddim_step(x_hat, x, t, s, process, processes.X, eta=eta, generator=again)
        want.append(x[:, 0])
    drawn = torch.cat(noise, 1).T.tolist()  # (steps, n)
    given = {"places": [place(curve, t) for t in ts], "start": start, "noise": drawn}
    came = node("math/processes", ask, mixture=TOLD, eta=eta, **given)
    np.testing.assert_allclose(came, torch.stack(want), atol=1e-9)
    in_python = line_processes.walk_along(
        MIXTURE, given["places"], np.array(start), eta, np.array(drawn)
    )
    np.testing.assert_allclose(in_python, came, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_divided_by_a_every_process_takes_the_same_steps(node, eta):
    """At equal b / a the samples are the same to rounding, and so are the exact paths."""
    ask = """
        const shares = [0.1, 0.35, 0.5, 0.8];
        const exact = new js.ExactPaths(given.mixture, shares);
        const noise = Float64Array.from(given.noise);
        const start = shares.map((q) => js.quantileOf(js.marginal(given.mixture, [1, 5]), q));
        return given.curves.map((curve) => {
            const process = js.processOf(curve, [1.3, 0.4]);
            const places = js.levelsOf(process, given.T, "log").map(process);
            const a = places.map(([a]) => a);
            const walk = js.walkAlong(given.mixture, places, start.map((x) => a[0] * x),
                given.eta, noise);
            const divided = (all) => all.map((x, k) => Array.from(x, (v) => v / a[k]));
            return [divided(walk), divided(places.map((place) => exact.all(place)))];
        });
    """
    curves = [*KNOWN, "own"]
    noise = np.random.default_rng(3).standard_normal(4 * 12).tolist()
    given = {"mixture": TOLD, "curves": curves, "T": 12, "eta": eta, "noise": noise}
    came = np.array(node("math/processes", ask, **given))
    assert np.ptp(came, axis=0).max() < 1e-9
    walk, exact = came[0]
    assert abs(walk - exact).max() > 0.05, "and the steps are not exact"


def test_noise_and_distances(node):
    ask = """
        const exact = given.shares.map((q) => js.quantileOf(given.mixture, q));
        return [exact, js.apart(given.samples, exact), js.distanceOfDraws(exact, 5)];
    """
    n = 400
    shares = ((np.arange(n) + 0.5) / n).tolist()
    random = np.random.default_rng(0)
    samples = random.standard_normal(n)
    exact, apart, draws = node(
        "math/processes", ask, shares=shares, samples=samples.tolist(), mixture=TOLD
    )
    ask = "return [js.normals(0, 20000), js.normals(1, 20001), js.normals(0, 7)]"
    one, other, few = node("math/normal", ask)
    assert (len(one), len(other)) == (20_000, 20_001)
    for noise in (one, other):
        assert stats.kstest(noise, "norm").pvalue > 0.001
        assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(one, other[:-1])[0, 1]) < 0.03
    assert few == one[:7]
    assert apart == pytest.approx(stats.wasserstein_distance(samples, exact))
    k = random.choice(3, (200, n), p=WEIGHTS)
    drawn = np.array(MEANS)[k] + np.array(STDS)[k] * random.standard_normal((200, n))
    each = abs(np.sort(drawn, axis=1) - exact).mean(1)
    assert abs(draws - each.mean()) < 4 * each.std() / math.sqrt(10)


# --- what comes in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"mixture": ([1.0], [0.0])}, "mixture must be weights, means and stds"),
        ({"mixture": ([0.5, 0.6], [0, 1], [1, 1])}, "shares that sum to 1"),
        ({"mixture": ([1.0], [4.5], [1.0])}, r"means of mixture must be within ±4.0, got \[4.5\]"),
        ({"mixture": ([1.0], [0.0], [0.05])}, "stds of mixture must be from 0.1 to 3"),
        ({"curve": "edm"}, "curve must be one of rectified_flow, .*, own, got 'edm'"),
        ({"spacing": "karras"}, "spacing must be one of log, t, got 'karras'"),
        ({"middle": (0.2, 1)}, r"each from 0.25 to 1.5, got \(0.2, 1\)"),
        ({"middle": (1, 1, 1)}, "middle must be a and b"),
        ({"middle": (math.nan, 1)}, "middle must be a and b"),
        ({"t": 1.1}, "t must be from 0 to 1, got 1.1"),
        ({"eta": -0.1}, "eta must be from 0 to 1, got -0.1"),
        ({"eta": math.nan}, "eta must be from 0 to 1"),
        ({"steps": 0}, "steps must be a whole number from 1 to 50, got 0"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_a_lab_that_cannot_be_set_up_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        ProcessLab(**{"mixture": MIXTURE, **arguments})


def test_what_both_languages_know(node):
    ask = "return [js.CURVES, js.SIGMAS, js.MIDDLES, js.MOST_STEPS]"
    curves, sigmas, middles, most = node("math/processes", ask)
    traits = ProcessLab(MIXTURE).traits()
    assert curves == traits["curve"].values
    assert tuple(sigmas) == line_processes.SIGMAS
    for middle in ([middles[0]] * 2, [middles[1]] * 2):
        ProcessLab(MIXTURE, middle=middle, steps=most)
    with pytest.raises(ValueError, match="steps"):
        ProcessLab(MIXTURE, steps=most + 1)


def test_a_link_holds_the_whole_setting():
    other = ProcessLab(MIXTURE, name="lab")
    other.open_link("#figure=lab&curve=own&middle=1.2,0.3&t=0.25&divided=1&eta=0.5&steps=7")
    assert (other.curve, other.middle, other.t) == ("own", [1.2, 0.3], 0.25)
    assert (other.divided, other.eta, other.steps) == (True, 0.5, 7)
    said = "curve=own&middle=1.2,0.3&t=0.25&divided=1&eta=0.5&steps=7&spacing=log"
    assert other.link() == f"#figure=lab&{said}"
    assert other.start["curve"] == "rectified_flow", "again leads to where Python began"


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("curve", line_processes.CURVES)
@pytest.mark.parametrize("spacing", line_processes.SPACINGS)
def test_the_still_picture_shows_the_same_paths(curve, divided, spacing):
    figure = ProcessLab(MIXTURE, curve=curve, divided=divided, spacing=spacing, eta=0.4, t=1.0)
    still = figure.draw()
    lines = still.axes[1].lines
    assert all(np.isfinite(line.get_ydata()).all() for line in lines)
    shares = (np.arange(9) + 0.5) / 9
    low, high = line_processes.SIGMAS
    process = line_processes.process_of(curve, figure.middle)
    u = lines[0].get_xdata()
    for k in (1, 50, 90):
        t = line_processes.level_of(process, high * (low / high) ** u[k]) if divided else 1 - u[k]
        a, b = process(t)
        x = np.array([line.get_ydata()[k] for line in lines[:9]]) * (a if divided else 1)
        np.testing.assert_allclose(below((a, b), x), shares, atol=1e-6)
    assert len(lines) == 18
    plt.close(still)
    assert Image.open(io.BytesIO(figure.still())).width < 700


def test_a_page_weighs_less_than_60_kb():
    figure = ProcessLab(MIXTURE, curve="own", eta=1.0, steps=50, spacing="t")
    assert len(figure.html().encode()) < 60_000


# --- in a browser -------------------------------------------------------------------------------

WORDS = ("curve", "spacing")  # of the setting
PIXELS = """
    const { width, height } = canvas;
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
"""
KEEP = f"canvas => {{ {PIXELS} window.kept = pixels; }}"
MOVED = f"""canvas => {{ {PIXELS}
    return pixels.filter((v, i) => Math.abs(v - window.kept[i]) > 40).length / pixels.length;
}}"""
INK = f"""(canvas, ink) => {{ {PIXELS}
    let count = 0;
    for (let i = 0; i < pixels.length; i += 4) count += ink.every((v, k) => pixels[i + k] === v);
    return count;
}}"""
LIGHT, DARK = [31, 35, 40, 255], [240, 246, 252, 255]  # the ink of both themes
SAME = 2e-3  # of all pixels may move: lines are drawn a hundredth of a pixel elsewhere


def setting(tab):
    """The setting that the button puts into the address."""
    tab.get_by_role("button", name=re.compile("Link|Copied")).click()
    words = dict(word.split("=") for word in tab.evaluate("location.hash").split("&")[1:])
    numbers = {k: [float(v) for v in w.split(",")] for k, w in words.items() if k not in WORDS}
    return words | {k: v[0] if len(v) == 1 else v for k, v in numbers.items()}


def numbers(tab, key):
    text = tab.locator(f"[data-{key}]").get_attribute(f"data-{key}")
    return np.array([float(v) for v in text.split(",")])


def places(tab):
    """Where a, b and t are on the screen: `ab(a, b)` in the plane, `level(u)` in the picture."""
    tab.locator("canvas").first.scroll_into_view_if_needed()
    plane, picture = (tab.locator("canvas").nth(k).bounding_box() for k in (0, 1))
    unit = (plane["width"] - 28) / 1.6
    left, floor = plane["x"] + 22, plane["y"] + plane["height"] - 34

    def ab(a, b):
        return left + (a + 0.1) * unit, floor - (b + 0.06) * unit

    def level(u):
        return picture["x"] + 34 + u * (picture["width"] - 118), picture["y"] + 150

    return ab, level


def drag(tab, start, end):
    tab.mouse.move(*start)
    tab.mouse.down()
    tab.mouse.move(*np.add(start, end) / 2)
    tab.mouse.move(*end)
    tab.mouse.up()


def still(tab, part):
    """Wait until the picture is divided by a, or back."""
    tab.wait_for_function("(part) => +document.querySelector('[data-part]').dataset.part === part",
                          arg=part)  # fmt: skip


def pressed(tab):
    return [b.inner_text() for b in tab.get_by_role("button", pressed=True).all()]


def test_a_dragged_curve_is_in_the_middle_under_the_pointer(alone):
    tab = alone(lab(), hash="#figure=processes&curve=rectified_flow&eta=0")
    ab, _ = places(tab)
    drag(tab, ab(0.5, 0.5), ab(1.2, 0.7))
    now = setting(tab)
    assert now["curve"] == "own"
    np.testing.assert_allclose(now["middle"], [1.2, 0.7], atol=0.01)
    assert pressed(tab) == ["your own"]
    a, b = own(now["middle"])(0.6)
    np.testing.assert_allclose([numbers(tab, "a")[0], numbers(tab, "b")[0]], [a, b], atol=1e-3)
    said = tab.locator("[aria-live]").text_content()
    assert said.startswith(f"At t = 0.60: xt = {a:.2f} x + {b:.2f} z."), said
    drag(tab, ab(1.2, 0.7), ab(0.1, 1.7))
    np.testing.assert_allclose(setting(tab)["middle"], [0.25, 1.5], err_msg="kept in bounds")


def test_the_line_at_t_is_dragged(alone):
    tab = alone(lab(), hash="#figure=processes&curve=cosine")
    _, level = places(tab)
    drag(tab, level(0.4), level(0.75))
    assert abs(setting(tab)["t"] - 0.25) < 0.003
    a, b = place("cosine", setting(tab)["t"])
    np.testing.assert_allclose(below((a, b), numbers(tab, "exact")), (np.arange(9) + 0.5) / 9,
                               atol=2e-3)  # fmt: skip
    tab.get_by_role("button", name="Divide by a").click()
    still(tab, 1)
    drag(tab, level(0.5), level(0.2))  # even in the logarithm of b / a, from 5 to 0.02
    a, b = place("cosine", setting(tab)["t"])
    assert abs(math.log(b / a) - (math.log(5) + 0.2 * math.log(0.02 / 5))) < 0.02


def test_divided_by_a_the_picture_is_one(alone):
    """Whatever the curve: the same pixels and the same numbers; and b / a stays where it is."""
    tab = alone(lab(), hash="#figure=processes&curve=cosine&divided=1&eta=0.5&t=0.4")
    still(tab, 1)
    picture = tab.locator("canvas").nth(1)
    picture.evaluate(KEEP)
    ends, apart, sigma = (numbers(tab, key) for key in ("ends", "distance", "sigma"))
    for name in ("rectified flow", "DDPM’s linear β", "variance exploding", "your own"):
        tab.get_by_role("button", name=name).click()
        np.testing.assert_allclose(numbers(tab, "ends"), ends, atol=1e-9)
        np.testing.assert_allclose(numbers(tab, "distance"), apart, atol=1e-9)
        np.testing.assert_allclose(numbers(tab, "sigma"), sigma, rtol=1e-6)
        assert picture.evaluate(MOVED) < SAME, name
    ab, _ = places(tab)
    drag(tab, ab(1.15, 0.55), ab(0.4, 0.9))
    np.testing.assert_allclose(numbers(tab, "ends"), ends, atol=1e-9)
    np.testing.assert_allclose(numbers(tab, "sigma"), sigma, rtol=1e-3)
    assert picture.evaluate(MOVED) < SAME
    assert "One picture for every curve" in tab.locator("[data-part]").inner_text()
    tab.get_by_role("combobox", name="steps even in").select_option("t")
    assert np.abs(numbers(tab, "ends") - ends).max() > 0.01, "these stop at other b / a"
    assert "steps even in t stop at other b / a" in tab.locator("[data-part]").inner_text()


def test_a_button_divides_and_takes_it_back(alone):
    tab = alone(lab(), hash="#figure=processes&curve=rectified_flow")
    picture = tab.locator("canvas").nth(1)
    picture.evaluate(KEEP)
    tab.get_by_role("button", name="Divide by a").click()
    assert pressed(tab) == ["rectified flow", "Divide by a"]
    still(tab, 1)
    assert picture.evaluate(MOVED) > 10 * SAME
    tab.get_by_role("button", name="Divide by a").click()
    still(tab, 0)
    assert picture.evaluate(MOVED) < SAME


def test_keys_do_all_that_a_pointer_does(alone):
    tab = alone(lab())
    plane = tab.locator("canvas[tabindex]")
    plane.focus()
    for key in ("1", "ArrowRight", "ArrowUp", "Shift+ArrowRight", "ArrowDown", "+", "+", "-"):
        tab.keyboard.press(key)
    now = setting(tab)
    assert now["curve"] == "own"
    np.testing.assert_allclose([*now["middle"], now["eta"]], [0.8, 0.5, 0.6], atol=1e-9)
    for key, curve in zip("12345", line_processes.CURVES, strict=True):
        plane.press(key)
        assert setting(tab)["curve"] == curve
    for key, t in (("Home", 1), ("End", 0)):
        plane.press(key)
        assert setting(tab)["t"] == t
    levels = numbers(tab, "levels")
    plane.press(",")
    np.testing.assert_allclose(setting(tab)["t"], levels[-1], atol=1e-4)
    plane.press(",")
    np.testing.assert_allclose(setting(tab)["t"], levels[-2], atol=1e-4)
    plane.press(".")
    np.testing.assert_allclose(setting(tab)["t"], levels[-1], atol=1e-4)
    plane.press("d")
    still(tab, 1)
    plane.press("Space")
    tab.get_by_role("button", name="Pause").wait_for()
    plane.press("Space")
    tab.get_by_role("button", name="Play").wait_for()
    plane.press("0")
    start = "curve=cosine&middle=1.15,0.55&t=0.6&divided=0&eta=0.5&steps=16&spacing=log"
    setting(tab)
    assert tab.evaluate("location.hash") == f"#figure=processes&{start}"


def test_samples_are_those_of_the_steps(alone, node):
    """What arrives, and how far it is off, for DDIM as Python walks it."""
    figure = lab()
    tab = alone(figure, hash="#figure=processes&curve=variance_preserving&eta=0&steps=7&spacing=t")
    process = line_processes.process_of("variance_preserving", (1, 1))
    stops = [process(t) for t in line_processes.levels_of(process, 7, "t")]
    shares = (np.arange(500) + 0.5) / 500
    start = line_processes.quantiles(line_processes.marginal(MIXTURE, stops[0]), shares)
    made = line_processes.walk_along(MIXTURE, stops, start, 0.0, np.zeros((7, 500)))[-1]
    shown = np.floor((np.arange(9) + 0.5) / 9 * 500).astype(int)
    np.testing.assert_allclose(numbers(tab, "ends"), made[shown], atol=1e-6)
    right = line_processes.quantiles(MIXTURE, shares)
    off = stats.wasserstein_distance(made, right)
    np.testing.assert_allclose(numbers(tab, "distance"), off, atol=1e-6)
    said = tab.locator("[data-part]")
    assert f"η = 0, DDIM: no new noise. After 7 steps, 500 samples are {off:.3f}" in (
        said.inner_text()
    )
    hands.slide(tab.get_by_role("slider", name="steps"), 50)
    assert numbers(tab, "distance")[0] < 0.4 * off
    hands.slide(tab.get_by_role("slider", name="η"), 1)
    assert "the ancestral step" in said.inner_text()
    assert "500 independent draws" in said.inner_text()
    assert numbers(tab, "distance")[0] < 4 * numbers(tab, "draws")[0]


def test_again_and_links(alone):
    tab = alone(
        lab(), hash="#figure=processes&curve=edm&middle=9,0&t=2&eta=7&steps=99.6&spacing=rho"
    )
    now = setting(tab)
    assert (now["curve"], now["spacing"]) == ("rectified_flow", "log")
    np.testing.assert_allclose([*now["middle"], now["t"], now["eta"], now["steps"]],
                               [1.5, 0.25, 1, 1, 50])  # fmt: skip
    tab.get_by_role("button", name="Again").click()
    assert setting(tab) == {
        "curve": "cosine",
        "middle": [1.15, 0.55],
        "t": 0.6,
        "divided": 0,
        "eta": 0.5,
        "steps": 16,
        "spacing": "log",
    }


@pytest.mark.parametrize("divided", [0, 1])
def test_play_goes_from_noise_to_data_and_stops(alone, divided):
    tab = alone(lab(), hash=f"#figure=processes&curve=rectified_flow&t=0&divided={divided}")
    still(tab, divided)
    tab.get_by_role("button", name="Play").click()
    tab.get_by_role("button", name="Pause").wait_for()
    tab.get_by_role("button", name="Play").wait_for(timeout=30_000)
    np.testing.assert_allclose(setting(tab)["t"], 0.02 / 1.02 if divided else 0, atol=1e-3)


def test_who_wants_less_motion_gets_steps(alone):
    tab = alone(lab(), reduced_motion="reduce")
    tab.evaluate("() => { requestAnimationFrame = () => { throw new Error('a frame'); }; }")
    tab.get_by_role("button", name="Step").click()
    assert setting(tab)["t"] == 0.5
    tab.get_by_role("button", name="Divide by a").click()
    assert numbers(tab, "part") == 1, "at once"


ENDS = [
    "curve=rectified_flow&t=1",
    "curve=cosine&t=0&spacing=t",
    "curve=own&middle=0.25,1.5&t=1&spacing=t&eta=1&steps=1",
]


@pytest.mark.parametrize("setting", ENDS)
def test_ends_are_numbers(alone, setting):
    """Also where a or b is 0, divided by a or not."""
    for divided in (0, 1):
        tab = alone(lab(), hash=f"#figure=processes&{setting}&divided={divided}")
        still(tab, divided)
        for key in ("ends", "exact", "distance", "levels"):
            assert np.isfinite(numbers(tab, key)).all()
        text = tab.locator(".gen-figure").inner_text()
        assert not re.search("NaN|Infinity|undefined", text)


def test_it_is_drawn_in_the_ink_of_its_theme(alone):
    tab = alone(lab(), color_scheme="light")

    def inks():
        return [
            [c.evaluate(INK, ink) for ink in (LIGHT, DARK)] for c in tab.locator("canvas").all()
        ]

    assert all(light > 30 and dark == 0 for light, dark in inks())
    tab.emulate_media(color_scheme="dark")
    tab.locator(".gen-figure[data-theme=dark]").wait_for()
    assert all(light == 0 and dark > 30 for light, dark in inks())


def test_a_finger_away_from_the_ring_and_the_line_scrolls(alone):
    tab = alone(lab(), has_touch=True, viewport={"width": 380, "height": 800})
    picture = tab.locator("canvas").nth(1)
    ab, _ = places(tab)
    tab.touchscreen.tap(*ab(0.2, 0.2))
    assert setting(tab)["curve"] == "cosine"
    ab, _ = places(tab)
    tab.touchscreen.tap(*ab(0.75, 0.75))
    np.testing.assert_allclose(setting(tab)["middle"], [0.75, 0.75], atol=0.01)
    for u, t in ((0.9, 0.6), (0.5, 0.5)):
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        tab.touchscreen.tap(box["x"] + 34 + u * (box["width"] - 118), box["y"] + 150)
        assert abs(setting(tab)["t"] - t) < 0.005


def test_python_changes_it_and_a_host_may_lack_the_rest(chromium):
    """It throws on off, send and save_changes; after the figure is gone nothing moves."""
    state = hands.state_of(lab())
    tab = chromium.new_page()
    wrong = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.set_content("<div id=el style='width:700px'></div>")
    tab.evaluate(
        """async ([code, state]) => {
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
        [standalone_page.module("figures/process_lab"), state],
    )
    tab.evaluate("state.steps = 9; heard['change:steps']()")
    assert tab.get_by_text("T = 9").is_visible()
    tab.evaluate("state.divided = true; heard['change:divided']()")
    still(tab, 1)
    tab.get_by_role("button", name="Play").click()
    tab.wait_for_function("asked > 20")
    asked = tab.evaluate("gone(), asked")
    tab.wait_for_timeout(200)
    assert tab.evaluate("asked") == asked
    assert not wrong
    tab.close()
