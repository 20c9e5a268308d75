"""WaterLevel: floods, codes and errors as truth and numpy say, and what a reader does."""

import re
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cs231n_gen import truth
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.viz import WaterLevel, standalone_page

water = load_module(Path(__file__).parents[1] / "examples.py", "examples").water
hands = load_module(Path(__file__).parents[1] / "hands.py", "hands")
LAM = [4.0, 2.5, 1.0, 1.0, 0.3, 0.05]
RANDOM = np.random.default_rng(0)
VECTORS = np.linalg.qr(RANDOM.standard_normal((12, 12)))[0][:6]
MEAN = RANDOM.uniform(-0.5, 0.5, 12)
IMAGES = RANDOM.uniform(-1, 1, (2, 3, 4))
STRIP = RANDOM.uniform(-1, 1, (2, 3, 5, 6))
GIVEN = {"eigenvalues": LAM, "eigenvectors": VECTORS, "mean": MEAN, "images": IMAGES}
AXES = "const axes = new js.DataAxes(Uint8Array.from(given.bytes), given.scales, given.mean);"


def lab(**options):
    return WaterLevel(**{**GIVEN, **options})


def told(figure):
    """What JavaScript is told of the axes."""
    mean = np.frombuffer(figure.mean, "<f2").astype(float)
    return {"bytes": [*figure.eigenvectors], "scales": figure.scales, "mean": mean.tolist()}


def axes_of(figure):
    """Mean and eigenvectors as they travel."""
    mean = np.frombuffer(figure.mean, "<f2").astype(float)
    bytes = np.frombuffer(figure.eigenvectors, np.int8).reshape(-1, len(mean))
    return mean, bytes * np.array(figure.scales)[:, None]


def vae(lam, theta):
    return truth.linear_vae(torch.tensor(lam, dtype=torch.float64), theta)


def way(figure, theta, image, t, noise):
    """x, x̂, x′ and what is decoded at t, in numpy, from the same noise."""
    mean, E = axes_of(figure)
    K, size = E.shape
    best = [part.numpy() for part in vae(figure.eigenvalues, theta)]
    encoder, variance, decoder, mse, _ = best
    x = np.frombuffer(figure.pictures, np.uint8).reshape(-1, size)[image] / 127.5 - 1
    draw, lost, beside, z = np.split(np.array(noise), [K, 2 * K, 2 * K + size])
    u = encoder * (E @ (x - mean)) + np.sqrt(variance) * draw
    x_hat = mean + (decoder * u) @ E
    beside = beside - (E @ beside) @ E
    sample = x_hat + (np.sqrt(mse) * lost) @ E + np.sqrt(figure.rest / (size - K)) * beside
    return x, x_hat, sample, mean + (decoder * ((1 - t) * u + t * z)) @ E


# --- the mathematics ----------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [1e-3, 0.05, 0.3, 0.99, 1.0, 2.0, 4.0, 9.0])
def test_the_flood_is_that_of_truth(node, theta):
    ask = "return js.floodedBy(given.theta, given.lam)"
    came = node("math/water", ask, lam=LAM, theta=theta)
    want = vae(LAM, theta)
    for name, value in want._asdict().items():
        np.testing.assert_allclose(came[name], value, atol=1e-12, err_msg=name)
    assert came["alive"] == int((want.kl > 0).sum())


def test_coefficients_and_pictures(node):
    figure = lab()
    ask = (
        AXES
        + """
        const { x, noise } = given;
        const c = axes.coefficients(Float64Array.from(x));
        return [c, axes.picture(c), axes.beside(Float64Array.from(noise)), axes.rows];
    """
    )
    x, noise = IMAGES[0].ravel(), RANDOM.standard_normal(12)
    c, picture, beside, rows = node(
        "math/water", ask, x=x.tolist(), noise=noise.tolist(), **told(figure)
    )
    mean, E = axes_of(figure)
    np.testing.assert_allclose(rows, E.ravel(), atol=1e-12)
    np.testing.assert_allclose(c, E @ (x - mean), atol=1e-12)
    np.testing.assert_allclose(picture, mean + np.array(c) @ E, atol=1e-12)
    np.testing.assert_allclose(beside, noise - (E @ noise) @ E, atol=1e-12)
    assert abs(VECTORS @ beside).max() < 0.05, "nearly orthogonal to the very eigenvectors too"


