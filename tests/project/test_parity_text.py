"""Chapter 10's networks beside those of diffusers: what is the same with the same weights, and a
test for each line of "Where practice differs". Networks are tiny, their weights random.

Encoders of text, and pipelines, are in `test_parity_prompts.py`.
"""

import pytest
import torch
from torch import nn

from cs231n_gen import text, text_to_image
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.dit_attention import JointAttention

libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")

D, HEADS, TOKENS, WORDS = 16, 2, 9, 5
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
WITH_LEVELS = {"atol": 1e-4, "rtol": 1e-4}  # angles of up to 1000 are rounded differently


@pytest.fixture(scope="module")
def diffusers():
    return libraries.diffusers_networks()


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(net):
    """Weights of size 1 / √inputs: none is 0, and what goes through them keeps its size."""
    for n, w in enumerate(net.parameters()):
        w.data = normal(*w.shape, seed=n) / (w[0].numel() if w.dim() > 1 else 4) ** 0.5
    return net.eval()


def streams(B=3):
    """Tokens of images and of texts, and a condition."""
    return normal(B, TOKENS, D, seed=1), normal(B, WORDS, D, seed=2), normal(B, D, seed=3)


# --- the block -----------------------------------------------------------------------------------


def their_block(diffusers, **options):
    kind = diffusers.models.attention.JointTransformerBlock
    return randomised(kind(D, HEADS, D // HEADS, **options))


def attention_weights(of_image, of_text):
    """Our two `Attention`s by the names of theirs."""
    out = {}
    for kind in ("weight", "bias"):
        for ours, names in ((of_image, "to_{}"), (of_text, "add_{}_proj")):
            for w, part in zip(getattr(ours.qkv, kind).chunk(3), "qkv", strict=True):
                out[f"{names.format(part)}.{kind}"] = w
        out[f"to_out.0.{kind}"] = getattr(of_image.out, kind)
        out[f"to_add_out.{kind}"] = getattr(of_text.out, kind)
    return out


def block_weights(ours, modulation, last=False):
    """Our block by the names of theirs. The linear layer of ours, which all blocks share, goes into
    each of theirs with our tables in its bias."""
    out = {f"attn.{k}": w for k, w in attention_weights(ours.joint.image, ours.joint.text).items()}
    w, b = modulation.weight, modulation.bias
    if last:  # a stream of text that ends here: no output, no MLP, and the scale comes first
        for name in ("attn.to_add_out.weight", "attn.to_add_out.bias"):
            del out[name]
        both = torch.cat([w, (b + ours.text_table)[:, None]], 1).chunk(6)
        scale_first = torch.cat([both[1], both[0]])
        of_text = scale_first[:, :-1], scale_first[:, -1]
    else:
        of_text = w, b + ours.text_table
    for name, found in (("norm1", (w, b + ours.image_table)), ("norm1_context", of_text)):
        out[f"{name}.linear.weight"], out[f"{name}.linear.bias"] = found
    for mlp, name in ((ours.image_mlp, "ff"), *(() if last else ((ours.text_mlp, "ff_context"),))):
        for layer, to in ((mlp[0], "net.0.proj"), (mlp[2], "net.2")):
            for kind in ("weight", "bias"):
                out[f"{name}.{to}.{kind}"] = getattr(layer, kind)
    return {k: w.detach() for k, w in out.items()}


def test_the_joint_block_is_that_of_sd3(diffusers):
    """Theirs makes its modulations itself, from silu(c), and returns the text first."""
    ours, modulation = (
        randomised(text_to_image.JointBlock(D, HEADS)),
        randomised(nn.Linear(D, 6 * D)),
    )
    theirs = their_block(diffusers)
    theirs.load_state_dict(block_weights(ours, modulation))
    x, y, c = streams()
    x.requires_grad_()
    found = ours(x, y, modulation(nn.functional.silu(c)))
    wanted = theirs(x, y, c)[::-1]
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
        g, h = (torch.autograd.grad(v.square().sum(), x, retain_graph=True)[0] for v in (a, b))
        torch.testing.assert_close(g, h, atol=1e-3, rtol=1e-4)


def test_the_last_block_of_sd3_ends_the_stream_of_text(diffusers):
    """There it has no MLP of the text and no output, and its norm has two parts, the scale first.
    Ours computes them, nobody reads them, and they get no gradient."""
    ours, modulation = (
        randomised(text_to_image.JointBlock(D, HEADS)),
        randomised(nn.Linear(D, 6 * D)),
    )
    theirs = their_block(diffusers, context_pre_only=True)
    assert theirs.ff_context is None
    theirs.load_state_dict(block_weights(ours, modulation, last=True))
    x, y, c = streams()
    gone, wanted = theirs(x, y, c)
    assert gone is None
    found, _ = ours(x, y, modulation(nn.functional.silu(c)))
    torch.testing.assert_close(found, wanted, **CLOSE)
    found.sum().backward()
    unused = {n for n, w in ours.named_parameters() if w.grad is None}
    assert unused == {
        n for n, _ in ours.named_parameters() if n.startswith(("text_mlp", "joint.text.out"))
    }
    assert not ours.text_table.grad[2 * D :].any()
    assert ours.text_table.grad[: 2 * D].all()


def test_sd3_takes_modulations_for_each_block_and_stream(diffusers):
    """12 dim² + 12 dim numbers a block; here 12 dim, and 6 dim² + 6 dim once."""
    theirs, ours = their_block(diffusers), text_to_image.JointBlock(D, HEADS)
    there = sum(w.numel() for n, w in theirs.named_parameters() if n.startswith("norm"))
    here = sum(w.numel() for n, w in ours.named_parameters() if n.endswith("table"))
    assert (there, here) == (12 * D**2 + 12 * D, 12 * D)
    whole = [sum(w.numel() for w in net.parameters()) for net in (theirs, ours)]
    assert whole[0] - there == whole[1] - here


def test_the_modulation_is_that_of_pixart(diffusers):
    """Its block without cross-attention is our stream of an image that sees no word. A table begins
    at N(0, 1/dim) there, and at 0 here."""
    kind = diffusers.models.attention.BasicTransformerBlock
    torch.manual_seed(0)
    theirs = kind(
        D,
        HEADS,
        D // HEADS,
        activation_fn="gelu-approximate",
        attention_bias=True,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
    ).eval()
    assert 0.5 < theirs.scale_shift_table.std() * D**0.5 < 1.5
    assert not text_to_image.JointBlock(D, HEADS).image_table.any()
    ours = randomised(text_to_image.JointBlock(D, HEADS))
    weights = block_weights(ours, nn.Linear(D, 6 * D))
    keep = {k: w for k, w in weights.items() if k.startswith(("attn.to", "ff."))}
    keep = {k.replace("attn.", "attn1."): w for k, w in keep.items() if "to_add" not in k}
    theirs.load_state_dict({**keep, "scale_shift_table": ours.image_table.view(6, D).detach()})
    x, y, _ = streams()
    c = normal(3, 6 * D, seed=4)
    nothing = torch.zeros(3, WORDS, dtype=torch.bool)
    with torch.no_grad():
        found, _ = ours(x, y, c, nothing)
        torch.testing.assert_close(found, theirs(x, timestep=c), **CLOSE)


def test_flux_puts_the_text_first(diffusers):
    """Attention knows no order, so the same weights give the same; what reads tokens by their place
    does not. Its later blocks have one set of weights for both kinds of tokens."""
    flux = diffusers.models.transformers.transformer_flux
    theirs = randomised(
        flux.FluxAttention(
            query_dim=D,
            added_kv_proj_dim=D,
            dim_head=D // HEADS,
            heads=HEADS,
            out_dim=D,
            bias=True,
            processor=flux.FluxAttnProcessor(),
            eps=1e-6,
        )
    )
    ours = randomised(JointAttention(D, HEADS, qk_norm=True))
    weights = attention_weights(ours.image, ours.text)
    for of, added in ((ours.image, ""), (ours.text, "added_")):
        for part in "qk":
            weights[f"norm_{added}{part}.weight"] = getattr(of, f"{part}_norm").weight
    theirs.load_state_dict(weights)
    x, y, _ = streams()
    keys = []
    attend = flux.dispatch_attention_fn

    def seen(q, k, v, **options):
        keys.append(k)
        return attend(q, k, v, **options)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(flux, "dispatch_attention_fn", seen)
        wanted = theirs(x, encoder_hidden_states=y)
        for a, b in zip(ours(x, y), wanted, strict=True):
            torch.testing.assert_close(a, b, **CLOSE)
        first = ours.text.split(y)[1].transpose(1, 2)
        torch.testing.assert_close(keys[0][:, :WORDS], first, **CLOSE)
    single = flux.FluxSingleTransformerBlock(D, HEADS, D // HEADS)
    assert {n.split(".")[0] for n, _ in single.named_parameters()} == {
        "norm",
        "proj_mlp",
        "proj_out",
        "attn",
    }


# --- the network ---------------------------------------------------------------------------------


class Words(nn.Module):
    """An encoder whose words and pooled vectors are given."""

    def __init__(self, words, pooled):
        super().__init__()
        self.words, self.pooled, self.dim = words, pooled, words.shape[-1]

    def forward(self, tokens, mask):
        return self.words, self.pooled


def tiny_sd3(diffusers, size=8, largest=4, **options):
    """An SD3 whose positions are those of a grid of `largest` by `largest` tokens."""
    return randomised(
        diffusers.SD3Transformer2DModel(
            sample_size=size,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=3,
            attention_head_dim=D // HEADS,
            num_attention_heads=HEADS,
            joint_attention_dim=12,
            caption_projection_dim=D,
            pooled_projection_dim=12,
            pos_embed_max_size=largest,
            **options,
        )
    )


def sd3_weights(ours):
    """`TextToImage` by their names."""
    out = {}
    # A convolution embeds patches: its weights run along channels, then rows, then columns.
    out["pos_embed.proj.weight"] = ours.embed.weight.view(D, 2, 2, 4).permute(0, 3, 1, 2)
    out["pos_embed.proj.bias"] = ours.embed.bias
    scale_first = [1, 0]
    for kind in ("weight", "bias"):
        for layer, name in ((ours.level[0], "linear_1"), (ours.level[2], "linear_2")):
            out[f"time_text_embed.timestep_embedder.{name}.{kind}"] = getattr(layer, kind)
        out[f"context_embedder.{kind}"] = getattr(ours.context, kind)
        both = getattr(ours.last, kind).chunk(2)
        out[f"norm_out.linear.{kind}"] = torch.cat([both[i] for i in scale_first])
        out[f"proj_out.{kind}"] = getattr(ours.out, kind)
    for n, block in enumerate(ours.blocks):
        found = block_weights(block, ours.modulation, last=n == len(ours.blocks) - 1)
        out |= {f"transformer_blocks.{n}.{k}": w for k, w in found.items()}
    return out


def both_networks(diffusers, B=3):
    """Ours, theirs with the same weights, and what they are asked."""
    words, pooled = normal(B, WORDS, 12, seed=7), normal(B, 12, seed=8)
    encoder = Words(words, pooled)
    ours = text_to_image.TextToImage(encoder, size=8, channels=4, dim=D, depth=3, heads=HEADS)
    ours, theirs = randomised(ours), tiny_sd3(diffusers)
    theirs.load_state_dict(sd3_weights(ours), strict=False)
    # They have two layers where we have `summary`.
    theirs.time_text_embed.text_embedder = ours.summary
    return ours, theirs, normal(B, 4, 8, 8, seed=9), torch.tensor([0.0, 0.3, 1.0]), words, pooled


def test_the_network_is_sd3_with_shared_modulations(diffusers):
    """SD3 wants levels times 1000. Between the pooled vector and c it has two layers with SiLU,
    replaced by ours here."""
    ours, theirs, x_t, t, words, pooled = both_networks(diffusers)
    full = torch.ones(3, WORDS, dtype=torch.int64)
    with torch.no_grad():
        v = ours(x_t, t, full)
        theirs_v = theirs(x_t, words, pooled, 1000 * t).sample
    torch.testing.assert_close(v, theirs_v, **WITH_LEVELS)
    plain = tiny_sd3(diffusers).time_text_embed.text_embedder
    assert [type(m) for m in plain.children()] == [nn.Linear, nn.SiLU, nn.Linear]


def test_sd3_lets_the_image_see_padding(diffusers):
    """Its network takes no mask, and one in `joint_attention_kwargs` is accepted and not read. So
    the velocity depends on how many tokens of padding there are, and on what they hold."""
    ours, theirs, x_t, t, words, pooled = both_networks(diffusers)
    tokens = torch.ones(3, WORDS, dtype=torch.int64)
    tokens[:, 3:] = 0
    mask, other = tokens > 0, words.clone()
    other[:, 3:] += 1
    with torch.no_grad():
        v = ours(x_t, t, tokens)
        ours.encoder.words = other
        torch.testing.assert_close(ours(x_t, t, tokens), v, **CLOSE)
        ask = (x_t, words, pooled, 1000 * t)
        seen = theirs(*ask).sample
        assert (theirs(x_t, other, pooled, 1000 * t).sample - seen).abs().max() > 1e-2
        cut = theirs(x_t, words[:, :3], pooled, 1000 * t).sample
        torch.testing.assert_close(cut, v, **WITH_LEVELS)  # the same, without padding
        assert (seen - cut).abs().max() > 1e-2
        told = theirs(*ask, joint_attention_kwargs={"attention_mask": mask}).sample
    assert torch.equal(told, seen)


def test_flux_takes_a_mask_of_image_and_text_if_told(diffusers):
    """Its pipeline passes none. In `joint_attention_kwargs` one is read, of text and image tokens,
    the text's first."""
    net = randomised(
        diffusers.FluxTransformer2DModel(
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=12,
            pooled_projection_dim=6,
            axes_dims_rope=(4, 2, 2),
        )
    )
    words = normal(1, WORDS, 12, seed=1)
    ask = {
        "hidden_states": normal(1, 4, 4, seed=2),
        "pooled_projections": normal(1, 6, seed=3),
        "timestep": torch.tensor([0.25]),
        "img_ids": torch.zeros(4, 3),
    }

    def v(words, mask=None):
        given = {} if mask is None else {"joint_attention_kwargs": {"attention_mask": mask}}
        ids = torch.zeros(words.shape[1], 3)
        return net(**ask, encoder_hidden_states=words, txt_ids=ids, **given).sample

    mask = torch.ones(1, 1, 1, WORDS + 4, dtype=torch.bool)
    mask[..., 3:WORDS] = False
    with torch.no_grad():
        cut = v(words[:, :3])
        assert (v(words) - cut).abs().max() > 1e-3
        torch.testing.assert_close(v(words, mask), cut, **CLOSE)


def test_pixart_hides_padding_by_minus_10000(diffusers):
    """That is −∞ to float32 as long as there is a word. A text of padding alone is read in full,
    where our image attends to itself."""
    net = randomised(
        diffusers.PixArtTransformer2DModel(
            num_attention_heads=HEADS,
            attention_head_dim=D // HEADS,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            cross_attention_dim=D,
            sample_size=8,
            caption_channels=12,
            use_additional_conditions=False,
        )
    )
    words, x_t = normal(1, WORDS, 12, seed=1), normal(1, 4, 8, 8, seed=2)
    more = {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}

    def v(words, mask):
        level = torch.tensor([300.0])
        return net(x_t, words, level, encoder_attention_mask=mask, **more).sample

    mask, other = torch.tensor([[1, 1, 1, 0, 0]]), words.clone()
    other[:, 3:] += 1
    with torch.no_grad():
        torch.testing.assert_close(v(words, mask), v(other, mask), **CLOSE)
        torch.testing.assert_close(v(words, mask), v(words[:, :3], mask[:, :3]), **CLOSE)
        nothing, all_of_it = v(words, 0 * mask), v(words, 0 * mask + 1)
        # Scores of −10000 are rounded to thousandths.
        torch.testing.assert_close(nothing, all_of_it, atol=3e-3, rtol=0)
        assert (v(words, mask) - all_of_it).abs().max() > 3e-2


def test_positions_of_sd3_are_the_middle_of_the_largest_grid(diffusers):
    """Grids of all sizes share their centre there (192 by 192 tokens at most, of which an image of
    1024 pixels has 64 by 64), and their first corner here."""
    embed = tiny_sd3(diffusers, largest=16).pos_embed
    large, small = (embed.cropped_pos_embed(n, n).view(n // 2, n // 2, D) for n in (16, 8))
    assert torch.equal(large[2:6, 2:6], small)
    own = [text_to_image.position_embedding(n, n, D).view(n, n, D) for n in (8, 4)]
    assert torch.equal(own[0][:4, :4], own[1])


# --- counting tokens -----------------------------------------------------------------------------


def tokens_seen(net, block, ask):
    """How many tokens of image and of text a block is given."""
    seen = []

    def count(_, args, given):
        given = dict(zip(("hidden_states", "encoder_hidden_states"), args, strict=False)) | given
        seen.append([given[k].shape[1] for k in ("hidden_states", "encoder_hidden_states")])

    block.register_forward_pre_hook(count, with_kwargs=True)
    with torch.no_grad():
        net(**ask)
    return seen[0]


@pytest.mark.parametrize(("height", "width"), [(1024, 1024), (768, 1344)])
def test_tokens_of_sd3(diffusers, height, width):
    """154 words at least: 77 of CLIP, and up to 256 of T5 beside them."""
    net = tiny_sd3(diffusers, size=128, largest=96)
    ask = {
        "hidden_states": torch.zeros(1, 4, height // 8, width // 8),
        "encoder_hidden_states": torch.zeros(1, 77 + 256, 12),
        "pooled_projections": torch.zeros(1, 12),
        "timestep": torch.zeros(1),
    }
    image, words = tokens_seen(net, net.transformer_blocks[0], ask)
    assert text.token_count(height, width, 8, 2) == image
    assert text.token_count(height, width, 8, 2, words) == image + 77 + 256


def test_tokens_of_pixart(diffusers):
    net = diffusers.PixArtTransformer2DModel(
        num_attention_heads=1,
        attention_head_dim=4,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        cross_attention_dim=4,
        sample_size=128,
        caption_channels=4,
        use_additional_conditions=False,
    )
    ask = {
        "hidden_states": torch.zeros(1, 4, 128, 128),
        "encoder_hidden_states": torch.zeros(1, 120, 4),
        "timestep": torch.zeros(1),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }
    image, words = tokens_seen(net, net.transformer_blocks[0], ask)
    assert (image, words) == (text.token_count(1024, 1024, 8, 2), 120)
