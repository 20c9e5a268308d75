"""Right answers to chapters 01 and 02 written another way."""

import math

import torch
from torch.nn import functional as F

from cs231n_gen import gan
from cs231n_gen.checking.variants import accepted

# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "gan.value": lambda real, fake: gan._check(real_logits=real, fake_logits=fake),
    "gan.discriminator_loss": lambda real, fake: gan._check(real_logits=real, fake_logits=fake),
    "gan.generator_loss": lambda fake, saturating=False: gan._check(fake_logits=fake),
    "gan.optimal_discriminator": gan._check_densities,
    "gan.jensen_shannon": lambda p, q, dx: gan._check_densities(p, q),
}

# --- gan.value, gan.discriminator_loss, gan.generator_loss ----------------------------------------


@accepted("gan.value")
def by_softplus(real_logits, fake_logits):
    return -F.softplus(-real_logits).mean() - F.softplus(fake_logits).mean()


@accepted("gan.value")
def by_cross_entropy(real_logits, fake_logits):
    bce = F.binary_cross_entropy_with_logits
    real = bce(real_logits, torch.ones_like(real_logits))
    return -(real + bce(fake_logits, torch.zeros_like(fake_logits)))


@accepted("gan.discriminator_loss")
def cross_entropy_of_both(real_logits, fake_logits):
    bce = F.binary_cross_entropy_with_logits
    real = bce(real_logits, real_logits.new_ones(real_logits.shape))
    return real + bce(fake_logits, fake_logits.new_zeros(fake_logits.shape))


@accepted("gan.discriminator_loss")
def by_logaddexp(real_logits, fake_logits):
    nothing = torch.zeros((), dtype=real_logits.dtype)
    real = torch.logaddexp(nothing, -real_logits).mean()
    return real + torch.logaddexp(nothing, fake_logits).mean()


@accepted("gan.generator_loss")
def softplus_of_either(fake_logits, saturating=False):
    if saturating:
        return -F.softplus(fake_logits).mean()
    return F.softplus(-fake_logits).mean()


@accepted("gan.generator_loss")
def labelled_real(fake_logits, saturating=False):
    bce = F.binary_cross_entropy_with_logits
    if saturating:
        return -bce(fake_logits, torch.zeros_like(fake_logits))
    return bce(fake_logits, torch.ones_like(fake_logits))


@accepted("gan.value")
def two_classes(real_logits, fake_logits):
    def log_share(l):
        return torch.stack([l, torch.zeros_like(l)], dim=-1).log_softmax(-1)[..., 0]

    real, fake = log_share(real_logits), log_share(-fake_logits)
    return real.sum() / real.numel() + fake.sum() / fake.numel()


@accepted("gan.value")
def logit_by_logit(real_logits, fake_logits):
    real = [F.logsigmoid(l) for l in real_logits.reshape(-1)]
    fake = [F.logsigmoid(-l) for l in fake_logits.reshape(-1)]
    return sum(real) / len(real) + sum(fake) / len(fake)


@accepted("gan.discriminator_loss")
def far_parts_apart(real_logits, fake_logits):
    def cost(l):
        return l.clamp(min=0) + torch.log1p(torch.exp(-l.abs()))

    return cost(-real_logits).mean() + cost(fake_logits).mean()


@accepted("gan.generator_loss")
def one_sign(fake_logits, saturating=False):
    sign = 1 - 2 * saturating
    return -sign * F.logsigmoid(sign * fake_logits).mean()


# --- gan.generator_logit_gradient -----------------------------------------------------------------


@accepted("gan.generator_logit_gradient")
def by_exponentials(logits, saturating=False):
    return -(F.logsigmoid(logits if saturating else -logits)).exp()


@accepted("gan.generator_logit_gradient")
def with_a_sign(logits, saturating=False):
    sign = 1 if saturating else -1
    return torch.sigmoid(sign * logits).neg()


@accepted("gan.generator_logit_gradient")
@torch.no_grad()
def a_softmax_of_two(logits, saturating=False):
    both = torch.stack([logits, torch.zeros_like(logits)]).softmax(0)
    return -both[0] if saturating else -both[1]


@accepted("gan.generator_logit_gradient")
def one_over_one_plus(logits, saturating=False):
    return -1 / (1 + torch.exp(-logits if saturating else logits))


# --- gan.train_step -------------------------------------------------------------------------------


@accepted("gan.train_step")
def gradients_one_by_one(players, x, z, saturating=False):
    G, D, G_optimizer, D_optimizer = players
    with torch.no_grad():
        fake = G(z)
    V = F.logsigmoid(D(x)).mean() + F.logsigmoid(-D(fake)).mean()
    for p, g in zip(D.parameters(), torch.autograd.grad(V, [*D.parameters()]), strict=True):
        p.grad = -g
    D_optimizer.step()
    logits = D(G(z))
    L = F.logsigmoid(-logits).mean() if saturating else F.softplus(-logits).mean()
    for p, g in zip(G.parameters(), torch.autograd.grad(L, [*G.parameters()]), strict=True):
        p.grad = g
    G_optimizer.step()
    return V.detach()


