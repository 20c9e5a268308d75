"""What belongs to a submission, selected from the files that somebody handed in."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cs231n_gen.checking.fresh_modules import files_of
from cs231n_gen.grading.collect.check_contents import check_module, check_notebook, short_integer
from cs231n_gen.grading.collect.identify import NUMBERED
from cs231n_gen.grading.collect.untrusted_files import File, Unsafe, shown
from cs231n_gen.grading.source.tree import chapters, exercises

MB = 1_000_000
NOTEBOOK, MODULE, MANIFEST = 20 * MB, MB, MB // 4  # bytes
NAMED = 5  # files that are left out and named


@dataclass(frozen=True)
class Selection:
    """The files of a candidate that belong to one chapter.

    Args:
        contents: its files, by their names in `submitted/student01/04_rectified_flow`.
        used: where they came from.
        number: the LMS's count of attempts, 0 for the first.
        stamped: when it was handed in, as its own manifest or `timestamp.txt` says; or None.
        stamp: which of the two.
        notes: a sentence each.
    """

    contents: Mapping[str, bytes]
    used: tuple[File, ...]
    number: int
    stamped: datetime | None
    stamp: str
    notes: tuple[str, ...]


CandidateFile = tuple[
    tuple[str, ...], File
]  # a file and its path inside what one student handed in


def modules_by_chapter(root: Path) -> dict[str, list[str]]:
    """The files of a chapter's exercises, `cs231n_gen/flow.py`, for every chapter of a course."""
    ids = {e.grade_id: e.id for e in exercises(root)}
    return {
        c.name: sorted(files_of(ids[g.grade_id] for g in c.graded if g.grade_id in ids))
        for c in chapters(root)
    }


def find_notebooks(
    files: Sequence[CandidateFile], names: Sequence[str]
) -> dict[str, list[CandidateFile]]:
    """The notebooks of chapters by chapter; the one to take comes first.

    That is the one in the fewest folders, and of several attempts the last.
    """
    found: dict[str, list[tuple[int, CandidateFile]]] = {}
    for path, file in files:
        for chapter in names:
            if (number := _attempt(path[-1], f"{chapter}.ipynb")) is not None:
                found.setdefault(chapter, []).append((number, (path, file)))
    for own in found.values():
        own.sort(key=lambda n: (len(n[1][0]), -n[0], n[1][0]))
    return {chapter: [placed for _, placed in own] for chapter, own in found.items()}


def select(
    chapter: str, modules: Sequence[str], files: Sequence[CandidateFile], now: datetime
) -> Selection:
    """The submission of a chapter: its notebook, the modules of its exercises, its manifest.

    Args:
        chapter: its name.
        modules: `cs231n_gen/flow.py`, ….
        files: what one student handed in.
        now: a manifest cannot have been made later.
    Raises:
        Unsafe: if a file of it must not be taken.
    """
    notebooks = find_notebooks(files, [chapter])[chapter]
    path, file = notebooks[0]
    number = _attempt(path[-1], f"{chapter}.ipynb")
    rivals = [p for p, _ in notebooks[1:] if len(p) == len(path) and p[:-1] != path[:-1]]
    if rivals:
        raise Unsafe(f"holds two notebooks, {file.name} and {shown('/'.join(rivals[0]))}")
    data = file.read(NOTEBOOK)
    check_notebook(data, file.name)
    contents, used, notes = {f"{chapter}.ipynb": data}, [file], []
    base = path[:-1]
    for module in modules:
        source = _find(module, base, files, number)
        if source is None:
            notes.append(f"{module} is missing")
            continue
        contents[module] = source.read(MODULE)
        check_module(contents[module], source.name)
        used.append(source)
    stamped, stamp = None, ""
    if manifest := _find("manifest.json", base, files, number, beside=False):
        used.append(manifest)
        stamped, said = _read_manifest(manifest, chapter, contents, now)
        notes += said
        stamp = "its manifest" if stamped else ""
    timestamp = next((f for p, f in files if p == (*base, "timestamp.txt")), None)
    if timestamp:
        used.append(timestamp)
        if stamped is None and (stamped := _read_timestamp(timestamp, now)):
            stamp = "its timestamp.txt"
    return Selection(contents, tuple(used), number, stamped, stamp, tuple(notes))


def left_out(files: Sequence[CandidateFile], used: Sequence[File]) -> list[str]:
    """A note that names the files that no submission took, if there are any."""
    names = [f.name for _, f in files if not any(f is u for u in used)]
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"left out: {', '.join(shown(n, 60) for n in names[:NAMED])}{more}"]


def _attempt(name: str, wanted: str) -> int | None:
    """0 for `flow.py` itself, 2 for `flow-2.py` and `flow (2).py`, None for other names."""
    stem, _, ending = wanted.rpartition(".")
    found = re.fullmatch(rf"{re.escape(stem)}{NUMBERED}\.{ending}", name)
    return int(found["attempt"] or found["again"] or 0) if found else None


def _find(
    name: str,
    base: tuple[str, ...],
    files: Sequence[CandidateFile],
    number: int,
    beside: bool = True,
) -> File | None:
    """A file of a submission: where `submit` puts it, beside the notebook, or as in the course."""
    parts = tuple(name.split("/"))
    folders = [(*base, *parts[:-1]), base, (*base[:-1], *parts[:-1]), (*base[:-2], *parts[:-1])]
    for folder in folders if beside else folders[:1]:
        found = [
            (attempt == number, attempt, i)
            for i, (path, _) in enumerate(files)
            if path[:-1] == folder and (attempt := _attempt(path[-1], parts[-1])) is not None
        ]
        if found:
            return files[max(found)[2]][1]
    return None


def _read_manifest(
    file: File, chapter: str, contents: dict[str, bytes], now: datetime
) -> tuple[datetime | None, list[str]]:
    """When it was made, and what is wrong with it. It is kept if it can be read."""
    try:
        data = file.read(MANIFEST)
        manifest = json.loads(data.decode("utf-8"), parse_int=short_integer)
        hashes, chapter_said, made = (manifest.get(k) for k in ("files", "chapter", "made"))
        hashes = hashes if isinstance(hashes, dict) else {}
    except (ValueError, RecursionError, AttributeError):
        return None, [f"{file.name} cannot be read and is left out"]
    notes = []
    if chapter_said != chapter:
        notes.append("the manifest belongs to another chapter")
    changed = [n for n, d in contents.items() if hashes.get(n) != hashlib.sha256(d).hexdigest()]
    if changed:
        notes.append(f"the manifest has different hashes for {', '.join(changed)}")
    contents["manifest.json"] = data
    try:
        when = datetime.fromisoformat(made)
        if when.tzinfo is None:
            raise ValueError("a time without a zone")
        when = when.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None, [*notes, "the manifest gives no valid time"]
    if when > now:
        return None, [*notes, "the manifest says it was made in the future"]
    return when, notes


def _read_timestamp(file: File, now: datetime) -> datetime | None:
    """nbgrader's own timestamp, if it is one."""
    try:
        text = file.read(100).decode("ascii").strip()
        when = datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=UTC)
    except ValueError:
        return None
    return when if when <= now else None
