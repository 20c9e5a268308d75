"""What codes of garments look like, and which ones a prior expects (slides 120–121). Given."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cs231n_gen.autoregressive import Prior
from cs231n_gen.experiments import codes_trial
from cs231n_gen.experiments.codes_trial import SIDE, Tokenizer
from cs231n_gen.given.data import Images
from cs231n_gen.given.frozen import frozen

PATCH = 4  # pixels of a code, along a side
SEEN = 600  # garments whose patches show what codes look like


@dataclass(frozen=True)
class CodeMaps:
    """Garments as codes, for the figure `CodeLab`.

    grids: their codes, row by row.
    looks: what each code looks like: the mean of what it was decoded to, in [−1, 1].
    chances: p(x_t = k | x_1, …, x_{t−1}, y) of every code k at every place t, or None.
    """

    grids: Int64[Tensor, "examples 64"]
    looks: Float[Tensor, "codes 4 4"]
    chances: Float[Tensor, "examples 64 codes"] | None


def look(
    tokenizer: Tokenizer,
    prior: Prior | None,
    images: Images,
    some: Int64[Tensor, "examples"],
) -> CodeMaps:
    """Take some garments apart into codes, and ask a prior how likely each of them was.

    Args:
        tokenizer: from images to codes and back.
        prior: over its codes, used as `frozen` says, with the classes of the garments; or None.
        images: garments. The first 600 show what codes look like; a code that none of them has
            shows the patch in the middle of a grid that holds nothing else.
        some: which of them are taken apart.
    """
    grids = codes_trial.encode(tokenizer, images.x[some])
    if prior is None:
        return CodeMaps(grids, looks_of(tokenizer, images.x[:SEEN]), None)
    with frozen(prior):
        chances = prior(grids, images.y[some]).softmax(-1)
    return CodeMaps(grids, looks_of(tokenizer, images.x[:SEEN]), chances)


def looks_of(tokenizer: Tokenizer, x: Float[Tensor, "n 1 32 32"]) -> Float[Tensor, "codes 4 4"]:
    """The mean patch that each code was decoded to in these images; see `look` for the others."""
    index = codes_trial.encode(tokenizer, x)
    K = len(tokenizer.book.codes)
    patches = _patches(codes_trial.decode(tokenizer, index)).flatten(0, 1)
    count = torch.bincount(index.flatten(), minlength=K)
    sums = patches.new_zeros(K, PATCH, PATCH).index_add(0, index.flatten(), patches)
    looks = sums / count.clamp(min=1)[:, None, None]
    missing = (count == 0).nonzero()[:, 0]
    if len(missing):
        alone = codes_trial.decode(tokenizer, missing[:, None].expand(-1, SIDE**2))
        looks[missing] = _patches(alone)[:, SIDE**2 // 2 + SIDE // 2]
    return looks


def _patches(
    x: Float[Tensor, "n 1 32 32"],
) -> Float[Tensor, "n 64 4 4"]:
    """The patch of each code, row by row."""
    return x[:, 0].unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).flatten(1, 2)
