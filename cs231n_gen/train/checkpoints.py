"""Checkpoints: folders that are there whole or not at all, of which the last two are kept."""

import os
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cs231n_gen.train.errors import TrainingError

KEPT = 2
FOLDER = re.compile(r"step-(\d+)")
Weights = dict[str, Tensor]


def save(folder: Path, step: int, weights: Weights, average: Weights, state: dict) -> Path:
    """Write a checkpoint and remove those before the previous one.

    Everything is written into a draft beside the others and brought to the disk. Only then does
    the draft get its name, in one go: a process that dies on the way leaves the others as they are.

    Args:
        folder: of all checkpoints of a run.
        step: how many steps were done.
        weights, average: of the network, as they are and averaged: `model.safetensors` and
            `ema.safetensors`.
        state: all else, in `training.pt`: tensors, numbers, strings, lists and dicts.
    Returns:
        The folder of this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, draft = folder / f"step-{step:08d}", folder / f"step-{step:08d}.part"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        for name, tensors in (("model", weights), ("ema", average)):
            path = draft / f"{name}.safetensors"
            save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, path)
        torch.save({**state, "step": step}, draft / "training.pt")
        for path in [*draft.iterdir(), draft]:
            _to_disk(path)
        if target.exists():  # the run was taken up from an older one, this one being damaged
            shutil.rmtree(target)
        os.rename(draft, target)
        _to_disk(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for old in found(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load(path: Path) -> tuple[Weights, Weights, dict]:
    """A checkpoint's weights, averaged weights and state; nothing in it is executed."""
    state = torch.load(path / "training.pt", map_location="cpu", weights_only=True)
    return load_file(path / "model.safetensors"), load_file(path / "ema.safetensors"), state


def newest(folder: Path) -> Path:
    """The newest checkpoint that can be read.

    Raises:
        TrainingError: if there is none.
    """
    for path in reversed(found(folder)):
        try:
            load(path)
        except Exception:  # whatever a damaged file leads to: the one before is as good
            continue
        return path
    raise TrainingError(f"there is no checkpoint to go on from in {folder}; leave --resume out")


def found(folder: Path) -> list[Path]:
    """The folders of all checkpoints, the oldest first, without drafts."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if FOLDER.fullmatch(p.name))


def _to_disk(path: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
