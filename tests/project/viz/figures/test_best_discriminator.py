"""BestDiscriminator: D*, JSD and V as truth says, what it refuses, and what a reader does."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.truth import GaussianMixture, jensen_shannon, optimal_discriminator
from cs231n_gen.viz import BestDiscriminator

best = load_module(Path(__file__).parents[1] / "examples.py", "examples").best
DATA = ([0.6, 0.4], [-1.5, 1.2], [0.5, 0.4])
PLACES = torch.cat([torch.linspace(-6, 6, 41), torch.tensor([-60.0, 90.0])]).double()
GENERATORS = {
    "beside": ([0.5, 0.5], [-0.4, 2.6], [0.7, 0.5]),
    "equal": DATA,
    "one, narrow": ([1.0], [1.0], [0.1]),
    "one, wide": ([1.0], [-4.5], [3.0]),
    "far apart": ([0.5, 0.5], [20.0, 24.0], [0.3, 1.0]),
    "one of two is never drawn": ([0.0, 1.0], [0.0, 2.0], [0.5, 1.0]),
}


def mixture(weights, means, stds):
    weights, means, stds = (
        torch.tensor(part, dtype=torch.float64) for part in (weights, means, stds)
    )
    return GaussianMixture(weights, means[:, None], stds[:, None, None] ** 2)


def told(weights, means, stds):
    return {"weights": weights, "means": means, "stds": stds}


# --- the mathematics ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def said(node):
    """What the module says of p_data and each p_G: JSD, and log p and D* at some places."""
    ask = """
        return given.generators.map((pG) => [
            js.divergence(given.pData, pG),
            given.at.map((x) => js.logDensity(pG, x)),
            given.at.map((x) => js.best(given.pData, pG, x)),
        ]);
    """
    generators = [told(*each) for each in GENERATORS.values()]
    came = node(
        "math/mixture_1d", ask, pData=told(*DATA), generators=generators, at=PLACES.tolist()
    )
    return dict(zip(GENERATORS, came, strict=True))


@pytest.mark.parametrize("which", [name for name in GENERATORS if "never" not in name])
def test_the_divergence_is_that_of_truth(said, which):
    want = jensen_shannon(mixture(*DATA), mixture(*GENERATORS[which])).item()
    assert abs(said[which][0] - want) < 1e-6
    if which == "equal":
        assert said[which][0] < 1e-12
    if which == "far apart":
        assert abs(said[which][0] - math.log(2)) < 1e-8  # the grid ends at six σ


def test_a_component_that_is_never_drawn_changes_nothing(said):
    want = jensen_shannon(mixture(*DATA), mixture([1.0], [2.0], [1.0])).item()
    assert abs(said["one of two is never drawn"][0] - want) < 1e-6


@pytest.mark.parametrize("which", ["beside", "equal", "one, wide"])
def test_the_best_discriminator_is_that_of_truth(said, which):
    """Where both densities are too small for a number, too: their logarithms are not."""
    p, q = mixture(*DATA), mixture(*GENERATORS[which])
    np.testing.assert_allclose(said[which][1], q.log_density(PLACES[:, None]), rtol=1e-9)
    want = optimal_discriminator(p, q, PLACES[:, None])
    np.testing.assert_allclose(said[which][2], want, atol=1e-9)


def test_the_curve_the_match_and_the_words(node):
    ask = """
        const { pData, pG, y } = given;
        const one = { weights: [1], means: [0.5], stds: [0.8] };
        const whole = js.matched(pData, 2, 0.1);
        return {
            gains: [0, 0.3, 1].map((D) => y.map((v) => js.gain(D, v))),
            whole,
            near: js.divergence(pData, { ...whole, weights: [whole.share, 1 - whole.share] }),
            single: js.matched(one, 2, 0.1),
            short: js.matched(pData, 1, 1),
            middle: js.onTheWay(pG, whole, 0.5),
        };
    """
    y = np.linspace(0.01, 0.99, 99)
    pG = {"means": [-0.4, 2.6], "stds": [0.7, 0.5], "share": 0.5}
    # data in another order than that of their means
    turned = told(*(part[::-1] for part in DATA))
    came = node("math/mixture_1d", ask, pData=turned, pG=pG, y=y.tolist())
    log, no = np.log(y), np.log(1 - y)
    np.testing.assert_allclose(came["gains"], [no, 0.3 * log + 0.7 * no, log], atol=1e-12)
    assert y[np.argmax(came["gains"][1])] == pytest.approx(0.3), "highest at y = D*"
    assert came["whole"] == {"means": DATA[1], "stds": DATA[2], "share": 0.6, "whole": True}
    assert came["near"] < 1e-12
    assert came["single"] == {"means": [0.5] * 2, "stds": [0.8] * 2, "share": 0.1, "whole": True}
    weights, means, stds = map(np.array, DATA)
    mean = weights @ means
    std = math.sqrt(weights @ (stds**2 + (means - mean) ** 2))
    assert not came["short"]["whole"]
    np.testing.assert_allclose([*came["short"]["means"], *came["short"]["stds"]], [mean, std])
    np.testing.assert_allclose(came["middle"]["means"], [-0.95, 1.9])
    np.testing.assert_allclose(came["middle"]["share"], 0.55)


def test_densities_are_never_said_to_be_0_nor_chances_1(node):
    ask = "return [[0, 1e-9, 0.158, 1.25].map(js.equals), [0, 0.158, 1 - 1e-9].map(js.chance)]"
    densities, chances = node("ui/format", ask)
    assert densities == ["< 0.001", "< 0.001", "= 0.158", "= 1.250"]
    assert chances == ["< 0.001", "= 0.158", "> 0.999"]


# --- what comes in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"data": ([1.0], [0.0])}, "data must be weights, means and stds"),
        ({"data": ([1.0], [0.0, 1.0], [1.0])}, r"\(2,\)"),
        ({"data": ([], [], [])}, r"\(K,\) each"),
        ({"data": ([0.5, 0.6], [0, 1], [1, 1])}, r"shares that sum to 1, got \[0.5, 0.6\]"),
        ({"generator": ([-0.5, 1.5], [0, 1], [1, 1])}, "weights of generator must be shares"),
        ({"generator": ([1], [6], [1])}, r"means of generator must be within ±5.0, got \[6.0\]"),
        ({"generator": ([1], [0], [0])}, r"stds of generator must be from 0.1 to 3.0, got \[0.0\]"),
        ({"generator": ([1], [math.nan], [1])}, "means of generator"),
        ({"generator": ([0.2, 0.2, 0.6], [0, 1, 2], [1, 1, 1])}, "one or two components, got 3"),
        ({"x": 5.5}, "x must be from -5.0 to 5.0, the window, got 5.5"),
        ({"extent": 0}, "extent must be a positive number, got 0"),
    ],
)
def test_densities_that_cannot_be_shown_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        BestDiscriminator(**{"data": DATA, "generator": ([1], [0], [1]), **arguments})


def test_a_link_holds_the_generator_and_the_place():
    other = BestDiscriminator(DATA, ([0.2, 0.8], [0, 1], [1, 1]), name="best")
    other.open_link(best().link("https://example.org/02.html"))
    assert all(getattr(other, key) == getattr(best(), key) for key in other.setting)
    assert other.start["share"] == 0.2, "again leads to where Python began"


def test_it_weighs_less_than_30_kb():
    assert len(best().html().encode()) < 30_000


# --- in a browser -------------------------------------------------------------------------------


def setting(tab):
    """The setting that the button puts into the address."""
    tab.get_by_role("button", name=re.compile("Link|Copied")).click()
    words = tab.evaluate("location.hash").split("&")[1:]
    return {k: [float(v) for v in text.split(",")] for k, text in (w.split("=") for w in words)}


def divergence_of(now):
    return jensen_shannon(mixture(*DATA), mixture(*generator(now))).item()


def generator(now):
    return [now["share"][0], 1 - now["share"][0]], now["means"], now["stds"]


def jsd(tab):
    return float(tab.locator("[data-jsd]").get_attribute("data-jsd"))


def test_handles_are_dragged_and_the_numbers_follow(alone):
    tab = alone(best(), viewport={"width": 900, "height": 640})
    box = tab.locator("canvas").first.bounding_box()
    inside = box["width"] - 34 - 12

    def drag(start, end, up):
        """From one x to another; `up` from the foot of the picture."""
        for k, x in enumerate((start, end)):
            place = box["x"] + 34 + (x + 5) / 10 * inside, box["y"] + box["height"] - up
            tab.mouse.move(*place)
            tab.mouse.down() if k == 0 else tab.mouse.up()

    drag(2.6, 1.0, 20)
    drag(0.3, -2.0, 250)
    now = setting(tab)
    np.testing.assert_allclose(now["means"], [-0.4, 1.0], atol=0.03)
    np.testing.assert_allclose(now["x"], [-2.0], atol=0.03)
    assert abs(jsd(tab) - divergence_of(now)) < 1e-4, "a link has four places"
    x = torch.tensor([now["x"]]).double()
    D = optimal_discriminator(mixture(*DATA), mixture(*generator(now)), x).item()
    assert f"D*(x) = {D:.3f}" in tab.locator(".gen-says").nth(1).inner_text()


def test_keys_do_all_that_a_pointer_does(alone):
    tab = alone(best())
    tab.locator("canvas").first.focus()
    keys = ("2", "ArrowLeft", "Shift+ArrowLeft", "ArrowUp", "1", "ArrowRight", "ArrowDown", "x")
    for key in (*keys, "ArrowRight"):
        tab.keyboard.press(key)
    now = setting(tab)
    np.testing.assert_allclose(now["means"], [-0.3, 2.0])
    np.testing.assert_allclose(now["stds"], [0.65, 0.55])
    np.testing.assert_allclose(now["x"], [0.4])
    assert abs(jsd(tab) - divergence_of(now)) < 1e-6
    spoken = tab.locator("[aria-live]").text_content()
    assert spoken.startswith(f"JSD = {jsd(tab):.3f}, V = −"), spoken
    V = float(tab.get_by_role("meter").get_attribute("aria-valuenow"))
    assert abs(V - (2 * jsd(tab) - math.log(4))) < 1e-3
    tab.locator("canvas").first.press("0")
    assert setting(tab)["means"] == [-0.4, 2.6]


def test_match_leads_to_the_data_and_again_back(alone):
    tab = alone(best())
    tab.get_by_role("button", name="Match").click()
    tab.wait_for_function("document.querySelector('[data-jsd]').dataset.jsd < 1e-9")
    now = setting(tab)
    assert (now["means"], now["stds"], now["share"]) == (DATA[1], DATA[2], [0.6])
    assert "V(G, D*) = −1.386" in tab.locator("[data-jsd]").inner_text()
    tab.get_by_role("button", name="Again").click()
    assert setting(tab)["share"] == [0.5]


def test_one_component_jumps_as_near_as_it_can_without_motion(alone):
    figure = BestDiscriminator(DATA, ([1], [3], [1]), name="one")
    tab = alone(figure, hash="#figure=one&means=-2&stds=9&x=1", reduced_motion="reduce")
    assert tab.locator("output").inner_text() == "3.00", "a link's σ is kept within the slider's"
    assert tab.get_by_label("share").count() == 0
    tab.get_by_role("button", name="Match mean and σ").click()
    now = setting(tab)
    np.testing.assert_allclose(now["means"], [-0.42], atol=1e-9)
    assert 0.05 < jsd(tab) < 0.3


def test_a_finger_away_from_the_handles_scrolls(alone):
    tab = alone(best(), has_touch=True, viewport={"width": 380, "height": 800})
    box = tab.locator("canvas").first.bounding_box()
    before = jsd(tab)
    tab.touchscreen.tap(box["x"] + 80, box["y"] + box["height"] - 20)
    assert jsd(tab) == before
    handle = box["x"] + 34 + (2.6 + 5) / 10 * (box["width"] - 46)
    tab.touchscreen.tap(handle + 8, box["y"] + box["height"] - 20)
    assert jsd(tab) != before
