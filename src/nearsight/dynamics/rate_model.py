"""Discrete moves of a site field and the rates at which they happen."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor

from nearsight.lattices import Lattice


@runtime_checkable
class RateModel(Protocol):
    """A Markov process in continuous time on discrete fields: what can happen next, and how often.

    The moves out of a field are numbered 0 .. ``moves`` - 1, the same numbers for every field; one that is impossible
    in a given field has rate 0. A rate model does not draw random numbers and keeps no memory.
    """

    lattice: Lattice
    moves: int

    def rates(self, field: Tensor) -> Tensor:
        """Rate of every move, float64 ``(*batch, move)``, ≥ 0 and finite, per unit of time."""

    def apply(self, field: Tensor, move: Tensor) -> Tensor:
        """The field after one move in every replica; ``move`` is an integer tensor ``(*batch,)``."""

    def check(self, field: Tensor) -> None:
        """Raise ``ValueError`` for a field that is no state of the process, naming the cure."""

    def on(self, lattice: Lattice) -> Self:
        """The same process on another lattice of the same kind."""

    def config(self) -> dict[str, Any]:
        """Name and parameters as plain data."""
