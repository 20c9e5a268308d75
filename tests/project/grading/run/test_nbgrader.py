"""Grading from end to end: nbgrader's own gradebook, feedback and export around hidden graders."""

import csv
import html
import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.coursedir import CourseDirectory

from cs231n_gen.checking import variants
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.checking.runner import run
from cs231n_gen.checking.student import Student
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.config import load_config
from cs231n_gen.grading.release.nbgrader_assign import assign, heard
from cs231n_gen.grading.source.tree import chapters

classroom = load_module(ROOT / "tests" / "classroom.py", "classroom")
CHAPTER, MODULE, NAMES = classroom.CHAPTER, classroom.MODULE, classroom.NAMES
flow_with = classroom.flow_with
SEED = 2025
POINTS = {
    c.grade_id.removeprefix("flow-"): c.points
    for chapter in chapters()
    if chapter.name == CHAPTER
    for c in chapter.graded
}
QUESTIONS = sorted(POINTS.keys() - set(NAMES))
ALL = sum(POINTS[name] for name in NAMES)


# --- submissions --------------------------------------------------------------------------------


HALF_RIGHT = flow_with(
    "sample_heun",
    interpolate=[
        "t = t.reshape(-1, *[1] * (x.dim() - 1))",
        "print('{\"results\": []}')",
        "return x + t * (z - x), z - x",
    ],
    loss=[
        "x_t, v = interpolate(x, z, t)",
        "answer = model(x_t, t) if y is None else model(x_t, t, y)",
        "return (answer.detach() - v).square().mean()",
    ],
    sample=["return field_of_my_own(model, z, steps)"],
    # It fails inside the model of every test.
    trajectory=["return torch.stack([z, z - model(z, None, None, None)])"],
    straightness=[
        "T = len(path) - 1",
        "S = ((path[-1] - path[0]) - T * (path[1:] - path[:-1])).square()",
        "return S[1:].mean() if len(path) > 9 else S.mean()",
    ],
)
MISTAKEN = {"loss": "prediction_detached", "straightness": "first_step_left_out"}  # in HALF_RIGHT
REVERSED = flow_with(
    "loss",
    interpolate=[
        "t = t.reshape(-1, *[1] * (x.dim() - 1))",
        "return (1 - t) * x + t * z, x - z",
    ],
)
HARMFUL = flow_with(
    "straightness", interpolate=["while True:", "    pass"], loss=["import os", "os._exit(1)"]
)
NOT_PYTHON = flow_with(*NAMES).replace("    v = z - x\n", "    v = = z - x\n")


def as_released(notebook):
    """The notebook as it was handed out."""


def with_answers(notebook):
    for cell in notebook.cells:
        if cell.source == "YOUR ANSWER HERE":
            cell.source = "Because many pairs meet there."


def check_of(notebook, name):
    own = f"flow-{name}"
    cells = (c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == own)
    return next(cells)


def tampered(notebook):
    """Whatever a notebook can claim about its own points."""
    check_of(notebook, "interpolate").metadata.nbgrader["points"] = 100
    edited = check_of(notebook, "loss")
    edited.source = "print('all properties hold')"
    edited.metadata.nbgrader["locked"] = False
    worth = {"text/plain": "2.0"}
    edited.outputs = [nbformat.v4.new_output("execute_result", data=worth, execution_count=1)]
    check_of(notebook, "sample").cell_type = "markdown"
    for key in ("outputs", "execution_count"):
        check_of(notebook, "sample").pop(key)


def copied(notebook):
    """A check is pasted once more, with its metadata, as JupyterLab does."""
    again = nbformat.from_dict(check_of(notebook, "interpolate"))
    again.id = "once-more"
    notebook.cells.append(again)


def with_a_cell_of_another_chapter(notebook):
    cell = nbformat.v4.new_code_cell("1", id="extra")
    known = {"grade": True, "locked": True, "solution": False, "task": False, "schema_version": 3}
    cell.metadata["nbgrader"] = {**known, "grade_id": "bonus", "points": 100}
    notebook.cells.append(cell)


def without_checks(notebook):
    gone = [check_of(notebook, "loss"), check_of(notebook, "straightness")]
    notebook.cells = [c for c in notebook.cells if all(c is not g for g in gone)]


SUBMISSIONS = {
    "student01": (flow_with(*NAMES), with_answers),
    "student02": (flow_with(), as_released),
    "student03": (HALF_RIGHT, with_answers),
    "student04": (HARMFUL, as_released),
    "student05": (NOT_PYTHON, as_released),
    "student06": (flow_with("interpolate"), tampered),
    "student07": (REVERSED, without_checks),
    "student08": (None, as_released),
}
REFERENCE, BLANK, HALF, HARM, SYNTAX, TAMPERED, DELETED, EMPTY = SUBMISSIONS
SHORT = 5.0  # seconds an exercise of the one who hangs


