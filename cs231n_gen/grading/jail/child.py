"""The life of one child: shut everything, load exercises of one submission, answer calls."""

import io
import os
import random
import sys
import threading
import traceback
from dataclasses import astuple

import numpy as np
import torch
from torch import Tensor

from cs231n_gen.checking import answer_cells
from cs231n_gen.checking.errors import StudentError
from cs231n_gen.checking.student import Object, Student
from cs231n_gen.given import processes
from cs231n_gen.grading.jail import lockdown, module_loader
from cs231n_gen.grading.jail.callbacks import Callback, plain_call
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.jail.lockdown import SUBMISSION
from cs231n_gen.grading.jail.protocol import frames, values
from cs231n_gen.grading.jail.protocol.generators import Generators


def live(channel: frames.Channel, uid: int | None, filter_program: bytes | None) -> None:
    """Take a job from the grader, then serve it until the grader hangs up."""
    try:
        task = channel.receive().header
        limits = Limits(**task["limits"])
        descriptor = channel.sock.fileno()
        if filter_program is None:
            lockdown.limit_only(limits, descriptor)
        else:
            lockdown.lock_in(task["files"], limits, descriptor, uid, filter_program)
    except BaseException as error:
        channel.send({"op": "broken", "says": f"{type(error).__name__}: {error}"})
        return
    channel.send({"op": "locked"})
    Host(channel, limits.output).serve(task)


