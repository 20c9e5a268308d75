"""`python -m cs231n_gen.train dit`, alone or under `torch.distributed.run`."""

import sys

from cs231n_gen.common.startup import collecting_later
from cs231n_gen.train.options import parse

if __name__ == "__main__":
    options = parse(sys.argv[1:])  # before torch is imported: --help need not wait
    with collecting_later():
        from cs231n_gen.train.run import run
    sys.exit(run(options))
