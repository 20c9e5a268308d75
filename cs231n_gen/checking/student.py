"""The `student` object: how every test, public or hidden, speaks to the code it checks.

    x_t, v = student.flow.interpolate(x, z, t)                 a function of the package
    net = student.new("flow.VelocityMLP", dim=2)               an object, which stays on the
    student's side net(x_t, t), net.get("classes"), net.state(), net.load(weights)
    dx, dw = student.gradient("flow.loss", net, x, z, t, wrt=[x, net])

Only plain values and tensors cross: results come without their graph, anything else stays behind
as an `Object`. Tests may pass functions, which the student's code calls. This is the back that
runs in the same process; grading has another one with the same behaviour across a wall.
"""

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from cs231n_gen.checking.effects import MOST_NOTES, Note, Watch, holds_tensors
from cs231n_gen.checking.errors import NotWritten, PropertyFailed, StudentError, TracebackLine
from cs231n_gen.checking.expect import unfit
from cs231n_gen.checking.fresh_modules import file_of, package_modules
from cs231n_gen.common.paths import MACHINERY, PACKAGE

UNSEEN = (*(f"{PACKAGE / room}{os.sep}" for room in MACHINERY), "<")  # frames no student looks for
PLAIN = (bool, int, float, str, type(None))


class Student:
    """The in-process back.

    Args:
        modules: subject modules by name (`flow`); by default this package's own, read afresh from
            disk.
        on_result: called with every result or error that comes back, in order: what diagnosis
            compares.
    """

    def __init__(
        self,
        modules: Mapping[str, ModuleType] | None = None,
        on_result: Callable[[object], None] | None = None,
    ):
        self._modules = package_modules() if modules is None else modules
        self._on_result = on_result or (lambda result: None)
        self.failure = ""  # why nothing can be asked any more
        self.output = ""  # what was printed elsewhere than in this process
        self.notes: list[Note] = []  # what calls of this property did beside returning a result
        self._seen: set[str] = set()  # what was called in this property
        self._replayed: set[str] = set()

    def __getattr__(self, name: str) -> "_Module":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Module(self, name)

    def replacing(self, exercise: str, implementation: object) -> "Student":
        """The same student with one exercise replaced, inside its module too."""
        module, _, name = exercise.rpartition(".")
        fresh = package_modules()
        setattr(fresh[module], name, implementation)
        return Student(fresh)

    def recording(self, on_result: Callable[[object], None]) -> "Student":
        """The same student, whose every result is also told to `on_result`."""
        return Student(self._modules, on_result)

    def function(self, name: str) -> "Object":
        """A function of the student's, to be passed on: `function("kernels.axpy.axpy")`."""
        found = self._run(lambda: self._find(name))
        if isinstance(found, Object):
            found.made_as = name
        return found

    def new(self, name: str, *args, **kwargs) -> "Object":
        """Make an object of the student's: `new("flow.VelocityMLP", dim=2)`."""
        made = self._run(lambda: self._call(name, self._find(name), args, kwargs, making=True))
        if isinstance(made, Object):
            made.made_as = name
        return made

    def gradient(self, name: str, *args, wrt: list, **kwargs) -> list:
        """Gradients of the (summed) result of a function.

        Args:
            name: the function, `flow.loss`.
            wrt: for each gradient asked for, a tensor among the arguments or an `Object` that is a
                module.
        Returns:
            For a tensor its gradient, for a module a dict of gradients by weight; None where no
            gradient arrives.
        """

        def compute():
            leaves = {
                id(w): w.detach().clone().requires_grad_() for w in wrt if isinstance(w, Tensor)
            }
            swap = [leaves.get(id(a), a) for a in args]
            swap_kw = {k: leaves.get(id(a), a) for k, a in kwargs.items()}
            out = self._call(name, self._find(name), swap, swap_kw, graph=True)
            total = sum(o.sum() for o in (out if isinstance(out, tuple | list) else (out,)))
            return [_gradient(total, leaves.get(id(w), w)) for w in wrt]

        return self._run(compute)

    def compiled(self, launches: object, wide: bool = True) -> list[list[str]]:
        """What the GPU's compiler says of launches that `observe.launches` told of.

        Args:
            launches: what it told.
            wide: whether loads and stores of 128 bits are expected.
        Returns:
            Sentences of what is wrong, for each launch of a kernel that is the student's.
        """
        # Few exercises need it, and it imports Triton's tools.
        from cs231n_gen.checking import compiled_launches

        return compiled_launches.problems(launches, compiled_launches.compile_here, wide)

    def begin(self, seed: int) -> None:
        """Begin a property: its random numbers depend on nothing that came before."""
        torch.default_generator.manual_seed(seed)  # no GPU's, which would be asked first
        self.forget()

    def forget(self) -> None:
        """Forget what calls did: a property begins."""
        self.notes.clear()
        self._seen.clear()
        self._replayed.clear()

    def _run_function(self, name: str, args: tuple, kwargs: dict):
        return self._run(lambda: self._call(name, self._find(name), args, kwargs))

    def _call(
        self,
        name: str,
        function: Callable,
        args: Sequence,
        kwargs: Mapping,
        *,
        making: bool = False,
        graph: bool = False,
    ) -> object:
        """Call something of the student's, and note what it does beside returning its result.

        Args:
            name: what it is noted under.
            making: whether an object is made.
            graph: whether the result's graph is what is wanted.
        """
        incoming = [_incoming(a) for a in args]
        own = {k: _incoming(a) for k, a in kwargs.items()}
        first = name not in self._seen
        self._seen.add(name)
        watch = Watch(name, function, (args, kwargs), incoming, own, making, first)
        found = []
        try:
            result = function(*incoming, **own)
            if not (making or graph or name.startswith("instruments.")):  # those tell of a call
                found = watch.of_result(result, replay=name not in self._replayed)
                self._replayed.add(name)
        finally:
            found = [*watch.of_the_rest(), *found]
            self.notes += found[: MOST_NOTES - len(self.notes)]
        return result

    def _find(self, name: str) -> Callable:
        module, _, attribute = name.rpartition(".")
        try:
            found = self._modules[module]
        except KeyError:
            raise StudentError("ImportError", f"there is no module {module}", []) from None
        if not hasattr(found, attribute):
            raise StudentError("AttributeError", f"{file_of(module)} has no {attribute}", [])
        return getattr(found, attribute)

    def _run(self, compute: Callable[[], object]) -> object:
        """Compute on the student's side; what comes back is plain, what goes wrong a
        `StudentError`."""
        try:
            with torch.enable_grad():
                result = _outgoing(self, compute())
        except PropertyFailed:
            raise  # a test's own function, called by the student's code, refused what it was given
        except StudentError as error:
            self._on_result(error)
            raise
        except (Exception, SystemExit) as error:
            failure = _student_error(error)
            self._on_result(failure)
            raise failure from error
        self._on_result(result)
        return result


