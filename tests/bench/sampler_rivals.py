"""Samplers of this package, of diffusers and of k-diffusion, as walks that one net can be put to.

A walk has `run(model, z, seed)`, which is its own code and calls its model as it likes (with a seed
of None it draws from wherever the generator of torch is), and
`model_of(net)`, which turns a velocity of rectified flow into what it likes to call: the net is
asked at its own level and scale, x̂ and ẑ follow from its answer. So a walk can also be given a
model that costs nothing, and what it then takes is its own time.
"""

import copy
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

import torch

from cs231n_gen import diffusion_samplers as samplers
from cs231n_gen.diffusion import reparametrised
from cs231n_gen.given import processes

try:
    import diffusers
except ImportError:
    diffusers = None

HOW = {
    "diffusers": "pip install diffusers",
    "k-diffusion": "pip install --no-deps k-diffusion, then torchsde and torchdiffeq",
}
STRAIGHT = processes.rectified_flow()
VELOCITY = processes.velocity(STRAIGHT)  # what every net here is trained for
LARGEST = 80.0  # b / a where a walk starts that cannot start at infinity


@dataclass(frozen=True)
class Walk:
    """From noise to data with a number of calls of a model."""

    run: Callable
    model_of: Callable


@dataclass(frozen=True)
class Contestant:
    """A sampler with its levels.

    family: whom it is compared with: first order, Heun, multistep, ancestral.
    prepare: called with the number of calls, makes the walk; its time counts for nobody.
    steps: of a walk with this many calls.
    """

    name: str
    family: str
    prepare: Callable[[int], Walk]

    def steps(self, calls):
        """Heun's method takes two calls a step, and one for the last."""
        return (calls + 1) // 2 if self.family == "Heun" else calls


def both(net, x, a, b):
    """x̂ and ẑ at x = a x + b z of a net for rectified flow, a and b numbers."""
    u = b / (a + b)
    x_u = x / (a + b)
    v = net(x_u, torch.full((len(x),), u, dtype=x.dtype))
    return x_u - u * v, x_u + (1 - u) * v


# ---- this package


def ours(run, family, name, process, target, levels):
    """A loop of `diffusion_samplers`; levels are a function of the number of steps."""

    def prepare(steps):
        times = levels(steps)

        def walk(model, z, seed):
            options = {} if family in DETERMINISTIC else {"generator": seeded(seed)}
            return run(model, z, times, process, target, **options)

        if process is STRAIGHT:
            return Walk(walk, lambda net: net)
        return Walk(walk, lambda net: reparametrised(net, STRAIGHT, VELOCITY, process, target))

    return Contestant(name, family, prepare)


def seeded(seed):
    """A generator that draws what the global one draws after `torch.manual_seed`, or None."""
    return None if seed is None else torch.Generator().manual_seed(seed)


def ancestral(*args, **options):
    return samplers.sample(*args, eta=1.0, **options)


def reversed_sde(*args, **options):
    return samplers.sample(*args, step=samplers.reverse_sde_step, **options)


DETERMINISTIC = ("first order", "Heun", "multistep")
RUNS = {
    "first order": samplers.sample,
    "Heun": samplers.sample_heun,
    "multistep": samplers.sample_multistep,
    "ancestral": ancestral,
}
FAMILIES = list(RUNS)


def course():
    """Our samplers: of each family first the one that ratios are to."""
    cosine, edm = processes.cosine(), processes.edm()
    angular, even = processes.angular(cosine), processes.even_in_t

    def straight(family, name, levels):
        return ours(RUNS[family], family, name, STRAIGHT, VELOCITY, levels)

    def denser(power):
        return lambda steps: processes.denser_near_data(steps, power)

    found = [
        ours(RUNS[family], family, "ours, cosine", cosine, angular, even)
        for family in ("first order", "ancestral")
    ]
    found += [
        straight("Heun", "ours, t^1.5", denser(1.5)),
        straight("multistep", "ours, t^1.25", denser(1.25)),
    ]
    for family, run in RUNS.items():
        karras = functools.partial(processes.karras, edm)
        found += [
            straight(family, "ours, even in t", even),
            ours(run, family, "ours, Karras", edm, processes.X, karras),
        ]
    sde = ours(reversed_sde, "ancestral", "ours, SDE, χ = 1", STRAIGHT, VELOCITY, even)
    return [*found, sde]


