"""Typical wrong answers to chapter 07's likelihoods, each with the sentence that explains it."""

import math

import torch

from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.diffusion import noise, ode_velocity, to_x_and_noise
from cs231n_gen.diffusion_likelihood import runge_kutta
from cs231n_gen.diffusion_samplers import falling


def refuse(wrong, says):
    if wrong:
        raise ValueError(says)


def no_bound(model, x, z, times, process, target):
    times = falling(times)
    refuse(z.shape != (len(times), *x.shape), "z must be T + 1 draws shaped like x")
    last = torch.tensor(times[-1:], dtype=x.dtype)
    refuse(not bool(process.b(last) > 0), "b(t) must not be 0 at the last level")


def no_walk(model, x, times, process, target, probes=0, generator=None):
    falling(times)
    refuse(probes != 0 and not probes >= 2, "probes must be 0 or at least 2")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "diffusion_likelihood.elbo_terms": no_bound,
    "diffusion_likelihood.log_likelihood": no_walk,
}

BOUND = "diffusion_likelihood.elbo_terms"
EXACT = "diffusion_likelihood.log_likelihood"


# --- diffusion_likelihood.elbo_terms ------------------------------------------------------------


def squared(x):
    """‖x‖² of each example."""
    return x.reshape(len(x), -1).square().sum(1)


def mean_square(x):
    return x.reshape(len(x), -1).square().mean(1)


def levels_of(x, times):
    return torch.tensor(falling(times), dtype=x.dtype)


def dimensions(x):
    return x[0].numel()


class Parts:
    """What the three terms are made of, each of which a mistake may replace."""

    def snr(self, process, t):
        return (process.a(t) / process.b(t)) ** 2

    def prior(self, snr, x):
        return snr[0] / 2 * squared(x)

    def place(self, x, z, i, t, process, target):
        return noise(x, z[i], t, process, target)[0]

    def guess(self, answer, x_t, t, process, target):
        return to_x_and_noise(answer, x_t, t, process, target)[0]

    def weight(self, snr, i):
        return (snr[i + 1] - snr[i]) / 2

    def missed(self, x, x_hat):
        return squared(x - x_hat)

    def reconstruction(self, snr, z, x):
        return dimensions(x) / 2 * (2 * math.pi / snr[-1]).log() + squared(z[-1]) / 2

    def __call__(self, model, x, z, times, process, target):
        levels = levels_of(x, times)
        snr, steps = self.snr(process, levels), []
        for i, t in enumerate(levels[:-1]):
            t = t.expand(len(x))
            x_t = self.place(x, z, i, t, process, target)
            x_hat = self.guess(model(x_t, t), x_t, t, process, target)
            steps.append(self.weight(snr, i) * self.missed(x, x_hat))
        return self.prior(snr, x), torch.stack(steps), self.reconstruction(snr, z, x)


def bound(**replaced):
    """The bound with some of its parts replaced."""
    own = Parts()
    vars(own).update(replaced)

    def elbo_terms(model, x, z, times, process, target):
        return own(model, x, z, times, process, target)

    return elbo_terms


