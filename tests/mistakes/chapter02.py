"""Typical wrong answers to the answer cells of chapter 02, each with the sentence that explains
it."""

import math

import torch

from cs231n_gen.checking.variants import form_of, mistake, several

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


@mistake(
    POINTWISE,
    "Only some digits are right: an ε stands in the logarithms, or numbers are rounded to 32 bits "
    "in between. y lies between 0 and 1, so both logarithms are finite without an ε.",
    sure=True,
)
def epsilon_in_the_logarithms(y, a, b):
    return a * (y + 1e-8).log() + b * (1 - y + 1e-8).log()


@form_of(epsilon_in_the_logarithms)
def in_single_precision(y, a, b):
    return (a.float() * y.float().log() + b.float() * (1 - y.float()).log()).to(y.dtype)


@mistake(POINTWISE, "y is kept away from 0 and 1.", public=False)
def y_clamped(y, a, b):
    y = y.clamp(1e-4, 1 - 1e-4)
    return a * y.log() + b * (1 - y).log()


@mistake(POINTWISE, "Nothing is added where there are no data.", public=False)
def nothing_without_data(y, a, b):
    return torch.where(a == 0, 0.0 * y, a * y.log() + b * (1 - y).log())


@mistake(POINTWISE, "The logarithm of powers that are too small for a float.", public=False)
def logarithm_of_powers(y, a, b):
    return torch.log(y**a * (1 - y) ** b)


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


@mistake(SLOPE, "An ε in the denominators.", public=False)
def epsilon_in_the_denominators(y, a, b):
    return a / (y + 1e-8) - b / (1 - y + 1e-8)


@mistake(SLOPE, "A numerical derivative, of a few digits.", public=False)
def by_differences(y, a, b):
    def V(y):
        return a * y.log() + b * (1 - y).log()

    return (V(y + 1e-6) - V(y - 1e-6)) / 2e-6


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


@mistake(
    MAXIMISER,
    "Your y is wrong where both densities are small: an ε beside them, or a rounding, counts "
    "there. For a, b > 0 the quotient needs no help.",
    sure=True,
)
def epsilon_below(a, b):
    return a / (a + b + 1e-8)


@mistake(MAXIMISER, "Squares of densities, which float32 may not hold.", public=False)
def by_squares(a, b):
    return a * a / (a * a + a * b)


@mistake(MAXIMISER, "y is kept away from 0 and 1.", public=False)
def maximiser_clamped(a, b):
    return (a / (a + b)).clamp(1e-4, 1 - 1e-4)


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


@mistake(CURVATURE, "An ε in the denominators.", public=False)
def epsilon_in_squares(y, a, b):
    return -a / (y**2 + 1e-8) - b / ((1 - y) ** 2 + 1e-8)


@mistake(CURVATURE, "The square of the sum.", public=False)
def mixed_term(y, a, b):
    return -a / y**2 - b / (1 - y) ** 2 - 1e-6 * (a * b).sqrt()


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


@mistake(
    VALUE_OF_BEST,
    "Your value is right to a few digits only, by an ε beside the densities or by 32 bits in "
    "between. Leave out the places where a density is 0 instead, and keep 64 bits.",
    sure=True,
)
def epsilon_beside_densities(p_data, p_g, dx):
    D = (p_data + 1e-9) / (p_data + p_g + 2e-9)
    return ((p_data * D.log() + p_g * (1 - D).log()) * dx).sum()


@mistake(VALUE_OF_BEST, "Places where one of the densities is 0 are left out.", public=False)
def only_where_both_are(p_data, p_g, dx):
    both = (p_data > 0) & (p_g > 0)
    p, q = p_data[both], p_g[both]
    return ((p * (p / (p + q)).log() + q * (q / (p + q)).log()) * dx).sum() - 1e-4 * (~both).sum()


@mistake(
    VALUE_OF_BEST,
    "Your value is right to a few digits only, by an ε beside the densities or by 32 bits in "
    "between. Leave out the places where a density is 0 instead, and keep 64 bits.",
    sure=True,
)
def value_in_single_precision(p_data, p_g, dx):
    D = _share(p_data.float(), p_g.float())
    V = ((_xlog(p_data.float(), D) + _xlog(p_g.float(), 1 - D)) * dx).sum()
    return V.to(p_data.dtype)


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


