"""Where attacks are tried: real grading processes, planted secrets, and controls after each attack.

An attack is a function in one of the files of `programs/`. It is never imported here: its text
becomes the answer to one exercise of a submission whose other exercises are right.
"""

import ast
import contextlib
import os
import re
import secrets
import socket
import sqlite3
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.record import ExerciseGrade
from cs231n_gen.grading.run.examiner import ExerciseResult, GraderBroken
from cs231n_gen.grading.run.worker_client import Worker

PROGRAMS = Path(__file__).parent / "programs"
classroom = load_module(ROOT / "tests" / "classroom.py", "classroom")
MODULE, FLOW, flow_with = classroom.MODULE, classroom.FLOW, classroom.flow_with
RAN = "this attack ran:"  # what an attack says of itself before anything else
MIB = 1 << 20
LIMITS = Limits(wall=6, cpu=6, memory=512 * MIB, answer=32 * MIB)
SHORT = Limits(wall=2, cpu=2, memory=512 * MIB, answer=32 * MIB)
SEED = 2025
MOST_MEMORY = 400 * MIB  # a grader's own growth on a submission: some answers of 32 MiB, and copies

PRELUDE = (Path(__file__).parent / "tools.py").read_text("utf-8").partition('"""\n\n')[2]


@dataclass(frozen=True)
class Attack:
    """One program.

    Args:
        family, name: its file and its function.
        says: what it tries.
        text: its source, as it stands at the end of the submitted module.
        on: the exercise that it answers.
        score: the share of the points that its honest part deserves.
        ends: what the student reads when the whole exercise is lost by it.
        shows: what some property says, which shows that it ran.
        silent: whether it has no way to say that it ran.
        at_import: whether it runs when the module is imported, so that every exercise meets it.
        slow: whether it is tried with the shorter time limit.
        without: exercises that are left out of the submission.
        finding: why it is known to succeed, or "".
    """

    family: str
    name: str
    says: str
    text: str = field(repr=False)
    on: str = "interpolate"
    score: float | None = 0.0
    ends: str = ""
    shows: str = ""
    silent: bool = False
    at_import: bool = False
    slow: bool = False
    without: tuple[str, ...] = ()
    finding: str = ""

    @property
    def submission(self) -> str:
        """The module that is handed in."""
        answer = "" if self.at_import else f"\n\n{self.on} = {self.name}\n"
        others = [e.name for e in FLOW if e.name not in (self.on, *self.without)]
        return flow_with(*others) + "\n\n" + PRELUDE + "\n\n" + self.text + answer

    def successes(self, outcome: "Outcome", planted: "Secrets") -> list[str]:
        """What it achieved, a line for each; [] if it failed, and is known to have run."""
        results, text = outcome.found[f"flow.{self.on}"].results, outcome.text
        lost = " ".join(r.says for r in results if not r.test)
        says = [r.says for r in results]
        own = outcome.score(self.on)
        others = [n for n in outcome.found if n != f"flow.{self.on}" and not self.at_import]
        spoiled = [n for n in others if share(outcome.found[n]) != 1.0]
        seen = [name for name, word in planted.words.items() if word in text]
        quoted = [line for line in (*HIDDEN, *self._solution()) if line in text]
        checks = {
            f"it got {own:.2f} of its points": self.score is not None
            and abs(self.score - own) > 1e-5,
            f"it was lost by «{lost}», not as expected": not re.search(self.ends, lost),
            f"nothing shows that it ran: {says}": (
                not any(re.search(self.shows, s) for s in says) or not (self.silent or RAN in text)
            ),
            f"it read the secrets {seen}": seen,
            f"it reached {planted.heard}": planted.heard,
            f"it quoted {quoted}": quoted,
            "its text cannot be written down": not _is_text(text),
            "a result has no length": max(len(r.got) for r in results) > 10_000,
            f"it took points from {spoiled}": spoiled,
            f"the next right submission got {outcome.right:.2f}": outcome.right != 1.0,
            f"the next wrong submission got {outcome.wrong:.2f}": outcome.wrong != 0.0,
            f"it left, or made the jail be built again: {outcome.left}": outcome.left,
            f"the grader grew by {outcome.grown >> 20} MiB": outcome.grown > MOST_MEMORY,
        }
        return [says for says, succeeded in checks.items() if succeeded]

    def _solution(self) -> list[str]:
        """The lines of the exercise's reference that the submission does not hold itself."""
        lines = (ROOT / MODULE).read_text("utf-8").splitlines()
        (own,) = [e for e in FLOW if e.name == self.on]
        inside = [line.strip() for gap in own.gaps for line in lines[gap.begin : gap.end - 1]]
        return [line for line in inside if len(line) > 12 and line not in self.submission]


