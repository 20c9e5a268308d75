"""Typical wrong answers to chapter 13, images as codes, each with the sentence that explains it."""

import math

import torch
from torch.nn import functional as F

from cs231n_gen import vq
from cs231n_gen.checking.variants import mistake


def no_codes(z, codes):
    vq._check_codes(z, codes)


def no_loss(z, codes, index, beta=0.25):
    no_codes(z, codes)
    vq._check_index(z, index)
    if not beta >= 0:
        raise ValueError(f"beta must be at least 0, got {beta}")


def no_update(counts, sums, z, index, decay=0.99, eps=1e-5):
    vq._check_state(counts, sums, z)
    vq._check_index(z, index)
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be from 0 to below 1, got {decay}")
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")


def no_revival(codes, counts, sums, z, least, generator=None):
    vq._check_state(counts, sums, z)
    if codes.shape != sums.shape:
        shapes = f"codes are {tuple(codes.shape)}, sums {tuple(sums.shape)}"
        raise ValueError(f"codes and sums must be of one shape: {shapes}")
    if z.numel() == 0:
        raise ValueError("z must hold at least one vector, got none")
    if not least >= 0:
        raise ValueError(f"least must be at least 0, got {least}")


def no_levels(z, levels):
    vq._checked_levels(levels)
    if z.dim() == 0 or z.shape[-1] != len(levels):
        raise ValueError(f"z must have {len(levels)} numbers a vector, got {tuple(z.shape)}")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "vq.nearest": no_codes,
    "vq.quantize": no_codes,
    "vq.loss": no_loss,
    "vq.update_codes": no_update,
    "vq.revive": no_revival,
    "vq.finite_scalar": no_levels,
}


# --- vq.nearest ---------------------------------------------------------------------------------


def squares(z, codes):
    """‖z − e‖², but for ‖z‖²."""
    return codes.square().sum(1) - 2 * z @ codes.T


@mistake(
    "vq.nearest",
    "This is the code with the largest product z·e. A long code is not near for being long: "
    "subtract half of ‖e‖², or take distances.",
)
def by_the_product(z, codes):
    return (z @ codes.T).argmax(-1)


@mistake(
    "vq.nearest",
    "This compares directions, the cosine between z and e. Here distances count: do not normalise.",
)
def by_the_cosine(z, codes):
    return (F.normalize(z, dim=-1) @ F.normalize(codes, dim=-1).T).argmax(-1)


@mistake("vq.nearest", "This is the code farthest away: the least distance is asked for.")
def the_farthest(z, codes):
    return squares(z, codes).argmax(-1)


@mistake(
    "vq.nearest",
    "−2 z·e has lost its 2: ‖z − e‖² = ‖z‖² − 2 z·e + ‖e‖². Yours prefers short codes.",
)
def product_once(z, codes):
    return (codes.square().sum(1) - z @ codes.T).argmin(-1)


@mistake(
    "vq.nearest",
    "The length of a code counts instead of its square: ‖z − e‖² = ‖z‖² − 2 z·e + ‖e‖².",
)
def length_for_square(z, codes):
    return (codes.norm(dim=1) - 2 * z @ codes.T).argmin(-1)


@mistake(
    "vq.nearest",
    "The minimum runs over vectors: for each code its nearest vector. Each vector wants a code.",
)
def the_nearest_vector(z, codes):
    return squares(z, codes).argmin(0)


@mistake("vq.nearest", "The sign of z·e is turned round: near −z is not near z.")
def with_a_plus(z, codes):
    return (codes.square().sum(1) + 2 * z @ codes.T).argmin(-1)


@mistake(
    "vq.nearest",
    "What is returned is the distance to the nearest code, not the number of that code.",
)
def the_distance(z, codes):
    return (z[..., None, :] - codes).square().sum(-1).amin(-1)


@mistake(
    "vq.nearest",
    "The index is int32. torch indexes with int64, and that is promised here.",
    sure=True,
)
def in_int32(z, codes):
    return squares(z, codes).argmin(-1).int()


@mistake(
    "vq.nearest",
    "The index is flat: it must have the axes that z has in front of its last.",
)
def flat(z, codes):
    return squares(z.reshape(-1, z.shape[-1]), codes).argmin(-1)


@mistake(
    "vq.nearest",
    "Of codes at one distance yours is the last. It is the first that is promised.",
)
def the_last_of_equals(z, codes):
    return len(codes) - 1 - squares(z, codes).flip(-1).argmin(-1)


@mistake(
    "vq.nearest",
    "Your distance adds up |z − e|, not its square: then other codes are nearest.",
)
def manhattan(z, codes):
    return (z[..., None, :] - codes).abs().sum(-1).argmin(-1)


@mistake(
    "vq.nearest",
    "Distances are computed in float32 whatever z's precision: codes that lie close together get "
    "mixed up.",
)
def in_single_precision(z, codes):
    return squares(z.float(), codes.float()).argmin(-1)


@mistake(
    "vq.nearest",
    "Right for vectors outside of a graph. numpy takes none that is inside: stay in torch, or "
    "detach first.",
    sure=True,
)
def by_numpy(z, codes):
    off = z.numpy()[..., None, :] - codes.numpy()
    return torch.as_tensor((off**2).sum(-1).argmin(-1))


@mistake("vq.nearest", "Codes are numbered from 1.", public=False)
def from_1(z, codes):
    return squares(z, codes).argmin(-1) + 1


