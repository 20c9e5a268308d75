"""Functions of a test that student code can call: the call goes to the grader, and so does the
gradient."""

import functools
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.autograd import forward_ad


class Asking(Protocol):
    """The end of a conversation that can put questions to the grader."""

    def ask(self, op: str, number: int, **more: Any) -> Any:
        """Have the grader call function `number`, or take its gradient."""

    def ask_plainly(self, number: int, tensors: tuple[Tensor, ...]) -> Any:
        """The same for a call whose arguments are tensors only."""


class Callback:
    """A function of the grader's that student code can call, and differentiate."""

    def __init__(self, host: Asking, number: int):
        self._host, self._number = host, number

    def __call__(self, *args, **kwargs):
        """Ask the grader."""
        if _functorch.peek_interpreter_stack() is None:
            return self._ask(args, kwargs)
        args, kwargs = tuple(map(beneath, args)), {k: beneath(v) for k, v in kwargs.items()}
        with temporarily_clear_interpreter_stack():
            return self._ask(args, kwargs)

    def _ask(self, args: tuple, kwargs: dict):
        plain = not kwargs
        for given in (*args, *kwargs.values()):
            if not isinstance(given, Tensor):
                plain = False
            elif given.requires_grad and torch.is_grad_enabled():
                every = [*args, *kwargs.values()]
                return _Tracked.apply(self._host, self._number, tuple(kwargs), *every)
        if plain:
            return self._host.ask_plainly(self._number, args)
        return self._host.ask("callback", self._number, args=[*args], kwargs=kwargs)


def beneath(value: object) -> object:
    """A value as it is beneath `torch.func`, which wraps every tensor that is made inside.

    Raises:
        TypeError: if a derivative by it is asked for, or it stands for a batch: the grader knows
            nothing of either.
    """
    while isinstance(value, Tensor) and _functorch.is_functorch_wrapped_tensor(value):
        if _functorch.is_batchedtensor(value) or _differentiated(value):
            raise TypeError(
                "torch.func can neither differentiate nor batch a function of the test's own: "
                "torch.autograd.grad differentiates it"
            )
        value = _functorch.get_unwrapped(value)
    return value


def _differentiated(value: Tensor) -> bool:
    return value.requires_grad or forward_ad.unpack_dual(value, level=0).tangent is not None


class _Tracked(torch.autograd.Function):
    """A call whose gradient the grader computes, too: it holds the graph."""

    @staticmethod
    def forward(ctx, host: Asking, number: int, names: tuple[str, ...], *given):
        at = len(given) - len(names)
        ctx.host, ctx.wanted = host, [i for i, w in enumerate(ctx.needs_input_grad[3:]) if w]
        args, kwargs = [*given[:at]], dict(zip(names, given[at:], strict=True))
        value, ctx.graph = host.ask("callback", number, args=args, kwargs=kwargs, wanted=ctx.wanted)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        found = ctx.host.ask("pull", ctx.graph, gradients=[*gradients])
        every = dict(zip(ctx.wanted, found, strict=True))
        return None, None, None, *(every.get(i) for i in range(len(ctx.needs_input_grad) - 3))


@functools.lru_cache(64)
def plain_call(number: int, count: int) -> str:
    """The header of a call whose arguments are `count` tensors."""
    args = ",".join(f'{{"t":{place}}}' for place in range(count))
    return f'"op":"callback","function":{number},"args":[{args}],"kwargs":{{"d":[]}}'
