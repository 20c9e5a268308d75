"""Slide 84 as a trial: the same flow in latents and on pixels, for the same seconds. Given.

One U-Net, one width, one loss. All that differs is what it sees of a garment: 32×32 pixels, the
means of 2×2 or of 4×4 of them, or the 8×8 latents of chapter 08 with their 4 channels. Beside it:
how garments come out of noise in latents, and which frequencies an image is made of.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen import flow, guidance, latent
from cs231n_gen.experiments import dit_trial
from cs231n_gen.experiments.autoencoder_trial import load_autoencoder
from cs231n_gen.experiments.dit_trial import BATCH, CLASSES, NULL, LatentData
from cs231n_gen.given import judge
from cs231n_gen.given.data import Images, data_file
from cs231n_gen.given.frozen import frozen
from cs231n_gen.given.training import History
from cs231n_gen.given.unet import UNet

LATENTS, PIXELS = "latents", "pixels"
SPACES = (LATENTS, PIXELS, "pixels 16×16", "pixels 8×8")
WIDTH = 24
RATES = {
    LATENTS: 5e-3
}  # of 2e-3, 5e-3 and 1e-2 the lowest loss after 20 s of a processor, one seed
RATE = 2e-3  # the same for 32×32 pixels, and taken for smaller ones
MANY = 10**6  # more steps than fit into any time limit
PAIRS = 40  # of the loss floor
WEIGHTS = (0.0, 1.0)  # of guidance

Autoencoder = tuple[nn.Module, nn.Module, float, float]


@dataclass(frozen=True)
class GarmentSpace:
    """What a flow sees of a garment, and the way back.

    shape: of one example.
    there: from images of 32×32 pixels.
    back: to images, which for means of pixels are smaller.
    """

    shape: tuple[int, int, int]
    there: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FlowInSpace:
    """What one flow reached.

    model: with the averaged weights.
    shape: of what it sees of a garment.
    history: the loss of each step.
    floor: the loss of the best network for the training set, estimated.
    seconds: of training.
    sampling: seconds for a garment with w = 1.
    x: garments with w = 1, as images of the size that this flow knows.
    right: share in which the judge sees the class that was asked for, by w.
    frechet: distance of the judge's features to those of real images, by w.
    kept_right, kept_frechet: the same of real images that went there and back, which no flow in
        this space can be expected to beat by much.
    """

    model: nn.Module
    shape: tuple[int, int, int]
    history: History
    floor: float
    seconds: float
    sampling: float
    x: Float[Tensor, "n 1 height width"]
    right: dict[float, float]
    frechet: dict[float, float]
    kept_right: float
    kept_frechet: float

    @property
    def steps(self) -> int:
        """How many training steps fit into the time."""
        return len(self.history.losses)

    @property
    def seconds_a_step(self) -> float:
        """Seconds of a training step."""
        return self.seconds / self.steps


@dataclass(frozen=True)
class LatentTrial:
    """The results of a trial.

    y: the classes asked for.
    flows: what each flow reached, by the name of its space.
    real: Fréchet distance of as many real images.
    """

    y: Int[Tensor, "n"]
    flows: dict[str, FlowInSpace]
    real: float

    def table(self) -> str:
        """All numbers, as text."""
        head = ["steps", "ms a step", "ms a garment"]
        head += [f"{kind} w={w:g}" for kind in ("right", "Fréchet") for w in WEIGHTS] + ["kept"]
        lines = [
            f"{len(self.y)} garments each; Fréchet distance of as many real ones: {self.real:.1f}",
            f"{'':14}" + "".join(f"{word:>14}" for word in head),
        ]
        for name, f in self.flows.items():
            cells = [str(f.steps), f"{1000 * f.seconds_a_step:.0f}", f"{1000 * f.sampling:.0f}"]
            cells += [f"{f.right[w]:.0%}" for w in WEIGHTS]
            cells += [f"{f.frechet[w]:.1f}" for w in WEIGHTS]
            cells += [f"{f.kept_right:.0%}, {f.kept_frechet:.1f}"]
            lines.append(f"{name:14}" + "".join(f"{cell:>14}" for cell in cells))
        lines.append("kept: real images there and back, the right class and the Fréchet distance")
        if "pixels 8×8" in self.flows:
            lines.append("images of 8×8 pixels are shown to the judge enlarged to 16×16")
        return "\n".join(lines)


def space(name: str, autoencoder: Autoencoder | None = None) -> GarmentSpace:
    """A space by its name.

    Args:
        name: one of `SPACES`.
        autoencoder: (encoder, decoder, shift, scale) of the latents; without it, the shipped one.
    Raises:
        ValueError: for another name.
    """
    if name not in SPACES:
        raise ValueError(f"a space is one of {', '.join(SPACES)}, got {name!r}")
    if name == LATENTS:
        encoder, decoder, shift, scale = autoencoder or load_autoencoder()
        return GarmentSpace(
            (4, 8, 8),
            lambda x: dit_trial.encode(encoder, x, shift, scale),
            lambda u: torch.cat(
                [latent.from_latent(decoder, p, shift, scale) for p in u.split(BATCH)]
            ),
        )
    size = {PIXELS: 32, "pixels 16×16": 16, "pixels 8×8": 8}[name]
    return GarmentSpace((1, size, size), lambda x: F.avg_pool2d(x, 32 // size), lambda u: u)


def for_judge(x: Float[Tensor, "n 1 height width"]) -> Float[Tensor, "n 1 16 16"]:
    """What the judge is shown of images of 32×32, 16×16 or 8×8 pixels, within [−1, 1].

    Large ones are averaged over 2×2 pixels, small ones enlarged by linear interpolation.
    """
    x = x.clamp(-1, 1)
    if x.shape[-1] == 32:
        return F.avg_pool2d(x, 2)
    if x.shape[-1] == 8:
        return F.interpolate(x, scale_factor=2, mode="bilinear")
    return x


def new(channels: int, width: int = WIDTH, seed: int = 0) -> UNet:
    """A `UNet` for garments and their classes, with weights from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(channels=channels, width=width, classes=CLASSES)


