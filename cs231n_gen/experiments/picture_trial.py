"""The run of chapter 10: pictures from captions, in latents, and how they are judged. Given.

An autoencoder makes 8×8 latents with 4 channels of the pictures of `given.captions`. A
`TextToImage` learns the velocity of these latents from their captions, of which a tenth are
dropped, so that it can be guided. What it paints is decoded, and `captions.compare` says whether it
is what was asked for.
"""

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from cs231n_gen import flow, guidance, latent, schedules, text, text_to_image
from cs231n_gen.dit import adaptive_norm, add_gated
from cs231n_gen.dit_attention import Attention, CrossAttention
from cs231n_gen.experiments import dit_trial, paired
from cs231n_gen.experiments.prior_trial import MuonAndAdam
from cs231n_gen.given import captions
from cs231n_gen.given.captions import Pictures, Reading, Scenes
from cs231n_gen.given.data import data_file
from cs231n_gen.given.training import History, Run
from cs231n_gen.latent_nets import Decoder, Encoder
from cs231n_gen.likelihood import gaussian_kl
from cs231n_gen.text_to_image import PARTS, Image, JointBlock, Mask, TextToImage, Words

KL = 1e-4  # the weight of the KL term, for each number of the latents
WIDTH = 16  # of encoder and decoder
SHAPE = (4, 8, 8)  # of latents
COUNT = 24_000  # captioned pictures of a training set
FOR_SCALE = 4000  # pictures whose latents are standardised
DROP = 0.1  # share of the captions that are dropped
LEVELS = (0.0, 1.0)  # logits of the levels: their mean and standard deviation
AT_ONCE = 250  # pictures encoded or sampled at a time
MANY = 10**6  # more steps than fit into any time limit
FILE, CODER_FILE = "text_to_image.safetensors", "pictures.safetensors"

Latents = Float[Tensor, "n 4 8 8"]


class Coder(NamedTuple):
    """An autoencoder of pictures, and what standardises its latents."""

    encoder: nn.Module
    decoder: nn.Module
    shift: float
    scale: float

    def encode(self, x: Pictures) -> Latents:
        """The latents of pictures, some at a time."""
        parts = x.split(AT_ONCE)
        return torch.cat([latent.to_latent(self.encoder, p, *self[2:]) for p in parts])

    def decode(self, u: Latents) -> Pictures:
        """The pictures of latents, some at a time."""
        parts = u.split(AT_ONCE)
        return torch.cat([latent.from_latent(self.decoder, p, *self[2:]) for p in parts])


class CaptionedLatents(NamedTuple):
    """Latents of pictures, their captions as numbers, and the scenes that both are made of."""

    u: Latents
    tokens: text.Tokens
    scenes: Scenes


def fit_autoencoder(
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    steps: int = MANY,
    batch: int = 32,
    lr: float = 2e-3,
    generator: torch.Generator | None = None,
    **options,
) -> History:
    """Train an encoder and a decoder on pictures that are drawn afresh in each step.

        L = mean |x − x̂| + KL · mean KL(N(μ, σ²) ‖ N(0, 1)),    over pixels, and over latents

    The absolute error keeps edges sharper than the squared one. No combination that is held out is
    among the pictures.

    Args:
        encoder, decoder: trained in place; they end with averaged weights.
        steps, batch, lr: of training.
        generator: for everything random.
        options: of `training.Run`.
    """
    with Run(nn.ModuleList([encoder, decoder]), steps, lr=lr, **options) as run:
        for _ in run:
            x = captions.draw(batch, generator).x
            mean, log_var = encoder(x)
            x_hat = decoder(latent.reparameterize(mean, log_var, generator))
            kl = gaussian_kl(mean.flatten(1), log_var.flatten(1)).mean() / mean[0].numel()
            L = (x - x_hat).abs().mean() + KL * kl
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L)
    return run.history


