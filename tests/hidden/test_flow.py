"""Hidden graders of chapter 04: held to theory first (exact flows of Gaussian mixtures,
identities, orders of convergence)."""

import pytest
import torch

from cs231n_gen.checking import draws, expect, fakes
from cs231n_gen.given.training import Run
from cs231n_gen.truth import GaussianMixture

interpolate = pytest.mark.exercise("flow.interpolate")
loss = pytest.mark.exercise("flow.loss")
sample = pytest.mark.exercise("flow.sample", graph=False)
trajectory = pytest.mark.exercise("flow.trajectory", graph=False)
sample_heun = pytest.mark.exercise("flow.sample_heun", graph=False)
straightness = pytest.mark.exercise("flow.straightness")
train = pytest.mark.exercise("flow.train", changes=("model", "model's mode"))


def random_pair(generator, *shape, dtype=torch.float64):
    x = 2 + 3 * torch.randn(shape, generator=generator, dtype=dtype)
    return x, torch.randn(shape, generator=generator, dtype=dtype)


def mixture(generator, components=3, dim=2, labels=None):
    """A random mixture with distinct covariances."""
    means = 3 * torch.randn(components, dim, generator=generator, dtype=torch.float64)
    root = 0.4 * torch.randn(components, dim, dim, generator=generator, dtype=torch.float64)
    covs = root @ root.mT + 0.05 * torch.eye(dim, dtype=torch.float64)
    weights = 0.5 + torch.rand(components, generator=generator, dtype=torch.float64)
    return GaussianMixture(weights, means, covs, labels=labels)


def gaussian_flow(mean, std):
    """The exact velocity of one Gaussian N(μ, s² I), and where its flow takes noise: z ↦ μ + s z.

    Var(x_t) = (1 − t)² s² + t², Cov(v, x_t) = t − (1 − t) s², so v(x_t) = −μ + Cov/Var (x_t − (1 −
    t) μ).
    """

    def velocity(x, t, y=None):
        variance = ((1 - t) * std).square() + t**2
        return -mean + (t - (1 - t) * std**2) / variance * (x - (1 - t) * mean)

    return fakes.Recorder(velocity), lambda z: mean + std * z


def left_by_subtraction(steps):
    """What is left of 1 after 1/T was taken away T times: not always 0, in floating point."""
    t = 1.0
    for _ in range(steps):
        t -= 1 / steps
    return t


# T for which `while t > 0` makes a step too many
NOT_BY_SUBTRACTION = [T for T in range(51, 70) if left_by_subtraction(T) > 0]

# Numbers, one number, points in one dimension, one point, images, clips; the first: batches.
SHAPES = [(5,), (1,), (4, 1), (1, 3), (3, 3), (2, 3, 4, 4), (1, 1, 5, 5), (2, 2, 3, 2, 2)]

# What rounding leaves where all that is computed is a double, and where a level may be a float.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
FLOAT_LEVEL = {"atol": 1e-6, "rtol": 1e-6}


def labels_of_every_kind(generator):
    """Conditions: some, all 0, a single 0, of 32 bits."""
    n = draws.whole(generator, 40, 60)
    some = torch.randint(0, 9, (n,), generator=generator)
    return [some, torch.zeros(n, dtype=torch.int64), torch.tensor([0]), some.int()]


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
        expect.true(seen is not None, "a call of the model did not get the condition")
        expect.close(seen, y, "the condition changed on the way", atol=0, rtol=0)
        expect.true(seen.dtype == y.dtype, "the condition's dtype changed", seen.dtype, y.dtype)


REFUSED = "{} is refused"


def refuses_steps(sampler):
    """It refuses what is no number of steps."""
    z = torch.ones(2, 2)
    expect.true(sampler(fakes.linear(1.0), z, 1) is not None, "one step gave no result")
    for steps in (0, -1, 2.5):
        says = REFUSED.format(f"steps = {steps}")
        expect.raises("ValueError", lambda n=steps: sampler(fakes.linear(1.0), z, n), says)


def asked_at(model, batch, want):
    """The model was asked at these levels, every example at the same."""
    found = len(model.times)
    expect.true(found == len(want), "the number of calls of the model", found, len(want))
    seen = torch.stack([expect.tensor(t, (batch,), "t").double() for t in model.times])
    want = torch.as_tensor(want, dtype=torch.float64)[:, None].expand(-1, batch)
    expect.close(seen, want, "the levels that the model was asked at", **FLOAT_LEVEL)


def network(student, generator):
    """A linear network in float32 on the student's side, and its weights."""
    net = student.new("checking.fakes.LinearField", dim=2)
    weights = {
        "W": 0.5 * torch.randn(2, 2, generator=generator),
        "u": torch.randn(2, generator=generator),
        "c": torch.randn(1, 2, generator=generator),
    }
    net.load(weights)
    return net, weights


def field_of(weights):
    """The same network in float64."""
    W, u, c = (weights[n].double() for n in ("W", "u", "c"))
    return lambda x, t: x @ W.T + t * u + c


# --- flow.interpolate ---------------------------------------------------------------------------


@interpolate(weight=2)
@pytest.mark.parametrize("shape", [(), (3,), (3, 5, 4)], ids=["numbers", "points", "images"])
def test_the_ends_and_every_point_between(student, generator, shape):
    """x_t is (1 − t) x + t z, example by example, for any shape"""
    n = draws.whole(generator, 4, 9)
    x, z = random_pair(generator, n, *shape)
    t = torch.rand(n, generator=generator, dtype=torch.float64)
    t[0], t[1] = 0, 1
    x_t, _ = expect.unpack(student.flow.interpolate(x, z, t), ["x_t", "v"])
    want = torch.stack([(1 - t[i]) * x[i] + t[i] * z[i] for i in range(n)])
    expect.close(x_t, want, "x_t is not on the line from x to z at its own level", **DOUBLE)


@interpolate(weight=2)
def test_v_is_the_rate_at_which_x_t_moves(student, generator):
    """v is the derivative of x_t with respect to t"""
    x, z = random_pair(generator, 6, 2, 3)
    t = 0.1 + 0.8 * torch.rand(6, generator=generator, dtype=torch.float64)
    h = 1e-4
    ahead, _ = expect.unpack(student.flow.interpolate(x, z, t + h), ["x_t", "v"])
    behind, _ = expect.unpack(student.flow.interpolate(x, z, t - h), ["x_t", "v"])
    _, v = expect.unpack(student.flow.interpolate(x, z, t), ["x_t", "v"])
    expect.tensor(v, x.shape, "v")
    rate = (expect.tensor(ahead, x.shape) - expect.tensor(behind, x.shape)) / (2 * h)
    says = "v differs from the rate at which your own x_t moves with t"
    expect.close(
        v, rate, says, atol=1e-6, rtol=1e-6
    )  # central difference of a line: only rounding / h is left
    expect.close(v, z - x, "v must be z − x, whatever t is", atol=1e-9, rtol=1e-9)


@interpolate
def test_following_v_from_x_t_leads_to_both_ends(student, generator):
    """x_t − t v = x and x_t + (1 − t) v = z"""
    x, z = random_pair(generator, 7, 4)
    t = torch.rand(7, generator=generator, dtype=torch.float64)
    x_t, v = expect.unpack(student.flow.interpolate(x, z, t), ["x_t", "v"])
    x_t, v = expect.tensor(x_t, x.shape, "x_t"), expect.tensor(v, x.shape, "v")
    expect.close(
        x_t - t[:, None] * v, x, "x_t − t v must lead back to the data", atol=1e-9, rtol=1e-9
    )
    expect.close(
        x_t + (1 - t[:, None]) * v,
        z,
        "x_t + (1 − t) v must lead to the noise",
        atol=1e-9,
        rtol=1e-9,
    )


