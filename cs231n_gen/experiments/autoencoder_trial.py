"""The autoencoder of chapter 08: how it is trained, with a discriminator or without. Given."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from cs231n_gen import latent
from cs231n_gen.given.data import data_file
from cs231n_gen.given.training import History, Run
from cs231n_gen.latent_nets import Decoder, Encoder

THETA = 0.01  # the weight of the KL term, a water level in squared pixels
EVERY = 4  # steps from one penalty on the discriminator's slope to the next


@dataclass
class Fit:
    """What a training leaves behind.

    history: the loss of the VAE, step by step, without the discriminator's part.
    weights: λ of each step, 0 without a discriminator.
    judged: the discriminator's own loss.
    """

    history: History
    weights: list[float] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)


def fit(
    encoder: nn.Module,
    decoder: nn.Module,
    x: Float[Tensor, "n channels height width"],
    *,
    steps: int = 10_000,
    seconds: float | None = None,
    kl_weight: float = THETA,
    discriminator: nn.Module | None = None,
    start: int = 0,
    loudness: float = 1.0,
    penalty: float = 0.02,
    train_encoder: bool = True,
    batch: int = 32,
    lr: float = 2e-3,
    generator: torch.Generator | None = None,
    progress: bool = True,
    label: str = "autoencoder",
) -> Fit:
    """Train an encoder and a decoder by `latent.vae_loss`, and against a discriminator if there is
    one.

        L = L_VAE + loudness · λ L_adv,   λ = `latent.adaptive_weight`
        L_D = `latent.discriminator_loss` + penalty / 2 · E ‖∇_x ℓ(x)‖² over real images

    The second term of L_D is the R1 penalty (Mescheder et al. 2018). Without it the discriminator
    soon tells all real patches from all fake ones. Its logits get steep, so λ falls to a hundredth,
    and the decoder forgets the detail that it had learned.

    Args:
        encoder, decoder: trained in place; they end with averaged weights.
        x: images.
        steps, seconds: how long, at most.
        kl_weight: θ of the KL term.
        discriminator: D, trained in place, or None.
        start: the step in which D begins to be heard.
        loudness: how much D counts, 1 for as much as the reconstruction.
        penalty: the weight of the R1 penalty.
        train_encoder: False keeps the encoder as it is.
        batch, lr: of each step; D learns at half the rate.
        generator: for everything random.
        progress, label: of the bar.
    """
    trained = nn.ModuleList([encoder, decoder] if train_encoder else [decoder])
    result, against = Fit(History()), None
    if discriminator is not None:
        against = Adversary(discriminator, decoder.last_layer, lr, penalty, start)
    with Run(trained, steps, seconds=seconds, lr=lr, progress=progress, label=label) as run:
        result.history = run.history
        for step in run:
            some = x[torch.randint(len(x), (batch,), generator=generator)]
            with torch.set_grad_enabled(train_encoder):
                mean, log_var = encoder(some)
            x_hat = decoder(latent.reparameterize(mean, log_var, generator))
            L = L_vae = latent.vae_loss(some, x_hat, mean, log_var, kl_weight)
            if against is not None:
                L = L_vae + loudness * against.says(step, some, x_hat, L_vae, result)
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L_vae)
    return result


class Adversary:
    """A discriminator that learns beside a decoder, and what the decoder hears of it.

    Args:
        discriminator: D, trained in place.
        last_layer: of the decoder, for `latent.adaptive_weight`.
        lr: of the decoder; D learns at half the rate.
        penalty: the weight of the R1 penalty.
        start: the step in which D begins to be heard.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        last_layer: nn.Parameter,
        lr: float,
        penalty: float = 0.02,
        start: int = 0,
    ):
        self.D, self.last_layer = discriminator, last_layer
        self.penalty, self.start = penalty, start
        self.optimizer = torch.optim.Adam(
            discriminator.parameters(), lr=lr / 2, betas=(0.5, 0.9), fused=True
        )

    def says(
        self,
        step: int,
        x: Float[Tensor, "batch channels height width"],
        x_hat: Float[Tensor, "batch channels height width"],
        L_rec: Float[Tensor, ""],
        fit: Fit,
    ) -> Float[Tensor, ""]:
        """λ L_adv of these reconstructions, after a step of D.

        Args:
            step: its number, from 0.
            x: the images.
            x_hat: the decoder's, with their graph.
            L_rec: the loss that the decoder has without D.
            fit: where λ and the loss of D are kept.
        """
        slope = self.penalty * EVERY if step % EVERY == 0 else 0.0
        fit.judged.append(_judge(self.D, self.optimizer, x, x_hat.detach(), slope))
        self.D.requires_grad_(False)
        L_adv = latent.adversarial_loss(self.D(x_hat))
        self.D.requires_grad_(True)
        weight = latent.adaptive_weight(L_rec, L_adv, self.last_layer, step, self.start)
        fit.weights.append(float(weight))
        return weight * L_adv


def _judge(D, optimizer, real: Tensor, fake: Tensor, slope: float) -> float:
    """One step of the discriminator: its loss, without the penalty."""
    real = real.clone().requires_grad_(bool(slope))
    of_real = D(real)
    loss = hinge = latent.discriminator_loss(of_real, D(fake))
    if slope:
        (gradient,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
        loss = hinge + slope / 2 * gradient.square().flatten(1).sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(hinge.detach())


def load_autoencoder() -> tuple[Encoder, Decoder, float, float]:
    """The shipped autoencoder of garments at 32×32: (encoder, decoder, shift, scale).

    Trained by `data/train_autoencoder.py`; shift and scale are those of the training images.

    Raises:
        DataError: if its weights are missing or damaged.
    """
    weights = {k: v.float() for k, v in load_file(data_file("autoencoder.safetensors")).items()}
    nets = []
    for name, net in (("encoder", Encoder()), ("decoder", Decoder())):
        own = [v for k, v in weights.items() if k.startswith(f"{name}.")]
        with torch.no_grad():  # in the order of the layers, whatever a student calls them
            for p, value in zip(net.parameters(), own, strict=True):
                p.copy_(value)
        nets.append(net.eval().requires_grad_(False))
    return *nets, float(weights["shift"]), float(weights["scale"])
