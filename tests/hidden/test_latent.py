"""Hidden graders of chapter 08, the autoencoder and its losses: held to theory first (the linear
VAE's water level, torch.distributions, the overlap of two densities, gradients in closed form)."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from cs231n_gen.checking import draws, expect
from cs231n_gen.truth import linear_vae

reparameterize = pytest.mark.exercise("latent.reparameterize")
vae_loss = pytest.mark.exercise("latent.vae_loss")
discriminator_loss = pytest.mark.exercise("latent.discriminator_loss")
adaptive_weight = pytest.mark.exercise("latent.adaptive_weight")
shift_and_scale = pytest.mark.exercise("latent.shift_and_scale")
to_latent = pytest.mark.exercise("latent.to_latent", graph=False)
from_latent = pytest.mark.exercise("latent.from_latent", graph=False)

# What rounding leaves where all that is computed is a double.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
PRECISION = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)


def number(generator, low, high):
    return float(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))


def normal(generator, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=generator, dtype=dtype)


# --- latent.reparameterize ----------------------------------------------------------------------


def next_noise(generator, like):
    """The noise that the generator gives next; it stays where it is."""
    copy = torch.Generator().set_state(generator.get_state())
    return torch.randn(like.shape, generator=copy, dtype=like.dtype)


@reparameterize(weight=2)
def test_the_law_of_the_draws(student, generator):
    """draws have mean μ, standard deviation σ and no correlation"""
    n = 20_000
    mean, log_var = 3 * normal(generator, 3), normal(generator, 3) - 1
    args = mean.expand(n, 3).clone(), log_var.expand(n, 3).clone()
    u = expect.tensor(student.latent.reparameterize(*args, generator), (n, 3), "u").double()
    e = (u - mean) / (0.5 * log_var).exp()
    far = 6 / math.sqrt(n)
    expect.close(e.mean(0), torch.zeros(3), "the mean is not μ", atol=far, rtol=0)
    says = "the standard deviation is not σ = exp(½ log σ²)"
    expect.close(e.square().mean(0).sqrt(), torch.ones(3), says, atol=far, rtol=0)
    expect.close(e.pow(4).mean(0), 3 * torch.ones(3), "not Gaussian", atol=10 * far, rtol=0)
    for one, other in ((e[:, 0], e[:, 1]), (e[:, 1], e[:, 2]), (e[1:], e[:-1])):
        says = "numbers of one draw, or two draws, share their noise"
        expect.close((one * other).mean(), 0.0, says, atol=far, rtol=0)


@reparameterize(weight=3)
@PRECISION
def test_its_noise_is_the_generators(student, generator, dtype):
    """u = μ + σ ε for one torch.randn of this shape and precision, and no more is drawn"""
    B, c, h, w = (draws.whole(generator, 1, 6) for _ in range(4))
    for shape in ((), (1,), (B,), (B, c), (1, c, h, w), (B, c, h, w), (B, 2, c, h, w)):
        mean, log_var = (10 * normal(generator, *shape, dtype=dtype) for _ in range(2))
        e = next_noise(generator, mean)
        u = student.latent.reparameterize(mean, log_var, generator)
        want = mean.double() + (log_var.double() / 2).exp() * e.double()
        digits = DOUBLE if dtype == torch.float64 else {"atol": 1e-5, "rtol": 1e-5}
        expect.close(u, want, f"μ + σ ε of shape {shape}", **digits)
        after = next_noise(generator, mean)
        says = f"of shape {shape}: exactly one draw of this shape is taken from the generator"
        expect.true(not torch.equal(after, e), says)
        reference = torch.Generator().manual_seed(draws.whole(generator, 0, 2**31))
        own = torch.Generator().set_state(reference.get_state())
        student.latent.reparameterize(mean, log_var, own)
        torch.randn(shape, generator=reference, dtype=dtype)
        expect.true(torch.equal(own.get_state(), reference.get_state()), says)


@reparameterize(weight=3)
def test_gradients_of_a_draw(student, generator):
    """the gradient in μ is 1, in log σ² it is ½ σ ε"""
    function = student.function("latent.reparameterize")
    for shape in ((), (5,), (1, 3), (3, 2, 2, 4)):
        mean, log_var, c = (normal(generator, *shape) for _ in range(3))
        e = next_noise(generator, mean)
        found = student.gradient(
            "checking.fakes.weighted", function, c, mean, log_var, generator, wrt=[mean, log_var]
        )
        expect.true(all(g is not None for g in found), "no gradient reaches μ, or log σ²")
        expect.close(found[0], c, "the gradient in μ is not 1", **DOUBLE)
        want = c * 0.5 * (log_var / 2).exp() * e
        expect.close(found[1], want, "the gradient in log σ² is not ½ σ ε", **DOUBLE)


@reparameterize
def test_gradients_of_an_expectation(student, generator):
    """on average its gradients are those of E[u] and E[½ u²]: μ moves by μ, log σ² by ½ σ²"""
    n, m = 20_000, normal(generator, 2)
    mean = torch.full((n,), float(m[0]), dtype=torch.float64)
    log_var = torch.full((n,), float(m[1]) / 2, dtype=torch.float64)
    seed = draws.whole(generator, 0, 2**31)

    def seeded():
        return torch.Generator().manual_seed(seed)

    u = expect.tensor(student.latent.reparameterize(mean, log_var, seeded()), (n,), "u")
    function = student.function("latent.reparameterize")
    found = student.gradient(
        "checking.fakes.weighted", function, u, mean, log_var, seeded(), wrt=[mean, log_var]
    )
    expect.true(all(g is not None for g in found), "no gradient reaches μ, or log σ²")
    var = math.exp(float(log_var[0]))
    far = 8 * math.sqrt(var + 1) * (abs(float(m[0])) + math.sqrt(var) + 1) / math.sqrt(n)
    says = "the mean of ∂½u²/∂μ is not ∂E[½u²]/∂μ = μ"
    expect.close(found[0].mean(), mean[0], says, atol=far, rtol=0)
    says = "the mean of ∂½u²/∂log σ² is not ∂E[½u²]/∂log σ² = ½ σ²"
    expect.close(found[1].mean(), var / 2, says, atol=far * math.sqrt(var + 1), rtol=0)


@reparameterize(weight=2)
def test_variances_of_any_size(student, generator):
    """no variance is cut off: u is μ where log σ² is far below 0, and far away where it is large"""
    mean = normal(generator, 6)
    for size in (-1000.0, -60.0, -20.0, 15.0, 40.0, 100.0):
        log_var = size + normal(generator, 6)
        e = next_noise(generator, mean)
        u = student.latent.reparameterize(mean, log_var, generator)
        want = mean + (log_var / 2).exp() * e
        expect.close(u, want, f"log-variances of about {size:g}", **DOUBLE)
    far = 1e6 * mean
    e = next_noise(generator, far)
    u = student.latent.reparameterize(far, torch.zeros(6).double(), generator)
    expect.close(u, far + e, "means of about a million", atol=1e-8, rtol=1e-12)


@reparameterize
def test_mean_and_variance_of_two_shapes_are_refused(student, generator):
    """μ and log σ² of two shapes are refused, also where torch would broadcast them"""
    mean, call = normal(generator, 4, 3), student.latent.reparameterize
    for other in (mean[:1], mean[:, :1], mean[0], mean[None], mean[0, 0], mean.mT):
        says = f"μ {tuple(mean.shape)} and log σ² {tuple(other.shape)} do not fit"
        expect.raises("ValueError", lambda o=other: call(mean, o, generator), says)
        expect.raises("ValueError", lambda o=other: call(o, mean, generator), says)


# --- latent.vae_loss ----------------------------------------------------------------------------


def spectrum(generator):
    """Eigenvalues and a water level θ that is near none of them; one or more axes are under it."""
    theta = number(generator, 0.1, 2)
    ratios = torch.tensor([6.0, 2.5, 1.5, 0.4], dtype=torch.float64)
    spread = 0.85 + 0.3 * torch.rand(4, generator=generator, dtype=torch.float64)
    return theta * ratios * spread, theta


@vae_loss(weight=3)
def test_a_trained_linear_vae_floods(student, generator):
    """a linear VAE trained on it floods to θ = w_KL: MSE = Σ min(λ, θ), KL = Σ ½ log⁺(λ/θ)"""
    lam, theta = spectrum(generator)
    begin = [0.5 * normal(generator, 4, 4), torch.zeros(4).double(), 0.5 * normal(generator, 4, 4)]
    loss = student.function("latent.vae_loss")
    found = student.checking.fakes.trained_linear_vae(loss, lam, theta, *begin)
    A, log_var, B = (w.double() for w in expect.unpack(found, ["A", "log_var", "B"]))
    left = torch.eye(4, dtype=torch.float64) - B @ A
    mse = (left * lam @ left.mT).trace() + (B.square() @ log_var.exp()).sum()
    kl = 0.5 * (A.square() @ lam + log_var.exp() - 1 - log_var)  # of each latent, in any order
    want = linear_vae(lam, theta)
    says = "E‖x − x̂‖² of the trained VAE is not Σ min(λ, θ)"
    expect.close(mse, want.mse.sum(), says, atol=0, rtol=1e-5)
    order = kl.sort().values
    says = "the KL terms of its latents are not ½ log⁺(λ / θ)"
    expect.close(order, want.kl.sort().values, says, atol=1e-5, rtol=1e-5)
    dead = int((want.kl == 0).sum())
    says = "the KL term of an axis below the water level is not 0"
    expect.close(order[:dead], torch.zeros(dead), says, atol=1e-9, rtol=0)


@vae_loss(weight=2)
def test_the_best_linear_vae_is_stationary(student, generator):
    """at the best linear VAE it is Σ ½ min(λ, θ) + θ ½ log⁺(λ/θ), and all its gradients are 0"""
    loss = student.function("latent.vae_loss")
    for k in (1, 3, 5):
        theta = number(generator, 0.2, 1.5)
        lam = theta * (-1 + 3 * torch.rand(k, generator=generator, dtype=torch.float64)).exp()
        best = linear_vae(lam, theta)
        A, B = torch.diag(best.encoder), torch.diag(best.decoder)
        log_var = best.variance.log()
        args = (loss, lam, theta, A, log_var, B)
        cost = student.checking.fakes.linear_vae_loss(*args)
        want = (0.5 * best.mse + theta * best.kl).sum()
        says = f"the loss of the best linear VAE of {k} axes is another"
        expect.close(cost, want, says, **DOUBLE)
        name = "checking.fakes.linear_vae_loss"
        slopes = student.gradient(name, *args, wrt=[A, log_var, B])
        for slope, what in zip(slopes, ("encoder", "log-variances", "decoder"), strict=True):
            expect.true(slope is not None, f"no gradient reaches the {what}")
            says = f"the best linear VAE is no minimum: it would move the {what}"
            expect.close(slope, torch.zeros(slope.shape), says, atol=1e-10, rtol=0)


def example(generator, n, shape, latent, dtype=torch.float64):
    """x, x̂, μ and log σ² of n examples."""
    x, x_hat = (normal(generator, n, *shape, dtype=dtype) for _ in range(2))
    mean, log_var = (normal(generator, n, *latent, dtype=dtype) for _ in range(2))
    return x, x_hat, mean, log_var


@vae_loss(weight=2)
def test_it_is_the_beta_vaes_bound(student, generator):
    """w_KL = β σ² gives σ² (β KL − log p(x | u)) but for a constant; 1 gives minus the ELBO"""
    n = draws.whole(generator, 2, 6)
    for beta, sigma in ((1.0, 1.0), (number(generator, 0.1, 4), number(generator, 0.2, 3))):
        x, x_hat, mean, log_var = example(generator, n, (1, 5, 4), (3, 2, 2))
        log_p = Normal(x_hat, sigma).log_prob(x) - Normal(x_hat, sigma).log_prob(x_hat)
        prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
        kl = kl_divergence(Normal(mean, (log_var / 2).exp()), prior)
        want = sigma**2 * (beta * kl.sum() - log_p.sum()) / n
        L = student.latent.vae_loss(x, x_hat, mean, log_var, beta * sigma**2)
        says = f"σ² times minus the bound, with β = {beta:.3g} and σ = {sigma:.3g}"
        expect.close(L, want, says, **DOUBLE)
    L = student.latent.vae_loss(x, x_hat, mean, log_var)
    want = 0.5 * (x - x_hat).square().sum() / n + kl.sum() / n
    expect.close(L, want, "w_KL is 1 if none is given", **DOUBLE)


FORMS = [  # shapes of an example and of its latents
    ((1,), (1,)),
    ((7,), (3,)),
    ((3,), (5, 2)),
    ((2, 4, 4), (4, 2, 2)),
    ((1, 3, 5), (2,)),
    ((2, 3, 2, 2), (3, 1, 2)),
]


@vae_loss(weight=2)
def test_sums_over_an_example_and_a_mean_over_the_batch(student, generator):
    """it is exact for points and images, latents of any shape, one example or many"""
    for n in (1, draws.whole(generator, 2, 6)):
        for shape, latent in FORMS:
            x, x_hat, mean, log_var = given = example(generator, n, shape, latent)
            fit = 0.5 * (x - x_hat).square().sum() / n
            kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum() / n
            for w in (0, 1e-6, 0.03, 2, 300.0):
                L = student.latent.vae_loss(*given, w)
                says = f"x of shape {(n, *shape)}, latents of shape {(n, *latent)}, w_KL = {w}"
                expect.close(L, fit + w * kl, says, **DOUBLE)
            L = student.latent.vae_loss(*(k.float() for k in given), kl_weight=0.5)
            expect.close(L, fit + 0.5 * kl, "in single precision", atol=1e-5, rtol=1e-5)


@vae_loss(weight=2)
def test_gradients_of_the_loss(student, generator):
    """its gradients are (x̂ − x)/n, w μ/n and w ½ (σ² − 1)/n"""
    for n in (1, draws.whole(generator, 2, 6)):
        for shape, latent in FORMS[1::2]:
            x, x_hat, mean, log_var = example(generator, n, shape, latent)
            w = number(generator, 0.1, 3)
            found = student.gradient(
                "latent.vae_loss", x, x_hat, mean, log_var, w, wrt=[x_hat, mean, log_var]
            )
            says = "no gradient reaches x̂, μ or log σ²"
            expect.true(all(g is not None for g in found), says)
            wants = (x_hat - x) / n, w * mean / n, w * (log_var.exp() - 1) / (2 * n)
            for g, want, what in zip(found, wants, ("x̂", "μ", "log σ²"), strict=True):
                expect.close(g, want, f"the gradient in {what} is wrong", **DOUBLE)


@vae_loss
def test_numbers_of_any_size(student, generator):
    """data far from 0, means and log-variances of any size: nothing is cut off"""
    n = 3
    x, x_hat, mean, log_var = example(generator, n, (2, 3, 3), (2, 2, 2))
    far = 1e6 + x
    L = student.latent.vae_loss(far, far + x_hat, mean, log_var, 0.0)
    want = 0.5 * ((far + x_hat) - far).square().sum() / n
    expect.close(L, want, "only differences of x and x̂ count", atol=1e-8, rtol=1e-9)
    L = student.latent.vae_loss(30 * x, -30 * x, 100 * mean, log_var, 0.25)
    fit = 0.5 * (60 * x).square().sum() / n
    kl = 0.5 * ((100 * mean).square() + log_var.exp() - 1 - log_var).sum() / n
    expect.close(L, fit + 0.25 * kl, "large errors and means", atol=1e-8, rtol=1e-11)
    for size in (-80.0, -30.0, 12.0, 40.0):
        wide = size + log_var
        L = student.latent.vae_loss(x, x_hat, mean, wide, 2.0)
        kl = 0.5 * (mean.square() + wide.exp() - 1 - wide).sum() / n
        want = 0.5 * (x - x_hat).square().sum() / n + 2 * kl
        expect.close(L, want, f"log-variances of about {size:g}", atol=1e-10, rtol=1e-11)


@vae_loss
def test_shapes_and_weights_that_do_not_fit_are_refused(student, generator):
    """shapes that differ and a w_KL below 0 are refused, 0 is not"""
    x, _, mean, log_var = example(generator, 4, (3,), (2,))
    call = student.latent.vae_loss
    for other in (x[:1], x[:, :1], x[0], x[None], x[..., None], x.mT):
        says = f"x (4, 3) and x̂ {tuple(other.shape)} do not fit"
        expect.raises("ValueError", lambda o=other: call(x, o, mean, log_var), says)
    for other in (mean[:1], mean[:, :1], mean[0], mean[None], mean.mT):
        says = f"μ (4, 2) and log σ² {tuple(other.shape)} do not fit"
        expect.raises("ValueError", lambda o=other: call(x, x, mean, o), says)
        expect.raises("ValueError", lambda o=other: call(x, x, o, log_var), says)
    for rows in (1, 3, 5):
        m = torch.zeros(rows, 2).double()
        says = f"4 examples and {rows} rows of latents do not fit"
        expect.raises("ValueError", lambda m=m: call(x, x, m, m), says)
    for w in (-1.0, -1e-9, math.nan):
        says = f"w_KL = {w} is refused"
        expect.raises("ValueError", lambda w=w: call(x, x, mean, log_var, w), says)
    expect.close(call(x, x, mean, log_var, 0), 0.0, "w_KL = 0 is no KL term", **DOUBLE)


# --- latent.discriminator_loss ------------------------------------------------------------------


@discriminator_loss(weight=3)
def test_the_best_discriminator_reads_off_the_overlap(student, generator):
    """the best discriminator is the sign of p_data − p_G: the loss is then 2 ∫ min(p_data, p_G)"""
    n, apart = 4000, number(generator, 0.8, 2.5)
    share = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    fake = Normal(0.0, 1.0).icdf(share)  # midpoints of equal shares: means are quadrature
    real = fake + apart
    middle = apart / 2

    def at(sure, where):
        args = sure * (real - where).sign(), sure * (fake - where).sign()
        L = student.latent.discriminator_loss(*args)
        return float(expect.tensor(L, (), "the loss"))

    best = at(1.0, middle)
    want = 4 * 0.5 * math.erfc(apart / math.sqrt(8))  # 4 Φ(−d/2)
    says = f"two unit Gaussians {apart:.3g} apart: 2 ∫ min(p, q) = 4 Φ(−d/2)"
    expect.close(best, want, says, atol=4e-3, rtol=0)
    for sure, where in ((1.0, middle + 0.4), (1.0, middle - 0.4), (0.6, middle), (1.5, middle)):
        says = "another discriminator reaches less than the best one"
        expect.true(at(sure, where) > best + 1e-3, says, at(sure, where), f"more than {best:.4g}")
    nothing = at(0.0, 0.0)
    expect.close(nothing, 2.0, "it is 2 where D says 0 of all", **DOUBLE)


def patches(generator):
    """Logits of real and of fake patches, in shapes of every form."""
    B, h, w = (draws.whole(generator, 1, 6) for _ in range(3))
    for one, other in (
        ((B,), (B,)),
        ((1,), (3,)),
        ((B, 1), (B + 1, 1)),
        ((B, 1, h, w), (B, 1, h, w)),
        ((1, 1, 1, 1), (2, 1, 3, w)),
        ((3, h, w), (5,)),
        ((4, 1, 2, 2), (1, 1, 4, 4)),
    ):
        yield 2 * normal(generator, *one), 2 * normal(generator, *other)


@discriminator_loss(weight=2)
def test_patches_of_every_shape(student, generator):
    """it is exact for logits of any shape, and real and fake ones may be of two shapes"""
    for real, fake in patches(generator):
        L = student.latent.discriminator_loss(real, fake)
        of_real = sum(max(0.0, 1 - l) for l in real.flatten().tolist()) / real.numel()
        of_fake = sum(max(0.0, 1 + l) for l in fake.flatten().tolist()) / fake.numel()
        says = f"logits of shape {tuple(real.shape)} and {tuple(fake.shape)}"
        expect.close(L, of_real + of_fake, says, **DOUBLE)
        L = student.latent.discriminator_loss(real.float(), fake.float())
        expect.close(L, of_real + of_fake, f"{says}, in single precision", atol=1e-5, rtol=1e-5)


@discriminator_loss(weight=2)
def test_slopes_of_the_hinge(student, generator):
    """its slopes are −1/n and 1/m, and 0 beyond the margin"""
    for real, fake in patches(generator):
        found = student.gradient("latent.discriminator_loss", real, fake, wrt=[real, fake])
        wants = -(real < 1).double() / real.numel(), (fake > -1).double() / fake.numel()
        for g, want, what in zip(found, wants, ("real", "fake"), strict=True):
            says = f"no gradient reaches the logits of {what} patches"
            expect.true(g is not None, says)
            says = f"the slopes at the logits of {what} patches are wrong"
            expect.close(g, want, says, **DOUBLE)


@discriminator_loss
def test_beyond_the_margin(student, generator):
    """what is told apart by more than the margin of 1 costs nothing; far logits stay exact"""
    far = 1 + 5 * torch.rand(6, generator=generator, dtype=torch.float64)
    L = student.latent.discriminator_loss(far, -far)
    expect.close(L, 0.0, "real logits above 1 and fake ones below −1 cost nothing", **DOUBLE)
    for size in (1.0, 30.0, 1e4):
        L = student.latent.discriminator_loss(-size * far, far)
        want = (1 + size * far).mean() + (1 + far).mean()
        expect.close(L, want, f"wrong by up to {6 * size:g}", atol=1e-11, rtol=1e-11)
        L = student.latent.discriminator_loss(far, size * far)
        expect.close(L, (1 + size * far).mean(), "only fake patches cost something", **DOUBLE)


# --- latent.adaptive_weight ---------------------------------------------------------------------


def decoders(generator, dtype=torch.float64):
    """A last layer W, its input h, data x and the slope of a critic: linear and convolutions."""
    B, i, o, k = (draws.whole(generator, 2, 6) for _ in range(4))
    for W, h, x in (
        ((o, i), (B, i), (B, o)),
        ((1, 1), (1, 1), (1, 1)),
        ((o, i, k, k), (B, i, k + 2, k + 1), (B, o, 3, 2)),
        ((1, i, 3, 3), (1, i, 5, 6), (1, 1, 3, 4)),
    ):
        shapes = W, h, x, x[1:]
        yield tuple(normal(generator, *s, dtype=dtype) for s in shapes)


def slopes(W, h, x, critic):
    """The gradients of ½ mean ‖x − x̂‖² and of mean ⟨critic, x̂⟩ in W, by hand: each place of an
    image is a linear layer on the patch before it."""
    if W.dim() == 4:
        h = torch.nn.functional.unfold(h, W.shape[2:]).mT  # (batch, places, patch)
        x, critic = x.flatten(2).mT, critic.flatten(1).mT
    else:
        h, x, critic = h[:, None], x[:, None], critic[None]
    off = h @ W.flatten(1).mT - x
    n = len(x)
    to_rec = torch.einsum("bpo,bpi->oi", off, h) / n
    to_adv = torch.einsum("po,bpi->oi", critic, h) / n
    return to_rec.reshape(W.shape), to_adv.reshape(W.shape)


def asked(student, case, scales=(1.0, 1.0), **options):
    """What it says of a decoder, and what it leaves behind."""
    function = student.function("latent.adaptive_weight")
    return student.checking.fakes.weighed_at_last_layer(function, *case, scales, **options)


def weight(student, case, scales=(1.0, 1.0), **options):
    return expect.tensor(asked(student, case, scales, **options)["weight"], (), "λ")


@adaptive_weight(weight=3)
def test_the_ratio_of_gradient_norms(student, generator):
    """it is ‖∂L_rec/∂W‖ / (‖∂L_adv/∂W‖ + δ), in closed form for a linear layer and convolutions"""
    for case in decoders(generator):
        to_rec, to_adv = slopes(*case)
        rec, adv = (s.square().sum().sqrt() for s in (to_rec, to_adv))
        for delta in (1e-4, 0.5, 3.0):
            found = weight(student, case, delta=delta, largest=1e6)
            says = f"W of shape {tuple(case[0].shape)}, δ = {delta}"
            expect.close(found, rec / (adv + delta), says, **DOUBLE)
        says = "δ is 1e-4 and λ at most 1e4 if nothing else is said"
        expect.close(weight(student, case), (rec / (adv + 1e-4)).clamp(max=1e4), says, **DOUBLE)


@adaptive_weight(weight=2)
def test_it_scales_with_the_reconstruction(student, generator):
    """λ is linear in the reconstruction's gradient, and inverse in the other one's"""
    for case in decoders(generator):
        to_rec, to_adv = slopes(*case)
        rec, adv = (s.square().sum().sqrt() for s in (to_rec, to_adv))
        for r, a in ((7.0, 1.0), (1.0, 5.0), (1e-3, 20.0), (30.0, 1e-3), (-2.0, 1.0), (1.0, -3.0)):
            found = weight(student, case, (r, a), largest=1e9)
            want = abs(r) * rec / (abs(a) * adv + 1e-4)
            says = f"L_rec times {r:g}, L_adv times {a:g}"
            expect.close(found, want, says, **DOUBLE)


@adaptive_weight
def test_both_terms_pull_equally_hard(student, generator):
    """with it both terms pull equally hard at W, whatever their units"""
    for case in decoders(generator):
        to_rec, to_adv = slopes(*case)
        r, a = number(generator, 0.01, 50), number(generator, 0.01, 50)
        found = weight(student, case, (r, a), delta=1e-12, largest=1e12)
        pull = float((found * a * to_adv).square().sum().sqrt())
        want = (r * to_rec).square().sum().sqrt()
        says = "‖λ ∂L_adv/∂W‖ must be ‖∂L_rec/∂W‖"
        expect.close(pull, want, says, atol=1e-9, rtol=1e-9)


@adaptive_weight(weight=2)
def test_steps_before_the_start(student, generator):
    """λ is 0 before step `start`, and its full size from there on"""
    case = next(decoders(generator))
    full = weight(student, case)
    start = draws.whole(generator, 3, 2000)
    for step, first in ((0, start), (start - 1, start), (0, 1)):
        found = weight(student, case, step=step, start=first)
        says = f"step {step} is before the start, {first}: λ is 0"
        expect.close(found, 0.0, says, atol=0, rtol=0)
    for step, first in ((start, start), (start + 1, start), (5 * start, start), (1, 0), (0, 0)):
        found = weight(student, case, step=step, start=first)
        says = f"step {step} is not before the start, {first}: λ has its full size"
        expect.close(found, full, says, **DOUBLE)
    expect.true(float(full) > 0, "λ is 0", float(full))


@adaptive_weight
def test_it_is_never_larger_than_the_largest(student, generator):
    """no λ is above `largest`, also where the discriminator's gradient is 0"""
    for case in decoders(generator):
        to_rec, to_adv = slopes(*case)
        rec, adv = (s.square().sum().sqrt() for s in (to_rec, to_adv))
        ratio = float(rec / (adv + 1e-4))
        for largest, want in ((0.5 * ratio, 0.5 * ratio), (2 * ratio, ratio)):
            found = weight(student, case, largest=largest)
            expect.close(found, want, f"at most {largest:.4g}", **DOUBLE)
        found = weight(student, case, (1e6, 0.0))
        expect.close(found, min(1e4, 1e10 * float(rec)), "L_adv has no gradient", **DOUBLE)
        found = weight(student, case, (0.0, 1.0))
        expect.close(found, 0.0, "L_rec has no gradient", **DOUBLE)


