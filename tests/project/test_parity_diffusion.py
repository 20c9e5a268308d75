"""Chapter 07's processes, targets and samplers are those of diffusers, k-diffusion, score_sde,
flow_matching and torchcfm, up to conventions: a test for each line of "Where practice differs".

A level is found by its noise: a library's (a, b) is our t = level_of(process, a, b). So any
variance preserving process here can play DDPM's table, and any other process too, once x_t is
rescaled. Only cosine() reaches every ᾱ there is.
"""

import math

import pytest
import torch

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.diffusion import (
    NOISE,
    Target,
    X,
    angular,
    column,
    cosine,
    edm,
    level_of,
    noise,
    ode_velocity,
    rectified_flow,
    reparametrised,
    score,
    to_x_and_noise,
    variance_exploding,
    variance_preserving,
    velocity,
)
from cs231n_gen.diffusion_likelihood import log_likelihood
from cs231n_gen.diffusion_samplers import (
    ddim_step,
    reverse_sde_step,
    sample,
    sample_heun,
    sample_multistep,
)
from cs231n_gen.given.processes import karras

libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")
library, k_diffusion = libraries.library, libraries.k_diffusion

# A handful of float64 operations on numbers up to 100, in another order. A level is known to eps,
# and b to eps / b: the smallest b here is 0.01.
ROUNDING = {"rtol": 1e-11, "atol": 1e-11}
# The same, where a library computes in float32 whatever it is given.
ROUNDING_OF_FLOAT32 = {"rtol": 2e-5, "atol": 2e-5}
# Up to 20 steps of it, through a model whose slope in x_t is of size 1.
ROUNDING_OF_A_WALK = {"rtol": 1e-10, "atol": 1e-10}

COSINE = cosine()
TARGETS = {"epsilon": NOISE, "sample": X, "v_prediction": angular(COSINE)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[(5, 2), (4, 3, 8, 8)], ids=["points", "images"])
def two(request):
    """An x_t and a prediction; each is as good as any."""
    return torch.randn(2, *request.param, generator=seeded(7), dtype=torch.float64)


def scheduler_of(name, **options):
    """A scheduler of diffusers whose table is in float64, where it has one."""
    scheduler = getattr(library("diffusers"), name)(**options)
    if hasattr(scheduler, "alphas_cumprod"):
        scheduler.alphas_cumprod = (1 - scheduler.betas.double()).cumprod(0)
    return scheduler


def level(share, x, process=COSINE):
    """Our levels, one for each example, where ᾱ of the variance is signal."""
    share = torch.as_tensor(share, dtype=torch.float64).expand(len(x))
    return level_of(process, share.sqrt(), (1 - share).sqrt())


def at(sigma, x, process):
    """Our levels, one for each example, where b / a is sigma."""
    sigma = torch.as_tensor(sigma, dtype=torch.float64).expand(len(x))
    return level_of(process, torch.ones_like(sigma), sigma)


def denoised(x, sigma):
    """A smooth, nonlinear stand-in for the best x̂ at x + σ z."""
    return torch.tanh(x / (1 + sigma**2)) - 0.3 * torch.cos(x / (1 + sigma))


def denoiser(process):
    """`denoised` as a model of this process that predicts x."""

    def model(x_t, t):
        a, b = column(process.a(t), x_t), column(process.b(t), x_t)
        return denoised(x_t / a, b / a)

    return model


# --- DDPM: β, ᾱ and the ancestral step ----------------------------------------------------------


def test_step_i_of_ddpm_has_seen_the_first_i_plus_1_betas(two):
    """ᾱ_0 is 1 − β_0, not 1; a is √ᾱ, not ᾱ."""
    scheduler, (x, z) = scheduler_of("DDPMScheduler"), two
    betas, shares = scheduler.betas, library("diffusers").DDPMScheduler().alphas_cumprod
    assert betas[0] == 1e-4 and betas[-1] == 0.02 and len(betas) == 1000
    for i in (0, 1, 500, 999):
        theirs = scheduler.add_noise(x, z, torch.full((len(x),), i))
        ours, _ = noise(x, z, level(scheduler.alphas_cumprod[i], x), COSINE, NOISE)
        torch.testing.assert_close(ours, theirs, **ROUNDING)
        product = math.prod(1 - b for b in betas[: i + 1].tolist())
        assert float(shares[i]) == pytest.approx(product, rel=1e-4)


