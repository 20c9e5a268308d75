"""Train the flow of chapter 08 in the autoencoder's latents: `python data/train_latent_flow.py`.

Writes `latent_unet.safetensors` (float16) and says what it measures. `--minutes` says how many CPU
minutes it may take. The seed is fixed, but how many steps fit depends on the machine.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cs231n_gen import flow, guidance, latent, schedules  # noqa: E402
from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.experiments.autoencoder_trial import load_autoencoder  # noqa: E402
from cs231n_gen.given import judge  # noqa: E402
from cs231n_gen.given.data import fashion_mnist  # noqa: E402
from cs231n_gen.given.training import Run  # noqa: E402
from cs231n_gen.given.unet import UNet  # noqa: E402

NULL, BATCH, LR = 10, 64, 2e-3
LEVELS = (-0.5, 1.0)  # of the logit-normal distribution of t


def main() -> None:
    """Train, measure, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=25.0, help="CPU minutes, one thread")
    minutes = parser.parse_args().minutes
    torch.set_num_threads(1)
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    train, test = fashion_mnist("train", 32), fashion_mnist("test", 32)
    encoder, decoder, shift, scale = load_autoencoder()
    u = torch.cat([latent.to_latent(encoder, x, shift, scale) for x in train.x.split(500)])
    net = UNet(channels=4, width=24, classes=11)
    start = time.process_time()
    steps = int(minutes * 60 / seconds_a_step(u, train.y))
    with Run(net, steps, lr=LR, warmup=0.02, memory=0.05, label="latent flow") as run:
        for _ in run:
            i = torch.randint(len(u), (BATCH,), generator=g)
            y = guidance.drop_condition(train.y[i], 0.1, NULL, g)
            z = torch.randn(u[i].shape, generator=g)
            t = schedules.logit_normal(BATCH, *LEVELS, generator=g)
            L = flow.loss(net, u[i], z, t, y)
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L)
    print(f"{time.process_time() - start:.0f} CPU s, {steps} steps")
    real = F.avg_pool2d(test.x, 2)
    for w in (0.0, 1.0):
        y = torch.arange(2000) % 10
        z = torch.randn(2000, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        parts = zip(z.split(200), y.split(200), strict=True)
        v = torch.cat([guidance.sample(net, a, 25, b, NULL, w) for a, b in parts])
        x = torch.cat([latent.from_latent(decoder, a, shift, scale) for a in v.split(200)])
        small = F.avg_pool2d(x.clamp(-1, 1), 2)
        right, far = judge.class_accuracy(small, y), judge.frechet(small, real)
        print(f"w = {w:g}: right class {right:.1%}, Fréchet distance {far:.2f}")
    with draft_of(HERE / "latent_unet.safetensors") as draft:
        save_file({k: v.half().contiguous() for k, v in net.state_dict().items()}, draft)


def seconds_a_step(u: torch.Tensor, y: torch.Tensor) -> float:
    """CPU seconds of a training step."""
    net, n = UNet(channels=4, width=24, classes=11), 10
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    start = time.process_time()
    for _ in range(n):
        t = torch.rand(BATCH)
        L = flow.loss(net, u[:BATCH], torch.randn_like(u[:BATCH]), t, y[:BATCH])
        optimizer.zero_grad()
        L.backward()
        optimizer.step()
    return (time.process_time() - start) / n


if __name__ == "__main__":
    main()
