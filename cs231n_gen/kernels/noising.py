"""x_t = a(t) x + b(t) z and v = c(t) x + d(t) z in one pass (slides 44 and 109–110).

The noise z is read from memory, or drawn where it is used, by a generator that counts: Philox
(Salmon et al., SC 2011) makes four random words of a counter and a key, without any state.
"""

import math

import torch
from torch import Tensor

from cs231n_gen.kernels.launch import check_alike, check_shape, tl, triton, uses_kernel

BLOCK = 1024


@triton.jit
def kernel(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    """Program (i, j) handles block j of example i: both results from one reading of x and z.

        x_t = a[i] x + b[i] z,   v = c[i] x + d[i] z

    A block is elements j·BLOCK … (j + 1)·BLOCK − 1 of the example, those that exist. It calculates
    in fp32, whatever the dtype of the tensors, and rounds once, when it stores.

    Args:
        x, z, x_t, v: pointers to (batch, n) elements of one dtype in contiguous memory.
        a, b, c, d: pointers to (batch,) fp32 numbers, of any sign and size.
        n: elements of one example.
        BLOCK: elements of a program, a power of 2 from 16; an example's last block may stick out of
            it.
    """
    ### BEGIN SOLUTION
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)
    ### END SOLUTION


@triton.jit
def random_kernel(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    """Program (i, j) handles block j of example i with noise of its own: only x is read.

        x_t = a[i] x + b[i] z,   v = c[i] x + d[i] z

    z is what `tl.randn4x(seed, counter)` draws: four tensors z0, z1, z2, z3 of normal numbers for a
    tensor of counters. Four elements in contiguous memory share a counter: elements 4 p, 4 p + 1,
    4 p + 2, 4 p + 3 of example i get z0, z1, z2, z3 of counter 2³² i + p, an int64. So z depends
    on the seed, the example and the place in it, and not on BLOCK. (`tl.interleave(f, g)` is f[0],
    g[0], f[1], g[1], ….)

    A block is elements j·BLOCK … (j + 1)·BLOCK − 1 of the example, those that exist. It calculates
    in fp32, whatever the dtype of the tensors, and rounds once, when it stores.

    Args:
        x, x_t, v: pointers to (batch, n) elements of one dtype in contiguous memory.
        seed: an integer, the key.
        a, b, c, d: pointers to (batch,) fp32 numbers, of any sign and size.
        n: elements of one example, which 4 need not divide.
        BLOCK: elements of a program, a power of 2 from 16; an example's last block may stick out.
    """
    ### BEGIN SOLUTION
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)
    ### END SOLUTION


def reference(
    x: Tensor, z: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor
) -> tuple[Tensor, Tensor]:
    """The same in torch: four products and two sums, 14 numbers moved where 4 would do.

    It calculates in fp32 or more, and rounds once.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    a, b, c, d = (k.reshape(-1, *[1] * (x.dim() - 1)).to(wide) for k in (a, b, c, d))
    X, Z = x.to(wide), z.to(wide)
    return (a * X + b * Z).to(x.dtype), (c * X + d * Z).to(x.dtype)


def noising(
    x: Tensor,
    z: Tensor,
    t: Tensor,
    coefficients: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The noisy sample and the target of a diffusion process at level t.

        x_t = a x + b z,   v = c x + d z;   rectified flow: a = 1 − t, b = t, c = −1, d = 1

    4 numbers move for each element: x and z are read, x_t and v written.

    Args:
        x: data, (batch, *shape).
        z: noise like x.
        t: levels, (batch,), 0 data and 1 noise.
        coefficients: (a, b, c, d), each (batch,); those of rectified flow if None.
    Returns:
        x_t and v, both like x.
    Raises:
        ValueError: if shapes, dtypes or devices do not agree.
    """
    check_alike(x=x, z=z)
    coefficients = _coefficients(x, t, coefficients)
    if not uses_kernel(x, z, t):
        return reference(x, z, *coefficients)
    x, z = x.contiguous(), z.contiguous()
    a, b, c, d = (k.float().contiguous() for k in coefficients)
    x_t, v = torch.empty_like(x), torch.empty_like(x)
    n = x[0].numel() if len(x) else 0
    if n:
        kernel[len(x), triton.cdiv(n, BLOCK)](x, z, a, b, c, d, x_t, v, n, BLOCK=BLOCK)
    return (x_t, v)