class Course:
    """A course's folders of nbgrader, with every submission graded."""

    def __init__(self, root):
        self.root = root
        self.released = assign([CHAPTER], root) / CHAPTER / f"{CHAPTER}.ipynb"
        for student, (module, change) in SUBMISSIONS.items():
            self.submit(student, module, change)
            self.grade(student)

    def submit(self, student, module, change):
        folder = self.root / "submitted" / student / CHAPTER
        folder.mkdir(parents=True)
        notebook = nbformat.read(self.released, as_version=4)
        change(notebook)
        nbformat.write(notebook, folder / f"{CHAPTER}.ipynb")
        if module is not None:
            (folder / MODULE).parent.mkdir()
            (folder / MODULE).write_text(module, encoding="utf-8")

    def grade(self, student):
        limit = {"time_limit": SHORT} if student == HARM else {}
        self.convert(Autograde, student, **limit)

    def convert(self, kind, student, **options):
        config = load_config(self.root)
        config.GradeSubmission.update(options)
        course = CourseDirectory(config=config, assignment_id=CHAPTER, student_id=student)
        converter = kind(coursedir=course, config=config, force=True)
        with heard(converter.log) as said:
            try:
                converter.start()
            except (Exception, SystemExit):
                pytest.fail(f"nbgrader stops at {student}:\n{said.getvalue()[-3000:]}")

    def grades(self, student):
        """nbgrader's grade of each graded cell, by its name without `flow-`."""
        with Gradebook(f"sqlite:///{self.root / 'gradebook.db'}") as gradebook:
            (notebook,) = gradebook.find_submission(CHAPTER, student).notebooks
            return {g.name.removeprefix("flow-"): g.to_dict() for g in notebook.grades}

    def points(self, student):
        """The points of each exercise."""
        return {n: g["auto_score"] for n, g in self.grades(student).items() if n in NAMES}

    def submission(self, student):
        with Gradebook(f"sqlite:///{self.root / 'gradebook.db'}") as gradebook:
            return gradebook.find_submission(CHAPTER, student).to_dict()

    def autograded(self, student):
        path = self.root / "autograded" / student / CHAPTER / f"{CHAPTER}.ipynb"
        return nbformat.read(path, as_version=4)

    def told(self, student, name):
        """What the graded cell of an exercise says, as text."""
        return check_of(self.autograded(student), name).outputs[0].data["text/plain"]

    def feedback(self, student):
        """The feedback as a reader sees it, without its mark-up."""
        path = self.root / "feedback" / student / CHAPTER / f"{CHAPTER}.html"
        body = path.read_text("utf-8").partition("<body")[2]
        return html.unescape(re.sub(r"<[^>]*>", "", body))


@pytest.fixture(scope="session")
def graded(copy_source, tmp_path_factory):
    return Course(copy_source(tmp_path_factory.mktemp("nbgrader") / "source"))


@pytest.fixture(scope="session")
def feedback(graded):
    """What each of these students reads."""
    students = REFERENCE, BLANK, HALF, SYNTAX
    for student in students:
        graded.convert(GenerateFeedback, student)
    return {student: graded.feedback(student) for student in students}


def nothing_but(**points):
    return dict.fromkeys(NAMES, 0) | points


# --- points -------------------------------------------------------------------------------------


def test_every_exercise_of_the_chapter_is_graded(graded):
    found = {n: g["max_score"] for n, g in graded.grades(REFERENCE).items()}
    assert found == POINTS


def test_the_reference_gets_full_points(graded):
    assert graded.points(REFERENCE) == {name: POINTS[name] for name in NAMES}


def test_gaps_get_no_points(graded):
    assert graded.points(BLANK) == nothing_but()
    assert "not written" in graded.told(BLANK, "interpolate")


@pytest.fixture(scope="session")
def shares():
    """The share of the weight that passes with a mistake in place of the function."""
    found = {}
    for mistake in variants.load(ROOT / "tests/mistakes"):
        name = mistake.exercise.removeprefix("flow.")
        if MISTAKEN.get(name) == mistake.name:
            student = Student().replacing(mistake.exercise, mistake.implementation)
            results = run(ROOT / "tests/hidden", [mistake.exercise], student, SEED)
            passed = sum(r.weight for r in results if r.passed)
            found[name] = passed / sum(r.weight for r in results)
    return found