def test_ddpms_table_is_the_linear_beta_at_i_plus_1_of_1000_but_not_exactly():
    """A product of 1 − β_i is not the exponential of an integral: log-SNR is off by up to 0.1, and
    the last steps are noisier than variance_preserving() ever gets."""
    shares = scheduler_of("DDPMScheduler").alphas_cumprod
    process, i = variance_preserving(), torch.arange(1000).double()

    def off(t):
        a, b = process.a(t), process.b(t)
        return (shares / (1 - shares)).log() - 2 * (a / b).log()

    assert 0.09 < off((i + 1) / 1000).abs().max() < 0.1
    assert off(i / 999)[1:].abs().max() > 0.6  # score_sde's label, 999 t, is not DDPM's i
    assert shares[-1] < 0.94 * process.a(torch.tensor(1.0).double()) ** 2


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("i", [999, 500, 1, 0])
def test_one_step_of_ddpm_is_the_ancestral_step(two, kind, i):
    scheduler = scheduler_of("DDPMScheduler", clip_sample=False, prediction_type=kind)
    x_t, y = two
    theirs = scheduler.step(y, i, x_t, generator=seeded()).prev_sample
    shares = scheduler.alphas_cumprod
    t, s = level(shares[i], x_t), level(shares[i - 1] if i else 1.0, x_t)
    ours = ddim_step(y, x_t, t, s, COSINE, TARGETS[kind], eta=1.0, generator=seeded())
    torch.testing.assert_close(ours, theirs, **ROUNDING)


def test_ddpm_has_other_variances_than_the_ancestral_one(two):
    """`fixed_large` draws √β; `fixed_large_log` the root of a logarithm, nan (issue 14569)."""
    x_t, y = two
    steps = {}
    for kind in ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"):
        scheduler = scheduler_of("DDPMScheduler", variance_type=kind)
        steps[kind] = scheduler.step(y, 10, x_t, generator=seeded()).prev_sample
    torch.testing.assert_close(steps["fixed_small"], steps["fixed_small_log"], rtol=0, atol=1e-6)
    shares, beta = scheduler.alphas_cumprod, scheduler.betas[10].double()
    wider = beta.sqrt() - (beta * (1 - shares[9]) / (1 - shares[10])).sqrt()
    drawn = torch.randn(x_t.shape, generator=seeded(), dtype=x_t.dtype)
    torch.testing.assert_close(
        steps["fixed_large"], steps["fixed_small"] + wider * drawn, rtol=0, atol=1e-6
    )
    assert steps["fixed_large_log"].isnan().all()


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_data_are_clipped_to_plus_minus_1_unless_one_says_no(two, name):
    x_t, y = two
    scheduler = scheduler_of(name, prediction_type="sample")
    scheduler.set_timesteps(1000)
    found = scheduler.step(3 * y, 0, x_t).prev_sample
    torch.testing.assert_close(found, (3 * y).clamp(-1, 1), **ROUNDING)
    assert (3 * y).abs().max() > 1


# --- DDIM ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("i", [900, 100, 0])
def test_one_step_of_ddim_is_ours(two, kind, eta, i):
    scheduler = scheduler_of("DDIMScheduler", clip_sample=False, prediction_type=kind)
    x_t, y = two
    scheduler.set_timesteps(10)
    theirs = scheduler.step(y, i, x_t, eta=eta, generator=seeded()).prev_sample
    shares = scheduler.alphas_cumprod
    t, s = level(shares[i], x_t), level(shares[i - 100] if i else 1.0, x_t)
    ours = ddim_step(y, x_t, t, s, COSINE, TARGETS[kind], eta=eta, generator=seeded())
    torch.testing.assert_close(ours, theirs, **ROUNDING)