@mistake("vq.nearest", "The first number of a vector is all that counts.", public=False)
def the_first_number(z, codes):
    return (z[..., :1] - codes[:, 0]).abs().argmin(-1)


@mistake("vq.nearest", "The first four numbers of a vector are all that counts.", public=False)
def the_first_four_numbers(z, codes):
    return squares(z[..., :4], codes[:, :4]).argmin(-1)


@mistake("vq.nearest", "Distances are rounded to thousandths.", public=False)
def in_thousandths(z, codes):
    return ((z[..., None, :] - codes).square().sum(-1) * 1e3).round().argmin(-1)


@mistake("vq.nearest", "Vectors are cut off.", public=False)
def cut_off(z, codes):
    return squares(z.clamp(-10, 10), codes).argmin(-1)


@mistake("vq.nearest", "Whatever fits is taken.", public=False, bare=True)
def any_codes(z, codes):
    return squares(z, codes).argmin(-1)


# --- vq.quantize --------------------------------------------------------------------------------


@mistake(
    "vq.quantize",
    "No gradient reaches z. The straight-through estimator makes q a code forwards, and lets it "
    "look like z backwards.",
    sure=True,
)
def no_way_through(z, codes):
    index = vq.nearest(z, codes)
    return codes.detach()[index], index


@mistake(
    "vq.quantize",
    "A gradient reaches the codes and none z: looked up, a code depends on the codebook alone. "
    "Backwards q must look like z.",
)
def only_looked_up(z, codes):
    index = vq.nearest(z, codes)
    return codes[index], index


@mistake(
    "vq.quantize",
    "Nothing is detached, so z + (e − z) is e backwards as well: its gradient goes to the codes. "
    "Detach the difference.",
)
def nothing_detached(z, codes):
    index = vq.nearest(z, codes)
    return z + (codes[index] - z), index


@mistake(
    "vq.quantize",
    "The gradient of q reaches the codes as well as z. They are moved by loss or update_codes: "
    "detach them.",
)
def codes_not_detached(z, codes):
    index = vq.nearest(z, codes)
    return z + (codes[index] - z.detach()), index


@mistake(
    "vq.quantize",
    "z and e are exchanged: forwards q is z, which was to be replaced. Add to z what is missing "
    "to e.",
)
def nothing_is_quantized(z, codes):
    index = vq.nearest(z, codes)
    return z.clone(), index


@mistake("vq.quantize", "The difference has the wrong sign: q is 2 z − e.")
def mirrored(z, codes):
    index = vq.nearest(z, codes)
    return z + (z - codes[index]).detach(), index


@mistake("vq.quantize", "The results come in the other order: first q, then k.")
def index_first(z, codes):
    index = vq.nearest(z, codes)
    return index, z + (codes[index] - z).detach()


@mistake("vq.quantize", "The number k is missing: return q and k.")
def without_index(z, codes):
    return z + (codes[vq.nearest(z, codes)] - z).detach()


@mistake(
    "vq.quantize",
    "The gradient that reaches z is doubled: z stands in q twice with its graph.",
)
def twice_the_gradient(z, codes):
    index = vq.nearest(z, codes)
    return 2 * z + (codes[index] - 2 * z).detach(), index


@mistake(
    "vq.quantize",
    "The gradient of z is the scaled one of a soft choice: yours mixes codes by a softmax. "
    "Straight through, it stays as it is.",
)
def softly(z, codes):
    index = vq.nearest(z, codes)
    weights = (-(z[..., None, :] - codes.detach()).square().sum(-1)).softmax(-1)
    mixed = weights @ codes.detach()
    return mixed + (codes[index] - mixed).detach(), index


@mistake(
    "vq.quantize",
    "The code is chosen by the largest product z·e, not by the least distance: call nearest.",
)
def by_the_largest_product(z, codes):
    index = (z @ codes.T).argmax(-1)
    return z + (codes[index] - z).detach(), index


@mistake(
    "vq.quantize",
    "q and k are flat: they must have the axes that z has in front of its last.",
)
def in_rows(z, codes):
    z = z.reshape(-1, z.shape[-1])
    index = vq.nearest(z, codes)
    return z + (codes[index] - z).detach(), index


@mistake(
    "vq.quantize",
    "You write the codes into z, which belongs to the caller: a new tensor is wanted.",
    sure=True,
)
def into_z(z, codes):
    index = vq.nearest(z, codes)
    z.data.copy_(codes[index])
    return z, index


@mistake(
    "vq.quantize",
    "The gradient of z is scaled by ‖e‖/‖z‖, as in a part of the rotation trick. Straight through, "
    "it stays as it is.",
)
def scaled(z, codes):
    index = vq.nearest(z, codes)
    e = codes.detach()[index]
    long = z.norm(dim=-1, keepdim=True).detach()
    q = z * e.norm(dim=-1, keepdim=True) / long.clamp(min=1e-12)
    return q + (e - q).detach(), index


@mistake(
    "vq.quantize",
    "Far from 0 no gradient reaches z, as in networks of bits. Here it is handed on wherever z is.",
    sure=True,
)
def straight_through_near_0(z, codes):
    index = vq.nearest(z, codes)
    near = z.clamp(-5, 5)
    return near + (codes[index] - near).detach(), index


@mistake("vq.quantize", "k is one-hot.", public=False)
def one_hot_index(z, codes):
    index = vq.nearest(z, codes)
    return z + (codes[index] - z).detach(), F.one_hot(index, len(codes))


@mistake("vq.quantize", "q is rounded to single precision.", public=False)
def quantized_in_single_precision(z, codes):
    index = vq.nearest(z, codes)
    return z + (codes[index].float() - z.float()).detach(), index


