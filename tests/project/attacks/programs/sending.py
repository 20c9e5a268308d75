"""Attacks that send something out: over the network, to files, or into what a person reads."""


def _refused(*attempts):
    """What came of attempts of which none may succeed."""
    said = []
    for attempt in attempts:
        try:
            said.append(f"succeeded: {attempt()}")
        except OSError as error:
            said.append(type(error).__name__)
    assert not [s for s in said if s.startswith("succeeded")], said
    return said


def internet(x, z, t):
    """Connects to a listener on the grading machine, and sends to one by UDP and IPv6."""
    import socket

    def connect(family, kind, address):
        with socket.socket(family, kind) as sock:
            sock.settimeout(0.2)
            return sock.connect(address)

    four, six = ("127.0.0.1", __PORT__), ("::1", __PORT__)
    tell(
        _refused(
            lambda: connect(socket.AF_INET, socket.SOCK_STREAM, four),
            lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, four),
            lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, six),
        )
    )


def sockets_of_this_machine(x, z, t):
    """Opens unix sockets, abstract ones too, netlink, packet, raw and vsock ones."""
    import socket

    kinds = [(1, 1), (1, 2), (16, 3), (17, 3), (2, 3), (40, 1), (38, 5), (29, 3)]
    tell(_refused(*(lambda k=k: socket.socket(*k) for k in kinds)))


def names(x, z, t):
    """Asks the name server, with the secret in the question."""
    import socket

    tell(
        _refused(
            lambda: socket.getaddrinfo(b"secret.example.org", 80),
            lambda: socket.gethostbyname(b"localhost.example.org"),
        )
    )


def other_programs(x, z, t):
    """Starts programs that could send for it."""
    import os

    def start(path, *arguments):
        child = os.fork()
        if child == 0:
            try:
                os.execv(path, [path, *arguments])
            except OSError:
                os._exit(7)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7:
            raise PermissionError(path)
        return path

    paths = ["/usr/bin/curl", "/bin/sh", "/usr/bin/env", "/bin/ping", "/bin/mount"]
    tell(_refused(*(lambda p=p: start(p, "--help") for p in paths)))


def over_the_wire(x, z, t):
    """Connects its end of the channel elsewhere, and hands descriptors to the grader through it."""
    import array
    import os
    import socket

    number = channel()
    sock = socket.socket(fileno=os.dup(number))
    null = array.array("i", [os.open("/scratch", os.O_RDONLY)] * 8)
    tell(
        _refused(
            lambda: sock.connect(b"\0anything"),
            lambda: sock.bind(b"\0anything"),
            lambda: sock.accept(),
            lambda: sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30),
        )
    )
    sock.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, null)])


def mark_up(x, z, t):
    """Prints and raises mark-up, terminal commands and characters that turn text around."""
    tell("<script>alert(1)</script>\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066 =1+1")
    raise ValueError("<img src=x onerror=alert(1)>\x1b[8m\u202e\x00 ok</pre></div>" * 100)


@attack()
def text_that_is_none(x, z, t):
    """Prints and raises lone surrogates, which cannot be written to a file."""
    tell("\ud800\udfff\udc80")
    raise ValueError("\ud800 \udc80")


def an_endless_name(x, z, t):
    """Raises an error whose class, message, notes and context have millions of characters."""
    error = type("E" * 3_000_000, (Exception,), {})("m" * 5_000_000)
    error.add_note("n" * 5_000_000)
    tell("raising")
    raise error


def an_error_that_explodes(x, z, t):
    """Raises an error whose text raises, whose class lies, and which unpickles to something."""

    class Hostile(Exception):
        """An error."""

        def __str__(self):
            raise SystemExit("from __str__")

        __repr__ = __str__

        def __reduce__(self):
            return (str, ("a pickle was loaded",))

    tell("raising")
    raise Hostile


@attack(ends="ended|sent something", silent=True)
def an_error_of_no_name(x, z, t):
    """Raises an error whose class has a number for a name and whose text is a number."""

    class Meta(type):
        """A class of classes."""

        __name__ = property(lambda cls: 7)

    class Nameless(Exception, metaclass=Meta):
        """An error."""

    raise Nameless


def errors_without_end(x, z, t):
    """Raises an error whose causes form a ring, with a traceback of a hundred thousand frames."""
    from torch import sys

    sys.setrecursionlimit(10**9)

    def deep(n):
        if n == 0:
            first, second = ValueError("one"), ValueError("two")
            first.__cause__, second.__cause__ = second, first
            raise first
        deep(n - 1)

    tell("raising")
    deep(5_000)
