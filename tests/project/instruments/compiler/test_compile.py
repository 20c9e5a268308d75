"""Kernels compiled ahead of time: what they need, and what the interpreter had let pass."""

import time

import pytest
import torch

pytest.importorskip("triton")

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.instruments.compiler.compile import (
    TARGETS,
    Compiled,
    Launch,
    compile_launches,
    launches_of,
    record,
)
from cs231n_gen.kernels.axpy import axpy
from cs231n_gen.kernels.launch import INTERPRETED, interpreting, tl
from cs231n_gen.kernels.noising import noising

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="kernels are compiled in this process")

KERNELS = '''"""Kernels that the interpreter takes."""
from cs231n_gen.kernels.launch import tl, triton

print("a file may print what it likes")


@triton.jit
def breaks(x, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    for k in range(n):
        if k > 2:
            break
    tl.store(x + i, 1.0)


@triton.jit
def inner(i):
    found = []
    found.append(i)
    return found[0]


@triton.jit
def appends(x, n, BLOCK: tl.constexpr):
    tl.store(x + inner(tl.arange(0, BLOCK)), 1.0)


@triton.jit
def changes_type(x, n, BLOCK: tl.constexpr):
    total = 0
    for turn in range(n):
        total = total + 0.5
    tl.store(x + tl.arange(0, BLOCK), total)


@triton.jit
def product(x, n, BLOCK: tl.constexpr, K: tl.constexpr):
    i, k = tl.arange(0, BLOCK), tl.arange(0, K)
    A = tl.load(x + i[:, None] * K + k[None, :])
    B = tl.load(x + k[:, None] * BLOCK + i[None, :])
    C = tl.dot(A, B, input_precision="ieee")
    tl.store(x + n + i[:, None] * BLOCK + i[None, :], C.to(x.dtype.element_ty))


@triton.jit
def product_as_usual(x, n, BLOCK: tl.constexpr, K: tl.constexpr):
    i, k = tl.arange(0, BLOCK), tl.arange(0, K)
    A = tl.load(x + i[:, None] * K + k[None, :])
    B = tl.load(x + k[:, None] * BLOCK + i[None, :])
    C = tl.dot(A, B)
    tl.store(x + n + i[:, None] * BLOCK + i[None, :], C.to(x.dtype.element_ty))


@triton.jit
def many_registers(x, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a, b = tl.load(x + i), tl.load(x + n + i)
    for _ in range(n):
        a, b = a * b + a, b * a + b
    tl.store(x + i, a + b)


@triton.jit
def cosine(x, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(x + i, tl.cos(tl.load(x + i)))


@triton.jit
def every_second(x, n, BLOCK: tl.constexpr, KIND: tl.constexpr, nothing, wide: tl.int64):
    i = 2 * tl.arange(0, BLOCK)
    tl.store(x + i, tl.load(x + i).to(KIND) + wide)
'''


def recorded(function, *args, **options):
    with record() as records, interpreting():
        function(*args, **options)
    return launches_of(records)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    file = tmp_path_factory.mktemp("kernels") / "kernels_of_a_test.py"
    file.write_text(KERNELS, encoding="utf-8")
    return load_module(file, "kernels_of_a_test")


@pytest.fixture(scope="module")
def made(kernels):
    """Launches that are never made: the interpreter would take its time."""

    def launch(name, kind="*fp32", num_warps=4, **constexprs):
        signature = {"x": kind, "n": "i32", **dict.fromkeys(constexprs, "constexpr")}
        return Launch(
            kernels.__file__, kernels.__name__, name, signature, constexprs, ("x", "n"), num_warps
        )

    return launch


