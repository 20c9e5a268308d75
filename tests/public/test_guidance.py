"""Public checks of chapter 05, guidance."""

import math

import pytest
import torch

from cs231n_gen.checking import expect, fakes

drop_condition = pytest.mark.exercise("guidance.drop_condition", new=True)
guided_velocity = pytest.mark.exercise("guidance.guided_velocity")
velocities = pytest.mark.exercise("guidance.velocities")
sample = pytest.mark.exercise("guidance.sample", graph=False)
classifier_velocity = pytest.mark.exercise("guidance.classifier_velocity", graph=False)

NULL = 5  # the label that means nothing, where labels are 0 to 4
MEANS = [[-2.0, 0.0], [1.0, 1.5], [1.5, -1.0]]


def labels(generator, n):
    return torch.randint(0, NULL, (n,), generator=generator)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator)


def column(a, x):
    """One number for each example, shaped to multiply x."""
    return a.reshape(-1, *[1] * (x.dim() - 1)) if isinstance(a, torch.Tensor) and a.dim() else a


def meaning(y):
    """A number for each condition: of a label and of a text."""
    return 1 + (0.3 + y.double().reshape(len(y), -1)).square().sum(1) / 7


def of_any_condition():
    """A field in which x_t, t and y all count, of conditions and examples of any shape."""
    return fakes.Recorder(lambda x, t, y: column(meaning(y), x).to(x.dtype) * (t - 0.4 * x))


def all_null(y, null):
    """∅ for each of these conditions."""
    return torch.zeros_like(y) + torch.as_tensor(null, dtype=y.dtype)


# --- guidance.drop_condition --------------------------------------------------------------------


def dropped(student, generator, y, p, null):
    kept = student.guidance.drop_condition(y, p, null, generator)
    return expect.tensor(kept, y.shape, "the conditions")


@drop_condition
def test_never_and_always(student, generator):
    """p = 0 forgets no condition, p = 1 every one"""
    y = labels(generator, 20_000)
    never, always = (dropped(student, generator, y, p, NULL) for p in (0.0, 1.0))
    expect.close(never, y, "with p = 0 every condition stays as it is", what="y")
    says = "with p = 1 every condition becomes the null condition that was given"
    expect.close(always, torch.full_like(y, NULL), says, what="y")


@drop_condition
def test_each_condition_stays_or_becomes_null(student, generator):
    """a condition stays what it was or becomes ∅"""
    y = labels(generator, 400)
    kept = dropped(student, generator, y, 0.5, NULL)
    other = (kept != y) & (kept != NULL)
    says = "a condition must be the example's own, or the null condition"
    expect.true(not other.any(), says, f"{int(other.sum())} of 400 others")


@drop_condition
def test_about_p_of_them(student, generator):
    """about a share p is forgotten, some and not others"""
    y = labels(generator, 4000)
    gone = (dropped(student, generator, y, 0.25, NULL) == NULL).double()
    says = "of 4000 conditions about a quarter must be forgotten for p = 0.25, each by its own coin"
    for part in (gone, gone[:2000]):
        share = float(part.mean())
        expect.true(0.2 < share < 0.3, says, f"a share of {share:.3f}", "0.25")


@drop_condition
def test_a_text_is_forgotten_as_a_whole(student, generator):
    """a text (batch, length, dim) is forgotten as a whole"""
    y, null = 1 + normal(generator, 200, 3, 4), torch.full((3, 4), -7.0)
    kept = dropped(student, generator, y, 0.5, null)
    forgotten = (kept == null).flatten(1)
    says = "an example keeps all of its condition or none: one coin for each example"
    mixed = int((forgotten.any(1) & ~forgotten.all(1)).sum())
    expect.true(mixed == 0, says, f"{mixed} of 200 texts in parts")
    share = float(forgotten.all(1).double().mean())
    expect.true(0.3 < share < 0.7, "about half of the texts must be forgotten for p = 0.5", share)


@drop_condition
def test_the_generator_throws_the_coins(student, generator):
    """the same generator forgets the same conditions"""
    y, state = labels(generator, 200), generator.get_state()
    one = dropped(student, generator, y, 0.5, NULL)
    generator.set_state(state)
    two = dropped(student, generator, y, 0.5, NULL)
    expect.close(two, one, "draw the coins with generator=generator", what="y")


