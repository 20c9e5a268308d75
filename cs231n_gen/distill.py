"""Distillation (slides 107–108): a student learns from a teacher to make samples in few calls.

A teacher is a flow that needs 30–50 calls for a sample. The functions here turn it into something
to learn from: pairs of noise and sample, two of its steps in one, guidance in one call, a
discriminator, the score of its samples. `consistency` holds the students that learn to jump.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen.diffusion import Process, Target, column
from cs231n_gen.diffusion_samplers import check_step, ddim_step
from cs231n_gen.flow import Model, interpolate, sample_heun
from cs231n_gen.given.frozen import fixed
from cs231n_gen.guidance import Condition, Null, Weight, guided_velocity, velocities

Examples = Float[Tensor, "batch *shape"]
Levels = Float[Tensor, "batch"]


def reflow_pairs(
    model: Model, z: Examples, steps: int, y: Condition | None = None, at_once: int = 1024
) -> tuple[Examples, Examples]:
    """Noise and the samples that a flow makes of it, to train the next flow on (Liu et al. 2022).

        x_i = `flow.sample_heun`(model, z_i, steps)

    `flow.loss` of these pairs, in place of data and noise drawn independently, is reflow: its flow
    has the same samples but straighter paths, and in one dimension a Bayes floor of exactly 0. At
    t = 1 alone it is direct regression: one call learns what many calls make of z (Luhman and
    Luhman 2021).

    Args:
        model: the teacher, called as `model(x, t)`, or as `model(x, t, y)` when y is given.
        z: noise. It is not changed.
        steps: Heun steps of two calls each, at least 1.
        y: conditions, one for each example, or None.
        at_once: how many examples the model is called on at most, so that memory is bounded. It
            is called 2 steps ⌈batch / at_once⌉ times, and no gradients are recorded meanwhile.
    Returns:
        `(x, z)`, in the order of `flow.loss`: row i of x is the sample made of row i of z (and y).
        x is shaped like z, in its precision and without a graph.
    Raises:
        ValueError: if at_once is below 1, or steps is not a whole number of at least 1.
    """
    if at_once < 1:
        raise ValueError(f"at_once must be at least 1, got {at_once}")
    ### BEGIN SOLUTION
    conditions = [None] * len(z) if y is None else y.split(at_once)
    parts = zip(z.split(at_once), conditions, strict=False)
    return torch.cat([sample_heun(model, part, steps, of) for part, of in parts]), z
    ### END SOLUTION


@torch.no_grad()
def progressive_target(
    model: Model,
    x_t: Examples,
    t: Levels,
    s: Levels,
    process: Process,
    target: Target,
    y: Condition | None = None,
) -> Examples:
    """The data that one step of the student must predict, to go as far as two of the teacher's
    (slide 108; Salimans and Ho 2022, algorithm 2).

        m = (t + s) / 2;   x_m = ddim(x_t, t → m);   x_s = ddim(x_m, m → s)
        x̃ = (x_s − (b_s / b_t) x_t) / (a_s − (b_s / b_t) a_t)

    A DDIM step from t to s with the prediction x̃ ends at x_s: the second line is that step, solved
    for its prediction. For rectified flow the step has the velocity (x_t − x_s) / (t − s).

    Args:
        model: the teacher, called twice, as `model(x_t, t)` or `model(x_t, t, y)`, at t and at m.
            No gradients are recorded meanwhile.
        x_t: noisy examples.
        t, s: where the student's step begins and ends, one of each for each example, s below t.
        process: a and b.
        target: c and d of the teacher's prediction.
        y: conditions, or None.
    Returns:
        x̃, shaped like x_t and in its precision, without a graph.
    Raises:
        ValueError: as `diffusion_samplers.ddim_step`.
    """
    check_step(x_t, t, s)
    ### BEGIN SOLUTION
    m = (t + s) / 2
    x_m = ddim_step(_ask(model, x_t, t, y), x_t, t, m, process, target)
    x_s = ddim_step(_ask(model, x_m, m, y), x_m, m, s, process, target)
    a_s, a_t = column(process.a(s), x_t), column(process.a(t), x_t)
    shrink = column(process.b(s) / process.b(t), x_t)
    return (x_s - shrink * x_t) / (a_s - shrink * a_t)
    ### END SOLUTION


@torch.no_grad()
def guidance_target(
    model: Model, x_t: Examples, t: Levels, y: Condition, null: Null, w: Weight
) -> Examples:
    """The velocity that a student learns to give in one call, with the weight as an input (slide
    108; Meng et al. 2023, stage one).

        v = (1 + w) f(x_t, t, y) − w f(x_t, t, ∅),    student(x_t, t, y, w) ≈ v

    Args:
        model: the teacher, called as in `guidance.velocities`. No gradients are recorded meanwhile.
        x_t, t: noisy examples and their levels.
        y: their conditions.
        null: ∅, as in `guidance.velocities`.
        w: guidance weights, one number or one for each example.
    Returns:
        v, shaped like x_t, without a graph.
    Raises:
        ValueError: as `guidance.guided_velocity`.
    """
    ### BEGIN SOLUTION
    return guided_velocity(*velocities(model, x_t, t, y, null), w)
    ### END SOLUTION


def adversarial_loss(
    features: nn.Module,
    heads: nn.Module,
    x: Examples,
    x_hat: Examples,
    z: Examples | None = None,
    t: Levels | None = None,
    y: Condition | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The hinge losses of a student and of small heads on a network that is not trained (slide 108;
    Sauer et al. 2023 and 2024).

        D(x) = heads(features(x))                          of clean images (ADD)
        D(x) = heads(features((1 − t) x + t z, t))         of noised ones (LADD)
        L_student = −mean D(x̂)
        L_heads = mean max(0, 1 − D(x)) + mean max(0, 1 + D(x̂))

    ADD takes features of images from a network that knows images. LADD takes them from the teacher
    itself: a flow knows noised latents, and t says whether D looks at details or at the whole.

    Args:
        features: a network, called as `features(x)`; as `features(x_t, t)` when z and t are given,
            and as `features(x_t, t, y)` with conditions. It is used in the mode it is in.
        heads: the trained part of D, called with what `features` returned, in the mode it is in;
            its logits are of any shape.
        x: real examples.
        x_hat: x̂, the student's, shaped like x.
        z, t: noise and levels, the same for x and x̂, or None for both.
        y: conditions of noised examples, the same for x and x̂, or None.
    Returns:
        `(L_student, L_heads)`, one number each. Of the examples and all weights, the gradient of
        the first flows into x̂ alone, that of the second into the weights of `heads` alone:
        `given.frozen.fixed` is a network whose weights get no gradient, though its inputs do.
    Raises:
        ValueError: if x and x̂ differ in shape, z comes without t or t without z, or y without them.
    """
    if x.shape != x_hat.shape:
        shapes = f"x is {tuple(x.shape)}, x_hat {tuple(x_hat.shape)}"
        raise ValueError(f"x_hat must be shaped like x: {shapes}")
    if (z is None) != (t is None):
        raise ValueError(f"z and t come together, got only {'t' if z is None else 'z'}")
    if y is not None and t is None:
        raise ValueError("y is for noised examples: it needs z and t, got neither")
    ### BEGIN SOLUTION
    seen = fixed(features)

    def logits(examples: Tensor, judge: Callable[..., Tensor]) -> Tensor:
        if t is None:
            return judge(seen(examples))
        return judge(_ask(seen, interpolate(examples, z, t)[0], t, y))

    student = -logits(x_hat, fixed(heads)).mean()
    real, fake = logits(x.detach(), heads), logits(x_hat.detach(), heads)
    return student, F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    ### END SOLUTION


