"""Exact scaling relations: which parameters of a Hamiltonian are units, and which are left to learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reduction:
    r"""Electrons at any parameters from those of fewer, by an exact scaling relation,

    .. math:: E(\Phi; p) = e\, \hat E(a \Phi + b;\, \hat p) + c N, \qquad
              F(\Phi; p) = e a\, \hat F(a \Phi + b;\, \hat p),

    on N sites: only the parameters p̂ have to be learned. :meth:`nearsight.hamiltonians.Hamiltonian.reduction` gives it.

    Parameters
    ----------
    scale, shift: a and b.
    energy: e.
    constant: c.
    parameters: p̂ by their names.

    >>> import nearsight as ns
    >>> holstein = ns.hamiltonians.Holstein(ns.lattices.square(4), t=2.0, g=3.0)
    >>> holstein.reduction(mu=0.5, kT=0.1)
    Reduction(scale=1.5, shift=0.25, energy=2.0, constant=-0.25, parameters={'kT': 0.05})
    """

    scale: float
    shift: float
    energy: float
    constant: float
    parameters: Mapping[str, float]
