"""The run of chapter 10 that makes an encoder of texts: captions find their pictures. Given.

A text encoder and a small network of pictures learn together, contrastively (`text.similarity`,
`text.contrastive_loss`): the caption of a picture shall be nearer to it than those of all other
pictures in a batch. The pictures' side is thrown away afterwards; the text encoder is frozen, and
tells a diffusion transformer what to draw.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen import text
from cs231n_gen.dit_attention import attend, heads_of, hidden
from cs231n_gen.given import captions
from cs231n_gen.given.captions import Captioned, Pictures, Scenes
from cs231n_gen.given.data import data_file
from cs231n_gen.given.frozen import frozen
from cs231n_gen.given.training import History, Run

DIM, LAYERS, HEADS = 64, 1, 4  # of the shipped encoder
LOG_SCALE = math.log(1 / 0.07)  # what cosines are multiplied by at the start is CLIP's
FILE = "words.safetensors"
TIE = 1e-5  # cosines that differ by less are equal but for rounding
EIGHT = (  # captions that others of them are like, but for the order of words
    "a large red circle left of a small blue square",
    "a small blue square left of a large red circle",
    "a large green cross above a small yellow ring",
    "a small yellow ring above a large green cross",
    "a large yellow cross above a small green ring",
    "a large purple square",
    "a small white triangle",
    "a small purple ring",  # held out
)
ROLES = ("a", "size", "colour", "shape", "left", "of", "a", "size", "colour", "shape")
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
        objects exchanged ("A left of B" against "B left of A"). Equal ones count as half, so a bag
        of words is right in exactly half of them.
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


def meanings(scenes: Scenes, order: bool = True) -> Scenes:
    """Rows that are equal where a caption, or its words, say the same.

    "A left of B" and "B right of A" do, so all are told from the left or the upper object.

    Args:
        scenes: of the captions.
        order: False for who sees a bag of words: which objects are meant, and which of them stands
            left, is not in it.
    """
    from_first = torch.isin(scenes[:, 3:4], torch.tensor([0, 2, captions.ALONE]))
    told = torch.where(from_first, scenes, captions.retold(scenes))
    if order:
        return told
    one, two = told[:, :3], told[:, 4:]
    return torch.cat([torch.minimum(one, two), told[:, 3:4], torch.maximum(one, two)], 1)


def draw_batch(n: int, generator: torch.Generator | None = None, hard: float = 0.0) -> Captioned:
    """New pictures with their captions.

    Args:
        n: how many.
        generator: for the random draws.
        hard: the share of scenes that are made of others in the batch, by exchanging their objects
            or, half of the time, their colours: they differ from them by order alone. At most ½.
            No scene gets a combination that is held out.
    """
    scenes = _scenes(n, generator, hard)
    return Captioned(captions.render(scenes, generator), captions.say(scenes), scenes)


def _scenes(n: int, generator: torch.Generator | None, hard: float) -> Scenes:
    """The scenes of `draw_batch`."""
    scenes = captions.draw_scenes(n, generator)
    made = round(hard * n)
    if made:
        of = scenes[-made:]
        colours = recoloured(of)
        pick = (torch.rand(made, generator=generator) < 0.5) & allowed(colours)
        scenes[:made] = torch.where(pick[:, None], colours, captions.exchanged(of))
    return scenes


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


def loss_floor(
    n: int = 128, hard: float = 0.0, *, order: bool = True, batches: int = 200, seed: int = 10_000
) -> float:
    """The least that the mean of `text.contrastive_loss` can be in batches of n, by counting.

        E mean_i log k_i,    k_i captions of a batch say the same as the i-th

    Who knows all of a picture and all of a caption must guess between the k captions that say the
    same, as pictures of one meaning differ by chance alone. Who sees a bag of words must guess
    between all that have the same words, however large the network. Where all scenes are
    independent, `truth.contrast.caption_floor` is the same number in closed form.

    Args:
        n, hard: as in `draw_batch`.
        order: False for a bag of words.
        batches: to count in.
        seed: of the batches.
    """
    g = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(batches):
        said = meanings(_scenes(n, g, hard), order)
        k = (said[:, None] == said).all(2).sum(1)
        found.append(k.double().log().mean())
    return float(torch.stack(found).mean())


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
    means = meanings(scenes)
    same = (means[:, None] == means).all(2)
    s = cosines(pair, x, said)
    rows, right = torch.arange(n), s.diagonal()
    u = _vectors(pair.pictures, x)

    def above(wrong):
        v = encode(pair.text, captions.say(wrong))[1]
        gap = right - F.cosine_similarity(u, v, dim=1)
        better = (gap > TIE).double() + 0.5 * (gap.abs() <= TIE)
        return float(better[(meanings(wrong) != means).any(1)].mean())

    return Found(
        caption=float(same[rows, s.argmax(1)].double().mean()),
        picture=float(same[s.argmax(0), rows].double().mean()),
        objects=above(captions.exchanged(scenes)),
        colours=above(recoloured(scenes)),
        n=n,
    )


def cosines(pair: CaptionPair, x: Pictures, said: list[str]) -> Float[Tensor, "n m"]:
    """The cosine of each picture, in rows, with each caption, in columns."""
    return text.similarity(_vectors(pair.pictures, x), encode(pair.text, said)[1], 0.0)


def _vectors(tower: nn.Module, x: Pictures) -> Float[Tensor, "n dim"]:
    with frozen(tower):
        return torch.cat([tower(part) for part in x.split(AT_ONCE)])


def encode(
    encoder: text.TextEncoder, said: list[str]
) -> tuple[text.Features, text.Rows, text.Mask]:
    """What a frozen encoder says of captions, `(words, pooled, mask)`, some at a time."""
    tokens, mask = tokens_of(said)
    with frozen(encoder):
        parts = zip(tokens.split(AT_ONCE), mask.split(AT_ONCE), strict=True)
        words, pooled = zip(*(encoder(*part) for part in parts), strict=True)
    return torch.cat(words), torch.cat(pooled), mask


@dataclass(frozen=True)
class Trained:
    """A pair after its training: the losses, and how well captions and pictures find each other, of
    combinations that were seen in training and of those that were held out."""

    pair: CaptionPair
    history: History
    seen: Found
    held_out: Found


@dataclass(frozen=True)
class PlacesTrial:
    """What places are worth.

    runs: a training for each standard deviation of places at the start; 0 is a bag of words.
    floor, bag: the least loss of who reads captions, and of who sees a bag of words, by
        `loss_floor`.
    """

    runs: dict[float, Trained]
    floor: float
    bag: float

    def table(self) -> str:
        """All numbers, as text."""
        head = ("loss", *2 * ("caption found", "objects", "colours"))
        groups = f"{'':39}{'seen':<45}held out"
        lines = [groups, f"{'':22}" + "".join(f"{word:>15}" for word in head)]
        for places, of in self.runs.items():
            name = f"places N(0, {places:g}²)" if places else "no places"
            cells = [f"{float(of.history.smoothed()[-1]):.3f}"]
            for found in (of.seen, of.held_out):
                cells += [f"{v:.1%}" for v in (found.caption, found.objects, found.colours)]
            lines.append(f"{name:22}" + "".join(f"{cell:>15}" for cell in cells))
        n = next(iter(self.runs.values())).seen.n
        floors = f"The least loss is {self.floor:.3f}, of a bag of words {self.bag:.3f}."
        return "\n".join([*lines, f"Captions are found among {n}. {floors}"])


def compare_places(
    steps: int = 300,
    *,
    places: Sequence[float] = (text.SPREAD, 0.0),
    hard: float = 0.5,
    batch: int = 128,
    n: int = 500,
    seed: int = 0,
    progress: bool = True,
    **options,
) -> PlacesTrial:
    """Train encoders that differ in their places alone, and measure them.

    Places are not enough. In a batch of captions drawn at random hardly two have the same words, so
    a bag of words is nearly as good, and is what is learned first. Order is learned much sooner
    with captions in the batch that differ in nothing else (Yuksekgonul et al. 2023).

    Args:
        steps, batch, hard: of each training; all see the same pictures, with the same captions.
        places: standard deviations at the start, 0 for none.
        n: pictures to measure with.
        seed: of weights and pictures.
        progress: whether to show bars.
        options: of `train`, such as a time limit.
    """
    runs = {}
    for std in places:
        pair = new(seed, places=std)
        label = f"places {std:g}" if std else "no places"
        history = train(
            pair,
            steps,
            batch=batch,
            hard=hard,
            seed=seed,
            progress=progress,
            label=label,
            **options,
        )
        found = [measure(pair, n, held_out=held_out) for held_out in (False, True)]
        runs[std] = Trained(pair, history, *found)
    floors = [loss_floor(batch, hard, order=order) for order in (True, False)]
    return PlacesTrial(runs, *floors)


def all_scenes() -> Scenes:
    """The scenes of all captions there are, 60 of one object and 14 400 of two."""
    options = (captions.SIZES, captions.COLOURS, captions.SHAPES)
    objects = [torch.arange(len(some)) for some in options]
    one = torch.cartesian_prod(*objects)
    alone = torch.full((len(one), 4), captions.NOTHING)
    alone[:, 0] = captions.ALONE
    two = torch.cartesian_prod(*objects, torch.arange(len(captions.RELATIONS)), *objects)
    return torch.cat([torch.cat([one, alone], 1), two])


def read_by_captions(pair: CaptionPair, x: Pictures) -> Scenes:
    """What pictures show, by the caption that is nearest of all that there are: a reader that was
    never told what a colour is (zero-shot classification, Radford et al. 2021)."""
    scenes = all_scenes()
    return scenes[cosines(pair, x, captions.say(scenes)).argmax(1)]


def shares_read(
    pair: CaptionPair, n: int = 500, *, held_out: bool = False, seed: int = 10_000
) -> dict[str, float]:
    """The share of n new pictures in which `read_by_captions` is right about each thing.

    Args:
        pair: used as it is.
        n, held_out, seed: as in `measure`.
    Returns:
        A dict with "size", "colour", "shape", "relation", "readable", "objects" and "right", as
        `captions.Reading.shares` makes it.
    """
    g = torch.Generator().manual_seed(seed)
    x, _, scenes = captions.draw(n, g, held_out=held_out)
    return agreement(read_by_captions(pair, x), scenes).shares()


def agreement(found: Scenes, scenes: Scenes) -> captions.Reading:
    """What is right in scenes that someone found in pictures, from either of two objects."""
    told = captions.retold(found)
    better = (told == scenes).sum(1) > (found == scenes).sum(1)
    parts = torch.where(better[:, None], told == scenes, found == scenes)
    order = [0, 1, 2, 4, 5, 6]
    objects = [(some == scenes)[:, order].all(1) for some in (found, captions.exchanged(found))]
    return captions.Reading(parts.all(1), parts, objects[0] | objects[1], found[:, 0] >= 0)


class Matched(NamedTuple):
    """Pictures, a caption of each, and the cosine of each picture with each caption."""

    x: Pictures
    captions: list[str]
    cosines: Float[Tensor, "n n"]


def matrix(pair: CaptionPair, said: Sequence[str] = EIGHT, seed: int = 0) -> Matched:
    """Which of some captions fits which of their pictures; the pictures are drawn from a seed."""
    said = list(said)
    scenes = torch.stack([captions.scene_of(caption) for caption in said])
    x = captions.render(scenes, torch.Generator().manual_seed(seed))
    return Matched(x, said, cosines(pair, x, said))


def kinship(encoder: text.TextEncoder, n: int = 500, seed: int = 10_000) -> dict[str, float]:
    """How near an encoder puts captions to others that differ from them in one way: mean cosines of
    pooled vectors, over n captions of two objects."""
    g = torch.Generator().manual_seed(seed)
    scenes = captions.draw_scenes(n, g, alone=0.0)

    def changed(part, to):
        other = scenes.clone()
        other[:, part] = to[scenes[:, part]]
        return other

    def next_of(options):
        return torch.arange(1, len(options) + 1) % len(options)

    others = {
        "told from the other object": captions.retold(scenes),
        "objects exchanged": captions.exchanged(scenes),
        "colours exchanged": recoloured(scenes),
        "another size": changed(0, next_of(captions.SIZES)),
        "another colour": changed(1, next_of(captions.COLOURS)),
        "another shape": changed(2, next_of(captions.SHAPES)),
        "left for above, right for below": changed(3, torch.tensor([2, 3, 0, 1])),
        "another caption": scenes.roll(1, 0),
    }
    u = encode(encoder, captions.say(scenes))[1]

    def near(other):
        differs = (other != scenes).any(1)
        v = encode(encoder, captions.say(other[differs]))[1]
        return float(F.cosine_similarity(u[differs], v, dim=1).mean())

    return {name: near(other) for name, other in others.items()}


def own_colour(encoder: text.TextEncoder, n: int = 2000, seed: int = 10_000) -> float:
    """Whether the vector of a word knows its neighbours: how often the colour of the first object
    can be read from the vector of its shape ("circle" of "a small red circle left of …").

    It is read by the best linear map, found from half of n captions and tried on the other half.
    The two objects differ in colour. Without places the vector of "circle" is the same whichever
    of the two colours is its own, so no map, linear or not, is right in more than half.
    """
    g = torch.Generator().manual_seed(seed)
    scenes = all_scenes()[len(captions.SIZES) * len(captions.COLOURS) * len(captions.SHAPES) :]
    scenes = scenes[scenes[:, 1] != scenes[:, 5]]
    scenes = scenes[torch.randint(len(scenes), (n,), generator=g)]
    words = encode(encoder, captions.say(scenes))[0][:, 3].double()
    a = torch.cat([words, torch.ones(n, 1)], 1)
    b = F.one_hot(scenes[:, 1], len(captions.COLOURS)).double()
    half = n // 2
    ridge = 1e-6 * n * torch.eye(a.shape[1], dtype=a.dtype)
    found = torch.linalg.solve(a[:half].T @ a[:half] + ridge, a[:half].T @ b[:half])
    return float(((a[half:] @ found).argmax(1) == scenes[half:, 1]).double().mean())


def mean_attention(
    encoder: text.TextEncoder, n: int = 500, seed: int = 10_000
) -> Float[Tensor, "heads 10 10"]:
    """What words attend to in the first block: the mean of its weights over n captions.

    The captions are those of ten words, "a small red circle left of a large green square", whose
    words have the parts of `ROLES`. Row i says how much the i-th word takes from each.
    """
    g = torch.Generator().manual_seed(seed)
    scenes = captions.draw_scenes(n, g, alone=0.0)
    scenes[:, 3] %= 2  # left of, right of
    tokens, mask = tokens_of(captions.say(scenes))
    block = encoder.blocks[0]
    with frozen(encoder):
        h = encoder.word(tokens) + encoder.place.weight
        q, k, _ = heads_of(block.qkv(block.norm_1(h)), 3, block.heads)
        eyes = torch.eye(k.shape[-2]).expand(*k.shape[:-1], -1)
        return attend(q, k, eyes, hidden(mask, h)).mean(0)


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
