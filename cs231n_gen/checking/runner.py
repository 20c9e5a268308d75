"""Run the tests of an exercise against a student, and say property by property what held."""

import contextlib
import io
import itertools
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
import torch

from cs231n_gen.checking import fakes, shared_properties
from cs231n_gen.checking.effects import Note
from cs231n_gen.checking.errors import NotWritten, PropertyFailed, StudentError, TracebackLine
from cs231n_gen.checking.fresh_modules import tests_of
from cs231n_gen.checking.pytest_plugin import SEED, STUDENT
from cs231n_gen.checking.shared_properties import NAMES, Promises, about
from cs231n_gen.checking.shared_properties import broken as broken_promises
from cs231n_gen.checking.student import Student

LONGEST_OUTPUT = 4000
# What a check doesn't need and would wait for: two full garbage collections alone take 0.3 s.
UNUSED = ["terminal", "cacheprovider", "unraisableexception", "threadexception", "faulthandler"]
UNUSED += ["logging", "doctest", "junitxml", "pastebin"]
OPTIONS = ["--capture=no", "-W", "ignore", *(f"-pno:{plugin}" for plugin in UNUSED)]
# Nor plugins that other packages bring (anyio, jaxtyping, platformdirs, xdist), whose imports alone
# take half as long as torch's.
OPTIONS += ["--disable-plugin-autoload"]


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
    frames: tuple[TracebackLine, ...] = ()
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
        frames = tuple(TracebackLine(**f) for f in values.get("frames", ()))
        return cls(**{**values, "frames": frames})


def run(
    folder: Path,
    exercises: Sequence[str] | None = None,
    student: Student | None = None,
    seed: int = 0,
    tests: Collection[str] | None = None,
    first: bool = False,
) -> list[Result]:
    """Run the tests of a folder that are marked with these exercises (all, if None).

    Args:
        folder: `tests/public` or `tests/hidden`. The tests of `flow.loss` are in its
            `test_flow.py`, those of `kernels.axpy.kernel` in its `kernels/test_axpy.py`.
        exercises: ids, `flow.loss`.
        student: whose code; by default the package's own.
        seed: of all random inputs.
        tests: the names of those to run; all, if None.
        first: whether to end at the first that does not pass.
    Returns:
        One result a test, in the order of the files.
    """
    found: list[Result] = []
    modules = sorted({e.rpartition(".")[0] for e in exercises or []})
    paths = [tests_of(m, folder) for m in modules] if exercises else [folder]

    def once(suite: Suite) -> None:
        found.extend(suite.run(student or Student(), seed, exercises, None, tests, first))

    with_tests(paths, once)
    return found


def with_tests(paths: Sequence[Path], use: "Callable[[Suite], None]") -> None:
    """Collect tests once, then let `use` run them as often as it likes.

    Args:
        paths: files or folders; those that are not there are left out.
        use: gets the collected tests, which can be run until it returns.
    Raises:
        RuntimeError: if the tests cannot be collected. What `use` raises comes through.
    """
    names = [str(p) for p in paths if p.exists()]
    if not names:
        return
    plugin = _Session(use)
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), _one_thread():
        code = pytest.main([*names, *OPTIONS], plugins=[plugin])
    if plugin.error:
        raise plugin.error
    if plugin.broken:
        raise RuntimeError(f"tests could not be collected: {plugin.broken[0]}")
    ended = pytest.ExitCode
    if code not in (ended.OK, ended.TESTS_FAILED, ended.NO_TESTS_COLLECTED):
        raise RuntimeError(f"pytest ended with {code!r}: {quiet.getvalue()[-500:]}")


