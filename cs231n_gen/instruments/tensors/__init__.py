"""The tensors that a kernel is called with: arguments by name, layouts in memory."""
