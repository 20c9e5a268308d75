"""Hidden graders of chapter 05: held to theory first (exact conditionals of Gaussian mixtures,
Bayes' rule, closed forms)."""

import math

import pytest
import torch

from cs231n_gen.checking import draws, expect, fakes
from cs231n_gen.truth import GaussianMixture

drop_condition = pytest.mark.exercise("guidance.drop_condition", new=True)
guided_velocity = pytest.mark.exercise("guidance.guided_velocity")
velocities = pytest.mark.exercise("guidance.velocities")
sample = pytest.mark.exercise("guidance.sample", graph=False)
classifier_velocity = pytest.mark.exercise("guidance.classifier_velocity", graph=False)


def uniform(generator, low, high):
    return low + (high - low) * float(torch.rand(1, generator=generator, dtype=torch.float64))


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def column(a, x):
    """One number for each example, shaped to multiply x."""
    return a.reshape(-1, *[1] * (x.dim() - 1)) if isinstance(a, torch.Tensor) and a.dim() else a


def meaning(y):
    """A number for each condition: of a label and of a text."""
    numbers = y.double().reshape(len(y), -1)
    return 1 + (0.3 + numbers).square().sum(1) / 7


def of_any_condition():
    """A field in which x_t, t and y all count, of conditions and examples of any shape."""
    return fakes.Recorder(lambda x, t, y: column(meaning(y), x).to(x.dtype) * (t - 0.4 * x).cos())


def all_null(y, null):
    """∅ for each of these conditions."""
    return torch.zeros_like(y) + torch.as_tensor(null, dtype=y.dtype)


def three_classes(generator):
    """Class y is N(mean_y, std² I), each as likely: the mixture, its means and its std."""
    means = 1.5 * normal(generator, 3, 2)
    std = uniform(generator, 0.4, 0.7)
    return GaussianMixture.isotropic(means, std, labels=torch.arange(3)), means, std


def exact(truth, null):
    """The exact model of a mixture; of labels that it does not know it takes the first."""

    def model(x_t, t, y):
        known = torch.where(torch.isin(y, truth.classes), y, truth.classes[0])
        v_y, v_null = truth.velocity(x_t, t, known), truth.velocity(x_t, t)
        return torch.where((y == null)[:, None], v_null, v_y)

    return fakes.Recorder(lambda x, t, y: model(x.double(), t.flatten(), y).to(x.dtype))


# --- guidance.drop_condition --------------------------------------------------------------------


def dropped(student, generator, y, p, null):
    kept = student.guidance.drop_condition(y, p, null, generator)
    return expect.tensor(kept, y.shape, "the conditions")


@drop_condition(weight=2)
def test_how_many_are_forgotten(student, generator):
    """a share p of the labels becomes ∅, the others stay"""
    p, null, n = uniform(generator, 0.05, 0.6), draws.whole(generator, 10, 99), 20_000
    y = torch.randint(0, 10, (n,), generator=generator)
    kept = dropped(student, generator, y, p, null)
    expect.true(bool(((kept == y) | (kept == null)).all()), "a label became neither it nor ∅")
    share = float((kept == null).double().mean())
    far = 6 * math.sqrt(p * (1 - p) / n)
    expect.true(abs(share - p) < far, "another share than p is forgotten", share, f"{p:.3f}")


