"""Mutants that are right answers: in `right/flow.toml` those of `flow`, each with a sentence that
says why."""

import tomllib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("right")


def right_answers(folder: Path = FOLDER) -> dict[str, str]:
    """Why a mutant is right, by its exercise and name: `flow.loss: call: f(x) → x`."""
    return {name: entry["why"] for name, entry in _entries("right", folder)}


@cache
def _entries(kind: str, folder: Path) -> list[tuple[str, dict]]:
    files = [tomllib.loads(f.read_text(encoding="utf-8")) for f in sorted(folder.glob("*.toml"))]
    entries = [entry for file in files for entry in file.get(kind, [])]
    return [(f"{e['exercise']}: {name}", e) for e in entries for name in e["mutants"]]


def stale(outcomes: list, exercise: str) -> list[str]:
    """Entries of an exercise that say what is not so: their mutant is killed, or there is none.

    Args:
        outcomes: what became of all its mutants.
        exercise: its id.
    """
    killed = {str(o.mutant): o.killed for o in outcomes}
    own = [name for name in right_answers() if name.startswith(f"{exercise}: ")]
    wrong = [f"{name}: killed by {killed[name]}" for name in own if killed.get(name)]
    return wrong + [f"{name}: no such mutant" for name in own if name not in killed]
