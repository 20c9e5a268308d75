"""The linear VAE, held to theory: numerical minimisation, quadrature and limits."""

import math

import pytest
import torch
from scipy import integrate, optimize, stats

from cs231n_gen.truth import linear_vae, posterior_sampling_error
from cs231n_gen.truth.linear_vae import LinearVAE

EXACT = {"rtol": 1e-12, "atol": 1e-12}
SPECTRUM = torch.tensor([7.0, 3.0, 1.1, 0.9, 0.2, 0.0], dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def costs(lam, a, v, b):
    """The MSE and KL of one axis: encoder a, variance v, decoder b, data N(0, λ)."""
    mse = (1 - a * b) ** 2 * lam + b**2 * v
    kl = 0.5 * (a**2 * lam + v - 1 - math.log(v))
    return mse, kl


def test_the_costs_are_those_of_its_encoder_and_decoder():
    found = linear_vae(SPECTRUM, 1.0)
    rows = zip(SPECTRUM, found.encoder, found.variance, found.decoder, strict=True)
    mse, kl = zip(*[costs(*map(float, row)) for row in rows], strict=True)
    torch.testing.assert_close(found.mse, torch.tensor(mse, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(found.kl, torch.tensor(kl, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("theta", [1e-3, 0.5, 1.0, 2.9, 50.0])
@pytest.mark.parametrize("lam", [0.05, 0.9, 3.0, 12.0])
def test_no_axis_can_do_better(lam, theta):
    """A numerical minimisation over encoder, variance and decoder from several starts."""

    def loss(w):
        mse, kl = costs(lam, w[0], math.exp(w[1]), w[2])
        return 0.5 * mse + theta * kl

    # Where encoder and decoder are 0 no slope leads away, so none begins there.
    starts = [(0.3, 0.0, 0.3), (1 / math.sqrt(lam), -3.0, math.sqrt(lam)), (-1.0, 0.0, -0.1)]
    options = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 5000}
    ends = [optimize.minimize(loss, s, method="Nelder-Mead", options=options) for s in starts]
    best = min(end.fun for end in ends)
    found = linear_vae([lam], theta)
    want = float(0.5 * found.mse + theta * found.kl)
    assert best == pytest.approx(want, rel=1e-8, abs=1e-9)


def test_no_rotated_encoder_can_do_better_either():
    """Full matrices, trained on data whose axes are not those of the pixels."""
    generator, theta, k = seeded(3), 0.6, 4
    lam = SPECTRUM[:k]
    turned = torch.linalg.qr(torch.randn(k, k, generator=generator, dtype=torch.float64))[0]
    covariance = turned @ torch.diag(lam) @ turned.mT
    A, B = (
        (0.5 * torch.randn(k, k, generator=generator, dtype=torch.float64)).requires_grad_()
        for _ in range(2)
    )
    log_var = torch.zeros(k, dtype=torch.float64, requires_grad=True)

    def terms():
        left = torch.eye(k, dtype=torch.float64) - B @ A
        mse = (left @ covariance @ left.mT).trace() + (B.square() @ log_var.exp()).sum()
        power = (A @ covariance * A).sum(1)
        return mse, 0.5 * (power + log_var.exp() - 1 - log_var)

    steps = torch.optim.LBFGS(
        [A, B, log_var], max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        steps.zero_grad()
        mse, kl = terms()
        loss = 0.5 * mse + theta * kl.sum()
        loss.backward()
        return loss

    steps.step(closure)
    found, (mse, kl) = linear_vae(lam, theta), terms()
    assert float(mse) == pytest.approx(float(found.mse.sum()), rel=1e-6)
    kl = kl.detach().sort().values  # the latents come in any order
    torch.testing.assert_close(kl, found.kl.sort().values, rtol=1e-5, atol=1e-6)


def test_its_decoder_is_the_mean_of_the_posterior_and_its_encoder_the_true_one():
    """With θ = σ² the best decoder is p(x | u) ∝ p(u | x) p(x) for p(u) = N(0, 1): then the latents
    of all data together are N(0, 1), and q(u | x) is Bayes' rule for x = B u + √θ ε."""
    theta = 0.8
    found = linear_vae(SPECTRUM, theta)
    above = theta < SPECTRUM
    power = found.encoder.square() * SPECTRUM + found.variance
    torch.testing.assert_close(power, torch.ones_like(power), **EXACT)
    B = found.decoder
    torch.testing.assert_close(found.encoder, B / (B.square() + theta), **EXACT)
    torch.testing.assert_close(found.variance, theta / (B.square() + theta), **EXACT)
    regression = SPECTRUM * found.encoder / power  # E[x | u] / u
    torch.testing.assert_close(regression, B, **EXACT)
    assert above.any()
    assert not above.all()


def test_rate_and_distortion_are_on_shannons_curve():
    """R(D) of a Gaussian axis is ½ log(λ / D), and dR/dD = −1 / (2θ) on each axis above water."""
    theta, h = 0.7, 1e-5
    low, high = (linear_vae([5.0], t) for t in (theta - h, theta + h))
    slope = float((high.kl - low.kl) / (high.mse - low.mse))
    assert slope == pytest.approx(-1 / (2 * theta), rel=1e-8)
    found = linear_vae(SPECTRUM, theta)
    above = theta < SPECTRUM
    rate = 0.5 * torch.log(SPECTRUM[above] / found.mse[above])
    torch.testing.assert_close(found.kl[above], rate, **EXACT)


def test_the_rate_is_the_mutual_information_of_image_and_latent():
    """By quadrature of KL(q(u | x) ‖ q(u)) over x, as q(u) is N(0, 1)."""
    lam, theta = 4.0, 0.5
    found = linear_vae([lam], theta)
    a, v = float(found.encoder), float(found.variance)

    def inner(x):
        return stats.norm(0, math.sqrt(lam)).pdf(x) * 0.5 * ((a * x) ** 2 + v - 1 - math.log(v))

    value, _ = integrate.quad(inner, -25, 25, epsabs=1e-12)
    assert value == pytest.approx(float(found.kl), rel=1e-9)


def test_axes_under_water_are_given_up():
    found = linear_vae(SPECTRUM, 1.0)
    dry = SPECTRUM <= 1.0
    for value, want in ((found.encoder, 0.0), (found.decoder, 0.0), (found.variance, 1.0)):
        assert (value[dry] == want).all()
    assert (found.kl[dry] == 0).all()
    assert torch.equal(found.mse[dry], SPECTRUM[dry])


def test_the_ends_of_the_water():
    """At θ = λ an axis dies without a jump; without water nothing is lost, and bits without end."""
    at, near = linear_vae([2.0], 2.0), linear_vae([2.0], 2.0 - 1e-12)
    for one, other in zip(at, near, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6)
    bottom = linear_vae([2.0], 1e-300)
    assert float(bottom.mse) == 1e-300
    assert float(bottom.kl) == pytest.approx(0.5 * math.log(2e300))
    assert float(bottom.encoder * bottom.decoder) == pytest.approx(1)
    drowned = linear_vae([2.0, 0.0], 1e300)
    assert drowned.kl.tolist() == [0, 0]
    assert drowned.mse.tolist() == [2, 0]


def test_units_of_the_data_are_units_of_the_water():
    one, other = linear_vae(SPECTRUM, 0.5), linear_vae(9 * SPECTRUM, 4.5)
    torch.testing.assert_close(other.mse, 9 * one.mse, **EXACT)
    torch.testing.assert_close(other.kl, one.kl, **EXACT)
    torch.testing.assert_close(other.decoder, 3 * one.decoder, **EXACT)
    torch.testing.assert_close(other.encoder, one.encoder / 3, **EXACT)


def test_everything_is_double_precision():
    found = linear_vae(torch.tensor([3, 1]), 1)
    assert isinstance(found, LinearVAE)
    assert {t.dtype for t in found} == {torch.float64}
    assert float(linear_vae([0.1], 1.0).mse) == 0.1


@pytest.mark.parametrize("lam", [[-1e-9, 1.0], [math.nan], [math.inf], [[1.0]], 1.0])
def test_a_spectrum_that_is_none_is_refused(lam):
    with pytest.raises(ValueError, match="eigenvalues must be"):
        linear_vae(lam, 1.0)
    with pytest.raises(ValueError, match="eigenvalues must be"):
        posterior_sampling_error(lam, [1.0], [1.0])


@pytest.mark.parametrize("theta", [0.0, -1.0, math.nan, math.inf])
def test_a_level_of_water_that_is_none_is_refused(theta):
    with pytest.raises(ValueError, match=f"theta must be positive and finite, got {theta}"):
        linear_vae([1.0], theta)


# --- draws from the posterior -------------------------------------------------------------------


def test_a_draw_costs_twice_the_least_error():
    """The least error is that of regression on u, from moments alone."""
    a = torch.tensor([0.4, -1.0, 0.0, 3.0, 0.7, 2.0], dtype=torch.float64)
    v = torch.tensor([1.0, 0.3, 1.0, 0.01, 5.0, 1.0], dtype=torch.float64)
    regression = SPECTRUM * a / (a.square() * SPECTRUM + v)
    least = (1 - regression * a).square() * SPECTRUM + regression.square() * v
    torch.testing.assert_close(posterior_sampling_error(SPECTRUM, a, v), 2 * least, **EXACT)


def test_a_draw_costs_twice_the_mse_of_the_best_linear_vae():
    found = linear_vae(SPECTRUM, 0.8)
    error = posterior_sampling_error(SPECTRUM, found.encoder, found.variance)
    torch.testing.assert_close(error, 2 * found.mse, **EXACT)


def test_the_error_of_a_draw_by_quadrature():
    """∫∫ (x − x')² p(x | u) p(x' | u) p(u), with Bayes' rule from the densities."""
    lam, a, v = 2.0, 0.6, 0.5
    x = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    u = torch.linspace(-10, 10, 401, dtype=torch.float64)
    log_joint = -x.square() / (2 * lam) - (u[:, None] - a * x).square() / (2 * v)
    p = log_joint.exp() / log_joint.exp().sum()
    p_u = p.sum(1)
    post = p / p_u[:, None]
    mean, square = post @ x, post @ x.square()
    error = float((p_u * (2 * square - 2 * mean.square())).sum())
    assert float(posterior_sampling_error([lam], [a], [v])) == pytest.approx(error, rel=1e-9)


def test_draws_look_like_data_and_means_do_not():
    """Simulated: the draws have the variance of the data, and cost twice as much."""
    lam, theta, n, generator = torch.tensor([3.0, 0.4]).double(), 1.0, 200_000, seeded(0)
    found = linear_vae(lam, theta)

    def normal():
        return torch.randn(n, 2, generator=generator, dtype=torch.float64)

    x = lam.sqrt() * normal()
    u = found.encoder * x + found.variance.sqrt() * normal()
    mean = found.decoder * u
    draw = mean + found.mse.sqrt() * normal()
    far = 5 * math.sqrt(2 / n)  # five standard errors of a variance, relative
    torch.testing.assert_close(draw.var(0), lam, rtol=far, atol=0)
    torch.testing.assert_close(mean.var(0), (lam - theta).clamp(min=0), rtol=far, atol=1e-12)
    error = posterior_sampling_error(lam, found.encoder, found.variance)
    torch.testing.assert_close((x - draw).square().mean(0), error, rtol=far, atol=0)
    torch.testing.assert_close((x - mean).square().mean(0), error / 2, rtol=far, atol=0)


def test_the_ends_of_what_a_latent_tells():
    """Nothing: two independent images. Everything: no error."""
    assert float(posterior_sampling_error([3.0], [0.0], [1.0])) == 6.0
    assert float(posterior_sampling_error([3.0], [1.0], [1e-30])) == pytest.approx(2e-30)
    assert float(posterior_sampling_error([0.0], [1.0], [1.0])) == 0.0


@pytest.mark.parametrize(
    ("encoder", "variance", "says"),
    [
        ([1.0, 1.0], [1.0], "encoder must be shaped like eigenvalues"),
        ([1.0], [[1.0]], "variance must be shaped like eigenvalues"),
        ([math.nan], [1.0], "encoder must be finite"),
        ([1.0], [0.0], "variance must be positive"),
        ([1.0], [math.inf], "variance must be positive"),
        ([1.0], [math.nan], "variance must be positive"),
    ],
)
def test_a_latent_that_is_none_is_refused(encoder, variance, says):
    with pytest.raises(ValueError, match=says):
        posterior_sampling_error([1.0], encoder, variance)
