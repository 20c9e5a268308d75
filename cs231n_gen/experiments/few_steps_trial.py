"""Garments in few calls: the students of chapter 12 from one teacher (slides 107–108). Given.

The teacher is a flow of 16×16 garments that was trained for 15 minutes. Each student starts from
its weights and learns for the same time, guided (w = 1) or not, by what `distill` and `consistency`
ask for. Then all are judged at 1, 2 and 4 calls: the class, the Fréchet distance, and what that
distance hardly sees, how different the garments of a class still are.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

from cs231n_gen import consistency, distill, flow, schedules
from cs231n_gen.flow import Model
from cs231n_gen.given import judge, metrics
from cs231n_gen.given.data import Images, data_file, fashion_mnist
from cs231n_gen.given.processes import rectified_flow, velocity
from cs231n_gen.given.training import Run
from cs231n_gen.given.unet import UNet

CLASSES, NULL, WIDTH = 11, 10, 24
BATCH = 32
HEUN = 8  # steps for a pair: with 5 the pairs themselves are worse than a student should be
HEUN_UNGUIDED = 12  # they cost a half
MADE_AT_ONCE = 100
MANY = 10**6  # more steps than fit into any time limit
RATE = 1e-3
FLOW = rectified_flow()
VELOCITY = velocity(FLOW)
TEACHER_CALLS = (50, 20, 8, 4, 2, 1)
STUDENTS = {1.0: "few_steps.safetensors", 0.0: "few_steps_unguided.safetensors"}  # shipped, by w


@dataclass(frozen=True)
class GarmentStudent:
    """Who makes garments in few calls, and how it was trained.

    method: one of `METHODS`, or "teacher".
    w: the weight of guidance that was learned, or with which the teacher is asked.
    models: by the number of calls for which they were trained.
    draw: called as `draw(model, z, calls, y, generator)`.
    seconds: of a processor, for pairs and training.
    steps: of training.
    pairs: of noise and sample that the teacher made, 0 for methods that need none.
    losses: one a step.
    stopped: whether Ctrl-C ended the training before its time.
    """

    method: str
    w: float
    models: dict[int, Model]
    draw: Callable[..., Tensor]
    seconds: float = 0.0
    steps: int = 0
    pairs: int = 0
    losses: list[float] = field(default_factory=list)
    stopped: bool = False

    @property
    def calls(self) -> tuple[int, ...]:
        """The numbers of calls that it can be asked for."""
        return tuple(sorted(self.models))


class GarmentScore(NamedTuple):
    """What the judge says of garments.

    right: the share that is of the class asked for.
    frechet: distance to real images.
    precision, recall: how many look real, and how much of what is real is reached.
    spread: within a class, as a share of that of real images.
    a_second: garments made in a second of a processor.
    """

    right: float
    frechet: float
    precision: float
    recall: float
    spread: float
    a_second: float


@dataclass(frozen=True)
class FewStepsTrial:
    """The results of a trial.

    garments: how many were judged.
    w: the weight of guidance.
    students: by method, the teacher too.
    scores: by method and number of calls.
    real: of as many real images.
    """

    garments: int
    w: float
    students: dict[str, GarmentStudent]
    scores: dict[tuple[str, int], GarmentScore]
    real: GarmentScore

    def table(self) -> str:
        """All numbers, as text."""
        head = ["calls", "right", "Fréchet", "precision", "recall", "spread", "a second"]
        lines = [
            f"{self.garments} garments each, guidance w = {self.w:g}",
            f"{'':34}" + "".join(f"{word:>11}" for word in head),
        ]
        for (name, calls), score in self.scores.items():
            s = self.students[name]
            how = f"{s.seconds:.0f} s, {s.steps} steps" if s.steps else ""
            label = f"{name:13}{how}" if calls == s.calls[0] or not s.steps else ""
            lines.append(f"{label:34}{calls:>11}" + _cells(score) + f"{score.a_second:>11.0f}")
        lines.append(f"{'real images':34}{'':11}" + _cells(self.real))
        return "\n".join(lines)


def load_teacher() -> UNet:
    """The network that `data/train_teacher.py` trained: `model(x_t, t, y)`, ∅ = 10.

    Raises:
        DataError: if its weights are missing or damaged.
    """
    return _shipped("teacher.safetensors")


def load_student(w: float = 1.0) -> GarmentStudent:
    """The student that `data/train_few_steps.py` trained for longer: one call a garment.

    Args:
        w: the weight of guidance that it learned, one of `STUDENTS`.
    Raises:
        ValueError: for another weight.
        DataError: if its weights are missing or damaged.
    """
    if w not in STUDENTS:
        raise ValueError(f"there is a student for w = {', '.join(map(str, STUDENTS))}, got {w}")
    return GarmentStudent("direct", w, {1: _shipped(STUDENTS[w])}, _walk)


def of_teacher(teacher: nn.Module, w: float = 1.0) -> GarmentStudent:
    """The teacher itself, in any of `TEACHER_CALLS` Euler steps."""
    return GarmentStudent("teacher", w, dict.fromkeys(TEACHER_CALLS, guided(teacher, w)), _walk)


def guided(teacher: nn.Module, w: float) -> Model:
    """The field that the students learn from: the teacher's, guided with weight w."""

    def field_of(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        if not w:
            with torch.no_grad():
                return teacher(x_t, t, y)
        return distill.guidance_target(teacher, x_t, t, y, NULL, w)

    return field_of


def run(
    method: str,
    seconds: float,
    *,
    w: float = 1.0,
    teacher: nn.Module | None = None,
    images: Images | None = None,
    batch: int = BATCH,
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> GarmentStudent:
    """Train a student for some seconds of a processor.

    Args:
        method: one of `METHODS`.
        seconds: of a processor, with what the teacher takes to make pairs or targets.
        w: the weight of guidance to learn; for "guidance", which takes w as an input, the one with
            which it makes garments.
        teacher: a U-Net of 16×16 garments and 11 conditions; the shipped one if None.
        images: real garments; the training images if None.
        batch: examples a step.
        generator: for everything random; a new one with seed 0 if None.
        progress: whether to show bars.
    Returns:
        The student, with averaged weights. Ctrl-C ends its training and keeps what was learned.
    Raises:
        ValueError: for another method, or seconds that are not above 0.
    """
    if method not in METHODS:
        raise ValueError(f"a method is one of {', '.join(METHODS)}, got {method!r}")
    if not seconds > 0:
        raise ValueError(f"seconds must be above 0, got {seconds}")
    lesson = _Lesson(
        method=method,
        seconds=seconds,
        w=w,
        teacher=load_teacher() if teacher is None else teacher,
        images=fashion_mnist("train", 16) if images is None else images,
        size=batch,
        generator=torch.Generator().manual_seed(0) if generator is None else generator,
        progress=progress,
    )
    return METHODS[method](lesson)


@torch.no_grad()
def pictures(
    student: GarmentStudent, y: Int[Tensor, "n"], calls: int = 1, seed: int = 1
) -> Float[Tensor, "n 1 16 16"]:
    """A garment for each class asked for, within [−1, 1].

    With one seed all students, and the teacher, start from the same noise.

    Raises:
        ValueError: if the student was not trained for so many calls.
    """
    if calls not in student.models:
        raise ValueError(f"{student.method} was trained for {student.calls} calls, got {calls}")
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(len(y), 1, 16, 16, generator=g)
    parts = zip(z.split(MADE_AT_ONCE), y.split(MADE_AT_ONCE), strict=True)
    model = student.models[calls]
    return torch.cat([student.draw(model, a, calls, b, g) for a, b in parts]).clamp(-1, 1)


def score(
    x: Float[Tensor, "n 1 16 16"],
    y: Int[Tensor, "n"],
    real: Images,
    seconds: float = float("nan"),
) -> GarmentScore:
    """What the judge says of garments, held to real images.

    Precision and recall compare with as many real images as there are garments, or all.

    Args:
        x, y: garments and the classes asked for.
        real: images that no network has seen.
        seconds: that it took to make the garments.
    """
    found, all_real = judge.features(x), judge.features(real.x)
    some = of_each_class(real.y, len(x))
    precision, recall = metrics.precision_recall(found, all_real[some])
    spread = metrics.spread_within(found, y) / metrics.spread_within(all_real, real.y)
    return GarmentScore(
        right=judge.class_accuracy(x, y),
        frechet=metrics.frechet_distance(found, all_real),
        precision=precision,
        recall=recall,
        spread=spread,
        a_second=len(x) / seconds,
    )


def trial(
    seconds: float = 60.0,
    *,
    methods: Sequence[str] | None = None,
    w: float = 1.0,
    garments: int = 1000,
    teacher: nn.Module | None = None,
    train: Images | None = None,
    test: Images | None = None,
    teacher_calls: Sequence[int] = TEACHER_CALLS,
    batch: int = BATCH,
    seed: int = 0,
    progress: bool = True,
) -> FewStepsTrial:
    """Train a student by each method for the same time, and have all and the teacher judged.

    Args:
        seconds: of a processor, for each student.
        methods: from `METHODS`, all if None.
        w, teacher, batch, progress: as in `run`.
        garments: how many, as many of each class: a multiple of 10, at least 40.
        train, test: images of 16×16 pixels; those of the course if None.
        teacher_calls: from `TEACHER_CALLS`.
        seed: of weights, data and noise.
    Raises:
        ValueError: for another method, or another number of garments.
    """
    if garments < 40 or garments % 10:
        raise ValueError(f"garments must be a multiple of 10 and at least 40, got {garments}")
    teacher = load_teacher() if teacher is None else teacher
    train = fashion_mnist("train", 16) if train is None else train
    test = fashion_mnist("test", 16) if test is None else test
    y = torch.arange(garments) % 10
    students, scores = {}, {}

    def judged(student: GarmentStudent, calls: Sequence[int]) -> None:
        students[student.method] = student
        for n in calls:
            start = time.process_time()
            x = pictures(student, y, n, seed + 1)
            took = time.process_time() - start
            scores[student.method, n] = score(x, y, test, took)

    judged(of_teacher(teacher, w), teacher_calls)
    for method in METHODS if methods is None else methods:
        student = run(
            method,
            seconds,
            w=w,
            teacher=teacher,
            images=train,
            batch=batch,
            generator=torch.Generator().manual_seed(seed),
            progress=progress,
        )
        judged(student, student.calls)
    some = of_each_class(train.y, garments)
    real = score(train.x[some], train.y[some], test)
    return FewStepsTrial(garments, w, students, scores, real)


class WeightedUNet(nn.Module):
    """A U-Net that takes the weight of guidance as an input, `model(x_t, t, y, w)`.

    It is the teacher plus a small network of w, whose last weights are 0 at first.
    """

    def __init__(self, net: UNet):
        super().__init__()
        c = net.level[-1].out_features
        self.net = net
        self.weight = nn.Sequential(nn.Linear(1, c), nn.SiLU(), nn.Linear(c, c))
        nn.init.zeros_(self.weight[-1].weight)
        nn.init.zeros_(self.weight[-1].bias)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return self.net(x_t, t, y, self.weight(w[:, None]))


class NoisedFeatures(nn.Module):
    """What a flow net sees in noised images: its features at half and at a quarter of the size."""

    def __init__(self, net: UNet):
        super().__init__()
        self.net = net

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        h, skips = self.net.encode(x_t, self.net.embed(t, y))
        return skips[1], h


class FeatureHeads(nn.Module):
    """Small heads on the features of `NoisedFeatures`: a logit at each place of each of them."""

    # The norm comes after a convolution, so that it never gets features without a graph: PyTorch's
    # backward of a group norm cannot be relied on there when channels come last.

    def __init__(self, channels: Sequence[int], width: int = 64):
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c, width, 3, padding=1),
                nn.GroupNorm(8, width),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, 1, 3, padding=1),
            )
            for c in channels
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        logits = [head(h).flatten(1) for head, h in zip(self.heads, features, strict=True)]
        return torch.cat(logits, dim=1)