def moment_matching_loss(
    teacher: Model,
    auxiliary: Model,
    x_hat: Examples,
    z: Examples,
    t: Levels,
    y: Condition | None = None,
) -> Float[Tensor, ""]:
    """Move the student's samples to where a teacher's denoiser agrees with their own (slide 108;
    Salimans et al. 2024, eq. 7; Yin et al. 2024).

        x_t = (1 − t) x̂ + t z
        g = (x_t − t f_aux(x_t, t)) − (x_t − t f_teacher(x_t, t))
        L = ½ mean over batch and dimensions of (x̂ − stop(x̂ − g))²

    The auxiliary flow is trained by `flow.loss` on the student's samples, so g = E_student[x | x_t]
    − E_data[x | x_t]. By Tweedie's formula g = t² / (1 − t) times the difference of the two scores
    at x_t. L is ½ mean g², and its gradient in x̂ is g over the number of entries of x̂: nothing
    flows through x_t or either flow.

    Args:
        teacher, auxiliary: velocities, called once each, as `model(x_t, t)`, or as
            `model(x_t, t, y)` when y is given.
        x_hat: x̂, samples of the student, with its graph.
        z, t: noise and levels, as in `flow.interpolate`.
        y: conditions, or None.
    Returns:
        One number. Gradients flow into x̂ as above, and nowhere else.
    Raises:
        ValueError: as `flow.interpolate`.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        x_t, _ = interpolate(x_hat, z, t)
        apart = _ask(teacher, x_t, t, y) - _ask(auxiliary, x_t, t, y)
        goal = x_hat - column(t, x_t) * apart  # x̂ − g
    return 0.5 * (x_hat - goal).square().mean()
    ### END SOLUTION


def _ask(model: Model, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
    return model(x_t, t) if y is None else model(x_t, t, y)
