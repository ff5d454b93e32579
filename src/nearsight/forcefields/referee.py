"""Which exact calculation is good enough to judge a force, found by measurement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nearsight._validation import choice, instance, number
from nearsight.forcefields.exact import ElectronForceField
from nearsight.forcefields.patches import BOUNDARIES, EIGENPROBLEM, Boundary, PatchForces, SolverName, _Cut
from nearsight.hamiltonians import Hamiltonian
from nearsight.lattices import Lattice, cut_patches
from nearsight.solvers import Chebyshev, Dense, Poles, Solver, SparseMatrix
from nearsight.solvers.kpm.local_elements import moments

Norm = Callable[[Tensor], float]

EQUILIBRIUM = (Dense, Poles, Chebyshev)
"""Solvers of electrons whose forces patches know."""

RADII = (3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, 128, 181, 256)
"""Radii of patches, in cells: each holds about twice as many sites as the one before."""

PILOT = 24
"""Sites on which sizes and boundaries are tried."""

PART = 1 / 3
"""The referee's own error is to be at most this part of the error it judges, if not asked for another."""

ELIMINATION = 2.5e-6
"""Nominal seconds of :class:`Poles` on a plane of n orbitals, over n to the power of 3/2."""

SOLUTIONS = 4
"""How often poles are solved for one chemical potential at fixed filling."""

WARMER, TRIALS = 4.0, 9
"""Electrons too cold for sums over poles are tried so many times warmer, again and again, and so often in all."""

