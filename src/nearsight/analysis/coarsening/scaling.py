"""Dynamical scaling: the collapse of structure factors at different times, and the tail of sharp walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from scipy import optimize

from nearsight._validation import integer
from nearsight.analysis.statistics._draws import mean_draws, students_interval, weighted_line
from nearsight.analysis.statistics.laws import SizeLaw


@dataclass(frozen=True)
class DynamicalScaling:
    r"""How well S(k, t) at several times falls on one curve, :math:`S = L^\theta\, \mathcal G(kL)`.

    ``quality`` is the mean squared distance of a point from the curve of the other times in units of its error, at
    θ = the dimension of space: about 1 where the deviations are noise. ``deviation`` is the root mean square of the
    same distances as a ratio, ln S; small errors make a good collapse look bad in ``quality``, large ones a bad one
    good. ``theta`` is the exponent of the best collapse, with its standard error over replicas and the interval that
    covers it in 95 % of cases (Student's t): dynamical scaling demands the dimension.

    :func:`dynamical_scaling` returns it.
    """

    quality: float
    deviation: float
    theta: float
    theta_error: float
    dimension: int
    points: int
    window: tuple[float, float]
    theta_interval: tuple[float, float]

    def __str__(self) -> str:
        return (
            f"S = L^θ G(kL): θ = {self.theta:.3f} ± {self.theta_error:.3f} (scaling: {self.dimension}), points "
            f"scatter by {100 * self.deviation:.2g} % about the common curve, {np.sqrt(self.quality):.2g} error bars"
        )


def dynamical_scaling(
    S: xr.DataArray,
    L: xr.DataArray,
    *,
    dimension: int,
    rng: torch.Generator,
    window: tuple[float, float] = (0.0, np.inf),
    largest_k: float = np.inf,
    samples: int = 200,
) -> DynamicalScaling:
    r"""Test the collapse :math:`S(k, t) = L(t)^d\, \mathcal G(k L(t))` of structure factors at several times.

    Every point (kL, S/L^θ) is compared with the straight line through its two neighbours in the curve of every other
    time, in logarithms, in which the tail of G is straight. Means over replicas enter, with standard errors.

    The choice of L matters. The inverse mean wave number of :func:`correlation_length` holds a logarithm of the
    lattice constant if walls are sharp, ∫ k S(k) d²k ~ ∫ dk/k: domains that are perfectly self-similar, with sizes of 2
    to 7 a, then seem to scale with θ ≈ 1.6 in the plane. The half height of C(r) (:func:`crossing_length`) has no such
    fault and gives θ = 1.99 ± 0.01 for the same domains.

    Parameters
    ----------
    S: averaged over directions ``(replica, time, k)``, the result of :func:`shell_average` about the peak.
    L: ``(replica, time)`` at the same times, in any measure of length.
    dimension: of space.
    window: smallest and largest kL. Finite lattices spoil small ones, where L is no small part of the lattice.
    largest_k: wave vectors beyond are left out: near the edge of the zone the lattice shows.
    samples: draws of the means (:func:`mean_draws`) for the error of θ.

    References
    ----------
    A. J. Bray, Adv. Phys. 43, 357 (1994).
    """
    dimension = integer(dimension, "dimension", least=1)
    curves, lengths, k = _ensembles(S, L)
    inside = (k > 0) & (k <= largest_k)
    curves, k = curves[..., inside], k[inside]
    if (curves.mean(0) <= 0).any():
        raise ValueError("S vanishes at some wave vectors of some time, and has no logarithm; leave out ordered times.")

    def distances(mean: np.ndarray, L_mean: np.ndarray, theta: float) -> tuple[np.ndarray, np.ndarray]:
        x = np.log(k) + np.log(L_mean)[:, None]
        y = np.log(mean) - theta * np.log(L_mean)[:, None]
        return _distances(x, y, error, np.log(window) if window[0] > 0 else np.array([-np.inf, np.log(window[1])]))

    def best(mean: np.ndarray, L_mean: np.ndarray) -> float:
        found = optimize.minimize_scalar(
            lambda theta: np.mean(np.divide(*distances(mean, L_mean, theta)) ** 2),
            bracket=(dimension - 0.5, dimension + 0.5),
        )
        return float(found.x)

    replicas = len(curves)
    error = curves.std(0, ddof=1) / np.sqrt(replicas) / curves.mean(0)
    if not (error > 0).all():
        raise ValueError("Replicas that agree exactly have no error bars to test a collapse by.")
    # The scatter of a few replicas at one wave vector is no weight: one error for all times of a wave vector.
    error = np.broadcast_to(np.sqrt((error**2).mean(0)), error.shape)
    means = curves.mean(0), lengths.mean(0)
    d, sigma = distances(*means, float(dimension))
    if len(d) < 5:
        raise ValueError(f"{len(d)} points of different times overlap in kL; widen the window, or choose closer times.")
    drawn = mean_draws(np.concatenate([curves, lengths[..., None]], axis=-1), rng=rng, samples=samples)
    theta, theta_error = best(*means), float(np.std([best(row[:, :-1], row[:, -1]) for row in drawn], ddof=1))
    return DynamicalScaling(
        float(np.mean((d / sigma) ** 2)),
        float(np.sqrt(np.mean(d**2))),
        theta,
        theta_error,
        dimension,
        len(d),
        (float(window[0]), float(window[1])),
        students_interval(theta, theta_error, replicas - 1),
    )


def porod_law(S: xr.DataArray, *, window: tuple[float, float], rng: torch.Generator, samples: int = 400) -> SizeLaw:
    r"""The power of k with which the tail of S(k) falls, by a fit in a window of wave vectors,

    .. math:: S(k) \sim k^{-(d + 1)}

    for sharp walls between domains in d dimensions (Porod): -3 in the plane. All wave vectors have equal weight; errors
    and intervals (68 % and 95 %, by Student's t) are over replicas and do not include the choice of the
    window: above about 1/L domains still have a size, and beyond about 1/a the lattice bends the tail upwards
    (a straight wall on a lattice has :math:`4 \sin^2(k/2)` in the place of k²).

    Parameters
    ----------
    S: averaged over directions ``(replica, k)`` at one time, the result of :func:`shell_average`.
    window: smallest and largest k.

    References
    ----------
    G. Porod, Kolloid-Z. 124, 83 (1951); A. J. Bray, Adv. Phys. 43, 357 (1994).
    """
    if set(S.dims) != {"replica", "k"}:
        raise ValueError(f"S needs the dimensions 'replica' and 'k', got {S.dims}; choose a time with .sel(time=...).")
    k = S["k"].values
    inside = (k >= window[0]) & (k <= window[1]) & (k > 0)
    if inside.sum() < 3 or S.sizes["replica"] < 3:
        raise ValueError(
            f"{int(inside.sum())} wave vectors in [{window[0]:g}, {window[1]:g}] and {S.sizes['replica']} replicas; a "
            f"power law with an error needs 3 of each."
        )
    values = S.transpose("replica", "k").values[:, inside]
    x, mean = np.log(k[inside]), values.mean(0)
    if not (np.isfinite(values).all() and (mean > 0).all()):
        raise ValueError("S must be finite, and its mean over replicas positive, to have a logarithm; move the window.")
    slope, offset = weighted_line(x, np.log(mean))
    drawn = weighted_line(x, np.log(mean_draws(values, rng=rng, samples=samples)))[0]
    error, dof = float(drawn.std(ddof=1)), len(values) - 1
    low_high = students_interval(float(slope), error, dof, 0.6827), students_interval(float(slope), error, dof)
    return SizeLaw(float(slope), error, *low_high, float(np.exp(offset)))


def _ensembles(S: xr.DataArray, L: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if set(S.dims) != {"replica", "time", "k"} or set(L.dims) != {"replica", "time"}:
        raise ValueError(f"S needs (replica, time, k) and L (replica, time), got {S.dims} and {L.dims}.")
    curves, lengths = S.transpose("replica", "time", "k").values, L.transpose("replica", "time").values
    if curves.shape[:2] != lengths.shape or len(curves) < 3 or curves.shape[1] < 2:
        raise ValueError(
            f"S and L need the same 3 or more replicas and 2 or more times, got {curves.shape} and {lengths.shape}."
        )
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("Lengths must be finite and positive; leave out ordered replicas (L = inf).")
    return curves, lengths, S["k"].values


def _distances(x: np.ndarray, y: np.ndarray, error: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every point from the mean of the other curves at its place, and its standard error."""
    far, sigma = [], []
    for j in range(len(x)):
        weights, total = np.zeros(x.shape[1]), np.zeros(x.shape[1])
        for m in range(len(x)):
            if m == j:
                continue
            right = np.searchsorted(x[m], x[j])
            between = (right > 0) & (right < x.shape[1])
            r = right[between]
            u = (x[j, between] - x[m, r - 1]) / (x[m, r] - x[m, r - 1])
            w = 1.0 / (((1 - u) * error[m, r - 1]) ** 2 + (u * error[m, r]) ** 2)
            weights[between] += w
            total[between] += w * ((1 - u) * y[m, r - 1] + u * y[m, r])
        known = (weights > 0) & (x[j] >= window[0]) & (x[j] <= window[1])
        far.append(y[j, known] - total[known] / weights[known])
        sigma.append(np.sqrt(error[j, known] ** 2 + 1.0 / weights[known]))
    return np.concatenate(far), np.concatenate(sigma)