@pytest.mark.parametrize(
    "process", [rectified_flow(), variance_exploding(), edm()], ids=["flow", "ve", "edm"]
)
def test_one_step_of_ddim_is_a_step_of_any_process_in_its_own_units(two, process):
    scheduler, (x_t, z) = scheduler_of("DDIMScheduler", clip_sample=False), two
    scheduler.set_timesteps(10)
    theirs = scheduler.step(z, 600, x_t).prev_sample
    t, s = (level(scheduler.alphas_cumprod[i], x_t, process) for i in (600, 500))
    unit = {v: column((process.a(v) ** 2 + process.b(v) ** 2).sqrt(), x_t) for v in (t, s)}
    ours = ddim_step(z, unit[t] * x_t, t, s, process, NOISE) / unit[s]
    torch.testing.assert_close(ours, theirs, **ROUNDING)


def test_ddim_may_end_a_little_before_the_data(two):
    """`set_alpha_to_one=False`, as Stable Diffusion has it, leaves noise of √β_0 = 0.01."""
    x_t, z = two
    scheduler = scheduler_of("DDIMScheduler", clip_sample=False, set_alpha_to_one=False)
    scheduler.set_timesteps(10)
    theirs = scheduler.step(z, 50, x_t).prev_sample
    t, s = (level(scheduler.alphas_cumprod[i], x_t) for i in (50, 0))
    ours = ddim_step(z, x_t, t, s, COSINE, NOISE)
    torch.testing.assert_close(ours, theirs, **ROUNDING_OF_FLOAT32)  # it keeps that ᾱ by itself
    assert float(COSINE.b(s)[0]) == pytest.approx(0.01, rel=1e-3)


def test_where_ddim_starts_and_where_it_goes():
    """By default far from noise; with "linspace" to other levels than it then asks the model at
    (issues 11347 and 12633), with 2 steps by half of the way."""
    starts, went = {}, {}
    for spacing in ("leading", "trailing", "linspace"):
        scheduler = scheduler_of("DDIMScheduler", timestep_spacing=spacing, clip_sample=False)
        scheduler.set_timesteps(10)
        starts[spacing] = int(scheduler.timesteps[0])
        x = torch.zeros(1, 1, dtype=torch.float64)
        found = scheduler.step(x + 1, scheduler.timesteps[0], x)  # z = 1, so x̂ = −b_t / a_t
        shares = scheduler.alphas_cumprod
        share = (1 - (found.prev_sample - shares.sqrt() * found.pred_original_sample) ** 2)[0]
        went[spacing] = int((share - shares).abs().argmin())
    assert starts == {"leading": 900, "trailing": 999, "linspace": 999}
    assert went == {"leading": 800, "trailing": 899, "linspace": 899}
    assert int(scheduler.timesteps[1]) == 888
    scheduler = scheduler_of("DDIMScheduler")
    scheduler.set_timesteps(2)
    start = int(scheduler.timesteps[0])
    assert start == 500 and 0.27 < scheduler.alphas_cumprod[start].sqrt() < 0.29


