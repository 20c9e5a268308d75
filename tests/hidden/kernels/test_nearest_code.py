"""Hidden grader of chapter 14, kernels.nearest_code: codebooks whose nearest codes are known, and
distances in float64.

Judged is the distance to the code that was chosen, not its number: where two codes are equally near
but for rounding, either is right. Where nothing is rounded it is the first of equals.
"""

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.errors import PropertyFailed
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import DTYPES, POINTWISE, Exact, Stages, checked

WRAPPER = "kernels.nearest_code.nearest_code"
ROWS = 64  # of a program, as the wrapper launches it
UNIT = 2.0**-24  # a number in fp32 is off by at most this share of it
SIZES = (  # N, K, D: around tiles of 64 rows and 32 codes, and of every width
    (1, 1, 1),
    (7, 3, 5),
    (63, 31, 15),
    (64, 64, 16),
    (65, 130, 33),
    (3, 1, 256),
    (2, 257, 3),
    (257, 7, 2),
)


nearest_code = pytest.mark.exercise("kernels.nearest_code.kernel")


def reference(z, codes):
    return (z[:, None] - codes).square().sum(-1).argmin(1).int()


class Nearest(Exact):
    """What is right: a code that is no farther than the nearest, but for the rounding of scores."""

    def judge_results(self, got, args, options, says):
        z, codes = (x.double() for x in args)
        expect.true(len(got) == 1, "one tensor must come", len(got), 1)
        index = expect.tensor(got[0], (len(z),), "the result")
        expect.true(index.dtype == torch.int32, "the numbers of codes must be int32", index.dtype)
        wrong = index[(index < 0) | (index >= len(codes))]
        if len(wrong):
            text = f"{says}: {len(wrong)} rows name a code that there is not, or none was written"
            raise PropertyFailed(text, f"code {int(wrong[0])}", f"0 … {len(codes) - 1}")
        distances = (z[:, None] - codes).square().sum(-1)
        chosen, nearest = index.long(), distances.argmin(1)
        row = torch.arange(len(z))
        farther = distances[row, chosen] - distances[row, nearest]
        over = farther - off(z, codes[chosen]) - off(z, codes[nearest])
        at = int(over.argmax())
        text = f"{says}: in row {at} another code is nearer"
        distance = float(distances[at, nearest[at]])
        expect.true(float(over[at]) <= 0, text, float(distances[at, chosen[at]]), distance)


def off(z, e):
    """How far off a score in fp32 may be: in whatever order its squares and products are added,
    each is rounded at most D + 4 times, and their sizes add up to (‖z‖ + ‖e‖)² at most."""
    return (z.shape[1] + 4) * UNIT * (z.norm(dim=1) + e.norm(dim=1)).square()


NEAREST = Nearest(reference)


def on(student):
    return Stages(student, WRAPPER, NEAREST)


def normal(generator, *shape, dtype=torch.float32):
    return torch.randn(shape, generator=generator).to(dtype)


def chosen_by(student, z, codes):
    """The codes that a student's wrapper chooses, in float64, one for each row of z."""
    seen = checked(student.instruments.observe.call(student.function(WRAPPER), [z, codes]))
    NEAREST.judge_results(seen["results"], [z, codes], {}, "the nearest codes are wrong")
    return codes[seen["results"][0].long()].double()


@nearest_code(weight=3)
def test_every_size(student, generator):
    """correct: the nearest codes, for any number of rows, codes and dimensions"""
    sizes = tuple(draws.whole(generator, low, high) for low, high in ((20, 90), (20, 90), (2, 40)))
    for N, K, D in (*SIZES, sizes):
        on(student).correct(normal(generator, N, D), normal(generator, K, D))


@nearest_code
def test_a_single_tile(student, generator):
    """correct: 64 rows and 32 codes of 16 numbers, which fill one tile"""
    on(student).correct(normal(generator, 64, 16), normal(generator, 32, 16))


