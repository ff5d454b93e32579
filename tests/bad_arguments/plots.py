"""Figures: labelled arrays, maps of a lattice, times, limits."""

import math

import numpy as np
import torch
import xarray as xr

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_OBJECTS, each, row
from nearsight import plots
from nearsight.analysis import symmetry_path
from nearsight.lattices import chain, square

LATTICE = square(4)
MAP = xr.DataArray(np.ones((2, 16)), dims=("time", "site"), coords={"time": [1.0, 2.0]})
FIELD, SPINS = np.zeros((2, 16)), np.ones((2, 16, 3))
LENGTH = xr.DataArray(np.ones((2, 3)), dims=("replica", "time"), coords={"time": [1.0, 2.0, 3.0]})
CURVE = xr.DataArray(
    np.ones((2, 3, 4)), dims=("replica", "time", "r"), coords={"time": [1.0, 2.0, 3.0], "r": [0.0, 1.0, 2.0, 3.0]}
)
PEAK = CURVE.rename(r="k")
ZONE = xr.DataArray(np.ones((4, 4)), dims=("kx", "ky"), coords={k: np.arange(4.0) for k in ("kx", "ky")})
PATH = symmetry_path(LATTICE, [("Γ", (0.0, 0.0)), ("X", (math.pi, 0.0))])
BARRIER = xr.DataArray(np.ones(3), dims="configuration")

NOT_TIMES = (1.0, "12", ["1", "2"], [None, 1.0], [1.0, math.nan], [True, False], [1.0, 2.0, 3.0])
NOT_LIMITS = [v for v in NOT_FINITE if v is not None] + [0.0, -1.0]
NOT_GIVEN_COUNTS = [v for v in NOT_COUNTS if v is not None]
NOT_ERRORS = (None, "errors", [], [None], ["1", "2"], [math.nan, 1.0], [1j, 2j], [True, False], object)


def not_maps(good: np.ndarray) -> tuple[object, ...]:
    """No numbers on the sites of the lattice."""
    return None, 3.0, "map", object, good[..., :-1, :], good.astype(str), good * math.nan, good[..., :-1], [None] * 16


def not_curves(good: xr.DataArray) -> tuple[object, ...]:
    """No labelled array with the dimensions of a curve and a number to draw."""
    return (None, 3.0, "curve", good.values, xr.DataArray, good.isel(replica=0), good.drop_vars("time"),
            good.astype(complex), good.astype(str), good > 0, good * math.nan)  # fmt: skip


