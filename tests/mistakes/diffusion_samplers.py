"""Typical wrong answers to chapter 07's samplers, each with the sentence that explains it."""

import torch

from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.diffusion import column, to_x_and_noise
from cs231n_gen.diffusion_samplers import check_step

DDIM, SDE = "diffusion_samplers.ddim_step", "diffusion_samplers.reverse_sde_step"


def no_eta(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    check_step(x_t, t, s)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be from 0 to 1, got {eta}")


def no_churn(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    check_step(x_t, t, s)
    if not churn >= 0:
        raise ValueError(f"churn must be at least 0, got {churn}")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {DDIM: no_eta, SDE: no_churn}


class Step:
    """x̂, ẑ and what the process says of t and s, ready to multiply."""

    def __init__(self, prediction, x_t, t, s, process, target):
        self.x, self.z = to_x_and_noise(prediction, x_t, t, process, target)
        self.x_t, self.prediction, self.process, self.target = x_t, prediction, process, target
        self.t, self.s, self.h = (column(v, x_t) for v in (t, s, t - s))
        at_t = (process.a(t), process.b(t), process.da(t), process.db(t))
        self.a, self.b, self.da, self.db = (column(v, x_t) for v in at_t)
        self.a_s, self.b_s = column(process.a(s), x_t), column(process.b(s), x_t)
        finite = self.a != 0
        self.f = torch.where(finite, self.da / torch.where(finite, self.a, 1.0), 0.0)
        self.g2 = torch.where(finite, 2 * self.b * (self.db - self.f * self.b), 0.0)
        self.euler = x_t - self.h * (self.da * self.x + self.db * self.z)

    def sigma(self, eta=1.0):
        inside = (self.b**2 - (self.a / self.a_s) ** 2 * self.b_s**2).clamp(min=0)
        return eta * self.b_s / self.b * inside.sqrt()

    def kept(self, sigma):
        """√(b_s² − σ²)."""
        return (self.b_s**2 - sigma**2).clamp(min=0).sqrt()

    def ddim(self, sigma):
        return self.a_s * self.x + self.kept(sigma) * self.z

    def sde(self, churn, f=None, g2=None, h=None):
        """x_t − h (f x_t − ½ (1 + χ) g² s); where a = 0 the Euler step."""
        f, g2 = self.f if f is None else f, self.g2 if g2 is None else g2
        h = self.h if h is None else h
        drift = f * self.x_t + (1 + churn) / 2 * g2 * self.z / self.b
        return torch.where(self.a == 0, self.euler, self.x_t - h * drift)

    def deviation(self, churn):
        return (churn * self.g2 * self.h).sqrt()


def normal(like, generator):
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


def ddim(formula, draw=normal):
    """A step by a formula for what is not noise, and for σ."""

    def step(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
        mean, sigma = formula(Step(prediction, x_t, t, s, process, target), eta)
        return mean if eta == 0 else mean + sigma * draw(x_t, generator)

    return step


def sde(formula, draw=normal):
    """A step by a formula for what is not noise, and for the noise's deviation."""

    def step(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
        mean, deviation = formula(Step(prediction, x_t, t, s, process, target), churn)
        return mean if churn == 0 else mean + deviation * draw(x_t, generator)

    return step


def one_for_each_example(like, generator):
    return column(normal(like[:, :1].flatten() if like.dim() > 1 else like, generator), like)


def one_for_all_examples(like, generator):
    return normal(like[:1], generator)


def even(like, generator):
    return torch.rand(like.shape, generator=generator, dtype=like.dtype) * 12**0.5 - 3**0.5


def all_positive(like, generator):
    return torch.rand(like.shape, generator=generator, dtype=like.dtype)


def without_generator(like, generator):
    return torch.randn_like(like)


def seeded(like, generator):
    return normal(like, torch.Generator().manual_seed(0))


def of_a_copied_generator(like, generator):
    if generator is None:
        return normal(like, None)
    return normal(like, torch.Generator().set_state(generator.get_state()))


def opposite_in_pairs(like, generator):
    half = normal(like[: (len(like) + 1) // 2], generator)
    return torch.cat([half, -half])[: len(like)]


def brought_to_deviation_1(like, generator):
    noise = normal(like, generator)
    return noise / noise.std() if noise.numel() > 1 else noise


def without_tails(like, generator):
    return normal(like, generator).clamp(-2, 2)


# --- diffusion_samplers.ddim_step ---------------------------------------------------------------


def right(k, eta):
    sigma = k.sigma(eta)
    return k.ddim(sigma), sigma


def upper_bound(k, eta):
    sigma = eta * (k.b**2 - (k.a / k.a_s) ** 2 * k.b_s**2).clamp(min=0).sqrt()
    return k.ddim(sigma), sigma


def exchanged_b(k, eta):
    sigma = eta * k.b / k.b_s * (k.b**2 - (k.a / k.a_s) ** 2 * k.b_s**2).clamp(min=0).sqrt()
    return k.ddim(sigma), torch.where(k.b_s == 0, 0.0, sigma)


def exchanged_a(k, eta):
    ratio = torch.where(k.a == 0, 0.0, k.a_s / k.a)
    sigma = eta * k.b_s / k.b * (k.b**2 - ratio**2 * k.b_s**2).clamp(min=0).sqrt()
    return k.ddim(sigma), sigma


def without_squares(k, eta):
    sigma = eta * k.b_s / k.b * (k.b - k.a / k.a_s * k.b_s).clamp(min=0).sqrt()
    return k.ddim(sigma), sigma


def root_of_ratio(k, eta):
    sigma = eta * k.b_s / k.b * (k.b**2 - k.a / k.a_s * k.b_s**2).clamp(min=0).sqrt()
    return k.ddim(sigma), sigma


def root_of_b(k, eta):
    sigma = eta * ((k.b_s / k.b) * (k.b**2 - (k.a / k.a_s) ** 2 * k.b_s**2)).clamp(min=0).sqrt()
    return k.ddim(sigma), sigma


def a_is_alpha_bar(k, eta):
    sigma = k.sigma(eta)
    return k.a_s.sqrt() * k.x + ((1 - k.a_s) - sigma**2).clamp(min=0).sqrt() * k.z, sigma


def b_is_a_variance(k, eta):
    sigma = k.sigma(eta)
    return k.a_s * k.x + (k.b_s - sigma**2).clamp(min=0).sqrt() * k.z, sigma


def variance_preserving_only(k, eta):
    sigma = k.sigma(eta)
    return k.a_s * k.x + (1 - k.a_s**2 - sigma**2).clamp(min=0).sqrt() * k.z, sigma


ddim_formulas = several(
    DDIM,
    (
        "sigma_left_out_of_the_root",
        "For η > 0 you add σ ε and keep all of b_s ẑ: x_s is too noisy. What noise there was must "
        "shrink to √(b_s² − σ²), so that both together have the variance b_s².",
        ddim(lambda k, eta: (k.a_s * k.x + k.b_s * k.z, k.sigma(eta))),
    ),
    (
        "sigma_taken_from_b",
        "You keep (b_s − σ) ẑ. Variances add up, not deviations: √(b_s² − σ²).",
        ddim(lambda k, eta: (k.a_s * k.x + (k.b_s - k.sigma(eta)) * k.z, k.sigma(eta))),
    ),
    (
        "sigma_without_its_square",
        "√(b_s² − σ) lacks a square: it is σ² that is taken from b_s².",
        ddim(
            lambda k, eta: (
                k.a_s * k.x + (k.b_s**2 - k.sigma(eta)).clamp(min=0).sqrt() * k.z,
                k.sigma(eta),
            )
        ),
    ),
    (
        "eta_squared",
        "Your σ grows as η². η multiplies the deviation σ, not the variance.",
        ddim(lambda k, eta: right(k, eta**2)),
    ),
    (
        "root_of_eta",
        "Your σ grows as √η. η multiplies the deviation σ, not the variance.",
        ddim(lambda k, eta: right(k, eta**0.5)),
    ),
    (
        "upper_bound_of_the_variance",
        "Your σ lacks b_s / b_t: it is the deviation of x_t given x_s (DDPM's β, the upper bound). "
        "That of x_s given x_t and x is smaller (β̃), and 0 where b_s = 0.",
        ddim(upper_bound),
    ),
    (
        "b_t_over_b_s",
        "Your σ has b_t / b_s. It is the other way round: b_s / b_t is less than 1.",
        ddim(exchanged_b),
    ),
    (
        "a_s_over_a_t",
        "Under your root stands (a_s / a_t)². It is the other way round: from s to t the data "
        "shrink by a_t / a_s.",
        ddim(exchanged_a),
    ),
    (
        "roots_of_levels_without_squares",
        "Under the root of σ stand b_t and b_s without their squares.",
        ddim(without_squares),
    ),
    (
        "a_ratio_without_its_square",
        "Under your root stands (a_t / a_s) b_s², as if a were DDPM's ᾱ. a is √ᾱ: square "
        "a_t / a_s.",
        ddim(root_of_ratio),
    ),
    (
        "b_ratio_under_the_root",
        "You have b_s / b_t under the root of σ, as if b² were meant. It stands before the root.",
        ddim(root_of_b),
    ),
    (
        "variance_for_deviation",
        "You add σ² ε. The noise is σ ε: σ is a standard deviation.",
        ddim(lambda k, eta: (k.ddim(k.sigma(eta)), k.sigma(eta) ** 2)),
    ),
    (
        "root_of_sigma",
        "You add √σ ε, as if σ were a variance. It is a standard deviation: σ ε.",
        ddim(lambda k, eta: (k.ddim(k.sigma(eta)), k.sigma(eta).sqrt())),
    ),
    (
        "root_of_a",
        "You take √a_s and √(1 − a_s), as for DDPM's ᾱ. a is √ᾱ already, and b its own function.",
        ddim(a_is_alpha_bar),
    ),
    (
        "b_taken_for_a_variance",
        "You take √(b_s − σ²), as if b were a variance. It is a standard deviation: √(b_s² − σ²).",
        ddim(b_is_a_variance),
    ),
    (
        "a_and_b_of_unit_variance",
        "You take √(1 − a_s² − σ²), which is right for a² + b² = 1 alone. Of any process: "
        "√(b_s² − σ²).",
        ddim(variance_preserving_only),
    ),
    (
        "levels_of_t",
        "You put x̂ and ẑ together with a_t and b_t: that leads back to x_t. a_s and b_s lead to s.",
        ddim(lambda k, eta: (k.a * k.x + (k.b**2 - k.sigma(eta) ** 2).sqrt() * k.z, k.sigma(eta))),
    ),
    (
        "noise_of_t",
        "You keep noise by b_t, and data by a_s. Both are those of the level s.",
        ddim(
            lambda k, eta: (k.a_s * k.x + (k.b**2 - k.sigma(eta) ** 2).sqrt() * k.z, k.sigma(eta))
        ),
    ),
    (
        "x_and_z_exchanged",
        "x̂ and ẑ are exchanged: a_s belongs to the data, the root to the noise.",
        ddim(lambda k, eta: (k.a_s * k.z + k.kept(k.sigma(eta)) * k.x, k.sigma(eta))),
    ),
    (
        "prediction_for_x",
        "You take the prediction for x̂. That holds for x-prediction alone: to_x_and_noise finds x̂ "
        "and ẑ for any target.",
        ddim(
            lambda k, eta: (
                k.a_s * k.prediction + k.kept(k.sigma(eta)) * (k.x_t - k.a * k.prediction) / k.b,
                k.sigma(eta),
            )
        ),
    ),
    (
        "prediction_for_noise",
        "You take the prediction for ẑ. That holds for ε-prediction alone: to_x_and_noise finds x̂ "
        "and ẑ for any target.",
        ddim(
            lambda k, eta: (
                k.a_s * (k.x_t - k.b * k.prediction) / torch.where(k.a == 0, 1.0, k.a)
                + k.kept(k.sigma(eta)) * k.prediction,
                k.sigma(eta),
            )
        ),
    ),
    (
        "prediction_as_it_is_beside_z",
        "You take the prediction itself for x̂ and the right ẑ: x̂ comes from to_x_and_noise too.",
        ddim(
            lambda k, eta: (
                k.a_s * k.prediction + k.kept(k.sigma(eta)) * k.z,
                k.sigma(eta),
            )
        ),
    ),
    (
        "eulers_step_everywhere",
        "This is an Euler step in t, x_t − (t − s)(a′ x̂ + b′ ẑ). DDIM is one on rectified flow "
        "only: elsewhere it puts x_s together from x̂ and ẑ.",
        ddim(lambda k, eta: (k.euler, k.sigma(eta))),
    ),
    (
        "noised_anew",
        "You take σ = η b_s, so that η = 1 noises x̂ anew and forgets ẑ. The posterior's deviation "
        "is less: (b_s / b_t) √(b_t² − (a_t / a_s)² b_s²).",
        ddim(lambda k, eta: (k.ddim(eta * k.b_s), eta * k.b_s)),
    ),
    (
        "always_as_for_eta_1",
        "For any η > 0 you take the whole posterior's deviation. η scales it.",
        ddim(lambda k, eta: right(k, float(eta > 0))),
    ),
    (
        "eta_is_not_looked_at",
        "You never look at η: this is DDIM without noise, whatever η is.",
        ddim(lambda k, eta: (k.a_s * k.x + k.b_s * k.z, 0.0)),
    ),
    (
        "noise_is_not_added",
        "You make room for noise in √(b_s² − σ²), and then add none.",
        ddim(lambda k, eta: (k.ddim(k.sigma(eta)), 0.0)),
    ),
    (
        "one_noise_for_each_example",
        "All numbers of an example get one and the same noise. Draw ε in the shape of x_t.",
        ddim(right, one_for_each_example),
    ),
    (
        "one_noise_for_the_batch",
        "All examples get the same noise. Draw ε in the shape of x_t, with its batch axis.",
        ddim(right, one_for_all_examples),
    ),
    (
        "noise_from_rand",
        "Your ε is uniform on [0, 1): torch.rand. ε ~ N(0, I) is torch.randn.",
        ddim(right, all_positive),
    ),
    (
        "noise_without_the_generator",
        "Your noise does not come from `generator`: a run cannot be repeated. Pass it on to "
        "torch.randn.",
        ddim(right, without_generator),
    ),
    (
        "noise_of_a_fixed_seed",
        "Your noise comes from a seed of its own, the same in every call. Draw from `generator`.",
        ddim(right, seeded),
    ),
)


@mistake(
    DDIM,
    "With η = 0 you draw noise too, and multiply it by 0. η = 0 draws nothing: the generator must "
    "stay as it is.",
    sure=True,
)
def always_draws(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    mean, sigma = right(Step(prediction, x_t, t, s, process, target), eta)
    return mean + sigma * normal(x_t, generator)


@mistake(
    DDIM,
    "A square root of a number below 0 is NaN. Rounding leaves such numbers where σ or what it "
    "leaves of b_s is 0: .clamp(min=0) before .sqrt().",
    sure=True,
)
def roots_without_a_clamp(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    k = Step(prediction, x_t, t, s, process, target)
    if eta == 0:
        return k.ddim(0 * k.b_s)
    sigma = eta * k.b_s / k.b * (k.b**2 - (k.a / k.a_s) ** 2 * k.b_s**2).sqrt()
    mean = k.a_s * k.x + (k.b_s**2 - sigma**2).sqrt() * k.z
    return mean + sigma * normal(x_t, generator)


@mistake(
    DDIM,
    "All examples take the step of the first one's levels. Each has its own t and s.",
)
def levels_of_the_first(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    k = Step(prediction, x_t, t[:1].expand_as(t), s[:1].expand_as(s), process, target)
    mean, sigma = right(k, eta)
    return mean if eta == 0 else mean + sigma * normal(x_t, generator)


@mistake(
    DDIM,
    "Your coefficients have one axis more than the batch, which is right for points alone. "
    "column(value, x_t) shapes them for images and for single numbers too.",
    sure=True,
)
def for_points_only(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    a, b, a_s, b_s = (v[:, None] for v in (process.a(t), process.b(t), process.a(s), process.b(s)))
    if eta == 0:
        return a_s * x + b_s * z
    sigma = eta * b_s / b * (b**2 - (a / a_s) ** 2 * b_s**2).clamp(min=0).sqrt()
    mean = a_s * x + (b_s**2 - sigma**2).clamp(min=0).sqrt() * z
    return mean + sigma * normal(x_t, generator)


@mistake(
    DDIM,
    "No gradient can pass: the step is detached, or made under torch.no_grad().",
    sure=True,
)
@torch.no_grad()
def ddim_detached(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    mean, sigma = right(Step(prediction, x_t, t, s, process, target), eta)
    return mean if eta == 0 else mean + sigma * normal(x_t, generator)


@mistake(DDIM, "No gradient reaches x_t.", public=False)
def x_t_detached(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    mean, sigma = right(Step(prediction, x_t.detach(), t, s, process, target), eta)
    return mean if eta == 0 else mean + sigma * normal(x_t, generator)


@mistake(DDIM, "float64 passes through float32.", public=False)
def ddim_in_float32(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    k = Step(prediction.float(), x_t.float(), t.float(), s.float(), process, target)
    mean, sigma = right(k, eta)
    found = mean if eta == 0 else mean + sigma * normal(x_t.float(), generator)
    return found.to(x_t.dtype)


@mistake(DDIM, "float32 becomes float64.", public=False)
def ddim_in_float64(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    k = Step(prediction.double(), x_t.double(), t.double(), s.double(), process, target)
    mean, sigma = right(k, eta)
    return mean if eta == 0 else mean + sigma * normal(x_t.double(), generator)


@mistake(DDIM, "Any η will do.", public=False, bare=True)
def any_eta(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    check_step(x_t, t, s)
    mean, sigma = right(Step(prediction, x_t, t, s, process, target), eta)
    return mean if eta == 0 else mean + sigma * normal(x_t, generator)


@mistake(DDIM, "Any level s will do.", public=False, bare=True)
def any_level(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    if not 0 <= eta <= 1:
        raise ValueError("no such η")
    mean, sigma = right(Step(prediction, x_t, t, s, process, target), eta)
    return mean if eta == 0 else mean + sigma * normal(x_t, generator)


@mistake(DDIM, "x_s is written into x_t.", public=False)
def into_x_t(prediction, x_t, t, s, process, target, eta=0.0, generator=None):
    mean, sigma = right(Step(prediction, x_t, t, s, process, target), eta)
    found = mean if eta == 0 else mean + sigma * normal(x_t, generator)
    with torch.no_grad():
        x_t.copy_(found)
    return found


def a_s_kept_large(k, eta):
    inside = (k.b**2 - (k.a / k.a_s.clamp(min=0.01)) ** 2 * k.b_s**2).clamp(min=0)
    sigma = eta * k.b_s / k.b * inside.sqrt()
    return k.ddim(sigma), sigma


ddim_noises = several(
    DDIM,
    ("uniform_noise", "ε is uniform, of variance 1.", ddim(right, even)),
    ("noise_of_a_copy", "Two calls draw the same.", ddim(right, of_a_copied_generator)),
    ("noise_in_opposite_pairs", "Noise comes in pairs ±ε.", ddim(right, opposite_in_pairs)),
    ("noise_without_tails", "ε is cut off at 2.", ddim(right, without_tails)),
    ("noise_of_deviation_1", "ε is normalised.", ddim(right, brought_to_deviation_1)),
    (
        "one_end_ends_all_noise",
        "One example at b_s = 0 takes the noise of all.",
        ddim(lambda k, eta: right(k, eta * bool((k.b_s > 0).all()))),
    ),
    (
        "noise_at_the_end",
        "Some noise is left where b_s = 0.",
        ddim(lambda k, eta: (k.ddim(k.sigma(eta)), k.sigma(eta).clamp(min=1e-3))),
    ),
    (
        "no_noise_at_s_0",
        "No noise on the way to s = 0, though b(0) > 0.",
        ddim(lambda k, eta: (k.ddim(k.sigma(eta)), k.sigma(eta) * (k.s > 0))),
    ),
    (
        "small_eta_is_0",
        "A small η counts as 0.",
        ddim(lambda k, eta: right(k, eta * (eta > 1e-3))),
    ),
    (
        "small_a_s_is_more",
        "a_s is at least 0.01 in a division.",
        ddim(a_s_kept_large),
    ),
    (
        "levels_near_0_are_the_end",
        "Small b_s count as 0.",
        ddim(lambda k, eta: right(k, eta * (k.b_s > 0.3))),
    ),
    public=False,
)


# --- diffusion_samplers.reverse_sde_step --------------------------------------------------------


def right_sde(k, churn):
    return k.sde(churn), k.deviation(churn)


def with_f(f):
    """g² follows from f; where a = 0 the Euler step."""

    def formula(k, churn):
        wrong = f(k)
        g2 = torch.where(k.a == 0, 0.0, (2 * k.b * k.db - 2 * wrong * k.b**2).clamp(min=0))
        return k.sde(churn, f=wrong, g2=g2), (churn * g2 * k.h).sqrt()

    return formula


def with_g2(g2):
    def formula(k, churn):
        wrong = torch.where(k.a == 0, 0.0, g2(k).clamp(min=0))
        return k.sde(churn, g2=wrong), (churn * wrong * k.h).sqrt()

    return formula


def at_s(k, churn):
    s = k.s.flatten()
    a, b, da, db = (
        column(f(s), k.x_t) for f in (k.process.a, k.process.b, k.process.da, k.process.db)
    )
    f = da / a
    g2 = 2 * b * (db - f * b)
    drift = f * k.x_t + (1 + churn) / 2 * g2 * k.z / b
    return k.x_t - k.h * drift, (churn * g2 * k.h).sqrt()


def drift_by(rule):
    """Where a = 0 the Euler step."""

    def formula(k, churn):
        found = k.x_t - k.h * rule(k, churn)
        return torch.where(k.a == 0, k.euler, found), k.deviation(churn)

    return formula


def noise_by(rule):
    return lambda k, churn: (k.sde(churn), rule(k, churn))


def score(k):
    return -k.z / k.b


SDE_FORMULAS = (
    (
        "g_for_g2_in_the_drift",
        "You have g where g² belongs, before the score.",
        drift_by(lambda k, churn: k.f * k.x_t - (1 + churn) / 2 * k.g2.sqrt() * score(k)),
    ),
    (
        "g2_for_g_in_the_noise",
        "Your noise is g² √(χ h) ε. Its variance is χ g² h, its deviation √(χ g² h).",
        noise_by(lambda k, churn: k.g2 * (churn * k.h).sqrt()),
    ),
    (
        "dt_for_root_dt",
        "Your noise grows as h. Its variance grows as h, so that it is √h ε: many small steps then "
        "add up to as much as a long one.",
        noise_by(lambda k, churn: (churn * k.g2).sqrt() * k.h),
    ),
    (
        "variance_for_deviation_of_the_sde",
        "Your noise is χ g² h ε. That is its variance: take the root.",
        noise_by(lambda k, churn: churn * k.g2 * k.h),
    ),
    (
        "half_is_forgotten",
        "You have (1 + χ) g² s. The ½ before it is forgotten: with χ = 0 the ODE must be left.",
        drift_by(lambda k, churn: k.f * k.x_t - (1 + churn) * k.g2 * score(k)),
    ),
    (
        "score_with_the_wrong_sign",
        "Your score has the wrong sign: it is −ẑ / b, towards less noise.",
        drift_by(lambda k, churn: k.f * k.x_t + (1 + churn) / 2 * k.g2 * score(k)),
    ),
    (
        "score_without_b",
        "Your score is −ẑ. It is −ẑ / b.",
        drift_by(lambda k, churn: k.f * k.x_t + (1 + churn) / 2 * k.g2 * k.z),
    ),
    (
        "score_over_b2",
        "Your score is −ẑ / b². It is −ẑ / b, or (a x̂ − x_t) / b².",
        drift_by(lambda k, churn: k.f * k.x_t + (1 + churn) / 2 * k.g2 * k.z / k.b**2),
    ),
    (
        "time_runs_on",
        "You add h times the drift: this goes on to t + h. Back to s it is taken away.",
        drift_by(lambda k, churn: -(k.f * k.x_t - (1 + churn) / 2 * k.g2 * score(k))),
    ),
    (
        "churn_in_the_drift_alone",
        "χ scales your drift, but not your noise. What is taken away and what is put back belong "
        "together.",
        noise_by(lambda k, churn: k.deviation(1.0)),
    ),
    (
        "churn_in_the_noise_alone",
        "χ scales your noise, but your drift is that of χ = 1. What is taken away and what is put "
        "back belong together.",
        lambda k, churn: (k.sde(1.0), k.deviation(churn)),
    ),
    (
        "noise_on_the_ode",
        "You add noise to a step of the ODE, and take none away: the drift needs ½ χ g² s more.",
        lambda k, churn: (k.euler, k.deviation(churn)),
    ),
    (
        "churn_for_its_root",
        "Your noise grows as χ. Its variance is χ g² h, so that it grows as √χ.",
        noise_by(lambda k, churn: churn * k.deviation(1.0)),
    ),
    (
        "churn_times_the_whole_score",
        "You have f x_t − χ g² s, which is right for χ = 1 alone: ½ (1 + χ) g² s, so that χ = 0 "
        "leaves the ODE.",
        drift_by(lambda k, churn: k.f * k.x_t - churn * k.g2 * score(k)),
    ),
    (
        "churn_is_not_looked_at",
        "You never look at χ: this is the step of χ = 1.",
        lambda k, churn: (k.sde(1.0), k.deviation(1.0)),
    ),
    (
        "only_noise_is_never_added",
        "Your drift is right, but no noise is put back.",
        lambda k, churn: (k.sde(churn), 0.0),
    ),
    (
        "the_ode_alone",
        "This is the step of the ODE, whatever χ is.",
        lambda k, churn: (k.euler, 0.0),
    ),
    (
        "f_is_da",
        "Your f is a′. It is a′ / a, the rate at which the data shrink.",
        with_f(lambda k: k.da),
    ),
    (
        "f_is_0",
        "You leave f x_t out, and f in g²: that holds for a = 1 alone.",
        with_f(lambda k: 0 * k.a),
    ),
    (
        "f_with_the_wrong_sign",
        "Your f is −a′ / a. It is a′ / a, which is below 0 as the data shrink.",
        with_f(lambda k: -k.f),
    ),
    (
        "g2_without_f",
        "Your g² is 2 b b′. The noise that is there shrinks with f too: g² = 2 b b′ − 2 f b².",
        with_g2(lambda k: 2 * k.b * k.db),
    ),
    (
        "g2_with_plus",
        "Your g² is 2 b b′ + 2 f b². The sign between is −, and f is below 0.",
        with_g2(lambda k: 2 * k.b * k.db + 2 * k.f * k.b**2),
    ),
    (
        "g2_without_2",
        "Your g² lacks its 2: (b²)′ is 2 b b′.",
        with_g2(lambda k: k.g2 / 2),
    ),
    (
        "g2_with_b_for_b2",
        "Your g² is 2 b b′ − 2 f b. It is f b², as g² belongs to variances.",
        with_g2(lambda k: 2 * k.b * k.db - 2 * k.f * k.b),
    ),
    (
        "f_times_x",
        "You have f x̂. It is f x_t, data and noise alike, that f shrinks.",
        drift_by(lambda k, churn: k.f * k.x - (1 + churn) / 2 * k.g2 * score(k)),
    ),
    (
        "prediction_for_the_score",
        "You take the prediction for the score. What it stands for depends on the target: −ẑ / b, "
        "with ẑ of to_x_and_noise.",
        drift_by(lambda k, churn: k.f * k.x_t - (1 + churn) / 2 * k.g2 * k.prediction),
    ),
    (
        "levels_of_s",
        "Your f, g² and b are those of level s. An Euler step goes by those of t, where it starts.",
        at_s,
    ),
    (
        "noise_where_a_is_0",
        "Where a = 0 you add noise. There an example takes the step of χ = 0, without any.",
        noise_by(
            lambda k, churn: torch.where(
                k.a == 0, (churn * 2 * k.b * k.h).sqrt(), k.deviation(churn)
            )
        ),
    ),
    (
        "no_step_where_a_is_0",
        "Where a = 0 you take f and g² for 0, so that x_t stays as it is. The step of χ = 0, "
        "x_t − h (a′ x̂ + b′ ẑ), is finite there.",
        lambda k, churn: (torch.where(k.a == 0, k.x_t, k.sde(churn)), k.deviation(churn)),
    ),
    (
        "one_end_for_all",
        "One example at a = 0 makes the whole batch take the step of χ = 0. Choose for each by "
        "torch.where.",
        lambda k, churn: right_sde(k, churn if bool((k.a != 0).all()) else 0.0),
    ),
)
sde_formulas = several(SDE, *((name, says, sde(formula)) for name, says, formula in SDE_FORMULAS))

sde_noises = several(
    SDE,
    (
        "one_sde_noise_for_each_example",
        "All numbers of an example get one and the same noise. Draw ε in the shape of x_t.",
        sde(right_sde, one_for_each_example),
    ),
    (
        "one_sde_noise_for_the_batch",
        "All examples get the same noise. Draw ε in the shape of x_t, with its batch axis.",
        sde(right_sde, one_for_all_examples),
    ),
    (
        "sde_noise_from_rand",
        "Your ε is uniform on [0, 1): torch.rand. ε ~ N(0, I) is torch.randn.",
        sde(right_sde, all_positive),
    ),
    (
        "sde_noise_without_the_generator",
        "Your noise does not come from `generator`: a run cannot be repeated. Pass it on to "
        "torch.randn.",
        sde(right_sde, without_generator),
    ),
    (
        "sde_noise_of_a_fixed_seed",
        "Your noise comes from a seed of its own, the same in every call. Draw from `generator`.",
        sde(right_sde, seeded),
    ),
)


@mistake(
    SDE,
    "Where a = 0, a′ / a is infinite, and the step with it. Choose by torch.where what such an "
    "example gets: multiplied by 0 it would be NaN.",
    sure=True,
)
def divided_by_0(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    k = Step(prediction, x_t, t, s, process, target)
    f = k.da / k.a
    g2 = 2 * k.b * k.db - 2 * f * k.b**2
    x_s = x_t - k.h * (f * x_t + (1 + churn) / 2 * g2 * k.z / k.b)
    return x_s if churn == 0 else x_s + (churn * g2 * k.h).sqrt() * normal(x_t, generator)


@mistake(
    SDE,
    "With χ = 0 you draw noise too, and multiply it by 0. χ = 0 draws nothing: the generator must "
    "stay as it is.",
    sure=True,
)
def sde_always_draws(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    mean, deviation = right_sde(Step(prediction, x_t, t, s, process, target), churn)
    return mean + deviation * normal(x_t, generator)


@mistake(
    SDE,
    "Under your root stands s − t, which is below 0, and its root NaN: h is t − s.",
    sure=True,
)
def h_the_other_way_round(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    k = Step(prediction, x_t, t, s, process, target)
    noise = 0.0 if churn == 0 else normal(x_t, generator)
    return k.sde(churn) + (churn * k.g2 * -k.h).sqrt() * noise


@mistake(SDE, "All examples take the step of the first one's levels. Each has its own t and s.")
def sde_levels_of_the_first(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    k = Step(prediction, x_t, t[:1].expand_as(t), s[:1].expand_as(s), process, target)
    mean, deviation = right_sde(k, churn)
    return mean if churn == 0 else mean + deviation * normal(x_t, generator)


@mistake(
    SDE,
    "Your coefficients have one axis more than the batch, which is right for points alone. "
    "column(value, x_t) shapes them for images and for single numbers too.",
    sure=True,
)
def sde_for_points_only(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    a, b, da, db, h = (
        v[:, None] for v in (process.a(t), process.b(t), process.da(t), process.db(t), t - s)
    )
    extra = torch.where(a == 0, 0.0, db - da * b / torch.where(a == 0, 1.0, a))
    x_s = x_t - h * (da * x + (db + churn * extra) * z)
    return x_s if churn == 0 else x_s + (2 * churn * b * extra * h).sqrt() * normal(x_t, generator)


@mistake(
    SDE,
    "No gradient can pass: the step is detached, or made under torch.no_grad().",
    sure=True,
)
@torch.no_grad()
def sde_detached(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    mean, deviation = right_sde(Step(prediction, x_t, t, s, process, target), churn)
    return mean if churn == 0 else mean + deviation * normal(x_t, generator)


@mistake(SDE, "No gradient reaches x_t.", public=False)
def sde_x_t_detached(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    mean, deviation = right_sde(Step(prediction, x_t.detach(), t, s, process, target), churn)
    return mean if churn == 0 else mean + deviation * normal(x_t, generator)


@mistake(SDE, "float64 passes through float32.", public=False)
def sde_in_float32(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    k = Step(prediction.float(), x_t.float(), t.float(), s.float(), process, target)
    mean, deviation = right_sde(k, churn)
    found = mean if churn == 0 else mean + deviation * normal(x_t.float(), generator)
    return found.to(x_t.dtype)


@mistake(SDE, "float32 becomes float64.", public=False)
def sde_in_float64(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    k = Step(prediction.double(), x_t.double(), t.double(), s.double(), process, target)
    mean, deviation = right_sde(k, churn)
    return mean if churn == 0 else mean + deviation * normal(x_t.double(), generator)


@mistake(SDE, "Any χ will do.", public=False, bare=True)
def any_churn(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    check_step(x_t, t, s)
    mean, deviation = right_sde(Step(prediction, x_t, t, s, process, target), churn)
    return mean if churn == 0 else mean + deviation * normal(x_t, generator)


@mistake(SDE, "Any level s will do.", public=False, bare=True)
def any_level_of_the_sde(prediction, x_t, t, s, process, target, churn=1.0, generator=None):
    if not churn >= 0:
        raise ValueError("no such χ")
    mean, deviation = right_sde(Step(prediction, x_t, t, s, process, target), churn)
    return mean if churn == 0 else mean + deviation * normal(x_t, generator)


def near_noise_is_noise(k, churn):
    churn = churn * (k.a >= 1e-3)
    return k.sde(churn), k.deviation(churn)


hidden_sde_noises = several(
    SDE,
    ("uniform_sde_noise", "ε is uniform, of variance 1.", sde(right_sde, even)),
    ("sde_noise_of_a_copy", "Two calls draw the same.", sde(right_sde, of_a_copied_generator)),
    ("sde_noise_in_pairs", "Noise comes in pairs ±ε.", sde(right_sde, opposite_in_pairs)),
    ("sde_noise_without_tails", "ε is cut off at 2.", sde(right_sde, without_tails)),
    ("sde_noise_of_deviation_1", "ε is normalised.", sde(right_sde, brought_to_deviation_1)),
    (
        "no_sde_noise_at_the_end",
        "No noise on the way to s = 0.",
        sde(lambda k, churn: (k.sde(churn), k.deviation(churn) * (k.s > 0))),
    ),
    (
        "exponential_integrator",
        "f x_t is integrated exactly: not Euler–Maruyama.",
        sde(
            lambda k, churn: (
                k.sde(churn)
                + torch.where(k.a == 0, 0.0, torch.expm1(-k.f * k.h) + k.f * k.h) * k.x_t,
                k.deviation(churn),
            )
        ),
    ),
    (
        "small_churn_is_0",
        "A small χ counts as 0.",
        sde(lambda k, churn: right_sde(k, churn * (churn > 1e-3))),
    ),
    ("small_a_is_0", "Where a is small it counts as 0.", sde(near_noise_is_noise)),
    (
        "churn_up_to_1",
        "χ is cut off at 1.",
        sde(lambda k, churn: right_sde(k, min(churn, 1.0))),
    ),
    public=False,
)
