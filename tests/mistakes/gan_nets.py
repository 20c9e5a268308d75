"""Typical wrong answers to chapter 03, each with the sentence that explains it.

Nets are the reference's with a part exchanged, so that they go by the same name.
"""

import types

import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import gan_nets
from cs231n_gen.checking.variants import mistake, several


def fits(x, scale, bias, eps=1e-5):
    if x.dim() != 4 or scale.shape != x.shape[:2] or bias.shape != x.shape[:2]:
        raise ValueError("x must have four axes, scale and bias be (batch, channels)")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {"gan_nets.adain": fits}

# --- gan_nets.adain -----------------------------------------------------------------------------


def styled(normal, scale, bias):
    return scale[:, :, None, None] * normal + bias[:, :, None, None]


def over(x, axes, eps=1e-5, correction=0):
    mu = x.mean(axes, keepdim=True)
    return (x - mu) / (x.var(axes, correction=correction, keepdim=True) + eps).sqrt()


@mistake(
    "gan_nets.adain",
    "Your statistics are those of the whole batch: this is batch norm. Each example has its own.",
)
def batch_norm(x, scale, bias, eps=1e-5):
    return styled(over(x, (0, 2, 3), eps), scale, bias)


@mistake(
    "gan_nets.adain",
    "Your statistics are those of all channels together: this is layer norm. Each channel has its "
    "own.",
)
def layer_norm(x, scale, bias, eps=1e-5):
    return styled(over(x, (1, 2, 3), eps), scale, bias)


@mistake(
    "gan_nets.adain",
    "Your variance divides by n − 1, which is what torch does by default: correction=0 divides by "
    "n.",
)
def unbiased(x, scale, bias, eps=1e-5):
    return styled(over(x, (2, 3), eps, correction=1), scale, bias)


@mistake(
    "gan_nets.adain",
    "scale and bias are exchanged: w multiplies the normalised features, b is added.",
)
def exchanged(x, scale, bias, eps=1e-5):
    return styled(over(x, (2, 3), eps), bias, scale)


@mistake("gan_nets.adain", "You divide by the variance: σ is its square root.")
def by_the_variance(x, scale, bias, eps=1e-5):
    off = x - x.mean((2, 3), keepdim=True)
    return styled(off / (x.var((2, 3), correction=0, keepdim=True) + eps), scale, bias)


@mistake("gan_nets.adain", "ε is added to the standard deviation: it belongs under the root.")
def epsilon_outside(x, scale, bias, eps=1e-5):
    off = x - x.mean((2, 3), keepdim=True)
    return styled(off / (x.std((2, 3), correction=0, keepdim=True) + eps), scale, bias)


@mistake(
    "gan_nets.adain",
    "You multiply by 1 + w. Some codes call that the scale; on slide 32 w itself multiplies.",
)
def one_more(x, scale, bias, eps=1e-5):
    return styled(over(x, (2, 3), eps), 1 + scale, bias)


@mistake("gan_nets.adain", "The mean is still there: subtract μ before you divide by σ.")
def with_the_mean(x, scale, bias, eps=1e-5):
    return styled(x / (x.var((2, 3), correction=0, keepdim=True) + eps).sqrt(), scale, bias)


@mistake(
    "gan_nets.adain",
    "μ and σ are cut out of the graph. They are functions of x, so gradients flow through them.",
)
def cut_out(x, scale, bias, eps=1e-5):
    with torch.no_grad():
        mu = x.mean((2, 3), keepdim=True)
        sigma = (x.var((2, 3), correction=0, keepdim=True) + eps).sqrt()
    return styled((x - mu) / sigma, scale, bias)


@mistake(
    "gan_nets.adain",
    "The ε that is passed in is not used: yours is always 1e-5.",
    public=False,
)
def another_epsilon(x, scale, bias, eps=1e-5):
    return styled(over(x, (2, 3)), scale, bias)


@mistake(
    "gan_nets.adain",
    "The variance comes from E[x²] − μ², the difference of two large numbers where the mean is far "
    "from 0: its digits are lost. Average (x − μ)², as torch.var does.",
)
def mean_of_squares(x, scale, bias, eps=1e-5):
    mu = x.mean((2, 3), keepdim=True)
    variance = x.square().mean((2, 3), keepdim=True) - mu.square()
    return styled((x - mu) / (variance.clamp(min=0) + eps).sqrt(), scale, bias)


@mistake(
    "gan_nets.adain",
    "σ is cut out of the graph. It is a function of x, so gradients flow through it too.",
)
def deviation_cut_out(x, scale, bias, eps=1e-5):
    sigma = (x.var((2, 3), correction=0, keepdim=True) + eps).sqrt()
    return styled((x - x.mean((2, 3), keepdim=True)) / sigma.detach(), scale, bias)


@mistake(
    "gan_nets.adain",
    "Axes of length 1 are lost: the result has the shape of x.",
)
def squeezed(x, scale, bias, eps=1e-5):
    return styled(over(x, (2, 3), eps), scale, bias).squeeze()


# --- gan_nets.Generator -------------------------------------------------------------------------


