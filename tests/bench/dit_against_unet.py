"""The DiT against the U-Net in the same latents of garments, for equal seconds of a processor.

    python tests/bench/dit_against_unet.py [--seconds 60] [--seeds 2] [--garments 1000]

Each network has as many steps as fit into the time on one thread, with a schedule of that length,
the same data and noise. Of several learning rates each gets the best by its loss, found with a
quarter of the time.
"""

import argparse
import time

import torch

from cs231n_gen.experiments import dit_trial
from cs231n_gen.experiments.autoencoder_trial import load_autoencoder
from cs231n_gen.given.data import fashion_mnist
from cs231n_gen.given.unet import UNet

RATES = (2.5e-3, 5e-3, 1e-2)


def unet(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(channels=4, width=24, classes=dit_trial.CLASSES)


def dit(seed=0):
    return dit_trial.new(seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--garments", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder, decoder, shift, scale = load_autoencoder()
    data, held = (dit_trial.latents_of(encoder, shift, scale, of) for of in ("train", "test"))
    real = fashion_mnist("test", 32).x
    for make in (unet, dit):
        steps = dit_trial.steps_within(options.seconds, make, data)
        trials = []
        for rate in RATES:
            model = make()
            dit_trial.train(model, data, steps // 4, lr=rate, progress=False)
            trials.append(float(dit_trial.held_out_loss(model, held).mean()))
        rate = RATES[trials.index(min(trials))]
        weights = sum(p.numel() for p in model.parameters())
        rates = ", ".join(f"{r:g}: {loss:.4f}" for r, loss in zip(RATES, trials, strict=True))
        print(f"{make.__name__}, {weights / 1000:.0f} k weights, {steps} steps ({rates})")
        for seed in range(options.seeds):
            model, start = make(seed), time.process_time()
            dit_trial.train(model, data, steps, lr=rate, seed=seed, progress=False)
            spent = time.process_time() - start
            loss = dit_trial.held_out_loss(model, held).mean()
            print(f"  seed {seed}: {spent:.0f} CPU s, loss held out {loss:.4f}")
            for w in (0.0, 1.0):
                found = dit_trial.evaluate(
                    model, decoder, shift, scale, real, w=w, n=options.garments
                )
                print(f"    w = {w}: {found}", flush=True)


if __name__ == "__main__":
    main()