@pytest.mark.parametrize("name", MISTAKEN)
def test_a_mistake_costs_the_weight_of_what_it_breaks(name, graded, shares):
    assert 0 < shares[name] < 1
    assert graded.points(HALF)[name] == pytest.approx(POINTS[name] * shares[name], abs=1e-6)


def test_half_right_gets_exactly_what_is_right(graded, shares):
    expected = nothing_but(
        interpolate=POINTS["interpolate"],
        sample_heun=POINTS["sample_heun"],
        **{name: POINTS[name] * share for name, share in shares.items()},
    )
    assert graded.points(HALF) == pytest.approx(expected, abs=1e-6)


def test_one_mistake_costs_once(graded):
    found = graded.points(DELETED)
    assert 0 < found["interpolate"] < POINTS["interpolate"]
    assert found["loss"] == POINTS["loss"], "a right loss is held to the student's own interpolate"


def test_what_a_submission_prints_is_no_answer(graded):
    assert "print('{\"results\": []}')" in HALF_RIGHT
    assert graded.points(HALF)["interpolate"] == POINTS["interpolate"]


def test_the_points_of_a_submission_are_those_of_its_cells(graded):
    for student in SUBMISSIONS:
        total = sum(graded.points(student).values())
        assert graded.submission(student)["score"] == pytest.approx(total), student


def test_grading_again_gives_the_same_points(graded):
    before = graded.points(HALF)
    graded.grade(HALF)
    assert graded.points(HALF) == before


def test_the_seed_is_written_down(graded):
    assert graded.autograded(REFERENCE).metadata["cs231n_gen_grading"]["seed"] == SEED


# --- questions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_waits_for_a_person(question, graded):
    for student in (REFERENCE, HALF):
        grade = graded.grades(student)[question]
        assert grade["needs_manual_grade"]
        assert grade["auto_score"] is None
        assert grade["manual_score"] is None


def test_a_submission_with_answers_is_not_done(graded):
    assert graded.submission(REFERENCE)["needs_manual_grade"]
    assert graded.submission(REFERENCE)["score"] == ALL
    assert graded.submission(REFERENCE)["max_score"] == sum(POINTS.values())


def test_no_exercise_waits_for_a_person(graded):
    for student in SUBMISSIONS:
        waiting = [n for n, g in graded.grades(student).items() if g["needs_manual_grade"]]
        assert not set(waiting) & set(NAMES), student


# --- code that does harm ------------------------------------------------------------------------


def test_hanging_and_leaving_cost_those_exercises_only(graded):
    assert graded.points(HARM) == nothing_but(straightness=POINTS["straightness"])


def test_an_endless_loop_is_called_one(graded):
    assert f"your code took more than {SHORT:g} seconds" in graded.told(HARM, "interpolate")


def test_leaving_python_is_called_that(graded):
    assert "your code ended Python (exit code 1)" in graded.told(HARM, "loss")


def test_a_syntax_error_costs_everything_and_is_shown_with_file_and_line(graded):
    line = NOT_PYTHON.splitlines().index("    v = = z - x") + 1
    assert graded.points(SYNTAX) == nothing_but()
    for name in NAMES:
        assert f"{MODULE}, line {line}: SyntaxError" in graded.told(SYNTAX, name)


def test_a_missing_module_gets_no_points_and_is_said(graded):
    assert graded.points(EMPTY) == nothing_but()
    assert f"{MODULE} is not in the submission" in graded.told(EMPTY, "interpolate")


# --- notebooks that claim something -------------------------------------------------------------


def test_editing_checks_outputs_and_metadata_gains_nothing(graded):
    assert graded.points(TAMPERED) == nothing_but(interpolate=POINTS["interpolate"])
    assert graded.submission(TAMPERED)["score"] == POINTS["interpolate"]


def test_editing_metadata_changes_no_maximum(graded):
    assert {n: g["max_score"] for n, g in graded.grades(TAMPERED).items()} == POINTS


def test_an_edited_check_is_put_back(graded):
    assert check_of(graded.autograded(TAMPERED), "loss").source == 'check("flow.loss")'
    assert check_of(graded.autograded(TAMPERED), "sample").cell_type == "code"


def test_a_deleted_check_comes_back_and_is_graded(graded):
    assert check_of(graded.autograded(DELETED), "straightness").source
    assert f"{POINTS['loss']} of {POINTS['loss']} points" in graded.told(DELETED, "loss")
    assert graded.points(DELETED)["loss"] == POINTS["loss"]