class Always(nn.BatchNorm2d):
    """A batch norm that never leaves training."""

    def forward(self, h):
        return F.batch_norm(h, None, None, self.weight, self.bias, training=True)


def generator(latent, width, layers):
    """A generator of other layers."""
    G = gan_nets.Generator(latent, width)
    G.layers = nn.Sequential(*layers)
    return G


def transposed(inputs, outputs, kernel=4, bias=False, **options):
    return nn.ConvTranspose2d(inputs, outputs, kernel, bias=bias, **options)


def usual(latent, w, norm=nn.BatchNorm2d, act=nn.ReLU, bias=False, end=nn.Tanh):
    double = {"stride": 2, "padding": 1}
    return [
        transposed(latent, 2 * w, bias=bias), norm(2 * w), act(),
        transposed(2 * w, w, bias=bias, **double), norm(w), act(),
        transposed(w, 1, bias=True, **double), end(),
    ]  # fmt: skip


@mistake(
    "gan_nets.Generator",
    "There is no tanh at the end: your pixels have no bounds, data lie in [−1, 1].",
)
def without_tanh(latent=32, width=32):
    return generator(latent, width, usual(latent, width, end=nn.Identity))


@mistake(
    "gan_nets.Generator",
    "The last layer is a sigmoid, from 0 to 1. Data lie in [−1, 1], their background at −1: tanh.",
)
def sigmoid_at_the_end(latent=32, width=32):
    return generator(latent, width, usual(latent, width, end=nn.Sigmoid))


@mistake(
    "gan_nets.Generator",
    "The image itself goes through a batch norm. The paper leaves it out there: it would force the "
    "mean brightness of every batch.",
)
def image_normed(latent=32, width=32):
    layers = usual(latent, width)
    return generator(latent, width, [*layers[:7], nn.BatchNorm2d(1), layers[7]])


@mistake("gan_nets.Generator", "There are no batch norms: one follows each hidden layer.")
def not_normed(latent=32, width=32):
    return generator(latent, width, usual(latent, width, norm=lambda channels: nn.Identity()))


@mistake(
    "gan_nets.Generator",
    "Layers before a batch norm have a bias, which the norm takes away at once: bias=False.",
)
def useless_biases(latent=32, width=32):
    return generator(latent, width, usual(latent, width, bias=True))


@mistake("gan_nets.Generator", "LeakyReLU is the discriminator's; the generator has ReLU.")
def leaky(latent=32, width=32):
    return generator(latent, width, usual(latent, width, act=lambda: nn.LeakyReLU(0.2)))


@mistake(
    "gan_nets.Generator",
    "ReLU comes before the batch norm. The order is convolution, batch norm, ReLU.",
)
def relu_before_norm(latent=32, width=32):
    a, b, c, d, e, f, *end = usual(latent, width)
    return generator(latent, width, [a, c, b, d, f, e, *end])


@mistake(
    "gan_nets.Generator",
    "Your channels go up towards the image, w and then 2w. They halve as the image doubles: 2w, "
    "then w.",
)
def channels_go_up(latent=32, width=32):
    w, double = width, {"stride": 2, "padding": 1}
    layers = [
        transposed(latent, w), nn.BatchNorm2d(w), nn.ReLU(),
        transposed(w, 2 * w, **double), nn.BatchNorm2d(2 * w), nn.ReLU(),
        transposed(2 * w, 1, bias=True, **double), nn.Tanh(),
    ]  # fmt: skip
    return generator(latent, width, layers)


@mistake(
    "gan_nets.Generator",
    "You repeat pixels and convolve them 3×3. DC-GAN grows by transposed convolutions, 4×4 of "
    "stride 2.",
)
def repeats_pixels(latent=32, width=32):
    layers = usual(latent, width)
    for n in (3, 6):
        old = layers[n]
        conv = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=n == 6)
        layers[n] = nn.Sequential(nn.Upsample(scale_factor=2), conv)
    return generator(latent, width, layers)


@mistake(
    "gan_nets.Generator",
    "The batch norms use the batch's statistics after training too, so an image depends on the "
    "others: leave that to nn.BatchNorm2d and G.eval().",
)
def always_training(latent=32, width=32):
    return generator(latent, width, usual(latent, width, norm=Always))


@mistake(
    "gan_nets.Generator",
    "The images are cut off from the graph: G would never learn.",
    public=False,
)
def cut_off(latent=32, width=32):
    G = gan_nets.Generator(latent, width)

    def forward(self, z):
        return self.layers(z[:, :, None, None]).detach().requires_grad_()

    G.forward = types.MethodType(forward, G)
    return G


def batch_norms_with(net, **settings):
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for name, value in settings.items():
                setattr(layer, name, value)
    return net


@mistake(
    "gan_nets.Generator",
    "Your batch norms have another momentum than torch's: running statistics move a tenth of the "
    "way. (Other libraries count the part that stays: their 0.9 is torch's 0.1.)",
)
def other_momentum(latent=32, width=32):
    return batch_norms_with(gan_nets.Generator(latent, width), momentum=0.9)


