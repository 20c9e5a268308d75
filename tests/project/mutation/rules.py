"""The rules that make mutants: each turns a piece of a right answer into wrong ones.

A rule is a function that gets a place in an answer and yields the text to stand there instead:

    EXPRESSION, STATEMENT   any of a solution, as its node: the text replaces it
    RESULT                  what is returned, each part of a tuple by itself: the text replaces it
    START                   the first line of a solution: the text is put before it
    BODY                    all lines of a solution, as text: the text replaces them
    DECORATOR               a decorator of the function around a solution: the text replaces it
    WRAPPER                 a condition outside of a kernel, in its file: the text replaces it

What `kernel_rules` adds holds in kernels alone. No rule looks at what an exercise is about.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from textwrap import indent

EXPRESSION, STATEMENT, RESULT, START, BODY = "expression", "statement", "result", "start", "body"
DECORATOR, WRAPPER = "decorator", "wrapper"


@dataclass(frozen=True)
class Scope:
    """The function around a place.

    name: of the function.
    tensors: its parameters that are tensors, by name: "" or what they may be else, such as None.
    lists: those that are sequences of tensors.
    nets: those that are models, `self` in a method among them.
    defaults: its parameters that have a default value, as text.
    whole: tensors of whole numbers.
    levels: tensors of numbers from 0 to 1.
    bound: names that have a value before a statement, by the line of the statement.
    returns: the annotation of its result.
    without_graph: whether its decorator sees to it that there is none.
    kernel: whether it is a Triton kernel.
    blocks: constants of a kernel's module by the names of its `tl.constexpr` parameters.
    pointers: the other parameters of a kernel.
    """

    name: str
    tensors: dict[str, str] = field(default_factory=dict)
    lists: tuple[str, ...] = ()
    nets: tuple[str, ...] = ()
    defaults: dict[str, str] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    bound: dict[int, frozenset[str]] = field(default_factory=dict)
    returns: str = ""
    without_graph: bool = False
    kernel: bool = False
    blocks: dict[str, str] = field(default_factory=dict)
    pointers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule: its name, what it stands for in one line, where it looks, and what it makes."""

    name: str
    why: str
    at: str
    make: Callable[[object, Scope], Iterator[str]]
    kernels: bool = True
    modules: bool = True


RULES: list[Rule] = []


def rule(name: str, why: str, at: str = EXPRESSION, *, kernels: bool = True, modules: bool = True):
    """Enter a function into the table of rules."""

    def enter(make):
        RULES.append(Rule(name, why, at, make, kernels, modules))
        return make

    return enter


