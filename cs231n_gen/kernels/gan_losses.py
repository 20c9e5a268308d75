"""−log D and −log (1 − D) of logits, and their gradients (slides 16–25).

With D = sigmoid(ℓ) both are one function, softplus(y) = log(1 + eʸ):

    −log D(x) = softplus(−ℓ),   −log (1 − D(x)) = softplus(ℓ),   softplus′ = sigmoid
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cs231n_gen.kernels.launch import check_dtype, tl, triton, uses_kernel

BLOCK = 1024


@triton.jit
def kernel(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    """Program i writes partials[i], the sum of weight · softplus(sign · ℓ) over its own block of ℓ.

    A block is elements i·BLOCK … (i + 1)·BLOCK − 1, those that exist; nothing else is added. The
    weight is a sum's part in the loss, 1/n for a mean. It computes in fp32, whatever the dtype
    of the logits.

    Nothing overflows when softplus(y) = max(y, 0) + log(1 + e), e = exp(−|y|); and 1 + e, rounded
    to u, has lost the end of a small e: log(1 + e) = log u − ((u − 1) − e) / u puts it back.

    Args:
        logits: pointer to n elements in contiguous memory.
        partials: pointer to one fp32 number a program, which holds nothing yet.
        sign, weight: floats; sign is 1 or −1, weight may be negative too.
        n: the number of logits.
        BLOCK: logits of a program, a power of 2 from 16; the last block may stick out.
    """
    ### BEGIN SOLUTION
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))
    ### END SOLUTION


@triton.jit
def backward_kernel(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    """Program i writes its block of upstream · weight · sign · sigmoid(sign · ℓ).

    That is the gradient of `upstream · Σ partials` with respect to each ℓ, recomputed from the
    logits. A block is elements i·BLOCK … (i + 1)·BLOCK − 1, those that exist. It computes in
    fp32, whatever the dtype of the logits, and rounds once, when it stores.

    No exponential overflows when sigmoid(y) is 1 / (1 + e) for y > 0, and e / (1 + e) otherwise,
    with e = exp(−|y|); and a small one keeps its digits, which 1 − 1 / (1 + e) would lose.

    Args:
        logits, gradient: pointers to n elements of one dtype in contiguous memory.
        upstream: pointer to one fp32 number, the gradient of the loss.
        sign, weight: floats, those of the forward pass; sign is 1 or −1, weight may be negative.
        n: the number of logits.
        BLOCK: logits of a program, a power of 2 from 16; the last block may stick out.
    """
    ### BEGIN SOLUTION
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)
    ### END SOLUTION


def reference(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss in torch."""
    real, fake = _wide(real_logits), _wide(fake_logits)
    return -(F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean())


def generator_reference(fake_logits: Tensor, saturating: bool = False) -> Tensor:
    """The generator's loss in torch."""
    fake = _wide(fake_logits)
    return F.logsigmoid(-fake).mean() if saturating else -F.logsigmoid(fake).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What the discriminator minimises, −V(G, D).

        −(mean log D(x) + mean log (1 − D(G(z))))

    Each logit is read once; in the backward pass it is read once more and its gradient written.
    Twice the same loss, bit for bit: every program leaves a partial sum, and these are added in a
    fixed order. Atomic additions would come in any order.

    Args:
        real_logits, fake_logits: any shapes and strides, also different ones.
    Returns:
        A number in fp32 (float64 if the logits are). It can be differentiated once.
    Raises:
        ValueError: if logits are not floating-point, are missing, or differ in dtype or device.
    """
    _check(real_logits=real_logits, fake_logits=fake_logits)
    if not uses_kernel(real_logits, fake_logits):
        return reference(real_logits, fake_logits)
    return SoftplusMeans.apply(((-1.0, 1.0), (1.0, 1.0)), real_logits, fake_logits)


def generator_loss(fake_logits: Tensor, saturating: bool = False) -> Tensor:
    """What the generator minimises: −mean log D(G(z)), or mean log (1 − D(G(z))) if saturating.

    Args:
        fake_logits: any shape and strides.
        saturating: the loss whose gradient vanishes while D is sure that samples are fake.
    Returns:
        A number in fp32 (float64 if the logits are). It can be differentiated once.
    Raises:
        ValueError: if logits are not floating-point, or are missing.
    """
    _check(fake_logits=fake_logits)
    if not uses_kernel(fake_logits):
        return generator_reference(fake_logits, saturating)
    term = (1.0, -1.0) if saturating else (-1.0, 1.0)
    return SoftplusMeans.apply((term,), fake_logits)


class SoftplusMeans(torch.autograd.Function):
    """Σ factor · mean softplus(sign · ℓ) over terms (sign, factor), each with logits of its own."""

    @staticmethod
    def forward(ctx, terms: tuple[tuple[float, float], ...], *logits: Tensor) -> Tensor:
        ctx.terms = terms
        ctx.save_for_backward(*logits)
        blocks = [triton.cdiv(l.numel(), BLOCK) for l in logits]
        partials = torch.empty(sum(blocks), dtype=torch.float32, device=logits[0].device)
        parts = partials.split(blocks)
        for (sign, factor), l, own, part in zip(terms, logits, blocks, parts, strict=True):
            n = l.numel()
            kernel[(own,)](l.contiguous(), part, sign, factor / n, n, BLOCK=BLOCK)
        return partials.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = []
        for wanted, (sign, factor), l in zip(
            ctx.needs_input_grad[1:], ctx.terms, ctx.saved_tensors, strict=True
        ):
            gradient, n = None, l.numel()
            if wanted:
                gradient = torch.empty_like(l, memory_format=torch.contiguous_format)
                backward_kernel[(triton.cdiv(n, BLOCK),)](
                    l.contiguous(), upstream, gradient, sign, factor / n, n, BLOCK=BLOCK
                )
            gradients.append(gradient)
        return None, *gradients


def _wide(x: Tensor) -> Tensor:
    """In fp32 if it was narrower: a mean of half-precision numbers would be rounded to one."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check(**logits: Tensor) -> None:
    """Raise ValueError unless these are logits that have a mean, and go together."""
    check_dtype(**logits)
    (first, one), *_ = logits.items()
    for name, l in logits.items():
        if not l.numel():
            raise ValueError(f"{name} must hold at least one logit, got {tuple(l.shape)}")
        if l.dtype != one.dtype or l.device != one.device:
            ours, theirs = f"{one.dtype} on {one.device}", f"{l.dtype} on {l.device}"
            raise ValueError(f"{name} must be {ours} like {first}, got {theirs}")
