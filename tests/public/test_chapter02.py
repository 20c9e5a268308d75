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
best_generator = pytest.mark.exercise("chapter02.best_generator")

Y = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
A = torch.tensor([0.6, 1.0, 2.0], dtype=torch.float64)
B = torch.tensor([0.3, 3.0, 0.5], dtype=torch.float64)


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
    V = student.chapter02.value_of_best(p, q, 1.0)
    want = 0.2 * math.log(1 / 4) + 0.8 * math.log(2 / 3)
    want += 0.6 * math.log(3 / 4) + 0.4 * math.log(1 / 3)
    expect.close(V, torch.tensor(want).double(), "not ∫ p log D* + q log (1 − D*)", what="V(G, D*)")


# --- chapter02.best_generator -------------------------------------------------------------------


@best_generator
def test_where_the_minimum_is(student):
    """the generator's best density"""
    p_g, _ = expect.unpack(student.chapter02.best_generator(P), ["p_G", "V"])
    expect.close(p_g, P, "no other density has so low a value", what="p_G")


@best_generator
def test_how_low_it_is(student):
    """the value that it leads to"""
    _, V = expect.unpack(student.chapter02.best_generator(P), ["p_G", "V"])
    V = torch.as_tensor(V, dtype=torch.float64)
    expect.close(V, torch.tensor(-math.log(4)).double(), "−log 4, in nats", what="V(G, D*)")
