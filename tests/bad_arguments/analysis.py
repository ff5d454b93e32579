"""Laws of growth, comparisons of ensembles, structure factors."""

import math

import numpy as np
import torch
import xarray as xr

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_FLAGS, NOT_NUMBERS, NOT_OBJECTS, each
from nearsight import analysis
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square

SPRINGS, FIELD = ClassicalForceField(Holstein(square(4))), torch.zeros(16, 1, dtype=torch.float64)
AROUND = {"forcefield": SPRINGS, "field": FIELD, "rng": torch.Generator()}
RNG = torch.Generator().manual_seed(1)
TIMES = np.geomspace(1.0, 100.0, 20)
L = xr.DataArray(
    TIMES**0.5 * np.linspace(0.9, 1.1, 5)[:, None], dims=("replica", "time"), coords={"time": TIMES}, name="L"
)
NOT_RNG = (None, 0, "seed", np.random.default_rng(1), torch.Generator)
NOT_LENGTHS = (None, "L", L.values, L * 1j, L * math.nan, -L, L[:2], L[:0], L.rename(time="t"), L > 1)
NOT_SAMPLES = (None, "5", True, 1.5, 0, -1, 1j)
LAWS = (analysis.growth_exponent, analysis.allen_cahn, analysis.local_exponent, analysis.departure)
CURVES = np.random.default_rng(0).standard_normal((6, 4))
NOT_CURVES = (None, "x", CURVES[0], CURVES * 1j, CURVES * math.nan, CURVES[:1], CURVES[:, :2], CURVES[:0])
K = np.linspace(0.1, 3.0, 20)
S = xr.DataArray(
    np.random.default_rng(1).uniform(1, 2, (5, 3, 20)),
    dims=("replica", "time", "k"),
    coords={"time": [1, 2, 4], "k": K},
)
AT = L.isel(time=[0, 1, 2]).assign_coords(time=[1, 2, 4])
END = S.isel(time=0, drop=True)
TRUTH, DRAWN = np.zeros((4, 2)), np.zeros((4, 5, 2))
NOT_TRUTHS = (None, "x", np.zeros(4), np.zeros((3, 2)), TRUTH * math.nan)
NOT_DRAWN = (None, "x", 3.0, np.zeros((4, 5, 3)), np.zeros((4, 0, 2)), DRAWN * math.nan, DRAWN * 1j)
NOT_WEIGHTS = ("x", np.ones((4, 4)), -np.ones((4, 5)), np.zeros((4, 5)), np.full((4, 5), math.nan))

ROWS = [
    *(row for law in LAWS for row in each(law, "length", NOT_LENGTHS, rng=RNG)),
    *(row for law in LAWS for row in each(law, "rng", NOT_RNG, L)),
    *(row for law in LAWS for row in each(law, "samples", NOT_SAMPLES, L, rng=RNG)),
    *(row for law in LAWS[:2] for row in each(law, "window", (3, "all", (1.0,), (1.0, math.nan), (1j, 2)), L, rng=RNG)),
    *each(analysis.growth_exponent, "onset", ("t", 1j, math.nan, math.inf, 99.0), L, rng=RNG),
    *(row for law in LAWS[2:] for row in each(law, "since", NOT_NUMBERS, L, rng=RNG)),
    *(row for law in LAWS[2:] for row in each(law, "factor", (*NOT_NUMBERS, 1.0), L, rng=RNG)),
    *each(analysis.circulation, "forcefield", [*NOT_OBJECTS, Holstein], **AROUND),
    *each(analysis.circulation, "field", (None, 3, "x", FIELD.numpy(), FIELD[:-1], FIELD[None], FIELD.long(),
                                          FIELD + math.nan), **AROUND),
    *each(analysis.circulation, "rng", NOT_RNG, **AROUND),
    *each(analysis.circulation, "vectors", [*NOT_COUNTS, 2], **AROUND),
    *each(analysis.circulation, "step", [*NOT_FINITE, 0.0, -1.0], **AROUND),
    *each(analysis.departure, "threshold", NOT_NUMBERS, L, rng=RNG),
    *each(analysis.compare_curves, "a", NOT_CURVES, b=CURVES),
    *each(analysis.compare_curves, "b", NOT_CURVES, CURVES),
    *each(analysis.compare_curves, "paired", NOT_FLAGS, CURVES, CURVES),
    *each(analysis.compare_curves, "equal_covariances", NOT_FLAGS, CURVES, CURVES),
    *each(analysis.compare_curves, "modes", (0, -1, 1.5, "2", True, 99), CURVES, CURVES + 1),
    *each(analysis.bootstrap, "replicas", (None, "x", 1.0, [1.0], CURVES * math.nan, CURVES * 1j), np.mean, rng=RNG),
    *each(analysis.bootstrap, "rng", NOT_RNG, np.mean, CURVES),
    *each(analysis.bootstrap, "samples", NOT_SAMPLES, np.mean, CURVES, rng=RNG),
    *each(analysis.mean_and_error, "values", (None, CURVES, "x"), dim="replica"),
    *each(analysis.mean_and_error, "dim", (None, "replicas", 3), L),
    *each(analysis.calibration, "truth", NOT_TRUTHS, samples=DRAWN, rng=RNG),
    *each(analysis.calibration, "samples", NOT_DRAWN, TRUTH, rng=RNG),
    *each(analysis.calibration, "weights", NOT_WEIGHTS, TRUTH, DRAWN, rng=RNG),
    *each(analysis.calibration, "rng", NOT_RNG, TRUTH, DRAWN),
    *each(analysis.calibration, "names", ("ab", ["a"], ["a", 1]), TRUTH, DRAWN, rng=RNG),
    *each(analysis.expected_coverage, "samples", NOT_DRAWN, TRUTH, rng=RNG),
    *each(analysis.expected_coverage, "references", ("x", 1.0, TRUTH[:3], TRUTH * math.nan), TRUTH, DRAWN, rng=RNG),
    *each(analysis.expected_coverage, "levels", NOT_SAMPLES, TRUTH, DRAWN, rng=RNG),
    *each(analysis.linear_law, "rng", NOT_RNG, K, K**2),
    *each(analysis.linear_law, "samples", NOT_SAMPLES, K, K**2, rng=RNG),
    *each(analysis.dynamical_scaling, "rng", NOT_RNG, S, AT, dimension=2),
    *each(analysis.dynamical_scaling, "dimension", (None, 0, 1.5, "2", True), S, AT, rng=RNG),
    *each(analysis.porod_law, "rng", NOT_RNG, END, window=(0.1, 3.0)),
    *each(analysis.porod_law, "samples", NOT_SAMPLES, END, window=(0.1, 3.0), rng=RNG),
    *each(analysis.structure_factor, "lattice", (None, "square", square), torch.ones(2, 16)),
    *each(analysis.structure_factor, "field", (None, "x", torch.ones(2, 15)), lattice=square(4)),
]  # fmt: skip
