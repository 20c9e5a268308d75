"""Joint attention against cross-attention at equal seconds, with as many weights or layers.

    python tests/bench/joint_against_cross.py [--seeds 3] [--seconds 90] [--judged 200]

Prints the table of `picture_trial.compare_blocks`: losses and wrong pictures, paired by seed, with
intervals that hold at once. Takes seeds · 3 · (seconds + 15) on one thread, by default 16 minutes.
"""

import argparse

import torch

from cs231n_gen.experiments import caption_trial, picture_trial


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--judged", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    coder, words = picture_trial.load_coder(), caption_trial.load_words()
    data = picture_trial.latents_of(coder)
    trial = picture_trial.compare_blocks(
        words, coder, data, range(options.seeds), options.seconds, judged=options.judged
    )
    print(trial.table())


if __name__ == "__main__":
    main()
