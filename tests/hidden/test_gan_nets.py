"""Hidden graders of chapter 03: what AdaIN and slerp must leave as it is, layers by hand, and a
style's way through a generator, seen from the AdaIN it calls."""

import math

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import draws, expect

adain = pytest.mark.exercise("gan_nets.adain")
generator_net = pytest.mark.exercise("gan_nets.Generator")
discriminator_net = pytest.mark.exercise("gan_nets.Discriminator")
style_net = pytest.mark.exercise("gan_nets.StyleGenerator")
lerp = pytest.mark.exercise("gan_nets.lerp")
slerp = pytest.mark.exercise("gan_nets.slerp")


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# --- gan_nets.adain -----------------------------------------------------------------------------


def features(generator):
    """Features with channels of many means and spreads, and a style for them."""
    b, c = draws.whole(generator, 2, 5), draws.whole(generator, 2, 6)
    x = normal(generator, b, c, draws.whole(generator, 2, 6), draws.whole(generator, 6, 10))
    spread, middle = (2 * normal(generator, 2, b, c)).exp()[..., None, None]
    return spread * x + middle, *normal(generator, 2, b, c)


@adain(weight=3)
def test_it_is_an_instance_norm_with_a_style(student, generator):
    """it is torch's instance norm, times w, plus b, for any ε"""
    x, w, b = features(generator)
    for options in ({}, {"eps": 0.5}):
        want = F.instance_norm(x, **options) * w[:, :, None, None] + b[:, :, None, None]
        got = student.gan_nets.adain(x, w, b, **options)
        expect.close(got, want, "not w (x − μ)/σ + b", atol=1e-8, rtol=1e-8)


@adain(weight=2)
def test_the_style_says_what_the_statistics_are(student, generator):
    """every channel ends with mean b and standard deviation |w|"""
    x, w, b = features(generator)
    got = expect.tensor(student.gan_nets.adain(x, w, b, eps=1e-14), x.shape)
    expect.close(got.mean((2, 3)), b, "a channel's mean is not b", atol=1e-7, rtol=1e-7)
    expect.close(
        got.std((2, 3), correction=0), w.abs(), "a deviation is not |w|", atol=1e-7, rtol=1e-7
    )


@adain(weight=2)
def test_what_a_channel_was_like_before_is_gone(student, generator):
    """a channel that is scaled and shifted before comes out the same, mirrored if turned round"""
    x, w, b = features(generator)
    a, c = normal(generator, 2, *w.shape)
    a = a.sign() * (0.5 + a.abs())
    moved = a[..., None, None] * x + c[..., None, None]
    one = student.gan_nets.adain(x, w, b, eps=1e-14)
    other = student.gan_nets.adain(moved, w * a.sign(), b, eps=1e-14)
    one = expect.tensor(one, x.shape)
    expect.close(
        other, one, "scale and shift of a channel are still to be seen", atol=1e-6, rtol=1e-6
    )
    expect.true(not torch.equal(one, x), "x came back as it was")


@adain(weight=2)
def test_gradients_through_the_statistics(student, generator):
    """the statistics are part of the function: a channel's sum does not depend on x, but on b"""
    x, w, b = features(generator)
    to_x, to_b = student.gradient("gan_nets.adain", x, w, b, wrt=[x, b])
    says = "gradients must flow through μ and σ as well"
    expect.close(to_x, torch.zeros_like(x), says, atol=1e-8, rtol=1e-8, what="the gradient of x")
    n = torch.full_like(b, x[0, 0].numel())
    expect.close(to_b, n, "b counts once for each number", what="the gradient of b")


