"""kernels.noising: x_t and v in one pass, with noise that is read or drawn."""

import pytest
import scipy.stats
import torch

from cs231n_gen.checking.kernels import sweeps
from cs231n_gen.kernels import noising
from cs231n_gen.kernels.launch import DTYPES, interpreting

wrapper, reference = noising.noising, noising.reference
SEED = 2**40 + 231


def example(shape, dtype):
    x, z = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    return x, z, torch.rand(shape[0])


def flow(x, z, t):
    """The reference with the coefficients of rectified flow."""
    return reference(x, z, 1 - t, t, -torch.ones_like(t), torch.ones_like(t))


def drawing(x, t, seed):
    """The same, with the noise of a seed."""
    return flow(x, noising.noise_of(x.shape, seed, x.dtype), t)


def drawn(shape, seed=SEED):
    """The noise that the kernel draws: v of x = 0."""
    with interpreting():
        return noising.noising_with_noise(torch.zeros(shape), torch.rand(shape[0]), seed)[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", sweeps.SIZES)
def test_every_size(n, dtype):
    sweeps.forward(wrapper, flow, *example((3, n), dtype))


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides(layout):
    x, z, t = example((2, 3, 8, 9), torch.float32)
    sweeps.forward(wrapper, flow, layout(x), layout(z), t)


@pytest.mark.parametrize("shape", [(3,), (0, 4), (3, 0)])
def test_one_number_and_none(shape):
    x, z, t = example(shape, torch.float32)
    sweeps.forward(wrapper, flow, x, z, t)
    sweeps.forward(noising.noising_with_noise, drawing, x, t, SEED)


def test_any_coefficients():
    x, z, t = example((3, 40), torch.float32)
    given = t.cos(), t.sin(), -t.sin(), t.cos()
    with interpreting():
        got = wrapper(x, z, t, given)
        with_noise = noising.noising_with_noise(x, t, SEED, given)
    torch.testing.assert_close(got, reference(x, z, *given))
    z = noising.noise_of(x.shape, SEED)
    torch.testing.assert_close(with_noise, reference(x, z, *given), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", sweeps.SIZES)
def test_every_size_with_noise(n, dtype):
    x, _, t = example((2, n), dtype)
    sweeps.forward(noising.noising_with_noise, drawing, x, t, SEED)


@pytest.mark.parametrize("layout", [sweeps.strided, sweeps.transposed])
def test_any_strides_with_noise(layout):
    x, _, t = example((2, 3, 8, 9), torch.float32)
    sweeps.forward(noising.noising_with_noise, drawing, layout(x), t, SEED)


@pytest.mark.parametrize("seed", [0, 1, 16, 2**31, 2**32 - 1, 2**63 - 1])
def test_the_noise_is_known(seed):
    shape = 2, 5, 211
    torch.testing.assert_close(drawn(shape, seed), noising.noise_of(shape, seed), atol=1e-5, rtol=0)


def test_philox_is_that_of_the_paper():
    """The vectors that come with Random123, the authors' library."""
    words = noising.philox(0, tuple(torch.zeros(4, 1, dtype=torch.long)))
    assert [int(w) for w in words] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    counter = torch.tensor([[0x243F6A88], [0x85A308D3], [0x13198A2E], [0x03707344]])
    words = noising.philox(0x299F31D0A4093822, tuple(counter))
    assert [int(w) for w in words] == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_the_noise_is_normal():
    z = noising.noise_of((8, 50_000), SEED).double().numpy()
    assert scipy.stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    n = z.size
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((z**power).mean() - mean) < 5 * (variance / n) ** 0.5, f"moment {power}"
    assert scipy.stats.kstest(drawn((2, 4096)).ravel().numpy(), "norm").pvalue > 1e-3


def test_neighbours_know_nothing_of_each_other():
    """The four that share a counter, examples, and seeds."""
    z = noising.noise_of((4, 100_000), SEED).double()
    other = noising.noise_of((4, 100_000), SEED + 1).double()
    pairs = [(z[:, :-k], z[:, k:]) for k in (1, 2, 3, 4, 1024)]
    pairs += [(z[:-1], z[1:]), (z, other), (z[:, 1:], other[:, :-1])]
    for one, two in pairs:
        n = one.numel()
        assert abs((one * two).mean()) < 5 / n**0.5
        assert abs(((one**2 - 1) * (two**2 - 1)).mean()) < 5 * 2 / n**0.5  # nor their sizes


def test_no_noise_is_drawn_twice():
    z = torch.cat([drawn((3, 1500)), drawn((3, 1500), SEED + 1)])
    assert z.unique().numel() > 0.999 * z.numel()  # floats meet by chance, 9000²/2 / 2²⁹ times
    blocks = z.reshape(-1, 4)
    assert blocks.unique(dim=0).shape == blocks.shape


def test_an_example_keeps_its_noise():
    """In a larger batch, in a larger example, in blocks of another size."""
    z = drawn((2, 1030))
    torch.testing.assert_close(drawn((3, 10, 103))[:2].reshape(2, -1), z, atol=0, rtol=0)
    torch.testing.assert_close(drawn((1, 2000))[:, :1030], z[:1], atol=0, rtol=0)
    assert torch.equal(noising.noise_of((3, 2000), 5)[:2, :77], noising.noise_of((2, 77), 5))


def test_blocks_of_another_size_draw_the_same(monkeypatch):
    z = drawn((2, 700))
    monkeypatch.setattr(noising, "BLOCK", 256)
    assert torch.equal(drawn((2, 700)), z)


def test_in_torch_it_is_the_same():
    x, z, t = example((3, 400), torch.float32)
    with interpreting():
        read, made = wrapper(x, z, t), noising.noising_with_noise(x, t, SEED)
    torch.testing.assert_close(wrapper(x, z, t), read)
    here = noising.noising_with_noise(x, t, SEED)
    torch.testing.assert_close(here, made, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", ["torch", "kernel"])
def test_what_does_not_go_together(way):
    x, z, t = example((3, 4), torch.float32)
    with_noise = noising.noising_with_noise
    with interpreting() if way == "kernel" else torch.no_grad():
        with pytest.raises(ValueError, match=r"z must be shaped like x, got \(2, 4\)"):
            wrapper(x, z[:2], t)
        with pytest.raises(ValueError, match=r"t must be \(3,\), got \(2,\)"):
            with_noise(x, t[:2], SEED)
        with pytest.raises(ValueError, match=r"c must be \(3,\), got \(1,\)"):
            with_noise(x, t, SEED, (t, t, t[:1], t))
        with pytest.raises(ValueError, match=r"x must be float32, .*int64"):
            with_noise(x.long(), t, SEED)
        for seed in (-1, 2**63):
            with pytest.raises(ValueError, match=f"seed must be at least 0 .*{seed}"):
                with_noise(x, t, seed)
