"""Garments as codes: autoencoders with a codebook, and what keeps a codebook alive. Given.

Chapter 08's encoder and decoder with chapter 13's `vq` between them: a garment of 32×32 pixels
becomes 8×8 whole numbers from 0 to 255, row by row a sequence of 64, and the decoder makes a
garment of them again. `data/codes.safetensors` holds the shipped ones: `codes` (256, 16), and the
weights of `encoder` and `decoder` in the order of their layers, all as float16.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from safetensors.torch import load_file
from torch import Tensor, nn

from cs231n_gen import vq
from cs231n_gen.experiments import decoder_trial
from cs231n_gen.experiments.autoencoder_trial import Adversary, Fit
from cs231n_gen.experiments.decoder_trial import Reconstruction
from cs231n_gen.given.data import data_file
from cs231n_gen.given.frozen import frozen
from cs231n_gen.given.training import History, Run
from cs231n_gen.latent_nets import Decoder, Encoder

LOSS, MEANS, REVIVED, SCALARS = "loss", "ema", "ema with revival", "fsq"
KINDS = (LOSS, MEANS, REVIVED, SCALARS)
K, DIM, SIDE = 256, 16, 8
LEVELS = (8, 8, 4)  # of the finite scalars, 256 codes as well
STARTS = ((LOSS, False), (LOSS, True), (MEANS, True), (REVIVED, True), (SCALARS, False))
LEAST = 0.25  # of the mean count: a code with less is dead, for the kind with revival
DECAY = 0.97  # of the running means: they see a few thousand batches at most
PATCH = 16  # pixels of a code
AT_ONCE = 500  # images at a time


class Codebook(nn.Module):
    """Codes, what moves them, and the quantisation by them.

    Args:
        kind: `loss` moves codes by the gradient of the codebook loss, `ema` by running means; `ema
            with revival` puts dead ones elsewhere as well; `fsq` has fixed levels in place of
            codes.
        codes: K, which finite scalars do not ask for.
        least: the running count below which a code is dead, as a share of the mean count.
        decay: of the running means.
        levels: of the finite scalars.
    Raises:
        ValueError: for another kind.
    """

    def __init__(
        self,
        kind: str = REVIVED,
        codes: int = K,
        *,
        least: float = LEAST,
        decay: float = DECAY,
        levels: tuple[int, ...] = LEVELS,
    ):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"a kind is one of {', '.join(KINDS)}, got {kind!r}")
        self.kind, self.least, self.decay, self.levels = kind, least, decay, levels
        e = vq.scalar_codes(levels) if kind == SCALARS else torch.zeros(codes, DIM)
        if kind == LOSS:
            self.codes = nn.Parameter(e)
        else:
            self.register_buffer("codes", e)
        if kind in (MEANS, REVIVED):
            self.register_buffer("counts", torch.zeros(codes))
            self.register_buffer("sums", torch.zeros(codes, DIM))

    @torch.no_grad()
    def start(self, e: Float[Tensor, "codes dim"], vectors: int) -> None:
        """Put the codes somewhere, each with its share of the vectors of a batch."""
        self.codes.copy_(e)
        if self.kind in (MEANS, REVIVED):
            self.counts.fill_(vectors / len(e))
            self.sums.copy_(self.counts[:, None] * e)

    def forward(
        self, z: Float[Tensor, "*batch dim"]
    ) -> tuple[Float[Tensor, "*batch dim"], Int64[Tensor, "*batch"], Float[Tensor, ""]]:
        """(q, index, loss) of vectors; the loss of finite scalars is 0."""
        if self.kind == SCALARS:
            return *vq.finite_scalar(z, self.levels), z.new_zeros(())
        q, index = vq.quantize(z, self.codes)
        return q, index, vq.loss(z, self.codes, index)

    @torch.no_grad()
    def update(
        self,
        z: Float[Tensor, "*batch dim"],
        index: Int64[Tensor, "*batch"],
        generator: torch.Generator | None = None,
    ) -> None:
        """Running means and revival, after a step; for other kinds nothing."""
        if self.kind not in (MEANS, REVIVED):
            return
        state = vq.update_codes(self.counts, self.sums, z, index, self.decay)
        if self.kind == REVIVED:
            least = self.least * float(self.counts.mean())
            state = vq.revive(*state, z, least, generator)
        for buffer, new in zip((self.codes, self.counts, self.sums), state, strict=True):
            buffer.copy_(new)


class Tokenizer(nn.Module):
    """An encoder, a codebook and a decoder: images to codes, codes to images.

    Args:
        book: the codebook.
        width: of encoder and decoder.
    """

    def __init__(self, book: Codebook, width: int = 24):
        super().__init__()
        dim = book.codes.shape[1]
        self.encoder = Encoder(latent=dim, width=width)
        self.book = book
        self.decoder = Decoder(latent=dim, width=width)

    def latents(self, x: Float[Tensor, "n 1 height width"]) -> Float[Tensor, "n rows columns dim"]:
        """What is quantised: the encoder's mean, a vector for each place."""
        return self.encoder(x)[0].permute(0, 2, 3, 1)

    def images(self, q: Float[Tensor, "n rows columns dim"]) -> Float[Tensor, "n 1 height width"]:
        """What the decoder makes of a vector for each place."""
        return self.decoder(q.permute(0, 3, 1, 2))


