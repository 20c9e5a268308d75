"""instruments.compare: a kernel's traffic beside torch's and the least possible."""

import pytest
import torch

from cs231n_gen.instruments.compare import compare, moved_by_torch
from cs231n_gen.kernels import adain, axpy, examples, velocity_mse
from cs231n_gen.kernels.launch import HAVE_TRITON

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)


def test_a_sum_of_two_moves_three_numbers_and_in_torch_five():
    x, y = torch.randn(2, 3000)
    found = compare(axpy.axpy, axpy.reference, x, y, 2.0)
    assert (found.least, found.ratio("kernel")) == (3 * 4 * 3000, 1.0)
    assert found.ratio("torch, eager") == pytest.approx(5 / 3)


def test_adain_in_torch_moves_five_times_the_least():
    x, style = torch.randn(2, 3, 32, 32), torch.randn(2, 3)
    found = compare(adain.adain, adain.reference, x, style, style)
    assert found.ratio("kernel") == pytest.approx(1, abs=0.01)
    assert found.ratio("torch, eager") == pytest.approx(5, abs=0.02)


def test_a_gradient_in_the_forward_pass_saves_what_autograd_reads_again():
    f, v = torch.randn(3000, requires_grad=True), torch.randn(3000)
    ways = velocity_mse.velocity_mse, velocity_mse.reference
    found = compare(*ways, f, v, gradient=True, least=3 * 4 * 3000)
    assert found.ratio("kernel") == pytest.approx(1, abs=0.01)
    assert found.ratio("torch, eager") > 3


def test_passes_that_are_not_needed_show():
    x, z = torch.randn(2, 2500)
    found = compare(examples.mixed_in_three_passes, lambda x, z, t: (1 - t) * x + t * z, x, z, 0.3)
    assert found.ratio("kernel") == pytest.approx(7 / 3)
    assert "2.33" in str(found) and "<td>2.33</td>" in found._repr_html_()


def test_views_move_nothing():
    x = torch.randn(10, 10)
    assert moved_by_torch(lambda x: x.T[2:].reshape(8, 10).view(8, 10), x) == 0
    assert moved_by_torch(lambda x: x.T.contiguous(), x) == 800


def test_both_passes_need_to_be_told_the_least():
    with pytest.raises(ValueError, match="least must be given"):
        compare(axpy.axpy, axpy.reference, torch.ones(3), torch.ones(3), 1.0, gradient=True)
