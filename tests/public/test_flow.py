"""Public checks of chapter 04, rectified flow."""

import pytest
import torch

from cs231n_gen.checking import expect, fakes

interpolate = pytest.mark.exercise("flow.interpolate")
loss = pytest.mark.exercise("flow.loss")
sample = pytest.mark.exercise("flow.sample", graph=False)
trajectory = pytest.mark.exercise("flow.trajectory", graph=False)
sample_heun = pytest.mark.exercise("flow.sample_heun", graph=False)
straightness = pytest.mark.exercise("flow.straightness")
train = pytest.mark.exercise("flow.train", changes=("model", "model's mode"))


def pair(generator, *shape):
    """Data around 3 and noise around 0, so that nobody takes one for the other."""
    return 3 + torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


# Numbers, one number, points in one dimension, one point, images, a clip; the first: batches.
SHAPES = [(5,), (1,), (4, 1), (1, 3), (2, 1, 3, 3), (1, 2, 2, 2, 2)]

DOUBLE = {"atol": 1e-10, "rtol": 1e-10}  # more than float32 can hold


def precise(generator, *shape):
    """Numbers in float64, with more digits than float32 can hold."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def labels_of_every_kind():
    """Conditions that are all 0, a single 0, and some of 32 bits."""
    return [torch.zeros(3, dtype=torch.int64), torch.tensor([0]), torch.tensor([2, 0, 1]).int()]


def plain(model, shape):
    """The model without a condition, called as model(x_t, t), which knows what x_t looks like."""

    def asked(x_t, t):
        expect.tensor(x_t, shape, "the x that the model gets")
        right = t.dtype == x_t.dtype
        says = "the model must get t in the precision of x, as its weights are"
        expect.true(right, says, t.dtype, x_t.dtype)
        return model(x_t, t)

    return asked


def same_conditions(model, y):
    """Every call got y as it came."""
    for seen in model.conditions:
        expect.true(seen is not None, "y was given, but a call of the model did not get it")
        expect.close(seen, y, "every call must get y as it came", what="y")
        expect.true(seen.dtype == y.dtype, "y must keep its dtype", seen.dtype, y.dtype)


def network(student):
    """A network in float32, v = W x + t u + c, and the same field in float64."""
    net = student.new("checking.fakes.LinearField", dim=2)
    W, u, c = torch.tensor([[0.5, 1.0], [-1.0, 0.5]]), torch.tensor([1.0, -2.0]), torch.ones(1, 2)
    net.load({"W": W, "u": u, "c": c})
    return net, lambda x, t: x @ W.T.double() + t * u + c


def x_t_and_v(student, x, z, t):
    x_t, v = expect.unpack(student.flow.interpolate(x, z, t), ["x_t", "v"])
    return expect.tensor(x_t, x.shape, "x_t"), expect.tensor(v, x.shape, "v")


@interpolate
def test_x_t_is_the_data_at_t_0(student, generator):
    """x_t is the data x at t = 0"""
    x, z = pair(generator, 5, 2)
    x_t, _ = x_t_and_v(student, x, z, torch.zeros(5))
    expect.close(x_t, x, "at t = 0 nothing is noisy yet: x_t must be x", what="x_t")


@interpolate
def test_x_t_is_the_noise_at_t_1(student, generator):
    """x_t is the noise z at t = 1"""
    x, z = pair(generator, 5, 2)
    x_t, _ = x_t_and_v(student, x, z, torch.ones(5))
    expect.close(x_t, z, "at t = 1 only noise is left: x_t must be z", what="x_t")


@interpolate
def test_x_t_is_on_the_straight_line_at_each_level(student, generator):
    """x_t lies on the straight line from x to z, each example at its own t"""
    x, z = pair(generator, 6, 3)
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 0.25])
    x_t, _ = x_t_and_v(student, x, z, t)
    want = torch.stack([x[i] + t[i] * (z[i] - x[i]) for i in range(6)])
    expect.close(
        x_t, want, "row i of x_t must be the point a share t[i] of the way to z", what="x_t"
    )


@interpolate
def test_v_points_from_data_to_noise(student, generator):
    """v points from the data to the noise, the same at every t"""
    x, z = pair(generator, 5, 2)
    _, v = x_t_and_v(student, x, z, torch.linspace(0.1, 0.9, 5))
    expect.close(v, z - x, "v is how x_t changes with t: where does it go as t grows?", what="v")


@interpolate
def test_batch_as_large_as_a_row(student, generator):
    """levels belong to rows, also when there are as many rows as columns"""
    x, z = pair(generator, 4, 4)
    t = torch.tensor([0.0, 0.0, 1.0, 1.0])
    x_t, _ = x_t_and_v(student, x, z, t)
    want = torch.cat([x[:2], z[2:]])
    expect.close(x_t, want, "t[i] is the level of row i, not of column i", what="x_t")


@interpolate
def test_images(student, generator):
    """works for images as for points"""
    x, z = pair(generator, 3, 1, 4, 4)
    t = torch.tensor([0.0, 0.5, 1.0])
    x_t, _ = x_t_and_v(student, x, z, t)
    want = torch.stack([x[0], (x[1] + z[1]) / 2, z[2]])
    expect.close(x_t, want, "image i must be mixed at its own level t[i]", what="x_t")


@interpolate
def test_any_shape(student, generator):
    """works for numbers, for one example, for axes of length 1, and for large numbers"""
    for k, shape in enumerate(SHAPES):
        x, z = (10**k * v for v in pair(generator, *shape))
        t = torch.linspace(0.2, 0.8, shape[0])
        x_t, v = x_t_and_v(student, x, z, t)
        want = torch.stack([x[i] + t[i] * (z[i] - x[i]) for i in range(len(x))])
        expect.close(x_t, want, f"row i is mixed at t[i], for x of shape {shape}", what="x_t")
        expect.close(v, z - x, f"v is z − x, for x of shape {shape}", what="v")


@interpolate
def test_no_digit_is_lost(student, generator):
    """in float64 all digits are right, next to both ends too"""
    x, z = 3 + precise(generator, 4, 2), precise(generator, 4, 2)
    t = torch.tensor([0.0, 1e-6, 1 - 1e-6, 1.0], dtype=torch.float64)
    x_t, v = x_t_and_v(student, x, z, t)
    says = "levels must not be moved, and nothing rounded"
    expect.close(x_t, x + t[:, None] * (z - x), says, **DOUBLE, what="x_t")
    expect.close(v, z - x, "v is z − x", **DOUBLE, what="v")
    expect.true(x_t.dtype == x.dtype, "the precision changed on the way", x_t.dtype, x.dtype)


@interpolate
def test_gradients_pass_through(student, generator):
    """gradients pass through x_t and v"""
    x, z = pair(generator, 4, 2)
    t = torch.tensor([0.1, 0.4, 0.6, 0.9])
    found = student.gradient("flow.interpolate", x, z, t, wrt=[x, z, t])
    share = t[:, None].expand(4, 2)  # of the sum of all numbers of x_t and v
    for name, got, want in zip("xzt", found, [-share, 1 + share, (z - x).sum(1)], strict=True):
        expect.true(got is not None, f"no gradient reaches {name}: is something detached?")
        expect.close(got, want, f"d(Σ x_t + Σ v)/d{name}", what=f"the gradient of {name}")


REFUSED = "ValueError for {}: leave the lines above yours as they are"


@interpolate
def test_what_does_not_fit_is_refused(student, generator):
    """x and z of two shapes are refused, and levels that are not one for each example"""
    x, t, call = torch.ones(4, 3), torch.full((4,), 0.5), student.flow.interpolate
    x_t_and_v(student, x, x, t)
    for shape in ((1, 3), (3, 3), (3, 4), (3,)):
        says = REFUSED.format(f"x of shape (4, 3) and z of shape {shape}")
        expect.raises("ValueError", lambda n=shape: call(x, torch.ones(n), t), says)
    for shape in ((), (1,), (3,), (4, 1)):
        says = REFUSED.format(f"levels of shape {shape} for 4 examples")
        expect.raises("ValueError", lambda n=shape: call(x, x, torch.ones(n)), says)


@loss
def test_loss_of_the_true_velocity_is_0(student, generator):
    """a model that knows v has loss 0"""
    x, z = pair(generator, 8, 2)
    value = student.flow.loss(lambda x_t, t: z - x, x, z, torch.rand(8, generator=generator))
    expect.close(
        value, 0.0, "the model answered exactly z − x, so nothing is left to pay", what="L"
    )


@loss
def test_loss_is_the_mean_square_per_dimension(student, generator):
    """the loss is the mean over examples and dimensions of the squared error"""
    x, z = pair(generator, 8, 3)
    value = student.flow.loss(
        lambda x_t, t: torch.zeros_like(x_t), x, z, torch.rand(8, generator=generator)
    )
    want = (z - x).square().sum() / 24
    expect.close(
        value, want, "for a model that answers 0 it is the mean of v² (8 × 3 numbers)", what="L"
    )


@loss
def test_the_model_is_asked_at_x_t(student, generator):
    """the model is asked about the noisy x_t, at its own t"""
    x, z = pair(generator, 4, 2)
    t = torch.tensor([0.0, 0.25, 0.5, 1.0])
    model = fakes.linear(1.0)
    student.flow.loss(model, x, z, t)
    expect.true(len(model.times) == 1, "one call of the model is enough", len(model.times), 1)
    says = "t must reach the model as it came, (batch,)"
    expect.close(model.times[0], t, says, atol=0, rtol=0, what="t")
    seen = model.times[0].dtype
    expect.true(seen == t.dtype, "t must keep its precision", seen, t.dtype)
    want = x + t[:, None] * (z - x)
    expect.close(model.inputs[0], want, "the model must see x_t, not the clean data", what="x_t")


@loss
def test_loss_with_a_condition(student, generator):
    """with a condition the model is called as model(x_t, t, y)"""
    x, z = pair(generator, 4, 2)
    y = torch.tensor([0, 3, 1, 2])
    model = fakes.by_label()
    t = torch.full((4,), 0.5)
    value = student.flow.loss(model, x, z, t, y)
    expect.true(model.conditions[0] is not None, "y was given, but the model did not get it")
    expect.close(model.conditions[0], y, "the third argument of the model must be y", what="y")
    error = y[:, None] + 0.5 * (x + z) / 2 - (z - x)
    expect.close(
        value, error.square().mean(), "the conditional prediction enters the loss", what="L"
    )


@loss
def test_labels_of_any_kind(student, generator):
    """y reaches the model as it came, also if all labels are 0"""
    for y in labels_of_every_kind():
        x, z = pair(generator, len(y), 2)
        model, t = fakes.by_label(), torch.full((len(y),), 0.5)
        value = student.flow.loss(model, x, z, t, y)
        same_conditions(model, y)
        error = y[:, None] + 0.5 * (x + z) / 2 - (z - x)
        expect.close(value, error.square().mean(), "model(x_t, t, y) enters the loss", what="L")


@loss
def test_large_and_small_errors(student, generator):
    """it is the mean square for large and small errors, one example or many, in float64"""
    for shape in ((1, 3), (300, 2), (2, 1, 3, 3)):
        for scale in (1e-3, 1e3):
            x, z = (100 * precise(generator, *shape) for _ in range(2))
            off = scale * precise(generator, *shape)
            t = torch.rand(shape[0], generator=generator, dtype=torch.float64)
            model = fakes.Recorder(lambda x_t, t, y, v=z - x, off=off: v + off)
            value = student.flow.loss(plain(model, shape), x, z, t)
            expect.close(model.times[0], t, "t must keep its precision", **DOUBLE, what="t")
            says = f"the mean of the squares of errors of about {scale}, of shape {shape}"
            expect.close(value, off.square().mean(), says, atol=0, rtol=1e-8, what="L")


@loss
def test_gradients_reach_the_model(student, generator):
    """gradients flow into the model's weights"""
    x, z = pair(generator, 16, 2)
    net = student.new("checking.fakes.LinearField", dim=2)
    t = torch.rand(16, generator=generator)
    (gradient,) = student.gradient("flow.loss", net, x, z, t, wrt=[net])
    expect.true(gradient["c"] is not None, "no gradient arrives: is the prediction detached?")
    want = -(z - x).mean(0, keepdim=True)
    expect.close(
        gradient["c"], want, "dL/dc must be the mean of 2 (prediction − v) / 2", what="dL/dc"
    )


