"""Cheap energies that spare expensive ones, without a bias."""

from __future__ import annotations

import math

import numpy as np

from nearsight.dynamics._acceptance import Acceptance
from nearsight.moves import Attempts, Walk


class DelayedAcceptance:
    r"""Delayed acceptance: a hop x → y is first judged by a cheap difference ε, and if it passes, by the exact ΔE.

    .. math::
        \alpha_1(x \to y) = A(\varepsilon_{xy}), \qquad
        \alpha_2(x \to y) = \min\!\left(1, \frac{\alpha_1(y \to x)}{\alpha_1(x \to y)}\, e^{-\Delta E_{xy}/kT}\right).

    With π = exp(-E/kT) the accepted flow is

    .. math::
        \pi(x)\, \alpha_1(x \to y)\, \alpha_2(x \to y)
        = \min\bigl(\pi(x)\, \alpha_1(x \to y),\; \pi(y)\, \alpha_1(y \to x)\bigr),

    symmetric in x and y: detailed balance with the exact weights, whatever ε is, as long as hop and reverse are
    proposed equally often and ε allows both. If ε is a difference of energies, ε_yx = -ε_xy, both rules give
    α_1(y→x)/α_1(x→y) = exp(ε/kT) and the second stage accepts with min(1, exp(-(ΔE - ε)/kT)). A network that
    predicts ΔE directly is not antisymmetric; so the reverse ε is computed, for every hop that passes the first stage,
    by a hop of the cheap walk to y and perhaps back. That is cheap by assumption, and saves having to trust the screen.

    Hops are rarer than with the exact rule alone, α_1 α_2 ≤ min(1, exp(-ΔE/kT)), and equal to the Metropolis rule if
    the screen is exact: time correlations are those of a slower dynamics, averages are not touched.

    References
    ----------
    J. A. Christen, C. Fox, J. Comput. Graph. Stat. 14, 795 (2005); P. H. Peskun, Biometrika 60, 607 (1973).
    """

    def __init__(self, exact: Walk, cheap: Walk, rule: Acceptance) -> None:
        self.exact, self.cheap, self.rule = exact, cheap, rule

    def attempt(
        self, particle: np.ndarray, direction: np.ndarray, threshold: np.ndarray, second: np.ndarray
    ) -> Attempts:
        """Attempts one after the other; ``threshold`` for ε, ``second`` for the stage after it, which is Metropolis's.

        The differences are those of the exact model, infinite where it was not asked.
        """
        exact, cheap, cost = self.exact, self.cheap, self.rule.cost
        accepted, difference = np.zeros(len(particle), dtype=bool), np.full(len(particle), np.inf)
        for k, (p, d) in enumerate(zip(particle, direction, strict=True)):
            move = int(exact.positions[p]) * exact.hops.directions + int(d)
            if not exact.possible(move):
                continue
            forward = cheap.difference(move)
            if forward > threshold[k]:
                continue
            reverse = int(exact.hops.reversed[move])
            cheap.accept(move)
            backward = cheap.difference(reverse)
            if math.isnan(forward) or math.isnan(backward):
                raise ArithmeticError("The screen answers NaN for the energy of a hop.")
            difference[k] = exact.difference(move)
            # -kT ln of the ratio of the first-stage probabilities, added to ΔE, is what the second stage has to pay.
            if difference[k] + cost(backward) - cost(forward) <= second[k]:
                exact.accept(move)
                accepted[k] = True
            else:
                cheap.accept(reverse)
        return Attempts(accepted, difference)
