"""Site fields and spins, checked and labelled: every analysis of configurations begins here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight._validation import instance
from nearsight.fields.field_type import not_finite
from nearsight.lattices import Lattice

SiteField = Tensor | np.ndarray | xr.DataArray
"""One number per site: ``(*batch, site)``, or a DataArray with a dimension "site" among others."""


def site_field(field: SiteField, lattice: Lattice, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """The field as a DataArray ``(*dims, site)``, checked; real values become float64, complex ones complex128.

    A DataArray keeps its dimensions, coordinates and attributes, and "site" moves to the end. The leading dimensions of
    a tensor or array are named by ``dims``; without names one leading dimension is called "replica", several "batch_0",
    "batch_1", ...
    """
    instance(lattice, Lattice, "lattice", "Pass the lattice of the field, such as square(16).")
    if isinstance(field, xr.DataArray):
        if "site" not in field.dims:
            raise ValueError(
                f"A labelled field needs a dimension 'site', got {field.dims}; rename it with .rename(...)."
            )
        labelled = field.copy(deep=False) if field.dims[-1] == "site" else field.transpose(..., "site")
    else:
        array = field.detach().cpu().numpy() if isinstance(field, Tensor) else np.asarray(field)
        if array.dtype.kind not in "biufc" or array.ndim == 0:
            raise TypeError(f"A site field holds a number per site (*batch, site), got {type(field).__name__}.")
        leading = array.ndim - 1
        if leading >= 1 and array.shape[-1] != lattice.n_sites and array.shape[-2] == lattice.n_sites:
            raise ValueError(
                f"A site field has one number per site, got {array.shape} with components last. Take one component "
                f"with field[..., 0], or move them to the front with field.movedim(-1, 0)."
            )
        labelled = xr.DataArray(array, dims=(*_leading(dims, leading, "field"), "site"))
    if labelled.sizes["site"] != lattice.n_sites:
        raise ValueError(f"The field has {labelled.sizes['site']} sites, {lattice!r} has {lattice.n_sites}.")
    if not np.isfinite(labelled.values).all():
        bad = ~np.isfinite(labelled.values)
        raise ValueError(not_finite(int(bad.sum()), np.isnan(labelled.values).all(-1)))
    kind = np.complex128 if np.iscomplexobj(labelled.values) else np.float64
    return labelled if labelled.dtype == kind else labelled.astype(kind, keep_attrs=True, copy=False)


def relabel(
    like: xr.DataArray,
    values: Tensor | np.ndarray,
    name: str,
    long_name: str,
    units: str = "1",
    more: Mapping[str, Any] | None = None,
    **dims: int,
) -> xr.DataArray:
    """``values`` with the leading dimensions and coordinates of a site field, and ``dims`` in the place of "site"; with
    ``more`` coordinates."""
    leading = [str(d) for d in like.dims if d != "site"]
    array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    array = array.reshape([like.sizes[d] for d in leading] + list(dims.values()))
    coords: dict[Any, Any] = {name: c for name, c in like.coords.items() if "site" not in c.dims}
    coords.update(more or {})
    attrs = {"long_name": long_name, "units": units}
    return xr.DataArray(array, dims=(*leading, *dims), coords=coords, attrs=attrs, name=name)


def described(values: xr.DataArray, name: str, long_name: str, units: str = "1") -> xr.DataArray:
    """The same under a name, with what it is called on an axis."""
    values.attrs = {"long_name": long_name, "units": units}
    return values.rename(name)


def relabel_all(
    like: xr.DataArray, named: Mapping[str, tuple[Tensor | np.ndarray, str, str]], **dims: int
) -> xr.Dataset:
    """Several results as :func:`relabel` makes them: values, ``long_name`` and ``units`` by name."""
    return xr.Dataset({n: relabel(like, x, n, label, units, None, **dims) for n, (x, label, units) in named.items()})


def neighbour_mean(values: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Mean over the nearest neighbours of every site ``(..., site)``; zero for a site without any."""
    bonds = lattice.bonds(1)
    flat = values.reshape(-1, lattice.n_sites).T
    total = np.zeros_like(flat)
    np.add.at(total, bonds.i, flat[bonds.j])
    np.add.at(total, bonds.j, flat[bonds.i])
    degree = np.bincount(np.concatenate([bonds.i, bonds.j]), minlength=lattice.n_sites)
    return (total / np.maximum(degree, 1)[:, None]).T.reshape(values.shape)


def units_of(field: xr.DataArray, power: int = 1) -> str:
    """Units of the values of a field, or of a product of two of them."""
    unit = field.attrs.get("units", "1")
    return unit if unit == "1" or power == 1 else f"({unit})^{power}"


def on_cells(field: xr.DataArray, lattice: Lattice, *, centred: bool = False) -> Tensor:
    """The values on the grid of cells ``(batch, *shape, basis)``, leading dimensions in one; without their means."""
    grid = torch.from_numpy(np.ascontiguousarray(field.values)).reshape(-1, *lattice.shape, lattice.n_basis)
    return grid - grid.mean(dim=tuple(range(1, grid.ndim)), keepdim=True) if centred else grid


