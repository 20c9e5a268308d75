"""Grading processes as seen from those who need them: nbgrader's step, and `cs231n-gen grade`."""

import atexit
import contextlib
import functools
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

from cs231n_gen.checking.runner import Result
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.jail.sandbox import NoJail
from cs231n_gen.grading.run.examiner import ExerciseResult, GraderBroken, single_result
from cs231n_gen.grading.run.task import CannotRead, SubmittedCode

START_LIMIT = 300.0  # seconds for two processes to import torch, on a machine with much else to do
PATIENCE = 60.0  # seconds for the grader's own work on an exercise, on top of the child's limit


class Worker:
    """A grading process, which grades one submission after another.

    Args:
        limits: of each child.
        unsafe: whether to run student code outside the jail.
        core: the core to stay on, with all its children. They take turns with the grader, and turns
            are faster on one core.
    Raises:
        NoJail: if the jail cannot be built here.
        GraderBroken: if hidden tests cannot be collected.
    """

    def __init__(
        self, limits: Limits | None = None, *, unsafe: bool = False, core: int | None = None
    ):
        self.limits = limits or Limits()
        self._complaints = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cs231n_gen.grading.run.worker_main"],
            cwd=ROOT,
            env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._answers = _lines(self._process.stdout)
        try:
            settings = {"limits": self.limits.to_json(), "unsafe": unsafe, "core": core}
            self._write(settings)
            self._read(START_LIMIT)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can grade."""
        return self._process.poll() is None

    def grade(
        self, code: SubmittedCode | Path, exercises: Sequence[str], *, seed: int, **_
    ) -> dict[str, ExerciseResult]:
        """Grade exercises of a submission.

        Args:
            code: what is run of it, or the folder in which it is.
            exercises: their ids.
            seed: of all random inputs; the same seed gives the same scores.
        Raises:
            GraderBroken: if the grader itself fails. The worker is closed then.
        """
        if isinstance(code, Path):
            try:
                code = SubmittedCode.read(code, exercises)
            except CannotRead as error:
                return {e: single_result(e, str(error)) for e in exercises}
        try:
            return self._grade(code, list(exercises), seed)
        except BaseException:
            self.close()
            raise

    def _grade(self, code: SubmittedCode, names: list[str], seed: int) -> dict[str, ExerciseResult]:
        self._write({"files": code.files, "exercises": names, "seed": seed})
        done: dict[str, ExerciseResult] = {}
        while True:
            answer = self._read(3 * self.limits.wall + PATIENCE)
            if "done" in answer:
                return done
            results = tuple(Result.from_json(r) for r in answer["results"])
            done[answer["exercise"]] = ExerciseResult(results, answer["mistake"])

    def _write(self, line: dict) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def _read(self, limit: float) -> dict:
        try:
            line = self._answers.get(timeout=limit)
        except queue.Empty:
            raise GraderBroken(
                f"the grading process did not answer within {limit:g} seconds"
            ) from None
        if line is None:
            raise GraderBroken(f"the grading process ended: {self._last_complaint()}")
        answer = json.loads(line)
        if "no jail" in answer:
            raise NoJail(answer["no jail"])
        if "broken" in answer:
            raise GraderBroken(answer["broken"])
        return answer

    def _last_complaint(self) -> str:
        self._process.wait()
        self._complaints.seek(0)
        lines = [line.strip() for line in self._complaints if line.strip()]
        return lines[-1] if lines else "it wrote no error message"

    def close(self) -> None:
        """End the process, with all that it started."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()
        self._complaints.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


_shared: dict[tuple[Limits, bool], Worker] = {}
_one_at_a_time = threading.Lock()


def grade_here(
    code: SubmittedCode | Path,
    exercises: Sequence[str],
    *,
    seed: int,
    limits: Limits,
    unsafe: bool,
) -> dict[str, ExerciseResult]:
    """Grade with a worker that this process keeps: for nbgrader, which asks one by one."""
    with _one_at_a_time:
        worker = _shared.get((limits, unsafe))
        if worker is None or not worker.alive:
            worker = _shared[limits, unsafe] = Worker(limits, unsafe=unsafe)
            atexit.register(worker.close)
        return worker.grade(code, exercises, seed=seed)


def _lines(stream) -> queue.Queue:
    """The lines of a stream as they come, then None."""
    lines: queue.Queue = queue.Queue()
    threading.Thread(target=functools.partial(_pump, stream, lines), daemon=True).start()
    return lines


def _pump(stream, lines: queue.Queue) -> None:
    with contextlib.suppress(ValueError):  # closed
        for line in stream:
            lines.put(line)
    lines.put(None)
