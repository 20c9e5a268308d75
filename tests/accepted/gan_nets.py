"""Right answers to chapter 03 written another way."""

import itertools
import types

import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import gan_nets
from cs231n_gen.checking.variants import accepted


def fits(x, scale, bias, eps=1e-5):
    if x.dim() != 4 or scale.shape != x.shape[:2] or bias.shape != x.shape[:2]:
        raise ValueError("x must have four axes, scale and bias be (batch, channels)")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {"gan_nets.adain": fits}

# --- gan_nets.adain -----------------------------------------------------------------------------


@accepted("gan_nets.adain")
def by_instance_norm(x, scale, bias, eps=1e-5):
    normal = F.instance_norm(x, eps=eps)
    return torch.einsum("bc,bchw->bchw", scale, normal) + bias[..., None, None]


@accepted("gan_nets.adain")
def a_batch_norm_of_one_example(x, scale, bias, eps=1e-5):
    rows = x.reshape(1, -1, *x.shape[2:])  # each channel of each example is a channel
    w, b = scale.flatten(), bias.flatten()
    return F.batch_norm(rows, None, None, w, b, training=True, eps=eps).reshape(x.shape)


@accepted("gan_nets.adain")
def one_scale_and_one_shift(x, scale, bias, eps=1e-5):
    variance, mu = torch.var_mean(x.flatten(2), dim=2, correction=0)
    gain = scale * torch.rsqrt(variance + eps)
    shift = bias - gain * mu
    return torch.addcmul(shift[:, :, None, None], x, gain[:, :, None, None])


@accepted("gan_nets.adain")
def by_layer_norm(x, scale, bias, eps=1e-5):
    return scale[..., None, None] * F.layer_norm(x, x.shape[2:], eps=eps) + bias[..., None, None]


@accepted("gan_nets.adain")
def channel_after_channel(x, scale, bias, eps=1e-5):
    rows = []
    for h, w, b in zip(x.flatten(0, 1), scale.flatten(), bias.flatten(), strict=True):
        off = h - h.mean()
        rows.append(w * off / (off.square().mean() + eps).sqrt() + b)
    return torch.stack(rows).reshape(x.shape)


# --- gan_nets.Generator, gan_nets.Discriminator ---------------------------------------------------


@accepted("gan_nets.Generator")
class Generator(nn.Module):
    def __init__(self, latent=32, width=32):
        super().__init__()
        self.project = nn.ConvTranspose2d(latent, 2 * width, 4, 1, 0, bias=False)
        self.norm_4 = nn.BatchNorm2d(2 * width)
        self.grow = nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False)
        self.norm_8 = nn.BatchNorm2d(width)
        self.image = nn.ConvTranspose2d(width, 1, 4, 2, 1)
        gan_nets.initialise(self)

    def forward(self, z):
        h = self.project(z.reshape(*z.shape, 1, 1))
        h = F.relu(self.norm_4(h))
        h = F.relu(self.norm_8(self.grow(h)))
        return torch.tanh(self.image(h))


@accepted("gan_nets.Generator")
def layers_in_a_loop(latent=32, width=32):
    G = gan_nets.Generator(latent, width)
    layers, channels = [], (latent, 2 * width, width)
    for n, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
        stride, padding = (2, 1) if n else (1, 0)
        conv = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False)
        layers.append(nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)))
    layers.append(nn.ConvTranspose2d(channels[-1], 1, 4, 2, 1))
    G.layers = nn.Sequential(*layers, nn.Tanh())
    gan_nets.initialise(G)
    return G


@accepted("gan_nets.Generator")
def latents_unflattened(latent=32, width=32):
    G = gan_nets.Generator(latent, width)

    def forward(self, z):
        h = z.unflatten(1, (-1, 1, 1))
        for layer in self.layers:
            h = layer(h)
        return h

    G.forward = types.MethodType(forward, G)
    return G


@accepted("gan_nets.Discriminator")
class Discriminator(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.first = nn.Conv2d(1, width, 4, 2, 1)
        self.second = nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * width)
        self.logit = nn.Conv2d(2 * width, 1, 4)
        gan_nets.initialise(self)

    def forward(self, x):
        h = F.leaky_relu(self.first(x), 0.2)
        h = F.leaky_relu(self.norm(self.second(h)), 0.2)
        return self.logit(h)[:, 0, 0, 0]