@adain
def test_channels_that_do_not_vary(student, generator):
    """a channel of one value becomes b, and one of tiny values is divided by √(variance + ε)"""
    w, b = normal(generator, 2, 2, 3)
    flat = normal(generator, 2, 3, 1, 1).expand(2, 3, 4, 4)
    says = "a channel that does not vary has nothing but its bias"
    expect.close(student.gan_nets.adain(flat, w, b), b[..., None, None].expand(2, 3, 4, 4), says)
    x = 3e-3 * normal(generator, 2, 3, 4, 4)
    off = x - x.mean((2, 3), keepdim=True)
    want = off / (off.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
    got = student.gan_nets.adain(x, torch.ones(2, 3).double(), torch.zeros(2, 3).double())
    expect.close(got, want, "σ is √(variance + 1e-5)", atol=1e-8, rtol=1e-8)


# --- gan_nets.Generator, gan_nets.Discriminator ---------------------------------------------------


def drawn(net, generator, spread=0.3):
    """The net in float64 with random weights, and these in order."""
    net.call("double")
    state = {}
    for name, old in net.state().items():
        if name.endswith("running_var"):
            new = 0.5 + torch.rand(old.shape, generator=generator, dtype=torch.float64)
        elif old.is_floating_point():
            new = spread * normal(generator, *old.shape)
        else:
            new = old
        state[name] = new
    net.load(state)
    return [*state.values()]


def sizes(generator):
    return draws.whole(generator, 3, 8), 2 * draws.whole(generator, 2, 6)


def shapes_are(net, want):
    """Weights in the order of the layers; counters of batches aside."""
    got = [tuple(w.shape) for w in net.state().values() if w.dim()]
    expect.true(got == want, "the weights are not those of the layers of DC-GAN", got, want)


def normed(h, norm, training):
    """A batch norm by hand, with its weights: gamma, beta, running mean and variance."""
    gamma, beta, mean, var = (n[:, None, None] for n in norm[:4])
    if training:
        mean = h.mean((0, 2, 3), keepdim=True)
        var = h.var((0, 2, 3), correction=0, keepdim=True)
    return gamma * (h - mean) / (var + 1e-5).sqrt() + beta


def by_hand_G(z, s, training):
    """Images of latents, for weights in order."""
    h = torch.einsum(
        "bi,iokl->bokl", z, s[0]
    )  # of one pixel, a transposed convolution is a product
    h = normed(h, s[1:6], training).clamp(min=0)
    h = F.conv_transpose2d(h, s[6], stride=2, padding=1)
    h = normed(h, s[7:12], training).clamp(min=0)
    return F.conv_transpose2d(h, s[12], s[13], stride=2, padding=1).tanh()


def by_hand_D(x, s, training):
    """Logits of images, for weights in order."""
    h = F.conv2d(x, s[0], s[1], stride=2, padding=1)
    h = F.conv2d(torch.maximum(h, 0.2 * h), s[2], stride=2, padding=1)
    h = normed(h, s[3:8], training)
    return torch.einsum("bikl,oikl->b", torch.maximum(h, 0.2 * h), s[8]) + s[9]


def steps_follow_gradients(net, before, L, what):
    """After Adam's first step each weight has gone lr against the sign of its slope."""
    leaves = [w for w in before if w.requires_grad]
    found = torch.autograd.grad(L, leaves)
    after = [*net.state().values()]
    for w, g in zip(leaves, found, strict=True):
        (n,) = (n for n, b in enumerate(before) if b is w)
        moved = (after[n] - w.detach())[g.abs() > 1e-5]
        want = -0.01 * g[g.abs() > 1e-5].sign()
        expect.true(len(want) > 0, "a slope is nowhere to be seen")
        expect.close(
            moved, want, f"{what}: a weight does not follow its slope", atol=1e-4, rtol=1e-4
        )


BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@generator_net(weight=2)
def test_the_generators_layers(student, generator):
    """its weights have the shapes of DC-GAN's layers, from 2w channels to w to the image"""
    latent, w = sizes(generator)
    G = student.new("gan_nets.Generator", latent, w)
    norms = [[(c,)] * 4 for c in (2 * w, w)]
    kernels = [(latent, 2 * w, 4, 4), (2 * w, w, 4, 4), (w, 1, 4, 4)]
    shapes_are(G, [kernels[0], *norms[0], kernels[1], *norms[1], kernels[2], (1,)])


@generator_net(weight=3)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_generators_images(student, generator, training):
    """its images are those of the same weights by hand"""
    latent, w = sizes(generator)
    G = student.new("gan_nets.Generator", latent=latent, width=w)
    weights = drawn(G, generator)
    G.call("train" if training else "eval")
    z = normal(generator, 5, latent)
    want = by_hand_G(z, weights, training)
    says = "the images are not those of these weights: look at the order of norms and activations"
    expect.close(G(z), want, says, atol=1e-7, rtol=1e-7)


@generator_net
def test_images_stay_in_their_range(student, generator):
    """from −1 to 1, and to both ends, whatever the weights"""
    latent, w = sizes(generator)
    G = student.new("gan_nets.Generator", latent, w)
    drawn(G, generator, spread=3.0)
    x = expect.tensor(G(normal(generator, 6, latent)), (6, 1, 16, 16), "the images")
    expect.true(bool(x.abs().max() <= 1), "an image leaves [−1, 1]", x.abs().max(), 1)
    both = bool(x.max() > 0.5) and bool(x.min() < -0.5)
    expect.true(both, "images reach from −1 to 1", f"{x.min():.3g} to {x.max():.3g}", "−1 to 1")


@generator_net
def test_images_do_not_depend_on_their_batch(student, generator):
    """once trained, the image of a latent does not depend on the others of its batch"""
    latent, w = sizes(generator)
    G = student.new("gan_nets.Generator", latent, w)
    drawn(G, generator)
    G.call("eval")
    z = normal(generator, 4, latent)
    together = expect.tensor(G(z), (4, 1, 16, 16), "the images")
    alone = torch.cat([expect.tensor(G(one), (1, 1, 16, 16), "the image") for one in z.split(1)])
    expect.close(
        alone, together, "an image depends on the others of its batch", atol=1e-8, rtol=1e-8
    )


@generator_net(weight=2)
def test_the_generator_learns_with_every_weight(student, generator):
    """in a step of the game every weight follows its slope, through batch norms in training"""
    latent, w = sizes(generator)
    G = student.new("gan_nets.Generator", latent, w)
    D = student.new("checking.fakes.Player", 16, 1)
    D.call("double")
    u = normal(generator, 1, 16)
    D.load({"W": u, "b": torch.zeros(1).double()})
    weights, names = drawn(G, generator), [*G.state()]
    players = student.new("given.training.Players", G, D, lr=0.01, lr_d=0.0)
    x, z = normal(generator, 6, 1, 16, 16), normal(generator, 6, latent)
    student.gan.train_step(players, x, z)
    for name, weight in zip(names, weights, strict=True):
        weight.requires_grad_(not name.endswith(BUFFERS))
    L = -F.logsigmoid(by_hand_G(z, weights, True) @ u.T).mean()
    steps_follow_gradients(G, weights, L, "the generator")


@discriminator_net(weight=2)
def test_the_discriminators_layers(student, generator):
    """its weights have the shapes of DC-GAN's layers, from the image to w channels to 2w"""
    _, w = sizes(generator)
    D = student.new("gan_nets.Discriminator", w)
    kernels = [(w, 1, 4, 4), (2 * w, w, 4, 4), (1, 2 * w, 4, 4)]
    shapes_are(D, [kernels[0], (w,), kernels[1], *[(2 * w,)] * 4, kernels[2], (1,)])


@discriminator_net(weight=3)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_discriminators_logits(student, generator, training):
    """its logits are those of the same weights by hand, one for each image"""
    _, w = sizes(generator)
    D = student.new("gan_nets.Discriminator", width=w)
    weights = drawn(D, generator)
    D.call("train" if training else "eval")
    x = 3 * normal(generator, 5, 1, 16, 16)
    want = by_hand_D(x, weights, training)
    says = "the logits are not those of these weights: look at the order of norms and activations"
    expect.close(D(x), want, says, atol=1e-7, rtol=1e-7)


@discriminator_net
def test_logits_have_no_bounds(student, generator):
    """logits are of any size: no sigmoid"""
    _, w = sizes(generator)
    D = student.new("gan_nets.Discriminator", w)
    drawn(D, generator, spread=3.0)
    l = expect.tensor(D(normal(generator, 40, 1, 16, 16)), (40,), "the logits")
    apart = l.max() - l.min()
    expect.true(bool(apart > 3), "logits have no bounds", f"{l.min():.3g} to {l.max():.3g}")


@discriminator_net
def test_logits_do_not_depend_on_their_batch(student, generator):
    """once trained, the logit of an image does not depend on the others of its batch"""
    _, w = sizes(generator)
    D = student.new("gan_nets.Discriminator", w)
    drawn(D, generator)
    D.call("eval")
    x = normal(generator, 4, 1, 16, 16)
    together = expect.tensor(D(x), (4,), "the logits")
    alone = torch.cat([expect.tensor(D(one), (1,), "the logit") for one in x.split(1)])
    expect.close(
        alone, together, "a logit depends on the others of its batch", atol=1e-8, rtol=1e-8
    )


@discriminator_net(weight=2)
def test_the_discriminator_learns_with_every_weight(student, generator):
    """in a step of the game every weight follows its slope, through batch norms in training"""
    _, w = sizes(generator)
    D = student.new("gan_nets.Discriminator", w)
    G = student.new("checking.fakes.Player", 16, 16)
    G.call("double")
    W = normal(generator, 16, 16)
    G.load({"W": W, "b": torch.zeros(16).double()})
    weights, names = drawn(D, generator), [*D.state()]
    players = student.new("given.training.Players", G, D, lr=0.0, lr_d=0.01)
    x, z = normal(generator, 2, 6, 1, 16, 16)
    V = student.gan.train_step(players, x, z)
    for name, weight in zip(names, weights, strict=True):
        weight.requires_grad_(not name.endswith(BUFFERS))
    real, fake = by_hand_D(x, weights, True), by_hand_D(z @ W.T, weights, True)
    L = -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()
    expect.close(V, -L.detach(), "V is not that of the logits", atol=1e-6, rtol=1e-6)
    steps_follow_gradients(D, weights, L, "the discriminator")


# --- gan_nets.StyleGenerator ----------------------------------------------------------------------


def style_generator(student, generator, norm=None):
    """A generator with random weights, these by name, and styles and noise for a batch."""
    latent, width, batch = draws.whole(generator, 3, 7), draws.whole(generator, 2, 6), 3
    G = student.new("gan_nets.StyleGenerator", latent=latent, width=width, norm=norm)
    drawn(G, generator)
    styles = [*normal(generator, 3, batch, latent)]
    noise = [normal(generator, batch, 1, size, size) for size in (4, 8, 16)]
    return G, G.state(), styles, noise


def by_hand_layer(h, s, n, noise):
    """What reaches the AdaIN of layer n."""
    at = f"layers.{n}."
    if n:
        h = h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    h = F.conv2d(h, s[at + "conv.weight"], s[at + "conv.bias"], padding=1)
    h = h + torch.einsum("c,bxhw->bchw", s[at + "strength"], noise)
    return torch.maximum(h, 0.2 * h)


def by_hand_style(s, n, w):
    """The scale and the bias of layer n."""
    both = w @ s[f"layers.{n}.style.weight"].T + s[f"layers.{n}.style.bias"]
    return 1 + both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]


