"""Faults planted in tiles, reductions, descriptors and shared memory: where each is found.

What is checked is the sentence: the argument, the first program, and the first element.
"""

import pytest
import torch

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.kernels.launch import HAVE_TRITON, tl, triton

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

from triton.tools.tensor_descriptor import TensorDescriptor

from cs231n_gen.instruments.compiler.launches import launches_of

audited = load_module(ROOT / "tests" / "support" / "kernels.py", "kernels").audited

M, N, TILE = 20, 37, 16  # no tile fits
GRID = (triton.cdiv(M, TILE), triton.cdiv(N, TILE))

READS, WRITES = "reads outside", "writes outside"
READS_OTHERS = "reads what another program writes"
WRITES_OTHERS = "writes where another program writes"
OVERWRITES = "writes what another program reads"
COLLIDES = "writes one place with several lanes"


@triton.jit
def transpose(x, out, m, n, x_row, out_row, fault: tl.constexpr, TILE: tl.constexpr):
    """out[j, i] = x[i, j], a tile a program."""
    i = (tl.program_id(0) * TILE + tl.arange(0, TILE))[:, None]
    j = (tl.program_id(1) * TILE + tl.arange(0, TILE))[None, :]
    read, write = (i < m) & (j < n), (i < m) & (j < n)
    if fault == "rows without a mask":
        read = (i >= 0) & (j < n)
    if fault == "masks exchanged":
        read = (i < n) & (j < m)
    if fault == "columns stored without a mask":
        write = (i < m) & (j >= 0)
    if fault == "a column too far":
        write = (i < m) & (j <= n)
    at = i * x_row + j
    if fault == "strides exchanged":
        at = i + j * x_row
    to = j * out_row + i
    if fault == "not transposed":
        to = i * out_row + j
    tl.store(out + to, tl.load(x + at, mask=read, other=0.0), mask=write)


@triton.jit
def column_sums(x, out, lock, m, n, fault: tl.constexpr, TILE: tl.constexpr):
    """out[j] = Σ_i x[i, j]: programs above each other add to the same places."""
    i = (tl.program_id(0) * TILE + tl.arange(0, TILE))[:, None]
    j = tl.program_id(1) * TILE + tl.arange(0, TILE)
    there = j < n
    X = tl.load(x + i * n + j[None, :], mask=(i < m) & there[None, :], other=0.0)
    part = tl.sum(X, axis=0)
    if fault == "added without atomics":
        tl.store(out + j, tl.load(out + j, mask=there) + part, mask=there)
    elif fault == "every part is stored":
        tl.store(out + j, part, mask=there)
    elif fault == "the first stores, the others add":
        if tl.program_id(0) == 0:
            tl.store(out + j, part, mask=there)
        else:
            tl.atomic_add(out + j, part, mask=there)
    elif fault == "read while others add":
        if tl.program_id(0) == 0:
            tl.atomic_add(out + j, part * 0 + tl.load(out + j, mask=there), mask=there)
        else:
            tl.atomic_add(out + j, part, mask=there)
    elif fault == "added beyond the end":
        tl.atomic_add(out + j, part)
    elif fault == "a lock that is not there":
        tl.atomic_cas(lock + 1, 0, 1)
    else:
        tl.atomic_add(out + j, part, mask=there)


@triton.jit
def smooth(x, out, n, fault: tl.constexpr, B: tl.constexpr):
    """Each element and its neighbours on both sides."""
    i = tl.program_id(0) * B + tl.arange(0, B)
    there = i < n
    left, right = there & (i > 0), i + 1 < n
    if fault == "no edge on the left":
        left = there
    if fault == "no edge on the right":
        right = there
    total = tl.load(x + i, mask=there, other=0.0)
    total += tl.load(x + i - 1, mask=left, other=0.0)
    total += tl.load(x + i + 1, mask=right, other=0.0)
    tl.store(out + i, total / 3, mask=there)


@triton.jit
def scatter(x, to, out, n, B: tl.constexpr):
    """out[to[i]] = x[i]."""
    i = tl.program_id(0) * B + tl.arange(0, B)
    there = i < n
    at = tl.load(to + i, mask=there, other=0)
    tl.store(out + at, tl.load(x + i, mask=there), mask=there)


@triton.jit
def twice_below(x, out, row, column):
    """Twice a tile of a tensor, through descriptors that the host made."""
    out.store([row, column], x.load([row, column]) * 2)


