"""Figures as pages of their own: modules joined into one, and a frame that needs no network."""

import base64
import html
import json
import posixpath
import re
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

JS = Path(__file__).parent / "js"
IMPORT = re.compile(r"^import [^;]*?from \"(\.[./\w]+)\.mjs\";\n", re.M)
DATA = re.compile(r"^import (\w+) from \"(\.[./\w]+\.json)\" with [^;]*;\n", re.M)
COMMENT = re.compile(r"^\s*(//[^\n]*|/\*\*.*?\*/)\n", re.M | re.S)
FRAME = """\
<iframe title='{title}' style='width:100%;height:640px;border:0' srcdoc='{page}'></iframe>
<details><summary>Still picture</summary><img alt='{title}' src='data:image/png;base64,{still}'>\
</details>"""
PAGE = """\
<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>
<meta name=viewport content="width=device-width"><style>{css}</style>
<body style=margin:0><main id=figure></main><script>
(async (packed) => {{
const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
const script = document.createElement("script");
script.type = "module";
script.textContent = await new Response(stream).text();
document.head.append(script);
}})("{packed}");
</script></body></html>"""


@cache
def module(name: str) -> str:
    """An ES module with those that it imports, joined into one text without comments."""
    return "".join(_parts(name, {}).values())


@cache
def css() -> str:
    """The looks of every figure."""
    return (JS / "ui" / "figure.css").read_text("utf-8")


def document(name: str, state: Mapping[str, object], title: str) -> str:
    """A whole page in which a figure lives by itself; code and numbers are packed (deflate).

    Args:
        name: of its module, `figures/flow_field`.
        state: what its model holds; bytes are written as base64.
        title: of the page.
    """
    figure = module(name).replace("export default { render };", "const figure = { render };")
    script = re.sub(r"^export ", "", figure + _lean("ui/page_host"), flags=re.M)
    plain = {k: _plain(v) for k, v in state.items()}
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    whole = f"const state = {text};\n{script}"
    packed = base64.b64encode(zlib.compress(whole.encode(), 9)).decode()
    return PAGE.format(title=html.escape(title), css=css(), packed=packed)


def frame(page: str, still: bytes, title: str) -> str:
    """A page in a frame, and under it a still picture (PNG) for where frames are not allowed."""
    inside = page.replace("&", "&amp;").replace("'", "&#39;")
    picture = base64.b64encode(still).decode()
    return FRAME.format(title=html.escape(title), page=inside, still=picture)


def _parts(name: str, known: dict[str, str]) -> dict[str, str]:
    text = (JS / f"{name}.mjs").read_text("utf-8")
    for where in IMPORT.findall(text):
        needed = posixpath.normpath(posixpath.join(posixpath.dirname(name), where))
        if needed not in known:
            _parts(needed, known)
    known[name] = _lean(name)
    return known


def _lean(name: str) -> str:
    path = JS / f"{name}.mjs"
    text = IMPORT.sub("", path.read_text("utf-8"))
    text = DATA.sub(lambda found: f"const {found[1]} = {_json(path.parent / found[2])};\n", text)
    text = COMMENT.sub("", text)
    return re.sub(r"^\s+", "", text, flags=re.M)


def _json(path: Path) -> str:
    """What a file of JSON holds, in one line."""
    return json.dumps(json.loads(path.read_text("utf-8")), separators=(",", ":"))


def _plain(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes | memoryview) else value
