"""Files made by others, read within limits: none is followed, and no name becomes a path."""

import contextlib
import io
import os
import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from cs231n_gen.common.files import LEFT_SUFFIXES, LEFTOVERS

DEPTH, ENTRIES = 16, 100_000  # of a folder
JUNK = LEFTOVERS | {"__MACOSX", ".git", "Thumbs.db", "desktop.ini"}
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.I)


class Unsafe(ValueError):
    """Something is not read; one sentence that says why."""


@dataclass(frozen=True)
class File:
    """A file of a folder or of a zip.

    Args:
        path: the parts of its name.
        size: in bytes, as declared.
        modified: when, or None where that is not known.
        opener: gives its bytes as a stream.
        problem: why it must not be read, or "".
    """

    path: tuple[str, ...]
    size: int
    modified: datetime | None
    opener: Callable[[], BinaryIO]
    problem: str = ""

    @property
    def name(self) -> str:
        """For people: one line of printable characters."""
        return shown("/".join(self.path))

    def open(self, most: int) -> BinaryIO:
        """A stream of its bytes.

        Raises:
            Unsafe: if it has a problem, has no bytes, or more than `most`.
        """
        if self.problem:
            raise Unsafe(f"{self.name} {self.problem}")
        if not self.size:
            raise Unsafe(f"{self.name} is empty")
        if self.size > most:
            raise Unsafe(f"{self.name} has {self.size} bytes, expected at most {most}")
        try:
            return self.opener()
        except (OSError, ValueError, OverflowError, struct.error, zlib.error) as error:
            said = str(error) if isinstance(error, Unsafe) else f"cannot be read: {error}"
            raise Unsafe(f"{self.name} {said}") from None

    def read(self, most: int) -> bytes:
        """Its bytes; raises Unsafe as `open` does."""
        with self.open(most) as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise Unsafe(f"{self.name} grew while it was read")
        return data


def shown(name: str, most: int = 120) -> str:
    """A name for people: what does not print is a question mark, and long ones are cut."""
    plain = "".join(c if c.isprintable() else "?" for c in name)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def name_key(name: str) -> str:
    """Equal for names that are one file on some system: NFC, and upper case is lower case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def wrong_name(name: str) -> str:
    """Why a relative name, with `/` between its parts, is not safe on some system, or ""."""
    parts = name.split("/")
    if "\\" in name:
        return "has a backslash in its name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute path"
    if ".." in parts:
        return "leads out of its folder with `..`"
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        return "has characters in its name that cannot be shown or decoded"
    if len(os.fsencode(name)) > 1000 or any(len(os.fsencode(p)) > 255 for p in parts):
        return "has a name that is too long"
    if len(parts) > DEPTH:
        return f"lies more than {DEPTH} folders deep"
    if any(not p or p != p.rstrip(". ") or ":" in p or RESERVED.fullmatch(p) for p in parts):
        return "has a name that Windows cannot have"
    return ""


def is_junk(path: Sequence[str]) -> bool:
    """Whether it is what systems and editors leave behind."""
    return any(p in JUNK or p.startswith("._") or p.endswith(LEFT_SUFFIXES) for p in path)


def file_at(path: Path, inside: tuple[str, ...]) -> File:
    """A file on disk. A link, a pipe or a device gets a problem and is never opened."""
    found = path.lstat()
    problem = wrong_name("/".join(inside))
    if stat.S_ISLNK(found.st_mode):
        problem = "is a symbolic link: they are not followed"
    elif not stat.S_ISREG(found.st_mode):
        problem = "is not a regular file"
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return File(inside, found.st_size, modified, lambda: _open(path), problem)


def folder_files(folder: Path) -> list[File]:
    """Every file below a folder, sorted, without junk.

    Raises:
        Unsafe: if it has too many.
    """
    found: list[File] = []
    todo: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]
    while todo:
        place, inside = todo.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda e: e.name)
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
            found.append(File(inside or (folder.name,), 0, None, io.BytesIO, problem))
            continue
        for entry in entries:
            path = (*inside, entry.name)
            if is_junk(path):
                continue
            if entry.is_dir(follow_symlinks=False) and len(path) <= DEPTH:
                todo.append((Path(entry.path), path))
            else:
                with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                    found.append(file_at(Path(entry.path), path))
        if len(found) + len(todo) > ENTRIES:
            raise Unsafe(f"holds more than {ENTRIES} files")
    return sorted(found, key=lambda f: f.path)


def _open(path: Path) -> BinaryIO:
    """Open without following a link and without waiting for a pipe."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unsafe("is not a regular file")
    return os.fdopen(handle, "rb")
