"""The run itself: the course's DiT and its loss, on one process or many."""

import json
import math
import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from tqdm import tqdm

from cs231n_gen import flow, guidance
from cs231n_gen.common.files import write_whole
from cs231n_gen.dit import DiT
from cs231n_gen.given.data import DataError
from cs231n_gen.given.training import EMA
from cs231n_gen.kernels.launch import switched_off
from cs231n_gen.train import checkpoints
from cs231n_gen.train.draws import draws, generator_of, indices
from cs231n_gen.train.errors import BadOption, TrainingError, leave, unfinished
from cs231n_gen.train.images import load_examples
from cs231n_gen.train.options import PROGRAM, Options
from cs231n_gen.train.processes import LostProcess, Processes
from cs231n_gen.train.results import Curve, write_grid

WARMUP = 100  # steps in which the learning rate rises
COLUMNS, SAMPLE_STEPS, WEIGHT = 8, 25, 1.0  # of the samples: images a class, Euler steps, guidance
MOST_ROWS = 10  # classes that are sampled
KERNELS = ("adaln", "attention", "gated_residual", "patchify")  # autocast knows torch's own lines


def run(options: Options) -> int:
    """Train as the options say; the exit status. Whatever goes wrong is told in one line."""
    processes = None
    try:
        processes = Processes()
        processes.share_of(options.batch)  # what is bad is said before anything is waited for
        training = Training(options, processes)
        return training.run()
    except LostProcess as lost:
        text = f"{lost}, so the run ends. {_last(options)}"
        return leave(text, 1, spoken=True) if processes.tells() else 1
    except NotImplementedError as error:
        return leave(unfinished(error), 1)
    except (TrainingError, DataError) as error:
        return leave(f"{PROGRAM} dit: {error}", getattr(error, "code", 1))
    except KeyboardInterrupt:
        return leave(f"Interrupted within a step. {_last(options)}", 130)


def _last(options: Options) -> str:
    """Which checkpoint is the newest whole one, and how to go on."""
    if not (kept := checkpoints.found(options.out / "checkpoints")):
        return "There is no checkpoint yet (--every says how often)."
    again = f"--resume --out {options.out}"
    return f"The last good checkpoint is {kept[-1]}: to go on, start again with {again}"


