"""How pipelines of diffusers and encoders of transformers read a prompt, beside chapter 10: a test
for each line about them of "Where practice differs". Networks are tiny, their weights random.

Both packages are asked whole, with tokenizers of 26 letters. transformers is in no extra: without
it all of this is skipped.
"""

import itertools
import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import guidance, text, text_to_image
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT

libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")

LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
START, END = 52, 53  # of CLIP's text, below: letters within a word, then those that end one
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
NAMES = (
    "CLIPConfig",
    "CLIPModel",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPTokenizer",
    "T5Config",
    "T5EncoderModel",
    "T5Tokenizer",
)


@pytest.fixture(scope="module")
def transformers():
    return types.SimpleNamespace(**dict(zip(NAMES, libraries.transformers(*NAMES), strict=True)))


@pytest.fixture(scope="module")
def diffusers(transformers):
    with libraries.diffusers_pipelines() as package:
        yield package


@pytest.fixture(autouse=True)
def same_numbers():
    """Begin every test with the same random numbers: networks take them from torch's own state."""
    torch.manual_seed(10)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(net):
    """Weights of size 1 / √inputs: none is 0, and what goes through them keeps its size."""
    for n, w in enumerate(net.parameters()):
        w.data = normal(*w.shape, seed=n) / (w[0].numel() if w.dim() > 1 else 4) ** 0.5
    return net.eval()


# --- tiny ones of theirs -------------------------------------------------------------------------


def clip_tokenizer(transformers, **options):
    words = [*LETTERS, *(c + "</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    numbers = {word: n for n, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=numbers, merges=[], model_max_length=77, **options)


def t5_tokenizer(transformers):
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return transformers.T5Tokenizer(vocab=marks + [(c, -3.0) for c in LETTERS], extra_ids=0)


def clip_config(transformers, dim, **options):
    options = {"projection_dim": 4, "eos_token_id": END, **options}
    return transformers.CLIPTextConfig(
        vocab_size=54,
        hidden_size=dim,
        intermediate_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        bos_token_id=START,
        pad_token_id=END,
        **options,
    )


def t5(transformers, dim=12):
    config = transformers.T5Config(
        vocab_size=30, d_model=dim, d_kv=4, d_ff=8, num_layers=2, num_heads=2
    )
    return randomised(transformers.T5EncoderModel(config))


def autoencoder(diffusers):
    """One that makes nothing smaller, so that latents are as large as images."""
    return diffusers.AutoencoderKL(latent_channels=4, block_out_channels=(4,), norm_num_groups=2)


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def sd3(diffusers, transformers):
    """Of three encoders, of which the first two have pooled vectors."""
    clip = transformers.CLIPTextModelWithProjection
    return quiet(
        diffusers.StableDiffusion3Pipeline(
            transformer=randomised(
                diffusers.SD3Transformer2DModel(
                    sample_size=8,
                    patch_size=2,
                    in_channels=4,
                    out_channels=4,
                    num_layers=2,
                    attention_head_dim=8,
                    num_attention_heads=2,
                    joint_attention_dim=12,
                    caption_projection_dim=16,
                    pooled_projection_dim=8,
                    pos_embed_max_size=4,
                )
            ),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=autoencoder(diffusers),
            text_encoder=randomised(clip(clip_config(transformers, 4))),
            tokenizer=clip_tokenizer(transformers),
            text_encoder_2=randomised(clip(clip_config(transformers, 6))),
            tokenizer_2=clip_tokenizer(transformers, pad_token="a"),
            text_encoder_3=t5(transformers),
            tokenizer_3=t5_tokenizer(transformers),
        )
    )


@pytest.fixture(scope="module")
def flux(diffusers, transformers):
    return quiet(
        diffusers.FluxPipeline(
            transformer=randomised(
                diffusers.FluxTransformer2DModel(
                    in_channels=16,
                    num_layers=1,
                    num_single_layers=1,
                    attention_head_dim=8,
                    num_attention_heads=2,
                    joint_attention_dim=12,
                    pooled_projection_dim=6,
                    axes_dims_rope=(4, 2, 2),
                    guidance_embeds=True,
                )
            ),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=autoencoder(diffusers),
            text_encoder=randomised(transformers.CLIPTextModel(clip_config(transformers, 6))),
            tokenizer=clip_tokenizer(transformers),
            text_encoder_2=t5(transformers),
            tokenizer_2=t5_tokenizer(transformers),
        )
    )


def sd1(diffusers, transformers, xl=False):
    dim = 6
    net = randomised(
        diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(4, 4),
            norm_num_groups=2,
            layers_per_block=1,
            attention_head_dim=2,
            cross_attention_dim=2 * dim if xl else dim,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            **(
                {
                    "addition_embed_type": "text_time",
                    "addition_time_embed_dim": 4,
                    "projection_class_embeddings_input_dim": 4 + 6 * 4,
                }
                if xl
                else {}
            ),
        )
    )
    clip = randomised(transformers.CLIPTextModel(clip_config(transformers, dim)))
    parts = {
        "vae": autoencoder(diffusers),
        "text_encoder": clip,
        "tokenizer": clip_tokenizer(transformers),
        "unet": net,
        "scheduler": diffusers.DDIMScheduler(clip_sample=False),
    }
    if not xl:
        more = {"safety_checker": None, "feature_extractor": None}
        more["requires_safety_checker"] = False
        return quiet(diffusers.StableDiffusionPipeline(**parts, **more))
    second = transformers.CLIPTextModelWithProjection(clip_config(transformers, dim))
    parts["text_encoder_2"] = randomised(second)
    parts["tokenizer_2"] = clip_tokenizer(transformers)
    return quiet(diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False))


