"""Each rule makes the mutants that it says, and a weak grader lets them live."""

import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import mutants as makes
import right_answers
import trial
from mutants import Mutant, mutants
from rules import RULES

from cs231n_gen.grading.source.markers import find_gaps
from cs231n_gen.grading.source.tree import Exercise, exercises

PLAIN = """
@torch.no_grad()
def tiny(x: Float[Tensor, "batch *shape"], y: Int[Tensor, "batch"] | None = None):
    ### BEGIN SOLUTION
{}
    ### END SOLUTION
"""
KERNEL = """
BLOCK = 1024


@triton.jit
def tiny(x, y, out, n, BLOCK: tl.constexpr):
    ### BEGIN SOLUTION
{}
    ### END SOLUTION


def wrapper(x):
    if not uses_kernel(x):
        return reference(x)
"""
WITH_NET = """
def tiny(model, x: Float[Tensor, "batch"], generator: torch.Generator | None = None):
    ### BEGIN SOLUTION
{}
    ### END SOLUTION
"""


def exercise(solution, around=PLAIN):
    text = around.format(indent(dedent(solution), "    ")).lstrip()
    return Exercise("tiny.tiny", Path("tiny.py"), 1, tuple(find_gaps(text)[0]), text)


def made(rule, solution, around=PLAIN):
    """The names of the mutants that a rule makes, without the rule's."""
    names = [m.name for m in mutants(exercise(solution, around))]
    return [n.removeprefix(f"{rule}: ") for n in names if n.startswith(f"{rule}: ")]


EXPECTED = [
    ("sign", "return a + b", "a + b → a - b"),
    ("sign", "return -a", "-a → a"),
    ("turned", "return a - b", "a - b → b - a"),
    ("term", "return a * b", "a * b → b"),
    ("constant", "return 0.5 * a", "0.5 * a → 1.0 * a"),
    ("constant", "return a[0]", "a[0] → a[1]"),
    ("division", "return a / b", "a / b → a // b"),
    ("eps", "return a / b", "a / b → a / (b + 1e-06)"),
    ("function", "return torch.exp(a)", "torch.exp(a) → torch.expm1(a)"),
    ("function", "return a.sum()", "a.sum() → a.mean()"),
    ("naive", "return F.logsigmoid(a)", "F.logsigmoid(a) → a.sigmoid().log()"),
    ("argument sign", "return torch.sigmoid(a)", "torch.sigmoid(a) → torch.sigmoid(-a)"),
    ("call", "return a.square()", "a.square() → a"),
    ("keyword", "return a.sum(1, keepdim=True)", "a.sum(1, keepdim=True) → a.sum(1)"),
    ("order", "return f(a, b)", "f(a, b) → f(b, a)"),
    ("order", "return a, b", "(a, b) → (b, a)"),
    ("axes", "return a.mean((2, 3))", "a.mean((2, 3)) → a.mean(2)"),
    ("axes", "return a.sum(dim=1)", "a.sum(dim=1) → a.sum(dim=0)"),
    ("broadcast", "return a[:, None] * b", "a[:, None] → a"),
    ("first for all", "return x", "x = x[:1].expand_as(x) if x.dim() else x"),
    ("comparison", "return a < b", "a < b → a <= b"),
    ("condition", "return a if c else b", "a if c else b → b if c else a"),
    ("branch", "if c:\n    return a\nreturn b", "if c: … → if not c: …"),
    ("dropped statement", "f(x)\nreturn x", "f(x) → pass"),
    ("repeated statement", "f(x)\nreturn x", "f(x) → f(x); f(x)"),
    ("early return", "a = f(x)\nreturn g(a)", "a = f(x) → a = f(x); return a"),
    ("argument overwritten", "return x", "x, _ = x.clone(), x.data.add_(1)"),
    ("argument ignored", "return x", "y = None"),
    ("argument clamped", "return x", "x = x.clamp(-10, 10)"),
    ("argument's dtype", "return x", "x = x.float().to(x.dtype)"),
    ("result's dtype", "return x", "return x → ….double()"),
    ("result off", "return x", "return x → … * (1 + 1e-05)"),
    ("result clamped", "return x", "return x → ….clamp(-10, 10)"),
    ("result's graph", "return x", "return x → ….detach().requires_grad_()"),
    ("result's shape", "return x", "return x → …[None]"),
    ("result negated", "return x", "return x → -…"),
    ("random state", "return x", "torch.manual_seed(0)"),
    ("graph", "return x", "with torch.enable_grad(): …"),
]
EXPECTED_OF_NETS = [
    ("argument detached", "return model(x)", "x = x.detach()"),
    ("detach", "return model(x)", "model(x) → model(x).detach()"),
    ("generator", "return x", "generator = torch.Generator().manual_seed(0)"),
    ("mode", "return x", "if isinstance(model, torch.nn.Module): model.eval()"),
    ("no graph", "return x", "with torch.no_grad(): …"),
]
EXPECTED_OF_KERNELS = [
    ("mask", "tl.store(x, y, mask=m)", "tl.store(x, y, mask=m) → tl.store(x, y)"),
    ("other", "a = tl.load(x, mask=m)", "tl.load(x, mask=m) → tl.load(x, mask=m, other=1.0)"),
    ("width", "a = b.to(tl.int64)", "b.to(tl.int64) → b.to(tl.int16)"),
    ("rounded between", "a = b + c", "a = b + c → a = b + c; a = a.to(tl.float16).to(a.dtype)"),
    ("tf32", "a = tl.dot(b, c)", "tl.dot(b, c) → tl.dot(b, c, input_precision='tf32')"),
    ("program", "i = tl.program_id(0)", "tl.program_id(0) → tl.program_id(0) + 1"),
    ("block", "i = j * BLOCK", "j * BLOCK → j * 1024"),
    ("ceiling", "i = tl.cdiv(n, 8)", "tl.cdiv(n, 8) → n // 8"),
    ("pointers", "tl.store(out, x)", "x, y = y, x"),
    (
        "tie",
        "a = tl.min(b, 1, return_indices_tie_break_left=True)",
        "tl.min(b, 1, return_indices_tie_break_left=True) → "
        "tl.min(b, 1, return_indices_tie_break_left=False)",
    ),
]
LOOPS = "for i in range(n):\n    f(i)\nreturn x"
CASES = [(*case, PLAIN) for case in EXPECTED]
CASES += [(*case, WITH_NET) for case in EXPECTED_OF_NETS]
CASES += [(*case, KERNEL) for case in EXPECTED_OF_KERNELS]
CASES += [("decorator", "return x", "torch.no_grad() → torch.enable_grad()", PLAIN)]
CASES += [("wrapper", "tl.store(out, 1)", "not uses_kernel(x) → True", KERNEL)]
CASES += [("loop", LOOPS, "for i in range(n): … → for i in range(n - 1): …", PLAIN)]


