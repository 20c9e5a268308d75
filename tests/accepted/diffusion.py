"""Right answers to chapter 07's algebra written another way."""

import torch

from cs231n_gen.checking.variants import accepted
from cs231n_gen.diffusion import check_alike, check_levels, check_solvable, level_of, to_x_and_noise


def other_noise(x, z, t, process, target):
    check_levels(x, t)
    check_alike(x, z, "z", "x")


def misfit(prediction, x_t, t, process, target):
    check_levels(x_t, t)
    check_alike(x_t, prediction, "prediction", "x_t")


def no_noise(prediction, x_t, t, process, target):
    misfit(prediction, x_t, t, process, target)
    if bool((process.b(t) == 0).any()):
        raise ValueError(f"b(t) must not be 0 for a score, got t = {t.tolist()}")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "diffusion.noise": other_noise,
    "diffusion.to_x_and_noise": misfit,
    "diffusion.score": no_noise,
    "diffusion.ode_velocity": misfit,
}


def as_column(value, x):
    return value[(...,) + (None,) * (x.ndim - 1)]


# --- diffusion.noise ----------------------------------------------------------------------------


@accepted("diffusion.noise")
def example_by_example(x, z, t, process, target):
    noisy, asked = [], []
    for i in range(len(x)):
        level = t[i : i + 1]
        noisy.append(process.a(level) * x[i].flatten() + process.b(level) * z[i].flatten())
        asked.append(target.c(level) * x[i].flatten() + target.d(level) * z[i].flatten())
    return torch.stack(noisy).view(x.shape), torch.stack(asked).view(x.shape)


@accepted("diffusion.noise")
def by_einsum(x, z, t, process, target):
    both = torch.stack([x, z])
    weights = torch.stack(
        [
            torch.stack([process.a(t), process.b(t)]),
            torch.stack([target.c(t), target.d(t)]),
        ]
    )
    mixed = torch.einsum("ijb,jb...->ib...", weights, both)
    return mixed[0], mixed[1]


@accepted("diffusion.noise")
def levels_with_all_axes(x, z, t, process, target):
    s = as_column(t, x)  # functions of t take levels of any shape
    x_t = torch.addcmul(process.a(s) * x, process.b(s), z)
    return x_t, (target.c(s) * x).add(target.d(s) * z)


@accepted("diffusion.noise")
def on_copies(x, z, t, process, target):
    x_t, y = x.clone(), x.clone()
    x_t.mul_(as_column(process.a(t), x)).add_(as_column(process.b(t), x) * z)
    y.mul_(as_column(target.c(t), x)).add_(as_column(target.d(t), x) * z)
    return [x_t, y]


# --- diffusion.to_x_and_noise -------------------------------------------------------------------


@accepted("diffusion.to_x_and_noise")
def by_linear_solve(prediction, x_t, t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    check_solvable(a * d - b * c, t)
    system = torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2)
    known = torch.stack([x_t.flatten(1) if x_t.dim() > 1 else x_t[:, None]] * 2, 1)
    known[:, 1] = prediction.reshape(len(x_t), -1)
    x, z = torch.linalg.solve(system, known).unbind(1)
    return x.reshape(x_t.shape), z.reshape(x_t.shape)


@accepted("diffusion.to_x_and_noise")
def by_inverse_matrix(prediction, x_t, t, process, target):
    s = as_column(t, x_t)
    delta = process.a(s) * target.d(s) - process.b(s) * target.c(s)
    check_solvable(delta.flatten(), t)
    x = target.d(s) / delta * x_t - process.b(s) / delta * prediction
    z = process.a(s) / delta * prediction - target.c(s) / delta * x_t
    return x, z


@accepted("diffusion.to_x_and_noise")
def refused_by_itself(prediction, x_t, t, process, target):
    a, b, c, d = (as_column(f(t), x_t) for f in (process.a, process.b, target.c, target.d))
    if ((b * c) == (a * d)).any():
        raise ValueError("this prediction says nothing")
    top = b * prediction - d * x_t
    return top / (b * c - a * d), (c * x_t - a * prediction) / (b * c - a * d)


