"""Hidden tests in a process of their own, which may crash or hang without harm to this one."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from cs231n_gen.checking.run import Result
from cs231n_gen.grading.source import ROOT

HIDDEN = ROOT / "tests" / "hidden"
START_LIMIT = 180.0  # seconds for a process to import torch, on a machine with much else to do


class GraderBroken(RuntimeError):
    """The grader itself failed; nobody gets a grade from it."""


def grade(
    submission: Path, exercises: Sequence[str], *, seed: int, time_limit: float
) -> dict[str, list[Result]]:
    """Grade exercises of a submission.

    Args:
        submission: its folder.
        exercises: their ids.
        seed: of all random inputs; the same seed gives the same results.
        time_limit: seconds for one exercise. One that takes longer, or ends Python, has failed as a
            whole; the others are graded in a new process.
    Raises:
        GraderBroken: if hidden tests do not even run on the reference.
    """
    done: dict[str, list[Result]] = {}
    while left := [e for e in exercises if e not in done]:
        done |= _one_process(submission, left, seed, time_limit)
    return done


def _one_process(
    submission: Path, exercises: list[str], seed: int, time_limit: float
) -> dict[str, list[Result]]:
    """Results up to the first exercise at which the process ends or hangs, that one included."""
    job = {"submission": str(submission), "exercises": exercises}
    job |= {"seed": seed, "hidden": str(HIDDEN)}
    done: dict[str, list[Result]] = {}
    with _worker() as (process, complaints):
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job))
            process.stdin.close()
        answers = _lines(process.stdout)
        try:
            ready = answers.get(timeout=START_LIMIT)
        except queue.Empty:
            ready = None
        if ready is None:
            raise GraderBroken(f"the grading process did not start: {_last(complaints)}")
        for exercise in exercises:
            try:
                line = answers.get(timeout=time_limit)
            except queue.Empty:
                return done | {exercise: _lost(exercise, f"took more than {time_limit:g} seconds")}
            if line is None:
                return done | {exercise: _lost(exercise, _ending(process.wait()))}
            answer = json.loads(line)
            if "broken" in answer:
                raise GraderBroken(answer["broken"])
            done[exercise] = [Result.from_json(r) for r in answer["results"]]
    return done


@contextlib.contextmanager
def _worker():
    """A grading process and the file it complains to; with all that it started, it ends here."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints,
        subprocess.Popen(
            [sys.executable, "-m", "cs231n_gen.grading.worker"],
            cwd=ROOT,
            env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process, complaints
        finally:
            if hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()


def _lines(stream) -> queue.Queue:
    """The lines of a stream as they come, then None."""
    lines: queue.Queue = queue.Queue()

    def read():
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _ending(code: int) -> str:
    """How a process ended, in words."""
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"ended Python ({how})"


def _last(complaints) -> str:
    complaints.seek(0)
    lines = [line.strip() for line in complaints if line.strip()]
    return lines[-1] if lines else ""


def _lost(exercise: str, says: str) -> list[Result]:
    return [Result(exercise, "", "the exercise can be run", 1.0, "error", f"your code {says}")]
