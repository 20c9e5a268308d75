"""Chapter 09's tokens, levels and positions are those of diffusers, up to the order of numbers.

Networks with the same weights are compared in `test_parity_dit.py`; here what they are fed is.
"""

import pytest
import torch

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.dit_tokens import patchify, position_embedding, rotate, timestep_embedding

libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")

# Of float32: places up to 1000 times frequencies that are known to 1e-7.
ROUNDING = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def embeddings():
    return libraries.diffusers_networks().models.embeddings


def normal(*shape, seed=7):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- levels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [2, 8, 256])
def test_levels_of_sd3_and_flux_are_ours(embeddings, dim):
    """Cosines first, frequencies base^(−k/h), for 1000 t."""
    t = torch.tensor([0.0, 0.001, 0.37, 1.0])
    theirs = embeddings.Timesteps(dim, flip_sin_to_cos=True, downscale_freq_shift=0)(1000 * t)
    torch.testing.assert_close(timestep_embedding(t, dim), theirs, **ROUNDING)
    theirs = embeddings.get_timestep_embedding(
        t, dim, flip_sin_to_cos=True, downscale_freq_shift=0, scale=1000
    )
    torch.testing.assert_close(timestep_embedding(t, dim), theirs, **ROUNDING)


def test_levels_of_ddpm_have_sines_first_and_another_last_frequency(embeddings):
    """Its slowest wave is exactly `base` times as long as the fastest: base^(−k/(h − 1))."""
    dim, h = 16, 8
    t = torch.tensor([0.0, 0.25, 1.0])
    theirs = embeddings.get_timestep_embedding(1000 * t, dim)
    sines, cosines = theirs.chunk(2, dim=1)
    ours = timestep_embedding(t, dim, base=10000 ** (h / (h - 1)))
    torch.testing.assert_close(ours, torch.cat([cosines, sines], 1), **ROUNDING)
    assert (timestep_embedding(t, dim) - ours).abs().max() > 0.1


def test_levels_of_diffusers_are_one_axis_of_even_numbers_and_more(embeddings):
    """Ours are of any shape and need an even dim; theirs add a 0 to an odd one."""
    t = torch.tensor([[0.1, 0.2]])
    assert timestep_embedding(t, 4).shape == (1, 2, 4)
    with pytest.raises(AssertionError):
        embeddings.get_timestep_embedding(t, 4)
    odd = embeddings.get_timestep_embedding(t[0], 5)
    assert odd.shape == (2, 5)
    assert not odd[:, -1].any()


# --- places -------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 4, 7])
def test_places_of_a_square_are_those_of_diffusers(embeddings, side):
    """Columns first, sines first, if the grid is as large as its `base_size`."""
    theirs = embeddings.get_2d_sincos_pos_embed(16, side, base_size=side)
    torch.testing.assert_close(position_embedding(side, side, 16), theirs.float(), **ROUNDING)


def test_places_in_diffusers_are_stretched_to_16(embeddings):
    """Both sides of every grid, unless `base_size` says otherwise: it covers the same 16 units with
    any number of tokens. In ours the next token is always 1 further."""
    theirs = embeddings.get_2d_sincos_pos_embed(16, (4, 8)).float()
    apart = position_embedding(16, 16, 16).view(16, 16, 16)
    every = apart[::4, ::2].reshape(32, 16)
    torch.testing.assert_close(theirs, every, **ROUNDING)
    assert (position_embedding(4, 8, 16) - theirs).abs().max() > 0.5


# --- turned queries and keys --------------------------------------------------------------------


def as_points(x):
    """Number k and k + h beside each other, as one point: (…, h, 2)."""
    return torch.stack(x.chunk(2, dim=-1), dim=-1)


ORDERS = {
    "columns first (Hunyuan-DiT)": lambda p: torch.cat(p.chunk(2, dim=-2)[::-1], dim=-2),
    "row, column, row, … (Lumina)": lambda p: torch.stack(p.chunk(2, dim=-2), -2).flatten(-3, -2),
}


def their_turns(embeddings, name, dim, height, width):
    """The angles, as unit complex numbers: (tokens, dim / 2)."""
    if "Lumina" in name:
        return embeddings.get_2d_rotary_pos_embed_lumina(dim, height, width).flatten(0, 1)
    whole = ((0, 0), (height, width))
    return embeddings.get_2d_rotary_pos_embed(dim, whole, (height, width), use_real=False)


@pytest.mark.parametrize("name", ORDERS)
def test_turns_of_others_are_ours_in_another_order(embeddings, name):
    """Neighbouring numbers are a point there, and points have another order."""
    height, width, dim = 3, 5, 16
    x = normal(1, 2, height * width, dim)
    turns = their_turns(embeddings, name, dim, height, width)
    theirs = ORDERS[name](as_points(x)).flatten(-2)
    theirs = torch.view_as_real(torch.view_as_complex(theirs.unflatten(-1, (-1, 2))) * turns)
    ours = ORDERS[name](as_points(rotate(x, height, width)))
    torch.testing.assert_close(ours, theirs, **ROUNDING)


@pytest.mark.parametrize("name", ORDERS)
def test_no_product_of_queries_and_keys_sees_the_order(embeddings, name):
    height, width, dim = 3, 5, 16
    q, k = normal(2, 1, height * width, dim)
    turns = their_turns(embeddings, name, dim, height, width)

    def theirs(x):
        points = torch.view_as_complex(ORDERS[name](as_points(x)).contiguous())
        return torch.view_as_real(points * turns).flatten(-2)

    ours = rotate(q, height, width) @ rotate(k, height, width).mT
    torch.testing.assert_close(ours, theirs(q) @ theirs(k).mT, **ROUNDING)


# --- patches ------------------------------------------------------------------------------------


def test_pixel_unshuffle_has_channels_first():
    """PyTorch's own patches have features (channel, row, column); ours (row, column, channel)."""
    x, P = normal(2, 3, 4, 6), 2
    theirs = torch.nn.functional.pixel_unshuffle(x, P).flatten(2).mT  # (B, tokens, C P P)
    ours = patchify(x, P).unflatten(-1, (P, P, 3)).permute(0, 1, 4, 2, 3).flatten(2)
    assert torch.equal(ours, theirs)
