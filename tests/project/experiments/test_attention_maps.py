"""Attention maps and gates of a DiT: they are those of its own layers, and nothing is changed."""

import pytest
import torch
from cs231n_gen.attention_maps import AttentionMaps

from cs231n_gen import attention_maps, dit
from cs231n_gen.dit_attention import join
from cs231n_gen.latent_nets import Decoder

EVERYWHERE = 2.008  # E of the distance of two places on a grid of 4×4
SIZE = {"dim": 16, "depth": 3, "heads": 2, "classes": 11}


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


def network(g, **options):
    model = dit.DiT(**(SIZE | options))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=g))
    return model


def inputs(g, n=2):
    return torch.randn(n, 4, 8, 8, generator=g), torch.rand(n, generator=g), torch.arange(n)


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"rope": True}])
def test_maps_times_values_are_what_the_layer_gives(options, g):
    model, given = network(g, **options), []
    for block in model.blocks:
        block.attention.register_forward_hook(
            lambda layer, args, out: given.append((layer, args, out))
        )
    with attention_maps.recording(model) as (maps, _):
        model(*inputs(g))
    assert len(maps) == len(given) == 3
    for weights, (layer, args, out) in zip(maps, given, strict=True):
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 16))
        assert weights.min() >= 0
        _, _, v = layer.split(*args)
        torch.testing.assert_close(layer.out(join(weights @ v)), out)


def test_gates_are_those_of_the_block(g):
    """A branch that is 1 everywhere adds its gate."""
    model = network(g)
    block, x = model.blocks[0], torch.randn(2, 5, 16, generator=g)
    c = torch.randn(2, 16, generator=g)
    with torch.no_grad():
        block.attention.out.weight.zero_()
        block.attention.out.bias.fill_(1.0)
        block.mlp[2].weight.zero_()
        block.mlp[2].bias.fill_(0.0)
    with attention_maps.recording(block) as (_, gates):
        added = block(x, c) - x
    torch.testing.assert_close(gates[0][:, 0, None].expand_as(added), added.abs())
    with torch.no_grad():
        block.attention.out.bias.fill_(0.0)
        block.mlp[2].bias.fill_(1.0)
    with attention_maps.recording(block) as (_, gates):
        added = block(x, c=c) - x
    torch.testing.assert_close(gates[0][:, 1, None].expand_as(added), added.abs())


def test_a_network_is_left_as_it_was(g):
    model, some = network(g), inputs(g)
    before = model(*some)
    with attention_maps.recording(model):
        torch.testing.assert_close(model(*some), before)
    hooks = [len(part._forward_pre_hooks) for part in model.modules()]
    assert sum(hooks) == 0


def test_looking_at_every_level(g):
    model, decoder = network(g), Decoder(width=8)
    u, _, y = inputs(g, 3)
    levels = torch.tensor([0.0, 0.5, 1.0])
    maps = attention_maps.look(model.train(), decoder, 0.1, 2.0, u, y, levels=levels)
    assert model.training
    assert maps.pictures.shape == maps.noisy.shape == (3, 3, 32, 32)
    assert maps.attention.shape == (3, 3, 3, 2, 16, 16) and maps.gates.shape == (3, 3, 2)
    assert maps.pictures.abs().max() <= 1 and not maps.attention.requires_grad
    assert torch.equal(maps.pictures[:, 0], maps.noisy[:, 0])  # x_0 is x
    again = attention_maps.look(model, decoder, 0.1, 2.0, u, y, levels=levels)
    assert torch.equal(maps.attention, again.attention)


def test_what_calls_no_block_is_refused(g):
    u, _, y = inputs(g)

    class Zero(torch.nn.Module):
        def forward(self, x_t, t, y):
            return torch.zeros_like(x_t)

    with pytest.raises(RuntimeError, match="seen were 0 blocks"):
        attention_maps.look(Zero(), Decoder(width=8), 0.0, 1.0, u, y)


def test_how_far_tokens_look():
    def reach(weights):
        maps = weights.expand(1, 1, 1, 1, 16, 16)
        return float(AttentionMaps(*[torch.empty(0)] * 3, maps, torch.empty(0)).reach())

    assert reach(torch.eye(16)) == 0
    assert reach(torch.eye(16).roll(4, 1)) == pytest.approx((12 * 1 + 4 * 3) / 16)  # a row further
    assert reach(torch.full((16, 16), 1 / 16)) == pytest.approx(EVERYWHERE, abs=1e-3)