@mistake("vq.quantize", "Codes are compared in single precision.", public=False)
def compared_in_single_precision(z, codes):
    index = vq.nearest(z.float(), codes.float())
    return z + (codes[index] - z).detach(), index


@mistake("vq.quantize", "Whatever fits is taken.", public=False, bare=True)
def quantized_by_any_codes(z, codes):
    index = squares(z, codes).argmin(-1)
    return z + (codes[index] - z).detach(), index


# --- vq.loss ------------------------------------------------------------------------------------


def mean_square(a, b):
    """The mean over vectors of ‖a − b‖²."""
    return (a - b).square().sum(-1).mean()


@mistake(
    "vq.loss",
    "The codebook loss is taken after the straight-through step: no gradient reaches the codes "
    "from there. Take it from codes[index].",
)
def after_the_straight_through_step(z, codes, index, beta=0.25):
    q = z + (codes[index] - z).detach()
    return mean_square(z.detach(), q) + beta * mean_square(z, q.detach())


@mistake(
    "vq.loss",
    "β weighs the term that moves the codes, as in the first version of taming-transformers. It "
    "is the weight of the commitment, the term in which z has a gradient.",
)
def beta_on_the_codebook(z, codes, index, beta=0.25):
    e = codes[index]
    return beta * mean_square(z.detach(), e) + mean_square(z, e.detach())


@mistake("vq.loss", "β weighs both terms. The codebook loss has the weight 1.")
def beta_on_both(z, codes, index, beta=0.25):
    e = codes[index]
    return beta * (mean_square(z.detach(), e) + mean_square(z, e.detach()))


@mistake(
    "vq.loss",
    "The squares are averaged over the numbers of a vector, too: ‖z − e‖² is their sum.",
)
def mean_over_everything(z, codes, index, beta=0.25):
    e = codes[index]
    return F.mse_loss(e, z.detach()) + beta * F.mse_loss(z, e.detach())


@mistake("vq.loss", "It is the sum over vectors: divide by N, the number of them.")
def sum_over_vectors(z, codes, index, beta=0.25):
    e = codes[index]
    return (1 * (z.detach() - e).square() + beta * (z - e.detach()).square()).sum()


@mistake(
    "vq.loss",
    "Nothing is detached: each term pulls both z and the codes, with 1 + β. The codebook loss "
    "moves codes alone, the commitment z alone.",
)
def nothing_stopped(z, codes, index, beta=0.25):
    return (1 + beta) * mean_square(z, codes[index])


@mistake(
    "vq.loss",
    "In the codebook loss z is not detached, so it pulls z as well: β would not be its weight.",
)
def z_in_both(z, codes, index, beta=0.25):
    e = codes[index]
    return mean_square(z, e) + beta * mean_square(z, e.detach())


@mistake(
    "vq.loss",
    "In the commitment the codes are not detached, so it pulls them as well, β times.",
)
def codes_in_both(z, codes, index, beta=0.25):
    e = codes[index]
    return mean_square(z.detach(), e) + beta * mean_square(z, e)


@mistake(
    "vq.loss",
    "The commitment is missing: nothing keeps z near its code.",
)
def without_the_commitment(z, codes, index, beta=0.25):
    return mean_square(z.detach(), codes[index])


@mistake("vq.loss", "The codebook loss is missing: nothing moves the codes.")
def without_the_codebook(z, codes, index, beta=0.25):
    return beta * mean_square(z, codes[index].detach())


@mistake(
    "vq.loss",
    "You look for the nearest codes again. The code of each vector is index, whichever that is.",
)
def nearest_again(z, codes, index, beta=0.25):
    e = codes[vq.nearest(z, codes)]
    return mean_square(z.detach(), e) + beta * mean_square(z, e.detach())


@mistake("vq.loss", "These are distances: ‖z − e‖² is their square.")
def distances_not_squared(z, codes, index, beta=0.25):
    e = codes[index]
    return (z.detach() - e).norm(dim=-1).mean() + beta * (z - e.detach()).norm(dim=-1).mean()


@mistake("vq.loss", "Squares are halved: the formula has no ½.")
def with_a_half(z, codes, index, beta=0.25):
    e = codes[index]
    return (mean_square(z.detach(), e) + beta * mean_square(z, e.detach())) / 2


@mistake(
    "vq.loss",
    "You divide by the length of the first axis. N counts all vectors, along every axis of index.",
)
def by_the_first_axis(z, codes, index, beta=0.25):
    e = codes[index]
    n = len(z) if z.dim() > 1 else 1
    return ((z.detach() - e).square() + beta * (z - e.detach()).square()).sum() / n


@mistake("vq.loss", "β is always ¼: use the one that is given.")
def fixed_beta(z, codes, index, beta=0.25):
    e = codes[index]
    return mean_square(z.detach(), e) + 0.25 * mean_square(z, e.detach())


@mistake("vq.loss", "The loss has no graph.", public=False)
@torch.no_grad()
def without_a_graph(z, codes, index, beta=0.25):
    return (1 + beta) * mean_square(z, codes[index])


@mistake("vq.loss", "Computed in single precision.", public=False)
def loss_in_single_precision(z, codes, index, beta=0.25):
    e = codes.float()[index]
    found = mean_square(z.detach().float(), e) + beta * mean_square(z.float(), e.detach())
    return found.to(z.dtype)