of_the_bound = several(
    BOUND,
    (
        "snr_upside_down",
        "Your SNR is b² / a². The signal is a x, the noise b z: SNR = a² / b².",
        bound(snr=lambda process, t: (process.b(t) / process.a(t)) ** 2),
    ),
    (
        "snr_not_squared",
        "Your SNR is a / b, without the square. It is a ratio of variances: a² / b².",
        bound(snr=lambda process, t: process.a(t) / process.b(t)),
    ),
    (
        "share_of_the_signal",
        "Your SNR is a² alone, which is what is left of the signal. It has to be divided by the "
        "noise: a² / b².",
        bound(snr=lambda process, t: process.a(t) ** 2),
    ),
    (
        "steps_with_the_other_sign",
        "Your steps are negative. SNR rises from t_i to t_{i+1}: SNR(t_{i+1}) − SNR(t_i).",
        bound(weight=lambda snr, i: (snr[i] - snr[i + 1]) / 2),
    ),
    (
        "steps_without_a_half",
        "Your steps are twice too large: the ½ is missing.",
        bound(weight=lambda snr, i: snr[i + 1] - snr[i]),
    ),
    (
        "steps_weighed_by_snr",
        "Your steps are weighed by ½ SNR(t_{i+1}). It is the difference to SNR(t_i) that counts.",
        bound(weight=lambda snr, i: snr[i + 1] / 2),
    ),
    (
        "snr_of_the_level_before",
        "Your steps are weighed by ½ SNR(t_i). It is the difference SNR(t_{i+1}) − SNR(t_i) that "
        "counts.",
        bound(weight=lambda snr, i: snr[i] / 2),
    ),
    (
        "weight_of_noise",
        "Your steps are weighed by ½ (SNR(t_{i+1}) / SNR(t_i) − 1), the weight for ‖z − ẑ‖². For "
        "‖x − x̂‖² it is ½ (SNR(t_{i+1}) − SNR(t_i)).",
        bound(weight=lambda snr, i: (snr[i + 1] / snr[i] - 1) / 2),
    ),
    (
        "difference_of_log_snr",
        "Your steps are weighed by the difference of log-SNRs. It is that of the SNRs themselves.",
        bound(weight=lambda snr, i: (snr[i + 1].log() - snr[i].log()) / 2),
    ),
    (
        "weight_of_the_step_after",
        "Your weights are shifted by one step: step i goes from SNR(t_i) to SNR(t_{i+1}).",
        bound(
            weight=lambda snr, i: (
                (snr[min(i + 2, len(snr) - 1)] - snr[min(i + 1, len(snr) - 2)]) / 2
            )
        ),
    ),
    (
        "mean_over_dimensions",
        "Your steps are a mean over dimensions. ‖x − x̂‖² is a sum, or the bound is not one.",
        bound(missed=lambda x, x_hat: mean_square(x - x_hat)),
    ),
    (
        "not_squared",
        "Your steps hold ‖x − x̂‖, not its square.",
        bound(missed=lambda x, x_hat: squared(x - x_hat).sqrt()),
    ),
    (
        "absolute_differences",
        "Your steps hold Σ |x − x̂|. It is the sum of squares.",
        bound(missed=lambda x, x_hat: (x - x_hat).reshape(len(x), -1).abs().sum(1)),
    ),
    (
        "sum_over_the_batch",
        "Your steps are summed over the batch. Each example has terms of its own.",
        bound(missed=lambda x, x_hat: (x - x_hat).square().sum().expand(len(x))),
    ),
    (
        "mean_over_the_batch",
        "Your steps are the mean over the batch. Each example has terms of its own.",
        bound(missed=lambda x, x_hat: squared(x - x_hat).mean().expand(len(x))),
    ),
    (
        "last_axis_only",
        "Your ‖x − x̂‖² runs over the last axis only. For images it is a sum over everything but "
        "the batch.",
        bound(
            missed=lambda x, x_hat: (
                squared(x - x_hat)
                if x.dim() < 3
                else (x - x_hat).square().sum(-1).reshape(len(x), -1)[:, 0]
            )
        ),
    ),
    (
        "the_prediction_is_taken_for_x",
        "You take the model's answer for x̂. It is a prediction of the target y: `to_x_and_noise` "
        "says which x it stands for.",
        bound(guess=lambda answer, x_t, t, process, target: answer),
    ),
    (
        "the_noise_is_taken_for_x",
        "Your x̂ is the noise: `to_x_and_noise` returns (x̂, ẑ).",
        bound(
            guess=lambda answer, x_t, t, process, target: to_x_and_noise(
                answer, x_t, t, process, target
            )[1]
        ),
    ),
    (
        "x_t_is_taken_for_x",
        "Your steps compare x with x_t. It is x̂ that counts, what the model makes of x_t.",
        bound(guess=lambda answer, x_t, t, process, target: x_t),
    ),
    (
        "model_asked_about_x",
        "Your model sees x itself. It has to be asked about x_{t_i} = a x + b z_i.",
        bound(place=lambda x, z, i, t, process, target: x),
    ),
    (
        "model_asked_about_the_target",
        "Your model sees y = c x + d z. `noise` returns (x_t, y): it has to see x_t.",
        bound(place=lambda x, z, i, t, process, target: noise(x, z[i], t, process, target)[1]),
    ),
    (
        "one_noise_for_all_levels",
        "Your x_t is made with z_0 at every level. Level t_i has its own draw, z_i.",
        bound(place=lambda x, z, i, t, process, target: noise(x, z[0], t, process, target)[0]),
    ),
    (
        "noise_of_the_next_level",
        "Your x_{t_i} is made with z_{i+1}. Level t_i has its own draw, z_i.",
        bound(place=lambda x, z, i, t, process, target: noise(x, z[i + 1], t, process, target)[0]),
    ),
    (
        "noise_in_reverse",
        "Your x_{t_i} is made with z_{T−i}. Level t_i has its own draw, z_i.",
        bound(place=lambda x, z, i, t, process, target: noise(x, z[-1 - i], t, process, target)[0]),
    ),
    (
        "prior_without_a_half",
        "Your prior term is twice too large: ½ SNR(t_0) ‖x‖².",
        bound(prior=lambda snr, x: snr[0] * squared(x)),
    ),
    (
        "prior_of_the_last_level",
        "Your prior term holds the SNR of the last level. It belongs to the first one, t_0.",
        bound(prior=lambda snr, x: snr[-1] / 2 * squared(x)),
    ),
    (
        "prior_as_a_mean",
        "Your prior term is a mean over dimensions: ‖x‖² is a sum.",
        bound(prior=lambda snr, x: snr[0] / 2 * mean_square(x)),
    ),
    (
        "prior_not_squared",
        "Your prior term holds ‖x‖, not its square.",
        bound(prior=lambda snr, x: snr[0] / 2 * squared(x).sqrt()),
    ),
    (
        "reconstruction_without_dimensions",
        "Your reconstruction counts ½ log(2π / SNR) once. It comes once for each of the D "
        "dimensions.",
        bound(
            reconstruction=lambda snr, z, x: (2 * math.pi / snr[-1]).log() / 2 + squared(z[-1]) / 2
        ),
    ),
    (
        "reconstruction_without_two_pi",
        "Your reconstruction lacks ½ D log 2π: it is −log of a normal density.",
        bound(
            reconstruction=lambda snr, z, x: -dimensions(x) / 2 * snr[-1].log() + squared(z[-1]) / 2
        ),
    ),
    (
        "reconstruction_with_the_snr_above",
        "Your reconstruction holds log(2π SNR). The variance of p(x | x_t) is 1 / SNR: "
        "log(2π / SNR).",
        bound(
            reconstruction=lambda snr, z, x: (
                dimensions(x) / 2 * (2 * math.pi * snr[-1]).log() + squared(z[-1]) / 2
            )
        ),
    ),
    (
        "reconstruction_without_the_noise",
        "Your reconstruction lacks ½ ‖z_T‖²: x is off by b z_T / a from x_t / a.",
        bound(
            reconstruction=lambda snr, z, x: (
                dimensions(x) / 2 * (2 * math.pi / snr[-1]).log() + 0 * squared(z[-1])
            )
        ),
    ),
    (
        "reconstruction_with_other_noise",
        "Your reconstruction holds ‖z_0‖². The last level has the last draw, z_T.",
        bound(
            reconstruction=lambda snr, z, x: (
                dimensions(x) / 2 * (2 * math.pi / snr[-1]).log() + squared(z[0]) / 2
            )
        ),
    ),
    (
        "reconstruction_without_half_the_noise",
        "Your reconstruction holds ‖z_T‖², which wants a ½.",
        bound(
            reconstruction=lambda snr, z, x: (
                dimensions(x) / 2 * (2 * math.pi / snr[-1]).log() + squared(z[-1])
            )
        ),
    ),
    (
        "reconstruction_without_a_half_of_log",
        "Your reconstruction counts log(2π / SNR) twice: its factor is ½ D.",
        bound(
            reconstruction=lambda snr, z, x: (
                dimensions(x) * (2 * math.pi / snr[-1]).log() + squared(z[-1]) / 2
            )
        ),
    ),
    (
        "reconstruction_of_the_first_level",
        "Your reconstruction holds the SNR of the first level. It belongs to the last one, t_T.",
        bound(
            reconstruction=lambda snr, z, x: (
                dimensions(x) / 2 * (2 * math.pi / snr[0]).log() + squared(z[-1]) / 2
            )
        ),
    ),
    (
        "log_density_instead_of_its_negative",
        "Your reconstruction is log p(x | x_t). The bound is one of −log p(x): its negative.",
        bound(
            reconstruction=lambda snr, z, x: (
                -dimensions(x) / 2 * (2 * math.pi / snr[-1]).log() - squared(z[-1]) / 2
            )
        ),
    ),
)


