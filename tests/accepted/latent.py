"""Right answers to chapter 08, the autoencoder and its losses, written in other ways."""

import math

import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from cs231n_gen.checking.variants import accepted


def refuse(wrong, says):
    if wrong:
        raise ValueError(says)


# --- latent.reparameterize ----------------------------------------------------------------------


@accepted("latent.reparameterize")
def filled_with_noise(mean, log_var, generator=None):
    refuse(mean.shape != log_var.shape, "log_var must be shaped like mean")
    e = torch.empty(mean.shape, dtype=mean.dtype).normal_(generator=generator)
    return torch.addcmul(mean, torch.exp(log_var / 2), e)


@accepted("latent.reparameterize")
def root_of_the_variance(mean, log_var, generator=None):
    refuse(tuple(mean.shape) != tuple(log_var.shape), "log_var must be shaped like mean")
    e = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    if not bool((log_var < 600).all() and (log_var > -600).all()):  # a root of 0 has no slope
        return mean + e * (log_var * 0.5).exp()
    return mean + e * log_var.exp().sqrt()


@accepted("latent.reparameterize")
def by_distributions(mean, log_var, generator=None):
    refuse(mean.shape != log_var.shape, "log_var must be shaped like mean")
    e = torch.randn(mean.size(), dtype=mean.dtype, generator=generator)
    sigma = torch.pow(torch.tensor(math.e, dtype=mean.dtype), 0.5 * log_var)
    return sigma.mul(e).add(mean)


# --- latent.vae_loss ----------------------------------------------------------------------------


def refuse_vae(x, x_hat, mean, log_var, kl_weight):
    refuse(x.shape != x_hat.shape, "x_hat must be shaped like x")
    refuse(mean.shape != log_var.shape, "log_var must be shaped like mean")
    refuse(len(mean) != len(x), "mean must have a row for each example")
    refuse(not kl_weight >= 0, "kl_weight must be at least 0")


@accepted("latent.vae_loss")
def sums_over_all_by_the_batch(x, x_hat, mean, log_var, kl_weight=1.0):
    refuse_vae(x, x_hat, mean, log_var, kl_weight)
    fit = torch.nn.functional.mse_loss(x_hat, x, reduction="sum") / 2
    kl = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
    return (fit + kl_weight * kl) / x.shape[0]


@accepted("latent.vae_loss")
def by_the_distributions_of_torch(x, x_hat, mean, log_var, kl_weight=1.0):
    refuse_vae(x, x_hat, mean, log_var, kl_weight)
    q = Normal(mean, (log_var / 2).exp(), validate_args=False)
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    kl = kl_divergence(q, prior).reshape(len(x), -1).sum(-1)
    error = (x_hat - x).reshape(len(x), -1)
    return (torch.einsum("bi,bi->b", error, error) / 2 + kl_weight * kl).mean()


@accepted("latent.vae_loss")
def an_example_at_a_time(x, x_hat, mean, log_var, kl_weight=1.0):
    refuse_vae(x, x_hat, mean, log_var, kl_weight)
    losses = []
    for a, b, m, v in zip(x, x_hat, mean, log_var, strict=True):
        fit = ((a - b) ** 2).sum() * 0.5
        kl = (0.5 * (m**2 + (torch.expm1(v) - v))).sum()
        losses.append(fit + kl_weight * kl)
    return torch.stack(losses).mean()


@accepted("latent.vae_loss")
def squared_norms(x, x_hat, mean, log_var, kl_weight=1.0):
    refuse_vae(x, x_hat, mean, log_var, kl_weight)
    axes, latent = tuple(range(1, x.dim())), tuple(range(1, mean.dim()))
    fit = 0.5 * torch.square(x - x_hat).sum(dim=axes).mean(0)
    bits = mean * mean + torch.exp(log_var) - log_var - 1
    return fit + kl_weight * 0.5 * bits.sum(dim=latent).mean(0)


# --- latent.discriminator_loss ------------------------------------------------------------------


@accepted("latent.discriminator_loss")
def by_clamps(real_logits, fake_logits):
    return (1 - real_logits).clamp(min=0).mean() + (1 + fake_logits).clamp(min=0).mean()


@accepted("latent.discriminator_loss")
def by_minima(real_logits, fake_logits):
    real = torch.minimum(real_logits - 1, torch.zeros_like(real_logits)).mean()
    return -real - torch.minimum(-fake_logits - 1, torch.zeros_like(fake_logits)).mean()


@accepted("latent.discriminator_loss")
def by_choosing(real_logits, fake_logits):
    real = torch.where(real_logits < 1, 1 - real_logits, 0.0)
    fake = torch.where(fake_logits > -1, 1 + fake_logits, 0.0)
    return real.sum() / real.numel() + fake.sum() / fake.numel()


@accepted("latent.discriminator_loss")
def by_multi_margin(real_logits, fake_logits):
    relu = nn.ReLU()
    return torch.add(relu(1.0 + fake_logits).mean(), relu(1.0 - real_logits).mean())


# --- latent.adaptive_weight ---------------------------------------------------------------------


@accepted("latent.adaptive_weight")
def in_double_until_the_end(
    reconstruction, adversarial, last_layer, step=0, start=0, *, delta=1e-4, largest=1e4
):
    norms = []
    for loss in (reconstruction, adversarial):
        g = torch.autograd.grad(loss, [last_layer], retain_graph=True)[0]
        norms.append(g.double().square().sum().sqrt())
    weight = torch.clamp(norms[0] / (norms[1] + delta), 0.0, largest)
    return (weight * float(step >= start)).to(reconstruction.dtype)


