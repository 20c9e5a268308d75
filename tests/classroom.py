"""A made-up class: submissions of chapter 04 of every kind, for tests and benches.

python tests/classroom.py FOLDER 30     makes FOLDER/student01.zip … student30.zip
"""

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import nbformat

from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.source.markers import STUB, make_gaps
from cs231n_gen.grading.source.tree import exercises

CHAPTER = "04_rectified_flow"
MODULE = "cs231n_gen/flow.py"
FLOW = [e for e in exercises() if e.module == "flow"]
NAMES = [e.name for e in FLOW]
SHORT = "c.GradeSubmission.time_limit = 4.0\nc.GradeSubmission.cpu_limit = 3\n"  # some hang
MADE = "2026-11-20T12:00:00+00:00"

BY_HAND = {
    "reversed": {
        "interpolate": [
            "t = t.reshape(-1, *[1] * (x.dim() - 1))",
            "return t * x + (1 - t) * z, x - z",
        ]
    },
    "half-right": {
        "loss": [
            "x_t, v = interpolate(x, z, t)",
            "answer = model(x_t, t) if y is None else model(x_t, t, y)",
            "print('loss of', len(x), 'examples')",
            "return (answer.detach() - v).square().mean()",
        ],
        "sample": ["return field_of_my_own(model, z, steps)"],
        "straightness": ["return path.square().mean()"],
    },
    "hangs": {"sample": ["while True:", "    pass"]},
    "crashes": {"loss": ["import os", "os._exit(3)"]},
    "eats memory": {
        "trajectory": ["held = []", "while True:", "    held.append(z.new_ones(10**7))"]
    },
    "catches everything": {
        "sample_heun": [
            "while True:",
            "    try:",
            "        while True: z = z + 0",
            "    except BaseException: pass",
        ]
    },
    "snoops": {
        "interpolate": [
            "import os",
            "raise ValueError(repr([os.listdir('/'), dict(os.environ), os.listdir('..')]))",
        ]
    },
}


def flow_with(*right: str, **answers: list[str]) -> str:
    """flow.py with these functions right, those filled in by hand, and gaps in place of others."""
    text = (ROOT / MODULE).read_text("utf-8")
    text = make_gaps(text, [gap for e in FLOW if e.name not in right for gap in e.gaps])
    stub = "".join(f"    {line}\n" for line in STUB.split("\n"))
    for name, lines in answers.items():
        before, head, after = text.partition(f"def {name}(")
        if stub not in after:
            raise ValueError(f"{name} has no gap")
        text = before + head + after.replace(stub, "".join(f"    {x}\n" for x in lines), 1)
    return text


def kinds() -> dict[str, str | None]:
    """The module of every kind of submission, by the kind's name; None where it is missing."""
    every = {"right": flow_with(*NAMES), "blank": flow_with(), "no module": None}
    every["not Python"] = flow_with(*NAMES).replace("    v = z - x\n", "    v = = z - x\n")
    for name, answers in BY_HAND.items():
        every[name] = flow_with(*(n for n in NAMES if n not in answers), **answers)
    return every


def notebooks(released: Path) -> dict[str, bytes]:
    """The notebook in every state, by the state's name."""
    text = released.read_bytes()
    made = {"as released": text, "not a notebook": b"%PDF-1.4", "empty": b""}
    for name, damage in (("answered", _answer), ("shuffled", _shuffle), ("emptied", _empty)):
        notebook = nbformat.reads(text.decode("utf-8"), as_version=4)
        damage(notebook)
        made[name] = nbformat.writes(notebook).encode("utf-8")
    return made


def _answer(notebook) -> None:
    for cell in notebook.cells:
        if cell.source == "YOUR ANSWER HERE":
            cell.source = "Because many pairs meet there: $a < b$ <script>alert(1)</script>."


def _shuffle(notebook) -> None:
    _answer(notebook)
    notebook.cells.reverse()
    notebook.cells.append(nbformat.from_dict({**notebook.cells[0], "id": "copied"}))


def _empty(notebook) -> None:
    notebook.cells = notebook.cells[:2]


def packed(module: str | None, notebook: bytes) -> bytes:
    """A zip as `cs231n-gen submit` makes it."""
    files = {f"{CHAPTER}.ipynb": notebook}
    if module is not None:
        files[MODULE] = module.encode("utf-8")
    hashes = {n: hashlib.sha256(c).hexdigest() for n, c in files.items()}
    manifest = {"format": 1, "chapter": CHAPTER, "made": MADE, "checks": {}, "files": hashes}
    files["manifest.json"] = json.dumps(manifest).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, 20, 12, 0, 0)), content)
    return made.getvalue()


def submissions(count: int, released: Path):
    """`(student, kind, module, notebook)` for a class; every kind occurs, right ones most."""
    modules, sheets = kinds(), notebooks(released)
    others = [k for k in modules if k != "right"]
    states = list(sheets)
    for n in range(count):
        kind = others[n // 2 % len(others)] if n % 2 else "right"
        state = "answered" if n % 3 else states[n // 3 % len(states)]
        yield f"student{n + 1:02}", f"{kind}, {state}", modules[kind], sheets[state]


def main() -> None:
    """Write the zips of a class."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    released = ROOT / "build" / "release" / CHAPTER / f"{CHAPTER}.ipynb"
    for student, _, module, notebook in submissions(count, released):
        (folder / f"{student}.zip").write_bytes(packed(module, notebook))


if __name__ == "__main__":
    main()