class Training:
    """A run: its network, optimiser and average, and how far it is.

    Args:
        options: of the run.
        processes: which take part.
    """

    def __init__(self, options: Options, processes: Processes):
        self.processes, self.folder = processes, options.out / "checkpoints"
        self.options = self._options(options)
        self.places = processes.share_of(self.options.batch)
        self.examples = load_examples(self.options, progress=processes.rank == 0)
        torch.manual_seed(self.options.seed)
        self.model = self._network().to(processes.device)
        self.average = EMA(self.model, self.options.ema)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=self.options.lr, betas=(0.9, 0.99), fused=True
        )
        self.step = 0
        with processes.watching():
            processes.join()
            if self.options.resume:
                self._take_up()
            model = torch.compile(self.model) if self.options.compile else self.model
            self.wrapped = processes.wrap(model)
        self.bf16 = self._computes_in_bf16()
        # One step on nothing: that it is not written yet had better be said now.
        guidance.sample(lambda x, t, y: x, torch.zeros(1, 1), 1, torch.zeros(1).long(), 0, WEIGHT)

    def _options(self, options: Options) -> Options:
        path = options.out / "options.json"
        if options.resume:
            if not path.is_file():
                raise BadOption(f"no run to resume in {options.out}: it has no options.json")
            try:
                return options.taken_up(json.loads(path.read_text(encoding="utf-8")))
            except ValueError as error:
                raise BadOption(str(error)) from error
        if checkpoints.found(self.folder):
            raise BadOption(
                f"{options.out} has a run already: go on with --resume, or choose another --out"
            )
        return options

    @property
    def null(self) -> int:
        """∅, one class more."""
        return len(self.examples.classes)

    def _network(self) -> DiT:
        o, x = self.options, self.examples.x
        if o.dim % o.heads or o.dim % 4:
            raise BadOption(
                f"--dim must be a multiple of 4 and of the {o.heads} heads, got {o.dim}"
            )
        if x.shape[-1] % o.patch:
            raise BadOption(f"--patch must divide the side of {x.shape[-1]}, got {o.patch}")
        return DiT(x.shape[-1], x.shape[1], o.patch, o.dim, o.depth, o.heads, self.null + 1)

    def _computes_in_bf16(self) -> bool:
        on_gpu = self.processes.device.type == "cuda"
        can = on_gpu and torch.cuda.is_bf16_supported()
        return can if self.options.bf16 is None else self.options.bf16

    # --- one step -------------------------------------------------------------------------------

    def run(self) -> int:
        """All steps from here; the exit status."""
        with self.processes.listening():
            return self._all_steps()

    def _all_steps(self) -> int:
        first = self.processes.rank == 0
        curve = None
        if first:
            kept = json.dumps(self.options.kept(), indent=2)
            write_whole(self.options.out / "options.json", kept + "\n")
            curve = Curve(self.options.out, self.step)
            print(self._introduction(), flush=True)
        before, began = curve.seconds() if curve else 0.0, time.perf_counter()
        with tqdm(
            total=self.options.steps,
            initial=self.step,
            desc="dit",
            mininterval=0.5,
            disable=not first,
        ) as bar:
            while self.step < self.options.steps:
                lr = self._set_learning_rate()
                with self.processes.watching():
                    loss, stops = self._one_step()
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"the loss is {loss} at step {self.step}: lower --lr. {_last(self.options)}"
                    )
                if first:
                    seconds = before + time.perf_counter() - began
                    curve.add(self.step, loss, lr, seconds)
                    bar.update()
                    if self.step % 20 == 0:
                        bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
                if stops or self.step % self.options.every == 0 or self.step == self.options.steps:
                    if first:
                        self._save(curve, samples=not stops)
                    if stops:
                        break
        if first:
            curve.close()
        self.processes.leave()
        return self._end()

    def _end(self) -> int:
        if self.step < self.options.steps:
            text = f"Stopped at step {self.step} of {self.options.steps}. {_last(self.options)}"
            return leave(text, 128 + (self.processes.stopped_by or 15))
        if self.processes.rank == 0:
            print(f"{self.step} steps are done; see {self.options.out}")
        return 0

    def _set_learning_rate(self) -> float:
        lr = self.options.lr * min(1.0, (self.step + 1) / WARMUP)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _one_step(self) -> tuple[float, bool]:
        """One gradient step: the mean loss over all processes, and whether the run is to stop."""
        o, device = self.options, self.processes.device
        index = indices(o.seed, self.step, self.places, o.batch, len(self.examples.y))
        x, y = self.examples.some(index), self.examples.y[index]
        z, t, y = draws(o.seed, self.step, self.places, x.shape[1:], y, self.null)
        x, z, t, y = (a.to(device) for a in (x, z, t, y))
        self.wrapped.train()
        with switched_off(*KERNELS), self._precision():
            L = flow.loss(self.wrapped, x, z, t, y)
        self.optimizer.zero_grad()
        L.backward()
        loss, stops = self.processes.mean(L)
        if math.isfinite(loss):  # else the weights stay as they are
            self.optimizer.step()
            self.average.update(self.model)
        self.step += 1
        return loss, stops

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.bf16)

    def _introduction(self) -> str:
        p, x = self.processes, self.examples.x
        weights = sum(w.numel() for w in self.model.parameters())
        shape = "×".join(map(str, (*x.shape[2:], x.shape[1])))
        return (
            f"DiT of {weights:,} weights; {len(x):,} examples of {shape} in {self.null} classes; "
            f"processes: {p.count} ({p.backend if p.distributed else 'alone'}, {p.device.type}), "
            f"each with {len(self.places)} of {self.options.batch} examples a step"
        )

    # --- what is kept ---------------------------------------------------------------------------

    def _save(self, curve: Curve, samples: bool) -> None:
        names = [name for name, _ in self.model.named_parameters()]
        average = dict(zip(names, self.average.weights, strict=True))
        state = {
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.average.steps,
            "random": torch.get_rng_state(),
        }
        try:
            curve.draw()
            checkpoints.save(self.folder, self.step, self.model.state_dict(), average, state)
            if samples:
                self._sample(self.options.out / "samples" / f"step-{self.step:08d}.png")
        except NotImplementedError:  # a RuntimeError, too
            raise
        except (OSError, SafetensorError, RuntimeError) as error:
            said = str(error).splitlines()[0]
            raise TrainingError(
                f"nothing could be written at step {self.step}: {said}. {_last(self.options)}"
            ) from error

    def _take_up(self) -> None:
        try:
            own = checkpoints.newest(self.folder) if self.processes.rank == 0 else None
        except TrainingError as error:
            own = error
        path = self.processes.from_first(own)
        if isinstance(path, TrainingError):
            raise path
        try:
            weights, average, state = checkpoints.load(path)
        except FileNotFoundError as error:
            raise TrainingError(
                f"{path} is missing on this machine: --out must be a folder that all machines share"
            ) from error
        self.model.load_state_dict(weights)
        self.average.weights = [
            average[name].to(self.processes.device) for name, _ in self.model.named_parameters()
        ]
        self.average.steps = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.step = state["step"]

    def _sample(self, path: Path) -> None:
        """Samples with the averaged weights, a class a row, by guidance."""
        weights = [p.detach().clone() for p in self.model.parameters()]
        rows = min(self.null, MOST_ROWS)
        y = torch.arange(rows).repeat_interleave(COLUMNS)
        z = torch.randn(len(y), *self.examples.x.shape[1:], generator=generator_of("samples"))
        device = self.processes.device
        self.average.copy_to(self.model)
        self.model.eval()
        try:
            with switched_off(*KERNELS), self._precision():
                x = guidance.sample(
                    self.model, z.to(device), SAMPLE_STEPS, y.to(device), self.null, WEIGHT
                )
        finally:
            with torch.no_grad():
                for p, own in zip(self.model.parameters(), weights, strict=True):
                    p.copy_(own)
        write_grid(path, self.examples.to_images(x.float()), COLUMNS)
