"""Attacks that use up time, memory, processes, the disk, or the grader's patience."""


@attack(ends="took more than 2 seconds|used the processor", silent=True, slow=True)
def a_loop_that_catches_everything(x, z, t):
    """Loops for ever, and catches every error and every signal."""
    import contextlib
    import signal

    for number in range(1, 65):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, lambda *_: None)
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


@attack(ends="took more than 2 seconds", silent=True, slow=True)
def sleeps(x, z, t):
    """Sleeps, which costs no processor time."""
    import time

    while True:
        time.sleep(1000)


@attack(ends="took more than 2 seconds|used the processor", silent=True, slow=True)
def a_number_too_large(x, z, t):
    """Computes a power that takes hours inside one operation, where no signal is seen."""
    return 7 ** (7**10)


@attack(ends="took more than 2 seconds|used the processor", silent=True, slow=True, at_import=True)
def loops_at_import():
    """Loops for ever when it is imported."""
    while True:
        pass


@attack(ends="took more than 2 seconds", silent=True, slow=True)
def deadlock(x, z, t):
    """Waits for a lock that it holds itself."""
    import threading

    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def recursion(x, z, t):
    """Calls itself without end."""
    tell("falling")
    return recursion(x, z, t)


@attack(ends=r"ended Python|used more memory", silent=True)
def recursion_below_python(x, z, t):
    """Recurses without a limit until the stack is used up."""
    from torch import sys

    sys.setrecursionlimit(10**9)
    deep = None
    for _ in range(5_000_000):
        deep = (deep,)
    return hash(deep)


def many_processes(x, z, t):
    """Forks a few hundred times, and each copy waits: stands for one that never ends."""
    import os
    import time

    if not first_time():
        return
    made = 0
    try:
        while made < 500:
            if os.fork() == 0:
                time.sleep(10)
                os._exit(0)
            made += 1
    except OSError as error:
        tell(made, "processes, then", error.errno)


def thread_bomb(x, z, t):
    """Starts threads until no more can be had."""
    import threading

    stop = threading.Event()
    made = 0
    try:
        while made < 1000:
            threading.Thread(target=stop.wait, daemon=True).start()
            made += 1
    except RuntimeError:
        stop.set()
    assert made < 1000, made
    tell(made, "threads")


@attack(ends="used more memory|ended|^$", shows="memory|ended|MemoryError", silent=True)
def memory_by_touching(x, z, t):
    """Takes memory in small pieces, four times what there is, and takes MemoryError for nothing."""
    kept = []
    for _ in range(1 << 15):  # 2 GiB
        try:
            kept.append(bytearray(1 << 16))
        except MemoryError:
            kept.append(kept)
    tell("got all of it")


def memory_by_tensors(x, z, t):
    """Makes a tensor of 2 GiB and many small ones, four times what there is."""
    import torch

    kept = []
    try:
        kept.append(torch.ones(1 << 29))
    except RuntimeError as error:
        tell(type(error).__name__)
    while len(kept) < 500:
        kept.append(torch.ones(1 << 20))  # 2 GB in all
    return kept[0], kept[1]


def memory_by_maps(x, z, t):
    """Maps memory anonymously, shared and from a file on its disk, and locks it."""
    import mmap

    if not first_time():
        return
    kept = []
    try:
        while len(kept) < 32:
            kept.append(mmap.mmap(-1, 1 << 26))
            kept[-1].write(bytes(1 << 26))
    except (OSError, MemoryError) as error:
        kept.clear()
        tell(type(error).__name__)
    assert not kept


def disk_bomb(x, z, t):
    """Writes files until its disk is full, sparse ones and links too."""
    import os

    if not first_time():
        return
    written = 0
    try:
        for n in range(200):
            with open(f"/scratch/{n}", "wb") as file:
                written += file.write(bytes(1 << 20))
    except OSError as error:
        tell(written >> 20, "MiB, then", error.errno)
    assert written <= 64 << 20
    os.close(os.open("/scratch", os.O_RDONLY))


def inode_bomb(x, z, t):
    """Makes empty files and folders until there are no more."""
    import os

    if not first_time():
        return
    made = 0
    try:
        while made < 100_000:
            os.mkdir(f"/scratch/{made}")
            made += 1
    except OSError as error:
        tell(made, "folders, then", error.errno)
    assert made < 2000


def output_bomb(x, z, t):
    """Prints a gigabyte."""
    if first_time():
        tell("printing")
        for _ in range(1000):
            print("x" * 1_000_000)


def a_result_of_ten_gigabytes(x, z, t):
    """Returns tensors that say they are huge, of one number."""
    import torch

    tell("returning")
    if x.requires_grad:  # gradients are of a sum, taken here: it would only take long
        return x, z
    return torch.ones(1).expand(5 << 30), torch.as_strided(torch.ones(1), (1 << 40,), (0,))


def a_result_too_deep(x, z, t):
    """Returns lists nested a hundred thousand deep."""
    deep = []
    for _ in range(100_000):
        deep = [deep]
    tell("returning")
    return deep, deep


def a_result_that_holds_itself(x, z, t):
    """Returns a list that contains itself twice, so that walking it takes for ever."""
    ring = []
    ring += [ring, ring]
    tell("returning")
    return ring, ring


@attack(slow=True, score=0.0, ends="took more|used more memory|used the processor", silent=True)
def a_result_of_many_keys(x, z, t):
    """Returns a dict with ten million keys."""
    return dict.fromkeys(range(10_000_000), 1.0), z


@attack(shows="expected at most 1048576", silent=True)
def a_text_of_a_hundred_megabytes(x, z, t):
    """Returns a text of 100 MB."""
    return "x" * (100_000_000 if first_time() else 2_000_000), "y"


@attack(ends="sent", silent=True)
def many_large_answers(x, z, t):
    """Answers every test with as many numbers as a frame takes."""
    import torch

    tell("returning")
    return torch.zeros(3_500_000), torch.zeros(3_500_000)


@attack(on="sample", slow=True, ends="asked the model more|took more|used the", silent=True)
def a_million_calls(model, z, steps, y=None):
    """Calls the model a million times."""
    for _ in range(1_000_000):
        model(z[:1], z[:1, 0].flatten())


@attack(on="sample", shows="emory|took more|sent|used|asked|alloc|ended", silent=True)
def huge_arguments(model, z, steps, y=None):
    """Calls the model with 20 MB at a time, which the test remembers."""
    import torch

    while True:
        model(torch.zeros(2_500_000, 1, dtype=torch.float64), torch.ones(2_500_000))


@attack(on="sample", shows="emory|took more|sent|used|asked|alloc|ended", silent=True)
def arguments_that_multiply(model, z, steps, y=None):
    """Calls the model with a column and a row, so that the grader computes their product."""
    import torch

    if len(z.shape) == 2:
        model(torch.zeros(8_000, 1, dtype=torch.float64), torch.ones(1, 6_000))


@attack(slow=True, ends="took more than 2 seconds", silent=True)
def a_trickle(x, z, t):
    """Sends the grader a byte now and then, so that it always has something to read."""
    import os
    import time

    number = channel()
    os.write(number, (900_000).to_bytes(4, "big") + bytes(8))
    while True:
        os.write(number, b"[")
        time.sleep(0.01)


@attack(slow=True, ends="took more than 2 seconds|sent|used", silent=True)
def a_flood(x, z, t):
    """Fills the channel with bytes and never reads."""
    import os

    number = channel()
    os.write(number, (1 << 20).to_bytes(4, "big") + (1 << 24).to_bytes(8, "big"))
    while True:
        os.write(number, bytes(1 << 16))