@interpolate
def test_as_many_examples_as_dimensions(student, generator):
    """levels belong to examples, also when a batch is as large as a row"""
    n = draws.whole(generator, 3, 7)
    x, z = random_pair(generator, n, n)
    t = torch.rand(n, generator=generator, dtype=torch.float64)
    x_t, _ = expect.unpack(student.flow.interpolate(x, z, t), ["x_t", "v"])
    want = x + t[:, None] * (z - x)
    expect.close(x_t, want, "t was used along the columns", atol=1e-9, rtol=1e-9)


@interpolate
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_precision_is_kept(student, generator, dtype):
    """the result has the precision of the data"""
    x, z = random_pair(generator, 5, 3, dtype=dtype)
    t = torch.rand(5, generator=generator, dtype=dtype)
    want = [x + t[:, None] * (z - x), z - x]
    found = expect.unpack(student.flow.interpolate(x, z, t), ["x_t", "v"])
    for value, right in zip(found, want, strict=True):
        expect.true(value.dtype == dtype, "the precision changed on the way", value.dtype, dtype)
        expect.close(value, right, "the values are not right", atol=1e-5, rtol=1e-5)


@interpolate(weight=2)
def test_a_batch_of_one_and_axes_of_length_one(student, generator):
    """batches of one and axes of length 1 keep their shape"""
    for shape in SHAPES:
        x, z = random_pair(generator, *shape)
        t = torch.rand(shape[0], generator=generator, dtype=torch.float64)
        x_t, v = expect.unpack(student.flow.interpolate(x, z, t), ["x_t", "v"])
        want = torch.stack([(1 - t[i]) * x[i] + t[i] * z[i] for i in range(len(x))])
        expect.close(x_t, want, f"x_t for x of shape {shape}", what="x_t", **DOUBLE)
        expect.close(v, z - x, f"v for x of shape {shape}", what="v", **DOUBLE)


@interpolate
def test_large_and_small_numbers(student, generator):
    """it is right at any scale, for levels next to both ends too"""
    t = torch.tensor([1e-9, 1e-6, 1e-3, 0.5, 1 - 1e-3, 1 - 1e-6], dtype=torch.float64)
    for scale in (1e-6, 1.0, 1e6):
        x, z = (scale * v for v in random_pair(generator, 6, 2))
        x_t, v = expect.unpack(student.flow.interpolate(x, z, t), ["x_t", "v"])
        moved = expect.tensor(x_t, x.shape, "x_t") - x
        says = f"x_t is not on the line for numbers of about {scale}"
        expect.close(moved, t[:, None] * (z - x), says, atol=1e-14 * scale, rtol=1e-10)
        expect.close(v, z - x, "v must be z − x", atol=0, rtol=1e-12)


@interpolate
def test_gradients_pass_through(student, generator):
    """gradients pass through x_t and v, to x, z and t"""
    x, z = random_pair(generator, 4, 3)
    t = torch.rand(4, generator=generator, dtype=torch.float64)
    found = student.gradient("flow.interpolate", x, z, t, wrt=[x, z, t])
    share = t[:, None].expand(4, 3)  # of the sum of all numbers of x_t and v
    for name, got, want in zip("xzt", found, [-share, 1 + share, (z - x).sum(1)], strict=True):
        expect.true(got is not None, f"no gradient reaches {name}")
        expect.close(got, want, f"the gradient with respect to {name}", **DOUBLE)


@interpolate
def test_what_does_not_fit_is_refused(student, generator):
    """x and z must be of one shape, and t one level for each example"""
    x, z = random_pair(generator, 5, 3)
    t, call = torch.rand(5, generator=generator, dtype=torch.float64), student.flow.interpolate
    for other in (z[:1], z[:4], z[:, :1], z.T, z[0], z[None]):
        says = f"z of shape {tuple(other.shape)} for x of shape (5, 3) is refused"
        expect.raises("ValueError", lambda o=other: call(x, o, t), says)
        expect.raises("ValueError", lambda o=other: call(o, z, t), says)
    for other in (t[0], t[:1], t[:4], t[:, None], t[None]):
        says = f"t of shape {tuple(other.shape)} for 5 examples is refused"
        expect.raises("ValueError", lambda o=other: call(x, z, o), says)
    x_t, v = expect.unpack(call(x, z, t), ["x_t", "v"])
    expect.close(x_t, x + t[:, None] * (z - x), "x_t", **DOUBLE)
    expect.close(v, z - x, "v", **DOUBLE)


# --- flow.loss ----------------------------------------------------------------------------------


@loss(weight=2)
def test_the_exact_velocity_reaches_the_bayes_floor(student, generator):
    """the exact velocity of a mixture has the irreducible loss, and no net less"""
    truth = mixture(generator)
    n = 20_000
    x = truth.sample(n, generator)
    z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    t = 0.1 + 0.8 * torch.rand(1, generator=generator, dtype=torch.float64).expand(n)
    value = student.flow.loss(lambda x_t, t: truth.velocity(x_t, t), x, z, t)
    x_t = x + t[:, None] * (z - x)
    errors = (truth.velocity(x_t, t) - (z - x)).square().mean(1)
    sigma = float(errors.std() / n**0.5)
    floor = float(truth.irreducible_loss(float(t[0])))
    says = "for E[v | x_t] as the model, the loss must be the irreducible loss"
    expect.close(value, floor, says, atol=6 * sigma, rtol=0)


@loss(weight=2)
@pytest.mark.parametrize("shape", [(3,), (1, 4, 4)], ids=["points", "images"])
def test_excess_over_the_best_is_the_squared_distance(student, generator, shape):
    """the loss is the mean square of prediction − v, for points and images"""
    n = draws.whole(generator, 5, 12)
    x, z = random_pair(generator, n, *shape)
    t = torch.rand(n, generator=generator, dtype=torch.float64)
    off = 20 * torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    value = student.flow.loss(lambda x_t, t: (z - x) + off, x, z, t)
    expect.close(
        value,
        off.square().mean(),
        "it is not the mean square over everything",
        rtol=1e-8,
        atol=1e-8,
    )


@loss
def test_the_model_is_asked_once_at_x_t_and_t(student, generator):
    """the model sees x_t and the levels as they came"""
    x, z = random_pair(generator, 6, 2)
    t = torch.rand(6, generator=generator, dtype=torch.float64)
    t[0], t[1], t[2] = 0, 1, 1e-9
    model = fakes.linear(0.5)
    student.flow.loss(model, x, z, t)
    expect.true(len(model.times) == 1, "the model is asked once", len(model.times), 1)
    expect.close(model.times[0], t, "the levels changed on the way to the model", atol=0, rtol=0)
    expect.close(
        model.inputs[0], x + t[:, None] * (z - x), "the model did not see x_t", atol=1e-9, rtol=1e-9
    )


