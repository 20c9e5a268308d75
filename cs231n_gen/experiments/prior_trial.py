"""Garments written token by token: the prior of chapter 13, and what stands beside it. Given.

A garment is 64 codes of the tokenizer, or, for comparison, 256 pixels of 16 grey levels; the same
`autoregressive.Prior` learns either, by minus chapter 00's log-likelihood. Measured are the bits it
needs for garments that it has not seen, what the judge says of those it writes, how fast it writes
them, and whether it matters in which order.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen import autoregressive, guidance, likelihood
from cs231n_gen.autoregressive import Prior
from cs231n_gen.experiments import codes_trial, dit_trial, latent_trial, paired
from cs231n_gen.experiments.few_steps_trial import GarmentScore, of_each_class, score
from cs231n_gen.given import metrics
from cs231n_gen.given.data import Images, data_file
from cs231n_gen.given.frozen import frozen
from cs231n_gen.given.training import History, Run

CLASSES = 10
DROP = 0.1  # share of the classes that are dropped
BATCH = 32
RATE = 4e-3
WARMUP = 0.05
CLIP = 1.0  # the norm to which gradients are cut
WEIGHT_DECAY = 0.05
MANY = 10**6  # more steps than fit into any time limit
AT_ONCE = 250  # garments written at a time
LEVELS = 16  # of grey
COUNTED = 2000  # images whose pixels are counted, 256 of each
WEIGHTS = (0.0, 1.0)  # of guidance
FILE = "prior.safetensors"
CODES, PIXELS = "codes", "pixels"
SMALL = {"dim": 64, "layers": 3, "heads": 4}  # for several runs in a minute
SIMPLE = ("all alike", "token frequencies", "of each place", "of each place and class")
ORDERS = ("rows", "columns", "spiral in", "spiral out", "z-curve", "coarse to fine", "random")


class TokenData(NamedTuple):
    """Garments as sequences of tokens, and their classes."""

    tokens: Int64[Tensor, "n length"]
    y: Int64[Tensor, "n"]


@dataclass(frozen=True)
class TokenSpace:
    """How a garment becomes a sequence, and the way back.

    name: `codes` or `pixels`.
    vocabulary, length: of the sequences.
    there: from images of 32×32 pixels.
    back: to images of 16×16 pixels within [−1, 1], as the judge takes them.
    """

    name: str
    vocabulary: int
    length: int
    there: Callable[[Float[Tensor, "n 1 32 32"]], Int64[Tensor, "n length"]]
    back: Callable[[Int64[Tensor, "n length"]], Float[Tensor, "n 1 16 16"]]

    def of(self, images: Images) -> TokenData:
        """Images and their classes as sequences."""
        return TokenData(self.there(images.x), images.y)


def codes_space(tokenizer: codes_trial.Tokenizer) -> TokenSpace:
    """Garments as the codes of a tokenizer, row by row."""
    return TokenSpace(
        CODES,
        len(tokenizer.book.codes),
        codes_trial.SIDE**2,
        lambda x: codes_trial.encode(tokenizer, x),
        lambda tokens: dit_trial.for_judge(codes_trial.decode(tokenizer, tokens)),
    )


def pixel_space(levels: int = LEVELS) -> TokenSpace:
    """Garments as the means of 2×2 pixels, rounded to so many levels of grey, row by row."""
    top = levels - 1
    return TokenSpace(
        PIXELS,
        levels,
        256,
        lambda x: (dit_trial.for_judge(x).flatten(1).add(1) * top / 2).round().long(),
        lambda tokens: tokens.reshape(-1, 1, 16, 16) * 2 / top - 1,
    )


def new(vocabulary: int, length: int, seed: int = 0, kind: type[Prior] = Prior, **sizes) -> Prior:
    """A prior with weights from a seed.

    Args:
        vocabulary, length, sizes: of `Prior`.
        seed: of the weights.
        kind: `Prior`, or what inherits from it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(vocabulary, length, CLASSES, **sizes)


