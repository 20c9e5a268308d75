"""Public checks of chapter 14: kernels.gan_losses."""

import math

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import alone, left
from cs231n_gen.checking.kernels.stages import POINTWISE, SIZES, Exact, Stages, nbytes

forward = pytest.mark.exercise("kernels.gan_losses.kernel")
backward = pytest.mark.exercise("kernels.gan_losses.backward_kernel")

# The loss adds up to 4096 terms, each of which was rounded about 6 times itself. A gradient is a
# product of four numbers, one of them a quotient: 7 roundings, of half a unit each.
SUMS = {0: 1 << 18, "real_logits": 1 << 6, "fake_logits": 1 << 6}


def wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def discriminators(real_logits, fake_logits):
    real, fake = wide(real_logits), wide(fake_logits)
    return -(F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean())


def generators(fake_logits, saturating=False):
    fake = wide(fake_logits)
    return F.logsigmoid(-fake).mean() if saturating else -F.logsigmoid(fake).mean()


def D(student):
    name = "kernels.gan_losses.discriminator_loss"
    return Stages(student, name, Exact(discriminators, (0, 1), SUMS))


def G(student):
    return Stages(student, "kernels.gan_losses.generator_loss", Exact(generators, (0,), SUMS))


def logits(generator, n):
    return 4 * torch.randn(n, generator=generator)


# --- gan_losses.kernel --------------------------------------------------------------------------


@forward
@pytest.mark.parametrize("n", SIZES)
def test_the_loss(student, generator, n):
    """correct: −(mean log D + mean log (1 − D)), for any number of real and of fake logits"""
    D(student).correct(logits(generator, n), logits(generator, 30))


@forward
def test_a_discriminator_that_knows_nothing(student, generator):
    """correct: logits of 0 are D = 1/2 everywhere, and cost log 4"""
    says = f"D = 1/2 everywhere must cost log 4 = {math.log(4):.4f}"
    D(student).correct(torch.zeros(700), torch.zeros(1500), says=says)


@forward
def test_both_losses_of_the_generator(student, generator):
    """correct: −mean log D, and the saturating mean log (1 − D)"""
    for saturating in (False, True):
        G(student).correct(logits(generator, 300), saturating=saturating)


@forward
def test_a_discriminator_that_is_sure(student, generator):
    """correct: logits of ±100 give a finite loss, and the right one"""
    sure = torch.tensor([-100.0, -60.0, -30.0, 30.0, 60.0, 100.0])
    says = "the loss is wrong for logits of up to ±100: does an exponential overflow?"
    D(student).correct(sure, sure.flip(0) / 2, says=says)


@forward
@pytest.mark.parametrize("size", [1000.0, 60000.0])
def test_logits_of_any_size(student, generator, size):
    """correct: logits of ±1000 and of ±60000 cost their own size, or nothing"""
    says = f"logits of −{size:g} cost {size:g} each, those of {size:g} nothing"
    G(student).correct(torch.full((33,), -size), says=says)
    G(student).correct(torch.full((33,), size), says=says)


@forward
@pytest.mark.parametrize("y", [-10.25, 9.0, 50.0, 75.0])
def test_small_losses_alone(student, generator, y):
    """correct: log(1 + exp(−y)) keeps its digits, however small it is"""
    G(student).correct(torch.full((16,), y), says=f"the loss must be log(1 + exp({-y:g}))")


@forward
def test_small_losses(student, generator):
    """correct: where D is sure and right a loss of e⁻¹⁸ is not rounded away"""
    says = "the loss must be 2 log(1 + e⁻¹⁸): in fp32 1 + e⁻¹⁸ is 1, but the loss is not 0"
    D(student).correct(torch.full((5,), 18.0), torch.full((5,), -18.0), says=says)


@forward
def test_partial_sums(student, generator):
    """correct: each program leaves the sum over its own block, for another BLOCK, too"""
    x, partials = logits(generator, 300), torch.full((5,), float("nan"))
    kernel, args = student.function("kernels.gan_losses.kernel"), [x, partials, 1.0, 0.25, 300]
    came = student.instruments.observe.launch(kernel, [5], args, {"BLOCK": 64})
    blocks = F.pad(-F.logsigmoid(-x.double()), (0, 20)).reshape(5, 64)
    expect.close(came["args"][1], blocks.sum(1) / 4, "a partial sum is not that of its own block")


@forward
def test_programs_alone(student, generator):
    """correct: program i leaves the sum over block i in place i and nothing else"""
    x, before = logits(generator, 300), torch.full((5,), 7.0)
    args, says = [x, before, 1.0, 0.25, 300], "programs 1 and 4 of 5 do not do their own blocks"
    name, where = "kernels.gan_losses.kernel", {"programs": [[1], [4]]}
    came = left(student, name, [5], args, {"BLOCK": 64}, says, **where)[1]
    blocks = F.pad(-F.logsigmoid(-x.double()), (0, 20)).reshape(5, 64)
    expect.close(came, alone(blocks.sum(1) / 4, before, 1, [1, 4]), says)


