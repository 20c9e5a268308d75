"""Data of the course: real garments, and points in the plane whose density is known (`toys.py`)."""

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from cs231n_gen.common.paths import ROOT
from cs231n_gen.given.toys import TOYS, checkerboard, moons, pinwheel, ring, swiss_roll

__all__ = [
    "CLASS_NAMES",
    "TOYS",
    "Images",
    "checkerboard",
    "data_file",
    "fashion_mnist",
    "moons",
    "pinwheel",
    "ring",
    "swiss_roll",
]

CLASS_NAMES = [
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
]
SIZES = (16, 28, 32)
FOLDER = "CS231N_GEN_DATA"  # environment variable: the data folder, if not beside the package


class Images(NamedTuple):
    """Images in [−1, 1] and their classes."""

    x: Float[Tensor, "n 1 size size"]
    y: Int[Tensor, "n"]


class DataError(FileNotFoundError):
    """A file of the course's data is missing or damaged."""


def data_folder() -> Path:
    """Where the data are: beside the package, or where `CS231N_GEN_DATA` says."""
    return Path(os.environ.get(FOLDER) or ROOT / "data")


@cache
def data_file(name: str) -> Path:
    """The path of a data file, after comparing its sha256 with the one in `SHA256SUMS`.

    Raises:
        DataError: if it is missing or damaged; the message says which file it is and how to get it
            back.
    """
    folder = data_folder()
    path, sums = folder / name, folder / "SHA256SUMS"
    back = (
        "to get it back, unpack the course again, or `git checkout -- data` in a clone "
        f"(another folder: set {FOLDER})"
    )
    for needed in (sums, path):
        if not needed.is_file():
            raise DataError(f"{needed} is missing; {back}")
    known = dict(reversed(line.split()) for line in sums.read_text().splitlines())
    wanted = known.get(name, "none")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wanted:
        raise DataError(
            f"{path} is damaged: its sha256 is {found[:12]}…, expected {wanted[:12]}…; {back}"
        )
    return path


def fashion_mnist(split: str = "train", size: int = 28) -> Images:
    """Fashion-MNIST (Xiao et al. 2017): 12 000 training and 2 000 test images, equally many of each
    class.

    Args:
        split: `train` or `test`.
        size: 28 as published; 32 with a border of 2 background pixels; 16, the mean of each 2×2 of
            those.
    Returns:
        Images in [−1, 1] (background −1), and classes 0–9 named by `CLASS_NAMES`.
    Raises:
        ValueError: for another split or size.
        DataError: if the file is missing or damaged.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test, got {split!r}")
    if size not in SIZES:
        raise ValueError(f"size must be 16, 28 or 32, got {size!r}")
    with np.load(data_file("fashion_mnist.npz")) as arrays:
        pixels = torch.from_numpy(arrays[f"{split}_images"])
        y = torch.from_numpy(arrays[f"{split}_labels"]).long()
    x = pixels[:, None].float() / 127.5 - 1  # (n, 1, 28, 28)
    if size != 28:
        x = F.pad(x, (2, 2, 2, 2), value=-1.0)  # (n, 1, 32, 32)
    if size == 16:
        x = F.avg_pool2d(x, 2)
    return Images(x, y)
