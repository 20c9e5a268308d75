"""Train the judge on the course's garments: `python data/train_judge.py`. About 3 minutes on 2
cores.

Writes `judge.safetensors` and says what it measures. The seed is fixed; other machines round
differently, so the bytes may differ, the accuracy by a few tenths of a percent.
"""

import math
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm.auto import trange

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.given.data import fashion_mnist  # noqa: E402
from cs231n_gen.given.judge import Judge  # noqa: E402
from cs231n_gen.given.metrics import frechet_distance  # noqa: E402

EPOCHS, BATCH, LR = 16, 128, 4e-3


def augmented(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shifted by up to a pixel, and mirrored half the time."""
    padded = F.pad(x, (1, 1, 1, 1), value=-1.0)
    i, j = torch.randint(0, 3, (2,), generator=generator).tolist()
    x = padded[:, :, i : i + 16, j : j + 16]
    mirror = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirror[:, None, None, None], x.flip(-1), x)


def main() -> None:
    """Train, write the weights, measure."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    train, test = fashion_mnist("train", 16), fashion_mnist("test", 16)
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=LR, weight_decay=0.02)
    steps = EPOCHS * (len(train.x) // BATCH)
    start = time.perf_counter()
    for step in trange(steps, desc="judge"):
        if step % (len(train.x) // BATCH) == 0:
            order = torch.randperm(len(train.x), generator=g)
        k = step % (len(train.x) // BATCH)
        batch = order[k * BATCH : (k + 1) * BATCH]
        rise = min(1.0, step / (0.1 * steps))
        optimizer.param_groups[0]["lr"] = LR * rise * 0.5 * (1 + math.cos(math.pi * step / steps))
        logits = judge(augmented(train.x[batch], g))
        loss = F.cross_entropy(logits, train.y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    judge.eval()
    with draft_of(HERE / "judge.safetensors") as draft:
        save_file(judge.state_dict(), draft)
    with torch.no_grad():
        seen = judge(test.x).argmax(1)
        a, b = judge.features(train.x), judge.features(test.x)
    took, right = time.perf_counter() - start, (seen == test.y).double().mean()
    print(f"{took:.0f} s, right on test images: {right:.2%}")
    picks = [torch.randperm(len(a), generator=g)[: len(b)] for _ in range(5)]
    distances = [frechet_distance(a[p], b) for p in picks]
    print("Fréchet distance, 2000 training, 2000 test images:", [f"{d:.2f}" for d in distances])
    halves = [torch.randperm(len(a), generator=g)[:4000].chunk(2) for _ in range(5)]
    distances = [frechet_distance(a[p], a[q]) for p, q in halves]
    print("2000 training against 2000 other training images:", [f"{d:.2f}" for d in distances])


if __name__ == "__main__":
    main()
