"""What else does a kernel's work: torch, compiled or not, its attention, and Liger's kernels."""

import importlib

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def rivals(case):
    """By name, the ways to do the same, of which the best counts."""
    module = importlib.import_module(f"cs231n_gen.kernels.{case.name}")
    eager = EAGER.get(case.title, lambda module: module.reference)(module)
    found = {"eager": [eager], "compiled": [torch.compile(eager, dynamic=False)]}
    if case.title in ATTENTION:
        found["sdpa"] = [by(b, ATTENTION[case.title]) for b in BACKENDS]
    if case.title in LIGER:
        try:
            found["liger"] = [LIGER[case.title]()]
        except ImportError:
            found["liger"] = []
    return found


def rectified(module):
    """The reference with the coefficients of rectified flow, which are part of the work."""

    def noising(x, z, t):
        ones = torch.ones_like(t)
        return module.reference(x, z, 1 - t, t, -ones, ones)

    return noising


def rectified_with_noise(module):
    """The same with torch's noise."""
    noising = rectified(module)
    return lambda x, t, seed: noising(x, torch.randn_like(x), t)


def by(backend, attention):
    """An attention of torch's, by one of its backends."""

    def way(*args):
        with sdpa_kernel(backend):
            return attention(*args)

    return way


def torch_attention(q, k, v, causal):
    """torch's own attention."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def torch_joint_attention(image_qkv, text_qkv, text_mask):
    """Both sequences as one, which has to be made and cut again."""
    q, k, v = (torch.cat(pair, dim=2) for pair in zip(image_qkv, text_qkv, strict=True))
    image, text = image_qkv[0].shape[2], text_mask.shape[1]
    key = F.pad(text_mask, (image, 0), value=True)[:, None, None]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=key.expand(-1, 1, image + text, -1))
    return out[:, :, :image], out[:, :, image:]


def liger_group_norm():
    """Liger's group norm, and torch's SiLU after it."""
    from liger_kernel.ops.group_norm import LigerGroupNormFunction

    def group_norm_silu(x, groups, weight, bias):
        C = x.shape[1]
        out = LigerGroupNormFunction.apply(x.flatten(2), weight, bias, C, groups, 1e-6)
        return F.silu(out[0] if isinstance(out, tuple) else out).view_as(x)

    return group_norm_silu


def liger_norm_and_rope():
    """Liger's RMS norm of q and of k, and its rotation."""
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction
    from liger_kernel.ops.rope import LigerRopeFunction

    def qk_norm_rope(q, k, q_weight, k_weight, cos, sin):
        q, k = (
            LigerRMSNormFunction.apply(x.transpose(1, 2), weight, 1e-6, 0.0, "llama", False)
            for x, weight in [(q, q_weight), (k, k_weight)]
        )
        q, k = q.transpose(1, 2), k.transpose(1, 2)  # it wants them to lie so
        cos, sin = (torch.cat([a, a], -1)[None] for a in (cos, sin))
        return LigerRopeFunction.apply(q, k, cos, sin)

    return qk_norm_rope


def liger_adaln():
    """Liger's layer norm, and torch's modulation after it."""
    from liger_kernel.ops.layer_norm import LigerLayerNormFunction

    def adaln(x, scale, shift):
        one, zero = torch.ones_like(x[0, 0]), torch.zeros_like(x[0, 0])
        normed = LigerLayerNormFunction.apply(x, one, zero, 1e-6)
        return normed * (1 + scale[:, None]) + shift[:, None]

    return adaln


EAGER = {
    "noising": rectified,
    "noising_with_noise": rectified_with_noise,
    "generator_loss": lambda module: module.generator_reference,
}
RANDOM = {"noising_with_noise"}  # whose numbers are others each time
BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
ATTENTION = {"attention": torch_attention, "joint_attention": torch_joint_attention}
LIGER = {
    "adaln": liger_adaln,
    "group_norm_silu": liger_group_norm,
    "qk_norm_rope": liger_norm_and_rope,
}