@loss
def test_conditions_reach_the_model(student, generator):
    """conditions reach the model unchanged, and none is made up"""
    x, z = random_pair(generator, 6, 2)
    t = torch.rand(6, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 9, (6,), generator=generator)
    model = fakes.by_label()
    value = student.flow.loss(model, x, z, t, y)
    x_t = x + t[:, None] * (z - x)
    error = y[:, None] + t[:, None] * x_t - (z - x)
    expect.close(
        value, error.square().mean(), "the conditional prediction is not used", rtol=1e-8, atol=1e-8
    )
    plain = fakes.linear(1.0)
    student.flow.loss(plain, x, z, t)
    expect.true(plain.conditions[0] is None, "a condition was passed although none was given")


@loss(weight=2)
def test_gradients_of_the_weights(student, generator):
    """the gradient with respect to the weights is that of the mean square"""
    x, z = random_pair(generator, 32, 2, dtype=torch.float32)
    t = torch.rand(32, generator=generator)
    net = student.new("checking.fakes.LinearField", dim=2)
    weights = {
        "W": torch.randn(2, 2, generator=generator),
        "u": torch.ones(2),
        "c": torch.ones(1, 2),
    }
    net.load(weights)
    (gradient,) = student.gradient("flow.loss", net, x, z, t, wrt=[net])
    x_t = x + t[:, None] * (z - x)
    error = x_t @ weights["W"].T + t[:, None] + 1 - (z - x)
    want = {"W": error.T @ x_t / 32, "u": (t[:, None] * error).mean(0), "c": error.mean(0)[None]}
    for name, value in want.items():
        arrived = gradient[name] is not None
        expect.true(arrived, f"no gradient reaches the model's weights ({name})")
        expect.close(
            gradient[name], value, f"the gradient of {name} is wrong", atol=1e-4, rtol=1e-3
        )


@loss
def test_the_mean_is_over_everything_for_any_shape(student, generator):
    """one number for any shape, a batch of one too, however large or small the errors are"""
    for shape in [s for s in SHAPES if len(s) > 1] + [(300, 2)]:
        for scale in (1e-4, 1e4):
            x, z = (50 * a for a in random_pair(generator, *shape))
            t = torch.rand(shape[0], generator=generator, dtype=torch.float64)
            off = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
            model = fakes.Recorder(lambda x_t, t, y, v=z - x, off=off: v + off)
            value = student.flow.loss(plain(model, shape), x, z, t)
            says = f"the mean square of errors of about {scale}, of shape {shape}"
            expect.close(value, off.square().mean(), says, atol=0, rtol=1e-8)


@loss
def test_every_kind_of_label(student, generator):
    """labels that are all 0, a single one, and labels of 32 bits reach the model as they came"""
    for y in labels_of_every_kind(generator):
        n = len(y)
        x, z = random_pair(generator, n, 2)
        t = torch.rand(n, generator=generator, dtype=torch.float64)
        model = fakes.by_label()
        value = student.flow.loss(model, x, z, t, y)
        error = y[:, None] + t[:, None] * (x + t[:, None] * (z - x)) - (z - x)
        same_conditions(model, y)
        says = "the conditional prediction is not used"
        expect.close(value, error.square().mean(), says, **DOUBLE)


@loss
def test_the_loss_of_a_network_in_float32(student, generator):
    """a network in float32 can be asked, and every example counts the same"""
    x, z = random_pair(generator, 40, 2, dtype=torch.float32)
    t = torch.rand(40, generator=generator)
    net, weights = network(student, generator)
    value = student.flow.loss(net, x, z, t)
    seen = net.get("times")[0].dtype
    expect.true(seen == t.dtype, "the levels' precision changed on the way", seen, t.dtype)
    x, z, t = x.double(), z.double(), t.double()[:, None]
    error = field_of(weights)(x + t * (z - x), t) - (z - x)
    expect.close(value, error.square().mean(), "the mean square", atol=0, rtol=1e-5)


# --- flow.sample --------------------------------------------------------------------------------


@sample(weight=2)
def test_euler_is_exact_for_one_linear_field(student, generator):
    """T steps along v = a x multiply by (1 − a/T)^T"""
    a = float(0.5 + torch.rand(1, generator=generator))
    steps = draws.whole(generator, 3, 30)
    z = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    x = student.flow.sample(fakes.linear(a), z, steps)
    expect.close(x, z * (1 - a / steps) ** steps, "Euler's product for v = a x", **FLOAT_LEVEL)


@sample(weight=2)
def test_the_levels_are_1_down_to_1_over_T(student, generator):
    """the model is asked T times, at t = 1, …, 1/T, for T whose fractions are not exact too"""
    some = NOT_BY_SUBTRACTION[draws.whole(generator, 0, len(NOT_BY_SUBTRACTION))]
    for steps in (1, 10, 49, some):  # for 49, arange(1, 0, -1 / T) has a level too many
        model = fakes.ramp(1.0)
        x = student.flow.sample(model, torch.zeros(3, 2, dtype=torch.float64), steps)
        asked_at(model, 3, torch.arange(steps, 0, -1) / steps)
        want = torch.full((3, 2), -(1 + 1 / steps) / 2)
        expect.close(x, want, f"{steps} steps along v = t", **FLOAT_LEVEL)


@sample(weight=2)
def test_first_order_toward_the_exact_flow(student, generator):
    """twice the steps halve the distance to the exact flow of a Gaussian"""
    mean, std = 2.0, torch.tensor(0.5, dtype=torch.float64)
    model, exact = gaussian_flow(mean, std)
    z = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    far, near = (
        (expect.tensor(student.flow.sample(model, z, T), z.shape) - exact(z)).abs().mean()
        for T in (10, 20)
    )
    expect.true(bool(near < 0.05), "20 steps do not end at the data", near, "less than 0.05")
    order = float(torch.log2(far / near))  # 1 + O(1/T): 0.953 whatever z
    expect.true(0.85 < order < 1.15, "the error must fall as 1/T", f"1/T^{order:.2f}", "1/T")


@sample(weight=2)
def test_the_flow_of_a_mixture_ends_in_the_mixture(student, generator):
    """noise carried along the exact velocity of a mixture arrives with its mean and covariance"""
    truth = mixture(generator, components=2)
    n = 1500
    z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    x = student.flow.sample(lambda x_t, t: truth.velocity(x_t, t.double()), z, 20)
    x = expect.tensor(x, z.shape)
    mean = (truth.weights[:, None] * truth.means).sum(0)
    spread = float(truth.sample(4000, torch.Generator().manual_seed(0)).std(0).max())
    bound = spread * (5 / n**0.5 + 0.05)  # 5 standard errors, and Euler's bias: seen 0.025
    expect.close(x.mean(0), mean, "the samples have another mean than the data", atol=bound, rtol=0)


@sample
def test_noise_of_any_shape(student, generator):
    """noise of any shape and scale, a batch of one too"""
    for shape in SHAPES:
        for scale in (1e-5, 1e5):
            z = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
            x = student.flow.sample(plain(fakes.linear(1.0), shape), z, 2)
            says = f"two steps along v = x halve x twice, for z of shape {shape}"
            expect.close(x, z / 4, says, atol=0, rtol=1e-11)


@sample
def test_many_steps_in_double_precision(student, generator):
    """128 steps are exact in float64"""
    a = 0.5 + torch.rand(1, generator=generator, dtype=torch.float64)
    z = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    x = student.flow.sample(fakes.linear(float(a)), z, 128)  # 1/128 is exact, in float32 too
    says = "rounded to fewer digits than z has, or fewer steps than asked for"
    expect.close(x, z * (1 - a / 128) ** 128, says, **DOUBLE)


