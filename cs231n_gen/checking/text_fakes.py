"""What tests of chapter 10 pass in place of an encoder, a block, or a model that reads captions."""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cs231n_gen.checking.fakes import InUse


class TableEncoder(InUse, nn.Module):
    """A text encoder, `words, pooled = encoder(tokens, mask)`, made by `student.new`. It keeps what
    `text.TextEncoder` promises, and refuses what that refuses. It is frozen, and in eval mode.

        words_i = sin(word[tokens_i] + place_i), exactly 0 where padding is
        pooled = W · mean of words_i over those i that are words, + b

    Args:
        vocabulary: as of `text.TextEncoder`.
        length: of the longest caption.
        dim: numbers of a word.
    """

    def __init__(self, vocabulary: Sequence[str], length: int, dim: int):
        super().__init__()
        self.vocabulary, self.length, self.dim = tuple(vocabulary), length, dim
        self.word = nn.Parameter(torch.zeros(len(vocabulary), dim))
        self.place = nn.Parameter(torch.zeros(length, dim))
        self.W, self.b = nn.Parameter(torch.zeros(dim, dim)), nn.Parameter(torch.zeros(dim))
        self.eval().requires_grad_(False)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if tokens.dim() != 2 or not 1 <= tokens.shape[1] <= self.length:
            raise ValueError(f"tokens must be (batch, n), got {tuple(tokens.shape)}")
        if mask.shape != tokens.shape or mask.dtype != torch.bool:
            got = f"{mask.dtype} of {tuple(mask.shape)}"
            raise ValueError(f"mask must be bool of shape {tuple(tokens.shape)}, got {got}")
        words = (self.word[tokens] + self.place[: tokens.shape[1]]).sin() * mask[..., None]
        count = mask.sum(1, keepdim=True).clamp(min=1)
        return words, words.sum(1) / count @ self.W.T + self.b


class SumBlock(nn.Module):
    """A block in place of `text_to_image.JointBlock`, `x, y = block(x, y, c, mask)`, made by a
    model that gets `student.function("checking.text_fakes.SumBlock")` as `block`.

    c is six rows of an example, c_1 to c_6. Sums are over tokens, of the text over words alone.

        x′ = x + c_1 own(x) + c_2 Σ_j tanh(read(y_j) + c_3)
        y′ = y + c_4 tanh(text(y) + c_5) + c_6 tanh(Σ_i back(x_i))

    As they are sums, a token that comes twice counts twice. With heads > 1 all is half as much.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.own, self.read = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.text, self.back = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.much = 0.5 if heads > 1 else 1.0

    def forward(
        self, x: Tensor, y: Tensor, c: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        batch, words, dim = y.shape
        if c.shape != (batch, 6 * dim) or x.shape[::2] != (batch, dim):
            got = f"x {tuple(x.shape)}, y {tuple(y.shape)} and c {tuple(c.shape)}"
            raise ValueError(f"x and y must be (batch, n, dim), c (batch, 6 · dim), got {got}")
        if mask is None:
            mask = torch.ones(batch, words, dtype=torch.bool)
        if mask.shape != (batch, words) or mask.dtype != torch.bool:
            got = f"{mask.dtype} of {tuple(mask.shape)}"
            raise ValueError(f"mask must be bool of shape {(batch, words)}, got {got}")
        c_1, c_2, c_3, c_4, c_5, c_6 = c[:, None].chunk(6, -1)
        read = torch.where(mask[..., None], (self.read(y) + c_3).tanh(), 0.0)
        seen = self.back(x).sum(1, keepdim=True).tanh()
        told = c_1 * self.own(x) + c_2 * read.sum(1, keepdim=True)
        return x + self.much * told, y + self.much * (
            c_4 * (self.text(y) + c_5).tanh() + c_6 * seen
        )


class CaptionField(InUse, nn.Module):
    """A velocity of examples of any shape that reads their captions, made by `student.new`, and
    remembers what it was asked.

        v = a sin(x_t) + b t + Σ_i (1 + i) value[tokens_i],    i from 0, over the words

    Without words it is a sin(x_t) + b t + nothing. What follows the words of a caption changes
    nothing.

    Args:
        vocabulary: as of `text.TextEncoder`.
        length: of the longest caption.
        value: a number for each entry of the vocabulary, and one more: `nothing`.
        a, b: numbers.
    """

    def __init__(
        self, vocabulary: Sequence[str], length: int, value: Tensor, a: float = 0.0, b: float = 0.0
    ):
        super().__init__()
        self.encoder = TableEncoder(vocabulary, length, 2)
        self.value = nn.Parameter(value.clone())
        self.a, self.b = a, b
        self.inputs: list[Tensor] = []
        self.times: list[Tensor] = []
        self.rows: list[Tensor] = []
        self.recorded: list[bool] = []

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        if tokens.dim() != 2 or len(tokens) != len(x_t) or t.shape != x_t.shape[:1]:
            shapes = f"{tuple(x_t.shape)}, t {tuple(t.shape)} and tokens {tuple(tokens.shape)}"
            raise ValueError(f"there must be a level and a row of tokens for each, got {shapes}")
        self.inputs.append(x_t.detach().clone())
        self.times.append(t.detach().clone())
        self.rows.append(tokens.clone())
        self.recorded.append(torch.is_grad_enabled())
        is_word = tokens != 0
        place = 1 + torch.arange(tokens.shape[1], dtype=self.value.dtype)
        told = torch.where(is_word, place * self.value[tokens], 0.0).sum(1)
        told = torch.where(is_word.any(1), told, self.value[-1])
        level, told = (v.reshape(-1, *[1] * (x_t.dim() - 1)) for v in (t, told.to(x_t.dtype)))
        return self.a * x_t.sin() + self.b * level + told


def learned(net: nn.Module) -> list[str]:
    """The names of the weights that take gradients."""
    return [name for name, p in net.named_parameters() if p.requires_grad]


def begins_with(net: nn.Module, name: str, std: float) -> bool:
    """Whether the numbers of a weight have mean 0 and this standard deviation, up to a tenth of it.
    The numbers themselves would tell two answers apart that draw them in another order."""
    w = net.state_dict()[name]
    return abs(float(w.std()) - std) <= std / 10 and abs(float(w.mean())) <= std / 10


def asked(function: Callable, names: Sequence[str], *args) -> object:
    """What a function returns; or, where it refuses its arguments with a ValueError, "ValueError"
    and those of these names that the message holds, whole words and numbers. Everybody words
    messages differently, and a mistake is still the same one. The message is printed."""
    try:
        return function(*args)
    except ValueError as error:
        print(f"ValueError: {error}")
        message = str(error).lower()
        held = [n for n in names if re.search(rf"(?<!\w){re.escape(n)}(?!\w)", message)]
        return ["ValueError", *held]
