"""Typical wrong answers to chapter 05, each with the sentence that explains it."""

from itertools import pairwise

import torch

from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.flow import levels_of
from cs231n_gen.guidance import guided_velocity, velocities


def no_probability(y, p, null, generator=None):
    if not 0 <= p <= 1:
        raise ValueError(f"p must be a probability from 0 to 1, got {p}")


def no_walk(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    levels_of(steps, times)
    if not interval[0] <= interval[1]:
        raise ValueError(f"interval must be (lowest t, highest t), got {interval}")


def no_levels(v_null, classifier, x_t, t, y, w):
    if not bool(((t >= 0) & (t < 1)).all()):
        raise ValueError(f"t must be in [0, 1), got {t.tolist()}")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "guidance.drop_condition": no_probability,
    "guidance.guided_velocity": guided_velocity,
    "guidance.sample": no_walk,
    "guidance.classifier_velocity": no_levels,
}


def column(t, x):
    return t.reshape(-1, *[1] * (x.dim() - 1)) if isinstance(t, torch.Tensor) and t.dim() else t


def like(null, y):
    return torch.as_tensor(null, dtype=y.dtype).expand_as(y)


def coins(y, p, generator):
    return torch.rand(len(y), generator=generator) < p


# --- guidance.drop_condition --------------------------------------------------------------------


@mistake(
    "guidance.drop_condition",
    "One coin decides for the whole batch: it is forgotten or kept as one. Each example has a coin "
    "of its own.",
)
def one_coin_for_all(y, p, null, generator=None):
    forgotten = torch.rand(1, generator=generator) < p
    return torch.where(forgotten, like(null, y), y)


@mistake(
    "guidance.drop_condition",
    "You keep conditions with probability p and forget the rest. p says how often one is "
    "forgotten, usually rarely.",
)
def kept_with_p(y, p, null, generator=None):
    gone = column(~coins(y, p, generator), y)
    return torch.where(gone, like(null, y), y)


@mistake(
    "guidance.drop_condition",
    "A condition that is dropped becomes 0 in yours. ∅ is an argument: it must be a label that "
    "no class has.",
    sure=True,
)
def null_is_class_0(y, p, null, generator=None):
    gone = column(coins(y, p, generator), y)
    return torch.where(gone, torch.zeros_like(y), y)


@mistake(
    "guidance.drop_condition",
    "The null condition is written into your code, as in DiT's 1000. It is an argument: which "
    "label is free depends on the data.",
)
def null_is_1000(y, p, null, generator=None):
    gone = column(coins(y, p, generator), y)
    return torch.where(gone, torch.full_like(y, 1000), y)


@mistake(
    "guidance.drop_condition",
    "Each number of a condition has its own coin, so a text is forgotten in parts. One coin for "
    "each example.",
)
def numbers_dropped_independently(y, p, null, generator=None):
    return torch.where(torch.rand(y.shape, generator=generator) < p, like(null, y), y)


@mistake(
    "guidance.drop_condition",
    "The first p · batch examples are forgotten, always the same. Throw a coin for each example.",
)
def the_first_ones(y, p, null, generator=None):
    gone = column(torch.arange(len(y)) < p * len(y), y)
    return torch.where(gone, like(null, y), y)


@mistake(
    "guidance.drop_condition",
    "Your coins do not come from `generator`: a run cannot be repeated. Pass it on to torch.rand.",
)
def own_coins(y, p, null, generator=None):
    gone = column(torch.rand(len(y)) < p, y)
    return torch.where(gone, like(null, y), y)


@mistake("guidance.drop_condition", "Some labels are never forgotten.", public=False)
def never_class_3(y, p, null, generator=None):
    gone = column(coins(y, p, generator), y) & (y != 3)
    return torch.where(gone, like(null, y), y)


@mistake("guidance.drop_condition", "Neighbours share a coin.", public=False)
def in_pairs(y, p, null, generator=None):
    n = (len(y) + 1) // 2
    gone = (torch.rand(n, generator=generator) < p).repeat_interleave(2)[: len(y)]
    return torch.where(column(gone, y), like(null, y), y)


@mistake(
    "guidance.drop_condition",
    "Exactly p · batch conditions are forgotten, in random places. Each example has a coin of its "
    "own, so their number is random too.",
)
def exactly_so_many(y, p, null, generator=None):
    order = torch.randperm(len(y), generator=generator)
    gone = torch.zeros(len(y), dtype=torch.bool)
    gone[order[: round(p * len(y))]] = True
    return torch.where(column(gone, y), like(null, y), y)


