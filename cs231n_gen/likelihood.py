"""Models trained by likelihood (slides 3–10): autoregressive models and the ELBO of a VAE."""

import math

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F


def autoregressive_log_likelihood(
    logits: Float[Tensor, "batch length vocabulary"], tokens: Int64[Tensor, "batch length"]
) -> Float[Tensor, "batch"]:
    """The log-likelihood of sequences under an autoregressive model (slides 4 and 9).

        log p(x) = Σ_t log p(x_t | x_<t),    p(x_t = k | x_<t) = softmax(logits_t)_k

    Args:
        logits: at position t the scores of every token, computed from x_<t alone: `logits[:, t]`
            predicts `tokens[:, t]`. Finite numbers.
        tokens: the sequences, whole numbers in [0, vocabulary).
    Returns:
        log p(x) in nats, one number for each sequence. Finite for logits of any size. Gradients
        flow into the logits.
    Raises:
        ValueError: if logits and tokens do not agree in batch and length.
    """
    if logits.dim() != 3 or logits.shape[:2] != tokens.shape:
        raise ValueError(
            f"logits must be (batch, length, vocabulary) for tokens (batch, length): "
            f"logits are {tuple(logits.shape)}, tokens {tuple(tokens.shape)}"
        )
    ### BEGIN SOLUTION
    log_p = F.log_softmax(logits, dim=-1)  # (batch, length, vocabulary)
    chosen = log_p.gather(-1, tokens[..., None])[..., 0]  # (batch, length)
    return chosen.sum(dim=1)
    ### END SOLUTION


def gaussian_kl(
    mean: Float[Tensor, "batch dim"], log_var: Float[Tensor, "batch dim"]
) -> Float[Tensor, "batch"]:
    """The KL divergence of a diagonal Gaussian from the standard Gaussian (slide 10).

        KL(N(μ, diag σ²) ‖ N(0, I)) = ½ Σ_i (μ_i² + σ_i² − 1 − log σ_i²)    (Kingma, Welling 2014,
        B)

    Args:
        mean: μ, one row for each example.
        log_var: log σ², shaped like mean (the logarithm, so that any real number is a variance).
    Returns:
        The divergence in nats, one number for each example, at least 0 but for rounding. It is
        exact for variances of any size, as far as they are numbers. Gradients flow into both.
    Raises:
        ValueError: if mean and log_var differ in shape.
    """
    if mean.shape != log_var.shape:
        raise ValueError(
            "log_var must be shaped like mean: "
            f"mean is {tuple(mean.shape)}, log_var {tuple(log_var.shape)}"
        )
    ### BEGIN SOLUTION
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1)
    ### END SOLUTION


def elbo(
    x: Float[Tensor, "batch *shape"],
    reconstruction: Float[Tensor, "batch *shape"],
    mean: Float[Tensor, "batch dim"],
    log_var: Float[Tensor, "batch dim"],
    sigma: float = 1.0,
) -> Float[Tensor, "batch"]:
    """The evidence lower bound of a VAE with a Gaussian decoder, from one draw of z (slide 10).

        log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)),
        q(z|x) = N(μ, diag exp(log_var)),   p(x|z) = N(μ_x(z), σ² I)

    Args:
        x: data: points or images, with at least one axis after the batch.
        reconstruction: the decoder's mean μ_x(z) at a z drawn from q(z|x), shaped like x.
        mean, log_var: of q(z|x), as in `gaussian_kl`.
        sigma: σ, the decoder's standard deviation, of any size whose square is a positive float.
    Returns:
        The bound in nats, one number for each example, with every constant, so that it can be
        compared with log p(x). Gradients flow into reconstruction, mean and log_var.
    Raises:
        ValueError: if reconstruction is not shaped like x, or sigma is not positive.
    """
    if reconstruction.shape != x.shape:
        raise ValueError(
            f"reconstruction must be shaped like x: x is {tuple(x.shape)}, "
            f"reconstruction {tuple(reconstruction.shape)}"
        )
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    ### BEGIN SOLUTION
    error = (x - reconstruction).flatten(1)  # (batch, dimensions of x)
    log_normal = -0.5 * (error / sigma).square() - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    return log_normal.sum(dim=1) - gaussian_kl(mean, log_var)
    ### END SOLUTION
