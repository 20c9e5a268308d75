"""What answers an exercise is absent while it is checked, for student code and for no other."""

import pytest
import torch

from cs231n_gen import gan, given, schedules, truth
from cs231n_gen.checking import absence
from cs231n_gen.checking.fresh_modules import load_module, package_modules
from cs231n_gen.checking.runner import run
from cs231n_gen.checking.student import Student
from cs231n_gen.common.paths import ANSWERS, HIDDEN, MACHINERY, PACKAGE, PUBLIC
from cs231n_gen.common.short_names import GIVEN

REFUSED = "absent while an exercise is checked or graded"
ANSWER = "{} is " + REFUSED + ": it may hold the answer"


@pytest.fixture
def theirs(tmp_path):
    """theirs(text, module): a module of a student's with this text."""

    def load(text, module="flow"):
        path = tmp_path / f"{module.rpartition('.')[2]}.py"
        path.write_text(text, encoding="utf-8")
        return load_module(path, f"cs231n_gen.{module}")

    return load


WAYS = {  # from the head of a file and the body of a function to what the error names
    "from the package": ("from cs231n_gen import truth", "truth.grid()", "truth.grid"),
    "from a module": ("from cs231n_gen.truth import grid", "grid()", "truth.grid"),
    "by its full name": ("import cs231n_gen.truth", "cs231n_gen.truth.grid()", "truth.grid"),
    "under another name": ("import cs231n_gen.truth as a", "a.grid()", "truth.grid"),
    "through the package": ("import cs231n_gen", "cs231n_gen.truth.grid()", "truth.grid"),
    "relative": ("from . import truth", "truth.grid()", "truth.grid"),
    "relative, from a module": ("from .truth.average import grid", "grid()", "truth.average.grid"),
    "in a function": ("", "from cs231n_gen.truth import grid; grid()", "truth.grid"),
    "by a short name": ("from cs231n_gen import toys", "toys.TOYS['ring']", "toys.TOYS"),
    "from a room": ("from cs231n_gen.given import toys", "toys.TOYS['ring']", "given.toys.TOYS"),
    "a kernel": ("from cs231n_gen.kernels import axpy", "axpy.axpy(1, 2, 3)", "kernels.axpy.axpy"),
    "experiments": ("from cs231n_gen import schedule_trial as s", "s.run()", "schedule_trial.run"),
    "the tests' tools": ("from cs231n_gen.checking import expect", "expect.close(1, 1)", "expect"),
    "check": ("from cs231n_gen import check", "check('flow.loss')", "check"),
    "importlib": (
        "import importlib",
        "importlib.import_module('cs231n_gen.truth').grid()",
        "truth.grid",
    ),
    "importlib's function": (
        "from importlib import import_module",
        "import_module('cs231n_gen.truth').grid()",
        "truth.grid",
    ),
    "__import__": ("", "__import__('cs231n_gen.truth').truth.grid()", "truth.grid"),
    "builtins": ("import builtins", "builtins.__import__('cs231n_gen').truth()", "truth"),
    "exec": ("", "exec('from cs231n_gen import truth; truth.grid()')", "truth.grid"),
    "a class": ("from cs231n_gen import truth", "isinstance(1, truth.Posterior)", "Posterior"),
}


@pytest.mark.parametrize("way", WAYS)
def test_whichever_way_it_is_imported_it_raises_when_it_is_used(theirs, way):
    head, body, name = WAYS[way]
    module = theirs(
        f"{head}\ndef f():\n    return {body}\n"
        if "; " not in body or "exec" in body
        else f"{head}\ndef f():\n    {body}\n"
    )
    with pytest.raises(ImportError, match=REFUSED) as caught:
        module.f()
    assert name in str(caught.value)


def test_it_is_not_among_the_modules_that_are_loaded(theirs):
    module = theirs("import sys\ndef f(): return sys.modules['cs231n_gen.truth']")
    with pytest.raises(KeyError):
        module.f()


def test_a_file_loads_that_names_it_elsewhere(theirs):
    module = theirs(
        "from cs231n_gen import truth, viz, check, data\n"
        "def exact(field: truth.GaussianMixture | None = None): return truth.GaussianMixture()\n"
        "def f(x): return x\n"
    )
    assert module.f(3) == 3
    with pytest.raises(ImportError, match=ANSWER.format("cs231n_gen.truth.GaussianMixture")):
        module.exact()


def test_everything_of_an_absent_module_cannot_be_taken(theirs):
    with pytest.raises(ImportError, match=REFUSED):
        theirs("from cs231n_gen.truth import *")


def test_a_name_that_is_nowhere_is_not_called_absent(theirs):
    with pytest.raises(ImportError, match="cannot import name 'trut'"):
        theirs("from cs231n_gen import trut")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'cs231n_gen\.trut'"):
        theirs("import cs231n_gen.trut")


def test_what_exercises_are_written_with_is_there(theirs):
    module = theirs(
        "from cs231n_gen import gan, training\n"
        "from cs231n_gen.given.mlp import VelocityMLP\n"
        "from cs231n_gen.kernels.launch import leaves_to_kernels\n"
        "import cs231n_gen.given.metrics\n"
        "def f(): return cs231n_gen.given.metrics.energy_distance, cs231n_gen.gan"
    )
    assert module.training is given.training
    assert module.f() == (given.metrics.energy_distance, gan)


