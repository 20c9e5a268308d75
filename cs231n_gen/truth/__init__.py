"""Closed-form answers: what the exact net, classifier or discriminator would say.

Everything is float64 and nothing is learned. `GaussianMixture` is a density whose noisy
versions, scores, posteriors, velocities and Bayes floors are known; `FiniteData` is a training
set taken for the whole truth; `linear_vae` is the best linear autoencoder, and
`posterior_sampling_error` what a draw costs in place of a mean; `optimal_discriminator` and
`jensen_shannon` compare densities; `follow` walks along a field without error. `flow_map` is where
the perfect flow leads, `mean_velocity` its average on the way, and `teacher_free_consistency` what
consistency training without a teacher makes of it. `best_quantizer` is where a codebook on numbers
of known density must end; `SequenceWorld` is a world of sequences so small that all it asks of a
sampler is in a table, see `sequences`.
"""

from cs231n_gen.truth.average import Estimate, expect, grid
from cs231n_gen.truth.bayes import Posterior
from cs231n_gen.truth.divergence import jensen_shannon, optimal_discriminator
from cs231n_gen.truth.finite import FiniteData
from cs231n_gen.truth.floor import irreducible_loss, loss_floor
from cs231n_gen.truth.flow_map import flow_map, mean_velocity, teacher_free_consistency
from cs231n_gen.truth.linear_vae import LinearVAE, linear_vae, posterior_sampling_error
from cs231n_gen.truth.mixture import GaussianMixture
from cs231n_gen.truth.paths import follow
from cs231n_gen.truth.quantizer import Quantizer, best_quantizer
from cs231n_gen.truth.sequences import SequenceWorld, two_token_world

__all__ = [
    "Estimate",
    "FiniteData",
    "GaussianMixture",
    "LinearVAE",
    "Posterior",
    "Quantizer",
    "SequenceWorld",
    "best_quantizer",
    "expect",
    "flow_map",
    "follow",
    "grid",
    "irreducible_loss",
    "jensen_shannon",
    "linear_vae",
    "loss_floor",
    "mean_velocity",
    "optimal_discriminator",
    "posterior_sampling_error",
    "teacher_free_consistency",
    "two_token_world",
]
