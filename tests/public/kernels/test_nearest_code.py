"""Public checks of chapter 14: kernels.nearest_code.

Judged is the distance to the code that was chosen, not its number: where two codes are equally near
but for rounding, either is right. Where nothing is rounded it is the first of equals.
"""

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.errors import PropertyFailed
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages, checked

nearest_code = pytest.mark.exercise("kernels.nearest_code.kernel")
ROWS = 64  # of a program, as the wrapper launches it
UNIT = 2.0**-24  # a number in fp32 is off by at most this share of it


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


def on(student):
    return Stages(student, "kernels.nearest_code.nearest_code", Nearest(reference))


def normal(generator, *shape):
    return torch.randn(shape, generator=generator)


@nearest_code
@pytest.mark.parametrize("N, K, D", [(1, 1, 1), (7, 3, 5), (65, 130, 33)])
def test_the_nearest_code(student, generator, N, K, D):
    """correct: the nearest code of each row, for any number of rows, codes and dimensions"""
    on(student).correct(normal(generator, N, D), normal(generator, K, D))


@nearest_code
def test_codes_of_every_length(student, generator):
    """correct: a long code may be near as well, a short one far"""
    length = torch.logspace(-1, 1, 50)[torch.randperm(50, generator=generator), None]
    on(student).correct(4 * normal(generator, 40, 6), length * normal(generator, 50, 6))


@nearest_code
def test_no_code_is_made_up_at_the_edge(student, generator):
    """correct: where all codes are far from 0, no code of zeros beyond the last is found"""
    on(student).correct(normal(generator, 20, 10), 50 + normal(generator, 67, 10))


@nearest_code
def test_the_first_of_equals(student, generator):
    """correct: of codes with one score the first is kept, in one tile and in different ones"""
    codes = torch.randint(-2, 3, (80, 3), generator=generator)
    z = torch.randint(-3, 4, (30, 3), generator=generator)
    distances = (z[:, None] - codes).square().sum(-1)
    least = distances == distances.min(1, keepdim=True).values
    first = torch.where(least, torch.arange(80), 80).min(1).values
    wrapper = student.function("kernels.nearest_code.nearest_code")
    seen = checked(student.instruments.observe.call(wrapper, [z.float(), codes.float()]))
    (index,) = seen["results"]
    expect.close(index, first, "of equally near codes not the first is kept", atol=0, rtol=0)


@nearest_code
def test_codes_however_far(student, generator):
    """correct: where all codes are very far away one of them is still the nearest"""
    z, codes = normal(generator, 20, 10), 1e16 * (3 + normal(generator, 67, 10))
    on(student).correct(z, codes, says="of codes that are very far away not the nearest is found")


@nearest_code
def test_codes_close_together(student, generator):
    """correct: codes that differ in the fourth digit are told apart, in fp32"""
    middle = normal(generator, 1, 24)
    z, codes = (middle + 2e-3 * normal(generator, n, 24) for n in (40, 60))
    on(student).correct(z, codes, says="codes that are nearly alike are mixed up")


@nearest_code
@pytest.mark.parametrize("rows, many, width", [(16, 16, 16), (32, 64, 32)])
def test_other_tiles(student, generator, rows, many, width):
    """correct: each program does its own rows, with tiles of another size and wider than a code"""
    z, codes = normal(generator, 40, 7), normal(generator, 50, 7)
    before = torch.full((40,), -7, dtype=torch.int32)
    args, grid = [z, codes, before, 40, 50, 7], [-(-40 // rows)]
    says = f"with tiles of {rows} rows, {many} codes and {width} numbers program 1 is wrong"
    constants = {"ROWS": rows, "CODES": many, "BLOCK": width}
    where, name = {"programs": [[1]]}, "kernels.nearest_code.kernel"
    came = left(student, name, grid, args, constants, says, **where)[2]
    mine = slice(rows, 2 * rows)
    expect.true(bool((came[:rows] == -7).all() and (came[2 * rows :] == -7).all()), says)
    Nearest(reference).judge_results([came[mine]], [z[mine], codes], {}, says)


@nearest_code
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
    i, D = 2**31 // (16 * 200) + 231, 200
    z, codes = normal(generator, 9, D), normal(generator, 20, D)
    args = [z, codes, torch.full((9,), -7, dtype=torch.int32), 16 * i + 9, 20, D]
    constants, says = {"ROWS": 16, "CODES": 16, "BLOCK": 256}, "rows beyond element 2³¹ are lost"
    where = {"programs": [[i]], "begins": [16 * i * D, 0, 16 * i]}
    came = left(student, "kernels.nearest_code.kernel", [i + 1], args, constants, says, **where)[2]
    Nearest(reference).judge_results([came], [z, codes], {}, says)


@nearest_code
def test_a_crowd_in_half_precision(student, generator):
    """correct: in half precision codes that lie close together are told apart in fp32"""
    z, codes = (normal(generator, n, 16).div(2).add(8).half() for n in (64, 90))
    on(student).correct(z, codes)


@nearest_code
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student).safe(normal(generator, 70, 20), normal(generator, 50, 20))


@nearest_code
def test_lean_for_one_program(student, generator):
    """lean: with the rows of one program, rows and codes are read once"""
    z, codes = normal(generator, 60, 32), normal(generator, 100, 32)
    on(student).lean(POINTWISE, z, codes, least=(60 + 100) * 32 * 4)


@nearest_code
def test_lean_for_many_programs(student, generator):
    """lean: with more rows, each program of 64 rows reads them and the codes once"""
    N, K, D = 200, 50, 32
    most = POINTWISE * (N + -(-N // ROWS) * K) / (N + K)
    z, codes = normal(generator, N, D), normal(generator, K, D)
    on(student).lean(most, z, codes, least=(N + K) * D * 4)
