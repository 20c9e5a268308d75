"""Velocity fields with known answers, for tests to pass as models."""

import contextlib
import inspect
from collections.abc import Callable, Sequence
from typing import ClassVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InUse:
    """What a network is in the middle of a training: gradients lie in its weights."""

    def put_to_use(self) -> None:
        """In evaluation mode, between the backward pass and the step of an optimizer."""
        self.eval()
        self.with_gradients()

    def with_gradients(self) -> None:
        """Between the backward pass and the step of an optimizer, in the mode that it is in."""
        for p in self.parameters():
            p.grad = torch.ones_like(p)


class Recorder:
    """A model that remembers every call: what a sampler asked for.

    Args:
        field: `field(x_t, t, y)`, t shaped to multiply x_t.
    """

    on_call: ClassVar[Callable[[tuple], None] | None] = None  # is told what each call asks

    def __init__(self, field: Callable[[Tensor, Tensor, Tensor | None], Tensor]):
        self.field = field
        self.inputs: list[Tensor] = []
        self.times: list = []
        self.conditions: list[Tensor | None] = []

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        self.inputs.append(x_t.detach().clone())
        self.times.append(t.clone() if isinstance(t, Tensor) else t)  # it may be filled anew
        self.conditions.append(y.clone() if isinstance(y, Tensor) else y)
        if Recorder.on_call:
            Recorder.on_call((self.inputs[-1], self.times[-1], self.conditions[-1]))
        if isinstance(t, Tensor) and t.dim() == 1:
            t = t.to(x_t.dtype).reshape(-1, *[1] * (x_t.dim() - 1))
        return self.field(x_t, t, y)

    def levels(self) -> Tensor:
        """The level of every call; of a call with several, the first."""
        return torch.stack(
            [torch.as_tensor(t, dtype=torch.float64).flatten()[0] for t in self.times]
        )


def constant(c: float) -> Recorder:
    """v = c everywhere: one step is exact."""
    return Recorder(lambda x, t, y: torch.full_like(x, c))


def linear(a: float) -> Recorder:
    """v = a x: T Euler steps multiply by (1 − a/T)^T, the exact flow by exp(−a)."""
    return Recorder(lambda x, t, y: a * x)


def ramp(c: float) -> Recorder:
    """v = c t: the exact flow moves by −c/2, T Euler steps by −c (T + 1)/(2 T)."""
    return Recorder(lambda x, t, y: c * t + torch.zeros_like(x))


def by_label() -> Recorder:
    """v = y + t x: tells whether the condition arrives."""
    return Recorder(lambda x, t, y: y.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1)) + t * x)


class LinearField(InUse, nn.Module):
    """A trainable field v = W x_t + t u + c_y that remembers what it was asked, made by
    `student.new`."""

    def __init__(self, dim: int = 2, classes: int = 0):
        super().__init__()
        self.W = nn.Parameter(torch.zeros(dim, dim))
        self.u = nn.Parameter(torch.zeros(dim))
        self.c = nn.Parameter(torch.zeros(max(1, classes), dim))
        self.classes = classes
        self.inputs: list[Tensor] = []
        self.times: list[Tensor] = []
        self.conditions: list[Tensor | None] = []

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        self.inputs.append(x_t.detach().clone())
        self.times.append(t.detach().clone())
        self.conditions.append(None if y is None else y.clone())
        shift = (
            self.c[0]
            if not self.classes
            else self.c[torch.zeros_like(t).long() if y is None else y]
        )
        return x_t @ self.W.T + t[:, None] * self.u + shift


