"""Public checks of chapter 13, images as codes: small numbers that can be followed by hand."""

import math

import pytest
import torch

from cs231n_gen.checking import expect

nearest = pytest.mark.exercise("vq.nearest")
quantize = pytest.mark.exercise("vq.quantize")
loss = pytest.mark.exercise("vq.loss")
update_codes = pytest.mark.exercise("vq.update_codes", graph=False, new=True)
revive = pytest.mark.exercise("vq.revive", graph=False, new=True)
finite_scalar = pytest.mark.exercise("vq.finite_scalar")

DOUBLE = {"atol": 1e-11, "rtol": 1e-11}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def shapes(generator, dim):
    """Vectors in every form: one alone, a list, a grid of latents with its channels moved last."""
    grid = normal(generator, 2, dim, 3, 2).movedim(1, -1)
    return [normal(generator, dim), normal(generator, 1, dim), normal(generator, 4, dim), grid]


def turned(generator, K, *shape):
    """Codes of vectors, in memory with axes the other way round, as those of a transposed grid."""
    index = torch.randint(0, max(1, K - 1), tuple(reversed(shape)), generator=generator)
    return index.permute(*reversed(range(index.dim()))) if shape else index


def precisions(generator, dim):
    """Vectors in every form and precision."""
    return [z.to(t) for z in shapes(generator, dim) for t in (torch.float64, torch.float32)]


# --- vq.nearest ---------------------------------------------------------------------------------


def hold_nearest(index, z, codes, says):
    """No code may be nearer than the one chosen, up to the rounding of the squares."""
    K, (dim,) = len(codes), z.shape[-1:]
    index = expect.tensor(index, z.shape[:-1], "the index")
    expect.true(index.dtype == torch.int64, "the index must be int64", index.dtype, torch.int64)
    if not index.numel():
        return index
    inside = bool((index >= 0).all() and (index < K).all())
    expect.true(inside, f"the {K} codes have the numbers 0 to {K - 1}", index)
    d = (z.double()[..., None, :] - codes.double()).square().sum(-1)
    found, least = d.gather(-1, index[..., None])[..., 0].flatten(), d.amin(-1).flatten()
    size = float(z.double().square().sum(-1).max() + codes.double().square().sum(-1).max())
    worst = int((found - least).argmax())
    near = (dim + 4) * torch.finfo(z.dtype).eps * size
    told = [f"‖z − e‖² = {float(v[worst]):.6g}" for v in (found, least)]
    expect.true(bool(found[worst] <= least[worst] + near), says, *told)
    return index


def close_together(generator):
    """Vectors and codes that float32 can hardly tell apart, but the rounding of squares can."""
    return 1 + 3e-7 * normal(generator, 100, 2), 1 + 3e-7 * normal(generator, 20, 2)


@nearest
def test_codes_on_a_line(student):
    """with the codes 0, 10 and 4, the numbers 1, 6, 8, −3 and 100 find 0, 4, 10, 0 and 10"""
    codes, z = torch.tensor([[0.0], [10.0], [4.0]]), torch.tensor([[1.0], [6], [8], [-3], [100]])
    index = student.vq.nearest(z, codes)
    says = "the nearest code is the one with the least distance"
    expect.close(hold_nearest(index, z, codes, says), torch.tensor([0, 2, 1, 0, 1]), says)


@nearest
def test_codes_of_any_length(student, generator):
    """no code is nearer than the one chosen, be it long or short"""
    codes = torch.exp(normal(generator, 12, 1)) * normal(generator, 12, 3)
    z = 2 * normal(generator, 30, 3)
    for dtype in (torch.float64, torch.float32):
        own, e = z.to(dtype), codes.to(dtype)
        hold_nearest(student.vq.nearest(own, e), own, e, "another code is nearer")


