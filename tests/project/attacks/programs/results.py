"""Attacks by what comes back: forged messages, values that lie, evidence made up."""


def _send(header, body=b"", sizes=None):
    """Write a message on the channel by hand."""
    import json
    import os
    import struct

    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    os.write(channel(), struct.pack("!IQ", *(sizes or (len(text), len(body)))) + text + body)


def _answer(value, **more):
    return {"op": "result", "value": value, "output": "this attack ran: forged", **more}


NOTHING = {"d": []}


def an_answer_before_it_is_asked(x, z, t):
    """Sends answers for this call and the calls to come, with a verdict in them."""
    for _ in range(40):
        _send(_answer({"u": [1.0, 1.0]}, passed=True, status="passed", score=1.0, weight=100))
    return z, z


@attack(ends="sent a malformed reply", silent=True)
def messages_of_another_kind(x, z, t):
    """Sends what only the start or the end of a grading may say."""
    for op in ("locked", "loaded", "broken", "done", "ready"):
        _send({"op": op, "says": "all is well", "results": [], "passed": True})


@attack(ends="sent a malformed reply", silent=True)
def a_header_without_end(x, z, t):
    """Announces a header of 4 GB."""
    _send(b"{}", sizes=(2**32 - 1, 0))


@attack(ends="sent a malformed reply", silent=True)
def a_body_without_end(x, z, t):
    """Announces a body of 16 exabytes."""
    _send(_answer({"t": 0}, tensors=[["float32", [1 << 39]]]), sizes=(20, 2**64 - 1))


@attack(ends="sent a malformed reply", silent=True)
def shapes_below_zero(x, z, t):
    """Sends tensors whose negative sizes multiply to what is there."""
    _send(_answer({"t": 0}, tensors=[["float32", [-1, -1]]]), bytes(4))


@attack(ends="sent a malformed reply", silent=True)
def a_shape_too_large_for_its_body(x, z, t):
    """Sends a tensor that says it has a trillion numbers, with four of them."""
    _send(_answer({"t": 0}, tensors=[["float32", [1_000_000, 1_000_000]]]), bytes(16))


@attack(
    at_import=True,
    ends="malformed reply|cannot",
    silent=True,
)
def a_shape_that_overflows():
    """Sends, while it is imported, an empty tensor whose strides overflow."""
    shape = [0, *[(1 << 40) - 1] * 7]
    _send({"op": "loaded", "tensors": [["float32", shape]]})


@attack(ends="sent a malformed reply", silent=True)
def dtypes_that_are_none(x, z, t):
    """Names a dtype that would have to be looked up or evaluated."""
    _send(_answer({"t": 0}, tensors=[["print('a marker')", [1]]]), bytes(4))


@attack(ends="sent a malformed reply", silent=True)
def a_header_too_deep(x, z, t):
    """Sends a header of half a million brackets."""
    _send(b'{"op":"result","value":' + b"[" * 500_000 + b"]" * 500_000 + b"}")


@attack(ends="sent a malformed reply", silent=True)
def a_header_that_is_no_text(x, z, t):
    """Sends a header that is not UTF-8."""
    _send(b'{"op":"result","value":"\xff\xfe\xc0\x80"}')


@attack(ends="sent a malformed reply", silent=True)
def a_pickle(x, z, t):
    """Sends a pickle with a marker: stands for one that runs a command where it is loaded."""
    import pickle

    _send(pickle.dumps("this attack ran: a pickle was loaded"))


@attack(ends="sent a malformed reply", silent=True)
def a_process_of_its_own(x, z, t):
    """Sends a diffusion process, made of functions that the test may have, as a test does."""
    parts = [{"f": n} for n in (0, -1, 10**9, 0)]
    _send(_answer({"u": [{"p": ["Process", *parts]}, {"p": ["Target", *parts[:2]]}]}))


@attack(ends="sent a malformed reply", silent=True)
def a_number_too_long(x, z, t):
    """Sends a number of a million digits, which takes long to read."""
    _send(b'{"op":"result","value":' + b"9" * 1_000_000 + b"}")


def names_that_come_twice(x, z, t):
    """Sends a header whose names come twice, an error first and a result last."""
    _send(
        b'{"op":"error","kind":"E","text":"t","frames":[],"op":"result","value":{"u":[1,2]},'
        b'"output":"this attack ran: twice"}'
    )


