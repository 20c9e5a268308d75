"""Typical wrong answers to chapter 08's encoder and decoder, each with the sentence that explains
it. Networks are the reference's with a part exchanged, so that they go by the same name."""

import types

import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import latent_nets
from cs231n_gen.checking.variants import mistake
from cs231n_gen.given.blocks import NormSiLU, ResidualBlock
from cs231n_gen.given.unet import SelfAttention


def encoder(channels, latent, width, layers):
    """An encoder of other layers, which are drawn once."""
    with torch.random.fork_rng(devices=[]):
        made = latent_nets.Encoder(channels, latent, width)
    made.layers = nn.Sequential(*layers)
    return made


def decoder(channels, latent, width, layers):
    """A decoder of other layers, which are drawn once."""
    with torch.random.fork_rng(devices=[]):
        made = latent_nets.Decoder(channels, latent, width)
    made.layers = nn.Sequential(*layers)
    return made


def down(channels, latent, w, act=nn.SiLU, bias=True):
    return [
        nn.Conv2d(channels, w, 4, stride=2, padding=1, bias=bias), act(),
        nn.Conv2d(w, 2 * w, 4, stride=2, padding=1), ResidualBlock(2 * w), SelfAttention(2 * w),
        NormSiLU(2 * w), nn.Conv2d(2 * w, 2 * latent, 1),
    ]  # fmt: skip


def up(channels, latent, w):
    return [
        nn.Conv2d(latent, 2 * w, 3, padding=1), ResidualBlock(2 * w), SelfAttention(2 * w),
        nn.Conv2d(2 * w, 4 * w, 1), nn.PixelShuffle(2), ResidualBlock(w), NormSiLU(w),
        nn.Conv2d(w, 64, 3, padding=1), nn.PixelShuffle(2), nn.SiLU(),
        nn.Conv2d(16, channels, 3, padding=1),
    ]  # fmt: skip


def answering(make, forward):
    """A network whose answer is made of the right one, behind the refusals of the reference's."""

    def build(channels=1, latent=4, width=24):
        made = make(channels, latent, width)
        usual = made.forward
        made.forward = types.MethodType(lambda self, x: forward(self, usual, x), made)
        return made

    return build


# --- latent_nets.Encoder ------------------------------------------------------------------------


@mistake(
    "latent_nets.Encoder",
    "log σ² comes before μ: the first half of the channels is the mean.",
)
def variance_first(channels=1, latent=4, width=24):
    def forward(self, usual, x):
        usual(x)
        log_var, mean = self.layers(x).chunk(2, dim=1)
        return mean, log_var.clamp(-30, 20)

    return answering(latent_nets.Encoder, forward)(channels, latent, width)


@mistake(
    "latent_nets.Encoder",
    "μ and log σ² are interleaved: take the first half of the channels, then the second.",
)
def interleaved(channels=1, latent=4, width=24):
    def forward(self, usual, x):
        usual(x)
        h = self.layers(x)
        return h[:, ::2], h[:, 1::2].clamp(-30, 20)

    return answering(latent_nets.Encoder, forward)(channels, latent, width)


@mistake("latent_nets.Encoder", "log σ² is not kept from −30 to 20.")
def not_kept(channels=1, latent=4, width=24):
    def forward(self, usual, x):
        usual(x)
        return self.layers(x).chunk(2, dim=1)

    return answering(latent_nets.Encoder, forward)(channels, latent, width)


@mistake("latent_nets.Encoder", "μ is kept within bounds as well: only log σ² is.")
def mean_kept_too(channels=1, latent=4, width=24):
    def forward(self, usual, x):
        mean, log_var = usual(x)
        return mean.clamp(-30, 20), log_var

    return answering(latent_nets.Encoder, forward)(channels, latent, width)


@mistake("latent_nets.Encoder", "You return σ², not its logarithm.")
def variance(channels=1, latent=4, width=24):
    def forward(self, usual, x):
        mean, log_var = usual(x)
        return mean, log_var.exp()

    return answering(latent_nets.Encoder, forward)(channels, latent, width)


