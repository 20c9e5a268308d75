"""Which known mistake is it? What came back is compared with what each mistake gives on the same
inputs.

Public tests use fixed inputs, so a mistake is known by what it returns on them. The release
carries those results (`tests/public/diagnoses.json`) and the sentences, but no code of a mistake.
"""

import hashlib
import importlib.util
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from cs231n_gen.checking import variants
from cs231n_gen.checking.errors import StudentError
from cs231n_gen.checking.runner import Result, run
from cs231n_gen.checking.student import Object, Student
from cs231n_gen.common.files import write_whole
from cs231n_gen.common.paths import MISTAKES, PACKAGE, PUBLIC, UNUSED_BY_EXERCISES, room_of

FILE = PUBLIC / "diagnoses.json"
CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cs231n-gen" / "diagnoses"
)
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


def write(path: Path = FILE, only: Sequence[str] | None = None) -> None:
    """Write down what every public mistake returns, for a course that holds none of their code.

    Kernels are left out where Triton is missing.

    Args:
        path: of the file.
        only: the exercises that the course asks for, all if None.
    """
    exercises = dict.fromkeys(m.exercise for m in variants.load(MISTAKES) if m.public)
    exercises = [e for e in exercises if only is None or e in only]
    if importlib.util.find_spec("triton") is None:
        exercises = [e for e in exercises if not e.startswith("kernels.")]
    found = [known for e in tqdm(list(exercises), leave=False) for known in _observed(e)]
    write_whole(path, json.dumps([vars(k) for k in found], ensure_ascii=False, indent=0))


def _observed(exercise: str) -> list[Known]:
    """What the public mistakes of an exercise return, here.

    It is kept in the user's cache, by all that it depends on, and observed by one process at a
    time: kernels take minutes to be interpreted.
    """
    kept = CACHE / _state(exercise)
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not kept.is_file():
            mistakes = [m for m in variants.load(MISTAKES) if m.public and m.exercise == exercise]
            found = [vars(k) for k in _observe(mistakes)]
            write_whole(kept, json.dumps(found, ensure_ascii=False))
    return [Known(**k) for k in json.loads(kept.read_text(encoding="utf-8"))]


def _state(exercise: str) -> str:
    """All that an exercise's mistakes and what they return depend on, in one number."""
    *folders, module, _ = exercise.split(".")
    files = [
        PUBLIC.joinpath(*folders, f"test_{module}.py"),
        MISTAKES.joinpath(*folders, f"{module}.py"),
    ]
    state = hashlib.sha256(f"{exercise} {sys.version} {torch.__version__} {_package()}".encode())
    for file in files:
        state.update(file.read_bytes())
    return state.hexdigest()


@lru_cache
def _package() -> str:
    """The state of the package, but for what no exercise runs."""
    state = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        if room_of(file) not in UNUSED_BY_EXERCISES:
            state.update(f"{file.relative_to(PACKAGE)}\n".encode() + file.read_bytes())
    return state.hexdigest()


def summary(returned: Iterable[object]) -> list:
    """Results as short plain values that can be written down and compared."""
    return [_short(r) for r in returned]


@lru_cache
def _known(exercise: str) -> list[Known]:
    if FILE.exists():
        return [k for k in _from_file() if k.exercise == exercise]
    if not MISTAKES.exists():
        return []
    return _observed(exercise)


@lru_cache
def _from_file() -> list[Known]:
    return [Known(**k) for k in json.loads(FILE.read_text(encoding="utf-8"))]


def _observe(mistakes: list[variants.Variant]) -> list[Known]:
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