def of(node: ast.AST) -> str:
    """A node as text that can be part of another one."""
    atom = ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.Tuple | ast.List
    plain = isinstance(node, atom) or (isinstance(node, ast.Constant) and not _is_number(node))
    return ast.unparse(node) if plain else f"({ast.unparse(node)})"


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def called(node: ast.AST) -> str:
    """The name of what a call calls, without its module: `mean` of `x.mean()`."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)):
            return name
    return ""


def is_method(node: ast.Call) -> bool:
    """Whether a call is of a method, and not of a function of a module such as `torch.exp`."""
    f = node.func
    modules = ("torch", "tl", "F", "math", "nn", "triton", "libdevice")
    return isinstance(f, ast.Attribute) and ast.unparse(f.value).split(".")[0] not in modules


def without(node: ast.Call, keyword: str, instead: str | None = None) -> str:
    """A call without a keyword, or with another value for it."""
    kept = [k for k in node.keywords if k.arg != keyword]
    if instead is not None:
        kept.append(ast.keyword(keyword, ast.parse(instead, mode="eval").body))
    return ast.unparse(ast.Call(node.func, node.args, kept))


def with_arguments(node: ast.Call, arguments: list[ast.expr]) -> str:
    """A call with other positional arguments."""
    return ast.unparse(ast.Call(node.func, arguments, node.keywords))


# --- arithmetic -----------------------------------------------------------------------------------

OTHERS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.Pow: "*", ast.Mod: "//"}


@rule("sign", "+ for −, × for ÷, a minus lost")
def sign(node, scope):
    match node:
        case ast.BinOp(left=a, op=op, right=b) if type(op) in OTHERS:
            yield f"{of(a)} {OTHERS[type(op)]} {of(b)}"
        case ast.UnaryOp(op=ast.USub(), operand=a):
            yield of(a)


@rule("turned", "b − a for a − b, b / a for a / b")
def turned(node, scope):
    match node:
        case ast.BinOp(left=a, op=ast.Sub(), right=b):
            yield f"{of(b)} - {of(a)}"
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            yield f"{of(b)} / {of(a)}"


@rule("term", "one side of a sum or product forgotten")
def term(node, scope):
    match node:
        case ast.BinOp(left=a, op=ast.Add() | ast.Mult() | ast.BitAnd() | ast.BitOr(), right=b):
            yield of(a)
            yield of(b)
        case ast.BinOp(left=a, op=ast.Sub() | ast.Div() | ast.Pow() | ast.FloorDiv()):
            yield of(a)


@rule("constant", "a number that is off")
def constant(node, scope):
    match node:
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(n)):
            yield from map(str, {n + 1, n - 1, 2 * n})
        case ast.Constant(value=float(c)):
            yield from map(repr, {c + 1, 2 * c, 0.0, 1.0, 0.5, 1.001 * c})


@rule("division", "whole numbers where fractions are meant")
def division(node, scope):
    match node:
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            yield f"{of(a)} // {of(b)}"
        case ast.BinOp(left=a, op=ast.FloorDiv(), right=b):
            yield f"{of(a)} / {of(b)}"


@rule("eps", "a small number that no formula holds")
def eps(node, scope):
    match node:
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            yield f"{of(a)} / ({of(b)} + 1e-6)"
        case ast.Call(func=ast.Attribute(value=a), args=[]) if called(node) in ("log", "sqrt"):
            yield f"({of(a)} + 1e-6).{called(node)}()"
        case ast.Call(func=f, args=[a]) if called(node) in ("log", "sqrt", "rsqrt"):
            yield f"{of(f)}({of(a)} + 1e-6)"


# --- functions ------------------------------------------------------------------------------------

SWAPS = {
    "exp": ("expm1",),
    "exp2": ("exp",),
    "expm1": ("exp",),
    "log": ("log1p",),
    "log1p": ("log",),
    "log2": ("log",),
    "sin": ("cos",),
    "cos": ("sin",),
    "acos": ("asin",),
    "tanh": ("sigmoid",),
    "square": ("abs",),
    "abs": ("square",),
    "sum": ("mean", "max"),
    "mean": ("sum",),
    "var": ("std",),
    "max": ("min",),
    "min": ("max",),
    "amax": ("amin",),
    "maximum": ("minimum",),
    "minimum": ("maximum",),
    "rand": ("randn",),
    "randn": ("rand",),
    "zeros": ("ones",),
    "chunk": ("split",),
    "softmax": ("log_softmax",),
    "log_softmax": ("softmax",),
    "logsigmoid": ("sigmoid", "softplus"),
    "sigmoid": ("tanh", "relu"),
    "rsqrt": ("sqrt",),
    "sqrt": ("rsqrt",),
    "leaky_relu": ("relu",),
    "LeakyReLU": ("ReLU",),
    "Tanh": ("Sigmoid",),
    "BatchNorm2d": ("InstanceNorm2d",),
    "gather": ("index_select",),
}
NAIVE = {
    "logsigmoid": "{0}.sigmoid().log()",
    "log_softmax": "{0}.softmax({1}).log()",
    "softmax": "{0}.exp() / {0}.exp().sum({1}, keepdim=True)",
    "xlogy": "{0} * {1}.log()",
    "logit": "({0} / (1 - {0})).log()",
    "sigmoid": "1 / (1 + (-{0}).exp())",
    "var": "{0}.square().mean({1}, keepdim=True) - {0}.mean({1}, keepdim=True).square()",
}


@rule("function", "a function taken for one like it")
def function(node, scope):
    for other in SWAPS.get(called(node), ()):
        f = node.func
        to = ast.Attribute(f.value, other) if isinstance(f, ast.Attribute) else ast.Name(other)
        yield ast.unparse(ast.Call(to, node.args, node.keywords))


@rule("naive", "a formula that overflows or cancels", kernels=False)
def naive(node, scope):
    if (name := called(node)) not in NAIVE:
        return
    arguments = [of(node.func.value)] if is_method(node) else []
    arguments += [of(a) for a in node.args]
    arguments += [of(k.value) for k in node.keywords if k.arg == "dim"]
    if len(arguments) == 1 or "{1}" in NAIVE[name]:
        yield NAIVE[name].format(*arguments, -1)


@rule("argument sign", "a function of −x for one of x")
def argument_sign(node, scope):
    match node:
        case ast.Call(func=f, args=[a]) if called(node) in SWAPS and not is_method(node):
            yield f"{of(f)}(-{of(a)})"


@rule("call", "a step left out: x for f(x)")
def call(node, scope):
    match node:
        case ast.Call(func=ast.Attribute(value=x)) if is_method(node):
            yield of(x)
        case ast.Call(func=f, args=[x, *_]) if of(f) != "range":
            yield of(x)


@rule("keyword", "an option forgotten")
def keyword(node, scope):
    if not isinstance(node, ast.Call):
        return
    for k in node.keywords:  # nothing but a GPU sees `device`, and `strict` only checks
        if k.arg and k.arg not in ("device", "strict", "mask", "other", "input_precision"):
            yield without(node, k.arg)


@rule("order", "two arguments, or two results, in each other's place")
def order(node, scope):
    match node:
        case ast.Call(args=[_, _, *_] as arguments):
            for i in range(len(arguments) - 1):
                a, b = arguments[i : i + 2]
                yield with_arguments(node, [*arguments[:i], b, a, *arguments[i + 2 :]])
        case ast.Tuple(elts=[a, b], ctx=ast.Load()):
            yield f"({of(b)}, {of(a)})"


# --- axes and broadcasting ------------------------------------------------------------------------

REDUCING = ("sum", "mean", "var", "amax", "max", "softmax", "log_softmax", "min", "std")


@rule("axes", "one axis, all axes or others than those meant", kernels=False)
def axes(node, scope):
    if called(node) not in REDUCING:
        return
    for keyword in node.keywords:
        if keyword.arg == "dim":
            yield from (without(node, "dim", d) for d in ("0", "1", "-1"))
    for i, a in enumerate(node.args):
        rest = node.args[:i], node.args[i + 1 :]
        if isinstance(a, ast.Tuple):
            for one in a.elts:
                yield with_arguments(node, [*rest[0], one, *rest[1]])
        elif isinstance(a, ast.Constant) and _is_number(a):
            for d in ("0", "1", "-1"):
                other = ast.parse(d, mode="eval").body
                yield with_arguments(node, [*rest[0], other, *rest[1]])


@rule("broadcast", "an axis lost or gained, so that numbers meet the wrong ones")
def broadcast(node, scope):
    match node:
        case ast.Subscript(value=x, slice=ast.Tuple(elts=parts)) if any(map(_is_none, parts)):
            yield of(x)
            if len(parts) > 1:
                turned = ", ".join(ast.unparse(p) for p in reversed(parts))
                yield f"{of(x)}[{turned}]"
        case ast.Call(func=ast.Attribute(value=x, attr="reshape" | "expand_as" | "expand")):
            yield of(x)
            yield f"{of(x)}[:, None]"
        case ast.Call(func=ast.Attribute(value=x, attr="flatten")) if node.args:
            yield f"{of(x)}.flatten()"
            yield f"{of(x)}.flatten(0)"


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


@rule("first for all", "one number taken for the numbers of all examples", START, kernels=False)
def first_for_all(scope, _=None):
    for name, other in scope.tensors.items():
        one = f"{name} = {name}[:1].expand_as({name}) if {name}.dim() else {name}"
        yield guarded(name, other, one)


def guarded(name: str, other: str, change: str) -> str:
    """A change of a parameter, made only where it is a tensor."""
    return f"if isinstance({name}, torch.Tensor):\n    {change}" if other else change


# --- decisions ------------------------------------------------------------------------------------

COMPARED = {
    ast.Lt: ("<=", ">"),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<"),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=", ">="),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
}


@rule("comparison", "< for ≤, or the other way round")
def comparison(node, scope):
    if not isinstance(node, ast.Compare):
        return
    sides = [node.left, *node.comparators]
    for i, op in enumerate(node.ops):
        for other in COMPARED.get(type(op), ()):
            text = of(sides[0])
            for j, b in enumerate(sides[1:]):
                same = ast.unparse(ast.Compare(ast.Name("x"), [node.ops[j]], [ast.Name("y")]))
                text += f" {other if i == j else same[2:-2]} {of(b)}"
            yield text
    if len(node.ops) > 1:
        yield ast.unparse(ast.Compare(node.left, node.ops[:1], node.comparators[:1]))
        yield ast.unparse(ast.Compare(sides[-2], node.ops[-1:], sides[-1:]))


@rule("condition", "a case that is always taken, never, or instead of the other")
def condition(node, scope):
    match node:
        case ast.IfExp(test=test, body=a, orelse=b):
            yield of(a)
            yield of(b)
            yield f"{of(b)} if {of(test)} else {of(a)}"
        case ast.BoolOp(op=op, values=values):
            yield (" or " if isinstance(op, ast.And) else " and ").join(map(of, values))
            yield from map(of, values)
        case ast.BinOp(left=a, op=ast.BitAnd(), right=b):
            yield f"{of(a)} | {of(b)}"
        case ast.Call(args=[test, a, b]) if called(node) == "where":
            yield with_arguments(node, [test, b, a])
            yield of(a)
            yield of(b)


@rule("branch", "a case that is always taken, never, or instead of the other", STATEMENT)
def branch(node, scope):
    if isinstance(node, ast.If):
        for test in ("True", "False", f"not {of(node.test)}"):
            yield ast.unparse(ast.If(ast.parse(test, mode="eval").body, node.body, node.orelse))


# --- statements -----------------------------------------------------------------------------------


@rule("dropped statement", "a line forgotten", STATEMENT)
def dropped_statement(node, scope):
    match node:
        case ast.Expr() | ast.AugAssign():
            yield "pass"
        case ast.Assign(targets=[ast.Name(id=name)]) if name in scope.bound.get(node.lineno, ()):
            yield "pass"
        case ast.With(body=body):
            yield "\n".join(map(ast.unparse, body))


@rule("repeated statement", "a line twice", STATEMENT)
def repeated_statement(node, scope):
    if isinstance(node, ast.Expr | ast.AugAssign):
        yield f"{ast.unparse(node)}\n{ast.unparse(node)}"


@rule("early return", "an intermediate value returned", STATEMENT)
def early_return(node, scope):
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]) if scope.name != "__init__":
            yield f"{ast.unparse(node)}\nreturn {name}"
        case ast.For(body=body):
            yield _for(node.target, ast.unparse(node.iter), [*body, ast.Break()])


@rule("loop", "a pass too few or too many", STATEMENT)
def loop(node, scope):
    match node:
        case ast.For(
            target=target, iter=ast.Call(func=ast.Name(id="range"), args=bounds), body=body
        ):
            for i, bound in enumerate(bounds[:2]):
                for change in ("+ 1", "- 1"):
                    text = [of(b) for b in bounds]
                    text[i] = f"{of(bound)} {change}"
                    yield _for(target, f"range({', '.join(text)})", body)
        case ast.For(target=target, iter=steps, body=body):
            for part in ("[1:]", "[:-1]", "[::-1]"):
                yield _for(target, f"list({ast.unparse(steps)}){part}", body)


def _for(target: ast.expr, steps: str, body: list[ast.stmt]) -> str:
    return ast.unparse(
        ast.fix_missing_locations(
            ast.For(target, ast.parse(steps, mode="eval").body, body, [], lineno=1)
        )
    )


# --- arguments ------------------------------------------------------------------------------------


@rule("argument overwritten", "the caller's tensor is not as it was", START, kernels=False)
def argument_overwritten(scope, _=None):
    for name, other in scope.tensors.items():
        yield guarded(name, other, f"{name}, _ = {name}.clone(), {name}.data.add_(1)")
    for name in scope.lists:
        yield f"{name}, _ = [s.clone() for s in {name}], [s.data.add_(1) for s in {name}]"


@rule("argument ignored", "a default or zeros in place of what was given", START, kernels=False)
def argument_ignored(scope, _=None):
    for name, value in scope.defaults.items():
        yield f"{name} = {value}"
    for name, other in scope.tensors.items():
        yield guarded(name, other, f"{name} = torch.zeros_like({name})")
    yield from (f"{name} = [torch.zeros_like(s) for s in {name}]" for name in scope.lists)


@rule("argument clamped", "numbers of extreme size cut off", START, kernels=False)
def argument_clamped(scope, _=None):
    for name, other in scope.tensors.items():
        if name in scope.whole:
            continue
        bounds = "1e-3, 1 - 1e-3" if name in scope.levels else "-10, 10"
        yield guarded(name, other, f"{name} = {name}.clamp({bounds})")


@rule("argument's dtype", "computed in another precision", START, kernels=False)
def argument_dtype(scope, _=None):
    for name, other in scope.tensors.items():
        for change in ("float()", f"float().to({name}.dtype)", f"half().to({name}.dtype)"):
            if name not in scope.whole or change == "float()":
                yield guarded(name, other, f"{name} = {name}.{change}")


@rule("argument detached", "no gradient for an argument", START, kernels=False)
def argument_detached(scope, _=None):
    for name, other in scope.tensors.items():
        if name not in scope.whole and not scope.without_graph:
            yield guarded(name, other, f"{name} = {name}.detach()")


@rule("detach", "a gradient stopped, or let through", kernels=False)
def detach(node, scope):
    match node if not scope.without_graph else None:
        case ast.Call(func=ast.Attribute(value=x, attr="detach")):
            yield of(x)
        case ast.Call(func=ast.Attribute() | ast.Name()) if not _is_made(node):
            yield f"{of(node)}.detach()"


def _is_made(node: ast.Call) -> bool:
    """Whether a call makes numbers on which no gradient depends, or none at all."""
    made = ("full", "full_like", "rand", "randn", "len", "range", "dim", "pairwise", "zip", "draw")
    made += ("size", "requires_grad_", "enable_grad", "zero_grad", "step", "backward", "record")
    return called(node) in made


# --- results --------------------------------------------------------------------------------------


@rule("result's dtype", "another precision than the inputs'", RESULT, kernels=False)
def result_dtype(node, scope):
    yield f"{of(node)}.float()"
    yield f"{of(node)}.double()"
    yield f"(lambda r: r.float().to(r.dtype))({of(node)})"
    yield f"(lambda r: r.half().to(r.dtype))({of(node)})"


@rule("result off", "a little wrong, as tolerances may be loose", RESULT, kernels=False)
def result_off(node, scope):
    yield f"{of(node)} * (1 + 1e-3)"
    yield f"{of(node)} * (1 + 1e-5)"
    yield f"{of(node)} + 1e-6"


@rule("result clamped", "numbers of extreme size cut off", RESULT, kernels=False)
def result_clamped(node, scope):
    yield f"{of(node)}.clamp(-10, 10)"
    yield f"{of(node)}.clamp(min=0)"
    yield f"{of(node)}.clamp(max=0)"
    yield f"{of(node)}.clamp(-1, 1)"


@rule("result's graph", "gradients that end, or begin, at the result", RESULT, kernels=False)
def result_graph(node, scope):
    if not scope.without_graph:
        yield f"{of(node)}.detach()"
    yield f"{of(node)}.detach().requires_grad_()"


@rule("result's shape", "an axis more or less", RESULT, kernels=False)
def result_shape(node, scope):
    yield f"{of(node)}[None]"
    axes = scope.returns.partition("'")[2].strip("']").split()
    if axes or not scope.returns:
        yield f"{of(node)}.squeeze()"
    if len(axes) != 1 or axes[0].startswith("*"):
        yield f"{of(node)}.flatten()"


@rule("result negated", "the other sign", RESULT, kernels=False)
def result_negated(node, scope):
    yield f"-{of(node)}"


# --- what stays behind ----------------------------------------------------------------------------


@rule("random state", "the global generator seeded, or moved", START, kernels=False)
def random_state(scope, _=None):
    yield "torch.manual_seed(0)"
    yield "torch.rand(1)"


@rule("generator", "random numbers from elsewhere than asked", START, kernels=False)
def generator(scope, _=None):
    if "generator" in scope.defaults:
        yield "if generator is None:\n    generator = torch.Generator().manual_seed(0)"
        yield "generator = torch.Generator().manual_seed(0)"
        yield "generator = None if generator is None else generator.clone_state()"


@rule("mode", "a network left in another mode, or used in it", START, kernels=False)
def mode(scope, _=None):
    for net in scope.nets:
        for change in ("eval()", "train()", "requires_grad_(False)", "zero_grad()"):
            yield f"if isinstance({net}, torch.nn.Module):\n    {net}.{change}"


@rule("no graph", "no gradient through the whole answer", BODY, kernels=False)
def no_graph(body, scope):
    if not scope.without_graph:
        yield "with torch.no_grad():\n" + indent(body, "    ")


@rule("graph", "a graph kept where none is promised", BODY, kernels=False)
def graph(body, scope):
    if scope.without_graph:
        yield "with torch.enable_grad():\n" + indent(body, "    ")


@rule("decorator", "a graph kept where none is promised", DECORATOR, kernels=False)
def decorator(node, scope):
    if ast.unparse(node) == "torch.no_grad()":
        yield "torch.enable_grad()"
