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


def game(student, steps=3, saturating=False):
    """Some steps with two linear players; they, and the values that came."""
    players = [student.new("checking.fakes.Player", *sizes) for sizes in ((1, 2), (2, 1))]
    for player, weights in zip(players, WEIGHTS.values(), strict=True):
        player.load(weights)
    both = student.new("given.training.Players", *players, lr=0.1)
    u = torch.arange(steps * 24.0).reshape(steps, 8, 3)
    data = (7.3 * u).sin()  # anything, as long as it is the same everywhere
    came = [
        student.gan.train_step(both, 1 + 2 * part[:, :2], 1.5 * part[:, 2:], saturating)
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
    """the generator's step leaves nothing in D's gradients"""
    _, D, _ = game(student, steps=1)
    says = "D's gradients must be those of its own loss: the generator's step added to them"
    for got, want in zip(D.call("gradients"), LEFT, strict=True):
        want = torch.tensor(want)
        got = expect.tensor(got, want.shape, "D's gradient")
        expect.close(got, want, says, atol=1e-4, rtol=1e-4, what="D's gradient")


# --- gan.optimal_discriminator ------------------------------------------------------------------


def densities(*values):
    return torch.tensor(values, dtype=torch.float64)


@optimal_discriminator
def test_the_share_of_data(student):
    """the share of data among what comes to a place"""
    D = student.gan.optimal_discriminator(
        densities(3.0, 0.2, 0.0, 2.0), densities(1.0, 0.8, 5.0, 0.0)
    )
    expect.close(D, densities(0.75, 0.2, 0.0, 1.0), "p_data / (p_data + p_G)", what="D*")


@optimal_discriminator
def test_where_nothing_is(student):
    """½ where neither data nor samples come"""
    D = student.gan.optimal_discriminator(densities(0.0, 1.0), densities(0.0, 1.0))
    expect.close(D, densities(0.5, 0.5), "½ where both are 0", what="D*")


@optimal_discriminator
def test_small_densities(student):
    """densities of 1e-30 count like any others"""
    D = student.gan.optimal_discriminator(densities(1e-30, 4e-30), densities(3e-30, 1e-30))
    expect.close(D, densities(0.25, 0.8), "only the ratio of the two counts", what="D*")


# --- gan.jensen_shannon -------------------------------------------------------------------------


@jensen_shannon
def test_equal_densities(student):
    """0 where both are the same"""
    p = densities(0.5, 1.0, 0.5, 0.0)
    JSD = student.gan.jensen_shannon(p, p, 0.5)
    expect.close(JSD, densities(0.0)[0], "JSD(p ‖ p) = 0", what="JSD")


@jensen_shannon
def test_densities_that_never_meet(student):
    """log 2 where they never meet"""
    JSD = student.gan.jensen_shannon(densities(0.0, 2.0), densities(2.0, 0.0), 0.5)
    expect.close(JSD, densities(math.log(2))[0], "log 2, in nats", what="JSD")


@jensen_shannon
def test_between(student):
    """½ KL(p ‖ m) + ½ KL(q ‖ m)"""
    JSD = student.gan.jensen_shannon(densities(0.1, 0.4), densities(0.3, 0.2), 2.0)
    terms = (
        0.1 * math.log(0.5) + 0.4 * math.log(4 / 3) + 0.3 * math.log(1.5) + 0.2 * math.log(2 / 3)
    )
    expect.close(JSD, densities(terms)[0], "the mean of two divergences to the middle", what="JSD")


# --- gan.value_at_optimum -----------------------------------------------------------------------


@value_at_optimum
def test_the_two_ends(student):
    """−log 4 for equal densities, 0 for those that never meet"""
    p = densities(0.0, 2.0)
    ends = [student.gan.value_at_optimum(p, q, 0.5) for q in (p, p.flip(0))]
    ends = torch.stack([expect.tensor(V, (), "V(G, D*)") for V in ends])
    expect.close(ends, densities(-math.log(4), 0.0), "−log 4 + 2 JSD", what="V(G, D*)")


@value_at_optimum
def test_between_the_ends(student):
    """−log 4 + 2 JSD"""
    V = student.gan.value_at_optimum(densities(0.1, 0.4), densities(0.3, 0.2), 2.0)
    want = (
        0.2 * math.log(0.25) + 0.8 * math.log(2 / 3) + 0.6 * math.log(0.75) + 0.4 * math.log(1 / 3)
    )
    expect.close(V, densities(want)[0], "∫ p log D* + q log (1 − D*)", what="V(G, D*)")