@forward
def test_half_precision(student, generator):
    """correct: logits in half precision, the sum in float32"""
    real, fake = 10 * logits(generator, 1500) - 80, logits(generator, 700)
    says = "in half precision the loss is wrong: a thousand terms of 80 are more than float16 holds"
    D(student).correct(real.half(), fake.half(), says=says)


@forward
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    D(student).safe(logits(generator, 2500), logits(generator, 700))


@forward
def test_lean(student, generator):
    """lean: each logit is read once"""
    D(student).lean(POINTWISE, logits(generator, 2500), logits(generator, 700))


# --- gan_losses.backward_kernel -----------------------------------------------------------------


@backward
@pytest.mark.parametrize("n", SIZES)
def test_the_gradient(student, generator, n):
    """backward: the gradients of real and fake logits, for any number of them"""
    D(student).backward(logits(generator, n), logits(generator, 30))


@backward
def test_gradient_at_one_half(student, generator):
    """backward: logits of 0 have the gradients −1/(2n) and 1/(2n)"""
    says = "at D = 1/2 the gradients must be −1/(2n) for real and 1/(2n) for fake logits"
    D(student).backward(torch.zeros(16), torch.zeros(1100), says=says)


@backward
def test_gradients_of_the_generator(student, generator):
    """backward: that of −mean log D, and the saturating one, which vanishes where D is sure"""
    fake = torch.linspace(-30.0, -10.0, 40)
    G(student).backward(fake)
    says = "the saturating gradient of small D must be −D/n to all its digits"
    G(student).backward(fake, saturating=True, says=says)


@backward
def test_gradient_of_a_sure_discriminator(student, generator):
    """backward: logits of ±100 have finite gradients, and the right ones"""
    sure = torch.tensor([-100.0, -60.0, -30.0, 30.0, 60.0, 100.0])
    says = "a gradient is wrong for logits of up to ±100: does an exponential overflow?"
    D(student).backward(sure, sure.flip(0) / 2, says=says)


@backward
@pytest.mark.parametrize("size", [50.0, 80.0, 1000.0])
def test_gradients_of_any_logit(student, generator, size):
    """backward: a gradient keeps its digits where D is very sure"""
    x, says = torch.tensor([-size, size]), f"a gradient is wrong for a logit of ±{size:g}"
    G(student).backward(x[:1], saturating=True, says=says)
    G(student).backward(x[1:], says=says)
    G(student).backward(x, says=says)


@backward
def test_rounded_once(student, generator):
    """backward: in half precision with a large gradient of the loss, rounded at the end"""
    x, says = torch.linspace(-12.0, -8.0, 300).half(), "sigmoid / n alone is too small for float16"
    large = {"upstream": lambda loss: torch.full_like(loss, 2.0**20)}
    G(student).backward(x, saturating=True, says=says, **large)


@backward
def test_another_block(student, generator):
    """backward: program i writes block i of the gradient and nothing else, for another BLOCK"""
    x, before = logits(generator, 100), torch.full((100,), 7.0)
    args, name = [x, torch.tensor(2.0), before, -1.0, -0.5, 100], "gan_losses.backward_kernel"
    says = "with BLOCK = 16 programs 2 and 6 do not do their blocks"
    where = {"programs": [[2], [6]]}
    came = left(student, f"kernels.{name}", [7], args, {"BLOCK": 16}, says, **where)[2]
    expect.close(came, alone(torch.sigmoid(-x), before, 16, [2, 6]), says)


@backward
def test_upstream(student, generator):
    """backward: the gradient of the loss scales all of them"""
    says = "with −1.5 as the gradient of the loss the gradients must be −1.5 times as large"
    pair = logits(generator, 40), logits(generator, 1100)
    D(student).backward(*pair, upstream=lambda loss: torch.full_like(loss, -1.5), says=says)


@backward
def test_gradient_in_half_precision(student, generator):
    """backward: in half precision, calculated in float32"""
    D(student).backward(logits(generator, 300).half(), logits(generator, 200).half())


@backward
def test_gradient_is_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    D(student).safe(logits(generator, 2500), logits(generator, 700), gradient=True)


@backward
def test_gradient_is_lean(student, generator):
    """lean: forward each logit is read once; backward read once more, and its gradient written"""
    fake = logits(generator, 2500)
    G(student).lean(POINTWISE, fake, least=3 * nbytes([fake]), gradient=True)
