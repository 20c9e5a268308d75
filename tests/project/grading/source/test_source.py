"""The source tree: what is wrong with it is said with file and line, before a release is made."""

import ast
import json

import pytest

from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.release.build import release
from cs231n_gen.grading.source.lint import BadSource, problems
from cs231n_gen.grading.source.markers import STUB, Gap, find_gaps, make_gaps
from cs231n_gen.grading.source.tree import chapters, exercises

MODULE = '''\
"""Two exercises."""


def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


def triple(x):
    """Three times x."""
    if x is None:
        raise ValueError("x must be a number")
    ### BEGIN SOLUTION
    y = 3 * x
    return y
    ### END SOLUTION
'''
TESTS = """\
import pytest


@pytest.mark.exercise("sums.double")
def test_double(student):
    assert student.sums.double(2) == 4


def triple(weight=1):
    return pytest.mark.exercise("sums.triple", weight=weight)


@triple(2)
def test_triple(student):
    assert student.sums.triple(2) == 6
"""
SUMS = "cs231n_gen/sums.py"
NOTEBOOK = "notebooks/01_sums/01_sums.ipynb"
MISTAKES, ACCEPTED = "tests/mistakes/sums.py", "tests/accepted/sums.py"
PUBLIC, HIDDEN = "tests/public/test_sums.py", "tests/hidden/test_sums.py"


def card(exercise, points):
    stars = "difficulty ●○○○○ · 5 minutes"
    return f"### Exercise: `{exercise}`\n\n{stars} · {points} points · slide 3 · needs nothing\n"


def variants(mark, count, *extra):
    lines = [f"from cs231n_gen.checking.variants import {mark}\n"]
    for exercise in ("sums.double", "sums.triple"):
        name = exercise.replace(".", "_")
        for n in range(count):
            arguments = ", ".join([f'"{exercise}"', *extra])
            lines.append(f"\n\n@{mark}({arguments})\ndef {name}_{n}(x):\n    return {n}\n")
    return "".join(lines)


def cell(kind, text, own_id, **nbgrader):
    made = {"cell_type": kind, "id": own_id, "metadata": {}}
    if nbgrader:
        whole = {"grade": True, "schema_version": 3, "task": False, **nbgrader}
        made["metadata"]["nbgrader"] = whole
    if kind == "code":
        made |= {"execution_count": None, "outputs": []}
    return made | {"source": text.splitlines(keepends=True)}


def checked(exercise, own_id, points):
    found = {"grade_id": exercise.replace(".", "-"), "points": points}
    return cell("code", f'check("{exercise}")', own_id, **found, locked=True, solution=False)


def notebook():
    answer = "### BEGIN SOLUTION\nSums are finite.\n### END SOLUTION"
    question = {"grade_id": "sums-question", "points": 3, "locked": False, "solution": True}
    cells = [
        cell("markdown", "# Sums", "title"),
        cell("markdown", card("sums.double", 2), "card-double"),
        checked("sums.double", "check-double", 2),
        cell("markdown", card("sums.triple", 3), "card-triple"),
        checked("sums.triple", "check-triple", 3),
        cell("markdown", answer, "answer", **question),
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


class Tree:
    """A small source tree without a problem, to be spoiled."""

    def __init__(self, root):
        self.root = root
        self.write(SUMS, MODULE)
        self.write(PUBLIC, TESTS)
        self.write(HIDDEN, TESTS)
        self.write(MISTAKES, variants("mistake", 4, '"It is wrong."'))
        self.write(ACCEPTED, variants("accepted", 2))
        self.write(NOTEBOOK, json.dumps(notebook(), ensure_ascii=False, indent=1) + "\n")

    def write(self, file, text):
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, file):
        return (self.root / file).read_text(encoding="utf-8")

    def edit(self, file, old, new):
        text = self.read(file)
        assert old in text, f"{old!r} is not in {file}"
        self.write(file, text.replace(old, new, 1))

    def edit_cell(self, own_id, change):
        """Change a cell of the notebook; a list that `change` returns takes its place."""
        whole = json.loads(self.read(NOTEBOOK))
        at = next(i for i, c in enumerate(whole["cells"]) if c["id"] == own_id)
        found = change(whole["cells"][at])
        if found is not None:
            whole["cells"][at : at + 1] = found
        self.write(NOTEBOOK, json.dumps(whole, ensure_ascii=False, indent=1) + "\n")

    def line(self, file, text, occurrence=1):
        """The number of the line that holds `text`, for the n-th time."""
        lines = enumerate(self.read(file).splitlines(), 1)
        return [n for n, line in lines if text in line][occurrence - 1]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "source")