def by_hand_images(s, styles, noise):
    """Images of styles; AdaIN is torch's instance norm with a style."""
    h = s["constant"].expand(len(styles[0]), -1, -1, -1)
    for n, (w, fresh) in enumerate(zip(styles, noise, strict=True)):
        h = F.instance_norm(by_hand_layer(h, s, n, fresh))
        scale, bias = by_hand_style(s, n, w)
        h = scale[:, :, None, None] * h + bias[:, :, None, None]
    return F.conv2d(h, s["out.weight"], s["out.bias"]).tanh()


class Seen:
    """An AdaIN that tells what it was asked, and answers with h · scale + bias."""

    def __init__(self):
        self.calls = []

    def __call__(self, h, scale, bias):
        self.calls.append((h.detach(), scale.detach(), bias.detach()))
        return h * scale[:, :, None, None] + bias[:, :, None, None]


def seen(student, generator):
    """What AdaIN was asked, and all that it depends on."""
    spy = Seen()
    G, s, styles, noise = style_generator(student, generator, spy)
    G.call("synthesis", styles, noise)
    expect.true(len(spy.calls) == 3, "each layer calls the AdaIN it is given", len(spy.calls), 3)
    return spy.calls, s, styles, noise


@style_net(weight=3)
def test_the_images_of_styles_and_noise(student, generator):
    """its images are those of the same weights, styles and noise by hand"""
    G, s, styles, noise = style_generator(student, generator)
    want = by_hand_images(s, styles, noise)
    says = "the images are not those of these weights, styles and noise"
    expect.close(G.call("synthesis", styles, noise), want, says, atol=1e-6, rtol=1e-6)


