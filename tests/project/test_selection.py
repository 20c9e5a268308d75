"""What a run leaves out cannot have broken: shown for every exercise, grader and chapter."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from selection import dependencies, ledger, tiers
from selection.dependencies import MUTATION, PROOFS, RUN, Tree, items
from selection.draw import commit, draw
from selection.ledger import Entry, make_plan

from cs231n_gen.grading.release import run_chapters
from cs231n_gen.grading.source.tree import ROOT, chapters, exercises

EXERCISES = exercises()
CHAPTERS = chapters()
TREE = Tree(ROOT)
ITEMS = items(TREE)
BY_NAME = {i.name: i for i in ITEMS}
SEED = "some commit"
TESTS = re.compile(r"""^@pytest\.mark\.exercise\(\s*["']([\w.]+)["']""", re.M)


def paths_of(exercise):
    """By room of tests, where an exercise has its graders, checks, mistakes and variants."""
    *folders, module, _ = exercise.id.split(".")
    own, tests = "/".join([*folders, module]), "/".join([*folders, f"test_{module}"])
    names = {"hidden": tests, "public": tests, "mistakes": own, "accepted": own}
    return {room: f"tests/{room}/{name}.py" for room, name in names.items()}


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def source(tmp_path_factory, monkeypatch_module):
    """A copy of the source in which everything stands proved, and may be broken."""
    root = tmp_path_factory.mktemp("source")
    for name in sorted(TREE.files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    shutil.copyfile(ROOT / "nbgrader_config.py", root / "nbgrader_config.py")
    own = exercises(root)  # none comes or goes
    monkeypatch_module.setattr(
        dependencies, "exercises", lambda at: own if at == root else exercises(at)
    )
    plan = make_plan(root, root / "none.json", SEED)
    whole = {name: Entry(found, "abc", 1.0) for name, found in plan.hashes.items()}
    ledger.write(whole, root / "proved.json")
    return root


@pytest.fixture
def broken(source):
    """`broken(name, edit)`: what is proved once a file is another; it is put back in the end."""
    kept = {}

    def broken(name, edit):
        file = source / name
        kept.setdefault(file, file.read_text("utf-8"))
        text = edit(kept[file])
        assert text != kept[file], f"{name} is as it was"
        file.write_text(text, encoding="utf-8")
        try:
            return {i.name for i in make_plan(source, source / "proved.json", SEED).changed}
        finally:
            file.write_text(kept[file], encoding="utf-8")

    return broken


def flipped(text, begin=0, end=None):
    """The text with the first sign, comparison or digit of a part of it turned into another."""
    part = text[begin:end]
    for old, new in ((" - ", " + "), (" + ", " - "), (" * ", " / "), (" < ", " > ")):
        if old in part:
            return text[:begin] + part.replace(old, new, 1) + text[begin + len(part) :]
    return (
        text[:begin]
        + re.sub(r"\d", lambda d: str(9 - int(d[0])), part, count=1)
        + text[begin + len(part) :]
    )


# --- every exercise, grader and chapter ---------------------------------------------------------


def test_every_exercise_and_every_chapter_can_be_proved():
    own = {i.name for i in ITEMS if i.kind == "exercise"}
    assert own == {e.id for e in EXERCISES}
    assert {i.name for i in ITEMS if i.kind == "chapter"} == {c.name for c in CHAPTERS}
    for exercise in EXERCISES:
        assert set(paths_of(exercise).values()) <= set(BY_NAME[exercise.id].roots), exercise.id


def test_where_nothing_changed_only_the_drawn_are_proved(source):
    plan = make_plan(source, source / "proved.json", SEED)
    assert not plan.changed
    assert len(plan.drawn) == -(-len(ITEMS) // ledger.DRAWN)
    assert {*plan.drawn, *plan.left_out} == set(ITEMS)


@pytest.mark.drawn("all", 12)
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_a_sign_that_is_flipped_in_a_solution_is_found(exercise, broken):
    name = exercise.file.relative_to(ROOT).as_posix()
    lines = exercise.file.read_text("utf-8").splitlines(keepends=True)
    first = (
        exercise.line + exercise.gaps[0].begin - 1 if exercise.in_cell else exercise.gaps[0].begin
    )
    found = broken(name, lambda text: flipped(text, len("".join(lines[:first]))))
    assert exercise.id in found
    if exercise.in_cell:
        assert exercise.file.stem in found
        return
    # Chapters that import the module, or check one of its exercises, run its code
    short = exercise.module.rpartition(".")[2]
    word = re.compile(rf"import [^\n]*\b{short}\b|check\(\"{exercise.module}\.")
    users = [
        c.name for c in CHAPTERS if any(word.search(x.text) for x in c.cells if x.kind == "code")
    ]
    assert users
    assert set(users) <= found


@pytest.mark.drawn("all", 20)
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
@pytest.mark.parametrize("room", ["hidden", "public", "mistakes", "accepted"])
def test_a_sign_that_is_flipped_in_a_grader_a_check_or_a_variant_is_found(exercise, room, broken):
    def in_its_part(text):
        return flipped(text, text.index(f'"{exercise.id}"'))

    assert exercise.id in broken(paths_of(exercise)[room], in_its_part)


@pytest.mark.drawn("all", 3)
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.name)
def test_a_sign_that_is_flipped_in_a_chapter_is_found(chapter, broken):
    name = chapter.file.relative_to(ROOT).as_posix()
    assert chapter.name in broken(name, lambda text: flipped(text, text.index('"code"')))


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "constraints.txt",
        "cs231n_gen/__init__.py",
        "cs231n_gen/checking/runner.py",
        "cs231n_gen/checking/student.py",
        "cs231n_gen/checking/public_check.py",
    ],
)
def test_what_all_depend_on_has_all_proved_again(name, broken):
    found = broken(name, lambda text: text + "\n# another line\n")
    assert found == set(BY_NAME)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (PROOFS[0], "exercise"),
        (PROOFS[1], "exercise"),
        (f"{MUTATION}/rules.py", "exercise"),
        (RUN, "chapter"),
        ("nbgrader_config.py", "chapter"),
        ("data/fashion_mnist.npz", ""),
    ],
)
def test_machinery_has_all_of_its_kind_proved_again(name, kind):
    found = {i for i in ITEMS if name in TREE.closure(i.roots)}
    if kind:
        assert found == {i for i in ITEMS if i.kind == kind}
    else:
        assert {"03_gan_architectures", "04_rectified_flow"} <= {i.name for i in found}


