"""GPU kernels in Triton, one a file: the mathematics, the same in torch, the kernel, its wrapper.

A wrapper is called like any function of torch and chooses the way itself, see `launch`: the kernel
on a GPU, torch elsewhere. `cs231n_gen.instruments` looks at kernels without a GPU.
"""

LADDER = (
    "axpy",
    "guided_step",
    "noising",
    "gan_losses",
    "patchify",
    "velocity_mse",
    "adaln",
    "gated_residual",
    "adain",
    "group_norm_silu",
    "qk_norm_rope",
    "nearest_code",
    "attention",
    "joint_attention",
)
"""The kernels in the order in which chapter 14 climbs them; each is a module of its name."""