def of_cell(own_id):
    return f'"id": "{own_id}"'


def edit(file, old, new):
    return lambda tree: tree.edit(file, old, new)


def edit_cell(own_id, change):
    return lambda tree: tree.edit_cell(own_id, change)


def metadata(own_id, **values):
    return edit_cell(own_id, lambda c: c["metadata"]["nbgrader"].update(values))


def source(own_id, *lines):
    return edit_cell(own_id, lambda c: c.update(source=list(lines)))


def no_cell(own_id):
    return edit_cell(own_id, lambda c: [])


def once_more(own_id):
    return edit_cell(own_id, lambda c: [c, {**c, "id": "again"}])


def with_output(own_id):
    stream = {"output_type": "stream", "name": "stdout", "text": ["4\n"]}
    return edit_cell(own_id, lambda c: c.update(outputs=[stream]))


def was_run(own_id):
    return edit_cell(own_id, lambda c: c.update(execution_count=7))


OPEN = "    return 2 * x\n    ### END SOLUTION\n"
END = "    ### END SOLUTION\n"
TORN = f"    try:\n        y = 3 * x\n{END}    finally:\n        print(x)\n    return y\n"
DOUBLE, TRIPLE = "def double(x)", "def triple(x)"
OWN_TEST = '@pytest.mark.exercise("sums.double")'
OUTSIDE = "### BEGIN SOLUTION\nTWO = 2\n### END SOLUTION\n\n\n"
IN_PRIVATE = "def _half(x):\n    ### BEGIN SOLUTION\n    return x / 2\n    ### END SOLUTION\n\n\n"
LOOSE_ANSWER = ["### BEGIN SOLUTION\n", "5\n", "### END SOLUTION"]

