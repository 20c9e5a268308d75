"""Chapter 08's autoencoder beside those of diffusers: the parts that are the same with the same
weights, and a test for each line of "Where practice differs". Networks are tiny.

Pipelines of Stable Diffusion need transformers, which no extra brings: where one of them is meant,
the docstring says which line of its source.
"""

import pytest
import torch
from torch import nn

from cs231n_gen import latent
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.given.blocks import ResidualBlock
from cs231n_gen.given.unet import SelfAttention
from cs231n_gen.latent_nets import Decoder, Encoder
from cs231n_gen.likelihood import gaussian_kl

libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")

C = 16  # channels of a block, two for each of 8 groups


@pytest.fixture(scope="module")
def diffusers():
    return libraries.diffusers_networks()


def normal(*shape, seed=0, size=1.0):
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(net):
    """Weights of size 1 / √inputs: none is 0, and what goes through them keeps its size."""
    for n, w in enumerate(net.parameters()):
        w.data = normal(*w.shape, seed=n) / (w[0].numel() if w.dim() > 1 else 4) ** 0.5
    return net.eval()


def kl(diffusers, levels=4, **options):
    """Their autoencoder of so many levels, of which each but the last halves the sides."""
    options = {"norm_num_groups": 2, "layers_per_block": 1, **options}
    net = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(4,) * levels,
        **options,
    )
    return randomised(net)


class Means(nn.Module):
    """Their encoder as `latent.to_latent` calls one."""

    def __init__(self, autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, x):
        found = self.autoencoder.encode(x).latent_dist
        return found.mean, found.logvar


class Images(nn.Module):
    """Their decoder as `latent.from_latent` calls one."""

    def __init__(self, autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, z):
        return self.autoencoder.decode(z).sample


# --- the same ------------------------------------------------------------------------------------


