"""What is measured of electrons between reservoirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import array
from nearsight.solvers.negf._contacts import Contacts, Green
from nearsight.solvers.negf._fermi_integrals import fermi
from nearsight.solvers.negf.reservoirs import Reservoir
from nearsight.solvers.sparse import SparseMatrix

CHUNK = 2**22
"""Elements of Green's function in memory at once where many energies are asked for."""


@dataclass(frozen=True)
class SteadyState:
    r"""Electrons of one spin copy between reservoirs, ħ = 1: energies in t, currents in t/ħ.

    An electric current is e times that of electrons, in units of e t/ħ; over a voltage in units of t/e it is a
    conductance in units of e²/ħ, which is 2π e²/h.

    ``density`` ``(*batch, orbital)``: ⟨n_a⟩. ``currents`` ``(*batch, reservoir)``: electrons per time that enter from
    every reservoir; their sum is zero. ``rho`` ``(*batch, element)``: ρ_ab = ⟨c_b† c_a⟩ at the elements
    ``(rows, columns)`` of the matrix, and ``bond_currents`` there: electrons per time from orbital b to a,

    .. math:: J_{b \to a} = 2\,\mathrm{Im}\, h_{ab}\, \rho_{ba} .

    ``error``, ``current_error`` ``(*batch,)``: largest error of ρ, and of every current.

    :meth:`NEGF.steady_state` and :meth:`RecursiveNEGF.steady_state` return it.
    """

    matrix: SparseMatrix
    reservoirs: tuple[Reservoir, ...]
    rho: Tensor
    density: Tensor
    currents: Tensor
    error: Tensor
    current_error: Tensor
    _contacts: Contacts = field(repr=False)
    _green: Callable[[Tensor, Tensor], Green] = field(repr=False)

    @property
    def rows(self) -> Tensor:
        return self.matrix.pattern.rows

    @property
    def columns(self) -> Tensor:
        return self.matrix.pattern.columns

    @property
    def bond_currents(self) -> Tensor:
        """``(*batch, element)``, antisymmetric; where an element is listed several times, the part of each."""
        return 2 * (self.matrix.values * self.rho.conj()).imag  # ρ_ba = ρ_ab*

    def local_density_of_states(self, energies: Any) -> Tensor:
        """-Im G_aa(ε)/π ``(*batch, energy, orbital)``, in levels per t; its integral over all energies is 1."""
        return self._spectrum(energies, (), lambda _, green: -green.diagonal.imag / math.pi)

    def transmission(self, energies: Any) -> Tensor:
        r"""T_rs(ε) = 4 Tr Γ_r G Γ_s G† ``(*batch, energy, reservoir, reservoir)``: from s to r, dimensionless.

        On the diagonal are those that return to their reservoir: Σ_r T_rs = Σ_r T_sr = -4 Tr Γ_s Im G.
        """
        *smaller, largest = sorted(range(len(self.reservoirs)), key=lambda r: len(self.reservoirs[r].sites))
        gamma, place = self._contacts.gamma, self._place(smaller)

        def measure(_: Tensor, green: Green) -> Tensor:
            t = green.diagonal.real.new_zeros(*green.diagonal.shape[:-1], len(gamma), len(gamma))
            for s in smaller:
                column = green.columns[..., place[self._contacts.orbitals[s]]].abs().square().sum(-1)
                t[..., s] = 4 * self.reservoirs[s].gamma * (column @ gamma.mT)
            # What no column was computed for follows from the two sums, which are equal.
            for s in smaller:
                t[..., s, largest] = t[..., s].sum(-1) - t[..., s, :].sum(-1)
            all_of_largest = -4 * green.diagonal.imag @ gamma[largest]
            t[..., largest, largest] = all_of_largest - t[..., largest, :].sum(-1)
            return t

        return self._spectrum(energies, smaller, measure)

    def spectral_currents(self, energies: Any) -> Tensor:
        """What every reservoir brings in per energy, Σ_s [T_sr f_r - T_rs f_s]/2π ``(*batch, energy, reservoir)``."""
        t = self.transmission(energies)
        eps = torch.as_tensor(_energies(energies), device=t.device)
        f = torch.stack([fermi(eps, r.mu, r.kT) for r in self.reservoirs], dim=-1)
        return (t.sum(-2) * f - (t @ f[..., None]).squeeze(-1)) / (2 * math.pi)

    def spectral_bond_currents(self, energies: Any) -> Tensor:
        """Bond currents per energy ``(*batch, energy, element)``; costs a column of G for every orbital coupled."""
        everything = range(len(self.reservoirs))
        coupled = (self._place(everything) >= 0).nonzero().squeeze(-1)
        values = self.matrix.values[..., None, :]

        def measure(eps: Tensor, green: Green) -> Tensor:
            f = torch.stack([fermi(eps, r.mu, r.kT) for r in self.reservoirs], dim=-1)
            filled = green.columns * (f @ self._contacts.gamma[:, coupled])[:, None, :]
            columns = green.columns[..., self.columns, :].conj()
            rho = torch.einsum("...es,...es->...e", filled[..., self.rows, :], columns) / math.pi
            return 2 * (values * rho.conj()).imag

        return self._spectrum(energies, everything, measure)

    def _place(self, reservoirs: Sequence[int]) -> Tensor:
        """Which column of G belongs to every orbital, where those of some reservoirs are asked for; -1: none."""
        coupled = (self._contacts.gamma[list(reservoirs)] > 0).any(0)
        return torch.where(coupled, coupled.cumsum(0) - 1, -1)

    def _spectrum(self, energies: Any, reservoirs: Sequence[int], measure: Callable[[Tensor, Green], Tensor]) -> Tensor:
        eps = torch.as_tensor(_energies(energies), device=self.density.device)
        sites = (self._place(reservoirs) >= 0).nonzero().squeeze(-1)
        size = max(1, CHUNK // (self.matrix.size * max(1, len(sites)) * max(1, self.density[..., 0].numel())))
        parts = [measure(part, self._green(part, sites)) for part in eps.split(size)]
        return torch.cat(parts, dim=self.density.ndim - 1)


def _energies(energies: Any) -> np.ndarray:
    """One or several real energies."""
    given = energies.numpy(force=True) if isinstance(energies, Tensor) else energies
    return array([given] if np.ndim(given) == 0 else given, "energies", ("energy",))