@pytest.mark.parametrize("theta", [0.1, 1.0, 3.0])
def test_a_way_through_the_code(node, theta):
    figure = lab(rest=0.7)
    ask = (
        AXES
        + """
        const vae = js.floodedBy(given.theta, given.lam);
        const c = axes.coefficients(Float64Array.from(given.x));
        const noise = Float64Array.from(given.noise);
        const made = js.throughCode(vae, axes, c, given.rest, noise);
        const u = js.noisedCode(made.u, noise.subarray(24), 0.4);
        const { xHat, sample } = made;
        return [xHat, sample, axes.picture(js.timesEach(vae.decoder, u)),
            js.apartSquared(xHat, sample), js.sumOf(noise)];
    """
    )
    noise = RANDOM.standard_normal(3 * 6 + 12)
    x, *want = way(figure, theta, 1, 0.4, noise)
    given = {"theta": theta, "lam": LAM, "rest": 0.7, "x": x.tolist(), "noise": noise.tolist()}
    *came, apart, total = node("math/water", ask, **given, **told(figure))
    np.testing.assert_allclose(came, want, atol=1e-9)
    np.testing.assert_allclose(apart, ((want[0] - want[1]) ** 2).sum())
    np.testing.assert_allclose(total, noise.sum())


@pytest.mark.parametrize("theta", [0.04, 0.5, 5.0])
def test_a_sample_costs_twice_the_mean(node, theta):
    """Over data of these eigenvalues, with variance beside the axes, as truth has both errors."""
    figure = lab(rest=0.6)
    ask = (
        AXES
        + """
        const vae = js.floodedBy(given.theta, given.lam);
        return given.data.map((x, k) => {
            const c = axes.coefficients(Float64Array.from(x));
            const noise = Float64Array.from(given.noise[k]);
            const { xHat, sample } = js.throughCode(vae, axes, c, given.rest, noise);
            return [xHat, sample].map((one) => js.apartSquared(x, one));
        });
    """
    )
    n = 3000
    mean, E = axes_of(figure)
    full = np.linalg.qr(np.concatenate([E, RANDOM.standard_normal((6, 12))]).T)[0].T
    spread = np.sqrt([*LAM, *[0.1] * 6])
    data = mean + (spread * RANDOM.standard_normal((n, 12))) @ full
    noise = RANDOM.standard_normal((n, 24))
    given = {"theta": theta, "lam": LAM, "rest": 0.6}
    errors = np.array(
        node("math/water", ask, data=data.tolist(), noise=noise.tolist(), **given, **told(figure))
    )
    best = vae(LAM, theta)
    lam = torch.tensor(LAM, dtype=torch.float64)
    twice = truth.posterior_sampling_error(lam, best.encoder, best.variance)
    want = [best.mse.sum().item() + 0.6, twice.sum().item() + 2 * 0.6]
    off = errors.mean(0) - want
    assert (abs(off) < 4 * errors.std(0) / np.sqrt(n) + 0.01).all(), off


