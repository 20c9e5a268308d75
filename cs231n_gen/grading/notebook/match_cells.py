"""Which cell of a submitted notebook is which cell of the release.

By its grade_id; where an editor dropped that, by the id of the cell; then by its text; then by its
place between cells that are known.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from nbformat.notebooknode import NotebookNode

from cs231n_gen.grading.notebook.submitted_cells import SubmittedCell


def grade_id(cell: NotebookNode) -> str:
    """The name of a released cell in the gradebook, or ""."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def is_answer(cell: NotebookNode) -> bool:
    """Whether a student writes in a released cell."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def same_text(a: str, b: str) -> bool:
    """Whether two texts differ in nothing but space at their end."""
    return a.rstrip() == b.rstrip()


def begins_alike(a: str, b: str) -> bool:
    """Whether the first lines that say something are the same, or one goes on after the other."""
    first = [next((line.strip() for line in t.split("\n") if line.strip()), "") for t in (a, b)]
    short, long = sorted(first, key=len)
    return short == long != "" or (len(short) >= 8 and long.startswith(short))


class Matching:
    """`found[r]` is the submitted cell for cell `r` of the release; `free` are all others.

    Of several copies of an answer the first that was edited counts; of another cell the first
    that is still as released.
    """

    def __init__(self, written: Sequence[SubmittedCell], release: Sequence[NotebookNode]) -> None:
        self.written = written
        self.release = release
        self.known = {grade_id(cell) for cell in release} - {""}
        self.found: dict[int, int] = {}
        self.free = set(range(len(written)))
        self._by_name([w.grade_id for w in written], [grade_id(c) for c in release])
        self._by_name([w.id for w in written], [c.get("id", "") for c in release])
        self._by_text()
        for r in self._unmatched():
            self._by_place(r)

    def at(self, r: int) -> SubmittedCell | None:
        """The submitted cell for a cell of the release."""
        return self.written[self.found[r]] if r in self.found else None

    def copies(self, r: int) -> list[int]:
        """Where else a cell says that it is this graded one."""
        name = grade_id(self.release[r])
        return [s for s in sorted(self.free) if name and self.written[s].grade_id == name]

    def _unmatched(self) -> list[int]:
        return [r for r in range(len(self.release)) if r not in self.found]

    def _take(self, r: int, s: int) -> None:
        self.found[r] = s
        self.free.discard(s)

    def _by_name(self, theirs: list[str], ours: list[str]) -> None:
        places: dict[str, list[int]] = {}
        for s, name in enumerate(theirs):
            places.setdefault(name, []).append(s)
        for r in self._unmatched():
            copies = [s for s in places.get(ours[r], ()) if ours[r] and s in self.free]
            edited = is_answer(self.release[r])
            source = self.release[r].source
            wanted = [s for s in copies if same_text(self.written[s].text, source) != edited]
            if copies:
                self._take(r, (wanted or copies)[0])

    def _by_text(self) -> None:
        """What stands once in the release, and was not changed."""
        texts = Counter(cell.source.rstrip() for cell in self.release)
        places: dict[str, list[int]] = {}
        for s in sorted(self.free):
            places.setdefault(self.written[s].text.rstrip(), []).append(s)
        for r in self._unmatched():
            text = self.release[r].source.rstrip()
            if text and texts[text] == 1 and text in places:
                self._take(r, places[text][0])

    def _by_place(self, r: int) -> None:
        cell, around = self.release[r], list(dict.fromkeys(self._around(r)))
        around = [s for s in around if self.written[s].grade_id not in self.known]
        exact = [s for s in around if cell.source and same_text(self.written[s].text, cell.source)]
        alike = [s for s in around if begins_alike(self.written[s].text, cell.source)]
        locked = grade_id(cell) and not is_answer(cell)
        fits = exact or ([] if locked else alike)
        if not fits and is_answer(cell) and self._is_only_answer_missing_here(r):
            own = [s for s in around if self.written[s].kind == cell.cell_type]
            fits = own if len(own) == 1 else []  # a new text just where the answer was
        if fits:
            self._take(r, fits[0])

    def _around(self, r: int) -> Iterator[int]:
        """The free cells between the known ones before and after the place of a missing cell."""
        before = next((self.found[k] for k in range(r - 1, -1, -1) if k in self.found), -1)
        after = (self.found[k] for k in range(r + 1, len(self.release)) if k in self.found)
        end = next(after, len(self.written))
        yield from itertools.takewhile(self.free.__contains__, range(before + 1, len(self.written)))
        run = itertools.takewhile(self.free.__contains__, range(end - 1, -1, -1))
        yield from reversed(list(run))

    def _is_only_answer_missing_here(self, r: int) -> bool:
        def missing(step: int) -> Iterator[int]:
            return itertools.takewhile(
                lambda k: 0 <= k < len(self.release) and k not in self.found,
                itertools.count(r + step, step),
            )

        return not any(is_answer(self.release[k]) for step in (-1, 1) for k in missing(step))