def test_noise_prediction_at_pure_noise_is_refused_here_and_clipped_there(two):
    x_t, z = two
    scheduler = scheduler_of(
        "DDIMScheduler", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(10)
    assert scheduler.alphas_cumprod[999] == 0
    found = scheduler.step(z, 999, x_t).pred_original_sample
    assert torch.equal(found, (x_t - z).sign())  # x̂ = ±1, whatever the data
    with pytest.raises(ValueError, match="do not follow"):
        to_x_and_noise(z, x_t, level(0.0, x_t), COSINE, NOISE)


# --- EDM and Heun -------------------------------------------------------------------------------


def of_edm(sigma_data, sigma_max=80.0):
    """What EDM's network F is asked for: D = c_skip x_t + c_out F is the denoised x_t."""

    def root(t):
        return ((sigma_max * t) ** 2 + sigma_data**2).sqrt()

    return Target(
        c=lambda t: sigma_max * t / (sigma_data * root(t)), d=lambda t: -sigma_data / root(t)
    )


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
@pytest.mark.parametrize(("kind", "sign"), [("epsilon", 1), ("v_prediction", -1)])
def test_one_step_of_edm_is_ddim_with_a_target_of_its_own(two, sigma_data, kind, sign):
    """Its "epsilon" is neither x nor z, and its "v_prediction" is the same with the other sign."""
    x, F = two
    scheduler = scheduler_of("EDMEulerScheduler", sigma_data=sigma_data, prediction_type=kind)
    process = edm()
    for i in (0, 3, 7):
        scheduler.set_timesteps(8)
        scheduler.set_begin_index(i)
        sigmas = scheduler.sigmas.double()
        x_t = sigmas[i] * x
        asked = scheduler.scale_model_input(x_t, scheduler.timesteps[i])
        theirs = scheduler.step(F, scheduler.timesteps[i], x_t).prev_sample
        t, s = at(sigmas[i], x, process), at(sigmas[i + 1], x, process)
        ours = ddim_step(sign * F, x_t, t, s, process, of_edm(sigma_data))
        torch.testing.assert_close(ours, theirs, **ROUNDING_OF_FLOAT32)
        torch.testing.assert_close(asked, x_t / (sigmas[i] ** 2 + sigma_data**2).sqrt())
        assert float(scheduler.timesteps[i]) == pytest.approx(float(sigmas[i].log()) / 4, abs=1e-6)


def test_edms_network_of_unit_data_predicts_minus_v(two):
    x, z = two
    sigma = torch.linspace(0.1, 50, len(x)).double()
    t = at(sigma, x, edm())
    _, F = noise(x, z, t, edm(), of_edm(1.0))
    _, v = noise(x, z, at(sigma, x, COSINE), COSINE, angular(COSINE))
    torch.testing.assert_close(F, -v, **ROUNDING)


def test_edms_levels_are_karras_and_it_starts_a_little_above():
    scheduler = scheduler_of("EDMEulerScheduler")
    scheduler.set_timesteps(12)
    process = edm()
    ours = process.b(torch.tensor(karras(process, 12)).double())
    torch.testing.assert_close(ours, scheduler.sigmas.double(), rtol=1e-5, atol=1e-6)
    assert scheduler.init_noise_sigma == math.sqrt(80**2 + 1)


def test_edms_churn_is_ours_in_short_steps(two):
    """It adds noise first, from σ to (1 + γ) σ, and then goes down: γ σ = χ h, to first order."""
    x_hat, x = two
    scheduler = scheduler_of("EDMEulerScheduler")
    scheduler.set_timesteps(2000)
    i, process = 1000, edm()
    gamma, sigmas = 2e-3, scheduler.sigmas.double()
    x_t = x_hat + sigmas[i] * x
    scheduler.set_begin_index(i)
    scheduler.scale_model_input(x_t, None)
    options = {"s_churn": gamma * 2000, "pred_original_sample": x_hat, "generator": seeded()}
    theirs = scheduler.step(x, scheduler.timesteps[i], x_t, **options).prev_sample
    t, s = at(sigmas[i], x, process), at(sigmas[i + 1], x, process)
    h = float((sigmas[i] - sigmas[i + 1]) / sigmas[i])
    churn = gamma / h
    ours = reverse_sde_step(x_hat, x_t, t, s, process, X, churn=churn, generator=seeded())
    drawn = (theirs - x_t).abs().max()  # theirs shrinks it once more, by (1 + γ)(1 − h) or so
    assert (ours - theirs).abs().max() < 2 * (gamma + h) * drawn and drawn > 0.05 * sigmas[i]
    assert gamma + h < 0.01


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_heuns_walk_is_that_of_diffusers(two, steps):
    scheduler, (z, _) = scheduler_of("HeunDiscreteScheduler", prediction_type="sample"), two
    scheduler.set_timesteps(steps)
    scheduler.sigmas = scheduler.sigmas.double()
    theirs = scheduler.sigmas[0] * z
    for timestep in scheduler.timesteps:
        theirs_at = scheduler.scale_model_input(theirs, timestep)
        sigma = scheduler.sigmas[scheduler.step_index]
        torch.testing.assert_close(theirs_at, theirs / (sigma**2 + 1).sqrt())
        theirs = scheduler.step(denoised(theirs, sigma), timestep, theirs).prev_sample
    process = edm(float(scheduler.sigmas[0]))
    sigmas = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1::2]])  # each but the first twice
    times = at(sigmas, sigmas, process)
    ours = sample_heun(denoiser(process), z, times, process, X)
    torch.testing.assert_close(ours, theirs, **ROUNDING_OF_A_WALK)


