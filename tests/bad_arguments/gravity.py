"""Gravitational waves."""

import torch

from bad_arguments import NOT_COUNTS, NOT_NUMBERS, each
from nearsight.gravity import GaussBonnet, PostEinsteinian, load_asd, sidereal_time, varied_noise

F = torch.arange(20.0, 40.0, dtype=torch.float64)
RNG = torch.Generator()

ROWS = [
    *each(GaussBonnet, "bodies", ("black hole", ("black hole",), ("star", "black hole"), ("neutron star",) * 2, None)),
    *each(GaussBonnet, "orders", (1.0, (1.0,), ("-1",), None)),
    *each(GaussBonnet, "coefficients", ({1.0: "a"}, {"1PN": 1.0}, [1.0], None)),
    *each(GaussBonnet, "end", (*NOT_NUMBERS, 0.0, -1.0)),
    *each(PostEinsteinian, "exponents", ((), (-7, -7), "-7", None, (None,))),
    *each(PostEinsteinian, "end", (*NOT_NUMBERS, 0.0)),
    *each(sidereal_time, "gps", (*NOT_NUMBERS, -1.0)),
    *each(varied_noise, "count", NOT_COUNTS, F, RNG),
    *each(varied_noise, "rng", (None, 0), F, count=1),
    *each(varied_noise, "scale", (*NOT_NUMBERS, -0.1), F, RNG, 1),
    *each(varied_noise, "knots", (*NOT_COUNTS, 1), F, RNG, 1),
    *each(load_asd, "path", (None, 3), F),
]
