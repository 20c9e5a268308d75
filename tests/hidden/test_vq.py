"""Hidden graders of chapter 13, images as codes: held to theory first (distances, gradients in
closed form, Lloyd–Max quantisers, uniform draws)."""

import math

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.truth.quantizer import best_quantizer

nearest = pytest.mark.exercise("vq.nearest")
quantize = pytest.mark.exercise("vq.quantize")
loss = pytest.mark.exercise("vq.loss")
update_codes = pytest.mark.exercise("vq.update_codes", graph=False, new=True)
revive = pytest.mark.exercise("vq.revive", graph=False, new=True)
finite_scalar = pytest.mark.exercise("vq.finite_scalar")

# What rounding leaves where all that is computed is a double.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SINGLE = {"atol": 1e-5, "rtol": 1e-5}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def number(generator, low, high):
    return float(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))


def assigned(generator, K, *shape):
    """A code for each vector, of which not all are used where there are more than two."""
    return torch.randint(0, max(1, K - 1), shape, generator=generator)


def turned(generator, K, *shape):
    """The same, in memory with its axes the other way round, as those of a transposed grid."""
    index = assigned(generator, K, *reversed(shape))
    return index.permute(*reversed(range(index.dim()))) if shape else index


def one_hot(index, K):
    return torch.nn.functional.one_hot(index.flatten(), K).double()


def shapes(generator, dim):
    """Vectors in every form: one alone, a list, a grid of latents with its channels moved last."""
    grid = normal(generator, 2, dim, 3, 4).movedim(1, -1)
    return [normal(generator, dim), normal(generator, 1, dim), normal(generator, 5, dim), grid]


# --- vq.nearest ---------------------------------------------------------------------------------


def distances(z, codes):
    """‖z − e‖² of each vector to each code, as differences."""
    return (z.double()[..., None, :] - codes.double()).square().sum(-1)


def hold_nearest(index, z, codes, says):
    """No code may be nearer than the one chosen, up to the rounding of the squares."""
    K, (dim,) = len(codes), z.shape[-1:]
    index = expect.tensor(index, z.shape[:-1], "the index")
    expect.true(index.dtype == torch.int64, "the index must be int64", index.dtype, torch.int64)
    if not index.numel():
        return index
    inside = bool((index >= 0).all() and (index < K).all())
    expect.true(inside, f"the {K} codes have the numbers 0 to {K - 1}", index)
    d = distances(z, codes)
    found, least = d.gather(-1, index[..., None])[..., 0].flatten(), d.amin(-1).flatten()
    size = float(z.double().square().sum(-1).max() + codes.double().square().sum(-1).max())
    worst = int((found - least).argmax())
    near = (dim + 4) * torch.finfo(z.dtype).eps * size
    told = [f"‖z − e‖² = {float(v[worst]):.6g}" for v in (found, least)]
    expect.true(bool(found[worst] <= least[worst] + near), says, *told)
    return index


def close_together(generator):
    """Vectors and codes that float32 can hardly tell apart, but the rounding of squares can."""
    return 1 + 3e-7 * normal(generator, 200, 2), 1 + 3e-7 * normal(generator, 20, 2)


@nearest(weight=3)
def test_no_code_is_nearer(student, generator):
    """no code is nearer than the one chosen, for codes of any length"""
    for dtype in (torch.float64, torch.float32):
        n, dim, K = (draws.whole(generator, *ends) for ends in ((20, 40), (2, 7), (5, 30)))
        length = torch.exp(0.7 * normal(generator, K, 1))
        codes = (length * normal(generator, K, dim)).to(dtype)
        z = 2 * normal(generator, n, dim).to(dtype)
        index = student.vq.nearest(z, codes)
        hold_nearest(index, z, codes, "another code is nearer than the one chosen")


@nearest(weight=2)
def test_borders_are_midway(student, generator):
    """on a line the border between two codes is midway between them"""
    codes = normal(generator, 9, 1).cumsum(0)[torch.randperm(9, generator=generator)]
    order = codes.flatten().argsort()
    middle = (codes[order[1:]] + codes[order[:-1]]) / 2
    for side, own in ((-1e-7, order[:-1]), (1e-7, order[1:])):
        index = student.vq.nearest(middle + side, codes)
        says = "a number just beside the middle of two neighbours belongs to the nearer one"
        expect.close(hold_nearest(index, middle + side, codes, says), own, says)


@nearest
def test_the_first_of_equals(student, generator):
    """of codes at exactly one distance the first is chosen"""
    for dtype in (torch.float32, torch.float64):
        corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
        codes = 2.0 * corners[torch.randperm(8, generator=generator)].to(dtype)
        index = student.vq.nearest(torch.zeros(2, 3, dtype=dtype), codes)
        says = "all 8 corners of a cube are at one distance from its middle: take the first"
        expect.close(hold_nearest(index, torch.zeros(2, 3), codes, says), torch.zeros(2), says)
        z = torch.randint(-3, 4, (6, 3), generator=generator).to(dtype)
        twice = torch.cat([codes, codes])
        index = hold_nearest(student.vq.nearest(z, twice), z, twice, "another code is nearer")
        want = distances(z, twice).argmin(-1)
        expect.close(index, want, "codes that are there twice: take the first of both")


@nearest(weight=2)
def test_vectors_of_every_shape(student, generator):
    """a single vector, lists and grids, none at all, one code, one number a vector"""
    for dim, K in ((3, 6), (1, 4), (5, 1)):
        codes = normal(generator, K, dim)
        none = [torch.zeros(0, dim).double(), torch.zeros(2, 0, 3, dim).double()]
        for z in (*shapes(generator, dim), *none):
            for dtype in (torch.float64, torch.float32):
                own, e = z.to(dtype), codes.to(dtype)
                says = f"z of shape {tuple(z.shape)}, {K} codes: another code is nearer"
                hold_nearest(student.vq.nearest(own, e), own, e, says)
    codes = normal(generator, 3, 6).T  # of other strides
    z = normal(generator, 7, 3)
    hold_nearest(student.vq.nearest(z, codes), z, codes, "codes of other strides")


