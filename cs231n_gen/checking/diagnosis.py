"""Which known mistake is it? An answer is compared with what each mistake fails, and what it
returns there.

Public tests use fixed inputs, so a mistake is known by the properties that it fails and by what it
returns and asks of a model in them. The release carries this (`tests/public/diagnoses.json`) with
the sentences, but no code of a mistake.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from tqdm import tqdm

from cs231n_gen.checking import answer_cells, variants
from cs231n_gen.checking.dependencies import needed
from cs231n_gen.checking.errors import StudentError
from cs231n_gen.checking.fresh_modules import tests_of
from cs231n_gen.common.files import write_whole
from cs231n_gen.common.paths import MISTAKES, PACKAGE, PUBLIC, ROOT

if TYPE_CHECKING:  # where all is observed already, nothing waits for torch and pytest
    from cs231n_gen.checking.runner import Result

FILE = PUBLIC / "diagnoses.json"
CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cs231n-gen" / "diagnoses"
)
FORMAT = 4  # of what is written; it is part of the cache's key
WORKERS = 4  # at most, of half a gigabyte each
KEPT = 40  # numbers kept of a tensor, spread over it, beside two sums over all of them
RESULTS = (12, 4)  # of one test: the first and the last of them
# Apart by rounding in float32, not by a mistake: of a number, and of a tensor's largest.
RELATIVE, OF_LARGEST, ABSOLUTE = 1e-4, 1e-5, 1e-6


class SourceChanged(RuntimeError):
    """Mistakes were observed in files that were edited meanwhile: what came of it is of no use."""


@dataclass(frozen=True)
class Known:
    """A mistake, its sentence, and what was seen in each public test that it fails."""

    exercise: str
    name: str
    says: str
    failed: dict[str, dict]


def diagnose(results: list[Result]) -> str | None:
    """The sentence of the mistake that fails the same properties in the same way, or None.

    It is also None where that is true of several mistakes with different sentences.
    """
    failed = failures(results)
    return named(failed, _known(results[0].exercise)) if failed else None  # known only if needed


def named(failed: Mapping[str, dict], known: Iterable[Known]) -> str | None:
    """The one sentence of all mistakes that agree with what was seen, or None.

    Args:
        failed: as `failures` says it.
        known: the mistakes to compare with.
    """
    if not failed or any(seen["status"] == "missing" for seen in failed.values()):
        return None
    says = {k.says for k in known if agree(failed, k.failed)}
    return says.pop() if len(says) == 1 else None


def failures(results: Sequence[Result]) -> dict[str, dict]:
    """What was seen in each test that did not pass, as short plain values: its status, what the
    test or an error said, and what the student's code returned."""
    return {
        r.test: {"status": r.status, "says": _words(r.says), "returned": summary(r.returned)}
        for r in results
        if not r.passed
    }


def agree(one: Mapping[str, dict], other: Mapping[str, dict]) -> bool:
    """Whether two answers fail the same tests, and were seen to do the same in each."""
    return one.keys() == other.keys() and all(_same(one[test], other[test]) for test in one)


def write(path: Path = FILE, only: Sequence[str] | None = None, workers: int | None = None) -> None:
    """Write down what every public mistake returns, for a course that holds none of their code.

    Kernels are left out where Triton is missing.

    Args:
        path: of the file.
        only: the exercises that the course asks for, all if None.
        workers: how many processes observe, by default one for each core, up to 4.
    Raises:
        SourceChanged: if tests, mistakes or the course's own code were edited meanwhile.
    """
    if only is None:
        only = list(dict.fromkeys(m.exercise for m in variants.load(MISTAKES) if m.public))
    exercises = list(only)
    if importlib.util.find_spec("triton") is None:
        exercises = [e for e in exercises if not e.startswith("kernels.")]
    kept = {e: _kept(e) for e in exercises}
    new = {e: file for e, file in kept.items() if not file.is_file()}
    for _ in tqdm(_observe_all(new, workers), total=len(new), leave=False, disable=not new):
        pass
    groups = [json.loads(file.read_text("utf-8")) for file in kept.values()]
    found = [known for group in sorted(filter(None, groups), key=_place) for known in group]
    write_whole(path, json.dumps(found, ensure_ascii=False, indent=0))


def _place(group: list[dict]) -> tuple[Path, int]:
    """Where the first of an exercise's mistakes is written."""
    file, name = _mistakes_of(group[0]["exercise"]), group[0]["name"]
    written = re.search(rf"^(def|class) {name}\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    return file, written.start() if written else 0


def _observe_all(new: Mapping[str, Path], workers: int | None) -> Iterator[list[Known]]:
    """Observe the mistakes of several exercises, the slow ones of kernels first."""
    exercises = sorted(new, key=lambda e: not e.startswith("kernels."))
    files = [new[e] for e in exercises]
    workers = min(workers or WORKERS, os.cpu_count() or 1, len(exercises))
    if workers < 2:
        yield from map(_observed, exercises, files)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_observed, exercises, files)


