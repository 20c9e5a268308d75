"""What stands proved: `tests/proved.json` holds for each exercise and chapter the hash of all files
that its proof depends on, the commit at which it was proved, and how long that took.

What a hash still describes is left out of a run, but for a tenth that is drawn by the commit.
"""

import json
import math
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from selection.dependencies import Item, Tree, items
from selection.draw import ROOT, commit, draw, has_changes

FILE = ROOT / "tests" / "proved.json"
DRAWN = 10  # one of so many items that stand proved is proved all the same


@dataclass(frozen=True)
class Entry:
    """A proof that succeeded: of what, when, in how many seconds."""

    hash: str
    commit: str
    seconds: float


@dataclass
class Plan:
    """What a run proves, and what it leaves out with the entry that it relies on."""

    changed: list[Item] = field(default_factory=list)
    drawn: list[Item] = field(default_factory=list)
    left_out: dict[Item, Entry] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def to_prove(self, kind: str) -> list[str]:
        """The names of all exercises, or chapters, that this run proves."""
        return [i.name for i in [*self.changed, *self.drawn] if i.kind == kind]

    def lines(self) -> list[str]:
        """What is left out, and since which commit that stands proved."""
        if not self.left_out:
            return ["nothing is left out: every exercise and every chapter is proved"]
        said = [f"left out since no file that they depend on changed, {len(self.left_out)}:"]
        for at, count in Counter(e.commit for e in self.left_out.values()).most_common():
            kinds = Counter(i.kind for i, e in self.left_out.items() if e.commit == at)
            parts = " and ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in sorted(kinds.items()))
            said.append(f"  {parts}, proved at {at or 'no commit'}" if count else "")
        drawn = ", ".join(i.name for i in self.drawn) or "none"
        return [*said, f"drawn from these and proved again: {drawn}"]


def read(file: Path = FILE) -> dict[str, Entry]:
    """The entries by the item's kind and name; none if the file cannot be read."""
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        return {name: Entry(**entry) for name, entry in whole.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write(entries: dict[str, Entry], file: Path = FILE) -> None:
    """Replace the file, an entry a line."""
    lines = [f"{json.dumps(n)}: {json.dumps(asdict(e))}" for n, e in sorted(entries.items())]
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    os.replace(draft, file)


def make_plan(
    root: Path = ROOT, file: Path = FILE, seed: str | None = None, full: bool = False
) -> Plan:
    """What is to be proved of a source tree.

    Args:
        root: of the tree.
        file: the ledger.
        seed: by which the tenth is drawn; the commit, if None.
        full: whether everything is proved, whatever the ledger says.
    """
    tree, entries, plan = Tree(root), {} if full else read(file), Plan()
    standing = []
    for item in items(tree):
        found = plan.hashes[str(item)] = tree.hash(item)
        entry = entries.get(str(item))
        stands = entry is not None and entry.hash == found
        (standing if stands else plan.changed).append(item)
    seed = commit(root) if seed is None else seed
    plan.drawn = draw(standing, math.ceil(len(standing) / DRAWN), seed)
    plan.left_out = {i: entries[str(i)] for i in standing if i not in plan.drawn}
    return plan


def record(plan: Plan, kind: str, seconds: dict[str, float], file: Path = FILE) -> None:
    """Note what was proved, by name with the seconds that it took; forget what is gone."""
    now, entries = commit() + (" and changes" if has_changes() else ""), read(file)
    for name, took in seconds.items():
        key = f"{kind} {name}"
        entries[key] = Entry(plan.hashes[key], now, round(took, 1))
    write({name: e for name, e in entries.items() if name in plan.hashes}, file)