class Host:
    """Answers the grader's calls by the in-process student.

    Args:
        channel: to the grader.
        output: characters kept of what is printed in one property.
    """

    def __init__(self, channel: frames.Channel, output: int):
        self.channel, self.output = channel, output
        self.objects: dict[int, Object] = {}
        self.generators = Generators(-1)
        self.depth = 0
        self.lock = threading.RLock()
        self.student = Student({})
        self.printed = _Capped(output)
        self.finder = module_loader.ModuleFinder({})

    def serve(self, task: dict) -> None:
        """Load, then answer until the grader hangs up."""
        sys.meta_path.insert(0, self.finder)
        self._load(task)
        while True:
            try:
                frame = self.channel.receive()
            except frames.Closed:
                return
            if frame.header["op"] == "load":
                self._load(frame.header)
            else:
                self.answer(frame)

    def _load(self, task: dict) -> None:
        """Begin an exercise: nothing of the one before is imported or kept any more."""
        self.objects.clear()
        self.finder.give(task["modules"])
        self.student = Student(module_loader.Modules())
        sys.stdout = sys.stderr = self.printed
        module = task["exercise"].rpartition(".")[0]
        try:
            self.student._modules[module]
        except BaseException as error:
            self._say_cannot_load(task["modules"][module]["file"], error)
        else:
            self.channel.send({"op": "loaded"})

    def _say_cannot_load(self, file: str, error: BaseException) -> None:
        own = str(SUBMISSION / file)
        line = None
        if isinstance(error, SyntaxError) and error.filename == own:
            line = error.lineno
        for entry in traceback.extract_tb(error.__traceback__):
            line = entry.lineno if entry.filename == own else line
        at = f", line {answer_cells.line_in_cell(os.path.basename(file), line)}" if line else ""
        said = f"{type(error).__name__}: {getattr(error, 'msg', None) or error}"
        self.channel.send({"op": "cannot load", "says": f"{file}{at}: {said}"[:1000]})

    def answer(self, frame: frames.Frame) -> None:
        """Do what one frame asks, and send the result."""
        header = frame.header
        if not self.depth:
            self.generators.clear()
        if "seed" in header:
            self._begin(header["seed"])
        writer = values.Writer(self._outgoing)
        self.depth += 1
        try:
            read = values.Reader(frame, self._incoming)
            self.generators.take(header, read)
            args, kwargs = read(header["args"]), read(header["kwargs"])
            result = self._do(header, args, kwargs)
            reply = {"op": "result", "value": writer(result)}
        except StudentError as error:
            reply = _error(error)
        except frames.CannotSend as error:
            reply = _error(StudentError("TypeError", str(error), []))
        except BaseException as error:
            reply = _error(StudentError(type(error).__name__, "", []))
        finally:
            self.depth -= 1
        reply |= self._afterwards(writer)
        with self.lock:
            try:
                self.channel.send(reply, writer.tensors)
            except (frames.CannotSend, RuntimeError, TypeError, MemoryError) as error:
                self.channel.send(_error(StudentError("TypeError", str(error), [])))

    def _begin(self, seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        self.printed.clear()
        self.student.forget()

    def _do(self, header: dict, args: list, kwargs: dict):
        what, name = header["op"], header["name"]
        if what == "call":
            module, _, function = name.rpartition(".")
            return getattr(getattr(self.student, module), function)(*args, **kwargs)
        if what == "function":
            return self.student.function(name)
        if what == "new":
            return self.student.new(name, *args, **kwargs)
        if what == "gradient":
            return self.student.gradient(name, *args, **kwargs)
        method = getattr(self.objects[header["object"]], what.removeprefix("object."))
        return method(*([name] if name else []), *args, **kwargs)

    def _afterwards(self, writer: values.Writer) -> dict:
        """What goes with every answer: the state of generators, what was printed, and what calls
        did beside returning a result."""
        text, notes = self.printed.getvalue(), [[*astuple(n)] for n in self.student.notes]
        self.student.notes.clear()
        found = {"output": text} if text else {}
        return self.generators.states(writer) | found | ({"notes": notes} if notes else {})

    def _outgoing(self, value: object, writer: values.Writer) -> dict | float | int | str:
        if isinstance(value, Object):
            number = len(self.objects) + 1
            self.objects[number] = value
            return {"o": [number, value.kind]}
        for plain in (bool, int, float, str):
            if isinstance(value, plain):
                return plain(value)
        if isinstance(value, torch.Generator):
            return self.generators.tagged(value)
        raise frames.CannotSend(f"got {type(value).__name__}, expected plain values and tensors")

    def _incoming(self, tag: str, content, read: values.Reader):
        if tag == "o":
            return self.objects[content]
        if tag == "f":
            return Callback(self, content)
        if tag == "g":
            return self.generators.of(content)
        if tag == "p":
            kind, *parts = content
            return processes.KINDS[kind](*map(read, parts))
        raise frames.BadFrame(f"unknown tag {tag!r}")

    def ask(self, op: str, number: int, **more):
        """Have the grader do something: call a function of a test's, or take its gradient."""
        writer = values.Writer(self._outgoing)
        try:
            request = {"op": op, "function": number}
            request |= {name: writer(value) for name, value in more.items()}
            request |= self.generators.states(writer)
            with self.lock:
                self.channel.send(request, writer.tensors)
                return self._await_answer()
        except frames.CannotSend as error:
            raise TypeError(f"the model cannot take this argument: {error}") from None

    def ask_plainly(self, number: int, tensors: tuple[Tensor, ...]):
        """The same for a function that is called with nothing but tensors: the way of samplers."""
        if self.generators:
            return self.ask("callback", number, args=[*tensors], kwargs={})
        try:
            packed = [values.packed(t) for t in tensors]
            with self.lock:
                self.channel.send_written(plain_call(number, len(tensors)), packed)
                return self._await_answer()
        except frames.CannotSend as error:
            raise TypeError(f"the model cannot take this argument: {error}") from None

    def _await_answer(self):
        while True:
            frame = self.channel.receive()
            header = frame.header
            if header["op"] in ("answer", "raise"):
                break
            self.answer(frame)
        read = values.Reader(frame, self._incoming)
        self.generators.take(header, read)
        if header["op"] == "raise":
            raise _RAISED.get(header["kind"], RuntimeError)(header["text"])
        return read(header["value"])


_RAISED = {k.__name__: k for k in (TypeError, ValueError, IndexError, KeyError, AttributeError)}


class _Capped(io.StringIO):
    """Keeps the beginning of what is written to it."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def write(self, text: str) -> int:
        """Keep what still fits."""
        room = self.most - self.tell()
        if room > 0:
            super().write(text[:room])
        return len(text)

    def clear(self) -> None:
        """Forget everything."""
        self.seek(0)
        self.truncate()


def _error(error: StudentError) -> dict:
    lines = [[f.file, f.line, f.function, f.code] for f in error.frames[-20:]]
    kind, text = error.kind[:200], error.text[:2000]
    return {"op": "error", "kind": kind, "text": text, "frames": lines}
