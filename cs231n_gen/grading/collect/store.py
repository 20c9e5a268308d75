"""`submitted/`: whole submissions are put in place by renaming, and a kill never loses one.

What is being put there lies in `submitted/.collecting`: new ones until they are chosen, and the one
that is replaced, under its own name in `old/`, until the newer one has its place.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from cs231n_gen.common.files import replace_folder
from cs231n_gen.grading.collect.untrusted_files import Unsafe, file_at, folder_files, name_key

WORK, LOCK = ".collecting", ".collecting.lock"
STAMP = "timestamp.txt"
LARGEST = 32_000_000  # bytes that are compared; every file of a submission has fewer


class Busy(OSError):
    """Another process is writing here."""


class Store:
    """The folder `submitted` of a course, for one process at a time."""

    def __init__(self, root: Path):
        self.folder = root / "submitted"
        self.work = self.folder / WORK
        self.count = 0

    @classmethod
    @contextlib.contextmanager
    def opened(cls, root: Path) -> Iterator[Self]:
        """The store, once what a killed process left is repaired.

        Raises:
            Busy: if another process has it.
        """
        store = cls(root)
        store.folder.mkdir(exist_ok=True)
        try:
            held = FileLock(store.folder / LOCK, timeout=0).acquire()
        except Timeout:
            raise Busy("another `collect` is writing to submitted/") from None
        with held:
            store._recover()
            try:
                yield store
            finally:
                store._recover()

    def students(self) -> dict[str, str]:
        """The names of the folders there, by what they have in common with other spellings."""
        names = [p.name for p in sorted(self.folder.iterdir()) if not p.name.startswith(".")]
        return {name_key(n): n for n in names}

    def stage(self, contents: Mapping[str, bytes], when: datetime) -> Path:
        """Write a submission aside, with nbgrader's timestamp."""
        self.count += 1
        folder = self.work / "new" / str(self.count)
        stamp = f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
        for name, data in {**contents, STAMP: stamp.encode()}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder

    def current(self, student: str, chapter: str) -> tuple[dict[str, bytes], datetime] | None:
        """What is in place: its files without the timestamp, and its time.

        Raises:
            Unsafe: if something else is in its place.
        """
        for folder in (self.folder / student, self.folder / student / chapter):
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise Unsafe(f"submitted/{folder.relative_to(self.folder)} is not a folder")
        if not folder.exists():
            return None
        return self.files(folder), self.time(folder)

    @staticmethod
    def files(folder: Path) -> dict[str, bytes]:
        """The files of a submission, without its timestamp."""
        found = [f for f in folder_files(folder) if f.path != (STAMP,)]
        return {f.name: f.read(LARGEST) if f.size else b"" for f in found}

    @staticmethod
    def time(folder: Path) -> datetime:
        """Its timestamp; if it has none, when the folder was written."""
        with contextlib.suppress(OSError, ValueError):
            text = file_at(folder / STAMP, (STAMP,)).read(100).decode().strip()
            when = datetime.fromisoformat(text.removesuffix(" UTC"))
            return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC)

    def put(self, staged: Path, student: str, chapter: str) -> None:
        """Put a staged submission in place of the one that is there, if there is one."""
        target, old = self.folder / student / chapter, self.work / "old" / student / chapter
        replace_folder(staged, target, old)
        shutil.rmtree(self.work / "old", ignore_errors=True)

    def _recover(self) -> None:
        """Give back what was taken from its place, and delete what never got one."""
        for old in sorted((self.work / "old").glob("*/*")):
            target = self.folder / old.relative_to(self.work / "old")
            if not target.exists():
                target.parent.mkdir(exist_ok=True)
                os.rename(old, target)
        if self.work.exists():
            shutil.rmtree(self.work)
