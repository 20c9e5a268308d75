"""Chapter 10's transformer beside diffusers' `SD3Transformer2DModel` of the same size.

    python tests/bench/text2image.py [--rounds 12] [--seconds 60 120] [--seeds 3] [--judged 200]

Both read the same captions by the same frozen encoder, and learn the same latents by the same loop,
with the best of some learning rates, found with a quarter of the shortest time. Width, depth, heads
and patches are the same; theirs has a modulation of its own in every block and stream, and no mask.
`cross` is the block that is shipped.

First a training step of each in turns within one process, in CPU seconds on one thread: ratios are
medians over rounds, with quartiles. Then, unless --seconds is 0, the share of captions of which all
is painted right, after so many CPU seconds of training and in so many calls, for combinations that
were seen and for those held out.
"""

import argparse
import itertools
import statistics
import time

import torch
from torch import nn

from cs231n_gen import flow
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.experiments import caption_trial, dit_trial, picture_trial
from cs231n_gen.experiments.prior_trial import MuonAndAdam
from cs231n_gen.given.training import EMA
from cs231n_gen.text_to_image import JointBlock

CALLS = (2, 4, 8, 20)


class SD3(nn.Module):
    """Theirs, called like `TextToImage`, with the sizes of what is shipped. What has no caption is
    an empty one, as in their pipelines."""

    def __init__(self, diffusers, encoder):
        super().__init__()
        sizes = picture_trial.SHIPPED
        self.encoder = encoder
        self.net = diffusers.SD3Transformer2DModel(
            sample_size=picture_trial.SHAPE[-1],
            patch_size=2,
            in_channels=picture_trial.SHAPE[0],
            out_channels=picture_trial.SHAPE[0],
            num_layers=sizes["depth"],
            attention_head_dim=sizes["dim"] // sizes["heads"],
            num_attention_heads=sizes["heads"],
            joint_attention_dim=encoder.dim,
            caption_projection_dim=sizes["dim"],
            pooled_projection_dim=encoder.dim,
            pos_embed_max_size=picture_trial.SHAPE[-1] // 2,
        )

    @property
    def blocks(self):
        return self.net.transformer_blocks

    def forward(self, x_t, t, tokens):
        with torch.no_grad():
            words, pooled = self.encoder(tokens, tokens > 0)
        return self.net(x_t, words, pooled, 1000 * t).sample


def contestants(encoder):
    """What makes each network from a seed."""
    libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")
    diffusers = libraries.diffusers_networks()

    def theirs(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SD3(diffusers, encoder)

    return {
        "joint": lambda seed: picture_trial.new(encoder, seed, block=JointBlock),
        "cross": lambda seed: picture_trial.new(encoder, seed),
        "SD3 of diffusers": theirs,
    }


def steps_in_turns(makers, data, batch, rounds):
    """CPU seconds of training steps, by contestant: loss, gradients, optimiser and average."""
    g = torch.Generator().manual_seed(0)
    nets = {name: make(0) for name, make in makers.items()}
    optimisers = {name: MuonAndAdam(net, 1e-3) for name, net in nets.items()}
    averages = {name: EMA(net) for name, net in nets.items()}
    spent = {name: [] for name in nets}
    for n in range(rounds + 2):
        drawn = picture_trial.batch_of(data, batch, picture_trial.LEVELS, picture_trial.DROP, g)
        for name in list(nets) if n % 2 else list(nets)[::-1]:
            start = time.process_time()
            optimisers[name].zero_grad()
            flow.loss(nets[name], *drawn).backward()
            optimisers[name].step()
            averages[name].update(nets[name])
            spent[name].append(time.process_time() - start)
    return {name: seconds[2:] for name, seconds in spent.items()}  # the first two warm up


def report_steps(makers, data, options):
    spent = steps_in_turns(makers, data, options.batch, options.rounds)
    theirs = spent["SD3 of diffusers"]
    for name, make in makers.items():
        weights = sum(p.numel() for p in picture_trial.own_weights(make(0)))
        ratios = [b / a for a, b in zip(spent[name], theirs, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name}: {weights / 1000:.0f} k weights, {statistics.median(spent[name]):.3f} CPU s a "
            f"step of {options.batch}; {middle:.2f} ({low:.2f}–{high:.2f}) of SD3's steps a second",
            flush=True,
        )


def train(make, data, seconds, rate, seed, batch):
    model = make(seed)
    fit = picture_trial.fit(
        model,
        data,
        seconds=seconds,
        of_processor=True,
        lr=rate,
        batch=batch,
        generator=torch.Generator().manual_seed(seed),
        progress=False,
    )
    return model, len(fit.history.losses)


def best_rate(make, data, held, options):
    """Of --rates, the one with the least loss on new pictures after a short training."""
    losses = {}
    for rate in options.rates:
        model, _ = train(make, data, min(options.seconds) / 4, rate, 0, options.batch)
        losses[rate] = float(dit_trial.held_out_loss(model, held).mean())
    print("  " + ", ".join(f"rate {rate:g}: loss {loss:.4f}" for rate, loss in losses.items()))
    return min(losses, key=losses.get)


def report_pictures(makers, coder, data, options):
    fresh = picture_trial.latents_of(coder, 1000, seed=20_000, progress=False)
    held = dit_trial.LatentData(fresh.u, fresh.tokens)
    asked = {
        kind: picture_trial.scenes_to_judge(options.judged, held_out=kind == "held out")
        for kind in ("seen", "held out")
    }
    for name, make in makers.items():
        print(name, flush=True)
        rate = best_rate(make, data, held, options) if len(options.rates) > 1 else options.rates[0]
        for seconds, seed in itertools.product(options.seconds, range(options.seeds)):
            model, steps = train(make, data, seconds, rate, seed, options.batch)
            loss = float(dit_trial.held_out_loss(model, held).mean())
            print(f"  {seconds:g} CPU s, seed {seed}: {steps} steps, loss on new ones {loss:.4f}")
            for kind, scenes in asked.items():
                for w in options.w:
                    start, cells = time.process_time(), []
                    for calls in options.calls:
                        found = picture_trial.judge(model, coder, scenes, w=w, steps=calls).reading
                        cells.append(f"{float(found.right.float().mean()):.1%} in {calls}")
                    took = (time.process_time() - start) / sum(options.calls) / options.judged
                    shares = ", ".join(cells)
                    print(f"    {kind}, w = {w:g}: {shares} ({took * 1000:.2f} ms a call)")
            print(end="", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 120])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-3, 1e-2])
    parser.add_argument("--calls", type=int, nargs="+", default=CALLS)
    parser.add_argument("--judged", type=int, default=200)
    parser.add_argument("--w", type=float, nargs="+", default=[1.0])
    parser.add_argument("--pictures", type=int, default=picture_trial.COUNT, help="to train on")
    parser.add_argument("--only", nargs="+", help="of the contestants, after the steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    coder, encoder = picture_trial.load_coder(), caption_trial.load_words()
    makers = contestants(encoder)
    data = picture_trial.latents_of(coder, options.pictures, progress=False)
    if options.rounds:
        report_steps(makers, data, options)
    if any(options.seconds):
        chosen = {name: make for name, make in makers.items() if name in (options.only or makers)}
        report_pictures(chosen, coder, data, options)


if __name__ == "__main__":
    main()
