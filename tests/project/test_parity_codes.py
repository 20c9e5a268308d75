"""Chapter 13's codes are those of vector-quantize-pytorch, diffusers and taming-transformers, up to
conventions: a test for each line about codes of "Where practice differs".

Their modules own a codebook, which is copied out; ours are functions of it.
"""

import inspect
import itertools
import math

import pytest
import torch

from cs231n_gen import vq
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT

libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")

K, DIM, BETA = 6, 4, 0.25
# Theirs are in float32, whatever they are given.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}
LEVELS = [[8, 6, 5], [3, 3], [5, 5, 5], [4, 7], [16]]


@pytest.fixture(autouse=True)
def same_numbers():
    """Begin every test with the same random numbers: codebooks take them from torch's own state."""
    torch.manual_seed(13)


@pytest.fixture(scope="module")
def lucid():
    return libraries.library("vector_quantize_pytorch")


def latents(*shape):
    return torch.randn(*(shape or (3, 7)), DIM, requires_grad=True)


def gradients(y, wrt):
    """Of y, or of Σ y w with fixed w if y is no single number; with 0 where nothing flows."""
    w = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape) if y.dim() else None
    found = torch.autograd.grad(y, wrt, w, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(wrt, found, strict=True)]


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **ROUNDING)


# --- vector-quantize-pytorch: the same after conversion -------------------------------------------


@pytest.mark.parametrize("shape", [(3, 7), (5,), (1, 1)])
def test_its_codes_are_the_nearest(lucid, shape):
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K).eval()
    z = latents(*shape)
    q, index, _ = theirs(z)
    ours, nearest = vq.quantize(z, theirs.codebook)
    assert torch.equal(index, nearest)
    torch.testing.assert_close(q, ours.detach(), **ROUNDING)


def test_it_is_straight_through_if_told_so(lucid):
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K, rotation_trick=False)
    codes, z = theirs.codebook.clone(), latents()
    q = theirs(z)[0]
    same([q], [vq.quantize(z, codes)[0]])
    same(gradients(q, [z]), gradients(vq.quantize(z, codes)[0], [z]))


def test_its_gradient_is_turned_and_stretched_by_default(lucid):
    """By the rotation from z to its code and the ratio of lengths (Fifty et al. 2024)."""
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K)
    codes, z = theirs.codebook.clone(), latents()
    q, index, _ = theirs(z)
    torch.testing.assert_close(q.detach(), codes[index], **ROUNDING)
    ratio = codes[index].norm(dim=-1, keepdim=True) / z.norm(dim=-1, keepdim=True)
    along = torch.nn.functional.normalize(codes[index], dim=-1)
    (g,) = torch.autograd.grad(q, z, along, retain_graph=True)
    torch.testing.assert_close(g, ratio * torch.nn.functional.normalize(z, dim=-1), **ROUNDING)
    w = torch.randn(z.shape)
    (g,) = torch.autograd.grad(q, z, w)
    lengths = ratio[..., 0] * w.norm(dim=-1)
    torch.testing.assert_close(g.norm(dim=-1), lengths, **ROUNDING)
    assert (g - w).abs().max() > 0.1  # that of `vq.quantize` is w


def test_its_gradient_grows_without_bound_for_short_latents(lucid):
    """Of a latent of exactly 0 the result is 0 while it trains, which is none of the codes
    (findings/rotation_trick_gives_no_code_for_a_latent_of_zero.sh)."""
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K, ema_update=False)
    for length in (1.0, 1e-2, 1e-4):
        z = torch.tensor([[[0.6 * length, 0.8 * length, 0.0, 0.0]]], requires_grad=True)
        q, index, _ = theirs(z)
        expected = theirs.codebook[index].norm() / length
        (g,) = torch.autograd.grad(q, z, torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]))
        torch.testing.assert_close(g.norm(), expected, rtol=1e-3, atol=0)
    z = torch.zeros(1, 1, DIM, requires_grad=True)
    assert not theirs(z)[0].any()
    q, index, _ = theirs.eval()(z)
    assert torch.equal(q, theirs.codebook[index])
    assert q.norm() > 0.1


