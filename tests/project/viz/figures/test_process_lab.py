"""ProcessLab: processes, paths and steps as Python has them, and what a reader does."""

import io
import math
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
from cs231n_gen.viz import ProcessLab, line_processes

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
        const noise = js.normals(3, 4 * given.T);
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
    came = np.array(node("math/processes", ask, mixture=TOLD, curves=curves, T=12, eta=eta))
    assert np.ptp(came, axis=0).max() < 1e-9
    walk, exact = came[0]
    assert abs(walk - exact).max() > 0.05, "and the steps are not exact"


def test_noise_and_distances(node):
    ask = """
        const exact = given.shares.map((q) => js.quantileOf(given.mixture, q));
        return [js.normals(0, 20000), js.normals(1, 20001), js.normals(0, 7),
            exact, js.apart(given.samples, exact), js.distanceOfDraws(exact, 5)];
    """
    n = 400
    shares = ((np.arange(n) + 0.5) / n).tolist()
    random = np.random.default_rng(0)
    samples = random.standard_normal(n)
    one, other, few, exact, apart, draws = node(
        "math/processes", ask, shares=shares, samples=samples.tolist(), mixture=TOLD
    )
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
