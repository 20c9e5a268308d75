"""The same attacks on stock `nbgrader autograde` and on this course's grader, side by side.

    python tests/project/attacks/against_stock.py

makes a small course in a temporary folder, with hidden tests in its notebook, and hands in one
submission for each attack, graded by nbgrader as it comes. Each attack stays in that folder and in
its own kernel. The table goes into README.md, between its markers.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import arena
import nbformat
from nbgrader.api import Gradebook, MissingEntry

from cs231n_gen.common.files import write_whole

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- measured by against_stock.py -->", "<!-- end -->"
NAME, ATTACKER, VICTIM = "ps1", "student01", "student02"
SECRET = "TOKEN-of-the-environment"
SETUP = "import numpy as np"
ASKED = "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
OTHER = "def triple(x):\n    ### BEGIN SOLUTION\n    return 3 * x\n    ### END SOLUTION"
HIDDEN = "want_of_the_hidden_test = 42"
CHECK = (
    "assert double(1) is not None\n### BEGIN HIDDEN TESTS\n"
    f"{HIDDEN}\ngot = double(21)\n"
    "assert abs(got - want_of_the_hidden_test) < 1e-9\n"
    "assert np.allclose(double(np.ones(3)), 2 * np.ones(3))\n### END HIDDEN TESTS"
)
CHECK_OTHER = "### BEGIN HIDDEN TESTS\nassert triple(2) == 6\n### END HIDDEN TESTS"
WRONG = "def double(x):\n    return x\n"


@dataclass(frozen=True)
class Tried:
    """What came of one submission to stock nbgrader.

    double, triple: the attacker's points, of 2 each; None if nothing was graded.
    victim: another student's score, of 4.
    course: the folder. shown: the attacker's graded notebook.
    """

    double: float | None
    triple: float | None
    victim: float
    course: Path
    shown: str

    @property
    def gains(self) -> str:
        """Points for a wrong answer."""
        return "full points for a wrong answer" if self.double else ""

    @property
    def spoils(self) -> str:
        """Another exercise's points, gone with it."""
        return "" if self.triple == 2 else "the other exercise loses its points"


@dataclass(frozen=True)
class Stock:
    """An attack as a cell of a notebook, and what it is called among `programs/`.

    cell: the answer. ours: the attack that does the same to this course's grader.
    succeeded: what it achieved, or "".
    """

    says: str
    cell: str
    ours: str
    succeeded: Callable[[Tried], str]


def leaks(text: str, says: str) -> Callable[[Tried], str]:
    """Success if a text shows in what the attacker gets back."""
    return lambda tried: says if text in tried.shown else ""


