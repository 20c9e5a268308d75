"""A chapter as it is graded: release, submissions, settings, the jobs for workers."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from cs231n_gen.checking.fresh_modules import files_of
from cs231n_gen.common.files import files_in, fingerprint
from cs231n_gen.common.paths import HIDDEN, MISTAKES, PACKAGE, PUBLIC, ROOT
from cs231n_gen.grading import record
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.record import ExerciseGrade, Grading
from cs231n_gen.grading.run import marking
from cs231n_gen.grading.run.examiner import ExerciseResult, single_result
from cs231n_gen.grading.run.task import CannotRead, SubmittedCode

KEPT = ("manifest.json", "timestamp.txt")


class GradeError(ValueError):
    """Nothing can be graded; one line for the person at the terminal."""


@dataclass(frozen=True)
class Submission:
    """A submission on disk.

    files: what is read of it, by name.
    problem: why its modules cannot be read, or "".
    """

    student: str
    folder: Path
    files: dict[str, bytes]
    code: SubmittedCode
    problem: str = ""


@dataclass(frozen=True)
class Job:
    """One submission's work, plain enough for another machine.

    files: texts by name; problem: why they cannot be read, or "".
    """

    files: dict[str, str]
    problem: str
    exercises: tuple[str, ...]
    seed: int
    limits: Limits
    unsafe: bool

    def run(self, grade: Callable[..., dict[str, ExerciseResult]]) -> dict[str, ExerciseResult]:
        """Grade.

        Args:
            grade: takes the submission and its exercises, and `seed`, `limits`, `unsafe`.
        """
        if self.problem:
            return {e: single_result(e, self.problem) for e in self.exercises}
        options = {"seed": self.seed, "limits": self.limits, "unsafe": self.unsafe}
        return grade(SubmittedCode(self.files), self.exercises, **options)


class Assignment:
    """What grading a chapter needs of the course: the release, the folders, the settings.

    Args:
        root: the course's folder.
        chapter: its name.
        seed: of all random inputs.
        limits: of each exercise.
        unsafe: whether student code runs outside the jail.
    Raises:
        GradeError: if the chapter is not released.
    """

    def __init__(self, root: Path, chapter: str, seed: int, limits: Limits, unsafe: bool):
        self.root, self.chapter = root, chapter
        self.seed, self.limits, self.unsafe = seed, limits, unsafe
        path = root / "build" / "release" / chapter / f"{chapter}.ipynb"
        try:
            self._released = path.read_bytes()
        except FileNotFoundError:
            raise GradeError(f"{chapter} is not released: run `cs231n-gen release` first") from None
        self.settings = {"seed": seed, "unsafe": unsafe}
        self.release = nbformat.reads(self._released.decode("utf-8"), as_version=4)
        self.exercises = tuple(marking.graded_cells(self.release))
        self.autograded = root / "autograded"

    def students(self) -> list[str]:
        """Who handed in something for this chapter."""
        folders = sorted((self.root / "submitted").glob(f"*/{self.chapter}"))
        return [f.parent.name for f in folders if f.is_dir() and f.parent.name[0] != "."]

    def submission(self, student: str) -> Submission:
        """Read a submission."""
        folder = self.root / "submitted" / student / self.chapter
        files = {}
        names = [f"{self.chapter}.ipynb", *KEPT]
        names += files_of(self.exercises)
        for name in names:
            path = folder / name
            if path.is_file() and not path.is_symlink():
                files[name] = path.read_bytes()
        try:
            code, problem = SubmittedCode.read(folder, self.exercises), ""
        except CannotRead as error:
            code, problem = SubmittedCode({}), str(error)
        return Submission(student, folder, files, code, problem)

    def fingerprint(self, submission: Submission) -> str:
        """The hash of all that this submission's scores depend on."""
        return _inputs_fingerprint(
            submission.files, self.seed, self.limits, self.unsafe, self._released
        )

    def done(self, submission: Submission) -> Grading | None:
        """The record of an earlier grading, if it would come out the same now."""
        known = record.read(self.autograded / submission.student / self.chapter)
        return known if known and known.fingerprint == self.fingerprint(submission) else None

    def job(self, submission: Submission, exercises: Sequence[str] | None = None) -> Job:
        """The work on a submission: these exercises, or all."""
        wanted = self.exercises if exercises is None else tuple(exercises)
        files = submission.code.files
        return Job(files, submission.problem, wanted, self.seed, self.limits, self.unsafe)

    def grading(
        self,
        submission: Submission,
        marked: tuple[ExerciseGrade, ...],
        repairs: tuple[str, ...],
        seconds: float,
    ) -> Grading:
        """The record of a graded submission."""
        return Grading(
            submission.student,
            self.chapter,
            self.seed,
            marked,
            repairs,
            self.unsafe,
            self.fingerprint(submission),
            round(seconds, 3),
        )


def _inputs_fingerprint(
    files: Mapping[str, bytes], seed: int, limits: Limits, unsafe: bool, release: bytes
) -> str:
    """One hash of everything that scores depend on."""
    digest = hashlib.sha256(_grader_fingerprint().encode())
    settings = {"seed": seed, "limits": limits.to_json(), "unsafe": unsafe}
    digest.update(json.dumps(settings, sort_keys=True).encode())
    digest.update(hashlib.sha256(release).digest())
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


@functools.cache
def _grader_fingerprint() -> str:
    """The hash of the tests, the reference and the grader itself."""
    folders = (PACKAGE, HIDDEN, PUBLIC, MISTAKES)
    return fingerprint([f for folder in folders for f in files_in(folder)], ROOT)