@pytest.fixture(scope="module")
def results(kernels, made, tmp_path_factory):
    """What comes of all these launches, by name and target: one process compiles them."""
    x, t = torch.randn(2, 1024), torch.rand(2)
    rejected = {}
    for name in ("breaks", "appends", "changes_type"):
        with record() as records:
            getattr(kernels, name)[(1,)](torch.zeros(16), 5, 16)
        rejected[name] = launches_of(records)
    with record() as records:
        kernels.every_second[(1,)](
            x.bfloat16(), 1, 16, KIND=tl.float32, nothing=None, wide=1, num_warps=2
        )
    launches = {
        "axpy": recorded(axpy, x, x, 0.5),
        "noising": recorded(noising, x.half(), x.half(), t),
        "view": recorded(axpy, torch.randn(1025)[1:], torch.randn(1025)[1:], 0.5),
        "every_second": launches_of(records),
        "dot": [made("product", "*fp16", BLOCK=64, K=64)],
        "dot in fp32": [made("product", BLOCK=32, K=32)],
        "dot in TF32": [made("product_as_usual", BLOCK=32, K=32)],
        "dot in fp16, as usual": [made("product_as_usual", "*fp16", BLOCK=64, K=64)],
        "large tile": [made("product", "*fp16", 16, BLOCK=64, K=1024)],
        "spilling": [made("many_registers", BLOCK=16384)],
        "cosine": [made("cosine", BLOCK=1024)],
        **rejected,
    }
    with pytest.MonkeyPatch.context() as patch:  # nothing is known from earlier
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        both = compile_launches([launch for (launch,) in launches.values()])
    names = [(name, target) for name in launches for target in TARGETS]
    return dict(zip(names, both, strict=True))


# --- kernels of the course ----------------------------------------------------------------------


@pytest.mark.drawn("kernels", 2)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["axpy", "noising"])
def test_a_kernel_of_the_course_compiles_without_a_problem(results, name, target):
    result = results[name, target]
    assert result.launch.module == f"cs231n_gen.kernels.{name}" and result.target == target
    assert result.problems() == []
    assert result.registers > 0 and result.wide_loads > 0 and result.wide_stores > 0
    assert result.instructions > result.loads + result.stores
    assert not (result.matrix or result.wants_matrix or result.shared or result.spilled)


@pytest.mark.parametrize("target", TARGETS)
def test_a_view_that_is_not_aligned_has_no_wide_loads(results, target):
    result = results["view", target]
    assert result.wide_loads == 0 < result.loads and result.wide_stores > 0
    (problem,) = result.problems()
    assert problem.startswith("no 128-bit load: addresses are not contiguous or not aligned")
    assert problem.endswith("(not divisible by 16: x, y)")
    assert result.problems(wide=False) == []


# --- what a launch is ---------------------------------------------------------------------------


def test_the_same_launch_is_compiled_once():
    with record() as records, interpreting():
        for n in (32, 64, 64, 33):
            axpy(torch.randn(n), torch.randn(n), float(n))
    first, second = launches_of(records)
    assert len(records) == 4
    assert set(first.aligned) == {"x", "y", "out", "n"} and second.unaligned == ["n"]
    pointers = dict.fromkeys(["x", "y", "out"], "*fp32")
    assert first.signature == {**pointers, "a": "fp32", "n": "i32", "BLOCK": "constexpr"}
    assert first.constexprs == {"BLOCK": 1024} and (first.num_warps, first.num_stages) == (4, 3)


def test_one_and_none_are_constants_and_a_type_can_be_one(results):
    result = results["every_second", 90]
    launch = result.launch
    assert launch.num_warps == 2 and launch.signature["x"] == "*bf16"
    assert launch.constexprs == {
        "n": 1,
        "BLOCK": 16,
        "KIND": {"dtype": "fp32"},
        "nothing": None,
        "wide": 1,
    }
    assert not result.error
    assert [p.partition(":")[0] for p in result.problems()] == [
        "no 128-bit load",
        "no 128-bit store",
    ]


def test_the_recorder_leaves_the_interpreter_as_it_was():
    from triton.runtime.interpreter import GridExecutor

    before = GridExecutor.__call__
    with pytest.raises(ZeroDivisionError), record():
        raise ZeroDivisionError
    assert GridExecutor.__call__ is before


