"""What a kernel does, seen without a GPU: `inspect(noising, x, z, t)`."""


def __getattr__(name: str):
    if name == "inspect":  # loaded when it is asked for: it needs Triton, this package does not
        from cs231n_gen.instruments.inspection import inspect

        return inspect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
