"""How a glassy length grows: activated growth and its rivals, fitted to the same times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from nearsight._validation import number
from nearsight.analysis.coarsening._lengths import (
    check_positive,
    lengths_and_times,
    pooled_relative_error,
    times_inside,
)
from nearsight.analysis.statistics._draws import mean_draws, students_interval, weighted_line

LAWS = ("activated", "power", "logarithm")


@dataclass(frozen=True)
class GlassGrowth:
    """Three laws fitted to one length within ``window``.

    ``psi`` of ξ = A (ln t/τ)^(1/ψ) has the standard error ``sigma`` over replicas and the 95 % ``interval`` of
    Student's t; ``exponent`` is n of the rival ξ = A t^n. ``chi2`` holds χ² of each law, with one relative error for
    all times (``dof`` degrees of freedom for each); times share replicas, so that it ranks laws and is no basis for a
    p-value. ``preferred`` is the fraction of drawn means in which each law has the smallest χ²: near 1 for a finding;
    where no law has it, the records do not decide.

    :func:`glass_growth` returns it.
    """

    window: tuple[float, float]
    psi: float
    sigma: float
    interval: tuple[float, float]
    exponent: float
    exponent_sigma: float
    chi2: dict[str, float]
    preferred: dict[str, float]
    dof: int
    replicas: int
    amplitude: float
    tau: float

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """The activated law at the given times."""
        return self.amplitude * np.log(np.asarray(time, dtype=float) / self.tau) ** (1 / self.psi)

    def __str__(self) -> str:
        order = ", ".join(f"{law} {self.chi2[law]:.3g} ({100 * self.preferred[law]:.0f} %)" for law in LAWS)
        return (
            f"ξ ~ (ln t)^(1/ψ), ψ = {self.psi:.3f} ± {self.sigma:.3f} for t in [{self.window[0]:g}, "
            f"{self.window[1]:g}]; χ² with {self.dof} degrees of freedom (preferred): {order}"
        )


def glass_growth(
    length: xr.DataArray,
    *,
    rng: torch.Generator,
    window: tuple[float, float] | None = None,
    tau: float = 1.0,
    samples: int = 1000,
) -> GlassGrowth:
    r"""Activated growth of a length, and whether a power or a logarithm describes it as well,

    .. math:: \xi = A\,[\ln(t/\tau)]^{1/\psi}, \qquad \xi = A\, t^n, \qquad \xi = a + b \ln t ,

    each a straight line in its own variables: ln ξ against ln ln(t/τ), ln ξ against ln t, and ξ against ln t, fitted by
    least squares with weights for one relative error of ξ at all times. Barriers that grow like ξ^ψ give the first.
    With a = -b ln τ the third is the first at ψ = 1; over less than a few decades all three are hard to tell apart,
    which ``preferred`` says.

    Parameters
    ----------
    length: dimensions "replica" (at least 3) and "time"; positive means inside the window (pseudo-values of
        :func:`correlation_moment_length` are what it is made for).
    window: first and last time, all t > τ if not given. Compare several: a ψ that moves with the window is none.
    tau: microscopic time τ of the logarithm, in the unit of time; ψ depends on it.

    References
    ----------
    D. S. Fisher, D. A. Huse, Phys. Rev. B 38, 373 (1988).
    """
    values, times = lengths_and_times(length)
    tau = number(tau, "tau", above=0)
    inside, (low, high) = times_inside(times, window, tau)
    if inside.sum() < 4:
        raise ValueError(
            f"The window [{low:g}, {high:g}] holds {int(inside.sum())} times beyond τ = {tau:g}; three laws of two "
            f"parameters are told apart by 4 or more. Widen it, or record more often."
        )
    values, t = values[:, inside], times[inside]
    mean = check_positive(values.mean(0))
    relative = pooled_relative_error(values)
    draws = mean_draws(values, rng=rng, samples=samples)
    own, drawn = _fits(mean, t, tau), _fits(draws, t, tau)
    chi2 = {law: float(own[law][2] / relative**2) for law in LAWS}
    best = np.argmin([drawn[law][2] for law in LAWS], axis=0)
    psi, psis = 1 / float(own["activated"][0]), 1 / drawn["activated"][0]
    # Of the slope 1/ψ, whose draws are normal; δψ = ψ² δ(1/ψ).
    sigma = float(psi**2 * (1 / psis).std(ddof=1))
    return GlassGrowth(
        window=(low, high),
        psi=psi,
        sigma=sigma,
        interval=students_interval(psi, sigma, len(values) - 1),
        exponent=float(own["power"][0]),
        exponent_sigma=float(drawn["power"][0].std(ddof=1)),
        chi2=chi2,
        preferred={law: float((best == k).mean()) for k, law in enumerate(LAWS)},
        dof=int(inside.sum()) - 2,
        replicas=len(values),
        amplitude=float(np.exp(own["activated"][1])),
        tau=tau,
    )


def _fits(mean: np.ndarray, t: np.ndarray, tau: float) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Slope, intercept and Σ (δξ/ξ)² of every law, of means ``(..., time)``."""
    found = {}
    for law, x, y, back in (
        ("activated", np.log(np.log(t / tau)), np.log(mean), np.exp),
        ("power", np.log(t), np.log(mean), np.exp),
        ("logarithm", np.log(t), mean, lambda y: y),
    ):
        slope, intercept = weighted_line(x, y)
        curve = back(np.asarray(intercept)[..., None] + np.asarray(slope)[..., None] * x)
        found[law] = slope, intercept, (((curve - mean) / mean) ** 2).sum(-1)
    return found