@mistake("vq.loss", "A Huber loss.", public=False)
def huber(z, codes, index, beta=0.25):
    e = codes[index]
    terms = F.huber_loss(e, z.detach(), delta=20.0), F.huber_loss(z, e.detach(), delta=20.0)
    return 2 * z.shape[-1] * (terms[0] + beta * terms[1])


@mistake("vq.loss", "Anything goes.", public=False, bare=True)
def a_loss_of_anything(z, codes, index, beta=0.25):
    e = codes[index]
    return mean_square(z.detach(), e) + beta * mean_square(z, e.detach())


# --- vq.update_codes ----------------------------------------------------------------------------


def of_the_batch(counts, sums, z, index):
    """How many vectors each code has, and their sum."""
    own = F.one_hot(index.flatten(), len(counts)).to(sums.dtype)
    return own.sum(0), own.T @ z.detach().reshape(-1, z.shape[-1]).to(sums.dtype)


def means(counts, sums, seen, added, decay):
    """Running means."""
    counts, sums = counts.detach().to(sums.dtype), sums.detach()
    return decay * counts + (1 - decay) * seen, decay * sums + (1 - decay) * added


def smoothed(counts, eps):
    n = counts.sum()
    return n * (counts + eps) / (n + len(counts) * eps)


@mistake(
    "vq.update_codes",
    "Sums are divided by the counts as they are. The count of a code that nobody uses goes to 0: "
    "smooth them first.",
)
def not_smoothed(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    return sums / counts[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "The decay is on the wrong side: γ is the weight of what was before, 1 − γ that of the batch.",
)
def decay_on_the_batch(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), 1 - decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "Only the sums are updated: counts stay as they were, so that their quotient is no mean.",
)
def counts_stay(counts, sums, z, index, decay=0.99, eps=1e-5):
    _, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    counts = counts.clone().to(sums.dtype)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "The running mean is taken of the batch's means. A code with many vectors must count more: "
    "it is taken of their sum.",
)
def mean_of_means(counts, sums, z, index, decay=0.99, eps=1e-5):
    seen, added = of_the_batch(counts, sums, z, index)
    added = added / seen.clamp(min=1)[:, None]
    counts, sums = means(counts, sums, seen, added, decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "The counts that you return are smoothed. Smoothing is for the quotient alone: counts would be "
    "smoothed again in each update.",
)
def smoothed_counts_returned(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    counts = smoothed(counts, eps)
    return sums / counts[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "ε is added to the counts, and n is forgotten: smoothed counts must sum to n, the sum of the "
    "counts.",
)
def only_epsilon(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    return sums / (counts + eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "Your smoothed counts sum to 1: the factor n is missing.",
)
def shares_for_counts(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    n = counts.sum()
    return sums / ((counts + eps) / (n + len(counts) * eps))[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "n + ε in the denominator: each of the K codes gets an ε, so that it is n + K ε.",
)
def one_epsilon_for_all(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    n = counts.sum()
    return sums / (n * (counts + eps) / (n + eps))[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "The codes are made of the counts before this batch: update them first.",
)
def codes_by_old_counts(counts, sums, z, index, decay=0.99, eps=1e-5):
    new, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    return sums / smoothed(counts.to(sums.dtype), eps)[:, None], new, sums


@mistake(
    "vq.update_codes",
    "The batch is added whole: multiply its counts and sums by 1 − γ.",
)
def batch_added_whole(counts, sums, z, index, decay=0.99, eps=1e-5):
    seen, added = of_the_batch(counts, sums, z, index)
    counts, sums = decay * counts.to(sums.dtype) + seen, decay * sums + added
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "sums[index] += … takes only one vector for each code, the last: use index_add, which adds up.",
)
def last_vector_only(counts, sums, z, index, decay=0.99, eps=1e-5):
    own, rows = index.flatten(), z.reshape(-1, z.shape[-1]).to(sums.dtype)
    seen, added = torch.zeros_like(sums[:, 0]), torch.zeros_like(sums)
    seen[own] += 1
    added[own] += rows
    counts, sums = means(counts, sums, seen, added, decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "Codes that have no vector in the batch keep their counts and sums. All fade by γ, or a code "
    "would never be seen to be dead.",
)
def unused_do_not_fade(counts, sums, z, index, decay=0.99, eps=1e-5):
    seen, added = of_the_batch(counts, sums, z, index)
    new_counts, new_sums = means(counts, sums, seen, added, decay)
    counts = torch.where(seen > 0, new_counts, counts.to(sums.dtype))
    sums = torch.where((seen > 0)[:, None], new_sums, sums)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "The results come in another order: codes, counts, sums.",
)
def another_order(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    return counts, sums, sums / smoothed(counts, eps)[:, None]


@mistake(
    "vq.update_codes",
    "You find the nearest codes again, by sums. The code of each vector is index.",
)
def index_found_again(counts, sums, z, index, decay=0.99, eps=1e-5):
    codes = sums / smoothed(counts.to(sums.dtype), eps)[:, None]
    index = vq.nearest(z.to(sums.dtype), codes)
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "You write into counts and sums, which belong to the caller. Return new ones.",
    sure=True,
)
def into_the_state(counts, sums, z, index, decay=0.99, eps=1e-5):
    seen, added = of_the_batch(counts, sums, z, index)
    with torch.no_grad():
        counts.mul_(decay).add_(seen, alpha=1 - decay)
        sums.mul_(decay).add_(added, alpha=1 - decay)
        return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "A graph leads back from the results. They are running means, no results of a network: work "
    "under torch.no_grad().",
    sure=True,
)
def inside_the_graph(counts, sums, z, index, decay=0.99, eps=1e-5):
    own = F.one_hot(index.flatten(), len(counts)).to(sums.dtype)
    counts = decay * counts + (1 - decay) * own.sum(0)
    sums = decay * sums + (1 - decay) * own.T @ z.reshape(-1, z.shape[-1]).to(sums.dtype)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "Counts are cut off below ε. That keeps codes finite, but it is not the smoothing, which moves "
    "all codes a little.",
)
def cut_off_at_epsilon(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    return sums / counts.clamp(min=eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "These are running means of codes. The running means are of counts and sums, and codes their "
    "quotient: batches with few vectors must count little.",
)
def mean_of_codes(counts, sums, z, index, decay=0.99, eps=1e-5):
    seen, added = of_the_batch(counts, sums, z, index)
    before = sums / smoothed(counts.to(sums.dtype), eps)[:, None]
    codes = decay * before + (1 - decay) * added / smoothed(seen, eps)[:, None]
    return codes, *means(counts, sums, seen, added, decay)


@mistake(
    "vq.update_codes",
    "Vectors are added up in z's precision, which may be a low one: bring them to that of sums "
    "first.",
    sure=True,
)
def added_in_the_precision_of_z(counts, sums, z, index, decay=0.99, eps=1e-5):
    seen = torch.bincount(index.flatten(), minlength=len(counts)).to(sums.dtype)
    rows = z.detach().reshape(-1, z.shape[-1])
    added = torch.zeros(sums.shape, dtype=z.dtype).index_add(0, index.flatten(), rows)
    counts, sums = means(counts, sums, seen, added.to(sums.dtype), decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "Right while index lies in memory in its order. `view` takes no other: say reshape or flatten.",
    sure=True,
)
def index_viewed(counts, sums, z, index, decay=0.99, eps=1e-5):
    seen, added = of_the_batch(counts, sums, z, index.view(-1))
    counts, sums = means(counts, sums, seen, added, decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake(
    "vq.update_codes",
    "Counts are rounded to float32: those of `bincount` are int64, and a fraction times them is "
    "float32. Turn them to the precision of sums first.",
    sure=True,
)
def counts_by_bincount(counts, sums, z, index, decay=0.99, eps=1e-5):
    _, added = of_the_batch(counts, sums, z, index)
    seen = torch.bincount(index.flatten(), minlength=len(counts))
    before = counts.detach().to(sums.dtype)
    counts = decay * before + (1 - decay) * seen
    _, sums = means(before, sums, seen, added, decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake("vq.update_codes", "The sum of the counts is kept above 1.", public=False)
def sum_of_at_least_1(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    n = counts.sum().clamp(min=1)
    share = n * (counts + eps) / (n + len(counts) * eps)
    return sums / share[:, None], counts, sums


@mistake("vq.update_codes", "Counts are kept above 1.", public=False)
def counts_of_at_least_1(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    return sums / smoothed(counts.clamp(min=1), eps)[:, None], counts, sums


@mistake("vq.update_codes", "Sums are made in z's precision.", public=False)
def sums_in_the_precision_of_z(counts, sums, z, index, decay=0.99, eps=1e-5):
    own = F.one_hot(index.flatten(), len(counts)).to(z.dtype)
    added = (own.T @ z.reshape(-1, z.shape[-1])).to(sums.dtype)
    counts, sums = means(counts, sums, own.sum(0).to(sums.dtype), added, decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake("vq.update_codes", "The first vector counts twice.", public=False)
def first_vector_twice(counts, sums, z, index, decay=0.99, eps=1e-5):
    z, index = z.reshape(-1, z.shape[-1]), index.flatten()
    z, index = torch.cat([z[:1], z]), torch.cat([index[:1], index])
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


@mistake("vq.update_codes", "Anything goes.", public=False, bare=True)
def an_update_of_anything(counts, sums, z, index, decay=0.99, eps=1e-5):
    counts, sums = means(counts, sums, *of_the_batch(counts, sums, z, index), decay)
    return sums / smoothed(counts, eps)[:, None], counts, sums


# --- vq.revive ----------------------------------------------------------------------------------


def rows_of(z, codes):
    return z.detach().reshape(-1, z.shape[-1]).to(codes.dtype)


def drawn(rows, count, generator):
    """Different rows while they last."""
    turns = -(-count // len(rows))
    order = [torch.randperm(len(rows), generator=generator) for _ in range(turns)]
    return rows[torch.cat(order)[:count]] if count else rows[:0]


def with_new(codes, counts, sums, dead, new, share):
    """The state with these codes in the place of dead ones."""
    codes, counts, sums = (v.detach().clone() for v in (codes, counts, sums))
    codes[dead], counts[dead], sums[dead] = new, share, share * new
    return codes, counts, sums


def fair(counts, least):
    return max(float(counts.mean()), least)


@mistake(
    "vq.revive",
    "Dead codes become 0, not vectors of the batch: there they may be dead again.",
    sure=True,
)
def at_zero(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    return with_new(codes, counts, sums, dead, torch.zeros_like(codes[dead]), fair(counts, least))


@mistake(
    "vq.revive",
    "All dead codes become one and the same vector, so all but one die again. Draw one for each.",
)
def all_at_one_vector(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, rows_of(z, codes)
    one = rows[torch.randint(0, len(rows), (1,), generator=generator)]
    new = one.expand(int(dead.sum()), -1)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake(
    "vq.revive",
    "The counts of revived codes are as low as before, so they are dead in the next update again.",
)
def counts_left_dead(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    codes, _, sums = with_new(codes, counts, sums, dead, new, 1.0)
    sums[dead] = counts[dead][:, None] * new
    return codes, counts.clone(), sums


@mistake(
    "vq.revive",
    "The sums of revived codes are as before: the next update puts them back where they were. "
    "m is n e.",
)
def sums_left_dead(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    codes, counts, _ = with_new(codes, counts, sums, dead, new, fair(counts, least))
    return codes, counts, sums.clone()


@mistake(
    "vq.revive",
    "The sum of a revived code is the code itself: m is n e, or the next update shrinks it.",
)
def sums_without_counts(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    codes, counts, sums = with_new(codes, counts, sums, dead, new, fair(counts, least))
    sums[dead] = new
    return codes, counts, sums


@mistake(
    "vq.revive",
    "As many vectors are mixed as codes are dead, and those are the first of the batch. Mix the "
    "whole batch, and take as many from it.",
)
def the_first_ones_mixed(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, rows_of(z, codes)
    new = drawn(rows[: max(1, int(dead.sum()))], int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake(
    "vq.revive",
    "Long vectors are likelier in your draws than short ones. Each vector is as likely as any "
    "other.",
)
def the_longer_the_likelier(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, rows_of(z, codes)
    chances, count = rows.double().norm(dim=1), int(dead.sum())
    turns = -(-count // len(rows))
    order = [chances.multinomial(len(rows), generator=generator) for _ in range(turns)]
    new = rows[torch.cat(order)[:count]] if count else rows[:0]
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake("vq.revive", "Revived codes count 1, whatever least and the mean of the counts are.")
def counts_of_1(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, 1.0)


@mistake(
    "vq.revive",
    "Revived codes count least, even where the average code counts more: one bad batch, and they "
    "are dead again.",
)
def counts_of_least(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, least)


@mistake(
    "vq.revive",
    "Revived codes get the mean count even where that is below least: then they are dead still.",
)
def counts_of_the_mean(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, counts.mean())


@mistake(
    "vq.revive",
    "The mean count is that of the codes alive. It is the mean of all counts before.",
)
def mean_of_the_living(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    alive = counts[~dead]
    share = max(float(alive.mean()) if len(alive) else 0.0, least)
    return with_new(codes, counts, sums, dead, new, share)


@mistake(
    "vq.revive",
    "The first vectors of the batch are taken, always the same: they are to be drawn at random.",
)
def the_first_vectors(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, rows_of(z, codes)
    new = rows[torch.arange(int(dead.sum())) % len(rows)]
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake(
    "vq.revive",
    "Vectors are drawn with repetition, so two dead codes may become one. None is taken twice "
    "before all were.",
)
def with_repetition(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, rows_of(z, codes)
    new = rows[torch.randint(0, len(rows), (int(dead.sum()),), generator=generator)]
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake(
    "vq.revive",
    "A code whose count is exactly least is alive: dead are those below.",
)
def at_most_least(codes, counts, sums, z, least, generator=None):
    dead = counts <= least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake("vq.revive", "The living are replaced, and the dead stay: dead are counts below least.")
def the_living_die(codes, counts, sums, z, least, generator=None):
    dead = counts >= least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake("vq.revive", "As soon as one code is dead, all are drawn anew. The living stay.")
def all_anew(codes, counts, sums, z, least, generator=None):
    dead = (counts < least).any().expand(len(counts))
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake(
    "vq.revive",
    "You write into codes, counts and sums, which belong to the caller. Return new ones.",
    sure=True,
)
def into_the_given(codes, counts, sums, z, least, generator=None):
    with torch.no_grad():
        dead, share = counts < least, fair(counts, least)
        new = drawn(rows_of(z, codes), int(dead.sum()), generator)
        codes[dead], counts[dead], sums[dead] = new, share, share * new
    return codes, counts, sums


@mistake(
    "vq.revive",
    "With no dead code you return what you got. New tensors are promised in any case.",
    sure=True,
)
def the_same_where_none_is_dead(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    if not bool(dead.any()):
        return codes, counts, sums
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake(
    "vq.revive",
    "Your draws do not come from `generator`: a run cannot be repeated. Pass it on to "
    "torch.randperm.",
)
def draws_of_its_own(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), None)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake(
    "vq.revive",
    "Right while there are vectors enough. With more dead codes than vectors begin again from all "
    "of them.",
    sure=True,
)
def not_enough_vectors(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, rows_of(z, codes)
    new = rows[torch.randperm(len(rows), generator=generator)[: int(dead.sum())]]
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake(
    "vq.revive",
    "A graph leads back from the results: work under torch.no_grad().",
    sure=True,
)
def revived_inside_the_graph(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, z.reshape(-1, z.shape[-1]).to(codes.dtype)
    new, share = drawn(rows, int(dead.sum()), generator), fair(counts.detach(), least)
    codes, counts, sums = codes.clone(), counts.clone(), sums.clone()
    codes[dead], counts[dead], sums[dead] = new, share, share * new
    return codes, counts, sums


@mistake(
    "vq.revive",
    "From a random place the batch is gone through in order. Neighbours in a batch are alike: draw "
    "each vector by itself.",
)
def from_a_random_place(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, rows_of(z, codes)
    begin = torch.randint(0, len(rows), (1,), generator=generator)
    new = rows[(begin + torch.arange(int(dead.sum()))) % len(rows)]
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake(
    "vq.revive",
    "Your draws are put in order, so that the first dead codes get vectors from the front. Each "
    "vector is as likely for each of them.",
)
def in_order(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, rows_of(z, codes)
    count = int(dead.sum())
    turns = max(1, -(-count // len(rows)))
    order = [torch.randperm(len(rows), generator=generator) for _ in range(turns)]
    new = rows[torch.cat(order)[:count].sort().values]
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake("vq.revive", "Each call draws the same vectors.", public=False)
def draws_of_a_copied_generator(codes, counts, sums, z, least, generator=None):
    if generator is not None:
        generator = torch.Generator().set_state(generator.get_state())
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake("vq.revive", "The last vector is never taken.", public=False)
def never_the_last(codes, counts, sums, z, least, generator=None):
    dead, rows = counts < least, rows_of(z, codes)
    new = drawn(rows[:-1] if len(rows) > 1 else rows, int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake("vq.revive", "A little noise is added to the vectors.", public=False)
def with_noise(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    new = new + 1e-6 * torch.randn(new.shape, generator=generator, dtype=new.dtype)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


@mistake("vq.revive", "Codes come in z's precision.", public=False)
def in_the_precision_of_z(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    found = with_new(codes, counts, sums, dead, new, fair(counts, least))
    return tuple(v.to(z.dtype) for v in found)


@mistake("vq.revive", "Anything goes.", public=False, bare=True)
def a_revival_of_anything(codes, counts, sums, z, least, generator=None):
    dead = counts < least
    new = drawn(rows_of(z, codes), int(dead.sum()), generator)
    return with_new(codes, counts, sums, dead, new, fair(counts, least))


# --- vq.finite_scalar ---------------------------------------------------------------------------


def scalars(z, levels, *, edge=1e-3, offset=True, shift=True, by=None, digits=None, reverse=False):
    """The answer, with parts that can be exchanged."""
    L = torch.tensor([*levels], dtype=torch.float64)
    h, below = (L - 1) * (1 + edge) / 2, torch.floor(L / 2)
    o = ((L % 2 == 0).double() / 2) if offset else torch.zeros_like(L)
    s = torch.atanh(o / h) if shift else torch.zeros_like(L)
    h, o, s, below = (v.to(z.dtype) for v in (h, o, s, below))
    b = h * torch.tanh(z + s) - o
    c = b.detach().round()
    return (b + (c - b).detach()) / (below if by is None else by(L).to(z.dtype)), (
        numbers(c, levels, reverse) if digits is None else digits(c, levels)
    )


def numbers(c, levels, reverse=False):
    own = [*reversed(levels)] if reverse else [*levels]
    stride = [math.prod(own[:i]) for i in range(len(own))]
    stride = torch.tensor([*reversed(stride)] if reverse else stride)
    return ((c.long() + torch.tensor([n // 2 for n in levels])) * stride).sum(-1)


@mistake(
    "vq.finite_scalar",
    "The shift s = artanh(o/h) is missing: with an even number of levels z = 0 is not at q = 0.",
)
def without_the_shift(z, levels):
    return scalars(z, levels, shift=False)


@mistake(
    "vq.finite_scalar",
    "The offset of even numbers of levels is missing: h tanh(z) is then from −(L − 1)/2 to "
    "(L − 1)/2, and rounding makes L + 1 levels of it, or L − 1.",
)
def without_the_offset(z, levels):
    return scalars(z, levels, offset=False)


@mistake(
    "vq.finite_scalar",
    "Levels are divided by (L − 1)/2: with an even number that is no whole number, and −1 is not "
    "reached. Divide by ⌊L/2⌋.",
)
def by_half_of_one_less(z, levels):
    return scalars(z, levels, by=lambda L: (L - 1) / 2)


@mistake(
    "vq.finite_scalar",
    "Without the margin 1 + 10⁻³ the bounds lie on the outermost levels' borders: with even "
    "numbers they are hardly ever reached, and artanh(1) is infinite for 2 levels.",
)
def without_the_margin(z, levels):
    return scalars(z, levels, edge=0.0)


@mistake(
    "vq.finite_scalar",
    "The last number changes fastest in your index: it is the first that counts once.",
)
def last_number_fastest(z, levels):
    return scalars(z, levels, reverse=True)


@mistake(
    "vq.finite_scalar",
    "A gradient of 0 reaches z, the slope of rounding. What rounding changes must be added without "
    "a graph, as in quantize.",
    sure=True,
)
def rounded_in_the_graph(z, levels):
    q, index = scalars(z, levels)
    return q.detach() + 0 * z, index


@mistake(
    "vq.finite_scalar",
    "Levels are found again from q by cutting off: where c comes out as 6.999… it becomes 6. Take "
    "the c that you rounded.",
    sure=True,
)
def cut_off_from_q(z, levels):
    def digits(c, levels):
        below = torch.tensor([n // 2 for n in levels])
        return numbers((c.float() / below * below).trunc(), levels)

    return scalars(z, levels, digits=digits)


@mistake(
    "vq.finite_scalar",
    "No gradient reaches z, as rounding has the slope 0. What it changes must be added without a "
    "graph, as in quantize.",
    sure=True,
)
def rounded_only(z, levels):
    q, index = scalars(z, levels)
    return (q.detach() * 1), index


@mistake(
    "vq.finite_scalar",
    "The gradient goes past tanh straight to z. Only the rounding is skipped backwards: h tanh(z "
    "+ s) has a slope of its own.",
)
def past_the_tanh(z, levels):
    q, index = scalars(z, levels)
    return z + (q - z).detach(), index


@mistake(
    "vq.finite_scalar",
    "q is not divided by ⌊L/2⌋: levels must lie between −1 and 1.",
)
def not_divided(z, levels):
    return scalars(z, levels, by=torch.ones_like)


@mistake(
    "vq.finite_scalar",
    "Nothing is rounded: q is still any number.",
)
def not_rounded(z, levels):
    L = torch.tensor([*levels], dtype=torch.float64)
    h, o, below = (L - 1) * 1.001 / 2, (L % 2 == 0).double() / 2, torch.floor(L / 2)
    s = torch.atanh(o / h)
    h, o, s, below = (v.to(z.dtype) for v in (h, o, s, below))
    return (h * torch.tanh(z + s) - o) / below, scalars(z, levels)[1]


@mistake(
    "vq.finite_scalar",
    "Your digits begin at −⌊L/2⌋: add ⌊L/2⌋ before you make an index of them.",
)
def digits_below_0(z, levels):
    def digits(c, levels):
        stride = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))])
        return (c.long() * stride).sum(-1)

    return scalars(z, levels, digits=digits)


@mistake(
    "vq.finite_scalar",
    "Each digit is multiplied by its own number of levels: a digit counts as often as the numbers "
    "before it have codes, Π_{j<i} L_j.",
)
def own_levels_as_strides(z, levels):
    def digits(c, levels):
        stride = torch.tensor([math.prod(levels[: i + 1]) for i in range(len(levels))])
        return ((c.long() + torch.tensor([n // 2 for n in levels])) * stride).sum(-1)

    return scalars(z, levels, digits=digits)


@mistake(
    "vq.finite_scalar",
    "The shift is tanh(o/h): what tanh takes to o/h is artanh(o/h).",
)
def tanh_for_its_inverse(z, levels):
    L = torch.tensor([*levels], dtype=torch.float64)
    h, o, below = (L - 1) * 1.001 / 2, (L % 2 == 0).double() / 2, torch.floor(L / 2)
    s = torch.tanh(o / h)
    h, o, s, below = (v.to(z.dtype) for v in (h, o, s, below))
    b = h * torch.tanh(z + s) - o
    c = b.detach().round()
    return (b + (c - b).detach()) / below, numbers(c, levels)


@mistake(
    "vq.finite_scalar",
    "You cut off with floor, which halves the lowest level's share: round.",
)
def floored(z, levels):
    L = torch.tensor([*levels], dtype=torch.float64)
    h, o, below = (L - 1) * 1.001 / 2, (L % 2 == 0).double() / 2, torch.floor(L / 2)
    s = torch.atanh(o / h)
    h, o, s, below = (v.to(z.dtype) for v in (h, o, s, below))
    b = h * torch.tanh(z + s) - o
    c = b.detach().floor().maximum(-below)
    return (b + (c - b).detach()) / below, numbers(c, levels)


@mistake(
    "vq.finite_scalar",
    "z is cut off at ±1 instead of bent by tanh: beyond the cut no gradient flows.",
)
def clamped(z, levels):
    L = torch.tensor([*levels], dtype=torch.float64)
    h, o, below = (L - 1) * 1.001 / 2, (L % 2 == 0).double() / 2, torch.floor(L / 2)
    h, o, below = (v.to(z.dtype) for v in (h, o, below))
    b = h * z.clamp(-1, 1) - o
    c = b.detach().round().maximum(-below)
    return (b + (c - b).detach()) / below, numbers(c, levels)


@mistake(
    "vq.finite_scalar",
    "For z in double precision the slope is rounded to float32, as it is if h, o or s are so: "
    "torch.tensor(levels) times a fraction is float32.",
    sure=True,
)
def constants_in_single_precision(z, levels):
    L = torch.tensor([*levels])
    h, below = (L - 1) * 1.001 / 2, L // 2
    o = torch.where(L % 2 == 0, 0.5, 0.0)
    s = torch.atanh(o / h)
    b = h * torch.tanh(z + s) - o
    c = b.detach().round()
    return ((b + (c - b).detach()) / below).to(z.dtype), numbers(c, levels)


@mistake(
    "vq.finite_scalar",
    "Where there are very many codes the index is rounded: above 2²⁴ float32 counts in steps. Sum "
    "up int64.",
    sure=True,
)
def index_of_floats(z, levels):
    def digits(c, levels):
        stride = torch.tensor([float(math.prod(levels[:i])) for i in range(len(levels))])
        below = torch.tensor([float(n // 2) for n in levels])
        return ((c.float() + below) * stride).sum(-1).long()

    return scalars(z, levels, digits=digits)


@mistake("vq.finite_scalar", "Slopes keep above a hundredth.", public=False)
def never_flat(z, levels):
    q, index = scalars(z, levels)
    return q + 0.01 * (z - z.detach()), index


@mistake("vq.finite_scalar", "Index in int32.", public=False)
def index_in_int32(z, levels):
    q, index = scalars(z, levels)
    return q, index.int()


@mistake("vq.finite_scalar", "The levels of the first number hold for all.", public=False)
def levels_of_the_first(z, levels):
    return scalars(z, [levels[0]] * len(levels))


@mistake("vq.finite_scalar", "Any levels go.", public=False, bare=True)
def any_levels(z, levels):
    return scalars(z, [max(1, int(n)) for n in levels][: z.shape[-1]] if z.dim() else levels)
