"""Try mutants against the hidden graders, several at a time, each within a limit of time.

Tests are collected once; workers are forked from this process, so they have them at hand. A
mutant ends at the first property that it fails. One that does not end is killed, and so counts.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
from mutants import Mutant, mutants, whole_text

from cs231n_gen.checking.fresh_modules import FreshModules, load_module, tests_of
from cs231n_gen.checking.runner import Suite, with_tests
from cs231n_gen.checking.student import Student
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.source.tree import Exercise

HIDDEN, PUBLIC = ROOT / "tests" / "hidden", ROOT / "tests" / "public"
SEEDS = {HIDDEN: 2025, PUBLIC: 0}  # as in the proof that graders grade
LIMIT = 10  # seconds for a property, and a hundred times what the right answer takes
GRACE = 20  # more seconds, after which a worker that cannot be interrupted is ended
MEMORY = 6 << 30  # bytes of addresses that a worker may ask for beyond what it has
REFERENCE = "the right answer"


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    killed: the hidden property that it fails first, "" if it fails none.
    seen: the public property that it fails first; None if nobody asked.
    says: why it fails, in the grader's words.
    """

    mutant: Mutant
    killed: str = ""
    seen: str | None = None
    says: str = ""


class DidNotEnd(Exception):
    """A mutant took much longer than the right answer."""


@dataclass(frozen=True)
class _Task:
    mutant: Mutant
    public: bool
    tests: dict[Path, dict[str, float]]  # by folder the properties to try, with their limits


class GraderRefuses(Exception):
    """The right answer does not pass, so nothing can be said about wrong ones."""


def try_all(
    of: Sequence[Exercise],
    choose: Callable[[list[Mutant]], list[Mutant]] = lambda found: found,
    *,
    public: bool = False,
    workers: int | None = None,
    refused: Callable[[str], None] | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda outcomes, count: outcomes,
) -> list[Outcome]:
    """Try the mutants of exercises.

    Args:
        of: the exercises.
        choose: of all mutants of an exercise those to try.
        public: whether the public check is asked as well.
        workers: processes at a time; one for each processor, if None.
        refused: is told of an exercise whose right answer does not pass; its mutants are left out.
        progress: shows how far it is; gets outcomes as they come, and how many there will be.
    Returns:
        The outcomes in the order of the mutants.
    Raises:
        GraderRefuses: if a right answer does not pass, and nobody is told.
    """
    modules = list(dict.fromkeys(e.module for e in of))
    paths = [tests_of(m, folder) for folder in SEEDS for m in modules]
    found: dict[str, Outcome] = {}
    made = [m for e in of for m in choose(mutants(e))]

    def use(suite: Suite) -> None:
        crew = _Crew(suite, workers or os.cpu_count() or 1)
        try:
            right = [Mutant(e.id, REFERENCE, whole_text(e)) for e in of]
            tests = {}
            for outcome, seconds in crew.work([_Task(m, True, _untried(suite, m)) for m in right]):
                if outcome.killed or outcome.seen:
                    says = f"{outcome.killed or outcome.seen}: {outcome.says}"
                    if refused is None:
                        raise GraderRefuses(f"{outcome.mutant.exercise}: {says}")
                    refused(f"{outcome.mutant.exercise}: {says}")
                    continue
                tests[outcome.mutant.exercise] = seconds
            tasks = [_Task(m, public, tests[m.exercise]) for m in made if m.exercise in tests]
            outcomes = (outcome for outcome, _ in crew.work(tasks))
            for outcome in progress(outcomes, len(tasks)):
                found[str(outcome.mutant)] = outcome
        finally:
            crew.end()

    with_tests(paths, use)
    return [found[str(m)] for m in made if str(m) in found]


def _untried(suite: Suite, mutant: Mutant) -> dict[Path, dict[str, float]]:
    """All properties of an exercise, which have time."""
    marked = [
        i for i in suite._items if i.get_closest_marker("exercise").args[0] == mutant.exercise
    ]
    return {f: {i.name: 600.0 for i in marked if i.path.is_relative_to(f)} for f in SEEDS}


# --- processes ------------------------------------------------------------------------------------


