"""What both solvers of steady states have in common."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance, integer
from nearsight.solvers.negf._contacts import Contacts, Green
from nearsight.solvers.negf.reservoirs import Reservoir
from nearsight.solvers.negf.steady_state import SteadyState
from nearsight.solvers.solver import Electrons, Solver, _check_wanted, _no_electrons
from nearsight.solvers.sparse import SparseMatrix


class Solution(NamedTuple):
    """What a solver finds ``(*batch, ...)``: ρ at the elements asked for, densities, the energy, currents, errors, and
    the grand potential if all reservoirs fill alike."""

    rho: Tensor
    density: Tensor
    energy: Tensor
    currents: Tensor
    error: Tensor
    current_error: Tensor
    potential: Tensor | None


class DrivenSolver(Solver, abc.ABC):
    """Steady states between reservoirs; the members differ in how they integrate."""

    _parts: ClassVar = {"reservoirs": lambda given: tuple(Reservoir.from_config(x) for x in given)}

    reservoirs: tuple[Reservoir, ...]
    orbitals: int

    def __init__(self, *reservoirs: Reservoir, orbitals: int = 1) -> None:
        for r in reservoirs:
            instance(r, Reservoir, "every reservoir")
        if not reservoirs:
            raise ValueError("Electrons fill from reservoirs: give at least one.")
        self.reservoirs, self.orbitals = reservoirs, integer(orbitals, "orbitals per site", least=1)

    @property
    def has_potential(self) -> bool:
        return self.in_equilibrium and not self.driven

    @property
    def driven(self) -> bool:
        """Whether reservoirs depend on time."""
        return any(r.driven for r in self.reservoirs)

    @property
    def in_equilibrium(self) -> bool:
        """Whether all reservoirs have one chemical potential and temperature: only then is there an energy."""
        return len({(r.mu, r.kT) for r in self.reservoirs}) == 1

    def solve(self, matrix: Tensor | SparseMatrix, rows: Tensor, columns: Tensor, *, degeneracy: int = 1) -> Electrons:
        checked = self._checked(matrix)
        rows, columns, d = _check_wanted(rows, columns, checked.size, degeneracy)
        if 0 in checked.values.shape[:-1]:
            none = _no_electrons(checked, rows)
            if self.in_equilibrium:
                return none
            return replace(none, mu=None, free_energy=None, grand_potential=None, potential=None)
        found, _ = self._integrate(checked, rows, columns)
        # Without currents ρ of a real matrix is real.
        currents = checked.values.is_complex() or not self.in_equilibrium
        number, rho = found.density.sum(-1), found.rho if currents else found.rho.real
        if found.potential is None:
            return Electrons(rho, None, d * number, d * found.energy, None, None, None, found.error)
        mu, omega = torch.full_like(number, self.reservoirs[0].mu), d * found.potential
        free = omega + d * mu * number
        return Electrons(rho, mu, d * number, d * found.energy, free, omega, omega, found.error)

    def steady_state(self, matrix: Tensor | SparseMatrix) -> SteadyState:
        """Densities, currents and spectra for matrices ``(*batch, orbital, orbital)``."""
        checked = self._checked(matrix)
        found, green = self._integrate(checked, checked.pattern.rows, checked.pattern.columns)
        parts = (found.rho, found.density, found.currents, found.error, found.current_error)
        return SteadyState(checked, self.reservoirs, *parts, self._contacts(checked), green)

    @abc.abstractmethod
    def _integrate(
        self, matrix: SparseMatrix, rows: Tensor, columns: Tensor
    ) -> tuple[Solution, Callable[[Tensor, Tensor], Green]]:
        """The integrals over energy, and Green's function at real energies."""

    def _checked(self, matrix: Tensor | SparseMatrix) -> SparseMatrix:
        """The matrix in double precision; reservoirs must find their sites on it."""
        if self.driven:
            raise ValueError(
                f"The reservoirs of {type(self).__name__} depend on time: take .at_time(time) of the solver or of its "
                "force field."
            )
        sparse = matrix if isinstance(matrix, SparseMatrix) else SparseMatrix.of(matrix)
        sparse.check()
        sites, rest = divmod(sparse.size, self.orbitals)
        last = max(int(r.sites[-1]) for r in self.reservoirs)
        if rest or last >= sites:
            raise ValueError(
                f"Reservoirs on sites up to {last} with {self.orbitals} orbital(s) each do not fit a matrix of "
                f"{sparse.size} orbitals: attach them to sites of the model, and give orbitals= per site."
            )
        dtype = torch.complex128 if sparse.values.is_complex() else torch.float64
        return SparseMatrix(sparse.pattern, sparse.values.to(dtype))

    @cached_property
    def _groups(self) -> tuple[tuple[int, ...], ...]:
        alike: dict[tuple[float, float], list[int]] = {}
        for k, r in enumerate(self.reservoirs):
            alike.setdefault((r.mu, r.kT), []).append(k)
        size = {key: len({int(s) for k in group for s in self.reservoirs[k].sites}) for key, group in alike.items()}
        return tuple(tuple(alike[key]) for key in sorted(alike, key=lambda key: -size[key]))

    def _contacts(self, matrix: SparseMatrix) -> Contacts:
        device = matrix.values.device
        gamma = torch.zeros(len(self.reservoirs), matrix.size, dtype=torch.float64)
        places = []
        for k, r in enumerate(self.reservoirs):
            own = torch.from_numpy((r.sites[:, None] * self.orbitals + np.arange(self.orbitals)).reshape(-1))
            gamma[k, own] = r.gamma
            places.append(own.to(device))
        return Contacts(gamma.to(device), tuple(places), self._groups)

    def _filling(self, group: int) -> tuple[float, float]:
        """μ and kT of a group."""
        r = self.reservoirs[self._groups[group][0]]
        return r.mu, r.kT
