"""Hidden grader of chapter 14, kernels.gated_residual: held to its limits, to float64, and to what
the instruments see."""

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.reference import in_turn
from cs231n_gen.checking.kernels.stages import (
    DTYPES,
    POINTWISE,
    SIZES,
    Exact,
    Stages,
    checked,
    nbytes,
)

WRAPPER = "kernels.gated_residual.gated_residual"


forward = pytest.mark.exercise("kernels.gated_residual.kernel")
backward = pytest.mark.exercise("kernels.gated_residual.backward_kernel")


def reference(x, gate, y):
    """Calculated in float32 at least."""
    return (up(x) + up(gate)[:, None] * up(y)).to(x.dtype)


def up(x):
    return x if x.dtype == torch.float64 else x.float()


def on(student, x):
    """The gradient of the gate is a sum over tokens."""
    return Stages(student, WRAPPER, Exact(reference, wrt=(0, 1, 2), sums={"gate": x.shape[1]}))


def example(generator, batch, T, D, dtype=torch.float32):
    """y is around 2, so that sums over tokens do not cancel."""
    x, y = (torch.randn(batch, T, D, generator=generator) for _ in range(2))
    gate = torch.randn(batch, D, generator=generator)
    return x.to(dtype), gate.to(dtype), (2 + 0.5 * y).to(dtype)


def called(student, args, **options):
    seen = checked(student.instruments.observe.call(student.function(WRAPPER), [*args], **options))
    expect.true(len(seen["results"]) == 1, "one result must come", len(seen["results"]), 1)
    return seen


def launched(student, name, grid, given, constants):
    """The arguments of a kernel as a launch without the wrapper left them, and the bytes moved."""
    kernel = student.function(f"kernels.gated_residual.{name}")
    seen = student.instruments.observe.launch(kernel, [*grid], [*given], constants)
    good = isinstance(seen, dict) and isinstance(seen.get("args"), list)
    good = good and len(seen["args"]) == len(given) and type(seen.get("moved")) is int
    expect.true(good, "the instruments were tampered with")
    return seen["args"], seen["moved"]


def unwritten(*shape, dtype=torch.float32):
    return torch.full(shape, float("nan"), dtype=dtype)


# --- kernels.gated_residual.kernel --------------------------------------------------------------


@forward(weight=3)
def test_every_dim(student, generator):
    """correct: for tokens of 1, 7, 1023, 1024, 1025 and some other number of numbers"""
    for D in (*SIZES, draws.whole(generator, 20, 300)):
        args = example(generator, 2, 3, D)
        on(student, args[0]).correct(*args)


@forward
def test_every_number_of_tokens(student, generator):
    """correct: for examples of 1, 7, 31, 32, 33 tokens, where a program does up to 32"""
    for T in (1, 7, 31, 32, 33):
        args = example(generator, 2, T, draws.whole(generator, 65, 128))
        on(student, args[0]).correct(*args)