def test_of_the_sums_of_data_only_those_of_its_own_files_are_an_items(broken):
    def another_sum_of(file):
        return lambda text: "".join(
            ("0" * 64 + line[64:] if line.split()[-1] == file else line)
            for line in text.splitlines(keepends=True)
        )

    found = broken(dependencies.SUMS, another_sum_of("prior.safetensors"))
    assert {"00_start", "13_autoregressive_latents"} <= found  # 00 looks whether all are there
    assert not found & {"flow.loss", "vq.nearest", "04_rectified_flow", "06_optimal_prediction"}
    new = broken(dependencies.SUMS, lambda text: f"{text}{'0' * 64}  new.safetensors\n")
    assert new == set()


def test_a_hint_is_its_exercises_and_of_the_chapters_that_check_it(broken):
    def another_hint(text):
        at = text.index('"vq.nearest"')
        return text[:at] + text[at:].replace("?", "!", 1).replace(". ", "; ", 1)

    assert broken(dependencies.HINTS, another_hint) == {"vq.nearest", "13_autoregressive_latents"}
    assert broken(dependencies.HINTS, lambda text: f'{text}\n"new.one" = ["Try."]\n') == set()


def test_a_variable_that_is_called_text_is_not_the_subject():
    users = {i.name for i in ITEMS if "cs231n_gen/text.py" in TREE.closure(i.roots)}
    assert {"text.tokenize", "text_to_image.sample", "10_text_to_image"} <= users
    assert not users & {"flow.loss", "vq.nearest", "04_rectified_flow"}


def test_what_is_said_of_mutants_of_a_module_is_its_own_alone():
    found = {i.name for i in ITEMS if f"{MUTATION}/right/flow.toml" in TREE.closure(i.roots)}
    assert found == {e.id for e in EXERCISES if e.module == "flow"}


def test_a_helper_beside_graders_is_every_exercises(source):
    for name in ("tests/hidden/helper.py", "tests/hidden/conftest.py", "tests/accepted/_more.py"):
        (source / name).write_text("X = 1\n", encoding="utf-8")
        found = make_plan(source, source / "proved.json", SEED).changed
        (source / name).unlink()
        assert {i.name for i in found} >= {e.id for e in EXERCISES}


