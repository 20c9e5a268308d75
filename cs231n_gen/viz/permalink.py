"""A setting of a figure as text, as js/ui/permalink.mjs writes and reads it."""

import math
from collections.abc import Mapping
from urllib.parse import parse_qs, quote


def to_link(name: str, setting: Mapping[str, object]) -> str:
    """`figure=flow-field&t=0.4&z=-1.2,0.4`: numbers to four places, booleans as 1 and 0."""
    words = [f"{key}={','.join(map(_word, _listed(value)))}" for key, value in setting.items()]
    return "&".join([f"figure={quote(name, safe='')}", *words])


def from_link(text: str, name: str, like: Mapping[str, object]) -> dict[str, object]:
    """The setting that a link holds, or a whole address that ends with one.

    Args:
        text: the link.
        name: of the figure.
        like: a setting; what the link holds gets the types of its values.
    Raises:
        ValueError: if it is a link to another figure, or a number is malformed.
    """
    words = parse_qs(text.split("#")[-1], keep_blank_values=True)
    if words.get("figure") != [name]:
        raise ValueError(f"a link to {name!r} must begin with figure={name}, got {text!r}")
    return {key: _read(words[key][0], known, key) for key, known in like.items() if key in words}


def _listed(value: object) -> list:
    return [*value] if isinstance(value, list | tuple) else [value]


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return f"{round(value, 4):g}" if abs(value) < 1e4 else repr(round(value, 4))
    return quote(str(value), safe="")


def _read(text: str, known: object, key: str) -> object:
    if isinstance(known, str):
        return text
    if isinstance(known, bool):
        return text == "1"
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if len(numbers) != len(_listed(known)) or not all(map(math.isfinite, numbers)):
        many = isinstance(known, list | tuple)
        wanted = f"{len(known)} numbers" if many else "a number"
        raise ValueError(f"{key} in a link must be {wanted}, got {text!r}")
    if isinstance(known, int):
        return round(numbers[0])
    return numbers if isinstance(known, list | tuple) else numbers[0]
