"""What tests of chapter 10 pass in place of parts keeps what those parts promise."""

import pytest
import torch
from torch import nn

from cs231n_gen.checking.text_fakes import CaptionField, SumBlock, TableEncoder
from cs231n_gen.text import TextEncoder
from cs231n_gen.text_to_image import JointBlock, TextToImage

VOCABULARY, LENGTH, DIM = ["", *"abcde"], 5, 4
TOKENS = torch.tensor([[2, 1, 0, 5, 0], [0, 0, 0, 0, 0], [3, 0, 0, 0, 0]])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def drawn(net):
    """With random weights, in float64."""
    net.double()
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(0.7 * torch.randn_like(w))
    return net


@pytest.fixture(params=["the fake", "the reference"])
def encoder(request):
    if request.param == "the fake":
        return drawn(TableEncoder(VOCABULARY, LENGTH, DIM))
    return drawn(TextEncoder(VOCABULARY, LENGTH, DIM, heads=2))


def test_an_encoder_is_blind_to_padding(encoder):
    mask = TOKENS != 0
    words, pooled = encoder(TOKENS, mask)
    assert words.shape == (3, LENGTH, DIM)
    assert pooled.shape == (3, DIM)
    assert not words[~mask].any()
    other = torch.where(mask, TOKENS, 4)
    for got, want in zip(encoder(other, mask), (words, pooled), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
    short = encoder(TOKENS[:, :4], mask[:, :4])
    torch.testing.assert_close(short[0], words[:, :4], rtol=0, atol=1e-14)
    torch.testing.assert_close(short[1], pooled, rtol=0, atol=1e-14)
    turned = encoder(TOKENS[:1, [1, 0, 2, 3, 4]], mask[:1])[1]
    assert not torch.allclose(turned, pooled[:1]), "the order of words counts"


def test_an_encoder_knows_its_vocabulary(encoder):
    assert (encoder.vocabulary, encoder.length, encoder.dim) == (tuple(VOCABULARY), LENGTH, DIM)


@pytest.mark.parametrize(
    ("tokens", "mask"),
    [
        (torch.zeros(2, LENGTH + 1).long(), torch.zeros(2, LENGTH + 1).bool()),
        (torch.zeros(2, 0).long(), torch.zeros(2, 0).bool()),
        (torch.zeros(3).long(), torch.zeros(3).bool()),
        (TOKENS, TOKENS),
        (TOKENS, TOKENS[:, :3] != 0),
    ],
)
def test_an_encoder_refuses(encoder, tokens, mask):
    with pytest.raises(ValueError, match="must be"):
        encoder(tokens, mask)


@pytest.fixture(params=[SumBlock, JointBlock])
def block(request):
    return drawn(request.param(DIM, 2))


def test_a_block_is_blind_to_padding(block):
    x, y, c = (torch.randn(s).double() for s in ((3, 4, DIM), (3, LENGTH, DIM), (3, 6 * DIM)))
    mask = TOKENS != 0
    y.requires_grad_()
    tokens, words = block(x, y, c, mask)
    assert (tokens.shape, words.shape) == (x.shape, y.shape)
    filled = torch.where(mask[..., None], y, 1e3)
    other = block(x, filled, c, mask)
    torch.testing.assert_close(other[0], tokens, rtol=0, atol=1e-12)
    torch.testing.assert_close(other[1][mask], words[mask], rtol=0, atol=1e-12)
    (tokens.square().sum() + words[mask].square().sum()).backward()
    assert not y.grad[~mask].any()
    assert y.grad[mask].all()


def test_a_block_takes_no_mask_for_all_words(block):
    x, y, c = (torch.randn(s).double() for s in ((3, 4, DIM), (3, LENGTH, DIM), (3, 6 * DIM)))
    every = torch.ones(3, LENGTH, dtype=torch.bool)
    for got, want in zip(block(x, y, c), block(x, y, c, every), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
    for wrong in (every[:, :2], every.long(), every[:1]):
        with pytest.raises(ValueError, match="mask must be bool"):
            block(x, y, c, wrong)
    with pytest.raises(ValueError, match=r"c must be|c \(batch"):
        block(x, y, c[:, :DIM])


def test_two_equal_words_are_two_words():
    block = drawn(SumBlock(DIM, 1))
    x, y, c = (torch.randn(s).double() for s in ((1, 4, DIM), (1, 1, DIM), (1, 6 * DIM)))
    one, two = block(x, y, c)[0], block(x, y.expand(1, 2, DIM), c)[0]
    assert not torch.allclose(one, two)


def test_a_field_reads_captions_and_not_padding():
    value = torch.tensor([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.5]).double()
    field = CaptionField(VOCABULARY, LENGTH, value, a=0.5, b=2.0)
    x, t = torch.randn(3, 2).double(), torch.tensor([0.0, 0.5, 1.0]).double()
    tokens = torch.tensor([[2, 1, 5, 0, 0], [0, 0, 0, 0, 0], [3, 0, 0, 0, 0]])
    told = torch.tensor([2.0 + 2 * 1 + 3 * 5, 0.5, 3.0])
    want = 0.5 * x.sin() + (2 * t + told)[:, None]
    torch.testing.assert_close(field(x, t, tokens), want)
    torch.testing.assert_close(field(x, t, tokens[:, :3]), want)
    assert isinstance(field.encoder, nn.Module)
    assert field.encoder.vocabulary == tuple(VOCABULARY)
    with pytest.raises(ValueError, match="for each"):
        field(x, t, tokens[:2])


def test_a_network_freezes_its_encoder():
    """What graders cannot ask: their encoders are frozen before, as no call may change what it is
    given."""
    encoder = drawn(TextEncoder(VOCABULARY, LENGTH, DIM, heads=2))
    net = TextToImage(encoder, size=4, channels=1, dim=DIM, depth=1, heads=2).double()
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    before = {n: w.clone() for n, w in net.state_dict().items()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):  # at first only what begins at 0 learns
        optimizer.zero_grad()
        v = net(torch.randn(3, 1, 4, 4).double(), torch.rand(3).double(), TOKENS)
        (v - 1).square().mean().backward()
        optimizer.step()
    kept = {n for n, w in net.state_dict().items() if torch.equal(w, before[n])}
    assert {n for n in before if n.startswith("encoder.")} <= kept
    assert not kept & {"null", "out.weight", "modulation.weight", "blocks.0.image_table"}
