"""Garments as codes for the figure CodeLab: what is shown is what the networks say."""

import pytest
import torch

from cs231n_gen import codes_trial, data, likelihood
from cs231n_gen.autoregressive import Prior
from cs231n_gen.experiments import code_maps
from cs231n_gen.viz import CodeLab

SOME = torch.tensor([3, 0, 7])


@pytest.fixture(scope="module")
def garments():
    return data.fashion_mnist("test", 32)


@pytest.fixture(scope="module")
def tokenizer():
    return codes_trial.load_codes()


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    return Prior(256, 64, dim=16, layers=1, heads=2)


@pytest.fixture(scope="module")
def maps(tokenizer, prior, garments):
    return code_maps.look(tokenizer, prior, garments, SOME)


def test_codes_and_chances_are_those_of_the_networks(maps, tokenizer, prior, garments):
    torch.testing.assert_close(maps.grids, codes_trial.encode(tokenizer, garments.x[SOME]))
    torch.testing.assert_close(maps.chances.sum(-1), torch.ones(3, 64))
    true = maps.chances.gather(-1, maps.grids[..., None])[..., 0]
    with torch.no_grad():
        logits = prior(maps.grids, garments.y[SOME])
        whole = likelihood.autoregressive_log_likelihood(logits, maps.grids)
    torch.testing.assert_close(true.log().sum(-1), whole)


def test_a_look_is_the_mean_of_what_a_code_was_decoded_to(maps, tokenizer, garments):
    x = garments.x[: code_maps.SEEN]
    index = codes_trial.encode(tokenizer, x)
    decoded = codes_trial.decode(tokenizer, index)[:, 0]
    common = index.flatten().bincount(minlength=256).argsort()[-3:]
    for code in common.tolist():
        found = []
        for n, place in (index == code).nonzero().tolist():
            row, column = divmod(place, 8)
            found.append(decoded[n, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4])
        torch.testing.assert_close(maps.looks[code], torch.stack(found).mean(0))
    assert maps.looks.shape == (256, 4, 4) and maps.looks.abs().max() <= 1


def test_a_code_that_is_not_seen_is_shown_alone(tokenizer, garments):
    x = garments.x[:1]
    looks = code_maps.looks_of(tokenizer, x)
    seen = codes_trial.encode(tokenizer, x).unique()
    code = next(k for k in range(256) if k not in seen)
    alone = codes_trial.decode(tokenizer, torch.full((1, 64), code))
    torch.testing.assert_close(looks[code], alone[0, 0, 16:20, 16:20])


def test_the_figure_takes_them_and_decodes_what_the_tokenizer_does(maps, tokenizer, garments):
    """Half precision moves no pixel by a grey of 256."""
    book, decoder = tokenizer.book.codes, tokenizer.decoder.state_dict()
    figure = CodeLab(decoder, book, maps.grids, maps.looks, chances=maps.chances)
    right = codes_trial.decode(tokenizer, maps.grids)[0, 0]
    came = torch.from_numpy(figure.images(figure.original())[0]).clamp(-1, 1).float()
    torch.testing.assert_close(came, right, atol=2 / 255, rtol=0)
    assert len(figure.html().encode()) < 500_000
    bare = code_maps.look(tokenizer, None, garments, SOME)
    assert bare.chances is None and bare.grids.equal(maps.grids)
    assert not CodeLab(decoder, book, bare.grids, bare.looks, chances=bare.chances).bits