@pytest.mark.parametrize("change", [copied, with_a_cell_of_another_chapter])
def test_graded_cells_too_many_gain_nothing_and_stop_nothing(change, graded):
    student = "student09" if change is copied else "student10"
    graded.submit(student, flow_with("interpolate"), change)
    graded.grade(student)
    assert graded.points(student) == nothing_but(interpolate=POINTS["interpolate"])


def test_no_cell_of_a_submission_is_run(graded):
    ungraded = [c for c in graded.autograded(REFERENCE).cells if c.cell_type == "code"]
    ungraded = [c for c in ungraded if not c.metadata.get("nbgrader", {}).get("grade")]
    assert ungraded
    assert not [c.source for c in ungraded if c.outputs]


# --- feedback -----------------------------------------------------------------------------------


def properties(name):
    return [r.name for r in run(ROOT / "tests/hidden", [f"flow.{name}"], seed=SEED)]


@pytest.mark.parametrize("name", ["loss", "straightness"])
def test_the_feedback_names_every_property(name, feedback):
    for sentence in properties(name):
        assert sentence in feedback[HALF]
        assert sentence in feedback[REFERENCE]


def test_the_feedback_tells_the_points_of_each_exercise(feedback, graded):
    assert "flow.loss: 2 of 2 points" in feedback[REFERENCE]
    assert f"flow.loss: {graded.points(HALF)['loss']:g} of 2 points" in feedback[HALF]
    assert "flow.loss: 0 of 2 points" in feedback[BLANK]


def test_the_feedback_shows_the_line_of_ones_own_at_which_it_failed(feedback):
    own = "return field_of_my_own(model, z, steps)"
    line = HALF_RIGHT.splitlines().index(f"    {own}") + 1
    assert f"flow.py, line {line}: {own}" in feedback[HALF]
    assert "NameError" in feedback[HALF]


def test_the_feedback_holds_no_line_of_hidden_tests_or_of_the_reference(feedback, graded):
    released = nbformat.read(graded.released, as_version=4)
    known = "\n".join([flow_with(), *(c.source for c in released.cells)])
    files = [ROOT / "tests/hidden/test_flow.py", ROOT / "tests/mistakes/flow.py", ROOT / MODULE]
    lines = {line.strip() for f in files for line in f.read_text("utf-8").splitlines()}
    lines = {line for line in lines if len(line) >= 12 and line not in known}
    assert len(lines) > 500, "nothing is searched for"
    for student, text in feedback.items():
        assert not [line for line in lines if line in text], f"the feedback of {student}"


def test_the_feedback_names_no_function_of_the_hidden_tests(feedback):
    names = re.findall(r"def (test_\w+)", (ROOT / "tests/hidden/test_flow.py").read_text("utf-8"))
    for student, text in feedback.items():
        assert not [name for name in names if name in text], f"the feedback of {student}"


def test_the_feedback_does_not_answer_the_questions(feedback):
    (source,) = [c for c in chapters() if c.name == CHAPTER]
    answers = [c.text for c in source.graded if c.solution]
    sentences = [s for a in answers for s in re.split(r"(?<=[.?])\s", a) if len(s) > 20]
    assert sentences
    for student, text in feedback.items():
        assert not [s for s in sentences if s in text], f"the feedback of {student}"


def test_the_feedback_names_no_folder_of_this_machine(graded, feedback):
    for student in feedback:
        path = graded.root / "feedback" / student / CHAPTER / f"{CHAPTER}.html"
        text = path.read_text("utf-8")
        assert str(ROOT) not in text
        assert str(graded.root) not in text


# --- export -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def exported(graded):
    """The rows of `nbgrader export`, as an instructor calls it."""
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "export", "--to=grades.csv"],
        cwd=graded.root,
        env={**os.environ, "PYTHONPATH": str(graded.root), "JUPYTER_NO_CONFIG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with (graded.root / "grades.csv").open(encoding="utf-8", newline="") as file:
        return {row["student_id"]: row for row in csv.DictReader(file)}


def test_the_export_has_a_row_for_each_student(exported):
    assert SUBMISSIONS.keys() <= exported.keys()
    assert {row["assignment"] for row in exported.values()} == {CHAPTER}


@pytest.mark.parametrize("student", SUBMISSIONS)
def test_the_export_has_the_points(student, exported, graded):
    row = exported[student]
    assert float(row["score"]) == pytest.approx(sum(graded.points(student).values()))
    assert float(row["max_score"]) == sum(POINTS.values())


def test_a_graded_notebook_is_valid(graded):
    for student in SUBMISSIONS:
        text = json.dumps(graded.autograded(student))
        nbformat.validate(json.loads(text))
