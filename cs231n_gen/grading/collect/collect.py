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

from cs231n_gen.common.chapters import find_chapter
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.collect import identify
from cs231n_gen.grading.collect.finder import Candidate, Finder, Refused
from cs231n_gen.grading.collect.identify import Who
from cs231n_gen.grading.collect.roster import Roster, read_roster
from cs231n_gen.grading.collect.select import (
    Selection,
    find_notebooks,
    left_out,
    modules_by_chapter,
    select,
)
from cs231n_gen.grading.collect.store import Busy, Store
from cs231n_gen.grading.collect.untrusted_files import Unsafe, name_key, shown

AHEAD = timedelta(days=1)  # the times in a zip have no zone


class CollectError(ValueError):
    """Nothing can be collected; one line for the person at the terminal."""


@dataclass(frozen=True)
class Attempt:
    """A student's attempt at a chapter; the newest becomes the submission.

    Args:
        student, chapter: whose and which.
        source: where it was candidate.
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
class CollectSummary:
    """What a call of `collect` did: the newest attempts, by student, and what it refused."""

    attempts: tuple[Attempt, ...]
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
            for t in self.attempts
        ]

    def __str__(self) -> str:
        states = [t.state for t in self.attempts]
        counts = [f"{states.count(s)} {s}" for s in dict.fromkeys(states)]
        lines = ["  ".join(row) for row in self.rows()]
        lines += [f"refused: {r.source}: {r.reason}" for r in self.refused]
        return "\n".join([*lines, ", ".join([*counts, f"{len(self.refused)} refused"])])


def collect(
    sources: Sequence[Path],
    root: Path = ROOT,
    *,
    chapter: str | None = None,
    roster: Path | None = None,
) -> CollectSummary:
    """Put submissions to `submitted/<student>/<chapter>/`; doing it again changes nothing.

    Of several attempts the newest counts; what is there is replaced by a newer one only.

    Args:
        sources: zips, folders, or loose files.
        root: the course's folder: its notebooks say which modules belong to a chapter.
        chapter: take no other; its number or name.
        roster: a CSV file with `id,name,email`, or Canvas's gradebook; who is not in it is refused.
    Raises:
        UnknownChapter: a ValueError, if there is no such chapter.
        CollectError: if a path does not exist, the roster cannot be read, or another
            process collects.
    """
    chapters = modules_by_chapter(root)
    wanted = _wanted(list(chapters), chapter, root)
    known = None
    if roster is not None:
        try:
            known = read_roster(Path(roster))
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
        with Store.opened(root) as store:
            collecting = _Collecting(store, chapters, wanted, known)
            for place, files in places.items():
                for candidate in collecting.finder.place(place, files):
                    collecting.stage(candidate)
            return collecting.settle()
    except Busy as error:
        raise CollectError(str(error)) from None


def _wanted(chapters: Sequence[str], chapter: str | None, root: Path) -> list[str]:
    if not chapters:
        raise CollectError(f"there are no chapters in {root / 'notebooks'}: is it the course?")
    return list(chapters) if chapter is None else [find_chapter(chapter, chapters)]


@dataclass(frozen=True)
class _StagedAttempt:
    """An attempt whose files are staged. `identity` is the LMS's own number for a student."""

    student: str
    identity: tuple[str, ...]
    attempt: Attempt
    number: int
    folder: Path