def refuses_steps(sampler):
    """It refuses what is no number of steps."""
    z = torch.ones(2, 2)
    expect.true(sampler(fakes.linear(1.0), z, 1) is not None, "one step gave no result")
    for steps in (0, -1, 2.5):
        says = REFUSED.format(f"steps = {steps}")
        expect.raises("ValueError", lambda n=steps: sampler(fakes.linear(1.0), z, n), says)


def asked(model, steps):
    """The levels at which a sampler asked the model, as a plain comparison with t = 1, …, 1/T."""
    want = torch.arange(steps, 0, -1).double() / steps
    expect.true(
        len(model.times) == len(want),
        f"{steps} steps take {len(want)} calls of the model",
        len(model.times),
        len(want),
    )
    for t in model.times:
        expect.tensor(t, (len(model.inputs[0]),), "t")
    says = f"{steps} steps ask for t = 1, 1 − 1/{steps}, …, 1/{steps}"
    off = 3e-7 if steps == 1 else 1e-6
    expect.close(model.levels(), want, says, atol=off, rtol=0, what="the levels asked for")


@sample
def test_one_step_goes_along_the_velocity_at_the_noise(student, generator):
    """one step: x = z − f(z, 1)"""
    z = torch.randn(5, 2, generator=generator)
    x = student.flow.sample(fakes.linear(0.3), z, 1)
    expect.close(
        x, 0.7 * z, "one step from t = 1 to t = 0 is a step of length 1 against v", what="x"
    )


