"""The diffusion transformer (slides 98–100; Peebles and Xie 2023): blocks that know the level.

Standard Transformer blocks, with one question: how do t and y get in? Here they decide scales,
shifts and gates (adaLN-Zero), and at the start of training every block does nothing.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen.dit_attention import Attention
from cs231n_gen.dit_tokens import patchify, position_embedding, timestep_embedding, unpatchify
from cs231n_gen.kernels.launch import leaves_to_kernels

EPS = 1e-6
FREQUENCIES = 256  # numbers of a level before they become a condition
Tokens = Float[Tensor, "batch tokens dim"]
Row = Float[Tensor, "batch dim"]


def modulate(x: Tokens, shift: Row, scale: Row) -> Tokens:
    """How a condition enters a block (slide 99; Peebles and Xie 2023).

        x (1 + scale) + shift

    Args:
        x: tokens.
        shift, scale: a row for each example, which all of its tokens share. At 0 nothing changes.
    Returns:
        Tokens shaped like x.
    Raises:
        ValueError: if shift or scale is not (batch, dim).
    """
    for name, row in (("shift", shift), ("scale", scale)):
        if row.shape != (x.shape[0], x.shape[-1]):
            shapes = f"{(x.shape[0], x.shape[-1])}, got {tuple(row.shape)}"
            raise ValueError(f"{name} must be (batch, dim), here {shapes}")
    ### BEGIN SOLUTION
    return x * (1 + scale[:, None]) + shift[:, None]
    ### END SOLUTION


def adaptive_norm(x: Tokens, shift: Row, scale: Row) -> Tokens:
    """`modulate` of a layer norm without weights of its own (ε = 10⁻⁶). Given."""
    if leaves_to_kernels(x, "adaln"):
        from cs231n_gen.kernels import adaln as kernel  # here, so an unfinished one harms nobody

        return kernel.adaln(x, scale, shift)
    return modulate(F.layer_norm(x, x.shape[-1:], eps=EPS), shift, scale)


def add_gated(x: Tokens, gate: Row, branch: Tokens) -> Tokens:
    """x + gate · branch, a row of gates for each example. Given."""
    if leaves_to_kernels(x, "gated_residual"):
        from cs231n_gen.kernels import gated_residual as kernel

        return kernel.gated_residual(x, gate, branch)
    return x + gate[:, None] * branch


class Block(nn.Module):
    """A Transformer block with adaLN-Zero, `x = block(x, c)` (slides 98–100; Peebles and Xie 2023).

        shift₁, scale₁, gate₁, shift₂, scale₂, gate₂ = split(W silu(c) + b)
        x ← x + gate₁ · attention(adaptive_norm(x, shift₁, scale₁))
        x ← x + gate₂ · mlp(adaptive_norm(x, shift₂, scale₂))

    W and b, the layer `modulation` of 6 · dim numbers in the order above, are 0 at first. So are
    the gates, and **the block is the identity, whatever t and y are**: a deep network starts as a
    shallow one. At that point only W and b get a gradient, through the gates.

    Its layers are `attention`, an `Attention`; `mlp`, a `torch.nn.Sequential` of a linear layer to
    ratio · dim numbers, GELU in its tanh form, and a linear layer back, `mlp[0]` to `mlp[2]`; and
    `modulation`. Trained weights go by these names.

    Args:
        dim: numbers of a token, and of c.
        heads: of the attention.
        ratio: how much wider the MLP is.
        qk_norm: as in `Attention`.
    """

    def __init__(self, dim: int, heads: int, ratio: int = 4, qk_norm: bool = False):
        super().__init__()
        ### BEGIN SOLUTION
        self.attention = Attention(dim, heads, qk_norm)
        self.mlp = nn.Sequential(
            nn.Linear(dim, ratio * dim), nn.GELU(approximate="tanh"), nn.Linear(ratio * dim, dim)
        )
        self.modulation = nn.Linear(dim, 6 * dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        ### END SOLUTION

    def forward(self, x: Tokens, c: Row, grid: tuple[int, int] | None = None) -> Tokens:
        """The tokens after the block.

        Args:
            x: tokens.
            c: the condition, a row for each example.
            grid: as in `Attention`.
        """
        ### BEGIN SOLUTION
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(F.silu(c)).chunk(6, 1)
        x = add_gated(x, gate_1, self.attention(adaptive_norm(x, shift_1, scale_1), grid))
        return add_gated(x, gate_2, self.mlp(adaptive_norm(x, shift_2, scale_2)))
        ### END SOLUTION


class DiT(nn.Module):
    """A diffusion transformer, a velocity `model(x_t, t)` or `model(x_t, t, y)` (slides 98–100).

        tokens = embed(patchify(x_t)) + positions
        c = level(timestep_embedding(t)) + condition(y)
        for each block:   tokens ← block(tokens, c)
        shift, scale = split(modulation(silu(c)))
        v = unpatchify(out(adaptive_norm(tokens, shift, scale)))

    Its layers are `embed`, a linear layer; `level`, a `torch.nn.Sequential` of a linear layer, SiLU
    and a linear layer, `level[0]` to `level[2]`, for which t becomes 256 numbers; `condition`, a
    `torch.nn.Embedding`, or
    None without classes; `blocks`, a `torch.nn.ModuleList`; `modulation` of 2 · dim numbers and
    `out`, linear layers. `initialise` knows them by these names. Weights of linear
    layers begin as Xavier and Glorot (2010) say, uniform, with biases of 0; those of `level` and
    `condition` as N(0, 0.02²). Those of every `modulation` and of `out` are 0, so **at first v = 0
    for every input**, and the loss of rectified flow is E (z − x)² = 1 + E x² per dimension.

    Args:
        size: height and width of the images or latents, which patch divides.
        channels: of the images or latents; the velocity has as many.
        patch: P.
        dim: numbers of a token, a multiple of 4.
        depth: blocks.
        heads: of each, dividing dim.
        classes: number of conditions, the null condition among them; 0 for an unconditional field.
        qk_norm: as in `Attention`.
        rope: whether positions turn queries and keys (`rotate`) in place of being added. Then 4
            divides dim / heads.
    Raises:
        ValueError: if patch does not divide size.
    """

    def __init__(
        self,
        size: int = 8,
        channels: int = 4,
        patch: int = 2,
        dim: int = 96,
        depth: int = 4,
        heads: int = 4,
        classes: int = 0,
        qk_norm: bool = False,
        rope: bool = False,
    ):
        super().__init__()
        if patch <= 0 or size % patch:
            raise ValueError(f"patch must be a positive number that divides {size}, got {patch}")
        self.shape, self.patch = (channels, size, size), patch
        side = size // patch
        self.grid = (side, side) if rope else None
        positions = torch.zeros(side**2, dim) if rope else position_embedding(side, side, dim)
        self.positions = nn.Buffer(positions, persistent=False)
        ### BEGIN SOLUTION
        self.embed = nn.Linear(patch**2 * channels, dim)
        self.level = nn.Sequential(nn.Linear(FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.condition = nn.Embedding(classes, dim) if classes else None
        self.blocks = nn.ModuleList(Block(dim, heads, qk_norm=qk_norm) for _ in range(depth))
        self.modulation = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, patch**2 * channels)
        self.initialise()
        ### END SOLUTION

    def initialise(self) -> None:
        """The weights before training, as described above. Given."""
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
                if name.startswith("level"):
                    nn.init.normal_(layer.weight, std=0.02)
                if name.endswith("modulation") or name == "out":
                    nn.init.zeros_(layer.weight)
            elif isinstance(layer, nn.Embedding):
                nn.init.normal_(layer.weight, std=0.02)

    def forward(
        self,
        x_t: Float[Tensor, "batch channels size size"],
        t: Float[Tensor, "batch"],
        y: Int[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch channels size size"]:
        """The velocity at x_t.

        Args:
            x_t: noisy images or latents.
            t: their levels in [0, 1].
            y: their conditions, for a network that has some.
        Returns:
            The velocities, shaped like x_t. Gradients flow into x_t and t.
        Raises:
            ValueError: if x_t has other channels or another size, t is not one level for each, or
                y is missing, or given to a network without conditions.
        """
        if x_t.dim() != 4 or x_t.shape[1:] != self.shape:
            shape = ", ".join(map(str, self.shape))
            raise ValueError(f"x_t must be (batch, {shape}), got {tuple(x_t.shape)}")
        if t.shape != x_t.shape[:1]:
            raise ValueError(f"t must be one level for each of {len(x_t)}, got {tuple(t.shape)}")
        if (y is None) != (self.condition is None):
            raise ValueError(
                f"this network has {'no' if self.condition is None else 'a'} condition, "
                f"y is {'missing' if y is None else 'given'}"
            )
        ### BEGIN SOLUTION
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        c = self.level(timestep_embedding(t, FREQUENCIES))
        if self.condition is not None:
            c = c + self.condition(y)
        for block in self.blocks:
            x = block(x, c, self.grid)
        shift, scale = self.modulation(F.silu(c)).chunk(2, dim=1)
        v = self.out(adaptive_norm(x, shift, scale))
        return unpatchify(v, self.patch, *self.shape[1:])
        ### END SOLUTION