@style_net(weight=2)
def test_each_layer_has_its_own_style(student, generator):
    """AdaIN gets 1 + s and b of each layer's own w"""
    calls, s, styles, _ = seen(student, generator)
    for n, (_, scale, bias) in enumerate(calls):
        want = by_hand_style(s, n, styles[n])
        for got, one, name in zip((scale, bias), want, ("scale 1 + s", "bias b"), strict=True):
            expect.close(
                got, one, f"layer {n} does not get the {name} of its own w", atol=1e-7, rtol=1e-7
            )


@style_net(weight=2)
def test_what_comes_before_the_style(student, generator):
    """AdaIN gets what a layer's convolution, noise and LeakyReLU make of the layer before"""
    calls, s, _, noise = seen(student, generator)
    h = s["constant"].expand(3, -1, -1, -1)
    for n, (came, scale, bias) in enumerate(calls):
        want = by_hand_layer(h, s, n, noise[n])
        expect.close(
            came, want, f"not what layer {n} makes of the one before", atol=1e-7, rtol=1e-7
        )
        h = came * scale[:, :, None, None] + bias[:, :, None, None]


@style_net(weight=2)
def test_coarse_and_fine_styles(student, generator):
    """the style of a layer changes what comes after it, and nothing before"""
    spy = Seen()
    G, _, styles, noise = style_generator(student, generator, spy)
    changed = draws.whole(generator, 0, 3)
    other = [normal(generator, *w.shape) if n == changed else w for n, w in enumerate(styles)]
    x, y = (
        expect.tensor(G.call("synthesis", w, noise), (3, 1, 16, 16), "the images")
        for w in (styles, other)
    )
    expect.true(len(spy.calls) == 6, "each layer calls the AdaIN it is given", len(spy.calls), 6)
    pairs = [*zip(spy.calls[:3], spy.calls[3:], strict=True)]
    same = [torch.equal(one[0], two[0]) for one, two in pairs]
    styled = [torch.equal(one[1], two[1]) for one, two in pairs]
    want = [n <= changed for n in range(3)]
    expect.true(same == want, f"the style of layer {changed} does not act after it alone")
    expect.true(styled == [n != changed for n in range(3)], "a style reaches another's layer")
    expect.true(not torch.equal(x, y), "a style changes nothing")


