"""Where this copy of the course is, and whether it is an instructor's or a student's."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def is_source() -> bool:
    """Whether this is an instructor's source, with the parts that students do not get.

    It looks at the files: an import of `cs231n_gen.grading` would also find the source's when the
    source is installed and a built course is used.
    """
    return (ROOT / "cs231n_gen" / "grading").is_dir()
