"""A training step of the whole DiT on a GPU: the course's kernels, torch, and torch.compile.

    python tests/bench/dit_kernels.py [--dtypes float32 bfloat16] [--batch 64] [--depth 12]

Forward and backward at dim 384, latents of 32 × 32 × 4, patch 2, all in one precision. Times are
medians of the GPU's clock; ratios say how many times as long as by all of the kernels. A row for
each kernel says what leaving it to torch costs.
"""

import argparse

import torch

from cs231n_gen import dit
from cs231n_gen.instruments.gpu_timer import Clock
from cs231n_gen.kernels.launch import HAVE_TRITON, INTERPRETED, switched_off

KERNELS = ("adaln", "attention", "gated_residual", "patchify")
SIZES = {"size": 32, "channels": 4, "patch": 2, "dim": 384, "heads": 6, "classes": 11}


def training_step(call, net):
    """What is timed: forward and backward, with gradients of all weights."""

    def step(x, t, y):
        loss = (call(x, t, y) - x).square().mean()
        return torch.autograd.grad(loss, list(net.parameters()))

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--depth", type=int, default=12)
    options = parser.parse_args()
    if not torch.cuda.is_available() or not HAVE_TRITON or INTERPRETED:
        parser.exit(message="This needs a GPU and Triton, and TRITON_INTERPRET unset.\n")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {options.batch}")
    clock = Clock()
    for name in options.dtypes:
        dtype = getattr(torch, name)
        torch.manual_seed(0)
        net = dit.DiT(depth=options.depth, **SIZES).to("cuda", dtype)
        for w in net.parameters():
            torch.nn.init.normal_(w, std=0.02)
        x = torch.randn(options.batch, 4, 32, 32, device="cuda", dtype=dtype)
        t = torch.rand(options.batch, device="cuda", dtype=dtype)
        batch = x, t, torch.arange(options.batch, device="cuda") % 10
        step = training_step(net, net)
        ours = clock(step, [batch])
        print(f"{name}: by kernels {ours:.2f} ms")
        for off in (*((kernel,) for kernel in KERNELS), KERNELS):
            with switched_off(*off):
                title = "torch" if off == KERNELS else f"without {off[0]}"
                print(f"  {title}: {clock(step, [batch]) / ours:.3f} times as long", flush=True)
        with switched_off(*KERNELS):
            compiled = training_step(torch.compile(net), net)
            ratio = clock(compiled, [batch]) / ours
            print(f"  torch.compile: {ratio:.3f} times as long", flush=True)


if __name__ == "__main__":
    main()
