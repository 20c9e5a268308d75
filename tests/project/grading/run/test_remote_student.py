"""Two backs, one behaviour: a test sees the same of a student in the jail and in process."""

import marshal
import socket
import sys
import time
from dataclasses import dataclass

import pytest
import torch

from cs231n_gen.checking.errors import NotWritten, PropertyFailed, StudentError
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.checking.runner import run, with_tests
from cs231n_gen.checking.student import Student
from cs231n_gen.common.paths import HIDDEN, ROOT
from cs231n_gen.given import processes
from cs231n_gen.grading.jail import sandbox
from cs231n_gen.grading.jail.child import Host
from cs231n_gen.grading.jail.limits import MIB, Limits
from cs231n_gen.grading.jail.protocol import frames, values
from cs231n_gen.grading.run.examiner import Examiner
from cs231n_gen.grading.run.remote_student import RemoteStudent
from cs231n_gen.grading.run.replies import ChildFailed
from cs231n_gen.grading.run.task import SubmittedCode, exercise_task, in_order

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail needs Linux")
classroom = load_module(ROOT / "tests" / "classroom.py", "classroom")
LIMITS = Limits(wall=10, cpu=10, memory=512 * MIB)
SEED = 2025

THEIRS = """
import random
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, dim=2):
        super().__init__()
        self.w = nn.Parameter(torch.ones(dim))
        self.calls = 0
        self.seen = []
    def forward(self, x):
        self.calls += 1
        self.seen.append(x.detach().clone())
        return self.w * x

class Claims(torch.Tensor): pass

def same(value): return value
def several(x): return x, [x + 1, {"a": 2 * x}]
def writes(x):
    x += 1
    return x
def empties(cache):
    cache[1][0].zero_()
    return cache
def gap(): raise NotImplementedError
def fails(x):
    y = x + 1
    raise ValueError(f"no {y.shape}")
def leaves(): raise SystemExit(3)
def nan(): return torch.tensor([float("nan")])
def tensor_of(kind):
    return {"claims": torch.ones(2).as_subclass(Claims), "meta": torch.ones(2, device="meta"),
            "sparse": torch.eye(2).to_sparse(), "array": np.ones(2), "number": np.float64(1.5),
            "graph": torch.ones(2, requires_grad=True) * 2, "half": torch.ones(2).half()}[kind]
def asks(model, x, n=3):
    for _ in range(n): x = model(x, torch.ones(len(x)), y=None)
    return x
def swallows(model, x):
    try: return model(x)
    except Exception as error: return f"{type(error).__name__}: {error}"
def draws(n, generator): return torch.randn(n, generator=generator)
def lends(model, generator): return model(3, generator) + torch.randn(3, generator=generator)
def lucky(): return torch.rand(2), random.random(), float(np.random.rand())
def square(net, x): return net(x).square()
def detached(x): return x.detach()
def freezes(net, x):
    y = net(x)
    net.requires_grad_(False)
    return y
def slope(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x, scale=2.0).square().sum(), x)[0]
def slopes(model, x, y):
    x = x.clone().requires_grad_()
    a, b = model(x, y)
    return torch.autograd.grad((a + 3 * b).sum(), x)[0]
def curvature(model, x):
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return torch.autograd.grad(g.sum(), x)[0]
def mixes(process, target, x, t):
    a, b = process.a(t), process.b(t)
    return a * x + b, process.da(t), process.db(t), target.c(t), target.d(t)
def names(*values): return [type(v).__name__ for v in values]
def speed(process, t):
    t = t.clone().requires_grad_()
    return torch.autograd.grad(process.b(t).sum(), t)[0]
def under(name, model, x):
    inside = {
        "vjp": lambda: torch.func.vjp(lambda x: x * model(torch.full((2,), 0.5)), x)[1](x)[0],
        "jvp": lambda: torch.func.jvp(lambda x: x * model(t=x.new_full((2,), 0.5)), (x,), (x,))[1],
        "grad of grad": lambda: x * torch.func.jacrev(torch.func.grad(
            lambda x: (x**2 * model(torch.full((2,), 0.5))).sum() / 2))(x).diagonal(),
        "by x": lambda: torch.func.vjp(model, x)[1](x)[0],
        "forward by x": lambda: torch.func.jvp(model, (x,), (x,))[1],
        "batch": lambda: torch.func.vmap(model)(x),
    }
    return inside[name]()
def made(process): return type(process)(process.db, process.a, process.a, process.a)
def tells(model, value):
    try: return model(value)
    except Exception as error: return f"{type(error).__name__}: {error}"
def endless(model): 
    while True: model(1)
"""


