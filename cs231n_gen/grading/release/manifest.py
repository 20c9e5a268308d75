"""The built course: its manifest `.course.json`, what was edited since, and its zip."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

MANIFEST = ".course.json"
# What using a course leaves behind, and nobody misses.
LEFTOVERS = {
    "__pycache__",
    ".ipynb_checkpoints",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    ".DS_Store",
    ".virtual_documents",
}
LEFT_SUFFIXES = (".pyc", ".egg-info")
FIRST_DAY = (
    1980,
    1,
    1,
    0,
    0,
    0,
)  # the same time for every file, so that the zip depends on them alone


def files_in(folder: Path) -> list[Path]:
    """All files below a folder, sorted, without leftovers and a running kernel's sockets."""
    found = []
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not _left_over(f))
        found += [Path(path) / f for f in sorted(files) if not _left_over(f)]
    return [p for p in found if p.is_file()]


def fingerprint(files: Iterable[Path], root: Path) -> str:
    """One hash for the names and contents of files."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(root).as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """The hash of one file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_manifest(course: Path, facts: dict) -> None:
    """Note what the course is, and the hash of every file in it."""
    files = {p.relative_to(course).as_posix(): sha256(p) for p in files_in(course)}
    text = json.dumps({**facts, "files": files}, ensure_ascii=False, indent=1)
    (course / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(course: Path) -> dict | None:
    """The manifest of a built course, or None if there is none that can be read."""
    try:
        return json.loads((course / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def edited(course: Path) -> bool:
    """Whether someone added, changed or removed a file since the course was built."""
    manifest = read_manifest(course)
    if manifest is None:
        return True
    found = {p.relative_to(course).as_posix(): p for p in files_in(course)}
    found.pop(MANIFEST)
    built = manifest["files"]
    return found.keys() != built.keys() or any(sha256(p) != built[n] for n, p in found.items())


def put_aside(course: Path) -> Path:
    """Move an edited course to the first free of `course.1`, `course.2`, …"""
    n = 1
    while (aside := course.with_name(f"{course.name}.{n}")).exists():
        n += 1
    course.rename(aside)
    return aside


def write_zip(course: Path, path: Path) -> None:
    """Pack a course into a zip that is the same, byte for byte, whenever the files are."""
    draft = path.with_name(path.name + ".part")
    with zipfile.ZipFile(draft, "w") as archive:
        for file in files_in(course):
            name = zipfile.ZipInfo(
                f"{course.name}/{file.relative_to(course).as_posix()}", FIRST_DAY
            )
            name.external_attr = 0o644 << 16
            name.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(name, file.read_bytes())
    os.replace(draft, path)


def _left_over(name: str) -> bool:
    return name in LEFTOVERS or name.endswith(LEFT_SUFFIXES)