@drop_condition(weight=2)
def test_coins_know_nothing_of_each_other(student, generator):
    """each example has its own coin, whatever its label or its neighbours'"""
    p, n = uniform(generator, 0.3, 0.6), 20_000
    y = torch.randint(0, 4, (n,), generator=generator)
    gone = (dropped(student, generator, y, p, 7) == 7).double()
    expect.true(0 < float(gone.mean()) < 1, "all or none are forgotten at once")
    for label in range(4):
        mine = gone[y == label]
        far = 6 * math.sqrt(p * (1 - p) / len(mine))
        says = "some labels are forgotten more often than others"
        expect.true(abs(float(mine.mean()) - p) < far, says)
    pairs = [(gone[k:], gone[:-k]) for k in (1, 2, 3, 4, n // 4, n // 2, n // 2 + 1)]
    for one, other in [*pairs, (gone[: n // 2], gone.flip(0)[: n // 2])]:
        both, far = float((one * other).mean()), 6 * p / math.sqrt(len(one))
        expect.true(abs(both - p * p) < far, "some examples share a coin, or know of the other's")


@drop_condition(weight=2)
def test_a_text_and_its_null(student, generator):
    """a condition of several numbers is kept or forgotten as a whole, by one coin"""
    n, p = 3000, uniform(generator, 0.2, 0.5)
    y, null = 1 + normal(generator, n, 2, 3), normal(generator, 2, 3)
    kept = dropped(student, generator, y, p, null)
    gone = (kept == null).flatten(1).all(1)
    whole_ones = (kept == y).flatten(1).all(1)
    expect.true(bool((gone | whole_ones).all()), "some texts are forgotten in part")
    far = 6 * math.sqrt(p * (1 - p) / n)
    expect.true(abs(float(gone.double().mean()) - p) < far, "another share than p is forgotten")


@drop_condition
def test_the_ends(student, generator):
    """p = 0 and p = 1 leave nothing to chance"""
    y = torch.randint(0, 10, (5000,), generator=generator)
    null = draws.whole(generator, 10, 99)
    expect.close(dropped(student, generator, y, 0.0, null), y, "p = 0 forgot a label")
    always = dropped(student, generator, y, 1.0, null)
    expect.close(always, torch.full((5000,), null), "p = 1 kept a label")


@drop_condition
def test_the_generator_decides(student, generator):
    """the same generator forgets the same labels; its next coins are others"""
    y, state = torch.randint(0, 10, (500,), generator=generator), generator.get_state()
    one = dropped(student, generator, y, 0.5, 10)
    torch.rand(3)
    generator.set_state(state)
    two = dropped(student, generator, y, 0.5, 10)
    expect.close(two, one, "a seed does not repeat the coins")
    expect.true(bool((one == 10).any()) and bool((one != 10).any()), "all or none forgotten")
    generator.manual_seed(draws.whole(generator, 0, 2**31))
    other = dropped(student, generator, y, 0.5, 10)
    expect.true(bool((other != one).any()), "another seed throws the same coins")


def conditions(generator, n):
    """Conditions of n examples in every form, each with a ∅ in every form."""
    label, text = torch.arange(n) % 9 + 1, normal(generator, n, 3, 4)
    return [
        (label, 0),
        (-label, draws.whole(generator, 10, 99)),
        (label, torch.tensor(77)),
        (label + 2**40, 2**41 + 1),  # more than a float32 can hold
        (label.int(), 31),
        (label.double() / 7, torch.tensor(2.5, dtype=torch.float64)),
        (text, normal(generator, 3, 4)),
        (text.float(), torch.zeros(3, 4)),
        (normal(generator, n, 5), normal(generator, 5)),
        (normal(generator, n, n), normal(generator, n)),
        (normal(generator, n, n, n), normal(generator, n, n)),
        (normal(generator, n, 2, 3, 4), normal(generator, 2, 3, 4)),
        (label[:, None].expand(n, 6), torch.arange(10, 16)),
        (torch.ones(n, 3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)),
    ]


@drop_condition(weight=2)
def test_conditions_of_every_form(student, generator):
    """labels, vectors and texts of any dtype keep it, and become ∅ as a whole or stay"""
    n = 24
    for y, null in conditions(generator, n):
        kept = dropped(student, generator, y, 0.5, null)
        expect.true(kept.dtype == y.dtype, "the conditions change dtype", kept.dtype, y.dtype)
        stays = (kept == y).reshape(n, -1).all(1)
        gone = (kept == all_null(y, null)).reshape(n, -1).all(1)
        says = f"of shape {tuple(y.shape)}: neither the example's condition nor ∅"
        expect.true(bool((stays | gone).all()), says)
        expect.true(bool(stays.any() and gone.any()), "all or none are forgotten at once")


@drop_condition
def test_a_batch_of_one(student, generator):
    """a single condition is forgotten as often as one of many"""
    for y, null in conditions(generator, 1)[4:9]:
        gone = [
            bool((dropped(student, generator, y, 0.5, null) == all_null(y, null)).all())
            for _ in range(30)
        ]
        expect.true(5 <= sum(gone) <= 25, "of 30 single conditions", f"{sum(gone)} forgotten", 15)


@drop_condition(weight=2)
def test_how_many_differs_from_batch_to_batch(student, generator):
    """how many are forgotten is left to chance, in each place of the batch"""
    p, n, batches = uniform(generator, 0.3, 0.7), 40, 100
    y = torch.randint(0, 10, (n,), generator=generator)
    gone = torch.stack(
        [dropped(student, generator, y, p, 10) == 10 for _ in range(batches)]
    ).double()
    found, want = float(gone.sum(1).var()), n * p * (1 - p)
    says = "the number forgotten varies too little or too much for coins of their own"
    expect.true(0.4 * want < found < 1.9 * want, says, f"variance {found:.1f}", f"{want:.1f}")
    far = 6 * math.sqrt(p * (1 - p) / batches)
    says = "some places in the batch are forgotten more often than others"
    expect.true(bool(((gone.mean(0) - p).abs() < far).all()), says)


@drop_condition
def test_rarely_and_nearly_always(student, generator):
    """p near 0 and near 1"""
    n = 40_000
    y = torch.randint(0, 10, (n,), generator=generator)
    for p in (0.002, 0.03, 0.97, 0.998):
        share = float((dropped(student, generator, y, p, 10) == 10).double().mean())
        far = 6 * math.sqrt(p * (1 - p) / n)
        expect.true(abs(share - p) < far, "another share than p is forgotten", share, p)


@drop_condition
def test_p_is_a_probability(student, generator):
    """p below 0, above 1 or NaN is refused"""
    y = torch.randint(0, 10, (20,), generator=generator)
    call = student.guidance.drop_condition
    for p in (-0.01, 1.01, math.nan):
        says = f"p = {p} is no probability"
        expect.raises("ValueError", lambda p=p: call(y, p, 10, generator), says)
    expect.close(dropped(student, generator, y, 0.0, 10), y, "p = 0 is one")
    expect.close(dropped(student, generator, y, 1.0, 10), torch.full((20,), 10), "p = 1 is one")


# --- guidance.guided_velocity -------------------------------------------------------------------


@guided_velocity(weight=3)
def test_the_guided_field_of_a_mixture(student, generator):
    """on a mixture it is the exact (1 + w) v_y − w v_∅, to float64 rounding"""
    truth, _, _ = three_classes(generator)
    x, t = 2 * normal(generator, 40, 2), torch.rand(40, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (40,), generator=generator)
    w = uniform(generator, 0.5, 6)
    v_y, v_null = truth.velocity(x, t, y), truth.velocity(x, t)
    v = student.guidance.guided_velocity(v_y, v_null, w)
    expect.close(v, v_y + w * (v_y - v_null), "the guided field", atol=1e-12, rtol=1e-12)


@guided_velocity(weight=2)
def test_both_ends_of_the_line(student, generator):
    """w = 0 is v_y, w = −1 is v_∅"""
    v_y, v_null = normal(generator, 6, 3), normal(generator, 6, 3)
    at_0 = student.guidance.guided_velocity(v_y, v_null, 0.0)
    expect.close(at_0, v_y, "w = 0 must be conditional", atol=1e-12, rtol=1e-12)
    at_1 = student.guidance.guided_velocity(v_y, v_null, -1.0)
    expect.close(at_1, v_null, "w = −1 must be unconditional", atol=1e-12, rtol=1e-12)


@guided_velocity(weight=2)
def test_it_is_a_line_in_w(student, generator):
    """in w it is a straight line, between 0 and 1 too"""
    v_y, v_null = normal(generator, 3, 4, 2, 2), normal(generator, 3, 4, 2, 2)

    def at(w):
        v = student.guidance.guided_velocity(v_y, v_null, w)
        return expect.tensor(v, v_y.shape, "v_cfg")

    low, high = at(0.25), at(4.25)
    w = uniform(generator, 0.3, 4)
    part = (w - 0.25) / 4
    expect.close(at(w), (1 - part) * low + part * high, "not a line in w", atol=1e-9, rtol=1e-9)
    moved = float((high - low).square().mean().sqrt())
    want = float((4 * (v_y - v_null)).square().mean().sqrt())
    expect.close(moved, want, "guidance moves v too little or too much", rtol=1e-6, atol=1e-6)


@guided_velocity
def test_every_channel_alike(student, generator):
    """all channels are guided, of latents with more of them too"""
    C = draws.whole(generator, 5, 17)
    v_y, v_null = normal(generator, 2, C, 3, 3), normal(generator, 2, C, 3, 3)
    v = student.guidance.guided_velocity(v_y, v_null, 1.5)
    v = expect.tensor(v, v_y.shape, "v_cfg")
    for c in range(C):
        says = f"channel {c + 1} of {C} is not guided"
        expect.close(v[:, c], 2.5 * v_y[:, c] - 1.5 * v_null[:, c], says, atol=1e-9, rtol=1e-9)


@guided_velocity(weight=2)
def test_weights_one_by_one(student, generator):
    """a weight for each example, also where there are as many as columns"""
    n = 4
    w = 5 * torch.rand(n, generator=generator, dtype=torch.float64)
    for shape in ((n, n), (n, 3, n, n)):
        v_y, v_null = normal(generator, *shape), normal(generator, *shape)
        v = student.guidance.guided_velocity(v_y, v_null, w)
        v = expect.tensor(v, shape, "v_cfg")
        for i in range(n):
            want = v_y[i] + w[i] * (v_y[i] - v_null[i])
            expect.close(v[i], want, "w[i] is the weight of row i", atol=1e-9, rtol=1e-9)


@guided_velocity(weight=2)
def test_every_form_of_weight(student, generator):
    """whole numbers, floats, tensors of shape () and (batch,), for examples of any shape"""
    for shape in ((5,), (1,), (4, 3), (1, 3), (3, 3), (2, 3, 4), (3, 2, 3, 3), (4, 4, 4, 4)):
        v_y, v_null = 100 * normal(generator, *shape), 100 * normal(generator, *shape)
        each = 30 * normal(generator, shape[0])
        one = 3 * normal(generator)
        for w in (2, -1, 0, 150.0, -150.0, float(one), one, -one, torch.tensor(0.5), each):
            v = student.guidance.guided_velocity(v_y, v_null, w)
            factor = column(w, v_y)
            says = f"velocities of shape {shape}, w {w!r}"
            want = v_y + factor * (v_y - v_null)
            expect.close(v, want, says, atol=1e-9, rtol=1e-12)
        v = student.guidance.guided_velocity(v_y.float(), v_null.float(), each.float())
        want = v_y + column(each, v_y) * (v_y - v_null)
        expect.close(v, want, f"{shape} in single precision", atol=1e-2, rtol=1e-4)


@guided_velocity
def test_gradients_flow_into_both(student, generator):
    """the gradients are 1 + w and −w"""
    v_y, v_null, w = normal(generator, 3, 2, 4), normal(generator, 3, 2, 4), normal(generator, 3)
    dy, d0 = student.gradient("guidance.guided_velocity", v_y, v_null, w, wrt=[v_y, v_null])
    expect.true(dy is not None and d0 is not None, "no gradient arrives at v_y or v_∅")
    w = w[:, None, None].expand(3, 2, 4)
    expect.close(dy, 1 + w, "the gradient in v_y is 1 + w", atol=1e-12, rtol=1e-12)
    expect.close(d0, -w, "the gradient in v_∅ is −w", atol=1e-12, rtol=1e-12)


@guided_velocity
def test_what_does_not_fit_is_refused(student, generator):
    """velocities of two shapes, and weights that are neither one nor one for each"""
    v, call = normal(generator, 4, 3), student.guidance.guided_velocity
    for other in (v[:1], v[:, :1], v[:, :2], v[0], v[None]):
        says = f"shapes {tuple(v.shape)} and {tuple(other.shape)} do not fit"
        expect.raises("ValueError", lambda o=other: call(v, o, 1.0), says)
        expect.raises("ValueError", lambda o=other: call(o, v, 1.0), says)
    for shape in ((1,), (3,), (5,), (4, 1), (1, 4), (4, 3)):
        w, says = torch.ones(shape), f"w of shape {shape} is not one for each of 4"
        expect.raises("ValueError", lambda w=w: call(v, v, w), says)
    alone = call(v[:1], 2 * v[:1], torch.ones(1))
    expect.close(alone, 0 * v[:1], "a batch of 1 has (1,) weights", atol=1e-12, rtol=0)


# --- guidance.velocities ------------------------------------------------------------------------


@velocities(weight=3)
def test_both_fields_of_a_mixture(student, generator):
    """on a mixture they are the exact conditional and unconditional velocity"""
    truth, _, _ = three_classes(generator)
    null, n = draws.whole(generator, 3, 99), 12
    x, t = 2 * normal(generator, n, 2), torch.rand(n, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (n,), generator=generator)
    found = student.guidance.velocities(exact(truth, null), x, t, y, null)
    v_y, v_null = expect.unpack(found, ["v_y", "v_null"])
    expect.close(v_y, truth.velocity(x, t, y), "v_y is not E[v | x_t, y]", atol=1e-9, rtol=1e-9)
    expect.close(v_null, truth.velocity(x, t), "v_∅ is not E[v | x_t]", atol=1e-9, rtol=1e-9)


@velocities(weight=2)
def test_a_single_call(student, generator):
    """one call with every example twice, its level and its condition with it"""
    n, null = draws.whole(generator, 3, 9), draws.whole(generator, 5, 99)
    x, t = normal(generator, n, 1, 2, 2), torch.rand(n, generator=generator)
    y = torch.randint(0, 5, (n,), generator=generator)
    model = fakes.by_label()
    student.guidance.velocities(model, x, t, y, null)
    calls = len(model.inputs)
    expect.true(calls == 1, "the model must be called once", calls, 1)
    expect.tensor(model.inputs[0], (2 * n, 1, 2, 2), "x_t")
    expect.tensor(model.times[0], (2 * n,), "t")
    levels = torch.as_tensor(model.times[0]).double()
    conditions = expect.tensor(torch.as_tensor(model.conditions[0]), (2 * n,), "y").double()
    seen = torch.cat([model.inputs[0].flatten(1), levels[:, None], conditions[:, None]], 1)
    want = [
        torch.cat([x.flatten(1), t.double()[:, None], k.double()[:, None]], 1)
        for k in (y, torch.full((n,), null))
    ]
    off = torch.cdist(torch.cat(want), seen).amin(1)  # in any order
    expect.close(off, torch.zeros(2 * n), "an example is not asked both ways", atol=1e-5, rtol=0)


@velocities(weight=2)
def test_texts(student, generator):
    """conditions of several numbers, and a null of several numbers"""
    n = draws.whole(generator, 3, 7)
    x, y, null = normal(generator, n, 2), normal(generator, n, 3, 2), normal(generator, 3, 2)
    model = fakes.Recorder(lambda x, t, y: x * t + (y * y).sum(1))
    t = torch.rand(n, generator=generator, dtype=torch.float64)
    found = student.guidance.velocities(model, x, t, y, null)
    v_y, v_null = expect.unpack(found, ["v_y", "v_null"])
    at = x * t[:, None]
    expect.close(v_y, at + (y * y).sum(1), "the texts went astray", atol=1e-9, rtol=1e-9)
    expect.close(
        v_null, at + (null * null).sum(0), "the null text went astray", atol=1e-9, rtol=1e-9
    )


def asked(generator, n):
    """What a model may be asked, in every form: x_t and y, with ∅."""
    label = torch.arange(n) % 5
    square = normal(generator, n, n, n)
    return [
        (normal(generator, n), label, 5),
        (normal(generator, n, 2), 0 * label, torch.tensor(3)),
        (normal(generator, n, 2), label + 1, 0),
        (normal(generator, n, n), label.int(), -1),
        (normal(generator, n, 3, 2), normal(generator, n, 2), normal(generator, 2)),
        (normal(generator, n, 1, 4, 4), normal(generator, n, 3, 2), normal(generator, 3, 2)),
        (square, normal(generator, n, n), normal(generator, n)),
        (normal(generator, n, 2, 2, 2), square, square[0]),
        (normal(generator, n, 2).float(), label, 7),
    ]


@velocities(weight=3)
def test_every_form_of_condition(student, generator):
    """labels, vectors and texts, for examples of any shape, for one example and many"""
    for n in (1, draws.whole(generator, 3, 6)):
        for x, y, null in asked(generator, n):
            t = torch.rand(n, generator=generator, dtype=torch.float64).to(x.dtype)
            t[0], x = float(n > 1), 50 * x  # from the one end to the other
            if y.is_floating_point():
                y, null = 20 * y, 20 * null
            model = of_any_condition()
            found = student.guidance.velocities(model, x, t, y, null)
            v_y, v_null = expect.unpack(found, ["v_y", "v_null"])
            calls = len(model.times)
            expect.true(calls == 1, "the model must be called once", calls, 1)
            field, seen = of_any_condition(), model.conditions[0].dtype
            expect.true(seen == y.dtype, "the model gets conditions of another dtype", seen)
            says = f"x_t of shape {tuple(x.shape)}, conditions {tuple(y.shape)}"
            want = field(x, t, y), field(x, t, all_null(y, null))
            off = {"atol": 1e-9, "rtol": 1e-9} if x.dtype == torch.float64 else {}
            expect.close(v_y, want[0], f"v_y, {says}", **off)
            expect.close(v_null, want[1], f"v_∅, {says}", **off)


@velocities
def test_a_network_that_learns(student, generator):
    """the answers of a network are its own, and gradients flow back into it"""
    net = student.new("checking.fakes.LinearField", dim=2, classes=6)
    W, u, c = (torch.randn(k, generator=generator) for k in ((2, 2), (2,), (6, 2)))
    net.load({"W": W, "u": u, "c": c})
    net.call("put_to_use")
    x, t = normal(generator, 4, 2).float(), torch.rand(4, generator=generator)
    y = torch.randint(0, 5, (4,), generator=generator)
    v_y, v_null = expect.unpack(student.guidance.velocities(net, x, t, y, 5), ["v_y", "v_null"])
    at = x @ W.T + t[:, None] * u
    expect.close(v_y, at + c[y], "v_y is not the network's")
    expect.close(v_null, at + c[5], "v_∅ is not the network's")
    net.call("train")
    back = student.gradient("guidance.velocities", net, x, t, y, 5, wrt=[x, net])
    expect.true(back[0] is not None, "no gradient comes back to x_t")
    expect.close(back[0], 2 * W.sum(0).expand(4, 2), "another gradient in x_t")
    expect.close(back[1]["W"], 2 * x.sum(0).expand(2, 2), "another gradient in the weights")
    asked = torch.bincount(torch.cat([y, torch.full((4,), 5)]), minlength=6)
    expect.close(back[1]["c"], asked[:, None].expand(6, 2), "another gradient in the conditions")


# --- guidance.sample ----------------------------------------------------------------------------


def walked(truth, z, y, times, weights):
    """Guided Euler steps on a mixture: from times[i] to the next with weights[i]."""
    x = z
    for i, w in enumerate(weights):
        t = times[i]
        v_y, v_null = truth.velocity(x, t, y), truth.velocity(x, t)
        x = x - (times[i] - times[i + 1]) * ((1 + w) * v_y - w * v_null)
    return x


@sample(weight=3)
def test_guided_steps_on_a_mixture(student, generator):
    """the samples are those of Euler's steps along the exact guided field"""
    truth, _, _ = three_classes(generator)
    null, steps, w = (
        draws.whole(generator, 3, 99),
        draws.whole(generator, 4, 9),
        uniform(generator, 0.5, 4),
    )
    z, y = normal(generator, 15, 2), torch.randint(0, 3, (15,), generator=generator)
    x = student.guidance.sample(exact(truth, null), z, steps, y, null, w)
    want = walked(truth, z, y, [i / steps for i in range(steps, -1, -1)], [w] * steps)
    expect.close(x, want, "another path than along the guided field", atol=1e-6, rtol=1e-5)


@sample(weight=2)
def test_ends_of_guidance(student, generator):
    """w = 0 ends in p(x | y), w = −1 in p(x)"""
    means = torch.tensor([[-3.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
    truth = GaussianMixture.isotropic(means, 0.4, labels=torch.tensor([0, 1]))
    n, null = 400, draws.whole(generator, 2, 99)
    z, y = normal(generator, n, 2), torch.ones(n, dtype=torch.long)
    x = student.guidance.sample(exact(truth, null), z, 12, y, null, 0.0)
    x = expect.tensor(x, z.shape).double()
    says = "with w = 0 samples must be of the class asked for"
    expect.close(x.mean(0), means[1], says, atol=0.2, rtol=0)
    expect.close(x.std(0).mean(), 0.4, says, atol=0.1, rtol=0)
    x = student.guidance.sample(exact(truth, null), z, 12, y, null, -1.0)
    share = float((expect.tensor(x, z.shape)[:, 0] > 0).double().mean())
    says = "with w = −1 samples must be of all classes, half of them of each"
    expect.true(0.3 < share < 0.7, says, share, 0.5)


@sample(weight=2)
def test_the_interval_of_guidance(student, generator):
    """guided at the levels within the interval, both ends included; elsewhere conditional"""
    truth, _, _ = three_classes(generator)
    null, w = draws.whole(generator, 3, 99), uniform(generator, 1, 4)
    z, y = normal(generator, 8, 2), torch.randint(0, 3, (8,), generator=generator)
    steps, low, high = 8, draws.whole(generator, 2, 4) / 8, draws.whole(generator, 5, 7) / 8
    model = exact(truth, null)
    x = student.guidance.sample(model, z, steps, y, null, w, interval=(low, high))
    times = [i / steps for i in range(steps, -1, -1)]
    weights = [w if low <= t <= high else 0.0 for t in times[:-1]]
    want = walked(truth, z, y, times, weights)
    expect.close(x, want, "guided elsewhere than in the interval", atol=1e-6, rtol=1e-5)
    rows, cost = sum(len(x) for x in model.inputs), 8 * sum(1 + (k > 0) for k in weights)
    expect.true(rows == cost, "examples that the model was asked about", rows, cost)


@sample(weight=2)
def test_levels_and_calls(student, generator):
    """one call a step, at t = 1, …, 1/T, with every example twice"""
    steps, n = draws.whole(generator, 3, 12), draws.whole(generator, 2, 6)
    model, y = fakes.by_label(), torch.randint(0, 5, (n,), generator=generator)
    student.guidance.sample(model, normal(generator, n, 1, 2, 2), steps, y, 5, 1.5)
    calls = len(model.times)
    expect.true(calls == steps, "T steps take T calls of the model", calls, steps)
    want = torch.arange(steps, 0, -1).double() / steps
    expect.close(model.levels(), want, "the levels asked for", atol=1e-5, rtol=1e-5)
    for t in model.times:
        expect.tensor(t, (2 * n,), "t")


@sample
def test_uneven_levels(student, generator):
    """on levels of its own each step is as long as the way to the next"""
    truth, _, _ = three_classes(generator)
    null, w = draws.whole(generator, 3, 99), uniform(generator, 0.5, 3)
    z, y = normal(generator, 6, 2), torch.randint(0, 3, (6,), generator=generator)
    times = torch.rand(6, generator=generator, dtype=torch.float64).sort().values.flip(0)
    x = student.guidance.sample(exact(truth, null), z, 5, y, null, w, times=times)
    want = walked(truth, z, y, times.tolist(), [w] * 5)
    expect.close(x, want, "steps of another length", atol=1e-6, rtol=1e-5)


@sample
def test_a_weight_for_each_example(student, generator):
    """examples may have weights of their own, and images their channels and precision"""
    w = 3 * torch.rand(3, generator=generator, dtype=torch.float64)
    z, y = normal(generator, 3, 4, 2, 2), torch.tensor([0, 1, 3])
    model = fakes.Recorder(lambda x, t, y: (1.0 + y.to(x.dtype))[:, None, None, None] + 0 * x)
    x = student.guidance.sample(model, z, 3, y, 4, w)
    want = z - ((1 + w) * (1 + y) - w * 5)[:, None, None, None]
    expect.close(x, want, "constant velocities 1 + y and 5", atol=1e-6, rtol=1e-6)
    expect.true(x.dtype == z.dtype, "the precision changed on the way", x.dtype, z.dtype)


def guided_at(student, generator, low, high, steps, times=None):
    """Which steps are guided, seen by the examples that the model is asked about."""
    model = fakes.by_label()
    z, y = normal(generator, 2, 1), torch.tensor([0, 3])
    student.guidance.sample(model, z, steps, y, 5, 1.0, interval=(low, high), times=times)
    calls = len(model.inputs)
    expect.true(calls == steps, "T steps take T calls of the model", calls, steps)
    return [len(x) for x in model.inputs]


@sample(weight=2)
def test_ends_that_are_levels(student, generator):
    """a step at an end of the interval is guided, for any number of steps"""
    for steps in (1, 7, 10, draws.whole(generator, 11, 30), 49):
        some = torch.randperm(steps, generator=generator)[:8] + 1
        for i in some.tolist():
            rows = guided_at(student, generator, i / steps, i / steps, steps)
            want = [4 if k == i else 2 for k in range(steps, 0, -1)]
            expect.true(rows == want, f"T = {steps}: only t = {i}/{steps} is guided", rows, want)


@sample(weight=2)
def test_ends_among_levels_of_its_own(student, generator):
    """the ends of the interval are included for levels of any kind: lists, tuples, tensors"""
    falling = torch.rand(8, generator=generator, dtype=torch.float64).sort().values.flip(0)
    third = torch.arange(7, -1, -1, dtype=torch.float64) / 11
    for times in (falling, falling.float(), tuple(falling.tolist()), third.tolist(), third.float()):
        levels = [float(t) for t in times]
        i = draws.whole(generator, 0, 4)
        j = draws.whole(generator, i, 7)
        rows = guided_at(student, generator, levels[j], levels[i], 7, times)
        want = [4 if i <= k <= j else 2 for k in range(7)]
        expect.true(rows == want, f"from level {j} to level {i} of {levels}", rows, want)


@sample
def test_intervals_without_a_step(student, generator):
    """an interval that holds no level guides no step, one beyond both ends every one"""
    for low, high, rows in ((0.51, 0.59, 3), (0.0, 0.09, 3), (0.95, 0.99, 3), (-1.0, 2.0, 6)):
        z, y = normal(generator, 3, 2), torch.tensor([1, 0, 4])
        model = of_any_condition()
        x = student.guidance.sample(model, z, 10, y, 5, 2.0, interval=(low, high))
        seen = [len(x) for x in model.inputs]
        says = f"interval from {low} to {high}, T = 10"
        expect.true(seen == [rows] * 10, says, seen, [rows] * 10)
        want = guided_steps(z, y, 5, [i / 10 for i in range(10, -1, -1)], [2.0 * (rows > 3)] * 10)
        expect.close(x, want, says, atol=1e-6, rtol=1e-6)


def guided_steps(z, y, null, times, weights):
    """Euler steps along `of_any_condition`, from times[i] to the next with weights[i]."""
    field, x = of_any_condition(), z
    for t, t_next, w in zip(times, times[1:], weights, strict=False):
        level = torch.full((len(z),), t, dtype=torch.float64)
        v_y, v_null = field(x, level, y), field(x, level, all_null(y, null))
        x = x - (t - t_next) * (v_y + column(w, x) * (v_y - v_null))
    return x


@sample(weight=2)
def test_every_form_of_argument(student, generator):
    """examples, conditions and weights of every form, to float64 rounding"""
    for n in (1, 3):
        one, each = normal(generator), 20 * normal(generator, n)
        weights = [0, -1, 2, 0.5, one, torch.tensor(1.5), each, each, each]
        for (z, y, null), w in zip(asked(generator, n), weights, strict=True):
            for steps, low, high in ((1, 0.0, 1.0), (4, 0.25, 0.5)):
                model = of_any_condition()
                z = 1000 * z.double()  # of any size
                if y.is_floating_point():
                    y, null = 5 * y, 5 * null
                x = student.guidance.sample(model, z, steps, y, null, w, interval=(low, high))
                times = [i / steps for i in range(steps, -1, -1)]
                guided = [w if low <= t <= high else 0.0 for t in times[:-1]]
                says = f"z of shape {tuple(z.shape)}, conditions {tuple(y.shape)}, w {w!r}"
                want = guided_steps(z, y, null, times, guided)
                expect.close(x, want, says, atol=1e-11, rtol=1e-11)
                dtypes = {k.dtype for k in model.conditions}
                expect.true(dtypes == {y.dtype}, "the model gets conditions of another dtype")


@sample
def test_along_a_network(student, generator):
    """a network is walked along as any other field, and no graph stays"""
    net = student.new("checking.fakes.LinearField", dim=2, classes=6)
    W, u, c = (torch.randn(k, generator=generator) for k in ((2, 2), (2,), (6, 2)))
    net.load({"W": W, "u": u, "c": c})
    net.call("put_to_use")
    z, y = normal(generator, 4, 2).float(), torch.randint(0, 5, (4,), generator=generator)
    x = student.guidance.sample(net, z, 4, y, 5, 1.5, interval=(0.0, 0.8))
    want = z
    for t, w in ((1.0, 0.0), (0.75, 1.5), (0.5, 1.5), (0.25, 1.5)):
        v_y, v_null = (want @ W.T + t * u + c[k] for k in (y, 5))
        want = want - ((1 + w) * v_y - w * v_null) / 4
    expect.close(x, want, "not the walk along this network")
    net.call("train")
    x = student.guidance.sample(net, z, 4, y, 5, 1.5, interval=(0.0, 0.8))
    expect.close(x, want, "not the walk along this network in training mode")


@sample
def test_levels_as_lists_and_tensors(student, generator):
    """levels as a list, a tuple or a tensor, which need not begin at 1 or end at 0"""
    z, y = normal(generator, 4, 3), torch.tensor([0, 1, 2, 0])
    falling = [0.875, 0.75, 0.25, 0.125]
    kinds = [falling, tuple(falling), torch.tensor(falling), torch.tensor(falling).double()]
    want = guided_steps(z, y, 3, falling, [1.5, 1.5, 0.0])
    for times in kinds:
        options = {"times": times, "interval": (0.5, 1.0)}
        x = student.guidance.sample(of_any_condition(), z, 3, y, 3, 1.5, **options)
        expect.close(x, want, "three steps from 0.875 to 0.125", atol=1e-11, rtol=1e-11)


@sample
def test_what_is_no_walk_is_refused(student, generator):
    """steps, times and intervals that make no sense are refused"""
    z, y = normal(generator, 2, 2), torch.tensor([0, 1])

    def refused(says, steps, **options):
        call, model = student.guidance.sample, fakes.by_label()
        expect.raises(
            "ValueError", lambda: call(model, z, steps, y, 5, 1.0, **options), f"{says} is refused"
        )

    refused("an interval from high to low", 4, interval=(0.6, 0.4))
    for steps in (0, -1, 2.5):
        refused(f"steps = {steps}", steps)
    for times in ([1.0, 0.5], [1.0, 0.5, 0.5], [0.0, 0.5, 1.0], [1.2, 0.5, 0.0], [1.0, 0.5, -0.1]):
        refused(f"2 steps with times = {times}", 2, times=times)


# --- guidance.classifier_velocity ---------------------------------------------------------------


def by_classifier(student, generator, n):
    """A mixture, its exact classifier on the student's side, and where to ask."""
    truth, means, std = three_classes(generator)
    classifier = student.new("checking.fakes.NoisyClassifier", means=means.tolist(), std=std)
    t = 0.05 + 0.9 * torch.rand(n, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (n,), generator=generator)
    x_t = (1 - t)[:, None] * truth.sample(n, generator) + t[:, None] * normal(generator, n, 2)
    return truth, classifier, x_t, t, y


@classifier_velocity(weight=4)
def test_the_exact_classifier_gives_the_guided_field(student, generator):
    """with the exact classifier of a mixture it is (1 + w) v_y − w v_∅"""
    truth, classifier, x_t, t, y = by_classifier(student, generator, 25)
    w = uniform(generator, 0.5, 4)
    v_y, v_null = truth.velocity(x_t, t, y), truth.velocity(x_t, t)
    v = student.guidance.classifier_velocity(v_null, classifier, x_t, t, y, w)
    expect.close(v, (1 + w) * v_y - w * v_null, "Bayes' rule does not hold", atol=1e-6, rtol=1e-6)


@classifier_velocity(weight=2)
def test_w_0_is_conditional(student, generator):
    """w = 0 gives E[v | x_t, y], w = −1 leaves E[v | x_t]"""
    truth, classifier, x_t, t, y = by_classifier(student, generator, 10)
    v_null = truth.velocity(x_t, t)
    v = student.guidance.classifier_velocity(v_null, classifier, x_t, t, y, 0.0)
    expect.close(v, truth.velocity(x_t, t, y), "w = 0 must be conditional", atol=1e-6, rtol=1e-6)
    v = student.guidance.classifier_velocity(v_null, classifier, x_t, t, y, -1.0)
    expect.close(v, v_null, "w = −1 must be unconditional", atol=1e-9, rtol=1e-9)


@classifier_velocity(weight=2)
def test_each_example_by_itself(student, generator):
    """an example's velocity is the same in every batch"""
    truth, classifier, x_t, t, y = by_classifier(student, generator, 9)
    v_null = truth.velocity(x_t, t)
    together = student.guidance.classifier_velocity(v_null, classifier, x_t, t, y, 1.0)
    together = expect.tensor(together, x_t.shape, "v")
    expect.true(float((together - v_null).abs().max()) > 1e-4, "the classifier has no say")
    for i in (0, 4, 8):
        one = slice(i, i + 1)
        args = (v_null[one], classifier, x_t[one], t[one], y[one])
        alone = student.guidance.classifier_velocity(*args, 1.0)
        expect.close(
            alone, together[one], "the others in the batch change it", atol=1e-9, rtol=1e-9
        )


@classifier_velocity(weight=2)
def test_the_way_it_grows_with_t(student, generator):
    """what the classifier adds grows as t / (1 − t) for the same slope"""
    truth, classifier, x_t, t, y = by_classifier(student, generator, 6)
    x, v_null = x_t[:1].expand(6, 2), torch.zeros(6, 2, dtype=torch.float64)
    y = y[:1].expand(6)
    v = student.guidance.classifier_velocity(v_null, classifier, x, t, y, 0.0)
    v = expect.tensor(v, (6, 2), "v")
    slope = (truth.velocity(x, t) - truth.velocity(x, t, y)) * ((1 - t) / t)[:, None]
    says = "for t near 0 too much, or for t near 1 too little is added"
    expect.close(v, -(t / (1 - t))[:, None] * slope, says, atol=1e-6, rtol=1e-6)
    at_0 = student.guidance.classifier_velocity(v_null, classifier, x, 0 * t, y, 2.0)
    expect.close(at_0, v_null, "at t = 0 nothing may be added", atol=1e-9, rtol=1e-9)


@classifier_velocity
def test_inside_a_sampler(student, generator):
    """it works where gradients are off, as in a sampler"""
    truth, classifier, x_t, t, y = by_classifier(student, generator, 5)
    function = student.function("guidance.classifier_velocity")
    sampler = student.new("checking.fakes.WithoutGradients", function)
    v = sampler(truth.velocity(x_t, t), classifier, x_t, t, y, 0.0)
    says = "not E[v | x_t, y] where gradients are off"
    expect.close(v, truth.velocity(x_t, t, y), says, atol=1e-6, rtol=1e-6)


def of_images(student, generator, shape):
    """Examples of any shape, with the exact velocities and classifier of a mixture of them."""
    n, rest = shape[0], shape[1:]
    dim = math.prod(rest)
    means, std = normal(generator, 3, dim), uniform(generator, 0.4, 0.7)
    truth = GaussianMixture.isotropic(means, std, labels=torch.arange(3))
    classifier = student.new("checking.fakes.NoisyClassifier", means=means.tolist(), std=std)
    t = 0.05 + 0.9 * torch.rand(n, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (n,), generator=generator)
    x_t = 10 * normal(generator, n, dim)
    v_y, v_null = truth.velocity(x_t, t, y), truth.velocity(x_t, t)
    return classifier, *(a.reshape(shape) for a in (x_t, v_y, v_null)), t, y


@classifier_velocity(weight=3)
def test_every_form_of_example_and_weight(student, generator):
    """images and single numbers, with weights of every form"""
    for shape in ((4,), (1, 2), (3, 3), (3, 2, 3, 3), (4, 4, 4)):
        classifier, x_t, v_y, v_null, t, y = of_images(student, generator, shape)
        each = 20 * normal(generator, shape[0])
        classifier.call("put_to_use")
        args = [k.float() for k in (v_null, x_t, t, each)]
        single = student.guidance.classifier_velocity(args[0], classifier, *args[1:3], y, args[3])
        want = v_y + column(each, x_t) * (v_y - v_null)
        off = float((single - want).abs().max() / (1 + want.abs().max()))
        expect.close(off, 0.0, f"x_t of shape {shape} in single precision", atol=0.02, rtol=0)
        for w in (2, -1.5, normal(generator), each):
            v = student.guidance.classifier_velocity(v_null, classifier, x_t, t, y, w)
            want = v_y + column(w, x_t) * (v_y - v_null)
            says = f"x_t of shape {shape}, w {w!r}"
            expect.close(v, want, says, atol=1e-8, rtol=1e-8)


@classifier_velocity
def test_very_unlikely_classes(student, generator):
    """where p(y | x_t) is too small for a float, its logarithm still has a gradient"""
    means, std = [[-8.0, 0.0], [8.0, 0.0], [0.0, 9.0]], 0.1
    truth = GaussianMixture.isotropic(torch.tensor(means).double(), std, labels=torch.arange(3))
    classifier = student.new("checking.fakes.NoisyClassifier", means=means, std=std)
    x = torch.tensor([[-7.0, 0.5], [6.0, 1.0], [0.1, 8.0]]).double() + 0.1 * normal(generator, 3, 2)
    t, y = torch.full((3,), 0.05).double(), torch.tensor([1, 2, 0])
    v_y, v_null = truth.velocity(x, t, y), truth.velocity(x, t)
    v = student.guidance.classifier_velocity(v_null, classifier, x, t, y, 1.0)
    says = "far from the class wanted, its log-probability is lost"
    expect.close(v, 2 * v_y - v_null, says, atol=1e-6, rtol=1e-8)


@classifier_velocity
def test_no_graph_leads_back(student, generator):
    """no graph leads back to x_t or into the classifier"""
    truth, classifier, x_t, t, y = by_classifier(student, generator, 4)
    function, v_null = "guidance.classifier_velocity", truth.velocity(x_t, t)
    v = student.guidance.classifier_velocity(v_null, classifier, x_t, t, y, 1.0)
    says = "not the guided velocity"
    expect.close(v, 2 * truth.velocity(x_t, t, y) - v_null, says, atol=1e-6, rtol=1e-6)
    back = student.gradient(function, v_null, classifier, x_t, t, y, 1.0, wrt=[x_t, classifier])
    expect.true(back[0] is None, "a graph leads back to x_t")
    expect.true(all(g is None for g in back[1].values()), "a graph leads into the classifier")


@classifier_velocity
def test_pure_noise_is_refused(student, generator):
    """levels below 0 and from 1 on are refused, in any place; those between are not"""
    truth, classifier, x_t, t, y = by_classifier(student, generator, 4)
    v_null, call = normal(generator, 4, 2), student.guidance.classifier_velocity
    for wrong in (1.0, -0.01, 1.5, math.nan):
        levels = t.clone()
        levels[draws.whole(generator, 0, 4)] = wrong
        args = (v_null, classifier, x_t, levels, y, 1.0)
        says = f"t = {wrong} is refused, also as one of several"
        expect.raises("ValueError", lambda args=args: call(*args), says)
    t = torch.tensor([0.0, 1e-6, 0.5, 0.9999]).double()
    v_y, v_null = truth.velocity(x_t, t, y), truth.velocity(x_t, t)
    v = call(v_null, classifier, x_t, t, y, 1.0)
    expect.close(v, 2 * v_y - v_null, "levels from 0 to 0.9999", atol=1e-6, rtol=1e-6)