@pytest.fixture(scope="module")
def jail():
    with sandbox.Sandbox() as made:
        yield made


@pytest.fixture(scope="module")
def distant(jail):
    file = "cs231n_gen/flow.py"
    parts = {"file": file, "text": THEIRS, "code": "", "given": []}
    task = {"exercise": "flow.f", "files": {file: THEIRS}, "modules": {"flow": parts}}
    child = jail.child(LIMITS)
    yield RemoteStudent(child, task, LIMITS)
    child.end()


@pytest.fixture(params=["in process", "remote"])
def student(request, tmp_path, distant):
    made = distant
    if request.param == "in process":
        path = tmp_path / "flow.py"
        path.write_text(THEIRS, encoding="utf-8")
        made = Student({"flow": load_module(path, "theirs")})
    made.begin(7)
    return made


VALUES = [None, True, 3, 2.5, "a", [1, 2], (1, "b"), {"k": 1}]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_values_cross(student, value):
    back = student.flow.same(value)
    assert back == value
    assert type(back) is type(value)


def test_a_function_of_the_students_can_be_passed_on(student):
    function = student.function("flow.same")
    assert function.kind == "function"
    assert function((1, "b")) == (1, "b")


def test_tensors_cross_in_any_container(student):
    x = torch.arange(3.0)
    first, (second, third) = student.flow.several(x)
    assert [first.tolist(), second.tolist(), third["a"].tolist()] == [
        [0, 1, 2],
        [1, 2, 3],
        [0, 2, 4],
    ]


def test_pairs_of_tensors_in_a_list_cross_both_ways(student):
    cache = [(torch.ones(1, 2, 3), torch.zeros(1, 2, 0)), (torch.arange(4.0).double(), None)]
    back = student.flow.same(cache)
    assert type(back) is list
    assert [type(pair) for pair in back] == [tuple, tuple]
    assert [back[0][1].shape, back[1][0].dtype, back[1][1]] == [(1, 2, 0), torch.float64, None]
    assert torch.equal(back[0][0], cache[0][0])
    assert student.flow.empties(cache)[1][0].tolist() == [0, 0, 0, 0]
    assert cache[1][0].tolist() == [0, 1, 2, 3]
    assert ("argument", "cache[1][0]") in [(n.kind, n.where) for n in student.notes]


def test_what_is_passed_in_is_not_changed(student):
    x = torch.zeros(2)
    assert student.flow.writes(x).tolist() == [1, 1]
    assert x.tolist() == [0, 0]


def test_what_a_call_does_beside_returning_is_noted(student):
    student.flow.writes(torch.zeros(2))
    student.flow.lucky()
    net = student.new("flow.Net")
    student.flow.freezes(net, torch.ones(2))
    seen = [(n.function, n.kind, n.where) for n in student.notes]
    assert seen == [
        ("flow.writes", "argument", "x"),
        ("flow.writes", "memory", "x"),
        ("flow.lucky", "random", "torch's"),
        ("flow.freezes", "frozen", "net.w"),
        ("flow.freezes", "graph", ""),
    ]
    student.begin(8)
    assert not student.notes


def test_results_carry_no_graph(student):
    assert not student.flow.tensor_of("graph").requires_grad


@pytest.mark.parametrize("kind", ["claims", "meta", "sparse"])
def test_unfit_tensors_are_refused_in_words(student, kind):
    with pytest.raises(StudentError, match="expected") as caught:
        student.flow.tensor_of(kind)
    assert caught.value.kind == "TypeError"


def test_kinds_of_numbers(student):
    assert student.flow.tensor_of("number") == 1.5
    assert student.flow.tensor_of("half").dtype == torch.float16
    assert student.flow.tensor_of("array").kind == "ndarray"
    assert student.flow.nan().isnan().all()


def test_errors_come_with_their_frames(student):
    with pytest.raises(StudentError, match=r"ValueError: no torch.Size\(\[2\]\)") as caught:
        student.flow.fails(torch.zeros(2))
    (frame,) = caught.value.frames
    assert (frame.file, frame.function) == ("flow.py", "fails")
    assert frame.code.startswith("raise ValueError")


