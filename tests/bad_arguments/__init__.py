"""Arguments that no public constructor or function may take: a module for every package, with a list ``ROWS``."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch


class Row(NamedTuple):
    """A call that must be refused, and what it is called in the report."""

    name: str
    call: Callable[[], Any]


def row(function: Callable[..., Any], /, *args: Any, **keywords: Any) -> Row:
    """One call with arguments of which one is bad."""
    given = [*map(_short, args), *(f"{k}={_short(v)}" for k, v in keywords.items())]
    return Row(
        f"{getattr(function, '__qualname__', function)}({', '.join(given)})", lambda: function(*args, **keywords)
    )


def each(function: Callable[..., Any], argument: str, values: Iterable[Any], /, *args: Any, **good: Any) -> list[Row]:
    """One call for every bad value of a keyword argument, the others as given."""
    name = getattr(function, "__qualname__", function)
    return [
        Row(f"{name}({argument}={_short(value)})", lambda value=value: function(*args, **{**good, argument: value}))
        for value in values
    ]


def _short(value: Any) -> str:
    return " ".join(repr(value).split())[:30]


NOT_NUMBERS: tuple[Any, ...] = (None, "1", True, 1j, float, math.nan, np.array([1.0, 2.0]), torch.tensor(math.nan))
"""No real number."""

NOT_FINITE: tuple[Any, ...] = (*NOT_NUMBERS, math.inf, -math.inf)
"""No finite real number."""

NOT_WHOLE: tuple[Any, ...] = (*NOT_NUMBERS, 4.7, 4.0, np.float64(4.0))
"""No whole number."""

NOT_COUNTS: tuple[Any, ...] = (*NOT_WHOLE, 0, -3)
"""No whole positive number."""

NOT_FLAGS: tuple[Any, ...] = (None, "no", 1, 0.0, bool, [])
"""Neither True nor False."""

NOT_OBJECTS: tuple[Any, ...] = (None, 3, "square", [], dict)
"""No lattice, no model, no field type, no force field."""
