"""The trial of chapter 12: its teacher, its methods, and its table."""

import pytest
import torch

from cs231n_gen import data, distillation_trial, flow
from cs231n_gen.experiments.distillation_methods import round_velocity
from cs231n_gen.truth import GaussianMixture

METHODS = distillation_trial.METHODS
TINY = 0.004


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("toy", [data.ring(), data.moons()], ids=lambda toy: toy.name)
def test_the_teacher_is_the_exact_velocity(toy, g):
    x, t = 2 * torch.randn(200, 2, generator=g), torch.rand(200, generator=g)
    t[:2] = torch.tensor([0.0, 1.0])
    found = round_velocity(toy.mixture)(x, t)
    torch.testing.assert_close(found, toy.mixture.velocity(x, t).float(), atol=1e-4, rtol=1e-4)


def test_a_teacher_of_other_components_is_refused():
    covs = torch.diag_embed(torch.tensor([[1.0, 2.0], [1.0, 1.0]]))
    with pytest.raises(ValueError, match="round"):
        round_velocity(GaussianMixture(torch.ones(2), torch.zeros(2, 2), covs))


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_repeats_a_student(name, g):
    z = torch.randn(20, 2, generator=g)
    outcomes = []
    for seed in (0, 0, 1):
        before = torch.random.get_rng_state()
        own = torch.Generator().manual_seed(seed)
        student = distillation_trial.train(name, data.ring(), own, TINY)
        assert torch.equal(torch.random.get_rng_state(), before), "torch's own generator moved"
        draws = [student.sample(z, calls, g.manual_seed(5)) for calls in student.calls]
        assert all(x.shape == z.shape and x.isfinite().all() for x in draws)
        outcomes.append(torch.stack(draws))
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


def test_direct_regression_is_far_better_than_one_step_of_its_teacher(g):
    toy = data.ring()
    student = distillation_trial.train("direct regression", toy, g, 0.05)
    found = float(distillation_trial.distance(student.sample, toy, 1, 0, 2000))

    def euler(z, calls, generator):
        return flow.sample(round_velocity(toy.mixture), z, calls)

    assert found < 0.05 < 1 < float(distillation_trial.distance(euler, toy, 1, 0, 2000))


def test_the_table_has_a_row_for_each_method_and_a_cell_for_each_number_of_calls():
    names = ["direct regression", "consistency training"]
    trial = distillation_trial.run(
        data.ring(), names, range(2), effort=TINY, samples=200, progress=False
    )
    again = distillation_trial.run(
        data.ring(), names, range(2), effort=TINY, samples=200, progress=False
    )
    assert all(torch.equal(d, again.teacher[c]) for c, d in trial.teacher.items())
    assert list(trial.students["consistency training"]) == [1, 2, 4]
    assert list(trial.students["direct regression"]) == [1]
    assert trial.teacher.keys() == {1, 2, 4, 8, 50}
    rows = {name: found for name, found, _ in trial.rows()}
    mean, spread = rows["direct regression"][1]
    d = 1000 * trial.students["direct regression"][1]
    assert (mean, spread) == pytest.approx((float(d.mean()), float(d.std())))
    assert trial.caveats().startswith("consistency training: ")
    lines = trial.table().splitlines()
    assert "2 seeds" in lines[0] and "CPU s" in lines[1]
    assert [line.split("  ")[0] for line in lines[2:]] == ["real data", "teacher, Euler", *names]
    assert {line.count("|") for line in trial.table(markdown=True).splitlines()} == {8}


def test_bad_input_is_refused(g):
    ring = data.ring()
    with pytest.raises(ValueError, match="got 'magic'"):
        distillation_trial.train("magic", ring, g)
    with pytest.raises(ValueError, match="got 0"):
        distillation_trial.train("sCM", ring, g, 0.0)
    student = distillation_trial.train("direct regression", ring, g, TINY)
    with pytest.raises(ValueError, match="got 2"):
        student.sample(torch.zeros(3, 2), 2)
