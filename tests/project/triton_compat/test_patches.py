"""The interpreter put right: bfloat16, autotune and float arguments as on a GPU."""

import subprocess
import sys

import pytest
import torch

from cs231n_gen.kernels.launch import HAVE_TRITON, tl, triton

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

from cs231n_gen.instruments.access.audit import Audit
from cs231n_gen.triton_compat import bfloat16, patches, tf32

N, B = 64, 64


@pytest.fixture
def mended():
    with patches.mended():
        yield


STILL_BROKEN = {  # in every Triton from 3.6 to 3.9; when one is not, its repair can go
    "x + y",
    "x - y",
    "x * y",
    "x / y",
    "-x",
    "2.5 * x",
    "where",
    "tf32",
    "fma",
    "sum",
    "rounding",
    "of integers",
    "to float64",
    "a float argument",
    "autotune",
}


def test_the_repairs_are_still_needed():
    if torch.cuda.is_available():
        pytest.skip("autotune has a driver")
    assert patches.broken().keys() >= STILL_BROKEN


def test_mended_nothing_is_broken(mended):
    assert patches.broken() == {}
    patches.self_test()


def test_what_is_broken_is_said():
    with pytest.raises(RuntimeError, match=f"Triton {triton.__version__} .* a float argument: it"):
        patches.self_test()


def test_it_is_put_back():
    before = patches.broken().keys()
    with patches.mended():
        pass
    assert patches.broken().keys() == before


