"""Something that lives in a child, as a test sees it."""

from collections.abc import Callable

from torch import Tensor

from cs231n_gen.checking.student import Object


class RemoteObject(Object):
    """Something that lives in the child.

    Args:
        ask: puts a request to the child: what to do, a name, args, kwargs, the object's number.
        number: of the object, there.
        kind: the name of its class.
    """

    def __init__(self, ask: Callable, number: int, kind: str):
        self._ask, self.number, self._kind = ask, number, kind

    @property
    def kind(self) -> str:
        """The name of its class."""
        return self._kind

    def __call__(self, *args, **kwargs):
        return self._ask("object.__call__", "", args, kwargs, self.number)

    def call(self, method: str, *args, **kwargs):
        """Call one of its methods."""
        return self._ask("object.call", method, args, kwargs, self.number)

    def get(self, attribute: str):
        """Read one of its attributes."""
        return self._ask("object.get", attribute, (), {}, self.number)

    def state(self) -> dict[str, Tensor]:
        """The weights of a module, by name."""
        return self._ask("object.state", "", (), {}, self.number)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put weights into a module."""
        self._ask("object.load", "", (weights,), {}, self.number)
