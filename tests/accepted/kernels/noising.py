"""Right kernels for noising, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

KERNEL = "kernels.noising.kernel"
RANDOM = "kernels.noising.random_kernel"

# --- noising.kernel -----------------------------------------------------------------------------


@accepted(KERNEL)
@triton.jit
def pointers_moved_to_the_example(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    example, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x, z, x_t, v = x + example * n, z + example * n, x_t + example * n, v + example * n
    offsets = block * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    data = tl.load(x + offsets, mask=mask, other=0.0)
    noise = tl.load(z + offsets, mask=mask, other=0.0)
    tl.store(v + offsets, tl.load(c + example) * data + tl.load(d + example) * noise, mask=mask)
    tl.store(x_t + offsets, tl.load(a + example) * data + tl.load(b + example) * noise, mask=mask)


@accepted(KERNEL)
@triton.jit
def in_two_halves_with_fma(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    for half in range(2):
        i = tl.program_id(1) * BLOCK + half * (BLOCK // 2) + tl.arange(0, BLOCK // 2)
        X = tl.load(x + row * n + i, i < n).to(tl.float32)
        Z = tl.load(z + row * n + i, i < n).to(tl.float32)
        none = tl.zeros_like(X)
        mixed = tl.fma(none + tl.load(a + row), X, tl.load(b + row) * Z)
        target = tl.fma(none + tl.load(d + row), Z, tl.load(c + row) * X)
        tl.store(x_t + row * n + i, mixed.to(x_t.dtype.element_ty), i < n)
        tl.store(v + row * n + i, target.to(v.dtype.element_ty), i < n)


@accepted(KERNEL)
@triton.jit
def a_tile_of_one_example(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    rows = tl.program_id(0) + tl.arange(0, 1)[:, None]
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    at, there = rows * n + columns, columns < n
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + rows) * X + tl.load(b + rows) * Z
    target = tl.load(c + rows) * X + tl.load(d + rows) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@accepted(KERNEL)
@triton.jit
def in_strides_of_the_grid(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    A, B, C, D = tl.load(a + row), tl.load(b + row), tl.load(c + row), tl.load(d + row)
    for block in range(tl.program_id(1), tl.cdiv(n, BLOCK), tl.num_programs(1)):
        i = block * BLOCK + tl.arange(0, BLOCK)
        X = tl.load(x + row * n + i, mask=i < n).to(tl.float32)
        Z = tl.load(z + row * n + i, mask=i < n).to(tl.float32)
        tl.store(x_t + row * n + i, (B * Z + A * X).to(x_t.dtype.element_ty), mask=i < n)
        tl.store(v + row * n + i, (D * Z + C * X).to(v.dtype.element_ty), mask=i < n)


# --- noising.random_kernel ----------------------------------------------------------------------


@accepted(RANDOM)
@triton.jit
def joined_and_reshaped(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    example, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x, x_t, v = x + example * n, x_t + example * n, v + example * n
    counter = example * 4294967296 + block * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, counter)
    noise = tl.reshape(tl.join(tl.join(z0, z2), tl.join(z1, z3)), (BLOCK,))
    offsets = block * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    data = tl.load(x + offsets, mask=mask, other=0.0)
    tl.store(v + offsets, tl.load(c + example) * data + tl.load(d + example) * noise, mask=mask)
    tl.store(x_t + offsets, tl.load(a + example) * data + tl.load(b + example) * noise, mask=mask)


@accepted(RANDOM)
@triton.jit
def with_a_box_muller_of_its_own(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    for half in range(2):
        first = tl.program_id(1) * BLOCK + half * (BLOCK // 2)
        u0, u1, u2, u3 = tl.rand4x(seed, (row << 32) + first // 4 + tl.arange(0, BLOCK // 8))
        r = tl.sqrt(-2 * tl.log(tl.maximum(tl.join(u0, u2), 1e-7)))
        angle = 6.283185307179586 * tl.join(u1, u3)
        Z = tl.reshape(tl.join(r * tl.cos(angle), r * tl.sin(angle)), (BLOCK // 2,))
        i = first + tl.arange(0, BLOCK // 2)
        X = tl.load(x + row * n + i, i < n).to(tl.float32)
        mixed = tl.load(a + row) * X + tl.load(b + row) * Z
        target = tl.load(c + row) * X + tl.load(d + row) * Z
        tl.store(x_t + row * n + i, mixed.to(x_t.dtype.element_ty), i < n)
        tl.store(v + row * n + i, target.to(v.dtype.element_ty), i < n)