@style_net
def test_noise_counts_by_its_strength(student, generator):
    """noise of strength 0 changes nothing; with a strength, each layer's does"""
    G, s, styles, noise = style_generator(student, generator)
    other = [normal(generator, *n.shape) for n in noise]
    mixed = [[o if n == k else e for n, (o, e) in enumerate(zip(other, noise, strict=True))]
             for k in range(3)]  # fmt: skip
    first, *rest = (
        expect.tensor(G.call("synthesis", styles, fresh), (3, 1, 16, 16), "the images")
        for fresh in (noise, *mixed)
    )
    for n, x in enumerate(rest):
        expect.true(not torch.allclose(first, x), f"the noise of layer {n} changes nothing")
    G.load({k: torch.zeros_like(v) if k.endswith("strength") else v for k, v in s.items()})
    quiet = [expect.tensor(G.call("synthesis", styles, n), (3, 1, 16, 16)) for n in (noise, other)]
    expect.true(torch.equal(*quiet), "noise of strength 0 still changes the images")


@style_net
def test_latents_become_images(student, generator):
    """G(z) maps z to w, one style for all layers, and draws fresh noise from `generator`"""
    G, s, _, _ = style_generator(student, generator)
    z = normal(generator, 3, s["mapping.0.weight"].shape[1])
    seed = draws.whole(generator, 0, 10**6 + 1)
    draw = torch.Generator().manual_seed(seed)
    noise = [torch.randn(3, 1, k, k, generator=draw, dtype=torch.float64) for k in (4, 8, 16)]
    w = z
    for n in (0, 2):
        w = w @ s[f"mapping.{n}.weight"].T + s[f"mapping.{n}.bias"]
        w = torch.maximum(w, 0.2 * w)
    want = by_hand_images(s, [w] * 3, noise)
    got = G(z, generator=torch.Generator().manual_seed(seed))
    expect.close(got, want, "not the images of these latents", atol=1e-6, rtol=1e-6)