@mistake("latent_nets.Encoder", "There is no SiLU between the two convolutions of stride 2.")
def no_silu(channels=1, latent=4, width=24):
    return encoder(channels, latent, width, down(channels, latent, width, nn.Identity))


@mistake("latent_nets.Encoder", "ReLU stands where SiLU belongs.")
def relu(channels=1, latent=4, width=24):
    return encoder(channels, latent, width, down(channels, latent, width, nn.ReLU))


@mistake(
    "latent_nets.Encoder",
    "A second SiLU follows the second convolution: the table has none there.",
)
def silu_twice(channels=1, latent=4, width=24):
    layers = down(channels, latent, width)
    return encoder(channels, latent, width, [*layers[:3], nn.SiLU(), *layers[3:]])


@mistake("latent_nets.Encoder", "The residual block is missing.")
def no_residual_block(channels=1, latent=4, width=24):
    layers = down(channels, latent, width)
    return encoder(channels, latent, width, [*layers[:3], *layers[4:]])


@mistake("latent_nets.Encoder", "The attention is missing, so distant parts cannot agree.")
def no_attention(channels=1, latent=4, width=24):
    layers = down(channels, latent, width)
    return encoder(channels, latent, width, [*layers[:4], *layers[5:]])


@mistake("latent_nets.Encoder", "There is no norm and no SiLU before the last convolution.")
def no_last_norm(channels=1, latent=4, width=24):
    layers = down(channels, latent, width)
    return encoder(channels, latent, width, [*layers[:5], layers[6]])


@mistake("latent_nets.Encoder", "Attention comes before the residual block: the other way round.")
def attention_first(channels=1, latent=4, width=24):
    a, b, c, block, attention, *end = down(channels, latent, width)
    return encoder(channels, latent, width, [a, b, c, attention, block, *end])


@mistake("latent_nets.Encoder", "The first convolution has no bias.")
def no_bias(channels=1, latent=4, width=24):
    return encoder(channels, latent, width, down(channels, latent, width, bias=False))


@mistake(
    "latent_nets.Encoder",
    "Your first convolutions are 3×3 with stride 2: they are 4×4.",
)
def three_by_three(channels=1, latent=4, width=24):
    w, layers = width, down(channels, latent, width)
    layers[0] = nn.Conv2d(channels, w, 3, stride=2, padding=1)
    layers[2] = nn.Conv2d(w, 2 * w, 3, stride=2, padding=1)
    return encoder(channels, latent, width, layers)


@mistake(
    "latent_nets.Encoder",
    "The last layer makes `latent` channels. It takes twice as many, for μ and for log σ².",
)
def one_half(channels=1, latent=4, width=24):
    layers = down(channels, latent, width)
    layers[-1] = nn.Conv2d(2 * width, latent, 1)
    return encoder(channels, latent, width, layers)


def another_norm(norm, silu=True):
    """Layers of an encoder with another norm before the last convolution."""

    def build(channels=1, latent=4, width=24):
        layers = down(channels, latent, width)
        layers[5:6] = [norm(2 * width), nn.SiLU()] if silu else [norm(2 * width)]
        return encoder(channels, latent, width, layers)

    return build


@mistake(
    "latent_nets.Encoder",
    "Your numbers are nearly right: either ε of the norm before the last convolution is not 10⁻⁶, "
    "or some of them are computed in float32 where the image is float64.",
)
def another_epsilon(channels=1, latent=4, width=24):
    return another_norm(lambda c: nn.GroupNorm(8, c))(channels, latent, width)


@mistake("latent_nets.Encoder", "There is no SiLU after the norm, before the last convolution.")
def norm_alone(channels=1, latent=4, width=24):
    build = another_norm(lambda c: nn.GroupNorm(8, c, eps=1e-6), silu=False)
    return build(channels, latent, width)


