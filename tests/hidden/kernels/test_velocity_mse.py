"""Hidden grader of chapter 14, kernels.velocity_mse: the mean square by its identities and against
float64, and as the instruments see it."""

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import alone, left
from cs231n_gen.checking.kernels.stages import DTYPES, POINTWISE, SIZES, Exact, Stages, checked

velocity_mse = pytest.mark.exercise("kernels.velocity_mse.kernel")


def reference(prediction, v):
    wide = torch.promote_types(prediction.dtype, torch.float32)
    return (prediction.to(wide) - v.to(wide)).square().mean()


# Of bfloat16 the gradient is kept in its dtype, and multiplied by upstream: it is rounded twice.
TWICE = {"prediction": 2}


def on(student, n):
    # Of the loss: besides n additions, 1/n and the product with it are rounded, 2 levels more. Of
    # the gradient: 1/n, the difference, their product, and that with the upstream gradient are.
    exact = Exact(reference, wrt=(0,), sums={0: 4 * n, "prediction": 4}, stores=TWICE)
    return Stages(student, "kernels.velocity_mse.velocity_mse", exact)


def pair(generator, shape, dtype=torch.float32):
    return [torch.randn(shape, generator=generator).to(dtype) for _ in range(2)]


def loss_and_gradient(student, prediction, v):
    """In float64, once they are seen to be finite."""
    wrapper = student.function("kernels.velocity_mse.velocity_mse")
    seen = checked(student.instruments.observe.call(wrapper, [prediction, v], wrt=[0]))
    expect.true(len(seen["results"]) == 1, "one number must come", len(seen["results"]), 1)
    expect.true(len(seen["gradients"]) == 1, "gradients are missing", len(seen["gradients"]), 1)
    loss = expect.tensor(seen["results"][0], (), "the loss").double()
    return loss, expect.tensor(seen["gradients"][0], v.shape, "the gradient").double()


@velocity_mse(weight=2)
def test_every_size(student, generator):
    """correct: the mean square for 1, 7, 1023, 1024, 1025 and some thousand elements"""
    for n in (*SIZES, draws.whole(generator, 2000, 5000)):
        on(student, n).correct(*pair(generator, n))


@velocity_mse(weight=2)
def test_a_constant_error(student, generator):
    """correct: an error of c everywhere costs c², whatever n is, and no error nothing"""
    n = draws.whole(generator, 1100, 3000)
    v = torch.randint(-50, 50, (n,), generator=generator) / 8
    for c in (0.0, 3.0, -0.5):
        loss, gradient = loss_and_gradient(student, v + c, v)
        expect.close(loss, c * c, f"an error of {c} everywhere", rtol=1e-6, atol=0)
        expect.close(
            gradient,
            torch.full((n,), 2 * c / n),
            f"the slope of an error of {c}",
            rtol=1e-6,
            atol=0,
        )


@velocity_mse
def test_variance_and_bias(student, generator):
    """correct: a constant prediction a costs the variance of v and (a − its mean)²"""
    n, a = draws.whole(generator, 1100, 3000), 1 + float(torch.rand(1, generator=generator))
    v = torch.randn(n, generator=generator) - 1
    prediction = torch.full((n,), a)
    loss, _ = loss_and_gradient(student, prediction, v)
    wide = v.double()
    want = wide.var(correction=0) + (prediction[0].double() - wide.mean()) ** 2
    expect.close(loss, want, "the loss is not variance + bias²", rtol=1e-5, atol=0)


@velocity_mse
def test_exchanged_and_doubled(student, generator):
    """correct: prediction and v exchanged cost the same, and 4 times as much if both are doubled"""
    prediction, v = pair(generator, draws.whole(generator, 1100, 3000))
    loss, gradient = loss_and_gradient(student, prediction, v)
    other, turned = loss_and_gradient(student, v, prediction)
    expect.close(
        other, loss, "prediction and v exchanged cost something else", rtol=1e-6, atol=1e-6
    )
    says = "the gradient does not turn round with the error"
    expect.close(turned, -gradient, says, rtol=1e-6, atol=1e-8)
    four, twice = loss_and_gradient(student, 2 * prediction, 2 * v)
    expect.close(
        four, 4 * loss, "twice the error does not cost 4 times as much", rtol=1e-6, atol=1e-6
    )
    says = "twice the error has not twice the gradient"
    expect.close(twice, 2 * gradient, says, rtol=1e-6, atol=1e-8)


