"""Networks for points between two levels, and with guidance as an input."""

import pytest
import torch
from torch.nn import functional as F

from cs231n_gen.given.mlp import GuidedVelocityMLP, MeanVelocityMLP


def seeded(kind, *args, **options):
    torch.manual_seed(0)
    return kind(*args, **options).double()


def points(n=5, dim=2):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    t = 0.3 + 0.7 * torch.rand(n, generator=generator, dtype=torch.float64)
    return x, t, t * torch.rand(n, generator=generator, dtype=torch.float64)


def by_hand(layers, h):
    """A plain network by its matrices."""
    for layer in layers[:-1]:
        h = F.silu(h @ layer.weight.T + layer.bias)
    return h @ layers[-1].weight.T + layers[-1].bias


def waves(level, frequencies):
    """The number, its sines and its cosines."""
    angle = torch.outer(level, torch.arange(1, frequencies + 1, dtype=torch.float64) * torch.pi / 2)
    return torch.cat([level[:, None], angle.sin(), angle.cos()], dim=1)


@pytest.mark.parametrize(("dim", "hidden", "layers", "frequencies"), [(2, 64, 3, 6), (3, 8, 1, 2)])
def test_a_mean_velocity_sees_the_point_the_level_and_the_way(dim, hidden, layers, frequencies):
    net = seeded(MeanVelocityMLP, dim, hidden, layers, frequencies)
    net.frequencies = torch.arange(1, frequencies + 1, dtype=torch.float64) * torch.pi / 2
    x, t, s = points(dim=dim)
    h = torch.cat([x, waves(t, frequencies), waves(t - s, frequencies)], dim=1)
    want = by_hand([*net.net.hidden, net.net.out], h)
    torch.testing.assert_close(net(x, t, s), want, rtol=1e-12, atol=1e-12)
    inputs = dim + 2 * (1 + 2 * frequencies)
    count = (inputs + 1) * hidden + (layers - 1) * (hidden + 1) * hidden + (hidden + 1) * dim
    assert sum(p.numel() for p in net.parameters()) == count


def test_each_point_has_its_own_levels():
    net, (x, t, s) = seeded(MeanVelocityMLP), points()
    whole = net(x, t, s)
    alone = torch.cat([net(x[i : i + 1], t[i : i + 1], s[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(whole, alone, rtol=1e-12, atol=1e-12)
    for other in ((x + 1, t, s), (x, t * 0.9, s), (x, t, s * 0.5)):
        assert float((net(*other) - whole).abs().min()) > 0


def test_a_mean_velocity_has_a_forward_derivative():
    """`consistency.mean_flow_target` takes it along (v, 1, 0)."""
    net, (x, t, s) = seeded(MeanVelocityMLP), points()
    v, h = torch.ones_like(x), 1e-5
    along = (v, torch.ones_like(t), torch.zeros_like(s))
    _, slope = torch.func.jvp(net, (x, t, s), along)
    ahead, behind = net(x + h * v, t + h, s), net(x - h * v, t - h, s)
    torch.testing.assert_close(slope, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"layers": 1, "frequencies": 2}])
def test_guidance_is_an_input_beside_the_point(options):
    net = seeded(GuidedVelocityMLP, dim=2, hidden=16, classes=3, **options)
    frequencies = options.get("frequencies", 6)
    net.frequencies = torch.arange(1, frequencies + 1, dtype=torch.float64) * torch.pi / 2
    x, t, w = points()
    y = torch.tensor([0, 2, 1, 1, 0])
    h = torch.cat([x, w[:, None], waves(t, frequencies), F.one_hot(y, 3).double()], dim=1)
    found = net(x, t, y, w)
    assert found.shape == x.shape
    torch.testing.assert_close(found, by_hand([*net.hidden, net.out], h), rtol=1e-12, atol=1e-12)


def test_guidance_and_class_change_the_velocity():
    net = seeded(GuidedVelocityMLP)
    x, t, w = points()
    y = torch.tensor([0, 1, 0, 1, 1])
    found = net(x, t, y, w)
    assert float((net(x, t, y, w + 1) - found).abs().min()) > 0
    assert float((net(x, t, 1 - y, w) - found).abs().min()) > 0
    found.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