class AnyShape(nn.Module):
    """A trainable field v = a x_t + b t + c for examples of any shape, that remembers what it was
    asked and in which mode, made by `student.new`."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.zeros(())) for _ in range(3))
        self.inputs: list[Tensor] = []
        self.times: list[Tensor] = []
        self.modes: list[bool] = []

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.inputs.append(x_t.detach().clone())
        self.times.append(t.detach().clone())
        self.modes.append(self.training)
        return self.a * x_t + self.b * t.reshape(-1, *[1] * (x_t.dim() - 1)) + self.c


class AnyCondition(InUse, nn.Module):
    """A trainable field v = a x_t + b t + c (1 + mean of y) for examples and conditions of any
    shape, that remembers what it was asked and whether gradients were recorded, made by
    `student.new`."""

    def __init__(self, a: float = 0.5, b: float = -1.0, c: float = 2.0):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.tensor(v)) for v in (a, b, c))
        self.inputs: list[Tensor] = []
        self.times: list[Tensor] = []
        self.recorded: list[bool] = []

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        self.inputs.append(x_t.detach().clone())
        self.times.append(t.detach().clone())
        self.recorded.append(torch.is_grad_enabled())
        told = torch.zeros_like(t) if y is None else y.to(x_t.dtype).reshape(len(t), -1).mean(1)
        level, told = (v.reshape(-1, *[1] * (x_t.dim() - 1)) for v in (t, told))
        return self.a * x_t + self.b * level + self.c * (1 + told)


class Features(InUse, nn.Module):
    """Features of examples of any shape in two layers, h = A x + t u + m(y) c and B h, that
    remember what they were asked, made by `student.new`. In training mode they are twice as large.

    Args:
        A, B: matrices, whose precision they work in; a row of A is as long as an example.
        bend: whether h is bent by a sine.
        trained: whether the weights take gradients.
    """

    def __init__(self, A: Tensor, B: Tensor, bend: bool = True, trained: bool = True):
        super().__init__()
        self.A, self.B = nn.Parameter(A.clone()), nn.Parameter(B.clone())
        self.u, self.c = nn.Parameter(A.sum(1)), nn.Parameter(A[:, 0].clone())
        self.bend = bend
        self.requires_grad_(trained)
        self.inputs: list[Tensor] = []
        self.times: list[Tensor | None] = []
        self.conditions: list[Tensor | None] = []

    def forward(self, x: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor]:
        # What is not given is left out: networks of images know neither levels nor conditions.
        if any(given is None for given in noise):
            raise TypeError(f"features got None, in {1 + len(noise)} arguments: leave it out")
        t, y = (*noise, None, None)[:2]
        self.inputs.append(x.detach().clone())
        self.times.append(None if t is None else t.detach().clone())
        self.conditions.append(None if y is None else y.clone())
        h = x.reshape(len(x), -1) @ self.A.T
        if t is not None:
            h = h + t[:, None] * self.u
        if y is not None:
            h = h + (1 + y.to(x.dtype).reshape(len(y), -1)).square().mean(1)[:, None] / 7 * self.c
        h = (1 + self.training) * (h.sin() if self.bend else h)
        return h, h @ self.B.T


class Heads(InUse, nn.Module):
    """Logits from two layers of features, V h + W B h + b, made by `student.new`. In training mode
    they are three times as large.

    Args:
        V, W: matrices, whose precision they work in, with a row for each logit of an example.
        b: what is added to every logit.
        shape: of the logits of a batch, with -1 for what follows; (batch, logits) if empty.
        trained: whether the weights take gradients.
    """

    def __init__(
        self, V: Tensor, W: Tensor, b: float, shape: Sequence[int] = (), trained: bool = True
    ):
        super().__init__()
        self.V, self.W = nn.Parameter(V.clone()), nn.Parameter(W.clone())
        self.b = nn.Parameter(torch.tensor(b, dtype=V.dtype))
        self.shape = [*shape]
        self.requires_grad_(trained)

    def forward(self, features: tuple[Tensor, Tensor]) -> Tensor:
        first, second = features
        logits = (1 + 2 * self.training) * (first @ self.V.T + second @ self.W.T + self.b)
        return logits.reshape(self.shape) if self.shape else logits


class Player(nn.Module):
    """A generator or a discriminator, x ↦ W x + b, that remembers its inputs, made by
    `student.new`."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.W = nn.Parameter(torch.zeros(outputs, inputs))
        self.b = nn.Parameter(torch.zeros(outputs))
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x.detach().clone())
        return x @ self.W.T + self.b

    def gradients(self) -> list[Tensor | None]:
        """What was left in the gradients of W and b."""
        return [None if p.grad is None else p.grad.clone() for p in (self.W, self.b)]

    def frozen(self) -> bool:
        """Whether a weight takes no gradient any more."""
        return not all(p.requires_grad for p in self.parameters())