@contextlib.contextmanager
def _one_thread():
    """Tests compute on a handful of numbers: more threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Suite:
    """Collected tests, which can be run against one student after another."""

    def __init__(self, session: pytest.Session):
        self._session = session
        self._items = [i for i in session.items if i.get_closest_marker("exercise")]
        self._student, self._seed = Student({}), 0
        self._results: list[Result] = []
        self._seen: list[tuple[str, Promises, Note]] = []

    def run(
        self,
        student: Student,
        seed: int,
        exercises: Sequence[str] | None = None,
        folder: Path | None = None,
        tests: Collection[str] | None = None,
        first: bool = False,
    ) -> list[Result]:
        """Run the tests of these exercises (all, if None), of this folder (any, if None), of these
        names (all, if None); to the first that does not pass, if `first` is set.

        A student that is lost on the way is not asked any more: the tests that follow are missing.
        """
        self._student, self._seed, self._results, self._seen = student, seed, [], []
        self._session.config.stash[SEED] = seed
        items = [i for i in self._items if _wanted(i, exercises, folder)]
        if tests is not None and not any(t.startswith(shared_properties.PREFIX) for t in tests):
            items = [i for i in items if i.name in tests]
        for item, following in itertools.zip_longest(items, items[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if student.failure or (first and not all(r.passed for r in self._results)):
                break
        if tests is None:
            self._results = _earned(self._results)
        self._results += shared_results(self._results, self._seen) if not student.failure else []
        return [r for r in self._results if tests is None or r.test in tests]

    def lend(self, item) -> None:
        """Give a test that begins its student."""
        self._returned: list = []
        fakes.Recorder.on_call = self._returned.append  # what the student asks tells as much
        item.config.stash[STUDENT] = self._student.recording(self._returned.append)

    @contextlib.contextmanager
    def observe(self, item):
        """Around the body of a test: its random numbers, its output, what comes of it.

        Its failure ends here, in the results: pytest would take longer to write a traceback, which
        nobody reads, than the test to run.
        """
        output = io.StringIO()
        error = None
        try:
            with (
                contextlib.redirect_stdout(output),
                contextlib.redirect_stderr(output),
                torch.random.fork_rng(devices=[]),
            ):
                item.config.stash[STUDENT].begin(self._seed)
                yield
        except Exception as raised:
            error = raised
        finally:
            lent, mark = item.config.stash[STUDENT], item.get_closest_marker("exercise")
            promises = Promises.of(mark.kwargs)
            self._seen += [(mark.args[0], promises, note) for note in lent.notes]
            printed = output.getvalue() + self._student.output
            self._results.append(self._result(item, error, printed))

    def _result(self, item, error: Exception | None, output: str) -> Result:
        mark = item.get_closest_marker("exercise")
        common = {
            "exercise": mark.args[0],
            "test": item.name,
            "name": sentence(item),
            "weight": float(mark.kwargs.get("weight", 1)),
            "output": output[:LONGEST_OUTPUT],
            "returned": tuple(self._returned),
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


class _Session:
    """The pytest plugin behind `with_tests`."""

    def __init__(self, use: "Callable[[Suite], None]"):
        self.use = use
        self.suite: Suite | None = None
        self.broken: list[str] = []
        self.error: BaseException | None = None
        self.stdout, self.stderr = sys.stdout, sys.stderr

    def pytest_collectreport(self, report):
        if report.failed:
            self.broken.append(report.longreprtext[-2000:])

    def pytest_runtestloop(self, session):
        if not self.broken:
            self.suite = Suite(session)
            shown = contextlib.redirect_stdout(self.stdout), contextlib.redirect_stderr(self.stderr)
            try:
                with shown[0], shown[1]:
                    self.use(self.suite)
            except BaseException as error:
                self.error = error
        return True

    def pytest_runtest_setup(self, item):
        self.suite.lend(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem):
        with self.suite.observe(pyfuncitem):
            yield
        return True


def shared_results(
    results: Sequence[Result], seen: Sequence[tuple[str, Promises, Note]]
) -> list[Result]:
    """The results of the properties that all exercises share, for each exercise among the results.

    Where one does not hold it costs as much as a test. Where all tests hold and it does too, it is
    told, but worth nothing: else an answer that does nothing would earn points.

    Args:
        results: of the tests.
        seen: what calls did beside returning a result: the exercise whose test called, what its
            mark promises, and the note.
    """
    found = []
    for exercise in dict.fromkeys(r.exercise for r in results):
        own = [(p, n) for e, p, n in seen if e == exercise and about(n, exercise)]
        broken = {test: [] for test in NAMES}
        for promises, note in own:
            for test, says in broken_promises([note], promises).items():
                broken[test] += [s for s in says if s not in broken[test]]
        right = all(r.passed for r in results if r.exercise == exercise)
        for test, says in broken.items():
            if says:
                common = {"says": "; ".join(says[:3]), "returned": tuple(says)}
                found.append(Result(exercise, test, NAMES[test], 1.0, "failed", **common))
            elif right:
                found.append(Result(exercise, test, NAMES[test], 0.0, "passed"))
    return found


def _earned(results: Sequence[Result]) -> list[Result]:
    """The results, of which refusals count only where something else holds.

    What a gap's stub refuses above the gap is refused by an answer that is not written, too.
    """
    right = {r.exercise for r in results if r.passed and not _only_errors(r)}
    written = {r.exercise for r in results if r.status in ("failed", "error")}
    found = []
    for r in results:
        if r.passed and r.exercise not in right and _only_errors(r):
            status = "failed" if r.exercise in written else "missing"
            # In which words it was refused tells nothing of a mistake.
            says = "this counts once another property holds"
            r = replace(r, status=status, says=says, returned=())
        found.append(r)
    return found


def _only_errors(result: Result) -> bool:
    """Whether all that came back were errors."""
    back = result.returned
    return bool(back) and all(isinstance(b, StudentError) for b in back)


def _wanted(item, exercises: Sequence[str] | None, folder: Path | None) -> bool:
    exercise = item.get_closest_marker("exercise").args[0]
    here = folder is None or item.path.is_relative_to(folder)
    return here and (exercises is None or exercise in exercises)


def sentence(item) -> str:
    """A test as a sentence: the first line of its docstring, or its name with blanks."""
    documented = (item.function.__doc__ or "").strip().split("\n")[0]
    name = documented or item.originalname.removeprefix("test_").replace("_", " ")
    case = re.search(r"\[(.*)\]$", item.name)
    return f"{name} ({case[1]})" if case else name
