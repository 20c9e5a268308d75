"""FewSteps: blends, averages and curves as numpy says, and what a reader does."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cs231n_gen import consistency
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.viz import FewSteps, standalone_page

few = load_module(Path(__file__).parents[1] / "examples.py", "examples").few
hands = load_module(Path(__file__).parents[1] / "hands.py", "hands")
RANDOM = np.random.default_rng(0)
AXIS = np.linspace(-2, 2, 5)
Z = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)
IMAGES = RANDOM.standard_normal((4, 25, 2))
STUDENTS = {"one": {1: IMAGES[1]}, "two": {4: IMAGES[2], 2: IMAGES[3]}}
GIVEN = {"noises": Z, "exact": IMAGES[0], "students": STUDENTS}
CURVES = {"z": [-1.0, 0.0, 0.5], "exact": [-2.0, 0.1, 3.0], "one": [-2.0, 0.0, 4.0]}


def steps(**options):
    return FewSteps(**{**GIVEN, **options})


def halved(numbers):
    return np.asarray(numbers, "<f2").astype(float)


# --- the mathematics ----------------------------------------------------------------------------


def test_images_are_blends_of_four(node):
    """As those that Python blends: inside, on the grid, at its edge and beyond."""
    figure = steps(paths=IMAGES[2:])
    ask = """
        const grid = new js.NoiseGrid(2, 5);
        const tables = given.tables.map((one) => one.flat());
        return given.at.map((z) => tables.map((one) => js.imageOf(one, grid.shares(z))));
    """
    at = [*RANDOM.uniform(-2, 2, (20, 2)), Z[7], [2, -2], [2, 0.3], [-5, 9]]
    tables = halved([IMAGES[0], *IMAGES[2:], IMAGES[1], IMAGES[3], IMAGES[2]])
    came = node("math/noise_tables", ask, at=np.stack(at).tolist(), tables=tables.tolist())
    for z, images in zip(at, came, strict=True):
        found = figure.images(z)
        want = [found["exact"], *found["paths"], found["one 1"], found["two 2"], found["two 4"]]
        np.testing.assert_allclose(images, want, atol=1e-12)
    np.testing.assert_allclose(figure.images(Z[7])["two 4"], halved(IMAGES[2][7]))
    np.testing.assert_allclose(figure.images([-5, 9])["exact"], halved(IMAGES[0][4]))


def test_a_linear_map_is_not_changed_by_blending():
    found = few().images([0.37, -1.21])
    np.testing.assert_allclose(found["exact"], [0.5 + 0.185, -0.25 - 0.605], atol=2e-3)
    np.testing.assert_allclose(found["consistency 2"] - found["exact"], [0.03, 0.04], atol=2e-3)


def test_distances_on_average(node):
    ask = """
        const grid = new js.NoiseGrid(2, 5);
        const [exact, ...others] = given.tables.map((one) => one.flat());
        const weights = grid.weights();
        return others.map((one) => js.meanDistance(one, exact, weights));
    """
    tables = halved([IMAGES[0], IMAGES[1], IMAGES[3], IMAGES[2]])
    came = node("math/noise_tables", ask, tables=tables.tolist())
    found = steps().distances()
    np.testing.assert_allclose(came, [found["one"][1], found["two"][2], found["two"][4]])
    p = np.exp(-(Z**2).sum(1) / 2)
    np.testing.assert_allclose(
        came, np.linalg.norm(tables[1:] - tables[0], axis=-1) @ p / p.sum(), rtol=1e-9
    )
    assert few().distances()["direct"][1] == pytest.approx(0.1, abs=1e-3)
    assert few().distances()["consistency"][1] == pytest.approx(0.5, abs=1e-3)


def test_nearest_noises_and_the_widest_gap(node):
    ask = """
        const grid = new js.NoiseGrid(2, 5);
        return [grid.nearest(given.noises), js.widest(given.table.flat(), grid.shares([0.5, 0.5]))];
    """
    noises = [[0.4, -0.6], [-2.4, 2.4], [2.6, 0], [1.5001, 1.4999]]
    flat = np.ravel(noises).tolist()
    nearest, widest = node("math/noise_tables", ask, noises=flat, table=IMAGES[0].tolist())
    np.testing.assert_allclose(Z[nearest], [[0, -1], [-2, 2], [2, 1]])
    four = IMAGES[0].reshape(5, 5, 2)[2:4, 2:4].reshape(4, 2)
    assert widest == pytest.approx(np.linalg.norm(four[:, None] - four, axis=-1).max())


def test_a_smooth_line_goes_through_its_points(node):
    ask = "return [js.smoothLine(given.some, 4), js.smoothLine(given.straight, 4)]"
    some = RANDOM.standard_normal((5, 2))
    straight = np.linspace(0, 1, 4)[:, None] * [1.0, 2.0]
    given = {"some": some.tolist(), "straight": straight.tolist()}
    came, even = (np.reshape(one, (-1, 2)) for one in node("math/noise_tables", ask, **given))
    np.testing.assert_allclose(came[::4], some, atol=1e-12)
    np.testing.assert_allclose(even[:, 1], 2 * even[:, 0], atol=1e-12)
    np.testing.assert_allclose(even[4:9], np.linspace(1 / 3, 2 / 3, 5)[:, None] * [1, 2])


def test_heights_of_a_curve(node):
    ask = "return given.at.map((z) => js.heightAt(given.over, given.curve, z))"
    over, curve = np.sort(RANDOM.uniform(-2, 2, 9)), RANDOM.standard_normal(9)
    at = [*RANDOM.uniform(-2, 2, 30), -9, 9, *over]
    given = {"at": np.array(at).tolist(), "over": over.tolist(), "curve": curve.tolist()}
    came = node("math/noise_tables", ask, **given)
    np.testing.assert_allclose(came, np.interp(at, over, curve), atol=1e-12)


# --- what comes in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"noises": Z[:-1]}, r"square grid, \(n², 2\) with n from 3 to 121, got \(24, 2\)"),
        ({"noises": Z[:4]}, r"got \(4, 2\)"),
        ({"noises": Z[:, :1]}, r"got \(25, 1\)"),
        ({"noises": 3.0}, r"got \(\)"),
        ({"noises": Z + 0.5}, "around the origin, evenly spaced"),
        ({"noises": Z**3}, "evenly spaced"),
        ({"noises": 0 * Z}, "evenly spaced"),
        ({"noises": Z * np.nan}, "evenly spaced"),
        ({"noises": np.where(Z == 2, np.inf, Z)}, "evenly spaced"),
        ({"noises": np.concatenate([Z[:-1], Z[:1]])}, "evenly spaced"),
        ({"exact": IMAGES[0][:9]}, r"exact must be an image .* \(25, 2\), finite, got \(9, 2\)"),
        ({"exact": IMAGES[0] + np.inf}, "exact must be .* finite"),
        ({"students": {}}, "students must be one to 10, got 0"),
        ({"students": {f"{k}": {1: IMAGES[1]} for k in range(11)}}, "one to 10, got 11"),
        ({"students": {"exact": {1: IMAGES[1]}}}, "none can be called 'exact'"),
        ({"students": {"": {1: IMAGES[1]}}}, "students must have names"),
        ({"students": {"a": IMAGES[1]}}, r"students\['a'\] must be tables .* got ndarray"),
        ({"students": {"a": {}}}, r"whole numbers of calls, as in \{1: …\}, got dict"),
        ({"students": {"a": {0: IMAGES[1]}}}, r"got \[0\]"),
        ({"students": {"a": {1.5: IMAGES[1]}}}, r"got \[1.5\]"),
        ({"students": {"a": {True: IMAGES[1]}}}, r"got \[True\]"),
        ({"students": {"a": {2: IMAGES[1][1:]}}}, r"students\['a'\]\[2\] must be .* got \(24, 2\)"),
        ({"loose": {"three": 1}}, r"names of students, .* got \{'three': 1\}"),
        ({"loose": {"one": 0}}, "loose must be numbers of calls"),
        ({"loose": {"one": 1.5}}, "loose must be numbers of calls"),
        ({"paths": IMAGES[0]}, r"paths must be finite numbers, \(levels, 25, 2\), got \(25, 2\)"),
        ({"paths": IMAGES[:1] * np.nan}, "paths must be finite"),
        ({"data": np.zeros((3, 3))}, r"data must be finite points, \(n, 2\), got \(3, 3\)"),
        ({"quantiles": {"z": [0, 1]}}, r"quantiles must have 'z' and 'exact', got \['z'\]"),
        ({"quantiles": {**CURVES, "z": [0, 0, 1]}}, "2 to 401 rising noises"),
        ({"quantiles": {**CURVES, "z": [0, np.nan, 1]}}, "rising noises"),
        ({"quantiles": {**CURVES, "z": [[0, 1, 2]]}}, r"rising noises, .* got \(1, 3\)"),
        ({"quantiles": {**CURVES, "one": [0, 1]}}, r"quantiles\['one'\] must be 3 finite numbers"),
        ({"quantiles": {**CURVES, "exact": [0, 1, np.nan]}}, r"quantiles\['exact'\] must be"),
        ({"quantiles": CURVES | {f"{k}": [0, 1, 2] for k in range(10)}}, "at most 10 .* got 11"),
        ({"quantiles": CURVES, "line": 0.6}, "line must be from -1 to 0.5, got 0.6"),
        ({"z": (0, 2.1)}, r"z must be two numbers from -2 to 2, got \[0.0, 2.1\]"),
        ({"z": (0, np.nan)}, "z must be two numbers"),
        ({"z": (0, 1, 1)}, "z must be two numbers"),
        ({"calls": 3}, r"calls must be one of \[1, 2, 4\], got 3"),
        ({"shown": ["three"]}, r"names among \['one', 'two'\], got 'three'"),
        ({"crowd": "three"}, r"one of \['exact', 'one', 'two'\], got 'three'"),
        ({"extent": 0}, "extent must be a positive number, got 0"),
    ],
)
def test_steps_that_cannot_be_shown_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        steps(**arguments)


def grid(side):
    axis = torch.linspace(-3, 3, side)
    return torch.cartesian_prod(axis, axis)


def test_what_is_too_much_for_a_page_is_refused():
    z = grid(61)
    with pytest.raises(ValueError, match="too many for a page: at most 130000, so pass fewer"):
        FewSteps(z, z, {f"{k}": {1: z, 2: z} for k in range(9)})


def test_a_page_weighs_less_than_400_kb():
    """The most that is taken, of numbers that cannot be packed."""
    z = grid(41)
    random = torch.Generator().manual_seed(0)

    def any_images():
        return torch.randn(len(z), 2, generator=random)

    students = {f"{k}": {n: any_images() for n in (1, 2, 4)} for k in range(10)}
    figure = FewSteps(z, any_images(), students, paths=torch.stack([any_images()] * 7))
    assert len(figure.html().encode()) < 400_000


# --- what goes out ------------------------------------------------------------------------------


def test_noises_come_in_any_order():
    """A grid of the other order, and a shuffled one, in half precision: the same tables."""
    order = RANDOM.permutation(25)
    tables = {name: {k: v[order] for k, v in one.items()} for name, one in STUDENTS.items()}
    paths = IMAGES[2:, order]
    mixed = steps(noises=Z[order], exact=IMAGES[0][order], students=tables, paths=paths)
    assert mixed.tables == steps(paths=IMAGES[2:]).tables
    swapped = np.arange(25).reshape(5, 5).T.ravel()
    tables = {name: {k: v[swapped] for k, v in one.items()} for name, one in STUDENTS.items()}
    exact = torch.tensor(IMAGES[0][swapped], requires_grad=True).detach()
    other = FewSteps(torch.tensor(Z[swapped]).half(), exact, tables)
    assert other.tables == steps().tables
    assert FewSteps(grid(41), grid(41), {"a": {1: grid(41)}}).grid == [3, 41], "float32"


def test_what_is_sent():
    figure = steps(quantiles=CURVES, data=np.arange(1000).reshape(500, 2), paths=IMAGES[2:])
    sent = np.frombuffer(figure.tables, "<f2").reshape(-1, 25, 2)
    # exact, paths, then students, by their calls
    np.testing.assert_array_equal(sent, halved(IMAGES[[0, 2, 3, 1, 3, 2]]))
    one, two = {"name": "one", "calls": [1]}, {"name": "two", "calls": [2, 4]}
    assert figure.students == [{**one, "loose": 0}, {**two, "loose": 0}]
    assert steps(loose={"two": 4}).students == [{**one, "loose": 0}, {**two, "loose": 4}]
    columns = {name: np.array(curve)[:, None] for name, curve in CURVES.items()}
    assert steps(quantiles=columns).curves == figure.curves
    assert len(figure.data) == 400 * 2 * 2
    assert (figure.curve_names, figure.curve_noises) == (["exact", "one"], [-1, 0, 0.5])
    assert (figure.calls, figure.shown, figure.z) == (1, [1, 1], [-0.9, 0.6])
    assert steps(shown=["two"], calls=4).shown == [0, 1]


def test_new_noise_is_the_same_for_every_noise_of_the_grid():
    """Sampled as the docstring says: 0 from the model leaves (z + ε) / 2 after two calls."""
    torch.manual_seed(0)
    z = torch.tensor(Z)

    def two_calls(z):
        return consistency.sample(lambda x_t, t: 0 * x_t, z[None], 2)[0]

    x = torch.vmap(two_calls, randomness="same")(z)
    drawn = 2 * x - z
    torch.testing.assert_close(drawn, drawn[:1].expand_as(z))
    assert (drawn[0].abs() > 0).all()


def test_a_link_holds_the_whole_setting():
    figure = steps(quantiles=CURVES)
    figure.open_link("#figure=few-steps&z=0.5,-1&calls=2&shown=0,1&crowd=two&line=-0.3")
    now = (figure.z, figure.calls, figure.shown, figure.crowd, figure.line)
    assert now == ([0.5, -1], 2, [0, 1], "two", -0.3)
    assert figure.link() == "#figure=few-steps&z=0.5,-1&calls=2&shown=0,1&crowd=two&line=-0.3"
    assert figure.start["calls"] == 1, "again leads to where Python began"


def test_the_still_picture_shows_the_same():
    figure = steps(quantiles=CURVES, paths=IMAGES[2:], calls=2, z=(0.2, -0.7))
    still = figure.draw()
    plane, errors, line = still.axes
    found = figure.images([0.2, -0.7])
    path, exact, two, noise = (one.get_xydata() for one in plane.lines)
    np.testing.assert_allclose(path, np.stack([[0.2, -0.7], *found["paths"], found["exact"]]))
    np.testing.assert_allclose(exact[0], found["exact"])
    np.testing.assert_allclose(two[0], found["two 2"])
    np.testing.assert_allclose(noise[0], [0.2, -0.7])
    drawn = {one.get_label(): one.get_xydata() for one in errors.lines}
    np.testing.assert_allclose(drawn["two"], [*map(list, figure.distances()["two"].items())])
    np.testing.assert_allclose(line.lines[0].get_ydata(), CURVES["exact"], atol=2e-3)
    assert len(steps().draw().axes) == 2, "nothing is on the line"
    plt.close("all")


# --- in a browser -------------------------------------------------------------------------------

INK = """canvas => {
    const pen = canvas.getContext("2d"), { width, height } = canvas;
    const pixels = pen.getImageData(0, 0, width, height).data, counts = {};
    for (let i = 0; i < pixels.length; i += 4) {
        if (pixels[i + 3] < 250) continue;
        const key = [...pixels.slice(i, i + 3)].join();
        counts[key] = (counts[key] ?? 0) + 1;
    }
    return counts;
}"""
VERMILION, PURPLE, SKY = "213,94,0", "204,121,167", "86,180,233"  # of the first three students
LIGHT, DARK = "31,35,40", "240,246,252"  # the ink of both themes


def numbers(text):
    return np.array([float(v) for v in re.split("[,;]", text)])


def said(tab, name):
    return numbers(tab.locator(f"[data-{name}]").get_attribute(f"data-{name}"))


def setting(tab):
    """The setting that the button puts into the address."""
    tab.get_by_role("button", name=re.compile("Link|Copied")).click()
    return dict(word.split("=") for word in tab.evaluate("location.hash").split("&")[1:])


def screen(tab, x, y, extent=3.2):
    canvas = tab.locator("canvas[tabindex]").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    scale = box["width"] / (2 * extent)
    return box["x"] + (x + extent) * scale, box["y"] + (extent - y) * scale


def on_line(tab, z):
    canvas = tab.locator("canvas[tabindex]").nth(1)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x = box["x"] + 30 + (z + 3) / 6 * (box["width"] - 54)
    return x, box["y"] + box["height"] / 2


def drag(tab, start, end):
    tab.mouse.move(*start)
    tab.mouse.down()
    tab.mouse.move(*np.add(start, end) / 2)
    tab.mouse.move(*end)
    tab.mouse.up()


def cells(tab):
    """The distances in the table, by student."""
    rows = tab.locator("tbody tr").all()
    return {
        row.locator("th").inner_text().strip(): row.locator("td").all_inner_texts() for row in rows
    }


def test_a_noise_that_is_dragged_is_put_where_python_says(alone):
    tab = alone(few(), viewport={"width": 1000, "height": 900})
    drag(tab, screen(tab, -0.9, 0.6), screen(tab, 1.3, -0.4))
    z = numbers(setting(tab)["z"])
    np.testing.assert_allclose(z, [1.3, -0.4], atol=0.03)
    found = few().images(said(tab, "z"))
    np.testing.assert_allclose(said(tab, "z"), z, atol=1e-4)
    np.testing.assert_allclose(said(tab, "exact"), found["exact"], atol=1e-9)
    want = [found[name] for name in ("teacher 1", "direct 1", "consistency 1")]
    np.testing.assert_allclose(said(tab, "landed"), np.ravel(want), atol=1e-9)
    apart = {name: np.linalg.norm(found[name] - found["exact"]) for name in list(found)[2:]}
    shown = cells(tab)
    teacher = [f"{apart[f'teacher {n}']:.2f}" for n in (1, 2, 4)]
    assert shown["teacher"][:3] == [*teacher[:2], f"{teacher[2]}*"]
    assert shown["direct"] == ["0.10", "–", "–", "0.10"]
    assert shown["consistency"] == ["0.50", "0.05", "–", "0.50"]
    text = tab.locator("[data-exact]").inner_text()
    assert "With 1 call, direct is 0.10 away and teacher" in text
    assert tab.locator("[aria-live]").text_content().startswith("The exact flow takes z = (1.")


def test_a_noise_stays_on_the_grid(alone):
    tab = alone(few(), viewport={"width": 1000, "height": 900})
    drag(tab, screen(tab, -0.9, 0.6), screen(tab, 3.15, 3.15))
    assert setting(tab)["z"] == "3,3"


def test_calls_are_chosen_and_who_has_none_is_not_shown(alone):
    tab = alone(few(), hash="#figure=few&z=1,-1")
    tab.get_by_role("button", name="2 calls").click()
    found = few().images([1, -1])
    want = [found["teacher 2"], found["consistency 2"]]
    np.testing.assert_allclose(said(tab, "landed"), np.ravel(want), atol=1e-9)
    assert cells(tab)["consistency"] == ["0.50", "0.05", "–", "0.05"]
    assert cells(tab)["direct"] == ["0.10", "–", "–", "–"]
    pressed = tab.locator("button[aria-pressed=true]").all_inner_texts()
    assert pressed == ["2 calls"] and setting(tab)["calls"] == "2"
    tab.get_by_role("button", name="4 calls").click()
    tab.get_by_role("checkbox", name="teacher").uncheck()
    assert "No student is shown with 4 calls" in tab.locator("[data-exact]").inner_text()


def test_who_need_not_be_near_is_marked(alone):
    said = "draws new noise on its way"
    assert not alone(steps()).get_by_text(said).count()
    tab = alone(steps(loose={"two": 4}), hash="#figure=few-steps&calls=4")
    assert tab.get_by_text(said).count() == 1
    assert [cell.endswith("*") for cell in cells(tab)["two"]] == [False, False, True, True]
    tab.get_by_role("button", name="2 calls").click()
    assert [cell.endswith("*") for cell in cells(tab)["two"]] == [False, False, True, False]
    assert not any(cell.endswith("*") for cell in cells(tab)["one"])


def test_students_are_switched_off_and_on(alone):
    tab = alone(few(), hash="#figure=few&crowd=")
    front = tab.locator("canvas[tabindex]").first
    line = tab.locator("canvas[tabindex]").nth(1)
    ink, curves = front.evaluate(INK), line.evaluate(INK)
    assert min(ink.get(color, 0) for color in (VERMILION, PURPLE, SKY)) > 20
    tab.get_by_role("checkbox", name="direct").uncheck()
    assert setting(tab)["shown"] == "1,0,1"
    assert PURPLE not in front.evaluate(INK)
    assert line.evaluate(INK).get(PURPLE, 0) < curves[PURPLE] / 4
    assert len(said(tab, "heights")) == 2
    tab.get_by_role("checkbox", name="direct").check()
    tab.mouse.move(1, 1)  # the row that is pointed at stands out
    assert front.evaluate(INK) == ink


def test_a_row_that_is_pointed_at_stands_out(alone):
    tab = alone(few(), hash="#figure=few&crowd=&calls=2")
    front = tab.locator("canvas[tabindex]").first
    before = front.evaluate(INK)
    tab.locator("tbody tr").first.hover()
    assert front.evaluate(INK)[VERMILION] > 1.3 * before[VERMILION]
    tab.mouse.move(1, 1)
    assert front.evaluate(INK) == before


def test_a_crowd_is_what_the_table_holds(alone):
    """Samples at noises of the grid, in the colour of whose they are."""
    tab = alone(few(), viewport={"width": 1000, "height": 900})
    back = tab.locator("canvas[aria-hidden]").first
    assert back.evaluate(INK), "the example begins with a crowd"
    assert setting(tab)["crowd"] == "consistency"
    pixel = """(canvas, [x, y]) => {
        const at = [x, y].map((v) => Math.round((v * canvas.width) / 6.4));
        return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
    }"""
    # 0 is the likeliest noise of the grid, so somebody's sample is its image
    place = [3.2 + 0.5 + 0.3, 3.2 + 0.25 - 0.4]
    red, green, blue, _ = back.evaluate(pixel, place)
    assert abs(np.array([red, green, blue]) - [86, 180, 233]).max() < 30
    tab.get_by_label("samples").select_option("")
    assert setting(tab)["crowd"] == ""
    np.testing.assert_array_equal(back.evaluate(pixel, place)[3], 0)


def test_keys_do_all_that_a_pointer_does(alone):
    tab = alone(few(), hash="#figure=few&z=0.5,0.5")
    canvas = tab.locator("canvas[tabindex]").first
    canvas.focus()
    for key in ("ArrowRight", "Shift+ArrowUp", "2"):
        tab.keyboard.press(key)
    now = setting(tab)
    assert (now["z"], now["calls"]) == ("0.6,1", "2")
    canvas.focus()
    tab.keyboard.press("3")
    assert setting(tab)["calls"] == "2", "nobody was sampled with three calls"
    canvas.focus()
    tab.keyboard.press("n")
    assert setting(tab)["z"] != "0.6,1"
    canvas.focus()
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Pause").wait_for()
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Play").wait_for()
    tab.keyboard.press("0")
    now = setting(tab)
    assert (now["z"], now["calls"], now["shown"]) == ("-0.9,0.6", "1", "1,1,1")


def test_a_noise_on_the_line_is_dragged_and_pressed(alone):
    tab = alone(few(), viewport={"width": 1000, "height": 900})
    drag(tab, on_line(tab, 0.4), on_line(tab, 1.7))
    z = float(setting(tab)["line"])
    assert z == pytest.approx(1.7, abs=0.03)
    over = np.array(few().curve_noises)
    curves = np.frombuffer(few().curves, "<f2").reshape(-1, len(over)).astype(float)
    want = [np.interp(z, over, one) for one in curves]
    np.testing.assert_allclose(said(tab, "heights"), want, atol=1e-3)
    text = tab.locator("[data-heights]").inner_text()
    assert re.match(
        r"z = 1\.\d+ goes to x = 0\.\d+, .* Students: direct 0\.\d+, GAN 0\.\d+\.", text
    )
    tab.locator("canvas[tabindex]").nth(1).focus()
    tab.keyboard.press("ArrowLeft")
    assert float(setting(tab)["line"]) == pytest.approx(z - 0.1, abs=2e-4)
    tab.locator("canvas[tabindex]").nth(1).focus()
    for _ in range(15):
        tab.keyboard.press("Shift+ArrowRight")
    assert setting(tab)["line"] == "3", "it stays where curves are"


def test_without_curves_there_is_no_line(alone):
    tab = alone(steps())
    assert tab.locator("canvas[tabindex]").count() == 1
    assert tab.locator(".gen-figure").get_attribute("data-ready")


def test_where_neighbours_part_it_is_said(alone):
    torn = np.where(Z[:, :1] > 0, [2.0, 0], [-2.0, 0])
    tab = alone(steps(exact=torn), hash="#figure=few-steps&z=0.5,0.5")
    text = tab.locator("[data-exact]").inner_text()
    assert "to (0.00, 0.00)" in text and "noises 1.00 apart end up to 4.00 apart" not in text
    fine = torch.where(grid(41)[:, :1] > 0, 2.0, -2.0).expand(-1, 2)
    tab = alone(FewSteps(grid(41), fine, {"a": {1: fine}}), hash="#figure=few-steps&z=0.05,1")
    assert "noises 0.15 apart end up to 5.66 apart" in tab.locator("[data-exact]").inner_text()


def test_a_link_is_kept_within_its_bounds(alone):
    tab = alone(few(), hash="#figure=few&z=-9,9&calls=3&shown=0,1,0&crowd=nobody&line=8")
    want = {"z": "-3,3", "calls": "2", "shown": "0,1,0", "crowd": "", "line": "3"}
    assert setting(tab) == want


def test_play_goes_round_and_less_motion_gets_steps(alone):
    tab = alone(few(), hash="#figure=few&z=1,0")
    tab.get_by_role("button", name="Play").click()
    tab.wait_for_function("document.querySelector('[data-z]').dataset.z !== '1,0'")
    tab.get_by_role("button", name="Pause").click()
    assert np.linalg.norm(said(tab, "z")) == pytest.approx(1)
    tab = alone(few(), hash="#figure=few&z=1,0", reduced_motion="reduce")
    tab.evaluate("() => { requestAnimationFrame = () => { throw new Error('a frame'); }; }")
    tab.get_by_role("button", name="Step").click()
    np.testing.assert_allclose(said(tab, "z"), [np.cos(np.pi / 8), np.sin(np.pi / 8)], atol=1e-9)


def test_it_is_drawn_in_the_ink_of_its_theme_and_fits(alone):
    tab = alone(few(), color_scheme="light")
    front = tab.locator("canvas[tabindex]").first
    assert LIGHT in front.evaluate(INK)
    tab.emulate_media(color_scheme="dark")
    tab.locator(".gen-figure[data-theme=dark]").wait_for()
    ink = front.evaluate(INK)
    assert DARK in ink and LIGHT not in ink
    tab.set_viewport_size({"width": 360, "height": 800})
    tab.wait_for_function("document.querySelector('.gen-plane').clientWidth < 360")
    box = front.bounding_box()
    assert abs(box["width"] - box["height"]) < 2 and box["x"] + box["width"] <= 360
    assert tab.locator("table").bounding_box()["y"] > box["y"] + box["height"]


def test_long_names_are_text_and_fit_a_phone(alone):
    names = [f"a student with a rather long name, <b>{k}</b> & more" for k in range(10)]
    figure = steps(students={name: {1: IMAGES[1], 2: IMAGES[2]} for name in names})
    tab = alone(figure, viewport={"width": 360, "height": 800})
    assert tab.locator("html").evaluate("html => html.scrollWidth <= html.clientWidth")
    assert [*cells(tab)] == names
    tab.get_by_label("samples").select_option(names[3])
    figure.open_link(setting(tab)["crowd"].join(["#figure=few-steps&crowd=", ""]))
    assert figure.crowd == names[3]


def test_a_finger_away_from_the_noise_scrolls(alone):
    tab = alone(few(), has_touch=True, viewport={"width": 380, "height": 800})
    before = said(tab, "z")
    tab.touchscreen.tap(*screen(tab, 2, -2))
    np.testing.assert_array_equal(said(tab, "z"), before)
    tab.touchscreen.tap(*screen(tab, -0.6, 0.6))
    np.testing.assert_allclose(said(tab, "z"), [-0.6, 0.6], atol=0.03)


def test_python_changes_it_and_a_host_may_lack_the_rest(chromium):
    tab = chromium.new_page()
    tab.set_content("<div id=el style='width:700px'></div>")
    tab.evaluate(
        """async ([code, state]) => {
            for (const key of ["tables", "data", "curves"]) {
                state[key] = Uint8Array.from(state[key]);
            }
            const no = () => { throw new Error("not here"); };
            window.heard = {};
            const model = { get: (name) => state[name], set: no, off: no, save_changes: no,
                on: (event, listener) => (heard[event] = listener) };
            const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
            const { default: figure } = await import(url);
            figure.render({ model, el: document.getElementById("el") });
            window.state = state;
        }""",
        [standalone_page.module("figures/few_steps"), hands.state_of(few())],
    )
    tab.evaluate(
        "Object.assign(state, { z: [1, 2], calls: 2, shown: [0, 0, 1] }); heard['change:z']()"
    )
    np.testing.assert_allclose(
        said(tab, "landed"), few().images([1, 2])["consistency 2"], atol=1e-9
    )
    tab.close()
