"""The mathematics of figures, in node: what truth, the net, the samplers and numpy say."""

import math

import numpy as np
import pytest
import torch

from cs231n_gen import data, flow, truth
from cs231n_gen.given.mlp import VelocityMLP
from cs231n_gen.viz import velocity_fields
from cs231n_gen.viz.permalink import from_link, to_link

CLOSE = {"atol": 1e-9, "rtol": 1e-9}
TILTED = truth.GaussianMixture(
    weights=torch.tensor([0.5, 0.2, 0.3]),
    means=torch.tensor([[2.0, 0.5], [-1.0, 1.0], [0.0, -2.0]]),
    covs=torch.tensor([[[0.5, 0.3], [0.3, 0.4]], [[0.01, 0], [0, 0.02]], [[1.0, -0.6], [-0.6, 2]]]),
)
FIELD = """
    const one = given.fields[0];
    const f = one.mixture ? js.mixtureField(one.mixture)
        : js.mlpField(Float32Array.from(given.numbers), one.widths, one.frequencies);
"""


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = VelocityMLP(hidden=16, layers=3, frequencies=4)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_((2 * p).half())
    return net.double()


@pytest.fixture(params=["ring", "tilted", "net"])
def known(request, net):
    """The velocity in Python, and what JavaScript is told of it."""
    mixtures = {"ring": data.ring().mixture, "tilted": TILTED}
    given = mixtures.get(request.param, net.state_dict())
    described, numbers = velocity_fields.describe({"it": given})

    @torch.no_grad()
    def velocity(x_t, t):
        t = torch.as_tensor(t, dtype=torch.float64).expand(len(x_t))
        return net(x_t, t) if request.param == "net" else given.velocity(x_t, t)

    return velocity, {"fields": described, "numbers": numbers.tolist()}


def draws(n, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)).double()


# --- fields -------------------------------------------------------------------------------------


def test_velocities(node, known):
    """At both ends, near them and between, among the data and far away."""
    velocity, told = known
    places = [(scale * draws(40), t) for t in (0.0, 0.003, 0.4, 0.97, 1.0) for scale in (1, 20)]
    ask = FIELD + "return given.at.map(([x, y, t]) => { const v = []; f(x, y, t, v); return v })"
    at = [[*point, t] for x_t, t in places for point in x_t.tolist()]
    want = torch.cat([velocity(x_t, t) for x_t, t in places])
    np.testing.assert_allclose(node("math/velocity_field", ask, at=at, **told), want, **CLOSE)


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_the_still_pictures_draw_the_same_field(known, t):
    velocity, told = known
    x_t = draws(40)
    came = velocity_fields.field(told["fields"][0], np.array(told["numbers"]))(x_t.numpy(), t)
    np.testing.assert_allclose(came, velocity(x_t, t), **CLOSE)


