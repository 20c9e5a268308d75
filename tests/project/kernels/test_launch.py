"""kernels.launch: the way that a wrapper takes, and kernels that are not written yet."""

import importlib
import sys

import pytest
import torch

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.source.markers import make_gaps
from cs231n_gen.grading.source.tree import read_module
from cs231n_gen.kernels import LADDER, launch

KERNELS = ROOT / "cs231n_gen" / "kernels"
needs_triton = pytest.mark.skipif(not launch.HAVE_TRITON, reason="Triton is not installed")


def stub(name):
    path = KERNELS / f"{name}.py"
    gaps = [gap for e in read_module(path)[0] for gap in e.gaps]
    return make_gaps(path.read_text("utf-8"), gaps)


@pytest.mark.parametrize("name", LADDER)
def test_every_kernel_of_the_source_is_written(name):
    assert launch.written(vars(importlib.import_module(f"cs231n_gen.kernels.{name}")))


@needs_triton
@pytest.mark.parametrize("name", ["axpy", "group_norm_silu"])
def test_a_kernel_with_a_gap_is_not(name, tmp_path):
    path = tmp_path / f"{name}.py"
    path.write_text(stub(name), encoding="utf-8")
    assert not launch.written(vars(load_module(path, name)))
    path.write_text((KERNELS / f"{name}.py").read_text("utf-8"), encoding="utf-8")
    assert launch.written(vars(load_module(path, name)))


@needs_triton
def test_on_a_gpu_a_kernel_with_a_gap_leaves_the_work_to_torch(tmp_path, monkeypatch):
    """The course runs on a GPU before chapter 14 is done."""
    path = tmp_path / "axpy.py"
    path.write_text(stub("axpy"), encoding="utf-8")
    module = load_module(path, "axpy")
    on_gpu = type("OnGPU", (), {"is_cuda": True})()
    monkeypatch.setattr(launch, "INTERPRETED", False)
    assert not eval("uses_kernel(x)", vars(module) | {"x": on_gpu})
    whole = vars(importlib.import_module("cs231n_gen.kernels.axpy"))
    assert eval("uses_kernel(x)", {**whole, "x": on_gpu})