ABOVE = "from pathlib import Path\nhome = Path.cwd().parents[2]\n"
STOCK = {
    "hook": Stock(
        "prints every cell before it runs",
        f"{WRONG}\nget_ipython().events.register(\n"
        "    'pre_run_cell', lambda info: print(info.raw_cell))",
        "callers",
        leaks(HIDDEN, "the hidden tests, printed"),
    ),
    "source": Stock(
        "opens the instructor's source",
        f"{WRONG}{ABOVE}print((home / 'source/ps1/ps1.ipynb').read_text())",
        "opens_what_it_guesses",
        leaks("want_of_the_hidden_test", "hidden tests and solution, printed"),
    ),
    "environment": Stock(
        "reads the grader's environment",
        f"{WRONG}import os\nprint(os.environ.get('STOCK_SECRET'))",
        "environment",
        leaks(SECRET, "the grader's secrets, printed"),
    ),
    "neighbour": Stock(
        "reads another submission",
        f"{WRONG}{ABOVE}print((home / 'submitted/student02/ps1/ps1.ipynb').read_text())",
        "submissions_of_others",
        leaks("return 2 * x", "another student's answer, printed"),
    ),
    "frame": Stock(
        "takes the expected value from its caller",
        "import sys\ndef double(x):\n    found = sys._getframe(1).f_globals\n"
        "    return x + x if hasattr(x, 'shape') else found.get('want_of_the_hidden_test', 0)",
        "callers",
        lambda t: t.gains and "points for the test's own expected value",
    ),
    "library": Stock(
        "replaces the library's comparison",
        "def double(x):\n    return 42 if isinstance(x, int) else x\n"
        "np.allclose = lambda *a, **k: True",
        "numpys_comparisons",
        lambda t: t.gains,
    ),
    "builtins": Stock(
        "replaces abs and the library's comparison",
        f"{WRONG}import builtins\nbuiltins.abs = lambda x: 0\nnp.allclose = lambda *a: True",
        "builtins",
        lambda t: t.gains,
    ),
    "yes": Stock(
        "returns an object equal to everything",
        "class Yes:\n    def __sub__(self, other): return 0.0\n"
        "    def __array__(self, *a, **k): return 2 * np.ones(3)\n"
        "def double(x):\n    return Yes()",
        "things_that_lie",
        lambda t: t.gains,
    ),
    "transformer": Stock(
        "empties every later cell before it runs",
        f"{WRONG}get_ipython().input_transformers_post.append(lambda lines: ['2'])",
        "notebook_hooks",
        lambda t: t.gains,
    ),
    "silence": Stock(
        "keeps errors from being shown",
        f"{WRONG}get_ipython().showtraceback = lambda *a, **k: None",
        "standard_output",
        lambda t: t.gains,
    ),
    "exit": Stock(
        "calls sys.exit(0)",
        "import sys\ndef double(x):\n    sys.exit(0)",
        "exit_0",
        lambda t: t.gains or t.spoils,
    ),
    "leave": Stock(
        "calls os._exit(0)",
        "import os\ndef double(x):\n    os._exit(0)",
        "leaves_at_once",
        lambda t: t.gains or t.spoils,
    ),
    "loop": Stock(
        "loops for ever and catches everything",
        "def double(x):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
        "a_loop_that_catches_everything",
        lambda t: t.gains or t.spoils,
    ),
    "gradebook": Stock(
        "writes scores into the gradebook",
        f"{WRONG}{ABOVE}import sqlite3\nwith sqlite3.connect(home / 'gradebook.db') as db:\n"
        "    db.execute('update grade set manual_score = 0')",
        "gradebook",
        lambda t: "every student's score rewritten" if t.victim != 4 else "",
    ),
    "overwrite": Stock(
        "overwrites another submission",
        f"{WRONG}{ABOVE}(home / 'submitted/student02/ps1/ps1.ipynb').write_text('gone')",
        "writes_outside",
        lambda t: (
            "another submission destroyed"
            if (t.course / f"submitted/{VICTIM}/{NAME}/{NAME}.ipynb").read_text() == "gone"
            else ""
        ),
    ),
    "module": Stock(
        "writes a module into the course folder",
        f"{WRONG}{ABOVE}(home / 'nbgrader_config.py').write_text('mine = 1')",
        "modules_in_the_way",
        lambda t: (
            "its own code is the instructor's configuration"
            if (t.course / "nbgrader_config.py").read_text() == "mine = 1"
            else ""
        ),
    ),
    "daemon": Stock(
        "leaves a process behind",
        f"{WRONG}{ABOVE}import subprocess\n"
        "left = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "(home / 'left.txt').write_text(str(left.pid))",
        "daemon",
        lambda t: "a process outlives grading" if _end(t.course / "left.txt") else "",
    ),
    "bomb": Stock(
        "prints five megabytes in one line",
        f"{WRONG}print('x' * 5_000_000)",
        "output_bomb",
        lambda t: "a notebook of megabytes to read" if len(t.shown) > 1_000_000 else "",
    ),
}
CONTROLS = {
    "right": Stock("is right", "def double(x):\n    return 2 * x", "", lambda t: ""),
    "wrong": Stock("is wrong", WRONG, "", lambda t: ""),
    "warning": Stock(
        "is right, and warns",
        "import sys\ndef double(x):\n    print('slow', file=sys.stderr)\n    return 2 * x",
        "",
        lambda t: "" if t.double == 2 else "no points for a right answer",
    ),
}


