"""Chapter 09's DiT is that of diffusers with the same weights, up to conventions: a test for each
line of "Where practice differs". Networks are tiny, and their weights random.

facebookresearch/DiT (CC BY-NC 4.0, so none of it is here) has diffusers' numbers in another order:
one embedder of t and y for all blocks, as here, and frequencies base^(−k/h), as here.
"""

import functools
import inspect

import pytest
import torch

from cs231n_gen import dit, guidance
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.dit_tokens import rotate

libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")

H = dit.FREQUENCIES // 2
SIZES = {"size": 8, "channels": 3, "patch": 2, "dim": 16, "depth": 3, "heads": 2}


@pytest.fixture(scope="module")
def diffusers():
    return libraries.diffusers_networks()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randomised(net, seed=0):
    """Weights of size 1 / √inputs: none is 0, and what goes through them keeps its size."""
    generator = seeded(seed)
    for w in net.parameters():
        size = w[0].numel() if w.dim() > 1 else 4
        w.data = torch.randn(w.shape, generator=generator) / size**0.5
    return net


def their_dit(diffusers, classes=10, out_channels=None, **options):
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=SIZES["heads"],
        attention_head_dim=SIZES["dim"] // SIZES["heads"],
        in_channels=SIZES["channels"],
        out_channels=out_channels,
        num_layers=SIZES["depth"],
        sample_size=SIZES["size"],
        patch_size=SIZES["patch"],
        num_embeds_ada_norm=classes,  # their null label is one more
        **options,
    )


def copied(ours, theirs):
    """Our weights under their names."""
    s, out = ours.state_dict(), {}
    D, P, C = SIZES["dim"], SIZES["patch"], SIZES["channels"]
    # A convolution embeds patches: its weights run along channels, then rows, then columns.
    as_image = s["embed.weight"].view(D, P, P, C).permute(0, 3, 1, 2)
    out["pos_embed.proj.weight"], out["pos_embed.proj.bias"] = as_image, s["embed.bias"]
    for n in range(SIZES["depth"]):
        a, b = f"blocks.{n}.", f"transformer_blocks.{n}."
        # Every block has an embedder of t and y of its own; the last layer asks that of block 0.
        emb = b + "norm1.emb."
        for k, layer in (("level.0", "linear_1"), ("level.2", "linear_2")):
            for kind in ("weight", "bias"):
                out[f"{emb}timestep_embedder.{layer}.{kind}"] = s[f"{k}.{kind}"]
        out[emb + "class_embedder.embedding_table.weight"] = s["condition.weight"]
        for kind in ("weight", "bias"):
            for w, to in zip(s[f"{a}attention.qkv.{kind}"].chunk(3), "qkv", strict=True):
                out[f"{b}attn1.to_{to}.{kind}"] = w
            out[f"{b}attn1.to_out.0.{kind}"] = s[f"{a}attention.out.{kind}"]
            out[f"{b}norm1.linear.{kind}"] = s[f"{a}modulation.{kind}"]
            out[f"{b}ff.net.0.proj.{kind}"] = s[f"{a}mlp.0.{kind}"]
            out[f"{b}ff.net.2.{kind}"] = s[f"{a}mlp.2.{kind}"]
    for kind in ("weight", "bias"):
        out[f"proj_out_1.{kind}"] = s[f"modulation.{kind}"]
        w = s[f"out.{kind}"]
        more = theirs.out_channels - C
        # A network that learns its variance has twice the channels, fastest along a token.
        w = w.view(P * P, C, *w.shape[1:])
        other = torch.ones(P * P, more, *w.shape[2:])
        out[f"proj_out_2.{kind}"] = torch.cat([w, other], 1).flatten(0, 1)
    return out


def asked(B=4, classes=10):
    x_t = torch.randn(B, SIZES["channels"], SIZES["size"], SIZES["size"], generator=seeded(3))
    t = torch.tensor([0.0, 0.021, 0.5, 1.0])[:B]
    return x_t, t, torch.arange(B) % classes


