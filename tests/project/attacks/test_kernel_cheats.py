"""Ways to have something else do a kernel's work, handed in and graded in the jail.

The guard's own tests (`instruments/test_guard.py`) know more of them; here one of each kind is the
file of a submission, beside code that goes for the instruments themselves. `torch.compile` gets
nowhere in the jail: it wants to start a C++ compiler.
"""

import pytest
import torch

from cs231n_gen.checking.errors import PropertyFailed, StudentError
from cs231n_gen.checking.kernels.reference import Exact
from cs231n_gen.checking.kernels.stages import Stages
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.jail import bubblewrap, sandbox
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.run.remote_student import RemoteStudent
from cs231n_gen.kernels.launch import HAVE_TRITON

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)
if bubblewrap.why_not():
    pytest.skip(bubblewrap.why_not(), allow_module_level=True)

FILE = "cs231n_gen/kernels/axpy.py"
HONEST = (ROOT / FILE).read_text(encoding="utf-8")

# Each is put at the end of an honest file; `good` is the honest wrapper.
CHEATS = {
    "torch only": ("return a * x + y", "no kernel was launched"),
    "a decoy launch": ("good(x, y, a); return a * x + y", "torch did the work"),
    "a decoy, then a copy": ("return good(x, y, a).copy_(a * x + y)", "torch copied"),
    "laundered by a kernel that copies": ("return good(a * x + y, y, 1.0) - y", "torch did"),
    "kept by shape": (
        "return KEPT.setdefault(x.shape, good(x, y, a)) if len(KEPT) < 1 else KEPT[x.shape]",
        "kept from the first call|no kernel was launched|was there before",
    ),
    "one buffer for all calls": ("return good(x, y, a, BUFFER[: x.numel()])", "was there before"),
    "in place": ("return good(x, y, a, x)", "lies in the memory of x|was changed"),
    "numpy": ("return torch.from_numpy(a * x.numpy() + y.numpy())", "left torch|no kernel"),
    "numpy behind a kernel": (
        "n = torch.from_numpy(a * x.numpy() + y.numpy()); return good(n, n, 0.0)",
        "left torch",
    ),
    "lists": (
        "return torch.tensor([a * p + q for p, q in zip(x.tolist(), y.tolist())])",
        "left torch|no kernel",
    ),
    "bit by bit": (
        "parts = [a * p + q for p, q in zip(x.split(50), y.split(50))]; return torch.cat(parts)",
        "no kernel|bit by bit|torch did",
    ),
    "half by torch": (
        "out = good(x, y, a); k = x.numel() // 2; out[k:] = a * x[k:] + y[k:]; return out",
        "torch did the work|torch copied",
    ),
    "where torch looks away": (
        "good(x, y, a)\n    with torch._C._DisableTorchDispatch():\n        return a * x + y",
        "not what a kernel wrote|was there before|memory",
    ),
    "a thread": (
        "import threading\n    t = threading.Thread(target=lambda: KEPT.update(o=a * x + y))\n"
        "    t.start(); t.join()\n    return good(KEPT['o'], y, 0.0 * a + 1) - y",
        "thread|torch did",
    ),
    "somebody else's kernel": (
        "import sys\n    from cs231n_gen.kernels import examples as e\n"
        "    return good(e.scaled(x, a), y, 1.0)",
        "scale_kernel was launched",
    ),
}  # fmt: skip
TAIL = """

KEPT, BUFFER = {{}}, torch.empty(1 << 20)


def good(x, y, a, out=None):
    x, y = x.contiguous(), y.contiguous()
    out = torch.empty_like(x) if out is None else out
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, y, out, float(a), x.numel(), BLOCK=BLOCK)
    return out


def axpy(x, y, a):
    {cheat}
"""
FORGED = (
    '{"results": [torch.zeros(1500)], "gradients": [], "faults": [], "launches": 1, "moved": 18000}'
)
HUNTERS = {
    "a forged report": (f"lambda *a, **k: {FORGED}", "wrong"),
    "an empty report": ("lambda *a, **k: {}", "tampered"),
    "a number": ("lambda *a, **k: 7", "tampered"),
    "a report of lists without end": (
        '(lambda *a, **k: {"results": [[1] * 10**5], "gradients": [], "faults": [], "moved": 1})',
        "must be a tensor",
    ),
}


@pytest.fixture(scope="module")
def jail():
    with sandbox.Sandbox() as made:
        yield made


@pytest.fixture
def handed_in(jail):
    """handed_in(text): the stages of a submission with this file."""
    children = []

    def open_(text):
        part = {"file": FILE, "text": text, "code": "", "given": []}
        job = {
            "exercise": "kernels.axpy.kernel",
            "files": {FILE: text},
            "modules": {"kernels.axpy": part},
        }
        children.append(jail.child(Limits()))
        student = RemoteStudent(children[-1], job, Limits())
        student.begin(0)
        return Stages(student, "kernels.axpy.axpy", Exact(lambda x, y, a: a * x + y))

    yield open_
    for child in children:
        child.end()


def numbers(seed):
    return (*torch.randn(2, 1500, generator=torch.Generator().manual_seed(seed)), 2.5)


def test_an_honest_file_is_honest(handed_in):
    stages = handed_in(HONEST)
    stages.honest(numbers(0), numbers(1))
    stages.safe(*numbers(2))


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_named(name, handed_in):
    cheat, said = CHEATS[name]
    stages = handed_in(HONEST + TAIL.format(cheat=cheat))
    with pytest.raises(PropertyFailed, match=said):
        stages.honest(numbers(0), numbers(1))


@pytest.mark.parametrize("name", HUNTERS)
def test_code_that_hunts_the_instruments_gets_no_result_past_the_grader(name, handed_in):
    forged, said = HUNTERS[name]
    module = 'torch.sys.modules["cs231n_gen.instruments.observe"]'
    hunt = f"\n\n{module}.call = {forged}\n"
    with pytest.raises(PropertyFailed, match=said):
        handed_in(HONEST + hunt).correct(*numbers(0))


def test_a_store_without_a_mask_does_not_end_the_child(handed_in):
    text = HONEST.replace(", mask=there)\n    ### END", ")\n    ### END")
    assert text != HONEST
    stages = handed_in(text)
    stages.correct(*numbers(0))
    with pytest.raises(PropertyFailed, match=r"argument out: program .* writes outside"):
        stages.safe(*numbers(0))


def test_a_kernel_that_is_not_written_says_so(handed_in):
    from cs231n_gen.grading.source.markers import make_gaps
    from cs231n_gen.grading.source.tree import read_module

    gaps = [gap for e in read_module(ROOT / FILE)[0] for gap in e.gaps]
    with pytest.raises(StudentError, match="NotImplementedError"):
        handed_in(make_gaps(HONEST, gaps)).correct(*numbers(0))
