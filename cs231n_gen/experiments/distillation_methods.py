"""How the students of chapter 12 learn in the plane, a function for each way of slide 108. Given.

Every student is a small network that learns from the exact velocity of a mixture (or from its data
alone), by the functions that a student of this course writes. None starts from weights of another,
so that what each costs is all there is to it.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cs231n_gen import consistency, distill, flow
from cs231n_gen.flow import Model
from cs231n_gen.given import processes
from cs231n_gen.given.mlp import MeanVelocityMLP, VelocityMLP
from cs231n_gen.given.toys import Toy
from cs231n_gen.given.training import Run
from cs231n_gen.truth import GaussianMixture

Draw = Callable[[Tensor, int, torch.Generator | None], Tensor]  # noise, calls, generator
Points = Float[Tensor, "n 2"]

BATCH = 512
HEUN_STEPS = 20  # of the teacher, for a pair of noise and sample
PAIRS = 20_000
FREQUENCIES = 2  # of t in networks that jump: with 6 their targets are less smooth, and worse


def round_velocity(mixture: GaussianMixture) -> Model:
    """The exact velocity of a mixture of round components of one size, in float32 and fast.

    `mixture.velocity` is more general, and about six times slower.

    Raises:
        ValueError: if a component is not round, or they differ in size.
    """
    dim = mixture.means.shape[1]
    size = mixture.covs[0, 0, 0]
    if not torch.allclose(mixture.covs, size * torch.eye(dim, dtype=size.dtype)):
        raise ValueError(
            "expected components that are round and of one size, got other covariances"
        )
    means, weights, size = mixture.means.float(), mixture.weights.float(), float(size)
    squares, prior = means.square().sum(1), weights.log()

    @torch.no_grad()
    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        a, b = (1 - t)[:, None], t[:, None]
        variance = a**2 * size + b**2
        # −‖x_t − a μ‖² / 2, without what all components share
        near = a * (x_t @ means.T) - a**2 * squares / 2
        mean = (prior + near / variance).softmax(1) @ means
        off = (x_t - a * mean) / variance
        return b * off - (mean + a * size * off)  # E[z | x_t] − E[x | x_t]

    return velocity


@contextmanager
def one_thread() -> Iterator[None]:
    """On matrices this small, more threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass
class Lesson:
    """What a method gets: data, noise, levels, a teacher, and a loop for any loss.

    toy: the data.
    teacher: the exact velocity.
    generator: for everything random.
    effort: times the method's own numbers of steps and pairs.
    progress: whether to show bars.
    label: of the bars.
    """

    toy: Toy
    teacher: Model
    generator: torch.Generator
    effort: float = 1.0
    progress: bool = False
    label: str = "train"

    def data(self, n: int = BATCH) -> Points:
        """Points of the data."""
        return self.toy.sample(n, self.generator)

    def noise(self, n: int = BATCH) -> Points:
        """Standard normal noise."""
        return torch.randn(n, 2, generator=self.generator)

    def levels(self, n: int = BATCH) -> Float[Tensor, "n"]:
        """Levels, uniform in [0, 1)."""
        return torch.rand(n, generator=self.generator)

    def whole(self, most: Tensor | int, n: int = BATCH) -> Tensor:
        """Whole numbers from 1 to `most`, each equally likely."""
        return 1 + (self.levels(n) * most).long()

    def pairs(self, teacher: Model | None = None) -> Callable[[], tuple[Points, Points]]:
        """A source of batches of samples and the noise that a teacher made them of."""
        z = self.noise(max(BATCH, round(PAIRS * min(1.0, 2.5 * self.effort))))
        x, z = distill.reflow_pairs(teacher or self.teacher, z, HEUN_STEPS)

        def batch() -> tuple[Points, Points]:
            rows = torch.randint(0, len(z), (BATCH,), generator=self.generator)
            return x[rows], z[rows]

        return batch

    def net(
        self, kind: type[nn.Module] = VelocityMLP, hidden: int = 128, frequencies: int = 6
    ) -> nn.Module:
        """A new network of velocities."""
        return self.seeded(lambda: kind(hidden=hidden, frequencies=frequencies))

    def seeded(self, make: Callable[[], nn.Module]) -> nn.Module:
        """A new network, with initial weights from the generator."""
        seed = int(torch.randint(2**31, (), generator=self.generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make()

    def imitation(self, steps: int) -> nn.Module:
        """A network that has the teacher's velocity, by regression on it."""
        net = self.net()

        def loss(share):
            t = self.levels()
            x_t, _ = flow.interpolate(self.data(), self.noise(), t)
            return (net(x_t, t) - self.teacher(x_t, t)).square().mean()

        self.fit(net, loss, steps)
        return net

    def fit(
        self, net: nn.Module, loss: Callable[[float], Tensor], steps: int, lr: float = 5e-3, **run
    ) -> None:
        """Train a network on `loss(share)`, which gets the share of the run that is done."""
        steps = max(1, round(steps * self.effort))
        with Run(net, steps, lr=lr, progress=self.progress, label=self.label, **run) as loop:
            for i in loop:
                L = loss(i / steps)
                loop.optimizer.zero_grad()
                L.backward()
                loop.optimizer.step()
                loop.record(L)


def walk(net: Model) -> Draw:
    """Samples by Euler steps."""
    return lambda z, calls, generator: flow.sample(net, z, calls)


def jump(net: Model) -> Draw:
    """Samples by a consistency function."""
    return lambda z, calls, generator: consistency.sample(net, z, calls, generator)


# --- from pairs ---------------------------------------------------------------------------------


def direct(lesson: Lesson, steps: int = 3200) -> Draw:
    """Direct regression: at t = 1 alone, learn what the teacher makes of z."""
    net, pairs = lesson.net(), lesson.pairs()

    def loss(share):
        x, z = pairs()
        return flow.loss(net, x, z, torch.ones(BATCH))

    lesson.fit(net, loss, steps)
    return walk(net)


def reflow_flows(lesson: Lesson, rounds: int = 1, steps: int = 1500) -> list[nn.Module]:
    """A flow on the pairs of the teacher, one on the pairs of that flow, and so on."""
    flows = []
    for _ in range(rounds):
        pairs = lesson.pairs(flows[-1] if flows else None)
        net = copy.deepcopy(flows[-1]) if flows else lesson.net()

        def loss(share, net=net, pairs=pairs):
            return flow.loss(net, *pairs(), lesson.levels())

        lesson.fit(net, loss, steps)
        flows.append(net)
    return flows


def reflow(lesson: Lesson, steps: int = 3100) -> Draw:
    """Reflow: train a flow on the teacher's pairs of noise and sample."""
    return walk(reflow_flows(lesson, 1, steps)[-1])


def reflow_twice(lesson: Lesson, steps: int = 1400) -> Draw:
    """Reflow of reflow."""
    return walk(reflow_flows(lesson, 2, steps)[-1])


# --- from a teacher's steps ---------------------------------------------------------------------


def progressive(lesson: Lesson, start: int = 16, first: int = 650, each: int = 380) -> Draw:
    """Progressive distillation: 2 · start steps of the teacher become start, …, 2, 1."""
    process = processes.rectified_flow()
    target = processes.velocity(process)
    teacher, net, students, N = lesson.teacher, lesson.net(), {}, start
    while N >= 1:

        def loss(share, N=N, teacher=teacher):
            t = lesson.whole(N) / N
            x_t, _ = flow.interpolate(lesson.data(), lesson.noise(), t)
            x = distill.progressive_target(teacher, x_t, t, t - 1 / N, process, target)
            # x̃ as a velocity: x_t − t v = x̃
            return (net(x_t, t) - (x_t - x) / t[:, None]).square().mean()

        steps, lr = (first, 5e-3) if start == N else (each, 2e-3)
        lesson.fit(net, loss, steps, lr)
        students[N] = teacher = copy.deepcopy(net)
        N //= 2
    return lambda z, calls, generator: flow.sample(students[calls], z, calls)


# --- consistency --------------------------------------------------------------------------------


def consistency_distillation(
    lesson: Lesson,
    steps: int = 2000,
    levels: tuple[int, int] = (8, 128),
    huber: float = 0.03,
    teacher: bool = True,
) -> Draw:
    """Consistency distillation, on a grid of levels that gets finer as training goes on."""
    net, (fewest, most) = lesson.net(frequencies=FREQUENCIES), levels

    def loss(share):
        N = int(fewest * (most / fewest) ** share)
        n = lesson.whole(N)
        t, s = n / N, (n - 1) / N

        def heun(x_t, t):
            """The velocity of a step of Heun's from t to s, which bends as the path does."""
            v = lesson.teacher(x_t, t)
            return (v + lesson.teacher(x_t - (t - s)[:, None] * v, s)) / 2

        asked = heun if teacher else None
        return consistency.loss(
            net, lesson.data(), lesson.noise(), t, s, teacher=asked, huber=huber
        )

    lesson.fit(net, loss, steps)
    return jump(net)


def consistency_training(lesson: Lesson, steps: int = 2500) -> Draw:
    """Consistency training: the same from data alone."""
    return consistency_distillation(lesson, steps, teacher=False)


def continuous(lesson: Lesson, steps: int = 850, warm: float = 0.3, teacher: bool = True) -> Draw:
    """sCM: consistency in continuous time, of data scaled to unit variance."""
    net = lesson.net(frequencies=FREQUENCIES)
    scale = float(lesson.data(20_000).std())
    process, target = processes.trigflow(1.0)

    def velocity(x_t, t):
        """dx_t/dθ: of the scaled process, from the rectified flow of the data as they are."""
        cos, sin = process.a(t)[:, None], process.b(t)[:, None]
        whole = cos / scale + sin  # x_t / whole is at the level sin / whole of rectified flow
        here, level = x_t / whole, sin / whole
        v = lesson.teacher(here, level[:, 0])
        x = here - level * v
        return cos * (x + v) - sin * x / scale

    def loss(share):
        t = (2 / math.pi) * torch.atan(torch.exp(1.4 * lesson.noise()[:, 0] - 0.4))
        return consistency.continuous_loss(
            net,
            lesson.data() / scale,
            lesson.noise(),
            t,
            teacher=velocity if teacher else None,
            share=min(1.0, share / warm),
        )

    lesson.fit(net, loss, steps)
    return lambda z, calls, generator: (
        scale * consistency.sample(net, z, calls, generator, process, target)
    )


# --- mean velocities (beyond the lecture) -------------------------------------------------------


def mean_flow(
    lesson: Lesson,
    steps: int = 1000,
    equal: float = 0.5,
    power: float = 1.0,
    teacher: bool = True,
    lr: float = 5e-3,
) -> Draw:
    """MeanFlow, with the teacher's velocity: s = t for a share `equal` of a batch.

    Large gaps can be weighted down, as in the paper: gap² / (gap² + 0.01)^power.
    """
    net = lesson.net(MeanVelocityMLP, frequencies=FREQUENCIES)

    def loss(share):
        t, s = torch.stack([lesson.levels(), lesson.levels()]).sort(0, descending=True).values
        s = torch.where(lesson.levels() < equal, t, s)
        x_t, v = flow.interpolate(lesson.data(), lesson.noise(), t)
        if teacher:
            v = lesson.teacher(x_t, t)
        goal = consistency.mean_flow_target(net, x_t, t, s, v)
        gap = (net(x_t, t, s) - goal).square().mean(1)
        return (gap / (gap.detach() + 0.01) ** power).mean()

    lesson.fit(net, loss, steps, lr)
    return lambda z, calls, generator: consistency.sample_mean(net, z, calls)


def mean_flow_from_data(lesson: Lesson) -> Draw:
    """MeanFlow from data alone, v = z − x. Each gap then holds noise that no network can predict:
    a weight that depends on it would move the answer away from the mean."""
    return mean_flow(lesson, power=0.0, teacher=False, lr=3e-3)


def shortcut(lesson: Lesson, steps: int = 2700, double: float = 0.25, finest: int = 32) -> Draw:
    """A shortcut model, from data alone: a share `double` of a batch learns that a step is two of
    half its length, the others learn the velocity, s = t."""
    net = lesson.net(MeanVelocityMLP, frequencies=FREQUENCIES)
    long, lengths = round(double * BATCH), round(math.log2(finest))

    def loss(share):
        t = lesson.levels()
        N = 2 ** (lesson.whole(lengths, long) - 1)  # steps are 1, 1/2, …, 2 / finest long
        t[:long] = lesson.whole(N, long) / N
        s = t.clone()
        s[:long] -= 1 / N
        x_t, goal = flow.interpolate(lesson.data(), lesson.noise(), t)
        goal[:long] = consistency.shortcut_target(net, x_t[:long], t[:long], s[:long])
        return (net(x_t, t, s) - goal).square().mean()

    lesson.fit(net, loss, steps)
    return lambda z, calls, generator: consistency.sample_mean(net, z, calls)
