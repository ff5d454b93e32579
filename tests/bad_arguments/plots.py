"""Figures: labelled arrays, maps of a lattice, times, limits."""

import math

import numpy as np
import xarray as xr

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_FLAGS, NOT_OBJECTS, each, row
from nearsight import plots
from nearsight.analysis import symmetry_path
from nearsight.lattices import chain, square

LATTICE = square(4)
MAP = xr.DataArray(np.ones((2, 16)), dims=("time", "site"), coords={"time": [1.0, 2.0]})
FIELD = np.zeros((2, 16))
LENGTH = xr.DataArray(np.ones((2, 3)), dims=("replica", "time"), coords={"time": [1.0, 2.0, 3.0]})
CURVE = xr.DataArray(
    np.ones((2, 3, 4)), dims=("replica", "time", "r"), coords={"time": [1.0, 2.0, 3.0], "r": [0.0, 1.0, 2.0, 3.0]}
)
ZONE = xr.DataArray(np.ones((4, 4)), dims=("kx", "ky"), coords={k: np.arange(4.0) for k in ("kx", "ky")})
PATH = symmetry_path(LATTICE, [("Γ", (0.0, 0.0)), ("X", (math.pi, 0.0))])
POINT = xr.DataArray(np.ones(3), dims="configuration")
SIZE = xr.DataArray([1.0, 2.0], dims="size", coords={"size": [1, 2]})
SIZED = xr.DataArray(np.ones((2, 3)), dims=("size", "x"), coords={"size": [1, 2], "x": [1.0, 2.0, 3.0]})

NOT_TIMES = (1.0, "12", ["1", "2"], [None, 1.0], [1.0, math.nan], [True, False], [1.0, 2.0, 3.0])
NOT_LIMITS = [v for v in NOT_FINITE if v is not None] + [0.0, -1.0]
NOT_GIVEN_COUNTS = [v for v in NOT_COUNTS if v is not None]
NOT_ERRORS = (None, "errors", [], [None], ["1", "2"], [math.nan, 1.0], [1j, 2j], [True, False], object)


def not_curves(good: xr.DataArray) -> tuple[object, ...]:
    """No labelled array with the dimensions of a curve and a number to draw."""
    return (None, 3.0, "curve", good.values, xr.DataArray, good.drop_vars("time"),
            good.astype(complex), good.astype(str), good > 0, good * math.nan)  # fmt: skip


