"""The Fermi function as a sum over a handful of poles."""

from __future__ import annotations

import math
import operator
import warnings
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nearsight._validation import integer, number

MARGIN = 1.05
"""The interval is widened by this factor: bounds of a spectrum may be met to the last digit."""

NARROWEST = 10.0
"""Bounds of the interval below this are raised to it. A spectrum closer to μ, or on one side of it, needs no fewer."""

FIT_POINTS, TEST_POINTS = (2000, 1400, 1000, 700, 500), 14000

MOST_POLES = 20
"""Beyond, the fit is exact to rounding where it can be, and further poles fit the rounding."""

REAL = 1e-3
"""A pole this close to the axis is not one of the Fermi function, whose nearest ones are at ±iπ."""


GAIN = 8.0
"""Most of what moving the poles may win: AAA comes this close to the smallest error of so many poles."""

ROUNDS = 6


class FermiPoles(NamedTuple):
    r"""The Fermi function of y = (ε - μ)/kT on an interval, by poles in the upper half-plane,

    .. math:: f(y) = \frac{1}{e^y + 1} \simeq c_0 + \sum_p 2\,\mathrm{Re}\, \frac{w_p}{y - z_p} .

    For a Hermitian matrix, with :math:`G(\zeta) = (\zeta - h)^{-1}` at the energies :math:`\zeta_p = \mu + kT z_p`,

    .. math:: f(h) = c_0 - kT \sum_p [w_p\, G(\zeta_p) + \mathrm{h.c.}] .

    ``error`` is the largest difference from f on the interval ``[-lower, upper]``, measured on points between those of
    the fit. Outside the interval the sum is no approximation at all.

    :func:`fermi_poles` returns them.
    """

    z: np.ndarray
    w: np.ndarray
    c0: float
    error: float
    lower: float
    upper: float

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """The sum at real y, of any shape."""
        y = np.asarray(y, dtype=float)
        return self.c0 + 2 * (self.w / (y[..., None] - self.z)).real.sum(-1)

    def covers(self, lowest: float, highest: float) -> bool:
        """Whether levels y between these two lie on the interval."""
        return -self.lower <= lowest and highest <= self.upper


def fermi_poles(y1: float, y2: float, n: int | None = None, tol: float = 1e-7) -> FermiPoles:
    """Poles and weights of the Fermi function for levels y = (ε - μ)/kT between -y1 and y2.

    Parameters
    ----------
    y1, y2: (μ - lowest level)/kT and (highest level - μ)/kT; the fit covers 5 % more on each side, and at least 10.
    n: number of poles. Given, exactly n are returned, and their ``error`` is what it is; ``None`` takes as few as meet
        ``tol``: 8 for errors of 10⁻⁷ at a bandwidth of a few hundred kT. The number grows as ln(bandwidth/kT)
        ln(1/tol); that of a Matsubara sum would grow as bandwidth/kT.
    tol: largest error of f where n is None.

    The poles are those of a rational interpolant by the AAA algorithm on points clustered around μ; their weights are
    fitted again by least squares with the poles on the axis, if any, left out. Where that saves one of them, the poles
    are moved until the largest error is ``tol``. Arrays are complex128 and read-only; the
    result is cached.

    Raises
    ------
    ArithmeticError: no fit of at most 20 poles meets ``tol``, or none has ``n`` poles off the axis.

    References
    ----------
    Y. Nakatsukasa, O. Sète, L. N. Trefethen, SIAM J. Sci. Comput. 40, A1494 (2018); L. Lin, J. Lu, L. Ying, W. E, Chin.
    Ann. Math. B 30, 729 (2009).
    """
    y1, y2 = (number(y, f"{name} of the interval [-y1, y2]") for y, name in ((y1, "y1"), (y2, "y2")))
    tol = number(tol, "tol")
    if y1 + y2 < 0:
        raise ValueError(f"The levels must lie in an interval [-y1, y2], got y1 = {y1}, y2 = {y2}.")
    n = None if n is None else integer(n, "n, the number of poles,", least=1, most=MOST_POLES)
    if n is None and not 1e-13 <= tol <= 0.1:
        raise ValueError(f"tol must lie between 1e-13 (rounding) and 0.1, got {tol}.")
    lower, upper = _interval(y1, y2)
    if n is None and (fit := _closest(lower, upper, tol)).error > tol:
        raise ArithmeticError(
            f"The best fit on [{-lower:.4g}, {upper:.4g}] has an error of {fit.error:.1e} > tol = {tol:.1e}; "
            "raise tol or the temperature."
        )
    return fit if n is None else _with_poles(lower, upper, n)


def _raised(y: float, step: float) -> float:
    """The next power of ``step``: intervals that differ little share their poles exactly."""
    return step ** math.ceil(math.log(max(y, 1.0)) / math.log(step) - 1e-9)


def _interval(y1: float, y2: float) -> tuple[float, float]:
    return max(MARGIN * y1, NARROWEST), max(MARGIN * y2, NARROWEST)


