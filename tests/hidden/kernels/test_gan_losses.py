"""Hidden grader of chapter 14, kernels.gan_losses: closed forms, float64, and the instruments."""

import math

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import alone, left
from cs231n_gen.checking.kernels.stages import (
    DTYPES,
    POINTWISE,
    SIZES,
    Exact,
    Stages,
    checked,
    nbytes,
)

# The loss adds up to 4096 terms, each of which was rounded about 6 times itself. A gradient is a
# product of four numbers, one of them a quotient: 7 roundings, of half a unit each.
SUMS = {0: 1 << 18, "real_logits": 1 << 6, "fake_logits": 1 << 6}


forward = pytest.mark.exercise("kernels.gan_losses.kernel")
backward = pytest.mark.exercise("kernels.gan_losses.backward_kernel")


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


def logits(generator, *shape, dtype=torch.float32):
    return (4 * torch.randn(shape, generator=generator)).to(dtype)


def loss(student, name, *args, **options):
    """The loss that the student's kernel gives, a number."""
    wrapper = student.function(f"kernels.gan_losses.{name}_loss")
    seen = checked(student.instruments.observe.call(wrapper, [*args], options))
    (result,) = expect.unpack(seen["results"], ["the loss"])
    return float(expect.tensor(result, (), "the loss"))


def gradients(student, name, *args, upstream=1.0, **options):
    """The gradients that the student's kernel gives."""
    wrapper, wrt = student.function(f"kernels.gan_losses.{name}_loss"), [*range(len(args))]
    sent = [torch.tensor(upstream)]
    observe = student.instruments.observe
    seen = checked(observe.call(wrapper, [*args], options, wrt=wrt, upstream=sent))
    came = expect.unpack(seen["gradients"], ["a gradient"] * len(args))
    return [expect.tensor(g, x.shape, "a gradient") for g, x in zip(came, args, strict=True)]


# --- gan_losses.kernel --------------------------------------------------------------------------


@forward(weight=3)
def test_every_size(student, generator):
    """correct: the loss for 1, 7, 1023, 1024, 1025 and some thousand logits"""
    for n in (*SIZES, draws.whole(generator, 2000, 4000)):
        D(student).correct(logits(generator, n), logits(generator, draws.whole(generator, 1, 1100)))


@forward(weight=2)
def test_a_discriminator_that_knows_nothing(student, generator):
    """correct: D = 1/2 everywhere costs the discriminator log 4, the generator ± log 2"""
    real, fake = torch.zeros(draws.whole(generator, 1, 1100)), torch.zeros(1500)
    says = "D = 1/2 everywhere must cost the discriminator log 4"
    expect.close(
        loss(student, "discriminator", real, fake), math.log(4), says, rtol=1e-5, atol=1e-5
    )
    says = "D = 1/2 everywhere must cost the generator log 2, or −log 2 if it saturates"
    expect.close(loss(student, "generator", fake), math.log(2), says, rtol=1e-5, atol=1e-5)
    saturating = loss(student, "generator", fake, saturating=True)
    expect.close(saturating, -math.log(2), says, rtol=1e-5, atol=1e-5)


@forward(weight=2)
def test_logits_of_100(student, generator):
    """correct: finite for logits of ±100, where −log D is |ℓ| or as good as 0"""
    right, wrong = torch.full((7,), 100.0), torch.full((1030,), -100.0)
    expect.close(loss(student, "discriminator", right, wrong), 0.0, "sure and right costs nothing")
    says = "sure and wrong costs what the logits are, 100 + 100"
    expect.close(loss(student, "discriminator", wrong, right), 200.0, says, rtol=1e-6, atol=1e-6)
    x = 200 * torch.rand(500, generator=generator) - 100
    D(student).correct(x, x[:40].sort().values, says="the loss is wrong for logits up to ±100")