ROWS = [
    *(row(plots.growth, wrong) for wrong in (None, "L", [], {}, [LENGTH])),
    *(row(draw, {"exact": wrong}) for draw in (plots.growth, plots.compare) for wrong in not_curves(LENGTH)),
    *each(plots.compare, "log", (None, 1, "z", ["x"])[1:], LENGTH),
    *each(plots.compare, "mark", [v for v in NOT_FINITE if v is not None], LENGTH),
    *each(plots.compare, "points", NOT_FLAGS, LENGTH),
    *(row(plots.compare, LENGTH, levels=[wrong]) for wrong in NOT_FINITE if wrong is not None),
    *(row(plots.profiles, {"exact": wrong}, times=[1.0]) for wrong in not_curves(CURVE)),
    *each(plots.profiles, "times", ([], *NOT_TIMES[:-1]), {"exact": CURVE}),
    *each(plots.profiles, "guide", [v for v in NOT_FINITE if v is not None], {"exact": CURVE}, together=True),
    *(r for flag in ("together", "residuals", "paired") for r in each(plots.profiles, flag, NOT_FLAGS, {"a": CURVE})),
    *(row(plots.profiles, {"exact": CURVE}, path=wrong) for wrong in (1, "path", PATH.k, type(PATH))),
    *(row(plots.collapse, wrong, SIZE, SIZE) for wrong in (None, 3.0, LENGTH.values, LENGTH, SIZED * math.nan)),
    *(row(plots.collapse, SIZED, *pair) for wrong in (None, 2.0, SIZE.values, SIZED) for pair in (
        (wrong, SIZE), (SIZE, wrong))),
    *(row(plots.points, *pair) for wrong in (None, 3.0, "V", POINT.values, POINT.astype(str), POINT[:2], POINT > 0)
      for pair in ((wrong, POINT), (POINT, wrong))),
    *(row(plots.points, POINT, POINT, **{name: wrong}) for name in ("error", "by")
      for wrong in (1.0, "e", POINT.values, POINT[:2])),
    row(plots.points, POINT * math.nan, POINT),
    *(row(plots.maps, wrong, LATTICE) for wrong in (3.0, "map", object, FIELD, [FIELD], MAP[:, :-1], MAP.astype(str),
                                                    MAP * math.nan, MAP.rename(site="place"))),
    *(row(plots.maps, MAP, wrong) for wrong in (*NOT_OBJECTS, chain(16))),
    *each(plots.maps, "times", NOT_TIMES[:-1], MAP, LATTICE),
    *each(plots.maps, "window", [*NOT_GIVEN_COUNTS, 5], MAP, LATTICE),
    *each(plots.maps, "arrows", ("no", 1, bool), MAP, LATTICE),
    *(row(plots.maps, MAP.assign_attrs(limit=wrong), LATTICE) for wrong in NOT_LIMITS),
    *(row(plots.maps, MAP.assign_attrs(centre=wrong), LATTICE) for wrong in NOT_FINITE if wrong is not None),
    *(row(plots.zones, wrong, LATTICE) for wrong in (None, 3, "S", [], {}, {"a": None}, ZONE * math.nan, ZONE * 0)),
    *each(plots.zones, "decades", NOT_LIMITS, ZONE, LATTICE),
    *each(plots.zones, "extent", [None, *NOT_LIMITS], ZONE, LATTICE),
    *each(plots.zones, "about", (3.0, "pi", (1.0,), (math.nan, 0.0), (None, None)), ZONE, LATTICE),
    *(row(plots.histograms, wrong) for wrong in (None, 3, "Q", [], FIELD, {}, {"a": None}, {"a": "text"},
                                                 {"a": FIELD * math.nan}, {"a": FIELD[:0]}, {"a": FIELD + 1j}, MAP)),
    *(row(plots.parity, *pair) for wrong in (None, 3, [], {}, {"a": None}, {"b": [1.0, 2.0]}, [1.0, 2.0])
      for pair in ((wrong, {"a": [1.0, 2.0]}), ({"a": [1.0, 2.0]}, wrong))),
    *(row(plots.rms_errors, *pair, by="time") for wrong in (None, FIELD, MAP * math.nan, MAP.astype(str))
      for pair in ((wrong, MAP), (MAP, wrong))),
    *each(plots.rms_errors, "by", (None, 3, "kind", ["kind"]), MAP, MAP),
    *(row(plots.locality, wrong) for wrong in (*NOT_OBJECTS, LENGTH, xr.Dataset())),
    *(row(plots.parity, *pair) for wrong in NOT_ERRORS for pair in ((wrong, [1.0, 2.0]), ([1.0, 2.0], wrong))),
    *(row(plots.error_histogram, wrong) for wrong in NOT_ERRORS),
    *each(plots.error_histogram, "paper", NOT_LIMITS, [1.0, 2.0]),
    *(row(plots.symmetry_error, wrong, labels=["E"]) for wrong in (None, [], "a", {}, {"a": None}, {"a": [1.0, 2.0]})),
    *each(plots.symmetry_error, "labels", (None, 1, "E", str), {"a": [1.0]}),
    *(row(plots.training_curves, wrong) for wrong in (None, 3, [], {}, {"step": [1, 2], "loss": ["a", "b"]},
                                                      {"step": [1, 2], "loss": None}, {"step": [1, 2], "loss": 1.0})),
    *(row(plots.read_published, wrong) for wrong in (None, 3, [], "")),
    *(row(plots.picture, wrong) for wrong in (*NOT_FINITE, 0.0)),
]  # fmt: skip
