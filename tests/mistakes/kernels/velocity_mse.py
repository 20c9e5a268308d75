"""Typical wrong kernels for the loss of rectified flow, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.velocity_mse.kernel"


@mistake(
    EXERCISE,
    "Your loss is the sum of squares. It is their mean: multiply each program's sum by weight, "
    "which is 1/n.",
)
@triton.jit
def forgot_to_average(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You divide each program's sum by BLOCK. The loss is one mean over all n elements: multiply by "
    "weight, which is 1/n, and the wrapper adds the parts up.",
)
@triton.jit
def mean_of_each_block(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), tl.sum(off * off) / BLOCK)
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You square the sum of the errors, where positive and negative ones cancel. Square each error, "
    "then add up.",
)
@triton.jit
def squared_the_sum(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off) * tl.sum(off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You take the square root at the end. The loss is the mean square itself, as its gradient 2 · "
    "weight · (prediction − v) is that of the square.",
)
@triton.jit
def root_of_the_mean(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), tl.sqrt(weight * tl.sum(off * off)))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You add up absolute errors. The loss is made of squares: off * off.",
)
@triton.jit
def absolute_errors(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(tl.abs(off)))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You calculate P² − 2 P V + V². Where P and V are large and nearly equal, their squares agree "
    "in most digits and the difference is only rounding. Subtract first, then square.",
)
@triton.jit
def squares_expanded(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(P * P - 2 * P * V + V * V))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The gradient of a square is twice what was squared: 2 · weight · (prediction − v).",
)
@triton.jit
def no_two_in_the_gradient(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Your gradient lacks 1/n. The loss is a mean, so each element has only the n-th part in it: 2 "
    "· weight · (prediction − v).",
)
@triton.jit
def gradient_not_averaged(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The sign is that of v's gradient. The gradient of prediction is 2 · weight · (prediction − "
    "v): it is positive where prediction is too large.",
)
@triton.jit
def gradient_of_the_target(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * (V - P)
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You calculate ½ (prediction − v)², whose gradient has no factor 2. Here the square is whole.",
)
@triton.jit
def gradient_of_half_the_square(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), 0.5 * weight * tl.sum(off * off))
    if WANTED:
        G = weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You write a gradient though WANTED is false, where gradient has no element at all. Put the "
    "store under `if WANTED:`, which Triton decides when it compiles.",
)
@triton.jit
def gradient_always_written(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if 1 - 1 == 0:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You subtract before you go to fp32: in half precision the difference is rounded. Convert what "
    "you load with .to(tl.float32) at once.",
)
@triton.jit
def difference_in_half_precision(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0)
    V = tl.load(v + i, mask=there, other=0.0)
    off = (P - V).to(tl.float32)
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You square and add in the dtype of the inputs. In float16 a square beyond 65504 is infinite, "
    "and sums lose digits: convert what you load with .to(tl.float32).",
)
@triton.jit
def all_in_half_precision(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0)
    V = tl.load(v + i, mask=there, other=0.0)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You round the gradient to the dtype of prediction. Its own dtype may be wider: for float16 it "
    "is fp32, so that small numbers survive until they are scaled. Convert to "
    "gradient.dtype.element_ty.",
)
@triton.jit
def gradient_rounded_to_the_inputs(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(prediction.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Every program stores into partials[0], over what the others wrote there. Program i has its "
    "own place, partials + tl.program_id(0): the wrapper adds them up in a fixed order.",
)
@triton.jit
def all_into_the_first_partial(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials, weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Every program works on the first block. Program i begins at i · BLOCK: add tl.program_id(0) * "
    "BLOCK.",
)
@triton.jit
def always_the_first_block(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The last block sticks out of the tensors: mask loads and store with i < n. What lanes beyond "
    "n read belongs to something else, and is in your sum.",
)
@triton.jit
def no_mask(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    P = tl.load(prediction + i).to(tl.float32)
    V = tl.load(v + i).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty))


@mistake(
    EXERCISE,
    "Only the store is masked. What lanes beyond n read is not zero, and gets into your sum: mask "
    "the loads too, with other=0.0.",
)
@triton.jit
def only_the_store_masked(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i).to(tl.float32)
    V = tl.load(v + i).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The mask is i <= n, one element too far: the last element is n − 1.",
)
@triton.jit
def one_too_far(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i <= n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Lanes beyond n are filled with 1 on one side and 0 on the other, so each adds 1 to the sum. "
    "Fill both with the same number: other=0.0.",
)
@triton.jit
def lanes_beyond_n_are_one(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=1.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You read prediction and v a second time for the gradient. They are at hand: the point of this "
    "kernel is that 3 numbers move for each element, not 5.",
)
@triton.jit
def read_again_for_the_gradient(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
        V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
        G = 2 * weight * (P - V)
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Rounded to half precision on the way.",
    public=False,
)
@triton.jit
def through_half_precision(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = (P - V).to(tl.float16).to(tl.float32)
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "1/n instead of the weight that was given.",
    public=False,
)
@triton.jit
def one_over_n_instead_of_weight(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), tl.sum(off * off) / n)
    if WANTED:
        G = 2 * off / n
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Blocks of a fixed size.",
    public=False,
)
@triton.jit
def blocks_of_a_fixed_size(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The gradient is written over v too.",
    public=False,
)
@triton.jit
def into_v_as_well(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)
        tl.store(v + i, G.to(v.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Neighbouring lanes take elements that lie far apart in memory.",
    public=False,
)
@triton.jit
def neighbours_far_apart(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0) + tl.num_programs(0).to(tl.int64) * tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Errors are clipped to ±10⁴.",
    public=False,
)
@triton.jit
def errors_are_clipped(
    prediction, v, partials, gradient, weight, n,
    WANTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    off = tl.minimum(tl.maximum(off, -1e4), 1e4)
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Errors below 10⁻⁶ have no gradient.",
    public=False,
)
@triton.jit
def small_errors_have_no_gradient(
    prediction, v, partials, gradient, weight, n,
    WANTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * tl.where(tl.abs(off) < 1e-6, 0.0, off)
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Errors below 10⁻³ cost nothing.",
    public=False,
)
@triton.jit
def small_errors_cost_nothing(
    prediction, v, partials, gradient, weight, n,
    WANTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(
        partials + tl.program_id(0), weight * tl.sum(tl.where(tl.abs(off) < 1e-3, 0.0, off * off))
    )
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The difference is rounded to the dtype of the inputs before the gradient is made.",
    public=False,
)
@triton.jit
def the_difference_is_rounded_for_the_gradient(
    prediction, v, partials, gradient, weight, n,
    WANTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off.to(v.dtype.element_ty).to(tl.float32)
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Program i does block i as counted from the end.",
    public=False,
)
@triton.jit
def blocks_from_the_end(
    prediction, v, partials, gradient, weight, n,
    WANTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = (tl.num_programs(0) - 1 - tl.program_id(0)).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + (tl.num_programs(0) - 1 - tl.program_id(0)), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)