@pytest.mark.parametrize(("rule", "solution", "expected", "around"), CASES)
def test_a_rule_makes_its_mutant(rule, solution, expected, around):
    found = made(rule, solution, around)
    assert expected in found


def test_every_rule_has_such_a_test_and_says_what_it_stands_for():
    assert {rule.name for rule in RULES} == {rule for rule, *_ in CASES}
    assert all(rule.why for rule in RULES)


def test_mutants_differ_and_can_be_compiled():
    found = mutants(exercise("a = x + 1\nreturn a * 2"))
    assert len({m.text for m in found}) == len({m.name for m in found}) == len(found) > 20
    for mutant in found:
        compile(mutant.text, "mutant", "exec")


def test_what_changes_nothing_is_no_mutant():
    assert made("order", "return f(x, x)") == []


def test_a_name_stays_when_lines_are_added_above():
    before = [m.name for m in mutants(exercise("return x - 1"))]
    moved = exercise("return x - 1")
    moved = replace(moved, text=f"import math\n\n\n{moved.text}")
    moved = replace(moved, gaps=tuple(find_gaps(moved.text)[0]))
    assert [m.name for m in mutants(moved)] == before


@pytest.mark.parametrize("chosen", ["flow.train", "gan_nets.Generator", "chapter02.slope"])
def test_mutants_of_a_loop_a_class_and_a_cell_change_its_gap_alone(chosen):
    (own,) = [e for e in exercises() if e.id == chosen]
    whole = makes.whole_text(own)
    assert all(m.text != whole and m.exercise == chosen for m in mutants(own))


# --- trials ---------------------------------------------------------------------------------------

(RESOLUTION,) = [e for e in exercises() if e.id == "schedules.resolution_alpha"]


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """`graded(body)`: the outcomes of a few mutants of √(m / n) under a grader with this body."""

    def graded(body, choose=lambda found: found):
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        test = "import pytest\n\n\n@pytest.mark.exercise('schedules.resolution_alpha')\n"
        test += (
            f"def test_it(student):\n    alpha = student.schedules.resolution_alpha\n    {body}\n"
        )
        (hidden / "test_schedules.py").write_text(test, encoding="utf-8")
        monkeypatch.setattr(trial, "HIDDEN", hidden)
        monkeypatch.setattr(trial, "SEEDS", {hidden: 0, trial.PUBLIC: 0})
        return trial.try_all([RESOLUTION], choose, workers=1)

    return graded


def test_a_weak_grader_lets_mutants_live(graded):
    alive = {o.mutant.name for o in graded("assert alpha(1, 1) == 1") if not o.killed}
    assert "turned: m / n → n / m" in alive
    assert "sign: m / n → m * n" in alive
    assert not alive & {"call: math.sqrt(m / n) → m / n #2"}


def test_a_good_grader_kills_them(graded):
    good = "assert [alpha(4, 1), alpha(1, 4), alpha(1, 1), alpha(9, 4)] == [2, 0.5, 1, 1.5]"
    killed = {o.mutant.name for o in graded(good) if o.killed}
    assert {"turned: m / n → n / m", "sign: m / n → m * n"} <= killed


def test_where_the_right_answer_does_not_pass_nothing_is_said(graded):
    with pytest.raises(trial.GraderRefuses, match="resolution_alpha"):
        graded("assert alpha(1, 1) == 2")


@pytest.mark.parametrize(
    ("answer", "says"),
    [("while True: pass", "did not end"), ("import os; os._exit(3)", "it ended the process")],
)
def test_a_mutant_that_does_not_end_or_ends_its_process_is_killed(
    graded, monkeypatch, answer, says
):
    monkeypatch.setattr(trial, "LIMIT", 0.5)
    text = RESOLUTION.text.replace("return math.sqrt(m / n)", answer)
    bad = Mutant(RESOLUTION.id, "bad", text)
    (outcome,) = graded("assert alpha(1, 1) == 1", lambda found: [bad])
    assert outcome.killed
    assert says in outcome.says


def test_an_entry_that_is_not_so_is_found(monkeypatch):
    known = {"x.y: a → b": "why", "x.y: c → d": "why", "x.z: e → f": "why"}
    monkeypatch.setattr(right_answers, "right_answers", lambda: known)
    dead = trial.Outcome(Mutant("x.y", "a → b", ""), "test_a")
    assert right_answers.stale([dead], "x.y") == [
        "x.y: a → b: killed by test_a",
        "x.y: c → d: no such mutant",
    ]


def test_every_entry_says_why():
    assert all(len(why.split()) > 3 for why in right_answers.right_answers().values())
