"""nbgrader's step that restores a submission's graded cells, made to survive any notebook."""

from nbformat.notebooknode import NotebookNode
from nbgrader.preprocessors import OverwriteCells


class RestoreCells(OverwriteCells):
    """Bring every graded cell back as it was released, those that were deleted too.

    nbgrader takes the name away from a cell that was pasted twice or comes from another chapter,
    and then stumbles over cells without one. Such a cell is no graded cell any more.
    """

    def add_missing_grade_cells(
        self, nb: NotebookNode, resources: dict
    ) -> tuple[NotebookNode, dict]:
        """Add the cells that are missing."""
        for cell in nb.cells:
            if not cell.metadata.get("nbgrader", {}).get("grade_id"):
                cell.metadata.pop("nbgrader", None)
        return super().add_missing_grade_cells(nb, resources)