# --- what comes in and what goes out ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"eigenvalues": LAM[:1]}, r"two or more, positive and finite, got \[4.0\]"),
        ({"eigenvalues": [*LAM[:5], 0]}, "eigenvalues must be .* positive"),
        ({"eigenvalues": [np.nan, *LAM[1:]]}, "eigenvalues must be .* finite"),
        ({"eigenvalues": LAM[::-1]}, "must fall from the largest to the smallest"),
        ({"eigenvectors": VECTORS[:5]}, r"\(6, pixels\), a row for each .*, got \(5, 12\)"),
        ({"eigenvectors": VECTORS[:, :5]}, r"got \(6, 5\)"),
        ({"eigenvectors": 2 * VECTORS}, "orthogonal rows of length 1"),
        ({"eigenvectors": VECTORS * np.nan}, "orthogonal rows of length 1"),
        ({"eigenvalues": np.ones(41), "eigenvectors": np.eye(41, 1024)}, "41984 numbers, too many"),
        ({"images": IMAGES[0]}, r"one to 8 of 12 pixels, \(n, height, width\), got \(3, 4\)"),
        ({"images": IMAGES[:0]}, "images must be one to 8"),
        ({"images": np.zeros((9, 3, 4))}, r"got \(9, 3, 4\)"),
        ({"images": np.zeros((1, 3, 5))}, "of 12 pixels"),
        ({"images": IMAGES + 0.5}, r"images must be in \[−1, 1\]"),
        ({"mean": MEAN[:5]}, r"mean must be 12 finite numbers, got \(5,\)"),
        ({"rest": -1}, "rest must be a variance, 0 or more, got -1"),
        ({"rest": np.inf}, "rest must be a variance"),
        ({"labels": ["one"]}, "labels must be 2 names, got 1"),
        ({"theta": 0.04}, "theta must be from 0.05 to 5, got 0.04"),
        ({"theta": np.nan}, "theta must be from"),
        ({"t": 1.5}, "t must be from 0 to 1, got 1.5"),
        ({"image": 2}, "image must be a whole number below 2, got 2"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"levels": [0, 1]}, "pass a strip as well"),
        ({"strip": STRIP[0]}, r"\(rows, levels, H, W\), one row or 2, .* got \(3, 5, 6\)"),
        ({"strip": np.zeros((3, 3, 5, 6))}, "one row or 2"),
        ({"strip": STRIP[:, :1]}, "two levels or more"),
        ({"strip": np.zeros((1, 120, 32, 32))}, "122880 pixels, too many for a page"),
        ({"strip": STRIP * 2}, r"strip must be in \[−1, 1\]"),
        ({"strip": STRIP, "levels": [0, 1]}, "3 numbers from 0 to 1, rising or falling"),
        ({"strip": STRIP, "levels": [0, 0.5, 0.5]}, "rising or falling"),
        ({"strip": STRIP, "levels": [0, 0.5, 2]}, "numbers from 0 to 1"),
    ],
)
def test_a_lab_that_cannot_be_set_up_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        lab(**arguments)


def test_what_is_sent():
    figure = lab(strip=STRIP, levels=[0, 0.2, 1])
    _, E = axes_of(figure)
    assert (abs(E - VECTORS).max(1) <= abs(VECTORS).max(1) / 254 + 1e-9).all()
    sent = np.frombuffer(figure.pictures, np.uint8).reshape(figure.shape)
    np.testing.assert_allclose(sent, (IMAGES + 1) * 127.5, atol=0.5)
    assert figure.levels == [1, 0.2, 0]
    film = np.frombuffer(figure.strip, np.uint8).reshape(figure.strip_shape)
    np.testing.assert_allclose(film, (STRIP[:, ::-1] + 1) * 127.5, atol=0.5)
    assert lab(strip=STRIP).levels == [1, 0.5, 0]
    np.testing.assert_array_equal(
        np.frombuffer(lab(strip=STRIP[:, ::-1], levels=[1, 0.2, 0]).strip, np.uint8), film.ravel()
    )
    assert figure.labels == ["image 1", "image 2"]
    assert figure.theta == 1, "a third of the axes above water"
    assert (lab(theta=0.05).theta, lab(theta=5).theta) == (0.05, 5)


def test_tensors_are_taken():
    figure = WaterLevel(*map(torch.tensor, (LAM, VECTORS, MEAN, IMAGES)), strip=torch.tensor(STRIP))
    assert figure.get_state(["eigenvectors"]) == lab().get_state(["eigenvectors"])


def test_a_link_holds_the_whole_setting():
    other = lab(name="w")
    other.open_link("#figure=w&theta=0.5&t=0.25&image=1&seed=7")
    assert (other.theta, other.t, other.image, other.seed) == (0.5, 0.25, 1, 7)
    assert other.link() == "#figure=w&theta=0.5&t=0.25&image=1&seed=7"
    assert other.start["seed"] == 0, "again leads to where Python began"


