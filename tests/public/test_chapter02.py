"""Public checks of chapter 02's answer cells: the best discriminator, step by step."""

import math

import pytest
import torch

from cs231n_gen.checking import expect

pointwise = pytest.mark.exercise("chapter02.pointwise")
slope = pytest.mark.exercise("chapter02.slope")
maximiser = pytest.mark.exercise("chapter02.maximiser")
curvature = pytest.mark.exercise("chapter02.curvature")
value_of_best = pytest.mark.exercise("chapter02.value_of_best")
best_generator = pytest.mark.exercise(
    "chapter02.best_generator", dtype=False
)  # V may be of float32

Y = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
A = torch.tensor([0.6, 1.0, 2.0], dtype=torch.float64)
B = torch.tensor([0.3, 3.0, 0.5], dtype=torch.float64)


TINY = torch.tensor([1e-6, 1 - 1e-6, 1e-3], dtype=torch.float64)  # y next to 0 and 1


def given():
    """Places in every form, beside those above: one, in rows and columns, with one a and b."""
    yield Y[:1], A[:1], B[:1]
    yield Y[0], A[0], B[0]
    yield Y, A[0], B[1]
    yield Y.expand(2, 3), A.expand(2, 3), B.expand(2, 3)
    yield TINY, A, B
    yield Y, 1e-9 * A, 1e-8 * B
    yield Y, 1e-6 * A, B
    yield Y, 1e3 * A, 2e3 * B
    yield Y.float(), A.float(), B.float()


def given_with_0():
    """Those, and places without data, without samples, and without both."""
    yield from given()
    yield Y, A * torch.tensor([0, 1, 0]), B * torch.tensor([1, 0, 0])


def digits(y):
    """How close a result must come: float32 leaves fewer digits."""
    double = y.dtype == torch.float64
    return {"atol": 1e-14 if double else 1e-5, "rtol": 1e-9 if double else 1e-4}


def number(V):
    """V as a tensor of shape (), whether it came so or as a float."""
    return torch.tensor(float(V), dtype=torch.float64) if isinstance(V, int | float) else V


# --- chapter02.pointwise ------------------------------------------------------------------------


@pointwise
def test_at_a_half(student):
    """y = ½ adds −(a + b) log 2"""
    got = student.chapter02.pointwise(torch.full((3,), 0.5).double(), A, B)
    expect.close(got, -(A + B) * math.log(2), "−(a + b) log 2 at y = ½", what="what x adds")


@pointwise
def test_data_pull_up_and_samples_down(student):
    """a counts with log y, b with log (1 − y)"""
    got = student.chapter02.pointwise(Y, A, B)
    one = 0.6 * math.log(0.1) + 0.3 * math.log(0.9)
    two, three = 4 * math.log(0.5), 2 * math.log(0.8) + 0.5 * math.log(0.2)
    want = torch.tensor([one, two, three]).double()
    expect.close(got, want, "a log y + b log (1 − y)", what="what x adds")


@pointwise
def test_places_of_every_form(student):
    """one place or many, one a and b for all of them, y next to 0 and 1"""
    for y, a, b in given_with_0():
        got = student.chapter02.pointwise(y, a, b)
        want = a * y.log() + b * (1 - y).log()
        says = f"a log y + b log (1 − y) for y = {y.tolist()}, a = {a.tolist()}"
        expect.close(got, want, says, what="what x adds", **digits(y))


# --- chapter02.slope ----------------------------------------------------------------------------


@slope
def test_it_is_the_derivative(student):
    """it is the derivative of a log y + b log (1 − y)"""
    got = student.chapter02.slope(Y, A, B)
    up, down = (A * y.log() + B * (1 - y).log() for y in (Y + 1e-6, Y - 1e-6))
    expect.close(
        got, (up - down) / 2e-6, "not that derivative", atol=1e-6, rtol=1e-6, what="the slope"
    )


@slope
def test_only_data(student):
    """where there are only data, it leads up everywhere: a/y"""
    got = student.chapter02.slope(Y, A, torch.zeros(3).double())
    expect.close(got, A / Y, "a/y where b = 0", what="the slope")


@slope
def test_places_of_every_form_have_a_slope(student):
    """one place or many, one a and b for all of them, y next to 0 and 1"""
    for y, a, b in given_with_0():
        got = student.chapter02.slope(y, a, b)
        says = f"not the derivative for y = {y.tolist()}, a = {a.tolist()}"
        want = a / y - b / (1 - y)
        off = {k: max(v, 1e-12) for k, v in digits(y).items()}  # they may cancel
        expect.close(got, want, says, what="the slope", **off)


# --- chapter02.maximiser ------------------------------------------------------------------------


@maximiser
def test_where_the_slope_is_nothing(student):
    """a/y = b/(1 − y) there"""
    got = student.chapter02.maximiser(A, B)
    want = torch.tensor([2 / 3, 0.25, 0.8]).double()
    expect.close(got, want, "2/3 for a = 0.6 and b = 0.3", what="the best y")


@maximiser
def test_as_much_of_both(student):
    """½ where a = b"""
    got = student.chapter02.maximiser(A, A)
    expect.close(got, torch.full((3,), 0.5).double(), "½ where a = b", what="the best y")


