"""Public checks of chapter 03, nets for GANs."""

import math

import pytest
import torch

from cs231n_gen.checking import expect

adain = pytest.mark.exercise("gan_nets.adain")
generator_net = pytest.mark.exercise("gan_nets.Generator")
discriminator_net = pytest.mark.exercise("gan_nets.Discriminator")
style_net = pytest.mark.exercise("gan_nets.StyleGenerator")
lerp = pytest.mark.exercise("gan_nets.lerp")
slerp = pytest.mark.exercise("gan_nets.slerp")


def waves(*shape, rate=7.3, scale=1.0):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (rate * (1 + u)).sin().reshape(shape)


# --- gan_nets.adain -----------------------------------------------------------------------------

X = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[0.0, 0.0], [0.0, 4.0]]],
                  [[[2.0, 2.0], [4.0, 4.0]], [[10.0, 30.0], [50.0, 30.0]]]])  # fmt: skip
SCALE = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
BIAS = torch.tensor([[0.0, 5.0], [-1.0, 0.25]])


@adain
def test_channel_by_channel(student):
    """each channel of each example by itself: w (x − μ)/σ + b"""
    got = student.gan_nets.adain(X, SCALE, BIAS)
    r, s = math.sqrt(5), math.sqrt(3)
    want = torch.tensor(
        [
            [[[-3 / r, -1 / r], [1 / r, 3 / r]], [[5 + 2 / s, 5 + 2 / s], [5 + 2 / s, 5 - 2 * s]]],
            [[[-1.5, -1.5], [-0.5, -0.5]], [[0.25 - 18**0.5, 0.25], [0.25 + 18**0.5, 0.25]]],
        ]
    )
    expect.close(got, want, "w (x − μ)/σ + b, with μ and σ of one channel", atol=1e-4, rtol=1e-4)


@adain
def test_the_statistics_of_what_comes_out(student):
    """each channel ends with mean b and standard deviation |w|"""
    x = 5 + waves(2, 3, 4, 6, scale=2.0)
    w, b = waves(2, 3, rate=2.1), waves(2, 3, rate=1.3)
    got = expect.tensor(student.gan_nets.adain(x, w, b), x.shape)
    expect.close(got.mean((2, 3)), b, "the mean of each channel is its b", atol=1e-4, rtol=1e-4)
    says = "the standard deviation of each channel is |w|"
    expect.close(got.std((2, 3), correction=0), w.abs(), says, atol=1e-4, rtol=1e-4)


@adain
def test_where_epsilon_is(student):
    """ε is added to the variance, under the root"""
    x = torch.tensor([[[[-0.004, 0.004], [0.004, -0.004]]]], dtype=torch.float64)
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    got = student.gan_nets.adain(x, one, zero)
    want = x / math.sqrt(0.004**2 + 1e-5)
    expect.close(got, want, "σ = √(variance + 1e-5)", atol=1e-6, rtol=1e-6)


@adain
def test_what_the_gradient_sees(student):
    """gradients flow through μ and σ: the sum of a channel does not depend on x"""
    x, w, b = waves(1, 2, 3, 3), torch.ones(1, 2).double(), torch.zeros(1, 2).double()
    (to_x,) = student.gradient("gan_nets.adain", x, w, b, wrt=[x])
    says = "μ and σ are functions of x: neither detach them nor take them under no_grad"
    expect.close(to_x, torch.zeros_like(x), says, what="the gradient")