@forward
def test_every_tile(student, generator):
    """correct: for any ROWS and BLOCK, not only those that the wrapper takes"""
    T, D = draws.whole(generator, 5, 12), draws.whole(generator, 33, 60)
    x, gate, y = example(generator, 2, T, D)
    for rows, block in ((1, 64), (2, 128), (16, 64)):
        given, constants = [x, gate, y, unwritten(2, T, D), T, D], {"ROWS": rows, "BLOCK": block}
        came, _ = launched(student, "kernel", [2, -(-T // rows)], given, constants)
        says = f"the result is wrong for ROWS = {rows}, BLOCK = {block}"
        Exact(reference).judge_results(came[3:4], [x, gate, y], {}, says)


@forward
def test_large_and_small_gates(student, generator):
    """correct: gates and numbers may be as large as 1e5, and as small as 1e-6"""
    x, gate, y = example(generator, 2, 3, 40)
    gate = torch.stack([1e5 * gate[0], 1e-6 * gate[1]])
    for size in (1.0, 1e5):
        on(student, x).correct(0.001 * x, gate, size * y)


@forward
def test_more_examples_than_32_bits_can_count(student, generator):
    """correct: in an example that begins beyond element 2³¹ places are still right"""
    T, D = 20, 40
    args = example(generator, 1, T, D)
    n = 2**31 // D + draws.whole(generator, 9, 10**6)
    given = [*args, unwritten(1, T, D)]
    begins, constants = [n * t.numel() for t in given], {"ROWS": 16, "BLOCK": 64}
    where = {"programs": [[n, 0], [n, 1]], "begins": begins}
    says = f"example {n} begins beyond element 2³¹: the result is wrong"
    name = "kernels.gated_residual.kernel"
    came = left(student, name, [n + 9, 2], [*given, T, D], constants, says, **where)
    Exact(reference).judge_results(came[3:4], args, {}, says)


@forward
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16, also beside a gate in float32"""
    for dtype in DTYPES:
        x, gate, y = example(generator, 2, 5, draws.whole(generator, 200, 500))
        on(student, x).correct(x.to(dtype), gate.to(dtype), y.to(dtype))
        if dtype != torch.float32:
            on(student, x).correct(x.to(dtype), gate, y.to(dtype))


@forward
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        args = example(generator, 3, 5, 36)
        on(student, args[0]).correct(*args, layout=layout)


@forward(weight=2)
def test_the_gates_of_theory(student, generator):
    """correct: a gate of 0 is the identity, bit for bit; with 1 and −1 y is added and subtracted"""
    D = draws.whole(generator, 30, 60)
    gate = torch.tensor([[0.0], [1.0], [-1.0]]).expand(3, D)
    for dtype in DTYPES:
        x, _, y = example(generator, 3, 4, D, dtype)
        (out,) = called(student, [x, gate.to(dtype), y])["results"]
        for k, (truth, what) in enumerate(((x, "x"), (x + y, "x + y"), (x - y, "x − y"))):
            says = f"with a gate of {int(gate[k, 0])} exactly {what} must come back"
            expect.tensor(out, x.shape)
            expect.true(torch.equal(out[k], truth[k]), says)


@forward(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = example(generator, 2, draws.whole(generator, 9, 16), draws.whole(generator, 300, 500))
    on(student, args[0]).safe(*args)


@forward
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    first, second = (example(generator, 2, 16, 40) for _ in range(2))
    on(student, first[0]).honest(first, second)


@forward
def test_lean(student, generator):
    """lean: x and y are read once, the gate once for many tokens, the result is written once"""
    args = example(generator, 2, 16, draws.whole(generator, 150, 257))
    on(student, args[0]).lean(POINTWISE, *args)


@forward
def test_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    small, large = example(generator, 2, 3, 32), example(generator, 2, 16, 1024)
    on(student, small[0]).compiles(small, large)


# --- kernels.gated_residual.backward_kernel -----------------------------------------------------


def around(generator):
    """Makes random gradients of a result; they are around 1.5, so that sums do not cancel."""
    return lambda out: (1.5 + 0.5 * torch.randn(out.shape, generator=generator)).to(out.dtype)


def chunks_of(gate, y, upstream, chunk):
    """d_y, and the sums of d_gate over each chunk of tokens."""
    parts = (up(y) * up(upstream)).split(chunk, 1)
    d_y = up(gate)[:, None] * up(upstream)
    return d_y.to(y.dtype), torch.stack([p.sum(1) for p in parts], 1)


def judge_chunks(got, args, chunk, what):
    """Hold what a launch left to the formula; sums over tokens may be added in turn."""
    says = f"what is stored is wrong, or not the sum over each chunk in float32, for {what}"
    exact = Exact(chunks_of, floors={1: in_turn(chunk)})
    exact.judge_results(got, args, {"chunk": chunk}, says, ("d_y", "d_gate"))


def in_chunks(student, upstream, gate, y, chunk, rows, block):
    """Hold a launch without the wrapper, in chunks of tokens, to the formula in float64.

    Returns:
        The bytes it moved, in units of the least.
    """
    batch, T, D = y.shape
    chunks = -(-T // chunk)
    given = [gate, y, upstream, unwritten(batch, T, D, dtype=y.dtype), unwritten(batch, chunks, D)]
    constants = {"CHUNK": chunk, "ROWS": rows, "BLOCK": block}
    came, moved = launched(student, "backward_kernel", [batch, chunks], [*given, T, D], constants)
    judge_chunks(came[3:5], given[:3], chunk, f"{T} tokens, CHUNK = {chunk}, ROWS = {rows}")
    return moved / nbytes(given)


@backward(weight=2)
def test_gradients_of_every_dim(student, generator):
    """backward: for tokens of 1, 7, 1023, 1024, 1025 numbers"""
    for D in SIZES:
        args = example(generator, 2, 3, D)
        on(student, args[0]).backward(*args, upstream=around(generator))


@backward(weight=3)
def test_chunks(student, generator):
    """backward: for any number of tokens, in chunks of one or several tiles, which need not fit"""
    D = draws.whole(generator, 33, 60)
    for T, chunk, rows in ((1, 4, 4), (7, 8, 4), (31, 16, 8), (32, 16, 16), (33, 16, 8)):
        in_chunks(student, *example(generator, 2, T, D), chunk, rows, 64)


@backward(weight=2)
def test_chunks_in_half_precision(student, generator):
    """backward: the sums over a chunk are calculated and kept in float32"""
    T, D = draws.whole(generator, 65, 80), draws.whole(generator, 33, 60)
    for dtype in (torch.float16, torch.bfloat16):
        in_chunks(student, *example(generator, 1, T, D, dtype), 64, 16, 128)


@backward
def test_chunks_of_many_tiles(student, generator):
    """backward: a program does all tiles of its chunk, and there may be more chunks than needed"""
    in_chunks(student, *example(generator, 1, 21, 20), 32, 2, 32)
    upstream, gate, y = example(generator, 2, 7, 20)
    given = [gate, y, upstream, unwritten(2, 7, 20), unwritten(2, 3, 20)]
    constants = {"CHUNK": 4, "ROWS": 2, "BLOCK": 32}
    came, _ = launched(student, "backward_kernel", [2, 3], [*given, 7, 20], constants)
    judge_chunks([came[3], came[4][:, :2]], given[:3], 4, "chunks of which one has no token")
    says = "a chunk without a token must leave a sum of 0"
    expect.close(came[4][:, 2], torch.zeros(2, 20), says, atol=0, rtol=0)


@backward
def test_gradients_of_other_dtypes(student, generator):
    """backward: a gate in another precision than y keeps its digits"""
    for dtype, of_gate in ((torch.bfloat16, torch.float32), (torch.float16, torch.bfloat16)):
        upstream, gate, y = example(generator, 2, 9, 40)
        in_chunks(student, upstream.to(dtype), gate.to(of_gate), y.to(dtype), 4, 2, 64)


@backward
def test_large_gradients(student, generator):
    """backward: what comes back, the gate and y may be large or small"""
    upstream, gate, y = example(generator, 2, 9, 40)
    gate = torch.stack([1e5 * gate[0], 1e-6 * gate[1]])
    for size in (1e-6, 1e5):
        in_chunks(student, size * upstream, gate, y / size, 4, 2, 64)


@backward
def test_more_examples_than_32_bits_can_count_backward(student, generator):
    """backward: in an example that begins beyond element 2³¹ places are still right"""
    T, D = 20, 40
    upstream, gate, y = example(generator, 1, T, D)
    n = 2**31 // D + draws.whole(generator, 9, 10**6)
    given = [gate, y, upstream, unwritten(1, T, D), unwritten(1, 2, D)]
    begins, constants = [n * t.numel() for t in given], {"CHUNK": 16, "ROWS": 8, "BLOCK": 64}
    where = {"programs": [[n, 0], [n, 1]], "begins": begins}
    says, name = f"example {n} begins beyond element 2³¹", "kernels.gated_residual.backward_kernel"
    came = left(student, name, [n + 9, 2], [*given, T, D], constants, says, **where)
    judge_chunks(came[3:5], given[:3], 16, says)


@backward
def test_gradients_in_every_dtype(student, generator):
    """backward: in float32, float16 and bfloat16, also beside a gate in float32"""
    for dtype in DTYPES:
        x, gate, y = example(generator, 2, 5, draws.whole(generator, 200, 500))
        upstream = around(generator)
        on(student, x).backward(x.to(dtype), gate.to(dtype), y.to(dtype), upstream=upstream)
        if dtype != torch.float32:
            on(student, x).backward(x.to(dtype), gate, y.to(dtype), upstream=upstream)


@backward
def test_gradients_in_any_layout(student, generator):
    """backward: for strided, transposed and expanded tensors and upstream gradients too"""
    for layout in ("strided", "transposed", "expanded"):
        args = example(generator, 3, 5, 36)
        on(student, args[0]).backward(*args, upstream=around(generator), layout=layout)


@backward
def test_gradients_at_a_gate_of_0(student, generator):
    """backward: at a gate of 0 nothing reaches y, but the gate is told where to go"""
    D = draws.whole(generator, 30, 60)
    x, _, y = example(generator, 2, 5, D)
    upstream = around(generator)(x)
    seen = called(student, [x, torch.zeros(2, D), y], wrt=[0, 1, 2], upstream=[upstream])
    expect.true(len(seen["gradients"]) == 3, "three gradients must come")
    d_x, d_gate, d_y = seen["gradients"]
    expect.close(
        d_x, upstream, "the identity passes the upstream gradient on", atol=0, rtol=0, what="d_x"
    )
    says = "d_y is gate · upstream, and the gate is 0"
    expect.close(d_y, torch.zeros_like(y), says, atol=0, rtol=0, what="d_y")
    says = "d_gate is the sum of y · upstream over tokens, whatever the gate is"
    expect.close(d_gate, (y.double() * upstream).sum(1), says, atol=1e-4, rtol=1e-4, what="d_gate")


@backward
def test_the_two_gradients_agree(student, generator):
    """backward: gate and y enter as a product, so Σ gate · d_gate = Σ y · d_y for every example"""
    x, gate, y = example(generator, 3, 8, draws.whole(generator, 30, 60))
    upstream = around(generator)(x)
    seen = called(student, [x, gate, y], wrt=[0, 1, 2], upstream=[upstream])
    expect.true(len(seen["gradients"]) == 3, "three gradients must come")
    d_gate = expect.tensor(seen["gradients"][1], gate.shape, "d_gate")
    d_y = expect.tensor(seen["gradients"][2], y.shape, "d_y")
    both = gate.double()[:, None] * y.double() * upstream.double()
    for got, what in ((gate * d_gate, "gate · d_gate"), ((y * d_y).sum(1), "y · d_y")):
        says = f"Σ {what} is not Σ gate · y · upstream"
        expect.close(got.sum(-1), both.sum((1, 2)), says, atol=1e-3, rtol=0)


@backward(weight=2)
def test_safe_backward(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = example(generator, 2, draws.whole(generator, 9, 16), draws.whole(generator, 300, 500))
    on(student, args[0]).safe(*args, gradient=True)


@backward
def test_honest_backward(student, generator):
    """honest: the kernels do the work, all of it, every time"""
    first, second = (example(generator, 2, 16, 40) for _ in range(2))
    on(student, first[0]).honest(first, second, gradient=True)


@backward
def test_lean_backward(student, generator):
    """lean: y and upstream are read once, d_y is written once, and one sum a chunk"""
    args = example(generator, 2, 32, draws.whole(generator, 90, 129))
    ratio = in_chunks(student, *args, 32, 8, 128)
    says = f"your kernel moves {ratio:.2f} times the least traffic"
    expect.true(0.99 <= ratio <= POINTWISE, says, f"{ratio:.2f}", f"at most {POINTWISE:g}")


@backward
def test_compiles_backward(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    small, large = example(generator, 2, 3, 32), example(generator, 2, 16, 1024)
    on(student, small[0]).compiles(small, large, gradient=True)