@drop_condition
def test_conditions_of_any_dtype_and_shape(student, generator):
    """labels, vectors and texts of any dtype keep it, and become ∅ as a whole or stay"""
    n, label = 16, torch.arange(16) + 1
    for y, null in (
        (label, 0),
        (label + 2**40, torch.tensor(2**41 + 1)),  # more than a float32 can hold
        (label.int(), 31),
        (label.double() / 7, 3),
        (normal(generator, n, 5), normal(generator, 5)),
        (normal(generator, n, n).double() / 3, 12 + normal(generator, n).double() / 3),
        (normal(generator, n, 2, 2, 3), normal(generator, 2, 2, 3)),
        (torch.ones(n, 3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)),
    ):
        kept = dropped(student, generator, y, 0.5, null)
        expect.true(kept.dtype == y.dtype, "conditions keep their dtype", kept.dtype, y.dtype)
        stays = (kept == y).reshape(n, -1).all(1)
        gone = (kept == all_null(y, null)).reshape(n, -1).all(1)
        says = f"y of shape {tuple(y.shape)}: a condition must be the example's own or ∅"
        expect.true(bool((stays | gone).all()), says)
        expect.true(bool(stays.any() and gone.any()), "of 16 conditions about 8 are forgotten")


@drop_condition
def test_how_many_is_left_to_chance(student, generator):
    """how many of a batch are forgotten is left to chance, also in a batch of 1"""
    for n, low, high in ((20, 2.0, 10.0), (1, 0.15, 0.35)):
        y = labels(generator, n)
        gone = [dropped(student, generator, y, 0.5, NULL) == NULL for _ in range(40)]
        found = float(torch.stack(gone).double().sum(1).var())
        says = f"of {n} conditions a varying number is forgotten: one coin for each, thrown anew"
        expect.true(low < found < high, says, f"variance {found:.2f}", f"about {n / 4}")


@drop_condition
def test_rarely_and_nearly_always(student, generator):
    """p = 0.004 and p = 0.996 too"""
    y = labels(generator, 10_000)
    for p in (0.004, 0.996):
        share = float((dropped(student, generator, y, p, NULL) == NULL).double().mean())
        says = f"of 10 000 conditions a share of about {p} must be forgotten"
        expect.true(abs(share - p) < 0.0025, says, f"a share of {share:.4f}", p)


@drop_condition
def test_p_is_a_probability(student, generator):
    """p below 0 or above 1 is refused"""
    y = labels(generator, 5)
    call = student.guidance.drop_condition
    for p in (-0.1, 1.1):
        says = f"ValueError for p = {p}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda p=p: call(y, p, NULL, generator), says)


# --- guidance.guided_velocity -------------------------------------------------------------------


@guided_velocity
def test_w_0_is_conditional(student, generator):
    """w = 0 is the conditional velocity"""
    v_y, v_null = normal(generator, 5, 2), normal(generator, 5, 2)
    v = student.guidance.guided_velocity(v_y, v_null, 0.0)
    expect.close(v, v_y, "without guidance, w = 0, v_cfg must be v_y", what="v_cfg")


@guided_velocity
def test_w_minus_1_is_unconditional(student, generator):
    """w = −1 is the unconditional velocity"""
    v_y, v_null = normal(generator, 5, 2), normal(generator, 5, 2)
    v = student.guidance.guided_velocity(v_y, v_null, -1.0)
    expect.close(v, v_null, "with w = −1, v_cfg must be v_∅", what="v_cfg")


@guided_velocity
def test_guidance_goes_beyond_v_y(student):
    """w = 3 goes beyond v_y by three times v_y − v_∅"""
    v_y, v_null = torch.full((4, 2), 2.0), torch.full((4, 2), 1.0)
    v = student.guidance.guided_velocity(v_y, v_null, 3.0)
    says = "v_∅ = 1 and v_y = 2: w = 3 goes from v_y = 2 three more of the same way, to 5"
    expect.close(v, torch.full((4, 2), 5.0), says, what="v_cfg")


@guided_velocity
def test_little_guidance_is_guidance(student):
    """w between 0 and 1 guides too"""
    v = student.guidance.guided_velocity(torch.full((3, 2), 2.0), torch.zeros(3, 2), 0.5)
    says = "v_∅ = 0 and v_y = 2: w = 0.5 goes half as far again, to 3"
    expect.close(v, torch.full((3, 2), 3.0), says, what="v_cfg")


