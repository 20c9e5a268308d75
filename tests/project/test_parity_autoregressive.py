"""Chapter 13's Transformer is torch's and GPT-2's, and its next tokens are drawn as transformers
draws them, up to conventions: a test for each line about sequences of "Where practice differs".

Masked tokens of the chapter are beyond the lecture; diffusers' scheduler for them is at the end.
"""

import inspect
import itertools
import math

import pytest
import torch
from torch import nn

from cs231n_gen.autoregressive import CausalBlock, Prior, next_probabilities
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.experiments import masked_trial

libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")

K, N, CLASSES, DIM, HEADS = 7, 6, 3, 8, 2
# A few dozen float64 operations in another order.
ROUNDING = {"rtol": 1e-11, "atol": 1e-11}
# The same, where `generate` takes the scores to float32, whatever the model is in.
ROUNDING_OF_FLOAT32 = {"rtol": 1e-5, "atol": 1e-6, "check_dtype": False}


@pytest.fixture(autouse=True)
def same_numbers():
    """Begin every test with the same random numbers: networks take them from torch's own state."""
    torch.manual_seed(13)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, dtype=torch.float64, seed=7):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def randomised(net):
    """Weights of size 0.5, biases too, in float64 and eval mode."""
    net.double().eval()
    for n, w in enumerate(net.parameters()):
        w.data = 0.5 * normal(*w.shape, seed=n)
    return net


def linear(theirs, ours, transposed=False):
    theirs.weight.data.copy_(ours.weight.T if transposed else ours.weight)
    theirs.bias.data.copy_(ours.bias)


# --- blocks ---------------------------------------------------------------------------------------


def torch_layer(block):
    """torch's own layer, with the options that make it a `CausalBlock`, and its weights."""
    layer = nn.TransformerEncoderLayer(
        DIM,
        HEADS,
        dim_feedforward=4 * DIM,
        dropout=0.0,
        activation=lambda x: nn.functional.gelu(x, approximate="tanh"),
        batch_first=True,
        norm_first=True,
    ).double()
    layer.self_attn.in_proj_weight.data.copy_(block.attention.qkv.weight)
    layer.self_attn.in_proj_bias.data.copy_(block.attention.qkv.bias)
    linear(layer.self_attn.out_proj, block.attention.out)
    linear(layer.linear1, block.mlp[0])
    linear(layer.linear2, block.mlp[2])
    linear(layer.norm1, block.norm_1)
    linear(layer.norm2, block.norm_2)
    return layer


@pytest.mark.parametrize("training", [True, False])
def test_torchs_layer_is_a_causal_block_with_other_options(training):
    """Values and gradients; in eval mode torch has a fast path of its own."""
    block = randomised(CausalBlock(DIM, HEADS))
    layer = torch_layer(block).train(training)
    hidden = nn.Transformer.generate_square_subsequent_mask(N, dtype=torch.float64)
    h = normal(2, N, DIM).requires_grad_()
    ours, theirs = block(h)[0], layer(h, src_mask=hidden, is_causal=True)
    torch.testing.assert_close(theirs, ours, **ROUNDING)
    w = normal(2, N, DIM, seed=8)
    (mine,) = torch.autograd.grad(ours, h, w)
    (other,) = torch.autograd.grad(theirs, h, w)
    torch.testing.assert_close(other, mine, **ROUNDING)
    with torch.no_grad():
        fast = layer(h, src_mask=hidden, is_causal=True)
    torch.testing.assert_close(fast, ours.detach(), **ROUNDING)


def test_torchs_layer_has_other_defaults_and_no_cache():
    """Norms after the sums (2017's), ReLU, dropout .1, the length first, every token seen."""
    layer = nn.TransformerEncoderLayer(DIM, HEADS)
    assert not layer.norm_first
    assert layer.activation is nn.functional.relu
    assert layer.dropout.p == 0.1
    assert not layer.self_attn.batch_first
    block = randomised(CausalBlock(DIM, HEADS))
    h = normal(2, N, DIM)
    later = torch.cat([h[:, :-1], normal(2, 1, DIM, seed=8)], 1)
    assert torch.equal(block(h)[0][:, 0], block(later)[0][:, 0])
    theirs = torch_layer(block)
    assert (theirs(h) - theirs(later))[:, 0].abs().max() > 1e-3
    # The flag is a hint of what the mask is; without a mask it is refused.
    with pytest.raises(RuntimeError, match="is_causal"):
        theirs(h, is_causal=True)