@sample
def test_a_constant_velocity_is_followed_exactly(student, generator):
    """a constant velocity is followed exactly, whatever T is"""
    z = torch.randn(5, 2, generator=generator)
    x = student.flow.sample(fakes.constant(2.0), z, 7)
    expect.close(x, z - 2, "7 steps of 1/7 along v = 2 lead from z to z − 2", what="x")


@sample
def test_the_levels_asked_for(student, generator):
    """T steps ask the model at t = 1, 1 − 1/T, …, 1/T"""
    model = fakes.linear(0.5)
    student.flow.sample(model, torch.randn(3, 2, generator=generator), 4)
    asked(model, 4)


@sample
def test_t_is_one_level_an_example(student, generator):
    """the model gets t as a (batch,) tensor"""
    model = fakes.linear(0.5)
    student.flow.sample(model, torch.randn(3, 2, generator=generator), 2)
    for t in model.times:
        expect.tensor(t, (3,), "t")


@sample
def test_euler_on_a_field_that_depends_on_t(student, generator):
    """Euler's sum for v = 4 t"""
    z = torch.randn(5, 2, generator=generator)
    x = student.flow.sample(fakes.ramp(4.0), z, 4)
    expect.close(x, z - 2.5, "4 steps: z − (4 + 3 + 2 + 1) / 4 = z − 2.5", what="x")


@sample
def test_sample_with_a_condition(student, generator):
    """with a condition every call gets y"""
    model, y = fakes.by_label(), torch.tensor([2, 0, 1])
    student.flow.sample(model, torch.randn(3, 2, generator=generator), 3, y)
    for condition in model.conditions:
        expect.true(condition is not None, "y was given, but a call of the model did not get it")
        expect.close(condition, y, "every call must get y as it came", what="y")


@sample
def test_sample_images(student, generator):
    """works for images as for points"""
    z = torch.randn(2, 1, 4, 4, generator=generator)
    x = student.flow.sample(fakes.linear(1.0), z, 2)
    expect.close(x, z / 4, "two steps along v = x halve x twice", what="x")


@sample
def test_steps_that_do_not_come_out_even(student):
    """1, 10, 49 and 128 steps make just as many calls"""
    for steps in (1, 10, 49, 128):
        model = fakes.ramp(1.0)
        x = student.flow.sample(model, torch.zeros(2, 2), steps)
        asked(model, steps)
        says = f"{steps} steps along v = t move by −(1 + 1/{steps}) / 2"
        expect.close(x, torch.full((2, 2), -(1 + 1 / steps) / 2), says, what="x")


@sample
def test_noise_of_any_shape_and_scale(student, generator):
    """works for numbers, for one example, in float64, and whatever the scale"""
    for shape in SHAPES:
        for scale in (1e-4, 1e4):
            z = scale * precise(generator, *shape)
            x = student.flow.sample(plain(fakes.linear(1.0), shape), z, 2)
            says = f"two steps along v = x halve x twice, for z of shape {shape} in float64"
            expect.close(x, z / 4, says, atol=0, rtol=1e-10, what="x")
            expect.true(x.dtype == z.dtype, "x must keep the precision of z", x.dtype, z.dtype)


@sample
def test_labels_of_any_kind_reach_the_sampler(student):
    """y reaches every call as it came, also if all labels are 0"""
    for y in labels_of_every_kind():
        model = fakes.by_label()
        x = student.flow.sample(model, torch.ones(len(y), 2), 1, y)
        same_conditions(model, y)
        want = -y[:, None].float().expand(-1, 2)
        expect.close(x, want, "one step from 1 along v = y + t x leads to −y", what="x")


@sample
def test_a_network_is_walked(student, generator):
    """a network in float32 gets everything in float32"""
    net, field = network(student)
    z = torch.randn(3, 2, generator=generator)
    x = z.double()
    for t in (1, 2 / 3, 1 / 3):
        x = x - field(x, t) / 3
    expect.close(student.flow.sample(net, z, 3), x, "three steps of a network", what="x")