SLOWEST = 0.9
"""Errors that shrink by less from size to size are extrapolated as if they shrank by this."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """Exact forces of the electrons ``(n, component)``, how they were found, and how far they can be wrong.

    error: root mean square error of the referee, of one component, estimated from successive sizes. converged: whether
    it is as small as was asked for. radius: of the patches in cells, 0 for the whole lattice. seconds: nominal.
    everywhere: where it was the whole lattice, the forces on all of its sites ``(replica, site, component)`` of the
    replicas that were judged, in their order.
    """

    force: Tensor
    error: float
    radius: int
    boundary: str
    solver: str
    converged: bool
    seconds: float
    everywhere: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Referee:
    r"""Exact forces of electrons on some sites of a large lattice, at a known error and the least cost.

    The whole lattice where that is the cheapest; else patches around the sites, of growing radius and with several
    boundaries. With F_k(r) the forces at the k-th radius, D_k the rms of F_k - F_{k-1} and q = D_k/D_{k-1}, errors that
    fall exponentially obey

    .. math:: \epsilon_k \le D_k \frac{q}{1 - q} ,

    since radii grow by ever larger steps. That is the estimate (q at least 0.1 and at most 0.9), and radii grow on a
    pilot of 24 sites until ε is a third (``part``) of the rms difference between judged and exact forces. All sites
    are then judged by the boundary that was best at that radius.

    Electrons of a whole lattice that are too cold for sums over poles (kT below 10⁻⁴ of the band) are replaced by
    warmer ones, at T'. Their error falls as T'² or faster where the density of states is smooth, and is stated as the
    rms of F(2T') - F(T'), three times that law.

    Parameters
    ----------
    model: the electrons, on a lattice of any size.
    lattice: the large lattice.
    solver: of the exact electrons, in equilibrium: :class:`Dense`, :class:`Poles` or :class:`Chebyshev`. At a fixed
        filling forces are not local, and only the whole lattice will do.
    boundaries: to choose from.
    tol: of the elements of ρ.
    part: the referee's own error is to be at most this part of the one it judges.
    budget: nominal seconds, those of one core of 2020, that a judgement may take. Counted, not measured: what is
        decided is decided alike on every machine.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice, solver = ns.lattices.square(6), ns.solvers.Dense(kT=0.2, mu=0.0)
    >>> model = ns.hamiltonians.Holstein(lattice)
    >>> field = torch.randn(36, 1, generator=torch.Generator().manual_seed(1)).double()
    >>> exact, sites = ns.forcefields.ElectronForceField(model, solver)(field).force, torch.arange(10)
    >>> wrong = exact[sites] + 0.05
    >>> referee = ns.forcefields.Referee(model, lattice, solver)
    >>> found = referee.judge(field[None], sites, 0 * sites, wrong, lambda d: float(d.square().mean().sqrt()))
    >>> found.radius, round(float((wrong - found.force).abs().max()), 4)  # the whole lattice (0), and the true error
    (0, 0.05)
    """

    model: Hamiltonian
    lattice: Lattice
    solver: Solver
    boundaries: Sequence[Boundary] = ("open", "periodic")
    tol: float = 1e-5
    budget: float = 30.0
    part: float = PART

    def __post_init__(self) -> None:
        equilibrium(self.solver)
        if not instance(self.model, Hamiltonian, "model").lattice.same_kind(instance(self.lattice, Lattice, "lattice")):
            raise ValueError(f"The model lives on a {self.model.lattice.name} lattice, not on {self.lattice!r}.")
        for name in self.boundaries:
            choice(name, "boundaries", BOUNDARIES)
        number(self.tol, "tol", above=0, below=1), number(self.budget, "budget", above=0)
        number(self.part, "part", above=0, most=1)

    @property
    def kT(self) -> float:
        return self.solver.kT  # type: ignore[attr-defined]

    @property
    def mu(self) -> float | None:
        return self.solver.mu  # type: ignore[attr-defined]

    def judge(self, field: Tensor, sites: Tensor, replicas: Tensor, judged: Tensor, norm: Norm) -> Judgement:
        """Exact forces on ``sites (n,)`` of ``replicas (n,)`` in a field ``(replica, site, component)``.

        ``judged`` are the forces ``(n, component)`` in question, on sites in random order; ``norm`` gives the rms of
        differences on the first of them, of as many as there are.
        """
        count, pilot = len(sites), slice(PILOT)
        whole = self.whole_seconds * len(replicas.unique())
        if self.mu is None:
            return self._by_the_whole(field, sites, replicas, judged, norm, whole)
        terms = self._moments(field, sites, replicas)
        spent, history, best = 0.0, {b: _History() for b in self.boundaries}, None
        for radius in RADII:
            tried = {b: self._patches(radius, b, terms) for b in self.boundaries}
            trial = sum(p.seconds(min(PILOT, count), terms) for p in tried.values())
            rest = min(p.seconds(max(0, count - PILOT), terms) for p in tried.values())
            if whole <= min(self.budget - spent, trial + rest):
                return self._by_the_whole(field, sites, replicas, judged, norm, spent + whole)
            if best is not None and spent + trial + rest > self.budget:
                break
            exact = self._is_whole(radius)
            for boundary, patches in tried.items():
                history[boundary].add(patches(field, sites[pilot], replicas[pilot]), norm, exact, self.scale * self.tol)
            spent += trial
            name = min(history, key=lambda b: history[b].error)
            best = tried[name], history[name]
            if best[1].error <= self.part * norm(judged[pilot] - best[1].force):
                break
        assert best is not None
        return self._by_patches(*best, field, sites, replicas, judged, norm, spent, terms)

    def _by_patches(
        self, patches: PatchForces, history: _History, field: Tensor, sites: Tensor, replicas: Tensor, judged: Tensor,
        norm: Norm, spent: float, terms: int,
    ) -> Judgement:  # fmt: skip
        rest = patches(field, sites[PILOT:], replicas[PILOT:])
        force = torch.cat([history.force, rest])
        converged = history.error <= self.part * norm(judged - force)
        spent += patches.seconds(len(rest), terms)
        radius = 0 if self._is_whole(patches.radius) else patches.radius
        boundary = patches.boundary if radius else "of the lattice"
        return Judgement(force, history.error, radius, boundary, patches.solver, converged, spent)

    def _by_the_whole(
        self, field: Tensor, sites: Tensor, replicas: Tensor, judged: Tensor, norm: Norm, seconds: float
    ) -> Judgement:
        if seconds > self.budget and self.mu is None:
            raise ValueError(
                f"At fixed filling forces are not local, and the {self._size} orbitals of the whole "
                f"lattice take about {seconds:.2g} s. Give the exact electrons at a chemical potential (mu=), the one "
                "of a FixedNumber around what was learned, or raise budget=."
            )
        for trial in range(TRIALS):
            kT = self.kT * WARMER**trial
            electrons = self._electrons(kT)
            try:
                everywhere = self._everywhere(electrons, field, replicas)
                break
            except ArithmeticError:  # so cold that no sum over poles holds for all levels
                if trial == TRIALS - 1:
                    raise
        name = type(electrons.solver).__name__.lower()
        error = 0.0 if isinstance(electrons.solver, Dense) else self.scale * self.tol
        place = torch.unique(replicas, return_inverse=True)[1], sites
        force = everywhere[place]
        if kT == self.kT:
            return Judgement(force, error, 0, "of the lattice", name, True, seconds, everywhere)
        hotter = self._everywhere(self._electrons(2 * kT), field, replicas)[place]
        error = max(error, norm(hotter - force))
        converged = error <= self.part * norm(judged - force)
        name = f"{name} at kT = {kT:g}"
        return Judgement(force, error, 0, "of the lattice", name, converged, 3 * seconds, everywhere)

    def _everywhere(self, electrons: ElectronForceField, field: Tensor, replicas: Tensor) -> Tensor:
        """Forces on all sites of every replica that occurs ``(replica, site, component)``."""
        return torch.stack([electrons(field[replica].double().cpu()).force for replica in replicas.unique()])

    def _electrons(self, kT: float) -> ElectronForceField:
        """Those of the whole lattice, by the cheaper of a diagonalisation and poles."""
        filling = None if self.mu is not None else self.solver.filling  # type: ignore[attr-defined]
        ensemble: dict[str, Any] = {"mu": self.mu} if filling is None else {"filling": filling}
        by_poles = kT > 0 and self._poles_seconds < self._dense_seconds
        solver = Poles(kT=kT, tol=self.tol, **ensemble) if by_poles else Dense(kT=kT, **ensemble)
        return ElectronForceField(self._whole, solver)

    @cached_property
    def _whole(self) -> Hamiltonian:
        return self.model.on(self.lattice)

    @cached_property
    def scale(self) -> float:
        """What an error of the elements of ρ makes of a force, at most about: that of a unit change of the field."""
        model = self.model
        field = torch.full((model.lattice.n_sites, model.components), 0.5, dtype=torch.float64)
        other = field.clone()
        other[0] += 1.0
        change = (model.coupling(other) - model.coupling(field)).abs()
        return model.degeneracy * float(change.sum()) / model.components

    # --- what it would cost -----------------------------------------------------------------------------------------

    @cached_property
    def _size(self) -> int:
        return (self.model.orbitals // self.model.lattice.n_sites) * self.lattice.n_sites

    @property
    def _dense_seconds(self) -> float:
        return EIGENPROBLEM * self._size**3 * (4 if self.model.constant_elements[2].is_complex() else 1)

    @property
    def _poles_seconds(self) -> float:
        d, solutions = self.lattice.dim, 1 if self.mu is not None else SOLUTIONS
        return solutions * ELIMINATION * self._size ** (3 * (d - 1) / d if d > 1 else 1)

    @property
    def whole_seconds(self) -> float:
        """Nominal seconds of the whole lattice, of one replica."""
        return min(self._dense_seconds, self._poles_seconds if self.kT > 0 else math.inf)

    def _is_whole(self, radius: int) -> bool:
        return all(2 * radius >= n for n in self.lattice.shape)

    def _patches(self, radius: int, boundary: Boundary, terms: int) -> PatchForces:
        common = (self.model, self.lattice, self.kT, self.mu, radius, boundary)
        kinds: tuple[SolverName, ...] = ("moments", "dense") if terms else ("dense",)
        both = [PatchForces(*common, solver, self.tol) for solver in kinds]  # type: ignore[arg-type]
        return min(both, key=lambda p: p.seconds(1, terms))

    def _moments(self, field: Tensor, sites: Tensor, replicas: Tensor) -> int:
        """Terms of the series that resolves kT on the spectra of some patches; 0 if none does."""
        if self.kT == 0:
            return 0
        patches = cut_patches(self.lattice, sites[:1].numpy(), RADII[1])[0]
        cut = _Cut.of(self.model, patches, None)
        own = field[replicas[0]][torch.from_numpy(patches.sites[0]).to(field.device)].double().cpu()
        matrix = SparseMatrix(cut.pattern, cut.model.elements(own[None]))
        try:
            return moments(matrix, kT=self.kT, tol=self.tol)
        except (ValueError, ArithmeticError):
            return 0


class _History:
    """Forces of a pilot at growing radii with one boundary, and what their differences say of their error."""

    def __init__(self) -> None:
        self.force: Tensor
        self.steps: list[float] = []
        self.error = math.inf

    def add(self, force: Tensor, norm: Norm, exact: bool, floor: float) -> None:
        if hasattr(self, "force"):
            self.steps.append(norm(force - self.force))
        self.force = force
        if exact:
            self.error = floor
        elif len(self.steps) > 1:
            last, before = self.steps[-1], self.steps[-2]
            q = max(0.1, last / before if before > 0 else 1.0)
            self.error = max(floor, last * q / (1 - min(q, SLOWEST)))
        elif self.steps:
            self.error = max(floor, self.steps[-1])


def equilibrium(solver: Any) -> Solver:
    """A solver of electrons in equilibrium; ``TypeError`` for one whose forces no patch knows."""
    if not isinstance(solver, EQUILIBRIUM):
        raise TypeError(
            f"Patches know electrons in equilibrium, by Dense, Poles or Chebyshev, not by {type(solver).__name__}."
        )
    return solver
