"""What each kernel is given, and the least that it must move or compute."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

SIZES = {torch.float32: 4, torch.float16: 2, torch.bfloat16: 2}


class Draw:
    """Random tensors of one dtype on one device: `draw(2, 3)` is a normal one of that shape.

    Args:
        filled: whether there is anything in them.
    """

    def __init__(self, dtype, device, seed=0, filled=True):
        self.dtype, self.device, self.filled = dtype, device, filled
        self.generator = torch.Generator(device).manual_seed(seed)

    def __call__(self, *shape):
        x = torch.empty(shape, dtype=self.dtype, device=self.device)
        return x.normal_(generator=self.generator) if self.filled else x

    def levels(self, n):
        """n levels of time, in fp32."""
        return torch.rand(n, generator=self.generator, device=self.device)

    def angles(self, length, size):
        """cos and sin of what tokens turn pairs of numbers by, (length, size / 2), in fp32."""
        i = torch.arange(size // 2, device=self.device)
        turn = torch.arange(length, device=self.device)[:, None] * 10000 ** (-2 * i / size)
        return turn.cos(), turn.sin()

    def said(self, batch, length):
        """Which tokens of texts are words: all but the last quarter."""
        words = torch.arange(length, device=self.device) < length - length // 4
        return words.expand(batch, length).contiguous()


@dataclass(frozen=True)
class Case:
    """One kernel at work.

    Attributes:
        name: its file in `cs231n_gen/kernels`.
        inputs: makes the wrapper's arguments, from a `Draw` and a size by keywords.
        large: the size at which it is timed, beyond every cache.
        work: for each phase ("forward", "backward", "both") what it must do at least for a unit:
            numbers to move, or, of a case of `flops`, operations.
        units: how many of these a size has; its product, the elements of a tensor, if not given.
        gradients: the places of the arguments that get one; of a tuple each of its tensors does.
        function: the wrapper, if it is not called like the file.
        flops: whether it is bound by arithmetic.
    """

    name: str
    inputs: Callable
    large: Mapping[str, int]
    work: Mapping[str, int]
    units: Callable = lambda **size: math.prod(size.values())
    gradients: tuple[int, ...] = ()
    function: str = ""
    flops: bool = False

    def __post_init__(self):
        object.__setattr__(self, "function", self.function or self.name)

    @property
    def title(self):
        """How it is called in a table."""
        return self.name if self.function == self.name else self.function

    def amount(self, phase, dtype):
        """What a phase does at least at the large size: its unit, and how many of these."""
        least = self.work[phase] * self.units(**self.large)
        return ("FLOP/s", least) if self.flops else ("bytes/s", least * SIZES[dtype])


def over(function, value):
    """A function of tensors, of each of those in a value; the rest stays as it is."""
    if isinstance(value, tuple | list):
        return tuple(over(function, v) for v in value)
    return function(value) if isinstance(value, torch.Tensor) else value


def with_leaves(case, args):
    """The arguments with leaves of a new graph where there is a gradient, and these leaves."""
    leaves = []

    def leaf(x):
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    return [over(leaf, a) if i in case.gradients else a for i, a in enumerate(args)], leaves


def pixels(batch, C, side, **_):
    """The elements of images."""
    return batch * C * side**2


def pairs(batch, heads, T, D, causal):
    """The channels of pairs of a query and a key that it sees."""
    return batch * heads * D * (T * (T + 1) // 2 if causal else T * T)


def joint_pairs(batch, heads, image, text, D):
    """The same of images and texts together; padding is no key."""
    return batch * heads * D * (image + text) * (image + text - text // 4)


FLAT = {"batch": 64, "n": 1 << 20}
TOKENS = {"batch": 64, "T": 1024, "D": 1152}
IMAGES = {"batch": 64, "C": 256, "side": 64}
HEADS = {"batch": 4, "heads": 16, "T": 4096, "D": 64}

CASES = (
    Case(
        "axpy",
        lambda draw, batch, n: (draw(batch, n), draw(batch, n), 0.5),
        FLAT,
        {"forward": 3},
    ),
    Case(
        "guided_step",
        lambda draw, batch, n: (*(draw(batch, n) for _ in range(3)), 2.0, 0.02),
        FLAT,
        {"forward": 4},
    ),
    Case(
        "noising",
        lambda draw, batch, n: (draw(batch, n), draw(batch, n), draw.levels(batch)),
        FLAT,
        {"forward": 4},
    ),
    Case(
        "noising",
        lambda draw, batch, n: (draw(batch, n), draw.levels(batch), 7),
        FLAT,
        {"forward": 3},
        function="noising_with_noise",
    ),
    Case(
        "gan_losses",
        lambda draw, batch, n: (draw(batch, n), draw(batch, n)),
        FLAT,
        {"forward": 2, "backward": 4},
        gradients=(0, 1),
        function="discriminator_loss",
    ),
    Case(
        "gan_losses",
        lambda draw, batch, n: (draw(batch, n),),
        FLAT,
        {"forward": 1, "backward": 2},
        gradients=(0,),
        function="generator_loss",
    ),
    Case(
        "patchify",
        lambda draw, batch, C, side, patch: (draw(batch, C, side, side), patch),
        {"batch": 64, "C": 16, "side": 256, "patch": 2},
        {"forward": 2, "backward": 2},
        pixels,
        gradients=(0,),
    ),
    Case(
        "velocity_mse",
        lambda draw, batch, n: (draw(batch, n), draw(batch, n)),
        FLAT,
        {"both": 3},
        gradients=(0,),
    ),
    Case(
        "adaln",
        lambda draw, batch, T, D: (draw(batch, T, D), draw(batch, D), draw(batch, D)),
        TOKENS,
        {"forward": 2, "backward": 3},
        gradients=(0, 1, 2),
    ),
    Case(
        "gated_residual",
        lambda draw, batch, T, D: (draw(batch, T, D), draw(batch, D), draw(batch, T, D)),
        TOKENS,
        {"forward": 3, "backward": 3},
        gradients=(0, 1, 2),
    ),
    Case(
        "adain",
        lambda draw, batch, C, side: (draw(batch, C, side, side), draw(batch, C), draw(batch, C)),
        IMAGES,
        {"forward": 2, "backward": 3},
        pixels,
        gradients=(0, 1, 2),
    ),
    Case(
        "group_norm_silu",
        lambda draw, batch, C, side, groups: (
            draw(batch, C, side, side),
            groups,
            draw(C),
            draw(C),
        ),
        {**IMAGES, "groups": 32},
        {"forward": 2, "backward": 3},
        pixels,
        gradients=(0, 2, 3),
    ),
    Case(
        "qk_norm_rope",
        lambda draw, batch, heads, T, D: (
            *(
                draw(batch, T, heads, D).transpose(1, 2) for _ in "qk"
            ),  # as a linear layer leaves it
            draw(D),
            draw(D),
            *draw.angles(T, D),
        ),
        HEADS,
        {"forward": 4, "backward": 6},
        gradients=(0, 1, 2, 3),
    ),
    Case(
        "nearest_code",
        lambda draw, N, K, D: (draw(N, D), draw(K, D)),
        {"N": 1 << 20, "K": 1024, "D": 64},
        {"forward": 2},
        flops=True,
    ),
    Case(
        "attention",
        lambda draw, batch, heads, T, D, causal: (
            *(draw(batch, heads, T, D) for _ in "qkv"),
            bool(causal),
        ),
        {**HEADS, "causal": 0},
        {"forward": 4, "backward": 10},
        pairs,
        gradients=(0, 1, 2),
        flops=True,
    ),
    Case(
        "joint_attention",
        lambda draw, batch, heads, image, text, D: (
            tuple(draw(batch, heads, image, D) for _ in "qkv"),
            tuple(draw(batch, heads, text, D) for _ in "qkv"),
            draw.said(batch, text),
        ),
        {"batch": 4, "heads": 16, "image": 4096, "text": 512, "D": 64},
        {"forward": 4, "backward": 10},
        joint_pairs,
        gradients=(0, 1),
        flops=True,
    ),
)