@style_net(weight=2)
def test_the_style_generator_learns_with_every_weight(student, generator):
    """in a step of the game every weight follows its slope, from the constant to the mapping"""
    G, s, _, _ = style_generator(student, generator)
    D = student.new("checking.fakes.Player", 16, 1)
    D.call("double")
    u = normal(generator, 1, 16)
    D.load({"W": u, "b": torch.zeros(1).double()})
    for name in s:  # quiet: the noise of a step is not known here
        if name.endswith("strength"):
            s[name] = torch.zeros_like(s[name])
    G.load(s)
    players = student.new("given.training.Players", G, D, lr=0.01, lr_d=0.0)
    x, z = normal(generator, 6, 1, 16, 16), normal(generator, 6, s["mapping.0.weight"].shape[1])
    student.gan.train_step(players, x, z)
    weights = [*s.values()]
    for name, weight in s.items():
        weight.requires_grad_(not name.endswith("strength"))
    w = z
    for n in (0, 2):
        w = w @ s[f"mapping.{n}.weight"].T + s[f"mapping.{n}.bias"]
        w = torch.maximum(w, 0.2 * w)
    silence = [torch.zeros(6, 1, k, k).double() for k in (4, 8, 16)]
    L = -F.logsigmoid(by_hand_images(s, [w] * 3, silence) @ u.T).mean()
    steps_follow_gradients(G, weights, L, "the style generator")


# --- gan_nets.lerp --------------------------------------------------------------------------------


@lerp(weight=2)
def test_the_ends_of_the_straight_way(student, generator):
    """z_0 at t = 1, z_1 at t = 0"""
    z_0, z_1 = normal(generator, 2, 4, 7)
    for t, want in ((1.0, z_0), (0.0, z_1)):
        got = student.gan_nets.lerp(z_0, z_1, t)
        expect.close(got, want, f"the wrong end at t = {t:.0f}", atol=1e-12, rtol=1e-12)