@sample
def test_a_network_in_float32_is_walked(student, generator):
    """a network in float32 can be asked all the way"""
    net, weights = network(student, generator)
    z, steps = torch.randn(4, 2, generator=generator), draws.whole(generator, 3, 7)
    x, field = z.double(), field_of(weights)
    for i in range(steps, 0, -1):
        x = x - field(x, i / steps) / steps
    expect.close(student.flow.sample(net, z, steps), x, "Euler's steps of a network")


@sample
def test_every_kind_of_label_along_the_walk(student, generator):
    """labels that are all 0, a single one, and labels of 32 bits reach every call as they came"""
    for y in labels_of_every_kind(generator):
        model, z = fakes.by_label(), torch.ones(len(y), 2, dtype=torch.float64)
        x = student.flow.sample(model, z, 2, y)  # v = y + t x
        same_conditions(model, y)
        half = z - (y[:, None] + z) / 2
        want = half - (y[:, None] + half / 2) / 2
        expect.close(x, want, "two steps along v = y + t x", **DOUBLE)


@sample(weight=2)
def test_levels_in_every_form(student, generator):
    """`times` are a list, a tuple or a tensor, with and without the ends 1 and 0"""
    z = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    k = draws.whole(generator, 1, 16) / 64  # exact in float32, as all levels here
    for times in ([1.0, 1 - k, 0.5, k, 0.0], [0.75, 0.5, k], [1.0, 0.0], [k, k / 2]):
        ends = torch.tensor(times, dtype=torch.float64)
        want = z * (1 - 0.7 * (ends[:-1] - ends[1:])).prod()
        for form in (times, tuple(times), ends, ends.float()):
            model = fakes.linear(0.7)
            x = student.flow.sample(model, z, len(times) - 1, times=form)
            asked_at(model, 3, ends[:-1])
            says = f"the steps from level to level of {times}, given as {type(form).__name__}"
            expect.close(x, want, says, **DOUBLE)


@sample
def test_each_label_gets_its_own_flow(student, generator):
    """with labels each sample arrives at its own component"""
    means = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]], dtype=torch.float64)
    truth = GaussianMixture.isotropic(means, 0.3, labels=torch.tensor([0, 1, 2]))
    y = torch.randint(0, 3, (60,), generator=generator)
    z = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    x = student.flow.sample(lambda x_t, t, y: truth.velocity(x_t, t.double(), y), z, 12, y)
    nearest = torch.cdist(expect.tensor(x, z.shape).double(), means).argmin(1)
    expect.close(nearest, y, "some samples end at another label's component")


@sample
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_images_and_precision(student, generator, dtype):
    """images keep their shape and precision"""
    z = torch.randn(2, 3, 4, 4, generator=generator, dtype=dtype)
    model = fakes.linear(1.0)
    x = student.flow.sample(model, z, 3)
    expect.close(x, z.double() * (2 / 3) ** 3, "three steps along v = x")
    expect.true(x.dtype == dtype, "the precision changed on the way", x.dtype, dtype)
    kept = all(seen.dtype == dtype for seen in model.inputs)
    expect.true(kept, "the model was asked in another precision than the noise has")


@sample(weight=2)
def test_uneven_levels(student, generator):
    """on falling levels t_0, …, t_T each step along v = a x multiplies by 1 − a (t_i − t_{i+1})"""
    steps = draws.whole(generator, 3, 12)
    times = torch.rand(steps + 1, generator=generator, dtype=torch.float64).sort().values.flip(0)
    a = float(0.5 + torch.rand(1, generator=generator))
    z = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    model = fakes.linear(a)
    x = student.flow.sample(model, z, steps, times=times)
    expect.close(
        x, z * (1 - a * (times[:-1] - times[1:])).prod(), "the product", atol=1e-7, rtol=1e-7
    )
    expect.true(len(model.times) == steps, "T + 1 levels are T calls", len(model.times), steps)
    expect.close(model.levels(), times[:-1], "the levels asked for", atol=1e-6, rtol=1e-6)


@sample
def test_even_levels_are_what_is_usual(student, generator):
    """even levels from 1 to 0, given as `times`, give the samples that come without them"""
    steps = draws.whole(generator, 3, 12)
    z = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    model, exact = gaussian_flow(1.5, torch.tensor(0.6, dtype=torch.float64))
    levels = [i / steps for i in range(steps, -1, -1)]
    one = expect.tensor(student.flow.sample(model, z, steps), z.shape)
    two = student.flow.sample(model, z, steps, times=levels)
    expect.close(two, one, "the same levels lead elsewhere", atol=1e-7, rtol=1e-7)
    off = float((one - exact(z)).abs().mean() / (z - exact(z)).abs().mean())
    expect.true(off < 0.5, "the walk does not go toward the data")


@sample
def test_what_is_no_walk_is_refused(student, generator):
    """steps that are no whole number of at least 1 are refused, and times that do not fit"""
    refuses_steps(student.flow.sample)
    call, z = student.flow.sample, torch.ones(2, 2)
    for times in ([1.0, 0.0], [1.0, 0.5, 0.5], [0.0, 0.5, 1.0], [1.2, 0.5, 0.0], [1.0, 0.5, -0.1]):
        for form in (times, torch.tensor(times)):
            says = f"2 steps with times = {times} is refused"
            expect.raises("ValueError", lambda t=form: call(fakes.linear(1), z, 2, times=t), says)


# --- flow.trajectory ----------------------------------------------------------------------------


@trajectory(weight=2)
def test_every_frame_of_a_linear_field(student, generator):
    """frame k of v = a x is z (1 − a/T)^k"""
    a, steps = 0.5 + float(torch.rand(1, generator=generator)), draws.whole(generator, 3, 16)
    z = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    path = student.flow.trajectory(fakes.linear(a), z, steps)
    want = torch.stack([z * (1 - a / steps) ** k for k in range(steps + 1)])
    expect.close(path, want, "the frames of v = a x", **FLOAT_LEVEL)


@trajectory(weight=2)
def test_each_step_is_the_velocity_where_it_begins(student, generator):
    """each step is −v/T, v taken at the frame before, at its level"""
    truth = mixture(generator)
    z = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    steps = 12
    path = student.flow.trajectory(lambda x, t: truth.velocity(x, t.double()), z, steps)
    path = expect.tensor(path, (steps + 1, 20, 2), "the path")
    expect.close(path[0], z, "the first frame must be the noise", atol=1e-9, rtol=1e-9)
    for k in range(steps):
        v = truth.velocity(path[k], 1 - k / steps)
        says = f"frame {k + 1} is not one Euler step after frame {k}"
        expect.close(path[k + 1], path[k] - v / steps, says, atol=1e-4, rtol=1e-4)


@trajectory
def test_the_path_bends_where_the_field_does(student, generator):
    """between its ends the path follows the field, not the chord"""
    z = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    path = student.flow.trajectory(fakes.ramp(0.2), z, 10)
    k = torch.arange(11.0, dtype=torch.float64)
    moved = 0.2 * (k - k * (k - 1) / 20) / 10
    expect.close(
        path, z - moved[:, None, None], "along v = t/5 the steps shrink", atol=1e-6, rtol=1e-6
    )


