"""A submitted notebook, rebuilt: the release's cells with the student's answers in them.

Whatever was deleted, copied, split, moved or edited, what nbgrader reads is the release's. What a
student wrote besides stays where it was, as ordinary cells that do nothing in a browser.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode, from_dict
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor

from cs231n_gen.grading.notebook.match_cells import (
    Matching,
    begins_alike,
    grade_id,
    is_answer,
    same_text,
)
from cs231n_gen.grading.notebook.sanitize_markdown import as_code, safe_markdown
from cs231n_gen.grading.notebook.sanitize_outputs import ImageFilter, kept_outputs
from cs231n_gen.grading.notebook.submitted_cells import NotANotebook, SubmittedCell, read_notebook

__all__ = ["NotANotebook", "Rebuild", "Rebuilt", "rebuild", "rebuild_cells", "safe_markdown"]

MOST_CELLS = 1000  # that are kept of a submission, and of the graded ones that come after them
MOST_CODE = 100_000  # characters of a cell
MOST_MARKDOWN = (
    200_000  # characters of a notebook that are rendered; what follows is shown as typed
)
MOST_REPAIRS = 20  # that are named
SETTINGS = ("points", "grade", "solution", "locked", "task", "grade_id")
REPAIRS = "cs231n_gen_repairs"  # in the notebook's metadata


@dataclass(frozen=True)
class Rebuilt:
    """A notebook that can be graded, and what had to be repaired, a sentence each."""

    notebook: NotebookNode
    repairs: tuple[str, ...]


def rebuild(submitted: bytes, release: NotebookNode) -> Rebuilt:
    """Put a student's answers into the release.

    Args:
        submitted: the notebook file as it was handed in.
        release: the chapter's notebook as nbgrader released it.
    Raises:
        NotANotebook: if the file cannot be read as a notebook at all.
    """
    return rebuild_cells(read_notebook(submitted), release)


def rebuild_cells(submitted: dict, release: NotebookNode) -> Rebuilt:
    """Put the answers of a notebook that was read into the release."""
    written = submitted_cells(submitted, release.cells)
    work = _Rebuilding(written, release)
    if unread := len(submitted["cells"]) - len(written):
        work.repairs.insert(
            0, f"{_count(unread)} could not be read or came after {MOST_CELLS} others."
        )
    repairs = work.repairs
    if len(repairs) > MOST_REPAIRS:
        more = len(repairs) - MOST_REPAIRS
        repairs = [*repairs[:MOST_REPAIRS], f"{more} more repairs were made."]
    return Rebuilt(work.notebook, tuple(repairs))


def submitted_cells(submitted: dict, release: Sequence[NotebookNode]) -> list[SubmittedCell]:
    """Those cells of a notebook that was read which count."""
    cells = [SubmittedCell.read(c) for c in submitted["cells"] if isinstance(c, dict)]
    names = {grade_id(c) for c in release} - {""}
    later = [w for w in cells[MOST_CELLS:] if w.grade_id in names]
    return [*cells[:MOST_CELLS], *later[:MOST_CELLS]]


class Rebuild(NbGraderPreprocessor):
    """nbgrader's first step with a submission: in place of those that clean and overwrite it."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Rebuild the notebook; the repairs are written into its metadata."""
        where = resources["nbgrader"]
        course = CourseDirectory(config=self.config)
        folder = course.format_path(course.release_directory, ".", where["assignment"])
        path = Path(folder) / f"{where['notebook']}.ipynb"
        if not path.is_file():
            message = f"{path} is missing; `cs231n-gen release` makes it"
            self.log.error(message)
            raise FileNotFoundError(message)
        rebuilt = rebuild_cells(nb, nbformat.read(path, as_version=4))
        for repair in rebuilt.repairs:
            self.log.info("Repaired: %s", repair)
        rebuilt.notebook.metadata[REPAIRS] = list(rebuilt.repairs)
        return rebuilt.notebook, resources