@dataclass
class _Lesson:
    """What a method is given, and what all of them do with it."""

    method: str
    seconds: float
    w: float
    teacher: nn.Module
    images: Images
    size: int
    generator: torch.Generator
    progress: bool

    def __post_init__(self) -> None:
        self.start = time.process_time()
        self.field = guided(self.teacher, self.w)
        self.losses: list[float] = []
        self.stopped = False

    def left(self) -> float:
        """Seconds that are left of the lesson."""
        return self.seconds - (time.process_time() - self.start)

    def net(self) -> UNet:
        """A student: a copy of the teacher that can be trained."""
        return copy.deepcopy(self.teacher).requires_grad_(True)

    def seeded(self, build: Callable[[], nn.Module]) -> nn.Module:
        """A new network whose weights come from the generator."""
        seed = int(torch.randint(2**31, (1,), generator=self.generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build()

    def data(self) -> tuple[Tensor, Tensor]:
        """A batch of real garments and their classes."""
        i = torch.randint(len(self.images.x), (self.size,), generator=self.generator)
        return self.images.x[i], self.images.y[i]

    def noise(self, n: int | None = None) -> Tensor:
        """Images of noise."""
        return torch.randn(n or self.size, 1, 16, 16, generator=self.generator)

    def levels(self) -> Tensor:
        """A level between 0 and 1 for each example."""
        return torch.rand(self.size, generator=self.generator)

    def ones(self) -> Tensor:
        """The level of noise for each example."""
        return torch.ones(self.size)

    def pairs(self, share: float) -> tuple[Tensor, Tensor, Tensor]:
        """Samples, their noise and their classes: as many as the teacher makes in this share of the
        time."""
        made, steps = [], HEUN if self.w else HEUN_UNGUIDED
        while not made or self.seconds - self.left() < share * self.seconds:
            y = torch.arange(MADE_AT_ONCE) % 10
            made.append((*distill.reflow_pairs(self.field, self.noise(len(y)), steps, y), y))
        x, z, y = (torch.cat(parts) for parts in zip(*made, strict=True))
        return x, z, y

    def fit(
        self,
        net: nn.Module,
        loss: Callable[[float], Tensor],
        seconds: float | None = None,
        lr: float = RATE,
    ) -> nn.Module:
        """Train on `loss(share of the time that is over)`; the net ends with averaged weights."""
        seconds = max(self.left() if seconds is None else seconds, 1e-3)
        start = time.process_time()
        options = {"lr": lr, "label": self.method, "progress": self.progress}
        with Run(net, MANY, seconds=seconds, of_processor=True, **options) as run:
            for _ in run:
                L = loss((time.process_time() - start) / seconds)
                run.optimizer.zero_grad()
                L.backward()
                run.optimizer.step()
                run.record(L)
        self.losses += run.history.losses
        self.stopped = run.history.interrupted
        return net.requires_grad_(False)

    def done(
        self, models: dict[int, Model], draw: Callable[..., Tensor], pairs: int = 0
    ) -> GarmentStudent:
        """The student, at the end of the lesson."""
        spent, steps = self.seconds - self.left(), len(self.losses)
        return GarmentStudent(
            self.method, self.w, models, draw, spent, steps, pairs, self.losses, self.stopped
        )


def _direct(lesson: _Lesson) -> GarmentStudent:
    """Regression on pairs at t = 1 alone (Luhman and Luhman 2021)."""
    x, z, y = lesson.pairs(PAIRS_SHARE)
    net = lesson.net()

    def loss(_):
        i = torch.randint(len(x), (lesson.size,), generator=lesson.generator)
        return flow.loss(net, x[i], z[i], lesson.ones(), y[i])

    return lesson.done({1: lesson.fit(net, loss)}, _walk, len(x))


def _reflow(lesson: _Lesson) -> GarmentStudent:
    """A second flow, of the first one's pairs (Liu et al. 2022)."""
    x, z, y = lesson.pairs(PAIRS_SHARE)
    net = lesson.net()

    def loss(_):
        i = torch.randint(len(x), (lesson.size,), generator=lesson.generator)
        return flow.loss(net, x[i], z[i], lesson.levels(), y[i])

    return lesson.done(dict.fromkeys((1, 2, 4), lesson.fit(net, loss)), _walk, len(x))


def _progressive(lesson: _Lesson) -> GarmentStudent:
    """8 guided steps become 4, 2 and 1, the last in twice the time (Salimans and Ho 2022)."""
    teacher, net, models = lesson.field, lesson.net(), {}
    for calls in (4, 2, 1):
        net = copy.deepcopy(net).requires_grad_(True)

        def loss(_, calls=calls, teacher=teacher, net=net):
            x, y = lesson.data()
            t = torch.randint(1, calls + 1, (len(x),), generator=lesson.generator) / calls
            s = (t - 1 / calls).clamp(min=0)
            x_t, _ = flow.interpolate(x, lesson.noise(), t)
            goal = distill.progressive_target(teacher, x_t, t, s, FLOW, VELOCITY, y)
            return (consistency.function(net, x_t, t, y=y) - goal).square().mean()

        lesson.fit(net, loss, lesson.seconds / 4 if calls > 1 else None)
        models[calls] = teacher = net
        if lesson.stopped:
            break
    return lesson.done(models, _walk)


def _consistency(lesson: _Lesson) -> GarmentStudent:
    """Neighbours on a path agree about its end; 2 to 8 levels (Song et al. 2023)."""
    net = lesson.net()

    def loss(share):
        x, y = lesson.data()
        levels = round(2 * 4 ** min(1, 1.3 * share))
        n = torch.randint(1, levels + 1, (len(x),), generator=lesson.generator)
        t, s = n / levels, (n - 1) / levels
        return consistency.loss(
            net, x, lesson.noise(), t, s, teacher=lesson.field, y=y, huber=HUBER
        )

    return lesson.done(dict.fromkeys((1, 2, 4), lesson.fit(net, loss)), _jump)


def _matching(lesson: _Lesson) -> GarmentStudent:
    """A second flow learns what the student makes; where it and the teacher differ, the student
    moves (Salimans et al. 2024)."""
    net, auxiliary = lesson.net(), lesson.net()
    optimizer = torch.optim.Adam(auxiliary.parameters(), 1e-3, betas=(0.0, 0.99), fused=True)

    def loss(_):
        _, y = lesson.data()
        x_hat = consistency.function(net, lesson.noise(), lesson.ones(), y=y)
        L = flow.loss(auxiliary, x_hat.detach(), lesson.noise(), lesson.levels(), y)
        optimizer.zero_grad()
        L.backward()
        optimizer.step()
        t = 0.05 + 0.9 * lesson.levels()
        return distill.moment_matching_loss(lesson.field, auxiliary, x_hat, lesson.noise(), t, y)

    return lesson.done({1: lesson.fit(net, loss, lr=3e-4)}, _walk)


def _adversarial(lesson: _Lesson) -> GarmentStudent:
    """Half of the time direct regression, then heads on the teacher's features of noised images
    (Sauer et al. 2024)."""
    x, z, y = lesson.pairs(PAIRS_SHARE / 2)
    net = lesson.net()

    def regression(_):
        i = torch.randint(len(x), (lesson.size,), generator=lesson.generator)
        return flow.loss(net, x[i], z[i], lesson.ones(), y[i])

    lesson.fit(net, regression, lesson.left() - lesson.seconds / 2)
    net.requires_grad_(True)
    features = NoisedFeatures(lesson.teacher)
    w = lesson.teacher.stem.out_channels
    heads = lesson.seeded(lambda: FeatureHeads((2 * w, 4 * w)))
    optimizer = torch.optim.Adam(heads.parameters(), 1e-3, betas=(0.0, 0.99), fused=True)

    def loss(_):
        real, of = lesson.data()
        x_hat = consistency.function(net, lesson.noise(), lesson.ones(), y=of)
        t = schedules.logit_normal(lesson.size, generator=lesson.generator)
        student, L = distill.adversarial_loss(features, heads, real, x_hat, lesson.noise(), t, of)
        optimizer.zero_grad()
        L.backward()
        optimizer.step()
        return student

    return lesson.done({1: lesson.fit(net, loss, lr=1e-4)}, _walk, len(x))


def _guidance(lesson: _Lesson) -> GarmentStudent:
    """One call gives what guidance needs two for, w from 0 to 2 (Meng et al. 2023, stage one)."""
    net = lesson.seeded(lambda: WeightedUNet(lesson.net()))

    def loss(_):
        x, y = lesson.data()
        w, t = 2 * lesson.levels(), lesson.levels()
        x_t, _ = flow.interpolate(x, lesson.noise(), t)
        goal = distill.guidance_target(lesson.teacher, x_t, t, y, NULL, w)
        return (net(x_t, t, y, w) - goal).square().mean()

    net = lesson.fit(net, loss, lr=5e-4)

    def with_weight(x_t, t, y):
        return net(x_t, t, y, torch.full_like(t, lesson.w))

    return lesson.done(dict.fromkeys((1, 2, 4, 8, 20), with_weight), _walk)


METHODS = {
    "direct": _direct,
    "reflow": _reflow,
    "progressive": _progressive,
    "consistency": _consistency,
    "matching": _matching,
    "adversarial": _adversarial,
    "guidance": _guidance,
}
PAIRS_SHARE = 0.35  # of the time is the teacher's, to make pairs
HUBER = 0.03


def _shipped(name: str) -> UNet:
    """A network from the data folder."""
    net = UNet(width=WIDTH, classes=CLASSES)
    net.load_state_dict({k: v.float() for k, v in load_file(data_file(name)).items()})
    return net.eval().requires_grad_(False)


def _walk(model, z, calls, y, generator):
    return flow.sample(model, z, calls, y)


def _jump(model, z, calls, y, generator):
    return consistency.sample(model, z, calls, generator, y=y)


def of_each_class(y: Int[Tensor, "m"], n: int) -> Int[Tensor, "n"]:
    """Where n examples are, as many of each class as there are for that; all if there are fewer."""
    each = [torch.nonzero(y == c)[:, 0] for c in y.unique()]
    return torch.cat([where[: -(-n // len(each))] for where in each])


def _cells(s: GarmentScore) -> str:
    shares = "".join(f"{v:>11.2f}" for v in (s.frechet, s.precision, s.recall, s.spread))
    return f"{s.right:>11.1%}" + shares