# --- GPT-2 ----------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    """A prior, and GPT-2's body with the same weights."""
    config, model = libraries.transformers("GPT2Config", "GPT2Model")
    prior = randomised(Prior(K, N, CLASSES, DIM, layers=2, heads=HEADS))
    sizes = {"n_positions": N, "n_embd": DIM, "n_layer": 2, "n_head": HEADS}
    body = model(config(vocab_size=K + 1, bos_token_id=K, eos_token_id=None, **sizes))
    body.double().eval()
    body.wte.weight.data.copy_(prior.token.weight)
    body.wpe.weight.data.copy_(prior.place.weight)
    linear(body.ln_f, prior.norm)
    for theirs, ours in zip(body.h, prior.blocks, strict=True):
        linear(theirs.ln_1, ours.norm_1)
        linear(theirs.ln_2, ours.norm_2)
        linear(theirs.attn.c_attn, ours.attention.qkv, transposed=True)
        linear(theirs.attn.c_proj, ours.attention.out, transposed=True)
        linear(theirs.mlp.c_fc, ours.mlp[0], transposed=True)
        linear(theirs.mlp.c_proj, ours.mlp[2], transposed=True)
    return prior, body


def inputs(prior, x, y):
    """What GPT-2 is fed: it adds places itself, and knows of no label."""
    start = torch.full_like(x[:, :1], K)
    return prior.token(torch.cat([start, x[:, :-1]], 1)) + prior.label(y)[:, None]


@torch.no_grad()
def test_the_prior_is_gpt_2_with_a_label_added(pair):
    prior, body = pair
    x, y = torch.randint(K, (4, N)), torch.randint(CLASSES + 1, (4,))
    h = body(inputs_embeds=inputs(prior, x, y)).last_hidden_state
    torch.testing.assert_close(prior.out(h), prior(x, y), **ROUNDING)


@torch.no_grad()
def test_the_cache_of_the_prior_is_that_of_gpt_2(pair):
    prior, body = pair
    x, y = torch.randint(K, (4, N)), torch.randint(CLASSES + 1, (4,))
    fed, past, cache = inputs(prior, x, y), None, None
    for t in range(N):
        out = body(inputs_embeds=fed[:, t : t + 1], cache=past, use_cache=True)
        logits, cache = prior.step(x[:, t - 1] if t else None, y, cache)
        past = out.cache
        torch.testing.assert_close(prior.out(out.last_hidden_state)[:, 0], logits, **ROUNDING)
    for (k, v), theirs in zip(cache, past.layers, strict=True):
        torch.testing.assert_close(theirs.keys, k, **ROUNDING)
        torch.testing.assert_close(theirs.values, v, **ROUNDING)


def test_gpt_2_scores_with_its_embeddings_and_drops_numbers_in_training():
    """Its head is the table of tokens, without a bias; ours is a linear layer of its own."""
    config, model = libraries.transformers("GPT2Config", "GPT2LMHeadModel")
    lm = model(config(vocab_size=K, n_embd=DIM, n_layer=1, n_head=1, eos_token_id=None))
    assert lm.lm_head.weight is lm.transformer.wte.weight
    assert lm.lm_head.bias is None
    assert {m.p for m in lm.modules() if isinstance(m, nn.Dropout)} == {0.1}


# --- the next token, in transformers --------------------------------------------------------------


def small_gpt(vocabulary):
    config, model = libraries.transformers("GPT2Config", "GPT2LMHeadModel")
    sizes = {"n_positions": 16, "n_embd": DIM, "n_layer": 1, "n_head": HEADS}
    options = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    return randomised(model(config(vocab_size=vocabulary, **sizes, **options)))


def scores_of(model, prompt, **options):
    """What `generate` draws its first token from, as probabilities."""
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=1,
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    return out.scores[0].softmax(-1)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_guidance_scale_is_one_plus_w(scale):
    """Scores become log-probabilities first, which changes nothing after the softmax."""
    (guided,) = libraries.transformers("UnbatchedClassifierFreeGuidanceLogitsProcessor")
    logits, null = normal(2, 1, K)
    w = scale - 1

    class Unconditional:
        def __call__(self, *args, **options):
            return self

        logits = null[:, None]

        def get(self, *args):
            return None

    found = guided(scale, Unconditional())(torch.zeros(1, 1, dtype=torch.long), logits)
    expected = next_probabilities(logits, null, w)
    torch.testing.assert_close(found.softmax(-1), expected, **ROUNDING)


