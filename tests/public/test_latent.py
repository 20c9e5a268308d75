"""Public checks of chapter 08, the autoencoder and its losses."""

import math

import pytest
import torch

from cs231n_gen.checking import expect

reparameterize = pytest.mark.exercise("latent.reparameterize")
vae_loss = pytest.mark.exercise("latent.vae_loss")
discriminator_loss = pytest.mark.exercise("latent.discriminator_loss")
adaptive_weight = pytest.mark.exercise("latent.adaptive_weight")
shift_and_scale = pytest.mark.exercise("latent.shift_and_scale")
to_latent = pytest.mark.exercise("latent.to_latent", graph=False)
from_latent = pytest.mark.exercise("latent.from_latent", graph=False)

DOUBLE = {"atol": 1e-11, "rtol": 1e-11}  # what rounding leaves where all is computed in double


def waves(*shape, rate=7.3, scale=1.0, dtype=torch.float64):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return (scale * (rate * (1 + u)).sin().reshape(shape)).to(dtype)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --- latent.reparameterize ----------------------------------------------------------------------


@reparameterize
def test_without_noise_it_is_the_mean(student, generator):
    """u is shaped like μ, and it is μ where σ² is nearly 0"""
    mean = torch.tensor([[1.0, -2.0], [0.5, 30.0], [0.0, 7.0]])
    u = student.latent.reparameterize(mean, torch.full((3, 2), -60.0), generator)
    expect.close(u, mean, "σ is exp(−30): nothing is added to μ", what="u")


@reparameterize
def test_how_far_the_draws_lie_apart(student):
    """log σ² = log 9 makes draws with a standard deviation of 3"""
    mean, log_var = torch.full((4000,), 10.0), torch.full((4000,), math.log(9.0))
    u = student.latent.reparameterize(mean, log_var, seeded())
    u = expect.tensor(u, (4000,), "u")
    expect.close(u.mean(), 10.0, "the mean of 4000 draws", what="it", atol=0.3, rtol=0)
    says = "the standard deviation of 4000 draws: 9 is the variance"
    expect.close(u.std(), 3.0, says, what="it", atol=0.2, rtol=0)


@reparameterize
def test_where_the_noise_comes_from(student):
    """ε is one torch.randn of this shape and precision, from the generator"""
    for shape in ((), (3,), (1, 5), (2, 3, 4, 4)):
        for dtype in (torch.float32, torch.float64):
            e = torch.randn(shape, generator=seeded(), dtype=dtype)
            mean, log_var = waves(*shape, dtype=dtype), waves(*shape, rate=2.1, dtype=dtype)
            own = seeded()
            u = student.latent.reparameterize(mean, log_var, own)
            digits = DOUBLE if dtype == torch.float64 else {"atol": 1e-6, "rtol": 1e-5}
            want = mean.double() + (log_var.double() / 2).exp() * e.double()
            expect.close(u, want, f"μ + σ ε of shape {shape}, {dtype}", what="u", **digits)
            after = torch.randn(2, generator=own)
            reference = seeded()
            torch.randn(shape, generator=reference, dtype=dtype)
            says = "the generator gives one draw of this shape and no more"
            expect.close(after, torch.randn(2, generator=reference), says, what="its next numbers")


@reparameterize
def test_gradients_flow_into_both(student):
    """the gradient in μ is 1, in log σ² it is ½ σ ε"""
    function = student.function("latent.reparameterize")
    mean, log_var, c = (waves(2, 3, rate=r) for r in (7.3, 2.1, 1.7))
    e = torch.randn(2, 3, generator=seeded(), dtype=torch.float64)
    found = student.gradient(
        "checking.fakes.weighted", function, c, mean, log_var, seeded(), wrt=[mean, log_var]
    )
    says = "no gradient reaches μ, or log σ²: what is a sample no gradient passes"
    expect.true(all(g is not None for g in found), says)
    expect.close(found[0], c, "∂u/∂μ is 1", what="the gradient", **DOUBLE)
    want = c * 0.5 * (log_var / 2).exp() * e
    expect.close(found[1], want, "∂u/∂log σ² is ½ σ ε", what="the gradient", **DOUBLE)


