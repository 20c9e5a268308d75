"""What students get: every gap, every public check, and nothing of the instructor's."""

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nbformat
import pytest

import cs231n_gen.grading.release.build as releasing
from cs231n_gen.checking import diagnosis, variants
from cs231n_gen.common.files import files_in
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.release.build import release
from cs231n_gen.grading.release.manifest import MANIFEST, edited, read_manifest
from cs231n_gen.grading.source.markers import STUB
from cs231n_gen.grading.source.tree import chapters, exercises

EXERCISES = exercises()
WITH_GAPS = sorted({e.file.relative_to(ROOT).as_posix() for e in EXERCISES if not e.in_cell})
MADE = {"README.md", MANIFEST, "tests/public/diagnoses.json"}
KEPT = ["cs231n_gen/grading", "nbgrader_config.py", "gradebook.db", "build"]
KEPT += [f"tests/{name}" for name in ("hidden", "mistakes", "accepted", "project", "bench")]
SOLUTION = re.compile(
    r"^(?P<depth> *)### BEGIN SOLUTION\n(?P<lines>.*?)^ *### END SOLUTION\n?", re.M | re.S
)
SHORTEST = 12  # characters of a line that says something


# --- the course, built once ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def source(copy_source, tmp_path_factory):
    return copy_source(tmp_path_factory.mktemp("release") / "source")


@pytest.fixture(scope="session")
def course(source):
    """Mistakes of kernels are left out of what checks know: to watch them takes minutes."""
    watch = releasing._write_diagnoses

    def but_for_kernels(course, root, assigned):
        watch(course, root, [c for c in assigned if c.name != "14_kernels"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releasing, "_write_diagnoses", but_for_kernels)
        return release(output=source / "build" / "course", root=source)


@pytest.fixture
def own_copy(course, tmp_path):
    """The course as a student unpacks it."""
    return Path(shutil.copytree(course, tmp_path / "course"))


@pytest.fixture
def quick(course, source, monkeypatch):
    """Further builds reuse what known mistakes return: watching them takes most of a build."""

    def copy(other, root, assigned):
        shutil.copy(course / "tests/public/diagnoses.json", other / "tests/public")

    monkeypatch.setattr(releasing, "_write_diagnoses", copy)
    return source


@pytest.fixture
def quicker(quick, monkeypatch):
    """… and the notebooks that nbgrader made."""
    monkeypatch.setattr(releasing, "assign", lambda names, root: root / "build" / "release")
    return quick


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in _files(folder)}


