"""The four ways into a transformer: the networks are what they say, and pairs are fair."""

import pytest
import torch
from cs231n_gen.conditioning_trial import WAYS, ConditionedTransformer
from cs231n_gen.dit_trial import LatentData

from cs231n_gen import conditioning_trial, dit

TINY = {"dim": 8, "depth": 2, "heads": 2}


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def data(g):
    return LatentData(torch.randn(40, 4, 8, 8, generator=g), torch.arange(40) % 10)


def inputs(g, n=3):
    x_t = torch.randn(n, 4, 8, 8, generator=g)
    return x_t, torch.rand(n, generator=g), torch.arange(n) + 8


def network(way, seed=0):
    model = ConditionedTransformer(way, **TINY)
    model.initialise(seed)
    return model


def fill(model, g):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=g))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_begins_with_a_velocity_of_0(way, g):
    assert network(way)(*inputs(g)).abs().max() == 0


@pytest.mark.parametrize("way", WAYS)
def test_every_way_tells_of_t_and_of_y(way, g):
    model = network(way)
    fill(model, g)
    x_t, t, y = inputs(g)
    v = model(x_t, t, y)
    assert (model(x_t, 1 - t, y) - v).abs().max() > 1e-3
    assert (model(x_t, t, y - 3) - v).abs().max() > 1e-3


@pytest.mark.parametrize("way", ["adaLN-Zero", "adaLN"])
def test_with_its_weights_it_is_the_dit(way, g):
    model, whole = network(way), dit.DiT(classes=11, **TINY)
    fill(model, g)
    whole.load_state_dict(model.state_dict(), strict=False)
    assert {k for k, _ in whole.named_parameters()} == {k for k, _ in model.named_parameters()}
    some = inputs(g)
    torch.testing.assert_close(model(*some), whole(*some))


def test_layers_of_one_name_begin_alike():
    """All but norms, the modulation and the gates of adaLN."""
    states = {way: network(way, seed=3).state_dict() for way in WAYS}
    first = states["adaLN-Zero"]
    for way, state in states.items():
        shared = state.keys() & first.keys()
        assert len(shared) >= 8 + 8 * TINY["depth"]
        for name in shared:
            if way != "adaLN" or not name.endswith("modulation.bias"):
                assert torch.equal(state[name], first[name]), (way, name)
    two = network("adaLN-Zero", seed=4).state_dict()
    assert not torch.equal(two["embed.weight"], first["embed.weight"])
    blocks = [first[f"blocks.{k}.attention.qkv.weight"] for k in range(2)]
    assert not torch.equal(*blocks)


def test_open_gates_make_a_plain_transformer_at_first(g):
    """adaLN with all gates 1 and no scale or shift is a block of layer norms without weights."""
    plain, adaptive = network("in context"), network("adaLN")
    x, c = torch.randn(2, 5, 8, generator=g), torch.randn(2, 8, generator=g)
    torch.testing.assert_close(adaptive.blocks[0](x, c), plain.blocks[0](x))
    zero = network("adaLN-Zero")
    torch.testing.assert_close(zero.blocks[0](x, c), x)


def test_silent_cross_attention_changes_nothing(g):
    model, plain = network("cross-attention"), network("in context")
    x, two = torch.randn(2, 5, 8, generator=g), torch.randn(2, 2, 8, generator=g)
    block = model.blocks[0]
    assert (block(x, two) - plain.blocks[0](x)).abs().max() > 1e-3
    with torch.no_grad():
        block.cross.out.weight.zero_()
    torch.testing.assert_close(block(x, two), plain.blocks[0](x))


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="in context, got 'film'"):
        ConditionedTransformer("film")


def test_ways_differ_in_nothing_else(data):
    """The same way twice ends at the same losses, seed by seed, however many threads there are."""
    before = torch.get_rng_state()
    trial = conditioning_trial.run(
        data, data, [0, 7], ways=["adaLN", "in context", "adaLN"], checkpoints=(4, 9), batch=8,
        progress=False, **TINY,
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)
    assert trial.losses.shape == (3, 2, 2) and trial.seeds == 2
    assert torch.equal(trial.losses[0], trial.losses[2])
    assert (trial.losses[0] - trial.losses[1]).abs().min() > 1e-6
    assert (trial.losses[:, 0] - trial.losses[:, 1]).abs().min() > 1e-6
    assert trial.verdicts()[1] == ["–", "–"]
    table = trial.table()
    assert (
        "4 steps" in table and "adaLN" in table and f"{trial.losses[0, :, 0].mean():.4f}" in table
    )
    assert trial.weights[0] == sum(p.numel() for p in network("adaLN").parameters())