@trajectory
def test_labels_along_the_path(student, generator):
    """conditions reach every call"""
    model, y = fakes.by_label(), torch.tensor([4, 0, 2])
    z = torch.randn(3, 1, 2, 2, generator=generator, dtype=torch.float64)
    path = expect.tensor(student.flow.trajectory(model, z, 3, y), (4, 3, 1, 2, 2), "the path")
    for condition in model.conditions:
        expect.true(condition is not None, "a call of the model did not get the condition")
        expect.close(condition, y, "the condition changed on the way")
    expect.close(path[1], z - (y[:, None, None, None] + z) / 3, "the first step along v = y + t x")


@trajectory(weight=2)
def test_levels_along_a_path(student, generator):
    """the model is asked T times, at t = 1, …, 1/T, for T whose fractions are not exact too"""
    some = NOT_BY_SUBTRACTION[draws.whole(generator, 0, len(NOT_BY_SUBTRACTION))]
    for steps in (1, 10, 49, some):
        model = fakes.ramp(1.0)
        path = student.flow.trajectory(model, torch.zeros(3, 2, dtype=torch.float64), steps)
        asked_at(model, 3, torch.arange(steps, 0, -1) / steps)
        k = torch.arange(steps + 1, dtype=torch.float64)
        want = -(k - k * (k - 1) / (2 * steps)) / steps
        want = want[:, None, None].expand(-1, 3, 2)
        expect.close(path, want, f"the frames of {steps} steps along v = t", **FLOAT_LEVEL)


@trajectory
def test_paths_of_any_shape(student, generator):
    """noise of any shape and scale, a batch of one too"""
    for shape in SHAPES:
        for scale in (1e-5, 1e5):
            z = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
            path = student.flow.trajectory(plain(fakes.linear(0.5), shape), z, 4)
            want = torch.stack([z * 0.875**k for k in range(5)])
            says = f"the frames of v = x / 2 for z of shape {shape}"
            expect.close(path, want, says, atol=0, rtol=1e-11)


@trajectory
def test_long_paths_in_double_precision(student, generator):
    """the frames of 128 steps are exact in float64"""
    z = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    path = student.flow.trajectory(fakes.linear(1.0), z, 128)  # 1/128 is exact, in float32 too
    want = torch.stack([z * (1 - 1 / 128) ** k for k in range(129)])
    says = "rounded to fewer digits than z has, or fewer steps than asked for"
    expect.close(path, want, says, **DOUBLE)


@trajectory
def test_every_kind_of_label_along_a_path(student, generator):
    """labels that are all 0, a single one, and labels of 32 bits reach every call as they came"""
    for y in labels_of_every_kind(generator):
        model, z = fakes.by_label(), torch.ones(len(y), 2, dtype=torch.float64)
        path = expect.tensor(student.flow.trajectory(model, z, 2, y), (3, len(y), 2), "the path")
        same_conditions(model, y)
        half = z - (y[:, None] + z) / 2  # v = y + t x
        want = torch.stack([z, half, half - (y[:, None] + half / 2) / 2])
        expect.close(path, want, "two steps along v = y + t x", **DOUBLE)


@trajectory
def test_a_network_in_float32_along_a_path(student, generator):
    """a network in float32 can be asked all the way"""
    net, weights = network(student, generator)
    z, steps = torch.randn(4, 2, generator=generator), draws.whole(generator, 3, 7)
    frames, field = [z.double()], field_of(weights)
    for i in range(steps, 0, -1):
        frames.append(frames[-1] - field(frames[-1], i / steps) / steps)
    path = student.flow.trajectory(net, z, steps)
    expect.close(path, torch.stack(frames), "Euler's steps of a network")


@trajectory
def test_the_path_keeps_its_precision(student, generator):
    """the path has the precision of the noise"""
    z = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    path = expect.tensor(student.flow.trajectory(fakes.linear(0.3), z, 4), (5, 3, 2), "the path")
    expect.true(path.dtype == z.dtype, "the precision changed on the way", path.dtype, z.dtype)


@trajectory
def test_no_path_without_steps(student):
    """steps that are no whole number of at least 1 are refused"""
    refuses_steps(student.flow.trajectory)


# --- flow.sample_heun ---------------------------------------------------------------------------


@sample_heun(weight=2)
def test_heuns_factor_for_a_linear_field(student, generator):
    """T steps along v = a x multiply by (1 − a/T + a²/(2 T²))^T"""
    a = 0.5 + float(torch.rand(1, generator=generator))
    steps = draws.whole(generator, 2, 16)
    z = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    h = a / steps
    x = student.flow.sample_heun(fakes.linear(a), z, steps)
    want = z * (1 - h + h * h / 2) ** steps
    expect.close(x, want, "Heun's product for v = a x", atol=1e-9, rtol=1e-9)


@sample_heun(weight=2)
def test_second_order_toward_the_exact_flow(student, generator):
    """twice the steps quarter the distance to the exact flow of a Gaussian"""
    std = torch.tensor(0.5, dtype=torch.float64)
    model, exact = gaussian_flow(2.0, std)
    z = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    far, near = (
        (expect.tensor(student.flow.sample_heun(model, z, T), z.shape) - exact(z)).abs().mean()
        for T in (10, 20)
    )
    expect.true(bool(near < 1e-3), "20 steps do not end at the data", near, "less than 0.001")
    order = float(torch.log2(far / near))  # 2 + O(1/T): 1.76 whatever z
    expect.true(1.7 < order < 2.3, "the error must fall as 1/T²", f"1/T^{order:.2f}", "1/T²")


@sample_heun(weight=2)
def test_both_calls_of_each_step(student, generator):
    """each step asks at (x, t) and at (x − v/T, t − 1/T)"""
    steps = draws.whole(generator, 3, 9)
    model = fakes.Recorder(lambda x, t, y: x.sin() + t)
    z = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    student.flow.sample_heun(model, z, steps)
    expect.true(
        len(model.times) == 2 * steps, "T steps take 2 T calls", len(model.times), 2 * steps
    )
    k = torch.arange(steps, dtype=torch.float64)
    want = torch.stack([1 - k / steps, 1 - (k + 1) / steps], dim=1).flatten()
    expect.close(model.levels(), want, "the levels asked for", atol=1e-5, rtol=1e-5)
    for i in range(0, 2 * steps, 2):
        x = model.inputs[i]
        trial = x - (x.sin() + want[i]) / steps
        expect.close(
            model.inputs[i + 1],
            trial,
            "the second call is not at the trial step",
            atol=1e-5,
            rtol=1e-5,
        )


@sample_heun
def test_labels_in_both_calls(student, generator):
    """conditions reach both calls of each step"""
    model, y = fakes.by_label(), torch.tensor([4, 0, 2])
    student.flow.sample_heun(model, torch.zeros(3, 1, 2, 2, dtype=torch.float64), 2, y)
    calls = len(model.conditions)
    expect.true(calls == 4, "two steps take four calls", calls, 4)
    for condition in model.conditions:
        expect.true(condition is not None, "a call of the model did not get the condition")
        expect.close(condition, y, "the condition changed on the way")