# --- DPM-Solver++ -------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 10, 20])
def test_multistep_walk_is_that_of_diffusers(two, steps):
    scheduler, (z, _) = scheduler_of("DPMSolverMultistepScheduler", prediction_type="sample"), two
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.double()
    times = at(sigmas, sigmas, COSINE)
    theirs = COSINE.b(times[0]) * z  # theirs start from z: the table's last ᾱ is taken for 0
    for timestep, sigma in zip(scheduler.timesteps, sigmas, strict=False):
        x_hat = denoised(theirs * (1 + sigma**2).sqrt(), sigma)
        theirs = scheduler.step(x_hat, timestep, theirs).prev_sample
    ours = sample_multistep(denoiser(COSINE), z, times, COSINE, X)
    torch.testing.assert_close(ours, theirs, **ROUNDING_OF_FLOAT32)


@pytest.mark.parametrize("kind", TARGETS)
def test_one_step_of_multistep_is_that_of_diffusers(two, kind):
    """Its first step, with one prediction; and computed in float32 from whatever it is given."""
    scheduler, (x_t, y) = scheduler_of("DPMSolverMultistepScheduler", prediction_type=kind), two
    scheduler.set_timesteps(timesteps=[600, 300])
    sigmas = scheduler.sigmas.double()
    theirs = scheduler.step(y, 600, x_t).prev_sample
    t, s = at(sigmas[0], x_t, COSINE), at(sigmas[1], x_t, COSINE)
    times = [float(t[0]), float(s[0])]
    z = x_t / column(COSINE.b(t), x_t)
    ours = sample_multistep(lambda *_: y, z, times, COSINE, TARGETS[kind])
    torch.testing.assert_close(ours, theirs, **ROUNDING_OF_FLOAT32)
    torch.testing.assert_close(ours, ddim_step(y, x_t, t, s, COSINE, TARGETS[kind]), **ROUNDING)
    shares = scheduler.alphas_cumprod
    wide = ((1 - shares) / shares).sqrt()
    torch.testing.assert_close(wide[[600, 300]], sigmas[:2], rtol=1e-4, atol=0)


def test_the_sde_solver_of_first_order_is_the_ancestral_step(two):
    x_t, z = two
    scheduler = scheduler_of(
        "DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++", solver_order=1
    )
    scheduler.set_timesteps(timesteps=[600, 300])
    drawn = torch.randn(x_t.shape, generator=seeded(), dtype=x_t.dtype)
    theirs = scheduler.step(z, 600, x_t, variance_noise=drawn).prev_sample
    t, s = (at(scheduler.sigmas[i].double(), x_t, COSINE) for i in (0, 1))
    ours = ddim_step(z, x_t, t, s, COSINE, NOISE, eta=1.0, generator=seeded())
    torch.testing.assert_close(ours, theirs, **ROUNDING_OF_FLOAT32)


# --- k-diffusion --------------------------------------------------------------------------------


def call(model):
    """A model of k-diffusion's, called with one σ for each example."""

    def at_sigma(x, sigma):
        assert sigma.shape == (len(x),)
        return model(x, column(sigma, x))

    return at_sigma


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("sample_euler", sample),
        ("sample_heun", sample_heun),
        ("sample_dpmpp_2m", sample_multistep),
    ],
)
def test_walks_of_k_diffusion_are_ours(two, theirs, ours):
    """Its noisy data are x + σ z, and its model is asked for x at (x + σ z, σ)."""
    sampling, (z, _) = k_diffusion("sampling"), two
    sigmas = sampling.get_sigmas_karras(10, 0.002, 80.0).double()
    process = edm(float(sigmas[0]))
    start = sigmas[0] * z
    theirs = getattr(sampling, theirs)(call(denoised), start, sigmas, disable=True)
    found = ours(denoiser(process), z, at(sigmas, sigmas, process), process, X)
    torch.testing.assert_close(found, theirs, **ROUNDING_OF_A_WALK)


