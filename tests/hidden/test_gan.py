"""Hidden graders of chapters 01 and 02: quadrature of the value, closed forms of slopes, a game
whose gradients are taken one by one, and mixtures whose divergence is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal

from cs231n_gen.checking import expect, fakes
from cs231n_gen.truth import GaussianMixture, jensen_shannon

EACH = pytest.mark.parametrize("saturating", [True, False], ids=["saturating", "non-saturating"])


value = pytest.mark.exercise("gan.value")
discriminator_loss = pytest.mark.exercise("gan.discriminator_loss")
generator_loss = pytest.mark.exercise("gan.generator_loss")
generator_logit_gradient = pytest.mark.exercise("gan.generator_logit_gradient")
train_step = pytest.mark.exercise("gan.train_step", changes=("players",), graph=False)


def logits(generator, *shape, scale=3.0):
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def number(got, name):
    return expect.tensor(got, (), name).double()


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
    for real_shape, fake_shape in (((5,), (9,)), ((4, 1), (4, 1)), ((2, 1, 3, 3), (7, 2))):
        real, fake = logits(generator, *real_shape), logits(generator, *fake_shape)
        got = student.gradient("gan.value", real, fake, wrt=[real, fake])
        want = [torch.sigmoid(-real) / real.numel(), -torch.sigmoid(fake) / fake.numel()]
        for g, w, name in zip(got, want, ("data", "samples"), strict=True):
            says = f"the slope of V with the logits of {name} is wrong"
            expect.close(expect.tensor(g, w.shape, "dV/dℓ"), w, says)


@value(weight=2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_sure_players(student, generator, dtype):
    """logits of any size give finite, exact values and slopes"""
    size = (50 + 50 * torch.rand(6, generator=generator)).to(dtype)
    for sign in (1, -1):
        V = number(student.gan.value(sign * size, -sign * size), "V")
        want = torch.tensor(0.0 if sign > 0 else -2 * float(size.double().mean())).double()
        expect.close(V, want, "far logits must stay exact", atol=1e-6, rtol=1e-5)
    real = -size
    (slope,) = student.gradient("gan.value", real, -real, wrt=[real])
    expect.close(slope.double(), torch.full((6,), 1 / 6).double(), "the slope must stay 1/n")


# --- gan.discriminator_loss ---------------------------------------------------------------------


@discriminator_loss(weight=2)
def test_it_is_the_cross_entropy_of_real_and_fake(student, generator):
    """it is the cross-entropy of labels 1 for data and 0 for samples, a mean over each"""
    real, fake = logits(generator, 7, 1), logits(generator, 5, 1)
    L = number(student.gan.discriminator_loss(real, fake), "the loss")
    want = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    want = want + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    expect.close(L, want, "not the cross-entropy of both kinds")


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
    real, fake = logits(generator, 4, 2), logits(generator, 11)
    got = student.gradient("gan.discriminator_loss", real, fake, wrt=[real, fake])
    want = [-torch.sigmoid(-real) / 8, torch.sigmoid(fake) / 11]
    for g, w in zip(got, want, strict=True):
        expect.close(expect.tensor(g, w.shape, "the slope"), w, "the loss has the wrong slopes")


@discriminator_loss
def test_sure_and_wrong(student, generator):
    """a discriminator that is sure and wrong has a finite loss"""
    size = 100 * (1 + torch.rand(4, generator=generator))
    L = number(student.gan.discriminator_loss(-size, size), "the loss")
    expect.close(L, 2 * size.double().mean(), "far logits must stay exact", rtol=1e-5, atol=1e-5)


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
    expect.close(losses[0], F.logsigmoid(-one).mean(), "the mean of log (1 − D)")


@generator_loss(weight=2)
def test_non_saturating_is_how_real_samples_look(student, generator):
    """non-saturating, which is the default: the cross-entropy of samples labelled real"""
    fake = logits(generator, 5, 3)
    want = F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    for options in ({}, {"saturating": False}):
        L = number(student.gan.generator_loss(fake, **options), "the loss")
        expect.close(L, want, "the mean of −log D")


@generator_loss(weight=2)
@EACH
def test_slopes_of_the_generators_loss(student, generator, saturating):
    """its slope is −D/n, or −(1 − D)/n if it does not saturate"""
    fake = logits(generator, 3, 4)
    (got,) = student.gradient("gan.generator_loss", fake, saturating=saturating, wrt=[fake])
    want = -torch.sigmoid(fake if saturating else -fake) / 12
    expect.close(expect.tensor(got, (3, 4), "the slope"), want, "the loss has the wrong slopes")


@generator_loss
@EACH
def test_far_samples(student, generator, saturating):
    """logits of any size give finite, exact losses"""
    size = 100 * (1 + torch.rand(4, generator=generator))
    for sign in (1, -1):
        L = number(student.gan.generator_loss(sign * size, saturating=saturating), "the loss")
        counts = sign > 0 if saturating else sign < 0
        want = (-1 if saturating else 1) * size.double().mean() * counts
        expect.close(L, want, "far logits must stay exact", atol=1e-6, rtol=1e-5)


# --- gan.generator_logit_gradient ---------------------------------------------------------------


@generator_logit_gradient(weight=2)
@EACH
def test_the_slope_at_each_logit(student, generator, saturating):
    """it is the slope of each sample's own term, for any shape"""
    for shape in ((9,), (2, 3, 4), ()):
        l = logits(generator, *shape).requires_grad_()
        term = F.logsigmoid(-l) if saturating else -F.logsigmoid(l)
        (want,) = torch.autograd.grad(term.sum(), l)
        got = student.gan.generator_logit_gradient(l.detach(), saturating=saturating)
        expect.close(expect.tensor(got, shape, "the derivative"), want, "not the slope of its term")


