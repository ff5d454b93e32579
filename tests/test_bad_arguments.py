"""Every bad argument of a public constructor or function is refused in words; none becomes a number."""

import importlib
import pkgutil
import re

import pytest

import bad_arguments

MODULES = [importlib.import_module(f"bad_arguments.{m.name}") for m in pkgutil.iter_modules(bad_arguments.__path__)]
# Addresses of objects differ from process to process, and the workers of a suite must agree on the names of tests.
ADDRESS = re.compile(r"( at)? 0x[0-9A-Fa-f]+")
ROWS = [
    pytest.param(row.call, id=ADDRESS.sub("", f"{module.__name__.removeprefix('bad_arguments.')}: {row.name}"))
    for module in MODULES
    for row in module.ROWS
]

# What Python, NumPy and torch say when a value fails deep inside.
DEEP = (
    "unsupported operand",
    "not supported between",
    "object is not",
    "has no attribute",
    "object has no",
    "could not convert",
    "cannot be interpreted",
    "must be real number, not",
    "positional argument",
    "unexpected keyword",
    "ambiguous",
    "only length-1",
    "only 0-dimensional",
    "invalid literal",
    "bad operand",
    "setting an array element",
    "incompatible function",
    "isinstance()",
)


@pytest.mark.parametrize("call", ROWS)
def test_a_bad_argument_is_refused_in_words(call):
    with pytest.raises((TypeError, ValueError)) as refused:
        call()
    message = str(refused.value)
    assert len(message.split()) >= 5, message
    assert not [words for words in DEEP if words in message], message
