"""`python -m cs231n_gen.cli`."""

from cs231n_gen.cli.main import main

main()
