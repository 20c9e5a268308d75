"""What may stay of a student's outputs and attachments: plots and text, nothing a browser runs."""

import base64
import binascii
import re

from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_output

NOTE = "[the student's own output, not checked]\n"
LARGEST_IMAGE = 2_000_000  # bytes
ALL_IMAGES = 20_000_000  # bytes a notebook
MOST_PIXELS = 50_000_000  # a small file can hold a picture that fills a browser's memory
MOST_TEXT = 4000  # characters of one output
MOST_OUTPUTS = 50  # of a cell
IMAGES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class ImageFilter:
    """Checks the images of one notebook, and counts their bytes."""

    def __init__(self) -> None:
        self.left = ALL_IMAGES

    def check(self, kind: str, data: object) -> str | None:
        """The image in plain base64, or None if it is not an image, broken, or one too many."""
        text = "".join(lines_of(data).split())
        if len(text) > 2 * LARGEST_IMAGE:
            return None
        try:
            image = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return None
        right = image.startswith(IMAGES[kind]) and 0 < _pixels(image) <= MOST_PIXELS
        if not right or len(image) > min(LARGEST_IMAGE, self.left):
            return None
        self.left -= len(image)
        return base64.b64encode(image).decode("ascii")

    def attachments(self, attachments: object) -> dict[str, dict[str, str]]:
        """The images among the attachments of a cell, by their names."""
        kept = {}
        for name, bundle in attachments.items() if isinstance(attachments, dict) else ():
            if not isinstance(bundle, dict) or not _NAME.fullmatch(name):
                continue
            found = {k: self.check(k, bundle[k]) for k in IMAGES if k in bundle}
            found = {kind: data for kind, data in found.items() if data}
            if found:
                kept[name] = found
        return kept


def kept_outputs(outputs: object, images: ImageFilter) -> list[NotebookNode]:
    """A code cell's outputs as a person may look at them: a note first, then images and text."""
    found = [_kept(o, images) for o in _dicts(outputs)[:MOST_OUTPUTS]]
    found = [o for o in found if o is not None and o.get("text") != NOTE]
    return [new_output("stream", name="stdout", text=NOTE), *found] if found else []


def lines_of(text: object) -> str:
    """A text of a notebook, which may be cut into lines; "" for what is not text."""
    if isinstance(text, list):
        text = "".join(part for part in text if isinstance(part, str))
    return text.encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) else ""


def plain(text: object) -> str:
    """A text without colours and control characters; of a progress bar, its last state."""
    text = _CONTROL.sub("", _ANSI.sub("", lines_of(text)).replace("\r\n", "\n"))
    text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    if len(text) <= MOST_TEXT:
        return text
    return f"{text[:MOST_TEXT]}\n[cut: {len(text) - MOST_TEXT} characters more]\n"


def without_controls(text: str) -> str:
    """A source without the control characters that no source needs."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _kept(output: dict, images: ImageFilter) -> NotebookNode | None:
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        text = plain(output.get("text"))
        return new_output("stream", name=name, text=text) if text.strip() else None
    if kind == "error":
        name, value = plain(output.get("ename"))[:200], plain(output.get("evalue"))
        trace = output.get("traceback")
        lines = [lines_of(line) for line in trace] if isinstance(trace, list) else []
        trace = plain("\n".join(lines)).split("\n")
        return new_output("error", ename=name, evalue=value, traceback=trace)
    if kind in ("display_data", "execute_result", "pyout") and isinstance(output.get("data"), dict):
        data = {k: images.check(k, output["data"][k]) for k in IMAGES if k in output["data"]}
        data["text/plain"] = plain(output["data"].get("text/plain"))
        data = {k: v for k, v in data.items() if v}
        # an execute_result would be read as points if the cell ever became a graded one
        return new_output("display_data", data=data) if data else None
    return None


def _dicts(values: object) -> list[dict]:
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def _pixels(image: bytes) -> int:
    """How many pixels the header of a PNG or JPEG promises; 0 if it has none."""
    if image.startswith(IMAGES["image/png"]):
        return int.from_bytes(image[16:20], "big") * int.from_bytes(image[20:24], "big")
    at = 2
    while at + 9 <= len(image) and image[at] == 0xFF:
        marker, length = image[at + 1], int.from_bytes(image[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = image[at + 5 : at + 9]
            return int.from_bytes(size[:2], "big") * int.from_bytes(size[2:], "big")
        at += 2 + length
    return 0