# ---- diffusers


def noise_at_timestep(scheduler, net, i, x):
    """ε at a timestep of DDPM's."""
    share = float(scheduler.alphas_cumprod[scheduler.timesteps[i].long()])
    return both(net, x, share**0.5, (1 - share) ** 0.5)[1]


def noise_at_sigma(scheduler, net, i, x):
    """ε at a noise level; x is scaled to variance 1. The net is told the level that the scheduler
    uses, more exactly than its rounded timestep would."""
    sigma = float(scheduler.sigmas[i])
    a = 1 / (1 + sigma**2) ** 0.5
    return both(net, x, a, sigma * a)[1]


def preconditioned(scheduler, net, i, x):
    """EDM's F, from which x̂ = c_skip x / c_in + c_out F. x comes multiplied by c_in."""
    sigma, data = float(scheduler.sigmas[i]), scheduler.config.sigma_data
    total = (sigma**2 + data**2) ** 0.5
    x = x * total
    x_hat = both(net, x, 1.0, sigma)[0]
    return (x_hat - (data / total) ** 2 * x) * total / (sigma * data)


def flow_velocity(scheduler, net, i, x):
    """v itself."""
    return net(x, scheduler.sigmas[i].to(x.dtype).expand(len(x)))


def library(kind, family, name, answer, extra=None, **config):
    """A scheduler in the loop of its pipelines. It keeps where it is, so every walk gets a copy of
    a fresh one."""

    def prepare(steps):
        fresh = kind(**config)
        fresh.set_timesteps(**(extra(steps) if extra else {"num_inference_steps": steps}))
        if hasattr(fresh, "set_begin_index"):
            fresh.set_begin_index(0)
        first = float(getattr(fresh, "init_noise_sigma", 1.0))
        scaled = hasattr(fresh, "scale_model_input")
        drawn = {} if family in DETERMINISTIC else {"generator": None}

        @torch.no_grad()
        def walk(model, z, seed):
            scheduler, x, options = copy.copy(fresh), first * z, dict(drawn)
            if drawn:
                options["generator"] = seeded(seed)
            for i, t in enumerate(scheduler.timesteps):
                prediction = model(scheduler.scale_model_input(x, t) if scaled else x, i)
                x = scheduler.step(prediction, t, x, return_dict=False, **options)[0]
            return x

        return Walk(walk, lambda net: lambda x, i: answer(fresh, net, i, x))

    return Contestant(f"diffusers {name}", family, prepare)


def schedulers():
    """Its schedulers, with the levels that they have by default and with others."""
    plain = {"clip_sample": False}
    even = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}

    def first(kind, name, answer, **options):
        return library(kind, "first order", name, answer, **options)

    def several(kind, name, **options):
        return library(kind, "multistep", name, noise_at_sigma, **options)

    return [
        first(diffusers.DDIMScheduler, "DDIM", noise_at_timestep, **plain),
        first(
            diffusers.DDIMScheduler,
            "DDIM, trailing",
            noise_at_timestep,
            timestep_spacing="trailing",
            **plain,
        ),
        first(
            diffusers.DDIMScheduler,
            "DDIM, trailing, cosine",
            noise_at_timestep,
            timestep_spacing="trailing",
            beta_schedule="squaredcos_cap_v2",
            **plain,
        ),
        first(diffusers.EulerDiscreteScheduler, "Euler", noise_at_sigma),
        first(
            diffusers.EulerDiscreteScheduler,
            "Euler, Karras",
            noise_at_sigma,
            use_karras_sigmas=True,
        ),
        first(diffusers.EDMEulerScheduler, "EDMEuler", preconditioned),
        first(
            diffusers.FlowMatchEulerDiscreteScheduler,
            "FlowMatchEuler",
            flow_velocity,
            extra=lambda steps: {"sigmas": [1 - i / steps for i in range(steps)]},
        ),
        library(diffusers.HeunDiscreteScheduler, "Heun", "Heun", noise_at_sigma),
        library(
            diffusers.HeunDiscreteScheduler,
            "Heun",
            "Heun, Karras",
            noise_at_sigma,
            use_karras_sigmas=True,
        ),
        library(diffusers.FlowMatchHeunDiscreteScheduler, "Heun", "FlowMatchHeun", flow_velocity),
        several(diffusers.DPMSolverMultistepScheduler, "DPM-Solver++"),
        several(
            diffusers.DPMSolverMultistepScheduler, "DPM-Solver++, Karras", use_karras_sigmas=True
        ),
        library(
            diffusers.DPMSolverMultistepScheduler,
            "multistep",
            "DPM-Solver++, even in t",
            flow_velocity,
            **even,
        ),
        several(diffusers.DEISMultistepScheduler, "DEIS"),
        several(diffusers.UniPCMultistepScheduler, "UniPC"),
        library(
            diffusers.UniPCMultistepScheduler,
            "multistep",
            "UniPC, even in t",
            flow_velocity,
            **even,
        ),
        library(diffusers.DDPMScheduler, "ancestral", "DDPM", noise_at_timestep, **plain),
        library(
            diffusers.DDPMScheduler,
            "ancestral",
            "DDPM, trailing",
            noise_at_timestep,
            timestep_spacing="trailing",
            **plain,
        ),
        library(
            diffusers.DDPMScheduler,
            "ancestral",
            "DDPM, trailing, cosine",
            noise_at_timestep,
            timestep_spacing="trailing",
            beta_schedule="squaredcos_cap_v2",
            **plain,
        ),
        library(
            diffusers.EulerAncestralDiscreteScheduler,
            "ancestral",
            "EulerAncestral, trailing",
            noise_at_sigma,
            timestep_spacing="trailing",
        ),
    ]


