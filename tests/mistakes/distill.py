"""Typical wrong answers to chapter 12's `distill`, each with the sentence that explains it."""

from contextlib import nullcontext

import torch
from torch.nn import functional as F

from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.diffusion import X, column, to_x_and_noise
from cs231n_gen.diffusion_samplers import check_step, ddim_step
from cs231n_gen.flow import interpolate, sample, sample_heun, trajectory
from cs231n_gen.given.frozen import fixed
from cs231n_gen.guidance import guided_velocity, velocities

REFLOW, PROGRESSIVE = "distill.reflow_pairs", "distill.progressive_target"
GUIDANCE, ADVERSARIAL = "distill.guidance_target", "distill.adversarial_loss"
MATCHING = "distill.moment_matching_loss"


def no_parts(model, z, steps, y=None, at_once=1024):
    if at_once < 1:
        raise ValueError(f"at_once must be at least 1, got {at_once}")


def no_step(model, x_t, t, s, process, target, y=None):
    check_step(x_t, t, s)


def no_pair(features, heads, x, x_hat, z=None, t=None, y=None):
    if x.shape != x_hat.shape:
        raise ValueError("x_hat must be shaped like x")
    if (z is None) != (t is None):
        raise ValueError("z and t come together")
    if y is not None and t is None:
        raise ValueError("y is for noised examples")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {REFLOW: no_parts, PROGRESSIVE: no_step, ADVERSARIAL: no_pair}


def ask(model, x, t, y):
    return model(x, t) if y is None else model(x, t, y)


# --- distill.reflow_pairs -----------------------------------------------------------------------


def parts(z, y, at_once):
    """Noise and conditions, part by part."""
    cut = range(0, len(z), at_once)
    return [(z[i : i + at_once], None if y is None else y[i : i + at_once]) for i in cut]


def walked(walk):
    """Pairs by another sampler, in the right parts."""

    def reflow(model, z, steps, y=None, at_once=1024):
        return torch.cat([walk(model, p, steps, c) for p, c in parts(z, y, at_once)]), z

    return reflow


def paired(pair):
    """The right x, put together with z in another way."""

    def reflow(model, z, steps, y=None, at_once=1024):
        x = torch.cat([sample_heun(model, p, steps, c) for p, c in parts(z, y, at_once)])
        return pair(x, z)

    return reflow


@torch.no_grad()
def upwards(model, z, steps, y):
    """Heun's method with the sign of v and the levels the other way round."""
    x, h = z, 1 / steps
    for i in range(steps):
        t = torch.full((len(z),), i / steps, dtype=z.dtype)
        v = ask(model, x, t, y)
        x = x + h / 2 * (v + ask(model, x + h * v, t + h, y))
    return x


def recorded(model, z, steps, y):
    """Heun's method without torch.no_grad()."""
    x = z
    for i in range(steps, 0, -1):
        t, t_next = (torch.full((len(z),), k / steps, dtype=z.dtype) for k in (i, i - 1))
        v = ask(model, x, t, y)
        x = x - (v + ask(model, x - v / steps, t_next, y)) / (2 * steps)
    return x


