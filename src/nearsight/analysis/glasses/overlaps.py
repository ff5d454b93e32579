"""Replicas of one disorder: their overlap and susceptibility, and what a spin remembers of an earlier time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import xarray as xr

from nearsight.analysis._fields import SpinField, described, rows, spin_field
from nearsight.analysis.statistics._draws import left_out_error
from nearsight.lattices import Lattice
from nearsight.lattices.point_cloud import Structures


def replica_overlap(spins: SpinField, lattice: Lattice) -> xr.DataArray:
    r"""The overlap of every two replicas of one disorder, free of their common rotations and reversals,

    .. math:: q^{\mu\nu}_{ab} = \frac1N \sum_i S_i^{\mu}(a)\, S_i^{\nu}(b), \qquad
              q_{ab}^2 = \sum_{\mu\nu} (q_{ab}^{\mu\nu})^2 .

    Two replicas that differ by a rotation of all spins have the q² of a replica with itself, Σ (q_aa^{μν})²: between
    1/3 for spins that point in all directions alike and 1 for collinear ones; independent replicas have q² = 1/N on the
    average. The distribution of q over pairs of late replicas is the order parameter of Edwards and Anderson.

    Parameters
    ----------
    spins: ``(replica, site, 3)``, two or more replicas on the same positions.

    Returns
    -------
    ``(pair,)`` of q_ab, with the coordinates ``a`` and ``b``; on several structures ``(structure, pair)``.

    References
    ----------
    S. F. Edwards, P. W. Anderson, J. Phys. F 5, 965 (1975).
    """
    S = _replicas(spins, lattice)
    pairs = list(itertools.combinations(range(len(S)), 2))
    q2 = np.array([[_squared(part)[a, b] for a, b in pairs] for part in _parts(S, lattice)])
    coords = {name: ("pair", np.array(pairs)[:, k]) for k, name in enumerate("ab")}
    result = xr.DataArray(np.sqrt(q2), dims=("structure", "pair"), coords=coords)
    return described(result if isinstance(lattice, Structures) else result[0], "q", "overlap of replicas")


def spin_glass_susceptibility(spins: SpinField, lattice: Lattice) -> xr.Dataset:
    r"""How strongly replicas of one disorder agree, :math:`\chi_{SG} = N \langle q_{ab}^2 \rangle` over pairs a ≠ b.

    1 for independent random spins; it grows like the volume over which replicas froze alike, and with N where there is
    long-range order of the glass.

    Returns
    -------
    A Dataset of ``susceptibility`` and its ``error``, from leaving out one replica after the other; by "structure" on
    several of them. Needs three replicas.
    """
    S = _replicas(spins, lattice)
    if len(S) < 3:
        raise ValueError(f"An error of the susceptibility needs 3 replicas, got {len(S)}.")
    means, errors = [], []
    for part in _parts(S, lattice):
        q2, n = _squared(part), len(part)
        np.fill_diagonal(q2, 0.0)
        means.append(part.shape[1] * q2.sum() / (n * (n - 1)))
        without = [part.shape[1] * (q2.sum() - 2 * q2[k].sum()) / ((n - 1) * (n - 2)) for k in range(n)]
        errors.append(float(left_out_error(np.array(without))))
    dims: tuple[str, ...] = ("structure",)
    values, bars = np.array(means), np.array(errors)
    if not isinstance(lattice, Structures):
        dims, values, bars = (), values[0], bars[0]
    return xr.Dataset(
        {
            "susceptibility": (dims, values, {"long_name": "spin-glass susceptibility", "units": "1"}),
            "error": (dims, bars, {"long_name": "standard error of the susceptibility", "units": "1"}),
        }
    )


def autocorrelation(spins: xr.DataArray, waiting: Sequence[float]) -> xr.DataArray:
    r"""What is left of the spins of a waiting time, :math:`C(t_w, t) = \frac1N \sum_i \mathbf S_i(t_w) \cdot \mathbf
    S_i(t_w + t)`.

    In a system that ages it depends on both times, and falls the later the longer it has waited; where all that
    matters is the ratio, curves against t/t_w fall on one.

    Parameters
    ----------
    spins: dimensions "time" (with its coordinate), "site" and "component", others kept.
    waiting: times t_w, the recorded ones nearest to them.

    Returns
    -------
    ``(waiting, ..., time)`` against the total time t_w + t, NaN before t_w, with ``ratio`` = t/t_w as a coordinate.
    """
    if not {"time", "site", "component"} <= set(spins.dims) or "time" not in spins.coords:
        raise ValueError(f"spins need the dimensions 'time', 'site', 'component' and times, got {spins.dims}.")
    chosen = [float(spins.time.sel(time=t, method="nearest")) for t in waiting]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"Waiting times {list(waiting)} share recorded times: {chosen}; record more often.")
    curves = []
    for t in chosen:
        then = spins.sel(time=t)
        curves.append((then * spins).sum("component").mean("site").where(spins.time >= t))
    C = xr.concat(curves, dim=xr.DataArray(chosen, dims="waiting", name="waiting"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (C.time - C.waiting) / C.waiting
    C = C.assign_coords(ratio=ratio).transpose("waiting", ..., "time")
    return described(C, "autocorrelation", "autocorrelation of spins")


def _replicas(spins: SpinField, lattice: Lattice) -> np.ndarray:
    """Spins ``(replica, site, 3)``, two replicas or more."""
    labelled = spin_field(spins, lattice)
    if labelled.ndim != 3 or len(labelled) < 2:
        raise ValueError(f"Overlaps need spins (replica, site, 3) of two replicas or more, got {labelled.dims}.")
    return rows(labelled)


def _parts(S: np.ndarray, lattice: Lattice) -> Sequence[np.ndarray]:
    return lattice.split(S, axis=1) if isinstance(lattice, Structures) else [S]


def _squared(S: np.ndarray) -> np.ndarray:
    """Σ_μν (q_ab^μν)² of all pairs ``(a, b)``."""
    q = np.einsum("aim,bin->abmn", S, S, optimize=True) / S.shape[1]
    return (q**2).sum((-1, -2))