@reparameterize
def test_small_and_large_variances(student):
    """log-variances from −1000 to 100, none is cut off"""
    e = torch.randn(4, generator=seeded(), dtype=torch.float64)
    for size in (30.0, 100.0, -30.0, -1000.0):
        mean, log_var = 1e3 * waves(4), size + waves(4, rate=2.1)
        u = student.latent.reparameterize(mean, log_var, seeded())
        want = mean + (log_var / 2).exp() * e
        expect.close(u, want, f"log-variances of about {size:g}", what="u", **DOUBLE)


@reparameterize
def test_two_shapes_are_refused(student):
    """μ and log σ² of two shapes are refused"""
    mean = torch.zeros(4, 3)
    for other in (mean[:1], mean[:, :1], mean[0], mean.mT):
        args = (mean, other, seeded())
        says = f"ValueError for μ (4, 3) and log σ² {tuple(other.shape)}: leave the lines above "
        call = lambda a=args: student.latent.reparameterize(*a)  # noqa: E731
        expect.raises("ValueError", call, f"{says}yours as they are")


# --- latent.vae_loss ----------------------------------------------------------------------------


@vae_loss
def test_errors_cost_half_their_square(student):
    """an error costs half its square, summed over the pixels of an image"""
    x = waves(2, 1, 3, 4)
    still = torch.zeros(2, 2, dtype=torch.float64)  # μ = 0 and σ² = 1: KL is 0
    L = student.latent.vae_loss(x, x + 2.0, still, still, 1.0)
    expect.close(L, 24.0, "12 pixels off by 2: ½ · 12 · 2² an image", what="L", **DOUBLE)
    x_hat = x.clone()
    x_hat[0] += 2.0
    L = student.latent.vae_loss(x, x_hat, still, still, 1.0)
    expect.close(L, 12.0, "one image of the two: half as much", what="L", **DOUBLE)


@vae_loss
def test_the_divergence_is_weighted(student):
    """w_KL times the divergence is added, summed over the latents"""
    x, mean = waves(2, 3), torch.tensor([[[3.0, 0.0]], [[1.0, 1.0]]]).double()
    L = student.latent.vae_loss(x, x, mean, torch.zeros(2, 1, 2).double(), 0.5)
    want = 0.5 * (4.5 + 1.0) / 2
    says = "KL is ½ · 3² for the first, ½ (1 + 1) for the second: ½ of their mean"
    expect.close(L, want, says, what="L", **DOUBLE)
    L = student.latent.vae_loss(x, x, mean, torch.zeros(2, 1, 2).double(), 0)
    expect.close(L, 0.0, "w_KL = 0 leaves the reconstruction", what="L", **DOUBLE)
    log_var = torch.full((2, 1, 2), math.log(4.0), dtype=torch.float64)
    L = student.latent.vae_loss(x, x, 0 * mean, log_var)
    want = 4 - 1 - math.log(4.0)
    says = "two latents with σ² = 4: KL is ½ (4 − 1 − log 4) for each; w_KL is 1 if none is given"
    expect.close(L, want, says, what="L", **DOUBLE)


@vae_loss
def test_images_and_latents_of_any_shape(student):
    """points and images, latents of any shape, one example or many, in both precisions"""
    for shape, latent in (((3, 7), (3, 3)), ((1, 2, 4, 4), (1, 4, 2, 2)), ((2, 1, 3), (2, 5))):
        x, x_hat = waves(*shape), waves(*shape, rate=1.3)
        mean, log_var = waves(*latent, rate=2.9), waves(*latent, rate=5.1)
        fit = 0.5 * (x - x_hat).square().sum() / len(x)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum() / len(x)
        for w in (1e-6, 0.25, 2, 300.0):
            L = student.latent.vae_loss(x, x_hat, mean, log_var, w)
            says = f"x of shape {shape}, latents of shape {latent}, w_KL = {w}"
            expect.close(L, fit + w * kl, says, what="L", **DOUBLE)
        L = student.latent.vae_loss(*(k.float() for k in (x, x_hat, mean, log_var)), kl_weight=2.0)
        expect.close(L, fit + 2 * kl, "in single precision", what="L")


@vae_loss
def test_gradients_reach_the_decoder_and_the_encoder(student):
    """its gradients are (x̂ − x)/n, w μ/n and w ½ (σ² − 1)/n"""
    x, x_hat, mean, log_var = (waves(3, 2, 2, rate=r) for r in (7.3, 1.3, 2.9, 5.1))
    wrt = [x_hat, mean, log_var]
    found = student.gradient("latent.vae_loss", x, x_hat, mean, log_var, 0.5, wrt=wrt)
    says = "no gradient reaches x̂, μ or log σ²"
    expect.true(all(g is not None for g in found), says)
    wants = (x_hat - x) / 3, mean / 6, (log_var.exp() - 1) / 12
    for g, want, what in zip(found, wants, ("x̂", "μ", "log σ²"), strict=True):
        says = f"the gradient in {what}, for w_KL = ½ and 3 examples"
        expect.close(g, want, says, what="the gradient", **DOUBLE)


