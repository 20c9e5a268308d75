"""Typical wrong answers to chapter 07's algebra, each with the sentence that explains it."""

import torch

from cs231n_gen.checking.variants import form_of, mistake, several
from cs231n_gen.diffusion import check_alike, check_levels, check_solvable, level_of, to_x_and_noise


def other_noise(x, z, t, process, target):
    check_levels(x, t)
    check_alike(x, z, "z", "x")


def misfit(prediction, x_t, t, process, target):
    check_levels(x_t, t)
    check_alike(x_t, prediction, "prediction", "x_t")


def no_noise(prediction, x_t, t, process, target):
    misfit(prediction, x_t, t, process, target)
    if bool((process.b(t) == 0).any()):
        raise ValueError(f"b(t) must not be 0 for a score, got t = {t.tolist()}")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "diffusion.noise": other_noise,
    "diffusion.to_x_and_noise": misfit,
    "diffusion.score": no_noise,
    "diffusion.ode_velocity": misfit,
}


def column(value, x):
    return value.reshape(-1, *[1] * (x.dim() - 1))


def columns(x, *values):
    return [column(v, x) for v in values]


def parts(process, target, t, x):
    return columns(x, process.a(t), process.b(t), target.c(t), target.d(t))


# --- diffusion.noise ----------------------------------------------------------------------------


@mistake(
    "diffusion.noise",
    "Your a(t), b(t), c(t) and d(t) are multiplied as they came: their (batch,) numbers line up "
    "with the last axis of x, not with the examples. Make them columns first: "
    "column(process.a(t), x).",
    sure=True,
)
def levels_along_the_last_axis(x, z, t, process, target):
    return process.a(t) * x + process.b(t) * z, target.c(t) * x + target.d(t) * z


@mistake(
    "diffusion.noise",
    "[:, None] suits points. For images a(t) needs an axis for each further axis of x, and for "
    "plain numbers none: column(process.a(t), x) does it for any shape.",
    sure=True,
)
def for_points_only(x, z, t, process, target):
    a, b, c, d = (f(t)[:, None] for f in (process.a, process.b, target.c, target.d))
    return a * x + b * z, c * x + d * z


@mistake(
    "diffusion.noise",
    "Your x_t is (1 − t) x + t z, which is rectified flow, whatever process is given. Take a and b "
    "from it: process.a(t), process.b(t).",
)
def always_rectified_flow(x, z, t, process, target):
    *_, c, d = parts(process, target, t, x)
    s = column(t, x)
    return (1 - s) * x + s * z, c * x + d * z


@mistake(
    "diffusion.noise",
    "Your y is z − x, the velocity of rectified flow, whatever target is given. Take c and d from "
    "it: target.c(t), target.d(t).",
)
def always_the_velocity_of_flow(x, z, t, process, target):
    a, b, *_ = parts(process, target, t, x)
    return a * x + b * z, z - x


@mistake(
    "diffusion.noise",
    "Your y is the noise z, as in DDPM, whatever target is given. Take c and d from it: y = c x + "
    "d z.",
)
def always_the_noise(x, z, t, process, target):
    a, b, *_ = parts(process, target, t, x)
    return a * x + b * z, z + 0 * x


@mistake(
    "diffusion.noise",
    "Your y is the velocity a′ x + b′ z of the process, whatever target is given. That is the "
    "target velocity(process); here y = c x + d z.",
)
def always_the_velocity(x, z, t, process, target):
    a, b, *_ = parts(process, target, t, x)
    da, db = columns(x, process.da(t), process.db(t))
    return a * x + b * z, da * x + db * z


@mistake(
    "diffusion.noise",
    "a and b are exchanged in your x_t: a belongs to the data and b to the noise, x_t = a x + b z.",
)
def data_and_noise_exchanged(x, z, t, process, target):
    a, b, c, d = parts(process, target, t, x)
    return b * x + a * z, c * x + d * z


@mistake(
    "diffusion.noise",
    "c and d are exchanged in your y: c belongs to the data and d to the noise, y = c x + d z.",
)
def c_and_d_exchanged(x, z, t, process, target):
    a, b, c, d = parts(process, target, t, x)
    return a * x + b * z, d * x + c * z


@mistake(
    "diffusion.noise",
    "Your y is d z − c x. The sign is in c already: y = c x + d z.",
)
def sign_of_c(x, z, t, process, target):
    a, b, c, d = parts(process, target, t, x)
    return a * x + b * z, d * z - c * x


@mistake(
    "diffusion.noise",
    "You take roots of a and b, as of DDPM's ᾱ and 1 − ᾱ. Here a and b are those roots already: "
    "x_t = a x + b z.",
)
def roots_of_a_and_b(x, z, t, process, target):
    a, b, c, d = parts(process, target, t, x)
    return a.sqrt() * x + b.sqrt() * z, c * x + d * z


@mistake(
    "diffusion.noise",
    "You square a and b. They multiply x and z as they are, x_t = a x + b z; their squares are "
    "variances.",
)
def squares_of_a_and_b(x, z, t, process, target):
    a, b, c, d = parts(process, target, t, x)
    return a**2 * x + b**2 * z, c * x + d * z


@mistake(
    "diffusion.noise",
    "The noise has the weight √(1 − a²) in yours, which holds for variance preserving processes "
    "alone. Take process.b(t).",
)
def always_variance_preserving(x, z, t, process, target):
    a, _, c, d = parts(process, target, t, x)
    return a * x + (1 - a**2).clamp(min=0).sqrt() * z, c * x + d * z


@mistake(
    "diffusion.noise",
    "The noise has the weight 1 − a in yours, which holds for rectified flow alone. Take "
    "process.b(t).",
)
def weights_that_sum_to_1(x, z, t, process, target):
    a, _, c, d = parts(process, target, t, x)
    return a * x + (1 - a) * z, c * x + d * z


@mistake(
    "diffusion.noise",
    "Your y is made of x_t: c x_t + d z. It is made of the data without noise: y = c x + d z.",
)
def target_of_noisy_data(x, z, t, process, target):
    a, b, c, d = parts(process, target, t, x)
    x_t = a * x + b * z
    return x_t, c * x_t + d * z


@mistake(
    "diffusion.noise",
    "The two results are in each other's place: first x_t, then y.",
)
def results_exchanged(x, z, t, process, target):
    a, b, c, d = parts(process, target, t, x)
    return c * x + d * z, a * x + b * z


@mistake(
    "diffusion.noise",
    "Every example gets the level of the first one. t holds one for each: a(t) has as many "
    "numbers.",
)
def one_level_for_all(x, z, t, process, target):
    a, b, c, d = (f(t)[0] for f in (process.a, process.b, target.c, target.d))
    return a * x + b * z, c * x + d * z


@mistake(
    "diffusion.noise",
    "You work in x itself (x *= a), which belongs to the caller, and then y is made of what is "
    "left. Make new tensors.",
    sure=True,
)
def inside_x(x, z, t, process, target):
    a, b, c, d = parts(process, target, t, x)
    x *= a
    x += b * z
    return x, c * x + d * z


