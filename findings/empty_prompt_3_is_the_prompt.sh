#!/usr/bin/env bash
# StableDiffusion3Pipeline(prompt, prompt_3="") of diffusers gives T5 the whole prompt; prompt_3=[""] gives it nothing.
#
# SD3 was trained with each of its three text encoders left out at random, so one may ask for a picture with CLIP's words alone: an
# empty text for T5. By its description `prompt_3` goes to T5, and `prompt` does if it is not defined. An empty string is defined, but
# it counts as not: the code says `prompt_3 or prompt`. A list with an empty string
# is kept, so the same request in the form for a batch does what it says. The negative prompts are handled alike: with
# negative_prompt="green", negative_prompt_2="" is "green" for the second encoder, too. `prompt_2` of
# StableDiffusionXLPipeline and FluxPipeline is read by the same code. Nothing is warned of.
#
# What helps: lists, prompt=["…"], prompt_3=[""].
#
# Seen with diffusers 0.42.1, transformers 5.24.0, torch 2.13.0, Python 3.11, tiny networks with random weights: what T5 is given,
# as numbers of tokens that are no padding, for the prompt "a red ring"
#   prompt_3 not given:   12
#   prompt_3="":          12
#   prompt_3=[""]:         1, the end of text
#   prompt_3=" ":          1
# Fails if an empty string leaves T5 without the prompt.
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
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

torch.manual_seed(0)
LETTERS = [*string.ascii_lowercase, *(c + "</w>" for c in string.ascii_lowercase)]
NUMBERS = {word: n for n, word in enumerate([*LETTERS, "<|startoftext|>", "<|endoftext|>"])}
MARKS = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]


def tokenizer():
    return CLIPTokenizer(vocab=NUMBERS, merges=[], model_max_length=77)


def encoder():
    sizes = {"hidden_size": 6, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    config = CLIPTextConfig(vocab_size=54, projection_dim=4, **sizes, **special)
    return CLIPTextModelWithProjection(config).eval()


pipe = StableDiffusion3Pipeline(
    vae=AutoencoderKL(latent_channels=4, block_out_channels=(4,), norm_num_groups=2),
    text_encoder=encoder(),
    text_encoder_2=encoder(),
    text_encoder_3=T5EncoderModel(
        T5Config(vocab_size=30, d_model=12, d_kv=4, d_ff=8, num_layers=2, num_heads=2)
    ).eval(),
    tokenizer=tokenizer(),
    tokenizer_2=tokenizer(),
    tokenizer_3=T5Tokenizer(vocab=MARKS + [(c, -3.0) for c in string.ascii_lowercase], extra_ids=0),
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
pipe.set_progress_bar_config(disable=True)
given = []
pipe.text_encoder_3.register_forward_pre_hook(lambda _, args: given.append(int((args[0] != 0).sum())))
z = torch.randn(1, 4, 8, 8)
SIZES = {"height": 8, "width": 8, "num_inference_steps": 4, "output_type": "latent"}


def latents(prompt, scale=1.0, **others):
    given.clear()
    x = pipe(prompt, latents=z, guidance_scale=scale, **SIZES, **others).images
    print(f"{prompt!r}, {others}: T5 is given {given[0]} tokens that are no padding")
    return x, given[0]


plain, words = latents("a red ring")
empty, found = latents("a red ring", prompt_3="")
assert found == words > 1, f"an empty string gives T5 {found} tokens, the prompt has {words}"
assert torch.equal(empty, plain), "an empty string for T5 changes the picture"
listed, found = latents(["a red ring"], prompt_3=[""])
assert found == 1, f"a list with an empty string gives T5 {found} tokens, expected the end of text"
assert not torch.equal(listed, plain), "a list with an empty string changes nothing either"
blank, found = latents("a red ring", prompt_3=" ")
assert found == 1 and torch.equal(blank, listed), "a blank is not an empty text"

green, _ = latents("a red ring", 4.0, negative_prompt="green")
second, _ = latents("a red ring", 4.0, negative_prompt="green", negative_prompt_2="", negative_prompt_3="")
assert torch.equal(second, green), "an empty negative_prompt_2 is read"
PY
