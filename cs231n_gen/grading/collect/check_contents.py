"""Whether a notebook or a module that was handed in can be read safely by what comes after."""

import json

from cs231n_gen.grading.collect.untrusted_files import Unsafe, shown

VALUES, NESTED = 500_000, 60  # lists and objects of a notebook, and how deep they lie
DIGITS = 20


def check_notebook(data: bytes, name: str) -> None:
    """Raises Unsafe if it is not a notebook of nbformat 4 with which nbgrader can be trusted."""
    if data.count(b"[") + data.count(b"{") > VALUES:
        raise Unsafe(f"{name} holds more than {VALUES} lists and objects")
    try:
        text = data.decode("utf-8-sig")
        notebook = json.loads(text, parse_int=short_integer)
    except UnicodeDecodeError:
        raise Unsafe(f"{name} is not UTF-8") from None
    except RecursionError:
        raise Unsafe(f"{name} is nested too deep") from None
    except ValueError as error:
        raise Unsafe(f"{name} is not JSON: {shown(str(error), 80)}") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise Unsafe(f"{name} is not a notebook of nbformat 4")
    if _depth(notebook) > NESTED:
        raise Unsafe(f"{name} is nested too deep")
    cells = notebook.get("cells")
    if not isinstance(cells, list) or not all(map(_is_cell, cells)):
        raise Unsafe(f"{name} is not a notebook: its cells are not cells")
    if "\\ud" in text.lower():
        try:
            json.dumps(notebook, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Unsafe(f"{name} holds text that is not Unicode") from None


def check_module(data: bytes, name: str) -> None:
    """Raises Unsafe if it is not text in UTF-8."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Unsafe(f"{name} is not UTF-8") from None
    if b"\0" in data:
        raise Unsafe(f"{name} holds NUL bytes")


def short_integer(digits: str) -> int:
    """An integer of JSON; raises ValueError for one that would take long to read."""
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _depth(value: object) -> int:
    """How deep lists and objects are nested, at most one more than is allowed."""
    level, depth = [value], 0
    while level and depth <= NESTED:
        inner = [v.values() if isinstance(v, dict) else v for v in level]
        level = [v for values in inner for v in values if isinstance(v, dict | list)]
        depth += 1
    return depth


def _is_cell(cell: object) -> bool:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        return False
    source = cell.get("source")
    lines = source if isinstance(source, list) else [source]
    return isinstance(cell.get("metadata"), dict) and all(isinstance(s, str) for s in lines)
