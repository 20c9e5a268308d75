"""Networks that are used and not trained. Given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call


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


def fixed(net: nn.Module) -> Callable[..., Tensor]:
    """The network as a function whose weights get no gradient, though its inputs do.

    It is called as `net` is, in the mode that `net` is in, and follows its weights as they change.
    """

    def called(*args: Tensor) -> Tensor:
        return functional_call(net, {name: p.detach() for name, p in net.named_parameters()}, args)

    return called