@generator_logit_gradient(weight=2)
def test_both_pulls_fit_together(student, generator):
    """the two pulls add up to −1, and their ratio is e^ℓ"""
    l = logits(generator, 20)
    both = [student.gan.generator_logit_gradient(l, saturating=s) for s in (True, False)]
    with_, without = (expect.tensor(p, (20,), "the derivative") for p in both)
    expect.close(with_ + without, torch.full_like(l, -1), "−D and −(1 − D) add up to −1")
    expect.close(with_ / without, l.exp(), "D/(1 − D) is e^ℓ", rtol=1e-6, atol=1e-6)


@generator_logit_gradient(weight=2)
@EACH
def test_small_pulls_keep_their_digits(student, generator, saturating):
    """where a pull is small it is e^−|ℓ|, to all its digits, also in float32"""
    l = 20 + 40 * torch.rand(6, generator=generator)
    got = student.gan.generator_logit_gradient(-l if saturating else l, saturating=saturating)
    got = expect.tensor(got, (6,), "the derivative").double()
    expect.close(
        got, -(-l.double()).exp(), "digits are lost: it is −e^−|ℓ| here", rtol=1e-5, atol=0
    )


@generator_logit_gradient
@EACH
def test_the_limits(student, saturating):
    """far away it is 0 on one side and −1 on the other"""
    l = torch.tensor([-1000.0, 1000.0])
    got = student.gan.generator_logit_gradient(l, saturating=saturating)
    want = torch.tensor([0.0, -1.0] if saturating else [-1.0, 0.0])
    expect.close(expect.tensor(got, (2,), "the derivative"), want, "the limits are 0 and −1")


# --- gan.train_step -----------------------------------------------------------------------------


