"""kernels.gan_losses: the losses of both players, and their gradients."""

import math

import pytest
import torch

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.kernels import gan_losses
from cs231n_gen.kernels.launch import DTYPES, interpreting

D, G = gan_losses.discriminator_loss, gan_losses.generator_loss
D_reference, G_reference = gan_losses.reference, gan_losses.generator_reference
HOW = pytest.mark.parametrize("saturating", [False, True])


def logits(*shape, dtype=torch.float32):
    return (4 * torch.randn(shape)).to(dtype)


def expanded(like):
    """A gradient that is one number, seen many times."""
    return torch.tensor(-1.5).expand(like.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", sweeps.SIZES)
def test_every_size(n, dtype):
    pair = logits(n, dtype=dtype), logits(n, dtype=dtype)
    sweeps.forward(D, D_reference, *pair)
    sweeps.backward(D, D_reference, pair)


@HOW
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", sweeps.SIZES)
def test_every_size_for_the_generator(n, dtype, saturating):
    one = logits(n, dtype=dtype)
    sweeps.forward(G, G_reference, one, saturating=saturating)
    sweeps.backward(G, G_reference, [one], saturating=saturating)


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    pair = layout(logits(3, 5, 7)), layout(logits(3, 5, 7))
    sweeps.forward(D, D_reference, *pair)
    sweeps.backward(D, D_reference, pair, expanded)
    sweeps.backward(G, G_reference, pair[1:], expanded)


def test_different_numbers_of_real_and_fake():
    pair = logits(40, 30), logits(3, 1)
    sweeps.forward(D, D_reference, *pair)
    sweeps.backward(D, D_reference, pair)


def test_expanded_and_a_single_logit():
    pair = logits(1).expand(600), logits()
    sweeps.forward(D, D_reference, *pair)
    sweeps.backward(D, D_reference, pair)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sure", [0.1, 10.0, 100.0])
def test_stable_however_sure_the_discriminator(sure, dtype):
    pair = torch.linspace(-sure, sure, 99, dtype=dtype), torch.linspace(0, sure, 99, dtype=dtype)
    sweeps.forward(D, D_reference, *pair)
    sweeps.backward(D, D_reference, pair, torch.ones_like)
    for saturating in (False, True):
        sweeps.forward(G, G_reference, pair[0], saturating=saturating)
        sweeps.backward(G, G_reference, pair[:1], torch.ones_like, saturating=saturating)


def test_small_losses_are_not_rounded_away():
    """log(1 + e⁻¹⁸) is e⁻¹⁸, though 1 + e⁻¹⁸ is 1 in fp32."""
    with interpreting():
        loss = float(D(torch.full((5,), 18.0), torch.full((5,), -18.0)))
    assert loss == pytest.approx(2 * math.exp(-18), rel=1e-5)


def test_a_discriminator_that_knows_nothing_loses_log_4():
    with interpreting():
        assert float(D(torch.zeros(1500), torch.zeros(70))) == pytest.approx(math.log(4))


def test_the_saturating_gradient_vanishes_and_the_other_does_not():
    fake = torch.full((4,), -30.0, requires_grad=True)
    with interpreting():
        (vanished,) = torch.autograd.grad(G(fake, saturating=True), fake)
        (strong,) = torch.autograd.grad(G(fake), fake)
    assert vanished.abs().max() < 1e-12
    torch.testing.assert_close(strong, torch.full((4,), -1 / 4))


def test_gradients_are_slopes():
    real, fake = logits(33), logits(20)
    along, h = [torch.randn(33), torch.randn(20)], 1e-4
    with interpreting():
        got, _ = sweeps.gradients(D, [real, fake], torch.ones_like, None)
    slope = sum(float((g * a).sum()) for g, a in zip(got, along, strict=True))
    ahead, back = (
        D_reference(real.double() + s * along[0], fake.double() + s * along[1]) for s in (h, -h)
    )
    assert slope == pytest.approx(float(ahead - back) / (2 * h), rel=1e-4, abs=1e-5)


def test_only_the_gradient_that_is_wanted():
    real, fake = logits(5), logits(5).requires_grad_()
    with interpreting():
        D(real, fake).backward()
    assert real.grad is None
    torch.testing.assert_close(fake.grad, fake.detach().sigmoid() / 5)


def test_two_backward_passes_add_up():
    fake = logits(50).requires_grad_()
    with interpreting():
        loss = 3 * G(fake)
        loss.backward(retain_graph=True)
        once = fake.grad.clone()
        loss.backward()
    torch.testing.assert_close(fake.grad, 2 * once)


def test_the_same_loss_bit_for_bit():
    real, fake = logits(5000), logits(5000)
    with interpreting():
        assert len({float(D(real, fake)) for _ in range(3)}) == 1


def test_in_torch_it_is_the_same():
    real, fake = logits(400), logits(300)
    with interpreting():
        ours = D(real, fake), G(fake), G(fake, saturating=True)
    torch.testing.assert_close((D(real, fake), G(fake), G(fake, saturating=True)), ours)
    assert D(real.half(), fake.half()).dtype == torch.float32
    assert D(real.double(), fake.double()).dtype == torch.float64


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    one = logits(3)
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(
            ValueError, match=r"fake_logits must be torch\.float32 on cpu like real"
        ):
            D(one, one.half())
        with pytest.raises(ValueError, match=r"real_logits must hold at least one .*\(2, 0\)"):
            D(logits(2, 0), one)
        with pytest.raises(ValueError, match=r"fake_logits must be float32, .*int64"):
            G(one.long())
        with pytest.raises(ValueError, match=r"fake_logits must hold at least one .*\(0,\)"):
            G(one[:0])
