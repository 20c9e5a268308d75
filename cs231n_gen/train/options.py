"""Options of a run: what may be chosen, what it is if nobody chooses, and what `--help` says."""

import argparse
import math
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from cs231n_gen.train.errors import leave

PROGRAM = "python -m cs231n_gen.train"
MAY_CHANGE = {"out", "resume", "steps", "every", "bf16", "compile"}  # when a run is taken up again


@dataclass(frozen=True)
class Options:
    """The options of a run; `make_parser` says what each means.

    `given` holds the names of those that were written on the command line.
    """

    out: Path = Path("runs/dit")
    data: str = "garments"
    size: int = 32
    resume: bool = False
    steps: int = 2000
    batch: int = 64
    lr: float = 1e-3
    ema: float = 0.1
    seed: int = 0
    dim: int = 96
    depth: int = 4
    heads: int = 4
    patch: int = 2
    every: int = 200
    bf16: bool | None = None
    compile: bool = False
    given: frozenset[str] = frozenset()

    def kept(self) -> dict[str, object]:
        """What a checkpoint remembers: all that decides which numbers the run computes."""
        names = {f.name for f in fields(self)} - MAY_CHANGE - {"given"}
        return {name: getattr(self, name) for name in sorted(names)}

    def taken_up(self, kept: dict[str, object]) -> "Options":
        """These options for a run that goes on: what was not given is as it was.

        Raises:
            ValueError: if an option was given that differs from the run's own.
        """
        for name in sorted(self.given & kept.keys()):
            if getattr(self, name) != kept[name]:
                raise ValueError(
                    f"--{name} was {kept[name]} when this run began, got {getattr(self, name)}: "
                    f"leave it out, or begin another run with another --out"
                )
        return replace(self, **kept)


class OneLine(argparse.ArgumentParser):
    """A parser that says in one line what is wrong, once a machine."""

    def error(self, message: str):
        """End the program with status 2."""
        sys.exit(leave(f"{self.prog}: {message} (--help lists all options)", 2))

    def print_help(self, file=None):
        """The help, once under `torch.distributed.run` too."""
        if os.environ.get("RANK", "0") == "0":
            super().print_help(file)


def make_parser() -> argparse.ArgumentParser:
    """The command line of `python -m cs231n_gen.train`."""
    parser = OneLine(PROGRAM, description=__doc__, allow_abbrev=False)
    parser.description = "Train a network of the course for longer than a notebook does."
    networks = parser.add_subparsers(metavar="NETWORK", required=True, parser_class=OneLine)
    dit = networks.add_parser(
        "dit",
        help="the diffusion transformer of chapter 09, by rectified flow with classes",
        description=textwrap.dedent(
            f"""\
            Train dit.DiT by flow.loss: on one process, or on as many as you have.

              {PROGRAM} dit
              python -m torch.distributed.run --nproc-per-node 8 -m cs231n_gen.train dit

            Every process has a copy of the network and takes its share of each batch; then the
            gradients are averaged (DistributedDataParallel). Which images and which noise a step
            sees depends on the seed, the step and the place in the batch alone. So N processes
            follow the same loss curve as one, and a run that was broken off follows the curve of
            an unbroken one."""
        ),
        epilog="More, also on several machines: docs/training.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    default = Options()

    def add(name: str, kind: Callable | None, text: str, **more) -> None:
        value = getattr(default, name)
        shown = "" if value is None or value is False else f" ({value})"
        kind_of = {} if kind is None else {"type": kind}
        group.add_argument(f"--{name}", help=text + shown, **kind_of, **more)

    group = dit.add_argument_group("data and results")
    add(
        "data",
        str,
        "garments: the course's images, 32×32; latents: the same in the latents of chapter 08; or "
        "a folder of your own images, in which each subfolder is a class",
        metavar="WHAT",
    )
    add("size", whole, "side of the square that images of a folder are cut and scaled to")
    add("out", Path, "folder for checkpoints, samples and the loss curve", metavar="FOLDER")
    add(
        "resume",
        None,
        "go on from the newest checkpoint in --out; its options are kept, --steps may be raised",
        action="store_true",
    )
    group = dit.add_argument_group("training")
    add("steps", whole, "gradient steps, counted from the beginning of the run", metavar="N")
    add(
        "batch",
        whole,
        "examples a step, over all processes; their number must divide it, since the mean of "
        "unequal shares' gradients is not the gradient of the batch",
        metavar="N",
    )
    add("lr", positive, "learning rate, reached after 100 steps and constant from then on")
    add(
        "ema",
        not_negative,
        "samples come from an average of the weights over about the last EMA · steps; 0: no "
        "average",
    )
    add("seed", from_zero, "of the first weights, the order of the images and the noise")
    add("every", whole, "steps from one checkpoint to the next, each with samples", metavar="N")
    group = dit.add_argument_group("network (S of Peebles and Xie: dim 384, depth 12, heads 6)")
    add("dim", whole, "numbers of a token, a multiple of 4")
    add("depth", whole, "blocks")
    add("heads", whole, "heads of each attention, dividing dim")
    add("patch", whole, "side of a patch; half the side is 4 times as many tokens")
    group = dit.add_argument_group("speed")
    add(
        "bf16",
        None,
        "compute in bfloat16 where that is safe; by default on GPUs that can, not on CPUs "
        "(--no-bf16: never)",
        action=argparse.BooleanOptionalAction,
    )
    add("compile", None, "compile the network first (torch.compile)", action="store_true")
    return parser


def parse(arguments: Sequence[str]) -> Options:
    """The options on a command line; a bad one ends the program with one line and status 2."""
    given = vars(make_parser().parse_args(arguments))
    return replace(Options(), **given, given=frozenset(given))


def whole(text: str) -> int:
    """A whole number of at least 1."""
    return _number(text, int, lambda n: n >= 1, "a whole number of at least 1")


def from_zero(text: str) -> int:
    """A whole number of at least 0."""
    return _number(text, int, lambda n: n >= 0, "a whole number of at least 0")


def positive(text: str) -> float:
    """A finite number above 0."""
    return _number(text, float, lambda n: 0 < n < math.inf, "a number above 0")


def not_negative(text: str) -> float:
    """A finite number of at least 0."""
    return _number(text, float, lambda n: 0 <= n < math.inf, "a number of at least 0")


def _number(text: str, kind: type, fits: Callable[[float], bool], wanted: str):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not fits(value):
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
    return value