@adaptive_weight(weight=2)
def test_nothing_is_left_behind(student, generator):
    """λ is a constant; W, W.grad, the losses and the random state stay as they were"""
    for case in decoders(generator):
        rec, adv = (s.square().sum().sqrt() for s in slopes(*case))
        full = (rec / (adv + 1e-4)).clamp(max=1e4)
        for held in (None, normal(generator, *case[0].shape)):
            for options in ({}, {"step": 1, "start": 2}):
                found = asked(student, case, held=held, **options)
                want = 0.0 if options else full
                expect.close(found["weight"], want, "λ itself is wrong", **DOUBLE)
                says = "a gradient flows through λ: it must be a constant"
                expect.true(found["constant"], says)
                expect.true(found["kept"], "W or a loss is changed")
                says = "torch's global random state is changed"
                expect.true(found["random"], says)
                if held is None:
                    says = "a gradient is left in last_layer.grad"
                    expect.true(found["grad"] is None, says, found["grad"], None)
                else:
                    says = "what lay in last_layer.grad is changed"
                    expect.close(found["grad"], held, says, atol=0, rtol=0)


@adaptive_weight(weight=2)
def test_the_losses_can_be_used_afterwards(student, generator):
    """L_rec + λ L_adv has the gradient of the one plus λ times that of the other"""
    for case in decoders(generator):
        W, (to_rec, to_adv) = case[0], slopes(*case)
        for options in ({}, {"step": 3, "start": 4}):
            found = asked(student, case, (2.0, 3.0), use=True, **options)
            rec, adv = (s.square().sum().sqrt() for s in (to_rec, to_adv))
            scale = 0.0 if options else (2 * rec / (3 * adv + 1e-4)).clamp(max=1e4)
            expect.close(found["weight"], scale, "λ itself is wrong", **DOUBLE)
            want = 2 * to_rec - scale * 3 * to_adv
            says = "the gradient of L_rec + λ L_adv in W is wrong"
            expect.close(found["to_last"], want, says, atol=1e-10, rtol=1e-10)
            says = "the gradient of L_rec + λ L_adv before the last layer is wrong"
            want = (want * W).sum()  # x̂ = W · (g h) depends on g W alone
            expect.close(found["to_first"], want, says, atol=1e-10, rtol=1e-10)


