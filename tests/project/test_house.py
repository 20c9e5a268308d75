"""The rules of the house: what may import what, no trace of a machine."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.source.tree import exercises, imports

sys.path.insert(0, str(Path(__file__).parent))
from import_graph import arrows, circles, climbing, may_import

PACKAGE = ROOT / "cs231n_gen"
SUBJECTS = sorted({e.module for e in exercises() if not e.in_cell})
LARGEST = 2_000_000  # bytes, outside data/


def tracked():
    """The files of the repository, those that are new included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a clone")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [p for p in paths if p.is_file()]


# --- arrows -------------------------------------------------------------------------------------

LECTURE = (  # the subjects, in its order
    "likelihood ← gan ← gan_nets ← flow ← guidance ← schedules ← diffusion ← diffusion_samplers "
    "← diffusion_likelihood ← latent ← latent_nets ← dit_tokens ← dit_attention ← dit "
    "← text ← text_to_image ← distill ← consistency ← vq ← autoregressive"
)
CHAINS = (  # a room may import what stands to its left
    f"common ← triton_compat, truth, viz ← kernels ← given ← {LECTURE} ← experiments ← train",
    "kernels ← instruments ← checking ← grading ← site ← cli",
    "given ← grading",  # data and metrics that graders lend, and that the site shows
)


def test_imports_run_in_no_circle():
    found = [" imports\n  ".join(c) for c in circles(arrows(PACKAGE))]
    assert not found, f"{len(found)} circles:\n" + "\n".join(found)


def test_no_import_climbs():
    found = [str(arrow) for arrow in climbing(arrows(PACKAGE), may_import(CHAINS))]
    assert not found, f"{len(found)} imports climb:\n" + "\n".join(found)


def test_every_room_has_its_place():
    rooms = {p.stem for p in PACKAGE.glob("[!_]*.py")}
    rooms |= {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert rooms == may_import(CHAINS).keys()


@pytest.mark.parametrize(
    ("planted", "of", "found"),
    [
        ("from cs231n_gen.checking.report import COLOUR\n", "instruments/compare.py", "climbs"),
        ("def f():\n    from cs231n_gen.grading import record\n", "checking/expect.py", "climbs"),
        ("from cs231n_gen import check\n", "truth/axes.py", "climbs"),
        ("WORKER = 'cs231n_gen.site.build'\n", "grading/run/pools.py", "climbs"),
        ("from cs231n_gen import schedules\n", "flow.py", "climbs"),
        ("import cs231n_gen.truth.mixture\n", "truth/bayes.py", "circle"),
        ("if False:\n    import cs231n_gen.checking.student\n", "checking/expect.py", "circle"),
    ],
)
def test_a_planted_import_is_found(planted, of, found, tmp_path):
    copy = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=lambda at, names: [n for n in names if is_no_code(n)])
    (copy / of).write_text(planted + (copy / of).read_text("utf-8"), encoding="utf-8")
    made, module = arrows(copy), "cs231n_gen." + of.removesuffix(".py").replace("/", ".")
    climbs = [arrow.module for arrow in climbing(made, may_import(CHAINS))]
    through = [m for path in circles(made) for m in path]
    assert climbs == ([module] if found == "climbs" else [])
    assert found == "climbs" or module in through


def is_no_code(name):
    return "." in name and not name.endswith(".py")


# --- names --------------------------------------------------------------------------------------


def test_a_public_class_has_a_name_of_its_own():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name[0] != "_":
                found.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    twice = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert not twice, f"{len(twice)} names mean two things: {twice}"


