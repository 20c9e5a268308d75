"""Three decoders: what is measured, and that more squared error goes with less blur."""

import pytest
import torch
from cs231n_gen.decoder_trial import SHARP, SQUARED, START, WATER

from cs231n_gen import decoder_trial
from cs231n_gen.experiments.autoencoder_trial import load_autoencoder
from cs231n_gen.given.data import fashion_mnist


def test_a_black_image_has_no_detail():
    x = torch.zeros(1, 1, 32, 32)
    assert decoder_trial.detail(x) == 0


def test_the_shipped_decoder_is_sharp():
    encoder, decoder, *_ = load_autoencoder()
    found = decoder_trial.measure(encoder, decoder, fashion_mnist("test", 32).x)
    assert found.psnr == pytest.approx(27.17, abs=0.05)
    assert found.detail == pytest.approx(0.924, abs=0.005)
    assert found.mse == pytest.approx(1024 * 4 / 10 ** (found.psnr / 10), rel=1e-4)


def test_a_run_measures_every_decoder_and_leaves_its_start_alone():
    encoder, decoder, *_ = load_autoencoder()
    before = [p.clone() for p in (*encoder.parameters(), *decoder.parameters())]
    x, test = (fashion_mnist(split, 32).x[::40] for split in ("train", "test"))
    trial = decoder_trial.run(encoder, decoder, x, test, steps=3, start=1, progress=False)
    assert list(trial.decoders) == [START, SQUARED, WATER, SHARP]
    weights = trial.decoders[SHARP].fit.weights
    assert weights[0] == 0
    assert weights[1] > 0
    for p, was in zip((*encoder.parameters(), *decoder.parameters()), before, strict=True):
        assert torch.equal(p, was)
    assert all(name in trial.table() for name in trial.decoders)