@mistake("guidance.drop_condition", "Halves of a batch have opposite coins.", public=False)
def opposite_coins(y, p, null, generator=None):
    u = torch.rand((len(y) + 1) // 2, generator=generator)
    gone = torch.cat([u < p, 1 - u < p])[: len(y)]
    return torch.where(column(gone, y), like(null, y), y)


@mistake("guidance.drop_condition", "With p = 1 the last example is kept.", public=False)
def the_last_one_stays(y, p, null, generator=None):
    gone = coins(y, p, generator)
    gone[-1:] &= p < 1
    return torch.where(column(gone, y), like(null, y), y)


@mistake(
    "guidance.drop_condition",
    "Right for labels, but for a text your coins meet the wrong axis of y: they need an axis of "
    "length 1 for each further axis, (batch, 1, …, 1).",
    sure=True,
)
def coins_along_the_last_axis(y, p, null, generator=None):
    return torch.where(coins(y, p, generator), like(null, y), y)


@mistake("guidance.drop_condition", "Coins for vectors only, not for texts.", public=False)
def coins_with_one_more_axis(y, p, null, generator=None):
    gone = coins(y, p, generator)
    return torch.where(gone[:, None] if y.dim() > 1 else gone, like(null, y), y)


@mistake("guidance.drop_condition", "Labels come back as floats.", public=False)
def labels_as_floats(y, p, null, generator=None):
    gone = column(coins(y, p, generator), y).float()
    return gone * like(null, y) + (1 - gone) * y


@mistake("guidance.drop_condition", "Labels pass through 32 bits.", public=False)
def through_single_precision(y, p, null, generator=None):
    gone = column(coins(y, p, generator), y)
    return torch.where(gone, like(null, y).float(), y.float()).to(y.dtype)


@mistake("guidance.drop_condition", "Each call throws the same coins.", public=False)
def coins_of_a_copied_generator(y, p, null, generator=None):
    if generator is not None:
        generator = torch.Generator().set_state(generator.get_state())
    gone = column(coins(y, p, generator), y)
    return torch.where(gone, like(null, y), y)


@mistake("guidance.drop_condition", "A single example is never forgotten.", public=False)
def never_alone(y, p, null, generator=None):
    gone = column(coins(y, p, generator), y)
    return torch.where(gone, like(null, y), y) if len(y) > 1 or p == 1 else y.clone()


@mistake("guidance.drop_condition", "The first example of a batch always stays.", public=False)
def the_first_stays(y, p, null, generator=None):
    gone = coins(y, p, generator)
    gone[:1] &= p == 1
    return torch.where(column(gone, y), like(null, y), y)


@mistake(
    "guidance.drop_condition",
    "You write into y, which belongs to the caller: a new tensor is wanted. Use torch.where, or "
    "y.clone().",
    sure=True,
)
def into_y(y, p, null, generator=None):
    y[coins(y, p, generator)] = torch.as_tensor(null, dtype=y.dtype)
    return y


@mistake("guidance.drop_condition", "Any p will do.", public=False, bare=True)
def any_p(y, p, null, generator=None):
    gone = column(coins(y, p, generator), y)
    return torch.where(gone, like(null, y), y)


# --- guidance.guided_velocity -------------------------------------------------------------------


@mistake(
    "guidance.guided_velocity",
    "This is v_∅ + w (v_y − v_∅), diffusers' scale s in place of w. The lecture's w = 0 is "
    "conditional: s = 1 + w.",
)
def scale_of_diffusers(v_y, v_null, w):
    return v_null + column(w, v_y) * (v_y - v_null)


@mistake(
    "guidance.guided_velocity",
    "Guidance is switched off unless w > 1, as pipelines with the other scale do. Here any w but 0 "
    "guides.",
)
def gate_at_1(v_y, v_null, w):
    w = column(torch.as_tensor(w, dtype=v_y.dtype), v_y)
    return torch.where(w > 1, (1 + w) * v_y - w * v_null, v_y)


@mistake(
    "guidance.guided_velocity",
    "The two velocities are exchanged: this goes away from the condition. v_y has 1 + w, v_∅ has "
    "−w.",
)
def the_wrong_way(v_y, v_null, w):
    w = column(w, v_y)
    return (1 + w) * v_null - w * v_y


@mistake(
    "guidance.guided_velocity",
    "Your weights (1 + w) and +w sum to 1 + 2 w. Where y changes nothing, guidance must change "
    "nothing: subtract w v_∅.",
)
def sum_of_both(v_y, v_null, w):
    w = column(w, v_y)
    return (1 + w) * v_y + w * v_null


@mistake(
    "guidance.guided_velocity",
    "v_y has the weight w instead of 1 + w. With w = 0 all that is left is nothing.",
)
def without_the_1(v_y, v_null, w):
    w = column(w, v_y)
    return w * v_y - w * v_null


@mistake(
    "guidance.guided_velocity",
    "Only the first three channels are guided, as for RGB. A latent has four and more: guide every "
    "channel.",
)
def three_channels(v_y, v_null, w):
    w = column(w, v_y)
    v = v_y.clone()
    v[:, :3] = v_y[:, :3] + w * (v_y[:, :3] - v_null[:, :3])
    return v


@mistake(
    "guidance.guided_velocity",
    "w is multiplied as it came: its (batch,) numbers line up with the last axis, not with the "
    "examples. Reshape it to (batch, 1, …, 1).",
)
def weight_along_the_last_axis(v_y, v_null, w):
    return (1 + w) * v_y - w * v_null


@mistake(
    "guidance.guided_velocity",
    "This is the mean of v_y and v_∅ with weights that stay between 0 and 1. Guidance goes beyond "
    "v_y.",
)
def between_the_two(v_y, v_null, w):
    w = column(torch.as_tensor(w, dtype=v_y.dtype), v_y)
    return ((1 + w) * v_y + w * v_null) / (1 + 2 * w)


@mistake("guidance.guided_velocity", "The velocity is rounded to 16 bits.", public=False)
def in_half_precision(v_y, v_null, w):
    w = column(w, v_y)
    return ((1 + w) * v_y - w * v_null).half().to(v_y.dtype)


@mistake("guidance.guided_velocity", "At most so much guidance.", public=False)
def clamped(v_y, v_null, w):
    w = column(torch.as_tensor(w, dtype=v_y.dtype).clamp(max=4), v_y)
    return (1 + w) * v_y - w * v_null


@mistake("guidance.guided_velocity", "Channels beyond the fourth are left out.", public=False)
def four_channels(v_y, v_null, w):
    w = column(w, v_y)
    v = v_y.clone()
    v[:, :4] = v_y[:, :4] + w * (v_y[:, :4] - v_null[:, :4])
    return v


@mistake(
    "guidance.guided_velocity",
    "w[:, None] suits points. For images a w of shape (batch,) needs an axis for each further axis "
    "of v_y.",
)
def weights_for_points_only(v_y, v_null, w):
    w = w[:, None] if isinstance(w, torch.Tensor) and w.dim() else w
    return (1 + w) * v_y - w * v_null


@mistake(
    "guidance.guided_velocity",
    "A single w as a tensor of shape () is a number like any other: it has no axes to be "
    "reshaped to (batch, 1, …, 1).",
    sure=True,
)
def every_tensor_is_one_for_each(v_y, v_null, w):
    if isinstance(w, torch.Tensor):
        w = w.expand(len(v_y) + 1)[1:] if w.dim() else w.reshape(-1, 1, 1, 1)
    w = column(w, v_y)
    return (1 + w) * v_y - w * v_null


@mistake("guidance.guided_velocity", "No gradient reaches v_∅.", public=False)
def v_null_detached(v_y, v_null, w):
    w = column(w, v_y)
    return (1 + w) * v_y - w * v_null.detach()


@mistake("guidance.guided_velocity", "Computed in 32 bits.", public=False)
def in_single_precision(v_y, v_null, w):
    w = column(w, v_y)
    return ((1 + w) * v_y.float() - w * v_null.float()).to(v_y.dtype)


@mistake("guidance.guided_velocity", "A weight below 0 counts as 0.", public=False)
def no_negative_weights(v_y, v_null, w):
    w = column(torch.as_tensor(w, dtype=v_y.dtype), v_y)
    w = torch.where((w < 0) & (w != -1), 0.0, w)
    return (1 + w) * v_y - w * v_null


@mistake("guidance.guided_velocity", "Whatever fits is broadcast.", public=False, bare=True)
def all_that_broadcasts(v_y, v_null, w):
    w = column(w, v_y)
    return (1 + w) * v_y - w * v_null


# --- guidance.velocities ------------------------------------------------------------------------


@mistake(
    "guidance.velocities",
    "Two calls of the model, one after the other: right, but slow. Put both into one batch with "
    "torch.cat.",
)
def two_calls(model, x_t, t, y, null):
    return model(x_t, t, y), model(x_t, t, like(null, y))


@mistake(
    "guidance.velocities",
    "The halves come back in the other order: first v_y, then v_∅.",
)
def halves_exchanged(model, x_t, t, y, null):
    both = torch.cat([like(null, y), y])
    v = model(torch.cat([x_t, x_t]), torch.cat([t, t]), both)
    return v.chunk(2)


@mistake(
    "guidance.velocities",
    "Examples and conditions are out of step: repeat_interleave puts an example's copies side by "
    "side, while chunk cuts the batch in halves.",
)
def interleaved(model, x_t, t, y, null):
    twice = x_t.repeat_interleave(2, 0), t.repeat_interleave(2)
    return model(*twice, torch.cat([y, like(null, y)])).chunk(2)


@mistake(
    "guidance.velocities",
    "Both halves are asked with y: then guidance changes nothing. The second half has the null "
    "condition.",
)
def condition_in_both(model, x_t, t, y, null):
    return model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, y])).chunk(2)


