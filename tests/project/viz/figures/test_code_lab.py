"""CodeLab: the decoder as torch has it, codes that are exchanged, and what comes next."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.given.blocks import NormSiLU, ResidualBlock
from cs231n_gen.given.unet import SelfAttention
from cs231n_gen.latent_nets import Decoder
from cs231n_gen.viz import CodeLab, standalone_page
from cs231n_gen.viz.decoder_weights import decode, decoder_layers

examples = load_module(Path(__file__).parents[1] / "examples.py", "examples")
hands = load_module(Path(__file__).parents[1] / "hands.py", "hands")
codes, any_decoder = examples.codes, examples.any_decoder
RANDOM = np.random.default_rng(0)
BOOK = RANDOM.standard_normal((9, 4)).astype(np.float16).astype(float)
GRIDS = RANDOM.integers(0, 9, (2, 16))
LOOKS = RANDOM.uniform(-1, 1, (9, 4, 4))
CHANCES = RANDOM.dirichlet(np.ones(9), (2, 16))
SMALL = any_decoder(latent=4, width=8)
GIVEN = {"decoder": SMALL.state_dict(), "codes": BOOK, "grids": GRIDS, "looks": LOOKS}


def lab(**options):
    return CodeLab(**{**GIVEN, **options})


def state(**sizes):
    """Weights as a figure gets them."""
    return Decoder(**sizes).state_dict()


@torch.no_grad()
def images(net, book, tokens):
    """What torch decodes, (examples, height, width)."""
    side = round(tokens.shape[-1] ** 0.5)
    z = torch.as_tensor(book)[torch.as_tensor(tokens)].unflatten(1, (side, side))
    return net(z.permute(0, 3, 1, 2).double())[:, 0].numpy()


# --- the decoder --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ({"latent": 16}, 8),
        ({"latent": 4, "width": 8}, 3),
        ({"latent": 3, "width": 16}, 8),
        ({"latent": 1, "width": 8}, 2),
    ],
)
def test_images_are_those_of_the_decoder(node, sizes, side):
    """In node and in numpy, to rounding; on even and odd sides, and several widths."""
    net = any_decoder(**sizes)
    z = torch.randn(2, net.latent, side, side, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        right = net(z)[:, 0].numpy()
    found, numbers = decoder_layers(net.state_dict())
    rows = z.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(decode(found, numbers, rows), right, atol=1e-12)
    ask = """
        const decoder = new js.CodeDecoder(Float64Array.from(given.numbers), given.sizes);
        return given.rows.map((one) => decoder.decode(Float64Array.from(one.flat(2)), given.side));
    """
    told = {"numbers": numbers.tolist(), "sizes": found, "rows": rows.tolist(), "side": side}
    came = node("math/code_decoder", ask, **told)
    np.testing.assert_allclose(np.reshape(came, right.shape), right, atol=1e-12)
    assert right.std() > 0.05, "there is something to see"


def test_half_precision_costs_less_than_a_grey(node):
    """A decoder of full precision beside what the browser makes of the bytes that travel."""
    net, random = any_decoder(latent=16).float(), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1 + 0.01 * torch.rand(p.shape, generator=random))
    book = torch.randn(30, 16, generator=random)
    tokens = torch.randint(0, 30, (3, 64), generator=random)
    figure = CodeLab(net.state_dict(), book, tokens, np.zeros((30, 4, 4)))
    ask = """
        const numbers = Float32Array.from(given.numbers), book = Float32Array.from(given.book);
        const decoder = new js.CodeDecoder(numbers, given.sizes);
        return given.tokens.map((one) => {
            const rows = new Float64Array(64 * 16);
            one.forEach((code, p) => rows.set(book.subarray(16 * code, 16 * (code + 1)), 16 * p));
            return decoder.decode(rows, 8);
        });
    """
    told = {
        "numbers": np.frombuffer(figure.decoder, "<f2").astype(float).tolist(),
        "book": np.frombuffer(figure.codes, "<f2").astype(float).tolist(),
        "sizes": figure.sizes,
        "tokens": tokens.tolist(),
    }
    came = np.reshape(node("math/code_decoder", ask, **told), (3, 32, 32))
    right = images(net.double(), book, tokens)
    assert abs(came - right).max() < 4e-3 and abs(came - right).mean() < 1e-3
    figure.example = 2
    np.testing.assert_allclose(figure.images(tokens[1])[0], came[2], atol=1e-12)
    np.testing.assert_allclose(figure.images(tokens[1])[1], came[1], atol=1e-12)


def test_each_layer_is_that_of_torch(node):
    """So that a wrong one is found by its name."""
    random = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=random).double()

    h = draw(1, 16, 6, 6)
    rows = h[0].flatten(1).T
    norm, block, attention = NormSiLU(16).double(), ResidualBlock(16).double(), SelfAttention(16)
    with torch.no_grad():
        for layer in (norm, block, attention.double()):
            for p in layer.parameters():
                p.copy_(draw(*p.shape) / max(1, p[0].numel()) ** 0.5)
        triple = attention.query_key_value(h)
        q, k, v = triple.reshape(3, 4, 4, 36).transpose(-1, -2)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        want = {
            "normed": norm(h),
            "seen": torch.nn.functional.unfold(h, 3, padding=1).reshape(16, 9, 36).transpose(0, 1),
            "attended": mixed.transpose(-1, -2),
            "shuffled": torch.nn.functional.pixel_shuffle(h, 2),
        }
    ask = """
        const rows = Float64Array.from(given.rows.flat());
        const norm = { weight: given.weight, bias: given.bias };
        return {
            normed: js.silu(js.groupNorm(rows, norm, 1e-6)),
            seen: js.neighbours(rows, 6, 16),
            attended: js.attended(Float64Array.from(given.triple.flat()), 16),
            shuffled: js.shuffled(rows, 6, 16),
        };
    """
    told = {
        "rows": rows,
        "triple": triple[0].flatten(1).T,
        "weight": norm.weight,
        "bias": norm.bias,
    }
    came = node("math/code_decoder", ask, **{k: v.tolist() for k, v in told.items()})
    for name, right in want.items():
        places = 144 if name == "shuffled" else 36
        right = right.reshape(-1, places).T
        np.testing.assert_allclose(np.reshape(came[name], right.shape), right, atol=1e-12)


@pytest.mark.parametrize(("rows", "outs"), [(6, 8), (4, 4), (5, 8), (6, 1), (2, 6), (1, 1)])
def test_products_of_every_size(node, rows, outs):
    a, w, bias = (
        RANDOM.standard_normal((rows, 7)),
        RANDOM.standard_normal((outs, 7)),
        np.arange(outs),
    )
    ask = """return js.product(Float64Array.from(given.a.flat()),
        { w: given.w.flat(), bias: given.bias, inner: 7, outs: given.bias.length })"""
    came = node("math/products", ask, a=a.tolist(), w=w.tolist(), bias=bias.tolist())
    np.testing.assert_allclose(np.reshape(came, (rows, outs)), a @ w.T + bias, atol=1e-12)


# --- grids --------------------------------------------------------------------------------------


def test_edits_as_text(node):
    ask = """
        return given.texts.map((text) => {
            const edits = js.readEdits(text, 4, 9);
            return [js.writeEdits(edits, given.original), js.withEdits(given.original, edits)];
        });
    """
    original = [3, 1, 4, 1]
    came = {
        "": ("", [3, 1, 4, 1]),
        "2-0": ("2-0", [3, 1, 0, 1]),
        "3-8.0-2": ("0-2.3-8", [2, 1, 4, 8]),
        "1-1.2-4": ("", [3, 1, 4, 1]),  # what was there anyway
        "1-5.1-6": ("1-6", [3, 6, 4, 1]),  # the last one counts
        "4-1.1-9.x.-.1--2.1-2-3.0x1-1. 1-5": ("", [3, 1, 4, 1]),
    }
    found = node("math/code_grids", ask, texts=[*came], original=original)
    assert [tuple(one) for one in found] == [*came.values()]
    for text, (_, right) in came.items():
        figure = lab(grids=np.array([original]), codes=BOOK)
        figure.edits = text
        assert figure.edited().tolist() == right, "Python reads a link likewise"


def test_orders_of_codes(node):
    ask = """
        const book = Float32Array.from(given.book.flat());
        return {
            similar: js.bySimilarity(book, 4, 3),
            bright: js.byBrightness(Uint8Array.from(given.looks.flat(2)), 16),
            first: js.withFirst([5, 2], [0, 1, 2, 3, 4, 5, 6]),
        };
    """
    looks = np.frombuffer(lab().looks, np.uint8).reshape(9, 16)
    came = node("math/code_grids", ask, book=BOOK.tolist(), looks=looks.tolist())
    assert came["similar"] == np.linalg.norm(BOOK - BOOK[3], axis=1).argsort().tolist()
    assert came["bright"] == looks.sum(1, dtype=int).argsort(kind="stable").tolist()
    assert came["first"] == [5, 2, 0, 1, 3, 4, 6]


def test_where_an_image_changed(node):
    ask = "return given.places.map((places) => js.whereChanged(given.change, 4, places))"
    change = RANDOM.standard_normal((16, 16))
    places = [[5], [0], [0, 15], [6, 7]]
    came = node("math/code_grids", ask, change=change.ravel().tolist(), places=places)
    squares = np.square(change).reshape(4, 4, 4, 4).sum((1, 3))
    rows, columns = np.indices((4, 4))
    for chosen, parts in zip(places, came, strict=True):
        off = [np.maximum(abs(rows - p // 4), abs(columns - p % 4)) for p in chosen]
        least = np.min(off, axis=0)
        want = [squares[least == 0].sum(), squares[least == 1].sum(), squares[least > 1].sum()]
        np.testing.assert_allclose([*parts.values()], np.array(want) / squares.sum(), rtol=1e-9)
    still = node("math/code_grids", ask, change=[0.0] * 256, places=[[5]])
    assert still == [{"own": 0, "around": 0, "farther": 0}]


def test_what_stands_for_codes_that_are_not_known(node):
    ask = "return js.meanLatent(given.grids.flat(), given.book.flat(), 4)"
    came = node("math/code_grids", ask, grids=GRIDS.tolist(), book=BOOK.tolist())
    np.testing.assert_allclose(came, BOOK[GRIDS].mean((0, 1)), atol=1e-12)


# --- what comes in and what goes out ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"decoder": {}}, r"of a latent_nets.Decoder, 32 arrays, got 0"),
        ({"decoder": [np.zeros((16, 4))]}, r"got 1, the first of shape \(16, 4\)"),
        ({"decoder": [*SMALL.state_dict().values()][:-2]}, "32 arrays, got 30"),
        (
            {"decoder": state(latent=4, width=8, channels=3)},
            r"for images of one channel, got \(3, ",
        ),
        ({"decoder": [*SMALL.state_dict().values()][::-1]}, r"got 32, the first of shape \(1,\)"),
        ({"decoder": {k: v * np.nan for k, v in SMALL.state_dict().items()}}, "finite weights"),
        ({"decoder": state(latent=4, width=40)}, "numbers, too many for a page: at most 150000"),
        ({"codes": BOOK[:, :3]}, r"codes must be \(codes, 4\), from 1 to 256 .* got \(9, 3\)"),
        ({"codes": np.zeros((257, 4))}, r"got \(257, 4\)"),
        ({"codes": BOOK * np.inf}, "codes must be finite"),
        ({"grids": GRIDS[:, :15]}, r"grids must be \(examples, places\) .* got \(2, 15\)"),
        ({"grids": GRIDS[0]}, r"got \(16,\)"),
        ({"grids": np.repeat(GRIDS, 13, 0)}, r"at most 24 examples, got \(26, 16\)"),
        ({"grids": GRIDS + 1}, "grids must be numbers of codes, from 0 to 8"),
        ({"grids": GRIDS - 1}, "from 0 to 8"),
        ({"grids": GRIDS * 1.0}, "numbers of codes"),
        ({"looks": LOOKS[:8]}, r"looks must be patches in \[−1, 1\], \(9, 4, 4\), got \(8, 4, 4\)"),
        ({"looks": 2 * LOOKS}, "looks must be patches in"),
        ({"looks": np.nan * LOOKS}, "looks must be patches in"),
        ({"labels": ["one"]}, "labels must be 2 names, got 1"),
        ({"chances": CHANCES[0]}, r"chances must be \(2, 16, 9\), got \(16, 9\)"),
        ({"chances": CHANCES * 1.1}, "rows must sum to 1"),
        ({"chances": CHANCES * np.nan}, "rows must sum to 1"),
        ({"edits": {16: 0}}, r"codes from 0 to 8 by places from 0 to 15, got \{16: 0\}"),
        ({"edits": {0: 9}}, "edits must be codes"),
        ({"edits": {0: -1}}, "edits must be codes"),
        ({"example": 2}, "example must be a whole number from 0 to 1, got 2"),
        ({"place": 16}, "place must be a whole number from 0 to 15, got 16"),
        ({"written": 17}, "written must be a whole number from 0 to 16, got 17"),
        ({"written": 0.5}, "written must be a whole number"),
        ({"cells": "colours"}, "cells must be one of looks, numbers, bits, got 'colours'"),
        ({"cells": "bits"}, "cells can be 'bits' only with chances"),
        ({"order": "nearest"}, "order must be one of likeliest, similar, brightness"),
        ({"order": "likeliest"}, "order can be 'likeliest' only with chances"),
    ],
)
def test_a_lab_that_cannot_be_set_up_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        lab(**arguments)


def test_what_is_sent():
    figure = lab(chances=CHANCES, edits={9: 1, 2: 5})
    assert (figure.shape, figure.sizes) == ([2, 4, 9], {"latent": 4, "width": 8, "fine": 16})
    assert [*figure.grids] == GRIDS.ravel().tolist()
    assert figure.labels == ["example 1", "example 2"]
    assert (figure.place, figure.order, figure.cells, figure.edits) == (
        10,
        "likeliest",
        "looks",
        "2-5.9-1",
    )
    np.testing.assert_allclose(
        np.frombuffer(figure.looks, np.uint8), (LOOKS.ravel() + 1) * 127.5, atol=0.5
    )
    assert lab().order == "similar"
    assert lab(edits={3: GRIDS[0, 3]}).edits == "", "which was there anyway"
    assert not lab().bits and not lab().next_codes
    assert lab(grids=GRIDS.reshape(2, 4, 4)).grids == figure.grids


def test_chances_are_sent_for_the_likeliest_and_bits_for_the_true_codes():
    book = RANDOM.standard_normal((50, 4))
    chances = RANDOM.dirichlet(np.full(50, 0.2), (2, 16))
    chances[0, 3] = np.eye(50)[7]
    tokens = RANDOM.integers(0, 50, (2, 16))
    tokens[0, 3] = 8  # which the prior holds impossible
    figure = lab(codes=book, grids=tokens, looks=np.zeros((50, 4, 4)), chances=chances)
    for example, written in ((0, 0), (1, 15), (1, 4)):
        figure.example, figure.written = example, written
        top, p = figure.coming()
        row = chances[example, written]
        assert len(top) == 12 and (row[top] >= np.sort(row)[-12]).all()
        assert (np.diff(row[top]) <= 0).all(), "from the likeliest on"
        np.testing.assert_allclose(p, row[top], rtol=1e-3, atol=1e-7)
    bits = np.frombuffer(figure.bits, "<f2").reshape(2, 16).astype(float)
    true = np.take_along_axis(chances, tokens[..., None], -1)[..., 0]
    np.testing.assert_allclose(bits, -np.log2(np.maximum(true, 2.0**-30)), rtol=1e-3, atol=1e-3)
    assert bits[0, 3] == 30


def test_tensors_and_lists_of_weights_are_taken():
    weights = [v.float() for v in SMALL.state_dict().values()]
    figure = CodeLab(
        weights, torch.tensor(BOOK), torch.tensor(GRIDS), torch.tensor(LOOKS),
        chances=torch.tensor(CHANCES),
    )  # fmt: skip
    assert figure.decoder == lab().decoder
    assert figure.bits == lab(chances=CHANCES).bits


def test_a_link_holds_the_whole_setting():
    figure = lab(chances=CHANCES)
    figure.open_link(
        "#figure=code-lab&example=1&place=3&edits=3-4.5-6&cells=bits&order=similar&written=9"
    )
    now = (figure.example, figure.place, figure.edits, figure.cells, figure.order, figure.written)
    assert now == (1, 3, "3-4.5-6", "bits", "similar", 9)
    assert figure.link().endswith(
        "&example=1&place=3&edits=3-4.5-6&cells=bits&order=similar&written=9"
    )
    assert figure.start["place"] == 10, "again leads to where Python began"


def test_the_still_picture_shows_the_same():
    figure = lab(chances=CHANCES, edits={5: int(GRIDS[1, 5] + 1) % 9}, example=1, written=3)
    still = figure.draw()
    mosaic, decoded, changed, coming = still.axes
    before, after = images(SMALL, BOOK, np.stack([GRIDS[1], figure.edited()]))
    shown = np.asarray(decoded.images[0].get_array(), float)
    np.testing.assert_allclose(shown, after, atol=1 / 16 + 1e-3)
    steps = np.asarray(changed.images[0].get_array(), float)
    np.testing.assert_allclose(steps, np.clip((after - before) / 0.3 * 3, -3, 3), atol=0.51)
    first = np.asarray(mosaic.images[0].get_array(), float)[:4, :4]
    np.testing.assert_allclose(first, LOOKS[GRIDS[1, 0]], atol=1 / 16 + 0.01)
    np.testing.assert_allclose([bar.get_width() for bar in coming.patches], figure.coming()[1])
    assert coming.get_title() == "code 4"
    plt.close(still)
    assert len(lab().draw().axes) == 2, "nothing changed, and nothing is said of the next"
    plt.close("all")


def test_a_page_of_the_full_size_weighs_less_than_500_kb():
    """The decoder of chapter 08, 256 codes, 24 examples with chances: most that a page may hold."""
    random = np.random.default_rng(0)
    net = any_decoder(latent=16)
    tokens = random.integers(0, 256, (24, 64))
    looks = random.uniform(-1, 1, (256, 4, 4))
    chances = random.dirichlet(np.full(256, 0.05), (24, 64))
    book = random.standard_normal((256, 16))
    figure = CodeLab(net.state_dict(), book, tokens, looks, chances=chances, edits={27: 3})
    assert len(figure.decoder) < 300_000
    assert len(figure.html().encode()) < 500_000


# --- in a browser -------------------------------------------------------------------------------

INK = """canvas => {
    const pen = canvas.getContext("2d"), { width, height } = canvas;
    const pixels = pen.getImageData(0, 0, width, height).data, counts = {};
    for (let i = 0; i < pixels.length; i += 4) {
        const key = [...pixels.slice(i, i + 3)].join();
        counts[key] = (counts[key] ?? 0) + 1;
    }
    return counts;
}"""
DOTS = """(canvas, wide) => {  // the grey in the middle of each pixel of an image
    const pen = canvas.getContext("2d"), dot = canvas.width / wide;
    const at = (k) => Math.floor((k + 0.5) * dot);
    return Array.from({ length: wide * wide }, (_, i) =>
        pen.getImageData(at(i % wide), at(Math.floor(i / wide)), 1, 1).data[0]);
}"""
LIGHT, DARK = "31,35,40", "240,246,252"  # the ink of both themes
WIDE = {"viewport": {"width": 1000, "height": 900}}


def numbers(text):
    return np.array([float(v) for v in text.split(",")])


def said(tab, name):
    return numbers(tab.locator(f"[data-{name}]").get_attribute(f"data-{name}"))


def setting(tab):
    """The setting that the button puts into the address."""
    tab.get_by_role("button", name=re.compile("Link|Copied")).click()
    words = dict(word.split("=") for word in tab.evaluate("location.hash").split("&")[1:])
    return {k: int(v) if v.isdigit() else v for k, v in words.items()}


def canvas(tab, which):
    """grid, image, change, palette, so far or bits."""
    order = ("grid", "image", "change", "palette", "so far")
    wide = tab.locator(".gen-wide canvas")
    return wide.nth(order.index(which)) if which in order else wide.last


def middle(tab, which, k, columns=8):
    """The middle of a cell on the screen."""
    found = canvas(tab, which)
    found.scroll_into_view_if_needed()
    box = found.bounding_box()
    size = box["width"] / columns
    return box["x"] + (k % columns + 0.5) * size, box["y"] + (k // columns + 0.5) * size


def shown(tab, which="image"):
    return np.array(canvas(tab, which).evaluate(DOTS, 32)).reshape(32, 32)


def grey(image):
    return np.clip(127.5 * (image + 1), 0, 255)


def similar(place, example=0):
    """Codes in the order in which they are offered, the likeliest first."""
    figure = codes()
    book = np.frombuffer(figure.codes, "<f2").reshape(40, 4).astype(float)
    top = np.frombuffer(figure.next_codes, np.uint8).reshape(4, 64, 12)[example, place].tolist()
    near = np.linalg.norm(book - book[top[0]], axis=1).argsort(kind="stable").tolist()
    return top + [code for code in near if code not in top]


def without_frames(image):
    """What no frame around the chosen patch can cover: at most a pixel around its edge."""
    return np.delete(np.delete(image, [*range(7, 13)], 0), [*range(11, 17)], 1)


def test_a_code_that_is_put_there_is_decoded_at_once(alone):
    """Pointing at one tries it, a click puts it; the image is the one that Python decodes."""
    tab = alone(codes(), hash="#figure=codes&edits=&order=likeliest", **WIDE)
    original = codes().original()
    np.testing.assert_array_equal(said(tab, "codes"), original)
    before = codes().images(original)[0]
    off = np.abs(shown(tab) - grey(before))
    assert without_frames(off).max() < 1.01
    tab.mouse.click(*middle(tab, "grid", 42))
    offered = similar(42)
    trial = next(k for k in (5, 6, 7) if offered[k] != original[42])
    tab.mouse.move(*middle(tab, "palette", trial, 32))
    changed = original.copy()
    changed[42] = offered[trial]
    np.testing.assert_array_equal(said(tab, "codes"), changed)
    assert setting(tab)["edits"] == "", "it was only tried"
    np.testing.assert_array_equal(said(tab, "codes"), original)
    tab.mouse.click(*middle(tab, "palette", trial, 32))
    tab.mouse.move(5, 5)
    np.testing.assert_array_equal(said(tab, "codes"), changed)
    after = codes().images(changed)[1]
    off = np.abs(shown(tab) - grey(after))
    off[19:25, 7:13] = 0  # the frame around the patch
    assert off.max() < 1.01
    squares = np.square(after - before)
    own = squares[20:24, 8:12].sum() / squares.sum()
    near = squares[16:28, 4:16].sum() / squares.sum() - own
    np.testing.assert_allclose(said(tab, "parts"), [own, near, 1 - own - near], atol=1e-9)
    text = tab.locator("[data-parts]").inner_text()
    assert text.startswith(f"Row 6, column 3 holds code {offered[trial]} instead of {original[42]}")
    assert f"1 code exchanged: {round(100 * own)} % of the squared change" in text
    assert tab.locator("[aria-live]").text_content().startswith("Row 6, column 3 holds code")
    now = setting(tab)
    assert (now["edits"], now["place"]) == (f"42-{offered[trial]}", 42)


def test_examples_are_decoded_one_after_the_other(alone):
    """Until then the looks of their codes are seen."""
    tab = alone(codes())
    tab.wait_for_timeout(500)
    tokens = np.frombuffer(codes().grids, np.uint8).reshape(4, 64)
    small = tab.locator(".gen-image canvas")
    for k in range(4):
        came = np.reshape(small.nth(k).evaluate(DOTS, 32), (32, 32))
        np.testing.assert_allclose(came, grey(codes().images(tokens[k])[1]), atol=1.01)


def test_changes_are_tinted_by_their_sign(alone):
    figure = codes()
    tab = alone(figure, **WIDE)
    before, after = figure.images(figure.edited())
    change = after - before
    where = canvas(tab, "change")
    pixel = """(canvas, [row, column]) => {
        const dot = canvas.width / 32;
        const at = [(column + 0.5) * dot, (row + 0.5) * dot].map(Math.floor);
        return [...canvas.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
    }"""
    frame = np.zeros((32, 32), bool)
    frame[8:12, 16:20] = True  # around the patch of place 20
    frame[9:11, 17:19] = False
    for extreme, color in ((np.argmax, (230, 159, 0)), (np.argmin, (0, 114, 178))):
        row, column = np.unravel_index(extreme(np.where(frame, 0, change)), change.shape)
        alpha = min(1, abs(change[row, column]) / 0.3)
        want = (1 - alpha) * 255 + alpha * np.array(color)
        np.testing.assert_allclose(where.evaluate(pixel, [int(row), int(column)]), want, atol=2)


def test_undo_original_and_again(alone):
    tab = alone(codes(), **WIDE)
    start = codes().start
    undo, original = (tab.get_by_role("button", name=one) for one in ("Undo", "Original codes"))
    assert undo.is_disabled() and original.is_enabled(), "the example begins with an edit"
    tab.mouse.click(*middle(tab, "palette", 0, 32))
    tab.mouse.click(*middle(tab, "palette", 3, 32))
    tab.mouse.move(5, 5)
    last = setting(tab)["edits"]
    assert last == f"19-{similar(19)[3]}.20-12"
    original.click()
    np.testing.assert_array_equal(said(tab, "codes"), codes().original())
    assert original.is_disabled()
    for want in (last, f"19-{similar(19)[0]}.20-12", "20-12"):
        undo.click()
        assert setting(tab)["edits"] == want
    assert undo.is_disabled()
    for _ in range(2):  # the second time it is there already
        tab.mouse.click(*middle(tab, "palette", 3, 32))
    undo.click()
    assert setting(tab)["edits"] == "20-12" and undo.is_disabled()
    tab.mouse.click(*middle(tab, "palette", 3, 32))
    tab.get_by_role("button", name="trousers").click()
    assert (setting(tab)["edits"], setting(tab)["example"]) == ("", 2)
    assert undo.is_disabled(), "what was done to another example cannot be undone here"
    tab.get_by_role("button", name="Again").click()
    assert setting(tab) == start


def test_keys_do_all_that_a_pointer_does(alone):
    tab = alone(codes(), hash="#figure=codes&edits=&place=0", **WIDE)
    grid = canvas(tab, "grid")
    grid.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "Enter"):
        tab.keyboard.press(key)
    offered, original = similar(9), codes().original()
    tab.keyboard.press("Home")
    assert said(tab, "codes")[9] == offered[0]
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowLeft"):
        tab.keyboard.press(key)
    assert said(tab, "codes")[9] == offered[1], "up from the first row leads nowhere"
    tab.keyboard.press("Escape")
    assert said(tab, "codes")[9] == original[9]
    tab.keyboard.press("Enter")
    for key in ("End", "ArrowLeft", "Enter"):
        tab.keyboard.press(key)
    assert setting(tab)["edits"] == f"9-{offered[-2]}"
    grid.focus()
    tab.keyboard.press("Delete")
    assert setting(tab)["edits"] == ""
    grid.focus()
    tab.keyboard.press("u")
    assert setting(tab)["edits"] == f"9-{offered[-2]}"
    grid.focus()
    for key in ("e", "e", "Shift+E", ".", ".", ","):
        tab.keyboard.press(key)
    now = setting(tab)
    assert (now["example"], now["edits"], now["written"]) == (1, "", 8)
    grid.focus()
    for key, written in (("End", 64), (".", 64), ("Home", 0), (",", 0)):
        tab.keyboard.press(key)
        assert tab.locator("output").inner_text() == f"{written} of 64"
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Pause").wait_for()
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Play").wait_for()
    tab.keyboard.press("0")
    assert setting(tab) == codes().start


def test_what_comes_next(alone):
    """The likeliest codes of the place with their chances, the true one among them, and bits."""
    figure = codes()
    tab = alone(figure, **WIDE)
    bits = np.frombuffer(figure.bits, "<f2").reshape(4, 64).astype(float)[0]
    original = figure.original()
    rows = tab.locator(".gen-next button")
    seen = 0
    for written in (0, 7, 20, 63):
        hands.slide(tab.get_by_label("codes written"), written)
        figure.written = written
        top, p = figure.coming()
        texts = rows.all_inner_texts()
        for text, code, chance in zip(texts, top, p, strict=True):
            assert re.match(rf"{code}\b", text)
            said_p = float(re.search(r"([\d.]+) %", text)[1])
            assert abs(said_p - 100 * chance) < 0.51
            assert ("✓" in text) == (code == original[written])
            seen += "✓" in text
        text = tab.locator("[data-cost]").inner_text()
        assert abs(said(tab, "cost") - bits[:written].sum()) < 1e-3
        assert f"The true next one is code {original[written]}, p" in text
    hands.slide(tab.get_by_label("codes written"), 64)
    assert not rows.first.is_visible()
    each = f"All 64 codes cost {bits.sum():.1f} bits: {bits.mean():.2f} a code"
    assert tab.locator("[data-cost]").inner_text().startswith(each)
    assert seen, "a true code was among the likeliest"
    figure.written = figure.start["written"]


def test_a_code_that_may_come_next_is_put_into_the_grid(alone):
    tab = alone(codes(), hash="#figure=codes&edits=&written=30")
    top = np.frombuffer(codes().next_codes, np.uint8).reshape(4, 64, 12)[0, 30]
    k = next(k for k in range(12) if top[k] != codes().original()[30])
    tab.locator(".gen-next button").nth(k).click()
    now = setting(tab)
    assert (now["edits"], now["place"], now["written"]) == (f"30-{top[k]}", 30, 30)


def test_the_image_so_far_is_decoded_with_the_mean_of_codes_for_the_rest(alone):
    figure = codes()
    tab = alone(figure, hash="#figure=codes&written=20", **WIDE)
    book = np.frombuffer(figure.codes, "<f2").astype(float).reshape(40, 4)
    tokens = np.frombuffer(figure.grids, np.uint8).reshape(4, 64)
    rows = book[tokens[0]]
    rows[20:] = book[tokens].mean((0, 1))
    weights = np.frombuffer(figure.decoder, "<f2").astype(float)
    image = decode(figure.sizes, weights, rows.reshape(1, 8, 8, 4))[0]
    off = np.abs(shown(tab, "so far") - grey(image))
    known = np.zeros((32, 32), bool)
    known[:8] = known[8:12, :16] = True  # 20 codes are two rows and a half
    known[7:13, 15:21] = False  # the frame around the next place
    assert off[known].max() < 1.01
    assert (shown(tab, "so far")[9:11, 17:19] == 209).all(), "nor is the next one seen"
    line = canvas(tab, "so far").evaluate(INK)
    assert line["209,217,224"] > 0.3 * sum(line.values()), "the rest is not known"


def test_the_line_over_the_bits_is_dragged(alone):
    tab = alone(codes(), **WIDE)
    strip = canvas(tab, "bits")
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()

    def at(written):
        x = box["x"] + 26 + written / 64 * (box["width"] - 26 - 12)
        return x, box["y"] + box["height"] / 2

    tab.mouse.move(*at(7))
    tab.mouse.down()
    tab.mouse.move(*at(30))
    tab.mouse.move(*at(41))
    tab.mouse.up()
    assert setting(tab)["written"] == 41
    assert tab.locator("output").inner_text() == "41 of 64"
    label = strip.get_attribute("aria-label")
    assert label.startswith("Bits of each code. 41 of 64 codes cost")
    tab.mouse.click(*middle(tab, "so far", 11))
    assert setting(tab)["written"] == 11


def test_cells_show_looks_numbers_or_bits(alone):
    tab = alone(codes(), **WIDE)
    grid = canvas(tab, "grid")
    inks = {}
    for cells in ("looks", "numbers", "bits"):
        tab.get_by_label("cells show").select_option(cells)
        assert setting(tab)["cells"] == cells
        inks[cells] = grid.evaluate(INK)
    assert inks["looks"].get(LIGHT, 0) < inks["numbers"].get(LIGHT, 0)
    greys = [key for key in inks["bits"] if len({*key.split(",")}) > 1]
    assert len(greys) > len([key for key in inks["numbers"] if len({*key.split(",")}) > 1])


def test_orders_and_what_is_not_there_without_chances(alone):
    """Orders depend on the example and on its own code, not on the one that was put there."""
    tab = alone(codes(), hash="#figure=codes&edits=3-7&place=3", **WIDE)
    figure = codes()
    book = np.frombuffer(figure.codes, "<f2").reshape(40, 4).astype(float)
    looks = np.frombuffer(figure.looks, np.uint8).reshape(40, 16)
    there = figure.original()[3]
    want = {
        "similar": np.linalg.norm(book - book[there], axis=1).argsort(kind="stable"),
        "brightness": looks.sum(1, dtype=int).argsort(kind="stable"),
    }
    for order, offered in want.items():
        tab.get_by_label("order").select_option(order)
        tab.mouse.move(*middle(tab, "palette", 35, 32))
        assert said(tab, "codes")[3] == offered[35]
    tab.get_by_label("order").select_option("likeliest")
    for name, example in (("boot", 0), ("shirt", 3)):
        tab.get_by_role("button", name=name).click()
        tab.mouse.move(*middle(tab, "palette", 14, 32))
        assert said(tab, "codes")[3] == similar(3, example)[14]
    tab = alone(lab(), hash="#figure=code-lab&order=likeliest&cells=bits&written=3")
    assert tab.get_by_role("button", name="Play").count() == 0
    now = setting(tab)
    assert (now["order"], now["cells"], now["written"]) == ("similar", "looks", 0)


def test_a_link_is_kept_within_its_bounds(alone):
    hash = "#figure=codes&example=9&place=99&edits=20-12.99-1.5-77&cells=x&order=y&written=99"
    assert setting(alone(codes(), hash=hash)) == {
        "example": 3,
        "place": 63,
        "edits": "20-12",
        "cells": "looks",
        "order": "likeliest",
        "written": 64,
    }


def test_play_writes_code_after_code_and_stops(alone):
    tab = alone(codes(), hash="#figure=codes&written=60")
    tab.get_by_role("button", name="Play").click()
    tab.get_by_text("62 of 64", exact=True).wait_for()
    tab.get_by_text("64 of 64", exact=True).wait_for()
    tab.get_by_role("button", name="Play").wait_for()


def test_who_wants_less_motion_gets_steps(alone):
    tab = alone(codes(), hash="#figure=codes&written=62", reduced_motion="reduce")
    tab.evaluate("() => { requestAnimationFrame = () => { throw new Error('a frame'); }; }")
    steps = []
    for _ in range(4):
        tab.get_by_role("button", name="Step").click()
        steps.append(setting(tab)["written"])
    assert steps == [63, 64, 0, 1]


def test_it_is_drawn_in_the_ink_of_its_theme_and_fits(alone):
    tab = alone(codes(), color_scheme="light")
    strip = canvas(tab, "bits")
    assert LIGHT in strip.evaluate(INK)
    tab.emulate_media(color_scheme="dark")
    tab.locator(".gen-figure[data-theme=dark]").wait_for()
    ink = strip.evaluate(INK)
    assert DARK in ink and LIGHT not in ink
    tab.set_viewport_size({"width": 360, "height": 800})
    tab.wait_for_function("document.querySelector('.gen-wide canvas').clientWidth < 360")
    grid, image = (canvas(tab, one).bounding_box() for one in ("grid", "image"))
    assert abs(grid["width"] - grid["height"]) < 2 and grid["x"] + grid["width"] <= 360
    assert image["y"] > grid["y"] + grid["height"]
    change = canvas(tab, "change").bounding_box()
    assert change["x"] > image["x"] + image["width"], "both images stay side by side"


def test_a_finger_chooses_and_puts(alone):
    tab = alone(
        codes(),
        hash="#figure=codes&edits=",
        has_touch=True,
        viewport={"width": 380, "height": 800},
    )
    tab.touchscreen.tap(*middle(tab, "grid", 33))
    assert setting(tab)["place"] == 33
    offered = similar(33)
    k = next(k for k in (20, 21) if offered[k] != codes().original()[33])
    tab.touchscreen.tap(*middle(tab, "palette", k, 16))
    assert setting(tab)["edits"] == f"33-{offered[k]}"
    np.testing.assert_array_equal(said(tab, "codes")[33], offered[k])


def test_a_finger_that_moves_over_codes_tries_them(alone):
    """Lifted, it puts the last one; where the browser scrolls instead, nothing is put."""
    tab = alone(codes(), hash="#figure=codes&edits=&place=33", has_touch=True)
    offered, original = similar(33), codes().original()
    touch = """(canvas, [kind, k]) => {
        const box = canvas.getBoundingClientRect(), size = box.width / 32;
        const clientX = box.x + (k % 32 + 0.5) * size, clientY = box.y + (k >> 5) * size + 5;
        const where = { clientX, clientY, pointerType: "touch", bubbles: true };
        canvas.dispatchEvent(new PointerEvent(kind, where));
    }"""
    palette = canvas(tab, "palette")
    for k in (8, 9):
        palette.evaluate(touch, ["pointermove", k])
        assert said(tab, "codes")[33] == offered[k]
    palette.evaluate(touch, ["pointercancel", 9])
    assert said(tab, "codes")[33] == original[33]
    for kind, k in (("pointermove", 8), ("pointermove", 10), ("pointerup", 10)):
        palette.evaluate(touch, [kind, k])
    assert setting(tab)["edits"] == f"33-{offered[10]}"


def test_python_changes_it_and_a_host_may_lack_the_rest(chromium):
    state = hands.state_of(codes())
    tab = chromium.new_page()
    tab.set_content("<div id=el style='width:700px'></div>")
    tab.evaluate(
        """async ([code, state]) => {
            const bytes = (v) => Array.isArray(v) && v.length > 200 ? Uint8Array.from(v) : v;
            const no = () => { throw new Error("not here"); };
            window.heard = {};
            const model = { get: (name) => bytes(state[name]), set: no, off: no, save_changes: no,
                on: (event, listener) => (heard[event] = listener) };
            const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
            const { default: figure } = await import(url);
            figure.render({ model, el: document.getElementById("el") });
            window.state = state;
        }""",
        [standalone_page.module("figures/code_lab"), state],
    )
    tab.evaluate("Object.assign(state, { example: 1, edits: '3-7' }); heard['change:example']()")
    tokens = np.frombuffer(codes().grids, np.uint8).reshape(4, 64)[1].copy()
    tokens[3] = 7
    np.testing.assert_array_equal(said(tab, "codes"), tokens)
    tab.close()
