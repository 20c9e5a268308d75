"""The codes of chapter 13 on a GPU: the nearest by the course's kernel, the rest by torch.

    PYTHONPATH=. python -m pytest tests/gpu/test_vq.py

It needs jaxtyping beside what `test_kernels.py` needs.
"""

import pytest
import torch

from cs231n_gen.kernels import launch

REASON = (
    "no GPU"
    if not torch.cuda.is_available()
    else "Triton is not installed"
    if not launch.HAVE_TRITON
    else "kernels are interpreted here: unset TRITON_INTERPRET"
    if launch.INTERPRETED
    else ""
)
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "it runs")

OFF = pytest.mark.parametrize("off", [(), ("nearest_code",)], ids=["kernel", "torch"])
SHAPES = [(1, 1, 1), (33, 7, 17), (1000, 1024, 64), (5000, 256, 16)]


@pytest.fixture
def vq():
    return pytest.importorskip("cs231n_gen.vq", exc_type=ImportError)


@pytest.fixture(autouse=True)
def in_full_float32(monkeypatch):
    """With the same numbers each time."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    torch.manual_seed(231)


@OFF
@pytest.mark.parametrize("dtype", [*launch.DTYPES, torch.float64], ids=str)
@pytest.mark.parametrize("N, K, D", SHAPES)
def test_no_code_is_nearer(vq, N, K, D, dtype, off):
    z, codes = torch.randn(N, D).to(dtype), torch.randn(K, D).to(dtype)
    with launch.switched_off(*off):
        index = vq.nearest(z.cuda(), codes.cuda())
    assert index.is_cuda and index.dtype == torch.int64 and index.shape == (N,)
    d = torch.cdist(z.double(), codes.double()).square()
    gap = d.gather(1, index.cpu()[:, None])[:, 0] - d.amin(1)
    # Torch's own sums of half precision are rounded to it: only the kernel keeps them in float32.
    eps = torch.finfo(dtype if off or dtype == torch.float64 else torch.float32).eps
    size = z.double().square().sum(1).max() + codes.double().square().sum(1).max()
    assert float(gap.max()) <= (D + 4) * eps * float(size)


@OFF
def test_training_with_codes(vq, off):
    """A step of each kind on the GPU is that on the CPU in double precision."""
    z, codes = torch.randn(4, 8, 8, 16), 3 * torch.randn(64, 16)
    d = torch.cdist(z.reshape(-1, 16).double(), codes.double()).topk(2, largest=False).values
    assert float((d[:, 1] - d[:, 0]).min()) > 1e-5  # no tie that rounding decides
    found = []
    for place in ("cpu", "cuda"):
        exact = place == "cpu"
        own, e = (v.to(place, torch.float64 if exact else None) for v in (z, codes))
        own, e = own.clone().requires_grad_(), e.clone().requires_grad_()
        with launch.switched_off(*off):
            q, index = vq.quantize(own, e)
        (q.square().sum() + vq.loss(own, e, index)).backward()
        counts = torch.ones(64, device=place, dtype=e.dtype)
        state = vq.update_codes(counts, e.detach(), own.detach(), index)
        alive = vq.revive(*state, own.detach(), 1.5, torch.Generator().manual_seed(0))
        assert all(v.device.type == place for v in (q, index, *state, *alive))
        found.append([v.detach().cpu().double() for v in (q, index, own.grad, e.grad, *state)])
        found[-1] += [v.cpu().double() for v in alive]
    for got, want in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_finite_scalars(vq):
    z, levels = torch.randn(500, 4), [8, 5, 2, 7]
    q, index = vq.finite_scalar(z.cuda(), levels)
    assert q.is_cuda and index.is_cuda
    torch.testing.assert_close(vq.scalar_codes(levels)[index.cpu()], q.cpu())
