"""What each student handed in, found among folders, zips and the downloads of an LMS."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cs231n_gen.grading.collect import identify, untrusted_zip
from cs231n_gen.grading.collect.identify import Who
from cs231n_gen.grading.collect.select import CandidateFile, find_notebooks
from cs231n_gen.grading.collect.untrusted_files import File, Unsafe, file_at, folder_files, shown

BULK = 16_000_000_000  # bytes of a download
ZIP = 32_000_000  # bytes of one submission, and of an LMS's metadata


@dataclass(frozen=True)
class Refused:
    """A file, a zip or a folder that was not taken, and why."""

    source: str
    reason: str


@dataclass
class Candidate:
    """What one student handed in at once, with a notebook in it; in zips, only until the next.

    Args:
        people: whose it is, several for a group's, none where no name says it.
        label: where it was found.
        files: with their paths inside.
        late: whether the LMS marks it late.
        made: when the LMS says it was handed in, or None.
        zipped: the zip that it is.
        number: the count of attempts in the zip's name.
    """

    people: list[Who]
    label: str
    files: list[CandidateFile]
    late: bool = False
    made: datetime | None = None
    zipped: File | None = None
    number: int = 0

    @property
    def lms(self) -> bool:
        """Whether an LMS says whose it is."""
        return any(p.lms for p in self.people)


@dataclass
class _Group:
    """The files that one name is for; `open` if that is no LMS's and no folder's."""

    key: tuple[str, ...]
    people: list[Who]
    open: bool
    files: list[CandidateFile] = field(default_factory=list)
    late: bool = False
    made: datetime | None = None
    problem: str = ""

    @property
    def zips(self) -> list[CandidateFile]:
        return [p for p in self.files if p[0][-1].lower().endswith(".zip")]


class Finder:
    """Looks through one place after another; what cannot be taken is in `refused`.

    Args:
        chapters: the names of all.
        knows: whether somebody is a student of the course.
        closed: whether there are no other students than those (a roster is given).
    """

    def __init__(self, chapters: Sequence[str], knows: Callable[[Who], bool], closed: bool):
        self.chapters, self.knows, self.closed = chapters, knows, closed
        self.refused: list[Refused] = []

    @contextlib.contextmanager
    def refusing(self, label: str) -> Iterator[None]:
        """Whatever is wrong with one file stops no other."""
        try:
            yield
        except Unsafe as error:
            self.refused.append(Refused(shown(label), str(error)))
        except (OSError, MemoryError, RecursionError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            self.refused.append(Refused(shown(label), f"cannot be taken: {said}"))

    def place(self, folder: Path, own: Sequence[Path] | None = None) -> Iterator[Candidate]:
        """What is in a folder, or of it only in its `own` files."""
        before, found = len(self.refused), 0
        with self.refusing(folder.name):
            files = folder_files(folder) if own is None else [file_at(p, (p.name,)) for p in own]
            named = [identify.whose(p.name, self.chapters) for p in (folder, folder.parent)]
            outer = [next(n for n in named if n)] if any(named) else []
            for one in self._groups(files, outer, folder.name if own is None else "", 0):
                found += 1
                yield one
            if not found and before == len(self.refused):
                for name in [folder.name] if own is None else [p.name for p in own]:
                    self.refused.append(Refused(shown(name), self._nothing()))

    def _groups(
        self, files: Sequence[File], outer: list[Who], where: str, depth: int
    ) -> Iterator[Candidate]:
        for group in self._split(files, outer):
            yield from self._group(group, where, depth)

    def _split(self, files: Sequence[File], outer: list[Who]) -> list[_Group]:
        """Files by student; those of which no name says whose they are, are of `outer`."""
        groups: dict[tuple[str, ...], _Group] = {}
        by_path = {f.path: f for f in files}
        for file in files:
            slot = identify.slot(file.path, self.chapters)
            key = slot.key if slot else ()
            if key not in groups:
                people = [slot.who] if slot else outer
                groups[key] = _Group(key, people, slot is None or slot.stem)
                if slot and slot.who.lms == "gradescope":
                    _ask_gradescope(groups[key], by_path)
            groups[key].files.append((slot.rest if slot else file.path, file))
            groups[key].late |= bool(slot and slot.late)
        return [groups[key] for key in sorted(groups)]

    def _group(self, group: _Group, where: str, depth: int) -> Iterator[Candidate]:
        zips = group.zips
        loose = [p for p in group.files if p not in zips]
        label = _join(where, _label(group, loose))
        with self.refusing(label):
            if group.problem:
                raise Unsafe(group.problem)
            if find_notebooks(loose, self.chapters):
                if bad := next((f for _, f in loose if f.problem), None):
                    raise Unsafe(f"{bad.name} {bad.problem}")
                yield Candidate(group.people, label, loose, group.late, group.made)
            elif group.key and not zips:
                raise Unsafe(self._why(loose))
            elif not group.key:  # a README beside everybody's folders is nobody's
                for _, file in loose:
                    if file.problem or file.path[-1].lower().endswith(untrusted_zip.OTHERS):
                        with self.refusing(_join(where, file.name)):
                            raise Unsafe(self._why([(file.path, file)]))
            for path, file in zips:
                named = _join(where, file.name)
                with self.refusing(named):
                    yield from self._zip(group, path[-1], file, named, depth + 1)

    def _zip(
        self,
        group: _Group,
        name: str,
        file: File,
        label: str,
        depth: int,
        outside: File | None = None,
    ) -> Iterator[Candidate]:
        """A zip: a class's download, or what one student handed in, perhaps zipped once more."""
        if depth > 2:
            raise Unsafe(f"is a zip in a zip in a zip: {untrusted_zip.EXPECTED}")
        with file.open(BULK if depth == 1 else ZIP) as stream:
            files = untrusted_zip.zip_files(stream)
            if group.open and depth == 1 and self._is_bulk(files, group.people, name):
                yield from self._groups(files, group.people, label, depth)
                return
            untrusted_zip.check_submission(files)
            placed = [(f.path, f) for f in files]
            number = identify.split_name(name[:-4], self.chapters)[2]
            inner = [p for p in placed if p[0][-1].lower().endswith(".zip")]
            if find_notebooks(placed, self.chapters):
                zipped = outside or file
                yield Candidate(group.people, label, placed, group.late, group.made, zipped, number)
            elif inner:
                for path, one in inner:
                    named = _join(label, one.name)
                    with self.refusing(named):
                        yield from self._zip(group, path[-1], one, named, depth + 1, file)
            else:
                raise Unsafe(self._why(placed))

    def _is_bulk(self, files: Sequence[File], people: list[Who], name: str) -> bool:
        """Whether a zip holds what several students handed in."""
        groups = self._split(files, [])
        own = [g for g in groups if not g.key]
        if any(find_notebooks(g.files, self.chapters) for g in own):
            return False
        if any(self.knows(who) for who in people):
            return False
        full = [g for g in groups if g.key and (g.zips or find_notebooks(g.files, self.chapters))]
        if len(full) > 1 or any(who.lms for g in groups for who in g.people) or not people:
            return bool(groups)
        return bool(full) and self.closed

    def _why(self, files: Sequence[CandidateFile]) -> str:
        """Why files without a notebook are not taken."""
        for _, file in files:
            if file.problem:
                return f"{file.name} {file.problem}"
            if file.path[-1].lower().endswith(untrusted_zip.OTHERS):
                return f"{file.name} is an archive of another kind: {untrusted_zip.EXPECTED}"
        return self._nothing([f.name for _, f in files if f.path[-1].endswith(".ipynb")])

    def _nothing(self, notebooks: Sequence[str] = ()) -> str:
        holds = f"holds {notebooks[0]}" if notebooks else "holds no notebook"
        return f"{holds}, expected one called {' or '.join(f'{c}.ipynb' for c in self.chapters)}"


def _ask_gradescope(group: _Group, files: dict[tuple[str, ...], File]) -> None:
    group.people = []
    try:
        file = files.get((*group.key[:-1], identify.METADATA))
        if file is None:
            raise Unsafe(f"{identify.METADATA} is missing, which names the students")
        found = identify.gradescope(file.read(ZIP))
        group.people, group.made = found.get(group.key[-1], ([], None))
        if not group.people:
            raise Unsafe(f"{identify.METADATA} does not name the student")
    except Unsafe as error:
        group.problem = str(error)


def _join(*parts: str) -> str:
    return "/".join(p for p in parts if p)


def _label(group: _Group, loose: Sequence[CandidateFile]) -> str:
    """The folder that files have in common, or the name of the only one."""
    if len(loose) == 1:
        return loose[0][1].name
    paths = [f.path[:-1] for _, f in loose]
    common = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return shown("/".join(common)) or (group.people[0].name if group.key and group.people else "")