@adaptive_weight
@PRECISION
def test_in_the_precision_of_the_losses(student, generator, dtype):
    """λ has the precision of the losses, before the start too"""
    for case in decoders(generator, dtype):
        to_rec, to_adv = slopes(*(k.double() for k in case))
        want = to_rec.square().sum().sqrt() / (to_adv.square().sum().sqrt() + 1e-4)
        for options in ({}, {"step": 0, "start": 1}):
            found = weight(student, case, **options)
            says = "λ has another precision than the losses"
            expect.true(found.dtype == dtype, says, found.dtype, dtype)
            expected = 0.0 if options else want.clamp(max=1e4)
            expect.close(found, expected, "not the ratio of the norms", atol=1e-4, rtol=1e-4)


# --- encoders and decoders ----------------------------------------------------------------------

MODES = ("train", "eval", "half_frozen", "in_use")


def filled(net, generator, dtype=torch.float64, latents_at=0.0, spread=1.0):
    """Fill a net of `fakes` with weights and running statistics of any numbers.

    Args:
        latents_at, spread: about where its results lie, and how far apart.
    Returns:
        The weights.
    """
    if dtype == torch.float64:
        net.call("double")
    weights = {}
    for name, w in net.state().items():
        if name.endswith("num_batches_tracked"):
            weights[name] = w + draws.whole(generator, 1, 99)
        elif name.endswith(("running_var", "norm.weight")):
            weights[name] = 0.5 + torch.rand(w.shape, generator=generator, dtype=dtype)
        else:
            weights[name] = normal(generator, *w.shape, dtype=dtype)
        if name.startswith("layer"):
            weights[name] = spread * weights[name] + latents_at * (name == "layer.bias")
    net.load(weights)
    return weights


