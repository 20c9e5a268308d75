"""LatentWalk: pictures arrive as they were, places and blends are right, a reader can walk."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cs231n_gen import data
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.viz import LatentWalk

walk = load_module(Path(__file__).parents[1] / "examples.py", "examples").walk
GRID = np.zeros((3, 4, 2, 5))
CORNERS = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
RGBA = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 16, 16).data]"


def noisy(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape)


def garments():
    return data.fashion_mnist("test", 16).x[:3, 0].numpy()


def within(figure):
    """How far a byte may be from its own: half a level, and the rounding of a byte."""
    return 255 / (figure.levels - 1) / 2 + 0.5 + 1e-9


# --- the mathematics ----------------------------------------------------------------------------


def test_pictures_arrive_as_they_were(node):
    """Heavy ones with fewer levels of grey; numbers and bytes; any shape."""
    bytes = np.arange(0, 240, 4, dtype=np.uint8).reshape(2, 5, 2, 3)
    sent = [noisy(2, 5, 3, 4), noisy(9, 9, 22, 22), bytes / 127.5 - 1]
    figures = [*map(LatentWalk, sent[:2]), LatentWalk(bytes)]
    assert [figure.levels for figure in figures] == [64, 32, 64]
    told = [{k: getattr(f, k) for k in ("pictures", "shape", "levels")} for f in figures]
    ask = "return given.all.map((one) => js.unpacked(one.pictures, one.shape, one.levels))"
    for figure, images, came in zip(
        figures, sent, node("math/image_grid", ask, all=told), strict=True
    ):
        np.testing.assert_allclose(came, (images.ravel() + 1) * 127.5, atol=within(figure))


def test_places_blends_and_the_way_round(node):
    ask = """
        const shape = [3, 4], extent = [[-1, 2], [0, 1]];
        const at = (u, v) => js.onGrid(extent, shape, u, v);
        const greys = Uint8Array.from(given.greys);
        const corners = given.corners;
        return {
            places: [[-1, 0], [2, 1], [0.5, 0.25], [9, -9]].map(([u, v]) => at(u, v)),
            shares: js.around([0.25, 1.5], shape),
            end: js.around([2, 3], shape),
            blends: given.places.map((place) => js.blend(greys, 2, js.around(place, shape))),
            way: [0, 0.5, 1, 1.5, 2.75].map((s) => js.onTriangle(corners, s)),
            back: [[0, 0], [0.5, -0.3], [1, 0], [0.6, 0.6], [-1, 0.25]]
                .map(([u, v]) => js.nearest(corners, u, v)),
        };
    """
    greys = np.random.default_rng(0).integers(0, 256, (3, 4, 2))
    places = np.random.default_rng(1).uniform(0, 1, (20, 2)) * [2, 3]
    given = {"greys": greys.ravel().tolist(), "places": places.tolist(), "corners": CORNERS}
    came = node("math/image_grid", ask, **given)
    assert came["places"] == [[0, 0], [2, 3], [0.5, 1.5], [0, 3]]
    assert came["shares"] == [[1, 0.375], [2, 0.375], [5, 0.125], [6, 0.125]]
    assert sum(share for at, share in came["end"] if at == 11) == 1
    hats = [np.maximum(0, 1 - abs(places[:, d, None] - np.arange(3 + d))) for d in (0, 1)]
    np.testing.assert_allclose(
        came["blends"], np.einsum("ni,nj,ijk->nk", *hats, greys), atol=0.5 + 1e-9
    )
    assert came["way"] == [[0, 0], [0.5, 0], [1, 0], [0.5, 0.5], [0, 0.25]]
    np.testing.assert_allclose(came["back"], [0, 0.5, 1, 1.5, 2.75])


# --- what comes in and what goes out ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"images": GRID[0]}, r"two rows and two columns or more, got \(4, 2, 5\)"),
        ({"images": GRID[:1]}, r"got \(1, 4, 2, 5\)"),
        ({"images": GRID[..., :0]}, r"got \(3, 4, 2, 0\)"),
        ({"images": GRID + np.nan}, "images must be finite"),
        ({"images": noisy(17, 17, 32, 32)}, "too much for a page: at most 26000"),
        ({"extent": (0, 1)}, r"two rising pairs, of u and of v, got \(0, 1\)"),
        ({"extent": ((0, 1), (1, 0))}, "two rising pairs"),
        ({"corners": CORNERS[:2]}, r"three places \(u, v\) in the extent"),
        ({"corners": [*CORNERS[:2], [0, 2]]}, "three places"),
        ({"corners": [*CORNERS[:2], [0, 0]]}, "three places"),
        ({"labels": ["one"]}, "three names, got 1"),
        ({"norms": np.ones((4, 3))}, r"finite numbers, \(3, 4\), got \(4, 3\)"),
        ({"norms": np.full((3, 4), np.inf)}, "norms must be finite"),
        ({"typical": -1}, "typical must be the norm of a latent, got -1"),
        ({"u": 1.5}, r"u and v must lie in the extent, got \[1.5, "),
        ({"v": np.nan}, "u and v must lie in the extent"),
    ],
)
def test_a_walk_that_cannot_be_taken_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        LatentWalk(**{"images": GRID, **arguments})


def test_it_begins_in_the_middle_of_its_corners():
    assert LatentWalk(GRID).u == pytest.approx(1 / 3)
    assert (LatentWalk(GRID, u=0, v=1).u, LatentWalk(GRID, u=0, v=1).v) == (0, 1)


def test_the_still_picture_goes_from_latent_to_latent():
    figure = walk().draw()
    shown = [ax.images[0].get_array() for ax in figure.axes[::4]]
    assert [ax.get_title() for ax in figure.axes[::4]] == ["boot", "pullover", "trousers", "boot"]
    for came, want in zip(shown, garments()[[0, 1, 2, 0]], strict=True):
        np.testing.assert_allclose(came, want, atol=1 / 63 + 1e-6)
    np.testing.assert_allclose(
        figure.axes[2].images[0].get_array(), garments()[:2].mean(0), atol=1 / 63 + 1e-6
    )
    plt.close(figure)


def test_a_page_weighs_less_than_60_kb():
    """17 × 17 pictures of 16 × 16 garments, bent as a net bends them, with norms."""
    v, u = np.meshgrid(np.linspace(-0.25, 1.25, 17), np.linspace(-0.25, 1.25, 17))
    shares = np.sin(2.2 * np.array([1 - u - v, u, v])) / np.sin(2.2)
    images = np.tanh(1.5 * np.einsum("kij,khw->ijhw", shares, garments()))
    figure = LatentWalk(images, extent=[[-0.25, 1.25]] * 2, norms=np.hypot(u, v), typical=8)
    assert len(figure.page().encode()) < 50_000
    assert len(figure.html().encode()) < 60_000


# --- in a browser -------------------------------------------------------------------------------


def where(tab):
    """The place that is written under the pictures."""
    said = tab.locator(".gen-says").inner_text()
    found = re.match(r"u = (\S+), v = (\S+): ‖z‖ = (\S+), typical 5.0", said)
    return [float(number.replace("−", "-")) for number in found.groups()]


def shown(tab):
    """Greys of the large picture."""
    return np.array(tab.locator(".gen-pixels canvas").evaluate(RGBA)[::4])


def garment(k):
    return (garments()[k].ravel() + 1) * 127.5


def screen(tab, u, v):
    """Where a place is on the screen: around the grid, half a thumbnail is left free."""
    box = tab.locator("canvas[tabindex]").bounding_box()
    x, y = (u + 0.5 + 0.125) / 2.25, (1.25 + 0.125 - v) / 1.75
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def test_dragged_to_a_latent_its_picture_is_seen(alone):
    tab = alone(walk(), viewport={"width": 900, "height": 700})
    tab.mouse.move(*screen(tab, *where(tab)[:2]))
    tab.mouse.down()
    tab.mouse.move(*screen(tab, 1, 0))
    tab.mouse.up()
    np.testing.assert_allclose(where(tab)[:2], [1, 0], atol=0.02)
    tab.get_by_role("button", name="pullover").click()
    np.testing.assert_allclose(shown(tab), garment(1), atol=within(walk()))
    assert where(tab) == [1, 0, 5]
    tab.get_by_role("button", name="Link").click()
    assert tab.evaluate("location.hash") == "#figure=walk&u=1&v=0"


def test_keys_do_all_that_a_pointer_does(alone):
    tab = alone(walk(), hash="#figure=walk&u=0.5&v=9")
    assert where(tab)[:2] == [0.5, 1.25], "a link is kept within the grid"
    tab.locator("canvas[tabindex]").focus()
    tab.keyboard.press("3")
    np.testing.assert_allclose(shown(tab), garment(2), atol=within(walk()))
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowDown"):
        tab.keyboard.press(key)
    np.testing.assert_allclose(where(tab)[:2], [0.25, 0.69], atol=0.006)
    assert tab.locator("[aria-live]").text_content().startswith("u = 0.25, v = 0.69: ‖z‖ = 4.9")
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Pause").wait_for()
    walks_on = "!document.querySelector('.gen-says').innerText.startsWith('u = 0.25, v = 0.69:')"
    tab.wait_for_function(walks_on)  # the first frame may come after the next key
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Play").wait_for()


def test_who_wants_less_motion_walks_in_steps(alone):
    tab = alone(walk(), hash="#figure=walk&u=0&v=0", reduced_motion="reduce")
    for k in range(1, 10):
        tab.get_by_role("button", name="Step").click()
        place = (k / 8, 0) if k <= 8 else (7 / 8, 1 / 8)
        np.testing.assert_allclose(where(tab)[:2], place, atol=0.006)


def test_a_finger_away_from_the_point_scrolls(alone):
    tab = alone(walk(), has_touch=True, viewport={"width": 380, "height": 800})
    before = where(tab)
    tab.touchscreen.tap(*screen(tab, 1.2, 1.0))
    assert where(tab) == before
    x, y = screen(tab, *before[:2])
    tab.touchscreen.tap(x + 20, y)
    assert where(tab) != before
