"""Where student code runs.

    grader: box.Box  ──►  nursery, in bubblewrap  ── fork ──►  child: one submission
    trusted               warm, holds no secret                student code, locked in

The grader speaks to a child over one socket, in the format of `wire`: JSON headers and raw numbers,
lengths checked before anything is allocated, nothing unpickled or evaluated.
"""
