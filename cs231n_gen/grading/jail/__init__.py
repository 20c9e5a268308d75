"""Where student code runs.

    grader: sandbox.Sandbox  ──►  fork server, in bubblewrap  ── fork ──►  child: one submission
    trusted                       warm, holds no secret                    student code, locked in

The grader and a child exchange frames over one socket (`protocol`): JSON headers and raw numbers,
lengths checked before anything is allocated, nothing unpickled or evaluated.
"""
