"""What reflow does to pairs and paths."""

import pytest

from cs231n_gen import data, straightening


@pytest.fixture(scope="module")
def done():
    return straightening.run(data.ring(), rounds=2, effort=0.03, points=1000)


def test_pairs_of_a_flow_cost_less_than_independent_ones(done):
    """E‖x − z‖² of independent pairs is E‖x‖² + E‖z‖² = 2² + 2 · 0.2² + 2 on the ring."""
    assert done.independent == pytest.approx(6.08, abs=0.4)
    assert all(f.cost < done.independent / 4 for f in done.flows)


def test_paths_get_straighter_and_one_step_better(done):
    teacher, once, twice = done.flows
    assert teacher.straightness > 0.5 > 0.1 > once.straightness > twice.straightness
    assert teacher.distances[1] > 1 > 0.2 > once.distances[1]


def test_a_seed_repeats_it_and_the_table_has_all_flows(done):
    again = straightening.run(data.ring(), rounds=2, effort=0.03, points=1000)
    assert again == done
    lines = done.table().splitlines()
    assert len(lines) == 3 + len(done.flows)
    assert "reflow, round 2" in lines[-1] and "4 steps" in lines[1]
