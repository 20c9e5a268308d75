"""Attacks that read: hidden tests, references, other submissions, the gradebook, the machine."""


def _files(*folders):
    """Every file below these folders; what anybody can install is left out, for time's sake."""
    import os

    for folder in folders:
        for place, below, names in os.walk(folder):
            below[:] = {*below} - {"site-packages", "node_modules", "share"}
            for name in names:
                yield os.path.join(place, name)


def _read(path, most=1 << 20):
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except (OSError, ValueError):
        return b""


def _texts(values):
    """The texts among values, and in the containers among them."""
    for value in values:
        if isinstance(value, str | bytes):
            yield str(value)
        elif isinstance(value, dict | list | tuple) and len(value) < 1000:
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            yield from (str(v) for v in inner if isinstance(v, str | bytes))


def walks_the_disk(x, z, t):
    """Walks the whole disk for files that are called like tests, gradebooks or submissions."""
    if not first_time():
        return
    wanted = ("test_flow", "gradebook", "secret", "submitted", "grading.json", "feedback")
    own = [p for p in _files("/") if "site-packages" not in p and "/lib/python" not in p]
    found = [p for p in own if any(w in p for w in wanted)]
    tell(len(own), "files;", found, [loot(_read(p)) for p in found])


def opens_what_it_guesses(x, z, t):
    """Opens hidden tests, gradebook and references where the installation says the course is."""
    import glob
    import os
    import re

    from torch import sys

    if not first_time():
        return
    places = {"/", "/root", "/course", "/proc/1/root", "/proc/1/cwd", "/proc/self/cwd", ".."}
    places |= set(glob.glob("/home/*")) | {sys.prefix, os.path.dirname(sys.prefix)}
    for folder in sys.path:
        for path in glob.glob(f"{folder}/*editable*") + glob.glob(f"{folder}/*.pth"):
            places |= set(re.findall(r"/[\w./-]+", _read(path).decode("utf-8", "replace")))
    names = ["tests/hidden/test_flow.py", "gradebook.db", "notebooks", "cs231n_gen/flow.py", ".git"]
    tried = [os.path.join(p, up, n) for p in places for up in ("", "..", "../..") for n in names]
    found = [p for p in tried if "/course" not in p and os.path.exists(p)]
    tell(len(tried), "paths;", found, [loot(_read(p)) for p in found])


def environment(x, z, t):
    """Prints its environment, and that of every process it can name."""
    import ctypes
    import os

    ctypes.CDLL(None).getenv.restype = ctypes.c_char_p
    own = ctypes.CDLL(None).getenv(b"CS231N_GEN_SECRET")
    others = [_read(f"/proc/{p}/environ") for p in ("self", "1", "2", os.getppid())]
    tell(sorted(os.environ), loot(dict(os.environ)), loot(own), [loot(o) for o in others])


def processes_of_others(x, z, t):
    """Reads command line, memory, descriptors and maps of every process in /proc."""
    import os

    if not first_time():
        return
    found = []
    for pid in ["self", *range(70_000)]:
        for name in ("cmdline", "environ", "maps", "mem", "fd/0", "root/etc/passwd"):
            path = f"/proc/{pid}/{name}"
            found += [path] if pid == "self" and os.path.exists(path) else []
        if pid != "self" and os.path.isdir(f"/proc/{pid}"):
            found += [pid, loot(_read(f"/proc/{pid}/environ"))]
    tell(found)


def descriptors(x, z, t):
    """Reads from every open descriptor that is not the channel."""
    import os
    import stat

    found = []
    for number in range(4096):
        try:
            kind = os.fstat(number).st_mode
        except OSError:
            continue
        found.append((number, stat.filemode(kind)))
        if not stat.S_ISSOCK(kind):
            found.append(loot(os.read(number, 1 << 20)))
    assert len(found) < 10, found
    tell(found)


def all_that_lives(x, z, t):
    """Asks the garbage collector for expected values, tolerances, tests and secrets."""
    import gc

    if not first_time():
        return
    found = []
    for thing in gc.get_objects():
        if isinstance(thing, dict):
            names = [k for k in thing if isinstance(k, str)]
            found += [n for n in names if n in ("want", "expected", "atol", "HIDDEN", "hidden")]
            found += loot(" ".join(_texts([thing])))
    tell(found)


def callers(x, z, t):
    """Climbs through the frames of its callers and reads their variables."""
    import inspect

    from torch import sys

    seen, frame = [], sys._getframe()
    while frame:
        seen.append(frame.f_code.co_name)
        names = {"want", "expected", "right", "atol"} & frame.f_locals.keys()
        seen += [f"{n} = {frame.f_locals[n]}" for n in names]
        seen += loot(" ".join(_texts(frame.f_locals.values())))
        frame = frame.f_back
    tell(seen, len(inspect.stack()))