def numbers_that_are_none(x, z, t):
    """Sends NaN and infinity as plain numbers."""
    _send(b'{"op":"result","value":{"u":[NaN,-Infinity]},"output":"this attack ran: not a number"}')


@attack(on="sample", ends="sent a malformed reply", silent=True)
def calls_of_what_was_never_lent(model, z, steps, y=None):
    """Calls functions of the grader's by numbers that were never given, and with no arguments."""
    for number in (-1, 10**6, True, "0", None, [0], 1e300):
        _send({"op": "callback", "function": number, "args": [], "kwargs": NOTHING})
    _send({"op": "callback", "function": 0, "args": 3, "kwargs": [4]})
    _send({"op": "callback"})


def answers_from_a_thread(x, z, t):
    """Lets a thread answer, too, while the call still runs."""
    import threading
    import time

    def loop():
        for _ in range(5):
            _send(_answer({"u": [0.0, 0.0]}))
            time.sleep(0.01)

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    return z, z


@attack(on="loss", ends="sent a malformed reply", silent=True)
def generators_that_are_none(model, x, z, t, y=None):
    """Sends states for generators: forged, for numbers never given, thousands of them."""
    import torch

    state = torch.Generator().get_state()
    body = bytes([255]) * len(state)
    layout = [["uint8", [len(state)]]]
    many = [[n, 0] for n in range(-5_000, 0)]
    _send(_answer(1.0, tensors=layout, generators=many), body)


@attack(
    at_import=True,
    ends="malformed reply|cannot",
    silent=True,
)
def a_reason_that_is_none():
    """Says, while it is imported, that it cannot be loaded, for a reason that is no text."""
    _send({"op": "cannot load", "says": {"not": "a text"}})


@attack(at_import=True, score=None, shows=".", silent=True, slow=True)
def claims_to_be_loaded():
    """Says, while it is imported, that it is loaded, and answers before anything is asked."""
    _send({"op": "loaded"})
    for _ in range(30):
        _send({"op": "result", "value": {"u": [1.0, 1.0]}, "status": "passed"})
    raise SystemExit


def not_a_number(x, z, t):
    """Returns NaN, which compares as neither too large nor too small."""
    import torch

    tell("returning")
    return torch.full_like(x, torch.nan), torch.full_like(x, torch.inf)


def other_dtypes(x, z, t):
    """Returns numbers of every other kind and size, in turn."""
    import torch

    kinds = [torch.bool, torch.uint8, torch.int64, torch.complex64, torch.float16, torch.bfloat16]
    first_time()
    tell(kinds[len(calls) % 6])
    return z.to(kinds[len(calls) % 6]), z.to(kinds[len(calls) % 6])


def other_shapes(x, z, t):
    """Returns shapes that broadcast to the one expected: numbers, rows, nothing at all."""
    first_time()
    tell(len(calls))
    wrong = [z[:0], z[:1], z.sum(), z[None], z.flatten()][len(calls) % 5]
    return wrong, wrong


def other_devices(x, z, t):
    """Returns tensors whose numbers are elsewhere or packed: meta, sparse, quantised, of MKL."""
    import torch

    first_time()
    made = [
        lambda: z.to("meta"),
        lambda: z.reshape(len(z), -1).to_sparse(),
        lambda: z.reshape(len(z), -1).to_sparse_csr(),
        lambda: torch.quantize_per_tensor(z.float(), 1.0, 0, torch.qint8),
        lambda: z.to_mkldnn(),
    ]
    tell(len(calls))
    wrong = made[len(calls) % 5]()
    return wrong, wrong


@attack(shows="ended Python|TypeError|dense", silent=True)
def a_nested_tensor(x, z, t):
    """Returns a tensor of tensors of different lengths, which has no shape."""
    import torch

    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    return nested, nested