@pytest.fixture
def their_frequencies(monkeypatch):
    """Their ω_k is base^(−k/(h − 1)): ours, for base^(h/(h − 1))."""
    theirs = functools.partial(dit.timestep_embedding, base=10000 ** (H / (H - 1)))
    monkeypatch.setattr(dit, "timestep_embedding", theirs)


@pytest.mark.parametrize("learned_sigma", [False, True])
def test_the_dit_is_that_of_diffusers(diffusers, their_frequencies, learned_sigma):
    ours = randomised(dit.DiT(classes=11, **SIZES))
    # ε of the norm before the MLP is 1e-5 unless one says so; the other two have 1e-6.
    theirs = their_dit(diffusers, out_channels=6 if learned_sigma else None, norm_eps=dit.EPS)
    theirs.load_state_dict(copied(ours, theirs))
    theirs.eval()  # in training each block drops labels, see below
    x_t, t, y = asked()
    with torch.no_grad():
        v = theirs(x_t, timestep=1000 * t, class_labels=y).sample  # steps, not levels
        assert v.shape[1] == (6 if learned_sigma else 3)
        torch.testing.assert_close(ours(x_t, t, y), v[:, :3], atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_diffusers(diffusers, their_frequencies):
    ours = randomised(dit.DiT(classes=11, **SIZES))
    theirs = their_dit(diffusers, norm_eps=dit.EPS).eval()
    theirs.load_state_dict(copied(ours, theirs))
    x_t, t, y = asked()
    c = torch.randn(x_t.shape, generator=seeded(5))
    (c * ours(x_t, t, y)).mean().backward()
    (c * theirs(x_t, timestep=1000 * t, class_labels=y).sample).mean().backward()
    first = theirs.transformer_blocks[0]
    pairs = [
        (ours.blocks[0].modulation.weight, [first.norm1.linear.weight]),
        (ours.blocks[2].mlp[2].weight, [theirs.transformer_blocks[2].ff.net[2].weight]),
        # What one embedder gets here is spread over those of all blocks there.
        (
            ours.condition.weight,
            [b.norm1.emb.class_embedder.embedding_table.weight for b in theirs.transformer_blocks],
        ),
    ]
    for w, others in pairs:
        torch.testing.assert_close(w.grad, sum(o.grad for o in others), atol=1e-5, rtol=1e-4)


def test_what_parity_needs(diffusers):
    """Without their frequencies, or with t in [0, 1], the same weights say something else."""
    ours = randomised(dit.DiT(classes=11, **SIZES))
    theirs = their_dit(diffusers, norm_eps=dit.EPS).eval()
    theirs.load_state_dict(copied(ours, theirs))
    x_t, t, y = asked()
    with torch.no_grad():
        v = ours(x_t, t, y)
        for steps in (1000 * t, t):
            other = theirs(x_t, timestep=steps, class_labels=y).sample
            assert (other - v).abs().max() > 1e-3


def test_diffusers_begins_where_nothing_is_0(diffusers):
    """Ours begins as the identity; a `DiTTransformer2DModel` as any other network."""
    theirs = their_dit(diffusers).eval()
    x_t, t, y = asked()
    x = torch.randn(4, 16, SIZES["dim"], generator=seeded(1))
    block = theirs.transformer_blocks[0]
    with torch.no_grad():
        moved = block(x, timestep=1000 * t, class_labels=y)
        assert (moved - x).abs().max() > 1e-2
        assert theirs(x_t, timestep=1000 * t, class_labels=y).sample.std() > 1e-2
        assert not dit.DiT(classes=11, **SIZES)(x_t, t, y).any()


def test_each_block_of_diffusers_drops_labels_by_its_own_dice(diffusers):
    """In training a label is gone for some of the blocks, for none at all but by chance for all;
    the last layer throws again. `guidance.drop_condition` drops it for the whole network."""
    depth, images = 8, 1000
    theirs = diffusers.DiTTransformer2DModel(
        num_attention_heads=1,
        attention_head_dim=4,
        in_channels=1,
        num_layers=depth,
        sample_size=2,
        patch_size=2,
        num_embeds_ada_norm=10,
    ).train()
    seen = []
    for block in theirs.transformer_blocks:
        table = block.norm1.emb.class_embedder.embedding_table
        table.register_forward_hook(lambda _, args, out: seen.append(args[0] == 10))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        labels = torch.zeros(images, dtype=torch.long)
        theirs(torch.zeros(images, 1, 2, 2), timestep=torch.zeros(images), class_labels=labels)
    gone = torch.stack(seen)  # (depth + 1, images)
    assert len(gone) == depth + 1
    share = gone.any(0).double().mean()
    deviation = 0.5 / images**0.5
    assert abs(share - (1 - 0.9 ** (depth + 1))) < 5 * deviation
    assert not gone.all(0).any()


def test_the_null_label_of_their_pipeline_is_1000(diffusers):
    """A network with 10 classes has label 10 as its null: their pipeline asks for 1000, whatever
    the network is."""
    pipe = diffusers.DiTPipeline(
        # A network without out_channels of its own fails in the pipeline with a TypeError.
        their_dit(diffusers, out_channels=6).eval(),
        diffusers.AutoencoderKL(latent_channels=3, block_out_channels=(4,), norm_num_groups=2),
        diffusers.DDIMScheduler(),
    )
    pipe.set_progress_bar_config(disable=True)
    with pytest.raises(IndexError):
        pipe(class_labels=[1], num_inference_steps=1)
    pipe(class_labels=[1], num_inference_steps=1, guidance_scale=1.0)  # no null label, no error


@torch.no_grad()
def test_guidance_moves_every_channel():
    """facebookresearch/DiT guides the first three of four channels (its issue 41 and PR 12: a slip
    that came with code for RGB). There channel 3 is that of w = 0; here w reaches it too."""
    ours = randomised(dit.DiT(classes=11, **{**SIZES, "channels": 4}))
    z = torch.randn(3, 4, 8, 8, generator=seeded(2))
    y = torch.arange(3)
    with_w, without = (guidance.sample(ours, z, 2, y, 10, w) for w in (1.5, 0.0))
    assert ((with_w - without).abs().amax((2, 3)) > 1e-3).all()


def test_last_norms_of_sd3_and_flux_have_the_scale_first(diffusers):
    """Ours and DiT's split their last modulation as shift, scale; theirs as scale, shift."""
    norm = load(diffusers, "normalization").AdaLayerNormContinuous(
        8, 8, elementwise_affine=False, eps=dit.EPS
    )
    x, c = torch.randn(2, 5, 8, generator=seeded(1)), torch.randn(2, 8, generator=seeded(2))
    scale, shift = norm.linear(torch.nn.functional.silu(c)).chunk(2, dim=1)
    torch.testing.assert_close(norm(x, c), dit.adaptive_norm(x, shift, scale))
    for name, norm_out in (("SD3", tiny_sd3(diffusers)), ("Flux", tiny_flux(diffusers))):
        assert isinstance(norm_out.norm_out, type(norm)), name


def load(diffusers, name):
    return getattr(diffusers.models, name)


def tiny_sd3(diffusers, **options):
    return diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=6,
        pos_embed_max_size=8,
        **options,
    )


