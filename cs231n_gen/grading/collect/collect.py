"""Take in what students handed in: zips, LMS downloads and loose folders, to `submitted/`.

**Whose it is.** What an LMS writes counts: Canvas's `lastfirst_12345_67890_…`, Moodle's
`Firstname Lastname_12345_assignsubmission_file_`, Gradescope's metadata. Else the outermost folder
below what is collected, else the zip's name without the chapter, else the folder it lies in. Names
inside a student's zip never count. A zip counts as a class's download if it is not named after a
known student and holds an LMS's names or the submissions of several.

**When it was handed in.** The first of these that is there: Gradescope's `created_at`; the time of
the file in an LMS's download; `made` of the student's own manifest, if it is not in the future; an
nbgrader folder's `timestamp.txt`; the time of the file. Students can write the manifest as they
like: where lateness costs, collect the LMS's download. Canvas's `_LATE_` is noted.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cs231n_gen.grading.collect import identify
from cs231n_gen.grading.collect.finder import Finder, HandIn, Refused
from cs231n_gen.grading.collect.identify import Who
from cs231n_gen.grading.collect.select import (
    Picked,
    find_notebooks,
    left_out,
    modules_by_chapter,
    pick,
)
from cs231n_gen.grading.collect.store import Busy, Shelf
from cs231n_gen.grading.collect.untrusted_files import Unsafe, same, shown
from cs231n_gen.grading.source import tree

AHEAD = timedelta(days=1)  # the times in a zip have no zone


class CollectError(ValueError):
    """Nothing can be collected; one line for the person at the terminal."""


@dataclass(frozen=True)
class Taken:
    """A submission.

    Args:
        student, chapter: whose and which.
        source: where it was found.
        state: `new`, `replaced`, `unchanged`, or `kept out`: what is there is newer.
        time: when it was handed in.
        clock: who says so: `the LMS`, `its manifest`, `its timestamp.txt`, `the file`.
        notes: a sentence each.
    """

    student: str
    chapter: str
    source: str
    state: str
    time: datetime
    clock: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collected:
    """What a call of `collect` did: what it took, by student, and what it refused."""

    taken: tuple[Taken, ...]
    refused: tuple[Refused, ...]

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """For a table: student, chapter, state, time, and where from with the notes.

        The last holds names that students chose: print it without markup.
        """
        return [
            (
                t.student,
                t.chapter,
                t.state,
                f"{t.time:%Y-%m-%d %H:%M} UTC by {t.clock}",
                "; ".join([t.source, *t.notes]),
            )
            for t in self.taken
        ]

    def __str__(self) -> str:
        states = [t.state for t in self.taken]
        counts = [f"{states.count(s)} {s}" for s in dict.fromkeys(states)]
        lines = ["  ".join(row) for row in self.rows()]
        lines += [f"refused: {r.source}: {r.reason}" for r in self.refused]
        return "\n".join([*lines, ", ".join([*counts, f"{len(self.refused)} refused"])])


def collect(
    sources: Sequence[Path],
    root: Path = tree.ROOT,
    *,
    chapter: str | None = None,
    roster: Path | None = None,
) -> Collected:
    """Put submissions to `submitted/<student>/<chapter>/`; doing it again changes nothing.

    Of several attempts the newest counts; what is there is replaced by a newer one only.

    Args:
        sources: zips, folders, or loose files.
        root: the course's folder: its notebooks say which modules belong to a chapter.
        chapter: take no other; its number or name.
        roster: a CSV file with `id,name,email`, or Canvas's gradebook; who is not in it is refused.
    Raises:
        CollectError: if a path or the chapter does not exist, the roster cannot be read, or another
            process collects.
    """
    chapters = modules_by_chapter(root)
    wanted = _wanted(list(chapters), chapter, root)
    known = None
    if roster is not None:
        try:
            known = identify.read_roster(Path(roster))
        except (Unsafe, OSError) as error:
            said = getattr(error, "strerror", None) or error
            raise CollectError(f"the roster {roster} cannot be read: {said}") from None
    places: dict[Path, list[Path] | None] = {}
    for path in sorted(Path(p).absolute() for p in sources):
        if not path.is_symlink() and not path.exists():
            raise CollectError(f"there is no {path}, expected a zip or a folder")
        if path.is_dir() and not path.is_symlink():
            places[path] = None
        elif (own := places.setdefault(path.parent, [])) is not None and path not in own:
            own.append(path)
    try:
        with Shelf.opened(root) as shelf:
            collecting = _Collecting(shelf, chapters, wanted, known)
            for place, files in places.items():
                for found in collecting.finder.place(place, files):
                    collecting.take(found)
            return collecting.settle()
    except Busy as error:
        raise CollectError(str(error)) from None


def _wanted(chapters: Sequence[str], chapter: str | None, root: Path) -> list[str]:
    if not chapters:
        raise CollectError(f"there are no chapters in {root / 'notebooks'}: is it the course?")
    wanted = [c for c in chapters if chapter in (None, c, c.partition("_")[0])]
    if not wanted:
        raise CollectError(f"no chapter is called {chapter}; there are {', '.join(chapters)}")
    return wanted


@dataclass(frozen=True)
class _Attempt:
    """A submission that is staged. `identity` is the LMS's own number for a student."""

    student: str
    identity: tuple[str, ...]
    taken: Taken
    number: int
    folder: Path


