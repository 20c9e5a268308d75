"""Public checks of chapter 05, guidance."""

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


# --- guidance.drop_condition --------------------------------------------------------------------


def dropped(student, generator, y, p, null):
    kept = student.guidance.drop_condition(y, p, null, generator)
    return expect.tensor(kept, y.shape, "the conditions")


@drop_condition
def test_never_and_always(student, generator):
    """p = 0 forgets no condition, p = 1 every one"""
    y = labels(generator, 20)
    never, always = (dropped(student, generator, y, p, NULL) for p in (0.0, 1.0))
    expect.close(never, y, "with p = 0 every condition stays as it is", what="y")
    says = "with p = 1 every condition becomes the null condition that was given"
    expect.close(always, torch.full((20,), NULL), says, what="y")


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
    expect.close(seen, torch.cat([t, t]), "t goes twice as well", what="t")
    says = "x_t goes twice, once for each condition"
    expect.close(model.inputs[0], torch.cat([x, x]), says, what="x_t")


@velocities
def test_a_text_as_condition(student, generator):
    """a text (batch, length, dim) has a null text (length, dim)"""
    x, y, null = normal(generator, 3, 2), normal(generator, 3, 4, 5), normal(generator, 4, 5)
    model = fakes.Recorder(lambda x, t, y: x + y.mean((1, 2))[:, None])
    v_y, v_null = both(student, model, x, torch.full((3,), 0.5), y, null)
    expect.close(v_y, x + y.mean((1, 2))[:, None], "the first half has its texts", what="v_y")
    says = "the second half has the null text, for every example"
    expect.close(v_null, x + null.mean(), says, what="v_null")


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
    for seen in model.inputs:
        expect.tensor(seen, (6, 2), "x_t")
        says = "one walk, along the guided velocity: both halves of a batch are where it is now"
        expect.close(seen[3:], seen[:3], says, what="x_t")


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


# --- guidance.classifier_velocity ---------------------------------------------------------------


def judge(student, **options):
    return student.new("checking.fakes.NoisyClassifier", means=MEANS, std=0.5, **options)


def points(generator, n):
    x, t = 1.5 * normal(generator, n, 2), 0.1 + 0.8 * torch.rand(n, generator=generator)
    return x, t, torch.randint(0, 3, (n,), generator=generator)


def slope(x, t, y):
    """∂ log p(y | x_t) for the Gaussians of NoisyClassifier, by hand."""
    means = torch.tensor(MEANS)
    variance = ((1 - t) * 0.5) ** 2 + t**2
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
