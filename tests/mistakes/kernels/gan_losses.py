"""Typical wrong kernels for the losses of a GAN, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

FORWARD = "kernels.gan_losses.kernel"
BACKWARD = "kernels.gan_losses.backward_kernel"

# --- gan_losses.kernel ----------------------------------------------------------------------------


@mistake(
    FORWARD,
    "Lanes beyond the last logit add log 2 each: they were loaded as 0, and softplus(0) is not "
    "0. Put zeros in their place before the sum: tl.where(there, softplus, 0.0).",
)
@triton.jit
def lanes_beyond_the_end_count(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(softplus))


@mistake(
    FORWARD,
    "Nothing is masked. The last block sticks out of the tensor: mask the load with i < n, and "
    "keep what lanes beyond n hold out of the sum.",
)
@triton.jit
def no_mask(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    y = sign * tl.load(logits + i).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(softplus))


@mistake(
    FORWARD,
    "The load is not masked. To read outside of a tensor is an error, though the sum leaves "
    "these lanes out: on a GPU it may end the program.",
)
@triton.jit
def only_the_sum_masked(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "The mask is i <= n, one logit too far: the last one is n − 1.",
)
@triton.jit
def one_too_far(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i <= n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "Every program adds up the first block. Program i begins at logit i · BLOCK: add "
    "tl.program_id(0) * BLOCK.",
)
@triton.jit
def always_the_first_block(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "All programs write their sum to partials[0], one over the other. Program i has a place of "
    "its own, partials + i.",
)
@triton.jit
def all_into_one_place(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials, weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "You write to partials[i · BLOCK]. There is one place a program: partials + i.",
)
@triton.jit
def partials_far_apart(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    at = tl.program_id(0) * BLOCK
    tl.store(partials + at, weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "You add to what partials holds, but nobody has put a 0 there: memory that is new holds "
    "anything. Store the sum.",
)
@triton.jit
def added_to_what_is_there(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.atomic_add(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "log(1 + exp(y)) overflows for large logits: exp(100) is infinite in fp32. Only exp(−|y|) is "
    "safe, and max(y, 0) stands beside its logarithm.",
)
@triton.jit
def exponential_overflows(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    softplus = tl.log(1 + tl.exp(y))
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "log(1 + e) is 0 when e is below the last place of 1: a small loss is gone, and what is left "
    "of others is wrong. Put back what 1 + e has lost, as the docstring says.",
)
@triton.jit
def small_losses_rounded_away(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u)
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "You take −log(D + ε). That bounds the loss of a logit of −100 at −log ε, and nothing is "
    "learnt from it. From logits no ε is needed: softplus.",
)
@triton.jit
def epsilon_in_the_logarithm(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    softplus = -tl.log(1 / (1 + tl.exp(y)) + 1e-8)
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "Your softplus grows to both sides: it has |y| where max(y, 0) belongs. For y far below 0 it "
    "must vanish.",
)
@triton.jit
def absolute_value(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.abs(y) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "tl.log2 is the logarithm of base 2. The losses have the natural one: tl.log.",
)
@triton.jit
def logarithm_of_base_2(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log2(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "The sign is forgotten: −log D is softplus(−ℓ), and −log (1 − D) is softplus(ℓ). Use y = "
    "sign * ℓ.",
)
@triton.jit
def without_the_sign(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "The sign stands before the softplus in place of inside: softplus(−ℓ) is not −softplus(ℓ).",
)
@triton.jit
def sign_outside(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    total = tl.sum(tl.where(there, softplus, 0.0))
    tl.store(partials + tl.program_id(0), sign * weight * total)


@mistake(
    FORWARD,
    "The weight is forgotten: you have a sum, a mean is asked for. weight holds the 1/n.",
)
@triton.jit
def without_the_weight(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "You divide by n, and the weight has the 1/n already.",
)
@triton.jit
def divided_by_n_once_more(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    total = tl.sum(tl.where(there, softplus, 0.0))
    tl.store(partials + tl.program_id(0), weight * total / n)


@mistake(
    FORWARD,
    "You take the mean over a block. Blocks are not all full, and weight has the 1/n already: "
    "take the sum.",
)
@triton.jit
def mean_over_a_block(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    total = tl.sum(tl.where(there, softplus, 0.0)) / BLOCK
    tl.store(partials + tl.program_id(0), weight * total)


@mistake(
    FORWARD,
    "You add in the dtype of the logits. In half precision the sum keeps three digits, and "
    "beyond 65504 it is infinite: add in float32.",
)
@triton.jit
def sum_in_half_precision(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    terms = tl.where(there, softplus, 0.0).to(logits.dtype.element_ty)
    total = tl.sum(terms).to(tl.float32)
    tl.store(partials + tl.program_id(0), weight * total)


@mistake(
    FORWARD,
    "You read each logit twice. The second reading comes from memory again: keep y.",
)
@triton.jit
def logits_read_twice(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "Right only where BLOCK is 1024.",
    public=False,
)
@triton.jit
def blocks_of_1024(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * 1024 + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "The terms are written over the logits.",
    public=False,
)
@triton.jit
def into_the_logits_as_well(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))
    tl.store(logits + i, softplus.to(logits.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "Neighbouring lanes are far apart: no load is wide.",
    public=False,
)
@triton.jit
def lanes_far_apart(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    i = tl.program_id(0) * BLOCK + lane % 32 * (BLOCK // 32) + lane // 32
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "Logits are clipped to ±20.",
    public=False,
)
@triton.jit
def logits_clipped(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    y = tl.minimum(tl.maximum(y, -20.0), 20.0)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


# --- gan_losses.backward_kernel -------------------------------------------------------------------


@mistake(
    BACKWARD,
    "Nothing is masked. The last block sticks out of both tensors: mask the load and the store "
    "with i < n.",
)
@triton.jit
def gradient_without_a_mask(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    y = sign * tl.load(logits + i).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty))


@mistake(
    BACKWARD,
    "Only the store is masked. A load outside of the tensor is an error too, though its value is "
    "thrown away.",
)
@triton.jit
def only_the_store_masked(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "The mask is i <= n, one logit too far: the last one is n − 1.",
)
@triton.jit
def gradient_one_too_far(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i <= n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "Every program works on the first block. Program i begins at logit i · BLOCK: add "
    "tl.program_id(0) * BLOCK.",
)
@triton.jit
def gradient_of_the_first_block(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "upstream is one number, the gradient of the loss. You read one for every lane, and there "
    "are none: tl.load(upstream).",
)
@triton.jit
def upstream_for_every_lane(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream + i, mask=there) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "upstream is one number for all programs. You read upstream[i], which is outside of it from "
    "the second program on: tl.load(upstream).",
)
@triton.jit
def upstream_for_every_program(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream + tl.program_id(0)) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "The gradient of the loss is forgotten: whoever multiplies the loss by 2 must get gradients "
    "twice as large. Multiply by tl.load(upstream).",
)
@triton.jit
def without_upstream(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "The weight is forgotten: it has the 1/n of the mean, and the gradient has it too.",
)
@triton.jit
def gradient_without_the_weight(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "You divide by n, and the weight has the 1/n already.",
)
@triton.jit
def weighted_twice(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid / n
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "The derivative of softplus(sign · ℓ) by ℓ has the sign twice, inside the sigmoid and as a "
    "factor. You have no factor.",
)
@triton.jit
def without_the_inner_derivative(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "The sign is missing inside the sigmoid: real logits would be pushed by D where 1 − D belongs.",
)
@triton.jit
def sign_only_as_a_factor(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "You have the derivative of sigmoid, D (1 − D). The loss is a softplus, the derivative of "
    "which is sigmoid itself: that is why it teaches most where D is wrong.",
)
@triton.jit
def derivative_of_a_sigmoid(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid * (1 - sigmoid)
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "exp(y) / (1 + exp(y)) is infinity over infinity for a logit of 100. With e = exp(−|y|) "
    "nothing overflows.",
)
@triton.jit
def sigmoid_overflows(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(y)
    sigmoid = e / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "e / (1 + e) with e = exp(−|y|) is sigmoid(−|y|), never above 1/2. For y > 0 it is 1 / (1 + "
    "e).",
)
@triton.jit
def never_above_one_half(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = e / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "1 − 1 / (1 + e) loses the digits of a small sigmoid: e is added to 1 and 1 is taken away. "
    "For y ≤ 0 it is e / (1 + e).",
)
@triton.jit
def small_ones_cancelled(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1 / (1 + e), 1 - 1 / (1 + e))
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "You add to what gradient holds, but nobody has put a 0 there: memory that is new holds "
    "anything. Autograd adds gradients up by itself: store.",
)
@triton.jit
def gradient_added_to_nothing(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    G += tl.load(gradient + i, mask=there)
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "You read each logit twice. The second reading comes from memory again: keep y.",
)
@triton.jit
def logits_read_twice_again(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "You store the sigmoid in gradient, and read it again. Memory is not for what a program has "
    "in its hands: keep it in a variable.",
)
@triton.jit
def sigmoid_through_memory(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    tl.store(gradient + i, sigmoid.to(gradient.dtype.element_ty), mask=there)
    sigmoid = tl.load(gradient + i, mask=there)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "Right only where BLOCK is 1024.",
    public=False,
)
@triton.jit
def gradient_in_blocks_of_1024(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * 1024 + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "The gradient is written over the logits, too.",
    public=False,
)
@triton.jit
def gradient_into_the_logits(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)
    tl.store(logits + i, G.to(logits.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "Neighbouring lanes are far apart: no load is wide.",
    public=False,
)
@triton.jit
def gradients_lanes_far_apart(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    i = tl.program_id(0) * BLOCK + lane % 32 * (BLOCK // 32) + lane // 32
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "Logits are clipped to ±20.",
    public=False,
)
@triton.jit
def gradient_of_clipped_logits(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    y = tl.minimum(tl.maximum(y, -20.0), 20.0)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "The sigmoid is rounded to half precision, whatever the dtype.",
    public=False,
)
@triton.jit
def sigmoid_in_half_precision(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    sigmoid = sigmoid.to(tl.float16).to(tl.float32)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "Logits are clipped to ±500.",
    public=False,
)
@triton.jit
def clipped_to_500(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    y = tl.minimum(tl.maximum(y, -500.0), 500.0)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "No loss is below log(1 + e⁻⁴⁰).",
    public=False,
)
@triton.jit
def small_losses_have_a_floor(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    y = tl.maximum(y, -40.0)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "log(1 + e) is e for e below 10⁻⁴, which keeps four digits.",
    public=False,
)
@triton.jit
def a_series_that_is_too_short(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.where(e < 1e-4, e, tl.log(u))
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "softplus(y) is y from y = 10 on, which is off by 5 · 10⁻⁵.",
    public=False,
)
@triton.jit
def linear_from_10_on(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    softplus = tl.where(y > 10, y, softplus)
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.where(there, softplus, 0.0)))


@mistake(
    FORWARD,
    "Program i adds up block i as counted from the end, into the partial sum of that.",
    public=False,
)
@triton.jit
def blocks_from_the_end(logits, partials, sign, weight, n, BLOCK: tl.constexpr):
    i = (tl.num_programs(0) - 1 - tl.program_id(0)).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    u = 1 + e
    softplus = tl.where(y > 0, y, 0.0) + tl.log(u) - ((u - 1) - e) / u
    tl.store(
        partials + (tl.num_programs(0) - 1 - tl.program_id(0)),
        weight * tl.sum(tl.where(there, softplus, 0.0)),
    )


@mistake(
    BACKWARD,
    "No sigmoid is below e⁻⁴⁰.",
    public=False,
)
@triton.jit
def small_gradients_have_a_floor(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    y = tl.maximum(y, -40.0)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "upstream is rounded to the dtype of the logits.",
    public=False,
)
@triton.jit
def upstream_is_rounded(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream).to(gradient.dtype.element_ty).to(tl.float32) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "The sigmoid is rounded to the dtype of the logits before it is scaled.",
    public=False,
)
@triton.jit
def the_sigmoid_is_rounded(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid.to(gradient.dtype.element_ty).to(tl.float32)
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "upstream is clipped to 100.",
    public=False,
)
@triton.jit
def upstream_is_clipped(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.minimum(tl.load(upstream), 100.0) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "Logits beyond ±150 have no gradient.",
    public=False,
)
@triton.jit
def nothing_beyond_150(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    sigmoid = tl.where(tl.abs(y) > 150, 0.0, sigmoid)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    BACKWARD,
    "Program i does block i as counted from the end.",
    public=False,
)
@triton.jit
def gradients_from_the_end(logits, upstream, gradient, sign, weight, n, BLOCK: tl.constexpr):
    i = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    y = sign * tl.load(logits + i, mask=there, other=0.0).to(tl.float32)
    e = tl.exp(-tl.abs(y))
    sigmoid = tl.where(y > 0, 1.0, e) / (1 + e)
    G = tl.load(upstream) * weight * sign * sigmoid
    tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)
