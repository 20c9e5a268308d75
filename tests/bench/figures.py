"""Figures that move, in headless Chromium on this machine: `python tests/bench/figures.py`.

Frames a second while a figure plays, the time from a move of the pointer to the picture that shows
it, the time to the first picture, and what a page weighs; beside them the same field drawn by
matplotlib under a slider of ipywidgets, in JupyterLab, in the same run.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import torch
from playwright.sync_api import sync_playwright

from cs231n_gen import data, flow
from cs231n_gen.experiments import caption_trial, picture_trial
from cs231n_gen.given import captions
from cs231n_gen.given.mlp import VelocityMLP
from cs231n_gen.latent_nets import Decoder
from cs231n_gen.viz import (
    CodeLab,
    FewSteps,
    FlowField,
    PatchLab,
    ProcessLab,
    Trajectories,
    TypeACaption,
    WaterLevel,
)

RING = data.ring().mixture
BUMPS = ([0.5, 0.3, 0.2], [-1.5, 0.4, 1.8], [0.3, 0.2, 0.25])  # a mixture on the line
RIVAL = "400 arrows of the ring, matplotlib under a slider"
ADDRESS = r"(http://\S+?)/lab\?token=(\w+)"  # what JupyterLab prints
ARGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
# In each frame: the moment at which the figure was ready and had been given to the screen.
FIRST = """
new MutationObserver((_, observer) => {
    if (!document.querySelector("[data-ready]")) return;
    observer.disconnect();
    requestAnimationFrame(() => { window.shown_at = performance.now(); });
}).observe(document, { childList: true, subtree: true, attributes: true });
"""
COUNT = """async (seconds) => {
    const times = [];
    const end = performance.now() + 1000 * seconds;
    while (performance.now() < end) {
        times.push(await new Promise(requestAnimationFrame));
    }
    const gaps = times.slice(1).map((t, i) => t - times[i]).sort((a, b) => a - b);
    return { rate: 1000 * (times.length - 1) / (times.at(-1) - times[0]),
             slow: gaps[Math.floor(0.95 * gaps.length)] };
}"""
WATCH = """(which) => {
    window.moves = [];
    const canvas = document.querySelectorAll("canvas[tabindex]")[which];
    let began;
    window.addEventListener("pointermove", () => (began = performance.now()), true);
    canvas.addEventListener("pointermove", (event) => {
        const worked = performance.now();  // after the figure's own listener: it was drawn
        const work = worked - began;
        requestAnimationFrame(() => window.moves.push([
            work, performance.now() - began, performance.now() - event.timeStamp]));
    });
}"""
PAINT = """async () => {
    const says = document.querySelector(".gen-says");
    const begun = performance.now();
    const buttons = [...document.querySelectorAll("button")];
    buttons.find((one) => one.textContent === "Other noise").click();
    let [slow, last] = [0, begun];
    while (says.dataset.step !== "20") {
        const now = await new Promise(requestAnimationFrame);
        slow = Math.max(slow, now - last);
        last = now;
    }
    return { all: performance.now() - begun, slow };
}"""
SLIDER = """
import matplotlib.pyplot as plt, numpy as np, torch
from ipywidgets import FloatSlider, interact
from cs231n_gen import data
ring = data.ring().mixture
axis = torch.linspace(-3, 3, 20)
at = torch.cartesian_prod(axis, axis)
def draw(t):
    figure, ax = plt.subplots(figsize=(5, 5))
    ax.quiver(*at.T, *ring.velocity(at, t).T)
    plt.show()
