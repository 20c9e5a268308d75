"""`inspect`: a student sees, without a GPU, what a kernel did wrong."""

import io
import json

import matplotlib.pyplot as plt
import pytest
import torch

from cs231n_gen.instruments import inspect
from cs231n_gen.kernels import adaln, axpy, gan_losses, noising, patchify
from cs231n_gen.kernels.launch import HAVE_TRITON, tl, triton, uses_kernel

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

N, BLOCK = 300, 128
GRID = (triton.cdiv(N, BLOCK),)


@triton.jit
def unmasked(x, z, out, n, BLOCK: tl.constexpr):
    """x + z, without a mask on the load of z."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) + tl.load(z + i), mask=i < n)


def add(x, z):
    """x + z."""
    if not uses_kernel(x, z):
        return x + z
    out = torch.empty_like(x)
    unmasked[GRID](x, z, out, x.numel(), BLOCK=BLOCK)
    return out


@triton.jit
def one_pass(x, y, out, n, scale: tl.constexpr, BLOCK: tl.constexpr):
    """0.3 x, or x + y."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    X = tl.load(x + i, mask=i < n)
    tl.store(out + i, 0.3 * X if scale else X + tl.load(y + i, mask=i < n), mask=i < n)


def blend(x, z):
    """0.3 x + 0.3 z in three passes."""
    if not uses_kernel(x, z):
        return 0.3 * x + 0.3 * z
    a, b, out = (torch.empty_like(x) for _ in range(3))
    one_pass[GRID](x, x, a, N, scale=True, BLOCK=BLOCK)
    one_pass[GRID](z, z, b, N, scale=True, BLOCK=BLOCK)
    one_pass[GRID](a, b, out, N, scale=False, BLOCK=BLOCK)
    return out


def test_a_missing_mask_which_argument_which_program_how_many_lanes():
    report = inspect(add, torch.randn(N), torch.randn(N))
    says = "unmasked, argument z: program (2, 0, 0) reads outside: 84 lanes, first at element 300"
    assert says in str(report)
    assert not report.good


def test_three_passes_move_2_33_times_the_least():
    report = inspect(blend, torch.randn(N), torch.randn(N))
    assert "2.33 times the least traffic" in str(report)


def test_a_good_kernel_by_its_module():
    x, z = torch.randn(3, 1100), torch.randn(3, 1100)
    report = inspect(noising, x, z, torch.rand(3))
    assert report.good
    assert report.ratio == pytest.approx(1, abs=0.01)
    assert "✓ nothing outside, no race" in report._repr_html_()


def test_a_wrong_result_is_seen():
    report = inspect(lambda x, z: add(x, z) if uses_kernel(x) else x - z, *torch.randn(2, N))
    assert max(report.error) > 1


def test_a_module_without_its_function():
    with pytest.raises(ValueError, match="has no function gan_losses"):
        inspect(gan_losses, torch.randn(3), torch.randn(3))


def test_a_wrapper_that_launches_nothing():
    assert "no kernel was launched" in str(inspect(lambda x: 2 * x, torch.randn(3)))
    assert inspect(patchify, torch.randn(1, 3, 4, 4), 2).good


def test_a_kernel_for_show_is_named():
    def decoy(x, z):
        axpy.axpy(x, z, 1.0)
        return x + z

    report = inspect(decoy, torch.randn(N), torch.randn(N))
    assert not report.good
    assert "✗ torch did the work: add on 300 elements (test_report.py, line " in str(report)
    assert "✗ the result is not what a kernel wrote" in str(report)
    assert f"{12 * N} bytes more were moved by torch" in str(report)


def test_a_backward_pass_is_inspected_when_it_is_asked_for():
    x, scale, shift = torch.randn(3, 40, 24), *torch.randn(2, 3, 24)
    report = inspect(adaln, x, scale, shift, gradient=True)
    assert [run.kernel for run in report.launches] == ["kernel", "backward_kernel"]
    assert report.good


def test_arguments_with_gaps_may_be_copied():
    report = inspect(axpy, *torch.randn(2, 30, 100)[:, :, ::2], 0.5)
    assert report.good
    assert "moved by torch" in str(report)


def test_the_least_traffic_may_be_another():
    assert inspect(axpy, torch.randn(N), torch.randn(N), 2.0, least=12 * N * 4).ratio == 0.25


def test_who_wrote_what():
    report = inspect(axpy, torch.randn(1500), torch.randn(1500), 0.5)
    x, y, result = report.touched
    assert [x.name, y.name, result.name] == ["x", "y", "the result"]
    assert (x.who == result.who).all() and result.written and not x.written
    assert (result.who == torch.arange(1500).numpy() // axpy.BLOCK).all()


@pytest.mark.parametrize(
    ("wrapper", "args"),
    [
        (noising, [*torch.randn(2, 5, 1100), torch.rand(5)]),
        (patchify, [torch.randn(2, 3, 64, 64), 4]),
        (add, [*torch.randn(2, N)]),
        (blend, [*torch.randn(2, N)]),
        (axpy, [torch.randn(1), torch.randn(1), 2.0]),
    ],
    ids=["noising", "patchify", "add", "blend", "one element"],
)
def test_the_picture_is_small_and_labelled(wrapper, args):
    open_figures = plt.get_fignums()
    figure = inspect(wrapper, *args).picture()
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in panels)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    assert len(png.getvalue()) <= 64 * 1024
    assert plt.get_fignums() == open_figures


def test_the_picture_says_what_nobody_wrote():
    def half(x, z):
        if not uses_kernel(x, z):
            return x + z
        out = torch.empty_like(x)
        one_pass[(2,)](x, z, out, N, scale=False, BLOCK=BLOCK)
        return out

    report = inspect(half, torch.randn(N), torch.randn(N))
    assert "✗ kernels left 44 of the 300 elements of the result unwritten" in str(report)
    (legend,) = report.picture().legends
    assert [text.get_text() for text in legend.get_texts()] == ["nobody"]


def test_a_page_escapes_what_it_is_given():
    def wrapper(x, z):
        return add(x, z)

    wrapper.__name__ = "<script>"
    page = inspect(wrapper, torch.randn(N), torch.randn(N))._repr_html_()
    assert "&lt;script&gt;" in page and "<script" not in page
    assert 'alt="which program touched which element"' in page


@pytest.mark.parametrize("wrapper", [add, blend])
def test_a_report_is_plain_data_too(wrapper):
    report = inspect(wrapper, torch.randn(N), torch.randn(N))
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["ratio"] == report.ratio and data["lines"] == report.lines()
    assert [f["argument"] for f in data["findings"]] == (["z"] if wrapper is add else [])


def test_a_wrapper_without_a_reference_is_not_compared():
    def always_a_kernel(x, z):
        out = torch.empty_like(x)
        one_pass[GRID](x, z, out, N, scale=False, BLOCK=BLOCK)
        return out

    assert inspect(always_a_kernel, torch.randn(N), torch.randn(N)).error == ()


def test_what_the_compiler_says_when_it_is_asked():
    report = inspect(axpy, torch.randn(N), torch.randn(N), 0.5, compiled=True)
    assert [one.target for one in report.compiled] == [80, 90]
    assert "✓ kernel compiles for sm_80: " in str(report)
    assert json.dumps(report.to_json(), allow_nan=False)
