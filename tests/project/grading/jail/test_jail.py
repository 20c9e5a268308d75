"""The jail: what student code finds around it, how it ends, and both ways into it."""

import contextlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from cs231n_gen.checking.errors import StudentError
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.jail import bubblewrap, sandbox
from cs231n_gen.grading.jail.limits import MIB, Limits
from cs231n_gen.grading.run.remote_student import RemoteStudent
from cs231n_gen.grading.run.replies import CannotLoad, ChildFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail needs Linux")
LIMITS = Limits(wall=5, cpu=3, memory=256 * MIB)


@pytest.fixture(scope="module")
def jail():
    with sandbox.Sandbox() as made:
        yield made


def run(jail, text, call=True, limits=LIMITS):
    """What `flow.f()` of a submission with this text returns; the end of its child."""
    file = "cs231n_gen/flow.py"
    parts = {"file": file, "text": text, "code": "", "given": []}
    job = {"exercise": "flow.f", "files": {file: text}, "modules": {"flow": parts}}
    child = jail.child(limits)
    try:
        student = RemoteStudent(child, job, limits)
        return student.flow.f() if call else None
    finally:
        run.end = child.end()


def inside(jail, *lines):
    return run(jail, "def f():\n" + "".join(f"    {line}\n" for line in lines))


def test_the_world_is_the_interpreter_and_the_submission(jail):
    seen = inside(jail, "import os", "return sorted(os.listdir('/'))")
    allowed = {"bin", "sbin", "lib", "lib32", "lib64", "usr", "etc", "dev", "tmp", "course"}
    allowed |= {"scratch", "submission", "proc", *Path(sys.prefix).parts[1:2]}
    allowed |= set(Path(sys.base_prefix).parts[1:2])
    assert set(seen) <= allowed
    look = "return [os.listdir(p) for p in ('/proc', '/scratch', '/submission/cs231n_gen')]"
    assert inside(jail, "import os", look) == [[], [], ["flow.py"]]


def test_a_file_loads_whatever_it_imports_as_a_notebook_does(jail):
    names = "check, data, experiments, judge, metrics, mlp, toys, training, truth, unet, viz"
    assert inside(jail, f"from cs231n_gen import {names}", "return metrics.__name__")


HOLD_ANSWERS = ["truth", "experiments", "viz", "kernels.axpy", "given.toys", "given.data", "cli"]


@pytest.mark.parametrize("name", HOLD_ANSWERS)
def test_what_may_hold_an_answer_is_absent(jail, name):
    """Refused by name, and not there for whoever gets around that."""
    full, file = f"cs231n_gen.{name}", f"/course/cs231n_gen/{name.replace('.', '/')}"
    with pytest.raises(StudentError, match=f"ImportError: {full}.* is absent while an exercise"):
        inside(jail, f"import {full}", f"return {full}()")
    around = "torch._utils.__builtins__['__import__']"
    with pytest.raises(StudentError, match=f"No module named '{full}'"):
        inside(jail, "import torch", f"return {around}({full!r})")
    look = f"return [os.path.exists(p) for p in ({file!r}, {file + '.py'!r})]"
    assert inside(jail, "import os", look) == [False, False]
    assert not inside(jail, "import torch", f"return {full!r} in torch.sys.modules")


@pytest.mark.parametrize("path", ["tests", "notebooks", "cs231n_gen/flow.py", "data", ".git"])
def test_the_source_is_not_there(jail, path):
    assert inside(jail, "import os", f"return os.path.exists({str(ROOT / path)!r})") is False


def test_the_course_in_view_holds_no_solution(jail):
    for file in ("flow.py", "likelihood.py"):
        text = inside(jail, f"return open('/course/cs231n_gen/{file}').read()")
        assert "NotImplementedError" in text
        assert "SOLUTION" not in text
    grading = inside(jail, "import os", "return os.listdir('/course/cs231n_gen/grading')")
    assert sorted(grading) == ["__init__.py", "jail"]


REFUSED = {
    "network": ["import socket", "socket.socket()"],
    "abstract sockets": ["import socket", "socket.socket(socket.AF_UNIX)"],
    "programs": ["import os", "os.execv('/bin/true', ['true'])"],
    "writing into the submission": ["open('/submission/cs231n_gen/flow.py', 'a')"],
    "new files in the submission": ["open('/submission/x', 'w')"],
    "writing beside": ["open('/course/x', 'w')"],
    "a new root": ["import os", "os.chroot('/scratch')"],
    "raising limits": ["import resource as r", "r.setrlimit(r.RLIMIT_CPU, (9, 9))"],
    "another user": ["import os", "os.setuid(0)"],
}


@pytest.mark.parametrize("lines", REFUSED.values(), ids=REFUSED)
def test_refused(jail, lines):
    with pytest.raises(StudentError, match=r"PermissionError|OSError|ValueError"):
        inside(jail, *lines)


def test_system_calls_without_a_name_are_refused(jail):
    """ptrace, mount, unshare, bpf, keyctl, io_uring_setup, userfaultfd, by their x86 numbers."""
    lines = ["import ctypes", "libc = ctypes.CDLL(None, use_errno=True)", "found = []"]
    lines += ["for n in (101, 165, 272, 321, 250, 425, 323):"]
    lines += ["    found.append((libc.syscall(n, 0, 0, 0, 0, 0), ctypes.get_errno()))"]
    if os.uname().machine == "x86_64":
        assert inside(jail, *lines, "return found") == [(-1, 1)] * 7


def test_nothing_inherited_is_open(jail):
    lines = ["import os", "found = []", "for n in range(3, 1024):", "    try: os.fstat(n)"]
    lines += ["    except OSError: continue", "    found.append(n)", "return len(found)"]
    assert inside(jail, *lines) == 1  # the channel


