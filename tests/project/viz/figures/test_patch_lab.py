"""PatchLab: attention arrives as it was, and what a reader points at, drags and presses."""

import math
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy import stats

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.viz import PatchLab, standalone_page

patches = load_module(Path(__file__).parents[1] / "examples.py", "examples").patches
hands = load_module(Path(__file__).parents[1] / "hands.py", "hands")
RANDOM = np.random.default_rng(0)
LEVELS = [0.0, 0.3, 1.0]
PICTURES = RANDOM.uniform(-1, 1, (2, 3, 6, 6))
GATES = RANDOM.uniform(0, 1, (3, 4, 2))


def rows_that_sum_to_1(*shape):
    numbers = np.exp(2 * RANDOM.standard_normal(shape))
    return numbers / numbers.sum(-1, keepdims=True)


ATTENTION = rows_that_sum_to_1(2, 3, 4, 2, 9, 9)
GIVEN = {"levels": LEVELS, "pictures": PICTURES, "attention": ATTENTION, "gates": GATES}


def lab(**options):
    return PatchLab(**{**GIVEN, **options})


def maps(figure):
    """Attention as it travels, from noise to data."""
    *lead, n = figure.sizes
    numbers = np.frombuffer(figure.attention, np.uint8).reshape(*lead, n, n)
    return numbers * np.reshape(figure.scales, (*lead, 1, 1))


# --- the mathematics ----------------------------------------------------------------------------


def test_rows_are_those_of_the_maps(node):
    """Of one head, and of their mean, at every place."""
    figure = lab()
    ask = """
        const all = new js.AttentionRows(Uint8Array.from(given.bytes), given.scales, given.sizes);
        return given.places.map(([example, level, block, head, patch]) =>
            all.row({ example, level, block, patch }, head));
    """
    places = [(0, 0, 0, 0, 0), (1, 2, 3, 2, 8), (0, 1, 2, 1, 4), (1, 0, 3, 0, 5), (0, 2, 0, 2, 7)]
    told = {"bytes": [*figure.attention], "scales": figure.scales, "sizes": figure.sizes}
    came = node("math/attention_rows", ask, places=places, **told)
    sent, right = maps(figure), ATTENTION[:, ::-1]  # levels fall
    for (e, level, b, head, patch), row in zip(places, came, strict=True):
        heads = slice(None) if head == 0 else slice(head - 1, head)
        np.testing.assert_allclose(row, sent[e, level, b, heads, patch].mean(0), atol=1e-12)
        np.testing.assert_allclose(row, right[e, level, b, heads, patch].mean(0), atol=0.002)


def test_no_weight_is_off_by_more_than_is_said():
    off = abs(maps(lab()) - ATTENTION[:, ::-1]).max((4, 5))
    most = ATTENTION[:, ::-1].max((4, 5))
    assert (off <= most / 510 * 1.01 + 1e-6).all()
    assert off.max() < 0.002
    even = np.full((2, 3, 4, 2, 9, 9), 1 / 9)
    np.testing.assert_allclose(maps(lab(attention=even)), 1 / 9, rtol=1e-4)
    itself = np.broadcast_to(np.eye(9), even.shape)
    np.testing.assert_allclose(maps(lab(attention=itself)), itself, rtol=1e-4)


def test_spread_levels_and_steps(node):
    ask = """
        return {
            spread: given.rows.map(js.spreadOver),
            highest: given.rows.map((row) => js.highest(row, 3)),
            levels: given.ts.map((t) => js.nearestLevel(given.levels, t)),
            steps: given.steps.map(([patch, ...way]) => js.stepOnGrid(patch, 3, way)),
        };
    """
    rows = [[0.25] * 4, [1, 0, 0, 0], [0.1, 0.6, 0.1, 0.2], [0.11, 0.59, 0.1, 0.2]]
    levels, ts = [1, 0.5, 0.2, 0], [2, 1, 0.7, 0.36, 0.34, 0.09, -1]
    steps = [[4, 1, 0], [4, -1, 0], [4, 0, 1], [4, 0, -1], [2, 1, 0], [2, 0, 1], [6, -1, 0]]
    came = node("math/attention_rows", ask, rows=rows, levels=levels, ts=ts, steps=steps)
    np.testing.assert_allclose(came["spread"], [np.exp(stats.entropy(row)) for row in rows])
    assert came["highest"] == [[0, 1, 2], [0, 1, 2], [1, 3, 0], [1, 3, 0]]
    assert came["levels"] == [0, 0, 1, 1, 2, 3, 3]
    assert came["steps"] == [5, 3, 1, 7, 2, 2, 6]