@nearest_code
def test_a_code_is_nearest_to_itself(student, generator):
    """correct: each code of a codebook finds itself"""
    codes = normal(generator, draws.whole(generator, 70, 130), 24)
    z = codes[torch.randperm(len(codes), generator=generator)[:60]]
    found = chosen_by(student, z, codes)
    expect.close(found, z, "a code finds another one", atol=0, rtol=0)


@nearest_code
def test_whole_numbers_on_a_line(student, generator):
    """correct: with the whole numbers as codes no number is farther than 1/2"""
    codes = torch.randperm(81, generator=generator).float()[:, None] - 40
    z = 80 * torch.rand(50, 1, generator=generator) - 40
    far = float((chosen_by(student, z, codes) - z).abs().max())
    # Rounding hides less than 2 · (1 + 4) · 2⁻²⁴ · 80² = 0.004 between two squares of distances.
    # Those of neighbours, which are d and 1 − d away, differ by 2 d − 1: d is below 0.502.
    expect.true(far <= 0.502, "a number is farther from its code than 1/2", far, "at most 0.502")


@nearest_code
def test_the_axes_of_a_space(student, generator):
    """correct: with the unit vectors and their opposites as codes, the largest coordinate wins"""
    D = draws.whole(generator, 17, 31)
    codes = torch.cat([torch.eye(D), -torch.eye(D)])[torch.randperm(2 * D, generator=generator)]
    z = normal(generator, 40, D)
    along = (chosen_by(student, z, codes) * z).sum(1)  # of the code that was chosen
    lost = z.abs().amax(1) - along
    over = lost - off(z.double(), torch.eye(D, dtype=torch.float64)[:1])  # ‖z − e‖² falls by 2 · it
    says = "a code does not point along the largest coordinate"
    expect.true(float(over.max()) <= 0, says, float(lost.max()), 0)


@nearest_code
def test_codes_of_every_length(student, generator):
    """correct: a long code may be near as well, a short one far"""
    length = torch.logspace(-1, 1, 70)[torch.randperm(70, generator=generator), None]
    on(student).correct(4 * normal(generator, 60, 6), length * normal(generator, 70, 6))


@nearest_code(weight=2)
def test_no_code_is_made_up_at_the_edge(student, generator):
    """correct: where all codes are far from 0, no code of zeros beyond the last is found"""
    K = 32 * draws.whole(generator, 1, 3) + draws.whole(generator, 1, 31)
    on(student).correct(normal(generator, 20, 10), 50 + normal(generator, K, 10))


@nearest_code(weight=2)
def test_the_first_of_equals(student, generator):
    """correct: of codes with one score the first is kept, in one tile and in different ones"""
    D = draws.whole(generator, 2, 6)
    z = torch.randint(-3, 4, (60, D), generator=generator)
    codes = torch.randint(-2, 3, (45, D), generator=generator)
    codes = torch.cat([codes, codes[torch.randperm(45, generator=generator)]])  # each of them twice
    distances = (z[:, None] - codes).square().sum(-1)  # whole numbers, exact in any dtype
    first, says = first_least(distances), "of equally near codes not the first is kept"
    wrapper, call = student.function(WRAPPER), student.instruments.observe.call
    for dtype in DTYPES:
        (index,) = checked(call(wrapper, [z.to(dtype), codes.to(dtype)]))["results"]
        expect.close(index, first, says, atol=0, rtol=0)
    same = torch.ones(70, 4)
    (index,) = checked(call(wrapper, [same[:9], same]))["results"]
    expect.close(index, torch.zeros(9), "where all codes are one, code 0 is the first")


def first_least(distances):
    """The first place of the least number of each row."""
    least = distances == distances.min(1, keepdim=True).values
    place = torch.arange(distances.shape[1]).expand_as(least)
    return torch.where(least, place, distances.shape[1]).min(1).values


@nearest_code
def test_codes_however_far(student, generator):
    """correct: where all codes are very far away one of them is still the nearest"""
    K = 32 * draws.whole(generator, 1, 3) + draws.whole(generator, 1, 31)
    for size in (1e4, 1e9, 1e16):
        z, codes = normal(generator, 20, 10), size * (3 + normal(generator, K, 10))
        says = f"of codes {size:g} away not the nearest is found"
        on(student).correct(z, codes, says=says)
        on(student).correct(size * (3 + z), codes, says=says)