class _Collecting:
    """One call of `collect`: first everything is staged, then the newest get their places."""

    def __init__(self, shelf: Shelf, chapters: dict, wanted: list[str], roster):
        self.shelf, self.chapters, self.wanted, self.roster = shelf, chapters, wanted, roster
        self.here = shelf.students()
        self.now = datetime.now(UTC)
        self.attempts: list[_Attempt] = []
        self.finder = Finder(list(chapters), self._knows, closed=roster is not None)

    def take(self, found: HandIn) -> None:
        """Stage what somebody handed in, of every chapter that is in it."""
        with self.finder.refusing(found.label):
            there = list(find_notebooks(found.files, list(self.chapters)))
            wanted = [c for c in there if c in self.wanted]
            if not wanted:
                expected = " or ".join(self.wanted)
                raise Unsafe(f"is of chapter {', '.join(there)}, expected {expected}")
            if not found.people:
                raise Unsafe("has no name that says whose it is, expected student01.zip")
            picked = []
            for chapter in wanted:
                with self.finder.refusing(found.label):
                    modules = self.chapters[chapter]
                    picked.append((chapter, pick(chapter, modules, found.files, self.now)))
            notes = left_out(found.files, [f for _, one in picked for f in one.used])
            for who in found.people:
                with self.finder.refusing(found.label):
                    student = self._id(who)
                    for chapter, one in picked:
                        self._stage(student, who, chapter, found, one, notes)

    def _stage(
        self, student: str, who: Who, chapter: str, found: HandIn, one: Picked, notes: list[str]
    ) -> None:
        time, clock = self._time(found, one)
        others = [shown(p.name) for p in found.people if p is not who]
        notes = [
            *(["the LMS marks it late"] if found.late else []),
            *([f"handed in together with {', '.join(others)}"] if others else []),
            *one.notes,
            *notes,
        ]
        identity = (who.lms, who.number) if who.lms and who.number else ()
        if who.lms == "moodle":  # its numbers are of one assignment
            identity = (*identity, found.label.partition("/")[0], chapter)
        folder = self.shelf.stage(one.contents, time)
        taken = Taken(student, chapter, shown(found.label), "new", time, clock, tuple(notes))
        number = max(found.number, one.number)
        self.attempts.append(_Attempt(student, identity, taken, number, folder))

    def _time(self, found: HandIn, one: Picked) -> tuple[datetime, str]:
        """When it was handed in, to the second as nbgrader reads it, and who says so."""
        files = [found.zipped] if found.zipped else one.used
        written = max((f.modified for f in files if f.modified), default=None)
        if written and written > self.now + AHEAD:
            written = None
        if found.made or (found.lms and written):
            time, clock = found.made or written, "the LMS"
        elif one.stamped:
            time, clock = one.stamped, one.stamp
        else:
            time, clock = written or self.now, "the file" if written else "nobody, so it is now"
        return time.replace(microsecond=0), clock

    def settle(self) -> Collected:
        """Put the newest attempts in place."""
        taken = []
        attempts = self._without_doubles()
        for key in sorted({(a.student, a.taken.chapter) for a in attempts}):
            own = [a for a in attempts if (a.student, a.taken.chapter) == key]
            *older, newest = sorted(own, key=lambda a: (a.taken.time, a.number, a.taken.source))
            with self.finder.refusing(newest.taken.source):
                state = self._put(newest)
                notes = [f"an older attempt was kept out: {a.taken.source}" for a in older]
                notes = (*newest.taken.notes, *notes)
                taken.append(replace(newest.taken, state=state, notes=notes))
        return Collected(tuple(taken), tuple(self.finder.refused))

    def _put(self, attempt: _Attempt) -> str:
        chapter, time = attempt.taken.chapter, attempt.taken.time
        there = self.shelf.there(attempt.student, chapter)
        if there and there[0] == self.shelf.files(attempt.folder):
            return "unchanged"
        if there and there[1] >= time:
            return "kept out"
        self.shelf.put(attempt.folder, attempt.student, chapter)
        return "replaced" if there else "new"

    def _without_doubles(self) -> list[_Attempt]:
        """Attempts without those of two students who would share a folder."""
        spelled, people, kept = dict(self.here), {}, []
        for a in self.attempts:
            if a.identity:
                own = people.setdefault((same(a.student), a.identity[0], a.identity[2:]), set())
                own.add(a.identity[1])
        for a in self.attempts:
            numbers = people.get((same(a.student), *a.identity[:1], a.identity[2:]), set())
            first = spelled.setdefault(same(a.student), a.student)
            reason = ""
            if a.identity and len(numbers) > 1:
                told = " and ".join(sorted(map(shown, numbers)))
                reason = f"{a.student} is the name of {told}: a roster tells them apart"
            elif first != a.student:
                reason = (
                    f"{a.student} and {first} differ in upper case only, and would share a "
                    "folder on some systems: rename one, or say with a roster who is who"
                )
            if reason:
                self.finder.refused.append(Refused(a.taken.source, reason))
            else:
                kept.append(a)
        return kept

    def _knows(self, who: Who) -> bool:
        with contextlib.suppress(Unsafe):
            return bool(self.roster and self._id(who)) or same(self._id(who)) in self.here
        return False

    def _id(self, who: Who) -> str:
        if self.roster:
            return self.roster.find(who)
        return identify.student_id(who.login or who.email.partition("@")[0] or who.name)