def load_prior() -> Prior:
    """The prior that `data/train_prior.py` trained for longer on the codes of
    `codes_trial.load_codes`, ready to use.

    Raises:
        DataError: if its weights are missing or damaged.
        RuntimeError: if they do not fit `autoregressive.Prior`.
    """
    weights = [w.float() for _, w in sorted(load_file(data_file(FILE)).items())]
    prior = new(codes_trial.K, codes_trial.SIDE**2)
    parameters = list(prior.parameters())
    have, want = ([tuple(w.shape) for w in some] for some in (weights, parameters))
    if have != want:
        raise RuntimeError(f"the weights of {FILE} are for shapes {have}, Prior has {want}")
    with torch.no_grad():
        for p, w in zip(parameters, weights, strict=True):
            p.copy_(w)
    return prior.eval().requires_grad_(False)


def nats(prior: Prior, tokens: Int64[Tensor, "n length"], y: Int64[Tensor, "n"]) -> Tensor:
    """Minus the log-likelihood of sequences under a prior, in nats, as chapter 00 computes it."""
    return -likelihood.autoregressive_log_likelihood(prior(tokens, y), tokens)


class MuonAndAdam:
    """Muon for the matrices of the blocks, Adam for all other weights (Jordan et al. 2024).

    Muon steps along the momentum with all its singular values made about equal. After 60 s of a
    processor a prior of a first tokenizer's codes needed 3.64 bits a code; by Adam alone, at the
    better of two rates, it needed 4.00. Both parts take one learning rate, since Muon's steps are
    scaled to the size of Adam's (Liu et al. 2025).
    """

    def __init__(self, prior: Prior, lr: float):
        blocks = list(prior.blocks.parameters())
        matrices = [p for p in blocks if p.dim() == 2]
        known = {id(p) for p in matrices}
        others = [p for p in prior.parameters() if id(p) not in known]
        options = {"weight_decay": WEIGHT_DECAY, "adjust_lr_fn": "match_rms_adamw"}
        self.parts = [
            torch.optim.Muon(matrices, lr, **options),
            torch.optim.Adam(others, lr, betas=(0.9, 0.99), fused=True),
        ]
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        """One step of both."""
        for part in self.parts:
            part.step()


def fit(
    prior: Prior,
    data: TokenData,
    *,
    steps: int = MANY,
    seconds: float | None = None,
    of_processor: bool = False,
    loss: Callable[..., Float[Tensor, "batch"]] = nats,
    batch: int = BATCH,
    lr: float = RATE,
    warmup: float = WARMUP,
    drop: float = DROP,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
    label: str = "prior",
    progress: bool = True,
) -> History:
    """Train a prior by the likelihood of sequences, nats a token. It ends with averaged weights.

    Args:
        prior: trained in place.
        data: sequences and classes.
        steps, seconds, of_processor: how long, at most.
        loss: called as `loss(prior, tokens, y)`; nats of each sequence.
        batch, lr, warmup: of each step, and of the schedule.
        drop: the share of the classes that become ∅, for guidance.
        dropout: of what attention and MLP add, for runs that see the same garments many times.
        generator: for everything random; a new one with seed 0 if None.
        label, progress: of the bar.
    """
    g = torch.Generator().manual_seed(0) if generator is None else generator
    limits = {"seconds": seconds, "of_processor": of_processor}
    with (
        _dropping(prior, dropout, g),
        Run(prior, steps, lr=lr, warmup=warmup, label=label, progress=progress, **limits) as run,
    ):
        run.optimizer = MuonAndAdam(prior, lr)
        for _ in run:
            i = torch.randint(len(data.y), (batch,), generator=g)
            y = guidance.drop_condition(data.y[i], drop, prior.null, g)
            L = loss(prior, data.tokens[i], y).mean() / prior.length
            run.optimizer.zero_grad()
            L.backward()
            nn.utils.clip_grad_norm_(prior.parameters(), CLIP)
            run.optimizer.step()
            run.record(L)
    return run.history


def bits(prior: Prior, data: TokenData, classes: bool = True) -> Float[Tensor, "n"]:
    """The bits that a prior needs for each sequence, −log₂ p(x | y), or −log₂ p(x).

    Args:
        prior: of the sequences.
        data: sequences that it was not trained on.
        classes: whether it is told the class.
    """
    y = data.y if classes else torch.full_like(data.y, prior.null)
    parts = zip(data.tokens.split(AT_ONCE), y.split(AT_ONCE), strict=True)
    with frozen(prior):
        return torch.cat([nats(prior, *part) for part in parts]) / math.log(2)


