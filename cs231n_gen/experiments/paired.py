"""Whether one method is better than another, from runs paired by their seeds. Given.

From one seed all methods get the same data, noise and initial weights. The luck of a seed is in all
of their results, so it is mostly gone from the difference of two.
"""

import math

from jaxtyping import Float
from scipy import stats
from torch import Tensor

SURE = 0.95  # confidence that all intervals of a table hold at once
WORDS = {-1.0: "better", 0.0: "–", 1.0: "worse"}


def differences(
    results: Float[Tensor, "methods seeds columns"],
) -> tuple[Float[Tensor, "others columns"], Float[Tensor, "others columns"]]:
    """Difference to the first method, paired by seed: mean and half-width of an interval.

    Student's t with Bonferroni's correction: simultaneous 95 % confidence intervals.
    """
    d = results[1:] - results[:1]
    seeds, intervals = d.shape[1], d[:, 0].numel()
    quantile = stats.t.ppf(1 - (1 - SURE) / (2 * intervals), seeds - 1)
    return d.mean(1), quantile * d.std(1) / math.sqrt(seeds)


def verdicts(mean: Float[Tensor, "others columns"], off: Tensor) -> list[list[str]]:
    """`better` or `worse` where less or more is clear, else `–`, from what `differences` gave."""
    clear = mean.sign() * (mean.abs() > off)
    return [[WORDS[way] for way in row] for row in clear.tolist()]