def test_the_guidance_of_image_models_refuses_a_weight_of_0_or_less():
    """Janus and MusicGen: both scores in one batch, with the condition first."""
    (batched,) = libraries.transformers("ClassifierFreeGuidanceLogitsProcessor")
    logits, null = normal(2, 4, K)
    found = batched(3.0)(torch.zeros(4, 1, dtype=torch.long), torch.cat([logits, null]))
    expected = next_probabilities(logits, null, w=2.0)
    torch.testing.assert_close(found.softmax(-1), expected, **ROUNDING)
    for scale in (1.0, 0.5):
        with pytest.raises(ValueError, match="guidance scale"):
            batched(scale)


@torch.no_grad()
def test_generate_guides_then_divides_then_keeps_the_highest():
    """In the order of `next_probabilities`; the prompt takes the place of the label."""
    model = small_gpt(K)
    prompt, null = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5]])
    options = {"guidance_scale": 3.0, "temperature": 0.7, "top_k": 3, "do_sample": True}
    found = scores_of(model, prompt, negative_prompt_ids=null, **options)
    conditional, other = model(prompt).logits[:, -1], model(null).logits[:, -1]
    expected = next_probabilities(conditional, other, w=2.0, temperature=0.7, top_k=3)
    torch.testing.assert_close(found, expected, **ROUNDING_OF_FLOAT32)
    kept_first = next_probabilities(conditional, temperature=0.7, top_k=3)
    assert ((kept_first > 0) != (expected > 0)).any()


@torch.no_grad()
def test_generate_keeps_50_tokens_unless_it_is_told_otherwise():
    """Also of a codebook: `top_k=0` keeps all. Nothing in the model's own settings says 50
    (findings/generate_draws_from_50_codes.sh)."""
    model = small_gpt(256)
    prompt = torch.tensor([[1, 2, 3]])
    assert model.generation_config.top_k is None
    logits = model(prompt).logits[:, -1]
    for options, k in (({}, 50), ({"top_k": 0}, None)):
        found = scores_of(model, prompt, do_sample=True, **options)
        expected = next_probabilities(logits, top_k=k)
        torch.testing.assert_close(found, expected, **ROUNDING_OF_FLOAT32)


def test_their_top_k_keeps_all_that_are_equal_at_the_border():
    """Ours keeps k."""
    (warper,) = libraries.transformers("TopKLogitsWarper")
    logits = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    kept = warper(top_k=2)(None, logits).isfinite()
    assert kept[0].tolist() == [True, True, True, True, False]
    ours = next_probabilities(logits, top_k=2) > 0
    assert int(ours.sum()) == 2
    assert ours[0, 0]


# --- masked tokens, in diffusers ------------------------------------------------------------------


def masked(steps=8, **options):
    scheduler = libraries.library("diffusers").AmusedScheduler(mask_token_id=K)
    scheduler.set_timesteps(steps, **options)
    return scheduler


def unmask(scheduler, logits, generator):
    """All that it has after each step, from masks alone."""
    x, every = torch.full(logits.shape[:2], K), []
    for t in scheduler.timesteps:
        x = scheduler.step(logits, t, x, generator=generator).prev_sample
        every.append(x)
    return every


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_amused_leaves_masked_what_a_cosine_says(steps):
    """⌊64 cos(π/2 · i/T)⌋ after i of T steps, and what is known stays."""
    every = unmask(masked(steps), normal(2, 64, K), seeded())
    for i, x in enumerate(every, 1):
        left = math.floor(64 * math.cos(math.pi / 2 * i / steps)) if i < steps else 0
        assert ((x == K).sum(1) == left).all()
    for before, after in itertools.pairwise(every):
        assert torch.equal(before[before != K], after[before != K])


def test_temperature_of_amused_is_of_places_not_of_tokens():
    """It is the size of Gumbel noise on log-probabilities that decide which places stay, from 2
    down to 0. Tokens are always drawn as they are: `temperature=0` is not greedy."""
    assert masked().temperatures.tolist() == pytest.approx([2 - 2 * i / 7 for i in range(8)])
    scheduler = masked(temperature=0)
    assert scheduler.temperatures.tolist() == pytest.approx([0.01 * i / 7 for i in range(8)])
    logits = normal(1, 1, K).expand(1, 4000, K)
    (x,) = unmask(masked(1, temperature=0), logits, seeded())
    counts = torch.bincount(x[0], minlength=K).double()
    expected = 4000 * logits[0, 0].softmax(-1)
    chi = float(((counts - expected).square() / expected).sum())
    assert chi < 22.5  # passed by one draw in a thousand with 6 degrees of freedom


