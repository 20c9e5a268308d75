"""Text to image (slides 101–102): a diffusion transformer in latents that reads a caption.

    caption → tokens → frozen text encoder → words, and one vector of all
    noise → TextToImage(x_t, t, words), step by step → latents → decoder → image

Words reach the image in two ways. The pooled vector joins t, and decides scales, shifts and gates.
The words themselves are tokens beside those of the image, and all attend to all but padding.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen import flow, guidance, text
from cs231n_gen.dit import FREQUENCIES, adaptive_norm, add_gated
from cs231n_gen.dit_attention import JointAttention
from cs231n_gen.dit_tokens import patchify, position_embedding, timestep_embedding, unpatchify

PARTS = 6  # of a modulation: shift, scale and gate of the attention, then those of the MLP
SPREAD = 0.02  # of what leads to the condition, at the start

Image = Float[Tensor, "batch tokens dim"]
Words = Float[Tensor, "batch words dim"]
Mask = Bool[Tensor, "batch words"]


class JointBlock(nn.Module):
    """A block of two streams, image and text, `x, y = block(x, y, c, mask)` (slides 101–102;
    MM-DiT, Esser et al. 2024).

        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = the six parts of c + image_table
        shift′_1, scale′_1, gate′_1, shift′_2, scale′_2, gate′_2 = the six parts of c + text_table
        a, a′ = joint(adaptive_norm(x, shift_1, scale_1), adaptive_norm(y, shift′_1, scale′_1),
                      mask)
        x ← x + gate_1 a,     x ← x + gate_2 image_mlp(adaptive_norm(x, shift_2, scale_2))
        y ← y + gate′_1 a′,   y ← y + gate′_2 text_mlp(adaptive_norm(y, shift′_2, scale′_2))

    Each stream has weights of its own, and they meet in the attention alone. c is the same for all
    blocks, and a table of each block and stream is added to it, as in PixArt-α (Chen et al. 2023):
    that saves most of the weights of DiT's modulations.

    Its layers are given: `joint`, chapter 09's `JointAttention`; `image_mlp` and `text_mlp`; the
    parameters `image_table` and `text_table`, 6 · dim numbers each, 0 at the start.

    Args:
        dim: numbers of a token, of both kinds.
        heads: of the attention, dividing dim.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.joint = JointAttention(dim, heads)
        self.image_mlp, self.text_mlp = _mlp(dim), _mlp(dim)
        self.image_table = nn.Parameter(torch.zeros(PARTS * dim))
        self.text_table = nn.Parameter(torch.zeros(PARTS * dim))

    def forward(
        self, x: Image, y: Words, c: Float[Tensor, "batch six_dim"], mask: Mask | None = None
    ) -> tuple[Image, Words]:
        """Both streams after the block.

        Args:
            x: tokens of the image.
            y: tokens of the text.
            c: 6 · dim numbers for each example, from level and pooled text.
            mask: as in `JointAttention`: True where a token of the text is a word. None: all are.
        Returns:
            `(x, y)`, shaped like what came. No padding is attended to: whatever finite numbers are
            in y there, neither x nor the rows of words depend on them, nor do gradients flow from
            these to padding. Rows of padding are finite, and to be ignored.
        Raises:
            ValueError: if c is not 6 · dim numbers for each example, or by `JointAttention` if mask
                is not one truth value for each token of the text.
        """
        if c.shape != (len(x), PARTS * x.shape[-1]):
            want = (len(x), PARTS * x.shape[-1])
            raise ValueError(f"c must be (batch, 6 · dim), here {want}, got {tuple(c.shape)}")
        ### BEGIN SOLUTION
        of_x = (c + self.image_table).chunk(PARTS, dim=1)  # shift, scale, gate; shift, scale, gate
        of_y = (c + self.text_table).chunk(PARTS, dim=1)
        a, b = self.joint(adaptive_norm(x, *of_x[:2]), adaptive_norm(y, *of_y[:2]), mask)
        x, y = add_gated(x, of_x[2], a), add_gated(y, of_y[2], b)
        x = add_gated(x, of_x[5], self.image_mlp(adaptive_norm(x, *of_x[3:5])))
        y = add_gated(y, of_y[5], self.text_mlp(adaptive_norm(y, *of_y[3:5])))
        return x, y
        ### END SOLUTION


