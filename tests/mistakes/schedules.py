"""Typical wrong answers to chapter 06, each with the sentence that explains it."""

import math

import torch

from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.schedules import (
    logit_normal,
    logit_normal_density,
    loss_floor,
    optimal_velocity,
    resolution_alpha,
    shift,
)


def refuse(wrong, says):
    if wrong:
        raise ValueError(says)


def no_deviation(t_or_n, m=0.0, s=1.0, generator=None):
    logit_normal(0, m, s)


def no_pairs(x, z, levels, data):
    refuse(x.shape != z.shape, "x and z must be of one shape")
    refuse(levels.dim() != 1, "levels must be one-dimensional")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "schedules.optimal_velocity": optimal_velocity,
    "schedules.loss_floor": no_pairs,
    "schedules.logit_normal": no_deviation,
    "schedules.logit_normal_density": no_deviation,
    "schedules.shift": shift,
    "schedules.resolution_alpha": resolution_alpha,
}

BEST = "schedules.optimal_velocity"
FLOOR = "schedules.loss_floor"
DRAW = "schedules.logit_normal"
DENSITY = "schedules.logit_normal_density"
SHIFT = "schedules.shift"
ALPHA = "schedules.resolution_alpha"


# --- schedules.optimal_velocity -----------------------------------------------------------------


def squares(x_t, t, data, share=None):
    """‖x_t − share · x_i‖², (batch, examples); share is 1 − t unless another is given."""
    share = 1 - t if share is None else share
    apart = x_t.flatten(1)[:, None] - share[:, None, None] * data.flatten(1)
    return apart.square().sum(-1)


def answer(x_t, t, data, p):
    """E[v | x_t] for these weights, at the ends as it should be."""
    x = (p @ data.flatten(1)).reshape(x_t.shape)
    t = t.reshape(-1, *[1] * (x_t.dim() - 1))
    return torch.where(t > 0, (x_t - x) / t.clamp_min(1e-12), -x_t)


def column(t, x):
    return t.reshape(-1, *[1] * (x.dim() - 1))


def width(t):
    return t.clamp_min(1e-6)[:, None]


def weights(x_t, t, data):
    return (-squares(x_t, t, data) / (2 * width(t) ** 2)).softmax(1)


@mistake(
    BEST,
    "At t = 1 you answer E[x], as slide 75 says. The velocity there is z − E[x]: it points away "
    "from the mean of the data, through z (see the errata).",
)
def mean_of_data_at_t_1(x_t, t, data):
    v = answer(x_t, t, data, weights(x_t, t, data))
    ends = t.reshape(-1, *[1] * (x_t.dim() - 1)) == 1
    return torch.where(ends, data.mean(0), v)


@mistake(
    BEST,
    "At t = 0 your answer is 0: E[z], as slide 76 says, or what rounding leaves of a tiny t. "
    "The velocity there is E[z] − x = −x_t (see the errata).",
    sure=True,
)
def mean_of_noise_at_t_0(x_t, t, data):
    v = answer(x_t, t, data, weights(x_t, t, data))
    ends = t.reshape(-1, *[1] * (x_t.dim() - 1)) == 0
    return torch.where(ends, 0.0, v)


@mistake(
    BEST,
    "At t = 0 yours is NaN, by a division by t. There x_t is the datum and z may be anything: "
    "answer −x_t, the mean of z less x.",
    sure=True,
)
def divided_by_0(x_t, t, data):
    p = (-squares(x_t, t, data) / (2 * t[:, None] ** 2)).softmax(1)
    x = (p @ data.flatten(1)).reshape(x_t.shape)
    return (x_t - x) / t.reshape(-1, *[1] * (x_t.dim() - 1))


@mistake(
    BEST,
    "Your weights fall with the distance. A Gaussian falls with its square: "
    "−‖x_t − (1 − t) x_i‖² / 2t².",
)
def distance_without_square(x_t, t, data):
    apart = squares(x_t, t, data).sqrt()
    return answer(x_t, t, data, (-apart / (2 * width(t) ** 2)).softmax(1))


@mistake(
    BEST,
    "You divide the squared distance by 2t. The noise t z has variance t², so it is 2t².",
)
def t_for_its_square(x_t, t, data):
    return answer(x_t, t, data, (-squares(x_t, t, data) / (2 * width(t))).softmax(1))


@mistake(BEST, "The ½ is missing: a Gaussian of variance t² is exp(−‖…‖² / 2t²).")
def without_the_half(x_t, t, data):
    return answer(x_t, t, data, (-squares(x_t, t, data) / width(t) ** 2).softmax(1))


@mistake(
    BEST,
    "You compare x_t with the data themselves. In x_t a datum has shrunk to (1 − t) x_i: take the "
    "distance to that.",
)
def compared_with_x_itself(x_t, t, data):
    far = squares(x_t, t, data, torch.ones_like(t))
    return answer(x_t, t, data, (-far / (2 * width(t) ** 2)).softmax(1))


@mistake(
    BEST,
    "All data count the same. x_t makes those more likely that are near it: weigh them by "
    "p(x_i | x_t).",
)
def unweighted(x_t, t, data):
    p = torch.full((len(x_t), len(data)), 1 / len(data), dtype=x_t.dtype)
    return answer(x_t, t, data, p)


