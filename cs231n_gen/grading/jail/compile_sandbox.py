"""Where a submission's kernels are compiled: a sandbox of its own that may start programs.

The children of the fork server interpret kernels and may start no program; the GPU's compiler
cannot live beside the interpreter, and starts an assembler. So it gets a sandbox: the interpreter,
the package without solutions, the one submission in its place, no network, no capability, an
ordinary user, a filter of system calls, limits of time, memory and disk.
"""

import contextlib
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

from cs231n_gen.checking.compiled_launches import LIMIT, TARGET
from cs231n_gen.grading.jail import bubblewrap, seccomp
from cs231n_gen.grading.jail.limits import MIB
from cs231n_gen.instruments.compiler.compile import CHILD, Compiled, Compiler
from cs231n_gen.instruments.compiler.launches import Launch

SEEN = "/submission"  # as in a child of the fork server: launches name their files so
LIMITS = {
    resource.RLIMIT_AS: 16384 * MIB,
    resource.RLIMIT_CPU: 300,
    resource.RLIMIT_FSIZE: 64 * MIB,
    resource.RLIMIT_CORE: 0,
}


class CompileSandbox:
    """Compiles launches of one submission.

    Args:
        files: of the submission, texts by name.
        view: the folder of the package as submissions may see it.
        unsafe: without bubblewrap: only limits of time and memory.
    Raises:
        RuntimeError: if the compiler does not start.
    """

    def __init__(self, files: dict[str, str], view: Path, unsafe: bool = False):
        self.files = dict(files)
        with contextlib.ExitStack() as cleanup:
            made = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="compile-"))
            folder = Path(made)
            shutil.copytree(view, folder, dirs_exist_ok=True)
            bubblewrap.write_kernels(folder)
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
            folder.chmod(0o755)
            self.place = str(folder) if unsafe else SEEN
            child = [sys.executable, "-m", CHILD]
            options = {"preexec_fn": _limit}
            if unsafe:
                env = bubblewrap.environment(made, tempfile.gettempdir())
            else:
                filter_ = cleanup.enter_context(tempfile.TemporaryFile())
                filter_.write(seccomp.program(starts_programs=True))
                filter_.seek(0)
                wrapper = bubblewrap.compile_command({folder: SEEN}, filter_.fileno())
                child = [*wrapper, *child]
                env = bubblewrap.environment(SEEN, "/scratch")
                options["pass_fds"] = [filter_.fileno()]
            env |= {"TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""}
            self._compiler = Compiler(child, env, **options)
            self._cleanup = cleanup.pop_all()

    @property
    def dead(self) -> bool:
        """Whether it has to be made again."""
        return self._compiler.dead

    def compile(self, launch: Launch) -> Compiled | None:
        """Compile a launch of a kernel that is written in the submission; None for any other, such
        as one that is given."""
        file = os.path.normpath(launch.file)
        inside = file.startswith(f"{self.place}{os.sep}")
        if not inside or os.path.relpath(file, self.place) not in self.files:
            return None
        return self._compiler.compile(launch, TARGET, LIMIT)

    def close(self) -> None:
        """End it."""
        self._compiler.end()
        self._cleanup.close()


def _limit() -> None:
    for name, most in LIMITS.items():
        hard = resource.getrlimit(name)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (most, most))
