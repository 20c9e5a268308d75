"""The instructor's side: reading the source, releasing the course, grading. Never released."""