def test_the_still_picture_shows_the_same_flood():
    figure = water()
    still = figure.draw()
    best = vae(figure.eigenvalues, figure.theta)
    mse, kl = best.mse.sum().item() + figure.rest, best.kl.sum().item()
    assert still.axes[0].get_title() == f"θ = {figure.theta:.3g}: MSE {mse:.1f}, KL {kl:.1f} nats"
    x, x_hat, sample = (ax.images[0].get_array() / 8 for ax in still.axes[1:])
    first = np.frombuffer(figure.pictures, np.uint8).reshape(figure.shape)[0] / 127.5 - 1
    np.testing.assert_allclose(x, first, atol=1 / 16 + 1e-9)
    assert ((x - x_hat) ** 2).sum() < ((x - sample) ** 2).sum()
    plt.close(still)


def test_a_page_weighs_less_than_60_kb():
    """48 axes of pictures of 16 × 16; a strip of noise comes on top with its bytes."""
    lam = np.geomspace(20, 0.07, 48)
    vectors = np.linalg.qr(RANDOM.standard_normal((256, 256)))[0][:48]
    images = RANDOM.uniform(-1, 1, (6, 16, 16))
    given = (lam, vectors, images[0].ravel(), images)
    assert len(WaterLevel(*given, rest=3.0).html().encode()) < 60_000
    strip = RANDOM.uniform(-1, 1, (4, 8, 32, 32))
    assert len(WaterLevel(*given[:3], images[:4], strip=strip).html().encode()) < 120_000


# --- in a browser -------------------------------------------------------------------------------

PIXELS = """canvas => {
    const { width, height } = canvas;
    return [...canvas.getContext("2d").getImageData(0, 0, width, height).data];
}"""
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


def said(tab, name):
    text = tab.locator(f"[data-{name}]").get_attribute(f"data-{name}")
    return np.array([float(v) for v in text.split(",")]).squeeze()


def setting(tab):
    """The setting that the button puts into the address."""
    tab.get_by_role("button", name=re.compile("Link|Copied")).click()
    words = dict(word.split("=") for word in tab.evaluate("location.hash").split("&")[1:])
    return {k: float(v) for k, v in words.items()}


def greys(tab, name):
    return np.array(tab.get_by_role("img", name=name, exact=True).evaluate(PIXELS)[::4])


