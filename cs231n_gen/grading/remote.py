"""The remote back of the `student` object: the same calls, answered by a child in the jail.

What a test passes in goes over the wire as plain values and tensors; its functions stay here, and
the child calls back. What comes is checked, and believed to be nothing but the student's answer.
"""

import time
from collections.abc import Callable, Mapping
from typing import NoReturn

import torch
from torch import Tensor

from cs231n_gen.checking.expect import PropertyFailed
from cs231n_gen.checking.student import Object, Student, StudentError
from cs231n_gen.grading.answers import (
    CannotLoad,
    Lost,
    call,
    capped,
    detached,
    first_line,
    student_error,
    writable,
)
from cs231n_gen.grading.jail import box, values, wire
from cs231n_gen.grading.jail.limits import Limits

MOST_CALLBACKS = 20_000  # of one call: a sampler of 100 steps asks 100 times


class RemoteStudent(Student):
    """A student in a child of the jail.

    Args:
        child: a fresh child.
        job: its first frame: files, modules, exercise.
        limits: of the child. Only the time in which the child is waited for counts.
    Raises:
        CannotLoad: if the student's module does not import.
        Lost: if the child ends or hangs while it does.
        box.JailBroken: if it could not be locked in.
    """

    def __init__(self, child: box.Child, job: Mapping, limits: Limits):
        super().__init__({})
        self._child, self._limits = child, limits
        self._left = limits.wall
        self._depth = 0  # a test's function that the child calls may call the child
        self._seed: int | None = None
        self._functions: list[Callable] = []
        self._generators: dict[int, torch.Generator] = {}
        self._refusal: BaseException | None = None
        self.lost = ""
        self.output = ""
        self._send({**job, "limits": limits.to_json()}, [])
        locked = self._receive().header
        if locked.get("op") != "locked":
            raise box.JailBroken(f"a child could not be locked in: {locked.get('says')}")
        loaded = self._receive().header
        if loaded.get("op") == "cannot load" and isinstance(loaded.get("says"), str):
            raise CannotLoad(capped(loaded["says"], "text"))
        if loaded.get("op") != "loaded":
            self._lose("sent something that is no answer")

    def begin(self, seed: int) -> None:
        """Begin a property: its random numbers, its output, its functions."""
        self._seed, self.output, self._refusal = seed, "", None
        self._functions.clear()

    def recording(self, on_result: Callable[[object], None]) -> "RemoteStudent":
        """The same student: whose every result is now told to `on_result`."""
        self._on_result = on_result
        return self

    def new(self, name: str, *args, **kwargs) -> "RemoteObject":
        """Make an object in the child."""
        return self._ask("new", name, args, kwargs)

    def gradient(self, name: str, *args, wrt: list, **kwargs) -> list:
        """Gradients of the (summed) result of a function, computed in the child."""
        return self._ask("gradient", name, args, {**kwargs, "wrt": wrt})

    def _run_function(self, name: str, args: tuple, kwargs: dict):
        return self._ask("call", name, args, kwargs)

    def _ask(self, what: str, name: str, args: tuple, kwargs: dict, number: int = 0):
        """One call to the child, and what comes of it."""
        if self.lost:
            raise Lost(self.lost)
        if not self._depth:
            self._generators.clear()
        writer = values.Writer(self._outgoing)
        request = {"op": what, "name": name, "args": writer(list(args)), "kwargs": writer(kwargs)}
        if number:
            request["object"] = number
        if self._seed is not None:
            request["seed"], self._seed = self._seed, None
        self._send(request, writer.tensors)
        self._depth += 1
        try:
            result = self._wait()
        except StudentError as error:
            if self._refusal:
                refusal, self._refusal = self._refusal, None
                raise refusal from None
            self._on_result(error)
            raise
        finally:
            self._depth -= 1
        if self._refusal:
            refusal, self._refusal = self._refusal, None
            raise refusal
        self._on_result(result)
        return result

    def _wait(self):
        """Serve the child's calls until it has an answer."""
        for _ in range(MOST_CALLBACKS):
            frame = self._receive()
            try:
                header, read = frame.header, values.Reader(frame, self._incoming)
                self._take_states(header.get("generators", []), read)
                if header["op"] == "callback":
                    wanted = header["function"], read(header["args"]), read(header["kwargs"])
                elif header["op"] == "result":
                    self._take_output(header)
                    return read(header["value"])
                elif header["op"] == "error":
                    self._take_output(header)
                    raise student_error(header)
                else:
                    raise wire.BadFrame("an answer of no kind")
            except (wire.BadFrame, KeyError, TypeError, ValueError, AttributeError, RuntimeError):
                self._lose("sent something that is no answer")
            self._serve(*wanted)
        return self._lose(f"asked the model more than {MOST_CALLBACKS} times in one call")

    def _serve(self, number: object, args: object, kwargs: object) -> None:
        """Call a function of the test's for the child."""
        writer = values.Writer(self._outgoing)
        try:
            function = self._function(number)
            value = writer(detached(call(function, args, kwargs)))
        except Lost:
            raise
        except AssertionError as verdict:
            if isinstance(verdict, PropertyFailed):
                self._refusal = self._refusal or verdict
            said = {"op": "raise", "kind": "RuntimeError", "text": "the model refused this"}
            return self._send(said, [])
        except Exception as error:
            said = {"op": "raise", "kind": type(error).__name__, "text": first_line(error)}
            return self._send(said, [])
        states = [[i, writer.tensor(g.get_state())] for i, g in self._generators.items()]
        return self._send({"op": "answer", "value": value, "generators": states}, writer.tensors)

    def _function(self, number: object) -> Callable:
        if type(number) is not int or not 0 <= number < len(self._functions):
            raise TypeError("this function was lent for an earlier test")
        return self._functions[number]

    def _outgoing(self, value: object, writer: values.Writer) -> dict:
        if isinstance(value, RemoteObject):
            return {"o": value.number}
        if isinstance(value, torch.Generator):
            number = next((n for n, g in self._generators.items() if g is value), None)
            if number is None:
                number = len(self._generators) + 1
                self._generators[number] = value
            return {"g": [number, writer.tensor(value.get_state())]}
        if callable(value):
            known = (n for n, f in enumerate(self._functions) if f is value)
            number = next(known, len(self._functions))
            if number == len(self._functions):
                self._functions.append(value)
            return {"f": number}
        raise wire.CannotSend(f"a test passed {type(value).__name__}, which cannot be sent")

    def _incoming(self, tag: str, content: object, read: values.Reader):
        if tag == "o":
            number, kind = content
            if type(number) is not int or not isinstance(kind, str):
                raise wire.BadFrame("an object that is none")
            return RemoteObject(self, number, kind[:200])
        if tag == "f":
            return self._function(content)
        if tag == "g":
            number, state = content
            self._take_states([[number, state]], read)
            return self._generators[number]
        raise wire.BadFrame(f"a value tagged {tag!r}")

    def _take_states(self, states: object, read: values.Reader) -> None:
        for number, state in states:
            if type(number) is not int or len(self._generators) > 100:
                raise wire.BadFrame("a generator that is none")
            if number not in self._generators:
                self._generators[number] = torch.Generator()
            self._generators[number].set_state(read.tensor(state))

    def _take_output(self, header: dict) -> None:
        output = header.get("output", "")
        if not isinstance(output, str):
            raise wire.BadFrame("an output that is none")
        self.output = writable(output[: self._limits.output])

    def _send(self, header: dict, tensors: list[Tensor]) -> None:
        try:
            self._child.channel.send(header, tensors, time.monotonic() + max(self._left, 1.0))
        except TimeoutError:
            self._lose_time()
        except wire.Closed:
            self._lose_child()

    def _receive(self) -> wire.Frame:
        begun = time.monotonic()
        try:
            return self._child.channel.receive(begun + self._left)
        except TimeoutError:
            return self._lose_time()
        except wire.Closed:
            return self._lose_child()
        except wire.BadFrame:
            return self._lose("sent something that is no answer")
        finally:
            self._left -= time.monotonic() - begun

    def end(self) -> box.End:
        """End the child."""
        return self._child.end()

    def _lose_time(self) -> NoReturn:
        self._lose(f"took more than {self._limits.wall:g} seconds")

    def _lose_child(self) -> NoReturn:
        self._lose("ended")

    def _lose(self, how: str) -> NoReturn:
        self.lost = how
        raise Lost(how)


class RemoteObject(Object):
    """Something that lives in the child."""

    def __init__(self, student: RemoteStudent, number: int, kind: str):
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
