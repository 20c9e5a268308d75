"""Train the teacher of chapter 12, a flow of garments at 16×16: `python data/train_teacher.py`.

Writes `teacher.safetensors` (float16) and says what it measures. `--seconds` says how many CPU
seconds it may take. The seed is fixed, but how many steps fit depends on the machine. Nothing is
written before the end, so Ctrl-C leaves the file as it was.
"""

import argparse
import copy
import math
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cs231n_gen import flow, guidance, schedules  # noqa: E402
from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.given import judge  # noqa: E402
from cs231n_gen.given.data import Images, fashion_mnist  # noqa: E402
from cs231n_gen.given.training import EMA  # noqa: E402
from cs231n_gen.given.unet import UNet  # noqa: E402

WIDTH, NULL, BATCH, LR = 24, 10, 64, 2e-3


def main() -> None:
    """Train, measure, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=900.0, help="CPU seconds, one thread")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train, test = fashion_mnist("train", 16), fashion_mnist("test", 16)
    net = fit(UNet(width=WIDTH, classes=11), train, test, seconds)
    for w in (0.0, 1.0):
        right, far = measured(net, test, 1000, w)
        print(f"w = {w:g}: right class {right:.1%}, Fréchet distance {far:.2f}")
    print(f"1000 training images: {judge.frechet(train.x[:1000], test.x):.2f}")
    with draft_of(HERE / "teacher.safetensors") as draft:
        save_file({k: v.half().contiguous() for k, v in net.state_dict().items()}, draft)


def fit(net: nn.Module, train: Images, test: Images, seconds: float) -> nn.Module:
    """The averaged weights after some CPU seconds; progress is printed.

    The learning rate stays for the first half of the time and falls as a cosine in the second: a
    long time at the high rate is worth more here than an early descent.
    """
    g = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), LR, betas=(0.9, 0.99), fused=True)
    average = EMA(net, 0.1)
    used, steps, losses, told = 0.0, 0, [], 0.0
    while used < seconds:
        start = time.process_time()
        progress = used / seconds
        fall = 1 if progress < 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * progress - 1)))
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1, (steps + 1) / 100) * fall
        i = torch.randint(len(train.x), (BATCH,), generator=g)
        y = guidance.drop_condition(train.y[i], 0.1, NULL, g)
        z = torch.randn(train.x[i].shape, generator=g)
        t = schedules.logit_normal(BATCH, generator=g)
        L = flow.loss(net, train.x[i], z, t, y)
        optimizer.zero_grad()
        L.backward()
        optimizer.step()
        average.update(net)
        losses.append(L.item())
        steps += 1
        used += time.process_time() - start
        if used >= told + seconds / 10 or used >= seconds:
            told = used
            right, far = measured(averaged(net, average), test, 500, 0.0)
            recent = sum(losses[-300:]) / len(losses[-300:])
            print(
                f"{used:5.0f} CPU s, step {steps:6d}, loss {recent:.4f}; "
                f"500 garments, w = 0: right {right:.1%}, Fréchet {far:.2f}",
                flush=True,
            )
    return averaged(net, average)


def averaged(net: nn.Module, average: EMA) -> nn.Module:
    """A copy of the network with the averaged weights, ready to be asked."""
    found = copy.deepcopy(net)
    average.copy_to(found)
    return found.eval()


@torch.no_grad()
def measured(net: nn.Module, test: Images, n: int, w: float) -> tuple[float, float]:
    """Right class and Fréchet distance to test images of n garments in 25 Euler steps."""
    y = torch.arange(n) % 10
    z = torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    parts = zip(z.split(250), y.split(250), strict=True)
    if w:
        x = torch.cat([guidance.sample(net, a, 25, b, NULL, w) for a, b in parts])
    else:
        x = torch.cat([flow.sample(net, a, 25, b) for a, b in parts])
    x = x.clamp(-1, 1)
    return judge.class_accuracy(x, y), judge.frechet(x, test.x)


if __name__ == "__main__":
    main()
