"""What a diffusion transformer attends to, level by level (slides 98–100). Given.

Nothing in the network is changed: when a block and its attention are called, hooks note with what,
and weights and gates are computed from that once more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen import flow, latent
from cs231n_gen.dit import Block
from cs231n_gen.dit_attention import Attention
from cs231n_gen.given.frozen import frozen

LEVELS = torch.linspace(0.04, 1, 13)  # from nearly clean to noise


@dataclass(frozen=True)
class AttentionMaps:
    """What a network attends to in noisy examples.

    levels: t.
    pictures: the decoded prediction E[x | x_t], in [−1, 1].
    noisy: the decoded x_t, in [−1, 1].
    attention: weights of each token (last but one) on all tokens (last), which sum to 1.
    gates: mean |gate| of attention and of the MLP, over examples and numbers of a token.
    """

    levels: Float[Tensor, "levels"]
    pictures: Float[Tensor, "examples levels height width"]
    noisy: Float[Tensor, "examples levels height width"]
    attention: Float[Tensor, "examples levels depth heads tokens tokens"]
    gates: Float[Tensor, "levels depth 2"]

    def reach(self) -> Float[Tensor, "levels depth heads"]:
        """How far away a token looks, on average, in tokens, on a square grid.

        Attention that is the same everywhere reaches 2.0 on a grid of 4×4.
        """
        side = round(self.attention.shape[-1] ** 0.5)
        axis = torch.arange(side, dtype=torch.float32)
        places = torch.cartesian_prod(axis, axis)
        far = torch.cdist(places, places)
        return (self.attention * far).sum(-1).mean((0, -1))


@contextmanager
def recording(
    model: nn.Module,
) -> Iterator[tuple[list[Float[Tensor, "batch heads tokens tokens"]], list[Tensor]]]:
    """Note what each `Block` of a network does while it is called: `with recording(net) as (maps,
    gates): net(x_t, t, y)`.

    Both lists grow by one entry a block and call: the weights of its attention, and |gate| of
    attention and MLP, (batch, 2, dim).
    """
    maps, gates, hooks = [], [], []

    def note_attention(layer, args, kwargs):
        q, k, _ = layer.split(*args, **kwargs)
        maps.append(attention_weights(q, k))

    def note_gates(block, args, kwargs):
        c = args[1] if len(args) > 1 else kwargs["c"]
        _, _, first, _, _, second = block.modulation(F.silu(c)).chunk(6, dim=1)
        gates.append(torch.stack([first, second], dim=1).abs())

    blocks = [part for part in model.modules() if isinstance(part, Block)]
    layers = [part for block in blocks for part in block.modules() if isinstance(part, Attention)]
    try:
        for parts, note in ((blocks, note_gates), (layers, note_attention)):
            hooks += [part.register_forward_pre_hook(note, with_kwargs=True) for part in parts]
        yield maps, gates
    finally:
        for hook in hooks:
            hook.remove()


def attention_weights(
    q: Float[Tensor, "batch heads tokens head"], k: Float[Tensor, "batch heads tokens head"]
) -> Float[Tensor, "batch heads tokens tokens"]:
    """softmax(q kᵀ / √d), the weights that `dit_attention.attend` takes the mean of values with."""
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


def look(
    model: nn.Module,
    decoder: nn.Module,
    shift: float,
    scale: float,
    u: Float[Tensor, "examples 4 8 8"],
    y: Int[Tensor, "examples"],
    *,
    levels: Float[Tensor, "levels"] = LEVELS,
    seed: int = 0,
) -> AttentionMaps:
    """Show a network some latents with the same noise at every level, and note what it does.

    Args:
        model: a `DiT`, used as `frozen` says.
        decoder, shift, scale: as in `latent.from_latent`.
        u, y: latents and their classes.
        levels: t.
        seed: of the noise.
    Raises:
        RuntimeError: if the network called none of its blocks as a layer, `block(x, c)`.
    """
    z = torch.randn(u.shape, generator=torch.Generator().manual_seed(seed))
    pictures, noisy, attention, gates = [], [], [], []
    for t in levels:
        x_t, _ = flow.interpolate(u, z, t.expand(len(u)))
        with frozen(model), recording(model) as (maps, opened):
            v = model(x_t, t.expand(len(u)), y)
        if not maps or len(maps) != len(opened):
            raise RuntimeError(
                f"a DiT calls its blocks as block(tokens, c), and each its attention; "
                f"seen were {len(opened)} blocks and {len(maps)} attentions"
            )
        attention.append(torch.stack(maps, dim=1))
        gates.append(torch.stack([g.mean((0, 2)) for g in opened]))
        for found, latents in ((pictures, x_t - t * v), (noisy, x_t)):
            x = latent.from_latent(decoder, latents, shift, scale)
            found.append(x[:, 0].clamp(-1, 1))
    return AttentionMaps(
        levels=levels,
        pictures=torch.stack(pictures, dim=1),
        noisy=torch.stack(noisy, dim=1),
        attention=torch.stack(attention, dim=1),
        gates=torch.stack(gates),
    )
