"""Run the tests of an exercise against a student, and say property by property what held."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
import torch

from cs231n_gen.checking.expect import PropertyFailed
from cs231n_gen.checking.plugin import SEED, STUDENT
from cs231n_gen.checking.student import Frame, NotWritten, Student, StudentError

LONGEST_OUTPUT = 4000
# What a check doesn't need and would wait for: two full garbage collections alone take 0.3 s.
UNUSED = ["terminal", "cacheprovider", "unraisableexception", "threadexception", "faulthandler"]
UNUSED += ["logging", "doctest", "junitxml", "pastebin"]
OPTIONS = ["--capture=no", "-W", "ignore", *(f"-pno:{plugin}" for plugin in UNUSED)]


@dataclass(frozen=True)
class Result:
    """What one test of one exercise found.

    status: `passed`, `failed` (the property does not hold), `error` (the student's code raised) or
    `missing` (not written).
    """

    exercise: str
    test: str
    name: str
    weight: float
    status: str
    says: str = ""
    got: str = ""
    expected: str = ""
    frames: tuple[Frame, ...] = ()
    output: str = ""
    returned: tuple = field(default=(), repr=False)

    @property
    def passed(self) -> bool:
        """Whether the property holds."""
        return self.status == "passed"

    def to_json(self) -> dict:
        """As plain values, without what the student's code returned."""
        return {k: v for k, v in asdict(replace(self, returned=())).items() if k != "returned"}

    @classmethod
    def from_json(cls, values: dict) -> "Result":
        """Back from `to_json`."""
        frames = tuple(Frame(**f) for f in values.get("frames", ()))
        return cls(**{**values, "frames": frames})


def run(
    folder: Path,
    exercises: Sequence[str] | None = None,
    student: Student | None = None,
    seed: int = 0,
) -> list[Result]:
    """Run the tests of a folder that are marked with these exercises (all, if None).

    Args:
        folder: `tests/public` or `tests/hidden`. The tests of `flow.loss` are in its
            `test_flow.py`.
        exercises: ids, `flow.loss`.
        student: whose code; by default the package's own.
        seed: of all random inputs.
    Returns:
        One result a test, in the order of the files.
    """
    modules = sorted({e.split(".")[0] for e in exercises or []})
    paths = [folder / f"test_{m}.py" for m in modules] if exercises else [folder]
    paths = [str(p) for p in paths if p.exists()]
    if not paths:
        return []
    session = _Session(exercises, student or Student(), seed)
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), _one_thread():
        code = pytest.main([*paths, *OPTIONS], plugins=[session])
    if session.broken:
        raise RuntimeError(f"tests could not be collected: {session.broken[0]}")
    if code not in (
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        raise RuntimeError(f"pytest ended with {code!r}: {quiet.getvalue()[-500:]}")
    return session.results


@contextlib.contextmanager
def _one_thread():
    """Tests compute on a handful of numbers: more threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Session:
    """A pytest plugin that chooses the tests, lends them the student and gathers the results."""

    def __init__(self, exercises: Sequence[str] | None, student: Student, seed: int):
        self.exercises, self.student, self.seed = exercises, student, seed
        self.results: list[Result] = []
        self.broken: list[str] = []

    def pytest_configure(self, config):
        config.stash[SEED] = self.seed

    def pytest_collectreport(self, report):
        if report.failed:
            self.broken.append(report.longreprtext[-2000:])

    def pytest_collection_modifyitems(self, items):
        items[:] = [i for i in items if self._wanted(i)]

    def _wanted(self, item) -> bool:
        mark = item.get_closest_marker("exercise")
        return mark is not None and (self.exercises is None or mark.args[0] in self.exercises)

    def pytest_runtest_setup(self, item):
        self.returned = []
        item.config.stash[STUDENT] = self.student.recording(self.returned.append)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem):
        output = io.StringIO()
        error = None
        try:
            with (
                contextlib.redirect_stdout(output),
                contextlib.redirect_stderr(output),
                torch.random.fork_rng(devices=[]),
            ):
                torch.manual_seed(self.seed)
                return (yield)
        except Exception as raised:
            error = raised
            raise
        finally:
            self.results.append(self._result(pyfuncitem, error, output.getvalue()))

    def _result(self, item, error: Exception | None, output: str) -> Result:
        mark = item.get_closest_marker("exercise")
        common = {
            "exercise": mark.args[0],
            "test": item.name,
            "name": sentence(item),
            "weight": float(mark.kwargs.get("weight", 1)),
            "output": output[:LONGEST_OUTPUT],
            "returned": tuple(self.returned),
        }
        if error is None:
            return Result(status="passed", **common)
        if isinstance(error, PropertyFailed):
            return Result(
                status="failed", says=error.says, got=error.got, expected=error.expected, **common
            )
        if isinstance(error, StudentError):
            status = "missing" if isinstance(error, NotWritten) else "error"
            return Result(status=status, says=str(error), frames=tuple(error.frames), **common)
        return Result(status="error", says=f"{type(error).__name__}: {error}", **common)


def sentence(item) -> str:
    """A test as a sentence: the first line of its docstring, or its name with blanks."""
    documented = (item.function.__doc__ or "").strip().split("\n")[0]
    name = documented or item.originalname.removeprefix("test_").replace("_", " ")
    case = re.search(r"\[(.*)\]$", item.name)
    return f"{name} ({case[1]})" if case else name