def _files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def in_zip(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def run_in(course, code):
    """Run Python in a course, with the course's package; what it printed."""
    where = f"import cs231n_gen; assert cs231n_gen.__file__.startswith({str(course)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", where + code],
        cwd=course,
        env={**os.environ, "PYTHONPATH": str(course), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


# --- what must not be in it ---------------------------------------------------------------------


def texts(files):
    """Each file as text; of JSON, the strings in it too, without their escapes."""
    found = {}
    for name, content in files.items():
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if name.endswith((".json", ".ipynb")):
            text += "\n" + "\n".join(strings(json.loads(text)))
        found[name] = text
    return found


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from (k, *strings(v))
    elif isinstance(value, list):
        if all(isinstance(v, str) for v in value):
            yield "".join(value)  # the lines of a cell
        for v in value:
            yield from strings(v)


def leaks(files, lines):
    """Where any of these lines is."""
    found = texts(files)
    every = "\n".join(found.values())
    there = [line for line in lines if line in every]
    return [(name, line) for line in there for name, text in found.items() if line in text]


def cut(text):
    return SOLUTION.sub("", text)


def given(source):
    """All that students get as it is in the source, solutions cut out."""
    parts = [cut((source / name).read_text("utf-8")) for name in WITH_GAPS]
    for chapter in chapters(source):
        parts += [cut(cell.text) for cell in chapter.cells]
    paths = [p for p in (source / "tests/public").rglob("*.*") if p.suffix in (".py", ".toml")]
    for path in (source / "cs231n_gen").rglob("*.py"):
        name = path.relative_to(source).as_posix()
        if name not in WITH_GAPS and "cs231n_gen/grading" not in name:
            paths.append(path)
    return "\n".join([*parts, *(p.read_text("utf-8") for p in paths)])


def telling(text, source):
    """The lines that say something and that students are not given anyway."""
    known = given(source)
    lines = {line.strip() for line in text.splitlines()}
    return sorted(line for line in lines if len(line) >= SHORTEST and line not in known)


def solutions(source):
    parts = [(source / name).read_text("utf-8") for name in WITH_GAPS]
    parts += [cell.text for chapter in chapters(source) for cell in chapter.cells]
    return "\n".join(gap["lines"] for part in parts for gap in SOLUTION.finditer(part))


def code_of(folder):
    return "\n".join(p.read_text("utf-8") for p in sorted(folder.rglob("*.py")))


def bodies_of(folder):
    """The functions and classes of a folder, without their decorators: the sentences there are
    for students."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text("utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found += lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(found)


def secrets(kind, source):
    tests = source / "tests"
    if kind == "solutions":
        return telling(solutions(source), source)
    if kind == "hidden tests":
        return telling(code_of(tests / "hidden"), source)
    if kind == "names of hidden tests":
        names = re.findall(r"def (test_\w+)", code_of(tests / "hidden"))
        return telling("\n".join(names), source)
    if kind == "the code of mistakes":
        return telling(bodies_of(tests / "mistakes"), source)
    if kind == "what is not said of mistakes":
        every = variants.load(tests / "mistakes")
        told = {text for m in every if m.public for text in (m.says, m.name)}
        own = [m for m in every if not m.public and m.says not in told]
        return [m.says for m in own] + [f'"{m.name}"' for m in own if m.name not in told]
    return telling(bodies_of(tests / "accepted"), source)


KINDS = {
    "solutions": 25,
    "hidden tests": 200,
    "names of hidden tests": 30,
    "the code of mistakes": 200,
    "what is not said of mistakes": 10,
    "accepted variants": 50,
}  # and how many lines there are at least, so that a search for nothing does not count


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_holds_none_of(kind, course, source):
    assert not leaks(files_of(course), secrets(kind, source))


@pytest.mark.parametrize("kind", KINDS)
def test_the_zip_holds_none_of(kind, course, source):
    assert not leaks(in_zip(course.with_name("course.zip")), secrets(kind, source))


@pytest.mark.parametrize("kind, least", KINDS.items())
def test_the_search_would_find_them_in_the_source(kind, least, source):
    lines = secrets(kind, source)
    assert len(lines) >= least
    everything = files_of(source / "cs231n_gen") | files_of(source / "notebooks")
    for folder in ("hidden", "mistakes", "accepted"):
        everything |= {f"{folder}/{n}": f for n, f in files_of(source / "tests" / folder).items()}
    found = {line for _, line in leaks(everything, lines)}
    if kind != "what is not said of mistakes":  # a long sentence is broken into lines there
        assert found == set(lines)


def test_no_picture_is_shipped_that_could_show_one(course):
    pictures = {".gif", ".jpg", ".jpeg", ".pdf", ".png", ".svg", ".webp"}
    assert not [p for p in course.rglob("*") if p.suffix.lower() in pictures]


def test_no_marker_of_a_solution_is_left(course):
    files = {n: f for n, f in files_of(course).items() if n not in MADE}
    assert not leaks(files, ["### BEGIN SOLUTION", "### END SOLUTION"])


@pytest.mark.parametrize("name", KEPT)
def test_the_instructors_part_stays_behind(name, course):
    assert not (course / name).exists()
    inside = in_zip(course.with_name("course.zip"))
    assert not [n for n in inside if n.startswith(f"course/{name}")]


def test_nothing_is_shipped_but_what_belongs_to_the_course(course):
    top = {"cs231n_gen", "data", "notebooks", "tests", "README.md", MANIFEST}
    top |= {name for name in releasing.SHIPPED if "/" not in name}
    assert {p.name for p in course.iterdir()} == top
    assert {p.name for p in (course / "tests").iterdir()} == {"public"}
    caches = [n for n in files_of(course) if "__pycache__" in n or n.endswith(".pyc")]
    assert not caches


def test_no_file_names_a_folder_of_this_machine(course, source):
    own = [ROOT, source, source.parent, Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix)]
    assert not leaks(files_of(course), sorted({f"{folder}/" for folder in own}))


# --- what is in it ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_GAPS)
def test_a_module_is_the_source_with_a_stub_for_each_solution(name, course, source):
    def stub(gap):
        return "".join(f"{gap['depth']}{line}\n" for line in STUB.split("\n"))

    text = (source / name).read_text("utf-8")
    assert (course / name).read_text("utf-8") == SOLUTION.sub(stub, text)


def test_every_other_file_is_that_of_the_source(course, source):
    cut_open = {*WITH_GAPS, *(c.file.relative_to(source).as_posix() for c in chapters(source))}
    for name, content in files_of(course).items():
        if name not in MADE | cut_open:
            assert content == (source / name).read_bytes(), name


def test_the_zip_holds_the_folder(course):
    inside = in_zip(course.with_name("course.zip"))
    assert inside == {f"course/{name}": content for name, content in files_of(course).items()}


def test_the_manifest_lists_exercises_with_their_points(course):
    manifest = read_manifest(course)
    listed = [e for c in manifest["chapters"].values() for e in c["exercises"]]
    assert sorted(listed) == sorted(e.id for e in EXERCISES)
    assert all(c["assigned"] for c in manifest["chapters"].values())
    assert manifest["chapters"]["04_rectified_flow"]["exercises"]["flow.train"] == 4
    assert not edited(course)


@pytest.fixture(params=[c.name for c in chapters()])
def notebooks(request, course, source):
    """A chapter in the source and in the course."""
    name = f"notebooks/{request.param}/{request.param}.ipynb"
    return [nbformat.read(folder / name, as_version=4) for folder in (source, course)]


def graded_cells(notebook):
    cells = [c.metadata.nbgrader for c in notebook.cells if "nbgrader" in c.metadata]
    return {m["grade_id"]: m for m in cells if m["grade"]}


def test_its_notebook_is_valid_and_carries_no_outputs(notebooks):
    nbformat.validate(notebooks[1])
    code = [c for c in notebooks[1].cells if c.cell_type == "code"]
    assert code
    assert not [c.source for c in code if c.outputs or c.execution_count]


def test_its_graded_cells_keep_their_points_and_locks(notebooks):
    before, after = map(graded_cells, notebooks)
    assert before.keys() == after.keys()
    for name, cell in before.items():
        for key in ("points", "locked", "solution", "grade"):
            assert after[name][key] == cell[key], f"{key} of {name}"
    known = {e.grade_id for e in EXERCISES}
    assert all(after[name]["locked"] for name in after.keys() & known)


def test_its_questions_are_open(notebooks):
    for cell in notebooks[1].cells:
        if cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("solution"):
            assert cell.source == "YOUR ANSWER HERE"


def test_the_rest_of_its_cells_is_that_of_the_source(notebooks):
    before, after = notebooks
    assert len(before.cells) == len(after.cells)
    for a, b in zip(before.cells, after.cells, strict=True):
        if not SOLUTION.search(a.source) and not a.metadata.get("nbgrader", {}).get("solution"):
            assert a.source == b.source


# --- working in it ------------------------------------------------------------------------------

CHECKS = """
import json
from cs231n_gen.checking.public_check import known_exercises, run_check
print(json.dumps({e: str(run_check(e)) for e in EXERCISES or known_exercises()}))
"""


def checks(course, *only):
    return json.loads(run_in(course, CHECKS.replace("EXERCISES", repr(list(only)))))


def fill(course, module, function, *lines):
    """Write lines into the gap of a function."""
    path = course / "cs231n_gen" / f"{module}.py"
    before, head, after = path.read_text("utf-8").partition(f"def {function}(")
    stub = "".join(f"    {line}\n" for line in STUB.split("\n"))
    assert stub in after
    answer = "".join(f"    {line}\n" for line in lines)
    path.write_text(before + head + after.replace(stub, answer, 1), encoding="utf-8")


@pytest.mark.full
def test_at_first_no_exercise_is_written(course, own_copy):
    """Of kernels one is asked: kernels/test_exercises.py asks them all."""
    ids = [e.id for e in EXERCISES]
    asked = [e for e in ids if not e.startswith("kernels.") or e == "kernels.axpy.kernel"]
    reports = checks(own_copy, *asked)
    assert sorted(reports) == sorted(asked)
    assert not [r for r in reports.values() if "not written yet" not in r.splitlines()[0]]


@pytest.mark.full
def test_with_the_reference_put_back_every_public_check_passes(own_copy, source):
    for name in {e.file.relative_to(ROOT).as_posix() for e in EXERCISES}:
        shutil.copy(source / name, own_copy / name)
    said = run_in(
        own_copy, "import sys, pytest; sys.exit(pytest.main(['tests/public', '-q', '-x']))"
    )
    assert re.search(r"\d+ passed", said)


def test_a_known_mistake_is_called_by_its_name(own_copy):
    lines = "t = t.reshape(-1, *[1] * (x.dim() - 1))", "return t * x + (1 - t) * z, z - x"
    fill(own_copy, "flow", "interpolate", *lines)
    report = checks(own_copy, "flow.interpolate")["flow.interpolate"]
    assert "What it looks like: Your x_t is t·x + (1 − t)·z: data sits at t = 1 here." in report


def test_the_diagnoses_shipped_are_those_of_every_public_mistake(course, source):
    text = (course / "tests/public/diagnoses.json").read_text("utf-8")
    shipped = [(k["exercise"], k["name"], k["says"]) for k in json.loads(text)]
    own = [m for m in variants.load(source / "tests/mistakes") if m.public]
    own = [m for m in own if not m.exercise.startswith("kernels.")]
    assert sorted(shipped) == sorted((m.exercise, m.name, m.says) for m in own)


def test_watching_a_mistake_again_finds_the_same(course, source):
    own = [m for m in variants.load(source / "tests/mistakes") if m.public]
    own = [m for m in own if m.exercise == "likelihood.gaussian_kl"]
    again = json.loads(json.dumps([vars(k) for k in diagnosis._observe(own)]))
    text = (course / "tests/public/diagnoses.json").read_text("utf-8")
    assert again
    assert again == [k for k in json.loads(text) if k["exercise"] == "likelihood.gaussian_kl"]


# --- chapters that are not assigned -------------------------------------------------------------


@pytest.fixture(scope="module")
def only_00(course, source, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        file = "tests/public/diagnoses.json"
        patch.setattr(
            releasing, "_write_diagnoses", lambda to, *_: shutil.copy(course / file, to / file)
        )
        return release(["00"], tmp_path_factory.mktemp("only") / "course", root=source)


def test_a_chapter_that_is_not_assigned_is_shipped_solved_and_without_markers(only_00, source):
    text = (source / "cs231n_gen/flow.py").read_text("utf-8")
    shipped = (only_00 / "cs231n_gen/flow.py").read_text("utf-8")
    assert shipped == re.sub(r"^ *### (BEGIN|END) SOLUTION\n", "", text, flags=re.M)


def test_its_notebook_is_not_graded_and_has_no_markers(only_00):
    name = "notebooks/04_rectified_flow/04_rectified_flow.ipynb"
    notebook = nbformat.read(only_00 / name, as_version=4)
    nbformat.validate(notebook)
    assert not [c for c in notebook.cells if "nbgrader" in c.metadata]
    assert not [c for c in notebook.cells if "SOLUTION" in c.source]
    assert not [c for c in notebook.cells if "YOUR" in c.source]


def test_the_assigned_chapter_is_left_with_gaps(only_00, course):
    names = "cs231n_gen/likelihood.py", "notebooks/00_start/00_start.ipynb"
    for name in names:
        assert (only_00 / name).read_bytes() == (course / name).read_bytes()


def test_the_manifest_says_which_chapters_are_assigned(only_00):
    found = {n: c["assigned"] for n, c in read_manifest(only_00)["chapters"].items()}
    assert found.pop("00_start")
    assert not any(found.values())


@pytest.mark.parametrize("only", [["99"], ["00", "rectified"], []])
def test_an_unknown_chapter_is_refused_and_the_known_ones_are_named(only, tmp_path, source):
    with pytest.raises(ValueError, match="there are 00_start, 01_gan_objective, 02"):
        release(only, tmp_path / "course", root=source)
    assert not list(tmp_path.iterdir())


# --- building again -----------------------------------------------------------------------------


@pytest.mark.full
def test_building_twice_gives_the_same_zip(course, quick, tmp_path):
    again = release(output=tmp_path / "course", root=quick)
    first, second = (c.with_name("course.zip").read_bytes() for c in (course, again))
    assert first == second


def test_a_course_that_was_edited_is_kept(own_copy, quicker, capsys):
    path = own_copy / "cs231n_gen/flow.py"
    path.write_text(path.read_text("utf-8") + "\n# mine\n", encoding="utf-8")
    release(output=own_copy, root=quicker)
    aside = own_copy.with_name("course.1")
    assert (aside / "cs231n_gen/flow.py").read_text("utf-8").endswith("# mine\n")
    assert "# mine" not in path.read_text("utf-8")
    assert "it is kept as" in capsys.readouterr().out


@pytest.mark.full
def test_a_file_that_was_added_is_kept_beside_an_earlier_one(own_copy, quicker):
    own_copy.with_name("course.1").mkdir()
    (own_copy / "notebooks/notes.txt").write_text("mine", encoding="utf-8")
    release(output=own_copy, root=quicker)
    assert (own_copy.with_name("course.2") / "notebooks/notes.txt").exists()
    assert not list(own_copy.with_name("course.1").iterdir())


@pytest.mark.full
def test_a_course_that_was_only_used_is_replaced(own_copy, quicker):
    (own_copy / "cs231n_gen/__pycache__").mkdir()
    (own_copy / "cs231n_gen/__pycache__/flow.pyc").write_bytes(b"compiled")
    release(output=own_copy, root=quicker)
    assert sorted(p.name for p in own_copy.parent.iterdir()) == ["course", "course.zip"]
    assert not (own_copy / "cs231n_gen/__pycache__").exists()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets here")
def test_the_socket_of_a_running_kernel_is_no_file_of_the_course(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    (tmp_path / "chapter.ipynb").touch()
    with socket.socket(socket.AF_UNIX) as kernel:
        kernel.bind("kernel-ipc-1")
        assert files_in(tmp_path) == [tmp_path / "chapter.ipynb"]


@pytest.fixture
def builds(course, source, monkeypatch):
    """The calls of `release` that `build_if_changed` makes."""
    called = []
    monkeypatch.setattr(releasing, "ROOT", source)
    monkeypatch.setattr(
        releasing, "release", lambda only=None, *, diagnoses: called.append(only) or course
    )
    return called


def test_a_course_of_the_same_source_is_not_built_again(course, builds):
    assert releasing.build_if_changed() == course
    assert builds == []


@pytest.mark.parametrize(
    "name", ["cs231n_gen/flow.py", "tests/mistakes/flow.py", "nbgrader_config.py"]
)
def test_a_changed_source_is_built_again(name, source, builds):
    path = source / name
    before = path.read_text("utf-8")
    path.write_text(before + "\n# changed\n", encoding="utf-8")
    try:
        releasing.build_if_changed()
    finally:
        path.write_text(before, encoding="utf-8")
    assert builds == [None]


def test_building_again_assigns_the_same_chapters(source, builds, monkeypatch):
    facts = {"00_start": {"assigned": True}, "04_rectified_flow": {"assigned": False}}
    earlier = {"source": "another", "chapters": facts}
    monkeypatch.setattr(releasing.manifest, "read_manifest", lambda course: earlier)
    releasing.build_if_changed()
    assert builds == [["00_start"]]


def test_a_course_that_is_not_there_is_built(builds, monkeypatch):
    monkeypatch.setattr(releasing.manifest, "read_manifest", lambda course: None)
    releasing.build_if_changed()
    assert builds == [None]