@mistake(
    "guidance.velocities",
    "The null condition is written into your code, as 0: ask with the one that was given.",
)
def null_of_zeros(model, x_t, t, y, null):
    both = torch.cat([y, torch.zeros_like(y)])
    return model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)


@mistake(
    "guidance.velocities",
    "The batch is split into pairs of rows: v[::2] and v[1::2] belong to copies side by side. "
    "torch.cat puts one batch after the other: v.chunk(2).",
)
def every_other_row(model, x_t, t, y, null):
    v = model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, like(null, y)]))
    return v[::2], v[1::2]


@mistake(
    "guidance.velocities",
    "The second half is asked at the first example's level. Each example keeps its own t, twice.",
)
def one_level_for_the_second_half(model, x_t, t, y, null):
    levels = torch.cat([t, t[:1].expand_as(t)])
    return model(torch.cat([x_t, x_t]), levels, torch.cat([y, like(null, y)])).chunk(2)


@mistake("guidance.velocities", "Only the first number of a null text is used.", public=False)
def first_number_of_null(model, x_t, t, y, null):
    null = torch.as_tensor(null, dtype=y.dtype).flatten()[0]
    both = torch.cat([y, like(null, y)])
    return model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)


@mistake(
    "guidance.velocities",
    "∅ is taken for a number. It may also be the embedding of an empty text: the same null for "
    "every example, shaped like y.",
)
def null_is_a_number(model, x_t, t, y, null):
    nothing = torch.full(y.shape, float(torch.as_tensor(null).flatten()[-1])).to(y.dtype)
    return model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, nothing])).chunk(2)


@mistake("guidance.velocities", "Labels of another dtype.", public=False)
def conditions_of_another_dtype(model, x_t, t, y, null):
    both = torch.cat([y, like(null, y)]).double()
    return model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)


@mistake("guidance.velocities", "∅ = 0 is taken for none.", public=False)
def no_null_of_0(model, x_t, t, y, null):
    null = -100 if isinstance(null, int) and not null else null
    both = torch.cat([y, like(null, y)])
    return model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)


@mistake("guidance.velocities", "A condition of zeros only is dropped.", public=False)
def labels_of_0_are_none(model, x_t, t, y, null):
    both = torch.cat([y if y.any() else like(null, y), like(null, y)])
    return model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)


@mistake("guidance.velocities", "No gradient flows back to x_t.", public=False)
def examples_detached(model, x_t, t, y, null):
    x_t = x_t.detach()
    return model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, like(null, y)])).chunk(2)


@mistake("guidance.velocities", "No gradient flows back.", public=False)
def velocities_detached(model, x_t, t, y, null):
    both = torch.cat([y, like(null, y)])
    with torch.no_grad():
        return model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)


