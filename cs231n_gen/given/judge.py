"""The judge: a small classifier trained on real garments, used to rate generated ones.

Trained by `data/train_judge.py`; it never sees a generated image.
"""

from functools import cache

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen.given.data import data_file
from cs231n_gen.given.metrics import frechet_distance

BATCH = 500


class Judge(nn.Module):
    """A convolutional classifier of 16×16 garments.

    Its features are the 128 activations before the last layer, as they are.
    """

    def __init__(self, width: int = 32, features: int = 128, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in (width, 2 * width, 2 * width))
        self.hidden = nn.Linear(2 * width * 16, features)
        self.norm = nn.BatchNorm1d(features)
        self.out = nn.Linear(features, classes)
        self.dropout = nn.Dropout(0.2)

    def features(self, x: Float[Tensor, "batch 1 16 16"]) -> Float[Tensor, "batch features"]:
        """The activations before the last layer."""
        h = F.max_pool2d(F.relu(self.norms[0](self.conv1(x))), 2)  # (batch, width, 8, 8)
        h = F.relu(self.norms[1](self.conv2(h)))
        h = F.max_pool2d(F.relu(self.norms[2](self.conv3(h))), 2)  # (batch, 2 width, 4, 4)
        return F.relu(self.norm(self.hidden(self.dropout(h.flatten(1)))))

    def forward(self, x: Float[Tensor, "batch 1 16 16"]) -> Float[Tensor, "batch classes"]:
        return self.out(self.dropout(self.features(x)))


@cache
def load_judge() -> Judge:
    """The trained judge, ready to use.

    Raises:
        DataError: if its weights are missing or damaged.
    """
    judge = Judge()
    judge.load_state_dict(load_file(data_file("judge.safetensors")))
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def features(x: Float[Tensor, "n 1 16 16"]) -> Float[Tensor, "n 128"]:
    """The judge's features of images in [−1, 1]."""
    _check_images(x)
    judge = load_judge()
    return torch.cat([judge.features(part.float().cpu()) for part in x.split(BATCH)])


@torch.no_grad()
def classify(x: Float[Tensor, "n 1 16 16"]) -> Int[Tensor, "n"]:
    """The most likely class of each image."""
    _check_images(x)
    judge = load_judge()
    return torch.cat([judge(part.float().cpu()).argmax(1) for part in x.split(BATCH)])


def class_accuracy(x: Float[Tensor, "n 1 16 16"], y: Int[Tensor, "n"]) -> float:
    """The share of images that the judge assigns to the class asked for.

    Raises:
        ValueError: if x are not 16×16 images, or y is not one class for each.
    """
    if y.shape != x.shape[:1]:
        raise ValueError(f"y must be one class an image, {len(x)} in all, got {tuple(y.shape)}")
    return float((classify(x) == y.cpu()).double().mean())


def frechet(x: Float[Tensor, "n 1 16 16"], reference: Float[Tensor, "m 1 16 16"]) -> float:
    """The Fréchet distance between two sets of images in the judge's features.

    Raises:
        ValueError: if they are not 16×16 images.
    """
    return frechet_distance(features(x), features(reference))


def _check_images(x: Tensor) -> None:
    if x.shape[1:] != (1, 16, 16):
        raise ValueError(f"the judge takes images (n, 1, 16, 16), got {tuple(x.shape)}")
