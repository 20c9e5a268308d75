"""The trial of chapter 09: how t and y get into a transformer, seed by seed (slides 98–100). Given.

Peebles and Xie (2023) compared four ways. From one seed all of them get the same data, noise,
levels and dropped classes in every step, and the same initial weights where they have the same
layers. They are compared by their loss on latents that none has seen, with the same noise.
"""

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from cs231n_gen.dit import FREQUENCIES, Block, adaptive_norm
from cs231n_gen.dit_attention import Attention, CrossAttention
from cs231n_gen.dit_tokens import patchify, position_embedding, timestep_embedding, unpatchify
from cs231n_gen.experiments import dit_trial, paired
from cs231n_gen.experiments.dit_trial import LatentData

EPS = 1e-6
SMALL = {"dim": 32, "depth": 3, "heads": 4}


class PlainBlock(nn.Module):
    """A Transformer block that knows neither t nor y, unless tokens tell: `block(x, context)`.

        x ← x + attention(norm₁(x))
        x ← x + cross(norm₂(x), context)        if there is a context
        x ← x + mlp(norm₃(x))

    Args:
        dim, heads: as in `dit.Block`.
        cross: whether it has a `CrossAttention`, to tokens of `dim` numbers.
    """

    def __init__(self, dim: int, heads: int, cross: bool = False):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=EPS) for _ in range(3 if cross else 2))
        self.attention = Attention(dim, heads)
        self.cross = CrossAttention(dim, dim, heads) if cross else None
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        if self.cross is not None:
            x = x + self.cross(self.norms[1](x), context)
        return x + self.mlp(self.norms[-1](x))


