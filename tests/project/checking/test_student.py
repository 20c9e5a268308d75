"""The student object: plain values and tensors cross, everything else stays behind."""

import types

import pytest
import torch
from torch import nn

from cs231n_gen.checking.errors import NotWritten, PropertyFailed, StudentError
from cs231n_gen.checking.student import Object, Student


class Own(torch.Tensor):
    """A tensor that says it equals everything."""

    def __eq__(self, other):
        return torch.ones_like(self, dtype=torch.bool)


class Net(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.w = nn.Parameter(torch.ones(dim))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.w * x


def over(**functions):
    module = types.ModuleType("cs231n_gen.flow")
    vars(module).update(functions)
    return Student({"flow": module})


def test_results_come_without_their_graph():
    x = torch.ones(3, requires_grad=True)
    assert not over(f=lambda a: 2 * a).flow.f(x).requires_grad


def test_a_function_that_writes_into_its_argument_does_not_change_the_tests_own():
    x = torch.ones(3)
    over(f=lambda a: a.zero_()).flow.f(x)
    assert x.sum() == 3


def test_tuples_lists_and_dicts_cross():
    value = over(f=lambda: (1, [torch.ones(2)], {"a": None})).flow.f()
    assert value[0] == 1
    assert value[1][0].tolist() == [1, 1]
    assert value[2] == {"a": None}


def test_tensor_subclasses_are_refused():
    with pytest.raises(StudentError, match="plain tensor"):
        over(f=lambda: Own(torch.ones(2))).flow.f()


def test_errors_name_their_kind():
    def fails():
        raise KeyError("nothing")

    with pytest.raises(StudentError) as caught:
        over(f=fails).flow.f()
    assert caught.value.kind == "KeyError"


def test_a_gap_is_told_from_an_error():
    def gap():
        raise NotImplementedError

    with pytest.raises(NotWritten):
        over(f=gap).flow.f()


def test_a_missing_function_is_named():
    with pytest.raises(StudentError, match="has no f"):
        over().flow.f()


def test_a_tests_own_refusal_passes_through_the_students_code():
    def model(x):
        raise PropertyFailed("not like this")

    with pytest.raises(PropertyFailed, match="not like this"):
        over(f=lambda model: model(1)).flow.f(model)


def test_objects_stay_behind_and_can_be_used():
    net = over(Net=Net).new("flow.Net", 2)
    assert isinstance(net, Object)
    assert net(torch.tensor([1.0, 2.0])).tolist() == [1, 2]
    assert net.get("calls") == 1
    net.load({"w": torch.tensor([3.0, 4.0])})
    assert net.state()["w"].tolist() == [3, 4]
    assert net.call("forward", torch.ones(2)).tolist() == [3, 4]
    assert net.kind == "Net"


def test_gradients_with_respect_to_inputs_and_weights():
    student = over(Net=Net, f=lambda net, x: net(x).square())
    net, x = student.new("flow.Net", 2), torch.tensor([1.0, 3.0])
    dx, dnet = student.gradient("flow.f", net, x, wrt=[x, net])
    assert dx.tolist() == [2, 6]
    assert dnet["w"].tolist() == [2, 18]


def test_no_gradient_is_none():
    student = over(f=lambda x: x.detach())
    assert student.gradient("flow.f", torch.ones(2), wrt=[torch.ones(2)]) == [None]


def test_replacing_changes_what_the_rest_of_the_module_calls():
    student = Student().replacing("flow.interpolate", lambda x, z, t: (x, 0 * x))
    value = student.flow.loss(
        lambda x_t, t: x_t, torch.full((2, 1), 3.0), torch.ones(2, 1), torch.ones(2)
    )
    assert value == 9


def test_what_comes_back_is_recorded_in_order():
    seen = []
    student = over(f=lambda a: a + 1).recording(seen.append)
    student.flow.f(1)
    with pytest.raises(StudentError):
        student.flow.f(None)
    assert seen[0] == 2
    assert isinstance(seen[1], StudentError)
