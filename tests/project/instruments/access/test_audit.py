"""The audit: every fault that is planted in a good kernel is found, and none in the good ones."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cs231n_gen import kernels
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.kernels.launch import HAVE_TRITON, tl, triton

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)


audited = load_module(ROOT / "tests" / "support" / "kernels.py", "kernels").audited

N, BLOCK = 300, 128  # three programs, the last one not full
ROWS, COLUMNS = 5, 40
OUTSIDE = {"reads outside", "writes outside"}


@triton.jit
def scale(x, out, n, fault: tl.constexpr, BLOCK: tl.constexpr):
    """out = 2 x, with one fault planted."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    read, write, at = i < n, i < n, i
    if fault == "no mask on the load":
        read = i < n + BLOCK
    if fault == "no mask on the store":
        write = i < n + BLOCK
    if fault == "load one too far":
        read = i <= n
    if fault == "store one too far":
        write = i <= n
    if fault == "mask of another size":
        read = i < n + 7
    if fault == "a negative offset":
        at = i - 1
    if fault == "twice the stride":
        at = 2 * i
    if fault == "shifted by a block":
        at = i + BLOCK
    if fault == "far away":
        at = i + 1_000_000
    if fault == "far below":
        at = i - 1_000_000
    X = tl.load(x + at, mask=read, other=0.0)
    if fault == "stores shifted":
        tl.store(out + i + 1, 2 * X, mask=write)
    elif fault == "programs overlap":
        tl.store(out + i - tl.program_id(0), 2 * X, mask=write)
    elif fault == "every program the same block":
        tl.store(out + tl.arange(0, BLOCK), 2 * X)
    elif fault == "one place for all":
        tl.store(out + i * 0, 2 * X, mask=write)
    elif fault == "lanes collide":
        tl.store(out + i // 2 * 2, 2 * X, mask=write)
    elif fault == "a neighbour's result is read":
        tl.store(out + i, 2 * X, mask=write)
        tl.store(out + i, tl.load(out + i - 1, mask=write & (i > 0), other=0.0), mask=write)
    elif fault == "a neighbour's input is overwritten":
        tl.store(x + i, X, mask=write)
        tl.store(x + (i + BLOCK) % n, X, mask=write)
    elif fault == "sums into one place":
        tl.store(out, tl.load(out) + tl.sum(X))
    elif fault == "atomics outside":
        tl.atomic_add(out + i, 2 * X, mask=i < n + 5)
    elif fault == "atomics mixed with stores":
        tl.atomic_add(out + tl.arange(0, BLOCK), 2 * X)
        tl.store(out + tl.arange(0, BLOCK), 2 * X, mask=tl.program_id(0) == 2)
    else:
        tl.store(out + i, 2 * X, mask=write)


FAULTS = {
    "no mask on the load": "reads outside",
    "no mask on the store": "writes outside",
    "load one too far": "reads outside",
    "store one too far": "writes outside",
    "mask of another size": "reads outside",
    "a negative offset": "reads outside",
    "twice the stride": "reads outside",
    "shifted by a block": "reads outside",
    "far away": "reads outside",
    "far below": "reads outside",
    "stores shifted": "writes outside",
    "programs overlap": "writes where another program writes",
    "every program the same block": "writes where another program writes",
    "one place for all": "writes one place with several lanes",
    "lanes collide": "writes one place with several lanes",
    "a neighbour's result is read": "reads what another program writes",
    "a neighbour's input is overwritten": "writes what another program reads",
    "sums into one place": "reads what another program writes",
    "atomics outside": "writes outside",
    "atomics mixed with stores": "writes where another program writes",
}


def run_scale(fault, x=None, out=None):
    x = torch.randn(N) if x is None else x
    out = torch.zeros(N) if out is None else out
    return audited(lambda: scale[(triton.cdiv(N, BLOCK),)](x, out, N, fault=fault, BLOCK=BLOCK))[1]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    assert FAULTS[fault] in {f.fault for f in run_scale(fault).findings}


def test_without_a_fault_there_is_none():
    assert run_scale("").findings == []


@triton.jit
def rows(x, out, stride, columns, fault: tl.constexpr, BLOCK: tl.constexpr):
    """A row a program, of a tensor whose rows may lie apart."""
    row, j = tl.program_id(0), tl.arange(0, BLOCK)
    there = j < columns
    if fault == "mask on the wrong axis":
        there = row < columns
    X = tl.load(x + row * stride + j, mask=there, other=0.0)
    tl.store(out + row * columns + j, X, mask=j < columns)


@pytest.mark.parametrize(
    "fault, stride, grid",
    [
        ("mask on the wrong axis", 64, ROWS),
        ("the gap between rows", COLUMNS, ROWS),
        ("a row too many", 64, ROWS + 1),
    ],
)
def test_a_fault_in_a_view_with_gaps_is_found(fault, stride, grid):
    """What lies between the rows is inside the memory, but no element of the argument."""
    x, out = torch.randn(ROWS + 1, 64)[:ROWS, :COLUMNS], torch.zeros(ROWS, COLUMNS)
    audit = audited(lambda: rows[(grid,)](x, out, stride, COLUMNS, fault=fault, BLOCK=64))[1]
    assert any(f.fault in OUTSIDE for f in audit.findings)


def test_a_view_that_is_read_right_has_no_fault():
    x, out = torch.randn(ROWS, 64)[:, :COLUMNS], torch.zeros(ROWS, COLUMNS)
    audit = audited(lambda: rows[(ROWS,)](x, out, 64, COLUMNS, fault="", BLOCK=64))[1]
    assert not audit.findings
    assert torch.equal(x, out)
    assert audit.coverage(out) == audit.coverage(x, "loaded") == 1
    assert torch.equal(audit.who(out)[:, 0], torch.arange(ROWS, dtype=torch.int32))


def test_a_missing_mask_in_words():
    """Which argument, which program, how many lanes; and memory outside is left alone."""
    around = torch.full((3 * BLOCK,), 7.0)
    audit = run_scale("no mask on the store", out=around[:N])
    (found,) = audit.findings
    says = "scale, argument out: program (2, 0, 0) writes outside: 84 lanes, first at element 300"
    assert str(found) == says
    assert (around[N:] == 7).all()


@triton.jit
def add(x, y, out, n, first: tl.constexpr, BLOCK: tl.constexpr):
    """One pass of two: 0.3 x, or x + y."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    X = tl.load(x + i, mask=i < n)
    tl.store(out + i, 0.3 * X if first else X + tl.load(y + i, mask=i < n), mask=i < n)


def test_three_passes_move_more_than_twice_the_least():
    """0.3 x + 0.3 y in three kernels: 7 numbers an element where 3 are enough."""
    x, y, a, b, out = (torch.randn(N) for _ in range(5))
    grid = (triton.cdiv(N, BLOCK),)

    def three():
        add[grid](x, x, a, N, first=True, BLOCK=BLOCK)
        add[grid](y, y, b, N, first=True, BLOCK=BLOCK)
        add[grid](a, b, out, N, first=False, BLOCK=BLOCK)

    audit = audited(three)[1]
    least = 3 * N * 4
    assert not audit.findings
    assert f"{audit.moved / least:.2f}" == "2.33"
    assert len(audit.launches) == 3


def test_sectors_of_scattered_accesses():
    """Every eighth fp32 number is a sector of its own."""
    x = torch.randn(8 * BLOCK)
    audit = audited(lambda: gather[(1,)](x, torch.zeros(BLOCK), BLOCK=BLOCK))[1]
    assert audit.loaded == 4 * BLOCK
    assert audit.sectors >= 32 * BLOCK


@triton.jit
def gather(x, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + 8 * i))


def of(name):
    return __import__(f"cs231n_gen.kernels.{name}", fromlist=["_"])


def good():
    """Every kernel of the ladder, at a size that fills no block."""
    x, z, y = (torch.randn(2, 5, 36) for _ in range(3))
    row, image = torch.randn(2, 36), torch.randn(2, 6, 8, 8)
    cos, sin = of("qk_norm_rope").rope_angles(5, 36)
    q, k = torch.randn(2, 2, 3, 5, 36).unbind(0)
    tokens = torch.randn(3, 1, 2, 37, 24)
    return {
        "axpy": lambda: of("axpy").axpy(x, z, 0.5),
        "guided_step": lambda: of("guided_step").guided_step(x, y, z, 2.0, 0.1),
        "noising": lambda: of("noising").noising(x, z, torch.rand(2)),
        "gan_losses": lambda: of("gan_losses").discriminator_loss(x[0, 0], z[0, 0]),
        "patchify": lambda: of("patchify").patchify(image, 2),
        "velocity_mse": lambda: of("velocity_mse").velocity_mse(x, z),
        "adaln": lambda: of("adaln").adaln(x, row, row),
        "gated_residual": lambda: of("gated_residual").gated_residual(x, row, y),
        "adain": lambda: of("adain").adain(image, torch.randn(2, 6), torch.randn(2, 6)),
        "group_norm_silu": lambda: of("group_norm_silu").group_norm_silu(
            image, 2, torch.randn(6), torch.randn(6)
        ),
        "qk_norm_rope": lambda: of("qk_norm_rope").qk_norm_rope(
            q, k, torch.randn(36), torch.randn(36), cos, sin
        ),
        "nearest_code": lambda: of("nearest_code").nearest_code(x[0], z[1]),
        "attention": lambda: of("attention").attention(*tokens.unbind(0), causal=True),
        "joint_attention": lambda: of("joint_attention").joint_attention(
            tuple(tokens), tuple(tokens[..., :7, :]), torch.rand(1, 7) < 0.7
        ),
    }


@pytest.mark.parametrize("name", kernels.LADDER)
def test_the_courses_own_kernels_have_no_fault(name):
    _, audit = audited(good()[name])
    assert audit.launches
    assert not audit.findings


def test_everything_is_put_back():
    from triton.runtime import interpreter

    before = interpreter._interpreter, interpreter._implicit_cvt, interpreter.GridExecutor.__call__
    with pytest.raises(ZeroDivisionError):
        audited(lambda: 1 / 0)
    after = interpreter._interpreter, interpreter._implicit_cvt, interpreter.GridExecutor.__call__
    assert before == after


def test_a_window_of_a_large_tensor_may_lie_at_a_low_address():
    """Python's heap begins at low addresses where it is not a position-independent program."""
    from cs231n_gen.instruments.access.audit import LIFT, LOW, TAG, Audit

    x, first = torch.zeros(4), 2**31
    audit = Audit()
    audit._arguments = [SimpleNamespace(tensor=x, first=first)]
    low = np.array([0x5066480], np.uint64)  # below the bytes before the window
    there = audit.marked(x, low) + np.uint64(first * x.element_size())
    assert (there >> np.uint64(TAG)).tolist() == [1]
    assert ((there & LOW) - LIFT).tolist() == low.tolist()
    before = there - np.uint64(2 * first * x.element_size())
    assert (before >> np.uint64(TAG)).tolist() == [1]