ROWS = [
    *(row(plots.snapshots, wrong, LATTICE) for wrong in (*not_maps(FIELD)[:4], *not_maps(FIELD)[5:])),
    *(row(plots.spin_map, wrong, LATTICE) for wrong in not_maps(SPINS)),
    *(row(plots.sublattice_maps, FIELD, wrong, LATTICE, times=[1.0, 2.0]) for wrong in not_maps(FIELD)),
    *(row(plots.particle_potentials, wrong, FIELD, FIELD, LATTICE)
      for wrong in (None, 3.0, "map", object, FIELD[:, :-1], FIELD.astype(str), FIELD[:1])),
    *(row(draw, good, wrong) for draw, good in ((plots.snapshots, FIELD), (plots.spin_map, SPINS))
      for wrong in (*NOT_OBJECTS, chain(16))),
    *(r for draw, good in ((plots.snapshots, FIELD), (plots.spin_map, SPINS)) for r in each(
        draw, "times", NOT_TIMES, good, LATTICE)),
    *each(plots.snapshots, "limit", NOT_LIMITS, FIELD, LATTICE),
    *each(plots.spin_map, "window", [*NOT_GIVEN_COUNTS, 5], SPINS, LATTICE),
    *each(plots.spin_map, "arrows", ("no", 1, bool), SPINS, LATTICE),
    *each(plots.sublattice_maps, "close_up", NOT_GIVEN_COUNTS, FIELD, FIELD, LATTICE, times=[1.0, 2.0]),
    *(row(plots.gallery, wrong, LATTICE, times=[1.0, 2.0]) for wrong in (*NOT_OBJECTS, [FIELD], [plots.Layer])),
    *(row(plots.gallery, [plots.Layer(FIELD, "Q", limit=wrong)], LATTICE, times=[1.0, 2.0]) for wrong in NOT_LIMITS),
    *(row(plots.structure_factor_map, wrong) for wrong in (None, "S", ZONE.values, ZONE[0], ZONE * math.nan, 0 * ZONE,
                                                           xr.where(ZONE.kx == 1, math.nan, ZONE))),
    *each(plots.structure_factor_map, "decades", [None, *NOT_LIMITS], ZONE),
    *each(plots.structure_factor_map, "about", (3.0, "pi", (1.0,), (math.nan, 0.0), (None, None)), ZONE),
    *(row(plots.data_overview, wrong) for wrong in (None, 3, "Q", [], FIELD, {}, {"a": None}, {"a": "text"}, {"a": 1.0},
                                                    {"a": FIELD * math.nan}, {"a": FIELD[:0]}, {"a": FIELD + 1j})),
    *(row(plots.growth, wrong) for wrong in (None, "L", [], {}, [LENGTH])),
    *(row(draw, {"exact": wrong}) for draw in (plots.growth, plots.compare) for wrong in not_curves(LENGTH)[:5]),
    *(row(draw, {"exact": wrong}) for draw in (plots.growth, plots.compare) for wrong in not_curves(LENGTH)[6:]),
    *(row(plots.profiles, {"exact": wrong}, times=[1.0]) for wrong in not_curves(CURVE)[:5]),
    *(row(plots.profiles, {"exact": wrong}, times=[1.0]) for wrong in not_curves(CURVE)[6:]),
    *each(plots.profiles, "times", ([], *NOT_TIMES[:-1]), {"exact": CURVE}),
    *each(plots.profiles, "guide", [v for v in NOT_FINITE if v is not None], {"exact": CURVE}, together=True),
    *(row(plots.maps, wrong, LATTICE) for wrong in (3.0, "map", object, FIELD, [FIELD], MAP[:, :-1], MAP.astype(str),
                                                    MAP * math.nan, MAP.rename(site="place"))),
    *(row(plots.maps, MAP, wrong) for wrong in (*NOT_OBJECTS, chain(16))),
    *each(plots.maps, "times", NOT_TIMES[:-1], MAP, LATTICE),
    *each(plots.maps, "window", [*NOT_GIVEN_COUNTS, 5], MAP, LATTICE),
    *(row(plots.maps, MAP.assign_attrs(limit=wrong), LATTICE) for wrong in NOT_LIMITS),
    *(row(plots.zones, wrong, LATTICE) for wrong in (None, 3, "S", [], {}, {"a": None}, ZONE * math.nan, ZONE * 0)),
    *each(plots.zones, "extent", [None, *NOT_LIMITS], ZONE, LATTICE),
    *each(plots.zones, "about", (3.0, "pi", (1.0,), (math.nan, 0.0), (None, None)), ZONE, LATTICE),
    *(row(plots.coarsening, {"exact": wrong}, {}) for wrong in not_curves(LENGTH)),
    *(row(plots.separation_growth, {"L(t)": {"exact": wrong}}) for wrong in not_curves(LENGTH)),
    *(row(draw, *pair, times=[1.0]) for draw in (plots.correlations, plots.axial_correlations, plots.pair_correlations)
      for wrong in not_curves(CURVE) for pair in ((CURVE, wrong), (wrong, CURVE))),
    *(r for draw in (plots.axial_correlations, plots.pair_correlations) for r in each(
        draw, "times", (None, [], *NOT_TIMES[:-1]), CURVE, CURVE)),
    *(row(plots.peak_profile, {"exact": wrong}, times=[1.0]) for wrong in not_curves(PEAK)),
    *(row(plots.scaling_collapse, wrong, LENGTH, dimension=2, times=[1.0]) for wrong in not_curves(PEAK)),
    *(row(plots.scaling_collapse, PEAK, wrong, dimension=2, times=[1.0]) for wrong in not_curves(LENGTH)),
    *each(plots.scaling_collapse, "dimension", NOT_COUNTS, PEAK, LENGTH, times=[1.0]),
    *(row(plots.barriers, *(wrong if k == n else BARRIER for k in range(4))) for n in range(4)
      for wrong in (None, 3.0, "V", BARRIER.values, BARRIER.astype(str), BARRIER[:2])),
    row(plots.barriers, BARRIER * math.nan, BARRIER, BARRIER, BARRIER),
    *(row(plots.zone_map, wrong, LATTICE) for wrong in (None, 3, "S", [], {}, {"a": None}, ZONE * math.nan, ZONE * 0)),
    *(row(plots.charge_map, wrong, LATTICE) for wrong in (None, "q", np.ones(16), BARRIER,
                                                          BARRIER.rename(configuration="plaquette"))),
    *(row(plots.path_profile, wrong, PATH) for wrong in (None, 3, [], {}, {"exact": None}, {"exact": LENGTH})),
    *(row(plots.path_profile, {"exact": LENGTH}, wrong) for wrong in (*NOT_OBJECTS, type(PATH))),
    *(row(plots.parity_by_mode, *pair) for wrong in (None, 3, [], {}, {"a": None}, {"b": [1.0, 2.0]}, [1.0, 2.0])
      for pair in ((wrong, {"a": [1.0, 2.0]}), ({"a": [1.0, 2.0]}, wrong))),
    *(row(plots.locality, wrong) for wrong in (*NOT_OBJECTS, LENGTH, xr.Dataset())),
    *(row(plots.parity, *pair) for wrong in NOT_ERRORS for pair in ((wrong, [1.0, 2.0]), ([1.0, 2.0], wrong))),
    *(row(plots.error_histogram, wrong) for wrong in NOT_ERRORS),
    *each(plots.error_histogram, "paper", NOT_LIMITS, [1.0, 2.0]),
    *(row(plots.error_by_group, wrong, rng=torch.Generator()) for wrong in (None, [], "a", {}, {"a": None})),
    *each(plots.error_by_group, "rng", (None, 0, "seed", torch.Generator), {"a": [1.0, 2.0]}),
    *(row(plots.symmetry_error, wrong, labels=["E"]) for wrong in (None, [], "a", {}, {"a": None}, {"a": [1.0, 2.0]})),
    *each(plots.symmetry_error, "labels", (None, 1, "E", str), {"a": [1.0]}),
    *(row(plots.training_curves, wrong) for wrong in (None, 3, [], {}, {"step": [1, 2], "loss": ["a", "b"]},
                                                      {"step": [1, 2], "loss": None}, {"step": [1, 2], "loss": 1.0})),
    *(row(plots.read_published, wrong) for wrong in (None, 3, [], "")),
    *(row(plots.picture, wrong) for wrong in (*NOT_FINITE, 0.0)),
]  # fmt: skip
