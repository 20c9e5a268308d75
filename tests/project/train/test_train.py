"""Training on one process and on two, broken off and taken up, and what is said when it fails."""

import csv
import inspect
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cs231n_gen import flow, guidance
from cs231n_gen.common.paths import ROOT
from cs231n_gen.train import checkpoints, results
from cs231n_gen.train.draws import draws, indices
from cs231n_gen.train.images import load_examples
from cs231n_gen.train.options import make_parser, parse
from cs231n_gen.train.run import Training, run

TINY = "--dim 8 --depth 1 --heads 2 --patch 16 --batch 4"
TWO = "-m torch.distributed.run --standalone --nproc-per-node 2 -m cs231n_gen.train dit"
CURVE = 1e-5  # sums of float32 in another order differ by less


def train(out, *more, tiny=TINY):
    return run(parse(["dit", "--out", str(out), *tiny.split(), *" ".join(more).split()]))


def curve(out):
    with open(out / "loss.csv", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def one_line(capfd):
    said = [line for line in capfd.readouterr().err.splitlines() if "it/s" not in line]
    said = [line for line in said if not line.startswith("dit:") and line.strip()]
    assert len(said) == 1, said
    return said[0]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def two(out, *more):
    """Two processes; whatever happens, none is left."""
    command = [sys.executable, *TWO.split(), "--out", str(out), *TINY.split()]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(
        [*command, *" ".join(more).split()],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                for one in psutil.Process(process.pid).children(recursive=True):
                    one.kill()
                process.kill()


def worker(process, rank):
    for one in psutil.Process(process.pid).children(recursive=True):
        if one.environ().get("RANK") == str(rank):
            return one
    return pytest.fail(f"no process {rank}")


def wait_for(path, process, seconds=100):
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until, f"there is no {path.name}"
        time.sleep(0.05)


# --- one process and two ------------------------------------------------------------------------


def test_two_processes_follow_the_curve_of_one(tmp_path):
    assert train(tmp_path / "one", "--steps 20 --every 20 --lr 0.01") == 0
    with two(tmp_path / "two", "--steps 20 --every 20 --lr 0.01") as process:
        said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "processes: 2 (gloo, cpu), each with 2 of 4 examples" in said[0]
    assert said[0].count("20 steps are done") == 1
    one, other = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == 20 and one[-1] != one[0]
    assert torch.tensor(one).allclose(torch.tensor(other), atol=CURVE, rtol=0)


@pytest.mark.full  # half a minute of waiting for processes to start
def test_after_a_killed_worker_the_run_goes_on_as_if_nothing_had_been(tmp_path, capfd):
    out = tmp_path / "two"
    with two(out, "--steps 100000 --every 3") as process:
        wait_for(out / "checkpoints" / "step-00000006", process)
        lost = worker(process, 1)
        left = psutil.Process(process.pid).children(recursive=True)
        lost.send_signal(signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    _, alive = psutil.wait_procs(left, timeout=10)
    assert not alive
    lines = [line for line in said.splitlines() if "so the run ends" in line]
    assert len(lines) == 1, said
    last = checkpoints.found(out / "checkpoints")[-1]
    assert f"process 1 (pid {lost.pid})" in lines[0]
    assert "SIGKILL" in lines[0] or "torch.distributed.run says how" in lines[0]
    assert f"The last good checkpoint is {last}" in lines[0] and "--resume --out" in lines[0]
    assert checkpoints.newest(out / "checkpoints") == last

    steps = int(last.name.removeprefix("step-")) + 5
    capfd.readouterr()
    options = ["dit", "--out", str(out), "--resume", "--steps", str(steps), "--every", "100"]
    assert run(parse(options)) == 0
    assert train(tmp_path / "one", f"--steps {steps} --every {steps}") == 0
    broken, unbroken = curve(out), curve(tmp_path / "one")
    assert len(broken) == len(unbroken) == steps
    assert torch.tensor(broken).allclose(torch.tensor(unbroken), atol=CURVE, rtol=0)


def test_a_run_taken_up_is_the_unbroken_one_to_the_bit(tmp_path):
    assert train(tmp_path / "a", "--steps 8 --every 8") == 0
    assert train(tmp_path / "b", "--steps 5 --every 8") == 0
    assert run(parse(["dit", "--out", str(tmp_path / "b"), "--resume", "--steps", "8"])) == 0
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    for name in ("model", "ema"):
        a, b = (
            load_file(tmp_path / f / "checkpoints" / "step-00000008" / f"{name}.safetensors")
            for f in "ab"
        )
        assert all(a[k].equal(b[k]) for k in a)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_what_a_step_sees_does_not_depend_on_the_number_of_processes(count):
    batch, n, y = 8, 20, torch.arange(20) % 3
    share = batch // count
    parts = []
    for rank in range(count):
        places = range(rank * share, (rank + 1) * share)
        index = indices(0, 3, places, batch, n)
        parts.append((index, *draws(0, 3, places, (1, 2, 2), y[index], 3)))
    together = [torch.cat(p) for p in zip(*parts, strict=True)]
    index = indices(0, 3, range(batch), batch, n)
    alone = (index, *draws(0, 3, range(batch), (1, 2, 2), y[index], 3))
    assert all(a.equal(b) for a, b in zip(together, alone, strict=True))


def test_an_epoch_sees_each_image_once_and_the_next_in_another_order():
    seen = torch.cat([indices(0, step, range(6), 6, 10) for step in range(10)]).reshape(6, 10)
    assert (seen.sort().values == torch.arange(10)).all()
    assert len(seen.unique(dim=0)) == 6


def test_noise_levels_and_dropped_conditions_have_their_distributions():
    y = torch.arange(4000) % 10
    z, t, kept = draws(0, 0, range(4000), (4,), y, 10)
    assert abs(z.mean()) < 0.04 and abs(z.std() - 1) < 0.03  # 5 standard errors
    assert abs(t.mean() - 0.5) < 0.023 and t.min() >= 0 and t.max() < 1
    dropped = kept == 10
    assert abs(dropped.float().mean() - 0.1) < 0.024
    assert kept[~dropped].equal(y[~dropped])


# --- checkpoints --------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_checkpoints_before_it(tmp_path, monkeypatch, capfd):
    def full(from_, to):
        raise OSError(28, "No space left on device")

    assert train(tmp_path, "--steps 2 --every 1") == 0
    before = checkpoints.found(tmp_path / "checkpoints")
    capfd.readouterr()
    for name in ("rename", "fsync"):  # at the end, and on the way
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints.os, name, full if name == "rename" else lambda f: full(f, f))
            again = ["dit", "--out", str(tmp_path), "--resume", "--steps", "3"]
            assert run(parse(again)) == 1
        said = one_line(capfd)
        assert "nothing could be written at step 3" in said and "No space left" in said
        assert f"The last good checkpoint is {before[-1]}" in said
        assert sorted((tmp_path / "checkpoints").iterdir()) == before
    assert checkpoints.newest(tmp_path / "checkpoints") == before[-1]


def test_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(tmp_path):
    assert train(tmp_path, "--steps 3 --every 1") == 0
    folder = tmp_path / "checkpoints"
    assert [p.name for p in checkpoints.found(folder)] == ["step-00000002", "step-00000003"]
    (folder / "step-00000004.part").mkdir()  # a process was killed while it wrote
    assert checkpoints.newest(folder).name == "step-00000003"
    path = folder / "step-00000003" / "training.pt"
    path.write_bytes(path.read_bytes()[:1000])
    assert checkpoints.newest(folder).name == "step-00000002"
    assert run(parse(["dit", "--out", str(tmp_path), "--resume", "--steps", "4"])) == 0
    assert len(curve(tmp_path)) == 4


def test_the_average_of_weights_is_kept_apart(tmp_path):
    assert train(tmp_path, "--steps 4 --lr 0.1") == 0
    last = checkpoints.found(tmp_path / "checkpoints")[-1]
    model, average, state = checkpoints.load(last)
    assert model.keys() == average.keys() and state["step"] == state["averaged"] == 4
    assert not all(model[k].equal(average[k]) for k in model)


def test_a_row_of_the_curve_that_was_cut_short_is_left_out(tmp_path):
    (tmp_path / "loss.csv").write_text("step,loss,lr,seconds\n1,2.0,0.1,0.5\n2,1.5,0.1,1.0\n3,1")
    one = results.Curve(tmp_path, 2)
    one.add(3, 1.25, 0.1, 1.5)
    one.close()
    assert curve(tmp_path) == [2.0, 1.5, 1.25]


# --- stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_with_a_checkpoint(tmp_path, capfd, monkeypatch, number):
    own, calls = flow.loss, []

    def loss(*args):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(number)
        return own(*args)

    monkeypatch.setattr(flow, "loss", loss)
    before = signal.getsignal(number)
    assert train(tmp_path, "--steps 9 --every 9") == 128 + number
    assert signal.getsignal(number) == before
    assert "Stopped at step 3 of 9. The last good checkpoint is" in one_line(capfd)
    assert checkpoints.found(tmp_path / "checkpoints")[-1].name == "step-00000003"


@pytest.mark.parametrize(("module", "name"), [(flow, "loss"), (guidance, "sample")])
def test_a_function_that_is_not_written_is_named(tmp_path, capfd, monkeypatch, module, name):
    own = getattr(module, name)
    gap = "def %s(*args):\n    raise NotImplementedError" % name  # noqa: UP031
    names = {}
    exec(compile(gap, inspect.unwrap(own).__code__.co_filename, "exec"), names)
    monkeypatch.setattr(module, name, names[name])
    assert train(tmp_path, "--steps 2") == 1
    said = one_line(capfd)
    assert said.startswith("NotImplementedError: ")
    assert f"{module.__name__.split('.')[-1]}.{name} is not written yet" in said


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, capfd, monkeypatch):
    own = flow.loss
    monkeypatch.setattr(flow, "loss", lambda *args: own(*args) * float("nan"))
    assert train(tmp_path, "--steps 5") == 1
    assert "the loss is nan at step 1: lower --lr" in one_line(capfd)


# --- data ---------------------------------------------------------------------------------------


def fill(folder):
    for name, kinds in (("cats", ("RGB", "L", "P")), ("dogs", ("RGBA", "1"))):
        (folder / name).mkdir(parents=True)
        for i, kind in enumerate(kinds):
            Image.new("RGB", (40 + 7 * i, 30), (200, 10 * i, 0)).convert(kind).save(
                folder / name / f"{i}.png"
            )
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("no image")
    return folder


def test_a_folder_of_images_is_trained_on(tmp_path, capfd):
    mine = fill(tmp_path / "mine")
    found = load_examples(parse(["dit", "--data", str(mine), "--size", "16"]))
    assert found.classes == ["cats", "dogs"] and found.y.tolist() == [0, 0, 0, 1, 1]
    assert found.x.shape == (5, 3, 16, 16)
    x = found.some(torch.tensor([0]))[0, :, 8, 8]
    assert x.allclose(torch.tensor([200 / 127.5 - 1, -1, -1]))
    assert train(tmp_path / "out", f"--data {mine} --size 16 --steps 2") == 0
    assert "5 examples of 16×16×3 in 2 classes" in capfd.readouterr().out
    with Image.open(tmp_path / "out" / "samples" / "step-00000002.png") as grid:
        assert grid.size == (8 * 16, 2 * 16) and grid.mode == "RGB"


def test_files_that_cannot_be_read_are_named(tmp_path, capfd):
    mine = fill(tmp_path / "mine")
    (mine / "dogs" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    assert train(tmp_path / "out", f"--data {mine} --steps 2") == 1
    said = one_line(capfd)
    assert "1 of 6 images" in said and "dogs/torn.jpg" in said


def test_latents_are_trained_on_and_samples_decoded(tmp_path, capfd):
    assert train(tmp_path, "--data latents --steps 1", tiny="--dim 8 --depth 1 --batch 4") == 0
    assert "12,000 examples of 8×8×4 in 10 classes" in capfd.readouterr().out
    with Image.open(tmp_path / "samples" / "step-00000001.png") as grid:
        assert grid.size == (8 * 32, 10 * 32) and grid.mode == "L"


def test_bf16_trains_too(tmp_path):
    assert train(tmp_path / "a", "--steps 6 --lr 0.5 --bf16") == 0
    assert train(tmp_path / "b", "--steps 6 --lr 0.5") == 0
    a, b = torch.tensor(curve(tmp_path / "a")), torch.tensor(curve(tmp_path / "b"))
    assert not a.equal(b) and a.allclose(b, rtol=0.05)


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--steps 0", "--steps: must be a whole number of at least 1, got '0'"),
        ("--batch 2.5", "--batch: must be a whole number of at least 1, got '2.5'"),
        ("--lr nan", "--lr: must be a number above 0, got 'nan'"),
        ("--ema -1", "--ema: must be a number of at least 0"),
        ("--step 5", "unrecognized arguments: --step 5"),
        ("--patch 5", "--patch must divide the side of 32, got 5"),
        ("--dim 10", "--dim must be a multiple of 4 and of the 4 heads, got 10"),
        ("--heads 5", "--dim must be a multiple of 4 and of the 5 heads, got 96"),
        ("--data nowhere", "--data must be garments, latents or a folder, and nowhere is no"),
        ("--size 16", "--size is for a folder of images"),
        ("--resume", "no run to resume"),
    ],
)
def test_a_bad_option_is_one_line_and_status_2(tmp_path, capfd, options, says):
    try:
        code = run(parse(["dit", "--out", str(tmp_path), *options.split()]))
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert says in one_line(capfd)


def test_processes_must_divide_the_batch(tmp_path, capfd, monkeypatch):
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    assert train(tmp_path, "--steps 1") == 2
    assert "--batch must be a multiple of the 3 processes, got 4" in one_line(capfd)


def test_a_run_is_not_written_over_nor_taken_up_with_other_options(tmp_path, capfd):
    assert train(tmp_path, "--steps 1") == 0
    capfd.readouterr()
    assert train(tmp_path, "--steps 1") == 2
    assert "has a run already" in one_line(capfd)
    assert run(parse(["dit", "--out", str(tmp_path), "--resume", "--dim", "16"])) == 2
    assert "--dim was 8 when this run began, got 16" in one_line(capfd)


def test_the_help_tells_of_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(["dit", "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "torch.distributed.run" in said
    for name in parse(["dit"]).__dataclass_fields__.keys() - {"given"}:
        assert f"--{name} " in said


def test_a_process_alone_needs_no_group(tmp_path):
    from cs231n_gen.train.processes import Processes

    one = Training(parse(["dit", "--out", str(tmp_path), *TINY.split()]), Processes())
    assert one.wrapped is one.model and not torch.distributed.is_initialized()
    assert not Path(tmp_path / "options.json").exists()
