"""Attacks on the exercise that follows: a right answer, and something left behind in the child."""

ON = "the next exercise"


def _right(x, z, t):
    _check_levels(x, t)  # of the module that this text ends
    if x.shape != z.shape:
        raise ValueError
    t = t.reshape(-1, *[1] * (x.dim() - 1))
    return (1 - t) * x + t * z, z - x


def _at_the_next_import(act):
    """Do something when the next exercise's module is imported, for as long as this one lives."""
    from torch import sys

    class Hook:
        def find_spec(self, name, path=None, target=None):
            if name.startswith("cs231n_gen."):
                act()

    if first_time():
        tell("and waits for", ON)
        sys.meta_path.insert(0, Hook())


def _forged(value):
    import json
    import os
    import struct

    header = {"op": "result", "value": value, "output": "this attack ran: forged"}
    text = json.dumps(header).encode()
    os.write(channel(), struct.pack("!IQ", len(text), 0) + text)


@attack(score=1.0)
def answers_laid_up(x, z, t):
    """Sends answers for the next exercise before it is asked."""
    _at_the_next_import(lambda: [_forged(0.0) for _ in range(20)])
    return _right(x, z, t)


@attack(score=1.0)
def it_leaves_later(x, z, t):
    """Ends Python when the next exercise begins."""
    import os

    _at_the_next_import(lambda: os._exit(0))
    return _right(x, z, t)


@attack(score=1.0)
def it_hangs_later(x, z, t):
    """Sleeps for ever when the next exercise begins."""
    import time

    _at_the_next_import(lambda: time.sleep(3600))
    return _right(x, z, t)


@attack(score=1.0)
def memory_kept(x, z, t):
    """Keeps nearly all the memory that there is for the next exercise."""
    import torch

    if first_time():
        tell("and keeps memory for", ON)
        torch.kept = [bytearray(2**24) for _ in range(28)]
    return _right(x, z, t)


@attack(score=1.0)
def descriptors_kept(x, z, t):
    """Leaves no descriptor for the next exercise."""
    import os

    import torch

    if first_time():
        tell("and keeps descriptors for", ON)
        torch.kept = []
        try:
            while True:
                torch.kept.append(os.dup(0))
        except OSError:
            pass
    return _right(x, z, t)


@attack(score=1.0)
def a_thread_that_spins(x, z, t):
    """Leaves a thread that takes the processor from the next exercise, and all of its time."""
    import threading

    def spin():
        while True:
            pass

    if first_time():
        tell("and leaves a thread to", ON)
        threading.Thread(target=spin, daemon=True).start()
    return _right(x, z, t)


@attack(score=1.0)
def a_thread_that_answers(x, z, t):
    """Leaves a thread that answers the next exercise, too, and wrongly."""

    def begin():
        import threading
        import time

        def loop():
            for _ in range(200):
                _forged(-1.0)
                time.sleep(0.001)

        threading.Thread(target=loop, daemon=True).start()

    _at_the_next_import(begin)
    return _right(x, z, t)


@attack(score=1.0)
def a_process_that_listens(x, z, t):
    """Leaves a process that reads the channel in place of the next exercise."""
    import os

    def begin():
        if os.fork() == 0:
            while True:
                os.read(channel(), 1 << 16)

    _at_the_next_import(begin)
    return _right(x, z, t)


@attack(score=1.0)
def arithmetic_turned_around(x, z, t):
    """Turns torch's arithmetic around when the next exercise begins."""
    import torch

    def begin():
        torch.Tensor.square = torch.Tensor.mean = lambda self, *_: self * 0

    _at_the_next_import(begin)
    return _right(x, z, t)


@attack(score=1.0)
def a_host_that_is_not_the_same(x, z, t):
    """Replaces the functions by which the next exercise is loaded and answered."""
    import gc

    from torch import sys

    def begin():
        child = sys.modules["cs231n_gen.grading.jail.child"]
        child.Host.answer = lambda self, frame: self.channel.send({"op": "result", "value": 0.0})
        for found in gc.get_objects():
            if type(found).__name__ == "Host":
                found.student = None

    _at_the_next_import(begin)
    return _right(x, z, t)
