"""The error budget: what rounds in between is refused in every dtype, what rounds once passes."""

import pytest
import torch

from cs231n_gen.checking.errors import PropertyFailed
from cs231n_gen.checking.fresh_modules import load_module, package_modules
from cs231n_gen.checking.kernels.reference import Exact
from cs231n_gen.checking.kernels.stages import DTYPES, Stages
from cs231n_gen.checking.student import Student
from cs231n_gen.common.paths import PACKAGE
from cs231n_gen.instruments import error_budget
from cs231n_gen.kernels.launch import HAVE_TRITON

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

ROUND = ".to(tl.float16).to(tl.float32)"
MAPS, ROWS, TOKENS = (2, 3, 12, 12), (2, 3), (2, 24, 16)
PLANTED = {  # kernel: shapes and numbers of its wrapper; what is rounded to half in between
    "axpy": ([(1500,), (1500,), 2.7183], "a * X + Y", "(a * X)ROUND + Y"),
    "guided_step": ([(1500,)] * 3 + [1.5, 0.3], "X - dt * v_cfg", "X - (dt * v_cfg)ROUND"),
    "adain": ([MAPS, ROWS, ROWS], "W * ((X - mu) * r) + B", "(W * ((X - mu) * r))ROUND + B"),
    "adaln": ([TOKENS, (2, 16), (2, 16)], "off * r * (1 + S)", "(off * r)ROUND * (1 + S)"),
    "gated_residual": ([TOKENS, (2, 16), TOKENS], "X + A * Y", "X + (A * Y)ROUND"),
}
BACKWARD = {
    "adain": "normal * (d_W / n))\n    tl.store",
    "adaln": "normal * along)\n        tl.store",
    "gated_residual": "G * Y",
}


def stages(name, change=lambda text: text, folder=None):
    modules, module = package_modules(), f"kernels.{name}"
    path = PACKAGE / "kernels" / f"{name}.py"
    reference = load_module(path, f"cs231n_gen.{module}").reference
    if folder is not None:
        own = folder / path.name
        text = path.read_text("utf-8")
        assert change(text) != text
        own.write_text(change(text), encoding="utf-8")
        modules[module] = load_module(own, f"cs231n_gen.{module}")
    wrt = [k for k, a in enumerate(PLANTED[name][0]) if isinstance(a, tuple)]
    return Stages(Student(modules), f"{module}.{name}", Exact(reference, wrt))


def arguments(name, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    return [
        torch.randn(a, generator=random).to(dtype) if isinstance(a, tuple) else a
        for a in PLANTED[name][0]
    ]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", PLANTED)
def test_a_kernel_that_rounds_in_between_is_refused(name, dtype, tmp_path):
    _, old, new = PLANTED[name]
    new = new.replace("ROUND", ROUND)
    planted = stages(name, lambda text: text.replace(old, new), tmp_path)
    with pytest.raises(PropertyFailed, match="is off by"):
        planted.correct(*arguments(name, dtype, 0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", BACKWARD)
def test_a_backward_kernel_that_rounds_in_between_is_refused(name, dtype, tmp_path):
    def change(text):
        old = BACKWARD[name]
        term, line, rest = old.partition(")\n")
        return text.replace(old, f"({term}){ROUND}{line}{rest}")

    with pytest.raises(PropertyFailed, match="is off by"):
        stages(name, change, tmp_path).backward(*arguments(name, dtype, 0), upstream=torch.square)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", PLANTED)
def test_what_torch_makes_in_float32_and_rounds_once_passes_for_any_seed(name, dtype):
    exact = stages(name).exact
    for seed in range(25):
        args = arguments(name, dtype, seed)
        right = exact.reference(*error_budget.in_float32(args)).to(dtype)
        exact.judge_results([right], args, {}, "wrong")


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_torch_in_half_precision_rounds_in_between(dtype):
    exact = Exact(lambda x, y: 2.7183 * x + y)
    args = [x.to(dtype) for x in torch.randn(2, 1500)]
    with pytest.raises(PropertyFailed, match="is off by"):
        exact.judge_results([exact.reference(*args)], args, {}, "wrong")


def test_a_small_number_beside_a_large_one_answers_for_itself():
    """3 in 1000 is off by a tenth of its unit in float16 more than rounding takes."""
    exact = Exact(lambda x, y: x * y)
    x, y = torch.tensor([1000.0, 0.003]).half(), torch.ones(2).half()
    exact.judge_results([x], [x, y], {}, "wrong")
    wrong = x.clone()
    wrong[1] += 2.0**-19  # a unit of the last place
    with pytest.raises(PropertyFailed, match="number 1 is off by"):
        exact.judge_results([wrong], [x, y], {}, "wrong")


def test_a_sum_that_cancels_has_a_budget_by_its_terms():
    random = torch.Generator().manual_seed(0)
    terms = torch.randn(64, 1000, generator=random)
    x = torch.cat([terms, -terms.flip(1)], 1)  # adds up to 0
    x[:, 0] += 1e-3
    total = Exact(lambda x: x.sum(1), floors={0: 4})
    in_turn = torch.zeros(64)
    for k in torch.randperm(2000, generator=random):
        in_turn += x[:, k]
    total.judge_results([in_turn], [x], {}, "wrong")
    with pytest.raises(PropertyFailed):
        total.judge_results([x.half().float().sum(1)], [x], {}, "wrong")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_half_a_step_is_half_the_distance_to_the_next_number(dtype):
    x = torch.tensor([1.0, 1.5, 3.0, 100.0, 2.0**-10]).to(dtype)
    kind = torch.int32 if dtype == torch.float32 else torch.int16
    following = (x.view(kind) + 1).view(dtype)
    half = error_budget.half_a_step(x.double(), dtype)
    assert torch.equal(half, (following.double() - x.double()) / 2)


def test_the_condition_of_a_sum_of_products_is_that_of_its_terms():
    random = torch.Generator().manual_seed(0)
    a, x = torch.randn(2, 400, 50, generator=random, dtype=torch.float64)
    (found,) = error_budget.sizes(lambda v: [(v[0] * v[1]).sum(1)], [a, x], [(a * x).sum(1)])
    ratio = found / (2 * (a * x).square().sum(1)).sqrt()
    assert 0.9 < ratio.square().mean().sqrt() < 1.1 and ratio.min() > 0.2
