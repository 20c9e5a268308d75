"""Attention in a diffusion transformer (slides 98–102): of tokens to each other, and to a text.

All of it is one formula, `attend`: each query takes a weighted mean of values, and the weights say
how well its key fits. The best denoiser of a finite data set is that formula, too.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen.dit_tokens import rotate
from cs231n_gen.kernels.launch import DTYPES, leaves_to_kernels

EPS = 1e-6
Heads = Float[Tensor, "*batch tokens dim"]
Tokens = Float[Tensor, "batch tokens dim"]
Words = Float[Tensor, "batch words dim"]
Mask = Bool[Tensor, "batch words"]


def attend(
    q: Heads, k: Heads, v: Heads, bias: Float[Tensor, "..."] | None = None
) -> Float[Tensor, "*batch tokens values"]:
    """Attention (Vaswani et al. 2017): a mean of values, weighted by how well keys fit the query.

        O = softmax(q kᵀ / √d + bias) v

    Args:
        q: queries, (…, T, d), with any axes in front.
        k, v: keys, (…, S, d), and values, (…, S, e), with the same axes in front.
        bias: added to the scores, of any shape that broadcasts to (…, T, S), and of any precision.
            A key with bias −∞ is hidden: whatever finite numbers are in k and v there, neither the
            result nor a gradient depends on them. None adds nothing.
    Returns:
        O, (…, T, e), in the precision of q. A query from which all keys are hidden gets 0, and
        gradients of 0, not NaN. Right for scores of any size that are finite. Gradients flow into
        q, k, v and bias.
    Raises:
        ValueError: if q and k differ in d, or k and v in the number of tokens.
    """
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q and k must have one d: q is {tuple(q.shape)}, k {tuple(k.shape)}")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k and v must have one S: k is {tuple(k.shape)}, v {tuple(v.shape)}")
    if bias is None and leaves_to_kernels(q, "attention") and _fits_kernel(q, k, v):
        from cs231n_gen.kernels import attention as kernel  # here: an unfinished one harms nobody

        return kernel.attention(q, k, v)
    ### BEGIN SOLUTION
    if bias is not None:  # torch wants two axes at least, in the precision of q
        bias = bias.to(q.dtype).expand(*q.shape[:-1], k.shape[-2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    ### END SOLUTION


class Attention(nn.Module):
    """Tokens attend to each other, `x = attention(x)` (slides 98–100).

        q, k, v = split(W_qkv x + b_qkv);   result = W_out · join(attend(q, k, v)) + b_out

    One linear layer `qkv` makes 3 · dim numbers of a token: q of all heads, then k, then v, with
    the numbers of one head side by side. `out` mixes the heads. With `qk_norm` queries and keys of
    each head are divided by their root mean square and multiplied by weights of their own, `q_norm`
    and `k_norm` (`torch.nn.RMSNorm` with ε = 10⁻⁶; Henry et al. 2020), so that scores cannot grow
    without bound. They are normalised first, then turned.

    Args:
        dim: numbers of a token.
        heads: how many, dividing dim.
        qk_norm: whether queries and keys are normalised.
    Raises:
        ValueError: if heads does not divide dim.
    """

    def __init__(self, dim: int, heads: int, qk_norm: bool = False):
        super().__init__()
        _check_heads(dim, heads)
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.RMSNorm(dim // heads, eps=EPS) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(dim // heads, eps=EPS) if qk_norm else nn.Identity()
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tokens, grid: tuple[int, int] | None = None) -> Tokens:
        """Without a grid it knows of no order: tokens that change places change places.

        Args:
            x: tokens, (batch, tokens, dim).
            grid: height and width in tokens. If given, queries and keys are turned by `rotate`,
                values are not.
        Returns:
            As many tokens, of the same dim.
        Raises:
            ValueError: by `rotate`, if the tokens are not those of the grid, or 4 does not divide
                dim / heads.
        """
        ### BEGIN SOLUTION
        return self.out(join(attend(*self.split(x, grid))))
        ### END SOLUTION

    def split(
        self, x: Tokens, grid: tuple[int, int] | None = None
    ) -> list[Float[Tensor, "batch heads tokens head"]]:
        """Queries, keys and values of tokens, ready for `attend`.

        Args are those of `forward`.
        Returns:
            [q, k, v], (batch, heads, tokens, dim / heads) each.
        """
        ### BEGIN SOLUTION
        q, k, v = heads_of(self.qkv(x), 3, self.heads)
        q, k = self.q_norm(q), self.k_norm(k)
        if grid is not None:
            q, k = rotate(q, *grid), rotate(k, *grid)
        return [q, k, v]
        ### END SOLUTION


class CrossAttention(nn.Module):
    """Tokens of an image attend to those of a text, `x = cross(x, y, mask)` (slides 98–102).

        q = W_q x + b_q;   k, v = split(W_kv y + b_kv);   result = W_out · join(attend(q, k, v)) +
        b_out

    Its layers, `q`, `kv` and `out`, are ordered like those of `Attention`.

    Args:
        dim: numbers of an image token.
        context: numbers of a text token.
        heads: how many, dividing dim.
    Raises:
        ValueError: if heads does not divide dim.
    """

    def __init__(self, dim: int, context: int, heads: int):
        super().__init__()
        _check_heads(dim, heads)
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(context, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, x: Tokens, y: Float[Tensor, "batch words context"], mask: Mask | None = None
    ) -> Tokens:
        """What the text tells each image token.

        Args:
            x: tokens of the image.
            y: tokens of the text.
            mask: True where a text token is a word, False where it is padding; None if all are
                words. Padding changes nothing and gets no gradient; a text of padding alone leaves
                b_out.
        Returns:
            Tokens shaped like x.
        Raises:
            ValueError: if mask is not one truth value for each token of the text.
        """
        ### BEGIN SOLUTION
        (q,) = heads_of(self.q(x), 1, self.heads)
        k, v = heads_of(self.kv(y), 2, self.heads)
        return self.out(join(attend(q, k, v, hidden(mask, y))))
        ### END SOLUTION


class JointAttention(nn.Module):
    """Image and text attend to both, `x, y = joint(x, y, mask)` (slides 101–102; MM-DiT, Esser et
    al. 2024).

    Each has an `Attention` of its own, `image` and `text`, with its own q, k, v and out. Their
    tokens meet in one `attend`: the image's first, then the text's.

    Args:
        dim: numbers of a token, of both kinds.
        heads: how many, dividing dim.
        qk_norm: as in `Attention`.
    Raises:
        ValueError: if heads does not divide dim.
    """

    def __init__(self, dim: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.image = Attention(dim, heads, qk_norm)
        self.text = Attention(dim, heads, qk_norm)

    def forward(
        self, x: Tokens, y: Words, mask: Mask | None = None, grid: tuple[int, int] | None = None
    ) -> tuple[Tokens, Words]:
        """What both tell both.

        Args:
            x: tokens of the image.
            y: tokens of the text.
            mask: as in `CrossAttention`: no query sees padding, so what padding holds changes
                nothing in the rows of the image and of words, and gets no gradient from them.
            grid: height and width of the image in tokens. If given, the image's queries and keys
                are turned by `rotate`; the text's are not.
        Returns:
            Tokens shaped like x, and tokens shaped like y. All are finite; those in the places of
            padding are to be ignored.
        Raises:
            ValueError: if mask is not one truth value for each token of the text.
        """
        bias = hidden(mask, y)
        by_kernel = leaves_to_kernels(x, "joint_attention")
        if by_kernel and (found := _by_kernel(self, x, y, mask, grid)):
            return found
        ### BEGIN SOLUTION
        T = x.shape[1]
        if bias is not None:
            bias = F.pad(bias, (T, 0))  # no token of the image is hidden
        parts = zip(self.image.split(x, grid), self.text.split(y), strict=True)
        q, k, v = (torch.cat(both, dim=2) for both in parts)  # (batch, heads, tokens + words, …)
        out = join(attend(q, k, v, bias))
        return self.image.out(out[:, :T]), self.text.out(out[:, T:])
        ### END SOLUTION


def denoiser_is_attention(
    x_t: Float[Tensor, "batch *shape"], a: float, b: float, data: Float[Tensor, "examples *shape"]
) -> Float[Tensor, "batch *shape"]:
    """E[x | x_t] of a finite data set (chapter 06), by one call of `attend`.

        E[x | x_t] = Σ_i softmax_i(−‖x_t − a x_i‖² / 2b²) x_i,      x_t = a x + b z

    The square is ‖x_t‖² − 2a ⟨x_t, x_i⟩ + a² ‖x_i‖², and its first part is the same for all i. So
    the keys and the values are the data, the query is a x_t / b², up to the √d that `attend`
    divides by, and the bias of datum i is −a² ‖x_i‖² / 2b². The best denoiser is a layer of
    attention whose tokens are the training set.

    Args:
        x_t: noisy examples, with at least one axis after the batch.
        a, b: how much data and how much noise, two numbers; b is positive.
        data: x_1, …, x_N, shaped like the examples.
    Returns:
        E[x | x_t], shaped like x_t and in its precision; computed in float64. Gradients flow into
        x_t: the Jacobian of E[x | x_t] is a Cov[x | x_t] / b².
    Raises:
        ValueError: if b is not positive, or data are not shaped like the examples.
    """
    if not b > 0:
        raise ValueError(f"b must be positive, got {b}")
    if data.shape[1:] != x_t.shape[1:] or len(data) == 0:
        raise ValueError(
            f"data must be examples shaped like those of x_t, at least one: "
            f"data are {tuple(data.shape)}, x_t is {tuple(x_t.shape)}"
        )
    ### BEGIN SOLUTION
    rows, members = x_t.flatten(1).double(), data.flatten(1).double()  # (…, dimensions of x)
    q = a / b**2 * rows * math.sqrt(rows.shape[1])
    bias = -(a**2) / (2 * b**2) * members.square().sum(1)  # (examples,)
    x = attend(q, members, members, bias)
    return x.reshape(x_t.shape).to(x_t.dtype)
    ### END SOLUTION


def heads_of(
    x: Float[Tensor, "batch tokens numbers"], parts: int, heads: int
) -> tuple[Float[Tensor, "batch heads tokens head"], ...]:
    """The parts of what a linear layer made of tokens (q, k and v), each as its heads. Given."""
    return x.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def join(x: Float[Tensor, "batch heads tokens head"]) -> Tokens:
    """The numbers of all heads of a token side by side, (batch, tokens, heads · head). Given."""
    return x.transpose(1, 2).flatten(2)


def hidden(mask: Mask | None, y: Words) -> Float[Tensor, "batch 1 1 words"] | None:
    """The bias that hides padding: 0 where mask is True, −∞ where it is False. Given.

    Raises:
        ValueError: if mask is not one truth value for each token of y.
    """
    if mask is None:
        return None
    if mask.shape != y.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"mask must be bool of shape {tuple(y.shape[:2])}, one for each token of the text, "
            f"got {mask.dtype} of {tuple(mask.shape)}"
        )
    bias = torch.zeros(mask.shape, dtype=y.dtype, device=y.device)
    return bias.masked_fill(~mask, -math.inf)[:, None, None, :]


def _fits_kernel(q: Heads, k: Heads, v: Heads) -> bool:
    """Whether these are heads that the kernels of attention take."""
    from cs231n_gen.kernels.attention import WIDEST

    heads = q.dim() == 4 and q.shape[:2] == k.shape[:2] and k.shape == v.shape
    alike = q.dtype == k.dtype == v.dtype and q.dtype in DTYPES
    return heads and alike and q.shape[-1] <= WIDEST


def _by_kernel(
    joint: JointAttention, x: Tokens, y: Words, mask: Mask | None, grid: tuple[int, int] | None
) -> tuple[Tokens, Words] | None:
    """Joint attention by its kernel, which copies nothing; None if that does not take the heads."""
    from cs231n_gen.kernels import joint_attention as kernel

    image, text = joint.image.split(x, grid), joint.text.split(y)
    if not _fits_kernel(*image):
        return None
    x, y = kernel.joint_attention(image, text, mask)
    return joint.image.out(join(x)), joint.text.out(join(y))


def _check_heads(dim: int, heads: int) -> None:
    if heads <= 0 or dim % heads:
        raise ValueError(f"heads must be a positive number that divides dim {dim}, got {heads}")