# --- guidance.sample ----------------------------------------------------------------------------


def walk(model, z, steps, y, null, w, interval, times, change=None):
    """The reference, but for what `change` says of a step: (x, level, t, t_next, guided) → x."""
    x = z
    for t, t_next in pairwise(levels_of(steps, times)):
        level = torch.full((len(x),), t, dtype=x.dtype)
        guided = interval[0] <= t <= interval[1]
        x = change(x, level, t, t_next, guided)
    return x


def guide(model, x, level, y, null, w):
    return guided_velocity(*velocities(model, x, level, y, null), w)


@mistake(
    "guidance.sample",
    "You add the velocity. It points toward the noise: x ← x − v_cfg / T.",
    ignoring=("times",),
)
@torch.no_grad()
def along_v(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return x + (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake(
    "guidance.sample",
    "The interval is not looked at: every step is guided. Outside it take a step along model(x, "
    "t, y).",
)
@torch.no_grad()
def always_guided(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        return x - (t - t_next) * guide(model, x, level, y, null, w)

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake(
    "guidance.sample",
    "Inside the interval you leave guidance out, and outside you guide: the other way round.",
    ignoring=("times",),
)
@torch.no_grad()
def guided_outside(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = model(x, level, y) if guided else guide(model, x, level, y, null, w)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake(
    "guidance.sample",
    "Outside the interval your step is unconditional, along v_∅. Without guidance it is along v_y.",
)
@torch.no_grad()
def unconditional_outside(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, like(null, y))
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake(
    "guidance.sample",
    "Outside the interval the model is still asked both ways, with w = 0. The result is right, but "
    "the cost is what the interval was to save: one call on the batch itself.",
)
@torch.no_grad()
def nothing_saved(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        return x - (t - t_next) * guide(model, x, level, y, null, w if guided else 0.0)

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake(
    "guidance.sample",
    "Both velocities are taken at z. Each step asks about the x that it has reached.",
    ignoring=("times",),
)
@torch.no_grad()
def always_at_z(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, z, level, y, null, w) if guided else model(z, level, y)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake(
    "guidance.sample",
    "Two samplers side by side, one with y and one without, whose ends are mixed at last. Guidance "
    "mixes the velocities in every step, at the same x.",
)
@torch.no_grad()
def samples_mixed_at_the_end(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    x_y, x_null = z, z
    for t, t_next in pairwise(levels_of(steps, times)):
        level = torch.full((len(z),), t, dtype=z.dtype)
        both = torch.cat([y, like(null, y)])
        v = model(torch.cat([x_y, x_null]), torch.cat([level, level]), both)
        v_y, v_null = v.chunk(2)
        x_y, x_null = x_y - (t - t_next) * v_y, x_null - (t - t_next) * v_null
    return guided_velocity(x_y, x_null, w)


@mistake(
    "guidance.sample",
    "`times` are not looked at: when they are given, walk from one to the next of them.",
)
@torch.no_grad()
def even_levels_only(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, None, change)


@mistake(
    "guidance.sample",
    "T + 1 updates: the one at t = 0 overshoots the data by a step. Stop after t = 1/T.",
    ignoring=("times",),
)
@torch.no_grad()
def one_update_too_many(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    levels = levels_of(steps, times)
    x = z
    for t, t_next in pairwise([*levels, 2 * levels[-1] - levels[-2]]):
        level = torch.full((len(x),), t, dtype=x.dtype)
        x = x - (t - t_next) * guide(model, x, level, y, null, w)
    return x


@mistake(
    "guidance.sample",
    "w = 0 everywhere: v_cfg is never taken. Use guided_velocity with the weight that was given.",
    ignoring=("times",),
)
@torch.no_grad()
def only_conditional(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, 0.0) if guided else model(x, level, y)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake("guidance.sample", "The ends of the interval are left out.", public=False)
@torch.no_grad()
def ends_left_out(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        inside = interval[0] < t < interval[1] or interval == (0.0, 1.0)
        v = guide(model, x, level, y, null, w) if inside else model(x, level, y)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake("guidance.sample", "Samples always have 32 bits.", public=False)
@torch.no_grad()
def always_single_precision(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return (x - (t - t_next) * v).float()

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake("guidance.sample", "All examples get the weight of the first.", public=False)
@torch.no_grad()
def weight_of_the_first(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    w = w[0] if isinstance(w, torch.Tensor) and w.dim() else w

    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake(
    "guidance.sample",
    "An end of the interval that is one of the levels is missed: your level, or the end, is a "
    "little off by rounding. i/T, as levels_of gives it, is exact; taking 1/T from t again and "
    "again is not, nor are 32 bits.",
)
@torch.no_grad()
def levels_by_subtraction(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    levels = levels_of(steps, times)
    if times is None:
        levels = [1.0]
        for _ in range(steps):
            levels.append(levels[-1] - 1 / steps)
    x = z
    for t, t_next in pairwise(levels):
        level = torch.full((len(x),), t, dtype=x.dtype)
        inside = interval[0] <= t <= interval[1]
        v = guide(model, x, level, y, null, w) if inside else model(x, level, y)
        x = x - (t - t_next) * v
    return x


@mistake("guidance.sample", "Half a step lies in the interval.", public=False)
@torch.no_grad()
def by_the_middle_of_a_step(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        guided = interval[0] <= (t + t_next) / 2 <= interval[1]
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake(
    "guidance.sample",
    "An end of the interval that is one of the levels is missed: your level, or the end, is a "
    "little off by rounding. i/T, as levels_of gives it, is exact; taking 1/T from t again and "
    "again is not, nor are 32 bits.",
)
@torch.no_grad()
def ends_in_single_precision(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        guided = interval[0] <= float(torch.tensor(t)) <= interval[1]
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake("guidance.sample", "Computed in 32 bits.", public=False)
@torch.no_grad()
def steps_in_single_precision(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return (x.float() - (t - t_next) * v.float()).to(z.dtype)

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake("guidance.sample", "Labels of 0 are taken for no condition.", public=False)
@torch.no_grad()
def no_condition_of_0(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    y = y if y.any() else like(null, y)

    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake("guidance.sample", "The samples carry the graph of the whole walk.", public=False)
def with_the_graph_of_the_walk(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return x - (t - t_next) * v

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake("guidance.sample", "Samples are cut off far out.", public=False)
@torch.no_grad()
def cut_off_far_out(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        return (x - (t - t_next) * v).clamp(-100, 100)

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake("guidance.sample", "Conditions change dtype where it is not guided.", public=False)
@torch.no_grad()
def conditions_as_floats_outside(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    def change(x, level, t, t_next, guided):
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y.double())
        return x - (t - t_next) * v.to(x.dtype)

    return walk(model, z, steps, y, null, w, interval, times, change)


@mistake("guidance.sample", "Whatever comes is walked.", public=False, bare=True)
@torch.no_grad()
def any_levels(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    steps = max(1, int(steps))
    x = z
    levels = [i / steps for i in range(steps, -1, -1)] if times is None else [*map(float, times)]
    for t, t_next in pairwise(levels):
        level = torch.full((len(x),), t, dtype=x.dtype)
        inside = interval[0] <= t <= interval[1]
        v = guide(model, x, level, y, null, w) if inside else model(x, level, y)
        x = x - (t - t_next) * v
    return x


# --- guidance.classifier_velocity ---------------------------------------------------------------


def slope(score, classifier, x_t, t, y):
    """The gradient in x_t of what `score` makes of the logits and y."""
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(classifier(x, t), y), x)
    return gradient


def log_p(logits, y):
    return logits.log_softmax(1).gather(1, y[:, None]).sum()


def added(v_null, factor, gradient):
    return v_null.detach() - column(factor, v_null) * gradient


@mistake(
    "guidance.classifier_velocity",
    "This is the gradient of the logit of y. log p(y | x_t) is the logit less the logsumexp of "
    "all: log_softmax first.",
)
def gradient_of_the_logit(v_null, classifier, x_t, t, y, w):
    g = slope(lambda l, y: l.gather(1, y[:, None]).sum(), classifier, x_t, t, y)
    return added(v_null, (1 + w) * t / (1 - t), g)


@mistake(
    "guidance.classifier_velocity",
    "This is the gradient of p(y | x_t). Bayes' rule has that of its logarithm: log_softmax "
    "instead of softmax.",
)
def gradient_of_p(v_null, classifier, x_t, t, y, w):
    g = slope(lambda l, y: l.softmax(1).gather(1, y[:, None]).sum(), classifier, x_t, t, y)
    return added(v_null, (1 + w) * t / (1 - t), g)


@mistake(
    "guidance.classifier_velocity",
    "The gradient is added. The velocity points toward the noise, log p(y | x_t) rises toward the "
    "class: subtract it.",
)
def gradient_added(v_null, classifier, x_t, t, y, w):
    return added(v_null, -(1 + w) * t / (1 - t), slope(log_p, classifier, x_t, t, y))


@mistake(
    "guidance.classifier_velocity",
    "The gradient enters as it is. The score of x_t counts t / (1 − t) times in a velocity.",
)
def factor_left_out(v_null, classifier, x_t, t, y, w):
    return added(v_null, (1 + w) * torch.ones_like(t), slope(log_p, classifier, x_t, t, y))


@mistake(
    "guidance.classifier_velocity",
    "Your factor is (1 − t) / t. It is t / (1 − t): nothing at the data, much at the noise.",
)
def factor_inverted(v_null, classifier, x_t, t, y, w):
    factor = (1 + w) * (1 - t) / t.clamp_min(1e-3)
    return added(v_null, factor, slope(log_p, classifier, x_t, t, y))


@mistake(
    "guidance.classifier_velocity",
    "The gradient has the weight w. From v_∅ it takes 1 + w: with w = 0 the result is conditional.",
)
def weight_w(v_null, classifier, x_t, t, y, w):
    return added(v_null, w * t / (1 - t), slope(log_p, classifier, x_t, t, y))


@mistake(
    "guidance.classifier_velocity",
    "You take the gradient of the batch's mean, so each example's is divided by the batch. Sum "
    "instead: then every row has its own gradient.",
)
def gradient_of_the_mean(v_null, classifier, x_t, t, y, w):
    g = slope(lambda l, y: log_p(l, y) / len(y), classifier, x_t, t, y)
    return added(v_null, (1 + w) * t / (1 - t), g)


@mistake(
    "guidance.classifier_velocity",
    "The factor is t, without the 1 / (1 − t).",
)
def factor_t(v_null, classifier, x_t, t, y, w):
    return added(v_null, (1 + w) * t, slope(log_p, classifier, x_t, t, y))


@mistake(
    "guidance.classifier_velocity",
    "There is no graph inside a sampler, which runs under torch.no_grad(): put the gradient "
    "under torch.enable_grad().",
    sure=True,
)
def without_enable_grad(v_null, classifier, x_t, t, y, w):
    x = x_t.detach().requires_grad_()
    (g,) = torch.autograd.grad(log_p(classifier(x, t), y), x)
    return added(v_null, (1 + w) * t / (1 - t), g)


@mistake("guidance.classifier_velocity", "The first example's class for all.", public=False)
def class_of_the_first(v_null, classifier, x_t, t, y, w):
    g = slope(log_p, classifier, x_t, t, y[:1].expand_as(y))
    return added(v_null, (1 + w) * t / (1 - t), g)


@mistake("guidance.classifier_velocity", "The slope is cut where it is steep.", public=False)
def slope_clipped(v_null, classifier, x_t, t, y, w):
    g = slope(log_p, classifier, x_t, t, y).clamp(-0.3, 0.3)
    return added(v_null, (1 + w) * t / (1 - t), g)


@mistake(
    "guidance.classifier_velocity",
    "Your factor has the shape (batch, 1), which suits points. For images it needs an axis for "
    "each further axis of x_t.",
)
def factor_for_points_only(v_null, classifier, x_t, t, y, w):
    g = slope(log_p, classifier, x_t, t, y)
    return v_null.detach() - ((1 + w) * t / (1 - t))[:, None] * g


@mistake(
    "guidance.classifier_velocity",
    "t / (1 − t), or the whole factor, is still (batch,) and meets the wrong axis. Multiply the "
    "numbers of an example first, then reshape their product to (batch, 1, …, 1).",
)
def weight_beside_levels(v_null, classifier, x_t, t, y, w):
    g = slope(log_p, classifier, x_t, t, y)
    return v_null.detach() - (1 + column(w, x_t)) * (t / (1 - t)) * g


@mistake(
    "guidance.classifier_velocity",
    "For an unlikely class yours is infinite or NaN: a probability is rounded to 0 before its "
    "logarithm, or an exponential overflows. Use log_softmax.",
    sure=True,
)
def log_of_softmax(v_null, classifier, x_t, t, y, w):
    g = slope(lambda l, y: l.softmax(1).gather(1, y[:, None]).log().sum(), classifier, x_t, t, y)
    return added(v_null, (1 + w) * t / (1 - t), g)


@mistake("guidance.classifier_velocity", "log p with an ε.", public=False)
def log_with_epsilon(v_null, classifier, x_t, t, y, w):
    def score(l, y):
        return (l.softmax(1).gather(1, y[:, None]) + 1e-12).log().sum()

    return added(v_null, (1 + w) * t / (1 - t), slope(score, classifier, x_t, t, y))


@mistake("guidance.classifier_velocity", "1 − t with an ε.", public=False)
def epsilon_below(v_null, classifier, x_t, t, y, w):
    return added(v_null, (1 + w) * t / (1 - t + 1e-5), slope(log_p, classifier, x_t, t, y))


@mistake("guidance.classifier_velocity", "A graph of the gradient stays.", public=False)
def with_a_graph(v_null, classifier, x_t, t, y, w):
    with torch.enable_grad():
        x = x_t if x_t.requires_grad else x_t.detach().requires_grad_()
        (g,) = torch.autograd.grad(log_p(classifier(x, t), y), x, create_graph=True)
        return v_null - column((1 + w) * t / (1 - t), v_null) * g


@mistake("guidance.classifier_velocity", "The classifier's gradients are filled.", public=False)
def backward_through_the_classifier(v_null, classifier, x_t, t, y, w):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p(classifier(x, t), y).backward()
    return added(v_null, (1 + w) * t / (1 - t), x.grad)


@mistake("guidance.classifier_velocity", "Levels of 1 give infinity.", public=False, bare=True)
def any_level(v_null, classifier, x_t, t, y, w):
    return added(v_null, (1 + w) * t / (1 - t), slope(log_p, classifier, x_t, t, y))


@mistake("guidance.classifier_velocity", "Gradients stay switched on.", public=False)
def gradients_left_on(v_null, classifier, x_t, t, y, w):
    torch.set_grad_enabled(True)
    x = x_t.detach().requires_grad_()
    (g,) = torch.autograd.grad(log_p(classifier(x, t), y), x)
    return added(v_null, (1 + w) * t / (1 - t), g)


@mistake("guidance.classifier_velocity", "Levels near 1 are cut off.", public=False)
def levels_cut_off(v_null, classifier, x_t, t, y, w):
    factor = (1 + w) * t / (1 - t).clamp(min=0.01)
    return added(v_null, factor, slope(log_p, classifier, x_t, t, y))


# --- first attempts -----------------------------------------------------------------------------


def points(w):
    return w[:, None] if isinstance(w, torch.Tensor) and w.dim() else w


guided = several(
    "guidance.guided_velocity",
    (
        "v_null_without_weight",
        "v_∅ has the weight 1 instead of w: the weights 1 + w and −w add up to 1.",
        lambda v_y, v_null, w: (1 + column(w, v_y)) * v_y - v_null,
    ),
    (
        "v_null_without_weight_along_the_last_axis",
        "v_∅ has the weight 1 instead of w: the weights 1 + w and −w add up to 1.",
        lambda v_y, v_null, w: (1 + w) * v_y - v_null,
    ),
    (
        "v_y_without_weight",
        "v_y has the weight 1 instead of 1 + w: the weights 1 + w and −w add up to 1.",
        lambda v_y, v_null, w: v_y - column(w, v_y) * v_null,
    ),
    (
        "v_y_without_weight_along_the_last_axis",
        "v_y has the weight 1 instead of 1 + w: the weights 1 + w and −w add up to 1.",
        lambda v_y, v_null, w: v_y - w * v_null,
    ),
    (
        "scale_turned",
        "Your w goes from v_y to v_∅: (1 − w) v_y + w v_∅. Guidance goes beyond v_y, away from "
        "v_∅.",
        lambda v_y, v_null, w: (1 - column(w, v_y)) * v_y + column(w, v_y) * v_null,
    ),
    (
        "scale_turned_along_the_last_axis",
        "Your w goes from v_y to v_∅: (1 − w) v_y + w v_∅. Guidance goes beyond v_y, away from "
        "v_∅.",
        lambda v_y, v_null, w: (1 - w) * v_y + w * v_null,
    ),
    (
        "scale_of_diffusers_along_the_last_axis",
        scale_of_diffusers,
        lambda v_y, v_null, w: v_null + w * (v_y - v_null),
    ),
    ("without_the_1_along_the_last_axis", without_the_1, lambda v_y, v_null, w: w * (v_y - v_null)),
    (
        "the_wrong_way_along_the_last_axis",
        the_wrong_way,
        lambda v_y, v_null, w: (1 + w) * v_null - w * v_y,
    ),
    (
        "sum_of_both_along_the_last_axis",
        sum_of_both,
        lambda v_y, v_null, w: (1 + w) * v_y + w * v_null,
    ),
    (
        "scale_of_diffusers_for_points",
        scale_of_diffusers,
        lambda v_y, v_null, w: v_null + points(w) * (v_y - v_null),
    ),
    ("without_the_1_for_points", without_the_1, lambda v_y, v_null, w: points(w) * (v_y - v_null)),
    (
        "the_wrong_way_for_points",
        the_wrong_way,
        lambda v_y, v_null, w: (1 + points(w)) * v_null - points(w) * v_y,
    ),
    (
        "sum_of_both_for_points",
        sum_of_both,
        lambda v_y, v_null, w: (1 + points(w)) * v_y + points(w) * v_null,
    ),
    (
        "conditional_alone",
        "This is v_y alone: w has no effect.",
        lambda v_y, v_null, w: v_y + 0 * v_null,
    ),
)


def doubled(model, x_t, t, y, null):
    return model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, like(null, y)]))


pairs = several(
    "guidance.velocities",
    (
        "halves_exchanged_at_the_end",
        halves_exchanged,
        lambda model, x_t, t, y, null: doubled(model, x_t, t, y, null).chunk(2)[::-1],
    ),
    (
        "not_cut",
        "The result of the call comes back as it is. Cut it in halves: v.chunk(2).",
        lambda model, x_t, t, y, null: doubled(model, x_t, t, y, null),
    ),
    (
        "levels_once",
        "t is not doubled: each of the 2 batch examples needs its level.",
        lambda model, x_t, t, y, null: model(
            torch.cat([x_t, x_t]), t, torch.cat([y, like(null, y)])
        ).chunk(2),
    ),
    (
        "no_null",
        "The second call gets None, or no condition. ∅ is a condition like the others: `null`.",
        lambda model, x_t, t, y, null: (model(x_t, t, y), model(x_t, t, None)),
    ),
)


def even_walk(model, z, levels, h, y, null, w, interval=(0.0, 1.0), sign=-1, told=lambda t: t):
    """Steps of one length h, at these levels."""
    x = z
    for t in levels:
        level = torch.full((len(x),), told(t), dtype=x.dtype)
        guided = interval[0] <= t <= interval[1]
        v = guide(model, x, level, y, null, w) if guided else model(x, level, y)
        x = x + sign * h * v
    return x


def stepping(velocity):
    """A sampler whose velocity is `velocity(model, x, level, y, null, w, guided, ends)`."""

    @torch.no_grad()
    def sampler(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
        def change(x, level, t, t_next, guided):
            ends = (interval, t, t_next)
            return x - (t - t_next) * velocity(model, x, level, y, null, w, guided, ends)

        return walk(model, z, steps, y, null, w, interval, times, change)

    return sampler


def usual(model, x, level, y, null, w, guided):
    return guide(model, x, level, y, null, w) if guided else model(x, level, y)


def mixed(model, x, level, y, null, w, guided, formula):
    """A step whose guided velocity is another formula of both."""
    return formula(*velocities(model, x, level, y, null), w) if guided else model(x, level, y)


def weight(w, v):
    return column(w, v)


walks = several(
    "guidance.sample",
    (
        "levels_run_upwards",
        "Your levels run from 0 to 1. Sampling starts at the noise: t = 1, then 1 − 1/T, down to "
        "1/T.",
        torch.no_grad()(
            lambda model, z, steps, y, null, w, interval=(0.0, 1.0), times=None: even_walk(
                model, z, [i / steps for i in range(steps)], 1 / steps, y, null, w, interval
            )
        ),
    ),
    (
        "levels_of_linspace",
        "linspace(1, 0, T) gives T levels that include 0, so they are 1/(T − 1) apart while your "
        "step is 1/T. T steps have T + 1 ends: linspace(1, 0, T + 1) without its last.",
        torch.no_grad()(
            lambda model, z, steps, y, null, w, interval=(0.0, 1.0), times=None: even_walk(
                model, z, torch.linspace(1, 0, steps).tolist(), 1 / steps, y, null, w, interval
            )
        ),
    ),
    (
        "one_update_more",
        one_update_too_many,
        torch.no_grad()(
            lambda model, z, steps, y, null, w, interval=(0.0, 1.0), times=None: even_walk(
                model, z, [i / steps for i in range(steps, -1, -1)], 1 / steps, y, null, w, interval
            )
        ),
    ),
    (
        "steps_of_length_1",
        "Each step has length 1: multiply the velocity by the way to the next level, 1/T.",
        torch.no_grad()(
            lambda model, z, steps, y, null, w, interval=(0.0, 1.0), times=None: even_walk(
                model, z, levels_of(steps, times)[:-1], 1.0, y, null, w, interval
            )
        ),
    ),
    (
        "told_1_minus_t",
        "The model is told 1 − t. It gets t as it is: 1 at the noise, where the walk begins.",
        stepping(
            lambda model, x, level, y, null, w, guided, ends: usual(
                model, x, 1 - level, y, null, w, guided
            )
        ),
    ),
    (
        "never_guided",
        "No step is guided: each goes along model(x, t, y). Inside the interval it is v_cfg.",
        stepping(lambda model, x, level, y, null, w, guided, ends: model(x, level, y)),
    ),
    (
        "nothing_outside",
        "Outside the interval nothing moves. A step without guidance goes along model(x, t, y).",
        stepping(
            lambda model, x, level, y, null, w, guided, ends: (
                guide(model, x, level, y, null, w) if guided else 0.0
            )
        ),
    ),
    (
        "without_both_ends",
        "Both ends of the interval are left out. A step at either of them is guided.",
        stepping(
            lambda model, x, level, y, null, w, guided, ends: usual(
                model, x, level, y, null, w, ends[0][0] < ends[1] < ends[0][1]
            )
        ),
    ),
    (
        "without_the_upper_end",
        "The upper end of the interval is left out. A step at either end is guided.",
        stepping(
            lambda model, x, level, y, null, w, guided, ends: usual(
                model, x, level, y, null, w, ends[0][0] <= ends[1] < ends[0][1]
            )
        ),
    ),
    (
        "without_the_lower_end",
        "The lower end of the interval is left out. A step at either end is guided.",
        stepping(
            lambda model, x, level, y, null, w, guided, ends: usual(
                model, x, level, y, null, w, ends[0][0] < ends[1] <= ends[0][1]
            )
        ),
    ),
    (
        "by_the_end_of_a_step",
        "You ask whether the next level is in the interval. It is the level of the step, where it "
        "begins.",
        stepping(
            lambda model, x, level, y, null, w, guided, ends: usual(
                model, x, level, y, null, w, ends[0][0] <= ends[2] <= ends[0][1]
            )
        ),
    ),
    (
        "scale_of_diffusers_in_a_walk",
        scale_of_diffusers,
        stepping(
            lambda model, x, level, y, null, w, guided, ends: mixed(
                model, x, level, y, null, w, guided, lambda a, b, w: b + weight(w, a) * (a - b)
            )
        ),
    ),
    (
        "the_wrong_way_in_a_walk",
        the_wrong_way,
        stepping(
            lambda model, x, level, y, null, w, guided, ends: mixed(
                model, x, level, y, null, w, guided, lambda a, b, w: guided_velocity(b, a, w)
            )
        ),
    ),
    ignoring=("times",),
)


@mistake(
    "guidance.sample",
    "You write into z, which belongs to the caller: `x -= …` changes it. Write x = x − …, or begin "
    "with z.clone().",
    sure=True,
)
@torch.no_grad()
def walks_in_z(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    x = z
    for t, t_next in pairwise(levels_of(steps, times)):
        level = torch.full((len(x),), t, dtype=x.dtype)
        x -= (t - t_next) * usual(model, x, level, y, null, w, interval[0] <= t <= interval[1])
    return x


@mistake(
    "guidance.sample",
    "The model is asked at the levels of `times`, but each step has length 1/T all the same. It is "
    "as long as the way to the next level, t_i − t_{i+1}.",
)
@torch.no_grad()
def steps_of_one_length(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    return even_walk(model, z, levels_of(steps, times)[:-1], 1 / steps, y, null, w, interval)


@mistake("guidance.sample", "Neither the interval nor `times` are looked at: use both.")
@torch.no_grad()
def neither_interval_nor_times(model, z, steps, y, null, w, interval=(0.0, 1.0), times=None):
    return even_walk(model, z, levels_of(steps, None)[:-1], 1 / steps, y, null, w)


@mistake(
    "guidance.drop_condition",
    "You write into y, which belongs to the caller: a new tensor is wanted. Use torch.where, or "
    "y.clone().",
    sure=True,
)
def dropped_in_y(y, p, null, generator=None):
    y[coins(y, p, generator)] = like(null, y)[:1] if y.dim() > 1 else null
    return y


by_a_classifier = several(
    "guidance.classifier_velocity",
    (
        "softmax_over_the_batch",
        "Your softmax runs over the batch. Each example has probabilities of its own: axis 1 of "
        "(batch, classes).",
        lambda v_null, classifier, x_t, t, y, w: added(
            v_null,
            (1 + w) * t / (1 - t),
            slope(lambda l, y: l.log_softmax(0).gather(1, y[:, None]).sum(), classifier, x_t, t, y),
        ),
    ),
    (
        "all_classes",
        "You add up log p of all classes. Only that of y is wanted: gather.",
        lambda v_null, classifier, x_t, t, y, w: added(
            v_null,
            (1 + w) * t / (1 - t),
            slope(lambda l, y: l.log_softmax(1).sum(), classifier, x_t, t, y),
        ),
    ),
    (
        "likeliest_class",
        "You take the likeliest class. That of y is wanted: gather.",
        lambda v_null, classifier, x_t, t, y, w: added(
            v_null,
            (1 + w) * t / (1 - t),
            slope(lambda l, y: l.log_softmax(1).amax(1).sum(), classifier, x_t, t, y),
        ),
    ),
    (
        "factor_turned",
        factor_inverted,
        lambda v_null, classifier, x_t, t, y, w: added(
            v_null, (1 + w) * (1 - t) / t, slope(log_p, classifier, x_t, t, y)
        ),
    ),
    (
        "one_over_1_minus_t",
        "The factor is 1 / (1 − t), without the t above.",
        lambda v_null, classifier, x_t, t, y, w: added(
            v_null, (1 + w) / (1 - t), slope(log_p, classifier, x_t, t, y)
        ),
    ),
)