@vae_loss
def test_the_best_linear_vae_is_a_minimum(student):
    """a linear VAE of data with variances 4 and ½: w_KL = 1 keeps the first, gives up the other"""
    loss = student.function("latent.vae_loss")
    lam = torch.tensor([4.0, 0.5], dtype=torch.float64)
    A, B = (torch.diag(torch.tensor([k, 0.0], dtype=torch.float64)) for k in (3**0.5 / 4, 3**0.5))
    log_var = torch.tensor([-math.log(4.0), 0.0], dtype=torch.float64)
    args = (loss, lam, 1.0, A, log_var, B)
    cost = student.checking.fakes.linear_vae_loss(*args)
    says = "½ (1 + ½) of errors and ½ log 4 of bits"
    expect.close(cost, 0.75 + math.log(2.0), says, what="L", **DOUBLE)
    slopes = student.gradient("checking.fakes.linear_vae_loss", *args, wrt=[A, log_var, B])
    for slope, what in zip(slopes, ("encoder", "log-variances", "decoder"), strict=True):
        expect.true(slope is not None, f"no gradient reaches the {what}")
        says = f"the best linear VAE is no minimum: it would move the {what}"
        expect.close(slope, torch.zeros(slope.shape), says, what="a slope", atol=1e-10, rtol=0)


@vae_loss
def test_far_data_and_extreme_variances(student):
    """data near 10⁶, means of 100, log-variances of −50 and 40"""
    x, mean = 1e6 + waves(2, 3), torch.full((2, 2), 100.0).double()
    L = student.latent.vae_loss(x, x + 30.0, mean, torch.zeros(2, 2).double(), 0.1)
    want = 0.5 * 3 * 900.0 + 0.1 * 1e4
    says = "3 pixels off by 30; two latents with ½ · 100² each"
    expect.close(L, want, says, what="L", atol=1e-7, rtol=0)
    for size in (-50.0, 40.0):
        log_var = torch.full((2, 2), size).double()
        L = student.latent.vae_loss(x, x, 0 * mean, log_var)
        want = math.exp(size) - 1 - size
        expect.close(L, want, f"log-variances of {size:g}: none is cut off", what="L", **DOUBLE)


@vae_loss
def test_what_does_not_fit_is_refused(student):
    """shapes that differ and a negative w_KL are refused"""
    x, m = torch.zeros(4, 3), torch.zeros(4, 2)
    for args in (
        (x, x[:1], m, m),
        (x, x[:, :1], m, m),
        (x, x, m, m[:1]),
        (x, x, m[:1], m[:1]),
        (x, x, m, m, -0.1),
        (x, x, m, m, math.nan),
    ):
        shapes = [tuple(a.shape) if isinstance(a, torch.Tensor) else a for a in args]
        says = f"ValueError for {shapes}: leave the lines above yours as they are"
        call = lambda a=args: student.latent.vae_loss(*a)  # noqa: E731
        expect.raises("ValueError", call, says)


# --- latent.discriminator_loss ------------------------------------------------------------------


@discriminator_loss
def test_a_discriminator_that_says_nothing(student):
    """where D says 0 of all the loss is 2"""
    L = student.latent.discriminator_loss(torch.zeros(3, 1, 2, 2), torch.zeros(5))
    expect.close(L, 2.0, "1 for real and 1 for fake patches", what="L_D")


@discriminator_loss
def test_each_side_of_the_margin(student):
    """real logits cost 1 − ℓ, fake ones 1 + ℓ, and nothing beyond the margin"""
    real, fake = torch.tensor([0.5, 3.0, -2.0, 1.5]), torch.tensor([-4.0, -0.25])
    L = student.latent.discriminator_loss(real, fake)
    want = (0.5 + 0 + 3 + 0) / 4 + (0 + 0.75) / 2
    expect.close(L, want, "(½ + 0 + 3 + 0)/4 for real ones, (0 + ¾)/2 for fake ones", what="L_D")
    L = student.latent.discriminator_loss(real[1:2], fake[:1])
    expect.close(L, 0.0, "3 and −4 are beyond the margin: nothing is left to learn", what="L_D")
    L = student.latent.discriminator_loss(-1e4 + real, 1e4 + fake)
    want = 1 + 1e4 - float(real.mean()) + 1 + 1e4 + float(fake.mean())
    expect.close(L, want, "logits of 10 000 on the wrong side", what="L_D", atol=0, rtol=1e-6)