@guided_velocity
def test_every_channel_is_guided(student, generator):
    """every channel of an image or a latent is guided"""
    v_y, v_null = normal(generator, 2, 4, 3, 3), normal(generator, 2, 4, 3, 3)
    v = student.guidance.guided_velocity(v_y, v_null, 1.0)
    says = "2 v_y − v_∅ in all four channels"
    expect.close(v, 2 * v_y - v_null, says, what="v_cfg")


@guided_velocity
def test_a_weight_for_each_example(student):
    """w may be one for each example"""
    w = torch.tensor([-1.0, 0.0, 2.0])
    v = student.guidance.guided_velocity(torch.full((3, 1, 3), 2.0), torch.ones(3, 1, 3), w)
    want = torch.tensor([1.0, 2.0, 4.0])[:, None, None].expand(3, 1, 3)
    expect.close(v, want, "w[i] belongs to row i: v_∅ = 1, v_y = 2 give 2 + w[i]", what="v_cfg")


@guided_velocity
def test_weights_of_every_form(student, generator):
    """w is a number, a tensor of shape () or (batch,), for examples of any shape"""
    for shape in ((5,), (1, 3), (3, 3), (2, 3, 2, 2), (3, 3, 3)):
        v_y, v_null = (50 * normal(generator, *shape).double() for _ in "y∅")
        for w in (2, -0.3, -90.0, torch.tensor(1.5), 20 * normal(generator, shape[0]).double()):
            v = student.guidance.guided_velocity(v_y, v_null, w)
            want = v_y + column(w, v_y) * (v_y - v_null)
            says = f"velocities of shape {shape}, w {w!r}: (1 + w) v_y − w v_∅, in their precision"
            expect.close(v, want, says, what="v_cfg", atol=1e-10, rtol=1e-12)


@guided_velocity
def test_gradients_flow_into_both(student, generator):
    """gradients flow into both velocities"""
    v_y, v_null = normal(generator, 3, 2), normal(generator, 3, 2)
    dy, d0 = student.gradient("guidance.guided_velocity", v_y, v_null, 2.0, wrt=[v_y, v_null])
    expect.true(dy is not None and d0 is not None, "no gradient arrives at v_y or v_∅")
    expect.close(dy, torch.full((3, 2), 3.0), "the gradient in v_y is 1 + w", what="the gradient")
    expect.close(d0, torch.full((3, 2), -2.0), "the gradient in v_∅ is −w", what="the gradient")


@guided_velocity
def test_what_does_not_fit_is_refused(student, generator):
    """velocities of two shapes are refused, and weights that are neither one nor one for each"""
    v, call = normal(generator, 4, 3), student.guidance.guided_velocity
    says = "ValueError for {}: leave the lines above yours as they are"
    two = says.format("velocities of shape (4, 3) and (1, 3)")
    expect.raises("ValueError", lambda: call(v, v[:1], 1.0), two)
    two = says.format("velocities of shape (4, 3) and (3, 4)")
    expect.raises("ValueError", lambda: call(v, v.T, 1.0), two)
    for shape in ((3,), (1,), (4, 1), (4, 3)):
        w, wrong = torch.ones(shape), says.format(f"w of shape {shape} for 4 examples")
        expect.raises("ValueError", lambda w=w: call(v, v, w), wrong)


# --- guidance.velocities ------------------------------------------------------------------------


def both(student, model, x_t, t, y, null):
    found = student.guidance.velocities(model, x_t, t, y, null)
    v_y, v_null = expect.unpack(found, ["v_y", "v_null"])
    return expect.tensor(v_y, x_t.shape, "v_y"), expect.tensor(v_null, x_t.shape, "v_null")


@velocities
def test_with_the_condition_and_without(student, generator):
    """v_y is asked with y, v_∅ with the null condition"""
    x, t, y = normal(generator, 4, 2), torch.rand(4, generator=generator), labels(generator, 4)
    v_y, v_null = both(student, fakes.by_label(), x, t, y, NULL)
    expect.close(v_y, y[:, None] + t[:, None] * x, "the first result is that with y", what="v_y")
    says = f"the second is that with the null condition, {NULL}"
    expect.close(v_null, NULL + t[:, None] * x, says, what="v_null")


