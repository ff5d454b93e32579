"""What a partition function says: free energy, energy, entropy, specific heat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Thermodynamics:
    r"""Equilibrium per site at the temperatures ``kT``; every entry is a number or an array of that shape.

    .. math::
        F = -kT\,\frac{\ln Z}{N}, \qquad U = -\frac{1}{N}\frac{\partial \ln Z}{\partial \beta}, \qquad
        S = \frac{U - F}{kT}, \qquad C = \frac{\beta^2}{N}\frac{\partial^2 \ln Z}{\partial \beta^2} = \frac{dU}{d(kT)}

    with β = 1/kT and kB = 1. ``free_energy`` F, ``energy`` U, ``entropy`` S, ``specific_heat`` C.

    :func:`ising_torus`, :func:`ising_bulk`, :func:`planar_thermodynamics`, :func:`chain_thermodynamics` and
    :meth:`DensityOfStates.thermodynamics` return it.
    """

    kT: np.ndarray
    free_energy: np.ndarray
    energy: np.ndarray
    entropy: np.ndarray
    specific_heat: np.ndarray

    @classmethod
    def from_log_partition(
        cls,
        kT: np.ndarray,
        value: np.ndarray,
        first: np.ndarray,
        second: np.ndarray,
        *,
        lowest: float | np.ndarray = 0.0,
    ) -> Self:
        """From ln Z per site and its two derivatives in β, with energies counted from ``lowest`` (per site).

        Counted from the lowest energy, the entropy keeps its digits at low temperature.
        """
        beta = 1 / kT
        entries = kT, lowest - kT * value, lowest - first, value - beta * first, beta * (beta * second)
        return cls(*(np.asarray(x)[()] for x in entries))

    @property
    def log_partition(self) -> np.ndarray:
        """ln Z per site."""
        return -self.free_energy / self.kT


def _temperatures(kT: ArrayLike) -> np.ndarray:
    """kT as an array of positive numbers, or a refusal."""
    T = np.asarray(kT)
    if T.dtype.kind not in "fiu":
        raise TypeError(f"kT must hold real numbers > 0, got {kT!r}.")
    T = T.astype(float)
    if not np.all((T > 0) & np.isfinite(T)):
        raise ValueError(f"kT must be > 0 and finite, got {kT!r}; ground states are the limit kT → 0.")
    return T
