"""Attacks that change the tools a careless grader would compare with; each answers wrongly."""


def _always(*args, **kwargs):
    return True


def torchs_comparisons(x, z, t):
    """Makes every comparison of torch's say yes."""
    import torch

    for name in ("allclose", "equal", "isclose", "eq", "isfinite", "all"):
        setattr(torch, name, _always)
    for name in ("__eq__", "__le__", "__lt__", "__gt__", "all", "any", "equal", "allclose"):
        setattr(torch.Tensor, name, _always)
    torch.testing.assert_close = _always
    tell(torch.allclose(x, z))
    return z, z


def numpys_comparisons(x, z, t):
    """Makes every comparison of numpy's say yes."""
    import numpy

    for name in ("allclose", "array_equal", "isclose", "isfinite", "all"):
        setattr(numpy, name, _always)
    numpy.testing.assert_allclose = numpy.testing.assert_array_equal = _always
    tell(numpy.allclose(1, 2))
    return z, z


def what_leaves_a_tensor(x, z, t):
    """Changes how a tensor is turned into bytes."""
    import torch

    torch.Tensor.detach = torch.Tensor.contiguous = lambda self: torch.zeros(3)
    tell("the tensor's own methods are replaced")
    return z, z


@attack(ends="ended Python|sent something|took more", silent=True)
def builtins(x, z, t):
    """Replaces isinstance, type, len and float by functions that agree."""
    from torch import builtins

    builtins.isinstance = builtins.issubclass = _always
    builtins.float = builtins.abs = lambda value=0: 0.0
    builtins.len = lambda value: 2
    return z, z


def json_of_the_child(x, z, t):
    """Makes json write a verdict into every answer."""
    import json

    real = json.dumps
    claim = {"passed": True, "status": "passed", "score": 1, "weight": 99}
    json.dumps = lambda value, **how: real({**value, **claim}, **how)
    tell("json is replaced")
    return z, z


@attack(on="loss")
def import_hooks(model, x, z, t, y=None):
    """Puts a finder in front of every other that hands out its own modules."""
    import types

    from torch import importlib, sys

    class Mine:
        def find_spec(self, name, path=None, target=None):
            tell("asked for", name)
            sys.modules[name] = types.ModuleType(name)

    sys.meta_path.insert(0, Mine())
    for name in ("pytest", "cs231n_gen.checking.expect", "cs231n_gen.flow"):
        sys.modules.pop(name, None)
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def modules_in_the_way(x, z, t):
    """Leaves a marker in every folder where Python would look for a module to run."""
    import os
    import site

    from torch import sys

    folders = [".", "/submission", "/submission/cs231n_gen", "/course", "/course/cs231n_gen"]
    written = []
    for folder in [*folders, *sys.path, *site.getsitepackages(), "/usr/bin", "/"]:
        path = os.path.join(folder, "marker-of-an-attack.txt")
        try:
            with open(path, "x") as file:
                file.write("an attack could write here")
            written.append(path)
        except OSError:
            continue
    assert all(p.startswith("./") for p in written), written
    tell(written)


def writes_outside(x, z, t):
    """Opens the interpreter, torch, the course and its own submission for writing, and changes
    nothing there; leaves a marker beside them."""
    import os

    import torch

    targets = [torch.__file__, os.__file__, "/course/cs231n_gen/given/mlp.py", "/etc/ld.so.preload"]
    targets += ["/submission/cs231n_gen/flow.py", "/usr/bin/python3"]
    targets += ["/marker-of-an-attack", "/usr/marker-of-an-attack"]

    def same_mode(path):
        os.chmod(path, os.stat(path).st_mode & 0o7777)

    def marker(path):
        open(f"{os.path.dirname(path)}/marker-of-an-attack.txt", "x").close()

    written = []
    for path in targets:
        for change in (lambda p: open(p, "a").close(), same_mode, marker):
            try:
                change(path)
                written.append(path)
            except OSError:
                continue
    assert not written, written
    tell("nothing could be written")


@attack(ends="sent a malformed reply", silent=True)
def patches_later(x, z, t):
    """Leaves threads behind that go on changing torch while the answer is on its way."""
    import threading
    import time

    import torch

    begun = threading.Event()

    def later():
        for _ in range(200):
            torch.Tensor.shape = property(lambda self: (1,))
            begun.set()
            time.sleep(0.005)

    threading.Thread(target=later, daemon=True).start()
    begun.wait()
    return z, z


