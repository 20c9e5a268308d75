"""The answer cells of a submitted notebook, found as its rebuilt copy will have them."""

from pathlib import Path

import nbformat

from cs231n_gen.checking import answer_cells
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.notebook.match_cells import Matching, grade_id
from cs231n_gen.grading.notebook.rebuild import submitted_cells
from cs231n_gen.grading.notebook.submitted_cells import LARGEST, NotANotebook, read_notebook
from cs231n_gen.grading.source.markers import find_gaps, make_gaps


def find_answers(folder: Path, module: str) -> dict[str, str]:
    """A submission's answer cells as modules, by name: `cs231n_gen/chapter02.slope`.

    Args:
        folder: of the submission, which holds the notebook where `submit` or the course has it.
        module: `chapter02`.
    Raises:
        NotANotebook: if the notebook cannot be read.
    """
    source = answer_cells.notebook_of(module, ROOT)
    name = source.name
    for path in (folder / name, folder / "notebooks" / source.stem / name):
        steps = (path, *list(path.parents)[: len(path.relative_to(folder).parts) - 1])
        if path.is_file() and not any(p.is_symlink() for p in steps):
            if path.stat().st_size > LARGEST:
                raise NotANotebook(f"{name} has more than {LARGEST} bytes")
            return _answers(path.read_bytes(), source, module)
    return {}


def _answers(submitted: bytes, source: Path, module: str) -> dict[str, str]:
    released = nbformat.read(source, as_version=4).cells
    for cell in released:
        cell.source = make_gaps(cell.source, find_gaps(cell.source)[0])
    written = submitted_cells(read_notebook(submitted), released)
    match, found = Matching(written, released), {}
    for r, cell in enumerate(released):
        name = answer_cells.name_of(grade_id(cell), module)
        own = match.at(r) if name else None
        if own is not None and own.kind == "code":
            found[answer_file(f"{module}.{name}")] = answer_cells.HEAD + own.text
    return found


def answer_file(exercise: str) -> str:
    """What an answer cell is called among the files of a submission."""
    return f"cs231n_gen/{exercise}"