def new_coder(seed: int = 0, width: int = WIDTH) -> Coder:
    """An untrained autoencoder of pictures with weights from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, decoder = Encoder(channels=3, width=width), Decoder(channels=3, width=width)
    return Coder(encoder, decoder, 0.0, 1.0)


def load_coder() -> Coder:
    """The shipped autoencoder of pictures, trained by `data/train_pictures.py`.

    Raises:
        DataError: if its weights are missing or damaged.
        RuntimeError: if they do not fit `latent_nets`.
    """
    coder = new_coder()
    weights = {k: v.float() for k, v in load_file(data_file(CODER_FILE)).items()}
    for name, net in (("encoder", coder.encoder), ("decoder", coder.decoder)):
        own = [v for k, v in sorted(weights.items()) if k.startswith(f"{name}.")]
        _copy_weights(net.parameters(), own, CODER_FILE)
        net.eval().requires_grad_(False)
    return coder._replace(shift=float(weights["shift"]), scale=float(weights["scale"]))


def latents_of(
    coder: Coder,
    n: int = COUNT,
    seed: int = 0,
    *,
    held_out: bool = False,
    alone: float = 0.2,
    progress: bool = True,
) -> CaptionedLatents:
    """Captioned pictures, drawn from a seed, as latents and tokens.

    Args:
        coder: the autoencoder.
        n: how many.
        seed: of scenes and places.
        held_out, alone: as in `captions.draw_scenes`.
        progress: whether to show a bar.
    """
    g = torch.Generator().manual_seed(seed)
    scenes = captions.draw_scenes(n, g, held_out=held_out, alone=alone)
    u = []
    for part in tqdm(scenes.split(AT_ONCE), desc="encode pictures", disable=not progress):
        u.append(coder.encode(captions.render(part, g)))
    return CaptionedLatents(torch.cat(u), tokens_of(scenes), scenes)


def tokens_of(scenes: Scenes) -> text.Tokens:
    """The captions of scenes as numbers."""
    return text.tokenize(captions.say(scenes), captions.WORDS, captions.LENGTH)[0]


class CrossBlock(nn.Module):
    """A block whose image reads the text by cross-attention, called like `text_to_image.JointBlock`
    (slides 98–102; PixArt-α, Chen et al. 2023).

        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = the six parts of c + table
        x ← x + gate_1 attention(adaptive_norm(x, shift_1, scale_1))
        x ← x + cross(norm(x), y, mask)
        x ← x + gate_2 mlp(adaptive_norm(x, shift_2, scale_2))

    The text stays as it is. `cross` adds nothing at the start.

    Args:
        dim: numbers of a token, of both kinds.
        heads: of both attentions, dividing dim.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.attention, self.cross = Attention(dim, heads), CrossAttention(dim, dim, heads)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim)
        )
        self.table = nn.Parameter(torch.zeros(PARTS * dim))
        nn.init.zeros_(self.cross.out.weight)
        nn.init.zeros_(self.cross.out.bias)

    def forward(
        self, x: Image, y: Words, c: Float[Tensor, "batch six_dim"], mask: Mask | None = None
    ) -> tuple[Image, Words]:
        """The image after the block, and the text as it came."""
        of_x = (c + self.table).chunk(PARTS, dim=1)
        x = add_gated(x, of_x[2], self.attention(adaptive_norm(x, *of_x[:2])))
        x = x + self.cross(F.layer_norm(x, x.shape[-1:]), y, mask)
        return add_gated(x, of_x[5], self.mlp(adaptive_norm(x, *of_x[3:5]))), y


SHIPPED = {"block": CrossBlock, "dim": 64, "depth": 3, "heads": 4}
LIVE = {"block": JointBlock, "dim": 64, "depth": 2, "heads": 4}  # paints after a minute or two
CONTESTANTS = {
    "cross": SHIPPED,
    "joint, as many weights": LIVE,
    "joint, as wide and deep": SHIPPED | {"block": JointBlock},
}


def new(words: nn.Module, seed: int = 0, **options) -> TextToImage:
    """A `TextToImage` that reads captions by an encoder, with weights from a seed.

    Args:
        words: a text encoder. It is frozen.
        seed: of the weights.
        options: block, dim, depth and heads, where they are not those of what is shipped.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TextToImage(words, **(SHIPPED | options))


def own_weights(model: TextToImage) -> list[nn.Parameter]:
    """The weights of a `TextToImage` without those of its text encoder, in the layers' order."""
    return [p for k, p in model.named_parameters() if not k.startswith("encoder.")]


def load_text_to_image(words: nn.Module) -> TextToImage:
    """The network that `data/train_text_to_image.py` trained, ready to use.

    Args:
        words: the shipped text encoder, with which it was trained.
    Raises:
        DataError: if its weights are missing or damaged.
        RuntimeError: if they do not fit `text_to_image.TextToImage`.
    """
    model = new(words)
    weights = [w.float() for _, w in sorted(load_file(data_file(FILE)).items())]
    _copy_weights(own_weights(model), weights, FILE)
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class Glance:
    """What was seen of a network during its training: after how many seconds and steps, and the
    share of pictures in which each thing is right."""

    seconds: float
    steps: int
    shares: dict[str, float]


@dataclass
class PictureFit:
    """What a training leaves behind: its losses, and glances at it on the way."""

    history: History
    glances: list[Glance] = field(default_factory=list)


