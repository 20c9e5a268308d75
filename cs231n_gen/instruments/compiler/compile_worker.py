"""The process in which `compile` compiles: one request a line in, one answer a line out.

    python -m cs231n_gen.instruments.compiler.compile_worker        with TRITON_INTERPRET=0

It runs the file that holds the kernel, so that it belongs wherever that file may be run. Whatever
the file prints is kept away from the answers.
"""

import contextlib
import importlib.util
import json
import linecache
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TextIO

import triton
import triton.language as tl
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler.errors import CompilationError

import cs231n_gen.kernels.launch  # noqa: F401  every kernel's file imports it: before the clock runs

TOOLS = Path(nvidia.__file__).parent / "bin"
RUNNABLE = "the_file_of_the_kernel"  # instead of __main__: what a script does when run is not meant
COUNTED = {
    "loads": r"\b(?:LDG|LDGSTS|UTMALDG|UBLKCP)\b",
    "wide_loads": r"\bLDG(?:STS)?(?:\.\w+)*\.(?:128|256)\b|\b(?:UTMALDG|UBLKCP)\b",
    "stores": r"\b(?:STG|UTMASTG)\b",
    "wide_stores": r"\bSTG(?:\.\w+)*\.(?:128|256)\b|\bUTMASTG\b",
    "matrix": r"\b[HIQDB]G?MMA\b",
    "instructions": r"/\*[0-9a-f]{4,}\*/\s+\S",
}
NARROW = re.compile(
    r"\btt\.dot(?:_scaled)?\b.*(?:inputPrecision|tensor<\w*x(?:f16|bf16|i8|f8\w+)>)"
)
SINGLE = re.compile(r"\btt\.dot\b.*:.*tensor<\w*xf32>.*\*.*tensor<\w*xf32>")
ROUNDED = re.compile(r"\btt\.dot\b.*inputPrecision = tf32 *:.*tensor<\w*xf32>.*\*.*tensor<\w*xf32>")


class Unfit(Exception):
    """A launch that cannot even be tried, and why."""


class Files(dict):
    """Modules by file, name and time, each run once, and again when the file is another one."""

    def module(self, file: str, name: str) -> ModuleType:
        """The module of a file."""
        written = Path(file).stat().st_mtime_ns if Path(file).is_file() else 0
        return self[file, name, written]

    def __missing__(self, key: tuple[str, str, int]) -> ModuleType:
        file, name, _ = key
        linecache.checkcache(file)
        name = RUNNABLE if name == "__main__" else name
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or not Path(file).is_file():
            raise Unfit(f"the kernel's file is missing: {file}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        self[key] = module
        return module


def find(module: ModuleType, name: str) -> triton.JITFunction:
    """The kernel whose function has this name, without what is wrapped around it."""
    for value in [getattr(module, name, None), *vars(module).values()]:
        while hasattr(value, "fn") and not isinstance(value, triton.JITFunction):
            value = value.fn  # autotune, heuristics
        if isinstance(value, triton.JITFunction) and value.fn.__name__ == name:
            return value
    raise Unfit(f"the kernel {name} is not defined at the top level of its file")


def compiled(fn: triton.JITFunction, launch: dict, target: int):
    """The kernel as Triton would compile it for this launch."""
    signature = dict(launch["signature"])
    constexprs = {name: decoded(value, fn) for name, value in launch["constexprs"].items()}
    aligned = set(launch["aligned"])
    for p in fn.params:  # what the kernel itself says about its arguments comes first
        if p.is_constexpr or constexprs.get(p.name, 1) is None:
            continue
        if p.annotation_type or p.do_not_specialize:
            if signature[p.name] == "constexpr":
                signature[p.name] = "i32"
            signature[p.name] = p.annotation_type or signature[p.name]
            constexprs.pop(p.name, None)
        if p.do_not_specialize or p.do_not_specialize_on_alignment:
            aligned.discard(p.name)
    at = {name: (place,) for place, name in enumerate(fn.arg_names)}
    source = ASTSource(
        fn,
        signature,
        {at[name]: value for name, value in constexprs.items()},
        {at[name]: [["tt.divisibility", 16]] for name in sorted(aligned)},
    )
    options = {"num_warps": launch["num_warps"], "num_stages": launch["num_stages"]}
    return triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)


