"""The perfect network of a mixture for any process and target: what training aims at. Given."""

from torch import Tensor

from cs231n_gen.diffusion import column
from cs231n_gen.flow import Model
from cs231n_gen.given.processes import Process, Target
from cs231n_gen.truth import GaussianMixture


def perfect_net(mixture: GaussianMixture, process: Process, target: Target) -> Model:
    """A model that answers E[c x + d z | x_t], called as `model(x_t, t)`.

    It computes in float64 and answers in the precision of x_t. An example may be one point or a
    set of them. Gradients pass through.
    """

    def net(x_t: Tensor, t: Tensor) -> Tensor:
        values = [f(t) for f in (process.a, process.b, target.c, target.d)]
        if len(t) and bool((t == t[0]).all()):  # in a sampler: a quarter less work
            a, b, c, d = (v[0] for v in values)
        else:
            a, b, c, d = (column(v, x_t)[..., 0].expand(x_t.shape[:-1]) for v in values)
        return mixture.expectation(x_t, a, b, c, d).to(x_t.dtype)

    return net
