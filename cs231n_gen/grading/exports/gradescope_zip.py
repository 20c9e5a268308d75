"""The autograder that Gradescope runs for one chapter, as the zip it asks for."""

from pathlib import Path

from cs231n_gen.checking.fresh_modules import file_of
from cs231n_gen.common.chapters import find_chapter
from cs231n_gen.common.files import files_in, write_zip
from cs231n_gen.grading.source.tree import Chapter, chapters, exercises, imports

TEMPLATES = Path(__file__).parent / "templates" / "gradescope"
SCRIPTS = ["setup.sh", "run_autograder"]  # Gradescope looks for them at the top of the zip
CONTENTS = [
    "cs231n_gen",
    "tests/hidden",
    "tests/public",
    "tests/mistakes",
    "constraints.txt",
    "pyproject.toml",
    "nbgrader_config.py",
]
READS_DATA = {"data", "judge"}  # modules of the package that open files of data/


def build(root: Path, chapter: str, to: Path | None = None) -> Path:
    """Pack the autograder of a chapter. The same source gives the same bytes.

    Args:
        root: the source tree.
        chapter: its number or name.
        to: the zip, `build/gradescope-04_rectified_flow.zip` by default.
    Raises:
        UnknownChapter: a ValueError, if there is no such chapter.
    """
    known = {c.name: c for c in chapters(root)}
    wanted = known[find_chapter(chapter, known)]
    to = root / "build" / f"gradescope-{wanted.name}.zip" if to is None else Path(to)
    contents = {name: path.read_bytes() for name, path in _files(root, wanted).items()}
    readme = (TEMPLATES / "README.md").read_text(encoding="utf-8")
    contents["README.md"] = readme.replace("{chapter}", wanted.name).encode()
    for name in SCRIPTS:
        # bash stumbles over the line endings of a Windows checkout
        contents[name] = (TEMPLATES / name).read_bytes().replace(b"\r\n", b"\n")
    return write_zip(to, sorted(contents.items()), runnable=SCRIPTS)


def _files(root: Path, chapter: Chapter) -> dict[str, Path]:
    """What is packed, by its name in the zip."""
    places = [*CONTENTS, f"notebooks/{chapter.name}"]
    if _reads_data(root, chapter):
        places.append("data")
    found = []
    for place in places:
        path = root / place
        found += files_in(path) if path.is_dir() else [path]
    return {p.relative_to(root).as_posix(): p for p in found}


def _reads_data(root: Path, chapter: Chapter) -> bool:
    """Whether the hidden tests of a chapter, or its modules, import what reads data/."""
    graded = {c.grade_id for c in chapter.graded}
    modules = {e.module for e in exercises(root) if e.grade_id in graded}
    names = [f"tests/hidden/test_{m}.py" for m in modules]
    names += map(file_of, modules)
    return any(_imports(root / n) & READS_DATA for n in names if (root / n).is_file())


def _imports(path: Path) -> set[str]:
    """The modules of the package that a file imports: `data` of `cs231n_gen.given.data`."""
    own = [n for n in imports(path) if n.startswith("cs231n_gen.")]
    return {part for n in own for part in n.split(".")[1:3]}
