#!/usr/bin/env bash
# StableDiffusionXLPipeline of diffusers does not read `negative_prompt_2` unless there is a `negative_prompt` too.
#
# XL has two text encoders, and a negative prompt for each. By its description `negative_prompt_2` goes to the second encoder, and
# `negative_prompt` to both where it is missing. One would guess that each is read if it is given, as in StableDiffusion3Pipeline. But
# whether there is a negative prompt is asked of the first one only. If it is None, all embeddings of the negative side are set
# to 0 (the setting is called force_zeros_for_empty_prompt), and the second prompt is thrown away without a word. The same setting
# leaves an *empty* prompt alone: negative_prompt="" gives another picture than none. FluxPipeline, too, asks for
# `negative_prompt` before it guides at all, whatever its `negative_prompt_2` is (source).
#
# What helps: negative_prompt="" beside negative_prompt_2.
#
# Seen with diffusers 0.42.1, transformers 5.24.0, torch 2.13.0, Python 3.11, tiny networks with random weights, the same noise,
# guidance scale 5: largest difference to the latents without any negative prompt
#   negative_prompt_2="green":                         0
#   negative_prompt="":                                17
#   negative_prompt="", negative_prompt_2="green":     16, and 2 from the row above
#   StableDiffusion3Pipeline, negative_prompt_2:       0.054
# Fails if the second negative prompt alone changes the picture, or is refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip diffusers==0.42.1 transformers==5.24.0 tokenizers==0.23.3 torch==2.13.0

"$folder/venv/bin/python" - <<'PY'
import string

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

torch.manual_seed(0)
LETTERS = [*string.ascii_lowercase, *(c + "</w>" for c in string.ascii_lowercase)]
NUMBERS = {word: n for n, word in enumerate([*LETTERS, "<|startoftext|>", "<|endoftext|>"])}


def tokenizer():
    return CLIPTokenizer(vocab=NUMBERS, merges=[], model_max_length=77)


def encoder(kind):
    sizes = {"hidden_size": 6, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    return kind(CLIPTextConfig(vocab_size=54, projection_dim=4, **sizes, **special)).eval()


def autoencoder():
    return AutoencoderKL(latent_channels=4, block_out_channels=(4,), norm_num_groups=2)


xl = StableDiffusionXLPipeline(
    vae=autoencoder(),
    text_encoder=encoder(CLIPTextModel),
    text_encoder_2=encoder(CLIPTextModelWithProjection),
    tokenizer=tokenizer(),
    tokenizer_2=tokenizer(),
    unet=UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4, 4),
        norm_num_groups=2,
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=12,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=4 + 6 * 4,
    ),
    scheduler=DDIMScheduler(clip_sample=False),
    add_watermarker=False,
)
sd3 = StableDiffusion3Pipeline(
    vae=autoencoder(),
    text_encoder=encoder(CLIPTextModelWithProjection),
    text_encoder_2=encoder(CLIPTextModelWithProjection),
    text_encoder_3=None,
    tokenizer=tokenizer(),
    tokenizer_2=tokenizer(),
    tokenizer_3=None,
    transformer=SD3Transformer2DModel(
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
    ).eval(),
    scheduler=FlowMatchEulerDiscreteScheduler(),
)
z = torch.randn(1, 4, 8, 8)


def latents(pipe, **negative):
    pipe.set_progress_bar_config(disable=True)
    sizes = {"height": 8, "width": 8, "num_inference_steps": 4, "guidance_scale": 5.0}
    return pipe("a red ring", latents=z, output_type="latent", **sizes, **negative).images


def apart(pipe, **negative):
    found = (latents(pipe, **negative) - latents(pipe)).abs().max().item()
    print(f"{type(pipe).__name__}, {negative}: {found:.2g} from no negative prompt")
    return found


assert apart(xl, negative_prompt_2="green") == 0, "the second negative prompt alone is read"
empty, both = {"negative_prompt": ""}, {"negative_prompt": "", "negative_prompt_2": "green"}
assert apart(xl, **empty) > 1e-3, "an empty negative prompt is the same as none"
assert apart(xl, **both) > 1e-3, "beside an empty one the second is not read"
second = (latents(xl, **both) - latents(xl, **empty)).abs().max().item()
print(f"of these two from each other: {second:.2g}")
assert second > 1e-3, "beside an empty one the second is not read"
assert apart(sd3, **empty) == 0, "in SD3 an empty negative prompt is not the same as none"
assert apart(sd3, negative_prompt_2="green") > 1e-3, "SD3 does not read the second alone either"
PY
