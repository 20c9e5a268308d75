"""Public checks of chapter 14: kernels.gated_residual."""

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.precision import precise
from cs231n_gen.checking.kernels.reference import in_turn
from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages, nbytes

forward = pytest.mark.exercise("kernels.gated_residual.kernel")
backward = pytest.mark.exercise("kernels.gated_residual.backward_kernel")

WRAPPER = "kernels.gated_residual.gated_residual"


def reference(x, gate, y):
    return x + gate[:, None] * y


def on(student, x):
    """The gradient of the gate is a sum over tokens."""
    return Stages(student, WRAPPER, Exact(reference, wrt=(0, 1, 2), sums={"gate": x.shape[1]}))


def example(generator, batch, T, D):
    x, y = (torch.randn(batch, T, D, generator=generator) for _ in range(2))
    return x, torch.randn(batch, D, generator=generator), 1 + y


# --- kernels.gated_residual.kernel --------------------------------------------------------------


@forward
@pytest.mark.parametrize("D", [1, 7, 64, 1025])
def test_every_token(student, generator, D):
    """correct: x + gate · y, where all tokens of an example share its gate"""
    args = example(generator, 2, 3, D)
    on(student, args[0]).correct(*args)


@forward
def test_half_precision(student, generator):
    """correct: in half precision, calculated in float32"""
    args = [a.half() for a in example(generator, 2, 5, 300)]
    on(student, args[0]).correct(*args)


@forward
def test_a_gate_of_0(student, generator):
    """correct: a gate of 0 is the identity, as adaLN-Zero begins; of 1 it is a plain residual"""
    x, _, y = example(generator, 2, 3, 40)
    call, wrapper = student.instruments.observe.call, student.function(WRAPPER)
    gate = torch.tensor([[0.0], [1.0]]).expand(2, 40)
    (out,) = call(wrapper, [x, gate, y])["results"]
    expect.tensor(out, x.shape)
    expect.true(torch.equal(out[0], x[0]), "with a gate of 0 exactly x must come back")
    expect.close(out[1], x[1] + y[1], "with a gate of 1 it is x + y")


@forward
def test_more_examples_than_32_bits_can_count(student, generator):
    """correct: in an example that begins beyond element 2³¹ places are still right"""
    args, n = example(generator, 1, 4, 40), 2**31 // 40 + 99
    given, name = [*args, torch.full((1, 4, 40), 7.0)], "kernels.gated_residual.kernel"
    where = {"programs": [[n, 0]], "begins": [n * t.numel() for t in given]}
    says, constants = f"example {n} begins beyond element 2³¹", {"ROWS": 4, "BLOCK": 64}
    came = left(student, name, [n + 1, 1], [*given, 4, 40], constants, says, **where)
    on(student, args[0]).exact.judge_results(came[3:4], args, {}, says)


@forward
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    args = example(generator, 2, 5, 600)
    on(student, args[0]).safe(*args)


@forward
def test_lean(student, generator):
    """lean: x and y are read once, the gate once for many tokens, the result is written once"""
    args = example(generator, 2, 16, 200)
    on(student, args[0]).lean(POINTWISE, *args)


# --- kernels.gated_residual.backward_kernel -----------------------------------------------------


def in_chunks(student, gate, y, upstream, chunk, rows, block):
    """What a launch without the wrapper leaves, in chunks of tokens, and what should be there."""
    batch, T, D = y.shape
    chunks = -(-T // chunk)
    empty = torch.full_like(y, float("nan")), torch.full((batch, chunks, D), float("nan"))
    given = [gate, y, upstream, *empty]
    constants = {"CHUNK": chunk, "ROWS": rows, "BLOCK": block}
    kernel = student.function("kernels.gated_residual.backward_kernel")
    grid = [batch, chunks]
    seen = student.instruments.observe.launch(kernel, grid, [*given, T, D], constants)
    parts = (y.double() * upstream.double()).split(chunk, 1)
    d_y, d_gate = gate[:, None].double() * upstream.double(), [p.sum(1) for p in parts]
    return seen["args"][3:5], (d_y, torch.stack(d_gate, 1)), seen["moved"] / nbytes(given)


def judge_chunks(found, exact):
    says = "the gradient of y is wrong where a program does several tiles of tokens"
    precise(found[0], exact[0], exact[0].to(found[0].dtype), says)
    says = "d_gate must hold the sum over each chunk of tokens, in float32"
    precise(found[1], exact[1], exact[1].float(), says, in_turn(32))


@backward
@pytest.mark.parametrize("D", [7, 1025])
def test_gradients(student, generator, D):
    """backward: of x, of the gate and of y"""
    args = example(generator, 2, 3, D)
    random = torch.randn(2, 3, D, generator=generator)
    on(student, args[0]).backward(*args, upstream=lambda out: random)


@backward
def test_gradients_at_a_gate_of_0(student, generator):
    """backward: at a gate of 0 nothing reaches y, but the gate is told where to go"""
    x, _, y = example(generator, 2, 5, 40)
    upstream = torch.randn(2, 5, 40, generator=generator)
    call, wrapper = student.instruments.observe.call, student.function(WRAPPER)
    seen = call(wrapper, [x, torch.zeros(2, 40), y], wrt=[0, 1, 2], upstream=[upstream])
    _, d_gate, d_y = seen["gradients"]
    expect.close(d_y, torch.zeros_like(y), "d_y is gate · upstream, and the gate is 0", what="d_y")
    says = "d_gate is the sum of y · upstream over tokens, whatever the gate is"
    expect.close(d_gate, (y * upstream).sum(1), says, what="d_gate")


@backward
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
def test_chunks_of_several_tiles(student, generator, dtype):
    """backward: a program does CHUNK tokens, ROWS at a time, and leaves one sum for all of them"""
    upstream, gate, y = example(generator, 2, 37, 40)
    args = gate.to(dtype), y.to(dtype), upstream.to(dtype)
    found, exact, _ = in_chunks(student, *args, chunk=16, rows=4, block=64)
    judge_chunks(found, exact)


@backward
def test_more_examples_than_32_bits_can_count_backward(student, generator):
    """backward: in an example that begins beyond element 2³¹ places are still right"""
    (upstream, gate, y), n = example(generator, 1, 4, 40), 2**31 // 40 + 99
    given = [gate, y, upstream, torch.full(y.shape, 7.0), torch.full((1, 1, 40), 7.0)]
    where = {"programs": [[n, 0]], "begins": [n * t.numel() for t in given]}
    says, name = f"example {n} begins beyond element 2³¹", "kernels.gated_residual.backward_kernel"
    constants = {"CHUNK": 4, "ROWS": 2, "BLOCK": 64}
    came = left(student, name, [n + 1, 1], [*given, 4, 40], constants, says, **where)
    got = [upstream, came[4][:, 0], came[3]]
    on(student, y).exact.judge_gradients(got, [y, gate, y], [upstream], {}, says)


@backward
def test_safe_backward(student, generator):
    """safe: every access is inside, and no two programs meet"""
    args = example(generator, 2, 5, 600)
    on(student, args[0]).safe(*args, gradient=True)


@backward
def test_lean_backward(student, generator):
    """lean: y and upstream are read once, d_y is written once"""
    upstream, gate, y = example(generator, 2, 32, 100)
    found, exact, ratio = in_chunks(student, gate, y, upstream, chunk=32, rows=8, block=128)
    judge_chunks(found, exact)
    says = f"your kernel moves {ratio:.2f} times the least traffic"
    expect.true(ratio <= POINTWISE, says, f"{ratio:.2f}", f"at most {POINTWISE:g}")
