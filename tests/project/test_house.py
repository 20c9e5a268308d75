"""The rules of the house: what may import what, no trace of a machine."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from cs231n_gen.grading.source.tree import ROOT, exercises, imports

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


# --- rooms --------------------------------------------------------------------------------------


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
    assert all(n.startswith("cs231n_gen.viz") for n in own)


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


def test_links_between_the_projects_pages_lead_somewhere():
    pages = [p for p in tracked() if p.suffix == ".md" and "templates" not in p.parts]
    broken = []
    for page in pages:
        links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
        local = [link for link in links if "://" not in link]
        broken += [(page.name, link) for link in local if not (page.parent / link).exists()]
    assert not broken


def test_the_readmes_commands_are_targets():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    used = re.findall(r"(?:^|`)make (\w+)", readme, re.M)
    assert {"lab", "test"}.issubset(used)
    assert not set(used) - set(targets)
