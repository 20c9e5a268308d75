#!/usr/bin/env bash
# The warning of StableDiffusion3Pipeline and FluxPipeline about a prompt that is too long for T5 names hundreds of words that T5 read.
#
# "The following part of your input was truncated because `max_sequence_length` is set to 256 tokens: …": one would shorten the prompt
# by what follows. But the part that is shown begins at the 77th token, the limit of CLIP, not at the 256th. Of 300 words of one token
# T5 reads 255 and the end mark; 45 are cut, and the warning shows 224. 255 words are read in full, without a warning about T5.
# PixArtAlphaPipeline, which has T5 alone, shows what was cut.
#
# What helps: counting. len(pipe.tokenizer_3(prompt).input_ids) − max_sequence_length tokens are too many.
#
# Seen with diffusers 0.42.1, transformers 5.24.0, torch 2.13.0, Python 3.11, a prompt of 300 letters and max_sequence_length=256:
#   StableDiffusion3Pipeline:   the warning shows 224 letters; change the first of them, and what T5 says changes
#   FluxPipeline:               the same
#   PixArtAlphaPipeline:        45 letters, and changing the first of them changes nothing
# Fails if the warning shows only what was cut.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip diffusers==0.42.1 transformers==5.24.0 tokenizers==0.23.3 torch==2.13.0

"$folder/venv/bin/python" - <<'PY'
import itertools
import logging
import string

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

torch.manual_seed(0)
LETTERS = [*string.ascii_lowercase, *(c + "</w>" for c in string.ascii_lowercase)]
NUMBERS = {word: n for n, word in enumerate([*LETTERS, "<|startoftext|>", "<|endoftext|>"])}
MARKS = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
HEADS = {"attention_head_dim": 8, "num_attention_heads": 2}
SIZES = {"hidden_size": 6, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
END = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}


def clip_tokenizer():
    return CLIPTokenizer(vocab=NUMBERS, merges=[], model_max_length=77)


def clip(kind):
    return kind(CLIPTextConfig(vocab_size=54, projection_dim=4, **SIZES, **END)).eval()


def t5_tokenizer():  # each word of one letter is one token
    return T5Tokenizer(vocab=MARKS + [(f"▁{c}", -3.0) for c in string.ascii_lowercase], extra_ids=0)


def t5():
    return T5EncoderModel(
        T5Config(vocab_size=29, d_model=12, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    ).eval()


def autoencoder():
    return AutoencoderKL(latent_channels=4, block_out_channels=(4,), norm_num_groups=2)


sd3 = StableDiffusion3Pipeline(
    vae=autoencoder(),
    text_encoder=clip(CLIPTextModelWithProjection),
    text_encoder_2=clip(CLIPTextModelWithProjection),
    text_encoder_3=t5(),
    tokenizer=clip_tokenizer(),
    tokenizer_2=clip_tokenizer(),
    tokenizer_3=t5_tokenizer(),
    transformer=SD3Transformer2DModel(
        sample_size=8, in_channels=4, num_layers=1, joint_attention_dim=12, caption_projection_dim=16, **HEADS
    ),
    scheduler=FlowMatchEulerDiscreteScheduler(),
)
flux = FluxPipeline(
    vae=autoencoder(),
    text_encoder=clip(CLIPTextModel),
    text_encoder_2=t5(),
    tokenizer=clip_tokenizer(),
    tokenizer_2=t5_tokenizer(),
    transformer=FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, axes_dims_rope=(4, 2, 2), joint_attention_dim=12, **HEADS
    ),
    scheduler=FlowMatchEulerDiscreteScheduler(),
)
pixart = PixArtAlphaPipeline(
    vae=autoencoder(),
    text_encoder=t5(),
    tokenizer=t5_tokenizer(),
    transformer=PixArtTransformer2DModel(num_layers=1, sample_size=8, use_additional_conditions=False, **HEADS),
    scheduler=DDIMScheduler(),
)


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


kept = Kept()
logging.getLogger("diffusers").addHandler(kept)


def of_t5(pipe, words):
    """What T5 says of these words, and how many of them the warning shows."""
    kept.said.clear()
    with torch.no_grad():
        if pipe is pixart:
            out = pipe.encode_prompt(" ".join(words), False, max_sequence_length=256)[0]
        else:
            out = pipe.encode_prompt(
                " ".join(words),
                *([None, None] if pipe is sd3 else [None]),
                max_sequence_length=256,
            )[0][:, -256:]
    about = [s for s in kept.said if "256" in s]
    return out, len(about[0].split("['")[1].split()) if about else 0


words = list(itertools.islice(itertools.cycle(string.ascii_lowercase), 300))
for pipe, shown in ((sd3, 224), (flux, 224), (pixart, 45)):
    name = type(pipe).__name__
    said, found = of_t5(pipe, words)
    cut = 300 - 255
    print(f"{name}: {cut} letters are cut, the warning shows {found}")
    assert found == shown, f"{name} shows {found} letters, expected {shown}"
    first = 300 - found  # the first letter that the warning shows
    changed = [*words[:first], "z" if words[first] != "z" else "a", *words[first + 1 :]]
    same = torch.equal(of_t5(pipe, changed)[0], said)
    print(f"{name}: T5 has {'not ' if same else ''}read the first letter that is shown")
    assert same == (pipe is pixart), f"{name}: the first letter shown was {'not ' if same else ''}read"
    _, none = of_t5(pipe, words[:255])
    assert none == 0, f"{name} warns of 255 letters and the end"
PY