class NoisyClassifier(InUse, nn.Module):
    """The exact classifier of x_t = (1 − t) x + t z, where class y is N(mean_y, std² I) and each is
    as likely, made by `student.new`. Answers with logits that have a constant added.

    Args:
        means: one for each class, the numbers of an example (of an image too) in a row.
    """

    def __init__(self, means: list[list[float]], std: float):
        super().__init__()
        self.means = nn.Buffer(torch.tensor(means, dtype=torch.float64))
        self.scale = nn.Parameter(torch.ones(()))
        self.std = std

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        a = (1 - t)[:, None, None]
        variance = ((1 - t) * self.std) ** 2 + t**2
        x = x_t.reshape(len(x_t), 1, -1)
        squares = (x - a * self.means.to(x_t.dtype)).square().sum(-1)
        return 3 - self.scale * squares / (2 * variance[:, None])


class TwoBumps(InUse, nn.Module):
    """What the perfect net answers for data from ½ N(m, s² I) + ½ N(−m, s² I), of any shape, made
    by `student.new`. Noise makes of it ½ N(a m, v I) + ½ N(−a m, v I), v = a² s² + b².

    Args:
        m: shaped like an example.
        s: a standard deviation, above 0.
        process, target: what the net was trained for: functions a, b and c, d.
    """

    def __init__(self, m: Tensor, s: float, process: object, target: object):
        super().__init__()
        self.m, self.scale = nn.Buffer(m.double()), nn.Parameter(torch.ones(()))
        self.s, self.process, self.target = s, process, target

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        level = t.reshape(-1, *[1] * (x_t.dim() - 1))
        a, b = self.process.a(level), self.process.b(level)
        m, v = self.m.to(x_t.dtype), (a * self.s) ** 2 + b**2
        along = (m * x_t).flatten(1).sum(1) if x_t.dim() > 1 else m * x_t
        which = m * torch.tanh(a * along.reshape(level.shape) / v)  # ±m where it is clear
        x, z = (a * self.s**2 * x_t + b**2 * which) / v, b * (x_t - a * which) / v
        return self.scale * (self.target.c(level) * x + self.target.d(level) * z)


class CurvedProcess:
    """a = A (1 − t)(1 + k t) and b = B t (1 + m t), made by `student.new`: where a student's code
    takes derivatives by t, functions of the test's own cannot follow."""

    def __init__(self, A: float, B: float, k: float, m: float):
        self.A, self.B, self.k, self.m = A, B, k, m

    def a(self, t: Tensor) -> Tensor:
        return self.A * (1 - t) * (1 + self.k * t)

    def b(self, t: Tensor) -> Tensor:
        return self.B * t * (1 + self.m * t)

    def da(self, t: Tensor) -> Tensor:
        return self.A * (self.k - 1 - 2 * self.k * t)

    def db(self, t: Tensor) -> Tensor:
        return self.B * (1 + 2 * self.m * t)


class CurvedTarget:
    """c = −c0 − c1 t and d = d0 + d1 t², likewise."""

    def __init__(self, c0: float, c1: float, d0: float, d1: float):
        self.c0, self.c1, self.d0, self.d1 = c0, c1, d0, d1

    def c(self, t: Tensor) -> Tensor:
        return -self.c0 - self.c1 * t

    def d(self, t: Tensor) -> Tensor:
        return self.d0 + self.d1 * t * t