@nearest
def test_the_first_of_equals(student):
    """of codes at exactly one distance the first is chosen"""
    z = torch.zeros(2, 2)
    codes = torch.tensor([[2.0, 2.0], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    index = hold_nearest(student.vq.nearest(z, codes), z, codes, "another code is nearer")
    expect.close(index, torch.ones(2), "codes 1 to 4 are at distance 1: take the first")


@nearest
def test_vectors_of_every_shape(student, generator):
    """a single vector, lists, grids, none at all; one code; one number a vector"""
    for dim, K in ((3, 6), (1, 4), (2, 1)):
        none = [torch.zeros(0, dim).double(), torch.zeros(2, 0, 3, dim).double()]
        for z in (*precisions(generator, dim), *none):
            codes = normal(generator, K, dim).to(z.dtype)
            says = f"z of shape {tuple(z.shape)}, {K} codes: another code is nearer"
            hold_nearest(student.vq.nearest(z, codes), z, codes, says)
    z, codes = normal(generator, 7, 3), normal(generator, 3, 6).T
    hold_nearest(student.vq.nearest(z, codes), z, codes, "codes of other strides")


@nearest
def test_far_out_and_close_together(student, generator):
    """codes far from 0, and codes that differ late in their digits"""
    codes = 300 * normal(generator, 8, 2)
    z = codes + 20 * normal(generator, 8, 2)
    for dtype in (torch.float32, torch.float64):
        own, e = z.to(dtype), codes.to(dtype)
        hold_nearest(student.vq.nearest(own, e), own, e, "of codes far from 0 another is nearer")
    z, codes = close_together(generator)
    says = "codes that differ in their 7th digit: keep double precision"
    hold_nearest(student.vq.nearest(z, codes), z, codes, says)
    z, codes = normal(generator, 9, 2), normal(generator, 4000, 2)
    hold_nearest(student.vq.nearest(z, codes), z, codes, "of 4000 codes another is nearer")
    z, codes = normal(generator, 20, 64), normal(generator, 20, 64)
    says = "of codes with 64 numbers another is nearer"
    hold_nearest(student.vq.nearest(z, codes), z, codes, says)


@nearest
def test_vectors_inside_a_graph(student, generator):
    """vectors and codes may be inside a graph, none leads to the index"""
    z, codes = normal(generator, 6, 3), normal(generator, 5, 3)
    hold_nearest(student.vq.nearest(z, codes), z, codes, "another code is nearer")
    found = student.gradient("vq.nearest", z, codes, wrt=[z, codes])
    expect.true(all(g is None for g in found), "a gradient comes from the index")


@nearest
def test_codes_that_do_not_fit(student):
    """codes of another dim, none at all, or of other axes are refused"""
    refuse_codes(student.vq.nearest)


def refuse_codes(call):
    z = torch.ones(4, 3)
    for codes in (z[:, :2], z[:0], z[0], z[None]):
        says = f"ValueError for codes of shape {tuple(codes.shape)} and z (4, 3)"
        says += ": leave the lines above yours as they are"
        expect.raises("ValueError", lambda codes=codes: call(z, codes), says)
    says = "ValueError for a z without axes: leave the lines above yours as they are"
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
    off = (q.double() - want.double()).abs() / (eps * (z.abs() + want.abs()).double() + 1e-300)
    if off.numel():
        worst = int(off.argmax())
        told = [f"{float(v.flatten()[worst]):.6g}" for v in (q, want)]
        expect.true(float(off.max()) <= 1, "q is not the code e_k", *told)
    return q, k


def straight_through(student, c, z, codes, wrt):
    """Gradients of Σ c q."""
    weights = [c, torch.zeros(z.shape[:-1], dtype=torch.int64)]
    quantize = student.function("vq.quantize")
    return student.gradient("checking.fakes.weighted_both", quantize, weights, z, codes, wrt=wrt)


def hold_nothing(gradient, says):
    expect.true(gradient is None or not bool(gradient.any()), says, gradient, "none")


@quantize
def test_vectors_become_codes(student):
    """with the codes (0, 0) and (4, 2), (3, 1) becomes (4, 2) and (1, 1) becomes (0, 0)"""
    codes, z = torch.tensor([[0.0, 0.0], [4.0, 2.0]]), torch.tensor([[3.0, 1.0], [1.0, 1.0]])
    q, k = expect.unpack(student.vq.quantize(z, codes), ["q", "k"])
    expect.close(k, torch.tensor([1, 0]), "not the numbers of the nearest codes", what="k")
    expect.close(q, torch.tensor([[4.0, 2.0], [0.0, 0.0]]), "not the nearest codes", what="q")


@quantize
def test_the_gradient_goes_straight_through(student, generator):
    """what the decoder wants of q reaches z as it is, however far out z lies"""
    for z in (*shapes(generator, 3), 200 * normal(generator, 9, 3)):
        codes, c = normal(generator, 20, 3), 30 * normal(generator, *z.shape)
        (to_z,) = straight_through(student, c, z, codes, [z])
        expect.true(to_z is not None, "no gradient reaches z: a code does not depend on it")
        says = "backwards q must look like z: its gradient is handed on unchanged"
        expect.close(to_z, c, says, what="the gradient of z", atol=1e-13, rtol=1e-13)


@quantize
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


@quantize
def test_quantized_vectors_of_every_shape(student, generator):
    """a single vector, lists, grids, none at all; one code; one number a vector"""
    for dim, K in ((3, 40), (1, 4), (2, 1)):
        none = [torch.zeros(0, dim).double(), torch.zeros(2, 0, 3, dim).double()]
        for z in (*precisions(generator, dim), *none):
            codes = normal(generator, K, dim).to(z.dtype)
            says = f"z of shape {tuple(z.shape)}, {K} codes: another code is nearer"
            hold_quantized(student.vq.quantize(z, codes), z, codes, says)


@quantize
def test_quantized_far_out_and_close_together(student, generator):
    """codes far from 0, codes that differ late in their digits, and codes at one distance"""
    codes = 300 * normal(generator, 8, 2)
    z = codes + 20 * normal(generator, 8, 2)
    for dtype in (torch.float32, torch.float64):
        own, e = z.to(dtype), codes.to(dtype)
        hold_quantized(student.vq.quantize(own, e), own, e, "of codes far from 0 another is nearer")
    z, codes = close_together(generator)
    says = "codes that differ in their 7th digit: keep double precision"
    hold_quantized(student.vq.quantize(z, codes), z, codes, says)
    z, codes = normal(generator, 9, 2), normal(generator, 4000, 2)
    says = "of 4000 codes another is nearer"
    hold_quantized(student.vq.quantize(z, codes), z, codes, says)
    codes, z = torch.tensor([[3.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]]), torch.zeros(3, 2)
    _, k = hold_quantized(student.vq.quantize(z, codes), z, codes, "another code is nearer")
    expect.close(k, torch.ones(3), "of codes at one distance the first", what="k")


@quantize
def test_quantize_refuses_codes_that_do_not_fit(student):
    """codes of another dim, none at all, or of other axes are refused"""
    refuse_codes(student.vq.quantize)


# --- vq.loss ------------------------------------------------------------------------------------


def costs(z, codes, index, beta):
    """The loss by hand."""
    off = (z.double() - codes.double()[index]).reshape(-1, z.shape[-1])
    return (1 + beta) * off.square().sum() / len(off)


def to_codes_by_hand(z, codes, index):
    """2 N_k/N (e_k − mean of its vectors), 0 of a code without any."""
    want, n = torch.zeros_like(codes), index.numel()
    for k in range(len(codes)):
        own = z[index == k]
        if len(own):
            want[k] = 2 * len(own) / n * (codes[k] - own.mean(0))
    return want


# Four vectors, of which codes 1 and 3 have none; code 2 is not the nearest of its vectors.
FOUR = torch.tensor([[1.0, 0.0], [3.0, 2.0], [0.0, 1.0], [1.0, -2.0]], dtype=torch.float64)
CODES = torch.tensor([[2.0, 0.0], [9.0, 9.0], [-1.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
INDEX = torch.tensor([0, 0, 2, 0])


@loss
def test_the_mean_square_distance(student):
    """squared distances of 1, 5, 5 and 5 to the codes that index names make 4 (1 + β)"""
    for beta in (0.25, 0, 2, 50):
        found = student.vq.loss(FOUR, CODES, INDEX, beta)
        says = f"β = {beta:g}: not the mean of the 4 vectors' (1 + β) ‖z − e‖²"
        expect.close(found, 4 * (1 + beta), says, what="the loss", **DOUBLE)
    expect.close(student.vq.loss(FOUR, CODES, INDEX), 5, "without beta it is 0.25", **DOUBLE)


@loss
def test_codes_are_drawn_to_the_mean_of_their_vectors(student):
    """a code's gradient is 2 N_k/N (e_k − mean of its vectors), exactly 0 without any"""
    want = to_codes_by_hand(FOUR, CODES, INDEX)
    for beta in (0.25, 0.0, 3.0):
        (found,) = student.gradient("vq.loss", FOUR, CODES, INDEX, beta, wrt=[CODES])
        expect.true(found is not None, "no gradient reaches the codes")
        says = f"β = {beta:g}: not 2 N_k/N (e_k − mean of its vectors), in which β is not"
        expect.close(found, want, says, what="the gradient of codes", **DOUBLE)
        unused = found[[1, 3]]
        expect.true(not bool(unused.any()), "a code that nobody has gets a gradient", unused, 0)


@loss
def test_vectors_are_drawn_to_their_codes(student, generator):
    """a vector's gradient is 2 β/N (z − e)"""
    for z in shapes(generator, 4):
        codes = normal(generator, 5, 4)
        index = torch.randint(0, 4, z.shape[:-1], generator=generator)
        for beta in (0.25, 3.0):
            (found,) = student.gradient("vq.loss", z, codes, index, beta, wrt=[z])
            expect.true(found is not None, "no gradient reaches z")
            want = 2 * beta / index.numel() * (z - codes[index])
            says = f"β = {beta:g}: not 2 β/N (z − e)"
            expect.close(found, want, says, what="the gradient of z", **DOUBLE)
        (found,) = student.gradient("vq.loss", z, codes, index, 0.0, wrt=[z])
        hold_nothing(found, "with β = 0 nothing pulls z")


@loss
def test_both_gradients_at_once(student):
    """codes and vectors inside one graph do not get each other's gradient"""
    found = student.gradient("vq.loss", FOUR, CODES, INDEX, 0.5, wrt=[FOUR, CODES])
    expect.true(all(g is not None for g in found), "no gradient reaches z, or the codes")
    says = "not 2 β/N (z − e)"
    expect.close(found[0], (FOUR - CODES[INDEX]) / 4, says, what="the gradient of z", **DOUBLE)
    want = to_codes_by_hand(FOUR, CODES, INDEX)
    says = "not 2 N_k/N (e_k − mean of its vectors)"
    expect.close(found[1], want, says, what="the gradient of codes", **DOUBLE)


@loss
def test_losses_of_every_form(student, generator):
    """a single vector, lists and grids, one code, one number a vector, single precision, far out"""
    for dim, K in ((3, 6), (1, 4), (2, 1)):
        for z in precisions(generator, dim):
            z, codes = 30 * z, 40 * normal(generator, K, dim).to(z.dtype)
            index = turned(generator, K, *z.shape[:-1])
            near = DOUBLE if z.dtype == torch.float64 else {"atol": 1e-5, "rtol": 1e-5}
            says, want = f"z of shape {tuple(z.shape)}, {K} codes", costs(z, codes, index, 0.5)
            expect.close(student.vq.loss(z, codes, index, 0.5), want, says, what="loss", **near)


@loss
def test_a_loss_of_nothing_and_of_what_does_not_fit(student):
    """no vectors, an index that does not fit, codes of another dim, β below 0 or NaN are refused"""
    call = student.vq.loss
    refuse_codes(lambda z, codes: call(z, codes, torch.arange(4)))
    for says, *args in (
        ("no vectors", FOUR[:0], CODES, INDEX[:0]),
        ("an index too few", FOUR, CODES, INDEX[:3]),
        ("an index of other axes", FOUR, CODES, INDEX.reshape(2, 2)),
        ("β = -0.1", FOUR, CODES, INDEX, -0.1),
        ("β = NaN", FOUR, CODES, INDEX, math.nan),
    ):
        says = f"ValueError for {says}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda args=args: call(*args), says)


# --- vq.update_codes ----------------------------------------------------------------------------


def updated(counts, sums, z, index, decay=0.99, eps=1e-5):
    """The update by hand, in double precision."""
    counts, sums, rows = counts.double(), sums.double(), z.double().reshape(-1, z.shape[-1])
    own = index.flatten()
    used = torch.stack([(own == k).double().sum() for k in range(len(counts))])
    counts = decay * counts + (1 - decay) * used
    new = torch.stack([rows[own == k].sum(0) for k in range(len(counts))])
    sums = decay * sums + (1 - decay) * new
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
    return 3 * torch.rand(K, generator=generator).double(), 5 * normal(generator, K, dim)


@update_codes
def test_a_step_by_hand(student):
    """γ = ½, one of two codes used: counts 4 and 2 become 3 and 1, sums 8 and 4 become 7 and 2"""
    counts, sums = torch.tensor([4.0, 2.0]), torch.tensor([[8.0], [4.0]])
    z, index = torch.tensor([[1.0], [5.0]]), torch.tensor([0, 0])
    found = student.vq.update_codes(counts, sums, z, index, 0.5, 1.0)
    _, counts, sums = expect.unpack(found, ["codes", "counts", "sums"])
    expect.close(counts, torch.tensor([3.0, 1.0]), "(4 + 2)/2 and (2 + 0)/2", what="counts")
    expect.close(sums, torch.tensor([[7.0], [2.0]]), "(8 + 6)/2 and (4 + 0)/2", what="sums")
    # With ε = 1 the smoothed counts are 4 (3 + 1)/(4 + 2) and 4 (1 + 1)/(4 + 2).
    want = torch.tensor([[7 / (16 / 6)], [2 / (8 / 6)]])
    expect.close(found[0], want, "not sums by the smoothed counts 8/3 and 4/3", what="codes")


@update_codes
def test_running_means(student, generator):
    """counts and sums are running means, and codes their smoothed quotient"""
    for K, decay, eps in ((6, 0.3, 0.2), (4, 0.8, 0.01)):
        z, index = normal(generator, 12, 3), torch.randint(0, K - 1, (12,), generator=generator)
        args = (*state(generator, K, 3), z, index)
        says = f"γ = {decay:g}, ε = {eps:g}"
        hold_state(student.vq.update_codes(*args, decay, eps), updated(*args, decay, eps), says)
        hold_state(student.vq.update_codes(*args), updated(*args), "γ = 0.99, ε = 1e-5")
        new = torch.zeros(K).double(), torch.zeros(K, 3).double(), z, index
        hold_state(student.vq.update_codes(*new), updated(*new), "from counts and sums of 0")


@update_codes
def test_without_memory_it_is_a_step_of_k_means(student, generator):
    """with γ = 0 each code becomes the mean of its vectors, whatever was before"""
    z, index = normal(generator, 12, 2), torch.arange(12) % 3
    found = student.vq.update_codes(*state(generator, 4, 2), z, index, 0.0, 1e-14)
    codes, counts, _ = expect.unpack(found, ["codes", "counts", "sums"])
    means = torch.stack([z[index == k].mean(0) for k in range(3)])
    expect.close(expect.tensor(codes, (4, 2), "codes")[:3], means, "not the means", **DOUBLE)
    want = torch.tensor([4.0, 4.0, 4.0, 0.0])
    expect.close(counts, want, "the counts are not those of the batch", what="counts", **DOUBLE)


@update_codes
def test_codes_that_nobody_uses(student, generator):
    """a code without vectors for long keeps finite numbers"""
    z, index = normal(generator, 12, 3), torch.arange(12) % 3  # the last two are left alone
    counts, sums = state(generator, 5, 3)
    counts[-1], sums[-1] = 0, 0
    want = counts, sums
    for _ in range(20):
        args = z, index, 0.2, 1e-3
        found = student.vq.update_codes(counts, sums, *args)
        want = updated(*want, *args)
        _, counts, sums = hold_state(found, want, "a code without vectors")
        want = want[1:]


@update_codes
def test_updates_of_every_form(student, generator):
    """a single vector, lists and grids, one code, one number a vector, far out"""
    for dim, K in ((3, 6), (1, 4), (2, 1)):
        for z in precisions(generator, dim):
            counts, sums = state(generator, K, dim)
            index = turned(generator, K, *z.shape[:-1])
            args = 40 * counts.to(z.dtype), 30 * sums.to(z.dtype), 50 * z, index, 0.8
            near = DOUBLE if z.dtype == torch.float64 else {"atol": 1e-5, "rtol": 1e-5}
            says = f"z of shape {tuple(z.shape)}, {K} codes"
            hold_state(student.vq.update_codes(*args), updated(*args), says, **near)


@update_codes
def test_vectors_of_another_precision(student, generator):
    """means are kept in the precision of sums, whichever z has"""
    index = (torch.arange(700) % 8 == 0).long()
    for dtype in (torch.float32, torch.float64):
        # Sums of whole numbers are exact in float32, but not in bfloat16; those of 7ths in neither.
        z = torch.randint(100, 130, (700, 2), generator=generator)
        z = z / 7 if dtype == torch.float64 else z
        counts, sums = torch.tensor([3.0, 1.0], dtype=dtype), torch.ones(2, 2, dtype=dtype)
        for other in (torch.bfloat16, torch.float32, torch.float64):
            args = counts.to(other), sums, z.to(other), index, 0.5
            near = DOUBLE if dtype == torch.float64 else {"atol": 1e-6, "rtol": 1e-6}
            says = f"z in {other}, sums in {dtype}"
            found = hold_state(student.vq.update_codes(*args), updated(*args), says, **near)
            dtypes = {v.dtype for v in found}
            expect.true(dtypes == {dtype}, "results must be in the precision of sums", dtypes)


@update_codes
def test_updates_are_outside_of_every_graph(student, generator):
    """no graph leads back from codes, counts and sums"""
    z, index = normal(generator, 9, 3), torch.arange(9) % 4
    counts, sums = state(generator, 5, 3)
    found = student.vq.update_codes(counts, sums, z, index)
    hold_state(found, updated(counts, sums, z, index), "γ = 0.99, ε = 1e-5")
    found = student.gradient("vq.update_codes", counts, sums, z, index, wrt=[counts, sums, z])
    says = "a graph leads back: means are kept outside of it, or it grows with every batch"
    expect.true(all(g is None for g in found), says)


@update_codes
def test_updates_that_make_no_sense(student, generator):
    """states and vectors that do not fit, no vectors, γ and ε out of range are refused"""
    z, index = normal(generator, 9, 3), torch.arange(9) % 4
    counts, sums = state(generator, 5, 3)
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
        says = f"ValueError for {says}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda args=args: student.vq.update_codes(*args), says)


# --- vq.revive ----------------------------------------------------------------------------------


def half_dead(generator, K, dim, dtype=torch.float64):
    """A state in which codes with even numbers have counts below 1, the last exactly 1."""
    counts = 1 + 9 * torch.rand(K, generator=generator, dtype=torch.float64)
    counts[::2] = torch.rand(len(counts[::2]), generator=generator, dtype=torch.float64)
    counts[-1] = 1
    codes = normal(generator, K, dim)
    return codes.to(dtype), counts.to(dtype), (counts[:, None] * codes).to(dtype)


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
    own, rows = found[0][dead], z.reshape(-1, z.shape[-1]).to(before[0].dtype)
    same = (own[:, None] == rows).all(-1)
    says = "a code that was dead is not one of the vectors"
    expect.true(bool(same.any(1).all()), says, own[~same.any(1)][:1])
    return found, same.double().argmax(1)


@revive
def test_dead_codes_become_vectors(student, generator):
    """each code with a count below least becomes a vector of the batch, the others stay"""
    for dtype in (torch.float64, torch.float32):
        before, z = half_dead(generator, 9, 3, dtype), normal(generator, 90, 3).to(dtype)
        (_, counts, _), one = revived(student, before, z, 1.0, generator)
        expect.true(bool((counts >= 1).all()), "a code is dead afterwards", counts)
        _, other = revived(student, before, z, 1.0, generator)
        expect.true(not torch.equal(one, other), "two calls draw the same vectors", one)
    begun = generator.get_state()
    _, one = revived(student, before, z, 1.0, generator)
    generator.set_state(begun)
    _, again = revived(student, before, z, 1.0, generator)
    expect.true(torch.equal(one, again), "a seed does not repeat the draws", again, one)


@revive
def test_their_counts_and_sums_go_with_them(student, generator):
    """a revived code counts as much as the average one, at least `least`, and m = n e"""
    codes, z = normal(generator, 5, 2), normal(generator, 2000, 2)
    counts = torch.tensor([0.5, 7.5, 0.0, 1.5, 3.5], dtype=torch.float64)
    for least, share in ((1.0, 2.6), (3.1, 3.1)):
        before = codes, counts, counts[:, None] * codes
        (own, n, m), _ = revived(student, before, z, least, generator)
        dead, says = counts < least, f"mean count 2.6, least = {least:g}: it is {share:g}"
        want = torch.full((int(dead.sum()),), share, dtype=torch.float64)
        expect.close(n[dead], want, says, what="the counts of revived codes", **DOUBLE)
        says = "the sum of a revived code is not its count times the code"
        expect.close(m[dead], share * own[dead], says, what="sums", **DOUBLE)


@revive
def test_no_vector_is_taken_twice_before_all_were(student, generator):
    """dead codes become different vectors while they last, then each once more"""
    for n, K in ((12, 24), (13, 24), (5, 24), (1, 6)):
        z, before = normal(generator, n, 2), half_dead(generator, K, 2)
        _, taken = revived(student, before, z, 100.0, generator)
        times = torch.bincount(taken, minlength=n)
        says = f"{K} dead codes, {n} vectors: each is taken {K // n} times, or once more"
        fair = int(times.min()) >= K // n and int(times.max()) <= -(-K // n)
        expect.true(fair, says, f"{int(times.min())} to {int(times.max())} times")


@revive
def test_each_vector_is_as_likely(student, generator):
    """each vector is as likely as any other, whichever was taken before it"""
    n, calls = 4, 60
    z, before = normal(generator, 2, 2, 2), half_dead(generator, 32, 2)
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
        expect.true(chi_square < 36, says, seen, f"about {each:g} each")


@revive
def test_few_dead_codes_become_vectors_of_the_whole_batch(student, generator):
    """where few codes are dead, vectors from all over the batch are as likely, long or short"""
    long = 100 ** (torch.arange(60) % 2)[:, None]
    z, before = (long * normal(generator, 60, 3)).reshape(3, 20, 3), half_dead(generator, 9, 3)
    times = torch.zeros(6)  # of each third of the batch, its short and its long vectors
    for _ in range(30):
        _, taken = revived(student, before, z, 0.999, generator)
        times += torch.bincount(2 * (taken // 20) + taken % 2, minlength=6)
    each = float(times.sum()) / 6
    says = "short or long vectors, or those of one third of the batch, are likelier than others"
    chi_square = float((times - each).square().sum() / each)
    expect.true(chi_square < 41, says, times, f"about {each:g} each")


@revive
def test_none_dead_and_all_dead(student, generator):
    """with no dead code all numbers stay; all may be dead, and counts all 0"""
    z, before = normal(generator, 12, 2), half_dead(generator, 9, 2)
    for least in (0.0, 0, float(before[1].min())):
        found = student.vq.revive(*before, z, least, generator)
        hold_state(found, before, f"least = {least:g}: no code is dead", atol=0.0, rtol=0.0)
    nothing = before[0], torch.zeros(9).double(), torch.zeros(9, 2).double()
    (_, counts, _), _ = revived(student, nothing, z, 0.5, generator)
    expect.close(counts, torch.full((9,), 0.5), "all counts were 0: all become least")


@revive
def test_vectors_to_revive_of_every_form(student, generator):
    """a single vector, lists and grids, one code, one number a vector, far out"""
    for dim, K in ((3, 6), (1, 4), (2, 1)):
        for z in precisions(generator, dim):
            before = [100 * v for v in half_dead(generator, K, dim, z.dtype)]
            (codes, n, m), _ = revived(student, before, 50 * z, 300.0, generator)
            dead = before[1] < 300
            want = (n[:, None] * codes)[dead]
            expect.close(m[dead], want, "m is not n e", what="sums", atol=1e-5, rtol=1e-5)


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
    for says, *args in (
        ("sums of another dim", codes, counts, sums[:, :2], z, 1.0),
        ("codes of another dim", codes[:, :2], counts, sums, z, 1.0),
        ("counts of other codes", codes, counts[:4], sums, z, 1.0),
        ("z of another dim", codes, counts, sums, z[:, :2], 1.0),
        ("no vectors", codes, counts, sums, z[:0], 1.0),
        ("least < 0", codes, counts, sums, z, -0.1),
        ("least = NaN", codes, counts, sums, z, math.nan),
    ):
        says = f"ValueError for {says}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda args=args: student.vq.revive(*args), says)


# --- vq.finite_scalar ---------------------------------------------------------------------------

LEVELS = ([8, 3], [5, 4, 2], [2], (9,))


def parts(levels):
    """h, o, s and ⌊L/2⌋ of each number."""
    L = torch.tensor([*levels], dtype=torch.float64)
    h, o = (L - 1) * 1.001 / 2, (L % 2 == 0).double() / 2
    return h, o, torch.atanh(o / h), (L / 2).floor()


def hold_scalars(result, z, levels, says):
    """q and index as they should be."""
    q, index = expect.unpack(result, ["q", "index"])
    h, o, s, below = parts(levels)
    c = (h * torch.tanh(z.double() + s) - o).round()
    near = DOUBLE if z.dtype == torch.float64 else {"atol": 1e-6, "rtol": 1e-6}
    expect.close(q, c / below, f"{says}: q is another", what="q", **near)
    expect.true(q.dtype == z.dtype, "q must be in z's precision", q.dtype, z.dtype)
    index = expect.tensor(index, z.shape[:-1], "the index")
    expect.true(index.dtype == torch.int64, "the index must be int64", index.dtype, torch.int64)
    want, stride = torch.zeros(index.shape, dtype=torch.int64), 1
    for i, n in enumerate(levels):
        want += (c[..., i].long() + n // 2) * stride
        stride *= n
    expect.close(index, want, f"{says}: the index is another", what="the index", atol=0.0, rtol=0.0)
    return q, index


def scalar_gradient(student, c, z, levels):
    """The gradient of Σ c q."""
    weights = [c, torch.zeros(z.shape[:-1], dtype=torch.int64)]
    args = student.function("vq.finite_scalar"), weights, z, levels
    (found,) = student.gradient("checking.fakes.weighted_both", *args, wrt=[z])
    expect.true(found is not None, "no gradient reaches z: backwards nothing was rounded")
    return found


@finite_scalar
def test_a_few_numbers_by_hand(student):
    """5 levels are −1, −½, 0, ½ and 1, 4 levels −1, −½, 0 and ½; ends and middle are reached"""
    z = torch.tensor([[-20.0, -20.0], [0.0, 0.0], [20.0, 20.0], [-0.5, 0.5]])
    q, index = expect.unpack(student.vq.finite_scalar(z, [5, 4]), ["q", "index"])
    want = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 0.5], [-0.5, 0.5]])
    expect.close(q, want, "not these levels", what="q", atol=1e-6, rtol=1e-6)
    # c + (2, 2) is (0, 0), (2, 2), (4, 3) and (1, 3); the second number counts 5 times.
    want = torch.tensor([0, 12, 19, 16])
    expect.close(index, want, "the first number changes fastest", what="the index")


@finite_scalar
def test_each_number_becomes_the_nearest_level(student, generator):
    """q is the nearest level of each number, the index its code, for even and odd levels"""
    for levels in LEVELS:
        z = 1.5 * normal(generator, 20, len(levels))
        hold_scalars(student.vq.finite_scalar(z, levels), z, levels, f"levels {levels}")


@finite_scalar
def test_backwards_nothing_was_rounded(student, generator):
    """the gradient is h (1 − tanh²(z + s)) / ⌊L/2⌋, as if nothing were rounded"""
    for levels in LEVELS:
        z, c = normal(generator, 2, 6, len(levels))
        h, _, s, below = parts(levels)
        want = c * h * (1 - torch.tanh(z + s).square()) / below
        says = f"levels {levels}: not the slope of h tanh(z + s) / ⌊L/2⌋"
        found = scalar_gradient(student, c, z, levels)
        expect.close(found, want, says, what="the gradient of z", atol=1e-6, rtol=1e-4)


@finite_scalar
def test_every_code_is_reached(student):
    """each code is that of some z, corners included, and has its own number"""
    for levels in LEVELS:
        h, o, s, below = parts(levels)
        axes = [torch.arange(n, dtype=torch.float64) - n // 2 for n in levels]
        c = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(levels))
        z = torch.atanh((c + o) / h) - s
        q, index = hold_scalars(student.vq.finite_scalar(z, levels), z, levels, f"levels {levels}")
        expect.close(q, c / below, "a code is not reached where it should be", **DOUBLE)
        says, every = f"levels {levels}: the numbers do not count through all codes", len(c)
        expect.close(index.sort().values, torch.arange(every), says, what="all numbers")


@finite_scalar
def test_nought_stays_nought(student):
    """z = 0 is q = 0, with even numbers of levels too"""
    for levels in LEVELS:
        for dtype in (torch.float32, torch.float64):
            z = torch.zeros(2, len(levels), dtype=dtype)
            hold_scalars(student.vq.finite_scalar(z, levels), z, levels, f"z = 0, levels {levels}")


@finite_scalar
def test_numbers_far_out(student, generator):
    """numbers far from 0 are at the ends, where the slope is 0"""
    for levels in LEVELS:
        z = 1e5 * normal(generator, 8, len(levels)).sign()
        for own in (z, z.float()):
            hold_scalars(student.vq.finite_scalar(own, levels), own, levels, f"levels {levels}")
        found = scalar_gradient(student, torch.ones_like(z), z, levels)
        expect.close(found, torch.zeros_like(z), "a slope far out", what="the gradient of z")


@finite_scalar
def test_scalars_of_every_shape(student, generator):
    """a single vector, lists and grids, none at all, one number a vector, single precision"""
    for levels in ([4, 3, 5], (6,)):
        dim = len(levels)
        none = [torch.zeros(0, dim).double(), torch.zeros(2, 0, 3, dim).double()]
        for z in (*precisions(generator, dim), *none):
            says = f"z of shape {tuple(z.shape)}, levels {levels}"
            hold_scalars(student.vq.finite_scalar(z, levels), z, levels, says)


@finite_scalar
def test_very_many_codes(student):
    """the number of a code is exact, however many codes there are"""
    steps = (torch.arange(40)[:, None] - 20) * torch.tensor([23, 9, 59, 24])
    for levels, c, many in (
        ([399], torch.arange(-199, 200)[:, None], "399 codes"),
        ([1000, 399, 2501, 1024], steps, "about 10¹² codes"),
    ):
        h, o, s, _ = parts(levels)
        for dtype in (torch.float64, torch.float32):
            z = (torch.atanh((c + o) / h) - s).to(dtype)
            hold_scalars(student.vq.finite_scalar(z, levels), z, levels, many)


@finite_scalar
def test_scalars_in_double_precision(student, generator):
    """of z in double precision the slope is so too"""
    for levels in ([8, 5, 2], [3, 6, 11]):
        z = normal(generator, 9, 3)
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
    for levels in ([3, 3], [3, 3, 3, 3], [], [3, 1, 3], [3, 2.5, 3]):
        says = f"ValueError for levels {levels} and 3 numbers a vector"
        says += ": leave the lines above yours as they are"
        expect.raises("ValueError", lambda own=levels: student.vq.finite_scalar(z, own), says)
