"""The guard: honest wrappers pass, and every known way to let something else work is named."""

import copy
import ctypes
import functools
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from cs231n_gen.kernels.launch import HAVE_TRITON, INTERPRETED, interpreting, tl, triton

if not HAVE_TRITON or not INTERPRETED:
    pytest.skip("Triton does not interpret in this process", allow_module_level=True)

from triton.runtime.interpreter import GridExecutor

from cs231n_gen.instruments.honesty.guard import OnlyKernels, honest, watch
from cs231n_gen.kernels import (
    adain,
    adaln,
    axpy,
    gan_losses,
    gated_residual,
    group_norm_silu,
    guided_step,
    nearest_code,
    noising,
    patchify,
    qk_norm_rope,
    velocity_mse,
)

N, BLOCK = 1500, 512
GRID = (triton.cdiv(N, BLOCK),)


@triton.jit
def add(x, z, out, n, BLOCK: tl.constexpr):
    """out = 2 x + z."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    X = tl.load(x + i, mask=i < n)
    tl.store(out + i, 2 * X + tl.load(z + i, mask=i < n), mask=i < n)


@triton.jit
def move(x, out, n, BLOCK: tl.constexpr):
    """out = x."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n), mask=i < n)


@triton.jit
def sums(x, partials, n, BLOCK: tl.constexpr):
    """Sums over blocks."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(partials + tl.program_id(0), tl.sum(tl.load(x + i, mask=i < n, other=0.0)))


def good(x, z):
    out = torch.empty_like(x)
    add[GRID](x, z, out, N, BLOCK=BLOCK)
    return out


def right(x, z):
    """What `good` gives, by torch."""
    return 2 * x + z


def moved(x):
    """A copy, by a kernel."""
    out = torch.empty(N)
    move[GRID](x, out, N, BLOCK=BLOCK)
    return out


def inputs(seed, *shape, count=2):
    return list(torch.randn(count, *(shape or (N,)), generator=torch.Generator().manual_seed(seed)))


# --- wrappers that are honest -------------------------------------------------------------------


def rows(seed):
    x, y = inputs(seed, 3, 40, 24)
    return x, y, *inputs(seed + 1, 3, 24)


GOOD = {
    "axpy": (axpy.axpy, lambda s: [*inputs(s, 3000), 0.5]),
    "guided step": (guided_step.guided_step, lambda s: [*inputs(s, 3000, count=3), 2.0, 0.1]),
    "noising": (noising.noising, lambda s: [*inputs(s, 3, 1100), torch.rand(3)]),
    "noise of its own": (
        noising.noising_with_noise,
        lambda s: [*inputs(s, 3, 1100, count=1), torch.rand(3), s],
    ),
    "nearest code": (nearest_code.nearest_code, lambda s: [*inputs(s, 90, 16)]),
    "with final sum": (gan_losses.discriminator_loss, lambda s: inputs(s, 3000)),
}
WITH_GRADIENT = {
    "generator's loss": (gan_losses.generator_loss, lambda s: inputs(s, 3000, count=1)),
    "patchify": (patchify.patchify, lambda s: [inputs(s, 2, 3, 16, 16)[0], 4]),
    "velocity mse": (
        velocity_mse.velocity_mse,
        lambda s: [inputs(s, 3000)[0].requires_grad_(), inputs(s, 3000)[1]],
    ),
    "adaLN": (adaln.adaln, lambda s: [rows(s)[0], *rows(s)[2:]]),
    "gated residual": (gated_residual.gated_residual, lambda s: [rows(s)[k] for k in (0, 2, 1)]),
    "AdaIN": (adain.adain, lambda s: [inputs(s, 3, 8, 9, 9)[0], *inputs(s + 1, 3, 8)]),
    "group norm": (
        group_norm_silu.group_norm_silu,
        lambda s: [inputs(s, 3, 8, 9, 9)[0], 4, *inputs(s + 1, 8)],
    ),
    "QK norm and RoPE": (
        qk_norm_rope.qk_norm_rope,
        lambda s: [
            *(t.requires_grad_() for t in [*inputs(s, 2, 2, 60, 16), *inputs(s + 1, 16)]),
            *inputs(s + 2, 60, 8),
        ],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_courses_kernels_are_honest(name):
    assert honest(*GOOD[name]) == []


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_their_backward_passes_are_honest_too(name):
    assert honest(*WITH_GRADIENT[name], gradient=True) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_numbers_change_nothing(dtype):
    assert honest(axpy.axpy, lambda s: [*(t.to(dtype) for t in inputs(s)), 0.5]) == []


def test_copies_of_inputs_with_gaps_are_allowed_when_asked_for():
    def with_gaps(seed):
        return [*(t[:, ::2] for t in inputs(seed, 30, 100)), 0.5]

    assert honest(axpy.axpy, with_gaps, copies=True) == []
    assert "torch copied 1500 elements" in "".join(honest(axpy.axpy, with_gaps))


def test_a_single_number_may_be_finished_by_torch():
    def mean(x):
        partials = torch.empty(GRID)
        sums[GRID](x, partials, N, BLOCK=BLOCK)
        return partials.sum() / N

    assert honest(mean, lambda s: inputs(s, count=1)) == []


def test_a_wrapper_may_fill_what_a_kernel_adds_to():
    def counted(x, z):
        out = torch.zeros_like(x)
        add[GRID](x, z, out, N, BLOCK=BLOCK)
        return out

    assert honest(counted, inputs) == []


# --- the others -----------------------------------------------------------------------------------

CACHE = {}
BUFFER = torch.empty(N)
COMPILED = None


def torch_only(x, z):
    return right(x, z)


def decoy(x, z):
    good(x, z)
    return right(x, z)


def decoy_that_ends_with_a_copy(x, z):
    return good(x, z).copy_(right(x, z))


def cached_by_pointer(x, z):
    key = x.data_ptr(), z.data_ptr()
    if key not in CACHE:
        CACHE[key] = good(x, z)
    return CACHE[key]


def cached_by_shape(x, z):
    if x.shape not in CACHE:
        CACHE[x.shape] = good(x, z)
    return CACHE[x.shape]


def launched_but_cached(x, z):
    if x.shape not in CACHE:
        CACHE[x.shape] = good(x, z)
    good(x, z)
    return moved(CACHE[x.shape])


def one_buffer_for_all_calls(x, z):
    add[GRID](x, z, BUFFER, N, BLOCK=BLOCK)
    return BUFFER


def half_written(x, z):
    out = torch.empty_like(x)
    add[(N // BLOCK,)](x, z, out, N, BLOCK=BLOCK)
    return out


def never_written(x, z):
    add[GRID](x, z, torch.empty_like(x), N, BLOCK=BLOCK)
    return torch.empty_like(x)


def the_rest_by_torch(x, z):
    out, done = half_written(x, z), N // BLOCK * BLOCK
    out[done:] = right(x[done:], z[done:])
    return out


def in_place(x, z):
    add[GRID](x, z, x, N, BLOCK=BLOCK)
    return x


def changes_an_input(x, z):
    out = good(x, z)
    move[GRID](out, z, N, BLOCK=BLOCK)
    return out


def returns_a_view(x, z):
    good(x, z)
    return x.view(-1)[:]


def by_numpy(x, z):
    return torch.from_numpy(2 * x.numpy() + z.numpy())


def by_an_array(x, z):
    return torch.as_tensor(2 * np.asarray(x) + np.asarray(z))


def by_a_ufunc(x, z):
    return torch.as_tensor(np.add(np.multiply(2, x), z))


def by_dlpack(x, z):
    return torch.from_dlpack(2 * np.from_dlpack(x) + np.from_dlpack(z))


def by_lists(x, z):
    return torch.tensor([2 * a + b for a, b in zip(x.tolist(), z.tolist(), strict=True)])


def by_single_numbers(x, z):
    out = good(x, z)
    for i in range(N):
        out[i] = 2 * float(x[i]) + float(z[i])
    return out


def by_single_numbers_of_a_storage(x, z):
    storage = x.untyped_storage()
    total = sum(storage[i] for i in range(4 * N))
    return good(x, z) if total else x


def by_chunks(x, z):
    return torch.cat([right(a, b) for a, b in zip(x.split(100), z.split(100), strict=True)])


def by_chunks_in_place(x, z):
    out = good(x, z)
    for part, a, b in zip(out.split(100), x.split(100), z.split(100), strict=True):
        torch.add(b, a, alpha=2, out=part)
    return out


def laundered(x, z):
    return moved(right(x, z))


def laundered_numpy(x, z):
    return moved(torch.from_numpy(2 * x.numpy() + z.numpy()))


def laundered_dlpack(x, z):
    return moved(torch.from_dlpack(2 * np.from_dlpack(x) + np.from_dlpack(z)))


def laundered_by_address(x, z):
    fresh, n = torch.empty(N), np.empty(N, np.float32)
    for t, at in [(x, 0), (z, 1)]:
        source = (ctypes.c_float * N).from_address(t.data_ptr())
        n[:] = 2 * np.ctypeslib.as_array(source) if at == 0 else n + np.ctypeslib.as_array(source)
    ctypes.memmove(fresh.data_ptr(), n.ctypes.data, 4 * N)
    return moved(fresh)


def laundered_behind_torch(x, z):
    fresh, n = torch.empty(N), np.ones(N, np.float32)
    ctypes.memmove(fresh.data_ptr(), n.ctypes.data, 4 * N)
    return moved(fresh)


def changed_where_torch_looks_away(x, z):
    out = good(x, z)
    with torch._C._DisableTorchDispatch():
        out.copy_(right(x, z) + 1)
    return out


def laundered_where_torch_looks_away(x, z):
    with torch._C._DisableTorchDispatch():
        out = right(x, z)
    return moved(out)


def from_a_global(x, z):
    return moved(BUFFER)


def another_files_kernel(x, z):
    return axpy.axpy(x, z, 2.0)


def constants(x, z):
    return torch.ones_like(x)


def constants_over_a_result(x, z):
    return good(x, z).fill_(1.0)


def reads_one_input(x, z):
    return moved(x)


def by_aten(x, z):
    return torch.ops.aten.add(z, x, alpha=2)


def by_einsum(x, z):
    return torch.einsum("i,ij->j", torch.tensor([2.0, 1.0]), torch.stack([x, z]))


def by_out(x, z):
    return torch.add(z, x, alpha=2, out=torch.empty_like(x))


def by_an_operation_in_place(x, z):
    return moved(x).mul_(2).add_(z)


def by_vmap(x, z):
    return torch.func.vmap(right)(x, z)


def by_gradient(x, z):
    return torch.func.grad(lambda a: (a * a + a * z).sum())(x)


def by_c(x, z):
    return torch._C._VariableFunctions.add(z, x, alpha=2) + 0 * torch._C._nn.gelu(x)


def by_script(x, z):
    return scripted()(x, z)


def by_compile(x, z):
    return torch.compile(right)(x, z)


def by_what_was_compiled(x, z):
    return compiled()(x, z)


def in_a_thread(x, z):
    thread = threading.Thread(target=lambda: CACHE.update(out=right(x, z)))
    thread.start()
    thread.join()
    return moved(CACHE["out"])


def in_a_process(x, z):
    subprocess.run([sys.executable, "-c", ""], check=True)
    return good(x, z)


def in_a_grid(x, z):
    out = torch.empty_like(x)

    def grid(_):
        CACHE["out"] = right(x, z)
        return GRID

    add[grid](x, z, out, N, BLOCK=BLOCK)
    return CACHE["out"]


def in_another_precision(x, z):
    return good(x.double(), z.double()).float()


def in_inference_mode(x, z):
    with torch.inference_mode():
        return right(x, z)


def a_sum_by_torch(x, z):
    return right(x, z).sum()


def a_sum_of_a_decoy(x, z):
    partials = torch.empty(GRID)
    sums[GRID](x, partials, N, BLOCK=BLOCK)
    return torch.full((), 0.5)


@functools.cache
def scripted():
    return torch.jit.script(lambda_free)


def lambda_free(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return 2 * x + z


@functools.cache
def compiled():
    function = torch.compile(lambda_free, backend="aot_eager")
    function(torch.ones(N), torch.ones(N))
    return function


BY_TORCH = "torch did the work: "
OUT = "numbers left torch by "
CAUGHT = {
    torch_only: ["no kernel was launched", BY_TORCH],
    decoy: [BY_TORCH, "the result is not what a kernel wrote"],
    decoy_that_ends_with_a_copy: [BY_TORCH, "torch copied"],
    cached_by_pointer: ["they are kept", "no kernel was launched", "there before the call"],
    cached_by_shape: ["they are kept", "no kernel was launched", "there before the call"],
    launched_but_cached: [
        "they are kept",
        "memory that the wrapper neither received nor allocated",
    ],
    one_buffer_for_all_calls: ["there before the call"],
    half_written: ["kernels left 476 of the 1500 elements of the result unwritten", "NaN"],
    never_written: ["the result is not what a kernel wrote", "NaN"],
    the_rest_by_torch: [BY_TORCH, "kernels left 476 of the 1500"],
    in_place: ["x was changed", "the result lies in the memory of x"],
    changes_an_input: ["z was changed"],
    returns_a_view: ["the result lies in the memory of x", "the result is not what a kernel wrote"],
    by_numpy: [OUT + ".numpy()", "numbers come from outside torch"],
    by_an_array: [OUT + ".__array__()", "no kernel was launched"],
    by_a_ufunc: [OUT + ".__array__()"],
    by_dlpack: [OUT + ".__dlpack__()"],
    by_lists: [OUT + ".tolist()", "numbers come from outside torch"],
    by_single_numbers: ["torch did the work bit by bit"],
    by_single_numbers_of_a_storage: ["torch did the work bit by bit"],
    by_chunks: [BY_TORCH + "cat"],
    by_chunks_in_place: ["torch did the work bit by bit"],
    laundered: [BY_TORCH + "mul on 1500 elements (test_guard.py, line "],
    laundered_numpy: [OUT, "numbers come from outside torch"],
    laundered_dlpack: [OUT, "argument x of move is memory that the wrapper neither received"],
    laundered_by_address: [
        "work was done where it cannot be watched: ctypes",
        "neither torch nor a kernel",
    ],
    laundered_behind_torch: ["argument x of move was written by neither torch nor a kernel"],
    changed_where_torch_looks_away: ["memory was written by neither torch nor a kernel"],
    laundered_where_torch_looks_away: ["memory that the wrapper neither received nor allocated"],
    from_a_global: ["neither received nor allocated", "no kernel reads x", "they are kept"],
    another_files_kernel: ["kernel of axpy.py was launched, which belongs to another file"],
    constants: ["no kernel was launched"],
    constants_over_a_result: ["torch writes over what a kernel was given: fill_"],
    reads_one_input: ["no kernel reads z"],
    by_aten: [BY_TORCH + "add"],
    by_einsum: [BY_TORCH],
    by_out: [BY_TORCH + "add"],
    by_an_operation_in_place: [BY_TORCH + "mul_", BY_TORCH + "add_"],
    by_vmap: [BY_TORCH],
    by_gradient: [BY_TORCH],
    by_c: [BY_TORCH + "add", BY_TORCH + "gelu"],
    by_script: [BY_TORCH],
    by_compile: ["torch.compile was called", BY_TORCH],
    by_what_was_compiled: [BY_TORCH],
    in_a_thread: ["a thread was started", "neither received nor allocated"],
    in_a_process: ["work was done where it cannot be watched: subprocess.Popen"],
    in_a_grid: [BY_TORCH],
    in_another_precision: [BY_TORCH + "_to_copy"],
    in_inference_mode: [BY_TORCH],
    a_sum_by_torch: [BY_TORCH, "no kernel was launched"],
    a_sum_of_a_decoy: ["the result is not what a kernel wrote", "no kernel reads z"],
}


@pytest.mark.parametrize("cheat", CAUGHT, ids=lambda cheat: cheat.__name__)
def test_work_that_is_not_the_kernels_is_named(cheat):
    compiled(), scripted()
    CACHE.clear()
    said = honest(cheat, inputs)
    for sentence in CAUGHT[cheat]:
        assert any(sentence in s for s in said), said


def test_the_same_kernels_without_a_cheat():
    assert honest(good, inputs) == []


class Backward(torch.autograd.Function):
    """`good`, with one of several backward passes."""

    @staticmethod
    def forward(ctx, x, z, way):
        ctx.way = way
        ctx.save_for_backward(x)
        return good(x, z)

    @staticmethod
    def backward(ctx, upstream):
        if ctx.way == "torch":
            return 2 * upstream, upstream, None
        if ctx.way == "saved":
            return ctx.saved_tensors[0], moved(upstream), None
        if ctx.way == "numpy":
            return torch.from_numpy(2 * upstream.numpy()), moved(upstream), None
        if ctx.way == "nothing":
            return moved(upstream), None, None
        d_x, zero = torch.empty_like(upstream), torch.zeros_like(upstream)
        add[GRID](upstream, zero, d_x, N, BLOCK=BLOCK)
        return d_x, upstream, None


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("torch", BY_TORCH + "mul on 1500 elements (test_guard.py"),
        ("saved", "the gradient of x lies in the memory of x"),
        ("numpy", OUT + ".numpy()"),
        ("nothing", "no gradient reaches z"),
    ],
)
def test_the_backward_pass_is_watched(way, sentence):
    said = honest(lambda x, z: Backward.apply(x, z, way), inputs, gradient=True)
    assert any(sentence in s for s in said), said
    assert honest(lambda x, z: Backward.apply(x, z, way), inputs) == []


def test_an_honest_backward_pass():
    assert honest(lambda x, z: Backward.apply(x, z, ""), inputs, gradient=True) == []


def test_a_backward_pass_that_autograd_makes_is_torchs():
    def half_torch(x, z):
        return good(x, z) if not x.requires_grad else right(x, z)

    said = honest(half_torch, inputs, gradient=True)
    assert any("in the backward pass" in s for s in said), said


def test_named_kernels_of_another_file_may_be_launched():
    assert honest(another_files_kernel, inputs, kernels=["kernel"]) == []
    said = honest(good, inputs, kernels=["kernel"])
    assert said == ["add was launched, which is not one of kernel"]


def test_fresh_memory_holds_what_nobody_takes_for_a_number():
    with OnlyKernels():
        floats, whole = torch.empty(3, dtype=torch.float16), torch.empty(3, dtype=torch.int64)
        small, flags = torch.empty_like(whole, dtype=torch.uint8), torch.empty(3, dtype=torch.bool)
    assert floats.isnan().all() and flags.all()
    assert (whole == 2**63 - 3).all() and (small == 253).all()


def hooks():
    """What the guard replaces, and what is there when nobody watches."""
    readers = [torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__]
    return [*readers, torch.compile, threading.Thread.start, GridExecutor.__call__]


def test_everything_is_as_before_also_after_an_exception():
    before = hooks()
    own = copy.copy(set(vars(torch.Tensor)))

    def breaks(x, z):
        good(x, z)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        honest(breaks, inputs)
    assert hooks() == before
    assert set(vars(torch.Tensor)) == own
    torch.ones(9000) + 1
    assert not torch._C._len_torch_dispatch_stack()


def test_guards_nest():
    before = hooks()
    with interpreting(), OnlyKernels() as outer, OnlyKernels() as inner:
        good(*inputs(0)).tolist()
    assert len(outer.launches) == len(inner.launches) == 1
    assert hooks() == before


def test_a_watched_call_keeps_results_and_moves_no_random_state():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    seen = watch(good, inputs(0))
    assert torch.equal(torch.rand(3), expected)
    assert torch.allclose(seen.out, right(*inputs(0)))
    assert seen.complaints == () and seen.guard.moved == 0
    assert list(seen.inputs) == ["x", "z"]


def test_no_element_needs_no_kernel():
    assert honest(axpy.axpy, lambda s: [*inputs(s, 0), 2.0]) == []