@discriminator_loss
def test_patches_of_two_shapes(student):
    """logits of any shape, one or more; real and fake ones may differ in number"""
    for one, other in (
        ((1,), (1,)),
        ((2, 1), (5, 1)),
        ((3, 1, 2, 3), (1, 1, 4, 4)),
        ((4,), (2, 3)),
    ):
        real, fake = 2 * waves(*one), 2 * waves(*other, rate=2.1)
        want = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
        L = student.latent.discriminator_loss(real, fake)
        says = f"a mean over patches shaped {one} and one over patches shaped {other}"
        expect.close(L, want, says, what="L_D", **DOUBLE)


@discriminator_loss
def test_slopes_end_at_the_margin(student):
    """the slopes are −1/n for real and 1/m for fake logits, 0 beyond the margin"""
    real, fake = torch.tensor([[0.5], [3.0], [-2.0], [1.5]]), torch.tensor([-4.0, -0.25])
    found = student.gradient("latent.discriminator_loss", real, fake, wrt=[real, fake])
    says = "no gradient reaches the real logits, or the fake ones"
    expect.true(all(g is not None for g in found), says)
    want = torch.tensor([[-0.25], [0.0], [-0.25], [0.0]])
    expect.close(found[0], want, "0.5 and −2 are below 1", what="the slopes")
    expect.close(found[1], torch.tensor([0.0, 0.5]), "−0.25 is above −1", what="the slopes")


# --- latent.adaptive_weight ---------------------------------------------------------------------

W = torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0]], dtype=torch.float64)
H = torch.tensor([[1.0, 2.0, 2.0]], dtype=torch.float64)
X = torch.tensor([[2.0, 4.0]], dtype=torch.float64)  # W h − x = (3, −4)
CRITIC = torch.tensor([0.6, 0.8], dtype=torch.float64)  # ∂L_rec/∂W has the norm 5 · 3, L_adv's 3
LINEAR = (W, H, X, CRITIC)


def asked(student, case=LINEAR, scales=(1.0, 1.0), **options):
    """What it says of a decoder with a linear last layer, and what it leaves behind."""
    function = student.function("latent.adaptive_weight")
    return student.checking.fakes.weighed_at_last_layer(function, *case, scales, **options)


def convolution():
    """A case whose last layer is a convolution, and the norms of both gradients."""
    case = tuple(
        waves(*shape, rate=r)
        for shape, r in zip(
            ((2, 3, 2, 2), (2, 3, 3, 4), (2, 2, 2, 3), (2, 2, 3)), (7.3, 2.1, 1.3, 2.9), strict=True
        )
    )
    V = case[0].clone().requires_grad_()
    x_hat = torch.nn.functional.conv2d(case[1], V)
    rec = 0.5 * (case[2] - x_hat).square().sum() / 2
    adv = (case[3] * x_hat).sum() / 2
    return case, [float(torch.autograd.grad(t, V, retain_graph=True)[0].norm()) for t in (rec, adv)]


@adaptive_weight
def test_the_ratio_for_a_linear_layer(student):
    """of x̂ = W h it is ‖(W h − x) hᵀ‖ / (‖critic hᵀ‖ + δ)"""
    plain, larger = asked(student)["weight"], asked(student, delta=4.5)["weight"]
    expect.close(plain, 15 / 3.0001, "15 / (3 + 0.0001)", what="λ", **DOUBLE)
    expect.close(larger, 2.0, "15 / (3 + 4.5) for δ = 4.5", what="λ", **DOUBLE)


@adaptive_weight
def test_the_ratio_for_a_convolution(student):
    """of a convolution it is the ratio of the norms over all its weights"""
    case, (rec, adv) = convolution()
    found = asked(student, case)["weight"]
    says = "the root of the sum of the squares of all numbers of a gradient"
    expect.close(found, rec / (adv + 1e-4), says, what="λ", **DOUBLE)
    single = asked(student, tuple(k.float() for k in case))["weight"]
    single = expect.tensor(single, (), "λ")
    says = "losses in single precision have such a λ"
    expect.true(single.dtype == torch.float32, says, single.dtype, torch.float32)
    expect.close(single, rec / (adv + 1e-4), says, what="λ")