class Wavy(InUse, nn.Module):
    """A trainable model in float64 of examples of any shape, not linear in anything, in which every
    number depends on its whole example, made by `student.new`.

    Args:
        levels: 1 for `model(x_t, t)`, 2 for `model(x_t, t, s)`; a condition may follow.
    """

    def __init__(self, levels: int = 1):
        super().__init__()
        self.levels, self.calls, self.told = levels, 0, 0
        self.w = nn.Parameter(torch.zeros(8, dtype=torch.float64))

    def forward(self, x_t: Tensor, *more: Tensor) -> Tensor:
        if not self.levels <= len(more) <= self.levels + 1:
            raise TypeError(f"this model takes x_t, {self.levels} level(s), and perhaps y")
        self.calls += 1
        self.told += len(more) > self.levels
        w, shape = self.w.to(x_t.dtype), (-1, *[1] * (x_t.dim() - 1))
        t, *rest = (v.to(x_t.dtype) for v in more)
        s = rest.pop(0).reshape(shape) if self.levels == 2 else 0.0
        y = rest[0].reshape(len(x_t), -1).sum(1).reshape(shape) if rest else 0.0
        t, mean = t.reshape(shape), x_t.reshape(len(x_t), -1).mean(1).reshape(shape)
        wave = w[0] * (w[1] * x_t + w[2] * t + w[3] * s + w[7] * y).sin()
        return wave + w[4] * x_t * mean + w[5] * t * t * x_t + w[6] * (s - t * s * s) + w[7] * y


class GaussianJump(nn.Module):
    """The F whose consistency function is exact, for data of class y from N(mean_y, S² I), made by
    `student.new`: a path keeps (x_t − a mean) / √(a² S² + b²), which is (x − mean) / S at its end.

    Args:
        means: one for each class, each shaped like an example.
        S: the standard deviation.
        process, target: functions a, b and c, d, with b = 0 at t = 0; asked for at t > 0 only.
    """

    def __init__(self, means: Tensor, S: float, process: object, target: object):
        super().__init__()
        self.means, self.S = nn.Buffer(means), S
        self.process, self.target = process, target

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        of = (self.process.a, self.process.b, self.target.c, self.target.d)
        a, b, c, d = (f(t).reshape(-1, *[1] * (x_t.dim() - 1)) for f in of)
        mean = self.means[torch.zeros_like(t).long() if y is None else y].to(x_t.dtype)
        end = mean + self.S * (x_t - a * mean) / (a**2 * self.S**2 + b**2).sqrt()
        return (d * x_t - (a * d - b * c) * end) / b


class GaussianMean(nn.Module):
    """The exact mean velocity u(x_t, t, s) of rectified flow, for data of class y from
    N(mean_y, S² I), made by `student.new`; for s = t it is the velocity.

    Along a path x_t = (1 − t) mean + σ_t e with σ_t² = (1 − t)² S² + t², and
    (σ_t − σ_s) / (t − s) = ((t + s) − (2 − t − s) S²) / (σ_t + σ_s).
    """

    def __init__(self, means: Tensor, S: float):
        super().__init__()
        self.means, self.S = nn.Buffer(means), S

    def forward(self, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None = None) -> Tensor:
        mean = self.means[torch.zeros_like(t).long() if y is None else y].to(x_t.dtype)
        t, s = (v.reshape(-1, *[1] * (x_t.dim() - 1)) for v in (t, s))
        at_t, at_s = (((1 - v) ** 2 * self.S**2 + v**2).sqrt() for v in (t, s))
        slope = ((t + s) - (2 - t - s) * self.S**2) / (at_t + at_s)
        return -mean + slope * (x_t - (1 - t) * mean) / at_t