right = Parts()


@mistake(
    BOUND,
    "Your prior term is 0. What is left of the data at t_0 costs ½ SNR(t_0) ‖x‖².",
    sure=True,
)
def no_prior(model, x, z, times, process, target):
    prior, steps, rest = right(model, x, z, times, process, target)
    return 0 * prior, steps, rest


@mistake(
    BOUND,
    "Your prior term is the whole KL(N(a x, b² I) ‖ N(0, I)). Here the prior is N(0, b² I), and "
    "½ SNR(t_0) ‖x‖² is all there is.",
)
def prior_against_a_standard_normal(model, x, z, times, process, target):
    _, steps, rest = right(model, x, z, times, process, target)
    t = levels_of(x, times)[:1]
    a, b = process.a(t), process.b(t)
    prior = a**2 / 2 * squared(x) + dimensions(x) / 2 * (b**2 - 1 - (b**2).log())
    return prior, steps, rest


@mistake(
    BOUND,
    "Your prior term is ½ a² ‖x‖²: it lacks the division by b², which is below 1 at t_0.",
)
def prior_without_b(model, x, z, times, process, target):
    _, steps, rest = right(model, x, z, times, process, target)
    return process.a(levels_of(x, times)[0]) ** 2 / 2 * squared(x), steps, rest


