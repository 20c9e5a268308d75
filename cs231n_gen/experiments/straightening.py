"""What reflow does to a flow in the plane: cheaper pairs, straighter paths, same data. Given."""

from dataclasses import dataclass

import torch

from cs231n_gen import flow
from cs231n_gen.experiments.distillation_methods import (
    Lesson,
    one_thread,
    reflow_flows,
    round_velocity,
    walk,
)
from cs231n_gen.experiments.distillation_trial import QUICK, distance
from cs231n_gen.given.toys import Toy


@dataclass(frozen=True)
class Flow:
    """A flow and the pairs of noise and sample that it makes.

    name: which round.
    cost: mean ‖x − z‖² of its pairs (transport cost).
    straightness: S of its paths, 0 if straight.
    distances: energy distance of its samples to the density, by number of Euler steps.
    """

    name: str
    cost: float
    straightness: float
    distances: dict[int, float]


@dataclass(frozen=True)
class Straightening:
    """Flows, each trained on the pairs of the one before.

    independent: mean ‖x − z‖² of data and noise drawn on their own, which the first flow learned
        from.
    flows: the teacher, then one for each round.
    """

    independent: float
    flows: list[Flow]

    def table(self) -> str:
        """All numbers, as text."""
        calls = list(self.flows[0].distances)
        head = ["", "mean ‖x − z‖²", "straightness", *(f"{c} steps" for c in calls)]
        lines = [head, ["independent pairs", f"{self.independent:.3f}"]]
        for f in self.flows:
            far = [f"{1000 * d:.2f}" for d in f.distances.values()]
            lines.append([f.name, f"{f.cost:.3f}", f"{f.straightness:.4f}", *far])
        text = "".join(f"\n{name:20}" + "".join(f"{c:>15}" for c in rest) for name, *rest in lines)
        return "the last columns: energy distance × 1000 of samples by Euler steps" + text


def run(
    toy: Toy,
    rounds: int = 2,
    *,
    effort: float = QUICK,
    seed: int = 0,
    points: int = 4000,
    progress: bool = False,
) -> Straightening:
    """Reflow, and measure each flow on the same noise.

    Args:
        toy: the data.
        rounds: of reflow.
        effort: times the numbers of steps and pairs, as in `distillation_trial.train`.
        seed: of all that is random.
        points: that a flow is measured with.
        progress: whether to show bars.
    """
    with one_thread():
        return _run(toy, rounds, effort, seed, points, progress)


def _run(toy, rounds, effort, seed, points, progress) -> Straightening:
    g = torch.Generator().manual_seed(seed)
    teacher = round_velocity(toy.mixture)
    trained = reflow_flows(Lesson(toy, teacher, g, effort, progress, "reflow"), rounds)
    g = torch.Generator().manual_seed(10_000 + seed)
    z, x = torch.randn(points, 2, generator=g), toy.sample(points, g)
    flows = []
    for k, velocity in enumerate([teacher, *trained]):
        path = flow.trajectory(velocity, z, 50)
        flows.append(
            Flow(
                name="teacher" if k == 0 else f"reflow, round {k}",
                cost=_cost(path[-1], z),
                straightness=float(flow.straightness(path)),
                distances={T: distance(walk(velocity), toy, T, seed, points) for T in (1, 2, 4)},
            )
        )
    return Straightening(_cost(x, z), flows)


def _cost(x: torch.Tensor, z: torch.Tensor) -> float:
    return float((x - z).square().sum(1).mean())
