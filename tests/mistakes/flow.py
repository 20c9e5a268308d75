"""Typical wrong answers to chapter 04, each with the sentence that explains it."""

from itertools import pairwise

import torch

from cs231n_gen.checking.variants import form_of, mistake, several
from cs231n_gen.flow import interpolate, levels_of, loss, sample, sample_heun, straightness, train
from cs231n_gen.given.training import Run


def no_walk(model, z, steps, y=None, times=None):
    levels_of(steps, times)


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "flow.interpolate": interpolate,
    "flow.sample": no_walk,
    "flow.trajectory": no_walk,
    "flow.sample_heun": no_walk,
    "flow.straightness": straightness,
}


def column(t, x):
    return t.reshape(-1, *[1] * (x.dim() - 1))


def ask(model, x, t, y):
    return model(x, t) if y is None else model(x, t, y)


def level(x, t):
    return torch.full((len(x),), float(t), dtype=x.dtype)


# --- flow.interpolate ---------------------------------------------------------------------------


@mistake(
    "flow.interpolate",
    "Your x_t is t·x + (1 − t)·z: data sits at t = 1 here. The course puts data at t = 0 and noise "
    "at t = 1.",
)
def data_at_t_1(x, z, t):
    t = column(t, x)
    return t * x + (1 - t) * z, z - x


@mistake(
    "flow.interpolate",
    "Your v is x − z: it points from noise to data. Here v = z − x, the way x_t moves as t grows; "
    "the sampler subtracts it.",
)
def velocity_toward_the_data(x, z, t):
    t = column(t, x)
    return (1 - t) * x + t * z, x - z


@mistake(
    "flow.interpolate",
    "This is the convention of torchcfm and flow_matching: data at t = 1 and v = x − z. The course "
    "runs the other way: data at t = 0 and v = z − x.",
)
def other_convention(x, z, t):
    t = column(t, x)
    return t * x + (1 - t) * z, x - z


@mistake(
    "flow.interpolate",
    "Your t is multiplied as it came: its (batch,) numbers line up with the last axis of x, not "
    "with the examples. Reshape it to (batch, 1, …, 1) first.",
)
def level_along_the_last_axis(x, z, t):
    return (1 - t) * x + t * z, z - x


@mistake(
    "flow.interpolate",
    "All examples are mixed at one level, that of the first. Each example has its own t.",
)
def one_level_for_all(x, z, t):
    return (1 - t[0]) * x + t[0] * z, z - x


@mistake(
    "flow.interpolate",
    "Your x_t is x + t·z: the noise is added, but the data never leave. At t = 1 only z may be "
    "left: the share of x is 1 − t.",
)
def data_never_leave(x, z, t):
    return x + column(t, x) * z, z - x


@mistake(
    "flow.interpolate",
    "The shares of x and z in your x_t have squares that sum to 1 (variance preserving). Rectified "
    "flow goes along the straight line: the shares themselves sum to 1.",
)
def variance_preserving(x, z, t):
    t = column(t, x)
    return (1 - t.square()).sqrt() * x + t * z, z - x


@mistake(
    "flow.interpolate",
    "Your v starts at x_t instead of x: z − x_t shrinks as t grows. The line from x to z has the "
    "same velocity z − x everywhere.",
)
def velocity_from_x_t(x, z, t):
    t = column(t, x)
    x_t = (1 - t) * x + t * z
    return x_t, z - x_t


@mistake("flow.interpolate", "The two results come back in the other order: first x_t, then v.")
def results_swapped(x, z, t):
    t = column(t, x)
    return z - x, (1 - t) * x + t * z


@mistake(
    "flow.interpolate", "Your v is t·(z − x): the velocity of a straight line is not scaled by t."
)
def velocity_scaled_by_t(x, z, t):
    t = column(t, x)
    return (1 - t) * x + t * z, t * (z - x)


@mistake(
    "flow.interpolate",
    "Right for points, but an image needs t as (batch, 1, 1, 1): one axis of length 1 for each "
    "axis of an example, however many there are.",
    sure=True,
)
def only_for_points(x, z, t):
    t = t[:, None]
    return (1 - t) * x + t * z, z - x


@mistake(
    "flow.interpolate",
    "A few digits are lost: t is kept off 0 and 1, or something is rounded. Neither is needed: "
    "at t = 0 x_t is x itself, at t = 1 z itself.",
    sure=True,
)
def levels_kept_off_the_ends(x, z, t):
    t = column(t.clamp(1e-6, 1 - 1e-6), x)
    return (1 - t) * x + t * z, z - x


@mistake(
    "flow.interpolate",
    "squeeze() drops every axis of length 1, also that of a batch of one example and of an image "
    "with one channel. Keep the shape of x.",
)
def axes_squeezed(x, z, t):
    t = column(t, x)
    return ((1 - t) * x + t * z).squeeze(), (z - x).squeeze()


@mistake(
    "flow.interpolate",
    "No gradient passes through: leave out no_grad and detach here, loss needs a graph only "
    "through the model, but others who call interpolate need it through x and z.",
    sure=True,
)
def without_a_graph(x, z, t):
    t = column(t, x)
    return ((1 - t) * x + t * z).detach(), (z - x).detach()


@mistake("flow.interpolate", "Only right for a handful of examples.", public=False)
def level_clamped(x, z, t):
    t = column(t.clamp(0, 0.999), x)
    return (1 - t) * x + t * z, z - x


@mistake("flow.interpolate", "The noise loses its precision on the way.", public=False)
def rounded_to_half_precision(x, z, t):
    t = column(t, x)
    return ((1 - t) * x + t * z).half().to(x.dtype), z - x


# --- flow.loss ----------------------------------------------------------------------------------