class _Module:
    """`student.flow`, `student.kernels.axpy`: its functions, called on the student's side."""

    def __init__(self, student: Student, name: str):
        self._student, self._name = student, name

    def __getattr__(self, name: str) -> "_Module":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Module(self._student, f"{self._name}.{name}")

    def __call__(self, *args, **kwargs):
        return self._student._run_function(self._name, args, kwargs)


class Object:
    """Something that lives on the student's side."""

    def __init__(self, student: Student, value: object, made_as: str = ""):
        self._student, self._value, self.made_as = student, value, made_as

    @property
    def kind(self) -> str:
        """The name of its class."""
        return type(self._value).__name__

    def __call__(self, *args, **kwargs):
        student = self._student
        return student._run(lambda: student._call(self.made_as, self._value, args, kwargs))

    def call(self, method: str, *args, **kwargs):
        """Call one of its methods; one that is given tensors is watched as the object itself is."""

        def compute():
            student, function = self._student, getattr(self._value, method)
            if holds_tensors((args, kwargs)):
                return student._call(self.made_as, function, args, kwargs)
            return function(*map(_incoming, args), **{k: _incoming(v) for k, v in kwargs.items()})

        return self._student._run(compute)

    def get(self, attribute: str):
        """Read one of its attributes."""
        return self._student._run(lambda: getattr(self._value, attribute))

    def state(self) -> dict[str, Tensor]:
        """The weights of a module, by name."""
        return self._student._run(lambda: dict(self._value.state_dict()))

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put weights into a module."""
        self._student._run(lambda: self._value.load_state_dict(weights) and None)


def _incoming(value):
    if isinstance(value, Object):
        return value._value
    if isinstance(value, Tensor) and value.is_leaf and not value.requires_grad:
        return value.clone()  # what a student writes into it must not change the test's own copy
    if type(value) in (list, tuple):
        return type(value)(map(_incoming, value))
    return {k: _incoming(v) for k, v in value.items()} if type(value) is dict else value


def _outgoing(student: Student, value):
    if isinstance(value, Tensor):
        if reason := unfit(value):
            raise StudentError("TypeError", reason, [])
        return value.detach().clone()
    if isinstance(value, tuple | list):
        return type(value)(_outgoing(student, v) for v in value)
    if isinstance(value, dict):
        return {k: _outgoing(student, v) for k, v in value.items()}
    return value if isinstance(value, PLAIN) else Object(student, value)


def _gradient(total: Tensor, w):
    weights = dict(w._value.named_parameters()) if isinstance(w, Object) else {"": w}
    if total.requires_grad:
        found = torch.autograd.grad(
            total, list(weights.values()), retain_graph=True, allow_unused=True
        )
    else:
        found = [None] * len(weights)
    gradients = dict(zip(weights, found, strict=True))
    return gradients if isinstance(w, Object) else gradients[""]


def _student_error(error: BaseException) -> StudentError:
    while type(error).__name__ == "InterpreterError" and error.__cause__:
        error = error.__cause__  # what a kernel itself raised
    frames = [
        TracebackLine(Path(f.filename).name, f.lineno or 0, f.name, f.line or "")
        for f in traceback.extract_tb(error.__traceback__)
        if not f.filename.startswith(UNSEEN) and "site-packages" not in f.filename
    ]
    kind = NotWritten if isinstance(error, NotImplementedError) else StudentError
    if isinstance(error, SyntaxError):
        frames = [
            TracebackLine(Path(error.filename or "?").name, error.lineno or 0, "", error.text or "")
        ]
    return kind(type(error).__name__, str(error).strip(), frames)
