"""Free-energy changes of hopping f electrons, exact."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import choice, instance, integer
from nearsight._validation import number as _number
from nearsight.hamiltonians import FalicovKimball
from nearsight.moves.hops import Hops
from nearsight.moves.move_energies import MoveEnergies, Walk
from nearsight.solvers import Dense
from nearsight.solvers.updates.low_rank_updates import Drift, LowRankUpdates
from nearsight.solvers.updates.two_site_updates import two_site_updates


class Ensembles(NamedTuple):
    """What the same moves cost at fixed number and at fixed μ, ``(*batch, move)`` each; infinite where impossible.

    μ is that of the configuration before the move, at which it holds the fixed number of electrons.

    :meth:`ExactMoves.ensembles` returns them.
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
    (:class:`~nearsight.solvers.LowRankUpdates`) to ``tolerance``, so that no new spectrum is ever needed.

    With ``energy="internal"`` the internal energy E = Σ f ε at fixed number, which some published work puts into the
    rates in place of F. It is a function of the configuration too, so detailed balance holds, with another
    equilibrium: the entropy of the electrons is left out. E = ∂(βF)/∂β is taken from F at four temperatures about kT,
    to the same ``tolerance`` and at four times the cost.

    :meth:`differences` takes one diagonalisation for all moves of a configuration; a walk (:meth:`start_walk`) takes
    none for most moves: differences come from the last diagonalisation and the sites changed since.

    Parameters
    ----------
    model: real, that is without a twist other than 0 or π; with one, all works but a walk diagonalises at each attempt.
    hops: which moves there are; to nearest neighbours if left out.
    kT: temperature > 0, of electrons and f electrons alike.
    number, filling, mu: exactly one of the number of electrons (all copies), that number per orbital and copy, and the
        chemical potential. A number becomes a filling, which is kept on another lattice.
    tolerance: largest error of one difference (energy); 10⁻⁹ costs about twice as much as the default.
    rank: sites touched by a walk before it diagonalises again; see :class:`~nearsight.solvers.LowRankUpdates`.
    energy: "free" or "internal".

    Raises
    ------
    ValueError: U = 0, where no move costs anything; more electrons than states; kT ≤ 0; the internal energy at fixed μ.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.FalicovKimball(ns.lattices.square(4), U=2.0)
    >>> energies = ns.moves.ExactMoves(model, kT=0.2, filling=0.5)
    >>> field = torch.tensor(model.lattice.cells.sum(1) % 2).double()[:, None]  # a checkerboard of ions
    >>> cost = energies.differences(field)
    >>> after = energies.hops.apply(field, cost.argmin())
    >>> F = ns.forcefields.ElectronForceField(model, ns.solvers.Dense(kT=0.2, filling=0.5))
    >>> bool(abs(cost.min() - (F(after).energy - F(field).energy)) < 1e-5), bool(cost.min() > 0)
    (True, True)
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
        energy: Literal["free", "internal"] = "free",
    ) -> None:
        instance(model, FalicovKimball, "model")
        if hops is not None:
            instance(hops, Hops, "hops")
        if sum(x is not None for x in (number, filling, mu)) != 1:
            raise ValueError("Give exactly one of number= (of electrons), filling= (per orbital and spin) and mu=.")
        filling, mu = (None if x is None else _number(x, name) for x, name in ((filling, "filling"), (mu, "mu")))
        states = model.orbitals * model.degeneracy
        if number is not None:
            if not 0 < _number(number, "number") < states:
                raise ValueError(f"number must lie between 0 and the {states} states of {model!r}, got {number}.")
            filling = number / states
        if not (kT := _number(kT, "kT")) > 0:
            raise ValueError(f"kT must be positive, got {kT}; at kT = 0 compare energies of Dense(kT=0).")
        if model.U == 0:
            raise ValueError("At U = 0 the electrons do not see the f electrons and no move costs anything.")
        tolerance = _number(tolerance, "tolerance")
        if not 1e-11 <= tolerance <= 1e-2:
            raise ValueError(f"tolerance must lie between 1e-11 (rounding) and 0.01, got {tolerance}.")
        rank = integer(rank, "rank", least=4)
        hops = Hops(model.lattice) if hops is None else hops
        if not hops.lattice.coincides(model.lattice):
            raise ValueError(f"The hops are on {hops.lattice!r}, the model is on {model.lattice!r}.")
        self.model, self.hops = model, hops
        if choice(energy, "energy", ("free", "internal")) == "internal" and filling is None:
            raise ValueError("At fixed μ particles are exchanged and no hop changes E alone; give number= or filling=.")
        self.kT, self.number, self.filling, self.mu = kT, None, filling, mu
        self.electrons = Dense(kT=kT, filling=filling, mu=mu)
        self.tolerance, self.rank, self.energy = float(tolerance), rank, energy
        self.terms, self.tolerance_of_terms = _terms(self.electrons, energy, self.tolerance)

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        """Below and above all levels of any configuration. Found when first asked for, as the matrix is."""
        levels, U = np.linalg.eigvalsh(self._constant), self.model.U
        # An occupied site moves every level by something between 0 and U.
        return float(levels[0] + min(U, 0.0)), float(levels[-1] + max(U, 0.0))

    @cached_property
    def _constant(self) -> np.ndarray:
        """The hopping matrix, real where the model allows it."""
        constant = self.model.constant.numpy()
        if np.iscomplexobj(constant) and np.abs(constant.imag).max() <= 1e-14 * np.abs(constant).max():
            return constant.real
        return constant

    def matrix(self, occupied: np.ndarray) -> np.ndarray:
        """h(n) of one configuration ``(site,)``, real where the model allows it."""
        matrix = self._constant.copy()
        matrix.reshape(-1)[:: len(matrix) + 1] += self.model.U * occupied
        return matrix

    def differences(self, field: Tensor) -> Tensor:
        """ΔF, at fixed μ ΔΩ, or ΔE, of every move: one diagonalisation for each configuration ``(*batch, move)``."""
        return self._scattered(field, ("potential",), self.terms, self.tolerance_of_terms)[0]

    def ensembles(self, field: Tensor) -> Ensembles:
        """Both ensembles on the same moves, and the approximation that joins them; of F, at fixed number only."""
        if self.electrons.filling is None:
            raise ValueError("Two ensembles are compared at the number of electrons of one; give number= or filling=.")
        terms, tolerance = _terms(self.electrons, "free", self.tolerance)
        return Ensembles(*self._scattered(field, ("potential", "omega", "number", "second_order"), terms, tolerance))

    def _scattered(
        self, field: Tensor, names: tuple[str, ...], terms: tuple[tuple[float, Dense], ...], tolerance: float
    ) -> list[Tensor]:
        """Some results of possible moves, each at its place ``(*batch, move)``, infinite elsewhere."""
        possible = self.hops.possible(self.hops.check(field)).reshape(-1, len(self.hops)).cpu().numpy()
        targets = self.hops.targets.reshape(-1)
        fields = field.reshape(-1, self.lattice.n_sites).cpu().numpy()
        rows = np.full((len(names), *possible.shape), np.inf)
        for k, (occupied, moves) in enumerate(zip(fields, possible, strict=True)):
            at = np.flatnonzero(moves)
            i, j = at // self.hops.directions, targets[at]
            change = np.array([-self.model.U, self.model.U])
            matrix = torch.from_numpy(self.matrix(occupied))
            spectrum = torch.linalg.eigh(matrix)
            rows[:, k, at] = 0.0
            for weight, electrons in terms:
                settings: dict[str, Any] = dict(bounds=self._bounds, tolerance=tolerance, spectrum=spectrum)
                changes = two_site_updates(matrix, electrons, i, j, change, **settings)
                rows[:, k, at] += weight * self.model.degeneracy * np.stack([getattr(changes, n) for n in names])
        stacked = torch.from_numpy(rows).reshape(len(names), *field.shape[:-2], len(self.hops))
        return list(stacked.to(field.device))

    def start_walk(self, field: Tensor) -> Walk:
        """A walk that diagonalises only now and then: :class:`ExactWalk`.

        A configuration without f electrons, or full of them, has no move and is refused.
        """
        if np.iscomplexobj(self._constant):
            return DiagonalisingWalk(self, field)
        return ExactWalk(self, field)