@mistake(BOUND, "Your steps come from the last level to the first: row 0 is the step from t_0.")
def rows_in_reverse(model, x, z, times, process, target):
    prior, steps, rest = right(model, x, z, times, process, target)
    return prior, steps.flip(0), rest


@mistake(BOUND, "Your steps are added up. A row for each of them is wanted.")
def steps_summed(model, x, z, times, process, target):
    prior, steps, rest = right(model, x, z, times, process, target)
    return prior, steps.sum(0), rest


@mistake(BOUND, "Your steps have examples as rows. Steps are the first axis, examples the second.")
def steps_turned(model, x, z, times, process, target):
    prior, steps, rest = right(model, x, z, times, process, target)
    return prior, steps.T, rest


@mistake(BOUND, "You return the sum of all terms. The three of them are wanted, one by one.")
def only_the_sum(model, x, z, times, process, target):
    prior, steps, rest = right(model, x, z, times, process, target)
    return prior + steps.sum(0) + rest


@mistake(BOUND, "Your three terms come in another order: (prior, steps, reconstruction).")
def another_order(model, x, z, times, process, target):
    prior, steps, rest = right(model, x, z, times, process, target)
    return prior, rest, steps


@mistake(
    BOUND,
    "Your terms are divided by the number of dimensions. The bound is in nats for an example.",
)
def nats_for_a_dimension(model, x, z, times, process, target):
    return tuple(part / dimensions(x) for part in right(model, x, z, times, process, target))


@mistake(BOUND, "Your terms are in bits, with log 2 for a unit. Nats are wanted.")
def in_bits(model, x, z, times, process, target):
    return tuple(part / math.log(2) for part in right(model, x, z, times, process, target))


@mistake(
    BOUND,
    "Your steps have no graph, so nothing can be learned from the bound: leave out no_grad and "
    "detach.",
    sure=True,
)
def without_a_graph(model, x, z, times, process, target):
    with torch.no_grad():
        return right(model, x, z, times, process, target)


@mistake(
    BOUND,
    "You make one more step, from the last level: there are T of them, from t_0, …, t_{T−1}.",
)
def a_step_too_many(model, x, z, times, process, target):
    prior, steps, rest = right(model, x, z, times, process, target)
    t = levels_of(x, times)[-1].expand(len(x))
    x_t, _ = noise(x, z[-1], t, process, target)
    x_hat, _ = to_x_and_noise(model(x_t, t), x_t, t, process, target)
    snr = right.snr(process, t)
    return prior, torch.cat([steps, (snr / 2 * squared(x - x_hat))[None]]), rest


@mistake(
    BOUND,
    "Your model is asked at the level after: step i is asked at t_i, the noisier end.",
)
def asked_at_the_next_level(model, x, z, times, process, target):
    levels, (prior, _, rest) = levels_of(x, times), right(model, x, z, times, process, target)
    snr, steps = right.snr(process, levels), []
    for i, t in enumerate(levels[1:]):
        t = t.expand(len(x))
        x_t, _ = noise(x, z[i + 1], t, process, target)
        x_hat, _ = to_x_and_noise(model(x_t, t), x_t, t, process, target)
        steps.append(right.weight(snr, i) * squared(x - x_hat))
    return prior, torch.stack(steps), rest


@mistake(
    BOUND,
    "You weigh ‖z − ẑ‖² by SNR(t_{i+1}) / SNR(t_i) − 1, which is not finite at a = 0. "
    "½ (SNR(t_{i+1}) − SNR(t_i)) ‖x − x̂‖² holds there, too.",
    sure=True,
)
def by_the_noise(model, x, z, times, process, target):
    levels, (prior, _, rest) = levels_of(x, times), right(model, x, z, times, process, target)
    snr, steps = right.snr(process, levels), []
    for i, t in enumerate(levels[:-1]):
        t = t.expand(len(x))
        x_t, _ = noise(x, z[i], t, process, target)
        _, z_hat = to_x_and_noise(model(x_t, t), x_t, t, process, target)
        steps.append((snr[i + 1] / snr[i] - 1) / 2 * squared(z[i] - z_hat))
    return prior, torch.stack(steps), rest


@mistake(BOUND, "Your levels are a number for the model. It wants a tensor: one for each example.")
def one_level_for_the_batch(model, x, z, times, process, target):
    return right(lambda x_t, t: model(x_t, t[0]), x, z, times, process, target)


