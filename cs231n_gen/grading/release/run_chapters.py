"""Run every chapter from top to bottom: `python -m cs231n_gen.grading.release.run_chapters [04 …]`.

As source, solved, each must run without an error; how long it took is shown beside its budget. As
released, "Run All" must stop at the first exercise that is not written, and at nothing else. The
executed notebooks are left in `build/executed/`, to be looked at.
"""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm.auto import tqdm

from cs231n_gen.common.chapters import UnknownChapter
from cs231n_gen.common.files import files_in, write_whole
from cs231n_gen.common.paths import INSTRUCTORS, PACKAGE, PUBLIC, ROOT, room_of
from cs231n_gen.grading.release.build import chosen, release
from cs231n_gen.grading.source.lint import BadSource
from cs231n_gen.grading.source.tree import Chapter

STOPS = {"CheckFailed", "NotImplementedError"}  # how an exercise that is not written shows
STATE = "cs231n_gen_state"  # in the metadata of an executed chapter
SOURCES = {".py", ".mjs", ".css", ".json"}
PATIENCE = 5  # a chapter that takes this many times its budget hangs


@dataclass(frozen=True)
class ChapterRun:
    """How one chapter ran."""

    chapter: str
    form: str
    passed: bool
    says: str


def main(arguments: list[str] | None = None) -> int:
    """Run the chapters, print a line for each, return the exit code."""
    parser = argparse.ArgumentParser(description="Run chapters headless, as source and released.")
    parser.add_argument("only", nargs="*", help="numbers of chapters (all by default)")
    only = parser.parse_args(arguments).only
    outcomes = []
    try:
        wanted = chosen(only or None)
    except UnknownChapter as error:
        print(error, file=sys.stderr)
        return 2
    try:
        for outcome in run(wanted):
            outcomes.append(outcome)
            mark = "✓" if outcome.passed else "✗"
            print(f"{mark} {outcome.chapter}, {outcome.form}: {outcome.says}", flush=True)
    except BadSource as error:
        print(error, file=sys.stderr)
        return 1
    good = sum(o.passed for o in outcomes)
    print(f"{good} passed, {len(outcomes) - good} failed")
    return 0 if good == len(outcomes) else 1


def run(wanted: Sequence[Chapter]) -> Iterator[ChapterRun]:
    """Run chapters, each as source and then as released.

    Raises:
        BadSource: if no course can be made of the source.
    """
    folder = ROOT / "build" / "executed"
    folder.mkdir(parents=True, exist_ok=True)
    course = release([c.name for c in wanted], folder / "course", diagnoses=False)
    for chapter in wanted:
        for form in (run_source, run_released):
            yield form(chapter, folder, course)


def run_source(chapter: Chapter, folder: Path, course: Path | None = None) -> ChapterRun:
    """The chapter with its solutions: no cell may fail."""
    file = folder / f"{chapter.name}.ipynb"
    took, budget, error = execute(chapter.file, ROOT, file, {STATE: state(chapter)})
    says = f"{took:.0f} s of {budget:.0f} s"
    if error:
        return ChapterRun(chapter.name, "source", False, f"{says}; {error.where}: {error.text}")
    if took > budget:  # said, not failed: a slow machine is not a broken chapter
        says += ", OVER ITS BUDGET"
    return ChapterRun(chapter.name, "source", True, says)


def state(chapter: Chapter) -> str:
    """All that the outputs of a chapter depend on, in one number."""
    parts = sorted(p for p in PACKAGE.rglob("*.*") if p.suffix in SOURCES)
    own = [p for p in parts if room_of(p) not in INSTRUCTORS]
    found = hashlib.sha256()
    checks = [p for p in files_in(PUBLIC) if p.name != "diagnoses.json"]
    for file in [chapter.file, ROOT / "data" / "SHA256SUMS", *own, *checks]:
        found.update(file.read_bytes())
    return found.hexdigest()


def is_fresh(executed: Path, chapter: Chapter) -> bool:
    """Whether a file holds the outputs of a chapter as it is now, to its end."""
    try:
        known = nbformat.read(executed, as_version=4).metadata.get(STATE)
    except (OSError, ValueError):
        return False
    return known == state(chapter)


def run_released(chapter: Chapter, folder: Path, course: Path) -> ChapterRun:
    """The chapter as students get it: it stops at the first thing to be written."""
    notebook = course / chapter.file.relative_to(ROOT)
    _, _, error = execute(notebook, course, folder / f"{chapter.name}.released.ipynb")
    if not error:
        return ChapterRun(
            chapter.name,
            "released",
            False,
            "it ran to the end, expected a stop at the first exercise",
        )
    passed = error.name in STOPS and error.graded
    how = "stops at" if passed else "fails at"
    return ChapterRun(chapter.name, "released", passed, f"{how} {error.where}: {error.text}")


@dataclass(frozen=True)
class CellError:
    """The cell at which a run stopped."""

    name: str
    text: str
    where: str
    graded: bool


def execute(
    notebook: Path, home: Path, output: Path, notes: Mapping[str, str] | None = None
) -> tuple[float, float, CellError | None]:
    """Run a notebook in a fresh kernel, with the package and data of a course's folder.

    `notes` go into the metadata of the executed notebook if nothing failed.

    Returns:
        Seconds, the seconds it promises, and the first error.
    """
    nb = nbformat.read(notebook, as_version=4)
    budget = float(nb.metadata["cs231n_gen"]["budget_seconds"])
    code = [i for i, c in enumerate(nb.cells) if c.cell_type == "code"]
    bar = tqdm(total=len(code), desc=notebook.stem, unit="cell", leave=False, disable=None)
    client = NotebookClient(
        nb,
        timeout=PATIENCE * budget,
        kernel_name="python3",
        resources={"metadata": {"path": str(notebook.parent)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        on_cell_executed=lambda **_: bar.update(),
    )
    inline = "module://matplotlib_inline.backend_inline"
    environment = {**os.environ, "PYTHONPATH": str(home), "MPLBACKEND": inline}
    start, error = time.perf_counter(), None
    try:
        client.execute(env=environment)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as failure:
        error = _first_error(nb, failure)
    took = time.perf_counter() - start
    bar.close()
    if error is None:
        nb.metadata.update(notes or {})
    write_whole(output, nbformat.writes(nb) + "\n")
    return took, budget, error


def _first_error(nb: nbformat.NotebookNode, failure: Exception) -> CellError:
    """The cell that failed; without an error output, the kernel itself ended."""
    for i, cell in enumerate(nb.cells):
        for out in cell.get("outputs", []):
            if out.output_type == "error":
                graded = bool(cell.metadata.get("nbgrader", {}).get("grade"))
                said = f"{out.ename}: {out.evalue}".strip().splitlines()[0]
                return CellError(out.ename, said, f"cell {i + 1}", graded)
    lines = str(failure).strip().splitlines() or [""]
    return CellError(type(failure).__name__, lines[0], "the end of the kernel", False)


if __name__ == "__main__":
    sys.exit(main())
