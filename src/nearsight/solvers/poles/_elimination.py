"""Selected inversion of a sparse matrix, and the branch of its determinant."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nearsight.solvers.poles.dissection import NestedDissection, _Fronts, _Link, _Place
from nearsight.solvers.sparse import SparseMatrix

MEMORY = 2**30
"""Bytes of fronts held at once; further poles and replicas wait their turn."""

STREAM = 2**26
"""Bytes of fronts held at once on a CPU: more would not be faster."""

CACHE = 2**22
"""Bytes of fronts worked on between two passes over memory, on a CPU."""

LEAF = 32
"""Matrices up to this size are inverted by LAPACK, larger ones by halves: matrix products run several times faster."""

SEEN, UNSEEN = 1.5, 4.0
"""Rounding over its two estimates: see :func:`_rounding`."""


class Inverse(NamedTuple):
    """What elimination finds of G = (h - ζ)⁻¹, for every ζ ``(replica, pole, ...)``.

    ``log_det``, ``trace``: Σ ln(ε_n - ζ), each logarithm with its principal branch, and Tr G, complex128.
    ``elements``, ``transposed``: G_ab and G_ba at the positions asked for ``(..., element)``.
    ``rounding``, ``trace_rounding``: estimates of what rounding has done to elements of G, and to Tr G at most.
    """

    log_det: Tensor
    trace: Tensor
    elements: Tensor
    transposed: Tensor
    rounding: Tensor
    trace_rounding: Tensor

    def of(self, first: int) -> Inverse:
        """At the poles from ``first`` on."""
        return Inverse(*(x[:, first:] for x in self))

    @staticmethod
    def joined(parts: list[Inverse], dim: int) -> Inverse:
        return parts[0] if len(parts) == 1 else Inverse(*(torch.cat(x, dim=dim) for x in zip(*parts, strict=True)))


@dataclass(frozen=True, eq=False)
class SelectedInversion:
    """Hermitian matrices in an order of elimination, and where G is wanted.

    ``diagonal`` ``(replica, orbital)`` is apart from the other ``values`` ``(replica, element)``, of which those on the
    diagonal are not read: energies are subtracted in double precision whatever the precision of the elimination.
    """

    diagonal: Tensor
    values: Tensor
    rows: Tensor
    fronts: tuple[_Fronts, ...]
    given: list[_Place]
    wanted: list[_Place]
    count: int

    @classmethod
    def of(cls, matrix: SparseMatrix, dissection: NestedDissection, rows: Tensor, columns: Tensor) -> SelectedInversion:
        """For G at the positions ``(rows, columns)``."""
        device, pattern = matrix.values.device, matrix.pattern
        return cls(
            matrix.diagonal(),
            matrix.values,
            pattern.rows.to(device),
            dissection.on(device),
            dissection.places("matrix", pattern.rows, pattern.columns, device, diagonal=False),
            dissection.places("wanted", rows, columns, device),
            len(rows),
        )

    def part(self, replicas: Tensor | slice) -> SelectedInversion:
        parts = self.diagonal[replicas], self.values[replicas]
        return SelectedInversion(*parts, self.rows, self.fronts, self.given, self.wanted, self.count)

    def inverse(self, mu: Tensor, shifts: Tensor, dtype: torch.dtype) -> Inverse:
        r"""G = (h - ζ)⁻¹ at ζ = ``mu`` ``(replica,)`` + ``shifts`` ``(pole,)``, Im ζ > 0, in a precision of choice.

        Gaussian elimination by fronts, the innermost first, and back substitution for the part of the inverse on each
        of them. With P the pivots of a front, B its border and F the equations that are left of both,

        .. math:: g = F_{PP}^{-1}, \qquad F_{BB} \leftarrow F_{BB} - F_{BP}\, g\, F_{PB}

        on the way in, added to the equations of the front around it, and on the way out

        .. math:: G_{PB} = -g F_{PB} G_{BB}, \qquad G_{BP} = -G_{BB} F_{BP}\, g, \qquad
                  G_{PP} = g - G_{PB} F_{BP}\, g .

        No pivoting is needed, nor wanted: -Im(h - ζ) is positive, and Schur complements inherit that from the whole
        matrix. So does every pivot of elimination without pivoting: it lies in the lower half-plane, and the sum of
        principal logarithms of all pivots is the logarithm of the determinant on the branch Σ ln(ε_n - ζ).
        """
        replicas, poles = len(mu), len(shifts)
        held = sum(group.shape[0] * group.size**2 for group in self.fronts) * shifts.to(dtype).element_size()
        together = max(1, (MEMORY if mu.is_cuda else STREAM) // held)
        some, most = max(1, together // poles), min(poles, together)
        room = _Room([mu.new_empty(0, dtype=dtype)] * len(self.fronts), {})
        answers = []
        for first in range(0, replicas, some):
            mine = slice(first, first + some)
            equations, levels = self.part(mine), self.diagonal[mine] - mu[mine, None]
            pieces = [_Elimination(equations, levels, z, dtype, room).inverse() for z in shifts.split(most)]
            answers.append(Inverse.joined(pieces, 1))
        return Inverse.joined(answers, 0)


class _Room(NamedTuple):
    """What serves one elimination after the other: fresh memory costs as much as what is done in it."""

    fronts: list[Tensor]
    places: dict[tuple[int, int], Tensor]


class _Elimination:
    """Fronts ``(replica · pole, front, orbital, orbital)``: first what is left of the equations, in the end G."""

    def __init__(
        self, equations: SelectedInversion, levels: Tensor, shifts: Tensor, dtype: torch.dtype, room: _Room
    ) -> None:
        self.equations, self.groups, self.room = equations, equations.fronts, room
        self.batch = len(levels), len(shifts)
        self.levels = (levels[:, None, :] - shifts[:, None]).flatten(0, 1)  # h_aa - ζ
        self.imaginary = shifts.imag.repeat(len(levels))
        self.values = equations.values.to(dtype)
        self.fronts = [self._empty(number) for number in range(len(self.groups))]
        self.leaves: dict[int, list[Tensor]] = defaultdict(list)
        self.inner: dict[int, list[tuple[int, _Link]]] = defaultdict(list)
        for number, group in enumerate(self.groups):
            for link in group.links:
                self.inner[link.group].append((number, link))

    def inverse(self) -> Inverse:
        equations, groups, batch = self.equations, self.groups, self.batch
        count = len(self.levels)
        largest, diagonal = torch.zeros_like(self.levels), torch.zeros_like(self.levels)
        for number in reversed(range(len(groups))):
            pivots = groups[number].pivots
            largest[:, pivots] = self._assemble(number).to(largest)
            self._reduce(number)
        elements, transposed = (torch.zeros(count, equations.count).to(self.levels) for _ in range(2))
        missing = torch.zeros_like(self.levels)
        for number, group in enumerate(groups):
            self._substitute(number)
            flat = self.fronts[number].flatten(1)
            mine = self.fronts[number].diagonal(dim1=-2, dim2=-1)[..., : group.shape[1]].to(self.levels)
            diagonal[:, group.pivots] = mine
            wanted, given = equations.wanted[number], equations.given[number]
            elements[:, wanted.element] = flat.gather(1, wanted.over.expand(count, -1)).to(elements)
            transposed[:, wanted.element] = flat.gather(1, wanted.under.expand(count, -1)).to(elements)
            # Σ_b h_ab G_ba
            h = equations.values[:, None, given.element].expand(*batch, -1).flatten(0, 1)
            product = h * flat.gather(1, given.under.expand(count, -1))
            missing.scatter_add_(1, equations.rows[given.element].expand(count, -1), product.to(missing))
        missing += self.levels * diagonal - 1
        rounding = _rounding(missing, largest, diagonal, self.imaginary, torch.finfo(self.values.dtype).eps)
        parts = (_log_det(self.leaves), diagonal.sum(-1), elements, transposed, *rounding)
        return Inverse(*(x.unflatten(0, batch) for x in parts))

    def _empty(self, number: int) -> Tensor:
        """Zeros for the fronts of a group."""
        n, m = self.groups[number].shape[0], self.groups[number].size
        size = len(self.levels) * n * m * m
        if len(self.room.fronts[number]) < size:
            self.room.fronts[number] = self.room.fronts[number].new_empty(size)
        return self.room.fronts[number][:size].zero_().view(-1, n, m, m)

    def _assemble(self, number: int) -> Tensor:
        """The equations of a group: elements of the matrix, and what inner fronts have left. Returns their diagonal on
        the pivots."""
        group, front, place = self.groups[number], self.fronts[number], self.equations.given[number]
        flat, count = front.flatten(1), len(front)
        # Every element of the matrix stands in the first front that has it.
        values = self.values[:, None, place.element].expand(*self.batch, -1).flatten(0, 1)
        flat.scatter_add_(1, place.over.expand(count, -1), values)
        diagonal = front.diagonal(dim1=-2, dim2=-1)[..., : group.shape[1]]
        diagonal += self.levels[:, group.pivots].to(front)
        for inner, link in self.inner[number]:
            s = self.groups[inner].shape[1]
            left = self.fronts[inner][:, link.first : link.last, s:, s:].reshape(count, -1)
            flat.scatter_add_(1, self._around(inner, link).expand(count, -1), left)
        return diagonal

    def _around(self, number: int, link: _Link) -> Tensor:
        """Where pairs of border orbitals of a group lie in the flat fronts around them."""
        key = number, link.first
        if key not in self.room.places:
            self.room.places[key] = link.flat(self.groups[link.group].size)
        return self.room.places[key]

    def _chunks(self, number: int) -> tuple[Tensor, ...]:
        fronts = self.fronts[number].flatten(0, 1)
        if fronts.is_cuda:
            return (fronts,)
        return fronts.split(max(1, CACHE // (fronts[0].numel() * fronts.element_size())))

    def _reduce(self, number: int) -> None:
        """Elimination of the pivots: g, g F_PB and F_BP g take the place of the equations."""
        s, b = self.groups[number].shape[1:]
        leaves: list[list[Tensor]] = []
        for f in self._chunks(number):
            leaves.append([])
            g = _invert(f[:, :s, :s], leaves[-1])
            f[:, :s, :s] = g
            if b:
                right, left = g @ f[:, :s, s:], f[:, s:, :s] @ g
                f[:, s:, s:].baddbmm_(f[:, s:, :s], right, alpha=-1)
                f[:, :s, s:], f[:, s:, :s] = right, left
        for same in zip(*leaves, strict=True):
            leaf = torch.cat(same).unflatten(0, (len(self.levels), -1))
            self.leaves[leaf.shape[-1]].append(leaf)

    def _substitute(self, number: int) -> None:
        """G on the fronts of a group, from that on the fronts around them."""
        group, front, count = self.groups[number], self.fronts[number], len(self.levels)
        s = group.shape[1]
        if not group.links:
            return
        for link in group.links:
            G = self.fronts[link.group].flatten(1).gather(1, self._around(number, link).expand(count, -1))
            front[:, link.first : link.last, s:, s:] = G.view(count, link.last - link.first, *front[0, 0, s:, s:].shape)
        for f in self._chunks(number):
            G, right, left = f[:, s:, s:], f[:, :s, s:], f[:, s:, :s]
            over, under = right @ G, G @ left
            f[:, :s, :s].baddbmm_(over, left)
            f[:, :s, s:], f[:, s:, :s] = over.neg_(), under.neg_()


def _invert(a: Tensor, leaves: list[Tensor]) -> Tensor:
    """a⁻¹ ``(batch, n, n)`` by halves; the Schur complements of the smallest size go to ``leaves``."""
    n = a.shape[-1]
    if n <= LEAF:
        leaves.append(a.clone())  # a view would change with what it is taken from
        return torch.linalg.inv(a)
    m = n // 2
    p = _invert(a[:, :m, :m], leaves)
    left = a[:, m:, :m] @ p
    q = _invert(torch.baddbmm(a[:, m:, m:], left, a[:, :m, m:], alpha=-1), leaves)
    right = (p @ a[:, :m, m:]) @ q
    result = torch.empty_like(a)
    result[:, m:, m:] = q
    result[:, :m, m:] = -right
    result[:, :m, :m] = torch.baddbmm(p, right, left)
    result[:, m:, :m] = -(q @ left)
    return result


def _log_det(leaves: dict[int, list[Tensor]]) -> Tensor:
    """Σ ln of all pivots ``(batch,)``, by elimination of all matrices ``(batch, front, n, n)`` of one size at once."""
    total: Tensor | float = 0.0
    for n, parts in leaves.items():
        a = torch.cat(parts, dim=1)
        pivots = torch.empty(a.shape[:-1], dtype=torch.complex128, device=a.device)
        for k in range(n):
            pivots[..., k] = a[..., k, k]
            row = a[..., k, None, k + 1 :] / a[..., k, k, None, None]
            a[..., k + 1 :, k + 1 :] -= a[..., k + 1 :, k, None] * row
        total = total + pivots.log().sum((-2, -1))
    return total  # type: ignore[return-value]


def _rounding(
    missing: Tensor, largest: Tensor, diagonal: Tensor, imaginary: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    r"""How much rounding has changed elements of G and their trace ``(replica · pole,)``, from two signs of it.

    The rows of G have the norms √(Im G_aa / Im ζ). With the residual R = 1 - (h - ζ)G its error is -G R, no larger than
    the norm of a row times that of a column of R, whose elements on the diagonal follow from those of G that the
    matrix reaches: ``missing``. They do not show what happened where a part that was eliminated first has a level at
    ζ and the whole has none: the equations of its border are then much larger than the matrix, and the last digits of
    their elements F_aa, ``largest``, times |G_aa|² are lost. On a uniform lattice all orbitals err alike, so that the
    errors of the trace add up.
    """
    rows = diagonal.imag.clamp_min(0) / imaginary[:, None]
    seen = missing.abs().amax(-1) * rows.amax(-1).sqrt()
    unseen = 0.5 * eps * (largest.abs() * rows).amax(-1)
    trace = torch.maximum((missing.abs() * rows.sqrt()).sum(-1), 0.5 * eps * (largest.abs() * rows).sum(-1))
    return torch.maximum(SEEN * seen, UNSEEN * unseen), SEEN * trace