def _terms(electrons: Dense, energy: str, tolerance: float) -> tuple[tuple[tuple[float, Dense], ...], float]:
    r"""Temperatures at which F is needed, with their weights, and how well it must be known at each.

    The internal energy is a derivative, :math:`E = \partial(\beta F)/\partial\beta`, by differences of fourth order:

    .. math:: E = \sum_k c_k (1 + k\delta)\, F(kT/(1 + k\delta)) + O(\delta^4), \quad
              c_{\pm 1} = \pm\frac{8}{12\delta}, \quad c_{\pm 2} = \mp\frac{1}{12\delta} .

    A level at x kT from μ contributes kT x⁵ f⁗(x) δ⁴/30 < kT δ⁴ to the remainder, so this δ keeps it below a tenth of
    ``tolerance``; the rest is left to the four terms, whose weights add up to 18/12δ.
    """
    if energy == "free":
        return ((1.0, electrons),), tolerance
    delta = min(0.5 * (tolerance / electrons.kT) ** 0.25, 0.05)
    stencil = {-2: 1.0, -1: -8.0, 1: 8.0, 2: -1.0}
    terms = tuple(
        (c * (1 + k * delta) / (12 * delta), Dense(kT=electrons.kT / (1 + k * delta), filling=electrons.filling))
        for k, c in stencil.items()
    )
    return terms, max(tolerance * delta / 3, 1e-12)