@sample
def test_levels_as_a_list_or_a_tensor(student, generator):
    """`times` can be a tuple or a tensor, and need not begin at 1 nor end at 0"""
    z = precise(generator, 3, 2)
    times = torch.tensor([0.75, 0.5, 0.125], dtype=torch.float64)
    for form in (tuple(times.tolist()), times, times.float()):
        model = fakes.linear(1.0)
        x = student.flow.sample(model, z, 2, times=form)
        says = "at the first two of 0.75, 0.5, 0.125 the model must be asked"
        expect.true(len(model.times) == 2, "3 levels are 2 steps", len(model.times), 2)
        expect.close(model.levels(), times[:2], says, what="the levels asked for")
        says = "the steps have lengths ¼ and ⅜, and end at t = 0.125"
        expect.close(x, z * 0.75 * 0.625, says, **DOUBLE, what="x")


@sample
def test_levels_of_ones_own(student, generator):
    """with `times` it walks from each of these levels to the next"""
    times, model = [1.0, 0.9, 0.5, 0.25], fakes.ramp(4.0)
    z = torch.randn(5, 2, generator=generator)
    x = student.flow.sample(model, z, 3, times=times)
    says = "at these levels, 1.0, 0.9 and 0.5, the model must be asked"
    expect.true(len(model.times) == 3, "4 levels are 3 steps", len(model.times), 3)
    expect.close(model.levels(), torch.tensor(times[:-1]), says, what="the levels asked for")
    says = "along v = 4 t: z − (0.1 · 4 + 0.4 · 3.6 + 0.25 · 2) = z − 2.34"
    expect.close(x, z - 2.34, says, what="x")


@sample
def test_what_is_no_walk_is_refused(student):
    """steps that are no whole number of at least 1 are refused, and times that do not fit"""
    refuses_steps(student.flow.sample)
    call, z = student.flow.sample, torch.ones(2, 2)
    for times in ([1.0, 0.0], [1.0, 0.5, 0.5], [0.0, 0.5, 1.0], [1.2, 0.5, 0.0], [1.0, 0.5, -0.1]):
        says = REFUSED.format(f"2 steps with times = {times}")
        expect.raises("ValueError", lambda t=times: call(fakes.linear(1.0), z, 2, times=t), says)


@trajectory
def test_no_path_without_steps(student):
    """steps that are no whole number of at least 1 are refused"""
    refuses_steps(student.flow.trajectory)


@sample_heun
def test_no_heun_without_steps(student):
    """steps that are no whole number of at least 1 are refused"""
    refuses_steps(student.flow.sample_heun)


@straightness
def test_a_single_frame_is_no_path(student):
    """fewer than 2 frames are refused"""
    line = torch.tensor([[[1.0]], [[3.0]]])
    expect.close(student.flow.straightness(line), 0.0, "2 frames are straight", what="S")
    for frames in (1, 0):
        says = REFUSED.format(f"{frames} frames")
        expect.raises("ValueError", lambda n=frames: student.flow.straightness(line[:n]), says)


@trajectory
def test_frames_begin_with_the_noise(student, generator):
    """there are T + 1 frames, the first is the noise"""
    z = torch.randn(5, 2, generator=generator)
    path = expect.tensor(student.flow.trajectory(fakes.linear(1.0), z, 4), (5, 5, 2), "the path")
    expect.close(path[0], z, "the first frame is where the path starts: z", what="frame 0")


@trajectory
def test_every_frame_is_one_step_further(student, generator):
    """every frame is one Euler step further"""
    z = torch.randn(3, 2, generator=generator)
    path = expect.tensor(student.flow.trajectory(fakes.linear(1.0), z, 4), (5, 3, 2), "the path")
    want = torch.stack([z * 0.75**k for k in range(5)])
    expect.close(path, want, "along v = x, frame k is z · (3/4)^k for T = 4", what="the path")


@trajectory
def test_the_levels_asked_for_along_a_trajectory(student, generator):
    """T steps ask the model at t = 1, 1 − 1/T, …, 1/T"""
    model = fakes.ramp(1.0)
    student.flow.trajectory(model, torch.randn(3, 2, generator=generator), 5)
    asked(model, 5)


@trajectory
def test_the_last_frame_is_the_sample(student, generator):
    """the last frame is the sample, for images too"""
    z = torch.randn(2, 1, 3, 3, generator=generator)
    path = student.flow.trajectory(fakes.ramp(2.0), z, 2)
    expect.tensor(path, (3, 2, 1, 3, 3), "the path")
    expect.close(path[-1], z - 1.5, "2 steps along v = 2 t: z − (2 + 1) / 2", what="the last frame")


@trajectory
def test_trajectory_with_a_condition(student, generator):
    """with a condition every call gets y"""
    z, y = torch.zeros(3, 2), torch.tensor([2, 0, 1])
    path = student.flow.trajectory(fakes.by_label(), z, 1, y)
    expect.tensor(path, (2, 3, 2), "the path")
    want = -y[:, None].float().expand(3, 2)
    expect.close(path[-1], want, "one step along v = y from 0 leads to −y", what="the last frame")


@trajectory
def test_paths_whose_steps_do_not_come_out_even(student):
    """1, 10, 49 and 128 steps make just as many calls and one frame more"""
    for steps in (1, 10, 49, 128):
        model = fakes.ramp(1.0)
        path = student.flow.trajectory(model, torch.zeros(2, 2), steps)
        asked(model, steps)
        expect.tensor(path, (steps + 1, 2, 2), "the path")
        says = f"{steps} steps along v = t move by −(1 + 1/{steps}) / 2"
        want = torch.full((2, 2), -(1 + 1 / steps) / 2)
        expect.close(path[-1], want, says, what="the last frame")


@trajectory
def test_paths_of_any_shape_and_scale(student, generator):
    """works for numbers, for one example, in float64, and whatever the scale"""
    for shape in SHAPES:
        for scale in (1e-4, 1e4):
            z = scale * precise(generator, *shape)
            path = student.flow.trajectory(plain(fakes.linear(1.0), shape), z, 2)
            says = f"every step along v = x halves x, for z of shape {shape} in float64"
            want = torch.stack([z, z / 2, z / 4])
            expect.close(path, want, says, atol=0, rtol=1e-10, what="the path")
            kept = path.dtype == z.dtype
            expect.true(kept, "the path must keep the precision of z", path.dtype, z.dtype)


