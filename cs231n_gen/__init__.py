"""Modern generative models, built by the reader: CS231n 2025, lecture 14."""