def test_a_figures_script_is_its_chapters_alone(broken):
    found = broken("cs231n_gen/viz/js/figures/schedule_lab.mjs", lambda text: text + "// new\n")
    assert found == {"06_optimal_prediction"}


def test_a_new_file_that_is_imported_counts(source, broken):
    (source / "cs231n_gen/given/new.py").write_text("X = 1\n", encoding="utf-8")
    try:
        found = broken(
            "cs231n_gen/given/metrics.py", lambda text: f"{text}\nimport cs231n_gen.given.new\n"
        )
    finally:
        (source / "cs231n_gen/given/new.py").unlink()
    assert "04_rectified_flow" in found


# --- the search misses nothing that is read -----------------------------------------------------

WATCH = """
import json, os, sys
seen = set()
sys.addaudithook(lambda event, args: seen.add(str(args[0])) if event == "open" else None)
"""
ASKED = """
from pathlib import Path
from cs231n_gen.checking.runner import run
from cs231n_gen.checking.student import Student
for folder in ("hidden", "public"):
    results = run(Path("tests") / folder, EXERCISES)
    assert results and all(r.passed for r in results), results
print(json.dumps(sorted(seen)))
"""


def own_files(names):
    """Of names that were opened, the files of the source, without what Python compiled."""
    paths = [Path(ROOT, name).resolve() for name in names]
    inside = {p.relative_to(ROOT).as_posix() for p in paths if p.is_relative_to(ROOT)}
    return inside & TREE.files


def only_imported(read):
    """What is read since a package passes on the names of all its modules: that these can be
    imported is seen in every run."""
    inits = {init: names for init, names in TREE._passed_on.items() if init in read}
    return {*inits, *TREE.closure({f for names in inits.values() for f in names.values()})}


@pytest.mark.full
@pytest.mark.parametrize("module", draw(dict.fromkeys(e.module for e in EXERCISES), 4, commit()))
def test_a_grader_reads_no_file_that_its_exercise_does_not_depend_on(module):
    """… in a fresh process, where every module is read that is run."""
    own = [e.id for e in EXERCISES if e.module == module]
    program = WATCH + ASKED.replace("EXERCISES", repr(own))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-X", "pycache_prefix=/nonexistent", "-c", program],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    read = own_files(json.loads(done.stdout.splitlines()[-1]))
    known = TREE.closure(BY_NAME[own[0]].roots)
    assert any(name.startswith("tests/hidden/") for name in read)
    assert sorted(read - known - only_imported(read)) == []


@pytest.mark.full
def test_a_chapter_reads_no_file_that_it_does_not_depend_on(tmp_path):
    chapter = CHAPTERS[0]
    notebook = nbformat.read(chapter.file, as_version=4)
    out = tmp_path / "seen.json"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WATCH))
    last = f"open({str(out)!r}, 'w').write(json.dumps(sorted(seen)))"
    notebook.cells.append(nbformat.v4.new_code_cell(last))
    nbformat.write(notebook, tmp_path / chapter.file.name)
    done = run_chapters.execute(tmp_path / chapter.file.name, ROOT, tmp_path / "done.ipynb")
    assert done[2] is None
    read = own_files(json.loads(out.read_text("utf-8")))
    known = TREE.closure(BY_NAME[chapter.name].roots)
    assert "cs231n_gen/viz/js/figures/flow_field.mjs" in read
    assert sorted(read - known - only_imported(read)) == []


# --- the ledger ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"exercise flow.loss": 3}', '{"x": {}}'])
def test_a_ledger_that_cannot_be_read_has_everything_proved(text, tmp_path):
    file = tmp_path / "proved.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert ledger.read(file) == {}
    plan = make_plan(ROOT, file, SEED)
    assert set(plan.changed) == set(ITEMS)
    assert plan.lines() == ["nothing is left out: every exercise and every chapter is proved"]


@pytest.mark.parametrize("name", ["exercise flow.loss", "chapter 00_start"])
@pytest.mark.parametrize("entry", [Entry("0" * 64, "abc", 1.0), Entry("", "", 0.0), None])
def test_a_wrong_entry_has_its_item_proved(name, entry, source, tmp_path):
    whole = ledger.read(source / "proved.json")
    whole |= {name: entry}
    ledger.write({n: e for n, e in whole.items() if e}, tmp_path / "proved.json")
    plan = make_plan(source, tmp_path / "proved.json", SEED)
    assert [str(i) for i in plan.changed] == [name]


