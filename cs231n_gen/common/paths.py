"""Where this copy of the course is, whether it is an instructor's or a student's, and its rooms."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cs231n_gen"
PUBLIC, HIDDEN, MISTAKES = (ROOT / "tests" / name for name in ("public", "hidden", "mistakes"))

# Rooms, as the folders of the package are called. Exercises are at its root and in `kernels`, their
# answers may use `given`, and `truth` and `experiments` hold answers; the others are machinery.
ANSWERS = ("truth", "experiments")
INSTRUCTORS = ("grading", "site")  # not released
UNUSED_BY_EXERCISES = (*INSTRUCTORS, "cli", "viz", "train")  # no exercise runs them
WATCHING = ("instruments", "triton_compat")  # watch what a kernel does
MACHINERY = (*UNUSED_BY_EXERCISES, *WATCHING, "checking", "common")


def room_of(path: Path, package: Path = PACKAGE) -> str:
    """The room that a file of the package is in; a file at its root is one of its own."""
    return path.relative_to(package).parts[0]


def is_source() -> bool:
    """Whether this is an instructor's source, with the parts that students do not get.

    It looks at the files: an import of `cs231n_gen.grading` would also find the source's when the
    source is installed and a built course is used.
    """
    return (PACKAGE / "grading").is_dir()