def decoded(value: object, fn: triton.JITFunction) -> object:
    """A constant as the kernel takes it, from its form in JSON (`compile.encoded`)."""
    if isinstance(value, dict):
        ((kind, inside),) = value.items()
        if kind == "tuple":
            return tuple(decoded(v, fn) for v in inside)
        if kind == "dtype":
            return tl.dtype(inside)
        if kind == "function":
            return fn.__globals__[inside]
        raise Unfit(f"a constant cannot be sent to the compiler: {inside}")
    return value


def resources(kernel) -> dict:
    """What a compiled kernel needs and which instructions it is made of."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        code = _tool("nvdisasm", "-c", file.name)
    count = {name: len(re.findall(pattern, code)) for name, pattern in COUNTED.items()}
    return {
        "registers": int(re.search(r"REG:(\d+)", usage)[1]),
        "spilled": spilled(kernel.asm["ptx"]) if "STACK:0 " not in usage else 0,
        "shared": kernel.metadata.shared,
        "block_loads": len(re.findall(r"\btt\.load\b.*: tensor<", kernel.asm["ttir"])),
        "block_stores": len(re.findall(r"\btt\.store\b.*: tensor<", kernel.asm["ttir"])),
        "single": len(SINGLE.findall(kernel.asm["ttir"])),
        "rounds": len(ROUNDED.findall(kernel.asm["ttir"])),
        "wants_matrix": bool(NARROW.search(kernel.asm["ttir"])),
        **count,
    }


def spilled(ptx: str) -> int:
    """Bytes of registers that a thread writes to memory: only the assembler tells them from what
    else lies on the stack, as the sine of a large angle does."""
    target = re.search(r"\.target (\w+)", ptx)[1]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx, encoding="utf-8")
        command = [TOOLS / "ptxas", "-v", f"--gpu-name={target}", source, "-o", f"{folder}/cubin"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum(int(n) for n in re.findall(r"(\d+) bytes spill stores", done.stderr))


def _tool(name: str, *args: str) -> str:
    command = [TOOLS / name, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def explained(error: BaseException, file: str, said: str) -> dict:
    """An error in one line and, where the compiler names one, the line of the file it is about."""
    place = None
    while error.__cause__ is not None:
        if isinstance(error, CompilationError):
            place = error
        error = error.__cause__
    if isinstance(error, CompilationError):
        place = error
    text = (getattr(error, "error_message", None) or str(error)).strip()
    if unknown := re.fullmatch(r"unsupported AST node type: (\w+)", text):
        text = f"the compiler knows no {unknown[1].lower()}"
    elif found := re.findall(r"(?:error|fatal) *: (.*)", f"{text}\n{said}"):
        text = found[0]  # of what the tools behind the compiler print
    text = re.sub(r"^(\w+)\(([\"'])(.*)\2\)$", r"\1: \3", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    kind = "" if isinstance(error, CompilationError | Unfit) else f"{type(error).__name__}: "
    answer = {"error": f"{kind}{lines[-1]}".removeprefix("AssertionError: ")}
    if isinstance(error, SyntaxError):
        answer |= {"line": error.lineno, "code": (error.text or "").strip()}
    elif place is not None and place.src and hasattr(place.node, "lineno"):
        answer["code"] = place.src.splitlines()[place.node.lineno - 1].strip()
        before, found, _ = Path(file).read_text(encoding="utf-8").partition(place.src.strip())
        if found:
            answer["line"] = before.count("\n") + place.node.lineno
    return answer


def answer(request: dict, files: Files, said: TextIO) -> dict:
    """What comes of one request: `{"launch": …, "target": 90}`."""
    launch = request["launch"]
    said.seek(0, os.SEEK_END)
    start = said.tell()
    try:
        module = files.module(launch["file"], launch["module"])
        return resources(compiled(find(module, launch["name"]), launch, request["target"]))
    except (Exception, SystemExit) as error:
        sys.stderr.flush()
        said.seek(start)
        return explained(error, launch["file"], said.read())


def main() -> None:
    """Answer until the requests end."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    files = Files()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        answers.write('"ready"\n')
        answers.flush()
        with contextlib.suppress(BrokenPipeError):
            for line in sys.stdin:
                answers.write(json.dumps(answer(json.loads(line), files, said)) + "\n")
                answers.flush()


if __name__ == "__main__":
    main()
