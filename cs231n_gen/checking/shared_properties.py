"""Properties that all exercises share: what every call of every test has to leave as it was.

    train = pytest.mark.exercise("flow.train", changes=("model",))

The mark says what an exercise's docstring allows or promises beyond the rule: `changes`, arguments
that are changed, and `"model's mode"`; `graph=False`, a result without a
graph although weights take gradients; `new=True`, a result that shares no memory with an argument;
`dtype=False`, results that may have another dtype than the arguments.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cs231n_gen.checking.effects import Note

PREFIX = "shared_"
LEFT, KIND = f"{PREFIX}left", f"{PREFIX}kind"
NAMES = {
    LEFT: "arguments, weights and torch's random state are left as they were",
    KIND: "results have the dtype and the graph that are promised",
}
SENTENCES = {
    "argument": (LEFT, "{where} is changed; it belongs to the caller: work on a copy"),
    "weights": (LEFT, "the weights or buffers of {where} are changed"),
    "gradients": (LEFT, "gradients are left in {where}"),
    "mode": (LEFT, "{where} is left in another mode (train or eval) than it was given in"),
    "frozen": (LEFT, "{where} is left with another requires_grad than it was given with"),
    "random": (
        LEFT,
        "{where} global random state is changed: draw from the generator that is given, and seed "
        "nothing",
    ),
    "setting": (LEFT, "{where} is left changed"),
    "not repeated": (LEFT, "the same generator gives another result the second time"),
    "needs a generator": (LEFT, "without a generator it fails: {where}"),
    "not random": (LEFT, "without a generator two calls give the same numbers"),
    "dtype": (KIND, "the dtype of the arguments is lost: {where}"),
    "graph": (KIND, "the result carries a graph; none is promised: detach it"),
    "graph of nothing": (
        KIND,
        "the result carries a graph, though neither arguments nor weights take gradients",
    ),
    "no graph": (KIND, "no gradient can flow from the result into the weights"),
    "memory": (KIND, "the result shares memory with {where}; a new tensor is promised"),
}


@dataclass(frozen=True)
class Promises:
    """What the mark of an exercise says beyond the rule; see the module."""

    changes: tuple[str, ...] = ()
    graph: bool | None = None
    new: bool = False
    dtype: bool = True

    @classmethod
    def of(cls, mark: dict) -> "Promises":
        """Those among the keywords of a mark."""
        changes, new = tuple(mark.get("changes", ())), bool(mark.get("new"))
        return cls(changes, mark.get("graph"), new, mark.get("dtype", True))

    def broken_by(self, note: Note) -> bool:
        """Whether a note says that a promise is broken."""
        if note.kind in ("argument", "weights", "gradients"):
            return not any(_within(note.where, name) for name in self.changes)
        if note.kind == "mode":
            return f"{note.where.partition('.')[0]}'s mode" not in self.changes
        if note.kind == "graph":
            return self.graph is False
        if note.kind == "no graph":
            return self.graph is not False
        if note.kind == "memory":
            return self.new
        if note.kind == "dtype":
            return self.dtype
        return note.kind in SENTENCES


def _within(where: str, name: str) -> bool:
    return where == name or where.startswith((f"{name}.", f"{name}["))


def about(note: Note, exercise: str) -> bool:
    """Whether a note is about a call of the exercise. That of a kernel is called by its wrapper,
    and through the instruments."""
    if exercise.startswith("kernels."):
        module = exercise.rpartition(".")[0]
        return note.function.startswith((f"{module}.", "instruments.observe."))
    return note.function == exercise


def broken(notes: Iterable[Note], promises: Promises) -> dict[str, list[str]]:
    """The sentences of what broke a promise, by the shared property, each once."""
    found: dict[str, list[str]] = {name: [] for name in NAMES}
    for note in notes:
        if promises.broken_by(note):
            test, sentence = SENTENCES[note.kind]
            says = sentence.format(where=note.where)
            if says not in found[test]:
                found[test].append(says)
    return found


def as_notes(told: object) -> list[Note]:
    """Notes as the jail tells of them: lists of three texts.

    Raises:
        ValueError: if they are something else.
    """
    if not isinstance(told, list):
        raise ValueError(f"notes must be a list, got {type(told).__name__}")
    return [_as_note(note) for note in told]


def _as_note(told: object) -> Note:
    if not isinstance(told, list | tuple) or not all(isinstance(t, str) for t in told):
        raise ValueError("a note must be three texts")
    function, kind, where = (t[:200] for t in _three(told))
    if kind not in SENTENCES:
        raise ValueError(f"there is no note of kind {kind[:40]!r}")
    return Note(function, kind, where)


def _three(told: Sequence) -> Sequence:
    if len(told) != 3:
        raise ValueError(f"a note must be three texts, got {len(told)}")
    return told
