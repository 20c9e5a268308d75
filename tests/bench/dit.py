"""A training step of the DiT of chapter 09, beside others of the same sizes.

    python tests/bench/dit.py [--rounds 12] [--threads 1 2]

Forward and backward, the same numbers, in turns within one process. `diffusers` is their
DiTTransformer2DModel in eval mode, since in training it drops labels. `plain` has our outer layers
and blocks built as others build them: layer norms as modules, attention by torch's function. What
is saved for the backward pass is summed over tensors as autograd stores them, each storage once,
parameters not counted. Ratios are medians over rounds of ours / theirs, with quartiles.
"""

import argparse
import ast
import inspect
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import dit
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT

SIZES = {"size": 16, "channels": 4, "patch": 2, "dim": 384, "depth": 6, "heads": 6, "classes": 11}
BATCH = 16
PARTS = (dit.modulate, dit.adaptive_norm, dit.add_gated, dit.Block, dit.DiT)


class PlainBlock(nn.Module):
    """adaLN-Zero as one finds it elsewhere, every step a module or an operation of its own."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.before_mlp = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.qkv, self.project = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.act = nn.GELU(approximate="tanh")
        self.conditions = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def attend(self, x):
        B, T, D = x.shape
        qkv = self.qkv(x).reshape(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.project(out.transpose(1, 2).reshape(B, T, D))

    def forward(self, x, c, grid=None):
        b1, a1, g1, b2, a2, g2 = (row.unsqueeze(1) for row in self.conditions(c).chunk(6, dim=1))
        x = x + g1 * self.attend(self.before_attention(x) * (1 + a1) + b1)
        h = self.before_mlp(x) * (1 + a2) + b2
        return x + g2 * self.narrow(self.act(self.widen(h)))


def models():
    """Ours and others', with random weights everywhere, so that no gradient is 0."""
    libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")
    diffusers = libraries.diffusers_networks()
    torch.manual_seed(0)
    ours, plain = dit.DiT(**SIZES), dit.DiT(**SIZES)
    plain.blocks = nn.ModuleList(
        PlainBlock(SIZES["dim"], SIZES["heads"]) for _ in range(SIZES["depth"])
    )
    theirs = diffusers.DiTTransformer2DModel(
        num_attention_heads=SIZES["heads"],
        attention_head_dim=SIZES["dim"] // SIZES["heads"],
        in_channels=SIZES["channels"],
        out_channels=SIZES["channels"],
        num_layers=SIZES["depth"],
        sample_size=SIZES["size"],
        patch_size=SIZES["patch"],
        num_embeds_ada_norm=SIZES["classes"] - 1,  # their null label is one more
    ).eval()
    for net in (ours, theirs, plain):
        for w in net.parameters():
            nn.init.normal_(w, std=0.02)
    return {
        "ours": (ours, ours),
        "diffusers": (
            theirs,
            lambda x, t, y: theirs(x, timestep=1000 * t, class_labels=y).sample,
        ),
        "plain": (plain, plain),
    }


def step(net, call, x, t, y, adam=None):
    net.zero_grad()
    (call(x, t, y) - x).square().mean().backward()
    if adam:
        adam.step()


def saved(net, call, *batch):
    """Bytes that a step keeps for its backward pass, parameters aside."""
    own = {w.untyped_storage().data_ptr() for w in net.parameters()}
    kept, alive = {}, []

    def pack(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)  # so that no address is used twice
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = (call(*batch) - batch[0]).square().mean()
    loss.backward()
    net.zero_grad()
    return sum(kept.values())


def lines(source):
    """Lines of code: those with something on them that is no docstring and no comment."""
    tree = ast.parse(source)
    blank = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            blank |= set(range(node.lineno, node.end_lineno + 1))
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and n not in blank
        for n, line in enumerate(source.splitlines(), 1)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--adam", action="store_true", help="with a step of AdamW")
    options = parser.parse_args()
    nets = models()
    g = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, SIZES["channels"], SIZES["size"], SIZES["size"], generator=g)
    batch = x, torch.rand(BATCH, generator=g), torch.arange(BATCH) % (SIZES["classes"] - 1)
    code = {part.__name__: lines(inspect.getsource(part)) for part in PARTS}
    print(f"lines of code without docstrings: {sum(code.values())}, {code}")
    for name, (net, call) in nets.items():
        weights = sum(w.numel() for w in net.parameters())
        kept = saved(net, call, *batch) / 2**20
        print(f"{name}: {weights / 1e6:.2f} M weights, {kept:.1f} MiB saved")
    adams = {
        name: torch.optim.AdamW(net.parameters(), lr=1e-4) if options.adam else None
        for name, (net, _) in nets.items()
    }
    for threads in options.threads:
        torch.set_num_threads(threads)
        spent = {name: [] for name in nets}
        for n in range(options.rounds + 1):
            for name in list(nets) if n % 2 else list(nets)[::-1]:
                start = time.process_time()
                step(*nets[name], *batch, adams[name])
                spent[name].append(time.process_time() - start)
        ours = spent["ours"][1:]  # the first round warms up
        print(f"{threads} threads, ours {statistics.median(ours):.2f} CPU s a step")
        for name in list(nets)[1:]:
            ratios = [a / b for a, b in zip(ours, spent[name][1:], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"  ours / {name}: {middle:.3f} ({low:.3f}–{high:.3f})", flush=True)


if __name__ == "__main__":
    main()