def simple_bits(space: TokenSpace, train: TokenData, test: TokenData) -> dict[str, float]:
    """The bits a sequence under models that see no other token: a mean over test sequences.

    Args:
        space: of the sequences.
        train: sequences that are counted.
        test: sequences whose bits are told.
    """
    a_token = metrics.token_bits(train.tokens, test.tokens, space.vocabulary, train.y, test.y)
    return {name: space.length * v for name, v in zip(SIMPLE, a_token, strict=True)}


def write(
    prior: Prior,
    y: Int64[Tensor, "n"],
    *,
    w: float = 0.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    cached: bool = True,
    generator: torch.Generator | None = None,
) -> Int64[Tensor, "n length"]:
    """Sequences for the classes asked for, `AT_ONCE` at a time.

    Args are those of `autoregressive.sample`.
    """
    how = {"w": w, "temperature": temperature, "top_k": top_k, "cached": cached}
    parts = [
        autoregressive.sample(prior, some, **how, generator=generator) for some in y.split(AT_ONCE)
    ]
    return torch.cat(parts)


class Written(NamedTuple):
    """Garments that were written, and what the judge says of them.

    x: images of 16×16 pixels.
    y: the classes asked for.
    score: by the judge.
    """

    x: Float[Tensor, "n 1 16 16"]
    y: Int64[Tensor, "n"]
    score: GarmentScore


def judged(
    prior: Prior,
    space: TokenSpace,
    real: Images,
    *,
    garments: int = 500,
    writer: Callable[..., Int64[Tensor, "n length"]] = write,
    seed: int = 1,
    **options,
) -> Written:
    """Garments of all classes, written and shown to the judge.

    Args:
        prior: of sequences.
        space: what they mean.
        real: images of 16×16 pixels that no network has seen.
        garments: how many, as many of each class: a multiple of 10.
        writer: called as `writer(prior, y, generator=…, **options)`.
        seed: of the tokens.
        options: of the writer, such as w.
    """
    y = torch.arange(garments) % CLASSES
    g = torch.Generator().manual_seed(seed)
    start = time.process_time()
    x = space.back(writer(prior, y, generator=g, **options))
    return Written(x, y, score(x, y, real, time.process_time() - start))


@dataclass(frozen=True)
class CacheSpeed:
    """Seconds of a processor to write a sequence, with a cache and without.

    at_once: how many are written together.
    length: of a sequence.
    cached, plain: the seconds.
    """

    at_once: int
    length: int
    cached: float
    plain: float

    @property
    def ratio(self) -> float:
        """How many times as fast the cache makes it."""
        return self.plain / self.cached

    def __str__(self) -> str:
        with_it, without = (f"{1000 * s:.1f} ms" for s in (self.cached, self.plain))
        what = f"{self.length} tokens, {self.at_once} at once"
        return f"{what}: {with_it} with a cache, {without} without, {self.ratio:.1f} times as fast"


def speed(prior: Prior, at_once: int = 50, repeats: int = 1) -> CacheSpeed:
    """How fast a prior writes, with a cache and without; the best of some repeats."""
    y = torch.arange(at_once) % CLASSES
    g = torch.Generator().manual_seed(0)

    def seconds(cached: bool) -> float:
        start = time.process_time()
        autoregressive.sample(prior, y, cached=cached, generator=g)
        return (time.process_time() - start) / at_once

    seconds(True)  # the first time is slow
    best = [min(seconds(cached) for _ in range(repeats)) for cached in (True, False)]
    return CacheSpeed(at_once, prior.length, *best)


@dataclass(frozen=True)
class TrainedPrior:
    """What one prior reached.

    space: what its sequences are.
    prior: with the averaged weights.
    history: nats a token, step by step.
    bits: for a sequence that it has not seen, with its class; a mean.
    bits_without: the same with ∅ in place of the class.
    simple: those of `simple_bits`.
    written: garments, by the weight of guidance.
    speed: at 50 at once.
    whole_image: see `bits_of_pixels`: what it takes to tell a garment in `LEVELS` greys.
    """

    space: TokenSpace
    prior: Prior
    history: History
    bits: float
    bits_without: float
    simple: dict[str, float]
    written: dict[float, Written]
    speed: CacheSpeed
    whole_image: float


