"""Properties that all exercises share: nothing is left changed, results are of their kind."""

import types

import numpy as np
import pytest
import torch
from torch import nn

from cs231n_gen.checking.effects import Note
from cs231n_gen.checking.runner import Result, shared_results, with_tests
from cs231n_gen.checking.shared_properties import (
    KIND,
    LEFT,
    SENTENCES,
    Promises,
    about,
    as_notes,
    broken,
)
from cs231n_gen.checking.student import Student
from cs231n_gen.common.paths import HIDDEN, PUBLIC

HIDDEN_STATE = torch.Generator()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3))
        self.seen = nn.Buffer(torch.zeros(()))

    def forward(self, x):
        return self.w * x


def kinds(function, *args, **kwargs):
    """What is noted of one call."""
    module = types.ModuleType("cs231n_gen.flow")
    module.f, module.Net = function, Net
    student = Student({"flow": module})
    student.begin(0)
    student.flow.f(*args, **kwargs)
    return [(n.kind, n.where) for n in student.notes if n.function == "flow.f"]


def with_net(function):
    """What is noted of a call with a network."""
    module = types.ModuleType("cs231n_gen.flow")
    module.f, module.Net = function, Net
    student = Student({"flow": module})
    student.begin(0)
    student.flow.f(student.new("flow.Net"), torch.ones(3))
    return [(n.kind, n.where) for n in student.notes if n.function == "flow.f"]


X = torch.arange(12.0)


def writes(x):
    x[0] = 5.0
    return x + 1


def writes_through_numpy(x):
    x.numpy()[0] = 5.0
    return x + 1


def writes_its_data(x):
    x.data.add_(1)
    return x + 1


@pytest.mark.parametrize("function", [writes, writes_through_numpy, writes_its_data])
def test_an_argument_that_is_written_to_is_named(function):
    assert kinds(function, X) == [("argument", "x")]
    assert X.tolist() == [*range(12)]


def test_arguments_in_lists_and_by_name_are_compared():
    assert kinds(lambda xs: xs[1].zero_().sum(), [X, X + 1]) == [("argument", "xs[1]")]
    assert kinds(lambda *, y: y.fill_(2) + 0, y=X) == [("argument", "y")]


def test_what_holds_nan_is_compared_too():
    assert kinds(lambda x: x + 1, torch.tensor([torch.nan, 1.0])) == []


def test_a_call_that_leaves_all_as_it_was_is_not_noted():
    assert kinds(lambda x: (x.clone().mul_(2), x + 1), X) == []
    assert with_net(lambda net, x: net(x).square().mean()) == [("graph", "")]


def step(net, x):
    with torch.no_grad():
        net.w -= 0.1
    return net(x)


def backward(net, x):
    net(x).sum().backward()
    return net(x)


def freezes(net, x):
    y = net(x)
    net.requires_grad_(False)
    return y


def counts(net, x):
    net.eval()
    net.seen += 1
    y = net(x)
    net.seen += 1
    return y


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (step, ("weights", "net.w")),
        (backward, ("gradients", "net.w")),
        (freezes, ("frozen", "net.w")),
        (lambda net, x: net.eval()(x), ("mode", "net")),
        (counts, ("mode", "net")),
        (lambda net, x: net(x).detach(), ("no graph", "")),
    ],
)
def test_what_is_done_to_a_network_is_named(function, seen):
    assert seen in with_net(function)


def test_buffers_may_move_in_training_mode_only():
    def moves(net, x):
        net.seen += 1
        return net(x)

    assert with_net(moves) == [("graph", "")]
    module = types.ModuleType("cs231n_gen.flow")
    module.f, module.Net = moves, Net
    student = Student({"flow": module})
    net = student.new("flow.Net")
    net.call("eval")
    student.flow.f(net, torch.ones(3))
    assert [n.kind for n in student.notes] == ["weights", "graph"]


@pytest.mark.parametrize(
    ("function", "whose"),
    [
        (lambda x: x + torch.rand(12), "torch's"),
        (lambda x: (torch.manual_seed(0), x + 1)[1], "torch's"),
        (lambda x: x + float(np.random.rand()), "numpy's"),  # noqa: NPY002
        (lambda x, generator=None: x + torch.rand(12), "torch's"),
    ],
)
def test_random_state_that_is_moved_is_named(function, whose):
    takes = "generator" in function.__code__.co_varnames
    given = {"generator": torch.Generator().manual_seed(1)} if takes else {}
    assert ("random", whose) in kinds(function, X, **given)


def test_without_a_generator_the_global_one_may_be_drawn_from():
    assert kinds(lambda x, generator=None: x + torch.rand(12, generator=generator), X) == []


def own_seed(x, generator=None):
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return x + torch.rand(12, generator=generator)