# What is done to the tree, the file, text of the line (and which of several), part of the sentence.
SPOILED = {
    "a solution that never ends": (
        edit(SUMS, "    return y\n    ### END SOLUTION\n", "    return y\n"),
        (SUMS, "### BEGIN SOLUTION", 2),
        "without an ### END SOLUTION after it",
    ),
    "a solution that begins inside another": (
        edit(SUMS, OPEN, "    return 2 * x\n"),
        (SUMS, "### BEGIN SOLUTION", 2),
        "inside the solution that begins on line 6",
    ),
    "an end without a beginning": (
        edit(SUMS, "    ### BEGIN SOLUTION\n    return 2 * x\n", "    return 2 * x\n"),
        (SUMS, "### END SOLUTION", 1),
        "without a ### BEGIN SOLUTION before it",
    ),
    "a misspelt marker": (
        edit(SUMS, "    ### BEGIN SOLUTION\n    y", "    # Begin Solutions\n    y"),
        (SUMS, "# Begin Solutions", 1),
        "write a marker as ### BEGIN SOLUTION or ### END SOLUTION, not as # Begin Solutions",
    ),
    "a marker with a word after it": (
        edit(SUMS, "### END SOLUTION", "### END SOLUTION here"),
        (SUMS, "### END SOLUTION here", 1),
        "write a marker as",
    ),
    "a solution outside of any function": (
        edit(SUMS, "def double", OUTSIDE + "def double"),
        (SUMS, "### BEGIN SOLUTION", 1),
        "a solution belongs in a public function or class",
    ),
    "a solution in a private function": (
        edit(SUMS, "def double", IN_PRIVATE + "def double"),
        (SUMS, "### BEGIN SOLUTION", 1),
        "a solution belongs in a public function or class",
    ),
    "nothing between the markers": (
        edit(SUMS, "    y = 3 * x\n    return y\n" + END, END + "    return x\n"),
        (SUMS, "### BEGIN SOLUTION", 2),
        "there is no solution between the markers",
    ),
    "a solution that runs on into the next function": (
        edit(
            SUMS, OPEN + "\n\n", "    return 2 * x\n\n\ndef quad(x):\n    ### END SOLUTION\n    x\n"
        ),
        (SUMS, "### BEGIN SOLUTION", 1),
        "the solution runs on into the next function",
    ),
    "an exercise that is written twice": (
        edit(SUMS, "def triple", "def double"),
        (SUMS, DOUBLE, 1),
        "sums.double is written twice in this file",
    ),
    "a solution that ends within a statement": (
        edit(SUMS, "    y = 3 * x\n    return y\n" + END, TORN),
        (SUMS, TRIPLE, 1),
        "sums.triple does not parse once its solution is cut out: invalid syntax",
    ),
    "a module that is no Python": (
        edit(SUMS, "return 2 * x", "return 2 * * x"),
        (SUMS, "return 2 * * x", 1),
        "not Python: invalid syntax",
    ),
    "a grade_id that is taken": (
        once_more("check-double"),
        (NOTEBOOK, of_cell("again"), 1),
        "the grade_id sums-double is taken, by a cell of 01_sums",
    ),
    "a graded cell without an exercise": (
        metadata("check-double", grade_id="sums-half"),
        (NOTEBOOK, of_cell("check-double"), 1),
        "sums-half is a graded cell without an exercise",
    ),
    "a grade_id with a dot": (
        metadata("check-double", grade_id="sums.double"),
        (NOTEBOOK, of_cell("check-double"), 1),
        "grade_id 'sums.double': letters, digits, _ and - are allowed",
    ),
    "a grade_id with a dot, of a question": (
        metadata("answer", grade_id="sums.question"),
        (NOTEBOOK, of_cell("answer"), 1),
        "grade_id 'sums.question': letters",
    ),
    "an exercise without a cell": (
        no_cell("check-triple"),
        (SUMS, TRIPLE, 1),
        "sums.triple has no graded cell in any notebook (grade_id sums-triple)",
    ),
    "no card": (
        no_cell("card-double"),
        (NOTEBOOK, of_cell("check-double"), 1),
        "sums.double has no card above its cell: a heading ### Exercise: `sums.double`",
    ),
    "the card of another exercise": (
        source("card-triple", card("sums.double", 3)),
        (NOTEBOOK, of_cell("check-triple"), 1),
        "sums.triple has no card above its cell",
    ),
    "a card without its line": (
        source("card-double", "### Exercise: `sums.double`\n", "\n", "2 points"),
        (NOTEBOOK, of_cell("card-double"), 1),
        "the card of sums.double needs a line like: difficulty ●●○○○ ·",
    ),
    "a card with other points": (
        metadata("check-triple", points=5),
        (NOTEBOOK, of_cell("card-triple"), 1),
        "the card of sums.triple says 3 points, its cell 5",
    ),
    "a cell without points": (
        metadata("check-triple", points=0),
        (NOTEBOOK, of_cell("check-triple"), 1),
        "sums-triple has no points",
    ),
    "a check of something else": (
        source("check-double", 'check("sums.triple")'),
        (NOTEBOOK, "check(", 1),
        'the graded cell of sums.double must be check("sums.double")',
    ),
    "a check that can be edited": (
        metadata("check-double", locked=False),
        (NOTEBOOK, of_cell("check-double"), 1),
        "the graded cell of sums.double must be locked and not an answer cell",
    ),
    "a question without an answer": (
        metadata("answer", solution=False),
        (NOTEBOOK, of_cell("answer"), 1),
        "sums-question is a question without an answer",
    ),
    "a solution in a cell for reading": (
        source("title", *LOOSE_ANSWER),
        (NOTEBOOK, "### BEGIN SOLUTION", 1),
        "a solution in a cell that is not an answer cell",
    ),
    "a solution that never ends, in a cell": (
        source("answer", "### BEGIN SOLUTION\n", "Sums are finite."),
        (NOTEBOOK, "### BEGIN SOLUTION", 1),
        "without an ### END SOLUTION after it",
    ),
    "outputs left in a notebook": (
        with_output("check-double"),
        (NOTEBOOK, of_cell("check-double"), 1),
        "a source notebook carries no outputs: clear them",
    ),
    "an execution count left in a notebook": (
        was_run("check-triple"),
        (NOTEBOOK, of_cell("check-triple"), 1),
        "a source notebook carries no outputs: clear them",
    ),
    "a notebook that is no JSON": (
        edit(NOTEBOOK, '"id": "answer",', '"id": "answer"'),
        (NOTEBOOK, '"metadata"', 6),
        "not a notebook: Expecting ',' delimiter",
    ),
    "no public check": (
        edit(PUBLIC, OWN_TEST, "@pytest.mark.slow"),
        (SUMS, DOUBLE, 1),
        "sums.double has no public check in tests/public",
    ),
    "no hidden grader": (
        edit(HIDDEN, OWN_TEST, "@pytest.mark.slow"),
        (SUMS, DOUBLE, 1),
        "sums.double has no hidden grader in tests/hidden",
    ),
    "fewer than 4 mistakes": (
        edit(MISTAKES, '@mistake("sums.triple", "It is wrong.")\n', ""),
        (SUMS, TRIPLE, 1),
        "sums.triple has 3 of at least 4 variants in tests/mistakes",
    ),
    "fewer than 2 accepted": (
        edit(ACCEPTED, '@accepted("sums.double")\n', ""),
        (SUMS, DOUBLE, 1),
        "sums.double has 1 of at least 2 variants in tests/accepted",
    ),
    "a test of no exercise": (
        edit(HIDDEN, OWN_TEST, f'{OWN_TEST[:-2]}s")'),
        (HIDDEN, "sums.doubles", 1),
        "there is no exercise sums.doubles",
    ),
    "tests that are no Python": (
        edit(MISTAKES, "return 3", "return = 3"),
        (MISTAKES, "return = 3", 1),
        "not Python: invalid syntax",
    ),
}


