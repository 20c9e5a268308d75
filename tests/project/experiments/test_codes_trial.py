"""Garments as codes: kinds of codebooks, collapse and its cures, and the shipped tokenizer."""

import pytest
import torch
from cs231n_gen.codes_trial import (
    KINDS,
    LOSS,
    MEANS,
    REVIVED,
    SCALARS,
    Codebook,
    collapse,
    decode,
    encode,
    fit,
    load_codes,
    measure,
    new,
)
from safetensors.torch import load_file

from cs231n_gen import vq
from cs231n_gen.given.blocks import PatchDiscriminator
from cs231n_gen.given.data import data_file, fashion_mnist


@pytest.fixture(scope="module")
def x():
    return fashion_mnist("train", 32).x[::40]


@pytest.fixture(scope="module")
def shipped():
    return load_codes()


@pytest.fixture(scope="module")
def measured(shipped):
    return measure(shipped, fashion_mnist("test", 32).x)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small(kind, x, **options):
    return new(kind, x, width=8, batch=4, **options)


def learn(tokenizer, x, **options):
    options = {"steps": 3, "batch": 4, "progress": False, "generator": generator()} | options
    return fit(tokenizer, x, **options)


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_and_tells_how_many_codes_it_used(kind, x):
    made = small(kind, x)
    before = state(made)
    found = learn(made, x)
    after = made.state_dict()
    assert len(found.history.losses) == len(found.used) == len(found.perplexity) == 3
    assert all(1 <= p <= n <= 256 for p, n in zip(found.perplexity, found.used, strict=True))
    moved = not torch.equal(before["book.codes"], after["book.codes"])
    assert moved == (kind != SCALARS)
    for net in ("encoder", "decoder"):
        assert any(not torch.equal(v, before[k]) for k, v in after.items() if k.startswith(net))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seeds_give_the_same_weights(kind, x):
    one, two = (small(kind, x, seed=3) for _ in range(2))
    learn(one, x), learn(two, x)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_weights_come_from_a_seed_and_leave_the_global_state_alone(x):
    before = torch.get_rng_state()
    one, other = small(LOSS, x, seed=1), small(LOSS, x, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(one.book.codes, other.book.codes)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"a kind is one of loss, ema, .* got 'gumbel'"):
        Codebook("gumbel")


def test_a_good_start_is_at_latents_and_a_bad_one_is_not(x):
    for far in (False, True):
        made = small(REVIVED, x, far=far)
        z = made.latents(x).detach().flatten(0, 2)
        distance = torch.cdist(made.book.codes, z).amin(1)
        assert bool((distance < 0.05).all()) != far
        assert made.book.counts.sum().item() == pytest.approx(4 * 64)
        torch.testing.assert_close(made.book.sums, made.book.counts[:, None] * made.book.codes)


def test_running_means_are_those_of_vq():
    torch.manual_seed(0)
    z, e = torch.randn(5, 8, 8, 16), torch.randn(256, 16)
    book = Codebook(MEANS)
    book.start(e, 320)
    _, index, _ = book(z)
    want = vq.update_codes(book.counts.clone(), book.sums.clone(), z, index, book.decay)
    book.update(z, index)
    for found, expected in zip((book.codes, book.counts, book.sums), want, strict=True):
        assert torch.equal(found, expected)


def test_revival_leaves_no_code_below_its_share():
    torch.manual_seed(0)
    z = torch.randn(5, 8, 8, 16)
    dead = {}
    for kind in (MEANS, REVIVED):
        book = Codebook(kind, decay=0.5)
        book.start(torch.randn(256, 16) + 3, 320)
        for _ in range(4):
            book.update(z, book(z)[1], generator())
        dead[kind] = int((book.counts < 0.25 * book.counts.mean()).sum())
    assert dead[MEANS] > 200 and dead[REVIVED] == 0


def test_a_training_of_the_decoder_keeps_all_codes(x):
    made = small(REVIVED, x)
    learn(made, x)
    before, codes = state(made), encode(made, x)
    found = learn(made, x, train_codes=False, discriminator=PatchDiscriminator(width=8), start=1)
    assert found.weights[0] == 0 and found.weights[1] > 0 and len(found.judged) == 3
    for name, value in made.state_dict().items():
        if not name.startswith("decoder"):
            assert torch.equal(value, before[name]), name
    assert torch.equal(encode(made, x), codes)


def test_codes_are_read_row_by_row(x):
    made = small(REVIVED, x)
    index = encode(made, x[:3])
    assert index.shape == (3, 64) and index.dtype == torch.int64
    with torch.no_grad():
        at = vq.nearest(made.latents(x[:3])[2, 5, 6], made.book.codes)
    assert index[2, 5 * 8 + 6] == at


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_is_what_the_training_decodes(kind, x):
    made = small(kind, x)
    with torch.no_grad():
        q, index, _ = made.book(made.latents(x[:3]))
        want = made.images(q).clamp(-1, 1)
    torch.testing.assert_close(decode(made, index.flatten(1)), want, atol=1e-5, rtol=1e-4)


def test_a_bad_start_collapses_and_revival_cures_it(x):
    trial = collapse(x, x[:200], steps=60, batch=8, lr=8e-3, progress=False)
    names = [f"{LOSS}, good start", *(f"{k}, bad start" for k in (LOSS, MEANS, REVIVED)), SCALARS]
    assert list(trial.books) == names
    assert all(name in trial.table() for name in names)
    for kind in (LOSS, MEANS):
        assert trial.books[f"{kind}, bad start"].perplexity < 20
    assert trial.books[f"{REVIVED}, bad start"].perplexity > 100
    assert len(trial.books[SCALARS].fit.perplexity) == 60


def test_the_shipped_codes_are_used_evenly(measured):
    assert measured.codes == 256 and measured.used == 256
    assert measured.perplexity == pytest.approx(214.6, abs=0.5)


def test_the_shipped_tokenizer_reconstructs(measured):
    assert measured.images.frechet == pytest.approx(0.30, abs=0.02)
    assert measured.images.psnr == pytest.approx(25.13, abs=0.05)
    assert measured.images.detail == pytest.approx(0.830, abs=0.005)  # 0.797 without D
    assert measured.images.x_hat.shape == (2000, 1, 32, 32)


def test_the_shipped_tokenizer_encodes_every_image_alike(shipped, measured):
    x = fashion_mnist("test", 32).x
    assert torch.equal(encode(shipped, x), measured.index)
    few = torch.cat([encode(shipped, part) for part in x[:60].split(7)])
    assert (few == measured.index[:60]).double().mean() > 0.999  # sums round by the batch


def test_the_shipped_decoder_is_small_enough_for_a_page():
    weights = load_file(data_file("codes.safetensors"))
    assert {v.dtype for v in weights.values()} == {torch.float16}
    sent = [v.nbytes for k, v in weights.items() if not k.startswith("encoder")]
    assert sum(sent) <= 300_000
