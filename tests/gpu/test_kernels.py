"""Every kernel on a GPU, against float64: `PYTHONPATH=. python -m pytest tests/gpu` in a checkout.

It needs torch, triton, numpy and pytest, nothing else of the course's.
"""

import contextlib
import importlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.checking.kernels.precision import precise
from cs231n_gen.kernels import LADDER, launch

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

DEVICE = "cuda"
BENCH = Path(__file__).parents[1] / "bench"
kernel_cases = load_module(BENCH / "kernel_cases.py", "kernel_cases")
over, with_leaves = kernel_cases.over, kernel_cases.with_leaves
CASES = {case.title: case for case in kernel_cases.CASES}
FLAT = [
    {"batch": 1, "n": 1},
    {"batch": 7, "n": 33},
    {"batch": 3, "n": 100_003},
    {"batch": 64, "n": 4096},
]
TOKENS = [
    {"batch": 1, "T": 1, "D": 1},
    {"batch": 3, "T": 5, "D": 33},
    {"batch": 2, "T": 257, "D": 384},
    {"batch": 4, "T": 130, "D": 1152},
    {"batch": 2, "T": 3, "D": 16384},
]
HEADS = [
    {"batch": 1, "heads": 1, "T": 1, "D": 16},
    {"batch": 2, "heads": 3, "T": 33, "D": 32},
    {"batch": 1, "heads": 2, "T": 257, "D": 64},
    {"batch": 2, "heads": 2, "T": 512, "D": 128},
]
SIZES = {
    "patchify": [
        {"batch": 1, "C": 1, "side": 1, "patch": 1},
        {"batch": 3, "C": 3, "side": 15, "patch": 3},
        {"batch": 2, "C": 33, "side": 64, "patch": 2},
    ],
    **dict.fromkeys(["adaln", "gated_residual"], TOKENS),
    "adain": [
        {"batch": 2, "C": 3, "side": 2},
        {"batch": 3, "C": 5, "side": 33},
        {"batch": 2, "C": 2, "side": 200},
    ],
    "group_norm_silu": [
        {"batch": 2, "C": 6, "side": 3, "groups": 2},
        {"batch": 3, "C": 30, "side": 17, "groups": 5},
        {"batch": 2, "C": 64, "side": 64, "groups": 8},
    ],
    "qk_norm_rope": HEADS,
    "nearest_code": [
        {"N": 1, "K": 1, "D": 16},
        {"N": 33, "K": 7, "D": 17},
        {"N": 1000, "K": 1024, "D": 64},
    ],
    "joint_attention": [
        {"batch": 1, "heads": 1, "image": 1, "text": 1, "D": 16},
        {"batch": 2, "heads": 3, "image": 33, "text": 5, "D": 32},
        {"batch": 2, "heads": 2, "image": 257, "text": 70, "D": 64},
    ],
    "attention": [{**size, "causal": causal} for size in HEADS for causal in (0, 1)],
}
RUNS = [
    pytest.param(title, size, id=f"{title}-{'-'.join(map(str, size.values()))}")
    for title in CASES
    for size in SIZES.get(title, FLAT)
]
EXACT = [run for run in RUNS if run.values[0] != "nearest_code"]  # whose result is an index
SMOOTH = [run for run in EXACT if CASES[run.values[0]].gradients]


def test_every_kernel_is_here():
    assert {case.name for case in CASES.values()} == set(LADDER)


def module_of(case):
    return importlib.import_module(f"cs231n_gen.kernels.{case.name}")


def arguments(case, dtype, size, strided=False):
    args = case.inputs(kernel_cases.Draw(dtype, DEVICE), **size)
    return over(spread, args) if strided else args


def spread(x):
    """The same numbers, with gaps between them, at an address that is no multiple of anything."""
    wide = x.new_empty(*x.shape[:-1], 2 * x.shape[-1] + 1) if x.dim() else x.new_empty(3)
    view = wide[..., 1::2]
    return view.copy_(x) if x.dim() else view[0].copy_(x)


@contextlib.contextmanager
def in_torch(module):
    """Wrappers take the way of the reference, on the GPU too."""
    with pytest.MonkeyPatch.context() as patch:
        for place in (module, launch):
            patch.setattr(place, "uses_kernel", lambda *tensors: False)
        yield