@mistake(BOUND, "Your results are in float32 whatever x is: make levels in the precision of x.")
def always_single(model, x, z, times, process, target):
    return tuple(part.float() for part in right(model, x, z, times, process, target))


# --- diffusion_likelihood.log_likelihood --------------------------------------------------------


class Walk:
    """What log p(x) is made of, each part of which a mistake may replace."""

    def velocity(self, model, x_t, t, process, target):
        return ode_velocity(model(x_t, t), x_t, t, process, target)

    def probes(self, x, probes, generator):
        """Every e: unit vectors if there are no probes."""
        if not probes:
            D = dimensions(x)
            unit = torch.eye(D, dtype=x.dtype).reshape(D, 1, *x.shape[1:])
            return unit.expand(D, *x.shape)
        shape = (probes, *x.shape)
        return 2.0 * torch.randint(0, 2, shape, generator=generator).to(x.dtype) - 1

    def rate(self, v, x_t, one):
        found = torch.autograd.grad(v, x_t, one, retain_graph=True)[0]
        return (found * one).reshape(len(x_t), -1).sum(1)

    def levels(self, times):
        """Pairs of levels, in the order of the walk."""
        times = falling(times)
        return zip(times[:0:-1], times[-2::-1], strict=True)

    def step(self, slope, x, integral, t, t_next):
        return runge_kutta(slope, x, integral, t, t_next)

    def prior(self, x, b):
        D = dimensions(x)
        return -D / 2 * (2 * math.pi * b**2).log() - squared(x) / (2 * b**2)

    def total(self, prior, integral):
        return prior + integral

    def error(self, integral, probes):
        return integral.std(0) / probes**0.5

    def __call__(self, model, x, times, process, target, probes=0, generator=None):
        e = self.probes(x, probes, generator)

        def slope(x_t, t):
            with torch.enable_grad():
                x_t = x_t.detach().requires_grad_()
                level = torch.full((len(x_t),), t, dtype=x_t.dtype)
                v = self.velocity(model, x_t, level, process, target)
                rates = torch.stack([self.rate(v, x_t, one) for one in e])
            return v.detach(), rates.detach()

        x_t, integral = x.detach(), torch.zeros(e.shape[:2], dtype=x.dtype)
        for t, t_next in self.levels(times):
            x_t, integral = self.step(slope, x_t, integral, t, t_next)
        b = process.b(torch.full((len(x),), float(times[0]), dtype=x.dtype))
        prior = self.prior(x_t, b)
        if not probes:
            return self.total(prior, integral.sum(0)), torch.zeros_like(prior)
        return self.total(prior, integral.mean(0)), self.error(integral, probes)


def walk(**replaced):
    """The walk with some of its parts replaced."""
    own = Walk()
    vars(own).update(replaced)

    def log_likelihood(model, x, times, process, target, probes=0, generator=None):
        return own(model, x, times, process, target, probes, generator)

    return log_likelihood


def sloppy_rate(v, x_t, one):
    """eᵀ J without the last product."""
    found = torch.autograd.grad(v, x_t, one, retain_graph=True)[0]
    return found.reshape(len(x_t), -1).sum(1)


def euler(slope, x, integral, t, t_next):
    v, rate = slope(x, t)
    return x + (t_next - t) * v, integral + (t_next - t) * rate


def midpoint(slope, x, integral, t, t_next):
    h = t_next - t
    v, _ = slope(x, t)
    v, rate = slope(x + h / 2 * v, t + h / 2)
    return x + h * v, integral + h * rate


def divergence_of_the_beginning(slope, x, integral, t, t_next):
    """runge_kutta for x, the rate of its first stage for the integral."""
    _, rate = slope(x, t)
    x, _ = runge_kutta(slope, x, integral, t, t_next)
    return x, integral + (t_next - t) * rate


def gaussian(x, probes, generator):
    if not probes:
        return Walk().probes(x, 0, None)
    return torch.randn((probes, *x.shape), generator=generator, dtype=x.dtype)


def uniform(x, probes, generator):
    if not probes:
        return Walk().probes(x, 0, None)
    return 2 * torch.rand((probes, *x.shape), generator=generator, dtype=x.dtype) - 1


def zeros_and_ones(x, probes, generator):
    e = Walk().probes(x, probes, generator)
    return (e + 1) / 2 if probes else e


def all_ones(x, probes, generator):
    e = Walk().probes(x, probes, generator)
    return torch.ones_like(e) if probes else e


def one_for_the_batch(x, probes, generator):
    if not probes:
        return Walk().probes(x, 0, None)
    return Walk().probes(x[:1], probes, generator).expand(probes, *x.shape)