def test_nobody_in_particular(jail):
    uid, groups, pid = inside(jail, "import os", "return os.getuid(), os.getgroups(), os.getpid()")
    assert uid != 0
    assert pid == 1
    assert os.geteuid() != 0 or (uid >= sandbox.FIRST_UID and groups == [])


def test_scratch_is_small_and_fresh(jail):
    big = ["with open('/scratch/x', 'wb') as f:", "    while True: f.write(bytes(2**20))"]
    with pytest.raises(StudentError, match=r"OSError|File too large|No space"):
        inside(jail, *big)
    many = ["for n in range(100000): open(f'/scratch/{n}', 'w').close()"]
    with pytest.raises(StudentError, match="No space"):
        inside(jail, *many)
    assert inside(jail, "import os", "return os.listdir('/scratch')") == []


ENDS = {
    "leaves": (["import os", "os._exit(7)"], "exit code 7"),
    "crashes": (["import ctypes", "ctypes.string_at(0)"], "SIGSEGV"),
    "aborts": (["import os", "os.abort()"], "SIG"),
}


@pytest.mark.parametrize("lines, says", ENDS.values(), ids=ENDS)
def test_how_a_child_ends_is_told(jail, lines, says):
    with pytest.raises(ChildFailed, match="ended"):
        inside(jail, *lines)
    assert says in str(run.end)
    assert inside(jail, "return 1") == 1, "the next one is not harmed"


def test_loops_end(jail):
    stubborn = ["while True:", "    try:", "        while True: pass"]
    with pytest.raises(ChildFailed):
        inside(jail, *stubborn, "    except BaseException: pass")
    assert run.end.cpu < LIMITS.cpu + 2


def test_sleepers_are_woken(jail):
    limits = Limits(wall=0.5, cpu=3)
    with pytest.raises(ChildFailed, match=r"more than 0.5 seconds"):
        run(jail, "def f():\n    import time\n    time.sleep(60)\n", limits=limits)


def test_memory_ends(jail):
    grab = ["held = []", "while True: held.append(bytearray(2**24))"]
    with pytest.raises((StudentError, ChildFailed)) as caught:
        inside(jail, *grab)
    assert "MemoryError" in str(caught.value) or run.end.out_of_memory


def test_survivors_are_gone(jail):
    fork = [
        "import os, time",
        "for _ in range(3):",
        "    if os.fork() == 0:",
        "        os.setsid()",
        "        time.sleep(600)",
        "time.sleep(1)",
        "return 5",
    ]
    seen = set()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(inside, jail, *fork)
        while not answer.done():
            seen.update(p.pid for p in _inmates(jail))
            time.sleep(0.05)
    assert answer.result() == 5
    assert len(seen) == (4 if os.geteuid() == 0 else 0)
    assert not _inmates(jail)


def _inmates(jail):
    """The processes of this jail that run as students: others may have jails at the same time."""
    found = []
    for process in psutil.Process(jail._process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was listed
            if process.uids().real >= sandbox.FIRST_UID:
                found.append(process)
    return found


def test_a_module_that_does_not_import_is_told_with_its_line(jail):
    with pytest.raises(CannotLoad, match=r"flow.py, line 2: SyntaxError"):
        run(jail, "x = 1\ny = = 2\n", call=False)
    with pytest.raises(CannotLoad, match=r"flow.py, line 1: ZeroDivisionError"):
        run(jail, "x = 1 / 0\n", call=False)


def test_without_bubblewrap_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "bubblewrap is missing: install it" in bubblewrap.why_not()
    with pytest.raises(sandbox.NoJail, match="install it"):
        sandbox.Sandbox()


def test_unsafe_must_be_asked_for_and_runs_without_walls():
    with sandbox.Sandbox(unsafe=True) as made:
        assert inside(made, "import os", f"return os.path.isdir({str(ROOT)!r})") is True


AS_A_USER = """
import sys
sys.path[:0] = [{tests!r}]
import test_jail as t
from cs231n_gen.grading.jail import sandbox
with sandbox.Sandbox() as jail:
    assert t.inside(jail, "import os", "return os.getpid()") == 1
    for lines in t.REFUSED.values():
        try: t.inside(jail, *lines)
        except t.StudentError: continue
        raise SystemExit(f"allowed: {{lines}}")
    t.test_survivors_are_gone(jail)
    t.test_nothing_inherited_is_open(jail)
    t.test_system_calls_without_a_name_are_refused(jail)
    try: t.inside(jail, "import os", "os._exit(7)")
    except t.ChildFailed: assert "exit code 7" in str(t.run.end), str(t.run.end)
    print("as a user", jail.cgroups)
"""


def test_an_ordinary_user_has_the_same_jail():
    """In a user namespace of its own this process is nobody special, and may make another one."""
    before = ["bwrap", "--unshare-user", "--uid", "1000", "--gid", "1000"]
    before += ["--dev-bind", "/", "/", "--tmpfs", "/sys/fs/cgroup"]
    program = AS_A_USER.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [*before, sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "as a user None" in done.stdout


@pytest.mark.full
def test_a_killed_grader_leaves_no_process(tmp_path):
    program = "import time; from cs231n_gen.grading.jail.sandbox import Sandbox; b = Sandbox(); "
    program += "print(b._process.pid, flush=True); time.sleep(60)"
    grader = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    with grader:
        forkserver = int(grader.stdout.readline())
        grader.kill()
    until = time.monotonic() + 10
    while Path(f"/proc/{forkserver}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{forkserver}").exists()