def tiny_flux(diffusers, **options):
    return diffusers.FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=6,
        axes_dims_rope=(4, 2, 2),
        **options,
    )


def test_sd3_sana_and_pixart_begin_where_nothing_is_0(diffusers):
    for net, wants in (
        (tiny_sd3(diffusers), {"pooled_projections": torch.ones(1, 6)}),
        (
            diffusers.PixArtTransformer2DModel(
                num_attention_heads=2,
                attention_head_dim=8,
                in_channels=4,
                out_channels=4,
                num_layers=2,
                cross_attention_dim=16,
                sample_size=8,
                caption_channels=12,
                use_additional_conditions=False,
            ),
            {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}},
        ),
        (
            diffusers.SanaTransformer2DModel(
                in_channels=4,
                out_channels=4,
                num_attention_heads=2,
                attention_head_dim=8,
                num_layers=2,
                num_cross_attention_heads=2,
                cross_attention_head_dim=8,
                cross_attention_dim=16,
                caption_channels=12,
                sample_size=8,
                patch_size=2,
            ),
            {},
        ),
    ):
        x = torch.randn(1, 4, 8, 8, generator=seeded(1))
        text = torch.randn(1, 3, 12, generator=seeded(2))
        with torch.no_grad():
            v = net.eval()(
                x, encoder_hidden_states=text, timestep=torch.tensor([500.0]), **wants
            ).sample
        assert v.std() > 1e-2, type(net).__name__


