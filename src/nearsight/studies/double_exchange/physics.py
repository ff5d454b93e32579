"""The model, its teacher, the textures it starts from, and what is seen in them."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from nearsight import analysis
from nearsight.analysis import Path, neighbour_mean
from nearsight.analysis.order import CHECKERBOARD
from nearsight.fields import perturbed, random_spins
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import Hamiltonian, SDModel, double_exchange
from nearsight.lattices import Lattice, square, torus_distance
from nearsight.solvers import Dense, Electrons, Poles, Solver
from nearsight.studies.double_exchange.config import Config

DENSE = 24
"""Edge of a lattice up to which diagonalisation is faster than poles at fixed number."""
TOL = 1e-6
"""Largest error of the density matrix of poles."""


def magnet(config: Config, length: int) -> SDModel:
    return double_exchange(square(length), **config.model.model_dump())


def exact(config: Config, length: int) -> ExactForceField:
    """Electrons of the given number: the teacher. Half filling is μ = 0, by symmetry and in any texture."""
    mu, filling = (0.0, None) if config.half_filled else (None, config.filling)
    solver: Solver
    if length <= DENSE:
        solver = Dense(kT=config.electron_kT, mu=mu, filling=filling)
    else:
        solver = Poles(kT=config.electron_kT, tol=TOL, mu=mu, filling=filling)
    return ExactForceField(magnet(config, length), solver)


def at_fixed_mu(config: Config, length: int, mu: float, *, tol: float = TOL) -> ExactForceField:
    """Electrons of one chemical potential, whatever their number."""
    solver = Dense(mu=mu, kT=config.electron_kT) if length <= DENSE else Poles(mu=mu, kT=config.electron_kT, tol=tol)
    return ExactForceField(magnet(config, length), solver)


def density(model: Hamiltonian, electrons: Electrons) -> Tensor:
    """⟨n_i⟩ ``(*batch, site)``: the occupations of both spins, from the elements of ρ that the model asks for."""
    diagonal = model.rows == model.columns
    site = torch.div(model.rows[diagonal], 2, rounding_mode="floor")
    occupation = electrons.rho[..., diagonal].real
    return torch.zeros(*occupation.shape[:-1], model.lattice.n_sites, dtype=occupation.dtype).index_add_(
        -1, site, occupation
    )


# --- textures ---------------------------------------------------------------------------------------------------------


def disordered(lattice: Lattice, replicas: int, rng: torch.Generator) -> Tensor:
    """Random spins ``(replica, site, 3)``, float64."""
    return random_spins(lattice, rng, replicas)


def antiferromagnet(lattice: Lattice) -> Tensor:
    """Spins along z, up on the sublattice of site 0 ``(site, 3)``."""
    spins = torch.zeros(lattice.n_sites, 3, dtype=torch.float64)
    spins[:, 2] = torch.from_numpy(analysis.sublattice_sign(lattice).astype(float))
    return spins


def with_disc(spins: Tensor, lattice: Lattice, centre: int, radius: float, direction: Tensor) -> Tensor:
    """A copy in which all spins within ``radius`` of a site point along ``direction``."""
    inside = torus_distance(lattice.positions - lattice.positions[centre], lattice) <= radius + 1e-9
    result = spins.clone()
    result[torch.from_numpy(inside)] = direction
    return result


def discs(config: Config, lattice: Lattice, replicas: int, rng: torch.Generator) -> Tensor:
    """Antiferromagnets with one ferromagnetic disc of random place, size and direction each, perturbed
    ``(replica, site, 3)``."""
    low, high = config.dynamics.radius
    fields = []
    for _ in range(replicas):
        centre = int(torch.randint(lattice.n_sites, (), generator=rng))
        radius = low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))
        direction = random_spins(lattice, rng)[0]
        fields.append(with_disc(antiferromagnet(lattice), lattice, centre, radius, direction))
    return perturbed(torch.stack(fields), config.dynamics.spread, rng)


# --- what is seen in them ---------------------------------------------------------------------------------------------


def path(lattice: Lattice) -> Path:
    """Γ-X-M-Γ: ferromagnets peak at Γ, antiferromagnets at M = (π, π)."""
    return analysis.symmetry_path(lattice)


def bond_order(field: Tensor, lattice: Lattice) -> np.ndarray:
    """b_i ``(*batch, site)``, the mean of S_i·S_j over nearest neighbours j: 1 in a ferromagnet, -1 in an
    antiferromagnet."""
    S = np.moveaxis(field.double().numpy(), -1, 0)
    return (S * neighbour_mean(S, lattice)).sum(0)


def ferromagnetic_clusters(field: Tensor, lattice: Lattice) -> xr.DataArray:
    """Sites joined by bonds with S_i·S_j > 0 ``(replica, site)``: numbers from 1, and 0 for sites without such a bond.

    A single reversed spin of an antiferromagnet makes a cluster of five.
    """
    bonds = lattice.bonds(1)
    S = field.double().numpy()
    labels = np.zeros(S.shape[:2], dtype=np.int32)
    for row, s in zip(labels, S, strict=True):
        parallel = (s[bonds.i] * s[bonds.j]).sum(-1) > 0
        i, j = bonds.i[parallel], bonds.j[parallel]
        graph = coo_array((np.ones(len(i), dtype=np.int8), (i, j)), (lattice.n_sites,) * 2).tocsr()
        number = connected_components(graph, directed=False)[1]
        joined = np.unique(np.concatenate([i, j]))
        row[joined] = np.unique(number[joined], return_inverse=True)[1] + 1
    return xr.DataArray(labels, dims=("replica", "site"))


def observe(field: Tensor, lattice: Lattice) -> xr.Dataset:
    """What is measured on spins ``(replica, site, 3)`` or ``(replica, time, site, 3)``."""
    dims = ("replica", "time")[: field.ndim - 2]
    S = analysis.spin_structure_factor(field, lattice, dims=dims)
    b = bond_order(field, lattice)
    labels = ferromagnetic_clusters(field.reshape(-1, *field.shape[-2:]), lattice)
    sizes = analysis.cluster_sizes(labels, lattice, smallest=2).weighted_size.fillna(0.0).values

    def named(values: np.ndarray, long_name: str) -> xr.DataArray:
        return xr.DataArray(values.reshape(field.shape[:-2]), dims=dims, attrs={"long_name": long_name, "units": "1"})

    peak = analysis.peak_order(S, lattice, [CHECKERBOARD], radius=0.0)
    return xr.Dataset(
        {
            "S": analysis.spin_structure_factor_at(field, lattice, path(lattice), dims=dims).drop_vars(("kx", "ky")),
            "zone": S.mean("replica"),
            "staggered": (peak / lattice.n_sites).assign_attrs(long_name="S(π, π)/N", units="1"),
            "m": named(field.mean(-2).norm(dim=-1).numpy(), "magnetisation"),
            # All weight at the peak would make it infinite; nothing is longer than the lattice.
            "L": analysis.peak_length(S, lattice, [CHECKERBOARD]).clip(max=min(lattice.shape), keep_attrs=True),
            "b": named(b.mean(-1), "mean of S_i·S_j over bonds"),
            "ferro": named((b > 0).mean(-1), "share of sites with b > 0"),
            "cluster": named(sizes, "sites of a ferromagnetic cluster"),
        }
    )