@accepted("gan.train_step")
def data_and_samples_in_one_batch(players, x, z, saturating=False):
    generator, discriminator = players.generator, players.discriminator
    fake = generator(z)
    real_logits, fake_logits = discriminator(torch.cat([x, fake.detach()])).split(len(x))
    V = F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits).mean()
    players.discriminator_optimizer.zero_grad()
    V.neg().backward()
    players.discriminator_optimizer.step()
    players.generator_optimizer.zero_grad()
    logits = discriminator(fake)
    L = F.logsigmoid(-logits).mean() if saturating else -F.logsigmoid(logits).mean()
    L.backward(inputs=[*generator.parameters()])
    players.generator_optimizer.step()
    return V.detach()


@accepted("gan.train_step")
def cleared_afterwards(players, x, z, saturating=False):
    """What the generator's step left in D is cleared away."""
    G, D, G_optimizer, D_optimizer = players
    V = F.logsigmoid(D(x)).mean() + F.logsigmoid(-D(G(z).detach())).mean()
    (-V).backward()
    D_optimizer.step()
    logits = D(G(z))
    (F.logsigmoid(-logits).mean() if saturating else -F.logsigmoid(logits).mean()).backward()
    G_optimizer.step()
    G_optimizer.zero_grad()
    D_optimizer.zero_grad(set_to_none=False)
    return V.detach()


@accepted("gan.train_step")
def through_the_samples(players, x, z, saturating=False):
    """The chain rule in two parts: D's slope at the samples, then G's."""
    G, D, G_optimizer, D_optimizer = players
    fake = G(z)
    L = F.softplus(-D(x)).mean() + F.softplus(D(fake.detach())).mean()
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()
    samples = fake.detach().requires_grad_()
    logits = D(samples)
    M = F.logsigmoid(-logits).mean() if saturating else -F.logsigmoid(logits).mean()
    G_optimizer.zero_grad()
    fake.backward(torch.autograd.grad(M, samples)[0])
    G_optimizer.step()
    return -L.detach()


# --- gan.optimal_discriminator, gan.jensen_shannon, gan.value_at_optimum --------------------------


@accepted("gan.optimal_discriminator")
def share_without_nan(p_data, p_g):
    return (p_data / (p_data + p_g)).nan_to_num(nan=0.5)


@accepted("gan.optimal_discriminator")
def filled_in(p_data, p_g):
    D = torch.full_like(p_data, 0.5)
    there = (p_data + p_g) > 0
    D[there] = 1 - p_g[there] / (p_data + p_g)[there]
    return D


@accepted("gan.optimal_discriminator")
def from_log_densities(p_data, p_g):
    return torch.sigmoid(p_data.log() - p_g.log()).nan_to_num(nan=0.5)


@accepted("gan.optimal_discriminator")
def place_by_place(p_data, p_g):
    places = zip(p_data.reshape(-1).tolist(), p_g.reshape(-1).tolist(), strict=True)
    D = [p / (p + q) if p + q else 0.5 for p, q in places]
    return torch.tensor(D, dtype=p_data.dtype).reshape(p_data.shape)


@accepted("gan.jensen_shannon")
def entropy_of_the_middle(p, q, dx):
    entr = torch.special.entr
    return (entr((p + q) / 2) - (entr(p) + entr(q)) / 2).sum() * dx


@accepted("gan.jensen_shannon")
def by_kl_div(p, q, dx):
    m = ((p + q) / 2).clamp(min=torch.finfo(p.dtype).tiny).log()
    one, other = (F.kl_div(m, of, reduction="sum") for of in (p, q))
    return (one + other) * dx / 2


@accepted("gan.jensen_shannon")
def kept_within_its_bounds(p, q, dx):
    """Rounding cannot make it negative."""
    terms = [d[d > 0] * (2 * d / (p + q))[d > 0].log() for d in (p, q)]
    return (sum(t.sum() for t in terms) * dx / 2).clamp(0, math.log(2))


@accepted("gan.jensen_shannon")
def from_the_best_discriminator(p, q, dx):
    D = torch.where(p + q > 0, p / (p + q), 0.5)
    rest = torch.where(p + q > 0, q / (p + q), 0.5)
    V = (torch.special.xlogy(p, D) + torch.special.xlogy(q, rest)).sum() * dx
    return (V + math.log(4)) / 2


@accepted("gan.value_at_optimum")
def by_the_best_answers(p_data, p_g, dx):
    both = p_data + p_g
    D = torch.where(both > 0, p_data / both, 0.5)
    return dx * (torch.special.xlogy(p_data, D) + torch.special.xlogy(p_g, 1 - D)).sum()


@accepted("gan.value_at_optimum")
def by_entropies(p_data, p_g, dx):
    entr = torch.special.entr
    return (entr(p_data + p_g) - entr(p_data) - entr(p_g)).sum() * dx