def wide(values):
    return over(lambda x: x.double() if x.is_floating_point() else x, values)


def outputs(out):
    return out if isinstance(out, tuple) else (out,)


def gradients(case, function, args, upstream):
    given, leaves = with_leaves(case, args)
    outs = [o for o in outputs(function(*given)) if o.requires_grad]
    return torch.autograd.grad(outs, leaves, upstream)


every_dtype = pytest.mark.parametrize("dtype", launch.DTYPES, ids=lambda d: str(d)[6:])
both_layouts = pytest.mark.parametrize("strided", [False, True], ids=["dense", "strided"])


@every_dtype
@both_layouts
@pytest.mark.parametrize(("title", "size"), EXACT)
def test_the_result_is_as_exact_as_torchs(title, size, dtype, strided):
    case = CASES[title]
    module, args = module_of(case), arguments(case, dtype, size, strided)
    function = getattr(module, case.function)
    with in_torch(module):
        exact, plain = outputs(function(*wide(args))), outputs(function(*args))
    got = outputs(function(*args))
    for i, (one, truth, torchs) in enumerate(zip(got, exact, plain, strict=True)):
        precise(one, truth, torchs, f"result {i} is not as exact as torch's")


@every_dtype
@both_layouts
@pytest.mark.parametrize(("title", "size"), SMOOTH)
def test_gradients_are_as_exact_as_torchs(title, size, dtype, strided):
    case = CASES[title]
    module, args = module_of(case), arguments(case, dtype, size, strided)
    function = getattr(module, case.function)
    with in_torch(module):
        like = outputs(function(*args))
        upstream = [torch.randn_like(o) for o in like if o.is_floating_point()]
        upstream = [spread(u) for u in upstream] if strided else upstream
        exact = gradients(case, function, wide(args), wide(upstream))
        plain = gradients(case, function, args, upstream)
    got = gradients(case, function, args, upstream)
    for i, (one, truth, torchs) in enumerate(zip(got, exact, plain, strict=True)):
        precise(one, truth, torchs, f"gradient {i} is not as exact as torch's")


@every_dtype
@both_layouts
@pytest.mark.parametrize(
    "size", SIZES["nearest_code"], ids=lambda s: "-".join(map(str, s.values()))
)
def test_no_code_is_nearer(size, dtype, strided):
    """Nearly equal distances may be told apart either way: what counts is how far the code is."""
    case = CASES["nearest_code"]
    module, args = module_of(case), arguments(case, dtype, size, strided)
    function = getattr(module, case.function)
    with in_torch(module):
        plain = outputs(function(*args))[0]
    z, codes = wide(args)
    distance = torch.cdist(z, codes, compute_mode="donot_use_mm_for_euclid_dist").square()
    index = outputs(function(*args))[0]
    assert index.shape == plain.shape and index.dtype == plain.dtype
    off, torchs = (
        float((distance.gather(1, i[:, None].long())[:, 0] - distance.amin(1)).max())
        for i in (index, plain)
    )
    summed = float(z.square().sum(1).max() + codes.square().sum(1).max())  # in fp32 at best
    assert off <= 2 * torchs + torch.finfo(torch.float32).eps * summed


@pytest.mark.parametrize("name", ["axpy", "guided_step", "noising"])
def test_places_beyond_2_to_the_31_are_reached(name):
    size, dtype = {"batch": 2, "n": (1 << 30) + 8}, torch.bfloat16
    needs = 5 * size["batch"] * size["n"] * dtype.itemsize
    if torch.cuda.mem_get_info()[0] < needs:
        pytest.skip(f"needs {needs / 2**30:.0f} GiB of memory on the GPU")
    case = CASES[name]
    function, args = getattr(module_of(case), case.function), arguments(case, dtype, size)
    whole = outputs(function(*args))
    last = [a[-1:, -1000:] if isinstance(a, Tensor) and a.dim() == 2 else a for a in args]
    last = [a[-1:] if isinstance(a, Tensor) and a.dim() == 1 else a for a in last]
    for got, alone in zip(whole, outputs(function(*last)), strict=True):
        assert torch.equal(got[-1:, -1000:], alone)