@velocities
def test_one_call_of_the_model(student, generator):
    """one call, on a batch twice as large"""
    x, t, y = normal(generator, 4, 2), torch.rand(4, generator=generator), labels(generator, 4)
    model = fakes.by_label()
    both(student, model, x, t, y, NULL)
    calls = len(model.inputs)
    expect.true(calls == 1, "the model must be called once, with every example twice", calls, 1)
    rows = len(model.inputs[0])
    expect.true(rows == 8, "every example must be in the batch twice", rows, 8)


@velocities
def test_each_half_is_at_its_own_level(student, generator):
    """both halves are asked at their own x_t and t"""
    x, y = normal(generator, 3, 1, 2, 2), labels(generator, 3)
    t = torch.tensor([0.2, 0.5, 0.9])
    model = fakes.by_label()
    both(student, model, x, t, y, NULL)
    seen = expect.tensor(model.times[0], (6,), "t")
    at = expect.tensor(model.inputs[0], (6, 1, 2, 2), "x_t")
    y_seen = expect.tensor(model.conditions[0], (6,), "y")
    for i in range(3):
        for k in (y[i], NULL):  # in any order
            same = (at == x[i]).flatten(1).all(1) & (y_seen == k)
            there = int(same.sum())
            says = f"example {i} goes once with its own condition and once with ∅"
            expect.true(there == 1, says, f"{there} times with condition {int(k)}", "once")
            says = "each example goes at its own level, twice"
            expect.close(seen[same], t[i : i + 1], says, what="t")


@velocities
def test_a_text_as_condition(student, generator):
    """a text (batch, length, dim) has a null text (length, dim)"""
    x, y, null = normal(generator, 3, 2), normal(generator, 3, 4, 5), normal(generator, 4, 5)
    model = fakes.Recorder(lambda x, t, y: x + y.mean((1, 2))[:, None])
    v_y, v_null = both(student, model, x, torch.full((3,), 0.5), y, null)
    expect.close(v_y, x + y.mean((1, 2))[:, None], "the first half has its texts", what="v_y")
    says = "the second half has the null text, for every example"
    expect.close(v_null, x + null.mean(), says, what="v_null")


def asked(generator, n):
    """What a model may be asked, in every form: x_t and y, with ∅."""
    label = torch.arange(n) % 5
    return [
        (normal(generator, n), label + 1, 0),
        (normal(generator, n, 2), 0 * label, torch.tensor(3)),
        (normal(generator, n, n).double(), label.int(), -1),
        (
            normal(generator, n, 3, 2).double(),
            normal(generator, n, n).double() / 3,
            12 + normal(generator, n).double() / 3,
        ),
        (normal(generator, n, 1, 2, 2), normal(generator, n, 3, 2), normal(generator, 3, 2)),
    ]


@velocities
def test_conditions_and_examples_of_any_shape(student, generator):
    """labels, vectors and texts, for examples of any shape, for one example and several"""
    for n in (1, 3):
        for x, y, null in asked(generator, n):
            t, x = 0.9 * torch.rand(n, generator=generator).to(x.dtype), 50 * x
            t[0] = float(n > 1)  # from the one end to the other
            model, field = of_any_condition(), of_any_condition()
            v_y, v_null = both(student, model, x, t, y, null)
            says = f"x_t of shape {tuple(x.shape)}, y of shape {tuple(y.shape)}"
            off = dict.fromkeys(("atol", "rtol"), 1e-12 if x.dtype == torch.float64 else 1e-5)
            expect.close(v_y, field(x, t, y), f"v_y for {says}", what="v_y", **off)
            at_null = field(x, t, all_null(y, null))
            expect.close(v_null, at_null, f"v_∅ for {says}, ∅ {null!r}", what="v_null", **off)
            seen, says = model.conditions[0].dtype, "the model gets the conditions in y's dtype"
            expect.true(seen == y.dtype, says, seen, y.dtype)


