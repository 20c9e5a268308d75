"""Grading: a submission's job, its worker, the class, the gradebook."""