class _ElectronWalk(Walk):
    """Hops of f electrons, as changes of on-site energies."""

    energies: ExactMoves

    def __init__(self, energies: ExactMoves, field: Tensor) -> None:
        super().__init__(energies, field)
        if not 0 < len(self.positions) < len(self.occupied):
            raise ValueError(
                f"{len(self.positions)} of {len(self.occupied)} sites are occupied, so nothing can ever hop; "
                "take a density of f electrons between 0 and 1."
            )
        self._change = np.array([-energies.model.U, energies.model.U])

    def _sites(self, move: int) -> np.ndarray:
        site, direction = divmod(move, self.hops.directions)
        return np.array([site, self.hops.targets[site, direction]])


class ExactWalk(_ElectronWalk):
    """A walk whose differences come from Green's functions, updated at every accepted move.

    ``drift`` tells how far the tracked free energy was from that of a new diagonalisation, at most so far.

    :meth:`ExactMoves.start_walk` returns it.
    """

    def __init__(self, energies: ExactMoves, field: Tensor) -> None:
        super().__init__(energies, field)
        tolerance, rank = energies.tolerance_of_terms, energies.rank
        settings: dict[str, Any] = dict(bounds=energies._bounds, tolerance=tolerance, rank=rank)
        self._terms = [
            (w * energies.model.degeneracy, LowRankUpdates(energies.matrix(self.occupied), electrons, **settings))
            for w, electrons in energies.terms
        ]

    @property
    def drift(self) -> Drift:
        """Errors that had come together when something was computed afresh, the largest of all temperatures."""
        drifts = [changes.drift for _, changes in self._terms]
        return Drift(max(d.potential for d in drifts), max(d.green for d in drifts))

    @property
    def diagonalisations(self) -> int:
        """How many there were: the first one, renewals, and moves that shift μ more than foreseen."""
        return sum(changes.diagonalisations for _, changes in self._terms)

    @property
    def mu(self) -> float:
        """The chemical potential of the present field; of E that at the lowest of its temperatures."""
        return self._terms[-1][1].mu

    @property
    def potential(self) -> float:
        """F of the present field, at fixed μ Ω, or E, of all copies of the electrons."""
        return sum(weight * changes.potential for weight, changes in self._terms)

    def difference(self, move: int) -> float:
        sites = self._sites(move)
        return sum(weight * changes.difference(sites, self._change) for weight, changes in self._terms)

    def accept(self, move: int) -> None:
        sites = self._sites(move)
        for _, changes in self._terms:
            changes.accept(sites, self._change)
        super().accept(move)


class DiagonalisingWalk(_ElectronWalk):
    """The same walk by a diagonalisation for every difference, O(n³): for complex matrices, and as a referee.

    :meth:`ExactMoves.start_walk` returns it for complex matrices.
    """

    def __init__(self, energies: ExactMoves, field: Tensor) -> None:
        super().__init__(energies, field)
        self.potential = self._potential(self.occupied)

    def _potential(self, occupied: np.ndarray) -> float:
        levels = torch.linalg.eigvalsh(torch.from_numpy(self.energies.matrix(occupied)))
        terms = (w * float(electrons.potential_of_levels(levels)) for w, electrons in self.energies.terms)
        return self.energies.model.degeneracy * sum(terms)

    def _after(self, move: int) -> float:
        occupied = self.occupied.copy()
        occupied[self._sites(move)] = 0, 1
        return self._potential(occupied)

    def difference(self, move: int) -> float:
        return self._after(move) - self.potential

    def accept(self, move: int) -> None:
        self.potential = self._after(move)
        super().accept(move)
