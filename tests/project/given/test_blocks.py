"""What the encoder, the decoder and the discriminator of latent diffusion are put together from."""

import pytest
import torch
from torch.nn import functional as F

from cs231n_gen.given import blocks
from cs231n_gen.given.blocks import NormSiLU, PatchDiscriminator, ResidualBlock
from cs231n_gen.kernels import launch
from cs231n_gen.kernels.launch import HAVE_TRITON, INTERPRETED


def shaken(net):
    """A net none of whose weights are 0, as after some training."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return net.double()


def features(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def by_hand(h, norm):
    """silu of a group norm with 8 groups."""
    g = h.unflatten(1, (8, -1))
    off = g - g.mean((2, 3, 4), keepdim=True)
    y = (off / (off.square().mean((2, 3, 4), keepdim=True) + 1e-6).sqrt()).flatten(1, 2)
    y = y * norm.weight[:, None, None] + norm.bias[:, None, None]
    return y * torch.sigmoid(y)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_norm_of_eight_groups_with_silu(size):
    norm, h = shaken(NormSiLU(16)), size * features(2, 16, 3, 5)
    torch.testing.assert_close(norm(h), by_hand(h, norm), atol=1e-9, rtol=1e-9)


def test_a_norm_needs_channels_of_eight_groups():
    with pytest.raises(ValueError, match="divisible"):
        NormSiLU(12)


def test_a_residual_block_is_the_identity_at_first():
    block, h = ResidualBlock(16), features(2, 16, 3, 5).float()
    assert torch.equal(block(h), h)
    block(h).square().sum().backward()
    assert block.layers[-1].weight.grad.any()  # so it does not stay the identity


def test_a_residual_block_by_hand():
    block, h = shaken(ResidualBlock(16)), features(2, 16, 3, 5)
    norm_1, conv_1, norm_2, conv_2 = block.layers
    r = F.conv2d(by_hand(h, norm_1), conv_1.weight, conv_1.bias, padding=1)
    r = F.conv2d(by_hand(r, norm_2), conv_2.weight, conv_2.bias, padding=1)
    torch.testing.assert_close(block(h), h + r, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (1, 3, 16, 24), (1, 1, 4, 4)])
def test_a_logit_for_every_patch(shape):
    B, C, H, W = shape
    logits = PatchDiscriminator(C, 8)(features(*shape).float())
    assert logits.shape == (B, 1, H // 4, W // 4)


def test_a_logit_sees_26_by_26_pixels():
    critic, x = shaken(PatchDiscriminator(1, 8)), features(1, 1, 64, 64).requires_grad_()
    for layer in critic.layers:
        if isinstance(layer, torch.nn.GroupNorm):  # its statistics see all pixels
            layer.forward = lambda h: h
    critic(x)[0, 0, 8, 8].backward()
    seen = x.grad[0, 0] != 0
    assert seen.any(0).sum() == seen.any(1).sum() == 26


def test_a_discriminator_judges_each_image_by_itself():
    critic, x = shaken(PatchDiscriminator(2, 8)), features(3, 2, 8, 8)
    alone = torch.cat([critic(x[n : n + 1]) for n in range(3)])
    torch.testing.assert_close(critic(x), alone, atol=1e-10, rtol=1e-10)


@pytest.mark.skipif(not (HAVE_TRITON and INTERPRETED), reason="needs Triton's interpreter")
def test_the_blocks_take_the_kernels_way():
    from cs231n_gen.instruments.compiler import launches

    block, h = shaken(ResidualBlock(8)).float(), features(2, 8, 2, 3).float()
    by_torch = block(h)
    with launch.interpreting(), launches.record() as made:
        by_kernels = block(h)
        with launch.switched_off("group_norm_silu"):
            block(h)
    assert [record.fn.__name__ for record in made] == ["kernel"] * 2
    torch.testing.assert_close(by_torch, by_kernels, atol=1e-5, rtol=1e-4)


def test_the_blocks_are_there_while_an_exercise_is_checked():
    from cs231n_gen.checking import absence

    assert absence.is_open(blocks.__name__)
    assert absence.is_open("cs231n_gen.given.unet")
    assert not absence.is_open("cs231n_gen.kernels.group_norm_silu")
    assert not absence.is_open(blocks.__name__, of_kernel=True)
