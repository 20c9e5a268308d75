"""Right kernels for the losses of a GAN, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

FORWARD = "kernels.gan_losses.kernel"
BACKWARD = "kernels.gan_losses.backward_kernel"

# --- gan_losses.kernel --------------------------------------------------------------------------


@accepted(FORWARD)
@triton.jit
def zeros_through_the_load(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    program = tl.program_id(axis=0)
    offsets = program * BLOCK + tl.arange(0, BLOCK)
    very_sure = -sign * float("inf")  # softplus(−∞) is 0: lanes beyond n add nothing
    scores = tl.load(logits + offsets, mask=offsets < n, other=0.0).to(tl.float32)
    y = tl.where(offsets < n, scores, very_sure) * sign
    e = tl.exp(-tl.abs(y))
    u = 1.0 + e
    log1p = tl.where(u == 1.0, e, tl.log(u) * (e / tl.where(u == 1.0, 1.0, u - 1.0)))
    tl.store(partials + program, weight * tl.sum(tl.maximum(y, 0.0) + log1p, axis=0))


@accepted(FORWARD)
@triton.jit
def weighted_term_by_term_in_two_halves(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK // 2,), tl.float32)
    for half in range(2):
        i = tl.program_id(0) * BLOCK + half * (BLOCK // 2) + tl.arange(0, BLOCK // 2)
        y = tl.load(logits + i, i < n, 0.0).to(tl.float32) * sign
        e = tl.exp(tl.minimum(y, -y))
        u = 1 + e
        term = (tl.abs(y) + y) / 2 + (tl.log(u) - ((u - 1) - e) / u)
        total += tl.where(i < n, weight * term, 0.0)
    tl.store(partials + tl.program_id(0), tl.sum(total))


@accepted(FORWARD)
@triton.jit
def linear_from_20_on(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = offsets < n
    y = tl.load(logits + offsets, mask=there, other=0.0).to(tl.float32) * sign
    e = tl.exp(-tl.abs(y))
    u = 1.0 + e
    small = tl.log(u) - ((u - 1) - e) / u
    softplus = tl.where(y > 20, y, tl.where(y > 0, y + small, small))
    tl.store(partials + tl.program_id(0), tl.sum(tl.where(there, softplus, 0.0) * weight))


# --- gan_losses.backward_kernel -----------------------------------------------------------------


@accepted(BACKWARD)
@triton.jit
def with_tritons_own_sigmoid(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(axis=0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    scores = tl.load(logits + offsets, mask=mask, other=0.0).to(tl.float32)
    scale = tl.load(upstream) * sign * weight
    tl.store(gradient + offsets, scale * tl.sigmoid(sign * scores), mask=mask)


@accepted(BACKWARD)
@triton.jit
def in_two_halves(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    for half in range(2):
        i = tl.program_id(0) * BLOCK + half * (BLOCK // 2) + tl.arange(0, BLOCK // 2)
        y = tl.load(logits + i, i < n).to(tl.float32) * sign
        e = tl.exp(-tl.abs(y))
        sigmoid = tl.where(y < 0, e / (1 + e), 1 / (1 + e))
        G = sign * (weight * (sigmoid * tl.load(upstream)))
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), i < n)


@accepted(BACKWARD)
@triton.jit
def in_strides_of_the_grid(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    scale = sign * weight * tl.load(upstream)
    for block in range(tl.program_id(0), tl.cdiv(n, BLOCK), tl.num_programs(0)):
        i = block * BLOCK + tl.arange(0, BLOCK)
        y = sign * tl.load(logits + i, mask=i < n).to(tl.float32)
        G = scale / (1 + tl.exp(-y))  # exp(−y) may be infinite: then the quotient is 0, as it must
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=i < n)
