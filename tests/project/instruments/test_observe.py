"""instruments.observe: one call on the student's side, told in plain values."""

import pytest
import torch

from cs231n_gen.checking.student import Student
from cs231n_gen.instruments import observe
from cs231n_gen.instruments.tensors import layouts
from cs231n_gen.kernels import axpy, examples, velocity_mse
from cs231n_gen.kernels.launch import HAVE_TRITON

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)


def test_results_faults_and_traffic_of_a_call():
    x = torch.randn(2500)
    seen = observe.call(examples.scaled_without_a_mask, [x, 2.0])
    assert torch.equal(seen["results"][0], 2 * x)
    assert seen["faults"] == [["reads outside", "x", [2, 0, 0], 572, 1, 2500]]
    assert (seen["launches"], seen["moved"]) == (1, 4 * (2500 + 2500 + 572))


def test_gradients_of_a_call_and_what_both_passes_moved():
    f, v = torch.randn(1500), torch.randn(1500)
    seen = observe.call(velocity_mse.velocity_mse, [f, v], wrt=[0], upstream=[torch.tensor(1.0)])
    torch.testing.assert_close(seen["gradients"][0], 2 * (f - v) / 1500)
    assert seen["moved"] == pytest.approx(3 * 4 * 1500, rel=0.01)
    assert not f.requires_grad


def test_memory_that_nobody_wrote_is_nan():
    def lazy(x):
        return examples.scaled(x[:8], 1.0).new_empty(30)

    assert observe.call(lazy, [torch.ones(9)])["results"][0].isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_programs_run_in_another_order():
    calls = []

    def note(x):
        out = examples.scaled(x, 2.0)
        calls.append(out)
        return out

    x = torch.randn(3000)
    one, other = (observe.call(note, [x], order=order) for order in (None, 231))
    assert torch.equal(one["results"][0], other["results"][0])


def test_a_kernel_by_itself_leaves_its_arguments_alone():
    x, out = torch.randn(10), torch.zeros(10)
    seen = observe.launch(examples.scale_kernel, [2], [x, out, 3.0, 10], {"BLOCK": 8})
    assert torch.equal(seen["args"][1], 3 * x)
    assert not out.any()


def test_complaints_name_no_kernel_of_an_accepted_variant():
    x, y = torch.randn(2, 3000)
    assert observe.complaints(axpy.axpy, [x, y, 2.0], [y, x, 1.0]) == []
    said = observe.complaints(examples.scaled_by_torch, [x, 2.0], [y, 3.0])
    assert any("torch did the work" in s for s in said)


def test_launches_are_told_without_running_a_kernel():
    x = torch.empty(1 << 22)
    (one,) = observe.launches(axpy.axpy, [x, x, 2.0])
    assert (one["name"], one["signature"]["x"], one["num_warps"]) == ("kernel", "*fp32", 4)


@pytest.mark.parametrize("name", ["strided", "transposed"])
def test_a_layout_holds_the_same_numbers(name):
    x = torch.randn(3, 4, 5)
    (laid,) = layouts.laid_out([x], name)
    assert torch.equal(laid, x)
    assert laid.stride() != x.stride()


def test_an_expanded_layout_repeats_the_first_row():
    x = torch.randn(3, 4)
    (laid,) = layouts.laid_out([x], "expanded")
    assert torch.equal(laid, x[:1].expand(3, 4)) and laid.stride(0) == 0


def test_an_unknown_layout():
    with pytest.raises(ValueError, match=r"one of strided, transposed, expanded, got 'tall'"):
        layouts.laid_out([], "tall")


def test_what_a_test_passes_in_lists_is_its_own():
    x = torch.zeros(4)

    def spoil(args):
        args[0][:] = 1

    student = Student({"m": type("m", (), {"spoil": staticmethod(spoil)})})
    student.m.spoil([x])
    assert not x.any()
