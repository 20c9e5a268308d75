"""What a notebook file holds, read with care: a submission is hostile until it is rebuilt."""

import json
from dataclasses import dataclass

import nbformat
from nbformat.notebooknode import from_dict

from cs231n_gen.grading.notebook.sanitize_outputs import lines_of, without_controls

LARGEST = 20_000_000  # bytes of a notebook
KINDS = ("code", "markdown", "raw")


class NotANotebook(ValueError):
    """The bytes cannot be read as a notebook; one line for the student."""


@dataclass(frozen=True, eq=False)
class SubmittedCell:
    """A cell as it was submitted: read with care, nothing of it believed."""

    kind: str
    text: str
    id: str
    settings: dict
    raw: dict

    @property
    def grade_id(self) -> str:
        """What it calls itself, or ""."""
        name = self.settings.get("grade_id")
        return name if isinstance(name, str) else ""

    @classmethod
    def read(cls, cell: dict) -> "SubmittedCell":
        """Read a cell out of a notebook's JSON."""
        metadata = cell.get("metadata")
        settings = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        name = cell.get("id")
        kind = cell.get("cell_type")
        return cls(
            kind if kind in KINDS else "raw",
            without_controls(lines_of(cell.get("source"))),
            name if isinstance(name, str) else "",
            settings if isinstance(settings, dict) else {},
            cell,
        )


def read_notebook(submitted: bytes) -> dict:
    """A notebook's JSON, of nbformat 4 or brought up to it.

    Raises:
        NotANotebook: if it cannot be read as one.
    """
    if len(submitted) > LARGEST:
        raise NotANotebook(f"the notebook has {len(submitted)} bytes, expected at most {LARGEST}")
    try:
        notebook = json.loads(submitted.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise NotANotebook("the notebook is not text in UTF-8") from None
    except RecursionError:
        raise NotANotebook("the notebook is nested too deep") from None
    except ValueError:
        raise NotANotebook("the notebook is not JSON; save it again in JupyterLab") from None
    if not isinstance(notebook, dict):
        raise NotANotebook("the file is JSON but not a notebook: expected an object with cells")
    version = notebook.get("nbformat")
    if version == 3:
        try:
            notebook = nbformat.convert(from_dict(notebook), 4)
        except Exception:  # nbformat trusts what it converts
            raise NotANotebook(
                "the notebook is in the old format 3 and cannot be converted"
            ) from None
    elif version != 4:
        raise NotANotebook("the notebook is not in format 4; save it again in JupyterLab")
    if not isinstance(notebook.get("cells"), list):
        raise NotANotebook("the notebook has no list of cells")
    return notebook