def test_full_proves_everything(source):
    plan = make_plan(source, source / "proved.json", SEED, full=True)
    assert set(plan.changed) == set(ITEMS)
    assert not plan.left_out


def test_the_last_lines_say_what_was_left_out_and_since_when(source):
    plan = make_plan(source, source / "proved.json", SEED)
    said = "\n".join(plan.lines())
    assert f"left out since no file that they depend on changed, {len(plan.left_out)}:" in said
    assert "proved at abc" in said
    assert all(i.name in said for i in plan.drawn)


def test_what_was_proved_is_noted_and_what_is_gone_forgotten(source, tmp_path):
    file = tmp_path / "proved.json"
    ledger.write({"exercise flow.gone": Entry("1", "abc", 1.0)}, file)
    plan = make_plan(source, file, SEED)
    ledger.record(plan, "exercise", {"flow.loss": 3.21}, file)
    ((name, entry),) = ledger.read(file).items()
    assert (name, entry.hash, entry.seconds) == ("exercise flow.loss", plan.hashes[name], 3.2)


def test_the_committed_ledger_can_be_read():
    assert not ledger.FILE.exists() or ledger.read()


# --- draws and parts ----------------------------------------------------------------------------


def test_a_draw_is_the_same_for_the_same_commit_and_another_for_the_next():
    cases = [f"case {i}" for i in range(100)]
    drawn = draw(cases, 10, "a")
    assert drawn == draw(cases, 10, "a") == [c for c in cases if c in drawn]
    assert len(drawn) == 10
    assert drawn != draw(cases, 10, "b")
    assert draw(cases, 200, "a") == cases
    assert set(draw(cases[1:], 10, "a")) >= set(drawn) - {cases[0]}


def test_in_time_everything_is_drawn():
    seen = {c for n in range(200) for c in draw(range(50), 5, f"commit {n}")}
    assert seen == set(range(50))


def test_tests_that_share_what_is_dear_stay_in_one_process():
    part = tiers.part
    assert part("tests/project/test_house.py::test_a[1]") == "tests/project/test_house.py"
    for proof in PROOFS:
        own, others = f"{proof}::test_x[flow.loss:name]", f"{proof}::test_x[flow.sample]"
        assert part(own) == part(f"{proof}::test_y[flow.loss-3]") != part(others)


def test_long_files_are_there():
    names = {p.name for p in (ROOT / "tests").rglob("test_*.py")}
    assert {*tiers.LONG, *tiers.CUT} <= names


# --- make ---------------------------------------------------------------------------------------


def would_run(*words):
    """The calls of pytest that make would make."""
    make = shutil.which("make") or pytest.skip("there is no make")
    done = subprocess.run(
        [make, "-n", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if re.search(r"-m pytest|selection", line)]


ALONE = "tests/project/browser"


@pytest.mark.parametrize("given", [ALONE, f"{ALONE}/test_jupyterlab.py -x", f"-k lab {ALONE}"])
def test_a_whole_jupyterlab_is_tested_by_one_process(given):
    (call,) = would_run("test", f"ARGS={given}")
    assert call.endswith(f"-m pytest {given}")


@pytest.mark.parametrize(
    ("given", "options"),
    [("tests/project", ""), ("tests -x", "-x"), ("tests/project -k lab -n 2", "-k lab -n 2")],
)
def test_where_it_is_among_others_it_comes_after_them(given, options):
    first, second = would_run("test", f"ARGS={given}")
    assert "-n auto" in first and f"--ignore={ALONE}" in first
    called = second.partition("-m pytest")[2].partition("||")[0].split()
    assert called == [*options.split(), ALONE, "-n", "0"]


def test_make_test_is_quick_and_make_proof_the_rest():
    for target, option in (("test", "--quick"), ("proof", "--rest")):
        calls = would_run(target)
        assert [c for c in calls if option in c and ALONE in c and "-n auto" not in c]
        assert [c for c in calls if "-n auto" in c and f"--ignore={ALONE}" in c]


def test_ci_runs_both():
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    assert text.splitlines()[-2:] == ["make test", "make proof"]
    assert "set -euo pipefail" in text