@accepted("diffusion.to_x_and_noise")
def through_the_larger_one(prediction, x_t, t, process, target):
    a, b, c, d = (as_column(f(t), x_t) for f in (process.a, process.b, target.c, target.d))
    delta = a * d - b * c
    check_solvable(delta.reshape(t.shape), t)
    x = (d * x_t - b * prediction) / delta
    z = (a * prediction - c * x_t) / delta
    more_noise = b > a  # the other one follows from x_t without loss there
    safe_b = torch.where(more_noise, b, 1.0)
    return x, torch.where(more_noise, (x_t - a * x) / safe_b, z)


# --- diffusion.loss_weight ----------------------------------------------------------------------


@accepted("diffusion.loss_weight")
def by_delta(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    some = torch.where(b == 0, 1.0, b)
    weight = ((a * d - b * c) / some).square()
    at_0 = torch.where(d == 0, c.square(), torch.inf)
    return torch.where(b == 0, at_0, weight)


@accepted("diffusion.loss_weight")
def by_snr(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    ratio = a / b
    return torch.where(d == 0, c * c, (c - d * ratio) ** 2)


@accepted("diffusion.loss_weight")
def level_by_level(t, process, target):
    found = torch.empty_like(t)
    for i, s in enumerate(t.flatten()):
        a, b, c, d = (float(f(s)) for f in (process.a, process.b, target.c, target.d))
        if d == 0:
            found.view(-1)[i] = c**2
        else:
            found.view(-1)[i] = (a * d / b - c) ** 2 if b else float("inf")
    return found


@accepted("diffusion.loss_weight")
def over_b_squared(t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    found = (a * d - b * c) ** 2 / b**2
    found[d == 0] = c[d == 0] ** 2
    return found


# --- diffusion.score ----------------------------------------------------------------------------


@accepted("diffusion.score")
def from_x(prediction, x_t, t, process, target):
    x, _ = to_x_and_noise(prediction, x_t, t, process, target)
    a, b = as_column(process.a(t), x_t), as_column(process.b(t), x_t)
    return (a * x - x_t) / b**2


@accepted("diffusion.score")
def from_both_equations(prediction, x_t, t, process, target):
    a, b, c, d = (as_column(f(t), x_t) for f in (process.a, process.b, target.c, target.d))
    delta = a * d - b * c
    check_solvable(delta.reshape(t.shape), t)
    return (c * x_t - a * prediction) / (b * delta)


@accepted("diffusion.score")
def score_one_by_one(prediction, x_t, t, process, target):
    found = []
    for i in range(len(x_t)):
        one = slice(i, i + 1)
        _, z = to_x_and_noise(prediction[one], x_t[one], t[one], process, target)
        found.append(z.neg() / process.b(t[i]))
    return torch.cat(found)


@accepted("diffusion.score")
def times_the_reciprocal(prediction, x_t, t, process, target):
    z = to_x_and_noise(prediction, x_t, t, process, target)[1]
    return torch.einsum("b...,b->b...", z, -process.b(t).reciprocal())


# --- diffusion.ode_velocity ---------------------------------------------------------------------


@accepted("diffusion.ode_velocity")
def velocity_one_by_one(prediction, x_t, t, process, target):
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    return torch.stack(
        [process.da(s) * p + process.db(s) * q for s, p, q in zip(t, x, z, strict=True)]
    )


@accepted("diffusion.ode_velocity")
def by_drift_and_score(prediction, x_t, t, process, target):
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    s = as_column(t, x_t)
    a, b, da, db = process.a(s), process.b(s), process.da(s), process.db(s)
    f = da / torch.where(a == 0, 1.0, a)
    g2 = 2 * b * db - 2 * f * b**2
    score = -z / torch.where(b == 0, 1.0, b)
    return torch.where((a == 0) | (b == 0), da * x + db * z, f * x_t - g2 / 2 * score)


@accepted("diffusion.ode_velocity")
def velocity_by_einsum(prediction, x_t, t, process, target):
    both = torch.stack(to_x_and_noise(prediction, x_t, t, process, target))
    slopes = torch.stack([process.da(t), process.db(t)])
    return torch.einsum("jb,jb...->b...", slopes, both)


@accepted("diffusion.ode_velocity")
def from_coefficients(prediction, x_t, t, process, target):
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    da, db, delta = process.da(t), process.db(t), a * d - b * c
    check_solvable(delta, t)
    of_x_t, of_prediction = (da * d - db * c) / delta, (db * a - da * b) / delta
    return as_column(of_x_t, x_t) * x_t + as_column(of_prediction, x_t) * prediction


@accepted("diffusion.ode_velocity")
def handed_back_if_it_is_the_velocity(prediction, x_t, t, process, target):
    x, z = to_x_and_noise(prediction, x_t, t, process, target)  # which may refuse it
    if target.c is process.da and target.d is process.db:
        return prediction.clone()
    return as_column(process.da(t), x) * x + as_column(process.db(t), x) * z


# --- diffusion.reparametrised -------------------------------------------------------------------


@accepted("diffusion.reparametrised")
def with_norms(model, process, target, new_process, new_target):
    def new_model(x_t, t, *condition, y=None):
        check_levels(x_t, t)
        condition = [v for v in (*condition, y) if v is not None]
        u = level_of(process, new_process.a(t), new_process.b(t))
        size = torch.hypot(process.a(u), process.b(u))
        k = size / torch.hypot(new_process.a(t), new_process.b(t))
        x_u = as_column(k, x_t) * x_t
        x, z = to_x_and_noise(model(x_u, u, *condition), x_u, u, process, target)
        return as_column(new_target.c(t), x_t) * x + as_column(new_target.d(t), x_t) * z

    return new_model


class Renewed:
    """A model as an object."""

    def __init__(self, model, old, new):
        self.model, self.old, self.new = model, old, new

    def __call__(self, x_t, t, y=None):
        check_levels(x_t, t)
        (process, target), (new_process, new_target) = self.old, self.new
        a, b = new_process.a(t), new_process.b(t)
        u = level_of(process, a, b)
        a_u, b_u, c_u, d_u = process.a(u), process.b(u), target.c(u), target.d(u)
        k = ((a_u * a_u + b_u * b_u) / (a * a + b * b)) ** 0.5
        x_u = torch.einsum("b,b...->b...", k, x_t)
        args = (x_u, u) if y is None else (x_u, u, y)
        delta = a_u * d_u - b_u * c_u
        check_solvable(delta, u)
        x = torch.einsum("b,b...->b...", d_u / delta, x_u)
        z = torch.einsum("b,b...->b...", -c_u / delta, x_u)
        prediction = self.model(*args)
        x = x - torch.einsum("b,b...->b...", b_u / delta, prediction)
        z = z + torch.einsum("b,b...->b...", a_u / delta, prediction)
        c, d = new_target.c(t), new_target.d(t)
        return torch.einsum("b,b...->b...", c, x) + torch.einsum("b,b...->b...", d, z)


@accepted("diffusion.reparametrised")
def as_an_object(model, process, target, new_process, new_target):
    return Renewed(model, (process, target), (new_process, new_target))


@accepted("diffusion.reparametrised")
def by_the_larger_ratio(model, process, target, new_process, new_target):
    def new_model(x_t, t, y=None):
        check_levels(x_t, t)
        a, b = new_process.a(t), new_process.b(t)
        u = level_of(process, a, b)
        a_u, b_u = process.a(u), process.b(u)
        reached = torch.isclose(a_u * b, b_u * a, rtol=1e-12, atol=0)
        k = torch.where(a > b, a_u / torch.where(a > b, a, 1.0), b_u / torch.where(a > b, 1.0, b))
        by_size = ((a_u**2 + b_u**2) / (a**2 + b**2)).sqrt()
        x_u = as_column(torch.where(reached, k, by_size), x_t) * x_t
        prediction = model(x_u, u) if y is None else model(x_u, u, y)
        x, z = to_x_and_noise(prediction, x_u, u, process, target)
        return as_column(new_target.c(t), x_t) * x + as_column(new_target.d(t), x_t) * z

    return new_model


class RenewedNet(torch.nn.Module):
    """The new model as a network that holds the trained one."""

    def __init__(self, model, old, new):
        super().__init__()
        self.right, self.model = with_norms(model, *old, *new), model

    def forward(self, x_t, t, y=None):
        return self.right(x_t, t, y)


@accepted("diffusion.reparametrised")
def as_a_network(model, process, target, new_process, new_target):
    return RenewedNet(model, (process, target), (new_process, new_target))