def _texts(values: object) -> Iterator[str]:
    """Every text in plain values."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value)
    elif isinstance(values, str):
        yield values


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def hidden_lines() -> list[str]:
    """What no result may show, whatever was graded."""
    found = set()
    for path in (ROOT / "tests/hidden").glob("*.py"):
        found |= {line.strip() for line in path.read_text("utf-8").splitlines()}
    return sorted(line for line in found if len(line) > 20)


HIDDEN = hidden_lines()


def attacks() -> list[Attack]:
    """Every attack of `programs/`, file by file."""
    return [a for path in sorted(PROGRAMS.glob("*.py")) for a in _of_file(path)]


def _of_file(path: Path) -> Iterator[Attack]:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    programs = [n for n in functions if not n.name.startswith("_")]
    shared = [n for n in tree.body[1:] if n not in programs]
    common = "\n\n".join(ast.get_source_segment(text, n) for n in shared)
    for node in programs:
        facts = {}
        for mark in node.decorator_list:
            facts = {k.arg: ast.literal_eval(k.value) for k in mark.keywords}
        own = ast.get_source_segment(text, node)
        if facts.get("at_import"):
            own = textwrap.dedent("\n".join(own.splitlines()[1:]))
        says = ast.get_docstring(node) or ""
        yield Attack(path.stem, node.name, says, f"{common}\n\n\n{own}", **facts)


@dataclass(frozen=True)
class Outcome:
    """What came of an attack.

    found: by exercise, that of the attack and another one of the same submission.
    right, wrong: what the controls got afterwards, as shares.
    broken: why the grader could not go on, or "".
    left: what was there afterwards that was not there before.
    grown: bytes that the grading process grew at its worst.
    """

    found: dict[str, ExerciseResult]
    right: float = 0.0
    wrong: float = 0.0
    broken: str = ""
    left: tuple[str, ...] = ()
    grown: int = 0

    def score(self, exercise: str) -> float:
        """The share of the points of an exercise."""
        return share(self.found[f"flow.{exercise}"])

    @property
    def text(self) -> str:
        """All that comes out of the grader."""
        every = [r for e in self.found.values() for r in e.results]
        said = [text for r in every for text in _texts(r.to_json())]
        return "\n".join([*said, *(e.mistake for e in self.found.values())])


def share(result: ExerciseResult) -> float:
    """The share of the points that an exercise gets."""
    return ExerciseGrade("", 1.0, result.results).score


class Secrets:
    """Random words in the places that an attacker would look into."""

    def __init__(self, folder: Path):
        self.words = {
            name: f"TOKEN-{secrets.token_hex(8)}"
            for name in ("environment", "file", "submission", "gradebook", "shared", "listener")
        }
        folder.mkdir(exist_ok=True)
        os.environ["CS231N_GEN_SECRET"] = self.words["environment"]
        (folder / "secret.txt").write_text(self.words["file"])
        other = folder / "submitted" / "student02" / "04_rectified_flow" / MODULE
        other.parent.mkdir(parents=True)
        other.write_text(f"# {self.words['submission']}\n")
        with contextlib.closing(sqlite3.connect(folder / "gradebook.db")) as gradebook:
            gradebook.execute("create table grade (secret text)")
            gradebook.execute("insert into grade values (?)", [self.words["gradebook"]])
            gradebook.commit()
        self.shared = Path("/dev/shm") / f"cs231n-gen-{os.getpid()}"
        if self.shared.parent.is_dir():
            self.shared.write_text(self.words["shared"])
        self.heard: list[str] = []
        self._listen()

    def _listen(self) -> None:
        """A listener on this machine, to which nobody may come."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                visitor, _ = self._listener.accept()
                self.heard.append("someone came")
                visitor.sendall(self.words["listener"].encode())
                visitor.close()

    def close(self) -> None:
        """Take the secrets away again."""
        self._listener.close()
        self.shared.unlink(missing_ok=True)
        os.environ.pop("CS231N_GEN_SECRET", None)


