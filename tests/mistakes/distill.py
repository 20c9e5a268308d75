"""Typical wrong answers to chapter 12's `distill`, each with the sentence that explains it."""

import torch

from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.diffusion import column, to_x_and_noise
from cs231n_gen.diffusion_samplers import check_step, ddim_step
from cs231n_gen.flow import sample, sample_heun, trajectory

REFLOW, PROGRESSIVE = "distill.reflow_pairs", "distill.progressive_target"


def no_parts(model, z, steps, y=None, at_once=1024):
    if at_once < 1:
        raise ValueError(f"at_once must be at least 1, got {at_once}")


def no_step(model, x_t, t, s, process, target, y=None):
    check_step(x_t, t, s)


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {REFLOW: no_parts, PROGRESSIVE: no_step}


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
        "a and b are exchanged in your formula: this solves for the noise, not for the data.",
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
    from cs231n_gen.diffusion import X

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