def screen(tab, theta):
    """Where a water level is on the screen."""
    lam = water().eigenvalues
    canvas = tab.locator("canvas[tabindex]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    low, high = np.log([0.75 * lam[-1], 1.2 * 1.25 * lam[0]])
    part = (np.log(theta) - low) / (high - low)
    x, floor = box["x"] + 0.8 * box["width"], box["y"] + box["height"] - 34
    return x, floor - part * (box["height"] - 34 - 14)


def flood(theta):
    """MSE, KL and how many axes are above water, as truth has it."""
    best = vae(water().eigenvalues, theta)
    return (
        best.mse.sum().item() + water().rest,
        best.kl.sum().item(),
        int((best.kl > 0).sum()),
    )


def drag(tab, start, end):
    tab.mouse.move(*start)
    tab.mouse.down()
    tab.mouse.move(*np.add(start, end) / 2)
    tab.mouse.move(*end)
    tab.mouse.up()


def test_dragged_water_is_under_the_pointer(alone):
    tab = alone(water(), viewport={"width": 1000, "height": 800})
    for theta in (2.0, 0.3, 12.0):
        drag(tab, screen(tab, float(said(tab, "theta"))), screen(tab, theta))
        came = float(said(tab, "theta"))
        assert abs(np.log(came / theta)) < 0.02  # a pixel
        mse, kl, alive = flood(came)
        np.testing.assert_allclose([said(tab, "mse"), said(tab, "kl")], [mse, kl], rtol=1e-6)
        assert said(tab, "alive") == alive
        text = tab.locator("[data-mse]").inner_text()
        assert text.startswith(f"{alive} of 256 axes are above water. MSE = Σ min(λ, θ) = ")
        assert tab.locator("[aria-live]").text_content().startswith(text[:40])


def test_keys_do_all_that_a_pointer_does(alone):
    tab = alone(water(), hash="#figure=water&theta=1&t=0.5")
    canvas = tab.locator("canvas[tabindex]")
    lam = np.array(water().eigenvalues)
    canvas.focus()
    for key in ("ArrowUp", "Shift+ArrowUp", "ArrowDown"):
        tab.keyboard.press(key)
    np.testing.assert_allclose(said(tab, "theta"), 1.06**5)
    alive = int((lam > 1.06**5).sum())
    tab.keyboard.press("ArrowLeft")
    assert said(tab, "alive") == alive - 1
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert said(tab, "alive") == alive + 1
    before = said(tab, "errors")
    tab.keyboard.press("n")
    assert (said(tab, "errors") != before).all()
    tab.keyboard.press("3")
    now = setting(tab)
    assert (now["seed"], now["image"]) == (1, 2)
    canvas.focus()
    for key, t in ((",", 0.6), (".", 0.5), (".", 0.4), ("Home", 1), ("End", 0)):
        tab.keyboard.press(key)
        assert tab.get_by_text(f"t = {t:.2f}", exact=True).first.is_visible()
        assert setting(tab)["t"] == t
        canvas.focus()
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Pause").wait_for()
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Play").wait_for()
    tab.keyboard.press("0")
    start = water().start
    assert setting(tab) == pytest.approx({**start, "theta": start["theta"]}, abs=1e-4)


@pytest.mark.parametrize(("image", "seed", "t"), [(0, 0, 0.0), (2, 5, 0.35), (1, 1, 1.0)])
def test_pictures_and_errors_are_those_of_the_linear_vae(alone, node, image, seed, t):
    figure = water()
    tab = alone(figure, hash=f"#figure=water&theta=0.6&image={image}&seed={seed}&t={t}")
    noise = node("math/normal", "return js.normals(given.seed, given.n)", seed=seed, n=3 * 24 + 256)
    x, x_hat, sample, decoded = way(figure, 0.6, image, t, noise)
    errors = [((x - one) ** 2).sum() for one in (x_hat, sample)]
    np.testing.assert_allclose(said(tab, "errors"), errors, rtol=1e-6)
    np.testing.assert_allclose(said(tab, "off"), ((x - decoded) ** 2).sum(), rtol=1e-6)
    name = figure.labels[image]
    for words, want in (
        (f"{name}, reconstructed", x_hat),
        (f"{name}, a sample from p(x | u)", sample),
        (f"{name}, decoded from t = {t:.2f}", decoded),
    ):
        want = np.clip((want + 1) * 127.5, 0, 255)
        np.testing.assert_allclose(greys(tab, words), want, atol=0.5 + 1e-6)
    mse = flood(0.6)[0]
    text = tab.locator("[data-errors]").inner_text()
    assert f"on average {mse:.1f}" in text and f"on average {2 * mse:.1f}, exactly twice" in text
    if t == 0:
        np.testing.assert_allclose(said(tab, "off"), errors[0])


def test_controls_set_what_they_say(alone):
    tab = alone(water())
    hands.slide(tab.get_by_label("water level θ"), np.log(water().eigenvalues[-1]) + 2)
    np.testing.assert_allclose(said(tab, "theta"), np.exp(2) * water().eigenvalues[-1], rtol=1e-6)
    hands.slide(tab.get_by_label("noise → data"), -0.75)
    tab.get_by_role("button", name="trousers").click()
    tab.get_by_role("button", name="Draw again").click()
    tab.get_by_role("button", name="Draw again").click()
    now = setting(tab)
    assert (now["t"], now["image"], now["seed"]) == (0.75, 2, 2)
    pressed = tab.locator("button[aria-pressed=true]")
    assert [one.inner_text() for one in pressed.all()] == ["trousers", "t = 0.80"]
    tab.get_by_role("button", name="Again", exact=True).click()
    assert setting(tab)["seed"] == 0


def test_the_strip_of_another_autoencoder(alone):
    """The row of the image; a click goes to its level."""
    figure = water()
    film = np.frombuffer(figure.strip, np.uint8).reshape(figure.strip_shape)
    tab = alone(figure)
    tab.get_by_role("button", name="t = 0.40").click()
    assert setting(tab)["t"] == 0.4
    for k, image in ((3, 0), (0, 1)):
        tab.get_by_role("button", name=figure.labels[image]).click()
        button = tab.get_by_role("button", name=f"t = {figure.levels[k]:.2f}")
        came = button.locator("canvas").evaluate(PIXELS)[::4]
        np.testing.assert_array_equal(came, film[image, k].ravel())


def test_without_a_strip_there_is_none(alone):
    tab = alone(lab())
    assert tab.get_by_role("button", name="t =").count() == 0
    assert "trained" not in tab.locator(".gen-figure").inner_text()
    assert "of 6 axes are above water" in tab.locator("[data-mse]").inner_text()


def test_a_link_is_kept_within_its_bounds(alone):
    tab = alone(water(), hash="#figure=water&theta=0&t=7&image=9.4&seed=-3")
    lam = water().eigenvalues
    want = {"theta": lam[-1], "t": 1, "image": 2, "seed": 0}
    assert setting(tab) == pytest.approx(want, abs=1e-4)
    tab = alone(water(), hash="#figure=water&theta=1e9")
    np.testing.assert_allclose(said(tab, "kl"), 0)
    np.testing.assert_allclose(said(tab, "mse"), sum(lam) + water().rest, rtol=1e-6)


def test_play_goes_to_data_and_stops(alone):
    tab = alone(water(), hash="#figure=water&t=0.2")
    tab.get_by_role("button", name="Play").click()
    tab.get_by_role("button", name="Play").wait_for()
    tab.get_by_text("At t = 0 nothing is noised", exact=False).first.wait_for()


def test_who_wants_less_motion_gets_steps(alone):
    tab = alone(water(), hash="#figure=water&t=1", reduced_motion="reduce")
    tab.evaluate("() => { requestAnimationFrame = () => { throw new Error('a frame'); }; }")
    ts = []
    for _ in range(11):
        tab.get_by_role("button", name="Step").click()
        ts.append(setting(tab)["t"])
    np.testing.assert_allclose(ts, [*np.linspace(0.9, 0, 10), 1], atol=1e-4)


def test_it_is_drawn_in_the_ink_of_its_theme(alone):
    tab = alone(water(), color_scheme="light")
    charts = tab.locator(".gen-wide canvas")

    def inks():
        return [canvas.evaluate(INK) for canvas in charts.all()]

    assert all(LIGHT in ink for ink in inks()[:2])
    tab.emulate_media(color_scheme="dark")
    tab.locator(".gen-figure[data-theme=dark]").wait_for()
    assert all(DARK in ink and LIGHT not in ink for ink in inks()[:2])
    tab.set_viewport_size({"width": 360, "height": 800})
    tab.wait_for_function("document.querySelector('.gen-wide canvas').clientWidth < 360")
    boxes = [one.bounding_box() for one in charts.all()]
    assert all(box["x"] + box["width"] <= 360 for box in boxes)
    assert all(a["y"] < b["y"] for a, b in pairwise(boxes)), "one under the other"


def test_a_finger_away_from_the_water_scrolls(alone):
    tab = alone(water(), has_touch=True, viewport={"width": 380, "height": 800})
    before = float(said(tab, "theta"))
    tab.touchscreen.tap(*screen(tab, 15))
    assert said(tab, "theta") == before
    tab.touchscreen.tap(*np.add(screen(tab, before), [0, 12]))
    assert said(tab, "theta") < before


def test_python_changes_it_and_a_host_may_lack_the_rest(chromium):
    state = hands.state_of(water())
    tab = chromium.new_page()
    tab.set_content("<div id=el style='width:700px'></div>")
    tab.evaluate(
        """async ([code, state]) => {
            for (const key of ["eigenvectors", "mean", "pictures", "strip"])
                state[key] = Uint8Array.from(state[key]);
            const no = () => { throw new Error("not here"); };
            window.heard = {};
            const model = { get: (name) => state[name], set: no, off: no, save_changes: no,
                on: (event, listener) => (heard[event] = listener) };
            const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
            const { default: figure } = await import(url);
            figure.render({ model, el: document.getElementById("el") });
            window.state = state;
        }""",
        [standalone_page.module("figures/water_level"), state],
    )
    tab.evaluate("state.theta = 3.5; heard['change:theta']()")
    np.testing.assert_allclose([said(tab, "mse"), said(tab, "kl")], flood(3.5)[:2], rtol=1e-6)
    tab.close()
