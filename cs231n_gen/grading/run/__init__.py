"""Grading: from a submission to its record and the gradebook.

`session` is the command and `grade_class` grades a class: `assignment` reads submissions and makes
jobs, `pools` spreads them over workers (`worker_client` here, `worker_main` in the process), and
`gradebook` and `marking` write the results. In a worker `examiner` runs the tests, `task` says what
a child needs for an exercise, and `remote_student` with its neighbours asks the child.
`nbgrader_preprocessor` does the same for `nbgrader autograde`.
"""