def test_flux_multiplies_levels_by_1000_itself(diffusers):
    """`timestep_embedding` here does as well; SD3, PixArt and diffusers' DiT want steps."""
    flux, seen = tiny_flux(diffusers, guidance_embeds=True), []
    flux.time_text_embed.register_forward_pre_hook(lambda _, args: seen.append(args))
    with torch.no_grad():
        flux(
            hidden_states=torch.randn(1, 4, 4),
            encoder_hidden_states=torch.randn(1, 3, 12),
            pooled_projections=torch.randn(1, 6),
            timestep=torch.tensor([0.25]),
            guidance=torch.tensor([3.5]),
            img_ids=torch.zeros(4, 3),
            txt_ids=torch.zeros(3, 3),
        )
    t, w, _ = seen[0]
    assert t.item() == 250
    assert w.item() == 3500


def test_flux_turns_neighbouring_numbers(diffusers):
    """A point is x_{2k} and x_{2k+1} there, x_k and x_{k+h} here: the same turn, with the numbers
    of queries and keys in another order, which no product of both sees."""
    height, width, dim = 2, 3, 8
    ids = torch.tensor([[i, j] for i in range(height) for j in range(width)]).float()
    embed = type(tiny_flux(diffusers).pos_embed)(theta=10000, axes_dim=[dim // 2, dim // 2])
    x = torch.randn(1, 2, height * width, dim, generator=seeded(1))
    apply = load(diffusers, "embeddings").apply_rotary_emb

    def neighbours(x):
        return torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)

    theirs = apply(neighbours(x), embed(ids), sequence_dim=2)
    torch.testing.assert_close(neighbours(rotate(x, height, width)), theirs, atol=1e-6, rtol=1e-5)


def test_who_normalises_queries_and_keys(diffusers):
    """Flux always, SD3 if asked (SD3.5 asks), DiT and PixArt never."""
    assert tiny_sd3(diffusers).transformer_blocks[0].attn.norm_q is None
    assert their_dit(diffusers).transformer_blocks[0].attn1.norm_q is None
    for net in (tiny_sd3(diffusers, qk_norm="rms_norm"), tiny_flux(diffusers)):
        norm = net.transformer_blocks[0].attn.norm_q
        assert "RMSNorm" in type(norm).__name__
        assert norm.eps == 1e-6


def test_who_hides_the_padding_of_a_text(diffusers):
    """SD3, Flux and Wan take no mask of the text: their queries see padding."""
    for name, masked in (
        ("SD3", False),
        ("Flux", False),
        ("Wan", False),
        ("QwenImage", True),
        ("Lumina2", True),
        ("PixArt", True),
        ("Sana", True),
        ("HunyuanVideo", True),
    ):
        (net,) = (
            getattr(diffusers, f"{name}Transformer{kind}Model")
            for kind in ("2D", "3D", "2DModel", "")
            if hasattr(diffusers, f"{name}Transformer{kind}Model")
        )
        arguments = inspect.signature(net.forward).parameters
        assert any("mask" in a and "encoder" in a for a in arguments) == masked, name
