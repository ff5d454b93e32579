"""Learned forces on snapshots that no training has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.dynamics import Brownian, simulate
from nearsight.fields import FieldType
from nearsight.forcefields import ForceField
from nearsight.lattices import site_group, site_permutations
from nearsight.studies.checks import Above, Below, Check, Within
from nearsight.studies.run import Run
from nearsight.training import KINDS, DataSet, FitOptions, Split

SYMMETRY = 1e-5
"""Allowed violation, relative to the largest force: rounding of single precision, a few layers deep."""
BATCH = 32


def split(run: Run, fit: FitOptions, seed: int) -> Split:
    """Training, validation and test snapshots, always the same in one run; no trajectory is in two of them."""
    return DataSet.open(run.path / "data.zarr").split(validation=fit.validation, test=fit.test, seed=seed)


def forces(forcefield: ForceField, field: Tensor) -> Tensor:
    """Forces on many fields, in the precision of the force field, piece by piece."""
    parameter = next(forcefield.parameters(), None)
    dtype = field.dtype if parameter is None else parameter.dtype
    with torch.no_grad():
        return torch.cat([forcefield(chunk.to(dtype)).force.double() for chunk in field.split(BATCH)])


def rms(error: np.ndarray) -> float:
    return float(np.sqrt((error**2).mean()))


def relative_rms(found: Tensor, exact: Tensor, chosen: np.ndarray) -> float:
    """The rms error of values ``(snapshot, ...)`` over their own rms, on the ``chosen`` snapshots."""
    at = torch.from_numpy(chosen)
    return float((found - exact)[at].square().mean().sqrt() / exact[at].square().mean().sqrt())


def symmetry_error(forcefield: ForceField, law: FieldType, field: Tensor) -> list[float]:
    """max |F(gΦ) - gF(Φ)| / max |F| for every operation g of the site group, the identity first."""
    group = site_group(forcefield.lattice)
    force = forces(forcefield, field)
    return [
        float(
            (forces(forcefield, law.transform(field, group, g, moved)) - law.transform(force, group, g, moved))
            .abs()
            .max()
            / force.abs().max()
        )
        for g, moved in enumerate(site_permutations(forcefield.lattice, group))
    ]


def symmetry_check(errors: list[float]) -> Check:
    """The worst violation of a symmetry operation, see :func:`symmetry_error`."""
    return Check(
        f"symmetry of the force, worst of {len(errors)} operations",
        value=max(errors),
        criterion=Below(SYMMETRY),
        note="relative to the largest force",
    )


def ordered_state(exact: ForceField, learned: ForceField, pattern: Tensor, *, most: float, infinite: float) -> Check:
    """The amplitude at which the ordered field, a multiple of ``pattern`` ``(site, component)``, feels no force.

    infinite: what it is on the infinite lattice at T = 0 for the default parameters.
    """
    there, here = (_amplitude_at_rest(forcefield, pattern, most) for forcefield in (exact, learned))
    return Check(
        "displacement in the ordered state",
        value=here,
        exact=there,
        criterion=None if there is None else Within(0.02, relative=True),
        note=f"{infinite} on the infinite lattice at T = 0 for the default parameters" if here else "no order",
    )


def relaxed(forcefield: ForceField, field: Tensor, *, dt: float = 0.4, steps: int = 60) -> Tensor:
    """The minimum downhill of a field ``(site, component)``, by descent that keeps its symmetry, float64."""
    parameter = next(forcefield.parameters(), None)
    field = field if parameter is None else field.to(parameter.dtype)
    scheme = Brownian(dt=dt, kT=0.0, damping=1.0)
    with torch.no_grad():
        return simulate(forcefield, scheme, field, steps=steps, record=None, rng=None).final.field.double()


def relaxed_states(
    exact: Any, learned: ForceField, starts: Mapping[str, Tensor], infinite: Mapping[str, float]
) -> tuple[list[Check], tuple[Tensor, Tensor]]:
    """Exact energies of the ordered states to which exact and learned forces relax ``starts`` ``(site, component)``,
    each above the one before it; and the first of them, relaxed by both.

    infinite: energies per site on the infinite lattice at T = 0.
    """
    found = [[relaxed(forcefield, start) for start in starts.values()] for forcefield in (exact, learned)]
    energies = [[float(exact(field).energy) / exact.lattice.n_sites for field in fields] for fields in found]
    size, there = " × ".join(map(str, exact.lattice.shape)), "on the infinite lattice at T = 0"
    checks = [
        Check(
            f"energy per site of {b} minus {a}, where learned forces relax to", here, unit="t", exact=right,
            criterion=Above(0.0),
            note=f"exact free energies, {size} sites; {infinite[b]} and {infinite[a]} t {there}",
        )
        for (a, b), right, here in zip(pairwise(starts), *np.diff(energies), strict=True)
    ]  # fmt: skip
    return checks, (found[0][0], found[1][0])


def _amplitude_at_rest(forcefield: ForceField, pattern: Tensor, most: float) -> float | None:
    """A > 0 by bisection; None if order does not grow from A = 0.05, or still grows at ``most``."""

    def pull(A: float) -> float:
        return float((forces(forcefield, (A * pattern).unsqueeze(0))[0] * pattern).mean())

    low, high = 0.05, most
    if pull(low) <= 0 or pull(high) >= 0:
        return None
    while high - low > 1e-5:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if pull(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def errors_by_kind(
    exact: np.ndarray,
    learned: np.ndarray,
    test: DataSet,
    *,
    quantity: str,
    units: str,
    rows: np.ndarray | slice = slice(None),
    components: Mapping[str, Sequence[str]] | None = None,
    symmetry: Sequence[float] = (),
) -> xr.Dataset:
    """Exact and learned values of the test trajectories with statistics of their difference.

    ``exact`` and ``learned`` are ``(snapshot, site)`` of the snapshots ``rows`` of the test data, or ``(snapshot, site,
    component)`` with ``components`` by the name of that dimension; ``std``, ``rmse`` and ``max`` are by the kind of
    snapshot. ``symmetry``: violations of every operation, see :func:`symmetry_error`.
    """
    kinds = np.array(KINDS)[test.kind[rows]]
    groups = list(dict.fromkeys(kinds.tolist()))
    errors = [(learned - exact)[kinds == kind] for kind in groups]
    inner = list(components or {})
    dims = ["snapshot", "site", *inner]

    def by_group(
        label: str, measure: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[list[str], np.ndarray, dict[str, str]]:
        return ["group", *inner], np.array([measure(e) for e in errors]), {"long_name": label}

    return xr.Dataset(
        {
            f"exact_{quantity}": (dims, exact, {"long_name": f"exact {quantity}", "units": units}),
            f"learned_{quantity}": (dims, learned, {"long_name": f"learned {quantity}", "units": units}),
            "std": by_group("standard deviation of the error", lambda e: e.std((0, 1))),
            "rmse": by_group("rms error", lambda e: np.sqrt((e**2).mean((0, 1)))),
            "max": by_group("largest error", lambda e: np.abs(e).max((0, 1))),
            "symmetry_error": ("operation", list(symmetry), {"long_name": "violation relative to the largest force"}),
        },
        coords={
            "group": groups,
            "kind": ("snapshot", kinds),
            "trajectory": ("snapshot", test.trajectory[rows]),
            "time": ("snapshot", test.time[rows]),
            **(components or {}),
        },
    )
