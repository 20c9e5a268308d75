"""Typical wrong answers to chapter 09's blocks and to the DiT, each with the sentence that explains
it. Networks are the reference's with a part exchanged, so that they go by the same name."""

import math
import types

import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import dit
from cs231n_gen.checking.variants import mistake
from cs231n_gen.dit_attention import Attention
from cs231n_gen.dit_tokens import patchify, timestep_embedding, unpatchify


def fits(x, shift, scale):
    if any(row.shape != (x.shape[0], x.shape[-1]) for row in (shift, scale)):
        raise ValueError("shift and scale must be (batch, dim)")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {"dit.modulate": fits}

# --- dit.modulate -------------------------------------------------------------------------------


@mistake("dit.modulate", "You multiply by scale. At scale = 0 the tokens vanish: it is 1 + scale.")
def without_one(x, shift, scale):
    return x * scale[:, None] + shift[:, None]


@mistake("dit.modulate", "Shift and scale have changed places: shift is the first of the two.")
def exchanged(x, shift, scale):
    return x * (1 + shift[:, None]) + scale[:, None]


@mistake("dit.modulate", "The shift is scaled as well: scale the tokens first, then shift them.")
def shifted_first(x, shift, scale):
    return (x + shift[:, None]) * (1 + scale[:, None])


@mistake("dit.modulate", "The shift is subtracted: it is added.")
def shift_subtracted(x, shift, scale):
    return x * (1 + scale[:, None]) - shift[:, None]


@mistake("dit.modulate", "The tokens are scaled by 1 − scale: it is 1 + scale.")
def one_minus(x, shift, scale):
    return x * (1 - scale[:, None]) + shift[:, None]


@mistake("dit.modulate", "The shift is missing.")
def no_shift(x, shift, scale):
    return x * (1 + scale[:, None]) + 0 * shift[:, None]


@mistake("dit.modulate", "The scale is missing.")
def no_scale(x, shift, scale):
    return x + shift[:, None] + 0 * scale[:, None]


@mistake(
    "dit.modulate",
    "All examples get the rows of the first one. Each example has a row of its own.",
)
def rows_of_the_first(x, shift, scale):
    return x * (1 + scale[:1, None]) + shift[:1, None]


@mistake(
    "dit.modulate",
    "Your rows meet the tokens along the wrong axis: a row belongs to an example, and all tokens "
    "of that example share it. Where there are as many tokens as examples, torch cannot tell.",
)
def along_tokens(x, shift, scale):
    return x * (1 + scale) + shift


@mistake("dit.modulate", "The scale gets no gradient: it is cut off from the graph.", sure=True)
def scale_cut_off(x, shift, scale):
    return x * (1 + scale.detach()[:, None]) + shift[:, None]


@mistake(
    "dit.modulate",
    "Shapes that do not fit are not refused: leave the lines above yours as they are.",
    public=False,
    bare=True,
)
def nothing_refused(x, shift, scale):
    return x * (1 + scale[:, None]) + shift[:, None]


# --- dit.Block ----------------------------------------------------------------------------------


def block(dim, heads, ratio=4, qk_norm=False):
    """The reference's block."""
    return dit.Block(dim, heads, ratio, qk_norm)


def with_modulation(dim, heads, ratio, qk_norm):
    """The reference's block with another `modulation`, drawn after the other layers, once."""
    before = torch.get_rng_state()
    made = block(dim, heads, ratio, qk_norm)
    torch.set_rng_state(before)
    made.attention = Attention(dim, heads, qk_norm)
    made.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), made.mlp[1], nn.Linear(ratio * dim, dim))
    made.modulation = nn.Linear(dim, 6 * dim)
    return made


def walking(forward, dim, heads, ratio, qk_norm):
    """A block with another way through its layers."""
    made = block(dim, heads, ratio, qk_norm)
    made.forward = types.MethodType(forward, made)
    return made


def rows_of(self, c):
    return self.modulation(F.silu(c)).chunk(6, dim=1)