def fit(
    model: TextToImage,
    data: CaptionedLatents,
    *,
    steps: int = MANY,
    batch: int = 128,
    lr: float = 1e-2,
    levels: tuple[float, float] = LEVELS,
    drop: float = DROP,
    muon: bool = True,
    watch: Callable[[nn.Module], dict[str, float]] | None = None,
    every: float = 10.0,
    generator: torch.Generator | None = None,
    **options,
) -> PictureFit:
    """Train a velocity `model(x_t, t, tokens)` by `flow.loss`; it ends with averaged weights.

    Args:
        model: trained in place, all but its text encoder.
        data: latents and captions.
        steps, batch, lr: of training.
        levels: mean and standard deviation of the logits of t.
        drop: share of the captions that are dropped.
        muon: whether the blocks' matrices learn by Muon, see `prior_trial.MuonAndAdam`.
        watch: what is looked at on the way, such as `watching`; called with a copy of the model
            that has the averaged weights.
        every: how many seconds lie between two glances. They count as training.
        generator: for everything random; a new one with seed 0 if None.
        options: of `training.Run`, such as a time limit.
    """
    g = torch.Generator().manual_seed(0) if generator is None else generator
    clock = time.process_time if options.get("of_processor") else time.perf_counter
    result, start = PictureFit(History()), clock()
    seen = copy.deepcopy(model) if watch else None

    def look():
        run.average.copy_to(seen)
        seen.eval()
        result.glances.append(Glance(clock() - start, len(run.history.losses), watch(seen)))

    with Run(model, steps, lr=lr, **options) as run:
        result.history = run.history
        if muon:
            run.optimizer = MuonAndAdam(model, lr)
        for _ in run:
            L = flow.loss(model, *batch_of(data, batch, levels, drop, g))
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L)
            if watch and clock() - start >= every * (len(result.glances) + 1):
                look()
    if watch and [g.steps for g in result.glances[-1:]] != [len(run.history.losses)]:
        look()
    return result