class Carried(nn.Module):
    """The mean velocity u(x_t, t, s) of any velocity, by `steps` steps of Runge and Kutta of order
    4, made by `student.new`. Called without s it goes to 0, which makes it the F of an exact
    consistency function of rectified flow."""

    def __init__(self, velocity: nn.Module, steps: int = 32):
        super().__init__()
        self.velocity, self.steps = velocity, steps

    def forward(self, x_t: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        s = torch.zeros_like(t) if s is None else s
        h, x = (s - t) / self.steps, x_t
        step = h.reshape(-1, *[1] * (x_t.dim() - 1))
        for k in range(self.steps):
            at = t + k * h
            one = self.velocity(x, at)
            two = self.velocity(x + step / 2 * one, at + h / 2)
            three = self.velocity(x + step / 2 * two, at + h / 2)
            four = self.velocity(x + step * three, at + h)
            x = x + step / 6 * (one + 2 * two + 2 * three + four)
        return (x_t - x) / (t - s).reshape(step.shape)


class LineAtEachLevel(nn.Module):
    """A velocity whose consistency function is offset[k] + slope[k] x_t at the level t = k / N,
    made by `student.new`: both are weights, of float64."""

    def __init__(self, N: int):
        super().__init__()
        self.N = N
        self.offset = nn.Parameter(torch.zeros(N + 1, dtype=torch.float64))
        self.slope = nn.Parameter(torch.ones(N + 1, dtype=torch.float64))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        k = (t * self.N).round().long()
        shape = (-1, *[1] * (x_t.dim() - 1))
        offset, slope = self.offset[k].reshape(shape), self.slope[k].reshape(shape)
        level = t.reshape(shape)
        return (x_t - offset - slope * x_t) / level.where(level > 0, torch.ones_like(level))


class WithoutGradients:
    """A function called as a sampler calls it, under `torch.no_grad()`, made by `student.new` of
    `student.function(…)`."""

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, *args):
        with torch.no_grad():
            result = self.function(*args)
            if torch.is_grad_enabled():
                raise RuntimeError("gradients are left switched on inside a sampler")
        return result


def holding_gradients(net: nn.Module) -> None:
    """Put gradients into its weights, as they lie there between a backward pass and a step."""
    for p in net.parameters():
        p.grad = torch.ones_like(p)


def shapes(net: nn.Module) -> dict[str, list[int]]:
    """Of its weights, by name. Their first values are drawn, and would tell two answers apart that
    only draw them in another order."""
    return {name: list(w.shape) for name, w in net.state_dict().items()}


def shapes_in_order(net: nn.Module) -> list[list[int]]:
    """Of its weights, whatever their names are."""
    return [*shapes(net).values()]


def fill(net: nn.Module, weights: Sequence[Tensor]) -> None:
    """Put weights into a network in their order, whatever their names are."""
    net.load_state_dict(dict(zip(net.state_dict(), weights, strict=True)))


