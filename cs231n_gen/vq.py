"""Images as codes (slides 120–121): a codebook, the two gradients around it, and what keeps it
alive.

An autoencoder with vector quantisation (van den Oord et al. 2017) puts the nearest of K codes in
the place of each latent. An image becomes a small grid of whole numbers, and a Transformer can
write such a grid token by token. `autoregressive` is about that second half.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cs231n_gen.kernels.launch import DTYPES, leaves_to_kernels

BETA = 0.25  # how much the commitment counts, in van den Oord et al. (2017)
DECAY = 0.99  # of the running means
SMOOTHING = 1e-5  # of the counts
EDGE = 1e-3  # by how much the outermost levels of a finite scalar lie inside its bounds

Vectors = Float[Tensor, "*batch dim"]
Codes = Float[Tensor, "codes dim"]
Index = Int64[Tensor, "*batch"]
Counts = Float[Tensor, "codes"]
State = tuple[Codes, Counts, Codes]  # codes, counts, sums


def nearest(z: Vectors, codes: Codes) -> Index:
    """The number of the code nearest to each vector (slides 120–121; van den Oord et al. 2017).

        k = argmin_j ‖z − e_j‖² = argmin_j (‖e_j‖² − 2 z·e_j)

    On a GPU chapter 14's kernel `nearest_code` finds it without the N × K matrix of distances.

    Args:
        z: vectors, with any axes in front of the last, or none.
        codes: e_0, …, e_{K−1}, one or more, in z's precision.
    Returns:
        k from 0 to K − 1, int64, one for each vector. Of codes at one distance the first; where the
        rounding of the squares decides, either. No gradient comes from here.
    Raises:
        ValueError: if codes is not (K, dim) with z's dim and at least one code.
    """
    _check_codes(z, codes)
    if leaves_to_kernels(z, "nearest_code") and _fits_kernel(z, codes):
        # Here, so that an unfinished kernel harms nobody.
        from cs231n_gen.kernels.nearest_code import nearest_code

        return nearest_code(z.reshape(-1, z.shape[-1]), codes).long().reshape(z.shape[:-1])
    ### BEGIN SOLUTION
    z, codes = z.detach(), codes.detach()
    scores = codes.square().sum(1) - 2 * z @ codes.T  # (*batch, codes)
    return scores.argmin(-1)
    ### END SOLUTION


def quantize(z: Vectors, codes: Codes) -> tuple[Vectors, Index]:
    """Vectors replaced by their nearest codes, with a gradient that goes straight through (slides
    120–121; van den Oord et al. 2017).

        k = nearest(z, codes),    q = e_k,    backwards as if q = z:  ∂q/∂z = I,  ∂q/∂e = 0

    The nearest code does not change when z moves a little, so its true slope is 0, and an encoder
    would learn nothing. The straight-through estimator (Bengio et al. 2013) hands it what the
    decoder wants of q as if it were wanted of z. The codes get nothing from here: `loss` or
    `update_codes` moves them.

    Args:
        z, codes: as in `nearest`.
    Returns:
        `(q, k)`: q, shaped like z and in its precision, is the codes up to the rounding of z and of
        the codes; k as in `nearest`. The gradient of q is handed to z as it is, and none to the
        codes.
    Raises:
        ValueError: as `nearest`.
    """
    _check_codes(z, codes)
    ### BEGIN SOLUTION
    index = nearest(z, codes)
    chosen = codes.detach()[index]  # (*batch, dim)
    return z + (chosen - z).detach(), index
    ### END SOLUTION


def loss(z: Vectors, codes: Codes, index: Index, beta: float = BETA) -> Float[Tensor, ""]:
    """What pulls codes and latents together (slides 120–121; van den Oord et al. 2017, eq. 3).

        L = 1/N Σ_n ( ‖sg[z_n] − e_k‖² + β ‖z_n − sg[e_k]‖² ),    k = index_n

    N counts the vectors, and sg stops a gradient. The first term, the codebook loss, moves codes to
    their vectors: its gradient is 2 N_k/N (e_k − mean of the N_k vectors with code k). The second,
    the commitment, keeps latents from running away from their codes; β is its weight alone. Both
    are taken from z before quantisation: after the straight-through step nothing reaches the codes.

    Args:
        z, codes: as in `nearest`; at least one vector.
        index: the code of each vector, whichever that is.
        beta: β, 0 or more. Without the codebook loss, as with `update_codes`, pass codes without a
            graph.
    Returns:
        One number in z's precision. Gradients flow into the codes by the first term, into z by the
        second, and into nothing else.
    Raises:
        ValueError: as `nearest`; if index is not one code for each vector, there are no vectors,
            or beta is negative or NaN.
    """
    _check_codes(z, codes)
    _check_index(z, index)
    if not beta >= 0:
        raise ValueError(f"beta must be at least 0, got {beta}")
    ### BEGIN SOLUTION
    chosen = codes[index]  # (*batch, dim)
    codebook = (z.detach() - chosen).square().sum(-1).mean()
    commitment = (z - chosen.detach()).square().sum(-1).mean()
    return codebook + beta * commitment
    ### END SOLUTION


@torch.no_grad()
def update_codes(
    counts: Counts,
    sums: Codes,
    z: Vectors,
    index: Index,
    decay: float = DECAY,
    eps: float = SMOOTHING,
) -> State:
    """Codes as running means of their vectors: k-means, a batch at a time (van den Oord et al.
    2017, A.1).

        n_k ← γ n_k + (1 − γ) N_k               N_k: how many vectors of the batch have code k
        m_k ← γ m_k + (1 − γ) Σ of those vectors
        e_k = m_k / ñ_k,    ñ_k = n (n_k + ε) / (n + K ε),    n = Σ_k n_k

    It takes the place of the codebook loss, and needs no learning rate. With γ = 0 it is a step of
    k-means. Smoothing keeps the count of a code that nobody uses from 0, and leaves their sum.

    Args:
        counts: n_k before, 0 or more.
        sums: m_k before, (codes, dim).
        z: vectors with any axes in front of the last, at least one vector.
        index: the code of each, as `nearest` returns it.
        decay: γ, from 0 to below 1.
        eps: ε, positive.
    Returns:
        `(codes, counts, sums)`, all new, without a graph, computed in the precision of sums,
        whichever z and counts have.
    Raises:
        ValueError: if sums is not (K, dim) for K counts and z's dim; if index is not one code for
            each vector, there are no vectors, or decay or eps is out of range.
    """
    _check_state(counts, sums, z)
    _check_index(z, index)
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be from 0 to below 1, got {decay}")
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    ### BEGIN SOLUTION
    rows, own = z.reshape(-1, z.shape[-1]).to(sums.dtype), index.reshape(-1)
    new_counts = torch.zeros_like(sums[:, 0]).index_add(0, own, torch.ones_like(rows[:, 0]))
    new_sums = torch.zeros_like(sums).index_add(0, own, rows)
    counts = decay * counts.to(sums.dtype) + (1 - decay) * new_counts
    sums = decay * sums + (1 - decay) * new_sums
    n = counts.sum()
    smoothed = n * (counts + eps) / (n + len(counts) * eps)  # (codes,)
    return sums / smoothed[:, None], counts, sums
    ### END SOLUTION


@torch.no_grad()
def revive(
    codes: Codes,
    counts: Counts,
    sums: Codes,
    z: Vectors,
    least: float,
    generator: torch.Generator | None = None,
) -> State:
    """Put dead codes where there are vectors (beyond the slide; Dhariwal et al. 2020; Zeghidour et
    al. 2021).

        for each code with n_k < least:    e_k ← a vector of the batch, drawn at random
                                           n_k ← max(least, mean of n),    m_k ← n_k e_k

    A code that is nearest to no vector gets no gradient and no mean, so it stays where it is for
    ever. A batch of latents shows where codes are needed.

    Args:
        codes, counts, sums: as `update_codes` returns them, in one precision.
        z: vectors with any axes in front of the last, at least one vector.
        least: the running count below which a code is dead, 0 or more. A count of 1 is one vector
            in each batch.
        generator: for the draws. Of the vectors that are not taken yet each is as likely as any
            other, and none is taken twice before all were.
    Returns:
        `(codes, counts, sums)`, all new, without a graph, in the same precision as before,
        whichever z has; no code is dead. The mean of n is that of all counts before. Codes that
        were alive keep all their numbers.
    Raises:
        ValueError: if the shapes of codes, counts, sums and z do not agree, there are no vectors,
            or least is negative or NaN.
    """
    _check_state(counts, sums, z)
    if codes.shape != sums.shape:
        shapes = f"codes are {tuple(codes.shape)}, sums {tuple(sums.shape)}"
        raise ValueError(f"codes and sums must be of one shape: {shapes}")
    if z.numel() == 0:
        raise ValueError("z must hold at least one vector, got none")
    if not least >= 0:
        raise ValueError(f"least must be at least 0, got {least}")
    ### BEGIN SOLUTION
    codes, counts, sums = codes.clone(), counts.clone(), sums.clone()
    rows = z.reshape(-1, z.shape[-1]).to(codes.dtype)
    dead = (counts < least).nonzero()[:, 0]
    share = counts.mean().clamp(min=least)
    turns = -(-len(dead) // len(rows))  # how often the batch is gone through
    order = [torch.randperm(len(rows), generator=generator) for _ in range(turns)]
    if turns:
        codes[dead] = rows[torch.cat(order)[: len(dead)].to(rows.device)]
        counts[dead] = share
        sums[dead] = share * codes[dead]
    return codes, counts, sums
    ### END SOLUTION


def finite_scalar(z: Vectors, levels: Sequence[int]) -> tuple[Vectors, Index]:
    """Quantisation without a codebook: each number is rounded to one of a few levels (beyond the
    slide; Mentzer et al. 2024).

        h_i = (L_i − 1)(1 + 10⁻³) / 2,    o_i = ½ for even L_i, else 0,    s_i = artanh(o_i / h_i)
        c_i = round(h_i tanh(z_i + s_i) − o_i)          from −⌊L_i/2⌋ to ⌈L_i/2⌉ − 1
        q_i = c_i / ⌊L_i/2⌋,    index = Σ_i (c_i + ⌊L_i/2⌋) Π_{j<i} L_j

    Backwards as if nothing were rounded: ∂q_i/∂z_i = h_i (1 − tanh²(z_i + s_i)) / ⌊L_i/2⌋. The
    offset makes an even number of levels possible, and the shift keeps z = 0 at q = 0. The bounds
    lie a little outside the outermost levels, so that all are reached: no code can be dead.

    Args:
        z: vectors, with any axes in front of the last, or none.
        levels: L_i, for each number of a vector, 2 or more.
    Returns:
        `(q, index)`: q, shaped like z, computed in its precision; index from 0 to Π L_i − 1, int64,
        one for each vector, in which the first number changes fastest. Where rounding decides,
        either level.
    Raises:
        ValueError: if there is not one whole number of at least 2 for each number of a vector.
    """
    levels = _checked_levels(levels)
    if z.dim() == 0 or z.shape[-1] != len(levels):
        raise ValueError(f"z must have {len(levels)} numbers a vector, got {tuple(z.shape)}")
    ### BEGIN SOLUTION
    L = torch.tensor(levels, device=z.device)
    below = L // 2  # levels below 0
    half = (L - 1).double() * (1 + EDGE) / 2
    offset = torch.where(L % 2 == 0, 0.5, 0.0).double()
    shift = torch.atanh(offset / half)
    half, offset, shift = (v.to(z.dtype) for v in (half, offset, shift))
    bounded = half * torch.tanh(z + shift) - offset
    c = bounded.detach().round()
    stride = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))], device=z.device)
    index = ((c.long() + below) * stride).sum(-1)
    return (bounded + (c - bounded).detach()) / below, index
    ### END SOLUTION


def scalar_codes(levels: Sequence[int]) -> Float[Tensor, "codes dim"]:
    """All codes of `finite_scalar` in float32, in the order of their numbers. Given.

    Raises:
        ValueError: if levels are not whole numbers of at least 2.
    """
    levels = _checked_levels(levels)
    axes = [torch.arange(-(n // 2), -(n // 2) + n) / (n // 2) for n in levels]
    return torch.cartesian_prod(*reversed(axes)).reshape(-1, len(levels)).flip(1)


def perplexity(index: Index, codes: int) -> float:
    """How many codes would be as hard to guess, were all equally frequent. Given.

        exp(−Σ_k p_k log p_k),    p_k = N_k / N        from 1 (one code only) to K

    Args:
        index: codes of vectors, one or more.
        codes: K.
    """
    p = torch.bincount(index.flatten(), minlength=codes).double() / index.numel()
    return float(torch.special.entr(p).sum().exp())


def _check_codes(z: Tensor, codes: Tensor) -> None:
    if codes.dim() != 2 or not len(codes) or z.dim() == 0 or codes.shape[1] != z.shape[-1]:
        raise ValueError(
            f"codes must be (K, dim) with z's dim and at least one code: "
            f"codes are {tuple(codes.shape)}, z is {tuple(z.shape)}"
        )


def _check_index(z: Tensor, index: Tensor) -> None:
    if index.shape != z.shape[:-1] or not index.numel():
        raise ValueError(
            f"index must be one code for each vector, at least one: "
            f"z is {tuple(z.shape)}, index {tuple(index.shape)}"
        )


def _check_state(counts: Tensor, sums: Tensor, z: Tensor) -> None:
    if counts.dim() != 1 or z.dim() == 0 or sums.shape != (len(counts), z.shape[-1]):
        shapes = f"{tuple(counts.shape)}, {tuple(sums.shape)} and {tuple(z.shape)}"
        raise ValueError(f"expected counts (K,), sums (K, dim) and z (…, dim), got {shapes}")


def _checked_levels(levels: Sequence[int]) -> list[int]:
    if not levels or not all(isinstance(n, int) and n >= 2 for n in levels):
        raise ValueError(f"levels must be whole numbers of at least 2, got {levels}")
    return list(levels)


def _fits_kernel(z: Tensor, codes: Tensor) -> bool:
    """Whether these are vectors that the kernel takes."""
    from cs231n_gen.kernels.nearest_code import WIDEST

    return z.dtype == codes.dtype and z.dtype in DTYPES and 0 < z.shape[-1] <= WIDEST
