"""Exact thermodynamics under changes of a few on-site energies, without diagonalising again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from nearsight._validation import array, integer
from nearsight.solvers.dense import Dense
from nearsight.solvers.updates.mu_interpolation import BLOCK, _check_changes, _MuInterpolation

EDGE = 0.7
"""The window is moved when μ of the present matrix is this far from its centre, in units of the half-width."""

SYMMETRY = 1e-10
"""Largest difference between the two triangles, relative to the largest element."""

REBUILD = 256
"""Accepted changes after which the T matrix is computed afresh, where nothing else has been the reason to."""


@dataclass
class Drift:
    """The largest difference between a tracked number and the recomputed one, since the start.

    :attr:`LowRankUpdates.drift` holds it.
    """

    potential: float = 0.0
    """F or Ω against the levels of a new diagonalisation (energy): rounding, and the errors of all differences accepted
    since the last one."""
    green: float = 0.0
    """T matrix against a new one, relative to its largest element: rounding alone."""


class _Change(NamedTuple):
    """A change that may be made: Ω + μN at the nodes after it, and what was computed on the way."""

    orbitals: np.ndarray
    change: np.ndarray
    omega: np.ndarray
    dressed: np.ndarray
    green: np.ndarray


class _Cost(NamedTuple):
    """The potential after a change, the place of its μ in the window, and whether there is one."""

    potential: float
    x: float
    inside: bool


class LowRankUpdates:
    r"""One real symmetric matrix whose diagonal changes on a few orbitals at a time.

    The reference h₀ = ψ ε ψᵀ is diagonalised; since then the diagonal has changed by V on some orbitals. With G₀ of
    the reference and the T matrix R = (V⁻¹ - G₀)⁻¹ on those, the present Green's function is G = G₀ + G₀ R G₀, and a
    further change W of k orbitals costs

    .. math:: \Delta\Omega = c_0 \mathrm{Tr}\, W + 2 kT\,\mathrm{Re} \sum_p w_p \ln\det(1 - W G(\mu + kT z_p)),

    a k × k determinant at some ten complex energies (:func:`fermi_poles`). At fixed number the same is done at a few
    chemical potentials (:class:`_MuInterpolation`), from which ΔF follows to ``tolerance``. An accepted change adds a
    matrix of rank k to R; orbitals whose changes cancel leave it. A difference costs O(m n + m²) for m orbitals
    changed before.

    When more than ``rank`` orbitals have been touched, the present matrix is diagonalised and becomes the reference.
    ``drift`` tells what errors had come together until then. The answers are a function of the first matrix and of the
    accepted changes: what was asked for in between leaves no trace, not in the last bit either.

    Parameters
    ----------
    matrix: real symmetric, ``(orbital, orbital)``.
    electrons: temperature > 0 and ensemble.
    bounds: between which all levels lie before and after any change.
    tolerance: error of one difference (energy), for k > 2 orbitals at once k/2 times that. A change that moves μ out of
        the window is weighed by a diagonalisation; ``diagonalisations`` counts these and the renewals.
    rank: orbitals touched before the reference is renewed. The cost of a difference grows with it, that of a renewal,
        O(n³), is shared by more accepted changes.

    Examples
    --------
    >>> import nearsight as ns
    >>> import numpy as np
    >>> import torch
    >>> h = ns.hamiltonians.FalicovKimball(ns.lattices.square(4)).matrix(torch.zeros(16, 1)).numpy()
    >>> electrons = ns.solvers.Dense(kT=0.2, mu=0.0)
    >>> updates = ns.solvers.LowRankUpdates(h, electrons, bounds=(-5.0, 7.0))
    >>> cost = updates.difference(np.array([3]), np.array([2.0]))  # of an ion on site 3: at most U times the density
    >>> changed = h + 2.0 * np.diag(np.arange(16) == 3)
    >>> after = float(electrons.potential_of_levels(torch.linalg.eigvalsh(torch.from_numpy(changed))))
    >>> bool(abs(updates.potential + cost - after) < 1e-6), 0 < cost < 2.0 * 0.5
    (True, True)
    """

    _last: tuple[_Change, _Cost] | None
    _slot: dict[int, int]
    _columns: dict[int, tuple[np.ndarray, int]]
    _active: np.ndarray
    _change: np.ndarray
    _scattering: np.ndarray
    _potential: float

    def __init__(
        self,
        matrix: np.ndarray,
        electrons: Dense,
        *,
        bounds: tuple[float, float],
        tolerance: float = 1e-6,
        rank: int = 128,
    ) -> None:
        self.bounds, self.tolerance = _check_changes(electrons, bounds, tolerance)
        self.electrons, self.rank = electrons, integer(rank, "rank", least=4)
        self.matrix = array(matrix, "matrix", ("orbital", "orbital"))
        if not self.matrix.size or self.matrix.shape[0] != self.matrix.shape[1]:
            raise ValueError(f"matrix must have shape (orbital, orbital), got {self.matrix.shape}.")
        if np.abs(self.matrix - self.matrix.T).max() > SYMMETRY * np.abs(self.matrix).max():
            raise ValueError("matrix must be symmetric: only one triangle of it is read; pass (matrix + matrix.T) / 2.")
        self.drift = Drift()
        self.accepted = self.diagonalisations = 0
        self._diagonalise()

    @property
    def potential(self) -> float:
        """F at fixed number, Ω at fixed μ, of the present matrix and one copy of the electrons."""
        return self._potential

    @property
    def mu(self) -> float:
        """The chemical potential of the present matrix."""
        return self.window.centre + self.window.half * self._x

    # --- questions and answers --------------------------------------------------------------------------------------

    def difference(self, orbitals: np.ndarray, change: np.ndarray) -> float:
        """Change of the potential if ``change`` (k,) were added to the diagonal at ``orbitals`` (k,), all different."""
        return self._weighed(orbitals, change)[1].potential - self._potential

    def accept(self, orbitals: np.ndarray, change: np.ndarray) -> float:
        """Make the change; returns what :meth:`difference` would have."""
        if self._used + sum(a not in self._slot for a in orbitals.tolist()) > self.rank:
            self._diagonalise()
        (changed, cost), before = self._weighed(orbitals, change), self._potential
        self._last = None
        self.matrix[orbitals, orbitals] += change
        self._potential, self._x = cost.potential, cost.x
        self.accepted += 1
        self._accepted_since += 1
        if not cost.inside:
            self._diagonalise()
        else:
            self._scatter(changed)
            if abs(self._x) > EDGE:
                self._rebuild(
                    _MuInterpolation(self.electrons, self._levels, self.bounds, self.tolerance, centre=self.mu)
                )
            elif self._accepted_since == REBUILD:
                self._rebuild(self.window)
        return cost.potential - before

    # --- how they are found -----------------------------------------------------------------------------------------

    def _weighed(self, orbitals: np.ndarray, change: np.ndarray) -> tuple[_Change, _Cost]:
        """A change and its cost. The last one is kept: what is accepted has mostly just been asked for."""
        if self._last is not None:
            last = self._last[0]
            if np.array_equal(last.orbitals, orbitals) and np.array_equal(last.change, change):
                return self._last
        changed = self._changed(orbitals, change)
        weighed = changed, self._cost(changed)
        self._last = weighed
        return weighed

    def _changed(self, orbitals: np.ndarray, change: np.ndarray) -> _Change:
        from nearsight.solvers.updates._green_kernels import dress, log_determinant

        change = np.asarray(change, dtype=float)
        bare = self._bare(orbitals)
        dressed = np.empty_like(bare)
        green = dress(self._scattering, self._active, bare, self._local(orbitals), dressed)
        omega = self._omega + self.window.change_of_omega(log_determinant(green, change), float(change.sum()))
        return _Change(orbitals, change, omega, dressed, green)

    def _cost(self, changed: _Change) -> _Cost:
        value, x, inside = self.window.potential(changed.omega)
        if inside:
            return _Cost(float(value), float(x), True)
        moved = self.matrix.copy()
        moved[changed.orbitals, changed.orbitals] += changed.change
        self.diagonalisations += 1
        levels = torch.linalg.eigvalsh(torch.from_numpy(moved))
        return _Cost(float(self.electrons.potential_of_levels(levels)), float(x), False)

    def _bare(self, orbitals: np.ndarray) -> np.ndarray:
        """G₀ between the orbitals and all slots; what was computed for this reference and window is kept."""
        bare = np.empty((len(orbitals), self._used, self._width))
        for k, a in enumerate(orbitals.tolist()):
            column, known = self._columns.get(a, (None, 0))
            if column is None:
                column = np.empty((len(self._psi_of_slots), self._width))
            if known < self._used:
                first, last = known - known % BLOCK, -(-self._used // BLOCK) * BLOCK
                column[first:last] = self.window.green(self._psi_of_slots[first:last] * self._psi[a])
                self._columns[a] = column, self._used
            bare[k] = column[: self._used]
        return bare

    def _local(self, orbitals: np.ndarray) -> np.ndarray:
        """G₀ among the orbitals ``(k, k, 2 · energy)``."""
        left, right = np.tril_indices(len(orbitals))
        products = np.zeros((-(-len(left) // BLOCK) * BLOCK, len(self._levels)))
        np.multiply(self._psi[orbitals[left]], self._psi[orbitals[right]], out=products[: len(left)])
        local = np.empty((len(orbitals), len(orbitals), self._width))
        local[left, right] = local[right, left] = self.window.green(products)[: len(left)]
        return local

    def _slot_of(self, orbital: int) -> int:
        if orbital not in self._slot:
            self._slot[orbital] = self._used
            self._psi_of_slots[self._used] = self._psi[orbital]
            self._used += 1
        return self._slot[orbital]

    def _scatter(self, changed: _Change) -> None:
        """R += Y τ Yᵀ, with Y = R G₀ on the slots plus 1 on the changed orbitals."""
        from nearsight.solvers.updates._green_kernels import scatter, t_matrix

        slots = np.array([self._slot_of(a) for a in changed.orbitals.tolist()])
        y = np.zeros((len(slots), self._used, self._width))
        y[:, self._active] = changed.dressed[:, self._active]
        y[np.arange(len(slots)), slots, : y.shape[2] // 2] += 1.0
        touched = np.union1d(self._active, slots)
        scatter(self._scattering, touched, y, t_matrix(changed.green, changed.change))
        self._change[slots] += changed.change
        # What cancels to rounding has cancelled.
        self._change[slots[np.abs(self._change[slots]) <= 1e-12 * np.abs(changed.change)]] = 0.0
        self._active = np.flatnonzero(self._change[: self._used])
        for slot in np.setdiff1d(touched, self._active):
            self._scattering[slot] = 0.0
            self._scattering[:, slot] = 0.0
        self._omega = changed.omega

    # --- renewal ----------------------------------------------------------------------------------------------------

    def _diagonalise(self) -> None:
        """The present matrix becomes the reference."""
        levels, psi = torch.linalg.eigh(torch.from_numpy(self.matrix))
        self._levels, self._psi = levels.numpy(), np.ascontiguousarray(psi.numpy())
        self._set_window(_MuInterpolation(self.electrons, self._levels, self.bounds, self.tolerance))
        potential = float(self.window.reference[0])
        if self.diagonalisations:
            self.drift.potential = max(self.drift.potential, abs(potential - self._potential))
        self.diagonalisations += 1
        self._potential = potential

    def _set_window(self, window: _MuInterpolation) -> None:
        """Start from the reference, without changes, at the energies of a window."""
        self.window, self._width = window, 2 * len(window.energies)
        self._last = None
        self._accepted_since = 0
        self._slot = {}
        self._columns = {}
        self._used, self._active = 0, np.zeros(0, dtype=np.int64)
        self._psi_of_slots = np.zeros((-(-self.rank // BLOCK) * BLOCK, len(self._levels)))
        self._change = np.zeros(self.rank)
        # The T matrix (slot, slot, 2 · energy): only s ≥ s', and zero where nothing has changed.
        self._scattering = np.zeros((self.rank, self.rank, self._width))
        self._omega = np.zeros(window.nodes)  # ΔΩ since the reference
        self._x = float(window.potential(self._omega)[1])  # where in the window μ is

    def _rebuild(self, window: _MuInterpolation) -> None:
        """The T matrix afresh, one orbital after the other, and without those that are as in the reference again."""
        before, scattering, same = self._potential, self._scattering, window is self.window
        kept = {a: slot for a, slot in self._slot.items() if self._change[slot] != 0.0}
        changes = {a: float(self._change[slot]) for a, slot in kept.items()}
        self._set_window(window)
        for a, change in changes.items():
            self._scatter(self._changed(np.array([a]), np.array([change])))
        if same and kept:
            slots, m = np.array(list(kept.values())), len(kept)
            new = self._scattering[:m, :m]
            change = np.abs(np.tril((new - scattering[np.ix_(slots, slots)]).transpose(2, 0, 1))).max()
            self.drift.green = max(self.drift.green, float(change / np.abs(new).max()))
        value, x, inside = window.potential(self._omega)
        if not inside:
            self._diagonalise()
            return
        self._potential, self._x = float(value), float(x)
        self.drift.potential = max(self.drift.potential, abs(self._potential - before))
