"""Typical wrong answers to chapters 01 and 02, each with the sentence that explains it."""

import math

import torch
from torch.nn import functional as F

from cs231n_gen import gan
from cs231n_gen.checking.variants import form_of, mistake, several

# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "gan.value": lambda real, fake: gan._check(real_logits=real, fake_logits=fake),
    "gan.discriminator_loss": lambda real, fake: gan._check(real_logits=real, fake_logits=fake),
    "gan.generator_loss": lambda fake, saturating=False: gan._check(fake_logits=fake),
    "gan.optimal_discriminator": gan._check_densities,
    "gan.jensen_shannon": lambda p, q, dx: gan._check_densities(p, q),
}

# --- gan.value ----------------------------------------------------------------------------------


@mistake(
    "gan.value",
    "For a far logit your result is infinite or NaN: a sigmoid is rounded to 0 or 1 before its "
    "logarithm, or an exponential overflows. Use logsigmoid; log (1 − D(ℓ)) is log D(−ℓ).",
    sure=True,
)
def log_of_sigmoid(real_logits, fake_logits):
    D, D_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    return D.log().mean() + (1 - D_fake).log().mean()


@mistake(
    "gan.value",
    "Samples count with log D, as data do. D wants 0 on samples: their term is log (1 − D).",
)
def samples_as_data(real_logits, fake_logits):
    return F.logsigmoid(real_logits).mean() + F.logsigmoid(fake_logits).mean()


@mistake(
    "gan.value",
    "The sign is turned: this is the discriminator's loss. V itself is at most 0.",
)
def loss_for_value(real_logits, fake_logits):
    return -(F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits).mean())


@mistake("gan.value", "You add the logits up. V is a mean over the data plus one over the samples.")
def sums(real_logits, fake_logits):
    return F.logsigmoid(real_logits).sum() + F.logsigmoid(-fake_logits).sum()


@mistake(
    "gan.value",
    "You take one mean over data and samples together. Each kind has a mean of its own, and V is "
    "their sum.",
)
def one_mean(real_logits, fake_logits):
    terms = [F.logsigmoid(real_logits).flatten(), F.logsigmoid(-fake_logits).flatten()]
    return torch.cat(terms).mean()


@mistake(
    "gan.value",
    "You take logarithms of numbers that are not positive. A logit is no probability: D is the "
    "sigmoid of the logit.",
    sure=True,
)
def logits_for_probabilities(real_logits, fake_logits):
    return real_logits.log().mean() + (1 - fake_logits).log().mean()


@mistake(
    "gan.value",
    "You clamp D away from 0 and 1 before the logarithm. That is finite, but wrong, and its slope "
    "is 0 where the discriminator needs it most.",
)
def clamped(real_logits, fake_logits):
    D, D_fake = (torch.sigmoid(l).clamp(1e-6, 1 - 1e-6) for l in (real_logits, fake_logits))
    return D.log().mean() + (1 - D_fake).log().mean()


@mistake(
    "gan.value",
    "You clamp the logits. That is finite, but wrong where they are far away, and has no "
    "slope there.",
)
def logits_clamped(real_logits, fake_logits):
    real, fake = real_logits.clamp(-30, 30), fake_logits.clamp(-30, 30)
    return F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()


@mistake(
    "gan.value",
    "You divide by the number of rows, len(): logits may have more axes. A mean counts "
    "all of them.",
)
def rows_counted(real_logits, fake_logits):
    rows, fake_rows = (l.shape[0] if l.dim() else 1 for l in (real_logits, fake_logits))
    return F.logsigmoid(real_logits).sum() / rows + F.logsigmoid(-fake_logits).sum() / fake_rows


@mistake(
    "gan.value",
    "No gradient flows from your V into the logits of samples, which are detached (or no tensor "
    "any more): G could never lower V.",
    sure=True,
)
def samples_cut_off(real_logits, fake_logits):
    return F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits.detach()).mean()


@mistake(
    "gan.value",
    "You calculate in float32, also where logits come in float64.",
    public=False,
)
def in_float32(real_logits, fake_logits):
    V = F.logsigmoid(real_logits.float()).mean() + F.logsigmoid(-fake_logits.float()).mean()
    return V.to(real_logits.dtype)


# --- gan.discriminator_loss ---------------------------------------------------------------------


@mistake(
    "gan.discriminator_loss",
    "This is V itself. D raises V; a loss is what falls: −V.",
)
def value_for_loss(real_logits, fake_logits):
    return F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits).mean()


@mistake(
    "gan.discriminator_loss",
    "The labels are exchanged: data want 1 and samples 0.",
)
def labels_exchanged(real_logits, fake_logits):
    return -F.logsigmoid(-real_logits).mean() - F.logsigmoid(fake_logits).mean()


@mistake(
    "gan.discriminator_loss",
    "Samples carry the label 1 too: you ask D to take everything for real.",
)
def all_real(real_logits, fake_logits):
    return -F.logsigmoid(real_logits).mean() - F.logsigmoid(fake_logits).mean()


@mistake(
    "gan.discriminator_loss",
    "This is half of the loss. V is the sum of two means, so the loss is as well.",
)
def half_of_it(real_logits, fake_logits):
    return -(F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits).mean()) / 2


