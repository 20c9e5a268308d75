"""Figures to ask about."""

from functools import cache

import numpy as np
import torch

from cs231n_gen import data
from cs231n_gen.given import captions
from cs231n_gen.given.mlp import MLP, VelocityMLP
from cs231n_gen.latent_nets import Decoder
from cs231n_gen.text import TextEncoder
from cs231n_gen.text_to_image import JointBlock, TextToImage
from cs231n_gen.truth import GaussianMixture
from cs231n_gen.viz import (
    BestDiscriminator,
    CodeLab,
    FewSteps,
    FlowField,
    GanStepper,
    GuidanceVectors,
    LatentWalk,
    PatchLab,
    ProcessLab,
    ScheduleLab,
    Trajectories,
    TypeACaption,
    WaterLevel,
)


def halved(net):
    """A net whose weights are what half precision makes of them."""
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p.half())
    return net.double()


@cache
def learned():
    """A net that was not trained, but turns and bends."""
    torch.manual_seed(3)
    net = halved(VelocityMLP(hidden=24, layers=2, frequencies=3))
    with torch.no_grad():
        net.out.weight *= 4
    return halved(net)


@cache
def flow_field():
    """The exact field of the ring beside a net."""
    return FlowField({"exact": data.ring().mixture, "learned": learned().state_dict()}, seed=1)


@cache
def cloud():
    """Points that walk straight to a smaller cloud."""
    z = np.random.default_rng(0).standard_normal((50, 2))
    return Trajectories(np.stack([z * (1 - 0.1 * k) for k in range(9)]), name="cloud")


@cache
def garments():
    """Three garments under less and less noise."""
    x = data.fashion_mnist("test", 16).x[:3, 0].numpy()
    z = np.random.default_rng(0).standard_normal(x.shape)
    frames = np.stack([(1 - t) * x + t * z for t in np.linspace(1, 0, 11)])
    return Trajectories(frames, labels=["one", "two", "three"], name="garments")


@cache
def game():
    """A GAN on the line that has not begun."""
    torch.manual_seed(2)
    nets = [MLP(1, 1, hidden=8, layers=2).state_dict() for _ in "GD"]
    return GanStepper(*nets, np.linspace(0.5, 1.5, 16), np.linspace(-2, 2, 16), name="game")


@cache
def best():
    """Two bumps of samples beside two of data."""
    data = ([0.6, 0.4], [-1.5, 1.2], [0.5, 0.4])
    return BestDiscriminator(data, ([0.5, 0.5], [-0.4, 2.6], [0.7, 0.5]), x=0.3, name="best")


@cache
def walk():
    """Three garments blended on a grid that reaches beyond them."""
    x = data.fashion_mnist("test", 16).x[:3, 0].numpy()
    v, u = np.meshgrid(np.linspace(-0.25, 1.25, 7), np.linspace(-0.5, 1.5, 9), indexing="ij")
    images = np.einsum("kij,khw->ijhw", [1 - u - v, u, v], x).clip(-1, 1)
    return LatentWalk(
        images,
        labels=("boot", "pullover", "trousers"),
        extent=((-0.5, 1.5), (-0.25, 1.25)),
        norms=4 + u + v,
        typical=5.0,
        name="walk",
    )


@cache
def lab():
    """Schedules over the losses of a narrow ring, two garments, and steps along its field."""
    ring, levels = data.ring().mixture, np.linspace(0, 1, 41)
    garments = data.fashion_mnist("test", 32).x[:2, 0].numpy()
    loss = ring.irreducible_loss(torch.from_numpy(levels))
    return ScheduleLab(levels, loss, ring, garments, labels=("boot", "pullover"), name="lab")


@cache
def guidance():
    """Three classes that reach into each other, two of them of two components."""
    means = torch.tensor([[-0.8, 0.4], [0.1, 1.0], [1.2, 0.1], [-1.5, -0.6], [0.0, -1.2]])
    std, labels = torch.tensor([0.4, 0.4, 0.45, 0.45, 0.45]), torch.tensor([0, 0, 1, 2, 2])
    animals = GaussianMixture.isotropic(means, std, labels=labels)
    names = ("cats", "dogs", "birds")
    return GuidanceVectors(animals, t=0.7, z=(1.9, 0.5), names=names, name="guidance")


@cache
def processes():
    """The cosine process with some noise drawn on the way, over three bumps."""
    mixture = ([0.5, 0.3, 0.2], [-1.5, 0.4, 1.8], [0.3, 0.2, 0.25])
    return ProcessLab(mixture, curve="cosine", t=0.6, eta=0.5, steps=16, name="processes")


@cache
def water():
    """The spectrum of garments, three of them, and a strip of theirs under noise."""
    x = data.fashion_mnist("test", 16).x[:, 0].flatten(1).double()
    lam, vectors = torch.linalg.eigh(torch.cov(x.T))
    lam, vectors = lam.flip(0), vectors.T.flip(0)
    images = x[:3].reshape(3, 16, 16)
    t = torch.linspace(0, 1, 6, dtype=torch.float64)[:, None, None]
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 1, 16, 16, generator=random).double()
    film = ((1 - t) * images[:, None] + t * noise).clamp(-1, 1)
    return WaterLevel(
        lam[:24],
        vectors[:24],
        x.mean(0),
        images,
        rest=float(lam[24:].sum()),
        strip=film.repeat_interleave(2, 2).repeat_interleave(2, 3),
        labels=("boot", "pullover", "trousers"),
        t=0.3,
        name="water",
    )