@sample_heun
def test_heun_needs_fewer_calls_than_euler(student, generator):
    """on a mixture 10 steps of Heun end nearer the exact flow than 20 of Euler"""
    truth = mixture(generator, components=2)
    z = torch.randn(300, 2, generator=generator, dtype=torch.float64)

    def velocity(x, t):
        return truth.velocity(x, t.double())

    def euler(steps):
        x = z
        for i in range(steps, 0, -1):
            x = x - truth.velocity(x, i / steps) / steps
        return x

    exact = euler(400)
    heun = expect.tensor(student.flow.sample_heun(velocity, z, 10), z.shape)
    ours, theirs = (heun - exact).abs().mean(), (euler(20) - exact).abs().mean()
    expect.true(
        bool(ours < theirs), "Heun is no better than Euler here", ours, f"below {theirs:.4f}"
    )


@sample_heun(weight=2)
def test_levels_of_heun(student, generator):
    """2 T calls, the last at t = 0, for T whose fractions are not exact too"""
    some = NOT_BY_SUBTRACTION[draws.whole(generator, 0, len(NOT_BY_SUBTRACTION))]
    for steps in (1, 10, 49, some):
        model = fakes.ramp(1.0)
        x = student.flow.sample_heun(model, torch.zeros(3, 2, dtype=torch.float64), steps)
        k = torch.arange(steps, 0, -1)
        asked_at(model, 3, torch.stack([k, k - 1], dim=1).flatten() / steps)
        want = torch.full((3, 2), -0.5)
        expect.close(x, want, f"{steps} steps along v = t are exact", **FLOAT_LEVEL)


@sample_heun
def test_heun_for_any_shape(student, generator):
    """noise of any shape and scale, a batch of one too"""
    for shape in SHAPES:
        for scale in (1e-5, 1e5):
            z = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
            x = student.flow.sample_heun(plain(fakes.linear(1.0), shape), z, 4)
            want = z * (1 - 1 / 4 + 1 / 32) ** 4
            expect.close(x, want, f"4 steps along v = x, z of shape {shape}", atol=0, rtol=1e-11)


@sample_heun
def test_many_steps_of_heun_in_double_precision(student, generator):
    """128 steps are exact in float64"""
    z = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    x = student.flow.sample_heun(fakes.linear(1.0), z, 128)  # 1/128 is exact, in float32 too
    says = "rounded to fewer digits than z has, or fewer steps than asked for"
    expect.close(x, z * (1 - 1 / 128 + 1 / 2**15) ** 128, says, **DOUBLE)


@sample_heun
def test_every_kind_of_label_in_both_calls(student, generator):
    """labels that are all 0, a single one, and labels of 32 bits reach every call as they came"""
    for y in labels_of_every_kind(generator):
        model, z = fakes.by_label(), torch.ones(len(y), 2, dtype=torch.float64)
        x = student.flow.sample_heun(model, z, 1, y)  # v = y + t x
        same_conditions(model, y)
        says = "one step along v = y + t x"
        expect.close(x, z - (2 * y[:, None] + z) / 2, says, **DOUBLE)


@sample_heun
def test_heun_with_a_network_in_float32(student, generator):
    """a network in float32 can be asked all the way, and the result is in float32"""
    net, weights = network(student, generator)
    z, T = torch.randn(4, 2, generator=generator), draws.whole(generator, 3, 7)
    x, field = z.double(), field_of(weights)
    for i in range(T, 0, -1):
        v = field(x, i / T)
        x = x - (v + field(x - v / T, (i - 1) / T)) / (2 * T)
    found = student.flow.sample_heun(net, z, T)
    expect.close(found, x, "Heun's steps of a network")
    expect.true(found.dtype == z.dtype, "the precision changed on the way", found.dtype, z.dtype)


@sample_heun
def test_no_heun_without_steps(student):
    """steps that are no whole number of at least 1 are refused"""
    refuses_steps(student.flow.sample_heun)


# --- flow.straightness --------------------------------------------------------------------------


@straightness(weight=2)
def test_the_definition_on_a_random_path(student, generator):
    """S of a random path equals its definition"""
    path = torch.randn(draws.whole(generator, 4, 9), 5, 3, generator=generator, dtype=torch.float64)
    steps = len(path) - 1
    want = sum(
        ((path[-1] - path[0]) - steps * (path[k + 1] - path[k])).square().mean()
        for k in range(steps)
    )
    expect.close(
        student.flow.straightness(path), want / steps, "S of a random path", rtol=1e-11, atol=0
    )


@straightness
def test_the_smallest_path(student, generator):
    """one step is always straight, a detour is not"""
    path = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    expect.close(student.flow.straightness(path), 0.0, "one step is the whole way")
    detour = torch.stack([path[0], path[1] + 1, path[1]])
    expect.true(float(student.flow.straightness(detour)) > 0, "S of a detour is positive")


@straightness(weight=2)
def test_straightness_is_the_variance_of_the_speed(student, generator):
    """S is the mean square of the speed less the square of the whole way"""
    path = torch.randn(
        draws.whole(generator, 10, 30), 4, 2, 2, generator=generator, dtype=torch.float64
    ).cumsum(0)
    steps = len(path) - 1
    speed = (path[1:] - path[:-1]) * steps
    want = speed.square().mean() - (path[-1] - path[0]).square().mean()
    says = "the whole way is the mean speed, so S must be the speeds' variance"
    expect.close(student.flow.straightness(path), want, says, rtol=1e-5, atol=1e-5)


@straightness
def test_nothing_but_speed_counts(student, generator):
    """moving the whole path, or adding a constant velocity, changes nothing"""
    path = torch.randn(6, 4, 2, generator=generator, dtype=torch.float64)
    line = torch.linspace(0, 3, 6, dtype=torch.float64)[:, None, None]
    one = torch.as_tensor(student.flow.straightness(path))
    expect.true(one.numel() == 1 and float(one) > 0, "S of a random path is positive")
    two = student.flow.straightness(path + 7 + line)
    expect.close(two, one, "a constant velocity on top changed S", rtol=1e-6, atol=1e-6)


@straightness(weight=2)
def test_paths_of_any_shape_are_measured(student, generator):
    """paths of numbers, points and images, of one example, of few and many steps"""
    sizes = [(6, *shape) for shape in SHAPES] + [(3, 4, 2), (130, 2, 1), (3, 300, 1)]
    for shape in sizes:
        path = torch.randn(shape, generator=generator, dtype=torch.float64)
        steps = len(path) - 1
        whole = path[-1] - path[0]
        want = torch.stack(
            [(whole - steps * (path[k + 1] - path[k])).square().mean() for k in range(steps)]
        )
        says = f"S of a random path of shape {shape}"
        expect.close(student.flow.straightness(path), want.mean(), says, atol=0, rtol=1e-11)


@straightness
def test_a_fast_path_far_away(student, generator):
    """a fast path far from 0 loses no digits: squares of speeds are not subtracted"""
    k = torch.randint(0, 2048, (9, 5, 2), generator=generator) / 1024  # exact, in float32 too
    path = k + 1000 + 250 * torch.arange(9.0)[:, None, None]
    whole, speed = path[-1] - path[0], 8 * path.diff(dim=0)
    want = (whole - speed).double().square().mean()
    says = "digits are lost: subtract the speeds before you square"
    expect.close(student.flow.straightness(path), want, says, atol=0, rtol=1e-5)


