"""Couplings of two sites as functions of their distance, for lattices and point clouds alike."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearsight._description import Described
from nearsight._validation import number
from nearsight.lattices import Bonds, Lattice, bonds_within, nearest_image_bonds


class PairFunction(Described, abc.ABC):
    """A coupling f(R) of every pair of sites, wherever a model takes one number for every neighbour shell.

    Within ``cutoff`` every image of a pair counts, so that a torus stands for the infinite crystal of its repetitions.
    ``cutoff=None`` takes every pair once, at the distance of its nearest image: the convention of simulations in small
    cells, O(N²) pairs, for positions without equally near images.

    A member is a frozen dataclass with ``cutoff`` among its fields and the function as ``__call__``.
    """

    cutoff: float | None

    @abc.abstractmethod
    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """f(R) of distances ``(pair,)``, an energy."""

    def bonds(self, lattice: Lattice) -> tuple[Bonds, np.ndarray]:
        """The pairs of a lattice that are coupled, each once, and their couplings ``(bond,)``."""
        bonds = nearest_image_bonds(lattice) if self.cutoff is None else bonds_within(lattice, self.cutoff)
        return bonds, np.asarray(self(np.linalg.norm(bonds.displacement, axis=1)), dtype=float)


@dataclass(frozen=True)
class Exponential(PairFunction):
    r"""A coupling that decays exponentially, :math:`f(R) = f_0\, e^{-R/\ell}`: hopping between localised orbitals.

    Parameters
    ----------
    strength: f₀, an energy of either sign.
    length: ℓ.
    cutoff: largest R; None for nearest images, see :class:`PairFunction`.

    >>> import numpy as np
    >>> Exponential(2.0, length=0.5)(np.array([0.0, 0.5])).round(4).tolist()
    [2.0, 0.7358]
    """

    strength: float = 1.0
    length: float = 1.0
    cutoff: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", number(self.strength, "strength"))
        object.__setattr__(self, "length", number(self.length, "length", above=0))
        _check_cutoff(self)

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        return self.strength * np.exp(-np.asarray(distance) / self.length)


@dataclass(frozen=True)
class RKKY(PairFunction):
    r"""The exchange by free electrons of one Fermi wave vector in three dimensions, asymptotically
    :math:`\cos(2 k_F R)/R^3`,

    .. math:: f(R) = f_0\, \frac{\sin x - x \cos x}{x^4}, \qquad x = 2 k_F R .

    Parameters
    ----------
    strength: f₀, an energy. f(R) -> f₀/(3x) at short distances: as an exchange, where positive is ferromagnetic, free
        electrons have a positive f₀.
    kF: Fermi wave vector.
    cutoff: largest R; None for nearest images, see :class:`PairFunction`.

    Examples
    --------
    >>> import nearsight as ns
    >>> import numpy as np
    >>> ns.hamiltonians.RKKY(1.0, kF=1.0)(np.array([1.0, 3.0, 5.0])).round(4).tolist()  # the sign oscillates
    [0.1088, -0.0047, 0.0008]
    >>> round(float(ns.hamiltonians.RKKY(kF=1.0)(np.array(0.05))) * 3 * 0.1, 2)  # f₀/(3x) at short distances
    1.0

    References
    ----------
    M. A. Ruderman, C. Kittel, Phys. Rev. 96, 99 (1954).
    """

    strength: float = 1.0
    kF: float = 1.0
    cutoff: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", number(self.strength, "strength"))
        object.__setattr__(self, "kF", number(self.kF, "kF", above=0))
        _check_cutoff(self)

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        x = 2 * self.kF * np.asarray(distance)
        return self.strength * (np.sin(x) - x * np.cos(x)) / x**4


def revived_coupling(told: Any) -> Any:
    """A coupling from plain data: a function of distance, a number, or numbers by neighbour shell."""
    if isinstance(told, Mapping):
        return PairFunction.from_config(told)
    return tuple(told) if isinstance(told, list) else told


def _check_cutoff(function: PairFunction) -> None:
    if function.cutoff is not None:
        object.__setattr__(function, "cutoff", number(function.cutoff, "cutoff", above=0))
