"""`python -m cs231n_gen.cli.jupyterlab`: JupyterLab as it is, started in half the time."""

import sys

from cs231n_gen.common.startup import collecting_later, defer_iri_parser


def main() -> None:
    """Start JupyterLab with the arguments of the command line."""
    defer_iri_parser()
    with collecting_later():
        from jupyterlab.labapp import main as lab
    lab()


if __name__ == "__main__":
    sys.exit(main())
