"""The run of chapter 10 that makes an encoder of texts: captions find their pictures. Given.

A text encoder and a small network of pictures learn together, contrastively (`text.similarity`,
`text.contrastive_loss`): the caption of a picture shall be nearer to it than those of all other
pictures in a batch. The pictures' side is thrown away afterwards; the text encoder is frozen, and
tells a diffusion transformer what to draw.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen import text
from cs231n_gen.given import captions
from cs231n_gen.given.captions import Captioned, Pictures, Scenes
from cs231n_gen.given.data import data_file
from cs231n_gen.given.frozen import frozen
from cs231n_gen.given.training import History, Run

DIM, LAYERS, HEADS = 64, 1, 4  # of the shipped encoder
LOG_SCALE = math.log(1 / 0.07)  # what cosines are multiplied by at the start is CLIP's
FILE = "words.safetensors"
AT_ONCE = 500  # pictures or captions at a time
COLOURS = [0, 5, 2, 3, 4, 1, 6]  # the parts of a scene whose two objects exchanged colours


class PictureTower(nn.Module):
    """A vector of each picture, `u = tower(x)`: patches of 8×8 pixels that overlap by half, the
    same two layers for each, and two linear layers over all patches together.

    It knows where things are, as it never averages over places.

    Args:
        dim: numbers of a picture.
        width: numbers of a patch.
    """

    def __init__(self, dim: int = DIM, width: int = 64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 8, stride=4, padding=2),
            nn.GELU(approximate="tanh"),
            nn.Conv2d(width, width // 2, 1),
            nn.GELU(approximate="tanh"),
            nn.Flatten(),
            nn.Linear(32 * width, 2 * width),
            nn.GELU(approximate="tanh"),
            nn.Linear(2 * width, dim),
        )
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def forward(self, x: Pictures) -> Float[Tensor, "n dim"]:
        """Pictures of 32×32 pixels as vectors."""
        return self.net(x)


class CaptionPair(nn.Module):
    """A text encoder and a network of pictures that learn from each other.

    Args:
        dim: numbers of a picture, and of a caption.
        layers, heads, places: of `text.TextEncoder`.
        width: of the `PictureTower`.
    """

    def __init__(
        self,
        dim: int = DIM,
        layers: int = LAYERS,
        heads: int = HEADS,
        places: float = text.SPREAD,
        width: int = 64,
    ):
        super().__init__()
        self.text = text.TextEncoder(
            captions.WORDS, captions.LENGTH, dim, layers, heads, places=places
        )
        self.pictures = PictureTower(dim, width)
        self.log_scale = nn.Parameter(torch.tensor(LOG_SCALE))

    def scores(self, x: Pictures, said: list[str]) -> Float[Tensor, "n m"]:
        """How well pictures, in rows, fit captions, in columns."""
        tokens, mask = tokens_of(said)
        return text.similarity(self.pictures(x), self.text(tokens, mask)[1], self.log_scale)


@dataclass(frozen=True)
class Found:
    """How well captions and pictures find each other.

    caption: the share of pictures whose own caption is the best of all n.
    picture: the share of captions whose own picture is the best of all n.
    objects: the share of pictures of two objects whose caption is better than the same with its
        objects exchanged ("A left of B" against "B left of A").
    colours: the same with only the colours of the two objects exchanged.
    n: how many pictures.

    Captions that say the same of a picture count as one.
    """

    caption: float
    picture: float
    objects: float
    colours: float
    n: int

    def __str__(self) -> str:
        return (
            f"of {self.n} captions the right one in {self.caption:.1%}, of {self.n} pictures in "
            f"{self.picture:.1%}; above exchanged objects in {self.objects:.1%}, above exchanged "
            f"colours in {self.colours:.1%}"
        )


def tokens_of(said: list[str]) -> tuple[text.Tokens, text.Mask]:
    """Captions as the encoder reads them, `(tokens, mask)`."""
    return text.tokenize(said, captions.WORDS, captions.LENGTH)


def new(seed: int = 0, **options) -> CaptionPair:
    """A `CaptionPair` with weights from a seed; options are its arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CaptionPair(**options)


def recoloured(scenes: Scenes) -> Scenes:
    """The scenes with the colours of their two objects exchanged."""
    return torch.where(scenes[:, 3:4] == captions.ALONE, scenes, scenes[:, COLOURS])


def allowed(scenes: Scenes) -> Bool[Tensor, "n"]:
    """Whether no object of a scene has a combination that is held out."""
    held = torch.zeros(len(scenes), dtype=torch.bool)
    for colour, shape in captions.HELD_OUT:
        pair = torch.tensor(
            [captions.COLOURS.index(colour), captions.SHAPES.index(shape)], dtype=scenes.dtype
        )
        held |= (scenes[:, 1:3] == pair).all(1) | (scenes[:, 5:7] == pair).all(1)
    return ~held