def game(student, generator, steps=3, saturating=False):
    """A game of linear players with random weights; they, what came, and the same by hand."""
    latent, dim, n = (int(k) for k in torch.randint(2, 6, (3,), generator=generator))
    sizes, players, twins = ((latent, dim), (dim, 1)), [], []
    for size in sizes:
        twin = fakes.Player(*size).double()
        with torch.no_grad():
            for p in twin.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
        player = student.new("checking.fakes.Player", *size)
        player.call("double")
        player.load(twin.state_dict())
        players.append(player)
        twins.append(twin)
    both = student.new("given.training.Players", *players, lr=0.05, lr_d=0.02, betas=(0.3, 0.9))
    drawn = []
    for _ in range(steps):
        x = 1 + torch.randn(n + 8, dim, generator=generator, dtype=torch.float64)
        z = torch.randn(n + 8, latent, generator=generator, dtype=torch.float64)
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
        left.append(D.gradients())
        fake = D(G(z))
        L = F.logsigmoid(-fake).mean() if saturating else -F.logsigmoid(fake).mean()
        step(G, ways[0], L)
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
        expect.close(got, want, says, atol=1e-7, rtol=1e-7, what=name)


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
        expect.close(V.double(), want, "V(G, D) of before both updates", atol=1e-6, rtol=1e-6)


@train_step(weight=2)
def test_gradients_are_left_alone(student, generator):
    """the generator's step leaves nothing in D's gradients, and D can learn on"""
    (_, D), _, _, (*_, left) = game(student, generator)
    says = "the generator's step left something in D's gradients"
    for got, want in zip(D.call("gradients"), left[-1], strict=True):
        expect.close(
            expect.tensor(got, want.shape, "D's gradient"), want, says, atol=1e-7, rtol=1e-7
        )
    expect.true(not D.call("frozen"), "D takes no gradients any more")


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
    expect.close(
        expect.tensor(D, want.shape, "D*"),
        want,
        "not p_data / (p_data + p_G)",
        atol=1e-6,
        rtol=1e-6,
    )


@optimal_discriminator
def test_two_answers_make_one(student, generator):
    """with data and samples swapped, the two answers add up to 1, and only the ratio counts"""
    p, q = torch.rand(2, 50, generator=generator, dtype=torch.float64)
    small = 10.0 ** -torch.randint(0, 200, (50,), generator=generator).double()
    one, other, same = (
        expect.tensor(student.gan.optimal_discriminator(*given), (50,), "D*").double()
        for given in ((p, q), (q, p), (p * small, q * small))
    )
    expect.close(
        one + other, torch.ones(50).double(), "D*(p, q) + D*(q, p) is not 1", atol=1e-6, rtol=1e-6
    )
    expect.close(one, same, "it changes when both densities get smaller", atol=1e-6, rtol=1e-6)


@optimal_discriminator
def test_where_one_or_none_is(student, generator):
    """1, 0 and ½ where only data, only samples, or nothing come"""
    p = torch.rand(3, generator=generator, dtype=torch.float64) + 0.1
    D = student.gan.optimal_discriminator(p * torch.tensor([1, 0, 0]), p * torch.tensor([0, 1, 0]))
    expect.close(D, torch.tensor([1, 0, 0.5]), "1, 0 and ½", atol=1e-9, rtol=1e-9)


@jensen(weight=3)
@pytest.mark.parametrize("dim", [1, 2])
def test_divergences_of_mixtures(student, generator, dim):
    """JSD of random mixtures"""
    (p, q), grid, cell = two_mixtures(generator, dim)
    JSD = number(student.gan.jensen_shannon(p.density(grid), q.density(grid), cell), "JSD")
    want = jensen_shannon(p, q)
    expect.close(JSD, want, "not the Jensen–Shannon divergence", atol=1e-4, rtol=0)


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


@value_at_optimum(weight=2)
def test_it_is_what_the_best_discriminator_reaches(student, generator):
    """∫ p log D* + q log (1 − D*) of random mixtures"""
    (p, q), grid, cell = two_mixtures(generator, 1)
    a, b = p.density(grid), q.density(grid)
    odds = p.log_density(grid) - q.log_density(grid)
    want = (a * F.logsigmoid(odds) + b * F.logsigmoid(-odds)).sum() * cell
    V = number(student.gan.value_at_optimum(a, b, cell), "V(G, D*)")
    expect.close(V, want, "not what D* reaches", atol=1e-5, rtol=1e-5)


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