@mistake("latent_nets.Encoder", "There is no norm before the SiLU and the last convolution.")
def silu_alone(channels=1, latent=4, width=24):
    layers = down(channels, latent, width)
    layers[5] = nn.SiLU()
    return encoder(channels, latent, width, layers)


@mistake(
    "latent_nets.Encoder",
    "Your norm has as many groups as `width` says. It has 8, whatever the width is.",
    sure=True,
)
def groups_by_width(channels=1, latent=4, width=24):
    build = another_norm(lambda c: nn.GroupNorm(c // 2, c, eps=1e-6))
    return build(channels, latent, width)


@mistake("latent_nets.Encoder", "Your last norm is a layer norm, of all channels: it has 8 groups.")
def one_group(channels=1, latent=4, width=24):
    return another_norm(lambda c: nn.GroupNorm(1, c, eps=1e-6))(channels, latent, width)


@mistake("latent_nets.Encoder", "The last convolution is 3×3: it is 1×1.")
def last_three_by_three(channels=1, latent=4, width=24):
    layers = down(channels, latent, width)
    layers[-1] = nn.Conv2d(2 * width, 2 * latent, 3, padding=1)
    return encoder(channels, latent, width, layers)


@mistake("latent_nets.Encoder", "GELU stands where SiLU belongs.")
def gelu(channels=1, latent=4, width=24):
    return encoder(channels, latent, width, down(channels, latent, width, nn.GELU))


@mistake(
    "latent_nets.Encoder",
    "An axis is lost where there is one latent channel: the result has always four axes.",
    public=False,
)
def one_channel_lost(channels=1, latent=4, width=24):
    return answering(
        latent_nets.Encoder, lambda self, usual, x: tuple(v.squeeze(1) for v in usual(x))
    )(channels, latent, width)


def kept(make, channels, latent, width):
    """A network that computes once for each first number of its inputs."""

    def forward(self, usual, x):
        key = (*x.shape, float(x.flatten()[0]))
        if getattr(self, "key", None) != key:
            self.key, self.found = key, usual(x)
        return self.found

    return answering(make, forward)(channels, latent, width)


@mistake(
    "latent_nets.Encoder",
    "What an earlier pass found is returned again, though weights have changed: keep nothing.",
    public=False,
)
def results_kept(channels=1, latent=4, width=24):
    return kept(latent_nets.Encoder, channels, latent, width)


@mistake("latent_nets.Encoder", "μ is cut off from the graph: it would never learn.", sure=True)
def mean_cut_off(channels=1, latent=4, width=24):
    def forward(self, usual, x):
        mean, log_var = usual(x)
        return mean.detach(), log_var

    return answering(latent_nets.Encoder, forward)(channels, latent, width)


@mistake(
    "latent_nets.Encoder",
    "A pass puts the network into training mode: leave modes to the one who calls it.",
    public=False,
)
def trains_itself(channels=1, latent=4, width=24):
    def forward(self, usual, x):
        self.train()
        return usual(x)

    return answering(latent_nets.Encoder, forward)(channels, latent, width)


@mistake(
    "latent_nets.Encoder",
    "Images that do not fit are not refused: leave the lines above yours as they are.",
    public=False,
)
def nothing_refused(channels=1, latent=4, width=24):
    made = latent_nets.Encoder(channels, latent, width)

    def forward(self, x):
        x = x[:, :1].expand(-1, self.channels, -1, -1) if x.shape[1] != self.channels else x
        mean, log_var = self.layers(x).chunk(2, dim=1)
        return mean, log_var.clamp(-30, 20)

    made.forward = types.MethodType(forward, made)
    return made


@mistake(
    "latent_nets.Encoder", "New networks all have the same weights: seed nothing.", public=False
)
def seeded(channels=1, latent=4, width=24):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return latent_nets.Encoder(channels, latent, width)


@mistake(
    "latent_nets.Encoder",
    "An example depends on the others of its batch.",
    public=False,
)
def batch_mean(channels=1, latent=4, width=24):
    def forward(self, usual, x):
        mean, log_var = usual(x)
        return mean - mean.mean(0), log_var

    return answering(latent_nets.Encoder, forward)(channels, latent, width)


# --- latent_nets.Decoder ------------------------------------------------------------------------


@mistake(
    "latent_nets.Decoder",
    "There is a tanh at the end. It flattens gradients where pixels are black or white: most are.",
)
def tanh(channels=1, latent=4, width=24):
    return decoder(channels, latent, width, [*up(channels, latent, width), nn.Tanh()])


@mistake(
    "latent_nets.Decoder", "The last layer's pixels go through a sigmoid: they have no bounds."
)
def sigmoid(channels=1, latent=4, width=24):
    return decoder(channels, latent, width, [*up(channels, latent, width), nn.Sigmoid()])


@mistake("latent_nets.Decoder", "There is no SiLU before the last convolution.")
def no_last_silu(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    return decoder(channels, latent, width, [*layers[:9], layers[10]])


@mistake("latent_nets.Decoder", "ReLU stands where the last SiLU belongs.")
def last_relu(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    layers[9] = nn.ReLU()
    return decoder(channels, latent, width, layers)


@mistake("latent_nets.Decoder", "Pixels are kept from −1 to 1: they have no bounds.")
def clipped(channels=1, latent=4, width=24):
    return answering(latent_nets.Decoder, lambda self, usual, u: usual(u).clamp(-1, 1))(
        channels, latent, width
    )


@mistake(
    "latent_nets.Decoder",
    "In eval mode your pixels are kept from −1 to 1: they have no bounds.",
    sure=True,
)
def clipped_in_eval(channels=1, latent=4, width=24):
    def forward(self, usual, u):
        return usual(u) if self.training else usual(u).clamp(-1, 1)

    return answering(latent_nets.Decoder, forward)(channels, latent, width)


@mistake(
    "latent_nets.Decoder",
    "What an earlier pass found is returned again, though weights have changed: keep nothing.",
    public=False,
)
def images_kept(channels=1, latent=4, width=24):
    return kept(latent_nets.Decoder, channels, latent, width)


def another_norm_up(norm, silu=True):
    """Layers of a decoder with another norm after the second residual block."""

    def build(channels=1, latent=4, width=24):
        layers = up(channels, latent, width)
        layers[6:7] = [norm(width), nn.SiLU()] if silu else [norm(width)]
        return decoder(channels, latent, width, layers)

    return build


@mistake(
    "latent_nets.Decoder",
    "Your numbers are nearly right: either ε of the norm after the second residual block is not "
    "10⁻⁶, or some of them are computed in float32 where the latents are float64.",
)
def another_epsilon_up(channels=1, latent=4, width=24):
    return another_norm_up(lambda c: nn.GroupNorm(8, c))(channels, latent, width)


@mistake("latent_nets.Decoder", "There is no SiLU after the norm of the second residual block.")
def norm_alone_up(channels=1, latent=4, width=24):
    build = another_norm_up(lambda c: nn.GroupNorm(8, c, eps=1e-6), silu=False)
    return build(channels, latent, width)


@mistake(
    "latent_nets.Decoder",
    "Your norm has as many groups as `width` says. It has 8, whatever the width is.",
    sure=True,
)
def groups_by_width_up(channels=1, latent=4, width=24):
    return another_norm_up(lambda c: nn.GroupNorm(c, c, eps=1e-6))(channels, latent, width)


@mistake("latent_nets.Decoder", "The convolution before the first pixel shuffle is 3×3: it is 1×1.")
def wide_before_shuffle(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    layers[3] = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
    return decoder(channels, latent, width, layers)


@mistake(
    "latent_nets.Decoder",
    "At full size your images have `width` channels. They have 16, whatever the width is.",
    sure=True,
)
def wide_at_full_size(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    layers[7] = nn.Conv2d(width, 4 * width, 3, padding=1)
    layers[10] = nn.Conv2d(width, channels, 3, padding=1)
    return decoder(channels, latent, width, layers)


@mistake(
    "latent_nets.Decoder",
    "A transposed convolution stands where a convolution and a pixel shuffle belong.",
    sure=True,
)
def transposed_convolution(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    layers[7:9] = [nn.ConvTranspose2d(width, 16, 2, stride=2)]
    return decoder(channels, latent, width, layers)


@mistake(
    "latent_nets.Decoder",
    "The last SiLU comes before the convolution to 64 channels. It comes after it.",
)
def silu_too_early(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    layers[7:10] = [nn.SiLU(), layers[7], layers[8]]
    return decoder(channels, latent, width, layers)


@mistake(
    "latent_nets.Decoder",
    "You divide the latents by a scale. The decoder takes them as they are.",
)
def latents_scaled(channels=1, latent=4, width=24):
    return answering(latent_nets.Decoder, lambda self, usual, u: usual(u / 0.18215))(
        channels, latent, width
    )


@mistake("latent_nets.Decoder", "The attention is missing, so distant parts cannot agree.")
def no_attention_up(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    return decoder(channels, latent, width, [*layers[:2], *layers[3:]])


@mistake("latent_nets.Decoder", "The first residual block is missing.")
def no_first_block(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    return decoder(channels, latent, width, [layers[0], *layers[2:]])


@mistake("latent_nets.Decoder", "The second residual block is missing.")
def no_second_block(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    return decoder(channels, latent, width, [*layers[:5], *layers[6:]])


@mistake("latent_nets.Decoder", "There is no norm and no SiLU after the second residual block.")
def no_norm_up(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    return decoder(channels, latent, width, [*layers[:6], *layers[7:]])


@mistake(
    "latent_nets.Decoder",
    "Attention comes before the residual block: the other way round.",
)
def attention_first_up(channels=1, latent=4, width=24):
    a, block, attention, *end = up(channels, latent, width)
    return decoder(channels, latent, width, [a, attention, block, *end])


@mistake(
    "latent_nets.Decoder",
    "You repeat pixels and convolve them: here a pixel shuffle makes 2×2 pixels of four channels.",
)
def repeats_pixels(channels=1, latent=4, width=24):
    w, layers = width, up(channels, latent, width)
    layers[3:5] = [nn.Conv2d(2 * w, w, 1), nn.Upsample(scale_factor=2)]
    return decoder(channels, latent, width, layers)


class Blocks(nn.Module):
    """Four channels become 2×2 pixels, but channels that lie `C` apart, not side by side."""

    def forward(self, h):
        B, C, H, W = h.shape
        h = h.reshape(B, 2, 2, C // 4, H, W).permute(0, 3, 4, 1, 5, 2)
        return h.reshape(B, C // 4, 2 * H, 2 * W)


@mistake(
    "latent_nets.Decoder",
    "Your pixel shuffle takes channels that lie apart. torch.nn.PixelShuffle takes four side by "
    "side.",
)
def shuffled_otherwise(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    layers[4], layers[8] = Blocks(), Blocks()
    return decoder(channels, latent, width, layers)


class Turned(nn.PixelShuffle):
    """A pixel shuffle that exchanges rows and columns of a 2×2 patch."""

    def forward(self, h):
        return super().forward(h.transpose(-1, -2)).transpose(-1, -2)


@mistake(
    "latent_nets.Decoder",
    "Your pixel shuffle fills 2×2 pixels column by column: torch's goes row by row.",
)
def shuffled_by_columns(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    layers[4], layers[8] = Turned(2), Turned(2)
    return decoder(channels, latent, width, layers)


@mistake("latent_nets.Decoder", "The first convolution is 1×1: it is 3×3, with a border of 1.")
def first_one_by_one(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    layers[0] = nn.Conv2d(latent, 2 * width, 1)
    return decoder(channels, latent, width, layers)


@mistake("latent_nets.Decoder", "The last convolution has no bias.")
def no_last_bias(channels=1, latent=4, width=24):
    layers = up(channels, latent, width)
    layers[10] = nn.Conv2d(16, channels, 3, padding=1, bias=False)
    return decoder(channels, latent, width, layers)


@mistake(
    "latent_nets.Decoder",
    "The image is cut off from the latents: no gradient reaches the encoder.",
    sure=True,
)
def latents_cut_off(channels=1, latent=4, width=24):
    return answering(latent_nets.Decoder, lambda self, usual, u: usual(u.detach()))(
        channels, latent, width
    )


@mistake(
    "latent_nets.Decoder",
    "A pass puts the network into training mode: leave modes to the one who calls it.",
    public=False,
)
def decoder_trains_itself(channels=1, latent=4, width=24):
    def forward(self, usual, u):
        self.train()
        return usual(u)

    return answering(latent_nets.Decoder, forward)(channels, latent, width)


@mistake(
    "latent_nets.Decoder",
    "Latents that do not fit are not refused: leave the lines above yours as they are.",
    public=False,
)
def no_latents_refused(channels=1, latent=4, width=24):
    made = latent_nets.Decoder(channels, latent, width)

    def forward(self, u):
        u = u if u.dim() == 4 else u[None]
        u = F.pad(u, (0, 0, 0, 0, 0, max(0, self.latent - u.shape[1])))[:, : self.latent]
        return self.layers(u)

    made.forward = types.MethodType(forward, made)
    return made


@mistake(
    "latent_nets.Decoder", "New networks all have the same weights: seed nothing.", public=False
)
def decoder_seeded(channels=1, latent=4, width=24):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return latent_nets.Decoder(channels, latent, width)


@mistake("latent_nets.Decoder", "An image depends on the others of its batch.", public=False)
def images_meet(channels=1, latent=4, width=24):
    return answering(latent_nets.Decoder, lambda self, usual, u: usual(u - u.mean(0)))(
        channels, latent, width
    )


@mistake(
    "latent_nets.Decoder",
    "The first weights of a given block are not 0 any more: leave them as they are made.",
    public=False,
)
def blocks_not_the_identity(channels=1, latent=4, width=24):
    made = latent_nets.Decoder(channels, latent, width)
    for part in made.modules():
        if isinstance(part, nn.Conv2d):
            part.reset_parameters()
    return made


@mistake(
    "latent_nets.Encoder",
    "The first weights of a given block are not 0 any more: leave them as they are made.",
    public=False,
)
def encoder_not_the_identity(channels=1, latent=4, width=24):
    made = latent_nets.Encoder(channels, latent, width)
    for part in made.modules():
        if isinstance(part, nn.Conv2d):
            part.reset_parameters()
    return made


@mistake(
    "latent_nets.Decoder",
    "A pass throws away gradients that others have collected: leave that to the training loop.",
    public=False,
)
def throws_gradients_away(channels=1, latent=4, width=24):
    def forward(self, usual, u):
        self.zero_grad()
        return usual(u)

    return answering(latent_nets.Decoder, forward)(channels, latent, width)


@mistake("latent_nets.Decoder", "Your images are square whatever the latents are.", public=False)
def images_always_square(channels=1, latent=4, width=24):
    def forward(self, usual, u):
        x = usual(u)
        return x.reshape(*x.shape[:2], -1)[..., : x.shape[2] ** 2].unflatten(-1, (x.shape[2], -1))

    return answering(latent_nets.Decoder, forward)(channels, latent, width)


@mistake(
    "latent_nets.Decoder",
    "There is dropout in your decoder, so training and eval mode differ. The table has none.",
    public=False,
)
def dropout(channels=1, latent=4, width=24):
    return answering(
        latent_nets.Decoder, lambda self, usual, u: F.dropout(usual(u), 0.2, self.training)
    )(channels, latent, width)