def test_gaps_and_exits_are_errors(student):
    with pytest.raises(NotWritten):
        student.flow.gap()
    with pytest.raises(StudentError, match="SystemExit"):
        student.flow.leaves()
    with pytest.raises(StudentError, match="has no nowhere"):
        student.flow.nowhere()


def test_models_are_asked_here(student):
    seen = []

    def model(x, t, y):
        seen.append((x.clone(), t, y))
        return x * 2

    assert student.flow.asks(model, torch.ones(2)).tolist() == [8, 8]
    assert [x.tolist() for x, _, _ in seen] == [[1, 1], [2, 2], [4, 4]]
    assert seen[0][1].tolist() == [1, 1]
    assert seen[0][2] is None


def test_a_models_error_reaches_student_code(student):
    def model(x):
        raise ValueError("wrong shape")

    assert student.flow.swallows(model, 1) == "ValueError: wrong shape"


def test_a_tests_verdict_comes_through(student):
    def model(x, t, y):
        raise PropertyFailed("not like this", "a", "b")

    with pytest.raises(PropertyFailed, match="not like this"):
        student.flow.asks(model, torch.ones(1))
    assert student.flow.same(1) == 1


def test_generators_go_on_where_they_were_left(student):
    own, twin = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    assert torch.equal(student.flow.draws(3, own), torch.randn(3, generator=twin))
    assert torch.equal(torch.randn(3, generator=own), torch.randn(3, generator=twin))
    lent = student.flow.lends(lambda n, g: torch.randn(n, generator=g), own)
    first = torch.randn(3, generator=twin)
    assert torch.equal(lent, first + torch.randn(3, generator=twin))


def test_chance_begins_again_with_each_property(student):
    first = student.flow.lucky()
    student.begin(7)
    again = student.flow.lucky()
    assert torch.equal(first[0], again[0])
    if isinstance(student, RemoteStudent):
        assert first[1:] == again[1:]


def test_objects_stay_behind(student):
    net = student.new("flow.Net", 2)
    assert net.kind == "Net"
    assert net(torch.tensor([1.0, 2.0])).tolist() == [1, 2]
    net.load({"w": torch.tensor([3.0, 4.0])})
    assert net.state()["w"].tolist() == [3, 4]
    assert net.call("forward", torch.ones(2)).tolist() == [3, 4]
    assert net.get("calls") == 2
    assert [x.tolist() for x in net.get("seen")] == [[1, 2], [1, 1]]


def test_gradients_of_inputs_and_weights(student):
    net, x = student.new("flow.Net", 2), torch.tensor([1.0, 3.0])
    dx, dnet = student.gradient("flow.square", net, x, wrt=[x, net])
    assert dx.tolist() == [2, 6]
    assert dnet["w"].tolist() == [2, 18]
    assert student.gradient("flow.detached", x, wrt=[x]) == [None]


def test_student_code_can_differentiate_what_it_is_lent(student):
    x, y = torch.tensor([1.0, 3.0]), torch.tensor([5.0, 7.0])
    assert student.flow.slope(lambda x, scale: scale * x, x).tolist() == [8, 24]
    assert student.flow.slopes(lambda x, y: (x * y, x.square()), x, y).tolist() == [11, 25]


def test_a_graph_of_the_test_before_cannot_be_pulled(distant):
    distant.begin(1)
    assert distant.flow.slope(lambda x, scale: x, torch.ones(1)).tolist() == [2]
    assert len(distant._graphs) == 1
    distant.begin(2)
    with pytest.raises(TypeError, match="in an earlier test"):
        distant._pulled(0, [None])


def test_a_second_derivative_of_what_is_lent_is_refused(distant):
    distant.begin(1)
    with pytest.raises(StudentError, match="RuntimeError"):
        distant.flow.curvature(lambda x: x**3, torch.ones(2))


def test_a_model_may_ask_the_student_again(student):
    def model(x, t, y):
        return student.flow.same(x) + 1

    assert student.flow.asks(model, torch.zeros(1), n=2).tolist() == [2]


# --- processes ----------------------------------------------------------------------------------