@nearest
def test_far_out_and_close_together(student, generator):
    """vectors far from 0, and codes that differ late in their digits"""
    codes = 300 * normal(generator, 12, 3)
    z = codes.repeat(2, 1) + 20 * normal(generator, 24, 3)
    for dtype in (torch.float32, torch.float64):
        index = student.vq.nearest(z.to(dtype), codes.to(dtype))
        hold_nearest(index, z.to(dtype), codes.to(dtype), "of codes far from 0 another is nearer")
    z, codes = close_together(generator)
    index = student.vq.nearest(z, codes)
    hold_nearest(index, z, codes, "codes that differ in their 7th digit: keep double precision")
    codes, z = normal(generator, 4000, 2), normal(generator, 30, 2)
    hold_nearest(student.vq.nearest(z, codes), z, codes, "of 4000 codes another is nearer")
    codes, z = normal(generator, 20, 64), normal(generator, 20, 64)
    hold_nearest(
        student.vq.nearest(z, codes), z, codes, "of codes with 64 numbers another is nearer"
    )


@nearest
def test_vectors_inside_a_graph(student, generator):
    """vectors and codes may be inside a graph, none leads to the index"""
    z, codes = normal(generator, 6, 3), normal(generator, 5, 3)
    hold_nearest(student.vq.nearest(z, codes), z, codes, "another code is nearer")
    found = student.gradient("vq.nearest", z, codes, wrt=[z, codes])
    expect.true(all(g is None for g in found), "a gradient comes from the index")


@nearest
def test_codes_that_do_not_fit(student, generator):
    """codes of another dim, none at all, or of other axes are refused"""
    refuse_codes(generator, student.vq.nearest)


def refuse_codes(generator, call):
    z = normal(generator, 4, 3)
    for codes in (z[:, :2], z[:0], z[0], z[None]):
        says = f"ValueError for codes of shape {tuple(codes.shape)} and z (4, 3)"
        expect.raises("ValueError", lambda codes=codes: call(z, codes), says)
    says = "ValueError for a z without axes"
    expect.raises("ValueError", lambda: call(z[0, 0], z), says)


# --- vq.quantize --------------------------------------------------------------------------------


def hold_quantized(result, z, codes, says):
    """q is the codes that k tells, up to rounding, and no code is nearer."""
    q, k = expect.unpack(result, ["q", "k"])
    k = hold_nearest(k, z, codes, says)
    q = expect.tensor(q, z.shape, "q")
    expect.true(q.dtype == z.dtype, "q must be in z's precision", q.dtype, z.dtype)
    want = codes[k]
    eps = 4 * torch.finfo(z.dtype).eps
    near = eps * (z.abs().double() + want.abs().double()) + 1e-300
    off = ((q.double() - want.double()).abs() / near).flatten()
    if off.numel():
        worst = int(off.argmax())
        told = [f"{float(v.flatten()[worst]):.6g}" for v in (q, want)]
        expect.true(bool(off[worst] <= 1), "q is not the code e_k", *told)
    return q, k


def straight_through(student, c, z, codes, wrt):
    """Gradients of Σ c q."""
    weights = [c, torch.zeros(z.shape[:-1], dtype=torch.int64)]
    quantize = student.function("vq.quantize")
    return student.gradient("checking.fakes.weighted_both", quantize, weights, z, codes, wrt=wrt)


def hold_nothing(gradient, says):
    expect.true(gradient is None or not bool(gradient.any()), says, gradient, "none")


@quantize(weight=3)
def test_the_nearest_code_in_the_place_of_each_vector(student, generator):
    """q is the nearest code of each vector, and k its number"""
    for dtype in (torch.float64, torch.float32):
        n, dim, K = (draws.whole(generator, *ends) for ends in ((20, 40), (2, 7), (5, 30)))
        codes = (torch.exp(0.7 * normal(generator, K, 1)) * normal(generator, K, dim)).to(dtype)
        z = 2 * normal(generator, n, dim).to(dtype)
        hold_quantized(student.vq.quantize(z, codes), z, codes, "another code is nearer")


@quantize(weight=3)
def test_the_gradient_goes_straight_through(student, generator):
    """what the decoder wants of q reaches z as it is, however far out z lies"""
    for z in (*shapes(generator, 3), 200 * normal(generator, 9, 3)):
        codes, c = normal(generator, 6, 3), 30 * normal(generator, *z.shape)
        (to_z,) = straight_through(student, c, z, codes, [z])
        expect.true(to_z is not None, "no gradient reaches z")
        says = "the gradient of z is not that of q"
        expect.close(to_z, c, says, what="the gradient of z", atol=1e-13, rtol=1e-13)


@quantize(weight=2)
def test_codes_learn_nothing_from_q(student, generator):
    """no gradient reaches the codes, whether z has one or not"""
    z, codes = normal(generator, 9, 3), normal(generator, 4, 3)
    c = normal(generator, 9, 3)
    hold_quantized(student.vq.quantize(z, codes), z, codes, "another code is nearer")
    to_z, to_codes = straight_through(student, c, z, codes, [z, codes])
    says = "the gradient of z is not that of q where codes are inside a graph, too"
    expect.close(to_z, c, says, what="the gradient of z", atol=1e-13, rtol=1e-13)
    hold_nothing(to_codes, "a gradient reaches the codes: loss or update_codes moves them")
    (to_codes,) = straight_through(student, c, z, codes, [codes])
    hold_nothing(to_codes, "a gradient reaches the codes where z has none")


@quantize(weight=2)
def test_quantized_vectors_of_every_shape(student, generator):
    """a single vector, lists and grids, none at all, one code, one number a vector"""
    for dim, K in ((3, 6), (1, 4), (5, 1)):
        codes = normal(generator, K, dim)
        none = [torch.zeros(0, dim).double(), torch.zeros(2, 0, 3, dim).double()]
        for z in (*shapes(generator, dim), *none):
            for dtype in (torch.float64, torch.float32):
                own, e = z.to(dtype), codes.to(dtype)
                says = f"z of shape {tuple(z.shape)}, {K} codes: another code is nearer"
                hold_quantized(student.vq.quantize(own, e), own, e, says)