def test_installing_twice_is_installing_once():
    """In a process of its own: what is installed stays."""
    code = """
from cs231n_gen.triton_compat import patches
from triton.runtime import interpreter
patches.install()
first = interpreter._implicit_cvt, interpreter.InterpreterBuilder.binary_op
patches.install()
assert first == (interpreter._implicit_cvt, interpreter.InterpreterBuilder.binary_op)
patches.self_test()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_widening_is_exact_and_comes_back():
    """Every bfloat16 number there is; one NaN stands for all."""
    bits = torch.arange(2**16).to(torch.int32).to(torch.int16)
    numbers = bits.view(torch.bfloat16)
    wide = bfloat16.widened(bits.numpy().view("uint16"))
    assert torch.equal(torch.from_numpy(wide).nan_to_num(7.0), numbers.float().nan_to_num(7.0))
    back = torch.from_numpy(bfloat16.narrowed(wide).view("int16")).view(torch.bfloat16)
    nan = numbers.isnan()
    assert torch.equal(back[~nan].view(torch.int16), bits[~nan])
    assert back[nan].isnan().all()


def test_narrowing_rounds_as_torch_does():
    """Among random numbers the ties, infinities, numbers too large and the smallest."""
    tie = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 3.4e38, -3.4e38, 1e-45, 0.0, -0.0])
    special = torch.tensor([float("inf"), float("-inf")])
    x = torch.cat([tie, special, torch.randn(10_000), torch.randn(10_000) * 1e-39])
    ours = torch.from_numpy(bfloat16.narrowed(x.numpy()).view("int16"))
    assert torch.equal(ours, x.bfloat16().view(torch.int16))


@triton.jit
def soft_step(x, out, scale, n, B: tl.constexpr):
    """A softmax of scale · x, and half of x where it is negative, all in bfloat16."""
    i = tl.arange(0, B)
    there = i < n
    X = tl.load(x + i, mask=there, other=0.0)
    E = tl.exp((X * scale).to(tl.float32)).to(tl.bfloat16)
    E = tl.where(there, E, 0.0)
    total = tl.sum(E, axis=0)
    tl.store(out + i, tl.where(X < 0, 0.5 * X, (E / total).to(tl.bfloat16)), mask=there)


def test_a_kernel_that_stays_in_bfloat16(mended):
    torch.manual_seed(0)
    x, out = torch.randn(50).bfloat16(), torch.zeros(50, dtype=torch.bfloat16)
    soft_step[(1,)](x, out, 0.75, 50, B=B)
    e = (x.float() * 0.75).exp().bfloat16()  # an argument is float32, and so is the product
    expected = torch.where(x < 0, 0.5 * x, (e / e.float().sum().bfloat16()).bfloat16())
    step = expected.float().abs().clamp_min(1e-3) * 2**-7  # a sum may round to the neighbour
    assert ((out.float() - expected.float()).abs() <= step).all()


@triton.jit
def add_up(a, b):
    return a + b


@triton.jit
def reduced(x, out, B: tl.constexpr):
    """A reduction with a function of its own, along one axis of two."""
    i, j = tl.arange(0, B)[:, None], tl.arange(0, B)[None, :]
    X = tl.load(x + i * B + j)
    tl.store(out + tl.arange(0, B), tl.reduce(X, 1, add_up))
    tl.store(out + B + tl.arange(0, B), tl.sum(X, 0))


def test_reductions_along_an_axis(mended):
    x = torch.randint(-8, 9, (8, 8)).bfloat16()  # sums are exact
    out = torch.zeros(16, dtype=torch.bfloat16)
    reduced[(1,)](x, out, B=8)
    assert torch.equal(out, torch.cat([x.sum(1), x.sum(0)]))


@triton.jit
def mixed(x, h, out, B: tl.constexpr):
    """bfloat16 beside float16 and float32, and other kinds of numbers left alone."""
    i = tl.arange(0, B)
    X, H = tl.load(x + i), tl.load(h + i)
    tl.store(out + i, X.to(tl.float32) + H.to(tl.float32))
    tl.store(out + B + i, (H * 2).to(tl.bfloat16).to(tl.float32))
    tl.store(out + 2 * B + i, tl.where(X > 0, 1.0, 0.0) * (i % 3).to(tl.float32))


def test_other_dtypes_are_as_before(mended):
    x, h, out = torch.randn(16).bfloat16(), torch.randn(16).half(), torch.zeros(48)
    mixed[(1,)](x, h, out, B=16)
    assert torch.equal(out[:16], x.float() + h.float())
    assert torch.equal(out[16:32], (h * 2).bfloat16().float())
    assert torch.equal(out[32:], (x > 0) * (torch.arange(16) % 3).float())


@triton.jit
def products(x, out, scale, B: tl.constexpr):
    """With an argument, and with a number that stands in the kernel."""
    i = tl.arange(0, B)
    X = tl.load(x + i)
    tl.store(out + i, X * scale)
    tl.store(out + B + i, X * 1.2345)


def test_a_product_with_an_argument_is_wider_than_with_a_number(mended):
    """Triton lets a tensor decide beside a number, and the wider one beside an argument."""
    x, out = torch.randn(16).bfloat16(), torch.zeros(32)
    products[(1,)](x, out, 1.2345, B=16)
    assert torch.equal(out[:16], x.float() * 1.2345)
    assert torch.equal(out[16:], (x * torch.tensor(1.2345).bfloat16()).float())


@triton.jit
def tuned(x, out, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(out + i, tl.load(x + i, mask=i < n) + 1, mask=i < n)


def test_autotune_takes_the_first_and_launches_once(mended):
    sizes = [triton.Config({"B": 32}), triton.Config({"B": 64}, num_warps=8)]
    kernel = triton.autotune(sizes, key=["n"])(tuned)
    x, out = torch.randn(N), torch.zeros(N)
    with Audit() as audit:
        kernel[lambda meta: (triton.cdiv(N, meta["B"]),)](x, out, N)
    assert torch.equal(out, x + 1)
    assert [run.grid for run in audit.launches] == [(2,)]
    assert kernel.best_config.kwargs == {"B": 32}


@triton.jit
def scaled(x, out, scale, shift, B: tl.constexpr):
    i = tl.arange(0, B)
    factor = scale.to(tl.float32)
    tl.store(out + i, tl.load(x + i) * factor + shift)


def test_a_float_argument_is_a_float32_number(mended):
    """Also as a keyword, and rounded as on a GPU: 0.1 is not what it is in Python."""
    x, out = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    scaled[(1,)](x, out, 0.1, shift=0.0, B=4)
    assert torch.equal(out, x * torch.tensor(0.1, dtype=torch.float32).double())


def test_the_audit_sees_what_is_mended(mended):
    x, out = torch.randn(60).bfloat16(), torch.zeros(50, dtype=torch.bfloat16)
    with Audit() as audit:
        soft_step[(1,)](x, out, 1.0, 60, B=B)
    (found,) = audit.findings
    assert (found.fault, found.argument, found.lanes) == ("writes outside", "out", 10)


# --- TF32 -----------------------------------------------------------------------------------------

ULP = 2.0**-10  # of TF32, at 1


@pytest.mark.parametrize(
    ("number", "nearest"),
    [
        (1 + ULP, 1 + ULP),
        (1 + 0.49 * ULP, 1),
        (1 + 0.51 * ULP, 1 + ULP),
        (1 + 0.5 * ULP, 1 + ULP),  # of two that are as near the one further from 0
        (1 + 1.5 * ULP, 1 + 2 * ULP),
        (-1 - 0.5 * ULP, -1 - ULP),
        (2 - 0.5 * ULP, 2),  # the next power of 2
        (3.4028e38, float("inf")),  # as cvt.rna: beyond the largest number of 10 bits
        (float("inf"), float("inf")),
        (-float("inf"), -float("inf")),
        (1e-42, 0.0),
        (0.0, 0.0),
    ],
)
def test_tf32_keeps_the_nearest_number_of_10_bits(number, nearest):
    (found,) = tf32.rounded(torch.tensor([number]).numpy())
    assert found == nearest


def test_tf32_of_what_is_not_a_number():
    assert torch.from_numpy(tf32.rounded(torch.tensor([float("nan")]).numpy())).isnan().all()


@triton.jit
def multiply(a, b, out, HOW: tl.constexpr, B: tl.constexpr):
    """a · b + 1, tiles of side B."""
    i = tl.arange(0, B)[:, None] * B + tl.arange(0, B)[None, :]
    ones = tl.full([B, B], 1.0, tl.float32)
    tl.store(out + i, tl.dot(tl.load(a + i), tl.load(b + i), ones, input_precision=HOW))


@triton.jit
def multiply_as_usual(a, b, out, B: tl.constexpr):
    i = tl.arange(0, B)[:, None] * B + tl.arange(0, B)[None, :]
    tl.store(out + i, tl.dot(tl.load(a + i), tl.load(b + i)) + 1.0)


def test_products_of_float32_round_their_operands(mended):
    """By hand: 16 products, (1 + ULP/2)(1 + ULP/4); TF32 makes 1 + ULP and 1 of the factors."""
    a, b, out = (
        torch.full((16, 16), 1 + ULP / 2),
        torch.full((16, 16), 1 + ULP / 4),
        torch.empty(16, 16),
    )
    multiply_as_usual[(1,)](a, b, out, B=16)
    assert torch.equal(out, torch.full((16, 16), 16 * (1 + ULP) + 1))
    multiply[(1,)](a, b, out, HOW="tf32", B=16)
    assert torch.equal(out, torch.full((16, 16), 16 * (1 + ULP) + 1))
    exact = a.double() @ b.double() + 1
    for how in ("ieee", "tf32x3"):
        multiply[(1,)](a, b, out, HOW=how, B=16)
        assert (out - exact).abs().max() <= 16 * 2.0**-23 * exact.max()


def test_how_many_digits_each_precision_keeps(mended):
    torch.manual_seed(0)
    a, b, out = torch.randn(16, 16), torch.randn(16, 16), torch.empty(16, 16)
    exact, size = a.double() @ b.double() + 1, a.double().abs() @ b.double().abs() + 1
    off = {}
    for how in ("tf32", "tf32x3", "ieee"):
        multiply[(1,)](a, b, out, HOW=how, B=16)
        off[how] = float(((out - exact).abs() / size).max())
    assert 2e-5 < off["tf32"] < 2.0**-10
    assert off["tf32x3"] < 2.0**-20 and off["ieee"] < 2.0**-22


def test_infinite_operands_of_three_products(mended):
    a, b, out = torch.ones(16, 16), torch.ones(16, 16), torch.empty(16, 16)
    a[0, 0] = float("inf")
    multiply[(1,)](a, b, out, HOW="tf32x3", B=16)
    assert out[0].isinf().all() and (out[1:] == 17).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_in_half_precision_are_exact_in_float32(mended, dtype):
    a, b, out = torch.randn(16, 16).to(dtype), torch.randn(16, 16).to(dtype), torch.empty(16, 16)
    multiply_as_usual[(1,)](a, b, out, B=16)
    assert (out - (a.double() @ b.double() + 1)).abs().max() < 1e-5