@needs_triton
def test_what_counts_is_the_file_as_it_was_imported(tmp_path, monkeypatch):
    """The question is asked at each call: it reads no file, and a fresh import answers anew."""
    path, on_gpu = tmp_path / "an_axpy.py", type("OnGPU", (), {"is_cuda": True})()
    monkeypatch.setattr(launch, "INTERPRETED", False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    ask = compile("uses_kernel(x)", "", "eval")
    path.write_text(stub("axpy"), encoding="utf-8")
    module = importlib.import_module("an_axpy")
    monkeypatch.setitem(sys.modules, "an_axpy", module)
    module.x = on_gpu
    assert not eval(ask, vars(module))
    path.write_text((KERNELS / "axpy.py").read_text("utf-8"), encoding="utf-8")
    assert not eval(ask, vars(module))
    importlib.reload(module)
    assert eval(ask, vars(module))
    path.unlink()
    assert eval(ask, vars(module))


@needs_triton
@pytest.mark.parametrize("of", ["check_heads", "backward"])
def test_a_gap_anywhere_in_the_file_counts(of, tmp_path):
    """In a function beside the kernels, or in a method."""
    path = tmp_path / "attention.py"
    before, def_of, after = (KERNELS / "attention.py").read_text("utf-8").partition(f"def {of}(")
    head, colon, body = after.partition(":\n")
    indent = " " * (len(body) - len(body.lstrip(" ")))
    gap = f"{indent}raise NotImplementedError\n"
    path.write_text(before + def_of + head + colon + gap + body, encoding="utf-8")
    assert not launch.written(vars(load_module(path, "attention")))


def test_where_kernels_run_is_a_sentence(monkeypatch):
    assert launch.where().startswith("Triton ") and launch.where().endswith(".")
    monkeypatch.setattr(launch, "HAVE_TRITON", False)
    assert "not installed" in launch.where() and "Colab" in launch.where()


def test_kernels_are_switched_off_by_their_names():
    """On a GPU, and inside the interpreter; within a block, and within those inside it."""
    on_gpu, on_cpu = (type("Tensor", (), {"is_cuda": gpu})() for gpu in (True, False))
    names = ("adaln", "attention", "")

    def left(x):
        return [launch.leaves_to_kernels(x, name) for name in names]

    assert left(on_gpu) == [True] * 3
    assert left(on_cpu) == [False] * 3
    with launch.switched_off("adaln"):
        assert left(on_gpu) == [False, True, True]
        with launch.switched_off("attention", "adaln"):
            assert left(on_gpu) == [False, False, True]
        assert left(on_gpu) == [False, True, True]
        with launch.switched_off():
            assert left(on_gpu) == [False, True, True]
    assert left(on_gpu) == [True] * 3
    with pytest.raises(KeyError), launch.switched_off("attention"):
        raise KeyError
    assert left(on_gpu) == [True] * 3


@needs_triton
def test_switching_off_counts_inside_the_interpreter_too():
    x = torch.zeros(2)
    with launch.interpreting():
        assert launch.leaves_to_kernels(x, "attention")
        with launch.switched_off("attention"):
            assert not launch.leaves_to_kernels(x, "attention")
            assert launch.leaves_to_kernels(x, "adaln")
    assert not launch.leaves_to_kernels(x, "adaln")


def test_the_u_net_takes_the_kernels_way(monkeypatch):
    from cs231n_gen import unet

    called = []

    def noted(x, *args):
        called.append(x.shape)
        return original(x, *args)

    original = unet.group_norm_silu
    monkeypatch.setattr(unet, "group_norm_silu", noted)
    unet.UNet(width=8)(torch.randn(1, 1, 8, 8), torch.rand(1))
    assert len(called) == 5  # one in each block


@needs_triton
def test_a_gan_takes_the_kernels_way():
    """A step goes through the kernels of the losses and of AdaIN, and has the same gradients."""
    from cs231n_gen import gan, gan_nets
    from cs231n_gen.given.training import Players
    from cs231n_gen.instruments.compiler import launches

    def step():
        torch.manual_seed(0)
        players = Players(gan_nets.StyleGenerator(3, 2), gan_nets.Discriminator(2), lr_d=0.0)
        V = gan.train_step(players, torch.randn(2, 1, 16, 16), torch.randn(2, 3))
        return [V, *(p.grad for net in [*players][:2] for p in net.parameters())]

    by_torch = step()
    with launch.interpreting(), launches.record() as made:
        by_kernels = step()
    names = [(record.fn.__module__.rpartition(".")[2], record.fn.__name__) for record in made]
    assert names.count(("adain", "kernel")) == 6  # three layers, for each player
    assert names.count(("adain", "backward_kernel")) == 3  # G alone learns of them
    assert names.count(("gan_losses", "kernel")) == 3  # data and samples for D, samples for G
    assert names.count(("gan_losses", "backward_kernel")) == 3
    for one, other in zip(by_torch, by_kernels, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@needs_triton
def test_guidance_takes_the_kernels_way():
    """A guided step goes through its kernel, and ends where torch's does."""
    from cs231n_gen import guidance
    from cs231n_gen.instruments.compiler import launches

    z, y = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(3)

    def model(x, t, y):
        return x.sin() + (t + y)[:, None, None, None]

    by_torch = guidance.sample(model, z, 3, y, 3, 1.5)
    with launch.interpreting(), launches.record() as made:
        by_kernels = guidance.sample(model, z, 3, y, 3, 1.5)
    names = [record.fn.__module__.rpartition(".")[2] for record in made]
    assert names == ["guided_step"] * 3  # one a step, and nothing else
    torch.testing.assert_close(by_kernels, by_torch, atol=1e-5, rtol=1e-4)
