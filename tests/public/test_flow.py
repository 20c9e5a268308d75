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
    expect.close(model.times[0], t, "t must reach the model as it came, (batch,)", what="t")
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


def asked(model, steps):
    """The levels at which a sampler asked the model, as a plain comparison with t = 1, …, 1/T."""
    want = torch.arange(steps, 0, -1).double() / steps
    expect.true(
        len(model.times) == len(want),
        f"{steps} steps take {len(want)} calls of the model",
        len(model.times),
        len(want),
    )
    says = f"{steps} steps ask for t = 1, 1 − 1/{steps}, …, 1/{steps}"
    expect.close(model.levels(), want, says, what="the levels asked for")


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
    expect.tensor(one, (), "S")
    expect.close(many, one, "S is a mean over examples, not a sum", what="S")


@straightness
def test_straightness_of_images(student, generator):
    """works for images: there and back in two steps has S = 4"""
    path = torch.zeros(3, 2, 1, 2, 2)
    path[1] = 1.0  # there and back: speeds 2 and −2, the whole way 0
    expect.close(
        student.flow.straightness(path), 4.0, "speeds ±2 against the whole way 0", what="S"
    )


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
    field, _, _ = spied_run(student, generator)
    times = field.get("times")
    expect.tensor(times[0], (128,), "t")
    t = torch.stack(times)
    expect.true(bool((t[0] != t[0, 0]).any()), "all examples of a batch have the same t")
    expect.true(bool((t[0] != t[1]).any()), "t must be drawn anew in every step")
    inside = bool(((t >= 0) & (t <= 1)).all())
    expect.true(inside, "t must be in [0, 1]", f"{t.min():.3g} to {t.max():.3g}", "0 to 1")
    far = (t.mean() - 0.5).abs() < 0.05 and (t.var() - 1 / 12).abs() < 0.015  # 1024 draws: 4 sigma
    expect.true(
        bool(far), "t must be uniform on [0, 1]", f"variance {t.var():.3f}", "variance 0.083"
    )


@train
def test_every_step_draws_fresh_noise(student, generator):
    """every step draws fresh unit Gaussian noise"""
    field, drawn, _ = spied_run(student, generator)
    t = torch.stack(field.get("times"))[..., None].double()
    x = torch.stack([d[2] for d in drawn]).double()
    expect.true(len(t) == len(x), "one draw of data a step", len(x), len(t))
    noise = (torch.stack(field.get("inputs")).double() - (1 - t) * x)[t.squeeze(-1) > 0.2]
    z = noise / t[t.squeeze(-1) > 0.2]
    good = z.mean().abs() < 0.15 and (z.var() - 1).abs() < 0.2  # about 1600 draws: 5 sigma
    got = f"mean {z.mean():.2f}, variance {z.var():.2f}"
    expect.true(bool(good), "(x_t − (1 − t) x) / t must be unit noise", got, "mean 0, variance 1")
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
    expect.close(field.state()["c"], twin.c.detach(), says, atol=2e-3, rtol=0, what="the bias")


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