def normed(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


@mistake(
    "dit.Block",
    "A new block changes its tokens. The layer `modulation` has to begin with weights and biases of"
    " 0, so that all gates are 0.",
)
def modulation_not_zero(dim, heads, ratio=4, qk_norm=False):
    return with_modulation(dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "Only the weights of `modulation` begin at 0. Its biases have to as well.",
)
def bias_not_zero(dim, heads, ratio=4, qk_norm=False):
    made = with_modulation(dim, heads, ratio, qk_norm)
    nn.init.zeros_(made.modulation.weight)
    return made


@mistake(
    "dit.Block",
    "Your branches begin at 0 as well as the gates, so no gate gets a gradient: the block can never"
    " learn. Only `modulation` begins at 0.",
    sure=True,
)
def branches_zero_too(dim, heads, ratio=4, qk_norm=False):
    made = block(dim, heads, ratio, qk_norm)
    for layer in (made.attention.out, made.mlp[2]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return made


@mistake(
    "dit.Block",
    "The last layer of the attention begins at 0 as well as its gate, which gets no gradient then. "
    "Only `modulation` begins at 0.",
    sure=True,
)
def attention_zero_too(dim, heads, ratio=4, qk_norm=False):
    made = block(dim, heads, ratio, qk_norm)
    nn.init.zeros_(made.attention.out.weight)
    nn.init.zeros_(made.attention.out.bias)
    return made


@mistake(
    "dit.Block",
    "The last layer of the MLP begins at 0 as well as its gate, which gets no gradient then. Only "
    "`modulation` begins at 0.",
    sure=True,
)
def mlp_zero_too(dim, heads, ratio=4, qk_norm=False):
    made = block(dim, heads, ratio, qk_norm)
    nn.init.zeros_(made.mlp[2].weight)
    nn.init.zeros_(made.mlp[2].bias)
    return made


@mistake(
    "dit.Block",
    "`modulation` is a linear layer by itself. SiLU comes before it, and has no weights.",
    sure=True,
)
def silu_in_modulation(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = self.modulation(c).chunk(6, dim=1)
        x = x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    made = walking(forward, dim, heads, ratio, qk_norm)
    made.modulation = nn.Sequential(nn.SiLU(), made.modulation)
    return made


@mistake(
    "dit.Block",
    "Your MLP's width is rounded up to a multiple of 8. It is ratio times dim, whatever that is.",
    sure=True,
)
def width_rounded(dim, heads, ratio=4, qk_norm=False):
    middle = -(-ratio * dim // 8) * 8
    return with_mlp(dim, heads, ratio, qk_norm, nn.GELU("tanh"), middle)


@mistake(
    "dit.Block",
    "Without a grid nothing turns. Your block takes a square number of tokens for a grid.",
    sure=True,
)
def grid_made_up(dim, heads, ratio=4, qk_norm=False):
    made = block(dim, heads, ratio, qk_norm)
    usual = made.forward

    def forward(self, x, c, grid=None):
        side = math.isqrt(x.shape[1])
        grid = grid or ((side, side) if side**2 == x.shape[1] and dim // heads % 4 == 0 else None)
        return usual(x, c, grid)

    made.forward = types.MethodType(forward, made)
    return made


@mistake(
    "dit.Block",
    "Your block keeps the rows of an earlier pass. Each pass has conditions of its own.",
    sure=True,
)
def rows_kept(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        if self.training or len(getattr(self, "rows", ())) != len(c):
            self.rows = self.modulation(F.silu(c))
        a, b, g, d, e, h = self.rows.chunk(6, dim=1)
        x = x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "Your tokens are divided by their root mean square. A layer norm subtracts the mean first.",
)
def rms_norm(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = rows_of(self, c)
        branch = self.attention(dit.modulate(F.rms_norm(x, (dim,), eps=1e-6), a, b), grid)
        x = x + g[:, None] * branch
        return x + h[:, None] * self.mlp(dit.modulate(F.rms_norm(x, (dim,), eps=1e-6), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake("dit.Block", "The gates are missing: a branch is multiplied by its gate, then added.")
def no_gates(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, _, d, e, _ = rows_of(self, c)
        x = x + self.attention(dit.modulate(normed(x), a, b), grid)
        return x + self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake("dit.Block", "Your gates are 1 + gate, as scales are. A gate begins at 0.")
def gates_from_one(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = rows_of(self, c)
        x = x + (1 + g[:, None]) * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + (1 + h[:, None]) * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake("dit.Block", "The tokens themselves are lost: each branch is added to them.")
def no_residual(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = rows_of(self, c)
        x = g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake("dit.Block", "The condition has not gone through SiLU before `modulation`.")
def no_silu(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = self.modulation(c).chunk(6, dim=1)
        x = x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "SiLU comes after `modulation` in your block. It comes before: rows may be negative as well.",
)
def silu_after(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = F.silu(self.modulation(c)).chunk(6, dim=1)
        x = x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "Your six rows are in another order: shift, scale, gate of the attention, then those of the "
    "MLP. Here scale came before shift.",
)
def scale_before_shift(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        b, a, g, e, d, h = rows_of(self, c)
        x = x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "Your six rows are in another order: the gate is the third and the sixth, not the first and "
    "the fourth.",
)
def gate_first(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        g, a, b, h, d, e = rows_of(self, c)
        x = x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "The first three rows went to the MLP, the last three to the attention: the other way round.",
)
def halves_exchanged(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        d, e, h, a, b, g = rows_of(self, c)
        x = x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "Your rows are interleaved: number k of a row is number 6k + … of the layer. A row is `dim` "
    "numbers side by side.",
)
def rows_interleaved(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = self.modulation(F.silu(c)).unflatten(1, (-1, 6)).unbind(-1)
        x = x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "Both branches use the rows of the attention. The MLP has three rows of its own.",
)
def rows_shared(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, *rest = rows_of(self, c)
        x = x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + g[:, None] * self.mlp(dit.modulate(normed(x), a, b)) + 0 * sum(rest)[:, None]

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "The MLP sees the tokens as they were before the attention. It comes after it.",
)
def in_parallel(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = rows_of(self, c)
        first = g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)
        return x + first + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake("dit.Block", "The MLP comes before the attention in your block: the other way round.")
def mlp_first(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = rows_of(self, c)
        x = x + h[:, None] * self.mlp(dit.modulate(normed(x), d, e))
        return x + g[:, None] * self.attention(dit.modulate(normed(x), a, b), grid)

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake("dit.Block", "The tokens are not normalised before they are modulated.")
def no_norm(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = rows_of(self, c)
        x = x + g[:, None] * self.attention(dit.modulate(x, a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(x, d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "The norm comes after the sum. Here each branch sees normalised tokens, and the sum is left as "
    "it is.",
)
def post_norm(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = rows_of(self, c)
        x = dit.modulate(normed(x + g[:, None] * self.attention(x, grid)), a, b)
        return dit.modulate(normed(x + h[:, None] * self.mlp(x)), d, e)

    return walking(forward, dim, heads, ratio, qk_norm)


@mistake(
    "dit.Block",
    "The layer norms have weights of their own. Scale and shift come from the condition alone: use "
    "`adaptive_norm`.",
    sure=True,
)
def norms_with_weights(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = rows_of(self, c)
        x = x + g[:, None] * self.attention(dit.modulate(self.norm_1(x), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(self.norm_2(x), d, e))

    made = walking(forward, dim, heads, ratio, qk_norm)
    made.norm_1, made.norm_2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
    return made


@mistake("dit.Block", "ε of your layer norms is torch's 10⁻⁵. Here it is 10⁻⁶.")
def another_epsilon(dim, heads, ratio=4, qk_norm=False):
    def forward(self, x, c, grid=None):
        a, b, g, d, e, h = rows_of(self, c)
        x = x + g[:, None] * self.attention(dit.modulate(F.layer_norm(x, (dim,)), a, b), grid)
        return x + h[:, None] * self.mlp(dit.modulate(F.layer_norm(x, (dim,)), d, e))

    return walking(forward, dim, heads, ratio, qk_norm)


def with_mlp(dim, heads, ratio, qk_norm, between, middle=None):
    made = block(dim, heads, ratio, qk_norm)
    middle = middle or ratio * dim
    made.mlp = nn.Sequential(nn.Linear(dim, middle), between, nn.Linear(middle, dim))
    return made


@mistake("dit.Block", "Your GELU is the exact one. This MLP has its tanh form.")
def exact_gelu(dim, heads, ratio=4, qk_norm=False):
    return with_mlp(dim, heads, ratio, qk_norm, nn.GELU())


@mistake("dit.Block", "The MLP has ReLU between its layers: it is GELU in its tanh form.")
def relu(dim, heads, ratio=4, qk_norm=False):
    return with_mlp(dim, heads, ratio, qk_norm, nn.ReLU())


@mistake("dit.Block", "The MLP has SiLU between its layers: it is GELU in its tanh form.")
def silu_in_the_mlp(dim, heads, ratio=4, qk_norm=False):
    return with_mlp(dim, heads, ratio, qk_norm, nn.SiLU())


@mistake("dit.Block", "Your MLP is four times as wide whatever `ratio` is.", sure=True)
def ratio_ignored(dim, heads, ratio=4, qk_norm=False):
    return block(dim, heads, 4, qk_norm)


@mistake("dit.Block", "`qk_norm` does not reach your attention.", sure=True)
def qk_norm_ignored(dim, heads, ratio=4, qk_norm=False):
    return block(dim, heads, ratio, False)


@mistake("dit.Block", "The grid does not reach your attention, so nothing turns.", sure=True)
def grid_ignored(dim, heads, ratio=4, qk_norm=False):
    made = block(dim, heads, ratio, qk_norm)
    forward = made.forward
    made.forward = lambda x, c, grid=None: forward(x, c)
    return made


@mistake("dit.Block", "Your attention has one head, whatever `heads` is.")
def one_head(dim, heads, ratio=4, qk_norm=False):
    made = block(dim, heads, ratio, qk_norm)
    if not qk_norm:
        made.attention.heads = 1
    return made


@mistake(
    "dit.Block",
    "All examples of a batch get one condition, the mean. Each has its own.",
)
def one_condition(dim, heads, ratio=4, qk_norm=False):
    made = block(dim, heads, ratio, qk_norm)
    forward = made.forward
    made.forward = lambda x, c, grid=None: forward(x, c.mean(0).expand_as(c), grid)
    return made


@mistake("dit.Block", "The condition gets no gradient: it is cut off.", sure=True)
def condition_cut_off(dim, heads, ratio=4, qk_norm=False):
    made = block(dim, heads, ratio, qk_norm)
    forward = made.forward
    made.forward = lambda x, c, grid=None: forward(x, c.detach(), grid)
    return made


@mistake(
    "dit.Block",
    "A pass puts the block into training mode: leave modes to the one who calls it.",
    public=False,
)
def trains_itself(dim, heads, ratio=4, qk_norm=False):
    made = block(dim, heads, ratio, qk_norm)
    forward = made.forward

    def training(self, x, c, grid=None):
        self.train()
        return forward(x, c, grid)

    made.forward = types.MethodType(training, made)
    return made


# --- dit.DiT ------------------------------------------------------------------------------------


def net(**options):
    return dit.DiT(**options)


def asked(forward, options):
    """A DiT with another way through its layers, behind the refusals of the reference's."""
    made = net(**options)
    usual = made.forward

    def checked(self, x_t, t, y=None):
        shape, levels = tuple(x_t.shape), tuple(t.shape)
        if shape[1:] != self.shape or levels != shape[:1] or (y is None) != (not self.condition):
            return usual(x_t, t, y)
        return forward(self, x_t, t, y)

    made.forward = types.MethodType(checked, made)
    return made


def condition_of(self, t, y):
    c = self.level(timestep_embedding(t, 256))
    return c if y is None else c + self.condition(y)


def walk(self, x, c):
    for block in self.blocks:
        x = block(x, c, self.grid)
    return x


def ended(self, x, c):
    shift, scale = self.modulation(F.silu(c)).chunk(2, dim=1)
    v = self.out(dit.modulate(normed(x), shift, scale))
    return unpatchify(v, self.patch, *self.shape[1:])


@mistake("dit.DiT", "The positions are missing: your network cannot know where a patch is.")
def no_positions(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        return ended(self, walk(self, self.embed(patchify(x_t, self.patch)), c), c)

    return asked(forward, options)


@mistake("dit.DiT", "The positions are added after the blocks. They are added before the first.")
def positions_at_the_end(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = walk(self, self.embed(patchify(x_t, self.patch)), c)
        return ended(self, x + self.positions, c)

    return asked(forward, options)


@mistake(
    "dit.DiT",
    "Your levels are not multiplied by 1000, so neighbouring levels look the same: "
    "`timestep_embedding` does it unless it is told otherwise.",
)
def unscaled(**options):
    def forward(self, x_t, t, y):
        c = self.level(timestep_embedding(t, 256, scale=1.0))
        c = c if y is None else c + self.condition(y)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        return ended(self, walk(self, x, c), c)

    return asked(forward, options)


@mistake(
    "dit.DiT",
    "Your levels are multiplied by 1000 twice: `timestep_embedding` does it already.",
)
def scaled_twice(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, 1000 * t, y)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        return ended(self, walk(self, x, c), c)

    return asked(forward, options)


@mistake("dit.DiT", "The class does not reach your network: add its embedding to that of t.")
def no_class(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, None)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        return ended(self, walk(self, x, c), c)

    return asked(forward, options)


@mistake("dit.DiT", "The level does not reach the blocks: they only get the class.")
def no_level(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        own = 0 * c if y is None else self.condition(y)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        return ended(self, walk(self, x, own), c)

    return asked(forward, options)


@mistake("dit.DiT", "The embeddings of t and y are multiplied: they are added.")
def multiplied(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, None)
        c = c if y is None else c * self.condition(y)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        return ended(self, walk(self, x, c), c)

    return asked(forward, options)


@mistake("dit.DiT", "The last modulation is missing: scale and shift the tokens before `out`.")
def no_last_modulation(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        v = self.out(normed(x)) + 0 * self.modulation(c).sum()
        return unpatchify(v, self.patch, *self.shape[1:])

    return asked(forward, options)


@mistake("dit.DiT", "The last two rows have changed places: shift is the first, scale the second.")
def last_rows_exchanged(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        scale, shift = self.modulation(F.silu(c)).chunk(2, dim=1)
        v = self.out(dit.modulate(normed(x), shift, scale))
        return unpatchify(v, self.patch, *self.shape[1:])

    return asked(forward, options)


@mistake("dit.DiT", "The condition has not gone through SiLU before the last modulation.")
def no_last_silu(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        shift, scale = self.modulation(c).chunk(2, dim=1)
        v = self.out(dit.modulate(normed(x), shift, scale))
        return unpatchify(v, self.patch, *self.shape[1:])

    return asked(forward, options)


@mistake("dit.DiT", "The tokens are not normalised before the last modulation.")
def no_last_norm(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        shift, scale = self.modulation(F.silu(c)).chunk(2, dim=1)
        v = self.out(dit.modulate(x, shift, scale))
        return unpatchify(v, self.patch, *self.shape[1:])

    return asked(forward, options)


@mistake(
    "dit.DiT",
    "The features of your last layer run along channels first. Put them together by `unpatchify`.",
)
def channels_first_at_the_end(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        shift, scale = self.modulation(F.silu(c)).chunk(2, dim=1)
        v = self.out(dit.modulate(normed(x), shift, scale)).transpose(1, 2)
        return F.fold(v, self.shape[1:], self.patch, stride=self.patch)

    return asked(forward, options)


@mistake(
    "dit.DiT", "The condition reaches the blocks through SiLU twice: each block applies its own."
)
def silu_twice(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        return ended(self, walk(self, x, F.silu(c)), c)

    return asked(forward, options)


@mistake("dit.DiT", "One block is used `depth` times. Each block has weights of its own.")
def one_block(**options):
    made = net(**options)
    made.blocks = nn.ModuleList([made.blocks[0]] * len(made.blocks))
    return made


@mistake("dit.DiT", "Only your first block is used.")
def first_block_only(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        return ended(self, self.blocks[0](x, c, self.grid), c)

    return asked(forward, options)


@mistake("dit.DiT", "Your blocks run in the wrong order, the last one first.")
def blocks_backward(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        for block in reversed(self.blocks):
            x = block(x, c, self.grid)
        return ended(self, x, c)

    return asked(forward, options)


@mistake("dit.DiT", "With rope=True your blocks do not get the grid, so nothing turns.", sure=True)
def grid_not_passed(**options):
    made = net(**options)
    made.grid = None
    return made


@mistake("dit.DiT", "`qk_norm` does not reach your blocks.", sure=True)
def no_qk_norm(**options):
    return net(**{**options, "qk_norm": False})


@mistake(
    "dit.DiT",
    "A new DiT does not predict 0: `initialise` has not been called, or is undone after it.",
)
def not_initialised(**options):
    return type("DiT", (dit.DiT,), {"initialise": lambda self: None})(**options)


@mistake("dit.DiT", "A new DiT does not predict 0, because `out` does not begin at 0.")
def out_made_later(**options):
    made = net(**options)
    made.out.reset_parameters()
    return made


@mistake("dit.DiT", "A new DiT does not predict 0, because `out` does not begin at 0.")
def out_not_zero(**options):
    made = net(**options)
    nn.init.xavier_uniform_(made.out.weight)
    return made


@mistake(
    "dit.DiT",
    "Your weights begin as torch makes them. `initialise` begins with those of Xavier and Glorot.",
    sure=True,
)
def torchs_first_weights(**options):
    made = net(**options)
    for at, layer in made.named_modules():
        if isinstance(layer, nn.Linear) and "modulation" not in at and at != "out":
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    return made


@mistake(
    "dit.DiT",
    "With classes=1 your network has no condition. Only with classes=0 it has none.",
    sure=True,
)
def one_class_is_none(**options):
    return net(**{**options, "classes": options.get("classes", 0) * (options.get("classes") != 1)})


@mistake(
    "dit.DiT",
    "A class that comes twice in a batch learns half as fast from each: leave `condition` as torch "
    "makes it.",
    sure=True,
)
def gradient_by_frequency(**options):
    made = net(**options)
    if made.condition is not None:
        made.condition.scale_grad_by_freq = True
    return made


@mistake(
    "dit.DiT",
    "The null condition's embedding never learns: as padding it gets no gradient. It is a class as "
    "others are.",
    sure=True,
)
def null_is_padding(**options):
    made = net(**options)
    if made.condition is not None:
        made.condition.padding_idx = options["classes"] - 1
    return made


@mistake(
    "dit.DiT",
    "Your network keeps what it made of the levels of an earlier pass. Each pass has its own.",
    sure=True,
)
def levels_kept(**options):
    def forward(self, x_t, t, y):
        key = (len(t), round(float(t.detach().sum()), 9))
        if getattr(self, "key", None) != key:
            self.key, self.waves = key, timestep_embedding(t, 256)
        c = self.level(self.waves)
        c = c if y is None else c + self.condition(y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        return ended(self, x, c)

    return asked(forward, options)


@mistake(
    "dit.DiT",
    "Your positions are weights, which training changes. They are given, and stay as they are.",
    sure=True,
)
def learned_positions(**options):
    made = net(**options)
    positions = made.positions
    del made.positions
    made.positions = nn.Parameter(positions)
    return made


@mistake(
    "dit.DiT",
    "Your blocks are in a plain list, where torch finds no weights: no optimizer would train them.",
    sure=True,
)
def plain_list(**options):
    made = net(**options)
    blocks = [*made.blocks]
    del made.blocks
    made.blocks = blocks
    return made


@mistake("dit.DiT", "There is GELU between the layers of `level`: it is SiLU.")
def gelu_in_level(**options):
    made = net(**options)
    made.level[1] = nn.GELU()
    return made


@mistake("dit.DiT", "A level becomes `dim` numbers in your network. It becomes 256.")
def level_of_dim(**options):
    def forward(self, x_t, t, y):
        c = self.level(timestep_embedding(t, self.level[0].in_features))
        c = c if y is None else c + self.condition(y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        return ended(self, x, c)

    made = asked(forward, options)
    dim = made.embed.out_features
    made.level[0] = nn.Linear(dim, dim)
    nn.init.normal_(made.level[0].weight, std=0.02)
    nn.init.zeros_(made.level[0].bias)
    return made


@mistake(
    "dit.DiT",
    "The features of your patches run along channels first. Cut the image by `patchify`.",
)
def channels_first_at_the_start(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        patches = F.unfold(x_t, self.patch, stride=self.patch).transpose(1, 2)
        return ended(self, walk(self, self.embed(patches) + self.positions, c), c)

    return asked(forward, options)


@mistake(
    "dit.DiT",
    "`embed` is a convolution in your network. It is a linear layer, of what `patchify` returns.",
)
def embed_convolves(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = self.embed(x_t).flatten(2).transpose(1, 2) + self.positions
        return ended(self, walk(self, x, c), c)

    made = asked(forward, options)
    made.embed = nn.Conv2d(made.shape[0], made.embed.out_features, made.patch, made.patch)
    return made


@mistake("dit.DiT", "Your network adds x_t to its answer. The velocity is what `out` says, alone.")
def from_x_t(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        return x_t + ended(self, x, c)

    return asked(forward, options)


@mistake("dit.DiT", "Tokens are added to what a block returns. A block has added them already.")
def added_again(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        for block in self.blocks:
            x = x + block(x, c, self.grid)
        return ended(self, x, c)

    return asked(forward, options)


@mistake("dit.DiT", "All examples of a batch get one level, the first. Each has its own.")
def level_of_the_first(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t[:1].expand(len(t)), y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        return ended(self, x, c)

    return asked(forward, options)


@mistake("dit.DiT", "`qk_norm` reaches only your first block.", sure=True)
def first_block_normed(**options):
    made = net(**options)
    for block in made.blocks[1:]:
        block.attention.q_norm = block.attention.k_norm = nn.Identity()
    return made


@mistake("dit.DiT", "Your conditions have to be int64. They may be any whole numbers.", sure=True)
def long_only(**options):
    def forward(self, x_t, t, y):
        if y is not None and y.dtype != torch.int64:
            raise TypeError("y must be int64")
        return self.usual(x_t, t, y)

    made = net(**options)
    made.usual = made.forward
    made.forward = types.MethodType(lambda self, x_t, t, y=None: forward(self, x_t, t, y), made)
    return made


@mistake("dit.DiT", "Your blocks have one head, whatever `heads` is.")
def one_head_each(**options):
    made = net(**options)
    if not options.get("qk_norm"):
        for block in made.blocks:
            block.attention.heads = 1
    return made


@mistake(
    "dit.DiT",
    "Your numbers are nearly right: either ε of the last layer norm is not 10⁻⁶, or some of them "
    "are computed in float32 where the arguments are float64.",
)
def last_epsilon(**options):
    def forward(self, x_t, t, y):
        c = condition_of(self, t, y)
        x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        shift, scale = self.modulation(F.silu(c)).chunk(2, dim=1)
        v = self.out(dit.modulate(F.layer_norm(x, x.shape[-1:]), shift, scale))
        return unpatchify(v, self.patch, *self.shape[1:])

    return asked(forward, options)


@mistake("dit.DiT", "There is one row for a null condition too many: `classes` counts it already.")
def one_class_more(**options):
    made = net(**options)
    if made.condition is not None:
        made.condition = nn.Embedding(options["classes"] + 1, made.condition.embedding_dim)
        nn.init.normal_(made.condition.weight, std=0.02)
    return made


@mistake(
    "dit.DiT",
    "What it returns is cut off from the graph: your network would never learn.",
    sure=True,
)
def cut_off(**options):
    def forward(self, x_t, t, y):
        with torch.no_grad():
            c = condition_of(self, t, y)
            x = walk(self, self.embed(patchify(x_t, self.patch)) + self.positions, c)
        return ended(self, x, c)

    return asked(forward, options)


@mistake(
    "dit.DiT",
    "Your default sizes are others than the documented ones: leave the signature as it is.",
    public=False,
)
def other_defaults(**options):
    return net(**{"depth": 3, **options})


@mistake(
    "dit.DiT",
    "What does not fit is not refused: leave the lines above yours as they are.",
    public=False,
)
def nothing_refused_by_a_dit(**options):
    made = net(**options)

    def forward(self, x_t, t, y=None):
        c = condition_of(self, t.reshape(-1), y if self.condition else None)
        x = self.embed(patchify(x_t, self.patch)) + self.positions
        return ended(self, walk(self, x, c), c)

    made.forward = types.MethodType(forward, made)
    return made


@mistake(
    "dit.DiT",
    "A pass puts the network into training mode: leave modes to the one who calls it.",
    public=False,
)
def a_dit_that_trains_itself(**options):
    made = net(**options)
    forward = made.forward

    def training(self, x_t, t, y=None):
        self.train()
        return forward(x_t, t, y)

    made.forward = types.MethodType(training, made)
    return made
