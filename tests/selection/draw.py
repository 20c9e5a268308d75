"""Cases drawn by the commit: the same for whoever runs the tests of it again, others next time."""

import hashlib
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[2]
Case = TypeVar("Case")


def commit(root: Path = ROOT) -> str:
    """The hash of the commit that is checked out, "" outside a clone."""
    return _git(root, "rev-parse", "--short=12", "HEAD")


def has_changes(root: Path = ROOT) -> bool:
    """Whether the files are others than those of the commit; what stands proved doesn't count."""
    return bool(_git(root, "status", "--porcelain", "--", ".", ":!tests/proved.json"))


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def draw(
    cases: Iterable[Case], count: int, seed: str, key: Callable[[Case], str] = str
) -> list[Case]:
    """`count` of the cases (all, if there are fewer), in the order in which they were given.

    Args:
        cases: what is drawn from.
        count: how many are drawn.
        seed: the same seed draws the same cases.
        key: the name of a case; its place among the cases does not matter.
    """
    cases = list(cases)
    chances = {
        i: hashlib.sha256(f"{seed} {key(case)}".encode()).digest() for i, case in enumerate(cases)
    }
    return [cases[i] for i in sorted(sorted(chances, key=chances.get)[:count])]