def test_what_amused_draws_is_surer_than_the_scores():
    """Of each step's draws the likeliest stay, so even tokens that depend on nothing come out with
    other frequencies in 8 steps than in one: the likeliest of them too often
    (findings/amused_draws_likely_codes_too_often_in_more_steps.sh)."""
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(1, 4000, 4)
    for steps, low, high in ((1, 0.38, 0.42), (8, 0.5, 0.6), (64, 0.6, 0.7)):
        scheduler = masked(steps)
        x, generator = torch.full((1, 4000), K), seeded()
        for t in scheduler.timesteps:
            x = scheduler.step(logits, t, x, generator=generator).prev_sample
        share = float((x == 0).float().mean())
        assert low < share < high, f"{share} after {steps} steps"


def test_at_temperature_zero_the_surest_places_stay():
    scheduler, logits = masked(4, temperature=(0, 0)), normal(3, 16, K)
    x = torch.full((3, 16), K)
    out = scheduler.step(logits, scheduler.timesteps[0], x, generator=seeded())
    drawn = out.pred_original_sample
    sure = logits.softmax(-1).gather(2, drawn[..., None])[..., 0]
    kept = out.prev_sample != K
    assert (kept.sum(1) == 16 - math.floor(16 * math.cos(math.pi / 8))).all()
    for row, known in zip(sure, kept, strict=True):
        assert row[known].min() >= row[~known].max()


def test_the_mask_is_the_last_row_of_a_rounded_table():
    """UVit2DModel scores codes alone: K of them, while its table has room for more; the mask is
    whatever number the scheduler is told, 8255 of 8256 by default for 8192 codes."""
    model = libraries.diffusers_networks().UVit2DModel
    config = {
        "hidden_size": 8,
        "cond_embed_dim": 8,
        "micro_cond_encode_dim": 2,
        "micro_cond_embed_dim": 10,
        "encoder_hidden_size": 8,
        "vocab_size": K + 5,
        "codebook_size": K,
        "in_channels": 8,
        "block_out_channels": 8,
        "num_res_blocks": 1,
        "block_num_heads": 1,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "sample_size": 4,
    }
    net = model(**config).eval()
    x = torch.full((2, 4, 4), K + 4)
    with torch.no_grad():
        text, pooled, extra = torch.zeros(2, 3, 8), torch.zeros(2, 8), torch.zeros(2, 5)
        logits = net(x, text, pooled, extra)
    assert logits.shape == (2, K, 4, 4)  # codes along axis 1
    defaults = inspect.signature(model.__init__).parameters
    assert defaults["vocab_size"].default == 8256
    assert defaults["codebook_size"].default == 8192


def test_the_chapters_masked_generation_is_amused_with_other_numbers():
    """The same draws: tokens from all places at once, of which the surest stay. `fill_in` rounds
    where theirs rounds down, its noise goes from 4 · (1 − 1/T) to 0 where theirs goes from 2 to 0,
    and a temperature of its own is for the tokens."""
    prior = randomised(masked_trial.MaskedPrior(K, 64, CLASSES, DIM, layers=1, heads=HEADS))
    prior.blocks = nn.ModuleList()  # scores depend on the place alone
    prior.token.weight.data.zero_()
    logits = prior(torch.zeros(2, 64).long(), torch.zeros(2).long()).detach()
    for calls in (1, 8):
        ours = masked_trial.fill_in(
            prior, torch.zeros(2).long(), calls=calls, chance=0.0, generator=seeded()
        )
        theirs = unmask(masked(calls, temperature=(0, 0)), logits, seeded())
        for i, (mine, other) in enumerate(zip(ours, theirs, strict=True), 1):
            share = 64 * math.cos(math.pi / 2 * i / calls) if i < calls else 0.0
            assert ((mine == K).sum(1) == round(share)).all()
            assert ((other == K).sum(1) == math.floor(share)).all()
        both = (ours[0] != K) & (theirs[0] != K)
        assert both.any(1).all()
        assert torch.equal(ours[0][both], theirs[0][both])