@forward
def test_logits_of_any_size(student, generator):
    """correct: a logit of −1000 costs 1000, one of −60000 costs 60000, in float16 too"""
    for size in (150.0, 1000.0, 60000.0):
        size += 32 * draws.whole(generator, 0, 9)
        for dtype in DTYPES:
            wrong = torch.full((33,), -size).to(dtype)
            cost, says = -float(wrong[0]), f"logits of {-size:g} must cost {size:g}"
            expect.close(loss(student, "generator", wrong), cost, says, rtol=1e-6, atol=0)
            got = loss(student, "generator", -wrong, saturating=True)
            expect.close(got, -cost, says, rtol=1e-6, atol=0)
            got = loss(student, "generator", -wrong)
            expect.close(got, 0.0, f"logits of {size:g} must cost nothing", atol=1e-30, rtol=0)


@forward
def test_each_loss_to_its_last_digits(student, generator):
    """correct: log(1 + exp(y)) is exact for every y, where it is small and where it is large"""
    parts = torch.linspace(-80, 40, 97), torch.linspace(10.1, 11, 10)  # softplus(11) is not 11 yet
    y = torch.cat([*parts, torch.randn(21, generator=generator)])
    partials, says = torch.zeros(len(y)), "log(1 + exp(y)) is not exact to six digits"
    for sign in (1.0, -1.0):
        for k in range(0, len(y), 32):  # a program for each logit: 16 of the same kind, a block
            some = y[k : k + 32]
            args = [sign * some.repeat_interleave(16), partials[: len(some)], sign, 1 / 16]
            args, name = [*args, 16 * len(some)], "kernels.gan_losses.kernel"
            came = left(student, name, [len(some)], args, {"BLOCK": 16}, says)[1]
            want = F.softplus(some.double(), threshold=100)
            expect.close(came, want, says, rtol=2e-6, atol=0)


@forward
def test_small_losses(student, generator):
    """correct: a loss far below the last place of 1 is not rounded away"""
    for y in (6.0, 12.0, 18.0, 30.0, 50.0, 75.0):
        y += float(torch.randint(0, 8, (1,), generator=generator)) / 8
        got = loss(student, "generator", torch.full((5,), y))
        says = f"logits of {y} must cost log(1 + exp(−{y})), to five digits"
        expect.close(got, math.log1p(math.exp(-y)), says, atol=0, rtol=1e-5)


@forward(weight=2)
def test_the_losses_belong_together(student, generator):
    """correct: −log D + log (1 − D) = −ℓ, and exchanging real and fake turns the signs"""
    x, y = logits(generator, 1300), logits(generator, draws.whole(generator, 20, 900))
    total = loss(student, "generator", x) + loss(student, "generator", x, saturating=True)
    says = "both losses of the generator must add up to minus the mean logit"
    expect.close(total, -x.double().mean(), says, atol=1e-5, rtol=1e-5)
    one, other = loss(student, "discriminator", x, y), loss(student, "discriminator", -y, -x)
    expect.close(one, other, "exchanging real and fake, and all signs, must change nothing")
    alone = loss(student, "generator", x) + loss(student, "generator", -y)
    expect.close(one, alone, "the discriminator's loss must be the sum of its two means")


