"""The chemical potential of a given number of electrons, and what an uncertain number does to the density matrix."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight.solvers.lanczos import Spectrum
from nearsight.solvers.poles._elimination import Inverse
from nearsight.solvers.poles.fermi_poles import FermiPoles

REACH = 3.0
"""How far from a solution, in units of kT, the number of electrons is forecast."""

FAR = 30.0
"""Where the density of states puts μ further away than so many reaches, it is followed."""

PATIENCE = 8
"""Solutions after which a step that does not halve the bracket is replaced by bisection."""


class NumberSearch:
    r"""The chemical potentials of the replicas that still look for theirs, and what is known of their slopes.

    ``variance`` ``(replica,)``: lower bound of :math:`S = \sum_n f_n(1-f_n) = kT\,\partial N/\partial\mu` at ``mu``.
    As :math:`|\partial\ln S/\partial\mu| \le 1/kT`, one bound is a bound elsewhere, and a change of N between two
    chemical potentials is a bound at both.
    """

    def __init__(self, levels: Spectrum, n: int, kT: float, target: float) -> None:
        """For ``target`` electrons on n orbitals, from where the density of states has as many."""
        self.levels, self.n, self.kT = levels, n, kT
        edge = kT * (40.0 + abs(math.log(target / (n - target))))
        self.lower, self.upper = levels.lowest - edge, levels.highest + edge
        self.replica = torch.arange(len(self.lower), device=self.lower.device)
        self.mu = self._guess(torch.full_like(self.lower, target), self.lower, self.upper)
        self.far, self.variance = torch.zeros_like(self.mu), torch.zeros_like(self.mu)
        self.last, self.last_missing = (torch.full_like(self.mu, torch.nan) for _ in range(2))
        self.last_uncertain = torch.zeros_like(self.mu)

    def _number(self, mu: Tensor) -> Tensor:
        """Electrons, from the density of states."""
        return self.n * (self.levels.weight * torch.sigmoid((mu[:, None] - self.levels.energy) / self.kT)).sum(-1)

    def _guess(self, number: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Where the density of states has this number, between two bounds."""
        for _ in range(60):
            middle = 0.5 * (lower + upper)
            high = self._number(middle) > number
            lower, upper = torch.where(high, lower, middle), torch.where(high, middle, upper)
        return 0.5 * (lower + upper)

    def learn(self, missing: Tensor, uncertain: Tensor, variance: Tensor) -> None:
        """Of the electrons that are missing at ``mu``, to within ``uncertain``, and of a bound found there."""
        distance = (self.mu - self.last).abs() / self.kT
        change = (missing - self.last_missing).abs() - uncertain - self.last_uncertain
        secant = torch.nan_to_num(change / torch.expm1(distance).clamp_min(1e-300)).clamp_min(0)
        before = self.variance * torch.nan_to_num(torch.exp(-distance), nan=0.0)
        self.variance = torch.stack([variance, secant, before]).amax(0)
        # A sign within the uncertainty is none.
        self.lower = torch.where(missing > uncertain, self.mu, self.lower)
        self.upper = torch.where(missing < -uncertain, self.mu, self.upper)

    def proceed(self, rest: Tensor, missing: Tensor, uncertain: Tensor, ahead: Forecast, attempt: int) -> None:
        """The next μ of the replicas in ``rest``, from the electrons that are missing and the forecast.

        Close to the root the secant knows the slope better than the forecast, and so it does where few levels are too
        few for it. Out of sight steps double, unless the density of states puts μ much further away; where a fraction
        of an electron is missing that nothing near could hold, they make for the middle of a gap.
        """
        mu, kT, step = self.mu, self.kT, ahead.shift * self.kT
        far = step.abs() >= 0.99 * REACH * kT
        distance = (mu - self.last).abs()
        secant = missing * (mu - self.last) / (self.last_missing - missing)
        known = (self.last_missing - missing).abs() > 10 * (uncertain + self.last_uncertain)
        close = (distance < 0.1 * REACH * kT) & (secant.abs() < 2 * step.abs() + 0.01 * kT) & ~far
        blind = (ahead.variance < 0.1 * self.variance) & (distance < REACH * kT) & (secant.abs() < REACH * kT)
        near = known & torch.isfinite(secant) & (missing.abs() < 1) & (close | blind)
        away = self._guess(self._number(mu) + missing, self.lower, self.upper) - mu
        doubled = step * torch.where(missing.abs() < 0.05, 3.0, 2**self.far)
        away = torch.where((away.abs() > FAR * step.abs()) & (away * step > 0) & (missing.abs() > 0.5), away, doubled)
        new = mu + torch.where(near, secant, torch.where(far, away, step))
        inside = (new > self.lower) & (new < self.upper)
        if attempt >= PATIENCE and attempt % 2:
            inside &= (new - mu).abs() <= 0.05 * kT
        new = torch.where(inside, new, self._middle())
        self.last, self.last_missing, self.last_uncertain, self.mu = mu, missing, uncertain, new
        self.far = torch.where(far, self.far + 1, 0.0)
        for name in ("replica", "lower", "upper", "far", "variance", "last", "last_missing", "last_uncertain", "mu"):
            setattr(self, name, getattr(self, name)[rest])
        self.levels = Spectrum(*(x[rest] for x in self.levels))

    def _middle(self) -> Tensor:
        """Of the bracket: in number as long as that tells its ends apart, in energy otherwise."""
        low, high = self._number(self.lower), self._number(self.upper)
        by_number = self._guess(0.5 * (low + high), self.lower, self.upper)
        wide = (high - low > 1) & (self.upper - self.lower > 2 * REACH * self.kT)
        return torch.where(wide, by_number, 0.5 * (self.lower + self.upper))


