"""Lattices, their neighbours, images and groups."""

import numpy as np

from bad_arguments import NOT_COUNTS, NOT_FLAGS, each
from nearsight.lattices import (
    bcc,
    chain,
    cubic,
    diamond,
    fcc,
    honeycomb,
    kagome,
    square,
    triangular,
)

FINITE = [square, triangular, honeycomb, kagome, cubic]
ALL = [*FINITE, chain, fcc, bcc, diamond]
GOOD = {"name": "x", "vectors": np.eye(2), "basis": [[0.0, 0.0]], "shape": (2, 2)}

ROWS = [
    *(r for make in ALL for r in each(make, "length", NOT_COUNTS)),
    *(r for make in FINITE for r in each(make, "width", [v for v in NOT_COUNTS if v is not None], length=4)),
    *each(cubic, "height", [v for v in NOT_COUNTS if v is not None], length=4),
    *(r for make in ALL for r in each(make, "periodic", [*NOT_FLAGS, (True,) * 4, "yes"], length=4)),
    *each(square, "periodic", [(True, 1), ("yes", "no"), (None, True), ((True,), False)], length=4),
]
