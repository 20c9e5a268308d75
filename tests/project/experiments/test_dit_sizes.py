"""Three sizes: their arithmetic is counted, and runs have the steps that their time allows."""

import pytest
import torch
from cs231n_gen.dit_trial import LatentData
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cs231n_gen import dit, dit_sizes, dit_trial


@pytest.mark.parametrize("size", dit_sizes.SIZES.values())
def test_arithmetic_is_what_torch_counts(size):
    blocks = [dit.Block(size["dim"], size["heads"]) for _ in range(size["depth"])]
    x, c = torch.randn(1, 16, size["dim"]), torch.randn(1, size["dim"])
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        for block in blocks:
            x = block(x, c)
    assert counter.get_total_flops() == dit_sizes.flops_of(**size)


def test_a_trial_in_the_small(monkeypatch):
    monkeypatch.setattr(dit_trial, "steps_within", lambda seconds, make, data, batch: 300)
    g = torch.Generator().manual_seed(0)
    data = LatentData(torch.randn(30, 4, 8, 8, generator=g), torch.arange(30) % 10)
    sizes = {name: {"dim": dim, "depth": 1, "heads": 2} for name, dim in (("a", 8), ("b", 16))}
    trial = dit_sizes.run(
        data, data, sizes=sizes, steps=6, budgets=(1.0, 2.0), batch=4, progress=False
    )
    assert trial.within == [[3, 6], [3, 6]]
    assert trial.losses.shape == (2, 2) and trial.timed.shape == (2, 2, 2)
    assert torch.equal(trial.losses, trial.timed[..., 1])  # as many steps are the same run
    assert trial.losses.std() > 0 and trial.weights[0] < trial.weights[1]
    table = trial.table()
    assert "6 steps" in table and "2 CPU s" in table and f"{trial.losses[0].mean():.4f}" in table
