"""Every attack of `programs/` against the jail: none gets points or secrets, or harms others."""

from dataclasses import replace

import arena
import pytest

from cs231n_gen.checking.runner import Result
from cs231n_gen.grading.run.examiner import ExerciseResult

ATTACKS = arena.attacks()


def known(attack):
    """The attack as a parameter; one that is known to succeed is marked, until it fails."""
    marks = [pytest.mark.xfail(reason=attack.finding, strict=True)] if attack.finding else []
    return pytest.param(attack, id=f"{attack.family}-{attack.name}", marks=marks)


def test_there_are_many_attacks_and_each_says_what_it_tries():
    assert len(ATTACKS) >= 60
    assert len({a.name for a in ATTACKS}) == len(ATTACKS)
    assert all(a.says.endswith(".") for a in ATTACKS)
    unseen = [a.name for a in ATTACKS if a.silent and not a.ends and not a.shows]
    assert not unseen, "nothing would show that these ran"


@pytest.mark.drawn("attacks", 50)
@pytest.mark.parametrize("attack", map(known, ATTACKS))
def test_an_attack_fails(attack, planted, request):
    place = request.getfixturevalue("hasty" if attack.slow else "patient")
    outcome = place.try_out(attack, planted.port)
    assert not outcome.broken, f"the grader broke: {outcome.broken}"
    assert not attack.successes(outcome, planted)
    assert place.worker.alive


def test_what_is_left_on_the_scratch_disk_is_gone_for_the_next(patient):
    note = (
        "import os\n\nprint(sorted(os.listdir('/scratch')))\nopen('/scratch/note', 'w').close()\n"
    )
    body = "".join(f"    {line}\n" for line in note.splitlines())
    text = f"{arena.flow_with()}\n\ndef straightness(path):\n{body}    return path\n"
    own = patient.submission("leftovers", text)
    for _ in range(2):
        found = patient.worker.grade(own, ["flow.straightness"], seed=arena.SEED)
        outputs = [r.output.strip() for r in found["flow.straightness"].results]
        assert outputs == ["[]"] + ["['note']"] * (len(outputs) - 1)


def test_a_right_answer_may_print_warn_and_import(patient):
    """What an attack does for harm, a student may do in good faith."""
    text = arena.flow_with("straightness").replace(
        "    whole = path[-1] - path[0]",
        "    import sqlite3, sys, warnings\n    print(path, sqlite3)\n    warnings.warn('hm')\n"
        "    print('oops', file=sys.stderr)\n    whole = path[-1] - path[0]",
    )
    assert "sqlite3" in text
    own = patient.submission("honest", text)
    found = patient.worker.grade(own, ["flow.straightness"], seed=arena.SEED)["flow.straightness"]
    assert arena.share(found) == 1.0, found.results[0]


def test_a_check_of_an_attack_sees_success(planted):
    """An outcome in which everything went wrong is told from one in which nothing did."""
    attack = next(a for a in ATTACKS if a.name == "environment")
    passed = Result("flow.interpolate", "t", "n", 1.0, "passed", got="x" * 20_000)
    leaking = replace(passed, output=arena.HIDDEN[0] + planted.words["environment"])
    other = Result("flow.straightness", "t", "n", 1.0, "failed")
    found = {
        "flow.interpolate": ExerciseResult((leaking,)),
        "flow.straightness": ExerciseResult((other,)),
    }
    worst = arena.Outcome(found, right=0.5, wrong=0.5, left=("process 1",), grown=1 << 40)
    assert len(attack.successes(worst, planted)) == 10
