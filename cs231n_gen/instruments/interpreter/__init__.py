"""Another process that interprets kernels where this one compiles them."""
