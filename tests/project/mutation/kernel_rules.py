"""Rules for what only a Triton kernel has: masks, widths of numbers, blocks, the wrapper's way."""

import ast
import itertools

from rules import START, STATEMENT, WRAPPER, called, of, rule, without

KERNEL = {"modules": False}


@rule("mask", "an access beyond the end", **KERNEL)
def mask(node, scope):
    if called(node) not in ("load", "store"):
        return
    for k in node.keywords:
        if k.arg != "mask":
            continue
        yield (
            without(node, "mask")
            if called(node) == "store"
            else ast.unparse(
                ast.Call(
                    node.func,
                    node.args,
                    [j for j in node.keywords if j.arg not in ("mask", "other")],
                )
            )
        )
        yield without(node, "mask", f"{of(k.value)} & False")


@rule("other", "another number beyond the end", **KERNEL)
def other(node, scope):
    if called(node) == "load" and any(k.arg == "mask" for k in node.keywords):
        yield without(node, "other", "1.0")
        yield without(node, "other", "float('nan')")


@rule("width", "numbers of fewer bits on the way", **KERNEL)
def width(node, scope):
    match node:  # no conversion at all is one of the `call` rule
        case ast.Call(func=ast.Attribute(value=x, attr="to"), args=[ast.Attribute(attr="int64")]):
            yield f"{of(x)}.to(tl.int16)"
        case ast.Call(func=ast.Attribute(value=x, attr="to"), args=[ast.Attribute(attr="float32")]):
            yield f"{of(x)}.to(tl.float16).to(tl.float32)"
            yield f"{of(x)}.to(tl.bfloat16).to(tl.float32)"


@rule("rounded between", "an intermediate value rounded to half precision", STATEMENT, **KERNEL)
def rounded_between(node, scope):
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp() | ast.Call()):
            text = f"{ast.unparse(node)}\n{name} = {name}.to(tl.{{}}).to({name}.dtype)"
            yield text.format("float16")
            yield text.format("bfloat16")


@rule("tf32", "products of float32 rounded to ten bits", **KERNEL)
def tf32(node, scope):
    if called(node) == "dot":
        if any(k.arg == "input_precision" for k in node.keywords):
            yield without(node, "input_precision")
        yield without(node, "input_precision", "'tf32'")


@rule("program", "a program takes another's block", **KERNEL)
def program(node, scope):
    if called(node) == "program_id":
        yield f"{of(node)} + 1"
        yield f"tl.num_programs(0) - 1 - {of(node)}"
        yield "0"


@rule("block", "a size that only one launch has", **KERNEL)
def block(node, scope):
    match node:
        case ast.Name(id=name, ctx=ast.Load()) if name in scope.blocks:
            yield scope.blocks[name]
            yield f"({name} // 2)"


@rule("ceiling", "the last, partial block left out", **KERNEL)
def ceiling(node, scope):
    match node:
        case ast.Call(args=[a, b]) if called(node) == "cdiv":
            yield f"{of(a)} // {of(b)}"
            yield f"{of(a)} // {of(b)} + 1"


@rule("pointers", "two pointers taken for each other", START, **KERNEL)
def pointers(scope, _=None):
    names = scope.pointers
    for a, b in itertools.pairwise(names):
        yield f"{a}, {b} = {b}, {a}"


@rule("tie", "the last of equals instead of the first", **KERNEL)
def tie(node, scope):
    if isinstance(node, ast.Call):
        for k in node.keywords:
            if k.arg == "return_indices_tie_break_left":
                yield without(node, k.arg, "False")


@rule("wrapper", "torch does the work, and no kernel is launched", WRAPPER, **KERNEL)
def wrapper(node, scope):
    if "uses_kernel" in ast.unparse(node):
        yield "True"
