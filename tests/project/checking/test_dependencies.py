"""Which files of the package an exercise's tests may run."""

import json
import subprocess
import sys

import pytest

from cs231n_gen.checking.dependencies import needed
from cs231n_gen.checking.diagnosis import MISTAKES, PUBLIC
from cs231n_gen.checking.fresh_modules import PACKAGE

RUN = """
import json, sys
from pathlib import Path
from cs231n_gen.checking import variants
from cs231n_gen.checking.runner import run
variants.load(Path(sys.argv[2]))
assert all(r.passed for r in run(Path(sys.argv[1]), [sys.argv[3]]))
files = [getattr(m, "__file__", None) for n, m in sys.modules.items() if n.startswith("cs231n_gen")]
print(json.dumps([f for f in files if f]))
"""


def files(module):
    *folders, name = module.split(".")
    return [
        PUBLIC.joinpath(*folders, f"test_{name}.py"),
        MISTAKES.joinpath(*folders, f"{name}.py"),
        PACKAGE.joinpath(*folders, f"{name}.py"),
    ]


def names(module):
    return {p.relative_to(PACKAGE).as_posix() for p in needed(files(module))}


@pytest.mark.parametrize("exercise", ["flow.train", "guidance.sample", "gan_nets.Generator"])
def test_it_names_every_file_that_a_check_imports(exercise, tmp_path):
    module = exercise.rpartition(".")[0]
    mistakes = tmp_path / "mistakes"
    mistakes.mkdir()
    (mistakes / f"{module}.py").write_bytes((MISTAKES / f"{module}.py").read_bytes())
    command = [sys.executable, "-c", RUN, str(PUBLIC), str(mistakes), exercise]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {str(p) for p in json.loads(done.stdout)}
    assert imported
    assert imported <= {str(p) for p in needed(files(module))}


def test_a_kernel_does_not_depend_on_another():
    assert "kernels/axpy.py" in names("kernels.axpy")
    assert "kernels/attention.py" not in names("kernels.axpy")
    assert "flow.py" not in names("kernels.axpy")


def test_what_a_kernel_is_built_on_counts_too():
    assert {"kernels/attention.py", "kernels/launch.py"} <= names("kernels.joint_attention")


def test_nothing_that_is_built_upon_checks_is_named():
    found = {name.partition("/")[0] for name in names("flow")}
    assert not found & {"cli", "grading", "site", "viz"}
