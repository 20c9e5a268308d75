"""Public checks of chapters 01 and 02, GANs."""

import math

import pytest
import torch

from cs231n_gen.checking import expect

value = pytest.mark.exercise("gan.value")
discriminator_loss = pytest.mark.exercise("gan.discriminator_loss")
generator_loss = pytest.mark.exercise("gan.generator_loss")
generator_logit_gradient = pytest.mark.exercise("gan.generator_logit_gradient")
train_step = pytest.mark.exercise("gan.train_step", changes=("players",), graph=False)
optimal_discriminator = pytest.mark.exercise("gan.optimal_discriminator")
jensen_shannon = pytest.mark.exercise("gan.jensen_shannon")
value_at_optimum = pytest.mark.exercise("gan.value_at_optimum")

EACH = pytest.mark.parametrize("saturating", [True, False], ids=["saturating", "non-saturating"])


def logit(p):
    return math.log(p / (1 - p))


def waves(*shape, scale=5.0):
    """Any logits in float64, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (7.3 * (1 + u)).sin().reshape(shape)


def log_D(l):
    """log sigmoid(ℓ) of logits that are not far away, to all digits."""
    return -torch.log1p(torch.exp(-l))


FAR = torch.tensor([-3000.0, 1000.0, -800.0, 2000.0], dtype=torch.float64)
SHAPES = [((2, 1, 2, 2), (5, 1)), ((), (3,)), ((1,), ())]
EXACT = {"atol": 1e-11, "rtol": 1e-11}


def both_losses(real, fake):
    """V, in logits of any size, and its slopes."""
    V = torch.nn.functional.logsigmoid(real).mean() + torch.nn.functional.logsigmoid(-fake).mean()
    return V, [torch.sigmoid(-real) / real.numel(), -torch.sigmoid(fake) / fake.numel()]


def mixed_logits():
    """Two batches of 150 and 120 logits: 0 among them, moderate and far ones."""
    real, fake = waves(75, 2), waves(60, 2, scale=3.0)
    real[0], fake[0] = 0.0, 0.0
    real[70:], fake[50:] = 1e5 * real[70:], 1e5 * fake[50:]
    return real, fake


def refuses_empty(call, name):
    """A tensor without numbers is refused."""
    for shape in ((0,), (3, 0), (0, 2)):
        says = f"ValueError for {name} {shape}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda shape=shape: call(torch.zeros(shape)), says)


# --- gan.value ----------------------------------------------------------------------------------


@value
def test_a_discriminator_that_knows_nothing(student):
    """D = ½ everywhere gives V = −log 4"""
    V = student.gan.value(torch.zeros(5), torch.zeros(3))
    says = "log ½ of the data and log ½ of the samples"
    expect.close(V, torch.tensor(-math.log(4)), says, what="V")


@value
def test_both_terms(student):
    """data count with log D, samples with log (1 − D), each as a mean of its own"""
    real = torch.tensor([logit(0.9), logit(0.5)])
    fake = torch.tensor([logit(0.2), logit(0.2), logit(0.6), logit(0.6)])
    V = student.gan.value(real, fake)
    want = (math.log(0.9) + math.log(0.5)) / 2 + (math.log(0.8) + math.log(0.4)) / 2
    expect.close(V, torch.tensor(want), "½ (log 0.9 + log 0.5) + ½ (log 0.8 + log 0.4)", what="V")


@value
def test_sure_discriminators(student):
    """logits of ±100 give finite, exact values"""
    V = student.gan.value(torch.tensor([-100.0, 100.0]), torch.tensor([[100.0], [-100.0]]))
    says = "log sigmoid(−100) is −100, and log sigmoid(100) is 0"
    expect.close(V, torch.tensor(-100.0), says, what="V")
    V = student.gan.value(FAR, FAR)
    says = "log sigmoid(−3000) is −3000, and log sigmoid(1000) is 0"
    expect.close(V, -3800 / 4 - 3000 / 4, says, what="V", **EXACT)


@value
def test_logits_of_any_shape(student):
    """logits of any shape, and of one number without axes; exact in float64"""
    for shapes in SHAPES:
        real, fake = (waves(*shape) for shape in shapes)
        V = student.gan.value(real, fake)
        want = log_D(real).mean() + log_D(-fake).mean()
        says = f"a mean over all logits of each kind, shaped {shapes[0]} and {shapes[1]} here"
        expect.close(V, want, says, what="V", **EXACT)


@value
def test_the_slopes_of_the_value(student):
    """dV/dℓ is (1 − D)/n for data and −D/m for samples, also for far logits"""
    for real, fake in ((waves(2, 3), waves(4)), (FAR, -FAR)):
        got = student.gradient("gan.value", real, fake, wrt=[real, fake])
        want = [torch.sigmoid(-real) / real.numel(), -torch.sigmoid(fake) / fake.numel()]
        for g, w, kind in zip(got, want, ("data", "samples"), strict=True):
            says = f"V's slope with the logits of {kind}: (1 − D)/n for data, −D/m for samples"
            expect.close(g, w, says, what="the slope", **EXACT)


@value
def test_mixed_logits_of_the_value(student):
    """0, moderate and far logits in one batch: each counts, and has its slope"""
    real, fake = mixed_logits()
    want, slopes = both_losses(real, fake)
    got = expect.tensor(student.gan.value(real, fake), (), "the value")
    expect.close(got, want, "each logit counts in the mean of its batch", **EXACT)
    got = student.gradient("gan.value", real, fake, wrt=[real, fake])
    for g, w in zip(got, slopes, strict=True):
        expect.tensor(g, w.shape, "the slope")
        w[0] = g[0]  # where logits are 0 formulas with |ℓ| have a kink
        says = "the slope at each logit: also far away"
        expect.close(g, w, says, **EXACT, what="the slope")


@value
def test_no_logits_for_the_value(student):
    """without logits of data, or of samples, it raises a ValueError"""
    call, some = student.gan.value, torch.ones(2)
    refuses_empty(lambda none: call(none, some), "real_logits")
    refuses_empty(lambda none: call(some, none), "fake_logits")
    refuses_empty(lambda none: call(none, none), "both")


# --- gan.discriminator_loss ---------------------------------------------------------------------


@discriminator_loss
def test_it_is_minus_the_value(student):
    """it is −V: D raises V by lowering it"""
    real, fake = torch.tensor([logit(0.9)]), torch.tensor([logit(0.25)])
    L = student.gan.discriminator_loss(real, fake)
    want = torch.tensor(-math.log(0.9) - math.log(0.75))
    expect.close(L, want, "−log 0.9 − log 0.75", what="the loss")


@discriminator_loss
def test_batches_of_other_sizes(student):
    """each batch has a mean of its own"""
    real = torch.tensor([[logit(0.8)], [logit(0.5)], [logit(0.8)]])
    fake = torch.tensor([[logit(0.3)]])
    L = student.gan.discriminator_loss(real, fake)
    want = torch.tensor(-(2 * math.log(0.8) + math.log(0.5)) / 3 - math.log(0.7))
    expect.close(L, want, "a mean over the data plus a mean over the samples", what="the loss")


@discriminator_loss
def test_a_sure_discriminator_has_a_finite_loss(student):
    """logits of ±100 give a finite loss"""
    L = student.gan.discriminator_loss(torch.tensor([-100.0]), torch.tensor([100.0]))
    expect.close(L, torch.tensor(200.0), "100 for each mistake", what="the loss")
    L = student.gan.discriminator_loss(FAR, FAR)
    says = "log sigmoid(−3000) is −3000, and log sigmoid(1000) is 0"
    expect.close(L, 3800 / 4 + 3000 / 4, says, what="the loss", **EXACT)


@discriminator_loss
def test_losses_of_any_shape(student):
    """logits of any shape, and of one number without axes; exact in float64"""
    for shapes in SHAPES:
        real, fake = (waves(*shape) for shape in shapes)
        L = student.gan.discriminator_loss(real, fake)
        want = -log_D(real).mean() - log_D(-fake).mean()
        says = f"a mean over all logits of each kind, shaped {shapes[0]} and {shapes[1]} here"
        expect.close(L, want, says, what="the loss", **EXACT)


@discriminator_loss
def test_the_slopes_of_the_loss(student):
    """its slopes are −(1 − D)/n for data and D/m for samples, also for far logits"""
    for real, fake in ((waves(2, 3), waves(4)), (FAR, -FAR)):
        got = student.gradient("gan.discriminator_loss", real, fake, wrt=[real, fake])
        want = [-torch.sigmoid(-real) / real.numel(), torch.sigmoid(fake) / fake.numel()]
        for g, w, kind in zip(got, want, ("data", "samples"), strict=True):
            says = f"the slope with the logits of {kind}: −(1 − D)/n for data, D/m for samples"
            expect.close(g, w, says, what="the slope", **EXACT)


@discriminator_loss
def test_mixed_logits_of_the_loss(student):
    """0, moderate and far logits in one batch: each counts, and has its slope"""
    real, fake = mixed_logits()
    want, slopes = both_losses(real, fake)
    got = expect.tensor(student.gan.discriminator_loss(real, fake), (), "the loss")
    expect.close(got, -want, "each logit counts in the mean of its batch", **EXACT)
    got = student.gradient("gan.discriminator_loss", real, fake, wrt=[real, fake])
    for g, w in zip(got, slopes, strict=True):
        expect.tensor(g, w.shape, "the slope")
        w[0] = -g[0]  # where logits are 0 formulas with |ℓ| have a kink
        says = "the slope at each logit: also far away"
        expect.close(g, -w, says, **EXACT, what="the slope")


@discriminator_loss
def test_no_logits_for_the_loss(student):
    """without logits of data, or of samples, it raises a ValueError"""
    call, some = student.gan.discriminator_loss, torch.ones(2)
    refuses_empty(lambda none: call(none, some), "real_logits")
    refuses_empty(lambda none: call(some, none), "fake_logits")
    refuses_empty(lambda none: call(none, none), "both")


# --- gan.generator_loss -------------------------------------------------------------------------


@generator_loss
def test_saturating(student):
    """saturating: the mean of log (1 − D), the part of V that G can change"""
    fake = torch.tensor([logit(0.2), logit(0.6)])
    L = student.gan.generator_loss(fake, saturating=True)
    want = torch.tensor((math.log(0.8) + math.log(0.4)) / 2)
    expect.close(L, want, "½ (log 0.8 + log 0.4)", what="the loss")


@generator_loss
def test_non_saturating(student):
    """by default: the mean of −log D"""
    fake = torch.tensor([logit(0.2), logit(0.6)])
    L = student.gan.generator_loss(fake)
    want = torch.tensor(-(math.log(0.2) + math.log(0.6)) / 2)
    expect.close(L, want, "−½ (log 0.2 + log 0.6)", what="the loss")


@generator_loss
@EACH
def test_samples_that_fool_nobody(student, saturating):
    """logits of ±100 give finite losses"""
    L = student.gan.generator_loss(torch.tensor([-100.0, 100.0]), saturating=saturating)
    want = torch.tensor(-50.0 if saturating else 50.0)
    expect.close(L, want, "one of the two counts 100, the other 0", what="the loss")
    L = student.gan.generator_loss(FAR, saturating=saturating)
    want = -3000 / 4 if saturating else 3800 / 4
    says = "of −3000, 1000, −800 and 2000 those of one sign count with their size, the others 0"
    expect.close(L, want, says, what="the loss", **EXACT)


@generator_loss
@EACH
def test_samples_of_any_shape(student, saturating):
    """logits of any shape, and of one number without axes; exact in float64"""
    for shape in ((2, 1, 2, 2), (1,), ()):
        fake = waves(*shape)
        L = student.gan.generator_loss(fake, saturating)
        want = (log_D(-fake) if saturating else -log_D(fake)).mean()
        says = f"a mean over all logits, shaped {shape} here"
        expect.close(L, want, says, what="the loss", **EXACT)


@generator_loss
@EACH
def test_the_slopes_of_the_loss_of_samples(student, saturating):
    """its slope is −D/n, or −(1 − D)/n if it does not saturate, also for far logits"""
    for fake in (waves(2, 3), FAR):
        (got,) = student.gradient("gan.generator_loss", fake, saturating=saturating, wrt=[fake])
        want = -torch.sigmoid(fake if saturating else -fake) / fake.numel()
        expect.close(got, want, "the loss has another slope", what="the slope", **EXACT)


@generator_loss
@EACH
def test_mixed_samples(student, saturating):
    """0, moderate and far logits in one batch: each counts, and has its slope"""
    _, fake = mixed_logits()
    sign = -1 if saturating else 1
    want = -sign * torch.nn.functional.logsigmoid(sign * fake).mean()
    got = expect.tensor(student.gan.generator_loss(fake, saturating), (), "the loss")
    expect.close(got, want, "each logit counts in the mean", **EXACT)
    (got,) = student.gradient("gan.generator_loss", fake, saturating, wrt=[fake])
    want = -torch.sigmoid(-sign * fake) / fake.numel()
    want[0] = expect.tensor(got, want.shape)[0]  # formulas with |ℓ| have a kink at 0
    expect.close(got, want, "the slope at each logit: also far away", **EXACT)


@generator_loss
@EACH
def test_no_samples(student, saturating):
    """without logits it raises a ValueError"""
    refuses_empty(lambda none: student.gan.generator_loss(none, saturating), "fake_logits")


# --- gan.generator_logit_gradient ---------------------------------------------------------------


@generator_logit_gradient
@EACH
def test_at_a_half(student, saturating):
    """where D = ½ both losses pull equally: −½"""
    gradient = student.gan.generator_logit_gradient(torch.zeros(2, 2), saturating=saturating)
    expect.close(gradient, torch.full((2, 2), -0.5), "−½ at ℓ = 0", what="the derivative")


@generator_logit_gradient
@EACH
def test_it_is_the_slope_of_the_loss(student, saturating):
    """it is the slope of a sample's loss"""
    logits = torch.tensor([-3.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    D = [torch.sigmoid(logits + step) for step in (1e-4, -1e-4)]
    terms = [(1 - d).log() if saturating else -d.log() for d in D]
    slope = (terms[0] - terms[1]) / 2e-4
    got = student.gan.generator_logit_gradient(logits, saturating=saturating)
    expect.close(
        got, slope, "not the slope of this loss", atol=1e-6, rtol=1e-6, what="the derivative"
    )


@generator_logit_gradient
def test_early_on(student):
    """at ℓ = −10, D sure of a fake, one pulls with e⁻¹⁰, the other with nearly 1"""
    logits = torch.tensor([-10.0])
    pulls = [student.gan.generator_logit_gradient(logits, saturating=s) for s in (True, False)]
    says = "−D and −(1 − D), with D = 4.5e-5"
    want = torch.tensor([-4.5397869e-05, -0.9999546])
    expect.close(
        torch.cat([expect.tensor(p, (1,), "the derivative") for p in pulls]),
        want,
        says,
        rtol=1e-5,
        atol=1e-5,
    )


@generator_logit_gradient
@EACH
def test_small_slopes(student, saturating):
    """where it is small it has all its digits: −e^−30 and −e^−60"""
    for dtype, digits in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        far = torch.tensor([30.0, 60.0], dtype=dtype)
        got = student.gan.generator_logit_gradient(-far if saturating else far, saturating)
        want = -torch.exp(-far.double())
        says = "the difference of two numbers near 1 has lost its digits"
        expect.close(got, want, says, atol=0, rtol=digits, what="the derivative")


@generator_logit_gradient
@EACH
def test_any_shape_and_size(student, saturating):
    """logits of any shape and size, and one number without axes"""
    for l in (waves(2, 1, 3), waves(), torch.tensor([-1000.0, 1000.0], dtype=torch.float64)):
        got = student.gan.generator_logit_gradient(l, saturating=saturating)
        want = -torch.sigmoid(l if saturating else -l)
        says = f"the slope of each sample's own term, shaped {tuple(l.shape)} here"
        expect.close(got, want, says, what="the derivative", **EXACT)


@generator_logit_gradient
@EACH
def test_without_autograd(student, saturating):
    """it is a closed form: it works where autograd does not"""
    l = waves(4)
    function = student.function("gan.generator_logit_gradient")
    got = student.checking.fakes.in_inference_mode(function, l, saturating)
    want = -torch.sigmoid(l if saturating else -l)
    says = "write down the derivative, and calculate that"
    expect.close(got, want, says, what="the derivative", **EXACT)


# --- gan.train_step -----------------------------------------------------------------------------

WEIGHTS = {
    "generator": {"W": torch.tensor([[0.5], [-1.0]]), "b": torch.tensor([0.3, 0.2])},
    "discriminator": {"W": torch.tensor([[0.7, -0.4]]), "b": torch.tensor([0.1])},
}
AFTER = {  # three steps: of W and b
    "D": [[0.39905, -0.16879], [-0.15690]],
    "G": [[0.36149, -0.86203], [0.57041, -0.05923]],
    "G, saturating": [[0.68984, -1.18227], [0.56740, -0.05218]],
}
VALUES = [-1.553989, -1.534122, -1.452347]
LEFT = [[[0.029796, -0.938920]], [0.128728]]  # in D's gradients, after one step


def game(
    student,
    steps=3,
    saturating=False,
    *,
    shape=(8,),
    scale=1.0,
    modes=("train", "train"),
    dtype=torch.float32,
):
    """Some steps with two linear players; they, and the values that came.

    Args:
        shape: of each batch; scale: of D's weights; modes: of G and D.
    """
    players = [student.new("checking.fakes.Player", *sizes) for sizes in ((1, 2), (2, 1))]
    for player, weights, mode, factor in zip(
        players, WEIGHTS.values(), modes, (1, scale), strict=True
    ):
        player.call("double" if dtype == torch.float64 else "float")
        player.call(mode)
        player.load({k: factor * w for k, w in weights.items()})
    both = student.new("given.training.Players", *players, lr=0.1)
    u = torch.arange(steps * 3.0 * math.prod(shape)).reshape(steps, *shape, 3)
    data = (7.3 * u).sin().to(dtype)  # anything, as long as it is the same everywhere
    came = [
        student.gan.train_step(both, 1 + 2 * part[..., :2], 1.5 * part[..., 2:], saturating)
        for part in data
    ]
    return *players, came


def weights_are(player, name, says):
    state = player.state()
    for part, want in zip(("W", "b"), AFTER[name], strict=True):
        got = state[part].flatten()
        expect.close(got, torch.tensor(want), says, atol=2e-4, rtol=0, what=f"{name[0]}'s {part}")


@train_step
def test_the_discriminator_moves(student):
    """the discriminator makes one step up V for each batch"""
    _, D, _ = game(student)
    weights_are(D, "D", "the discriminator's weights are not those of a step up V for each batch")


@train_step
@EACH
def test_the_generator_moves(student, saturating):
    """the generator makes one step down its loss, against the new discriminator"""
    G, _, _ = game(student, saturating=saturating)
    says = "the generator's weights are not those of a step against the new D for each batch"
    weights_are(G, "G, saturating" if saturating else "G", says)


@train_step
def test_the_value_comes_back(student):
    """V of before the updates comes back"""
    _, _, came = game(student)
    V = torch.stack([expect.tensor(v, (), "V").float() for v in came])
    expect.close(
        V, torch.tensor(VALUES), "V(G, D) of before both updates", atol=1e-4, rtol=1e-4, what="V"
    )


@train_step
def test_what_is_left_in_the_gradients_of_the_discriminator(student):
    """the generator's step leaves nothing in D's gradients, and D can learn on"""
    _, D, _ = game(student, steps=1)
    moved = not torch.equal(D.state()["W"], WEIGHTS["discriminator"]["W"])
    expect.true(moved, "the discriminator has not moved")
    says = (
        "D's gradients must be those of its own loss, or none: the generator's step added to them"
    )
    for got, want in zip(D.call("gradients"), LEFT, strict=True):
        want = torch.tensor(want)
        if got is None or not bool(expect.tensor(got, want.shape, "D's gradient").any()):
            continue  # cleared
        expect.close(got, want, says, atol=1e-4, rtol=1e-4, what="D's gradient")
    expect.true(
        not D.call("frozen"), "D's weights take no gradients any more: switch them on again"
    )


# Two steps in float64: weights of G and D, and gradients of their own losses left in them (W, b).
CASES = {
    "one example": {"shape": (1,)},
    "more axes": {"shape": (2, 3)},
    "far": {"scale": 2000.0},
    "far, saturating": {"scale": 2000.0, "saturating": True},
}
AFTER_TWO = {  # V twice, then W and b of G, of D, and the gradients left in G's, in D's
    "one example": [
        -2.334674089,
        -0.7299361273,
        [0.4679502501, -0.9687652722],
        [0.5315946212, -0.03072064235],
        [0.7297725426, -0.3400407578],
        [-0.01994522702],
        [0.7244230022, -0.3375481157],
        [-0.5183427051, 0.2415240859],
        [-0.4847177428, 0.6980133138],
        [0.028488276],
    ],
    "more axes": [
        -1.535031583,
        -1.576463387,
        [0.3352070208, -0.84331821],
        [0.4906483969, 0.01804524035],
        [0.6623988833, -0.2104130631],
        [-0.1073987834],
        [0.1379321028, -0.04381456098],
        [-0.3093772195, 0.09827463491],
        [0.2714609474, -0.7653031522],
        [0.1544676202],
    ],
    "far": [
        -1812.558844,
        -1913.092835,
        [0.310412292, -0.8104121004],
        [0.49999559, 4.249421804e-06],
        [1399.769328, -799.8282964],
        [200.0],
        [830.1996112, -474.3761188],
        [-699.8846638, 399.9141482],
        [0.777507855, -1.030953356],
        [0.0],
    ],
    "far, saturating": [
        -1812.558844,
        -2190.29966,
        [0.6933581719, -1.193358038],
        [0.4999955307, 4.609561002e-06],
        [1399.767575, -799.8222158],
        [200.0],
        [-881.9554632, 503.9462159],
        [-699.8837877, 399.9111079],
        [0.9035224132, -1.156967914],
        [0.0],
    ],
}


def two_steps(student, case):
    """Weights, values and gradients after two steps are those of the table."""
    G, D, came = game(student, steps=2, dtype=torch.float64, **CASES[case])
    want = iter(AFTER_TWO[case])
    for V in came:
        says = f"V(G, D) of before both updates ({case})"
        expect.close(V, next(want), says, atol=1e-7, rtol=1e-8, what="V")
    for player, name in ((G, "G"), (D, "D")):
        for part, got in player.state().items():
            says = f"steps of {name} along the gradient of its own loss alone ({case})"
            what = f"{name}'s {part}"
            w = torch.tensor(next(want), dtype=torch.float64)
            expect.close(got.flatten(), w, says, atol=1e-6, rtol=1e-8, what=what)
    for player, name in ((G, "G"), (D, "D")):
        for got in player.call("gradients"):
            w = torch.tensor(next(want))
            if got is None or not bool(got.any()):
                continue  # cleared
            says = f"{name}'s gradients must be those of its own loss, a mean, or none ({case})"
            expect.close(got.flatten(), w, says, atol=1e-6, rtol=1e-5, what=f"{name}'s gradient")


@train_step
def test_batches_of_any_shape(student):
    """a batch of one example, and examples with more axes"""
    two_steps(student, "one example")
    two_steps(student, "more axes")


@train_step
@EACH
def test_far_logits(student, saturating):
    """where logits are far from 0, steps and V are finite and right"""
    two_steps(student, "far, saturating" if saturating else "far")


@train_step
def test_modes_stay(student):
    """players stay in the mode they are in, training or not"""
    for modes in (("train", "eval"), ("eval", "train")):
        G, D, _ = game(student, modes=modes)
        weights_are(D, "D", "the discriminator makes its steps in any mode")
        weights_are(G, "G", "the generator makes its steps in any mode")
        got = ["train" if p.get("training") else "eval" for p in (G, D)]
        says = "G and D must stay in their modes"
        expect.true(got == [*modes], says, " and ".join(got), " and ".join(modes))


# --- gan.optimal_discriminator ------------------------------------------------------------------


def densities(*values):
    return torch.tensor(values, dtype=torch.float64)


@optimal_discriminator
def test_the_share_of_data(student):
    """the share of data among what comes to a place"""
    D = student.gan.optimal_discriminator(
        densities(3.0, 0.2, 0.0, 2.0), densities(1.0, 0.8, 5.0, 0.0)
    )
    want = densities(0.75, 0.2, 0.0, 1.0)
    expect.close(D, want, "p_data / (p_data + p_G)", what="D*", atol=1e-15, rtol=1e-15)


@optimal_discriminator
def test_where_nothing_is(student):
    """½ where neither data nor samples come"""
    D = student.gan.optimal_discriminator(densities(0.0, 1.0), densities(0.0, 1.0))
    expect.close(D, densities(0.5, 0.5), "½ where both are 0", what="D*")


@optimal_discriminator
def test_small_densities(student):
    """small densities count like any others"""
    D = student.gan.optimal_discriminator(
        densities(1e-30, 4e-30, 1e-11), densities(3e-30, 1e-30, 3e-11)
    )
    says = "only the ratio of the two counts"
    expect.close(D, densities(0.25, 0.8, 0.25), says, what="D*", **EXACT)
    tiny = densities(1e-305, 4e-305, 1e300), densities(3e-305, 1e-305, 3e300)
    D = student.gan.optimal_discriminator(*tiny)
    expect.close(D, densities(0.25, 0.8, 0.25), says, what="D*", **EXACT)


@optimal_discriminator
def test_densities_of_any_shape(student):
    """one place, a row, a grid; in float32 as well"""
    for shape in ((), (1,), (2, 1, 3)):
        p, q = waves(*shape).square(), waves(*shape, scale=3.0).square() + 1
        D = student.gan.optimal_discriminator(p, q)
        says = f"p_data / (p_data + p_G), of shape {shape}"
        expect.close(D, p / (p + q), says, what="D*", **EXACT)
    small = torch.tensor([1e-37, 0.0, 0.0]), torch.tensor([3e-37, 2e-37, 0.0])
    D = student.gan.optimal_discriminator(*small)
    says = "¼, 0 and ½ for float32's smallest densities"
    expect.close(D, torch.tensor([0.25, 0.0, 0.5]), says, what="D*")


@optimal_discriminator
def test_densities_that_are_refused(student):
    """negative densities, or two of other shapes, raise a ValueError; densities of 0 do not"""
    call, p = student.gan.optimal_discriminator, densities(0.5, 0.5, 0.0)
    bad = densities(0.5, -1e-7, 0.6)
    for pair in ((bad, p), (p, bad), (p, p[:2]), (p[:, None], p), (p[None], p), (bad, 1 - bad)):
        got = " and ".join(str(tuple(d.shape)) for d in pair)
        says = f"ValueError for densities {got}, minima {pair[0].min():.0e} and "
        says += f"{pair[1].min():.0e}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda pair=pair: call(*pair), says)
    expect.tensor(call(5 * p, 7 * p), (3,))


# --- gan.jensen_shannon -------------------------------------------------------------------------


@jensen_shannon
def test_equal_densities(student):
    """0 where both are the same"""
    p = densities(0.5, 1.0, 0.5, 0.0)
    JSD = student.gan.jensen_shannon(p, p, 0.5)
    expect.close(JSD, densities(0.0)[0], "JSD(p ‖ p) = 0", what="JSD", **EXACT)


@jensen_shannon
def test_densities_that_never_meet(student):
    """log 2 where they never meet"""
    JSD = student.gan.jensen_shannon(densities(0.0, 2.0), densities(2.0, 0.0), 0.5)
    expect.close(JSD, densities(math.log(2))[0], "log 2, in nats", what="JSD", **EXACT)


@jensen_shannon
def test_between(student):
    """½ KL(p ‖ m) + ½ KL(q ‖ m)"""
    JSD = student.gan.jensen_shannon(densities(0.1, 0.4), densities(0.3, 0.2), 2.0)
    terms = (
        0.1 * math.log(0.5) + 0.4 * math.log(4 / 3) + 0.3 * math.log(1.5) + 0.2 * math.log(2 / 3)
    )
    says = "the mean of two divergences to the middle"
    expect.close(JSD, densities(terms)[0], says, what="JSD", **EXACT)


def on_a_grid(*shape, dx=1.0):
    """Two densities with all their mass on a grid; each is 0 somewhere, and both are at one place.
    Beside them their divergence, number by number."""
    p, q = (waves(*shape, scale=s).abs() + s for s in (1.0, 3.0))
    p.flatten()[::3], q.flatten()[1::3] = 0, 0
    p.flatten()[-1] = q.flatten()[-1] = 0
    p, q = (d / (d.sum() * dx) for d in (p, q))
    total = 0.0
    for a, b in zip(p.flatten().tolist(), q.flatten().tolist(), strict=True):
        total += sum(c * math.log(2 * (c / (a + b))) for c in (a, b) if c > 0)
    return p, q, total * dx / 2


@jensen_shannon
def test_grids_of_any_shape(student):
    """grids of any number of axes with cells of any size, and 0 log 0 = 0"""
    for shape, dx in (((8,), 0.1), ((4, 3), 2.5), ((2, 2, 1, 2), 1e50), ((8,), 1e-50)):
        p, q, want = on_a_grid(*shape, dx=dx)
        JSD = student.gan.jensen_shannon(p, q, dx)
        says = f"the sum over a grid of shape {shape}, times dx = {dx:g}"
        expect.close(JSD, want, says, what="JSD", atol=1e-13, rtol=1e-13)


@jensen_shannon
def test_float32(student):
    """in float32 too, where both densities are 0 as well"""
    p, q, want = on_a_grid(8)
    JSD = student.gan.jensen_shannon(p.float(), q.float(), 1.0)
    expect.close(JSD, want, "the divergence in float32", what="JSD")


@jensen_shannon
def test_divergences_that_are_refused(student):
    """negative densities, or two of other shapes, raise a ValueError; densities of 0 do not"""
    call, p = student.gan.jensen_shannon, densities(0.5, 0.5, 0.0)
    bad = densities(0.5, -1e-7, 0.6)
    for pair in ((bad, p), (p, bad), (p, p[:2]), (p[:, None], p), (p[None], p), (bad, 1 - bad)):
        got = " and ".join(str(tuple(d.shape)) for d in pair)
        says = f"ValueError for densities {got}, minima {pair[0].min():.0e} and "
        says += f"{pair[1].min():.0e}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda pair=pair: call(*pair, 1.0), says)
    expect.tensor(call(5 * p, 7 * p, 1.0), ())


# --- gan.value_at_optimum -----------------------------------------------------------------------


@value_at_optimum
def test_the_two_ends(student):
    """−log 4 for equal densities, 0 for those that never meet"""
    p = densities(0.0, 2.0)
    ends = [student.gan.value_at_optimum(p, q, 0.5) for q in (p, p.flip(0))]
    ends = torch.stack([expect.tensor(V, (), "V(G, D*)") for V in ends])
    want = densities(-math.log(4), 0.0)
    expect.close(ends, want, "−log 4 + 2 JSD", what="V(G, D*)", **EXACT)


@value_at_optimum
def test_between_the_ends(student):
    """−log 4 + 2 JSD"""
    V = student.gan.value_at_optimum(densities(0.1, 0.4), densities(0.3, 0.2), 2.0)
    want = (
        0.2 * math.log(0.25) + 0.8 * math.log(2 / 3) + 0.6 * math.log(0.75) + 0.4 * math.log(1 / 3)
    )
    says = "∫ p log D* + q log (1 − D*)"
    expect.close(V, densities(want)[0], says, what="V(G, D*)", **EXACT)


@value_at_optimum
def test_values_on_grids_of_any_shape(student):
    """grids of any number of axes with cells of any size, in float32 too"""
    for shape, dx in (((8,), 0.1), ((4, 3), 2.5), ((2, 2, 1, 2), 1e50), ((8,), 1e-50)):
        p, q, JSD = on_a_grid(*shape, dx=dx)
        V = student.gan.value_at_optimum(p, q, dx)
        says = f"−log 4 + 2 JSD on a grid of shape {shape}, with dx = {dx:g}"
        expect.close(V, 2 * JSD - math.log(4), says, what="V(G, D*)", **EXACT)
    p, q, JSD = on_a_grid(8)
    V = student.gan.value_at_optimum(p.float(), q.float(), 1.0)
    expect.close(V, 2 * JSD - math.log(4), "−log 4 + 2 JSD in float32", what="V(G, D*)")
