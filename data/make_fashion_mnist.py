"""Make `fashion_mnist.npz` from the published files: `python data/make_fashion_mnist.py [FOLDER]`.

FOLDER holds train-images-idx3-ubyte.gz and its three companions, as Debian's package
`dataset-fashion-mnist` installs them (`apt install dataset-fashion-mnist`). The first 1200
training and 200 test images of each class are kept, in their order. The same input gives the same
bytes.
"""

import gzip
import hashlib
import io
import os
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
KEPT = {"train": ("train", 1200), "test": ("t10k", 200)}


def read_idx(path: Path) -> np.ndarray:
    """The array of an idx file: magic number, sizes, bytes (big-endian)."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def chosen(folder: Path, name: str, each: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `each` images of every class, in the order of the file."""
    images = read_idx(folder / f"{name}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz")
    keep = np.sort(np.concatenate([np.flatnonzero(labels == k)[:each] for k in range(10)]))
    return images[keep], labels[keep]


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An npz whose bytes depend on nothing but the arrays: no dates, the strongest compression."""
    temporary = path.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0))
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, 9)
    os.replace(temporary, path)


def main() -> int:
    """Write the file and say its sha256."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEBIAN
    if not folder.is_dir():
        print(
            f"no folder {folder}: install Debian's dataset-fashion-mnist, or name the folder",
            file=sys.stderr,
        )
        return 2
    arrays = {}
    for split, (name, each) in KEPT.items():
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = chosen(folder, name, each)
    path = HERE / "fashion_mnist.npz"
    write_npz(path, arrays)
    print(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}  {path.stat().st_size} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