@pytest.mark.parametrize("name", ["sample_euler", "sample_heun", "sample_dpmpp_2m"])
def test_one_step_of_k_diffusion_is_ours(two, name):
    sampling, (x, x_hat) = k_diffusion("sampling"), two
    sigmas = torch.tensor([3.0, 0.7], dtype=torch.float64)
    x_t, process = x_hat + 3 * x, edm()
    theirs = getattr(sampling, name)(lambda *_: x_hat, x_t, sigmas, disable=True)
    t, s = (at(sigma, x, process) for sigma in sigmas)
    if name == "sample_heun":
        times = [float(t[0]), float(s[0])]
        ours = sample_heun(lambda *_: x_hat, x_t / 3, times, process, X)
    else:
        ours = ddim_step(x_hat, x_t, t, s, process, X)
    torch.testing.assert_close(ours, theirs, **ROUNDING)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_the_ancestral_step_of_k_diffusion_is_ours(two, eta):
    sampling, (x, x_hat) = k_diffusion("sampling"), two
    x_t, process = x_hat + 3 * x, edm()
    g = seeded()
    theirs = sampling.sample_euler_ancestral(
        lambda *_: x_hat,
        x_t,
        torch.tensor([3.0, 0.7], dtype=torch.float64),
        disable=True,
        eta=eta,
        noise_sampler=lambda *_: torch.randn(x.shape, generator=g, dtype=x.dtype),
    )
    t, s = at(3.0, x, process), at(0.7, x, process)
    ours = ddim_step(x_hat, x_t, t, s, process, X, eta=eta, generator=seeded())
    torch.testing.assert_close(ours, theirs, **ROUNDING)


def test_levels_of_k_diffusion():
    """σ is b / a; of a variance preserving v-network the time is the angle, t of `cosine`."""
    sampling, external = k_diffusion("sampling"), k_diffusion("external")
    theirs = sampling.get_sigmas_vp(50)[:-1].double()
    t, process = torch.linspace(1, 1e-3, 50).double(), variance_preserving()
    torch.testing.assert_close(process.b(t) / process.a(t), theirs, rtol=1e-3, atol=0)
    sigma = torch.tensor([0.01, 1.0, 30.0]).double()
    wrapped = external.VDenoiser(lambda x, t: 0.3 * x + column(t, x))
    torch.testing.assert_close(wrapped.sigma_to_t(sigma), at(sigma, sigma, COSINE), **ROUNDING)
    x_t = torch.randn(3, 2, generator=seeded()).double()
    unit = column((1 + sigma**2).sqrt(), x_t)
    t = wrapped.sigma_to_t(sigma)
    v = wrapped.inner_model(x_t / unit, t)
    ours, _ = to_x_and_noise(v, x_t / unit, t, COSINE, angular(COSINE))
    torch.testing.assert_close(ours, wrapped(x_t, sigma), **ROUNDING)


def test_log_likelihoods_of_k_diffusion_are_ours(two):
    """Its estimate is exact for a model that treats every number alone, as `denoised` does."""
    sampling, (x, _) = k_diffusion("sampling"), two
    process, options = edm(), {"atol": 1e-9, "rtol": 1e-9}
    model = call(denoised)
    theirs, _ = sampling.log_likelihood(model, x, 0.5, 80.0, **options)
    sigmas = torch.logspace(math.log10(80), math.log10(0.5), 201).double()
    times = at(sigmas, sigmas, process)
    ours, _ = log_likelihood(denoiser(process), x, times, process, X, probes=2, generator=seeded())
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-5)  # 200 steps of order 4


# --- score_sde ----------------------------------------------------------------------------------
# Song et al.'s code is no package: score_sde_pytorch at commit c8c18d1, files sde_lib.py,
# models/utils.py and sampling.py. diffusers has its predictors as schedulers.


def vp_of_score_sde():
    deprecated = library("diffusers.schedulers.deprecated.scheduling_sde_vp")
    return deprecated.ScoreSdeVpScheduler()


@pytest.mark.parametrize("steps", [50, 1000])
def test_one_step_of_score_sde_is_the_reversed_sde(two, steps):
    """Its network predicts z, and s = −ẑ / b."""
    (x_t, z), scheduler = two, vp_of_score_sde()
    scheduler.set_timesteps(steps)
    process, n = variance_preserving(), len(x_t)
    for t in (1.0, 0.5, 0.1):
        t = torch.full((n,), t, dtype=torch.float64)
        theirs, mean = scheduler.step_pred(z, x_t, t, generator=seeded())
        s = t - 1 / steps
        ours = reverse_sde_step(z, x_t, t, s, process, NOISE, generator=seeded())
        torch.testing.assert_close(ours, theirs, **ROUNDING)
        drawn = torch.randn(x_t.shape, generator=seeded(), dtype=x_t.dtype)
        g2 = column(0.1 + 19.9 * t, x_t)
        torch.testing.assert_close(ours - (g2 / steps).sqrt() * drawn, mean, **ROUNDING)