@velocities
def test_a_network_that_learns(student, generator):
    """the answers of a network, with the way back into it"""
    net = student.new("checking.fakes.LinearField", dim=2, classes=6)
    weights = {"W": torch.eye(2), "u": torch.ones(2), "c": torch.arange(12.0).reshape(6, 2)}
    net.load(weights)
    net.call("put_to_use")
    x, t, y = normal(generator, 3, 2), torch.rand(3, generator=generator), labels(generator, 3)
    v_y, v_null = both(student, net, x, t, y, NULL)
    expect.close(v_y, x + t[:, None] + weights["c"][y], "the network's answer with y", what="v_y")
    says = "the network's answer with ∅"
    expect.close(v_null, x + t[:, None] + weights["c"][NULL], says, what="v_null")
    net.call("train")
    back = student.gradient("guidance.velocities", net, x, t, y, NULL, wrt=[x, net])
    says = "v_y and v_∅ each add 1 to the gradient of Σ (v_y + v_∅) in x_t"
    expect.true(back[0] is not None, "no gradient comes back to x_t")
    expect.close(back[0], torch.full((3, 2), 2.0), says, what="the gradient")
    says = "each velocity adds t for each example to the gradient of Σ (v_y + v_∅) in u"
    expect.close(back[1]["u"], 2 * t.sum().expand(2), says, what="the gradient")


# --- guidance.sample ----------------------------------------------------------------------------


@sample
def test_constant_velocities(student, generator):
    """from z it comes to z − ((1 + w) v_y − w v_∅)"""
    z, y = normal(generator, 4, 2), torch.tensor([0, 1, 2, 3])
    model = fakes.Recorder(lambda x, t, y: y[:, None].to(x.dtype).expand_as(x))
    x = student.guidance.sample(model, z, 5, y, NULL, 2.0)
    says = f"velocities y and {NULL}: the whole way is 3 y − 2 · {NULL}, against the velocity"
    expect.close(x, z - (3.0 * y[:, None] - 2 * NULL), says, what="x")


@sample
def test_w_0_is_the_conditional_sampler(student, generator):
    """w = 0 gives the samples of flow.sample with y"""
    z, y = normal(generator, 3, 2), labels(generator, 3)
    x = student.guidance.sample(fakes.by_label(), z, 4, y, NULL, 0.0)
    want = z
    for t in (1.0, 0.75, 0.5, 0.25):
        want = want - (y[:, None] + t * want) / 4
    expect.close(x, want, "with w = 0 nothing is left of v_∅", what="x")


@sample
def test_the_levels_asked_for(student, generator):
    """T steps ask at t = 1, …, 1/T, for both velocities in one call"""
    model, y = fakes.by_label(), labels(generator, 3)
    student.guidance.sample(model, normal(generator, 3, 2), 4, y, NULL, 1.0)
    calls = len(model.times)
    expect.true(calls == 4, "4 steps take 4 calls of the model", calls, 4)
    want = torch.tensor([1.0, 0.75, 0.5, 0.25])
    expect.close(model.levels(), want, "4 steps ask for t = 1, ¾, ½, ¼", what="the levels")
    rows = [len(x) for x in model.inputs]
    expect.true(rows == [6] * 4, "each call has every example twice", rows, [6] * 4)


@sample
def test_both_are_asked_at_the_same_x(student, generator):
    """in every step both velocities are taken at the same x"""
    model = fakes.Recorder(lambda x, t, y: y[:, None] - x.sin())
    y, z = labels(generator, 3), normal(generator, 3, 2)
    student.guidance.sample(model, z, 3, y, NULL, 1.0)
    for seen, t, k in zip(model.inputs, model.times, model.conditions, strict=True):
        expect.tensor(seen, (6, 2), "x_t")
        without = expect.tensor(k, (6,), "y") == NULL
        expect.true(int(without.sum()) == 3, "three examples go with y, and three with ∅")
        says = "one walk, along the guided velocity: both velocities are asked where it is now"
        order = [half[half[:, 0].argsort()] for half in (seen[without], seen[~without])]
        expect.close(order[0], order[1], says, what="x_t")
        says = "all examples of a step are at one level"
        expect.close(t, t[:1].expand(6), says, what="t")


@sample
def test_guidance_only_in_an_interval(student, generator):
    """outside the interval of t the step is conditional, at half the cost"""
    model, y = fakes.by_label(), labels(generator, 3)
    z = normal(generator, 3, 2)
    x = student.guidance.sample(model, z, 4, y, NULL, 2.0, interval=(0.4, 0.8))
    rows = [len(x) for x in model.inputs]
    says = "steps begin at t = 1, ¾, ½, ¼: only ¾ and ½ are in the interval, with both velocities"
    expect.true(rows == [3, 6, 6, 3], says, rows, [3, 6, 6, 3])
    want = z
    for t, w in ((1.0, 0), (0.75, 2), (0.5, 2), (0.25, 0)):
        want = want - ((1 + w) * y[:, None] - w * NULL + t * want) / 4
    expect.close(x, want, "w = 2 at ¾ and ½, and none at 1 and ¼", what="x")


