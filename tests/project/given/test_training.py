"""The training loop all chapters share: schedule, averaged weights, progress, stopping."""

import math
import sys

import nbclient
import nbformat
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from cs231n_gen import flow, training
from cs231n_gen.given.training import EMA, History, Run


class Point(nn.Module):
    """A net of one number, so that every weight of a run can be written down."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor([value]))


def step_towards(run, target):
    L = (run.model.value - target).square().mean()
    run.optimizer.zero_grad()
    L.backward()
    run.optimizer.step()
    run.record(L)


class SpyBar:
    """Stands in for tqdm and remembers."""

    made: list["SpyBar"]

    def __init__(self, total, desc, **_):
        self.total, self.desc, self.n, self.closed, self.text = total, desc, 0, False, ""
        self.made.append(self)

    def update(self, n=1):
        self.n += n

    def set_postfix_str(self, text, refresh=True):
        self.text = text

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def bars(monkeypatch):
    """The bars made during a test."""
    SpyBar.made = []
    monkeypatch.setattr(training, "tqdm", SpyBar)
    return SpyBar.made


def draw(n, generator):
    return 3 + 0.1 * torch.randn(n, 2, generator=generator), None


def trained(seed, **options):
    torch.manual_seed(seed)
    net = flow.VelocityMLP(hidden=8)
    generator = torch.Generator().manual_seed(seed)
    return net, flow.train(net, draw, 12, batch=16, generator=generator, **options)


# ---- averaged weights


def test_the_average_of_constant_weights_is_those_weights():
    model = Point(2.0)
    average = EMA(model)
    for _ in range(50):
        average.update(model)
    average.copy_to(model)
    assert model.value.item() == pytest.approx(2.0, rel=1e-6)  # 50 roundings in float32


def test_the_average_follows_its_formula():
    model, memory = Point(1.0), 0.5
    average, want = EMA(model, memory), 1.0
    for step, value in enumerate([4.0, -2.0, 7.0], start=1):
        with torch.no_grad():
            model.value.fill_(value)
        average.update(model)
        beta = 1 - 1 / (1 + memory * step)
        want = beta * want + (1 - beta) * value
    average.copy_to(model)
    assert model.value.item() == pytest.approx(want, rel=1e-6)  # float32


def test_the_average_forgets_the_initial_weights_even_in_a_short_run():
    model = Point(1.0)
    average = EMA(model)
    with torch.no_grad():
        model.value.fill_(0.0)
    for _ in range(100):
        average.update(model)
    assert average.weights[0].item() < 1e-6  # what is left of the start


def test_the_average_of_a_straight_ascent_lags_by_about_the_memory():
    model = Point(0.0)
    average = EMA(model, memory=0.1)
    for step in range(1, 2001):
        with torch.no_grad():
            model.value.fill_(step / 2000)
        average.update(model)
    # weights fall as (step / n)^10, so the mean age is 1/12 of the run; ± the discreteness of steps
    assert 1 - average.weights[0].item() == pytest.approx(1 / 12, abs=0.01)


def test_buffers_are_not_averaged():
    model = nn.BatchNorm1d(2)
    average = EMA(model)
    model.running_mean.fill_(5.0)
    average.update(model)
    average.copy_to(model)
    assert model.running_mean.tolist() == [5.0, 5.0]


def test_the_average_is_the_one_that_torchs_averaged_model_keeps():
    model, memory = flow.VelocityMLP(hidden=8), 0.3
    average = EMA(model, memory)

    def towards(averages, weights, n):
        torch._foreach_lerp_(averages, weights, 1 / (1 + memory * n.item()))

    theirs = AveragedModel(model, multi_avg_fn=towards)
    theirs.n_averaged += 1  # the initial weights count: without this the first update replaces them
    for _ in range(5):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        average.update(model)
        with torch.no_grad():
            theirs.update_parameters(model)
    for ours, other in zip(average.weights, theirs.module.parameters(), strict=True):
        assert torch.equal(ours, other)


def test_without_a_time_limit_the_schedule_is_the_one_of_a_lambda_lr():
    def share(step):
        return min((step + 1) / 4, 0.5 * (1 + math.cos(math.pi * step / 40)))

    theirs = torch.optim.SGD(Point().parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.LambdaLR(theirs, share)
    with Run(Point(), 40, lr=0.5, warmup=0.1) as run:
        for _ in run:
            assert run.optimizer.param_groups[0]["lr"] == pytest.approx(schedule.get_last_lr()[0])
            step_towards(run, 1.0)
            theirs.step()
            schedule.step()


# ---- the run


def test_a_run_ends_with_the_averaged_weights():
    model = Point(0.0)
    with Run(model, 30, lr=0.1) as run:
        for _ in run:
            step_towards(run, 1.0)
    assert torch.equal(model.value, run.average.weights[0])


def test_a_run_ends_ready_for_sampling():
    model = Point()
    with Run(model, 2):
        assert model.training
    assert not model.training


def test_the_learning_rate_rises_then_falls_to_almost_nothing():
    rates = []
    with Run(Point(), 200, lr=0.5, warmup=0.1) as run:
        for _ in run:
            rates.append(run.optimizer.param_groups[0]["lr"])
            step_towards(run, 1.0)
    assert rates[0] == pytest.approx(0.5 / 20)  # the first of 20 steps of warm-up
    assert rates[:20] == sorted(rates[:20])
    assert max(rates) > 0.45  # the cosine has lost little by the end of the warm-up
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[100] == pytest.approx(0.25)  # half way
    assert rates[-1] < 1e-4 * 0.5  # (π / 400)² of the whole


def test_without_warm_up_the_learning_rate_starts_at_its_highest():
    with Run(Point(), 10, lr=0.5, warmup=0.0) as run:
        for _ in run:
            assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.5)
            break


def test_the_same_seed_gives_the_same_run():
    first, losses = trained(4)
    second, again = trained(4)
    assert losses.losses == again.losses
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_seed_gives_another_run():
    assert trained(4)[1].losses != trained(5)[1].losses


@pytest.mark.parametrize("steps", [0, -3, 2.5])
def test_steps_must_be_a_whole_number_of_at_least_1(steps):
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1"):
        Run(Point(), steps)


# ---- progress


def test_the_bar_counts_steps_and_shows_loss_and_floor(bars):
    with Run(Point(2.0), 5, lr=1e-9, floor=1.25, label="ring") as run:
        for _ in run:
            step_towards(run, 0.0)  # (2 − 0)² = 4 all the way
    (bar,) = bars
    assert (bar.desc, bar.total, bar.n, bar.closed) == ("ring", 5, 5, True)
    assert bar.text == "loss 4.0000, floor 1.2500"


def test_without_a_floor_the_bar_shows_the_loss_alone(bars):
    with Run(Point(2.0), 5, lr=1e-9) as run:
        for _ in run:
            step_towards(run, 0.0)
    assert bars[0].text == "loss 4.0000"


def test_the_floor_is_kept_with_the_losses():
    assert trained(1, floor=0.7)[1].floor == 0.7


def test_smoothed_losses_are_running_means():
    history = History(losses=[1.0, 2.0, 6.0, 10.0])
    assert history.smoothed(window=2).tolist() == [1.0, 1.5, 4.0, 8.0]


def test_smoothing_a_run_shorter_than_the_window():
    assert History(losses=[1.0, 2.0, 6.0]).smoothed().tolist() == [1.0, 1.5, 3.0]


def test_smoothing_nothing_gives_nothing():
    assert History().smoothed().tolist() == []


# ---- stopping


@pytest.mark.parametrize("place", ["before the loss", "before the step", "after record"])
def test_ctrl_c_anywhere_in_the_loop_ends_the_run_and_keeps_the_average(bars, place):
    model = Point(0.0)
    with Run(model, 1000, lr=0.1) as run:
        for step in run:
            if step == 7 and place == "before the loss":
                raise KeyboardInterrupt
            L = (model.value - 1).square().mean()
            run.optimizer.zero_grad()
            L.backward()
            if step == 7 and place == "before the step":
                raise KeyboardInterrupt
            run.optimizer.step()
            run.record(L)
            if step == 7 and place == "after record":
                raise KeyboardInterrupt
    assert run.history.interrupted
    assert len(run.history.losses) == (8 if place == "after record" else 7)
    assert torch.equal(model.value, run.average.weights[0])
    assert not model.training
    assert bars[0].closed
    assert bars[0].text.endswith("interrupted")


def test_ctrl_c_while_data_are_drawn_ends_train_with_what_it_has():
    def impatient(n, generator):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(n)
        return draw(n, generator)

    seen = []
    history = flow.train(flow.VelocityMLP(hidden=8), impatient, 100, batch=8)
    assert history.interrupted
    assert len(history.losses) == 3


def test_ctrl_c_before_the_first_step_leaves_the_net_as_it_was():
    model = Point(0.25)
    with Run(model, 10) as run:
        for _ in run:
            raise KeyboardInterrupt
    assert run.history.interrupted
    assert model.value.item() == 0.25


def test_another_error_closes_the_bar_and_goes_on_its_way(bars):
    with pytest.raises(ZeroDivisionError), Run(Point(), 10) as run:
        for _ in run:
            1 / 0  # noqa: B018
    assert bars[0].closed
    assert not run.history.interrupted


def test_a_run_that_ends_is_not_interrupted():
    _, history = trained(1)
    assert not history.interrupted
    assert history.seconds > 0


@pytest.mark.parametrize(
    ("of_processor", "name"), [(False, "perf_counter"), (True, "process_time")]
)
def test_a_time_limit_ends_the_run_and_its_schedule(of_processor, name, monkeypatch, bars):
    clock = iter(x / 10 for x in range(10_000))  # every look at the clock is 0.1 s later
    monkeypatch.setattr(training.time, name, lambda: next(clock))
    rates, limit = [], {"seconds": 5.0, "of_processor": of_processor}
    with Run(Point(), 10**9, lr=1.0, warmup=0.0, **limit) as run:
        for _ in run:
            rates.append(run.optimizer.param_groups[0]["lr"])
            step_towards(run, 1.0)
    assert len(rates) == 50
    assert rates[24] == pytest.approx(0.5, abs=0.01)  # half the time, half the learning rate
    assert rates[-1] < 0.01
    assert not run.history.interrupted
    assert bars[0].n == bars[0].total == 5.0  # the bar counts seconds, and is full
    assert bars[0].text.startswith("50 steps, loss 0.")


def test_a_run_that_ends_before_its_time_has_a_full_bar(bars):
    with Run(Point(), 7, lr=1.0, seconds=1000.0) as run:
        for _ in run:
            step_towards(run, 1.0)
    assert len(run.history.losses) == 7
    assert bars[0].n == bars[0].total < 1000


# ---- places


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu():
    net = flow.VelocityMLP(hidden=8).cuda()
    generator = torch.Generator("cuda").manual_seed(0)

    def draw_there(n, generator):
        return torch.randn(n, 2, generator=generator, device="cuda"), None

    history = flow.train(net, draw_there, 5, batch=16, generator=generator)
    assert len(history.losses) == 5
    assert all(math.isfinite(L) for L in history.losses)
    assert next(net.parameters()).is_cuda


NOTEBOOK = """
import torch
from cs231n_gen import flow
draw = lambda n, generator: (torch.randn(n, 2, generator=generator), None)
history = flow.train(flow.VelocityMLP(hidden=8), draw, 30, batch=8, label="in a notebook")
print(len(history.losses), "steps")
"""


def test_a_notebook_with_a_bar_runs_headless(tmp_path):
    """ipywidgets draws the bar here: nobody answers its messages, and the run must not wait."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK)])
    client = nbclient.NotebookClient(
        notebook,
        timeout=60,
        store_widget_state=False,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable  # this Python, whatever kernels are installed
    client.execute()
    text = "".join(o.get("text", "") for o in notebook.cells[0].outputs)
    assert "30 steps" in text