@adaptive_weight
def test_units_of_both_losses(student):
    """three times the reconstruction is three times λ, three times the other a third"""
    for r, a in ((3.0, 1.0), (1.0, 3.0), (20.0, 0.01), (0.01, 20.0), (-2.0, -3.0)):
        found = asked(student, scales=(r, a))["weight"]
        want = 15 * abs(r) / (3 * abs(a) + 1e-4)
        says = f"L_rec times {r:g}, L_adv times {a:g}"
        expect.close(found, want, says, what="λ", **DOUBLE)


@adaptive_weight
def test_before_the_start(student):
    """λ is 0 before step `start`, not in it"""
    steps = (0, 9, 10, 11)
    found = [asked(student, step=step, start=10)["weight"] for step in steps]
    for step, weight in zip(steps, found, strict=True):
        want, says = 15 / 3.0001 * (step >= 10), f"step {step}, start 10"
        expect.close(weight, want, says, what="λ", **DOUBLE)
    for dtype in (torch.float32, torch.float64):
        case = tuple(k.to(dtype) for k in LINEAR)
        weight = expect.tensor(asked(student, case, step=0, start=1)["weight"], (), "λ")
        says = "a λ of 0 has the precision of the losses too"
        expect.true(weight.dtype == dtype, says, weight.dtype, dtype)


@adaptive_weight
def test_at_most_the_largest(student):
    """λ is at most `largest`, also where L_adv has no gradient"""
    two, seven = (asked(student, largest=m)["weight"] for m in (2.0, 7.0))
    flat = asked(student, scales=(1.0, 0.0))["weight"]
    expect.close(two, 2.0, "15/3 is above 2", what="λ", **DOUBLE)
    expect.close(seven, 15 / 3.0001, "15/3 is below 7", what="λ", **DOUBLE)
    expect.close(flat, 1e4, "15/0.0001 is above 10 000", what="λ", **DOUBLE)


@adaptive_weight
def test_what_it_leaves_behind(student):
    """λ is a constant; W, W.grad and both losses stay as they were"""
    for held in (None, torch.ones_like(W)):
        for start in (0, 1):
            found = asked(student, held=held, start=start)
            want = 15 / 3.0001 * (start == 0)
            expect.close(found["weight"], want, "λ itself is wrong", what="λ", **DOUBLE)
            expect.true(found["constant"], "a gradient flows through λ")
            expect.true(found["kept"], "W or a loss is changed")
            expect.true(found["random"], "torch's global random state is changed")
            says = "last_layer.grad is not as it was: it belongs to the optimizer"
            same = found["grad"] is None if held is None else torch.equal(found["grad"], held)
            expect.true(same, says, found["grad"], held)


@adaptive_weight
def test_both_losses_are_used_afterwards(student):
    """L_rec + λ L_adv can be backpropagated afterwards"""
    for start in (0, 1):
        found = asked(student, use=True, start=start)
        scale = 15 / 3.0001 * (start == 0)
        expect.close(found["weight"], scale, "λ itself is wrong", what="λ", **DOUBLE)
        off = torch.tensor([[3.0, -4.0]]).double().mT
        want = (off - scale * CRITIC[:, None]) @ H
        says = "the gradient of L_rec + λ L_adv in W"
        expect.close(found["to_last"], want, says, what="it", **DOUBLE)
        says = "the gradient of L_rec + λ L_adv before the last layer"
        expect.close(found["to_first"], (want * W).sum(), says, what="it", **DOUBLE)


# --- encoders and decoders ----------------------------------------------------------------------


def filled(net, at=0.0, spread=1.0, dtype=torch.float64):
    """Fill a net of `fakes` with weights and running statistics.

    Args:
        at, spread: about where its results lie, and how far apart.
    """
    if dtype == torch.float64:
        net.call("double")
    weights = {}
    for k, (name, w) in enumerate(net.state().items()):
        weights[name] = waves(*w.shape, rate=1.3 + k, dtype=dtype)
        if name.endswith("running_var"):
            weights[name] = weights[name] + 1.5
        if name.startswith("layer"):
            weights[name] = spread * weights[name] + at * (name == "layer.bias")
        if name.endswith("tracked"):
            weights[name] = w + 3
    net.load(weights)
    net.call("eval")
    return weights