@sample
def test_levels_of_ones_own(student, generator):
    """with `times` it walks from each of these levels to the next"""
    model, y, times = fakes.by_label(), labels(generator, 3), [1.0, 0.7, 0.4, 0.1]
    z = normal(generator, 3, 2)
    x = student.guidance.sample(model, z, 3, y, NULL, 1.0, times=times)
    want = z
    for t in times[:-1]:
        want = want - 0.3 * (2 * y[:, None] - NULL + t * want)
    expect.close(x, want, "3 steps of 0.3 each, from 1 to 0.1", what="x")


@sample
def test_sample_images(student, generator):
    """works for images as for points"""
    z, y = normal(generator, 2, 4, 3, 3), torch.tensor([1, 4])
    x = student.guidance.sample(fakes.by_label(), z, 1, y, NULL, 1.0)
    want = -(2.0 * y - NULL)[:, None, None, None].expand_as(z)
    expect.close(x, want, "one step along 2 (y + z) − (∅ + z) = 2 y − ∅ + z", what="x")


def rows_asked(student, z, steps, interval, times=None):
    """About how many examples the model is asked in each step."""
    model, y = fakes.by_label(), torch.arange(len(z))
    student.guidance.sample(model, z, steps, y, NULL, 1.0, interval=interval, times=times)
    return [len(x) for x in model.inputs]


@sample
def test_the_ends_of_the_interval_are_included(student, generator):
    """a step whose level is an end of the interval is guided, for any T"""
    z = normal(generator, 2, 1)
    for steps, ends in ((10, range(1, 11)), (7, (1, 3, 6)), (49, (1, 20, 48))):
        for i in ends:
            rows = rows_asked(student, z, steps, (i / steps, i / steps))
            want = [4 if k == i else 2 for k in range(steps, 0, -1)]
            says = f"T = {steps}, interval ({i}/{steps}, {i}/{steps}): that step alone is guided"
            expect.true(rows == want, says, rows, want)
    times = torch.tensor([0.9, 0.7, 0.4, 0.1, 0.05])
    low, high = float(times[2]), float(times[1])
    rows = rows_asked(student, z, 4, (low, high), times)
    says = f"times = {[round(float(t), 2) for t in times]}, interval from 0.4 to 0.7"
    expect.true(rows == [2, 4, 4, 2], says, rows, [2, 4, 4, 2])


@sample
def test_an_interval_between_two_steps(student, generator):
    """an interval that holds no level guides no step, one beyond both ends every one"""
    z = normal(generator, 2, 1)
    for low, high, each in ((0.51, 0.59, 2), (0.0, 0.09, 2), (-1.0, 2.0, 4)):
        rows = rows_asked(student, z, 10, (low, high))
        says = f"levels 1, 0.9, …, 0.1, interval from {low} to {high}"
        expect.true(rows == [each] * 10, says, rows, [each] * 10)


def guided_steps(z, y, null, times, weights):
    """Euler steps along `of_any_condition`, from times[i] to the next with weights[i]."""
    field, x = of_any_condition(), z
    for t, t_next, w in zip(times, times[1:], weights, strict=False):
        level = torch.full((len(z),), t, dtype=z.dtype)
        v_y, v_null = field(x, level, y), field(x, level, all_null(y, null))
        x = x - (t - t_next) * (v_y + column(w, x) * (v_y - v_null))
    return x


@sample
def test_arguments_of_every_form(student, generator):
    """examples, conditions and weights of every form, in double precision too"""
    for n in (1, 3):
        each = 20 * normal(generator, n).double()
        weights = (-1, 2, torch.tensor(0.5), each, each)
        for (z, y, null), w in zip(asked(generator, n), weights, strict=True):
            z, model = 100 * z.double(), of_any_condition()
            x = student.guidance.sample(model, z, 4, y, null, w, interval=(0.25, 0.5))
            want = guided_steps(z, y, null, [1.0, 0.75, 0.5, 0.25, 0.0], [0, 0, w, w])
            says = f"z of shape {tuple(z.shape)}, y of shape {tuple(y.shape)}, w {w!r}"
            expect.close(x, want, says, what="x", atol=1e-11, rtol=1e-11)
            dtypes = {k.dtype for k in model.conditions}
            says = "the model gets the conditions in y's dtype in every step"
            expect.true(dtypes == {y.dtype}, says, dtypes, y.dtype)