interact(draw, t=FloatSlider(value=0.5, min=0.01, max=1, step=0.01));
"""
CHANGED = """() => new Promise((done) => {
    const begun = performance.now();
    const area = document.querySelector(".widget-interact");
    const before = area.querySelector("img").src;
    new MutationObserver((_, observer) => {
        const image = area.querySelector("img");
        if (!image || image.src === before) return;
        observer.disconnect();
        const finish = () => requestAnimationFrame(() => done(performance.now() - begun));
        image.complete ? finish() : image.addEventListener("load", finish);
    }).observe(area, { childList: true, subtree: true, attributes: true });
    window.waiting = true;
})"""


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of every film")
    parser.add_argument("--json", type=Path, help="also write what was measured here")
    options = parser.parse_args()
    found: dict[str, float] = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(
            args=ARGS, **({"executable_path": path} if path else {})
        )
        for name, figure in figures().items():
            found |= measured(browser, Path(folder), name, figure, options.seconds)
        found["matplotlib under a slider: a move to the picture, ms"] = slider(
            browser, Path(folder)
        )
        browser.close()
    for name, value in found.items():
        print(f"{name:72} {value:8.1f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def figures() -> dict:
    """What is measured."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    net = VelocityMLP(hidden=64).state_dict()
    z = random.standard_normal((20_000, 2))
    film = np.stack([z * (1 - k / 80) for k in range(60)])
    return {
        "chapter 04's two fields": FlowField({"exact": RING, "learned": net}, steps=20),
        "20 000 particles, computed before": Trajectories(film),
        "20 000 particles, ring, live": FlowField({"exact": RING}, particles=20_000, steps=50),
        "1000 particles, net of width 64, live": FlowField({"net": net}, particles=1000, steps=50),
        "ProcessLab, 500 samples": ProcessLab(BUMPS, curve="own", eta=0.5),
        "ProcessLab, 500 samples in 50 steps, divided": ProcessLab(
            BUMPS, curve="own", eta=1.0, steps=50, divided=True
        ),
        "WaterLevel, 48 axes of 256 pixels": water(),
        "PatchLab, 4 blocks of 4 heads over 16 patches": patches(random),
        "FewSteps, 9 students, 1, 2 and 4 calls, 41 × 41 noises": few(random),
        "CodeLab, chapter 08's decoder, 16 examples of 64 codes": codes(random),
        "TypeACaption, what chapter 10 ships": painter(),
    }


def water() -> WaterLevel:
    """Garments, on the leading axes of their spectrum."""
    x = data.fashion_mnist("train", 16).x.flatten(1).double()
    lam, vectors = torch.linalg.eigh(torch.cov(x.T))
    lam, vectors = lam.flip(0), vectors.T.flip(0)
    images = x[:5].reshape(-1, 16, 16)
    return WaterLevel(lam[:48], vectors[:48], x.mean(0), images, rest=float(lam[48:].sum()))


def patches(random: np.random.Generator) -> PatchLab:
    """A garment under noise, and any attention."""
    x = data.fashion_mnist("test", 32).x[:1].numpy()
    t = np.linspace(0, 1, 6)
    noise = random.standard_normal((6, 32, 32))
    pictures = ((1 - t[:, None, None]) * x + t[:, None, None] * noise).clip(-1, 1)
    attention = np.exp(random.standard_normal((1, 6, 4, 4, 16, 16)))
    attention /= attention.sum(-1, keepdims=True)
    return PatchLab(t, pictures, attention, random.uniform(0, 1, (6, 4, 2)))


