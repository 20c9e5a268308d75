"""Training for longer, on any number of processes: the course's network and loss, distributed."""
