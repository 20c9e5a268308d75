"""How long someone waits for the first sign of life: `python tests/bench/startup.py [--cold]`.

A check in the terminal, `make lab` until JupyterLab answers, and a release, each from a fresh clone
of this repository's last commit. Medians of several runs; seconds of CPU time count every process,
seconds of wall time only mean something on an idle machine. `--cold` adds a release that must
first observe every known mistake, which takes minutes.
"""

import argparse
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
COURSE = [sys.executable, "-m", "cs231n_gen.cli"]
REPEATS = 5


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Time the commands that people wait for.")
    parser.add_argument("--cold", action="store_true", help="also a release that knows nothing")
    cold = parser.parse_args().cold
    print("| | CPU time | wall time |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        clone, cache = Path(folder) / "clone", Path(folder) / "cache"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        env = {**os.environ, "PYTHONPATH": str(clone), "XDG_CACHE_HOME": str(cache), "CI": "true"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)

        def run(*command: str) -> Callable[[], None]:
            return lambda: subprocess.run(
                command, cwd=clone, env=env, check=True, stdout=subprocess.DEVNULL
            )

        show("`import torch`", run(sys.executable, "-c", "import torch"))
        show("`cs231n-gen check flow.interpolate`", run(*COURSE, "check", "flow.interpolate"))
        show("`cs231n-gen lab`, first opening", lambda: open_lab(clone, env), times=1)
        show("`cs231n-gen lab`, later", lambda: open_lab(clone, env))
        if cold:
            show("`cs231n-gen release`, no mistake observed", run(*COURSE, "release"), times=1)
            show("`cs231n-gen release`, all observed", run(*COURSE, "release"))
        else:
            release = "from cs231n_gen.grading.release.build import release as r; "
            release += "r(diagnoses=False)"
            show("a release without diagnoses", run(sys.executable, "-c", release))


def show(what: str, command: Callable[[], object], times: int = REPEATS) -> None:
    """Print a row of the table."""
    found = [measure(command) for _ in range(times)]
    cpu, wall = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"| {what} | {cpu:.2f} s | {wall:.1f} s |", flush=True)


def measure(command: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU time of all child processes, and of wall time."""
    before, start = children(), time.perf_counter()
    answered = command()
    wall = answered if isinstance(answered, float) else time.perf_counter() - start
    return children() - before, wall


def children() -> float:
    """Seconds of CPU time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def open_lab(clone: Path, env: dict[str, str]) -> float:
    """Open JupyterLab, end it when it has served its page; seconds until then."""
    start = time.perf_counter()
    command = [*COURSE, "lab", "--no-browser", "--port=0", "--allow-root"]
    with subprocess.Popen(
        command,
        cwd=clone,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        page = next(m[0] for line in process.stdout if (m := re.search(r"http://\S+", line)))
        while True:
            try:
                urllib.request.urlopen(page, timeout=30).read()
                break
            except OSError:
                time.sleep(0.05)
        answered = time.perf_counter() - start
        while process.poll() is None:  # JupyterLab ends at the second Ctrl-C
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.5)
    return answered


if __name__ == "__main__":
    main()
