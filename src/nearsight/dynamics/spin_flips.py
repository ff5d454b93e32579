"""Single flips of Ising variables in any energy."""

from __future__ import annotations

import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import instance, number
from nearsight.dynamics._acceptance import RULES, TIE, Acceptance
from nearsight.dynamics.rate_model import RateModel
from nearsight.dynamics.scheme import _forces
from nearsight.fields import check_field
from nearsight.forcefields import ForceField

CHUNK = 2**22
"""Field values evaluated at once: larger sets of trial flips are cut, which bounds the memory at no cost in speed."""


class SpinFlips(Described, RateModel):
    r"""Flips σ_i → -σ_i of a field of ±1, one move for every site, with rates that obey detailed balance.

    .. math::
        w_i = \nu \min(1, e^{-\Delta E_i / kT}) \quad \text{(metropolis)}, \qquad
        w_i = \frac{\nu}{1 + e^{\Delta E_i / kT}} \quad \text{(glauber)}

    ΔE_i is the exact difference of two energies of the force field, of whatever form and range: free energies of
    electrons are as good as a nearest-neighbour coupling. For two values of a spin the heat bath is the Glauber rate.
    The unit of time is one attempt per site at ν = 1.

    One set of rates costs N + 1 energies of N sites in float64, all sites in one batch. Take the energy of a small
    system or of a fast force field: an event on N sites with a short-ranged energy costs O(N²).

    Parameters
    ----------
    forcefield: anything with an energy, on a field of one component.
    kT: temperature ≥ 0 in the units of the energy; at 0 only flips with ΔE ≤ 0 happen.
    rule: "metropolis" or "glauber".
    attempt_rate: ν > 0, attempts per site and unit of time.

    Examples
    --------
    >>> import math
    >>> import nearsight as ns
    >>> import torch
    >>> ising = ns.forcefields.ClassicalForceField(ns.hamiltonians.Ising(ns.lattices.square(4)))
    >>> flips = ns.dynamics.SpinFlips(ising, kT=2.0, rule="glauber")
    >>> up = torch.ones(16, 1).double()
    >>> torch.allclose(flips.rates(up), torch.tensor(1 / (1 + math.exp(8 / 2.0))).double())  # a flip breaks four bonds
    True

    References
    ----------
    R. J. Glauber, J. Math. Phys. 4, 294 (1963).
    """

    RULES = RULES

    def __init__(
        self, forcefield: ForceField, *, kT: float, rule: str = "metropolis", attempt_rate: float = 1.0
    ) -> None:
        self.acceptance = Acceptance(rule, kT)
        instance(forcefield, ForceField, "forcefield")
        if forcefield.components != 1:
            raise ValueError(f"Spin flips need one component per site, the force field has {forcefield.components}.")
        self.forcefield, self.kT, self.rule = forcefield, self.acceptance.kT, rule
        self.attempt_rate = number(attempt_rate, "attempt_rate", above=0)
        self.lattice, self.moves = forcefield.lattice, forcefield.lattice.n_sites

    def check(self, field: Tensor) -> None:
        check_field(field, self.moves, 1)
        wrong = int((field.abs() != 1).sum())
        if wrong:
            raise ValueError(
                f"{wrong} of {field.numel()} values are not +1 or -1; torch.sign makes Ising variables of a field."
            )

    def rates(self, field: Tensor) -> Tensor:
        delta = self.energy_differences(field)
        return self.attempt_rate * self.acceptance.probability(delta)

    def energy_differences(self, field: Tensor) -> Tensor:
        """Energy after minus energy before the flip of every site, float64 ``(*batch, site)``."""
        sites = self.moves
        fields = field.double().reshape(-1, sites)
        before = self._energy(fields)
        after = torch.cat(
            [
                self._energy(self._flipped(fields, trial))
                for trial in torch.arange(len(fields) * sites, device=field.device).split(max(1, CHUNK // sites))
            ]
        ).reshape(-1, sites)
        delta = after - before[:, None]
        if self.kT == 0:
            # Rounding of a difference is proportional to the energies.
            delta = torch.where(delta.abs() <= TIE * (1 + before.abs()[:, None]), 0.0, delta)
        return delta.reshape(*field.shape[:-2], sites)

    def apply(self, field: Tensor, move: Tensor) -> Tensor:
        sign = torch.ones_like(field).scatter_(-2, move[..., None, None], -1.0)
        return field * sign

    def _flipped(self, fields: Tensor, trial: Tensor) -> Tensor:
        """Trial number b N + i is field b with site i flipped."""
        candidates = fields[trial // self.moves]
        candidates[torch.arange(len(trial), device=trial.device), trial % self.moves] *= -1
        return candidates

    def _energy(self, fields: Tensor) -> Tensor:
        energy = _forces(self.forcefield, fields[..., None]).energy
        if energy is None:
            raise ValueError(
                f"Flips need energies, but {self.forcefield!r} has none: a driven system takes other rates."
            )
        return energy
