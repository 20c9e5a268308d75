"""Mutants that are right answers: `right/flow.toml` for those of `flow`, each with a sentence that
says why."""

import tomllib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("right")


@cache
def right_answers(folder: Path = FOLDER) -> dict[str, str]:
    """Why a mutant is right, by its exercise and name: `flow.loss: call: f(x) → x`."""
    found = {}
    for file in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(file.read_text(encoding="utf-8")).get("right", []):
            found |= {f"{entry['exercise']}: {name}": entry["why"] for name in entry["mutants"]}
    return found


def stale(outcomes: list, exercise: str, whole: bool) -> list[str]:
    """Entries of an exercise that say what is not so: their mutant is killed, or there is none.

    Args:
        outcomes: what became of its mutants.
        exercise: its id.
        whole: whether these are all of its mutants.
    """
    killed = {str(o.mutant): o.killed for o in outcomes}
    own = [name for name in right_answers() if name.startswith(f"{exercise}: ")]
    wrong = [f"{name}: killed by {killed[name]}" for name in own if killed.get(name)]
    return wrong + [f"{name}: no such mutant" for name in own if whole and name not in killed]