def _end(note: Path) -> bool:
    """Whether a process lives whose number was written down; it is ended."""
    try:
        os.kill(int(note.read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        return False
    return True


class Course:
    """A course in a temporary folder, with one victim's submission graded.

    Args:
        folder: empty, or not there.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "template"
        (self.folder / "source" / NAME).mkdir(parents=True)
        config = "c = get_config()\nc.ExecutePreprocessor.timeout = 5\n"
        (self.folder / "nbgrader_config.py").write_text(config)
        nbformat.write(notebook(ASKED, OTHER), self.folder / f"source/{NAME}/{NAME}.ipynb")
        said = self._nbgrader(self.folder, "generate_assignment", NAME)
        released = self.folder / "release" / NAME / f"{NAME}.ipynb"
        if not released.exists():
            raise RuntimeError(f"nbgrader made no assignment: {said[-2000:]}")
        self.hand_in(self.folder, VICTIM, "def double(x):\n    return 2 * x")
        self._nbgrader(self.folder, "autograde", NAME, "--student", VICTIM)
        if self._scores(self.folder, VICTIM) != (2, 2):
            raise RuntimeError("nbgrader does not grade a right submission")

    def hand_in(self, course: Path, student: str, answer: str) -> None:
        """Put a submission into a course."""
        own = nbformat.read(course / "release" / NAME / f"{NAME}.ipynb", as_version=4)
        cells = {c.metadata.nbgrader.grade_id: c for c in own.cells if "nbgrader" in c.metadata}
        cells["double"].source = answer
        cells["triple"].source = "def triple(x):\n    return 3 * x"
        path = course / "submitted" / student / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(own, path)

    def try_out(self, name: str, attack: Stock) -> Tried:
        """Grade an attack in a copy of the course."""
        course = self.folder.parent / name
        shutil.copytree(self.folder, course)
        self.hand_in(course, ATTACKER, attack.cell)
        self._nbgrader(course, "autograde", NAME, "--student", ATTACKER)
        shown = course / "autograded" / ATTACKER / NAME / f"{NAME}.ipynb"
        mine = self._scores(course, ATTACKER)
        theirs = self._scores(course, VICTIM)
        text = shown.read_text("utf-8") if shown.exists() else ""
        outputs = json.dumps(
            [c.get("outputs") for c in json.loads(text or '{"cells": []}')["cells"]]
        )
        return Tried(*mine, sum(s or 0 for s in theirs), course, outputs)

    def _scores(self, course: Path, student: str) -> tuple:
        book = Gradebook(f"sqlite:///{course / 'gradebook.db'}")
        with book, contextlib.suppress(MissingEntry):
            (own,) = book.find_submission(NAME, student).notebooks
            found = {g.name: g.score for g in own.grades if not g.needs_manual_grade}
            return found.get("check-double"), found.get("check-triple")
        return None, None

    @staticmethod
    def _nbgrader(course: Path, *arguments: str) -> str:
        bin = str(Path(sys.executable).parent)
        place = {"JUPYTER_CONFIG_DIR": str(course), "IPYTHONDIR": str(course / "ipython")}
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *arguments],
            cwd=course,
            env={
                **os.environ,
                **place,
                "JUPYTER_NO_CONFIG": "1",
                "STOCK_SECRET": SECRET,
                "PATH": os.pathsep.join([bin, os.environ.get("PATH", "")]),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stdout + done.stderr


def notebook(double: str, triple: str):
    """The source notebook of the course."""
    new = nbformat.v4

    def cell(source, grade_id, **facts):
        own = {"schema_version": 3, "locked": False, "grade": False, "solution": False}
        made = new.new_code_cell(source)
        made.metadata["nbgrader"] = {**own, "task": False, "grade_id": grade_id, **facts}
        return made

    def graded(source, grade_id):
        return cell(source, grade_id, grade=True, locked=True, points=2)

    cells = [
        new.new_code_cell(SETUP),
        cell(double, "double", solution=True),
        cell(triple, "triple", solution=True),
        graded(CHECK, "check-double"),
        graded(CHECK_OTHER, "check-triple"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def on_ours(folder: Path) -> dict[str, str]:
    """What each attack that has a counterpart here achieves against this course's grader."""
    wanted = {s.ours for s in STOCK.values()}
    planted = arena.Secrets(folder / "secrets")
    patient = arena.Arena(folder / "patient", arena.LIMITS)
    hasty = arena.Arena(folder / "hasty", arena.SHORT)
    found = {}
    try:
        for attack in [a for a in arena.attacks() if a.name in wanted]:
            place = hasty if attack.slow else patient
            outcome = place.try_out(attack, planted.port)
            found[attack.name] = outcome.broken or "; ".join(attack.successes(outcome, planted))
        found |= _controls(patient)
    finally:
        planted.close()
        for place in (patient, hasty):
            place.close()
    return found


def _controls(place: arena.Arena) -> dict[str, str]:
    """What the controls get here: "" if that is right."""
    right = arena.flow_with("straightness")
    loud = "    import sys\n    print('slow', file=sys.stderr)\n    whole = "
    texts = {
        "right": right,
        "wrong": arena.flow_with() + "\n\ndef straightness(path):\n    return -1.0\n",
        "warning": right.replace("    whole = ", loud),
    }
    found = {}
    for name, text in texts.items():
        own = place.submission(f"control-{name}", text)
        results = place.worker.grade(own, ["flow.straightness"], seed=arena.SEED)
        got, due = arena.share(results["flow.straightness"]), float(name != "wrong")
        found[name] = "" if got == due else f"{got:.2f} of its points, not {due:g}"
    return found


def measure() -> str:
    """The table, attack by attack."""
    with tempfile.TemporaryDirectory(prefix="against-stock-") as folder:
        course = Course(Path(folder) / "stock")
        lines, won = [], 0
        ours = on_ours(Path(folder))
        for name, attack in (CONTROLS | STOCK).items():
            tried = course.try_out(name, attack)
            achieved = attack.succeeded(tried)
            won += bool(achieved) and name in STOCK
            failed = "fails" if name in STOCK else "as it deserves"
            here = ours[attack.ours or name] or failed
            here += f" (`{attack.ours}`)" if attack.ours else ""
            points = "nothing graded" if tried.double is None else f"{tried.double:g} of 2"
            lines.append(f"| {attack.says} | {points} | {achieved or failed} | {here} |")
            print(lines[-1], flush=True)
    lost = sum(bool(ours[attack.ours]) for attack in STOCK.values())
    head = (
        f"{won} of {len(STOCK)} attacks succeed against stock nbgrader, {lost} of the same attacks "
        "here.\n\n| a submission that … | its points, stock | stock `nbgrader autograde` | here |\n"
        "| --- | --- | --- | --- |\n"
    )
    return head + "\n".join(lines)


def main() -> None:
    """Measure, and write the table into README.md."""
    table = measure()
    text = README.read_text("utf-8")
    between = re.compile(rf"{re.escape(BEGIN)}.*?{re.escape(END)}", re.S)
    text = between.sub(lambda _: f"{BEGIN}\n{table}\n{END}", text)
    write_whole(README, text)


if __name__ == "__main__":
    main()