@nearest_code
def test_codes_close_together(student, generator):
    """correct: codes that differ in the fourth digit are told apart, in fp32"""
    middle = normal(generator, 1, 24)
    z, codes = (middle + 2e-3 * normal(generator, n, 24) for n in (64, 90))
    on(student).correct(z, codes, says="codes that are nearly alike are mixed up")


@nearest_code(weight=2)
def test_scores_are_in_fp32(student, generator):
    """correct: scores that fp32 holds exactly decide, not ones of rounded numbers"""
    # Whole numbers of twelve bits, of which TF32 keeps eleven: all scores are exact below 2²⁴.
    z = torch.randint(2049, 2800, (40, 1), generator=generator)
    codes = torch.randint(2049, 2800, (90, 1), generator=generator)
    says = (
        "codes of twelve bits are mixed up: are float32 numbers rounded before they are multiplied?"
    )
    expect_first(student, z, codes, says)


def expect_first(student, z, codes, says):
    """Whole numbers whose scores are exact: the first of the nearest codes must come."""
    wrapper = student.function("kernels.nearest_code.nearest_code")
    seen = checked(student.instruments.observe.call(wrapper, [z.float(), codes.float()]))
    (index,) = expect.unpack(seen["results"], ["the codes"])
    distances = (z[:, None] - codes).square().sum(-1)
    least = distances == distances.min(1, keepdim=True).values
    first = torch.where(least, torch.arange(len(codes)), len(codes)).min(1).values
    expect.close(index, first, says, atol=0, rtol=0)


@nearest_code
def test_rows_beyond_32_bits(student, generator):
    """correct: rows that begin beyond element 2³¹ are read and written where they are"""
    i, D = 2**31 // (16 * 200) + draws.whole(generator, 9, 900), 200
    z, codes = normal(generator, 9, D), normal(generator, 20, D)
    args = [z, codes, torch.full((9,), -7, dtype=torch.int32), 16 * i + 9, 20, D]
    constants, says = {"ROWS": 16, "CODES": 16, "BLOCK": 256}, "rows beyond element 2³¹ are lost"
    where = {"programs": [[i]], "begins": [16 * i * D, 0, 16 * i]}
    came = left(student, "kernels.nearest_code.kernel", [i + 1], args, constants, says, **where)[2]
    NEAREST.judge_results([came], [z, codes], {}, says)