class _Crew:
    """Workers that are forked from this process, and replaced when they have to be ended."""

    def __init__(self, suite: Suite, count: int):
        self._suite, self._count = suite, count
        self._context = multiprocessing.get_context("fork")
        self._workers: dict[Connection, multiprocessing.Process] = {}

    def work(self, tasks: Sequence[_Task]):
        """Outcomes as they come, each with the seconds that its properties took."""
        left, busy = deque(tasks), {}
        while left or busy:
            free = [c for c in self._workers if c not in busy]
            while left and len(busy) < self._count:
                connection = free.pop() if free else self._begin()
                task = left.popleft()
                connection.send(task)
                busy[connection] = task, time.monotonic()
            for connection in wait(list(busy), timeout=1):
                task, _ = busy.pop(connection)
                try:
                    yield connection.recv()
                except (EOFError, OSError):
                    self._end(connection)
                    yield _lost(task, "it ended the process")
            for connection, (task, began) in list(busy.items()):
                limits = [s for folder in task.tests.values() for s in folder.values()]
                if time.monotonic() - began > sum(limits) + GRACE:
                    del busy[connection]
                    self._end(connection)
                    yield _lost(task, "did not end")

    def _begin(self) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(self._suite, theirs, os.getpid()), daemon=True
        )
        process.start()
        theirs.close()
        self._workers[ours] = process
        return ours

    def _end(self, connection: Connection) -> None:
        process = self._workers.pop(connection)
        process.kill()
        process.join()
        connection.close()

    def end(self) -> None:
        """End all workers."""
        for connection in list(self._workers):
            self._end(connection)


def _lost(task: _Task, why: str):
    seen = why if task.public else None
    return Outcome(task.mutant, why, seen, why), {}


def _serve(suite: Suite, connection: Connection, parent: int) -> None:
    """What a worker does: try one mutant after another, until it is ended or alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that forked it ends it
    signal.signal(signal.SIGALRM, _interrupt)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(EOFError, OSError):
        trial = _Trial(suite, Path(folder))
        while os.getppid() == parent:
            if connection.poll(2):
                connection.send(trial.run(connection.recv()))


def _interrupt(*_) -> None:
    raise DidNotEnd("did not end")


class _Trial:
    """The trials of one worker, which remembers which properties kill."""

    def __init__(self, suite: Suite, folder: Path):
        self._suite, self._folder = suite, folder
        self._kills: dict[tuple, int] = defaultdict(int)
        self._count = 0

    def run(self, task: _Task) -> tuple[Outcome, dict[Path, dict[str, float]]]:
        """The outcome of a mutant, and the limit for each of its properties from now on."""
        outcome, seconds = Outcome(task.mutant), {}
        for folder in SEEDS if task.public else [HIDDEN]:
            failed, says, seconds[folder] = self._try(task, folder)
            if folder == HIDDEN:
                outcome = replace(outcome, killed=failed, says=says)
            else:
                outcome = replace(outcome, seen=failed, says=outcome.says or says)
        return outcome, seconds

    def _try(self, task: _Task, folder: Path) -> tuple[str, str, dict[str, float]]:
        exercise = task.mutant.exercise
        limits, seconds = task.tests[folder], {}

        def cost(test: str) -> float:
            return limits[test] / (1 + self._kills[exercise, folder, test])

        for test in sorted(limits, key=cost):
            began = time.perf_counter()
            try:
                signal.setitimer(signal.ITIMER_REAL, limits[test])
                student = self._student(task.mutant)
                self._suite.run(student, SEEDS[folder], [exercise], folder, [test])
                # Those of the shared properties are among them, which nobody asked for by name.
                bad = [r for r in self._suite._results if not r.passed]
            except Exception as error:  # a module that cannot be run
                return test, f"{type(error).__name__}: {error}", seconds
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            seconds[test] = LIMIT + 100 * (time.perf_counter() - began)
            if bad:
                self._kills[exercise, folder, test] += 1
                return bad[0].test, bad[0].says, seconds
        return "", "", seconds

    def _student(self, mutant: Mutant) -> Student:
        """Somebody who hands in the mutant, and the reference for all else."""
        module = mutant.exercise.rpartition(".")[0]
        self._count += 1
        path = self._folder / f"{module.rpartition('.')[2]}_{self._count}.py"
        path.write_text(mutant.text, encoding="utf-8")
        modules = FreshModules(_reference())
        modules[module] = load_module(path, f"cs231n_gen.{module}")
        return Student(modules)


@cache
def _reference() -> FreshModules:
    return FreshModules()
