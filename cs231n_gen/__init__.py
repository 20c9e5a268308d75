"""Modern generative models, built by the reader: CS231n 2025, lecture 14."""

from cs231n_gen.check import check

__all__ = ["check"]
