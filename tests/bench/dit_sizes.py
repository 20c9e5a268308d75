"""Three sizes of the DiT in the latents of garments, for equal steps and for equal seconds.

    python tests/bench/dit_sizes.py [--seeds 2] [--steps 400] [--budgets 10 40]

Budgets are seconds of a processor, on one thread.
"""

import argparse

from cs231n_gen.experiments import dit_sizes, dit_trial
from cs231n_gen.experiments.autoencoder_trial import load_autoencoder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--budgets", type=float, nargs="+", default=[10.0, 40.0])
    options = parser.parse_args()
    encoder, _, shift, scale = load_autoencoder()
    data, held = (dit_trial.latents_of(encoder, shift, scale, of) for of in ("train", "test"))
    trial = dit_sizes.run(
        data, held, steps=options.steps, budgets=options.budgets, seeds=range(options.seeds)
    )
    print(trial.table())


if __name__ == "__main__":
    main()
