"""Mutants that are right answers: `equivalent.toml`, each with a sentence that says why."""

import tomllib
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("equivalent.toml")


@cache
def equivalents(file: Path = FILE) -> dict[str, str]:
    """Why a mutant is right, by its exercise and name: `flow.loss: call: f(x) → x`."""
    found = {}
    for entry in tomllib.loads(file.read_text(encoding="utf-8")).get("right", []):
        found |= {f"{entry['exercise']}: {name}": entry["why"] for name in entry["mutants"]}
    return found
