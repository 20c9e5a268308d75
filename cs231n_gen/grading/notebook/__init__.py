"""Submitted notebooks: rebuilt from the release, and sanitised."""