@cache
def patches():
    """Two garments, and patches that attend to near ones, the more so the less noise there is."""
    x = data.fashion_mnist("test", 32).x[:2, 0].numpy()
    levels, random = np.linspace(0, 1, 6), np.random.default_rng(0)
    shape = (2, 6, 3, 2, 16, 16)
    row, column = np.divmod(np.arange(16), 4)
    off = (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
    near = (1 - levels)[:, None, None, None, None] * off
    attention = np.exp(random.standard_normal(shape) - near)
    attention /= attention.sum(-1, keepdims=True)
    t = levels[:, None, None]
    pictures = (1 - t) * x[:, None] + t * random.standard_normal((2, 1, 32, 32))
    gates = random.uniform(0.1, 0.6, (3, 2)) * (1 + t)
    return PatchLab(
        levels, pictures.clip(-1, 1), attention, gates, labels=("boot", "pullover"), name="patches"
    )


@cache
def few():
    """A Gaussian, whose flow is z → μ + s z, and students that are off by this and that."""
    axis = np.linspace(-3, 3, 9)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    exact = [0.5, -0.25] + 0.5 * z
    one, other = np.array([[0.06, -0.08], [0.3, 0.4]])
    students = {
        "teacher": {1: 0 * z + [0.5, -0.25], 2: (z + exact) / 3, 4: exact + 0.02 * z},
        "direct": {1: exact + one},
        "consistency": {1: exact + other, 2: exact + other / 10},
    }
    over = np.linspace(-3, 3, 61)
    curves = {"z": over, "exact": over**3 / 9, "direct": over**3 / 10, "GAN": np.sin(over)}
    return FewSteps(
        z,
        exact,
        students,
        loose={"teacher": 4},
        paths=[(1 - t) * exact + t * z for t in (0.75, 0.5, 0.25)],
        data=exact,
        quantiles=curves,
        crowd="consistency",
        name="few",
    )


def any_decoder(**sizes):
    """A decoder that was not trained, but makes images."""
    random = torch.Generator().manual_seed(0)
    net = Decoder(**sizes)
    with torch.no_grad():
        for p in net.parameters():
            noise = torch.randn(p.shape, generator=random)
            p.copy_(noise / p[0].numel() ** 0.5 if p.dim() > 1 else p + 0.1 * noise)
    return halved(net)


@cache
def codes():
    """Four examples of 64 codes each, of 40 that there are, and some chances of the next."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, 40, (4, 64))
    chances = np.exp(2 * random.standard_normal((4, 64, 40)))
    chances /= chances.sum(-1, keepdims=True)
    looks = np.linspace(-0.9, 0.9, 40)[:, None, None] + random.uniform(-0.1, 0.1, (40, 4, 4))
    return CodeLab(
        any_decoder(latent=4, width=8).state_dict(),
        random.standard_normal((40, 4)).astype(np.float16),
        tokens,
        looks,
        labels=("boot", "pullover", "trousers", "shirt"),
        chances=chances,
        place=19,
        edits={20: 12},
        written=7,
        name="codes",
    )


def any_painter(dim=16, depth=2, heads=2, context=16, layers=1, block=JointBlock):
    """A text-to-image network that was not trained, but paints, and listens to its caption."""
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = TextEncoder(captions.WORDS, captions.LENGTH, context, layers, heads)
        net = TextToImage(encoder, dim=dim, depth=depth, heads=heads, block=block)
    with torch.no_grad():
        for name, p in net.named_parameters():
            noise = torch.randn(p.shape, generator=random)
            if p.dim() == 1:
                p.add_(0.2 * noise)
            elif "embed" not in name and "encoder.word" not in name:
                p.copy_(noise / p.shape[1] ** 0.5)
    return net.double()


@cache
def small_painter():
    """What TypeACaption takes: a network and a decoder that were not trained, and the words."""
    decoder = any_decoder(latent=4, width=8, channels=3)
    return any_painter().state_dict(), decoder.state_dict(), 0.1, 1.3, captions


@cache
def painter():
    """A caption that is painted from two noises."""
    return TypeACaption(
        *small_painter(),
        heads=(2, 2),
        caption="a small red circle left of a large blue square",
        negative="a ring",
        steps=6,
        pictures=2,
        name="caption",
    )


FIGURES = {"flow_field": flow_field, "cloud": cloud, "garments": garments}
OTHERS = {
    "game": game,
    "best": best,
    "walk": walk,
    "lab": lab,
    "guidance": guidance,
    "processes": processes,
    "water": water,
    "patches": patches,
    "few": few,
    "codes": codes,
    "caption": painter,
}
EVERY = {**FIGURES, **OTHERS}
