"""nbgrader's configuration of a course: `nbgrader_config.py` in its folder."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traitlets.config import Config

CONFIG = "nbgrader_config.py"


def load_config(root: Path) -> "Config":
    """nbgrader's configuration of the course in a folder."""
    from traitlets.config.loader import PyFileConfigLoader

    return PyFileConfigLoader(CONFIG, path=str(root)).load_config()
