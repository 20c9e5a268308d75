"""`inspect` and `check` in another process, where kernels are compiled in this one.

No GPU is needed: with TRITON_INTERPRET=0 a process compiles, and asks another one to interpret.
"""

import functools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from cs231n_gen.common.paths import ROOT
from cs231n_gen.instruments import inspect
from cs231n_gen.instruments.inspection import copied, place_of
from cs231n_gen.instruments.interpreter import process, worker
from cs231n_gen.kernels import axpy
from cs231n_gen.kernels.launch import HAVE_TRITON, INTERPRETED

if not HAVE_TRITON or not INTERPRETED:
    pytest.skip("kernels are not interpreted in this process", allow_module_level=True)

MINE = """
import torch
from cs231n_gen.kernels.launch import tl, triton, uses_kernel
from my_scale import SCALE

@triton.jit
def kernel(x, out, n, scale, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, scale * tl.load(x + i, mask=i < n), mask=i < n)

def scaled(x):
    if not uses_kernel(x):
        return SCALE * x
    out = torch.empty_like(x)
    kernel[(1,)](x, out, x.numel(), SCALE, BLOCK=128)
    print("scaled by", SCALE)
    return out
"""
NOTEBOOK = """
import contextlib, io, json, sys, time
from dataclasses import replace
from pathlib import Path
import torch
from cs231n_gen import check
from cs231n_gen.instruments import inspect
from cs231n_gen.instruments.interpreter import process
from cs231n_gen.kernels import axpy
import my_kernel

def attempt(function, *args, **options):
    started, printed = time.monotonic(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            report, error = function(*args, **options), None
    except Exception as raised:
        notes = getattr(raised, "__notes__", [])
        report, error = None, [type(raised).__name__, str(raised), *notes]
    processes.add(process._there and process._there._process.pid)
    data = report.to_json() if hasattr(report, "to_json") else str(report)
    seconds = time.monotonic() - started
    return {"report": data, "error": error, "printed": printed.getvalue(), "seconds": seconds}

def edit(file, old, new):
    text = Path(file).read_text()
    assert old in text
    Path(file).write_text(text.replace(old, new))

processes, found = set(), {}
x, y = torch.arange(2500.0), torch.ones(2500)
found["a notebook's function"] = attempt(inspect, lambda x: x, x)
found["its argument"] = attempt(inspect, axpy, x, y, lambda: 2)
found["check"] = attempt(check, "kernels.axpy.kernel")
found["check again"] = attempt(check, "kernels.axpy.kernel")
edit(axpy.__file__, "a * X + Y", "a * X - Y")
found["a mistake"] = attempt(check, "kernels.axpy.kernel")
edit(axpy.__file__, "mask=there)", "mask=nowhere)")
found["an error"] = attempt(inspect, axpy, x, y, 2.0)
edit(axpy.__file__, "mask=nowhere)", "mask=there)")
edit(axpy.__file__, "a * X - Y", "a * X + Y")
found["inspect"] = attempt(inspect, axpy.axpy, x, y, 2.0, gradient=False)
found["with gaps"] = attempt(inspect, axpy, x[1::2], y[1::2], 2.0)
found["refused"] = attempt(inspect, axpy, x, y[1:], 2.0)
found["a file"] = attempt(inspect, my_kernel.scaled, x[:100])
edit(my_kernel.__file__, "mask=i < n), mask=i < n)", "mask=i < n))")
edit("my_scale.py", "2", "3")
found["edited"] = attempt(inspect, my_kernel.scaled, x[:100])
found["processes"] = [p for p in processes if p]
print(json.dumps(found))
"""
DIES = """
import os, pickle, signal, sys, time
answers = os.fdopen(1, "wb")
answers.write(pickle.dumps("ready"))
answers.flush()
how, *_ = pickle.load(sys.stdin.buffer)
if how == "crash":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stderr.write("at work")
sys.stderr.flush()
while how == "stubborn":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
time.sleep(60)
"""


