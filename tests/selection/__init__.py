"""What a run of the tests takes on: which cases are drawn, and what a change cannot have broken.

`python tests/selection` says what stands proved; see `ledger` and `dependencies`.
"""
