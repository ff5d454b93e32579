# %% [markdown]
"""A model of your own: the Peierls instability of a chain.

A half-filled chain whose hopping depends on the bond lengths gains electronic energy by dimerising: a gap opens at the
Fermi level for any coupling, however weak (Peierls), and the elastic price is only quadratic. Thirty lines are a model;
forces, ensembles, boundaries, batches and all dynamics come for free. (This one is a special case of
``nearsight.hamiltonians.Peierls``, the referee of its forces at the end.)

W.-P. Su, J. R. Schrieffer, A. J. Heeger, Phys. Rev. Lett. 42, 1698 (1979).
"""

# %%
# test: chain(200) -> chain(120)
from __future__ import annotations

from typing import Self

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

import nearsight as ns


class BondLengths(ns.hamiltonians.Hamiltonian):
    r"""Displacements u_i along a chain:
    H = -Σ_i [t - α (u_{i+1} - u_i)] (c†_{i+1} c_i + h.c.),   V = k/2 Σ_i (u_{i+1} - u_i)²."""

    components = 1
    # A displacement along the chain is a vector in one dimension: reflection turns it round.
    field_type = ns.fields.FieldType("u", ("vector",))

    def __init__(self, lattice: ns.lattices.Lattice, *, t: float = 1.0, alpha: float = 0.5, k: float = 0.4) -> None:
        self.lattice, self.t, self.alpha, self.k = lattice, t, alpha, k
        bonds = lattice.bonds(1)
        self.i, self.j = torch.from_numpy(bonds.i), torch.from_numpy(bonds.j)
        # The matrix is a constant plus `coupling` values at fixed positions; both (a, b) and (b, a) are listed.
        self.rows, self.columns = torch.cat([self.i, self.j]), torch.cat([self.j, self.i])
        self.constant = torch.zeros(lattice.n_sites, lattice.n_sites, dtype=torch.float64)
        self.constant[self.rows, self.columns] = -t

    def stretch(self, field: Tensor) -> Tensor:
        return field[..., self.j, 0] - field[..., self.i, 0]

    def coupling(self, field: Tensor) -> Tensor:
        change = self.alpha * self.stretch(field)
        return torch.cat([change, change], dim=-1)

    def classical_energy(self, field: Tensor) -> Tensor:
        return 0.5 * self.k * self.stretch(field).square().sum(-1)

    def on(self, lattice: ns.lattices.Lattice) -> Self:
        return type(self)(lattice, t=self.t, alpha=self.alpha, k=self.k)


# The model vouches for itself: h = h†, and energies are those of the reflected and shifted chain.
model = BondLengths(ns.lattices.chain(200))
model.check(torch.Generator().manual_seed(0))

exact = ns.ExactForceField(model, ns.solvers.Dense(filling=0.5, kT=0.0))
sign = torch.from_numpy((-1.0) ** np.arange(model.lattice.n_sites)).unsqueeze(-1)


def force_on_the_dimerisation(u: float) -> float:
    return float((exact(u * sign).force * sign).mean())


u = brentq(force_on_the_dimerisation, 0.05, 2.0)
levels = torch.linalg.eigvalsh(model.matrix(u * sign))
gap = float(levels[len(levels) // 2] - levels[len(levels) // 2 - 1])

# The referee: bond amplitudes t ± 2αu make two bands ±|t₁ + t₂ exp(ik)|, summed over an infinite chain without matrix.
k = 2 * np.pi * (np.arange(20000) + 0.5) / 20000


def energy_of_the_infinite_chain(u: float) -> float:
    band = np.abs((1.0 + 2 * model.alpha * u) + (1.0 - 2 * model.alpha * u) * np.exp(1j * k))
    return -0.5 * band.mean() + 2 * model.k * u**2  # per site


h = 1e-5
slope = (energy_of_the_infinite_chain(u + h) - energy_of_the_infinite_chain(u - h)) / (2 * h)

print(f"dimerisation u = {u:.6f}, gap {gap:.6f} = 8αu = {8 * model.alpha * u:.6f}")
print(f"energy gained per site: {energy_of_the_infinite_chain(0) - energy_of_the_infinite_chain(u):.6f} t")
print(f"residual slope of the infinite chain there: {slope:.1e} t per length")
assert abs(gap - 8 * model.alpha * u) < 1e-9 and abs(slope) < 1e-4

# Springs between neighbours are a spring at every site and an elastic coupling: k = 2k', κ = -k'.
library = ns.hamiltonians.Peierls(model.lattice, t=1.0, t2=0.0, alpha=0.5, k=0.8, kappa=-0.4)
field = 0.3 * torch.randn(model.lattice.n_sites, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
torch.testing.assert_close(exact(field), ns.ExactForceField(library, exact.solver)(field))
