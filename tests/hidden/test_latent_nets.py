"""Hidden graders of chapter 08, the encoder and decoder: what they give is compared with their
layers by hand in float64, for weights that are filled in the documented order."""

import math

import pytest
import torch
from torch.nn import functional as F

from cs231n_gen.checking import draws, expect

encoder = pytest.mark.exercise("latent_nets.Encoder")
decoder = pytest.mark.exercise("latent_nets.Decoder")

# What rounding leaves of numbers of size 1 where all is computed in float64, and in float32.
DOUBLE = {"atol": 1e-10, "rtol": 1e-10}
SINGLE = {"atol": 1e-3, "rtol": 1e-3}
SIZES = ((3, 8, 12), (2, 4, 4), (1, 12, 4), (2, 4, 20))  # batch, height, width of an image


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def drawn(net, generator):
    """Random float64 weights for a net: them, by name in their order. Vectors before a matrix are
    those of a norm: the first is its scale."""
    net.call("double")
    weights = {}
    for name, w in net.state().items():
        size = math.prod(w.shape[1:]) if w.dim() > 1 else 1
        weights[name] = normal(generator, *w.shape) / size**0.5
    net.load(weights)
    return weights


def options_of(generator):
    """Channels, latents and width, at random."""
    return (
        draws.whole(generator, 2, 4),
        draws.whole(generator, 3, 6),
        8 * draws.whole(generator, 1, 3),
    )


# --- by hand ------------------------------------------------------------------------------------


def silu(h):
    return h / (1 + torch.exp(-h))


def normed(h, weight, bias, eps):
    """Group norm of 8 groups."""
    B, C, H, W = h.shape
    g = h.reshape(B, 8, -1)
    off = g - g.mean(-1, keepdim=True)
    h = (off / (off.square().mean(-1, keepdim=True) + eps).sqrt()).reshape(B, C, H, W)
    return h * weight[:, None, None] + bias[:, None, None]


def norm_silu(h, s):
    return silu(normed(h, next(s), next(s), 1e-6))


def conv(h, s, stride=1):
    weight = next(s)
    padding = {4: 1, 3: 1, 1: 0}[weight.shape[-1]]
    return F.conv2d(h, weight, next(s), stride=stride, padding=padding)


def residual(h, s):
    r = conv(norm_silu(h, s), s)
    return h + conv(norm_silu(r, s), s)


