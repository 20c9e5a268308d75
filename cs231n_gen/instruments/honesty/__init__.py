"""Whether the kernel did the work: what torch did beside it, and where it escapes to."""
