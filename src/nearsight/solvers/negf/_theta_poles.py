"""Filling functions below the real axis by a handful of poles."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight.solvers.negf._fermi_integrals import theta

POINTS, TEST_POINTS = 240, 1500

MOST = 46
"""Terms of the interpolant, beyond which it fits the rounding."""

RAISED = 1.25
"""Bounds are rounded outwards to powers of this: fields that differ little share their poles."""


class Region(NamedTuple):
    """A rectangle in the lower half-plane that holds all levels, seen from μ: real parts from ``lowest`` to
    ``highest``, widths from ``narrowest`` to ``widest``."""

    lowest: float
    highest: float
    narrowest: float
    widest: float

    @classmethod
    def around(cls, levels: Tensor) -> Region:
        """Complex levels, with as much room as rounding could need."""
        scale = 1e-3 * float(levels.abs().max())
        lowest, highest = float(levels.real.min()) - scale, float(levels.real.max()) + scale
        return cls(lowest, highest, -0.5 * float(levels.imag.max()), -float(levels.imag.min()) + scale)

    def rounded(self) -> Region:
        low, high = (sign * max(_raised(sign * x), 1e-3) for sign, x in ((-1, self.lowest), (1, self.highest)))
        narrow = 1 / _raised(1 / self.narrowest) if self.narrowest > 0 else 0.0
        return Region(low, high, narrow, _raised(max(self.widest, 1e-3, 2 * narrow)))


class ThetaPoles(NamedTuple):
    """θ(λ) ≈ c₀ + Σ_p w_p/(z_p - λ), z_p above the real axis and λ, z_p seen from μ; and the largest error in the
    region, by the maximum principle that on its edge."""

    z: np.ndarray
    w: np.ndarray
    c0: complex
    error: float


def theta_poles(region: Region, kT: float, *, tol: float) -> ThetaPoles:
    """As few poles as meet ``tol``, or the best there are; cached.

    AAA finds them on the edge of the region, where what is to be approximated is the transform of a measure on the axis
    above μ: the poles gather there. They number as the logarithm of the bandwidth over kT + the narrowest width.
    """
    return _cached(region.rounded(), kT, tol)


def _raised(x: float) -> float:
    return RAISED ** math.ceil(math.log(x, RAISED)) if x > 0 else 0.0


@lru_cache(maxsize=64)
def _cached(region: Region, kT: float, tol: float) -> ThetaPoles:
    finest = math.pi * kT + region.narrowest
    if finest == 0:
        raise ArithmeticError(
            "At kT = 0 levels without a width make the filling a step, which is no sum over poles. Attach a bath to "
            "all sites, take kT > 0, or take NEGF."
        )
    from scipy.interpolate import AAA

    edge, test = (_edge(region, finest, count) for count in (POINTS, TEST_POINTS))
    wanted, exact = (theta(torch.from_numpy(x), 0.0, kT).numpy() for x in (edge, test))
    best: ThetaPoles | None = None
    for part in (0.3, 0.03, 3e-3, 0.0):
        with warnings.catch_warnings():
            # That a demanded tolerance below rounding is not met within so many terms is no news.
            warnings.simplefilter("ignore", RuntimeWarning)
            asked = part * tol / float(np.abs(wanted).max())
            z = AAA(edge, wanted, rtol=asked, max_terms=MOST, clean_up=False).poles()
        z = z[z.imag > 0]
        z = z[np.argsort(z.imag)]
        scale = np.abs(_basis(edge, z)).max(0)
        c = np.linalg.lstsq(_basis(edge, z) / scale, wanted, rcond=1e-15)[0] / scale
        error = float(np.abs(_basis(test, z) @ c - exact).max())
        if best is None or error < best.error:
            best = ThetaPoles(z, c[1:], complex(c[0]), error)
        if best.error <= tol:
            break
    assert best is not None
    return best


def _basis(points: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.hstack([np.ones((len(points), 1)), 1 / (z - points[:, None])])


def _edge(region: Region, finest: float, count: int) -> np.ndarray:
    """Points on the edge, dense near μ."""
    low, high = (math.asinh(x / finest) for x in (region.lowest, region.highest))
    x = finest * np.sinh(np.linspace(low, high, count))
    down = np.geomspace(max(region.narrowest, 1e-3 * region.widest), region.widest, count // 8)
    bottom = np.linspace(region.lowest, region.highest, count // 4) - 1j * region.widest
    sides = [side - 1j * down for side in (region.lowest, region.highest)]
    return np.unique(np.concatenate([x - 1j * region.narrowest, bottom, *sides]))