@mistake(
    "gan_nets.Generator",
    "An image of a batch of one loses its first axis: (1, 1, 16, 16), not (1, 16, 16). squeeze() "
    "takes every axis of length 1.",
)
def one_image_squeezed(latent=32, width=32):
    G = gan_nets.Generator(latent, width)
    G.forward = lambda z: G.layers(z[:, :, None, None]).squeeze(0)
    return G


@mistake(
    "gan_nets.Generator",
    "The latents are cut off from the graph: nobody could look for the z of an image.",
    sure=True,
)
def latents_cut_off(latent=32, width=32):
    G = gan_nets.Generator(latent, width)
    G.forward = lambda z: G.layers(z.detach()[:, :, None, None])
    return G


# --- gan_nets.Discriminator -----------------------------------------------------------------------


def discriminator(width, layers):
    """A discriminator of other layers."""
    D = gan_nets.Discriminator(width)
    D.layers = nn.Sequential(*layers)
    return D


def slope_of_a_fifth():
    return nn.LeakyReLU(0.2)


def mirrored(w, norm=nn.BatchNorm2d, act=slope_of_a_fifth, bias=False, outputs=2):
    half = {"stride": 2, "padding": 1}
    return [
        nn.Conv2d(1, w, 4, **half), act(),
        nn.Conv2d(w, outputs * w, 4, bias=bias, **half), norm(outputs * w), act(),
        nn.Conv2d(outputs * w, 1, 4),
    ]  # fmt: skip


@mistake(
    "gan_nets.Discriminator",
    "D ends with a sigmoid. It answers with logits: `gan.value` takes the sigmoid, exactly.",
)
def probabilities(width=32):
    return discriminator(width, [*mirrored(width), nn.Sigmoid()])


@mistake(
    "gan_nets.Discriminator",
    "The first layer has a batch norm. What comes in keeps its statistics: they tell real from "
    "fake.",
)
def first_normed(width=32):
    first, *rest = mirrored(width)
    return discriminator(width, [first, nn.BatchNorm2d(width), *rest])


@mistake("gan_nets.Discriminator", "There is no batch norm: one follows the second convolution.")
def no_norm(width=32):
    return discriminator(width, mirrored(width, norm=lambda channels: nn.Identity()))


@mistake(
    "gan_nets.Discriminator",
    "ReLU passes no gradient on where it is 0, and G learns from nothing else: LeakyReLU(0.2).",
)
def relu(width=32):
    return discriminator(width, mirrored(width, act=nn.ReLU))


@mistake("gan_nets.Discriminator", "The slope of your LeakyReLU is torch's 0.01; here it is 0.2.")
def slope_of_a_hundredth(width=32):
    return discriminator(width, mirrored(width, act=nn.LeakyReLU))


@mistake(
    "gan_nets.Discriminator",
    "You pool. DC-GAN's convolutions have a stride of 2 instead, and learn what to keep.",
)
def pools(width=32):
    layers = mirrored(width)
    for n, (inputs, outputs) in ((0, (1, width)), (2, (width, 2 * width))):
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=n == 0)
        layers[n] = nn.Sequential(conv, nn.MaxPool2d(2))
    return discriminator(width, layers)


@mistake(
    "gan_nets.Discriminator",
    "The logits have axes too many, (batch, 1, 1, 1): one number for each image is (batch,).",
)
def four_axes(width=32):
    D = gan_nets.Discriminator(width)
    D.forward = D.layers.forward
    return D


@mistake(
    "gan_nets.Discriminator",
    "One logit comes for the whole batch. Each image has its own.",
)
def one_for_all(width=32):
    D = gan_nets.Discriminator(width)
    D.forward = lambda x: D.layers(x).mean()
    return D


@mistake(
    "gan_nets.Discriminator",
    "The convolution before the batch norm has a bias, which the norm takes away: bias=False.",
)
def useless_bias(width=32):
    return discriminator(width, mirrored(width, bias=True))


@mistake(
    "gan_nets.Discriminator",
    "The channels stay at w: they double as the image halves.",
)
def channels_stay(width=32):
    return discriminator(width, mirrored(width, outputs=1))


@mistake(
    "gan_nets.Discriminator",
    "The batch norm uses the batch's statistics after training too: leave that to nn.BatchNorm2d "
    "and D.eval().",
)
def ever_training(width=32):
    return discriminator(width, mirrored(width, norm=Always))


@mistake(
    "gan_nets.Discriminator",
    "Logits are clamped: where they are, nobody gets a gradient.",
    public=False,
)
def clamped(width=32):
    D = gan_nets.Discriminator(width)
    D.forward = lambda x: D.layers(x).flatten().clamp(-1, 1)
    return D


@mistake(
    "gan_nets.Discriminator",
    "D's hidden layers are cut off from the graph: their weights would never learn.",
    public=False,
)
def learns_at_the_end_alone(width=32):
    D = gan_nets.Discriminator(width)
    D.forward = lambda x: D.layers[-1](D.layers[:-1](x).detach()).flatten()
    return D


@mistake(
    "gan_nets.Discriminator",
    "Your batch norm has another momentum than torch's: running statistics move a tenth of the "
    "way. (Other libraries count the part that stays: their 0.9 is torch's 0.1.)",
)
def another_momentum(width=32):
    return batch_norms_with(gan_nets.Discriminator(width), momentum=0.9)


