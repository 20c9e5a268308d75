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


# Pixels 3 to 6 of row 5, and logits, as they come of the weights of `filled`.
IMAGES = {
    "eval": [[0.86601, 0.90227, 0.88209, 0.72027], [0.96334, 0.95522, 0.87937, 0.62417]],
    "train": [[0.85385, 0.88746, 0.89176, 0.61541], [0.78097, 0.8216, 0.87517, 0.80655]],
}
LOGITS = {"eval": [0.35822, -1.46658, -0.33871], "train": [0.69686, -1.57045, -0.50741]}
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
        x[:, 0, 5, 3:7], torch.tensor(IMAGES["eval"]), "other pixels", atol=1e-4, rtol=1e-4
    )


@generator_net
def test_the_generator_in_training(student):
    """in training its batch norms use the statistics of the batch"""
    G = student.new("gan_nets.Generator", latent=3, width=4)
    filled(G)
    G.call("train")
    x = expect.tensor(G(waves(4, 3, rate=0.9)), (4, 1, 16, 16), "the images")
    expect.close(
        x[:2, 0, 5, 3:7], torch.tensor(IMAGES["train"]), "other pixels", atol=1e-4, rtol=1e-4
    )


@generator_net
def test_images_reach_from_minus_1_to_1(student):
    """images reach from −1 to 1, and no further"""
    G = student.new("gan_nets.Generator", latent=3, width=4)
    filled(G, scale=3.0)
    x = expect.tensor(G(waves(8, 3, rate=0.9)), (8, 1, 16, 16), "the images")
    expect.true(bool(x.abs().max() <= 1), "an image leaves [−1, 1]", x.abs().max(), 1)
    expect.true(bool(x.min() < -0.5), "nothing is dark: data begin at −1", x.min(), "about −1")


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
        l, torch.tensor(LOGITS["eval"]), "other logits", atol=1e-4, rtol=1e-4, what="the logits"
    )


@discriminator_net
def test_the_discriminator_in_training(student):
    """in training its batch norm uses the statistics of the batch"""
    D = student.new("gan_nets.Discriminator", width=2)
    filled(D, scale=0.5)
    D.call("train")
    l = D(waves(3, 1, 16, 16, rate=0.9))
    expect.close(
        l, torch.tensor(LOGITS["train"]), "other logits", atol=1e-4, rtol=1e-4, what="the logits"
    )


# --- gan_nets.StyleGenerator ----------------------------------------------------------------------


def style_generator(student, norm=None):
    """A small one with fixed weights; styles and noise for two images."""
    G = student.new("gan_nets.StyleGenerator", latent=3, width=2, norm=norm)
    filled(G)
    styles = [waves(2, 3, rate=rate) for rate in (0.9, 1.9, 2.9)]
    noise = [waves(2, 1, size, size, rate=3.1 + size) for size in (4, 8, 16)]
    return G, styles, noise


def half(h, scale, bias):
    """No AdaIN at all, to see which one is called."""
    return 0.1 * h + scale[:, :, None, None] - bias[:, :, None, None]


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
