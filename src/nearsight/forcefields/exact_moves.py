"""Free-energy changes of hopping f electrons, exact."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from nearsight.forcefields.hops import Hops
from nearsight.forcefields.move_energies import MoveEnergies, Walk
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import Lattice
from nearsight.solvers import Dense
from nearsight.solvers.local_changes import Drift, LocalChanges
from nearsight.solvers.mu_window import potential_of_levels
from nearsight.solvers.pair_changes import pair_changes


class Ensembles(NamedTuple):
    """What the same moves cost at fixed number and at fixed μ, ``(*batch, move)`` each; infinite where impossible.

    μ is that of the configuration before the move, at which it holds the fixed number of electrons.
    """

    canonical: Tensor
    grand: Tensor
    number: Tensor
    """Change of the number of electrons at that fixed μ."""
    second_order: Tensor
    """ΔΩ + ΔN²/2κ, with κ = ∂N/∂μ before the move: the canonical change to lowest order."""


class ExactMoves(MoveEnergies):
    r"""Free-energy changes of the electrons of a Falicov-Kimball model when an f electron hops.

    At fixed number of electrons (the default of the literature) the free energy F = Ω + μN at the μ of that number, at
    fixed μ the grand potential Ω; both by the determinant of two sites' Green's functions
    (:class:`~nearsight.solvers.LocalChanges`) to ``tolerance``, so that no new spectrum is ever needed.

    * :meth:`differences` takes one diagonalisation for all moves of a configuration;
    * a :meth:`follow`\ ed walk takes none for most moves: differences come from the last diagonalisation and the sites
      changed since.

    Parameters
    ----------
    model: real, that is without a twist other than 0 or π; with one, all works but a walk diagonalises at each attempt.
    hops: which moves there are; to nearest neighbours if left out.
    kT: temperature > 0, of electrons and f electrons alike.
    number, filling, mu: exactly one of the number of electrons (all copies), that number per orbital and copy, and the
        chemical potential. A number becomes a filling, which is kept on another lattice.
    tolerance: largest error of one difference (energy); 10⁻⁹ costs about twice as much as the default.
    rank: sites touched by a walk before it diagonalises again; see :class:`~nearsight.solvers.LocalChanges`.

    Raises
    ------
    ValueError: U = 0, where no move costs anything; more electrons than states; kT ≤ 0.
    """

    def __init__(
        self,
        model: FalicovKimball,
        hops: Hops | None = None,
        *,
        kT: float,
        number: float | None = None,
        filling: float | None = None,
        mu: float | None = None,
        tolerance: float = 1e-6,
        rank: int = 128,
    ) -> None:
        if sum(x is not None for x in (number, filling, mu)) != 1:
            raise ValueError("Give exactly one of number= (of electrons), filling= (per orbital and spin) and mu=.")
        states = model.orbitals * model.degeneracy
        if number is not None:
            if not 0 < number < states:
                raise ValueError(f"number must lie between 0 and the {states} states of {model!r}, got {number}.")
            filling = number / states
        if not kT > 0:
            raise ValueError(f"kT must be positive, got {kT}; at kT = 0 compare energies of Dense(kT=0).")
        if model.U == 0:
            raise ValueError("At U = 0 the electrons do not see the f electrons and no move costs anything.")
        if not 1e-11 <= tolerance <= 1e-2:
            raise ValueError(f"tolerance must lie between 1e-11 (rounding) and 0.01, got {tolerance}.")
        if rank < 4:
            raise ValueError(f"rank must be at least 4, got {rank}.")
        hops = Hops(model.lattice) if hops is None else hops
        if not hops.lattice.coincides(model.lattice):
            raise ValueError(f"The hops are on {hops.lattice!r}, the model is on {model.lattice!r}.")
        self.model, self.hops = model, hops
        self.electrons = Dense(kT=kT, filling=filling, mu=mu)
        self.tolerance, self.rank = float(tolerance), rank
        levels = np.linalg.eigvalsh(self._constant)
        # An occupied site moves every level by something between 0 and U.
        self._bounds = float(levels[0] + min(model.U, 0.0)), float(levels[-1] + max(model.U, 0.0))

    @cached_property
    def _constant(self) -> np.ndarray:
        """The hopping matrix, real where the model allows it."""
        constant = self.model.constant.numpy()
        if np.iscomplexobj(constant) and np.abs(constant.imag).max() <= 1e-14 * np.abs(constant).max():
            return constant.real
        return constant

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_constant"}  # found again where needed

    def __repr__(self) -> str:
        return f"ExactMoves({self.model!r}, {self.electrons!r}, tolerance={self.tolerance:g})"

    def on(self, lattice: Lattice) -> Self:
        return type(self)(
            self.model.on(lattice),
            self.hops.on(lattice),
            kT=self.electrons.kT,
            filling=self.electrons.filling,
            mu=self.electrons.mu,
            tolerance=self.tolerance,
            rank=self.rank,
        )

    def config(self) -> dict[str, Any]:
        return {
            "energies": type(self).__name__,
            "model": self.model.config(),
            "shell": self.hops.shell,
            "kT": self.electrons.kT,
            "filling": self.electrons.filling,
            "mu": self.electrons.mu,
            "tolerance": self.tolerance,
        }

    def matrix(self, occupied: np.ndarray) -> np.ndarray:
        """h(n) of one configuration ``(site,)``, real where the model allows it."""
        matrix = self._constant.copy()
        matrix.reshape(-1)[:: len(matrix) + 1] += self.model.U * occupied
        return matrix

    def differences(self, field: Tensor) -> Tensor:
        """ΔF, at fixed μ ΔΩ, of every move: one diagonalisation for each configuration ``(*batch, move)``."""
        return self._scattered(field, ("potential",))[0]

    def ensembles(self, field: Tensor) -> Ensembles:
        """Both ensembles on the same moves, and the approximation that joins them; at fixed number only."""
        if self.electrons.filling is None:
            raise ValueError("Two ensembles are compared at the number of electrons of one; give number= or filling=.")
        return Ensembles(*self._scattered(field, ("potential", "omega", "number", "second_order")))

    def _scattered(self, field: Tensor, names: tuple[str, ...]) -> list[Tensor]:
        """Some results of possible moves, each at its place ``(*batch, move)``, infinite elsewhere."""
        possible = self.hops.possible(self.hops.check(field)).reshape(-1, len(self.hops)).cpu().numpy()
        targets = self.hops.targets.reshape(-1)
        fields = field.reshape(-1, self.lattice.n_sites).cpu().numpy()
        rows = np.full((len(names), *possible.shape), np.inf)
        for k, (occupied, moves) in enumerate(zip(fields, possible, strict=True)):
            at = np.flatnonzero(moves)
            i, j = at // self.hops.directions, targets[at]
            change = np.array([-self.model.U, self.model.U])
            changes = pair_changes(
                self.matrix(occupied), self.electrons, i, j, change, bounds=self._bounds, tolerance=self.tolerance
            )
            rows[:, k, at] = np.stack([getattr(changes, name) for name in names]) * self.model.degeneracy
        stacked = torch.from_numpy(rows).reshape(len(names), *field.shape[:-2], len(self.hops))
        return list(stacked.to(field.device))

    def follow(self, field: Tensor) -> Walk:
        """A walk that diagonalises only now and then: :class:`ExactWalk`.

        A configuration without f electrons, or full of them, has no move and is refused.
        """
        if np.iscomplexobj(self._constant):
            return DiagonalisingWalk(self, field)
        return ExactWalk(self, field)


class _ElectronWalk(Walk):
    """Hops of f electrons, as changes of on-site energies."""

    def __init__(self, energies: ExactMoves, field: Tensor) -> None:
        super().__init__(energies.hops, field)
        if not 0 < len(self.positions) < len(self.occupied):
            raise ValueError(
                f"{len(self.positions)} of {len(self.occupied)} sites are occupied, so nothing can ever hop; "
                "take a density of f electrons between 0 and 1."
            )
        self.energies = energies
        self._change = np.array([-energies.model.U, energies.model.U])

    def _sites(self, move: int) -> np.ndarray:
        site, direction = divmod(move, self.hops.directions)
        return np.array([site, self.hops.targets[site, direction]])

    def differences(self) -> np.ndarray:
        """ΔF of every move from the present field: one diagonalisation, whatever the walk keeps."""
        return self.energies.differences(self.field).numpy()


class ExactWalk(_ElectronWalk):
    """A walk whose differences come from Green's functions, updated at every accepted move.

    ``drift`` tells how far the tracked free energy was from that of a new diagonalisation, at most so far.
    """

    def __init__(self, energies: ExactMoves, field: Tensor) -> None:
        super().__init__(energies, field)
        self._changes = LocalChanges(
            energies.matrix(self.occupied),
            energies.electrons,
            bounds=energies._bounds,
            tolerance=energies.tolerance,
            rank=energies.rank,
        )

    @property
    def drift(self) -> Drift:
        """Errors that had come together when something was computed afresh."""
        return self._changes.drift

    @property
    def diagonalisations(self) -> int:
        """How many there were: the first one, renewals, and moves that shift μ more than foreseen."""
        return self._changes.diagonalisations

    @property
    def mu(self) -> float:
        """The chemical potential of the present field."""
        return self._changes.mu

    @property
    def potential(self) -> float:
        """F of the present field, at fixed μ Ω, of all copies of the electrons."""
        return self.energies.model.degeneracy * self._changes.potential

    def difference(self, move: int) -> float:
        return self.energies.model.degeneracy * self._changes.difference(self._sites(move), self._change)

    def accept(self, move: int) -> None:
        self._changes.accept(self._sites(move), self._change)
        super().accept(move)


class DiagonalisingWalk(_ElectronWalk):
    """The same walk by a diagonalisation for every difference, O(n³): for complex matrices, and as a referee."""

    def __init__(self, energies: ExactMoves, field: Tensor) -> None:
        super().__init__(energies, field)
        self.potential = self._potential(self.occupied)

    def _potential(self, occupied: np.ndarray) -> float:
        levels = torch.linalg.eigvalsh(torch.from_numpy(self.energies.matrix(occupied)))
        return self.energies.model.degeneracy * float(potential_of_levels(self.energies.electrons, levels))

    def _after(self, move: int) -> float:
        occupied = self.occupied.copy()
        occupied[self._sites(move)] = 0, 1
        return self._potential(occupied)

    def difference(self, move: int) -> float:
        return self._after(move) - self.potential

    def accept(self, move: int) -> None:
        self.potential = self._after(move)
        super().accept(move)
