"""Typical wrong answers to chapter 12's jumps, each with the sentence that explains it."""

import torch

from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.consistency import RECTIFIED, VELOCITY, check_between, check_boundary, function
from cs231n_gen.diffusion import check_alike, check_levels, column, ode_velocity, to_x_and_noise
from cs231n_gen.flow import interpolate

FUNCTION, LOSS = "consistency.function", "consistency.loss"
TANGENT, MEAN_FLOW = "consistency.tangent", "consistency.mean_flow_target"
SHORTCUT = "consistency.shortcut_target"


def no_form(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
    check_levels(x_t, t)
    check_boundary(process, target)


def no_neighbours(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    check_between(x, t, s)
    if not huber >= 0:
        raise ValueError(f"huber must be at least 0, got {huber}")


def no_direction(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    check_alike(x_t, v, "v", "x_t")
    check_levels(x_t, t)
    check_boundary(process, target)


def no_way(model, x_t, t, s, v, y=None):
    check_alike(x_t, v, "v", "x_t")
    check_between(x_t, t, s, equal=True)


def no_step(model, x_t, t, s, y=None):
    check_between(x_t, t, s)


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    FUNCTION: no_form,
    LOSS: no_neighbours,
    TANGENT: no_direction,
    MEAN_FLOW: no_way,
    SHORTCUT: no_step,
}


def called(model, x_t, t, y):
    return model(x_t, t) if y is None else model(x_t, t, y)


# --- consistency.function -----------------------------------------------------------------------


class Form:
    """What of a network and a form an answer can be made of."""

    def __init__(self, told, x_t, t, process, target, refuses=True):
        self.F, self.x_t, self.level, self.process, self.target = told, x_t, t, process, target
        of = process.a, process.b, target.c, target.d
        self.a, self.b, self.c, self.d = (column(f(t), x_t) for f in of)
        self.t = column(t, x_t)
        self.delta = self.a * self.d - self.b * self.c
        if refuses:
            self.x, self.z = to_x_and_noise(told, x_t, t, process, target)
        else:  # by hand, whatever does not fit
            self.z = (self.a * told - self.c * x_t) / self.delta


def f_by(formula, refuses=True):
    """An f by a formula of its parts."""

    def f(model, x_t, t, process=RECTIFIED, target=VELOCITY, y=None):
        return formula(Form(called(model, x_t, t, y), x_t, t, process, target, refuses))

    return f


# Formulas that many write by hand, without `to_x_and_noise` and what it refuses.
BY_HAND = (
    (
        "noise_for_data",
        "This is ẑ, the noise that the prediction stands for, and not the data x̂.",
        lambda k: k.z,
    ),
    (
        "a_step_of_one",
        "F is multiplied by 1 and not by b: at b = 0 the network must count for nothing.",
        lambda k: (k.d * k.x_t - k.F) / k.delta,
    ),
    (
        "away_from_the_data",
        "The prediction has the wrong sign: this goes away from the data.",
        lambda k: (k.d * k.x_t + k.b * k.F) / k.delta,
    ),
    (
        "always_rectified_flow",
        "x_t − t F is right for rectified flow alone: other forms have a, b, c and d of their own.",
        lambda k: k.x_t - k.t * k.F,
    ),
    (
        "the_prediction_itself",
        "This returns what the network says; f is the data that x_t and the prediction stand for.",
        lambda k: k.F + 0 * k.x_t,
    ),
    (
        "c_and_d_swapped",
        "c and d are swapped: c belongs to the data in y = c x + d z, d to the noise.",
        lambda k: (k.c * k.x_t - k.b * k.F) / (k.a * k.c - k.b * k.d),
    ),
    (
        "not_divided",
        "The sum is not divided by a d − b c, which is 1 for some forms only.",
        lambda k: k.d * k.x_t - k.b * k.F,
    ),
    (
        "the_target_is_ignored",
        "The prediction is taken for the noise here, whatever the target is: c and d say.",
        lambda k: (k.x_t - k.b * k.F) / k.a,
    ),
)
of_forms = several(FUNCTION, *((n, says, f_by(f)) for n, says, f in BY_HAND))
forms_by_hand = several(
    FUNCTION, *((f"{n}_by_hand", says, f_by(f, refuses=False)) for n, says, f in BY_HAND)
)
by_formula = several(
    FUNCTION,
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

    def __init__(self, model, x, z, t, s, teacher, average, y, huber, target_first=False):
        self.target_first = target_first
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

    def off(self, far=None, near=None):
        if self.target_first:
            near = self.near() if near is None else near
        return (self.far() if far is None else far) - (self.near() if near is None else near)

    def m(self, far=None, near=None):
        return self.off(far, near).square().flatten(1).mean(1)

    def huber(self, m):
        return (m + self.c**2).sqrt() - self.c if self.c else m

    def mean(self, m):
        return (self.huber(m) / (self.t - self.s)).mean()


def loss_by(formula, target_first=False):
    def loss(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
        return formula(Pair(model, x, z, t, s, teacher, average, y, huber, target_first))

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


# Formulas of both ends, whichever network is asked first.
OF_GAPS = (
    (
        "gaps_not_divided",
        "The examples are not divided by t − s.",
        lambda k: k.huber(k.m()).mean(),
    ),
    (
        "gaps_multiplied",
        "The examples are multiplied by t − s, and must be divided by it.",
        lambda k: (k.huber(k.m()) * (k.t - k.s)).mean(),
    ),
    (
        "gaps_squared",
        "The examples are divided by (t − s)², and must be by t − s.",
        lambda k: (k.huber(k.m()) / (k.t - k.s) ** 2).mean(),
    ),
    (
        "divided_by_the_mean_gap",
        "All examples are divided by the mean of t − s. Each is divided by its own.",
        lambda k: k.huber(k.m()).mean() / (k.t - k.s).mean(),
    ),
    (
        "divided_by_t",
        "The examples are divided by t, and must be by t − s.",
        lambda k: (k.huber(k.m()) / k.t).mean(),
    ),
    (
        "summed_over_dimensions",
        "m is a sum over the dimensions. It is their mean.",
        lambda k: k.mean(k.off().square().flatten(1).sum(1)),
    ),
    (
        "summed_over_the_batch",
        "This is a sum over the batch, and must be a mean.",
        lambda k: (k.huber(k.m()) / (k.t - k.s)).sum(),
    ),
    (
        "absolute_gaps",
        "m is made of absolute values. It is the mean of squares.",
        lambda k: k.mean(k.off().abs().flatten(1).mean(1)),
    ),
    (
        "huber_is_ignored",
        "`huber` changes nothing here.",
        lambda k: (k.m() / (k.t - k.s)).mean(),
    ),
    (
        "huber_above_0",
        "c is not taken off: equal ends must count 0, and √c² is c.",
        lambda k: ((k.m() + k.c**2).sqrt() / (k.t - k.s)).mean() if k.c else k.mean(k.m()),
    ),
    (
        "huber_of_c",
        "Under the root it is c², not c.",
        lambda k: (
            (((k.m() + k.c).sqrt() - k.c**0.5) / (k.t - k.s)).mean() if k.c else k.mean(k.m())
        ),
    ),
    (
        "huber_of_numbers",
        "The root is drawn of every number's square. It is drawn of m, one number an example.",
        lambda k: (k.huber(k.off().square()).flatten(1).mean(1) / (k.t - k.s)).mean(),
    ),
    (
        "huber_of_the_batch",
        "The root is drawn of the mean over the batch. It is drawn of m, example by example.",
        lambda k: k.huber((k.m() / (k.t - k.s)).mean()),
    ),
)
of_gaps = several(LOSS, *((n, says, loss_by(f)) for n, says, f in OF_GAPS))
gaps_target_first = several(
    LOSS, *((f"{n}_target_first", says, loss_by(f, target_first=True)) for n, says, f in OF_GAPS)
)
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


def without(**left_out):
    """The right loss, the target first, that does not use some of its arguments."""

    def loss(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
        used = {"teacher": teacher, "average": average, "y": y, "huber": huber} | left_out
        k = Pair(model, x, z, t, s, **used, target_first=True)
        return k.mean(k.m())

    return loss


unused_target_first = several(
    LOSS,
    ("no_teacher_target_first", without_its_teacher, without(teacher=None)),
    ("no_average_target_first", without_the_average, without(average=None)),
    ("no_y_target_first", without_any_y, without(y=None)),
)


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


# --- consistency.tangent ------------------------------------------------------------------------


def slope(f, at, along):
    """The Jacobian–vector product, without a graph."""
    _, found = torch.func.jvp(f, tuple(k.detach() for k in at), tuple(k.detach() for k in along))
    return found.detach()


def twice_backward(f, x_t, t, v):
    """The same by two backward passes, which need gradients to be switched on."""
    e, w = torch.zeros_like(t).requires_grad_(), torch.zeros_like(x_t).requires_grad_()
    found = f(x_t.detach() + column(e, x_t) * v.detach(), t.detach() + e)
    (pulled,) = torch.autograd.grad((w * found).sum(), e, create_graph=True)
    if not pulled.requires_grad:  # by no example
        return torch.zeros_like(x_t)
    return torch.autograd.grad(pulled.sum(), w)[0].detach()


def moving(direction, of=function):
    """A tangent along another direction than (v, 1), or of another function than f."""

    def tangent(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
        def f(x_t, t):
            return of(model, x_t, t, process, target, y)

        return slope(f, (x_t, t), direction(x_t, t, v))

    return tangent


def right_way(x_t, t, v):
    return v, torch.ones_like(t)


def backwards(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    """vᵀ ∂f/∂x_t + ∂f/∂t."""

    def f(x_t, t):
        return function(model, x_t, t, process, target, y)

    _, pull = torch.func.vjp(lambda x: f(x, t), x_t.detach())
    still = slope(f, (x_t, t), (torch.zeros_like(v), torch.ones_like(t)))
    return pull(v)[0].detach() + still


def by_the_diagonal(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    """v times the column sums of ∂f/∂x_t, and ∂f/∂t."""

    def f(x_t, t):
        return function(model, x_t, t, process, target, y)

    _, pull = torch.func.vjp(lambda x: f(x, t), x_t.detach())
    still = slope(f, (x_t, t), (torch.zeros_like(v), torch.ones_like(t)))
    return v * pull(torch.ones_like(v))[0].detach() + still


def prediction(model, x_t, t, process, target, y):
    return called(model, x_t, t, y)


def of_rectified_flow(model, x_t, t, process, target, y):
    return function(model, x_t, t, y=y)


def difference(h, order=1):
    def tangent(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
        with torch.no_grad():

            def f(e):
                return function(model, x_t + e * v, t + e, process, target, y)

            return (f(h) - f(0.0)) / h if order == 1 else (f(h) - f(-h)) / (2 * h)

    return tangent


of_tangents = several(
    TANGENT,
    (
        "t_stays",
        "t has the tangent 0. It moves along the path at the rate 1.",
        moving(lambda x_t, t, v: (v, torch.zeros_like(t))),
    ),
    (
        "x_t_stays",
        "x_t has the tangent 0. It moves along the path at the rate v.",
        moving(lambda x_t, t, v: (torch.zeros_like(v), torch.ones_like(t))),
    ),
    (
        "t_has_the_tangent_t",
        "t has the tangent t. dt/dt is 1.",
        moving(lambda x_t, t, v: (v, t)),
    ),
    (
        "t_falls",
        "t has the tangent −1, while x_t moves along rising t: dt/dt is 1.",
        moving(lambda x_t, t, v: (v, -torch.ones_like(t))),
    ),
    (
        "x_t_moves_back",
        "x_t has the tangent −v, and v is dx_t/dt.",
        moving(lambda x_t, t, v: (-v, torch.ones_like(t))),
    ),
    (
        "the_other_way",
        "The sign is wrong: this is the rate along falling t.",
        moving(lambda x_t, t, v: (-v, -torch.ones_like(t))),
    ),
    (
        "along_x_t",
        "x_t has itself as a tangent. It moves at the rate v.",
        moving(lambda x_t, t, v: (x_t, torch.ones_like(t))),
    ),
    (
        "of_the_network",
        "This is dF/dt, the rate of what the network returns. It is f that is the same on a path.",
        moving(right_way, prediction),
    ),
    (
        "always_of_rectified_flow",
        "f is `function` of the process and target that are given: pass both on.",
        moving(right_way, of_rectified_flow),
    ),
    (
        "transposed",
        "∂f/∂x_t is transposed: this is a vector–Jacobian product, by vjp in place of jvp.",
        backwards,
    ),
    (
        "diagonal",
        "v multiplies the gradient of a sum. Each number of f has derivatives by all of x_t.",
        by_the_diagonal,
    ),
    (
        "a_difference_of_neighbours",
        "This is a difference of two neighbours: near to df/dt, yet not exact.",
        difference(1e-4),
    ),
)


@mistake(TANGENT, "This is f itself: torch.func.jvp returns the value first, and then its rate.")
def the_value(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    return function(model, x_t, t, process, target, y).detach()


@mistake(TANGENT, "y does not reach the network.")
def a_tangent_without_y(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    def f(x_t, t):
        return function(model, x_t, t, process, target)

    return slope(f, (x_t, t), right_way(x_t, t, v))


@mistake(TANGENT, "The result has a graph. It is a target: detach it.", sure=True)
def a_tangent_with_a_graph(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    def f(x_t, t):
        return function(model, x_t, t, process, target, y)

    return torch.func.jvp(f, (x_t, t), (v, torch.ones_like(t)))[1]


@mistake(TANGENT, "Half of it: the mean of both parts.", public=False)
def half_of_a_tangent(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    def f(x_t, t):
        return function(model, x_t, t, process, target, y)

    return slope(f, (x_t, t), right_way(x_t, t, v)) / 2


@mistake(TANGENT, "By central differences, nearly exact.", public=False)
def a_central_difference(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    return difference(1e-5, order=2)(model, x_t, t, v, process, target, y)


@mistake(TANGENT, "It fails where gradients are switched off.", public=False)
def needs_gradients(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    def f(x_t, t):
        return function(model, x_t, t, process, target, y)

    return twice_backward(f, x_t, t, v)


@mistake(TANGENT, "Any v and any form will do.", public=False, bare=True)
def along_anything(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    def f(x_t, t):
        told = called(model, x_t, t, y)
        return to_x_and_noise(told, x_t, t, process, target)[0]

    return slope(f, (x_t, t), right_way(x_t, t, v.expand_as(x_t)))


@mistake(TANGENT, "float64 is computed in float32.", public=False)
def a_tangent_in_float32(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    def f(x_t, t):
        return function(model, x_t, t, process, target, y)

    low = slope(f, (x_t.float(), t.float()), right_way(x_t.float(), t.float(), v.float()))
    return low.to(x_t.dtype)


@mistake(TANGENT, "float32 becomes float64.", public=False)
def a_tangent_in_float64(model, x_t, t, v, process=RECTIFIED, target=VELOCITY, y=None):
    def f(x_t, t):
        return function(model, x_t, t, process, target, y)

    return slope(f, (x_t, t), right_way(x_t, t, v)).double()


# --- consistency.mean_flow_target ---------------------------------------------------------------


def mean(model, x_t, t, s, y):
    return model(x_t, t, s) if y is None else model(x_t, t, s, y)


class Way:
    """A mean velocity at one place, and its rates."""

    def __init__(self, model, x_t, t, s, v, y):
        self.model, self.x_t, self.t, self.s, self.v, self.y = model, x_t, t, s, v, y
        self.h, self.one, self.still = column(t - s, x_t), torch.ones_like(t), torch.zeros_like(t)

    def u(self):
        return mean(self.model, self.x_t, self.t, self.s, self.y).detach()

    def rate(self, x_t=None, t=None, s=None, y=True):
        """du along tangents of x_t, t and s: by default (v, 1, 0)."""
        along = (
            self.v if x_t is None else x_t,
            self.one if t is None else t,
            self.still if s is None else s,
        )

        def u(x_t, t, s):
            return mean(self.model, x_t, t, s, self.y if y else None)

        return slope(u, (self.x_t, self.t, self.s), along)


def goal_by(formula):
    def goal(model, x_t, t, s, v, y=None):
        return formula(Way(model, x_t, t, s, v, y)).detach()

    return goal


def levels_swapped(k):
    def u(x_t, t):
        return mean(k.model, x_t, k.s, t, k.y)

    return k.v - k.h * slope(u, (k.x_t, k.t), (k.v, k.one))


def by_a_difference(k):
    with torch.no_grad():
        far = mean(k.model, k.x_t + 1e-4 * k.v, k.t + 1e-4, k.s, k.y)
    return k.v - k.h * (far - k.u()) / 1e-4


of_ways = several(
    MEAN_FLOW,
    (
        "the_sign_of_the_correction",
        "The rate is added. d/dt of (t − s) u = x_t − x_s gives u = v − (t − s) du/dt.",
        goal_by(lambda k: k.v + k.h * k.rate()),
    ),
    (
        "without_the_way",
        "The rate is not multiplied by t − s.",
        goal_by(lambda k: k.v - k.rate()),
    ),
    (
        "as_long_as_t",
        "The rate is multiplied by t, and must be by t − s.",
        goal_by(lambda k: k.v - column(k.t, k.x_t) * k.rate()),
    ),
    (
        "as_long_as_s",
        "The rate is multiplied by s, and must be by t − s.",
        goal_by(lambda k: k.v - column(k.s, k.x_t) * k.rate()),
    ),
    (
        "s_moves_along",
        "s has the tangent 1 as well. It stays where it is while t moves: 0.",
        goal_by(lambda k: k.v - k.h * k.rate(s=k.one)),
    ),
    (
        "s_moves_and_t_stays",
        "The tangents of t and s are swapped: t moves, with 1, and s stays, with 0.",
        goal_by(lambda k: k.v - k.h * k.rate(t=k.still, s=k.one)),
    ),
    (
        "t_has_no_tangent",
        "t has the tangent 0. It moves at the rate 1.",
        goal_by(lambda k: k.v - k.h * k.rate(t=k.still)),
    ),
    (
        "x_t_has_no_tangent",
        "x_t has the tangent 0. It moves at the rate v.",
        goal_by(lambda k: k.v - k.h * k.rate(x_t=torch.zeros_like(k.v))),
    ),
    (
        "t_goes_down",
        "t has the tangent −1. v is dx_t/dt along rising t, so that t's is 1.",
        goal_by(lambda k: k.v - k.h * k.rate(t=-k.one)),
    ),
    (
        "along_u",
        "x_t moves along u here. A point moves by v, its velocity at t; u is a mean.",
        goal_by(lambda k: k.v - k.h * k.rate(x_t=k.u())),
    ),
    (
        "u_for_v",
        "u is what the network says; v, the velocity that is given, comes first here.",
        goal_by(lambda k: k.u() - k.h * k.rate()),
    ),
    (
        "u_itself",
        "This is what the network says, and not what it should say.",
        goal_by(lambda k: k.u()),
    ),
    (
        "v_itself",
        "This is v, which is right for s = t alone.",
        goal_by(lambda k: k.v + 0 * k.u()),
    ),
    (
        "levels_are_swapped",
        "The network is asked from s to t: the level to go from, t, comes first.",
        goal_by(levels_swapped),
    ),
    (
        "a_difference_for_the_rate",
        "du/dt is a difference of two neighbours: near to it, yet not exact.",
        goal_by(by_a_difference),
    ),
    (
        "u_without_y",
        "y does not reach the network.",
        goal_by(lambda k: k.v - k.h * k.rate(y=False)),
    ),
)


@mistake(MEAN_FLOW, "The result has a graph. It is a target: detach it.", sure=True)
def a_goal_with_a_graph(model, x_t, t, s, v, y=None):
    def u(x_t, t):
        return mean(model, x_t, t, s, y)

    rate = torch.func.jvp(u, (x_t, t), (v, torch.ones_like(t)))[1]
    return v - column(t - s, x_t) * rate


@mistake(MEAN_FLOW, "t − s is lined up with the last axis of x_t: make a column of it.")
def a_way_along_the_last_axis(model, x_t, t, s, v, y=None):
    return v - (t - s) * Way(model, x_t, t, s, v, y).rate()


@mistake(MEAN_FLOW, "Any levels and any v will do.", public=False, bare=True)
def a_goal_of_anything(model, x_t, t, s, v, y=None):
    k = Way(model, x_t, t, s, v.expand_as(x_t), y)
    return v - k.h * k.rate()


@mistake(MEAN_FLOW, "It fails where gradients are switched off.", public=False)
def a_goal_that_needs_gradients(model, x_t, t, s, v, y=None):
    def u(x_t, t):
        return mean(model, x_t, t, s, y)

    return v.detach() - column(t - s, x_t) * twice_backward(u, x_t, t, v)


@mistake(MEAN_FLOW, "float64 is computed in float32.", public=False)
def a_goal_in_float32(model, x_t, t, s, v, y=None):
    k = Way(model, *(k.float() for k in (x_t, t, s, v)), y)
    return (k.v - k.h * k.rate()).to(x_t.dtype)


@mistake(MEAN_FLOW, "Small steps count as none.", public=False)
def no_small_ways(model, x_t, t, s, v, y=None):
    k = Way(model, x_t, t, s, v, y)
    return torch.where(k.h < 0.02 * column(t, x_t), v, v - k.h * k.rate())


# --- consistency.shortcut_target ----------------------------------------------------------------


class Halves:
    def __init__(self, model, x_t, t, s, y):
        self.model, self.x_t, self.t, self.s, self.y = model, x_t, t, s, y
        self.m, self.h = (t + s) / 2, column(t - s, x_t) / 2

    def u(self, x, t, s, y=True):
        return mean(self.model, x, t, s, self.y if y else None)

    def both(self, x_m=None, m=None, first=None):
        m = self.m if m is None else m
        first = self.u(self.x_t, self.t, m) if first is None else first
        x_m = self.x_t - column(self.t - m, self.x_t) * first if x_m is None else x_m(first)
        return first, self.u(x_m, m, self.s)


def by_halves(formula):
    @torch.no_grad()
    def shortcut(model, x_t, t, s, y=None):
        return formula(Halves(model, x_t, t, s, y))

    return shortcut


def middle(pair):
    return (pair[0] + pair[1]) / 2


of_halves = several(
    SHORTCUT,
    (
        "one_long_step",
        "This is one step of the network, and what it should be is two of half the length.",
        by_halves(lambda k: k.u(k.x_t, k.t, k.s)),
    ),
    (
        "both_from_x_t",
        "The second step begins at x_t too. It begins where the first ends, at x_m.",
        by_halves(lambda k: middle(k.both(lambda first: k.x_t))),
    ),
    (
        "a_first_step_to_more_noise",
        "The first step goes to more noise: x_m is x_t − (t − m) u₁.",
        by_halves(lambda k: middle(k.both(lambda first: k.x_t + k.h * first))),
    ),
    (
        "a_first_step_of_both_lengths",
        "The first step is t − s long. x_m is half as far.",
        by_halves(lambda k: middle(k.both(lambda first: k.x_t - 2 * k.h * first))),
    ),
    (
        "a_first_step_of_length_m",
        "The first step is m long, and must be t − m long.",
        by_halves(lambda k: middle(k.both(lambda first: k.x_t - column(k.m, k.x_t) * first))),
    ),
    (
        "a_first_step_of_length_1",
        "u₁ is not multiplied by the length t − m of the first step.",
        by_halves(lambda k: middle(k.both(lambda first: k.x_t - first))),
    ),
    (
        "first_asked_to_s",
        "The network is first asked for the velocity from t to s. The first step ends at m.",
        by_halves(lambda k: middle(k.both(first=k.u(k.x_t, k.t, k.s)))),
    ),
    (
        "always_half_of_t",
        "m is half of t. It lies in the middle between t and s.",
        by_halves(lambda k: middle(k.both(m=k.t / 2))),
    ),
    (
        "half_of_the_gap",
        "m is half of t − s, a length. The level in the middle is (t + s) / 2.",
        by_halves(lambda k: middle(k.both(m=(k.t - k.s) / 2))),
    ),
    (
        "the_geometric_middle",
        "m is the root of t s. It lies in the middle between both levels.",
        by_halves(lambda k: middle(k.both(m=(k.t * k.s).sqrt()))),
    ),
    (
        "the_sum_of_both",
        "This is u₁ + u₂. The mean velocity of two equal steps is their mean.",
        by_halves(lambda k: sum(k.both())),
    ),
    (
        "where_two_steps_end",
        "This is where two steps end, x_s. The target is a velocity.",
        by_halves(lambda k: k.x_t - k.h * sum(k.both())),
    ),
    (
        "only_the_second",
        "This is the velocity of the second step alone.",
        by_halves(lambda k: k.both()[1]),
    ),
    (
        "only_the_first",
        "This is the velocity of the first step alone.",
        by_halves(lambda k: k.both()[0]),
    ),
    (
        "second_levels_as_first",
        "The second call has the levels of the first, t and m. It goes from m to s.",
        by_halves(lambda k: middle([u := k.u(k.x_t, k.t, k.m), k.u(k.x_t - k.h * u, k.t, k.m)])),
    ),
    (
        "levels_in_the_other_order",
        "The levels are swapped: the one to go from comes first.",
        by_halves(lambda k: middle([u := k.u(k.x_t, k.m, k.t), k.u(k.x_t - k.h * u, k.s, k.m)])),
    ),
    (
        "no_y_at_all",
        "y reaches neither call.",
        by_halves(
            lambda k: middle(
                [u := k.u(k.x_t, k.t, k.m, False), k.u(k.x_t - k.h * u, k.m, k.s, False)]
            )
        ),
    ),
    (
        "no_y_for_the_second",
        "y does not reach the second call.",
        by_halves(
            lambda k: middle([u := k.u(k.x_t, k.t, k.m), k.u(k.x_t - k.h * u, k.m, k.s, False)])
        ),
    ),
)


@mistake(SHORTCUT, "The result has a graph: the network would chase its own target.", sure=True)
def a_shortcut_with_a_graph(model, x_t, t, s, y=None):
    return middle(Halves(model, x_t, t, s, y).both())


@mistake(SHORTCUT, "Any levels will do.", public=False, bare=True)
@torch.no_grad()
def a_shortcut_of_anything(model, x_t, t, s, y=None):
    return middle(Halves(model, x_t, t, s, y).both())


@mistake(SHORTCUT, "float64 is computed in float32.", public=False)
@torch.no_grad()
def a_shortcut_in_float32(model, x_t, t, s, y=None):
    return middle(Halves(model, x_t.float(), t.float(), s.float(), y).both()).to(x_t.dtype)


@mistake(SHORTCUT, "Four steps in place of two.", public=False)
@torch.no_grad()
def four_quarters(model, x_t, t, s, y=None):
    total, x = 0.0, x_t
    for k in range(4):
        here, there = t + (s - t) * k / 4, t + (s - t) * (k + 1) / 4
        u = mean(model, x, here, there, y)
        x, total = x - column(here - there, x) * u, total + u / 4
    return total


@mistake(SHORTCUT, "Steps are not shorter than a hundredth.", public=False)
@torch.no_grad()
def no_small_halves(model, x_t, t, s, y=None):
    k = Halves(model, x_t, t, s, y)
    return middle(k.both(lambda first: x_t - k.h.clamp(min=0.01) * first))