@trajectory
def test_labels_of_any_kind_along_a_path(student):
    """y reaches every call as it came, also if all labels are 0"""
    for y in labels_of_every_kind():
        model = fakes.by_label()
        path = student.flow.trajectory(model, torch.ones(len(y), 2), 1, y)
        same_conditions(model, y)
        expect.tensor(path, (2, len(y), 2), "the path")
        want = -y[:, None].float().expand(-1, 2)
        says = "one step from 1 along v = y + t x leads to −y"
        expect.close(path[-1], want, says, what="the last frame")


@trajectory
def test_a_network_along_a_path(student, generator):
    """a network in float32 gets everything in float32"""
    net, field = network(student)
    z = torch.randn(3, 2, generator=generator)
    frames = [z.double()]
    for t in (1, 2 / 3, 1 / 3):
        frames.append(frames[-1] - field(frames[-1], t) / 3)
    path = student.flow.trajectory(net, z, 3)
    expect.close(path, torch.stack(frames), "three steps of a network", what="the path")


@sample_heun
def test_one_heun_step(student, generator):
    """one step along v = x: both ends count half"""
    z = torch.randn(5, 2, generator=generator)
    x = student.flow.sample_heun(fakes.linear(1.0), z, 1)
    expect.close(x, z / 2, "v = z at the start, 0 at x' = z − z = 0; their mean is z/2", what="x")


@sample_heun
def test_heun_is_exact_when_v_is_linear_in_t(student, generator):
    """v = 4 t is followed exactly"""
    z = torch.randn(5, 2, generator=generator)
    x = student.flow.sample_heun(fakes.ramp(4.0), z, 3)
    expect.close(
        x, z - 2, "the exact flow along v = 4 t moves by −2, and Heun's rule sees it", what="x"
    )


@sample_heun
def test_the_levels_heun_asks_for(student, generator):
    """each step asks at t and at t − 1/T"""
    model = fakes.linear(0.5)
    student.flow.sample_heun(model, torch.randn(3, 2, generator=generator), 2)
    want = torch.tensor([1.0, 0.5, 0.5, 0.0])
    expect.true(len(model.times) == 4, "2 steps take 4 calls of the model", len(model.times), 4)
    expect.close(model.levels(), want, "2 steps ask for t = 1, 1/2, then 1/2, 0", what="the levels")


@sample_heun
def test_heun_steps_of_a_curved_flow(student, generator):
    """T steps along v = 2 x multiply by (1 − h + h²/2)^T with h = 2/T"""
    z = torch.randn(5, 2, generator=generator)
    x = student.flow.sample_heun(fakes.linear(2.0), z, 4)
    expect.close(x, z * 0.625**4, "for T = 4 each step multiplies by 1 − ½ + ⅛", what="x")


@sample_heun
def test_heun_with_a_condition(student, generator):
    """with a condition both calls get y"""
    model, y = fakes.by_label(), torch.tensor([2, 0, 1])
    z = torch.ones(3, 2)
    x = student.flow.sample_heun(model, z, 1, y)
    for condition in model.conditions:
        expect.true(condition is not None, "y was given, but a call of the model did not get it")
    want = (z - (y[:, None] + 1 + y[:, None]) / 2.0).float()
    expect.close(x, want, "v = y + t x: at the start y + 1, at the end y", what="x")


@sample_heun
def test_heun_steps_that_do_not_come_out_even(student):
    """1, 10, 49 and 128 steps make twice as many calls, the last at t = 0"""
    for steps in (1, 10, 49, 128):
        model = fakes.ramp(1.0)
        x = student.flow.sample_heun(model, torch.zeros(2, 2), steps)
        found = len(model.times)
        expect.true(found == 2 * steps, f"{steps} steps make 2 calls each", found, 2 * steps)
        k = torch.arange(steps, 0, -1)
        want = torch.stack([k, k - 1], dim=1).flatten() / steps
        for t in model.times:
            expect.tensor(t, (2,), "t")
        says = "each step asks at both its ends, the last at t = 0"
        off = 3e-7 if steps == 1 else 1e-6
        expect.close(model.levels(), want, says, atol=off, rtol=0, what="the levels")
        expect.close(x, torch.full((2, 2), -0.5), "along v = t Heun is exact", what="x")


@sample_heun
def test_heun_for_noise_of_any_shape_and_scale(student, generator):
    """works for numbers, for one example, in float64, and whatever the scale"""
    for shape in SHAPES:
        for scale in (1e-4, 1e4):
            z = scale * precise(generator, *shape)
            x = student.flow.sample_heun(plain(fakes.linear(1.0), shape), z, 2)
            says = f"each step multiplies by 1 − ½ + ⅛, for z of shape {shape} in float64"
            expect.close(x, z * 0.625**2, says, atol=0, rtol=1e-10, what="x")
            expect.true(x.dtype == z.dtype, "x must keep the precision of z", x.dtype, z.dtype)


@sample_heun
def test_labels_of_any_kind_reach_heun(student):
    """y reaches both calls as it came, also if all labels are 0"""
    for y in labels_of_every_kind():
        model = fakes.by_label()
        x = student.flow.sample_heun(model, torch.ones(len(y), 2), 1, y)
        same_conditions(model, y)
        want = (0.5 - y[:, None]).expand(-1, 2)
        expect.close(x, want, "v = y + t x: at the start y + 1, at the end y", what="x")


@sample_heun
def test_a_network_with_heun(student, generator):
    """a network in float32 gets everything in float32"""
    net, field = network(student)
    z = torch.randn(3, 2, generator=generator)
    x = z.double()
    for t in (1, 2 / 3, 1 / 3):
        v = field(x, t)
        x = x - (v + field(x - v / 3, t - 1 / 3)) / 6
    expect.close(student.flow.sample_heun(net, z, 3), x, "three steps of a network", what="x")


@straightness
def test_a_straight_path_has_straightness_0(student, generator):
    """a straight path has straightness 0"""
    x, z = pair(generator, 5, 2)
    path = torch.stack([z + k / 4 * (x - z) for k in range(5)])
    expect.close(
        student.flow.straightness(path), 0.0, "equal steps on a line are straight", what="S"
    )


