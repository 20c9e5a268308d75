"""Chapter 09's attention is that of diffusers, and the best denoiser of chapter 06.

That it is torch's MultiheadAttention with the same weights, the hidden graders hold.
"""

import math

import pytest
import torch

from cs231n_gen import dit_attention, schedules
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.truth import FiniteData

library = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries").library

# What float32 leaves of numbers of size 1, summed in another order.
ROUNDING = {"atol": 2e-5, "rtol": 2e-5}


@pytest.fixture(autouse=True)
def same_numbers():
    """Begin every test with the same random numbers."""
    torch.manual_seed(9)


def test_a_layer_of_attention_is_the_best_denoiser():
    """Of tokens that hold data, and tokens that hold noisy examples, with weights by the formula.

    A token has the numbers of x, ‖x‖², and whether it is of the data. A key that is not gets a
    score of −10⁴, whose exponential is 0.
    """
    n, examples, D, t = 6, 9, 5, 0.4
    a, b, data = 1 - t, t, torch.randn(examples, D, dtype=torch.float64)
    x_t = a * data[:n] + b * torch.randn(n, D, dtype=torch.float64)
    dim = D + 2
    layer = dit_attention.Attention(dim, heads=1).double()
    q, k, v = layer.qkv.weight.detach().zero_().chunk(3)
    numbers = torch.arange(D)
    q[numbers, numbers] = a / b**2 * math.sqrt(dim)
    k[numbers, numbers] = v[numbers, numbers] = 1.0
    k[D, D], k[D, D + 1] = -(a**2) / (2 * b**2), 1e4
    bias = layer.qkv.bias.detach().zero_()
    bias[D], bias[dim + D] = math.sqrt(dim), -1e4
    with torch.no_grad():
        layer.out.weight.copy_(torch.eye(dim))
        layer.out.bias.zero_()
    noisy = torch.cat([x_t, torch.zeros(n, 2, dtype=torch.float64)], dim=1)
    known = [data, data.square().sum(1, keepdim=True), torch.ones(examples, 1).double()]
    x = layer(torch.cat([noisy, torch.cat(known, dim=1)])[None])[0, :n, :D]
    torch.testing.assert_close(x, FiniteData(data).posterior(x_t, a, b).x, atol=1e-10, rtol=1e-10)
    v = schedules.optimal_velocity(x_t, torch.full((n,), t, dtype=torch.float64), data)
    torch.testing.assert_close((x_t - x) / t, v, atol=1e-10, rtol=1e-10)
    same = dit_attention.denoiser_is_attention(x_t, a, b, data)
    torch.testing.assert_close(x, same, atol=1e-10, rtol=1e-10)


def copied(own, theirs):
    """Weights of an `Attention` to linear layers q, k, v and out."""
    *qkv, out = theirs
    with torch.no_grad():
        for layer, w, b in zip(qkv, own.qkv.weight.chunk(3), own.qkv.bias.chunk(3), strict=True):
            layer.weight.copy_(w)
            layer.bias.copy_(b)
        out.load_state_dict(own.out.state_dict())


@pytest.mark.parametrize("qk_norm", [False, True], ids=["as they are", "normalised"])
def test_joint_attention_is_that_of_sd3(qk_norm):
    """diffusers' joint attention with the same weights: the image's tokens first, RMS norms."""
    processors = library("diffusers.models.attention_processor")
    dim, heads = 16, 2
    theirs = processors.Attention(
        query_dim=dim,
        added_kv_proj_dim=dim,
        dim_head=dim // heads,
        heads=heads,
        out_dim=dim,
        context_pre_only=False,
        bias=True,
        processor=processors.JointAttnProcessor2_0(),
        qk_norm="rms_norm" if qk_norm else None,
        eps=1e-6,
    )
    ours = dit_attention.JointAttention(dim, heads, qk_norm)
    image = theirs.to_q, theirs.to_k, theirs.to_v, theirs.to_out[0]
    copied(ours.image, image)
    text = theirs.add_q_proj, theirs.add_k_proj, theirs.add_v_proj, theirs.to_add_out
    copied(ours.text, text)
    if qk_norm:
        norms = [ours.image.q_norm, ours.image.k_norm, ours.text.q_norm, ours.text.k_norm]
        of = [theirs.norm_q, theirs.norm_k, theirs.norm_added_q, theirs.norm_added_k]
        for one, other in zip(norms, of, strict=True):
            torch.nn.init.normal_(one.weight, mean=1.0, std=0.3)
            other.load_state_dict(one.state_dict())
    x, y = torch.randn(2, 6, dim), torch.randn(2, 4, dim)
    with torch.no_grad():
        want = theirs(x, encoder_hidden_states=y)
        torch.testing.assert_close(ours(x, y), tuple(want), **ROUNDING)


def test_cross_attention_is_that_of_diffusers():
    """With the same weights and the same words; it has no answer to a text of padding alone."""
    processors = library("diffusers.models.attention_processor")
    theirs = processors.Attention(
        query_dim=16, cross_attention_dim=12, dim_head=8, heads=2, bias=True
    )
    ours = dit_attention.CrossAttention(16, 12, 2)
    with torch.no_grad():
        theirs.to_q.load_state_dict(ours.q.state_dict())
        theirs.to_out[0].load_state_dict(ours.out.state_dict())
        parts = zip(ours.kv.weight.chunk(2), ours.kv.bias.chunk(2), strict=True)
        for layer, (w, b) in zip((theirs.to_k, theirs.to_v), parts, strict=True):
            layer.weight.copy_(w)
            layer.bias.copy_(b)
        x, y = torch.randn(2, 6, 16), torch.randn(2, 5, 12)
        mask = torch.tensor([[True, True, False, True, False], [True, False, False, False, True]])
        bias = dit_attention.hidden(mask, y)[:, 0]  # theirs are added to the scores, too
        want = theirs(x, encoder_hidden_states=y, attention_mask=bias)
        torch.testing.assert_close(ours(x, y, mask), want, **ROUNDING)