@mistake(
    "gan_nets.Discriminator",
    "For one image you return a number without axes: squeeze() takes the batch's axis as well. "
    "flatten() leaves (1,).",
    sure=True,
)
def one_logit_squeezed(width=32):
    D = gan_nets.Discriminator(width)
    D.forward = lambda x: D.layers(x).squeeze()
    return D


@mistake(
    "gan_nets.Discriminator",
    "Logits are kept between −30 and 30. They have no bounds, and beyond yours there is no slope.",
)
def far_logits_clamped(width=32):
    D = gan_nets.Discriminator(width)
    D.forward = lambda x: D.layers(x).flatten().clamp(-30, 30)
    return D


@mistake(
    "gan_nets.Discriminator",
    "The images are cut off from the graph. G learns from D's gradient with respect to them.",
    sure=True,
)
def images_cut_off(width=32):
    D = gan_nets.Discriminator(width)
    D.forward = lambda x: D.layers(x.detach()).flatten()
    return D


# --- gan_nets.lerp ------------------------------------------------------------------------------


def along(t, z):
    return torch.as_tensor(t, dtype=z.dtype)[..., None]


def straight(z_0, z_1, t):
    return t * z_0 + (1 - t) * z_1


@mistake(
    "gan_nets.lerp",
    "The ends are exchanged: on slide 33 t = 1 gives z_0. (torch.lerp and most code have it the "
    "other way round.)",
)
def other_end(z_0, z_1, t):
    return straight(z_1, z_0, along(t, z_0))


@mistake(
    "gan_nets.lerp",
    "t is broadcast along the latent's numbers. It belongs to whole latents: t[..., None].",
)
def along_the_numbers(z_0, z_1, t):
    return straight(z_0, z_1, torch.as_tensor(t, dtype=z_0.dtype))


@mistake("gan_nets.lerp", "All latents get the mean of t: each has its own.")
def mean_of_t(z_0, z_1, t):
    t = along(t, z_0)
    return straight(z_0, z_1, t.mean().expand(t.shape))


@mistake(
    "gan_nets.lerp",
    "Your weights are √t and √(1 − t), which keep the variance but are no straight line. Here they "
    "are t and 1 − t.",
)
def roots(z_0, z_1, t):
    t = along(t, z_0)
    return t.abs().sqrt() * z_0 + (1 - t).abs().sqrt() * z_1


@mistake(
    "gan_nets.lerp",
    "You give z_t another length. On the straight way it gets shorter; keeping it is slerp's job.",
)
def stretched(z_0, z_1, t):
    t = along(t, z_0)
    z_t = straight(z_0, z_1, t)
    length = straight(z_0.norm(dim=-1, keepdim=True), z_1.norm(dim=-1, keepdim=True), t)
    return z_t * length / z_t.norm(dim=-1, keepdim=True)


@mistake(
    "gan_nets.lerp", "You start slowly and end slowly: t itself is the share, not t² (3 − 2t)."
)
def eased(z_0, z_1, t):
    t = along(t, z_0)
    return straight(z_0, z_1, t * t * (3 - 2 * t))


@mistake(
    "gan_nets.lerp",
    "You keep t between 0 and 1. The line goes on beyond its ends.",
)
def kept_between(z_0, z_1, t):
    return straight(z_0, z_1, along(t, z_0).clamp(0, 1))


@mistake(
    "gan_nets.lerp",
    "t becomes one row for each of its numbers. It may have any shape: t[..., None] is broadcast.",
    sure=True,
)
def one_column(z_0, z_1, t):
    t = torch.as_tensor(t, dtype=z_0.dtype).reshape(-1, 1)
    return straight(z_0, z_1, t)


@mistake(
    "gan_nets.lerp",
    "You calculate in float32. Latents in float64 keep their digits.",
    public=False,
)
def lerp_in_float32(z_0, z_1, t):
    return straight(z_0.float(), z_1.float(), along(t, z_0).float()).to(z_0.dtype)


# --- gan_nets.slerp -----------------------------------------------------------------------------


def cosine(z_0, z_1):
    return F.cosine_similarity(z_0, z_1, dim=-1)[..., None].clamp(-1, 1)


def arc(z_0, z_1, t, omega):
    sin = torch.sin(omega)
    z_t = (torch.sin(t * omega) * z_0 + torch.sin((1 - t) * omega) * z_1) / sin
    return torch.where(sin.abs() < 1e-3, straight(z_0, z_1, t), z_t)


@mistake("gan_nets.slerp", "The ends are exchanged: t = 1 gives z_0, as for lerp.")
def other_end_of_the_arc(z_0, z_1, t):
    return arc(z_1, z_0, along(t, z_0), torch.acos(cosine(z_0, z_1)))


@mistake("gan_nets.slerp", "This is the straight way: z_t leaves the sphere between its ends.")
def no_arc(z_0, z_1, t):
    return straight(z_0, z_1, along(t, z_0))


