"""The two rules by which a trial move is accepted, in all the forms that dynamics needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import choice
from nearsight.dynamics.scheme import _checked

RULES = ("metropolis", "glauber")

TIE = 1e-9
"""At kT = 0 an energy difference below this is rounding, and the move costs nothing."""


@dataclass(frozen=True)
class Acceptance:
    r"""Probability of accepting a move that costs ΔE.

    .. math:: A = \min(1, e^{-\Delta E / kT}) \quad \text{(metropolis)}, \qquad
              A = \frac{1}{1 + e^{\Delta E / kT}} \quad \text{(glauber)}

    Both obey A(ΔE) / A(-ΔE) = exp(-ΔE/kT), which is detailed balance for trial moves that are proposed as often as
    their reverses. For a choice between two states the heat bath is Glauber's rule. At kT = 0 a move with ΔE > 0 is
    never accepted, and one with ΔE = 0 always (metropolis) or every second time (glauber).
    """

    rule: str
    kT: float

    def __post_init__(self) -> None:
        _checked(self, least=("kT",))
        if isinstance(self.rule, str) and self.rule not in RULES:
            raise ValueError(
                f'rule must be "metropolis" or "glauber" (the heat bath of a two-valued variable), got {self.rule!r}.'
            )
        choice(self.rule, "rule", RULES)

    def probability(self, difference: Tensor) -> Tensor:
        """A of every ΔE, 0 where it is infinite."""
        if self.kT > 0:
            if self.rule == "metropolis":
                return torch.exp(-difference.clamp(min=0) / self.kT)
            return torch.sigmoid(-difference / self.kT)
        tie = 1.0 if self.rule == "metropolis" else 0.5
        levels = torch.where(difference.abs() <= TIE, tie, 0.0)
        return torch.where(difference < -TIE, 1.0, levels).to(difference.dtype)

    def thresholds(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Random energies ``(count,)``: a move is accepted if ΔE lies at or below one of them.

        With u uniform on (0, 1) they are -kT ln u for Metropolis and kT ln(1/u - 1) for Glauber: exponential and
        logistic random numbers.
        """
        if self.rule == "metropolis":
            return self.kT * generator.standard_exponential(count) + (TIE if self.kT == 0 else 0.0)
        logistic = generator.logistic(size=count)
        return self.kT * logistic if self.kT > 0 else np.copysign(TIE, logistic)

    def cost(self, difference: float) -> float:
        """-kT ln A(ΔE): the part of ΔE that the rule makes a move pay for."""
        if self.rule == "metropolis" or self.kT == 0:
            return max(difference, 0.0)
        return self.kT * float(np.logaddexp(0.0, difference / self.kT))