def put(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put some weights into a network, by name, and leave the others."""
    net.load_state_dict({**net.state_dict(), **weights})


def equal_weights(one: nn.Module, other: nn.Module) -> list[int]:
    """Which matrices and kernels two networks share, as numbers in their order, but for those that
    are 0."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return [n for n, (w, v) in enumerate(pairs) if w.dim() > 1 and w.any() and torch.equal(w, v)]


def weighted(function: Callable, weights: Tensor, *args, **kwargs) -> Tensor:
    """Σ weights · function(…), whose gradients tell every number of the result apart: those of a
    plain sum may be 0 whatever was cut out of the graph. For `student.gradient`, with
    `student.function(…)` or a module."""
    return (weights * function(*args, **kwargs)).sum()


def weighted_tokens(block: Callable, weights: Sequence[Tensor], h: Tensor, *past: Tensor) -> Tensor:
    """As `weighted`, of `h, (k, v) = block(h, past)`: the keys and values before, if there are any,
    are two arguments by themselves, so that gradients can be asked for."""
    h, (k, v) = block(h, past) if past else block(h)
    return sum((w * result).sum() for w, result in zip(weights, (h, k, v), strict=True))


def step_by_step(prior: nn.Module, tokens: Tensor, y: Tensor) -> Tensor:
    """Scores of all tokens as `prior(tokens, y)` gives them, by one step after another. For
    `student.gradient`, which needs the caches between them with their graph."""
    last, cache, found = None, None, []
    for t in range(tokens.shape[1]):
        logits, cache = prior.step(last, y, cache)
        found.append(logits)
        last = tokens[:, t]
    return torch.stack(found, 1)


def two_endings(
    prior: nn.Module, y: Tensor, shared: Tensor, one: Tensor, other: Tensor
) -> list[Tensor]:
    """Scores after each token of two endings, in turn; both go on from one cache.

    Args:
        prior: what is stepped.
        y: labels.
        shared: tokens that both begin with, (batch, n).
        one, other: those that follow, (batch, m) each.
    """
    _, cache = prior.step(None, y)
    for last in shared.unbind(1):
        _, cache = prior.step(last, y, cache)
    found, caches = [], [cache, cache]
    for t in range(one.shape[1]):
        for n, tokens in enumerate((one, other)):
            logits, caches[n] = prior.step(tokens[:, t], y, caches[n])
            found.append(logits)
    return found


def in_inference_mode(function: Callable, *args) -> Tensor:
    """What a function returns where autograd cannot work."""
    with torch.inference_mode():
        result = function(*args)
    return result.clone() if isinstance(result, Tensor) else result


def weighted_both(function: Callable, weights: Sequence[Tensor], *args, **kwargs) -> Tensor:
    """As `weighted`, of a function with several results."""
    pairs = zip(weights, function(*args, **kwargs), strict=True)
    return sum((w * result).sum() for w, result in pairs)


def with_another_attend(function: Callable, more: float, *args) -> tuple[Tensor, int]:
    """What a function would return if `attend`, of its own module or of one that this imports,
    answered with numbers larger by `more`; and how often it was called."""
    calls = 0

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        nonlocal calls
        calls += 1
        scores = q @ k.mT / q.shape[-1] ** 0.5
        return (scores if bias is None else scores + bias).softmax(-1) @ v + more

    own = inspect.unwrap(function).__globals__
    places = [own, *(vars(module) for module in own.values() if inspect.ismodule(module))]
    with contextlib.ExitStack() as stack:
        for names in places:
            if "attend" in names:
                stack.enter_context(mock.patch.dict(names, attend=attend))
        return function(*args), calls


def linear_vae_loss(
    loss: Callable,
    eigenvalues: Tensor,
    kl_weight: float,
    encoder: Tensor,
    log_var: Tensor,
    decoder: Tensor,
) -> Tensor:
    """What a linear VAE costs by a student's loss, exactly: μ = encoder x, x̂ = decoder u.

    Data and draws are replaced by a few points of the same mean and covariance, which is all that
    the expectation of a quadratic depends on.

    Args:
        loss: called as `latent.vae_loss`.
        eigenvalues: of the covariance of the data, whose axes are the pixels.
        kl_weight: as for the loss.
        encoder, decoder: matrices.
        log_var: one for each latent.
    """
    k, m = len(eigenvalues), len(log_var)
    x = torch.diag((k * eigenvalues).sqrt())
    e = m**0.5 * torch.eye(m, dtype=x.dtype)
    x = torch.cat([x, -x]).repeat_interleave(2 * m, dim=0)  # (2k · 2m, k)
    e = torch.cat([e, -e]).repeat(2 * k, 1)
    mean = x @ encoder.T
    u = mean + (0.5 * log_var).exp() * e
    return loss(x, u @ decoder.T, mean, log_var.expand_as(mean), kl_weight)


def trained_linear_vae(
    loss: Callable,
    eigenvalues: Tensor,
    kl_weight: float,
    encoder: Tensor,
    log_var: Tensor,
    decoder: Tensor,
    steps: int = 300,
) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder, log-variances and decoder after `steps` of L-BFGS on `linear_vae_loss`."""
    weights = [w.clone().requires_grad_() for w in (encoder, log_var, decoder)]
    options = {"max_iter": steps, "max_eval": 2 * steps, "line_search_fn": "strong_wolfe"}
    options |= {"tolerance_grad": 1e-10, "tolerance_change": 1e-15}
    optimizer = torch.optim.LBFGS(weights, **options)

    def closure() -> Tensor:
        optimizer.zero_grad()
        cost = linear_vae_loss(loss, eigenvalues, kl_weight, *weights)
        cost.backward()
        return cost

    optimizer.step(closure)
    return tuple(weights)


def weighed_at_last_layer(
    function: Callable,
    W: Tensor,
    h: Tensor,
    x: Tensor,
    critic: Tensor,
    scales: tuple[float, float],
    held: Tensor | None = None,
    use: bool = False,
    **options,
) -> dict[str, object]:
    """What `latent.adaptive_weight` says of a decoder's two losses, and what it leaves behind.

    The decoder is x̂ = W · (g h), W linear or a convolution, g one weight of a layer before it. The
    losses are scales[0] · ½ mean ‖x − x̂‖² and −scales[1] · mean ⟨critic, x̂⟩, means over the batch.

    Args:
        function: what is asked.
        W, h, x, critic: the weights of the last layer, its input, the data, and the slope of a
            linear discriminator, shaped like an example of x.
        scales: of both losses.
        held: what lies in W.grad before.
        use: whether L_rec + λ L_adv is backpropagated afterwards.
        options: keywords for the function.
    Returns:
        `weight`; `constant`, whether it has no graph; `grad`, of W after the call; `kept`, whether
        W and both losses are as they were; `random`, whether torch's random state is; with `use`
        also `to_last` and `to_first`, what reaches W and g.
    """
    W, g = W.clone().requires_grad_(), torch.ones((), dtype=W.dtype, requires_grad=True)
    W.grad = None if held is None else held.clone()
    x_hat = F.conv2d(g * h, W) if W.dim() == 4 else F.linear(g * h, W)
    rec = scales[0] * 0.5 * (x - x_hat).square().flatten(1).sum(1).mean()
    adv = -scales[1] * (critic * x_hat).flatten(1).sum(1).mean()
    before = [t.detach().clone() for t in (W, rec, adv)]
    state = torch.default_generator.get_state()
    weight = function(rec, adv, W, **options)
    found = {
        "weight": weight,
        "constant": not (isinstance(weight, Tensor) and weight.requires_grad),
        "grad": W.grad,
        "kept": all(map(torch.equal, before, (W, rec, adv))),
        "random": torch.equal(state, torch.default_generator.get_state()),
    }
    if use:
        reached = torch.autograd.grad(rec + weight * adv, [W, g])
        found |= dict(zip(("to_last", "to_first"), reached, strict=True))
    return found


class _Dropout(nn.Module):
    """Dropout of half of the numbers. Of torch's own the watch knows that it draws; here a change
    of the random state is seen, as in eval mode there should be none."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x * (torch.rand_like(x) < 0.5) if self.training else x


class _Normed(nn.Module):
    """Batch norm, dropout, a layer; remembers how it was called."""

    def __init__(self, channels: int, layer: nn.Module):
        super().__init__()
        self.norm, self.drop, self.layer = nn.BatchNorm2d(channels), _Dropout(), layer
        self.sizes: list[int] = []
        self.ways: list[list[bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        self.ways.append([self.norm.training or self.drop.training, torch.is_grad_enabled()])
        return self.layer(self.drop(self.norm(x)))

    def half_frozen(self) -> None:
        """In training mode, but for the batch norm: as where a net is trained further."""
        self.train()
        self.norm.eval()

    def in_use(self) -> None:
        """In training mode, with gradients in its weights."""
        self.train()
        holding_gradients(self)


class NormedEncoder(_Normed):
    """An encoder to half of the side length that needs to be in eval mode, made by `student.new`;
    returns μ and log σ²."""

    def __init__(self, channels: int = 1, latents: int = 2):
        super().__init__(channels, nn.Conv2d(channels, 2 * latents, 2, stride=2))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return super().forward(x).chunk(2, dim=1)


class NormedDecoder(_Normed):
    """A decoder to twice the side length that needs to be in eval mode, made by `student.new`."""

    def __init__(self, latents: int = 2, channels: int = 1):
        super().__init__(latents, nn.ConvTranspose2d(latents, channels, 2, stride=2))


class TablePrior(InUse, nn.Module):
    """A `Prior` whose scores stand in a table, and that remembers what it was asked, made by
    `student.new`. In training mode all scores change their sign.

    It answers as `autoregressive.Prior` does, and refuses what that refuses. A cache is a list of
    one pair, the tokens and the labels so far, shaped like keys and values. Where a label in it is
    not the one that is asked about, the scores are those of another label.

    Args:
        table: scores, (labels, prefixes, K). The prefixes are ordered by their length, from none to
            N − 1 tokens, and then as numbers whose digits are the tokens.
        length: N.
        null: the number of ∅.
    """

    def __init__(self, table: Tensor, length: int, null: int):
        super().__init__()
        self.table, self.part = nn.Parameter(table.clone()), nn.Identity()
        self.vocabulary, self.length, self.null = table.shape[2], length, null
        self.ways: list[str] = []
        self.known: list[Tensor] = []  # the tokens of a call, after those in its cache
        self.labels: list[Tensor] = []
        self.modes: list[list[bool]] = []  # whether a part trains, whether gradients are recorded

    def half_frozen(self) -> None:
        """In training mode, but for a part."""
        self.train()
        self.part.eval()

    def forward(self, tokens: Tensor, y: Tensor) -> Tensor:
        if tokens.dim() != 2 or not 1 <= tokens.shape[1] <= self.length:
            raise ValueError(f"tokens must be (batch, n), got {tuple(tokens.shape)}")
        self._remember("forward", tokens, y)
        return self._scores(tokens, y)

    def step(
        self, last: Tensor | None, y: Tensor, cache: list | None = None
    ) -> tuple[Tensor, list]:
        """Scores of the next token, and a new cache."""
        if (last is None) != (cache is None):
            raise ValueError("last and cache must be None at the first place, and only there")
        own = y[:, None, None, None].to(self.table.dtype)
        if last is None:
            known, cache = y.new_empty(len(y), 0), [(own[:, :, :0], own[:, :, :0])]
        else:
            if last.shape != y.shape:
                raise ValueError(f"last must be one token each, got {tuple(last.shape)}")
            known = torch.cat([cache[0][0][:, 0, 1:, 0].long(), last[:, None]], 1)
        if known.shape[1] >= self.length:
            raise ValueError(f"all {self.length} places are taken")
        self._remember("step", known, y)
        unread = torch.cat([known, torch.zeros_like(y)[:, None]], 1)
        start = torch.full_like(y, self.vocabulary) if last is None else last
        new = (start[:, None, None, None].to(own.dtype), own)
        pair = tuple(torch.cat([old, more], 2) for old, more in zip(cache[0], new, strict=True))
        others = (cache[0][1] != own).flatten(1).sum(1)
        return self._scores(unread, (y + others) % len(self.table))[:, -1], [pair]

    def _remember(self, way: str, known: Tensor, y: Tensor) -> None:
        if y.shape != known.shape[:1]:
            raise ValueError(f"y must be one label for each sequence, got {tuple(y.shape)}")
        if known.numel() and not 0 <= int(known.min()) <= int(known.max()) <= self.vocabulary:
            raise IndexError("index out of range in self")
        self.ways.append(way)
        self.known.append(known.clone())
        self.labels.append(y.clone())
        self.modes.append([self.training or self.part.training, torch.is_grad_enabled()])

    def _scores(self, tokens: Tensor, y: Tensor) -> Tensor:
        """Of every token: those of `tokens[:, t]` stand in the row of the prefix before it."""
        k, row, rows = self.vocabulary, torch.zeros_like(y), []
        for token in tokens.T:
            rows.append(row)
            row = k * row + 1 + token.clamp(max=k - 1)
        sign = -1 if self.modes[-1][0] else 1
        return sign * self.table[y[:, None], torch.stack(rows, 1)]
