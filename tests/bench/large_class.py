"""A class of 1000, right, wrong, broken and hostile, graded: `python tests/bench/large_class.py`.

Every kind of submission of `tests/classroom.py` is zipped, collected and graded with two workers,
in a copy of the course. Then it is asked whether anything was lost, whether everybody got what is
due, and whether memory grew. Limits are short (4 s for an exercise), since one in ten hangs.
"""

import argparse
import contextlib
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common import tables
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.collect.collect import collect
from cs231n_gen.grading.run import grade_class as grading
from cs231n_gen.grading.run.pools import LocalPool
from cs231n_gen.grading.run.session import open_assignment

bench = load_module(ROOT / "tests" / "bench" / "grading.py", "bench")
classroom, CHAPTER = bench.classroom, bench.CHAPTER
NO_MODULE = {"blank", "no module", "not Python"}


def due(kind: str) -> set[str]:
    """The exercises that a kind of submission has right."""
    if kind in NO_MODULE:
        return set()
    return set(classroom.NAMES) - set(classroom.BY_HAND.get(kind, ()))


def hand_in(root: Path, released: Path, count: int) -> dict[str, str]:
    """Collect a class; the kind of each that was taken in."""
    folder, kinds = root / "zips", {}
    folder.mkdir()
    for student, kind, module, notebook in classroom.submissions(count, released):
        (folder / f"{student}.zip").write_bytes(classroom.packed(module, notebook))
        kinds[student] = kind.partition(",")[0]
    collect([folder], root)
    taken = {p.parent.name for p in (root / "submitted").glob(f"*/{CHAPTER}")}
    return {s: k for s, k in kinds.items() if s in taken}


def measure(root: Path, count: int) -> dict:
    """Grade the class, and see what became of it."""
    released = bench.copy_course(root, classroom.SHORT)
    kinds = hand_in(root, released, count)
    assignment = open_assignment(root, CHAPTER, None, False)
    marks = {max(1, len(kinds) * p // 100): f"{p} %" for p in (10, 25, 50, 75, 100)}
    memory: dict[str, dict] = {}
    states: Counter = Counter()
    undue = []
    begun = time.perf_counter()
    with (
        LocalPool(assignment, 2) as pool,
        bench.bar_of(len(kinds), f"a class of {count}") as bar,
    ):

        def tell(outcome: grading.Outcome) -> None:
            states[outcome.state] += 1
            if outcome.grading is not None:
                right = {e.exercise.partition(".")[2] for e in outcome.grading.exercises if e.full}
                if right != due(kinds[outcome.student]):
                    undue.append(f"{outcome.student} ({kinds[outcome.student]}): {sorted(right)}")
            bar.update()
            if mark := marks.get(states.total()):
                memory[mark] = bench.resident(pool)

        grading.grade(assignment, pool, sorted(kinds), tell=tell)
    wall = time.perf_counter() - begun
    with contextlib.closing(sqlite3.connect(root / "gradebook.db")) as book:
        names = [e.grade_id for e in classroom.FLOW]
        query = f"""
            select count(*) from grade g join base_cell b on b.id = g.cell_id
            where g.auto_score is not null and b.name in ({",".join("?" * len(names))})"""
        (points,) = book.execute(query, names).fetchone()
    records = len(list((root / "autograded").glob(f"*/{CHAPTER}/grading.json")))
    return {
        "collected": len(kinds),
        "states": dict(states),
        "undue": undue,
        "points": points,
        "expected points": len(kinds) * len(assignment.exercises),
        "records": records,
        "wall": wall,
        "memory": memory,
    }


def show(found: dict) -> None:
    """Print what was found."""
    rows = [(at, *(f"{size:.0f}" for size in of.values())) for at, of in found["memory"].items()]
    tables.show(("of the class", "this process", "worker", "with its children (MiB)"), rows)
    print(f"{found['collected']} taken in: {found['states']}, {found['records']} records,", end=" ")
    print(f"{found['points']} of {found['expected points']} scores in the gradebook")
    print(f"{len(found['undue'])} got something else than is due", *found["undue"][:10], sep="\n  ")
    print(f"{found['wall']:.0f} s, {found['wall'] / found['collected']:.2f} s each, 2 workers")


def main() -> None:
    """Measure in a temporary folder; ends with 1 if anything was lost or undue."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--submissions", type=int, default=1000)
    given = words.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="large-class-") as folder:
            found = measure(Path(folder).resolve(), given.submissions)
    except KeyboardInterrupt:
        sys.exit("stopped; nothing is left behind")
    show(found)
    whole = found["records"] == found["collected"] and found["points"] == found["expected points"]
    sys.exit(not whole or bool(found["undue"]))


if __name__ == "__main__":
    main()