@straightness
def test_a_single_frame_is_no_path(student):
    """fewer than 2 frames are refused"""
    line = torch.tensor([[[1.0]], [[3.0]]])
    expect.close(student.flow.straightness(line), 0.0, "2 frames are straight", what="S")
    for frames in (1, 0):
        says = REFUSED.format(f"{frames} frames")
        expect.raises("ValueError", lambda n=frames: student.flow.straightness(line[:n]), says)


# --- flow.train ---------------------------------------------------------------------------------


def spied_run(student, generator, steps, batch=256, classes=0, mean=2.0, **options):
    """Train a linear field that remembers what it was asked; returns it, the draws and the
    history."""
    field = student.new("checking.fakes.LinearField", dim=2, classes=classes)
    drawn = []

    def draw(n, g):
        y = torch.randint(0, max(1, classes), (n,), generator=g)
        x = mean + 3 * y[:, None] + 0.5 * torch.randn(n, 2, generator=g)
        drawn.append((n, x, y))
        return x, y if classes else None

    history = student.flow.train(
        field, draw, steps, batch=batch, generator=generator, progress=False, **options
    )
    return field, drawn, history


def noise_of(field, drawn, above=0.1):
    """The noise of every step, (steps, batch, *shape), NaN at levels too low to tell."""
    seen, times = field.get("inputs"), field.get("times")
    expect.true(len(drawn) == len(seen), "one draw and one call a step", len(seen), len(drawn))
    noise = []
    for x_t, t, x in zip(seen, times, drawn, strict=True):
        expect.tensor(x_t, x.shape, "x_t")
        t = expect.tensor(t, x.shape[:1], "t").double().reshape(-1, *[1] * (x.dim() - 1))
        noise.append(torch.where(t > above, (x_t.double() - (1 - t) * x) / t, torch.nan))
    return torch.stack(noise)


def related(a, b):
    """How many standard errors the mean of a · b is from 0, for unit noise; NaN are left out."""
    product = (a * b).flatten()
    product = product[~product.isnan()]
    return abs(float(product.mean())) * len(product) ** 0.5


@train(weight=2)
def test_fresh_data_in_every_step(student, generator):
    """every step trains on its own fresh batch of the size asked for"""
    batch = draws.whole(generator, 60, 90)
    field, drawn, _ = spied_run(student, generator, steps=5, batch=batch)
    expect.true(len(drawn) == 5, "one draw a step is expected", len(drawn), 5)
    expect.true(all(n == batch for n, _, _ in drawn), "draw was not asked for `batch` examples")
    seen = field.get("inputs")
    expect.true(len(seen) == 5, "the model must be asked once a step", len(seen), 5)
    for x_t in seen:
        expect.tensor(x_t, (batch, 2), "x_t")


@train(weight=2)
def test_levels_are_uniform_and_independent(student, generator):
    """levels are uniform on [0, 1], drawn for each example and step"""
    field, _, _ = spied_run(student, generator, steps=4, batch=5000)
    t = torch.stack([expect.tensor(t, (5000,), "t") for t in field.get("times")]).double()
    ordered = t.flatten().sort().values
    n = len(ordered)
    grid = torch.arange(1, n + 1, dtype=torch.float64) / n
    gap = float((ordered - grid).abs().max()) * n**0.5
    # Kolmogorov's statistic is above 2.6 three times in a million
    expect.true(gap < 2.6, "the levels are not uniform on [0, 1]", f"a gap of {gap:.3g}", "< 2.6")
    ends = max(float(ordered[0]), 1 - float(ordered[-1]))  # 1e-3: once in 2e8
    expect.true(ends < 1e-3, "no levels are near the ends", f"{ends:.3g} away", "less than 0.001")
    expect.true(len(t.flatten().unique()) > 0.99 * n, "levels repeat: each example has its own")


@train(weight=2)
def test_noise_is_unit_gaussian_and_fresh(student, generator):
    """noise is unit Gaussian, drawn anew for each step"""
    field, drawn, _ = spied_run(student, generator, steps=5, batch=20_000)
    z = noise_of(field, [x for _, x, _ in drawn])
    known = z[~z.isnan()]
    n = len(known)
    expect.true(abs(float(known.mean())) < 5 / n**0.5, "the noise has not mean 0")
    off = abs(float(known.var()) - 1)
    expect.true(off < 5 * (2 / n) ** 0.5, "the noise has not variance 1")  # 5 standard errors
    kurtosis = float(known.pow(4).mean() / known.var() ** 2)
    expect.true(abs(kurtosis - 3) < 5 * (24 / n) ** 0.5, "the noise is not Gaussian")
    repeated = torch.isclose(z[0], z[1], atol=1e-3).double().mean()
    expect.true(bool(repeated < 0.2), "the same noise comes in two steps")


@train(weight=3)
@pytest.mark.parametrize("steps", [6, 60])
def test_the_weights_are_those_of_this_many_gradient_steps(student, generator, steps):
    """each step makes one step of the optimiser along its own gradient"""
    field, drawn, _ = spied_run(student, generator, steps=steps, batch=64, lr=0.2)
    inputs, times = field.get("inputs"), field.get("times")
    expect.true(len(drawn) == len(inputs) == steps, "one draw and one call a step")
    twin = fakes.LinearField(dim=2)
    with Run(twin, steps, lr=0.2, progress=False) as run:
        for k, _ in enumerate(run):
            x_t, t, x = inputs[k], times[k], drawn[k][1]
            error = (twin(x_t, t) - (x_t - x) / t[:, None]).square().mean()
            run.optimizer.zero_grad()
            error.backward()
            run.optimizer.step()
            run.record(error)
    state = field.state()
    off = 1e-3 + 1e-7 / float(torch.stack(times).min())  # v = (x_t − x) / t in float32
    for name, value in twin.state_dict().items():
        says = "the weights are not those of one optimiser step for each batch"
        expect.close(state[name], value, says, atol=off, rtol=off)


@train(weight=2)
def test_training_reaches_the_floor_of_a_gaussian(student, generator):
    """a linear field trained on a Gaussian comes near the best that it can do"""
    field, _, history = spied_run(student, generator, steps=50, batch=512, lr=0.3, mean=1.0)
    losses = history.get("losses")
    expect.true(len(losses) == 50, "a loss must be recorded in every step", len(losses), 50)
    x = 1 + 0.5 * torch.randn(20_000, 2, generator=generator, dtype=torch.float64)
    z = torch.randn(20_000, 2, generator=generator, dtype=torch.float64)
    t = torch.rand(20_000, 1, generator=generator, dtype=torch.float64)
    design = torch.cat([x + t * (z - x), t, torch.ones_like(t)], dim=1)
    fit = torch.linalg.lstsq(design, z - x).solution
    best = float((design @ fit - (z - x)).square().mean())
    late = sum(losses[-20:]) / 20
    says = "the loss after 50 steps is far from the least a linear field can have"
    # seen, over 20 seeds: at most 1.03 for the loss and 1.01 for the weights; 2.4 untrained
    expect.true(late < 1.1 * best, says, late, f"near {best:.3f}")
    weights = field.state()
    parts = [expect.tensor(weights.get(n), s, n) for n, s in (("W", (2, 2)), ("u", (2,)))]
    W, u = (p.double() for p in parts)
    c = expect.tensor(weights.get("c"), (1, 2), "c").double()
    left = (x + t * (z - x)) @ W.T + t * u + c - (z - x)
    reached = float(left.square().mean())
    says = "the weights after 50 steps are far from the best that a linear field can have"
    expect.true(reached < 1.1 * best, says, reached, f"near {best:.3f}")


