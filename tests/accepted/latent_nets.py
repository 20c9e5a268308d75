"""Right answers to chapter 08's encoder and decoder written another way."""

import types

import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import latent_nets
from cs231n_gen.checking.variants import accepted
from cs231n_gen.given.blocks import NormSiLU, ResidualBlock
from cs231n_gen.given.unet import SelfAttention


def fits_encoder(self, x):
    if x.dim() != 4 or x.shape[1] != self.channels or x.shape[2] % 4 or x.shape[3] % 4:
        raise ValueError("x does not fit")


def fits_decoder(self, u):
    if u.dim() != 4 or u.shape[1] != self.latent:
        raise ValueError("u does not fit")


def built(make, attributes, forward, *sizes):
    """A network with layers of its own names, and a forward pass of its own."""
    made = make(*sizes)
    del made.layers
    for name, layer in attributes.items():
        setattr(made, name, layer)
    made.forward = types.MethodType(forward, made)
    return made.to(memory_format=torch.channels_last)


@accepted("latent_nets.Encoder")
def layers_with_names(channels=1, latent=4, width=24):
    w = width
    parts = {
        "first": nn.Conv2d(channels, w, 4, 2, 1), "second": nn.Conv2d(w, 2 * w, 4, 2, 1),
        "block": ResidualBlock(2 * w), "attention": SelfAttention(2 * w),
        "norm": NormSiLU(2 * w), "last": nn.Conv2d(2 * w, 2 * latent, 1),
    }  # fmt: skip

    def forward(self, x):
        fits_encoder(self, x)
        h = self.second(F.silu(self.first(x)))
        h = self.last(self.norm(self.attention(self.block(h))))
        return h[:, :latent], torch.clamp(h[:, latent:], min=-30, max=20)

    return built(latent_nets.Encoder, parts, forward, channels, latent, width)


@accepted("latent_nets.Encoder")
def a_list_of_layers(channels=1, latent=4, width=24):
    w = width
    layers = nn.ModuleList(
        [
            nn.Conv2d(channels, w, 4, stride=2, padding=1), nn.Conv2d(w, 2 * w, 4, 2, 1),
            ResidualBlock(2 * w), SelfAttention(2 * w), NormSiLU(2 * w),
            nn.Conv2d(2 * w, 2 * latent, 1),
        ]
    )  # fmt: skip

    def forward(self, x):
        fits_encoder(self, x)
        h = x
        for n, layer in enumerate(self.stack):
            h = layer(h)
            if n == 0:
                h = h * torch.sigmoid(h)
        mean, log_var = torch.split(h, latent, dim=1)
        return mean, log_var.clamp(-30, 20)

    return built(latent_nets.Encoder, {"stack": layers}, forward, channels, latent, width)


@accepted("latent_nets.Encoder")
def one_image_after_another(channels=1, latent=4, width=24):
    made = latent_nets.Encoder(channels, latent, width)
    usual = made.forward

    def forward(self, x):
        parts = [usual(x[n : n + 1]) for n in range(len(x))] if x.dim() == 4 else usual(x)
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    made.forward = types.MethodType(forward, made)
    return made


@accepted("latent_nets.Decoder")
def decoder_layers_with_names(channels=1, latent=4, width=24):
    w = width
    parts = {
        "first": nn.Conv2d(latent, 2 * w, 3, padding=1), "block": ResidualBlock(2 * w),
        "attention": SelfAttention(2 * w), "wide": nn.Conv2d(2 * w, 4 * w, 1),
        "fine": ResidualBlock(w), "norm": NormSiLU(w), "wider": nn.Conv2d(w, 64, 3, padding=1),
        "last": nn.Conv2d(16, channels, 3, padding=1),
    }  # fmt: skip

    def forward(self, u):
        fits_decoder(self, u)
        h = self.attention(self.block(self.first(u)))
        h = F.pixel_shuffle(self.wide(h), 2)
        h = F.pixel_shuffle(self.wider(self.norm(self.fine(h))), 2)
        return self.last(F.silu(h))

    return built(latent_nets.Decoder, parts, forward, channels, latent, width)


@accepted("latent_nets.Decoder")
def silu_before_the_shuffle(channels=1, latent=4, width=24):
    made = latent_nets.Decoder(channels, latent, width)
    layers = [*made.layers]
    layers[8], layers[9] = layers[9], layers[8]  # each number by itself: the order is free
    made.layers = nn.Sequential(*layers)
    return made


@accepted("latent_nets.Decoder")
def shuffled_by_hand(channels=1, latent=4, width=24):
    class Shuffle(nn.Module):
        def forward(self, h):
            B, C, H, W = h.shape
            h = h.view(B, C // 4, 2, 2, H, W)
            return torch.einsum("bcijhw->bchiwj", h).reshape(B, C // 4, 2 * H, 2 * W)

    made = latent_nets.Decoder(channels, latent, width)
    for n in (4, 8):
        made.layers[n] = Shuffle()
    return made