# --- what comes in and what goes out ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"levels": [0.5]}, r"two numbers or more from 0 to 1, rising or falling, got \[0.5\]"),
        ({"levels": 0.5}, "levels must be two numbers"),
        ({"levels": [0, 0.5, 0.5]}, "rising or falling"),
        ({"levels": [0, 0.5, 2]}, "from 0 to 1"),
        ({"levels": [0, np.nan, 1]}, "levels must be"),
        ({"levels": [0, 1]}, r"pictures must be \(examples, 2 levels, .* got \(2, 3, 6, 6\)"),
        ({"pictures": PICTURES[0]}, r"got \(3, 6, 6\)"),
        ({"pictures": PICTURES * 2}, r"pictures must be in \[−1, 1\]"),
        ({"pictures": PICTURES * np.nan}, r"pictures must be in \[−1, 1\]"),
        ({"pictures": PICTURES[:1]}, r"\(1, 3\) \+ \(blocks, heads, patches, patches\)"),
        ({"attention": ATTENTION[0]}, r"got \(3, 4, 2, 9, 9\)"),
        ({"attention": ATTENTION[..., :8]}, r"got \(2, 3, 4, 2, 9, 8\)"),
        ({"attention": rows_that_sum_to_1(2, 3, 4, 2, 8, 8)}, "square grid .* got 8 patches"),
        ({"attention": rows_that_sum_to_1(2, 3, 4, 2, 16, 16)}, r"divides \(6, 6\), got 16"),
        ({"attention": ATTENTION * 1.1}, "rows must sum to 1"),
        ({"attention": ATTENTION * np.nan}, "at least 0 and its rows must sum to 1"),
        ({"attention": ATTENTION.swapaxes(4, 5)}, "rows must sum to 1"),
        ({"gates": GATES[:2]}, r"gates must be \(3, 4, 2\), .* got \(2, 4, 2\)"),
        ({"gates": -GATES}, "finite and at least 0"),
        ({"gates": GATES + np.inf}, "finite and at least 0"),
        ({"labels": ["one"]}, "labels must be 2 names, got 1"),
        ({"example": 2}, "example must be a whole number from 0 to 1, got 2"),
        ({"patch": 9}, "patch must be a whole number from 0 to 8, got 9"),
        ({"block": 4}, "block must be a whole number from 0 to 3, got 4"),
        ({"head": 3}, "head must be a whole number from 0 to 2, got 3"),
        ({"head": 0.5}, "head must be a whole number"),
        ({"t": 1.5}, "t must be from 0 to 1, got 1.5"),
    ],
)
def test_a_lab_that_cannot_be_set_up_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        lab(**arguments)


def test_what_is_too_much_for_a_page_is_refused():
    levels, pictures = np.linspace(0, 1, 8), np.zeros((4, 8, 32, 32))
    heavy = rows_that_sum_to_1(4, 8, 3, 2, 64, 64)
    with pytest.raises(ValueError, match="too much for a page: at most 160000, so pass fewer"):
        PatchLab(levels, pictures, heavy, np.zeros((8, 3, 2)))


def test_what_is_sent():
    """Levels that rise are turned round, and all that belongs to them."""
    rising, falling = (
        lab(),
        lab(levels=LEVELS[::-1], pictures=PICTURES[:, ::-1], attention=ATTENTION[:, ::-1],
            gates=GATES[::-1]),
    )  # fmt: skip
    for figure in (rising, falling):
        assert figure.levels == [1, 0.3, 0]
        sent = np.frombuffer(figure.pictures, np.uint8).reshape(figure.shape)
        np.testing.assert_allclose(sent, (PICTURES[:, ::-1] + 1) * 127.5, atol=0.5)
        np.testing.assert_allclose(figure.gates, GATES[::-1], atol=5e-5)
    assert (rising.attention, rising.scales) == (falling.attention, falling.scales)
    assert (rising.patch, rising.block, rising.head, rising.t) == (4, 2, 0, 0.3)
    assert lab(t=0.9).t == 1, "the nearest level"
    assert rising.labels == ["example 1", "example 2"]