@dataclass
class CodesFit(Fit):
    """What a training leaves behind.

    history: the squared error of a pixel, step by step.
    weights, judged: as in `Fit`.
    used: how many codes each batch used.
    perplexity: of the codes of each batch.
    """

    history: History = field(default_factory=History)
    used: list[int] = field(default_factory=list)
    perplexity: list[float] = field(default_factory=list)


def new(
    kind: str,
    x: Float[Tensor, "n 1 32 32"],
    *,
    far: bool = False,
    codes: int = K,
    width: int = 24,
    least: float = LEAST,
    batch: int = 16,
    seed: int = 0,
) -> Tokenizer:
    """A tokenizer that has learned nothing, with a good start of its codes or a bad one.

    Args:
        kind: of the codebook, from `KINDS`.
        x: images. Their latents are where codes start.
        far: a bad start instead: codes from N(0, I), far from all latents.
        codes: K, except of finite scalars.
        width: of the networks.
        least: as in `Codebook`.
        batch: images in a batch of the training.
        seed: of all weights and codes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Tokenizer(Codebook(kind, codes, least=least), width)
        if kind != SCALARS:
            with frozen(made):
                z = made.latents(x[torch.randint(len(x), (codes,))]).flatten(0, 2)
            e = z[torch.randperm(len(z))[:codes]]
            made.book.start(torch.randn_like(e) if far else e, batch * SIDE**2)
    return made


def fit(
    tokenizer: Tokenizer,
    x: Float[Tensor, "n 1 32 32"],
    *,
    steps: int = 100_000,
    seconds: float | None = None,
    of_processor: bool = False,
    discriminator: nn.Module | None = None,
    start: int = 0,
    loudness: float = 1.0,
    penalty: float = 0.02,
    train_codes: bool = True,
    batch: int = 16,
    lr: float = 5e-3,
    generator: torch.Generator | None = None,
    progress: bool = True,
    label: str = "codes",
) -> CodesFit:
    """Train a tokenizer, and against a discriminator if there is one.

        L = ‖x − x̂‖² of a code's 16 pixels + `vq.loss` + loudness · λ L_adv

    λ and the discriminator's own loss are those of `autoencoder_trial.fit`: that makes a VQ-VAE a
    VQGAN (Esser et al. 2021).

    Args:
        tokenizer: trained in place; it ends with averaged weights.
        x: images.
        steps, seconds: how long, at most.
        of_processor: whether seconds are those of the processor.
        discriminator, start, loudness, penalty: as in `autoencoder_trial.fit`.
        train_codes: False trains the decoder alone, so that every image keeps its codes.
        batch, lr: of each step.
        generator: for everything random.
        progress, label: of the bar.
    """
    book = tokenizer.book
    result, against = CodesFit(), None
    if discriminator is not None:
        last_layer = tokenizer.decoder.last_layer
        against = Adversary(discriminator, last_layer, lr, penalty, start)
    known = None if train_codes else encode(tokenizer, x).reshape(len(x), SIDE, SIDE)
    trained = tokenizer if train_codes else tokenizer.decoder
    limits = {"seconds": seconds, "of_processor": of_processor}
    with Run(trained, steps, **limits, lr=lr, progress=progress, label=label) as run:
        result.history = run.history
        for step in run:
            chosen = torch.randint(len(x), (batch,), generator=generator)
            some = x[chosen]
            if train_codes:
                z = tokenizer.latents(some)
                q, index, L_codes = book(z)
            else:
                index = known[chosen]
                q, L_codes = book.codes[index], 0.0
            x_hat = tokenizer.images(q)
            error = (some - x_hat).square().mean()
            L = L_rec = PATCH * error + L_codes
            if against is not None:
                L = L_rec + loudness * against.says(step, some, x_hat, L_rec, result)
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            if train_codes:
                book.update(z.detach(), index, generator)
                result.used.append(len(index.unique()))
                result.perplexity.append(vq.perplexity(index, len(book.codes)))
            run.record(error)
    return result


def encode(tokenizer: Tokenizer, x: Float[Tensor, "n 1 32 32"]) -> Int64[Tensor, "n 64"]:
    """The codes of images, row by row."""
    with frozen(tokenizer):
        found = [tokenizer.book(tokenizer.latents(part))[1] for part in x.split(AT_ONCE)]
    return torch.cat(found).flatten(1)


def decode(tokenizer: Tokenizer, codes: Int64[Tensor, "n 64"]) -> Float[Tensor, "n 1 32 32"]:
    """The images of codes, within [−1, 1]."""
    grids = codes.reshape(len(codes), SIDE, SIDE)
    with frozen(tokenizer):
        e = tokenizer.book.codes
        found = [tokenizer.images(e[part]) for part in grids.split(AT_ONCE)]
    return torch.cat(found).clamp(-1, 1)


@dataclass(frozen=True)
class Coded:
    """Images as codes and back.

    images: the reconstructions, and how good they are.
    index: the codes of each image.
    codes: K.
    fit: the training.
    seconds: it took.
    """

    images: Reconstruction
    index: Int64[Tensor, "n 64"]
    codes: int
    fit: CodesFit | None = None
    seconds: float = 0.0

    @property
    def used(self) -> int:
        """How many codes the images use."""
        return len(self.index.unique())

    @property
    def perplexity(self) -> float:
        """Of the codes of all images."""
        return vq.perplexity(self.index, self.codes)


def measure(
    tokenizer: Tokenizer,
    x: Float[Tensor, "n 1 32 32"],
    *,
    fit: CodesFit | None = None,
    seconds: float = 0.0,
) -> Coded:
    """How good codes and reconstructions are.

    Args:
        tokenizer: used as it is.
        x: images, best those that were not trained on.
        fit, seconds: of the training, to be kept with the numbers.
    """
    index = encode(tokenizer, x)
    images = decoder_trial.compare(decode(tokenizer, index), x)
    return Coded(images, index, len(tokenizer.book.codes), fit, seconds)


@dataclass(frozen=True)
class CodebookTrial:
    """The results of a trial, a `Coded` for each codebook."""

    books: dict[str, Coded]

    def table(self) -> str:
        """All numbers, as text."""
        head = ("codes used", "perplexity", "‖x̂ − x‖²", "Fréchet", "steps", "seconds")
        lines = [f"{'':30}" + "".join(f"{word:>12}" for word in head)]
        for name, of in self.books.items():
            steps = len(of.fit.history.losses) if of.fit else 0
            cells = (f"{of.used}", f"{of.perplexity:.1f}", f"{of.images.mse:.1f}")
            cells += (f"{of.images.frechet:.1f}", f"{steps}", f"{of.seconds:.1f}")
            lines.append(f"{name:30}" + "".join(f"{cell:>12}" for cell in cells))
        return "\n".join(lines)


def collapse(
    x: Float[Tensor, "n 1 32 32"],
    test: Float[Tensor, "m 1 32 32"],
    *,
    books: Sequence[tuple[str, bool]] = STARTS,
    steps: int = 200,
    seconds: float | None = None,
    of_processor: bool = False,
    width: int = 8,
    batch: int = 16,
    lr: float = 5e-3,
    seed: int = 0,
    progress: bool = True,
) -> CodebookTrial:
    """Train small tokenizers whose codebooks differ, most of them with a bad start.

    A code that is nearest to no latent gets no gradient and no mean, and the decoder makes do with
    the few that are used: the codebook has collapsed.

    Args:
        x: images to train on.
        test: images to measure on.
        books: kinds, each with whether it has a bad start.
        steps, seconds, of_processor: of each training, as in `fit`.
        width, batch, lr: of each.
        seed: of everything random.
        progress: whether to show bars.
    """
    found = {}
    for kind, far in books:
        name = kind if kind == SCALARS else f"{kind}, {'bad' if far else 'good'} start"
        made = new(kind, x, far=far, width=width, batch=batch, seed=seed)
        training = fit(
            made,
            x,
            steps=steps,
            seconds=seconds,
            of_processor=of_processor,
            batch=batch,
            lr=lr,
            generator=torch.Generator().manual_seed(seed),
            progress=progress,
            label=name,
        )
        found[name] = measure(made, test, fit=training, seconds=training.history.seconds)
    return CodebookTrial(found)


def load_codes(path: Path | None = None) -> Tokenizer:
    """The shipped tokenizer of garments at 32×32, trained by `data/train_codes.py`.

    Args:
        path: of other weights.
    Raises:
        DataError: if its weights are missing or damaged.
    """
    weights = {k: v.float() for k, v in load_file(path or data_file("codes.safetensors")).items()}
    made = Tokenizer(Codebook(LOSS, len(weights["codes"])))
    for name, net in (("encoder", made.encoder), ("decoder", made.decoder)):
        own = [v for k, v in weights.items() if k.startswith(f"{name}.")]
        with torch.no_grad():  # in the order of the layers, whatever a student calls them
            for p, value in zip(net.parameters(), own, strict=True):
                p.copy_(value)
    made.book.start(weights["codes"], 0)
    return made.eval().requires_grad_(False)