@mistake(
    "gan_nets.slerp",
    "You go straight and stretch z_t afterwards. The length is right then, but it turns faster in "
    "the middle than at the ends.",
)
def straight_and_stretched(z_0, z_1, t):
    t = along(t, z_0)
    z_t = straight(z_0, z_1, t)
    length = straight(z_0.norm(dim=-1, keepdim=True), z_1.norm(dim=-1, keepdim=True), t)
    return z_t * length / z_t.norm(dim=-1, keepdim=True).clamp(min=1e-12)


@mistake(
    "gan_nets.slerp",
    "You divide by nothing: without 1/sin Ω the ends are not the latents, unless Ω is 90°.",
)
def not_divided(z_0, z_1, t):
    t, omega = along(t, z_0), torch.acos(cosine(z_0, z_1))
    z_t = torch.sin(t * omega) * z_0 + torch.sin((1 - t) * omega) * z_1
    return torch.where(torch.sin(omega) < 1e-3, straight(z_0, z_1, t), z_t)


@mistake(
    "gan_nets.slerp",
    "The inner product is not divided by both lengths, so it is no cosine: acos gets another "
    "angle.",
)
def no_cosine(z_0, z_1, t):
    product = (z_0 * z_1).sum(-1, keepdim=True)
    return arc(z_0, z_1, along(t, z_0), torch.acos(product.clamp(-1, 1)))


@mistake(
    "gan_nets.slerp",
    "For latents of one direction yours is NaN: sin Ω is 0 there, or rounding puts the cosine "
    "above 1. Clamp the cosine, and lerp where sin Ω is small.",
    sure=True,
)
def nothing_by_nothing(z_0, z_1, t):
    t, omega = along(t, z_0), torch.acos(cosine(z_0, z_1))
    return (torch.sin(t * omega) * z_0 + torch.sin((1 - t) * omega) * z_1) / torch.sin(omega)


@mistake(
    "gan_nets.slerp",
    "The lengths are lost: your z_t lies on the unit sphere. Only the angle is measured between "
    "directions; z_0 and z_1 enter as they are.",
)
def unit_sphere(z_0, z_1, t):
    omega = torch.acos(cosine(z_0, z_1))
    u, v = F.normalize(z_0, dim=-1), F.normalize(z_1, dim=-1)
    return arc(u, v, along(t, z_0), omega)


@mistake(
    "gan_nets.slerp",
    "There is one angle for the whole batch. Each pair of latents has its own.",
)
def one_angle(z_0, z_1, t):
    cos = (z_0 * z_1).sum() / (z_0.norm() * z_1.norm()).clamp(min=1e-12)
    return arc(z_0, z_1, along(t, z_0), torch.acos(cos.clamp(-1, 1)))


@mistake(
    "gan_nets.slerp",
    "You turn a latent round where the angle is obtuse. That is right for quaternions, where q and "
    "−q are one rotation; z and −z are two images.",
)
def like_quaternions(z_0, z_1, t):
    cos = cosine(z_0, z_1)
    turned = torch.where(cos < 0, -1.0, 1.0)
    return arc(z_0, turned * z_1, along(t, z_0), torch.acos(cos.abs()))


@mistake(
    "gan_nets.slerp",
    "You go straight too early (often where the cosine is above 0.9995, an angle of 1.8°). The "
    "arc is to be left only where sin Ω is below 1e-3, and where the latents are opposite as "
    "well.",
    sure=True,
)
def straight_too_early(z_0, z_1, t):
    t, cos = along(t, z_0), cosine(z_0, z_1)
    omega = torch.acos(cos)
    z_t = (torch.sin(t * omega) * z_0 + torch.sin((1 - t) * omega) * z_1) / torch.sin(omega)
    return torch.where(cos.abs() > 0.9995, straight(z_0, z_1, t), z_t)


@mistake(
    "gan_nets.slerp",
    "A small number in the denominator keeps it from 0, and gives opposite latents no z_t at all. "
    "Where sin Ω is below 1e-3 use lerp.",
)
def epsilon_below(z_0, z_1, t):
    t, omega = along(t, z_0), torch.acos(cosine(z_0, z_1))
    z_t = torch.sin(t * omega) * z_0 + torch.sin((1 - t) * omega) * z_1
    return z_t / (torch.sin(omega) + 1e-6)


@mistake(
    "gan_nets.slerp",
    "You go straight only where the latents are nearly parallel. Where they are nearly opposite "
    "sin Ω is small too.",
)
def not_where_opposite(z_0, z_1, t):
    t, omega = along(t, z_0), torch.acos(cosine(z_0, z_1))
    z_t = (torch.sin(t * omega) * z_0 + torch.sin((1 - t) * omega) * z_1) / torch.sin(omega)
    return torch.where(omega < 1e-3, straight(z_0, z_1, t), z_t)


@mistake(
    "gan_nets.slerp",
    "t becomes one row for each of its numbers. It may have any shape: t[..., None] is broadcast.",
    sure=True,
)
def one_column_of_t(z_0, z_1, t):
    t = torch.as_tensor(t, dtype=z_0.dtype).reshape(-1, 1)
    return arc(z_0, z_1, t, torch.acos(cosine(z_0, z_1)))