class Arena:
    """One grading process for attacks, made again when one of them breaks it.

    Args:
        folder: for submissions and temporary files.
        limits: of each child.
    """

    def __init__(self, folder: Path, limits: Limits):
        self.folder, self.limits = folder, limits
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True)
        self.control_right = self.submission("right", flow_with("straightness"))
        wrong = flow_with() + "\n\ndef straightness(path):\n    return -1.0\n"
        self.control_wrong = self.submission("wrong", wrong)
        self._open()

    def _open(self) -> None:
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(self.temporary)
        try:
            self.worker = Worker(self.limits)
        finally:
            del os.environ["TMPDIR"]
            if before is not None:
                os.environ["TMPDIR"] = before
        everything = self.submission("everything", flow_with(*(e.name for e in FLOW)))
        self.worker.grade(everything, ["flow.train"], seed=SEED)  # torch makes a folder for itself
        self.controls()

    def submission(self, name: str, text: str) -> Path:
        """The folder of a submission with this module."""
        path = self.folder / name / MODULE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return self.folder / name

    def controls(self) -> tuple[float, float]:
        """What a right and a wrong submission get now."""
        return tuple(
            share(self.worker.grade(c, ["flow.straightness"], seed=SEED)["flow.straightness"])
            for c in (self.control_right, self.control_wrong)
        )

    def try_out(self, attack: Attack, port: int) -> Outcome:
        """Let an attack do its worst, then grade the controls with the same process."""
        if not self.worker.alive:
            self._open()
        own = self.submission(attack.name, attack.submission.replace("__PORT__", str(port)))
        other = "straightness" if attack.on != "straightness" else "interpolate"
        before, memory = self.traces(), self._forget_peak()
        try:
            found = self.worker.grade(own, [f"flow.{attack.on}", f"flow.{other}"], seed=SEED)
            grown = self._status("VmHWM") - memory
            return Outcome(found, *self.controls(), "", self._left(before), grown)
        except GraderBroken as error:
            return Outcome({}, broken=str(error), left=self._left(before))

    def _left(self, before: set[str]) -> tuple[str, ...]:
        return tuple(sorted(self.traces() ^ before))

    def traces(self) -> set[str]:
        """The processes of the grader, its control groups, and its temporary files."""
        found = {f"process {pid} {name}" for pid, name in _below(self.worker._process.pid)}
        for group in Path("/sys/fs/cgroup").glob(f"**/cs231n-gen-{self.worker._process.pid}-*/*/"):
            found.add(f"group {group}")
        return found | {f"file {p}" for p in self.temporary.rglob("*")}

    def _forget_peak(self) -> int:
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.worker._process.pid}/clear_refs").write_text("5")
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        """Bytes of a line of the grading process's status."""
        text = Path(f"/proc/{self.worker._process.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) * 1024

    def close(self) -> None:
        """End the grading process."""
        self.worker.close()


def _below(root: int) -> Iterator[tuple[int, str]]:
    """The processes that descend from one, zombies included."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = path.read_text().rpartition(")")
            name = head.partition("(")[2]
            parents[int(path.parent.name)] = (int(rest.split()[1]), name)
    for pid, (_, name) in parents.items():
        above = pid
        while above in parents and above != root:
            above = parents[above][0]
        if above == root and pid != root:
            yield pid, name
