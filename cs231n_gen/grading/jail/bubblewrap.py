"""What surrounds the fork server: bubblewrap's command, and the little that is visible inside."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from cs231n_gen.checking import absence
from cs231n_gen.common.paths import ANSWERS, PACKAGE, ROOT, room_of
from cs231n_gen.grading.jail import seccomp
from cs231n_gen.grading.source.markers import make_gaps
from cs231n_gen.grading.source.tree import modules, read_module

BOUND = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime")
COMPILED = 256 << 20  # bytes of the disk on which the compiler works
DEVICES = ("null", "zero", "full", "random", "urandom")


def why_not() -> str:
    """Why no jail can be built here, in a sentence; "" if one can."""
    if sys.platform != "linux":
        return f"the jail is made of Linux namespaces, and this is {sys.platform}: grade on Linux"
    if not shutil.which("bwrap"):
        return "bubblewrap is missing: install it (Debian, Ubuntu: apt install bubblewrap)"
    for folder in [*map(Path, BOUND), *_interpreter()]:
        if ROOT.is_relative_to(folder):
            return f"the course lies in {folder}, which student code can see: move it elsewhere"
    try:
        seccomp.program()
    except seccomp.NoFilter as error:
        return f"no filter of system calls: {error}"
    tried = subprocess.run(
        [*command({}), "/usr/bin/env", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return ""
    return (
        f"bubblewrap cannot create namespaces here ({tried.stderr.strip()[:200]}): run as root, or "
        "allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns), or start the container with --privileged"
    )


def command(binds: dict[Path, str]) -> list[str]:
    """The command that starts a program in the sandbox.

    Args:
        binds: folders to show read-only, and where.
    """
    command = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--cap-add", "ALL", "--die-with-parent", "--new-session"]
    if os.geteuid() != 0:
        command += ["--unshare-user"]
    command += [*_view(binds), "--tmpfs", "/scratch", "--dir", "/submission"]
    return [*command, "--symlink", "../scratch", "/dev/shm"]


def compile_command(binds: dict[Path, str], filter_: int) -> list[str]:
    """The command that starts the compiler in a sandbox, as nobody, without any capability.

    Args:
        binds: folders to show read-only, and where.
        filter_: the descriptor of a compiled filter of system calls.
    """
    command = ["bwrap", "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534"]
    command += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", *_view(binds)]
    command += ["--perms", "1777", "--size", str(COMPILED), "--tmpfs", "/scratch"]
    return [*command, "--remount-ro", "/", "--chdir", "/scratch", "--seccomp", str(filter_)]


def _view(binds: dict[Path, str]) -> list[str]:
    """The options that show the interpreter, some folders and harmless devices, and nothing
    else."""
    command: list[str] = []
    for path in map(Path, BOUND):
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            command += ["--ro-bind", str(path), str(path)]
    above = {p for folder in [*_interpreter(), Path("/dev/null")] for p in folder.parents}
    for path in sorted(above - {Path("/")}):
        command += ["--perms", "0755", "--dir", str(path)]  # another user must get through
    for path in _interpreter():
        command += ["--ro-bind", str(path), str(path)]
    for source, target in binds.items():
        command += ["--ro-bind", str(source), target]
    for device in DEVICES:
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return [*command, "--proc", "/proc"]


def _interpreter() -> list[Path]:
    """The folders of this Python and its packages, as far as /usr does not hold them."""
    folders = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    folders |= {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    folders |= {str(Path(sys.executable).resolve().parents[1])}
    found: list[Path] = []
    for path in sorted(Path(f) for f in folders):
        shown = [Path(b) for b in ("/usr", *map(str, found))]
        if path.is_dir() and not any(path.is_relative_to(s) for s in shown):
            found.append(path)
    return found


def write_view(folder: Path) -> None:
    """The package as children may see it: no solution, nothing that may hold an answer, no grader
    but the jail's own files."""
    for path in modules(ROOT):
        if _holds_no_answer(path):
            _write(path, folder)
    grading = folder / "cs231n_gen" / "grading"
    shutil.copytree(Path(__file__).parent, grading / "jail", ignore=shutil.ignore_patterns("__*"))
    for package in (grading, grading / "jail", grading / "jail" / "protocol"):
        (package / "__init__.py").touch()
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def write_kernels(folder: Path) -> None:
    """Add the kernels, without solutions, for kernels that import them."""
    for path in sorted((PACKAGE / "kernels").glob("*.py")):
        _write(path, folder)


def _write(path: Path, folder: Path) -> None:
    target = folder / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(stubs_of(path), encoding="utf-8")


def stubs_of(path: Path) -> str:
    """A module of the source without solutions."""
    gaps = [gap for e in read_module(path, ROOT)[0] for gap in e.gaps]
    return make_gaps(path.read_text("utf-8"), gaps)


def _holds_no_answer(path: Path) -> bool:
    """Whether children may see a module: a kernel has its reference beside it, `viz` and what is
    given may import what is absent."""
    room = room_of(path)
    if room == "kernels":
        return not read_module(path, ROOT)[0]
    if room == "given":
        return path.name == "__init__.py" or absence.knows_no_answer(path.stem)
    return room not in (*ANSWERS, "viz")


def environment(package: str, scratch: str) -> dict[str, str]:
    """All that the fork server and its children see of the environment."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(threads, "1") | {
        "PATH": os.environ.get("PATH", "") if package != "/course" else "/usr/bin:/bin",
        "PYTHONPATH": package,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "HOME": scratch,
        "TMPDIR": scratch,
        "USER": "student",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "TQDM_DISABLE": "1",
        "TRITON_INTERPRET": "1",
    }