@accepted("gan_nets.Discriminator")
def one_sequence(width=32):
    D = gan_nets.Discriminator(width)
    D.layers = nn.Sequential(
        nn.Conv2d(1, width, kernel_size=4, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(2 * width, 1, kernel_size=4),
        nn.Flatten(0),
    )
    D.forward = D.layers.forward
    gan_nets.initialise(D)
    return D


@accepted("gan_nets.Discriminator")
def summed_over_no_axes(width=32):
    D = gan_nets.Discriminator(width)
    D.forward = types.MethodType(lambda self, x: self.layers(x).sum((1, 2, 3)), D)
    return D


# --- gan_nets.lerp, gan_nets.slerp ----------------------------------------------------------------


def along(t, z):
    return torch.as_tensor(t, dtype=z.dtype).unsqueeze(-1)


@accepted("gan_nets.lerp")
def by_torch(z_0, z_1, t):
    return torch.lerp(z_1, z_0, along(t, z_0))


@accepted("gan_nets.lerp")
def a_part_of_the_difference(z_0, z_1, t):
    return z_1 + along(t, z_0) * (z_0 - z_1)


@accepted("gan_nets.lerp")
def numbers_as_they_are(z_0, z_1, t):
    if isinstance(t, torch.Tensor):
        t = t.to(z_0.dtype)[..., None]
    return z_0 - (1 - t) * (z_0 - z_1)


@accepted("gan_nets.slerp")
def one_minus_the_square_of_the_cosine(z_0, z_1, t):
    t = along(t, z_0)
    cos = (F.normalize(z_0, dim=-1) * F.normalize(z_1, dim=-1)).sum(-1, keepdim=True).clamp(-1, 1)
    omega = cos.acos()
    near = 1 - cos.square() < 1e-6
    sin = torch.where(near, torch.ones_like(omega), omega.sin())
    z_t = torch.sin(t * omega) / sin * z_0 + torch.sin((1 - t) * omega) / sin * z_1
    return torch.where(near, t * z_0 + (1 - t) * z_1, z_t)


@accepted("gan_nets.slerp")
def by_half_angles(z_0, z_1, t):
    """The angle by Kahan's formula, which needs no clamp; the ratios of sines by sinc."""
    t = along(t, z_0)
    u, v = F.normalize(z_0, dim=-1), F.normalize(z_1, dim=-1)
    apart, together = ((u + sign * v).norm(dim=-1, keepdim=True) for sign in (-1, 1))
    omega = 2 * torch.atan2(apart, together) / torch.pi  # in half turns, as sinc wants
    sinc = torch.sinc(omega)
    arc = (t * torch.sinc(t * omega) * z_0 + (1 - t) * torch.sinc((1 - t) * omega) * z_1) / sinc
    opposite = together < 1e-3
    return torch.where(opposite, t * z_0 + (1 - t) * z_1, arc)


@accepted("gan_nets.slerp")
def pair_by_pair(z_0, z_1, t):
    """One arc at a time, from z_1 towards what of z_0 stands upright on it."""
    t = torch.as_tensor(t, dtype=z_0.dtype)
    t, *_ = torch.broadcast_tensors(t, z_0[..., 0])
    rows = [z.expand(*t.shape, z.shape[-1]).reshape(-1, z.shape[-1]) for z in (z_0, z_1)]
    found = [_turned(a, b, s) for a, b, s in zip(*rows, t.flatten(), strict=True)]
    return torch.stack(found).reshape(*t.shape, -1)


def _turned(a, b, t):
    u, v = a / a.norm(), b / b.norm()
    upright = u - (u @ v) * v
    omega = torch.atan2(upright.norm(), u @ v)
    if upright.norm() < 1e-3:
        return t * a + (1 - t) * b
    along_a = torch.sin(t * omega) / torch.sin(omega)
    along_b = torch.sin((1 - t) * omega) / torch.sin(omega)
    return along_a * a + along_b * b


# --- gan_nets.StyleGenerator ----------------------------------------------------------------------


def style_generator(args, kwargs, synthesis):
    G = gan_nets.StyleGenerator(*args, **kwargs)
    G.synthesis = types.MethodType(synthesis, G)
    return G


@accepted("gan_nets.StyleGenerator")
def repeated_by_hand(*args, **kwargs):
    def synthesis(self, styles, noise):
        h = self.constant.repeat(styles[0].shape[0], 1, 1, 1)
        for n, layer in enumerate(self.layers):
            h = h.repeat_interleave(layer.grow, dim=2).repeat_interleave(layer.grow, dim=3)
            h = layer.conv(h) + torch.einsum("c,bixy->bcxy", layer.strength, noise[n])
            style = layer.style(styles[n])
            channels = style.shape[1] // 2
            h = self.adain(torch.maximum(h, 0.2 * h), style[:, :channels] + 1, style[:, channels:])
        return self.out(h).tanh()

    return style_generator(args, kwargs, synthesis)


@accepted("gan_nets.StyleGenerator")
def upsampled(*args, **kwargs):
    def synthesis(self, styles, noise):
        h = torch.cat([self.constant] * len(styles[0]))
        for layer, w, fresh in zip(self.layers, styles, noise, strict=True):
            if layer.grow > 1:
                h = nn.Upsample(scale_factor=2, mode="nearest")(h)
            h = torch.addcmul(layer.conv(h), layer.strength.reshape(1, -1, 1, 1), fresh)
            scale, bias = layer.style(w).unflatten(1, (2, -1)).unbind(1)
            h = self.adain(nn.LeakyReLU(0.2)(h), 1 + scale, bias)
        return nn.Tanh()(self.out(h))

    return style_generator(args, kwargs, synthesis)


@accepted("gan_nets.StyleGenerator")
def called_by_name(*args, **kwargs):
    def synthesis(self, styles, noise):
        h = self.constant.expand(styles[0].size(0), -1, -1, -1)
        for layer, w, fresh in zip(self.layers, styles, noise, strict=True):
            size = h.shape[-1] * layer.grow
            h = F.interpolate(h, size=(size, size), mode="nearest")
            h = layer.conv(h) + fresh * layer.strength.view(1, -1, 1, 1)
            s, b = layer.style(w).split(layer.conv.out_channels, dim=1)
            h = self.adain(x=torch.where(h > 0, h, 0.2 * h), scale=1 + s, bias=b)
        return torch.tanh(self.out(h))

    return style_generator(args, kwargs, synthesis)