@nearest_code
def test_many_codes(student, generator):
    """correct: for more codes than 16 bits can count"""
    K = 66000 + draws.whole(generator, 0, 900)
    codes = torch.randperm(K, generator=generator).double().sub(K // 2).float()[:, None]
    z = codes[-16:] + 0.25
    args = [z, codes, torch.full((16,), -1, dtype=torch.int32), 16, K, 1]
    constants = {"ROWS": 16, "CODES": 4096, "BLOCK": 16}
    says = f"of {K} codes not the nearest is found"
    came = left(student, "kernels.nearest_code.kernel", [1], args, constants, says)[2]
    expect.true(bool((came >= 0).all() and (came < K).all()), says)
    # Squares up to 33000² are rounded to 64: of whole numbers those up to about 16 away may win.
    expect.close(codes[came.long()], z, says, atol=16, rtol=0)


@nearest_code
def test_each_program_has_its_own_rows(student, generator):
    """correct: program i writes the codes of its own rows and nothing else"""
    N, K, D = draws.whole(generator, 40, 64), 40, 7
    z, codes = normal(generator, N, D), normal(generator, K, D)
    before, name = torch.full((N,), -7, dtype=torch.int32), "kernels.nearest_code.kernel"
    for i in (1, -(-N // 16) - 1):
        constants = {"ROWS": 16, "CODES": 16, "BLOCK": 16}
        says, where = f"program {i} of 16 rows does not do its rows", {"programs": [[i]]}
        args, grid = [z, codes, before, N, K, D], [-(-N // 16)]
        came = left(student, name, grid, args, constants, says, **where)[2]
        mine = torch.zeros(N, dtype=torch.bool)
        mine[16 * i : 16 * (i + 1)] = True
        expect.true(bool((came[~mine] == -7).all()), says)
        NEAREST.judge_results([came[mine]], [z[mine], codes], {}, says)


@nearest_code
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16"""
    for dtype in DTYPES:
        on(student).correct(*(normal(generator, n, 20, dtype=dtype) for n in (70, 50)))


@nearest_code(weight=2)
def test_half_precision_is_for_inputs_alone(student, generator):
    """correct: in half precision where codes crowd together, and where squares are beyond 65504"""
    for dtype in (torch.float16, torch.bfloat16):
        crowd = [8 + normal(generator, n, 16) / 2 for n in (64, 90)]
        on(student).correct(*(x.to(dtype) for x in crowd))
        large = [300 * normal(generator, n, 16) for n in (64, 90)]
        on(student).correct(*(x.to(dtype) for x in large))


@nearest_code
def test_any_layout(student, generator):
    """correct: for strided and transposed tensors too"""
    for layout in ("strided", "transposed"):
        on(student).correct(normal(generator, 40, 12), normal(generator, 70, 12), layout=layout)


@nearest_code
def test_other_tiles(student, generator):
    """correct: with tiles of another size, and wider than a code"""
    N, K, D = 100, 40, draws.whole(generator, 10, 16)
    z, codes = normal(generator, N, D), normal(generator, K, D)
    kernel = student.function("kernels.nearest_code.kernel")
    for rows, width, many in ((128, 32, 16), (16, 16, 16), (32, 64, 64)):
        given = [z, codes, torch.full((N,), -1, dtype=torch.int32), N, K, D]
        constants = {"ROWS": rows, "CODES": many, "BLOCK": width}
        seen = student.instruments.observe.launch(kernel, [-(-N // rows)], given, constants)
        args = seen.get("args") if isinstance(seen, dict) else None
        good = isinstance(args, list | tuple) and len(args) == len(given)
        expect.true(good, "the instruments were tampered with")
        says = f"with tiles of {rows} rows, {many} codes and {width} numbers"
        NEAREST.judge_results(args[2:3], [z, codes], {}, says)


@nearest_code(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    N, K, D = (
        draws.whole(generator, 70, 120),
        draws.whole(generator, 40, 60),
        draws.whole(generator, 17, 31),
    )
    on(student).safe(normal(generator, N, D), normal(generator, K, D))


@nearest_code
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    first, second = ((normal(generator, 70, 20), normal(generator, 50, 20)) for _ in range(2))
    on(student).honest(first, second)


@nearest_code
def test_lean_for_one_program(student, generator):
    """lean: with the rows of one program, rows and codes are read once"""
    N, K, D = draws.whole(generator, 50, 64), draws.whole(generator, 100, 120), 40
    z, codes = normal(generator, N, D), normal(generator, K, D)
    on(student).lean(POINTWISE, z, codes, least=(N + K) * D * 4)


@nearest_code
def test_lean_for_many_programs(student, generator):
    """lean: with more rows, each program of 64 rows reads them and all the codes once"""
    # Programs share nothing but the cache, so each of the P = ⌈N / 64⌉ must read all codes: N D +
    # P K D numbers are asked for, (N + P K) / (N + K) times the least. The N numbers of codes that
    # are written, below 2 % of that, are within the 5 %.
    N, K, D = draws.whole(generator, 150, 190), draws.whole(generator, 40, 60), 40
    most = POINTWISE * (N + -(-N // ROWS) * K) / (N + K)
    z, codes = normal(generator, N, D), normal(generator, K, D)
    on(student).lean(most, z, codes, least=(N + K) * D * 4)


@nearest_code
def test_compiles(student, generator):
    """compiles: for an H100, with its instructions for matrices and without spills"""
    small = normal(generator, 70, 20), normal(generator, 50, 20)
    large = (normal(generator, n, 64, dtype=torch.float16) for n in (128, 256))
    # Not wide: one number a row is stored, too few for 128 bits a thread.
    on(student).compiles(small, [*large], wide=False)