@lerp(weight=2)
def test_it_is_straight(student, generator):
    """z_t leaves z_1 in proportion to t, in a straight line, also beyond the ends"""
    z_0, z_1 = normal(generator, 2, 5, 6)
    for t in (2 * normal(generator, 3)).tolist():
        got = student.gan_nets.lerp(z_0, z_1, t)
        expect.close(
            got, z_1 + t * (z_0 - z_1), "not t of the way from z_1 to z_0", atol=1e-9, rtol=1e-9
        )


@lerp(weight=2)
def test_there_and_back(student, generator):
    """the ways there and back meet: z_t and its counterpart add up to z_0 + z_1"""
    n = draws.whole(generator, 3, 7)
    z_0, z_1 = normal(generator, 2, n, n)  # so that a t for each number would fit as well
    t = torch.rand(n, generator=generator, dtype=torch.float64)
    one, other = (
        expect.tensor(student.gan_nets.lerp(*ends, t), (n, n)) for ends in ((z_0, z_1), (z_1, z_0))
    )
    expect.close(one + other, z_0 + z_1, "there and back do not meet", atol=1e-9, rtol=1e-9)
    expect.close(one, t[:, None] * z_0 + (1 - t)[:, None] * z_1, "t is one for each latent")


@lerp(weight=2)
def test_shapes_of_t(student, generator):
    """t is a number, one for each latent, or any tensor that is broadcast with an axis more"""
    steps, n, d = 5, 3, 4
    z_0, z_1 = normal(generator, 2, n, d)
    walk = torch.rand(steps, generator=generator, dtype=torch.float64)
    cases = [
        (z_0[0], z_1[0], walk, (steps, d)),
        (z_0, z_1, walk[:, None], (steps, n, d)),
        (z_0, z_1, walk[0], (n, d)),
        (z_0.float(), z_1.float(), walk[:n], (n, d)),
    ]
    for a, b, t, shape in cases:
        got = expect.tensor(student.gan_nets.lerp(a, b, t), shape, "z_t")
        want = t[..., None] * a.double() + (1 - t[..., None]) * b.double()
        expect.close(got, want, "t[..., None] is broadcast against z")
        expect.true(got.dtype == a.dtype, "z_t has the dtype of z", got.dtype, a.dtype)


@lerp
def test_halfway_latents_are_shorter(student, generator):
    """halfway between independent Gaussian latents the length falls to √(d/2)"""
    d = 4096
    z_0, z_1 = normal(generator, 2, 8, d)
    got = expect.tensor(student.gan_nets.lerp(z_0, z_1, 0.5), (8, d), "z_t")
    lengths = got.norm(dim=1)
    expect.close(
        lengths, torch.full((8,), math.sqrt(d / 2)), "√(d/2) is expected", rtol=0.08, atol=1e-5
    )
    expect.close(got, (z_0 + z_1) / 2, "halfway is the mean of both", atol=1e-9, rtol=1e-9)


# --- gan_nets.slerp -------------------------------------------------------------------------------


def sphere(generator, n, d):
    """Two latents each of one length, which differs from pair to pair."""
    z = normal(generator, 2, n, d)
    length = 0.5 + 3 * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    return length * z / z.norm(dim=-1, keepdim=True)


def angle(a, b):
    """Between directions, by Kahan's formula: exact for small ones too."""
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


@slerp(weight=2)
def test_the_ends_of_the_arc(student, generator):
    """z_0 at t = 1, z_1 at t = 0, whatever their lengths"""
    z_0, z_1 = normal(generator, 2, 4, 5) * torch.tensor([[[1.0]], [[3.0]]])
    for t, want in ((1.0, z_0), (0.0, z_1)):
        got = student.gan_nets.slerp(z_0, z_1, t)
        expect.close(got, want, f"the wrong end at t = {t:.0f}", atol=1e-7, rtol=1e-7)


