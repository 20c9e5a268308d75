"""The trial of chapter 12: every way to few calls, from one teacher, on the same points. Given.

`METHODS` names the ways of `distillation_methods`. Samples are held to the density itself by
`schedule_trial.energy_distance`, of the same noise for every method.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from cs231n_gen import flow
from cs231n_gen.experiments import distillation_methods as methods
from cs231n_gen.experiments import distribution_matching as matching
from cs231n_gen.experiments.distillation_methods import (
    Draw,
    Lesson,
    Points,
    one_thread,
    round_velocity,
)
from cs231n_gen.experiments.schedule_trial import energy_distance
from cs231n_gen.given.toys import Toy

CALLS = (1, 2, 4)
TEACHER_CALLS = (1, 2, 4, 8, 50)
FULL, QUICK = 1.0, 0.4  # efforts: about 10 and 4 s of a busy processor for each method


@dataclass(frozen=True)
class Method:
    """A way to learn.

    learn: called with a `Lesson`, it trains a student and returns how to draw from it.
    calls: numbers of calls that its students know.
    data: whether it learns from data alone, without the teacher.
    caveat: why it is fragile in this trial, if it is.
    """

    learn: Callable[[Lesson], Draw]
    calls: tuple[int, ...] = CALLS
    data: bool = False
    caveat: str = ""


METHODS = {
    "direct regression": Method(methods.direct, calls=(1,)),
    "reflow, once": Method(methods.reflow),
    "reflow, twice": Method(methods.reflow_twice),
    "progressive": Method(methods.progressive),
    "consistency distillation": Method(
        methods.consistency_distillation,
        caveat="What is wrong at one level is the target of the next. With six sines of t in the "
        "network instead of two, it is about ten times worse.",
    ),
    "consistency training": Method(
        methods.consistency_training,
        data=True,
        caveat="Targets are those of distillation, with noise.",
    ),
    "sCM": Method(
        methods.continuous,
        caveat="Its target holds the derivative of a network that is still learning. It takes two "
        "to three times as long as other students, and needs slow sines of t.",
    ),
    "MeanFlow, distilled": Method(
        methods.mean_flow,
        caveat="It learns a jump for every pair of levels, from its own derivative, which takes "
        "longer: two times the seconds halve its distance.",
    ),
    "MeanFlow, from data": Method(
        methods.mean_flow_from_data,
        data=True,
        caveat="Noise of z − x is in its target, and in the direction of its derivative. The "
        "paper's weight, gap to the power −2, takes that noise for error: here it ends at 114.",
    ),
    "shortcut": Method(methods.shortcut, data=True),
    "moment matching": Method(
        matching.moment_matching,
        calls=(1,),
        caveat="The student goes where a second network sends it, and that one lags behind the "
        "student's samples: their two learning rates decide whether it arrives.",
    ),
    "ADD": Method(
        matching.adversarial,
        calls=(1,),
        caveat="Features of a classifier see which component a point belongs to, and little of "
        "where in it. Direct regression beside the game holds the student in place.",
    ),
    "LADD": Method(
        matching.latent_adversarial,
        calls=(1,),
        caveat="The game moves a student that direct regression alone would leave better.",
    ),
    "LADD, the game alone": Method(
        matching.adversarial_alone,
        calls=(1,),
        caveat="It begins as a direct student, at about 0.4, and gets worse: two players that "
        "answer each other do not come to rest.",
    ),
}


@dataclass(frozen=True)
class Distilled:
    """A trained student.

    name: of the method.
    draw: `draw(z, calls, generator)` returns samples; the generator is for methods that add noise
        on the way.
    calls: numbers of calls that it knows.
    seconds: of a processor that it took to train.
    """

    name: str
    draw: Draw
    calls: tuple[int, ...]
    seconds: float

    def sample(self, z: Points, calls: int = 1, generator: torch.Generator | None = None) -> Points:
        """Samples made of the noise z in that many calls of a network.

        Raises:
            ValueError: if the student does not know this number of calls.
        """
        if calls not in self.calls:
            raise ValueError(f"{self.name} knows {self.calls} calls, got {calls}")
        with torch.no_grad():
            return self.draw(z, calls, generator)


def train(
    name: str,
    toy: Toy,
    generator: torch.Generator,
    effort: float = FULL,
    progress: bool = False,
) -> Distilled:
    """Train a student by a method. The same generator and effort give the same student.

    Args:
        name: of the method, a key of `METHODS`.
        toy: the data, a mixture of round components of one size.
        generator: for everything random.
        effort: times the method's own numbers of steps and pairs: `FULL` is 1, `QUICK` less.
        progress: whether to show bars.
    Raises:
        ValueError: if there is no such method, or effort is not positive.
    """
    if name not in METHODS:
        raise ValueError(f"name must be one of {', '.join(METHODS)}, got {name!r}")
    if not effort > 0:
        raise ValueError(f"effort must be positive, got {effort}")
    return learn(name, METHODS[name], toy, generator, effort, progress)


def learn(
    name: str,
    method: Method,
    toy: Toy,
    generator: torch.Generator,
    effort: float = FULL,
    progress: bool = False,
) -> Distilled:
    """The same, for a method that need not be among `METHODS`."""
    lesson = Lesson(toy, round_velocity(toy.mixture), generator, effort, progress, name)
    start = time.process_time()
    with one_thread():
        draw = method.learn(lesson)
    return Distilled(name, draw, method.calls, time.process_time() - start)


@dataclass(frozen=True)
class DistillationTrial:
    """The results of a trial.

    toy: the name of the data.
    samples: that each distance was measured with.
    teacher: energy distance of the teacher's Euler steps to the density, by number of calls, a
        number for each seed. It is unbiased, so it can fall below 0.
    real: the same of real samples.
    students: the same of each method, by name and number of calls.
    seconds: of a processor that a student took to train, mean over seeds.
    """

    toy: str
    samples: int
    teacher: dict[int, Float[Tensor, "seeds"]]
    real: Float[Tensor, "seeds"]
    students: dict[str, dict[int, Float[Tensor, "seeds"]]]
    seconds: dict[str, float]

    def rows(self) -> list[tuple[str, dict[int, tuple[float, float]], float]]:
        """Name, mean and spread of energy distance × 1000 by number of calls, and seconds."""

        def several(found):
            return {calls: _mean_and_spread(1000 * d) for calls, d in found.items()}

        first = [("real data", {0: _mean_and_spread(1000 * self.real)}, 0.0)]
        first.append(("teacher, Euler", several(self.teacher), 0.0))
        return first + [(n, several(d), self.seconds[n]) for n, d in self.students.items()]

    def caveats(self) -> str:
        """Why methods are fragile, a line for each that is."""
        known = [(n, METHODS[n].caveat) for n in self.students if n in METHODS]
        return "\n".join(f"{name}: {caveat}" for name, caveat in known if caveat)

    def table(self, markdown: bool = False) -> str:
        """All numbers, as text or as a table of Markdown."""
        columns = sorted({calls for _, found, _ in self.rows() for calls in found} - {0})
        seeds = len(self.real)
        title = (
            f"{self.toy}: energy distance × 1000 of {self.samples} samples, mean ± spread over "
            f"{seeds} seed{'s' if seeds > 1 else ''}"
        )
        head = [self.toy if markdown else "calls", *(str(c) for c in columns), "CPU s"]
        lines = []
        for name, found, seconds in self.rows():
            cells = [_cell(found.get(c) or (found.get(0) if c == 1 else None)) for c in columns]
            lines.append([name, *cells, f"{seconds:.1f}" if seconds else ""])
        if markdown:
            head[1:-1] = [f"{c} calls" if c > 1 else "1 call" for c in columns]
            body = [head, ["---"] * len(head), *lines]
            return "\n".join(f"| {' | '.join(line)} |" for line in body)
        wide = 2 + max(len(line[0]) for line in lines)
        return "\n".join(
            [
                title,
                *(
                    f"{n:{wide}}" + "".join(f"{c:>17}" for c in cells)
                    for n, *cells in (head, *lines)
                ),
            ]
        )


def run(
    toy: Toy,
    names: Iterable[str] = tuple(METHODS),
    seeds: Sequence[int] = range(3),
    *,
    effort: float = QUICK,
    samples: int = 4000,
    progress: bool = True,
) -> DistillationTrial:
    """Train a student by each method from each seed, and measure samples of it and the teacher.

    Args:
        toy: the data.
        names: of methods.
        seeds: of weights, data and noise; a method gets the same ones as all others.
        effort: as in `train`.
        samples: of each student and number of calls.
        progress: whether to show a bar.
    """
    outcomes = []
    bar = tqdm([(name, seed) for name in names for seed in seeds], disable=not progress)
    for name, seed in bar:
        bar.set_description(name)
        outcomes.append(measure(name, METHODS[name], toy, seed, effort, samples))
    return gather(toy, outcomes, samples)


@dataclass(frozen=True)
class MeasuredStudent:
    """One student: its method, its seed, the seconds that it took, and its energy distances."""

    name: str
    seed: int
    seconds: float
    distances: dict[int, float]


def measure(
    name: str, method: Method, toy: Toy, seed: int, effort: float, samples: int
) -> MeasuredStudent:
    """Train one student and measure it."""
    student = learn(name, method, toy, torch.Generator().manual_seed(seed), effort)
    found = {calls: distance(student.sample, toy, calls, seed, samples) for calls in student.calls}
    return MeasuredStudent(name, seed, student.seconds, found)


def gather(toy: Toy, outcomes: Sequence[MeasuredStudent], samples: int) -> DistillationTrial:
    """The trial that consists of these students, all methods with the same seeds."""
    seeds = sorted({outcome.seed for outcome in outcomes})
    velocity = round_velocity(toy.mixture)

    def euler(z, calls, generator):
        return flow.sample(velocity, z, calls)

    def real(z, calls, generator):
        return toy.sample(len(z), generator)

    def several(draw, calls):
        return torch.tensor([distance(draw, toy, calls, seed, samples) for seed in seeds])

    students, seconds = {}, {}
    for outcome in outcomes:
        seconds.setdefault(outcome.name, []).append(outcome.seconds)
        for calls, d in outcome.distances.items():
            students.setdefault(outcome.name, {}).setdefault(calls, []).append(d)
    return DistillationTrial(
        toy=toy.name,
        samples=samples,
        teacher={calls: several(euler, calls) for calls in TEACHER_CALLS},
        real=several(real, 0),
        students={
            name: {calls: torch.tensor(d) for calls, d in found.items()}
            for name, found in students.items()
        },
        seconds={name: sum(s) / len(s) for name, s in seconds.items()},
    )


def distance(draw: Draw, toy: Toy, calls: int, seed: int, samples: int) -> float:
    """The energy distance of samples to the density, of noise that no student was trained on."""
    g = torch.Generator().manual_seed(10_000 + seed)
    z = torch.randn(samples, 2, generator=g)
    with one_thread():
        return float(energy_distance(draw(z, calls, g), toy.mixture))


def _mean_and_spread(found: Tensor) -> tuple[float, float]:
    return float(found.mean()), float(found.std()) if len(found) > 1 else 0.0


def _cell(found: tuple[float, float] | None) -> str:
    return "–" if found is None else f"{found[0]:.2f} ± {found[1]:.2f}"