def needs_one(x, generator=None):
    return (
        x
        + torch.rand(12, generator=torch.Generator().set_state(generator.get_state()))
        + (0 * torch.rand(12, generator=generator))
    )


def hidden_state(x, generator=None):
    return x + torch.rand(12, generator=generator) + torch.rand(12, generator=HIDDEN_STATE)


@pytest.mark.parametrize(
    ("function", "kind"),
    [(own_seed, "not random"), (needs_one, "needs a generator"), (hidden_state, "not repeated")],
)
def test_numbers_come_from_the_generator_and_anew_without_one(function, kind):
    found = kinds(function, X, generator=torch.Generator().manual_seed(3))
    assert kind in [k for k, _ in found]


def test_replays_leave_the_generator_where_the_call_left_it():
    generator, other = (torch.Generator().manual_seed(3) for _ in range(2))

    def draws(n, generator=None):
        return torch.rand(n, generator=generator)

    assert kinds(draws, 12, generator=generator) == []
    torch.rand(12, generator=other)
    assert torch.rand(1, generator=generator) == torch.rand(1, generator=other)


def test_settings_are_noted_and_put_back():
    def doubles(x):
        torch.set_default_dtype(torch.float64)
        return x + 1

    assert kinds(doubles, X) == [("setting", "torch's default dtype")]
    assert torch.get_default_dtype() == torch.float32


def test_the_kind_of_results_is_noted():
    assert kinds(lambda x: x.float(), X.double()) == [("dtype", "got float32, expected float64")]
    assert kinds(lambda x, y: x + y, X.double(), X) == []  # two dtypes: no rule
    assert kinds(lambda x: x.long(), X) == []
    assert kinds(lambda x: (x + 1).requires_grad_(), X) == [("graph of nothing", "")]
    assert kinds(lambda x: x[:3], X) == [("memory", "x")]


def test_what_a_mark_promises_decides():
    model, left = Note("flow.f", "weights", "model.w"), Note("flow.f", "argument", "modelled")
    changes = Promises(changes=("model",))
    assert not changes.broken_by(model)
    assert changes.broken_by(left)
    assert changes.broken_by(Note("flow.f", "mode", "model.layer"))
    assert not Promises(changes=("model's mode",)).broken_by(Note("flow.f", "mode", "model.layer"))
    graph, memory = Note("flow.f", "graph"), Note("flow.f", "memory", "x")
    assert [Promises(graph=g).broken_by(graph) for g in (None, True, False)] == [False, False, True]
    assert [Promises(new=n).broken_by(memory) for n in (False, True)] == [False, True]
    assert not Promises(graph=False).broken_by(Note("flow.f", "no graph"))
    found = broken([model, model, left], Promises())
    assert [len(found[LEFT]), len(found[KIND])] == [2, 0]


def test_only_calls_of_the_exercise_count():
    assert about(Note("flow.loss", "random"), "flow.loss")
    assert not about(Note("flow.interpolate", "random"), "flow.loss")
    assert about(Note("instruments.observe.call", "argument"), "kernels.axpy.kernel")
    assert not about(Note("kernels.adain.adain", "argument"), "kernels.axpy.kernel")


@pytest.mark.parametrize(
    "told", ["text", [1], [["a", "random"]], [["a", "unheard of", ""]], [["a", "random", 3]]]
)
def test_malformed_notes_are_refused(told):
    with pytest.raises(ValueError, match=r"note|argument"):
        as_notes(told)


def test_notes_cross_as_lists():
    assert as_notes([["flow.f", kind, "x" * 300] for kind in SENTENCES]) == [
        Note("flow.f", kind, "x" * 200) for kind in SENTENCES
    ]


def result(status):
    return Result("flow.f", "test_f", "f", 2.0, status)


def test_a_broken_promise_costs_and_a_kept_one_earns_nothing():
    seen = [("flow.f", Promises(), Note("flow.f", "argument", "z"))]
    left, kind = shared_results([result("passed")], seen)
    assert (left.status, left.weight) == ("failed", 1.0)
    assert "z is changed" in left.says
    assert (kind.status, kind.weight) == ("passed", 0.0)
    assert [r.weight for r in shared_results([result("passed")], [])] == [0.0, 0.0]
    assert shared_results([result("failed"), result("passed")], []) == []


def test_public_and_hidden_tests_promise_the_same():
    promised = {}

    def use(suite):
        for item in suite._items:
            mark = item.get_closest_marker("exercise")
            promised.setdefault(mark.args[0], set()).add(Promises.of(mark.kwargs))

    with_tests([HIDDEN, PUBLIC], use)
    assert len(promised) > 60
    assert not [e for e, several in promised.items() if len(several) > 1]