def test_a_process_passes_with_its_functions(student):
    process, x, t = processes.cosine(), torch.tensor([2.0, 3.0]), torch.tensor([0.25, 0.75])
    x_t, *found = student.flow.mixes(process, processes.velocity(process), x, t)
    assert torch.equal(x_t, process.a(t) * x + process.b(t))
    da, db = process.da(t), process.db(t)
    assert all(torch.equal(f, w) for f, w in zip(found, (da, db, da, db), strict=True))
    assert student.flow.names(process, processes.X) == ["Process", "Target"]
    assert student.flow.names([process], {"k": processes.NOISE}) == ["list", "dict"]
    slope = student.flow.speed(process, t)
    torch.testing.assert_close(slope, process.db(t))


def test_the_functions_of_a_process_are_called_here(student):
    asked = []

    def b(t):
        asked.append(t.tolist())
        return t

    process = processes.Process(torch.ones_like, b, torch.zeros_like, torch.ones_like)
    student.flow.mixes(process, processes.X, torch.ones(1), torch.tensor([0.5]))
    assert asked == [[0.5]]


@pytest.mark.parametrize("name", ["vjp", "jvp", "grad of grad"])
def test_functions_are_called_from_within_torch_func(student, name):
    """A process is asked about a level, while torch.func differentiates by x."""
    found = student.flow.under(name, lambda t: t + 1, torch.tensor([2.0, 3.0]))
    assert found.tolist() == [3, 4.5]


@pytest.mark.parametrize("name", ["by x", "forward by x", "batch"])
def test_torch_func_cannot_differentiate_or_batch_what_is_lent(distant, name):
    distant.begin(1)
    with pytest.raises(StudentError, match=r"torch\.autograd\.grad differentiates it"):
        distant.flow.under(name, torch.sin, torch.tensor([2.0, 3.0]))


def test_a_process_stays_behind_when_it_comes_back(student):
    process = processes.rectified_flow()
    assert student.flow.same(process).kind == "Process"
    assert student.flow.made(process).kind == "Process"
    (inside,) = student.flow.same([processes.X])
    assert inside.kind == "Target"


def test_a_process_is_known_by_its_functions_only_in_one_property(distant):
    distant.begin(1)
    kept = distant.flow.same(processes.rectified_flow())
    distant.begin(2)
    with pytest.raises(StudentError, match="belongs to an earlier test"):
        distant.flow.mixes(kept, kept, torch.ones(1), torch.ones(1))


@dataclass(frozen=True)
class Likewise:
    """A dataclass of functions that is no process."""

    a: object
    b: object


class Derived(processes.Target):
    """A target to `isinstance`, and none to the wall."""


def named_alike():
    """Another class by the name of `Target`."""
    return dataclass(frozen=True)(type("Target", (), {"__annotations__": {"c": object}}))


@pytest.mark.parametrize(
    "value",
    [
        Likewise(torch.sin, torch.cos),
        Derived(torch.sin, torch.cos),
        named_alike()(torch.sin),
        processes.Target(torch.sin, 0.5),
        processes.Target(torch.sin, torch.zeros(1)),
        processes.Target(torch.sin, "os.system"),
        processes.Target(torch.sin, [torch.cos]),
        processes.Target(torch.sin, Likewise(torch.sin, torch.cos)),
    ],
    ids=["dataclass", "subclass", "name", "number", "tensor", "text", "list", "nested"],
)
def test_no_other_dataclass_passes_and_no_other_parts(distant, value):
    distant.begin(1)
    with pytest.raises(frames.CannotSend, match="which cannot be sent"):
        distant.flow.names(value)
    assert distant.flow.same(1) == 1


def test_a_child_cannot_send_a_process(distant):
    """Not as an argument, not as a part of one, and not by a frame written by hand."""
    seen = []
    process = processes.rectified_flow()
    distant.begin(1)
    for value in (process, [process], {"k": (process,)}):
        said = distant.flow.tells(seen.append, value)
        assert said == "TypeError: the model cannot take this argument: got Process, expected " + (
            "plain values and tensors"
        )
    assert not seen
    read = values.Reader(frames.Frame({}, []), distant._incoming)
    functions = [{"f": 0}] * 4
    for content in (["Process", *functions], ["Target", *functions[:2]], [], None, "Process"):
        for value in ({"p": content}, [{"p": content}], {"d": [["k", {"p": content}]]}):
            with pytest.raises(frames.BadFrame, match="unknown tag 'p'"):
                read(value)