def encoder(student, generator, channels=1, latents=2, **options):
    net = student.new("checking.fakes.NormedEncoder", channels, latents)
    return net, filled(net, generator, **options)


def decoder(student, generator, latents=2, channels=1, **options):
    net = student.new("checking.fakes.NormedDecoder", latents, channels)
    return net, filled(net, generator, **options)


def normed(x, w):
    """What a batch norm makes of x by its running statistics."""
    mean, var = (w[f"norm.running_{k}"].double()[:, None, None] for k in ("mean", "var"))
    gain, bias = (w[f"norm.{k}"].double()[:, None, None] for k in ("weight", "bias"))
    return (x.double() - mean) / (var + 1e-5).sqrt() * gain + bias


def encoded(x, w):
    """μ of an encoder with these weights, in eval mode: each 2×2 patch by itself."""
    y, kernel = normed(x, w), w["layer.weight"].double()
    B, C, H, W = x.shape
    y = y.reshape(B, C, H // 2, 2, W // 2, 2)
    mean = torch.einsum("bchiwj,ocij->bohw", y, kernel) + w["layer.bias"].double()[:, None, None]
    return mean[:, : len(kernel) // 2]


def decoded(u, w):
    """The images of a decoder with these weights, in eval mode: a 2×2 patch for each place."""
    y, kernel = normed(u, w), w["layer.weight"].double()
    B, _, H, W = u.shape
    x = torch.einsum("bchw,coij->bohiwj", y, kernel).reshape(B, -1, 2 * H, 2 * W)
    return x + w["layer.bias"].double()[:, None, None]


def stays(net, weights, says="the net's weights or running statistics are changed"):
    after = net.state()
    same = after.keys() == weights.keys() and all(
        torch.equal(after[name], w) for name, w in weights.items()
    )
    expect.true(same, says)


def was_frozen(net, what):
    """All its calls were in eval mode, and recorded no graph."""
    ways = net.get("ways")
    expect.true(bool(ways), f"the {what} is not called")
    says = f"the {what} is in training mode where it is called"
    expect.true(not any(training for training, _ in ways), says)
    says = f"the {what} records a graph where it is called"
    expect.true(not any(graph for _, graph in ways), says)


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


@shift_and_scale(weight=3)
def test_held_out_latents_become_standard(student, generator):
    """latents of held-out images get a mean of 0 ± 0.03 and a standard deviation of 1 ± 0.02"""
    net, w = encoder(student, generator, 3, 2, latents_at=2.0)
    x = normal(generator, 16_000, 3, 4, 4) * number(generator, 0.5, 2)
    known, held_out = x.chunk(2)  # 64 000 numbers of latents each: 0.02 is five standard errors
    shift, scale = two_floats(student.latent.shift_and_scale(net, known))
    u = scale * (encoded(held_out, w) - shift)
    says = "the mean of held-out latents is not near 0"
    expect.close(u.mean(), 0.0, says, atol=0.03, rtol=0)
    says = "the standard deviation of held-out latents is not near 1"
    expect.close(u.std(correction=0), 1.0, says, atol=0.02, rtol=0)


@shift_and_scale(weight=3)
def test_one_mean_and_one_deviation_of_all_numbers(student, generator):
    """the mean of all numbers of all μ, and 1 over their standard deviation, divided by how many"""
    for n, channels, latents, h, w in ((1, 1, 1, 2, 4), (1, 3, 4, 8, 6), (7, 2, 3, 4, 4)):
        net, weights = encoder(student, generator, channels, latents)
        x = normal(generator, n, channels, h, w)
        found = two_floats(student.latent.shift_and_scale(net, x))
        wants = standard(encoded(x, weights))
        for value, want, name in zip(found, wants, ("shift", "scale"), strict=True):
            says = f"{name} of {n} images, {channels}×{h}×{w}, with {latents} channels of latents"
            expect.close(value, want, says, **DOUBLE)


@shift_and_scale(weight=2)
def test_many_images_in_parts(student, generator):
    """of many images all count alike, and at most 500 are encoded at a time"""
    net, weights = encoder(student, generator)
    for n in (draws.whole(generator, 510, 990), draws.whole(generator, 1001, 1300), 1000):
        x = normal(generator, n, 1, 2, 2)
        x = x + torch.linspace(0, 4, n).double().square()[:, None, None, None]
        shift, scale = two_floats(student.latent.shift_and_scale(net, x))
        wants = standard(encoded(x, weights))
        expect.close(shift, wants[0], f"shift of {n} images that drift", atol=1e-10, rtol=1e-10)
        expect.close(scale, wants[1], f"scale of {n} images that drift", atol=1e-10, rtol=1e-10)
    most = max(net.get("sizes"))
    says = "the encoder is given too many images at a time: AT_ONCE says how many"
    expect.true(most <= 500, says, most, "at most 500")


@shift_and_scale
def test_units_of_the_latents(student, generator):
    """latents moved by c move the shift by c; latents k times as large have 1/k of the scale"""
    net, weights = encoder(student, generator, 1, 3)
    x = normal(generator, 9, 1, 6, 4)
    shift, scale = two_floats(student.latent.shift_and_scale(net, x))
    k, c = number(generator, 0.01, 100), number(generator, -20, 20)
    layer = {n: k * w for n, w in weights.items() if n.startswith("layer")}
    layer["layer.bias"] = layer["layer.bias"] + c
    net.load({**weights, **layer})
    found = two_floats(student.latent.shift_and_scale(net, x))
    says = f"μ becomes {k:.3g} μ + {c:.3g}"
    expect.close(found[0], k * shift + c, f"{says}: the shift", atol=1e-9, rtol=1e-9)
    expect.close(found[1], scale / k, f"{says}: the scale", atol=1e-9, rtol=1e-9)


@shift_and_scale
@PRECISION
def test_latents_far_from_0(student, generator, dtype):
    """latents that lie close together, far from 0, keep their standard deviation"""
    options = {"dtype": dtype, "latents_at": 300.0, "spread": 0.3}
    net, weights = encoder(student, generator, 2, 2, **options)
    x = normal(generator, 40, 2, 4, 4, dtype=dtype)
    weights = {n: w.double() for n, w in weights.items()}
    shift, scale = two_floats(student.latent.shift_and_scale(net, x))
    wants = standard(encoded(x, weights))
    digits = 1e-8 if dtype == torch.float64 else 5e-4  # float32 rounds latents of 300 to 3e-5
    expect.close(shift, wants[0], "the mean of latents of about 300", atol=0, rtol=digits)
    expect.close(scale, wants[1], "the deviation of latents of about 300", atol=0, rtol=digits)


@shift_and_scale(weight=2)
def test_the_encoder_is_used_and_not_trained(student, generator):
    """the encoder is used in eval mode, without a graph, and comes back as it was"""
    net, weights = encoder(student, generator, 2, 2)
    x = normal(generator, 6, 2, 4, 4)
    wants = standard(encoded(x, weights))
    for mode in MODES:
        net.call(mode)
        shift, scale = two_floats(student.latent.shift_and_scale(net, x))
        expect.close(shift, wants[0], f"the shift in mode {mode}", **DOUBLE)
        expect.close(scale, wants[1], f"the scale in mode {mode}", **DOUBLE)
        stays(net, weights)
    was_frozen(net, "encoder")


@shift_and_scale
def test_no_images_and_equal_latents_are_refused(student, generator):
    """no images are refused, and latents that are all equal"""
    net, weights = encoder(student, generator)
    call = student.latent.shift_and_scale
    none = torch.zeros(0, 1, 4, 4, dtype=torch.float64)
    expect.raises("ValueError", lambda: call(net, none), "no images: refuse them")
    x = normal(generator, 3, 1, 4, 4)
    layer = {n: 0 * w for n, w in weights.items() if n.startswith("layer")}
    for value in (0.0, 0.5, -3.0):
        layer["layer.bias"] = torch.full((4,), value, dtype=torch.float64)
        net.load({**weights, **layer})
        says = f"all latents are {value}: their standard deviation is 0"
        expect.raises("ValueError", lambda: call(net, x), says)
    net.load(weights)
    two_floats(call(net, x[:1]))  # one image will do


# --- latent.to_latent ---------------------------------------------------------------------------


def any_scale(generator):
    return number(generator, -4, 4), number(generator, 0.1, 5)


@to_latent(weight=3)
def test_scaled_means(student, generator):
    """u = scale · (μ(x) − shift), of one image or many, of any size"""
    for n, channels, latents, h, w in ((1, 1, 1, 2, 2), (1, 3, 4, 8, 6), (5, 2, 3, 4, 10)):
        net, weights = encoder(student, generator, channels, latents)
        x = 30 * normal(generator, n, channels, h, w)
        mean = encoded(x, weights)
        for shift, scale in (any_scale(generator), (0.0, 1.0), (3, 2), (-1e3, 1e-3), (0.1, 200.0)):
            u = student.latent.to_latent(net, x, shift, scale)
            says = f"x of shape {tuple(x.shape)}, shift {shift:.3g}, scale {scale:.3g}"
            expect.close(u, scale * (mean - shift), says, what="u", atol=1e-10, rtol=1e-11)
            u = student.latent.to_latent(encoder=net, x=x, scale=scale, shift=shift)
            expect.close(u, scale * (mean - shift), says, what="u", atol=1e-10, rtol=1e-11)


@to_latent(weight=2)
def test_the_data_become_standard(student, generator):
    """over the data its mean is 0 and its standard deviation 1, on held-out images nearly so"""
    net, weights = encoder(student, generator, 1, 2, latents_at=-3.0)
    x, held_out = (2 * normal(generator, 16_000, 1, 4, 4)).chunk(2)
    shift, scale = map(float, standard(encoded(x, weights)))
    u = expect.tensor(student.latent.to_latent(net, x, shift, scale), (8000, 2, 2, 2), "u").double()
    expect.close(u.mean(), 0.0, "the mean over the data", atol=1e-9, rtol=0)
    expect.close(u.std(correction=0), 1.0, "the deviation over the data", atol=1e-9, rtol=0)
    u = student.latent.to_latent(net, held_out, shift, scale)
    u = expect.tensor(u, (8000, 2, 2, 2), "u").double()
    says = "the standard deviation on held-out images is not 1 ± 0.02"
    expect.close(u.std(), 1.0, says, atol=0.02, rtol=0)


@to_latent(weight=2)
def test_the_encoder_is_used_frozen(student, generator):
    """the encoder is called once, in eval mode, without a graph, and comes back as it was"""
    net, weights = encoder(student, generator, 2, 2)
    x = normal(generator, 6, 2, 4, 4)
    shift, scale = any_scale(generator)
    want = scale * (encoded(x, weights) - shift)
    for mode in MODES:
        net.call(mode)
        u = student.latent.to_latent(net, x, shift, scale)
        expect.close(u, want, f"the encoder came in mode {mode}", what="u", **DOUBLE)
        stays(net, weights)
    was_frozen(net, "encoder")
    sizes = net.get("sizes")
    says = "the encoder is called once with all images"
    expect.true(sizes == [6] * len(MODES), says, sizes, [6] * len(MODES))


@to_latent
def test_latents_in_single_precision(student, generator):
    """images and an encoder in single precision give latents in single precision"""
    net, weights = encoder(student, generator, 1, 2, dtype=torch.float32)
    x = normal(generator, 3, 1, 4, 4, dtype=torch.float32)
    shift, scale = any_scale(generator)
    u = student.latent.to_latent(net, x, shift, scale)
    want = scale * (encoded(x, weights) - shift)
    expect.close(u, want, "not scale · (μ − shift)", what="u", atol=1e-4, rtol=1e-4)
    expect.true(u.dtype == torch.float32, "another precision", u.dtype, torch.float32)


@to_latent
def test_a_scale_that_is_not_positive_is_refused(student, generator):
    """a scale that is not positive is refused"""
    net, _ = encoder(student, generator)
    x = normal(generator, 2, 1, 4, 4)
    for scale in (0.0, -1.0, -1e-9, math.nan):
        call = lambda s=scale: student.latent.to_latent(net, x, 0.5, s)  # noqa: E731
        expect.raises("ValueError", call, f"scale = {scale} is refused")
    expect.tensor(student.latent.to_latent(net, x, 0.5, 1e-9), (2, 2, 2, 2), "u")


# --- latent.from_latent -------------------------------------------------------------------------


@from_latent(weight=3)
def test_the_decoder_gets_what_the_encoder_gave(student, generator):
    """x̂ = decoder(u / scale + shift), of one latent or many, of any size"""
    for n, latents, channels, h, w in ((1, 1, 1, 1, 1), (1, 4, 3, 4, 3), (5, 3, 2, 2, 5)):
        net, weights = decoder(student, generator, latents, channels)
        mean = 30 * normal(generator, n, latents, h, w)
        for shift, scale in (any_scale(generator), (0.0, 1.0), (3, 2), (-1e3, 1e-3), (0.1, 200.0)):
            u = scale * (mean - shift)
            says = f"u of shape {tuple(u.shape)}, shift {shift:.3g}, scale {scale:.3g}"
            want = decoded(mean, weights)
            x = student.latent.from_latent(net, u, shift, scale)
            expect.close(x, want, says, what="x̂", atol=1e-9, rtol=1e-9)
            x = student.latent.from_latent(decoder=net, u=u, scale=scale, shift=shift)
            expect.close(x, want, says, what="x̂", atol=1e-9, rtol=1e-9)


@from_latent(weight=2)
def test_the_way_back(student, generator):
    """with a decoder that inverts the encoder it brings back the images of to_latent"""
    net = student.new("checking.fakes.NormedEncoder", 1, 4)
    back = student.new("checking.fakes.NormedDecoder", 4, 1)
    for one in (net, back):
        one.call("double")
        one.call("in_use")
    turned = torch.linalg.qr(normal(generator, 4, 4))[0].reshape(4, 1, 2, 2)
    weights = net.state()
    root = math.sqrt(1 + 1e-5)  # what a batch norm with a variance of 1 divides by
    kernel = torch.cat([turned, torch.zeros_like(turned)])
    net.load({**weights, "layer.weight": root * kernel, "layer.bias": torch.zeros(8).double()})
    weights = back.state()
    back.load({**weights, "layer.weight": root * turned, "layer.bias": torch.zeros(1).double()})
    x = normal(generator, 5, 1, 6, 4)
    for shift, scale in (any_scale(generator), any_scale(generator)):
        u = student.latent.to_latent(net, x, shift, scale)
        found = student.latent.from_latent(back, u, shift, scale)
        says = f"shift {shift:.3g}, scale {scale:.3g}: not the images that went in"
        expect.close(found, x, says, what="x̂", **DOUBLE)


@from_latent
def test_noise_reaches_where_the_data_lie(student, generator):
    """N(0, 1) numbers reach the decoder with mean `shift` and standard deviation 1/scale"""
    net = student.new("checking.fakes.NormedDecoder", 1, 1)
    net.call("double")
    kernel = torch.full((1, 1, 2, 2), math.sqrt(1 + 1e-5), dtype=torch.float64)
    weights = {**net.state(), "layer.weight": kernel, "layer.bias": torch.zeros(1).double()}
    net.load(weights)  # it repeats each latent four times
    u = normal(generator, 400, 1, 4, 4)
    shift, scale = any_scale(generator)
    x = student.latent.from_latent(net, u, shift, scale)
    x = expect.tensor(x, (400, 1, 8, 8), "x̂").double()
    mean, std = u.mean(), u.std(correction=0)
    expect.close(x.mean(), mean / scale + shift, "the mean is not shift", **DOUBLE)
    says = "the standard deviation is not 1/scale"
    expect.close(x.std(correction=0), std / scale, says, **DOUBLE)


@from_latent(weight=2)
def test_the_decoder_is_used_frozen(student, generator):
    """the decoder is called once, in eval mode, without a graph, and comes back as it was"""
    net, weights = decoder(student, generator, 2, 3)
    mean = normal(generator, 6, 2, 3, 2)
    shift, scale = any_scale(generator)
    for mode in MODES:
        net.call(mode)
        x = student.latent.from_latent(net, scale * (mean - shift), shift, scale)
        want = decoded(mean, weights)
        expect.close(x, want, f"the decoder came in mode {mode}", what="x̂", **DOUBLE)
        stays(net, weights)
    was_frozen(net, "decoder")
    sizes = net.get("sizes")
    says = "the decoder is called once with all latents"
    expect.true(sizes == [6] * len(MODES), says, sizes, [6] * len(MODES))


@from_latent
def test_images_in_single_precision(student, generator):
    """latents and a decoder in single precision give images in single precision"""
    net, weights = decoder(student, generator, dtype=torch.float32)
    u = normal(generator, 3, 2, 2, 2, dtype=torch.float32)
    shift, scale = any_scale(generator)
    x = student.latent.from_latent(net, u, shift, scale)
    want = decoded(u.double() / scale + shift, weights)
    expect.close(x, want, "not decoder(u / scale + shift)", what="x̂", atol=1e-3, rtol=1e-4)
    expect.true(x.dtype == torch.float32, "another precision", x.dtype, torch.float32)


@from_latent
def test_a_scale_that_is_none_is_refused(student, generator):
    """a scale that is not positive is refused"""
    net, _ = decoder(student, generator)
    u = normal(generator, 2, 2, 2, 2)
    for scale in (0.0, -1.0, -1e-9, math.nan):
        call = lambda s=scale: student.latent.from_latent(net, u, 0.5, s)  # noqa: E731
        expect.raises("ValueError", call, f"scale = {scale} is refused")
    expect.tensor(student.latent.from_latent(net, u, 0.5, 1e-9), (2, 1, 4, 4), "x̂")
