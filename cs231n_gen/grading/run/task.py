"""One exercise of a submission as a task for a child: theirs, with the reference before it.

Follow-through: the student's `loss` is graded with the reference's `interpolate` below it, whatever
the student's own does. One mistake costs once. Exercises that come later in the course stay the
student's own: were they given, `sample` could be answered with the reference's `trajectory`, and
`trajectory` with its `sample`.
"""

import functools
import marshal
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cs231n_gen.checking import answer_cells
from cs231n_gen.checking.fresh_modules import file_of, files_of
from cs231n_gen.grading.notebook import submitted_answers
from cs231n_gen.grading.notebook.submitted_cells import NotANotebook
from cs231n_gen.grading.source.tree import Exercise, in_course_order, text_without

LARGEST = 1 << 20  # bytes of a module


class CannotRead(Exception):
    """A submitted module that cannot be graded; one line for the student."""


class NotSubmitted(CannotRead):
    """The module is not in the submission."""


@dataclass(frozen=True)
class SubmittedCode:
    """What is run of a submission, texts by name: `cs231n_gen/flow.py` and what is in it."""

    files: dict[str, str]

    @classmethod
    def read(cls, folder: Path, exercises: Sequence[str]) -> "SubmittedCode":
        """Read what these exercises are written in; other files are not looked at.

        Args:
            folder: of the submission.
            exercises: their ids.
        Raises:
            CannotRead: if one is too long, not a text, not a notebook, or a link.
        """
        found = {}
        for module in dict.fromkeys(e.rpartition(".")[0] for e in exercises):
            if answer_cells.number_of(module):
                found |= _answers(folder, module)
        for name in files_of(exercises):
            path = folder / name
            if any((folder / p).is_symlink() for p in (name, *list(Path(name).parents)[:-1])):
                raise CannotRead(f"{name} is a link, expected a file")
            if path.is_file():
                found[name] = _text(path, name)
        return cls(found)


def exercise_task(code: SubmittedCode, exercise: Exercise) -> dict:
    """What a child needs to answer for an exercise.

    The reference goes as compiled code, without the graded exercise and all that come later.

    Raises:
        NotSubmitted: if the exercise's module is not in the submission.
    """
    own = text_of(exercise)
    if own not in code.files:
        what = f"the answer cell of {exercise.id}" if exercise.in_cell else own
        raise NotSubmitted(f"{what} is not in the submission")
    every = in_order()
    before = {e.id for e in every[: [e.id for e in every].index(exercise.id)]}
    parts = {}
    for module in dict.fromkeys(e.module for e in every):
        here = [e for e in every if e.module == module]
        given = [e.name for e in here if e.id in before]
        if answer_cells.number_of(module):  # of which each cell stands by itself
            text = code.files[own] if module == exercise.module else None
        else:
            text = code.files.get(file_of(module))
        if len(given) == len(here):
            text = None  # nothing of the student's would be left in it
        if given or text is not None:
            parts[module] = {
                "file": own if module == exercise.module else file_of(module),
                "text": text,
                "code": reference(module, exercise.id) if given else "",
                "given": given,
            }
    if exercise.module.startswith("kernels."):
        missing = {e.module: e for e in every if e.module.startswith("kernels.")}
        for module in missing.keys() - parts.keys():  # which another kernel may import
            text = text_without(module, [e.id for e in every])
            parts[module] = {"file": file_of(module), "text": text, "code": "", "given": []}
    return {"exercise": exercise.id, "files": code.files, "modules": parts}


def text_of(exercise: Exercise) -> str:
    """What an exercise is written in, as it is called among the files of a submission."""
    return (
        submitted_answers.answer_file(exercise.id) if exercise.in_cell else file_of(exercise.module)
    )


@functools.cache
def in_order() -> tuple[Exercise, ...]:
    """The exercises in the course's order."""
    return tuple(in_course_order())


@functools.cache
def reference(module: str, exercise: str) -> str:
    """The code of a module up to, not with, an exercise: compiled, in hexadecimal digits."""
    every = [e.id for e in in_order()]
    text = text_without(module, every[every.index(exercise) :])
    return marshal.dumps(compile(text, "<given>", "exec", optimize=2)).hex()


def _answers(folder: Path, module: str) -> dict[str, str]:
    try:
        found = submitted_answers.find_answers(folder, module)
    except NotANotebook as error:
        raise CannotRead(str(error)) from None
    if long := [name for name, text in found.items() if len(text.encode()) > LARGEST]:
        raise CannotRead(f"{long[0]} has more than {LARGEST} bytes")
    return found


def _text(path: Path, name: str) -> str:
    facts = path.stat(follow_symlinks=False)
    if not stat.S_ISREG(facts.st_mode):
        raise CannotRead(f"{name} is not a regular file")
    if facts.st_size > LARGEST:
        raise CannotRead(f"{name} has {facts.st_size} bytes, expected at most {LARGEST}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CannotRead(f"{name} is not text in UTF-8") from None