def batch_of(
    data: CaptionedLatents,
    n: int,
    levels: tuple[float, float],
    drop: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents, noise, levels and captions of a step, some of them dropped: (u, z, t, tokens)."""
    i = torch.randint(len(data.u), (n,), generator=generator)
    z = torch.randn(n, *SHAPE, generator=generator)
    t = schedules.logit_normal(n, *levels, generator)
    nothing = torch.full_like(data.tokens[0], text.PADDING)
    return data.u[i], z, t, guidance.drop_condition(data.tokens[i], drop, nothing, generator)


def pictures_for(
    model: nn.Module,
    coder: Coder,
    said: Sequence[str],
    *,
    w: float = 1.0,
    steps: int = 20,
    negative: str | Sequence[str] = "",
    seed: int = 1,
) -> Pictures:
    """A picture for each caption, from noise.

    Args:
        model: a velocity of latents.
        coder: whose decoder makes pictures of them.
        said: captions.
        w, steps, negative: as in `text_to_image.sample`.
        seed: of the noise. A network that is asked for other captions from the same seed begins
            with the same noise.
    """
    z = torch.randn(len(said), *SHAPE, generator=torch.Generator().manual_seed(seed))
    u = []
    for at in range(0, len(said), AT_ONCE):
        part = slice(at, at + AT_ONCE)
        against = negative if isinstance(negative, str) else negative[part]
        u.append(text_to_image.sample(model, z[part], steps, said[part], w, against))
    return coder.decode(torch.cat(u))


def film(
    model: TextToImage,
    coder: Coder,
    caption: str,
    shown: Sequence[int],
    *,
    w: float = 1.0,
    steps: int = 20,
    seed: int = 1,
) -> Pictures:
    """What the network expects at the end, on its way from noise to the picture of a caption.

    At level t that is x̂ = x_t − t v_cfg, decoded.

    Args:
        model, coder, w, steps, seed: as in `pictures_for`.
        shown: after how many steps, from 0 to steps − 1, in this order.
    Returns:
        A picture for each of `shown`.
    Raises:
        ValueError: if one of `shown` is not there.
    """
    if not all(0 <= k < steps for k in shown):
        raise ValueError(f"shown must be from 0 to {steps - 1}, got {list(shown)}")
    y = text.tokenize([caption], model.encoder.vocabulary, model.encoder.length)[0]
    nothing = torch.full_like(y[0], text.PADDING)
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed))
    expected = []
    with torch.no_grad():
        for k in range(steps):
            t = torch.full((1,), 1 - k / steps)
            v = guidance.guided_velocity(*guidance.velocities(model, x, t, y, nothing), w)
            expected.append(x - t * v)
            x = x - v / steps
    return coder.decode(torch.cat([expected[k] for k in shown]))


class JudgedPictures(NamedTuple):
    """Pictures of a network, the scenes that it was asked for, and what is read from them."""

    x: Pictures
    scenes: Scenes
    reading: Reading

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.reading.shares().items())
        return f"{len(self.x)} pictures: {shares}"


def judge(
    model: nn.Module,
    coder: Coder,
    scenes: Scenes,
    *,
    w: float = 1.0,
    steps: int = 20,
    seed: int = 1,
) -> JudgedPictures:
    """Have pictures painted for the captions of scenes, and read them.

    Args are those of `pictures_for`.
    """
    x = pictures_for(model, coder, captions.say(scenes), w=w, steps=steps, seed=seed)
    return JudgedPictures(x, scenes, captions.compare(x, scenes))


def scenes_to_judge(
    n: int = 200, *, held_out: bool = False, alone: float = 0.2, seed: int = 10_000
) -> Scenes:
    """Scenes whose captions a network is asked for, those of combinations that it has seen or of
    one that is held out; always the same for a seed."""
    g = torch.Generator().manual_seed(seed)
    return captions.draw_scenes(n, g, held_out=held_out, alone=alone)


def watching(
    coder: Coder, n: int = 100, *, w: float = 1.0, steps: int = 10, held_out: bool = False
) -> Callable[[nn.Module], dict[str, float]]:
    """For `fit`: the share of n captions of which each part is right."""
    scenes = scenes_to_judge(n, held_out=held_out)
    return lambda model: judge(model, coder, scenes, w=w, steps=steps).reading.shares()


def exchanged_pairs(
    model: nn.Module, coder: Coder, n: int = 100, *, w: float = 1.0, steps: int = 20, seed: int = 1
) -> tuple[float, float]:
    """Captions that differ in nothing but the order of their words: "A left of B", "B left of A".

    Both of a pair begin with the same noise. As no picture shows both, a network whose encoder
    sees a bag of words is right in half of them, at most.

    Args:
        n: how many pairs.
        model, coder, w, steps, seed: as in `judge`.
    Returns:
        The share of captions that are right, and the share of pairs of which both are.
    """
    scenes = scenes_to_judge(2 * n + 50, alone=0.0)
    scenes = scenes[(scenes[:, :3] != scenes[:, 4:]).any(1)][:n]
    right = [
        judge(model, coder, some, w=w, steps=steps, seed=seed).reading.right
        for some in (scenes, captions.exchanged(scenes))
    ]
    both = torch.stack(right).float()
    return float(both.mean()), float(both.prod(0).mean())


def reconstructions(coder: Coder, n: int = 1000, *, held_out: bool = False, seed: int = 10_000):
    """What is read from real pictures that were encoded and decoded: the autoencoder's part in the
    errors of a network."""
    g = torch.Generator().manual_seed(seed)
    x, _, scenes = captions.draw(n, g, held_out=held_out)
    x_hat = coder.decode(coder.encode(x))
    return JudgedPictures(x_hat, scenes, captions.compare(x_hat, scenes))


@dataclass(frozen=True)
class BlockTrial:
    """Networks of different blocks after equal seconds of training, paired by seed.

    names: of the contestants; the others are compared with the first.
    results: by contestant, seed and column: the loss on new pictures, then the share of captions
        that are not painted right, seen and held out. Less is better.
    weights: how many each has, without the text encoder.
    steps: that each took in these seconds, the mean over seeds.
    """

    names: list[str]
    results: Float[Tensor, "contestants seeds 3"]
    weights: list[int]
    steps: list[float]

    def table(self) -> str:
        """All means, the differences to the first, and whether they are clear."""
        wide = 1 + max(map(len, self.names))
        columns = ("loss", "wrong, seen", "wrong, held out")

        def line(name, cells):
            return f"{name:{wide}}" + "".join(f"{cell:>26}" for cell in cells)

        lines = [f"means over {self.results.shape[1]} seeds"]
        lines.append(line("", [*columns, "weights", "steps"]))
        for name, found, n, steps in zip(
            self.names, self.results.mean(1), self.weights, self.steps, strict=True
        ):
            cells = [f"{v:.4f}" for v in found]
            lines.append(line(name, [*cells, f"{n / 1000:.0f} k", f"{steps:.0f}"]))
        mean, off = paired.differences(self.results)
        lines += [
            "",
            f"less that of {self.names[0]}, seed by seed ({paired.SURE:.0%} hold at once)",
        ]
        for name, *rows in zip(self.names[1:], mean, off, paired.verdicts(mean, off), strict=True):
            cells = [f"{m:+.4f} ± {o:.4f} {word:>6}" for m, o, word in zip(*rows, strict=True)]
            lines.append(line(name, cells))
        return "\n".join(lines)


def compare_blocks(
    words: nn.Module,
    coder: Coder,
    data: CaptionedLatents,
    seeds: Sequence[int] = range(3),
    seconds: float = 90.0,
    *,
    contestants: dict[str, dict] | None = None,
    judged: int = 200,
    w: float = 1.0,
    progress: bool = True,
    **options,
) -> BlockTrial:
    """Train a network of each kind for equal seconds of a processor, and look at their pictures.

    Args:
        words, coder, data: text encoder, autoencoder, and training set.
        seeds: at least 2, of weights, noise and data.
        seconds: of each run.
        contestants: name and options of `new`; `CONTESTANTS` if None.
        judged: captions of each kind, seen and held out.
        w: of guidance.
        progress: whether to show a bar.
        options: of `fit`.
    """
    contestants = CONTESTANTS if contestants is None else contestants
    fresh = latents_of(coder, 5 * judged, seed=20_000, progress=False)
    fresh = dit_trial.LatentData(fresh.u, fresh.tokens)
    results = torch.zeros(len(contestants), len(seeds), 3)
    steps, weights = torch.zeros(results.shape[:2]), []
    limits = {"seconds": seconds, "of_processor": True, "progress": False}
    bar = tqdm(total=steps.numel(), desc="blocks", disable=not progress)
    for k, sizes in enumerate(contestants.values()):
        for s, seed in enumerate(seeds):
            model = new(words, seed, **sizes)
            g = torch.Generator().manual_seed(seed)
            run = fit(model, data, generator=g, **(limits | options))
            steps[k, s] = len(run.history.losses)
            results[k, s, 0] = dit_trial.held_out_loss(model, fresh).mean()
            for column, held_out in ((1, False), (2, True)):
                scenes = scenes_to_judge(judged, held_out=held_out)
                found = judge(model, coder, scenes, w=w, steps=10).reading
                results[k, s, column] = 1 - found.right.float().mean()
            bar.update()
        weights.append(sum(p.numel() for p in own_weights(model)))
    bar.close()
    return BlockTrial(list(contestants), results, weights, steps.mean(1).tolist())


def floor(
    coder: Coder,
    data: CaptionedLatents,
    levels: tuple[float, float] = LEVELS,
    *,
    drop: float = DROP,
    scenes: int = 40,
    pairs: int = 20,
    quantiles: int = 12,
    seed: int = 0,
) -> tuple[float, float]:
    """The least loss with a caption, and without one, below which no network stays on new pictures.

    A caption leaves nothing open but where its objects stand exactly, which is one of some hundred
    pictures, all equally likely (`captions.pictures_of`). So E[v | x_t, caption] is
    `schedules.optimal_velocity` of these pictures' latents: exact but for the draws. Without a
    caption any picture is possible; in place of all, it is one of the training set. That makes
    less loss, as fewer pictures are easier to tell apart.

    Args:
        coder: the autoencoder.
        data: the training set.
        levels: mean and standard deviation of the logits of t.
        drop: share of the captions that are dropped.
        scenes: how many of the training set's are looked at.
        pairs: of latents and noise for each.
        quantiles: how many levels, equally likely.
        seed: of the pairs.
    Returns:
        (with, without): a training's floor is (1 − drop) · with + drop · without.
    """
    g = torch.Generator().manual_seed(seed)
    m, s = levels
    t = torch.sigmoid(m + s * torch.special.ndtri((torch.arange(quantiles) + 0.5) / quantiles))

    def best(members: Latents, n: int) -> float:
        i = torch.randint(len(members), (n,), generator=g)
        z = torch.randn(n, *SHAPE, generator=g)
        return float(schedules.loss_floor(members[i], z, t, members).mean())

    some = data.scenes[torch.randint(len(data.scenes), (scenes,), generator=g)]
    with_caption = [best(coder.encode(captions.pictures_of(scene)), pairs) for scene in some]
    return statistics.mean(with_caption), best(data.u, scenes * pairs)


def _copy_weights(parameters, weights: list[Tensor], file: str) -> None:
    """In the order of the layers, whatever a student calls them."""
    parameters = list(parameters)
    have, want = ([tuple(w.shape) for w in some] for some in (weights, parameters))
    if have != want:
        raise RuntimeError(f"the weights of {file} are for shapes {have}, the network has {want}")
    with torch.no_grad():
        for p, w in zip(parameters, weights, strict=True):
            p.copy_(w)
