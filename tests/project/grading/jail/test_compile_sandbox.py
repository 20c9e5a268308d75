"""grading.jail.compile_box: kernels of a submission are compiled where nothing is to be had."""

import os
import re
import sys
from pathlib import Path

import pytest

from cs231n_gen.checking.compiled_launches import launches_in
from cs231n_gen.grading.jail import bubblewrap, compile_sandbox
from cs231n_gen.grading.jail.compile_sandbox import CompileSandbox
from cs231n_gen.kernels.launch import HAVE_TRITON

FILE, OTHER = "cs231n_gen/kernels/axpy.py", "cs231n_gen/flow.py"
KERNEL = """
from cs231n_gen.kernels.launch import tl, triton


@triton.jit
def kernel(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    tl.store(out + i, tl.load(x + i, mask=there), mask=there)
"""
LAUNCH = {
    "file": f"/submission/{FILE}",
    "module": "cs231n_gen.kernels.axpy",
    "name": "kernel",
    "signature": {"x": "*fp32", "out": "*fp32", "n": "i32", "BLOCK": "constexpr"},
    "constexprs": {"BLOCK": 1024},
    "aligned": ["x", "out", "n"],
    "num_warps": 4,
    "num_stages": 3,
}

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)
if bubblewrap.why_not():
    pytest.skip(bubblewrap.why_not(), allow_module_level=True)


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    bubblewrap.write_view(folder)
    return folder


@pytest.fixture
def compiled(view):
    """compiled(text): what comes of compiling the kernel of a submission with this file."""
    sandboxes = []

    def in_box(text, **changes):
        sandboxes.append(CompileSandbox({FILE: text}, view))
        return sandboxes[-1].compile(launches_in([LAUNCH | changes])[0])

    yield in_box
    for sandbox in sandboxes:
        sandbox.close()


def test_a_kernel_is_compiled_no_other_file_is_and_nothing_is_left_behind(
    view, tmp_path, monkeypatch
):
    monkeypatch.setattr(compile_sandbox.tempfile, "tempdir", str(tmp_path))
    sandbox = CompileSandbox({FILE: KERNEL}, view)
    found = sandbox.compile(launches_in([LAUNCH])[0])
    assert (found.error, found.spilled, found.matrix) == ("", 0, 0)
    assert found.wide_loads and found.wide_stores and not found.problems()
    for file in ("/etc/passwd", "/submission/../course/x.py", f"/submission/{OTHER}", "<given>"):
        (launch,) = launches_in([LAUNCH | {"file": file}])
        assert sandbox.compile(launch) is None
    assert os.listdir(tmp_path)
    sandbox.close()
    assert not os.listdir(tmp_path)


def test_what_only_the_interpreter_takes(compiled):
    loop = "    for k in range(3):\n        there = i < n\n        break\n"
    text = KERNEL.replace("    there = i < n\n", loop)
    assert "the compiler knows no break" in compiled(text).problems()[0]


def test_the_file_that_holds_the_kernel_finds_nothing_to_take_or_spoil(compiled):
    told = compiled(
        KERNEL
        + """
import os, socket

def tried(what):
    try:
        return str(what())
    except OSError as error:
        return type(error).__name__

raise RuntimeError(" ".join([
    tried(lambda: socket.create_connection(("127.0.0.1", 80), 1)),
    tried(lambda: open("/submission/new", "w")),
    tried(lambda: open("/new", "w")),
    tried(lambda: sorted(os.listdir("/"))),
    tried(os.getuid),
    open("/proc/self/status").read().split("CapEff:")[1].split()[0],
    str("SECRET" in "".join(os.environ)),
]))
"""
    ).error
    network, submission, root, *_ = told.removeprefix("RuntimeError: ").split()
    assert (network, submission, root) == ("PermissionError", "OSError", "OSError")
    seen = set(re.search(r"\[(.*)\]", told)[1].replace("'", "").split(", "))
    allowed = {"bin", "sbin", "lib", "lib32", "lib64", "usr", "etc", "dev", "proc"}
    allowed |= {"scratch", "submission", *Path(sys.prefix).parts[1:2]}
    assert seen <= allowed | set(Path(sys.base_prefix).parts[1:2])
    assert told.endswith("65534 0000000000000000 False")


@pytest.mark.parametrize("answer", ['{"more": 1}', "x" * 3_000_000], ids=["forged", "endless"])
def test_an_answer_of_the_files_own_is_no_good_one(compiled, answer):
    forged = f"""
import os
for descriptor in range(3, 12):
    try:
        os.write(descriptor, {answer!r}.encode() + b"\\n")
    except OSError:
        pass
"""
    assert compiled(KERNEL + forged).problems()


def test_a_file_that_never_ends(compiled, monkeypatch):
    monkeypatch.setattr(compile_sandbox, "LIMIT", 3.0)
    assert "took longer than 3 s" in compiled(KERNEL + "\nwhile True: pass\n").error


def test_a_file_that_ends_python(compiled):
    assert compiled(KERNEL + "\nimport os; os._exit(3)\n").error
