"""Hidden graders of chapters 01 and 02: quadrature of the value, closed forms of slopes, a game
whose gradients are taken one by one, and mixtures whose divergence is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal

from cs231n_gen.checking import draws, expect, fakes
from cs231n_gen.truth import GaussianMixture, jensen_shannon

EACH = pytest.mark.parametrize("saturating", [True, False], ids=["saturating", "non-saturating"])
PRECISION = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)

value = pytest.mark.exercise("gan.value")
discriminator_loss = pytest.mark.exercise("gan.discriminator_loss")
generator_loss = pytest.mark.exercise("gan.generator_loss")
generator_logit_gradient = pytest.mark.exercise("gan.generator_logit_gradient")
train_step = pytest.mark.exercise("gan.train_step", changes=("players",), graph=False)


def logits(generator, *shape, scale=3.0):
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def number(got, name):
    return expect.tensor(got, (), name).double()


def log_D(l):
    """log sigmoid(ℓ) of logits that are not far away, to all digits."""
    return -torch.log1p(torch.exp(-l))


def forms(generator):
    """Logits of data and of samples, in float64 and of many shapes. None is so far away that
    softplus would take a shortcut (torch's does beyond 20)."""
    c, h, w = (draws.whole(generator, 1, 5) for _ in range(3))
    shapes = [((5,), (9,)), ((4, 1), (4, 1)), ((2, 1, 3, 3), (7, 2)), ((1,), (6,)), ((), (3,))]
    for pair in [*shapes, ((3, c, h, w), ()), ((1, 1), (1, 1, 1, 1))]:
        yield tuple(logits(generator, *shape).clamp(-15, 15) for shape in pair)


def two_normals(generator, n=4000):
    """Midpoints of n equal shares of N(m, s²), for data and samples: means over them are
    quadrature. With the logits of the best discriminator, log p_data − log p_G."""
    m = torch.randn(2, generator=generator, dtype=torch.float64)
    s = 0.6 + torch.rand(2, generator=generator, dtype=torch.float64)
    p, q = (Normal(a, b) for a, b in zip(m, s, strict=True))
    share = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    x, fake = p.icdf(share), q.icdf(share)
    best = [p.log_prob(at) - q.log_prob(at) for at in (x, fake)]
    mixtures = [
        GaussianMixture.isotropic(a.reshape(1, 1), float(b)) for a, b in zip(m, s, strict=True)
    ]
    return best, mixtures


# --- gan.value ----------------------------------------------------------------------------------


def refuses_empty(call):
    """A tensor without numbers is refused."""
    for shape in ((0,), (2, 0), (0, 3, 1)):
        says = f"no logits, shaped {shape}, must be refused"
        expect.raises("ValueError", lambda shape=shape: call(torch.zeros(shape)), says)


def mixed(generator, n):
    """Logits that are 0, moderate and far, in any order, as (n, 3)."""
    far = torch.tensor([0.0, 0.0, 950.0, -950.0, 2e4, -3e4], dtype=torch.float64)
    l = torch.cat([far, logits(generator, 3 * n - len(far))])
    return l[torch.randperm(3 * n, generator=generator)].reshape(n, 3)


@value(weight=3)
def test_the_best_discriminator_reaches_its_value(student, generator):
    """against the best discriminator V is −log 4 + 2 JSD"""
    (real, fake), (p, q) = two_normals(generator)
    V = number(student.gan.value(real, fake), "V")
    want = -math.log(4) + 2 * float(jensen_shannon(p, q))
    expect.close(V, torch.tensor(want).double(), "V(G, D*) is −log 4 + 2 JSD", atol=2e-3, rtol=0)


@value(weight=2)
def test_no_other_discriminator_reaches_more(student, generator):
    """any other discriminator reaches less"""
    (real, fake), _ = two_normals(generator)
    best = number(student.gan.value(real, fake), "V")
    for tilt in (0.7, 1.4):
        other = number(student.gan.value(tilt * real, tilt * fake), "V")
        expect.true(bool(other < best - 1e-4), "V is not largest at the best discriminator")
    other = number(student.gan.value(real + 0.5, fake + 0.5), "V")
    expect.true(bool(other < best - 1e-4), "V is not largest at the best discriminator")


@value(weight=2)
def test_every_logit_counts_in_the_mean_of_its_own_batch(student, generator):
    """dV/dℓ is (1 − D)/n for data and −D/m for samples, whatever the shapes"""
    for real, fake in forms(generator):
        got = student.gradient("gan.value", real, fake, wrt=[real, fake])
        want = [torch.sigmoid(-real) / real.numel(), -torch.sigmoid(fake) / fake.numel()]
        for g, w, name in zip(got, want, ("data", "samples"), strict=True):
            says = f"the slope of V with the logits of {name} is wrong"
            expect.close(expect.tensor(g, w.shape, "dV/dℓ"), w, says, atol=1e-10, rtol=1e-10)


@value(weight=2)
def test_logits_of_every_shape(student, generator):
    """it is exact for logits of any shape, also for one number without axes"""
    for real, fake in forms(generator):
        V = number(student.gan.value(real, fake), "V")
        want = log_D(real).mean() + log_D(-fake).mean()
        says = f"V of logits shaped {tuple(real.shape)} and {tuple(fake.shape)}, in float64"
        expect.close(V, want, says, atol=1e-11, rtol=1e-11)


@value(weight=2)
@PRECISION
def test_sure_players(student, generator, dtype):
    """logits of any size give finite, exact values and slopes"""
    for far in (1, 20, 1e6):
        size = (far * (50 + 50 * torch.rand(6, generator=generator))).to(dtype)
        for sign in (1, -1):
            V = number(student.gan.value(sign * size, -sign * size), "V")
            want = torch.tensor(0.0 if sign > 0 else -2 * float(size.double().mean())).double()
            expect.close(V, want, "far logits must stay exact", atol=1e-6, rtol=1e-6)
        says = "where D is sure and wrong the slopes are 1/n and −1/n"
        real, fake = -size, size.clone()
        slopes = student.gradient("gan.value", real, fake, wrt=[real, fake])
        for slope, want in zip(slopes, (1 / 6, -1 / 6), strict=True):
            expect.close(slope, torch.full((6,), want), says, atol=1e-6, rtol=1e-6)


@value
def test_every_logit_counts_in_the_value(student, generator):
    """logits of 0 and far ones among others, in large batches: values and slopes"""
    real, fake = mixed(generator, 80), mixed(generator, 60)
    want = F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()
    got = expect.tensor(student.gan.value(real, fake), (), "the value")
    expect.close(got, want, "each logit counts in its mean", atol=1e-10, rtol=1e-10)
    want = [torch.sigmoid(-real) / 240, -torch.sigmoid(fake) / 180]
    got = student.gradient("gan.value", real, fake, wrt=[real, fake])
    for g, w, l in zip(got, want, (real, fake), strict=True):
        smooth = l != 0  # where logits are 0 formulas with |ℓ| have a kink
        g = expect.tensor(g, w.shape, "the slope")[smooth]
        expect.close(g, w[smooth], "not the slope at a far logit", atol=1e-12, rtol=1e-10)


@value
def test_empty_batches_of_the_value(student, generator):
    """without logits of data, or of samples, it refuses"""
    some = logits(generator, 4).float()
    refuses_empty(lambda none: student.gan.value(none, some))
    refuses_empty(lambda none: student.gan.value(some, none))
    refuses_empty(lambda none: student.gan.value(none, none))


# --- gan.discriminator_loss ---------------------------------------------------------------------


@discriminator_loss(weight=2)
def test_it_is_the_cross_entropy_of_real_and_fake(student, generator):
    """it is the cross-entropy of labels 1 for data and 0 for samples, a mean over each"""
    real, fake = logits(generator, 7, 1), logits(generator, 5, 1)
    L = number(student.gan.discriminator_loss(real, fake), "the loss")
    want = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    want = want + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    expect.close(L, want, "not the cross-entropy of both kinds", atol=1e-10, rtol=1e-10)


@discriminator_loss(weight=2)
def test_losses_of_logits_of_every_shape(student, generator):
    """it is exact for logits of any shape, also for one number without axes"""
    for real, fake in forms(generator):
        L = number(student.gan.discriminator_loss(real, fake), "the loss")
        want = -log_D(real).mean() - log_D(-fake).mean()
        says = f"the loss of logits shaped {tuple(real.shape)} and {tuple(fake.shape)}, in float64"
        expect.close(L, want, says, atol=1e-11, rtol=1e-11)


@discriminator_loss(weight=2)
def test_the_best_discriminator_is_a_minimum(student, generator):
    """the best discriminator is where it is least: no direction leads down"""
    (real, fake), _ = two_normals(generator)
    way = torch.randn(3, generator=generator, dtype=torch.float64)
    bump = [way[0] + way[1] * torch.sin(l + way[2]) for l in (real, fake)]
    losses = [
        number(
            student.gan.discriminator_loss(real + step * bump[0], fake + step * bump[1]), "the loss"
        )
        for step in (-0.2, 0.0, 0.2)
    ]
    lowest = bool(losses[1] < losses[0]) and bool(losses[1] < losses[2])
    expect.true(lowest, "the loss is not least at log p_data − log p_G")


@discriminator_loss(weight=2)
def test_its_slopes(student, generator):
    """its slopes are −(1 − D)/n for data and D/m for samples"""
    for real, fake in forms(generator):
        got = student.gradient("gan.discriminator_loss", real, fake, wrt=[real, fake])
        want = [-torch.sigmoid(-real) / real.numel(), torch.sigmoid(fake) / fake.numel()]
        for g, w in zip(got, want, strict=True):
            says = "the loss has the wrong slopes"
            expect.close(expect.tensor(g, w.shape, "the slope"), w, says, atol=1e-10, rtol=1e-10)


@discriminator_loss
@PRECISION
def test_sure_and_wrong(student, generator, dtype):
    """a discriminator that is sure has a finite loss: 0 if right, and slopes if wrong"""
    for far in (100, 1000, 1e8):
        size = (far * (1 + torch.rand(4, generator=generator))).to(dtype)
        real, fake = -size, size.clone()
        L = number(student.gan.discriminator_loss(real, fake), "the loss")
        want = 2 * size.double().mean()
        expect.close(L, want, "far logits must stay exact", rtol=1e-6, atol=1e-6)
        L = number(student.gan.discriminator_loss(size, -size), "the loss")
        expect.close(L, 0.0, "nothing is left to learn", atol=1e-6, rtol=0)
        slopes = student.gradient("gan.discriminator_loss", real, fake, wrt=[real, fake])
        for slope, want in zip(slopes, (-1 / 4, 1 / 4), strict=True):
            says = "the slopes must stay −1/n and 1/n"
            expect.close(slope, torch.full((4,), want), says, atol=1e-6, rtol=1e-6)


@discriminator_loss
def test_every_logit_counts_in_the_loss(student, generator):
    """logits of 0 and far ones among others, in large batches: values and slopes"""
    real, fake = mixed(generator, 80), mixed(generator, 60)
    want = F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()
    got = expect.tensor(student.gan.discriminator_loss(real, fake), (), "the loss")
    expect.close(got, -want, "each logit counts in its mean", atol=1e-10, rtol=1e-10)
    want = [-torch.sigmoid(-real) / 240, torch.sigmoid(fake) / 180]
    got = student.gradient("gan.discriminator_loss", real, fake, wrt=[real, fake])
    for g, w, l in zip(got, want, (real, fake), strict=True):
        smooth = l != 0  # where logits are 0 formulas with |ℓ| have a kink
        g = expect.tensor(g, w.shape, "the slope")[smooth]
        expect.close(g, w[smooth], "not the slope at a far logit", atol=1e-12, rtol=1e-10)


@discriminator_loss
def test_empty_batches_of_the_loss(student, generator):
    """without logits of data, or of samples, it refuses"""
    some = logits(generator, 4).float()
    refuses_empty(lambda none: student.gan.discriminator_loss(none, some))
    refuses_empty(lambda none: student.gan.discriminator_loss(some, none))
    refuses_empty(lambda none: student.gan.discriminator_loss(none, none))


# --- gan.generator_loss -------------------------------------------------------------------------


@generator_loss(weight=2)
def test_saturating_is_the_generators_part_of_the_value(student, generator):
    """saturating: what V changes by when the samples change"""
    real, one, other = (logits(generator, 6) for _ in range(3))
    losses = [
        number(student.gan.generator_loss(fake, saturating=True), "the loss")
        for fake in (one, other)
    ]
    values = [F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean() for fake in (one, other)]
    says = "two batches of samples must differ as their values V do"
    expect.close(losses[0] - losses[1], values[0] - values[1], says)
    want = F.logsigmoid(-one).mean()
    expect.close(losses[0], want, "the mean of log (1 − D)", atol=1e-8, rtol=1e-8)


@generator_loss(weight=2)
def test_non_saturating_is_how_real_samples_look(student, generator):
    """non-saturating, which is the default: the cross-entropy of samples labelled real"""
    fake = logits(generator, 5, 3)
    want = F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    for options in ({}, {"saturating": False}):
        L = number(student.gan.generator_loss(fake, **options), "the loss")
        expect.close(L, want, "the mean of −log D", atol=1e-8, rtol=1e-8)


@generator_loss(weight=2)
@EACH
def test_samples_of_every_shape(student, generator, saturating):
    """it is exact for logits of any shape, also for one number without axes"""
    for pair in forms(generator):
        for fake in pair:
            L = number(student.gan.generator_loss(fake, saturating), "the loss")
            want = (log_D(-fake) if saturating else -log_D(fake)).mean()
            says = f"the loss of logits shaped {tuple(fake.shape)}, in float64"
            expect.close(L, want, says, atol=1e-11, rtol=1e-11)


@generator_loss(weight=2)
@EACH
def test_slopes_of_the_generators_loss(student, generator, saturating):
    """its slope is −D/n, or −(1 − D)/n if it does not saturate"""
    for pair in forms(generator):
        for fake in pair:
            (got,) = student.gradient("gan.generator_loss", fake, saturating=saturating, wrt=[fake])
            want = -torch.sigmoid(fake if saturating else -fake) / fake.numel()
            got = expect.tensor(got, fake.shape, "the slope")
            expect.close(got, want, "the loss has the wrong slopes", atol=1e-10, rtol=1e-10)


@generator_loss
@EACH
@PRECISION
def test_far_samples(student, generator, saturating, dtype):
    """logits of any size give finite, exact losses and slopes"""
    for far in (100, 1000, 1e8):
        size = (far * (1 + torch.rand(4, generator=generator))).to(dtype)
        for fake in (size, -size):
            L = number(student.gan.generator_loss(fake, saturating=saturating), "the loss")
            counts = bool(fake[0] > 0) == saturating
            want = (-1 if saturating else 1) * size.double().mean() * counts
            expect.close(L, want, "far logits must stay exact", atol=1e-6, rtol=1e-6)
            (slope,) = student.gradient(
                "gan.generator_loss", fake, saturating=saturating, wrt=[fake]
            )
            want = torch.full((4,), -1 / 4 if counts else 0.0)
            expect.close(slope, want, "the slope is −1/n or 0 far away", atol=1e-6, rtol=1e-6)


@generator_loss
@EACH
def test_every_sample_counts(student, generator, saturating):
    """logits of 0 and far ones among others, in large batches: values and slopes"""
    fake, sign = mixed(generator, 60), -1 if saturating else 1
    want = -sign * F.logsigmoid(sign * fake).mean()
    got = expect.tensor(student.gan.generator_loss(fake, saturating), (), "the loss")
    expect.close(got, want, "each logit counts in the mean", atol=1e-10, rtol=1e-10)
    (got,) = student.gradient("gan.generator_loss", fake, saturating, wrt=[fake])
    want = -torch.sigmoid(-sign * fake) / 180
    smooth = fake != 0  # where logits are 0 formulas with |ℓ| have a kink
    got = expect.tensor(got, want.shape, "the slope")[smooth]
    expect.close(got, want[smooth], "not the slope at a far logit", atol=1e-12, rtol=1e-10)


@generator_loss
@EACH
def test_batches_without_samples(student, generator, saturating):
    """without logits it refuses"""
    refuses_empty(lambda none: student.gan.generator_loss(none, saturating))


# --- gan.generator_logit_gradient ---------------------------------------------------------------


@generator_logit_gradient(weight=2)
@EACH
def test_the_slope_at_each_logit(student, generator, saturating):
    """it is the slope of each sample's own term, for any shape"""
    for shape in ((9,), (2, 3, 4), (), (1,), (2, 1, 3, 3)):
        l = logits(generator, *shape).requires_grad_()
        term = F.logsigmoid(-l) if saturating else -F.logsigmoid(l)
        (want,) = torch.autograd.grad(term.sum(), l)
        got = student.gan.generator_logit_gradient(l.detach(), saturating=saturating)
        got = expect.tensor(got, shape, "the derivative")
        expect.close(got, want, "not the slope of its term", atol=1e-12, rtol=1e-11)


@generator_logit_gradient(weight=2)
def test_both_pulls_fit_together(student, generator):
    """the two pulls add up to −1, and their ratio is e^ℓ"""
    l = logits(generator, 20)
    both = [student.gan.generator_logit_gradient(l, saturating=s) for s in (True, False)]
    with_, without = (expect.tensor(p, (20,), "the derivative") for p in both)
    minus_1 = torch.full_like(l, -1)
    expect.close(with_ + without, minus_1, "−D and −(1 − D) add up to −1", atol=1e-12, rtol=1e-12)
    expect.close(with_ / without, l.exp(), "D/(1 − D) is e^ℓ", atol=0, rtol=1e-9)


@generator_logit_gradient(weight=2)
@EACH
def test_small_pulls_keep_their_digits(student, generator, saturating):
    """where a pull is small it is e^−|ℓ|, to all its digits, also in float32"""
    for dtype, furthest, digits in ((torch.float32, 80, 1e-5), (torch.float64, 600, 1e-12)):
        share = torch.rand(6, generator=generator, dtype=torch.float64)
        l = (20 + (furthest - 20) * share).to(dtype)
        got = student.gan.generator_logit_gradient(-l if saturating else l, saturating=saturating)
        got = expect.tensor(got, (6,), "the derivative").double()
        small = (-l.double()).exp()
        says = "digits are lost: it is −e^−|ℓ| here"
        expect.close(got, -small / (1 + small), says, rtol=digits, atol=0)


@generator_logit_gradient
@EACH
@PRECISION
def test_the_limits(student, saturating, dtype):
    """far away it is 0 on one side and −1 on the other"""
    for far in (100.0, 1000.0, 1e30):
        l = torch.tensor([-far, far], dtype=dtype)
        got = student.gan.generator_logit_gradient(l, saturating=saturating)
        want = torch.tensor([0.0, -1.0] if saturating else [-1.0, 0.0])
        got = expect.tensor(got, (2,), "the derivative")
        expect.close(got, want, "the limits are 0 and −1", atol=1e-6, rtol=1e-6)


@generator_logit_gradient
@EACH
def test_it_needs_no_autograd(student, generator, saturating):
    """it is a closed form, which also works where autograd does not"""
    l = logits(generator, 7)
    function = student.function("gan.generator_logit_gradient")
    got = student.checking.fakes.in_inference_mode(function, l, saturating)
    want = -torch.sigmoid(l if saturating else -l)
    expect.close(got, want, "not the slope of its term", atol=1e-11, rtol=1e-11)


# --- gan.train_step -----------------------------------------------------------------------------


def game(
    student,
    generator,
    steps=3,
    saturating=False,
    shape=None,
    scale=1.0,
    spread=1.0,
    modes=("train",) * 2,
):
    """A game of linear players with random weights; they, what came, and the same by hand.

    Args:
        shape: of the batch; scale: of D's weights; spread: of data and latents; modes: of G and D.
    """
    latent, dim, n = (int(k) for k in torch.randint(2, 6, (3,), generator=generator))
    sizes, players, twins = ((latent, dim), (dim, 1)), [], []
    shape = (n + 8,) if shape is None else shape
    for size in sizes:
        twin = fakes.Player(*size).double()
        with torch.no_grad():
            for p in twin.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
                p.mul_(scale if size == sizes[1] else 1.0)
        player = student.new("checking.fakes.Player", *size)
        player.call("double")
        player.call(modes[len(players)])
        player.load(twin.state_dict())
        players.append(player)
        twins.append(twin)
    both = student.new("given.training.Players", *players, lr=0.05, lr_d=0.02, betas=(0.3, 0.9))
    drawn = []
    for _ in range(steps):
        x = 1 + spread * torch.randn(*shape, dim, generator=generator, dtype=torch.float64)
        z = spread * torch.randn(*shape, latent, generator=generator, dtype=torch.float64)
        drawn.append((x, z))
    came = [student.gan.train_step(both, x, z, saturating=saturating) for x, z in drawn]
    return players, came, drawn, by_hand(*twins, drawn, saturating)


def by_hand(G, D, drawn, saturating):
    """Each gradient by itself: nothing can leak from one player to the other."""
    ways = [torch.optim.Adam(p.parameters(), lr, (0.3, 0.9)) for p, lr in ((G, 0.05), (D, 0.02))]
    values, left = [], []
    for x, z in drawn:
        V = F.logsigmoid(D(x)).mean() + F.logsigmoid(-D(G(z))).mean()
        values.append(V.detach())
        step(D, ways[1], -V)
        fake = D(G(z))
        L = F.logsigmoid(-fake).mean() if saturating else -F.logsigmoid(fake).mean()
        step(G, ways[0], L)
        left.append((G.gradients(), D.gradients()))
    return G, D, values, left


def step(player, optimizer, loss):
    found = torch.autograd.grad(loss, [*player.parameters()])
    for p, g in zip(player.parameters(), found, strict=True):
        p.grad = g
    optimizer.step()


def same_weights(player, twin, says):
    state = player.state()
    for name, want in twin.state_dict().items():
        got = expect.tensor(state[name], want.shape, name)
        expect.close(got, want, says, atol=1e-9, rtol=1e-9, what=name)


@train_step(weight=3)
def test_steps_of_the_discriminator(student, generator):
    """the discriminator goes up V, one step a batch"""
    (_, D), _, _, (_, twin, _, _) = game(student, generator)
    same_weights(D, twin, "the discriminator's weights are not those of its own steps up V")


@train_step(weight=3)
@EACH
def test_steps_of_the_generator(student, generator, saturating):
    """the generator goes down its loss, against the discriminator as it has become"""
    (G, _), _, _, (twin, _, _, _) = game(student, generator, saturating=saturating)
    same_weights(G, twin, "the generator's weights are not those of steps against the new D")


@train_step(weight=2)
def test_the_value_before_the_updates(student, generator):
    """V of before both updates comes back"""
    _, came, _, (_, _, values, _) = game(student, generator)
    for V, want in zip(came, values, strict=True):
        V = expect.tensor(V, (), "V")
        expect.close(V, want, "V(G, D) of before both updates", atol=1e-11, rtol=1e-11)
    new = [student.new("checking.fakes.Player", 2, outputs) for outputs in (2, 1)]
    x, z = torch.randn(2, 4, 2, generator=generator)
    V = student.gan.train_step(student.new("given.training.Players", *new), x, z)
    expect.close(V, -math.log(4), "of players that know nothing, in float32")


@train_step(weight=2)
@EACH
def test_gradients_are_left_alone(student, generator, saturating):
    """no player's gradients hold anything of the other's loss, and both can learn on"""
    players, _, _, (*twins, _, left) = game(student, generator, saturating=saturating)
    for player, twin, wants, name, other in zip(
        players, twins, left[-1], "GD", ("discriminator", "generator"), strict=True
    ):
        same_weights(player, twin, f"{name} has not made its own steps")
        says = f"the {other}'s step left something in {name}'s gradients"
        for got, want in zip(player.call("gradients"), wants, strict=True):
            if got is None or not bool(expect.tensor(got, want.shape, "a gradient").any()):
                continue  # cleared
            expect.close(got, want, says, atol=1e-9, rtol=1e-9)
        expect.true(not player.call("frozen"), f"{name} takes no gradients any more")


@train_step(weight=2)
def test_batches_of_every_shape(student, generator):
    """batches of one example, and of examples with more axes"""
    for shape in ((1,), (3, 2), (2, 1, 3)):
        players, came, _, (*twins, values, _) = game(student, generator, shape=shape)
        says = f"other weights than those of steps by hand, for a batch of shape {shape}"
        for player, twin in zip(players, twins, strict=True):
            same_weights(player, twin, says)
        V = expect.tensor(came[-1], (), "V")
        expect.close(V, values[-1], "V(G, D) of before both updates", atol=1e-11, rtol=1e-11)


@train_step
@EACH
def test_sure_players_still_move(student, generator, saturating):
    """where logits are far from 0, steps are finite and go the same way"""
    players, came, _, (*twins, values, _) = game(
        student, generator, saturating=saturating, scale=20.0, spread=20.0
    )
    for player, twin in zip(players, twins, strict=True):
        same_weights(player, twin, "far logits must leave every gradient as it is")
    expect.close(came[0], values[0], "V(G, D) of before both updates", atol=1e-9, rtol=1e-9)


@train_step
@pytest.mark.parametrize("modes", [("train", "eval"), ("eval", "train")], ids=" ".join)
def test_modes_stay(student, generator, modes):
    """players stay in the mode they are in"""
    players, _, _, (*twins, _, _) = game(student, generator, modes=modes)
    for player, twin, mode in zip(players, twins, modes, strict=True):
        same_weights(player, twin, "other weights than those of steps by hand")
        got = "train" if player.get("training") else "eval"
        expect.true(got == mode, "a player has changed its mode", got, mode)


# --- gan.optimal_discriminator, gan.jensen_shannon, gan.value_at_optimum --------------------------


optimal_discriminator = pytest.mark.exercise("gan.optimal_discriminator")
jensen = pytest.mark.exercise("gan.jensen_shannon")
value_at_optimum = pytest.mark.exercise("gan.value_at_optimum")


def two_mixtures(generator, dim):
    """Two mixtures, a grid that covers both, and what belongs to a place of it.

    Each has a wide component, so that neither is rounded away beside the other.
    """
    both = []
    for _ in range(2):
        means = 1.5 * torch.randn(3, dim, generator=generator, dtype=torch.float64)
        std = 0.5 + 0.5 * torch.rand(3, generator=generator, dtype=torch.float64)
        std[0] = 3
        both.append(GaussianMixture.isotropic(means, std))
    axis = torch.linspace(-22, 22, 2201 if dim == 1 else 221, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(*[axis] * dim, indexing="ij"), dim=-1)
    return both, grid, float(axis[1] - axis[0]) ** dim


def best_answers(p, q, grid):
    """D* from log-densities; ½ where a float holds neither density."""
    D = torch.sigmoid(p.log_density(grid) - q.log_density(grid))
    return torch.where(p.density(grid) + q.density(grid) > 0, D, 0.5)


@optimal_discriminator(weight=3)
@pytest.mark.parametrize("dim", [1, 2])
def test_it_is_what_theory_says(student, generator, dim):
    """D* of random mixtures, wherever one asks"""
    (p, q), grid, _ = two_mixtures(generator, dim)
    D = student.gan.optimal_discriminator(p.density(grid), q.density(grid))
    want = best_answers(p, q, grid)
    D = expect.tensor(D, want.shape, "D*")
    # Log-densities of −500 and more, of whose difference 1e-13 is lost.
    expect.close(D, want, "not p_data / (p_data + p_G)", atol=1e-10, rtol=1e-10)


@optimal_discriminator
def test_two_answers_make_one(student, generator):
    """with data and samples swapped, the two answers add up to 1, and only the ratio counts"""
    p, q = 0.05 + torch.rand(2, 50, generator=generator, dtype=torch.float64)
    factors = 10.0 ** torch.randint(-300, 300, (50,), generator=generator).double()
    one, other, same = (
        expect.tensor(student.gan.optimal_discriminator(*given), (50,), "D*").double()
        for given in ((p, q), (q, p), (p * factors, q * factors))
    )
    all_ones = torch.ones(50).double()
    expect.close(one + other, all_ones, "D*(p, q) + D*(q, p) is not 1", atol=1e-12, rtol=1e-12)
    expect.close(one, same, "it changes with a factor of both", atol=1e-11, rtol=1e-11)


@optimal_discriminator
@pytest.mark.parametrize(
    ("dtype", "least", "most", "digits"),
    [(torch.float32, -36, 36, 1e-5), (torch.float64, -305, 300, 1e-11)],
    ids=["float32", "float64"],
)
def test_the_smallest_densities(student, generator, dtype, least, most, digits):
    """densities may be as small or large as numbers of their precision can be"""
    for power in (least, least // 2, 0, most):
        p, q = (0.1 + torch.rand(2, 6, generator=generator, dtype=torch.float64)) * 10.0**power
        D = student.gan.optimal_discriminator(p.to(dtype), q.to(dtype))
        says = f"not p_data / (p_data + p_G) for densities of about 1e{power}"
        expect.close(D, p / (p + q), says, atol=digits, rtol=digits, what="D*")
        none = torch.zeros_like(p, dtype=dtype)
        for given, want in (((p.to(dtype), none), 1.0), ((none, q.to(dtype)), 0.0)):
            D = student.gan.optimal_discriminator(*given)
            says = "a density of 0 leaves no doubt, however small the other is"
            expect.close(D, torch.full((6,), want), says, atol=1e-15, rtol=0, what="D*")


@optimal_discriminator
def test_densities_of_every_shape(student, generator):
    """one place, a row, or a grid of any number of axes"""
    for shape in ((), (1,), (3, 1), (2, 3, 4), (1, 2, 1, 3)):
        p, q = torch.rand(2, *shape, generator=generator, dtype=torch.float64)
        D = expect.tensor(student.gan.optimal_discriminator(p, q), shape, "D*")
        expect.close(D, p / (p + q), "not p_data / (p_data + p_G)", atol=1e-12, rtol=1e-12)
        nothing = torch.zeros(shape, dtype=torch.float64)
        D = student.gan.optimal_discriminator(nothing, nothing)
        expect.close(D, torch.full(shape, 0.5), "½ where both are 0", atol=1e-12, rtol=0)


@optimal_discriminator
def test_where_one_or_none_is(student, generator):
    """1, 0 and ½ where only data, only samples, or nothing come"""
    p = torch.rand(3, generator=generator, dtype=torch.float64) + 0.1
    for precision in (p, p.float()):
        D = student.gan.optimal_discriminator(
            precision * torch.tensor([1, 0, 0]), precision * torch.tensor([0, 1, 0])
        )
        expect.close(D, torch.tensor([1, 0, 0.5]), "1, 0 and ½", atol=1e-15, rtol=0)


@optimal_discriminator
def test_densities_to_refuse(student, generator):
    """a negative density or two of other shapes are refused, one that is 0 somewhere is not"""
    p, q = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    p[0, 0] = q[1, 1] = q[0, 0] = 0.0
    bad = p.clone()
    bad[draws.whole(generator, 0, 2), 3] = -1e-9
    for pair in ((bad, q), (q, bad), (p, q[:1]), (p, q[0]), (p, q.reshape(-1)), (p, q[None])):
        shapes = " and ".join(str(tuple(d.shape)) for d in pair)
        says = f"densities {shapes}, one of them negative or not shaped alike, must be refused"
        expect.raises(
            "ValueError", lambda pair=pair: student.gan.optimal_discriminator(*pair), says
        )
    expect.tensor(student.gan.optimal_discriminator(p, q), (3, 4))


@jensen(weight=3)
@pytest.mark.parametrize("dim", [1, 2])
def test_divergences_of_mixtures(student, generator, dim):
    """JSD of random mixtures"""
    (p, q), grid, cell = two_mixtures(generator, dim)
    JSD = number(student.gan.jensen_shannon(p.density(grid), q.density(grid), cell), "JSD")
    want = jensen_shannon(p, q)
    expect.close(JSD, want, "not the Jensen–Shannon divergence", atol=1e-4, rtol=0)


def on_a_grid(generator, *shape, gaps=False):
    """A cell and two densities with all their mass on a grid, in float64; with `gaps` each is 0 at
    some places, and both are at one."""
    cell = float(0.05 + torch.rand((), generator=generator))
    both = 0.02 + torch.rand(2, *shape, generator=generator, dtype=torch.float64) ** 2
    if gaps:
        rows = both.reshape(2, -1)
        rows[0, ::3], rows[1, 1::3] = 0, 0
        rows[:, -1] = 0
    return *(d / (d.sum() * cell) for d in both), cell


def exact_jsd(p, q, dx):
    """From the definition, number by number."""
    total = []
    for a, b in zip(p.double().flatten().tolist(), q.double().flatten().tolist(), strict=True):
        total += [c * math.log(2 * (c / (a + b))) for c in (a, b) if c > 0]
    return math.fsum(total) * dx / 2


GRIDS = ((12,), (2,), (3, 4), (2, 1, 5), (2, 2, 2, 2))


@jensen(weight=2)
@pytest.mark.parametrize("gaps", [False, True], ids=["everywhere", "with gaps"])
def test_divergences_on_grids(student, generator, gaps):
    """½ ∫ p log(p/m) + q log(q/m) for grids of any number of axes, and any cell"""
    for shape in GRIDS:
        if gaps and math.prod(shape) < 4:
            continue
        p, q, cell = on_a_grid(generator, *shape, gaps=gaps)
        JSD = number(student.gan.jensen_shannon(p, q, cell), "JSD")
        says = f"not the divergence on a grid of shape {shape} with cells of {cell:.3g}, in float64"
        expect.close(JSD, exact_jsd(p, q, cell), says, atol=1e-13, rtol=1e-13)


@jensen
@pytest.mark.parametrize("power", [-100, -6, 6, 100])
def test_the_unit_of_length(student, generator, power):
    """it does not depend on the unit of length, in which densities may be tiny or huge"""
    p, q, cell = on_a_grid(generator, 12, gaps=True)
    unit = 10.0**power
    JSD = number(student.gan.jensen_shannon(p / unit, q / unit, cell * unit), "JSD")
    says = (
        f"it changes with the unit: densities of about {float(p.mean()) / unit:.0e} count as well"
    )
    expect.close(JSD, exact_jsd(p, q, cell), says, atol=1e-11, rtol=1e-10)


@jensen
def test_divergences_in_float32(student, generator):
    """in float32 it is right to float32's digits, and 0 log 0 is 0"""
    for gaps in (False, True):
        p, q, cell = on_a_grid(generator, 12, gaps=gaps)
        JSD = number(student.gan.jensen_shannon(p.float(), q.float(), cell), "JSD")
        want = exact_jsd(p.float(), q.float(), cell)
        expect.close(JSD, want, "not the divergence, in float32", atol=2e-6, rtol=1e-5)


@jensen
def test_the_divergence_of_neighbours(student, generator):
    """of densities that differ by a small factor 1 + δ it is about ∫ p δ²/8"""
    p, _, cell = on_a_grid(generator, 12)
    for small in (1e-2, 1e-4):
        bend = torch.randn(12, generator=generator, dtype=torch.float64)
        q = p * (1 + small * (bend - (p * bend).sum() / p.sum()))
        JSD = number(student.gan.jensen_shannon(p, q, cell), "JSD")
        want = float((p * (q / p - 1).square()).sum() * cell / 8)
        says = f"not ∫ p δ²/8 for densities {small:g} apart"
        expect.close(JSD, want, says, atol=1e-14, rtol=10 * small)


@jensen(weight=2)
def test_from_0_to_log_2(student, generator):
    """0 for equal densities, log 2 for those that never meet, the same either way round"""
    p = torch.rand(12, generator=generator, dtype=torch.float64)
    p[6:] = 0
    p = p / (0.1 * p.sum())
    q = torch.rand(12, generator=generator, dtype=torch.float64)
    q = q / (0.1 * q.sum())
    far, near, way, back = (
        number(student.gan.jensen_shannon(*given, 0.1), "JSD")
        for given in ((p, p.flip(0)), (p, p), (p, q), (q, p))
    )
    expect.close(far, math.log(2), "log 2 where they never meet", atol=1e-9, rtol=1e-9)
    expect.close(near, 0.0, "0 for equal densities", atol=1e-9, rtol=1e-9)
    expect.close(way, back, "JSD(p ‖ q) is not JSD(q ‖ p)", atol=1e-9, rtol=1e-9)


@jensen
def test_divergences_to_refuse(student, generator):
    """a negative density or two of other shapes are refused, one that is 0 somewhere is not"""
    p, q = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    p[0, 0] = q[1, 1] = q[0, 0] = 0.0
    bad = p.clone()
    bad[draws.whole(generator, 0, 2), 3] = -1e-9
    for pair in ((bad, q), (q, bad), (p, q[:1]), (p, q[0]), (p, q.reshape(-1)), (p, q[None])):
        shapes = " and ".join(str(tuple(d.shape)) for d in pair)
        says = f"densities {shapes}, one of them negative or not shaped alike, must be refused"
        expect.raises("ValueError", lambda pair=pair: student.gan.jensen_shannon(*pair, 0.1), says)
    expect.tensor(student.gan.jensen_shannon(p, q, 0.1), ())


@value_at_optimum(weight=2)
def test_it_is_what_the_best_discriminator_reaches(student, generator):
    """∫ p log D* + q log (1 − D*) of random mixtures"""
    (p, q), grid, cell = two_mixtures(generator, 1)
    a, b = p.density(grid), q.density(grid)
    odds = p.log_density(grid) - q.log_density(grid)
    want = (a * F.logsigmoid(odds) + b * F.logsigmoid(-odds)).sum() * cell
    V = number(student.gan.value_at_optimum(a, b, cell), "V(G, D*)")
    expect.close(V, want, "not what D* reaches", atol=1e-5, rtol=1e-5)


@value_at_optimum(weight=2)
@PRECISION
def test_values_on_grids(student, generator, dtype):
    """−log 4 + 2 JSD for grids of any number of axes, any cell, and densities with gaps"""
    digits = 2e-13 if dtype == torch.float64 else 1e-5
    for shape in GRIDS:
        for gaps in (False, True)[: 1 + (math.prod(shape) > 3)]:
            p, q, cell = on_a_grid(generator, *shape, gaps=gaps)
            p, q = p.to(dtype), q.to(dtype)
            V = number(student.gan.value_at_optimum(p, q, cell), "V(G, D*)")
            want = 2 * exact_jsd(p, q, cell) - math.log(4)
            says = f"not −log 4 + 2 JSD on a grid of shape {shape} with cells of {cell:.3g}"
            expect.close(V, want, says, atol=digits, rtol=digits)


@value_at_optimum
def test_the_unit_of_length_of_values(student, generator):
    """it does not depend on the unit of length"""
    p, q, cell = on_a_grid(generator, 12, gaps=True)
    for unit in (1e-100, 1e-6, 1e6, 1e100):
        V = number(student.gan.value_at_optimum(p / unit, q / unit, cell * unit), "V(G, D*)")
        want = 2 * exact_jsd(p, q, cell) - math.log(4)
        expect.close(V, want, "it changes with the unit of length", atol=1e-10, rtol=1e-10)


@value_at_optimum
def test_the_least_and_the_most(student, generator):
    """−log 4 at p_G = p_data, 0 for densities that never meet"""
    p = torch.rand(8, generator=generator, dtype=torch.float64)
    p[4:] = 0
    p = p / (0.25 * p.sum())
    least, most = (
        number(student.gan.value_at_optimum(p, q, 0.25), "V(G, D*)") for q in (p, p.flip(0))
    )
    expect.close(least, -math.log(4), "−log 4 at p_G = p_data", atol=1e-9, rtol=1e-9)
    expect.close(most, 0.0, "0 for densities that never meet", atol=1e-9, rtol=1e-9)
