"""What a run trains on: the course's garments, their latents, or a folder of one's own images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from cs231n_gen.given.data import CLASS_NAMES, fashion_mnist
from cs231n_gen.given.frozen import frozen
from cs231n_gen.train.errors import BadOption, TrainingError
from cs231n_gen.train.options import Options

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
NAMED = 3  # unreadable files that are named; of the others, how many there are


@dataclass(frozen=True)
class Examples:
    """Images or latents with their classes.

    Args:
        x: all of them, as bytes (0–255) or as the numbers that the network sees.
        y: their classes, from 0.
        classes: their names.
        to_images: from what the network returns to images in [−1, 1].
    """

    x: Shaped[Tensor, "n channels size size"]
    y: Int[Tensor, "n"]
    classes: list[str]
    to_images: Callable[[Tensor], Tensor] = lambda x: x

    def some(self, index: Int[Tensor, "some"]) -> Float[Tensor, "some channels size size"]:
        """These examples as the network sees them; pixels in [−1, 1]."""
        x = self.x[index]
        return x if x.is_floating_point() else x.float() / 127.5 - 1


def load_examples(options: Options, progress: bool = False) -> Examples:
    """The examples that the options ask for.

    Raises:
        BadOption: if there is no such folder, or --size is given for another kind of data.
        TrainingError: if files of the folder cannot be read; it names them.
    """
    if options.data in ("garments", "latents"):
        if "size" in options.given:
            raise BadOption(f"--size is for a folder of images, {options.data} have a size already")
        x, y = fashion_mnist("train", 32)
        return Examples(x, y, CLASS_NAMES) if options.data == "garments" else _latents(x, y)
    return _folder(Path(options.data), options.size, progress)


def _latents(x: Tensor, y: Tensor) -> Examples:
    # here: garments alone need no autoencoder
    from cs231n_gen import latent
    from cs231n_gen.experiments.autoencoder_trial import load_autoencoder

    encoder, decoder, shift, scale = load_autoencoder()
    with frozen(encoder):
        u = torch.cat([latent.to_latent(encoder, some, shift, scale) for some in x.split(250)])

    def to_images(u: Tensor) -> Tensor:
        with frozen(decoder):
            return latent.from_latent(decoder, u.cpu(), shift, scale)

    return Examples(u, y, CLASS_NAMES, to_images)


def _folder(folder: Path, size: int, progress: bool) -> Examples:
    if not folder.is_dir():
        raise BadOption(f"--data must be garments, latents or a folder, and {folder} is no folder")
    groups = {p.name: _images_in(p) for p in sorted(folder.iterdir()) if p.is_dir()}
    groups = {name: paths for name, paths in groups.items() if paths}
    if not groups:
        raise BadOption(f"no subfolder of {folder} has an image: each is to hold those of a class")
    paths = [p for group in groups.values() for p in group]
    x = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    unreadable = []
    for i, path in enumerate(tqdm(paths, "images", disable=not progress)):
        try:
            with Image.open(path) as image:
                square = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (size, size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            unreadable.append(path)
        else:
            x[i] = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    if unreadable:
        named = ", ".join(p.relative_to(folder).as_posix() for p in unreadable[:NAMED])
        more = f" and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
        raise TrainingError(
            f"{len(unreadable)} of {len(paths)} images in {folder} cannot be read: {named}{more}; "
            "mend them, or take them out"
        )
    counts = torch.tensor([len(group) for group in groups.values()])
    return Examples(x, torch.arange(len(groups)).repeat_interleave(counts), list(groups))


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