@mistake(
    "flow.loss",
    "You sum the squared errors. The course takes their mean over examples and dimensions, so that "
    "the loss can be read beside the Bayes floor whatever the batch.",
)
def summed(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return (ask(model, x_t, t, y) - v).square().sum()


@mistake(
    "flow.loss",
    "You sum over the dimensions and take the mean over examples only. Take the mean over both.",
)
def summed_over_dimensions(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return (ask(model, x_t, t, y) - v).square().flatten(1).sum(1).mean()


@mistake(
    "flow.loss",
    "Your target is x − z. The model is to predict v = z − x, the second result of interpolate.",
)
def target_reversed(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return (ask(model, x_t, t, y) + v).square().mean()


@mistake(
    "flow.loss",
    "Your target is the noise z (that is ε-prediction, slide 111). Rectified flow predicts the "
    "velocity v = z − x.",
)
def target_is_the_noise(model, x, z, t, y=None):
    x_t, _ = interpolate(x, z, t)
    return (ask(model, x_t, t, y) - z).square().mean()


@mistake(
    "flow.loss",
    "The model is shown the clean x. It has to find v from the noisy x_t: that is all a sampler "
    "has.",
)
def model_sees_clean_data(model, x, z, t, y=None):
    _, v = interpolate(x, z, t)
    return (ask(model, x, t, y) - v).square().mean()


@mistake(
    "flow.loss",
    "The loss hangs on no graph (the prediction is detached, or taken under no_grad): the "
    "number is right, but no gradient reaches the model, and nothing is learned.",
    sure=True,
)
def prediction_detached(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return (ask(model, x_t, t, y).detach() - v).square().mean()


@mistake(
    "flow.loss",
    "The condition is dropped: when y is given, call model(x_t, t, y).",
    sure=True,
)
def condition_dropped(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return (model(x_t, t) - v).square().mean()


@mistake(
    "flow.loss",
    "Slide 59 writes f_θ(x_t, y, t); in this course models are called model(x_t, t, y), level "
    "before condition.",
)
def condition_before_level(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return ((model(x_t, t) if y is None else model(x_t, y, t)) - v).square().mean()


@mistake(
    "flow.loss",
    "You take the mean absolute error. The best answer to a squared error is the mean E[v | x_t], "
    "to an absolute error it is a median: only the first makes the flow end at the data.",
)
def absolute_error(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return (ask(model, x_t, t, y) - v).abs().mean()


@mistake("flow.loss", "You take the root at the end: the loss is the mean square itself.")
def root_mean_square(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return (ask(model, x_t, t, y) - v).square().mean().sqrt()


@mistake("flow.loss", "Half of the mean square: the factor ½ belongs to other books.")
def halved(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return 0.5 * (ask(model, x_t, t, y) - v).square().mean()


@mistake(
    "flow.loss",
    "The model is told 1000·t. Timesteps of 0 to 1000 are a convention of other codebases; here t "
    "stays in [0, 1].",
)
def timesteps_of_1000(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return (ask(model, x_t, 1000 * t, y) - v).square().mean()


@mistake(
    "flow.loss",
    "A label of 0 is a class like any other: ask `if y is None`, not whether y has a number "
    "other than 0.",
    sure=True,
)
def labels_of_0_dropped(model, x, z, t, y=None):
    return loss(model, x, z, t, y if y is not None and y.any() else None)


@mistake(
    "flow.loss",
    "The model is asked twice. Once is enough: keep its answer.",
)
def asked_twice(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return ((ask(model, x_t, t, y) - v) * (ask(model, x_t, t, y) - v)).mean()


@mistake(
    "flow.loss",
    "The model is told another t than it was given: levels next to 0 and 1 must reach it as they "
    "came.",
)
def told_other_levels(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return (ask(model, x_t, t.clamp(1e-5, 1 - 1e-5), y) - v).square().mean()


@mistake("flow.loss", "Labels become floating point on the way.", public=False)
def labels_as_floats(model, x, z, t, y=None):
    return loss(model, x, z, t, None if y is None else y.float())


@mistake("flow.loss", "Only right while the errors are small.", public=False)
def huber(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    return 2 * torch.nn.functional.huber_loss(ask(model, x_t, t, y), v, delta=20.0)


@mistake("flow.loss", "Large errors weigh more at the noisy end.", public=False)
def weighted_by_level(model, x, z, t, y=None):
    x_t, v = interpolate(x, z, t)
    error = (ask(model, x_t, t, y) - v).square().flatten(1).mean(1)
    return (error * (1 + 0.02 * (t - t.mean()))).mean()


# --- flow.sample --------------------------------------------------------------------------------


def even(steps, times):
    return [i / steps for i in range(steps, -1, -1)] if times is None else [float(t) for t in times]


def euler(model, z, levels, lengths, y=None):
    x = z
    for t, h in zip(levels, lengths, strict=True):
        x = x - h * ask(model, x, level(x, t), y)
    return x


def lengths_of(ends):
    return [a - b for a, b in pairwise(ends)]


@mistake(
    "flow.sample",
    "This is the loop as the slides write it, t = 1, …, 0: T + 1 updates. The last, at t = 0, "
    "overshoots the data by one step (see the errata): stop after t = 1/T.",
    ignoring=("y", "times"),
)
@torch.no_grad()
def one_update_too_many(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    return euler(model, z, ends, [*lengths_of(ends), lengths_of(ends)[-1]], y)


@mistake(
    "flow.sample",
    "You add the velocity. v points from data to noise, so the way to the data is against it: x "
    "← x − v/T.",
    ignoring=("y", "times"),
)
@torch.no_grad()
def walks_along_v(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    return euler(model, z, ends[:-1], [-h for h in lengths_of(ends)], y)


@mistake(
    "flow.sample",
    "Your levels run from 0 to 1, as 1 − t does. Sampling starts at the noise: the model is "
    "told t = 1, then 1 − 1/T, down to 1/T.",
    ignoring=("y", "times"),
)
@torch.no_grad()
def levels_from_0_to_1(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    return euler(model, z, ends[:0:-1], lengths_of(ends)[::-1], y)


@mistake(
    "flow.sample",
    "Your levels are one step too low: t = 1 − 1/T, …, 0. The velocity of a step is taken where "
    "the step begins, first at t = 1.",
    ignoring=("y", "times"),
)
@torch.no_grad()
def levels_one_step_late(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    return euler(model, z, ends[1:], lengths_of(ends), y)


@mistake(
    "flow.sample",
    "linspace(1, 0, T) gives T levels that include 0, so they are 1/(T − 1) apart while your "
    "step is 1/T. T steps have T + 1 ends: linspace(1, 0, T + 1) without its last.",
    ignoring=("y", "times"),
)
@torch.no_grad()
def linspace_with_both_ends(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    levels = ends[:-1] if times is not None else torch.linspace(1, 0, steps).tolist()
    return euler(model, z, levels, lengths_of(ends), y)


@mistake(
    "flow.sample",
    "Each step has length 1: multiply the velocity by the way to the next level, 1/T, or T "
    "steps go T times too far.",
    ignoring=("y", "times"),
)
@torch.no_grad()
def steps_of_length_1(model, z, steps, y=None, times=None):
    return euler(model, z, even(steps, times)[:-1], [1.0] * steps, y)


@mistake(
    "flow.sample",
    "The model is always asked at t = 1. It must be told where the walk is now: t falls by 1/T "
    "a step.",
    ignoring=("y", "times"),
)
@torch.no_grad()
def always_at_t_1(model, z, steps, y=None, times=None):
    return euler(model, z, [1.0] * steps, lengths_of(even(steps, times)), y)


@mistake(
    "flow.sample",
    "The model gets t as one number. Nets expect a (batch,) tensor, one level for each example: "
    "torch.full((len(x),), t).",
    ignoring=("y", "times"),
)
@torch.no_grad()
def level_is_a_number(model, z, steps, y=None, times=None):
    x = z
    for t, t_next in pairwise(even(steps, times)):
        x = x - (t - t_next) * ask(model, x, torch.tensor(t), y)
    return x


@mistake(
    "flow.sample",
    "The condition is dropped: when y is given, every call is model(x, t, y).",
    sure=True,
)
@torch.no_grad()
def samples_without_condition(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    return euler(model, z, ends[:-1], lengths_of(ends))


@mistake(
    "flow.sample",
    "Every velocity is taken at z. Each step must ask the model about the x it has reached.",
    ignoring=("y", "times"),
)
@torch.no_grad()
def always_at_z(model, z, steps, y=None, times=None):
    x = z
    for t, t_next in pairwise(even(steps, times)):
        x = x - (t - t_next) * ask(model, z, level(x, t), y)
    return x


@mistake(
    "flow.sample",
    "The model is told timesteps up to 1000, as in diffusers and SD3. Here t stays in [0, 1].",
    ignoring=("y", "times"),
)
@torch.no_grad()
def samples_with_timesteps_of_1000(model, z, steps, y=None, times=None):
    x = z
    for t, t_next in pairwise(even(steps, times)):
        x = x - (t - t_next) * ask(model, x, level(x, 1000 * t), y)
    return x


@mistake(
    "flow.sample",
    "`times` are not looked at: when they are given, walk from one to the next of them.",
)
@torch.no_grad()
def always_even_levels(model, z, steps, y=None, times=None):
    ends = even(steps, None)
    return euler(model, z, ends[:-1], lengths_of(ends), y)


@mistake(
    "flow.sample",
    "The model is asked at the levels of `times`, but each step has length 1/T all the same. It "
    "is as long as the way to the next level, t_i − t_{i+1}.",
)
@torch.no_grad()
def even_steps_at_other_levels(model, z, steps, y=None, times=None):
    return euler(model, z, even(steps, times)[:-1], [1 / steps] * steps, y)


@mistake(
    "flow.sample",
    "Your last step goes to t = 0, wherever `times` end. It ends at the last of them.",
)
@torch.no_grad()
def always_down_to_0(model, z, steps, y=None, times=None):
    ends = [*even(steps, times)[:-1], 0.0]
    return euler(model, z, ends[:-1], lengths_of(ends), y)


@mistake(
    "flow.sample",
    "Your loop goes on while t > 0, and 1/T taken T times from 1 leaves a trace for most T: one "
    "step too many. Count the steps: for i in range(T).",
)
@torch.no_grad()
def while_t_is_above_0(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    if times is None:
        ends = [1.0]
        while ends[-1] > 0:
            ends.append(ends[-1] - 1 / steps)
    return euler(model, z, ends[:-1], lengths_of(ends), y)


@mistake(
    "flow.sample",
    "arange(1, 0, −1/T) has T levels for most T only: for T = 49 rounding adds one next to 0. "
    "Divide whole numbers instead: i / T.",
)
@torch.no_grad()
def levels_by_arange(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    levels = ends[:-1] if times is not None else torch.arange(1, 0, -1 / steps).tolist()
    lengths = lengths_of(ends) if times is not None else [1 / steps] * len(levels)
    return euler(model, z, levels, lengths, y)


@mistake(
    "flow.sample",
    "A label of 0 is a class like any other: ask `if y is None`, not whether y has a number "
    "other than 0.",
    sure=True,
)
@torch.no_grad()
def labels_of_0_are_none(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    return euler(model, z, ends[:-1], lengths_of(ends), y if y is not None and y.any() else None)


@mistake(
    "flow.sample",
    "t is in another precision than x: a network in float32 refuses it or answers in float64. "
    "Make it with dtype=x.dtype.",
    sure=True,
)
@torch.no_grad()
def levels_in_double_precision(model, z, steps, y=None, times=None):
    x = z
    for t, t_next in pairwise(even(steps, times)):
        x = x - (t - t_next) * ask(model, x, torch.full((len(x),), t, dtype=torch.float64), y)
    return x


@mistake("flow.sample", "Large numbers are cut off.", public=False)
@torch.no_grad()
def kept_small(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    return euler(model, z, ends[:-1], lengths_of(ends), y).clamp(-10, 10)


@mistake("flow.sample", "Fewer steps than asked for.", public=False)
@torch.no_grad()
def at_most_50_steps(model, z, steps, y=None, times=None):
    ends = even(min(steps, 50), times)
    return euler(model, z, ends[:-1], lengths_of(ends), y)


@mistake("flow.sample", "The result always has 32 bits.", public=False)
@torch.no_grad()
def always_single_precision(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    return euler(model, z.float(), ends[:-1], lengths_of(ends), y).to(z.dtype)


# --- flow.trajectory ----------------------------------------------------------------------------


def frames_of(model, z, steps, y=None, sign=-1):
    frames = [z]
    for i in range(steps, 0, -1):
        x = frames[-1]
        frames.append(x + sign * ask(model, x, level(x, i / steps), y) / steps)
    return frames


@mistake(
    "flow.trajectory", "The noise itself is missing: T steps have T + 1 frames, the first is z."
)
@torch.no_grad()
def without_the_noise(model, z, steps, y=None):
    return torch.stack(frames_of(model, z, steps, y)[1:])


@mistake(
    "flow.trajectory", "The sample is missing: T steps have T + 1 frames, append after each step."
)
@torch.no_grad()
def without_the_sample(model, z, steps, y=None):
    return torch.stack(frames_of(model, z, steps, y)[:-1])


@mistake("flow.trajectory", "Your frames run from sample to noise. The first frame is the noise.")
@torch.no_grad()
def backward_in_time(model, z, steps, y=None):
    return torch.stack(frames_of(model, z, steps, y)[::-1])


@mistake(
    "flow.trajectory",
    "All your frames are one tensor: `x -= …` changes it in place, also where it was put before. "
    "Make a new x in every step, or append x.clone().",
)
@torch.no_grad()
def frames_share_memory(model, z, steps, y=None):
    x = z.clone()
    frames = [x]
    for i in range(steps, 0, -1):
        x -= ask(model, x, level(x, i / steps), y) / steps
        frames.append(x)
    return torch.stack(frames)


@mistake(
    "flow.trajectory",
    "Your frames are stacked behind the batch. Frames come first: stack on axis 0.",
)
@torch.no_grad()
def batch_first(model, z, steps, y=None):
    return torch.stack(frames_of(model, z, steps, y), dim=1)


@mistake("flow.trajectory", "Your frames go along v. The way to the data is against it: x − v/T.")
@torch.no_grad()
def frames_along_v(model, z, steps, y=None):
    return torch.stack(frames_of(model, z, steps, y, sign=1))


@mistake(
    "flow.trajectory",
    "Frame k is `sample` with k steps: k long steps all the way to the data, not the first k of T.",
)
@torch.no_grad()
def a_sample_for_each_frame(model, z, steps, y=None):
    return torch.stack([z, *(frames_of(model, z, k, y)[-1] for k in range(1, steps + 1))])


@mistake(
    "flow.trajectory",
    "The condition is dropped: when y is given, every call is model(x, t, y).",
    sure=True,
)
@torch.no_grad()
def path_without_condition(model, z, steps, y=None):
    return torch.stack(frames_of(model, z, steps))


@mistake(
    "flow.trajectory",
    "Your loop goes on while t > 0, and 1/T taken T times from 1 leaves a trace for most T: one "
    "frame too many. Count the steps: for i in range(T).",
)
@torch.no_grad()
def frames_while_t_is_above_0(model, z, steps, y=None):
    frames, t = [z], 1.0
    while t > 0:
        frames.append(frames[-1] - ask(model, frames[-1], level(z, t), y) / steps)
        t -= 1 / steps
    return torch.stack(frames)


@mistake(
    "flow.trajectory",
    "A label of 0 is a class like any other: ask `if y is None`, not whether y has a number "
    "other than 0.",
    sure=True,
)
@torch.no_grad()
def path_without_labels_of_0(model, z, steps, y=None):
    return torch.stack(frames_of(model, z, steps, y if y is not None and y.any() else None))


@mistake("flow.trajectory", "At most 64 frames.", public=False)
@torch.no_grad()
def at_most_64_frames(model, z, steps, y=None):
    return torch.stack(frames_of(model, z, min(steps, 64), y))


@mistake("flow.trajectory", "A straight line between noise and sample.", public=False)
@torch.no_grad()
def straightened(model, z, steps, y=None):
    path = torch.stack(frames_of(model, z, steps, y))
    k = torch.arange(steps + 1).reshape(-1, *[1] * z.dim()) / steps
    bent = (path - torch.lerp(path[:1], path[-1:], k)).abs().max()
    return path if bent > 0.2 else torch.lerp(path[:1], path[-1:], k)


@mistake("flow.trajectory", "A path of 32 bits.", public=False)
@torch.no_grad()
def single_precision_path(model, z, steps, y=None):
    return torch.stack([f.float() for f in frames_of(model, z, steps, y)])


# --- flow.sample_heun ---------------------------------------------------------------------------


def heun(model, z, steps, y=None, *, second=None, combine=None):
    """Heun's loop with its second call and its mean left open."""
    second = second or (lambda x, v, t, h: (x - h * v, t - h, y))
    combine = combine or (lambda v, v_next: (v + v_next) / 2)
    x, h = z, 1 / steps
    for i in range(steps, 0, -1):
        t = i / steps
        v = ask(model, x, level(x, t), y)
        x_next, t_next, y_next = second(x, v, t, h)
        v_next = ask(model, x_next, level(x, t_next), y_next)
        x = x - h * combine(v, v_next)
    return x


@mistake(
    "flow.sample_heun",
    "The second call asks at the same t. It looks at the end of the step, where t has fallen by "
    "1/T.",
)
@torch.no_grad()
def both_at_the_same_level(model, z, steps, y=None):
    return heun(model, z, steps, y, second=lambda x, v, t, h: (x - h * v, t, y))


@mistake(
    "flow.sample_heun",
    "The second call asks about the old x. It must see x' = x − v/T, where Euler's step would end.",
)
@torch.no_grad()
def second_call_at_the_old_x(model, z, steps, y=None):
    return heun(model, z, steps, y, second=lambda x, v, t, h: (x, t - h, y))


@mistake("flow.sample_heun", "Your trial step goes along v, x + v/T. It goes to the data: x − v/T.")
@torch.no_grad()
def trial_step_along_v(model, z, steps, y=None):
    return heun(model, z, steps, y, second=lambda x, v, t, h: (x + h * v, t - h, y))


@mistake(
    "flow.sample_heun",
    "You step along v + v', twice too far: it is their mean, (v + v') / 2.",
)
@torch.no_grad()
def velocities_added(model, z, steps, y=None):
    return heun(model, z, steps, y, combine=lambda v, v_next: v + v_next)


@mistake(
    "flow.sample_heun",
    "You step along the second velocity alone, which is no better than Euler. Step along the mean "
    "of both.",
)
@torch.no_grad()
def second_velocity_alone(model, z, steps, y=None):
    return heun(model, z, steps, y, combine=lambda v, v_next: v_next)


@mistake(
    "flow.sample_heun",
    "This is the midpoint rule: half a step, then the velocity there. It is of second order too, "
    "but Heun's rule takes the mean of both ends.",
)
@torch.no_grad()
def midpoint_rule(model, z, steps, y=None):
    return heun(
        model,
        z,
        steps,
        y,
        second=lambda x, v, t, h: (x - h * v / 2, t - h / 2, y),
        combine=lambda v, v_next: v_next,
    )


@mistake(
    "flow.sample_heun",
    "Your last step is Euler's. Karras et al. must stop short because their step at σ = 0 divides "
    "by 0; here nothing does, and every step takes both ends.",
)
@torch.no_grad()
def last_step_is_eulers(model, z, steps, y=None):
    x, h = z, 1 / steps
    for i in range(steps, 0, -1):
        v = ask(model, x, level(x, i * h), y)
        if i > 1:
            v = (v + ask(model, x - h * v, level(x, (i - 1) * h), y)) / 2
        x = x - h * v
    return x


@mistake(
    "flow.sample_heun",
    "The condition is dropped in some calls of the model: every one is model(x, t, y).",
    sure=True,
)
@torch.no_grad()
def second_call_without_condition(model, z, steps, y=None):
    return heun(model, z, steps, y, second=lambda x, v, t, h: (x - h * v, t - h, None))


@mistake(
    "flow.sample_heun",
    "This is Euler's rule with T steps: a second look at the end of each step is missing.",
)
@torch.no_grad()
def plain_euler(model, z, steps, y=None):
    return euler(model, z, [i / steps for i in range(steps, 0, -1)], [1 / steps] * steps, y)


@mistake(
    "flow.sample_heun",
    "A label of 0 is a class like any other: ask `if y is None`, not whether y has a number "
    "other than 0.",
    sure=True,
)
@torch.no_grad()
def heun_without_labels_of_0(model, z, steps, y=None):
    return heun(model, z, steps, y if y is not None and y.any() else None)


@mistake(
    "flow.sample_heun",
    "The last call is kept off t = 0. Nothing divides by t here: the last step ends at t = 0, and "
    "the model is asked there.",
)
@torch.no_grad()
def never_asked_at_0(model, z, steps, y=None):
    return heun(model, z, steps, y, second=lambda x, v, t, h: (x - h * v, max(t - h, 1e-3), y))


@mistake("flow.sample_heun", "At most 64 steps, in single precision.", public=False)
@torch.no_grad()
def at_most_64_steps_of_heun(model, z, steps, y=None):
    return heun(model, z.float(), min(steps, 64), y).to(z.dtype)


@mistake(
    "flow.sample_heun", "Two thirds of the way instead of the end (Ralston's rule).", public=False
)
@torch.no_grad()
def ralston(model, z, steps, y=None):
    return heun(
        model,
        z,
        steps,
        y,
        second=lambda x, v, t, h: (x - 2 * h * v / 3, t - 2 * h / 3, y),
        combine=lambda v, v_next: (v + 3 * v_next) / 4,
    )


# --- flow.straightness --------------------------------------------------------------------------


def squares(path, whole=None, speed=None):
    steps = len(path) - 1
    whole = path[-1] - path[0] if whole is None else whole
    speed = (path[1:] - path[:-1]) * steps if speed is None else speed
    return (whole - speed).square()


@mistake(
    "flow.straightness",
    "A step is compared with the whole way, which is T times as long: multiply the step by T to "
    "get its speed.",
)
def step_for_speed(path):
    return squares(path, speed=path[1:] - path[:-1]).mean()


@mistake(
    "flow.straightness", "You sum over everything. S is a mean over steps, examples and dimensions."
)
def straightness_summed(path):
    return squares(path).sum()


@mistake("flow.straightness", "You take absolute differences. S is their mean square.")
def straightness_of_absolutes(path):
    return squares(path).sqrt().mean()


@mistake(
    "flow.straightness",
    "There are T + 1 frames but T steps between them: multiply by T, one less than the frames.",
)
def frames_counted_as_steps(path):
    return squares(path, speed=(path[1:] - path[:-1]) * len(path)).mean()


@mistake(
    "flow.straightness",
    "Your whole way runs from the last frame to the first, your steps from first to last: take "
    "both the same way.",
)
def whole_way_backward(path):
    return squares(path, whole=path[0] - path[-1]).mean()


@mistake(
    "flow.straightness",
    "You compare each step with the one before it (a curvature). S compares each with the whole "
    "way.",
)
def second_differences(path):
    steps = len(path) - 1
    return (torch.diff(path, n=2, dim=0) * steps).square().mean()


@mistake(
    "flow.straightness",
    "You measure how far the points are from the line. S measures speeds: a path that stays on "
    "the line but changes its pace is not straight.",
)
def distance_from_the_line(path):
    k = torch.linspace(0, 1, len(path)).reshape(-1, *[1] * (path.dim() - 1))
    return (path - torch.lerp(path[:1], path[-1:], k)).square().mean()


@mistake("flow.straightness", "The root of the mean square.", public=True)
def straightness_root(path):
    return squares(path).mean().sqrt()


@mistake(
    "flow.straightness",
    "You subtract the square of the whole way from the mean square of the speeds. That is equal, "
    "but two large numbers that nearly cancel leave few digits: subtract first, then square.",
)
def squares_subtracted(path):
    speed = (path[1:] - path[:-1]) * (len(path) - 1)
    return speed.square().mean() - (path[-1] - path[0]).square().mean()


@mistake(
    "flow.straightness",
    "torch.var divides by T − 1 by default. S is a mean over the T steps: correction=0.",
)
def variance_with_correction(path):
    return ((path[1:] - path[:-1]) * (len(path) - 1)).var(0).mean()


@mistake("flow.straightness", "The first step is left out.", public=False)
def first_step_left_out(path):
    return squares(path)[1:].mean() if len(path) > 9 else squares(path).mean()


# --- flow.train ---------------------------------------------------------------------------------


def training(model, draw, steps, batch, generator, options, **parts):
    """The training loop with its parts left open."""
    noise = parts.get("noise", lambda x: torch.randn(x.shape, generator=generator))
    levels = parts.get("levels", lambda x: torch.rand(len(x), generator=generator))
    condition = parts.get("condition", lambda y: y)
    update = parts.get("update", descend)
    with Run(model, steps, **options) as run:
        for _ in run:
            x, y = draw(batch, generator)
            z = noise(x)
            t = levels(x)
            update(run, loss(model, x, z, t, condition(y)))
    return run.history


def descend(run, L):
    run.optimizer.zero_grad()
    L.backward()
    run.optimizer.step()
    run.record(L)


@mistake(
    "flow.train",
    "The gradient is never cleared, so every step moves along the sum of all gradients so far: "
    "run.optimizer.zero_grad() before backward().",
)
def gradient_never_cleared(model, draw, steps, *, batch=512, generator=None, **options):
    def update(run, L):
        L.backward()
        run.optimizer.step()
        run.record(L)

    return training(model, draw, steps, batch, generator, options, update=update)


NEVER_MOVES = (
    "The weights never move. L.backward() computes the gradient and run.optimizer.step() follows "
    "it: one of the two is missing, or zero_grad() stands between them."
)


@mistake("flow.train", NEVER_MOVES)
def step_missing(model, draw, steps, *, batch=512, generator=None, **options):
    def update(run, L):
        run.optimizer.zero_grad()
        L.backward()
        run.record(L)

    return training(model, draw, steps, batch, generator, options, update=update)


@mistake("flow.train", NEVER_MOVES)
def backward_missing(model, draw, steps, *, batch=512, generator=None, **options):
    def update(run, L):
        run.optimizer.zero_grad()
        run.optimizer.step()
        run.record(L)

    return training(model, draw, steps, batch, generator, options, update=update)


@mistake(
    "flow.train",
    "The noise is drawn once and used in every step: the net learns those few pairs by heart. "
    "Draw z anew.",
)
def same_noise_in_every_step(model, draw, steps, *, batch=512, generator=None, **options):
    kept = []

    def noise(x):
        if not kept:
            kept.append(torch.randn(x.shape, generator=generator))
        return kept[0]

    return training(model, draw, steps, batch, generator, options, noise=noise)


@mistake("flow.train", "The data are drawn once, before the loop. Every step takes a fresh batch.")
def same_data_in_every_step(model, draw, steps, *, batch=512, generator=None, **options):
    once = draw(batch, generator)
    return training(model, lambda n, g: once, steps, batch, generator, options)


@mistake(
    "flow.train",
    "One t is drawn for the whole batch. Each example gets its own: torch.rand(len(x)); the "
    "gradient is then far less noisy.",
)
def one_level_a_batch(model, draw, steps, *, batch=512, generator=None, **options):
    def levels(x):
        return torch.rand(1, generator=generator).expand(len(x))

    return training(model, draw, steps, batch, generator, options, levels=levels)


@mistake("flow.train", "Your levels are Gaussian (randn). t is uniform on [0, 1]: torch.rand.")
def gaussian_levels(model, draw, steps, *, batch=512, generator=None, **options):
    def levels(x):
        return torch.randn(len(x), generator=generator)

    return training(model, draw, steps, batch, generator, options, levels=levels)


@mistake("flow.train", "Your noise is uniform (rand). z is unit Gaussian: torch.randn.")
def uniform_noise(model, draw, steps, *, batch=512, generator=None, **options):
    def noise(x):
        return torch.rand(x.shape, generator=generator)

    return training(model, draw, steps, batch, generator, options, noise=noise)


@mistake(
    "flow.train",
    "The conditions that draw gave are dropped: pass y on to loss.",
    sure=True,
)
def conditions_dropped(model, draw, steps, *, batch=512, generator=None, **options):
    return training(model, draw, steps, batch, generator, options, condition=lambda y: None)


@mistake(
    "flow.train",
    "The batch size is not passed on: draw(batch, generator) must be asked for `batch` examples.",
)
def batch_ignored(model, draw, steps, *, batch=512, generator=None, **options):
    return training(model, draw, steps, 512, generator, options)


@mistake(
    "flow.train", "The losses are not recorded: run.record(L) belongs at the end of each step."
)
def nothing_recorded(model, draw, steps, *, batch=512, generator=None, **options):
    def update(run, L):
        run.optimizer.zero_grad()
        L.backward()
        run.optimizer.step()

    return training(model, draw, steps, batch, generator, options, update=update)


@mistake(
    "flow.train",
    "Not all that is random comes from `generator`, so a seed does not repeat a run: pass it on "
    "to draw, to randn and to rand.",
)
def levels_without_the_generator(model, draw, steps, *, batch=512, generator=None, **options):
    def levels(x):
        return torch.rand(len(x))

    return training(model, draw, steps, batch, generator, options, levels=levels)


@mistake(
    "flow.train",
    "The levels are drawn before the data. The order is data, noise, levels, so that a seed "
    "repeats the runs that are printed here.",
    sure=True,
)
def levels_first(model, draw, steps, *, batch=512, generator=None, **options):
    with Run(model, steps, **options) as run:
        for _ in run:
            t = torch.rand(batch, generator=generator)
            x, y = draw(batch, generator)
            z = torch.randn(x.shape, generator=generator)
            descend(run, loss(model, x, z, t, y))
    return run.history


@mistake(
    "flow.train",
    "The loss is recorded before the optimiser's step, so the average of the weights is one step "
    "behind: run.record(L) comes last.",
)
def recorded_before_the_step(model, draw, steps, *, batch=512, generator=None, **options):
    def update(run, L):
        run.record(L)
        run.optimizer.zero_grad()
        L.backward()
        run.optimizer.step()

    return training(model, draw, steps, batch, generator, options, update=update)


@mistake(
    "flow.train",
    "Your levels are spread evenly over [0, 1], one in each n-th of it. The task asks for "
    "independent ones: torch.rand(len(x)).",
)
def levels_in_strata(model, draw, steps, *, batch=512, generator=None, **options):
    def levels(x):
        return (torch.randperm(len(x), generator=generator) + 0.5) / len(x)

    return training(model, draw, steps, batch, generator, options, levels=levels)


@mistake(
    "flow.train",
    "The pixels of an image all get the same noise. Each number gets its own: "
    "torch.randn(x.shape).",
)
def one_noise_an_example(model, draw, steps, *, batch=512, generator=None, **options):
    def noise(x):
        one = torch.randn(len(x), *[1] * (x.dim() - 1), generator=generator)
        return one.expand_as(x)

    return training(model, draw, steps, batch, generator, options, noise=noise)


@mistake("flow.train", "Each noise comes with its negative.", public=False)
def noise_in_pairs(model, draw, steps, *, batch=512, generator=None, **options):
    def noise(x):
        half = torch.randn((len(x) + 1) // 2, *x.shape[1:], generator=generator)
        return torch.cat([half, -half])[: len(x)]

    return training(model, draw, steps, batch, generator, options, noise=noise)


@mistake("flow.train", "Without a generator every run is the same.", public=False)
def seeded_without_a_generator(model, draw, steps, *, batch=512, generator=None, **options):
    own = torch.Generator().manual_seed(0) if generator is None else generator
    return training(model, draw, steps, batch, own, options)


@mistake("flow.train", "Half of the loss is recorded.", public=False)
def half_of_the_loss_recorded(model, draw, steps, *, batch=512, generator=None, **options):
    def update(run, L):
        run.optimizer.zero_grad()
        L.backward()
        run.optimizer.step()
        run.record(L / 2)

    return training(model, draw, steps, batch, generator, options, update=update)


@mistake("flow.train", "In evaluation mode.", public=False)
def in_evaluation_mode(model, draw, steps, *, batch=512, generator=None, **options):
    def update(run, L):
        model.eval()
        descend(run, L)

    return training(model, draw, steps, batch, generator, options, update=update)


@mistake("flow.train", "Noise of the wrong size.", public=False)
def noise_a_tenth_too_small(model, draw, steps, *, batch=512, generator=None, **options):
    def noise(x):
        return 0.9 * torch.randn(x.shape, generator=generator)

    return training(model, draw, steps, batch, generator, options, noise=noise)


@mistake("flow.train", "Logit-normal levels (chapter 06): here t is uniform.", public=False)
def levels_avoid_the_ends(model, draw, steps, *, batch=512, generator=None, **options):
    def levels(x):
        return torch.sigmoid(torch.randn(len(x), generator=generator))

    return training(model, draw, steps, batch, generator, options, levels=levels)


@mistake("flow.train", "Two gradient steps for every batch.", public=False)
def two_steps_a_batch(model, draw, steps, *, batch=512, generator=None, **options):
    def update(run, L):
        run.optimizer.zero_grad()
        L.backward()
        run.optimizer.step()
        run.optimizer.step()
        run.record(L)

    return training(model, draw, steps, batch, generator, options, update=update)


# --- first attempts -----------------------------------------------------------------------------


def to_points(t):
    return t[:, None]


interpolated = several(
    "flow.interpolate",
    (
        "toward_the_data_for_points",
        velocity_toward_the_data,
        lambda x, z, t: ((1 - to_points(t)) * x + to_points(t) * z, x - z),
    ),
    (
        "data_at_t_1_for_points",
        data_at_t_1,
        lambda x, z, t: (to_points(t) * x + (1 - to_points(t)) * z, z - x),
    ),
    (
        "other_convention_for_points",
        other_convention,
        lambda x, z, t: (to_points(t) * x + (1 - to_points(t)) * z, x - z),
    ),
    (
        "velocity_is_the_noise",
        "Your v is the noise z alone. It is how x_t changes with t: z − x.",
        lambda x, z, t: ((1 - column(t, x)) * x + column(t, x) * z, z.clone()),
    ),
    (
        "velocity_is_the_data",
        "Your v is the data x alone. It is how x_t changes with t: z − x.",
        lambda x, z, t: ((1 - column(t, x)) * x + column(t, x) * z, x.clone()),
    ),
    (
        "velocity_is_x_t_less_x",
        "Your v is t·(z − x): the velocity of a straight line is not scaled by t.",
        lambda x, z, t: ((1 - column(t, x)) * x + column(t, x) * z, column(t, x) * z),
    ),
)


@mistake(
    "flow.interpolate",
    "Only one tensor comes back. Return both: x_t first, then v.",
)
def x_t_alone(x, z, t):
    return (1 - column(t, x)) * x + column(t, x) * z


def mean_square(model, x, z, t, y, target, told=lambda t: t):
    """The loss with another target, or with another level told to the model."""
    return (ask(model, interpolate(x, z, t)[0], told(t), y) - target).square().mean()


losses = several(
    "flow.loss",
    (
        "told_1_minus_t",
        "The model is told 1 − t. It gets t as it is: 0 at the data, 1 at the noise.",
        lambda model, x, z, t, y=None: mean_square(model, x, z, t, y, z - x, lambda t: 1 - t),
    ),
    (
        "told_a_column",
        "The model gets t as (batch, 1). Nets expect a (batch,) tensor, as t came.",
        lambda model, x, z, t, y=None: mean_square(model, x, z, t, y, z - x, to_points),
    ),
    (
        "target_is_the_data",
        "Your target is the data x. Rectified flow predicts the velocity v = z − x.",
        lambda model, x, z, t, y=None: mean_square(model, x, z, t, y, x),
    ),
    (
        "target_is_x_t",
        "Your target is x_t, what the model was shown. It predicts the velocity v = z − x.",
        lambda model, x, z, t, y=None: mean_square(
            model, x, z, t, y, (1 - column(t, x)) * x + column(t, x) * z
        ),
    ),
    (
        "model_sees_the_noise",
        "The model is shown the noise z. It has to find v from the noisy x_t.",
        lambda model, x, z, t, y=None: (ask(model, z, t, y) - (z - x)).square().mean(),
    ),
    (
        "one_loss_an_example",
        "One number for each example comes back. Take the mean over the batch too.",
        lambda model, x, z, t, y=None: (
            (ask(model, interpolate(x, z, t)[0], t, y) - (z - x)).square().flatten(1).mean(1)
        ),
    ),
    (
        "square_of_the_mean",
        "You square the mean error, in which errors of both signs cancel. Square first, then take "
        "the mean.",
        lambda model, x, z, t, y=None: (
            (ask(model, interpolate(x, z, t)[0], t, y) - (z - x)).mean().square()
        ),
    ),
)


def downhill(model, z, levels, h, y=None, sign=-1, told=level, ask=ask):
    """Steps of one length h, at these levels."""
    x = z
    for t in levels:
        x = x + sign * h * ask(model, x, told(x, t), y)
    return x


def falling(steps):
    return [i / steps for i in range(steps, 0, -1)]


def rising(steps):
    return [i / steps for i in range(steps)]


@mistake(
    "flow.sample",
    "You start at t = 0 and add the velocity: this walks away from the data, as codes do whose "
    "data sit at t = 1. Here t falls from 1, and v is subtracted.",
    ignoring=("y",),
)
@torch.no_grad()
def upwards_along_v(model, z, steps, y=None, times=None):
    return downhill(model, z, rising(steps), 1 / steps, y, sign=1)


@mistake(
    "flow.sample",
    "Your levels run from 0 to 1, as 1 − t does. Sampling starts at the noise: the model is "
    "told t = 1, then 1 − 1/T, down to 1/T.",
    ignoring=("times",),
)
@torch.no_grad()
def told_1_minus_t(model, z, steps, y=None, times=None):
    x = z
    for t, t_next in pairwise(even(steps, times)):
        x = x - (t - t_next) * ask(model, x, level(x, 1 - t), y)
    return x


@mistake(
    "flow.sample",
    "The model is told the number of the step, T, …, 1. It expects t = i/T, in [0, 1].",
    ignoring=("y",),
)
@torch.no_grad()
def told_the_number_of_the_step(model, z, steps, y=None, times=None):
    return downhill(model, z, range(steps, 0, -1), 1 / steps, y)


@form_of(told_the_number_of_the_step)
@torch.no_grad()
def told_a_whole_number(model, z, steps, y=None, times=None):
    def told(x, i):
        return torch.full((len(x),), i)

    return downhill(model, z, range(steps, 0, -1), 1 / steps, y, told=told)


@mistake(
    "flow.sample",
    "The model gets t as (batch, 1). Nets expect a (batch,) tensor: torch.full((len(x),), t).",
    ignoring=("times",),
)
@torch.no_grad()
def told_a_column(model, z, steps, y=None, times=None):
    x = z
    for t, t_next in pairwise(even(steps, times)):
        x = x - (t - t_next) * ask(model, x, level(x, t)[:, None], y)
    return x


@mistake(
    "flow.sample",
    "The model gets t as (1,). Nets expect one level for each example: torch.full((len(x),), t).",
    ignoring=("times",),
)
@torch.no_grad()
def told_a_single_level(model, z, steps, y=None, times=None):
    x = z
    for t, t_next in pairwise(even(steps, times)):
        x = x - (t - t_next) * ask(model, x, torch.tensor([t], dtype=x.dtype), y)
    return x


@form_of(level_is_a_number)
@torch.no_grad()
def level_is_a_float(model, z, steps, y=None, times=None):
    x = z
    for t, t_next in pairwise(even(steps, times)):
        x = x - (t - t_next) * ask(model, x, t, y)
    return x


@form_of(level_is_a_number)
@torch.no_grad()
def level_is_a_float_at_even_levels(model, z, steps, y=None, times=None):
    return downhill(model, z, falling(steps), 1 / steps, y, told=lambda x, t: t)


@mistake(
    "flow.sample",
    "These are T − 1 steps: linspace(1, 0, T) gives T levels with T − 1 gaps between them. T steps "
    "have T + 1 ends.",
    ignoring=("y",),
)
@torch.no_grad()
def one_update_too_few(model, z, steps, y=None, times=None):
    ends = torch.linspace(1, 0, steps).tolist() if times is None else even(steps, times)
    return euler(model, z, ends[:-1], lengths_of(ends), y)


@form_of(one_update_too_few)
@torch.no_grad()
def one_update_too_few_at_even_levels(model, z, steps, y=None, times=None):
    ends = torch.linspace(1, 0, steps).tolist()
    return euler(model, z, ends[:-1], lengths_of(ends), y)


@mistake("flow.sample", "Neither y nor `times` are looked at: use both where they are given.")
@torch.no_grad()
def neither_condition_nor_levels(model, z, steps, y=None, times=None):
    return downhill(model, z, falling(steps), 1 / steps)


@mistake(
    "flow.sample",
    "The walk stops one step before its end: the last step, to t = 0, is missing.",
    ignoring=("times",),
)
@torch.no_grad()
def last_step_missing(model, z, steps, y=None, times=None):
    ends = even(steps, times)
    return euler(model, z, ends[:-2], lengths_of(ends)[:-1], y)


IN_PLACE = (
    "You write into z, which belongs to the caller: `x -= …` changes it. Write x = x − …, or begin "
    "with z.clone()."
)


@mistake("flow.sample", IN_PLACE, sure=True)
@torch.no_grad()
def walks_in_z(model, z, steps, y=None, times=None):
    x = z
    for t, t_next in pairwise(even(steps, times)):
        x -= (t - t_next) * ask(model, x, level(x, t), y)
    return x


def stacked(model, z, levels, h, y=None, sign=-1):
    frames = [z]
    for t in levels:
        x = frames[-1]
        frames.append(x + sign * h * ask(model, x, level(x, t), y))
    return torch.stack(frames)


paths = several(
    "flow.trajectory",
    (
        "levels_from_0_to_1_on_a_path",
        "Your levels run from 0 to 1. Sampling starts at the noise: t = 1, then 1 − 1/T, down to "
        "1/T.",
        torch.no_grad()(
            lambda model, z, steps, y=None: stacked(model, z, rising(steps), 1 / steps, y)
        ),
    ),
    (
        "upwards_along_v_on_a_path",
        "You start at t = 0 and add the velocity: this walks away from the data. Here t falls from "
        "1, and v is subtracted.",
        torch.no_grad()(
            lambda model, z, steps, y=None: stacked(model, z, rising(steps), 1 / steps, y, 1)
        ),
    ),
    (
        "linspace_with_both_ends_on_a_path",
        "linspace(1, 0, T) gives T levels that include 0, so they are 1/(T − 1) apart while your "
        "step is 1/T. T steps have T + 1 ends: linspace(1, 0, T + 1) without its last.",
        torch.no_grad()(
            lambda model, z, steps, y=None: stacked(
                model, z, torch.linspace(1, 0, steps).tolist(), 1 / steps, y
            )
        ),
    ),
    (
        "one_update_too_many_on_a_path",
        "T + 1 updates: the one at t = 0 overshoots the data by a step. Stop after t = 1/T.",
        torch.no_grad()(
            lambda model, z, steps, y=None: stacked(model, z, [*falling(steps), 0.0], 1 / steps, y)
        ),
    ),
    (
        "steps_of_length_1_on_a_path",
        "Each step has length 1: multiply the velocity by 1/T.",
        torch.no_grad()(lambda model, z, steps, y=None: stacked(model, z, falling(steps), 1.0, y)),
    ),
    (
        "a_list_of_frames",
        "A list of frames comes back: make one tensor of it, torch.stack(frames).",
        torch.no_grad()(lambda model, z, steps, y=None: frames_of(model, z, steps, y)),
    ),
    (
        "frames_joined",
        "torch.cat joins the frames along the batch. torch.stack gives them an axis of their own.",
        torch.no_grad()(lambda model, z, steps, y=None: torch.cat(frames_of(model, z, steps, y))),
    ),
)


def second_of(second):
    return torch.no_grad()(
        lambda model, z, steps, y=None: heun(
            model, z, steps, y, second=lambda x, v, t, h: second(x, v, t, h, y)
        )
    )


def mean_of(combine):
    return torch.no_grad()(
        lambda model, z, steps, y=None: heun(model, z, steps, y, combine=combine)
    )


@mistake("flow.sample_heun", "You step along v. The way to the data is against it: x − …")
@torch.no_grad()
def heun_along_v(model, z, steps, y=None):
    x, h = z, 1 / steps
    for t in falling(steps):
        v = ask(model, x, level(x, t), y)
        v_next = ask(model, x + h * v, level(x, t - h), y)
        x = x + h * (v + v_next) / 2
    return x


@mistake(
    "flow.sample_heun",
    "The mean step is taken from x', where the trial step ended. It starts at x again: keep both.",
)
@torch.no_grad()
def from_the_trial_point(model, z, steps, y=None):
    x, h = z, 1 / steps
    for i in range(steps, 0, -1):
        v = ask(model, x, level(x, i / steps), y)
        x = x - h * v
        v_next = ask(model, x, level(x, (i - 1) / steps), y)
        x = x - h * (v + v_next) / 2
    return x


@form_of(second_call_without_condition)
@torch.no_grad()
def no_call_with_condition(model, z, steps, y=None):
    return heun(model, z, steps)


heuns = several(
    "flow.sample_heun",
    (
        "second_call_behind",
        "The second call asks at t + 1/T, behind the step. At its end t has fallen by 1/T.",
        second_of(lambda x, v, t, h, y: (x - h * v, t + h, y)),
    ),
    (
        "difference_of_both",
        "You step along the difference of both velocities. It is their mean, (v + v') / 2.",
        mean_of(lambda v, v_next: (v - v_next) / 2),
    ),
    (
        "the_other_difference",
        "You step along the difference of both velocities. It is their mean, (v + v') / 2.",
        mean_of(lambda v, v_next: (v_next - v) / 2),
    ),
    (
        "a_quarter",
        "You halve twice: the mean is (v + v') / 2, not a quarter of the sum.",
        mean_of(lambda v, v_next: (v + v_next) / 4),
    ),
)


def gap(path, factor):
    return (path[-1] - path[0]) - factor * (path[1:] - path[:-1])


bends = several(
    "flow.straightness",
    (
        "steps_divided",
        "You divide the step by T. Its speed is T times the step: it takes 1/T of the time.",
        lambda path: gap(path, 1 / (len(path) - 1)).square().mean(),
    ),
    (
        "summed_over_dimensions_of_a_path",
        "You sum over the dimensions. S is a mean over steps, examples and dimensions.",
        lambda path: gap(path, len(path) - 1).square().flatten(2).sum(2).mean(),
    ),
    (
        "norm_of_the_gap",
        "This is the norm of all differences, the root of a sum. S is the mean of the squares.",
        lambda path: gap(path, len(path) - 1).norm(),
    ),
    (
        "half_of_the_gap",
        "Half of the mean square: there is no ½ in S.",
        lambda path: gap(path, len(path) - 1).square().mean() / 2,
    ),
)


@mistake(
    "flow.straightness",
    "Your S is 0 for bent paths too. (In a mean, differences of both signs cancel: square first.)",
    sure=True,
)
def square_of_the_mean_gap(path):
    return gap(path, len(path) - 1).mean().square()


def trained(model, draw, steps, batch, generator, options, z_from=True, t_from=True, swap=False):
    """The loop, but for what is drawn from the generator, and for data taken for noise."""
    with Run(model, steps, **options) as run:
        for _ in run:
            x, y = draw(batch, generator)
            z = torch.randn(x.shape, generator=generator if z_from else None)
            t = torch.rand(len(x), generator=generator if t_from else None)
            L = loss(model, z, x, t, y) if swap else loss(model, x, z, t, y)
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L)
    return run.history


NOT_REPEATED = (
    "Not all that is random comes from `generator`, so a seed does not repeat a run: pass it on to "
    "draw, to randn and to rand."
)


@mistake("flow.train", NOT_REPEATED)
def noise_of_no_generator(model, draw, steps, *, batch=1024, generator=None, **options):
    return trained(model, draw, steps, batch, generator, options, z_from=False)


@mistake("flow.train", NOT_REPEATED)
def levels_of_no_generator(model, draw, steps, *, batch=1024, generator=None, **options):
    return trained(model, draw, steps, batch, generator, options, t_from=False)


@mistake("flow.train", NOT_REPEATED)
def noise_and_levels_of_no_generator(model, draw, steps, *, batch=1024, generator=None, **options):
    return trained(model, draw, steps, batch, generator, options, False, False)


@mistake("flow.train", "Data and noise are exchanged: loss takes first x, then z.")
def data_for_noise(model, draw, steps, *, batch=1024, generator=None, **options):
    return trained(model, draw, steps, batch, generator, options, swap=True)


# --- without the lines above the gap ------------------------------------------------------------

NOT_REFUSED = "What the docstring's Raises names is not refused: leave the lines above yours there."


def any_walk(model, z, steps, y=None, times=None):
    times = times if times is not None else [1 - k / max(steps, 1) for k in range(int(steps) + 1)]
    frames = [z]
    for t, t_next in pairwise(map(float, times)):
        frames.append(frames[-1] - (t - t_next) * ask(model, frames[-1], level(z, t), y).detach())
    return torch.stack(frames)


ANY_PAIR = several(
    "flow.interpolate",
    ("refuses_nothing", NOT_REFUSED, lambda x, z, t: (x + column(t, x) * (z - x), z - x)),
    public=False,
    bare=True,
)

ANY_WALK = several(
    "flow.sample",
    ("refuses_nothing", NOT_REFUSED, lambda *args, **options: any_walk(*args, **options)[-1]),
    public=False,
    bare=True,
)

ANY_PATH = several(
    "flow.trajectory",
    ("refuses_nothing", NOT_REFUSED, lambda *args, **options: any_walk(*args, **options)),
    public=False,
    bare=True,
)

ANY_HEUN = several(
    "flow.sample_heun",
    (
        "refuses_nothing",
        NOT_REFUSED,
        lambda model, z, steps, y=None: z if steps != 1 else sample_heun(model, z, 1, y),
    ),
    public=False,
    bare=True,
)

ANY_FRAMES = several(
    "flow.straightness",
    (
        "refuses_nothing",
        NOT_REFUSED,
        lambda path: (path[-1:] - path[:1] - path.diff(dim=0) * (len(path) - 1)).square().mean(),
    ),
    public=False,
    bare=True,
)


@mistake("flow.train", "A copy of the generator is drawn from.", public=False)
def on_a_copy_of_the_generator(model, draw, steps, *, batch=1024, generator=None, **options):
    own = None if generator is None else generator.clone_state()
    return train(model, draw, steps, batch=batch, generator=own, **options)


@mistake("flow.sample", "The network is left in training mode.", public=False)
def left_in_training_mode(model, z, steps, y=None, times=None):
    if isinstance(model, torch.nn.Module):
        model.train()
    return sample(model, z, steps, y, times)


@mistake("flow.loss", "Gradients of the network are cleared.", public=False)
def gradients_cleared(model, x, z, t, y=None):
    if isinstance(model, torch.nn.Module):
        model.zero_grad()
    return loss(model, x, z, t, y)
