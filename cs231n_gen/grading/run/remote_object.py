"""Something that lives in a child, as a test sees it."""

from typing import TYPE_CHECKING

from torch import Tensor

from cs231n_gen.checking.student import Object

if TYPE_CHECKING:
    from cs231n_gen.grading.run.remote_student import RemoteStudent


class RemoteObject(Object):
    """Something that lives in the child."""

    def __init__(self, student: "RemoteStudent", number: int, kind: str):
        self._student, self.number, self._kind = student, number, kind

    @property
    def kind(self) -> str:
        """The name of its class."""
        return self._kind

    def __call__(self, *args, **kwargs):
        return self._student._ask("object.__call__", "", args, kwargs, self.number)

    def call(self, method: str, *args, **kwargs):
        """Call one of its methods."""
        return self._student._ask("object.call", method, args, kwargs, self.number)

    def get(self, attribute: str):
        """Read one of its attributes."""
        return self._student._ask("object.get", attribute, (), {}, self.number)

    def state(self) -> dict[str, Tensor]:
        """The weights of a module, by name."""
        return self._student._ask("object.state", "", (), {}, self.number)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put weights into a module."""
        self._student._ask("object.load", "", (weights,), {}, self.number)