@straightness
def test_a_path_that_speeds_up(student):
    """a path x = s², s from 0 to 1, has S = (1 − 1/T²) / 3"""
    s = torch.linspace(0, 1, 5)
    path = s.square().reshape(5, 1, 1).expand(5, 3, 2)
    value = student.flow.straightness(path)
    expect.close(
        value, (1 - 1 / 16) / 3, "speeds ¼, ¾, 5/4, 7/4 against the whole way, 1", what="S"
    )


@straightness
def test_twice_the_path_is_four_times_as_bent(student, generator):
    """twice the path has four times the straightness"""
    path = torch.randn(6, 4, 2, generator=generator)
    expect.close(
        student.flow.straightness(2 * path),
        4 * torch.as_tensor(student.flow.straightness(path)),
        "S is in squared units of x",
        what="S",
    )


@straightness
def test_straightness_is_a_mean(student, generator):
    """more examples of the same path do not change it"""
    path = torch.randn(6, 1, 2, generator=generator)
    one, many = student.flow.straightness(path), student.flow.straightness(path.expand(6, 9, 2))
    one = expect.tensor(torch.as_tensor(one), (), "S")
    expect.close(many, one, "S is a mean over examples, not a sum", what="S")


@straightness
def test_straightness_of_images(student, generator):
    """works for images: there and back in two steps has S = 4"""
    path = torch.zeros(3, 2, 1, 2, 2)
    path[1] = 1.0  # there and back: speeds 2 and −2, the whole way 0
    expect.close(
        student.flow.straightness(path), 4.0, "speeds ±2 against the whole way 0", what="S"
    )


@straightness
def test_paths_of_any_shape_are_measured(student, generator):
    """works for numbers, for one example, for few and many steps, in float64"""
    for shape in [(6, *shape) for shape in SHAPES] + [(3, 4, 2), (130, 2, 1), (3, 300, 1)]:
        path = precise(generator, *shape)
        whole, speed = path[-1] - path[0], (path[1:] - path[:-1]) * (len(path) - 1)
        want = torch.stack([(whole - v).square().mean() for v in speed]).mean()
        says = f"the mean over steps, examples and dimensions, for a path of shape {shape}"
        found = student.flow.straightness(path)
        expect.close(found, want, says, atol=0, rtol=1e-10, what="S")


@straightness
def test_a_single_step_is_straight(student, generator):
    """a path of 2 frames has S = 0"""
    path = torch.randn(2, 3, 2, generator=generator)
    says = "one step is the whole way"
    expect.close(student.flow.straightness(path), 0.0, says, what="S")


@straightness
def test_a_fast_path_far_away(student, generator):
    """a fast path far from 0 loses no digits"""
    k = torch.randint(0, 2048, (9, 5, 2), generator=generator) / 1024  # exact, in float32 too
    path = k + 1000 + 250 * torch.arange(9.0)[:, None, None]
    whole, speed = path[-1] - path[0], 8 * path.diff(dim=0)
    want = (whole - speed).double().square().mean()
    says = "large squares that nearly cancel lose digits: subtract before you square"
    expect.close(student.flow.straightness(path), want, says, atol=0, rtol=1e-5, what="S")


def spied_run(student, generator, steps=8, batch=128, classes=0, **options):
    """Train a linear field that remembers what it was asked; data are 3 + y plus a little noise."""
    field = student.new("checking.fakes.LinearField", dim=2, classes=classes)
    drawn = []

    def draw(n, g):
        y = torch.randint(0, max(1, classes), (n,), generator=g)
        x = 3 + 2 * y[:, None] + 0.1 * torch.randn(n, 2, generator=g)
        drawn.append((n, g, x, y))
        return x, y if classes else None

    history = student.flow.train(
        field, draw, steps, batch=batch, generator=generator, progress=False, **options
    )
    return field, drawn, history


@train
def test_every_step_draws_fresh_data(student, generator):
    """every step draws one fresh batch"""
    field, drawn, _ = spied_run(student, generator)
    expect.true(len(drawn) == 8, "8 steps take 8 draws of data", len(drawn), 8)
    expect.true(all(d[0] == 128 for d in drawn), "draw must be asked for `batch` examples")
    expect.true(len(field.get("inputs")) == 8, "the model must be asked once a step")


@train
def test_every_example_has_its_own_level(student, generator):
    """every example has its own t in [0, 1]"""
    field, _, _ = spied_run(student, generator, steps=2, batch=4000)
    times = field.get("times")
    expect.tensor(times[0], (4000,), "t")
    t = torch.stack(times)
    expect.true(bool((t[0] != t[0, 0]).any()), "all examples of a batch have the same t")
    expect.true(bool((t[0] != t[1]).any()), "t must be drawn anew in every step")
    inside = bool(((t >= 0) & (t <= 1)).all())
    expect.true(inside, "t must be in [0, 1]", f"{t.min():.3g} to {t.max():.3g}", "0 to 1")
    far = (t.mean() - 0.5).abs() < 0.02 and (t.var() - 1 / 12).abs() < 0.004  # 5 standard errors
    says = "t must be uniform on [0, 1]"
    expect.true(bool(far), says, f"variance {t.var():.3f}", "variance 0.083")
    ends = max(float(t.min()), 1 - float(t.max()))
    expect.true(ends < 2e-3, says, f"no level less than {ends:.3g} from an end", "up to both ends")
    level, even = t.sort(1).values.double(), (torch.arange(4000).double() + 0.5) / 4000
    gap = (level - even).abs().amax(1) * 4000**0.5  # Kolmogorov's statistic
    got = f"a gap to the even spacing of {gap[0]:.2g} / √4000"
    expect.true(bool((gap < 2.6).all()), says, got, "less than 2.6")
    says = "levels must be independent, and these are more even than chance: torch.rand"
    expect.true(bool((gap > 0.28).all()), says, got, "more than 0.28")


