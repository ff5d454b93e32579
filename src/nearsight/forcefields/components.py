"""A force field on some components of a field only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from nearsight._validation import instance, integers
from nearsight.forcefields.forcefield import ForceField, Forces, revived


class OnComponents(ForceField):
    """The force of another force field on some components, and none on the others.

    A sum of two with disjoint components learns each by a network of its own. It is not the gradient of an energy.

    Parameters
    ----------
    whole: a force field for all components.
    kept: numbers of the components whose force is kept.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> springs = ns.forcefields.ClassicalForceField(ns.hamiltonians.JahnTeller(ns.lattices.square(4), K=0.5))
    >>> doublet = ns.forcefields.OnComponents(springs, kept=(1, 2))  # Qx and Qz, not the breathing mode
    >>> force, energy = doublet(torch.ones(16, 3))
    >>> [float(f) + 0.0 for f in force[0]], energy  # -K Q of two modes; no energy has such a gradient
    ([0.0, -0.5, -0.5], None)
    """

    _parts: ClassVar = {"whole": revived}

    def __init__(self, whole: ForceField, kept: Sequence[int]) -> None:
        super().__init__()
        self.whole = instance(whole, ForceField, "whole")
        self.lattice, self.components, self.field_type = whole.lattice, whole.components, whole.field_type
        self.kept = integers(kept, "kept", least=0, most=whole.components - 1)

    def evaluate(self, field: Tensor) -> Forces:
        force = self.whole.connected(field).force
        mask = torch.zeros(self.components, dtype=force.dtype, device=force.device)
        mask[list(self.kept)] = 1.0
        return Forces(force * mask, None)
