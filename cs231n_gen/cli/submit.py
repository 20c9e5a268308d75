"""Pack a chapter to hand it in: the notebook, the modules of its exercises, and a manifest."""

import hashlib
import json
import platform
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from cs231n_gen.checking.fresh_modules import files_of
from cs231n_gen.common.chapters import find_chapter
from cs231n_gen.common.files import draft_of
from cs231n_gen.common.paths import ROOT

COURSE = ".course.json"  # what the release says of itself
FORMAT = 1
UNANSWERED = "YOUR ANSWER HERE"


class SubmitError(ValueError):
    """Why nothing can be handed in, in one line."""


def submit(chapter: str, root: Path = ROOT) -> Path:
    """Run a chapter's public checks and pack it.

    Checks that fail are reported; the chapter is packed all the same.

    Args:
        chapter: its number or name, `04` or `04_rectified_flow`.
        root: the course's folder.
    Returns:
        `submissions/04_rectified_flow.zip`, which replaces an earlier one.
    Raises:
        UnknownChapter: a ValueError, if no such chapter is assigned.
        SubmitError: if a file of it is missing or cannot be read.
    """
    course = _course(root)
    assigned = [n for n, c in course["chapters"].items() if c["assigned"]]
    name = find_chapter(chapter, assigned, "assigned chapter")
    contents = course["chapters"][name]
    files = _files(name, contents, root)
    unanswered = _unanswered(files[f"{name}.ipynb"], contents)
    checks = _check(contents["exercises"])
    manifest = {
        "format": FORMAT,
        "chapter": name,
        "course": course["version"],
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "checks": checks,
        "files": {n: hashlib.sha256(text).hexdigest() for n, text in files.items()},
    }
    files["manifest.json"] = json.dumps(manifest, indent=1).encode()
    archive = root / "submissions" / f"{name}.zip"
    _write(archive, files)
    held = sum(checks.values())
    print(f"{held} of {len(checks)} exercises pass the public checks")
    for question in unanswered:
        print(f"not answered yet: the question {question}")
    print(f"hand in {archive.relative_to(root)}")
    return archive


def _course(root: Path) -> dict:
    try:
        return json.loads((root / COURSE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SubmitError(
            "this is not the students' course, so there is nothing to hand in: "
            "`cs231n-gen release` builds one in build/course"
        ) from None


def _files(name: str, contents: dict, root: Path) -> dict[str, bytes]:
    """What is handed in, by its name in the archive."""
    paths = {f"{name}.ipynb": root / "notebooks" / name / f"{name}.ipynb"}
    paths |= {file: root / file for file in files_of(contents["exercises"])}
    for path in paths.values():
        if not path.is_file():
            raise SubmitError(
                f"{path.relative_to(root)} is missing: it belongs to what you hand in"
            )
    return {name: path.read_bytes() for name, path in paths.items()}


def _unanswered(notebook: bytes, contents: dict) -> list[str]:
    """The questions whose cells still hold the placeholder."""
    try:
        cells = json.loads(notebook)["cells"]
        texts = {
            c["metadata"].get("nbgrader", {}).get("grade_id"): "".join(c["source"]) for c in cells
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SubmitError(
            "the notebook cannot be read: open it in JupyterLab, save it, and try again"
        ) from None
    return [q for q in contents["questions"] if UNANSWERED in texts.get(q, UNANSWERED)]


def _check(exercises: dict) -> dict[str, bool]:
    from cs231n_gen.checking.public_check import run_check
    from cs231n_gen.checking.report import MARK, CheckFailed

    found = {}
    for exercise in exercises:
        try:
            report = run_check(exercise)
        except CheckFailed as error:
            found[exercise] = False
            print(f"{MARK['missing']} {error}", flush=True)
            continue
        found[exercise] = report.passed
        print(f"{MARK['passed' if report.passed else 'failed']} {report.headline}", flush=True)
    return found


def _write(archive: Path, files: dict[str, bytes]) -> None:
    with draft_of(archive) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