def few(random: np.random.Generator) -> FewSteps:
    """Euler's steps along the ring's field, and students that are off by any wave."""
    axis = torch.linspace(-3, 3, 41, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    exact, *paths = (flow.sample(RING.velocity, z, 20) * (1 - t) + t * z for t in np.arange(8) / 8)

    def off() -> torch.Tensor:
        wave, way = torch.from_numpy(random.standard_normal((2, 2, 2)))
        return exact + 0.05 * torch.sin(z @ wave) @ way

    students = {f"student {k}": {n: off() for n in (1, 2, 4)} for k in range(9)}
    over = np.linspace(-3, 3, 201)
    lines = {"z": over, "exact": over, **{name: np.sin(over) for name in students}}
    return FewSteps(z, exact, students, paths=torch.stack(paths), data=exact, quantiles=lines)


def codes(random: np.random.Generator) -> CodeLab:
    """Any codes, and a decoder that was not trained."""
    torch.manual_seed(0)
    net = Decoder(latent=16).state_dict()
    tokens, book = random.integers(0, 256, (16, 64)), random.standard_normal((256, 16))
    looks = random.uniform(-1, 1, (256, 4, 4))
    chances = random.dirichlet(np.full(256, 0.05), (16, 64))
    return CodeLab(net, book, tokens, looks, chances=chances)


def painter() -> TypeACaption:
    """The network, the encoder and the decoder that are shipped."""
    model = picture_trial.load_text_to_image(caption_trial.load_words())
    coder = picture_trial.load_coder()
    decoder = coder.decoder.state_dict()
    return TypeACaption(model.state_dict(), decoder, coder.shift, coder.scale, captions)


def way(figure) -> list[tuple[float, float]]:
    """Where the pointer goes, in parts of the canvas: twice round, or from code to code."""
    if isinstance(figure, CodeLab):  # 32 × 8 codes, each of which is decoded
        return [((k % 32 + 0.5) / 32, (k // 32 + 0.5) / 8) for k in range(120)]
    angles = 2 * np.pi * np.arange(120) / 60
    return [(0.5 + 0.25 * np.cos(a), 0.5 + 0.25 * np.sin(a)) for a in angles]


def measured(browser, folder: Path, name: str, figure, seconds: float) -> dict[str, float]:
    """Everything about one figure on its page."""
    html = figure.html()
    file = folder / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{html}", encoding="utf-8")
    first = []
    for _ in range(5):
        tab = browser.new_page(viewport={"width": 1100, "height": 900})
        tab.add_init_script(FIRST)
        tab.goto(file.as_uri())
        frame = tab.frames[1]
        frame.wait_for_function("window.shown_at")
        first.append(frame.evaluate("window.shown_at"))
        if len(first) < 5:
            tab.close()
    found = {
        f"{name}: page, KB": len(html.encode()) / 1000,
        f"{name}: first picture, ms": statistics.median(first),
    }
    inside = tab.frame_locator("iframe")
    if not isinstance(figure, Trajectories):
        which = int(isinstance(figure, CodeLab))  # there the second one holds codes to try
        frame.evaluate(WATCH, which)
        canvas = inside.locator("canvas[tabindex]").nth(which)
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        tab.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.45 * box["height"])
        tab.mouse.down()
        for x, y in way(figure):
            tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        tab.mouse.up()
        work, painted, in_all = zip(*frame.evaluate("window.moves"), strict=True)
        found[f"{name}: a move of the pointer is drawn in, ms"] = statistics.median(work)
        found[f"{name}: … and goes to the screen after, ms"] = statistics.median(painted)
        found[f"{name}: … with the wait for the browser, ms"] = statistics.median(in_all)
    if isinstance(figure, TypeACaption):
        inside.locator("[data-step='20']").wait_for()
        painted = [frame.evaluate(PAINT) for _ in range(5)]
        for key, says in (("all", "a picture in 20 guided steps"), ("slow", "… its slowest frame")):
            found[f"{name}: {says}, ms"] = statistics.median(one[key] for one in painted)
    inside.get_by_role("button", name="Play").click()
    rate = frame.evaluate(COUNT, seconds)
    found[f"{name}: frames a second"] = rate["rate"]
    found[f"{name}: 95 of 100 frames take less than, ms"] = rate["slow"]
    tab.close()
    return found


def slider(browser, folder: Path) -> float:
    """The median of 15 moves of a slider over a quiver plot, in JupyterLab, in ms."""
    cell = nbformat.v4.new_code_cell(SLIDER)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(nb, folder / "slider.ipynb")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--allow-root"]
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    env = {**os.environ, **{place: str(folder / place) for place in places}}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said = next(m for line in process.stdout if (m := re.search(ADDRESS, line)))
            time.sleep(1)
            tab = browser.new_page(viewport={"width": 1100, "height": 900})
            tab.set_default_timeout(60_000)
            tab.goto(f"{said[1]}/lab/tree/slider.ipynb?token={said[2]}")
            tab.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').first.wait_for()
            tab.wait_for_timeout(2000)
            tab.locator(".jp-CodeCell .cm-content").first.click()
            tab.keyboard.press("Control+Enter")
            tab.locator(".jp-OutputArea img").first.wait_for()
            handle = tab.locator(".noUi-handle").first
            took = []
            for _ in range(15):
                handle.focus()
                tab.evaluate(f"window.moved = ({CHANGED})(); 0")
                tab.keyboard.press("ArrowRight")
                took.append(tab.evaluate("window.moved"))
                tab.wait_for_timeout(150)
            return statistics.median(took)
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