@lru_cache(maxsize=256)
def _with_poles(lower: float, upper: float, n: int) -> FermiPoles:
    fits = _fits(lower, upper, n)
    if not fits:
        raise ArithmeticError(
            f"No fit on [{-lower:.4g}, {upper:.4g}] has {n} good poles: further ones fit the rounding. "
            "Ask for fewer, or leave n out and give tol."
        )
    return min(fits, key=_error)


def _closest_fermi_poles(y1: float, y2: float, tol: float) -> FermiPoles:
    """As :func:`fermi_poles`, with the best fit there is where none meets ``tol``."""
    return _closest(*_interval(y1, y2), tol)


_error = operator.attrgetter("error")


@lru_cache(maxsize=256)
def _closest(lower: float, upper: float, tol: float) -> FermiPoles:
    best: FermiPoles | None = None
    for count in range(2, MOST_POLES + 1):
        fit = _fit(lower, upper, 2 * count + 1, FIT_POINTS[0])
        best = fit if best is None else min(best, fit, key=_error)
        if fit.error <= tol:
            # One pole less may do for a lucky choice of points, or where the poles are moved.
            fewer = min(_fits(lower, upper, len(fit.z) - 1), default=fit, key=_error)
            if tol < fewer.error < GAIN * tol:
                fewer = _moved(fewer, tol)
            return fewer if fewer.error <= tol else fit
    assert best is not None
    return best


def _fits(lower: float, upper: float, n: int) -> list[FermiPoles]:
    """Fits with exactly n poles. AAA is greedy: its error depends, within a factor of ten, on the points offered."""
    attempts = [(2 * n + 1, points) for points in FIT_POINTS] + [(2 * n, FIT_POINTS[0]), (2 * n + 2, FIT_POINTS[0])]
    fits = [_fit(lower, upper, terms, points) for terms, points in attempts]
    return [fit for fit in fits if len(fit.z) == n]


def _points(lower: float, upper: float, count: int) -> np.ndarray:
    """Equally spaced in arsinh y: as dense at μ as f demands there, and logarithmic in the tails."""
    return np.sinh(np.linspace(-math.asinh(lower), math.asinh(upper), count))


def _fermi(y: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 - np.tanh(0.5 * y))


def _basis(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    cauchy = 2.0 / (y[:, None] - z)
    return np.hstack([np.ones((len(y), 1)), cauchy.real, -cauchy.imag])


def _fit(lower: float, upper: float, terms: int, points: int) -> FermiPoles:
    from scipy.interpolate import AAA

    y = _points(lower, upper, points)
    with warnings.catch_warnings():
        # That the demanded tolerance of zero is not met within `terms` points is what is asked for.
        warnings.simplefilter("ignore", RuntimeWarning)
        poles = AAA(y, _fermi(y), rtol=0.0, max_terms=terms, clean_up=False).poles()
    z = poles[poles.imag > REAL]
    z = z[np.argsort(z.imag)]
    return _weighed(z, y, np.ones(len(y)), lower, upper)


def _weighed(z: np.ndarray, y: np.ndarray, weight: np.ndarray, lower: float, upper: float) -> FermiPoles:
    """The fit with given poles by least squares of the deviations at y times ``weight``, and its error."""
    coefficients = np.linalg.lstsq(weight[:, None] * _basis(y, z), weight * _fermi(y), rcond=None)[0]
    between = _points(lower, upper, TEST_POINTS)
    error = float(np.abs(_basis(between, z) @ coefficients - _fermi(between)).max())
    w = coefficients[1 : 1 + len(z)] + 1j * coefficients[1 + len(z) :]
    z.flags.writeable = w.flags.writeable = False
    return FermiPoles(z, w, float(coefficients[0]), error, lower, upper)


def _moved(fit: FermiPoles, tol: float) -> FermiPoles:
    """The fit with its poles moved until its largest error is below ``tol``, or as small as a few rounds make it.

    Least squares with weights that grow where the error is large (Lawson), for the poles in the coordinates arsinh Re z
    and ln Im z; the weights of the poles follow from them.
    """
    from scipy.optimize import least_squares

    y = _points(fit.lower, fit.upper, FIT_POINTS[-1])
    f, n, weight, best = _fermi(y), len(fit.z), np.ones(FIT_POINTS[-1]), fit
    x = np.concatenate([np.arcsinh(fit.z.real), np.log(fit.z.imag)])

    def deviation(x: np.ndarray) -> np.ndarray:
        basis = weight[:, None] * _basis(y, np.sinh(x[:n]) + 1j * np.exp(x[n:]))
        return (basis @ np.linalg.lstsq(basis, weight * f, rcond=None)[0] - weight * f) / fit.error

    for _ in range(ROUNDS):
        x = least_squares(deviation, x, method="lm", max_nfev=20 * n).x
        off = np.abs(deviation(x)) / weight
        weight *= np.sqrt(off / off.max() + 1e-3)
        weight /= np.sqrt(np.mean(weight**2))
        z = np.sinh(x[:n]) + 1j * np.exp(x[n:])
        moved = _weighed(z[np.argsort(z.imag)], y, weight, fit.lower, fit.upper)
        best = min(best, moved, key=_error)
        if best.error <= tol:
            break
    return best