@mistake(
    "gan_nets.slerp",
    "Rounding can make a cosine a little more than 1, whose acos is NaN: clamp it.",
    public=False,
)
def cosine_not_clamped(z_0, z_1, t):
    lengths = z_0.norm(dim=-1, keepdim=True) * z_1.norm(dim=-1, keepdim=True)
    cos = (z_0 * z_1).sum(-1, keepdim=True) / lengths
    return arc(z_0, z_1, along(t, z_0), torch.acos(cos))


# --- gan_nets.StyleGenerator ----------------------------------------------------------------------


def style_generator(args, kwargs, layer_of, end=torch.tanh, pick=lambda n: n):
    """A generator whose layers are `layer_of(adain, layer, h, w, noise)`, the n-th of which gets
    style `pick(n)`."""
    G = gan_nets.StyleGenerator(*args, **kwargs)

    def synthesis(self, styles, noise):
        h = self.constant.expand(len(styles[0]), -1, -1, -1)
        for n, (layer, fresh) in enumerate(zip(self.layers, noise, strict=True)):
            h = layer_of(self.adain, layer, h, styles[pick(n)], fresh)
        return end(self.out(h))

    G.synthesis = types.MethodType(synthesis, G)
    return G


def grown(layer, h):
    return layer.conv(F.interpolate(h, scale_factor=layer.grow))


def with_noise(layer, h, fresh):
    return h + layer.strength[:, None, None] * fresh


def bent(h):
    return F.leaky_relu(h, 0.2)


def right(adain, layer, h, w, fresh):
    s, b = layer.style(w).chunk(2, dim=1)
    return adain(bent(with_noise(layer, grown(layer, h), fresh)), 1 + s, b)


@mistake(
    "gan_nets.StyleGenerator",
    "The scale is s itself. It is 1 + s, so that a style that says nothing changes nothing.",
)
def scale_without_1(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        s, b = layer.style(w).chunk(2, dim=1)
        return adain(bent(with_noise(layer, grown(layer, h), fresh)), s, b)

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "s and b are exchanged: the first half of style(w) belongs to the scale, the second is the "
    "bias.",
)
def halves_exchanged(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        b, s = layer.style(w).chunk(2, dim=1)
        return adain(bent(with_noise(layer, grown(layer, h), fresh)), 1 + s, b)

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "Every layer gets the first style: layer n has styles[n], or nothing can be mixed.",
)
def one_style(*args, **kwargs):
    return style_generator(args, kwargs, right, pick=lambda n: 0)


@mistake(
    "gan_nets.StyleGenerator",
    "The styles come in the wrong order: the first belongs to the coarse layer, 4×4.",
)
def fine_first(*args, **kwargs):
    return style_generator(args, kwargs, right, pick=lambda n: -1 - n)