@pytest.mark.parametrize(
    "content",
    [
        ["Popen", {"f": 0}],
        ["Target", {"f": 0}],
        ["Target", {"f": 0}, {"f": 1}, {"f": 2}],
        ["Process", {"f": 0}, {"f": 1}],
        [{"d": []}],
        [],
        None,
        7,
    ],
    ids=str,
)
def test_a_child_takes_no_malformed_process(content):
    one, other = socket.socketpair()
    with one, other:
        host = Host(frames.Channel(one), 100)
        header = {"op": "call", "name": "flow.names", "args": [{"p": content}], "kwargs": {"d": []}}
        host.answer(frames.Frame(header, []))
        reply = frames.Channel(other).receive(time.monotonic() + 5).header
        assert reply["op"] == "error"


def test_asking_without_end_ends(jail):
    file = "cs231n_gen/flow.py"
    parts = {"file": file, "text": THEIRS, "code": "", "given": []}
    task = {"exercise": "flow.f", "files": {file: THEIRS}, "modules": {"flow": parts}}
    child = jail.child(LIMITS)
    own = RemoteStudent(child, task, LIMITS)
    own.begin(1)
    with pytest.raises(ChildFailed, match="asked the model more than"):
        own.flow.endless(lambda n: n)
    with pytest.raises(ChildFailed):
        own.flow.same(1)
    child.end()


# --- the hidden graders, both ways --------------------------------------------------------------


def verdicts(results):
    return [(r.test, r.status) for r in results]


@pytest.mark.full
def test_hidden_graders_say_the_same_both_ways(tmp_path):
    """The reference, and every kind of submission that ends by itself, exercise by exercise."""
    texts = {k: t for k, t in classroom.kinds().items() if k in ("right", "reversed", "half-right")}
    found, expected = {}, {}

    def use(suite):
        examiner = Examiner(suite, LIMITS)
        for kind, text in texts.items():
            own = SubmittedCode({classroom.MODULE: text})
            for exercise in classroom.FLOW:
                ((_, result),) = examiner.examine(own, [exercise.id], SEED)
                found[kind, exercise.id] = verdicts(result.results)
            for exercise, result in examiner.examine(own, [e.id for e in classroom.FLOW], SEED):
                assert verdicts(result.results) == found[kind, exercise], "in a shared child"
        examiner.close()

    with_tests([HIDDEN], use)
    for kind, text in texts.items():
        path = tmp_path / "flow.py"
        path.write_text(text, encoding="utf-8")
        for exercise in classroom.FLOW:
            theirs = load_module(path, "cs231n_gen.flow")
            for other in in_order():
                if other.id == exercise.id:
                    break
                if other.module == "flow":
                    reference = load_module(ROOT / classroom.MODULE, "reference")
                    setattr(theirs, other.name, getattr(reference, other.name))
            modules = Student().replacing("flow.loss", None)._modules
            modules["flow"] = theirs
            expected[kind, exercise.id] = verdicts(
                run(HIDDEN, [exercise.id], Student(modules), SEED)
            )
    assert found == expected
    assert all(s == "passed" for e in classroom.FLOW for _, s in found["right", e.id])


CHILDREN = {
    "a right submission takes one": ("right", 1, 1),
    "against the course's order each exercise takes its own": ("right", -1, 7),
    "what goes wrong gets a fresh one": ("blank", 1, 7),
}


def test_how_many_children_a_submission_takes(monkeypatch):
    made, found = [], {}
    child = sandbox.Sandbox.child
    monkeypatch.setattr(sandbox.Sandbox, "child", lambda *a: made.append(1) or child(*a))
    ids = [e.id for e in in_order() if e.module == "flow"]

    def use(suite):
        examiner = Examiner(suite, LIMITS)
        for says, (kind, order, _) in CHILDREN.items():
            made.clear()
            own = SubmittedCode({classroom.MODULE: classroom.kinds()[kind]})
            results = dict(examiner.examine(own, ids[::order], SEED))
            assert all(e.passed == (kind == "right") for e in results.values())
            found[says] = len(made)
        examiner.close()

    with_tests([HIDDEN], use)
    assert found == {says: count for says, (_, _, count) in CHILDREN.items()}


def test_the_graded_reference_is_nowhere_in_the_child():
    own = SubmittedCode({classroom.MODULE: classroom.flow_with()})
    for exercise in classroom.FLOW:
        task = exercise_task(own, exercise)
        parts = task["modules"]["flow"]
        before = [e.name for e in in_order() if e.module == "flow"]
        assert parts["given"] == before[: before.index(exercise.name)]
        if parts["code"]:
            constants = str(_constants(marshal.loads(bytes.fromhex(parts["code"]))))
            for later in before[before.index(exercise.name) :]:
                assert f"{later}: raises NotImplementedError" in constants


