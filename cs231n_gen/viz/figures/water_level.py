"""WaterLevel: the weight of the KL term as water over the spectrum of the data."""

import math
from collections.abc import Sequence
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bytes, Dict, Int, List, Unicode
from traitlets import Float as Number

from cs231n_gen.common.palette import DATA, GREY, SKY
from cs231n_gen.viz.widget import MovingFigure, half, short

ALT = "The spectrum of the data under water, and what an image loses on its way through latents"
SETTING = ("theta", "t", "image", "seed")
HEAVIEST = 40_000  # numbers of all eigenvectors
MOST = 8  # images
HIGHEST = 1.25  # of θ, in units of the largest eigenvalue
STRIP = 120_000  # pixels of the strip


class WaterLevel(MovingFigure):
    """The best linear VAE floods the spectrum of the data up to θ, the weight of the KL term.

    On an axis of variance λ, and summed over axes (`truth.linear_vae`):

        MSE = Σ min(λ, θ)      KL = Σ ½ log⁺(λ / θ) nats
        u ~ N(√(λ − θ)⁺ c / λ, min(1, θ / λ))      x̂ = mean + Σ √(λ − θ)⁺ u e

    for an image whose coefficient on that axis e is c. Beside the spectrum are three pictures: the
    image x, its reconstruction x̂ = E[x | u], and x′, a sample from p(x | u), which is x̂ with
    Gaussian noise of variance min(λ, θ) on each axis. In expectation, x′ is twice as far from x as
    x̂ is, in squared error. Below, u_t = (1 − t) u + t z goes from latents to noise, and is decoded.

    Axes that are not passed are always under water: their variance is lost. What x′ draws there is
    spread evenly over all directions orthogonal to the axes that are passed, with the same error in
    expectation.

    Args:
        eigenvalues: λ of the covariance of the data, falling and positive.
        eigenvectors: a row of length 1 for each, orthogonal to the others. They travel as bytes, a
            scale for each row: no number is off by more than 1/254 of the largest of its row.
        mean: of the data.
        images: one to eight, in [−1, 1].
        rest: the variance on all axes that are not passed, in total.
        strip: pictures in [−1, 1] of another (not linear) autoencoder, at each of `levels`; a row
            for each image, or one row for all.
        levels: the t of the pictures of the strip, rising or falling; from 0 to 1 in equal steps if
            None.
        labels: names of the images.
        theta: θ to begin with, from the smallest eigenvalue to 1.25 times the largest; if None, a
            third of the axes that are passed are above water.
        t: the noise level to begin with, from 0 (latents) to 1 (noise).
        image: which image is shown first.
        seed: of all noise.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes, or it is too much for a page.
    """

    module = "figures/water_level"
    setting: ClassVar[tuple[str, ...]] = SETTING

    eigenvalues = List().tag(sync=True)
    eigenvectors = Bytes().tag(sync=True)  # signed bytes
    scales = List().tag(sync=True)  # what a byte of each eigenvector stands for
    mean = Bytes().tag(sync=True)
    pictures = Bytes().tag(sync=True)
    shape = List().tag(sync=True)  # images, height, width
    rest = Number(0.0).tag(sync=True)
    labels = List().tag(sync=True)
    strip = Bytes().tag(sync=True)
    strip_shape = List().tag(sync=True)  # rows, levels, height, width; nothing without a strip
    levels = List().tag(sync=True)  # of the strip, falling
    start = Dict().tag(sync=True)  # the setting that "Again" brings back
    theta = Number(1.0).tag(sync=True)
    t = Number(0.0).tag(sync=True)
    image = Int(0).tag(sync=True)
    seed = Int(0).tag(sync=True)
    name = Unicode("water-level").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        eigenvalues: Float[ArrayLike, "axes"],
        eigenvectors: Float[ArrayLike, "axes pixels"],
        mean: Float[ArrayLike, "pixels"],
        images: Float[ArrayLike, "images height width"],
        *,
        rest: float = 0.0,
        strip: Float[ArrayLike, "rows levels H W"] | None = None,
        levels: Sequence[float] | None = None,
        labels: Sequence[str] | None = None,
        theta: float | None = None,
        t: float = 0.0,
        image: int = 0,
        seed: int = 0,
        alt: str = ALT,
        **options,
    ):
        lam, vectors = _spectrum(eigenvalues, eigenvectors)
        pictures, mean = _pictures(images, mean, vectors.shape[1])
        if not (math.isfinite(rest) and rest >= 0):
            raise ValueError(f"rest must be a variance, 0 or more, got {rest}")
        names = [f"image {k + 1}" for k in range(len(pictures))] if labels is None else [*labels]
        if len(names) != len(pictures):
            raise ValueError(f"labels must be {len(pictures)} names, got {len(names)}")
        theta = float(lam[len(lam) // 3] if theta is None else theta)
        _fits(theta, lam, t, image, len(pictures), seed)
        film, times = _film(strip, levels, len(pictures))
        scales = abs(vectors).max(1) / 127
        start = {"theta": theta, "t": float(t), "image": image, "seed": seed}
        super().__init__(
            eigenvalues=short(lam),
            eigenvectors=(vectors / scales[:, None]).round().astype(np.int8).tobytes(),
            scales=short(scales),
            mean=half(mean),
            pictures=pictures.tobytes(),
            shape=[*pictures.shape],
            rest=float(rest),
            labels=[*map(str, names)],
            strip=film.tobytes(),
            strip_shape=[*film.shape] if film.size else [],
            levels=short(times),
            start=start,
            alt=alt,
            **start,
            **options,
        )

    def draw(self) -> Figure:
        lam, theta = np.array(self.eigenvalues), self.theta
        widths = {"width_ratios": (4, 2, 2, 2), "layout": "constrained"}
        figure, (left, *others) = plt.subplots(1, 4, figsize=(9.6, 2.8), **widths)
        alive = lam > theta
        axes = np.arange(1, len(lam) + 1)
        left.bar(axes, lam, 1, color=np.where(alive, DATA, GREY), edgecolor="white", lw=0.3)
        left.axhspan(1e-9, theta, color=SKY, alpha=0.45, lw=0)
        left.set(yscale="log", ylim=(0.8 * lam[-1], 1.5 * lam[0]), xlabel="axis")
        left.set_ylabel(r"variance $\lambda$")
        mse = np.minimum(lam, theta).sum() + self.rest
        kl = 0.5 * np.log(lam[alive] / theta).sum()
        left.set_title(f"θ = {theta:.3g}: MSE {mse:.1f}, KL {kl:.1f} nats")
        names = ("x", r"$\hat{x} = E[x\,|\,u]$", r"$x' \sim p(x\,|\,u)$")
        for ax, picture, name in zip(others, self._costs(), names, strict=True):
            greys = (np.clip(picture, -1, 1) * 8).round()  # few: a still picture is small
            ax.imshow(greys, cmap="gray", vmin=-8, vmax=8)
            ax.set(xticks=[], yticks=[], title=name)
            ax.spines[:].set_visible(False)
        return figure

    def _costs(self) -> list[np.ndarray]:
        """x, x̂ and x′."""
        n, height, width = self.shape
        lam, theta = np.array(self.eigenvalues), self.theta
        vectors = np.frombuffer(self.eigenvectors, np.int8).reshape(len(lam), -1)
        vectors = vectors * np.array(self.scales)[:, None]
        mean = np.frombuffer(self.mean, "<f2").astype(float)
        pictures = np.frombuffer(self.pictures, np.uint8).reshape(n, -1) / 127.5 - 1
        x = pictures[min(max(self.image, 0), n - 1)]
        random = np.random.default_rng(self.seed)
        decoder = np.sqrt(np.maximum(0, lam - theta))
        spread = np.sqrt(np.minimum(1, theta / lam))
        u = decoder / lam * (vectors @ (x - mean)) + spread * random.standard_normal(len(lam))
        x_hat = mean + decoder * u @ vectors
        lost = np.sqrt(np.minimum(lam, theta)) * random.standard_normal(len(lam)) @ vectors
        noise = random.standard_normal(len(mean))
        off = noise - vectors.T @ (vectors @ noise)
        off *= math.sqrt(self.rest / max(1, len(mean) - len(lam)))
        return [one.reshape(height, width) for one in (x, x_hat, x_hat + lost + off)]


def _spectrum(eigenvalues, eigenvectors) -> tuple[np.ndarray, np.ndarray]:
    lam, vectors = np.asarray(eigenvalues, dtype=float), np.asarray(eigenvectors, dtype=float)
    if lam.ndim != 1 or len(lam) < 2 or not (lam > 0).all() or not np.isfinite(lam).all():
        said = "eigenvalues must be (axes,), two or more, positive and finite"
        raise ValueError(f"{said}, got {lam.tolist() if lam.size < 9 else lam.shape}")
    if (np.diff(lam) > 0).any():
        raise ValueError("eigenvalues must fall from the largest to the smallest")
    if vectors.ndim != 2 or len(vectors) != len(lam) or vectors.shape[1] < len(lam):
        said = f"eigenvectors must be ({len(lam)}, pixels), a row for each eigenvalue"
        raise ValueError(f"{said}, got {vectors.shape}")
    if not (abs(vectors @ vectors.T - np.eye(len(lam))) < 1e-3).all():  # also refuses NaN
        raise ValueError("eigenvectors must be orthogonal rows of length 1")
    if vectors.size > HEAVIEST:
        said = f"eigenvectors hold {vectors.size} numbers, too many for a page"
        raise ValueError(f"{said}: at most {HEAVIEST}, so pass fewer axes")
    return lam, vectors


def _pictures(images, mean, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    images, mean = np.asarray(images, dtype=float), np.asarray(mean, dtype=float)
    fits = images.ndim == 3 and 1 <= len(images) <= MOST
    if not fits or images[0].size != pixels:
        said = f"images must be one to {MOST} of {pixels} pixels, (n, height, width)"
        raise ValueError(f"{said}, got {images.shape}")
    if mean.shape != (pixels,) or not np.isfinite(mean).all():
        raise ValueError(f"mean must be {pixels} finite numbers, got {mean.shape}")
    return _greys("images", images), mean


def _greys(name: str, images: np.ndarray) -> np.ndarray:
    """[−1, 1] as 0 … 255."""
    if not (abs(images) <= 1 + 1e-6).all():  # also refuses NaN
        raise ValueError(f"{name} must be in [−1, 1]: some numbers are not")
    return np.clip((images + 1) * 127.5, 0, 255).round().astype(np.uint8)


def _film(strip, levels, images: int) -> tuple[np.ndarray, np.ndarray]:
    """The strip as bytes and its levels, from noise to data."""
    if strip is None:
        if levels is not None:
            raise ValueError("levels are those of the strip: pass a strip as well")
        return np.zeros((0, 0, 0, 0), np.uint8), np.zeros(0)
    strip = np.asarray(strip, dtype=float)
    if strip.ndim != 4 or len(strip) not in (1, images) or strip.shape[1] < 2:
        said = f"strip must be (rows, levels, H, W), one row or {images}, two levels or more"
        raise ValueError(f"{said}, got {strip.shape}")
    if strip.size > STRIP:
        said = f"strip holds {strip.size} pixels, too many for a page"
        raise ValueError(f"{said}: at most {STRIP}, so pass fewer levels")
    n = strip.shape[1]
    times = np.linspace(0, 1, n) if levels is None else np.asarray(levels, dtype=float)
    steps = np.diff(times)
    inside = times.shape == (n,) and ((times >= 0) & (times <= 1)).all()
    if not inside or not ((steps > 0).all() or (steps < 0).all()):
        said = f"levels must be {n} numbers from 0 to 1, rising or falling"
        raise ValueError(f"{said}, got {times.tolist()}")
    order = np.argsort(-times)
    return np.ascontiguousarray(_greys("strip", strip)[:, order]), times[order]


def _fits(theta, lam, t, image, images, seed) -> None:
    low, high = float(lam[-1]), HIGHEST * float(lam[0])
    if not low <= theta <= high:
        raise ValueError(f"theta must be from {low:.4g} to {high:.4g}, got {theta}")
    if not 0 <= t <= 1:
        raise ValueError(f"t must be from 0 to 1, got {t}")
    if image not in range(images):
        raise ValueError(f"image must be a whole number below {images}, got {image}")
    if not (isinstance(seed, int) and seed >= 0):
        raise ValueError(f"seed must be a whole number of at least 0, got {seed}")