def _observed(exercise: str, kept: Path) -> list[Known]:
    """What the public mistakes of an exercise fail, here.

    It is kept in the user's cache, by all that it depends on, and observed by one process at a
    time: kernels take minutes to be interpreted.

    Args:
        exercise: its id.
        kept: where, as `_kept` said when the files were read.
    Raises:
        SourceChanged: if that is no longer what the files on disk give: nothing is kept then.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not kept.is_file():
            with _unchanged(exercise, kept):
                mistakes = [m for m in variants.load(MISTAKES) if m.public]
                mistakes = [m for m in mistakes if m.exercise == exercise]
                found = [vars(k) for k in _observe(mistakes)]
            write_whole(kept, json.dumps(found, ensure_ascii=False))
    return [Known(**k) for k in json.loads(kept.read_text(encoding="utf-8"))]


@contextlib.contextmanager
def _unchanged(exercise: str, kept: Path) -> Iterator[None]:
    """Raise `SourceChanged`, whatever else was raised, if files were edited in the block."""
    error = None
    try:
        yield
    except Exception as raised:
        error = raised
    try:
        same = _kept(exercise) == kept
    except OSError:  # one of them is gone
        same = False
    if not same:
        raise SourceChanged(
            f"files that {exercise} depends on were edited while its mistakes were observed: "
            "try again"
        ) from error
    if error:
        raise error


def _kept(exercise: str) -> Path:
    """Where in the user's cache it is kept what the mistakes of an exercise return: the name says
    all that this depends on."""
    module = exercise.rpartition(".")[0]
    files = [tests_of(module, PUBLIC), _mistakes_of(exercise)]
    if answer_cells.number_of(module):
        files.append(answer_cells.notebook_of(module))
    else:
        files.append(PACKAGE / f"{module.replace('.', '/')}.py")
    state = hashlib.sha256(f"{FORMAT} {exercise} {sys.version} {_version('torch')}".encode())
    if module.startswith("kernels."):
        state.update(_version("triton").encode())
    for file in [*files, *needed(files)]:
        state.update(f"{file.relative_to(ROOT).as_posix()}\n".encode() + file.read_bytes())
    return CACHE / state.hexdigest()


def _mistakes_of(exercise: str) -> Path:
    """The file that holds the mistakes of an exercise."""
    *folders, module, _ = exercise.split(".")
    return MISTAKES.joinpath(*folders, f"{module}.py")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def summary(returned: Iterable[object]) -> list:
    """Results as short plain values that can be written down and compared; of many, the first and
    the last, and how many there are."""
    returned = [*returned]
    first, last = RESULTS
    if len(returned) <= first + last:
        return [_short(r) for r in returned]
    return [_short(r) for r in (*returned[:first], *returned[-last:])] + [{"of": len(returned)}]


def _known(exercise: str) -> list[Known]:
    if FILE.exists():
        return [k for k in _from_file(FILE.stat().st_mtime_ns) if k.exercise == exercise]
    return _from_mistakes(exercise) if MISTAKES.exists() else []


@cache
def _from_mistakes(exercise: str) -> list[Known]:
    return _observed(exercise, _kept(exercise))


@lru_cache(maxsize=1)
def _from_file(changed: int) -> list[Known]:
    """What the file knows, read again when it changed: it may be completed while the course is
    open."""
    return [Known(**k) for k in json.loads(FILE.read_text(encoding="utf-8"))]


def _observe(mistakes: Sequence[variants.Variant]) -> list[Known]:
    """What mistakes fail, here. Their tests are collected once for each exercise."""
    from cs231n_gen.checking.runner import with_tests
    from cs231n_gen.checking.student import Student

    seen: dict[int, Known] = {}
    for exercise in dict.fromkeys(m.exercise for m in mistakes):

        def once(suite, exercise=exercise):
            for i, m in enumerate(mistakes):
                if m.exercise == exercise:
                    student = Student().replacing(m.exercise, m.implementation)
                    failed = failures(suite.run(student, 0, [exercise]))
                    seen[i] = Known(m.exercise, m.name, m.says, failed)

        with_tests([tests_of(exercise.rpartition(".")[0], PUBLIC)], once)
    return [seen[i] for i in range(len(mistakes))]


def _words(says: str) -> str:
    """The first line of a sentence, without what differs between two answers of one kind: numbers,
    and the names of functions."""
    line = says.strip().split("\n")[0]
    return re.sub(r"[-−]?\d+(\.\d+)?(e[-+]?\d+)?", "#", re.sub(r"[\w.<>]+\(\)", "f()", line))


def _short(value: object):
    import torch
    from torch import Tensor

    if isinstance(value, Tensor):
        flat = value.detach().double().flatten()
        last = max(0, len(flat) - 1)  # which float32 rounds up, of millions
        places = torch.linspace(0, last, min(KEPT, len(flat))).long().clamp(max=last)
        short = {"shape": list(value.shape), "values": [_rounded(v) for v in flat[places].tolist()]}
        if len(flat) > KEPT:  # of all of them
            k = torch.arange(len(flat), dtype=torch.float64)
            sums = [flat.nan_to_num(0, 0, 0) @ torch.cos(w * k) for w in (0.7, 1.9)]
            short["sums"] = [_rounded(float(v) / len(flat) ** 0.5) for v in sums]
        return short
    if isinstance(value, StudentError):
        return {"error": _words(str(value))}
    if isinstance(value, tuple | list):
        return [_short(v) for v in value[:KEPT]]
    if isinstance(value, dict):
        short = {str(k): _short(v) for k, v in list(value.items())[:KEPT]}
        # Weights go by names that an answer may choose: their order tells as much.
        weights = value and all(v is None or isinstance(v, Tensor) for v in value.values())
        return [*short.values()] if weights else short
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return {"object": getattr(value, "kind", type(value).__name__)}


def _rounded(number: float) -> float:
    return float(f"{number:.6g}")


def _same(a, b, largest: float = 0.0) -> bool:
    """Whether two results are the same but for rounding.

    Args:
        largest: the largest number of the tensor that they stand in.
    """
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        try:
            near = ABSOLUTE + OF_LARGEST * largest
            return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=near) or (
                math.isnan(a) and math.isnan(b)
            )
        except OverflowError:  # a whole number that no float can hold
            return a == b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y, largest) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        if "values" in b and isinstance(b["values"], list):
            largest = max((abs(v) for v in b["values"] if math.isfinite(v)), default=0.0)
        return a.keys() == b.keys() and all(_same(a[k], b[k], largest) for k in a)
    return a == b
