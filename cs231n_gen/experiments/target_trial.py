"""The trial of targets in chapter 07: where in t is a network bad that predicts x, ε or v? Given.

All networks are trained on rectified flow with the same initial weights, data, noise and levels
from one seed, and differ only in what they are asked for. The loss of each is the plain squared
error of its own target, with t uniform.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen import diffusion
from cs231n_gen.experiments.perfect import perfect_net
from cs231n_gen.experiments.schedule_trial import Ensemble
from cs231n_gen.given.mlp import VelocityMLP
from cs231n_gen.given.processes import NOISE, Target, X, rectified_flow, velocity
from cs231n_gen.given.toys import Toy
from cs231n_gen.given.training import Run
from cs231n_gen.truth import irreducible_loss

PROCESS = rectified_flow()
TARGETS = {"x": X, "ε": NOISE, "v": velocity(PROCESS)}
LEVELS = torch.linspace(0.02, 0.98, 49)


@dataclass(frozen=True)
class TargetTrial:
    """The results of a trial.

    targets: by name.
    nets: of each target, those of all seeds as one.
    levels: where they are compared.
    floors: the loss of the perfect network of each target, per dimension.
    excess: E‖f − E[y | x_t]‖² per dimension, by which the loss exceeds its floor.
    seconds: the whole trial.
    """

    targets: dict[str, Target]
    nets: dict[str, Ensemble]
    levels: Float[Tensor, "levels"]
    floors: Float[Tensor, "targets levels"]
    excess: Float[Tensor, "targets seeds levels"]
    seconds: float

    @property
    def names(self) -> list[str]:
        """The names of the targets."""
        return list(self.targets)

    @property
    def seeds(self) -> int:
        """How many seeds."""
        return self.excess.shape[1]

    def loss(self) -> Float[Tensor, "targets seeds levels"]:
        """The loss of each network at each level, per dimension."""
        return self.floors[:, None] + self.excess

    def error_of(self, target: Target) -> Float[Tensor, "targets seeds levels"]:
        """The excess in a common unit: the mean squared error of another target's prediction.

        With X it is the error of x̂, with `velocity(PROCESS)` that of the ODE's velocity.
        """
        t = self.levels.double()
        asked = [diffusion.loss_weight(t, PROCESS, one) for one in self.targets.values()]
        return (
            self.excess * (diffusion.loss_weight(t, PROCESS, target) / torch.stack(asked))[:, None]
        )

    def table(self) -> str:
        """Error of the ODE's velocity in four parts of [0, 1], as text: mean ± spread of seeds."""
        error = self.error_of(velocity(PROCESS))
        bounds = torch.linspace(0, 1, 5)
        header = [f"t in [{a:g}, {b:g}]" for a, b in pairwise(bounds.tolist())]
        lines = ["error of the ODE's velocity × 1000, per dimension"]
        lines.append(f"{'target':8}" + "".join(f"{cell:>20}" for cell in header))
        part = torch.bucketize(self.levels, bounds[1:-1])
        for name, e in zip(self.names, 1000 * error, strict=True):
            means = [e[:, part == k].mean(1) for k in range(4)]
            cells = [f"{float(m.mean()):.1f} ± {float(m.std()):.1f}" for m in means]
            lines.append(f"{name:8}" + "".join(f"{cell:>20}" for cell in cells))
        return "\n".join(lines)


def run(
    toy: Toy,
    seeds: Sequence[int] = range(3),
    *,
    targets: Mapping[str, Target] = TARGETS,
    steps: int = 700,
    batch: int = 256,
    points: int = 4000,
    progress: bool = True,
    **net,
) -> TargetTrial:
    """Train a `VelocityMLP` for each target and seed, and measure it level by level.

    Args:
        toy: the data, a mixture.
        seeds: at least 2.
        targets: by name.
        steps, batch: of training.
        points: to measure with, at each level.
        progress: whether to show a bar.
        net: options of the net.
    """
    start, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)  # on matrices this small, more threads would only wait for each other
    try:
        nets = _train(toy, seeds, targets, steps, batch, progress, net)
        excess = torch.stack(
            [_excess(nets[k], toy, target, points) for k, target in targets.items()]
        )
    finally:
        torch.set_num_threads(threads)
    return TargetTrial(
        targets=dict(targets),
        nets=nets,
        levels=LEVELS,
        floors=torch.stack([floor(toy, target) for target in targets.values()]),
        excess=excess,
        seconds=time.perf_counter() - start,
    )


def floor(toy: Toy, target: Target, levels: Float[Tensor, "levels"] = LEVELS) -> Tensor:
    """The loss of the perfect network at these levels, per dimension."""
    process = {"a": PROCESS.a, "b": PROCESS.b}
    return irreducible_loss(toy.mixture, levels, **process, c=target.c, d=target.d).value


def _train(toy, seeds, targets, steps, batch, progress, net) -> dict[str, Ensemble]:
    nets, S = [], len(seeds)
    for _ in targets:
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                nets.append(VelocityMLP(**net))
    ensemble = Ensemble(nets)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    with Run(ensemble, steps, progress=progress, label=f"{len(nets)} nets") as run:
        for _ in run:
            x = torch.cat([toy.sample(batch, g) for g in generators])  # (seeds · batch, 2)
            z = torch.cat([torch.randn(batch, 2, generator=g) for g in generators])
            t = torch.cat([torch.rand(batch, generator=g) for g in generators])
            pairs = [diffusion.noise(x, z, t, PROCESS, target) for target in targets.values()]
            x_t, y = (torch.cat(v).reshape(len(nets), batch, 2) for v in zip(*pairs, strict=True))
            prediction = ensemble(x_t, t.repeat(len(targets)).reshape(len(nets), batch))
            L = (prediction - y).square().mean((1, 2))  # (nets,)
            run.optimizer.zero_grad()
            L.sum().backward()  # each net's gradient is that of its own loss
            run.optimizer.step()
            run.record(L.mean())
    return {name: ensemble.part(k * S, (k + 1) * S) for k, name in enumerate(targets)}


@torch.no_grad()
def _excess(nets: Ensemble, toy: Toy, target: Target, n: int) -> Float[Tensor, "seeds levels"]:
    g, seeds, excess = torch.Generator().manual_seed(10_000), len(nets.stacks[0]), []
    x, z = toy.sample(n, g), torch.randn(n, 2, generator=g)
    perfect = perfect_net(toy.mixture, PROCESS, target)
    for level in LEVELS:
        t = level.expand(n)
        x_t, _ = diffusion.noise(x, z, t, PROCESS, target)
        answers = nets(x_t.expand(seeds, n, 2), t.expand(seeds, n))
        excess.append((answers - perfect(x_t, t)).double().square().mean((1, 2)))
    return torch.stack(excess, dim=1)