@forward(weight=2)
def test_partial_sums(student, generator):
    """correct: each program leaves the weighted sum over its own block, for any BLOCK"""
    n, weight = draws.whole(generator, 300, 500), 0.25 * draws.whole(generator, 1, 9)
    x, kernel = logits(generator, n), student.function("kernels.gan_losses.kernel")
    for size, sign in ((16, 1.0), (128, -1.0), (2048, 1.0)):
        programs = -(-n // size)
        args = [x, torch.full((programs,), float("nan")), sign, weight, n]
        observe = student.instruments.observe
        came = observe.launch(kernel, [programs], args, {"BLOCK": size})
        terms = F.pad(-F.logsigmoid(-sign * x.double()), (0, programs * size - n))
        want = weight * terms.reshape(programs, size).sum(1)
        says = f"with BLOCK = {size} a partial sum is not that of its own block"
        expect.close(came["args"][1], want, says, rtol=1e-5, atol=1e-5, what="partials")


@forward
def test_programs_have_their_own_sums(student, generator):
    """correct: program i leaves the sum over block i in place i and nothing else, for any BLOCK"""
    n = draws.whole(generator, 100, 190)
    x, name = logits(generator, n), "kernels.gan_losses.kernel"
    for block in (16, 64):
        last = -(-n // block) - 1
        mine, before = [draws.whole(generator, 1, last + 1), last], torch.full((last + 1,), 7.0)
        says = f"with BLOCK = {block} program i does not do block i"
        args, where = [x, before, -1.0, 0.5, n], {"programs": [[i] for i in sorted({*mine})]}
        came = left(student, name, [last + 1], args, {"BLOCK": block}, says, **where)[1]
        terms = F.pad(F.softplus(-x.double()), (0, (last + 1) * block - n)).reshape(-1, block)
        want = alone(terms.sum(1) / 2, before, 1, mine)
        expect.close(came, want, says, rtol=1e-5, atol=1e-5, what="partials")


@forward
def test_every_dtype(student, generator):
    """correct: logits in float32, float16 and bfloat16, the sum always in float32"""
    for dtype in DTYPES:
        real, fake = (logits(generator, n, dtype=dtype) for n in (1500, 700))
        D(student).correct(real, fake)
        G(student).correct(real, saturating=True)


@forward
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded logits too"""
    for layout in ("strided", "transposed", "expanded"):
        real, fake = logits(generator, 3, 20, 30), logits(generator, 4, 7)
        D(student).correct(real, fake, layout=layout)


@forward(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    real, fake = (logits(generator, draws.whole(generator, 1100, 2000)) for _ in range(2))
    D(student).safe(real, fake)


@forward
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    one, other = ((logits(generator, 1500), logits(generator, 1200)) for _ in range(2))
    D(student).honest(one, other)


@forward
def test_lean(student, generator):
    """lean: each logit is read once"""
    D(student).lean(POINTWISE, logits(generator, 3000), logits(generator, 1700))


@forward
def test_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    D(student).compiles([logits(generator, 1500)] * 2, [torch.zeros(1 << 16)] * 2)


# --- gan_losses.backward_kernel -----------------------------------------------------------------


@backward(weight=3)
def test_every_size_of_gradient(student, generator):
    """backward: the gradients of 1, 7, 1023, 1024, 1025 and some thousand logits"""
    for n in (*SIZES, draws.whole(generator, 2000, 4000)):
        D(student).backward(
            logits(generator, n), logits(generator, draws.whole(generator, 1, 1100))
        )


@backward(weight=2)
def test_the_derivative_is_a_sigmoid(student, generator):
    """backward: (D − 1)/n for real logits, D/n for fake ones, ∓1/(2n) where D is 1/2"""
    real, fake = logits(generator, 1100), logits(generator, draws.whole(generator, 20, 600))
    of_real, of_fake = gradients(student, "discriminator", real, fake)
    scale = {"atol": 0, "rtol": 1e-5}  # tiny ones are held to their own size
    want = -torch.sigmoid(-real.double()) / 1100
    expect.close(of_real, want, "the gradient of a real logit must be (D − 1)/n", **scale)
    want = torch.sigmoid(fake.double()) / len(fake)
    expect.close(of_fake, want, "the gradient of a fake logit must be D/n", **scale)
    of_real, of_fake = gradients(student, "discriminator", torch.zeros(9), torch.zeros(70))
    says = "where D = 1/2 the gradients must be −1/(2n) and 1/(2n)"
    expect.close(of_real, torch.full((9,), -1 / 18), says, **scale)
    expect.close(of_fake, torch.full((70,), 1 / 140), says, **scale)


@backward(weight=2)
def test_gradients_at_100(student, generator):
    """backward: finite for logits of ±100, −1/n or as good as 0"""
    sure = torch.tensor([100.0, -100.0, 60.0, -60.0])
    of_real, of_fake = gradients(student, "discriminator", sure, sure)
    says = "at ±100 a gradient must be ±1/n, or as good as 0"
    right = torch.tensor([0.0, 1.0, 0.0, 1.0]) / 4
    expect.close(of_real, -right, says, atol=1e-9, rtol=1e-6)
    expect.close(of_fake, 0.25 - right, says, atol=1e-9, rtol=1e-6)
    x = 200 * torch.rand(500, generator=generator) - 100
    D(student).backward(x, x[:40].sort().values, says="a gradient is wrong for logits up to ±100")


@backward(weight=2)
def test_what_vanishes_and_what_does_not(student, generator):
    """backward: where D is small the saturating gradient is −D/n, the other one −1/n; both add up
    to −1/n everywhere"""
    y = 20 + 10 * torch.rand(33, generator=generator)
    (vanishing,) = gradients(student, "generator", -y, saturating=True)
    says = "where D is small the saturating gradient must be −D/n, to all its digits"
    expect.close(vanishing, -torch.sigmoid(-y.double()) / 33, says, atol=0, rtol=1e-5)
    (strong,) = gradients(student, "generator", -y)
    says = "where D is small the gradient of −log D must be −1/n"
    expect.close(strong, torch.full((33,), -1 / 33), says, atol=1e-8, rtol=1e-6)
    x = logits(generator, 1200)
    both = (gradients(student, "generator", x, saturating=s)[0] for s in (False, True))
    says = "both gradients of the generator must add up to −1/n"
    expect.close(sum(both), torch.full((1200,), -1 / 1200), says, atol=0, rtol=1e-5)


@backward
def test_gradients_of_any_logit(student, generator):
    """backward: to all digits for logits from −80 to 80, and −1/n or 0 at ±1000 and ±60000"""
    x = torch.cat([torch.linspace(-80, 80, 97), torch.randn(30, generator=generator)])
    for sign, saturating in ((-1, False), (1, True)):
        (got,) = gradients(student, "generator", x, saturating=saturating)
        want = -torch.sigmoid(sign * x.double()) / len(x)
        expect.close(got, want, "a gradient is not exact to five digits", atol=0, rtol=1e-5)
    for dtype in DTYPES:
        far = torch.tensor([150.0, -150.0, 1000.0, -1000.0, 60000.0, -60000.0]).to(dtype)
        (got,) = gradients(student, "generator", far)
        want = torch.tensor([0.0, -1 / 6] * 3)
        says = "at ±1000 and beyond a gradient must be −1/n or 0"
        expect.close(got, want, says, atol=1e-30, rtol=5e-3 if dtype.itemsize < 4 else 1e-6)


@backward
def test_rounded_once(student, generator):
    """backward: numbers that float16 does not hold are in between, where upstream is large"""
    x, sent = (
        -8 - 4 * torch.rand(300, generator=generator),
        float(2 ** draws.whole(generator, 20, 22)),
    )
    for dtype in DTYPES:
        logits = x.to(dtype)
        (got,) = gradients(student, "generator", logits, saturating=True, upstream=sent)
        want = (-sent / 300 * torch.sigmoid(logits.double())).to(dtype)
        says = "a gradient is rounded before it is stored: sigmoid / n alone is too small"
        rough = 2 * torch.finfo(dtype).eps
        expect.close(got, want, says, atol=1e-7, rtol=rough if dtype.itemsize < 4 else 1e-6)
        fine = 1 + draws.whole(generator, 1, 999) / 2048**2
        (got,) = gradients(student, "generator", logits.float(), saturating=True, upstream=fine)
        want = -fine / 300 * torch.sigmoid(logits.double())
        expect.close(got, want, "all digits of upstream count", atol=0, rtol=1e-6)


@backward
def test_programs_have_their_own_blocks(student, generator):
    """backward: program i writes block i of the gradient and nothing else, for any BLOCK"""
    n = draws.whole(generator, 100, 190)
    x, before = logits(generator, n), torch.full((n,), 7.0)
    for block in (16, 64, 2048):
        last = -(-n // block) - 1
        mine = [*{draws.whole(generator, 1, last + 1), last}] if last else [0]
        args = [x, torch.tensor(2.0), before, -1.0, -0.5, n]
        says = f"with BLOCK = {block} program i does not do block i"
        name, where = "kernels.gan_losses.backward_kernel", {"programs": [[i] for i in mine]}
        came = left(student, name, [last + 1], args, {"BLOCK": block}, says, **where)[2]
        expect.close(came, alone(torch.sigmoid(-x), before, block, mine), says)


@backward(weight=2)
def test_upstream(student, generator):
    """backward: the gradient of the loss scales all of them, and 0 stops them"""
    real, fake = logits(generator, 1100), logits(generator, 40)
    ones = gradients(student, "discriminator", real, fake)
    scale = 1 + 4 * float(torch.rand(1, generator=generator))
    for upstream in (-scale, 0.0, 1e-4, 1e6):
        scaled = gradients(student, "discriminator", real, fake, upstream=upstream)
        for one, other in zip(ones, scaled, strict=True):
            says = f"with {upstream:g} as the gradient of the loss they must scale by it"
            expect.close(other, upstream * one.double(), says, atol=1e-12, rtol=1e-5)
    D(student).backward(real, fake, upstream=lambda loss: torch.full_like(loss, -scale))


@backward(weight=2)
def test_blocks_of_another_size(student, generator):
    """backward: with any BLOCK, weight and sign, each program writes its own block"""
    n, weight = draws.whole(generator, 300, 500), 0.25 * draws.whole(generator, 1, 9)
    x, kernel = logits(generator, n), student.function("kernels.gan_losses.backward_kernel")
    for size, sign in ((64, 1.0), (128, -1.0), (2048, 1.0)):
        args = [x, torch.tensor(-1.5), torch.full((n,), float("nan")), sign, weight, n]
        observe = student.instruments.observe
        came = observe.launch(kernel, [-(-n // size)], args, {"BLOCK": size})
        want = -1.5 * weight * sign * torch.sigmoid(sign * x.double())
        says = f"with BLOCK = {size} a gradient is not upstream · weight · sign · sigmoid(sign · ℓ)"
        expect.close(came["args"][2], want, says, atol=0, rtol=1e-5, what="gradient")


@backward
def test_every_dtype_of_gradient(student, generator):
    """backward: in float32, float16 and bfloat16, as exact as torch"""
    for dtype in DTYPES:
        real, fake = (logits(generator, n, dtype=dtype) for n in (1500, 700))
        D(student).backward(real, fake, upstream=lambda loss: torch.full_like(loss, 50.0))
        G(student).backward(fake, saturating=True)


@backward
def test_any_layout_of_gradient(student, generator):
    """backward: for strided, transposed and expanded logits too"""
    for layout in ("strided", "transposed", "expanded"):
        real, fake = logits(generator, 3, 20, 30), logits(generator, 4, 7)
        D(student).backward(real, fake, layout=layout)


@backward(weight=2)
def test_gradient_is_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    real, fake = (logits(generator, draws.whole(generator, 1100, 2000)) for _ in range(2))
    D(student).safe(real, fake, gradient=True)


@backward
def test_gradient_is_honest(student, generator):
    """honest: the kernels do the work, all of it, every time"""
    one, other = ((logits(generator, 1500), logits(generator, 1200)) for _ in range(2))
    D(student).honest(one, other, gradient=True)


@backward
def test_gradient_is_lean(student, generator):
    """lean: forward each logit is read once; backward read once more, and its gradient written"""
    fake = logits(generator, 3000)
    G(student).lean(POINTWISE, fake, least=3 * nbytes([fake]), gradient=True)


@backward
def test_gradient_compiles(student, generator):
    """compiles: for an H100, with loads and stores of 128 bits and without spills"""
    G(student).compiles([logits(generator, 1500)], [torch.zeros(1 << 16)], gradient=True)
