"""Electrons from a few resolvents, each by selected inversion of pieces within pieces."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import number
from nearsight.solvers.lanczos import Spectrum, spectrum
from nearsight.solvers.poles._elimination import Inverse, SelectedInversion
from nearsight.solvers.poles._number_search import NumberSearch, change_of_rho, forecast
from nearsight.solvers.poles.fermi_poles import FermiPoles, _closest_fermi_poles, _raised, fermi_poles
from nearsight.solvers.solver import Electrons, Solver, _check_ensemble, _check_wanted, _no_electrons
from nearsight.solvers.sparse import SparseMatrix

RAISED = 1.2
"""Bounds of the spectrum are rounded up to powers of this: fields that differ little share their poles exactly."""

SOLVES = 24
"""Most solutions for one chemical potential; three to five are usual."""

COARSE, ELECTRON = 1e-4, 0.02
"""A search for μ begins with errors of f up to the first, as long as they add up to less than the second."""

NEAR = 1.0
"""How near to μ, in units of kT, the search goes on with the poles that the answer takes."""

NUMBER = 0.6
"""Part of ``tol`` that is left to the uncertainty of the number of electrons, half of it to those that are missing."""

FINEST = 1e-13
"""Sums over poles are not known better than this."""


class Poles(Solver):
    r"""The Fermi function as a sum over poles, and the Green function at them without a full inverse.

    With f(y) ≈ c₀ + Σ_p 2 Re[w_p/(y - z_p)] and :math:`G(\zeta) = (h - \zeta)^{-1}`, :math:`\zeta_p = \mu + kT z_p`,

    .. math::
        \rho &= c_0 + kT \sum_p \left[ w_p G(\zeta_p) + \mathrm{h.c.} \right], \\
        \Omega &= c_0\, \mathrm{Tr}(h - \mu) + 2 kT\, \mathrm{Re} \sum_p w_p \ln\det\frac{h - \zeta_p}{kT}
                  + \mathrm{const}.

    Ω is the integral of the same rational function, so forces are its gradient to all digits however few the poles are.
    Elements of G near the diagonal come from Gaussian elimination of pieces within pieces of the matrix
    (:class:`NestedDissection`), the determinants on the way. A torus of L × L cells costs O(L³) for every pole, where
    diagonalisation costs O(L⁶) once. Sparse matrices of lattices gain most where they are large, complex, or long: take
    :func:`choose` if in doubt. ρ far from the diagonal may be asked for, at the price of larger fronts.

    Parameters
    ----------
    kT: electron temperature > 0 in units of t. The number of poles grows as the logarithm of bandwidth/kT.
    filling, mu: exactly one, as in :class:`Dense`. At fixed filling two or three solutions with few poles lead to μ,
        and two or three with more, in double precision where few levels are at μ, are the answer. F = Ω + μN with the
        wanted N is stationary in what is missing. In a gap much wider than kT any μ with that number may come back.
    tol: largest error of all elements of ρ. At fixed μ it is that of f, and 10⁻⁶ takes seven or eight poles; at fixed
        filling two to four poles more.
    dtype: torch.complex64 or torch.complex128; None takes single precision for ``tol`` ≥ 10⁻⁶, and solves again in
        double the poles for which the rounding that shows in the answer is too much.

    ``Electrons.error`` is a bound for every element of ρ, with an estimate of the rounding: the largest error ε of f on
    an interval that holds the spectrum (its ends are found by :func:`spectrum`), and at fixed filling the most that ρ
    changes with μ while N is uncertain by D = nε + rounding + what is missing of it: the smaller of D and
    D/(4 kT ∂N/∂μ), with a lower bound of that slope. More poles are taken until it is below ``tol``.
    ``ArithmeticError`` is raised where no number of poles is enough. Rounding beyond ``tol`` is stated.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Holstein(ns.lattices.square(6))
    >>> asked = model.matrix(torch.zeros(36, 1)), model.rows, model.columns
    >>> found = ns.solvers.Poles(kT=0.1, mu=0.5, tol=1e-8).solve(*asked)
    >>> exact = ns.solvers.Dense(kT=0.1, mu=0.5).solve(*asked)
    >>> bool(((found.rho - exact.rho).abs() < found.error).all()), bool(found.error < 1e-8)
    (True, True)

    References
    ----------
    L. Lin, J. Lu, L. Ying, R. Car, W. E, Commun. Math. Sci. 7, 755 (2009), pole expansion and selected inversion;
    A. Svizhenko et al., J. Appl. Phys. 91, 2343 (2002), recursive Green functions: the same for a chain of blocks.
    """

    sparse = True

    def __init__(
        self,
        *,
        kT: float,
        filling: float | None = None,
        mu: float | None = None,
        tol: float = 1e-6,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.kT, self.filling, self.mu = _check_ensemble(kT, filling, mu)
        self.tol, self.dtype = number(tol, "tol"), dtype
        if self.kT == 0:
            raise ValueError("Poles need kT > 0: at kT = 0 the Fermi function is a step. Take Dense, or a small kT.")
        if not 1e-13 <= self.tol < 0.1:
            raise ValueError(f"tol must lie between 1e-13 and 0.1, got {self.tol}.")
        if dtype not in (None, torch.complex64, torch.complex128):
            raise ValueError(f"dtype must be torch.complex64, torch.complex128 or None, got {dtype}.")

    def solve(self, matrix: Tensor | SparseMatrix, rows: Tensor, columns: Tensor, *, degeneracy: int = 1) -> Electrons:
        if not isinstance(matrix, SparseMatrix):
            matrix = SparseMatrix.of(matrix)
        matrix.check()
        rows, columns, d = _check_wanted(rows, columns, matrix.size, degeneracy)
        batch, real = matrix.values.shape[:-1], not matrix.values.is_complex()
        if 0 in batch:
            return _no_electrons(matrix, rows)
        values = matrix.values.reshape(-1, matrix.values.shape[-1])
        values = values.to(torch.float64 if real else torch.complex128)
        vectors = 1 if self.filling is None else 4  # their density of states is where the search for μ begins
        problem = _Problem(SparseMatrix(matrix.pattern, values), rows, columns, vectors=vectors)
        answer = self._at_fixed_mu(problem) if self.filling is None else self._at_fixed_filling(problem)
        if real:
            answer = answer._replace(rho=answer.rho.real)
        potential = answer.omega if self.filling is None else answer.omega + answer.mu * answer.number
        parts = (answer.mu, d * answer.number, d * answer.energy, d * (answer.omega + answer.mu * answer.number))
        scalars = (*parts, d * answer.omega, d * potential, answer.error)
        return Electrons(answer.rho.reshape(*batch, -1), *(x.reshape(batch) for x in scalars))

    # --- one chemical potential -------------------------------------------------------------------------------------

    def _at_fixed_mu(self, problem: _Problem) -> _Answer:
        mu = torch.full_like(problem.spectrum.lowest, self.mu)  # type: ignore[arg-type]
        below, above = self._reach(problem.spectrum, mu)
        tol = max(0.5 * self.tol, FINEST)
        try:
            fit = fermi_poles(_raised(below, RAISED), _raised(above, RAISED), tol=tol)
        except ArithmeticError as error:
            raise ArithmeticError(
                f"No sum over poles has an error below {tol:.1e} for levels {below:.0f} kT below and {above:.0f} kT "
                f"above μ. Raise tol or kT (now {self.kT:g}), or take Dense."
            ) from error
        return self._sum(problem, mu, fit, self._inverse(problem, mu, fit, self.tol - fit.error, self.tol < 1e-6))

    def _reach(self, levels: Spectrum, mu: Tensor) -> tuple[float, float]:
        """How far the levels of all replicas, each seen from its own μ, extend below and above, in units of kT."""
        return float((mu - levels.lowest).max()) / self.kT, float((levels.highest - mu).max()) / self.kT

    def _inverse(self, problem: _Problem, mu: Tensor, fit: FermiPoles, allowed: float, double: bool) -> Inverse:
        """G at all poles, ``(replica, pole, ...)``: in single precision, but for those nearest to the axis as far as
        the ``allowed`` error of ρ demands, or all in ``double``."""
        if self.dtype is not None or double:
            return problem.inverse(mu, self.kT, fit.z, self.dtype or torch.complex128)
        weight = 2 * self.kT * np.abs(fit.w)
        first = max(problem.double, 1)
        parts = [problem.inverse(mu, self.kT, fit.z[first:], torch.complex64)] if first < len(fit.z) else []
        rounding = weight[first:] * parts[0].rounding.amax(0).cpu().numpy() if parts else np.zeros(0)
        if problem.double == 0:
            # That of the pole nearest to the axis is foretold, for it often is too much: it grows as (Im z)⁻² or less.
            ratio = (fit.z[1].imag / fit.z[0].imag) ** 2 * weight[0] / weight[1] if parts else 0.0
            if math.hypot(ratio * rounding[:1].sum(), *rounding) <= allowed:
                parts.insert(0, problem.inverse(mu, self.kT, fit.z[:1], torch.complex64))
                rounding = np.append(weight[0] * float(parts[0].rounding.max()), rounding)
                first = 0
        # Poles are in the order of their distance from the axis, and rounding in the reverse order nearly always.
        rest = np.append(np.sqrt(np.cumsum(rounding[::-1] ** 2))[::-1], 0.0)
        more = int(np.argmax(rest <= allowed))
        problem.double = first + more
        parts = [Inverse.joined(parts, 1).of(more)] if problem.double < len(fit.z) else []
        if problem.double:
            parts.insert(0, problem.inverse(mu, self.kT, fit.z[: problem.double], torch.complex128))
        return Inverse.joined(parts, 1)

    def _sum(self, problem: _Problem, mu: Tensor, fit: FermiPoles, g: Inverse) -> _Answer:
        kT, n = self.kT, problem.matrix.size
        w, z = (torch.from_numpy(x.copy()).to(mu.device) for x in (fit.w, fit.z))
        trace = problem.matrix.diagonal().sum(-1)
        y = (trace - n * mu) / kT  # Σ y_n
        number = fit.c0 * n + 2 * kT * (g.trace @ w).real
        # y/(y - z) = 1 + z/(y - z)
        energy = kT * (fit.c0 * y + 2 * (n * w.sum() + kT * (g.trace @ (w * z))).real) + mu * number
        log_det = g.log_det - n * math.log(kT)
        omega = kT * (fit.c0 * y + 2 * (log_det @ w).real + n * _constant(fit))
        rho = kT * (g.elements.mT @ w + (g.transposed.mT @ w).conj())
        rho = rho + fit.c0 * (problem.rows == problem.columns).to(rho)
        return _Answer(rho, mu, number, energy, omega, fit.error + _of_poles(g.rounding, fit, kT))

    # --- a chemical potential for a given number --------------------------------------------------------------------

    def _at_fixed_filling(self, problem: _Problem) -> _Answer:
        r"""μ for each replica, inside a bracket, until the error of ρ is met.

        With an error e(y) of the sum over poles, its number is off by Σ_n e(y_n), no more than n max |e|, and levels
        far from μ are many: what they miss is made up for by the few at μ. What that does to ρ is known from a lower
        bound of ∂N/∂μ (:func:`change_of_rho`), and so is how small e has to be. The search begins with fewer poles,
        and takes as many as that needs where the root is near.
        """
        n, kT = problem.matrix.size, self.kT
        filling: float = self.filling  # type: ignore[assignment]
        search = NumberSearch(problem.spectrum, n, kT, filling * n)
        coarse = max(0.5 * self.tol, min(COARSE, ELECTRON / n))
        stage = _Stage(coarse, coarse, double=False, last=False)
        fit: FermiPoles | None = None
        done: list[tuple[Tensor, _Answer]] = []
        for attempt in range(SOLVES):
            part = problem.part(search.replica)
            below, above = self._reach(part.spectrum, search.mu)
            if fit is None or not fit.covers(-below, above):
                fit = _closest_fermi_poles(_raised(below, RAISED), _raised(above, RAISED), tol=stage.error)
            g = self._inverse(part, search.mu, fit, stage.rounding, stage.double)
            answer = self._sum(part, search.mu, fit, g)
            missing, rounding = filling * n - answer.number, _of_poles(g.trace_rounding, fit, kT)
            uncertain = n * fit.error + rounding
            ahead = forecast(fit, g, answer.number, uncertain, n, kT, filling * n)
            search.learn(missing, uncertain, ahead.variance)
            error = answer.error + change_of_rho(missing, uncertain, search.variance)
            vague = missing.abs() <= uncertain
            # Rounding is stated, not mended, once all is in the best precision allowed.
            rounded = vague & (n * fit.error <= rounding) & (stage.double or self.dtype is not None)
            met = (error <= self.tol) | rounded
            if bool(met.any()):
                exact = answer._replace(
                    number=answer.number + missing, energy=answer.energy + search.mu * missing, error=error
                )
                done.append((search.replica[met], _Answer(*(x[met] for x in exact))))
            if bool(met.all()):
                break
            rest = ~met
            if bool(vague[rest].any()) or (not stage.last and bool((ahead.shift[rest].abs() <= NEAR).all())):
                if stage.last and (fit.error > stage.error or stage.error <= FINEST):
                    raise ArithmeticError(
                        f"Sums over poles err by {fit.error:.1e} or more for levels {below:.0f} kT below "
                        f"and {above:.0f} kT above μ. Added up over {n} levels that leaves "
                        f"{float(uncertain.max()):.1e} electrons uncertain, and elements of ρ by up to "
                        f"{float(error.max()):.1e}, more than tol = {self.tol:.1e}. "
                        f"Raise tol or kT (now {kT:g}), or take Dense."
                    )
                stage = stage.finer(self.tol, n, search.variance[rest].min(), rounding[rest].max())
                problem.double, fit = 0, None
            search.proceed(rest, missing, uncertain, ahead, attempt)
        else:
            raise ArithmeticError(
                f"No chemical potential gives the filling {filling:g} to {self.tol:g} after {SOLVES} solutions; "
                "raise tol or kT, or take Dense."
            )
        order = torch.cat([replica for replica, _ in done]).argsort()
        return _Answer(*(torch.cat(parts)[order] for parts in zip(*(a for _, a in done), strict=True)))


class _Stage(NamedTuple):
    """How well the sum over poles is known: the ``error`` of f, the ``rounding`` of ρ allowed where poles are in single
    precision, whether all are in ``double``, and whether the answer may come from it."""

    error: float
    rounding: float
    double: bool
    last: bool

    def finer(self, tol: float, n: int, variance: Tensor, rounding: Tensor) -> _Stage:
        """So that the number of electrons is known as well as ``tol`` demands, with a lower bound of their variance."""
        allowed = 0.5 * NUMBER * tol * max(1.0, 4 * float(variance))
        error = min(0.15 * tol, 0.5 * allowed / n, 0.1 * self.error if self.last else 1.0)
        # Half decades, so that fields that differ little share their poles.
        error = max(10 ** (0.5 * math.floor(2 * math.log10(error))), FINEST)
        double = self.double or self.last or tol < 1e-6 or float(rounding) > 0.5 * allowed
        return _Stage(error, 0.25 * tol, double, last=True)


class _Answer(NamedTuple):
    """Of one copy of the electrons, ``(replica, ...)``."""

    rho: Tensor
    mu: Tensor
    number: Tensor
    energy: Tensor
    omega: Tensor
    error: Tensor


class _Problem:
    """Matrices ``(replica, element)`` and the positions at which ρ is wanted."""

    def __init__(
        self, matrix: SparseMatrix, rows: Tensor, columns: Tensor, levels: Spectrum | None = None, vectors: int = 1
    ) -> None:
        self.matrix, self.rows, self.columns = matrix, rows, columns
        self.spectrum = levels or spectrum(matrix, vectors=vectors)
        self.double = 0  # poles for which rounding has been too much in single precision
        self.equations = SelectedInversion.of(matrix, matrix.pattern.dissection(rows, columns), rows, columns)

    def part(self, replicas: Tensor) -> _Problem:
        if len(replicas) == len(self.matrix.values):
            return self
        levels = Spectrum(*(x[replicas] for x in self.spectrum))
        matrix = SparseMatrix(self.matrix.pattern, self.matrix.values[replicas])
        part = _Problem(matrix, self.rows, self.columns, levels)
        part.double = self.double
        return part

    def inverse(self, mu: Tensor, kT: float, z: np.ndarray, dtype: torch.dtype) -> Inverse:
        return self.equations.inverse(mu, kT * torch.from_numpy(z.copy()).to(mu.device), dtype)


def _of_poles(error: Tensor, fit: FermiPoles, kT: float) -> Tensor:
    """Of the sum over poles ``(replica,)``, from independent errors of G ``(replica, pole)``."""
    return kT * torch.linalg.vector_norm(error * torch.from_numpy(2 * np.abs(fit.w)).to(error), dim=-1)


def _constant(fit: FermiPoles) -> float:
    """What makes the integral of the sum that of f, -ln(1 + e^-y), halfway between its largest deviations."""
    y = np.sinh(np.linspace(-math.asinh(fit.lower), math.asinh(fit.upper), 4000))
    integral = fit.c0 * y + 2 * (fit.w * np.log(y[:, None] - fit.z)).real.sum(-1)
    deviation = -np.logaddexp(0.0, -y) - integral
    return float(0.5 * (deviation.min() + deviation.max()))
