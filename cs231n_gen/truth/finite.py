"""A finite data set taken for the whole truth: the answers of a net that knows it by heart.

The perfect net for a training set, rather than for what the set was drawn from, can only bring
back its members (slides 73–78). It is a mixture of N points, of no width.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.truth import checks
from cs231n_gen.truth.bayes import Posterior
from cs231n_gen.truth.checks import per_point, real

CHUNK = 2**22  # noisy points × data compared at once: 32 MB


class FiniteData:
    """Data x_1, …, x_N, each as likely as any other. For a condition, give the data that have it.

    Args:
        data: examples of any shape, one a row. Kept, and used, in float64.
    Raises:
        ValueError: if there is no example, or one is not finite.
    """

    def __init__(self, data: Float[Tensor, "examples *shape"]):
        self.data = real(data)
        if self.data.dim() < 2 or self.data.numel() == 0 or not self.data.isfinite().all():
            raise ValueError(
                "data must be (examples, *shape), at least one and all finite, "
                f"got shape {tuple(self.data.shape)}"
            )
        self._rows = self.data.flatten(1)  # (examples, dimensions of x)
        self._squares = self._rows.square().sum(1)

    def posterior(
        self,
        x_t: Float[Tensor, "batch *shape"],
        a: float | Float[Tensor, "batch"],
        b: float | Float[Tensor, "batch"],
    ) -> Posterior:
        """What x_t = a x + b z tells of x and z.

            p(x_i | x_t) = softmax_i(−‖x_t − a x_i‖² / 2b²),    E[x | x_t] = Σ_i p(x_i | x_t) x_i,
            E[z | x_t] = (x_t − a E[x | x_t]) / b

        Where b = 0 these are their limits on the way there from a datum: the nearest datum, and
        no noise.

        Args:
            x_t: noisy examples, shaped like the data.
            a, b: how much data and how much noise, one for all examples or one for each.
        Returns:
            x and z shaped like x_t, responsibilities p(x_i | x_t) of `(batch, examples)`, variance.
        Raises:
            ValueError: if a = b = 0, or shapes disagree.
        """
        x_t = self._like_data(x_t)
        a, b = (v.expand(len(x_t))[:, None] for v in checks.coefficients(a, b, x_t.shape[:1]))
        rows = x_t.flatten(1)
        # −½‖x_t − a x_i‖², but for a part that all i share
        nearness = a * (rows @ self._rows.T) - a**2 / 2 * self._squares  # (batch, examples)
        behind = nearness.amax(1, keepdim=True) - nearness  # 0 for the nearest
        p = (-behind / b.square().clamp_min(torch.finfo(torch.float64).tiny)).softmax(1)
        x = p @ self._rows
        z = (rows - a * x) / b.masked_fill(b == 0, math.inf)
        spread = p @ self._squares - x.square().sum(1)
        return Posterior(
            x=x.reshape(x_t.shape),
            z=z.reshape(x_t.shape),
            responsibilities=p,
            variance=spread.clamp_min(0),
        )

    def expectation(self, x_t, a, b, c, d) -> Float[Tensor, "batch *shape"]:
        """E[c x + d z | x_t], a part of the batch at a time.

        Args are those of `posterior`; c and d are one for all examples, or one for each.
        """
        x_t = self._like_data(x_t)
        named = zip("abcd", (a, b, c, d), strict=True)
        each = [per_point(real(v), x_t.shape[:1], name).expand(len(x_t)) for name, v in named]
        answers = []
        parts = (v.split(self._at_once) for v in (x_t, *each))
        for part, a, b, c, d in zip(*parts, strict=True):
            known = self.posterior(part, a, b)
            c, d = (v.reshape(-1, *[1] * (x_t.dim() - 1)) for v in (c, d))  # (batch, 1, ..., 1)
            answers.append(c * known.x + d * known.z)
        return torch.cat(answers)

    def velocity(
        self, x_t: Float[Tensor, "batch *shape"], t: float | Float[Tensor, "batch"]
    ) -> Float[Tensor, "batch *shape"]:
        """E[z − x | x_t] for x_t = (1 − t) x + t z, what a perfect rectified flow answers.

        Args:
            x_t: examples on the way, shaped like the data.
            t: their level, one for all or one for each.
        """
        t = per_point(real(t), torch.as_tensor(x_t).shape[:1], "t")
        return self.expectation(x_t, 1 - t, t, -1.0, 1.0)

    @property
    def _at_once(self) -> int:
        return max(1, CHUNK // len(self.data))

    def _like_data(self, x_t) -> Tensor:
        x_t, shape = real(x_t), tuple(self.data.shape[1:])
        if x_t.dim() == 0 or x_t.shape[1:] != shape:
            raise ValueError(f"x_t must be (batch, *{shape}) like the data, got {tuple(x_t.shape)}")
        return x_t