def encoder(student, channels=1, latents=2, **options):
    net = student.new("checking.fakes.NormedEncoder", channels, latents)
    return net, filled(net, **options)


def decoder(student, latents=2, channels=1, **options):
    net = student.new("checking.fakes.NormedDecoder", latents, channels)
    return net, filled(net, **options)


def normed(x, w):
    """What a batch norm makes of x by its running statistics."""
    mean, var, gain, bias = (
        w[f"norm.{k}"].double()[:, None, None]
        for k in ("running_mean", "running_var", "weight", "bias")
    )
    return (x.double() - mean) / (var + 1e-5).sqrt() * gain + bias


def encoded(x, w):
    """μ of an encoder with these weights, in eval mode."""
    kernel, bias = w["layer.weight"].double(), w["layer.bias"].double()
    found = torch.nn.functional.conv2d(normed(x, w), kernel, bias, stride=2)
    return found[:, : len(kernel) // 2]


def decoded(u, w):
    """The images of a decoder with these weights, in eval mode."""
    kernel, bias = w["layer.weight"].double(), w["layer.bias"].double()
    return torch.nn.functional.conv_transpose2d(normed(u, w), kernel, bias, stride=2)


def came_back(net, weights, what):
    """The net is used in eval mode and without a graph, and comes back as it was."""
    after = net.state()
    same = all(torch.equal(after[name], w) for name, w in weights.items())
    expect.true(same, f"the {what}'s weights or running statistics are changed")
    ways = net.get("ways")
    says = f"the {what} is in training mode where it is called"
    expect.true(not any(training for training, _ in ways), says)
    says = f"the {what} records a graph where it is called"
    expect.true(not any(graph for _, graph in ways), says)


MODES = ("eval", "train", "half_frozen", "in_use")


# --- latent.shift_and_scale ---------------------------------------------------------------------


def two_floats(found):
    shift, scale = expect.unpack(found, ["shift", "scale"])
    for value, name in ((shift, "shift"), (scale, "scale")):
        says = f"{name} must be a float"
        expect.true(type(value) is float, says, type(value).__name__, "float")
    return shift, scale


def standard(mean):
    """Shift and scale of latents."""
    shift = mean.mean()
    return shift, 1 / (mean - shift).square().mean().sqrt()


def is_standard(student, net, x, weights, says, **digits):
    digits = digits or DOUBLE
    shift, scale = two_floats(student.latent.shift_and_scale(net, x))
    wants = standard(encoded(x, weights))
    expect.close(shift, wants[0], says, what="shift", **digits)
    expect.close(scale, wants[1], says, what="scale", **digits)


@shift_and_scale
def test_four_numbers(student):
    """μ of 1, 2, 3 and 6 have the mean 3 and the standard deviation √3.5"""
    net, weights = encoder(student, 1, 1)
    one = torch.ones(1, dtype=torch.float64)
    kernel = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]], [[[5.0, 5.0], [5.0, 5.0]]]]).double()
    own = {"norm.weight": one, "norm.bias": 0 * one, "norm.running_mean": 0 * one}
    own |= {"norm.running_var": one - 1e-5, "layer.weight": kernel}
    net.load({**weights, **own, "layer.bias": torch.zeros(2).double()})
    x = torch.tensor([1.0, 2.0, 3.0, 6.0]).double().reshape(1, 1, 2, 2)
    x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    shift, scale = two_floats(student.latent.shift_and_scale(net, x))
    expect.close(shift, 3.0, "(1 + 2 + 3 + 6) / 4", what="shift", **DOUBLE)
    says = "1 / √((4 + 1 + 0 + 9) / 4)"
    expect.close(scale, 1 / math.sqrt(3.5), says, what="scale", **DOUBLE)


@shift_and_scale
def test_all_numbers_of_all_latents(student):
    """one mean and one deviation for all channels, places and images, of one image too"""
    for n, channels, latents in ((1, 1, 1), (3, 3, 4), (7, 2, 2)):
        net, weights = encoder(student, channels, latents)
        x = waves(n, channels, 4, 6, rate=1.7)
        says = f"{n} images of {channels} channels, {latents} channels of latents"
        is_standard(student, net, x, weights, says)