Z = normal(1, 4, 8, 8, seed=5)


def latents(pipe, prompt="a red ring", **options):
    options = {"height": 8, "width": 8, "num_inference_steps": 2, **options}
    return pipe(prompt, latents=options.pop("z", Z), output_type="latent", **options).images


# --- CLIP ----------------------------------------------------------------------------------------


def test_scores_and_loss_are_those_of_clip(transformers):
    """exp(2.6592) = 1 / 0.07 is where its scale begins."""
    own = clip_config(transformers, 6).to_dict()
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(text_config=own, vision_config=vision, projection_dim=4)
    model = transformers.CLIPModel(config).eval()
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-4)
    randomised(model)
    x = normal(3, 3, 8, 8)
    tokens = clip_tokenizer(transformers)(["a", "red", "ring"], padding=True, return_tensors="pt")
    for log_scale in (2.6592, 6.0):  # the second is 403: nothing keeps it below 100
        model.logit_scale.data.fill_(log_scale)
        out = model(**tokens, pixel_values=x, return_loss=True)
        u, v = (
            model.get_image_features(pixel_values=x).pooler_output,
            model.get_text_features(**tokens).pooler_output,
        )
        s = text.similarity(u, v, model.logit_scale)
        torch.testing.assert_close(s, out.logits_per_image, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(text.contrastive_loss(s), out.loss, atol=1e-4, rtol=1e-4)
        g = torch.autograd.grad(text.contrastive_loss(s), model.logit_scale)[0]
        h = torch.autograd.grad(out.loss, model.logit_scale)[0]
        torch.testing.assert_close(g, h, atol=1e-3, rtol=1e-3)


def clip_reads(transformers, tokens, **options):
    model = randomised(transformers.CLIPTextModel(clip_config(transformers, 6, **options)))
    with torch.no_grad():
        return model(torch.tensor(tokens))


def test_the_pooled_vector_of_clip_is_that_of_the_end(transformers):
    """Its words see only what stands before them, so the first end of text alone has read it all.
    Ours see all words, and the pooled vector is made of their mean."""
    row, other = ([START, 3, 4, n, END, END] for n in (5, 6))
    out, changed = (clip_reads(transformers, [r]) for r in (row, other))
    words, more = out.last_hidden_state[0], changed.last_hidden_state[0]
    assert torch.equal(out.pooler_output[0], words[4])
    assert torch.equal(words[:3], more[:3])
    assert ((words[3:] - more[3:]).abs().amax(1) > 1e-3).all()
    encoder = randomised(text.TextEncoder(["", *LETTERS], 6, dim=8))
    with torch.no_grad():
        (h, pooled), (h_2, _) = (
            encoder(t, t > 0) for t in (torch.tensor([[3, 4, n, 0]]) for n in (5, 6))
        )
        assert (h[0, :3] - h_2[0, :3]).abs().amax(1).min() > 1e-3
        torch.testing.assert_close(pooled, encoder.out(h[:, :3].mean(1)), **CLOSE)


def test_where_clip_finds_the_end(transformers):
    """At the first `eos_token_id`; but if that is 2, as in old files of weights, at the largest
    number. A word added to the vocabulary is larger than the end."""
    row = [START, 3, END, END, END]
    assert torch.equal(
        clip_reads(transformers, [row]).pooler_output,
        clip_reads(transformers, [row], eos_token_id=2).pooler_output,
    )
    early = [END - 1, 53, 3, 52, 52]  # the largest number stands for a word, 52 for the end
    for end, at in ((52, 0), (2, 1)):
        out = clip_reads(transformers, [early], eos_token_id=end)
        assert torch.equal(out.pooler_output[0], out.last_hidden_state[0, at]), end


def test_t5_has_no_pooled_vector(transformers):
    out = t5(transformers)(torch.tensor([[4, 5, 1, 0]]))
    assert set(out.keys()) == {"last_hidden_state"}


def test_tokens_of_clip_and_t5(transformers):
    """Parts of words, between marks. CLIP fills up with the end of text, or another number where
    one is set; T5 with 0. An empty text has one or two tokens left."""
    clip, other = (clip_tokenizer(transformers, **o) for o in ({}, {"pad_token": "a"}))
    five = t5_tokenizer(transformers)
    options = {"padding": "max_length", "max_length": 6}
    assert clip("Red", **options)["input_ids"] == [START, 17, 4, 29, END, END]
    assert other("red", **options)["input_ids"] == [START, 17, 4, 29, END, 0]
    assert clip("red", **options)["attention_mask"] == [1, 1, 1, 1, 1, 0]
    assert five("red", **options)["input_ids"] == [3, 21, 8, 7, 1, 0]
    assert clip("")["input_ids"] == [START, END]
    assert five("")["input_ids"] == [1]
    tokens, mask = text.tokenize([""], ["", "red"], 6)
    assert not tokens.any()
    assert not mask.any()


# --- what a pipeline makes of a prompt -----------------------------------------------------------


def test_sd3_joins_three_encoders(sd3, transformers):
    """Words: 77 of both CLIPs side by side, from the layer before the last, filled up with 0 to the
    width of T5, and then 256 of T5. Pooled vectors: of both CLIPs, side by side."""
    with torch.no_grad():
        words, _, pooled, _ = sd3.encode_prompt("a red ring", None, None)
        both = []
        for tokenizer, encoder in (
            (sd3.tokenizer, sd3.text_encoder),
            (sd3.tokenizer_2, sd3.text_encoder_2),
        ):
            ids = tokenizer("a red ring", padding="max_length", return_tensors="pt").input_ids
            both.append(encoder(ids, output_hidden_states=True))
        ids = sd3.tokenizer_3(
            "a red ring", padding="max_length", max_length=256, return_tensors="pt"
        ).input_ids
        of_t5 = sd3.text_encoder_3(ids).last_hidden_state
    assert words.shape == (1, 77 + 256, 12)
    of_clip = torch.cat([out.hidden_states[-2] for out in both], -1)
    assert torch.equal(words, torch.cat([F.pad(of_clip, (0, 2)), of_t5], 1))
    assert torch.equal(pooled, torch.cat([out.text_embeds for out in both], -1))


def test_flux_reads_t5_and_one_vector_of_clip(flux):
    """512 words of T5; of CLIP the pooled vector alone, and that before its projection."""
    with torch.no_grad():
        words, pooled, ids = flux.encode_prompt("a red ring")
        tokens = flux.tokenizer("a red ring", padding="max_length", return_tensors="pt").input_ids
        assert torch.equal(pooled, flux.text_encoder(tokens).pooler_output)
    assert words.shape == (1, 512, 12)
    assert not ids.any()  # all words stand in one place


def test_encoders_of_sd3_and_flux_see_padding(sd3, flux):
    """They are called without a mask. T5 looks at all of its tokens, so words change with how much
    is filled up; CLIP's words see nothing behind them."""
    with torch.no_grad():
        for pipe in (sd3, flux):
            one, two = (
                pipe._get_t5_prompt_embeds("red", max_sequence_length=n)[:, :5] for n in (8, 16)
            )
            assert (one - two).abs().max() > 1e-3
        ids = [sd3.tokenizer("red", padding="max_length", max_length=n).input_ids for n in (8, 16)]
        one, two = (
            sd3.text_encoder(torch.tensor([i]), output_hidden_states=True).hidden_states[-2]
            for i in ids
        )
    torch.testing.assert_close(one[:, :5], two[:, :5], **CLOSE)


def test_the_image_of_sd3_depends_on_padding(sd3):
    near = (latents(sd3) - latents(sd3, max_sequence_length=128)).abs().max()
    assert near > 1e-2


def test_pixart_hides_padding_from_t5(diffusers, transformers):
    pipe = diffusers.PixArtAlphaPipeline(
        tokenizer=t5_tokenizer(transformers),
        text_encoder=t5(transformers),
        vae=autoencoder(diffusers),
        transformer=diffusers.PixArtTransformer2DModel(
            num_attention_heads=1,
            attention_head_dim=4,
            num_layers=1,
            cross_attention_dim=4,
            sample_size=8,
            caption_channels=12,
            use_additional_conditions=False,
        ),
        scheduler=diffusers.DDIMScheduler(),
    )
    with torch.no_grad():
        (words, mask, null, null_mask), (short, *_) = (
            pipe.encode_prompt("red", max_sequence_length=n) for n in (120, 8)
        )
        assert pipe.encode_prompt("red")[0].shape == (1, 120, 12)
    assert mask.sum() == 5  # ▁, three letters and the end
    torch.testing.assert_close(words[:, :5], short[:, :5], **CLOSE)
    assert null_mask.sum() == 1  # the end alone: no text is ever without a token
    assert null.shape == words.shape


def test_long_prompts_are_cut(sd3, flux, transformers):
    """With a warning: after 77 tokens for CLIP, of which two are marks, 256 for T5 in SD3, 512 in
    FLUX.1. Ours refuses."""
    prompts = ["a" * 100, "a" * 75 + "b" * 25]
    with torch.no_grad():
        one, two = (sd3._get_clip_prompt_embeds(p)[0] for p in prompts)
        assert torch.equal(one[:, :75], two[:, :75])
        one, two = (sd3._get_t5_prompt_embeds("a " * 200 + c) for c in "ab")
        assert one.shape == (1, 256, 12)
        assert torch.equal(one, two)
        assert flux._get_t5_prompt_embeds("a " * 300).shape == (1, 512, 12)
    with pytest.raises(ValueError, match="at most 77 words, got 100"):
        text.tokenize([" ".join("a" * 100)], ["", "a"], 77)


# --- guidance ------------------------------------------------------------------------------------


class AsHere(nn.Module):
    """A pipeline's network as `text_to_image.sample` calls one: it knows captions by their numbers,
    of words that are letters here."""

    def __init__(self, pipe):
        super().__init__()
        self.pipe = pipe
        self.encoder = types.SimpleNamespace(vocabulary=("", *LETTERS), length=8)

    def forward(self, x_t, t, tokens):
        said = [" ".join(self.encoder.vocabulary[n] for n in row if n) for row in tokens]
        words, _, pooled, _ = self.pipe.encode_prompt(said, None, None)
        return self.pipe.transformer(x_t, words, pooled, 1000 * t).sample


@pytest.mark.parametrize(
    ("w", "negative"), [(0.0, ""), (3.0, ""), (3.0, "r g"), (0.5, ["g", "b l"])]
)
def test_sd3_is_sampled_as_here(sd3, w, negative):
    """`guidance_scale` is 1 + w, and without a negative prompt it leads away from the empty one.
    Levels are T equal steps, which SD3's scheduler takes if it is told."""
    z, captions = normal(2, 4, 8, 8), ["a r", "g b"]
    there = negative if isinstance(negative, list) else [negative] * 2
    if negative == "":
        there = None
    theirs = latents(
        sd3,
        captions,
        negative_prompt=there,
        guidance_scale=1 + w,
        z=z,
        sigmas=[1.0, 0.75, 0.5, 0.25],
    )
    ours = text_to_image.sample(AsHere(sd3), z, 4, captions, w, negative)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_scales_up_to_1_guide_nothing(sd3, diffusers, transformers):
    """Negative prompts are then not read. Here w may lie below 0, towards the null condition."""
    for pipe in (sd3, sd1(diffusers, transformers)):
        plain = latents(pipe, guidance_scale=1.0)
        for scale in (0.0, 0.5, 1.0):
            found = latents(pipe, guidance_scale=scale, negative_prompt="green")
            assert torch.equal(found, plain)
        assert (latents(pipe, guidance_scale=1.5) - plain).abs().max() > 1e-3
    z = normal(1, 4, 8, 8)
    half, none = (text_to_image.sample(AsHere(sd3), z, 2, ["r"], w) for w in (-0.5, 0.0))
    assert (half - none).abs().max() > 1e-3


def test_no_negative_prompt_is_the_empty_one(sd3, diffusers, transformers):
    """Not in Stable Diffusion XL: there all numbers of the text are 0, which no text gives."""
    for pipe in (sd3, sd1(diffusers, transformers)):
        assert torch.equal(latents(pipe), latents(pipe, negative_prompt=""))
    xl = sd1(diffusers, transformers, xl=True)
    with torch.no_grad():
        nothing = xl.encode_prompt("red")
        empty = xl.encode_prompt("red", negative_prompt="")
        second = xl.encode_prompt("red", negative_prompt_2="green")
    for k in (1, 3):  # words, and the pooled vector
        assert not nothing[k].any()
        assert empty[k].any()
        assert not second[k].any()  # without a first negative prompt the second is not read


def test_an_encoder_that_is_missing_says_0(sd3):
    """SD3 may be used without T5: 256 words of 0 take its place, and are attended to."""
    t5, sd3.text_encoder_3 = sd3.text_encoder_3, None
    try:
        with torch.no_grad():
            words, *_ = sd3.encode_prompt("red", None, None)
    finally:
        sd3.text_encoder_3 = t5
    assert words.shape == (1, 77 + 256, 12)
    assert not words[:, 77:].any()


def test_an_empty_prompt_of_one_encoder_is_the_prompt_of_all(sd3):
    """`prompt_3=""` counts as not given; as a list it counts."""
    plain = latents(sd3, ["red"])
    assert torch.equal(latents(sd3, "red", prompt_3=""), plain)
    assert (latents(sd3, ["red"], prompt_3=[""]) - plain).abs().max() > 1e-3


def test_flux_is_guided_by_a_number_or_a_negative_prompt(flux):
    """`guidance_scale` is an input of the network. `true_cfg_scale` guides as here, 1 + w, but only
    beside a negative prompt: without one it is not read."""
    plain = latents(flux, z=None, generator=torch.Generator().manual_seed(1))

    def again(**options):
        return latents(flux, z=None, generator=torch.Generator().manual_seed(1), **options)

    assert (again(guidance_scale=1.0) - plain).abs().max() > 1e-4
    assert torch.equal(again(true_cfg_scale=4.0), plain)
    assert torch.equal(again(negative_prompt=""), plain)
    assert (again(true_cfg_scale=4.0, negative_prompt="") - plain).abs().max() > 1e-3


def test_captions_are_dropped_for_all_encoders_at_once():
    """SD3 drops each of its three with probability .464 by itself, so that all are gone for a tenth
    of the examples (Esser et al. 2024). `drop_condition` throws once."""
    share = 0.464
    assert share**3 == pytest.approx(0.1, abs=1e-3)
    gone = torch.tensor(list(itertools.product([True, False], repeat=3)))
    chance = torch.where(gone, share, 1 - share).prod(1)
    partly = chance[gone.any(1) & ~gone.all(1)].sum()
    assert float(partly) == pytest.approx(0.746, abs=1e-3)
    n = 20_000
    y = torch.ones(n, 3, dtype=torch.int64)
    null = torch.zeros(3, dtype=torch.int64)
    found = guidance.drop_condition(y, 0.1, null, torch.Generator().manual_seed(0)) == 0
    assert torch.equal(found.any(1), found.all(1))
    assert abs(found.all(1).double().mean() - 0.1) < 5 * (0.09 / n) ** 0.5


# --- counting tokens -----------------------------------------------------------------------------


def test_tokens_of_flux(diffusers):
    """1024×1024 pixels are 16 × 128 × 128 latents, and 4096 tokens of 64 numbers. Its pipeline
    packs them, not the network. Numbers of a token run channel by channel, ours place by place."""
    pipe = diffusers.FluxPipeline
    u = normal(1, 16, 128, 128)
    packed = pipe._pack_latents(u, 1, 16, 128, 128)
    ids = pipe._prepare_latent_image_ids(1, 64, 64, "cpu", torch.float32)
    assert packed.shape == (1, text.token_count(1024, 1024, 8, 2), 64)
    assert len(ids) == packed.shape[1] == 4096
    here = text_to_image.patchify(u, 2)
    assert torch.equal(packed, here.unflatten(2, (4, 16)).transpose(2, 3).flatten(2))


def test_sides_that_do_not_divide(sd3, flux):
    """SD3 refuses, as we do, and names the multiple below. FLUX.1 cuts: 1000×1016 pixels become
    992×1008."""
    with pytest.raises(ValueError, match="height 8 and width 8"):
        latents(sd3, height=9)
    sides = (1000, 1016)
    with pytest.raises(ValueError, match="992 or 1008"):
        text.token_count(*sides, 8, 2)
    asked = flux.vae_scale_factor
    flux.vae_scale_factor = 8  # as with its own autoencoder
    try:
        u, ids = flux.prepare_latents(1, 4, *sides, torch.float32, "cpu", None)
    finally:
        flux.vae_scale_factor = asked
    assert u.shape[1] == len(ids) == text.token_count(992, 1008, 8, 2)


def test_tokens_of_stable_diffusion_1(diffusers, transformers):
    """A U-Net makes no patches: where it attends first, each of 64×64 latents is a token."""
    pipe, seen = sd1(diffusers, transformers), []
    first = pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    first.register_forward_pre_hook(
        lambda _, args, given: seen.append(args[0].shape[1]), with_kwargs=True
    )
    with torch.no_grad():
        pipe.unet(torch.zeros(1, 4, 64, 64), 1, torch.zeros(1, 77, 6))
    assert seen == [text.token_count(512, 512, 8, 1)] == [4096]
