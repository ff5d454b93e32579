"""Finite-size scaling: windows in which an accuracy is low, power laws of a size, and data collapse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from nearsight.analysis.statistics._draws import QUANTILES, quantile_interval


def threshold_window(x: np.ndarray, accuracy: np.ndarray, threshold: float) -> tuple[float, float]:
    """The two edges x₋ ≤ 0 ≤ x₊ between which an accuracy is below a threshold.

    On either side of x = 0 the accuracy ``(point,)`` is taken to rise with \\|x\\|: the nearest rising curve (isotonic
    regression) replaces the data, so that noise makes no second crossing, and is interpolated linearly. An edge is 0
    where the accuracy is above the threshold from the first point on, and NaN where it never gets there.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"An accuracy threshold lies between 0 and 1, got {threshold}.")
    edges = []
    for sign in (-1, 1):
        side = np.flatnonzero(sign * x > 0)
        if len(side) < 2:
            raise ValueError("A window needs two or more points on either side of x = 0.")
        side = side[np.argsort(np.abs(x[side]))]
        distance = np.abs(x[side])
        rising = optimize.isotonic_regression(accuracy[side]).x
        above = np.flatnonzero(rising >= threshold)
        if not len(above):
            edges.append(np.nan)
        elif (first := above[0]) == 0:
            edges.append(0.0)
        else:
            low, high = rising[first - 1], rising[first]
            share = (threshold - low) / (high - low)
            edges.append(sign * (distance[first - 1] + share * (distance[first] - distance[first - 1])))
    return float(edges[0]), float(edges[1])


def threshold_width(x: np.ndarray, accuracy: np.ndarray, threshold: float) -> np.ndarray:
    """The width x₊ - x₋ of the :func:`threshold_window` of curves ``(..., point)``; NaN where an edge is not known."""
    return np.apply_along_axis(lambda curve: np.ptp(threshold_window(x, curve, threshold)), -1, accuracy)


def mean_of_both_sides(
    x: np.ndarray, values: np.ndarray, *, reach: float, tol: float = 1e-5
) -> tuple[np.ndarray, np.ndarray]:
    """Values ``(..., point)`` as a function of \\|x\\|: the distances up to ``reach`` at which there is a point on both
    sides of x = 0, to within ``tol``, and the mean of the two values there ``(..., distance)``.

    For the error of a guess of the phase, whose label changes at x = 0: what is guessed from is distributed alike on
    both sides of the transition itself, so that A(0-) + A(0+) = 1. Errors jump there, by as much as a model leans to
    one phase, and this depends on the temperatures it was trained at, which know nothing of the size. The mean of both
    sides does not jump, and is 1/2 at x = 0 for every size.
    """
    if x.ndim != 1 or values.shape[-1:] != x.shape:
        raise ValueError(f"x is (point,) and values (..., point), got {x.shape} and {values.shape}.")
    above = [k for k in np.flatnonzero((x > 0) & (x <= reach)) if np.abs(x + x[k]).min() < tol]
    below = [int(np.abs(x + x[k]).argmin()) for k in above]
    return x[above], 0.5 * (values[..., above] + values[..., below])


@dataclass(frozen=True)
class Collapse:
    """Exponents with which curves of several sizes fall on one, and how well they do.

    ``quality`` is S of :func:`collapse_quality` (about 1 for a collapse within the errors). Errors and 68 % intervals
    are from fits to resampled data. ``covariance`` of (θ, 1/ν) tells how far one makes up for the other.

    :func:`fit_collapse` returns it.
    """

    theta: float
    theta_error: float
    theta_interval: tuple[float, float]
    inverse_nu: float
    inverse_nu_error: float
    inverse_nu_interval: tuple[float, float]
    quality: float
    covariance: tuple[tuple[float, float], tuple[float, float]]

    @property
    def nu(self) -> float:
        """ν, infinite where curves collapse without any rescaling of x."""
        return 1.0 / self.inverse_nu if self.inverse_nu else float("inf")

    @property
    def nu_error(self) -> float:
        """Of ν, to first order in that of 1/ν."""
        return self.inverse_nu_error * self.nu**2

    def __str__(self) -> str:
        theta, nu = f"{self.theta:.3f} ± {self.theta_error:.3f}", f"{self.nu:.3f} ± {self.nu_error:.3f}"
        return f"θ = {theta}, ν = {nu}, S = {self.quality:.2f}"