@accepted("latent.adaptive_weight")
def by_backward_into_a_held_gradient(
    reconstruction, adversarial, last_layer, step=0, start=0, *, delta=1e-4, largest=1e4
):
    if step < start:
        return reconstruction.new_zeros(())
    held, norms = last_layer.grad, []
    for loss in (reconstruction, adversarial):
        last_layer.grad = None
        loss.backward(retain_graph=True, inputs=[last_layer])
        norms.append(torch.linalg.vector_norm(last_layer.grad))
    last_layer.grad = held
    return torch.minimum(norms[0] / (norms[1] + delta), norms[0].new_tensor(largest))


@accepted("latent.adaptive_weight")
def as_a_tensor_made_of_a_number(
    reconstruction, adversarial, last_layer, step=0, start=0, *, delta=1e-4, largest=1e4
):
    def size(loss):
        (g,) = torch.autograd.grad(loss, last_layer, retain_graph=True)
        return math.sqrt(float((g.double() * g.double()).sum()))

    weight = (
        0.0 if step < start else min(size(reconstruction) / (size(adversarial) + delta), largest)
    )
    return torch.tensor(weight, dtype=reconstruction.dtype)


@accepted("latent.adaptive_weight")
def with_a_graph_that_is_cut(
    reconstruction, adversarial, last_layer, step=0, start=0, *, delta=1e-4, largest=1e4
):
    if step < start:
        return torch.zeros((), dtype=reconstruction.dtype)
    g = torch.autograd.grad(reconstruction, last_layer, create_graph=True)[0]
    h = torch.autograd.grad(adversarial, last_layer, create_graph=True)[0]
    with torch.no_grad():
        return (g.flatten().norm(2) / (h.flatten().norm(2) + delta)).clamp_(max=largest)


# --- latent.shift_and_scale ---------------------------------------------------------------------


@accepted("latent.shift_and_scale")
def by_running_sums(encoder, x):
    refuse(len(x) == 0, "x must hold at least one image")
    modes = [(m, m.training) for m in encoder.modules()]
    encoder.eval()
    n, total, squares, first = 0, 0.0, 0.0, None
    with torch.inference_mode():
        for k in range(0, len(x), 100):
            mean, _ = encoder(x[k : k + 100])
            first = mean.flatten()[0].double() if first is None else first
            off = mean.double() - first  # so that nothing cancels
            n, total, squares = n + off.numel(), total + off.sum(), squares + off.square().sum()
    for m, mode in modes:
        m.training = mode
    variance = squares / n - (total / n) ** 2
    refuse(not float(variance) > 0, "the latents must differ")
    return float(first + total / n), float(variance.rsqrt())


@accepted("latent.shift_and_scale")
def in_two_passes(encoder, x):
    refuse(x.shape[0] < 1, "x must hold at least one image")
    modes = {m: m.training for m in encoder.modules()}
    parts = []
    try:
        encoder.train(False)
        for part in torch.chunk(x, math.ceil(len(x) / 500)):
            with torch.no_grad():
                parts.append(encoder(part)[0].flatten())
    finally:
        for m, mode in modes.items():
            m.training = mode
    u = torch.cat(parts)
    shift = u.double().mean()
    variance = (u.double() - shift).pow(2).mean().item()
    refuse(variance == 0, "the latents must differ")
    return shift.item(), variance**-0.5


@accepted("latent.shift_and_scale")
def by_var_mean(encoder, x):
    from cs231n_gen.given.frozen import frozen

    refuse(not len(x), "x must hold at least one image")
    with frozen(encoder) as net:
        u = torch.cat([net(x[k : k + 500])[0] for k in range(0, len(x), 500)])
    variance, mean = torch.var_mean(u, correction=0)
    refuse(float(variance) <= 0, "the latents must differ")
    return float(mean), 1 / math.sqrt(variance)


# --- latent.to_latent ---------------------------------------------------------------------------


@accepted("latent.to_latent")
def by_hand(encoder, x, shift, scale):
    refuse(not scale > 0, "scale must be positive")
    modes = [m.training for m in encoder.modules()]
    encoder.eval()
    with torch.no_grad():
        u = encoder(x)[0].sub(shift).mul(scale)
    for m, mode in zip(encoder.modules(), modes, strict=True):
        m.training = mode
    return u


@accepted("latent.to_latent")
@torch.inference_mode()
def in_inference_mode(encoder, x, shift, scale):
    from cs231n_gen.given.frozen import frozen

    refuse(not scale > 0, "scale must be positive")
    with frozen(encoder) as net:
        mean, *_ = net(x)
    return torch.mul(mean - shift, scale)


@accepted("latent.to_latent")
def multiplied_out(encoder, x, shift, scale):
    from cs231n_gen.given.frozen import frozen

    refuse(not scale > 0, "scale must be positive")
    with frozen(encoder):
        pair = encoder(x)
    return pair[0] * scale - shift * scale


# --- latent.from_latent -------------------------------------------------------------------------


@accepted("latent.from_latent")
def decoded_by_hand(decoder, u, shift, scale):
    refuse(not scale > 0, "scale must be positive")
    modes = [(m, m.training) for m in decoder.modules()]
    try:
        with torch.no_grad():
            return decoder.eval()(u.div(scale).add(shift))
    finally:
        for m, mode in modes:
            m.training = mode


@accepted("latent.from_latent")
def on_one_line(decoder, u, shift, scale):
    from cs231n_gen.given.frozen import frozen

    refuse(not scale > 0, "scale must be positive")
    with frozen(decoder) as net:
        return net((u + shift * scale) / scale)


@accepted("latent.from_latent")
@torch.no_grad()
def with_a_decorator(decoder, u, shift, scale):
    refuse(not scale > 0, "scale must be positive")
    modes = {m: m.training for m in decoder.modules()}
    x = decoder.train(False)(shift + u * (1 / scale))
    for m in modes:
        m.training = modes[m]
    return x