class ConditionedTransformer(nn.Module):
    """A `dit.DiT` into which t and y get in one of four `WAYS`, built of the course's own pieces.

    Args:
        way: of the condition, one of `WAYS`.
        size, channels, patch, dim, depth, heads, classes: as in `DiT`.
    Raises:
        ValueError: if there is no such way.
    """

    def __init__(
        self,
        way: str,
        size: int = 8,
        channels: int = 4,
        patch: int = 2,
        dim: int = 32,
        depth: int = 3,
        heads: int = 4,
        classes: int = dit_trial.CLASSES,
    ):
        super().__init__()
        if way not in WAYS:
            raise ValueError(f"the way must be one of {', '.join(WAYS)}, got {way!r}")
        self.way, self.size, self.patch = way, size, patch
        side = size // patch
        self.positions = nn.Buffer(position_embedding(side, side, dim), persistent=False)
        self.embed = nn.Linear(patch**2 * channels, dim)
        self.level = nn.Sequential(nn.Linear(FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.condition = nn.Embedding(classes, dim)
        self.out = nn.Linear(dim, patch**2 * channels)
        self.adaptive = way.startswith("adaLN")
        if self.adaptive:
            self.modulation = nn.Linear(dim, 2 * dim)
            self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        else:
            self.norm = nn.LayerNorm(dim, eps=EPS)
            cross = way == "cross-attention"
            self.blocks = nn.ModuleList(PlainBlock(dim, heads, cross) for _ in range(depth))

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Weights from a seed, as `DiT.initialise` draws them; layers of one name get the same.

        Gates of "adaLN" begin at 1, those of "adaLN-Zero" at 0. All else that modulates is 0, and
        so is the last layer: every network begins with v = 0.
        """
        for name, layer in self.named_modules():
            g = torch.Generator().manual_seed(seed + sum(name.encode()))
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight, generator=g)
                nn.init.zeros_(layer.bias)
                if name.startswith("level"):
                    nn.init.normal_(layer.weight, std=0.02, generator=g)
                if name.endswith("modulation") or name == "out":
                    nn.init.zeros_(layer.weight)
            elif isinstance(layer, nn.Embedding):
                nn.init.normal_(layer.weight, std=0.02, generator=g)
        if self.way == "adaLN":
            for block in self.blocks:
                _, _, gate_1, _, _, gate_2 = block.modulation.bias.chunk(6)
                gate_1.fill_(1.0)
                gate_2.fill_(1.0)

    def forward(
        self,
        x_t: Float[Tensor, "batch channels size size"],
        t: Float[Tensor, "batch"],
        y: Int[Tensor, "batch"],
    ) -> Float[Tensor, "batch channels size size"]:
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        level = self.level(timestep_embedding(t, FREQUENCIES))
        condition = self.condition(y)
        if self.adaptive:
            c = level + condition
            for block in self.blocks:
                x = block(x, c)
            shift, scale = self.modulation(F.silu(c)).chunk(2, dim=1)
            x = adaptive_norm(x, shift, scale)
        else:
            two = torch.stack([level, condition], dim=1)  # (batch, 2, dim)
            if self.way == "in context":
                x = torch.cat([x, two], dim=1)
            for block in self.blocks:
                x = block(x, two)
            x = self.norm(x[:, : len(self.positions)])
        return unpatchify(self.out(x), self.patch, self.size, self.size)


WAYS = {
    "adaLN-Zero": "scales, shifts and gates, the gates 0 at first",
    "adaLN": "the same network, its gates 1 at first",
    "cross-attention": "each block attends to two more tokens, t and y",
    "in context": "t and y are two tokens among those of the image",
}


@dataclass(frozen=True)
class ConditioningTrial:
    """The results of a trial.

    names: of the ways; the others are compared with the first.
    checkpoints: numbers of steps after which a run of that length ended.
    losses: on latents held out, the mean over levels, by way, seed and number of steps.
    weights: how many each way has.
    milliseconds: of a processor, a training step.
    seconds: of a processor, the whole trial.
    """

    names: list[str]
    checkpoints: list[int]
    losses: Float[Tensor, "ways seeds runs"]
    weights: list[int]
    milliseconds: list[float]
    seconds: float = 0.0

    @property
    def seeds(self) -> int:
        """How many seeds."""
        return self.losses.shape[1]

    def differences(self) -> tuple[Tensor, Tensor]:
        """Difference in loss to the first way, as `paired.differences` says."""
        return paired.differences(self.losses)

    def verdicts(self) -> list[list[str]]:
        """`better`, `worse` or `–` (no clear difference), a row for each way but the first."""
        return paired.verdicts(*self.differences())

    def table(self) -> str:
        """All numbers and the verdicts, as text."""
        wide = 1 + max(map(len, self.names))

        def line(name, cells):
            return f"{name:{wide}}" + "".join(f"{cell:>24}" for cell in cells)

        def several(mean, off, sign=""):
            return [f"{m:{sign}.4f} ± {o:.4f}" for m, o in zip(mean, off, strict=True)]

        lines = [f"loss on latents held out, mean ± spread over {self.seeds} seeds"]
        lines.append(line("", [f"{n} steps" for n in self.checkpoints] + ["weights", "ms a step"]))
        rows = zip(self.names, self.losses, self.weights, self.milliseconds, strict=True)
        for name, found, weights, ms in rows:
            cells = several(found.mean(0), found.std(0))
            lines.append(line(name, [*cells, f"{weights / 1000:.0f} k", f"{ms:.1f}"]))
        several_hold = f"{paired.SURE:.0%} of trials have all true values inside"
        lines += ["", f"less that of {self.names[0]}, seed by seed ({several_hold})"]
        rows = zip(self.names[1:], *self.differences(), self.verdicts(), strict=True)
        for name, mean, off, verdict in rows:
            words = zip(several(mean, off, "+"), verdict, strict=True)
            lines.append(line(name, [f"{cell} {word:>6}" for cell, word in words]))
        return "\n".join(lines)


def run(
    data: LatentData,
    held: LatentData,
    seeds: Sequence[int] = range(5),
    *,
    ways: Sequence[str] = tuple(WAYS),
    checkpoints: Sequence[int] = (150,),
    batch: int = 32,
    lr: float = 1e-2,
    progress: bool = True,
    **net,
) -> ConditioningTrial:
    """Train a small transformer for each seed in each way, and compare their losses.

    Args:
        data, held: latents to train on, and others.
        seeds: at least 2.
        ways: of the condition, from `WAYS`; the others are compared with the first.
        checkpoints: numbers of steps. Each is a run of its own, with a schedule of its own.
        batch, lr: of training.
        progress: whether to show a bar.
        net: options of `ConditionedTransformer`.
    """
    threads, start = torch.get_num_threads(), time.process_time()
    runs = list(itertools.product(range(len(ways)), range(len(seeds)), range(len(checkpoints))))
    with torch.random.fork_rng(devices=[]):  # layers draw weights that are replaced
        models = [ConditionedTransformer(ways[k], **(SMALL | net)) for k, _, _ in runs]

    def one(model, k, s, c):
        model.initialise(seeds[s])
        options = {"batch": batch, "lr": lr, "seed": seeds[s], "progress": False}
        before = time.thread_time()
        dit_trial.train(model, data, checkpoints[c], **options)
        return time.thread_time() - before, dit_trial.held_out_loss(model, held).mean()

    torch.set_num_threads(1)  # on matrices this small, more threads would only wait for each other
    try:
        with ThreadPoolExecutor(threads) as pool:
            jobs = [pool.submit(one, model, *at) for model, at in zip(models, runs, strict=True)]
            label = f"{len(jobs)} networks"
            for _ in tqdm(as_completed(jobs), label, len(jobs), disable=not progress):
                pass
    finally:
        torch.set_num_threads(threads)
    losses = torch.zeros(len(ways), len(seeds), len(checkpoints))
    spent, weights = [0.0] * len(ways), [0] * len(ways)
    for job, model, (k, s, c) in zip(jobs, models, runs, strict=True):
        seconds, losses[k, s, c] = job.result()
        spent[k] += seconds
        weights[k] = sum(p.numel() for p in model.parameters())
    done = len(seeds) * sum(checkpoints)
    return ConditioningTrial(
        names=list(ways),
        checkpoints=list(checkpoints),
        losses=losses,
        weights=weights,
        milliseconds=[1000 * s / done for s in spent],
        seconds=time.process_time() - start,
    )
