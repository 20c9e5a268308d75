"""What a run leaves on the disk for people: the loss curve, samples, TensorBoard's events."""

import csv
import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from cs231n_gen.common.files import draft_of, write_whole
from cs231n_gen.given.training import History
from cs231n_gen.viz.plots import loss_curve

COLUMNS = ("step", "loss", "lr", "seconds")


class Curve:
    """The loss curve in `loss.csv`, a row a step, also in TensorBoard where it is installed.

    Args:
        folder: of the run.
        step: how many steps are done; later rows, of a run that was broken off, are removed.
    """

    def __init__(self, folder: Path, step: int = 0):
        self.path, self.folder = folder / "loss.csv", folder
        self.rows = [row for row in _read(self.path) if int(row[0]) <= step]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *self.rows])
        write_whole(self.path, text.getvalue())
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115, closed by `close`
        self._writer = csv.writer(self._file, lineterminator="\n")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def seconds(self) -> float:
        """How long the steps so far took."""
        return float(self.rows[-1][3]) if self.rows else 0.0

    def add(self, step: int, loss: float, lr: float, seconds: float) -> None:
        """A row for the step that is done."""
        row = [str(step), repr(loss), f"{lr:.6g}", f"{seconds:.3f}"]
        self.rows.append(row)
        self._writer.writerow(row)
        if self._board is not None:
            self._board.add_scalar("loss", loss, step)

    def draw(self) -> None:
        """Bring the rows to the disk, and the curve as `loss.png`."""
        self._file.flush()
        if self._board is not None:
            self._board.flush()
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        losses = [float(row[1]) for row in self.rows]
        loss_curve(figure.subplots(), History(losses).smoothed())
        with draft_of(self.folder / "loss.png") as draft:
            figure.savefig(draft, format="png", dpi=120)

    def close(self) -> None:
        """The last rows."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _read(path: Path) -> list[list[str]]:
    """The whole rows of a curve, without its head: the last may have been cut short."""
    if not path.is_file():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    return [row for row in csv.reader(lines[1:]) if len(row) == len(COLUMNS)]


def write_grid(path: Path, images: Float[Tensor, "n channels height width"], columns: int) -> None:
    """Images in [−1, 1] as one PNG, `columns` a row."""
    pixels = images.detach().float().cpu().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    n, channels, height, width = pixels.shape
    rows = n // columns
    grid = pixels[: rows * columns].reshape(rows, columns, channels, height, width)
    grid = grid.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels).numpy()
    with draft_of(path) as draft:
        Image.fromarray(np.ascontiguousarray(grid.squeeze(-1) if channels == 1 else grid)).save(
            draft, format="PNG"
        )