@mistake(
    BEST_GENERATOR,
    "Your p_G is half of p_data here: it is divided by 2, or by the sum over places. p_data is "
    "a density already: times dx it adds up to 1.",
)
def divided_by_the_sum(p_data):
    return p_data / p_data.sum(), MINIMUM


@mistake(BEST_GENERATOR, "p_G is rounded to 32 bits.", public=False)
def density_in_single_precision(p_data):
    return p_data.float(), MINIMUM


# --- first attempts -----------------------------------------------------------------------------


pointwise = several(
    POINTWISE,
    (
        "minus_between",
        "The terms of data and samples are subtracted. Both are logarithms that D raises: add "
        "them.",
        lambda y, a, b: a * y.log() - b * (1 - y).log(),
    ),
    (
        "weights_inside",
        "Logarithms of products are no weights: a multiplies log y, it does not stand inside.",
        lambda y, a, b: (a * y).log() + (b * (1 - y)).log(),
    ),
    (
        "one_logarithm",
        "The logarithm is taken of the sum. Each of the two terms has its own.",
        lambda y, a, b: (a * y + b * (1 - y)).log(),
    ),
    (
        "one_less_a_logarithm",
        "Samples count with log (1 − y), the logarithm of 1 − y, not with 1 − log y.",
        lambda y, a, b: a * y.log() + b * (1 - y.log()),
    ),
    (
        "in_bits",
        "You count in bits. Nats are asked for: the natural logarithm.",
        lambda y, a, b: a * y.log2() + b * (1 - y).log2(),
    ),
    (
        "data_alone",
        "Only data are counted. Samples add b log (1 − y).",
        lambda y, a, b: a * y.log(),
    ),
    (
        "samples_alone",
        "Only samples are counted. Data add a log y.",
        lambda y, a, b: b * (1 - y).log(),
    ),
)


slopes = several(
    SLOPE,
    (
        "slope_of_log_y_twice",
        "The second term stands for samples, at 1 − y: its derivative is −b/(1 − y).",
        lambda y, a, b: a / y - b / y,
    ),
    (
        "slope_crossed",
        "y and 1 − y are exchanged: a log y has the derivative a/y.",
        lambda y, a, b: a / (1 - y) - b / y,
    ),
    (
        "slope_multiplied",
        "You multiply by y. The derivative of log y is 1/y: divide.",
        lambda y, a, b: a * y - b * (1 - y),
    ),
    (
        "slope_without_densities",
        "The densities are missing: a and b are factors, which stay.",
        lambda y, a, b: 1 / y - 1 / (1 - y),
    ),
    (
        "slope_with_squares",
        "There are squares below. The derivative of log y is 1/y, without one.",
        lambda y, a, b: a / y**2 - b / (1 - y) ** 2,
    ),
    (
        "slope_with_logarithms",
        "The logarithms are still there. The derivative of log y is 1/y.",
        lambda y, a, b: a * y.log() - b * (1 - y).log(),
    ),
    (
        "slope_upside_down",
        "Your fractions are upside down: a log y has the derivative a/y.",
        lambda y, a, b: y / a - (1 - y) / b,
    ),
)


maximisers = several(
    MAXIMISER,
    (
        "difference_below",
        "The sign below is wrong. From a (1 − y) = b y follows a = (a + b) y.",
        lambda a, b: a / (a - b),
    ),
    (
        "odds_of_samples",
        "b/a is the odds of samples. Solve a (1 − y) = b y for y.",
        lambda a, b: b / a,
    ),
    (
        "difference_above",
        "This runs from −1 to 1. It is the share of data, a/(a + b).",
        lambda a, b: (a - b) / (a + b),
    ),
    ("reciprocal", "This is upside down: it is above 1. y = a/(a + b).", lambda a, b: (a + b) / a),
    (
        "roots",
        "Roots do not belong here: a/y = b/(1 − y) has none.",
        lambda a, b: a**0.5 / (a**0.5 + b**0.5),
    ),
    (
        "product_above",
        "a b / (a + b) is no share. From a (1 − y) = b y follows y = a/(a + b).",
        lambda a, b: a * b / (a + b),
    ),
    ("a_number", always_a_half, lambda a, b: 0.5),
)