class _Collecting:
    """One call of `collect`: first everything is staged, then the newest get their places."""

    def __init__(self, store: Store, chapters: dict, wanted: list[str], roster: Roster | None):
        self.store, self.chapters, self.wanted, self.roster = store, chapters, wanted, roster
        self.here = store.students()
        self.now = datetime.now(UTC)
        self.staged: list[_StagedAttempt] = []
        self.finder = Finder(list(chapters), self._knows, closed=roster is not None)

    def stage(self, candidate: Candidate) -> None:
        """Stage what somebody handed in, of every chapter that is in it."""
        with self.finder.refusing(candidate.label):
            there = list(find_notebooks(candidate.files, list(self.chapters)))
            wanted = [c for c in there if c in self.wanted]
            if not wanted:
                expected = " or ".join(self.wanted)
                raise Unsafe(f"belongs to chapter {', '.join(there)}, expected {expected}")
            if not candidate.people:
                raise Unsafe("does not name a student, expected a name such as student01.zip")
            selections = []
            for chapter in wanted:
                with self.finder.refusing(candidate.label):
                    modules = self.chapters[chapter]
                    selection = select(chapter, modules, candidate.files, self.now)
                    selections.append((chapter, selection))
            used = [file for _, selection in selections for file in selection.used]
            notes = left_out(candidate.files, used)
            for who in candidate.people:
                with self.finder.refusing(candidate.label):
                    student = self._id(who)
                    for chapter, selection in selections:
                        self._stage_attempt(student, who, chapter, candidate, selection, notes)

    def _stage_attempt(
        self,
        student: str,
        who: Who,
        chapter: str,
        candidate: Candidate,
        selection: Selection,
        notes: list[str],
    ) -> None:
        time, clock = self._time(candidate, selection)
        others = [shown(p.name) for p in candidate.people if p is not who]
        notes = [
            *(["the LMS marks it late"] if candidate.late else []),
            *([f"handed in together with {', '.join(others)}"] if others else []),
            *selection.notes,
            *notes,
        ]
        identity = (who.lms, who.number) if who.lms and who.number else ()
        if who.lms == "moodle":  # its numbers are of one assignment
            identity = (*identity, candidate.label.partition("/")[0], chapter)
        folder = self.store.stage(selection.contents, time)
        label = shown(candidate.label)
        attempt = Attempt(student, chapter, label, "new", time, clock, tuple(notes))
        number = max(candidate.number, selection.number)
        self.staged.append(_StagedAttempt(student, identity, attempt, number, folder))

    def _time(self, candidate: Candidate, selection: Selection) -> tuple[datetime, str]:
        """When it was handed in, to the second as nbgrader reads it, and who says so."""
        files = [candidate.zipped] if candidate.zipped else selection.used
        written = max((f.modified for f in files if f.modified), default=None)
        if written and written > self.now + AHEAD:
            written = None
        if candidate.made or (candidate.lms and written):
            time, clock = candidate.made or written, "the LMS"
        elif selection.stamped:
            time, clock = selection.stamped, selection.stamp
        else:
            time, clock = written or self.now, "the file" if written else "this machine's clock"
        return time.replace(microsecond=0), clock

    def settle(self) -> CollectSummary:
        """Put the newest attempts in place."""
        newest_attempts = []
        staged = self._without_doubles()
        for key in sorted({(a.student, a.attempt.chapter) for a in staged}):
            own = [a for a in staged if (a.student, a.attempt.chapter) == key]
            *older, newest = sorted(own, key=lambda a: (a.attempt.time, a.number, a.attempt.source))
            with self.finder.refusing(newest.attempt.source):
                state = self._put(newest)
                notes = [f"an older attempt was kept out: {a.attempt.source}" for a in older]
                notes = (*newest.attempt.notes, *notes)
                newest_attempts.append(replace(newest.attempt, state=state, notes=notes))
        return CollectSummary(tuple(newest_attempts), tuple(self.finder.refused))

    def _put(self, staged: _StagedAttempt) -> str:
        chapter, time = staged.attempt.chapter, staged.attempt.time
        current = self.store.current(staged.student, chapter)
        if current and current[0] == self.store.files(staged.folder):
            return "unchanged"
        if current and current[1] >= time:
            return "kept out"
        self.store.put(staged.folder, staged.student, chapter)
        return "replaced" if current else "new"

    def _without_doubles(self) -> list[_StagedAttempt]:
        """Attempts without those of two students who would share a folder."""
        spelled, people, kept = dict(self.here), {}, []
        for a in self.staged:
            if a.identity:
                own = people.setdefault((name_key(a.student), a.identity[0], a.identity[2:]), set())
                own.add(a.identity[1])
        for a in self.staged:
            numbers = people.get((name_key(a.student), *a.identity[:1], a.identity[2:]), set())
            first = spelled.setdefault(name_key(a.student), a.student)
            reason = ""
            if a.identity and len(numbers) > 1:
                told = " and ".join(sorted(map(shown, numbers)))
                reason = f"{a.student} is the name of {told}: use a roster to tell them apart"
            elif first != a.student:
                reason = (
                    f"{a.student} and {first} differ only in upper and lower case, and would share "
                    "a folder on some systems: rename one, or use a roster"
                )
            if reason:
                self.finder.refused.append(Refused(a.attempt.source, reason))
            else:
                kept.append(a)
        return kept

    def _knows(self, who: Who) -> bool:
        with contextlib.suppress(Unsafe):
            return bool(self.roster and self._id(who)) or name_key(self._id(who)) in self.here
        return False

    def _id(self, who: Who) -> str:
        if self.roster:
            return self.roster.find(who)
        return identify.student_id(who.login or who.email.partition("@")[0] or who.name)
