"""A function on a grid of parameters."""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearsight._validation import integer
from nearsight.parallel.resumable import resumable

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

NETCDF = "netcdf of a data set"


def scan(
    function: Callable[..., Any],
    grid: Mapping[str, Sequence[Any]],
    *,
    path: str | Path | None = None,
    replicas: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """``function(**point)`` at every point of a grid, in parallel, as one labelled data set.

    Parameters
    ----------
    function: takes the parameters by their names and returns a number, numbers by name, or an ``xarray.Dataset`` or
        DataArray of the same shape everywhere. If it has an argument ``seed``, it is given one of its own for every
        point and replica, which follows from ``seed`` and the point's place alone.
    grid: values by the name of a parameter; the points are all combinations.
    path: a folder where every result is kept as it comes: killed at any moment, the same call goes on. The folder of
        another grid, seed, or function (its name, and its source where that can be read) is refused.
    replicas: repeat every point so many times, at least 2, and give the mean and its standard error, ``NAME_error``.
    workers, client, progress: as in :func:`resumable`; workers never import the script that called.

    Returns
    -------
    A Dataset with the grid as coordinates, and the variables of the results (one number is called ``value``).

    Example
    -------
    >>> import nearsight as ns
    >>> found = ns.scan(lambda a, b: {"product": a * b}, {"a": [1, 2], "b": [10.0, 20.0]}, workers=1, progress=False)
    >>> found.product.sel(a=2, b=20.0).item()
    40.0
    """
    import xarray as xr

    names = list(grid)
    if not names:
        raise ValueError("grid is empty: give the values of one parameter at least.")
    axes = [_axis(name, grid[name]) for name in names]
    copies = 1 if replicas is None else integer(replicas, "replicas", least=2)
    if replicas is not None and "seed" not in _arguments(function):
        raise ValueError("Replicas differ by their random numbers: give the function an argument seed.")
    seed = integer(seed, "seed", least=0)
    points = [dict(zip(names, values, strict=True)) for values in itertools.product(*axes)]
    tasks = [(point, number, copy) for number, point in enumerate(points) for copy in range(copies)]
    plan = {
        "grid": {name: [repr(value) for value in axis] for name, axis in zip(names, axes, strict=True)},
        "replicas": copies, "seed": seed, "function": _identity(function),
    }  # fmt: skip
    kept = resumable(
        _carried_out, tasks, path, shared=(function, seed), plan=plan, workers=workers, client=client, title="points",
        progress=progress,
    )  # fmt: skip
    found = [_dataset(result) for result in kept]
    if replicas is not None:
        found = [_mean(found[start : start + copies]) for start in range(0, len(found), copies)]
    for name, axis in zip(reversed(names), reversed(axes), strict=True):
        # The last parameter runs fastest: neighbours are joined along it first.
        along = xr.DataArray(axis, dims=name, name=name)
        found = [
            xr.concat(found[start : start + len(axis)], dim=along, combine_attrs="override")
            for start in range(0, len(found), len(axis))
        ]
    return found[0]


def _axis(name: str, values: Any) -> list[Any]:
    if isinstance(values, str):
        raise ValueError(f"grid[{name!r}] holds several values, got {values!r}.")
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    plain = all(isinstance(value, bool | int | float | str) for value in values)
    if not values or not plain or len(set(values)) < len(values):
        raise ValueError(f"grid[{name!r}] holds different numbers or words, got {values}.")
    return values


def _arguments(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a built-in function
        return {}


def _identity(function: Callable[..., Any]) -> list[str]:
    if isinstance(function, functools.partial):
        return [*_identity(function.func), repr(function.args), repr(function.keywords)]
    name = getattr(function, "__qualname__", type(function).__qualname__)
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return [name]
    return [name, hashlib.sha256(source.encode()).hexdigest()]


def _carried_out(function: Callable[..., Any], seed: int, point: Mapping[str, Any], number: int, copy: int) -> Any:
    import xarray as xr

    given = dict(point)
    if "seed" in _arguments(function) and "seed" not in given:
        given["seed"] = int(np.random.SeedSequence([seed, number, copy]).generate_state(1, np.uint64)[0] >> 1)
    result = function(**given)
    if isinstance(result, xr.DataArray):
        result = result.to_dataset(name=result.name or "value")
    if isinstance(result, xr.Dataset):
        return {NETCDF: np.frombuffer(bytes(result.to_netcdf(engine="h5netcdf")), dtype=np.uint8).copy()}
    numbers = result if isinstance(result, Mapping) else {"value": result}
    return {name: _number(name, value) for name, value in numbers.items()}


def _dataset(result: Mapping[str, Any]) -> xr.Dataset:
    import xarray as xr

    if NETCDF in result:
        return xr.load_dataset(io.BytesIO(bytes(np.asarray(result[NETCDF]))))
    return xr.Dataset({name: np.asarray(value)[()] for name, value in result.items()})


def _number(name: str, value: Any) -> Any:
    value = np.asarray(value)
    if value.ndim or value.dtype.kind not in "biuf":
        raise TypeError(
            f"A scan joins numbers; {name!r} has shape {value.shape} and dtype {value.dtype}. Return an "
            f"xarray.Dataset, whose dimensions have names."
        )
    return value


def _mean(copies: Sequence[xr.Dataset]) -> xr.Dataset:
    import xarray as xr

    joined = xr.concat(copies, dim="replica", combine_attrs="override")
    error = joined.std("replica", ddof=1) / np.sqrt(len(copies))
    return xr.merge([joined.mean("replica", keep_attrs=True), error.rename({name: f"{name}_error" for name in error})])
