"""The trial of samplers in chapter 07: one distribution, different prices (slides 116–119). Given.

Every sampler gets the same noise, the same levels and the same field, exact or trained, and is held
to the density itself. `churn` asks the reverse SDE alone, of several networks, how much noise to
put back.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from cs231n_gen import diffusion, diffusion_samplers, truth
from cs231n_gen.experiments import target_trial
from cs231n_gen.experiments.perfect import perfect_net
from cs231n_gen.experiments.schedule_trial import energy_distance, mean_distance
from cs231n_gen.experiments.target_trial import TargetTrial
from cs231n_gen.flow import Model
from cs231n_gen.given.processes import NOISE, Process, X, cosine, even_in_t, velocity
from cs231n_gen.given.toys import Toy

STEPS = (5, 10, 20, 50, 200)
CHURNS = (0.0, 0.3, 1.0, 3.0)
Levels = Callable[[int], Sequence[float]]


@dataclass(frozen=True)
class Sampler:
    """A way from noise to data.

    draw: called as `draw(model, z, times, process, target, generator)`.
    calls: of the model, a step.
    deterministic: whether it follows the ODE, so that noise alone decides where it ends.
    """

    draw: Callable[..., Tensor]
    calls: int = 1
    deterministic: bool = True


def _step(name: str, deterministic: bool = True, **options) -> Sampler:
    def draw(model, z, times, process, target, generator):
        step = getattr(diffusion_samplers, name)
        own = options | {"generator": generator}
        return diffusion_samplers.sample(model, z, times, process, target, step=step, **own)

    return Sampler(draw, deterministic=deterministic)


def _heun(model, z, times, process, target, generator):
    return diffusion_samplers.sample_heun(model, z, times, process, target)


def _multistep(model, z, times, process, target, generator):
    return diffusion_samplers.sample_multistep(model, z, times, process, target)


SAMPLERS = {
    "Euler in t": _step("reverse_sde_step", churn=0.0),
    "DDIM": _step("ddim_step"),
    "Heun": Sampler(_heun, calls=2),
    "multistep (2M)": Sampler(_multistep),
    "ancestral": _step("ddim_step", False, eta=1.0),
    "SDE, χ = 1": _step("reverse_sde_step", False, churn=1.0),
}


@dataclass(frozen=True)
class SamplerTrial:
    """The results of a trial.

    samplers: by name.
    steps: numbers of steps.
    samples: how many of each seed.
    distances: by field: the energy distance of samples to the density, unbiased, so that it can
        fall below 0.
    real: the same for real samples, those where the exact flow carries the same noise; 0 if no
        sampler is deterministic.
    floor: what n real samples have on average, if a distance is not made unbiased.
    seconds: the whole trial.
    """

    samplers: dict[str, Sampler]
    steps: list[int]
    samples: int
    distances: dict[str, Float[Tensor, "samplers seeds steps"]]
    real: Float[Tensor, "seeds"]
    floor: float
    seconds: float

    def ratio(self, field: str) -> tuple[Tensor, Tensor]:
        """Energy distance as a multiple of that of real samples, and its standard error.

        That of n points X to the density of Y, with all their pairs in the last mean,

            2 E‖X − Y‖ − E‖Y − Y′‖ − (1 / n²) Σ_ij ‖X_i − X_j‖,

        is E‖Y − Y′‖ / n on average for real ones: that is the floor. So 1 is as good as real, and
        1.3 says that the samples are farther off than real ones by 0.3 of what n of these are.

        A deterministic sampler shares the luck of its noise with the exact flow, whose distance is
        0 on average: what that one has is subtracted.

        Returns:
            `(samplers, steps)` each.
        """
        shared = torch.tensor([s.deterministic for s in self.samplers.values()])
        off = self.distances[field] - self.real[:, None] * shared[:, None, None]
        ratio = 1 + off / self.floor
        return ratio.mean(1), ratio.std(1) / math.sqrt(ratio.shape[1])

    def table(self) -> str:
        """The ratios, as text."""
        wide = 2 + max(map(len, self.samplers))
        lines = [
            f"energy distance of {self.samples} samples, × that of real ones; "
            f"mean of {len(self.real)} seeds ± standard error"
        ]
        for field in self.distances:
            lines.append("")
            lines.append(f"{field:{wide}}calls" + "".join(f"{T:>10} steps" for T in self.steps))
            for (name, sampler), mean, error in zip(
                self.samplers.items(), *self.ratio(field), strict=True
            ):
                cells = [f"{m:.2f} ± {e:.2f}" for m, e in zip(mean, error, strict=True)]
                lines.append(
                    f"{name:{wide}}{sampler.calls:>3} T" + "".join(f"{c:>16}" for c in cells)
                )
        return "\n".join(lines)


def fields(toy: Toy, trial: TargetTrial, process: Process) -> dict[str, Model]:
    """The exact field of a process, and one trained to predict v of rectified flow: for the target
    `velocity(process)`, by `diffusion.reparametrised`."""
    return {"exact field": perfect_net(toy.mixture, process, velocity(process))} | {
        "trained field": trained(trial, "v", process)
    }


def trained(trial: TargetTrial, name: str, process: Process) -> Model:
    """The networks of a target, to be used for `velocity(process)`."""
    return diffusion.reparametrised(
        trial.nets[name],
        target_trial.PROCESS,
        trial.targets[name],
        process,
        velocity(process),
    )


def run(
    toy: Toy,
    among: Mapping[str, Model],
    process: Process | None = None,
    *,
    seeds: Sequence[int] = range(3),
    steps: Sequence[int] = STEPS,
    levels: Levels = even_in_t,
    samples: int = 2000,
    samplers: Mapping[str, Sampler] = SAMPLERS,
    progress: bool = True,
) -> SamplerTrial:
    """Draw by every sampler, in every number of steps, from every field; and measure.

    Args:
        toy: the data, a mixture in the plane.
        among: fields by name, which predict `velocity(process)` for x_t `(seeds, samples, 2)` and t
            `(seeds,)`: see `fields`.
        process: `cosine()` unless it is given.
        seeds: of the noise; as many as a trained field has networks.
        steps: numbers of steps.
        levels: the levels for a number of steps.
        samples: from each seed.
        samplers: by name.
        progress: whether to show a bar.
    """
    start, process = time.perf_counter(), process or cosine()
    plan = [(f, s, T) for f in among for s in samplers for T in steps]
    work = [samplers[s].calls * T for _, s, T in plan]
    found: dict[str, list[Tensor]] = {f: [] for f in among}
    bar = tqdm(total=sum(work), disable=not progress, unit="call")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on matrices this small, more threads would only wait for each other
    try:
        z = noise(seeds, samples)
        real = torch.zeros(len(seeds), dtype=torch.float64)
        if any(sampler.deterministic for sampler in samplers.values()):
            bar.set_description("exact flow")
            ends = truth.follow(toy.mixture.velocity, z.flatten(0, 1), [1.0, 0.0])[-1]
            real = energy_distance(ends.reshape(z.shape), toy.mixture)
        for (field, name, T), calls in zip(plan, work, strict=True):
            bar.set_description(f"{field}, {name}, {T} steps")
            g = torch.Generator().manual_seed(seeds[0])
            draw = samplers[name].draw
            x = draw(among[field], z, levels(T), process, velocity(process), g)
            found[field].append(energy_distance(x, toy.mixture))
            bar.update(calls)
    finally:
        bar.close()
        torch.set_num_threads(threads)
    shape = (len(samplers), len(steps), len(seeds))
    return SamplerTrial(
        samplers=dict(samplers),
        steps=list(steps),
        samples=samples,
        distances={f: torch.stack(d).reshape(shape).mT for f, d in found.items()},
        real=real,
        floor=float(mean_distance(toy.mixture)) / samples,
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True)
class ChurnTrial:
    """What churn does to networks of several targets.

    churns: χ.
    steps: of the reverse SDE.
    distances: by target: the energy distance to the density, unbiased.
    seconds: the whole trial.
    """

    churns: list[float]
    steps: int
    distances: dict[str, Float[Tensor, "churns seeds"]]
    seconds: float

    def table(self) -> str:
        """The distances, as text."""
        lines = [f"energy distance × 1000 after {self.steps} steps, mean ± spread of seeds"]
        lines.append(f"{'target':8}" + "".join(f"{f'χ = {chi:g}':>18}" for chi in self.churns))
        for name, distances in self.distances.items():
            cells = [f"{d.mean():.2f} ± {d.std():.2f}" for d in 1000 * distances]
            lines.append(f"{name:8}" + "".join(f"{cell:>18}" for cell in cells))
        return "\n".join(lines)


def churn(
    toy: Toy,
    trial: TargetTrial,
    *,
    churns: Sequence[float] = CHURNS,
    steps: int = 100,
    samples: int = 2000,
    progress: bool = True,
) -> ChurnTrial:
    """Draw by the reverse SDE from the networks of each target, with more and with less churn.

    An x-prediction cannot be asked without noise, nor an ε-prediction without signal, and both are
    hopeless close to that: their walks end at t = 0.005 and begin at t = 0.995.

    Args:
        toy: the data, a mixture in the plane.
        trial: whose networks are asked.
        churns: χ.
        steps: of the reverse SDE.
        samples: of each network.
        progress: whether to show a bar.
    """
    start, process = time.perf_counter(), cosine()
    found: dict[str, list[Tensor]] = {name: [] for name in trial.targets}
    plan = [(name, chi) for name in trial.targets for chi in churns]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        z = noise(range(trial.seeds), samples)
        for name, chi in tqdm(plan, disable=not progress, desc="churn"):
            first = 0.995 if trial.targets[name] is NOISE else 1.0
            last = 0.005 if trial.targets[name] is X else 0.0
            x = diffusion_samplers.sample(
                trained(trial, name, process),
                z,
                even_in_t(steps, first, last),
                process,
                velocity(process),
                step=diffusion_samplers.reverse_sde_step,
                churn=chi,
                generator=torch.Generator().manual_seed(0),
            )
            found[name].append(energy_distance(x, toy.mixture))
    finally:
        torch.set_num_threads(threads)
    return ChurnTrial(
        churns=list(churns),
        steps=steps,
        distances={name: torch.stack(d) for name, d in found.items()},
        seconds=time.perf_counter() - start,
    )


def noise(seeds: Sequence[int], samples: int) -> Float[Tensor, "seeds samples 2"]:
    """Noise to start from, other than any that a network was trained with."""
    fresh = [torch.Generator().manual_seed(10_000 + seed) for seed in seeds]
    return torch.stack([torch.randn(samples, 2, generator=g) for g in fresh])
