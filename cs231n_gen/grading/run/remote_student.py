"""The remote back of the `student` object: the same calls, answered by a child in the jail.

What a test passes in is sent as plain values and tensors; its functions stay here, and
the child calls back. Every reply is checked, and taken to be nothing but the student's answer.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import NoReturn

import torch
from torch import Tensor

from cs231n_gen.checking import compiled_launches, shared_properties
from cs231n_gen.checking.effects import MOST_NOTES
from cs231n_gen.checking.errors import PropertyFailed, StudentError
from cs231n_gen.checking.student import Student
from cs231n_gen.given import processes
from cs231n_gen.grading.jail import sandbox
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.jail.protocol import frames, values
from cs231n_gen.grading.jail.protocol.generators import Generators
from cs231n_gen.grading.jail.protocol.tensors import Packed
from cs231n_gen.grading.run.remote_object import RemoteObject
from cs231n_gen.grading.run.replies import CannotLoad, ChildFailed, capped, student_error, writable
from cs231n_gen.grading.run.serve_callbacks import Graph, call, detached, first_line

MOST_CALLBACKS = 20_000  # of one call: a sampler of 100 steps asks 100 times
MOST_GRAPHS = 1000  # that are kept in one test


class RemoteStudent(Student):
    """A student in a child of the jail.

    Args:
        child: a fresh child.
        task: its first frame: files, modules, exercise.
        limits: of the child. Only the time in which the child is waited for counts.
    Raises:
        CannotLoad: if the student's module does not import.
        ChildFailed: if the child ends or hangs while it does.
        sandbox.JailBroken: if it could not be locked in.
    """

    def __init__(self, child: sandbox.Child, task: Mapping, limits: Limits):
        super().__init__({})
        self._child, self._limits, self._files = child, limits, task["files"]
        self._wall = self._left = limits.wall
        self._depth = 0  # a test's function that the child calls may call the child
        self._seed: int | None = None
        self._functions: list[Callable] = []
        self._graphs: list[Graph] = []
        self._generators = Generators(1)
        self._refusal: BaseException | None = None
        self.failure = ""
        self.output = ""
        self._send({**task, "limits": limits.to_json()})
        locked = self._receive().header
        if locked.get("op") != "locked":
            raise sandbox.JailBroken(f"a child could not be locked in: {locked.get('says')}")
        self._hear_of_loading()

    def load(self, task: Mapping, wall: float) -> None:
        """Go on with another exercise of the same submission.

        Args:
            job: as the first one; its files are those that the child has.
            wall: seconds for it.
        Raises:
            CannotLoad, ChildFailed: as at the beginning.
        """
        self._wall = self._left = wall
        self._child.channel.renew(self._limits.answers)
        self._send({"op": "load", "exercise": task["exercise"], "modules": task["modules"]})
        self._hear_of_loading()

    def _hear_of_loading(self) -> None:
        loaded = self._receive().header
        if loaded.get("op") == "cannot load" and isinstance(loaded.get("says"), str):
            raise CannotLoad(capped(loaded["says"], "text"))
        if loaded.get("op") != "loaded":
            self._fail("sent a malformed reply")

    def begin(self, seed: int) -> None:
        """Begin a property: its random numbers, its output, its functions."""
        self._seed, self.output, self._refusal = seed, "", None
        self._functions.clear()
        self._graphs.clear()
        self.forget()

    def recording(self, on_result: Callable[[object], None]) -> "RemoteStudent":
        """The same student: whose every result is now told to `on_result`."""
        self._on_result = on_result
        return self

    def function(self, name: str) -> "RemoteObject":
        """A function in the child, to be passed on to another one there."""
        return self._ask("function", name, (), {})

    def new(self, name: str, *args, **kwargs) -> "RemoteObject":
        """Make an object in the child."""
        return self._ask("new", name, args, kwargs)

    def gradient(self, name: str, *args, wrt: list, **kwargs) -> list:
        """Gradients of the (summed) result of a function, computed in the child."""
        return self._ask("gradient", name, args, {**kwargs, "wrt": wrt})

    def compiled(self, launches: object, wide: bool = True) -> list[list[str]]:
        """What the GPU's compiler says, in a sandbox of its own."""
        return compiled_launches.problems(
            launches, partial(self._child.sandbox.compile, self._files), wide
        )

    def _run_function(self, name: str, args: tuple, kwargs: dict):
        return self._ask("call", name, args, kwargs)

    def _ask(self, what: str, name: str, args: tuple, kwargs: dict, number: int = 0):
        """One call to the child, and its result."""
        if self.failure:
            raise ChildFailed(self.failure)
        if not self._depth:
            self._generators.clear()
        writer = values.Writer(self._outgoing)
        request = {"op": what, "name": name, "args": writer(list(args)), "kwargs": writer(kwargs)}
        request |= self._generators.states(writer)
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
                self._generators.take(header, read)
                op = header["op"]
                if op == "callback":
                    serve = self._called, header["function"], self._arguments(header, read)
                elif op == "pull":
                    serve = self._pulled, header["function"], read(header["gradients"])
                elif op == "result":
                    self._take_remarks(header)
                    return read(header["value"])
                elif op == "error":
                    self._take_remarks(header)
                    raise student_error(header)
                else:
                    raise frames.BadFrame(f"unknown operation {op!r}")
            except (frames.BadFrame, KeyError, TypeError, ValueError, AttributeError, RuntimeError):
                self._fail("sent a malformed reply")
            self._serve(*serve)
        return self._fail(f"asked the model more than {MOST_CALLBACKS} times in one call")

    @staticmethod
    def _arguments(header: dict, read: values.Reader) -> tuple:
        args, kwargs = read(header["args"]), read(header["kwargs"])
        return args, kwargs, read(header["wanted"]) if "wanted" in header else None

    def _serve(self, answer: Callable, number: object, given: object) -> None:
        """Do what the child asks for: call a function of the test's, or differentiate one."""
        writer = values.Writer(self._outgoing)
        try:
            value = writer(answer(number, given))
        except ChildFailed:
            raise
        except AssertionError as verdict:
            if isinstance(verdict, PropertyFailed):
                self._refusal = self._refusal or verdict
            said = {"op": "raise", "kind": "RuntimeError", "text": "the model refused this"}
            return self._send(said)
        except Exception as error:
            said = {"op": "raise", "kind": type(error).__name__, "text": first_line(error)}
            return self._send(said)
        said = {"op": "answer", "value": value} | self._generators.states(writer)
        return self._send(said, writer.tensors)

    def _called(self, number: object, given: tuple):
        function = self._function(number)
        args, kwargs, wanted = given
        if wanted is None:
            return detached(call(function, args, kwargs))
        if len(self._graphs) >= MOST_GRAPHS:
            raise RuntimeError(f"gradients were asked for more than {MOST_GRAPHS} calls")
        graph = Graph.of(function, args, kwargs, wanted)
        self._graphs.append(graph)
        return detached(graph.value), len(self._graphs) - 1

    def _pulled(self, number: object, gradients: object) -> list[Tensor | None]:
        if type(number) is not int or not 0 <= number < len(self._graphs):
            raise TypeError("this was called in an earlier test")
        return self._graphs[number].pull(gradients)

    def _function(self, number: object) -> Callable:
        if type(number) is not int or not 0 <= number < len(self._functions):
            raise TypeError("this function belongs to an earlier test")
        return self._functions[number]

    def _outgoing(self, value: object, writer: values.Writer) -> dict:
        if isinstance(value, RemoteObject):
            return {"o": value.number}
        if isinstance(value, torch.Generator):
            return self._generators.tagged(value)
        if (kind := processes.KINDS.get(type(value).__name__)) is type(value):
            parts = [self._outgoing(getattr(value, f.name), writer) for f in fields(kind)]
            return {"p": [kind.__name__, *parts]}
        if callable(value):
            known = (n for n, f in enumerate(self._functions) if f is value)
            number = next(known, len(self._functions))
            if number == len(self._functions):
                self._functions.append(value)
            return {"f": number}
        raise frames.CannotSend(f"a test passed {type(value).__name__}, which cannot be sent")

    def _incoming(self, tag: str, content: object, read: values.Reader):
        if tag == "o":
            number, kind = content
            if type(number) is not int or not isinstance(kind, str):
                raise frames.BadFrame("malformed object")
            return RemoteObject(self._ask, number, kind[:200])
        if tag == "f":
            return self._function(content)
        if tag == "g":
            return self._generators.of(content)
        raise frames.BadFrame(f"unknown tag {tag!r}")

    def _take_remarks(self, header: dict) -> None:
        """What comes with a result: what was printed, and what calls did beside returning it."""
        notes = shared_properties.as_notes(header.get("notes", []))
        self.notes += notes[: MOST_NOTES - len(self.notes)]
        output = header.get("output", "")
        if not isinstance(output, str):
            raise frames.BadFrame("malformed output")
        self.output = writable(output[: self._limits.output])

    def _send(self, header: dict, tensors: Sequence[Packed] = ()) -> None:
        try:
            self._child.channel.send(header, tensors, time.monotonic() + max(self._left, 1.0))
        except TimeoutError:
            self._time_out()
        except frames.Closed:
            self._fail("ended")

    def _receive(self) -> frames.Frame:
        begun = time.monotonic()
        try:
            return self._child.channel.receive(begun + self._left)
        except TimeoutError:
            return self._time_out()
        except (frames.Closed, frames.BadFrame) as error:
            ended = isinstance(error, frames.Closed)
            return self._fail("ended" if ended else "sent a malformed reply")
        finally:
            self._left -= time.monotonic() - begun

    def end(self) -> sandbox.ChildExit:
        """End the child."""
        return self._child.end()

    def _time_out(self) -> NoReturn:
        self._fail(f"took more than {self._wall:g} seconds")

    def _fail(self, how: str) -> NoReturn:
        self.failure = how
        raise ChildFailed(how)
