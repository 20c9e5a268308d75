"""instruments.observe: one call on the student's side, told in plain values."""

import functools

import pytest
import torch

from cs231n_gen.checking.student import Student
from cs231n_gen.instruments import observe
from cs231n_gen.instruments.honesty.written import NoKernel
from cs231n_gen.instruments.tensors import layouts
from cs231n_gen.kernels import axpy, examples, velocity_mse
from cs231n_gen.kernels.launch import HAVE_TRITON, tl, triton

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)


@triton.jit
def wide_kernel(x, out, a, n, BLOCK: tl.constexpr):
    """As `examples.scale_kernel`, its places counted with 64 bits."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, a * tl.load(x + i, mask=i < n), mask=i < n)


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
    @functools.wraps(examples.scaled)  # so that the kernels of its file may be launched
    def lazy(x):
        return examples.scaled(x[:8], 1.0).new_empty(30)

    assert observe.call(lazy, [torch.ones(9)])["results"][0].isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_programs_run_in_another_order():
    calls = []

    @functools.wraps(examples.scaled)
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


def test_some_programs_of_a_grid():
    x, out = torch.randn(10), torch.zeros(10)
    args, constants = [x, out, 3.0, 10], {"BLOCK": 4}
    seen = observe.launch(examples.scale_kernel, [3], args, constants, programs=[[2]])
    assert torch.equal(seen["args"][1], torch.cat([torch.zeros(8), 3 * x[8:]]))


def test_a_window_of_a_tensor_too_large_for_any_memory():
    first = 2**31
    x, out = torch.randn(8), torch.zeros(8)
    args, constants = [x, out, 3.0, first + 8], {"BLOCK": 8}
    grid, windows = [first // 8 + 1], {"begins": [first, first]}
    seen = observe.launch(wide_kernel, grid, args, constants, programs=[[first // 8]], **windows)
    assert torch.equal(seen["args"][1], 3 * x)
    assert not seen["faults"]
    seen = observe.launch(
        examples.scale_kernel, grid, args, constants, programs=[[first // 8]], **windows
    )
    assert [f[:2] for f in seen["faults"]] == [["reads outside", "x"], ["writes outside", "out"]]
    assert seen["faults"][0][-1] == -first, "32 bits of a place wrap round"
    assert not seen["args"][1].any()


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


# --- what counts as the work of kernels -----------------------------------------------------------


def by(wrapper):
    """A wrapper that may launch the kernels of axpy's file."""
    return functools.wraps(axpy.axpy)(wrapper)


def a_decoy(x, y, a):
    axpy.axpy(x, y, a)
    return a * x + y


def a_decoy_and_a_copy(x, y, a):
    return axpy.axpy(x, y, 0.0).copy_(a * x + y)


def half_by_torch(x, y, a):
    out = axpy.axpy(x, y, 0.0)
    out[2:] = (a * x + y)[2:]
    return out


def mixed_in(x, y, a):
    return a * x + y + 0 * axpy.axpy(x, y, a)


def laundered(x, y, a):
    return axpy.axpy(a * x + y, y, 1.0) - y


def a_scaled_copy(x, y, a):
    return a * axpy.axpy(x, y, 0.0) + x


def of_another_file(x, y, a):
    return examples.scaled(x, 1.0)


WAYS = [a_decoy, a_decoy_and_a_copy, half_by_torch, mixed_in, laundered, a_scaled_copy]


@pytest.mark.parametrize("n", [3, 2000])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_result_that_no_kernel_wrote_does_not_count(way, n):
    x, y = torch.randn(2, n)
    with pytest.raises(NoKernel, match="the result is not what a kernel wrote"):
        observe.call(by(way), [x, y, 2.0])


def test_no_launch_and_the_launch_of_another_files_kernel():
    args = [*torch.randn(2, 5), 2.0]
    with pytest.raises(NoKernel, match=r"^no kernel was launched"):
        observe.call(by(axpy.reference), args)
    with pytest.raises(NoKernel, match="scale_kernel was launched, and no kernel of the wrapper's"):
        observe.call(by(of_another_file), args)


def test_where_there_is_nothing_to_do_nothing_need_be_launched():
    x = torch.randn(0, 3)
    assert observe.call(axpy.axpy, [x, x, 2.0])["results"][0].shape == (0, 3)


def test_sums_of_what_kernels_wrote_and_numbers_that_nobody_wrote_are_left_as_they_are():
    def summed(x, y, a):
        return axpy.axpy(x, y, a).view(3, 4).sum(0).to(torch.float64) / 2

    def forgotten(x, y, a):
        axpy.axpy(x, y, a)
        return torch.empty(5)

    args = [*torch.randn(2, 12), 2.0]
    assert observe.call(by(summed), args)["results"][0].shape == (4,)
    assert observe.call(by(forgotten), args)["results"][0].isnan().all()


class PassesOn(torch.autograd.Function):
    """x + y by a kernel; the gradient of x is the upstream gradient, that of y torch's work."""

    @staticmethod
    def forward(ctx, x, y):
        return axpy.axpy(x, y, 1.0)

    @staticmethod
    def backward(ctx, upstream):
        return upstream, upstream.exp()


def test_a_gradient_is_a_kernels_work_or_the_upstream_gradient():
    args = [*torch.randn(2, 6)]
    sent = [torch.randn(6)]
    seen = observe.call(by(lambda x, y: PassesOn.apply(x, y)), args, wrt=[0], upstream=sent)
    assert torch.equal(seen["gradients"][0], sent[0])
    with pytest.raises(NoKernel, match="a gradient is not what a kernel wrote"):
        observe.call(by(lambda x, y: PassesOn.apply(x, y)), args, wrt=[0, 1], upstream=sent)


class Pretender:
    """Looks like a kernel, and has torch do the work."""

    fn = staticmethod(lambda x, out: None)

    def __getitem__(self, grid):
        return lambda x, out: out.copy_(2 * x)


class Launcher(Pretender):
    def __getitem__(self, grid):
        def launch(x, out):
            examples.scale_kernel[grid](x, out[:2], 2.0, 2, BLOCK=8)
            out[2:] = 2 * x[2:]

        return launch


def test_a_kernel_by_itself_is_launched_and_stores_what_changes():
    args = [torch.randn(6), torch.zeros(6)]
    with pytest.raises(NoKernel, match="no kernel was launched"):
        observe.launch(Pretender(), [1], args, {})
    with pytest.raises(NoKernel, match="numbers changed that the kernel did not store"):
        observe.launch(Launcher(), [1], args, {})
