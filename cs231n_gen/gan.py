"""Generative adversarial networks (slides 11–29): a generator, a discriminator, the value that
one of them raises and the other lowers, and where that game ends.

A discriminator returns a logit ℓ for each example; D = sigmoid(ℓ) is its probability of
"real". On a GPU, chapter 14's kernels compute the losses.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from cs231n_gen.given.training import History, Players, Run
from cs231n_gen.kernels.launch import leaves_to_kernels

Logits = Float[Tensor, "*shape"]


def value(real_logits: Logits, fake_logits: Logits) -> Float[Tensor, ""]:
    """The value of the game, which D raises and G lowers (slides 16–22).

        V(G, D) = E_{x ~ p_data}[log D(x)] + E_{z ~ p(z)}[log (1 − D(G(z)))],    D = sigmoid(ℓ)

    Args:
        real_logits: ℓ(x) of data, of any shape.
        fake_logits: ℓ(G(z)) of samples; there may be more or fewer of them.
    Returns:
        V, a mean over each batch, in nats: at most 0. Exact and finite for logits of any size, and
        so are its gradients.
    Raises:
        ValueError: if either tensor is empty.
    """
    _check(real_logits=real_logits, fake_logits=fake_logits)
    ### BEGIN SOLUTION
    return F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits).mean()
    ### END SOLUTION


def discriminator_loss(real_logits: Logits, fake_logits: Logits) -> Float[Tensor, ""]:
    """What the discriminator minimises (slides 18–19): −V(G, D).

    Args:
        real_logits, fake_logits: as in `value`.
    Returns:
        The loss in nats, at least 0. log 4 = 1.386 means that D cannot tell data from samples. As
        exact as `value`.
    Raises:
        ValueError: as for `value`.
    """
    _check(real_logits=real_logits, fake_logits=fake_logits)
    if leaves_to_kernels(real_logits):
        from cs231n_gen.kernels import gan_losses  # here, so an unfinished kernel harms nobody else

        return gan_losses.discriminator_loss(real_logits, fake_logits)
    ### BEGIN SOLUTION
    return -value(real_logits, fake_logits)
    ### END SOLUTION


def generator_loss(fake_logits: Logits, saturating: bool = False) -> Float[Tensor, ""]:
    """What the generator minimises (slides 20–25).

        saturating:      E_z[log (1 − D(G(z)))], the part of V that depends on G
        non-saturating:  −E_z[log D(G(z))]

    Args:
        fake_logits: ℓ(G(z)) of samples, of any shape.
        saturating: which of the two.
    Returns:
        The loss in nats, a mean over the batch. Exact and finite for logits of any size, and so are
        its gradients.
    Raises:
        ValueError: if there are no logits.
    """
    _check(fake_logits=fake_logits)
    if leaves_to_kernels(fake_logits):
        from cs231n_gen.kernels import gan_losses

        return gan_losses.generator_loss(fake_logits, saturating)
    ### BEGIN SOLUTION
    if saturating:
        return F.logsigmoid(-fake_logits).mean()
    return -F.logsigmoid(fake_logits).mean()
    ### END SOLUTION


def generator_logit_gradient(logits: Logits, saturating: bool = False) -> Logits:
    """How much one sample's term of the generator's loss changes with its logit (slides 23–25).

        saturating:      d/dℓ log (1 − D)
        non-saturating:  d/dℓ (−log D)

    Both losses fall as ℓ grows: they pull G to where D says "real". They differ in how strongly
    they pull while D is sure that the samples are fake.

    Args:
        logits: ℓ, of any shape.
        saturating: which of the two losses.
    Returns:
        The derivative at each logit, shaped like them, in closed form: without autograd, and with
        all its digits where it is small.
    """
    ### BEGIN SOLUTION
    return -torch.sigmoid(logits) if saturating else -torch.sigmoid(-logits)
    ### END SOLUTION


def train_step(
    players: Players,
    x: Float[Tensor, "batch *shape"],
    z: Float[Tensor, "batch *latent"],
    saturating: bool = False,
) -> Float[Tensor, ""]:
    """One update of the discriminator, then one of the generator (slides 21–25).

        D ← D + α dV/dD,    then with the new D    G ← G − α d(generator's loss)/dG

    Each player updates only its own weights. In the end no gradient of the generator's loss is left
    in D and none of the discriminator's in G: each holds those of its own loss, or none. Both
    networks stay in the mode they are in, and their weights can go on learning.

    Args:
        players: both networks and their optimisers, `G, D, G_optimizer, D_optimizer = players`.
        x: data, a batch of any size, 1 too.
        z: latents, for both updates.
        saturating: which loss the generator minimises.
    Returns:
        V(G, D) as it was before both updates, without a graph.
    """
    G, D, G_optimizer, D_optimizer = players
    ### BEGIN SOLUTION
    L = discriminator_loss(D(x), D(G(z).detach()))
    D_optimizer.zero_grad()
    L.backward()
    D_optimizer.step()

    D.requires_grad_(False)
    G_optimizer.zero_grad()
    generator_loss(D(G(z)), saturating).backward()
    G_optimizer.step()
    D.requires_grad_(True)
    return -L.detach()
    ### END SOLUTION


def train(
    players: Players,
    draw: Callable[[int, torch.Generator | None], Tensor],
    steps: int,
    *,
    latent: int = 2,
    batch: int = 256,
    d_steps: int = 1,
    saturating: bool = False,
    generator: torch.Generator | None = None,
    watch: Callable[[int], None] | None = None,
    **options,
) -> History:
    """The game of slides 21–25, each step on fresh data and latents. Given.

    Learning rates fall along a cosine, and G ends with the average of its weights: towards the end
    the players circle around each other, which the average evens out.

    Args:
        players: both networks and their optimisers.
        draw: `draw(batch, generator)` returns data.
        steps: number of steps, in each of which both players are updated.
        latent: dimensions of z ~ N(0, I).
        batch: examples a step.
        d_steps: k_D, updates of D for each of G, whose learning rate is 0 in all but the last.
        saturating: which loss the generator minimises.
        generator: for everything random.
        watch: called after each step with its number, to look at the players during training.
        options: passed on to `training.Run` (time limit, label, progress, …).
    Returns:
        −V after each step: what D minimises, which does not say how good G is.
    """
    *_, G_optimizer, D_optimizer = players
    (G_group,), (D_group,) = G_optimizer.param_groups, D_optimizer.param_groups
    lr, lr_d = G_group["lr"], D_group["lr"]
    with Run(players.generator, steps, **options) as run:
        for k in run:
            fall = 0.02 + 0.49 * (1 + math.cos(math.pi * k / steps))
            D_group["lr"] = lr_d * fall
            for i in range(d_steps):
                G_group["lr"] = lr * fall if i == d_steps - 1 else 0.0
                V = train_step(players, *_batch(draw, batch, latent, generator), saturating)
            run.record(-V)
            if watch:
                watch(k)
    G_group["lr"], D_group["lr"] = lr, lr_d
    return run.history


def _batch(draw, batch: int, latent: int, generator) -> tuple[Tensor, Tensor]:
    x = draw(batch, generator)
    return x, torch.randn(batch, latent, generator=generator, dtype=x.dtype, device=x.device)


def optimal_discriminator(
    p_data: Float[Tensor, "*shape"], p_g: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The best discriminator for a given generator (slides 26–29).

        D*(x) = p_data(x) / (p_data(x) + p_G(x))

    Args:
        p_data, p_g: both densities at the same points.
    Returns:
        D* there, from 0 to 1; ½ where both densities are 0 and any D is as good. Elsewhere only
        their ratio counts, however small they are.
    Raises:
        ValueError: if a density is negative, or shapes differ.
    """
    _check_densities(p_data, p_g)
    ### BEGIN SOLUTION
    both = p_data + p_g
    return torch.where(both > 0, p_data / both, 0.5)
    ### END SOLUTION


def jensen_shannon(
    p: Float[Tensor, "*shape"], q: Float[Tensor, "*shape"], dx: float
) -> Float[Tensor, ""]:
    """The Jensen–Shannon divergence, how far apart two densities are (slides 26–29).

        JSD(p ‖ q) = ½ KL(p ‖ m) + ½ KL(q ‖ m),    m = (p + q) / 2,    KL(p ‖ m) = ∫ p log(p/m) dx

    Args:
        p, q: the densities on a grid of any number of axes, which holds all their mass: p.sum() dx
            and q.sum() dx are 1.
        dx: the length, area or volume of a grid cell.
    Returns:
        Nats, from 0 (p = q) to log 2 (disjoint supports), with 0 log 0 = 0.
    Raises:
        ValueError: as for `optimal_discriminator`.
    """
    _check_densities(p, q)
    ### BEGIN SOLUTION
    m = (p + q) / 2
    xlogy = torch.special.xlogy
    terms = torch.where(m > 0, xlogy(p, p / m) + xlogy(q, q / m), 0.0)
    return terms.sum() * dx / 2
    ### END SOLUTION


def value_at_optimum(
    p_data: Float[Tensor, "*shape"], p_g: Float[Tensor, "*shape"], dx: float
) -> Float[Tensor, ""]:
    """The value under the best discriminator, the generator's true objective (slide 29).

        V(G, D*) = −log 4 + 2 JSD(p_data ‖ p_G)

    Args:
        p_data, p_g, dx: as for `jensen_shannon`.
    Returns:
        Nats, from −log 4 (p_G = p_data, and nowhere else) to 0.
    """
    ### BEGIN SOLUTION
    return 2 * jensen_shannon(p_data, p_g, dx) - math.log(4)
    ### END SOLUTION


def _check_densities(p: Tensor, q: Tensor) -> None:
    if p.shape != q.shape or bool((p < 0).any() | (q < 0).any()):
        raise ValueError(
            "two densities must have one shape and no negative value, got shapes "
            f"{tuple(p.shape)} and {tuple(q.shape)}, minima {p.min():.3g} and {q.min():.3g}"
        )


def _check(**logits: Tensor) -> None:
    for name, l in logits.items():
        if l.numel() == 0:
            raise ValueError(f"{name} must hold at least one logit, got shape {tuple(l.shape)}")