def draw_batch(n: int, generator: torch.Generator | None = None, hard: float = 0.0) -> Captioned:
    """New pictures with their captions.

    Args:
        n: how many.
        generator: for the random draws.
        hard: the share of scenes that are made of others in the batch, by exchanging their objects
            or, half of the time, their colours: they differ from them by order alone. At most ½.
            No scene gets a combination that is held out.
    """
    scenes = captions.draw_scenes(n, generator)
    made = round(hard * n)
    if made:
        of = scenes[-made:]
        colours = recoloured(of)
        pick = (torch.rand(made, generator=generator) < 0.5) & allowed(colours)
        scenes[:made] = torch.where(pick[:, None], colours, captions.exchanged(of))
    return Captioned(captions.render(scenes, generator), captions.say(scenes), scenes)


def train(
    pair: CaptionPair,
    steps: int,
    *,
    batch: int = 128,
    lr: float = 3e-3,
    hard: float = 0.0,
    seed: int = 0,
    **options,
) -> History:
    """Train both sides by `text.contrastive_loss`, on new pictures in each step.

    Args:
        pair: trained in place; it ends with averaged weights.
        steps, batch, lr: of training.
        hard: as in `draw_batch`.
        seed: of the pictures.
        options: of `training.Run`, such as a time limit, or the floor to show.
    """
    g = torch.Generator().manual_seed(seed)
    with Run(pair, steps, lr=lr, **options) as run:
        for _ in run:
            x, said, _ = draw_batch(batch, g, hard)
            L = text.contrastive_loss(pair.scores(x, said))
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L)
    return run.history


def measure(
    pair: CaptionPair, n: int = 256, *, held_out: bool = False, seed: int = 10_000
) -> Found:
    """How well captions and pictures find each other, see `Found`.

    Args:
        pair: used as it is.
        n: how many pictures there are to choose from.
        held_out: whether each shows a combination that was held out of training.
        seed: of the pictures.
    """
    g = torch.Generator().manual_seed(seed)
    x, said, scenes = captions.draw(n, g, held_out=held_out)
    told = captions.retold(scenes)
    same = (scenes[:, None] == scenes).all(2) | (told[:, None] == scenes).all(2)
    with frozen(pair):
        u = pair.pictures(x)

        def vectors(of):
            return pair.text(*tokens_of(of))[1]

        v = vectors(said)
        s = text.similarity(u, v, 0.0)
        rows = torch.arange(n)
        right = s.diagonal()

        def above(wrong):
            other = F.cosine_similarity(u, vectors(captions.say(wrong)), dim=1)
            differs = (wrong != scenes).any(1) & (wrong != told).any(1)
            return float((right > other)[differs].double().mean())

        return Found(
            caption=float(same[rows, s.argmax(1)].double().mean()),
            picture=float(same[s.argmax(0), rows].double().mean()),
            objects=above(captions.exchanged(scenes)),
            colours=above(recoloured(scenes)),
            n=n,
        )


def encode(
    encoder: text.TextEncoder, said: list[str]
) -> tuple[text.Features, text.Rows, text.Mask]:
    """What a frozen encoder says of captions, `(words, pooled, mask)`, some at a time."""
    tokens, mask = tokens_of(said)
    with frozen(encoder):
        parts = zip(tokens.split(AT_ONCE), mask.split(AT_ONCE), strict=True)
        words, pooled = zip(*(encoder(*part) for part in parts), strict=True)
    return torch.cat(words), torch.cat(pooled), mask


def load_words() -> text.TextEncoder:
    """The text encoder that `data/train_words.py` trained, ready to use.

    Raises:
        DataError: if its weights are missing or damaged.
        RuntimeError: if they do not fit `text.TextEncoder`.
    """
    model = text.TextEncoder(captions.WORDS, captions.LENGTH, DIM, LAYERS, HEADS)
    weights = [w.float() for _, w in sorted(load_file(data_file(FILE)).items())]
    parameters = list(model.parameters())
    have, want = ([tuple(w.shape) for w in some] for some in (weights, parameters))
    if have != want:
        raise RuntimeError(f"the weights of {FILE} are for shapes {have}, text.TextEncoder: {want}")
    with torch.no_grad():  # in the order of the layers, whatever a student calls them
        for p, w in zip(parameters, weights, strict=True):
            p.copy_(w)
    return model.eval().requires_grad_(False)