class TextToImage(nn.Module):
    """A velocity of latents that reads a caption, `v = model(x_t, t, tokens)` (slides 101–102).

        words, pooled = encoder(tokens, tokens ≠ 0), without a graph
        without a caption:  words, pooled = null as the first word and the only one, null
        x = embed(patchify(x_t)) + positions,    y = context(words)
        h = level(timestep_embedding(t)) + summary(pooled),    c = modulation(silu(h))
        x, y = block(x, y, c, mask)    for each block
        shift, scale = the two parts of last(silu(h))
        v = unpatchify(out(adaptive_norm(x, shift, scale)))

    The encoder is frozen: whatever is trained, no gradient reaches it. **The null condition is one
    learned token**, `null`, wherever a caption has no words. It stands in place of every output of
    the encoder at once: a network from which they were never all taken has learned no unconditional
    velocity to be guided by.

    Its layers are given, in this order: `embed`, linear; `level`, two linear layers with SiLU
    between; `context` and `summary`, linear; `null`, as many numbers as the encoder's words have;
    `modulation`, linear, to 6 · dim; `blocks`; `last` and `out`, linear. `modulation`, `last` and
    `out` begin at 0, so **at first v = 0 for every input**.

    Args:
        encoder: a `text.TextEncoder`, or another module with `dim` and such a forward.
        size: height and width of the latents, which patch divides.
        channels: of the latents.
        patch: P.
        dim: numbers of a token, a multiple of 4.
        depth: how many blocks.
        heads: of each, dividing dim.
        block: makes a block, called as `block(dim, heads)`.
    Raises:
        ValueError: if patch does not divide size.
    """

    def __init__(
        self,
        encoder: nn.Module,
        size: int = 8,
        channels: int = 4,
        patch: int = 2,
        dim: int = 64,
        depth: int = 3,
        heads: int = 4,
        block: Callable[[int, int], nn.Module] = JointBlock,
    ):
        super().__init__()
        if patch <= 0 or size % patch:
            raise ValueError(f"patch must be a positive number that divides {size}, got {patch}")
        self.shape, self.patch = (channels, size, size), patch
        self.encoder = encoder.eval().requires_grad_(False)
        side = size // patch
        self.positions = nn.Buffer(position_embedding(side, side, dim), persistent=False)
        self.embed = nn.Linear(patch**2 * channels, dim)
        self.level = nn.Sequential(nn.Linear(FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.context, self.summary = nn.Linear(encoder.dim, dim), nn.Linear(encoder.dim, dim)
        self.null = nn.Parameter(torch.randn(encoder.dim))
        self.modulation = nn.Linear(dim, PARTS * dim)
        self.blocks = nn.ModuleList(block(dim, heads) for _ in range(depth))
        self.last = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, patch**2 * channels)
        for layer in (self.modulation, self.last, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        x_t: Float[Tensor, "batch channels size size"],
        t: Float[Tensor, "batch"],
        tokens: Int64[Tensor, "batch length"],
    ) -> Float[Tensor, "batch channels size size"]:
        """The velocity at x_t.

        Args:
            x_t: noisy latents.
            t: their levels in [0, 1].
            tokens: their captions, as `text.tokenize` makes them: 0 is padding.
        Returns:
            The velocities, shaped like x_t. Gradients flow into x_t, t and all weights but the
            encoder's, even if those ask for some.
        Raises:
            ValueError: if x_t has other channels or another size, or t is not one level or tokens
                not one row for each.
        """
        if x_t.dim() != 4 or x_t.shape[1:] != self.shape:
            shape = ", ".join(map(str, self.shape))
            raise ValueError(f"x_t must be (batch, {shape}), got {tuple(x_t.shape)}")
        if t.shape != x_t.shape[:1]:
            raise ValueError(f"t must be one level for each of {len(x_t)}, got {tuple(t.shape)}")
        if tokens.dim() != 2 or len(tokens) != len(x_t):
            raise ValueError(
                f"tokens must be a row for each of {len(x_t)}, got {tuple(tokens.shape)}"
            )
        ### BEGIN SOLUTION
        mask = tokens != text.PADDING
        with torch.no_grad():
            words, pooled = self.encoder(tokens, mask)
        empty = ~mask.any(1, keepdim=True)  # (batch, 1)
        words = torch.where(empty[..., None], self.null, words)  # (batch, length, context)
        pooled = torch.where(empty, self.null, pooled)
        mask = mask | (empty & (torch.arange(mask.shape[1], device=mask.device) == 0))

        x = self.embed(patchify(x_t, self.patch)) + self.positions
        y = self.context(words)
        h = F.silu(self.level(timestep_embedding(t, FREQUENCIES)) + self.summary(pooled))
        c = self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        v = self.out(adaptive_norm(x, *self.last(h).chunk(2, dim=1)))
        return unpatchify(v, self.patch, *self.shape[1:])
        ### END SOLUTION


def sample(
    model: nn.Module,
    z: Float[Tensor, "batch *shape"],
    steps: int,
    captions: Sequence[str],
    w: guidance.Weight = 0.0,
    negative: str | Sequence[str] = "",
    times: Sequence[float] | Float[Tensor, "levels"] | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Latents for captions, by chapter 05's sampler (slides 67–72, 101–102).

        v_cfg = (1 + w) v_caption − w v_negative

    A negative prompt takes the place of the null condition: guidance leads away from it. The empty
    text is the null condition itself.

    Args:
        model: a velocity `model(x_t, t, tokens)`, such as `TextToImage`; `model.encoder` has the
            vocabulary and the length of its captions.
        z: noise to start from.
        steps: T, at least 1.
        captions: a text for each of z.
        w: as in `guidance.guided_velocity`. If it is the number 0, the model is called on z's own
            batch, and negative prompts change nothing; else on both halves at once, once a step.
        negative: one text for all, or one for each.
        times: as in `flow.sample`.
    Returns:
        Latents, shaped like z, without a graph.
    Raises:
        ValueError: if there is not a caption, or a negative prompt, for each of z; by
            `text.tokenize` if a word is not known or a text is too long; by `guidance.sample`.
    """
    if isinstance(captions, str) or len(captions) != len(z):
        raise ValueError(f"captions must be a list, one for each of {len(z)}, got {captions!r}")
    if not isinstance(negative, str) and len(negative) != len(z):
        raise ValueError(f"negative must be one text, or one for each of {len(z)}")
    ### BEGIN SOLUTION
    vocabulary, length = model.encoder.vocabulary, model.encoder.length
    against = [negative] * len(z) if isinstance(negative, str) else negative
    y, _ = text.tokenize(captions, vocabulary, length)
    null, _ = text.tokenize(against, vocabulary, length)
    y, null = y.to(z.device), null.to(z.device)
    if not isinstance(w, Tensor) and w == 0:
        return flow.sample(model, z, steps, y, times)
    return guidance.sample(model, z, steps, y, null, w, times=times)
    ### END SOLUTION


def _mlp(dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim)
    )