@triton.jit
def twice_described(x, out, m, n, tall: tl.constexpr, TILE: tl.constexpr):
    """Twice a tile of a tensor, through descriptors made in the kernel."""
    a = tl.make_tensor_descriptor(x, [m + tall, n], [n, 1], [TILE, TILE])
    b = tl.make_tensor_descriptor(out, [m, n], [n, 1], [TILE, TILE])
    at = tl.program_id(0) * TILE
    b.store([at, 0], a.load([at, 0]) * 2)


@triton.jit
def load_all(p, i):
    return tl.load(p + i)


@triton.jit
def pair_sum(pair, out, n, fault: tl.constexpr, B: tl.constexpr):
    """The sum of two tensors that are one argument; a helper loads."""
    i = tl.arange(0, B)
    second = load_all(pair[1], i) if fault else tl.load(pair[1] + i, mask=i < n)
    tl.store(out + i, tl.load(pair[0] + i, mask=i < n) + second, mask=i < n)


@triton.jit
def copy(x, out, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(out + i, tl.load(x + i, mask=i < n), mask=i < n)


@triton.jit
def two_at_once(x, pairs, B: tl.constexpr):
    """Zeros, two numbers of float32 with a store of 64 bits."""
    i = tl.arange(0, B)
    tl.store(x.to(tl.pointer_type(tl.int64)) + i, (i * 0).to(tl.int64), mask=i < pairs)


@triton.jit
def widths(x):
    """The first program clears the second of four bytes, the second the first eight."""
    if tl.program_id(0) == 0:
        tl.store(x + 1, 0.0)
    else:
        tl.store(x.to(tl.pointer_type(tl.int64)), tl.full((), 0, tl.int64))


def transposed(fault, x=None, out=None):
    x = torch.randn(M, N) if x is None else x
    out = torch.zeros(N, M) if out is None else out
    transpose[GRID](x, out, M, N, x.stride(0), out.stride(0), fault=fault, TILE=TILE)
    return out


def summed(fault):
    out, lock = torch.zeros(N), torch.zeros(1, dtype=torch.int32)
    column_sums[GRID](torch.randn(M, N), out, lock, M, N, fault=fault, TILE=TILE)


def smoothed(fault, x=None, out=None):
    x = torch.randn(M) if x is None else x
    out = torch.zeros(M) if out is None else out
    smooth[(triton.cdiv(M, TILE),)](x, out, M, fault=fault, B=TILE)


def in_place():
    x = torch.randn(M)
    smoothed("", x, x)


def scattered(to):
    to = torch.tensor(to)
    scatter[(triton.cdiv(len(to), 4),)](torch.randn(len(to)), to, torch.zeros(8), len(to), B=4)


def below(row=0, base=M):
    """A descriptor of M rows, over a tensor that may have fewer."""
    x, out = torch.randn(base, 32), torch.zeros(M, 32)
    a = TensorDescriptor(x, [M, 32], [32, 1], [TILE, TILE])
    twice_below[(1,)](a, TensorDescriptor.from_tensor(out, [TILE, TILE]), row, 16)


def described(tall):
    x, out = torch.randn(M, TILE), torch.zeros(M, TILE)
    twice_described[(2,)](x, out, M, TILE, tall=tall, TILE=TILE)


def halves(n):
    """q and k lie behind each other in one storage."""
    both = torch.randn(2 * M)
    copy[(2,)](both[:M], torch.zeros(2 * M), n, B=TILE)


def overlapping():
    """The result begins in the middle of what is read."""
    both = torch.randn(2 * TILE)
    copy[(2,)](both[: 2 * TILE - 4], both[4:], 2 * TILE - 4, B=TILE)


def copied(x, out, n, programs=1):
    copy[(programs,)](x=x, n=n, B=TILE, out=out)


FAULTS = {
    "rows without a mask": (lambda: transposed("rows without a mask"), READS, "x", (1, 0, 0)),
    "masks exchanged": (lambda: transposed("masks exchanged"), READS, "x", (1, 0, 0)),
    "columns stored without a mask": (
        lambda: transposed("columns stored without a mask"),
        WRITES,
        "out",
        (0, 2, 0),
    ),
    "a column too far": (lambda: transposed("a column too far"), WRITES, "out", (0, 2, 0)),
    "strides exchanged": (lambda: transposed("strides exchanged"), READS, "x", (0, 1, 0)),
    "not transposed": (lambda: transposed("not transposed"), WRITES_OTHERS, "out", (0, 1, 0)),
    "a view is taken for its storage": (
        lambda: copied(torch.randn(4, 8)[:, :4], torch.zeros(16), 16),
        READS,
        "x",
        (0, 0, 0),
    ),
    "a result with gaps": (
        lambda: copied(torch.randn(8), torch.zeros(16)[::2], 8),
        WRITES,
        "out",
        (0, 0, 0),
    ),
    "an expanded tensor is read": (
        lambda: copied(torch.randn(1).expand(16), torch.zeros(16), 16),
        READS,
        "x",
        (0, 0, 0),
    ),
    "added without atomics": (
        lambda: summed("added without atomics"),
        READS_OTHERS,
        "out",
        (1, 0, 0),
    ),
    "every part is stored": (
        lambda: summed("every part is stored"),
        WRITES_OTHERS,
        "out",
        (1, 0, 0),
    ),
    "the first stores, the others add": (
        lambda: summed("the first stores, the others add"),
        WRITES_OTHERS,
        "out",
        (1, 0, 0),
    ),
    "read while others add": (
        lambda: summed("read while others add"),
        OVERWRITES,
        "out",
        (1, 0, 0),
    ),
    "added beyond the end": (lambda: summed("added beyond the end"), WRITES, "out", (0, 2, 0)),
    "a lock that is not there": (
        lambda: summed("a lock that is not there"),
        WRITES,
        "lock",
        (0, 0, 0),
    ),
    "no edge on the left": (lambda: smoothed("no edge on the left"), READS, "x", (0, 0, 0)),
    "no edge on the right": (lambda: smoothed("no edge on the right"), READS, "x", (1, 0, 0)),
    "smoothed in place": (in_place, READS_OTHERS, "x", (1, 0, 0)),
    "smoothed in place, over a read": (in_place, OVERWRITES, "out", (1, 0, 0)),
    "lanes go to one place": (lambda: scattered([0, 1, 2, 1]), COLLIDES, "out", (0, 0, 0)),
    "programs go to one place": (
        lambda: scattered([0, 1, 2, 3, 4, 5, 6, 3]),
        WRITES_OTHERS,
        "out",
        (1, 0, 0),
    ),
    "an index too large": (lambda: scattered([0, 1, 2, 8]), WRITES, "out", (0, 0, 0)),
    "an index far away, which would end Python": (
        lambda: scattered([0, 1, 2, 10**12]),
        WRITES,
        "out",
        (0, 0, 0),
    ),
    "a negative index": (lambda: scattered([0, -1, 2, 3]), WRITES, "out", (0, 0, 0)),
    "a descriptor taller than its tensor": (lambda: below(base=9), READS, "x", (0, 0, 0)),
    "a descriptor made too tall": (lambda: described(3), READS, "x", (1, 0, 0)),
    "one of a pair, through a helper": (
        lambda: pair_sum[(1,)](
            (torch.randn(M), torch.randn(M)), torch.zeros(M), M, fault=True, B=32
        ),
        READS,
        "pair[1]",
        (0, 0, 0),
    ),
    "from q into k": (lambda: halves(M + 5), READS, "x", (1, 0, 0)),
    "a result over its input": (overlapping, READS_OTHERS, "x", (1, 0, 0)),
    "a bool too far": (
        lambda: copied(torch.ones(9, dtype=torch.bool), torch.ones(9, dtype=torch.bool), 10),
        READS,
        "x",
        (0, 0, 0),
    ),
    "beside a tensor without dimensions": (
        lambda: copied(torch.tensor(1.0), torch.zeros(2), 2),
        READS,
        "x",
        (0, 0, 0),
    ),
    "from an empty tensor": (
        lambda: copied(torch.zeros(0), torch.zeros(1), 1),
        READS,
        "x",
        (0, 0, 0),
    ),
    "half of a wide store": (
        lambda: two_at_once[(1,)](torch.zeros(7), 4, B=4),
        WRITES,
        "x",
        (0, 0, 0),
    ),
    "stores of two widths": (
        lambda: widths[(2,)](torch.zeros(4)),
        WRITES_OTHERS,
        "x",
        (1, 0, 0),
    ),
}

GOOD = {
    "transposed": lambda: transposed(""),
    "transposed out of and into views": lambda: transposed(
        "", torch.randn(M, 2 * N)[:, :N], torch.zeros(N, 3 * M)[:, M : 2 * M]
    ),
    "summed by atomics": lambda: summed(""),
    "smoothed": lambda: smoothed(""),
    "scattered": lambda: scattered([3, 2, 1, 0, 7, 6, 5]),
    "through a descriptor": below,
    "a descriptor at the end": lambda: below(row=16),
    "descriptors made in the kernel": lambda: described(0),
    "a pair": lambda: pair_sum[(1,)](
        (torch.randn(M), torch.randn(M)), torch.zeros(M), M, fault=False, B=32
    ),
    "q beside k": lambda: halves(M),
    "in place, each its own": lambda: (lambda x: copied(x, x, M, 2))(torch.randn(M)),
    "a tensor without dimensions": lambda: copied(torch.tensor(1.0), torch.tensor(0.0), 1),
    "bools": lambda: copied(torch.ones(9, dtype=torch.bool), torch.ones(9, dtype=torch.bool), 9),
    "wide stores": lambda: two_at_once[(1,)](torch.zeros(8), 4, B=4),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_where_it_is(name):
    run, fault, argument, program = FAULTS[name]
    found = [f for f in audited(run)[1].findings if (f.fault, f.argument) == (fault, argument)]
    assert found
    assert found[0].program == program


@pytest.mark.parametrize("name", GOOD)
def test_good_kernels_have_none(name):
    _, audit = audited(GOOD[name])
    assert audit.launches
    assert audit.findings == []


def test_what_is_read_outside_is_left_out_and_the_rest_is_right():
    x, out = torch.randn(4, 8)[:, :4], torch.zeros(16)
    _, audit = audited(lambda: copied(x, out, 16))
    (found,) = audit.findings
    assert (found.lanes, found.element) == (8, 4), "two rows lie in the first 16 numbers"
    assert torch.equal(out, torch.cat([x[0], torch.zeros(4), x[1], torch.zeros(4)]))


def test_a_lock_outside_stays_closed():
    """A compare-and-swap held back does not stop the kernel: no loop waits for it."""
    _, audit = audited(lambda: summed("a lock that is not there"))
    assert audit.findings[0].lanes == GRID[0] * GRID[1]


@triton.jit
def owner(out, B: tl.constexpr):
    """A program may do with its own elements what it likes."""
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(out + i, 0.0 * i)
    tl.atomic_add(out + i, 1.0 + 0.0 * i)
    tl.store(out + i, 2 * tl.load(out + i))
    tl.atomic_add(out + i, tl.load(out + i))


def test_a_programs_own_atomics_race_with_nothing():
    out = torch.zeros(3 * TILE)
    _, audit = audited(lambda: owner[(3,)](out, B=TILE))
    assert (out == 4).all()
    assert audit.findings == []
    assert torch.equal(audit.who(out), torch.arange(3).repeat_interleave(TILE).int())


def test_who_added():
    out, x = torch.zeros(N), torch.randn(M, N)
    lock = torch.zeros(1, dtype=torch.int32)
    _, audit = audited(lambda: column_sums[GRID](x, out, lock, M, N, fault="", TILE=TILE))
    assert (audit.who(out) == -3).all()
    assert torch.equal(audit.who(x, "reader")[::TILE, ::TILE], torch.arange(6).reshape(2, 3).int())
    assert (audit.coverage(out), audit.coverage(x, "loaded"), audit.coverage(x)) == (1, 1, 0)
    assert audit.coverage(lock, "loaded") == 0


def test_launches_come_one_after_the_other():
    """What is a race in one launch is none in two: the second begins when the first has ended."""
    a, b = torch.randn(M), torch.zeros(M)

    def twice():
        smoothed("", a, b)
        smoothed("", b, a)

    _, audit = audited(twice)
    assert audit.findings == []
    assert [(run.kernel, run.grid) for run in audit.launches] == [("smooth", (2,))] * 2


def test_a_launch_is_noted_as_the_compiler_is_told_of_it():
    x, out = torch.randn(M), torch.zeros(M)
    _, audit = audited(lambda: copy[(2,)](x, n=M, out=out, B=TILE, num_warps=8, num_stages=2))
    (launch,) = launches_of(audit.launches)
    assert (launch.name, launch.constexprs, launch.num_warps, launch.num_stages) == (
        "copy",
        {"B": TILE},
        8,
        2,
    )
    assert launch.signature == {"x": "*fp32", "out": "*fp32", "n": "i32", "B": "constexpr"}
    assert audit.launches[0].args["x"] is x
