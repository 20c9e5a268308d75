"""A kernel launched by a test's own hand: with blocks that its wrapper does not use, some of its
programs alone, or on windows of tensors that are too large for any memory."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.stages import checked, in_words
from cs231n_gen.checking.student import Student


def left(
    student: Student,
    name: str,
    grid: Sequence[int],
    args: Sequence,
    constants: Mapping[str, object],
    says: str,
    **options,
) -> list[Tensor]:
    """The tensors among the arguments, as the kernel leaves them.

    Args:
        student: whose.
        name: of the kernel, `kernels.axpy.kernel`.
        grid, args, constants: of the launch.
        says: what is wrong otherwise.
        options: `programs` and `begins` of `instruments.observe.launch`.
    Raises:
        PropertyFailed: if it touches what is outside of the tensors, or programs meet.
    """
    launch, kernel = student.instruments.observe.launch, student.function(name)
    seen = launch(kernel, [*grid], [*args], {**constants}, **options)
    expect.true(isinstance(seen, dict), "the instruments were tampered with")
    seen = checked({"results": [], "gradients": [], **seen})
    expect.true(not seen["faults"], f"{says}: {in_words(seen['faults'])}")
    came = seen.get("args")
    good = isinstance(came, list | tuple) and len(came) == len(args)
    expect.true(good, "the instruments were tampered with")
    pairs = [(c, a) for c, a in zip(came, args, strict=True) if isinstance(a, Tensor)]
    return [expect.tensor(c, a.shape, "what the kernel left") for c, a in pairs]


def alone(whole: Tensor, before: Tensor, block: int, programs: Sequence[int]) -> Tensor:
    """What some programs leave along the last axis: their own blocks of the whole, and the rest as
    it was before."""
    result = before.double().clone()
    for i in programs:
        mine = slice(i * block, (i + 1) * block)
        result[..., mine] = whole[..., mine].double()
    return result
