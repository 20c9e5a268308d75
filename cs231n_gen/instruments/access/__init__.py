"""What a kernel reads and writes: out of bounds, races, bytes, program order."""