def other_threads(x, z, t):
    """Reads the frames of every other thread of its process."""
    import threading

    from torch import sys

    frames = sys._current_frames()
    tell(
        threading.active_count(),
        [loot(" ".join(_texts(f.f_locals.values()))) for f in frames.values()],
    )


def modules_that_are_loaded(x, z, t):
    """Looks through the loaded modules, and imports the grader and its tests."""
    from torch import importlib, sys

    wanted = "cs231n_gen.grading.run.examiner cs231n_gen.grading.run.worker_client "
    wanted += "cs231n_gen.checking.diagnosis "
    wanted += "tests.hidden.test_flow test_flow tests.accepted.flow tests.mistakes.flow"
    found = [n for n in sys.modules if "test_flow" in n or "hidden" in n]
    for name in wanted.split():
        try:
            found.append(importlib.import_module(name).__name__)
        except Exception as error:
            found.append(type(error).__name__)
    main = vars(sys.modules["__main__"])
    tell(found, loot(main), [n for n in main if "secret" in n.lower()])


@attack(on="loss")
def reference_among_what_is_given(model, x, z, t, y=None):
    """Unpacks the code that the grader gave for other exercises and runs its `loss`."""
    import marshal

    from torch import sys

    course = next(f for f in sys.meta_path if hasattr(f, "modules"))
    given = dict(globals(), __name__="stolen")
    exec(marshal.loads(bytes.fromhex(course.modules["cs231n_gen.flow"]["code"])), given)
    tell(sorted(n for n in given if callable(given[n]))[:9], loot(repr(course.modules)))
    return given["loss"](model, x, z, t, y)


def reference_beside_the_course(x, z, t):
    """Runs `interpolate` of the package that the jail shows, wherever a copy of it lies."""
    from torch import sys

    for folder in sys.path:
        code = _read(f"{folder}/cs231n_gen/flow.py")
        if code:
            tell(folder, "YOUR CODE HERE" in code.decode())
            own = {"__name__": "stolen"}
            exec(code, own)
            return own["interpolate"](x, z, t)
    return None


