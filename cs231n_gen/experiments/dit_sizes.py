"""Three sizes of a diffusion transformer, for equal steps and equal seconds (slides 98–100).
Given.

Peebles and Xie (2023) found that networks with more arithmetic a call have a lower loss after as
many steps. Per second of training this holds only once the small ones have learned what they can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from cs231n_gen.experiments import dit_trial
from cs231n_gen.experiments.dit_trial import LatentData

SIZES = {
    "S": {"dim": 32, "depth": 2, "heads": 4},
    "M": {"dim": 64, "depth": 3, "heads": 4},
    "L": {"dim": 128, "depth": 4, "heads": 4},
}


@dataclass(frozen=True)
class SizeTrial:
    """The results of a trial.

    names: of the sizes.
    weights: how many each has.
    flops: multiplications and additions of a call, for one latent.
    steps: of the runs of equal length.
    budgets: seconds of a processor that the other runs had.
    within: steps that fit into them, by size and budget.
    losses: on latents held out, after `steps` steps, by size and seed.
    timed: those of the other runs, by size, seed and budget.
    """

    names: list[str]
    weights: list[int]
    flops: list[int]
    steps: int
    budgets: list[float]
    within: list[list[int]]
    losses: Float[Tensor, "sizes seeds"]
    timed: Float[Tensor, "sizes seeds budgets"]

    def table(self) -> str:
        """All numbers, as text."""
        seeds = self.losses.shape[1]
        heads = [f"{self.steps} steps", *(f"{s:g} CPU s" for s in self.budgets)]
        title = f"loss on latents held out, mean over {seeds} seeds (steps within the time)"
        lines = [title, f"{'':4}{'weights':>10}{'MFLOP':>8}" + "".join(f"{h:>20}" for h in heads)]
        for k, name in enumerate(self.names):
            cells = [f"{self.losses[k].mean():.4f}"]
            found = zip(self.timed[k].mean(0).tolist(), self.within[k], strict=True)
            cells += [f"{loss:.4f} ({steps})" for loss, steps in found]
            size = f"{self.weights[k] / 1000:.0f} k"
            lines.append(
                f"{name:4}{size:>10}{self.flops[k] / 1e6:>8.1f}"
                + "".join(f"{cell:>20}" for cell in cells)
            )
        return "\n".join(lines)


def flops_of(dim: int, depth: int, tokens: int = 16, ratio: int = 4, **_) -> int:
    """Multiplications and additions of the blocks of a `DiT`, for one example.

        depth · (2 · tokens · (4 + 2 ratio) dim² + 4 tokens² dim + 12 dim²)

    Linear layers on tokens, attention, and the modulation, which is made once for all tokens. Sums,
    norms and nonlinearities are left out.
    """
    linear = 2 * tokens * (4 + 2 * ratio) * dim**2
    return depth * (linear + 4 * tokens**2 * dim + 12 * dim**2)


def run(
    data: LatentData,
    held: LatentData,
    *,
    sizes: Mapping[str, Mapping[str, int]] = SIZES,
    steps: int = 400,
    budgets: Sequence[float] = (10.0, 40.0),
    seeds: Sequence[int] = (0, 1),
    batch: int = 64,
    lr: float = 1e-2,
    progress: bool = True,
) -> SizeTrial:
    """Train each size for as many steps, and for as many seconds of a processor.

    How many steps fit into a time is measured first; then a run has that many steps, with a
    schedule of that length.

    Args:
        data, held: latents to train on, and others.
        sizes: options of `dit.DiT`, by name.
        steps: of the runs of equal length.
        budgets: seconds of a processor of the others.
        seeds: of weights and training.
        batch: of training.
        lr: of networks of 64 numbers a token; at dim it is 64 / dim times that.
        progress: whether to show a bar.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    losses = torch.zeros(len(sizes), len(seeds))
    timed = torch.zeros(len(sizes), len(seeds), len(budgets))
    within, weights = [], []
    bar = tqdm(total=len(sizes) * len(seeds) * (1 + len(budgets)), disable=not progress)
    try:
        for k, (name, size) in enumerate(sizes.items()):
            weights.append(sum(p.numel() for p in dit_trial.new(**size).parameters()))
            per_second = dit_trial.steps_within(100, lambda s=size: dit_trial.new(**s), data, batch)
            within.append([max(1, round(per_second * s / 100)) for s in budgets])
            for j, seed in enumerate(seeds):
                found = []
                for n in (steps, *within[-1]):
                    bar.set_description(f"{name}, {n} steps")
                    model = dit_trial.new(seed, **size)
                    rate = lr * 64 / size["dim"]
                    dit_trial.train(model, data, n, batch=batch, lr=rate, seed=seed, progress=False)
                    found.append(dit_trial.held_out_loss(model, held).mean())
                    bar.update()
                losses[k, j], timed[k, j] = found[0], torch.stack(found[1:])
    finally:
        bar.close()
        torch.set_num_threads(threads)
    return SizeTrial(
        names=list(sizes),
        weights=weights,
        flops=[flops_of(**size) for size in sizes.values()],
        steps=steps,
        budgets=list(budgets),
        within=within,
        losses=losses,
        timed=timed,
    )