def test_points_of_a_mixture_have_its_mean_and_covariance():
    x = velocity_fields.sample(TILTED, 200_000, np.random.default_rng(0))
    mean = TILTED.weights @ TILTED.means
    off = TILTED.means - mean
    cov = torch.einsum("k,kij->ij", TILTED.weights, TILTED.covs + off[:, :, None] * off[:, None])
    np.testing.assert_allclose(x.mean(0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(x.T), cov, atol=0.04)


# --- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_paths_of_eulers_rule(node, known, steps):
    velocity, told = known
    z = draws(6)
    ask = FIELD + "return given.z.map(([x, y]) => js.walk(f, false, x, y, 1, 0, given.steps))"
    came = np.array(node("math/velocity_field", ask, z=z.tolist(), steps=steps, **told)).reshape(
        6, -1, 2
    )
    want = flow.trajectory(velocity, z, steps).transpose(0, 1)
    np.testing.assert_allclose(came, want, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_paths_of_heuns_rule(node, known, steps):
    velocity, told = known
    z = draws(6)
    ask = FIELD + "return given.z.map(([x, y]) => js.walk(f, true, x, y, 1, 0, given.steps))"
    came = np.array(node("math/velocity_field", ask, z=z.tolist(), steps=steps, **told)).reshape(
        6, -1, 2
    )
    np.testing.assert_allclose(came[:, -1], flow.sample_heun(velocity, z, steps), atol=1e-6)


def test_the_ghost_is_the_exact_path(node):
    """Against an adaptive solver, and back from the middle to where it began."""
    ring = data.ring().mixture
    z = draws(20)
    described, _ = velocity_fields.describe({"ring": ring})
    ask = """return given.z.map(([x, y]) => {
        const end = js.follow(f, x, y, 1, 0).slice(-2);
        const half = js.follow(f, x, y, 1, 0.5).slice(-2);
        return [...end, ...js.follow(f, ...half, 0.5, 1).slice(-2)];
    })"""
    came = np.array(node("math/velocity_field", FIELD + ask, z=z.tolist(), fields=described))
    np.testing.assert_allclose(came[:, :2], truth.follow(ring.velocity, z, [1, 0])[-1], atol=2e-3)
    np.testing.assert_allclose(came[:, 2:], z, atol=1e-5)


def test_the_ghosts_error_falls_with_the_fourth_power_of_the_step(node):
    ring = data.ring(std=0.5).mixture
    z = draws(20)
    described, _ = velocity_fields.describe({"ring": ring})
    ask = "return given.z.map(([x, y]) => js.follow(f, x, y, 1, 0, given.steps).slice(-2))"
    right = truth.follow(ring.velocity, z, [1, 0])[-1].numpy()
    errors = []
    for steps in (10, 20):
        came = np.array(
            node("math/velocity_field", FIELD + ask, z=z.tolist(), steps=steps, fields=described)
        )
        errors.append(np.abs(came - right).max())
    assert 10 < errors[0] / errors[1] < 25


def test_a_crowd_walks_as_its_points_do(node, known):
    """At the levels of its steps it is where each point's own path is, straight in between."""
    _, told = known
    z = draws(5).float()
    ask = (
        FIELD
        + """
        const noise = Float32Array.from(given.z.flat());
        const crowd = new js.Crowd(f, noise);
        crowd.use(8, given.heun);
        let calls = 0;
        const early = crowd.reach(0, () => ++calls > 3);  // stopped after three steps
        const computed = crowd.frames.length;
        crowd.reach(0);
        const paths = given.z.map(([x, y]) => js.walk(f, given.heun, x, y, 1, 0, 8));
        return { early, computed, frames: [1, 0.5, 0.3, 0].map((t) => [...crowd.at(t)]),
            alone: [1, 0.5, 0.3, 0].map((t) => paths.flatMap((p) => js.onPath(p, t))) };
    """
    )
    for heun in (False, True):
        came = node("math/velocity_field", ask, z=z.tolist(), heun=heun, **told)
        assert (came["early"], came["computed"]) == (False, 4)
        np.testing.assert_allclose(came["frames"], came["alone"], atol=1e-4)


@pytest.mark.parametrize("t", [0.05, 0.5, 1.0])
def test_straight_pairs_through_a_point(node, t):
    """Each passes through it, and their mean velocity is that of the perfect net for these data."""
    x = data.ring().sample(60, torch.Generator().manual_seed(0)).double()
    at = draws(1)[0]
    ask = "return js.pairsThrough(given.x.flat(), ...given.at, given.t)"
    came = node("math/velocity_field", ask, x=x.tolist(), at=at.tolist(), t=t)
    z = torch.tensor(came["z"], dtype=torch.float64).reshape(-1, 2)
    np.testing.assert_allclose((1 - t) * x + t * z, at.expand(60, 2), atol=1e-9)
    assert math.isclose(sum(came["weights"]), 1)
    want = truth.FiniteData(x).velocity(at[None], t)[0]
    np.testing.assert_allclose(came["v"], want, atol=1e-6)


# --- numbers ------------------------------------------------------------------------------------


def test_every_number_in_half_precision(node):
    ask = "return Array.from({ length: 65536 }, (_, i) => String(js.half(i)))"
    came = np.array(node("math/codec", ask)).astype(float)
    np.testing.assert_array_equal(came, np.arange(65536, dtype=np.uint16).view(np.float16))


def test_bytes_of_every_host(node):
    """Base64 of a page, a view that begins at an odd byte, and a bare buffer say the same."""
    ask = """
        const shifted = Uint8Array.from([0, ...given.bytes]);
        const bare = Uint8Array.from(given.bytes).buffer;
        const text = btoa(String.fromCharCode(...given.bytes));
        return [text, new DataView(shifted.buffer, 1), bare].map(
            (bytes) => [js.halves(bytes), js.floats(bytes), js.levels(bytes)]);
    """
    numbers = np.array([1.5, -2.25, 1e-7, 65504], "<f4")
    raw = numbers.tobytes()
    for came in node("math/codec", ask, bytes=[*raw]):
        np.testing.assert_array_equal(came[0], np.frombuffer(raw, "<f2"))
        np.testing.assert_array_equal(np.array(came[1], "<f4"), numbers)
        assert came[2] == [*raw]


# --- links --------------------------------------------------------------------------------------

SETTING = {"t": 0.25, "z": [-1.2, 0.4], "steps": 8, "method": "heun", "pairs": True, "ghost": False}


def test_links_are_the_same_in_both_languages(node):
    ask = "return js.toLink('flow field', given)"
    text = node("ui/permalink", ask, **SETTING)
    assert text == to_link("flow field", SETTING)
    assert from_link(f"https://example.org/04.html#{text}", "flow field", SETTING) == SETTING
    back = node("ui/permalink", "return js.fromLink(given.text, 'flow field', given.like)",
                text=f"#{text}", like=SETTING)  # fmt: skip
    assert back == SETTING


def test_a_link_that_says_nonsense_sets_nothing(node):
    found = [
        ("figure=other&t=1", None),
        ("t=0.5", None),
        ("", None),
        ("figure=f&t=0.5", {"t": 0.5}),
        ("figure=f&t=", {}),
        ("figure=f&t=NaN&z=1,Infinity", {}),
        ("figure=f&t=0.5,1&z=1", {}),
        ("figure=f&z=1,2,3&__proto__=1&constructor=1", {}),
        ("figure=f&method=%3Cscript%3E", {"method": "<script>"}),
    ]
    ask = "return given.texts.map((text) => js.fromLink(text, 'f', given.like))"
    came = node("ui/permalink", ask, texts=[text for text, _ in found], like=SETTING)
    assert came == [setting for _, setting in found]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("figure=other&t=1", "figure=f"),
        ("figure=f&t=x", "t in a link must be a number, got 'x'"),
        ("figure=f&z=1", "z in a link must be 2 numbers, got '1'"),
        ("figure=f&z=1,nan", "z in a link must be 2 numbers"),
    ],
)
def test_python_says_what_is_wrong_with_a_link(text, says):
    with pytest.raises(ValueError, match=says):
        from_link(text, "f", SETTING)