def one_number_an_example(x, probes, generator):
    if not probes:
        return Walk().probes(x, 0, None)
    signs = Walk().probes(x.reshape(len(x), -1)[:, 0], probes, generator)
    return signs.reshape(probes, len(x), *[1] * (x.dim() - 1)).expand(probes, *x.shape)


def opposite_pairs(x, probes, generator):
    if not probes:
        return Walk().probes(x, 0, None)
    half = Walk().probes(x, (probes + 1) // 2, generator)
    return torch.cat([half, -half])[:probes]


def first_unit(x, probes, generator):
    e = Walk().probes(x, probes, generator)
    return e if probes else e[:1]


def of_a_copy(x, probes, generator):
    return Walk().probes(x, probes, generator and generator.clone_state())


def of_the_own_generator(x, probes, generator):
    return Walk().probes(x, probes, None)


of_the_walk = several(
    EXACT,
    (
        "divergence_subtracted",
        "You subtract the integral of the divergence. Where the flow spreads (div v > 0) on its "
        "way to noise, the data were denser than the noise: it is added.",
        walk(total=lambda prior, integral: prior - integral),
    ),
    (
        "no_divergence",
        "You leave the divergence out: the density also changes because the flow spreads or "
        "contracts.",
        walk(total=lambda prior, integral: prior),
    ),
    (
        "no_prior_density",
        "You leave log N(x_{t_0}; 0, b(t_0)² I) out: it is the density where the walk ends.",
        walk(total=lambda prior, integral: integral),
    ),
    (
        "one_diagonal_entry",
        "Your divergence is ∂v_1/∂x_1 alone. It is the sum over all dimensions, one gradient each.",
        walk(probes=first_unit),
    ),
    (
        "sum_of_all_entries",
        "Your gradient of v_i is summed over all x_j. The divergence wants ∂v_i/∂x_i only, and a "
        "probe eᵀ (∂v/∂x) e: multiply by e once more.",
        walk(rate=sloppy_rate),
    ),
    (
        "model_instead_of_the_velocity",
        "You follow the model's answer. It is a prediction of the target: `ode_velocity` makes a "
        "velocity of it.",
        walk(velocity=lambda model, x_t, t, process, target: model(x_t, t)),
    ),
    (
        "velocity_turned",
        "Your velocity has the other sign. On the way up from the data, dx/dt = +v.",
        walk(
            velocity=lambda model, x_t, t, process, target: (
                -ode_velocity(model(x_t, t), x_t, t, process, target)
            )
        ),
    ),
    (
        "prior_of_variance_one",
        "You end with N(0, I). At t_0 the noise has the standard deviation b(t_0).",
        walk(prior=lambda x, b: Walk().prior(x, torch.ones_like(b))),
    ),
    (
        "b_for_a_variance",
        "You take b(t_0) for the variance of the noise. It is its standard deviation: b(t_0)².",
        walk(prior=lambda x, b: Walk().prior(x, b.sqrt())),
    ),
    (
        "prior_without_its_scale",
        "Your log N lacks −D log b(t_0): only the square is divided by b².",
        walk(
            prior=lambda x, b: -dimensions(x) / 2 * math.log(2 * math.pi) - squared(x) / (2 * b**2)
        ),
    ),
    (
        "prior_without_two_pi",
        "Your log N lacks −½ D log 2π.",
        walk(prior=lambda x, b: -dimensions(x) * b.log() - squared(x) / (2 * b**2)),
    ),
    (
        "prior_of_one_dimension",
        "Your log N counts ½ log(2π b²) once. It comes once for each of the D dimensions.",
        walk(prior=lambda x, b: -((2 * math.pi * b**2).log()) / 2 - squared(x) / (2 * b**2)),
    ),
    (
        "prior_without_a_half",
        "Your log N holds ‖x‖² / b², which wants a ½.",
        walk(
            prior=lambda x, b: -dimensions(x) / 2 * (2 * math.pi * b**2).log() - squared(x) / b**2
        ),
    ),
    (
        "prior_as_a_mean",
        "Your log N holds the mean square of x over dimensions. ‖x‖² is a sum.",
        walk(
            prior=lambda x, b: (
                -dimensions(x) / 2 * (2 * math.pi * b**2).log() - mean_square(x) / (2 * b**2)
            )
        ),
    ),
    (
        "euler_steps",
        "Your steps are Euler's. `runge_kutta`, given, is of order 4.",
        walk(step=euler),
    ),
    (
        "midpoint_steps",
        "Your steps are those of the midpoint rule. `runge_kutta`, given, is of order 4.",
        walk(step=midpoint),
    ),
    (
        "divergence_where_a_step_begins",
        "Your divergence is that of the beginning of each step. Let `runge_kutta` carry the "
        "integral along with x: its slope returns both.",
        walk(step=divergence_of_the_beginning),
    ),
    (
        "a_gap_left_out",
        "You leave out the first gap. The walk starts at the last level, where the data are.",
        walk(levels=lambda times: [*Walk().levels(times)][1:]),
    ),
    (
        "last_gap_left_out",
        "Your walk stops before t_0: there is a step for each gap.",
        walk(levels=lambda times: [*Walk().levels(times)][:-1]),
    ),
    (
        "from_noise_to_data",
        "You walk from t_0 down to t_T. The data are at the last level: from there up to t_0.",
        walk(levels=lambda times: [(t, s) for s, t in [*Walk().levels(times)][::-1]]),
    ),
    (
        "one_step_for_the_whole_way",
        "You make one step from the last level to the first. Each gap has its own.",
        walk(levels=lambda times: [(float(times[-1]), float(times[0]))]),
    ),
    (
        "gaussian_probes",
        "Your probes are Gaussian. Every e_i has to be ±1, which makes the estimate's spread "
        "smaller.",
        walk(probes=gaussian),
    ),
    (
        "uniform_probes",
        "Your probes are uniform on [−1, 1], so that E[e_i²] is ⅓. Every e_i has to be ±1.",
        walk(probes=uniform),
    ),
    (
        "probes_of_zero_and_one",
        "Your probes are 0 or 1. Every e_i has to be ±1, so that E[e_i e_j] = 0 for i ≠ j.",
        walk(probes=zeros_and_ones),
    ),
    (
        "probes_all_one",
        "All e_i of an example have one sign, so that e_i e_j = 1 always, and eᵀ (∂v/∂x) e is the "
        "sum of all entries. Draw each e_i by itself.",
        walk(probes=all_ones),
    ),
    (
        "one_probe_for_the_batch",
        "Your probes are the same for all examples. Draw e in the shape of the whole batch.",
        walk(probes=one_for_the_batch),
    ),
    (
        "one_sign_an_example",
        "All e_i of an example have one sign, so that e_i e_j = 1 always, and eᵀ (∂v/∂x) e is the "
        "sum of all entries. Draw each e_i by itself.",
        walk(probes=one_number_an_example),
    ),
    (
        "probes_in_opposite_pairs",
        "Your probes come in pairs e and −e, which give one estimate twice. Draw each e by itself.",
        walk(probes=opposite_pairs),
    ),
    (
        "generator_not_used",
        "Your e does not come from the generator: pass generator=generator where you draw.",
        walk(probes=of_the_own_generator),
    ),
    (
        "generator_copied",
        "Your e comes from a copy of the generator, so the next call gets the same ones: draw from "
        "it.",
        walk(probes=of_a_copy),
    ),
    (
        "standard_deviation_for_the_error",
        "Your error is the standard deviation of one estimate. That of the mean of n is 1/√n of "
        "it.",
        walk(error=lambda integral, probes: integral.std(0)),
    ),
    (
        "variance_for_the_error",
        "Your error is a variance. It has to be a standard error: its square root.",
        walk(error=lambda integral, probes: integral.var(0) / probes),
    ),
    (
        "error_divided_by_n",
        "Your error is the standard deviation over n. That of a mean is 1/√n of it.",
        walk(error=lambda integral, probes: integral.std(0) / probes),
    ),
    (
        "error_by_n",
        "Your standard deviation divides by n. It is that of few estimates about their own mean: "
        "divide by n − 1.",
        walk(error=lambda integral, probes: integral.std(0, correction=0) / probes**0.5),
    ),
)


def slopes_drawing(draw, rate, model, process, target):
    """A slope that draws its probes anew at every call."""

    def slope(x_t, t):
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            level = torch.full((len(x_t),), t, dtype=x_t.dtype)
            v = ode_velocity(model(x_t, level), x_t, level, process, target)
            rates = torch.stack([rate(v, x_t, one) for one in draw()])
        return v.detach(), rates.detach()

    return slope


@mistake(
    EXACT,
    "Your e is drawn anew within the way. One e is kept for all of it: then each probe is one "
    "estimate, and Runge–Kutta's stages belong together.",
)
def probes_drawn_at_every_stage(model, x, times, process, target, probes=0, generator=None):
    own = Walk()
    if not probes:
        return own(model, x, times, process, target)
    slope = slopes_drawing(
        lambda: own.probes(x, probes, generator), own.rate, model, process, target
    )
    x_t, integral = x.detach(), torch.zeros((probes, len(x)), dtype=x.dtype)
    for t, t_next in own.levels(times):
        x_t, integral = runge_kutta(slope, x_t, integral, t, t_next)
    b = process.b(torch.full((len(x),), float(times[0]), dtype=x.dtype))
    return own.prior(x_t, b) + integral.mean(0), own.error(integral, probes)


@mistake(
    EXACT,
    "Your probes are not looked at: the divergence is exact and the error 0 whatever `probes` "
    "says. For many dimensions that takes too long.",
)
def always_exact(model, x, times, process, target, probes=0, generator=None):
    return Walk()(model, x, times, process, target)


@mistake(
    EXACT,
    "You estimate with one probe, and leave the others out: n of them are asked for.",
)
def one_probe(model, x, times, process, target, probes=0, generator=None):
    log_p, error = Walk()(model, x, times, process, target, probes and 1, generator)
    return log_p, torch.zeros_like(log_p) if probes else error


@mistake(
    EXACT,
    "Your error is 0 for probes too. There it is the standard error of their mean.",
    sure=True,
)
def no_error(model, x, times, process, target, probes=0, generator=None):
    log_p, error = Walk()(model, x, times, process, target, probes, generator)
    return log_p, 0 * error


@mistake(
    EXACT,
    "Your results carry a graph back to x or into the model. Detach what each stage returns.",
    sure=True,
)
def with_a_graph(model, x, times, process, target, probes=0, generator=None):
    own = Walk()
    with torch.enable_grad():
        log_p, error = own(model, x, times, process, target, probes, generator)
        level = torch.full((len(x),), float(times[0]), dtype=x.dtype)
        return log_p + 0 * squared(model(x, level)), error


@mistake(
    EXACT,
    "You use backward(), which adds to the gradients of the weights. torch.autograd.grad(v, x_t, "
    "e) leaves them alone.",
    sure=True,
)
def by_backward(model, x, times, process, target, probes=0, generator=None):
    def rate(v, x_t, one):
        x_t.grad = None
        v.backward(one, retain_graph=True)
        return (x_t.grad * one).reshape(len(x_t), -1).sum(1)

    return walk(rate=rate)(model, x, times, process, target, probes, generator)


@mistake(
    EXACT,
    "Your gradients fail where they are switched off: take them under torch.enable_grad().",
    sure=True,
)
def gradients_not_switched_on(model, x, times, process, target, probes=0, generator=None):
    if not torch.is_grad_enabled():
        raise RuntimeError("element 0 of tensors does not require grad")
    return Walk()(model, x, times, process, target, probes, generator)


@mistake(EXACT, "You return log p(x) alone. The error belongs to it: `(log_p, error)`.")
def without_the_error(model, x, times, process, target, probes=0, generator=None):
    return Walk()(model, x, times, process, target, probes, generator)[0]


@mistake(EXACT, "You return −log p(x). The log-density itself is wanted.")
def negative(model, x, times, process, target, probes=0, generator=None):
    log_p, error = Walk()(model, x, times, process, target, probes, generator)
    return -log_p, error


@mistake(
    EXACT,
    "Your result is divided by the number of dimensions. log p(x) is that of a whole example.",
)
def for_a_dimension(model, x, times, process, target, probes=0, generator=None):
    log_p, error = Walk()(model, x, times, process, target, probes, generator)
    return log_p / dimensions(x), error / dimensions(x)


@mistake(EXACT, "Your result is in bits, with log 2 for a unit. Nats are wanted.")
def log_p_in_bits(model, x, times, process, target, probes=0, generator=None):
    log_p, error = Walk()(model, x, times, process, target, probes, generator)
    return log_p / math.log(2), error / math.log(2)


@mistake(EXACT, "Your result is the mean over the batch. Each example has a density of its own.")
def mean_over_examples(model, x, times, process, target, probes=0, generator=None):
    log_p, error = Walk()(model, x, times, process, target, probes, generator)
    return log_p.mean().expand(len(x)).clone(), error.mean().expand(len(x)).clone()


@mistake(
    EXACT,
    "Your log p is never above 0. A density may be above 1: nothing is to be clamped.",
    sure=True,
)
def never_above_0(model, x, times, process, target, probes=0, generator=None):
    log_p, error = Walk()(model, x, times, process, target, probes, generator)
    return log_p.clamp(max=0), error


@mistake(EXACT, "Your results are in float32 whatever x is: keep to the precision of x.")
def log_p_in_float32(model, x, times, process, target, probes=0, generator=None):
    log_p, error = Walk()(model, x, times, process, target, probes, generator)
    return log_p.float(), error.float()


@mistake(
    EXACT,
    "Your levels are a number for the model. It wants a tensor: one for each example.",
    sure=True,
)
def a_number_for_the_level(model, x, times, process, target, probes=0, generator=None):
    return Walk()(lambda x_t, t: model(x_t, t[0]), x, times, process, target, probes, generator)