@mistake(
    "gan.discriminator_loss",
    "For a far logit your result is infinite or NaN: a sigmoid is rounded to 0 or 1 before its "
    "logarithm, or an exponential overflows. Use logsigmoid, or "
    "binary_cross_entropy_with_logits.",
    sure=True,
)
def infinite(real_logits, fake_logits):
    D, D_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    return -D.log().mean() - (1 - D_fake).log().mean()


@mistake(
    "gan.discriminator_loss",
    "This is the hinge loss, which some GANs use. Here it is −V, with logarithms.",
)
def hinge(real_logits, fake_logits):
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


@mistake(
    "gan.discriminator_loss",
    "No gradient flows from your loss into the logits of samples, so D never learns from them. "
    "It is the samples that are detached before D sees them, not D's answers.",
    sure=True,
)
def answers_cut_off(real_logits, fake_logits):
    return -F.logsigmoid(real_logits).mean() - F.logsigmoid(-fake_logits.detach()).mean()


@mistake(
    "gan.discriminator_loss",
    "You divide both sums by the number of data. There may be more or fewer samples.",
)
def one_count_for_both(real_logits, fake_logits):
    n = real_logits.numel()
    return -(F.logsigmoid(real_logits).sum() + F.logsigmoid(-fake_logits).sum()) / n


@mistake(
    "gan.discriminator_loss",
    "D is taken through a sigmoid first; binary_cross_entropy then cuts logarithms off at −100. "
    "binary_cross_entropy_with_logits is exact.",
)
def cut_at_100(real_logits, fake_logits):
    D, D_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    bce = F.binary_cross_entropy
    return bce(D, torch.ones_like(D)) + bce(D_fake, torch.zeros_like(D_fake))


# --- gan.generator_loss -------------------------------------------------------------------------


@mistake(
    "gan.generator_loss",
    "The two losses are exchanged: the saturating one is log (1 − D), the other −log D.",
)
def exchanged(fake_logits, saturating=False):
    return -F.logsigmoid(fake_logits).mean() if saturating else F.logsigmoid(-fake_logits).mean()


@mistake(
    "gan.generator_loss",
    "The sign of the saturating loss is turned: G minimises log (1 − D), it has no minus.",
)
def saturating_turned(fake_logits, saturating=False):
    return -F.logsigmoid(-fake_logits).mean() if saturating else -F.logsigmoid(fake_logits).mean()


@mistake(
    "gan.generator_loss",
    "The non-saturating loss lacks its minus: minimised, it would make samples look more fake.",
)
def no_minus(fake_logits, saturating=False):
    return F.logsigmoid(-fake_logits).mean() if saturating else F.logsigmoid(fake_logits).mean()


@mistake("gan.generator_loss", "You ignore `saturating`: there are two losses.")
def one_loss_for_both(fake_logits, saturating=False):
    return -F.logsigmoid(fake_logits).mean()


@mistake(
    "gan.generator_loss",
    "For a far logit your result is infinite or NaN: a sigmoid is rounded to 0 or 1 before its "
    "logarithm, or an exponential overflows. Use logsigmoid.",
    sure=True,
)
def logarithm_of_zero(fake_logits, saturating=False):
    D = torch.sigmoid(fake_logits)
    return (1 - D).log().mean() if saturating else -D.log().mean()


@mistake("gan.generator_loss", "You add the samples up: the loss is a mean over the batch.")
def sum_of_samples(fake_logits, saturating=False):
    return F.logsigmoid(-fake_logits).sum() if saturating else -F.logsigmoid(fake_logits).sum()


@mistake(
    "gan.generator_loss",
    "No gradient flows from your loss into the logits, which are detached (or no tensor any "
    "more): G would never learn.",
    sure=True,
)
def cut_off(fake_logits, saturating=False):
    l = fake_logits.detach()
    return F.logsigmoid(-l).mean() if saturating else -F.logsigmoid(l).mean()


@mistake(
    "gan.generator_loss",
    "You clamp the logits. That is finite, but wrong where they are far away, and G gets no slope "
    "where it needs one most.",
)
def far_samples_clamped(fake_logits, saturating=False):
    l = fake_logits.clamp(-30, 30)
    return F.logsigmoid(-l).mean() if saturating else -F.logsigmoid(l).mean()


# --- gan.generator_logit_gradient ---------------------------------------------------------------


@mistake(
    "gan.generator_logit_gradient",
    "The two slopes are exchanged: d/dℓ log (1 − D) is −D, and d/dℓ (−log D) is −(1 − D).",
)
def slopes_exchanged(logits, saturating=False):
    return -torch.sigmoid(-logits) if saturating else -torch.sigmoid(logits)


@mistake(
    "gan.generator_logit_gradient",
    "The sign is turned: both losses fall as the logit grows.",
)
def upward(logits, saturating=False):
    return torch.sigmoid(logits) if saturating else torch.sigmoid(-logits)


@mistake(
    "gan.generator_logit_gradient",
    "You derive with respect to D instead of ℓ: the slope dD/dℓ = D (1 − D) is missing.",
)
def with_respect_to_D(logits, saturating=False):
    D = torch.sigmoid(logits)
    return -1 / (1 - D) if saturating else -1 / D


@mistake(
    "gan.generator_logit_gradient",
    "You divide by the number of logits. Here each sample's own term counts, not the mean.",
)
def of_the_mean(logits, saturating=False):
    return -torch.sigmoid(logits if saturating else -logits) / logits.numel()