@pytest.mark.parametrize("weight", [None, BETA, BETA * DIM])
def test_its_loss_is_the_commitment_as_a_mean_over_numbers(lucid, weight):
    """So `commitment_weight` is β dim, and 1 by default. Nothing of it moves the codes."""
    options = {} if weight is None else {"commitment_weight": weight}
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K, **options)
    codes, z = theirs.codebook.clone(), latents()
    _, index, found = theirs(z)
    beta = (1.0 if weight is None else weight) / DIM
    ours = vq.loss(z, codes, index, beta) - vq.loss(z, codes, index, 0.0)
    same([found], [ours])
    same(gradients(found, [z]), gradients(ours, [z]))
    assert not list(theirs.parameters())


def test_a_codebook_that_learns_has_both_gradients_and_one_term(lucid):
    """`learnable_codebook=True` counts ‖z − e‖² once, and lets it into both: gradients are those of
    β = 1, the value is half. It asks for `ema_update=False`."""
    with pytest.raises(AssertionError):
        lucid.VectorQuantize(dim=DIM, codebook_size=K, learnable_codebook=True)
    theirs = lucid.VectorQuantize(
        dim=DIM, codebook_size=K, learnable_codebook=True, ema_update=False
    )
    z, (codes,) = latents(), theirs.parameters()
    _, index, found = theirs(z)
    ours = vq.loss(z, codes[0], index, beta=1.0) / DIM
    same([2 * found], [ours])
    same(gradients(found, [z, codes]), gradients(ours, [z, codes]))


def test_without_training_it_has_no_loss_and_no_gradient(lucid):
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K).eval()
    z = latents()
    q, index, loss = theirs(z)
    assert not q.requires_grad
    assert not loss.requires_grad
    assert loss == 0
    ours, _ = vq.quantize(z, theirs.codebook)
    assert ours.requires_grad
    assert vq.loss(z, theirs.codebook, index) > 0


# --- vector-quantize-pytorch: running means -------------------------------------------------------


@pytest.mark.parametrize("decay", [None, 0.99])
def test_its_running_means_are_update_codes(lucid, decay):
    """γ is .8 by default, ours .99. Counts begin at 1 and sums at the codes. What comes out of a
    step are the codes from before it."""
    options = {} if decay is None else {"decay": decay}
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K, **options)
    counts, sums = torch.ones(K), theirs.codebook.clone()
    for _ in range(5):
        z, before = torch.randn(5, 9, DIM), theirs.codebook.clone()
        q, index, _ = theirs(z)
        assert torch.equal(q, before[index])
        codes, counts, sums = vq.update_codes(counts, sums, z, index, decay or 0.8)
        torch.testing.assert_close(theirs.codebook, codes, **ROUNDING)
        assert (codes - before).abs().max() > 0.01


def test_dead_codes_stay_dead_by_default(lucid):
    far = torch.cat([torch.zeros(1, DIM), torch.full((1, DIM), 100.0)])
    z = torch.randn(1, 9, DIM)
    for options, alive in (({}, 1), ({"threshold_ema_dead_code": 2}, 2)):
        theirs = lucid.VectorQuantize(dim=DIM, codebook_size=2, **options)
        theirs.codebook = far
        theirs._codebook.embed_avg.copy_(far)
        for _ in range(9):
            theirs(z)
        used = theirs(z)[1].unique().numel()
        assert used == alive, f"{options}: {used} codes are used"


def test_a_revived_code_counts_as_much_as_the_threshold(lucid):
    """Ours counts as much as the mean code. If more codes are dead than there are vectors, as many
    as there are vectors are revived; ours go round again."""
    rows = torch.randn(1, 3, DIM)
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=8, threshold_ema_dead_code=2)
    theirs(rows)  # with γ = .8 no code has 2 after three vectors
    found = theirs._codebook.cluster_size[0]
    revived = (theirs.codebook[:, None] == rows).all(-1).any(-1)
    assert int(revived.sum()) == 3
    assert (found[revived] == 2).all()
    counts, sums = torch.full((8,), 0.9), torch.randn(8, DIM)
    counts[0] = 90.0
    codes, counts, _ = vq.revive(sums / counts[:, None], counts, sums, rows, least=1.0)
    assert (codes[1:, None] == rows[0]).all(-1).any(-1).all()
    torch.testing.assert_close(counts[1:], torch.full((7,), (90 + 7 * 0.9) / 8))


