"""What every training loop shares: optimiser, schedule, averaged weights, progress, stopping.

with Run(model, steps=2000, floor=1.23) as run:
    for _ in run:
        L = ...                   # a loss on fresh data
        run.optimizer.zero_grad(); L.backward(); run.optimizer.step()
        run.record(L)
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

BAR_OF_SECONDS = "{l_bar}{bar}| {n:.0f} of {total:.0f} s{postfix}"  # for runs with a time limit


@dataclass
class History:
    """The losses of a run, one a step, and the seconds it took."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    floor: float | None = None
    interrupted: bool = False

    def smoothed(self, window: int = 100) -> Tensor:
        """Running mean of the losses over `window` steps (fewer at the start)."""
        total = torch.tensor(self.losses, dtype=torch.float64).cumsum(0)
        n = torch.arange(1, len(total) + 1)
        before = torch.cat([torch.zeros(min(window, len(total))), total[:-window]])
        return (total - before) / n.clamp(max=window)


class EMA:
    """Exponential moving average of a model's weights, with a memory that grows with the run.

        θ̄ ← β θ̄ + (1 − β) θ,    β = 1 − 1/(1 + memory · step)

    At step n it averages over about the last `memory · n` steps, so it is right for short runs
    too: a fixed β of 0.9999 would still hold the initial weights after 1000 steps. Buffers are
    left to the model, never averaged.
    """

    # torch.optim.swa_utils.AveragedModel gives the same bits (a test compares) but takes 146 µs a
    # step instead of 38 for a VelocityMLP on one core, 12 % of a training step of 2.1 ms, and
    # 1.5 ms instead of 0.7 for a UNet: it walks the module and groups its tensors at every step.

    def __init__(self, model: nn.Module, memory: float = 0.1):
        self.weights = [p.detach().clone() for p in model.parameters()]
        self.memory = memory
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's weights after an optimiser step."""
        self.steps += 1
        gain = 1 / (1 + self.memory * self.steps)
        for average, p in zip(self.weights, model.parameters(), strict=True):
            average.lerp_(p, gain)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Give the model the averaged weights."""
        for p, average in zip(model.parameters(), self.weights, strict=True):
            p.copy_(average)


class Run:
    """A training run: iterate over it, `record` each loss; it ends with the averaged weights.

    The learning rate rises over the first `warmup` share of the run and falls as a cosine to 0.
    Ctrl-C (the notebook's stop button) ends the run early and keeps what was learned; any other
    error closes the progress bar and is raised.

    Args:
        model: the network to train.
        steps: gradient steps.
        lr: the highest learning rate. The default suits small networks on points; images need less.
        warmup: share of the run in which the learning rate rises.
        memory: of the weights' average, see `EMA`.
        floor: the Bayes floor to show beside the loss, if it is known.
        seconds: a time limit, at which the schedule ends too. How many steps fit depends on the
            machine, so a seed no longer repeats the run.
        of_processor: counts seconds of a processor in place of those of the clock, for a machine
            that does other work too.
        label: of the progress bar.
        progress: whether to show it. It counts steps or, with a time limit, seconds.
    Raises:
        ValueError: if steps is not at least 1.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: int,
        *,
        lr: float = 1e-2,
        warmup: float = 0.02,
        memory: float = 0.1,
        floor: float | None = None,
        seconds: float | None = None,
        of_processor: bool = False,
        label: str = "train",
        progress: bool = True,
    ):
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
        self.model, self.steps, self.seconds = model, steps, seconds
        self.lr, self.warmup = lr, warmup
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.99), fused=True)
        self.average = EMA(model, memory)
        self.history = History(floor=floor)
        self.label, self.progress = label, progress
        self._clock = time.process_time if of_processor else time.perf_counter

    def __enter__(self) -> "Run":
        self.model.train()
        hidden = not self.progress
        shown = {"total": self.steps}
        if self.seconds is not None:  # how many steps fit is not known, how long it takes is
            shown = {"total": self.seconds, "bar_format": BAR_OF_SECONDS}
        self._bar = tqdm(desc=self.label, mininterval=0.3, disable=hidden, **shown)
        self._start = self._clock()
        return self

    def __iter__(self) -> Iterator[int]:
        for step in range(self.steps):
            elapsed = self._clock() - self._start
            if self.seconds is not None:
                self._bar.update(min(elapsed, self.seconds) - self._bar.n)
                if elapsed > self.seconds:
                    break
            self._set_learning_rate(self._progress(step, elapsed))
            yield step
            if self.seconds is None:
                self._bar.update()
            elif step + 1 == self.steps:
                self._bar.total = self._bar.n  # complete before its time
            if step % 20 == 0:
                self._bar.set_postfix_str(self._status(), refresh=False)

    def __exit__(self, kind, error, traceback) -> bool:
        self.history.seconds = self._clock() - self._start
        self.history.interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self._bar.set_postfix_str(self._status() + ", interrupted" * self.history.interrupted)
        self._bar.close()
        self.average.copy_to(self.model)
        self.model.eval()
        return self.history.interrupted  # True: the interruption is handled here

    def record(self, loss: Tensor) -> None:
        """Record the loss of this step and update the average of the weights."""
        self.history.losses.append(loss.item())
        self.average.update(self.model)

    def _progress(self, step: int, elapsed: float) -> float:
        share = step / self.steps
        return share if self.seconds is None else max(share, elapsed / self.seconds)

    def _set_learning_rate(self, progress: float) -> None:
        rise = min(1.0, (progress + 1 / self.steps) / self.warmup) if self.warmup else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * progress))
        # Not a LambdaLR: that one counts steps, while a run with a time limit goes by the clock.
        # And it warns where this optimiser never steps: in `gan.train` each player has its own.
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * min(rise, fall)

    def _status(self) -> str:
        recent = self.history.losses[-100:]
        text = f"loss {sum(recent) / max(1, len(recent)):.4f}"
        if self.seconds is not None:
            text = f"{len(self.history.losses)} steps, {text}"
        return text if self.history.floor is None else f"{text}, floor {self.history.floor:.4f}"


class Players:
    """A generator and a discriminator, with an optimiser for each (chapter 01).

    Args:
        generator: G, called as `generator(z)`.
        discriminator: D, called as `discriminator(x)`; returns logits.
        lr: learning rate of both; `lr_d` is that of the discriminator if it differs.
        betas: of Adam. A game needs less momentum than a descent: the other player's move can turn
            a downhill direction into an uphill one.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        lr: float = 2e-3,
        lr_d: float | None = None,
        betas: tuple[float, float] = (0.0, 0.9),
    ):
        self.generator, self.discriminator = generator, discriminator
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), lr, betas)
        self.discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(), lr if lr_d is None else lr_d, betas
        )

    def __iter__(self) -> Iterator[object]:
        """`G, D, G_optimizer, D_optimizer = players`"""
        yield from (self.generator, self.discriminator)
        yield from (self.generator_optimizer, self.discriminator_optimizer)