def collapse_quality(
    sizes: np.ndarray, x: np.ndarray, y: np.ndarray, error: np.ndarray, theta: float, inverse_nu: float
) -> float:
    r"""How badly y L^θ as a function of x L^{1/ν} fails to be one curve for all sizes L: S of Houdayer and Hartmann,

    .. math:: S = \frac{1}{N} \sum_{Lj} \frac{(y_{Lj} - Y_{Lj})^2}{\delta y_{Lj}^2 + \delta Y_{Lj}^2},

    where Y is the value at the same place of a straight line through the nearest points of the *other* sizes on either
    side. Points with negative and with positive x are compared among themselves: the curve may jump at x = 0, as the
    error of a classification does where the label changes. S is about 1 if all deviations are noise.

    Parameters
    ----------
    sizes: L ``(size,)``. x: distance from the critical point ``(point,)``. y, error: ``(size, point)``; NaN in y where
        a size has no point.

    References
    ----------
    J. Houdayer, A. K. Hartmann, Phys. Rev. B 70, 014418 (2004), appendix A.
    """
    scale = np.asarray(sizes, dtype=float)[:, None]
    X, Y, dY = x * scale**inverse_nu, y * scale**theta, error * scale**theta
    total, count = 0.0, 0
    for sign in (-1, 1):
        chosen = [np.flatnonzero((sign * x > 0) & ~np.isnan(row)) for row in y]
        chosen = [here[np.argsort(x[here])] for here in chosen]
        for j, own in enumerate(chosen):
            at = X[j, own]
            sums = np.zeros((5, len(own)))
            for k, other in enumerate(chosen):
                if k == j or len(other) < 2:
                    continue
                right = np.searchsorted(X[k, other], at)
                between = (right > 0) & (right < len(other))
                for neighbour in (right - 1, right):
                    place = other[neighbour[between]]
                    w, u, v = dY[k, place] ** -2.0, X[k, place], Y[k, place]
                    sums[:, between] += w, w * u, w * v, w * u * u, w * u * v
            K, Kx, Ky, Kxx, Kxy = sums
            delta = K * Kxx - Kx**2
            known = (K > 0) & (delta > 1e-12 * (K * Kxx))
            K, Kx, Ky, Kxx, Kxy, delta, at = (a[known] for a in (K, Kx, Ky, Kxx, Kxy, delta, at))
            line = (Kxx * Ky - Kx * Kxy + at * (K * Kxy - Kx * Ky)) / delta
            variance = (Kxx - 2 * at * Kx + at**2 * K) / delta
            total += float(((Y[j, own[known]] - line) ** 2 / (dY[j, own[known]] ** 2 + variance)).sum())
            count += len(at)
    return total / count if count else float("inf")


def fit_collapse(
    sizes: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    error: np.ndarray,
    *,
    samples: np.ndarray,
    start: tuple[float, float] = (0.1, 1.0),
) -> Collapse:
    """The exponents θ and 1/ν of the best collapse (smallest :func:`collapse_quality`), and their errors.

    ``samples`` ``(sample, size, point)`` are y of resampled data; each is fitted again, which keeps what the points
    of one size have in common. ``start``: first guess of (θ, 1/ν).
    """
    if len(sizes) < 3:
        raise ValueError(f"A collapse that proves anything needs three or more sizes, got {len(sizes)}.")
    if not (error[~np.isnan(y)] > 0).all():
        raise ValueError("Every point needs an error > 0; a fraction of 0 in n trials has one of about 1/n.")

    def best(values: np.ndarray, guess: np.ndarray) -> np.ndarray:
        found = optimize.minimize(
            lambda p: collapse_quality(sizes, x, values, error, p[0], p[1]),
            guess,
            method="Nelder-Mead",
            options={"xatol": 1e-3, "fatol": 1e-4, "initial_simplex": guess + np.array([[0, 0], [0.1, 0], [0, 0.2]])},
        )
        return found.x

    first = best(y, np.array(start))
    centre = best(y, first)  # a second simplex leaves what the first one got stuck in
    again = np.array([best(row, centre) for row in samples])
    covariance = np.cov(again.T)
    theta, inverse_nu = (
        (float(value), float(np.sqrt(variance)), quantile_interval(column, QUANTILES))
        for value, variance, column in zip(centre, np.diag(covariance), again.T, strict=True)
    )
    quality = collapse_quality(sizes, x, y, error, centre[0], centre[1])
    return Collapse(*theta, *inverse_nu, quality, tuple(map(tuple, covariance.tolist())))  # type: ignore[arg-type]
