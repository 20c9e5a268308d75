"""A chapter as a page, without what is useless to a reader who has no kernel."""

import nbformat
from nbformat.notebooknode import NotebookNode

from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.source.markers import find_gaps, make_gaps
from cs231n_gen.grading.source.tree import exercises

WIDGET = "application/vnd.jupyter.widget-view+json"
LOCAL = "local"  # a cell whose output describes the machine it ran on
OPEN = "> *A question for you, in your own words: three or four sentences.*"
ANSWER = "<details><summary>A model answer</summary>\n\n{}\n\n</details>"
SOLUTION = """\
<details><summary>A solution of <code>{}</code></summary>

```python
{}
```

</details>"""


def page(executed: NotebookNode, *, solutions: bool = False) -> NotebookNode:
    """The page of an executed chapter.

    Args:
        executed: the chapter with outputs; it is left as it is.
        solutions: whether solutions and model answers are shown.
    """
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": executed.metadata.kernelspec})
    for cell in executed.cells:
        nb.cells += _cells(cell, solutions)
    return nb


def _cells(cell: NotebookNode, solutions: bool) -> list[NotebookNode]:
    """The cells of the page that a cell becomes."""
    marks = cell.metadata.get("nbgrader", {})
    if cell.cell_type == "markdown":
        if not marks.get("solution"):
            return [_markdown(cell.source)]
        return [_markdown(ANSWER.format(cell.source) if solutions else OPEN)]
    if cell.cell_type != "code":
        return []
    gaps = [] if solutions else find_gaps(cell.source)[0]
    code = nbformat.v4.new_code_cell(make_gaps(cell.source, gaps))
    if LOCAL not in cell.metadata.get("tags", []):
        code.outputs = [out for out in map(_output, cell.outputs) if out]
    if "%load_ext" in cell.source:
        code.metadata["tags"] = ["hide-input"]
    return [code, *(_solution(marks) if solutions and marks.get("grade") else [])]


def _output(out: NotebookNode) -> NotebookNode | None:
    """An output without its widget; of a progress bar nothing is left."""
    if "data" not in out or WIDGET not in out.data:
        return out
    if "text/html" not in out.data:
        return None
    data = {kind: value for kind, value in out.data.items() if kind != WIDGET}
    return nbformat.v4.new_output("display_data", data=data)


def _solution(marks: dict) -> list[NotebookNode]:
    """The lines between the solution markers of the source."""
    for exercise in exercises(ROOT):
        if exercise.grade_id == marks.get("grade_id") and not exercise.in_cell:
            text = exercise.text.splitlines()
            parts = ["\n".join(text[gap.begin : gap.end - 1]) for gap in exercise.gaps]
            return [_markdown(SOLUTION.format(exercise.id, "\n…\n".join(parts)))]
    return []


def _markdown(text: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(text)
