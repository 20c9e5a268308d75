"""The transformer of chapter 10 on a GPU: by the course's kernels, and with each left to torch.

    PYTHONPATH=. python -m pytest tests/gpu/test_text_to_image.py

It needs jaxtyping beside what `test_kernels.py` needs.
"""

import copy

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

KERNELS = ("adaln", "joint_attention", "gated_residual", "patchify")
OFF = [(), *((name,) for name in KERNELS), KERNELS]
VOCABULARY = ["", "a", "red", "green", "ring", "square", "left", "of"]
CAPTIONS = ["a red ring left of a green square", "green square", "", "ring of red"]
NEAR = 1e-4  # of the norm of each result


@pytest.fixture
def modules():
    names = ("text", "text_to_image")
    return [pytest.importorskip(f"cs231n_gen.{n}", exc_type=ImportError) for n in names]


@pytest.fixture(autouse=True)
def in_full_float32(monkeypatch):
    """With the same numbers each time."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    torch.manual_seed(231)


def randomised(net):
    """None of the weights is 0, and what goes through them keeps its size."""
    for w in net.parameters():
        torch.nn.init.normal_(w.data, std=(w[0].numel() if w.dim() > 1 else 4) ** -0.5)
    return net


def spread(v):
    """What flows back into a result, different numbers everywhere."""
    return torch.sin(torch.arange(v.numel(), device=v.device)).to(v.dtype).reshape(v.shape)


def near(found, exact):
    assert found.keys() == exact.keys()
    for name, want in exact.items():
        error = (found[name].cpu().double() - want).norm()
        assert error <= NEAR * want.norm(), f"{name} is off by {error / want.norm():.1e} of itself"


def block_step(block, x, y, c, mask):
    """Both streams, of the text's the words alone, and all gradients that are not of padding."""
    block.zero_grad()
    x, y, c = (v.clone().requires_grad_() for v in (x, y, c))
    a, b = block(x, y, c, mask)
    words = slice(None) if mask is None else mask.to(b.device)
    ((spread(a) * a).sum() + (spread(b[words]) * b[words]).sum()).backward()
    found = {"image": a.detach(), "words": b[words].detach(), "x": x.grad, "y": y.grad, "c": c.grad}
    return found | {n: w.grad.clone() for n, w in block.named_parameters()}


@pytest.mark.parametrize("masked", [False, True], ids=["words", "padding"])
@pytest.mark.parametrize("size", [(32, 2, 16, 5), (64, 4, 64, 77), (384, 6, 256, 33)], ids=str)
@pytest.mark.parametrize(
    "off", [o for o in OFF if o != ("patchify",)], ids=lambda off: "-".join(off) or "none"
)
def test_a_step_of_the_block_is_that_of_float64(modules, size, off, masked):
    dim, heads, tokens, words = size
    block = randomised(modules[1].JointBlock(dim, heads))
    given = torch.randn(3, tokens, dim), torch.randn(3, words, dim), 0.3 * torch.randn(3, 6 * dim)
    mask = torch.arange(words) < torch.tensor([[words], [words // 2], [1]]) if masked else None
    exact = block_step(copy.deepcopy(block).double(), *(v.double() for v in given), mask)
    with launch.switched_off(*off):
        on_gpu = mask if mask is None else mask.cuda()
        found = block_step(block.cuda(), *(v.cuda() for v in given), on_gpu)
    near(found, exact)
    if masked:
        assert not found["y"][~mask].any()


def network(modules, **sizes):
    text, text_to_image = modules
    encoder = randomised(text.TextEncoder(VOCABULARY, 8, dim=32))
    return randomised(text_to_image.TextToImage(encoder, **sizes))


@pytest.mark.parametrize("off", OFF, ids=lambda off: "-".join(off) or "none")
def test_a_step_of_the_network_is_that_of_float64(modules, off, monkeypatch):
    """With a caption that is empty, and captions of different lengths."""
    text, text_to_image = modules
    net = network(modules, size=16, dim=64, depth=3, heads=4)
    x_t, t = torch.randn(4, 4, 16, 16), torch.linspace(0, 1, 4)
    tokens, _ = text.tokenize(CAPTIONS, VOCABULARY, 8)
    with torch.no_grad():
        # Angles of up to 1000 are rounded before any kernel: both precisions get the same waves.
        waves = text_to_image.timestep_embedding(t, text_to_image.FREQUENCIES)
    monkeypatch.setattr(text_to_image, "timestep_embedding", lambda t, dim: waves.to(t))

    def step(net, x_t, t, tokens):
        x_t = x_t.clone().requires_grad_()
        v = net(x_t, t, tokens)
        v.backward(spread(v))
        grads = {n: w.grad for n, w in net.named_parameters() if w.grad is not None}
        return {"v": v.detach(), "x_t": x_t.grad, **grads}

    exact = step(copy.deepcopy(net).double(), x_t.double(), t.double(), tokens)
    with launch.switched_off(*off):
        found = step(net.cuda(), x_t.cuda(), t.cuda(), tokens.cuda())
    assert not any(name.startswith("encoder") for name in found)
    near(found, exact)


@pytest.mark.parametrize("w", [0.0, 2.0])
def test_pictures_are_sampled_on_the_gpu(modules, w):
    """Captions become numbers on a CPU, and go where the noise is."""
    net, z = network(modules, size=8, dim=32, depth=2, heads=2), torch.randn(4, 4, 8, 8)
    sample = modules[1].sample
    negative = ["red", "", "green", "ring"]
    exact = sample(copy.deepcopy(net).double(), z.double(), 4, CAPTIONS, w, negative)
    found = sample(net.cuda(), z.cuda(), 4, CAPTIONS, w, negative)
    assert found.is_cuda
    near({"x": found}, {"x": exact})
