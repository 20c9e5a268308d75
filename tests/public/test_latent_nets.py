"""Public checks of chapter 08, the encoder and the decoder."""

import math

import pytest
import torch

from cs231n_gen.checking import expect

encoder = pytest.mark.exercise("latent_nets.Encoder")
decoder = pytest.mark.exercise("latent_nets.Decoder")

TIGHT = {"atol": 1e-9, "rtol": 1e-9}
# What the table gives with the weights of `filled`: some numbers of each result.
NUMBERS = {
    "encoder, usual": [
        [
            1.9390007222985,
            2.1806761982899,
            0.7744624535865,
            -2.2448727002833,
            -1.9109399445475,
            0.56375600958754,
            -0.090471962849455,
            -0.39222071398003,
        ],
        [
            2.022423979717,
            1.8717243405534,
            1.2519824834899,
            -0.8135909375142,
            -0.5083998011124,
            1.3469826048911,
            0.22808903498798,
            -0.19406801180844,
        ],
    ],
    "encoder, small": [
        [
            1.8817385215902,
            2.2405513449609,
            0.86874446802626,
            -2.2083741716191,
            -2.0483271930001,
            0.58501688769188,
            -0.11802779228538,
            -0.45095680577741,
        ],
        [
            1.9522377324693,
            2.0359887566636,
            1.3387142069036,
            -0.85687108900522,
            -0.48805895897875,
            1.3407192580118,
            0.14546948832004,
            -0.14568571832607,
        ],
    ],
    "encoder, large": [
        [
            1.0820795942373,
            1.2674478563717,
            0.028856667376504,
            -1.9696257727913,
            -1.2203090566353,
            1.0805636614693,
            -0.26374269795889,
            0.49002311565823,
        ],
        [
            1.2202496616266,
            0.65296743827335,
            0.71173828027065,
            -1.5293058179667,
            -1.1713848085981,
            0.68838108793465,
            1.092383088432,
            -0.11134943749165,
        ],
    ],
    "bounds, 30": [
        [
            -39.34518335905,
            29.854463587646,
            -0.42810003848362,
            -39.8729159532,
            30.810654786692,
            -1.3899219582109,
        ],
        [20.0, -30.0, 0.49223336536451, 20.0, -30.0, -0.23260699233528],
    ],
    "bounds, 17": [
        [
            -26.34518335905,
            16.854463587646,
            -0.42810003848362,
            -26.8729159532,
            17.810654786692,
            -1.3899219582109,
        ],
        [
            17.812430591416,
            -27.837504221272,
            0.49223336536451,
            18.354565442121,
            -27.720219894866,
            -0.23260699233528,
        ],
    ],
    "encoder, gradients": [
        0.0024745441384704,
        0.018224456754045,
        -0.031763397122531,
        -0.037672666663237,
        -0.076432980801033,
        0.0065304526138942,
        0.012079047673095,
        -0.010194029839739,
        -0.0069791118833962,
        0.24611063208334,
        -0.27185224581783,
        -0.017485545903031,
        -0.084333387186136,
        0.61208923527942,
        -0.76555139680854,
        -0.39850440609491,
        -0.29056532526427,
        -0.00049772278344782,
        -0.0021094348610868,
        -0.024420781777613,
        0.044118862572837,
        0.44627728975996,
        -1.8927780466372,
    ],
    "decoder, usual": [
        -1.151079099503,
        -1.4632204938104,
        -1.4483279371605,
        0.030876243548283,
        0.39052786443788,
        0.31166895590331,
        0.32699809874227,
        -0.08095987966549,
    ],
    "decoder, small": [
        -1.2001795017945,
        -1.5026649282714,
        -1.5096483894485,
        0.023971001817189,
        0.39641189622982,
        0.30061292702863,
        0.37033360272656,
        -0.091019232466409,
    ],
    "decoder, large": [
        300.28362352825,
        300.08868562863,
        300.0906411808,
        -199.85476444886,
        -199.49246310836,
        -199.78273465568,
        -199.60035450063,
        -200.09643438091,
    ],
    "decoder, gradients": [
        0.30203456990051,
        -0.07633001157187,
        0.049971518745987,
        -0.054214360962595,
        -0.026033478634568,
        0.0057664977354098,
        0.0031318384474589,
        0.014174579902715,
        0.010288295325616,
        -0.0051164777993045,
        0.058090926758557,
        0.021520238307397,
        0.037306918055113,
        1.3514670163419,
        -0.81397142590466,
        -0.21908130876556,
        0.056910119343536,
        -0.2168976434299,
        0.13472819871488,
        0.20806352201072,
        0.48384802557458,
        0.17063503986007,
        5.5511151231258e-17,
        -0.74981435212176,
        0.19681268829389,
        0.08749682670522,
        1.3877787807814e-16,
        0.27904742883688,
        2.4382728562518,
        0.080652960370608,
        0.52940540566053,
        -0.51536606415266,
        1.0778641260713,
    ],
    "encoder, wide": [
        [
            0.99188678450253,
            1.0551991428087,
            -0.043840354973182,
            -0.53118800234909,
            -0.43672584470306,
            0.86754176099495,
            0.022511872019845,
            0.11287092106265,
        ],
        [
            1.0452739841478,
            0.95295643762945,
            0.54479884158566,
            -1.7887180601893,
            -1.8543799093621,
            1.1579351066573,
            0.51748428358433,
            0.40747936145802,
        ],
    ],
    "decoder, wide": [
        -1.5144056114057,
        -1.4910345209156,
        -1.6673798804302,
        0.028285521432825,
        0.11738629273642,
        -0.1208065463832,
        -0.16141332950646,
        -0.14432460599353,
    ],
}