def change_of_rho(missing: Tensor, uncertain: Tensor, variance: Tensor) -> Tensor:
    r"""Most that elements of ρ differ from those at the right chemical potential ``(replica,)``.

    All occupations grow with μ, so that no element of f(h - μ) - f(h - μ₀) exceeds the change of their sum, D, which is
    ``missing`` to within ``uncertain``; nor tanh(δ/4), the most that one occupation changes when μ moves by δ kT. With
    S the ``variance`` at one end, :math:`D \ge S (1 - e^{-\delta})`.
    """
    number = missing.abs() + uncertain
    part = torch.where(number < variance, number / variance.clamp_min(1e-300), 1.0)
    return torch.minimum(number, torch.tanh(-0.25 * torch.log1p(-part)))


class Forecast(NamedTuple):
    """``shift`` of μ in units of kT, at most ``REACH``, at which the number will be right, and a lower bound of
    Σ f(1 - f) at the present μ, ``(replica,)`` each."""

    shift: Tensor
    variance: Tensor


def forecast(
    fit: FermiPoles, g: Inverse, number: Tensor, uncertain: Tensor, n: int, kT: float, target: float
) -> Forecast:
    """From Green's functions at the poles for one μ, the numbers of electrons at others.

    With the same poles 1/(y - z_p) and its integral also fit the Fermi function of another μ, if not to all digits.
    """
    solve, shifts, error = (x.to(g.trace.device) for x in _shifted(fit.lower, fit.upper, fit.z.tobytes()))
    trace, log_det = kT * g.trace, g.log_det - n * math.log(kT)
    basis = torch.cat([torch.full_like(trace.real[:, :1], n), 2 * trace.real, -2 * trace.imag], dim=-1)
    numbers = torch.cat([basis, 2 * log_det.real, -2 * log_det.imag], dim=-1) @ solve
    # S(μ + x) <= S(μ) e^|x| integrated over the shift.
    change = (numbers - number[:, None]) * torch.sign(shifts) - n * error - 4 * uncertain[:, None]
    variance = (change / torch.expm1(shifts.abs()).clamp_min(1e-6)).amax(-1).clamp_min(0)
    # The first shift that holds enough electrons, and linear interpolation to it.
    numbers = (numbers + (number[:, None] - numbers[:, [len(shifts) // 2]])).cummax(-1).values
    right = (numbers < target).sum(-1).clamp(1, len(shifts) - 1)[:, None]
    low, high = numbers.gather(-1, right - 1), numbers.gather(-1, right)
    part = ((target - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)
    return Forecast((shifts[right - 1] + part * (shifts[right] - shifts[right - 1])).squeeze(-1), variance)


@lru_cache(maxsize=64)
def _shifted(lower: float, upper: float, poles: bytes) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients ``(function, shift)`` of f(y - shift) in 1, 2 Re and 2 Im of 1/(y - z), and of ln(y - z); the shifts
    and the largest error for each."""
    z = np.frombuffer(poles, dtype=complex)
    y = np.sinh(np.linspace(-math.asinh(lower), math.asinh(upper), 1200))
    cauchy, log = 2 / (y[:, None] - z), 2 * np.log(y[:, None] - z)
    basis = np.hstack([np.ones((len(y), 1)), cauchy.real, -cauchy.imag, log.real, -log.imag])
    scale = np.abs(basis).max(0)
    # The points are dense about μ; most levels are in the tails.
    weight = (1 + y**2)[:, None] ** 0.25
    shifts = REACH * np.sign(x := np.linspace(-1, 1, 121)) * np.abs(x) ** 1.5
    fermi = 0.5 * (1.0 - np.tanh(0.5 * (y[:, None] - shifts)))
    # Small singular values would trade the last digits of the fit for large coefficients, and those of determinants.
    coefficients = np.linalg.pinv(weight * basis / scale, rcond=1e-8) @ (weight * fermi)
    error = np.abs(basis / scale @ coefficients - fermi).max(0)
    return torch.from_numpy(coefficients / scale[:, None]), torch.from_numpy(shifts), torch.from_numpy(error)