@train(weight=2)
def test_conditions_stay_with_their_data(student, generator):
    """conditions reach the model with their own data"""
    field, drawn, _ = spied_run(student, generator, steps=4, classes=3)
    expect.true(len(field.get("conditions")) == len(drawn) == 4, "one draw and one call a step")
    for seen, (_, _, y) in zip(field.get("conditions"), drawn, strict=True):
        expect.true(seen is not None, "the conditions that draw gave are dropped")
        expect.close(seen, y, "conditions and data are out of step")


@train
def test_the_generator_decides_everything(student, generator):
    """the same generator gives the same run"""
    state = generator.get_state()
    one, _, first = spied_run(student, generator, steps=3)
    generator.set_state(state)
    torch.rand(3)
    two, _, second = spied_run(student, generator, steps=3)
    same = first.get("losses") == second.get("losses")
    expect.true(same, "a seed does not repeat the run")
    before, after = one.state(), two.state()
    for name, value in before.items():
        expect.close(
            after[name], value, f"a seed does not repeat the weights ({name})", atol=1e-7, rtol=1e-7
        )
    moved = max(float(value.abs().max()) for value in before.values())
    expect.true(moved > 1e-4, "three steps leave the weights where they were")


@train(weight=2)
def test_training_on_examples_of_any_shape(student, generator):
    """images and points in one dimension get noise for each of their numbers, and one level"""
    for shape in ((1, 4, 4), (1,)):
        field, drawn = student.new("checking.fakes.AnyShape"), []

        def draw(n, g, shape=shape, drawn=drawn):
            drawn.append(3 + torch.randn(n, *shape, generator=g))
            return drawn[-1], None

        student.flow.train(field, draw, 4, batch=256, generator=generator, progress=False)
        noise = noise_of(field, drawn)
        known = noise[~noise.isnan()]
        n = len(known)
        says = f"(x_t − (1 − t) x) / t must be unit noise for examples of shape {shape}"
        off = max(abs(float(known.mean())), abs(float(known.var() - 1)) / 2**0.5) * n**0.5
        expect.true(off < 6, says, f"{off:.1f} standard errors")
        if len(shape) > 1:
            off = max(related(noise, noise.roll(1, dim)) for dim in (-1, -2))
            expect.true(off < 6, "the numbers of an image have each their own noise", off)
        modes = field.get("modes")
        expect.true(all(modes), "the model is in training mode in every step", modes)


@train(weight=2)
def test_everything_is_drawn_for_itself(student, generator):
    """noise and levels are independent: of each other, of the data, from example to example"""
    steps, batch = 10, 500
    field, drawn, _ = spied_run(student, generator, steps=steps, batch=batch)
    x = torch.stack([x for _, x, _ in drawn]).double()
    z = noise_of(field, [x for _, x, _ in drawn], above=2e-3)
    t = torch.stack(field.get("times")).double()
    u, x = (t - 0.5) * 12**0.5, (x - x.mean()) / x.std()
    far = max(
        *(related(z, z.roll(1, dim)) for dim in (0, 1)),
        *(related(a, b.flip(dim)) for dim in (0, 1) for a, b in [z.chunk(2, dim)]),
        related(*z.chunk(2, 1)),
        related(*u.chunk(2, 1)),
        related(z[..., 0], z[..., 1]),
        related(z, x),
        related(z, u[..., None]),
        related(u, u.roll(1, 0)),
        related(u, u.roll(1, 1)),
        related(u[:, : batch // 2], u[:, batch // 2 :].flip(1)),
        related(x, u[..., None]),
    )
    expect.true(far < 6, "what is drawn depends on something", f"{far:.1f} standard errors", "< 6")
    ordered = u.sort(1).values  # each batch by itself
    even = (torch.arange(batch, dtype=torch.float64) + 0.5) / batch
    gaps = (ordered / 12**0.5 + 0.5 - even).abs().amax(1) * batch**0.5
    says = "the levels of a batch are more even than independent draws"
    # Kolmogorov's statistic is below 0.28 once in a million, below 0.6 on average in 1 of 7
    expect.true(bool(gaps.amin() > 0.28), says, gaps.amin(), "more than 0.28")
    # Of independent draws both are 1, give or take: a χ² of 10 and of 20 degrees, less than these
    # once in 10⁵.
    spread = float(u.mean(1).square().mean() * batch)
    expect.true(spread > 0.05, says, f"a variance of means of {spread:.2g}", "1")
    spread = float(z.nanmean(1).square().mean() * batch)
    says = "the noise of a batch is more even than independent draws"
    expect.true(spread > 0.15, says, f"a variance of means of {spread:.2g}", "1")


@train(weight=2)
def test_every_loss_is_recorded_as_it_was(student, generator):
    """the history holds the loss of every step, before its update"""
    field, drawn, history = spied_run(student, generator, steps=6, batch=100, lr=0.0)
    losses = history.get("losses")
    expect.true(len(losses) == 6 == len(drawn), "one loss a step", len(losses), 6)
    want = []
    for x_t, t, (_, x, _) in zip(field.get("inputs"), field.get("times"), drawn, strict=True):
        v = (x_t.double() - x.double()) / t.double()[:, None]  # with lr 0 the field answers 0
        want.append(v.square().mean())
    says = "the losses recorded are not those of the steps"
    # x_t is in float32: v = (x_t − x) / t loses digits where t is small
    expect.close(torch.tensor(losses), torch.stack(want), says, atol=0, rtol=1e-3)


@train
def test_the_order_of_draws(student, generator):
    """a step draws data first, then noise, then levels"""
    field, states = student.new("checking.fakes.LinearField", dim=2), []

    def draw(n, g):
        before = g.get_state()
        x = torch.randn(n, 2, generator=g)
        states.append((before, g.get_state()))
        return x, None

    start = generator.get_state()
    student.flow.train(field, draw, 2, batch=40, generator=generator, progress=False)
    expect.true(len(states) == 2, "one draw a step", len(states), 2)
    first = torch.equal(states[0][0], start)
    expect.true(first, "something was drawn before the data")
    t = expect.tensor(field.get("times")[0], (40,), "t")
    generator.set_state(states[0][1])
    levels = torch.rand(40, generator=generator)
    expect.true(not torch.equal(t, levels), "the levels were drawn before the noise")
    apart = not torch.equal(states[1][0], states[0][1])
    expect.true(apart, "the next data were drawn before this step's noise and levels")


@train
def test_without_a_generator(student, generator):
    """without a generator each run is another"""
    runs = [spied_run(student, None, steps=2, batch=50)[0].get("times") for _ in range(2)]
    expect.true(len(runs[0]) == 2, "the model must be asked once a step", len(runs[0]), 2)
    one, two = (expect.tensor(times[0], (50,), "t") for times in runs)
    expect.true(not torch.equal(one, two), "two runs had the same levels")


@train
def test_conditions_that_are_all_0(student, generator):
    """conditions reach the model also if all are 0"""
    field, drawn, _ = spied_run(student, generator, steps=2, batch=20, classes=1)
    expect.true(len(field.get("conditions")) == len(drawn) == 2, "one draw and one call a step")
    for seen in field.get("conditions"):
        expect.true(seen is not None, "the conditions that draw gave are dropped")
        expect.close(seen, torch.zeros(20), "the conditions changed on the way")


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