@mistake(
    "diffusion.noise",
    "For plain numbers, x of shape (batch,), your result has another shape: a(t) needs no further "
    "axis there. column(process.a(t), x) does it for any shape.",
    sure=True,
)
def for_all_but_numbers(x, z, t, process, target):
    ones = [1] * max(1, x.dim() - 1)
    a, b, c, d = (f(t).reshape(-1, *ones) for f in (process.a, process.b, target.c, target.d))
    return a * x + b * z, c * x + d * z


_OTHER_SUMS = several(
    "diffusion.noise",
    (
        "levels_off_the_ends",
        "Levels are kept away from 0 and 1.",
        lambda x, z, t, p, g: mixed(x, z, t.clamp(1e-4, 1 - 1e-4), p, g),
    ),
    (
        "in_single_precision",
        "Computed in 32 bits.",
        lambda x, z, t, p, g: tuple(
            v.to(x.dtype) for v in mixed(x.float(), z.float(), t.float(), p, g)
        ),
    ),
    (
        "data_detached",
        "No gradient reaches x.",
        lambda x, z, t, p, g: mixed(x.detach(), z, t, p, g),
    ),
    (
        "noise_detached_in_y",
        "No gradient reaches z from y.",
        lambda x, z, t, p, g: (mixed(x, z, t, p, g)[0], mixed(x, z.detach(), t, p, g)[1]),
    ),
    (
        "at_most_100",
        "Large numbers are cut off.",
        lambda x, z, t, p, g: tuple(v.clamp(-100, 100) for v in mixed(x, z, t, p, g)),
    ),
    public=False,
)


def mixed(x, z, t, process, target):
    a, b, c, d = parts(process, target, t, x)
    return a * x + b * z, c * x + d * z


@mistake("diffusion.noise", "Whatever fits is broadcast.", public=False, bare=True)
def all_that_broadcasts(x, z, t, process, target):
    return mixed(x, z, t, process, target)


# --- diffusion.to_x_and_noise -------------------------------------------------------------------