def test_tensors_in_half_precision_are_taken():
    figure = lab(attention=torch.tensor(ATTENTION).half(), pictures=torch.tensor(PICTURES))
    np.testing.assert_allclose(maps(figure), ATTENTION[:, ::-1], atol=0.002 + 2**-12)


def test_a_link_holds_the_whole_setting():
    other = lab(name="p")
    other.open_link("#figure=p&example=1&t=0.3&patch=7&block=0&head=2")
    now = (other.example, other.t, other.patch, other.block, other.head)
    assert now == (1, 0.3, 7, 0, 2)
    assert other.link() == "#figure=p&example=1&t=0.3&patch=7&block=0&head=2"
    assert other.start["patch"] == 4, "again leads to where Python began"


@pytest.mark.parametrize("head", [0, 2])
def test_the_still_picture_shows_the_same_attention(head):
    figure = lab(example=1, patch=5, block=3, head=head)
    still = figure.draw()
    heads = slice(None) if head == 0 else slice(head - 1, head)
    for k, ax in enumerate(still.axes[:3]):
        assert ax.get_title() == f"t = {[1, 0.3, 0][k]:g}"
        row = ATTENTION[1, 2 - k, 3, heads, 5].mean(0)
        tint = np.asarray(ax.images[1].get_array())[..., 3].ravel()
        np.testing.assert_allclose(tint / tint.max(), row / row.max(), atol=0.01)
        np.testing.assert_allclose(figure.row(k), row, atol=0.002)
    lines = still.axes[3].lines
    np.testing.assert_allclose(lines[6].get_ydata(), GATES[::-1, 3, 0], atol=5e-5)
    assert lines[6].get_linewidth() > lines[0].get_linewidth()
    plt.close(still)


def test_a_page_weighs_no_more_than_its_bytes():
    """Three examples, 8 levels, 4 blocks of 4 heads over 16 patches: 98 KB of attention."""
    levels = np.linspace(0, 1, 8)
    pictures = np.tanh(RANDOM.standard_normal((3, 8, 32, 32)).cumsum(-1).cumsum(-2) / 9)
    attention = rows_that_sum_to_1(3, 8, 4, 4, 16, 16)
    figure = PatchLab(levels, pictures, attention, np.ones((8, 4, 2)))
    assert len(figure.html().encode()) < 190_000


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