@adain
def test_the_slope_of_each_number(student):
    """every number of x, w and b has its own slope, through μ and through σ"""
    x, w, b = waves(2, 3, 2, 4), waves(2, 3, rate=2.1), waves(2, 3, rate=1.3)
    c = waves(2, 3, 2, 4, rate=0.7)
    function = student.function("gan_nets.adain")
    got = student.gradient("checking.fakes.weighted", function, c, x, w, b, wrt=[x, w, b])
    off = x - x.mean((2, 3), keepdim=True)
    sigma = (off.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
    unit = off / sigma
    middle, along = c.mean((2, 3), keepdim=True), (c * unit).mean((2, 3), keepdim=True)
    want = [w[..., None, None] / sigma * (c - middle - unit * along)]
    want += [(c * unit).sum((2, 3)), c.sum((2, 3))]
    for g, v, name in zip(got, want, ("x", "w", "b"), strict=True):
        says = f"the gradient of {name}: nothing may be cut out of the graph"
        expect.close(g, v, says, atol=1e-8, rtol=1e-8, what=f"the gradient of {name}")


@adain
def test_means_far_from_0(student):
    """where the mean is 1000 times the deviation, the deviation keeps its digits"""
    for dtype, mean, digits in ((torch.float32, 1e3, 2e-3), (torch.float64, 1e3, 1e-6)):
        x = (mean + waves(2, 2, 5, 6, scale=1.4)).to(dtype)
        w, b = waves(2, 2, rate=2.1).to(dtype), waves(2, 2, rate=1.3).to(dtype)
        off = x.double() - x.double().mean((2, 3), keepdim=True)
        unit = off / (off.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        want = w.double()[..., None, None] * unit + b.double()[..., None, None]
        got = student.gan_nets.adain(x, w, b)
        says = f"E[x²] − μ² loses all digits where μ is {mean:g}: average (x − μ)² instead"
        expect.close(got, want, says, atol=digits, rtol=digits)


@adain
def test_features_of_every_size(student):
    """one example, one channel, one row or one column, and another ε; exact in float64"""
    for shape in ((1, 3, 4, 4), (3, 1, 2, 5), (1, 1, 1, 2), (2, 3, 5, 1)):
        x, w, b = waves(*shape), waves(*shape[:2], rate=2.1), waves(*shape[:2], rate=1.3)
        off = x - x.mean((2, 3), keepdim=True)
        unit = off / (off.square().mean((2, 3), keepdim=True) + 1e-3).sqrt()
        want = w[..., None, None] * unit + b[..., None, None]
        got = student.gan_nets.adain(x, w, b, eps=1e-3)
        says = f"w (x − μ)/σ + b for features of shape {shape}, with ε = 0.001"
        expect.close(got, want, says, atol=1e-10, rtol=1e-10)


@adain
def test_styles_that_do_not_fit(student):
    """x has four axes, scale and bias are (batch, channels): else it raises a ValueError"""
    style = waves(2, 3)
    for shape in ((2, 3, 4), (2, 3, 4, 1, 2), (2, 3)):
        says = f"ValueError for x {shape}: leave the lines above yours as they are"
        x = waves(*shape)
        expect.raises("ValueError", lambda x=x: student.gan_nets.adain(x, style, style), says)
    x = waves(2, 3, 2, 4)
    for shape in ((3,), (1, 3), (2, 1), (2, 4), (2, 3, 1, 1), (3, 2), ()):
        other = waves(*shape)
        for styles in ((other, style), (style, other)):
            got = " and ".join(str(tuple(s.shape)) for s in styles)
            says = f"ValueError for x (2, 3, 2, 4), scale and bias {got}: leave the lines above"
            expect.raises("ValueError", lambda s=styles: student.gan_nets.adain(x, *s), says)


# Pixels 3 to 6 of row 5, and logits, as they come of the weights of `filled`.
IMAGES = {
    "eval": [
        [0.8660104666, 0.9022683378, 0.882093173, 0.7202738615],
        [0.9633430724, 0.9552220333, 0.8793746072, 0.6241681514],
    ],
    "train": [
        [0.8538510971, 0.8874585746, 0.8917564881, 0.6154101981],
        [0.7809745324, 0.8216029194, 0.8751658442, 0.806545874],
    ],
}
LOGITS = {
    "eval": [0.3582179837, -1.466577272, -0.3387068921],
    "train": [0.6968627402, -1.570446952, -0.5074146601],
}
STYLED = {
    "own": [[-0.91573, -0.74692, -0.05775, 0.4891], [-0.8198, -0.17516, 0.45713, 0.65459]],
    "mixed": [
        [-0.99873, -0.97598, -0.74096, -0.25144],
        [-0.96965, -0.66951, 0.05861, 0.41289],
        [-0.99913, -0.97875, -0.8056, -0.40358],
        [-0.98003, -0.72073, -0.0182, 0.38615],
    ],
    "another": [[0.26933, 0.2732, 0.27531, 0.28032], [0.28471, 0.29523, 0.29862, 0.30249]],
}


# Gradients of Σ c · result: of what goes in, of the first weights, of the last.
SLOPES = {
    "G, eval": [
        [-21.7049, -9.22159, 5.35337],
        [5.14622, 5.80301, 2.06819],
        [-3.58318, -3.62441, -1.45157],
    ],
    "G, train": [
        [-6.49467, -6.05579, 5.95633],
        [-0.111864, 0.0734255, 0.203148],
        [0.424695, -0.722414, 1.0386],
    ],
    "D, eval": [
        [0.000354924, 0.00464095, 0.00307912],
        [0.140527, 0.579007, 0.0655695],
        [-0.0664112, -0.229238, -0.210539],
    ],
    "D, train": [
        [0.000383317, 0.0107905, 0.00129021],
        [-0.0671197, 0.126245, -0.135643],
        [-0.0472186, -0.227282, -0.0669191],
    ],
    "style": [
        [-0.595716, -0.0853213, -0.455432],
        [0.125352, 1.72001, 0.960088],
        [0.0169829, -0.0738635, 0.021596],
        [-0.11057, 0.0879721, 0.0332401],
        [-0.0142372, 0.0187613, -0.0361161],
    ],
    "strength": [[-0.208182, -1.96628], [-0.0520937, 0.0194085], [0.259458, -0.0805344]],
}
# Running means and variances after one pass in training.
RUNNING = {
    "G": [[-0.825269, 0.470739, 0.581107], [1.19043, 1.06967, 1.51399]],
    "D": [
        [0.948845, 0.778297, 0.247375, 0.905041, 1.38902, 0.407944],
        [78.7344, 74.5564, 75.675, 75.2157, 75.6451, 77.9061],
    ],
}


# --- gan_nets.Generator, gan_nets.Discriminator ---------------------------------------------------


def filled(net, scale=1.0):
    """The net in float64 with weights that are the same everywhere."""
    net.call("double")
    state = net.state()
    for n, (name, old) in enumerate(state.items()):
        if name.endswith("running_var"):
            state[name] = 1.5 + waves(*old.shape, rate=1.7 + n)
        elif old.is_floating_point():
            state[name] = waves(*old.shape, rate=1.7 + n, scale=scale)
    net.load(state)


def weights_differ(one, other):
    """Kernels are drawn anew for each net."""
    drawn = [torch.cat([w.flatten() for w in net.state().values() if w.dim() > 1])
             for net in (one, other)]  # fmt: skip
    says = "two new nets have the same weights: let torch draw them, and do not seed it"
    expect.true(not torch.equal(*drawn), says)


def layers_are(net, want):
    """The shapes of its weights, in order; vectors are told by their number."""
    state = [w for w in net.state().values() if w.dim()]
    kernels = [tuple(w.shape) for w in state if w.dim() > 1]
    expect.true(kernels == want[0], "the kernels have other shapes", kernels, want[0])
    vectors = [tuple(w.shape) for w in state if w.dim() == 1]
    says = "other biases and batch norms: four vectors a norm, and a bias where no norm follows"
    expect.true(vectors == want[1], says, vectors, want[1])


@generator_net
def test_the_layers_of_the_generator(student):
    """its layers are those of the table"""
    G = student.new("gan_nets.Generator", latent=3, width=4)
    kernels = [(3, 8, 4, 4), (8, 4, 4, 4), (4, 1, 4, 4)]
    layers_are(G, (kernels, [*[(8,)] * 4, *[(4,)] * 4, (1,)]))


@generator_net
def test_the_images_of_the_generator(student):
    """its images after training are those of these weights"""
    G = student.new("gan_nets.Generator", latent=3, width=4)
    filled(G)
    G.call("eval")
    x = expect.tensor(G(waves(2, 3, rate=0.9)), (2, 1, 16, 16), "the images")
    expect.close(
        x[:, 0, 5, 3:7],
        torch.tensor(IMAGES["eval"], dtype=torch.float64),
        "other pixels",
        atol=2e-9,
        rtol=2e-9,
    )


@generator_net
def test_the_generator_in_training(student):
    """in training its batch norms use the statistics of the batch"""
    G = student.new("gan_nets.Generator", latent=3, width=4)
    filled(G)
    G.call("train")
    x = expect.tensor(G(waves(4, 3, rate=0.9)), (4, 1, 16, 16), "the images")
    expect.close(
        x[:2, 0, 5, 3:7],
        torch.tensor(IMAGES["train"], dtype=torch.float64),
        "other pixels",
        atol=2e-9,
        rtol=2e-9,
    )


@generator_net
def test_images_reach_from_minus_1_to_1(student):
    """images reach from −1 to 1, and no further"""
    G = student.new("gan_nets.Generator", latent=3, width=4)
    filled(G, scale=3.0)
    x = expect.tensor(G(waves(8, 3, rate=0.9)), (8, 1, 16, 16), "the images")
    expect.true(bool(x.abs().max() <= 1), "an image leaves [−1, 1]", x.abs().max(), 1)
    expect.true(bool(x.min() < -0.5), "nothing is dark: data begin at −1", x.min(), "about −1")


def slopes_of(student, net, x, shape, names, *rest):
    """Some numbers of the gradients of what goes in and of these weights."""
    c = waves(*shape, rate=0.7)
    to_x, found = student.gradient("checking.fakes.weighted", net, c, x, *rest, wrt=[x, net])
    parts = {"what goes in": to_x, **{n: found.get(n) for n in names}}
    for name, g in parts.items():
        says = f"no gradient reaches {name}: it was cut off from the graph"
        expect.true(isinstance(g, torch.Tensor), says)
    return torch.stack([g.flatten()[:: max(1, g.numel() // 3)][:3] for g in parts.values()])


def slopes_are(student, net, x, shape, case, *rest):
    """The gradients are those of the table."""
    state = net.state()
    kernels = [n for n, w in state.items() if w.dim() == 4]
    got = slopes_of(student, net, x, shape, [kernels[0], kernels[-1]], *rest)
    says = f"gradients of the input, the first and the last weights ({case})"
    expect.close(got, torch.tensor(SLOPES[case]), says, atol=1e-4, rtol=1e-4, what="gradients")


def running_of(net):
    """The last running mean and variance."""
    state = [w for n, w in net.state().items() if "running" in n]
    return torch.stack(state[-2:])


@generator_net
def test_the_gradients_of_the_generator(student):
    """gradients reach the latents and every weight, in training and after it"""
    for mode in ("eval", "train"):
        G = student.new("gan_nets.Generator", latent=3, width=4)
        filled(G)
        G.call(mode)
        slopes_are(student, G, waves(4, 3, rate=0.9, scale=3.0), (4, 1, 16, 16), f"G, {mode}")


@generator_net
def test_batches_of_one_and_running_statistics(student):
    """a batch of one image; what a pass in training moves, and one after it does not"""
    G = student.new("gan_nets.Generator", latent=3, width=3)
    filled(G)
    z = waves(2, 3, rate=0.9)
    G.call("eval")
    both = expect.tensor(G(z), (2, 1, 16, 16), "the images")
    one = expect.tensor(G(z[:1]), (1, 1, 16, 16), "one image")
    says = "an image depends on the others of its batch"
    expect.close(one, both[:1], says, atol=1e-9, rtol=1e-9)
    G.call("train")
    expect.tensor(G(z[:1]), (1, 1, 16, 16), "one image in training")
    says = "running statistics move a tenth of the way, as torch's batch norm has it"
    expect.close(running_of(G), torch.tensor(RUNNING["G"]), says, atol=1e-4, rtol=1e-4)
    expect.true(bool(G.get("training")), "G has changed its mode")


@generator_net
def test_generators_do_not_touch_what_they_hold(student):
    """each is made with weights of its own; a pass leaves gradients where they are"""
    one, other = (student.new("gan_nets.Generator", latent=3, width=4) for _ in range(2))
    weights_differ(one, other)
    student.checking.fakes.holding_gradients(one)
    one.call("eval")
    expect.tensor(one(waves(2, 3).float()), (2, 1, 16, 16), "the images")


@discriminator_net
def test_the_layers_of_the_discriminator(student):
    """its layers are those of the table"""
    D = student.new("gan_nets.Discriminator", width=2)
    kernels = [(2, 1, 4, 4), (4, 2, 4, 4), (1, 4, 4, 4)]
    layers_are(D, (kernels, [(2,), *[(4,)] * 4, (1,)]))


@discriminator_net
def test_the_logits_of_the_discriminator(student):
    """its logits after training are those of these weights, one for each image"""
    D = student.new("gan_nets.Discriminator", width=2)
    filled(D, scale=0.5)
    D.call("eval")
    l = D(waves(3, 1, 16, 16, rate=0.9))
    expect.close(
        l,
        torch.tensor(LOGITS["eval"], dtype=torch.float64),
        "other logits",
        atol=2e-9,
        rtol=2e-9,
        what="the logits",
    )


@discriminator_net
def test_the_discriminator_in_training(student):
    """in training its batch norm uses the statistics of the batch"""
    D = student.new("gan_nets.Discriminator", width=2)
    filled(D, scale=0.5)
    D.call("train")
    l = D(waves(3, 1, 16, 16, rate=0.9))
    expect.close(
        l,
        torch.tensor(LOGITS["train"], dtype=torch.float64),
        "other logits",
        atol=2e-9,
        rtol=2e-9,
        what="the logits",
    )


@discriminator_net
def test_the_gradients_of_the_discriminator(student):
    """gradients reach the images, from which G learns, and every weight"""
    for mode in ("eval", "train"):
        D = student.new("gan_nets.Discriminator", width=2)
        filled(D, scale=0.5)
        D.call(mode)
        slopes_are(student, D, waves(3, 1, 16, 16, rate=0.9), (3,), f"D, {mode}")


@discriminator_net
def test_one_image_and_running_statistics(student):
    """one image has a logit shaped (1,); what a pass in training moves"""
    D = student.new("gan_nets.Discriminator", width=3)
    filled(D)
    x = 5 * waves(2, 1, 16, 16, rate=0.9)
    D.call("eval")
    both, one = expect.tensor(D(x), (2,), "the logits"), expect.tensor(D(x[:1]), (1,), "one logit")
    expect.close(one, both[:1], "a logit depends on the others of its batch", atol=1e-9, rtol=1e-9)
    D.call("train")
    expect.tensor(D(x[:1]), (1,), "one logit in training")
    says = "running statistics move a tenth of the way, as torch's batch norm has it"
    expect.close(running_of(D), torch.tensor(RUNNING["D"]), says, atol=1e-4, rtol=1e-4)
    expect.true(bool(D.get("training")), "D has changed its mode")


@discriminator_net
def test_logits_of_any_size(student):
    """logits have no bounds"""
    D = student.new("gan_nets.Discriminator", width=2)
    filled(D, scale=4.0)
    D.call("eval")
    l = expect.tensor(D(20 * waves(4, 1, 16, 16, rate=0.9)), (4,), "the logits")
    expect.true(bool(l.abs().max() > 300), "far logits are cut off", l.abs().max(), "more than 300")


@discriminator_net
def test_discriminators_do_not_touch_what_they_hold(student):
    """each is made with weights of its own; a pass leaves gradients where they are"""
    one, other = (student.new("gan_nets.Discriminator", width=2) for _ in range(2))
    weights_differ(one, other)
    student.checking.fakes.holding_gradients(one)
    one.call("eval")
    expect.tensor(one(waves(2, 1, 16, 16).float()), (2,), "the logits")


# --- gan_nets.StyleGenerator ----------------------------------------------------------------------


def style_generator(student, norm=None):
    """A small one with fixed weights; styles and noise for two images."""
    G = student.new("gan_nets.StyleGenerator", latent=3, width=2, norm=norm)
    filled(G)
    styles = [waves(2, 3, rate=rate) for rate in (0.9, 1.9, 2.9)]
    noise = [waves(2, 1, size, size, rate=3.1 + size) for size in (4, 8, 16)]
    return G, styles, noise


def half(x, scale, bias, eps=1e-5):
    """No AdaIN at all, to see which one is called."""
    return 0.1 * x + scale[:, :, None, None] - bias[:, :, None, None]


@style_net
def test_one_styled_image(student):
    """a batch of one is the first image of two; styles and noise may also come as tuples"""
    G, styles, noise = style_generator(student)
    both = expect.tensor(G.call("synthesis", styles, noise), (2, 1, 16, 16), "the images")
    one = G.call("synthesis", tuple(w[:1] for w in styles), tuple(n[:1] for n in noise))
    one = expect.tensor(one, (1, 1, 16, 16), "one image")
    says = "an image depends on the others of its batch"
    expect.close(one, both[:1], says, atol=1e-9, rtol=1e-9)


@style_net
def test_the_gradients_of_the_style_generator(student):
    """gradients reach the latents, the constant, and every layer"""
    G, _, _ = style_generator(student)
    state = G.state()
    G.load({k: torch.zeros_like(v) if k.endswith("strength") else v for k, v in state.items()})
    names = ["constant", "layers.0.style.weight", "layers.2.style.bias", "layers.1.conv.weight"]
    z = waves(2, 3, rate=0.9)
    got = slopes_of(student, G, z, (2, 1, 16, 16), names)
    says = f"gradients of the latents, {', '.join(names)}"
    want = torch.tensor(SLOPES["style"])
    expect.close(got, want, says, atol=1e-4, rtol=1e-4, what="gradients")


@style_net
def test_strength_learns(student):
    """the strength of the noise learns"""
    G, styles, noise = style_generator(student)
    c, synthesis = waves(2, 1, 16, 16, rate=0.7), G.get("synthesis")
    (found,) = student.gradient("checking.fakes.weighted", synthesis, c, styles, noise, wrt=[G])
    got = torch.zeros(3, 2)
    for n, name in enumerate(("layers.0.strength", "layers.1.strength", "layers.2.strength")):
        says = f"no gradient reaches {name}"
        expect.true(isinstance(found.get(name), torch.Tensor), says)
        got[n] = found[name][:2]
    want = torch.tensor(SLOPES["strength"])
    expect.close(got, want, "gradients of strengths", atol=1e-4, rtol=1e-4, what="gradients")


@style_net
def test_images_of_styles_and_noise(student):
    """its images are those of these styles and this noise"""
    G, styles, noise = style_generator(student)
    x = expect.tensor(G.call("synthesis", styles, noise), (2, 1, 16, 16), "the images")
    expect.close(x[:, 0, 5, 3:7], torch.tensor(STYLED["own"]), "other pixels", atol=1e-4, rtol=1e-4)


@style_net
def test_another_adain(student):
    """every layer calls the AdaIN that the generator was made with"""
    G, styles, noise = style_generator(student, half)
    x = expect.tensor(G.call("synthesis", styles, noise), (2, 1, 16, 16), "the images")
    says = "other pixels, with another function in AdaIN's place"
    expect.close(x[:, 0, 5, 3:7], torch.tensor(STYLED["another"]), says, atol=1e-4, rtol=1e-4)


@style_net
def test_styles_that_are_mixed(student):
    """coarse layers follow one style, fine layers another"""
    G, styles, noise = style_generator(student)
    one, other, _ = styles
    x = torch.cat(
        [
            expect.tensor(G.call("synthesis", mixed, noise), (2, 1, 16, 16), "the images")
            for mixed in ([one, other, other], [one, one, other])
        ]
    )
    says = "other pixels: each layer has its own style, from 4×4 to 16×16"
    expect.close(x[:, 0, 5, 3:7], torch.tensor(STYLED["mixed"]), says, atol=1e-4, rtol=1e-4)


@style_net
def test_noise_that_is_given_and_silent(student):
    """the given noise counts, by its strength; with strength 0 it changes nothing"""
    G, styles, noise = style_generator(student)
    silent = {k: torch.zeros_like(v) if k.endswith("strength") else v for k, v in G.state().items()}
    loud = G.call("synthesis", styles, [-n for n in noise])
    G.load(silent)
    quiet = [G.call("synthesis", styles, n) for n in (noise, [-n for n in noise])]
    loud, *quiet = (expect.tensor(x, (2, 1, 16, 16), "the images") for x in (loud, *quiet))
    expect.true(torch.equal(*quiet), "noise of strength 0 changes the images")
    expect.true(not torch.allclose(loud, quiet[0]), "noise with a strength changes nothing")


@style_net
def test_gradients_stay_where_they_are(student):
    """a pass, in training or after it, leaves styles, noise, gradients and the mode as they are"""
    for mode in ("train", "eval"):
        G, styles, noise = style_generator(student)
        G.call(mode)
        student.checking.fakes.holding_gradients(G)
        expect.tensor(G.call("synthesis", styles, noise), (2, 1, 16, 16), "the images")


# --- gan_nets.lerp, gan_nets.slerp ----------------------------------------------------------------

Z_0, Z_1 = torch.tensor([[4.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 8.0], [-3.0, 1.0]])


@lerp
def test_ends(student):
    """z_0 at t = 1 and z_1 at t = 0, as on slide 33"""
    ends = [student.gan_nets.lerp(Z_0, Z_1, t) for t in (1.0, 0.0)]
    for got, want in zip(ends, (Z_0, Z_1), strict=True):
        expect.close(got, want, "z_t = t z_0 + (1 − t) z_1", what="z_t")


@lerp
def test_a_quarter(student):
    """t z_0 + (1 − t) z_1 between the ends"""
    got = student.gan_nets.lerp(Z_0, Z_1, 0.25)
    expect.close(got, torch.tensor([[1.0, 6.0], [-2.0, 1.0]]), "a quarter of z_0", what="z_t")


@lerp
def test_a_t_for_each_latent(student):
    """with t (batch,), each latent has its own"""
    got = student.gan_nets.lerp(Z_0, Z_1, torch.tensor([0.25, 0.5]))
    want = torch.tensor([[1.0, 6.0], [-1.0, 1.0]])
    expect.close(got, want, "t belongs to latents, not to their numbers: t[..., None]", what="z_t")


@lerp
def test_a_walk(student):
    """with t (steps, 1), whole batches walk: (steps, batch, latent)"""
    t = torch.tensor([[0.0], [0.25], [1.0]])
    got = student.gan_nets.lerp(Z_0, Z_1, t)
    want = torch.stack([Z_1, torch.tensor([[1.0, 6.0], [-2.0, 1.0]]), Z_0])
    expect.close(got, want, "a step along the first axis, latents along the second", what="z_t")


FORMS = "a number, 0-dim, one for each latent, or any that t[..., None] is broadcast with"


def forms_of_t():
    """Pairs of latents in float64 and t in every form that the docstring allows."""
    z = waves(2, 2, 3, 4)
    batch, single = z[:, 0], z[:, 0, 0]
    walk = waves(5, rate=0.6).abs()
    return [
        *((*batch, t) for t in (0.3, 1, 0, walk[0], walk[:1], walk[:3], walk[:, None])),
        (*batch, waves(5, 3, rate=0.6).abs()),
        *((*batch, t) for t in (-0.4, 1.7)),  # beyond the ends
        *((*batch[:, :1], t) for t in (0.3, walk[:1], walk)),
        *((*single, t) for t in (0.3, walk[0], walk, walk[:, None])),
        *((*z, t) for t in (0.3, walk[:3], walk[:2, None], walk[:, None, None])),
        (*batch.float(), 0.3),
        (*batch.float(), walk[:3]),
        (*batch, walk[:3].float()),
    ]


@lerp
def test_every_form_of_t(student):
    """t is a number, one for each latent, or any tensor; exact in float64"""
    for z_0, z_1, t in forms_of_t():
        got = student.gan_nets.lerp(z_0, z_1, t)
        t = torch.as_tensor(t, dtype=torch.float64)
        want = t[..., None] * z_0.double() + (1 - t[..., None]) * z_1.double()
        digits = 1e-12 if z_0.dtype == torch.float64 else 1e-5
        says = f"t is {FORMS}: here it is {tuple(t.shape)}, z {tuple(z_0.shape)}"
        expect.close(got, want, says, atol=digits, rtol=digits, what="z_t")
        expect.true(got.dtype == z_0.dtype, "z_t has the dtype of z", got.dtype, z_0.dtype)


@lerp
def test_beyond_the_ends(student):
    """the line goes on beyond its ends"""
    for t in (-0.5, 1.5):
        got = student.gan_nets.lerp(Z_0, Z_1, t)
        expect.close(got, t * Z_0 + (1 - t) * Z_1, "z_t = t z_0 + (1 − t) z_1", what="z_t")


def arc(a, b, t, omega):
    """The formula, for a known angle."""
    return (torch.sin(t * omega) * a + torch.sin((1 - t) * omega) * b) / torch.sin(omega)


@slerp
def test_every_form_of_t_on_the_arc(student):
    """t is a number, one for each latent, or any tensor; exact in float64"""
    for z_0, z_1, t in forms_of_t():
        got = student.gan_nets.slerp(z_0, z_1, t)
        a, b = z_0.double(), z_1.double()
        cos = (a * b).sum(-1, keepdim=True) / (a.norm(dim=-1) * b.norm(dim=-1))[..., None]
        t = torch.as_tensor(t, dtype=torch.float64)
        want = arc(a, b, t[..., None], torch.acos(cos))
        digits = 1e-8 if z_0.dtype == torch.float64 else 1e-3
        says = f"t is {FORMS}: here it is {tuple(t.shape)}, z {tuple(z_0.shape)}"
        expect.close(got, want, says, atol=digits, rtol=digits, what="z_t")
        expect.true(got.dtype == z_0.dtype, "z_t has the dtype of z", got.dtype, z_0.dtype)


def apart(omega):
    """A pair of latents with other lengths, this far apart."""
    z_0 = torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64)
    z_1 = torch.tensor([[3 * math.cos(omega), 3 * math.sin(omega), 0.0]], dtype=torch.float64)
    return z_0, z_1


@slerp
def test_small_angles(student):
    """the arc while sin Ω is above 1e-3, lerp below, near Ω = 0 and near Ω = π"""
    for small in (0.05, 1e-2, 1.2e-3, 9e-4, 1e-7):
        for omega in (small, math.pi - small):
            z_0, z_1 = apart(omega)
            got = student.gan_nets.slerp(z_0, z_1, 0.3)
            if small > 1e-3:
                want = arc(z_0, z_1, 0.3, torch.tensor(omega, dtype=torch.float64))
                near, digits = "the arc", 1e-10 if omega < 1 else 1e-14 / small**2 + 1e-9
            else:
                want, near, digits = 0.3 * z_0 + 0.7 * z_1, "lerp", 1e-7
            says = f"it is that of {near} for Ω = {omega:.6g}, where sin Ω is {small:g}"
            expect.close(got, want, says, atol=digits, rtol=digits, what="z_t")


@slerp
def test_each_pair_for_itself(student):
    """in one batch some latents lie along one line, others do not"""
    pairs = [apart(omega) for omega in (0.0, 1.0, math.pi)]
    z_0, z_1 = (torch.cat(z) for z in zip(*pairs, strict=True))
    got = student.gan_nets.slerp(z_0, z_1, 0.3)
    want = 0.3 * z_0 + 0.7 * z_1
    want[1:2] = arc(*pairs[1], 0.3, torch.tensor(1.0, dtype=torch.float64))
    says = "lerp for the first and the last pair, the arc for that between"
    expect.close(got, want, says, atol=1e-9, rtol=1e-9, what="z_t")


@slerp
def test_float32_near_one_direction(student):
    """in float32 a cosine may come out above 1: no NaN"""
    z_1 = waves(100, 6).float()
    got = student.gan_nets.slerp(3 * z_1, z_1, 0.25)
    expect.close(got, 1.5 * z_1, "equal directions: z_t is that of lerp", what="z_t")


@slerp
def test_ends_of_the_arc(student):
    """z_0 at t = 1 and z_1 at t = 0"""
    ends = [student.gan_nets.slerp(Z_0, Z_1, t) for t in (1.0, 0.0)]
    for got, want in zip(ends, (Z_0, Z_1), strict=True):
        expect.close(
            got, want, "the ends are the latents themselves", atol=1e-4, rtol=1e-4, what="z_t"
        )


@slerp
def test_a_third_of_a_right_angle(student):
    """between right angles of one length: z_t turns evenly, and keeps its length"""
    z_0, z_1 = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    got = student.gan_nets.slerp(z_0, z_1, torch.tensor([0.0, 1 / 3, 0.5, 1.0]))
    degrees = torch.tensor([90.0, 60.0, 45.0, 0.0]).deg2rad()
    want = 2 * torch.stack([degrees.cos(), degrees.sin(), torch.zeros(4)], dim=1)
    expect.close(got, want, "at t = 1/3 it is 30° away from z_1", atol=1e-4, rtol=1e-4, what="z_t")


@slerp
def test_an_obtuse_angle_and_other_lengths(student):
    """each pair has an angle of its own, and lengths enter as they are"""
    z_0 = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    z_1 = torch.tensor([[-1.0, math.sqrt(3)], [2.0, 0.0]])  # 120° and 90° away
    got = student.gan_nets.slerp(z_0, z_1, torch.tensor([0.5, 1 / 3]))
    r = math.sqrt(3)
    want = torch.tensor([[2.0, r], [r, 0.25]])
    says = "(sin(tΩ) z_0 + sin((1 − t)Ω) z_1)/sin Ω, with Ω = 120° and 90° here"
    expect.close(got, want, says, atol=1e-4, rtol=1e-4, what="z_t")


@slerp
def test_latents_of_one_direction(student):
    """between latents of one direction it is what lerp gives"""
    z_1 = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.5, 0.0]], dtype=torch.float64)
    got = student.gan_nets.slerp(torch.tensor([[1.0], [3.0]]) * z_1, z_1, 0.25)
    want = torch.tensor([[1.0], [1.5]]) * z_1
    expect.close(got, want, "where sin Ω is 0 it is 0/0: use lerp", what="z_t")


@slerp
def test_equal_latents_on_a_walk(student):
    """equal latents: z_t has the shape that t gives it, and is there all the way"""
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    for z, steps in ((waves(3), t), (waves(2, 3), t[:, None])):
        got = student.gan_nets.slerp(z, z, steps)
        want = z.expand(5, *z.shape)
        expect.close(got, want, "z_t is shaped as by lerp", atol=1e-9, rtol=1e-9, what="z_t")