# --- what the interpreter lets pass -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("breaks", "break", "the compiler knows no break"),
        ("appends", "found.append(i)", "no attribute append"),
        ("changes_type", "for turn in range(n):", "Loop-carried variable total has initial type"),
    ],
)
def test_code_that_the_compiler_rejects_is_named_with_its_line(results, name, code, says):
    result = results[name, 80]
    (problem,) = result.problems()
    at = [line.strip() for line in KERNELS.splitlines()].index(code) + 1
    if name != "changes_type":  # whose error stands at the loop or at what is in it
        assert (result.line, result.code) == (at, code)
    assert problem.startswith(f"does not compile for sm_80 at line {result.line} (`{result.code}`)")
    assert abs(result.line - at) <= 1 and says in problem and "\n" not in problem


@pytest.mark.parametrize("target", TARGETS)
def test_a_dot_becomes_matrix_instructions(results, target):
    result = results["dot", target]
    assert result.matrix > 0 and result.wants_matrix and result.shared > 0
    assert result.problems() == []


def test_no_gpu_multiplies_matrices_in_full_fp32(results):
    result = results["dot in fp32", 90]
    assert not result.matrix and not result.wants_matrix and result.problems() == []


def test_a_dot_that_rounds_fp32_is_a_problem_and_one_of_fp16_does_not_round(results):
    (problem,) = results["dot in TF32", 90].problems(wide=False)
    assert "rounds fp32 to TF32" in problem and "ieee" in problem
    assert results["dot in fp16, as usual", 90].problems(wide=False) == []


def test_a_dot_that_stays_without_matrix_instructions_is_a_problem(made):
    result = Compiled(made("product"), 90, wants_matrix=True)
    assert result.problems() == ["a dot without matrix instructions"]


@pytest.mark.parametrize(("target", "has"), [(80, 163), (90, 227)])
def test_a_tile_that_is_too_large_for_shared_memory_is_reported(results, target, has):
    result = results["large tile", target]
    needs = -(-result.shared // 1024)
    assert f"needs {needs} KB of shared memory, the GPU has {has}" in result.problems()


def test_spilled_registers_are_counted(results):
    result = results["spilling", 90]
    assert result.spilled > 0
    assert result.problems()[0].startswith(f"spills {result.spilled} bytes of registers")


def test_what_a_cosine_keeps_in_memory_is_no_spilled_register(results):
    result = results["cosine", 90]
    assert not result.spilled and result.problems() == []


# --- the process that compiles ------------------------------------------------------------------


def test_a_compiler_that_takes_too_long_is_ended_and_the_rest_goes_on(made):
    slow, gone = made("many_registers", BLOCK=2**17), made("not_there", BLOCK=16)
    start = time.monotonic()
    first, second = compile_launches([slow, gone], [90], limit=2)
    assert time.monotonic() - start < 30
    assert first.problems() == [
        "does not compile for sm_90: the compiler took longer than 2 s: its tiles are too large"
    ]
    assert second.error == "the kernel not_there is not defined at the top level of its file"


def test_a_file_that_is_gone_or_ends_the_process_is_an_error_of_its_launch(made, tmp_path):
    file = tmp_path / "ends.py"
    file.write_text("import os\nos._exit(3)\n", encoding="utf-8")
    ends = Launch(str(file), "ends", "kernel", {})
    gone = Launch(str(tmp_path / "gone.py"), "gone", "kernel", {})
    first, second = compile_launches([ends, gone], [80])
    assert first.error == "the compiler crashed"
    assert second.error.startswith("the kernel's file is missing")


def test_without_triton_it_says_how_to_get_it(monkeypatch, made):
    monkeypatch.setattr("cs231n_gen.triton_compat.available.HAVE_TRITON", False)
    with pytest.raises(RuntimeError, match=r"Triton is not installed: make setup EXTRAS=kernels"):
        compile_launches([made("product")])
    with pytest.raises(RuntimeError, match="Triton is not installed"), record():
        pass