@train
def test_every_step_draws_fresh_noise(student, generator):
    """every step draws fresh unit Gaussian noise"""
    field, drawn, _ = spied_run(student, generator, steps=2, batch=4000)
    t = torch.stack(field.get("times"))[..., None].double()
    x = torch.stack([d[2] for d in drawn]).double()
    expect.true(len(t) == len(x), "one draw of data a step", len(x), len(t))
    noise = (torch.stack(field.get("inputs")).double() - (1 - t) * x) / t
    z = noise[t.squeeze(-1) > 0.1]
    fourth = z.pow(4).mean()
    good = z.mean().abs() < 0.05 and (z.var() - 1).abs() < 0.06 and (fourth - 3).abs() < 0.5
    got = f"mean {z.mean():.2f}, variance {z.var():.2f}, mean of z⁴ {fourth:.2f}"
    says = "(x_t − (1 − t) x) / t must be unit Gaussian noise"
    expect.true(bool(good), says, got, "mean 0, variance 1, mean of z⁴ 3")
    half = noise.chunk(2, 1)
    pairs = [half[0] * half[1], noise[..., :1] * noise[..., 1:], noise[0] * noise[1]]
    related = max(float(p[p.abs() < 20].mean().abs()) for p in pairs)
    says = "each number of the noise must be drawn for itself"
    expect.true(related < 0.1, says, f"{related:.2f} between examples or dimensions", "near 0")
    first, second = (
        torch.stack(field.get("inputs"))[k].double() - (1 - t[k]) * x[k] for k in (0, 1)
    )
    same = torch.allclose(first / t[0], second / t[1], atol=1e-3)
    expect.true(not same, "the same noise comes in every step: draw it anew")


@train
def test_each_step_moves_the_weights_by_its_own_gradient(student, generator):
    """each step moves the weights by the gradient of its own batch"""
    field, drawn, _ = spied_run(student, generator, steps=6, lr=0.1)
    expect.true(len(drawn) == len(field.get("inputs")) == 6, "one draw and one call a step")
    from cs231n_gen.given.training import Run

    twin = fakes.LinearField(dim=2)
    with Run(twin, 6, lr=0.1, progress=False) as run:
        for k, _ in enumerate(run):
            x_t, t, x = field.get("inputs")[k], field.get("times")[k], drawn[k][2]
            error = twin(x_t, t).detach() - (x_t - x) / t[:, None]
            slope = 2 * error / error.numel()  # of the mean square: the gradients by hand
            twin.W.grad, twin.c.grad = slope.T @ x_t, slope.sum(0)[None]
            twin.u.grad = (t[:, None] * slope).sum(0)
            run.optimizer.step()
            run.record(error.square().mean())
    moved = bool(field.state()["c"].abs().sum() > 0)
    expect.true(moved, "the weights never move: backward, then optimizer.step()")
    says = "after 6 steps the weights differ: is the gradient cleared, and a step made, every time?"
    for name, value in twin.state_dict().items():
        expect.close(field.state()[name], value, says, atol=1e-3, rtol=0, what=name)


@train
def test_training_lowers_the_loss(student, generator):
    """the loss falls, and every step's loss is recorded"""
    _, _, history = spied_run(student, generator, steps=30, lr=0.4)
    losses = history.get("losses")
    expect.true(len(losses) == 30, "run.record(L) belongs in every step", len(losses), 30)
    falls = sum(losses[-5:]) < 0.5 * sum(losses[:5])
    expect.true(falls, "after 30 steps the loss must be less than half", losses[-1], losses[0] / 2)


@train
def test_training_with_conditions(student, generator):
    """conditions reach the model with their data"""
    field, drawn, _ = spied_run(student, generator, steps=3, classes=2)
    for seen, (_, _, _, y) in zip(field.get("conditions"), drawn, strict=True):
        expect.true(seen is not None, "draw gave y, but the model did not get it")
        expect.close(seen, y, "each example must keep its own condition", what="y")


@train
def test_a_seed_repeats_a_run(student, generator):
    """the same generator repeats a run"""
    state = generator.get_state()
    _, _, first = spied_run(student, generator, steps=5)
    generator.set_state(state)
    torch.randn(7)  # whatever else was drawn in between
    _, _, second = spied_run(student, generator, steps=5)
    same = first.get("losses") == second.get("losses")
    expect.true(same, "draw everything random with `generator`: the same seed gave other losses")


@train
def test_the_losses_recorded_are_those_of_the_steps(student, generator):
    """what is recorded is the loss of each step, before its update"""
    field, drawn, history = spied_run(student, generator, steps=3, lr=0.0)
    losses, seen, times = history.get("losses"), field.get("inputs"), field.get("times")
    expect.true(len(losses) == len(drawn) == len(seen) == 3, "one loss a step", len(losses), 3)
    want = [
        ((x_t - x).double() / t[:, None]).square().mean()
        for x_t, t, (_, _, x, _) in zip(seen, times, drawn, strict=True)
    ]
    says = "at a learning rate of 0 the field answers 0: the loss of each step is the mean of v²"
    expect.close(torch.tensor(losses), torch.stack(want), says, atol=0, rtol=1e-3, what="losses")


@train
def test_training_on_images(student, generator):
    """images get noise for each of their pixels, one level each, and the model trains"""
    field, drawn = student.new("checking.fakes.AnyShape"), []

    def draw(n, g):
        drawn.append(torch.randn(n, 1, 4, 4, generator=g))
        return drawn[-1], None

    student.flow.train(field, draw, 2, batch=64, generator=generator, progress=False)
    expect.true(len(drawn) == len(field.get("inputs")) == 2, "one draw and one call a step")
    x_t, t = field.get("inputs")[0], field.get("times")[0]
    expect.tensor(x_t, (64, 1, 4, 4), "x_t")
    t = expect.tensor(t, (64,), "t")[:, None, None, None]
    z = ((x_t - (1 - t) * drawn[0]) / t)[t.flatten() > 0.2]
    off = [float(z.mean()), float(z.var()) - 1, float((z * z.roll(1, -1)).mean())]
    good = max(abs(o) for o in off) < 0.25  # some 800 numbers: 5 standard errors of a variance
    says = "(x_t − (1 − t) x) / t must be unit noise, each pixel's its own"
    expect.true(good, says, "mean {:.2f}, variance less 1 {:.2f}, neighbours {:.2f}".format(*off))
    expect.true(all(field.get("modes")), "the model is in training mode in every step")