@mistake("gan_nets.StyleGenerator", "The noise is missing: each layer adds strength · noise.")
def without_noise(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        return right(adain, layer, h, w, 0 * fresh)

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "The noise is added as it is. Each channel has learned how much it wants: strength · noise.",
)
def full_strength(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        s, b = layer.style(w).chunk(2, dim=1)
        return adain(bent(grown(layer, h) + fresh), 1 + s, b)

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "The noise comes after AdaIN. It belongs before LeakyReLU, and the style has the last word.",
)
def noise_at_the_end(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        s, b = layer.style(w).chunk(2, dim=1)
        return with_noise(layer, adain(bent(grown(layer, h)), 1 + s, b), fresh)

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "LeakyReLU comes after AdaIN, and spoils the statistics that the style asked for: first "
    "LeakyReLU, then AdaIN.",
)
def bent_at_the_end(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        s, b = layer.style(w).chunk(2, dim=1)
        return bent(adain(with_noise(layer, grown(layer, h), fresh), 1 + s, b))

    return style_generator(args, kwargs, layer_of)


@mistake("gan_nets.StyleGenerator", "There is no LeakyReLU: without it the layers are linear.")
def straight_layers(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        s, b = layer.style(w).chunk(2, dim=1)
        return adain(with_noise(layer, grown(layer, h), fresh), 1 + s, b)

    return style_generator(args, kwargs, layer_of)


@mistake("gan_nets.StyleGenerator", "There is no tanh at the end: pixels lie in [−1, 1].")
def no_tanh(*args, **kwargs):
    return style_generator(args, kwargs, right, end=lambda h: h)


@mistake(
    "gan_nets.StyleGenerator",
    "You always use this module's adain: the one that the generator was made with is not called.",
)
def own_adain(*args, **kwargs):
    def layer_of(_, layer, h, w, fresh):
        return right(gan_nets.adain, layer, h, w, fresh)

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "The image grows after the convolution: grow it first, so that the convolution draws at the "
    "new size.",
)
def grown_afterwards(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        s, b = layer.style(w).chunk(2, dim=1)
        h = F.interpolate(layer.conv(h), scale_factor=layer.grow)
        return adain(bent(with_noise(layer, h, fresh)), 1 + s, b)

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "You draw noise of your own: the noise that is given is not used, and nothing can be repeated.",
    public=False,
)
def noise_of_its_own(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        return right(adain, layer, h, w, torch.randn_like(fresh))

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "The style is cut out of the graph, so the mapping never learns.",
    public=False,
)
def mapping_cut_off(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        return right(adain, layer, h, w.detach(), fresh)

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "The noise term is cut out of the graph, so its strength never learns.",
    sure=True,
)
def strength_cut_off(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        s, b = layer.style(w).chunk(2, dim=1)
        h = grown(layer, h) + (layer.strength[:, None, None] * fresh).detach()
        return adain(bent(h), 1 + s, b)

    return style_generator(args, kwargs, layer_of)


@mistake(
    "gan_nets.StyleGenerator",
    "All images of a batch get the first one's noise: noise[n] has one for each image.",
)
def noise_of_the_first(*args, **kwargs):
    def layer_of(adain, layer, h, w, fresh):
        return right(adain, layer, h, w, fresh[:1])

    return style_generator(args, kwargs, layer_of)


# --- first attempts -----------------------------------------------------------------------------


def at(t, z):
    return torch.as_tensor(t, dtype=z.dtype)[..., None]


def pixels(style):
    return style[:, :, None, None]


def centred(x):
    return x - x.mean((2, 3), keepdim=True)


def deviation(x, eps, correction=0):
    return (x.var((2, 3), correction=correction, keepdim=True) + eps).sqrt()


styles = several(
    "gan_nets.adain",
    (
        "without_epsilon",
        "ε is missing under the root: a channel that is the same everywhere is divided by 0.",
        lambda x, scale, bias, eps=1e-5: (
            pixels(scale) * centred(x) / deviation(x, 0.0) + pixels(bias)
        ),
    ),
    (
        "multiplied_by_sigma",
        "You multiply by σ. Divide by it.",
        lambda x, scale, bias, eps=1e-5: (
            pixels(scale) * centred(x) * deviation(x, eps) + pixels(bias)
        ),
    ),
    (
        "bias_scaled",
        "b is scaled too: it is added last, w (x − μ)/σ + b.",
        lambda x, scale, bias, eps=1e-5: (
            pixels(scale) * (centred(x) / deviation(x, eps) + pixels(bias))
        ),
    ),
    (
        "without_style",
        "scale and bias are not used: this is instance norm alone.",
        lambda x, scale, bias, eps=1e-5: centred(x) / deviation(x, eps),
    ),
    (
        "unbiased_and_epsilon_outside",
        "Your variance divides by n − 1, which is what torch does by default: correction=0 "
        "divides by n. And ε belongs under the root.",
        lambda x, scale, bias, eps=1e-5: (
            pixels(scale) * centred(x) / (x.std((2, 3), keepdim=True) + eps) + pixels(bias)
        ),
    ),
    (
        "without_bias",
        "b is missing: it is added last.",
        lambda x, scale, bias, eps=1e-5: pixels(scale) * centred(x) / deviation(x, eps),
    ),
    (
        "styles_along_the_last_axes",
        "scale and bias meet the wrong axes: they are (batch, channels), and need two more, for "
        "height and width.",
        lambda x, scale, bias, eps=1e-5: scale * centred(x) / deviation(x, eps) + bias,
    ),
)


lines = several(
    "gan_nets.lerp",
    (
        "ends_exchanged_along_latents",
        "The ends are exchanged: on slide 33 t = 1 gives z_0. (And t is broadcast along the "
        "latent's numbers: it needs an axis, t[..., None].)",
        lambda z_0, z_1, t: (1 - t) * z_0 + t * z_1,
    ),
    (
        "one_share",
        "Only z_0 has a share. z_1 has 1 − t, so that t = 0 gives z_1 and t = 1 gives z_0.",
        lambda z_0, z_1, t: at(t, z_0) * z_0 + z_1,
    ),
    (
        "beyond_z_0",
        "You go from z_0 away from z_1. It is z_1 + t (z_0 − z_1).",
        lambda z_0, z_1, t: z_0 + at(t, z_0) * (z_0 - z_1),
    ),
    (
        "halved_line",
        "Half of it: the shares t and 1 − t add up to 1 already.",
        lambda z_0, z_1, t: (at(t, z_0) * z_0 + (1 - at(t, z_0)) * z_1) / 2,
    ),
)


def curved(z_0, z_1, t, weight=torch.sin, omega=None, of=lambda z: z, exchange=False):
    """A slerp with other weights, another angle, or of other vectors."""
    straight, t = lerp_of(z_0, z_1, t), at(t, z_0)
    cos = F.cosine_similarity(z_0, z_1, dim=-1)[..., None].clamp(-1, 1)
    angle = cos.acos() if omega is None else omega(z_0, z_1, cos)
    one, two = weight(t * angle), weight((1 - t) * angle)
    one, two = (two, one) if exchange else (one, two)
    found = (one * of(z_0) + two * of(z_1)) / angle.sin()
    return torch.where(angle.sin() < 1e-3, straight, found)


def lerp_of(z_0, z_1, t):
    return at(t, z_0) * z_0 + (1 - at(t, z_0)) * z_1


def length(z):
    return z.norm(dim=-1, keepdim=True)


arcs = several(
    "gan_nets.slerp",
    (
        "ends_exchanged_on_an_arc",
        "The ends are exchanged: t = 1 gives z_0, as for lerp.",
        lambda z_0, z_1, t: curved(z_0, z_1, t, exchange=True),
    ),
    (
        "on_the_unit_sphere",
        "Your z_t has length 1. Only the angle is measured between directions; lengths stay.",
        lambda z_0, z_1, t: F.normalize(curved(z_0, z_1, t), dim=-1),
    ),
    (
        "unit_vectors_on_an_arc",
        "The lengths are lost: only the angle is measured between directions; z_0 and z_1 enter "
        "as they are.",
        lambda z_0, z_1, t: curved(z_0, z_1, t, of=lambda z: z / length(z)),
    ),
    (
        "line_pulled_to_the_sphere",
        "You stretch the straight line to the length of z_0: its ends may have two lengths, and "
        "it turns faster in the middle.",
        lambda z_0, z_1, t: lerp_of(z_0, z_1, t) / length(lerp_of(z_0, z_1, t)) * length(z_0),
    ),
    (
        "cosine_for_the_angle",
        "You take the cosine for the angle: Ω is its acos.",
        lambda z_0, z_1, t: curved(z_0, z_1, t, omega=lambda a, b, cos: cos),
    ),
    (
        "cosines_for_sines",
        "The weights are cosines. They are sin(t Ω) and sin((1 − t) Ω).",
        lambda z_0, z_1, t: curved(z_0, z_1, t, weight=torch.cos),
    ),
)


# --- What is refused, and what a pass leaves alone -----------------------------------------------


@mistake(
    "gan_nets.adain",
    "Shapes that do not fit are not refused: leave the lines above yours as they are.",
    public=False,
    bare=True,
)
def nothing_refused(x, scale, bias, eps=1e-5):
    return styled(over(x, (-2, -1), eps), scale, bias)


@mistake(
    "gan_nets.adain",
    "Styles that broadcast are let through: each example has its own scale and bias.",
    public=False,
    bare=True,
)
def styles_broadcast(x, scale, bias, eps=1e-5):
    if x.dim() != 4:
        raise ValueError("x must have four axes")
    try:
        scale, bias = scale.expand(x.shape[:2]), bias.expand(x.shape[:2])
    except RuntimeError as error:
        raise ValueError("scale and bias must be (batch, channels)") from error
    return gan_nets.adain(x, scale, bias, eps)


@mistake(
    "gan_nets.adain",
    "Features that do not have four axes are let through.",
    public=False,
    bare=True,
)
def any_axes(x, scale, bias, eps=1e-5):
    if x.dim() == 4:
        return gan_nets.adain(x, scale, bias, eps)
    return over(x, tuple(range(2, x.dim())), eps) if x.dim() > 2 else x


def seeded(kind, *args):
    torch.manual_seed(0)
    return kind(*args)


@mistake(
    "gan_nets.Generator",
    "You seed torch: all generators begin with the same weights.",
    public=False,
)
def seeded_generator(latent=32, width=32):
    return seeded(gan_nets.Generator, latent, width)


@mistake(
    "gan_nets.Discriminator",
    "You seed torch: all discriminators begin with the same weights.",
    public=False,
)
def seeded_discriminator(width=32):
    return seeded(gan_nets.Discriminator, width)


def clearing(net, layers):
    """The net with these layers, which drops its gradients in every pass."""

    def forward(given):
        net.zero_grad()
        return layers(given)

    net.forward = forward
    return net


@mistake(
    "gan_nets.Generator",
    "A pass clears the gradients in the weights: that is for the optimiser's `zero_grad`.",
    public=False,
)
def generator_clears_gradients(latent=32, width=32):
    G = gan_nets.Generator(latent, width)
    return clearing(G, lambda z: G.layers(z[:, :, None, None]))


@mistake(
    "gan_nets.Discriminator",
    "A pass clears the gradients in the weights: that is for the optimiser's `zero_grad`.",
    public=False,
)
def discriminator_clears_gradients(width=32):
    D = gan_nets.Discriminator(width)
    return clearing(D, lambda x: D.layers(x).flatten())


@mistake(
    "gan_nets.StyleGenerator",
    "Synthesis clears the gradients in the weights: that is for the optimiser's `zero_grad`.",
    public=False,
)
def synthesis_clears_gradients(*args, **kwargs):
    G = gan_nets.StyleGenerator(*args, **kwargs)
    synthesis = G.synthesis

    def clears(styles, noise):
        G.zero_grad()
        return synthesis(styles, noise)

    G.synthesis = clears
    return G


@mistake(
    "gan_nets.StyleGenerator",
    "You write into the styles that you are given: work on a copy.",
    public=False,
)
def styles_overwritten(*args, **kwargs):
    G = gan_nets.StyleGenerator(*args, **kwargs)
    synthesis = G.synthesis

    def overwrites(styles, noise):
        images = synthesis(styles, noise)
        for w in styles:
            w.detach().add_(1)
        return images

    G.synthesis = overwrites
    return G


@mistake(
    "gan_nets.slerp",
    "Equal latents come back as they are: z_t has an axis more where t has.",
    public=False,
)
def equal_latents_as_they_are(z_0, z_1, t):
    return z_0.clone() if torch.equal(z_0, z_1) else gan_nets.slerp(z_0, z_1, t)
