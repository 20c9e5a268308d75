"""Other packages, for tests that compare with them."""

import contextlib
import importlib
import importlib.util
import os
import sys
import types

import pytest

K_DIFFUSION = "k-diffusion==0.1.1.post1"
MEAN_FLOW = "rectified-flow-pytorch==0.14.0"
TAMING = "taming-transformers-rom1504==0.0.6"
TRANSFORMERS = "transformers==5.24.0 tokenizers==0.23.3"


def library(name):
    """The library, or a skip where the `test` extra is missing; the project's own runs have it.

    If someone has transformers too, diffusers is not told: it would import far more.
    """
    try:
        with _in_place({"transformers": None} if name == "diffusers" else {}):
            return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: install the package with its `test` extra")
        pytest.skip(f"{name} is not installed: it comes with the `test` extra")


def k_diffusion(name):
    """The module `name` of k-diffusion, or a skip where that is not installed.

    It is in no extra: whole, it brings wandb, kornia, CLIP and more. Its samplers need none of
    them, so they are loaded without the rest of the package and with an empty torchvision.
    """
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None:
        pytest.skip(f"k-diffusion is not installed: pip install --no-deps {K_DIFFUSION}")
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations)
    transforms = types.ModuleType("torchvision.transforms")
    transforms.functional = None
    stand_ins = {"k_diffusion": package, "torchvision.transforms": transforms}
    stand_ins["torchvision"] = types.ModuleType("torchvision")
    with _in_place(stand_ins):
        return importlib.import_module(f"k_diffusion.{name}")


def mean_flow():
    """MeanFlow of rectified-flow-pytorch, or a skip where that is not installed.

    It is in no extra either: whole, it brings accelerate, x-transformers and more. Its file needs
    PyTorch alone, and einops for a weight of the loss that no test uses.
    """
    spec = importlib.util.find_spec("rectified_flow_pytorch")
    if spec is None:
        pytest.skip(f"rectified-flow-pytorch is missing: pip install --no-deps {MEAN_FLOW}")
    package = types.ModuleType("rectified_flow_pytorch")
    package.__path__ = list(spec.submodule_search_locations)
    einops = types.ModuleType("einops")
    einops.reduce = None
    with _in_place({"rectified_flow_pytorch": package, "einops": einops}):
        return importlib.import_module("rectified_flow_pytorch.mean_flow").MeanFlow


def diffusers_networks():
    """`diffusers`, whose networks can be imported too.

    Where torchcfm is installed, so is torchvision, whose wheel does not fit a torch without CUDA:
    beside it `import diffusers.models` raises. No network here needs it, so they are loaded with an
    empty torchvision.
    """
    diffusers = library("diffusers")
    vision = types.ModuleType("torchvision")
    vision.transforms = types.ModuleType("torchvision.transforms")
    stand_ins = {"torchvision": vision, "torchvision.transforms": vision.transforms}
    stand_ins["transformers"] = None  # as in `library`
    with _in_place(stand_ins):
        importlib.import_module("diffusers.models.transformers")
        for name in ("DiTPipeline", "AutoencoderKL", "VQModel", "UVit2DModel"):
            getattr(diffusers, name)  # imported at the first look
    return diffusers


def taming_quantizers():
    """The module of taming-transformers' quantizers, or a skip where that is not installed.

    It is in no extra: whole, it wants a release of transformers from 2021. This module needs torch,
    and einops, which vector-quantize-pytorch brings.
    """
    if importlib.util.find_spec("taming") is None:
        pytest.skip(f"taming-transformers is not installed: pip install --no-deps {TAMING}")
    return importlib.import_module("taming.modules.vqvae.quantize")


def transformers(*names):
    """These classes of transformers, or a skip where that is not installed.

    It is in no extra: with it, `import diffusers` would bring far more than tests need. Of what it
    requires, the `test` extra brings the rest. Here too torchvision's wheel would not fit.
    """
    if importlib.util.find_spec("transformers") is None:
        pytest.skip(f"transformers is not installed: pip install --no-deps {TRANSFORMERS}")
    with _in_place({"torchvision": None}):  # which reads as not installed
        package = importlib.import_module("transformers")
        return [getattr(package, name) for name in names]


@contextlib.contextmanager
def diffusers_pipelines():
    """`diffusers` with its pipelines of text to image, or a skip where transformers is missing.

    diffusers asks once whether there is transformers, and `library` says no. So this is a second
    copy; while the context lasts it stands in place of the one that other tests have.
    """
    transformers()
    before = {n: m for n, m in sys.modules.items() if n.split(".")[0] == "diffusers"}
    for name in before:
        del sys.modules[name]
    try:
        with _in_place({"torchvision": None}):
            yield importlib.import_module("diffusers")
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] == "diffusers"]:
            del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def _in_place(stand_ins):
    """Modules by name that importing finds instead of what is installed."""
    before = {n: sys.modules.get(n) for n in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for n, module in before.items():
            if module is None:
                del sys.modules[n]
            else:
                sys.modules[n] = module
