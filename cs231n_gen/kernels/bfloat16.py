"""Products of bfloat16 tiles in Triton's interpreter.

The interpreter keeps bfloat16 numbers as the 16 bits they have in memory, and its `tl.dot`
multiplies these bits. A GPU multiplies the numbers and adds up in float32: so does the interpreter,
once it is mended. Other arithmetic needs no mending where a kernel widens what it loads.
"""

import functools


@functools.cache
def mend() -> None:
    """Let `tl.dot` take bfloat16 tiles in the interpreter of this process.

    Raises:
        RuntimeError: if Triton's interpreter makes its products in another place than this knows.
    """
    import numpy as np
    import triton
    import triton.language as tl
    from triton.runtime import interpreter

    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle
    if not hasattr(builder, "create_dot"):
        raise RuntimeError(f"the interpreter of Triton {triton.__version__} has no create_dot")
    plain = builder.create_dot

    def widened(tile):
        if tile.dtype.scalar != tl.bfloat16:
            return tile
        return handle((tile.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def create_dot(self, a, b, *rest):
        return plain(self, widened(a), widened(b), *rest)

    builder.create_dot = create_dot
