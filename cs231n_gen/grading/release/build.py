"""From the source to what students get: `build/course/` and `build/course.zip`.

Solutions are cut out of modules and notebooks, and the instructor's parts stay behind. `only`
assigns some chapters; the exercises of the others are shipped solved.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from cs231n_gen.common.chapters import find_chapters
from cs231n_gen.common.files import files_in, fingerprint, replace_folder
from cs231n_gen.common.paths import INSTRUCTORS, ROOT
from cs231n_gen.grading.config import CONFIG
from cs231n_gen.grading.release import manifest
from cs231n_gen.grading.release.nbgrader_assign import ReleaseError, assign
from cs231n_gen.grading.source.lint import BadSource, problems
from cs231n_gen.grading.source.markers import make_gaps
from cs231n_gen.grading.source.tree import Chapter, Exercise, chapters, exercises

FORMAT = 1
DIAGNOSES = "tests/public/diagnoses.json"
SHIPPED = [
    "pyproject.toml",
    "constraints.txt",
    "environment.yml",
    "Makefile",
    "LICENSE",
    "cs231n_gen",
    "data",
    "notebooks",
    "tests/public",
]
KEPT_BACK = [*(f"cs231n_gen/{room}" for room in INSTRUCTORS), "cs231n_gen/cli/instructor.py"]
# What else the course is made from: a change of it means a new course.
READ = [CONFIG, "cs231n_gen/grading", "tests/mistakes"]
TEMPLATES = Path(__file__).parent / "templates"


def release(
    only: Sequence[str] | None = None,
    output: Path | None = None,
    *,
    root: Path = ROOT,
    diagnoses: bool = True,
) -> Path:
    """Build the course for students.

    Args:
        only: numbers or names of the chapters to assign, all if None.
        output: the folder to build, `build/course` by default; its zip is put beside it.
        root: the source tree.
        diagnoses: whether checks will know mistakes by their names; to observe those of kernels
            takes minutes. A course without them (`complete` adds them) has no zip, for nobody is to
            get it.
    Returns:
        The folder. One that was edited since it was built is first moved to `course.1`, ….
    Raises:
        BadSource: if the source has problems.
        UnknownChapter: a ValueError, if there is no such chapter.
        ReleaseError: if nbgrader refuses a chapter.
    """
    output = root / "build" / "course" if output is None else Path(output)
    assigned = chosen(only, root)
    if wrong := problems(root):
        raise BadSource(wrong)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".building-") as folder:
        course = Path(folder) / output.name
        _copy(course, root)
        _cut_modules(course, root, assigned)
        _write_notebooks(course, root, assigned)
        if diagnoses:
            _write_diagnoses(course, root, assigned)
        else:
            (course / DIAGNOSES).write_text("[]", encoding="utf-8")
        shutil.copy(TEMPLATES / "README.md", course / "README.md")
        manifest.write_manifest(course, _facts(root, assigned) | {"diagnosed": diagnoses})
        archive = output.with_name(output.name + ".zip")
        if diagnoses:
            manifest.pack(course, archive)
        _put_in_place(course, output, Path(folder) / "old")
        if not diagnoses and archive.exists():
            archive.unlink()
            print(f"removed {archive.name}, which held an earlier course: `make release` makes it")
    return output


def build_if_changed() -> Path:
    """The built course, built again (same chapters assigned) if the source changed since.

    It may lack diagnoses, which `complete` adds.
    """
    course = ROOT / "build" / "course"
    facts = manifest.read_manifest(course)
    if facts is None:
        return release(diagnoses=False)
    if facts["source"] == source_fingerprint(ROOT):
        return course
    known = {c.name for c in chapters()}
    only = [n for n, c in facts["chapters"].items() if c["assigned"] and n in known]
    every = all(c["assigned"] for c in facts["chapters"].values())
    return release(None if every else only, diagnoses=False)


def chosen(only: Sequence[str] | None, root: Path = ROOT) -> list[Chapter]:
    """The chapters of these numbers or names, all if None.

    Raises:
        UnknownChapter: if there is no such chapter.
    """
    known = {c.name: c for c in chapters(root)}
    return [known[n] for n in (known if only is None else find_chapters(only, list(known)))]


def _copy(course: Path, root: Path) -> None:
    """Everything that students get, as it is in the source."""
    for path in _files(SHIPPED, root):
        name = path.relative_to(root)
        if not any(name.is_relative_to(k) for k in KEPT_BACK):
            (course / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, course / name)


def _cut_modules(course: Path, root: Path, assigned: list[Chapter]) -> None:
    """Cut out the solutions of the assigned exercises, and the markers of the others."""
    graded = {c.grade_id for chapter in assigned for c in chapter.graded}
    known = [e for e in exercises(root) if not e.in_cell]
    for file in {e.file for e in known}:
        own = [e for e in known if e.file == file and e.grade_id in graded]
        text = make_gaps(file.read_text(encoding="utf-8"), [g for e in own for g in e.gaps])
        (course / file.relative_to(root)).write_text(text, encoding="utf-8")


def _write_notebooks(course: Path, root: Path, assigned: list[Chapter]) -> None:
    """Assigned chapters as nbgrader makes them, the others solved and without grades."""
    released = assign([c.name for c in assigned], root)
    for chapter in chapters(root):
        target = course / chapter.file.relative_to(root)
        if chapter in assigned:
            shutil.copyfile(released / chapter.name / target.name, target)
            continue
        notebook = json.loads(target.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["metadata"].pop("nbgrader", None)
            cell["source"] = make_gaps("".join(cell["source"]), []).splitlines(keepends=True)
        text = json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
        target.write_text(text, encoding="utf-8")


def _write_diagnoses(course: Path, root: Path, assigned: list[Chapter]) -> None:
    """What known mistakes return in public tests, observed in a process that runs this source."""
    code = (
        "import sys, pathlib; from cs231n_gen.checking.diagnosis import write; "
        "write(pathlib.Path(sys.argv[1]), sys.argv[2:])"
    )
    file = course / DIAGNOSES
    graded = {cell.grade_id for chapter in assigned for cell in chapter.cells}
    asked = [e.id for e in exercises(root) if e.grade_id in graded]
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), *asked],
        cwd=root,
        env={
            **os.environ,
            "PYTHONPATH": str(root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TRITON_INTERPRET": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"tests/mistakes cannot be run: {done.stderr.strip().splitlines()[-1]}")


def _put_in_place(course: Path, output: Path, old: Path) -> None:
    if output.exists() and manifest.edited(output):
        aside = manifest.put_aside(output)
        print(f"{output.name} was edited since it was built: it is kept as {aside}")
    replace_folder(course, output, old)


def _facts(root: Path, assigned: list[Chapter]) -> dict:
    """What the course says about itself: its version, chapters, exercises and points."""
    by_grade_id = {e.grade_id: e for e in exercises(root)}
    source = source_fingerprint(root)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "format": FORMAT,
        "version": f"{project['version']}+{source[:12]}",
        "source": source,
        "chapters": {
            c.name: {"assigned": c in assigned, **_contents(c, by_grade_id)} for c in chapters(root)
        },
    }


def _contents(chapter: Chapter, by_grade_id: dict[str, Exercise]) -> dict:
    own = {c.grade_id: c.points for c in chapter.graded}
    return {
        "exercises": {by_grade_id[g].id: p for g, p in own.items() if g in by_grade_id},
        "questions": {g: p for g, p in own.items() if g not in by_grade_id},
    }


def source_fingerprint(root: Path = ROOT) -> str:
    """One hash for all that the course is made from."""
    return fingerprint(_files([*SHIPPED, *READ], root), root)


def _files(names: list[str], root: Path) -> list[Path]:
    found = []
    for name in names:
        path = root / name
        found += files_in(path) if path.is_dir() else [path]
    return sorted(set(found))