# ---- k-diffusion


def k_sampling():
    """Its module of samplers, or None. Its package imports much that samplers never use (wandb,
    CLIP, kornia), so the module is loaded by itself, and torchvision, with which its utilities turn
    tensors into pictures, may be missing."""
    found = importlib.util.find_spec("k_diffusion")
    if found is None:
        return None
    package = ModuleType("k_diffusion")
    package.__path__ = list(found.submodule_search_locations)
    pictures = ModuleType("torchvision.transforms")
    pictures.functional = None
    stand_ins = {
        "k_diffusion": package,
        "torchvision": ModuleType("torchvision"),
        "torchvision.transforms": pictures,
    }
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("k_diffusion.sampling")
    except ImportError:
        return None
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def even_sigmas(steps):
    """b / a of rectified flow at levels evenly spaced in t, the first, which is infinite, cut."""
    return torch.tensor([LARGEST, *((steps - i) / i for i in range(1, steps)), 0.0])


def k_diffusion(sampling):
    """Its samplers by Karras' levels (its default) and by ours."""

    def walks(run, family, name, sigmas):
        def prepare(steps):
            levels = sigmas(steps)

            def walk(model, z, seed):
                if seed is not None:
                    torch.manual_seed(seed)
                return run(model, LARGEST * z, levels.to(z.dtype), disable=True)

            def model_of(net):
                return lambda x, sigma: both(net, x, 1.0, float(sigma[0]))[0]

            return Walk(walk, model_of)

        return Contestant(f"k-diffusion {name}", family, prepare)

    def karras(steps):
        return sampling.get_sigmas_karras(steps, 0.002, LARGEST)

    found = []
    for family, run in {
        "first order": sampling.sample_euler,
        "Heun": sampling.sample_heun,
        "multistep": sampling.sample_dpmpp_2m,
        "ancestral": sampling.sample_euler_ancestral,
    }.items():
        name = run.__name__.removeprefix("sample_")
        found += [
            walks(run, family, f"{name}, Karras", karras),
            walks(run, family, f"{name}, even in t", even_sigmas),
        ]
    return found


def everyone():
    """All contestants, and a line for each library that is not installed."""
    sampling = k_sampling()
    found = {
        "diffusers": schedulers() if diffusers else [],
        "k-diffusion": k_diffusion(sampling) if sampling else [],
    }
    left_out = [f"{name} is left out: {HOW[name]}" for name, own in found.items() if not own]
    return [*course(), *found["diffusers"], *found["k-diffusion"]], left_out


def versions():
    """Of torch and of the libraries that take part."""
    return ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("torch", *HOW)
        if importlib.util.find_spec(name.replace("-", "_"))
    )