# --- films --------------------------------------------------------------------------------------


def test_frames_between_frames(node):
    """Levels need not be spaced evenly; beyond the ends it is the first and the last frame."""
    times = [1.0, 0.7, 0.1, 0.0]
    levels = [2, 1, 0.85, 0.7, 0.4, 0.05, 0, -1]
    ask = "return given.levels.map((t) => js.frameAt(given.times, t))"
    came = node("math/frames", ask, times=times, levels=levels)
    want = np.interp(levels, times[::-1], [3, 2, 1, 0])
    np.testing.assert_allclose(came, want, **CLOSE)
    frames = np.random.default_rng(0).standard_normal((4, 3, 2))
    ask = "return js.frameBetween(Float32Array.from(given.frames.flat(2)), 3, given.place)"
    for place in (0, 1.25, 3):
        want = (1 - place % 1) * frames[int(place)] + place % 1 * frames[min(int(place) + 1, 3)]
        came = node("math/frames", ask, frames=frames.tolist(), place=place)
        np.testing.assert_allclose(came, want.ravel(), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels(node, channels):
    image = np.random.default_rng(0).integers(0, 256, (channels, 2, 3))
    ask = "return js.pixels(given.image.flat(2), [given.image.length, 2, 3])"
    came = np.array(node("math/frames", ask, image=image.tolist())).reshape(2, 3, 4)
    np.testing.assert_array_equal(
        came[..., :3], np.broadcast_to(image, (3, 2, 3)).transpose(1, 2, 0)
    )
    assert (came[..., 3] == 255).all()
