"""Gravitational waves."""

import math

import torch

from bad_arguments import NOT_COUNTS, NOT_NUMBERS, NOT_OBJECTS, each
from nearsight.gravity import (
    DETECTORS,
    ComponentRatio,
    Cosine,
    Coupling,
    GaussBonnet,
    Likelihood,
    MatchedFilter,
    PostEinsteinian,
    PosteriorFitOptions,
    PosteriorFlow,
    Power,
    Prior,
    Simulator,
    Sine,
    Strain,
    TaylorF2,
    Uniform,
    fit_posterior,
    frequency_grid,
    inject,
    load_asd,
    sidereal_time,
    varied_noise,
)

F = torch.arange(20.0, 40.0, dtype=torch.float64)
RNG = torch.Generator()
KNOWN = {name: 0.5 for name in ("chirp_mass", "mass_ratio", "chi_1", "chi_2", "inclination", "phase", "ra", "dec")}
PRIOR = Prior({**KNOWN, "psi": 0.1, "time": 1.0, "distance": Uniform(1, 2)})
GRID, H1 = frequency_grid(20.0, 40.0, 1.0), [DETECTORS["H1"]]
ONE = torch.ones(1, 21, dtype=torch.float64)
STRAIN = Strain(GRID, 1j * ONE, ONE, H1)
HEAVY = PRIOR.known(chirp_mass=30.0)
SIMULATOR = {"waveform": TaylorF2(), "detectors": H1, "prior": HEAVY, "frequencies": GRID}
INJECTION = {"waveform": TaylorF2(), "detectors": H1, "asd": ONE, "frequencies": GRID}
FLOW = PosteriorFlow(PRIOR, 3, transforms=1, hidden=(4,), width=4, blocks=0, context=2)

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
    *each(frequency_grid, "high", (*NOT_NUMBERS, 20.0, 10.0), low=20.0, duration=1.0),
    *each(frequency_grid, "duration", (*NOT_NUMBERS, 0.0, 0.05), low=20.0, high=40.0),
    *each(Strain, "asd", (0 * ONE, ONE[:, :3], ONE / 0, ONE * math.nan, -ONE), GRID, 1j * ONE, detectors=H1),
    *each(Strain, "data", (1j * ONE[:, :3], ONE * math.nan), GRID, asd=ONE, detectors=H1),
    *each(Strain, "frequencies", (GRID**2, GRID.flip(0), GRID[:5]), data=1j * ONE, asd=ONE, detectors=H1),
    *each(Strain, "detectors", (["H1"], [None], []), GRID, 1j * ONE, ONE),
    *each(Strain, "gps", (*NOT_NUMBERS, -1.0), GRID, 1j * ONE, ONE, H1),
    *each(STRAIN.without, "high", (*NOT_NUMBERS, 20.0), low=30.0),
    *each(STRAIN.without, "detector", ("V1", 0), low=30.0, high=31.0),
    *each(inject, "source", ({"chirp_mass": 9.0, "time": 0.5}, {"chirp_mass": ONE, "time": ONE}), **INJECTION),
    *each(Simulator, "prior", (None, KNOWN, PRIOR), **SIMULATOR),
    *each(Simulator, "detectors", ([], ["H1"]), **SIMULATOR),
    *each(Simulator, "asd", (ONE[:, :3], 0 * ONE), **SIMULATOR),
    *each(Simulator, "curves", (ONE, ONE[None, None] * torch.ones(2, 1, 1, 1)), **SIMULATOR),
    *each(Simulator, "size", NOT_COUNTS, **SIMULATOR),
    *each(Simulator, "summary", NOT_COUNTS, **SIMULATOR),
    *each(Simulator, "spread", (*NOT_NUMBERS, -0.1), **SIMULATOR),
    *each(Simulator, "missing", (*NOT_NUMBERS, -0.1, 1.0), **SIMULATOR),
    *each(Simulator, "notched", (*NOT_NUMBERS, -0.1, 1.1), **SIMULATOR),
    *each(Simulator, "radians", (*NOT_NUMBERS, 0.0), **SIMULATOR),
    *each(Likelihood, "strain", (None, ONE), waveform=TaylorF2(), prior=HEAVY),
    *each(Likelihood, "prior", (None, KNOWN, PRIOR), STRAIN, TaylorF2()),
    *each(Likelihood, "around", (ONE, ONE[0], HEAVY.sample(2, RNG)[:0]), STRAIN, TaylorF2(), HEAVY),
    *each(Likelihood, "radians", (*NOT_NUMBERS, 0.0), STRAIN, TaylorF2(), HEAVY),
    *each(Likelihood, "time_step", (*NOT_NUMBERS, 0.0), STRAIN, TaylorF2(), HEAVY),
    *each(Likelihood, "distances", (*NOT_COUNTS, 1), STRAIN, TaylorF2(), HEAVY),
    *each(Likelihood(STRAIN, TaylorF2(), HEAVY), "theta", (F, torch.ones(2, 3))),
    *each(PRIOR.log_ratio, "other", (None, PRIOR.names), theta=F[:1]),
    *each(MatchedFilter, "simulator", NOT_OBJECTS, rng=RNG),
    *each(PosteriorFlow, "prior", NOT_OBJECTS, inputs=3),
    *each(PosteriorFlow, "inputs", NOT_COUNTS, PRIOR),
    *each(PosteriorFlow, "transforms", NOT_COUNTS, PRIOR, 3),
    *each(PosteriorFlow, "bins", (*NOT_COUNTS, 1), PRIOR, 3),
    *each(PosteriorFlow, "hidden", (None, 3, "3", (0,), (1.5,)), PRIOR, 3),
    *each(PosteriorFlow, "rng", (0, "1"), PRIOR, 3),
    *each(FLOW.sample, "n", NOT_COUNTS, data=torch.zeros(3), rng=RNG),
    *each(FLOW.sample, "data", (None, [1.0, 2.0, 3.0], torch.zeros(4), torch.tensor(1.0)), 2, rng=RNG),
    *each(FLOW.sample, "rng", (None, 0), 2, torch.zeros(3)),
    *each(FLOW.log_prob, "theta", (None, torch.zeros(2)), data=torch.zeros(3)),
    *each(PosteriorFitOptions, "parts", NOT_COUNTS),
    *each(fit_posterior, "flow", NOT_OBJECTS, draw=print),
    *each(fit_posterior, "draw", (None, 3, "draw"), FLOW),
    *each(fit_posterior, "options", (3, "quick", {}), FLOW, print),
]