def load_latent_unet() -> UNet:
    """The network that `data/train_latent_flow.py` trained for longer in the latents.

    Raises:
        DataError: if its weights are missing or damaged.
    """
    net = new(4)
    weights = load_file(data_file("latent_unet.safetensors"))
    net.load_state_dict({k: v.float() for k, v in weights.items()})
    return net.eval().requires_grad_(False)


def flows(
    train: Images,
    test: Images,
    *,
    seconds: float = 20.0,
    spaces: Sequence[str] = (LATENTS, PIXELS),
    autoencoder: Autoencoder | None = None,
    of_processor: bool = False,
    width: int = WIDTH,
    batch: int = 64,
    lr: float | None = None,
    garments: int = 100,
    steps: int = 15,
    seed: int = 0,
    progress: bool = True,
) -> LatentTrial:
    """Train the same U-Net in each space for the same time, and have its garments judged.

    Args:
        train: images of 32×32 pixels and their classes.
        test: images that no network has seen. The first of them are what real ones are judged by,
            the others what all are compared with.
        seconds: of training, for each space.
        spaces: names from `SPACES`.
        autoencoder: as in `space`.
        of_processor: counts seconds of a processor in place of those of the clock, for a machine
            that does other work too; then as many steps are made as fit into the time.
        width, batch, lr: of the network and its training; without lr, each space gets a rate that
            suits it.
        garments: how many, as many of each class: a multiple of 10.
        steps: Euler steps of sampling.
        seed: of weights, data, noise and samples.
        progress: whether to show bars.
    Raises:
        ValueError: for an unknown space, or a number of garments that is not a multiple of 10.
    """
    if garments < 10 or garments % 10:
        raise ValueError(f"garments must be a multiple of 10, got {garments}")
    y = torch.arange(10).repeat_interleave(garments // 10)
    aside, reference = test.x[:garments], for_judge(test.x[garments:])
    found = {}
    for name in spaces:
        s = space(name, autoencoder)
        data = LatentData(s.there(train.x), train.y)
        model = new(s.shape[0], width, seed)
        floor = dit_trial.floor(data, pairs=PAIRS)
        rate = RATES.get(name, RATE) if lr is None else lr
        history, spent = _train(
            model, data, seconds, of_processor, batch, rate, seed, floor, progress, name
        )
        clock = time.process_time if of_processor else time.perf_counter
        right, frechet = {}, {}
        for w in WEIGHTS:
            start = clock()
            x = sample(s, model, y, w=w, steps=steps, seed=seed + 1)
            sampling = (clock() - start) / garments
            right[w] = judge.class_accuracy(for_judge(x), y)
            frechet[w] = judge.frechet(for_judge(x), reference)
        kept = for_judge(s.back(s.there(aside)))
        found[name] = FlowInSpace(
            model=model,
            shape=s.shape,
            history=history,
            floor=floor,
            seconds=spent,
            sampling=sampling,
            x=x,
            right=right,
            frechet=frechet,
            kept_right=judge.class_accuracy(kept, test.y[:garments]),
            kept_frechet=judge.frechet(kept, reference),
        )
    return LatentTrial(y, found, judge.frechet(for_judge(aside), reference))


def sample(
    of: GarmentSpace,
    model: nn.Module,
    y: Int[Tensor, "n"],
    *,
    w: float = 0.0,
    steps: int = 15,
    seed: int = 1,
) -> Float[Tensor, "n 1 height width"]:
    """A garment for each class asked for, from noise in a space, as an image.

    Args:
        of: the space.
        model: a velocity there.
        y: classes.
        w: weight of guidance.
        steps: Euler steps.
        seed: of the noise.
    """
    z = torch.randn(len(y), *of.shape, generator=torch.Generator().manual_seed(seed))
    found = []
    for noise, some in zip(z.split(BATCH), y.split(BATCH), strict=True):
        if w:
            found.append(guidance.sample(model, noise, steps, some, NULL, w))
        else:
            found.append(flow.sample(model, noise, steps, some))
    return of.back(torch.cat(found))


class Film(NamedTuple):
    """Garments on their way out of noise.

    t: the level of each frame, from 1 to 0.
    noisy: x_t, decoded.
    expected: the prediction of x from x_t, decoded.
    """

    t: Float[Tensor, "frames"]
    noisy: Float[Tensor, "frames n 32 32"]
    expected: Float[Tensor, "frames n 32 32"]


def film(
    model: nn.Module,
    decoder: nn.Module,
    shift: float,
    scale: float,
    z: Float[Tensor, "n 4 8 8"],
    y: Int[Tensor, "n"],
    w: float = 0.0,
    steps: int = 24,
    frames: int = 7,
) -> Film:
    """What the decoder makes of latents along the sampling path, from noise to image.

    Beside x_t stands the prediction of its end, x_t − t v(x_t, t). With w = 0 it is E[x | x_t, y].

    Args:
        model: a velocity of latents.
        decoder, shift, scale: as in `latent.from_latent`.
        z: the noise at which it begins.
        y: classes.
        w: weight of guidance.
        steps: Euler steps.
        frames: how many of the steps + 1 points of the path are shown, the first and the last with
            them: at least 2.
    Raises:
        ValueError: if there are fewer points than frames, or fewer than 2 frames.
    """
    if not 2 <= frames <= steps + 1:
        raise ValueError(f"frames must be from 2 to steps + 1 = {steps + 1}, got {frames}")
    levels = [i / steps for i in range(steps, -1, -1)]
    shown = {round(k * steps / (frames - 1)) for k in range(frames)}
    x, kept = z, []
    with frozen(model):
        for i, t in enumerate(levels):
            level = torch.full((len(x),), t)
            v = _velocity(model, x, level, y, w) if t else torch.zeros_like(x)
            if i in shown:
                kept.append((t, x, x - t * v))
            x = x - v / steps
    times, noisy, expected = zip(*kept, strict=True)
    decoded = [
        torch.stack([latent.from_latent(decoder, u, shift, scale)[:, 0] for u in path])
        for path in (noisy, expected)
    ]
    return Film(torch.tensor(times), *decoded)


def spectrum(
    x: Float[Tensor, "n 1 size size"],
) -> tuple[Float[Tensor, "rings"], Float[Tensor, "rings"]]:
    """The power of images by frequency, the mean over the images: (frequencies, power).

        power(f) = sum of |x̂(k)|² over all waves k with ‖k‖ rounded to f

    with x̂ the discrete Fourier transform over the number of pixels. Frequencies count periods in
    the width of an image. The powers add up to the mean square of the pixels (Parseval's theorem).
    A blurred image has less power at high frequencies.

    Raises:
        ValueError: if the images are not square.
    """
    size = x.shape[-1]
    if x.dim() != 4 or x.shape[-2] != size:
        raise ValueError(f"x must be square images (n, channels, size, size), got {tuple(x.shape)}")
    power = torch.fft.fft2(x.double(), norm="forward").abs().square().mean(0).sum(0)
    k = size * torch.fft.fftfreq(size, dtype=torch.float64)  # −size/2, …, size/2 − 1
    ring = torch.hypot(k[:, None], k[None]).round().long()
    total = torch.zeros(int(ring.max()) + 1, dtype=torch.float64)
    total.index_add_(0, ring.flatten(), power.flatten())
    return torch.arange(len(total), dtype=torch.float64), total


def _train(model, data, seconds, of_processor, batch, lr, seed, floor, progress, label):
    """Train for some seconds: the history, and the seconds that it took."""
    options = {"batch": batch, "lr": lr, "seed": seed, "floor": floor}
    options |= {"progress": progress, "label": label}
    if not of_processor:
        history = dit_trial.train(model, data, MANY, seconds=seconds, **options)
        return history, history.seconds
    channels, width = model.out.out_channels, model.stem.out_channels
    steps = dit_trial.steps_within(seconds, lambda: new(channels, width), data, batch)
    start = time.process_time()
    return dit_trial.train(model, data, steps, **options), time.process_time() - start


def _velocity(model, x, t, y, w):
    if not w:
        return model(x, t, y)
    return guidance.guided_velocity(*guidance.velocities(model, x, t, y, NULL), w)
