"""What passes between the grader and the jail: frames, plain values, tensors, generators."""