@train
def test_data_then_noise_then_levels(student, generator):
    """the data are drawn first, then the noise, then the levels"""
    field, states = student.new("checking.fakes.LinearField", dim=2), []

    def draw(n, g):
        states.append(g.get_state())
        x = torch.randn(n, 2, generator=g)
        states.append(g.get_state())
        return x, None

    start = generator.get_state()
    student.flow.train(field, draw, 2, batch=30, generator=generator, progress=False)
    expect.true(len(states) == 4, "one draw a step", len(states) // 2, 2)
    first = torch.equal(states[0], start)
    expect.true(first, "something was drawn before the data: draw(batch, generator) comes first")
    generator.set_state(states[1])
    levels = torch.rand(30, generator=generator)
    t = expect.tensor(field.get("times")[0], (30,), "t")
    expect.true(not torch.equal(t, levels), "the levels were drawn before the noise")
    apart = not torch.equal(states[2], states[1])
    expect.true(apart, "the next data were drawn before this step's noise and levels")


@train
def test_training_without_a_generator(student):
    """without a generator two runs differ, and conditions that are all 0 arrive"""
    fields = [spied_run(student, None, steps=1, batch=20, classes=1)[0] for _ in range(2)]
    one, two = (expect.tensor(f.get("times")[0], (20,), "t") for f in fields)
    expect.true(not torch.equal(one, two), "two runs had the same levels")
    y = fields[0].get("conditions")[0]
    expect.true(y is not None, "draw gave y, but the model did not get it")
    expect.close(y, torch.zeros(20), "each example must keep its own condition", what="y")


# --- networks with a state ---------------------------------------------------------------------


def in_use(student, generator):
    """A network in evaluation mode whose weights hold gradients, and its velocity."""
    net = student.new("checking.fakes.LinearField", dim=2)
    W, u, c = (torch.randn(k, generator=generator) for k in ((2, 2), (2,), (1, 2)))
    net.load({"W": W, "u": u, "c": c})
    net.call("put_to_use")
    return net, lambda x, t: x @ W.T + t * u + c


@loss
def test_a_network_in_use(student, generator):
    """a network in evaluation mode, whose weights hold gradients, is asked and left as it is"""
    x, z = (torch.randn(5, 2, generator=generator) for _ in range(2))
    t = torch.rand(5, generator=generator)
    net, velocity = in_use(student, generator)
    want = (velocity(x + t[:, None] * (z - x), t[:, None]) - (z - x)).square().mean()
    expect.close(student.flow.loss(net, x, z, t), want, "not the loss of this network")


@loss
def test_gradients_with_conditions(student, generator):
    """the gradient of the conditional loss reaches the weights, those of the conditions too"""
    x, z = (torch.randn(5, 2, generator=generator) for _ in range(2))
    t = torch.rand(5, generator=generator)
    y = torch.tensor([0, 2, 1, 2, 0])
    net = student.new("checking.fakes.LinearField", dim=2, classes=3)
    c = torch.randn(3, 2, generator=generator)
    net.load({"W": torch.zeros(2, 2), "u": torch.zeros(2), "c": c})
    (gradient,) = student.gradient("flow.loss", net, x, z, t, y, wrt=[net])
    error = (c[y] - (z - x)) / 5
    arrived = gradient["c"] is not None
    expect.true(arrived, "with conditions no gradient reaches the model's weights")
    want = torch.zeros(3, 2).index_add(0, y, error)
    expect.close(gradient["c"], want, "with conditions the gradient of the weights is wrong")


@sample
def test_sample_along_a_network_in_use(student, generator):
    """a network in evaluation mode with gradients in its weights is left as it is"""
    net, velocity = in_use(student, generator)
    z = torch.randn(3, 2, generator=generator)
    x = z
    for k in (4, 3, 2, 1):
        v = velocity(x, k / 4)
        x = x - v / 4
    got = student.flow.sample(net, z, 4)
    expect.close(got, x, "not the walk along this network")


@trajectory
def test_trajectory_along_a_network_in_use(student, generator):
    """a network in evaluation mode with gradients in its weights is left as it is"""
    net, velocity = in_use(student, generator)
    z = torch.randn(3, 2, generator=generator)
    frames = [z]
    x = z
    for k in (4, 3, 2, 1):
        v = velocity(x, k / 4)
        x = x - v / 4
        frames.append(x)
    got = student.flow.trajectory(net, z, 4)
    expect.close(got, torch.stack(frames), "not the walk along this network")


@sample_heun
def test_sample_heun_along_a_network_in_use(student, generator):
    """a network in evaluation mode with gradients in its weights is left as it is"""
    net, velocity = in_use(student, generator)
    z = torch.randn(3, 2, generator=generator)
    x = z
    for k in (4, 3, 2, 1):
        v = velocity(x, k / 4)
        v = (v + velocity(x - v / 4, (k - 1) / 4)) / 2
        x = x - v / 4
    got = student.flow.sample_heun(net, z, 4)
    expect.close(got, x, "not the walk along this network")


@sample_heun
def test_two_steps_have_their_middle_at_a_half(student, generator):
    """with T = 2 the model is asked at 1, ½, ½ and 0"""
    model = fakes.linear(1.0)
    student.flow.sample_heun(model, torch.ones(2, 2, dtype=torch.float64), 2)
    want = torch.tensor([1.0, 0.5, 0.5, 0.0])
    expect.close(model.levels(), want, "the levels are not 1, ½, ½, 0", atol=1e-7, rtol=0)


@train
def test_the_generator_itself_is_drawn_from(student, generator):
    """the generator is left where data, noise and levels of all steps leave it"""
    twin = generator.clone_state()

    def draw(n, g):
        return torch.randn(n, 2, generator=g), None

    field = student.new("checking.fakes.LinearField", dim=2)
    student.flow.train(field, draw, 3, batch=8, generator=generator, progress=False)
    for _ in range(3):
        for shape in ((8, 2), (8, 2), (8,)):
            (torch.rand if len(shape) == 1 else torch.randn)(shape, generator=twin)
    says = "another generator, or a copy, was drawn from: a second run would repeat the first"
    next_, want = (torch.rand(3, generator=g) for g in (generator, twin))
    expect.close(next_, want, says)