@maximiser
def test_densities_of_every_form(student):
    """one place or many, small densities and large"""
    tiny, huge = (size * torch.tensor([1.0, 2.0, 4.0]) for size in (1e-30, 1e30))
    for _, a, b in (*given(), (None, tiny, tiny.flip(0)), (None, huge, huge.flip(0))):
        a, b = torch.broadcast_tensors(a, b)
        got = student.chapter02.maximiser(a, b)
        says = f"a/y = b/(1 − y) for a = {a.tolist()}, b = {b.tolist()}"
        off = 1e-9 if a.dtype == torch.float64 else 1e-5
        expect.close(got, a / (a + b), says, what="the best y", atol=off, rtol=0)


# --- chapter02.curvature ------------------------------------------------------------------------


@curvature
def test_it_is_the_second_derivative(student):
    """it is the derivative of the slope"""
    got = student.chapter02.curvature(Y, A, B)
    up, down = (A / y - B / (1 - y) for y in (Y + 1e-6, Y - 1e-6))
    expect.close(
        got, (up - down) / 2e-6, "not that derivative", rtol=1e-5, atol=1e-5, what="the curvature"
    )


@curvature
def test_a_maximum(student):
    """below 0 at every y: the only flat place is a maximum"""
    got = student.chapter02.curvature(Y, A, B)
    says = "there is a y at which it is not below 0"
    expect.true(bool((expect.tensor(got, (3,), "the curvature") < 0).all()), says)


@curvature
def test_places_of_every_form_have_a_curvature(student):
    """one place or many, one a and b for all of them, y next to 0 and 1"""
    for y, a, b in given_with_0():
        got = student.chapter02.curvature(y, a, b)
        says = f"not the second derivative for y = {y.tolist()}, a = {a.tolist()}"
        want = -(a * (1 - y) ** 2 + b * y**2) / (y * (1 - y)) ** 2
        expect.close(got, want, says, what="the curvature", **digits(y))


# --- chapter02.value_of_best --------------------------------------------------------------------

P = torch.tensor([0.5, 1.0, 0.5, 0.0]).double()  # densities on four places, half a unit each
Q = torch.tensor([0.5, 0.0, 0.5, 1.0]).double()


@value_of_best
def test_the_same_densities(student):
    """−log 4 where both are the same"""
    V = student.chapter02.value_of_best(P, P, 0.5)
    expect.close(V, torch.tensor(-math.log(4)).double(), "log ½ of each", what="V(G, D*)")


@value_of_best
def test_half_of_them_apart(student):
    """places where only one of them is add nothing"""
    V = student.chapter02.value_of_best(P, Q, 0.5)
    says = "only places with both count: half of the data and half of the samples"
    expect.close(V, torch.tensor(-math.log(2)).double(), says, what="V(G, D*)")


@value_of_best
def test_other_places(student):
    """a sum over all places, times dx"""
    p, q = torch.tensor([0.2, 0.8]).double(), torch.tensor([0.6, 0.4]).double()
    V = student.chapter02.value_of_best(p, q, 0.25)
    want = 0.2 * math.log(1 / 4) + 0.8 * math.log(2 / 3)
    want += 0.6 * math.log(3 / 4) + 0.4 * math.log(1 / 3)
    says = "not ∫ p log D* + q log (1 − D*)"
    expect.close(V, torch.tensor(0.25 * want).double(), says, what="V(G, D*)")
    V = student.chapter02.value_of_best(p.float(), q.float(), 25.0)
    expect.close(V, torch.tensor(25 * want), says, what="V(G, D*)", atol=1e-4, rtol=0)


@value_of_best
def test_densities_on_every_grid(student):
    """in a plane, with places where both are 0, small densities and large"""
    p = torch.tensor([[0.2, 0.8, 0.0], [0.0, 0.1, 0.3]], dtype=torch.float64)
    q = torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.1, 0.0]], dtype=torch.float64)
    want = 0.2 * math.log(0.25) + 0.8 * math.log(2 / 3) + 0.6 * math.log(0.75)
    want += 0.4 * math.log(1 / 3) + 0.2 * math.log(0.5)
    for size in (1.0, 1e-9, 1e9, 1e-200):
        V = student.chapter02.value_of_best(size * p, size * q, 1 / size)
        says = f"densities of about {size:g}, dx = {1 / size:g}: p log D* + q log (1 − D*)"
        want_V = torch.tensor(want, dtype=torch.float64)
        expect.close(number(V), want_V, says, what="V(G, D*)", atol=1e-12, rtol=0)


# --- chapter02.best_generator -------------------------------------------------------------------


@best_generator
def test_where_the_minimum_is(student):
    """the generator's best density"""
    uneven = torch.tensor([[0.1, 0.0, 0.3], [0.05, 0.2, 0.35]]).double()
    for p in (P, uneven, 100 * P.float(), uneven / 7):
        p_g, _ = expect.unpack(student.chapter02.best_generator(p), ["p_G", "V"])
        says = "no other density has so low a value"
        expect.close(p_g, p, says, what="p_G", atol=1e-12, rtol=0)
        expect.true(p_g.dtype == p.dtype, "p_G has the dtype of p_data", p_g.dtype, p.dtype)


@best_generator
def test_how_low_it_is(student):
    """the value that it leads to"""
    _, V = expect.unpack(student.chapter02.best_generator(P), ["p_G", "V"])
    want = torch.tensor(-math.log(4)).double()
    expect.close(number(V), want, "−log 4, in nats", what="V(G, D*)", atol=2e-7, rtol=0)