def waves(*shape, rate=7.3, scale=1.0):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (rate * (1 + u)).sin().reshape(shape)


def filled(student, net, bias=None, dtype=torch.float64):
    """The net with weights that are the same everywhere, in the order of its layers; with these
    biases in its last layer."""
    net.call("double" if dtype == torch.float64 else "float")
    weights = weights_of(student.checking.fakes.shapes_in_order(net))
    if bias is not None:
        weights[-1] = bias.double()
    student.checking.fakes.fill(net, weights)
    return net


def weights_of(shapes):
    weights = []
    for n, shape in enumerate(shapes):
        size = math.prod(shape[1:]) if len(shape) > 1 else 1
        weights.append(waves(*shape, rate=1.7 + 0.3 * n, scale=1.4 / size**0.5))
    return weights


def some(result):
    """A few numbers from all parts of a result."""
    return result.flatten()[:: max(1, result.numel() // 8)][:8]


def kernel(outputs, inputs, side):
    return [(outputs, inputs, side, side), (outputs,)]


def residual(c):
    return 2 * [(c,), (c,), *kernel(c, c, 3)]


def attention(c):
    return [(c,), (c,), *kernel(3 * c, c, 1), *kernel(c, c, 1)]


def encoder_shapes(C, n, w):
    first = [*kernel(w, C, 4), *kernel(2 * w, w, 4)]
    middle = [*residual(2 * w), *attention(2 * w), (2 * w,), (2 * w,)]
    return [*first, *middle, *kernel(2 * n, 2 * w, 1)]


def decoder_shapes(C, n, w):
    first = [*kernel(2 * w, n, 3), *residual(2 * w), *attention(2 * w)]
    middle = [*kernel(4 * w, 2 * w, 1), *residual(w), (w,), (w,), *kernel(64, w, 3)]
    return [*first, *middle, *kernel(C, 16, 3)]


def shapes_are(student, net, want, options):
    got = [tuple(shape) for shape in student.checking.fakes.shapes_in_order(net)]
    expect.true(got == want, f"the weights in their order, for {options}", got, want)


def first_weights(student, name, zero):
    """They are torch's, in float32, and 0 where a given block is the identity at first."""
    one, other = ([*student.new(name, 2, 3, 8).state().values()] for _ in range(2))
    for n, (w, v) in enumerate(zip(one, other, strict=True)):
        expect.true(w.dtype == torch.float32, "new weights are float32", w.dtype, torch.float32)
        if w.dim() == 4:
            says = (
                f"tensor {n} of the weights in order: only a given block's last layer begins at 0"
            )
            expect.true(bool(w.any()) != (n in zero), says)
            fresh = n in zero or not torch.equal(w, v)
            expect.true(fresh, "two new nets have the same weights: seed nothing")


# --- latent_nets.Encoder ------------------------------------------------------------------------


def encoded(net, x, n):
    """μ and log σ², of the right shapes."""
    shape = (len(x), n, x.shape[2] // 4, x.shape[3] // 4)
    mean, log_var = expect.unpack(net(x), ("mean", "log_var"))
    return expect.tensor(mean, shape, "μ"), expect.tensor(log_var, shape, "log σ²")


@encoder
def test_the_layers_of_the_encoder(student):
    """its weights have the table's shapes, in its order, for any channels, latents and width"""
    for options in ((1, 4, 8), (3, 2, 16)):
        shapes_are(
            student, student.new("latent_nets.Encoder", *options), encoder_shapes(*options), options
        )
    shapes_are(
        student, student.new("latent_nets.Encoder"), encoder_shapes(1, 4, 24), "the defaults"
    )


@encoder
def test_latents_of_any_size(student):
    """latents have a quarter of the image's sides, whichever 4 divides; one image is a batch"""
    for C, n in ((2, 3), (1, 1)):
        net = student.new("latent_nets.Encoder", C, n, 8)
        for B, H, W in ((1, 4, 4), (2, 8, 12), (3, 4, 20)):
            encoded(net, waves(B, C, H, W).float(), n)


@encoder
@pytest.mark.parametrize("form", ["usual", "small", "large", "wide"])
def test_mean_and_variance(student, form):
    """with weights that are filled in, μ and log σ² are what the table gives, for width 24 too"""
    net = filled(student, student.new("latent_nets.Encoder", 2, 3, 24 if form == "wide" else 8))
    x = waves(2, 2, 8, 12, rate=0.9, scale={"small": 2e-3, "large": 1e3}.get(form, 1))
    mean, log_var = encoded(net, x, 3)
    want = NUMBERS[f"encoder, {form}"]
    expect.close(some(mean), want[0], f"μ of {form} images", what="μ", **TIGHT)
    expect.close(some(log_var), want[1], f"log σ² of {form} images", what="log σ²", **TIGHT)


@encoder
def test_log_var_has_bounds(student):
    """log σ² is kept from −30 to 20; μ has no bounds"""
    net = student.new("latent_nets.Encoder", 2, 3, 8)
    x = waves(2, 2, 4, 4, rate=0.9)
    for low, high in ((-40.0, 30.0), (-27.0, 17.0)):
        filled(student, net, torch.tensor([low, high, 0.0, high, low, 0.0]))
        mean, log_var = encoded(net, x, 3)
        want = NUMBERS[f"bounds, {high:g}"]
        expect.close(some(log_var), want[1], "log σ² from −30 to 20", what="log σ²", **TIGHT)
        expect.close(some(mean), want[0], "μ has no bounds", what="μ", **TIGHT)


@encoder
def test_encoding_in_float32(student):
    """as made it takes float32, and gives the same numbers in training and in eval mode"""
    net = filled(student, student.new("latent_nets.Encoder", 2, 3, 8), dtype=torch.float32)
    student.checking.fakes.holding_gradients(net)
    x = waves(2, 2, 8, 12, rate=0.9).float()
    for mode in ("train", "eval"):
        net.call(mode)
        for got, want in zip(encoded(net, x, 3), NUMBERS["encoder, usual"], strict=True):
            expect.true(got.dtype == torch.float32, "results are float32", got.dtype, torch.float32)
            expect.close(some(got), want, f"float32, in {mode} mode", atol=1e-3, rtol=1e-3)
    filled(student, net, torch.full((6,), 9.0), torch.float32)
    for got, want in zip(encoded(net, x, 3), NUMBERS["encoder, usual"], strict=True):
        changed = bool((some(got) - torch.tensor(want)).abs().min() > 1)
        expect.true(changed, "a pass after a change of weights, with the same images, gives others")


@encoder
def test_each_image_by_itself(student):
    """an image's latents do not depend on the other images of its batch"""
    net = filled(student, student.new("latent_nets.Encoder", 2, 3, 8))
    x = waves(3, 2, 4, 8)
    together = encoded(net, x, 3)
    alone = [encoded(net, x[n : n + 1], 3) for n in range(3)]
    for part, want in zip(zip(*alone, strict=True), together, strict=True):
        expect.close(torch.cat(part), want, "latents depend on the other images", **TIGHT)


@encoder
def test_the_gradients_of_the_encoder(student):
    """gradients of μ and log σ² reach the image and every weight"""
    net = filled(student, student.new("latent_nets.Encoder", 2, 3, 8))
    x, c = waves(2, 2, 8, 8, rate=0.9), [waves(2, 3, 2, 2, rate=r) for r in (0.7, 1.1)]
    got, to_x = student.gradient("checking.fakes.weighted_both", net, c, x, wrt=[net, x])
    reach(got, to_x, "encoder")


def reach(got, to_input, name):
    """A number of each gradient is that of the table."""
    for n, gradient in enumerate([to_input, *got.values()]):
        where = f"weights {n - 1} in order" if n else "the input"
        expect.true(gradient is not None, f"no gradient reaches {where}")
    ends = torch.stack([gradient.flatten()[-1] for gradient in [to_input, *got.values()]])
    want = NUMBERS[f"{name}, gradients"]
    expect.close(ends, want, "the last number of each gradient", atol=1e-8, rtol=1e-8)


@encoder
def test_the_first_weights_of_the_encoder(student):
    """new weights are torch's: others in each net, and the given blocks are the identity"""
    first_weights(student, "latent_nets.Encoder", {10, 16})


@encoder
def test_images_that_do_not_fit(student):
    """a ValueError for other channels, or a side that 4 does not divide, or not a batch"""
    net = student.new("latent_nets.Encoder", 2, 3, 8)
    for shape in ((2, 8, 8), (1, 3, 8, 8), (1, 1, 8, 8), (1, 2, 6, 8), (1, 2, 8, 6)):
        says = f"ValueError for images of shape {shape}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda s=shape: net(waves(*s).float()), says)


# --- latent_nets.Decoder ------------------------------------------------------------------------


def decoded(net, u, C):
    """The image, of the right shape."""
    B, _, h, w = u.shape
    return expect.tensor(net(u), (B, C, 4 * h, 4 * w), "the image")


@decoder
def test_the_layers_of_the_decoder(student):
    """its weights have the table's shapes, in its order, for any channels, latents and width"""
    for options in ((1, 4, 8), (3, 2, 16)):
        shapes_are(
            student, student.new("latent_nets.Decoder", *options), decoder_shapes(*options), options
        )
    shapes_are(
        student, student.new("latent_nets.Decoder"), decoder_shapes(1, 4, 24), "the defaults"
    )


@decoder
def test_images_of_any_size(student):
    """the image has four times the sides of its latents, of any size; one is a batch"""
    for C, n in ((2, 3), (1, 1)):
        net = student.new("latent_nets.Decoder", C, n, 8)
        for B, h, w in ((1, 1, 1), (2, 2, 3), (3, 1, 5)):
            decoded(net, waves(B, n, h, w).float(), C)


@decoder
@pytest.mark.parametrize("form", ["usual", "small", "large", "wide"])
def test_the_image(student, form):
    """with weights that are filled in, the image is what the table gives, for width 24 too; pixels
    have no bounds"""
    bias = torch.tensor([300.0, -200.0]) if form == "large" else None
    net = student.new("latent_nets.Decoder", 2, 3, 24 if form == "wide" else 8)
    net = filled(student, net, bias)
    u = waves(2, 3, 2, 3, rate=0.9, scale={"small": 2e-3, "large": 1e3}.get(form, 1))
    got = decoded(net, u, 2)
    want = NUMBERS[f"decoder, {form}"]
    expect.close(pixels(got), want, f"the image of {form} latents", **TIGHT)


def pixels(image):
    """A few that tell rows, columns and channels apart."""
    return torch.cat([image[0, 0, 1:4, 2], image[-1, -1, 6, 1:4], image[0, -1, -1, -2:]])


@decoder
def test_images_in_float32(student):
    """as made it takes float32, and gives the same numbers in training and in eval mode"""
    net = filled(student, student.new("latent_nets.Decoder", 2, 3, 8), dtype=torch.float32)
    student.checking.fakes.holding_gradients(net)
    for mode in ("train", "eval"):
        net.call(mode)
        got = decoded(net, waves(2, 3, 2, 3, rate=0.9).float(), 2)
        expect.true(got.dtype == torch.float32, "images are float32", got.dtype, torch.float32)
        want = NUMBERS["decoder, usual"]
        expect.close(pixels(got), want, f"float32, in {mode} mode", atol=1e-3, rtol=1e-3)
    filled(student, net, torch.full((2,), 9.0), torch.float32)
    got = pixels(decoded(net, waves(2, 3, 2, 3, rate=0.9).float(), 2))
    changed = bool((got - torch.tensor(NUMBERS["decoder, usual"])).abs().min() > 1)
    expect.true(changed, "a pass after a change of weights, with the same latents, gives others")


@decoder
def test_each_latent_by_itself(student):
    """an image does not depend on the other latents of its batch"""
    net = filled(student, student.new("latent_nets.Decoder", 2, 3, 8))
    u = waves(3, 3, 1, 2)
    alone = torch.cat([decoded(net, u[n : n + 1], 2) for n in range(3)])
    expect.close(alone, decoded(net, u, 2), "an image depends on other latents", **TIGHT)


@decoder
def test_the_gradients_of_the_decoder(student):
    """gradients reach the latents and every weight"""
    net = filled(student, student.new("latent_nets.Decoder", 2, 3, 8))
    u, c = waves(2, 3, 2, 2, rate=0.9), waves(2, 2, 8, 8, rate=0.7)
    got, to_u = student.gradient("checking.fakes.weighted", net, c, u, wrt=[net, u])
    reach(got, to_u, "decoder")


@decoder
def test_the_last_layer(student):
    """last_layer is the weights of the last convolution"""
    net = student.new("latent_nets.Decoder", 3, 2, 8)
    got = expect.tensor(net.get("last_layer"), (3, 16, 3, 3), "last_layer")
    want = [*net.state().values()][-2]
    expect.true(torch.equal(got, want), "last_layer is not the last convolution's weights")


@decoder
def test_the_first_weights_of_the_decoder(student):
    """new weights are torch's: others in each net, and the given blocks are the identity"""
    first_weights(student, "latent_nets.Decoder", {8, 14, 24})


@decoder
def test_latents_that_do_not_fit(student):
    """a ValueError for other numbers of latent channels, or not a batch"""
    net = student.new("latent_nets.Decoder", 2, 3, 8)
    for shape in ((3, 2, 2), (1, 2, 2, 2), (1, 4, 2, 2)):
        says = f"ValueError for latents of shape {shape}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda s=shape: net(waves(*s).float()), says)