def transform(grid: Tensor, axes: tuple[int, ...], shape: tuple[int, ...] | None = None) -> Tensor:
    """The Fourier transform over some axes, padded to ``shape``; empty for no replicas, which torch.fft refuses."""
    if grid.numel():
        return torch.fft.fftn(grid.to(torch.complex128), s=shape, dim=axes)
    sizes = list(grid.shape)
    for axis, n in zip(axes, shape or [sizes[axis] for axis in axes], strict=True):
        sizes[axis] = n
    return torch.zeros(sizes, dtype=torch.complex128)


def power(grid: Tensor, scale: float = 1.0) -> Tensor:
    """``scale`` times the squared Fourier transform of a number per cell ``(batch, *shape)``, float64; wave vectors
    ascend from -π.

    Of real numbers half the transform is worked out, and the other half is its mirror image.
    """
    axes = tuple(range(1, grid.ndim))
    if grid.is_complex() or not grid.numel():
        modes = transform(grid, axes)
        return torch.fft.fftshift(modes.real.square() + modes.imag.square(), dim=axes).mul_(scale)
    from nearsight.analysis._power_kernels import whole_zone

    modes, full = torch.fft.rfftn(grid.to(torch.float64), dim=axes), np.empty(grid.shape)
    place, opposite = _ascending_rows(tuple(grid.shape[1:-1]))
    rows = (len(grid), len(place), -1)
    whole_zone(modes.numpy().reshape(rows), place, opposite, scale, full.reshape(rows))
    return torch.from_numpy(full)


@lru_cache(maxsize=16)
def _ascending_rows(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where every mode over ``shape`` and its opposite stand when wave vectors ascend from -π; one row for no axes."""
    place = opposite = np.arange(math.prod(shape)).reshape(shape)
    if shape:
        place = np.fft.ifftshift(place)
        opposite = place[np.ix_(*(-np.arange(n) % n for n in shape))]
    return place.ravel(), opposite.ravel()


def pair_modes(grid: Tensor, axes: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """The transform over some axes, padded to ``shape``, that :func:`pair_sums` takes: half of it for real numbers."""
    if grid.is_complex() or not grid.numel():
        return transform(grid, axes, shape)
    return torch.fft.rfftn(grid.to(torch.float64), s=shape, dim=axes)


def pair_sums(a: Tensor, b: Tensor, axes: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """Σ_x a*(x) b(x + r), the real part, at every r of a torus of ``shape``, from :func:`pair_modes` of a and b."""
    product = a.conj() * b
    if not product.numel():
        return product.real
    if product.shape[axes[-1]] == shape[-1]:
        return torch.fft.ifftn(product, dim=axes).real
    return torch.fft.irfftn(product, s=shape, dim=axes)


def binned(rows: np.ndarray, index: np.ndarray, bins: int) -> np.ndarray:
    """Sums of the values ``(row, place)`` that share an ``index`` ``(place,)``, ``(row, bin)``."""
    sums = np.zeros((len(rows), bins))
    for total, row in zip(sums, rows, strict=True):
        total += np.bincount(index, row, bins)
    return sums


def _leading(dims: tuple[str, ...] | None, count: int, what: str) -> tuple[str, ...]:
    """Names of the leading dimensions of a tensor or array."""
    names = (("replica",) if count == 1 else tuple(f"batch_{k}" for k in range(count))) if dims is None else dims
    if len(names) != count:
        raise ValueError(f"dims must name the {count} leading dimensions of the {what}, got {names}.")
    return names


SpinField = Tensor | np.ndarray | xr.DataArray
"""Three numbers per site: ``(*batch, site, 3)``, or a DataArray with dimensions "site" and "component" among others."""


def spin_field(spins: SpinField, lattice: Lattice, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """The spins as a DataArray ``(*dims, component, site)`` of float64, checked; names as in ``site_field``."""
    if isinstance(spins, xr.DataArray):
        if not {"site", "component"} <= set(spins.dims):
            raise ValueError(f"Labelled spins need the dimensions 'site' and 'component', got {spins.dims}.")
        labelled = site_field(spins.transpose(..., "component", "site"), lattice)
    else:
        array = spins.detach().cpu().numpy() if isinstance(spins, Tensor) else np.asarray(spins)
        if array.ndim < 2 or array.shape[-2:] != (lattice.n_sites, 3):
            raise ValueError(f"Spins have the shape (*batch, {lattice.n_sites}, 3), got {array.shape}.")
        names = (*_leading(dims, array.ndim - 2, "spins"), "component")
        labelled = site_field(np.swapaxes(array, -1, -2), lattice, names)
    if labelled.sizes["component"] != 3:
        raise ValueError(f"Spins have 3 components, got {labelled.sizes['component']}.")
    return labelled


def scalar_labels(spins: xr.DataArray) -> xr.DataArray:
    """The labels of a spin field without its components."""
    return spins.isel(component=0, drop=True)


def rows(spins: xr.DataArray) -> np.ndarray:
    """The values of a labelled field ``(batch, site, 3)``, all leading dimensions in one."""
    return np.ascontiguousarray(spins.values.reshape(-1, *spins.shape[-2:]).swapaxes(-1, -2))


def occupation_field(field: SiteField, lattice: Lattice, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """A labelled site field of zeros and ones, checked."""
    labelled = site_field(field, lattice, dims)
    wrong = int(((labelled.values != 0) & (labelled.values != 1)).sum())
    if wrong:
        raise ValueError(f"{wrong} of {labelled.size} values are not 0 or 1; an occupation is one of the two.")
    return labelled
