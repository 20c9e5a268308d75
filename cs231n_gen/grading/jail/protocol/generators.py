"""Random generators that grader and child both have; with every message goes their state."""

import torch

from cs231n_gen.grading.jail.protocol import frames, values

MOST = 100


class Generators:
    """The generators of one call, by number.

    Args:
        sign: 1 or -1, of the numbers that this side gives, so that those of both never meet.
    """

    def __init__(self, sign: int):
        self._sign = sign
        self._known: dict[int, torch.Generator] = {}

    def clear(self) -> None:
        """Forget all: another call begins."""
        self._known.clear()

    def __bool__(self) -> bool:
        return bool(self._known)

    def tagged(self, generator: torch.Generator) -> dict:
        """A generator as a plain value."""
        for number, known in self._known.items():
            if known is generator:
                return {"g": number}
        number = self._sign * (len(self._known) + 1)
        self._known[number] = generator
        return {"g": number}

    def of(self, number: object) -> torch.Generator:
        """The generator of a number. Raises frames.BadFrame if it is unknown."""
        if type(number) is not int or number not in self._known:
            raise frames.BadFrame("unknown generator")
        return self._known[number]

    def states(self, writer: values.Writer) -> dict:
        """What a header says of them, after everything else is written."""
        if not self._known:
            return {}
        pairs = [f"[{n},{writer.tensor(g.get_state())}]" for n, g in self._known.items()]
        return {"generators": frames.JsonText(f"[{','.join(pairs)}]")}

    def take(self, header: dict, read: values.Reader) -> None:
        """Put them into the states that a header tells, before anything else is read.

        Raises:
            frames.BadFrame, TypeError, ValueError, RuntimeError: if these are malformed.
        """
        for number, place in header.get("generators", ()):
            if type(number) is not int or len(self._known) > MOST:
                raise frames.BadFrame("unknown generator")
            if number not in self._known:
                self._known[number] = torch.Generator()
            self._known[number].set_state(read.tensor(place))
