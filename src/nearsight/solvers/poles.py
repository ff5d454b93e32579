"""Electrons from a few resolvents, each by selected inversion of pieces within pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight.solvers.elimination import Equations, Inverse
from nearsight.solvers.fermi_poles import FermiPoles, fermi_poles
from nearsight.solvers.lanczos import Spectrum, spectrum
from nearsight.solvers.solver import Electrons, Solver, check_ensemble, check_matrix, ensemble_text
from nearsight.solvers.sparse import SparseMatrix
from nearsight.storage import number_text

RAISED = 1.2
"""Bounds of the spectrum are rounded up to powers of this: fields that differ little share their poles exactly."""

SHIFT = 3.0
"""How far from a solution, in units of kT, the number of electrons is foretold."""

SOLVES = 16
"""Most solutions for one chemical potential; three are usual."""


class Poles(Solver):
    r"""The Fermi function as a sum over poles, and the Green function at them without a full inverse.

    With f(y) ≈ c₀ + Σ_p 2 Re[w_p/(y - z_p)] and :math:`G(\zeta) = (h - \zeta)^{-1}`, :math:`\zeta_p = \mu + kT z_p`,

    .. math::
        \rho &= c_0 + kT \sum_p \left[ w_p G(\zeta_p) + \mathrm{h.c.} \right], \\
        \Omega &= c_0\, \mathrm{Tr}(h - \mu) + 2 kT\, \mathrm{Re} \sum_p w_p \ln\det\frac{h - \zeta_p}{kT}
                  + \mathrm{const}.

    Ω is the integral of the same rational function, so forces are its gradient to all digits however few the poles are.
    Elements of G near the diagonal come from Gaussian elimination of pieces within pieces of the matrix
    (:class:`Dissection`), the determinants on the way. A torus of L × L cells costs O(L³) for every pole, where
    diagonalisation costs O(L⁶) once. Sparse matrices of lattices gain most where they are large, complex, or long: take
    :func:`choose` if in doubt. ρ far from the diagonal may be asked for, at the price of larger fronts.

    Parameters
    ----------
    kT: electron temperature > 0 in units of t. The number of poles grows as the logarithm of bandwidth/kT.
    filling, mu: exactly one, as in :class:`Dense`. At fixed filling μ is solved to an error of ρ of ``tol``, and
        F = Ω + μN with the wanted N is stationary in what is missing; it takes three to five solutions. In a gap much
        wider than kT any μ with that number may come back.
    tol: largest error of f, and so of all elements of ρ: 10⁻⁶ takes seven or eight poles.
    dtype: torch.complex64 or torch.complex128; None takes single precision for ``tol`` ≥ 10⁻⁶, and solves again in
        double the poles for which a random vector shows that rounding has cost too much.

    ``Electrons.error`` is the error of f on an interval that holds the spectrum (its ends are found by
    :func:`spectrum`), a bound for ρ, plus an estimate of the rounding.

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
        check_ensemble(kT, filling, mu)
        if kT == 0:
            raise ValueError("Poles need kT > 0: at kT = 0 the Fermi function is a step. Take Dense, or a small kT.")
        if not 1e-13 <= tol < 0.1:
            raise ValueError(f"tol must lie between 1e-13 and 0.1, got {tol}.")
        if dtype not in (None, torch.complex64, torch.complex128):
            raise ValueError(f"dtype must be torch.complex64, torch.complex128 or None, got {dtype}.")
        self.kT, self.filling, self.mu, self.tol, self.dtype = float(kT), filling, mu, float(tol), dtype

    def __repr__(self) -> str:
        dtype = "" if self.dtype is None else f", {str(self.dtype).removeprefix('torch.')}"
        return f"Poles({ensemble_text(self.kT, self.filling, self.mu)}, tol={number_text(self.tol)}{dtype})"

    def solve(self, matrix: Tensor | SparseMatrix, rows: Tensor, columns: Tensor, *, degeneracy: int = 1) -> Electrons:
        if not isinstance(matrix, SparseMatrix):
            matrix = SparseMatrix.of(check_matrix(matrix))
        matrix.check()
        batch, real = matrix.values.shape[:-1], not matrix.values.is_complex()
        values = matrix.values.reshape(-1, matrix.values.shape[-1])
        values = values.to(torch.float64 if real else torch.complex128)
        vectors = 1 if self.filling is None else 4  # their density of states is where the search for μ begins
        problem = _Problem(SparseMatrix(matrix.pattern, values), rows, columns, vectors=vectors)
        answer = self._at_fixed_mu(problem) if self.filling is None else self._at_fixed_filling(problem)
        if real:
            answer = answer._replace(rho=answer.rho.real)
        d, potential = (
            float(degeneracy),
            answer.omega if self.filling is None else answer.omega + answer.mu * answer.number,
        )
        parts = (answer.mu, d * answer.number, d * answer.energy, d * (answer.omega + answer.mu * answer.number))
        scalars = (*parts, d * answer.omega, d * potential, answer.error)
        return Electrons(answer.rho.reshape(*batch, -1), *(x.reshape(batch) for x in scalars))

    # --- one chemical potential -------------------------------------------------------------------------------------

    def _at_fixed_mu(self, problem: _Problem) -> _Answer:
        mu = torch.full_like(problem.spectrum.lowest, self.mu)  # type: ignore[arg-type]
        fit = self._poles(problem.spectrum, mu)
        return self._sum(problem, mu, fit, self._inverse(problem, mu, fit))

    def _poles(self, levels: Spectrum, mu: Tensor) -> FermiPoles:
        """Poles for the levels of all replicas, each seen from its own μ."""
        below = float((mu - levels.lowest).max()) / self.kT
        above = float((levels.highest - mu).max()) / self.kT
        try:
            return fermi_poles(_raised(below), _raised(above), tol=0.5 * self.tol)
        except ArithmeticError as error:
            raise ArithmeticError(
                f"No sum over poles has an error below {0.5 * self.tol:.1e} for levels {below:.0f} kT below and "
                f"{above:.0f} kT above μ. Raise tol or kT (now {self.kT:g}), or take Dense."
            ) from error

    def _covers(self, fit: FermiPoles, levels: Spectrum, mu: Tensor) -> bool:
        """Whether poles that have served one μ serve another: the same sum has no jumps between them."""
        return fit.covers(float((levels.lowest - mu).min()) / self.kT, float((levels.highest - mu).max()) / self.kT)

    def _inverse(self, problem: _Problem, mu: Tensor, fit: FermiPoles) -> Inverse:
        """G at all poles, ``(replica, pole, ...)``, those nearest to the axis in double precision if need be."""
        if self.dtype is not None or self.tol < 1e-6:
            return problem.inverse(mu, self.kT, fit.z, self.dtype or torch.complex128)
        weight, allowed = 2 * self.kT * np.abs(fit.w), self.tol - fit.error
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
        return _Answer(rho, mu, number, energy, omega, fit.error + _rounding(fit, g, kT))

    # --- a chemical potential for a given number --------------------------------------------------------------------

    def _at_fixed_filling(self, problem: _Problem) -> _Answer:
        """μ for each replica, inside a bracket, until its number is met.

        The slope of N(μ) costs no further inverse: at the same poles 1/(y - z_p) and its integral also fit the Fermi
        function of another μ, if not to all digits, and so foretell N(μ + δ) from the traces and determinants at hand.
        """
        levels, n, kT = problem.spectrum, problem.matrix.size, self.kT
        filling: float = self.filling  # type: ignore[assignment]
        edge = kT * (40.0 + abs(math.log(filling / (1 - filling))))
        search = _Search(levels.lowest - edge, levels.highest + edge)
        search.start(lambda mu: _number(levels, mu, kT) - filling)
        fit: FermiPoles | None = None
        done: list[tuple[Tensor, _Answer]] = []
        for attempt in range(SOLVES):
            part = problem.part(search.replica)
            if fit is None or not self._covers(fit, part.spectrum, search.mu):
                fit = self._poles(part.spectrum, search.mu)
            g = self._inverse(part, search.mu, fit)
            answer = self._sum(part, search.mu, fit, g)
            missing = filling * n - answer.number
            shift = _foretold(fit, g, n, kT, filling)
            # ρ grows with μ as a matrix: no element is further off than the number is, nor than the slope of f allows.
            off = torch.minimum(missing.abs(), 0.25 * shift.abs())
            # Traces in single precision are good to 10⁻⁸ per orbital, and a gap needs no better μ than that. Beyond the
            # error of f the number means nothing.
            even = missing.abs() / n
            met = (off <= self.tol) | (even <= (0.05 * self.tol if attempt < SOLVES // 2 else fit.error))
            if bool(met.any()):
                exact = answer._replace(
                    number=answer.number + missing,
                    energy=answer.energy + search.mu * missing,
                    error=answer.error + torch.minimum(off, 10 * even),
                )
                done.append((search.replica[met], _Answer(*(x[met] for x in exact))))
            if bool(met.all()):
                break
            search.proceed(~met, missing, kT * shift, kT * SHIFT)
        else:
            raise ArithmeticError(
                f"No chemical potential gives the filling {filling:g} to {self.tol:g} after {SOLVES} solutions; "
                "raise tol or kT, or take Dense."
            )
        order = torch.cat([replica for replica, _ in done]).argsort()
        return _Answer(*(torch.cat(parts)[order] for parts in zip(*(a for _, a in done), strict=True)))


class _Search:
    """The chemical potentials of the replicas that still look for theirs."""

    def __init__(self, lower: Tensor, upper: Tensor) -> None:
        self.lower, self.upper = lower, upper
        self.replica = torch.arange(len(lower), device=lower.device)
        self.far = torch.zeros_like(lower)  # how often in a row the number was out of sight

    def start(self, excess: Callable[[Tensor], Tensor]) -> None:
        """Where a guess of the number is right, by bisection."""
        lower, upper = self.lower, self.upper
        for _ in range(60):
            middle = 0.5 * (lower + upper)
            high = excess(middle) > 0
            lower, upper = torch.where(high, lower, middle), torch.where(high, middle, upper)
        self.mu = 0.5 * (lower + upper)
        self.last = torch.full_like(self.mu, torch.nan)
        self.last_missing = torch.full_like(self.mu, torch.nan)

    def proceed(self, rest: Tensor, missing: Tensor, step: Tensor, most: float) -> None:
        """The next μ of the replicas in ``rest``, from the electrons that are missing and the foretold step.

        Close to the root the secant knows the slope better than foretelling; out of sight steps double, and where a
        fraction of an electron is missing that nothing near could hold, they make for the middle of a gap.
        """
        mu = self.mu
        self.lower, self.upper = torch.where(missing > 0, mu, self.lower), torch.where(missing < 0, mu, self.upper)
        secant = missing * (mu - self.last) / (self.last_missing - missing)
        far = step.abs() >= 0.99 * most
        gap = (missing.abs() < 0.05) & (step.abs() > 0.07 * most)
        step = torch.where(gap, 3 * most * torch.sign(step), step)
        near = (
            ~gap
            & torch.isfinite(secant)
            & ((mu - self.last).abs() < 0.1 * most)
            & (secant.abs() < 2 * step.abs())
            & (missing.abs() < 1)
        )
        new = mu + torch.where(near, secant, torch.where(far, step * 2**self.far, step))
        new = torch.where((new > self.lower) & (new < self.upper), new, 0.5 * (self.lower + self.upper))
        self.far = torch.where(far, self.far + 1, 0.0)
        self.last, self.last_missing, self.mu = mu, missing, new
        for name in ("replica", "lower", "upper", "far", "last", "last_missing", "mu"):
            setattr(self, name, getattr(self, name)[rest])


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
        self.equations = Equations.of(matrix, matrix.pattern.dissection(rows, columns), rows, columns)

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


def _raised(y: float) -> float:
    return RAISED ** math.ceil(math.log(max(y, 1.0)) / math.log(RAISED) - 1e-9)


def _rounding(fit: FermiPoles, g: Inverse, kT: float) -> Tensor:
    """What rounding may have done to ρ ``(replica,)``."""
    return kT * torch.linalg.vector_norm(g.rounding * torch.from_numpy(2 * np.abs(fit.w)).to(g.rounding), dim=-1)


def _constant(fit: FermiPoles) -> float:
    """What makes the integral of the sum that of f, -ln(1 + e^-y), halfway between its largest deviations."""
    y = np.sinh(np.linspace(-math.asinh(fit.lower), math.asinh(fit.upper), 4000))
    integral = fit.c0 * y + 2 * (fit.w * np.log(y[:, None] - fit.z)).real.sum(-1)
    deviation = -np.logaddexp(0.0, -y) - integral
    return float(0.5 * (deviation.min() + deviation.max()))


def _foretold(fit: FermiPoles, g: Inverse, n: int, kT: float, filling: float) -> Tensor:
    """The shift of μ in units of kT ``(replica,)``, at most SHIFT, at which the number is foretold to be right."""
    solve, shifts = _shifted(fit.lower, fit.upper, fit.z.tobytes())
    trace, log_det = kT * g.trace, g.log_det - n * math.log(kT)
    basis = torch.cat([torch.full_like(trace.real[:, :1], n), 2 * trace.real, -2 * trace.imag], dim=-1)
    basis = torch.cat([basis, 2 * log_det.real, -2 * log_det.imag], dim=-1)
    number = (basis @ solve.to(trace.device)).cummax(-1).values
    shift, target = shifts.to(trace.device), filling * n
    # The first shift that holds enough electrons, and linear interpolation to it.
    right = (number < target).sum(-1).clamp(1, len(shift) - 1)[:, None]
    low, high = number.gather(-1, right - 1), number.gather(-1, right)
    part = ((target - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)
    return (shift[right - 1] + part * (shift[right] - shift[right - 1])).squeeze(-1)


@lru_cache(maxsize=64)
def _shifted(lower: float, upper: float, poles: bytes) -> tuple[Tensor, Tensor]:
    """Coefficients ``(function, shift)`` of f(y - shift) in 1, 2 Re and 2 Im of 1/(y - z), and of ln(y - z)."""
    z = np.frombuffer(poles, dtype=complex)
    y = np.sinh(np.linspace(-math.asinh(lower), math.asinh(upper), 1200))
    cauchy, log = 2 / (y[:, None] - z), 2 * np.log(y[:, None] - z)
    basis = np.hstack([np.ones((len(y), 1)), cauchy.real, -cauchy.imag, log.real, -log.imag])
    scale = np.abs(basis).max(0)
    shifts = SHIFT * np.linspace(-1, 1, 121)
    fermi = 0.5 * (1.0 - np.tanh(0.5 * (y[:, None] - shifts)))
    # Small singular values would trade the last digits of the fit for large coefficients, and those of determinants.
    coefficients = np.linalg.pinv(basis / scale, rcond=1e-6) @ fermi / scale[:, None]
    return torch.from_numpy(coefficients), torch.from_numpy(shifts)


def _number(levels: Spectrum, mu: Tensor, kT: float) -> Tensor:
    """Electrons per orbital from the density of states."""
    return (levels.weight * torch.sigmoid((mu[:, None] - levels.energy) / kT)).sum(-1)