@slerp(weight=3)
def test_it_turns_at_a_constant_rate(student, generator):
    """the angle to z_1 is t Ω and that to z_0 (1 − t) Ω"""
    z_0, z_1 = sphere(generator, 6, draws.whole(generator, 2, 10))
    t = torch.rand(4, 1, generator=generator, dtype=torch.float64)
    z_t = expect.tensor(student.gan_nets.slerp(z_0, z_1, t), (4, *z_0.shape), "z_t")
    omega = angle(z_0, z_1)
    expect.close(angle(z_t, z_1), t * omega, "the angle to z_1 is not t Ω", atol=1e-5, rtol=1e-5)
    expect.close(
        angle(z_t, z_0), (1 - t) * omega, "that to z_0 is not (1 − t) Ω", atol=1e-5, rtol=1e-5
    )


@slerp(weight=2)
def test_it_keeps_the_length(student, generator):
    """between latents of one length every z_t has it"""
    z_0, z_1 = sphere(generator, 5, draws.whole(generator, 2, 10))
    t = torch.rand(7, 1, generator=generator, dtype=torch.float64)
    z_t = expect.tensor(student.gan_nets.slerp(z_0, z_1, t), (7, *z_0.shape), "z_t")
    want = z_0.norm(dim=-1).expand(7, -1)
    expect.close(z_t.norm(dim=-1), want, "the length changes on the way", atol=1e-6, rtol=1e-6)
    expect.true(not torch.allclose(z_t[0], z_t[1]), "it does not move with t")


@slerp(weight=2)
def test_latents_of_other_lengths(student, generator):
    """lengths enter as they are: z_t is linear in both, for one angle"""
    z_0, z_1 = sphere(generator, 4, 6)
    a, b = 0.2 + 3 * torch.rand(2, 4, generator=generator, dtype=torch.float64)
    t = torch.rand(4, generator=generator, dtype=torch.float64)
    omega = angle(z_0, z_1)
    parts = [torch.sin(s * omega) / torch.sin(omega) for s in (t, 1 - t)]
    want = (parts[0] * a)[:, None] * z_0 + (parts[1] * b)[:, None] * z_1
    got = student.gan_nets.slerp(a[:, None] * z_0, b[:, None] * z_1, t)
    expect.close(got, want, "not sin(tΩ)/sin Ω z_0 + sin((1 − t)Ω)/sin Ω z_1", atol=1e-6, rtol=1e-6)


@slerp(weight=2)
def test_latents_of_one_direction(student, generator):
    """equal, nearly equal and opposite latents give what lerp gives, without NaN"""
    z_1 = normal(generator, 4, 8)
    nearly = z_1 + 1e-9 * normal(generator, 4, 8)
    t = 0.1 + 0.8 * torch.rand(4, generator=generator, dtype=torch.float64)
    for z_0 in (z_1, nearly, 3 * z_1, -z_1):
        got = expect.tensor(student.gan_nets.slerp(z_0, z_1, t), (4, 8), "z_t")
        want = t[:, None] * z_0 + (1 - t)[:, None] * z_1
        expect.close(got, want, "latents along one line: z_t is that of lerp", atol=1e-6, rtol=1e-6)
    single = z_1.float()
    got = student.gan_nets.slerp(single, single + 1e-7, t.float())
    expect.close(got, single, "of nearly equal latents in float32", atol=1e-4, rtol=1e-4)


@slerp(weight=2)
def test_gaussian_latents_stay_typical(student, generator):
    """between Gaussian latents the length stays near √d, as G has seen it"""
    d, steps = 2048, 9
    z_0, z_1 = normal(generator, 2, d)
    t = torch.linspace(0, 1, steps, dtype=torch.float64)
    z_t = expect.tensor(student.gan_nets.slerp(z_0, z_1, t), (steps, d), "z_t")
    want = torch.full((steps,), math.sqrt(d))
    expect.close(z_t.norm(dim=1), want, "√d is expected all the way", rtol=0.08, atol=1e-5)
