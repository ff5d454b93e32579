"""Examples in docstrings say what happens."""

import doctest
import importlib
from pathlib import Path

import pytest

import nearsight

ROOT = Path(nearsight.__file__).parent
WITH_EXAMPLES = sorted(
    path for path in ROOT.rglob("*.py") if "\n    >>> " in (text := path.read_text()) or "\n>>> " in text
)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_print_what_they_say(path):
    name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    found = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False
    )
    assert found.attempted and not found.failed