def is_running(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a process that compiles finds in a course that a student edits."""
    course = tmp_path_factory.mktemp("course")
    shutil.copy(ROOT / "pyproject.toml", course)
    for folder in ("cs231n_gen", "tests/public"):
        no_caches = shutil.ignore_patterns("__pycache__", "grading")
        shutil.copytree(ROOT / folder, course / folder, ignore=no_caches)
    (course / "my_kernel.py").write_text(MINE)
    (course / "my_scale.py").write_text("SCALE = 2.0\n")
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK],
        cwd=course,
        env={**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": str(course)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def dies(tmp_path, monkeypatch):
    """Another process that does not answer."""
    (tmp_path / "it_dies.py").write_text(DIES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(process, "CHILD", "it_dies")
    monkeypatch.setattr(process, "_there", None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_at_work():
    """Interrupt this process as Ctrl-C does, once the other one is at work."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (there := process._there) and os.fstat(there._printed.fileno()).st_size:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            return
        time.sleep(0.01)


# --- what comes back ----------------------------------------------------------------------------


def test_a_check_reports_as_if_kernels_were_interpreted_here(found):
    report = found["check"]["report"]
    assert report.startswith("kernels.axpy.kernel: ")
    assert "✓ lean: x and y are read once, the result is written once" in report
    assert found["check"]["error"] is None
    assert found["check again"]["report"] == report


def test_one_process_lives_on_and_ends_with_python(found):
    (number,) = found["processes"]
    assert not is_running(number)
    assert found["check again"]["seconds"] < found["check"]["seconds"] / 2


def test_a_check_sees_an_edit_and_fails_as_a_check_does(found):
    kind, says = found["a mistake"]["error"]
    assert kind == "CheckFailed"
    assert "properties hold" in says
    assert "✗ correct: in half precision" in found["a mistake"]["printed"]


def test_inspect_reports_the_same_as_here(found):
    x, y = torch.arange(2500.0), torch.ones(2500)
    assert found["inspect"]["report"] == json.loads(json.dumps(inspect(axpy, x, y, 2.0).to_json()))
    gaps = inspect(axpy, x[1::2], y[1::2], 2.0).to_json()
    assert found["with gaps"]["report"] == json.loads(json.dumps(gaps))


def test_an_error_comes_with_its_line(found):
    kind, says, where = found["an error"]["error"]
    assert (kind, says) == ("NameError", "name 'nowhere' is not defined")
    assert "axpy.py" in where and "tl.load(x + i, mask=nowhere)" in where
    assert "instruments" not in where and "site-packages" not in where
    kind, says, _ = found["refused"]["error"]
    assert (kind, says) == ("ValueError", "y must be shaped like x, got (2499,), not (2500,)")


def test_a_file_and_what_it_imports_are_read_afresh(found):
    assert found["a file"]["report"]["good"]
    assert "scaled by 2.0" in found["a file"]["printed"]
    assert [f["fault"] for f in found["edited"]["report"]["findings"]] == ["writes outside"]
    assert "scaled by 3.0" in found["edited"]["printed"]


def test_what_is_written_in_a_notebook_cannot_be_sent(found):
    kind, says = found["a notebook's function"]["error"]
    assert kind == "ValueError" and "\n" not in says
    assert "write it to a .py file" in says and "TRITON_INTERPRET=1 before Python starts" in says
    kind, says = found["its argument"]["error"]
    assert kind == "ValueError" and says.startswith("an argument cannot be sent")


# --- when no answer comes -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["patient", "stubborn"])
def test_an_interrupt_ends_it(dies, monkeypatch, how):
    monkeypatch.setattr(process, "PATIENCE", 0.3)
    threading.Thread(target=interrupt_at_work).start()
    with pytest.raises(KeyboardInterrupt):
        process.ask(how)
    assert not is_running(process._there._process.pid)
    assert not process._there.alive


def test_a_crash_is_one_line_and_the_next_call_starts_another(dies):
    for _ in range(2):
        with pytest.raises(process.Crashed) as crash:
            process.ask("crash")
        assert str(crash.value) == "the process that interprets kernels crashed: SIGKILL"
        assert crash.value._render_traceback_() == [f"Crashed: {crash.value}"]


def test_a_process_that_does_not_start_says_why(monkeypatch):
    monkeypatch.setattr(process, "CHILD", "there_is_no_such_module")
    with pytest.raises(process.Crashed, match=r"does not start: exit code 1, .*No module named"):
        process.Interpreter()


# --- what is sent -------------------------------------------------------------------------------


class Method:
    """A wrapper that belongs to a class."""

    def bound(self, x):
        """A method of an object."""

    @classmethod
    def apply(cls, x):
        """A method of the class."""


@functools.wraps(is_running)
def decorated(number):
    """Bears another function's name."""


def test_a_function_is_found_by_its_name():
    file, module, name = place_of(Method.apply)
    assert (file, module, name) == (__file__, __name__, "Method.apply")
    for wrapper in (Method().bound, decorated, functools.partial(is_running, 1), torch.nn.ReLU()):
        with pytest.raises(ValueError, match=r"write it to a \.py file"):
            place_of(wrapper)


@pytest.mark.parametrize(
    "t",
    [
        torch.arange(24.0).reshape(2, 3, 4).transpose(0, 2)[1:, :, 1:],
        torch.arange(40, dtype=torch.int16)[3::5],
        torch.ones(3, 1).expand(3, 7),
        torch.ones(0, 4),
        torch.tensor(2.0, requires_grad=True),
        torch.nn.Parameter(torch.ones(5))[1:],
    ],
    ids=["transposed", "gaps", "expanded", "empty", "a number", "a slice"],
)
def test_a_copy_lies_as_the_tensor_did(t):
    sent, again = copied((t, {"again": t}))
    assert again["again"] is sent
    came = pickle.loads(pickle.dumps(sent))
    assert torch.equal(came, t)
    assert (came.shape, came.stride(), came.dtype) == (t.shape, t.stride(), t.dtype)
    assert came.requires_grad == t.requires_grad
    assert not t.numel() or came.data_ptr() % 64 == t.data_ptr() % 64


def test_an_error_that_cannot_be_sent_goes_by_its_name():
    class Odd(Exception):
        pass

    for error in (Odd("no"), SystemExit("no"), ValueError("no", lambda: 1)):
        sent = pickle.loads(pickle.dumps(worker.portable(error)))
        assert type(sent) is RuntimeError
        assert str(sent).startswith(f"{type(error).__name__}: ")
