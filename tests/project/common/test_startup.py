"""What makes programs start sooner leaves everything as it was."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

PARSER = "rfc3987_syntax"
pytestmark = pytest.mark.skipif(find_spec(PARSER) is None, reason="its parser is not installed")

SETTING = """
import gc, sys
from cs231n_gen.common.startup import collecting_later, defer_iri_parser
"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", SETTING + code], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_the_parser_of_addresses_is_not_built_before_one_is_checked():
    said = run(
        "defer_iri_parser(); import jsonschema; print('lark' in sys.modules)\n"
        "check = jsonschema.FormatChecker(['iri']).conforms\n"
        "print(check('https://ex.ample/ü', 'iri'), check('no address', 'iri'))\n"
        "print('lark' in sys.modules)"
    )
    assert said == ["False", "True", "False", "True"]


def test_a_parser_that_is_built_stays():
    said = run(
        f"import {PARSER} as built; defer_iri_parser()\nprint(sys.modules['{PARSER}'] is built)"
    )
    assert said == ["True"]


def test_collection_goes_on_after_the_imports():
    said = run(
        "with collecting_later(): print(gc.isenabled())\n"
        "print(gc.isenabled()); gc.disable()\n"
        "with collecting_later(): pass\n"
        "print(gc.isenabled())"
    )
    assert said == ["False", "True", "False"]


def test_collection_goes_on_when_an_import_fails():
    said = run(
        "try:\n"
        "    with collecting_later(): import no_such_module\n"
        "except ImportError: print(gc.isenabled())"
    )
    assert said == ["True"]