def test_every_name_is_defined():
    """The linter leaves this out, since jaxtyping writes the sizes of a shape as words."""
    checked = ["cs231n_gen", "tests/project", "tests/selection", "tests/bench"]
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F821"]
    command += ["--exclude=programs", "--output-format=json", *checked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert len(found) > 100, "the sizes of shapes are not seen: does the linter still look?"
    undefined = [
        f"{one['filename']}, line {one['location']['row']}: {one['message']}"
        for one in found
        if not _is_in_a_string(one)
    ]
    assert not undefined


def _is_in_a_string(found):
    tree = ast.parse(Path(found["filename"]).read_text(encoding="utf-8"))
    at = found["location"]["row"], found["location"]["column"] - 1
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return any((n.lineno, n.col_offset) <= at < (n.end_lineno, n.end_col_offset) for n in texts)


# --- rooms --------------------------------------------------------------------------------------

# Tests of the whole course, which belong to no room.
WHOLE = {"attacks", "browser", "mutation"}
WHOLE_FILES = {
    "test_dependencies.py",
    "test_docs.py",
    "test_graders_grade.py",
    "test_house.py",
    "test_notebooks.py",
    "test_nothing_answers.py",
    "test_parity.py",
    "test_parity_attention.py",
    "test_parity_autoregressive.py",
    "test_parity_codes.py",
    "test_parity_diffusion.py",
    "test_parity_dit.py",
    "test_parity_few_steps.py",
    "test_parity_latent.py",
    "test_parity_prompts.py",
    "test_parity_text.py",
    "test_parity_tokens.py",
    "test_selection.py",
}


def test_tests_of_the_project_mirror_the_package():
    tests = ROOT / "tests" / "project"
    files = {p.relative_to(tests) for p in tests.rglob("test_*.py")}
    loose = {p.name for p in files if len(p.parts) == 1} - WHOLE_FILES
    astray = [p for p in files if len(p.parts) > 1 and p.parts[0] not in WHOLE]
    astray = [str(p) for p in astray if not (PACKAGE / p.parent / "__init__.py").is_file()]
    assert not loose, f"these test the whole course (then name them here), or lie loose: {loose}"
    assert not astray, f"{len(astray)} files lie in a folder that is no room: {sorted(astray)}"


@pytest.mark.parametrize("module", SUBJECTS)
def test_a_subject_imports_no_machinery(module):
    machinery = ("viz", "instruments", "checking", "grading", "cli")
    found = imports(PACKAGE / f"{module.replace('.', '/')}.py")
    assert not [n for n in found if n.startswith("tests")]
    assert not [n for n in found for m in machinery if f"{n}.".startswith(f"cs231n_gen.{m}.")]


def test_truth_imports_no_subject():
    found = set().union(*(imports(p) for p in (PACKAGE / "truth").rglob("*.py")))
    assert not [n for n in found for m in SUBJECTS if f"{n}.".startswith(f"cs231n_gen.{m}.")]


def test_only_grading_knows_nbgrader():
    others = [p for p in PACKAGE.rglob("*.py") if "grading" not in p.relative_to(PACKAGE).parts]
    assert not [p for p in others if any(n.split(".")[0] == "nbgrader" for n in imports(p))]


def test_figures_take_arrays_and_not_models():
    found = set().union(*(imports(p) for p in (PACKAGE / "viz").rglob("*.py")))
    own = {n for n in found if n.startswith("cs231n_gen")}
    assert all(f"{n}.".startswith(("cs231n_gen.viz.", "cs231n_gen.common.")) for n in own)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_every_public_name_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    silent = [n.name for n in named if n.name[0] != "_" and not ast.get_docstring(n)]
    assert ast.get_docstring(tree), "the module has no docstring"
    assert not silent


# --- the repository -----------------------------------------------------------------------------


def test_no_file_names_a_folder_of_this_machine():
    here = {str(ROOT.parent), str(Path.home())} - {"/"}
    named = [f"{place}/".encode() for place in here]
    found = [p for p in tracked() for place in named if place in p.read_bytes()]
    assert not found


def test_no_file_names_the_host_of_a_package_registry():
    hosts = re.compile(rb"(pypi|pythonhosted|conda\.anaconda|download\.pytorch)\.(org|com)")
    assert not [p for p in tracked() if hosts.search(p.read_bytes())]


def test_large_files_are_in_data():
    large = [p for p in tracked() if p.stat().st_size > LARGEST]
    assert all(p.is_relative_to(ROOT / "data") for p in large)
