"""Stages and references of kernels: what a kernel's graders count, and what they refuse."""

import pytest
import torch

from cs231n_gen.checking import compiled_launches
from cs231n_gen.checking.errors import PropertyFailed
from cs231n_gen.checking.kernels.reference import Exact, ulps
from cs231n_gen.checking.kernels.stages import Stages, checked
from cs231n_gen.checking.student import Student
from cs231n_gen.kernels.launch import HAVE_TRITON

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

GOOD = {"results": [], "gradients": [], "faults": [], "launches": 1, "moved": 4}
FAULT = ["reads outside", "x", [2, 0, 0], 572, 1, 2500]


def scaled(wrapper):
    return Stages(Student(), f"kernels.examples.{wrapper}", Exact(lambda x, a: a * x))


def numbers(n=2500, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)), 2.0


def test_a_right_kernel_passes_every_stage():
    stages = scaled("scaled")
    stages.correct(*numbers())
    stages.safe(*numbers())
    stages.honest(numbers(), numbers(seed=1))
    stages.lean(1.05, *numbers())
    stages.compiles(numbers(), numbers(1 << 16))


def test_a_missing_mask_is_told_by_argument_program_and_lanes():
    with pytest.raises(
        PropertyFailed, match=r"^argument x: program \(2, 0, 0\) reads .* 572 lanes"
    ):
        scaled("scaled_without_a_mask").safe(*numbers())


def test_torchs_work_is_told():
    with pytest.raises(PropertyFailed, match="torch did the work"):
        scaled("scaled_by_torch").honest(numbers(), numbers(seed=1))


def test_a_wasted_pass_is_told_in_numbers():
    mixed = Exact(lambda x, z, t: (1 - t) * x + t * z)
    stages = Stages(Student(), "kernels.examples.mixed_in_three_passes", mixed)
    x, _ = numbers()
    with pytest.raises(PropertyFailed, match=r"move 2\.33 times the least"):
        stages.lean(1.05, x, x.flip(0), 0.3)


def test_a_race_is_told():
    total = Exact(lambda x: x.sum()[None], sums={0: 2500})
    stages = Stages(Student(), "kernels.examples.summed_in_a_race", total)
    with pytest.raises(PropertyFailed, match="reads what another program writes"):
        stages.safe(numbers()[0])


@pytest.mark.parametrize("stage", ["safe", "lean", "honest", "compiles"])
def test_nothing_counts_where_the_result_is_wrong(stage):
    stages = Stages(Student(), "kernels.examples.scaled", Exact(lambda x, a: a * x + 1))
    args = {
        "safe": numbers(),
        "lean": (1.05, *numbers()),
        "honest": (numbers(), numbers()),
        "compiles": (numbers(), numbers()),
    }
    with pytest.raises(PropertyFailed, match="first the result must be right"):
        getattr(stages, stage)(*args[stage])


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {},
        GOOD | {"moved": 1.5},
        GOOD | {"moved": True},
        GOOD | {"faults": [FAULT[:5]]},
        GOOD | {"faults": [[*FAULT[:2], ["x"], *FAULT[3:]]]},
        GOOD | {"results": "none"},
    ],
)
def test_an_answer_without_the_right_form_is_refused(wrong):
    assert checked(GOOD | {"faults": [FAULT]})
    with pytest.raises(PropertyFailed, match="tampered"):
        checked(wrong)


LAUNCH = {
    "file": "f.py", "module": "f", "name": "kernel", "signature": {}, "constexprs": {},
    "aligned": [], "num_warps": 4, "num_stages": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [None],
        [LAUNCH | {"more": 1}],
        [LAUNCH | {"file": 3}],
        [LAUNCH | {"num_warps": 4000}],
        [LAUNCH] * 17,
    ],
)
def test_launches_without_the_right_form_are_refused(wrong):
    assert len(compiled_launches.launches_in([LAUNCH])) == 1
    with pytest.raises(PropertyFailed, match="tampered"):
        compiled_launches.launches_in(wrong)


def test_a_gradient_is_held_to_finite_differences():
    """A reference whose own gradient is wrong is no truth: its author hears of it."""

    class Crooked(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 3 * g

    x = torch.rand(5) + 1
    crooked, right = Exact(lambda x: Crooked.apply(x), [0]), Exact(lambda x: x * x, [0])
    right.judge_gradients([2 * x], [x], [torch.ones(5)], {}, "wrong")
    with pytest.raises(ValueError, match="has slope"):
        crooked.judge_gradients([3 * torch.ones(5)], [x], [torch.ones(5)], {}, "wrong")


def test_a_missing_gradient_is_called_by_its_argument():
    exact = Exact(lambda x, w: x * w, [0, 1])
    x = torch.rand(5)
    with pytest.raises(PropertyFailed, match="that of w does not arrive"):
        exact.judge_gradients([x, None], [x, x], [torch.ones(5)], {}, "wrong")


def test_the_floor_of_a_sum_grows_with_the_tree_of_its_additions():
    assert (ulps(1), ulps(1024)) == (1, 6)