def test_the_residual_block_is_that_of_diffusers(diffusers):
    ours = randomised(ResidualBlock(C))
    theirs = diffusers.models.resnet.ResnetBlock2D(
        in_channels=C, temb_channels=None, groups=8, eps=1e-6, non_linearity="swish"
    ).eval()
    names = ("norm1", "conv1", "norm2", "conv2")
    for layer, name in zip(ours.layers, names, strict=True):
        getattr(theirs, name).load_state_dict(layer.state_dict())
    h = 1 + normal(2, C, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(ours(h), theirs(h, None), atol=1e-5, rtol=1e-5)


def test_attention_between_places_is_that_of_diffusers(diffusers):
    """Theirs has linear layers for 1×1 convolutions, one each for queries, keys and values, and
    one head in an AutoencoderKL, where ours has four."""
    ours = randomised(SelfAttention(C))
    theirs = diffusers.models.attention_processor.Attention(
        C,
        heads=4,
        dim_head=C // 4,
        norm_num_groups=8,
        eps=1e-5,
        bias=True,
        residual_connection=True,
        _from_deprecated_attn_block=True,
    ).eval()
    theirs.group_norm.load_state_dict(ours.norm.state_dict())
    w, b = ours.query_key_value.weight[:, :, 0, 0], ours.query_key_value.bias
    for layer, to, on in zip(
        (theirs.to_q, theirs.to_k, theirs.to_v), w.chunk(3), b.chunk(3), strict=True
    ):
        layer.load_state_dict({"weight": to, "bias": on})
    out = {"weight": ours.out.weight[:, :, 0, 0], "bias": ours.out.bias}
    theirs.to_out[0].load_state_dict(out)
    h = 1 + normal(2, C, 3, 4)
    with torch.no_grad():
        torch.testing.assert_close(ours(h), theirs(h), atol=1e-5, rtol=1e-5)
    assert kl(diffusers).encoder.mid_block.attentions[0].heads == 1


def test_the_encoders_gaussian_is_that_of_diffusers(diffusers):
    """Means come first, log-variances are kept from −30 to 20, and draws and KL are the same."""
    encoder = Encoder(channels=2, latent=3, width=8)
    with torch.no_grad():
        encoder.layers[-1].weight.mul_(100)  # both bounds of the log-variance are reached
    numbers = []
    encoder.layers[-1].register_forward_hook(lambda _, args, out: numbers.append(out))
    with torch.no_grad():
        mean, log_var = encoder(normal(4, 2, 16, 16))
    theirs = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution(numbers[0])
    assert (log_var == -30).any()
    assert (log_var == 20).any()
    assert torch.equal(mean, theirs.mean)
    assert torch.equal(log_var, theirs.logvar)
    ours = gaussian_kl(mean.flatten(1), log_var.flatten(1))
    torch.testing.assert_close(ours, theirs.kl(), rtol=1e-5, atol=0)
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    u = latent.reparameterize(mean, log_var, draws[0])
    torch.testing.assert_close(u, theirs.sample(draws[1]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("shift", "scale"), [(0.0609, 1.5305), (0.1159, 0.3611), (0.0, 0.18215)])
def test_latents_are_standardised_as_by_sd3_and_flux(diffusers, shift, scale):
    """Line 702 of `pipeline_stable_diffusion_3_img2img.py` computes (z − shift) · scale, line 1162
    z / scale + shift; Flux does the same with numbers of its own. Stable Diffusion 1 and 2 have a
    scale alone: our formula with shift = 0."""
    net = kl(diffusers, levels=2, shift_factor=shift, scaling_factor=scale)
    x = normal(2, 3, 8, 8)
    with torch.no_grad():
        z = net.encode(x).latent_dist.mode()
        theirs = (z - net.config.shift_factor) * net.config.scaling_factor
        image = net.decode(theirs / net.config.scaling_factor + net.config.shift_factor).sample
    ours = latent.to_latent(Means(net), x, shift, scale)
    torch.testing.assert_close(ours, theirs)
    back = latent.from_latent(Images(net), ours, shift, scale)
    torch.testing.assert_close(back, image, atol=1e-5, rtol=1e-5)


# --- where practice differs ----------------------------------------------------------------------


def test_the_scale_of_diffusers_is_a_number_and_the_caller_multiplies(diffusers):
    """.18215 for all weights that say nothing else, and no shift; `encode` returns latents as they
    are. Here `shift_and_scale` measures both on the data."""
    net, x = kl(diffusers), normal(8, 3, 16, 16)
    assert net.config.scaling_factor == 0.18215
    assert net.config.shift_factor is None
    with torch.no_grad():
        z = net.encode(x).latent_dist.mode()
        net.register_to_config(scaling_factor=7.0, shift_factor=5.0)
        assert torch.equal(net.encode(x).latent_dist.mode(), z)
    shift, scale = latent.shift_and_scale(Means(net), x)
    assert shift == pytest.approx(float(z.mean()), rel=1e-4)
    assert scale == pytest.approx(float(1 / z.std(correction=0)), rel=1e-4)


def test_the_pipeline_of_dit_adds_no_shift(diffusers):
    """`DiTPipeline` divides by the scale and stops there, whatever shift its autoencoder has: the
    images are those of latents that lie beside the ones meant. `StableDiffusion3InpaintPipeline`
    subtracts a shift when it encodes and adds none when it decodes (diffusers 0.42.1, line 1368 of
    its source; issue 13611)."""
    net = kl(diffusers, levels=1, shift_factor=3.0, scaling_factor=0.5)
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=1,
        attention_head_dim=4,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        sample_size=4,
        patch_size=2,
        num_embeds_ada_norm=3,
    ).eval()
    given, seen, decode = [], [], net.decode

    def decoded(z, **options):
        seen.append(z)
        return decode(z, **options)

    net.decode = decoded
    pipe = diffusers.DiTPipeline(transformer, net, diffusers.DDIMScheduler())
    pipe.set_progress_bar_config(disable=True)
    step = pipe.scheduler.step

    def stepped(*args, **options):
        found = step(*args, **options)
        given.append(found.prev_sample)
        return found

    pipe.scheduler.step = stepped
    with torch.random.fork_rng():
        pipe([1], guidance_scale=1.0, num_inference_steps=1, output_type="pt")
    torch.testing.assert_close(seen[-1], given[-1] / 0.5)
    wanted = latent.from_latent(nn.Identity(), given[-1], 3.0, 0.5)
    torch.testing.assert_close(wanted, seen[-1] + 3.0)


def test_the_tiny_autoencoder_has_no_variance_and_a_bound(diffusers):
    """`AutoencoderTiny` returns latents that need no scale: 1, without a shift. Its decoder takes
    them through 3 tanh(z / 3) first, so a latent of 9 is decoded as one of 2.99."""
    net = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    assert (net.config.scaling_factor, net.config.shift_factor) == (1.0, 0.0)
    net = randomised(net)
    with torch.no_grad():
        found = net.encode(normal(1, 3, 8, 8))
        assert isinstance(found.latents, torch.Tensor)
        assert not hasattr(found, "latent_dist")
        far = torch.full((1, 4, 4, 4), 9.0)
        a, b = net.decode(far).sample, net.decode(10 * far).sample
    assert (a - b).abs().max() < 0.05 * (a - net.decode(0 * far).sample).abs().max()
    ours = randomised(Decoder(channels=3, width=8))
    with torch.no_grad():
        assert (ours(far) - ours(10 * far)).abs().max() > 0.1


def test_sizes_that_do_not_divide_are_cut_without_a_word(diffusers):
    """An AutoencoderKL makes 16×24 of an image of 17×25: each halving rounds down. Ours refuses."""
    net = kl(diffusers)
    with torch.no_grad():
        z = net.encode(normal(1, 3, 17, 25)).latent_dist.mode()
        assert z.shape == (1, 4, 2, 3)
        assert net.decode(z).sample.shape == (1, 3, 16, 24)
    for shape in ((1, 1, 17, 24), (1, 1, 16, 25), (1, 1, 18, 26)):
        with pytest.raises(ValueError, match="multiples of 4"):
            Encoder(width=8)(normal(*shape))


def test_diffusers_pads_below_and_on_the_right_alone(diffusers):
    """Its convolutions of stride 2 are 3×3 with zeros below and on the right. Ours are 4×4 with
    zeros on all sides: a turned image has turned latents, if its weights are turned as well."""
    (layer,) = kl(diffusers, levels=2).encoder.down_blocks[0].downsamplers
    w, b = layer.conv.weight, layer.conv.bias
    assert (layer.padding, layer.conv.kernel_size, layer.conv.stride) == (0, (3, 3), (2, 2))
    h = normal(1, 4, 8, 8)
    with torch.no_grad():
        there = layer(h)
        layer.conv.weight = nn.Parameter(w.flip(2, 3))
        turned = layer(h.flip(2, 3)).flip(2, 3)
        assert (there - turned).abs().max() > 0.1
        # Each of their outputs is that of the 3×3 numbers from 2i and 2j on, zeros beyond.
        patches = nn.functional.unfold(nn.functional.pad(h, (0, 1, 0, 1)), 3, stride=2)
        want = (w.flatten(1) @ patches + b[:, None]).reshape(there.shape)
    torch.testing.assert_close(there, want, atol=1e-5, rtol=1e-5)
    ours = Encoder(channels=4, width=8).layers[0]
    with torch.no_grad():
        here, w = ours(h), ours.weight
        ours.weight = nn.Parameter(w.flip(2, 3))
        torch.testing.assert_close(ours(h.flip(2, 3)).flip(2, 3), here, atol=1e-5, rtol=1e-5)


def test_tiles_of_the_tiny_autoencoder_are_sized_by_its_colours(diffusers):
    """It takes 2 to the power of its colours for how many times smaller latents are than images:
    right for three colours and three halvings, by chance (diffusers issue 13652)."""
    for colours in (1, 3, 4):
        net = diffusers.AutoencoderTiny(
            in_channels=colours,
            out_channels=colours,
            encoder_block_out_channels=(4,) * 4,
            decoder_block_out_channels=(4,) * 4,
            num_encoder_blocks=(1,) * 4,
            num_decoder_blocks=(1,) * 4,
        )
        with torch.no_grad():
            z = net.encode(torch.zeros(1, colours, 16, 16)).latents
        assert 16 // z.shape[-1] == 8
        assert net.spatial_scale_factor == 2**colours