def memory(x, z, t):
    """Reads its own memory from end to end, for what others left there."""
    import ctypes
    import mmap

    if not first_time():
        return

    libc = ctypes.CDLL(None)
    page, step, seen, found = mmap.PAGESIZE, 1 << 20, 0, []
    resident = (ctypes.c_ubyte * (step // page))()
    for centre in (id(object()), x.data_ptr(), ctypes.addressof(resident)):
        first = (centre & ~(step - 1)) - 24 * step
        for start in range(first, first + 48 * step, step):
            if libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(step), resident) == 0:
                seen += step
                found += loot(ctypes.string_at(start, step))
    assert seen
    secrets = [f for f in found if f.startswith("TOKEN-")]
    tell(seen, "bytes;", secrets)


def memory_of_the_parent(x, z, t):
    """Attaches to its parent and to process 1, without stopping them, and reads their memory."""
    import ctypes
    import os

    libc, found = ctypes.CDLL(None, use_errno=True), []
    room = ctypes.create_string_buffer(64)
    for pid in (os.getppid(), 1, os.getpid()):
        found.append((libc.ptrace(0x4206, pid, 0, 0), ctypes.get_errno()))
        found.append((libc.syscall(310, pid, room, 1, room, 1, 0), ctypes.get_errno()))
    assert all(result == -1 for result, _ in found), found
    tell(found)


def shared_memory(x, z, t):
    """Opens shared memory: files in /dev/shm, and segments of System V by number and by key."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    files = list(_files("/dev/shm"))
    segments = [n for n in range(2000) if libc.shmat(n, None, 0) != -1]
    made = libc.shmget(0x5EC2E7, 4096, 0o1666)
    tell(files, [loot(_read(f)) for f in files], segments, made)


def submissions_of_others(x, z, t):
    """Lists what lies beside its own submission, and follows links to what might."""
    import os

    for name in ("/scratch/link", "/submission/link"):
        try:
            os.symlink("/submission/../..", name)
        except OSError:
            continue
    places = ("/submission", "/submission/..", "/scratch/link/..", "/submitted", "/var", "/tmp")
    seen = {p: sorted(os.listdir(p))[:20] for p in places if os.path.isdir(p)}
    assert seen["/submission"] == ["cs231n_gen"], seen
    tell(seen, [loot(_read(f)) for f in _files("/submission")])


def gradebook(x, z, t):
    """Opens every database there is, and the gradebook by the paths it could have."""
    import contextlib
    import os

    from torch import sys

    if not first_time():
        return
    tried = [p for p in _files("/") if p.endswith((".db", ".sqlite"))]
    tried += ["gradebook.db", "../gradebook.db", os.path.join(sys.prefix, "..", "gradebook.db")]
    found = [(p, loot(_read(p))) for p in tried if os.path.exists(p)]
    for path in tried:
        with contextlib.suppress(Exception):
            import sqlite3

            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as opened:
                found.append(opened.execute("select * from grade").fetchall())
    tell(found)


def history_of_the_course(x, z, t):
    """Looks for a .git in every folder above anything it knows."""
    import os

    from torch import sys

    found = set()
    for path in [os.getcwd(), __file__, sys.executable, sys.prefix, *sys.path]:
        while len(path) > 1:
            path = os.path.dirname(path)
            found |= {os.path.join(path, g) for g in (".git", "HEAD", "packed-refs")}
    there = [p for p in found if os.path.exists(p)]
    tell(len(found), "paths;", there)


def groups_and_devices(x, z, t):
    """Reads control groups, kernel memory, disks and the kernel's messages."""
    import os

    places = "/cgroup /sys/fs/cgroup /sys /dev/mem /dev/kmem /dev/kmsg /dev/sda /dev/vda /dev/fuse"
    found = []
    for path in places.split():
        try:
            found.append((path, os.listdir(path) if os.path.isdir(path) else _read(path, 9)))
        except OSError as error:
            found.append((path, error.errno))
    assert not any(entries for _, entries in found if isinstance(entries, bytes)), found
    tell(found)


def the_wire(x, z, t):
    """Looks ahead on the channel for what the grader will ask or expect next."""
    import os
    import socket

    number = channel()
    ahead = socket.socket(fileno=os.dup(number))
    try:
        seen = ahead.recv(1 << 16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        seen = b"nothing there yet"
    tell(number, loot(seen), len(seen))


@attack(on="sample")
def insides_of_the_model(model, z, steps, y=None):
    """Looks into the model that the test passed: its closure, its globals, what it remembers."""
    found = []
    for name in ("__closure__", "__globals__", "__code__", "__wrapped__", "field", "inputs"):
        found.append(getattr(model, name, "none"))
    tell(found, sorted(vars(model)), [loot(repr(v)) for v in vars(vars(model)["_host"]).values()])


@attack(on="sample")
def errors_of_the_model(model, z, steps, y=None):
    """Calls the model with nonsense, so that its errors quote the test that it is defined in."""
    said = []
    wrong = [(), (1,), (z,), (z, "t"), (z, z, z, z), (None, None), (z[:0], 1), (z, [[[1]]])]
    for args in wrong:
        try:
            model(*args, **({"nonsense": 1} if not args else {}))
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
    tell(said)


def compiled_tests(x, z, t):
    """Looks for compiled tests: __pycache__, pytest's cache, and files of other runs."""
    if not first_time():
        return
    found = [p for p in _files("/") if p.endswith((".pyc", "lastfailed", "nodeids"))]
    hits = [p for p in found if "test_flow" in p or "hidden" in p]
    tell(len(found), "files;", hits)


def mounts_under_mounts(x, z, t):
    """Takes mounts away, mounts things and opens files by handle to see what is underneath."""
    import ctypes

    libc, found = ctypes.CDLL(None, use_errno=True), []
    for call, args in {
        "umount2": (b"/submission", 2),
        "mount": (b"/", b"/scratch", b"none", 4096, None),
        "unshare": (0x10000000 | 0x20000,),
        "setns": (0, 0),
        "chroot": (b"/scratch",),
        "open_by_handle_at": (-100, ctypes.create_string_buffer(64), 0),
        "setuid": (0,),
        "setgid": (0,),
    }.items():
        found.append((call, getattr(libc, call)(*args), ctypes.get_errno()))
    assert all(result == -1 for _, result, _ in found), found
    tell(found)


def old_kinds_of_calls(x, z, t):
    """Asks the kernel by newer ways: io_uring, bpf, keys, file contexts, other kinds of clone."""
    import ctypes

    libc, found = ctypes.CDLL(None, use_errno=True), []
    numbers = {"io_uring_setup": 425, "bpf": 321, "keyctl": 250, "userfaultfd": 323}
    numbers |= {"perf_event_open": 298, "memfd_create": 319, "pidfd_open": 434, "kcmp": 312}
    numbers |= {"clone3": 435, "seccomp": 317, "execveat": 322, "add_key": 248, "fsopen": 430}
    for name, number in numbers.items():
        found.append((name, libc.syscall(number, 0, 0, 0, 0, 0), ctypes.get_errno()))
    assert all(result == -1 for _, result, _ in found), found
    tell(found)


@attack(ends=r"ended Python \(SIGSYS\)", silent=True)
def calls_of_another_architecture(x, z, t):
    """Makes a system call by the numbers of x32, which a careless filter does not check."""
    import ctypes

    ctypes.CDLL(None).syscall(0x40000000 | 39)
    tell("x32 is not refused")
