"""Networks that are used and not trained: in eval mode, without a graph. Given."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen(net: nn.Module) -> Iterator[nn.Module]:
    """Use a network as it is: `with frozen(encoder): …`.

    Inside, every part of it is in eval mode, so batch norms use their running statistics and
    dropout is off, and nothing records a graph. Afterwards each part is in the mode it was in.
    """
    modes = [(part, part.training) for part in net.modules()]
    try:
        net.eval()
        with torch.no_grad():
            yield net
    finally:
        for part, mode in modes:
            part.training = mode
