"""The door of the analysis of spins: tensors and labelled arrays become one labelled field of three components."""

from __future__ import annotations

import numpy as np
import xarray as xr
from torch import Tensor

from nearsight.analysis.site_field import site_field
from nearsight.lattices import Lattice

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
        leading = array.ndim - 2
        names = dims or (("replica",) if leading == 1 else tuple(f"batch_{k}" for k in range(leading)))
        if len(names) != leading:
            raise ValueError(f"dims must name the {leading} leading dimensions of the spins, got {names}.")
        labelled = site_field(np.swapaxes(array, -1, -2), lattice, (*names, "component"))
    if labelled.sizes["component"] != 3:
        raise ValueError(f"Spins have 3 components, got {labelled.sizes['component']}.")
    return labelled


def rows(spins: xr.DataArray) -> np.ndarray:
    """The values of a labelled field ``(batch, site, 3)``, all leading dimensions in one."""
    return np.ascontiguousarray(spins.values.reshape(-1, *spins.shape[-2:]).swapaxes(-1, -2))