def test_score_sde_moves_by_1_of_n_and_asks_the_network_at_other_levels():
    """It goes N steps of 1 / N, which end at 0, and asks at N levels from 1 to 0.001, both
    included. With 1000 of them the two agree, with 50 the last level is 0.001 for 0.02."""
    for steps, last in ((1000, 0.001), (50, 0.02)):
        scheduler = vp_of_score_sde()
        scheduler.set_timesteps(steps)
        asked = scheduler.timesteps.double()
        gone = 1 - torch.arange(steps).double() / steps
        assert float(gone[-1]) == pytest.approx(last)
        assert float(asked[-1]) == pytest.approx(0.001)
        assert float((asked - gone).abs().max()) == pytest.approx(last - 0.001, abs=1e-6)


def test_levels_of_score_sdes_exploding_noise(two):
    """σ of index i of N is ours at i / (N − 1), not (i + 1) / N."""
    scheduler = scheduler_of("ScoreSdeVeScheduler", sigma_max=50.0, num_train_timesteps=1000)
    t = torch.arange(1000).double() / 999
    torch.testing.assert_close(
        variance_exploding().b(t), scheduler.discrete_sigmas.double(), rtol=1e-5, atol=0
    )


def test_the_predictor_of_score_sdes_exploding_noise_draws_more_than_the_ancestral_step(two):
    """The same mean; noise of √(σ² − σ'²) where the ancestral step has σ' / σ of that."""
    (x, z), process = two, variance_exploding()
    scheduler = scheduler_of("ScoreSdeVeScheduler", sigma_max=50.0, num_train_timesteps=100)
    sigmas, i = scheduler.discrete_sigmas.double(), 60
    x_t = sigmas[i] * x
    t, s = (at(sigmas[j], x, process) for j in (i, i - 1))
    label = (i + 0.5) / 99  # is rounded down
    theirs = scheduler.step_pred(
        score(z, x_t, t, process, NOISE), label, x_t, generator=seeded(), return_dict=False
    )
    ours = ddim_step(z, x_t, t, s, process, NOISE, eta=1.0, generator=seeded())
    drawn = torch.randn(x.shape, generator=seeded(), dtype=x.dtype)
    theirs_draws = (sigmas[i] ** 2 - sigmas[i - 1] ** 2).sqrt() * drawn
    ours_draws = sigmas[i - 1] / sigmas[i] * theirs_draws
    torch.testing.assert_close(ours - ours_draws, theirs[1], **ROUNDING_OF_FLOAT32)
    torch.testing.assert_close(theirs[0] - theirs[1], theirs_draws, **ROUNDING_OF_FLOAT32)


# --- flow_matching and torchcfm -----------------------------------------------------------------

SCHEDULERS = {
    "CondOTScheduler": rectified_flow(),
    "CosineScheduler": COSINE,
    "VPScheduler": variance_preserving(),
}


@pytest.fixture(params=SCHEDULERS)
def paths(request):
    """A scheduler of flow_matching and the same process here."""
    library("flow_matching.path")
    made = getattr(library("flow_matching.path.scheduler"), request.param)()
    return made, SCHEDULERS[request.param]


def test_paths_of_flow_matching_run_from_noise_to_data(paths, two):
    scheduler, process = paths
    x, z = two
    t = torch.linspace(0.05, 0.95, len(x)).double()
    theirs = library("flow_matching.path").AffineProbPath(scheduler).sample(x_0=z, x_1=x, t=1 - t)
    x_t, v = noise(x, z, t, process, velocity(process))
    torch.testing.assert_close(x_t, theirs.x_t, **ROUNDING)
    torch.testing.assert_close(v, -theirs.dx_t, **ROUNDING)


