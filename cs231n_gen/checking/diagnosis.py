"""Which known mistake is it? What came back is compared with what each mistake gives on the same
inputs.

Public tests use fixed inputs, so a mistake is known by what it returns on them. The release
carries those results (`tests/public/diagnoses.json`) and the sentences, but no code of a mistake.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
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
WORKERS = 4  # at most, of half a gigabyte each
KEPT = 24  # numbers kept of a tensor, spread over it
CLOSE = {"rel_tol": 1e-3, "abs_tol": 1e-5}  # apart by rounding in float32, not by a mistake


@dataclass(frozen=True)
class Known:
    """A mistake, its sentence, and what it returned in each public test."""

    exercise: str
    name: str
    says: str
    returned: dict[str, list]


def diagnose(results: list[Result]) -> str | None:
    """The sentence of the mistake that returned the same in every test that failed, or None.

    When several did, the one that agrees in most of all tests is named.
    """
    failed = [r for r in results if not r.passed and r.status != "missing"]
    if not failed:
        return None
    best, most = None, 0
    for known in _known(results[0].exercise):
        agrees = {r.test: _same(summary(r.returned), known.returned.get(r.test)) for r in results}
        if all(agrees[r.test] for r in failed) and sum(agrees.values()) > most:
            best, most = known.says, sum(agrees.values())
    return best


def write(path: Path = FILE, only: Sequence[str] | None = None, workers: int | None = None) -> None:
    """Write down what every public mistake returns, for a course that holds none of their code.

    Kernels are left out where Triton is missing.

    Args:
        path: of the file.
        only: the exercises that the course asks for, all if None.
        workers: how many processes observe, by default one for each core, up to 4.
    """
    if only is None:
        only = list(dict.fromkeys(m.exercise for m in variants.load(MISTAKES) if m.public))
    exercises = list(only)
    if importlib.util.find_spec("triton") is None:
        exercises = [e for e in exercises if not e.startswith("kernels.")]
    kept = {e: _kept(e) for e in exercises}
    new = [e for e in exercises if not kept[e].is_file()]
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


def _observe_all(exercises: list[str], workers: int | None) -> Iterator[list[Known]]:
    """Observe the mistakes of several exercises, the slow ones of kernels first."""
    exercises = sorted(exercises, key=lambda e: not e.startswith("kernels."))
    workers = min(workers or WORKERS, os.cpu_count() or 1, len(exercises))
    if workers < 2:
        yield from map(_observed, exercises)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_observed, exercises)


def _observed(exercise: str) -> list[Known]:
    """What the public mistakes of an exercise return, here.

    It is kept in the user's cache, by all that it depends on, and observed by one process at a
    time: kernels take minutes to be interpreted.
    """
    kept = _kept(exercise)
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not kept.is_file():
            mistakes = [m for m in variants.load(MISTAKES) if m.public and m.exercise == exercise]
            found = [vars(k) for k in _observe(mistakes)]
            write_whole(kept, json.dumps(found, ensure_ascii=False))
    return [Known(**k) for k in json.loads(kept.read_text(encoding="utf-8"))]


def _kept(exercise: str) -> Path:
    """Where in the user's cache it is kept what the mistakes of an exercise return: the name says
    all that this depends on."""
    module = exercise.rpartition(".")[0]
    files = [tests_of(module, PUBLIC), _mistakes_of(exercise)]
    if answer_cells.number_of(module):
        files.append(answer_cells.notebook_of(module))
    else:
        files.append(PACKAGE / f"{module.replace('.', '/')}.py")
    state = hashlib.sha256(f"{exercise} {sys.version} {_version('torch')}".encode())
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
    """Results as short plain values that can be written down and compared."""
    return [_short(r) for r in returned]


def _known(exercise: str) -> list[Known]:
    if FILE.exists():
        return [k for k in _from_file(FILE.stat().st_mtime_ns) if k.exercise == exercise]
    return _from_mistakes(exercise) if MISTAKES.exists() else []


@cache
def _from_mistakes(exercise: str) -> list[Known]:
    return _observed(exercise)


@lru_cache(maxsize=1)
def _from_file(changed: int) -> list[Known]:
    """What the file knows, read again when it changed: it may be completed while the course is
    open."""
    return [Known(**k) for k in json.loads(FILE.read_text(encoding="utf-8"))]


def _observe(mistakes: list[variants.Variant]) -> list[Known]:
    from cs231n_gen.checking.runner import run
    from cs231n_gen.checking.student import Student

    return [
        Known(
            m.exercise,
            m.name,
            m.says,
            {
                r.test: summary(r.returned)
                for r in run(
                    PUBLIC, [m.exercise], Student().replacing(m.exercise, m.implementation)
                )
            },
        )
        for m in mistakes
    ]


def _short(value: object):
    import torch
    from torch import Tensor

    from cs231n_gen.checking.student import Object

    if isinstance(value, Tensor):
        flat = value.detach().double().flatten()
        places = torch.linspace(0, max(0, len(flat) - 1), min(KEPT, len(flat))).long()
        return {
            "shape": list(value.shape),
            "values": [float(f"{v:.6g}") for v in flat[places].tolist()],
        }
    if isinstance(value, StudentError):
        return {"error": str(value).split("\n")[0]}
    if isinstance(value, tuple | list):
        return [_short(v) for v in value[:KEPT]]
    if isinstance(value, dict):
        return {k: _short(v) for k, v in list(value.items())[:KEPT]}
    return {"object": value.kind} if isinstance(value, Object) else value


def _same(a, b) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        try:
            return math.isclose(a, b, **CLOSE) or (math.isnan(a) and math.isnan(b))
        except OverflowError:  # a whole number that no float can hold
            return a == b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return a == b
