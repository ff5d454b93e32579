"""Gravitational waves."""

import torch

from bad_arguments import NOT_COUNTS, NOT_NUMBERS, each
from nearsight.gravity import (
    ComponentRatio,
    Cosine,
    Coupling,
    GaussBonnet,
    PostEinsteinian,
    Power,
    Prior,
    Sine,
    Uniform,
    load_asd,
    sidereal_time,
    varied_noise,
)

F = torch.arange(20.0, 40.0, dtype=torch.float64)
RNG = torch.Generator()
KNOWN = {name: 0.5 for name in ("chirp_mass", "mass_ratio", "chi_1", "chi_2", "inclination", "phase", "ra", "dec")}
PRIOR = Prior({**KNOWN, "psi": 0.1, "time": 1.0, "distance": Uniform(1, 2)})

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
    *each(Uniform, "high", (*NOT_NUMBERS, 1.0, 0.5), low=1.0),
    *each(Power, "low", (*NOT_NUMBERS, 0.0, 3.0), exponent=-1.0, high=2.0),
    *each(Sine, "high", (*NOT_NUMBERS, 3.2, 0.0)),
    *each(Cosine, "low", (*NOT_NUMBERS, -1.6, 2.0)),
    *each(ComponentRatio, "low", (*NOT_NUMBERS, 0.0, 1.0)),
    *each(Coupling, "variable", ("alpha", None)),
    *each(Coupling, "zeta", (*NOT_NUMBERS, 0.0, 1.1)),
    *each(Coupling, "most", (*NOT_NUMBERS, 0.0)),
    *each(Coupling, "bodies", (("black hole",), ("neutron star",) * 2, None)),
    *each(Prior, "parameters", (None, {}, KNOWN, [("chirp_mass", 1.0)])),
    *each(Prior, "marginal", ({"phase": 0.5}, {"phase": Coupling()}, 3), {k: KNOWN[k] for k in KNOWN if k != "phase"}),
    *each(PRIOR.sample, "n", NOT_COUNTS, rng=RNG),
    *each(PRIOR.sample, "rng", (None, 0), n=1),
    *each(PRIOR.source, "theta", (F, torch.ones(2, 3))),
    *each(PRIOR.known, "values", (1.0,)),
    *each(PRIOR.log_ratio, "other", (None, PRIOR.names), theta=F[:1]),
]