def solved(prediction, x_t, t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    delta = a * d - b * c
    check_solvable(delta, t)
    a, b, c, d, delta = columns(x_t, a, b, c, d, delta)
    return (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta


def of_parts(exercise_answer):
    """An answer that gets a, b, c, d as columns, and Δ, once that is known not to be 0."""

    def answer(prediction, x_t, t, process, target):
        a, b, c, d = parts(process, target, t, x_t)
        delta = a * d - b * c
        check_solvable(delta.reshape(t.shape), t)
        return exercise_answer(prediction, x_t, a, b, c, d, delta)

    return answer


_SOLUTIONS = several(
    "diffusion.to_x_and_noise",
    (
        "delta_with_plus",
        "Your Δ is a d + b c. It is a determinant: Δ = a d − b c.",
        of_parts(
            lambda y, x_t, a, b, c, d, _: (
                (d * x_t - b * y) / (a * d + b * c),
                (a * y - c * x_t) / (a * d + b * c),
            )
        ),
    ),
    (
        "delta_the_other_way_round",
        "Your Δ is b c − a d: both results have the wrong sign. Δ = a d − b c.",
        of_parts(lambda y, x_t, a, b, c, d, D: ((d * x_t - b * y) / -D, (a * y - c * x_t) / -D)),
    ),
    (
        "not_divided_by_delta",
        "You do not divide by Δ = a d − b c. It is 1 for rectified flow and its velocity, not for "
        "every process and target.",
        of_parts(lambda y, x_t, a, b, c, d, _: (d * x_t - b * y, a * y - c * x_t)),
    ),
    (
        "delta_without_a_sign",
        "You divide by |Δ|. Δ = a d − b c is negative for x-prediction and others, and its sign "
        "counts.",
        of_parts(
            lambda y, x_t, a, b, c, d, D: (
                (d * x_t - b * y) / D.abs(),
                (a * y - c * x_t) / D.abs(),
            )
        ),
    ),
    (
        "results_in_the_wrong_order",
        "The two results are in each other's place: first x̂, then ẑ.",
        of_parts(lambda y, x_t, a, b, c, d, D: ((a * y - c * x_t) / D, (d * x_t - b * y) / D)),
    ),
    (
        "sign_in_x",
        "The sign of b y is wrong in your x̂: x̂ = (d x_t − b y) / Δ.",
        of_parts(lambda y, x_t, a, b, c, d, D: ((d * x_t + b * y) / D, (a * y - c * x_t) / D)),
    ),
    (
        "sign_in_z",
        "The sign of c x_t is wrong in your ẑ: ẑ = (a y − c x_t) / Δ.",
        of_parts(lambda y, x_t, a, b, c, d, D: ((d * x_t - b * y) / D, (a * y + c * x_t) / D)),
    ),
    (
        "noise_turned",
        "Your ẑ has the wrong sign: ẑ = (a y − c x_t) / Δ.",
        of_parts(lambda y, x_t, a, b, c, d, D: ((d * x_t - b * y) / D, (c * x_t - a * y) / D)),
    ),
    (
        "always_a_velocity_of_flow",
        "You take every prediction for rectified flow's velocity: x̂ = x_t − t v, ẑ = x_t + (1 − "
        "t) v. a, b, c and d come from process and target.",
        lambda y, x_t, t, p, g: (
            solved(y, x_t, t, p, g) and (x_t - column(t, x_t) * y, x_t + (1 - column(t, x_t)) * y)
        ),
    ),
    (
        "always_noise",
        "You take every prediction for the noise: x̂ = (x_t − b y) / a, ẑ = y. What it is, the "
        "target says.",
        of_parts(lambda y, x_t, a, b, c, d, D: ((x_t - b * y) / a, y.clone())),
    ),
    (
        "always_x",
        "You take every prediction for the data: x̂ = y, ẑ = (x_t − a y) / b. What it is, the "
        "target says.",
        of_parts(lambda y, x_t, a, b, c, d, D: (y.clone(), (x_t - a * y) / b)),
    ),
    (
        "always_v",
        "You take every prediction for v of a variance preserving process: x̂ = a x_t − b y, "
        "ẑ = b x_t + a y. What it is, the target says.",
        of_parts(lambda y, x_t, a, b, c, d, D: (a * x_t - b * y, b * x_t + a * y)),
    ),
)


_NAN = several(
    "diffusion.to_x_and_noise",
    (
        "noise_through_x",
        "Your ẑ is NaN where b = 0, as (x_t − a x̂) / b is, although the equations can be solved "
        "there: ẑ = (a y − c x_t) / Δ.",
        of_parts(
            lambda y, x_t, a, b, c, d, D: (
                (d * x_t - b * y) / D,
                (x_t - a * (d * x_t - b * y) / D) / b,
            )
        ),
    ),
    (
        "x_through_noise",
        "Your x̂ is NaN where a = 0, as (x_t − b ẑ) / a is, although the equations can be solved "
        "there: x̂ = (d x_t − b y) / Δ.",
        of_parts(
            lambda y, x_t, a, b, c, d, D: (
                (x_t - b * (a * y - c * x_t) / D) / a,
                (a * y - c * x_t) / D,
            )
        ),
    ),
    sure=True,
)


@mistake(
    "diffusion.to_x_and_noise",
    "Where Δ = 0 you divide by 0, and NaN or infinity comes out. Call check_solvable(Δ, t) "
    "first, which says what is wrong.",
    sure=True,
)
def divided_by_0(prediction, x_t, t, process, target):
    a, b, c, d = parts(process, target, t, x_t)
    delta = a * d - b * c
    return (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta


@mistake(
    "diffusion.to_x_and_noise",
    "A small number is added to Δ, so that what cannot be known comes out as if it were: call "
    "check_solvable(Δ, t), and divide by Δ as it is.",
)
def a_little_added(prediction, x_t, t, process, target):
    a, b, c, d = parts(process, target, t, x_t)
    delta = a * d - b * c + 1e-8
    return (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta


@mistake(
    "diffusion.to_x_and_noise",
    "You refuse a level next to the one at which Δ = 0. Only where it is 0 the equations cannot be "
    "solved.",
    sure=True,
)
def small_deltas_refused(prediction, x_t, t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    check_solvable(torch.where((a * d - b * c).abs() < 1e-3, 0.0, 1.0), t)
    return solved(prediction, x_t, t, process, target)


@form_of(small_deltas_refused)
def tiny_deltas_refused(prediction, x_t, t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    check_solvable(torch.where((a * d - b * c).abs() < 1e-6, 0.0, 1.0), t)
    return solved(prediction, x_t, t, process, target)


@mistake(
    "diffusion.to_x_and_noise",
    "You refuse a batch only if Δ is 0 for its first example. Any of them may be the one: NaN "
    "comes out for it.",
    sure=True,
)
def refused_if_the_first_is_0(prediction, x_t, t, process, target):
    a, b, c, d = parts(process, target, t, x_t)
    delta = a * d - b * c
    check_solvable(delta.reshape(t.shape)[:1], t[:1])
    return (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta


@mistake(
    "diffusion.to_x_and_noise",
    "You refuse a batch of many levels at which Δ is small, but nowhere 0. Compare each Δ with 0, "
    "not their product and not with another number.",
    sure=True,
)
def refused_by_the_product(prediction, x_t, t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    if float((a * d - b * c).prod()) == 0:
        check_solvable(torch.zeros_like(t), t)
    return solved(prediction, x_t, t, process, target)


@mistake(
    "diffusion.to_x_and_noise",
    "You keep Δ away from 0 by a smallest size, so next to a level where it is 0 the results are "
    "too small. Divide by Δ as it is: Δ = 0 alone is refused.",
)
def delta_of_some_size(prediction, x_t, t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    delta = a * d - b * c
    check_solvable(delta, t)
    delta = torch.where(delta.abs() < 1e-5, delta.sign() * 1e-5, delta)
    a, b, c, d, delta = columns(x_t, a, b, c, d, delta)
    return (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta


@mistake(
    "diffusion.to_x_and_noise",
    "You refuse a batch only if Δ is 0 for every example of it. One is enough: NaN comes out for "
    "it.",
)
def refused_if_all_are_0(prediction, x_t, t, process, target):
    a, b, c, d = parts(process, target, t, x_t)
    delta = a * d - b * c
    if bool((delta == 0).all()):
        check_solvable(delta.reshape(t.shape), t)
    return (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta


@mistake(
    "diffusion.to_x_and_noise",
    "Your a(t), b(t), c(t) and d(t) are multiplied as they came: their (batch,) numbers line up "
    "with the last axis of x_t, not with the examples. Make them columns: column(a, x_t).",
    sure=True,
)
def solved_along_the_last_axis(prediction, x_t, t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    delta = a * d - b * c
    check_solvable(delta, t)
    return (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta


@mistake(
    "diffusion.to_x_and_noise",
    "[:, None] suits points. For images a needs an axis for each further axis of x_t, and for "
    "plain numbers none: column(a, x_t) does it for any shape.",
    sure=True,
)
def solved_for_points_only(prediction, x_t, t, process, target):
    a, b, c, d = (f(t)[:, None] for f in (process.a, process.b, target.c, target.d))
    delta = a * d - b * c
    check_solvable(delta[:, 0], t)
    return (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta


@mistake(
    "diffusion.to_x_and_noise",
    "For plain numbers, x_t of shape (batch,), your results have another shape: a needs no further "
    "axis there. column(a, x_t) does it for any shape.",
    sure=True,
)
def solved_for_all_but_numbers(prediction, x_t, t, process, target):
    ones = [1] * max(1, x_t.dim() - 1)
    a, b, c, d = (f(t).reshape(-1, *ones) for f in (process.a, process.b, target.c, target.d))
    delta = a * d - b * c
    check_solvable(delta.flatten(), t)
    return (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta


_OTHER_SOLUTIONS = several(
    "diffusion.to_x_and_noise",
    (
        "solved_in_single_precision",
        "Computed in 32 bits.",
        lambda y, x_t, t, p, g: tuple(
            v.to(x_t.dtype) for v in solved(y.float(), x_t.float(), t.float(), p, g)
        ),
    ),
    (
        "prediction_detached",
        "No gradient reaches the prediction.",
        lambda y, x_t, t, p, g: solved(y.detach(), x_t, t, p, g),
    ),
    (
        "x_t_detached",
        "No gradient reaches x_t.",
        lambda y, x_t, t, p, g: solved(y, x_t.detach(), t, p, g),
    ),
    (
        "x_within_100",
        "x̂ is clipped, as samplers do to keep images in range.",
        lambda y, x_t, t, p, g: (
            solved(y, x_t, t, p, g)[0].clamp(-100, 100),
            solved(y, x_t, t, p, g)[1],
        ),
    ),
    public=False,
)


@mistake("diffusion.to_x_and_noise", "Whatever fits is broadcast.", public=False, bare=True)
def all_predictions_that_broadcast(prediction, x_t, t, process, target):
    return solved(prediction, x_t, t, process, target)


# --- diffusion.loss_weight ----------------------------------------------------------------------


def of_levels(weight):
    """An answer that gets a, b, c, d at the levels; where b = 0 its value is put right."""

    def answer(t, process, target):
        a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
        found = weight(a, torch.where(b == 0, 1.0, b), c, d)
        return torch.where(b == 0, torch.where(d == 0, c**2, torch.inf), found)

    return answer


_WEIGHTS = several(
    "diffusion.loss_weight",
    (
        "upside_down",
        "Your weight is upside down: it is (Δ / b)², large where x_t holds little noise, not (b / "
        "Δ)².",
        of_levels(lambda a, b, c, d: (b / (a * d - b * c)) ** 2),
    ),
    (
        "snr_upside_down",
        "You have b / a where a / b belongs: an error in x̂ brings one of −a / b times it in ẑ, so "
        "the weight is (a d / b − c)².",
        of_levels(lambda a, b, c, d: (b * d / a - c) ** 2),
    ),
    (
        "not_squared",
        "This is |Δ / b|, how many times larger the error is. The loss is its square.",
        of_levels(lambda a, b, c, d: (a * d / b - c).abs()),
    ),
    (
        "sign_of_the_error",
        "Yours is (a d / b + c)². An error in x̂ brings one of the other sign in ẑ = (x_t − a x̂) / "
        "b: Δ = a d − b c.",
        of_levels(lambda a, b, c, d: (a * d / b + c) ** 2),
    ),
    (
        "errors_squared_apart",
        "You add the squares c² and (d a / b)². The errors in x̂ and ẑ are not independent, one is "
        "−a / b times the other: first add, then square.",
        of_levels(lambda a, b, c, d: c**2 + (a * d / b) ** 2),
    ),
    (
        "delta_alone",
        "This is Δ². The weight is (Δ / b)².",
        of_levels(lambda a, b, c, d: (a * d - b * c) ** 2),
    ),
    (
        "divided_by_b_once",
        "This is Δ² / b. b is squared, too: (Δ / b)².",
        of_levels(lambda a, b, c, d: (a * d - b * c) ** 2 / b),
    ),
    (
        "relative_to_noise",
        "This is (Δ / a)², how a loss compares with that of ε-prediction. Here it is compared "
        "with that of x-prediction: (Δ / b)².",
        of_levels(lambda a, b, c, d: ((a * d - b * c) / a) ** 2),
    ),
    (
        "snr_whatever_the_target",
        "Your weight is the SNR, which is that of ε-prediction, whatever the target. c and d "
        "count: (a d / b − c)².",
        of_levels(lambda a, b, c, d: (a / b) ** 2),
    ),
    (
        "always_snr_and_1",
        "Your weight is SNR + 1, that of v-prediction, whatever the target. c and d count: "
        "(a d / b − c)².",
        of_levels(lambda a, b, c, d: (a / b) ** 2 + 1),
    ),
    (
        "ratio_not_squared",
        "Your SNR is a / b. It is a ratio of variances: a² / b².",
        of_levels(lambda a, b, c, d: (d * (a / b).sqrt() - c) ** 2),
    ),
)


@mistake(
    "diffusion.loss_weight",
    "At b = 0 yours is 0 / 0 for x-prediction, NaN. With d = 0 the weight is c², at every level: "
    "torch.where(d == 0, 0.0, a * d / b) leaves the division out.",
    sure=True,
)
def nan_without_noise(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    return (a * d / b - c) ** 2


@form_of(nan_without_noise)
def nan_by_delta(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    return ((a * d - b * c) / b) ** 2


@mistake(
    "diffusion.loss_weight",
    "You keep b away from 0, so that at b = 0 there is some large number instead of ∞, and near "
    "it a wrong one.",
)
def b_clamped(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    return (a * d / b.clamp(min=1e-5) - c) ** 2


@mistake(
    "diffusion.loss_weight",
    "You add a small number to b, so that at b = 0 there is some large number instead of ∞, and "
    "near it a wrong one.",
)
def b_and_a_little(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    return (a * d / (b + 1e-8) - c) ** 2


@mistake(
    "diffusion.loss_weight",
    "Your weight is 1 / t², that of rectified flow, whatever process and target are given.",
)
def always_flow(t, process, target):
    d = target.d(t)
    return torch.where((t == 0) & (d == 0), target.c(t) ** 2, 1 / t**2)


@mistake(
    "diffusion.loss_weight",
    "Where b = 0 your weight is 0, as nan_to_num makes it of 0 / 0. There it is c² for targets "
    "without z, and ∞ for all others.",
    sure=True,
)
def none_without_noise(t, process, target):
    b = process.b(t)
    return torch.where(b == 0, 0.0, right_weight(t, process, target))


@form_of(none_without_noise)
def nan_to_num(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    return torch.nan_to_num(((a * d - b * c) / b) ** 2)


@mistake(
    "diffusion.loss_weight",
    "Where b = 0 your weight is ∞ for x-prediction, too. With d = 0 it is c², whatever b is.",
    sure=True,
)
def infinite_without_noise(t, process, target):
    b = process.b(t)
    return torch.where(b == 0, torch.inf, right_weight(t, process, target))


@mistake(
    "diffusion.loss_weight",
    "At t = 0 of variance exploding your weight is ∞, as if b were 0 there. Some noise is left, "
    "and the weight is finite: ask process.b(t).",
    sure=True,
)
def infinite_at_0(t, process, target):
    return torch.where((t == 0) & (target.d(t) != 0), torch.inf, right_weight(t, process, target))


@mistake(
    "diffusion.loss_weight",
    "If d is 0 at one level, all of yours are c². Decide level by level: torch.where, not any().",
)
def one_zero_for_all(t, process, target):
    if bool((target.d(t) == 0).any()):
        return target.c(t) ** 2
    return right_weight(t, process, target)


@mistake(
    "diffusion.loss_weight",
    "You leave a d / b out only if d is 0 at every level, so where b and d are 0 at one of several "
    "NaN comes out. Decide level by level: torch.where, not all().",
    sure=True,
)
def zero_everywhere_or_nowhere(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    return c**2 if bool((d == 0).all()) else (a * d / b - c) ** 2


@mistake(
    "diffusion.loss_weight",
    "You take a small d for 0. However small it is, where b = 0 its share of the loss is "
    "infinitely large: compare d == 0.",
)
def small_d_taken_for_0(t, process, target):
    return torch.where(target.d(t).abs() < 1e-6, target.c(t) ** 2, right_weight(t, process, target))


@mistake(
    "diffusion.loss_weight",
    "You return the mean over the levels. There is one weight for each: shaped like t.",
)
def mean_weight(t, process, target):
    return right_weight(t, process, target).mean()


@mistake(
    "diffusion.loss_weight",
    "The shape of the levels is lost. The weights are shaped like t, a table or a single number "
    "without an axis too.",
    sure=True,
)
def flat_weights(t, process, target):
    return right_weight(t.reshape(-1), process, target)


@mistake(
    "diffusion.loss_weight",
    "You divide the weights by their mean. Each level has its own weight, whatever others there "
    "are.",
    sure=True,
)
def mean_of_1(t, process, target):
    found = right_weight(t, process, target)
    return found / found.mean()


def right_weight(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    return (torch.where(d == 0, 0.0, a * d / b) - c) ** 2


_OTHER_WEIGHTS = several(
    "diffusion.loss_weight",
    (
        "weights_in_single_precision",
        "Computed in 32 bits.",
        lambda t, p, g: right_weight(t.float(), p, g).to(t.dtype),
    ),
    (
        "at_most_a_million",
        "Large weights are cut off.",
        lambda t, p, g: torch.where(
            right_weight(t, p, g).isinf(), torch.inf, right_weight(t, p, g).clamp(max=1e6)
        ),
    ),
    (
        "at_least_a_little",
        "Small weights are raised.",
        lambda t, p, g: right_weight(t, p, g).clamp(min=1e-6),
    ),
    public=False,
)


# --- diffusion.score ----------------------------------------------------------------------------


def of_both(answer):
    """An answer that gets x̂ and ẑ, x_t, and a and b as columns."""

    def whole(prediction, x_t, t, process, target):
        x, z = to_x_and_noise(prediction, x_t, t, process, target)
        a, b = columns(x_t, process.a(t), process.b(t))
        return answer(x, z, x_t, a, b)

    return whole


_SCORES = several(
    "diffusion.score",
    (
        "sign_of_the_score",
        "Your score points along the noise. It points the other way, to where data are likely: −ẑ "
        "/ b.",
        of_both(lambda x, z, x_t, a, b: z / b),
    ),
    (
        "not_divided_by_b",
        "This is −ẑ, which is (a x̂ − x_t) / b. The score is −ẑ / b, and (a x̂ − x_t) / b²: the less "
        "noise, the steeper log p_t.",
        of_both(lambda x, z, x_t, a, b: -z),
    ),
    (
        "divided_by_b_twice",
        "This is −ẑ / b². The b² belongs to the other form, (a x̂ − x_t) / b²; in ẑ one b is "
        "divided out already.",
        of_both(lambda x, z, x_t, a, b: -z / b**2),
    ),
    (
        "a_forgotten",
        "This is (x̂ − x_t) / b². x_t is noised a x, so it is a x̂ that it is pulled to: "
        "(a x̂ − x_t) / b².",
        of_both(lambda x, z, x_t, a, b: (x - x_t) / b**2),
    ),
    (
        "b_for_a_variance",
        "You divide by √b, as if b were a variance. It is the standard deviation of the noise: −ẑ "
        "/ b.",
        of_both(lambda x, z, x_t, a, b: -z / b.sqrt()),
    ),
    (
        "multiplied_by_b",
        "This is −b ẑ. The score is −ẑ / b.",
        of_both(lambda x, z, x_t, a, b: -b * z),
    ),
    (
        "divided_by_a",
        "This is −ẑ / a. It is b, the size of the noise, that ẑ is divided by.",
        of_both(lambda x, z, x_t, a, b: -z / a),
    ),
    (
        "score_of_variance_preserving",
        "You divide by √(1 − a²), which is b for variance preserving processes alone. Take "
        "process.b(t).",
        of_both(lambda x, z, x_t, a, b: -z / (1 - a**2).abs().sqrt()),
    ),
    (
        "score_from_x",
        "This is −x̂ / b. It is the noise ẑ, not the data, that the score is made of.",
        of_both(lambda x, z, x_t, a, b: -x / b),
    ),
    (
        "score_of_a_standard_normal",
        "This is −x_t / b², the score of the noise alone. The data say where x_t is pulled to: "
        "(a x̂ − x_t) / b².",
        of_both(lambda x, z, x_t, a, b: -x_t / b**2 + 0 * z),
    ),
    (
        "b_kept_from_0",
        "You keep b away from 0 by a small number, and near the data the score comes out too "
        "small. b = 0 is refused already.",
        of_both(lambda x, z, x_t, a, b: -z / b.clamp(min=1e-3)),
    ),
    (
        "b_plus_a_little",
        "You add a small number to b, and near the data the score comes out too small. b = 0 is "
        "refused already.",
        of_both(lambda x, z, x_t, a, b: -z / (b + 1e-5)),
    ),
)


@mistake(
    "diffusion.score",
    "At t = 0 of variance exploding you return no score. Some noise is left there, and only where "
    "b(t) is 0 there is none.",
    sure=True,
)
def no_score_at_0(prediction, x_t, t, process, target):
    if bool((t == 0).any()):
        raise ValueError("t must be above 0")
    return right_score(prediction, x_t, t, process, target)


@mistake(
    "diffusion.score",
    "Where b is small, but not 0, you return no score. Only where it is 0 there is none.",
    sure=True,
)
def no_score_next_to_data(prediction, x_t, t, process, target):
    if bool((process.b(t) < 1e-6).any()):
        raise ValueError("b is too small")
    return right_score(prediction, x_t, t, process, target)


@mistake(
    "diffusion.score",
    "You take the prediction for the noise. What it is, the target says: first "
    "to_x_and_noise(prediction, x_t, t, process, target).",
)
def prediction_as_noise(prediction, x_t, t, process, target):
    to_x_and_noise(prediction, x_t, t, process, target)
    return -prediction / column(process.b(t), x_t)


@mistake(
    "diffusion.score",
    "You divide by t, which is b for rectified flow alone. Take process.b(t).",
)
def divided_by_t(prediction, x_t, t, process, target):
    _, z = to_x_and_noise(prediction, x_t, t, process, target)
    return -z / column(t, x_t)


@mistake(
    "diffusion.score",
    "Your b(t) divides as it came: its (batch,) numbers line up with the last axis of x_t, not "
    "with the examples. Make it a column: column(process.b(t), x_t).",
    sure=True,
)
def score_along_the_last_axis(prediction, x_t, t, process, target):
    _, z = to_x_and_noise(prediction, x_t, t, process, target)
    return -z / process.b(t)


@mistake(
    "diffusion.score",
    "b(t)[:, None] suits points. For images b needs an axis for each further axis of x_t, and for "
    "plain numbers none: column(process.b(t), x_t).",
    sure=True,
)
def score_for_points_only(prediction, x_t, t, process, target):
    _, z = to_x_and_noise(prediction, x_t, t, process, target)
    return -z / process.b(t)[:, None]


@mistake(
    "diffusion.score",
    "You convert what you return: the score is a plain tensor in the precision of x_t, with its "
    "graph.",
    public=False,
)
def score_without_a_graph(prediction, x_t, t, process, target):
    with torch.no_grad():
        return right_score(prediction, x_t, t, process, target)


def right_score(prediction, x_t, t, process, target):
    _, z = to_x_and_noise(prediction, x_t, t, process, target)
    return -z / column(process.b(t), x_t)


_OTHER_SCORES = several(
    "diffusion.score",
    (
        "score_in_single_precision",
        "Computed in 32 bits.",
        lambda y, x_t, t, p, g: right_score(y.float(), x_t.float(), t.float(), p, g).to(x_t.dtype),
    ),
    (
        "score_detached_from_x_t",
        "No gradient reaches x_t.",
        lambda y, x_t, t, p, g: right_score(y, x_t.detach(), t, p, g),
    ),
    (
        "score_of_half_unchecked",
        "An ε-model's answer in pure noise is taken as it is.",
        lambda y, x_t, t, p, g: (
            -y / column(p.b(t), x_t)
            if bool((g.c(t) == 0).all() & (g.d(t) == 1).all())
            else right_score(y, x_t, t, p, g)
        ),
    ),
    public=False,
)


@mistake("diffusion.score", "Whatever fits is broadcast.", public=False, bare=True)
def any_score(prediction, x_t, t, process, target):
    a, b, c, d = parts(process, target, t, x_t)
    return -(a * prediction - c * x_t) / (a * d - b * c) / b


# --- diffusion.ode_velocity ---------------------------------------------------------------------


def of_slopes(answer):
    """An answer that gets x̂ and ẑ, x_t, and a, b, a′ and b′ as columns."""

    def whole(prediction, x_t, t, process, target):
        x, z = to_x_and_noise(prediction, x_t, t, process, target)
        slopes = columns(x_t, process.a(t), process.b(t), process.da(t), process.db(t))
        return answer(x, z, x_t, *slopes)

    return whole


def with_score(answer):
    """An answer that gets f, g², the score and x_t; what it divides by a is put right at a = 0."""

    def whole(x, z, x_t, a, b, da, db):
        some = torch.where(a == 0, 1.0, a)
        f = da / some
        g2 = 2 * b * db - 2 * f * b**2
        s = -z / torch.where(b == 0, 1.0, b)
        return torch.where((a == 0) | (b == 0), da * x + db * z, answer(f, g2, s, x_t))

    return of_slopes(whole)


_VELOCITIES = several(
    "diffusion.ode_velocity",
    (
        "backwards",
        "Your velocity points along falling t, as a sampler walks. dx_t/dt is along rising t: "
        "a′ x̂ + b′ ẑ.",
        of_slopes(lambda x, z, x_t, a, b, da, db: -(da * x + db * z)),
    ),
    (
        "slopes_forgotten",
        "This is a x̂ + b ẑ, which is x_t again. The velocity has the derivatives: a′ x̂ + b′ ẑ.",
        of_slopes(lambda x, z, x_t, a, b, da, db: a * x + b * z),
    ),
    (
        "slopes_exchanged",
        "a′ and b′ are exchanged: a′ belongs to x̂ and b′ to ẑ.",
        of_slopes(lambda x, z, x_t, a, b, da, db: db * x + da * z),
    ),
    (
        "sign_of_the_slope",
        "Your velocity is b′ ẑ − a′ x̂. The sign is in a′ already, which is negative: a′ x̂ + b′ ẑ.",
        of_slopes(lambda x, z, x_t, a, b, da, db: db * z - da * x),
    ),
    (
        "slope_of_a_for_x_t",
        "This is a′ x_t + b′ ẑ. It is x̂, the data without noise, that a′ belongs to.",
        of_slopes(lambda x, z, x_t, a, b, da, db: da * x_t + db * z),
    ),
    (
        "noise_alone",
        "This is b′ ẑ. As t grows the share of the data changes, too: a′ x̂ + b′ ẑ.",
        of_slopes(lambda x, z, x_t, a, b, da, db: db * z + 0 * x),
    ),
    (
        "data_alone",
        "This is a′ x̂. As t grows the share of the noise changes, too: a′ x̂ + b′ ẑ.",
        of_slopes(lambda x, z, x_t, a, b, da, db: da * x + 0 * z),
    ),
    (
        "always_straight",
        "This is ẑ − x̂, the velocity of rectified flow. Of any process it is a′ x̂ + b′ ẑ.",
        of_slopes(lambda x, z, x_t, a, b, da, db: z - x),
    ),
    (
        "half_forgotten",
        "This is f x_t − g² s, with which the SDE runs back, noise and all. For the ODE half of "
        "it is enough: f x_t − ½ g² s.",
        with_score(lambda f, g2, s, x_t: f * x_t - g2 * s),
    ),
    (
        "sign_of_the_score_term",
        "This is f x_t + ½ g² s. Along rising t the score is walked down: f x_t − ½ g² s.",
        with_score(lambda f, g2, s, x_t: f * x_t + g2 / 2 * s),
    ),
    (
        "g_for_its_square",
        "You have g where g² belongs: f x_t − ½ g² s.",
        with_score(lambda f, g2, s, x_t: f * x_t - g2.abs().sqrt() / 2 * s),
    ),
    (
        "drift_alone",
        "This is f x_t, the drift without the noise. The ODE spreads samples by the score instead: "
        "f x_t − ½ g² s.",
        with_score(lambda f, g2, s, x_t: f * x_t + 0 * s),
    ),
    (
        "score_in_place_of_noise",
        "This is a′ x̂ + b′ s with the score s. b′ belongs to the noise ẑ = −b s.",
        of_slopes(lambda x, z, x_t, a, b, da, db: da * x - db * z / torch.where(b == 0, 1.0, b)),
    ),
    (
        "g_without_f",
        "Your g² is 2 b b′. Some of the noise shrinks with the data, as f says: g² = 2 b b′ − 2 f "
        "b².",
        of_slopes(
            lambda x, z, x_t, a, b, da, db: torch.where(
                a == 0, da * x + db * z, da / torch.where(a == 0, 1.0, a) * x_t + db * z
            )
        ),
    ),
)


@mistake(
    "diffusion.ode_velocity",
    "By f and g² you divide by a, and by b for the score, so at the ends NaN comes out or digits "
    "are lost. a′ x̂ + b′ ẑ divides by neither.",
    sure=True,
)
def nan_at_the_ends(prediction, x_t, t, process, target):
    _, z = to_x_and_noise(prediction, x_t, t, process, target)
    a, b, da, db = columns(x_t, process.a(t), process.b(t), process.da(t), process.db(t))
    f = da / a
    g2 = 2 * b * db - 2 * f * b**2
    return f * x_t - g2 / 2 * (-z / b)


@mistake(
    "diffusion.ode_velocity",
    "You return the prediction. It is the velocity only if the target is the process's own "
    "velocity: find x̂ and ẑ, then a′ x̂ + b′ ẑ.",
)
def prediction_as_velocity(prediction, x_t, t, process, target):
    to_x_and_noise(prediction, x_t, t, process, target)
    return prediction + 0 * x_t


@mistake(
    "diffusion.ode_velocity",
    "Your a′(t) and b′(t) are multiplied as they came: their (batch,) numbers line up with the "
    "last axis of x_t, not with the examples. Make them columns: column(process.da(t), x_t).",
    sure=True,
)
def velocity_along_the_last_axis(prediction, x_t, t, process, target):
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    return process.da(t) * x + process.db(t) * z


@mistake(
    "diffusion.ode_velocity",
    "[:, None] suits points. For images a′ needs an axis for each further axis of x_t, and for "
    "plain numbers none: column(process.da(t), x_t).",
    sure=True,
)
def velocity_for_points_only(prediction, x_t, t, process, target):
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    return process.da(t)[:, None] * x + process.db(t)[:, None] * z


@mistake(
    "diffusion.ode_velocity",
    "Where Δ = 0 you divide by 0. to_x_and_noise refuses such a level and says why.",
    sure=True,
)
def solved_by_hand_unchecked(prediction, x_t, t, process, target):
    a, b, c, d = parts(process, target, t, x_t)
    da, db = columns(x_t, process.da(t), process.db(t))
    delta = a * d - b * c
    x, z = (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta
    return da * x + db * z


def right_velocity(prediction, x_t, t, process, target):
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    return column(process.da(t), x_t) * x + column(process.db(t), x_t) * z


def by_difference(prediction, x_t, t, process, target):
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    h = 1e-4
    da, db = ((f(t + h) - f(t - h)) / (2 * h) for f in (process.a, process.b))
    return column(da, x_t) * x + column(db, x_t) * z


_OTHER_VELOCITIES = several(
    "diffusion.ode_velocity",
    ("slopes_by_differences", "a′ and b′ are differences, not derivatives.", by_difference),
    (
        "velocity_in_single_precision",
        "Computed in 32 bits.",
        lambda y, x_t, t, p, g: right_velocity(y.float(), x_t.float(), t.float(), p, g).to(
            x_t.dtype
        ),
    ),
    (
        "velocity_detached_from_x_t",
        "No gradient reaches x_t.",
        lambda y, x_t, t, p, g: right_velocity(y, x_t.detach(), t, p, g),
    ),
    (
        "velocity_within_1000",
        "Large velocities are cut off.",
        lambda y, x_t, t, p, g: right_velocity(y, x_t, t, p, g).clamp(-1000, 1000),
    ),
    (
        "velocity_off_the_ends",
        "Levels are kept away from 0 and 1.",
        lambda y, x_t, t, p, g: right_velocity(y, x_t, t.clamp(1e-4, 1 - 1e-4), p, g),
    ),
    public=False,
)


@mistake("diffusion.ode_velocity", "Whatever fits is broadcast.", public=False, bare=True)
def any_velocity(prediction, x_t, t, process, target):
    a, b, c, d = parts(process, target, t, x_t)
    da, db = columns(x_t, process.da(t), process.db(t))
    delta = a * d - b * c
    check_solvable(delta.reshape(-1), t.reshape(-1))
    x, z = (d * x_t - b * prediction) / delta, (a * prediction - c * x_t) / delta
    return da * x + db * z


# --- diffusion.reparametrised -------------------------------------------------------------------


def ask(model, x, t, y):
    return model(x, t) if y is None else model(x, t, y)


def renewed(level=None, scale=None, asking=ask, answer=None, x_t_too=False):
    """Answers that differ from a right one in one step.

    Args:
        level: of (process, new_process, t), in place of the level with the same b / a.
        scale: of (a, b, a_new, b_new), in place of k.
        asking: of (model, x_u, u, y).
        answer: of (x̂, ẑ, c_new, d_new), in place of their sum.
        x_t_too: whether x̂ and ẑ are found at x_t and t, not at x_u and u.
    """

    def reparametrised(model, process, target, new_process, new_target):
        def new_model(x_t, t, y=None):
            check_levels(x_t, t)
            a_new, b_new = new_process.a(t), new_process.b(t)
            u = level(process, new_process, t) if level else level_of(process, a_new, b_new)
            a, b = process.a(u), process.b(u)
            k = (a**2 + b**2).sqrt() / (a_new**2 + b_new**2).sqrt()
            k = scale(a, b, a_new, b_new) if scale else k
            x_u = column(k, x_t) * x_t
            prediction = asking(model, x_u, u, y)
            at = (x_t, t, new_process) if x_t_too else (x_u, u, process)
            x, z = to_x_and_noise(prediction, *at, target)
            c, d = columns(x_t, new_target.c(t), new_target.d(t))
            return answer(x, z, c, d) if answer else c * x + d * z

        return new_model

    return reparametrised


def twice(model, x_u, u, y):
    ask(model, x_u, u, y)
    return ask(model, x_u, u, y)


def quietly(model, x_u, u, y):
    with torch.no_grad():
        return ask(model, x_u, u, y)


_RENEWED = several(
    "diffusion.reparametrised",
    (
        "the_same_level",
        "The trained model is asked at the new model's t. Its own level is another one, that at "
        "which b / a is the same: level_of(process, a_new, b_new).",
        renewed(level=lambda process, new, t: t.clone()),
    ),
    (
        "level_the_other_way_round",
        "You ask at the level of the new process that has the b / a of the trained one at t. It "
        "is the other way round: level_of(process, a_new, b_new).",
        renewed(level=lambda process, new, t: level_of(new, process.a(t), process.b(t))),
    ),
    (
        "data_and_noise_exchanged_in_the_level",
        "a_new and b_new are exchanged in level_of: first a, then b.",
        renewed(level=lambda process, new, t: level_of(process, new.b(t), new.a(t))),
    ),
    (
        "level_by_a_alone",
        "You look for the level at which a is the same. It is the ratio b / a that says how much "
        "noise there is beside the data.",
        renewed(
            level=lambda process, new, t: level_of(
                process, new.a(t), (1 - new.a(t) ** 2).clamp(min=0).sqrt()
            )
        ),
    ),
    (
        "squares_in_the_level",
        "You give level_of the squares of a_new and b_new. It compares b / a.",
        renewed(level=lambda process, new, t: level_of(process, new.a(t) ** 2, new.b(t) ** 2)),
    ),
    (
        "level_of_the_first",
        "Every example is asked at the level of the first one. t holds one for each.",
        renewed(
            level=lambda process, new, t: level_of(process, new.a(t), new.b(t))[:1].expand_as(t)
        ),
    ),
    (
        "not_scaled",
        "The trained model gets x_t as it is. Of another process it has another size: x_u = k x_t.",
        renewed(scale=lambda a, b, a_new, b_new: torch.ones_like(a)),
    ),
    (
        "scaled_the_wrong_way",
        "Your k is upside down: the size in the trained process stands above, k² = (a(u)² + "
        "b(u)²) / (a_new² + b_new²).",
        renewed(scale=lambda a, b, a_new, b_new: ((a_new**2 + b_new**2) / (a**2 + b**2)).sqrt()),
    ),
    (
        "scaled_by_the_square",
        "You scale by k². Take the root: k² = (a(u)² + b(u)²) / (a_new² + b_new²).",
        renewed(scale=lambda a, b, a_new, b_new: (a**2 + b**2) / (a_new**2 + b_new**2)),
    ),
    (
        "scaled_by_sums",
        "Your k is (a + b) / (a_new + b_new), and where the trained process has no such level "
        "that is another scale. k² = (a(u)² + b(u)²) / (a_new² + b_new²).",
        renewed(scale=lambda a, b, a_new, b_new: (a + b) / (a_new + b_new)),
    ),
    (
        "condition_lost",
        "The condition y does not reach the trained model: call model(x_u, u, y) if there is one.",
        renewed(asking=lambda model, x_u, u, y: model(x_u, u)),
    ),
    (
        "asked_twice",
        "The trained model is called twice for each call: right, but twice as slow. Keep what it "
        "returns.",
        renewed(asking=twice),
    ),
    (
        "asked_without_gradients",
        "No gradient flows into the trained model: don't ask it under torch.no_grad(), and don't "
        "detach what it returns.",
        renewed(asking=quietly),
    ),
    (
        "solved_at_x_t",
        "The prediction was made at x_u and u, but you find x̂ and ẑ from it with x_t, t and the "
        "new process: to_x_and_noise(prediction, x_u, u, process, target).",
        renewed(x_t_too=True),
    ),
    (
        "c_and_d_of_new_target_exchanged",
        "c_new and d_new are exchanged: y_new = c_new x̂ + d_new ẑ.",
        renewed(answer=lambda x, z, c, d: d * x + c * z),
    ),
    (
        "answers_with_x",
        "You return x̂. The new model is asked for its target: c_new x̂ + d_new ẑ.",
        renewed(answer=lambda x, z, c, d: x + 0 * z),
    ),
    (
        "answers_with_noise",
        "You return ẑ. The new model is asked for its target: c_new x̂ + d_new ẑ.",
        renewed(answer=lambda x, z, c, d: z + 0 * x),
    ),
    (
        "answers_with_the_straight_velocity",
        "You return ẑ − x̂, whatever the new target is: c_new x̂ + d_new ẑ.",
        renewed(answer=lambda x, z, c, d: z - x),
    ),
)


_FAILING = several(
    "diffusion.reparametrised",
    (
        "scaled_by_a",
        "In pure noise your x_u is NaN, as with k = a(u) / a_new, which is 0 / 0 there. √(a(u)² + "
        "b(u)²) / √(a_new² + b_new²) is the same elsewhere, and holds there too.",
        renewed(scale=lambda a, b, a_new, b_new: a / a_new),
    ),
    (
        "scaled_by_b",
        "Without noise your x_u is NaN, as with k = b(u) / b_new, which is 0 / 0 there. √(a(u)² + "
        "b(u)²) / √(a_new² + b_new²) is the same elsewhere, and holds there too.",
        renewed(scale=lambda a, b, a_new, b_new: b / b_new),
    ),
    (
        "condition_of_none",
        "Without a condition your call of the model fails. Only with one it takes three "
        "arguments, model(x_u, u, y); without, two.",
        renewed(asking=lambda model, x_u, u, y: model(x_u, u, y)),
    ),
    (
        "condition_of_zeros_lost",
        "A condition of zeros, as class 0 is, does not reach the trained model. It must get every "
        "y that is not None.",
        renewed(
            asking=lambda model, x_u, u, y: (
                model(x_u, u) if y is None or not bool(y.any()) else model(x_u, u, y)
            )
        ),
    ),
    sure=True,
)


def answering(answer):
    """An answer that gets the prediction at x_u and all that there is beside it."""

    def reparametrised(model, process, target, new_process, new_target):
        def new_model(x_t, t, y=None):
            check_levels(x_t, t)
            a_new, b_new = new_process.a(t), new_process.b(t)
            u = level_of(process, a_new, b_new)
            k = (process.a(u) ** 2 + process.b(u) ** 2).sqrt() / (a_new**2 + b_new**2).sqrt()
            k = column(k, x_t)
            prediction = ask(model, k * x_t, u, y)
            x, z = to_x_and_noise(prediction, k * x_t, u, process, target)
            return answer(prediction, x, z, x_t, k, t, u, process, target, new_process, new_target)

        return new_model

    return reparametrised


def mixed_at(x, z, t, target):
    c, d = columns(x, target.c(t), target.d(t))
    return c * x + d * z


def old_target(prediction, x, z, x_t, k, t, u, process, target, new_process, new_target):
    return prediction


def target_at_u(prediction, x, z, x_t, k, t, u, process, target, new_process, new_target):
    return mixed_at(x, z, u, new_target)


def old_target_at_t(prediction, x, z, x_t, k, t, u, process, target, new_process, new_target):
    return mixed_at(x, z, t, target)


def scaled_back(prediction, x, z, x_t, k, t, u, process, target, new_process, new_target):
    return mixed_at(x, z, t, new_target) / k


def noise_of_x_t(prediction, x, z, x_t, k, t, u, process, target, new_process, new_target):
    a_new, b_new = columns(x_t, new_process.a(t), new_process.b(t))
    return mixed_at(x, (x_t - a_new * x) / b_new, t, new_target)


def single(prediction, x, z, x_t, k, t, u, process, target, new_process, new_target):
    return mixed_at(x.float(), z.float(), t.float(), new_target).to(x_t.dtype)


def cut_off(prediction, x, z, x_t, k, t, u, process, target, new_process, new_target):
    return mixed_at(x.clamp(-3, 3), z, t, new_target)


_ANSWERS = several(
    "diffusion.reparametrised",
    (
        "prediction_as_it_came",
        "You return what the trained model predicts, its own target. Find x̂ and ẑ from it, then "
        "c_new x̂ + d_new ẑ.",
        answering(old_target),
    ),
    (
        "new_target_at_the_old_level",
        "c_new and d_new are taken at u, the level of the trained model. The new target belongs "
        "to t.",
        answering(target_at_u),
    ),
    (
        "trained_target_at_t",
        "Your result is c x̂ + d ẑ of the trained target. The new model answers with the new one: "
        "c_new x̂ + d_new ẑ.",
        answering(old_target_at_t),
    ),
    (
        "answer_scaled_back",
        "You divide the result by k. Only x_t was scaled; x̂ and ẑ are the same in every process.",
        answering(scaled_back),
    ),
)

_NAN_ANSWERS = several(
    "diffusion.reparametrised",
    (
        "noise_from_x_t",
        "Without noise your result is NaN, as ẑ = (x_t − a_new x̂) / b_new makes it. "
        "to_x_and_noise gives ẑ at x_u and u.",
        answering(noise_of_x_t),
    ),
    sure=True,
)

_OTHER_ANSWERS = several(
    "diffusion.reparametrised",
    ("answered_in_single_precision", "Computed in 32 bits.", answering(single)),
    ("data_within_3", "x̂ is clipped, as samplers do.", answering(cut_off)),
    (
        "levels_of_the_middle",
        "Levels are kept away from the ends.",
        renewed(level=lambda p, new, t: level_of(p, new.a(t), new.b(t)).clamp(1e-3, 1 - 1e-3)),
    ),
    public=False,
)


@mistake(
    "diffusion.reparametrised",
    "Your k(t), c_new(t) and d_new(t) are multiplied as they came: their (batch,) numbers line up "
    "with the last axis of x_t, not with the examples. Make them columns: column(k, x_t).",
    sure=True,
)
def renewed_along_the_last_axis(model, process, target, new_process, new_target):
    def new_model(x_t, t, y=None):
        check_levels(x_t, t)
        a_new, b_new = new_process.a(t), new_process.b(t)
        u = level_of(process, a_new, b_new)
        k = ((process.a(u) ** 2 + process.b(u) ** 2) / (a_new**2 + b_new**2)).sqrt()
        x_u = k * x_t
        x, z = to_x_and_noise(ask(model, x_u, u, y), x_u, u, process, target)
        return new_target.c(t) * x + new_target.d(t) * z

    return new_model


@mistake(
    "diffusion.reparametrised",
    "[:, None] suits points. For images k needs an axis for each further axis of x_t, and for "
    "plain numbers none: column(k, x_t).",
    sure=True,
)
def renewed_for_points_only(model, process, target, new_process, new_target):
    def new_model(x_t, t, y=None):
        check_levels(x_t, t)
        a_new, b_new = new_process.a(t), new_process.b(t)
        u = level_of(process, a_new, b_new)
        k = ((process.a(u) ** 2 + process.b(u) ** 2) / (a_new**2 + b_new**2)).sqrt()
        x_u = k[:, None] * x_t
        x, z = to_x_and_noise(ask(model, x_u, u, y), x_u, u, process, target)
        return new_target.c(t)[:, None] * x + new_target.d(t)[:, None] * z

    return new_model


@mistake("diffusion.reparametrised", "Levels that do not fit are broadcast.", public=False)
def renewed_unchecked(model, process, target, new_process, new_target):
    def new_model(x_t, t, y=None):
        t = t.reshape(-1).expand(len(x_t)) if t.numel() == 1 else t.reshape(-1)
        return right(x_t, t, y)

    right = renewed()(model, process, target, new_process, new_target)
    return new_model


@mistake(
    "diffusion.reparametrised",
    "For the process and target that it was trained for you hand back the model itself. Then "
    "nothing is refused: neither levels that do not fit, nor those at which its prediction says "
    "nothing.",
)
def the_model_itself(model, process, target, new_process, new_target):
    if new_process is process and new_target is target:
        return model
    return renewed()(model, process, target, new_process, new_target)


@mistake(
    "diffusion.reparametrised",
    "A condition is kept for the next call, which has none: without a y the model is called as "
    "model(x_u, u).",
)
def last_condition_kept(model, process, target, new_process, new_target):
    right, kept = renewed()(model, process, target, new_process, new_target), []

    def new_model(x_t, t, y=None):
        kept.append(y if y is not None or not kept else kept[-1])
        return right(x_t, t, kept[-1])

    return new_model


@mistake(
    "diffusion.reparametrised",
    "The network gets no gradients where x_t takes none. In a training x_t takes none: leave "
    "torch's recording of gradients as it is.",
    sure=True,
)
def graph_for_x_t_only(model, process, target, new_process, new_target):
    right = renewed()(model, process, target, new_process, new_target)

    def new_model(x_t, t, y=None):
        with torch.set_grad_enabled(x_t.requires_grad):
            return right(x_t, t, y)

    return new_model