@dataclass(frozen=True)
class FlowBeside:
    """A flow in chapter 08's latents, trained as long as a prior, that samples as long.

    steps: of training.
    calls: of the network for a garment: as many Euler steps as the prior's time for one allows, by
        the weight of guidance.
    written: garments, by the weight of guidance.
    """

    steps: int
    calls: dict[float, int]
    written: dict[float, Written]


@dataclass(frozen=True)
class PriorTrial:
    """The results of a trial.

    seconds: of training each of them.
    writers: by the name of their space.
    flow: beside them, or None.
    kept: what the judge says of training images that became codes and were decoded: the most that
        can be expected of a prior over these codes.
    real: what it says of the same images as they are.
    """

    seconds: float
    writers: dict[str, TrainedPrior]
    flow: FlowBeside | None
    kept: GarmentScore
    real: GarmentScore

    def bits_table(self) -> str:
        """The bits of sequences, as text."""
        names = list(self.writers)
        lines = ["bits for a garment not seen", f"{'':34}" + "".join(f"{n:>12}" for n in names)]

        def line(what: str, numbers: Sequence[float]) -> None:
            lines.append(f"{what:34}" + "".join(f"{v:>12.1f}" for v in numbers))

        writers = self.writers.values()
        for what in next(iter(writers)).simple:
            line(what, [v.simple[what] for v in writers])
        line("prior, without the class", [v.bits_without for v in writers])
        line("prior", [v.bits for v in writers])
        line("and every pixel, in 16 greys", [v.whole_image for v in writers])
        lines.append("codes tell less than pixels: only the last row compares the columns")
        return "\n".join(lines)

    def samples_table(self) -> str:
        """What the judge says of the garments, as text."""
        head = ["steps", "w", "right", "Fréchet", "precision", "recall", "spread", "a second"]
        lines = [
            f"{self.seconds:g} s of training each",
            f"{'':22}" + "".join(f"{word:>11}" for word in head),
        ]

        def line(name: str, steps: str, w: str, s: GarmentScore) -> None:
            cells = [steps, w, f"{s.right:.1%}"]
            cells += [f"{v:.2f}" for v in (s.frechet, s.precision, s.recall, s.spread)]
            cells.append("" if math.isnan(s.a_second) else f"{s.a_second:.0f}")
            lines.append(f"{name:22}" + "".join(f"{cell:>11}" for cell in cells))

        for name, v in self.writers.items():
            for w, found in v.written.items():
                line(f"prior of {name}", str(len(v.history.losses)), f"{w:g}", found.score)
        if self.flow is not None:
            for w, found in self.flow.written.items():
                name = f"flow, {self.flow.calls[w]} steps"
                line(name, str(self.flow.steps), f"{w:g}", found.score)
        line("real, through codes", "", "", self.kept)
        line("real", "", "", self.real)
        return "\n".join(lines)

    def table(self) -> str:
        """All numbers, as text."""
        speeds = [f"{name}: {v.speed}" for name, v in self.writers.items()]
        return "\n".join([self.bits_table(), "", self.samples_table(), "", *speeds])