@mistake(
    BEST,
    "You answer with the nearest datum alone. Others are possible too: the best answer to a "
    "squared error is the mean over all, weighed by p(x_i | x_t).",
)
def nearest_alone(x_t, t, data):
    nearest = squares(x_t, t, data).argmin(1)
    p = torch.nn.functional.one_hot(nearest, len(data)).to(x_t.dtype)
    return torch.where(
        t.reshape(-1, *[1] * (x_t.dim() - 1)) < 1,
        answer(x_t, t, data, p),
        answer(x_t, t, data, weights(x_t, t, data)),
    )


@mistake(
    BEST,
    "Your answer is E[x − z | x_t]: it points from noise to data. Here v = z − x.",
)
def toward_the_data(x_t, t, data):
    return -optimal_velocity(x_t, t, data)


@mistake(
    BEST,
    "This is E[x | x_t], what a net that predicts x would answer. The velocity is "
    "E[z | x_t] − E[x | x_t].",
)
def clean_picture(x_t, t, data):
    return (weights(x_t, t, data) @ data.flatten(1)).reshape(x_t.shape)


@mistake(
    BEST,
    "You take the mean of the squares over the dimensions. ‖…‖² is their sum: every pixel tells "
    "of x, and together they tell more.",
)
def mean_over_dimensions(x_t, t, data):
    far = squares(x_t, t, data) / data[0].numel()
    return answer(x_t, t, data, (-far / (2 * width(t) ** 2)).softmax(1))


@mistake(
    BEST,
    "Your softmax runs over the batch. For each x_t the weights of all the data sum to 1: "
    "dimension 1 of (batch, examples).",
)
def softmax_over_the_batch(x_t, t, data):
    return answer(x_t, t, data, (-squares(x_t, t, data) / (2 * width(t) ** 2)).softmax(0))


@mistake(
    BEST,
    "For small t or many pixels yours is NaN: exp(−‖…‖² / 2t²) leaves the range of floats for "
    "every datum, and is divided by the sum. softmax takes off the largest exponent first.",
    sure=True,
)
def exponentials_that_vanish(x_t, t, data):
    w = torch.exp(-squares(x_t, t, data) / (2 * width(t) ** 2))
    return answer(x_t, t, data, w / w.sum(1, keepdim=True))


@mistake(BEST, "The level of the first example is used for all.")
def one_level_for_all(x_t, t, data):
    return optimal_velocity(x_t, t[:1].expand(len(t)), data)


@mistake(BEST, "Right while no number is large beside its square's rounding.", public=False)
def expanded_in_single_precision(x_t, t, data):
    rows, members = x_t.flatten(1).float(), data.flatten(1).float()
    share = (1 - t.float())[:, None]
    far = rows.square().sum(1, keepdim=True) - 2 * share * (rows @ members.T)
    far = far + share**2 * members.square().sum(1)
    p = (-far.clamp_min(0) / (2 * width(t).float() ** 2)).softmax(1)
    return answer(x_t, t, data, p.to(x_t.dtype))


@mistake(
    BEST,
    "The same datum twice is counted once. All of the data are equally likely, so one that comes "
    "three times is three times as likely.",
)
def each_datum_once(x_t, t, data):
    return optimal_velocity(x_t, t, data.unique(dim=0))


@mistake(
    BEST,
    "Your t is kept above 0.001. z is found by a division by t itself: use t as it came, and treat "
    "only t = 0 apart.",
)
def never_below_a_thousandth(x_t, t, data):
    v = answer(x_t, t.clamp_min(1e-3), data, weights(x_t, t.clamp_min(1e-3), data))
    return torch.where(column(t, x_t) > 0, v, -x_t)


@mistake(BEST, "In single precision, whatever x_t has.", public=False)
def in_single_precision(x_t, t, data):
    return optimal_velocity(x_t.float(), t.float(), data.float()).to(x_t.dtype)


@mistake(BEST, "Levels near 0 are moved.", public=False)
def level_clamped(x_t, t, data):
    return optimal_velocity(x_t, torch.where(t > 0, t.clamp_min(0.04), t), data)


# --- schedules.loss_floor -----------------------------------------------------------------------


def levels_of(x, z, levels, data):
    """For each level: t, x_t, v and E[v | x_t]."""
    for t in levels:
        x_t = x + t * (z - x)
        yield t, x_t, z - x, optimal_velocity(x_t, t.expand(len(x)), data)


@mistake(
    FLOOR, "You sum over the dimensions. The course counts losses per dimension: take the mean."
)
def summed_over_dimensions(x, z, levels, data):
    errors = [
        (v - best).square().flatten(1).sum(1) for _, _, v, best in levels_of(x, z, levels, data)
    ]
    return torch.stack([e.mean() for e in errors])


@mistake(FLOOR, "You sum over the pairs. The floor is a mean: more pairs must not raise it.")
def summed_over_pairs(x, z, levels, data):
    errors = [(v - best).square() for _, _, v, best in levels_of(x, z, levels, data)]
    return torch.stack([e.flatten(1).mean(1).sum() for e in errors])


@mistake(
    FLOOR,
    "You take the mean over all levels. How much is left depends on the level, and this is what "
    "the chapter is about: one number for each.",
)
def one_number_for_all_levels(x, z, levels, data):
    errors = [(v - best).square().mean() for _, _, v, best in levels_of(x, z, levels, data)]
    return torch.stack(errors).mean()


