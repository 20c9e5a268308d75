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
    return spread * x + middle, *(10 * normal(generator, 2, b, c))


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


@adain(weight=2)
def test_the_gradient_of_each_number(student, generator):
    """every number of x, w and b has the slope that the statistics leave it"""
    x, w, b = features(generator)
    c = normal(generator, *x.shape)  # tells the slopes of all numbers apart, as a sum does not
    got = student.gradient(
        "checking.fakes.weighted", student.function("gan_nets.adain"), c, x, w, b, wrt=[x, w, b]
    )
    off = x - x.mean((2, 3), keepdim=True)
    sigma = (off.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
    unit = off / sigma
    middle, along = c.mean((2, 3), keepdim=True), (c * unit).mean((2, 3), keepdim=True)
    want = (
        w[..., None, None] / sigma * (c - middle - unit * along),
        (c * unit).sum((2, 3)),
        c.sum((2, 3)),
    )
    for g, v, name in zip(got, want, ("x", "w", "b"), strict=True):
        says = f"the gradient of {name} is another: it flows through μ and through σ"
        expect.close(g, v, says, atol=1e-7, rtol=1e-7, what=f"the gradient of {name}")


@adain(weight=2)
@pytest.mark.parametrize(
    ("dtype", "mean", "digits"),
    [(torch.float32, 1e3, 2e-3), (torch.float32, 1.0, 1e-5), (torch.float64, 1e3, 1e-6)],
    ids=["float32, mean 1000", "float32", "float64, mean 1000"],
)
def test_means_far_from_0(student, generator, dtype, mean, digits):
    """where the mean is much larger than the deviation, the deviation keeps its digits"""
    x = (mean + normal(generator, 3, 2, 6, 7)).to(dtype)
    x[1:] *= -1
    w, b = normal(generator, 2, 3, 2).to(dtype)
    off = x.double() - x.double().mean((2, 3), keepdim=True)
    want = off / (off.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
    want = w.double()[..., None, None] * want + b.double()[..., None, None]
    got = student.gan_nets.adain(x, w, b)
    says = f"not w (x − μ)/σ + b for channels with mean {mean:g} and deviation 1"
    expect.close(got, want, says, atol=digits, rtol=digits)


@adain
def test_features_of_every_size(student, generator):
    """one example, one channel, one row or one column"""
    for shape in ((1, 3, 4, 4), (3, 1, 2, 5), (1, 1, 1, 2), (2, 3, 5, 1), (2, 2, 1, 7)):
        x = normal(generator, *shape)
        w, b = normal(generator, 2, *shape[:2])
        off = x - x.mean((2, 3), keepdim=True)
        unit = off / (off.square().mean((2, 3), keepdim=True) + 1e-3).sqrt()
        want = w[..., None, None] * unit + b[..., None, None]
        got = student.gan_nets.adain(x, w, b, 1e-3)
        says = f"not w (x − μ)/σ + b for features of shape {shape}"
        expect.close(got, want, says, atol=1e-10, rtol=1e-10)


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


@adain
def test_features_and_styles_that_do_not_fit(student, generator):
    """x without four axes, or a scale or bias that is not (batch, channels), is refused"""
    n, c, h, w = (draws.whole(generator, 2, 5) for _ in range(4))
    style = normal(generator, n, c)

    def refused(x, *styles):
        shapes = " and ".join(str(tuple(s.shape)) for s in styles)
        says = f"x {tuple(x.shape)}, scale and bias {shapes} must be refused"
        expect.raises("ValueError", lambda: student.gan_nets.adain(x, *styles), says)

    for shape in ((n, c, h), (n, c, h, w, 1), (n, c)):
        refused(normal(generator, *shape), style, style)
    x = normal(generator, n, c, h, w)
    for shape in ((c,), (1, c), (n, 1), (n, c + 1), (n + 1, c), (n, c, 1, 1), (n * c,), ()):
        other = normal(generator, *shape)
        refused(x, other, style)
        refused(x, style, other)


# --- gan_nets.Generator, gan_nets.Discriminator ---------------------------------------------------


def drawn(net, generator, spread=0.3, last=1.0):
    """The net in float64 with random weights, the last kernel times `last`; and these in order."""
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
    kernel = [name for name, w in state.items() if w.dim() == 4][-1]
    state[kernel] = last * state[kernel]
    net.load(state)
    return [*state.values()]


def sizes(generator):
    return draws.whole(generator, 3, 8), draws.whole(generator, 4, 11)


def slopes_by_hand(student, net, weights, names, x, forward, generator):
    """Gradients of every number, of the weights and of what goes in."""
    y = forward(x, weights)
    c = normal(generator, *y.shape)
    to_x, found = student.gradient("checking.fakes.weighted", net, c, x, wrt=[x, net])
    learned = {n: w for n, w in zip(names, weights, strict=True) if not n.endswith(BUFFERS)}
    leaves = [x.clone().requires_grad_(), *(w.requires_grad_() for w in learned.values())]
    L = (c * forward(leaves[0], weights)).sum()
    for w, name, want in zip(
        [to_x, *(found.get(n) for n in learned)],
        ["what goes in", *learned],
        torch.autograd.grad(L, leaves),
        strict=True,
    ):
        says = f"the gradient of {name} is not that of these layers"
        expect.close(w, want, says, atol=1e-7, rtol=1e-7, what=f"the gradient of {name}")


def statistics_move(net, names, before, want):
    """A pass in training moves running statistics a tenth of the way to those of the batch."""
    state = net.state()
    for name, old in zip(names, before, strict=True):
        if name.endswith(BUFFERS):
            says = f"{name} is not moved as torch's batch norm moves it"
            new = next(want) if name.endswith("mean") or name.endswith("var") else old + 1
            new = 0.9 * old + 0.1 * new if new.dim() else new
            expect.close(state[name], new, says, atol=1e-8, rtol=1e-8, what=name)


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
    expect.close(G(z), want, says, atol=1e-10, rtol=1e-10)


@generator_net
def test_large_features(student, generator):
    """features have no bounds, only the image has"""
    latent, w = sizes(generator)
    G = student.new("gan_nets.Generator", latent, w)
    weights = drawn(G, generator, last=1e-3)
    G.call("eval")
    z = 100 * normal(generator, 4, latent)
    want = by_hand_G(z, weights, False)
    expect.close(G(z), want, "ReLU and batch norm have no upper end", atol=1e-10, rtol=1e-10)


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


@generator_net(weight=2)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_gradients_of_the_generator(student, generator, training):
    """gradients reach every weight, and the latents, as through these layers by hand"""
    latent, w = sizes(generator)
    G = student.new("gan_nets.Generator", latent, w)
    weights, names = drawn(G, generator), [*G.state()]
    G.call("train" if training else "eval")
    z = normal(generator, 3, latent)

    def forward(z, s):
        return by_hand_G(z, s, training)

    slopes_by_hand(student, G, weights, names, z, forward, generator)


@generator_net
def test_running_statistics_of_the_generator(student, generator):
    """a pass in training moves the running statistics a tenth of the way to the batch's"""
    latent, w = sizes(generator)
    G = student.new("gan_nets.Generator", latent, w)
    s, names = drawn(G, generator), [*G.state()]
    G.call("train")
    z = normal(generator, 5, latent)
    expect.tensor(G(z), (5, 1, 16, 16), "the images")
    h = torch.einsum("bi,iokl->bokl", z, s[0])
    k = F.conv_transpose2d(normed(h, s[1:6], True).clamp(min=0), s[6], stride=2, padding=1)
    want = iter([r for m in (h, k) for r in (m.mean((0, 2, 3)), m.var((0, 2, 3)))])
    statistics_move(G, names, s, want)


@generator_net
def test_the_smallest_generators_and_batches(student, generator):
    """one latent, one channel, one image; in float32, as it is made, with 32 latents and w = 32"""
    for latent, w, n in ((1, 1, 1), (2, 3, 1), (1, 2, 2)):
        G = student.new("gan_nets.Generator", latent, w)
        weights, z = drawn(G, generator), normal(generator, n, latent)
        for mode in ("eval", "train"):
            G.call(mode)
            want = by_hand_G(z, weights, mode == "train")
            says = f"other images for latent={latent}, width={w} and {n} of them"
            expect.close(G(z), want, says, atol=1e-10, rtol=1e-10)
    G = student.new("gan_nets.Generator")
    weights = [s.double() for s in G.state().values()]
    G.call("eval")
    z = normal(generator, 2, 32).float()
    want = by_hand_G(z.double(), weights, False)
    expect.close(G(z), want, "other images in float32", atol=1e-4, rtol=1e-4)


@generator_net
def test_a_generator_of_its_own(student, generator):
    """each is made with weights of its own; a pass leaves gradients where they are"""
    nets = [student.new("gan_nets.Generator") for _ in range(2)]
    one, other = (torch.cat([w.flatten() for w in net.state().values() if w.dim() > 1])
                  for net in nets)  # fmt: skip
    expect.true(not torch.equal(one, other), "two new nets have the same weights")
    student.checking.fakes.holding_gradients(nets[0])
    nets[0].call("eval")
    expect.tensor(nets[0](normal(generator, 3, 32).float()), (3, 1, 16, 16))


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
    expect.close(D(x), want, says, atol=1e-10, rtol=1e-10)


@discriminator_net
def test_logits_have_no_bounds(student, generator):
    """logits are of any size: no sigmoid"""
    _, w = sizes(generator)
    D = student.new("gan_nets.Discriminator", w)
    weights = drawn(D, generator, spread=3.0)
    D.call("eval")
    x = 100 * normal(generator, 40, 1, 16, 16)
    l = expect.tensor(D(x), (40,), "the logits")
    apart = l.max() - l.min()
    expect.true(bool(apart > 3), "logits have no bounds", f"{l.min():.3g} to {l.max():.3g}")
    says = "logits have no bounds, however large they are"
    expect.close(l, by_hand_D(x, weights, False), says, atol=1e-6, rtol=1e-9)


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


@discriminator_net(weight=2)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_gradients_of_the_discriminator(student, generator, training):
    """gradients reach every weight, and the images: from them G learns"""
    _, w = sizes(generator)
    D = student.new("gan_nets.Discriminator", w)
    weights, names = drawn(D, generator), [*D.state()]
    D.call("train" if training else "eval")
    x = normal(generator, 3, 1, 16, 16)

    def forward(x, s):
        return by_hand_D(x, s, training)

    slopes_by_hand(student, D, weights, names, x, forward, generator)


@discriminator_net
def test_running_statistics_of_the_discriminator(student, generator):
    """a pass in training moves the running statistics a tenth of the way to the batch's"""
    _, w = sizes(generator)
    D = student.new("gan_nets.Discriminator", w)
    s, names = drawn(D, generator), [*D.state()]
    D.call("train")
    x = normal(generator, 5, 1, 16, 16)
    expect.tensor(D(x), (5,), "the logits")
    h = F.conv2d(x, s[0], s[1], stride=2, padding=1)
    h = F.conv2d(torch.maximum(h, 0.2 * h), s[2], stride=2, padding=1)
    statistics_move(D, names, s, iter([h.mean((0, 2, 3)), h.var((0, 2, 3))]))


@discriminator_net
def test_the_smallest_discriminators_and_batches(student, generator):
    """one channel, one image, a logit shaped (1,); in float32, as it is made, with w = 32"""
    for w, n in ((1, 1), (3, 1), (2, 2)):
        D = student.new("gan_nets.Discriminator", w)
        weights, x = drawn(D, generator), normal(generator, n, 1, 16, 16)
        for mode in ("eval", "train"):
            D.call(mode)
            want = by_hand_D(x, weights, mode == "train")
            says = f"other logits for width={w} and {n} images"
            expect.close(D(x), want, says, atol=1e-10, rtol=1e-10)
    D = student.new("gan_nets.Discriminator")
    weights = [s.double() for s in D.state().values()]
    D.call("eval")
    x = 30 * normal(generator, 2, 1, 16, 16).float()
    want = by_hand_D(x.double(), weights, False)
    expect.close(D(x), want, "other logits in float32", atol=1e-4, rtol=1e-4)


@discriminator_net
def test_a_discriminator_of_its_own(student, generator):
    """each is made with weights of its own; a pass leaves gradients where they are"""
    nets = [student.new("gan_nets.Discriminator") for _ in range(2)]
    one, other = (torch.cat([w.flatten() for w in net.state().values() if w.dim() > 1])
                  for net in nets)  # fmt: skip
    expect.true(not torch.equal(one, other), "two new nets have the same weights")
    student.checking.fakes.holding_gradients(nets[0])
    nets[0].call("eval")
    expect.tensor(nets[0](normal(generator, 3, 1, 16, 16).float()), (3,))


# --- gan_nets.StyleGenerator ----------------------------------------------------------------------


def style_generator(student, generator, norm=None, batch=3):
    """A generator with random weights, these by name, and styles and noise for a batch."""
    latent, width = draws.whole(generator, 3, 7), draws.whole(generator, 1, 6)
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

    def __call__(self, x, scale, bias, eps=1e-5):  # named like adain's own
        self.calls.append((x.detach(), scale.detach(), bias.detach()))
        return x * scale[:, :, None, None] + bias[:, :, None, None]


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
    for batch, sequence in ((3, list), (1, list), (2, tuple)):
        G, s, styles, noise = style_generator(student, generator, batch=batch)
        want = by_hand_images(s, styles, noise)
        says = (
            f"the images are not those of these weights, styles and noise, for a batch of {batch}"
        )
        for mode in ("train", "eval"):
            G.call(mode)
            student.checking.fakes.holding_gradients(G)  # a pass leaves them
            got = G.call("synthesis", sequence(styles), sequence(noise))
            expect.close(got, want, says, atol=1e-9, rtol=1e-9)


@style_net
def test_styled_images_in_float32(student, generator):
    """as it is made, in float32, with 32 latents and 16 channels"""
    G = student.new("gan_nets.StyleGenerator")
    styles = [normal(generator, 2, 32).float() for _ in range(3)]
    noise = [normal(generator, 2, 1, size, size).float() for size in (4, 8, 16)]
    s = {k: v.double() for k, v in G.state().items()}
    want = by_hand_images(s, [w.double() for w in styles], [n.double() for n in noise])
    got = G.call("synthesis", styles, noise)
    expect.close(got, want, "other images in float32", atol=1e-3, rtol=1e-3)


@style_net(weight=2)
def test_the_gradients_of_the_style_generator(student, generator):
    """gradients reach every weight, from the constant to the mapping, and the latents"""
    G, s, _, _ = style_generator(student, generator)
    z, c = normal(generator, 3, s["mapping.0.weight"].shape[1]), normal(generator, 3, 1, 16, 16)
    seed = draws.whole(generator, 0, 10**6 + 1)
    draw = torch.Generator().manual_seed(seed)
    noise = [torch.randn(3, 1, k, k, generator=draw, dtype=torch.float64) for k in (4, 8, 16)]
    draw = torch.Generator().manual_seed(seed)
    to_z, found = student.gradient("checking.fakes.weighted", G, c, z, draw, wrt=[z, G])
    leaf = z.clone().requires_grad_()
    w = leaf
    for weight in s.values():
        weight.requires_grad_()
    for n in (0, 2):
        w = w @ s[f"mapping.{n}.weight"].T + s[f"mapping.{n}.bias"]
        w = torch.maximum(w, 0.2 * w)
    L = (c * by_hand_images(s, [w] * 3, noise)).sum()
    wants = torch.autograd.grad(L, [leaf, *s.values()])
    got = [to_z, *(found.get(n) for n in s)]
    for g, want, name in zip(got, wants, ["the latents", *s], strict=True):
        says = f"the gradient of {name} is not that of these layers"
        expect.close(g, want, says, atol=1e-6, rtol=1e-6, what=f"the gradient of {name}")


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


def forms_of_t(generator):
    """Pairs of latents and t in every form that the docstring allows."""
    steps, n, d = 5, 3, 4
    z = normal(generator, 2, 2, n, d)
    walk = torch.rand(steps, generator=generator, dtype=torch.float64)
    t = float(walk[0])
    batch, one, single = z[:, 0], z[:, 0, :1], z[:, 0, 0]
    return [
        *((*batch, t) for t in (t, walk[0], walk[:1], walk[:n], walk[:, None], 1, 0, 0.5)),
        *((*batch, t) for t in (-0.4, 1.7, 3 * walk[:n] - 1)),  # beyond the ends
        (*batch[..., :n], torch.rand(n, n, generator=generator, dtype=torch.float64)),
        (*batch, torch.rand(steps, n, generator=generator, dtype=torch.float64)),
        *((*one, t) for t in (t, walk[:1], walk, walk[:, None])),
        *((*single, t) for t in (t, walk[0], walk, walk[:1], walk[:, None])),
        *((*z, t) for t in (t, walk[:n], walk[:2, None], walk[:, None, None])),
        *((*z[..., :2], t) for t in (walk[:n], walk[:2, None])),
        (*batch.float(), t),
        (*batch.float(), walk[:n]),
        (*batch.float(), walk[:n].float()),
        (*batch, walk[:n].float()),
        (*batch, walk[0].float()),
    ]


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
    z_0, z_1 = 30 * normal(generator, 2, 5, 6)
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
    for a, b, t in forms_of_t(generator):
        digits = 1e-12 if a.dtype == torch.float64 else 1e-5
        got = student.gan_nets.lerp(a, b, t)
        t = torch.as_tensor(t, dtype=torch.float64)
        want = t[..., None] * a.double() + (1 - t[..., None]) * b.double()
        says = f"t[..., None] is broadcast against z, for t {tuple(t.shape)}, z {tuple(a.shape)}"
        got = expect.tensor(got, want.shape, "z_t")
        expect.close(got, want, says, atol=digits, rtol=digits)
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


def arc_by_hand(a, b, t, omega):
    """The formula, for a known angle; t is broadcast already."""
    return (torch.sin(t * omega) * a + torch.sin((1 - t) * omega) * b) / torch.sin(omega)


def apart(generator, omega, n=6, d=5):
    """Pairs of latents of any lengths, this far apart."""
    u, v = normal(generator, 2, n, d)
    u = F.normalize(u, dim=-1)
    v = F.normalize(v - (u * v).sum(-1, keepdim=True) * u, dim=-1)
    long = (1.5 * normal(generator, 2, n, 1)).exp()
    return long[0] * u, long[1] * (math.cos(omega) * u + math.sin(omega) * v)


@slerp(weight=2)
@pytest.mark.parametrize("end", ["one direction", "opposite"])
def test_small_angles_are_arcs(student, generator, end):
    """as long as sin Ω is above 1e-3 it is the arc, to all its digits"""
    for small in (1.1e-3, 2e-3, 5e-3, 1e-2, 0.03, 0.1, 0.5, 1.5):
        omega = small if end == "one direction" else math.pi - small
        z_0, z_1 = apart(generator, omega)
        t = torch.rand(6, 1, generator=generator, dtype=torch.float64)
        want = arc_by_hand(z_0, z_1, t, torch.tensor(omega, dtype=torch.float64))
        got = expect.tensor(student.gan_nets.slerp(z_0, z_1, t[:, 0]), (6, 5), "z_t")
        size = (z_0.norm(dim=-1) + z_1.norm(dim=-1))[:, None]
        says = f"not the arc, for an angle of {omega:.6g} between the latents"
        # The angle is known to 1e-16/sin Ω; where latents are opposite, z_t is sensitive to it.
        digits = 1e-11 if end == "one direction" else 1e-15 / small**3 + 1e-9
        expect.close(got / size, want / size, says, atol=digits, rtol=digits, what="z_t")


@slerp(weight=2)
@pytest.mark.parametrize("end", ["one direction", "opposite"])
def test_where_the_arc_ends(student, generator, end):
    """where sin Ω is below 1e-3 it is the straight way"""
    for small in (9e-4, 5e-4, 1e-4, 1e-6, 1e-8, 1e-12):
        omega = small if end == "one direction" else math.pi - small
        z_0, z_1 = apart(generator, omega)
        t = torch.rand(6, 1, generator=generator, dtype=torch.float64)
        got = expect.tensor(student.gan_nets.slerp(z_0, z_1, t[:, 0]), (6, 5), "z_t")
        size = (z_0.norm(dim=-1) + z_1.norm(dim=-1))[:, None]
        want = t * z_0 + (1 - t) * z_1
        says = f"not that of lerp, for an angle of {omega:.6g} between the latents"
        # The arc itself is within Ω²/16 of it on one side: it may be that, too.
        expect.close(got / size, want / size, says, atol=1e-7, rtol=1e-7, what="z_t")


@slerp
def test_each_pair_for_itself(student, generator):
    """in one batch some latents lie along one line, others do not"""
    angles = [0.0, 1.2, math.pi, 2e-3, 1e-9, 2.9]
    pairs = [apart(generator, omega, n=1) for omega in angles]
    z_0, z_1 = (torch.cat(z) for z in zip(*pairs, strict=True))
    t = torch.rand(6, generator=generator, dtype=torch.float64)
    got = expect.tensor(student.gan_nets.slerp(z_0, z_1, t), (6, 5), "z_t")
    for n, omega in enumerate(angles):
        along, angle_n = (z_0[n], z_1[n], t[n]), torch.tensor(omega, dtype=torch.float64)
        want = t[n] * z_0[n] + (1 - t[n]) * z_1[n]
        if math.sin(omega) > 1e-3:
            want = arc_by_hand(*along, angle_n)
        says = f"z_t of the pair with an angle of {omega:.3g}, among pairs with other angles"
        expect.close(got[n], want, says, atol=1e-6, rtol=1e-6, what="z_t")


@slerp(weight=2)
def test_forms_of_t_on_the_arc(student, generator):
    """t is a number, one for each latent, or any tensor that is broadcast with an axis more"""
    for a, b, t in forms_of_t(generator):
        got = student.gan_nets.slerp(a, b, t)
        t = torch.as_tensor(t, dtype=torch.float64)
        want = arc_by_hand(
            a.double(), b.double(), t[..., None], angle(a.double(), b.double())[..., None]
        )
        says = f"t[..., None] is broadcast against z, for t {tuple(t.shape)}, z {tuple(a.shape)}"
        got = expect.tensor(got, want.shape, "z_t")
        digits = 1e-9 if a.dtype == torch.float64 else 1e-3
        expect.close(got, want, says, atol=digits, rtol=digits)
        expect.true(got.dtype == a.dtype, "z_t has the dtype of z", got.dtype, a.dtype)


@slerp
def test_latents_of_one_direction_in_float32(student, generator):
    """no rounding makes it NaN: a cosine may come out above 1 in float32"""
    z_1 = normal(generator, 200, 6).float()
    z_0 = (0.1 + 3 * torch.rand(200, 1, generator=generator)) * z_1
    got = expect.tensor(student.gan_nets.slerp(z_0, z_1, 0.3), (200, 6), "z_t")
    want = 0.3 * z_0.double() + 0.7 * z_1.double()
    expect.close(got, want, "latents along one line: z_t is that of lerp", atol=1e-4, rtol=1e-4)
    expect.tensor(student.gan_nets.slerp(-z_0, z_1, 0.3), (200, 6), "z_t")
    for omega in (0.05, 0.5, 1.5, 2.5, 3.0):
        z_0, z_1 = (z.float() for z in apart(generator, omega))
        want = arc_by_hand(
            z_0.double(), z_1.double(), 0.3, angle(z_0.double(), z_1.double())[:, None]
        )
        size = (z_0.norm(dim=-1) + z_1.norm(dim=-1))[:, None]
        got = expect.tensor(student.gan_nets.slerp(z_0, z_1, 0.3), (6, 5), "z_t")
        says = f"not the arc in float32, for an angle of {omega}"
        expect.close(got / size, want / size, says, atol=1e-3, rtol=1e-3)


@slerp(weight=2)
def test_gaussian_latents_stay_typical(student, generator):
    """between Gaussian latents the length stays near √d, as G has seen it"""
    d, steps = 2048, 9
    z_0, z_1 = normal(generator, 2, d)
    t = torch.linspace(0, 1, steps, dtype=torch.float64)
    z_t = expect.tensor(student.gan_nets.slerp(z_0, z_1, t), (steps, d), "z_t")
    want = torch.full((steps,), math.sqrt(d))
    expect.close(z_t.norm(dim=1), want, "√d is expected all the way", rtol=0.08, atol=1e-5)


@slerp
def test_walks_between_equal_latents(student, generator):
    """equal latents: z_t has the shape that t gives it, and is there all the way"""
    z = normal(generator, 3, 4)
    t = torch.rand(5, generator=generator, dtype=torch.float64)
    for latent, steps in ((z[0], t), (z, t[:, None]), (z, t[:3])):
        got = student.gan_nets.slerp(latent, latent.clone(), steps)
        want = latent.expand(*torch.broadcast_shapes(steps[..., None].shape, latent.shape))
        expect.close(got, want, "not shaped as by lerp", atol=1e-9, rtol=1e-9, what="z_t")
