"""Numbers in words: as short as they can be, and with all digits that make them what they are."""

from __future__ import annotations

import math
from typing import SupportsFloat


def number_text(x: float) -> str:
    """The shortest text that reads back as the same number: 1, -3.5, 1e-06, 0.30000000000000004.

    Names of models and solvers decide whether two runs are the same run, so they must not round.
    """
    short = f"{x:g}"
    return short if math.isnan(x) or float(short) == x else repr(float(x))


def rounded(x: SupportsFloat, digits: int = 3) -> str:
    """A number for the eye, in so many digits and without an exponent below a million: 0.0123, 116, 5000."""
    return f"{float(f'{float(x):.{digits}g}'):g}"