@shift_and_scale
def test_more_images_than_are_encoded_at_once(student):
    """of 1003 images each counts alike; at most AT_ONCE are encoded at a time"""
    net, weights = encoder(student)
    x = waves(1003, 1, 2, 2, rate=1.7) + torch.linspace(0, 3, 1003).double()[:, None, None, None]
    x[1000:] += 30
    says = "1003 images that become brighter, the last three most of all"
    is_standard(student, net, x, weights, says, atol=1e-10, rtol=1e-10)
    most = max(net.get("sizes"))
    expect.true(most <= 500, "the encoder gets too many images at a time", most, "at most 500")


@shift_and_scale
def test_the_encoder_in_any_mode(student):
    """the encoder is used in eval mode, without a graph, and comes back as it was"""
    net, weights = encoder(student, 2, 2)
    x = waves(5, 2, 4, 4, rate=1.7)
    for mode in MODES:
        net.call(mode)
        is_standard(student, net, x, weights, f"the encoder came in mode {mode}")
        came_back(net, weights, "encoder")


@shift_and_scale
def test_latents_close_together(student):
    """latents near 300 that lie close together, in both precisions"""
    for dtype, digits in ((torch.float64, 1e-8), (torch.float32, 5e-4)):
        net, weights = encoder(student, 2, 2, at=300.0, spread=0.05, dtype=dtype)
        weights = {n: w.double() for n, w in weights.items()}
        x = waves(20, 2, 4, 4, rate=1.7, dtype=dtype)
        is_standard(student, net, x, weights, "latents of about 300", atol=0, rtol=digits)


@shift_and_scale
def test_what_cannot_be_standardised(student):
    """no images and latents that are all equal are refused"""
    net, weights = encoder(student)
    call = student.latent.shift_and_scale
    none = torch.zeros(0, 1, 4, 4, dtype=torch.float64)
    expect.raises("ValueError", lambda: call(net, none), "ValueError where there are no images")
    layer = {n: 0 * w for n, w in weights.items() if n.startswith("layer")}
    for value in (0.0, 0.5):
        layer["layer.bias"] = torch.full((4,), value, dtype=torch.float64)
        net.load({**weights, **layer})
        says = f"ValueError where all latents are {value}: their deviation is 0"
        expect.raises("ValueError", lambda: call(net, waves(2, 1, 4, 4)), says)


# --- latent.to_latent ---------------------------------------------------------------------------

SCALES = [(0.0, 1.0), (2.0, 1.0), (0.0, 4.0), (2.0, 4.0), (3, 2), (-100.0, 0.01), (0.1, 200.0)]


@to_latent
def test_the_mean_is_shifted_and_scaled(student):
    """u = scale · (μ(x) − shift)"""
    net, weights = encoder(student)
    x = waves(2, 1, 4, 6, rate=1.7, scale=30.0)
    mean = encoded(x, weights)
    for shift, scale in SCALES:
        u = student.latent.to_latent(net, x, shift, scale)
        says = f"shift {shift}, scale {scale}: images with bright pixels"
        expect.close(u, scale * (mean - shift), says, what="u", atol=1e-10, rtol=1e-11)


@to_latent
def test_images_of_every_size(student):
    """one image or many, any number of channels, in both precisions"""
    for n, channels, latents, h in ((1, 1, 1, 2), (3, 3, 4, 6)):
        for dtype in (torch.float32, torch.float64):
            net, weights = encoder(student, channels, latents, dtype=dtype)
            x = waves(n, channels, h, 4, rate=1.7, dtype=dtype)
            u = student.latent.to_latent(net, x, 0.5, 2.0)
            want = 2 * (encoded(x, weights) - 0.5)
            digits = DOUBLE if dtype == torch.float64 else {"atol": 1e-5, "rtol": 1e-5}
            expect.close(u, want, f"images of shape {tuple(x.shape)}", what="u", **digits)


@to_latent
def test_the_data_have_unit_variance(student):
    """with the mean and the deviation of the data u has mean 0 and standard deviation 1"""
    net, weights = encoder(student, at=-3.0)
    x = waves(9, 1, 4, 4, rate=1.7)
    shift, scale = map(float, standard(encoded(x, weights)))
    u = expect.tensor(student.latent.to_latent(net, x, shift, scale), (9, 2, 2, 2), "u")
    expect.close(u.mean(), 0.0, "the mean over the data", what="it", atol=1e-9, rtol=0)
    says = "the standard deviation over the data"
    expect.close(u.std(correction=0), 1.0, says, what="it", atol=1e-9, rtol=0)


