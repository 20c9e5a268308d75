"""What every attack may use: how it reports, and what it looks for.

This text stands in every hostile submission, before the attack itself.
"""

calls = []


def tell(*found):
    """Report, by the only way there is: what is printed comes back to the student."""
    print("this attack ran:", *found, flush=True)


def first_time():
    """Whether it is; what takes long is done once."""
    calls.append(1)
    return len(calls) == 1


def loot(data):
    """What is worth having in what was read."""
    import re

    data = data if isinstance(data, bytes) else str(data).encode("utf-8", "replace")
    return [h.decode() for h in re.findall(rb"TOKEN-[0-9a-f]{16}|def test_[a-z]\w+", data)[:3]]


def channel():
    """The descriptor of the socket to the grader."""
    import os
    import stat

    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                return number
        except OSError:
            continue
    raise OSError("there is no channel")