curvatures = several(
    CURVATURE,
    (
        "densities_exchanged",
        "Data and samples are swapped: a belongs to y, b to 1 − y.",
        lambda y, a, b: -b / y**2 - a / (1 - y) ** 2,
    ),
    (
        "derived_once_more",
        "You derived once too often: this has cubes below.",
        lambda y, a, b: -2 * a / y**3 - 2 * b / (1 - y) ** 3,
    ),
    (
        "third_derivative",
        "You derived once too often: this has cubes below.",
        lambda y, a, b: 2 * a / y**3 - 2 * b / (1 - y) ** 3,
    ),
    (
        "slope_squared",
        "This is the square of the slope. Derive the slope once more.",
        lambda y, a, b: (a / y - b / (1 - y)) ** 2,
    ),
    (
        "curvature_without_densities",
        "The densities are missing: a and b are factors, which stay.",
        lambda y, a, b: -1 / y**2 - 1 / (1 - y) ** 2,
    ),
)


def _best(p_data, p_g):
    """What each place adds to the value of D*."""
    D = _share(p_data, p_g)
    return _xlog(p_data, D) + _xlog(p_g, 1 - D)


def _best_exchanged(p_data, p_g, dx):
    D = _share(p_data, p_g)
    return ((_xlog(p_data, 1 - D) + _xlog(p_g, D)) * dx).sum()


values = several(
    VALUE_OF_BEST,
    (
        "half_of_it",
        "Half of the value: there is no ½ before V.",
        lambda p_data, p_g, dx: (_best(p_data, p_g) * dx).sum() / 2,
    ),
    (
        "mean_of_places",
        "A mean over places is no integral: take the sum, times dx.",
        lambda p_data, p_g, dx: _best(p_data, p_g).mean(),
    ),
    (
        "mean_of_places_times_dx",
        "A mean over places is no integral: take the sum, times dx.",
        lambda p_data, p_g, dx: (_best(p_data, p_g) * dx).mean(),
    ),
    (
        "in_bits_on_a_grid",
        "You count in bits. Nats are asked for: the natural logarithm.",
        lambda p_data, p_g, dx: (_best(p_data, p_g) * dx).sum() / math.log(2),
    ),
    (
        "a_place_each",
        "What each place adds comes back. V is the sum of it, times dx.",
        lambda p_data, p_g, dx: _best(p_data, p_g),
    ),
    (
        "a_place_each_times_dx",
        "What each place adds comes back. V is the sum of it, times dx.",
        lambda p_data, p_g, dx: _best(p_data, p_g) * dx,
    ),
    (
        "trapezoids",
        "The trapezoidal rule counts the places at both ends half. Here each place is a cell of "
        "length dx.",
        lambda p_data, p_g, dx: torch.trapezoid(_best(p_data, p_g), dx=dx),
    ),
    (
        "divergence_of_both",
        "This is 2 JSD: the value of D* has −log 4 besides, one log ½ for each of the two means.",
        lambda p_data, p_g, dx: ((_best(p_data, p_g) + (p_data + p_g) * math.log(2)) * dx).sum(),
    ),
    (
        "logs_exchanged",
        "Data and samples are swapped: data count with log D*, samples with log (1 − D*).",
        lambda p_data, p_g, dx: _best_exchanged(p_data, p_g, dx),
    ),
    (
        "samples_with_data",
        samples_upwards,
        lambda p_data, p_g, dx: (
            (_xlog(p_data, _share(p_data, p_g)) + _xlog(p_g, _share(p_data, p_g))) * dx
        ).sum(),
    ),
)


generators = several(
    BEST_GENERATOR,
    (
        "half_of_the_density",
        divided_by_the_sum,
        lambda p_data: (p_data / 2, MINIMUM),
    ),
    (
        "twice_log_4",
        "−2 log 4 is too low: even the best D has log ½ of data and log ½ of samples.",
        lambda p_data: (p_data, 2 * MINIMUM),
    ),
    (
        "to_the_base_10",
        "You count to the base 10. Nats are asked for: the natural logarithm.",
        lambda p_data: (p_data, -math.log10(4)),
    ),
    (
        "results_exchanged",
        "The two results come back in the other order: first p_G, then V.",
        lambda p_data: (MINIMUM, p_data),
    ),
    (
        "one_less_the_density",
        turned_round,
        lambda p_data: (1 - p_data, MINIMUM),
    ),
)


@mistake(BEST_GENERATOR, "Only the density comes back. Return both, p_G and V.", sure=True)
def density_alone(p_data):
    return p_data
