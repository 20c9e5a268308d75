"""Figures alive in a browser, every request refused: what is seen, dragged, pressed and said."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cs231n_gen import data, flow, truth
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.viz import FlowField, standalone_page

examples = load_module(Path(__file__).parent / "examples.py", "examples")
hands = load_module(Path(__file__).parent / "hands.py", "hands")
FIGURES, EVERY = examples.FIGURES, examples.EVERY
flow_field, garments, game = examples.flow_field, examples.garments, examples.game
RING = data.ring().mixture
AROUND = """<!doctype html><html lang=en {theme}><meta charset=utf-8><title>Around</title>
<meta name=viewport content="width=device-width"><body><main><h1>Around</h1>{html}</main>"""
INK = """canvas => {
    const pen = canvas.getContext("2d"), { width, height } = canvas;
    const pixels = pen.getImageData(0, 0, width, height).data;
    return pixels.filter((value, i) => i % 4 === 3 && value > 40).length;
}"""
RGBA = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 16, 16).data]"


@pytest.fixture
def opened(offline, tmp_path):
    """`opened(figure)`: its frame on a page, and the page."""

    def open_it(figure, theme="", hash="", **options):
        file = tmp_path / "page.html"
        file.write_text(AROUND.format(theme=theme, html=figure.html()), encoding="utf-8")
        tab = offline(**options)
        tab.goto(file.as_uri() + hash)
        frame = tab.frame_locator("iframe")
        frame.locator("[data-ready]").wait_for()
        return frame, tab

    return open_it


def samples(frame):
    """Where the paths of all panels end."""
    said = frame.locator(".gen-says").get_attribute("data-samples")
    return np.array([[float(v) for v in one.split(",")] for one in said.split(";")])


def screen(frame, panel, x, y, extent=3.2):
    """Where a point of the plane is on the screen."""
    box = frame.locator("canvas[tabindex]").nth(panel).bounding_box()
    scale = box["width"] / (2 * extent)
    return box["x"] + (x + extent) * scale, box["y"] + (extent - y) * scale


def drag(tab, start, end):
    tab.mouse.move(*start)
    tab.mouse.down()
    tab.mouse.move(*np.add(start, end) / 2)
    tab.mouse.move(*end)
    tab.mouse.up()


# --- what is seen -------------------------------------------------------------------------------


@pytest.mark.drawn("figures", 3)
@pytest.mark.parametrize("kind", EVERY)
def test_there_is_a_picture(opened, kind):
    frame, tab = opened(EVERY[kind]())
    assert all(canvas.evaluate(INK) > 50 for canvas in frame.locator("canvas").all())
    height = tab.locator("iframe").bounding_box()["height"]
    inside = frame.locator("html").evaluate("html => html.getBoundingClientRect().height")
    assert abs(height - inside) < 2, "the frame is as high as the figure"


@pytest.mark.drawn("figures", 4)
@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(opened, shut_out, kind, scheme):
    _, tab = opened(EVERY[kind](), color_scheme=scheme)
    assert not shut_out(tab)


@pytest.mark.drawn("figures", 3)
@pytest.mark.parametrize("kind", EVERY)
def test_it_fits_a_phone(opened, kind):
    frame, tab = opened(EVERY[kind](), viewport={"width": 360, "height": 740}, has_touch=True)
    for root in (frame.locator("html"), tab.locator("html")):
        assert root.evaluate("html => html.scrollWidth <= html.clientWidth")
    for button in frame.locator("button, select").all():
        assert button.bounding_box()["height"] >= 24


def test_it_is_dark_where_the_page_is(opened):
    """The page's own word counts more than the reader's system; it may change its mind."""
    frame, tab = opened(flow_field(), theme='data-theme="dark"', color_scheme="light")
    figure = frame.locator(".gen-figure")
    assert figure.get_attribute("data-theme") == "dark"
    background = figure.evaluate("figure => getComputedStyle(figure).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background))) < 60
    tab.locator("html").evaluate("html => html.dataset.theme = 'light'")
    frame.locator(".gen-figure[data-theme=light]").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_as_dark_as_the_reader_likes(opened, scheme):
    frame, tab = opened(flow_field(), color_scheme=scheme)
    assert frame.locator(".gen-figure").get_attribute("data-theme") == scheme
    tab.emulate_media(color_scheme={"light": "dark", "dark": "light"}[scheme])
    frame.locator(f".gen-figure:not([data-theme={scheme}])").wait_for()


# --- what is dragged ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_noise_that_is_dragged_goes_where_python_says(opened, method):
    figure = FlowField({"exact": RING}, steps=12, method=method)
    frame, tab = opened(figure)
    before = samples(frame)
    drag(tab, screen(frame, 0, -1.2, 0.4), screen(frame, 0, 0.7, -1.1))
    z = np.array(re.findall(r"noise \((.+?), (.+?)\)", frame.locator(".gen-says").inner_text())[0])
    np.testing.assert_allclose([float(v.replace("−", "-")) for v in z], [0.7, -1.1], atol=0.02)
    # The pointer is on whole pixels: the very point is in the link of the button.
    frame.get_by_role("button", name="Link").click()
    link = tab.evaluate("location.hash")
    figure.open_link(link)
    sampler = flow.sample if method == "euler" else flow.sample_heun
    want = sampler(RING.velocity, torch.tensor([figure.z], dtype=torch.float64), 12)
    np.testing.assert_allclose(samples(frame), want, atol=1e-3)  # z has four places in a link
    assert np.abs(samples(frame) - before).max() > 0.5


def test_a_point_of_the_middle_shows_its_past_and_its_future(opened):
    """Dragged at t = 0.5, the exact path passes under the pointer."""
    frame, tab = opened(FlowField({"exact": RING}, t=0.5, steps=50))
    z = torch.tensor([[-1.2, 0.4]], dtype=torch.float64)
    middle = truth.follow(RING.velocity, z, [1, 0.5])[-1, 0].tolist()
    drag(tab, screen(frame, 0, *middle), screen(frame, 0, 0.6, 0.6))
    frame.get_by_role("button", name="Link").click()
    link = tab.evaluate("location.hash")
    z = torch.tensor([[float(v) for v in re.search(r"z=([^&]+)", link)[1].split(",")]])
    came = truth.follow(RING.velocity, z.double(), [1, 0.5])[-1, 0]
    np.testing.assert_allclose(came, [0.6, 0.6], atol=0.02)


def test_a_finger_far_from_the_point_scrolls(opened):
    frame, tab = opened(flow_field(), has_touch=True, viewport={"width": 600, "height": 900})
    before = samples(frame)
    tab.touchscreen.tap(*screen(frame, 0, 2.0, -2.0))
    np.testing.assert_array_equal(samples(frame), before)
    tab.touchscreen.tap(*screen(frame, 0, -1.1, 0.45))
    assert np.abs(samples(frame) - before).max() > 1e-3


# --- what is pressed ----------------------------------------------------------------------------


def test_keys_do_all_that_a_pointer_does(opened):
    frame, tab = opened(flow_field())
    canvas = frame.locator("canvas[tabindex]").first
    canvas.focus()
    before = samples(frame)
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Shift+ArrowUp")
    z = torch.tensor([[-1.1, 0.9]], dtype=torch.float64)
    np.testing.assert_allclose(samples(frame)[:1], flow.sample(RING.velocity, z, 20), atol=1e-6)
    assert np.abs(samples(frame) - before).max() > 0.01
    level = frame.locator("output").first
    for key, says in [(".", "0.95"), ("End", "0.00"), (",", "0.05"), ("Home", "1.00")]:
        tab.keyboard.press(key)
        assert level.inner_text() == f"t = {says}"
    said = frame.locator("[aria-live]").text_content()
    assert said.startswith("t = 1.00. exact: noise (−1.10, 0.90) goes to"), said
    tab.keyboard.press("Space")
    frame.get_by_role("button", name="Pause").wait_for()
    tab.keyboard.press("Space")
    frame.get_by_role("button", name="Play").wait_for()


def test_controls_change_the_path(opened):
    frame, _ = opened(flow_field())
    z = torch.tensor([[-1.2, 0.4]], dtype=torch.float64)
    hands.slide(frame.get_by_label("steps"), 3)
    np.testing.assert_allclose(samples(frame)[:1], flow.sample(RING.velocity, z, 3), atol=1e-6)
    frame.get_by_label("rule").select_option("heun")
    want = flow.sample_heun(RING.velocity, z, 3)
    np.testing.assert_allclose(samples(frame)[:1], want, atol=1e-6)
    hands.slide(frame.get_by_label("noise → data"), -0.4)
    front = frame.locator("canvas[tabindex]").first
    ink = front.evaluate(INK)
    frame.get_by_label("straight pairs").check()
    assert frame.locator("output").first.inner_text() == "t = 0.40", "nothing else changed"
    assert front.evaluate(INK) > 1.5 * ink
    back = frame.locator("canvas[aria-hidden]").first
    ink = back.evaluate(INK)
    frame.get_by_role("checkbox", name="velocities").uncheck()
    assert back.evaluate(INK) < 0.9 * ink


@pytest.mark.drawn("figures", 1)
@pytest.mark.parametrize("kind", FIGURES)
def test_play_goes_from_noise_to_data_and_stops(opened, kind):
    frame, _ = opened(FIGURES[kind]())
    frame.get_by_role("button", name="Play").click()
    frame.get_by_role("button", name="Pause").wait_for()
    frame.get_by_text("t = 0.00", exact=False).first.wait_for()
    frame.get_by_role("button", name="Play").wait_for()
    assert frame.locator("output").first.inner_text() == "t = 0.00"


@pytest.mark.drawn("figures", 1)
@pytest.mark.parametrize("kind", FIGURES)
def test_who_wants_less_motion_gets_steps(opened, kind):
    frame, tab = opened(FIGURES[kind](), reduced_motion="reduce")
    frame.get_by_role("button", name="Step").click()
    level = frame.locator("output").first.inner_text()
    tab.wait_for_timeout(300)
    assert level == frame.locator("output").first.inner_text() != "t = 1.00"


def test_what_plays_by_itself_does_not_for_who_wants_less_motion(opened):
    figure = FlowField({"exact": RING}, autoplay=True)
    frame, _ = opened(figure)
    frame.get_by_role("button", name="Pause").wait_for()
    frame, _ = opened(figure, reduced_motion="reduce")
    assert frame.locator("output").first.inner_text() == "t = 1.00"


# --- films --------------------------------------------------------------------------------------


def test_a_film_strip(opened):
    frame, tab = opened(garments())
    numbers = np.frombuffer(garments().frames, np.uint8).reshape(11, 3, 16, 16)

    def shown(i):
        return frame.locator("canvas").nth(i).evaluate(RGBA)[::4]

    hands.slide(frame.get_by_label("noise → data"), -0.31)
    for i in range(3):
        np.testing.assert_array_equal(shown(i), numbers[7, i].ravel())
    frame.get_by_role("button", name="two").click()
    np.testing.assert_array_equal(shown(3 + 8), numbers[10, 1].ravel())
    frame.get_by_role("button", name="t = 0.00").click()
    np.testing.assert_array_equal(shown(0), numbers[10, 0].ravel())
    tab.keyboard.press("Home")
    assert "frame 1 of 11 · two" in frame.locator(".gen-keys").inner_text()
    frame.get_by_role("button", name="two").press("ArrowRight")
    assert frame.get_by_role("button", name="three").get_attribute("aria-pressed") == "true"


# --- games --------------------------------------------------------------------------------------


def test_a_game_is_played_step_by_step(opened, node):
    """By buttons and by keys; V is what the same steps give in node, and again begins anew."""
    frame, tab = opened(game())
    says = frame.locator(".gen-says")
    began = says.get_attribute("data-value")
    frame.get_by_role("button", name="D step").click()
    frame.locator("canvas").focus()
    for key in ("g", "r", "r"):
        tab.keyboard.press(key)
    assert says.inner_text().startswith("After 3 steps of D and 3 of G: V = ")
    told = {k: getattr(game(), k) for k in ("widths", "data", "noise", "rates")}
    ask = """
        const start = { rounds: 3, dSteps: 1, gSteps: 1, saturating: false };
        const numbers = Float32Array.from(given.numbers);
        const { data, noise } = given;
        const { G, D } = js.replay(numbers, given.widths, data, noise, given.rates, start);
        const log = (l) => Math.log1p(Math.exp(l));
        return data.reduce((sum, x) => sum - log(-D.at(x)), 0) / data.length
            + noise.reduce((sum, z) => sum - log(D.at(G.at(z))), 0) / noise.length;
    """
    V = node("math/tiny_gan", ask, numbers=np.frombuffer(game().numbers, "<f4").tolist(), **told)
    assert abs(float(says.get_attribute("data-value")) - V) < 1e-9
    tab.keyboard.press("0")
    assert says.get_attribute("data-value") == began
    tab.keyboard.press("Space")
    frame.get_by_role("button", name="Pause").click()
    frame.get_by_role("button", name="Play").wait_for()


def test_a_link_replays_the_game(opened):
    frame, _ = opened(game(), hash="#figure=game&rounds=5&dSteps=2&gSteps=3&saturating=1")
    assert frame.locator(".gen-says").inner_text().startswith("After 10 steps of D and 15 of G")
    assert frame.get_by_label("saturating loss").is_checked()


def test_a_game_waits_for_who_wants_less_motion(opened):
    frame, tab = opened(game(), reduced_motion="reduce")
    frame.get_by_role("button", name="Round").click()
    tab.wait_for_timeout(300)
    assert frame.locator(".gen-says").inner_text().startswith("After 1 step of D and 1 of G")


# --- links and hosts ----------------------------------------------------------------------------


def test_a_link_opens_its_setting(opened):
    figure = flow_field()
    link = FlowField({"it": RING}, t=0.3, z=(1, -0.5), steps=6, pairs=True, arrows=False).link()
    frame, _ = opened(figure, hash=link)
    assert frame.locator("output").first.inner_text() == "t = 0.30"
    want = flow.sample(RING.velocity, torch.tensor([[1, -0.5]], dtype=torch.float64), 6)
    np.testing.assert_allclose(samples(frame)[:1], want, atol=1e-6)
    assert frame.get_by_label("straight pairs").is_checked()
    assert not frame.get_by_role("checkbox", name="velocities").is_checked()


@pytest.mark.drawn("figures", 2)
@pytest.mark.parametrize(
    "kind",
    [
        *("flow_field", "garments", "guidance", "processes", "game", "water", "patches", "few"),
        *("codes", "caption"),
    ],
)
def test_a_host_may_lack_nearly_everything(chromium, kind):
    """It throws on on, off, send and save_changes; after the figure is gone nothing moves."""
    tab = chromium.new_page()
    wrong = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    hands.in_a_poor_host(tab, EVERY[kind]())
    tab.get_by_role("button", name="Play").click()
    tab.wait_for_timeout(200)
    asked = tab.evaluate("window.gone(), window.frames_asked")
    assert asked > 1
    tab.wait_for_timeout(200)
    assert tab.evaluate("window.frames_asked") == asked
    assert not wrong
    tab.close()


@pytest.mark.parametrize("kind", EVERY)
def test_it_hears_of_all_that_python_may_change(chromium, kind):
    figure = EVERY[kind]()
    tab = chromium.new_page()
    tab.set_content("<div id=el style='width:700px'></div>")
    heard = tab.evaluate(
        """async ([code, state]) => {
            const bytes = (v) => Array.isArray(v) && v.length > 200 ? Uint8Array.from(v) : v;
            const heard = [];
            const model = { get: (name) => bytes(state[name]), on: (event) => heard.push(event) };
            const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
            const { default: figure } = await import(url);
            figure.render({ model, el: document.getElementById("el") });
            return heard;
        }""",
        [standalone_page.module(figure.module), hands.state_of(figure)],
    )
    assert sorted(heard) == sorted(f"change:{name}" for name in figure.setting)
    tab.close()
