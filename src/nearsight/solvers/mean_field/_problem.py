"""Matrices that get a mean field, and what is kept of the way to a fixed point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from nearsight.solvers.mean_field._spins import Layout, collinear, noncollinear
from nearsight.solvers.solver import Electrons
from nearsight.solvers.sparse import Pattern, SparseMatrix

POTENTIALS = ("energy", "free_energy", "grand_potential", "potential")
ALL = ("rho", "mu", "number", *POTENTIALS, "error")

MARGIN = 4.0
"""Stated error over the last estimate of the distance to the fixed point: soft moments may be four times as far."""

SAME = 1e-10
"""Potentials closer than this, relative, may belong to one solution."""


class Places(NamedTuple):
    """What all matrices of a pattern share: ``pattern`` has the elements of the mean field after those of h.

    ρ is asked for at ``rows``, ``columns``: where the mean field acts, then what is wanted. ``joined``: the same for
    one matrix with a block for every spin.
    """

    layout: Layout
    wanted: tuple[Tensor, Tensor]
    pattern: Pattern
    rows: Tensor
    columns: Tensor
    joined: tuple[Pattern, Tensor, Tensor]

    @classmethod
    def of(cls, pattern: Pattern, rows: Tensor, columns: Tensor, *, spins: bool) -> Places:
        """Found once as long as the same tensors ask."""
        known = _known.get(pattern)
        if known is None or known.wanted[0] is not rows or known.wanted[1] is not columns or spins != known.spins:
            known = cls._found(pattern, rows, columns, spins=spins)
            _known[pattern] = known
        return known

    @classmethod
    def _found(cls, pattern: Pattern, rows: Tensor, columns: Tensor, *, spins: bool) -> Places:
        n, device = pattern.size, pattern.rows.device
        layout = noncollinear(n, device) if spins else collinear(n, device)
        i, j = torch.cat([pattern.rows, layout.rows]), torch.cat([pattern.columns, layout.columns])
        a, b = torch.cat([layout.rows, rows.to(device)]), torch.cat([layout.columns, columns.to(device)])
        cuts = None if pattern.cuts is None else pattern.cuts.repeat(1, 2)
        both = Pattern(torch.cat([i, i + n]), torch.cat([j, j + n]), 2 * n, cuts)
        joined = both, torch.cat([a, a + n]), torch.cat([b, b + n])
        return cls(layout, (rows, columns), Pattern(i, j, n, pattern.cuts), a, b, joined)

    @property
    def spins(self) -> bool:
        """Whether spins are in the matrix."""
        return self.layout.matrices == 1


_known: WeakKeyDictionary[Pattern, Places] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Problem:
    """Elements of h ``(item, element)`` on a pattern, of a batch of any shape."""

    values: Tensor
    batch: torch.Size
    pattern: Pattern
    places: Places

    def with_field(self, field: Tensor, items: Tensor | slice) -> SparseMatrix:
        """h with the mean field of some items, ``(item, matrix, element)``."""
        added = self.places.layout.elements(field).to(self.values.dtype)
        own = self.values[items][:, None].expand(-1, added.shape[1], -1)
        return SparseMatrix(self.places.pattern, torch.cat([own, added], dim=-1))

    def reshaped(self, x: Tensor) -> Tensor:
        """``(item, ...)`` as ``(*batch, ...)``."""
        return x.reshape((*self.batch, *x.shape[1:]))


class Found(NamedTuple):
    """Where every item stands ``(item, ...)``: the mean field of ``entered`` gave ``electrons`` with densities and
    moments ``left``, by which the electrons' energies have been corrected by ``double_counting``."""

    electrons: Electrons
    entered: Tensor
    left: Tensor
    double_counting: Tensor
    converged: Tensor
    steps: Tensor
    start: Tensor

    @classmethod
    def of(
        cls, free: Electrons, entered: Tensor, left: Tensor, double_counting: Tensor, distance: Tensor, tol: float,
        step: int, start: int,
    ) -> Self:  # fmt: skip
        corrected = changed(free, lambda x: x + double_counting, POTENTIALS)
        error, limit = MARGIN * distance, torch.full_like(distance, tol)
        if free.error is not None:  # below which densities are noise
            error, limit = error + free.error, torch.maximum(limit, free.error)
        count = torch.ones_like(distance, dtype=torch.long)
        electrons = replace(corrected, error=error)
        converged = distance <= limit
        return cls(electrons, entered, left, double_counting, converged, step * count, start * count)

    @property
    def residual(self) -> Tensor:
        return (self.left - self.entered).abs().amax((1, 2))

    def updated(self, items: Tensor, now: Self) -> Self:
        """With some items as they are now."""
        return self._merged(now, lambda old, new: old.index_copy(0, items.to(old.device), new))

    def lowest(self, other: Self) -> Self:
        """Of every item that of lower potential; of equal ones that which has converged."""
        a, b = (_score(x) for x in (self, other))
        return self._merged(other, lambda x, y: torch.where((b < a).reshape(-1, *[1] * (x.ndim - 1)), y, x))

    def _merged(self, other: Self, merge: Callable[[Tensor, Tensor], Tensor]) -> Self:
        electrons = changed(self.electrons, merge, ALL, other.electrons)
        return type(self)(electrons, *(merge(x, y) for x, y in zip(self[1:], other[1:], strict=True)))


def _score(found: Found) -> Tensor:
    """The potential, raised by its rounding where the densities have not converged."""
    potential = found.electrons.potential
    assert potential is not None
    return potential + torch.where(found.converged, 0.0, SAME * (1 + potential.abs()))


def changed(
    electrons: Electrons, change: Callable[..., Tensor], names: tuple[str, ...] = ALL, *others: Electrons
) -> Electrons:
    """With a function of every quantity that there is, of these and of others."""
    known = {name: [getattr(x, name) for x in (electrons, *others)] for name in names}
    new: dict[str, Any] = {name: change(*x) for name, x in known.items() if x[0] is not None}
    return replace(electrons, **new)
