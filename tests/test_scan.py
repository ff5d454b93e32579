"""A function on a grid: labelled, the same however many share the work, and resumed where it was killed."""

import functools

import numpy as np
import pytest
import xarray as xr

import nearsight as ns
from nearsight.parallel import scan

GRID = {"a": [1.0, 2.0, 3.0], "b": [10, 20]}


def area(a, b):
    return {"area": a * b, "ratio": a / b}


def drawn(a, b, seed):
    x = np.random.default_rng(seed).normal(a, 1.0, 4)
    return xr.Dataset({"x": ("site", x, {"units": "t"})}, {"site": np.arange(4) * b / b})


def test_every_point_is_where_its_parameters_say():
    found = scan(area, GRID, progress=False, workers=1)
    assert found.sizes == {"a": 3, "b": 2} and ns.scan is scan
    for a in GRID["a"]:
        for b in GRID["b"]:
            assert found.area.sel(a=a, b=b) == a * b and found.ratio.sel(a=a, b=b) == a / b


def test_labelled_results_keep_their_dimensions_and_units():
    found = scan(drawn, GRID, progress=False, workers=1)
    assert found.x.dims == ("a", "b", "site") and found.x.units == "t"


def test_one_number_has_a_name():
    assert scan(lambda a: a**2, {"a": [1, 2]}, workers=1, progress=False).value.values.tolist() == [1.0, 4.0]


def test_the_result_does_not_depend_on_who_does_the_work():
    alone, shared = (scan(drawn, GRID, seed=3, workers=n, progress=False) for n in (1, 2))
    xr.testing.assert_identical(alone, shared)
    assert not scan(drawn, GRID, seed=4, workers=1, progress=False).equals(alone)


def test_replicas_give_means_and_standard_errors():
    found = scan(
        lambda a, seed: np.random.default_rng(seed).normal(a), {"a": [2.0]}, replicas=400, workers=1, progress=False
    )
    assert found.value_error.values == pytest.approx(0.05, rel=0.2)
    assert (abs(found.value - 2) < 4.5 * found.value_error).all()
    labelled = scan(drawn, {"a": [0.0], "b": [1]}, replicas=4, workers=1, progress=False)
    assert labelled.x_error.dims == ("a", "b", "site") and labelled.x.units == "t"


class Killed(RuntimeError):
    pass


def test_a_killed_scan_goes_on(tmp_path):
    done = []

    def slow(a, b, seed):
        if len(done) == 3 and not (tmp_path / "again").exists():
            raise Killed
        done.append((a, b))
        return float(np.random.default_rng(seed).random())

    with pytest.raises(Killed):
        scan(slow, GRID, path=tmp_path / "scan", workers=1, progress=False)
    (tmp_path / "again").touch()
    found = scan(slow, GRID, path=tmp_path / "scan", workers=1, progress=False)
    assert len(done) == len(set(done)) == 6
    xr.testing.assert_identical(found, scan(slow, GRID, workers=1, progress=False))


def test_the_folder_of_another_scan_is_refused(tmp_path):
    scan(area, GRID, path=tmp_path / "scan", workers=1, progress=False)
    for function, grid, seed in ((area, {**GRID, "a": [1.0]}, 0), (area, GRID, 1), (lambda a, b: a, GRID, 0)):
        with pytest.raises(ValueError, match="was made differently"):
            scan(function, grid, seed=seed, path=tmp_path / "scan", workers=1, progress=False)
    scaled = functools.partial(lambda a, b, factor: factor * a * b, factor=2)
    scan(scaled, GRID, path=tmp_path / "partial", workers=1, progress=False)
    with pytest.raises(ValueError, match="was made differently"):
        scan(functools.partial(scaled, factor=3), GRID, path=tmp_path / "partial", workers=1, progress=False)


@pytest.mark.parametrize(
    ("function", "grid", "options", "error", "words"),
    [
        (area, {}, {}, ValueError, "grid is empty"),
        (area, {"a": [], "b": [1]}, {}, ValueError, "different numbers or words"),
        (area, {"a": [1, 1], "b": [1]}, {}, ValueError, "different numbers or words"),
        (area, {"a": "word", "b": [1]}, {}, ValueError, "several values"),
        (area, {"a": [ns.lattices.square(2)], "b": [1]}, {}, ValueError, "different numbers or words"),
        (area, GRID, {"replicas": 3}, ValueError, "argument seed"),
        (drawn, GRID, {"replicas": 1}, ValueError, "replicas"),
        (area, GRID, {"seed": -1}, ValueError, "seed"),
        (lambda a: np.ones(3), {"a": [1]}, {}, TypeError, "dimensions have names"),
        (lambda a: "x", {"a": [1]}, {}, TypeError, "joins numbers"),
    ],
)
def test_what_is_no_grid_is_refused(function, grid, options, error, words):
    with pytest.raises(error, match=words):
        scan(function, grid, workers=1, progress=False, **options)
