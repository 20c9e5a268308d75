"""Markdown of a student that an instructor's browser may show.

It is not enough to clean the text: what counts is what nbconvert makes of it. So a text is
rendered as nbconvert does, and the HTML is held to a list of what ordinary Markdown gives. A text
that passes stays as it is. Otherwise what may do harm is rewritten, and if that does not pass
either, the text is shown as it was typed, in a code block.
"""

import html
import re
from collections.abc import Collection
from html.parser import HTMLParser

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

LONGEST = 20_000  # characters
MOST_FORMULAS = 300  # with \\[ or \begin: for each, the renderer looks through the whole text
MACROS = (  # of MathJax, that make links, set HTML attributes, load files, or build such names
    "href|url|unicode|require|html[A-Za-z]*|class|style|cssId|data|bbox|mmlToken|csname"
    "|includegraphics|action|Tooltip|texttip|mathtip|tooltip"
)
_ADDRESS = re.compile(r"(?:https?://|mailto:)[^\s<>\x00-\x1f]*|#[^\x00-\x1f]*", re.IGNORECASE)
_MACRO = re.compile(rf"\\+(?=(?:{MACROS})(?![A-Za-z]))")
_PICTURE = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=]*")
_PLAIN = "p|em|strong|del|s|code|pre|ul|li|blockquote|hr|br|table|thead|tbody|tr|div|span|dl|dt|dd"
_ALLOWED = {
    **dict.fromkeys(_PLAIN.split("|"), ()),
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), ("id",)),
    **dict.fromkeys(("th", "td"), ("style",)),
    "a": ("href", "title"),
    "img": ("src", "alt", "title"),
    "input": ("type", "disabled", "checked"),
    "ol": ("start",),
}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_VERBATIM = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)|\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]\\]|\\.)*)\]\(((?:[^()\\]|\\.|\([^()]*\))*)\)")
_DEFINITION = re.compile(r"^( {0,3})\[(?=[^\]]+\]:\s*(\S+))", re.MULTILINE)
_ENTITY = re.compile(r"&(?=(#?\w{1,32};))")
_TAG = re.compile(r"<(?!https?://[^\s<>]*>)(?=[A-Za-z/!?])")


class _Harmful(Exception):
    """This Markdown becomes HTML that is not shown."""


def safe_markdown(text: str, attachments: Collection[str] = ()) -> str:
    """Markdown that does nothing in a browser but show itself.

    Raw HTML is shown as text, links other than http, https, mailto and #anchors and images other
    than the cell's own attachments become their text, MathJax's macros that act lose their
    backslash. Harmless Markdown comes back unchanged.

    Args:
        text: what a student wrote.
        attachments: names of the images attached to the cell.
    Returns:
        A text of which nbconvert makes harmless HTML.
    """
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n\n(cut: {len(text) - LONGEST} characters more)"
    attempts = [lambda t: t, lambda t: _rewritten(t, attachments), as_code]
    if text.count("\\\\[") + text.count("\\begin{") > MOST_FORMULAS:
        attempts = [as_code]
    for attempt in attempts:
        candidate = attempt(text)
        if is_harmless(candidate, attachments):
            return candidate
    return "(this text cannot be shown)"


def as_code(text: str) -> str:
    """A text as a Markdown code block."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def is_harmless(text: str, attachments: Collection[str] = ()) -> bool:
    """Whether nbconvert makes HTML of it that only shows: no raw HTML, no script, no tracker."""
    known = {name: {"image/png": ""} for name in attachments}
    try:
        reader = _Reader()
        reader.feed(MarkdownWithMath(renderer=_Renderer(attachments=known)).render(text))
        reader.close()
    except Exception:  # the renderer also stops at what is missing or nested too deep
        return False
    return not _MACRO.search("".join(reader.prose))


class _Renderer(IPythonRenderer):
    """nbconvert's own, that refuses what it would pass on as it is."""

    def __init__(self, **options) -> None:
        super().__init__(escape=False, **options)

    def block_html(self, html: str) -> str:
        raise _Harmful

    def inline_html(self, html: str) -> str:
        raise _Harmful

    def block_mermaidjs(self, code: str) -> str:
        raise _Harmful


class _Reader(HTMLParser):
    """Reads HTML and refuses tags and attributes that ordinary Markdown does not give."""

    def __init__(self) -> None:
        super().__init__()
        self.prose: list[str] = []
        self.code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        allowed = _ALLOWED.get(tag)
        if allowed is None:
            raise _Harmful
        self.code += tag in ("code", "pre")
        for name, value in attrs:
            if not (name == "class" or name in allowed) or not _fits(name, value or ""):
                raise _Harmful

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag in ("code", "pre")

    def handle_data(self, data: str) -> None:
        if not self.code:  # MathJax looks for formulas everywhere but in code
            self.prose.append(data)

    def unknown_decl(self, data: str) -> None:
        raise _Harmful

    handle_comment = handle_decl = handle_pi = unknown_decl


def _fits(name: str, value: str) -> bool:
    if name == "href":
        return bool(_ADDRESS.fullmatch(value))
    if name == "src":
        return bool(_PICTURE.fullmatch(value))
    if name == "style":
        return bool(re.fullmatch(r"text-align: ?(?:left|right|center);?", value))
    if name == "class":
        return bool(re.fullmatch(r"[\w .+#-]*", value)) and "mermaid" not in value
    return True


def _rewritten(text: str, attachments: Collection[str]) -> str:
    """The text with what may do harm made visible; code and formulas are left as they are."""
    done, prose, fence = [], [], ""
    for line in text.split("\n"):
        found = _FENCE.fullmatch(line)
        if fence:
            done.append(line)
            if found and not found[2].strip() and found[1].startswith(fence):
                fence = ""
        elif found:
            named = re.fullmatch(r"(?!mermaid)[\w+#-]*", found[2])
            done += [*_of_prose(prose, attachments), line if named else line[: found.end(1)]]
            prose, fence = [], found[1]
        else:
            prose.append(line)
    return "\n".join([*done, *_of_prose(prose, attachments)])


def _of_prose(lines: list[str], attachments: Collection[str]) -> list[str]:
    if not lines:
        return []
    text, parts, at = "\n".join(lines), [], 0
    for found in _VERBATIM.finditer(text):
        parts += [_made_plain(text[at : found.start()], attachments)]
        parts += [found[0] if found[1] else _MACRO.sub("", found[0])]
        at = found.end()
    return ["".join([*parts, _made_plain(text[at:], attachments)])]


def _made_plain(text: str, attachments: Collection[str]) -> str:
    def entity(found: re.Match) -> str:
        character = html.unescape(f"&{found[1]}")
        hides = len(character) == 1 and character.isascii() and character not in "<>&\"'"
        return "&amp;" if hides else "&"

    def link(found: re.Match) -> str:
        image, shown, target = found.groups()
        address = target.strip().partition(" ")[0].strip("<>")
        if image:
            name = address.removeprefix("attachment:")
            return found[0] if name != address and name in attachments else shown or "(image)"
        return found[0] if _ADDRESS.fullmatch(address) else shown

    def definition(found: re.Match) -> str:
        return found[0] if _ADDRESS.fullmatch(found[2].strip("<>")) else f"{found[1]}\\["

    text = _ENTITY.sub(entity, text)
    for _ in range(3):  # an image may stand in a link
        text = _LINK.sub(link, text)
    text = re.sub(r"!(?=\[(?:[^\[\]\\]|\\.)*\](?!\(attachment:))", "", text)
    text = _TAG.sub("&lt;", _DEFINITION.sub(definition, text))
    return _MACRO.sub("", text)