@to_latent
def test_the_encoder_comes_back(student):
    """the encoder is called once, in eval mode, without a graph, and comes back as it was"""
    net, weights = encoder(student, 2, 2)
    x = waves(5, 2, 4, 4, rate=1.7)
    for k, mode in enumerate(MODES):
        net.call(mode)
        u = student.latent.to_latent(net, x, 0.5, 2.0)
        says = f"the encoder came in mode {mode}"
        expect.close(u, 2 * (encoded(x, weights) - 0.5), says, what="u", **DOUBLE)
        came_back(net, weights, "encoder")
        sizes = net.get("sizes")
        says = "the encoder is called once with all images"
        expect.true(sizes == [5] * (k + 1), says, sizes, [5] * (k + 1))


@to_latent
def test_a_scale_of_0_is_refused(student):
    """a scale that is not positive is refused"""
    net, _ = encoder(student)
    for scale in (0.0, -1.0, math.nan):
        call = lambda s=scale: student.latent.to_latent(net, waves(2, 1, 4, 4), 0.5, s)  # noqa: E731
        says = f"ValueError for scale = {scale}: leave the lines above yours as they are"
        expect.raises("ValueError", call, says)


# --- latent.from_latent -------------------------------------------------------------------------


@from_latent
def test_the_decoder_gets_unscaled_latents(student):
    """x̂ = decoder(u / scale + shift)"""
    net, weights = decoder(student)
    u = waves(2, 2, 3, 2, rate=1.7, scale=30.0)
    for shift, scale in SCALES:
        x = student.latent.from_latent(net, u, shift, scale)
        want = decoded(u / scale + shift, weights)
        says = f"shift {shift}, scale {scale}"
        expect.close(x, want, says, what="x̂", atol=1e-10, rtol=1e-11)


@from_latent
def test_latents_of_every_size(student):
    """one latent or many, any number of channels, in both precisions"""
    for n, latents, channels, h in ((1, 1, 1, 1), (3, 4, 3, 2)):
        for dtype in (torch.float32, torch.float64):
            net, weights = decoder(student, latents, channels, dtype=dtype)
            u = waves(n, latents, h, 3, rate=1.7, dtype=dtype)
            x = student.latent.from_latent(net, u, 0.5, 2.0)
            want = decoded(u.double() / 2 + 0.5, weights)
            digits = DOUBLE if dtype == torch.float64 else {"atol": 1e-5, "rtol": 1e-5}
            expect.close(x, want, f"latents of shape {tuple(u.shape)}", what="x̂", **digits)


@from_latent
def test_it_undoes_to_latent(student):
    """the decoder gets what the encoder gave, whatever the scale"""
    net, own = encoder(student, 1, 2)
    back, weights = decoder(student, 2, 1)
    x = waves(3, 1, 4, 4, rate=1.7)
    want = decoded(encoded(x, own), weights)
    for shift, scale in SCALES:
        u = student.latent.to_latent(net, x, shift, scale)
        found = student.latent.from_latent(back, u, shift, scale)
        says = f"shift {shift}, scale {scale}: other latents than μ reach the decoder"
        expect.close(found, want, says, what="x̂", atol=1e-9, rtol=1e-9)


@from_latent
def test_the_decoder_comes_back(student):
    """the decoder is called once, in eval mode, without a graph, and comes back as it was"""
    net, weights = decoder(student, 2, 3)
    u = waves(5, 2, 2, 2, rate=1.7)
    for k, mode in enumerate(MODES):
        net.call(mode)
        x = student.latent.from_latent(net, u, 0.5, 2.0)
        says = f"the decoder came in mode {mode}"
        expect.close(x, decoded(u / 2 + 0.5, weights), says, what="x̂", **DOUBLE)
        came_back(net, weights, "decoder")
        sizes = net.get("sizes")
        says = "the decoder is called once with all latents"
        expect.true(sizes == [5] * (k + 1), says, sizes, [5] * (k + 1))


@from_latent
def test_a_scale_of_nothing_is_refused(student):
    """a scale that is not positive is refused"""
    net, _ = decoder(student)
    for scale in (0.0, -1.0, math.nan):
        call = lambda s=scale: student.latent.from_latent(net, waves(2, 2, 2, 2), 0.5, s)  # noqa: E731
        says = f"ValueError for scale = {scale}: leave the lines above yours as they are"
        expect.raises("ValueError", call, says)