@quantize
def test_quantized_far_out_and_close_together(student, generator):
    """vectors far from 0, codes that differ late in their digits, and codes at one distance"""
    codes = 300 * normal(generator, 12, 3)
    z = codes.repeat(2, 1) + 20 * normal(generator, 24, 3)
    for dtype in (torch.float32, torch.float64):
        own, e = z.to(dtype), codes.to(dtype)
        hold_quantized(student.vq.quantize(own, e), own, e, "of codes far from 0 another is nearer")
    z, codes = close_together(generator)
    says = "codes that differ in their 7th digit: keep double precision"
    hold_quantized(student.vq.quantize(z, codes), z, codes, says)
    codes, z = normal(generator, 4000, 2), normal(generator, 30, 2)
    says = "of 4000 codes another is nearer"
    hold_quantized(student.vq.quantize(z, codes), z, codes, says)
    codes = torch.tensor([[3.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    _, k = hold_quantized(
        student.vq.quantize(torch.zeros(3, 2), codes), torch.zeros(3, 2), codes, ""
    )
    expect.close(k, torch.ones(3), "of codes at one distance the first", what="k")


@quantize
def test_quantize_refuses_codes_that_do_not_fit(student, generator):
    """codes of another dim, none at all, or of other axes are refused"""
    refuse_codes(generator, student.vq.quantize)


# --- vq.loss ------------------------------------------------------------------------------------


def costs(z, codes, index, beta):
    """The loss by hand."""
    off = (z - codes[index]).reshape(-1, z.shape[-1])
    return (1 + beta) * off.square().sum() / len(off)


def to_codes_by_hand(z, codes, index):
    """2 N_k/N (e_k − mean of its vectors), 0 of a code without any."""
    rows, own = z.reshape(-1, z.shape[-1]), one_hot(index, len(codes))
    return 2 / len(rows) * (own.sum(0)[:, None] * codes - own.T @ rows)


@loss(weight=3)
def test_it_is_the_mean_square_distance(student, generator):
    """it is (1 + β) times the mean over vectors of ‖z − e‖², whichever codes index names"""
    n, dim, K = (draws.whole(generator, *ends) for ends in ((20, 40), (2, 7), (5, 30)))
    z, codes, index = (
        normal(generator, n, dim),
        normal(generator, K, dim),
        assigned(generator, K, n),
    )
    for beta in (0.25, 0, number(generator, 0.5, 3), 200):
        found = student.vq.loss(z, codes, index, beta)
        says = f"β = {beta:g}: not the mean over vectors of (1 + β) ‖z − e‖²"
        expect.close(found, costs(z, codes, index, beta), says, what="the loss", **DOUBLE)
    says = "without beta it is 0.25"
    expect.close(student.vq.loss(z, codes, index), costs(z, codes, index, 0.25), says, **DOUBLE)


@loss(weight=3)
def test_codes_are_drawn_to_the_mean_of_their_vectors(student, generator):
    """a code's gradient is 2 N_k/N (e_k − mean of its vectors), exactly 0 without any"""
    n, dim, K = (draws.whole(generator, *ends) for ends in ((20, 40), (2, 7), (5, 30)))
    z, codes, index = (
        normal(generator, n, dim),
        normal(generator, K, dim),
        assigned(generator, K, n),
    )
    for beta in (0.25, 0.0, number(generator, 2, 30)):
        (found,) = student.gradient("vq.loss", z, codes, index, beta, wrt=[codes])
        expect.true(found is not None, "no gradient reaches the codes")
        says = f"β = {beta:g}: not 2 N_k/N (e_k − mean of its vectors): β is not in it"
        want = to_codes_by_hand(z, codes, index)
        expect.close(found, want, says, what="the gradient of codes", **DOUBLE)
        unused = found[one_hot(index, K).sum(0) == 0]
        expect.true(not bool(unused.any()), "a code that nobody has gets a gradient", unused, 0)


@loss(weight=3)
def test_vectors_are_drawn_to_their_codes(student, generator):
    """a vector's gradient is 2 β/N (z − e)"""
    for z in shapes(generator, 4):
        K = draws.whole(generator, 2, 9)
        codes, index = normal(generator, K, 4), assigned(generator, K, *z.shape[:-1])
        for beta in (0.25, number(generator, 2, 30)):
            (found,) = student.gradient("vq.loss", z, codes, index, beta, wrt=[z])
            expect.true(found is not None, "no gradient reaches z")
            want = 2 * beta / index.numel() * (z - codes[index])
            says = f"β = {beta:g}: not 2 β/N (z − e)"
            expect.close(found, want, says, what="the gradient of z", **DOUBLE)
        (found,) = student.gradient("vq.loss", z, codes, index, 0.0, wrt=[z])
        hold_nothing(found, "with β = 0 nothing pulls z")


@loss(weight=2)
def test_both_gradients_at_once(student, generator):
    """codes and vectors inside one graph do not get each other's gradient"""
    z, codes, index = normal(generator, 9, 3), normal(generator, 5, 3), assigned(generator, 5, 9)
    beta = number(generator, 0.1, 3)
    to_z, to_codes = student.gradient("vq.loss", z, codes, index, beta, wrt=[z, codes])
    want = 2 * beta / 9 * (z - codes[index])
    expect.true(to_z is not None and to_codes is not None, "no gradient reaches z, or the codes")
    expect.close(to_z, want, "not 2 β/N (z − e)", what="the gradient of z", **DOUBLE)
    want = to_codes_by_hand(z, codes, index)
    says = "not 2 N_k/N (e_k − mean of its vectors)"
    expect.close(to_codes, want, says, what="the gradient of codes", **DOUBLE)


@loss(weight=2)
def test_losses_of_every_form(student, generator):
    """a single vector, lists and grids, one code, one number a vector, single precision, far out"""
    for dim, K in ((3, 6), (1, 4), (5, 1)):
        for z in shapes(generator, dim):
            codes, index = 40 * normal(generator, K, dim), turned(generator, K, *z.shape[:-1])
            for own in (30 * z, z.float()):
                found = student.vq.loss(own, codes.to(own.dtype), index, 0.5)
                want = costs(own.double(), codes.to(own.dtype).double(), index, 0.5)
                near = DOUBLE if own.dtype == torch.float64 else SINGLE
                says = f"z of shape {tuple(z.shape)}, {K} codes"
                expect.close(found, want, says, what="the loss", **near)


@loss
def test_a_loss_of_nothing_and_of_what_does_not_fit(student, generator):
    """no vectors, an index that does not fit, codes of another dim, β below 0 or NaN are refused"""
    z, codes, index = normal(generator, 4, 3), normal(generator, 5, 3), torch.arange(4)
    call = student.vq.loss
    refuse_codes(generator, lambda z, codes: call(z, codes, index))
    for says, *args in (
        ("no vectors", z[:0], codes, index[:0]),
        ("an index too few", z, codes, index[:3]),
        ("an index with an axis more", z, codes, index[:, None]),
        ("β = -0.1", z, codes, index, -0.1),
        ("β = NaN", z, codes, index, math.nan),
    ):
        expect.raises("ValueError", lambda args=args: call(*args), f"ValueError for {says}")


# --- vq.update_codes ----------------------------------------------------------------------------


def updated(counts, sums, z, index, decay=0.99, eps=1e-5):
    """The update by hand, in double precision."""
    own, rows = one_hot(index, len(counts)), z.double().reshape(-1, z.shape[-1])
    counts = decay * counts.double() + (1 - decay) * own.sum(0)
    sums = decay * sums.double() + (1 - decay) * own.T @ rows
    n = counts.sum()
    smoothed = n * (counts + eps) / (n + len(counts) * eps)
    return sums / smoothed[:, None], counts, sums


def hold_state(found, want, says, **near):
    """Codes, counts and sums as they should be."""
    names = ["codes", "counts", "sums"]
    for got, expected, name in zip(expect.unpack(found, names), want, names, strict=True):
        expect.close(got, expected, f"{says}: {name} are others", what=name, **(near or DOUBLE))
    return found


def state(generator, K, dim):
    """Counts and sums on the way."""
    counts = 3 * torch.rand(K, generator=generator, dtype=torch.float64)
    return counts, 5 * normal(generator, K, dim)


@update_codes(weight=3)
def test_running_means(student, generator):
    """counts and sums are running means, and codes their smoothed quotient"""
    for _ in range(3):
        n, dim, K = (draws.whole(generator, *ends) for ends in ((20, 40), (2, 7), (3, 12)))
        z, index = normal(generator, n, dim), assigned(generator, K, n)
        decay, eps = number(generator, 0.1, 0.9), number(generator, 0.01, 0.5)
        args = (*state(generator, K, dim), z, index)
        says = f"γ = {decay:.3g}, ε = {eps:.3g}"
        hold_state(student.vq.update_codes(*args, decay, eps), updated(*args, decay, eps), says)
        hold_state(student.vq.update_codes(*args), updated(*args), "γ = 0.99, ε = 1e-5")
        new = torch.zeros(K).double(), torch.zeros(K, dim).double(), z, index
        hold_state(student.vq.update_codes(*new), updated(*new), "from counts and sums of 0")
        many = student.vq.update_codes(*args, decay, 3.0)
        hold_state(many, updated(*args, decay, 3.0), f"γ = {decay:.3g}, ε = 3")


@update_codes(weight=2)
def test_without_memory_it_is_a_step_of_k_means(student, generator):
    """with γ = 0 each code becomes the mean of its vectors, whatever was before"""
    n, dim, K = 30, 3, draws.whole(generator, 4, 8)
    z, index = normal(generator, n, dim), torch.arange(n) % (K - 1)
    found = student.vq.update_codes(*state(generator, K, dim), z, index, 0.0, 1e-14)
    codes, counts, sums = expect.unpack(found, ["codes", "counts", "sums"])
    means = torch.stack([z[index == k].mean(0) for k in range(K - 1)])
    expect.close(expect.tensor(codes, (K, dim), "codes")[:-1], means, "not the means", **DOUBLE)
    want = torch.bincount(index, minlength=K)
    expect.close(counts, want, "the counts are not those of the batch", what="counts", **DOUBLE)
    says = "the sums are not those of the batch"
    expect.close(sums, want[:, None] * torch.cat([means, 0 * z[:1]]), says, what="sums", **DOUBLE)


def gaussian_intervals(n):
    """The means of N(0, 1) over n intervals, each as likely: N(0, 1), as a batch of n numbers."""
    ends = torch.special.ndtri(torch.arange(1, n, dtype=torch.float64) / n)
    density = torch.exp(-ends.square() / 2) / math.sqrt(2 * math.pi)
    nought = torch.zeros(1, dtype=torch.float64)
    return -torch.diff(torch.cat([nought, density, nought]))[:, None] * n


def cells(x, codes):
    """The nearest code to each number on a line."""
    at, order = codes.flatten().sort()
    return order[torch.searchsorted((at[1:] + at[:-1]) / 2, x.flatten())]


@update_codes(weight=2)
@pytest.mark.parametrize("K", [2, 4, 8])
def test_on_a_gaussian_it_reaches_lloyd_and_max(student, generator, K):
    """batch after batch of N(0, 1), it reaches the best quantiser of K levels"""
    x = gaussian_intervals(4096)
    mixed = torch.randperm(K, generator=generator)
    start = torch.special.ndtri((torch.arange(K, dtype=torch.float64) + 0.5) / K)[mixed, None]
    codes, counts, sums = start, torch.ones(K, dtype=torch.float64), start
    for _ in range({2: 6, 4: 20, 8: 45}[K]):
        index = cells(x, codes)
        found = student.vq.update_codes(counts, sums, x, index, 0.1, 1e-9)
        codes, counts, sums = expect.unpack(found, ["codes", "counts", "sums"])
        expect.tensor(codes, (K, 1), "codes")
    best, got = best_quantizer(K), codes.flatten().sort().values
    # As x holds whole intervals, codes may stop a little beside the best ones: 0.005 for K = 8.
    says = "not the codes of Lloyd and Max"
    expect.close(got, best.codes, says, what="codes", atol=1e-2, rtol=0.0)
    index = cells(x, codes)
    distortion = 1 - float((2 * x * codes[index] - codes[index].square()).mean())
    says = "another mean square error"
    expect.close(distortion, best.distortion, says, atol=1e-5, rtol=0.0)
    p = expect.tensor(counts, (K,), "counts") / counts.sum()
    found = float(torch.special.entr(p).sum().exp())
    says = "another perplexity of the counts"
    expect.close(found, best.perplexity, says, atol=2e-2, rtol=0.0)


@update_codes(weight=2)
def test_codes_that_nobody_uses(student, generator):
    """a code without vectors keeps a finite place, and smoothed counts sum to n"""
    K, dim, eps = 5, 3, number(generator, 1e-4, 1e-2)
    z = normal(generator, 12, dim)
    index = torch.arange(12) % (K - 2)  # the last two are left alone
    counts, sums = state(generator, K, dim)
    counts[-1], sums[-1] = 0, 0
    want = counts, sums
    for _ in range(60):
        args = z, index, 0.6, eps
        found = student.vq.update_codes(counts, sums, *args)
        codes, counts, sums = hold_state(found, updated(*want, *args), "a code without vectors")
        want = updated(*want, *args)[1:]
    expect.true(not bool(codes[-1].any()), "a code whose sum was always 0 is elsewhere", codes[-1])
    smoothed = (sums[:-1] / codes[:-1]).mean(1).sum() + (counts[-1] + eps) * counts.sum() / (
        counts.sum() + K * eps
    )
    expect.close(smoothed, counts.sum(), "smoothing changes the sum of the counts", **DOUBLE)


@update_codes
def test_the_order_of_a_batch_does_not_matter(student, generator):
    """vectors in another order, and a batch in two halves, count the same"""
    z, index = normal(generator, 14, 3), assigned(generator, 5, 14)
    counts, sums = state(generator, 5, 3)
    call = student.vq.update_codes
    want = updated(counts, sums, z, index, 0.7)
    order = torch.randperm(14, generator=generator)
    hold_state(call(counts, sums, z[order], index[order], 0.7), want, "another order")
    zero = torch.zeros_like(counts), torch.zeros_like(sums)
    parts = [call(*zero, z[part], index[part], 0.7) for part in (slice(0, 5), slice(5, 14))]
    _, first, first_sums = expect.unpack(parts[0], ["codes", "counts", "sums"])
    _, second, second_sums = expect.unpack(parts[1], ["codes", "counts", "sums"])
    says = "the parts of a batch do not add up to it"
    expect.close(0.7 * counts + first + second, want[1], says, what="counts", **DOUBLE)
    expect.close(0.7 * sums + first_sums + second_sums, want[2], says, what="sums", **DOUBLE)


@update_codes(weight=2)
def test_updates_of_every_form(student, generator):
    """a single vector, lists and grids, one code, one number a vector, far out"""
    for dim, K in ((3, 6), (1, 4), (5, 1)):
        for z in shapes(generator, dim):
            for dtype in (torch.float64, torch.float32):
                counts, sums = state(generator, K, dim)
                args = (40 * counts.to(dtype), 30 * sums.to(dtype), 50 * z.to(dtype))
                args = (*args, turned(generator, K, *z.shape[:-1]), 0.8)
                near = DOUBLE if dtype == torch.float64 else SINGLE
                says = f"z of shape {tuple(z.shape)}, {K} codes"
                hold_state(student.vq.update_codes(*args), updated(*args), says, **near)


@update_codes
def test_vectors_of_another_precision(student, generator):
    """means are kept in the precision of sums, whichever z has"""
    n = 700
    index = (torch.arange(n) % 8 == 0).long()
    for dtype in (torch.float32, torch.float64):
        # Sums of whole numbers are exact in float32, but not in bfloat16; those of 7ths in neither.
        z = torch.randint(100, 130, (n, 2), generator=generator)
        z = z / 7 if dtype == torch.float64 else z
        counts, sums = torch.tensor([3.0, 1.0], dtype=dtype), torch.ones(2, 2, dtype=dtype)
        for other in (torch.bfloat16, torch.float32, torch.float64):
            args = counts.to(other), sums, z.to(other), index, 0.5
            found = hold_state(
                student.vq.update_codes(*args),
                updated(*args),
                f"z in {other}, sums in {dtype}",
                **(DOUBLE if dtype == torch.float64 else {"atol": 1e-6, "rtol": 1e-6}),
            )
            dtypes = {v.dtype for v in found}
            expect.true(dtypes == {dtype}, "results must be in the precision of sums", dtypes)


@update_codes
def test_updates_are_outside_of_every_graph(student, generator):
    """no graph leads back from codes, counts and sums"""
    z, index = normal(generator, 9, 3), assigned(generator, 5, 9)
    counts, sums = state(generator, 5, 3)
    found = student.vq.update_codes(counts, sums, z, index)
    hold_state(found, updated(counts, sums, z, index), "γ = 0.99, ε = 1e-5")
    found = student.gradient("vq.update_codes", counts, sums, z, index, wrt=[counts, sums, z])
    says = "a graph leads back: means are kept outside of it, or it grows with every batch"
    expect.true(all(g is None for g in found), says)


@update_codes
def test_updates_that_make_no_sense(student, generator):
    """states and vectors that do not fit, no vectors, γ and ε out of range are refused"""
    z, index = normal(generator, 9, 3), assigned(generator, 5, 9)
    counts, sums = state(generator, 5, 3)
    call = student.vq.update_codes
    for says, *args in (
        ("sums of another dim", counts, sums[:, :2], z, index),
        ("sums of other codes", counts, sums[:4], z, index),
        ("counts of two axes", counts[:, None], sums, z, index),
        ("no vectors", counts, sums, z[:0], index[:0]),
        ("an index too few", counts, sums, z, index[:8]),
        ("an index of other axes", counts, sums, z, index.reshape(3, 3)),
        ("γ = 1", counts, sums, z, index, 1.0),
        ("γ < 0", counts, sums, z, index, -0.01),
        ("γ = NaN", counts, sums, z, index, math.nan),
        ("ε = 0", counts, sums, z, index, 0.9, 0.0),
        ("ε < 0", counts, sums, z, index, 0.9, -0.5),
        ("ε = NaN", counts, sums, z, index, 0.9, math.nan),
    ):
        expect.raises("ValueError", lambda args=args: call(*args), f"ValueError for {says}")


# --- vq.revive ----------------------------------------------------------------------------------


def half_dead(generator, K, dim, dtype=torch.float64):
    """A state in which codes with even numbers have counts below 1, the last exactly 1."""
    counts = 1 + 9 * torch.rand(K, generator=generator, dtype=torch.float64)
    counts[::2] = torch.rand(len(counts[::2]), generator=generator, dtype=torch.float64)
    counts[-1] = 1
    codes = normal(generator, K, dim)
    return codes.to(dtype), counts.to(dtype), (counts[:, None] * codes).to(dtype)


def rows_taken(codes, z):
    """For each of these codes the number of the vector that it is."""
    rows = z.reshape(-1, z.shape[-1]).to(codes.dtype)
    same = (codes[:, None] == rows).all(-1)
    says = "a code that was dead is not one of the vectors"
    expect.true(bool(same.any(1).all()), says, codes[~same.any(1)][:1])
    return same.double().argmax(1)


def revived(student, before, z, least, generator):
    """Codes, counts and sums after, and which vectors dead codes became; what was alive must have
    kept its numbers."""
    found = student.vq.revive(*before, z, least, generator)
    found = expect.unpack(found, ["codes", "counts", "sums"])
    dead = before[1] < least
    for got, was, name in zip(found, before, ["codes", "counts", "sums"], strict=True):
        got = expect.tensor(got, was.shape, name)
        expect.true(got.dtype == was.dtype, f"{name} change precision", got.dtype, was.dtype)
        says = f"{name} of a code that was alive are changed"
        expect.true(torch.equal(got[~dead], was[~dead]), says)
    return found, rows_taken(found[0][dead], z)


@revive(weight=3)
def test_dead_codes_become_vectors(student, generator):
    """each code with a count below least becomes a vector of the batch, the others stay"""
    for dtype in (torch.float64, torch.float32):
        K, dim = draws.whole(generator, 16, 30), draws.whole(generator, 1, 5)
        before, z = half_dead(generator, K, dim, dtype), normal(generator, 30, dim).to(dtype)
        found, _ = revived(student, before, z, 1.0, generator)
        expect.true(bool((found[1] >= 1).all()), "a code is dead afterwards", found[1])


@revive(weight=3)
def test_their_counts_and_sums_go_with_them(student, generator):
    """a revived code counts as much as the average one, at least `least`, and m = n e"""
    z = normal(generator, 90, 3)
    for least in (1.0, 0.3, 50.0):
        before = half_dead(generator, 11, 3)
        (codes, counts, sums), _ = revived(student, before, z, least, generator)
        dead = before[1] < least
        share = max(least, float(before[1].mean()))
        want = torch.full((int(dead.sum()),), share, dtype=torch.float64)
        says = f"least = {least:g}: not the larger of it and the mean of all counts before"
        expect.close(counts[dead], want, says, what="the counts of revived codes", **DOUBLE)
        says = "the sum of a revived code is not its count times the code"
        expect.close(sums[dead], share * codes[dead], says, what="sums", **DOUBLE)


@revive(weight=2)
def test_no_vector_is_taken_twice_before_all_were(student, generator):
    """dead codes become different vectors while they last, then each once more"""
    for n, K in ((20, 40), (21, 40), (7, 40), (1, 9), (6, 12)):
        z, before = normal(generator, n, 2), half_dead(generator, K, 2)
        _, taken = revived(student, before, z, 100.0, generator)
        times = torch.bincount(taken, minlength=n)
        says = f"{K} dead codes, {n} vectors: each is taken {K // n} times, or once more"
        fair = int(times.min()) >= K // n and int(times.max()) <= -(-K // n)
        expect.true(fair, says, f"{int(times.min())} to {int(times.max())} times")


@revive(weight=2)
def test_each_vector_is_as_likely(student, generator):
    """each vector is as likely as any other, whichever was taken before it"""
    n, K, calls = 6, 36, 150
    z, before = normal(generator, 2, 3, 2), half_dead(generator, K, 2)
    times = torch.zeros(3, n)  # of the first and last dead code; from the first to the second
    for _ in range(calls):
        _, taken = revived(student, before, z, 0.999, generator)
        for seen, place in zip(times, (taken[0], taken[-1], taken[1] - taken[0]), strict=True):
            seen[place % n] += 1
    parts = times[0], times[1], times[2, 1:]  # which are different vectors
    for seen, what in zip(parts, ["vectors", "vectors", "ways to the next vector"], strict=True):
        each = calls / len(seen)
        chi_square = float((seen - each).square().sum() / each)
        says = f"of {calls} draws among {len(seen)} {what} some are likelier than others"
        # Of 5 degrees of freedom: beyond 41 once in 10⁷.
        expect.true(chi_square < 41, says, seen, f"about {each:g} each")


@revive(weight=2)
def test_few_dead_codes_become_vectors_of_the_whole_batch(student, generator):
    """where few codes are dead, vectors from all over the batch are as likely, long or short"""
    n, calls = 60, 60
    long = 100 ** (torch.arange(n) % 2)[:, None]
    z, before = (long * normal(generator, n, 3)).reshape(3, 4, 5, 3), half_dead(generator, 9, 3)
    times = torch.zeros(6)  # of each third of the batch, its short and its long vectors
    for _ in range(calls):
        _, taken = revived(student, before, z, 0.999, generator)
        times += torch.bincount(2 * (taken // 20) + taken % 2, minlength=6)
    each = float(times.sum()) / 6
    says = "short or long vectors, or those of one third of the batch, are likelier than others"
    # Of 5 degrees of freedom: beyond 41 once in 10⁷.
    chi_square = float((times - each).square().sum() / each)
    expect.true(chi_square < 41, says, times, f"about {each:g} each")


@revive
def test_other_draws_each_time(student, generator):
    """the generator decides, and goes on"""
    z, before = normal(generator, 200, 2), half_dead(generator, 16, 2)
    begun = generator.get_state()
    _, one = revived(student, before, z, 1.0, generator)
    _, two = revived(student, before, z, 1.0, generator)
    expect.true(not torch.equal(one, two), "two calls draw the same vectors")
    generator.set_state(begun)
    _, again = revived(student, before, z, 1.0, generator)
    expect.true(torch.equal(one, again), "a seed does not repeat the draws")


@revive(weight=2)
def test_none_dead_and_all_dead(student, generator):
    """with no dead code all numbers stay; all may be dead, and counts all 0"""
    z, before = normal(generator, 12, 2), half_dead(generator, 9, 2)
    for least in (0.0, 0, float(before[1].min())):
        found = student.vq.revive(*before, z, least, generator)
        hold_state(found, before, f"least = {least:g}: no code is dead", atol=0.0, rtol=0.0)
    codes, counts, sums = before[0], torch.zeros(9).double(), torch.zeros(9, 2).double()
    found, _ = revived(student, (codes, counts, sums), z, 0.5, generator)
    expect.close(found[1], torch.full((9,), 0.5), "all counts were 0: all become least")
    hold_state(
        student.vq.revive(codes, counts, sums, z, 0.0, generator),
        (codes, counts, sums),
        "a count of 0 is not below 0",
        atol=0.0,
        rtol=0.0,
    )


@revive
def test_vectors_to_revive_of_every_form(student, generator):
    """a single vector, lists and grids, one code, one number a vector, far out"""
    for dim, K in ((3, 6), (1, 4), (5, 1)):
        for z in shapes(generator, dim):
            for dtype in (torch.float64, torch.float32):
                before = [100 * v for v in half_dead(generator, K, dim, dtype)]
                found, _ = revived(student, before, 50 * z.to(dtype), 300.0, generator)
                dead = before[1] < 300
                want = (found[1][:, None] * found[0])[dead]
                expect.close(found[2][dead], want, "m is not n e", what="sums", **SINGLE)


@revive
def test_revived_in_the_precision_of_codes(student, generator):
    """codes, counts and sums keep their precision, whichever z has"""
    for dtype in (torch.float32, torch.float64):
        before = half_dead(generator, 8, 2, dtype)
        for other in (torch.bfloat16, torch.float32, torch.float64):
            revived(student, before, normal(generator, 90, 2).to(other), 1.0, generator)


@revive
def test_revival_is_outside_of_every_graph(student, generator):
    """no graph leads back from codes, counts and sums"""
    z, before = normal(generator, 90, 3), half_dead(generator, 9, 3)
    revived(student, before, z, 1.0, generator)
    found = student.gradient("vq.revive", *before, z, 1.0, generator, wrt=[*before, z])
    expect.true(all(g is None for g in found), "a graph leads back")


@revive
def test_revivals_that_make_no_sense(student, generator):
    """shapes that do not agree, no vectors, a least below 0 or NaN are refused"""
    z, (codes, counts, sums) = normal(generator, 9, 3), half_dead(generator, 5, 3)
    call = student.vq.revive
    for says, *args in (
        ("sums of another dim", codes, counts, sums[:, :2], z, 1.0),
        ("codes of another dim", codes[:, :2], counts, sums, z, 1.0),
        ("counts of other codes", codes, counts[:4], sums, z, 1.0),
        ("codes of other counts", codes[:4], counts, sums, z, 1.0),
        ("z of another dim", codes, counts, sums, z[:, :2], 1.0),
        ("no vectors", codes, counts, sums, z[:0], 1.0),
        ("least < 0", codes, counts, sums, z, -0.1),
        ("least = NaN", codes, counts, sums, z, math.nan),
    ):
        expect.raises("ValueError", lambda args=args: call(*args), f"ValueError for {says}")


# --- vq.finite_scalar ---------------------------------------------------------------------------

LEVELS = ([8, 8, 4], [5, 5, 5], [2], [7, 2, 3], (3, 10), [2, 2, 2, 2], [9])


def parts(levels):
    """h, o, s and ⌊L/2⌋ of each number."""
    L = torch.tensor([*levels], dtype=torch.float64)
    h, o = (L - 1) * 1.001 / 2, (L % 2 == 0).double() / 2
    return h, o, torch.atanh(o / h), (L / 2).floor()


def bounded(z, levels):
    """What is rounded."""
    h, o, s, _ = parts(levels)
    return h * torch.tanh(z.double() + s) - o


def away_from_borders(z, levels, by=1e-4):
    """z with numbers that are almost midway between two levels moved away."""
    for _ in range(3):
        b = bounded(z, levels)
        near = ((b - b.floor()) - 0.5).abs() < by
        z = torch.where(near, z + 0.01, z)
    return z


def numbered(c, levels):
    """The number of a code from its whole numbers, the first fastest."""
    index, stride = torch.zeros(c.shape[:-1], dtype=torch.int64), 1
    for i, n in enumerate(levels):
        index += (c[..., i].long() + n // 2) * stride
        stride *= n
    return index


def hold_scalars(result, z, levels, says):
    """q and index as they should be."""
    q, index = expect.unpack(result, ["q", "index"])
    c = bounded(z, levels).round()
    near = DOUBLE if z.dtype == torch.float64 else {"atol": 1e-6, "rtol": 1e-6}
    expect.close(q, c / parts(levels)[3], f"{says}: q is another", what="q", **near)
    expect.true(q.dtype == z.dtype, "q must be in z's precision", q.dtype, z.dtype)
    index = expect.tensor(index, z.shape[:-1], "the index")
    expect.true(index.dtype == torch.int64, "the index must be int64", index.dtype, torch.int64)
    want = numbered(c, levels)
    expect.close(index, want, f"{says}: the index is another", what="the index", atol=0.0, rtol=0.0)
    return q, index


@finite_scalar(weight=3)
def test_each_number_becomes_the_nearest_level(student, generator):
    """q is the nearest level of each number, the index its code, for even and odd levels"""
    for levels in LEVELS:
        z = away_from_borders(1.5 * normal(generator, 40, len(levels)), levels)
        result = student.vq.finite_scalar(z, levels)
        hold_scalars(result, z, levels, f"levels {levels}")


@finite_scalar(weight=3)
def test_backwards_nothing_was_rounded(student, generator):
    """the gradient is h (1 − tanh²(z + s)) / ⌊L/2⌋, as if nothing were rounded"""
    for levels in LEVELS:
        z = away_from_borders(normal(generator, 9, len(levels)), levels)
        c = normal(generator, 9, len(levels))
        found = scalar_gradient(student, c, z, levels)
        h, _, s, below = parts(levels)
        want = c * h * (1 - torch.tanh(z + s).square()) / below
        says = f"levels {levels}: not the slope of h tanh(z + s) / ⌊L/2⌋"
        expect.close(found, want, says, what="the gradient of z", atol=1e-6, rtol=1e-6)


def scalar_gradient(student, c, z, levels):
    """The gradient of Σ c q."""
    weights = [c, torch.zeros(z.shape[:-1], dtype=torch.int64)]
    scalar = student.function("vq.finite_scalar")
    args = scalar, weights, z, levels
    (found,) = student.gradient("checking.fakes.weighted_both", *args, wrt=[z])
    expect.true(found is not None, "no gradient reaches z")
    return found


@finite_scalar(weight=2)
def test_every_code_is_reached(student, generator):
    """each code is that of some z, corners included, and has its own number"""
    for levels in LEVELS:
        h, o, s, below = parts(levels)
        axes = [torch.arange(n, dtype=torch.float64) - n // 2 for n in levels]
        c = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(levels))
        z = torch.atanh((c + o) / h) - s
        q, index = hold_scalars(student.vq.finite_scalar(z, levels), z, levels, f"levels {levels}")
        expect.close(q, c / below, "a code is not reached where it should be", **DOUBLE)
        every = torch.arange(math.prod(levels))
        says = f"levels {levels}: the numbers do not count through all codes"
        expect.close(index.sort().values, every, says, what="all numbers")


@finite_scalar
def test_nought_stays_nought(student, generator):
    """z = 0 is q = 0, with even numbers of levels too"""
    for levels in LEVELS:
        for dtype in (torch.float32, torch.float64):
            z = torch.zeros(2, len(levels), dtype=dtype)
            q, _ = hold_scalars(student.vq.finite_scalar(z, levels), z, levels, f"{levels}")
            expect.close(q, z, "z = 0 is not at q = 0", what="q", atol=1e-6, rtol=0.0)


@finite_scalar(weight=2)
def test_a_staircase(student, generator):
    """along a line q climbs L steps of 1/⌊L/2⌋, one number knowing nothing of the others"""
    for levels in ([8, 3], [2, 5], [7, 4]):
        line = torch.linspace(-9, 9, 801, dtype=torch.float64) + number(generator, 0, 1e-3)
        for axis, n in enumerate(levels):
            z = normal(generator, 1, 2).expand(801, 2).clone()
            z[:, axis] = line
            z = away_from_borders(z, levels, 1e-9)
            q, _ = hold_scalars(student.vq.finite_scalar(z, levels), z, levels, f"levels {levels}")
            steps = q[:, axis].diff()
            up = steps[steps.abs() > 1e-9]
            want = torch.full((n - 1,), 1 / (n // 2))
            expect.close(up, want, f"{n} levels: the steps are others", what="the steps")
            expect.close(q[:, 1 - axis].diff(), torch.zeros(800), "the other number moves, too")


@finite_scalar
def test_numbers_far_out(student, generator):
    """numbers far from 0 are at the ends, where the slope is 0"""
    for levels in LEVELS:
        for size in (40.0, 1e6):
            signs = torch.where(normal(generator, 12, len(levels)) > 0, 1.0, -1.0)
            for z in (size * signs.double(), size * signs):
                result = student.vq.finite_scalar(z, levels)
                hold_scalars(result, z, levels, f"levels {levels}, z = ±{size:g}")
        found = scalar_gradient(student, torch.ones_like(z), z, levels)
        expect.close(found, torch.zeros_like(z), "a slope far out", what="the gradient of z")


@finite_scalar(weight=2)
def test_scalars_of_every_shape(student, generator):
    """a single vector, lists and grids, none at all, one number a vector, single precision"""
    for levels in ([4, 3, 5], (6,), [2, 3, 2, 4, 5]):
        dim = len(levels)
        none = [torch.zeros(0, dim).double(), torch.zeros(2, 0, 3, dim).double()]
        for z in (*shapes(generator, dim), *none):
            for dtype in (torch.float64, torch.float32):
                own = away_from_borders(z, levels).to(dtype)
                says = f"z of shape {tuple(z.shape)}, levels {levels}"
                hold_scalars(student.vq.finite_scalar(own, levels), own, levels, says)


@finite_scalar
def test_very_many_codes(student, generator):
    """the number of a code is exact, however many codes there are"""
    levels = [1000, 399, 2501, 1024]
    for dtype in (torch.float64, torch.float32):
        z = away_from_borders(normal(generator, 30, 4).to(dtype), levels, 1e-2)
        hold_scalars(student.vq.finite_scalar(z, levels), z, levels, "about 10¹² codes")


@finite_scalar
def test_scalars_in_double_precision(student, generator):
    """of z in double precision the slope is so too"""
    for levels in ([8, 5, 2], [3, 6, 11]):
        z = away_from_borders(normal(generator, 9, 3), levels)
        z[0] = torch.tensor([-12.0, 12.0, -14.0])
        h, _, s, below = parts(levels)
        want = h * (1 - torch.tanh(z + s).square()) / below
        found = scalar_gradient(student, torch.ones_like(z), z, levels)
        says = "not the slope in double precision: is torch.tensor(levels) / 2, a float32, in it?"
        expect.close(found[1:], want[1:], says, what="the gradient of z", **DOUBLE)
        says = "not the slope far from 0, where it is small, but not 0"
        expect.close(found[0], want[0], says, what="the gradient of z", **DOUBLE)


@finite_scalar
def test_levels_that_are_none(student, generator):
    """levels below 2, that are no whole numbers, or too few or many are refused"""
    z = normal(generator, 4, 3)
    call = student.vq.finite_scalar
    for levels in ([3, 3], [3, 3, 3, 3], [], [3, 1, 3], [3, 0, 3], [3, -2, 3], [3, 2.5, 3]):
        says = f"ValueError for levels {levels} and 3 numbers a vector"
        expect.raises("ValueError", lambda levels=levels: call(z, levels), says)
    expect.raises("ValueError", lambda: call(z[0, 0], [3]), "ValueError for a z without axes")