# --- what is reported ---------------------------------------------------------------------------


def test_the_source_of_this_course_has_no_problem():
    assert not problems(), "\n".join(map(str, problems()))


def test_the_small_tree_has_no_problem(tree):
    assert not problems(tree.root)


@pytest.mark.parametrize("spoil, where, says", SPOILED.values(), ids=SPOILED)
def test_it_reports_with_file_and_line(tree, spoil, where, says):
    spoil(tree)
    found = problems(tree.root)
    at = (where[0], tree.line(*where))
    told = "\n".join(map(str, found)) or "nothing"
    assert any((p.file, p.line) == at and says in p.text for p in found), (
        f"nothing like “{says}” at {at[0]}:{at[1]}, but\n{told}"
    )


def test_a_problem_reads_as_file_line_and_sentence(tree):
    tree.edit(SUMS, "    return y\n    ### END SOLUTION\n", "    return y\n")
    (only,) = problems(tree.root)
    assert str(only) == f"{SUMS}:15: ### BEGIN SOLUTION without an ### END SOLUTION after it"


def test_every_problem_is_reported_at_once(tree):
    tree.edit_cell("check-double", lambda c: c["metadata"]["nbgrader"].update(points=5))
    tree.edit(MISTAKES, '@mistake("sums.triple", "It is wrong.")\n', "")
    tree.edit(HIDDEN, OWN_TEST, "@pytest.mark.slow")
    assert len(problems(tree.root)) == 3


def test_a_notebook_named_unlike_its_folder_is_reported(tree):
    (tree.root / NOTEBOOK).rename(tree.root / "notebooks/01_sums/01_sum.ipynb")
    (found,) = problems(tree.root)
    assert (found.file, found.line) == ("notebooks/01_sums/01_sum.ipynb", 1)
    assert "must have its name" in found.text


def test_nothing_of_the_source_is_run(tree):
    tree.edit(SUMS, '"""Two exercises."""', '"""Two."""\n\nraise SystemExit("imported")')
    assert not problems(tree.root)


# --- a release of a bad source ------------------------------------------------------------------


@pytest.fixture
def spoiled(tree):
    tree.edit(SUMS, "    return y\n    ### END SOLUTION\n", "    return y\n")
    return tree


def test_a_release_of_a_bad_source_stops_and_says_where(spoiled, tmp_path):
    with pytest.raises(BadSource, match=rf"{SUMS}:15: ") as stopped:
        release(output=tmp_path / "build" / "course", root=spoiled.root)
    assert stopped.value.problems == problems(spoiled.root)


def test_a_release_of_a_bad_source_leaves_an_earlier_one_as_it_was(spoiled, tmp_path):
    course = tmp_path / "build" / "course"
    course.mkdir(parents=True)
    (course / "README.md").write_text("an earlier build", encoding="utf-8")
    (course.parent / "course.zip").write_bytes(b"an earlier zip")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(BadSource):
        release(output=course, root=spoiled.root)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert {p.name for p in course.parent.iterdir()} == {"course", "course.zip"}