def _constants(code):
    """Of every function in a module's code, whether it only raises NotImplementedError."""
    found = []
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            empty = "NotImplementedError" in constant.co_names
            found.append(f"{constant.co_name}: raises NotImplementedError" if empty else "")
    return found


def test_two_exercises_cannot_live_off_each_others_reference():
    """sample by trajectory and trajectory by sample: each would be right with the other given."""
    text = classroom.flow_with(
        *(n for n in classroom.NAMES if n not in ("sample", "trajectory")),
        sample=["return trajectory(model, z, steps, y)[-1]"],
        trajectory=["return torch.stack([z, *(sample(model, z, steps, y),) * steps])"],
    )

    def use(suite):
        examiner = Examiner(suite, LIMITS)
        results = dict(
            examiner.examine(SubmittedCode({classroom.MODULE: text}), ["flow.sample"], SEED)
        )
        examiner.close()
        assert not any(r.passed for r in results["flow.sample"].results)

    with_tests([HIDDEN], use)


BY_A_CALL = {  # an answer that is no more than a call of what the course knows itself
    "schedules.optimal_velocity": "from cs231n_gen import truth\n"
    "def optimal_velocity(x_t, t, data): return truth.FiniteData(data).velocity(x_t, t)\n",
    "gan.discriminator_loss": "from cs231n_gen.kernels import gan_losses\n"
    "def discriminator_loss(real, fake): return gan_losses.reference(real, fake)\n",
}


def test_what_answers_an_exercise_is_absent_while_it_is_graded():
    files, found = {}, {}
    for exercise, text in BY_A_CALL.items():
        name = f"cs231n_gen/{exercise.partition('.')[0]}.py"
        files[name] = (ROOT / name).read_text("utf-8") + text

    def use(suite):
        examiner = Examiner(suite, LIMITS)
        for exercise in [*BY_A_CALL, "gan.generator_loss"]:
            ((_, found[exercise]),) = examiner.examine(SubmittedCode(files), [exercise], SEED)
        examiner.close()

    with_tests([HIDDEN], use)
    assert found.pop("gan.generator_loss").passed, "beside it stands a right answer"
    for exercise, result in found.items():
        assert result.results, exercise
        assert not any(r.passed for r in result.results), exercise
        errors = [r.says for r in result.results if r.status == "error"]
        assert len(errors) > len(result.results) / 2, exercise
        assert all("is absent while an exercise is" in says for says in errors), exercise


ONE_LINE_WRONG = {  # of a chapter's module: the exercise that loses points, and none after it
    "distill": ("x_hat.detach(), heads", "x_hat, heads", "distill.adversarial_loss"),
    "gan_nets": ("nn.LeakyReLU(0.2)", "nn.LeakyReLU()", "gan_nets.Discriminator"),
    "guidance": ("x_t.detach()", "x_t.abs().detach()", "guidance.classifier_velocity"),
    "schedules": ("math.sqrt(m / n)", "m / n", "schedules.resolution_alpha"),
}


@pytest.mark.drawn("chapters", 1)
@pytest.mark.parametrize("module", ONE_LINE_WRONG)
def test_chapters_are_graded_in_the_jail_too(module):
    """Classes, a student's own classifier, callbacks: the reference, and one line of it wrong."""
    right, changed, exercise = ONE_LINE_WRONG[module]
    text = (ROOT / "cs231n_gen" / f"{module}.py").read_text("utf-8")
    assert right in text
    wrong = text.replace(right, changed, 1)
    ids = [e.id for e in in_order() if e.module == module]
    lost = {}

    def use(suite):
        examiner = Examiner(suite, LIMITS)
        for kind, one in (("right", text), ("wrong", wrong)):
            own = SubmittedCode({f"cs231n_gen/{module}.py": one})
            for name, result in examiner.examine(own, ids, SEED):
                lost[kind, name] = [t for t, s in verdicts(result.results) if s != "passed"]
        examiner.close()

    with_tests([HIDDEN], use)
    assert len(ids) >= 5
    assert [k for k, tests in lost.items() if tests] == [("wrong", exercise)]
