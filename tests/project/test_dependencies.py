"""Packages: all that is imported is declared, all that is declared is pinned, in one place each."""

import ast
import importlib.metadata
import json
import re
import sys
import sysconfig
import tomllib
from functools import cache

import pytest
import yaml

from cs231n_gen.common.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_OURS = {"liger_kernel"}  # a rival on a GPU, timed where someone has installed it


def name_of(requirement):
    """`dask` of `dask[distributed]; sys_platform == 'linux'`, as packagers spell it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    named = [line.partition("#")[0] for line in lines if line.partition("#")[0].strip()]
    return {name_of(line): line.strip() for line in named}


def declared(*extras):
    """What a set-up with these extras asks for, as names of distributions."""
    return {name_of(r) for r in sum((EXTRAS[e] for e in extras), PROJECT["dependencies"])}


# --- imports ------------------------------------------------------------------------------------


def imported(code):
    """The packages that this source text imports, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Import(names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(name), level=0):
                found.add(name)
            case ast.Call(ast.Attribute(attr="importorskip"), [ast.Constant(str(name)), *_]):
                found.add(name)
    return {name.partition(".")[0] for name in found}


def cells(notebook):
    """The code of a notebook, without magics and shell lines."""
    kinds = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) for c in kinds if c["cell_type"] == "code")
    return re.sub(r"^\s*[%!].*$", "", code, flags=re.M)


def undeclared(code, names):
    """The packages that this code imports although none of `names` provides them."""
    others = imported(code) - sys.stdlib_module_names - own() - NOT_OURS
    return {p for p in others if not {name_of(d) for d in brought().get(p, [p])} & names}


@cache
def own():
    """The packages and modules of this project."""
    packages = {p.parent.name for p in (ROOT / "tests").glob("*/__init__.py")}
    return {"cs231n_gen", *packages, *(p.stem for p in (ROOT / "tests").rglob("*.py"))}


@cache
def brought():
    """The distributions that each installed package is of; to look takes half a second."""
    return importlib.metadata.packages_distributions()


@pytest.mark.parametrize(
    ("code", "want"),
    [
        ("import os, numpy.linalg", set()),
        ("from yaml import load", set()),
        ("def f():\n    import sphinx", {"sphinx"}),
        ("pytest.importorskip('nowhere.at_all')", {"nowhere"}),
        ("from . import paths\nfrom cs231n_gen import flow", set()),
    ],
)
def test_an_import_that_is_not_declared_is_seen(code, want):
    assert undeclared(code, declared()) == want


@pytest.mark.parametrize("folder", ["cs231n_gen", "notebooks"])
def test_the_package_and_its_notebooks_import_what_is_declared(folder):
    names = declared(*(EXTRAS.keys() - {"test"}))
    code = {p: p.read_text(encoding="utf-8") for p in (ROOT / folder).rglob("*.py")}
    code |= {p: cells(p) for p in (ROOT / folder).rglob("*.ipynb")}
    found = {p.relative_to(ROOT): undeclared(text, names) for p, text in code.items()}
    assert not {p: names for p, names in found.items() if names}


@pytest.mark.parametrize("folder", ["tests", "data", "docs"])
def test_what_students_do_not_run_imports_what_is_declared(folder):
    names = declared(*EXTRAS)
    found = {
        p.relative_to(ROOT): undeclared(p.read_text(encoding="utf-8"), names)
        for p in (ROOT / folder).rglob("*.py")
    }
    assert not {p: names for p, names in found.items() if names}


# --- versions -----------------------------------------------------------------------------------
def test_environment_yml_asks_for_what_pyproject_does():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["-c constraints.txt", *PROJECT["dependencies"], "-e ."]
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


def test_every_pin_is_exact():
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+]+(\s*;.+)?", line) for line in pins().values())


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_every_dependency_is_pinned(extra):
    wanted = EXTRAS[extra] if extra else PROJECT["dependencies"]
    assert not [w for w in wanted if name_of(w) not in pins()]


def test_everything_installed_is_pinned():
    """What packages bring along is pinned as well, so that two set-ups are the same."""
    found = importlib.metadata.distributions(path=[sysconfig.get_paths()["purelib"]])
    here = {name_of(d.metadata["Name"]) for d in found}
    if not {"ruff", "diffusers"}.issubset(here):
        pytest.skip("this environment was not made by `make test`")
    assert not here - pins().keys() - {name_of(PROJECT["name"])}


def test_every_dependency_says_what_it_is_for():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    every = [*PROJECT["dependencies"], *(r for names in EXTRAS.values() for r in names)]
    silent = [r for r in every if not re.search(re.escape(f'"{r}",') + r"\s*# \S", text)]
    assert not silent
