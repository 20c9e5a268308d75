"""Open the course in JupyterLab."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cs231n_gen.common.paths import ROOT, is_source

FIRST = "notebooks/00_start/00_start.ipynb"


class LabError(RuntimeError):
    """Why JupyterLab cannot be opened, for the person at the terminal."""


def open_lab(options: Sequence[str] = ()) -> int:
    """Open JupyterLab on chapter 00, and stay until it ends.

    In an instructor's source the student course is built first if something changed.

    Args:
        options: passed on to JupyterLab.
    Returns:
        Its exit code.
    Raises:
        LabError: if the course cannot be built, or JupyterLab is not installed.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise LabError("JupyterLab is not installed here: run `make setup`")
    course = build_course()
    print(f"opening {course} in JupyterLab; stop it with Ctrl-C", flush=True)
    process = subprocess.Popen(
        command(course, options, os.environ), cwd=course, env=environment(course, os.environ)
    )
    with ignoring_ctrl_c(), completing(course):  # JupyterLab handles Ctrl-C, and asks first
        return process.wait()


def build_course() -> Path:
    """The folder of the student course: built from the source, or this one."""
    if not is_source():
        return ROOT
    from cs231n_gen.grading.release.build import build_if_changed
    from cs231n_gen.grading.release.nbgrader_assign import ReleaseError
    from cs231n_gen.grading.source.lint import BadSource

    print("building the student course if the source changed", flush=True)
    try:
        return build_if_changed()
    except (ReleaseError, BadSource) as error:
        raise LabError(str(error)) from None


def completing(course: Path) -> contextlib.AbstractContextManager:
    """While JupyterLab is open, what `build_course` left for later is done."""
    if not is_source():
        return contextlib.nullcontext()
    from cs231n_gen.grading.release import complete

    return complete.completing(course)


def command(course: Path, options: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """The command that opens JupyterLab; the reader's options come last and override ours."""
    line = [sys.executable, "-m", "cs231n_gen.cli.jupyterlab"]
    line += [f"--ServerApp.root_dir={course}", f"--LabApp.default_url=/lab/tree/{FIRST}"]
    line += ["--ServerApp.log_level=ERROR", "--LabApp.log_level=ERROR"]  # the address still shows
    line += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    if not has_browser(env, sys.platform):
        line.append("--no-browser")
    return line + list(options)


def has_browser(env: Mapping[str, str], platform: str) -> bool:
    """Whether a browser can be opened here."""
    if env.get("CI"):
        return False
    screen = env.get("DISPLAY") or env.get("WAYLAND_DISPLAY") or env.get("WSL_DISTRO_NAME")
    return bool(screen) or not platform.startswith("linux")


def environment(course: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The environment in which kernels and terminals find the course's package and commands."""
    paths = {
        "PATH": str(Path(sys.executable).parent),
        "PYTHONPATH": str(course),
        "JUPYTER_CONFIG_PATH": str(course / "cs231n_gen" / "jupyter"),
    }
    before = {name: [env[name]] if env.get(name) else [] for name in paths}
    return {**env, **{name: os.pathsep.join([p, *before[name]]) for name, p in paths.items()}}


@contextlib.contextmanager
def ignoring_ctrl_c():
    """Let Ctrl-C go to the process that was started, not to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
