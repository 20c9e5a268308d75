"""What tests of the instruments share."""

from cs231n_gen.instruments.access.audit import Audit
from cs231n_gen.kernels.launch import interpreting


def audited(run):
    """What a function returns, and what its kernels touched, in the interpreter."""
    with interpreting(), Audit() as audit:
        return run(), audit
