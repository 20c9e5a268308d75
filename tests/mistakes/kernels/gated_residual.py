"""Typical wrong kernels for the gated residual, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

FORWARD = "kernels.gated_residual.kernel"
BACKWARD = "kernels.gated_residual.backward_kernel"


@mistake(
    FORWARD,
    "Lanes beyond D are not masked: they read and overwrite the numbers of the next token, which "
    "another program may own. Mask every access with i < D.",
)
@triton.jit
def no_mask_on_numbers(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i >= 0)
    A = tl.load(gate + example * D + i).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "The last program of an example has fewer than ROWS tokens left, and yours goes on into the "
    "next example, whose tokens belong to another program and have another gate. Mask with t < T "
    "as well.",
)
@triton.jit
def no_mask_on_tokens(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t >= 0) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "The mask of the tokens is t <= T, one too far: the last token of an example is T − 1, and "
    "token T is the first of the next example.",
)
@triton.jit
def a_token_too_far(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t <= T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "Only the store is masked. A load outside of the tensor is an error too, though its value is "
    "thrown away: on a GPU it may end the program. Mask every access.",
)
@triton.jit
def only_the_store_masked(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i).to(tl.float32)
    X = tl.load(x + at).to(tl.float32)
    Y = tl.load(y + at).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "Every program works on the first tokens of its example, and the others are left. Program (i, "
    "j) begins at token j · ROWS: add tl.program_id(1) * ROWS.",
)
@triton.jit
def always_the_first_tokens(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "Every program works on the first example. Token t of example i is row i · T + t of x, y and "
    "out.",
)
@triton.jit
def always_the_first_example(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = t * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "Every example gets the gate of the first one. That of example i begins at element i · D.",
)
@triton.jit
def gate_of_the_first_example(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "You use the first number of the gate for the whole token. The gate has D numbers, one for "
    "each place of a token.",
)
@triton.jit
def one_gate_for_all_numbers(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "A token begins BLOCK elements after the one before it in your addresses. In memory they are "
    "D elements apart; BLOCK is only what a program has at hand.",
)
@triton.jit
def rows_of_block(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * BLOCK + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "The two numbers of a program are exchanged: tl.program_id(0) is the example, "
    "tl.program_id(1) counts blocks of ROWS tokens.",
)
@triton.jit
def grid_exchanged(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(1)
    t = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "You multiply by 1 + gate. That is how adaLN uses its scale; here a gate of 0 must leave x as "
    "it is, so multiply by the gate itself.",
)
@triton.jit
def gate_plus_one(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + (1 + A) * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "x and y are exchanged: this is gate · x + y. The gate decides how much of y is added, and "
    "the tokens x pass by it.",
)
@triton.jit
def gated_the_tokens(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (A * X + Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "You multiply the whole sum by the gate. Only y is multiplied, or a gate of 0 would leave "
    "nothing of x.",
)
@triton.jit
def gated_the_sum(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (A * (X + Y)).to(out.dtype.element_ty), mask=there)


@mistake(FORWARD, "You store gate · y alone: what makes it a residual is that x is added.")
@triton.jit
def without_x(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "This mixes x and y with shares 1 − gate and gate. A residual keeps all of x: x + gate · y.",
)
@triton.jit
def mixed(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * (Y - X)).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "The gate is read anew for every token. All tokens of an example share it: load one (1, "
    "BLOCK) row, and let it be broadcast over the tile.",
)
@triton.jit
def gate_read_for_every_token(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i + 0 * t, mask=there, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "You read y twice. The second reading comes from memory again: keep what you have loaded.",
)
@triton.jit
def y_read_twice(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    again = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + 0.5 * A * Y + 0.5 * A * again).to(out.dtype.element_ty), mask=there)


@mistake(FORWARD, "The sum is written over x too.", public=False)
@triton.jit
def into_x_as_well(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(x + at, (X + A * Y).to(x.dtype.element_ty), mask=there)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(FORWARD, "Four tokens a program, whatever ROWS is.", public=False)
@triton.jit
def four_rows(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * 4 + tl.arange(0, 4)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(FORWARD, "Rounded to bfloat16 on the way.", public=False)
@triton.jit
def rounded_to_bfloat16(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(
        out + at, (X + (A * Y).to(tl.bfloat16).to(tl.float32)).to(out.dtype.element_ty), mask=there
    )


@mistake(
    BACKWARD,
    "The last chunk of an example has fewer than CHUNK tokens left, and yours goes on into the "
    "next example: its tokens enter your sum, and their d_y is written by two programs. Mask with "
    "t < T as well.",
)
@triton.jit
def no_mask_on_the_tokens_of_a_chunk(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t >= 0) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "Lanes beyond D are not masked: they overwrite the d_y of the next token and the d_gate of "
    "the next chunk. Mask every access with i < D.",
)
@triton.jit
def no_mask_on_the_numbers_of_a_token(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i >= 0)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A)


@mistake(
    BACKWARD,
    "d_y is upstream itself. But y is multiplied by the gate on its way to the result, and so is "
    "the gradient on its way back: d_y = gate · upstream.",
)
@triton.jit
def upstream_as_it_comes(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "d_y is y · upstream. That is what the gate's gradient adds up; of y it is gate · upstream, "
    "as the derivative of a product with respect to one factor is the other.",
)
@triton.jit
def y_instead_of_the_gate(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (Y * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "d_gate adds up gate · upstream. The derivative of gate · y with respect to the gate is y: "
    "add up y · upstream. At a gate of 0 yours would be 0, and the gate could never open.",
)
@triton.jit
def gate_instead_of_y(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(A * G, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "d_gate adds up gate · y · upstream. The derivative of gate · y with respect to the gate is y "
    "alone; at a gate of 0 yours would be 0, and the gate could never open.",
)
@triton.jit
def gated_twice(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * A * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "Every example gets the gate of the first one. That of example i begins at element i · D.",
)
@triton.jit
def gate_of_the_first(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "You do the first ROWS tokens of each chunk and leave the others. A program does CHUNK "
    "tokens: loop over them, ROWS at a time.",
)
@triton.jit
def only_the_first_tile(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, ROWS, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "Every tile of ROWS tokens replaces the sum of the one before it. Begin with zeros, and add "
    "with +=.",
)
@triton.jit
def sum_of_the_last_tile(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A = tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "Chunk j begins at token j · ROWS in your addresses, and chunks overlap. It begins at token j "
    "· CHUNK.",
)
@triton.jit
def chunk_begins_at_rows(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * ROWS + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "You store the mean over the chunk. Every token adds its own part to d_gate: it is a sum, and "
    "nothing divides it.",
)
@triton.jit
def sum_divided(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A / CHUNK, mask=i < D)


@mistake(
    BACKWARD,
    "You add up along the wrong axis. The gate has one number for each place of a token, which "
    "all tokens share: add over the tokens, axis 0 of the (ROWS, BLOCK) tile.",
)
@triton.jit
def sum_over_the_numbers(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(tl.sum(G * Y, 1, keep_dims=True), 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "All chunks of an example store their sums in one place, where only the last one survives. "
    "Chunk j of example i has a row of its own, i · tl.num_programs(1) + j.",
)
@triton.jit
def chunks_over_each_other(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = example * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "You add to d_gate by atomics. There is nothing to add to: nobody has set it to 0, and each "
    "chunk has a row of its own. Atomics would also add in another order every time. Store.",
)
@triton.jit
def part_by_atomics(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.atomic_add(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "You add up in the dtype of y. In half precision a sum of 16 numbers is off in its third "
    "digit: convert what you load with .to(tl.float32), and keep the sum in fp32.",
)
@triton.jit
def sum_in_half_precision(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    kind: tl.constexpr = y.dtype.element_ty
    d_A = tl.zeros([1, BLOCK], kind)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A = (d_A + tl.sum((G * Y).to(kind), 0, keep_dims=True)).to(kind)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A.to(tl.float32), mask=i < D)


@mistake(
    BACKWARD,
    "You read upstream twice, once for the sum and once for d_y. The second time it comes from "
    "memory again: keep what you have loaded.",
)
@triton.jit
def upstream_read_twice(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        again = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        tl.store(d_y + at, (A * again).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    BACKWARD,
    "The gate is read anew in every turn of the loop, by every token. All tokens of an example "
    "share it: load one (1, BLOCK) row before the loop.",
)
@triton.jit
def gate_read_for_every_tile(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        A = tl.load(gate + example * D + i + 0 * t, mask=there, other=0.0).to(tl.float32)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(BACKWARD, "d_y is written over y too.", public=False)
@triton.jit
def d_y_into_y_as_well(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
        tl.store(y + at, (A * G).to(y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(BACKWARD, "Chunks of two tiles, whatever CHUNK is.", public=False)
@triton.jit
def two_tiles_a_chunk(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, 2 * ROWS, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(BACKWARD, "Chunks are counted as T // CHUNK, which forgets the last one.", public=False)
@triton.jit
def whole_chunks_counted(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = (example * tl.maximum(T // CHUNK, 1) + tl.program_id(1)) * D + i
    tl.store(d_gate + part, d_A, mask=i < D)


@mistake(
    "kernels.gated_residual.kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take examples as int64, tl.program_id(0).to(tl.int64), before you "
    "multiply.",
)
@triton.jit
def examples_in_32_bits(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    "kernels.gated_residual.kernel",
    "Large numbers are cut off: no sentence of the docstring allows that, and the right "
    "result may be that large.",
    public=False,
)
@triton.jit
def large_results_cut_off(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(
        out + at, tl.minimum(tl.maximum(X + A * Y, -1e3), 1e3).to(out.dtype.element_ty), mask=there
    )


@mistake(
    "kernels.gated_residual.backward_kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take examples as int64, tl.program_id(0).to(tl.int64), before you "
    "multiply.",
)
@triton.jit
def examples_in_32_bits_backward(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = example * tl.num_programs(1) + tl.program_id(1)
    tl.store(d_gate + part * D + i, d_A, mask=i < D)


@mistake(
    "kernels.gated_residual.backward_kernel",
    "A program stops after four tiles: a chunk has CHUNK // ROWS of them, however many that is.",
    public=False,
)
@triton.jit
def four_tiles_at_most(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, tl.minimum(CHUNK, 4 * ROWS), ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = example * tl.num_programs(1) + tl.program_id(1)
    tl.store(d_gate + part * D + i, d_A, mask=i < D)


@mistake(
    "kernels.gated_residual.backward_kernel",
    "Large numbers are cut off: no sentence of the docstring allows that, and the right "
    "result may be that large.",
    public=False,
)
@triton.jit
def large_gradients_cut_off(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.minimum(
            tl.maximum(tl.load(upstream + at, mask=there, other=0.0).to(tl.float32), -1e3), 1e3
        )
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = example * tl.num_programs(1) + tl.program_id(1)
    tl.store(d_gate + part * D + i, d_A, mask=i < D)


@mistake(
    "kernels.gated_residual.backward_kernel",
    "A style has a dtype of its own: load it and go to fp32 at once. By way of another "
    "dtype it loses its digits.",
    public=False,
)
@triton.jit
def gate_in_the_dtype_of_y(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(y.dtype.element_ty).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = example * tl.num_programs(1) + tl.program_id(1)
    tl.store(d_gate + part * D + i, d_A, mask=i < D)