def trial(
    tokenizer: codes_trial.Tokenizer,
    train: Images,
    test: Images,
    *,
    seconds: float = 60.0,
    of_processor: bool = False,
    spaces: Sequence[str] = (CODES, PIXELS),
    with_flow: bool = True,
    weights: Sequence[float] = WEIGHTS,
    garments: int = 500,
    at_once: int = 50,
    seed: int = 0,
    progress: bool = True,
    **sizes,
) -> PriorTrial:
    """Train the same prior on codes and on pixels, and a flow, for the same time each.

    Args:
        tokenizer: makes codes of garments, and garments of codes.
        train, test: images of 32×32 pixels and their classes; all numbers are of the test images.
        seconds: of training, for each of them.
        of_processor: counts seconds of a processor in place of those of the clock.
        spaces: from `codes` and `pixels`. Without a cache pixels take a second a garment or so.
        with_flow: whether a flow in chapter 08's latents is trained beside.
        weights: of guidance.
        garments: how many are judged: a multiple of 10, at least 40.
        at_once: how many are written together where speed is measured.
        seed: of everything random.
        progress: whether to show bars.
        sizes: of the prior.
    Raises:
        ValueError: for another number of garments or another space.
    """
    _check_garments(garments)
    _check_names("a space", spaces, (CODES, PIXELS))
    real = Images(dit_trial.for_judge(test.x), test.y)
    told = {CODES: codes_space(tokenizer), PIXELS: pixel_space()}
    writers = {}
    for name in spaces:
        s = told[name]
        data, held = s.of(train), s.of(test)
        prior = new(s.vocabulary, s.length, seed, **sizes)
        history = fit(
            prior,
            data,
            seconds=seconds,
            of_processor=of_processor,
            generator=torch.Generator().manual_seed(seed),
            label=f"prior of {name}",
            progress=progress,
        )
        known = float(bits(prior, held).mean())
        options = {"garments": garments, "seed": seed + 1}
        writers[name] = TrainedPrior(
            space=s,
            prior=prior,
            history=history,
            bits=known,
            bits_without=float(bits(prior, held, classes=False).mean()),
            simple=simple_bits(s, data, held),
            written={w: judged(prior, s, real, w=w, **options) for w in weights},
            speed=speed(prior, at_once),
            whole_image=known + (bits_of_pixels(s, train, test) if name == CODES else 0.0),
        )
    flow_too = None
    if with_flow:
        allowed = {w: 1 / f.score.a_second for w, f in writers[spaces[0]].written.items()}
        flow_too = flow_beside(
            train,
            real,
            seconds,
            allowed,
            of_processor=of_processor,
            garments=garments,
            seed=seed,
            progress=progress,
        )
    some = of_each_class(train.y, garments)
    x, y = train.x[some], train.y[some]
    return PriorTrial(
        seconds,
        writers,
        flow_too,
        kept=score(told[CODES].back(told[CODES].there(x)), y, real),
        real=score(dit_trial.for_judge(x), y, real),
    )


