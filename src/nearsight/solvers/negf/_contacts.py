"""Reservoirs on the orbitals of a matrix, and Green's function there."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Green(NamedTuple):
    """Gʳ at some energies: its diagonal ``(*batch, energy, orbital)`` and some columns ``(..., orbital, column)``."""

    diagonal: Tensor
    columns: Tensor


class Contacts(NamedTuple):
    """Reservoirs on the orbitals of a matrix.

    ``gamma`` ``(reservoir, orbital)``; ``orbitals`` of every reservoir; ``groups`` of reservoirs that fill alike, the
    one on most orbitals first: out of equilibrium means more than one.
    """

    gamma: Tensor
    orbitals: tuple[Tensor, ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> Tensor:
        return self.gamma.sum(0)

    def of_group(self, group: int) -> Tensor:
        """Γ ``(orbital,)`` of the reservoirs of a group."""
        return self.gamma[list(self.groups[group])].sum(0)