# --- what the source holds ----------------------------------------------------------------------


def test_exercises_are_found_in_the_order_they_are_written(tree):
    found = exercises(tree.root)
    assert [e.id for e in found] == ["sums.double", "sums.triple"]
    assert [e.grade_id for e in found] == ["sums-double", "sums-triple"]
    assert [e.line for e in found] == [tree.line(SUMS, DOUBLE), tree.line(SUMS, TRIPLE)]


def test_a_module_is_parsed_once_until_it_changes(tree, monkeypatch):
    parsed, parse = [], ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: parsed.append(text) or parse(text))
    for _ in range(3):
        exercises(tree.root)
    assert parsed == [MODULE]
    tree.write(SUMS, MODULE.replace("double", "twice"))
    assert [e.id for e in exercises(tree.root)] == ["sums.twice", "sums.triple"]


def test_a_chapter_knows_its_graded_cells(tree):
    (chapter,) = chapters(tree.root)
    assert (chapter.name, chapter.number) == ("01_sums", "01")
    worth = {c.grade_id: c.points for c in chapter.graded}
    assert worth == {"sums-double": 2, "sums-triple": 3, "sums-question": 3}


def test_the_instructors_own_modules_hold_no_exercise(tree):
    tree.write("cs231n_gen/grading/sums.py", MODULE)
    assert [e.id for e in exercises(tree.root)] == ["sums.double", "sums.triple"]


def test_chapter_04_is_worth_what_its_cards_say():
    (chapter,) = [c for c in chapters(ROOT) if c.number == "04"]
    points = {c.grade_id: c.points for c in chapter.graded}
    flow = {e.grade_id for e in exercises(ROOT) if e.module == "flow"}
    assert flow <= points.keys(), "an exercise of flow has no points in chapter 04"


# --- markers ------------------------------------------------------------------------------------


def test_gaps_are_the_lines_of_their_markers():
    gaps, wrong = find_gaps(MODULE)
    assert gaps == [Gap(6, 8), Gap(15, 18)]
    assert not wrong


def test_a_text_without_markers_has_no_gaps():
    assert find_gaps("def f():\n    return 1\n") == ([], [])


@pytest.mark.parametrize("line", ["# the end of the solution", "s = '### BEGIN SOLUTION'"])
def test_what_only_mentions_a_solution_is_no_marker(line):
    assert find_gaps(line) == ([], [])


@pytest.mark.parametrize(
    "line", ["# BEGIN SOLUTION", "### begin solution", "###END SOLUTION", "### END SOLUTIONS"]
)
def test_what_looks_like_a_marker_is_wrong(line):
    gaps, wrong = find_gaps(f"x = 1\n{line}\n")
    assert not gaps
    assert [n for n, _ in wrong] == [2]


def test_a_gap_becomes_a_stub_at_its_own_depth():
    (gap,) = find_gaps("def f():\n    if True:\n" + _indented(8))[0]
    left = make_gaps("def f():\n    if True:\n" + _indented(8), [gap])
    assert left == "def f():\n    if True:\n" + "".join(
        f"        {line}\n" for line in STUB.split("\n")
    )


def test_a_gap_that_is_not_asked_for_is_left_solved_without_its_markers():
    left = make_gaps(MODULE, [Gap(6, 8)])
    assert "return 2 * x" not in left
    assert "    y = 3 * x\n    return y\n" in left
    assert "SOLUTION" not in left


def test_outside_the_gaps_not_a_byte_changes():
    left = make_gaps(MODULE, find_gaps(MODULE)[0])
    stub = "".join(f"    {line}\n" for line in STUB.split("\n"))
    lines = MODULE.splitlines(keepends=True)
    assert left == "".join([*lines[:5], stub, *lines[8:14], stub, *lines[18:]])


def test_a_text_without_gaps_stays_as_it_is():
    assert make_gaps("x = 1\r\ny = 2", []) == "x = 1\r\ny = 2"


def _indented(depth):
    lines = ["### BEGIN SOLUTION", "return 1", "### END SOLUTION"]
    return "".join(f"{' ' * depth}{line}\n" for line in lines)
