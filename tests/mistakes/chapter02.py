"""Typical wrong answers to the answer cells of chapter 02, each with the sentence that explains
it."""

import math

import torch

from cs231n_gen.checking.variants import mistake

POINTWISE, SLOPE = "chapter02.pointwise", "chapter02.slope"
MAXIMISER, CURVATURE = "chapter02.maximiser", "chapter02.curvature"
VALUE_OF_BEST, BEST_GENERATOR = "chapter02.value_of_best", "chapter02.best_generator"


# --- chapter02.pointwise ------------------------------------------------------------------------


@mistake(POINTWISE, "The sign is turned: this is a loss, and the value is what D raises.")
def turned(y, a, b):
    return -(a * y.log() + b * (1 - y).log())


@mistake(
    POINTWISE,
    "Data and samples are swapped: a = p_data counts with log y, b = p_G with log (1 − y).",
)
def swapped(y, a, b):
    return b * y.log() + a * (1 - y).log()


@mistake(POINTWISE, "The densities are missing: log y counts as often as data are at x, a times.")
def no_densities(y, a, b):
    return y.log() + (1 - y).log()


@mistake(POINTWISE, "Samples count with log (1 − y), not with log y: D wants 0 on them.")
def both_upwards(y, a, b):
    return a * y.log() + b * y.log()


@mistake(POINTWISE, "A logarithm is missing: V holds log D, not D.")
def no_logarithm(y, a, b):
    return a * y + b * (1 - y)


# --- chapter02.slope ----------------------------------------------------------------------------


@mistake(
    SLOPE,
    "The derivative of log (1 − y) is −1/(1 − y): the inner derivative −1 is missing.",
)
def no_inner_derivative(y, a, b):
    return a / y + b / (1 - y)


@mistake(SLOPE, "The sign is turned: where y is too small, the slope must lead up.")
def slope_turned(y, a, b):
    return b / (1 - y) - a / y


@mistake(SLOPE, "This is the function itself. The derivative of log y is 1/y.")
def not_derived(y, a, b):
    return a * y.log() + b * (1 - y).log()


@mistake(SLOPE, "You derived 1/y once more: this has squares below. The first derivative is asked.")
def derived_twice(y, a, b):
    return -a / y**2 - b / (1 - y) ** 2


@mistake(SLOPE, "Data and samples are swapped: a belongs to log y.")
def slope_swapped(y, a, b):
    return b / y - a / (1 - y)


# --- chapter02.maximiser ------------------------------------------------------------------------


@mistake(MAXIMISER, "This is the share of samples, b/(a + b): D says how probable *data* are.")
def share_of_samples(a, b):
    return b / (a + b)


@mistake(
    MAXIMISER, "a/b is the odds, which may be more than 1. Solve a (1 − y) = b y for y once more."
)
def odds(a, b):
    return a / b


@mistake(MAXIMISER, "½ is best only where a = b. The best y depends on the place, through a and b.")
def always_a_half(a, b):
    return torch.full_like(a, 0.5)


@mistake(MAXIMISER, "Squares do not belong here: a/y = b/(1 − y) has no squares in it.")
def squares(a, b):
    return a**2 / (a**2 + b**2)


@mistake(MAXIMISER, "A factor of 2 too little: dividing by 2 (a + b) makes y at most ½.")
def half_as_much(a, b):
    return a / (2 * (a + b))


# --- chapter02.curvature ------------------------------------------------------------------------


@mistake(
    CURVATURE,
    "The sign of the second term is wrong: −b/(1 − y) falls faster and faster, its derivative is "
    "−b/(1 − y)².",
)
def second_term_up(y, a, b):
    return -a / y**2 + b / (1 - y) ** 2


@mistake(CURVATURE, "The sign of the first term is wrong: a/y falls, its derivative is −a/y².")
def first_term_up(y, a, b):
    return a / y**2 - b / (1 - y) ** 2


@mistake(CURVATURE, "This is the first derivative; derive it once more.")
def first_derivative(y, a, b):
    return a / y - b / (1 - y)


@mistake(CURVATURE, "The squares are missing: the derivative of 1/y is −1/y².")
def no_squares(y, a, b):
    return -a / y - b / (1 - y)


@mistake(CURVATURE, "Both signs are turned: that would be a minimum.")
def a_minimum(y, a, b):
    return a / y**2 + b / (1 - y) ** 2


# --- chapter02.value_of_best --------------------------------------------------------------------


def _share(p, q):
    return torch.where(p + q > 0, p / (p + q), 0.5)


def _xlog(p, y):
    return torch.special.xlogy(p, y)


@mistake(
    VALUE_OF_BEST,
    "Where a density is 0 yours is NaN, of 0/0 or 0 · log 0. Such a place adds nothing: "
    "`torch.special.xlogy` counts 0 log 0 as 0.",
    sure=True,
)
def nothing_times_infinity(p_data, p_g, dx):
    D = p_data / (p_data + p_g)
    return ((p_data * D.log() + p_g * (1 - D).log()) * dx).sum()


@mistake(VALUE_OF_BEST, "dx is missing: a sum over a grid is an integral once it is times dx.")
def no_dx(p_data, p_g, dx):
    D = _share(p_data, p_g)
    return (_xlog(p_data, D) + _xlog(p_g, 1 - D)).sum()


@mistake(VALUE_OF_BEST, "Only data are counted. Samples add p_G log (1 − D*).")
def only_data(p_data, p_g, dx):
    return (_xlog(p_data, _share(p_data, p_g)) * dx).sum()


@mistake(VALUE_OF_BEST, "Samples count with log (1 − D*), not with log D*.")
def samples_upwards(p_data, p_g, dx):
    D = _share(p_data, p_g)
    terms = torch.where(D > 0, (p_data + p_g) * D.log(), 0.0)
    return (terms * dx).sum()


@mistake(
    VALUE_OF_BEST,
    "The densities are missing: log D* counts as often as data are there, p_data dx times.",
)
def unweighted(p_data, p_g, dx):
    D = _share(p_data, p_g).clamp(1e-6, 1 - 1e-6)
    return ((D.log() + (1 - D).log()) * dx).sum()


@mistake(VALUE_OF_BEST, "The sign is turned: this is the loss of D*. The value is at most 0.")
def loss_of_best(p_data, p_g, dx):
    D = _share(p_data, p_g)
    return -((_xlog(p_data, D) + _xlog(p_g, 1 - D)) * dx).sum()


# --- chapter02.best_generator -------------------------------------------------------------------

MINIMUM = -math.log(4)


@mistake(
    BEST_GENERATOR,
    "A generator that is the same everywhere is best only for data that are. No p_G has less "
    "JSD than p_data itself.",
)
def the_same_everywhere(p_data):
    return torch.full_like(p_data, float(p_data.mean())), MINIMUM


@mistake(BEST_GENERATOR, "log ½ counts twice, once for data and once for samples: −log 4.")
def log_a_half(p_data):
    return p_data, -math.log(2)


@mistake(
    BEST_GENERATOR,
    "The value at the minimum is not 0: even the best D has log ½ of each.",
    sure=True,
)
def nothing(p_data):
    return p_data, 0.0


@mistake(BEST_GENERATOR, "The sign of the value is turned: V is at most 0, here −log 4.")
def plus_log_4(p_data):
    return p_data, math.log(4)


@mistake(
    BEST_GENERATOR,
    "This is the density where D* is least sure of data, not that of the best generator: you "
    "turned p_data round.",
)
def turned_round(p_data):
    return p_data.max() - p_data, MINIMUM
