"""What a kernel does, seen without a GPU."""
