"""Right answers to chapter 09's blocks and to the DiT written another way."""

import functools
import types

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cs231n_gen import dit
from cs231n_gen.checking.variants import accepted
from cs231n_gen.dit_tokens import patchify, timestep_embedding, unpatchify


def fits(x, shift, scale):
    if any(row.shape != (x.shape[0], x.shape[-1]) for row in (shift, scale)):
        raise ValueError("shift and scale must be (batch, dim)")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {"dit.modulate": fits}


@accepted("dit.modulate")
def by_addcmul(x, shift, scale):
    return torch.addcmul(shift.unsqueeze(1), x, 1 + scale.unsqueeze(1))


@accepted("dit.modulate")
def by_einsum(x, shift, scale):
    return x + torch.einsum("btd,bd->btd", x, scale) + shift[:, None, :]


@accepted("dit.modulate")
def example_by_example(x, shift, scale):
    return torch.stack([rows * (s + 1) + b for rows, b, s in zip(x, shift, scale, strict=True)])


@accepted("dit.modulate")
def tokens_in_front(x, shift, scale):
    return ((1 + scale) * x.transpose(0, 1) + shift).transpose(0, 1)


# --- dit.Block ----------------------------------------------------------------------------------


def walking(forward, dim, heads, ratio, qk_norm):
    made = dit.Block(dim, heads, ratio, qk_norm)
    made.forward = types.MethodType(forward, made)
    return made


@accepted("dit.Block")
def rows_by_view(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        m = self.modulation(F.silu(c)).view(len(c), 6, 1, dim).unbind(1)
        h = F.layer_norm(x, (dim,), eps=1e-6) * (1 + m[1]) + m[0]
        x = x + m[2] * self.attention(h, grid)
        h = F.layer_norm(x, (dim,), eps=1e-6) * (1 + m[4]) + m[3]
        return x + m[5] * self.mlp(h)

    return walking(forward, dim, heads, ratio, qk_norm)


@accepted("dit.Block")
def norms_as_layers_without_weights(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        rows = self.modulation(c * torch.sigmoid(c)).split(dim, dim=-1)
        branch = self.attention(dit.modulate(self.norm(x), rows[0], rows[1]), grid)
        x = torch.addcmul(x, rows[2].unsqueeze(1), branch)
        branch = self.mlp(dit.modulate(self.norm(x), rows[3], rows[4]))
        return torch.addcmul(x, rows[5].unsqueeze(1), branch)

    made = walking(forward, dim, heads, ratio, qk_norm)
    made.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
    return made


@accepted("dit.Block")
def norms_by_hand(dim, heads, ratio=4, qk_norm=False):
    def norm(x):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def forward(self, x, c, grid=None):
        rows = self.modulation(F.silu(c))[:, None]
        a, b, g, d, e, h = rows.tensor_split(6, dim=2)
        x = x + g * self.attention(norm(x) * (1 + b) + a, grid)
        return x + h * self.mlp(norm(x) * (1 + e) + d)

    return walking(forward, dim, heads, ratio, qk_norm)


@accepted("dit.Block")
def made_in_another_order(dim, heads, ratio=4, qk_norm=False):
    made = dit.Block(dim, heads, ratio, qk_norm)
    for name in ("mlp", "attention"):  # behind `modulation`
        layer = getattr(made, name)
        delattr(made, name)
        setattr(made, name, layer)
    return made


@accepted("dit.Block")
def zeros_by_constant(dim, heads, ratio=4, qk_norm=False):
    made = dit.Block(dim, heads, ratio, qk_norm)
    made.modulation = nn.Linear(dim, 6 * dim)
    for p in made.modulation.parameters():
        nn.init.constant_(p, 0.0)
    return made


# --- dit.DiT ------------------------------------------------------------------------------------


def walked(forward, options):
    made = dit.DiT(**options)
    usual = made.forward

    def checked(self, x_t, t, y=None):
        shape, levels = tuple(x_t.shape), tuple(t.shape)
        if shape[1:] != self.shape or levels != shape[:1] or (y is None) != (not self.condition):
            return usual(x_t, t, y)
        return forward(self, x_t, t, y)

    made.forward = types.MethodType(checked, made)
    return made


@accepted("dit.DiT")
def last_rows_by_hand(**options):
    def forward(self, x_t, t, y):
        c = self.level(timestep_embedding(t, 256))
        if y is not None:
            c = self.condition(y) + c
        x = self.positions + self.embed(patchify(x_t, self.patch))
        for n in range(len(self.blocks)):
            x = self.blocks[n](x, c, grid=self.grid)
        rows = self.modulation(F.silu(c)).view(len(c), 2, 1, -1)
        x = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        v = self.out(x * (1 + rows[:, 1]) + rows[:, 0])
        return unpatchify(v, self.patch, *self.shape[1:])

    return walked(forward, options)


@accepted("dit.DiT")
def example_after_example(**options):
    def forward(self, x_t, t, y):
        answers = []
        for n in range(len(x_t)):
            c = self.level(timestep_embedding(t[n : n + 1], 256))
            c = c if y is None else c + self.condition(y[n : n + 1])
            x = self.embed(patchify(x_t[n : n + 1], self.patch)) + self.positions
            for block in self.blocks:
                x = block(x, c, self.grid)
            shift, scale = self.modulation(F.silu(c)).chunk(2, dim=-1)
            v = self.out(dit.adaptive_norm(x, shift, scale))
            answers.append(unpatchify(v, self.patch, *self.shape[1:]))
        return torch.cat(answers)

    return walked(forward, options)


@accepted("dit.DiT")
def blocks_in_a_loop(**options):
    made = dit.DiT(**options)
    old = made.blocks
    made.blocks = nn.ModuleList()
    for _ in range(len(old)):
        heads, dim = old[0].attention.heads, made.embed.out_features
        made.blocks.append(dit.Block(dim, heads, qk_norm=options.get("qk_norm", False)))
    made.initialise()
    return made


@accepted("dit.DiT")
def blocks_computed_again(**options):
    """Gradient checkpointing: the same numbers, with less memory."""
    made = dit.DiT(**options)
    for block in made.blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
    return made


@accepted("dit.DiT")
def embedding_by_a_convolution(**options):
    def forward(self, x_t, t, y):
        P, C = self.patch, x_t.shape[1]
        weight = self.embed.weight.unflatten(1, (P, P, C)).permute(0, 3, 1, 2)
        x = F.conv2d(x_t, weight, self.embed.bias, stride=P).flatten(2).transpose(1, 2)
        x = x + self.positions
        c = self.level(timestep_embedding(t, 256))
        c = c if y is None else c + self.condition(y)
        for block in self.blocks:
            x = block(x, c, self.grid)
        shift, scale = self.modulation(F.silu(c)).chunk(2, dim=1)
        v = self.out(dit.modulate(F.layer_norm(x, x.shape[-1:], eps=1e-6), shift, scale))
        return unpatchify(v, P, *self.shape[1:])

    return walked(forward, options)
