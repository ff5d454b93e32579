"""Hubbard repulsion in mean field, around any solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from nearsight._validation import boolean, choice, instance, integer, number
from nearsight.solvers.dense import Dense
from nearsight.solvers.mean_field._anderson import Anderson
from nearsight.solvers.mean_field._problem import POTENTIALS, Found, Places, Problem, changed
from nearsight.solvers.mean_field._spins import begun, directions, metric
from nearsight.solvers.solver import Electrons, Solver, _check_wanted
from nearsight.solvers.sparse import SparseMatrix

Start = Literal["bare", "uniform", "staggered", "scattered"]
STARTS: tuple[Start, ...] = ("bare", "uniform", "staggered", "scattered")

DAMPED = 4
"""Steps from a start before they are accelerated."""


@dataclass(frozen=True)
class MeanField:
    r"""Self-consistent densities, and the one-electron matrix that has them.

    ``density`` ``(*batch, site)``: ⟨n_i⟩ of both spins. ``moment`` ``(*batch, site, 3)``: ⟨c_i† σ c_i⟩, along z unless
    ``noncollinear``. ``matrix``: h with the mean field, ``(*batch, 2, orbital, orbital)`` for spin up and down, or
    ``(*batch, orbital, orbital)`` if noncollinear; sparse if the solver wants that. ``double_counting`` ``(*batch,)``:
    the energy that is to be added to that of its electrons. ``residual`` ``(*batch,)``: largest difference of a density
    from the one that made the mean field. ``steps`` ``(*batch,)``: solutions that it took, of ``start`` ``(*batch,)``,
    the place in ``starts`` of the one kept.

    :meth:`SelfConsistent.mean_field` returns it.
    """

    density: Tensor
    moment: Tensor
    matrix: Tensor | SparseMatrix
    double_counting: Tensor
    residual: Tensor
    steps: Tensor
    start: Tensor


class SelfConsistent(Solver):
    r"""Electrons with a Hubbard repulsion, by the Hartree-Fock approximation, from any solver of free ones.

    .. math::
        \mathcal H = \sum_{ab} h_{ab}\, c_a^\dagger c_b + U \sum_i n_{i\uparrow} n_{i\downarrow}
        \;\to\; \sum_{ab} h_{ab}\, c_a^\dagger c_b
        + \frac U2 \sum_i \left( \langle n_i \rangle\, n_i - \langle \mathbf m_i \rangle \cdot \mathbf m_i \right)
        - \frac U4 \sum_i \left( \langle n_i \rangle^2 - |\langle \mathbf m_i \rangle|^2 \right),

    n = c†c, **m** = c†σc, with the averages that come out put in again until they are the same. The last term corrects
    what the first counts twice. The potential is that of the converged mean field,

    .. math:: F = F_0[h + v] - \frac U4 \sum_i \left( \langle n_i \rangle^2 - |\langle \mathbf m_i \rangle|^2 \right)
              \;\ge\; F_\mathrm{exact},

    a variational bound (Gibbs and Bogoliubov) that every ⟨n⟩ and ⟨**m**⟩ make stationary, so that the force is minus
    its gradient with the density matrix alone. Out of equilibrium (:class:`NEGF`) densities are those of the steady
    state, and there is no potential, as without U.

    Every call starts afresh: the answer depends on the matrix alone, never on the calls before, so that a run goes on
    after a checkpoint with the same bits. Where several solutions compete, all ``starts`` are followed and the lowest
    potential is kept, for every matrix by itself; when another becomes the lowest the energy has a kink and the force
    jumps, as at any transition of first order.

    Parameters
    ----------
    solver: :class:`Dense`, or any other without chance: its ensemble and temperature are those of the answer. Half
        filling of a bipartite lattice is at mu = U/2.
    U: energy of two electrons on one orbital, of either sign. Attraction orders charges; pairs are left out.
    noncollinear: False: matrices without spin, counted twice (``Holstein(spins=2)``), moments along z. True: matrices
        with spin up and down of site i in orbitals 2i and 2i + 1 (:class:`SDModel`), moments in any direction.
    starts: what to begin with: the densities without interaction ("bare"), with moments added that are all alike
        ("uniform"), opposite on neighbours ("staggered", where the matrix has two sublattices), or of irrational
        directions and sizes ("scattered"); charges instead of moments if U < 0. Without a potential: one start.
    tol: largest allowed distance of a density or moment from the fixed point, as estimated by the last step; a coarse
        one may stop at a saddle that has not been left yet, which 10⁻⁴ is known to do.
    mixing: part of a difference that the first steps take over; then Anderson's mixing.
    steps: most solutions of one start.

    ``Electrons.rho`` is the mean of both spins (all elements if noncollinear), which with degeneracy 2 is what forces
    need. ``Electrons.error`` estimates how far densities are from the fixed point, by the last quasi-Newton step.

    Raises ``ArithmeticError`` if no start converges, or one that does not is lower than those that do: no metal at
    kT = 0 is safe from it. Costs some 20 solutions of two matrices for every start, 40 to 150 where moments have to
    turn over.

    >>> import nearsight as ns
    >>> lattice = ns.lattices.square(4)
    >>> solver = SelfConsistent(Dense(mu=2.0, kT=0.1), U=4.0, starts=("staggered",))
    >>> model = ns.hamiltonians.Holstein(lattice, spins=2)
    >>> found = solver.mean_field(model.matrix(torch.zeros(16, 1)))
    >>> round(float(found.moment[0, 2]), 3)  # an antiferromagnet
    0.704
    >>> force, energy = ns.ExactForceField(model, solver)(torch.zeros(16, 1))
    >>> bool(force.abs().max() < 1e-9)
    True

    References
    ----------
    D. R. Penn, Phys. Rev. 142, 350 (1966), the phases of the Hubbard model; J. Zhong, H.-B. Schüttler, Phys. Rev. Lett.
    69, 1600 (1992), Holstein-Hubbard.
    """

    _parts: ClassVar = {"solver": Solver.from_config}

    def __init__(
        self,
        solver: Solver,
        *,
        U: float,
        noncollinear: bool = False,
        starts: tuple[Start, ...] = ("staggered", "uniform", "bare"),
        tol: float = 1e-10,
        mixing: float = 0.8,
        steps: int = 300,
    ) -> None:
        self.solver = instance(solver, Solver, "solver")
        if isinstance(solver, SelfConsistent):
            raise TypeError("One mean field is enough: give the solver within, and one U.")
        if solver.rng is not None:
            raise ValueError(
                f"{type(solver).__name__} with random vectors answers differently every time, and nothing converges: "
                "leave probes= out, or take Dense or Poles."
            )
        self.U, self.noncollinear = number(U, "U"), boolean(noncollinear, "noncollinear")
        self.starts = _checked_starts(starts, solver)
        self.tol = number(tol, "tol", least=1e-13, most=1e-4)
        self.mixing = number(mixing, "mixing", above=0, most=1)
        self.steps = integer(steps, "steps", least=2)
        self.orbitals = solver.orbitals
        self.sparse = solver.sparse  # type: ignore[misc]

    @property
    def has_potential(self) -> bool:
        return self.solver.has_potential

    @property
    def driven(self) -> bool:
        return self.solver.driven

    def solve(self, matrix: Tensor | SparseMatrix, rows: Tensor, columns: Tensor, *, degeneracy: int = 1) -> Electrons:
        copies = 1 if self.noncollinear else 2
        if integer(degeneracy, "degeneracy", least=1) != copies:
            cure = "noncollinear=False" if self.noncollinear else "spins=2 in the model, or noncollinear=True"
            raise ValueError(
                f"Matrices with spin are counted once, those of one spin twice; these {degeneracy} times with "
                f"noncollinear={self.noncollinear}. The cure: {cure}."
            )
        problem = self._problem(matrix, rows, columns)
        if not len(problem.values):
            return self.solver.solve(matrix, rows, columns, degeneracy=degeneracy)
        found = self._lowest(problem).electrons
        return changed(found, problem.reshaped)

    def mean_field(self, matrix: Tensor | SparseMatrix) -> MeanField:
        """Densities, moments and the matrix of the mean field, for matrices ``(*batch, orbital, orbital)``."""
        nowhere = torch.zeros(0, dtype=torch.long)
        problem = self._problem(matrix, nowhere, nowhere)
        if not len(problem.values):
            raise ValueError("There is no matrix in this batch, hence no mean field.")
        found, shaped = self._lowest(problem), problem.reshaped
        h = problem.with_field(0.5 * self.U * found.entered, slice(None))
        h = SparseMatrix(h.pattern, shaped(h.values[:, 0] if self.noncollinear else h.values))
        return MeanField(
            density=shaped(found.left[:, 0]),
            moment=shaped(directions(found.left)),
            matrix=h if self.sparse else h.dense(),
            double_counting=shaped(found.double_counting),
            residual=shaped(found.residual),
            steps=shaped(found.steps),
            start=shaped(found.start),
        )

    def _problem(self, matrix: Tensor | SparseMatrix, rows: Tensor, columns: Tensor) -> Problem:
        sparse = matrix.check() if isinstance(matrix, SparseMatrix) else SparseMatrix.of(matrix)
        rows, columns, _ = _check_wanted(rows, columns, sparse.size, 1)
        if self.noncollinear and sparse.size % 2:
            raise ValueError(
                f"noncollinear=True takes spin up and down in orbitals 2i and 2i + 1, and {sparse.size} orbitals are "
                "no pairs; leave it out for matrices without spin."
            )
        places = Places.of(sparse.pattern, rows, columns, spins=self.noncollinear)
        is_complex = self.noncollinear or sparse.values.is_complex()
        values = sparse.values.to(torch.complex128 if is_complex else torch.float64)
        return Problem(values.reshape(-1, values.shape[-1]), values.shape[:-1], sparse.pattern, places)

    # --- the way to a fixed point -------------------------------------------------------------------------------------

    def _lowest(self, problem: Problem) -> Found:
        """Of every matrix the start of lowest potential; ``ArithmeticError`` where that is not known."""
        best = self._follow(problem, 0)
        for k in range(1, len(self.starts)):
            best = best.lowest(self._follow(problem, k))
        bad = ~best.converged
        if bool(bad.any()):
            worst = int(torch.where(bad, best.residual, -1.0).argmax())
            raise ArithmeticError(
                f"{int(bad.sum())} of {len(bad)} mean fields did not converge: after {int(best.steps[worst])} steps "
                f"from {self.starts[int(best.start[worst])]!r} densities change by {float(best.residual[worst]):.1e} "
                f"(tol {self.tol:g}). Levels that cross μ are the usual cause: take kT > 0, other starts=, a smaller "
                "mixing=, or more steps=."
            )
        return best

    def _follow(self, problem: Problem, start: int) -> Found:
        """One start of every matrix, each until it has converged."""
        layout, count = problem.places.layout, len(problem.values)
        open_ = torch.arange(count, device=problem.values.device)
        nothing = problem.values.real.new_zeros(count, 4 if self.noncollinear else 2, layout.sites)
        bare, _ = self._free(problem, nothing, open_)
        x = begun(self.starts[start], bare, problem.pattern, charges=self.U < 0)
        mixing, found = Anderson(count, self.mixing, DAMPED, x), None
        for step in range(1, self.steps + 1):
            left, free = self._free(problem, x, open_)
            # Where the mean field is not yet its own, this correction still makes the potential a bound.
            double_counting = 0.5 * self.U * (metric(left) * (0.5 * left - x)).sum((1, 2))
            value = None if free.potential is None else free.potential + double_counting
            error = 0.0 if free.error is None else problem.pattern.size * free.error
            onwards, distance = mixing.step(x.flatten(1), (left - x).flatten(1), value, error)
            now = Found.of(free, x, left, double_counting, distance, self.tol, step, start)
            found = now if found is None else found.updated(open_, now)
            rest = (~now.converged).nonzero().squeeze(-1)
            if not len(rest):
                break
            open_, x = open_[rest], onwards[rest].reshape(-1, *x.shape[1:])
            mixing.keep(rest)
        assert found is not None
        return found

    def _free(self, problem: Problem, x: Tensor, items: Tensor) -> tuple[Tensor, Electrons]:
        """Densities and moments of electrons in the mean field of x, and their sums over both spins ``(item,)``."""
        places, solver = problem.places, self.solver
        h = problem.with_field(0.5 * self.U * x, items)
        if isinstance(solver, Dense):
            answer = solver._together(h.dense(), places.rows, places.columns)
        elif self.noncollinear or getattr(solver, "filling", None) is None:
            answer = _summed(solver.solve(h, places.rows, places.columns))
        else:  # both spins share one μ
            pattern, rows, columns = places.joined
            both = solver.solve(SparseMatrix(pattern, h.values.flatten(1)), rows, columns)
            answer = replace(both, rho=both.rho.unflatten(-1, (2, -1)))
        own = len(places.layout.rows)
        left = places.layout.densities(answer.rho[..., :own])
        return left, replace(answer, rho=answer.rho[..., own:].mean(1))


def _summed(each: Electrons) -> Electrons:
    """One answer for the matrices ``(item, matrix)`` of both spins."""
    total = changed(each, lambda x: x.sum(-1), ("number", *POTENTIALS))
    return changed(changed(total, lambda mu: mu[:, 0], ("mu",)), lambda error: error.amax(-1), ("error",))


def _checked_starts(starts: Any, solver: Solver) -> tuple[Start, ...]:
    if isinstance(starts, str) or not isinstance(starts, tuple | list) or not starts:
        raise TypeError(f"starts must be a tuple of one or several of {', '.join(map(repr, STARTS))}, got {starts!r}.")
    found = tuple(choice(start, "every one of starts", STARTS) for start in starts)
    if len(found) > 1 and not solver.has_potential:
        raise ValueError(
            f"Out of equilibrium no potential tells which of {len(found)} solutions is the right one: follow one, "
            f"starts=({found[0]!r},)."
        )
    return found