@mistake(
    FLOOR,
    "This is the variance of v itself, as if the net never saw x_t. Subtract E[v | x_t], which is "
    "another for every pair.",
)
def blind(x, z, levels, data):
    left = (z - x - (z - x).mean(0)).square().mean()
    return left.expand(len(levels)).clone()


@mistake(
    FLOOR,
    "This is what is missed of x. v = z − x is missed by 1/t times as much, so its square by 1/t²: "
    "z comes from x_t and x, and is wrong when x is.",
)
def missed_of_x(x, z, levels, data):
    errors = [
        (x - (x_t - t * best)).square().mean() for t, x_t, _, best in levels_of(x, z, levels, data)
    ]
    return torch.stack(errors)


@mistake(
    FLOOR,
    "This is what is missed of z, the loss of a net that predicts noise. The target is v = z − x.",
)
def missed_of_z(x, z, levels, data):
    errors = [
        (z - (x_t + (1 - t) * best)).square().mean()
        for t, x_t, _, best in levels_of(x, z, levels, data)
    ]
    return torch.stack(errors)


@mistake(
    FLOOR,
    "You compare with x − z. The velocity is v = z − x, and E[v | x_t] follows it.",
)
def target_reversed(x, z, levels, data):
    errors = [(v + best).square().mean() for _, _, v, best in levels_of(x, z, levels, data)]
    return torch.stack(errors)


@mistake(
    FLOOR,
    "Your x_t is t x + (1 − t) z. Data are at t = 0 and noise at t = 1: x_t = (1 − t) x + t z.",
)
def data_at_t_1(x, z, levels, data):
    errors = []
    for t in levels:
        best = optimal_velocity(t * x + (1 - t) * z, t.expand(len(x)), data)
        errors.append((z - x - best).square().mean())
    return torch.stack(errors)


@mistake(
    FLOOR,
    "You take the root. The floor stands beside the loss, which is a mean square.",
)
def root_mean_square(x, z, levels, data):
    errors = [(v - best).square().mean() for _, _, v, best in levels_of(x, z, levels, data)]
    return torch.stack(errors).sqrt()


@mistake(
    FLOOR,
    "The levels are taken for those of the pairs, one each. Every level is for all pairs: take one "
    "after the other.",
)
def a_level_a_pair(x, z, levels, data):
    t = levels if len(levels) == len(x) else levels[:1].expand(len(x))
    best = optimal_velocity(x + column(t, x) * (z - x), t, data)
    return (z - x - best).square().flatten(1).mean(1)


@mistake(FLOOR, "Each level once, and not too near 0.", public=False)
def levels_without_repeats(x, z, levels, data):
    kept = list(dict.fromkeys(levels.clamp_min(1e-2).tolist()))
    return torch.stack(
        [
            (v - best).square().mean()
            for _, _, v, best in levels_of(x, z, torch.tensor(kept).to(x.dtype), data)
        ]
    )


@mistake(FLOOR, "In single precision.", public=False)
def floor_in_single_precision(x, z, levels, data):
    errors = levels_of(x.float(), z.float(), levels.float(), data.float())
    return torch.stack([(v - best).square().mean() for _, _, v, best in errors])


@mistake(FLOOR, "The levels come back sorted.", public=False)
def in_rising_order(x, z, levels, data):
    errors = [
        (v - best).square().mean() for _, _, v, best in levels_of(x, z, levels.sort()[0], data)
    ]
    return torch.stack(errors)


@mistake(FLOOR, "The pairs are taken for all the data there are.", public=False)
def pairs_for_the_data(x, z, levels, data):
    errors = [(v - best).square().mean() for _, _, v, best in levels_of(x, z, levels, x)]
    return torch.stack(errors)


# --- schedules.logit_normal ---------------------------------------------------------------------


@mistake(
    DRAW,
    "These are Gaussian numbers, cut off at 0 and 1. A logit-normal level is the sigmoid of one.",
)
def without_sigmoid(n, m=0.0, s=1.0, generator=None):
    return (m + s * torch.randn(n, generator=generator)).clamp(1e-6, 1 - 1e-6)


@mistake(DRAW, "You take s for a variance. It is a standard deviation: m + s ε.")
def s_for_a_variance(n, m=0.0, s=1.0, generator=None):
    return torch.sigmoid(m + math.sqrt(s) * torch.randn(n, generator=generator))


@mistake(DRAW, "Your ε has deviation s²: multiply by s once.")
def s_squared(n, m=0.0, s=1.0, generator=None):
    return torch.sigmoid(m + s * s * torch.randn(n, generator=generator))


@mistake(DRAW, "Your ε is uniform (torch.rand). The logit is Gaussian: torch.randn.")
def uniform_inside(n, m=0.0, s=1.0, generator=None):
    return torch.sigmoid(m + s * torch.rand(n, generator=generator))


@mistake(
    DRAW,
    "You take the sigmoid first and stretch it then, so that levels leave [0, 1]. Inside the "
    "sigmoid belongs m + s ε.",
)
def stretched_outside(n, m=0.0, s=1.0, generator=None):
    return m + s * torch.sigmoid(torch.randn(n, generator=generator))