class _Rebuilding:
    """The work on one notebook."""

    def __init__(self, written: list[SubmittedCell], release: NotebookNode) -> None:
        self.release = release.cells
        self.match = Matching(written, self.release)
        self.images = ImageFilter()
        self.markdown_left = MOST_MARKDOWN
        self.repairs: list[str] = []
        self.joined: dict[int, list[int]] = {}
        self.ids = {c.id for c in self.release}
        for r in range(len(self.release)):
            self._inspect(r)
        self._inspect_order()
        metadata = {
            k: release.metadata[k] for k in ("kernelspec", "language_info") if k in release.metadata
        }
        self.notebook = nbformat.v4.new_notebook(metadata=from_dict(metadata), nbformat_minor=5)
        self.notebook.cells = list(self._cells())

    def _inspect(self, r: int) -> None:
        """Say what is wrong with a graded cell; find the rest of an answer."""
        cell, own, name = self.release[r], self.match.at(r), grade_id(self.release[r])
        if not name:
            return
        answer = is_answer(cell)
        what = "answer" if answer else "cell"
        if own is None:
            self.repairs.append(f"The {what} {name} was missing; it is back as it was released.")
            return
        if not own.settings:
            self.repairs.append(f"The {what} {name} had lost its name and was found again.")
        elif any(own.settings.get(k) != cell.metadata.nbgrader.get(k) for k in SETTINGS):
            self.repairs.append(
                f"The settings of the {what} {name} were changed; those of the release count."
            )
        if own.kind != cell.cell_type:
            self.repairs.append(
                f"The {what} {name} had become a {own.kind} cell; it is a {cell.cell_type} cell."
            )
        if not answer and not same_text(own.text, cell.source):
            self.repairs.append(f"The cell {name} was changed; it is back as it was released.")
        rest = list(self._rest(r)) if answer else []
        if copies := [s for s in self.match.copies(r) if s not in rest]:
            counts = "the first that you edited counts" if answer else "one counts"
            self.repairs.append(
                f"The {what} {name} was there {len(copies) + 1} times; {counts}, "
                "the others stay as ordinary cells."
            )
        if rest and cell.cell_type == own.kind == "markdown":
            self.joined[r] = rest
            self.match.free.difference_update(rest)
            self.repairs.append(
                f"The answer {name} continued in the cell below; the two were joined."
            )
        elif rest:
            self.repairs.append(
                f"The cell directly below the answer {name} is not part of the chapter; "
                "it stays there as an ordinary cell."
            )

    def _rest(self, r: int) -> Iterator[int]:
        """The cells right below an answer that may be its second half, after it was split."""
        cell, own = self.release[r], self.match.at(r)
        s = self.match.found[r] + 1
        while s in self.match.free:
            below = self.match.written[s]
            copy = below.grade_id == grade_id(cell) and (
                begins_alike(below.text, cell.source) or begins_alike(below.text, own.text)
            )
            foreign = below.grade_id in self.match.known - {grade_id(cell)}
            if copy or foreign or below.kind != own.kind or below.raw.get("attachments"):
                return
            if below.text.strip():
                yield s
            s += 1

    def _inspect_order(self) -> None:
        found = self.match.found
        plain = [r for r, cell in enumerate(self.release) if not grade_id(cell)]
        if missing := sum(r not in found for r in plain):
            self.repairs.append(f"{_count(missing)} of the chapter were missing; they are back.")
        places = [found[r] for r in sorted(found)]
        if places != sorted(places):
            self.repairs.append(
                "Cells stood in another order; they are in the released order again."
            )
        foreign = [s for s in self.match.free if self.match.written[s].settings]
        if foreign := [
            s for s in foreign if self.match.written[s].grade_id not in self.match.known
        ]:
            self.repairs.append(
                f"{_count(len(foreign))} with a name of another notebook: kept as ordinary cells."
            )

    def _cells(self) -> Iterator[NotebookNode]:
        after: dict[int, list[int]] = {}
        known = {s: r for r, s in self.match.found.items()}
        at = -1
        for s in range(len(self.match.written)):
            at = known.get(s, at)
            if s in self.match.free:
                after.setdefault(at, []).append(s)
        yield from map(self._extra, after.get(-1, ()))
        for r, cell in enumerate(self.release):
            yield self._known(r, cell)
            yield from map(self._extra, after.get(r, ()))

    def _known(self, r: int, cell: NotebookNode) -> NotebookNode:
        """A cell of the release, with what the student put into it."""
        made, own = from_dict(dict(cell)), self.match.at(r)
        if own is None or (grade_id(cell) and not is_answer(cell) and cell.cell_type != "code"):
            return made
        theirs = not grade_id(cell) or is_answer(cell)
        text = "\n\n".join(
            [own.text, *(self.match.written[s].text for s in self.joined.get(r, ()))]
        )
        if theirs and not same_text(text, cell.source):
            self._fill(made, text, own)
        if cell.cell_type == "code":
            checked = cell.metadata.get("nbgrader", {}).get("grade") and not is_answer(cell)
            self._run(made, None if checked else own)
        return made

    def _extra(self, s: int) -> NotebookNode:
        """A cell that is not in the release."""
        own = self.match.written[s]
        kind = "code" if own.kind == "code" else "markdown"
        text = as_code(own.text) if own.kind == "raw" else own.text
        made = NotebookNode(id=self._new_id(own.id), cell_type=kind, metadata=NotebookNode())
        self._fill(made, text, own)
        if kind == "code":
            self._run(made, own)
        return made

    def _fill(self, made: NotebookNode, text: str, own: SubmittedCell) -> None:
        made.source = text
        if made.cell_type == "markdown":
            attached = self.images.attachments(own.raw.get("attachments"))
            made.pop("attachments", None)
            if attached:
                made.attachments = from_dict(attached)
            self.markdown_left -= len(text)
            text = text if self.markdown_left >= 0 else as_code(text[:MOST_CODE])
            made.source = safe_markdown(text, attached)
        elif len(text) > MOST_CODE:
            made.source = f"{text[:MOST_CODE]}\n# cut: {len(text) - MOST_CODE} characters more"

    def _run(self, made: NotebookNode, own: SubmittedCell | None) -> None:
        """The outputs of a code cell: the student's, if they may stay."""
        kept = own is not None and own.kind == "code"
        count = own.raw.get("execution_count") if kept else None
        made.execution_count = count if type(count) is int and 0 <= count < 10**6 else None
        made.outputs = kept_outputs(own.raw.get("outputs"), self.images) if kept else []

    def _new_id(self, wanted: str) -> str:
        fits = 1 <= len(wanted) <= 64 and wanted.isascii()
        fits = fits and wanted.replace("-", "").replace("_", "").isalnum()
        number = len(self.ids)
        while not fits or wanted in self.ids:
            wanted, fits = f"extra-{number}", True
            number += 1
        self.ids.add(wanted)
        return wanted


def _count(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"