@mistake("gan.generator_logit_gradient", "You ignore `saturating`: the two losses have two slopes.")
def one_slope_for_both(logits, saturating=False):
    return -torch.sigmoid(-logits)


@mistake(
    "gan.generator_logit_gradient",
    "1 − D is calculated from D: where D is nearly 1 the difference loses all its digits. 1 − "
    "sigmoid(ℓ) is sigmoid(−ℓ).",
    sure=True,
)
def digits_lost(logits, saturating=False):
    D = torch.sigmoid(logits)
    return -D if saturating else D - 1


@mistake(
    "gan.generator_logit_gradient",
    "This is the slope of D itself, D (1 − D), which vanishes on both sides.",
)
def slope_of_D(logits, saturating=False):
    D = torch.sigmoid(logits)
    return -D * (1 - D)


@mistake(
    "gan.generator_logit_gradient",
    "You ask autograd, which works only where graphs are kept. Write the derivative down: it is "
    "a sigmoid with a sign.",
    sure=True,
)
def by_autograd(logits, saturating=False):
    with torch.enable_grad():
        l = logits.detach().clone().requires_grad_()
        term = F.logsigmoid(-l) if saturating else -F.logsigmoid(l)
        return torch.autograd.grad(term.sum(), l)[0]


@mistake(
    "gan.generator_logit_gradient",
    "For far logits your derivative is infinite or NaN, by an exponential that overflows: "
    "torch.sigmoid is exact everywhere.",
    sure=True,
)
def quotient_of_exponentials(logits, saturating=False):
    return -logits.exp() / (1 + logits.exp()) if saturating else -1 / (1 + logits.exp())


# --- gan.train_step -----------------------------------------------------------------------------


def d_loss(D, real, fake):
    return -F.logsigmoid(D(real)).mean() - F.logsigmoid(-D(fake)).mean()


def g_loss(logits, saturating):
    return F.logsigmoid(-logits).mean() if saturating else -F.logsigmoid(logits).mean()