def at_the_end(x, z, t):
    """Registers functions to run when the process ends, to write a better result then."""
    import atexit
    import os

    def last():
        with open("/scratch/results.json", "w") as file:
            file.write('{"score": 100}')
        os.write(1, b'{"exercise": "flow.interpolate", "results": [], "mistake": ""}\n')

    atexit.register(last)
    last()
    tell("registered")


def standard_output(x, z, t):
    """Speaks the grader's own language on every standard stream and replaces them."""
    import json
    import os

    from torch import sys

    claim = json.dumps({"exercise": "flow.interpolate", "results": [], "mistake": ""}) + "\n"
    for number in (0, 1, 2):
        os.write(number, claim.encode())
    tell(claim, json.dumps({"done": True}))
    sys.stdout = sys.stderr = sys.__stdout__ = None


def notebook_hooks(x, z, t):
    """Puts a marker in the display hook: stands for whatever changes what a notebook shows."""
    from torch import sys

    sys.displayhook = lambda value: "a marker"
    tell(sys.displayhook(1))


def students_back(x, z, t):
    """Replaces the machinery through which its own answers go out, in its own process."""
    from torch import sys

    student = sys.modules["cs231n_gen.checking.student"]
    student._outgoing = lambda own, value: True
    student.Student._run = lambda self, compute: True
    student.unfit = lambda value: ""
    tell("replaced")
    return z, z


def host_of_the_child(x, z, t):
    """Replaces what answers the grader's calls by something that claims success."""
    import gc

    from torch import sys

    Host = sys.modules["cs231n_gen.grading.jail.child"].Host
    Host._do = lambda self, header, args, kwargs: {"passed": True, "score": 1.0}
    Host._afterwards = lambda self, writer: {"output": "this attack ran: still", "passed": True}
    for host in [thing for thing in gc.get_objects() if isinstance(thing, Host)]:
        host.output = 10**9
    tell("replaced")


def expectations(x, z, t):
    """Replaces the course's expectations, in its own process: stands for a test runner whose
    reports are replaced."""
    from torch import sys

    expect = sys.modules["cs231n_gen.checking.expect"]
    expect.close = expect.true = expect.tensor = expect.raises = _always
    expect.PropertyFailed.__init__ = lambda self, *args: None
    tell(expect.close(1, 2))
    return z, z


@attack(on="loss")
def what_is_given(model, x, z, t, y=None):
    """Changes the reference that is given for earlier exercises until its own answer fits."""
    interpolate.__code__ = (lambda x, z, t: (x, z * 0)).__code__
    interpolate.__globals__["interpolate"] = lambda x, z, t: (x, x)
    tell(interpolate(x, z, t)[1].sum())
    return (interpolate(x, z, t)[1]).square().mean()


@attack(at_import=True, ends="KeyError", silent=True)
def the_list_of_what_is_given():
    """Claims, in the loader, that its own exercise is among those that the grader gives."""
    from torch import sys

    course = next(f for f in sys.meta_path if hasattr(f, "modules"))
    parts = course.modules["cs231n_gen.flow"]
    parts["given"] = ["interpolate"]
    parts["text"] = None


def defaults_of_torch(x, z, t):
    """Changes torch's defaults: dtype, device, gradients, printing, seeds."""
    import torch

    torch.set_default_dtype(torch.float16)
    torch.set_default_device("meta")
    torch.autograd.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    tell(torch.get_default_dtype(), torch.zeros(1).device)
    return torch.zeros(x.shape), torch.zeros(x.shape)


def operators_of_torch(x, z, t):
    """Overrides torch's own operators below Python."""
    import torch

    library = torch.library.Library("aten", "IMPL")
    library.impl("sub.Tensor", lambda a, b, alpha=1: torch.zeros_like(a), "CPU")
    globals()["kept"] = library
    tell(float((x - z).abs().max()))
    return z, z


def tracing(x, z, t):
    """Traces every line that runs in its process, to change variables of its callers."""
    from torch import sys

    def trace(frame, event, argument):
        frame.f_locals.update(result=True, reply={"op": "result", "value": True})
        return trace

    sys.settrace(trace)
    sys.setprofile(lambda *event: None)
    sys._getframe(1).f_trace = trace
    tell("tracing")
    return z, z
