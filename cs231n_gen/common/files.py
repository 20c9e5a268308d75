"""Files: which ones a folder has, what tells them apart, and how they are written whole."""

import contextlib
import hashlib
import os
import stat
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

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
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


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


@contextlib.contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file to fill, beside `path`, whose folder is made if need be.

    It takes the place of `path` when the block ends, and is removed if the block fails: `path` is
    always there whole, as it was or as it is now. One process at a time writes to a `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.part")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file that is there whole or not at all; text as UTF-8."""
    with draft_of(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_zip(
    path: Path, files: Iterable[tuple[str, bytes]], runnable: Collection[str] = ()
) -> Path:
    """Write a zip, whole or not at all, which is the same, byte for byte, whenever the files are.

    Args:
        path: of the zip.
        files: names and contents, in the order of the zip.
        runnable: the names of those that may be executed.
    """
    with draft_of(path) as draft, zipfile.ZipFile(draft, "w") as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, FIRST_DAY)
            entry.create_system = 3  # Unix: else the permissions are not looked at
            mode = 0o755 if name in runnable else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return path


def replace_folder(draft: Path, target: Path, old: Path) -> None:
    """Put a folder in the place of another, if there is one, which becomes `old`.

    In between there may be neither. If the draft cannot be moved, the other one goes back.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        old.parent.mkdir(parents=True, exist_ok=True)
        os.rename(target, old)
    try:
        os.rename(draft, target)
    except OSError:
        if old.exists():
            os.rename(old, target)
        raise


def _left_over(name: str) -> bool:
    return name in LEFTOVERS or name.endswith(LEFT_SUFFIXES)
