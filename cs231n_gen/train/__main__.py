"""`python -m cs231n_gen.train dit`, alone or under `torch.distributed.run`."""

import os
import sys

from cs231n_gen.common.startup import collecting_later
from cs231n_gen.train.options import parse

if __name__ == "__main__":
    options = parse(sys.argv[1:])  # before torch is imported: --help need not wait
    with collecting_later():
        from cs231n_gen.train.run import run
    code = run(options)
    if "RANK" in os.environ:
        # all is written; about once in 60 runs a process waited for ever for gloo, while Python
        # cleared up after it (torch 2.13)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