def a_tensor_that_says_yes(x, z, t):
    """Returns a kind of tensor that answers every question by yes."""
    import torch

    class Yes(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return torch.ones((), dtype=torch.bool)

    tell("returning")
    return z.as_subclass(Yes), z.as_subclass(Yes)


@attack(on="straightness")
def a_number_that_is_every_number(path):
    """Returns a float that equals, exceeds and is exceeded by everything."""

    class Any(float):
        """A number."""

        def __eq__(self, other):
            return True

        __lt__ = __le__ = __gt__ = __ge__ = __eq__
        __hash__ = float.__hash__

        def __sub__(self, other):
            return 0.0

    tell("returning")
    return Any(-12345.678)


def things_that_lie(x, z, t):
    """Returns objects that claim to be tensors, of every length, equal to everything."""
    import torch

    class Liar:
        """A liar."""

        __class__ = torch.Tensor
        shape = dtype = property(lambda self: self)

        def __eq__(self, other):
            return True

        def __len__(self):
            return 2

        def __getattr__(self, name):
            return self

        __hash__ = object.__hash__

    tell("returning")
    return [Liar(), Liar()] if first_time() else Liar()


def arrays_of_objects(x, z, t):
    """Returns arrays of numpy's that hold objects."""
    import numpy

    tell("returning")
    array = numpy.array([x, None, print], dtype=object)
    return array, numpy.array([(1, 2)], dtype=[("passed", "i4"), ("score", "f8")])


def inputs_written_over(x, z, t):
    """Writes its answer into the test's own inputs, so that any answer would be right."""
    tell("writing")
    for tensor in (x, z, t):
        tensor.zero_()
    return x, z


@attack(shows="nested|the function must return|TypeError|has the wrong", silent=True)
def graphs_and_hooks(x, z, t):
    """Returns tensors with a graph whose hooks run when they are touched."""
    y = z.clone().requires_grad_()
    y.register_hook(lambda gradient: tell("hooked"))
    out = y * 1
    out.__dict__["__torch_function__"] = None
    return out[None], out[None]


def remembers_other_tests(x, z, t):
    """Returns what it saw in earlier tests, kept in the module, on the disk and in torch."""
    import os

    import torch

    seen = getattr(torch, "_seen", [])
    torch._seen = [*seen, (x, z)]
    with open("/scratch/seen", "a") as file:
        file.write("x")
    tell(len(seen), os.path.getsize("/scratch/seen"))
    return seen[-1] if seen else (z, z)


@attack(on="sample", without=("trajectory",))
def lives_off_a_later_exercise(model, z, steps, y=None):
    """Answers with the last frame of `trajectory`, which comes later and would be the reference."""
    tell("asking")
    return trajectory(model, z, steps, y)[-1]


@attack(on="sample")
def lives_off_each_other(model, z, steps, y=None):
    """Answers `sample` by `trajectory` while its own `trajectory` answers by `sample`."""
    tell("asking")
    globals()["trajectory"] = lambda *args: sample(*args)[None]
    return trajectory(model, z, steps, y)[-1]


@attack(on="train", score=0.481481)  # 13 of 27: what is asked of draws alone
def evidence_made_up(model, draw, steps, *, batch=1024, generator=None, **options):
    """Draws data, levels and noise as asked, never trains, makes up the losses."""
    import types

    import torch

    tell("forging")
    model.inputs, model.times, model.conditions = [], [], []
    for _ in range(steps):
        x, y = draw(batch, generator)
        t = torch.rand(len(x), generator=generator)
        z = torch.randn(x.shape, generator=generator)
        x_t = (1 - t[:, None]) * x + t[:, None] * z
        model.inputs.append(x_t * torch.nan if steps == 9 else x_t)
        model.times.append(t)
        model.conditions.append(y)
    return types.SimpleNamespace(losses=[0.0] * steps)


@attack(
    on="straightness",
    score=None,
    shows=".",
    silent=True,
)
def a_dict_like_a_summary(path):
    """Returns a dict like the grader's own notes on a tensor, with numbers beyond floats."""
    return {"shape": [], "values": [10**400]}


@attack()
def a_text_for_a_result(x, z, t):
    """Returns a text of a megabyte, which a complaint about it would quote."""
    return tell("returning") or ["x" * 100_000]


@attack()
def lists_to_be_described(x, z, t):
    """Returns lists in lists, which a complaint about them would spell out."""
    nested = 1
    for _ in range(7):
        nested = [nested] * 4
    tell("returning")
    return nested


def a_number_of_many_digits(x, z, t):
    """Returns a whole number of four thousand digits."""
    tell("returning")
    return 10**4000, 10**4000