@sample
def test_along_a_network(student, generator):
    """a network is walked along as any other field, and no graph stays"""
    net = student.new("checking.fakes.LinearField", dim=2, classes=6)
    c = torch.arange(12.0).reshape(6, 2)
    net.load({"W": torch.eye(2), "u": torch.ones(2), "c": c})
    z, y = normal(generator, 3, 2), labels(generator, 3)
    want = z - (3 * (z + 1 + c[y]) - 2 * (z + 1 + c[NULL]))
    for mode in ("put_to_use", "train"):
        net.call(mode)
        x = student.guidance.sample(net, z, 1, y, NULL, 2.0)
        expect.close(x, want, "one step along 3 v_y − 2 v_∅ of the network", what="x")


@sample
def test_times_as_list_and_tensor(student, generator):
    """times may be a list, a tuple or a tensor, and need not begin at 1"""
    z, y, falling = normal(generator, 3, 2), labels(generator, 3), [0.75, 0.5, 0.125]
    want = guided_steps(z, y, NULL, falling, [2.0, 2.0])
    for times in (falling, tuple(falling), torch.tensor(falling)):
        x = student.guidance.sample(of_any_condition(), z, 2, y, NULL, 2.0, times=times)
        expect.close(x, want, "two steps, of ¼ and of ⅜", what="x")


@sample
def test_what_is_no_walk_is_refused(student, generator):
    """steps, times and intervals that make no sense are refused"""
    z = normal(generator, 2, 2)
    for says, steps, interval, times in (
        ("an interval from high to low", 4, (0.6, 0.4), None),
        ("no steps", 0, (0.0, 1.0), None),
        ("2 levels for 2 steps", 2, (0.0, 1.0), [1.0, 0.0]),
        ("levels that rise", 2, (0.0, 1.0), [0.0, 0.5, 1.0]),
    ):
        args = (student, z, steps, interval, times)
        says = f"ValueError for {says}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda args=args: rows_asked(*args), says)


# --- guidance.classifier_velocity ---------------------------------------------------------------


def judge(student, **options):
    return student.new("checking.fakes.NoisyClassifier", means=MEANS, std=0.5, **options)


def points(generator, n):
    x, t = 1.5 * normal(generator, n, 2), 0.1 + 0.8 * torch.rand(n, generator=generator)
    return x, t, torch.randint(0, 3, (n,), generator=generator)


def slope(x, t, y, means=None, std=0.5):
    """∂ log p(y | x_t) for the Gaussians of NoisyClassifier, by hand."""
    means = torch.tensor(MEANS) if means is None else means
    variance = ((1 - t) * std) ** 2 + t**2
    towards = ((1 - t)[:, None, None] * means - x[:, None]) / variance[:, None, None]
    p = (-0.5 * towards.square().sum(-1) * variance[:, None]).softmax(1)
    return towards[torch.arange(len(y)), y] - (p[..., None] * towards).sum(1)


@classifier_velocity
def test_w_minus_1_needs_no_classifier(student, generator):
    """w = −1 leaves the unconditional velocity"""
    x, t, y = points(generator, 5)
    v = normal(generator, 5, 2)
    found = student.guidance.classifier_velocity(v, judge(student), x, t, y, -1.0)
    expect.close(found, v, "1 + w is 0: nothing is added to v_∅", what="v")


@classifier_velocity
def test_it_goes_up_log_p(student, generator):
    """it steps along ∂ log p(y | x_t), (1 + w) t / (1 − t) times"""
    x, t, y = points(generator, 6)
    v = normal(generator, 6, 2)
    found = student.guidance.classifier_velocity(v, judge(student), x, t, y, 2.0)
    want = v - 3 * (t / (1 - t))[:, None] * slope(x, t, y)
    says = "v_∅ − 3 t / (1 − t) ∂ log p(y | x_t), with the log-softmax of the class wanted"
    expect.close(found, want, says, what="v", atol=1e-4, rtol=1e-4)