@velocity_mse
def test_large_numbers_that_are_nearly_equal(student, generator):
    """correct: digits are not lost where prediction and v are large and nearly equal"""
    n = draws.whole(generator, 300, 1500)
    on(student, n).correct(*(1000 + x for x in pair(generator, n)))


@velocity_mse
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16, the loss in float32"""
    for dtype in DTYPES:
        on(student, 1500).correct(*pair(generator, 1500, dtype))


@velocity_mse
def test_squares_beyond_half_precision(student, generator):
    """correct: where squares are beyond float16, and differences have more digits than bfloat16"""
    prediction, v = pair(generator, 1500)
    on(student, 1500).correct((100 * prediction).half(), (400 + v).half())
    prediction = 129 + 4 * torch.randint(0, 20, (1500,), generator=generator)
    v = torch.full((1500,), -128)  # 257, 261, … away: always rounded down
    on(student, 1500).correct(prediction.bfloat16(), v.bfloat16())


@velocity_mse
@pytest.mark.parametrize("layout", ["strided", "transposed", "expanded"])
def test_any_layout(student, generator, layout):
    """correct: for strided, transposed and expanded tensors too, and their gradient"""
    on(student, 1800).backward(*pair(generator, (3, 20, 30)), layout=layout)
    on(student, 1800).correct(*pair(generator, (3, 20, 30)), layout=layout)


@velocity_mse
def test_blocks_of_another_size(student, generator):
    """correct: partials[i] is the sum over block i, for any size of a block and any weight"""
    n, weight = draws.whole(generator, 600, 900), 0.75
    prediction, v = pair(generator, n)
    off = prediction.double() - v.double()
    for block, wanted in ((16, True), (128, True), (256, False)):
        grid = -(-n // block)
        given = [prediction, v, torch.zeros(grid), torch.full((n,), 7.0), weight, n]
        kernel = student.function("kernels.velocity_mse.kernel")
        constants = {"WANTED": wanted, "BLOCK": block}
        seen = student.instruments.observe.launch(kernel, [grid], given, constants)
        args = seen.get("args") if isinstance(seen, dict) else None
        good = isinstance(args, list | tuple) and len(args) == len(given)
        expect.true(good, "the instruments were tampered with")
        sums = torch.stack([part.square().sum() for part in off.split(block)])
        says = f"with blocks of {block} and weight {weight}"
        expect.close(args[2], weight * sums, f"{says} partials are wrong", rtol=1e-5, atol=1e-5)
        want = 2 * weight * off if wanted else given[3]
        expect.close(args[3], want, f"{says} the gradient is wrong", rtol=1e-5, atol=1e-5)


def by_hand(student, prediction, v, weight, block, says, wanted=True, wide=False, **options):
    """The partial sums and the gradient that the kernel leaves, 7 where it writes nothing."""
    n = len(prediction)
    grid, gradient = -(-n // block), torch.full((n,), 7.0)
    given = [prediction, v, torch.full((grid,), 7.0)]
    given += [gradient if wide else gradient.to(v.dtype), weight, n]
    constants = {"WANTED": wanted, "BLOCK": block}
    name = "kernels.velocity_mse.kernel"
    return left(student, name, [grid], given, constants, says, **options)[2:]


@velocity_mse(weight=2)
def test_each_program_has_its_own_block(student, generator):
    """correct: program i writes partials[i] and block i of the gradient, nothing else"""
    n = draws.whole(generator, 100, 190)
    prediction, v = pair(generator, n)
    off = prediction.double() - v.double()
    for block in (16, 64, 2048):
        last = -(-n // block) - 1
        mine = [draws.whole(generator, 0, last), last] if last else [0]
        says = f"with BLOCK = {block} program i does not do block i"
        where = {"programs": [[i] for i in mine]}
        sums, gradient = by_hand(student, prediction, v, 0.5, block, says, **where)
        whole = torch.stack([part.square().sum() / 2 for part in off.split(block)])
        expect.close(sums, alone(whole, torch.full((last + 1,), 7.0), 1, mine), says)
        expect.close(gradient, alone(off, torch.full((n,), 7.0), block, mine), says)


@velocity_mse
def test_errors_of_any_size(student, generator):
    """correct: large and small errors count alike, to all their digits"""
    n, block, weight = 320, 16, 1 + draws.whole(generator, 1, 4096) / 2**14
    size = torch.logspace(-12, 12, n // block).repeat_interleave(block)
    prediction, v = (size * k for k in pair(generator, n))
    off = prediction.double() - v.double()
    says = "an error is clipped or rounded, or a small one is dropped"
    sums, gradient = by_hand(student, prediction, v, weight, block, says)
    want = torch.stack([weight * part.square().sum() for part in off.split(block)])
    expect.close(sums, want, f"{says}: the partial sums", rtol=1e-5, atol=0)
    expect.close(gradient, 2 * weight * off, f"{says}: the gradient", rtol=1e-6, atol=0)


@velocity_mse
def test_the_gradient_is_rounded_once(student, generator):
    """backward: in half precision differences keep their digits until the gradient is stored"""
    more = 2 * torch.randint(0, 60, (64,), generator=generator)
    prediction, v = (129 + more).bfloat16(), torch.full((64,), -128).bfloat16()  # odd differences
    want = (1.5 * (prediction.float() - v.float())).bfloat16()  # exact until it is rounded
    says = "the gradient is rounded before it is stored"
    _, gradient = by_hand(student, prediction, v, 0.75, 16, says)
    expect.close(gradient, want, says, rtol=0, atol=0)
    prediction, v = pair(generator, 64, torch.float16)
    want = 2e-6 * (prediction.double() - v.double())
    _, gradient = by_hand(student, prediction, v, 1e-6, 16, says, wide=True)
    expect.close(gradient, want, says, rtol=1e-6, atol=0)


@velocity_mse(weight=3)
def test_gradients_of_every_size(student, generator):
    """backward: 2 (prediction − v) / n for 1, 7, 1023, 1024, 1025 and some thousand elements"""
    for n in (*SIZES, draws.whole(generator, 2000, 4000)):
        on(student, n).backward(*pair(generator, n))


@velocity_mse
def test_eulers_identity(student, generator):
    """backward: the gradient times the error is twice the loss, for the loss is of degree 2"""
    prediction, v = pair(generator, draws.whole(generator, 1100, 3000))
    loss, gradient = loss_and_gradient(student, prediction, v)
    along = (gradient * (prediction.double() - v.double())).sum()
    expect.true(float(loss) > 0, "the loss of random numbers must be positive", loss)
    expect.close(
        along, 2 * loss, "the gradient and the loss do not belong together", rtol=1e-5, atol=1e-5
    )


@velocity_mse(weight=2)
def test_gradients_of_every_dtype(student, generator):
    """backward: in float32, float16 and bfloat16, for any gradient of the loss"""
    for dtype in DTYPES:
        scale = 1 + 2 * float(torch.rand(1, generator=generator))
        given = pair(generator, 1500, dtype)
        on(student, 1500).backward(*given, upstream=lambda like, s=scale: s * torch.ones_like(like))


@velocity_mse
def test_a_loss_scale_rescues_small_gradients(student, generator):
    """backward: gradients too small for float16 survive until a loss scale makes them larger"""
    prediction, v = (x.half() for x in (1e-3 * y for y in pair(generator, 3000)))
    on(student, 3000).backward(prediction, v, upstream=lambda like: 1e5 * torch.ones_like(like))


@velocity_mse(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    n = draws.whole(generator, 1100, 2000)
    on(student, n).safe(*pair(generator, n), gradient=True)


@velocity_mse
def test_safe_where_no_gradient_is_wanted(student, generator):
    """safe: no gradient is written where none is wanted"""
    n = draws.whole(generator, 1100, 2000)
    on(student, n).safe(*pair(generator, n))


@velocity_mse
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    first, second = pair(generator, 1500), pair(generator, 1500)
    on(student, 1500).honest(first, second, gradient=True)


@velocity_mse
def test_lean(student, generator):
    """lean: prediction and v are read once, the gradient is written meanwhile, 3 numbers in all"""
    given = pair(generator, 3000)
    on(student, 3000).lean(POINTWISE, *given, gradient=True, least=3 * 3000 * 4)
    on(student, 3000).lean(POINTWISE, *given)


@velocity_mse
def test_compiles(student, generator):
    """compiles: for an H100, with loads and stores of 128 bits and without spills"""
    on(student, 1500).compiles(pair(generator, 1500), pair(generator, 1 << 16), gradient=True)