def middle(tab, patch, side=4):
    """The middle of a patch on the screen."""
    canvas = tab.locator("canvas[tabindex]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    row, column = divmod(patch, side)
    x = box["x"] + (column + 0.5) / side * box["width"]
    return x, box["y"] + (row + 0.5) / side * box["height"]


def level(tab, t):
    """The foot of the line at t, over the gates."""
    canvas = tab.locator("canvas[role=img]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    return box["x"] + 38 + (1 - t) * (box["width"] - 38 - 14), box["y"] + box["height"] / 2


def row(example, t, block, head, patch):
    k = patches().levels.index(t)
    found = maps(patches())[example, k, block, :, patch]
    return found[head - 1] if head else found.mean(0)


def test_a_patch_that_is_pointed_at_shows_what_it_attends_to(alone):
    """A pointer shows it for as long as it is there; a click keeps it."""
    tab = alone(patches(), viewport={"width": 1000, "height": 800})
    start = patches().start
    at = (start["example"], start["t"], start["block"], 0)
    np.testing.assert_allclose(said(tab, "row"), row(*at, start["patch"]), atol=1e-9)
    for patch in (0, 7, 14):
        tab.mouse.move(*middle(tab, patch))
        want = row(*at, patch)
        np.testing.assert_allclose(said(tab, "row"), want, atol=1e-9)
        np.testing.assert_allclose(said(tab, "spread"), math.exp(stats.entropy(want)), rtol=1e-6)
        text = tab.locator("[data-row]").inner_text()
        assert f"the patch in row {patch // 4 + 1}, column {patch % 4 + 1} attends" in text
        assert f"({round(100 * want.max())} %)" in text
    tab.mouse.move(5, 5)
    np.testing.assert_allclose(said(tab, "row"), row(*at, start["patch"]), atol=1e-9)
    assert setting(tab)["patch"] == start["patch"]
    tab.mouse.click(*middle(tab, 3))
    tab.mouse.move(5, 5)
    np.testing.assert_allclose(said(tab, "row"), row(*at, 3), atol=1e-9)
    assert setting(tab)["patch"] == 3
    assert "the patch in row 1, column 4" in tab.locator("[aria-live]").text_content()


def test_tints_are_in_proportion(alone):
    """The upper left corner of every patch: the picture's own grey, over it vermilion."""
    figure = patches()
    tab = alone(figure, hash="#figure=patches&example=1&t=0.4&patch=6&block=2&head=1")
    small = tab.get_by_role("button", name="block 3").locator("canvas")
    came = np.array(small.evaluate(PIXELS)).reshape(168, 168, 4)[..., :3]
    greys = np.frombuffer(figure.pictures, np.uint8).reshape(figure.shape)[1, 3]
    weights = row(1, 0.4, 2, 1, 6)
    for patch in set(range(16)) - {6}:
        r, c = divmod(patch, 4)
        alpha = 0.8 * weights[patch] / weights.max()
        want = (1 - alpha) * greys[8 * r, 8 * c] + alpha * np.array([213, 94, 0])
        np.testing.assert_allclose(came[42 * r + 2, 42 * c + 2], want, atol=2)


def test_the_line_at_t_is_dragged_from_level_to_level(alone):
    tab = alone(patches(), viewport={"width": 1000, "height": 800})
    tab.mouse.move(*level(tab, patches().t))
    tab.mouse.down()
    tab.mouse.move(*level(tab, 0.7))
    tab.mouse.move(*level(tab, 0.77))
    tab.mouse.up()
    now = setting(tab)
    assert now["t"] == 0.8
    at = (0, 0.8, int(now["block"]), 0, int(now["patch"]))
    np.testing.assert_allclose(said(tab, "row"), row(*at), atol=1e-9)
    np.testing.assert_allclose(said(tab, "gates"), patches().gates[1][int(now["block"])])
    label = tab.locator("canvas[role=img]").get_attribute("aria-label")
    assert label.startswith(f"Gates of 3 blocks over t. Block {now['block'] + 1:.0f} at t = 0.80")


def test_keys_do_all_that_a_pointer_does(alone):
    tab = alone(patches(), hash="#figure=patches&patch=5&block=0&t=0.4")
    canvas = tab.locator("canvas[tabindex]")
    canvas.focus()
    for key in ("ArrowRight", "ArrowUp", "ArrowUp", "b", "b", "Shift+b", "h", "2"):
        tab.keyboard.press(key)
    np.testing.assert_allclose(said(tab, "row"), row(1, 0.4, 1, 1, 2), atol=1e-9)
    want = {"example": 1, "t": 0.4, "patch": 2, "block": 1, "head": 1}
    assert setting(tab) == want
    canvas.focus()
    for key in ("Shift+h", "Shift+h", "Shift+b", "Shift+b"):
        tab.keyboard.press(key)
    now = setting(tab)
    assert (now["head"], now["block"]) == (2, 2)
    canvas.focus()
    output = tab.locator("output")
    for key, t in ((",", 0.6), (".", 0.4), (".", 0.2), ("Home", 1), (",", 1), ("End", 0)):
        tab.keyboard.press(key)
        assert output.inner_text() == f"t = {t:.2f}"
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Pause").wait_for()
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Play").wait_for()
    tab.keyboard.press("0")
    assert setting(tab) == pytest.approx(patches().start)


def test_arrows_go_on_from_the_patch_under_the_pointer(alone):
    tab = alone(patches(), viewport={"width": 1000, "height": 800})
    tab.mouse.move(*middle(tab, 9))
    tab.locator("canvas[tabindex]").focus()
    tab.keyboard.press("ArrowRight")
    assert setting(tab)["patch"] == 10


def test_controls_set_what_they_say(alone):
    tab = alone(patches())
    tab.get_by_role("combobox", name="head").select_option("head 2")
    tab.get_by_role("button", name="block 3").click()
    tab.get_by_role("button", name="pullover").click()
    hands.slide(tab.get_by_label("noise → data"), -0.83)
    now = setting(tab)
    assert (now["head"], now["block"], now["example"], now["t"]) == (2, 2, 1, 0.8)
    assert tab.locator("output").inner_text() == "t = 0.80"
    np.testing.assert_allclose(said(tab, "row"), row(1, 0.8, 2, 2, int(now["patch"])), atol=1e-9)
    pressed = [one.inner_text() for one in tab.locator("button[aria-pressed=true]").all()]
    assert pressed == ["pullover", "block 3"]
    tab.get_by_role("button", name="Again").click()
    assert setting(tab) == pytest.approx(patches().start)


def test_a_link_is_kept_within_its_bounds(alone):
    tab = alone(patches(), hash="#figure=patches&example=9&t=0.69&patch=99&block=-1&head=7")
    assert setting(tab) == {"example": 1, "t": 0.6, "patch": 15, "block": 0, "head": 2}


def test_play_goes_to_data_and_stops(alone):
    tab = alone(patches(), hash="#figure=patches&t=0")
    tab.get_by_role("button", name="Play").click()
    tab.get_by_text("t = 1.00", exact=True).wait_for()
    tab.get_by_text("t = 0.00", exact=True).wait_for()
    tab.get_by_role("button", name="Play").wait_for()


def test_who_wants_less_motion_gets_steps(alone):
    tab = alone(patches(), hash="#figure=patches&t=0.4", reduced_motion="reduce")
    tab.evaluate("() => { requestAnimationFrame = () => { throw new Error('a frame'); }; }")
    ts = []
    for _ in range(4):
        tab.get_by_role("button", name="Step").click()
        ts.append(setting(tab)["t"])
    np.testing.assert_allclose(ts, [0.2, 0, 1, 0.8])


def test_it_is_drawn_in_the_ink_of_its_theme_and_fits(alone):
    tab = alone(patches(), color_scheme="light")
    gates = tab.locator("canvas[role=img]")
    assert LIGHT in gates.evaluate(INK)
    tab.emulate_media(color_scheme="dark")
    tab.locator(".gen-figure[data-theme=dark]").wait_for()
    ink = gates.evaluate(INK)
    assert DARK in ink and LIGHT not in ink
    tab.set_viewport_size({"width": 360, "height": 800})
    tab.wait_for_function("document.querySelector('.gen-wide canvas').clientWidth < 360")
    box = tab.locator("canvas[tabindex]").bounding_box()
    assert abs(box["width"] - box["height"]) < 2 and box["x"] + box["width"] <= 360
    assert gates.bounding_box()["y"] > box["y"] + box["height"]


def test_a_finger_chooses_a_patch_and_scrolls_beside_the_line(alone):
    tab = alone(patches(), has_touch=True, viewport={"width": 380, "height": 800})
    tab.touchscreen.tap(*middle(tab, 12))
    assert setting(tab)["patch"] == 12
    t = setting(tab)["t"]
    tab.touchscreen.tap(*level(tab, 0.9))
    assert setting(tab)["t"] == t
    x, y = level(tab, t)
    tab.touchscreen.tap(x + 33, y)
    assert setting(tab)["t"] == 0.2


def test_python_changes_it_and_a_host_may_lack_the_rest(chromium):
    state = hands.state_of(patches())
    tab = chromium.new_page()
    tab.set_content("<div id=el style='width:700px'></div>")
    tab.evaluate(
        """async ([code, state]) => {
            for (const key of ["attention", "pictures"]) state[key] = Uint8Array.from(state[key]);
            const no = () => { throw new Error("not here"); };
            window.heard = {};
            const model = { get: (name) => state[name], set: no, off: no, save_changes: no,
                on: (event, listener) => (heard[event] = listener) };
            const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
            const { default: figure } = await import(url);
            figure.render({ model, el: document.getElementById("el") });
            window.state = state;
        }""",
        [standalone_page.module("figures/patch_lab"), state],
    )
    tab.evaluate("Object.assign(state, { patch: 1, t: 1 }); heard['change:patch']()")
    np.testing.assert_allclose(said(tab, "row"), row(0, 1, 1, 0, 1), atol=1e-9)
    tab.close()
