"""Typical wrong answers to chapter 12's jumps, each with the sentence that explains it."""

import torch

from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.consistency import RECTIFIED, VELOCITY, check_between, check_boundary
from cs231n_gen.diffusion import column, ode_velocity, to_x_and_noise
from cs231n_gen.flow import interpolate

FUNCTION, LOSS = "consistency.function", "consistency.loss"


def no_form(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    check_boundary(process, target)


def no_neighbours(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    check_between(x, t, s)
    if not huber >= 0:
        raise ValueError(f"huber must be at least 0, got {huber}")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {FUNCTION: no_form, LOSS: no_neighbours}


def called(model, x_t, t, y):
    return model(x_t, t) if y is None else model(x_t, t, y)


# --- consistency.function -----------------------------------------------------------------------


class Form:
    """What of a network and a form an answer can be made of."""

    def __init__(self, told, x_t, t, process, target):
        self.F, self.x_t, self.level, self.process, self.target = told, x_t, t, process, target
        of = process.a, process.b, target.c, target.d
        self.a, self.b, self.c, self.d = (column(f(t), x_t) for f in of)
        self.t = column(t, x_t)
        self.delta = self.a * self.d - self.b * self.c
        self.x, self.z = to_x_and_noise(told, x_t, t, process, target)


def f_by(formula):
    """An f by a formula of its parts."""

    def f(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
        return formula(Form(called(model, x_t, t, y), x_t, t, process, target))

    return f


by_formula = several(
    FUNCTION,
    (
        "noise_for_data",
        "This is ẑ, the noise that the prediction stands for, and not the data x̂.",
        f_by(lambda k: k.z),
    ),
    (
        "a_step_of_one",
        "F is multiplied by 1 and not by b: at b = 0 the network must count for nothing.",
        f_by(lambda k: (k.d * k.x_t - k.F) / k.delta),
    ),
    (
        "away_from_the_data",
        "The prediction has the wrong sign: this goes away from the data.",
        f_by(lambda k: (k.d * k.x_t + k.b * k.F) / k.delta),
    ),
    (
        "always_rectified_flow",
        "x_t − t F is right for rectified flow alone: other forms have a, b, c and d of their own.",
        f_by(lambda k: k.x_t - k.t * k.F),
    ),
    (
        "the_prediction_itself",
        "This returns what the network says; f is the data that x_t and the prediction stand for.",
        f_by(lambda k: k.F + 0 * k.x_t),
    ),
    (
        "c_and_d_swapped",
        "c and d are swapped: c belongs to the data in y = c x + d z, d to the noise.",
        f_by(lambda k: (k.c * k.x_t - k.b * k.F) / (k.a * k.c - k.b * k.d)),
    ),
    (
        "not_divided",
        "The sum is not divided by a d − b c, which is 1 for some forms only.",
        f_by(lambda k: k.d * k.x_t - k.b * k.F),
    ),
    (
        "a_times_the_data",
        "This is a x̂, the part of x_t that is data. f is x̂ itself.",
        f_by(lambda k: k.a * k.x),
    ),
    (
        "an_euler_step_to_0",
        "This is an Euler step of the ODE from t to 0. It is f for straight paths alone.",
        f_by(
            lambda k: (
                k.x_t - k.t * ode_velocity(k.F, k.x_t, k.level.clamp(min=1e-9), k.process, k.target)
            )
        ),
    ),
    (
        "only_scaled",
        "The network counts for nothing here: x_t / a is f at t = 0 only.",
        f_by(lambda k: (k.x_t + 0 * k.F) / k.a),
    ),
    (
        "always_edm",
        "c_skip and c_out of EDM with σ_d = ½ are right for its own process and target only.",
        f_by(lambda k: (0.25 * k.x_t + 0.5 * k.b * (0.25 + k.b**2).sqrt() * k.F) / (0.25 + k.b**2)),
    ),
    (
        "always_trigflow",
        "cos θ x_t − sin θ F is right for TrigFlow with σ_d = 1 only.",
        f_by(lambda k: (torch.pi / 2 * k.t).cos() * k.x_t - (torch.pi / 2 * k.t).sin() * k.F),
    ),
    (
        "the_middle_of_two",
        "This is the mean of x_t and x̂. f is all of the way to the data.",
        f_by(lambda k: (k.x_t + k.x) / 2),
    ),
)


@mistake(FUNCTION, "y does not reach the network: call model(x_t, t, y) where y is given.")
def without_a_condition(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    return to_x_and_noise(model(x_t, t), x_t, t, process, target)[0]


@mistake(
    FUNCTION,
    "The result has no graph: gradients must flow into x_t, t and the network's weights.",
    sure=True,
)
def without_a_graph(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    with torch.no_grad():
        told = called(model, x_t, t, y)
        return to_x_and_noise(told, x_t, t, process, target)[0]


@mistake(FUNCTION, "The network's answer is cut out of the graph: its weights get no gradient.")
def with_a_detached_network(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = called(model, x_t, t, y).detach()
    return to_x_and_noise(told, x_t, t, process, target)[0]


@mistake(FUNCTION, "x_t is detached on its way to the network: a part of its gradient is lost.")
def with_a_detached_input(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = called(model, x_t.detach(), t, y)
    return to_x_and_noise(told, x_t, t, process, target)[0]


@mistake(
    FUNCTION,
    "The network is asked at another level than t: it knows levels from 0 to 1, as they come.",
)
def at_a_thousand_levels(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = called(model, x_t, 1000 * t, y)
    return to_x_and_noise(told, x_t, t, process, target)[0]


@mistake(
    FUNCTION,
    "Levels are kept away from 0. f(x, 0) is x by b = 0, and nothing is divided by t.",
)
def kept_away_from_0(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    t = t.clamp(min=1e-3)
    return to_x_and_noise(called(model, x_t, t, y), x_t, t, process, target)[0]


@mistake(
    FUNCTION,
    "a, b, c and d are numbers of an example: as they are, they multiply the last axis of x_t.",
)
def along_the_last_axis(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = called(model, x_t, t, y)
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    return (d * x_t - b * told) / (a * d - b * c)


@mistake(FUNCTION, "One level is used for the whole batch: each example has its own.")
def at_the_first_level(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = called(model, x_t, t, y)
    first = t[:1].expand_as(t)
    return to_x_and_noise(told, x_t, first, process, target)[0]


@mistake(FUNCTION, "The network is called twice.", public=True)
def asked_twice(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = called(model, x_t, t, y)
    told = (told + called(model, x_t, t, y)) / 2
    return to_x_and_noise(told, x_t, t, process, target)[0]


@mistake(FUNCTION, "Any form will do.", public=False, bare=True)
def of_any_form(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    return to_x_and_noise(called(model, x_t, t, y), x_t, t, process, target)[0]


@mistake(FUNCTION, "float64 is computed in float32.", public=False)
def f_in_float32(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = called(model, x_t, t, y)
    found = to_x_and_noise(told.float(), x_t.float(), t.float(), process, target)[0]
    return found.to(x_t.dtype)


@mistake(FUNCTION, "float32 becomes float64.", public=False)
def f_in_float64(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = called(model, x_t, t, y)
    return to_x_and_noise(told.double(), x_t.double(), t.double(), process, target)[0]


@mistake(FUNCTION, "A level is a constant: no gradient reaches it.", public=False)
def f_of_a_detached_level(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    t = t.detach()
    return to_x_and_noise(called(model, x_t, t, y), x_t, t, process, target)[0]


@mistake(FUNCTION, "A condition of zeros counts as none.", public=False)
def no_condition_of_zeros(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = model(x_t, t, y) if y is not None and y.any() else model(x_t, t)
    return to_x_and_noise(told, x_t, t, process, target)[0]


@mistake(FUNCTION, "At the least level the answer is x_t, whatever a is.", public=False)
def x_itself_at_0(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    told = called(model, x_t, t, y)
    found = to_x_and_noise(told, x_t, t, process, target)[0]
    return torch.where(column(t == 0, x_t), x_t, found)


# --- consistency.loss ---------------------------------------------------------------------------


def end(model, x_t, t, y):
    return x_t - column(t, x_t) * called(model, x_t, t, y)


class Pair:
    """The two points of a loss, with and without a teacher."""

    def __init__(self, model, x, z, t, s, teacher, average, y, huber):
        self.x, self.z, self.t, self.s, self.y, self.c = x, z, t, s, y, huber
        self.model, self.teacher, self.average = model, teacher, average
        self.slow = model if average is None else average
        with torch.no_grad():
            self.x_t, self.v = interpolate(x, z, t)
            if teacher is not None:
                self.v = called(teacher, self.x_t, t, y)
            self.h = column(t - s, x)
            self.x_s = self.x_t - self.h * self.v

    def far(self):
        return end(self.model, self.x_t, self.t, self.y)

    @torch.no_grad()
    def near(self):
        return end(self.slow, self.x_s, self.s, self.y)

    def m(self, far=None, near=None):
        off = (self.far() if far is None else far) - (self.near() if near is None else near)
        return off.square().flatten(1).mean(1)

    def huber(self, m):
        return (m + self.c**2).sqrt() - self.c if self.c else m

    def mean(self, m):
        return (self.huber(m) / (self.t - self.s)).mean()


def loss_by(formula):
    def loss(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
        return formula(Pair(model, x, z, t, s, teacher, average, y, huber))

    return loss


def at_two_points(k, far, near):
    """The right loss of other ends."""
    return k.mean(k.m(far, near))


def moved(k, x_s, s=None):
    """The right loss with another x_s, or another level there."""
    with torch.no_grad():
        near = end(k.slow, x_s, k.s if s is None else s, k.y)
    return at_two_points(k, None, near)


def swapped(k):
    with torch.no_grad():
        far = end(k.slow, k.x_t, k.t, k.y)
    return at_two_points(k, far, end(k.model, k.x_s, k.s, k.y))


def average_as_input(k):
    """The average's answer for x_t and the student's for x_s, with gradients in the student."""
    return at_two_points(k, end(k.slow, k.x_t, k.t, k.y), end(k.model, k.x_s, k.s, k.y).detach())


def of_both_networks(k):
    near = called(k.slow, k.x_s, k.s, k.y).detach()
    return at_two_points(k, called(k.model, k.x_t, k.t, k.y), near)


def without_y_in(k, who):
    """The right loss, in which one of the models is asked without a condition."""
    y = {"teacher": k.y, "student": k.y, "target": k.y} | {who: None}
    with torch.no_grad():
        v = k.v if k.teacher is None else called(k.teacher, k.x_t, k.t, y["teacher"])
        x_s = k.x_t - k.h * v
        near = end(k.slow, x_s, k.s, y["target"])
    return at_two_points(k, end(k.model, k.x_t, k.t, y["student"]), near)


def teacher_elsewhere(k, x, t):
    """The right loss, the teacher of which is asked elsewhere."""
    if k.teacher is None:
        return k.mean(k.m())
    with torch.no_grad():
        v = called(k.teacher, x, t, k.y)
    return moved(k, k.x_t - k.h * v)


def heun(k):
    if k.teacher is None:
        return k.mean(k.m())
    with torch.no_grad():
        v = (k.v + called(k.teacher, k.x_s, k.s, k.y)) / 2
    return moved(k, k.x_t - k.h * v)


of_pairs = several(
    LOSS,
    (
        "a_target_with_gradient",
        "Gradients flow into the target f(x_s, s) too: it must stand still while f(x_t, t) moves.",
        loss_by(lambda k: at_two_points(k, None, end(k.slow, k.x_s, k.s, k.y))),
    ),
    (
        "the_target_learns",
        "f(x_s, s) learns from f(x_t, t) here. The one near the data is known better: it teaches.",
        loss_by(swapped),
    ),
    (
        "the_average_at_x_t",
        "The averaged weights are asked at (x_t, t), and the student at (x_s, s): swap them.",
        loss_by(average_as_input),
    ),
    (
        "the_target_at_x_t",
        "The target is asked at x_t with the level s. It belongs at x_s.",
        loss_by(lambda k: moved(k, k.x_t)),
    ),
    (
        "the_target_at_t",
        "The target is asked at x_s with the level t: x_s is at the level s.",
        loss_by(lambda k: moved(k, k.x_s, k.t)),
    ),
    (
        "a_step_to_more_noise",
        "x_s is x_t + (t − s) v, a step to more noise: v points from data to noise.",
        loss_by(lambda k: moved(k, k.x_t + k.h * k.v)),
    ),
    (
        "a_step_of_length_s",
        "The step from x_t to x_s is s long here; it is t − s.",
        loss_by(lambda k: moved(k, k.x_t - column(k.s, k.x) * k.v)),
    ),
    (
        "a_step_to_the_end",
        "The step is t long and ends at 0. The neighbour is at the level s.",
        loss_by(lambda k: moved(k, k.x_t - column(k.t, k.x) * k.v)),
    ),
    (
        "x_for_the_target",
        "The target is x, the data of the pair. It is the end that f⁻ sees from (x_s, s).",
        loss_by(lambda k: at_two_points(k, None, k.x)),
    ),
    (
        "x_s_for_the_target",
        "The target is x_s itself. It is the end that f⁻ sees from there.",
        loss_by(lambda k: at_two_points(k, None, k.x_s)),
    ),
    (
        "networks_compared",
        "This compares what the networks return. Ends are compared, by `function`.",
        loss_by(of_both_networks),
    ),
    (
        "gaps_not_divided",
        "The examples are not divided by t − s.",
        loss_by(lambda k: k.huber(k.m()).mean()),
    ),
    (
        "gaps_multiplied",
        "The examples are multiplied by t − s, and must be divided by it.",
        loss_by(lambda k: (k.huber(k.m()) * (k.t - k.s)).mean()),
    ),
    (
        "gaps_squared",
        "The examples are divided by (t − s)², and must be by t − s.",
        loss_by(lambda k: (k.huber(k.m()) / (k.t - k.s) ** 2).mean()),
    ),
    (
        "divided_by_the_mean_gap",
        "All examples are divided by the mean of t − s. Each is divided by its own.",
        loss_by(lambda k: k.huber(k.m()).mean() / (k.t - k.s).mean()),
    ),
    (
        "divided_by_t",
        "The examples are divided by t, and must be by t − s.",
        loss_by(lambda k: (k.huber(k.m()) / k.t).mean()),
    ),
    (
        "summed_over_dimensions",
        "m is a sum over the dimensions. It is their mean.",
        loss_by(lambda k: k.mean((k.far() - k.near()).square().flatten(1).sum(1))),
    ),
    (
        "summed_over_the_batch",
        "This is a sum over the batch, and must be a mean.",
        loss_by(lambda k: (k.huber(k.m()) / (k.t - k.s)).sum()),
    ),
    (
        "absolute_gaps",
        "m is made of absolute values. It is the mean of squares.",
        loss_by(lambda k: k.mean((k.far() - k.near()).abs().flatten(1).mean(1))),
    ),
    (
        "huber_is_ignored",
        "`huber` changes nothing here.",
        loss_by(lambda k: (k.m() / (k.t - k.s)).mean()),
    ),
    (
        "huber_above_0",
        "c is not taken off: equal ends must count 0, and √c² is c.",
        loss_by(lambda k: ((k.m() + k.c**2).sqrt() / (k.t - k.s)).mean() if k.c else k.mean(k.m())),
    ),
    (
        "huber_of_c",
        "Under the root it is c², not c.",
        loss_by(
            lambda k: (
                (((k.m() + k.c).sqrt() - k.c**0.5) / (k.t - k.s)).mean() if k.c else k.mean(k.m())
            )
        ),
    ),
    (
        "huber_of_numbers",
        "The root is drawn of every number's square. It is drawn of m, one number an example.",
        loss_by(
            lambda k: (
                k.huber((k.far() - k.near()).square()).flatten(1).mean(1) / (k.t - k.s)
            ).mean()
        ),
    ),
    (
        "huber_of_the_batch",
        "The root is drawn of the mean over the batch. It is drawn of m, example by example.",
        loss_by(lambda k: k.huber((k.m() / (k.t - k.s)).mean())),
    ),
    (
        "the_teacher_at_s",
        "The teacher is asked at x_t with the level s; x_t is at the level t.",
        loss_by(lambda k: teacher_elsewhere(k, k.x_t, k.s)),
    ),
    (
        "the_teacher_at_the_line",
        "The teacher is asked at the end of the step. An Euler step goes by the velocity at x_t.",
        loss_by(lambda k: teacher_elsewhere(k, k.x_t - k.h * (k.z - k.x), k.s)),
    ),
    (
        "a_step_of_heun",
        "This is a step of Heun. The docstring has an Euler step, one call of the teacher.",
        loss_by(heun),
    ),
    (
        "a_target_without_y",
        "y does not reach the target.",
        loss_by(lambda k: without_y_in(k, "target")),
    ),
    (
        "a_teacher_without_y",
        "y does not reach the teacher.",
        loss_by(lambda k: without_y_in(k, "teacher")),
    ),
    (
        "a_student_without_y",
        "y does not reach the student's f(x_t, t).",
        loss_by(lambda k: without_y_in(k, "student")),
    ),
)


@mistake(
    LOSS,
    "The result has no graph: gradients must flow through f(x_t, t) into the student's weights.",
    sure=True,
)
@torch.no_grad()
def all_in_no_grad(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, average, y, huber)
    return k.mean(k.m())


@mistake(LOSS, "The teacher is not used: with one, v is its velocity at x_t.")
def without_its_teacher(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, None, average, y, huber)
    return k.mean(k.m())


@mistake(LOSS, "The averaged weights are not used: with them, the target is theirs.")
def without_the_average(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, None, y, huber)
    return k.mean(k.m())


@mistake(LOSS, "y reaches no model.")
def without_any_y(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, average, None, huber)
    return k.mean(k.m())


@mistake(
    LOSS,
    "With averaged weights the target still gets a gradient, in them: they are an average, and "
    "are not trained.",
)
def an_average_that_learns(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, average, y, huber)
    if average is None:
        return k.mean(k.m())
    return at_two_points(k, None, end(average, k.x_s, s, y))


@mistake(LOSS, "x and z get a gradient.", public=False)
def data_that_learn(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, average, y, huber)
    k.x_t = interpolate(x, z, t)[0]
    return k.mean(k.m())


@mistake(LOSS, "Any two levels and any c will do.", public=False, bare=True)
def of_any_two(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, average, y, huber)
    return k.mean(k.m())


@mistake(LOSS, "float64 is computed in float32.", public=False)
def loss_in_float32(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, average, y, huber)
    return k.mean(k.m(k.far().float(), k.near().float())).to(x.dtype)


@mistake(LOSS, "float32 becomes float64.", public=False)
def loss_in_float64(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, average, y, huber)
    return k.mean(k.m(k.far().double(), k.near().double()))


@mistake(LOSS, "A small c counts as 0.", public=False)
def no_small_huber(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, average, y, huber if huber > 0.05 else 0.0)
    return k.mean(k.m())


@mistake(LOSS, "Small gaps are made larger.", public=False)
def no_small_gaps(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    k = Pair(model, x, z, t, s, teacher, average, y, huber)
    return (k.huber(k.m()) / (t - s).clamp(min=1e-2)).mean()