def attended(h, s):
    """Attention of 4 heads between positions."""
    B, C, H, W = h.shape
    qkv = conv(normed(h, next(s), next(s), 1e-5), s).reshape(B, 3, 4, C // 4, H * W)
    q, k, v = qkv.unbind(1)
    p = torch.einsum("bhcn,bhcm->bhnm", q, k).div((C // 4) ** 0.5).softmax(-1)
    r = torch.einsum("bhnm,bhcm->bhcn", p, v).reshape(B, C, H, W)
    return h + conv(r, s)


def shuffled(h):
    """2×2 pixels of each four channels."""
    B, C, H, W = h.shape
    h = h.reshape(B, C // 4, 2, 2, H, W).permute(0, 1, 4, 2, 5, 3)
    return h.reshape(B, C // 4, 2 * H, 2 * W)


def by_hand_encoder(x, weights):
    """μ and log σ² by the table, of weights in its order."""
    s = iter([*weights.values()])
    h = conv(silu(conv(x, s, stride=2)), s, stride=2)
    h = conv(norm_silu(attended(residual(h, s), s), s), s)
    n = h.shape[1] // 2
    return h[:, :n], h[:, n:].clamp(-30, 20)


def by_hand_decoder(u, weights):
    """The image by the table, of weights in its order."""
    s = iter([*weights.values()])
    h = attended(residual(conv(u, s), s), s)
    h = residual(shuffled(conv(h, s)), s)
    h = shuffled(conv(norm_silu(h, s), s))
    return conv(silu(h), s)


# --- shapes -------------------------------------------------------------------------------------


def kernel(outputs, inputs, side):
    return [(outputs, inputs, side, side), (outputs,)]


def residual_shapes(c):
    return 2 * [(c,), (c,), *kernel(c, c, 3)]


def attention_shapes(c):
    return [(c,), (c,), *kernel(3 * c, c, 1), *kernel(c, c, 1)]


def encoder_shapes(C, n, w):
    first = [*kernel(w, C, 4), *kernel(2 * w, w, 4)]
    middle = [*residual_shapes(2 * w), *attention_shapes(2 * w), (2 * w,), (2 * w,)]
    return [*first, *middle, *kernel(2 * n, 2 * w, 1)]


def decoder_shapes(C, n, w):
    first = [*kernel(2 * w, n, 3), *residual_shapes(2 * w), *attention_shapes(2 * w)]
    middle = [*kernel(4 * w, 2 * w, 1), *residual_shapes(w), (w,), (w,), *kernel(64, w, 3)]
    return [*first, *middle, *kernel(C, 16, 3)]


def shapes_are(net, want, options):
    got = [tuple(w.shape) for w in net.state().values()]
    expect.true(got == want, f"the weights in their order, for {options}", got, want)


def first_weights(net, zero, name, student):
    """They are torch's, in float32, and 0 where a given block is the identity at first."""
    state = [*net.state().values()]
    for n, w in enumerate(state):
        expect.true(w.dtype == torch.float32, "new weights are float32", w.dtype, torch.float32)
        if w.dim() == 4:
            expect.true(bool(w.any()) != (n in zero), f"the first weights of tensor {n} in order")
    others = [*student.new(name, 2, 3, 8).state().values()]
    for n, (w, other) in enumerate(zip(state, others, strict=True)):
        same = w.dim() == 4 and n not in zero and torch.equal(w, other)
        expect.true(not same, "two new nets have the same weights: seed nothing")


def slopes_agree(got, want, names):
    for g, w, name in zip(got, want, names, strict=True):
        expect.true(g is not None, f"no gradient reaches {name}")
        says = f"the gradient of {name}"
        expect.close(g, w, says, what=says, atol=1e-9, rtol=1e-9)


# --- latent_nets.Encoder ------------------------------------------------------------------------


def encoded(net, x, n, digits=None):
    """μ and log σ² of a net, of the right shapes."""
    B, _, H, W = x.shape
    mean, log_var = expect.unpack(net(x), ("mean", "log_var"))
    shape = (B, n, H // 4, W // 4)
    return expect.tensor(mean, shape, "μ"), expect.tensor(log_var, shape, "log σ²")


@encoder(weight=2)
def test_the_layers_of_the_encoder(student, generator):
    """its weights have the table's shapes, in its order, for any channels, latents and width"""
    for options in ((1, 4, 8), (3, 2, 16), options_of(generator)):
        net = student.new("latent_nets.Encoder", *options)
        shapes_are(net, encoder_shapes(*options), options)
    net = student.new("latent_nets.Encoder", width=16, latent=3, channels=2)
    shapes_are(net, encoder_shapes(2, 3, 16), "channels=2, latent=3, width=16")
    shapes_are(student.new("latent_nets.Encoder"), encoder_shapes(1, 4, 24), "the defaults")


@encoder(weight=2)
def test_latents_of_any_size(student, generator):
    """latents have a quarter of the image's sides, whichever 4 divides; one image is a batch"""
    for C, n in ((1, 4), (3, 2), (1, 1)):
        net = student.new("latent_nets.Encoder", C, n, 8)
        for B, H, W in SIZES:
            encoded(net, normal(generator, B, C, H, W).float(), n)


@encoder(weight=4)
def test_mean_and_variance_by_hand(student, generator):
    """μ and log σ² are what the table gives, in float64, for images of any size"""
    for options, sizes in ((options_of(generator), SIZES), ((1, 1, 24), SIZES[:2])):
        C, n, w = options
        net = student.new("latent_nets.Encoder", *options)
        s = drawn(net, generator)
        for B, H, W in sizes:
            x = normal(generator, B, C, H, W)
            got, want = encoded(net, x, n), by_hand_encoder(x, s)
            for g, v, name in zip(got, want, ("μ", "log σ²"), strict=True):
                says = f"{name} is not what the table gives: width {w}, {B} images of {H}×{W}"
                expect.close(g, v, says, what=name, **DOUBLE)


@encoder
def test_float32_as_made(student, generator):
    """as made it takes float32 and gives the same numbers, up to rounding"""
    net = student.new("latent_nets.Encoder", 2, 3, 8)
    s = {name: normal(generator, *w.shape) * 0.3 for name, w in net.state().items()}
    s = {name: w.float() for name, w in s.items()}
    net.load(s)
    x = normal(generator, 2, 2, 8, 12).float()
    want = by_hand_encoder(x.double(), {name: w.double() for name, w in s.items()})
    for g, v, name in zip(encoded(net, x, 3), want, ("μ", "log σ²"), strict=True):
        expect.true(g.dtype == torch.float32, f"{name} is float32", g.dtype, torch.float32)
        expect.close(g, v, f"{name} of float32", what=name, **SINGLE)


@encoder(weight=2)
def test_log_var_has_bounds(student, generator):
    """log σ² is kept from −30 to 20, each number of it by itself, and μ has no bounds"""
    C, n, w = options_of(generator)
    net = student.new("latent_nets.Encoder", C, n, w)
    s = drawn(net, generator)
    x = normal(generator, 2, C, 8, 8)
    last = [*s][-1]
    for low, high in ((-200.0, 200.0), (-40.0, 30.0), (-29.0, 19.0)):
        s[last] = torch.tensor(
            [low, high, 0.0, *[high] * n, low][:n] + [high, low, 0.0, *[low] * n][:n]
        )
        s[last] = s[last].double()
        net.load(s)
        got, want = encoded(net, x, n), by_hand_encoder(x, s)
        says = f"log σ² from −30 to 20, with biases of {low:g} and {high:g} in the last layer"
        expect.close(got[1], want[1], says, what="log σ²", **DOUBLE)
        expect.close(got[0], want[0], "μ is not bounded", what="μ", **DOUBLE)


@encoder
def test_images_of_any_brightness(student, generator):
    """images of size 0.001 and of size 1000"""
    C, n, w = options_of(generator)
    net = student.new("latent_nets.Encoder", C, n, w)
    s = drawn(net, generator)
    for size in (1e-3, 1e3):
        x = size * normal(generator, 2, C, 8, 4)
        for g, v, name in zip(
            encoded(net, x, n), by_hand_encoder(x, s), ("μ", "log σ²"), strict=True
        ):
            expect.close(g, v, f"{name} of images of size {size:g}", atol=1e-8, rtol=1e-8)


@encoder
def test_each_image_by_itself(student, generator):
    """an image's latents do not depend on the other images of its batch"""
    net = student.new("latent_nets.Encoder", 2, 3, 8)
    drawn(net, generator)
    x = normal(generator, 3, 2, 8, 8)
    together = encoded(net, x, 3)
    alone = [
        torch.cat(v) for v in zip(*(encoded(net, x[i : i + 1], 3) for i in range(3)), strict=True)
    ]
    for a, t in zip(alone, together, strict=True):
        expect.close(a, t, "latents depend on the other images", **DOUBLE)


@encoder(weight=2)
def test_the_gradients_of_the_encoder(student, generator):
    """gradients of μ and log σ² reach the image and every weight"""
    C, n, w = options_of(generator)
    net = student.new("latent_nets.Encoder", C, n, w)
    s = drawn(net, generator)
    x = normal(generator, 2, C, 8, 4)
    c = [normal(generator, 2, n, 2, 1) for _ in range(2)]
    got, to_x = student.gradient("checking.fakes.weighted_both", net, c, x, wrt=[net, x])
    leaves = [x, *s.values()]
    for leaf in leaves:
        leaf.requires_grad_()
    results = by_hand_encoder(x, s)
    want = torch.autograd.grad(sum((a * b).sum() for a, b in zip(c, results, strict=True)), leaves)
    slopes_agree([to_x, *got.values()], want, ["x", *s])


@encoder
def test_the_first_weights_of_the_encoder(student):
    """new weights are torch's: others in each net, and the given blocks are the identity"""
    net = student.new("latent_nets.Encoder", 2, 3, 8)
    first_weights(net, {10, 16}, "latent_nets.Encoder", student)


@encoder
def test_what_encoding_leaves_alone(student, generator):
    """a pass leaves mode and gradients as they are, and depends on no earlier one nor the mode"""
    net = student.new("latent_nets.Encoder", 2, 3, 8)
    s = drawn(net, generator)
    s[[*s][-1]] *= 100
    student.checking.fakes.holding_gradients(net)
    x = normal(generator, 2, 2, 8, 8)
    for mode in ("train", "eval"):
        net.call(mode)
        for more in (1.0, 0.5):  # other weights, the same image
            s[next(iter(s))] *= more
            net.load(s)
            for g, v in zip(encoded(net, x, 3), by_hand_encoder(x, s), strict=True):
                says = f"numbers are not what the table gives, in {mode} mode, for new weights"
                expect.close(g, v, says, **DOUBLE)


@encoder
def test_images_that_do_not_fit(student, generator):
    """a ValueError for other channels, or a side that 4 does not divide, or not a batch"""
    net = student.new("latent_nets.Encoder", 2, 3, 8)
    for shape in ((2, 8, 8), (1, 3, 8, 8), (1, 1, 8, 8), (1, 2, 6, 8), (1, 2, 8, 6), (1, 2, 8, 9),
                  (1, 2, 1, 8, 8)):  # fmt: skip
        x = normal(generator, *shape).float()
        says = f"ValueError for images of shape {shape}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda x=x: net(x), says)


# --- latent_nets.Decoder ------------------------------------------------------------------------


def decoded(net, u, C):
    """The image of a net, of the right shape."""
    B, _, h, w = u.shape
    return expect.tensor(net(u), (B, C, 4 * h, 4 * w), "the image")


@decoder(weight=2)
def test_the_layers_of_the_decoder(student, generator):
    """its weights have the table's shapes, in its order, for any channels, latents and width"""
    for options in ((1, 4, 8), (3, 2, 16), options_of(generator)):
        net = student.new("latent_nets.Decoder", *options)
        shapes_are(net, decoder_shapes(*options), options)
    net = student.new("latent_nets.Decoder", width=16, latent=3, channels=2)
    shapes_are(net, decoder_shapes(2, 3, 16), "channels=2, latent=3, width=16")
    shapes_are(student.new("latent_nets.Decoder"), decoder_shapes(1, 4, 24), "the defaults")


@decoder(weight=2)
def test_images_of_any_size(student, generator):
    """the image has four times the sides of its latents, of any size; one is a batch"""
    for C, n in ((1, 4), (3, 2), (1, 1)):
        net = student.new("latent_nets.Decoder", C, n, 8)
        for B, H, W in SIZES:
            decoded(net, normal(generator, B, n, H // 4, W // 4).float(), C)


@decoder(weight=4)
def test_the_image_by_hand(student, generator):
    """the image is what the table gives, in float64, for latents of any size"""
    for options, sizes in ((options_of(generator), SIZES), ((1, 1, 24), SIZES[:2])):
        C, n, w = options
        net = student.new("latent_nets.Decoder", *options)
        s = drawn(net, generator)
        for B, H, W in sizes:
            h = (H // 4, W // 4)
            u = normal(generator, B, n, *h)
            says = f"the image is not what the table gives: width {w}, {B} latents of {h[0]}×{h[1]}"
            expect.close(decoded(net, u, C), by_hand_decoder(u, s), says, **DOUBLE)


@decoder
def test_images_in_float32(student, generator):
    """as made it takes float32 and gives the same numbers, up to rounding"""
    net = student.new("latent_nets.Decoder", 2, 3, 8)
    s = {name: (normal(generator, *w.shape) * 0.3).float() for name, w in net.state().items()}
    net.load(s)
    u = normal(generator, 2, 3, 2, 3).float()
    want = by_hand_decoder(u.double(), {name: w.double() for name, w in s.items()})
    got = decoded(net, u, 2)
    expect.true(got.dtype == torch.float32, "the image is float32", got.dtype, torch.float32)
    expect.close(got, want, "the image in float32", **SINGLE)


@decoder
def test_latents_of_any_length(student, generator):
    """latents of size 0.001 and of size 1000; pixels have no bounds"""
    C, n, w = options_of(generator)
    net = student.new("latent_nets.Decoder", C, n, w)
    s = drawn(net, generator)
    last = [*s][-1]
    s[last] = 100 * s[last]
    net.load(s)
    for size in (1e-3, 1e3):
        u = size * normal(generator, 2, n, 2, 1)
        says = f"the image of latents of size {size:g}"
        expect.close(decoded(net, u, C), by_hand_decoder(u, s), says, atol=1e-8, rtol=1e-8)


@decoder
def test_each_latent_by_itself(student, generator):
    """an image does not depend on the other latents of its batch"""
    net = student.new("latent_nets.Decoder", 2, 3, 8)
    drawn(net, generator)
    u = normal(generator, 3, 3, 2, 2)
    alone = torch.cat([decoded(net, u[i : i + 1], 2) for i in range(3)])
    expect.close(alone, decoded(net, u, 2), "an image depends on other latents", **DOUBLE)


@decoder(weight=2)
def test_the_gradients_of_the_decoder(student, generator):
    """gradients reach the latents and every weight"""
    C, n, w = options_of(generator)
    net = student.new("latent_nets.Decoder", C, n, w)
    s = drawn(net, generator)
    u, c = normal(generator, 2, n, 2, 1), normal(generator, 2, C, 8, 4)
    got, to_u = student.gradient("checking.fakes.weighted", net, c, u, wrt=[net, u])
    leaves = [u, *s.values()]
    for leaf in leaves:
        leaf.requires_grad_()
    want = torch.autograd.grad((c * by_hand_decoder(u, s)).sum(), leaves)
    slopes_agree([to_u, *got.values()], want, ["u", *s])


@decoder
def test_the_last_layer(student, generator):
    """last_layer is the weights of the last convolution"""
    for C in (1, 3):
        net = student.new("latent_nets.Decoder", C, 3, 8)
        got = expect.tensor(net.get("last_layer"), (C, 16, 3, 3), "last_layer")
        want = [*net.state().values()][-2]
        expect.true(torch.equal(got, want), "last_layer is not the last convolution's weights")


@decoder
def test_the_first_weights_of_the_decoder(student):
    """new weights are torch's: others in each net, and the given blocks are the identity"""
    net = student.new("latent_nets.Decoder", 2, 3, 8)
    first_weights(net, {8, 14, 24}, "latent_nets.Decoder", student)


@decoder
def test_what_decoding_leaves_alone(student, generator):
    """a pass leaves mode and gradients as they are, and depends on no earlier one nor the mode"""
    net = student.new("latent_nets.Decoder", 2, 3, 8)
    s = drawn(net, generator)
    s[[*s][-1]] *= 100
    student.checking.fakes.holding_gradients(net)
    u = normal(generator, 2, 3, 2, 2)
    for mode in ("train", "eval"):
        net.call(mode)
        for more in (1.0, 0.5):  # other weights, the same latents
            s[next(iter(s))] *= more
            net.load(s)
            says = f"the image is not what the table gives, in {mode} mode, for new weights"
            expect.close(decoded(net, u, 2), by_hand_decoder(u, s), says, **DOUBLE)


@decoder
def test_latents_that_do_not_fit(student, generator):
    """a ValueError for other numbers of latent channels, or not a batch"""
    net = student.new("latent_nets.Decoder", 2, 3, 8)
    for shape in ((3, 2, 2), (1, 2, 2, 2), (1, 4, 2, 2), (1, 3, 1, 2, 2)):
        u = normal(generator, *shape).float()
        says = f"ValueError for latents of shape {shape}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda u=u: net(u), says)