def test_a_kernel_imports_kernels_and_nothing_else(theirs):
    text = "from cs231n_gen.kernels.adaln import tile\nfrom cs231n_gen import gan, truth\n"
    module = theirs(f"{text}def f(): return gan.value(1, 2)", "kernels.gated_residual")
    assert module.tile.__name__ == "tile"
    with pytest.raises(ImportError, match=r"cs231n_gen\.gan\.value"):
        module.f()


def test_code_of_the_course_uses_it_when_student_code_calls(theirs):
    """A test's model is exact, and a training loop may be watched by a figure."""
    module = theirs("def f(model): return model()")
    assert module.f(lambda: truth.grid).__module__ == "cs231n_gen.truth.average"


def test_outside_of_a_check_nothing_is_refused():
    assert schedules.__builtins__["__import__"] is __import__


def test_every_module_of_the_package_imports_as_it_did():
    for name in [p.stem for p in PACKAGE.glob("[!_]*.py")]:
        assert package_modules()[name]


def test_every_room_and_every_given_module_is_known():
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name[0] != "_"}
    assert rooms - {"given", "kernels", "jupyter"} == {*MACHINERY, *ANSWERS}
    assert {p.stem for p in (PACKAGE / "given").glob("[!_]*.py")} == set(GIVEN)
    known = {name: absence.knows_no_answer(name) for name in GIVEN}
    assert not known["toys"], "its densities are those of truth"
    assert not known["data"], "it imports toys"
    assert known["unet"], "its kernel is imported where a GPU calls for it"
    assert known["blocks"]
    assert known["training"]
    assert known["mlp"]


GIVEN_TEXTS = {  # and whether such a module is there while an exercise is checked
    "from cs231n_gen.kernels.launch import uses_kernel": True,
    "from cs231n_gen.kernels.adain import adain": False,
    "import cs231n_gen.kernels.adain": False,
    "def f():\n    from cs231n_gen.kernels import adain": True,
    "def f():\n    from cs231n_gen.truth import grid": False,
    "def f():\n    from cs231n_gen import truth": False,
    "from cs231n_gen.kernels import adain\ndef f():\n    import cs231n_gen.kernels.adain": False,
    "class A:\n    from cs231n_gen.kernels import adain": False,
}


@pytest.mark.parametrize("text", GIVEN_TEXTS)
def test_only_a_kernel_may_wait_for_a_call(tmp_path, monkeypatch, text):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "sample.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(absence, "PACKAGE", tmp_path)
    absence.knows_no_answer.cache_clear()
    try:
        assert absence.knows_no_answer("sample") is GIVEN_TEXTS[text]
    finally:
        absence.knows_no_answer.cache_clear()


CHEATS = {
    "schedules.optimal_velocity": (
        "from cs231n_gen import truth\n"
        "def optimal_velocity(x_t, t, data):\n"
        "    return truth.FiniteData(data).velocity(x_t, t)\n"
    ),
    "gan.discriminator_loss": (
        "from cs231n_gen.kernels import gan_losses\n"
        "def discriminator_loss(real_logits, fake_logits):\n"
        "    return gan_losses.reference(real_logits, fake_logits)\n"
    ),
    "gan.generator_loss": (
        "def generator_loss(fake_logits, saturating=False):\n"
        "    from cs231n_gen.kernels.gan_losses import generator_loss as kernel\n"
        "    return kernel(fake_logits, saturating)\n"
    ),
    "gan.optimal_discriminator": "from cs231n_gen.truth import optimal_discriminator\n",
}


@pytest.mark.parametrize("exercise", CHEATS)
@pytest.mark.parametrize("folder", [PUBLIC, HIDDEN], ids=lambda p: p.name)
def test_an_answer_that_is_no_more_than_a_call_gets_nothing(theirs, exercise, folder):
    module, _, _ = exercise.rpartition(".")
    own = package_modules()
    cheat = theirs(
        (PACKAGE / f"{module}.py").read_text("utf-8") + "\n\n" + CHEATS[exercise], module
    )
    own[module] = cheat
    results = run(folder, [exercise], Student(own))
    assert results
    assert not [r.name for r in results if r.passed]
    errors = [r.says for r in results if r.status == "error"]
    assert errors
    assert all(REFUSED in says for says in errors)


@pytest.mark.parametrize("exercise", CHEATS)
def test_who_writes_it_beside_the_right_answer_loses_nothing(theirs, exercise):
    module, _, name = exercise.rpartition(".")
    beside = CHEATS[exercise].replace(f"def {name}(", "def exact(")
    if "def exact" not in beside:
        beside = f"{beside.strip()} as exact\n"
    own = package_modules()
    own[module] = theirs((PACKAGE / f"{module}.py").read_text("utf-8") + "\n\n" + beside, module)
    assert hasattr(own[module], "exact")
    assert all(r.passed for r in run(HIDDEN, [exercise], Student(own)))


def test_an_answer_cell_reaches_none_of_it(monkeypatch):
    from cs231n_gen.checking import answer_cells

    text = "def slope(D, p_data, p_g):\n    from cs231n_gen import truth\n    return truth.grid()\n"
    monkeypatch.setattr(answer_cells, "_saved", lambda *_: {"slope": text})
    made = answer_cells.load("chapter02")
    with pytest.raises(ImportError, match=REFUSED):
        made.slope(torch.zeros(1), None, None)