# --- vector-quantize-pytorch: shapes --------------------------------------------------------------


def test_images_need_a_flag_and_have_channels_first(lucid):
    """Ours has the numbers of a vector last, and any axes in front."""
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K, accept_image_fmap=True).eval()
    x = torch.randn(2, DIM, 8, 5)
    q, index, _ = theirs(x)
    ours, nearest = vq.quantize(x.permute(0, 2, 3, 1), theirs.codebook)
    assert index.shape == (2, 8, 5)
    assert torch.equal(index, nearest)
    torch.testing.assert_close(q, ours.permute(0, 3, 1, 2), **ROUNDING)


def test_a_grid_with_channels_last_is_refused_unless_it_is_alone(lucid):
    """Its first axis is taken for that of several codebooks."""
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K).eval()
    assert theirs(torch.randn(1, 8, 5, DIM))[1].shape == (1, 8, 5)
    with pytest.raises(RuntimeError):
        theirs(torch.randn(2, 8, 5, DIM))
    assert vq.quantize(torch.randn(2, 8, 5, DIM), theirs.codebook)[1].shape == (2, 8, 5)


def test_with_cosines_latents_and_codes_are_on_the_unit_sphere(lucid):
    """As in ViT-VQGAN, whose codes Parti writes (Yu et al. 2022)."""
    theirs = lucid.VectorQuantize(dim=DIM, codebook_size=K, use_cosine_sim=True)
    z, codes = latents(), theirs.codebook.clone()
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(K), **ROUNDING)
    u = torch.nn.functional.normalize(z, dim=-1)
    q, index, loss = theirs(z)
    ours, nearest = vq.quantize(u, codes)
    assert torch.equal(index, nearest)
    same([q, loss], [ours, (vq.loss(u, codes, index, 1.0) - vq.loss(u, codes, index, 0.0)) / DIM])
    assert (theirs.codebook - codes).abs().max() > 0.01
    torch.testing.assert_close(theirs.codebook.norm(dim=1), torch.ones(K), **ROUNDING)


# --- FSQ and LFQ ----------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_is_finite_scalar(lucid, levels):
    """Values, numbers of codes and gradients; theirs are int32."""
    theirs = lucid.FSQ(levels)
    z = (3 * torch.randn(2, 400, len(levels))).requires_grad_()
    q, index = theirs(z)
    ours, number = vq.finite_scalar(z, levels)
    assert index.dtype == torch.int32
    assert torch.equal(index.long(), number)
    same([q], [ours])
    same(gradients(q, [z]), gradients(ours, [z]))
    same([theirs.implicit_codebook], [vq.scalar_codes(levels)])


def test_fsq_refuses_two_levels_and_has_another_grid_for_them(lucid):
    with pytest.raises(AssertionError):
        lucid.FSQ([2, 3])
    assert vq.scalar_codes([2]).flatten().tolist() == [-1, 0]
    for n in (2, 4, 5):
        symmetric = lucid.FSQ([n], preserve_symmetry=True).implicit_codebook
        torch.testing.assert_close(symmetric.flatten(), torch.linspace(-1, 1, n), **ROUNDING)


