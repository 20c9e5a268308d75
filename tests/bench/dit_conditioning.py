"""How t and y get into a transformer: adaLN-Zero, adaLN, cross-attention, in context.

    python tests/bench/dit_conditioning.py [--seeds 6] [--steps 150 600] [--dim 32] [--depth 3]

Prints the table of `conditioning_trial`: losses on the test garments' latents, paired by seed, with
intervals that hold at once. A step costs about 10 ms of a processor at the default size.
"""

import argparse

from cs231n_gen.experiments import conditioning_trial, dit_trial
from cs231n_gen.experiments.autoencoder_trial import load_autoencoder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, nargs="+", default=[150, 600])
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--depth", type=int, default=3)
    options = parser.parse_args()
    encoder, _, shift, scale = load_autoencoder()
    data, held = (dit_trial.latents_of(encoder, shift, scale, of) for of in ("train", "test"))
    trial = conditioning_trial.run(
        data,
        held,
        range(options.seeds),
        checkpoints=options.steps,
        dim=options.dim,
        depth=options.depth,
    )
    print(trial.table())
    print(f"{trial.seconds:.0f} CPU s")


if __name__ == "__main__":
    main()