def test_conversions_of_flow_matching_are_ours(paths, two):
    scheduler, process = paths
    path = library("flow_matching.path").AffineProbPath(scheduler)
    x_t, y = two
    t = torch.linspace(0.05, 0.95, len(x_t)).double()
    there = column(1 - t, x_t)
    for convert, target in (("target_to_velocity", X), ("epsilon_to_velocity", NOISE)):
        theirs = getattr(path, convert)(y, x_t, there)
        ours = ode_velocity(y, x_t, t, process, target)
        torch.testing.assert_close(ours, -theirs, rtol=1e-9, atol=1e-9)  # they divide by b or a
    ours = to_x_and_noise(-y, x_t, t, process, velocity(process))
    for k, convert in enumerate(("velocity_to_target", "velocity_to_epsilon")):
        theirs = getattr(path, convert)(y, x_t, there)
        torch.testing.assert_close(ours[k], theirs, rtol=1e-9, atol=1e-9)


def test_one_step_of_flow_matchings_solver_is_that_of_the_ode(paths, two):
    scheduler, process = paths
    x_t, x_hat = two
    path = library("flow_matching.path").AffineProbPath(scheduler)
    solver = library("flow_matching.solver").ODESolver(
        lambda x, t: path.target_to_velocity(x_hat, x, t)
    )
    times = torch.tensor([0.3, 0.4], dtype=torch.float64)
    theirs = solver.sample(x_init=x_t, step_size=None, method="euler", time_grid=times)
    t, s = (torch.full((len(x_t),), v, dtype=torch.float64) for v in (0.7, 0.6))
    ours = reverse_sde_step(x_hat, x_t, t, s, process, X, churn=0.0)
    torch.testing.assert_close(ours, theirs, **ROUNDING)


def test_a_change_of_path_in_flow_matching_is_reparametrised(paths, two):
    scheduler, process = paths
    schedulers = library("flow_matching.path.scheduler")
    x_t, _ = two

    def net(x, t):
        return torch.sin(2 * x + column(t, x))

    wrapper = library("flow_matching.utils").ModelWrapper

    class Theirs(wrapper):
        def forward(self, x, t, **extras):
            return -net(x, (1 - t).reshape(-1))

    theirs = schedulers.ScheduleTransformedModel(
        Theirs(torch.nn.Identity()), schedulers.CondOTScheduler(), scheduler
    )
    flow = rectified_flow()
    ours = reparametrised(net, flow, velocity(flow), process, velocity(process))
    t = torch.linspace(0.05, 0.95, len(x_t)).double()
    found = theirs(x=x_t, t=column(1 - t, x_t))
    torch.testing.assert_close(ours(x_t, t), -found, rtol=1e-8, atol=1e-8)
    if process.db(torch.zeros(1)).isfinite():  # not that of variance_preserving()
        assert ours(x_t, 0 * t).isfinite().all()  # theirs is 0 / 0 there


def test_the_snr_of_flow_matching_is_a_over_b(paths):
    scheduler, process = paths
    t = torch.linspace(0.05, 0.95, 7).double()
    snr = (process.a(t) / process.b(t)) ** 2
    torch.testing.assert_close(scheduler.snr_inverse(snr.sqrt()), 1 - t, rtol=1e-9, atol=1e-9)


def test_variance_preserving_paths_of_torchcfm_are_cosine(two):
    x, z = two
    t = torch.linspace(0, 1, len(x)).double()
    matcher = library("torchcfm.conditional_flow_matching").VariancePreservingConditionalFlowMatcher
    _, theirs, u_t = matcher(sigma=0.0).sample_location_and_conditional_flow(x0=z, x1=x, t=1 - t)
    x_t, v = noise(x, z, t, COSINE, velocity(COSINE))
    torch.testing.assert_close(x_t, theirs, **ROUNDING)
    torch.testing.assert_close(v, -u_t, **ROUNDING)


def test_an_adaptive_solver_asks_the_network_beyond_the_end():
    """torchdiffeq steps past the last time and interpolates (its issue 78): levels below 0 here."""
    odeint, asked = library("torchdiffeq").odeint, []

    def field(t, x):
        asked.append(float(t))
        return -x

    odeint(field, torch.ones(3), torch.tensor([0.0, 1.0]), method="dopri5")
    assert max(asked) > 1.01
    asked.clear()
    odeint(field, torch.ones(3), torch.tensor([0.0, 1.0]), method="rk4")
    assert max(asked) == 1.0
