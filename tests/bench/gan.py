"""GANs over seeds: `OMP_NUM_THREADS=2 python tests/bench/gan.py [--seeds 5] [--only ring]`.

The ring of chapter 01, aim: all 8 modes and an energy distance of at most 0.02 in 30 s. Garments
of chapter 03, by DC-GAN and by the small StyleGAN, 2000 of them against the 2000 real ones of the
test set, aim: a Fréchet distance of at most 30 in 100 s of CPU time, and no class below 2 %.
"""

import argparse
import time

import torch
from torch.optim.swa_utils import update_bn

from cs231n_gen import data, gan, gan_nets, judge, metrics
from cs231n_gen.given.mlp import MLP
from cs231n_gen.given.training import Players

STEPS = 2000
SAMPLES = 2000
NEAR = 0.6  # three standard deviations of a Gaussian of the ring
LEAST = 0.02  # share of the samples that makes a mode found
LATENT = 32
GARMENTS = {  # net, steps, batch
    "garments": (gan_nets.Generator, 2000, 64),
    "style": (gan_nets.StyleGenerator, 1100, 32),
}


def main() -> None:
    """Print a line for each seed of each sweep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=["ring", *GARMENTS])
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads")
    for sweep in [options.only] if options.only else ["ring", *GARMENTS]:
        (ring if sweep == "ring" else garments)(options.seeds, sweep)


def ring(seeds: int, _: str) -> None:
    """The sweep of chapter 01."""
    print("ring\nseed  modes  energy distance  seconds     −V")
    for seed in range(seeds):
        modes, distance, history = play(seed)
        last = sum(history.losses[-100:]) / 100
        row = f"{seed:4}  {modes:5}  {distance:15.4f}  {history.seconds:7.1f}  {last:.3f}"
        print(row, flush=True)


def play(seed: int) -> tuple[int, float, object]:
    """The run of chapter 01 from another seed: modes found, energy distance, history."""
    torch.manual_seed(seed)
    g, ring = torch.Generator().manual_seed(seed), data.ring()
    players = Players(MLP(2, 2), MLP(2, 1), lr=1e-3)
    history = gan.train(players, ring.sample, STEPS, generator=g, progress=False)
    with torch.no_grad():
        x = players.generator(torch.randn(SAMPLES, 2, generator=g))
    off = (x[:, None] - ring.mixture.means.float()).norm(dim=2)
    modes = sum(bool((d < NEAR).float().mean() >= LEAST) for d in off.T)
    return modes, metrics.energy_distance(ring.sample(SAMPLES, g), x).item(), history


def garments(seeds: int, sweep: str) -> None:
    """A sweep of chapter 03."""
    print(f"{sweep}\nseed  seconds  CPU seconds  Fréchet  rarest class  seconds for 1000     −V")
    for seed in range(seeds):
        r = dress(seed, *GARMENTS[sweep])
        row = f"{seed:4}  {r['seconds']:7.1f}  {r['cpu']:11.1f}  {r['frechet']:7.2f}"
        row += f"  {r['rarest']:12.1%}  {r['sampling']:16.2f}  {r['loss']:.3f}"
        print(row, flush=True)


def dress(seed: int, net: type, steps: int, batch: int) -> dict[str, float]:
    """The run of chapter 03 from another seed."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    train, test = data.fashion_mnist("train", 16), data.fashion_mnist("test", 16)

    def draw(n, generator):
        return train.x[torch.randint(len(train.x), (n,), generator=generator)]

    G, D = net(), gan_nets.Discriminator()
    cpu = time.process_time()
    history = gan.train(
        Players(G, D, lr=2e-3), draw, steps, latent=LATENT, batch=batch, generator=g, progress=False
    )
    if net is gan_nets.Generator:  # the other has no batch norms
        update_bn((torch.randn(250, LATENT, generator=g) for _ in range(20)), G)
    cpu = time.process_time() - cpu
    start = time.perf_counter()
    with torch.no_grad():
        x = torch.cat([G(z) for z in torch.randn(SAMPLES, LATENT, generator=g).split(250)])
    sampling = (time.perf_counter() - start) * 1000 / SAMPLES
    return {
        "seconds": history.seconds,
        "cpu": cpu,
        "frechet": judge.frechet(x, test.x),
        "rarest": float(judge.classify(x).bincount(minlength=10).min()) / SAMPLES,
        "sampling": sampling,
        "loss": sum(history.losses[-100:]) / 100,
    }


if __name__ == "__main__":
    main()
