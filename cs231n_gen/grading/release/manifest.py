"""The built course: its manifest `.course.json`, what was edited since, and its zip."""

import json
from pathlib import Path

from cs231n_gen.common.files import files_in, sha256, write_whole, write_zip

MANIFEST = ".course.json"


def write_manifest(course: Path, facts: dict) -> None:
    """Note what the course is, and the hash of every file in it."""
    files = {p.relative_to(course).as_posix(): sha256(p) for p in files_in(course)}
    write_facts(course, {**facts, "files": files})


def write_facts(course: Path, facts: dict) -> None:
    """Write a manifest that says which files there are."""
    text = json.dumps(facts, ensure_ascii=False, indent=1)
    write_whole(course / MANIFEST, text + "\n")


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


def pack(course: Path, path: Path) -> None:
    """Pack a course into a zip, below a folder of its name."""
    names = ((f"{course.name}/{p.relative_to(course).as_posix()}", p) for p in files_in(course))
    write_zip(path, ((name, p.read_bytes()) for name, p in names))