@classifier_velocity
def test_examples_do_not_mix(student, generator):
    """an example's velocity does not depend on the others in the batch"""
    x, t, y = points(generator, 4)
    v, classifier = normal(generator, 4, 2), judge(student)
    all_at_once = student.guidance.classifier_velocity(v, classifier, x, t, y, 1.0)
    alone = student.guidance.classifier_velocity(v[:1], classifier, x[:1], t[:1], y[:1], 1.0)
    all_at_once = expect.tensor(all_at_once, (4, 2), "v")
    says = "each example has the gradient of its own log p: add them up, and take no mean"
    expect.close(alone, all_at_once[:1], says, what="v", atol=1e-4, rtol=1e-4)


@classifier_velocity
def test_at_t_0_nothing_is_added(student, generator):
    """at t = 0 nothing is added"""
    x, _, y = points(generator, 4)
    v = normal(generator, 4, 2)
    found = student.guidance.classifier_velocity(v, judge(student), x, torch.zeros(4), y, 3.0)
    expect.close(found, v, "t / (1 − t) is 0 there", what="v")


@classifier_velocity
def test_it_works_inside_a_sampler(student, generator):
    """works inside a sampler, where gradients are off"""
    x, t, y = points(generator, 3)
    sampler = student.new(
        "checking.fakes.WithoutGradients", student.function("guidance.classifier_velocity")
    )
    v = normal(generator, 3, 2)
    found = sampler(v, judge(student), x, t, y, 0.0)
    want = v - (t / (1 - t))[:, None] * slope(x, t, y)
    says = "samplers run under torch.no_grad(): the classifier's graph must be made all the same"
    expect.close(found, want, says, what="v", atol=1e-4, rtol=1e-4)


@classifier_velocity
def test_examples_and_weights_of_every_form(student, generator):
    """images and single numbers, with a weight for all or one for each"""
    for shape in ((3,), (1, 2), (3, 2, 3, 3)):
        n, dim = shape[0], math.prod(shape[1:])
        means = normal(generator, 3, dim).double()
        classifier = student.new("checking.fakes.NoisyClassifier", means=means.tolist(), std=0.5)
        x, v = 10 * normal(generator, n, dim).double(), 20 * normal(generator, *shape).double() / 3
        classifier.call("put_to_use")
        t, y = 0.1 + 0.8 * torch.rand(n, generator=generator).double(), torch.arange(n)
        t[0] = 0.9995
        for w in (2, torch.tensor(0.5), torch.linspace(-1, 20, n).double() / 3):
            args = (v, classifier, x.reshape(shape), t, y, w)
            found = student.guidance.classifier_velocity(*args)
            add = ((1 + w) * t / (1 - t))[:, None] * slope(x, t, y, means)
            says = f"x_t of shape {shape}, w {w!r}: each example has its own level, class and w"
            expect.close(found, v - add.reshape(shape), says, what="v", atol=1e-9, rtol=1e-9)


@classifier_velocity
def test_a_very_unlikely_class(student):
    """where p(y | x_t) is 0 for a float, its logarithm still has a gradient"""
    means, x = [[-8.0, 0.0], [8.0, 0.0]], torch.tensor([[-7.0, 0.5]])
    t, y = torch.tensor([0.1]), torch.tensor([1])
    classifier = student.new("checking.fakes.NoisyClassifier", means=means, std=0.1)
    found = student.guidance.classifier_velocity(torch.zeros(1, 2), classifier, x, t, y, 0.0)
    want = -slope(x, t, y, torch.tensor(means), std=0.1) / 9
    says = "log_softmax of the logits: no probability of 0 on the way"
    expect.close(found, want, says, what="v")


@classifier_velocity
def test_no_graph_leads_back(student, generator):
    """no graph leads back to x_t or into the classifier"""
    x, t, y = points(generator, 3)
    v, classifier = normal(generator, 3, 2), judge(student)
    function = "guidance.classifier_velocity"
    dx, dw = student.gradient(function, v, classifier, x, t, y, 1.0, wrt=[x, classifier])
    expect.true(dx is None, "a graph leads back to x_t: detach what you return")
    says = "a graph leads into the classifier: detach what you return"
    expect.true(all(g is None for g in dw.values()), says)


@classifier_velocity
def test_pure_noise_is_refused(student, generator):
    """a level of 1, below 0 or NaN is refused, also as one of several"""
    x, _, y = points(generator, 3)
    call, v, classifier = student.guidance.classifier_velocity, x, judge(student)
    for wrong in (1.0, -0.1, math.nan):
        args = (v, classifier, x, torch.tensor([0.5, wrong, 0.2]), y, 1.0)
        says = f"ValueError for t = {wrong}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda args=args: call(*args), says)