def noising_with_noise(
    x: Tensor,
    t: Tensor,
    seed: int,
    coefficients: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """As `noising`, with noise that is drawn inside: z never exists in memory.

    3 numbers move for each element: x is read, x_t and v are written. The noise is that of
    `noise_of(x.shape, seed)`, up to rounding; a new step of training needs a new seed.

    Args:
        x: data, (batch, *shape).
        t: levels, (batch,), 0 data and 1 noise.
        seed: from 0 to 2⁶³ − 1.
        coefficients: (a, b, c, d), each (batch,); those of rectified flow if None.
    Returns:
        x_t and v, both like x.
    Raises:
        ValueError: if shapes or devices do not agree, x is not floating-point, or there is no such
            seed.
    """
    check_alike(x=x)
    coefficients = _coefficients(x, t, coefficients)
    _check_seed(seed)
    if not uses_kernel(x, t):
        return reference(x, noise_of(x.shape, seed, x.dtype, x.device), *coefficients)
    x = x.contiguous()
    a, b, c, d = (k.float().contiguous() for k in coefficients)
    x_t, v = torch.empty_like(x), torch.empty_like(x)
    n = x[0].numel() if len(x) else 0
    if n:
        grid = len(x), triton.cdiv(n, BLOCK)
        random_kernel[grid](x, seed, a, b, c, d, x_t, v, n, BLOCK=BLOCK)
    return (x_t, v)


def noise_of(
    shape: tuple[int, ...],
    seed: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Tensor:
    """The noise that `noising_with_noise` draws for x of this shape, in torch.

    The same numbers as in the kernel, except that log, sin and cos may round differently.

    Args:
        shape: (batch, *shape); an example's noise does not depend on how many others there are.
        seed: from 0 to 2⁶³ − 1.
        dtype, device: of the noise.
    Raises:
        ValueError: if there is no such seed.
    """
    _check_seed(seed)
    batch, n = shape[0], math.prod(shape[1:])
    place = torch.arange(-(-n // 4), device=device)  # of four elements in an example
    example = torch.arange(batch, device=device)[:, None]
    zero = torch.zeros_like(example * place)
    words = philox(seed, (zero + place, zero + example, zero, zero))
    signed = (w - (w >> 31 << 32) for w in words)
    u = [torch.where(w < 0, -1 - w, w).float() * 4.6566127342e-10 for w in signed]  # in [0, 1)
    u = [k.to(torch.promote_types(dtype, torch.float32)) for k in u]
    normal = []
    for radius, angle in [u[:2], u[2:]]:  # Box and Muller: two normals of two uniforms
        r = (-2 * radius.clamp_min(1e-7).log()).sqrt()
        normal += [r * (2 * math.pi * angle).cos(), r * (2 * math.pi * angle).sin()]
    z = torch.stack(normal, dim=-1).reshape(batch, 4 * len(place))  # (b, n/4, 4) → (b, n, up to 3)
    return z[:, :n].reshape(shape).to(dtype)


def philox(
    seed: int, counter: tuple[Tensor, Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random words of 32 bits for each counter: Philox 4×32 with 10 rounds.

    Args:
        seed: the key, of 64 bits.
        counter: four words, int64 tensors of one shape with numbers below 2³².
    """
    low = 0xFFFFFFFF
    key, c = [seed & low, seed >> 32 & low], counter
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]  # 64 bits, the sign is one of them
        c = (q >> 32 & low) ^ c[1] ^ key[0], q & low, (p >> 32 & low) ^ c[3] ^ key[1], p & low
        key = [key[0] + 0x9E3779B9 & low, key[1] + 0xBB67AE85 & low]
    return c


def _coefficients(
    x: Tensor, t: Tensor, given: tuple[Tensor, Tensor, Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Those that were given, or those of rectified flow; ValueError unless there is one a level."""
    check_shape("t", t, (len(x),), like=x)
    if given is None:
        ones = torch.ones_like(t)
        given = (1 - t, t, -ones, ones)
    for name, k in zip("abcd", given, strict=True):
        check_shape(name, k, (len(x),), like=x)
    return given


def _check_seed(seed: int) -> None:
    """Raise ValueError unless a kernel can take it as a number of 64 bits with a sign."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be at least 0 and less than 2⁶³, got {seed}")