@mistake(
    DRAW,
    "Your levels are 1 − t: m above 0 gives levels near the data. In this course t = 1 is noise.",
)
def the_other_direction(n, m=0.0, s=1.0, generator=None):
    return 1 - torch.sigmoid(m + s * torch.randn(n, generator=generator))


@mistake(DRAW, "You multiply m by s too: it is m + s ε, not s (m + ε).")
def m_scaled_by_s(n, m=0.0, s=1.0, generator=None):
    return torch.sigmoid(s * (m + torch.randn(n, generator=generator)))


@mistake(DRAW, "m and s are left out: this is the logit-normal of m = 0, s = 1 alone.")
def m_and_s_left_out(n, m=0.0, s=1.0, generator=None):
    return torch.sigmoid(torch.randn(n, generator=generator))


@mistake(
    DRAW,
    "This is Φ of a Gaussian instead of its sigmoid: for m = 0, s = 1 that is uniform.",
)
def normal_distribution_function(n, m=0.0, s=1.0, generator=None):
    return torch.special.ndtr(m + s * torch.randn(n, generator=generator))


@mistake(DRAW, "All levels of a batch are the same: draw n of them.")
def one_for_all(n, m=0.0, s=1.0, generator=None):
    return torch.sigmoid(m + s * torch.randn(1, generator=generator)).expand(n).clone()


@mistake(
    DRAW,
    "Your levels are quantiles in random order. Their distribution is right, but they are not "
    "independent: n draws are not spread evenly. Use torch.randn.",
)
def shuffled_quantiles(n, m=0.0, s=1.0, generator=None):
    u = (torch.randperm(n, generator=generator) + 0.5) / n
    return torch.sigmoid(m + s * torch.special.ndtri(u))


@mistake(
    DRAW,
    "Your levels are kept away from 0 and 1. Those of a logit-normal can be as near as they like.",
)
def kept_off_the_ends(n, m=0.0, s=1.0, generator=None):
    return torch.sigmoid(m + s * torch.randn(n, generator=generator)).clamp(1e-4, 1 - 1e-4)


@mistake(DRAW, "A truncated Gaussian.", public=False)
def truncated(n, m=0.0, s=1.0, generator=None):
    return torch.sigmoid(m + s * torch.randn(n, generator=generator).clamp(-3.2, 3.2))


@mistake(DRAW, "Without a generator always the same.", public=False)
def always_the_same(n, m=0.0, s=1.0, generator=None):
    own = torch.Generator().manual_seed(0) if generator is None else generator
    return torch.sigmoid(m + s * torch.randn(n, generator=own))


@mistake(
    DRAW,
    "Your ε does not come from `generator`, so a seed does not repeat it: pass it on to "
    "torch.randn.",
)
def generator_ignored(n, m=0.0, s=1.0, generator=None):
    return torch.sigmoid(m + s * torch.randn(n))