def flow_beside(
    train: Images,
    real: Images,
    seconds: float,
    allowed: dict[float, float],
    *,
    of_processor: bool = False,
    garments: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> FlowBeside:
    """Chapter 08's flow in latents, trained for some seconds, that samples for some.

    Args:
        train: images of 32×32 pixels and their classes.
        real: images of 16×16 pixels that no network has seen.
        seconds, of_processor: of training.
        allowed: seconds of a processor for a garment, by the weight of guidance. It gets as many
            Euler steps as fit, at least one.
        garments, seed, progress: as in `trial`.
    """
    s = latent_trial.space(latent_trial.LATENTS)
    model = latent_trial.new(s.shape[0], seed=seed)
    history = dit_trial.train(
        model,
        dit_trial.LatentData(s.there(train.x), train.y),
        MANY,
        lr=latent_trial.RATES[latent_trial.LATENTS],
        seconds=seconds,
        of_processor=of_processor,
        seed=seed,
        progress=progress,
        label="flow",
    )
    y = torch.arange(garments) % CLASSES
    some = y[:AT_ONCE]
    calls, written = {}, {}
    for w, limit in allowed.items():
        took = []
        for steps in (1, 1, 4):  # the first time is slow
            start = time.process_time()
            latent_trial.sample(s, model, some, w=w, steps=steps)
            took.append((time.process_time() - start) / len(some))
        a_step = max((took[2] - took[1]) / 3, 1e-9)
        calls[w] = max(1, round(1 + (limit - took[1]) / a_step))
        start = time.process_time()
        x = latent_trial.sample(s, model, y, w=w, steps=calls[w], seed=seed + 1)
        x = dit_trial.for_judge(x)
        written[w] = Written(x, y, score(x, y, real, time.process_time() - start))
    return FlowBeside(len(history.losses), calls, written)


def bits_of_pixels(space: TokenSpace, train: Images, test: Images, levels: int = LEVELS) -> float:
    """The bits that tell the pixels of an image whose codes are known; a mean over images.

    Codes alone do not say the image: many images share them. Codes first and then each pixel, given
    what the decoder made of them, is a full description, whose length can be compared with that of
    a model of pixels. (It is a bound: −log₂ p(x) ≤ −log₂ p(codes) − log₂ p(x | codes).) For p(x |
    codes) each pixel has the frequencies that it had in training where the decoder said about the
    same.

    Args:
        space: of codes.
        train: images, of which the pixels of the first `COUNTED` are counted.
        test: images whose bits are told.
        levels: of grey, for the pixels of 16×16 images.
    """
    fine = 4 * levels  # of what the decoder says
    pixels = pixel_space(levels)

    def pairs(x: Tensor) -> tuple[Tensor, Tensor]:
        said = space.back(space.there(x)).flatten(1)
        return ((said + 1) / 2 * (fine - 1)).round().long(), pixels.there(x)

    said, x = pairs(train.x[:COUNTED])
    counts = torch.bincount((said * levels + x).flatten(), minlength=fine * levels)
    p = counts.reshape(fine, levels).double() + 0.5
    p = p / p.sum(1, keepdim=True)
    said, x = pairs(test.x)
    return float(-p[said, x].log2().sum(1).mean())


@dataclass(frozen=True)
class SamplingCurves:
    """How garments change with the ways of sampling, one of them at a time.

    scores: by what is changed (`w`, `temperature` or `top_k`) and its value.
    """

    scores: dict[str, dict[float, GarmentScore]]

    def table(self) -> str:
        """All numbers, as text."""
        head = ["right", "Fréchet", "precision", "recall", "spread"]
        lines = [f"{'':24}" + "".join(f"{word:>11}" for word in head)]
        for what, found in self.scores.items():
            for value, s in found.items():
                cells = [f"{s.right:.1%}"]
                cells += [f"{v:.2f}" for v in (s.frechet, s.precision, s.recall, s.spread)]
                lines.append(f"{what:14}{value:>10g}" + "".join(f"{c:>11}" for c in cells))
        return "\n".join(lines)


CURVES = {
    "w": (0.0, 0.5, 1.0, 2.0, 4.0),
    "temperature": (0.7, 0.85, 1.0, 1.2),
    "top_k": (4, 16, 64, 256),
}


def curves(
    prior: Prior,
    space: TokenSpace,
    real: Images,
    values: dict[str, Sequence[float]] | None = None,
    *,
    garments: int = 500,
    seed: int = 1,
    **fixed,
) -> SamplingCurves:
    """Garments by the weight of guidance, by temperature, and by how many tokens may come next.

    Args:
        prior, space, real, garments, seed: as in `judged`.
        values: of each; `CURVES` if None.
        fixed: options of `write` that stay as they are, unless they are what is changed.
    """
    found = {}
    for what, some in (CURVES if values is None else values).items():
        found[what] = {}
        for value in some:
            options = {"garments": garments, "seed": seed} | fixed | {what: value}
            found[what][value] = judged(prior, space, real, **options).score
    return SamplingCurves(found)


def order(name: str, side: int, seed: int = 0) -> Int64[Tensor, "length"]:
    """The places of a square grid in an order, as numbers of its rows (Esser et al. 2021 tried such
    orders, too).

    Args:
        name: one of `ORDERS`: row by row; column by column; round the edge and inwards; outwards
            from the middle; each quarter before the next, and so within it; first every place of a
            coarse grid, then of finer ones; or anyhow.
        side: of the grid; a power of 2.
        seed: of the random order.
    Raises:
        ValueError: for another name or side.
    """
    _check_names("an order", [name], ORDERS)
    if side < 1 or side & (side - 1):
        raise ValueError(f"side must be a power of 2, got {side}")
    grid = torch.arange(side * side).reshape(side, side)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    if name == "random":
        return torch.randperm(side * side, generator=torch.Generator().manual_seed(seed))
    if name == "columns":
        return grid.T.flatten()
    if name in ("spiral in", "spiral out"):
        rings, left = [], grid
        while left.numel():
            rings.append(left[0])
            left = left[1:].T.flip(0)  # turned left: the next edge is on top
        path = torch.cat(rings)
        return path if name == "spiral in" else path.flip(0)
    if name == "z-curve":
        key = torch.zeros_like(grid)
        for b in range(side.bit_length() - 1):  # the bits of row and column in turn
            key += ((row >> b & 1) << (2 * b + 1)) + ((column >> b & 1) << 2 * b)
        return key.flatten().argsort(stable=True)
    if name == "coarse to fine":
        both = (row | column).flatten()
        # a place of the grid with distance 2ᵇ and no wider one has b zeros at the end of both
        zeros = torch.where(both > 0, (both & -both).float().log2(), float(side)).long()
        return (-zeros).argsort(stable=True)
    return grid.flatten()


@dataclass(frozen=True)
class OrderTrial:
    """The results of a trial.

    names: of the orders, the rows first.
    steps: of training, the same for all.
    bits: for a garment that was not seen, by order and seed.
    """

    names: list[str]
    steps: int
    bits: Float[Tensor, "orders seeds"]

    def table(self) -> str:
        """All numbers, as text."""
        seeds = self.bits.shape[1]
        title = f"bits for a garment not seen, after {self.steps} steps; mean of {seeds} seeds"
        lines = [title]
        mean, off = None, None
        if seeds > 1:
            mean, off = paired.differences(self.bits[..., None])
        for i, name in enumerate(self.names):
            text = f"{name:16}{float(self.bits[i].mean()):>8.1f}"
            if i and mean is not None:
                d, o = float(mean[i - 1, 0]), float(off[i - 1, 0])
                text += f"   {d:+.1f} ± {o:.1f} to {self.names[0]}"
            lines.append(text)
        if seeds > 1:
            lines.append(f"±: {paired.SURE:.0%} of trials have all true differences inside")
        return "\n".join(lines)


def orders(
    train: TokenData,
    test: TokenData,
    vocabulary: int,
    *,
    names: Sequence[str] = ORDERS,
    steps: int = 200,
    seeds: int = 1,
    first_seed: int = 0,
    progress: bool = True,
    **sizes,
) -> OrderTrial:
    """Train the same prior on the same tokens in several orders, for equally many steps.

    By the chain rule each order has the same bits, those of the distribution itself. What differs
    is how soon a network learns them. From one seed all orders get the same initial weights and the
    same garments in each step.

    Args:
        train, test: sequences of a square grid, row by row.
        vocabulary: K.
        names: from `ORDERS`; the others are compared with the first.
        steps: of training.
        seeds: how many runs of each order.
        first_seed: the lowest of the seeds.
        progress: whether to show bars.
        sizes: of the prior; without them `SMALL`.
    Raises:
        ValueError: for another order, or sequences that are no square grid.
    """
    length = train.tokens.shape[1]
    side = math.isqrt(length)
    if side * side != length:
        raise ValueError(f"sequences must be square grids, got a length of {length}")
    found = torch.zeros(len(names), seeds, dtype=torch.float64)
    for i, name in enumerate(names):
        path = order(name, side)
        for k in range(seeds):
            seed = first_seed + k
            prior = new(vocabulary, length, seed, **(sizes or SMALL))
            data = TokenData(train.tokens[:, path], train.y)
            g = torch.Generator().manual_seed(seed)
            fit(prior, data, steps=steps, generator=g, label=name, progress=progress)
            found[i, k] = bits(prior, TokenData(test.tokens[:, path], test.y)).double().mean()
    return OrderTrial(list(names), steps, found)


@contextmanager
def _dropping(prior: Prior, p: float, generator: torch.Generator) -> Iterator[None]:
    """Dropout behind each attention and each MLP, while the prior is trained."""
    if not p:
        yield
        return

    def drop(part: nn.Module, inputs: tuple, out: Tensor) -> Tensor:
        return F.dropout(out, p, prior.training)

    parts = [part for block in prior.blocks for part in (block.attention.out, block.mlp)]
    hooks = [part.register_forward_hook(drop) for part in parts]
    try:
        with torch.random.fork_rng(devices=[]):  # dropout knows no generator
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_garments(garments: int) -> None:
    if garments < 40 or garments % CLASSES:
        raise ValueError(f"garments must be a multiple of 10 and at least 40, got {garments}")


def _check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{what} is one of {', '.join(known)}, got {name!r}")