@mistake(
    "gan.train_step",
    "The generator's step leaves its gradients in D's weights. Take gradients of G's weights "
    "alone, or D's out of it: D.requires_grad_(False) while G learns.",
)
def gradients_left_behind(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    L = d_loss(D, x, G(z).detach())
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    G_optimizer.zero_grad()
    g_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    return -L.detach()


@mistake(
    "gan.train_step",
    "The generator learns from the discriminator as it was. First D makes its step, then G asks "
    "the new D.",
)
def against_the_old_discriminator(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    fake = G(z)
    L = d_loss(D, x, fake.detach())
    to_G = torch.autograd.grad(g_loss(D(fake), saturating), [*G.parameters()])
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    for p, g in zip(G.parameters(), to_G, strict=True):
        p.grad = g
    G_optimizer.step()
    return -L.detach()


@mistake(
    "gan.train_step",
    "The generator moves before the discriminator: on the slides D has its turn first.",
)
def generator_first(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    L = d_loss(D, x, G(z).detach())
    for p, g in zip(
        G.parameters(),
        torch.autograd.grad(g_loss(D(G(z)), saturating), [*G.parameters()]),
        strict=True,
    ):
        p.grad = g
    G_optimizer.step()
    D_optimizer.zero_grad()
    d_loss(D, x, G(z).detach()).backward()
    D_optimizer.step()
    return -L.detach()


@mistake(
    "gan.train_step",
    "The discriminator goes down V: its loss is −V, and a step of the optimiser lowers it.",
)
def discriminator_downhill(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    L = d_loss(D, x, G(z).detach())
    D_optimizer.zero_grad()
    (-L).backward()
    D_optimizer.step()
    D.requires_grad_(False)
    G_optimizer.zero_grad()
    g_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    D.requires_grad_(True)
    return -L.detach()


@mistake(
    "gan.train_step",
    "The samples are not detached in the discriminator's step, so its gradients reach into G and G "
    "makes a step with both.",
)
def not_detached(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    G_optimizer.zero_grad()
    D_optimizer.zero_grad()
    L = d_loss(D, x, G(z))
    L.backward()
    D_optimizer.step()
    D.requires_grad_(False)
    g_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    D.requires_grad_(True)
    return -L.detach()


@mistake(
    "gan.train_step",
    "Gradients of earlier steps pile up: call zero_grad before each backward.",
)
def gradients_pile_up(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    L = d_loss(D, x, G(z).detach())
    L.backward()
    D_optimizer.step()
    D.requires_grad_(False)
    g_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    D.requires_grad_(True)
    return -L.detach()


@mistake(
    "gan.train_step",
    "You return the loss of the discriminator: V is minus that.",
)
def loss_comes_back(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    L = d_loss(D, x, G(z).detach())
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    D.requires_grad_(False)
    G_optimizer.zero_grad()
    g_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    D.requires_grad_(True)
    return L.detach()


@mistake("gan.train_step", "You ignore `saturating`: G always minimises −log D.")
def never_saturating(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    L = d_loss(D, x, G(z).detach())
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    D.requires_grad_(False)
    G_optimizer.zero_grad()
    g_loss(D(G(z)), False).backward()
    G_optimizer.step()
    D.requires_grad_(True)
    return -L.detach()


@mistake(
    "gan.train_step",
    "After the first step no gradient is taken any more: weights that were frozen for a step, "
    "D.requires_grad_(False), must be switched on again.",
    sure=True,
)
def frozen_for_good(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    L = d_loss(D, x, G(z).detach())
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    D.requires_grad_(False)
    G_optimizer.zero_grad()
    g_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    return -L.detach()


def steps(players, x, z, saturating, real_loss=d_loss, fake_loss=g_loss):
    G, D, G_optimizer, D_optimizer = players
    L = real_loss(D, x, G(z).detach())
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    D.requires_grad_(False)
    G_optimizer.zero_grad()
    fake_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    D.requires_grad_(True)
    return -L.detach()


@mistake(
    "gan.train_step",
    "You change the mode of the players. Whoever calls this decides that, and wants it as it was.",
)
def modes_changed(players, x, z, saturating=False):
    players.generator.train()
    players.discriminator.train()
    return steps(players, x, z, saturating)


@mistake(
    "gan.train_step",
    "For far logits your V is infinite or NaN: a sigmoid is rounded to 0 or 1 before its "
    "logarithm, or an exponential overflows. Use the losses that you have written.",
    sure=True,
)
def logarithms_of_sigmoids(players, x, z, saturating=False):
    def real_loss(D, real, fake):
        return -torch.sigmoid(D(real)).log().mean() - torch.sigmoid(-D(fake)).log().mean()

    def fake_loss(logits, saturating):
        sign = -1 if saturating else 1
        return -sign * torch.sigmoid(sign * logits).log().mean()

    return steps(players, x, z, saturating, real_loss, fake_loss)


@mistake(
    "gan.train_step",
    "Gradients are clipped. Nothing here asks for that: each step follows its gradient as it is.",
    public=False,
)
def clipped(players, x, z, saturating=False):
    _, D, _, D_optimizer = players
    kept, D_optimizer.step = D_optimizer.step, None

    def step():
        torch.nn.utils.clip_grad_norm_(D.parameters(), 0.1)
        kept()

    try:
        D_optimizer.step = step
        return steps(players, x, z, saturating)
    finally:
        del D_optimizer.step


@mistake(
    "gan.train_step",
    "The optimisers are made anew in each step, so Adam forgets what it has seen. Use those of the "
    "players.",
)
def optimisers_anew(players, x, z, saturating=False):
    G, D, *optimizers = players
    fresh = [
        torch.optim.Adam(net.parameters(), lr=old.param_groups[0]["lr"])
        for net, old in zip((G, D), optimizers, strict=True)
    ]
    return steps((G, D, *fresh), x, z, saturating)


# --- gan.optimal_discriminator ------------------------------------------------------------------


@mistake(
    "gan.optimal_discriminator",
    "This is the share of samples. D says how probable it is that x is *real*: p_data on top.",
)
def probability_of_fake(p_data, p_g):
    both = p_data + p_g
    return torch.where(both > 0, p_g / both, 0.5)


@mistake(
    "gan.optimal_discriminator",
    "This is the ratio p_data / p_G, which may be anything; a probability is p_data / "
    "(p_data + p_G).",
)
def density_ratio(p_data, p_g):
    return torch.where(p_data + p_g > 0, p_data / p_g.clamp(min=1e-300), 0.5)


@mistake(
    "gan.optimal_discriminator",
    "Where both densities are 0 yours is NaN, of 0/0. Answer ½ there.",
    sure=True,
)
def nothing_by_nothing(p_data, p_g):
    return p_data / (p_data + p_g)


@mistake(
    "gan.optimal_discriminator",
    "A small number below the fraction keeps it from 0/0, and spoils every place where densities "
    "are small. Ask whether their sum is 0 instead.",
)
def plus_epsilon(p_data, p_g, epsilon=1e-8):
    both = p_data + p_g
    return torch.where(both > 0, p_data / (both + epsilon), 0.5)


@mistake(
    "gan.optimal_discriminator",
    "You let the larger density win. The best D is not that sure: it answers with the share.",
)
def the_larger_wins(p_data, p_g):
    return torch.where(p_data == p_g, 0.5, (p_data > p_g).to(p_data.dtype))


@mistake(
    "gan.optimal_discriminator",
    "Where both densities are 0 you answer 0, sure of a fake. Nothing is known there: ½.",
    sure=True,
)
def sure_of_a_fake(p_data, p_g):
    both = p_data + p_g
    return torch.where(both > 0, p_data / both, 0.0)


@mistake(
    "gan.optimal_discriminator",
    "A small number added to both densities gives ½ where both are 0, and spoils every place where "
    "they are small. Ask whether their sum is 0 instead.",
)
def epsilon_for_both(p_data, p_g):
    return (p_data + 1e-12) / (p_data + p_g + 2e-12)


@mistake(
    "gan.optimal_discriminator",
    "You call small densities nothing. Only where both are exactly 0 is the answer ½.",
)
def nothing_below_a_threshold(p_data, p_g):
    both = p_data + p_g
    return torch.where(both > 1e-12, p_data / both, 0.5)


@mistake(
    "gan.optimal_discriminator",
    "You keep D* away from 0 and 1. It is 1 where only data come, and 0 where only samples do.",
    public=False,
)
def never_sure(p_data, p_g):
    both = p_data + p_g
    return torch.where(both > 0, p_data / both, 0.5).clamp(1e-9, 1 - 1e-9)


# --- gan.jensen_shannon -------------------------------------------------------------------------


def _to(p, q):
    """p log (p/q), 0 where p is."""
    return torch.special.xlogy(p, torch.where(p > 0, p / q.clamp(min=1e-300), 1.0))


@mistake(
    "gan.jensen_shannon",
    "This is KL(p ‖ q), which is infinite where q is 0. Both are compared with their middle m.",
)
def kullback_leibler(p, q, dx):
    return _to(p, q).sum() * dx


@mistake("gan.jensen_shannon", "The halves are missing: JSD is the *mean* of the two divergences.")
def not_halved(p, q, dx):
    m = (p + q) / 2
    return (_to(p, m) + _to(q, m)).sum() * dx


@mistake(
    "gan.jensen_shannon",
    "m is the mean of both densities, (p + q) / 2; with their sum you are off by log 2.",
)
def the_sum_for_the_middle(p, q, dx):
    return (_to(p, p + q) + _to(q, p + q)).sum() * dx / 2


@mistake(
    "gan.jensen_shannon",
    "Where a density is 0 yours is NaN, of 0/0 or 0 · log 0. Such a place adds nothing: "
    "`torch.special.xlogy` counts 0 log 0 as 0.",
    sure=True,
)
def nan_where_nothing_is(p, q, dx):
    m = (p + q) / 2
    return (p * (p / m).log() + q * (q / m).log()).sum() * dx / 2


@mistake(
    "gan.jensen_shannon",
    "dx is missing: a sum over a grid is an integral once it is times dx.",
)
def without_dx(p, q, dx):
    m = (p + q) / 2
    return (_to(p, m) + _to(q, m)).sum() / 2


@mistake("gan.jensen_shannon", "You count in bits. Nats are asked for: the natural logarithm.")
def in_bits(p, q, dx):
    m = (p + q) / 2
    return (_to(p, m) + _to(q, m)).sum() * dx / (2 * math.log(2))


@mistake(
    "gan.jensen_shannon",
    "The divergences are taken from the middle, KL(m ‖ p). They are taken to it, KL(p ‖ m).",
)
def from_the_middle(p, q, dx):
    m = (p + q) / 2
    return (_to(m, p) + _to(m, q)).sum() * dx / 2


@mistake(
    "gan.jensen_shannon",
    "You count only where both densities are positive. Where one of them is 0 the other still "
    "differs from m: that is most of the divergence of densities that never meet.",
)
def only_where_both_are(p, q, dx):
    m = (p + q) / 2
    both = (p > 0) & (q > 0)
    return torch.where(both, _to(p, m) + _to(q, m), 0.0).sum() * dx / 2


@mistake(
    "gan.jensen_shannon",
    "A small number in the logarithms keeps them from 0, and spoils every place where densities "
    "are small. torch.special.xlogy knows that 0 log 0 is 0.",
    public=False,
)
def epsilon_in_the_logarithms(p, q, dx):
    m = (p + q) / 2
    kl = [d * ((d + 1e-10) / (m + 1e-10)).log() for d in (p, q)]
    return (kl[0] + kl[1]).sum() * dx / 2


@mistake(
    "gan.jensen_shannon",
    "dx is already the area or volume of a cell: it is not raised to the number of axes.",
)
def a_power_of_dx(p, q, dx):
    m = (p + q) / 2
    return (_to(p, m) + _to(q, m)).sum() * dx ** p.dim() / 2


# --- gan.value_at_optimum -----------------------------------------------------------------------


def _jsd(p, q, dx):
    m = (p + q) / 2
    return (_to(p, m) + _to(q, m)).sum() * dx / 2


@mistake("gan.value_at_optimum", "JSD counts twice: V(G, D*) = −log 4 + 2 JSD.")
def once(p_data, p_g, dx):
    return _jsd(p_data, p_g, dx) - math.log(4)


@mistake(
    "gan.value_at_optimum", "The constant is −log 4: log ½ for data, and once more for samples."
)
def minus_log_2(p_data, p_g, dx):
    return 2 * _jsd(p_data, p_g, dx) - math.log(2)


@mistake("gan.value_at_optimum", "The sign is turned: this is the loss of D*.")
def loss_of_the_best(p_data, p_g, dx):
    return math.log(4) - 2 * _jsd(p_data, p_g, dx)


@mistake("gan.value_at_optimum", "log 4 is missing: even at p_G = p_data V is not 0 but −log 4.")
def without_log_4(p_data, p_g, dx):
    return 2 * _jsd(p_data, p_g, dx)


@mistake("gan.value_at_optimum", "JSD is subtracted: the further apart, the *higher* can D get V.")
def the_wrong_way(p_data, p_g, dx):
    return -2 * _jsd(p_data, p_g, dx) - math.log(4)


@mistake(
    "gan.value_at_optimum",
    "You keep D* away from 0 and 1 before its logarithm, so V never reaches 0 where densities do "
    "not meet. By the formula, or with xlogy, nothing needs to be kept away.",
    public=False,
)
def kept_from_0_and_1(p_data, p_g, dx):
    D = (p_data / (p_data + p_g)).nan_to_num(nan=0.5).clamp(1e-7, 1 - 1e-7)
    return (p_data * D.log() + p_g * (1 - D).log()).sum() * dx


@mistake(
    "gan.value_at_optimum", "dx is missing: a sum over a grid is an integral once it is times dx."
)
def sum_without_dx(p_data, p_g, dx):
    return 2 * _jsd(p_data, p_g, 1.0) - math.log(4)


# --- first attempts -----------------------------------------------------------------------------


def mean_log(logits):
    """The mean of log D."""
    return F.logsigmoid(logits).mean()


game_values = several(
    "gan.value",
    (
        "one_less_log_d",
        "Samples count with log (1 − D), the logarithm of 1 − D, not with 1 − log D.",
        lambda real, fake: mean_log(real) + 1 - mean_log(fake),
    ),
    (
        "without_logarithms",
        "The logarithms are missing: V holds log D, not D.",
        lambda real, fake: torch.sigmoid(real).mean() + torch.sigmoid(-fake).mean(),
    ),
    (
        "halved",
        "Half of V: it is the sum of two means, without a ½.",
        lambda real, fake: 0.5 * (mean_log(real) + mean_log(-fake)),
    ),
    (
        "sigmoid_twice",
        "The sigmoid is taken twice: the arguments are logits, and D is their sigmoid, once.",
        lambda real, fake: (
            torch.sigmoid(torch.sigmoid(real)).log().mean()
            + (1 - torch.sigmoid(torch.sigmoid(fake))).log().mean()
        ),
    ),
    (
        "logarithms_of_means",
        "You take the logarithm of the mean. V has the mean of the logarithm.",
        lambda real, fake: torch.sigmoid(real).mean().log() + torch.sigmoid(-fake).mean().log(),
    ),
    (
        "exchanged",
        "Data and samples are exchanged: D wants 1 on data and 0 on samples.",
        lambda real, fake: mean_log(-real) + mean_log(fake),
    ),
    (
        "subtracted",
        "The term of samples is subtracted. Both are logarithms that D raises: add them.",
        lambda real, fake: mean_log(real) - mean_log(-fake),
    ),
    (
        "in_bits",
        "You count in bits. Nats are asked for: the natural logarithm.",
        lambda real, fake: (mean_log(real) + mean_log(-fake)) / math.log(2),
    ),
    (
        "epsilon_inside",
        "An ε inside the logarithm cuts V off for far logits. Use logsigmoid, which needs none.",
        lambda real, fake: (
            (torch.sigmoid(real) + 1e-8).log().mean()
            + (1 - torch.sigmoid(fake) + 1e-8).log().mean()
        ),
    ),
    (
        "data_alone",
        "Only data are counted. Samples add the mean of log (1 − D).",
        lambda real, fake: mean_log(real),
    ),
)


discriminator_losses = several(
    "gan.discriminator_loss",
    (
        "data_alone_in_the_loss",
        "Only data are counted. Samples add −log (1 − D).",
        lambda real, fake: -mean_log(real),
    ),
    (
        "samples_alone_in_the_loss",
        "Only samples are counted. Data add −log D.",
        lambda real, fake: -mean_log(-fake),
    ),
    (
        "sums_in_the_loss",
        "You add the logits of a batch up. The loss has the mean over data and that over samples.",
        lambda real, fake: -F.logsigmoid(real).sum() - F.logsigmoid(-fake).sum(),
    ),
    (
        "sigmoid_twice_in_the_loss",
        "The sigmoid is taken twice: …_with_logits and logsigmoid take the logits as they are.",
        lambda real, fake: -mean_log(torch.sigmoid(real)) - mean_log(-torch.sigmoid(fake)),
    ),
    (
        "labels_smoothed",
        "Labels are smoothed to 0.9, a trick of some GANs. Here the loss is −V.",
        lambda real, fake: -0.9 * mean_log(real) - 0.1 * mean_log(-real) - mean_log(-fake),
    ),
    (
        "of_wasserstein",
        "This is Wasserstein's critic, a difference of logits. Here the loss is −V, with "
        "logarithms.",
        lambda real, fake: fake.mean() - real.mean(),
    ),
    (
        "samples_subtracted",
        "The term of samples has the wrong sign: both terms are −log.",
        lambda real, fake: -mean_log(real) + mean_log(-fake),
    ),
)


generator_losses = several(
    "gan.generator_loss",
    (
        "always_saturating",
        "You ignore `saturating`: there are two losses.",
        lambda fake, saturating=False: mean_log(-fake),
    ),
    (
        "both_turned",
        "Both signs are turned: minimised, they would make samples look more fake.",
        lambda fake, saturating=False: -mean_log(-fake) if saturating else mean_log(fake),
    ),
    (
        "minus_the_saturating",
        "The non-saturating loss is −log D. Yours is −log (1 − D), which pulls samples the wrong "
        "way.",
        lambda fake, saturating=False: mean_log(-fake) if saturating else -mean_log(-fake),
    ),
    (
        "without_logarithms_in_the_loss",
        "The logarithms are missing: the losses hold log D, not D.",
        lambda fake, saturating=False: (
            torch.sigmoid(-fake).mean() if saturating else -torch.sigmoid(fake).mean()
        ),
    ),
    (
        "a_loss_each",
        "One number for each sample comes back. Take the mean over the batch.",
        lambda fake, saturating=False: F.logsigmoid(-fake) if saturating else -F.logsigmoid(fake),
    ),
    (
        "halved_losses",
        "Half of the loss: there is no ½ before it.",
        lambda fake, saturating=False: mean_log(-fake) / 2 if saturating else -mean_log(fake) / 2,
    ),
    (
        "sigmoid_twice_for_samples",
        "The sigmoid is taken twice: …_with_logits and logsigmoid take the logits as they are.",
        lambda fake, saturating=False: (
            mean_log(-torch.sigmoid(fake)) if saturating else -mean_log(torch.sigmoid(fake))
        ),
    ),
)


logit_gradients = several(
    "gan.generator_logit_gradient",
    (
        "second_turned",
        "The slope of −log D has the wrong sign: it falls as the logit grows.",
        lambda logits, saturating=False: (
            -torch.sigmoid(logits) if saturating else torch.sigmoid(-logits)
        ),
    ),
    (
        "first_turned",
        "The slope of log (1 − D) has the wrong sign: it falls as the logit grows.",
        lambda logits, saturating=False: (
            torch.sigmoid(logits) if saturating else -torch.sigmoid(-logits)
        ),
    ),
    (
        "always_saturating_slope",
        "You ignore `saturating`: the two losses have two slopes.",
        lambda logits, saturating=False: -torch.sigmoid(logits),
    ),
    (
        "always_the_other_slope",
        "You ignore `saturating`: the two losses have two slopes.",
        lambda logits, saturating=False: -torch.sigmoid(-logits),
    ),
    (
        "minus_slope_of_the_sigmoid",
        "This is −D (1 − D), the slope of −D. The logarithm is missing.",
        lambda logits, saturating=False: -torch.sigmoid(logits) * torch.sigmoid(-logits),
    ),
)


best_discriminators = several(
    "gan.optimal_discriminator",
    (
        "ratio",
        "p_data / p_G is the odds, which may be more than 1. D* is the share of data, p_data / "
        "(p_data + p_G).",
        lambda p_data, p_g: torch.where(p_data + p_g > 0, p_data / p_g, 0.5),
    ),
    (
        "ratio_with_nan",
        "p_data / p_G is the odds, which may be more than 1. D* is the share of data, p_data / "
        "(p_data + p_G).",
        lambda p_data, p_g: p_data / p_g,
    ),
    (
        "half_of_the_share",
        "A factor of 2 too little: D* is p_data / (p_data + p_G), which may be 1.",
        lambda p_data, p_g: torch.where(p_data + p_g > 0, p_data / (p_data + p_g) / 2, 0.5),
    ),
    (
        "log_of_the_ratio",
        "This is the logit of D*. Its sigmoid is D*.",
        lambda p_data, p_g: (p_data / p_g).log(),
    ),
    (
        "sure_of_data",
        "Where both densities are 0 you answer 1, sure of data. Nothing is known there: ½.",
        lambda p_data, p_g: torch.where(p_data + p_g > 0, p_data / (p_data + p_g), 1.0),
    ),
    (
        "epsilon_below",
        "An ε below makes D* too small where both densities are small, and 0 where both are 0.",
        lambda p_data, p_g: p_data / (p_data + p_g + 1e-8),
    ),
    (
        "epsilon_on_both",
        "An ε beside both densities pulls D* to ½ where they are small. Only where both are 0 it "
        "is ½.",
        lambda p_data, p_g: (p_data + 1e-8) / (p_data + p_g + 2e-8),
    ),
)


def divergence(p, m, dx):
    """KL(p ‖ m)."""
    return torch.where(p > 0, torch.special.xlogy(p, p / m), 0.0).sum() * dx


def halfway(p, q):
    return (p + q) / 2


def js(p, q, dx):
    m = halfway(p, q)
    return (divergence(p, m, dx) + divergence(q, m, dx)) / 2


divergences = several(
    "gan.jensen_shannon",
    (
        "kl_of_both",
        "This is KL(p ‖ q), infinite where q is 0 and p is not. Both are compared with their "
        "mean m.",
        lambda p, q, dx: divergence(p, q, dx),
    ),
    (
        "kl_both_ways",
        "This is KL(p ‖ q) + KL(q ‖ p). Both are compared with their mean m.",
        lambda p, q, dx: divergence(p, q, dx) + divergence(q, p, dx),
    ),
    (
        "mean_of_kl_both_ways",
        "This is the mean of KL(p ‖ q) and KL(q ‖ p). Both are compared with their mean m.",
        lambda p, q, dx: (divergence(p, q, dx) + divergence(q, p, dx)) / 2,
    ),
    (
        "only_p",
        "Only KL(p ‖ m) is there. JSD is the mean of it and KL(q ‖ m).",
        lambda p, q, dx: divergence(p, halfway(p, q), dx),
    ),
    (
        "half_of_only_p",
        "Only ½ KL(p ‖ m) is there. ½ KL(q ‖ m) is added.",
        lambda p, q, dx: divergence(p, halfway(p, q), dx) / 2,
    ),
    (
        "root",
        "This is the root, the Jensen–Shannon distance. The divergence is its square.",
        lambda p, q, dx: js(p, q, dx).sqrt(),
    ),
    (
        "turned",
        "The sign is turned: a divergence is at least 0. It is p log (p / m).",
        lambda p, q, dx: -js(p, q, dx),
    ),
    (
        "quarter",
        "You halve twice: JSD is ½ KL(p ‖ m) + ½ KL(q ‖ m).",
        lambda p, q, dx: js(p, q, dx) / 2,
    ),
    (
        "mean_over_the_grid",
        "A mean over the grid is no integral: take the sum, times dx.",
        lambda p, q, dx: js(p, q, 1.0) / p.numel(),
    ),
    (
        "mean_over_the_grid_times_dx",
        "A mean over the grid is no integral: take the sum, times dx.",
        lambda p, q, dx: js(p, q, dx) / p.numel(),
    ),
)


optima = several(
    "gan.value_at_optimum",
    (
        "plus_log_4",
        "log 4 is added. At p_G = p_data, where JSD is 0, V is −log 4.",
        lambda p, q, dx: 2 * js(p, q, dx) + math.log(4),
    ),
    (
        "twice_log_4",
        "log 4 is subtracted twice. V(G, D*) = −log 4 + 2 JSD.",
        lambda p, q, dx: 2 * js(p, q, dx) - 2 * math.log(4),
    ),
    (
        "log_4_to_the_base_10",
        "log 4 is to the base 10. Nats are asked for: math.log.",
        lambda p, q, dx: 2 * js(p, q, dx) - math.log10(4),
    ),
    (
        "four_times",
        "JSD counts four times. V(G, D*) = −log 4 + 2 JSD.",
        lambda p, q, dx: 4 * js(p, q, dx) - math.log(4),
    ),
)


def played(players, x, z, saturating, *, clear="DG", exchange=False, learns=True, after=False):
    """Both updates, but for which gradients are cleared, which samples count as data, whether G
    learns, and of when V is."""
    G, D, G_optimizer, D_optimizer = players
    fake = G(z).detach()
    L = d_loss(D, fake, x) if exchange else d_loss(D, x, fake)
    if "D" in clear:
        D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    if learns:
        D.requires_grad_(False)
        if "G" in clear:
            G_optimizer.zero_grad()
        g_loss(D(G(z)), saturating).backward()
        G_optimizer.step()
        D.requires_grad_(True)
    return -d_loss(D, x, G(z)).detach() if after else -L.detach()


@form_of(gradients_pile_up)
def gradients_of_d_pile_up(players, x, z, saturating=False):
    return played(players, x, z, saturating, clear="G")


@form_of(gradients_pile_up)
def gradients_of_g_pile_up(players, x, z, saturating=False):
    return played(players, x, z, saturating, clear="D")


@mistake(
    "gan.train_step",
    "Data and samples are exchanged in D's update: data want 1 and samples 0.",
)
def data_for_samples(players, x, z, saturating=False):
    return played(players, x, z, saturating, exchange=True)


@mistake("gan.train_step", "The generator never moves: its update follows that of D.")
def generator_stays(players, x, z, saturating=False):
    return played(players, x, z, saturating, learns=False)


@mistake("gan.train_step", "Your V is that of after the updates. It is wanted as it was before.")
def value_of_after(players, x, z, saturating=False):
    return played(players, x, z, saturating, after=True)


@form_of(generator_first)
def generator_first_in_the_value_too(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    D.requires_grad_(False)
    G_optimizer.zero_grad()
    g_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    D.requires_grad_(True)
    L = d_loss(D, x, G(z).detach())
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    return -L.detach()


@mistake(
    "gan.train_step",
    "Your V hangs on the graph of this step, which is kept as long as V is: return it detached.",
    sure=True,
)
def value_with_a_graph(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    L = d_loss(D, x, G(z).detach())
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    D.requires_grad_(False)
    G_optimizer.zero_grad()
    g_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    D.requires_grad_(True)
    return -L


# --- What is refused, and every logit ---------------------------------------------------------


def unchecked(real_logits, fake_logits):
    return F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits).mean()


def without_the_far(l):
    near = l[l.abs() < 900]
    return F.logsigmoid(near if near.numel() else l).mean()


EMPTY = "Empty batches are not refused: leave the lines above yours as they are."
LEFT_OUT = "Far logits are left out of the mean: each one counts."


@mistake("gan.value", EMPTY, public=False, bare=True)
def value_of_nothing(real_logits, fake_logits):
    return unchecked(real_logits, fake_logits)


@mistake("gan.value", LEFT_OUT, public=False)
def value_of_the_near(real_logits, fake_logits):
    return without_the_far(real_logits) + without_the_far(-fake_logits)


@mistake("gan.discriminator_loss", EMPTY, public=False, bare=True)
def loss_of_nothing(real_logits, fake_logits):
    return -unchecked(real_logits, fake_logits)


@mistake("gan.discriminator_loss", LEFT_OUT, public=False)
def loss_of_the_near(real_logits, fake_logits):
    return -value_of_the_near(real_logits, fake_logits)


@mistake("gan.generator_loss", EMPTY, public=False, bare=True)
def loss_of_no_samples(fake_logits, saturating=False):
    l = F.logsigmoid(-fake_logits) if saturating else -F.logsigmoid(fake_logits)
    return l.mean()


@mistake(
    "gan.optimal_discriminator",
    "Densities that are negative, or shaped differently, are let through.",
    public=False,
    bare=True,
)
def any_densities(p_data, p_g):
    both = p_data + p_g
    return torch.where(both > 0, p_data / both, 0.5)


@mistake(
    "gan.jensen_shannon",
    "Densities that are negative, or shaped differently, are let through.",
    public=False,
    bare=True,
)
def divergence_of_anything(p, q, dx):
    m = (p + q) / 2
    xlogy = torch.special.xlogy
    return torch.where(m > 0, xlogy(p, p / m) + xlogy(q, q / m), 0.0).sum() * dx / 2