@mistake(DRAW, "Each level comes with its mirror image.", public=False)
def antithetic(n, m=0.0, s=1.0, generator=None):
    half = torch.randn((n + 1) // 2, generator=generator)
    return torch.sigmoid(m + s * torch.cat([half, -half])[:n])


@mistake(DRAW, "By default it is another distribution.", public=False)
def narrower_by_default(n, m=0.0, s=0.9, generator=None):
    return torch.sigmoid(m + s * torch.randn(n, generator=generator))


# --- schedules.logit_normal_density -------------------------------------------------------------


def inner(t):
    """t, with ½ in place of both ends, and where they are not."""
    inside = (t > 0) & (t < 1)
    return torch.where(inside, t, 0.5), inside


def gaussian(u, m, s):
    return torch.exp(-((u - m) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi))


@mistake(
    DENSITY,
    "1 / (t (1 − t)) is missing: this is the density of the logit at logit t, the height of a "
    "Gaussian. Where the logit moves fast, levels are spread thin.",
)
def without_jacobian(t, m=0.0, s=1.0):
    u, inside = inner(t)
    return torch.where(inside, gaussian(torch.logit(u), m, s), 0.0)


@mistake(
    DENSITY,
    "You multiply by t (1 − t), the slope of the sigmoid. A density is divided by it: "
    "p(t) dt = φ(u) du, and du/dt = 1 / (t (1 − t)).",
)
def jacobian_upside_down(t, m=0.0, s=1.0):
    u, inside = inner(t)
    return torch.where(inside, gaussian(torch.logit(u), m, s) * u * (1 - u), 0.0)


@mistake(
    DENSITY,
    "This is the Gaussian of t itself. Its argument is the logit, log (t / (1 − t)).",
)
def gaussian_of_t(t, m=0.0, s=1.0):
    u, inside = inner(t)
    return torch.where(inside, gaussian(u, m, s), 0.0)


@mistake(DENSITY, "You take s for a variance: s² belongs into the exponent, and s before it.")
def s_is_a_variance(t, m=0.0, s=1.0):
    u, inside = inner(t)
    return torch.where(inside, gaussian(torch.logit(u), m, math.sqrt(s)) / (u * (1 - u)), 0.0)


@mistake(DENSITY, "1/s is missing before the exponential: without it the integral is s.")
def without_one_over_s(t, m=0.0, s=1.0):
    u, inside = inner(t)
    return torch.where(inside, s * gaussian(torch.logit(u), m, s) / (u * (1 - u)), 0.0)


@mistake(DENSITY, "1 / √(2π) is missing: without it the integral is 2.5.")
def without_root_of_two_pi(t, m=0.0, s=1.0):
    u, inside = inner(t)
    p = math.sqrt(2 * math.pi) * gaussian(torch.logit(u), m, s)
    return torch.where(inside, p / (u * (1 - u)), 0.0)


@mistake(DENSITY, "This is log p(t). Take its exponential.")
def log_density(t, m=0.0, s=1.0):
    u, inside = inner(t)
    p = gaussian(torch.logit(u), m, s) / (u * (1 - u))
    return torch.where(inside, p.log(), 0.0)


@mistake(
    DENSITY,
    "At t = 0 and t = 1 yours is NaN: the logit is infinite there and 1 / (t (1 − t)) too, and "
    "0 · ∞ is no number. The limit is 0.",
    sure=True,
)
def not_a_number_at_the_ends(t, m=0.0, s=1.0):
    return gaussian(torch.logit(t), m, s) / (t * (1 - t))


@mistake(DENSITY, "Your logit is log ((1 − t) / t): m has the wrong sign.")
def logit_reversed(t, m=0.0, s=1.0):
    u, inside = inner(t)
    return torch.where(inside, gaussian(-torch.logit(u), m, s) / (u * (1 - u)), 0.0)


@mistake(
    DENSITY,
    "Your t is kept off 0 and 1 by a small number. For large s the density there is large: answer "
    "0 at both ends only, and leave the levels beside them as they are.",
)
def kept_off_both_ends(t, m=0.0, s=1.0):
    u = t.clamp(1e-6, 1 - 1e-6)
    return gaussian(torch.logit(u), m, s) / (u * (1 - u))


@mistake(DENSITY, "In single precision, and for a list of levels only.", public=False)
def density_in_single_precision(t, m=0.0, s=1.0):
    u, inside = inner(t.float())
    p = torch.where(inside, gaussian(torch.logit(u), m, s) / (u * (1 - u)), 0.0)
    return p.to(t.dtype).reshape(max(1, len(t.shape)) * (1,) if t.dim() == 0 else t.shape)


@mistake(DENSITY, "Levels near both ends are moved.", public=False)
def cut_at_the_ends(t, m=0.0, s=1.0):
    u, inside = inner(t)
    u = u.clamp(1e-2, 1 - 1e-2)
    return torch.where(inside, gaussian(torch.logit(u), m, s) / (u * (1 - u)), 0.0)


@mistake(DENSITY, "By default it is another distribution.", public=False)
def wider_by_default(t, m=0.0, s=1.2):
    u, inside = inner(t)
    return torch.where(inside, gaussian(torch.logit(u), m, s) / (u * (1 - u)), 0.0)


# --- schedules.shift ----------------------------------------------------------------------------


def once(t, alpha):
    return alpha * t / (1 + (alpha - 1) * t)


@mistake(
    SHIFT,
    "The shift is applied twice, so that noise against data is α² times as much. (This happens "
    "when both the levels and the sampler are shifted.)",
)
def twice(t, alpha):
    return once(once(t, alpha), alpha)


@mistake(
    SHIFT,
    "You shift toward the data, by 1/α. α above 1 is toward more noise: check that t' > t.",
)
def toward_data(t, alpha):
    return once(t, 1 / alpha)


@mistake(SHIFT, "This is α t, cut off at 1: many levels become the same. Divide by 1 + (α − 1) t.")
def multiplied(t, alpha):
    return (alpha * t).clamp(max=1.0)


@mistake(
    SHIFT,
    "Your t' is t itself: nothing is shifted. (In α t / (1 + (α − 1)) all α cancel: the "
    "denominator is 1 + (α − 1) t.)",
    sure=True,
)
def denominator_without_t(t, alpha):
    return alpha * t / (1 + (alpha - 1))


@mistake(
    SHIFT,
    "Your denominator is 1 + α t, so that 1 moves to α / (1 + α). It is 1 + (α − 1) t.",
)
def denominator_with_alpha(t, alpha):
    return alpha * t / (1 + alpha * t)


@mistake(
    SHIFT,
    "You take another root, √α. The root of the pixels is in α already (resolution_alpha).",
)
def another_root(t, alpha):
    return once(t, math.sqrt(alpha))


@mistake(
    SHIFT,
    "You take α for its logarithm (FLUX's μ): e^α in place of α.",
)
def exponential(t, alpha):
    return once(t, math.exp(alpha))


@mistake(SHIFT, "You divide by α: that leads toward the data, and 1 does not stay where it is.")
def divided(t, alpha):
    return t / alpha


@mistake(SHIFT, "The power t^(1/α) keeps both ends, but it is no multiple of noise against data.")
def power(t, alpha):
    return t ** (1 / alpha)


@mistake(
    SHIFT,
    "Your α stays within 0.01 and 100. It is a factor like any other, however large or small.",
)
def alpha_kept_in_bounds(t, alpha):
    return once(t, min(max(alpha, 0.01), 100.0))


@mistake(SHIFT, "In single precision, as a list.", public=False)
def shifted_in_single_precision(t, alpha):
    return once(t.float(), alpha).to(t.dtype).reshape(t.shape if t.dim() else (1,))


@mistake(SHIFT, "Only right up to a large α.", public=False)
def limited(t, alpha):
    return once(t, min(alpha, 1.4)) if alpha > 3.2 else once(t, alpha)


# --- schedules.resolution_alpha -----------------------------------------------------------------


@mistake(
    ALPHA,
    "This is m / n. The noise of a mean of m/n pixels falls with the root of their number.",
)
def without_root(m, n):
    return m / n


@mistake(
    ALPHA,
    "This is √(n / m): it shifts larger images toward less noise. They need more: m stands above.",
)
def upside_down(m, n):
    return math.sqrt(n / m)


@mistake(ALPHA, "This is n / m: upside down, and without the root.")
def upside_down_without_root(m, n):
    return n / m


@mistake(
    ALPHA,
    "This is the fourth root of m / n, right if m and n were squares of the numbers of pixels.",
)
def fourth_root(m, n):
    return (m / n) ** 0.25


@mistake(ALPHA, "You take the root of m only: √m / n.")
def root_of_m_only(m, n):
    return math.sqrt(m) / n


@mistake(ALPHA, "You divide whole numbers (//): the fraction is lost before the root.")
def whole_division(m, n):
    return math.sqrt(m // n)


@mistake(ALPHA, "This is log α (FLUX's μ). Take its exponential.")
def logarithm(m, n):
    return 0.5 * math.log(m / n)


@mistake(ALPHA, "Only right for sizes whose ratio is simple.", public=False)
def rounded(m, n):
    return round(2 * math.sqrt(m / n)) / 2


# --- first attempts -----------------------------------------------------------------------------


shifts = several(
    SHIFT,
    (
        "multiplied_alone",
        "This is α t, which leaves [0, 1]. Divide by 1 + (α − 1) t.",
        lambda t, alpha: alpha * t,
    ),
    (
        "of_one_minus_t",
        "You shift 1 − t. The level itself is shifted: 0 and 1 stay where they are.",
        lambda t, alpha: once(1 - t, alpha),
    ),
    (
        "without_alpha_above",
        "α is missing above the line: it is α t / (1 + (α − 1) t).",
        lambda t, alpha: t / (1 + (alpha - 1) * t),
    ),
    (
        "minus_below",
        "The sign below the line is wrong: it is 1 + (α − 1) t.",
        lambda t, alpha: alpha * t / (1 - (alpha - 1) * t),
    ),
    (
        "alpha_plus_1_below",
        "Below the line stands α + 1. It is 1 + (α − 1) t, so that 1 stays 1.",
        lambda t, alpha: alpha * t / (1 + (alpha + 1) * t),
    ),
    (
        "power_of_alpha",
        "The power t^α keeps both ends, but it is no multiple of noise against data.",
        lambda t, alpha: t**alpha,
    ),
    (
        "odds_alone",
        "This is α t / (1 − t), the ratio of noise to data after the shift. The level is that "
        "ratio r / (1 + r).",
        lambda t, alpha: alpha * t / (1 - t),
    ),
    (
        "brackets_missing",
        "The brackets below the line are missing: / (1 + (α − 1) t).",
        lambda t, alpha: alpha * t / 1 + (alpha - 1) * t,
    ),
)


alphas = several(
    ALPHA,
    (
        "root_of_m",
        "This is √m: the pixels n of the images for which levels were chosen are missing.",
        lambda m, n: math.sqrt(m),
    ),
    (
        "logarithm_of_the_ratio",
        "This is log (m / n). Take the root of m / n.",
        lambda m, n: math.log(m / n),
    ),
    ("squared", "You take the square of m / n. It is the root.", lambda m, n: (m / n) ** 2),
    (
        "difference_of_roots",
        "You subtract the roots. α is their ratio.",
        lambda m, n: math.sqrt(m) - math.sqrt(n),
    ),
    ("halved", "You halve m / n. Take its root.", lambda m, n: m / n / 2),
    (
        "product",
        "You multiply m and n. It is the root of their ratio.",
        lambda m, n: math.sqrt(m * n),
    ),
)


draws = several(
    DRAW,
    (
        "log_normal",
        "This is a log-normal: it leaves [0, 1]. Take the sigmoid of m + s ε, not its exponential.",
        lambda n, m=0.0, s=1.0, generator=None: torch.exp(
            m + s * torch.randn(n, generator=generator)
        ),
    ),
    (
        "gaussian",
        "The sigmoid is missing: these are Gaussian numbers, which leave [0, 1].",
        lambda n, m=0.0, s=1.0, generator=None: m + s * torch.randn(n, generator=generator),
    ),
    (
        "m_and_s_exchanged",
        "m and s are exchanged: it is m + s ε.",
        lambda n, m=0.0, s=1.0, generator=None: torch.sigmoid(
            s + m * torch.randn(n, generator=generator)
        ),
    ),
    (
        "standardised",
        "(ε − m) / s takes m and s away from a Gaussian that has neither. It is m + s ε.",
        lambda n, m=0.0, s=1.0, generator=None: torch.sigmoid(
            (torch.randn(n, generator=generator) - m) / s
        ),
    ),
    (
        "m_left_out",
        "m is left out: it is m + s ε.",
        lambda n, m=0.0, s=1.0, generator=None: torch.sigmoid(
            s * torch.randn(n, generator=generator)
        ),
    ),
    (
        "s_left_out",
        "s is left out: it is m + s ε.",
        lambda n, m=0.0, s=1.0, generator=None: torch.sigmoid(
            m + torch.randn(n, generator=generator)
        ),
    ),
    (
        "softmax",
        "softmax makes the levels of a batch add up to 1. Each has its own sigmoid.",
        lambda n, m=0.0, s=1.0, generator=None: torch.softmax(
            m + s * torch.randn(n, generator=generator), 0
        ),
    ),
    (
        "of_no_generator",
        "Your ε does not come from `generator`, so a seed does not repeat it: pass it on to "
        "torch.randn.",
        lambda n, m=0.0, s=1.0, generator=None: torch.sigmoid(m + s * torch.randn(n)),
    ),
)


def with_jacobian(t, exponent, constant, jacobian=lambda u: 1 / (u * (1 - u))):
    """exp(exponent) over a constant, times a jacobian, inside; 0 at both ends."""
    u, inside = inner(t)
    return torch.where(inside, exponent(u).exp() / constant * jacobian(u), 0.0)


def exponent_of(logit, m, s):
    return -((logit - m) ** 2) / (2 * s**2)


R = math.sqrt(2 * math.pi)


densities = several(
    DENSITY,
    (
        "half_of_the_jacobian",
        "1 / t is half of what is missing: the slope of the logit is 1 / (t (1 − t)).",
        lambda t, m=0.0, s=1.0: with_jacobian(
            t, lambda u: exponent_of(u.logit(), m, s), s * R, lambda u: 1 / u
        ),
    ),
    (
        "exponent_not_halved",
        "The ½ in the exponent is missing: −(logit t − m)² / 2s².",
        lambda t, m=0.0, s=1.0: with_jacobian(t, lambda u: 2 * exponent_of(u.logit(), m, s), s * R),
    ),
    (
        "two_pi_without_root",
        "2π stands without its root: the constant is 1 / (s √(2π)).",
        lambda t, m=0.0, s=1.0: with_jacobian(
            t, lambda u: exponent_of(u.logit(), m, s), s * 2 * math.pi
        ),
    ),
    (
        "s_not_squared",
        "s is not squared in the exponent: −(logit t − m)² / 2s².",
        lambda t, m=0.0, s=1.0: with_jacobian(
            t, lambda u: -((u.logit() - m) ** 2) / (2 * s), s * R
        ),
    ),
    (
        "log_for_logit",
        "You take log t for the logit, log (t / (1 − t)).",
        lambda t, m=0.0, s=1.0: with_jacobian(t, lambda u: exponent_of(u.log(), m, s), s * R),
    ),
    (
        "log_normal_density",
        "This is the density of a log-normal. Here the logit of t is Gaussian, not its logarithm.",
        lambda t, m=0.0, s=1.0: with_jacobian(
            t, lambda u: exponent_of(u.log(), m, s), s * R, lambda u: 1 / u
        ),
    ),
    (
        "without_constant",
        "The constant 1 / (s √(2π)) is missing.",
        lambda t, m=0.0, s=1.0: with_jacobian(t, lambda u: exponent_of(u.logit(), m, s), 1.0),
    ),
    (
        "exponent_turned",
        "The exponent has the wrong sign: a Gaussian falls with the distance from m.",
        lambda t, m=0.0, s=1.0: with_jacobian(t, lambda u: -exponent_of(u.logit(), m, s), s * R),
    ),
    (
        "s_outside_the_root",
        "s² stands before the exponential. It is s: 1 / (s √(2π)).",
        lambda t, m=0.0, s=1.0: with_jacobian(t, lambda u: exponent_of(u.logit(), m, s), s**2 * R),
    ),
)


def floors(x, z, levels, data, left):
    """What `left` makes of v and E[v | x_t], level by level."""
    return torch.stack([left(v, best, x) for _, _, v, best in levels_of(x, z, levels, data)])


floors_of_all_kinds = several(
    FLOOR,
    (
        "summed_over_everything",
        "You sum over pairs and dimensions. The floor is a mean over both.",
        lambda x, z, levels, data: floors(
            x, z, levels, data, lambda v, best, x: (v - best).square().sum()
        ),
    ),
    (
        "half_of_the_floor",
        "Half of the floor: there is no ½ before the mean square.",
        lambda x, z, levels, data: floors(
            x, z, levels, data, lambda v, best, x: (v - best).square().mean() / 2
        ),
    ),
    (
        "absolute",
        "You take the mean absolute error. The floor is a mean square.",
        lambda x, z, levels, data: floors(
            x, z, levels, data, lambda v, best, x: (v - best).abs().mean()
        ),
    ),
    (
        "compared_with_the_data",
        "You compare E[v | x_t] with x. It is a velocity: compare it with v = z − x.",
        lambda x, z, levels, data: floors(
            x, z, levels, data, lambda v, best, x: (x - best).square().mean()
        ),
    ),
    (
        "square_of_the_prediction",
        "This is the mean square of E[v | x_t] itself. Subtract it from v first.",
        lambda x, z, levels, data: floors(
            x, z, levels, data, lambda v, best, x: best.square().mean()
        ),
    ),
    (
        "variances_subtracted",
        "You subtract mean squares. The floor is the mean square of the difference v − E[v | x_t].",
        lambda x, z, levels, data: floors(
            x, z, levels, data, lambda v, best, x: v.square().mean() - best.square().mean()
        ),
    ),
    (
        "a_list_of_floors",
        "A list comes back. Make one tensor of it: torch.stack.",
        lambda x, z, levels, data: [
            *floors(x, z, levels, data, lambda v, best, x: (v - best).square().mean())
        ],
    ),
    (
        "a_pair_each",
        "One number for each pair comes back. Take the mean over pairs too.",
        lambda x, z, levels, data: floors(
            x, z, levels, data, lambda v, best, x: (v - best).square().flatten(1).mean(1)
        ),
    ),
)


def answered(x_t, t, data, far=None, p=None, v=None):
    """The answer with other distances, weights, or another velocity of E[x | x_t]."""
    far = squares(x_t, t, data) if far is None else far
    p = (-far / (2 * width(t) ** 2)).softmax(1) if p is None else p
    rows, at = x_t.flatten(1).double(), t.double()[:, None]
    x = p.double() @ data.flatten(1).double()
    z = (rows - (1 - at) * x) / at.masked_fill(at == 0, 1.0)
    found = torch.where(at == 0, -rows, (v or (lambda x, z, rows, at: z - x))(x, z, rows, at))
    return found.reshape(x_t.shape).to(x_t.dtype)


def _nearest(x_t, t, data):
    far = squares(x_t, t, data)
    return torch.nn.functional.one_hot(far.argmin(1), far.shape[1]).double()


answers = several(
    BEST,
    (
        "farthest_first",
        "The sign in the softmax is wrong: data that are near x_t are the likelier ones.",
        lambda x_t, t, data: answered(x_t, t, data, far=-squares(x_t, t, data)),
    ),
    (
        "not_normalised",
        "Your weights do not add up to 1: divide by their sum, as softmax does.",
        lambda x_t, t, data: answered(
            x_t, t, data, p=(-squares(x_t, t, data) / (2 * width(t) ** 2)).exp()
        ),
    ),
    (
        "nearest_alone",
        "Only the nearest datum counts. The best prediction is a mean of all, weighed by p(x_i | "
        "x_t).",
        lambda x_t, t, data: answered(x_t, t, data, p=_nearest(x_t, t, data)),
    ),
    (
        "expected_data",
        "This is E[x | x_t]. The velocity is E[z | x_t] − E[x | x_t].",
        lambda x_t, t, data: answered(x_t, t, data, v=lambda x, z, rows, at: x),
    ),
    (
        "expected_noise",
        "This is E[z | x_t]. The velocity is E[z | x_t] − E[x | x_t].",
        lambda x_t, t, data: answered(x_t, t, data, v=lambda x, z, rows, at: z),
    ),
    (
        "noise_not_divided",
        "The noise is not divided by t: E[z | x_t] = (x_t − (1 − t) E[x | x_t]) / t.",
        lambda x_t, t, data: answered(x_t, t, data, v=lambda x, z, rows, at: at * z - x),
    ),
    (
        "x_t_for_the_noise",
        "You take x_t for the noise. It is E[z | x_t] = (x_t − (1 − t) E[x | x_t]) / t.",
        lambda x_t, t, data: answered(x_t, t, data, v=lambda x, z, rows, at: rows - x),
    ),
)

# --- without the lines above the gap ------------------------------------------------------------

NOT_REFUSED = "What the docstring's Raises names is not refused: leave the lines above yours there."

ANY_DATA = several(
    "schedules.optimal_velocity",
    (
        "refuses_nothing",
        NOT_REFUSED,
        lambda x_t, t, data: (
            torch.zeros_like(x_t)
            if t.shape != x_t.shape[:1] or data.shape[1:] != x_t.shape[1:] or not len(data)
            else optimal_velocity(x_t, t, data)
        ),
    ),
    public=False,
    bare=True,
)

ANY_PAIRS = several(
    "schedules.loss_floor",
    (
        "refuses_nothing",
        NOT_REFUSED,
        lambda x, z, levels, data: (
            torch.zeros_like(levels)
            if z.shape != x.shape or levels.dim() != 1
            else loss_floor(x, z, levels, data)
        ),
    ),
    public=False,
    bare=True,
)

ANY_S = several(
    "schedules.logit_normal",
    (
        "refuses_nothing",
        NOT_REFUSED,
        lambda n, m=0.0, s=1.0, generator=None: torch.sigmoid(
            m + s * torch.randn(n, generator=generator)
        ),
    ),
    public=False,
    bare=True,
)

ANY_WIDTH = several(
    "schedules.logit_normal_density",
    (
        "refuses_nothing",
        NOT_REFUSED,
        lambda t, m=0.0, s=1.0: logit_normal_density(t, m, s) if s > 0 else torch.zeros_like(t),
    ),
    public=False,
    bare=True,
)

ANY_SHIFT = several(
    "schedules.shift",
    ("refuses_nothing", NOT_REFUSED, lambda t, alpha: alpha * t / (1 - t + alpha * t)),
    public=False,
    bare=True,
)

ANY_PIXELS = several(
    "schedules.resolution_alpha",
    ("refuses_nothing", NOT_REFUSED, lambda m, n: abs(m / (n or 1)) ** 0.5),
    public=False,
    bare=True,
)