@pytest.mark.parametrize(
    ("levels", "moved"), [([8, 6, 5], 160), ([8, 5, 5, 5], 500), ([5, 5, 5], 0), ([4, 4], 7)]
)
def test_codes_move_when_they_are_quantized_again(lucid, levels, moved):
    """Here as there: tanh squeezes them, and with an even number of levels the largest is below 1
    (findings/finite_scalar_codes_move_when_quantized_again.sh). By their numbers they stay."""
    theirs = lucid.FSQ(levels)
    codes = vq.scalar_codes(levels)
    numbers = torch.arange(len(codes))
    assert int((theirs(codes[:, None])[1][:, 0] != numbers).sum()) == moved
    assert int((vq.finite_scalar(codes, levels)[1] != numbers).sum()) == moved
    assert codes.amax(0).tolist() == pytest.approx([((n - 1) // 2) / (n // 2) for n in levels])
    assert torch.equal(theirs.codes_to_indices(codes).long(), numbers)
    torch.testing.assert_close(theirs.indices_to_codes(numbers), codes, **ROUNDING)


def test_fsq_takes_four_axes_for_an_image_without_being_told(lucid):
    """`VectorQuantize` of the same package needs its flag; this one needs three axes at least."""
    x = torch.randn(2, 3, 8, 5)
    q, index = lucid.FSQ([8, 6, 5])(x)
    ours, number = vq.finite_scalar(x.permute(0, 2, 3, 1), [8, 6, 5])
    assert torch.equal(index.long(), number)
    torch.testing.assert_close(q, ours.permute(0, 3, 1, 2), **ROUNDING)
    with pytest.raises(AssertionError):
        lucid.FSQ([8, 6, 5])(x.permute(0, 2, 3, 1))
    with pytest.raises(Exception, match="expected 3 dims"):
        lucid.FSQ([8, 6, 5])(torch.randn(7, 3))


def test_lfq_numbers_its_codes_the_other_way_round(lucid):
    """Signs: its first number changes slowest, ours fastest; its codes are ±1, those of two levels
    here −1 and 0."""
    theirs = lucid.LFQ(dim=3, codebook_size=8).eval()
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))
    q, index, *_ = theirs(signs[None])
    assert torch.equal(q[0], signs)
    assert index[0].tolist() == list(range(8))
    ours, number = vq.finite_scalar(10 * signs, [2, 2, 2])
    assert torch.equal(ours, (signs - 1) / 2)
    assert number.tolist() == [0, 4, 2, 6, 1, 5, 3, 7]


# --- β: diffusers, taming-transformers, transformers ----------------------------------------------


def of_diffusers(**options):
    module = libraries.diffusers_networks().models.autoencoders.vae
    return module.VectorQuantizer(K, DIM, beta=BETA, **options)


def of_taming(name, **options):
    return getattr(libraries.taming_quantizers(), name)(K, DIM, BETA, **options)


def of_transformers(name):
    """Their quantizers of images, which are not exported: by the model that has one."""
    family = name.removesuffix("VQVAEVectorQuantizer")
    config, model = libraries.transformers(f"{family}VQVAEConfig", f"{family}VQVAE")
    quantizer = getattr(inspect.getmodule(model), name)
    return quantizer(config(num_embeddings=K, embed_dim=DIM))


LEGACY = {
    "diffusers": of_diffusers,
    "taming VectorQuantizer": lambda: of_taming("VectorQuantizer"),
    "taming VectorQuantizer2": lambda: of_taming("VectorQuantizer2"),
    "transformers, Chameleon": lambda: of_transformers("ChameleonVQVAEVectorQuantizer"),
    "transformers, Janus": lambda: of_transformers("JanusVQVAEVectorQuantizer"),
}
MENDED = {
    "diffusers": lambda: of_diffusers(legacy=False),
    "taming VectorQuantizer2": lambda: of_taming("VectorQuantizer2", legacy=False),
}


def applied(quantizer):
    """Channels last: `(z, codes, q, loss, index)`, for codes as large as latents are."""
    codes = quantizer.embedding.weight
    codes.data.normal_()
    z = latents(2, 5, 3)
    q, loss, extra = quantizer(z.permute(0, 3, 1, 2))
    index = extra if torch.is_tensor(extra) else extra[2]
    return z, codes, q.permute(0, 2, 3, 1), loss, index.reshape(2, 5, 3)


@pytest.mark.parametrize("name", LEGACY)
def test_beta_is_on_the_codebook_loss_by_default(name):
    """So it is β / dim times ours with 1 / β: codes are pulled at a quarter of the strength with
    which latents are, where they should be pulled at four times that."""
    z, codes, _, loss, index = applied(LEGACY[name]())
    ours = BETA / DIM * vq.loss(z, codes, index, beta=1 / BETA)
    same([loss], [ours])
    same(gradients(loss, [z, codes]), gradients(ours, [z, codes]))
    meant = gradients(vq.loss(z, codes, index, BETA) / DIM, [z, codes])
    same(gradients(loss, [z, codes]), [meant[0] / BETA, meant[1] * BETA])


@pytest.mark.parametrize("name", MENDED)
def test_legacy_false_is_ours_as_a_mean_over_numbers(name):
    z, codes, _, loss, index = applied(MENDED[name]())
    ours = vq.loss(z, codes, index, BETA) / DIM
    same([loss], [ours])
    same(gradients(loss, [z, codes]), gradients(ours, [z, codes]))


@pytest.mark.parametrize("name", LEGACY)
def test_their_codes_and_their_straight_through_are_ours(name):
    z, codes, q, _, index = applied(LEGACY[name]())
    ours, nearest = vq.quantize(z, codes)
    assert torch.equal(index, nearest)
    same([q], [ours])
    same(gradients(q, [z, codes]), gradients(ours, [z, codes]))


def test_indices_of_diffusers_are_a_row_unless_they_are_sane():
    for options, shape in (({}, (30,)), ({"sane_index_shape": True}, (2, 5, 3))):
        found = of_diffusers(**options)(torch.randn(2, DIM, 5, 3))[2][2]
        assert found.shape == shape


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(13)
    model = libraries.diffusers_networks().VQModel
    return model(
        block_out_channels=(4,),
        norm_num_groups=2,
        num_vq_embeddings=K,
        latent_channels=DIM,
        mid_block_add_attention=False,
    ).eval()


def test_no_argument_of_vqmodel_says_where_beta_is(autoencoder):
    """`VQModel` always begins with the legacy loss; `model.quantize.legacy = False` mends it."""
    arguments = inspect.signature(type(autoencoder)).parameters
    assert not {"legacy", "beta"} & arguments.keys()
    assert autoencoder.quantize.legacy
    assert autoencoder.quantize.beta == 0.25
    x = torch.randn(2, 3, 8, 8)
    z = autoencoder.encode(x).latents.permute(0, 2, 3, 1)
    codes = autoencoder.quantize.embedding.weight
    index = vq.nearest(z, codes)
    with_flag = {True: BETA * vq.loss(z, codes, index, 1 / BETA), False: vq.loss(z, codes, index)}
    for legacy, expected in with_flag.items():
        autoencoder.quantize.legacy = legacy
        same([autoencoder(x).commit_loss], [expected / DIM])
    autoencoder.quantize.legacy = True


def test_vqmodel_quantizes_when_it_decodes(autoencoder):
    """`encode` returns latents as they are, so they are not codes yet."""
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        z = autoencoder.encode(x).latents
        q, _ = vq.quantize(z.permute(0, 2, 3, 1), autoencoder.quantize.embedding.weight)
        q = q.permute(0, 3, 1, 2)
        assert (z - q).abs().max() > 0.01
        images = autoencoder.decode(z).sample
        torch.testing.assert_close(images, autoencoder.decode(q).sample, **ROUNDING)
        quant = autoencoder.post_quant_conv(q)
        torch.testing.assert_close(images, autoencoder.decoder(quant), **ROUNDING)
        other = autoencoder.decode(z, force_not_quantize=True).sample
    assert (images - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("where", "bound"),
    [
        ("diffusers", 1 / K),
        ("taming", 1 / K),
        ("vector-quantize-pytorch", math.sqrt(6 / (K * DIM))),
    ],
)
def test_codebooks_begin_near_zero(where, bound):
    """Uniform between −1/K and 1/K, or, in vector-quantize-pytorch, √(6 / (K dim)): with K in the
    hundreds far smaller than latents."""
    if where == "diffusers":
        codes = of_diffusers().embedding.weight
    elif where == "taming":
        codes = of_taming("VectorQuantizer2").embedding.weight
    else:
        package = libraries.library("vector_quantize_pytorch")
        codes = package.VectorQuantize(dim=DIM, codebook_size=K).codebook
    assert 0.8 * bound < codes.abs().max() <= bound
