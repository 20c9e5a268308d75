"""The U-Net that is given: a velocity field for images."""

import pytest
import torch

from cs231n_gen import flow
from cs231n_gen.given.unet import UNet


def shaken(**options):
    """A small net whose last layers are not zero any more, as after some training."""
    torch.manual_seed(0)
    net = UNet(width=8, **options)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.eval()


def images(n=4, channels=1, size=16, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, size, size, generator=generator)


@pytest.mark.parametrize("size", [16, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_velocity_is_shaped_like_the_image(size, channels):
    x_t = images(2, channels, size)
    assert shaken(channels=channels)(x_t, torch.rand(2)).shape == x_t.shape


def test_before_training_there_is_no_velocity():
    v = UNet(width=8, classes=3)(images(), torch.rand(4), torch.tensor([0, 1, 2, 0]))
    assert torch.equal(v, torch.zeros_like(v))


def test_the_velocity_depends_on_the_level():
    net, x_t = shaken(), images()
    a, b = net(x_t, torch.full((4,), 0.2)), net(x_t, torch.full((4,), 0.21))
    assert (a - b).abs().max() > 1e-3  # a hundredth of t can be told


def test_the_velocity_depends_on_the_condition():
    net, x_t, t = shaken(classes=2), images(), torch.full((4,), 0.5)
    a, b = (net(x_t, t, torch.full((4,), y)) for y in (0, 1))
    assert (a - b).abs().max() > 1e-3


def test_images_of_a_batch_do_not_see_each_other():
    net, x_t = shaken(classes=3), images(5)
    t, y = torch.linspace(0, 1, 5), torch.tensor([0, 1, 2, 1, 0])
    together = net(x_t, t, y)
    alone = torch.cat([net(x_t[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)  # float32, sums reordered


def test_every_corner_sees_every_other():
    net, x_t = shaken(), images(1).requires_grad_()
    net(x_t, torch.tensor([0.5]))[0, 0, 0, 0].backward()
    assert (x_t.grad[0, 0] != 0).all()


def test_gradients_reach_every_weight():
    net, x = shaken(classes=2), images()
    flow.loss(net, x, images(seed=2), torch.rand(4), torch.tensor([0, 1, 0, 1])).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, f"{name} gets no gradient"
        assert p.grad.abs().sum() > 0, f"the gradient of {name} is 0"


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    net, generator = UNet(width=8, classes=2), torch.Generator().manual_seed(0)

    def draw(n, generator):
        y = torch.randint(0, 2, (n,), generator=generator)
        return (2.0 * y - 1)[:, None, None, None].expand(n, 1, 16, 16), y

    history = flow.train(net, draw, 60, batch=16, lr=4e-3, generator=generator)
    # flat black or white: v has variance 1 + 1 at first, and all of it can be predicted
    assert sum(history.losses[-10:]) < 0.5 * sum(history.losses[:10])


@pytest.mark.parametrize("batch", [1, 2, 33])
@pytest.mark.parametrize("grad", [False, True])
def test_its_forward_derivative_is_that_of_finite_differences(batch, grad):
    net = shaken(classes=3)
    x_t, t, y = images(batch), torch.linspace(0.1, 0.9, batch), torch.arange(batch) % 3
    v, one = images(batch, seed=2), torch.ones(batch)
    with torch.set_grad_enabled(grad):
        value, slope = torch.func.jvp(lambda x, t: net(x, t, y), (x_t, t), (v, one))
        torch.testing.assert_close(value, net(x_t, t, y))
    net, h = net.double(), 1e-4
    x_t, t, v = x_t.double(), t.double(), v.double()
    with torch.no_grad():
        want = (net(x_t + h * v, t + h, y) - net(x_t - h * v, t - h, y)) / (2 * h)
    torch.testing.assert_close(slope.double(), want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))


def test_its_parts_are_the_whole():
    net, x_t, t, y = shaken(classes=3), images(), torch.rand(4), torch.tensor([0, 1, 2, 0])
    c = net.embed(t, y)
    h, skips = net.encode(x_t, c)
    assert h.shape == (4, 32, 4, 4) and [s.shape[-1] for s in skips] == [16, 8]
    narrow, up = net.narrow, net.up
    for skip, n, block in zip(skips[::-1], narrow, up, strict=True):
        wide = torch.nn.functional.interpolate(n(h), scale_factor=2)
        h = block(skip + wide, c)
    want = net.out(torch.nn.functional.silu(h))
    torch.testing.assert_close(net(x_t, t, y), want, rtol=0, atol=1e-6)
