#!/usr/bin/env bash
# Where JupyterLab is installed, `import nbformat` builds an Earley grammar of internationalized addresses.
#
# An expert would guess that `import nbformat` reads Python files and little else: a notebook is checked by a JSON schema
# that asks for no address. But jupyter-events (which JupyterLab needs) installs jsonschema with its extra `format-nongpl`;
# jsonschema then imports rfc3987-syntax when it is imported itself, and that package builds a parser from its grammar with
# lark at once, whether or not an address is ever checked. Most of the time of `import nbformat` goes into it.
#
# Seen with nbformat 5.11.1, jsonschema 4.26.0, rfc3987-syntax 1.1.0, lark 1.3.1, Python 3.11:
#   without the extra: 0.09 s of CPU time, lark is not imported
#   with the extra:    1.12 s of CPU time, lark is imported, 3 start symbols
# Fails if the grammar is no longer built, or costs less than the rest of the import.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"

cat > "$folder/look.py" <<'PY'
import sys
import time

began = time.process_time()
import nbformat  # noqa: E402, F401

took = time.process_time() - began
grammar = sys.modules.get("rfc3987_syntax.syntax_helpers")
starts = len(grammar.syntax_parser.options.start) if grammar else 0
print(f"{took:.2f} {starts}")
PY

$pip nbformat==5.11.1 jsonschema==4.26.0
"$folder/venv/bin/python" "$folder/look.py" > /dev/null  # compiles the files
plain=$("$folder/venv/bin/python" "$folder/look.py")
$pip "jsonschema[format-nongpl]==4.26.0" rfc3987-syntax==1.1.0 lark==1.3.1
"$folder/venv/bin/python" "$folder/look.py" > /dev/null
extra=$("$folder/venv/bin/python" "$folder/look.py")

echo "import nbformat, CPU seconds and start symbols of a grammar: $plain without the extra, $extra with it"
python3 - $plain $extra <<'PY'
import sys

before, none, after, starts = map(float, sys.argv[1:])
assert none == 0, "a grammar is built without the extra too"
assert starts == 3, f"got {starts:.0f} start symbols, expected 3: the grammar is no longer built at import"
assert after > 2 * before, f"the import takes {after / before:.1f} times as long, expected more than 2"
PY
