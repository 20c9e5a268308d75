#!/usr/bin/env bash
# generate(do_sample=True) of transformers never draws 206 of 256 codes, although the model's settings say top_k=None.
#
# An expert would guess that a fresh model samples from its own distribution: in its GenerationConfig top_k, top_p and temperature
# are None. But None means "the default", which is filled in inside generate(): 50. For a text that is a habit; for a Transformer
# over a codebook of 256, 1024 or 16384 it throws away most of the distribution at each of hundreds of places. Nothing is warned
# of. Of tokens with equal scores at the border all are kept, so a network that has learned nothing yet (all scores 0) draws from
# all of them, and a first look at it does not show the limit either.
#
# What helps: generate(do_sample=True, top_k=0).
#
# Seen with transformers 5.24.0, torch 2.13.0, Python 3.11, a GPT-2 of one layer over 256 tokens, 4000 draws of one token:
#   model.generation_config.top_k: None
#   do_sample=True:            50 tokens have a probability, exp(entropy) 48
#   do_sample=True, top_k=0:  256 tokens have a probability, exp(entropy) 212
#   all scores 0:             256
# Fails if a model whose settings say nothing draws from all tokens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip transformers==5.24.0 tokenizers==0.23.3 torch==2.13.0

"$folder/venv/bin/python" - <<'PY'
import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
sizes = {"vocab_size": 256, "n_positions": 8, "n_embd": 16, "n_layer": 1, "n_head": 1}
special = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
model = GPT2LMHeadModel(GPT2Config(**sizes, **special)).eval()
model.transformer.wte.weight.data.normal_(std=0.15)
prompts = torch.zeros(4000, 1, dtype=torch.long)


def drawn(**options):
    """How many tokens have a probability, exp(entropy), and how many different ones come."""
    out = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=1,
        do_sample=True,
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    p = out.scores[0][0].softmax(-1)
    found = int((p > 0).sum()), torch.special.entr(p).sum().exp().item(), len(out.sequences[:, 1].unique())
    print(f"{options}: {found[0]} tokens, exp(entropy) {found[1]:.0f}, {found[2]} came")
    return found


print(f"the model's settings: {model.generation_config}")
assert model.generation_config.top_k is None, f"they say {model.generation_config.top_k}"
kept, _, came = drawn()
assert kept == came == 50, f"got {kept} tokens, of which {came} came, expected 50"
kept, _, came = drawn(top_k=0)
assert kept == 256 and came > 200, f"got {kept} tokens, of which {came} came, expected all"
model.transformer.wte.weight.data.zero_()
kept, _, _ = drawn()
assert kept == 256, f"of equal scores {kept} are kept"
PY