reflow_walks = several(
    REFLOW,
    (
        "by_euler",
        "These are samples of Euler's method. A pair is what the next flow takes for the truth, so "
        "it is made by the sampler of second order, `flow.sample_heun`.",
        walked(sample),
    ),
    (
        "half_the_steps",
        "The steps are halved. One step of Heun's method has two calls: `steps` counts steps.",
        walked(lambda model, z, steps, y: sample_heun(model, z, max(1, steps // 2), y)),
    ),
    (
        "one_step_more",
        "One step more is made than asked for.",
        walked(lambda model, z, steps, y: sample_heun(model, z, steps + 1, y)),
    ),
    (
        "from_data_to_noise",
        "You walk from t = 0 to t = 1, along +v: that is the way from data to noise. z is noise, "
        "so the walk begins at t = 1.",
        walked(upwards),
    ),
    (
        "condition_forgotten",
        "The conditions are not used: your teacher is asked as if there were no y, and its samples "
        "are of any class.",
        walked(lambda model, z, steps, y: sample_heun(model, z, steps)),
    ),
    (
        "no_walk",
        "Your x is the noise itself: no sample has been made of it.",
        walked(lambda model, z, steps, y: z.clone()),
    ),
)

reflow_orders = several(
    REFLOW,
    (
        "noise_before_data",
        "The pair is the wrong way round: data first and noise second, as `flow.loss` takes them.",
        paired(lambda x, z: (z, x)),
    ),
    (
        "samples_sorted",
        "The samples have lost their order: row i of x must be made of row i of z. If pairs are "
        "shuffled, x and z know nothing of each other, and the next flow is no straighter.",
        paired(lambda x, z: (x.sort(0).values, z)),
    ),
    (
        "pairs_turned",
        "Your samples come in reverse order: row i of x must be made of row i of z.",
        paired(lambda x, z: (x.flip(0), z)),
    ),
    (
        "samples_alone",
        "Only the samples are returned. The noise that each is made of belongs to it: (x, z).",
        paired(lambda x, z: x),
    ),
    (
        "velocity_of_the_pair",
        "You return z − x in place of z. `flow.loss` makes the velocity itself, from x and z.",
        paired(lambda x, z: (x, z - x)),
    ),
    (
        "both_moved",
        "In place of z you return the samples once more.",
        paired(lambda x, z: (x, x.clone())),
    ),
)


@mistake(
    REFLOW,
    "The samples belong to other noise than you return: you draw new noise for the pairs. With "
    "independent noise this is the training of the first flow.",
)
def new_noise(model, z, steps, y=None, at_once=1024):
    x = torch.cat([sample_heun(model, p, steps, c) for p, c in parts(z, y, at_once)])
    return x, torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(0))


@mistake(
    REFLOW,
    "All examples go to the model at once. at_once bounds how many it is given, so that a hundred "
    "thousand pairs fit into memory: go through z in parts.",
)
def all_at_once(model, z, steps, y=None, at_once=1024):
    return sample_heun(model, z, steps, y), z


@mistake(
    REFLOW,
    "The last examples are missing where at_once does not divide the batch: the last part may be "
    "smaller than the others.",
)
def last_part_missing(model, z, steps, y=None, at_once=1024):
    whole = [p for p in parts(z, y, at_once) if len(p[0]) == min(at_once, len(z))]
    return torch.cat([sample_heun(model, p, steps, c) for p, c in whole]), z


@mistake(
    REFLOW,
    "The parts are put together in reverse order: row i of x must be made of row i of z.",
)
def last_part_first(model, z, steps, y=None, at_once=1024):
    return torch.cat([sample_heun(model, p, steps, c) for p, c in parts(z, y, at_once)][::-1]), z


@mistake(
    REFLOW,
    "Every part is sampled with the first conditions. y has to be cut into parts as z is.",
)
def conditions_of_the_first_part(model, z, steps, y=None, at_once=1024):
    found = [
        sample_heun(model, p, steps, None if y is None else y[: len(p)])
        for p, _ in parts(z, y, at_once)
    ]
    return torch.cat(found), z


@mistake(
    REFLOW,
    "The model is called on one example at a time. at_once says how many it may be given: fewer "
    "calls with more examples take far less time.",
)
def one_at_a_time(model, z, steps, y=None, at_once=1024):
    return torch.cat([sample_heun(model, p, steps, c) for p, c in parts(z, y, 1)]), z


@mistake(
    REFLOW,
    "at_once is taken for the number of parts. It is the number of examples in one.",
)
def at_once_parts(model, z, steps, y=None, at_once=1024):
    size = -(-len(z) // at_once)
    return torch.cat([sample_heun(model, p, steps, c) for p, c in parts(z, y, size)]), z


@mistake(
    REFLOW,
    "Every frame of the walk is returned, from noise to sample. Each pair needs its last one only.",
)
def whole_paths(model, z, steps, y=None, at_once=1024):
    return trajectory(model, z, steps, y), z


@mistake(
    REFLOW,
    "The teacher records gradients on its whole walk. `flow.sample_heun` does not, and needs less "
    "memory.",
    sure=True,
)
def gradients_recorded(model, z, steps, y=None, at_once=1024):
    return torch.cat([recorded(model, p, steps, c) for p, c in parts(z, y, at_once)]), z


@mistake(REFLOW, "Detached at the end only.", public=False)
def detached_at_the_end(model, z, steps, y=None, at_once=1024):
    return torch.cat([recorded(model, p, steps, c) for p, c in parts(z, y, at_once)]).detach(), z


@mistake(REFLOW, "float64 passes through float32.", public=False)
def reflow_in_float32(model, z, steps, y=None, at_once=1024):
    x = torch.cat([sample_heun(model, p.float(), steps, c) for p, c in parts(z, y, at_once)])
    return x.to(z.dtype), z


@mistake(REFLOW, "float32 becomes float64.", public=False)
def reflow_in_float64(model, z, steps, y=None, at_once=1024):
    x = torch.cat([sample_heun(model, p.double(), steps, c) for p, c in parts(z, y, at_once)])
    return x.to(z.dtype), z


@mistake(REFLOW, "x is float64 in any case.", public=False)
def samples_in_float64(model, z, steps, y=None, at_once=1024):
    x = torch.cat([sample_heun(model, p, steps, c) for p, c in parts(z, y, at_once)])
    return x.double(), z


@mistake(REFLOW, "Any at_once will do.", public=False, bare=True)
def any_at_once(model, z, steps, y=None, at_once=1024):
    found = [sample_heun(model, p, steps, c) for p, c in parts(z, y, max(1, at_once))]
    return torch.cat(found), z


@mistake(REFLOW, "Any number of steps will do.", public=False)
def any_steps(model, z, steps, y=None, at_once=1024):
    steps = max(1, int(steps))
    return torch.cat([sample_heun(model, p, steps, c) for p, c in parts(z, y, at_once)]), z


@mistake(REFLOW, "Labels become numbers with a point.", public=False)
def labels_as_floats(model, z, steps, y=None, at_once=1024):
    y = None if y is None else y.to(z.dtype)
    return torch.cat([sample_heun(model, p, steps, c) for p, c in parts(z, y, at_once)]), z


@mistake(
    REFLOW,
    "Your teacher gets None as its third argument. Without conditions it is called as model(x, t): "
    "a teacher that knows of none takes no more.",
    sure=True,
)
def none_for_no_conditions(model, z, steps, y=None, at_once=1024):
    told = lambda x, t, c=None: model(x, t, c)  # noqa: E731
    return torch.cat([sample_heun(told, p, steps, c) for p, c in parts(z, y, at_once)]), z


@mistake(
    REFLOW,
    "The teacher is told one level of shape () for a whole part. It gets one for each example.",
)
def a_level_for_all(model, z, steps, y=None, at_once=1024):
    told = lambda x, t, *c: model(x, t[0], *c)  # noqa: E731
    return torch.cat([sample_heun(told, p, steps, c) for p, c in parts(z, y, at_once)]), z


@mistake(REFLOW, "One example at a time is refused.", public=False)
def never_one_at_once(model, z, steps, y=None, at_once=1024):
    if at_once == 1:
        raise ValueError("at_once must be at least 2")
    return torch.cat([sample_heun(model, p, steps, c) for p, c in parts(z, y, at_once)]), z


# --- distill.progressive_target -----------------------------------------------------------------


class Two:
    """Two steps of the teacher, and what a process says of their ends."""

    def __init__(self, model, x_t, t, s, process, target, y, m=None):
        self.model, self.x_t, self.process, self.target, self.y = model, x_t, process, target, y
        self.t, self.s, self.m = t, s, (t + s) / 2 if m is None else m
        self.a_t, self.a_s = column(process.a(t), x_t), column(process.a(s), x_t)
        self.b_t, self.b_s = column(process.b(t), x_t), column(process.b(s), x_t)
        self.k = self.b_s / self.b_t
        self.first = ask(model, x_t, t, y)
        self.x_m = self.go(self.first, x_t, t, self.m)

    def go(self, prediction, x, t, s):
        return ddim_step(prediction, x, t, s, self.process, self.target)

    def data(self, prediction, x, t):
        return to_x_and_noise(prediction, x, t, self.process, self.target)[0]

    @property
    def second(self):
        return ask(self.model, self.x_m, self.m, self.y)

    @property
    def x_s(self):
        return self.go(self.second, self.x_m, self.m, self.s)

    def solved(self, x_s):
        return (x_s - self.k * self.x_t) / (self.a_s - self.k * self.a_t)


def target_by(formula, middle=None):
    """A target by a formula for two steps of the teacher."""

    @torch.no_grad()
    def progressive(model, x_t, t, s, process, target, y=None):
        m = None if middle is None else middle(t, s)
        return formula(Two(model, x_t, t, s, process, target, y, m))

    return progressive


def averaged(k):
    return (k.data(k.first, k.x_t, k.t) + k.data(k.second, k.x_m, k.m)) / 2


def backwards(k):
    """t and s exchanged in the formula."""
    turned = k.b_t / k.b_s
    return (k.x_s - turned * k.x_t) / (k.a_t - turned * k.a_s)


progressive_steps = several(
    PROGRESSIVE,
    (
        "one_step_of_the_teacher",
        "Only one step of the teacher is made, from t to s: what it teaches is what it predicts "
        "itself at t. The student is to learn what two steps do.",
        target_by(lambda k: k.solved(k.go(k.first, k.x_t, k.t, k.s))),
    ),
    (
        "asked_once",
        "The first prediction is used for the second step too. The teacher has to be asked anew at "
        "the middle: two equal steps with one prediction are one step.",
        target_by(lambda k: k.solved(k.go(k.first, k.x_m, k.m, k.s))),
    ),
    (
        "half_way_only",
        "Your target leads to the middle of the way: the second step of the teacher is missing.",
        target_by(lambda k: k.solved(k.x_m)),
    ),
    (
        "second_step_from_x_t",
        "The second step begins at x_t again. It must go on where the first one ended, at x_m.",
        target_by(lambda k: k.solved(k.go(ask(k.model, k.x_t, k.m, k.y), k.x_t, k.m, k.s))),
    ),
    (
        "old_level_at_x_m",
        "At x_m the teacher is still told t. Its level there is m.",
        target_by(lambda k: k.solved(k.go(ask(k.model, k.x_m, k.t, k.y), k.x_m, k.m, k.s))),
    ),
    (
        "asked_at_s",
        "The second call tells the teacher s. x_m is at level m; s is where that step ends.",
        target_by(lambda k: k.solved(k.go(ask(k.model, k.x_m, k.s, k.y), k.x_m, k.m, k.s))),
    ),
    (
        "condition_of_the_first_call",
        "The teacher is given y in its first call only.",
        target_by(
            lambda k: k.solved(
                k.go(k.second if k.y is None else k.model(k.x_m, k.m), k.x_m, k.m, k.s)
            )
        ),
    ),
)

progressive_formulas = several(
    PROGRESSIVE,
    (
        "where_it_ends",
        "This is x_s, where the two steps end. The student predicts data: solve the DDIM step for "
        "the prediction that leads there.",
        target_by(lambda k: k.x_s),
    ),
    (
        "velocity_of_the_step",
        "This is the velocity (x_t − x_s) / (t − s) of the whole step. The target is data, x̃.",
        target_by(lambda k: (k.x_t - k.x_s) / column(k.t - k.s, k.x_t)),
    ),
    (
        "rectified_flow_always",
        "Your formula is that of rectified flow, a straight line from x_t through x_s to t = 0. "
        "Other processes bend: use their a and b.",
        target_by(
            lambda k: k.x_t - column(k.t, k.x_t) * (k.x_t - k.x_s) / column(k.t - k.s, k.x_t)
        ),
    ),
    (
        "mean_of_both_predictions",
        "You return the mean of the teacher's two predictions. They are not of one weight: one of "
        "them may count far more for x_s.",
        target_by(averaged),
    ),
    (
        "second_prediction",
        "You return what the teacher predicts at x_m. One step from x_t with it does not end at "
        "x_s.",
        target_by(lambda k: k.data(k.second, k.x_m, k.m)),
    ),
    (
        "t_and_s_exchanged",
        "t and s are exchanged in your formula: the noise shrinks by b_s / b_t, which is 0 at the "
        "last step.",
        target_by(backwards),
    ),
    (
        "noise_forgotten",
        "You divide x_s by a_s alone, as if there were no noise left in it. That is right only at "
        "b_s = 0.",
        target_by(lambda k: k.x_s / k.a_s),
    ),
    (
        "denominator_of_the_data_alone",
        "In the denominator the second term is missing: x_t holds data too, a_t of it, and the "
        "factor b_s / b_t takes that along.",
        target_by(lambda k: (k.x_s - k.k * k.x_t) / k.a_s),
    ),
    (
        "denominator_without_the_ratio",
        "Your denominator is a_s − a_t. What is taken off x_s is a multiple of x_t, so the same "
        "multiple of a_t belongs there.",
        target_by(lambda k: (k.x_s - k.k * k.x_t) / (k.a_s - k.a_t)),
    ),
    (
        "a_and_b_exchanged",
        "This is the noise that leads to x_s, as the formula gives it with a and b exchanged. x̃ is "
        "the data that leads there.",
        target_by(lambda k: (k.a_t * k.x_s - k.a_s * k.x_t) / (k.a_t * k.b_s - k.a_s * k.b_t)),
    ),
    (
        "sign_of_the_denominator",
        "In the denominator the two terms are added. It is what is left of x once the noise of x_t "
        "is taken off: a difference.",
        target_by(lambda k: (k.x_s - k.k * k.x_t) / (k.a_s + k.k * k.a_t)),
    ),
)

progressive_middles = several(
    PROGRESSIVE,
    (
        "geometric_middle",
        "Your middle is √(t s). The teacher's two steps are of equal length in t.",
        target_by(lambda k: k.solved(k.x_s), lambda t, s: (t * s).sqrt()),
    ),
    (
        "half_of_t",
        "Your middle is t / 2, which is between t and 0. The step ends at s, so its middle is "
        "(t + s) / 2.",
        target_by(lambda k: k.solved(k.x_s), lambda t, s: torch.maximum(t / 2, s + 1e-3)),
    ),
    (
        "near_t",
        "Your middle is a quarter of the way from t to s. The teacher's two steps are equal.",
        target_by(lambda k: k.solved(k.x_s), lambda t, s: (3 * t + s) / 4),
    ),
)


@mistake(PROGRESSIVE, "The conditions are not used: the teacher is asked without y.")
@torch.no_grad()
def progressive_without_y(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t, t, s, process, target, None)
    return k.solved(k.x_s)


@mistake(
    PROGRESSIVE, "All examples take the levels of the first. Each has a t and an s of its own."
)
@torch.no_grad()
def progressive_levels_of_the_first(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t, t[:1].expand_as(t), s[:1].expand_as(s), process, target, y)
    return k.solved(k.x_s)


@mistake(
    PROGRESSIVE,
    "Your coefficients have one axis more than the batch, which is right for points alone. "
    "column(value, x_t) shapes them for images and for single numbers too.",
    sure=True,
)
@torch.no_grad()
def progressive_for_points_only(model, x_t, t, s, process, target, y=None):
    x_s = Two(model, x_t, t, s, process, target, y).x_s
    k = (process.b(s) / process.b(t))[:, None]
    return (x_s - k * x_t) / (process.a(s)[:, None] - k * process.a(t)[:, None])


@mistake(
    PROGRESSIVE,
    "What the teacher says is taken for data, whatever its target is. `ddim_step` knows what to do "
    "with a prediction if it gets the target.",
)
@torch.no_grad()
def prediction_taken_for_data(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t, t, s, process, X, y)
    return k.solved(k.x_s)


@mistake(
    PROGRESSIVE,
    "This is x̃ in the units of the teacher's target. It is data that is asked for.",
)
@torch.no_grad()
def in_the_target_of_the_teacher(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t, t, s, process, target, y)
    x = k.solved(k.x_s)
    z = (x_t - k.a_t * x) / k.b_t
    return column(target.c(t), x_t) * x + column(target.d(t), x_t) * z


@mistake(PROGRESSIVE, "The target has a graph.", public=False, bare=True)
def progressive_with_graph(model, x_t, t, s, process, target, y=None):
    check_step(x_t, t, s)
    k = Two(model, x_t, t, s, process, target, y)
    return k.solved(k.x_s)


@mistake(PROGRESSIVE, "Detached at the end only.", public=False, bare=True)
def progressive_detached(model, x_t, t, s, process, target, y=None):
    check_step(x_t, t, s)
    k = Two(model, x_t, t, s, process, target, y)
    return k.solved(k.x_s).detach()


@mistake(PROGRESSIVE, "Any step will do.", public=False, bare=True)
@torch.no_grad()
def any_step(model, x_t, t, s, process, target, y=None):
    t, s = (v.expand(len(x_t)) if v.shape == (1,) else v for v in (t, s))
    k = Two(model, x_t, torch.maximum(t, s + 1e-6), s, process, target, y)
    return k.solved(k.x_s)


@mistake(PROGRESSIVE, "float64 passes through float32.", public=False)
@torch.no_grad()
def progressive_in_float32(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t.float(), t.float(), s.float(), process, target, y)
    return k.solved(k.x_s).to(x_t.dtype)


@mistake(PROGRESSIVE, "float32 becomes float64.", public=False)
@torch.no_grad()
def progressive_in_float64(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t.double(), t.double(), s.double(), process, target, y)
    return k.solved(k.x_s)


@mistake(PROGRESSIVE, "The last step is left out: s = 0 counts as a little noise.", public=False)
@torch.no_grad()
def never_to_the_data(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t, t, s.clamp(min=1e-4), process, target, y)
    return k.solved(k.x_s)


@mistake(PROGRESSIVE, "t = 1 counts as a little less.", public=False)
@torch.no_grad()
def never_from_noise(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t, t.clamp(max=0.9999), s, process, target, y)
    return k.solved(k.x_s)


@mistake(PROGRESSIVE, "The teacher is asked three times.", public=False)
@torch.no_grad()
def asked_three_times(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t, t, s, process, target, y)
    k.solved(k.x_s)
    return k.solved(k.x_s)


@mistake(
    PROGRESSIVE,
    "Your teacher gets None as its third argument. Without conditions it is called as "
    "model(x_t, t): a teacher that knows of none takes no more.",
    sure=True,
)
@torch.no_grad()
def progressive_none_for_no_conditions(model, x_t, t, s, process, target, y=None):
    told = lambda x, t, c=None: model(x, t, c)  # noqa: E731
    k = Two(told, x_t, t, s, process, target, y)
    return k.solved(k.x_s)


@mistake(PROGRESSIVE, "One s will do for all.", public=False, bare=True)
@torch.no_grad()
def one_s_for_all(model, x_t, t, s, process, target, y=None):
    s = s.expand_as(t) if s.shape == (1,) else s
    check_step(x_t, t, s)
    k = Two(model, x_t, t, s, process, target, y)
    return k.solved(k.x_s)


@mistake(PROGRESSIVE, "A step is enough that goes down for one example.", public=False, bare=True)
@torch.no_grad()
def one_step_down(model, x_t, t, s, process, target, y=None):
    check_step(x_t, t, torch.minimum(s, t - 1e-3) if bool((s < t).any()) else s)
    k = Two(model, x_t, t, torch.minimum(s, t - 1e-6), process, target, y)
    return k.solved(k.x_s)


@mistake(PROGRESSIVE, "A prediction is stretched to the shape of x_t.", public=False)
@torch.no_grad()
def prediction_stretched(model, x_t, t, s, process, target, y=None):
    k = Two(lambda *asked: model(*asked).expand_as(x_t), x_t, t, s, process, target, y)
    return k.solved(k.x_s)


@mistake(PROGRESSIVE, "The divisor is at least 0.01.", public=False)
@torch.no_grad()
def divisor_kept_from_0(model, x_t, t, s, process, target, y=None):
    k = Two(model, x_t, t, s, process, target, y)
    ratio = k.b_s / k.b_t
    return (k.x_s - ratio * x_t) / (k.a_s - ratio * k.a_t).clamp(min=0.01)


# --- distill.guidance_target --------------------------------------------------------------------


def guided_by(formula):
    """A target by a formula for both velocities and the weight."""

    @torch.no_grad()
    def target(model, x_t, t, y, null, w):
        v_y, v_null = velocities(model, x_t, t, y, null)
        factor = column(w, x_t) if isinstance(w, torch.Tensor) and w.dim() else w
        guided_velocity(v_y, v_null, w)  # which refuses weights that do not fit
        return formula(v_y, v_null, factor)

    return target


guidance_formulas = several(
    GUIDANCE,
    (
        "guided_twice",
        "Guidance is applied twice: what is guided already is taken for v_y and guided again.",
        guided_by(lambda v_y, v_null, w: (1 + w) * ((1 + w) * v_y - w * v_null) - w * v_null),
    ),
    (
        "scale_of_diffusers",
        "Your weight 1 is no guidance: v_∅ + w (v_y − v_∅). Here w = 0 is none, as on the slides.",
        guided_by(lambda v_y, v_null, w: v_null + w * (v_y - v_null)),
    ),
    (
        "towards_the_unconditional",
        "Your w leads from v_y to v_∅. Guidance goes the other way, beyond v_y.",
        guided_by(lambda v_y, v_null, w: (1 - w) * v_y + w * v_null),
    ),
    (
        "roles_exchanged",
        "v_y and v_∅ are exchanged: guidance goes away from the condition.",
        guided_by(lambda v_y, v_null, w: (1 + w) * v_null - w * v_y),
    ),
    (
        "unguided",
        "The weight is not used: this is the conditional velocity.",
        guided_by(lambda v_y, v_null, w: v_y.clone()),
    ),
    (
        "only_the_unconditional",
        "This is the unconditional velocity, whatever the condition and the weight are.",
        guided_by(lambda v_y, v_null, w: v_null.clone()),
    ),
    (
        "difference_alone",
        "This is what guidance adds, w (v_y − v_∅). The student learns the guided velocity itself.",
        guided_by(lambda v_y, v_null, w: w * (v_y - v_null)),
    ),
    (
        "both_added",
        "w v_∅ is added. It is taken off.",
        guided_by(lambda v_y, v_null, w: (1 + w) * v_y + w * v_null),
    ),
    (
        "brought_to_the_size_of_v_y",
        "Your velocity is divided by 1 + w. Its size grows with the weight: that is guidance.",
        guided_by(lambda v_y, v_null, w: v_y - w / (1 + abs(w)) * v_null),
    ),
)


@mistake(GUIDANCE, "The weight is squared.", public=False)
@torch.no_grad()
def weight_squared(model, x_t, t, y, null, w):
    return guided_velocity(*velocities(model, x_t, t, y, null), w * abs(w))


@mistake(
    GUIDANCE,
    "All examples get the weight of the first, or their mean. Each has its own: the student learns "
    "what a weight does by seeing many.",
)
@torch.no_grad()
def weight_of_the_first(model, x_t, t, y, null, w):
    guided_velocity(x_t, x_t, w)
    w = w[0] if isinstance(w, torch.Tensor) and w.dim() else w
    return guided_velocity(*velocities(model, x_t, t, y, null), w)


@mistake(
    GUIDANCE,
    "The teacher is called twice. Its two velocities come from one call on a batch twice as large.",
)
@torch.no_grad()
def two_calls_of_the_teacher(model, x_t, t, y, null, w):
    nothing = torch.as_tensor(null, dtype=y.dtype).expand_as(y)
    return guided_velocity(model(x_t, t, y), model(x_t, t, nothing), w)


@mistake(
    GUIDANCE,
    "Each condition is given to an example and to its ∅: what you call v_∅ knows the condition.",
)
@torch.no_grad()
def without_null(model, x_t, t, y, null, w):
    return guided_velocity(*velocities(model, x_t, t, y, y[0] if len(y) == 1 else y), w)


@mistake(
    GUIDANCE,
    "∅ is 0 in your call. It is the null condition that is given.",
)
@torch.no_grad()
def zero_for_null(model, x_t, t, y, null, w):
    return guided_velocity(*velocities(model, x_t, t, y, torch.zeros_like(y[0])), w)


@mistake(
    GUIDANCE,
    "This is data, x_t − t v. The student learns the velocity.",
)
@torch.no_grad()
def guided_data(model, x_t, t, y, null, w):
    return x_t - column(t, x_t) * guided_velocity(*velocities(model, x_t, t, y, null), w)


@mistake(
    GUIDANCE,
    "Your weights have one axis more than the batch, which is right for points alone. "
    "`guidance.guided_velocity` shapes them.",
    sure=True,
)
@torch.no_grad()
def weights_for_points_only(model, x_t, t, y, null, w):
    v_y, v_null = velocities(model, x_t, t, y, null)
    guided_velocity(v_y, v_null, w)
    w = w[:, None] if isinstance(w, torch.Tensor) and w.dim() else w
    return v_y + w * (v_y - v_null)


@mistake(
    GUIDANCE,
    "Both velocities are returned, or more than the target: v alone is asked for.",
    sure=True,
)
@torch.no_grad()
def velocities_too(model, x_t, t, y, null, w):
    v_y, v_null = velocities(model, x_t, t, y, null)
    return guided_velocity(v_y, v_null, w), v_y, v_null


@mistake(GUIDANCE, "Weights below 0 count as 0.", public=False)
@torch.no_grad()
def no_negative_weight(model, x_t, t, y, null, w):
    guided_velocity(x_t, x_t, w)
    w = w.clamp(min=0) if isinstance(w, torch.Tensor) else max(0, w)
    return guided_velocity(*velocities(model, x_t, t, y, null), w)


@mistake(GUIDANCE, "All examples are at the level of the first.", public=False)
@torch.no_grad()
def guided_at_the_first_level(model, x_t, t, y, null, w):
    return guided_velocity(*velocities(model, x_t, t[:1].expand_as(t), y, null), w)


@mistake(GUIDANCE, "The target has a graph.", public=False, bare=True)
def guidance_with_graph(model, x_t, t, y, null, w):
    return guided_velocity(*velocities(model, x_t, t, y, null), w)


@mistake(GUIDANCE, "Detached at the end only.", public=False, bare=True)
def guidance_detached(model, x_t, t, y, null, w):
    return guided_velocity(*velocities(model, x_t, t, y, null), w).detach()


@mistake(GUIDANCE, "float64 passes through float32.", public=False)
@torch.no_grad()
def guidance_in_float32(model, x_t, t, y, null, w):
    w = w.float() if isinstance(w, torch.Tensor) else w
    return guided_velocity(*velocities(model, x_t.float(), t.float(), y, null), w).to(x_t.dtype)


@mistake(GUIDANCE, "float32 becomes float64.", public=False)
@torch.no_grad()
def guidance_in_float64(model, x_t, t, y, null, w):
    return guided_velocity(*velocities(model, x_t.double(), t.double(), y, null), w)


@mistake(GUIDANCE, "Any weights will do.", public=False)
@torch.no_grad()
def any_weights(model, x_t, t, y, null, w):
    v_y, v_null = velocities(model, x_t, t, y, null)
    if isinstance(w, torch.Tensor) and w.dim():
        w = w.flatten()[0] if w.numel() != len(x_t) else column(w, x_t)
    return v_y + w * (v_y - v_null)


@mistake(GUIDANCE, "Without a weight the teacher is not asked for ∅.", public=False)
@torch.no_grad()
def no_weight_no_null(model, x_t, t, y, null, w):
    if not isinstance(w, torch.Tensor) and w == 0:
        return model(x_t, t, y)
    return guided_velocity(*velocities(model, x_t, t, y, null), w)


@mistake(GUIDANCE, "The weights keep their graph.", public=False, bare=True)
def graph_of_the_weights(model, x_t, t, y, null, w):
    with torch.no_grad():
        both = velocities(model, x_t, t, y, null)
    return guided_velocity(*both, w)


# --- distill.adversarial_loss -------------------------------------------------------------------


def seen_by(features, examples, z, t, y):
    """Features of clean or noised examples."""
    if t is None:
        return features(examples)
    return ask(features, interpolate(examples, z, t)[0], t, y)


def hinge(real, fake):
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def losses_by(of_student, of_heads, *, public=True):
    """Both losses by formulas for logits: of x̂ as the student sees them; of x and of x̂."""

    def loss(features, heads, x, x_hat, z=None, t=None, y=None):
        frozen = fixed(features)
        for_student = fixed(heads)(seen_by(frozen, x_hat, z, t, y))
        real, fake = (heads(seen_by(frozen, v.detach(), z, t, y)) for v in (x, x_hat))
        return of_student(for_student), of_heads(real, fake)

    return loss


def up(fake):
    return -fake.mean()


def judged(see, *, features=fixed, judge=fixed, of_x_hat=lambda x: x.detach(), after=None):
    """The right losses of logits that are seen in another way.

    Args:
        see: called as `seen_by`, also with which examples these are: "student", "real", "fake".
        features, judge: what is made of the features, and of the heads in the student's loss.
        of_x_hat: what of x̂ the heads learn from.
    """

    def loss(net, heads, x, x_hat, z=None, t=None, y=None):
        used = features(net)
        fake_for_student = judge(heads)(see(used, x_hat, z, t, y, "student"))
        real = heads(see(used, x.detach(), z, t, y, "real"))
        fake = heads(see(used, of_x_hat(x_hat), z, t, y, "fake"))
        return up(fake_for_student), hinge(real, fake)

    return loss


def as_it_is(net):
    return net


def plainly(features, examples, z, t, y, which):
    return seen_by(features, examples, z, t, y)


def no_gradients_through(net):
    """A network whose inputs get no gradients either."""

    def called(*args):
        with torch.no_grad():
            return net(*args)

    return called


def noised(noise=lambda z, which: z, level=lambda t, which: t, told=lambda t, which: t, y=True):
    """Features of examples that are noised, or told about, in another way."""

    def see(features, examples, z, t, c, which):
        if t is None:
            return features(examples)
        x_t = interpolate(examples, noise(z, which), level(t, which))[0]
        return ask(features, x_t, told(t, which), c if y else None)

    return see


adversarial_formulas = several(
    ADVERSARIAL,
    (
        "student_runs_away",
        "The sign of L_student is wrong: your student makes D(x̂) smaller, which is what the heads "
        "want.",
        losses_by(lambda fake: fake.mean(), hinge),
    ),
    (
        "student_with_a_margin",
        "Your student's loss is a hinge too. It has none: a student whose samples pass for real "
        "goes on learning.",
        losses_by(lambda fake: F.relu(1 - fake).mean(), hinge),
    ),
    (
        "logistic_student",
        "Your student's loss is the non-saturating one of chapter 01, softplus(−D). Here it is "
        "linear in D.",
        losses_by(lambda fake: F.softplus(-fake).mean(), hinge),
    ),
    (
        "logistic_heads",
        "Your heads' loss is the binary cross-entropy of chapter 01. Here it is a hinge.",
        losses_by(up, lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean()),
    ),
    (
        "real_and_made_exchanged",
        "Your heads learn the opposite: they are rewarded for small D(x) and large D(x̂).",
        losses_by(up, lambda real, fake: hinge(fake, real)),
    ),
    (
        "no_hinge",
        "Your heads' loss has no hinge: logits that are right by more than 1 are to cost nothing.",
        losses_by(up, lambda real, fake: (1 - real).mean() + (1 + fake).mean()),
    ),
    (
        "no_margin",
        "Your hinge has no margin: it bends at D = 0, so that D = 0 everywhere costs nothing.",
        losses_by(up, lambda real, fake: F.relu(-real).mean() + F.relu(fake).mean()),
    ),
    (
        "hinge_of_the_mean",
        "You take the hinge of the mean logit. Each logit has its own: one that is far right must "
        "not make up for one that is wrong.",
        losses_by(up, lambda real, fake: F.relu(1 - real.mean()) + F.relu(1 + fake.mean())),
    ),
    (
        "squared_hinge",
        "Your hinges are squared.",
        losses_by(
            up,
            lambda real, fake: F.relu(1 - real).square().mean() + F.relu(1 + fake).square().mean(),
        ),
    ),
    (
        "half_the_heads_loss",
        "Your L_heads is half as large: the two means are added, not averaged.",
        losses_by(up, lambda real, fake: hinge(real, fake) / 2),
    ),
    (
        "only_made_ones",
        "Your heads learn from made examples only. Without real ones they say no to all.",
        losses_by(up, lambda real, fake: F.relu(1 + fake).mean()),
    ),
    (
        "only_real_ones",
        "Your heads learn from real examples only. Without made ones they say yes to all.",
        losses_by(up, lambda real, fake: F.relu(1 - real).mean()),
    ),
    (
        "sums_of_logits",
        "Sums in place of means: the losses grow with the batch and with the logits of an example.",
        losses_by(
            lambda fake: -fake.sum(),
            lambda real, fake: F.relu(1 - real).sum() + F.relu(1 + fake).sum(),
        ),
    ),
)

NO_WAY_TO_X_HAT = (
    "L_student has no gradient in x̂: x̂ is detached, or the features or heads are called without "
    "recording gradients. Only their weights are fixed."
)

adversarial_gradients = several(
    ADVERSARIAL,
    (
        "heads_flow_into_x_hat",
        "L_heads flows into x̂: the student would learn to be told apart. Detach x̂ there.",
        judged(plainly, of_x_hat=lambda x: x),
    ),
    (
        "student_moves_the_heads",
        "L_student flows into the heads' weights: they would learn to be fooled.",
        judged(plainly, judge=as_it_is),
    ),
    (
        "features_trained_along",
        "The features are trained along: their weights get gradients. Only the heads are trained.",
        judged(plainly, features=as_it_is),
    ),
    (
        "all_flows",
        "Gradients flow everywhere: into x̂, the heads and the features from both losses.",
        judged(plainly, features=as_it_is, judge=as_it_is, of_x_hat=lambda x: x),
    ),
)

adversarial_dead_ends = several(
    ADVERSARIAL,
    (
        "no_gradient_through_the_features",
        NO_WAY_TO_X_HAT,
        judged(plainly, features=no_gradients_through),
    ),
    ("no_gradient_through_the_heads", NO_WAY_TO_X_HAT, judged(plainly, judge=no_gradients_through)),
    (
        "x_hat_always_detached",
        NO_WAY_TO_X_HAT,
        judged(lambda net, x, *how: plainly(net, x.detach(), *how)),
    ),
    sure=True,
)


def of_z(change):
    return judged(noised(noise=change))


adversarial_noises = several(
    ADVERSARIAL,
    (
        "other_noise_for_x_hat",
        "x and x̂ are noised with different z. With the same z the noise is no difference that D "
        "could learn.",
        of_z(lambda z, which: z if which == "real" else -z),
    ),
    (
        "only_the_real_noised",
        "Only x is noised, x̂ is clean: D need only look for noise to tell them apart.",
        judged(noised(level=lambda t, which: t if which == "real" else 0 * t)),
    ),
    (
        "only_the_made_noised",
        "Only x̂ is noised, x is clean: D need only look for noise to tell them apart.",
        judged(noised(level=lambda t, which: 0 * t if which == "real" else t)),
    ),
    (
        "never_noised",
        "The examples are clean although z and t are given: D sees them at t = 0 only, where the "
        "features know least.",
        judged(noised(level=lambda t, which: 0 * t, told=lambda t, which: 0 * t)),
    ),
    (
        "clean_but_told_t",
        "The features are told t, but the examples are clean. They have to be noised to level t.",
        judged(noised(level=lambda t, which: 0 * t)),
    ),
    (
        "noised_but_told_0",
        "The features are told t = 0, but the examples are noised to level t.",
        judged(noised(told=lambda t, which: 0 * t)),
    ),
    (
        "time_the_other_way_round",
        "Your x_t is t x + (1 − t) z: data sits at t = 1 there. The course puts it at t = 0.",
        judged(noised(level=lambda t, which: 1 - t)),
    ),
    (
        "told_thousands",
        "The features are told 1000 t. They know levels from 0 to 1: t reaches them as it came.",
        judged(noised(told=lambda t, which: 1000 * t)),
    ),
    (
        "features_not_told_y",
        "The features are not told the conditions.",
        judged(noised(y=False)),
    ),
)


@mistake(
    ADVERSARIAL,
    "The features are not told the level: they are called as features(x_t), without t.",
)
def not_told_t(features, heads, x, x_hat, z=None, t=None, y=None):
    def see(net, examples, z, t, y, which):
        x_t = examples if t is None else interpolate(examples, z, t)[0]
        return net(x_t)

    return judged(see)(features, heads, x, x_hat, z, t, y)


@mistake(ADVERSARIAL, "The two losses are exchanged: that of the student comes first.")
def losses_exchanged(features, heads, x, x_hat, z=None, t=None, y=None):
    return judged(plainly)(features, heads, x, x_hat, z, t, y)[::-1]


@mistake(
    ADVERSARIAL,
    "One number is returned, the sum of both losses. They are two: each is minimised by its own "
    "side.",
)
def both_in_one(features, heads, x, x_hat, z=None, t=None, y=None):
    return sum(judged(plainly)(features, heads, x, x_hat, z, t, y))


@mistake(
    ADVERSARIAL,
    "Your student's loss is minus that of the heads. It is −mean D(x̂): a hinge stops the student "
    "from learning where it is found out for sure.",
)
def one_game(features, heads, x, x_hat, z=None, t=None, y=None):
    frozen, judge = fixed(features), fixed(heads)
    of_student = -hinge(*(judge(seen_by(frozen, v, z, t, y)) for v in (x.detach(), x_hat)))
    return of_student, judged(plainly)(features, heads, x, x_hat, z, t, y)[1]


@mistake(
    ADVERSARIAL,
    "The networks are put into evaluation mode. They are used in the mode they are in.",
)
def in_evaluation_mode(features, heads, x, x_hat, z=None, t=None, y=None):
    modes = [(net, net.training) for net in (features, heads)]
    for net, _ in modes:
        net.eval()
    found = judged(plainly)(features, heads, x, x_hat, z, t, y)
    for net, training in modes:
        net.train(training)
    return found


@mistake(
    ADVERSARIAL,
    "The features stay frozen afterwards: requires_grad of their weights is left at False. They "
    "may be a network that is trained elsewhere.",
    sure=True,
)
def left_frozen(features, heads, x, x_hat, z=None, t=None, y=None):
    features.requires_grad_(False)
    return judged(plainly, features=as_it_is)(features, heads, x, x_hat, z, t, y)


@mistake(ADVERSARIAL, "The heads stay frozen afterwards.", public=False)
def heads_left_frozen(features, heads, x, x_hat, z=None, t=None, y=None):
    of_heads = judged(plainly)(features, heads, x, x_hat, z, t, y)[1]
    heads.requires_grad_(False)
    return up(heads(seen_by(fixed(features), x_hat, z, t, y))), of_heads


@mistake(
    ADVERSARIAL,
    "Both losses are detached: nothing can be learnt from them.",
    sure=True,
)
def losses_detached(features, heads, x, x_hat, z=None, t=None, y=None):
    return tuple(v.detach() for v in judged(plainly)(features, heads, x, x_hat, z, t, y))


@mistake(ADVERSARIAL, "The means go over examples alone.", public=False)
def means_over_the_batch(features, heads, x, x_hat, z=None, t=None, y=None):
    a, b = judged(plainly)(features, heads, x, x_hat, z, t, y)
    number = heads(seen_by(fixed(features), x.detach(), z, t, y)).numel() / len(x)
    return number * a, number * b


@mistake(ADVERSARIAL, "The features are left in another mode.", public=False)
def left_in_evaluation_mode(features, heads, x, x_hat, z=None, t=None, y=None):
    found = judged(plainly)(features, heads, x, x_hat, z, t, y)
    features.eval()
    return found


@mistake(ADVERSARIAL, "The gradients of the heads are cleared.", public=False)
def heads_cleared(features, heads, x, x_hat, z=None, t=None, y=None):
    heads.zero_grad()
    return judged(plainly)(features, heads, x, x_hat, z, t, y)


@mistake(ADVERSARIAL, "Only the first logit of each example counts.", public=False)
def first_logit(features, heads, x, x_hat, z=None, t=None, y=None):
    def only(heads_or_fixed):
        return lambda f: heads_or_fixed(f).reshape(len(x), -1)[:, 0]

    frozen = fixed(features)
    fake_for_student = only(fixed(heads))(seen_by(frozen, x_hat, z, t, y))
    real, fake = (only(heads)(seen_by(frozen, v.detach(), z, t, y)) for v in (x, x_hat))
    return up(fake_for_student), hinge(real, fake)


@mistake(ADVERSARIAL, "x is not detached.", public=False)
def heads_flow_into_x(features, heads, x, x_hat, z=None, t=None, y=None):
    frozen = fixed(features)
    real, fake = (heads(seen_by(frozen, v, z, t, y)) for v in (x, x_hat.detach()))
    return judged(plainly)(features, heads, x, x_hat, z, t, y)[0], hinge(real, fake)


@mistake(ADVERSARIAL, "Logits are cut off at ±3.", public=False)
def logits_cut_off(features, heads, x, x_hat, z=None, t=None, y=None):
    return losses_by(
        lambda fake: up(fake.clamp(-3, 3)), lambda real, fake: hinge(real, fake.clamp(-3, 3))
    )(features, heads, x, x_hat, z, t, y)


@mistake(ADVERSARIAL, "Anything goes together.", public=False, bare=True)
def anything_together(features, heads, x, x_hat, z=None, t=None, y=None):
    if z is None or t is None:
        z = t = y = None
    x, x_hat = torch.broadcast_tensors(x, x_hat) if x.mT.shape != x_hat.shape else (x, x_hat.mT)
    return judged(plainly)(features, heads, x, x_hat, z, t, y)


@mistake(ADVERSARIAL, "y without noise is ignored.", public=False, bare=True)
def y_ignored_without_noise(features, heads, x, x_hat, z=None, t=None, y=None):
    no_pair(features, heads, x, x_hat, z, t)
    return judged(plainly)(features, heads, x, x_hat, z, t, y)


@mistake(
    ADVERSARIAL,
    "Your features get None for what is not given. Of clean images they are called as features(x), "
    "without conditions as features(x_t, t).",
    sure=True,
)
def none_for_what_is_not_given(features, heads, x, x_hat, z=None, t=None, y=None):
    def see(used, v, z, t, y, which):
        return used(v if t is None else interpolate(v, z, t)[0], t, y)

    return judged(see)(features, heads, x, x_hat, z, t, y)


@mistake(ADVERSARIAL, "Logits are cut off at ±1000.", public=False)
def far_logits_cut_off(features, heads, x, x_hat, z=None, t=None, y=None):
    return losses_by(
        lambda fake: up(fake.clamp(-1e3, 1e3)),
        lambda real, fake: hinge(real.clamp(-1e3, 1e3), fake.clamp(-1e3, 1e3)),
    )(features, heads, x, x_hat, z, t, y)


@mistake(ADVERSARIAL, "The number of examples is enough.", public=False, bare=True)
def as_many_examples(features, heads, x, x_hat, z=None, t=None, y=None):
    if len(x) != len(x_hat):
        raise ValueError("x_hat must be as many as x")
    no_pair(features, heads, x, x, z, t, y)
    if x.numel() < x_hat.numel():
        x = x.expand_as(x_hat)
    return judged(plainly)(features, heads, x, x_hat.expand_as(x), z, t, y)


# --- distill.moment_matching_loss ---------------------------------------------------------------


class Flows:
    """What two flows say at x_t of samples of the student."""

    def __init__(self, teacher, auxiliary, x_hat, z, t, y, level=None):
        self.x_hat, self.z, self.t = x_hat, z, column(t, x_hat)
        self.x_t, _ = interpolate(x_hat, z, t if level is None else level(t))
        self.f_teacher, self.f_aux = (ask(f, self.x_t, t, y) for f in (teacher, auxiliary))

    @property
    def g(self):
        return self.t * (self.f_teacher - self.f_aux)


def towards(x_hat, goal):
    """½ mean of squares, with a gradient in x̂ alone."""
    return 0.5 * (x_hat - goal.detach()).square().mean()


def matching(g, stop=True, **how):
    """The loss with another g."""

    def loss(teacher, auxiliary, x_hat, z, t, y=None):
        with torch.no_grad() if stop else nullcontext():
            flows = Flows(teacher, auxiliary, x_hat, z, t, y, **how)
            other = g(flows)
        return towards(x_hat, x_hat - other)

    return loss


matching_formulas = several(
    MATCHING,
    (
        "away_from_the_teacher",
        "The sign of g is wrong: your gradient leads x̂ away from where the teacher sees data.",
        matching(lambda k: -k.g),
    ),
    (
        "velocities_in_place_of_denoisers",
        "This g is the difference of two velocities. Denoisers are x_t − t f, with a factor t.",
        matching(lambda k: k.f_teacher - k.f_aux),
    ),
    (
        "sign_of_the_velocities",
        "This g is f_aux − f_teacher, of velocities. A denoiser is x_t − t f: there is a factor t, "
        "and the sign turns round.",
        matching(lambda k: k.f_aux - k.f_teacher),
    ),
    (
        "denoiser_with_1_minus_t",
        "Your denoiser is x_t − (1 − t) f: that is for flows with the data at t = 1.",
        matching(lambda k: (1 - k.t) * (k.f_teacher - k.f_aux)),
    ),
    (
        "teacher_alone",
        "Without the auxiliary flow x̂ is pulled to the teacher's mean of all data that x_t may "
        "come from. That blurs: what the student's own samples give at x_t has to be taken off.",
        matching(lambda k: k.x_hat - (k.x_t - k.t * k.f_teacher)),
    ),
    (
        "auxiliary_alone",
        "The teacher has no say: your g compares x̂ with what its own denoiser says.",
        matching(lambda k: k.x_hat - (k.x_t - k.t * k.f_aux)),
    ),
    (
        "time_of_matching_the_other_way_round",
        "Your x_t is t x̂ + (1 − t) z: data sits at t = 1 there. The course puts it at t = 0.",
        matching(lambda k: k.g, level=lambda t: 1 - t),
    ),
    (
        "flows_asked_at_x_hat",
        "The flows are asked at x̂, which has no noise. They know samples of level t: ask at x_t.",
        matching(lambda k: k.g, level=lambda t: 0 * t),
    ),
    (
        "difference_of_the_scores",
        "This g is the difference of the scores themselves. That of the denoisers is t² / (1 − t) "
        "times as large, and stays finite at t = 0.",
        matching(lambda k: (1 - k.t) / k.t.clamp(min=1e-3) * (k.f_teacher - k.f_aux)),
    ),
)


def of_flows(formula, stop=True):
    """A loss by a formula."""

    def loss(teacher, auxiliary, x_hat, z, t, y=None):
        with torch.no_grad() if stop else nullcontext():
            k = Flows(teacher, auxiliary, x_hat, z, t, y)
            g = k.g
        return formula(x_hat, g, k)

    return loss


matching_losses = several(
    MATCHING,
    (
        "not_half",
        "The ½ is missing: your gradient is twice g.",
        of_flows(lambda x, g, k: 2 * towards(x, x - g)),
    ),
    (
        "sum_of_squares",
        "This is a sum. L is a mean over batch and dimensions.",
        of_flows(lambda x, g, k: towards(x, x - g) * x.numel()),
    ),
    (
        "mean_over_the_batch",
        "Squares are summed over dimensions and averaged over the batch. L is a mean over both.",
        of_flows(lambda x, g, k: towards(x, x - g) * x.numel() / len(x)),
    ),
    (
        "product",
        "This is the mean of g x̂. Its gradient is right, but its value says nothing: L is ½ mean "
        "g², which is 0 where the flows agree.",
        of_flows(lambda x, g, k: (g * x).mean()),
    ),
    (
        "through_the_flows",
        "Gradients flow through x_t and both flows. Then x̂ learns to make the flows agree, not to "
        "be where they do: stop the goal.",
        of_flows(lambda x, g, k: 0.5 * g.square().mean(), stop=False),
    ),
    (
        "absolute_values",
        "This is a mean of absolute values. Its gradient tells the sign of g only.",
        of_flows(lambda x, g, k: (x - (x - g).detach()).abs().mean()),
    ),
    (
        "loss_of_each_example",
        "One loss for each example is returned. L is one number.",
        of_flows(lambda x, g, k: (x - (x - g).detach()).square().reshape(len(x), -1).mean(1) / 2),
    ),
)


matching_without_gradient = several(
    MATCHING,
    (
        "goal_with_gradient",
        "The gradient in x̂ is 0. That is so where the goal x̂ − g is not stopped: x̂ cancels out of "
        "x̂ − (x̂ − g).",
        of_flows(lambda x, g, k: 0.5 * (x - (x - g)).square().mean() + 0 * x.sum()),
    ),
    (
        "no_gradient_at_all",
        "The loss has no graph: no gradient arrives at x̂.",
        of_flows(lambda x, g, k: 0.5 * g.square().mean()),
    ),
    sure=True,
)


@mistake(
    MATCHING,
    "A gradient flows through x_t into x̂: through the denoisers' difference, not only through x̂ "
    "itself.",
)
def through_x_t(teacher, auxiliary, x_hat, z, t, y=None):
    k = Flows(teacher, auxiliary, x_hat, z, t, y)
    return 0.5 * (x_hat - (x_hat.detach() - k.g)).square().mean()


@mistake(MATCHING, "The conditions are not used: both flows are asked without y.")
def flows_without_y(teacher, auxiliary, x_hat, z, t, y=None):
    return matching(lambda k: k.g)(teacher, auxiliary, x_hat, z, t)


@mistake(MATCHING, "Only the teacher is told the conditions. The auxiliary flow knows them, too.")
def only_the_teacher_told_y(teacher, auxiliary, x_hat, z, t, y=None):
    with torch.no_grad():
        x_t, _ = interpolate(x_hat, z, t)
        g = column(t, x_t) * (ask(teacher, x_t, t, y) - auxiliary(x_t, t))
    return towards(x_hat, x_hat - g)


@mistake(MATCHING, "All examples take the level of the first.")
def matching_at_the_first_level(teacher, auxiliary, x_hat, z, t, y=None):
    interpolate(x_hat, z, t)
    return matching(lambda k: k.g)(teacher, auxiliary, x_hat, z, t[:1].expand_as(t), y)


@mistake(
    MATCHING,
    "The flows are asked at two different x_t: noise is drawn anew, or turned round, for one of "
    "them. Their difference is then noise as well.",
)
def two_noises(teacher, auxiliary, x_hat, z, t, y=None):
    with torch.no_grad():
        (x_t, _), (other, _) = interpolate(x_hat, z, t), interpolate(x_hat, -z, t)
        level = column(t, x_t)
        g = other - level * ask(auxiliary, other, t, y) - x_t + level * ask(teacher, x_t, t, y)
    return towards(x_hat, x_hat - g)


@mistake(MATCHING, "The weights of the auxiliary flow get gradients.", public=False)
def auxiliary_trained_along(teacher, auxiliary, x_hat, z, t, y=None):
    x_t, _ = interpolate(x_hat.detach(), z, t)
    with torch.no_grad():
        theirs = ask(teacher, x_t, t, y)
    g = column(t, x_t) * (theirs - ask(auxiliary, x_t, t, y))
    return 0.5 * (x_hat - (x_hat.detach() - g)).square().mean()


@mistake(MATCHING, "The weights of both flows get gradients.", public=False)
def both_flows_trained_along(teacher, auxiliary, x_hat, z, t, y=None):
    k = Flows(teacher, auxiliary, x_hat.detach(), z, t, y)
    return 0.5 * (x_hat - (x_hat.detach() - k.g)).square().mean()


@mistake(MATCHING, "Large losses are cut off.", public=False)
def large_losses_cut_off(teacher, auxiliary, x_hat, z, t, y=None):
    L = matching(lambda k: k.g)(teacher, auxiliary, x_hat, z, t, y)
    return L - (L - 10).clamp(min=0)


@mistake(MATCHING, "Examples near t = 1 do not count.", public=False)
def far_levels_left_out(teacher, auxiliary, x_hat, z, t, y=None):
    return matching(lambda k: k.g * (k.t < 0.98))(teacher, auxiliary, x_hat, z, t, y)


@mistake(MATCHING, "Each flow is asked twice.", public=False)
def asked_twice(teacher, auxiliary, x_hat, z, t, y=None):
    matching(lambda k: k.g)(teacher, auxiliary, x_hat, z, t, y)
    return matching(lambda k: k.g)(teacher, auxiliary, x_hat, z, t, y)


@mistake(MATCHING, "float64 passes through float32.", public=False)
def matching_in_float32(teacher, auxiliary, x_hat, z, t, y=None):
    args = (v.float() for v in (x_hat, z, t))
    return matching(lambda k: k.g)(teacher, auxiliary, *args, y).to(x_hat.dtype)


@mistake(MATCHING, "float32 becomes float64.", public=False)
def matching_in_float64(teacher, auxiliary, x_hat, z, t, y=None):
    args = (v.double() for v in (x_hat, z, t))
    return matching(lambda k: k.g)(teacher, auxiliary, *args, y)


@mistake(MATCHING, "Noise of any shape will do.", public=False)
def any_noise(teacher, auxiliary, x_hat, z, t, y=None):
    with torch.no_grad():
        level = column(t.flatten()[:1].expand(len(x_hat)) if t.numel() != len(x_hat) else t, x_hat)
        x_t = (1 - level) * x_hat + level * (
            z.mT if z.shape == x_hat.mT.shape != x_hat.shape else z
        )
        x_t = x_t.expand_as(x_hat) if x_t.dim() == x_hat.dim() else x_t[0]
        told = level.flatten()
        g = level * (ask(teacher, x_t, told, y) - ask(auxiliary, x_t, told, y))
    return towards(x_hat, x_hat - g)


@mistake(
    MATCHING,
    "Your flows get None as their third argument. Without conditions they are called as "
    "model(x_t, t): a flow that knows of none takes no more.",
    sure=True,
)
def flows_get_none(teacher, auxiliary, x_hat, z, t, y=None):
    told = [lambda x, t, c=None, f=f: f(x, t, c) for f in (teacher, auxiliary)]
    return matching(lambda k: k.g)(*told, x_hat, z, t, y)


matching_at_the_ends = several(
    MATCHING,
    ("g_cut_off", "g is cut off at ±100.", matching(lambda k: k.g.clamp(-100, 100))),
    (
        "small_levels_left_out",
        "Levels below 0.001 count as 0.",
        matching(lambda k: k.g * (k.t >= 1e-3)),
    ),
    public=False,
)
